//! What a cgroup uses and may use, at one look: the input of every decision about limits.
//!
//! Each number may be unknown, with the reason: a controller may not be delegated, a file may be gone with its unit. What
//! cannot be read is never a zero, which would lower a limit for nothing.

use super::host::{Known, Pressures};
use super::policy::{Amounts, Resource};
use super::quantity::Memory;
use super::time::Moment;

/// What a cgroup uses and may use, at one look.
#[derive(Clone, Debug, PartialEq)]
pub struct Usage {
    /// When it was looked at.
    pub at: Moment,
    /// CPU time used since the cgroup was made, in microseconds; two looks give a rate.
    pub cpu_micros: Known<u64>,
    /// Memory in use, what can be taken back included, in bytes.
    pub memory: Known<Memory>,
    /// Memory in use that is not given back just so: without the file pages that nobody has used lately, in bytes.
    pub working: Known<Memory>,
    /// Processes and threads.
    pub tasks: Known<u64>,
    /// How much of the time somebody in it waited, `some avg10`, in percent.
    pub pressure: Pressures,
    /// Times the kernel killed in it for want of memory, since the cgroup was made.
    pub oom_kills: Known<u64>,
    /// Times it was held back at `memory.high`, since the cgroup was made.
    pub held_back: Known<u64>,
    /// How often it came to its own limits of memory, and not a cgroup inside it to its own.
    pub own: Known<Own>,
    /// `memory.high`: from there on it is held back. Absent: nowhere, or that is not known.
    pub high: Option<Memory>,
    /// The limits that hold now; absent: none.
    pub limits: Amounts,
    /// Resources of which no limit can be held: their controller is not there.
    pub lacking: Vec<Resource>,
}

/// How often a cgroup came to its own limits of memory, since it was made. What the kernel counts elsewhere counts for every
/// cgroup above as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Own {
    /// Times it had to give memory back at its `memory.high` or its `memory.max`.
    pub reached: u64,
    /// Times nothing more could be given back at its `memory.max`: then the kernel kills, in it or in a cgroup inside it.
    pub exhausted: u64,
}

/// One look at all workers of a pool together.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolLook {
    /// Tells this cgroup from one of the same name that was made later, whose counters began anew.
    pub id: u64,
    /// The pool's cgroup.
    pub usage: Usage,
    /// The limits of each worker that has processes now.
    pub workers: Vec<Amounts>,
}
