//! What an end means for the next start: back-off, crash-loop verdict, deterministic jitter.
//!
//! Pure arithmetic over a slot's record. The first restart after a healthy run is immediate; the back-off begins with the
//! second. An exec that fails is not retried faster than the back-off's maximum: a missing program does not come by itself.

use crate::model::plan::Record;
use crate::model::task::UNFIT_CODE;
use crate::model::template::{Backoff, RestartPolicy, Template};
use crate::model::time::{Moment, Now, Span};
use crate::model::worker::{Exit, ExitReason};

/// Ends in a row from which a worker counts as in a crash loop.
pub const CRASH_LOOP_FAILURES: u32 = 3;

/// The record of a slot after this end of its last run.
pub fn after_exit(record: &Record, exit: &Exit, template: &Template, now: Now) -> Record {
    let mut next = record.clone();
    next.recorded = exit.incarnation;
    next.last_exit = Some(exit.clone());
    next.restart_asked = record.restart_asked.filter(|asked| *asked > exit.incarnation);
    next.drain_asked = record.drain_asked.filter(|asked| *asked > exit.incarnation);
    next.failed_run = failed_run(record, exit);
    let condemned = next.condemned.take();
    let failed_by_us = condemned.is_some();
    // The signal that ended it says nothing; why it was sent is to be seen as long as the end is.
    if let (Some(last), Some(why)) = (&mut next.last_exit, condemned) {
        last.message.get_or_insert(why);
    }
    // What ended with its machine did not fail, and nobody knows how long it was well.
    if exit.reason == ExitReason::Rebooted || exit.asked && !failed_by_us {
        next.failures = 0;
        next.next_start = None;
        return next;
    }
    let healthy = exit.ran_ms >= template.backoff.reset_after.0;
    next.failures = if healthy { 1 } else { record.failures.saturating_add(1) };
    let delay = delay(&template.backoff, exit, &next);
    next.next_start = (delay.0 > 0).then(|| ended_at(exit, now).after(delay));
    next
}

/// The record of a slot whose run for a task has ended: an end of the task, none of the slot's.
pub fn after_task(record: &Record, exit: &Exit) -> Record {
    Record {
        recorded: exit.incarnation,
        last_exit: Some(exit.clone()),
        restart_asked: record.restart_asked.filter(|asked| *asked > exit.incarnation),
        drain_asked: record.drain_asked.filter(|asked| *asked > exit.incarnation),
        failed_run: failed_run(record, exit),
        condemned: None,
        failures: 0,
        next_start: None,
        ..record.clone()
    }
}

/// The last run that was ended by weir as failed, after this end.
fn failed_run(record: &Record, exit: &Exit) -> Option<u64> {
    if record.condemned.is_some() { Some(exit.incarnation) } else { record.failed_run }
}

/// The program itself cannot be run.
fn cannot_run(exit: &Exit) -> bool {
    (exit.reason == ExitReason::StartError && exit.code != Some(UNFIT_CODE)) || matches!(exit.code, Some(126 | 127))
}

/// Whether a worker that ended this way is to be started again.
pub fn again(policy: RestartPolicy, exit: &Exit) -> bool {
    match policy {
        RestartPolicy::Always => true,
        RestartPolicy::OnFailure => exit.reason != ExitReason::Completed,
        RestartPolicy::Never => false,
    }
}

/// In a crash loop: it failed often enough in a row, or cannot be run at all, which the first time shows.
pub fn crash_looping(record: &Record) -> bool {
    let hopeless = record.failures > 0 && record.last_exit.as_ref().is_some_and(cannot_run);
    record.failures >= CRASH_LOOP_FAILURES || hopeless
}

/// When the run ended, on the boot clock. An end while no daemon ran counts from then, not from when it was read. Where both
/// clocks know, the later moment counts: one that was set forward must not void a wait.
fn ended_at(exit: &Exit, now: Now) -> Moment {
    let ago = u64::try_from(now.wall.0.saturating_sub(exit.finished.0)).unwrap_or(0);
    let on_wall = Moment(now.mono.0.saturating_sub(ago));
    exit.ended.filter(|ended| *ended <= now.mono).map_or(on_wall, |ended| ended.max(on_wall))
}

fn delay(backoff: &Backoff, exit: &Exit, record: &Record) -> Span {
    if cannot_run(exit) {
        return backoff.max;
    }
    let Some(doublings) = record.failures.checked_sub(2) else { return Span(0) };
    let doubled = backoff.initial.0.saturating_mul(1u64.checked_shl(doublings).unwrap_or(u64::MAX).max(1));
    let capped = if doublings >= 63 { backoff.max.0 } else { doubled.min(backoff.max.0) };
    jittered(Span(capped), record.created.0 as u64 ^ exit.incarnation)
}

