//! What deciding takes in and gives back: facts of a pool, and the plan for it.
//!
//! A plan leaves no choice to whoever performs it: each [`Action`] is complete. What a plan does not do, it explains
//! ([`Plan::waiting_on`]), and it says when to look again ([`Plan::wake_at`]).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::host::{Look, Squeeze};
use super::line::{Fired, Line};
use super::pool::PoolSpec;
use super::queue::Delivery;
use super::queue_work::QueueCounts;
use super::scaling::{Question, Scaling};
use super::status::{EventType, PoolStatus, Source, WorkerStatus};
use super::task::{End, NewTask};
use super::template::Probe;
use super::time::{Moment, Span, Wall};
use super::worker::{Exit, Seen, SlotState};

/// Everything known of one pool at one moment. Deciding sees nothing else.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// The pool as it was accepted.
    pub pool: &'a PoolFacts,
    /// Its slots by worker name: those in use, and those that once were and still have something to say.
    pub slots: &'a BTreeMap<String, Slot>,
    /// Workers that may be started now, over all paths.
    pub allowance: u32,
    /// The status published last.
    pub previous: &'a PoolStatus,
    /// The highest run number of a slot that was forgotten.
    pub runs: u64,
    /// What is remembered of its scaling.
    pub scaling: &'a Scaling,
    /// What the machine has left; absent: nobody asks.
    pub machine: Option<&'a Look>,
    /// What is kept of its queue.
    pub line: &'a Line,
    /// What stands in the queues of all pools that have one.
    pub queues: &'a BTreeMap<String, QueueCounts>,
    /// Its memory is short, and its policy can give no more; absent: it has room.
    pub squeeze: Option<&'a Squeeze>,
}

/// Workers that have processes: those that are told to stop have theirs still, and use memory.
pub fn populated(slots: &BTreeMap<String, Slot>) -> u32 {
    let runs = |slot: &&Slot| matches!(&slot.seen.state, SlotState::Running(_));
    u32::try_from(slots.values().filter(runs).count()).unwrap_or(u32::MAX)
}

/// Workers that run, and are not told to stop.
pub fn running(slots: &BTreeMap<String, Slot>) -> u32 {
    let runs = |slot: &&Slot| matches!(&slot.seen.state, SlotState::Running(run) if run.stop.is_none() && !run.clearing);
    u32::try_from(slots.values().filter(runs).count()).unwrap_or(u32::MAX)
}

impl Observation<'_> {
    /// Workers that live, those that are ending not counted.
    pub fn live(&self) -> u32 {
        self.count(|slot| match &slot.seen.state {
            SlotState::Starting { .. } => true,
            SlotState::Running(run) => run.stop.is_none() && !run.clearing,
            SlotState::Unknown | SlotState::Vacant | SlotState::Lost { .. } => false,
        })
    }

    /// Workers that say they are busy.
    pub fn busy(&self) -> u32 {
        self.count(|slot| slot.tasks > 0 || matches!(&slot.seen.state, SlotState::Running(run) if run.busy))
    }

    fn count(&self, is: impl Fn(&Slot) -> bool) -> u32 {
        u32::try_from(self.slots.values().filter(|slot| is(slot)).count()).unwrap_or(u32::MAX)
    }
}

/// A pool as accepted, and what is known of its document now.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolFacts {
    /// Its name.
    pub name: String,
    /// Its spec: the last good one.
    pub spec: PoolSpec,
    /// The hash of what its workers are made from.
    pub template: String,
    /// Counts up with each change of the spec.
    pub generation: u64,
    /// Where it came from.
    pub source: Source,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What is wrong with its document now; the last good one stays in force.
    pub refused: Option<String>,
    /// The specs directory cannot be read now, and why; what was accepted before holds.
    pub unreadable: Option<String>,
    /// Why changes of the specs may be heard late, if they may.
    pub degraded: Option<String>,
    /// Which limits of its workers are not held on this machine, and why; absent: all that it asks for are.
    pub unenforced: Option<String>,
    /// No worker is wanted any more, and why.
    pub ending: Option<Ending>,
    /// What is wanted of it is not known, and why: the spec is a guess. See [`PoolFacts::is_held`].
    pub held: Option<String>,
    /// Its document is gone: it runs on for the grace, or until that is confirmed.
    pub vanished: bool,
    /// Its removal waits for a confirmation with this token.
    pub prune_blocked: Option<String>,
}

impl PoolFacts {
    /// Each run of a worker is for one task: a slot without one is idle, and not missing.
    pub fn per_task(&self) -> bool {
        self.spec.queue.as_ref().is_some_and(|queue| queue.delivery == Delivery::Process)
    }

    /// Workers live on between tasks, and ask for them.
    pub fn takes_tasks(&self) -> bool {
        self.spec.queue.as_ref().is_some_and(|queue| queue.delivery == Delivery::Lease)
    }

