//! The verbs: what should happen now, given what is seen.
//!
//! Every function here is total, synchronous and free of effects: no clock, no files, no chance, no failure. [`pool`]
//! composes the files beside it; [`check`] lists the invariants that a plan broke, and is called on every plan in tests and
//! debug builds. Order inside a plan: what is known is recorded, then stops, then starts.

pub mod admit;
pub mod allot;
mod anew;
mod available;
pub mod check;
pub mod demand;
pub mod dispatch;
pub mod expand;
pub mod forecast;
pub mod health;
pub mod hooks;
pub mod joint;
pub mod limits;
pub mod notify;
pub mod recycle;
pub mod restart;
pub mod roster;
mod scaling_status;
pub mod share;
pub mod status;
pub mod takers;
mod victims;
pub mod worker_status;
pub mod workers;
pub mod workload;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::plan::{Action, Ending, Happening, Observation, Plan, PoolFacts, Record, Slot};
use crate::model::queue::Dispatch;
use crate::model::reading::counted;
use crate::model::source::WorkerCount;
use crate::model::status::EventType;
use crate::model::task::UNFIT_CODE;
use crate::model::time::Now;
use crate::model::worker::{ExitReason, SlotState};

/// What should happen to a pool now.
pub fn pool(observation: &Observation<'_>, now: Now) -> Plan {
    if observation.pool.is_held() {
        return held(observation, now);
    }
    let forgiven = forgiven(observation);
    if forgiven.is_empty() {
        return planned(observation, now);
    }
    let mut slots = observation.slots.clone();
    for (worker, record) in &forgiven {
        slots.entry(worker.clone()).and_modify(|slot| slot.record = record.clone());
    }
    let mut plan = planned(&Observation { slots: &slots, ..*observation }, now);
    for (worker, record) in forgiven {
        plan.records.entry(worker).or_insert(record);
    }
    plan
}

/// What failed were workers, and each task has a process of its own now: none of that holds up a task.
fn forgiven(observation: &Observation<'_>) -> BTreeMap<String, Record> {
    let failed = |record: &Record| record.failures > 0 || record.next_start.is_some();
    let was_worker = |slot: &Slot| slot.seen.state == SlotState::Vacant && slot.record.for_task == Some(false);
    let slots =
        observation.slots.iter().filter(|(_, slot)| observation.pool.per_task() && was_worker(slot) && failed(&slot.record));
    let fresh = |record: &Record| Record { failures: 0, next_start: None, for_task: Some(true), ..record.clone() };
    slots.map(|(worker, slot)| (worker.clone(), fresh(&slot.record))).collect()
}

