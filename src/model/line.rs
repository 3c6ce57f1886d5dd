//! What the controller keeps of a pool's queue beside the rows: the leases, the beats of recurring tasks, and tallies.
//!
//! All of it is derived: leases and beats are in the store, what tasks needed is learnt again from those that are kept, tallies begin
//! anew with each daemon.

use std::collections::{BTreeMap, VecDeque};

use super::status::TaskStats;
use super::task::Task;
use super::time::{Moment, Wall};
use super::workload::Recent;

/// Durations that a tally remembers.
const RECENT: usize = 100;

/// When a recurring task last came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fired {
    /// When it last came, or when it was first seen.
    pub last: Wall,
    /// How often it came.
    pub count: u32,
    /// The beat that these are of, in words; empty: it was kept before beats were told apart.
    pub beat: String,
}

/// What is kept of a queue.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Line {
    /// Tasks that a worker has, by number.
    pub leases: BTreeMap<u64, Task>,
    /// Since when whoever holds one can be heard without a gap, where there was one.
    pub heard_since: Moment,
    /// Recurring tasks by name.
    pub fired: BTreeMap<String, Fired>,
    /// The clock's work was not done in one go: there is more of it at once.
    pub more: bool,
    /// What came of the tasks of the pool.
    pub tally: Tally,
    /// What came of the tasks of each worker.
    pub workers: BTreeMap<String, Tally>,
    /// What its last tasks needed, of whatever class.
    pub needs: Recent,
    /// What the summaries have told of: attempts that succeeded, and those that did not.
    pub told: (u64, u64),
    /// Tasks that were given up with what they come after, since the last summary.
    pub given_up: u64,
}

impl Line {
    /// How many tasks this run of a worker has, and when it was given the last of them.
    pub fn count(&self, worker: &str, run: u64) -> (u32, Option<Moment>) {
        self.held(worker, run).fold((0, None), |(tasks, given): (u32, _), task| (tasks.saturating_add(1), given.max(task.begun)))
    }

    /// The tasks that this run of a worker has.
    pub fn held(&self, worker: &str, run: u64) -> impl Iterator<Item = &Task> {
        self.leases.values().filter(move |task| task.run == run && task.worker.as_deref() == Some(worker))
    }
}

/// What came of tasks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    done: u64,
    failed: u64,
    busy_ms: u64,
    recent: VecDeque<u64>,
}

impl Tally {
    /// One more attempt has ended.
    pub fn add(&mut self, good: bool, ran_ms: u64) {
        self.done += u64::from(good);
        self.failed += u64::from(!good);
        self.busy_ms = self.busy_ms.saturating_add(ran_ms);
        if self.recent.len() >= RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(ran_ms);
    }

    /// Attempts that succeeded, and those that did not.
    pub fn counts(&self) -> (u64, u64) {
        (self.done, self.failed)
    }

    /// As it is shown.
    pub fn stats(&self) -> TaskStats {
        let mut sorted: Vec<u64> = self.recent.iter().copied().collect();
        sorted.sort_unstable();
        // The smallest number that so many of a hundred do not exceed.
        let percentile = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied();
        let (p50_ms, p95_ms) = (percentile(50), percentile(95));
        TaskStats { done: self.done, failed: self.failed, busy_ms: self.busy_ms, p50_ms, p95_ms }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_last_hundred() {
        let mut tally = Tally::default();
        assert_eq!(tally.stats(), TaskStats::default());
        (0..50).for_each(|_| tally.add(false, 9_999));
        (1..=100).for_each(|ms| tally.add(true, ms));
        let stats = tally.stats();
        assert_eq!((stats.done, stats.failed, stats.p50_ms, stats.p95_ms), (100, 50, Some(50), Some(95)));
    }
}
