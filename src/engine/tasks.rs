//! The door to the queues for whoever serves them: straight to the store's thread, past the controller's turn.
//!
//! A submit that is answered is on disk. The rules come from what was last published of the pool; the controller hears of each
//! change from the store itself, in the order of the transactions. Lists are read by a connection of their own, beside the writer.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;

use super::handle::{Board, Denied, Handle, LogPlace};
use super::learnt::{Starts, Waits as Walk};
use super::policy_door::opened;
use super::queue_door::{Accepted, Capacity, TaskFilter};
use super::small::is_small;
use super::wear::Wear;
use crate::decide::workload::{self, Behind};
use crate::decide::{dispatch, roster};
use crate::edge::clock;
use crate::edge::store::read::Listed;
use crate::edge::store::{Committed, Untaken};
use crate::model::batch::Batch;
use crate::model::payload;
use crate::model::queue::{Delivery, Dispatch, Queue};
use crate::model::queue_work::{QueueAnswer, QueueCounts, QueueRefusal, QueueWork, Submitted};
use crate::model::status::{Kind, Object, Phase, PoolObject};
use crate::model::task::{NewTask, Task, TaskState};
use crate::model::time::{Now, Span, Wall};
use crate::model::workload::Needed;

/// Tasks of a line that are looked at one by one; those behind them wait as if it went on like that.
const WALKED: u32 = 256;
/// A daemon that has just started shows its pools within this.
const SHOWN: Duration = Duration::from_secs(5);

fn refused(refusal: QueueRefusal) -> Denied {
    match refusal {
        QueueRefusal::NoTask(id) => Denied::NotFound { kind: "tasks", name: id.to_string(), hint: String::new() },
        QueueRefusal::Invalid(words) => Denied::Refused(words),
        QueueRefusal::Full { message, retry_after } => Denied::Full { message, retry_after },
        QueueRefusal::Conflict(words) => Denied::Conflict(words),
    }
}

pub(super) fn unexpected<T>() -> Result<T, Denied> {
    Err(Denied::Internal("the store gave an answer to another question".into()))
}

/// What is known of a pool that says how long its tasks wait.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits {
    /// Half of the last tasks took at most so long, in milliseconds.
    each: Option<u64>,
    /// Workers there can be, where there is room for them.
    slots: u32,
    /// Of these, how many have nothing to do or are not there yet.
    free: u32,
    /// No task is begun: when one is again nobody knows.
    closed: bool,
    /// Each worker has a line of its own.
    divided: bool,
    /// How long the first of them wait, by what tasks of their classes took; none: that is not known.
    starts: Option<Starts>,
}

impl Waits {
    /// From what is shown of a pool, and from how many tasks run by now: what is shown is older than the answer to a submit.
    fn of(pool: &PoolObject, running: u64) -> Waits {
        let queue = pool.status.queue.as_ref();
        let most = pool.spec.scale.as_ref().map_or(pool.status.desired_replicas, |scale| scale.max_replicas);
        let slots = if pool.status.scaling.is_some() { pool.status.slots() } else { most };
        let each = queue.and_then(|queue| queue.stats.p50_ms);
        let shown = queue.filter(|queue| queue.free_slots > 0 && !pool.status.begins_nothing());
        let left = |all: u64| u32::try_from(all.saturating_sub(running)).unwrap_or(u32::MAX);
        let free = shown.map_or(0, |queue| left(u64::from(queue.free_slots) + queue.running).min(left(u64::from(slots))));
        // When tasks are begun again nobody knows, nor where there are to be no workers, or all of them wait to be started again.
        let stands = running == 0 && pool.status.busy_replicas == 0 && shown.is_none();
        let closed = pool.status.begins_nothing() || slots == 0 || stands;
        let divided = pool.spec.queue.as_ref().is_some_and(|queue| queue.dispatch == Dispatch::PerWorker);
        Waits { each, slots, free, closed, divided, starts: None }
    }

