//! What can be done with the queues, and what comes of it: the words between whoever asks and the store's thread.
//!
//! Each piece of work is complete in itself: the rules of the pool and the time go with it, so that it can be done in a
//! transaction by somebody who knows neither.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::line::Fired;
use super::queue::{Queue, Retention};
use super::task::{End, NewTask, Task, Token};
use super::time::{Moment, Span, Wall};

/// Who wants a task.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Taker {
    /// The worker.
    pub worker: String,
    /// Its run.
    pub run: u64,
    /// What only the holder is told.
    pub nonce: u64,
}

/// One thing to do with the queues, complete in itself. Done in a transaction, in the order in which they come.
#[derive(Clone, Debug, PartialEq)]
pub enum QueueWork {
    /// Take in new tasks, all or none.
    Submit {
        /// Their pool.
        pool: String,
        /// Its rules.
        queue: Arc<Queue>,
        /// The tasks.
        tasks: Vec<NewTask>,
        /// The workers among which a `PerWorker` queue divides them, in their order.
        workers: Vec<String>,
    },
    /// Give the next task to a worker.
    Lease {
        /// The pool.
        pool: String,
        /// Its rules.
        queue: Arc<Queue>,
        /// Who takes it.
        taker: Taker,
    },
    /// An attempt has ended, as its holder says. Then, if it is asked for, give the holder the next task.
    End {
        /// Which lease.
        token: Token,
        /// How.
        end: End,
        /// What it gave back.
        result: Option<Value>,
        /// The end of its output, for the rules that look there.
        output: String,
        /// The rules of its pool.
        queue: Arc<Queue>,
        /// Who takes the next one.
        next: Option<Taker>,
    },
    /// The holder lives and goes on.
    Heartbeat {
        /// Which lease.
        token: Token,
        /// A new bound for the attempt, from now; at most the queue's `maxTimeout` from its beginning.
        extend: Option<Span>,
        /// What it says of its progress.
        progress: Option<String>,
        /// The rules of its pool.
        queue: Arc<Queue>,
        /// Since when it could be heard without a gap.
        since: Moment,
    },
    /// Take a task back.
    Cancel {
        /// Which.
        id: u64,
    },
    /// Let a held task go.
    Release {
        /// Which.
        id: u64,
    },
    /// Try a task that has ended once more.
    Redrive {
        /// Which.
        id: u64,
    },
    /// Do what is due: delays that are over, tasks that expire, ends that were kept long enough.
    Tick {
        /// The pool.
        pool: String,
        /// Its rules.
        queue: Arc<Queue>,
        /// The workers among which a `PerWorker` queue divides them.
        workers: Vec<String>,
    },
    /// Remove what ended long enough ago of a pool that is no more, or that has no queue any more. What waits stays.
    Sweep {
        /// The pool.
        pool: String,
        /// How long what has ended is kept.
        retention: Retention,
    },
    /// A recurring task has come: remember it, and take it in. Or it is gone: forget it.
    Recur {
        /// The pool.
        pool: String,
        /// Its rules.
        queue: Arc<Queue>,
        /// Its name.
        schedule: String,
        /// When it last came, and how often; absent: it is in the spec no more.
        fired: Option<Fired>,
        /// The task; absent: only what is remembered changes.
        task: Option<Box<NewTask>>,
        /// The workers among which a `PerWorker` queue divides them.
        workers: Vec<String>,
    },
    /// A worker of a `PerWorker` queue is gone: what waits for it waits for the others. One has joined: it takes its share.
    Deal {
        /// The pool.
        pool: String,
        /// The workers that there are.
        workers: Vec<String>,
        /// Those of them that were not among them before.
        joined: Vec<String>,
    },
    /// Hold the queue until then; or let it go on.
    Pause {
        /// The pool.
        pool: String,
        /// Until when; absent: go on now.
        until: Option<Wall>,
        /// Why, in words.
        why: String,
    },
}

