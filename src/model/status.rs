//! What weir says about pools and workers: objects in Kubernetes' shape, conditions and events.
//!
//! Status is derived from what was observed and never read back as truth. A condition's `lastTransitionTime` moves only
//! when its `status` does, so that two equal situations give two equal statuses.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meta;
pub use super::object::{API_VERSION, Condition, Meta, Source, Truth};
use super::policy_status::PolicyObject;
use super::pool::PoolSpec;
use super::scaling::{Allowance, Clamp, Explanation, SignalState};
use super::time::Wall;
use super::worker::Exit;

/// The condition of a pool and of its policy that memory is short and no more can be given.
pub const MEMORY_PRESSED: &str = "MemoryPressed";
/// The condition of a pool: whether its quotas allow new work.
pub const QUOTA_AVAILABLE: &str = "QuotaAvailable";

/// An annotation of an object that is told of as deleted because another one of its name has come in its place at once, as the
/// next run of a worker does: the uid of that one.
pub const SUCCEEDED_BY: &str = "weir.dev/succeeded-by";

/// A pool with its status, as served and written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolObject {
    /// `weir.dev/v1`.
    pub api_version: String,
    /// `WorkerPool`.
    pub kind: String,
    /// Metadata.
    pub metadata: Meta,
    /// The spec, defaults filled in.
    pub spec: PoolSpec,
    /// The status.
    pub status: PoolStatus,
}

impl PoolStatus {
    /// No task of the pool is begun: its memory is short, or a quota of it is used up or was not read yet.
    pub fn begins_nothing(&self) -> bool {
        let pressed = self.conditions.iter().any(|said| said.kind == MEMORY_PRESSED && said.status == Truth::True);
        pressed || self.scaling.as_ref().is_some_and(|why| !why.quotas.iter().all(Allowance::allows))
    }

    /// Workers that there can be now: as many as its scale allows; those that are wanted, where its size is fixed or held, or where
    /// there is no room for more.
    pub fn slots(&self) -> u32 {
        let Some(why) = &self.scaling else { return self.desired_replicas };
        let full = ["headroom", "poolBudget", "quota"];
        let held = |clamp: &Clamp| clamp.name == "paused" || (clamp.to < clamp.from && full.contains(&clamp.name.as_str()));
        if why.clamps.iter().any(held) { self.desired_replicas } else { why.max.max(self.desired_replicas) }
    }
}

/// A pool's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PoolStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: u64,
    /// Workers there are: starting, running, terminating and stuck.
    pub replicas: u32,
    /// Workers that are ready.
    pub ready_replicas: u32,
    /// Workers that say they are busy.
    pub busy_replicas: u32,
    /// Workers wanted.
    pub desired_replicas: u32,
    /// Workers of the current template.
    pub updated_replicas: u32,
    /// Workers being stopped.
    pub terminating_replicas: u32,
    /// Workers that do not die.
    pub stuck_replicas: u32,
    /// Label selector of the pool's workers.
    pub selector: String,
    /// The hash of the current template.
    pub template_hash: String,
    /// What the pool waits for, in words; empty when settled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting_on: Vec<String>,
    /// When the number wanted last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Wall>,
    /// How it last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale: Option<Scaled>,
    /// What its triggers say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub backlog: Vec<Backlog>,
    /// Why this many: the last decision, whole. Absent for a fixed number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Explanation>,
    /// What stands in its queue, and what came of the tasks. Absent for a pool without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<QueueStatus>,
    /// Where the spec comes from.
    pub source: Source,
    /// Conditions, in a fixed order.
    pub conditions: Vec<Condition>,
}

/// What stands in a pool's queue.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct QueueStatus {
    /// Tasks that could be taken now.
    pub ready: u64,
    /// Tasks that wait for their time.
    pub delayed: u64,
    /// Tasks that wait for another of their key.
    pub blocked: u64,
    /// Tasks that wait for a release.
    pub held: u64,
    /// Tasks that a worker has.
    pub running: u64,
    /// Tasks that could be begun beside those that run: by workers that are idle, and by those that the pool can grow by.
    pub free_slots: u32,
    /// Most tasks queued.
    pub capacity: u32,
    /// The queue rests until then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub paused_until: Option<Wall>,
    /// Why it rests.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub paused_why: String,
    /// When its recurring tasks come next.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schedules: Vec<ScheduleStatus>,
    /// What came of its tasks since the daemon started.
    pub stats: TaskStats,
}

/// A recurring task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ScheduleStatus {
    /// Its name in the spec.
    pub name: String,
    /// When it comes next. Absent: it came as often as it may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next: Option<Wall>,
    /// How often it came.
    pub count: u32,
}

/// What came of tasks, since the daemon started. Times are of the last 100.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TaskStats {
    /// Tasks that succeeded.
    pub done: u64,
    /// Attempts that did not.
    pub failed: u64,
    /// Time spent on both, in milliseconds.
    pub busy_ms: u64,
    /// Half of the attempts took no longer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p50_ms: Option<u64>,
    /// 95 of 100 took no longer, in milliseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p95_ms: Option<u64>,
}

/// What a trigger says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backlog {
    /// The trigger's name.
    pub trigger: String,
    /// The number; null when there is none.
    pub value: Option<f64>,
    /// How far it can be trusted.
    pub state: SignalState,
    /// When it was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Wall>,
    /// Why the last question failed, while it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// One change of size.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Scaled {
    /// Workers wanted before.
    pub from: u32,
    /// Workers wanted since.
    pub to: u32,
    /// Why.
    pub reason: String,
}

