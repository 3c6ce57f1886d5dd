//! What is due in a pool's queue now: leases whose worker is gone, leases that have to end, the clock's work, recurring tasks.
//!
//! A lease ends only with the proof that its holder is gone: the slot is vacant, or a later run is in it. Until then it stays,
//! however long ago it should have ended.

use std::sync::LazyLock;

use super::{heard_until, later, overdue, recurring};
use crate::model::plan::{Ending, Observation, Plan, Slot};
use crate::model::queue::{Queue, TaskSchedule};
use crate::model::queue_work::QueueCounts;
use crate::model::status::ScheduleStatus;
use crate::model::task::{End, EndReason, Task, UNFIT_CODE};
use crate::model::time::{Moment, Now, Span, Wall};
use crate::model::worker::{Exit, ExitReason, SlotState};

/// The exit code by which a process asks for another attempt: EX_TEMPFAIL.
const AGAIN: i32 = 75;
/// What is counted in whole milliseconds by several may be too little by this. Nobody dies of a deadline before it.
const ROUNDED: Span = Span::millis(10);
/// Signals that a program brings upon itself, by their numbers on Linux: ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS.
const CRASHES: [i32; 7] = [4, 5, 6, 7, 8, 11, 31];
/// Ends that were kept for long enough are removed together, this much later.
const SWEEP: Span = Span::secs(60);
/// The rules for tasks that are held though their pool has no queue any more.
static NO_RULES: LazyLock<Queue> = LazyLock::new(Queue::default);

/// Look at the leases, and at what the clock has brought.
pub fn look(observation: &Observation<'_>, plan: &mut Plan, now: Now) {
    let rules = observation.pool.spec.queue.as_ref().unwrap_or(&NO_RULES);
    for task in observation.line.leases.values() {
        let until = heard_until(task, rules, observation.line.heard_since);
        let slot = task.worker.as_ref().and_then(|worker| observation.slots.get(worker));
        if let Some(end) = gone((task, until), slot, now) {
            plan.ends.push((task.id, end));
        } else if let (Some(over), Some(worker)) = (overdue::overdue(task, until, now.mono), &task.worker) {
            plan.overdue.insert(worker.clone(), over.why);
        } else {
            overdue::wake(task, until).into_iter().for_each(|at| plan.wake(at));
        }
    }
    forget_beats(observation, plan);
    let Some(queue) = observation.pool.spec.queue.as_ref().filter(|_| observation.pool.ending.is_none()) else { return };
    let counts = observation.queues.get(&observation.pool.name);
    plan.tick |= observation.line.more || counts.is_some_and(|counts| counts.again > Some(later(now.wall, longest(queue))));
    match counts.and_then(|counts| due(queue, counts)) {
        Some(at) if at <= now.wall => plan.tick = true,
        Some(at) => plan.wake(moment(at, now)),
        None => {}
    }
    if let Some(counts) = counts.filter(|counts| counts.paused(now.wall)) {
        let until = counts.paused_until.unwrap_or_default();
        plan.waiting_on.push(format!("its queue, which rests {}: {}", until.or_resumed(), counts.paused_why));
    }
    if let Some(squeeze) = observation.squeeze.filter(|_| counts.is_some_and(|counts| counts.ready > 0)) {
        plan.waiting_on.push(format!("memory, as no task is begun: {}", squeeze.why));
    }
    recur(observation, queue, plan, now);
}

/// When the clock's work comes: something is due, or ends were kept for long enough. A minute of them goes together.
pub fn due(queue: &Queue, counts: &QueueCounts) -> Option<Wall> {
    let kept = |at: Option<Wall>, span: Span| at.map(|at| later(later(at, span), SWEEP));
    let ended = [kept(counts.succeeded, queue.retention.succeeded), kept(counts.failed, queue.retention.failed)];
    ended.into_iter().chain([counts.next]).flatten().min()
}

