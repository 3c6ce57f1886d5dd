//! How many tasks runs have done, and have with them, of which only so many may be done: known where the next one is given, before
//! the controller hears of the last end.
//!
//! Each lease is counted here before it is asked for, and each end before it is told. A run that has done its number waits until the controller has looked at that: it
//! knows whether the run is replaced now, or goes on for a while because too many others are being replaced.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A number of tasks after which a run is replaced, and what it had done when the controller looked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    /// Which run.
    pub run: u64,
    /// After so many it is replaced.
    pub most: u64,
    /// So many it had done.
    pub looked: u64,
}

/// The runs that there are such numbers for.
#[derive(Default)]
pub struct Wear {
    /// By worker.
    runs: Mutex<BTreeMap<String, Worn>>,
}

/// What a run has done by now, and what it has with it.
struct Worn {
    bound: Bound,
    done: u64,
    held: u64,
}

impl Worn {
    /// With what it has, and at least so many, it has done its number, and the controller does not know that yet.
    fn is_full(&self, least: u64) -> bool {
        let all = self.done + self.held.max(least);
        all >= self.bound.most && all > self.bound.looked
    }
}

impl Wear {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<String, Worn>> {
        // Each is put there whole.
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The controller has looked at a worker; none: nothing bounds the tasks of its run.
    pub fn look(&self, worker: &str, bound: Option<Bound>) {
        let mut runs = self.runs();
        let Some(bound) = bound else {
            runs.remove(worker);
            return;
        };
        let before = runs.get(worker).filter(|before| before.bound.run == bound.run);
        let (done, held) = before.map_or((0, 0), |before| (before.done, before.held));
        runs.insert(worker.to_owned(), Worn { bound, done: done.max(bound.looked), held });
    }

    /// A run is about to be given one more task, in the call that ends so many of those it has. Says whether it may be.
    pub(super) fn take(&self, worker: &str, run: u64, ends: u64) -> bool {
        let mut runs = self.runs();
        let Some(worn) = runs.get_mut(worker).filter(|worn| worn.bound.run == run) else { return true };
        let may = !worn.is_full(ends);
        worn.held += u64::from(may);
        may
    }

    /// A run has one task less: it was given none, or one has ended, which counts or does not.
    pub(super) fn put_down(&self, worker: &str, run: u64, done: bool) {
        if let Some(worn) = self.runs().get_mut(worker).filter(|worn| worn.bound.run == run) {
            worn.held = worn.held.saturating_sub(1);
            worn.done += u64::from(done);
        }
    }

    /// This run is given no task any more.
    pub(super) fn is_full(&self, worker: &str, run: u64) -> bool {
        self.runs().get(worker).is_some_and(|worn| worn.bound.run == run && worn.is_full(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Take one and do it.
    fn one(wear: &Wear, run: u64) {
        assert!(wear.take("p-0", run, 0));
        wear.put_down("p-0", run, true);
    }

    #[test]
    fn a_run_is_full_from_its_number_on_until_the_controller_has_looked() {
        let wear = Wear::default();
        let look = |run, looked| wear.look("p-0", Some(Bound { run, most: 3, looked }));
        one(&wear, 1);
        assert!(!wear.is_full("p-0", 1), "nothing bounds it");
        look(1, 1);
        one(&wear, 1);
        one(&wear, 1);
        look(1, 2);
        assert!(wear.is_full("p-0", 1), "an older look takes nothing back");
        look(1, 3);
        assert!(!wear.is_full("p-0", 1), "it is for the controller to say now");
        assert!(wear.take("p-0", 1, 0) && !wear.take("p-0", 1, 0), "it goes on for one at a time");
        look(2, 0);
        assert!(!wear.is_full("p-0", 2) && !wear.is_full("p-0", 1), "a new run begins anew");
        wear.put_down("p-0", 1, true);
        assert!(wear.take("p-0", 2, 0) && wear.take("p-0", 2, 0) && wear.take("p-0", 2, 0), "and the one before counts no more");
        wear.look("p-0", None);
        assert!(!wear.is_full("p-0", 2));
    }

    #[test]
    fn what_a_run_has_with_it_counts_and_what_it_gives_back_does_not() {
        let wear = Wear::default();
        wear.look("p-0", Some(Bound { run: 1, most: 3, looked: 0 }));
        assert!(wear.take("p-0", 1, 0) && wear.take("p-0", 1, 0) && wear.take("p-0", 1, 0) && !wear.take("p-0", 1, 0));
        assert!(!wear.take("p-0", 1, 1), "nor with the end of one of them");
        wear.put_down("p-0", 1, false);
        wear.put_down("p-0", 1, true);
        assert!(wear.take("p-0", 1, 1), "one is done, and with it the second: the third");
        wear.put_down("p-0", 1, true);
        assert!(wear.is_full("p-0", 1));
        // Of a task that it had when this daemon began it is known with its end.
        wear.look("p-1", Some(Bound { run: 1, most: 2, looked: 1 }));
        assert!(!wear.take("p-1", 1, 1));
    }
}
