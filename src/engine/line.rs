//! The controller's part in the queues: what the store's answers change in what is kept, and what is told of them.
//!
//! Leases are kept as the store has them; whoever changed them, the store tells it in the order of its transactions. A count that
//! changes is a hint: at once where a worker could take what is there, else gathered for a moment, so that a flood of submits
//! is not a flood of turns.

use std::collections::BTreeMap;

use super::controller::{Engine, Key, RESYNC, Ticket};
use super::host::Host;
use super::slots;
use super::wear::Bound;
use crate::decide::dispatch::after;
use crate::decide::{recycle, roster};
use crate::model::metered::Metered;
use crate::model::plan::{Action, Happening, Plan, PoolFacts, Slot};
use crate::model::queue::{Dispatch, Queue};
use crate::model::queue_work::{QueueAnswer, QueueCounts, QueueWork, Taker};
use crate::model::status::EventType;
use crate::model::task::{End, EndReason, Leavings, Task, TaskState, Token};
use crate::model::time::{Now, Span, Wall};
use crate::model::worker::{SlotId, SlotState};
use crate::model::workload::{Class, Needed};

/// Tasks that are told of one by one between two summaries.
const SHOWN: u64 = 10;
/// Counts that call for nothing at once are looked at together after this.
pub(super) const GATHER: Span = Span::millis(100);

impl<H: Host> Engine<H> {
    /// This stands in the queue of a pool now.
    pub(super) fn counted(&mut self, name: String, counts: QueueCounts, now: Now) {
        let own = self.pools.get(&name).and_then(|pool| Some((pool, pool.facts.as_ref()?)));
        if let Some((pool, facts)) = own {
            let at = if hungry(facts, pool, &counts, now) { now.mono } else { now.mono.after(GATHER) };
            self.queue.add(Key::Pool(name.clone()), at);
        }
        if let Some(pool) = self.pools.get_mut(&name) {
            pool.stranded |= is_undealt(pool, &counts);
        }
        for other in self.followers.get(&name).into_iter().flatten() {
            self.queue.add(Key::Pool(other.clone()), now.mono.after(GATHER));
        }
        self.counts.insert(name, counts);
    }

    /// A task was leased, goes on, or has ended, and not by the controller.
    pub(super) fn task_changed(&mut self, task: Task, now: Now) {
        let name = task.pool.clone();
        let cancelling = task.cancelling && task.state == TaskState::Leased;
        self.keep_task(task, now);
        // That its run has done one more is written at once: a daemon that dies would let it do as many again.
        let worn = self.pools.get(&name).is_some_and(|pool| !pool.pending.slots.is_empty());
        self.queue.add(Key::Pool(name), if cancelling || worn { now.mono } else { now.mono.after(GATHER) });
    }

    /// Keep what is now known of a task.
    fn keep_task(&mut self, task: Task, now: Now) {
        let name = task.pool.clone();
        let Some(pool) = self.pools.get_mut(&name) else { return };
        if pool.line.leases.get(&task.id).is_some_and(|kept| kept.epoch > task.epoch) {
            // Old news: it was leased again since.
            return;
        }
        let before = pool.line.leases.remove(&task.id);
        let mut touched: Vec<String> = before.iter().chain([&task]).filter_map(|task| task.worker.clone()).collect();
        touched.dedup();
        let ended = before.filter(|before| task.state != TaskState::Leased || before.epoch != task.epoch);
        if task.state == TaskState::Leased {
            pool.line.leases.insert(task.id, task.clone());
        } else if task.state == TaskState::Queued && per_worker(pool) && is_stranded(pool, &task) {
            // What waits again waits for the worker that had it, which may be gone by now, or for none: dealt where that is so.
            pool.stranded = true;
        }
        for worker in touched {
            hold(pool, &worker, now);
        }
        match ended {
            Some(before) => self.task_ended(&before, &task, now),
            None if after::is_given_up(&task) => self.tell_given_up(&task, now),
            None => {}
        }
    }