    /// Where the numbers come from, in words.
    fn how(&self) -> &'static str {
        if self.starts.is_some() { "what tasks of each class took" } else { "what the last tasks took" }
    }

    /// How long the task at this place waits: what the walk says, or as many rounds of the workers as are before it, each as long
    /// as half of the last tasks. Where it is in the line of one worker, it waits for that one, which may have nothing to do (`idle`).
    fn at(&self, position: u64, idle: bool) -> Option<Span> {
        if self.closed {
            return None;
        }
        if let Some(starts) = &self.starts {
            let cut = starts.len() > WALKED as usize;
            // Half of the last tasks a daemon that has just started does not know, where the walk knows those of the ones before it.
            let behind = self.each.filter(|_| !cut).map_or(Behind::Alike, |each| Behind::Rounds(self.slots, each));
            return workload::at(starts, position, behind);
        }
        let each = self.each?;
        if self.divided {
            return Some(Span(position.saturating_sub(u64::from(idle)).saturating_mul(each)));
        }
        let ahead = position.saturating_sub(1).saturating_sub(u64::from(self.free));
        let rounds = if position <= u64::from(self.free) { 0 } else { ahead / u64::from(self.slots.max(1)) + 1 };
        Some(Span(rounds.saturating_mul(each)))
    }
}

/// What a call needs to know of a pool with a queue.
pub(super) struct Rules {
    /// Its rules.
    pub(super) queue: Arc<Queue>,
    /// The workers among which it is divided; none where it is not.
    workers: Arc<[String]>,
    waits: Waits,
    /// The command of each task's process, where it takes something from what the task carries.
    takes: Option<Vec<String>>,
}

impl Handle {
    /// Look at a pool. What is shown of it may be large: it is looked at where it is, for every task.
    pub(super) fn pool<T>(&self, name: &str, look: impl FnOnce(&PoolObject) -> T) -> Result<T, Denied> {
        let board: &Board = self.board();
        match board.get(Kind::Pool, name).as_deref() {
            Some(Object::Pool(pool)) => Ok(look(pool)),
            Some(Object::Worker(_) | Object::Policy(_) | Object::Event(_)) | None => {
                let with_queue = |object: &Object| match object {
                    Object::Pool(pool) if pool.spec.queue.is_some() => Some(pool.metadata.name.clone()),
                    Object::Pool(_) | Object::Worker(_) | Object::Policy(_) | Object::Event(_) => None,
                };
                let types: Vec<String> = board.list(Kind::Pool).1.iter().filter_map(|object| with_queue(object)).collect();
                let hint = if types.is_empty() {
                    ": no pool has a queue".to_owned()
                } else {
                    format!(": the types there are: {}", types.join(", "))
                };
                Err(Denied::NotFound { kind: Kind::Pool.plural(), name: name.into(), hint })
            }
        }
    }

    /// The rules of a queue. Waits for a pool that a daemon before this one had, as long as this one has not looked at it: a worker
    /// that has done its task while no daemon was there must not be told that there is no such pool.
    pub(super) async fn rules(&self, name: &str) -> Result<Rules, Denied> {
        if self.board().expects(Kind::Pool, name) {
            let shown = async {
                let Ok(mut changes) = self.watch(Kind::Pool, 0) else { return };
                while self.board().expects(Kind::Pool, name) && matches!(changes.next().await, Some(Ok(_))) {}
            };
            // What takes longer is gone from the specs, or cannot be read: it is answered as what it is.
            let _in_time = tokio::time::timeout(SHOWN, shown).await;
        }
        self.rules_now(name)
    }

    fn waits(&self, name: &str) -> Result<Waits, Denied> {
        let running = self.running(name);
        self.pool(name, |pool| Waits::of(pool, running))
    }

    /// Tasks of a pool that run.
    fn running(&self, name: &str) -> u64 {
        self.tasks_door().hub.of(name).borrow().leased
    }

    fn rules_now(&self, name: &str) -> Result<Rules, Denied> {
        let rules = |pool: &PoolObject| {
            let queue = Arc::new(pool.spec.queue.clone()?);
            let divided = queue.dispatch == Dispatch::PerWorker;
            let all = || roster::names((name, &pool.spec), pool.status.desired_replicas).into();
            let workers = if divided { self.board().dealt(name).unwrap_or_else(all) } else { Arc::default() };
            let per_task = queue.delivery == Delivery::Process;
            let takes = Some(&pool.spec.template.command).filter(|command| per_task && payload::is_asked_for(command)).cloned();
            Some(Rules { queue, workers, waits: Waits::of(pool, self.running(name)), takes })
        };
        self.pool(name, rules)?.ok_or_else(|| {
            Denied::Refused(format!("pool {name} has no queue: give it `spec.queue` (see `ctl explain pool.spec.queue`)"))
        })
    }

