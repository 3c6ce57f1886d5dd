//! The way to the queues past the controller: the store, what stands in each queue, and a connection for lists.
//!
//! What is done over it is told to the controller by the store's own thread, in the order of its transactions.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

use crate::edge::store::read::Reader;
use crate::edge::store::{Queues, Store};
use crate::model::queue_work::QueueCounts;
use crate::model::task::Task;
use crate::model::time::{Span, Wall};

/// What stands in each queue, for whoever waits for a change.
#[derive(Default)]
pub struct Hub(Mutex<BTreeMap<String, watch::Sender<QueueCounts>>>);

impl Hub {
    pub(super) fn of(&self, pool: &str) -> watch::Sender<QueueCounts> {
        let mut pools = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pools.entry(pool.to_owned()).or_insert_with(|| watch::Sender::new(QueueCounts::default())).clone()
    }

    /// The counts as the store told them last.
    pub fn put(&self, pool: &str, counts: QueueCounts) {
        // Also when nothing differs: an end and the next submit may leave the counts as they were.
        self.of(pool).send_replace(counts);
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
    /// The connection that lists are read by, once there is one.
    pub reader: Arc<Mutex<Option<Reader>>>,
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
    /// Workers that could take a task at once.
    pub free_slots: u32,
    /// Tasks that wait.
    pub queued: u64,
    /// Tasks that run.
    pub running: u64,
    /// Most tasks that may wait.
    pub capacity: u32,
    /// How long a task submitted now would wait.
    pub estimated_wait: Option<Span>,
    /// The queue rests until then.
    pub paused_until: Option<Wall>,
}