fn planned(observation: &Observation<'_>, now: Now) -> Plan {
    let mut plan = Plan::default();
    let (facts, slots) = (observation.pool, observation.slots);
    let demand = demand::demand(observation, now);
    plan.scaling = demand.scaling.clone();
    // What is noted as asked is asked, whatever else is waited for.
    plan.questions.clone_from(&demand.questions);
    demand.wake.into_iter().for_each(|at| plan.wake(at));
    if slots.values().any(|slot| slot.seen.state == SlotState::Unknown) {
        plan.waiting_on.push("the workers found on disk to be looked at".into());
        plan.status = status::pool(observation, &plan, (&demand, &workers::Assignment::default()), now);
        return plan;
    }
    dispatch::line::look(observation, &mut plan, now);
    let ready = observation.queues.get(&facts.name).map_or(0, |counts| counts.ready);
    if let Some(gate) = demand.gate.as_ref().filter(|_| facts.takes_tasks() && ready > 0) {
        // Where each run is for a task it is said of the start.
        plan.waiting_on.push(format!("a quota, as no task is begun: {gate}"));
    }
    let mut names = workers::assign(facts, slots, demand.wanted, now);
    let anew::Anew { workers: anew, wake } = anew::anew(observation, demand.why.as_ref(), now);
    wake.into_iter().for_each(|at| plan.wake(at));
    names.anew = anew;
    for (worker, slot) in slots {
        tend(observation, &mut plan, (worker, slot), now);
    }
    let mut replaced = workers::replacements(facts, slots, &names, now);
    if let Some(gate) = &demand.gate {
        // Whoever goes would not be followed by anybody.
        replaced.hold(gate);
    }
    replaced.wakes.iter().for_each(|at| plan.wake(*at));
    plan.waiting_on.extend(replaced.waits(&facts.spec.update_strategy));
    plan.fresh = replaced.fresh;
    plan.retiring = replaced.retiring;
    if facts.takes_tasks() {
        plan.retiring.extend(workers::too_busy(facts, slots, &names));
    }
    let too_many = workers::Why::too_many(facts.ending);
    let surplus = names.surplus.iter().map(|worker| (worker, too_many));
    let over: Vec<String> = over(observation, &plan);
    let stops = surplus.chain(replaced.stop.iter().map(|(worker, why)| (worker, *why)));
    let mut stops: Vec<(&String, workers::Why)> = stops.collect();
    let told: Vec<&String> = stops.iter().map(|(worker, _)| *worker).collect();
    let more: Vec<_> =
        over.iter().filter(|worker| !told.contains(worker)).map(|worker| (worker, workers::Why::TaskOver)).collect();
    stops.extend(more);
    for (worker, why) in stops {
        stop(observation, &mut plan, worker, why, now);
    }
    starts(observation, &mut plan, (&names, &demand), now);
    if facts.ending != Some(Ending::Shutdown) {
        forget(&mut plan, slots, &names);
    }
    names.going.wake.into_iter().for_each(|at| plan.wake(at));
    if names.going.busy > 0 {
        let busy = counted(names.going.busy as u64, "busy worker");
        plan.waiting_on.push(format!("{busy} to become idle: a busy worker is not stopped to scale down"));
    }
    if names.going.fresh > 0 {
        plan.waiting_on.push(format!("{} to be idle for scaleDown.idleTimeout", counted(names.going.fresh as u64, "worker")));
    }
    if names.going.starting > 0 {
        let starting = counted(names.going.starting as u64, "worker");
        plan.waiting_on.push(format!("{starting} to have started: then it is seen whether one goes"));
    }
    plan.takers = takers::takers(facts, slots, &names, &plan, now);
    plan.finished = facts.ending == Some(Ending::Removed) && slots.values().all(|slot| slot.seen.state == SlotState::Vacant);
    plan.status = status::pool(observation, &plan, (&demand, &names), now);
    // The size first, then who goes and comes for it.
    let told = status::changes(observation, &plan);
    plan.lasting = told.len();
    plan.happenings.splice(0..0, told);
    plan
}

/// Nothing is done to a pool of which is not known what is wanted; it is shown with its workers as they are.
fn held(observation: &Observation<'_>, now: Now) -> Plan {
    let mut plan = Plan { scaling: observation.scaling.clone(), ..Plan::default() };
    plan.waiting_on.push("a document of it that reads here".into());
    plan.status = status::held(observation, &plan, now);
    plan.happenings = status::changes(observation, &plan);
    plan.lasting = plan.happenings.len();
    plan
}

/// Workers that live and have a task that has to end.
fn over(observation: &Observation<'_>, plan: &Plan) -> Vec<String> {
    let lives = |worker: &&String| observation.slots.get(*worker).is_some_and(roster::live);
    plan.overdue.keys().filter(lives).cloned().collect()
}

/// The record of a slot whose last end is not recorded yet, with what to tell of it. Each end is recorded once.
pub fn exit(pool: &PoolFacts, worker: &str, slot: &Slot, now: Now) -> Option<(Record, Option<Happening>)> {
    let exit = slot.seen.exit.as_ref().filter(|exit| exit.incarnation > slot.record.recorded)?;
    let condemned = slot.record.condemned.clone();
    let ran = exit.reason != ExitReason::StartError || exit.code == Some(UNFIT_CODE);
    if workers::for_task(pool, &slot.record) && ran {
        // It ended with its task, which is told of as such, and is no failure of the slot: not with 126 and 127 either.
        return Some((restart::after_task(&slot.record, exit), None));
    }
    let mut record = restart::after_exit(&slot.record, exit, &pool.spec.template, now);
    let mut told = record.clone();
    if workers::done(pool, &record) {
        // Nothing is waited for: it is not started again.
        told.next_start = None;
        if pool.spec.scale.is_none() || exit.reason == ExitReason::Completed {
            record.next_start = None;
        }
        if pool.spec.scale.is_some() && exit.reason == ExitReason::Completed {
            // It has done its work, and triggers may ask for another: that was no failure, however short it was.
            record.failures = 0;
        }
    }
    let happening = status::tell_exit(worker, exit, condemned.as_deref(), &told, now);
    Some((record, Some(happening)))
}

