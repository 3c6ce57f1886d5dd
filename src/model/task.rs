//! A task: one piece of work of a pool's queue, from its submit to its end.
//!
//! ```text
//!   Held --release--> Queued --lease--> Leased --end--> Succeeded | Failed | Dead | Cancelled
//!                       ^  |               |
//!                       |  +--> Expired | Cancelled
//!                       +------- again after a while
//! ```
//! Plain data: the rules between the states are in `decide::dispatch`, the rows in `edge::store`. A number that is missing is
//! absent, never zero. `epoch` counts the leases of a task: whoever holds an older one holds nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::time::{Moment, Span, Wall};

/// Largest payload and largest result, in bytes of JSON.
pub const PAYLOAD_BYTES_MAX: usize = 256 * 1024;
/// Longest concurrency key or idempotency key, in bytes.
pub const KEY_BYTES_MAX: usize = 512;
/// The exit code in a slot's record when a task did not fit the template: EX_DATAERR. Nothing was run then.
pub const UNFIT_CODE: i32 = 65;
/// Most tasks that one comes after.
pub const AFTER_MAX: usize = 100;
/// Longest message of an end, in bytes.
pub const MESSAGE_BYTES_MAX: usize = 4096;

/// Where a task is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum TaskState {
    /// It waits for somebody to release it, or for the tasks that it comes after.
    Held,
    /// It waits for a worker, for its time, or for another task of its key.
    #[default]
    Queued,
    /// A worker has it.
    Leased,
    /// It is done.
    Succeeded,
    /// It failed, and is not tried again.
    Failed,
    /// It failed as often as it may.
    Dead,
    /// Somebody took it back.
    Cancelled,
    /// It waited too long.
    Expired,
}

impl TaskState {
    /// All of them, in the order of a life.
    pub const ALL: [TaskState; 8] = [
        TaskState::Held,
        TaskState::Queued,
        TaskState::Leased,
        TaskState::Succeeded,
        TaskState::Failed,
        TaskState::Dead,
        TaskState::Cancelled,
        TaskState::Expired,
    ];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            TaskState::Held => "Held",
            TaskState::Queued => "Queued",
            TaskState::Leased => "Leased",
            TaskState::Succeeded => "Succeeded",
            TaskState::Failed => "Failed",
            TaskState::Dead => "Dead",
            TaskState::Cancelled => "Cancelled",
            TaskState::Expired => "Expired",
        }
    }

    /// Nothing follows it but a redrive by a person.
    pub const fn is_final(self) -> bool {
        match self {
            TaskState::Held | TaskState::Queued | TaskState::Leased => false,
            TaskState::Succeeded | TaskState::Failed | TaskState::Dead | TaskState::Cancelled | TaskState::Expired => true,
        }
    }
}

/// Why an attempt ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum EndReason {
    /// It did what it should: exit code 0, or the worker said so.
    Done,
    /// It failed: another exit code, a signal, or the worker said so.
    #[default]
    Failed,
    /// It asked for another attempt: exit code 75, or the worker said so.
    Again,
    /// It took longer than its timeout.
    Timeout,
    /// Its worker ended under it, or was lost.
    WorkerLost,
    /// It never began: the worker could not be started. Does not count.
    NotStarted,
    /// What it carries does not fit the pool's template: it is not tried again.
    Unfit,
    /// Weir ended its worker for a reason that is not the task's. Does not count.
    Returned,
    /// Somebody cancelled it.
    Cancelled,
    /// Nobody took it in time.
    Expired,
    /// A task that it was to come after did not succeed.
    DependencyFailed,
}

/// What a queued task waits for, where it is not its turn alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waiting {
    /// Its time.
    Delayed,
    /// Another task of its key.
    Blocked,
}

/// What the run of a task has left behind.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Leavings {
    /// What it gave back.
    pub result: Option<Value>,
    /// Why that is not here, where it gave back what cannot be kept.
    pub lost: Option<String>,
    /// The end of its output, where that was asked for.
    pub output: String,
}

/// How an attempt, or a whole task, ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct End {
    /// Why.
    pub reason: EndReason,
    /// The exit code, where a process ran for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// More words.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How long the attempt took, in milliseconds.
    pub ran_ms: u64,
    /// The most memory that its process used, in bytes. Absent: it had none of its own, or was killed for its memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// The worker broke by itself, and was not ended by somebody else: it crashed, or was ended for its health. Not kept.
    #[serde(skip)]
    pub broke: bool,
}