    /// Count an attempt that ended, and tell of one that did not end well.
    fn task_ended(&mut self, before: &Task, task: &Task, now: Now) {
        let Some(end) = &task.end else { return };
        let good = end.reason == EndReason::Done;
        let needed = Needed::of(end);
        if let Some(started) = before.started {
            let waited =
                Span(started.0.saturating_sub(before.not_before.map_or(before.created.0, |at| at.0)).max(0).unsigned_abs());
            let (pool, ran) = (before.pool.clone(), Span(end.ran_ms));
            let class = Class::of(&before.source, before.key.as_deref());
            self.host.meter(&Metered::Attempt { pool, end: end.reason, waited, ran, class, needed });
        }
        if let Some(pool) = self.pools.get_mut(&before.pool).filter(|_| needed.is_some()) {
            pool.line.tally.add(good, end.ran_ms);
            needed.into_iter().for_each(|needed| pool.line.needs.add(needed));
            if let Some(worker) = &before.worker {
                pool.line.workers.entry(worker.clone()).or_default().add(good, end.ran_ms);
                pool.dirty.insert(worker.clone());
                wear(pool, worker, before.run);
            }
        }
        if let Some(happening) = words(before, task, now.wall) {
            self.note(&before.pool, &happening, now);
        } else if good && self.pools.get(&before.pool).is_some_and(|pool| pool.line.tally.counts().0 <= pool.line.told.0 + SHOWN)
        {
            let worker = before.worker.as_deref().unwrap_or("nobody");
            let note = format!("task {} done on {worker} after {}", task.id, Span(end.ran_ms));
            self.show_only(&before.pool, &about("TaskDone", EventType::Normal, note), now);
        }
    }

    /// Tasks of a pool that ended under the daemons before this one, from the last to the first.
    pub(super) fn learnt(&mut self, pool: &str, ended: &[Needed]) {
        if let Some(pool) = self.pools.get_mut(pool) {
            ended.iter().for_each(|needed| pool.line.needs.add_before(*needed));
        }
    }

    /// Tell of something that is not worth a row: the task's own row says it too.
    fn show_only(&mut self, pool: &str, happening: &Happening, now: Now) {
        let event = self.event(pool, happening, now);
        self.say(pool, event);
    }

    /// What came of the tasks since the last time, in one line for each pool.
    pub(super) fn sum_up(&mut self, now: Now) {
        let (mut lines, mut given_up) = (Vec::new(), Vec::new());
        for (name, pool) in &mut self.pools {
            // A submit that was dealt by what was shown a moment ago may wait for a worker that was just taken away.
            if per_worker(pool) {
                pool.stranded = true;
            }
            let more = std::mem::take(&mut pool.line.given_up).saturating_sub(SHOWN);
            if more > 0 {
                let note = format!("{more} more tasks are cancelled, because those that they come after did not succeed");
                given_up.push((name.clone(), note));
            }
            let ((done, failed), told) = (pool.line.tally.counts(), pool.line.told);
            pool.line.told = (done, failed);
            // Few were told of one by one.
            if (done, failed) == told || done <= told.0 + SHOWN {
                continue;
            }
            let (stats, counts) = (pool.line.tally.stats(), self.counts.get(name).cloned().unwrap_or_default());
            let half = stats.p50_ms.map_or_else(String::new, |ms| format!(", half of the last took at most {}", Span(ms)));
            let (done, failed) = (done - told.0, failed - told.1);
            let note =
                format!("in {RESYNC}: {done} tasks done, {failed} failed{half}; {} run, {} wait", counts.leased, counts.queued());
            lines.push((name.clone(), note));
        }
        for (name, note) in given_up {
            self.note(&name, &about("TaskCancelled", EventType::Warning, note), now);
        }
        for (name, note) in lines {
            self.show_only(&name, &about("TasksDone", EventType::Normal, note), now);
        }
    }

    /// What was done by each run was looked at: who is to go has been told so.
    pub(super) fn show_wear(&mut self, name: &str) {
        let Some(pool) = self.pools.get(name) else { return };
        let Some(facts) = pool.facts.as_ref().filter(|facts| facts.takes_tasks()) else { return };
        for (worker, slot) in &pool.slots {
            let SlotState::Running(run) = &slot.seen.state else { continue };
            let looked = if slot.record.incarnation == run.incarnation { slot.record.tasks.into() } else { 0 };
            let most = recycle::most_tasks(&facts.spec.template, run);
            self.host.wear(worker, most.map(|most| Bound { run: run.incarnation, most, looked }));
        }
    }