    /// Do this work in a transaction; the controller hears of the tasks it changed.
    pub(super) async fn work(&self, work: QueueWork) -> Result<QueueAnswer, Denied> {
        let door = self.tasks_door();
        let (reply, answer) = oneshot::channel();
        let (tell, untaken, board) = (door.tell.clone(), door.untaken.clone(), self.shared_board());
        let small = is_small(&work);
        let batch = Batch { queue: vec![work], at: clock::now(), ..Batch::default() };
        let done = move |result: Committed| {
            match &result {
                Ok(answers) => {
                    // Before it is told: what the controller then knows is counted already.
                    answers.iter().for_each(|answer| count(&board.wear, answer));
                    answers.iter().flat_map(changed).for_each(|task| tell(task));
                }
                Err(Untaken::All(why)) => {
                    board.kept(&result);
                    untaken(why.clone());
                }
                Err(Untaken::This(_)) => {}
            }
            // Whoever asked may have hung up.
            let _heard = reply.send(result);
        };
        if small {
            door.store.commit_here(batch, done);
        } else {
            door.store.commit(batch, done);
        }
        let mut answers = answer.await.map_err(|_| Denied::Ending)?.map_err(|untaken| match untaken {
            Untaken::All(why) => Denied::Unkept(why),
            Untaken::This(why) => Denied::Internal(why),
        })?;
        match answers.pop() {
            Some(QueueAnswer::Refused(refusal)) => Err(refused(refusal)),
            Some(answer) => Ok(answer),
            None => Err(Denied::Internal("the store gave no answer".into())),
        }
    }

    /// Take in tasks, all or none. Answered when they are on disk.
    ///
    /// # Errors
    /// [`Denied::NotFound`] with the types there are, [`Denied::Refused`], [`Denied::Full`], [`Denied::Ending`].
    pub async fn submit(&self, name: &str, tasks: Vec<NewTask>) -> Result<Vec<Accepted>, Denied> {
        if self.board().is_ending() {
            return Err(Denied::Ending);
        }
        let Rules { queue, workers, waits, takes } = self.rules(name).await?;
        for (n, command) in takes.iter().flat_map(|command| (0..tasks.len()).map(move |n| (n, command))) {
            payload::arguments(command, &tasks[n].payload).map_err(|why| unfit(name, (n, tasks.len()), &why))?;
        }
        let work = QueueWork::Submit { pool: name.into(), queue, tasks, workers: workers.to_vec() };
        let QueueAnswer::Submitted(all) = self.work(work).await? else { return unexpected() };
        let waits = if all.iter().any(|one| one.position.is_some()) { self.walked(name, waits).await } else { waits };
        Ok(all.into_iter().map(|submitted| self.accepted(&waits, submitted)).collect())
    }

    /// Take a task back; one that runs is over when its worker's attempt has ended.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] when it has ended.
    pub async fn cancel(&self, id: u64) -> Result<Task, Denied> {
        self.one(QueueWork::Cancel { id }).await
    }

    /// Let a held task go.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] when it is not held.
    pub async fn release(&self, id: u64) -> Result<Task, Denied> {
        self.one(QueueWork::Release { id }).await
    }

    /// Try a task that has ended once more.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] when it has not ended, or has succeeded.
    pub async fn redrive(&self, id: u64) -> Result<Task, Denied> {
        self.one(QueueWork::Redrive { id }).await
    }

    pub(super) async fn one(&self, work: QueueWork) -> Result<Task, Denied> {
        let QueueAnswer::Task { task, .. } = self.work(work).await? else { return unexpected() };
        Ok(*task)
    }

    /// The time of the clock so long from now.
    pub fn later(&self, span: Span) -> Wall {
        dispatch::later(clock::now().wall, span)
    }

    /// Let a queue rest until then; none: let it go on.
    ///
    /// # Errors
    /// [`Denied::NotFound`].
    pub async fn pause_queue(&self, name: &str, until: Option<Wall>, why: &str) -> Result<(), Denied> {
        self.rules(name).await?;
        self.work(QueueWork::Pause { pool: name.into(), until, why: why.into() }).await.map(drop)
    }