/// A task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Task {
    /// Its number: counts up over all pools.
    pub id: u64,
    /// Its pool, which is its type.
    pub pool: String,
    /// Where it is in its life.
    pub state: TaskState,
    /// 9 goes first, 0 last.
    pub priority: u8,
    /// No two tasks with the same key run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A second submit with it is the first one's task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// What it carries.
    pub payload: Value,
    /// The worker that has it, or, in a `PerWorker` queue, that it waits for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub worker: Option<String>,
    /// The run of the worker that has it.
    #[serde(skip_serializing_if = "is_zero")]
    pub run: u64,
    /// How often it was leased: fences off whoever held it before.
    pub epoch: u64,
    /// A random number that only the holder of this epoch was told.
    #[serde(skip)]
    pub nonce: u64,
    /// Attempts begun that count.
    pub attempt: u32,
    /// Attempts in all.
    pub max_attempts: u32,
    /// How long one attempt may take.
    pub timeout: Span,
    /// When it was submitted.
    pub created: Wall,
    /// Not to be leased before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Wall>,
    /// How long it may wait to be taken.
    pub ttl: Span,
    /// If nobody has taken it by then, it expires.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires: Option<Wall>,
    /// When the present or last attempt began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub started: Option<Wall>,
    /// The same on the boot clock, of this boot. Kept, and not shown.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub begun: Option<Moment>,
    /// When it came to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub finished: Option<Wall>,
    /// When the present attempt has taken too long, on the boot clock.
    #[serde(skip)]
    pub deadline: Option<Moment>,
    /// When the worker must have been heard of, on the boot clock. For `Lease`.
    #[serde(skip)]
    pub lease_until: Option<Moment>,
    /// It is held until these have succeeded, those that have not yet. Empty: it waits for no other.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<u64>,
    /// Another task of its key has a worker.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub blocked: bool,
    /// Its worker has been told to stop it; or was, before the task ended.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub cancelling: bool,
    /// What the holder last said of its progress.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub progress: String,
    /// How the last attempt ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub end: Option<End>,
    /// What it gave back.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Where it came from: `submit`, `schedule/<name>`, `webhook/<event>`.
    pub source: String,
    /// The names in `payload` whose values have text of a forge's event in them, which anybody may have written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub untrusted_fields: Vec<String>,
}

fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// The source of what somebody submitted.
pub const SUBMIT: &str = "submit";

impl Task {
    /// It came to its end after somebody had taken it back, whatever that end is.
    pub fn is_taken_back(&self) -> bool {
        self.state == TaskState::Cancelled || (self.cancelling && self.state.is_final())
    }

    /// The token of its present lease: only its holder may heartbeat, complete or fail it.
    pub fn token(&self) -> String {
        format!("{}.{}.{}.{:016x}", self.pool, self.id, self.epoch, self.nonce)
    }
}

/// A token, taken apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The task's pool.
    pub pool: String,
    /// The task.
    pub id: u64,
    /// The lease.
    pub epoch: u64,
    /// What only its holder was told.
    pub nonce: u64,
}

impl From<&Task> for Token {
    /// That of its present lease.
    fn from(task: &Task) -> Token {
        Token { pool: task.pool.clone(), id: task.id, epoch: task.epoch, nonce: task.nonce }
    }
}

impl std::str::FromStr for Token {
    type Err = String;
    fn from_str(text: &str) -> Result<Token, String> {
        let refuse = || "the token is not one that weir gave: four parts, like claude.12.1.0123456789abcdef".to_owned();
        let mut parts = text.splitn(4, '.');
        let mut next = || parts.next().filter(|part| !part.is_empty()).ok_or_else(refuse);
        let (pool, id, epoch, nonce) = (next()?.to_owned(), next()?, next()?, next()?);
        let number = |text: &str| text.parse::<u64>().map_err(|_| refuse());
        let nonce = u64::from_str_radix(nonce, 16).map_err(|_| refuse())?;
        Ok(Token { pool, id: number(id)?, epoch: number(epoch)?, nonce })
    }
}

/// What is asked for with a submit.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NewTask {
    /// What it carries: any JSON, at most 256 KiB.
    pub payload: Value,
    /// 9 goes first, 0 last.
    #[schemars(range(min = 0, max = 9))]
    pub priority: u8,
    /// No two tasks with the same key run at once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// A second submit with it gives the task of the first one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// It expires if nobody has taken it after this. Absent: as the queue says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ttl: Option<Span>,
    /// How long one attempt may take. Absent: as the queue says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<Span>,
    /// Attempts in all. Absent: as the queue says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_attempts: Option<u32>,
    /// Not to be taken before this has passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Span>,
    /// It waits until somebody releases it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hold: bool,
    /// It waits until these tasks, of any pool, have succeeded; at most 100. When one of them ends otherwise it is cancelled.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub after: Vec<u64>,
    /// Where it came from.
    #[serde(skip)]
    pub source: String,
    /// The names in `payload` whose values have text of a forge's event in them.
    #[serde(skip)]
    pub untrusted_fields: Vec<String>,
    /// Further keys that make it the same task as an earlier one.
    #[serde(skip)]
    pub also: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_as_it_was_given() {
        let task = Task { pool: "claude".into(), id: 12, epoch: 3, nonce: 0xfeed, ..Task::default() };
        assert_eq!(task.token().parse(), Ok(Token { pool: "claude".into(), id: 12, epoch: 3, nonce: 0xfeed }));
        for text in ["", "1", "a.1", "a.1.2", "a.1.2.x", "a.b.1.1", "a.1.1.1.1", "a.-1.1.1", "a.1.1.11111111111111111", ".1.1.1"]
        {
            assert!(text.parse::<Token>().is_err(), "{text}");
        }
    }
}
