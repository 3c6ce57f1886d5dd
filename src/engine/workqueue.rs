//! The keyed queue: one slot per key, the earliest time wins, and a key that is being worked on is held.
//!
//! A plain value without clock, futures or threads. A key added while it is held stays pending and is handed out after
//! [`Workqueue::done`]; it is never handed out twice at once.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::time::Moment;

/// Keys with the moment from which each may be taken.
#[derive(Debug)]
pub struct Workqueue<K> {
    due: BTreeSet<(Moment, K)>,
    at: BTreeMap<K, Moment>,
    held: BTreeSet<K>,
}

impl<K: Ord + Clone> Default for Workqueue<K> {
    fn default() -> Self {
        Workqueue { due: BTreeSet::new(), at: BTreeMap::new(), held: BTreeSet::new() }
    }
}

impl<K: Ord + Clone> Workqueue<K> {
    /// Have `key` looked at, not before `at`. The earliest wish counts.
    pub fn add(&mut self, key: K, at: Moment) {
        if let Some(present) = self.at.get(&key).copied() {
            if present <= at {
                return;
            }
            self.due.remove(&(present, key.clone()));
        }
        self.due.insert((at, key.clone()));
        self.at.insert(key, at);
    }

    /// The next key that is due and not held; it is held from now on.
    pub fn take(&mut self, now: Moment) -> Option<K> {
        let found = self.due.iter().take_while(|(at, _)| *at <= now).find(|(_, key)| !self.held.contains(key)).cloned()?;
        self.due.remove(&found);
        self.at.remove(&found.1);
        self.held.insert(found.1.clone());
        Some(found.1)
    }

    /// The key is no longer being worked on.
    pub fn done(&mut self, key: &K) {
        self.held.remove(key);
    }

    /// Drop a key that is no more.
    pub fn forget(&mut self, key: &K) {
        if let Some(at) = self.at.remove(key) {
            self.due.remove(&(at, key.clone()));
        }
        self.held.remove(key);
    }

    /// When the next key that is not held comes due.
    pub fn next_wake(&self) -> Option<Moment> {
        self.due.iter().find(|(_, key)| !self.held.contains(key)).map(|(at, _)| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_wish_counts_and_one_key_has_one_place() {
        let mut queue = Workqueue::default();
        queue.add("a", Moment(10));
        queue.add("a", Moment(5));
        queue.add("a", Moment(20));
        assert_eq!(queue.next_wake(), Some(Moment(5)));
        assert_eq!(queue.take(Moment(4)), None);
        assert_eq!(queue.take(Moment(5)), Some("a"));
        assert_eq!(queue.next_wake(), None);
    }

    #[test]
    fn a_held_key_is_never_handed_out_twice_at_once() {
        let mut queue = Workqueue::default();
        queue.add("a", Moment(1));
        assert_eq!(queue.take(Moment(1)), Some("a"));
        queue.add("a", Moment(2));
        assert_eq!((queue.take(Moment(9)), queue.next_wake()), (None, None));
        queue.done(&"a");
        assert_eq!(queue.take(Moment(9)), Some("a"));
    }

    #[test]
    fn a_held_key_does_not_hide_the_others() {
        let mut queue = Workqueue::default();
        queue.add("a", Moment(1));
        queue.take(Moment(1));
        queue.add("a", Moment(1));
        queue.add("b", Moment(2));
        assert_eq!(queue.take(Moment(5)), Some("b"));
        queue.forget(&"a");
        queue.done(&"a");
        assert_eq!(queue.take(Moment(5)), None);
    }
}
