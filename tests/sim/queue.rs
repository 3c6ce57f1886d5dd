//! The queue of pool [`POOL`], whose rows weir's own store keeps; who gives it tasks, and what truly became of each.
//!
//! Beside the rows stands what processes did. No task may run twice at once, or once more after it was done; what is over stays
//! so; and in the end everything that was taken in is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

use serde_json::json;
use weir::decide::roster;
use weir::edge::store::read::{Reader, TaskFilter};
use weir::edge::store::{Queues, Store};
use weir::engine::host::Fact;
use weir::model::batch::{Batch, Stored};
use weir::model::plan::PoolFacts;
use weir::model::queue::Queue;
use weir::model::queue_work::{QueueAnswer, QueueCounts, QueueWork};
use weir::model::status::{Kind, Object};
use weir::model::task::{NewTask, Task, TaskState};
use weir::model::time::{Now, Span, Wall};
use weir::model::worker::{Exit, SlotId};

use crate::slots::{End, Inside, SimSlot};
use crate::world::{Todo, World};

/// The pool that has a queue.
pub const POOL: &str = "q";

/// A stop for a timeout may come so long before the process has run for it: the attempt began with the lease.
const BEGUN_BEFORE: u64 = 10_000;

/// What is known of a task beside its row.
#[derive(Default)]
struct Truth {
    /// A process that nobody had told to stop ended well.
    done: bool,
    /// A process of it ended with code 0.
    zero: bool,
    /// How its row was when it was last looked at.
    seen: TaskState,
    epoch: u64,
}

/// The rows, and the truth beside them.
pub struct Line {
    dir: tempfile::TempDir,
    store: Store,
    told: Receiver<(String, QueueCounts)>,
    reader: Reader,
    truths: BTreeMap<u64, Truth>,
}

impl Line {
    pub fn new() -> Line {
        // In memory, where there is such a place: a schedule commits hundreds of times.
        let dir = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory");
        let (store, told, _) = open(&dir);
        let reader = Reader::open(&dir.path().join("weir.db")).expect("the store is there");
        Line { dir, store, told, reader, truths: BTreeMap::new() }
    }

    /// As the next daemon finds it.
    pub fn reopen(&mut self) -> Stored {
        let stored;
        (self.store, self.told, stored) = open(&self.dir);
        stored
    }

    fn tasks(&self) -> Vec<Task> {
        let all = self.reader.tasks(&TaskFilter::default()).expect("the rows can be read").tasks;
        all.into_iter().map(|(task, _)| task).collect()
    }

    fn task(&self, id: u64) -> Option<Task> {
        let found = self.reader.tasks(&TaskFilter { id: Some(id), ..TaskFilter::default() }).expect("the rows can be read").tasks;
        found.into_iter().next().map(|(task, _)| task)
    }

    /// The shim of its worker wrote down how a run of a task ended.
    pub fn ended(&mut self, task: u64, exit: &Exit) {
        let truth = self.truths.entry(task).or_default();
        truth.zero |= exit.code == Some(0);
        truth.done |= exit.code == Some(0) && !exit.asked;
    }

    /// The first thing of the rows that cannot be.
    fn look(&mut self) -> Result<(), String> {
        for task in self.tasks() {
            let truth = self.truths.entry(task.id).or_default();
            let (id, state, before) = (task.id, task.state, truth.seen);
            if before.is_final() && before != state {
                return Err(format!("task {id} was {before:?} and is {state:?}"));
            }
            if task.epoch < truth.epoch {
                return Err(format!("the epoch of task {id} went from {} to {}", truth.epoch, task.epoch));
            }
            if state == TaskState::Succeeded && !truth.zero {
                return Err(format!("task {id} is shown as done, and no process of it ended with code 0"));
            }
            (truth.seen, truth.epoch) = (state, task.epoch);
        }
        Ok(())
    }
}

fn open(dir: &tempfile::TempDir) -> (Store, Receiver<(String, QueueCounts)>, Stored) {
    let (tell, told) = channel();
    let changed = move |pool: &str, counts: QueueCounts| {
        // A daemon that was killed is told nothing.
        let _heard = tell.send((pool.to_owned(), counts));
    };
    let queues = Queues { work: weir::engine::queue::work, changed: Box::new(changed) };
    let (store, stored) = Store::open(&dir.path().join("weir.db"), "a boot", queues).expect("the store opens");
    (store, told, stored)
}