    /// What is known of the waits of a pool, with a walk through its line, if enough of its tasks have ended to tell their classes
    /// apart. Without one what was known before stays.
    async fn walked(&self, name: &str, mut waits: Waits) -> Waits {
        let (now, learnt) = (clock::now(), &self.board().learnt);
        if self.tasks_door().hub.of(name).borrow().paused(now.wall) {
            // When it goes on nobody knows: a pause may be ended, or made longer.
            return Waits::default();
        }
        waits.starts = match learnt.waits(name, now) {
            _ if waits.divided || waits.slots == 0 => None,
            Walk::Unknown => None,
            Walk::Known(starts) => Some(starts),
            Walk::Due(before) => self.walk(name, waits.slots, now).await.or(before),
        };
        waits
    }

    /// Work out anew how long those of a line wait. One walk at a time: whoever comes meanwhile does without.
    async fn walk(&self, name: &str, slots: u32, now: Now) -> Option<Starts> {
        let door = self.tasks_door();
        let mut walker = door.walker.clone().try_lock_owned().ok()?;
        let (pool, path) = (name.to_owned(), door.path.clone());
        let line = tokio::task::spawn_blocking(move || opened(&mut walker, &path)?.line(&pool, WALKED));
        let (running, waiting) = line.await.ok()?.ok()?;
        self.board().learnt.work_out(name, (&running, &waiting), slots, now)
    }

    /// What a dispatcher that wants to hold back needs to know.
    ///
    /// # Errors
    /// [`Denied::NotFound`].
    pub async fn capacity(&self, name: &str) -> Result<Capacity, Denied> {
        let Rules { queue, workers, waits, .. } = self.rules(name).await?;
        let counts = self.tasks_door().hub.of(name).borrow().clone();
        // Of a queue that rests no wait is known, and none of its slots is free.
        let slots = waits.slots;
        let waits = self.walked(name, waits).await;
        let estimated_wait =
            if waits.divided { self.shortest(name, &workers, &waits).await? } else { waits.at(counts.ready + 1, false) };
        Ok(Capacity {
            free_slots: u32::try_from(u64::from(waits.free).saturating_sub(self.begun_next(&waits, &counts))).unwrap_or(0),
            slots,
            queued: counts.queued(),
            delayed: counts.delayed,
            blocked: counts.blocked,
            held: counts.held,
            running: counts.leased,
            capacity: queue.capacity,
            estimated_wait,
            estimated_from: waits.how(),
            paused_until: counts.paused_until,
            paused_why: counts.paused_why,
        })
    }

    /// Tasks that wait and will be begun in slots that are free now. Where each worker has a line of its own, that is one for each
    /// worker with nothing to do: what stands behind one that is busy waits for that one.
    fn begun_next(&self, waits: &Waits, counts: &QueueCounts) -> u64 {
        if !waits.divided || counts.lines.is_empty() {
            return counts.ready;
        }
        counts.lines.iter().filter(|worker| !self.is_busy(worker)).count() as u64
    }

    /// The worker has a task, or says that it is busy.
    fn is_busy(&self, worker: &str) -> bool {
        let object = self.board().get(Kind::Worker, worker);
        matches!(object.as_deref(), Some(Object::Worker(found)) if found.status.phase == Phase::Busy || !found.status.tasks.is_empty())
    }

    /// How long a task submitted now waits in the line that is the shortest.
    async fn shortest(&self, name: &str, workers: &[String], waits: &Waits) -> Result<Option<Span>, Denied> {
        let pool = name.to_owned();
        let lines = self.read_store(move |reader| reader.lines(&pool)).await?;
        let next = |worker: &String| waits.at(lines.get(worker).copied().unwrap_or(0) + 1, self.is_idle(worker));
        Ok(workers.iter().filter_map(next).min())
    }

    /// How long the task at this place waits.
    fn wait_at(&self, waits: &Waits, task: &Task, position: u64) -> Option<Span> {
        let idle = waits.divided && task.worker.as_deref().is_some_and(|worker| self.is_idle(worker));
        waits.at(position, idle)
    }

    /// The worker has nothing to do.
    fn is_idle(&self, worker: &str) -> bool {
        let object = self.board().get(Kind::Worker, worker);
        matches!(object.as_deref(), Some(Object::Worker(found)) if found.status.phase == Phase::Ready && found.status.tasks.is_empty())
    }

    fn accepted(&self, waits: &Waits, submitted: Submitted) -> Accepted {
        let Submitted { task, known, position } = submitted;
        let waiting = position.filter(|_| task.state == TaskState::Queued);
        let estimated_wait = waiting.and_then(|position| self.wait_at(waits, &task, position));
        Accepted { task, known, position, estimated_wait }
    }