    /// A pool of which only workers are left: nobody knows its document any more.
    pub fn orphan(name: &str) -> PoolFacts {
        PoolFacts {
            name: name.into(),
            spec: PoolSpec { replicas: Some(0), ..PoolSpec::default() },
            template: String::new(),
            generation: 0,
            source: Source { file: "the specs".into(), ..Source::default() },
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            refused: None,
            unreadable: None,
            degraded: None,
            unenforced: None,
            ending: Some(Ending::Removed),
            held: None,
            vanished: false,
            prune_blocked: None,
        }
    }

    /// A pool of which only workers are known, while a document may stand for it all the same.
    pub fn held(name: &str, why: String) -> PoolFacts {
        let source = Source::default();
        PoolFacts { source, ending: None, held: Some(why), ..PoolFacts::orphan(name) }
    }

    /// Its workers are left as they are: none is started, none is stopped, and no end is judged.
    pub fn is_held(&self) -> bool {
        self.held.is_some() && self.ending.is_none()
    }
}

/// Why a pool comes to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It is gone from the specs and its grace is over. It is forgotten with its last worker.
    Removed,
    /// The daemon stops and takes its workers with it. The pool stays.
    Shutdown,
}

/// A slot: what is seen of it, what is remembered, and what is under way.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Slot {
    /// What is seen.
    pub seen: Seen,
    /// What is remembered across restarts of the daemon.
    pub record: Record,
    /// Probe results of the present run.
    pub health: Health,
    /// The preStop command of the present run.
    pub pre_stop: Option<PreStopState>,
    /// Since when it is idle, as far as this daemon has seen: ready and not busy.
    pub idle_since: Option<Moment>,
    /// Since when it is ready, as far as this daemon has seen.
    pub ready_since: Option<Moment>,
    /// Tasks that its present run has.
    pub tasks: u32,
    /// When it was given the last of them.
    pub given: Option<Moment>,
    /// It is on its way out, and takes no more tasks: it is replaced as soon as it is idle, or its preStop runs.
    pub retiring: bool,
    /// What its present run was started from, where that is known: it is judged and ended by it as long as it lives.
    pub made_from: Option<Arc<PoolFacts>>,
    /// The run that this daemon knows by itself: it has started it, or its probes have told how it is. Of any other one it knows
    /// what the shim tells.
    pub known_run: u64,
    /// Since when its signs can be heard without a gap, where there was one.
    pub heard_since: Moment,
    /// When it was last asked what has become of its present start.
    pub looked: Option<Moment>,
    /// Whether it was told to be ready last, and since when it is told so.
    pub told_ready: Option<(bool, Wall)>,
}

/// What is remembered of a slot: one row in the store, written before what it announces is done.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Record {
    /// The number of the last start that was intended.
    pub incarnation: u64,
    /// When the slot was first used.
    pub created: Wall,
    /// The template's hash of that start.
    pub template: String,
    /// That start was of a process for one task. Absent: it was made by a weir that did not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub for_task: Option<bool>,
    /// Attempts at tasks that its last run has ended.
    #[serde(skip_serializing_if = "is_zero")]
    pub tasks: u32,
    /// Starts after an end that nobody asked for.
    pub restarts: u32,
    /// Ends in a row that nobody asked for; back to zero after a healthy run.
    pub failures: u32,
    /// Not to be started before this moment.
    pub next_start: Option<Moment>,
    /// The run whose end is recorded in `last_exit` and in the history.
    pub recorded: u64,
    /// How the last run ended.
    pub last_exit: Option<Exit>,
    /// A person asked for this run to be replaced.
    pub restart_asked: Option<u64>,
    /// A person asked for this run to take nothing more, and to be replaced when it is idle.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub drain_asked: Option<u64>,
    /// Why the present run is being ended by weir as failed (a probe, a stall), so that its end counts as a failure.
    pub condemned: Option<String>,
    /// The last run that was ended by weir as failed: `condemned` is over with its end, which may be looked at later.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed_run: Option<u64>,
}

fn is_zero(count: &u32) -> bool {
    *count == 0
}

/// Probe results of one run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Health {
    /// Whose results these are; those of another run do not count.
    pub incarnation: u64,
    /// By probe.
    pub probes: BTreeMap<ProbeKind, ProbeState>,
}

/// Which probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProbeKind {
    /// Until it passes once, the others rest.
    Startup,
    /// Says whether the worker can work.
    Readiness,
    /// Says whether the worker should be restarted.
    Liveness,
}

/// The results of one probe so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ProbeState {
    /// When it was last sent out.
    pub asked: Option<Moment>,
    /// When the last answer came; older than `asked` while one is out.
    pub answered: Option<Moment>,
    /// Good answers in a row.
    pub successes: u32,
    /// Bad answers in a row.
    pub failures: u32,
    /// It has passed its success threshold, and not its failure threshold since.
    pub passing: bool,
    /// The last bad answer's words.
    pub message: String,
}

