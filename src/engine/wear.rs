//! How many tasks runs have done of which only so many may be done: known where the next one is given, before the controller
//! hears of the last end.
//!
//! Each end is counted here before it is told. A run that has done its number waits until the controller has looked at that: it
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
    /// By worker, with the tasks that its run has done by now.
    runs: Mutex<BTreeMap<String, (Bound, u64)>>,
}

impl Wear {
    fn runs(&self) -> MutexGuard<'_, BTreeMap<String, (Bound, u64)>> {
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
        let before = runs.get(worker).filter(|(before, _)| before.run == bound.run).map_or(0, |(_, done)| *done);
        runs.insert(worker.to_owned(), (bound, before.max(bound.looked)));
    }

    /// A run has done one more task.
    pub(super) fn count(&self, worker: &str, run: u64) {
        if let Some((_, done)) = self.runs().get_mut(worker).filter(|(bound, _)| bound.run == run) {
            *done += 1;
        }
    }

    /// With so many `more` tasks this run has done its number, and the controller does not know that yet.
    pub(super) fn is_full(&self, worker: &str, run: u64, more: u64) -> bool {
        let runs = self.runs();
        let bound = runs.get(worker).filter(|(bound, _)| bound.run == run);
        bound.is_some_and(|(bound, done)| done + more >= bound.most && done + more > bound.looked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_full_from_its_number_on_until_the_controller_has_looked() {
        let wear = Wear::default();
        let look = |run, looked| wear.look("p-0", Some(Bound { run, most: 3, looked }));
        wear.count("p-0", 1);
        assert!(!wear.is_full("p-0", 1, 9), "nothing bounds it");
        look(1, 1);
        assert!(!wear.is_full("p-0", 1, 1) && wear.is_full("p-0", 1, 2));
        wear.count("p-0", 1);
        assert!(!wear.is_full("p-0", 1, 0) && wear.is_full("p-0", 1, 1), "the one that ends now is the third");
        wear.count("p-0", 1);
        look(1, 2);
        assert!(wear.is_full("p-0", 1, 0), "an older look takes nothing back");
        look(1, 3);
        assert!(!wear.is_full("p-0", 1, 0), "it is for the controller to say now");
        look(2, 0);
        assert!(!wear.is_full("p-0", 2, 2) && !wear.is_full("p-0", 1, 9), "a new run begins anew");
        wear.count("p-0", 1);
        assert!(!wear.is_full("p-0", 2, 2), "and the one before counts no more");
        wear.look("p-0", None);
        assert!(!wear.is_full("p-0", 2, 9));
    }
}