    /// What a turn asks of the queue, in the order in which it is done: ends first, so that what they free can be taken.
    pub(super) fn work_of(&mut self, facts: &PoolFacts, plan: &Plan) -> Vec<QueueWork> {
        if facts.is_held() || (facts.spec.queue.is_none() && plan.ends.is_empty() && plan.recur.is_empty()) {
            return Vec::new();
        }
        let queue = std::sync::Arc::new(facts.spec.queue.clone().unwrap_or_default());
        let pool = facts.name.clone();
        let workers = self.dealt(facts, plan, &queue);
        let mut work = Vec::new();
        for (id, end) in &plan.ends {
            let Some(task) = self.pools.get(&pool).and_then(|pool| pool.line.leases.get(id)) else { continue };
            let ruled = matches!(end.reason, EndReason::Failed | EndReason::Again);
            let asked = ruled && queue.failure_policy.iter().any(|rule| rule.output.is_some());
            let Leavings { result, lost, output } = self.host.leavings(task, asked);
            let token = Token { pool: task.pool.clone(), id: *id, epoch: task.epoch, nonce: task.nonce };
            let said = [end.message.clone(), lost.unwrap_or_default()].into_iter().filter(|said| !said.is_empty());
            let end = End { message: said.collect::<Vec<_>>().join("; "), ..end.clone() };
            work.push(QueueWork::End { token, end, result, output, queue: queue.clone(), next: None });
        }
        if plan.tick {
            work.push(QueueWork::Tick { pool: pool.clone(), queue: queue.clone(), workers: workers.clone() });
        }
        for (schedule, fired, task) in &plan.recur {
            work.push(QueueWork::Recur {
                pool: pool.clone(),
                queue: queue.clone(),
                schedule: schedule.clone(),
                fired: fired.clone(),
                task: task.clone(),
                workers: workers.clone(),
            });
        }
        let known = plan.takers.is_some() || queue.dispatch != Dispatch::PerWorker;
        if let Some(joined) = self.pools.get(&pool).filter(|_| known).and_then(|pool| joined(pool, &workers)) {
            work.push(QueueWork::Deal { pool: pool.clone(), workers, joined });
        }
        for action in &plan.actions {
            if let Action::Start { worker, incarnation } = action
                && facts.per_task()
            {
                let taker = Taker { worker: worker.clone(), run: *incarnation, nonce: self.host.nonce() };
                work.push(QueueWork::Lease { pool: pool.clone(), queue: queue.clone(), taker });
            }
        }
        work
    }

    /// The workers among which a queue is divided; none where it is not.
    fn dealt(&mut self, facts: &PoolFacts, plan: &Plan, queue: &Queue) -> Vec<String> {
        if queue.dispatch != Dispatch::PerWorker {
            return Vec::new();
        }
        let Some(workers) = &plan.takers else {
            // Who will come is not known yet: as before.
            let before = self.pools.get(&facts.name).and_then(|pool| pool.dealt.clone());
            return before.unwrap_or_else(|| roster::names((&facts.name, &facts.spec), plan.status.desired_replicas));
        };
        self.host.deal(&facts.name, workers);
        workers.clone()
    }

    /// Take in what the store answered to the work of a turn. Gives the tasks that workers are started for.
    pub(super) fn worked(&mut self, ticket: &Ticket, answers: Vec<QueueAnswer>, now: Now) -> BTreeMap<String, Task> {
        let mut started = BTreeMap::new();
        for (work, answer) in ticket.batch.queue.iter().zip(answers) {
            if let QueueWork::End { token, .. } = work {
                self.end_kept(token);
            }
            match (work, answer) {
                (QueueWork::Lease { taker, .. }, QueueAnswer::Leased(Some(task))) => {
                    self.keep_task((*task).clone(), now);
                    started.insert(taker.worker.clone(), *task);
                }
                (_, QueueAnswer::Ended { task, paused, given_up, .. }) => {
                    self.keep_task(*task, now);
                    given_up.iter().for_each(|task| self.tell_given_up(task, now));
                    paused.into_iter().for_each(|until| self.tell_pause(&ticket.pool, until, now));
                }
                (QueueWork::Deal { workers, .. }, QueueAnswer::Ticked { more: false, .. }) => {
                    self.divided(&ticket.pool, workers, now);
                }
                (work, QueueAnswer::Ticked { expired, given_up, gone, more }) => {
                    expired.iter().for_each(|task| self.tell_expired(&ticket.pool, task, now));
                    given_up.iter().for_each(|task| self.tell_given_up(task, now));
                    if !gone.is_empty() {
                        self.host.forget_tasks(gone);
                    }
                    self.swept(&ticket.pool, (work, more), now);
                }
                (QueueWork::Recur { schedule, .. }, QueueAnswer::Refused(refusal)) => {
                    let note = format!("the recurring task {schedule} was not taken in: {refusal}");
                    self.note(&ticket.pool, &about("TaskRefused", EventType::Warning, note), now);
                }
                (QueueWork::End { token, .. }, QueueAnswer::Refused(_)) => {
                    // Somebody ended it before: what is kept of it was old, unless it is a newer lease.
                    if let Some(pool) = self.pools.get_mut(&ticket.pool) {
                        pool.line.leases.retain(|id, kept| *id != token.id || kept.epoch != token.epoch);
                    }
                }
                (
                    _,
                    QueueAnswer::Leased(_)
                    | QueueAnswer::Submitted(_)
                    | QueueAnswer::Task { .. }
                    | QueueAnswer::Done
                    | QueueAnswer::Refused(_),
                ) => {}
            }
        }
        if let Some(pool) = self.pools.get_mut(&ticket.pool) {
            for (name, fired, _) in &ticket.plan.recur {
                match fired {
                    Some(fired) => drop(pool.line.fired.insert(name.clone(), fired.clone())),
                    None => drop(pool.line.fired.remove(name)),
                }
            }
        }
        started
    }

