//! The worker's side of the queues: a lease, its heartbeats, its end.
//!
//! Whoever asks must be the present run of a worker that is not being stopped; whoever reports must hold the lease. A lease
//! whose answer nobody was left to hear is given back at once: else it would cost its worker's life when nothing was heard of it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::handle::{Denied, Handle};
use super::order;
use super::queue_door::TaskFilter;
use super::tasks::{Rules, unexpected};
use super::waiters::Turn;
use crate::decide::dispatch;
use crate::edge::clock;
use crate::model::queue::{Delivery, Dispatch, Queue};
use crate::model::queue_work::{QueueAnswer, QueueCounts, QueueWork, Taker};
use crate::model::status::{Kind, Object, Phase};
use crate::model::task::{End, EndReason, Task, TaskState, Token};
use crate::model::time::{Span, Wall};

/// A worker may ask before what is shown of it says that it runs; that takes a moment.
const SHOWN: Duration = Duration::from_secs(2);

/// Why a task is given back.
const HUNG_UP: &str = "whoever asked for it hung up";

/// Whether a worker may take a task.
enum May {
    Yes,
    /// What is shown of it is older than it.
    Later(Denied),
    No(Denied),
}

impl Handle {
    /// Give a worker its next task; waits for one for so long at most, in a place that it takes when it comes to that.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] when this run of the worker is over or is to take nothing more, or when the
    /// pool's tasks are not for workers to take; and whatever there is instead of a place.
    pub async fn lease<P>(
        &self,
        name: &str,
        worker: &str,
        run: u64,
        (wait, place): (Duration, impl Fn() -> Result<P, Denied>),
    ) -> Result<Option<Task>, Denied> {
        self.leased_from(name).await?;
        self.shown_running(name, worker, run).await?;
        let (mut changes, waiters) = (self.tasks_door().hub.of(name).subscribe(), self.tasks_door().hub.waiters(name));
        let end = tokio::time::sleep(wait);
        tokio::pin!(end);
        let worker_shown = self.board().nudges.of(worker);
        // Held while it tries; where it does not come to that the next one is woken.
        let mut turn: Option<Turn> = None;
        let mut held = None;
        let mut settle = || -> Result<(), Denied> {
            if held.is_none() && !wait.is_zero() {
                held = Some(place()?);
            }
            Ok(())
        };
        loop {
            changes.mark_unchanged();
            let shown = worker_shown.next();
            self.may_take(name, worker, run).yes()?;
            if self.begins_nothing(name) {
                drop(turn.take());
                settle()?;
                tokio::select! {
                    () = &mut end => return Ok(None),
                    () = self.has_room(name) => continue,
                    () = shown => continue,
                }
            }
            let queue = self.leased_from(name).await?;
            let divided = queue.dispatch == Dispatch::PerWorker;
            // Of a divided queue each looks at its own line.
            let mut waiter = (!divided).then(|| waiters.wait());
            let task = self.claim((name, queue), worker, run).await?;
            turn.take().into_iter().for_each(Turn::tried);
            if task.is_some() {
                return Ok(task);
            }
            settle()?;
            tokio::select! {
                () = &mut end => return Ok(None),
                // One that is being stopped waits no longer.
                () = shown => {}
                woken = async { waiter.as_mut()?.woken().await }, if !divided => turn = woken,
                changed = own_ready(&mut changes, worker), if divided => changed.map_err(|_| Denied::Ending)?,
            }
        }
    }

    /// No task of the pool is begun now, because its memory is short.
    fn begins_nothing(&self, pool: &str) -> bool {
        self.pool(pool, |pool| pool.status.begins_nothing()).unwrap_or(false)
    }

    /// Wait until tasks of the pool are begun again, or nothing is told of it any more.
    async fn has_room(&self, pool: &str) {
        let Ok(mut changes) = self.watch(Kind::Pool, 0) else { return };
        while self.begins_nothing(pool) && matches!(changes.next().await, Some(Ok(_))) {}
    }

    /// Whether the tasks of this pool are for workers to take.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Refused`] and [`Denied::Conflict`] where they are not.
    pub async fn is_leased_from(&self, name: &str) -> Result<(), Denied> {
        self.leased_from(name).await.map(drop)
    }

    /// The rules of a queue whose tasks workers take: they may have changed while one waited.
    async fn leased_from(&self, name: &str) -> Result<Arc<Queue>, Denied> {
        let queue = self.rules(name).await?.queue;
        match queue.delivery {
            Delivery::Lease => Ok(queue),
            Delivery::Process => Err(Denied::Conflict(format!(
                "pool {name} starts a process for each task: give it `spec.queue.delivery: Lease` for workers that take tasks"
            ))),
        }
    }

