//! What is shown of one worker: its phase and status, and the condition that says whether it is ready.
//!
//! Of a worker that is not there it is what its slot waits for: a task, the end of its back-off, or nothing any more.

use super::health;
use super::roster;
use super::status::{ending, exit_words};
use super::workers;
use crate::model::plan::{PoolFacts, Record, Slot};
use crate::model::reading::counted;
use crate::model::status::{Condition, Phase, Truth, WorkerStatus};
use crate::model::time::{Now, Wall};
use crate::model::worker::{ExitReason, SlotState};

/// The status of one worker.
pub fn worker(facts: &PoolFacts, slot: &Slot, now: Now) -> WorkerStatus {
    let record = &slot.record;
    let mut status = WorkerStatus {
        phase: phase(facts, slot, now),
        incarnation: record.incarnation,
        restarts: record.restarts,
        next_start_at: record.next_start.filter(|at| *at > now.mono).map(|at| now.wall_of(at)),
        template_hash: record.template.clone(),
        last_exit: record.last_exit.clone(),
        ..WorkerStatus::default()
    };
    if let SlotState::Running(run) = &slot.seen.state {
        status.pid = Some(run.pid);
        status.ready = workers::is_ready(facts, slot);
        status.busy = roster::busy(slot);
        status.draining = slot.retiring || workers::drained(record, run);
        status.started_at = Some(now.wall_of(run.started));
        status.template_hash.clone_from(&run.template);
        let failing = || health::failing(run, &slot.health, health::template(facts, slot));
        status.message = record.condemned.clone().or_else(failing).or_else(|| run.status.clone()).unwrap_or_default();
        status.dropped_log_bytes = run.dropped;
    } else if facts.per_task() && status.phase == Phase::Ready {
        // It can take a task at once.
        status.ready = true;
    } else if let Some(exit) = record.last_exit.as_ref().filter(|_| status.phase == Phase::BackOff) {
        status.message = format!("{} in a row; the last: {}", counted(record.failures, "end"), exit_words(exit));
    }
    status
}

/// The condition of a worker that is ready, or is not, since then.
pub fn ready(facts: &PoolFacts, status: &WorkerStatus, since: Wall) -> Condition {
    Condition {
        kind: "Ready".into(),
        status: if status.ready { Truth::True } else { Truth::False },
        reason: format!("{:?}", status.phase),
        message: status.message.clone(),
        last_transition_time: since,
        observed_generation: facts.generation,
    }
}

fn phase(facts: &PoolFacts, slot: &Slot, now: Now) -> Phase {
    match &slot.seen.state {
        SlotState::Unknown => Phase::Pending,
        SlotState::Lost { .. } => Phase::Lost,
        SlotState::Starting { .. } => Phase::Starting,
        SlotState::Vacant => vacant_phase(facts, &slot.record, now),
        SlotState::Running(run) if workers::stuck(run, now) => Phase::Stuck,
        SlotState::Running(_) if ending(slot) => Phase::Terminating,
        SlotState::Running(run) if !health::started(run, &slot.health, health::template(facts, slot)) => Phase::Starting,
        SlotState::Running(_) if !workers::is_ready(facts, slot) => Phase::Running,
        SlotState::Running(_) if roster::busy(slot) => Phase::Busy,
        SlotState::Running(_) => Phase::Ready,
    }
}

fn vacant_phase(facts: &PoolFacts, record: &Record, now: Now) -> Phase {
    let completed = record.last_exit.as_ref().is_some_and(|exit| exit.reason == ExitReason::Completed);
    if workers::done(facts, record) {
        if completed { Phase::Completed } else { Phase::Failed }
    } else if facts.ending.is_some() {
        Phase::Stopped
    } else if record.next_start.is_some_and(|at| at > now.mono) {
        Phase::BackOff
    } else if facts.per_task() {
        // It waits for a task.
        Phase::Ready
    } else {
        Phase::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::{Ending, Health, ProbeKind, ProbeState};
    use crate::model::queue::Queue;
    use crate::model::template::Probe;
    use crate::model::time::{Moment, Span};
    use crate::model::worker::{Run, Seen};

    const NOW: Now = Now { mono: Moment(500_000), wall: Wall(1_000_000) };

    fn facts() -> PoolFacts {
        PoolFacts { ending: None, ..PoolFacts::orphan("a") }
    }

    #[test]
    fn what_a_probe_that_fails_says_is_the_message_of_its_worker() {
        let mut facts = facts();
        facts.spec.template.readiness_probe = Some(Probe::default());
        let run = Run { incarnation: 1, status: Some("starting up".into()), ..Run::default() };
        let slot = |failures, passing| {
            let state = ProbeState { failures, passing, message: "refused".into(), ..ProbeState::default() };
            let health = Health { incarnation: 1, probes: [(ProbeKind::Readiness, state)].into() };
            Slot { seen: Seen { state: SlotState::Running(run.clone()), ..Seen::default() }, health, ..Slot::default() }
        };
        let message = |failures, passing| worker(&facts, &slot(failures, passing), NOW).message;
        assert_eq!(message(1, false), "readinessProbe fails: refused");
        assert_eq!(message(7, false), message(1, false), "the same until something else is so");
        assert_eq!((message(0, false), message(2, true)), ("starting up".into(), "starting up".into()));
    }

    #[test]
    fn a_slot_that_waits_for_a_task_is_ready() {
        let mut facts = facts();
        let vacant = Slot { seen: Seen { state: SlotState::Vacant, ..Seen::default() }, ..Slot::default() };
        assert!(!worker(&facts, &vacant, NOW).ready, "a worker that is not there");
        facts.spec.queue = Some(Queue::default());
        assert!(facts.per_task());
        let idle = worker(&facts, &vacant, NOW);
        assert_eq!((idle.phase, idle.ready, idle.pid), (Phase::Ready, true, None));
        let record = Record { next_start: Some(NOW.mono.after(Span::secs(1))), ..Record::default() };
        assert!(!worker(&facts, &Slot { record, ..vacant.clone() }, NOW).ready);
        facts.ending = Some(Ending::Shutdown);
        assert!(!worker(&facts, &vacant, NOW).ready);
    }
}
