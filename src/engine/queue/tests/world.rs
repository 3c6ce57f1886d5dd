//! One pool's queue in a real store, with its counts as they are told, and the few tasks that the tests ask with.
//! What must hold of the rows after each step is looked for here.

use std::collections::BTreeMap;

use super::*;
use crate::edge::store::read::{Reader, TaskFilter};
use crate::edge::store::{Queues, Store};
use crate::model::batch::Batch;
use crate::model::queue_work::QueueCounts;

/// What the store last told of each queue.
pub(super) type Counts = Arc<Mutex<BTreeMap<String, QueueCounts>>>;

pub(super) struct World {
    pub(super) _dir: tempfile::TempDir,
    pub(super) path: std::path::PathBuf,
    pub(super) store: Store,
    pub(super) counts: Counts,
    pub(super) at: u64,
}

pub(super) fn open(path: &std::path::Path) -> (Store, Counts, Vec<Task>) {
    let counts: Counts = Arc::default();
    let told = counts.clone();
    let changed = move |pool: &str, now: QueueCounts| drop(told.lock().unwrap().insert(pool.to_owned(), now));
    let (store, stored) = Store::open(path, "boot", Queues { work, changed: Box::new(changed) }).unwrap();
    (store, counts, stored.leased)
}

impl World {
    pub(super) fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("weir.db");
        let (store, counts, _) = open(&path);
        World { _dir: dir, path, store, counts, at: 0 }
    }

    pub(super) fn now(&self) -> Now {
        Now { mono: Moment(1_000_000 + self.at), wall: Wall(1_700_000_000_000 + i64::try_from(self.at).unwrap()) }
    }

    pub(super) fn all(&self, queue: Vec<QueueWork>) -> Vec<QueueAnswer> {
        let (tell, told) = std::sync::mpsc::channel();
        let batch = Batch { queue, at: self.now(), ..Batch::default() };
        self.store.commit(batch, move |answers| tell.send(answers).unwrap());
        told.recv().unwrap().unwrap()
    }

    pub(super) fn one(&self, work: QueueWork) -> QueueAnswer {
        self.all(vec![work]).pop().unwrap()
    }

    pub(super) fn submit(&self, queue: &Arc<Queue>, tasks: Vec<NewTask>) -> Result<Vec<Submitted>, QueueRefusal> {
        let workers = vec!["p-0".to_owned(), "p-1".into(), "p-2".into()];
        let answer = self.one(QueueWork::Submit { pool: "p".into(), queue: queue.clone(), tasks, workers });
        if let QueueAnswer::Refused(refusal) = answer {
            return Err(refusal);
        }
        let QueueAnswer::Submitted(all) = answer else { panic!("{answer:?}") };
        Ok(all)
    }

    pub(super) fn lease(&self, queue: &Arc<Queue>, worker: &str, nonce: u64) -> Option<Task> {
        let taker = Taker { worker: worker.into(), run: 1, nonce };
        let answer = self.one(QueueWork::Lease { pool: "p".into(), queue: queue.clone(), taker });
        let QueueAnswer::Leased(task) = answer else { panic!("{answer:?}") };
        task.map(|task| *task)
    }

    pub(super) fn end(&self, queue: &Arc<Queue>, task: &Task, reason: EndReason) -> QueueAnswer {
        let end = End { reason, ..End::default() };
        self.one(QueueWork::End {
            token: token(task),
            end,
            result: None,
            output: String::new(),
            queue: queue.clone(),
            next: None,
        })
    }

    pub(super) fn listed(&self) -> Vec<(Task, Option<u64>)> {
        Reader::open(&self.path).unwrap().tasks(&TaskFilter::default()).unwrap().tasks
    }

    /// The counts that were told are those of the rows, and one of a key at most can be taken or is taken.
    pub(super) fn consistent(&self) {
        let rows = self.listed();
        let told = self.counts.lock().unwrap().get("p").cloned().unwrap_or_default();
        let count = |test: &dyn Fn(&Task) -> bool| rows.iter().filter(|(task, _)| test(task)).count() as u64;
        let queued = |task: &Task| task.state == TaskState::Queued;
        let ready = count(&|task| queued(task) && task.not_before.is_none() && !task.blocked);
        let delayed = count(&|task| queued(task) && task.not_before.is_some());
        let leased = count(&|task| task.state == TaskState::Leased);
        let held = count(&|task| task.state == TaskState::Held);
        assert_eq!((told.ready, told.delayed, told.leased, told.held), (ready, delayed, leased, held));
        assert_eq!(told.queued(), count(&queued));
        let mut keys = BTreeSet::new();
        for (task, _) in &rows {
            let open = task.state == TaskState::Leased || (queued(task) && task.not_before.is_none() && !task.blocked);
            if let Some(key) = task.key.as_ref().filter(|_| open) {
                assert!(keys.insert(key.clone()), "two of key {key} can run");
            }
        }
        for (task, _) in rows.iter().filter(|(task, _)| !task.after.is_empty()) {
            let goes_on = |id: &u64| rows.iter().any(|(earlier, _)| earlier.id == *id && !earlier.state.is_final());
            assert!(task.state == TaskState::Held && task.after.iter().all(goes_on), "it waits for what is over: {task:?}");
        }
        let stuck = rows.iter().find(|(task, _)| task.blocked && task.key.as_ref().is_none_or(|key| !keys.contains(key)));
        assert!(stuck.is_none(), "blocked by nothing: {stuck:?}");
    }
}

pub(super) fn token(task: &Task) -> Token {
    Token { pool: task.pool.clone(), id: task.id, epoch: task.epoch, nonce: task.nonce }
}

pub(super) fn rules(delivery: Delivery) -> Arc<Queue> {
    Arc::new(Queue { delivery, ..Queue::default() })
}

pub(super) fn plain(priority: u8) -> NewTask {
    NewTask { priority, payload: serde_json::json!({"n": priority}), ..NewTask::default() }
}

pub(super) fn keyed(key: &str, priority: u8) -> NewTask {
    NewTask { key: Some(key.into()), ..plain(priority) }
}
