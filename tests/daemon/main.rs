//! The real binaries, as a user meets them: a scratch directory, `weir run`, specs that are edited, workers that are killed.
//!
//! What is true is judged from outside: by /proc, by files that workers write, by exit codes. One module per promise.
//! `WEIR_CAMPAIGN=N` sets how often the daemon is killed in the campaign (default 15),
//! `WEIR_FAULTS=N` how often each fault of a forge is met in a row (default 4), `WEIR_TASKS=N` how many tasks there are in the campaign of
//! tasks (default 300), `WEIR_CRASH_POINTS=all` takes every point at which the daemon can be killed in a submit, and not some.

#![expect(clippy::disallowed_methods, reason = "the real daemon is timed from outside")]

mod admission;
mod campaign;
mod capacity;
mod crash_points;
mod edits;
mod endings;
mod forge;
mod full_disk;
mod harness;
mod hostile;
mod lifecycle;
mod notify;
mod observer;
mod output;
mod policies;
mod random;
mod rollback;
mod scaling;
mod service;
mod shares;
#[path = "../skipped/mod.rs"]
mod skipped;
mod socket;
mod survival;
mod task_campaign;
mod tasks;
mod used;