/// Why something was not done with a queue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum QueueRefusal {
    /// There is no such task.
    NoTask(u64),
    /// What was asked for does not fit the queue's rules.
    Invalid(String),
    /// The queue is full.
    Full {
        /// In words.
        message: String,
        /// Try again after this.
        retry_after: Span,
    },
    /// The task is not in a state for it, or the lease is another's.
    Conflict(String),
}

impl std::fmt::Display for QueueRefusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            QueueRefusal::NoTask(id) => write!(f, "there is no task {id}"),
            QueueRefusal::Invalid(words) | QueueRefusal::Conflict(words) => f.write_str(words),
            QueueRefusal::Full { message, .. } => f.write_str(message),
        }
    }
}

/// A task that was taken in.
#[derive(Clone, Debug, PartialEq)]
pub struct Submitted {
    /// The task.
    pub task: Task,
    /// It was there before.
    pub known: bool,
    /// Its place among those that wait; 1 is the next. Absent: it does not wait.
    pub position: Option<u64>,
}

/// What came of one [`QueueWork`].
#[derive(Clone, Debug, PartialEq)]
pub enum QueueAnswer {
    /// Taken in.
    Submitted(Vec<Submitted>),
    /// The task that was leased, if there was one.
    Leased(Option<Box<Task>>),
    /// The task that ended as it is now, and the next one.
    Ended {
        /// The one that ended.
        task: Box<Task>,
        /// Who had it: the worker and its run.
        holder: (String, u64),
        /// The whole queue rests until then.
        paused: Option<Wall>,
        /// The next one.
        next: Option<Box<Task>>,
        /// Those that were to come after it, and after those, and are cancelled with it.
        given_up: Vec<Task>,
    },
    /// The task as it is now.
    Task {
        /// It.
        task: Box<Task>,
        /// Those that were to come after it, and after those, and are cancelled with it.
        given_up: Vec<Task>,
    },
    /// Tasks that came to an end by the clock, and whether there is more to do at once.
    Ticked {
        /// Those that expired.
        expired: Vec<Task>,
        /// Those that were to come after one of them, and after those, and are cancelled with it.
        given_up: Vec<Task>,
        /// Numbers of those whose rows are gone.
        gone: Vec<u64>,
        /// There is more to do.
        more: bool,
    },
    /// Done.
    Done,
    /// Not done.
    Refused(QueueRefusal),
}

/// What stands in a pool's queue, as counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueCounts {
    /// Tasks that could be taken now.
    pub ready: u64,
    /// Tasks that wait for their time.
    pub delayed: u64,
    /// Tasks that wait for another of their key.
    pub blocked: u64,
    /// Tasks that wait for a release.
    pub held: u64,
    /// Tasks that a worker has.
    pub leased: u64,
    /// Of a queue that is divided among its workers: those in whose line a task could be taken now.
    pub lines: BTreeSet<String>,
    /// A task could be taken that is in nobody's line.
    pub undealt: bool,
    /// When the first of those ended that succeeded and are still kept.
    pub succeeded: Option<Wall>,
    /// When the first of those ended that did not succeed and are still kept.
    pub failed: Option<Wall>,
    /// When the last of those is tried again that wait for another attempt.
    pub again: Option<Wall>,
    /// When something is due by the clock.
    pub next: Option<Wall>,
    /// Held until then.
    pub paused_until: Option<Wall>,
    /// Why it is held.
    pub paused_why: String,
}

impl QueueCounts {
    /// Tasks that wait, for whatever.
    pub fn queued(&self) -> u64 {
        self.ready + self.delayed + self.blocked
    }

    /// What workers could work on now: those that could be taken, and those that are.
    pub fn backlog(&self) -> u64 {
        self.ready + self.leased
    }

    /// Whether it is held at this time.
    pub fn paused(&self, wall: Wall) -> bool {
        self.paused_until.is_some_and(|until| until > wall)
    }
}