impl World {
    /// Do this with the queues, now and in one transaction. The daemon is told what stands in them before it is told of the rest.
    pub fn queue_work(&mut self, queue: Vec<QueueWork>, at: Now) -> Vec<QueueAnswer> {
        if queue.is_empty() {
            return Vec::new();
        }
        let (reply, answer) = channel();
        let done = move |result| reply.send(result).expect("it is waited for");
        self.line.store.commit(Batch { queue, at, ..Batch::default() }, done);
        let answers = answer.recv().expect("the store answers").expect("the store commits");
        let told: Vec<(String, QueueCounts)> = self.line.told.try_iter().collect();
        for (pool, counts) in told {
            self.tell_now(Fact::Queue(pool, counts));
        }
        if let Err(error) = self.line.look() {
            self.checks.fail(error);
        }
        answers
    }

    fn tell_now(&mut self, fact: Fact) {
        if self.daemon_lives {
            let epoch = self.epoch;
            self.later(0, Todo::Fact(epoch, fact));
        }
    }

    /// Somebody does something with the queue, as it is shown.
    pub fn use_the_queue(&mut self) {
        let shown = match self.published.get(&(Kind::Pool, POOL.to_owned())) {
            Some(Object::Pool(pool)) => pool.spec.queue.clone().map(|queue| {
                let workers = roster::names((POOL, &pool.spec), pool.status.desired_replicas);
                (Arc::new(queue), workers)
            }),
            Some(_) | None => None,
        };
        let Some((queue, workers)) = shown.filter(|_| self.daemon_lives) else { return };
        match self.random.below(10) {
            0..=5 => self.submit(queue, workers),
            6 | 7 => self.change_one(|_| true, |id| QueueWork::Cancel { id }),
            8 => self.redrive(),
            _ => {
                let now = self.clock();
                let until = self.random.pick(&[None, Some(1_000), Some(20_000), Some(i64::from(u32::MAX))]);
                let until = until.map(|ms| Wall(now.wall.0 + ms));
                self.queue_work(vec![QueueWork::Pause { pool: POOL.into(), until, why: "somebody asked for it".into() }], now);
            }
        }
    }

    /// Nobody holds it back any more.
    pub fn let_the_queue_go(&mut self) {
        let now = self.clock();
        self.queue_work(vec![QueueWork::Pause { pool: POOL.into(), until: None, why: String::new() }], now);
    }

    fn submit(&mut self, queue: Arc<Queue>, workers: Vec<String>) {
        let count = 1 + self.random.below(3);
        let tasks = (0..count).map(|n| self.any_task(n)).collect();
        let (now, divided) = (self.clock(), queue.dispatch == weir::model::queue::Dispatch::PerWorker);
        let workers = if divided { workers } else { Vec::new() };
        self.queue_work(vec![QueueWork::Submit { pool: POOL.into(), queue, tasks, workers }], now);
    }

    fn any_task(&mut self, n: u64) -> NewTask {
        let random = &mut self.random;
        NewTask {
            payload: json!({ "n": n }),
            priority: u8::try_from(random.below(10)).unwrap_or(0),
            key: random.chance(30).then(|| format!("k{}", random.below(2))),
            delay: random.chance(15).then(|| Span(random.below(5_000))),
            ..NewTask::default()
        }
    }

    /// One of the tasks is changed by a person; the daemon is told of it, as of all that is done past it.
    fn change_one(&mut self, wanted: impl Fn(&Task) -> bool, work: impl Fn(u64) -> QueueWork) {
        let all: Vec<Task> = self.line.tasks().into_iter().filter(|task| wanted(task)).collect();
        if all.is_empty() {
            return;
        }
        let id = self.random.pick(&all).id;
        let now = self.clock();
        for answer in self.queue_work(vec![work(id)], now) {
            if let QueueAnswer::Task { task, .. } = answer {
                self.stop_is_meant(&task);
                self.tell_now(Fact::Task(task));
            }
        }
    }

    /// Its worker may be stopped: the task was cancelled.
    fn stop_is_meant(&mut self, task: &Task) {
        if let Some(worker) = task.worker.clone().filter(|_| task.cancelling) {
            self.checks.asked(&SlotId { pool: POOL.into(), worker });
        }
    }