    /// The queue is divided among these workers. What was taken in behind that, in the same transaction, is told of already.
    fn divided(&mut self, name: &str, workers: &[String], now: Now) {
        let (Some(pool), counts) = (self.pools.get_mut(name), self.counts.get(name)) else { return };
        pool.dealt = Some(workers.to_vec());
        pool.stranded = counts.is_some_and(|counts| is_undealt(pool, counts));
        if pool.stranded {
            self.queue.add(Key::Pool(name.to_owned()), now.mono.after(GATHER));
        }
    }

    /// The end of an attempt is committed, or somebody else's was: what its run left behind goes.
    fn end_kept(&mut self, token: &Token) {
        let leases = self.pools.get(&token.pool).map(|pool| &pool.line.leases);
        if let Some(task) = leases.and_then(|leases| leases.get(&token.id)).filter(|task| task.epoch == token.epoch) {
            self.host.ended(task);
        }
    }

    pub(super) fn tell_expired(&mut self, pool: &str, task: &Task, now: Now) {
        let note = format!("task {} expired: nobody took it within {}", task.id, task.ttl);
        self.note(pool, &about("TaskExpired", EventType::Warning, note), now);
    }

    /// Nobody took it back: it is told of in its own pool, one by one while they are few. One task may take thousands with it.
    pub(super) fn tell_given_up(&mut self, task: &Task, now: Now) {
        if let Some(pool) = self.pools.get_mut(&task.pool) {
            pool.line.given_up += 1;
            if pool.line.given_up > SHOWN {
                return;
            }
        }
        let why = task.end.as_ref().map(|end| end.message.as_str()).unwrap_or_default();
        let note = format!("task {} is cancelled: {why}", task.id);
        self.note(&task.pool, &about("TaskCancelled", EventType::Warning, note), now);
    }

    fn tell_pause(&mut self, pool: &str, until: Wall, now: Now) {
        let why = self.counts.get(pool).map(|counts| counts.paused_why.clone()).unwrap_or_default();
        let note = format!("the queue rests until {until}: {why}");
        self.note(pool, &about("QueuePaused", EventType::Warning, note), now);
    }

    /// Whether there is more of the clock's work is kept beside the counts: older ones may be told yet, and would undo it.
    fn swept(&mut self, name: &str, (work, more): (&QueueWork, bool), now: Now) {
        if let Some(pool) = self.pools.get_mut(name).filter(|_| matches!(work, QueueWork::Tick { .. })) {
            pool.line.more = more;
        }
        if more {
            self.queue.add(Key::Pool(name.to_owned()), now.mono);
        }
    }
}

/// A worker of the pool could take a task that is there, and may.
fn hungry(facts: &PoolFacts, pool: &super::controller::Pool, counts: &QueueCounts, now: Now) -> bool {
    if counts.paused(now.wall) || pool.stored.status.begins_nothing() {
        return false;
    }
    let ready = counts.ready;
    let wanted = u64::from(pool.stored.status.desired_replicas);
    let scaled = facts.spec.scale.is_some() && wanted == 0;
    facts.per_task() && ready > 0 && (scaled || (pool.line.leases.len() as u64) < wanted)
}

/// Each worker has a line of its own.
fn per_worker(pool: &super::controller::Pool) -> bool {
    let queue = pool.facts.as_ref().and_then(|facts| facts.spec.queue.as_ref());
    queue.is_some_and(|queue| queue.dispatch == Dispatch::PerWorker)
}

