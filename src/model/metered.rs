//! What is counted as it happens, for the metrics: what no object shows any more when it is over.
//! Saying it changes nothing; whoever counts is the host's affair.

use super::task::EndReason;
use super::time::Span;
use super::worker::ExitReason;
use super::workload::{Class, Needed};

/// Something that has happened and is counted.
#[derive(Clone, Debug, PartialEq)]
pub enum Metered {
    /// An attempt at a task has ended.
    Attempt {
        /// Whose task.
        pool: String,
        /// How.
        end: EndReason,
        /// From the time it was wanted to its start.
        waited: Span,
        /// From its start to its end.
        ran: Span,
        /// What kind of task it was.
        class: Class,
        /// What it needed; absent: it says nothing of what such tasks need.
        needed: Option<Needed>,
    },
    /// Another number of workers is wanted of a pool.
    Scaled {
        /// Which pool.
        pool: String,
        /// More than before.
        up: bool,
    },
    /// A worker has ended.
    Exit {
        /// Whose worker.
        pool: String,
        /// How.
        reason: ExitReason,
    },
}