    /// The number of the last change of any task, and the next ones: larger with each, also over restarts.
    pub fn task_changes(&self) -> tokio::sync::watch::Receiver<u64> {
        self.tasks_door().hub.changes()
    }

    /// One task.
    ///
    /// # Errors
    /// [`Denied::NotFound`].
    pub async fn task(&self, id: u64) -> Result<Accepted, Denied> {
        let filter = TaskFilter { id: Some(id), ..TaskFilter::default() };
        let found = self.tasks(filter).await?.0.pop();
        found.ok_or_else(|| refused(QueueRefusal::NoTask(id)))
    }

    /// Tasks: those that run, then those that wait in their order, then those that ended, the last first. And whether there are
    /// fewer than were asked for because the next ones would be too much to carry at once.
    ///
    /// # Errors
    /// [`Denied::Internal`] when the file cannot be read.
    pub async fn tasks(&self, filter: TaskFilter) -> Result<(Vec<Accepted>, bool), Denied> {
        let Listed { tasks: listed, cut } = self.read_store(move |reader| reader.tasks(&filter)).await?;
        let mut waits: BTreeMap<String, Waits> = BTreeMap::new();
        for (task, _) in listed.iter().filter(|(_, position)| position.is_some()) {
            if !waits.contains_key(&task.pool)
                && let Ok(known) = self.waits(&task.pool)
            {
                waits.insert(task.pool.clone(), self.walked(&task.pool, known).await);
            }
        }
        let shown = |(task, position): (Task, Option<u64>)| {
            let estimated_wait = position.and_then(|position| self.wait_at(waits.get(&task.pool)?, &task, position));
            Accepted { task, known: false, position, estimated_wait }
        };
        Ok((listed.into_iter().map(shown).collect(), cut))
    }

    /// Where the log of a task is: the output of all its attempts.
    ///
    /// # Errors
    /// [`Denied::NotFound`].
    pub async fn task_log(&self, id: u64) -> Result<LogPlace, Denied> {
        self.task(id).await?;
        let state = self.tasks_door().path.parent().unwrap_or(Path::new("."));
        Ok(LogPlace { file: crate::edge::taskfiles::log_of(state, id), start: None, end: None })
    }

    /// The task when it has ended, or as it is after so long.
    ///
    /// # Errors
    /// As [`Handle::task`].
    pub async fn wait_for(&self, id: u64, longest: Duration) -> Result<Accepted, Denied> {
        let mut found = self.task(id).await?;
        let mut changes = self.tasks_door().hub.of(&found.task.pool).subscribe();
        let end = tokio::time::sleep(longest);
        tokio::pin!(end);
        loop {
            changes.mark_unchanged();
            found = self.task(id).await?;
            if found.task.state.is_final() {
                return Ok(found);
            }
            tokio::select! {
                () = &mut end => return Ok(found),
                changed = changes.changed() => changed.map_err(|_| Denied::Ending)?,
            }
        }
    }
}

/// What the task carries could never be put into the command that is run for it.
fn unfit(pool: &str, (n, of): (usize, usize), why: &str) -> Denied {
    let which = if of == 1 { String::new() } else { format!("task {} of {of}: ", n + 1) };
    Denied::Refused(format!("{which}the payload does not fit the command of pool {pool}: {why}"))
}

/// The run that had the task has one less with it.
fn count(wear: &Wear, answer: &QueueAnswer) {
    if let QueueAnswer::Ended { task, holder: (worker, run), .. } = answer {
        wear.put_down(worker, *run, task.end.as_ref().and_then(Needed::of).is_some());
    }
}

/// The tasks that an answer tells of as changed in what the controller keeps: leases, and those that are given up, to be told of.
fn changed(answer: &QueueAnswer) -> Vec<Task> {
    match answer {
        QueueAnswer::Leased(task) => task.iter().map(|task| (**task).clone()).collect(),
        QueueAnswer::Ended { task, next, given_up, .. } => {
            let all = std::iter::once(task).chain(next).map(|task| (**task).clone());
            all.chain(given_up.iter().cloned()).collect()
        }
        QueueAnswer::Task { task, given_up } => std::iter::once((**task).clone()).chain(given_up.iter().cloned()).collect(),
        QueueAnswer::Submitted(_) | QueueAnswer::Ticked { .. } | QueueAnswer::Done | QueueAnswer::Refused(_) => Vec::new(),
    }
}
