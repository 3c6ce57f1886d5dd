//! One pool's turn: observe, decide, commit, perform, publish.
//!
//! The order is the promise: rows are committed first, then stops, then starts; what is published was planned from what was
//! seen. What the engine does is marked on the slot at once, so that a fact that was on its way cannot make it do it again.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::controller::{Engine, Key, Pool, Ticket};
use super::expected::{expected, growing};
use super::host::Host;
use super::line::GATHER;
use super::made;
use super::slots::mark_ready;
use crate::decide;
use crate::decide::allot::EXPECTED;
use crate::decide::workers;
use crate::model::batch::Batch;
use crate::model::host::{Expected, Look};
use crate::model::line::{Line, Tally};
use crate::model::metered::Metered;
use crate::model::plan::{Action, Ending, Observation, Plan, PoolFacts, PreStopState, Record, Slot};
use crate::model::quantity::Memory;
use crate::model::reading::{Failure, Number};
use crate::model::reason::Reason;
use crate::model::scaling::Question;
use crate::model::source::WorkerCount;
use crate::model::status::{API_VERSION, EventObject, Kind, Meta, Object, PoolObject, PoolStatus, WorkerObject};
use crate::model::task::Task;
use crate::model::time::{Moment, Now, Span};
use crate::model::worker::{Run, Seen, SlotId, SlotState, Stopping};

/// A pool whose turn panicked is looked at again after this long.
const PANIC_RETRY: Span = Span::secs(10);
/// A start that takes longer waits for something that nobody else waits for: it keeps no other from being made.
const LONG_START: Span = Span::secs(10);

impl<H: Host> Engine<H> {
    pub(super) fn pool_turn(&mut self, name: &str, now: Now) {
        let key = Key::Pool(name.to_owned());
        let Some((facts, plan)) = self.plan(name, now) else {
            self.queue.done(&key);
            return;
        };
        if let Some(at) = plan.wake_at {
            self.queue.add(key.clone(), at);
        }
        self.ask(name, &plan);
        if plan.starts_withheld > 0 {
            self.hungry.insert(name.to_owned());
            // Those of this plan begin only now.
            let until = self.in_flight(now.mono).1.unwrap_or(now.mono.after(LONG_START));
            self.queue.add(key.clone(), until);
        }
        let (mut batch, tell) = self.batch(name, &plan, now);
        batch.queue = self.work_of(&facts, &plan);
        batch.at = now;
        if !batch.is_empty() {
            batch.catalogue = self.undurable();
        }
        let again = plan.happenings.len().saturating_sub(plan.lasting);
        let (pool, plan) = (name.to_owned(), Box::new(plan));
        let ticket = Ticket { pool, decided: now.mono, facts, plan, batch: batch.clone(), tell, again };
        if batch.is_empty() {
            self.queue.done(&key);
            self.perform(ticket, &BTreeMap::new(), now);
            self.show_wear(name);
        } else {
            self.reserve(&ticket);
            self.hold_back(&ticket, now);
            self.show_wear(name);
            if let Some(pool) = self.pools.get_mut(name) {
                pool.in_flight = true;
            }
            self.last_ticket += 1;
            self.tickets.insert(self.last_ticket, ticket);
            self.host.commit(self.last_ticket, batch);
        }
    }

