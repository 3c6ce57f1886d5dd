//! Merging what shims tell into what is known of a slot.
//!
//! Facts travel: one sent before a command took effect can arrive after it was given. What the engine itself has done
//! (a start ordered, a signal sent, a kill sent) is therefore kept until a fact about the same run, or a later one, says more.

use crate::decide::workers::is_ready;
use crate::model::plan::{Health, PoolFacts, Record, Slot};
use crate::model::time::{Moment, Span};
use crate::model::worker::{Exit, ExitReason, Run, Seen, SlotState};

/// Take in what is seen now. Says whether anything changed.
pub(super) fn absorb(slot: &mut Slot, seen: Seen) -> bool {
    let before = slot.seen.clone();
    let exit = newer(before.exit.clone(), seen.exit.map(|exit| dated(exit, &before)));
    slot.seen.shim = seen.shim;
    slot.seen.state = match (&before.state, seen.state) {
        // The order to start is on its way; the slot still looks as it did before.
        (SlotState::Starting { incarnation, since }, SlotState::Vacant) if ended(&exit) < *incarnation => {
            SlotState::Starting { incarnation: *incarnation, since: *since }
        }
        (SlotState::Starting { since, .. }, SlotState::Starting { incarnation, .. }) => {
            SlotState::Starting { incarnation, since: *since }
        }
        (SlotState::Running(old), SlotState::Running(new)) => SlotState::Running(merged(old, new)),
        (_, state) => state,
    };
    slot.seen.exit = exit;
    if let SlotState::Running(run) = &slot.seen.state {
        later(&mut slot.record, run.incarnation);
        if slot.health.incarnation != run.incarnation {
            slot.health = Health { incarnation: run.incarnation, ..Health::default() };
        }
    }
    if slot.record == Record::default() && slot.seen.state == SlotState::Vacant {
        // Its row is gone and its directory is not: it was forgotten, and had told how it ended.
        slot.record.recorded = ended(&slot.seen.exit);
    }
    later(&mut slot.record, ended(&slot.seen.exit));
    slot.seen != before
}

/// A run of this number was seen. What an earlier one has done is none of its.
fn later(record: &mut Record, incarnation: u64) {
    if incarnation > record.incarnation {
        (record.incarnation, record.tasks) = (incarnation, 0);
    }
}

fn merged(old: &Run, mut new: Run) -> Run {
    if old.incarnation == new.incarnation {
        new.stop = match (old.stop, new.stop) {
            (Some(mine), Some(mut theirs)) => {
                theirs.killed = theirs.killed.or(mine.killed);
                Some(theirs)
            }
            (mine, theirs) => theirs.or(mine),
        };
        new.refreshed = new.refreshed.max(old.refreshed);
        new.cpu_at = new.cpu_at.max(old.cpu_at);
        new.memory = new.memory.or(old.memory);
    }
    new
}

/// With the moment of the end, if the run was seen before: the shim has counted by the same clock.
fn dated(exit: Exit, before: &Seen) -> Exit {
    let known = before.exit.as_ref().filter(|known| known.incarnation == exit.incarnation).and_then(|known| known.ended);
    let run = match &before.state {
        SlotState::Running(run) if run.incarnation == exit.incarnation => Some(run),
        SlotState::Running(_) | SlotState::Starting { .. } | SlotState::Unknown | SlotState::Vacant | SlotState::Lost { .. } => {
            None
        }
    };
    let ended = run.map(|run| run.started.after(Span(exit.ran_ms)));
    Exit { ended: known.or(ended), ..exit }
}

fn newer(old: Option<Exit>, new: Option<Exit>) -> Option<Exit> {
    match (old, new) {
        (Some(old), Some(new)) => Some(if new.incarnation >= old.incarnation { new } else { old }),
        (old, new) => new.or(old),
    }
}

fn ended(exit: &Option<Exit>) -> u64 {
    exit.as_ref().map_or(0, |exit| exit.incarnation)
}

/// The end of a run that never came to be.
pub(super) fn failed_start(incarnation: u64, (code, message): (Option<i32>, String), now: crate::model::time::Now) -> Exit {
    Exit { incarnation, reason: ExitReason::StartError, code, message: Some(message), finished: now.wall, ..Exit::default() }
}

/// A start has failed. It leaves the slot as it was before: vacant, or what was told of it since.
pub(super) fn failed(slot: &mut Slot, exit: Exit) {
    if matches!(slot.seen.state, SlotState::Starting { incarnation, .. } if incarnation == exit.incarnation) {
        slot.seen.state = SlotState::Vacant;
    }
    slot.seen.exit = newer(slot.seen.exit.take(), Some(exit));
}

/// A start is on its way, or a shim was asked for one.
pub(super) fn starting(slot: &Slot) -> bool {
    matches!(slot.seen.state, SlotState::Starting { .. })
}

/// Remember since when a worker is idle: it runs and does not say that it is busy.
pub(super) fn mark_idle(slot: &mut Slot, now: Moment) {
    let idle = matches!(&slot.seen.state, SlotState::Running(run) if !run.busy) && slot.tasks == 0;
    slot.idle_since = slot.idle_since.or(Some(now)).filter(|_| idle);
}

/// Remember since when a worker is ready: what is ready by now became so since the last look, which each change brings.
pub(super) fn mark_ready(facts: &PoolFacts, slot: &mut Slot, now: Moment) {
    let ready = is_ready(facts, slot);
    slot.ready_since = slot.ready_since.or(Some(now)).filter(|_| ready);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_run_has_done_is_not_the_next_ones() {
        let mut slot = Slot { record: Record { incarnation: 2, tasks: 7, ..Record::default() }, ..Slot::default() };
        for (incarnation, tasks) in [(1, 7), (2, 7), (3, 0)] {
            let run = Run { incarnation, ..Run::default() };
            absorb(&mut slot, Seen { state: SlotState::Running(run), ..Seen::default() });
            assert_eq!(slot.record.tasks, tasks, "{incarnation}");
        }
    }

    #[test]
    fn a_start_that_fails_makes_nothing_vacant_but_itself() {
        let starting = |incarnation| SlotState::Starting { incarnation, since: Moment(0) };
        let lost = SlotState::Lost { since: Moment(0) };
        let older = SlotState::Running(Run { incarnation: 1, ..Run::default() });
        for (before, after) in
            [(starting(2), SlotState::Vacant), (starting(3), starting(3)), (lost.clone(), lost), (older.clone(), older)]
        {
            let mut slot = Slot { seen: Seen { state: before, ..Seen::default() }, ..Slot::default() };
            failed(&mut slot, Exit { incarnation: 2, reason: ExitReason::StartError, ..Exit::default() });
            assert_eq!((slot.seen.state, ended(&slot.seen.exit)), (after, 2));
        }
    }

    #[test]
    fn an_end_that_was_seen_has_its_moment() {
        let mut slot = Slot::default();
        let run = Run { incarnation: 2, started: Moment(1000), ..Run::default() };
        absorb(&mut slot, Seen { state: SlotState::Running(run), ..Seen::default() });
        let exit = |incarnation| Some(Exit { incarnation, ran_ms: 70, ..Exit::default() });
        let ended = |slot: &Slot| slot.seen.exit.as_ref().and_then(|exit| exit.ended);
        for _told_again in 0..2 {
            absorb(&mut slot, Seen { state: SlotState::Vacant, shim: None, exit: exit(2) });
            assert_eq!(ended(&slot), Some(Moment(1070)));
        }
        absorb(&mut slot, Seen { state: SlotState::Vacant, shim: None, exit: exit(3) });
        assert_eq!(ended(&slot), None, "nobody saw that run");
    }
}