    /// Take the next task, if there is one. Whoever hangs up meanwhile has none.
    async fn claim(&self, (name, queue): (&str, Arc<Queue>), worker: &str, run: u64) -> Result<Option<Task>, Denied> {
        if !self.board().wear.take(worker, run, 0) {
            return Err(worn_out(worker));
        }
        let taker = Taker { worker: worker.into(), run, nonce: order::random_number() };
        let work = QueueWork::Lease { pool: name.to_owned(), queue, taker };
        let QueueAnswer::Leased(task) = self.work_or_give_back(work, Some((worker, run))).await? else { return unexpected() };
        let Some(task) = task else { return Ok(None) };
        self.still_may(&task, worker, run).await?;
        Ok(Some(*task))
    }

    /// Do this work, which may give a task to this run. One that it gives is given back where whoever asked for it hung up meanwhile.
    async fn work_or_give_back(&self, work: QueueWork, taker: Option<(&str, u64)>) -> Result<QueueAnswer, Denied> {
        let (tell, told) = oneshot::channel();
        let handle = self.clone();
        let taker = taker.map(|(worker, run)| (worker.to_owned(), run));
        tokio::spawn(async move {
            let answer = handle.work(work).await;
            let gives = matches!(answer, Ok(QueueAnswer::Leased(Some(_)) | QueueAnswer::Ended { next: Some(_), .. }));
            if let Some((worker, run)) = taker.filter(|_| !gives) {
                handle.board().wear.put_down(&worker, run, false);
            }
            if let Err(Ok(QueueAnswer::Leased(Some(task)) | QueueAnswer::Ended { next: Some(task), .. })) = tell.send(answer) {
                handle.give_back(Token::from(&*task), HUNG_UP).await;
            }
        });
        told.await.map_err(|_| Denied::Ending)?
    }

    /// The tasks that this run of a worker has: it may not have heard of each.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] and [`Denied::Refused`] where the pool's tasks are not for workers to take.
    pub async fn leases(&self, pool: &str, worker: &str, run: u64) -> Result<Vec<Task>, Denied> {
        self.leased_from(pool).await?;
        let filter =
            TaskFilter { pool: Some(pool.into()), states: vec![TaskState::Leased], most: u32::MAX, ..TaskFilter::default() };
        let all = self.tasks(filter).await?.0.into_iter().map(|found| found.task);
        Ok(all.filter(|task| task.worker.as_deref() == Some(worker) && task.run == run).collect())
    }

    /// That its worker is to be stopped may have been decided while the task was taken for it: then the next one has it.
    async fn still_may(&self, task: &Task, worker: &str, run: u64) -> Result<(), Denied> {
        if let May::No(why) = self.may_take(&task.pool, worker, run) {
            self.give_back(Token::from(task), "its worker is being stopped").await;
            return Err(why);
        }
        Ok(())
    }

    /// A task that was given and of which nobody heard goes to the next who asks.
    pub async fn unheard(&self, token: Token) {
        self.give_back(token, HUNG_UP).await;
    }

    async fn give_back(&self, token: Token, why: &str) {
        let Ok(Rules { queue, .. }) = self.rules(&token.pool).await else { return };
        let end = End { reason: EndReason::Returned, message: why.into(), ..End::default() };
        let work = QueueWork::End { token, end, result: None, output: String::new(), queue, next: None };
        // Where it fails, the end of its lease returns it.
        let _returned = self.work(work).await;
    }

    /// Wait for a moment until what is shown of a worker is as new as the run that asks.
    async fn shown_running(&self, pool: &str, worker: &str, run: u64) -> Result<(), Denied> {
        let late = tokio::time::sleep(SHOWN);
        tokio::pin!(late);
        let mut changes = self.watch(Kind::Worker, 0).map_err(|gone| Denied::Internal(gone.to_string()))?;
        loop {
            let May::Later(why) = self.may_take(pool, worker, run) else { return Ok(()) };
            tokio::select! {
                () = &mut late => return Err(why),
                changed = changes.next() => if !matches!(changed, Some(Ok(_))) { return Err(why) },
            }
        }
    }