    fn plan(&mut self, name: &str, now: Now) -> Option<(Arc<PoolFacts>, Plan)> {
        let ready = self.may_decide();
        let pool = self.pools.get(name)?;
        let facts = pool.facts.clone().filter(|_| ready)?;
        let allowance = self.settings.starts_in_flight_max.saturating_sub(self.in_flight(now.mono).0);
        let allowance = u32::try_from(allowance).unwrap_or(u32::MAX);
        let (look, squeeze) = (self.look(&facts, now), self.squeeze(name));
        let pool = self.pools.get_mut(name)?;
        made::restore(&facts, &pool.stored.made, pool.slots.values_mut());
        pool.slots.values_mut().for_each(|slot| mark_ready(&facts, slot, now.mono));
        let observation = Observation {
            pool: &facts,
            slots: &pool.slots,
            allowance,
            previous: &pool.stored.status,
            runs: pool.stored.runs,
            scaling: &pool.scaling,
            machine: look.as_ref(),
            line: &pool.line,
            queues: &self.counts,
            squeeze: squeeze.as_ref(),
        };
        let planned = catch_unwind(AssertUnwindSafe(|| {
            let plan = decide::pool(&observation, now);
            debug_assert_eq!(decide::check::check(&observation, &plan), Vec::<String>::new(), "the plan breaks an invariant");
            plan
        }));
        if planned.is_err() {
            tracing::error!(pool = name, "deciding panicked; its workers are left as they are, the other pools go on");
            self.queue.add(Key::Pool(name.to_owned()), now.mono.after(PANIC_RETRY));
        }
        planned.ok().map(|plan| (facts, plan))
    }

    /// What the machine has left, for a pool that is scaled. Workers of all pools that were just started count as grown.
    fn look(&mut self, facts: &PoolFacts, now: Now) -> Option<Look> {
        let scale = facts.spec.scale.as_ref().filter(|_| facts.ending.is_none())?;
        let dir = facts.spec.template.working_dir.as_deref().unwrap_or(".");
        let (sample, disk) = self.host.machine(scale.headroom.disk.map(|_| dir));
        let reserved = self.pools.values().map(|pool| expected(pool).memory.0.saturating_mul(growing(pool, now)));
        let reserved = Memory(reserved.fold(0, u64::saturating_add));
        let expected = self.expected(&facts.name);
        Some(Look { sample, disk, expected, reserved, budget: self.budget(&facts.name) })
    }

    /// What a worker of this pool is expected to use.
    pub(super) fn expected(&self, name: &str) -> Expected {
        self.pools.get(name).map_or(EXPECTED, expected)
    }