/// Ask after a start that is silent, go on with a stop under way, and send out due probes.
fn tend(observation: &Observation<'_>, plan: &mut Plan, (worker, slot): (&str, &Slot), now: Now) {
    let step = workers::beginning(worker, slot, now);
    plan.actions.extend(step.action);
    step.wake.into_iter().for_each(|at| plan.wake(at));
    let SlotState::Running(run) = &slot.seen.state else { return };
    let (actions, wake) = if run.stop.is_some() || run.clearing {
        let step = workers::ending(worker, run, &health::ended_by(observation.pool, slot).spec.template, now);
        (step.action.into_iter().collect(), step.wake)
    } else {
        let check = health::check(observation.pool, worker, (slot, run), now);
        plan.waiting_on.extend(check.report.map(|report| format!("{worker} to go on: {report}")));
        (check.actions, check.wake)
    };
    plan.actions.extend(actions);
    wake.into_iter().for_each(|at| plan.wake(at));
}

/// Begin or go on with ending a worker that still has to be told.
fn stop(observation: &Observation<'_>, plan: &mut Plan, worker: &str, why: workers::Why, now: Now) {
    let Some(slot) = observation.slots.get(worker) else { return };
    let SlotState::Running(run) = &slot.seen.state else { return };
    let template = &health::ended_by(observation.pool, slot).spec.template;
    if let (workers::Why::Condemned, None) = (why, &slot.record.condemned)
        && let Some(reason) = health::check(observation.pool, worker, (slot, run), now).condemned
    {
        plan.happenings.push(status::tell(
            "Unhealthy",
            EventType::Warning,
            (worker, run.incarnation),
            format!("{worker}: {reason}"),
        ));
        plan.records.insert(worker.to_owned(), Record { condemned: Some(reason), ..slot.record.clone() });
    }
    let step = workers::begin_stop(worker, run, slot.pre_stop, template, now);
    if step.begins {
        let note = format!("stopping {worker} (pid {}): {}", run.pid, why.words());
        let reason = if matches!(why, workers::Why::Recycled(_)) { "Recycled" } else { "Stopping" };
        plan.happenings.push(status::tell(reason, EventType::Normal, (worker, run.incarnation), note));
    }
    if template.pre_stop.is_some() {
        plan.retiring.insert(worker.to_owned());
    }
    plan.actions.extend(step.action);
    step.wake.into_iter().for_each(|at| plan.wake(at));
}

