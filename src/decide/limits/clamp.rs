//! The last function before an order: whatever was wanted, this is what may be written.
//!
//! Called at one place, for an order and for the question whether one could be given. A value that comes out lies inside the bounds, can be set exactly, is not below what is used now when
//! it lowers, and leaves the host's reserve when it raises. Where there is no such value nothing is written, and why is said.

use crate::model::limits::{CPU_STEP, High, PAGE, memory_high};
use crate::model::policy::Resource;
use crate::model::quantity::Memory;

/// What a value must fit in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    /// The least that may be written.
    pub min: u64,
    /// The most that may be written.
    pub max: u64,
    /// What the host has for it; absent: nobody asked to keep a reserve.
    pub budget: Option<u64>,
    /// What is used now; absent: unknown, and so it might be anything.
    pub used: Option<u64>,
    /// Where `MemoryHigh` will stand: from there on whoever uses memory is slowed down.
    pub high: High,
}

/// Why nothing is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// It holds already.
    Same,
    /// It would be below what is used now, or that is not known.
    Used,
    /// The bounds end here.
    Bound,
    /// The host has no more to give.
    Budget,
}

/// What may be written where `wanted` is wanted and `current` holds; absent: no limit.
///
/// # Errors
/// [`Kept`]: nothing may be, or nothing need be.
pub fn clamp(of: Resource, wanted: u64, current: Option<u64>, room: Room) -> Result<u64, Kept> {
    let value = settled(of, wanted.clamp(room.min.min(room.max), room.max), room).ok_or(Kept::Bound)?;
    if current == Some(value) {
        return Err(if down(of, wanted) == value { Kept::Same } else { Kept::Bound });
    }
    if current.is_some_and(|current| value > current) {
        return affordable(of, value, current, room);
    }
    // Lower than before, or the first limit of all: what runs must fit in it.
    if !fits(of, value, room) {
        return Err(Kept::Used);
    }
    if current.is_none() { affordable(of, value, current, room) } else { Ok(value) }
}

/// Whether what runs fits, and is not slowed down at once.
fn fits(of: Resource, value: u64, room: Room) -> bool {
    let Some(used) = room.used else { return false };
    match of {
        Resource::Memory => used <= memory_high(Memory(value), room.high).0,
        Resource::Cpu | Resource::Tasks => used <= value,
    }
}

fn affordable(of: Resource, value: u64, current: Option<u64>, room: Room) -> Result<u64, Kept> {
    let Some(budget) = room.budget.filter(|budget| value > *budget) else { return Ok(value) };
    let less = down(of, budget);
    let enough = less >= room.min && current.map_or_else(|| fits(of, less, room), |current| less > current);
    if enough { Ok(less) } else { Err(Kept::Budget) }
}

/// The nearest value that can be set and lies inside the bounds.
fn settled(of: Resource, value: u64, room: Room) -> Option<u64> {
    let lower = down(of, value);
    if lower >= room.min && lower > 0 {
        return Some(lower);
    }
    lower.checked_add(step(of)).filter(|value| *value <= room.max)
}

fn down(of: Resource, value: u64) -> u64 {
    value / step(of) * step(of)
}

/// The smallest difference that can be set.
pub const fn step(of: Resource) -> u64 {
    match of {
        Resource::Cpu => CPU_STEP,
        Resource::Memory => PAGE,
        Resource::Tasks => 1,
    }
}
