//! The way to the queues past the controller: the store, what stands in each queue, and a connection for lists.
//!
//! What is done over it is told to the controller by the store's own thread, in the order of its transactions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::waiters::Waiters;
use crate::edge::store::read::Reader;
pub use crate::edge::store::read::{LISTED_MAX, TaskFilter};
use crate::edge::store::{Queues, Store};
use crate::model::queue_work::QueueCounts;
use crate::model::task::Task;
use crate::model::time::{Span, Wall};

/// What stands in each queue, for whoever waits for a change.
#[derive(Default)]
pub struct Hub {
    pools: Mutex<BTreeMap<String, Queued>>,
    number: watch::Sender<u64>,
}

/// One queue.
#[derive(Clone, Default)]
struct Queued {
    counts: watch::Sender<QueueCounts>,
    waiters: Waiters,
}

impl Hub {
    /// Changes of tasks are numbered from here on.
    pub fn start_at(&self, number: u64) {
        self.number.send_replace(number);
    }

    /// The number of the last change of any task, and the next ones.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.number.subscribe()
    }

    fn queued(&self, pool: &str) -> Queued {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        pools.entry(pool.to_owned()).or_default().clone()
    }

    pub(super) fn of(&self, pool: &str) -> watch::Sender<QueueCounts> {
        self.queued(pool).counts
    }

    /// Those that wait for a task that anybody can take.
    pub(super) fn waiters(&self, pool: &str) -> Waiters {
        self.queued(pool).waiters
    }

    /// The counts as the store told them last.
    pub fn put(&self, pool: &str, counts: QueueCounts) {
        // Also when nothing differs: an end and the next submit may leave the counts as they were.
        let Queued { counts: kept, waiters } = self.queued(pool);
        let (divided, ready) = (!counts.lines.is_empty(), if counts.paused_until.is_some() { 0 } else { counts.ready });
        kept.send_replace(counts);
        if divided {
            waiters.everybody()
        } else {
            waiters.ready(ready)
        }
        self.number.send_modify(|number| *number += 1);
    }
}

/// What the store is given to work with the queues: the work, and whom to tell.
pub fn queues(hub: Arc<Hub>, tell: impl Fn(&str, QueueCounts) + Send + 'static) -> Queues {
    let changed = move |pool: &str, counts: QueueCounts| {
        hub.put(pool, counts.clone());
        tell(pool, counts);
    };
    Queues { work: super::queue::work, changed: Box::new(changed) }
}

/// In a line this long, one more or less changes nothing for any worker.
const LONG: u64 = 256;
/// What comes to a long line, or goes from it, is told together after this.
const TOGETHER: Duration = Duration::from_millis(20);

/// What was told of a queue last, and what is to be told together with what comes yet.
#[derive(Default)]
struct Line {
    told: QueueCounts,
    newer: Option<QueueCounts>,
}

/// Tell of changes one by one; of those to long lines together, so that a flood of submits does not wake the controller for
/// each. Must be called inside the runtime.
pub fn gathered(tell: impl Fn(&str, QueueCounts) + Send + Sync + 'static) -> impl Fn(&str, QueueCounts) + Send + 'static {
    let (runtime, tell) = (tokio::runtime::Handle::current(), Arc::new(tell));
    let lines: Arc<Mutex<BTreeMap<String, Line>>> = Arc::default();
    move |pool, counts| {
        let mut all = lines.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(pool) {
            all.insert(pool.to_owned(), Line::default());
        }
        let Some(line) = all.get_mut(pool) else { return };
        let long = line.told.ready.min(counts.ready) >= LONG;
        if !long || (line.told.leased, line.told.paused_until) != (counts.leased, counts.paused_until) {
            *line = Line { told: counts.clone(), newer: None };
            tell(pool, counts);
        } else if line.newer.replace(counts).is_none() {
            let (lines, tell, pool) = (lines.clone(), tell.clone(), pool.to_owned());
            runtime.spawn(async move {
                tokio::time::sleep(TOGETHER).await;
                let mut all = lines.lock().unwrap_or_else(PoisonError::into_inner);
                let Some(line) = all.get_mut(&pool) else { return };
                if let Some(counts) = line.newer.take() {
                    line.told = counts.clone();
                    tell(&pool, counts);
                }
            });
        }
    }
}

/// The way to the queues.
pub struct TaskDoor {
    /// The store.
    pub store: Store,
    /// Its file, for reading.
    pub path: PathBuf,
    /// What stands in each queue.
    pub hub: Arc<Hub>,
    /// Told of each task that was leased or ended past the controller, on the store's thread.
    pub tell: Arc<dyn Fn(Task) + Send + Sync>,
    /// Told why the store did not take what somebody asked for.
    pub untaken: Arc<dyn Fn(String) + Send + Sync>,
    /// The connection that lists are read by, once there is one.
    pub reader: Arc<tokio::sync::Mutex<Option<Reader>>>,
    /// The same for the walks through lines that an answer to a submit waits for, one at a time: no long list is before them.
    pub walker: Arc<tokio::sync::Mutex<Option<Reader>>>,
}

/// A task that was taken in, and when it may begin.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The task.
    pub task: Task,
    /// It was there before: its idempotency key is known.
    pub known: bool,
    /// Its place among those that wait, 1 being the next.
    pub position: Option<u64>,
    /// How long it will wait, as far as the last tasks tell.
    pub estimated_wait: Option<Span>,
}

/// What a dispatcher that wants to hold back needs to know.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Capacity {
    /// Tasks that would be begun at once: by workers that are idle, and by those that the pool can grow by.
    pub free_slots: u32,
    /// Workers that there can be now.
    pub slots: u32,
    /// Tasks that wait.
    pub queued: u64,
    /// Those of them that wait for their time.
    pub delayed: u64,
    /// Those of them that wait for another task of their key.
    pub blocked: u64,
    /// Tasks that wait for a release. They count against `capacity` too.
    pub held: u64,
    /// Tasks that run.
    pub running: u64,
    /// Most tasks that may wait or be held.
    pub capacity: u32,
    /// How long a task submitted now would wait.
    pub estimated_wait: Option<Span>,
    /// Where that number comes from, in words.
    pub estimated_from: &'static str,
    /// The queue rests until then.
    pub paused_until: Option<Wall>,
    /// Why it rests.
    pub paused_why: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn a_flood_to_a_long_line_is_told_together_and_everything_else_at_once() {
        let (kept, told) = std::sync::mpsc::channel();
        let tell = gathered(move |_, counts| kept.send((counts.ready, counts.leased)).unwrap());
        let now = |ready, leased| tell("p", QueueCounts { ready, leased, ..QueueCounts::default() });
        let next = || told.recv_timeout(Duration::from_secs(10)).unwrap();
        (0..3).for_each(|ready| now(ready, 0));
        assert_eq!([next(), next(), next()], [(0, 0), (1, 0), (2, 0)], "a short line");
        now(LONG, 0);
        (1..100).for_each(|more| now(LONG + more, 0));
        let mut all = vec![next()];
        while all.last() != Some(&(LONG + 99, 0)) {
            all.push(next());
        }
        assert!(all.len() < 50, "together, and the last one of them: {all:?}");
        now(LONG + 100, 0);
        now(LONG + 101, 1);
        while all.last() != Some(&(LONG + 101, 1)) {
            all.push(next());
        }
        now(3, 1);
        assert_eq!(next(), (3, 1), "short again, and nothing old between");
    }
}
