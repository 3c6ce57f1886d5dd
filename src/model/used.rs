//! What a target used over the last day, kept small: the ground that a forecast stands on.
//!
//! A number that is not known is no number here, never a zero. Nothing is decided here, and nothing is read from a clock: the
//! newest sample says what is old.

use std::collections::VecDeque;

use super::policy::Resource;
use super::policy_status::PolicyUsage;
use super::time::Wall;

/// Samples kept at most: a day of one every 10 s, which is about 300 KB. More frequent ones reach back less.
pub const USED_MAX: u32 = 8640;
/// Samples this much older than the newest one are dropped, in milliseconds.
const USED_AGE: i64 = 86_400_000;

/// What was used at one look. `NaN`: not known.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    /// When.
    pub at: Wall,
    /// Cores.
    pub cpu: f64,
    /// Bytes.
    pub memory: f64,
    /// Processes and threads.
    pub tasks: f64,
}

impl Used {
    /// Of one look.
    pub fn of(usage: &PolicyUsage) -> Used {
        let number = |number: Option<u64>| number.map_or(f64::NAN, |n| n as f64);
        let cpu = usage.cpu_cores.unwrap_or(f64::NAN);
        Used { at: usage.time, cpu, memory: number(usage.memory_bytes), tasks: number(usage.tasks) }
    }

    /// Of one resource: cores, bytes, or processes and threads.
    pub fn by(&self, of: Resource) -> f64 {
        match of {
            Resource::Cpu => self.cpu,
            Resource::Memory => self.memory,
            Resource::Tasks => self.tasks,
        }
    }
}

/// Two samples are the same with the same numbers unknown.
impl PartialEq for Used {
    fn eq(&self, other: &Used) -> bool {
        let bits = |used: &Used| (used.at, used.cpu.to_bits(), used.memory.to_bits(), used.tasks.to_bits());
        bits(self) == bits(other)
    }
}

/// The samples of one target, as they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UsedWindow(VecDeque<Used>);

impl UsedWindow {
    /// One more; what is a day older than it, or too many, goes.
    pub fn push(&mut self, used: Used) {
        self.0.push_back(used);
        let from = used.at.0.saturating_sub(USED_AGE);
        while self.0.len() > USED_MAX as usize || self.0.front().is_some_and(|first| first.at.0 < from) {
            self.0.pop_front();
        }
    }

    /// Drop what is older than this: it was of another target.
    pub fn since(&mut self, at: Wall) {
        while self.0.front().is_some_and(|first| first.at < at) {
            self.0.pop_front();
        }
    }

    /// One resource over time: cores, bytes, or processes and threads. Unknown numbers are `NaN`.
    pub fn series(&self, of: Resource) -> Vec<(Wall, f64)> {
        self.0.iter().map(|used| (used.at, used.by(of))).collect()
    }
}

impl FromIterator<Used> for UsedWindow {
    fn from_iter<I: IntoIterator<Item = Used>>(all: I) -> UsedWindow {
        let mut window = UsedWindow::default();
        all.into_iter().for_each(|used| window.push(used));
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used(seconds: i64) -> Used {
        Used { at: Wall(seconds * 1000), cpu: f64::NAN, memory: seconds as f64, tasks: 1.0 }
    }

    #[test]
    fn it_keeps_a_day_and_never_more_than_so_many() {
        let slow: UsedWindow = (0..5000).map(|n| used(n * 30)).collect();
        let series = slow.series(Resource::Memory);
        assert_eq!((series.len(), series[0].1), (2881, 4999.0 * 30.0 - 86_400.0), "a day of every 30 s");
        let mut fast: UsedWindow = (0..20_000).map(used).collect();
        assert_eq!(fast.series(Resource::Tasks).len(), USED_MAX as usize);
        assert!(fast.series(Resource::Cpu).iter().all(|(_, value)| value.is_nan()));
        fast.since(Wall(19_990_000));
        assert_eq!(fast.series(Resource::Tasks).len(), 10);
    }
}
