//! What the tools take, as types: their schemas, and the words of a refusal, follow from them.
//!
//! No field is here by which bounds, commands or secrets could be changed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::policy::{Mode, Profile};
use crate::model::quantity::{Cpu, Memory};
use crate::model::time::Span;

/// A filter.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pools {
    /// Label selector, as `tier=front,env in (a,b)`.
    pub labels: Option<String>,
}

/// One pool.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pool {
    /// The pool's name.
    pub pool: String,
}

/// Which workers.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Workers {
    /// Those of this pool.
    pub pool: Option<String>,
    /// This one.
    pub worker: Option<String>,
    /// With `worker`: so many lines of its output, 50 unless told, 500 at most.
    pub log_lines: Option<u32>,
}

/// Which policies.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policies {
    /// This one; absent: all.
    pub policy: Option<String>,
}

/// One policy.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    /// The policy's name.
    pub policy: String,
}

/// How far back.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Metrics {
    /// The policy's name.
    pub policy: String,
    /// So far back, as `24h`; an hour unless told.
    #[serde(rename = "for")]
    pub span: Option<Span>,
}

/// How much of which history.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct History {
    /// The policy's name.
    pub policy: String,
    /// So many changes, 50 unless told, 500 at most.
    pub limit: Option<u32>,
}

/// How much of which queue.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Queue {
    /// The pool's name.
    pub pool: String,
    /// So many tasks, 50 unless told, 500 at most.
    pub limit: Option<u32>,
}

/// One task.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Task {
    /// The task's number.
    pub task: u64,
}

/// One task, and how much of its output.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TaskWithLog {
    /// The task's number.
    pub task: u64,
    /// So many lines of its output, 50 unless told, 500 at most.
    pub log_lines: Option<u32>,
}

/// Which events.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Events {
    /// About this: `pool/NAME` or `worker/NAME`. Absent: all.
    pub about: Option<String>,
    /// So many, 50 unless told, 500 at most.
    pub limit: Option<u32>,
}

/// A task.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Submit {
    /// The pool that is to do it.
    #[serde(skip_serializing)]
    pub pool: String,
    /// What the task carries: any JSON, at most 256 KiB.
    pub payload: Value,
    /// 9 goes first, 0 last.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 9))]
    pub priority: Option<u8>,
    /// No two tasks with the same key run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A second submit with it gives the task of the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// It expires if nobody has taken it after this.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// How long one attempt may take.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Attempts in all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Not to be taken before this has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// It waits until a person releases it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold: Option<bool>,
    /// It waits until these tasks have succeeded, and is cancelled when one of them ends otherwise; at most 100.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 100))]
    pub after: Option<Vec<u64>>,
}

/// A size.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScalePool {
    /// The pool's name.
    pub pool: String,
    /// So many workers.
    pub replicas: u32,
}

/// A pause, or its end.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PausePool {
    /// The pool's name.
    pub pool: String,
    /// For so long, as `30m`. Absent: until it is resumed.
    #[serde(rename = "for")]
    pub span: Option<Span>,
    /// Let it follow its triggers again.
    #[serde(default)]
    pub resume: bool,
}

/// A mode.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetMode {
    /// The policy's name.
    pub policy: String,
    /// The mode.
    pub mode: Mode,
}

/// A profile.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetProfile {
    /// The policy's name.
    pub policy: String,
    /// The profile.
    pub profile: Profile,
}

/// Limits to hold.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ManualLimits {
    /// The policy's name.
    #[serde(skip_serializing)]
    pub policy: String,
    /// CPU, as `1500m` or `2`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory, as `512Mi`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// Why, for the history.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// When limits are moved.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SetThresholds {
    /// The policy's name.
    pub policy: String,
    /// Raise a limit when more than this of it is used.
    pub scale_up: Option<Percents>,
    /// Lower the limits when less than this of each is used.
    pub scale_down: Option<Percents>,
}

/// In percent of the limit.
#[derive(Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Percents {
    /// CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cpu: Option<u8>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub memory: Option<u8>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub tasks: Option<u8>,
}