/// Beats of schedules that are in the spec no more: one that comes back begins anew. A daemon that ends forgets nothing.
fn forget_beats(observation: &Observation<'_>, plan: &mut Plan) {
    if observation.pool.ending == Some(Ending::Shutdown) {
        return;
    }
    let queue = observation.pool.spec.queue.as_ref().filter(|_| observation.pool.ending.is_none());
    let there = |name: &str| queue.is_some_and(|queue| queue.schedules.iter().any(|schedule| schedule.name == name));
    let gone = observation.line.fired.keys().filter(|name| !there(name));
    plan.recur.extend(gone.map(|name| (name.clone(), None, None)));
}

/// No back-off of a task is longer: one that reaches further from now was counted by a clock that was ahead.
pub fn longest(queue: &Queue) -> Span {
    let backoff = &queue.retry.backoff;
    Span(backoff.initial.max(backoff.max).0.saturating_mul(2))
}

/// Recurring tasks that are due.
fn recur(observation: &Observation<'_>, queue: &Queue, plan: &mut Plan, now: Now) {
    for schedule in &queue.schedules {
        let known = observation.line.fired.get(&schedule.name).filter(|fired| recurring::is_of(schedule, fired));
        let mut fired = known.cloned().unwrap_or_else(|| recurring::seen(schedule, now.wall));
        // A clock that was ahead then must not stop it until it is so late again.
        fired.last = fired.last.min(now.wall);
        match recurring::next(schedule, &fired) {
            Some(due) if due <= now.wall => {
                let after = recurring::fired(schedule, &fired, due, now.wall);
                recurring::next(schedule, &after).into_iter().for_each(|at| plan.wake(moment(at, now)));
                plan.recur.push((schedule.name.clone(), Some(after), Some(Box::new(recurring::task(schedule, due)))));
                continue;
            }
            Some(due) => plan.wake(moment(due, now)),
            None => {}
        }
        if known.is_none_or(|known| known.last > now.wall) {
            // From now on a clock's next time is counted from here, also by a later daemon.
            plan.recur.push((schedule.name.clone(), Some(fired), None));
        }
    }
}

/// When each recurring task comes next, as this plan leaves it. Of one that is not remembered yet nothing is said.
pub fn upcoming(observation: &Observation<'_>, queue: &Queue, plan: &Plan) -> Vec<ScheduleStatus> {
    let of = |schedule: &TaskSchedule| {
        let planned = plan.recur.iter().find(|(name, ..)| *name == schedule.name).and_then(|(_, fired, _)| fired.as_ref());
        let known = || observation.line.fired.get(&schedule.name).filter(|fired| recurring::is_of(schedule, fired));
        let fired = planned.or_else(known)?;
        Some(ScheduleStatus { name: schedule.name.clone(), next: recurring::next(schedule, fired), count: fired.count })
    };
    queue.schedules.iter().filter_map(of).collect()
}

/// When a time of the clock comes; now for one that is over.
pub fn moment(wall: Wall, now: Now) -> Moment {
    let ahead = u64::try_from(wall.0.saturating_sub(now.wall.0)).unwrap_or(0);
    Moment(now.mono.0.saturating_add(ahead))
}

/// How the attempt ended, if its holder is proved gone.
fn gone((task, until): (&Task, Option<Moment>), slot: Option<&Slot>, now: Now) -> Option<End> {
    let Some(slot) = slot else { return Some(lost(task, now)) };
    let later = match &slot.seen.state {
        // Nothing is proved.
        SlotState::Unknown | SlotState::Lost { .. } => false,
        SlotState::Vacant => true,
        SlotState::Starting { incarnation, .. } => *incarnation > task.run,
        SlotState::Running(run) => run.incarnation > task.run,
    };
    if !later {
        return None;
    }
    let exits = [slot.seen.exit.as_ref(), slot.record.last_exit.as_ref()];
    let exit = exits.into_iter().flatten().find(|exit| exit.incarnation == task.run);
    let record = &slot.record;
    let failed = record.failed_run == Some(task.run) || (record.condemned.is_some() && record.incarnation == task.run);
    Some(exit.map_or_else(|| lost(task, now), |exit| ended((task, until), (exit, failed), now)))
}

