//! What the last tasks of each pool needed, and from that how long those wait that wait now.
//!
//! Fed by the controller as tasks end, asked by whoever answers submits and lists. A walk through a line costs a look into the
//! store, so what came of one counts for a moment: in a flood of submits it is made once and not for each. What daemons before
//! this one learnt is not kept apart: it is learnt again from the last tasks that the store still has, beside everything else.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::decide::workload;
use crate::edge::store::read::Reader;
use crate::model::task::Task;
use crate::model::time::{Now, Span, Wall};
use crate::model::workload::{Class, ENOUGH, Needed, Needs, RECENT};

/// How long the answer to one question counts.
const COUNTS_FOR: Span = Span::secs(1);
/// Tasks that are read again of each pool: some for its less frequent classes too.
const READ_AGAIN: u32 = 5 * RECENT as u32;

/// How long those of a line wait, in milliseconds, the first of them first; last one that comes behind them.
pub type Starts = Arc<[u64]>;

#[derive(Default)]
struct OfPool {
    needs: Needs,
    starts: Option<(Now, Starts)>,
}

/// What is known of the tasks of all pools.
#[derive(Default)]
pub struct Learnt(Mutex<BTreeMap<String, OfPool>>);

/// What is known of how long tasks wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Waits {
    /// Too few have ended to tell one class from another.
    Unknown,
    /// This, a moment ago.
    Known(Starts),
    /// It has to be worked out anew; this is what was known before.
    Due(Option<Starts>),
}

impl Learnt {
    fn pools(&self) -> MutexGuard<'_, BTreeMap<String, OfPool>> {
        // A panic while the lock was held can only have been in a clone: what is there is whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A task of this pool has ended.
    pub fn add(&self, pool: &str, class: &Class, needed: Needed) {
        self.pools().entry(pool.to_owned()).or_default().needs.add(class, needed);
    }

    /// Tasks of this pool that had ended before all that it has told of, from the last to the first.
    fn add_before(&self, pool: &str, ended: &[(Class, Needed)]) {
        let mut pools = self.pools();
        let known = pools.entry(pool.to_owned()).or_default();
        ended.iter().for_each(|(class, needed)| known.needs.add_before(class, *needed));
    }

    /// Learn from the tasks of these pools that the store at `path` has, of those that ended before then, and give what is for the
    /// controller. It takes as long as a few pages of each pool take to be read; a pool that cannot be read is begun with anew.
    pub fn recall(&self, path: &Path, pools: &[String], before: Wall, tell: impl Fn(&str, Vec<Needed>)) {
        let reader = match Reader::open(path) {
            Ok(reader) => reader,
            Err(error) => return tracing::warn!(%error, "what tasks needed is learnt from the next ones"),
        };
        for pool in pools {
            let ended = match reader.ended(pool, before, READ_AGAIN) {
                Ok(ended) => ended,
                Err(error) => {
                    tracing::warn!(pool, %error, "what tasks needed is learnt from the next ones");
                    continue;
                }
            };
            let needed = |task: &Task| Some((Class::of(&task.source, task.key.as_deref()), Needed::of(task.end.as_ref()?)?));
            let ended: Vec<(Class, Needed)> = ended.iter().filter_map(needed).collect();
            self.add_before(pool, &ended);
            tell(pool, ended.into_iter().take(RECENT).map(|(_, needed)| needed).collect());
        }
    }

    /// The pool is gone.
    pub fn forget(&self, pool: &str) {
        self.pools().remove(pool);
    }

    /// How long tasks of this pool wait, as far as it is known without a look into the store.
    pub fn waits(&self, pool: &str, now: Now) -> Waits {
        match self.pools().get(pool) {
            Some(known) if known.needs.count() >= ENOUGH => match &known.starts {
                Some((at, starts)) if now.mono.since(at.mono) < COUNTS_FOR => Waits::Known(starts.clone()),
                before => Waits::Due(before.as_ref().map(|(_, starts)| starts.clone())),
            },
            Some(_) | None => Waits::Unknown,
        }
    }

    /// The same from those that run and those that wait, in their order, with so many workers.
    pub fn work_out(&self, pool: &str, (running, waiting): (&[Task], &[Task]), slots: u32, now: Now) -> Option<Starts> {
        let class = |task: &Task| Class::of(&task.source, task.key.as_deref());
        let since =
            |task: &Task| Span(u64::try_from(now.wall.0.saturating_sub(task.started.map_or(now.wall.0, |at| at.0))).unwrap_or(0));
        let running: Vec<_> = running.iter().map(|task| workload::Running { class: class(task), since: since(task) }).collect();
        let waiting: Vec<Class> = waiting.iter().map(class).collect();
        let mut pools = self.pools();
        let known = pools.get_mut(pool)?;
        let starts: Starts = workload::starts(&known.needs, &running, &waiting, slots as usize)?.into();
        known.starts = Some((now, starts.clone()));
        Some(starts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::{Moment, Wall};

    fn at(ms: u64) -> Now {
        Now { mono: Moment(ms), wall: Wall(ms.cast_signed()) }
    }

    fn task(source: &str, started: Option<i64>) -> Task {
        Task { source: source.into(), started: started.map(Wall), ..Task::default() }
    }

    #[test]
    fn what_was_worked_out_counts_for_a_moment() {
        let learnt = Learnt::default();
        assert_eq!(learnt.waits("p", at(0)), Waits::Unknown);
        for (source, ran_ms) in [("schedule/nightly", 60_000), ("submit", 1000)] {
            assert_eq!(learnt.waits("p", at(0)), Waits::Unknown);
            let class = Class::of(source, None);
            (0..ENOUGH / 2).for_each(|_| learnt.add("p", &class, Needed { ran_ms, memory: None }));
        }
        assert_eq!((learnt.waits("p", at(0)), learnt.waits("other", at(0))), (Waits::Due(None), Waits::Unknown));
        (0..ENOUGH).for_each(|_| learnt.add("p", &Class::of("submit", None), Needed { ran_ms: 1000, memory: None }));
        (0..ENOUGH).for_each(|_| learnt.add("p", &Class::of("schedule/nightly", None), Needed { ran_ms: 60_000, memory: None }));
        let (running, waiting) = (
            [task("schedule/nightly", Some(-20_000)), task("submit", Some(0))],
            [task("submit", None), task("schedule/nightly", None), task("submit", None)],
        );
        let starts = learnt.work_out("p", (&running, &waiting), 2, at(0)).expect("it is known");
        assert_eq!(*starts, [1000, 2000, 40_000, 41_000]);
        assert_eq!(
            (learnt.waits("p", at(999)), learnt.waits("p", at(1000))),
            (Waits::Known(starts.clone()), Waits::Due(Some(starts)))
        );
        learnt.forget("p");
        assert_eq!(learnt.waits("p", at(0)), Waits::Unknown);
    }
}