    /// What has ended, and not well, is tried once more: it begins anew.
    fn redrive(&mut self) {
        let ended = |task: &Task| task.state.is_final() && task.state != TaskState::Succeeded;
        for task in self.line.tasks().into_iter().filter(ended) {
            let epoch = task.epoch;
            self.line.truths.insert(task.id, Truth { epoch, ..Truth::default() });
        }
        self.change_one(ended, |id| QueueWork::Redrive { id });
    }

    /// A process is about to be started for a task.
    pub fn begin_task(&mut self, id: &SlotId, incarnation: u64, task: u64) {
        let other = self.slots.iter().find(|(other, slot)| *other != id && slot.alive() && slot.task == Some(task));
        if let Some((other, _)) = other {
            let error = format!("task {task} is started in {} while it runs in {}", id.worker, other.worker);
            return self.checks.fail(error);
        }
        if self.line.truths.get(&task).is_some_and(|truth| truth.done) {
            return self.checks.fail(format!("task {task} is started once more, and was done"));
        }
        let row = self.line.task(task);
        let holds = row.as_ref().is_some_and(|row| (row.worker.as_deref(), row.run) == (Some(id.worker.as_str()), incarnation));
        if !holds || row.as_ref().map(|row| row.state) != Some(TaskState::Leased) {
            self.checks.fail(format!("task {task} is started in run {incarnation} of {}, its row is {row:?}", id.worker));
        }
    }

    /// A task's process lives for a while, and ends by itself.
    pub fn live_for_a_task(&mut self, id: &SlotId, incarnation: u64) {
        let within = self.random.pick(&[20, 500, 3_000, 10_000]);
        let life = self.random.below(within);
        let end = self.random.pick(&[End::Code(0), End::Code(0), End::Code(0), End::Code(1), End::Code(75), End::Signal(9)]);
        self.later(life, Todo::Die(id.clone(), incarnation, end));
    }

    /// A process may be told to stop now: it has run for its task for as long as it may, or is from before each task had one.
    pub fn stop_is_due(&self, facts: &PoolFacts, slot: &SimSlot) -> bool {
        let (Some(queue), Inside::Process(run)) = (&facts.spec.queue, &slot.inside) else { return false };
        slot.task.is_none() || self.now - run.started.0 + BEGUN_BEFORE >= queue.timeout.0
    }
}

/// What must hold in the end: whatever was taken in is over, if anybody is there to do it.
pub fn settled(world: &World) -> Result<(), String> {
    let alive = world.slots.iter().filter(|(id, slot)| id.pool == POOL && slot.alive()).count();
    if alive > 0 {
        return Err(format!("{alive} processes live"));
    }
    let tasks = world.line.tasks();
    if tasks.len() != world.line.truths.len() {
        return Err(format!("{} tasks were taken in, there are {}", world.line.truths.len(), tasks.len()));
    }
    let gone = !world.specs.wishes.contains_key(POOL);
    if gone && world.published.contains_key(&(Kind::Pool, POOL.to_owned())) {
        return Err("it is gone and still shown".into());
    }
    let worked = crate::specs::spec_of_wish(&world.specs, POOL).is_some_and(|spec| spec.fixed_replicas() != Some(0));
    for task in &tasks {
        let (id, state) = (task.id, task.state);
        if state == TaskState::Leased || (worked && !state.is_final()) {
            return Err(format!("task {id} is {state:?}: {task:?}"));
        }
        let done = world.line.truths.get(&id).is_some_and(|truth| truth.done);
        if done && !matches!(state, TaskState::Succeeded | TaskState::Cancelled) {
            return Err(format!("task {id} was done, and is {state:?}"));
        }
    }
    shown(world, &tasks)
}

/// What is shown of the queue is what stands in it.
fn shown(world: &World, tasks: &[Task]) -> Result<(), String> {
    let Some(Object::Pool(pool)) = world.published.get(&(Kind::Pool, POOL.to_owned())) else { return Ok(()) };
    let Some(queue) = &pool.status.queue else { return Ok(()) };
    let waiting = tasks.iter().filter(|task| task.state == TaskState::Queued).count() as u64;
    let queued = queue.ready + queue.delayed + queue.blocked;
    if (queued, queue.running) == (waiting, 0) {
        return Ok(());
    }
    Err(format!("{waiting} tasks wait and none runs, shown are {queued} and {}", queue.running))
}