    /// Remember what was decided about scaling, and ask what is to be asked. Workers are counted here: no edge knows them.
    fn ask(&mut self, name: &str, plan: &Plan) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        pool.scaling = plan.scaling.clone();
        for question in &plan.questions {
            match self.known(name, question) {
                Some(answer) => self.questions_answered.push((name.to_owned(), question.clone(), answer)),
                None => self.host.ask(name, question),
            }
        }
    }

    /// The answer of a question that no edge has to be asked. `own` is the pool that is meant where none is named.
    pub(super) fn known(&self, own: &str, question: &Question) -> Option<Result<Number, Failure>> {
        match &question.source.workers {
            Some(workers) => Some(self.count(workers.pool.as_deref().unwrap_or(own), workers.state)),
            None => question.source.queue.is_some().then(|| self.backlog(own, question)),
        }
    }

    /// What stands in a queue, for a rule that goes step by step.
    fn backlog(&self, own: &str, question: &Question) -> Result<Number, Failure> {
        let pool = question.source.queue.as_ref().and_then(|queue| queue.pool.as_deref()).unwrap_or(own);
        let Some(counts) = self.counts.get(pool) else { return Err(Failure::because(format!("there is no queue {pool}"))) };
        Number::new(counts.backlog() as f64, &counts.backlog().to_string())
    }

    fn count(&self, pool: &str, state: WorkerCount) -> Result<Number, Failure> {
        let Some(pool) = self.pools.get(pool) else { return Err(Failure::because(format!("there is no pool {pool}"))) };
        let Some(facts) = &pool.facts else { return Err(Failure::because("its workers are not known yet")) };
        let counts = pool.slots.values().filter(|slot| decide::counts(facts, slot, state)).count();
        Number::new(counts as f64, &counts.to_string())
    }

    /// Who is to be stopped takes no task from now on. What it has taken before is known when the rows are on disk.
    fn hold_back(&mut self, ticket: &Ticket, now: Now) {
        let Some(pool) = self.pools.get_mut(&ticket.pool).filter(|_| ticket.facts.takes_tasks()) else { return };
        for action in &ticket.plan.actions {
            let (Action::Signal { worker, .. } | Action::PreStop { worker, .. }) = action else { continue };
            if let Some(slot) = pool.slots.get_mut(worker).filter(|slot| !slot.retiring) {
                slot.retiring = true;
                let object = worker_object((&ticket.facts, &pool.line), worker, slot, now);
                self.host.publish(Kind::Worker, worker, Some(object));
            }
        }
    }

    /// How many starts are in flight, and when the first of them will have taken too long to count.
    fn in_flight(&self, now: Moment) -> (usize, Option<Moment>) {
        let state = |id: &SlotId| Some(&self.pools.get(&id.pool)?.slots.get(&id.worker)?.seen.state);
        let until = |id: &SlotId| match state(id) {
            Some(SlotState::Starting { since, .. }) => Some(since.after(LONG_START)),
            Some(_) | None => None,
        };
        let counted = || self.starting.iter().map(until).filter(|until| until.is_none_or(|at| at > now));
        (counted().count(), counted().flatten().min())
    }

    /// Starts count as in flight from the moment they are planned, or two pools could use the same allowance.
    fn reserve(&mut self, ticket: &Ticket) {
        self.starting.extend(ticket.plan.actions.iter().filter_map(|action| start_of(&ticket.pool, action)));
    }

    /// These starts are over, or will not be made after all: who waits for the allowance is looked at then.
    pub(super) fn end_starts(&mut self, ids: impl IntoIterator<Item = SlotId>, then: Moment) {
        let before = self.starting.len();
        for id in ids {
            self.starting.remove(&id);
        }
        if self.starting.len() < before {
            let hungry = std::mem::take(&mut self.hungry);
            hungry.into_iter().for_each(|name| self.queue.add(Key::Pool(name), then));
        }
    }

    /// The rows of a plan, and what is told when they are on disk.
    fn batch(&mut self, name: &str, plan: &Plan, now: Now) -> (Batch, Vec<EventObject>) {
        let listed = |reason| Reason::EACH.iter().any(|known| known.name() == reason);
        debug_assert!(plan.happenings.iter().all(|told| listed(told.reason)), "nobody can ask to be notified of {plan:?}");
        let events: Vec<EventObject> = plan.happenings.iter().map(|happening| self.event(name, happening, now)).collect();
        let Some(pool) = self.pools.get_mut(name) else { return Default::default() };
        let (mut batch, mut tell) = (std::mem::take(&mut pool.pending), std::mem::take(&mut pool.owed));
        tell.extend(events.iter().cloned());
        let id = |worker: &str| SlotId { pool: name.to_owned(), worker: worker.to_owned() };
        // Of a slot that ended and starts again in one transaction, what it is after both.
        batch.slots.retain(|(slot, _)| !plan.records.contains_key(&slot.worker));
        batch.slots.extend(plan.records.iter().map(|(worker, record)| (id(worker), Some(record.clone()))));
        let before = pool.stored.runs;
        let made = made::keep(&mut pool.stored.made, pool.facts.as_deref(), (&pool.slots, plan));
        for action in &plan.actions {
            if let Action::Forget { worker } = action {
                batch.slots.push((id(worker), None));
                let last = pool.slots.get(worker).map_or(0, |slot| slot.record.incarnation);
                pool.stored.runs = pool.stored.runs.max(last);
            }
        }
        batch.events.extend(events);
        let (from, to) = (pool.stored.status.desired_replicas, plan.status.desired_replicas);
        if from != to {
            self.host.meter(&Metered::Scaled { pool: name.to_owned(), up: to > from });
        }
        let differs = made || pool.stored.runs != before || differs(&pool.stored.status, &plan.status);
        if differs || plan.finished || !batch.pools.is_empty() {
            pool.stored.status = plan.status.clone();
            made::drop_unused(&mut pool.stored.made, &pool.slots, plan);
            let row = (!plan.finished).then(|| pool.stored.clone());
            batch.pools = vec![(name.to_owned(), row)];
        } else {
            // What changes with every task is shown, and kept with the next change that matters.
            pool.stored.status = plan.status.clone();
        }
        (batch, tell)
    }

    pub(super) fn perform(&mut self, ticket: Ticket, tasks: &BTreeMap<String, Task>, now: Now) {
        let Ticket { pool: name, decided, facts, plan, .. } = ticket;
        let Some(pool) = self.pools.get_mut(&name) else { return };
        for (worker, record) in &plan.records {
            // Nobody has to look whether anything lives in a slot that there never was.
            let slot = pool.slots.entry(worker.clone()).or_insert_with(vacant);
            // An end recorded while the transaction ran is newer than what was planned on.
            if slot.record.recorded <= record.recorded {
                // Nor are tasks forgotten that were ended meanwhile.
                let tasks = if slot.record.incarnation == record.incarnation { slot.record.tasks } else { 0 };
                slot.record = Record { tasks: record.tasks.max(tasks), ..record.clone() };
            }
            (slot.tasks, slot.given) = pool.line.count(worker, slot.record.incarnation);
            pool.dirty.insert(worker.clone());
        }
        for (worker, slot) in &mut pool.slots {
            let retiring = plan.retiring.contains(worker);
            if std::mem::replace(&mut slot.retiring, retiring) != retiring {
                pool.dirty.insert(worker.clone());
            }
            // Its stop was called off: the next one has a preStop of its own.
            let grace = decide::health::ended_by(&facts, slot).spec.template.termination_grace_period;
            let over = |state: &PreStopState| state.done || now.mono >= state.since.after(grace);
            if !retiring && slot.pre_stop.as_ref().is_some_and(over) {
                slot.pre_stop = None;
            }
        }
        let mut unmade = Vec::new();
        for action in &plan.actions {
            let task = tasks.get(action.worker());
            // There was no task for it any more.
            let idle = facts.per_task() && task.is_none() && matches!(action, Action::Start { .. });
            let over = plan.overdue.contains_key(action.worker());
            if idle || mark((&facts, decided), pool, (action, over), now) == Mark::Obsolete {
                unmade.extend(start_of(&name, action));
                continue;
            }
            self.starting.extend(start_of(&name, action));
            // A run is judged and ended by what it was started from.
            let own = pool.slots.get(action.worker()).and_then(|slot| slot.made_from.clone());
            let own = own.filter(|_| matches!(action, Action::PreStop { .. } | Action::Probe { .. }));
            self.host.perform(own.as_ref().unwrap_or(&facts), action, task);
            if let Action::Forget { worker } = action {
                pool.slots.remove(worker);
                pool.dirty.remove(worker);
                self.host.publish(Kind::Worker, worker, None);
            }
        }
        // Not at once: a pool that starts nothing, and waits for what it did not start, would go round and round.
        self.end_starts(unmade, now.mono.after(GATHER));
        self.publish(&name, &plan);
    }

    fn publish(&mut self, name: &str, plan: &Plan) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        let removed = pool.facts.as_ref().is_some_and(|facts| facts.ending == Some(Ending::Removed));
        if plan.finished && !removed {
            // Its document came back while its row was being removed: it goes on, and has a row again.
            pool.pending.pools = vec![(name.to_owned(), Some(pool.stored.clone()))];
        }
        if plan.finished && removed {
            self.pools.remove(name);
            self.queue.forget(&Key::Pool(name.to_owned()));
            self.host.publish(Kind::Pool, name, None);
            self.forgotten(name);
        } else {
            // With the next look at what is due: first whoever starts a worker gets to do so.
            self.unshown.insert(name.to_owned());
        }
    }

    /// Show a pool, and of its workers those of whom there is something new.
    pub(super) fn show_pool(&mut self, name: &str, now: Now) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        let Some(facts) = pool.facts.clone() else { return };
        // Nothing happens to whoever outlives SIGKILL: it is the time that makes it stuck.
        let stuck = |slot: &Slot| matches!(&slot.seen.state, SlotState::Running(run) if workers::stuck(run, now));
        pool.dirty.extend(pool.slots.iter().filter(|(_, slot)| stuck(slot)).map(|(worker, _)| worker.clone()));
        for worker in std::mem::take(&mut pool.dirty) {
            let Some(slot) = pool.slots.get_mut(&worker) else { continue };
            let object = worker_object((&facts, &pool.line), &worker, slot, now);
            self.host.publish(Kind::Worker, &worker, Some(object));
        }
        let object = pool_object(&facts, pool);
        self.host.publish(Kind::Pool, name, Some(object));
    }
}