/// A task is in nobody's line though each worker has one: it was taken in by rules that were older. Where there is no worker it
/// stays so until one comes.
fn is_undealt(pool: &super::controller::Pool, counts: &QueueCounts) -> bool {
    per_worker(pool) && counts.undealt && pool.dealt.as_ref().is_some_and(|workers| !workers.is_empty())
}

/// Who has joined since the queue was last divided, where it is to be divided among these now.
fn joined(pool: &super::controller::Pool, workers: &[String]) -> Option<Vec<String>> {
    let before = pool.dealt.as_deref();
    if before == Some(workers) && !pool.stranded {
        return None;
    }
    // A daemon that has just started knows nobody as new.
    Some(before.map_or_else(Vec::new, |before| workers.iter().filter(|worker| !before.contains(worker)).cloned().collect()))
}

/// It waits for nobody, or for a worker that is not among those that the queue is divided among.
fn is_stranded(pool: &super::controller::Pool, task: &Task) -> bool {
    let dealt = |worker: &String| pool.dealt.as_ref().is_some_and(|dealt| dealt.contains(worker));
    !task.worker.as_ref().is_some_and(dealt)
}

/// Count the tasks that a worker has.
fn hold(pool: &mut super::controller::Pool, worker: &str, now: Now) {
    let Some(slot) = pool.slots.get_mut(worker) else { return };
    let (tasks, given) = pool.line.count(worker, slot.record.incarnation);
    slot.given = given;
    if slot.tasks != tasks {
        slot.tasks = tasks;
        slots::mark_idle(slot, now.mono);
        pool.dirty.insert(worker.to_owned());
    }
}

/// One more task is done by this run of a worker. Kept with the rows of the next turn, where somebody asks for it.
fn wear(pool: &mut super::controller::Pool, worker: &str, run: u64) {
    let counted = pool
        .facts
        .as_ref()
        .is_some_and(|facts| facts.spec.template.recycle.is_some_and(|recycle| recycle.max_tasks.is_some()) && !facts.per_task());
    // Only of the run that is seen: while the next one is being started, its row is written, and must not be written over.
    let runs = |slot: &Slot| matches!(&slot.seen.state, SlotState::Running(seen) if seen.incarnation == run);
    let is_it = |slot: &&mut Slot| counted && slot.record.incarnation == run && runs(slot);
    let Some(slot) = pool.slots.get_mut(worker).filter(is_it) else { return };
    slot.record.tasks = slot.record.tasks.saturating_add(1);
    let pool_name = pool.facts.as_ref().map(|facts| facts.name.clone()).unwrap_or_default();
    pool.pending.slots.push((SlotId { pool: pool_name, worker: worker.to_owned() }, Some(slot.record.clone())));
}

fn about(reason: &'static str, severity: EventType, note: String) -> Happening {
    Happening { severity, reason, worker: None, incarnation: None, note }
}

/// What is told of an attempt that did not end well.
fn words(before: &Task, task: &Task, wall: Wall) -> Option<Happening> {
    let end = task.end.as_ref()?;
    let worker = before.worker.as_deref().unwrap_or("nobody");
    let why = if end.message.is_empty() { format!("{:?}", end.reason) } else { first_line(&end.message) };
    let tries = format!("attempt {} of {}", before.attempt, task.max_attempts);
    let id = task.id;
    Some(match task.state {
        TaskState::Dead => about("TaskDead", EventType::Warning, format!("task {id} is dead after {tries} on {worker}: {why}")),
        TaskState::Failed => about("TaskFailed", EventType::Warning, format!("task {id} failed on {worker}: {why}")),
        TaskState::Cancelled => about("TaskCancelled", EventType::Normal, format!("task {id} was cancelled on {worker}")),
        TaskState::Queued if end.reason == EndReason::Returned => {
            about("TaskReturned", EventType::Normal, format!("task {id} waits again: {why}"))
        }
        TaskState::Queued => {
            // What is left from now on: an end may be heard of long after it, by a daemon that was not there.
            let left = task.not_before.map_or(0, |at| u64::try_from(at.0.saturating_sub(wall.0)).unwrap_or(0));
            let again = if left == 0 { String::new() } else { format!(" in {}", Span(left.div_ceil(100) * 100)) };
            about("TaskRetried", EventType::Warning, format!("task {id}, {tries} on {worker}: {why}; it is tried again{again}"))
        }
        TaskState::Held | TaskState::Leased | TaskState::Succeeded | TaskState::Expired => return None,
    })
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().chars().take(200).collect()
}

#[cfg(test)]
mod tests;