/// A preStop command under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PreStopState {
    /// For which run.
    pub incarnation: u64,
    /// Since when.
    pub since: Moment,
    /// It has ended, well or not.
    pub done: bool,
}

/// One thing to do. Complete in itself: performing it needs no further decision.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Start a run in a slot that is proved vacant; its record row is committed first.
    Start {
        /// The worker.
        worker: String,
        /// The new run's number.
        incarnation: u64,
    },
    /// Run the preStop command.
    PreStop {
        /// The worker.
        worker: String,
        /// Its run.
        incarnation: u64,
        /// At most this long.
        timeout: Span,
    },
    /// Send the stop signal (and SIGCONT) to the main process.
    Signal {
        /// The worker.
        worker: String,
        /// Its run.
        incarnation: u64,
        /// The signal's number.
        signal: i32,
    },
    /// SIGKILL the whole tree.
    Kill {
        /// The worker.
        worker: String,
        /// Its run.
        incarnation: u64,
    },
    /// Send out a probe.
    Probe {
        /// The worker.
        worker: String,
        /// Its run.
        incarnation: u64,
        /// Which.
        kind: ProbeKind,
        /// How, and for how long at most.
        probe: Box<Probe>,
    },
    /// Ask what has become of a start that nothing was heard of.
    Look {
        /// The worker.
        worker: String,
        /// Its run.
        incarnation: u64,
    },
    /// Ask the shim for fresh counters.
    Refresh {
        /// The worker.
        worker: String,
    },
    /// Let the shim of an unneeded slot go, and forget the slot: its directory and its row.
    Forget {
        /// The worker.
        worker: String,
    },
}

impl Action {
    /// The worker that it is about.
    pub fn worker(&self) -> &str {
        match self {
            Action::Start { worker, .. }
            | Action::PreStop { worker, .. }
            | Action::Signal { worker, .. }
            | Action::Kill { worker, .. }
            | Action::Probe { worker, .. }
            | Action::Look { worker, .. }
            | Action::Refresh { worker }
            | Action::Forget { worker } => worker,
        }
    }
}

/// Something to be told: a history row, an event, and a line in the daemon's log.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Normal or Warning.
    pub severity: EventType,
    /// One CamelCase word.
    pub reason: &'static str,
    /// The worker that it is about; absent: the pool.
    pub worker: Option<String>,
    /// The run that it is about, if any: with the reason it makes the happening unique, so that each end is told once.
    pub incarnation: Option<u64>,
    /// A sentence.
    pub note: String,
}

/// What should happen now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// What to do, stops before starts.
    pub actions: Vec<Action>,
    /// Record rows that changed, to be committed before the actions.
    pub records: BTreeMap<String, Record>,
    /// The pool's status.
    pub status: PoolStatus,
    /// Its workers' statuses.
    pub workers: BTreeMap<String, WorkerStatus>,
    /// What to tell.
    pub happenings: Vec<Happening>,
    /// So many of these, the first ones, follow from the status before: with this one as the status before they do not come again.
    pub lasting: usize,
    /// When to look again though nothing happens.
    pub wake_at: Option<Moment>,
    /// What it waits for, in words.
    pub waiting_on: Vec<String>,
    /// Which of that is a worker that has to stay ready for `minReady`.
    pub fresh: Option<String>,
    /// Starts that it would make with a larger allowance.
    pub starts_withheld: u32,
    /// The pool is gone with its last worker: forget it.
    pub finished: bool,
    /// What is to be asked now.
    pub questions: Vec<Question>,
    /// What is remembered of its scaling from now on.
    pub scaling: Scaling,
    /// Leases whose holder is gone, and how those attempts ended.
    pub ends: Vec<(u64, End)>,
    /// Workers that are to be stopped because a task of theirs has to end, and why.
    pub overdue: BTreeMap<String, String>,
    /// The workers among which a divided queue is dealt; absent where it is not divided, or that is not known yet.
    pub takers: Option<Vec<String>>,
    /// Workers that are given no more tasks: busy ones that are replaced as soon as they are idle, and those whose preStop runs.
    pub retiring: BTreeSet<String>,
    /// The queue has something to do by the clock.
    pub tick: bool,
    /// Recurring tasks that came: their name, what to remember, and the task. What is gone from the spec is to be forgotten: none.
    pub recur: Vec<(String, Option<Fired>, Option<Box<NewTask>>)>,
}

impl Plan {
    /// Look again at `moment` or earlier.
    pub fn wake(&mut self, moment: Moment) {
        self.wake_at = Some(self.wake_at.map_or(moment, |at| at.min(moment)));
    }
}
