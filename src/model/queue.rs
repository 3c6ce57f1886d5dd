//! What a pool works on: its durable queue of tasks.
//!
//! Only the wish is here. The states of a task and the rules between them belong to a later room.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::hook::{ForgeEvent, ForgeKind};
use super::source::SecretSource;
use super::time::Span;

/// The embedded durable queue of a pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Queue {
    /// How tasks reach workers.
    pub delivery: Delivery,
    /// Whether workers share one queue.
    pub dispatch: Dispatch,
    /// Which task is next.
    pub order: Order,
    /// A waiting task rises one priority level each time this has passed.
    #[schemars(extend("x-min" = "1s"))]
    pub ageing: Span,
    /// Most tasks queued; a submit beyond it is refused with a time to try again.
    #[schemars(range(min = 1, max = 10_000_000))]
    pub capacity: u32,
    /// A task queued for longer expires, with an event and a notification.
    #[schemars(extend("x-min" = "1s"))]
    pub ttl: Span,
    /// How long one attempt may take, if the task does not say.
    #[schemars(extend("x-min" = "1s"))]
    pub timeout: Span,
    /// How long a task may ask for; not below `timeout`.
    #[schemars(extend("x-min" = "1s"))]
    pub max_timeout: Span,
    /// For `Lease`: how long a worker holds a task without a heartbeat.
    #[schemars(extend("x-min" = "1s"))]
    pub lease_duration: Span,
    /// What happens to a failed attempt.
    pub retry: Retry,
    /// Ends that are treated in another way. The first rule that fits counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub failure_policy: Vec<FailureRule>,
    /// How long finished tasks are kept.
    pub retention: Retention,
    /// Two tasks with the same `key` never run at once.
    pub concurrency_key: bool,
    /// Recurring tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 1000))]
    pub schedules: Vec<TaskSchedule>,
    /// Events of a forge that become tasks.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub webhooks: Vec<ForgeHook>,
}

impl Default for Queue {
    fn default() -> Queue {
        Queue {
            delivery: Delivery::default(),
            dispatch: Dispatch::default(),
            order: Order::default(),
            ageing: Span::secs(600),
            capacity: 1000,
            ttl: Span::secs(24 * 3600),
            timeout: Span::secs(1800),
            max_timeout: Span::secs(6 * 3600),
            lease_duration: Span::secs(60),
            retry: Retry::default(),
            failure_policy: Vec::new(),
            retention: Retention::default(),
            concurrency_key: true,
            schedules: Vec::new(),
            webhooks: Vec::new(),
        }
    }
}

/// How tasks reach workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Delivery {
    /// The template is run once for each task.
    #[default]
    Process,
    /// Long-lived workers take tasks over the worker API.
    Lease,
}

/// Whether workers share one queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Dispatch {
    /// One queue for the pool.
    #[default]
    Shared,
    /// Each worker has its own: idle ones first in turn, else the least loaded.
    PerWorker,
}

/// Which task is next.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Order {
    /// The highest priority (9 first, 0 last), then the oldest.
    #[default]
    Priority,
    /// The oldest.
    FIFO,
}

/// What happens to a failed attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retry {
    /// Attempts in all.
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: u32,
    /// The wait before the next attempt; none where the worker was killed or lost, and did not crash by itself.
    pub backoff: RetryBackoff,
    /// Which ends are tried again.
    pub on: Vec<RetryOn>,
}

impl Default for Retry {
    fn default() -> Retry {
        let on = vec![RetryOn::Failed, RetryOn::Timeout, RetryOn::WorkerLost];
        Retry { max_attempts: 3, backoff: RetryBackoff::default(), on }
    }
}

/// The wait before the next attempt: `initial`, doubled each time up to `max`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RetryBackoff {
    /// The first wait.
    pub initial: Span,
    /// The longest wait; not below `initial`.
    pub max: Span,
}

impl Default for RetryBackoff {
    fn default() -> RetryBackoff {
        RetryBackoff { initial: Span::secs(10), max: Span::secs(600) }
    }
}

/// An end of an attempt that may be tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum RetryOn {
    /// It failed.
    Failed,
    /// It took too long.
    Timeout,
    /// Its worker was lost.
    WorkerLost,
}

/// What to do about some failed attempts: exactly one of `exitCodes` and `output` says which.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["exitCodes", "output"]))]
pub struct FailureRule {
    /// Those with one of these exit codes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 255))]
    pub exit_codes: Vec<u8>,
    /// Those whose last 4 KiB of output, or whose message, has this text in it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1000))]
    pub output: Option<String>,
    /// What is done.
    pub action: FailureAction,
    /// For `PausePool`: for so long. Absent, with no `until`: 5m.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1s"))]
    pub pause_for: Option<Span>,
    /// For `PausePool`: until the next time of this clock, as five cron fields in UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cron"))]
    pub until: Option<String>,
}

/// What is done about a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureAction {
    /// It is tried again, and does not count as an attempt.
    Ignore,
    /// It is tried again, as long as there are attempts left.
    Retry,
    /// It is not tried again.
    Fail,
    /// The whole queue rests, and the attempt does not count.
    PausePool,
}

/// How long finished tasks are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Retention {
    /// Those that succeeded.
    pub succeeded: Span,
    /// Those that failed.
    pub failed: Span,
}

impl Default for Retention {
    fn default() -> Retention {
        Retention { succeeded: Span::secs(24 * 3600), failed: Span::secs(7 * 24 * 3600) }
    }
}

/// A recurring task: exactly one of `cron` and `every`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["cron", "every"]))]
pub struct TaskSchedule {
    /// Its name in status and events.
    #[schemars(extend("format" = "label"))]
    pub name: String,
    /// When: five cron fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "cron"))]
    pub cron: Option<String>,
    /// The IANA time zone of `cron`. Absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "time-zone"))]
    pub time_zone: Option<String>,
    /// The time from one to the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1s"))]
    pub every: Option<Span>,
    /// After so many it ends. Absent: never.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1))]
    pub count: Option<u32>,
    /// What the task carries.
    #[serde(default)]
    pub payload: serde_json::Map<String, serde_json::Value>,
    /// Its priority, 9 first.
    #[serde(default)]
    #[schemars(range(min = 0, max = 9))]
    pub priority: u8,
}

/// Events of a forge that become tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ForgeHook {
    /// Whose events these are.
    pub provider: ForgeKind,
    /// Where the shared secret is read from; never inline. It has at least 32 characters; without it the webhook is off.
    pub secret_from: SecretSource,
    /// Where the secret of before is read from: while the forge is given a new one, either is good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous_secret_from: Option<SecretSource>,
    /// The events.
    #[schemars(length(min = 1, max = 100))]
    pub on: Vec<ForgeEvent>,
    /// Fields of the event, with dots, and the values that they must have. Of a list, one item must have it.
    #[serde(default, rename = "match", skip_serializing_if = "BTreeMap::is_empty")]
    pub matches: BTreeMap<String, String>,
    /// Who may cause tasks, by login. Empty: only actors with write permission, as the event states it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow_actors: Vec<String>,
    /// The task's key, with fields of the event as `$(…)`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the task carries, with fields of the event as `$(…)`.
    #[serde(default)]
    pub payload: serde_json::Map<String, serde_json::Value>,
}
