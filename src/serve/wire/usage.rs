//! What goes over the wire about what workers use.
//! Numbers that are not known are absent, never zero.

use serde::{Deserialize, Serialize};

/// Workers that run, and what they use.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UsageList {
    /// `UsageList`
    pub kind: String,
    /// By name.
    pub items: Vec<WorkerUsage>,
}

/// What a worker's whole tree of processes uses.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkerUsage {
    /// The worker.
    pub worker: String,
    /// Its pool.
    pub pool: String,
    /// Its main process: with another pid it is another run, whose CPU time begins anew.
    pub pid: i32,
    /// When it was measured: milliseconds since boot.
    pub at_millis: u64,
    /// CPU time used so far, in microseconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_micros: Option<u64>,
    /// Memory in use, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Why something is not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unknown: Option<String>,
}