/// The status says something that is worth a row. The numbers of a queue change with every task, and are in its own tables.
fn differs(before: &PoolStatus, after: &PoolStatus) -> bool {
    let still = |status: &PoolStatus| {
        let mut status = status.clone();
        if status.queue.take().is_some() {
            (status.backlog, status.scaling) = (Vec::new(), None);
            (status.busy_replicas, status.ready_replicas, status.replicas, status.updated_replicas) = (0, 0, 0, 0);
        }
        status
    };
    // Without a queue there is nothing to leave out.
    *before != *after && (after.queue.is_none() || still(before) != still(after))
}

/// The slot that is started by it.
pub(super) fn start_of(pool: &str, action: &Action) -> Option<SlotId> {
    matches!(action, Action::Start { .. }).then(|| SlotId { pool: pool.to_owned(), worker: action.worker().to_owned() })
}

#[derive(PartialEq)]
enum Mark {
    Do,
    Obsolete,
}

fn vacant() -> Slot {
    Slot { seen: Seen { state: SlotState::Vacant, ..Seen::default() }, ..Slot::default() }
}

/// It may be stopped yet. Idle now is not enough: what got work and finished it while the rows were written is not idle as it was.
fn may_end((facts, decided): (&PoolFacts, Moment), slot: &Slot, over: bool) -> bool {
    slot.idle_since.is_some_and(|since| since <= decided) || over || decide::workers::may_end_busy(facts, slot)
}

