//! Which tasks lists and watches were told of lately, so that a watch that goes on from there can tell which of them are gone.
//!
//! Of changes to tasks only the number of the last one is kept elsewhere. What is here is bounded and may be forgotten at any time:
//! whoever comes back too late lists again.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

/// Tasks that are remembered in all, over all lists.
const TASKS_MAX: usize = 200_000;
/// Lists that are remembered.
const LISTS_MAX: usize = 256;

/// What was wanted: the selectors for labels and fields as they were written, and the number of the last change then.
pub type Place = (String, String, u64);

/// What was told of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Of {
    /// It was over for whoever had deleted it.
    pub over: bool,
    /// Another one when what was told is; none: that is not known.
    pub digest: Option<u64>,
}

/// The tasks of a list by number.
pub type Tasks = BTreeMap<u64, Of>;

/// The last lists, the oldest first.
#[derive(Debug, Default)]
pub struct Told(Mutex<VecDeque<(Place, Tasks)>>);

impl Told {
    /// Remember a list. Of two at one place what either was told of counts: which of them comes back is not known. They may
    /// differ, as a change is seen before it is counted.
    pub fn keep(&self, place: Place, mut tasks: Tasks) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(at) = all.iter().position(|(kept, _)| *kept == place)
            && let Some((_, before)) = all.remove(at)
        {
            for (id, before) in before {
                let both = tasks.entry(id).or_insert(before);
                let same = *both == before;
                *both = Of { over: both.over && before.over, digest: before.digest.filter(|_| same) };
            }
        }
        all.push_back((place, tasks));
        let mut count: usize = all.iter().map(|(_, tasks)| tasks.len()).sum();
        while all.len() > LISTS_MAX || (count > TASKS_MAX && all.len() > 1) {
            count -= all.pop_front().map_or(0, |(_, tasks)| tasks.len());
        }
    }

    /// What whoever comes from there knows; none when that is forgotten.
    pub fn of(&self, place: &Place) -> Option<Tasks> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().find(|(kept, _)| kept == place).map(|(_, tasks)| tasks.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(number: u64) -> Place {
        ("a=b".into(), String::new(), number)
    }

    #[test]
    fn the_last_lists_are_remembered_and_no_more() {
        let told = Told::default();
        assert_eq!(told.of(&place(1)), None);
        let of = |over, digest| Of { over, digest: Some(digest) };
        told.keep(place(1), Tasks::from([(1, of(false, 1)), (3, of(false, 3))]));
        told.keep(place(1), Tasks::from([(1, of(true, 7)), (2, of(true, 2)), (3, of(false, 3))]));
        let both = Tasks::from([(1, Of { over: false, digest: None }), (2, of(true, 2)), (3, of(false, 3))]);
        assert_eq!(told.of(&place(1)), Some(both), "both of one place");
        assert_eq!(told.of(&("a=c".into(), String::new(), 1)), None);
        for number in 2..=LISTS_MAX as u64 {
            told.keep(place(number), Tasks::new());
        }
        assert!(told.of(&place(1)).is_some());
        told.keep(place(1000), Tasks::new());
        assert_eq!(told.of(&place(1)), None);
        told.keep(place(1001), (0..TASKS_MAX as u64 + 1).map(|id| (id, of(false, 0))).collect());
        assert!(told.of(&place(1000)).is_none() && told.of(&place(1001)).is_some(), "a large one is alone");
    }
}
