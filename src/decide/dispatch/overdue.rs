//! Which leases have to end: those that took too long, those whose worker was not heard of, and those that were cancelled.
//!
//! Time alone gives no task to anybody else. It ends the worker, and the proof of that end returns the task.

use crate::model::task::{EndReason, Task};
use crate::model::time::{Moment, Span};

/// A lease that has to end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Overdue {
    /// What the end will be called.
    pub reason: EndReason,
    /// In words.
    pub why: String,
}

/// Whether this lease has to end at this moment, or had to when its worker ended then. Its holder has to be heard of `until` then,
/// where it is one that has to be.
pub fn overdue(task: &Task, until: Option<Moment>, now: Moment) -> Option<Overdue> {
    let past = |at: Option<Moment>| at.is_some_and(|at| at <= now);
    let id = task.id;
    // A worker that takes its tasks itself hears of it with its next heartbeat, and has the rest of the lease for it.
    if task.cancelling && (until.is_none() || past(until)) {
        Some(Overdue { reason: EndReason::Cancelled, why: format!("task {id} was cancelled") })
    } else if past(task.deadline) {
        Some(Overdue { reason: EndReason::Timeout, why: format!("task {id} took longer than {}", limit(task)) })
    } else if past(until) {
        Some(Overdue { reason: EndReason::WorkerLost, why: format!("nothing was heard of task {id} for its leaseDuration") })
    } else {
        None
    }
}

/// How long the attempt may take: heartbeats may have given it more than its timeout.
fn limit(task: &Task) -> Span {
    task.deadline.zip(task.begun).map_or(task.timeout, |(at, begun)| at.since(begun))
}

/// When it is to be looked at again.
pub fn wake(task: &Task, until: Option<Moment>) -> Option<Moment> {
    [task.deadline, until].into_iter().flatten().min()
}