/// This event tells of a stop that is called off, as its worker ended meanwhile or got work. Its row stays, until the worker is
/// stopped after all.
pub(super) fn called_off(ticket: &Ticket, pool: &Pool, event: &EventObject) -> bool {
    let goes_on = |action: &&Action| {
        let (Action::Signal { worker, incarnation, .. } | Action::PreStop { worker, incarnation, .. }) = action else {
            return false;
        };
        let Some(slot) = pool.slots.get(worker) else { return false };
        // That it is condemned may be in its row, and not on its slot yet.
        let condemned = ticket.plan.records.get(worker).is_some_and(|record| record.condemned.is_some());
        let over = condemned || ticket.plan.overdue.contains_key(worker);
        event.regarding.strip_prefix("worker/") == Some(worker)
            && matches!(&slot.seen.state, SlotState::Running(run) if run.incarnation == *incarnation)
            && may_end((&ticket.facts, ticket.decided), slot, over)
    };
    [Reason::Stopping, Reason::Recycled].map(Reason::name).contains(&event.reason.as_str())
        && !ticket.plan.actions.iter().any(|action| goes_on(&action))
}

/// Mark on the slot what is being done to it. What no longer fits (it ended meanwhile, or got work) is not done.
fn mark((facts, decided): (&Arc<PoolFacts>, Moment), pool: &mut Pool, (action, over): (&Action, bool), now: Now) -> Mark {
    let slot = pool.slots.entry(action.worker().to_owned()).or_default();
    let may_end = may_end((facts, decided), slot, over);
    let may_end = |run: &Run, incarnation| run.incarnation == incarnation && may_end;
    pool.dirty.insert(action.worker().to_owned());
    match (action, &mut slot.seen.state) {
        (Action::Start { incarnation, .. }, state @ (SlotState::Vacant | SlotState::Unknown)) => {
            *state = SlotState::Starting { incarnation: *incarnation, since: now.mono };
            (slot.pre_stop, slot.made_from, slot.looked) = (None, Some(facts.clone()), None);
            slot.known_run = *incarnation;
            Mark::Do
        }
        (Action::Signal { incarnation, .. }, SlotState::Running(run)) if may_end(run, *incarnation) => {
            run.stop = Some(Stopping { since: now.mono, killed: None });
            Mark::Do
        }
        (Action::Kill { incarnation, .. }, SlotState::Running(run)) if run.incarnation == *incarnation => {
            let since = run.stop.map_or(now.mono, |stop| stop.since);
            run.stop = Some(Stopping { since, killed: Some(now.mono) });
            Mark::Do
        }
        (Action::PreStop { incarnation, .. }, SlotState::Running(run)) if may_end(run, *incarnation) => {
            slot.pre_stop = Some(PreStopState { incarnation: *incarnation, since: now.mono, done: false });
            Mark::Do
        }
        (Action::Probe { incarnation, kind, .. }, SlotState::Running(run)) if run.incarnation == *incarnation => {
            slot.health.incarnation = *incarnation;
            slot.health.probes.entry(*kind).or_default().asked = Some(now.mono);
            Mark::Do
        }
        (Action::Look { incarnation, .. }, SlotState::Starting { incarnation: starting, .. }) if starting == incarnation => {
            slot.looked = Some(now.mono);
            Mark::Do
        }
        (Action::Refresh { .. }, SlotState::Running(_)) | (Action::Forget { .. }, SlotState::Vacant) => Mark::Do,
        (
            Action::Start { .. }
            | Action::Signal { .. }
            | Action::Kill { .. }
            | Action::PreStop { .. }
            | Action::Probe { .. }
            | Action::Look { .. }
            | Action::Refresh { .. }
            | Action::Forget { .. },
            _,
        ) => Mark::Obsolete,
    }
}