/// `span` changed by up to ±20 %, the same for the same `seed`: retries spread, and a replay repeats them.
pub fn jittered(span: Span, seed: u64) -> Span {
    // SplitMix64's finalizer: spreads neighbouring seeds over the whole range.
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let percent = 80 + (z ^ (z >> 31)) % 41;
    Span(span.0.saturating_mul(percent) / 100)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Wall;

    fn template() -> Template {
        Template { command: vec!["x".into()], ..Template::default() }
    }

    fn crash(incarnation: u64, ran_ms: u64) -> Exit {
        Exit { incarnation, reason: ExitReason::Error, code: Some(1), ran_ms, finished: Wall(1_000_000), ..Exit::default() }
    }

    fn now() -> Now {
        Now { mono: Moment(500_000), wall: Wall(1_000_000) }
    }

    fn waits(failures: u32, exit: &Exit) -> u64 {
        let record = Record { failures, ..Record::default() };
        after_exit(&record, exit, &template(), now()).next_start.map_or(0, |at| at.0 - 500_000)
    }

    #[test]
    fn the_first_restart_is_immediate_and_the_back_off_begins_with_the_second() {
        assert_eq!(waits(0, &crash(1, 10)), 0);
        for (failures, nominal) in [(1, 1000), (2, 2000), (3, 4000), (7, 64_000), (9, 256_000), (10, 300_000), (200, 300_000)] {
            let wait = waits(failures, &crash(1, 10));
            assert!(wait >= nominal * 8 / 10 && wait <= nominal * 12 / 10, "{failures}: {wait}");
        }
    }

    #[test]
    fn a_healthy_run_resets_and_an_asked_end_is_no_failure() {
        assert_eq!(waits(9, &crash(1, 600_000)), 0);
        let asked = Exit { asked: true, ..crash(1, 10) };
        let record = after_exit(&Record { failures: 5, ..Record::default() }, &asked, &template(), now());
        assert_eq!((record.failures, record.next_start), (0, None));
    }

    #[test]
    fn a_condemned_run_counts_as_failed_though_weir_ended_it() {
        let record = Record { failures: 1, condemned: Some("liveness".into()), ..Record::default() };
        let record = after_exit(&record, &Exit { asked: true, ..crash(1, 10) }, &template(), now());
        assert_eq!((record.failures, record.condemned.is_none()), (2, true));
    }

    #[test]
    fn what_ended_with_its_machine_is_no_failure_and_is_started_again() {
        let exit = Exit { reason: ExitReason::Rebooted, code: None, ..crash(1, 0) };
        let record = after_exit(&Record { failures: 7, ..Record::default() }, &exit, &template(), now());
        assert_eq!((record.failures, record.next_start), (0, None));
        assert!(again(RestartPolicy::OnFailure, &exit) && !again(RestartPolicy::Never, &exit));
    }

    #[test]
    fn what_cannot_be_executed_waits_the_maximum() {
        let exec = Exit { reason: ExitReason::StartError, ..crash(1, 0) };
        assert_eq!(waits(0, &exec), 300_000);
        assert_eq!(waits(0, &Exit { code: Some(127), ..crash(1, 5) }), 300_000);
    }

    #[test]
    fn an_end_while_nobody_watched_counts_from_when_it_was() {
        let exit = Exit { finished: Wall(1_000_000 - 60_000), ..crash(1, 10) };
        let record = after_exit(&Record { failures: 1, ..Record::default() }, &exit, &template(), now());
        assert!(record.next_start.is_some_and(|at| at < Moment(500_000)), "the wait is over already");
    }

    #[test]
    fn a_clock_that_was_set_does_not_void_a_wait() {
        let record = Record { failures: 1, ..Record::default() };
        let start = |finished, ended| {
            let exit = Exit { finished: Wall(finished), ended, ..crash(1, 10) };
            after_exit(&record, &exit, &template(), now()).next_start.expect("a back-off")
        };
        let real = start(1_000_000, Some(Moment(500_000)));
        assert_eq!(start(1_000_000 - 3_600_000, Some(Moment(500_000))), real, "set forward between the end and now");
        assert_eq!(start(1_000_000 + 3_600_000, Some(Moment(500_000))), real, "set back");
        assert_eq!(start(1_000_000 - 100, Some(Moment(499_900))).0, real.0 - 100, "both clocks agree");
        assert_eq!(start(1_000_000 - 100, Some(Moment(900_000))).0, real.0 - 100, "a moment of another boot says nothing");
    }

    #[test]
    fn jitter_spreads_and_repeats() {
        let all: std::collections::BTreeSet<u64> = (0..1000).map(|seed| jittered(Span(100), seed).0).collect();
        assert_eq!((all.first(), all.last()), (Some(&80), Some(&120)));
        assert_eq!(jittered(Span(1000), 7), jittered(Span(1000), 7));
    }
}
