//! The one seam: everything the engine wants of the world goes through [`Host`], everything the world tells comes as [`Fact`].
//!
//! The real host is [`super::real`]; the simulated one lives in `tests/sim` and drives the very same engine. No method waits:
//! what takes time answers later with a fact.

use std::sync::Arc;

use crate::model::batch::Batch;
use crate::model::catalogue::{ObjectKey, Stray};
use crate::model::host::{Known, Sample};
use crate::model::limits::{LimitOrder, LimitOutcome};
use crate::model::listing::Listing;
use crate::model::metered::Metered;
use crate::model::plan::{Action, PoolFacts, ProbeKind};
use crate::model::policy::{Amounts, Target};
use crate::model::policy_status::ForecastStatus;
use crate::model::quantity::Memory;
use crate::model::queue_work::{QueueAnswer, QueueCounts};
use crate::model::reading::{Failure, Number};
use crate::model::scaling::{Asker, Question};
use crate::model::source::Source;
use crate::model::status::{EventObject, Kind, Object};
use crate::model::task::{Leavings, Task};
use crate::model::time::{Moment, Now};
use crate::model::usage::Usage;
use crate::model::worker::{Seen, SlotId};
use crate::model::workload::Needed;

use super::handle::Ask;
use super::wear::Bound;

/// What the engine wants of the world.
pub trait Host {
    /// The time.
    fn now(&self) -> Now;
    /// Since when workers can be heard without a gap; where there never was one, since the beginning.
    fn heard_since(&mut self) -> Moment {
        Moment::default()
    }
    /// Carry out one action; a start may be for a task. What comes of it is told by facts.
    fn perform(&mut self, pool: &Arc<PoolFacts>, action: &Action, task: Option<&Task>);
    /// What the run of a task has left behind, with the end of its `output` where a rule asks for that. It stays there.
    fn leavings(&mut self, task: &Task, output: bool) -> Leavings;
    /// The end of this attempt is on disk: what the run has left behind is of no more use.
    fn ended(&mut self, _task: &Task) {}
    /// These tasks are gone: their files go too.
    fn forget_tasks(&mut self, ids: Vec<u64>);
    /// Ask a source, then tell [`Fact::Answered`].
    fn ask(&mut self, pool: &str, question: &Question);
    /// What the machine has left; with the free space of this directory's file system, if it is wanted.
    fn machine(&mut self, dir: Option<&str>) -> (Sample, Option<Known<Memory>>);
    /// What the machine has in all: cores, memory, and processes that there may be. What is not known is absent.
    fn host_capacity(&self) -> Amounts;
    /// Look at what a policy's target uses and may use, then tell [`Fact::Measured`].
    fn measure(&mut self, policy: &str, target: &Target);
    /// Change limits, then tell [`Fact::Limited`].
    fn limit(&mut self, policy: &str, order: LimitOrder);
    /// Why no limit of this target can ever be enforced here, if so.
    fn limits_unable(&self, target: &Target) -> Option<String>;
    /// Commit these rows together, then tell [`Fact::Committed`] with the ticket.
    fn commit(&mut self, ticket: u64, batch: Batch);
    /// Look at this slot, of which nothing was told, then tell [`Fact::Seen`].
    fn look(&mut self, slot: &SlotId);
    /// List the specs directory, then tell [`Fact::Listed`].
    fn list(&mut self);
    /// Show this object to whoever reads; `None` takes it away.
    fn publish(&mut self, kind: Kind, name: &str, object: Option<Object>);
    /// Tell people of this, in the log.
    fn tell(&mut self, event: &EventObject);
    /// Tell the receiver of this `notify` entry of the pool. It may never be told: that is the host's affair.
    fn notify(&mut self, pool: &Arc<PoolFacts>, entry: usize, event: &EventObject);
    /// Show or change the specs on disk and answer; after a change, list them.
    fn edit(&mut self, ask: Ask);
    /// Show what is expected of a policy's target, with the way there. It changes nothing.
    fn foresee(&mut self, _policy: &str, _forecast: &ForecastStatus) {}
    /// Show among which workers a divided queue is dealt, to whoever submits. It changes nothing here.
    fn deal(&mut self, _pool: &str, _workers: &[String]) {}
    /// Show how many tasks the run of a worker may do, to whoever gives it the next one. It changes nothing here.
    fn wear(&mut self, _worker: &str, _bound: Option<Bound>) {}
    /// Show which documents are refused that have no object to show that. It changes nothing.
    fn refused(&mut self, _strays: Vec<Stray>) {}
    /// Count something that has happened. It changes nothing.
    fn meter(&mut self, _what: &Metered) {}
    /// A one-word fresh identity for an object.
    fn uid(&mut self) -> String;
    /// What only the holder of a lease is told: nobody can guess it.
    fn nonce(&mut self) -> u64;
}

/// What the world tells.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "each is made, sent and taken apart at once; a box would only add an allocation")]
pub enum Fact {
    /// The specs directory reads so.
    Listed(Box<Listing>),
    /// The slot looks so now.
    Seen(SlotId, Seen),
    /// A start did not get as far as a worker.
    StartFailed {
        /// Which slot.
        slot: SlotId,
        /// Which run.
        incarnation: u64,
        /// Given when it is not the machine's fault but the task's.
        code: Option<i32>,
        /// Why.
        message: String,
    },
    /// Every slot found on disk has been told of.
    Recovered,
    /// A probe's answer.
    Probed {
        /// Which slot.
        slot: SlotId,
        /// Which run.
        incarnation: u64,
        /// Which probe.
        kind: ProbeKind,
        /// What came of it.
        answer: Result<(), String>,
    },
    /// A source has answered, or has failed to.
    Answered {
        /// Whose question it was.
        pool: String,
        /// Who wants it.
        asker: Asker,
        /// Which source was asked: by now it may be another one.
        source: Source,
        /// The number, or why there is none.
        answer: Result<Number, Failure>,
    },
    /// A policy's target was looked at.
    Measured {
        /// Whose target it is.
        policy: String,
        /// Which target was looked at: by now it may be another one.
        target: Target,
        /// What was found, or why nothing was; of a target that does not exist it says `not found`.
        usage: Result<Usage, String>,
    },
    /// A change of limits has come to its end.
    Limited {
        /// Whose it was.
        policy: String,
        /// What came of it.
        outcome: LimitOutcome,
    },
    /// A preStop command has ended.
    PreStopped {
        /// Which slot.
        slot: SlotId,
        /// Which run.
        incarnation: u64,
        /// Whether it went well.
        answer: Result<(), String>,
    },
    /// A transaction is on disk, or failed whole.
    Committed {
        /// Which.
        ticket: u64,
        /// What came of the work with the queues, piece by piece.
        result: Result<Vec<QueueAnswer>, String>,
    },
    /// The store did not take what somebody asked for past the controller, and why.
    Untaken(String),
    /// This stands in the queue of a pool now.
    Queue(String, QueueCounts),
    /// A task was leased, goes on, or has ended, and not by the controller.
    Task(Box<Task>),
    /// What tasks of a pool needed that ended under the daemons before this one, from the last to the first.
    Learnt(String, Vec<Needed>),
    /// The document of this object was taken away because somebody asked for that.
    Removed(ObjectKey),
    /// Somebody asks something.
    Asked(Ask),
    /// Look at the specs directory: something may have changed.
    Hint,
}
