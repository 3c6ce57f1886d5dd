//! The machine, as the client sees it: the daemon is reached over a socket of this machine, so its counters are the daemon's too.
//!
//! Looks twice and tells what was between. What cannot be read is absent, never a zero.

use super::capacity::HostUse;
use crate::model::host::{Ticks, available, waited};
use crate::model::quantity::Memory;
use crate::model::time::Wall;

/// A look at the counters.
pub struct Look {
    at: Wall,
    ticks: Option<Ticks>,
    waited: [Option<u64>; 3],
}

impl Look {
    /// The counters as they are.
    pub fn now(at: Wall) -> Look {
        let waited = |name| read(&format!("/proc/pressure/{name}")).and_then(|text| waited(&text).ok());
        let ticks = read("/proc/stat").and_then(|text| Ticks::parse(&text).ok());
        Look { at, ticks, waited: [waited("cpu"), waited("memory"), waited("io")] }
    }

    /// What was between an earlier look and this one; `least`: the least memory that was left.
    pub fn since(&self, earlier: &Look, least: Option<Memory>) -> HostUse {
        let micros = self.at.0.saturating_sub(earlier.at.0).max(1) as f64 * 1000.0;
        let share = |n: usize| {
            let stalled = self.waited[n]?.saturating_sub(earlier.waited[n]?);
            Some((100.0 * stalled as f64 / micros).min(100.0))
        };
        let busy = self.ticks.zip(earlier.ticks).and_then(|(now, before)| now.busy_since(before).ok());
        HostUse {
            cpu_percent: busy,
            memory_available: least.map(|memory| memory.0),
            cpu_pressure: share(0),
            memory_pressure: share(1),
            io_pressure: share(2),
        }
    }
}

/// Memory that a new process could have.
pub fn memory() -> Option<Memory> {
    available(&read("/proc/meminfo")?).ok()
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn between_two_looks_is_what_was_counted() {
        let look = |at, stat: &str, cpu| Look { at: Wall(at), ticks: Ticks::parse(stat).ok(), waited: [cpu, None, Some(7)] };
        let first = look(0, "cpu  0 0 0 100\ncpu0 0 0 0 100\n", Some(1000));
        let second = look(2000, "cpu  30 0 0 170\ncpu0 30 0 0 170\n", Some(501_000));
        let found = second.since(&first, Some(Memory(5)));
        let wanted = HostUse {
            cpu_percent: Some(30.0),
            memory_available: Some(5),
            cpu_pressure: Some(25.0),
            memory_pressure: None,
            io_pressure: Some(0.0),
        };
        assert_eq!(found, wanted);
        assert!(memory().is_some_and(|memory| memory.0 > 0));
    }
}