/// Its worker is not there, and left no word.
fn lost(task: &Task, now: Now) -> End {
    let ran_ms = task.begun.map_or(0, |at| now.mono.since(at).0);
    match task.deadline {
        // The daemon ended between the lease and the start.
        Some(_) if task.lease_until.is_none() => {
            End { reason: EndReason::Returned, message: "it was not begun".into(), ..End::default() }
        }
        Some(_) => End { reason: EndReason::WorkerLost, message: "its worker is gone".into(), ran_ms, ..End::default() },
        // A lease of another boot.
        None => End { reason: EndReason::WorkerLost, message: "the machine was started anew".into(), ..End::default() },
    }
}

/// When a run that had a task ended: what its stop means is not decided by when that is read. Known where the run was seen;
/// else it is how much later than the lease it began, and how long it ran. A worker that takes its tasks began long before.
fn over(task: &Task, exit: &Exit, now: Now) -> Moment {
    let between = |from: Option<Wall>, to: Option<Wall>| {
        let (from, to) = from.zip(to)?;
        Some(Span(u64::try_from(to.0.saturating_sub(from.0)).unwrap_or(0)))
    };
    let after = if task.lease_until.is_none() {
        between(task.started, exit.started).map(|late| Span(late.0.saturating_add(exit.ran_ms)))
    } else {
        between(task.started, Some(exit.finished))
    };
    let counted = task.begun.zip(after).map(|(begun, after)| begun.after(after));
    exit.ended.or(counted).map_or(now.mono, |ended| ended.after(ROUNDED).min(now.mono))
}

/// How an attempt ended whose worker's end is known; `failed`: weir ended that one because it was unhealthy.
fn ended((task, until): (&Task, Option<Moment>), (exit, failed): (&Exit, bool), now: Now) -> End {
    let per_task = task.lease_until.is_none();
    let measured = per_task && exit.reason != ExitReason::OOMKilled && exit.max_rss_kib > 0;
    let memory_bytes = measured.then(|| exit.max_rss_kib.saturating_mul(1024));
    let broke = exit.signal.is_some_and(|signal| CRASHES.contains(&signal));
    // A worker that takes its tasks has run for longer than its task.
    let since_lease = || task.begun.map_or(0, |begun| over(task, exit, now).since(begun).0);
    let ran_ms = if per_task { exit.ran_ms } else { since_lease() };
    let end = End { code: exit.code, signal: exit.signal, ran_ms, memory_bytes, broke, ..End::default() };
    if exit.asked {
        // It was told to stop, and what it then said is no answer of the task.
        return match overdue::overdue(task, until, over(task, exit, now)) {
            Some(over) => End { reason: over.reason, message: over.why, ..end },
            // Who fails with each task would be given it again for ever.
            None if failed => {
                End { reason: EndReason::WorkerLost, message: "its worker was unhealthy".into(), broke: true, ..end }
            }
            None => End { reason: EndReason::Returned, message: "its worker was stopped".into(), ..end },
        };
    }
    let words = exit.message.clone().unwrap_or_default();
    let (reason, message) = match (exit.reason, exit.code) {
        (ExitReason::StartError, Some(UNFIT_CODE)) => (EndReason::Unfit, words),
        (ExitReason::StartError, _) => (EndReason::NotStarted, words),
        (ExitReason::Rebooted, _) => (EndReason::WorkerLost, "the machine was started anew".into()),
        (ExitReason::Unknown, _) => (EndReason::WorkerLost, "nobody knows how its worker ended".into()),
        (ExitReason::OOMKilled, _) => (EndReason::Failed, "killed for want of memory".into()),
        (ExitReason::Signaled, _) => (EndReason::WorkerLost, format!("its worker ended by signal {}", exit.signal.unwrap_or(0))),
        (ExitReason::Completed | ExitReason::Error, code) if !per_task => {
            (EndReason::WorkerLost, format!("its worker ended with exit code {}", code.unwrap_or(0)))
        }
        (ExitReason::Completed, _) => (EndReason::Done, String::new()),
        (ExitReason::Error, Some(AGAIN)) => (EndReason::Again, "exit code 75: it asks for another attempt".into()),
        (ExitReason::Error, code) => (EndReason::Failed, format!("exit code {}", code.unwrap_or(0))),
    };
    End { reason, message, ..end }
}
