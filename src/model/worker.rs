//! A worker: a slot of a pool and what is, or was last, in it.
//!
//! Plain facts, as told by the shim of the slot or read from its directory. What is missing is a value of its own
//! ([`SlotState::Vacant`], `Option`), never a zero. Verdicts about these facts live in `decide`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::Memory;
use super::template::Limits;
use super::time::{Moment, Wall};

/// The identity of a worker: `<pool>-<ordinal>` or `<pool>-<given name>`, unique over all pools.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub struct SlotId {
    /// The pool that the slot belongs to.
    pub pool: String,
    /// The worker's name.
    pub worker: String,
}

/// How a worker ended. `code` and `signal` are both absent when nobody can know (`Unknown`): never a made-up number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Which run of the slot this was.
    pub incarnation: u64,
    /// What kind of end it was.
    pub reason: ExitReason,
    /// The exit code, if it ended by itself.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub code: Option<i32>,
    /// The signal's number, if one ended it.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub signal: Option<i32>,
    /// More words: errno and path of a failed exec.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub message: Option<String>,
    /// When it started; absent if it never did.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub started: Option<Wall>,
    /// When it ended.
    pub finished: Wall,
    /// When it ended on the boot clock, if its run was seen before: the wall clock may have been set since. Never kept.
    #[serde(skip)]
    pub ended: Option<Moment>,
    /// How long it ran, in milliseconds.
    pub ran_ms: u64,
    /// User and system CPU time, in milliseconds.
    pub cpu_ms: u64,
    /// Peak resident memory, in KiB.
    pub max_rss_kib: u64,
    /// It was told to stop: its end is no crash.
    pub asked: bool,
}

/// Why a run ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ExitReason {
    /// Exit code 0.
    Completed,
    /// Exit code other than 0.
    Error,
    /// Ended by a signal.
    Signaled,
    /// Killed by the kernel for want of memory (seen in `memory.events`, never guessed).
    OOMKilled,
    /// The program could not be executed; `message` says why.
    StartError,
    /// The machine was started anew, and nobody was there to see it end.
    Rebooted,
    /// Its shim died too: nobody can know.
    #[default]
    Unknown,
}

/// One slot as it is observed now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Seen {
    /// What is in the slot.
    pub state: SlotState,
    /// The pid of the slot's shim, if there is one.
    pub shim: Option<i32>,
    /// The last run's end, as the exit record has it.
    pub exit: Option<Exit>,
}

/// What is in a slot.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum SlotState {
    /// Nothing is known yet: recovery is still looking. No action may be taken on it.
    #[default]
    Unknown,
    /// The identity lock is free, or the shim holds it with an empty tree: a start is safe.
    Vacant,
    /// A start is under way: the shim is being made or has been told go, and has not said yet how exec went.
    Starting {
        /// Which run.
        incarnation: u64,
        /// Since when.
        since: Moment,
    },
    /// The worker runs (its main process lives, or what it left behind is being cleared up).
    Running(Run),
    /// The shim is gone but the lock is still held: the tree is being hunted down. Not vacant until proved dead.
    Lost {
        /// Since when.
        since: Moment,
    },
}

/// A running worker, as its shim tells.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Run {
    /// Which run of this slot: counts up, never reused.
    pub incarnation: u64,
    /// The main process.
    pub pid: i32,
    /// When exec succeeded.
    pub started: Moment,
    /// The hash of the template it was started from.
    pub template: String,
    /// It said `READY=1`.
    pub ready: bool,
    /// It said `X_WEIR_BUSY=1`, and not `0` since.
    pub busy: bool,
    /// The last `WATCHDOG=1`.
    pub watchdog: Option<Moment>,
    /// Its last `STATUS=` text, control characters removed.
    pub status: Option<String>,
    /// `EXTEND_TIMEOUT_USEC`: not to be judged late before this moment.
    pub extended_until: Option<Moment>,
    /// When it last wrote output.
    pub output: Option<Moment>,
    /// When the shim was last asked for `output`, `cpu_at` and `dropped`.
    pub refreshed: Option<Moment>,
    /// When its tree was last found to have used CPU; absent: not looked at yet.
    pub cpu_at: Option<Moment>,
    /// Its memory at that look, if it was to be looked at and could be.
    pub memory: Option<Memory>,
    /// Bytes of output dropped: over the rate, or the disk was full.
    pub dropped: u64,
    /// It was told to stop.
    pub stop: Option<Stopping>,
    /// The main process has ended; descendants are still dying.
    pub clearing: bool,
}

/// A stop under way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stopping {
    /// When the stop signal was sent.
    pub since: Moment,
    /// When the whole tree was sent SIGKILL.
    pub killed: Option<Moment>,
}

/// All that a shim needs to start one run of a worker. Composed by the engine; the edge adds nothing but the notify address.
#[derive(Clone, Debug, PartialEq)]
pub struct StartOrder {
    /// Which slot.
    pub slot: SlotId,
    /// Which run: greater than every earlier one of this slot.
    pub incarnation: u64,
    /// The template's hash, given back in [`Run::template`].
    pub template: String,
    /// The argument vector; the first is the program, looked up in the `PATH` of `env`. Never a shell.
    pub command: Vec<String>,
    /// The whole environment: nothing is inherited.
    pub env: Vec<(String, String)>,
    /// Where it starts; absent: the daemon's directory.
    pub working_dir: Option<String>,
    /// The user to become, by name or number; absent: the daemon's.
    pub user: Option<String>,
    /// The file mode creation mask.
    pub umask: u32,
    /// Limits of its cgroup; absent: none.
    pub limits: Option<Limits>,
    /// Limits of its log.
    pub logs: LogLimits,
    /// A file that it reads as its standard input; absent: nothing.
    pub stdin: Option<String>,
    /// A log file of this run's own; absent: the slot's.
    pub log: Option<String>,
}

/// Limits of one worker's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogLimits {
    /// A file larger than this is rotated, in bytes.
    pub max_size: u64,
    /// Files kept, the current one counted; at least 1.
    pub max_files: u32,
    /// Bytes a second; what comes above it is dropped and counted.
    pub max_rate: u64,
}