/// Start what is wanted and may start.
fn starts(observation: &Observation<'_>, plan: &mut Plan, (names, demand): (&workers::Assignment, &demand::Demand), now: Now) {
    let (facts, slots) = (observation.pool, observation.slots);
    let alive = slots.values().filter(|slot| slot.seen.state != SlotState::Vacant).count();
    let mut room = names.ceiling.saturating_sub(alive);
    let gate = demand.gate.as_deref();
    let room_for = demand.room.as_ref().map_or(usize::MAX, |room| room.starts as usize);
    let mut started = Vec::new();
    let work = work_for(observation, now);
    let line = own_lines(observation);
    let has_line = |worker: &&String| line.is_none_or(|lines| lines.contains(*worker));
    for worker in names.fill.iter().filter(has_line).take(work) {
        let slot = slots.get(worker);
        let anew = slot.filter(|_| names.anew.contains(worker));
        let may = anew.map_or_else(|| workers::may_start(facts, slot, now), |slot| workers::after_back_off(facts, slot, now));
        match may {
            workers::MayStart::No => {}
            workers::MayStart::At(moment) => plan.wake(moment),
            workers::MayStart::Now if gate.is_some() || room_for <= started.len() => {
                let why = gate.or(demand.room.as_ref().map(|room| room.why.as_str())).unwrap_or_default();
                plan.waiting_on.push(format!("room to start {worker}: {why}"));
                plan.wake(now.mono.after(allot::LOOK_AGAIN));
                break;
            }
            workers::MayStart::Now if room == 0 => {
                plan.waiting_on.push(format!("workers that are still ending: {worker} starts when there is room"));
                break;
            }
            workers::MayStart::Now if started.len() >= observation.allowance as usize => plan.starts_withheld += 1,
            workers::MayStart::Now => {
                room -= 1;
                let mut next = workers::started(slot.map(|slot| &slot.record), observation.runs, &facts.template, now);
                next.for_task = Some(facts.per_task());
                if facts.per_task() {
                    // A next task is no restart.
                    next.restarts = slot.map_or(0, |slot| slot.record.restarts);
                }
                plan.actions.push(Action::Start { worker: worker.clone(), incarnation: next.incarnation });
                plan.records.insert(worker.clone(), next);
                started.push(worker.as_str());
            }
        }
    }
    if plan.starts_withheld > 0 {
        plan.waiting_on.push(format!("{}: as many as allowed are in flight", counted(plan.starts_withheld, "start")));
    }
    if !facts.per_task() {
        plan.happenings.extend(status::tell_starts(&started, slots));
    }
}

/// How many workers there is work for: where each run is for one task, as many as there are tasks that may be begun.
fn work_for(observation: &Observation<'_>, now: Now) -> usize {
    let counts = observation.queues.get(&observation.pool.name);
    match counts {
        _ if !observation.pool.per_task() => usize::MAX,
        _ if observation.squeeze.is_some() => 0,
        Some(counts) if !counts.paused(now.wall) => usize::try_from(counts.ready).unwrap_or(usize::MAX),
        Some(_) | None => 0,
    }
}

/// Where each run is for one task, and each worker has a line of its own: those whose line is not empty.
fn own_lines<'a>(observation: &Observation<'a>) -> Option<&'a BTreeSet<String>> {
    let divided = observation.pool.spec.queue.as_ref().is_some_and(|queue| queue.dispatch == Dispatch::PerWorker);
    let counts = observation.queues.get(&observation.pool.name).filter(|_| divided && observation.pool.per_task())?;
    Some(&counts.lines)
}

/// Forget slots that are not wanted, hold nothing, and have told how they ended.
fn forget(plan: &mut Plan, slots: &BTreeMap<String, Slot>, names: &workers::Assignment) {
    for (worker, slot) in slots {
        let told = slot.seen.exit.as_ref().is_none_or(|exit| exit.incarnation <= slot.record.recorded);
        if slot.seen.state == SlotState::Vacant && told && !names.holds(worker) {
            plan.actions.push(Action::Forget { worker: worker.clone() });
        }
    }
}

/// Whether a worker counts as being in this state.
pub fn counts(pool: &PoolFacts, slot: &Slot, state: WorkerCount) -> bool {
    let ready = workers::is_ready(pool, slot);
    match state {
        WorkerCount::Busy => roster::busy(slot),
        WorkerCount::Idle => ready && !roster::busy(slot),
        WorkerCount::Ready => ready,
    }
}

/// Look at a pool with these slots, leases and counts: it was never shown, and nobody asks what the machine has left.
#[cfg(test)]
fn seen<T>(
    (pool, slots): (&PoolFacts, &BTreeMap<String, Slot>),
    (line, queues): (&crate::model::line::Line, &BTreeMap<String, crate::model::queue_work::QueueCounts>),
    look: impl FnOnce(&Observation<'_>) -> T,
) -> T {
    let (previous, scaling) = Default::default();
    look(&Observation {
        pool,
        slots,
        allowance: 1,
        previous: &previous,
        runs: 0,
        scaling: &scaling,
        line,
        queues,
        machine: None,
        squeeze: None,
    })
}