fn pool_object(facts: &PoolFacts, pool: &Pool) -> Object {
    let deleted = pool.stored.status.conditions.iter().find(|condition| condition.kind == "Terminating");
    let metadata = Meta {
        name: facts.name.clone(),
        uid: pool.stored.uid.clone(),
        generation: facts.generation,
        creation_timestamp: pool.stored.created,
        deletion_timestamp: deleted.map(|condition| condition.last_transition_time),
        labels: facts.labels.clone(),
        annotations: facts.annotations.clone(),
        ..Meta::default()
    };
    let (api_version, kind) = (API_VERSION.into(), Kind::Pool.name().into());
    Object::Pool(Box::new(PoolObject {
        api_version,
        kind,
        metadata,
        spec: facts.spec.clone(),
        status: pool.stored.status.clone(),
    }))
}

fn worker_object((facts, line): (&PoolFacts, &Line), worker: &str, slot: &mut Slot, now: Now) -> Object {
    let mut labels = facts.labels.clone();
    labels.insert("weir.dev/pool".into(), facts.name.clone());
    let metadata = Meta {
        name: worker.into(),
        // Each run is a worker of its own: whoever deleted one waits for another uid.
        uid: format!("{worker}.{}.{}", slot.record.created.0, slot.record.incarnation),
        generation: facts.generation,
        creation_timestamp: slot.record.created,
        labels,
        owner: Some(facts.name.clone()),
        ..Meta::default()
    };
    let mut status = decide::worker_status::worker(facts, slot, now);
    status.tasks = line.held(worker, slot.record.incarnation).map(|task| task.id).collect();
    status.stats = line.workers.get(worker).map(Tally::stats);
    let same = slot.told_ready.filter(|(ready, _)| *ready == status.ready);
    let (_, since) = *slot.told_ready.insert(same.unwrap_or((status.ready, now.wall)));
    status.conditions = vec![decide::worker_status::ready(facts, &status, since)];
    Object::Worker(Box::new(WorkerObject { api_version: API_VERSION.into(), kind: Kind::Worker.name().into(), metadata, status }))
}