/// What a worker is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Phase {
    /// Nothing runs; a start is due or waits for its turn.
    #[default]
    Pending,
    /// Being started: not yet exec'd, or the startup probe has not passed.
    Starting,
    /// Runs, and is not ready.
    Running,
    /// Runs and is ready.
    Ready,
    /// Runs, is ready and says it is busy.
    Busy,
    /// Being stopped.
    Terminating,
    /// Sent SIGKILL and still not gone.
    Stuck,
    /// Waits before the next start after failures.
    BackOff,
    /// Nothing runs: the daemon ended and stopped it first, or its pool goes. The next daemon starts what is wanted then.
    Stopped,
    /// Ended and is not to be started again (restart policy).
    Completed,
    /// Ended with a failure and is not to be started again.
    Failed,
    /// Its shim was killed; what is left of it is being cleared up.
    Lost,
}

/// A worker, as served and written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerObject {
    /// `weir.dev/v1`.
    pub api_version: String,
    /// `Worker`.
    pub kind: String,
    /// Metadata; `owner` is the pool.
    pub metadata: Meta,
    /// The status.
    pub status: WorkerStatus,
}

/// A worker's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct WorkerStatus {
    /// What it is doing.
    pub phase: Phase,
    /// The main process, while there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Which run of the slot this is.
    pub incarnation: u64,
    /// Ready to work: the readiness probe, `READY=1`, or simply running when it has neither.
    pub ready: bool,
    /// Says it is busy.
    pub busy: bool,
    /// It takes no more tasks, and ends when it is idle.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub draining: bool,
    /// Conditions: `Ready`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Condition>,
    /// Times it was started again after an end that was not asked for.
    pub restarts: u32,
    /// When this run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Wall>,
    /// When the next start is due, in back-off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_start_at: Option<Wall>,
    /// The template's hash that it runs.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub template_hash: String,
    /// Its own `STATUS=` text, or why it waits.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Output bytes dropped.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub dropped_log_bytes: u64,
    /// How the last run ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_exit: Option<Exit>,
    /// The tasks that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<u64>,
    /// What came of its tasks. Absent when it had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stats: Option<TaskStats>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// Normal or Warning, as in Kubernetes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EventType {
    /// All as it should be.
    #[default]
    Normal,
    /// A person may want to look.
    Warning,
}

/// Something that happened, for the history and for people.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EventObject {
    /// `weir.dev/v1`.
    pub api_version: String,
    /// `Event`.
    pub kind: String,
    /// Metadata: the name is unique.
    pub metadata: Meta,
    /// Normal or Warning.
    #[serde(rename = "type")]
    pub severity: EventType,
    /// One CamelCase word, as `Started`.
    pub reason: String,
    /// What it is about: `pool/claude`, `worker/claude-0`.
    pub regarding: String,
    /// A sentence.
    pub note: String,
    /// When.
    pub event_time: Wall,
}

/// Anything that is served.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Object {
    /// A pool.
    Pool(Box<PoolObject>),
    /// A worker.
    Worker(Box<WorkerObject>),
    /// A policy.
    Policy(Box<PolicyObject>),
    /// An event.
    Event(Box<EventObject>),
}

/// The kinds that are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `workerpools`
    Pool,
    /// `workers`
    Worker,
    /// `resourcepolicies`
    Policy,
    /// `events`
    Event,
}

impl Kind {
    /// All of them.
    pub const ALL: [Kind; 4] = [Kind::Pool, Kind::Worker, Kind::Policy, Kind::Event];

    /// The resource's name in a URL.
    pub const fn plural(self) -> &'static str {
        match self {
            Kind::Pool => "workerpools",
            Kind::Worker => "workers",
            Kind::Policy => "resourcepolicies",
            Kind::Event => "events",
        }
    }

    /// The kind's name in an object.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Pool => "WorkerPool",
            Kind::Worker => "Worker",
            Kind::Policy => "ResourcePolicy",
            Kind::Event => "Event",
        }
    }

    /// The kind of the documents that these come from; none where there is no document.
    pub const fn document(self) -> Option<meta::Kind> {
        match self {
            Kind::Pool => Some(meta::Kind::WorkerPool),
            Kind::Policy => Some(meta::Kind::ResourcePolicy),
            Kind::Worker | Kind::Event => None,
        }
    }
}

impl From<meta::Kind> for Kind {
    fn from(kind: meta::Kind) -> Kind {
        match kind {
            meta::Kind::WorkerPool => Kind::Pool,
            meta::Kind::ResourcePolicy => Kind::Policy,
        }
    }
}

impl Object {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Object::Pool(_) => Kind::Pool,
            Object::Worker(_) => Kind::Worker,
            Object::Policy(_) => Kind::Policy,
            Object::Event(_) => Kind::Event,
        }
    }

    /// Its metadata, to be changed.
    pub fn meta_mut(&mut self) -> &mut Meta {
        match self {
            Object::Pool(o) => &mut o.metadata,
            Object::Worker(o) => &mut o.metadata,
            Object::Policy(o) => &mut o.metadata,
            Object::Event(o) => &mut o.metadata,
        }
    }

    /// Its metadata.
    pub fn meta(&self) -> &Meta {
        match self {
            Object::Pool(o) => &o.metadata,
            Object::Worker(o) => &o.metadata,
            Object::Policy(o) => &o.metadata,
            Object::Event(o) => &o.metadata,
        }
    }
}