    /// A worker that is being stopped takes nothing more, and neither does one that is not there.
    fn may_take(&self, pool: &str, worker: &str, run: u64) -> May {
        let conflict = |words: String| Denied::Conflict(words);
        let object = match self.get(Kind::Worker, worker) {
            Ok(object) => object,
            Err(denied) => return May::Later(denied),
        };
        let Object::Worker(found) = &*object else { return May::No(Denied::Internal("no worker".into())) };
        if found.metadata.owner.as_deref() != Some(pool) {
            return May::No(conflict(format!("worker {worker} is not of pool {pool}")));
        }
        let now = found.status.incarnation;
        if now < run {
            return May::Later(conflict(format!("run {run} of worker {worker} is not known: this is run {now}")));
        }
        if now > run {
            return May::No(conflict(format!("run {run} of worker {worker} is over: this is run {now}")));
        }
        if found.status.draining {
            return May::No(conflict(format!("worker {worker} is being drained: it takes no more tasks")));
        }
        if self.board().wear.is_full(worker, run) {
            return May::Later(worn_out(worker));
        }
        match found.status.phase {
            Phase::Running | Phase::Ready | Phase::Busy | Phase::Starting => May::Yes,
            Phase::Terminating | Phase::Stuck => May::No(conflict(format!("worker {worker} is being stopped: it takes no task"))),
            Phase::Pending | Phase::BackOff => May::Later(conflict(format!("worker {worker} does not run"))),
            Phase::Completed | Phase::Failed | Phase::Lost | Phase::Stopped => {
                May::No(conflict(format!("worker {worker} does not run")))
            }
        }
    }

    /// An attempt has ended; with `next`, give the same worker the next task in the same transaction, if it may take one.
    ///
    /// # Errors
    /// [`Denied::Conflict`] when the lease is over, or is one that its process ends: nothing changed then.
    pub async fn end_task(
        &self,
        token: Token,
        (end, result): (End, Option<serde_json::Value>),
        next: Option<(String, u64)>,
    ) -> Result<(Task, Option<Task>), Denied> {
        let (queue, gives) = self.last_rules(&token.pool).await?;
        if queue.delivery == Delivery::Process && self.task(token.id).await?.task.lease_until.is_none() {
            return Err(Denied::Conflict(format!(
                "task {} ends with its process: exit code 0 is done, 75 is once more, any other is failed",
                token.id
            )));
        }
        // The end of a task counts also when its worker is to take no more.
        let may = |worker: &str, run| matches!(self.may_take(&token.pool, worker, run), May::Yes);
        let next = next.filter(|(worker, run)| {
            gives && may(worker, *run) && !self.begins_nothing(&token.pool) && self.board().wear.take(worker, *run, 1)
        });
        let (taker, next) = (next.clone(), next.map(|(worker, run)| Taker { worker, run, nonce: order::random_number() }));
        let output = end.message.clone();
        let work = QueueWork::End { token, end, result, output, queue, next };
        let run = taker.as_ref().map(|(worker, run)| (worker.as_str(), *run));
        let QueueAnswer::Ended { task, next, .. } = self.work_or_give_back(work, run).await? else { return unexpected() };
        let next = match (next, taker) {
            (Some(next), Some((worker, run))) => self.still_may(&next, &worker, run).await.ok().map(|()| *next),
            (next, _) => next.map(|next| *next),
        };
        Ok((*task, next))
    }

    /// The rules for a lease that there is, and whether more are given: whoever holds one is heard also when its pool has no queue
    /// any more, or a process for each task by now.
    async fn last_rules(&self, pool: &str) -> Result<(Arc<Queue>, bool), Denied> {
        match self.rules(pool).await {
            Ok(Rules { queue, .. }) => {
                let gives = queue.delivery == Delivery::Lease;
                Ok((queue, gives))
            }
            Err(Denied::Refused(_)) => Ok((Arc::new(Queue { delivery: Delivery::Lease, ..Queue::default() }), false)),
            Err(denied) => Err(denied),
        }
    }

    /// The holder of a task lives; `extend` gives the attempt so long from now.
    ///
    /// # Errors
    /// [`Denied::Conflict`] when the lease is over.
    pub async fn heartbeat(&self, token: Token, extend: Option<Span>, progress: Option<String>) -> Result<Task, Denied> {
        let (queue, _) = self.last_rules(&token.pool).await?;
        let since = self.hearing().since();
        self.one(QueueWork::Heartbeat { token, extend, progress, queue, since }).await
    }

    /// When the present attempt of a task has taken too long, by the clock as it is now.
    pub fn ends(&self, task: &Task) -> Option<Wall> {
        let now = clock::now();
        task.deadline.map(|at| dispatch::later(now.wall, at.since(now.mono)))
    }
}

fn worn_out(worker: &str) -> Denied {
    Denied::Conflict(format!("worker {worker} has recycle.maxTasks tasks done, or with it: it is replaced when it has none"))
}

impl May {
    fn yes(self) -> Result<(), Denied> {
        match self {
            May::Yes => Ok(()),
            May::Later(why) | May::No(why) => Err(why),
        }
    }
}

/// A change after which this worker could take something from its own line, or nobody has one any more.
async fn own_ready(changes: &mut watch::Receiver<QueueCounts>, worker: &str) -> Result<(), watch::error::RecvError> {
    loop {
        changes.changed().await?;
        let counts = changes.borrow_and_update();
        if counts.lines.contains(worker) || (counts.lines.is_empty() && counts.ready > 0) {
            return Ok(());
        }
    }
}
