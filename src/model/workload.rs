//! What tasks needed: durations and peaks of memory of those that finished, by class and label, so much and no more.
//!
//! It is a memory of facts, kept for each pool apart; what they let expect is in `decide::workload`. What was not measured is
//! absent, never zero.

use std::collections::{BTreeMap, VecDeque};

use super::quantity::Memory;
use super::task::{End, EndReason};

/// Fewer finished tasks than this say little.
pub const ENOUGH: usize = 10;
/// Tasks that are remembered of each class.
pub const RECENT: usize = 200;
/// Classes that are remembered of a pool; of more, those that were not seen for the longest time are forgotten.
pub const CLASSES_MAX: usize = 200;

/// What kind of task it is. Both are free words: of where it came from, and of its key.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Class {
    /// Its class, like `schedule/nightly`.
    pub class: String,
    /// A label within the class, like a repository.
    pub label: Option<String>,
}

impl Class {
    /// The class of a task: where it came from (`submit`, `schedule/nightly`), and its key without the last part, which is that of
    /// the one thing that it is about: `fix:org/repo` of `fix:org/repo:12`.
    pub fn of(source: &str, key: Option<&str>) -> Class {
        let label = key.and_then(|key| key.rsplit_once(':')).map(|(label, _)| label.to_owned());
        Class { class: source.to_owned(), label }
    }

    /// The class without the label, and the class itself if it has one.
    fn each(&self) -> impl Iterator<Item = Class> {
        [Some(self.whole()), self.label.is_some().then(|| self.clone())].into_iter().flatten()
    }

    /// The class without the label.
    pub fn whole(&self) -> Class {
        Class { class: self.class.clone(), label: None }
    }
}

/// What a finished task needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needed {
    /// How long it ran, in milliseconds.
    pub ran_ms: u64,
    /// The most memory it used, if that was measured.
    pub memory: Option<Memory>,
}

impl Needed {
    /// What an attempt needed that ended so; none of one that did not run, or not to an end of its own.
    pub fn of(end: &End) -> Option<Needed> {
        match end.reason {
            EndReason::Done | EndReason::Failed | EndReason::Again | EndReason::Timeout | EndReason::WorkerLost => {
                Some(Needed { ran_ms: end.ran_ms, memory: end.memory_bytes.map(Memory) })
            }
            EndReason::NotStarted
            | EndReason::Unfit
            | EndReason::Returned
            | EndReason::Cancelled
            | EndReason::Expired
            | EndReason::DependencyFailed => None,
        }
    }
}

/// What the last tasks of one class needed, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recent {
    needed: VecDeque<Needed>,
    /// The number of its newest task, over all classes of the pool; below zero for those that were learnt of afterwards.
    last: i64,
}

impl Recent {
    /// One more task has finished.
    pub fn add(&mut self, needed: Needed) {
        if self.needed.len() >= RECENT {
            self.needed.pop_front();
        }
        self.needed.push_back(needed);
    }

    /// A task that had finished before all that are known. Of as many as are remembered, the older ones are left out.
    pub fn add_before(&mut self, needed: Needed) {
        if self.needed.len() < RECENT {
            self.needed.push_front(needed);
        }
    }

    /// Durations in milliseconds, sorted.
    pub fn durations(&self) -> Vec<u64> {
        sorted(self.needed.iter().map(|needed| needed.ran_ms))
    }

    /// Peaks of memory in bytes where they were measured, sorted.
    pub fn memory(&self) -> Vec<u64> {
        sorted(self.needed.iter().filter_map(|needed| Some(needed.memory?.0)))
    }
}

fn sorted(values: impl Iterator<Item = u64>) -> Vec<u64> {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values
}

/// What the tasks of one pool needed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    all: Recent,
    classes: BTreeMap<Class, Recent>,
    count: i64,
    /// How many were learnt of afterwards.
    before: i64,
}

impl Needs {
    /// A task of this class has finished.
    pub fn add(&mut self, class: &Class, needed: Needed) {
        self.count += 1;
        self.all.add(needed);
        for class in class.each() {
            let recent = self.classes.entry(class).or_default();
            recent.add(needed);
            recent.last = self.count;
        }
        while self.classes.len() > CLASSES_MAX {
            let oldest = self.classes.iter().min_by_key(|(_, recent)| recent.last).map(|(class, _)| class.clone());
            oldest.and_then(|class| self.classes.remove(&class));
        }
    }

    /// A task of this class that had finished before all that are known: they are told of from the last to the first. Nothing
    /// that is known is forgotten for it.
    pub fn add_before(&mut self, class: &Class, needed: Needed) {
        self.before += 1;
        self.all.add_before(needed);
        for class in class.each() {
            let full = self.classes.len() >= CLASSES_MAX;
            let fresh = || Recent { last: -self.before, ..Recent::default() };
            if let Some(recent) = self.classes.get_mut(&class) {
                recent.add_before(needed);
            } else if !full {
                self.classes.entry(class).or_insert_with(fresh).add_before(needed);
            }
        }
    }

    /// From what is most like this class to what is least: its label, its class, the pool.
    pub fn nearest(&self, class: &Class) -> impl Iterator<Item = &Recent> {
        let own = self.classes.get(class);
        let whole = class.label.is_some().then(|| self.classes.get(&class.whole())).flatten();
        own.into_iter().chain(whole).chain([&self.all])
    }

    /// Tasks of the pool that are remembered.
    pub fn count(&self) -> usize {
        self.all.needed.len()
    }

    /// Each class that is remembered.
    pub fn classes(&self) -> impl Iterator<Item = (&Class, &Recent)> {
        self.classes.iter()
    }
}

/// How much tasks of a class need, in the unit of what was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Tasks that were measured.
    pub count: usize,
    /// Half of them needed no more.
    pub p50: u64,
    /// 90 of 100 needed no more.
    pub p90: u64,
    /// 95 of 100 needed no more.
    pub p95: u64,
}
