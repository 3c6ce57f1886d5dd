//! What silence means: of a worker that could be heard, and of one that nobody could hear.
//! Watchdogs, startup notices and stalls are each looked at just before and just after their time.

use super::*;
use crate::model::template::{NotifyProbe, Stall};
use crate::model::time::Wall;
use crate::model::worker::Seen;

/// Why a worker with this template is to be restarted then, that could be heard since another moment.
fn condemned(template: &Template, run: &Run, since: u64, now: u64) -> Option<String> {
    let mut pool = PoolFacts::orphan("p");
    pool.spec.template = template.clone();
    let now = Now { mono: Moment(now), wall: Wall(0) };
    let run = Run { incarnation: 1, template: pool.template.clone(), refreshed: Some(now.mono), ..run.clone() };
    let seen = Seen { state: SlotState::Running(run.clone()), ..Seen::default() };
    let slot = Slot { seen, heard_since: Moment(since), ..Slot::default() };
    check(&pool, "p-0", (&slot, &run), now).condemned
}

#[test]
fn a_silence_that_nobody_could_hear_is_none() {
    let notify = Probe { notify: Some(NotifyProbe {}), period: Span::secs(10), failure_threshold: 3, ..Probe::default() };
    let watched = Template { liveness_probe: Some(notify.clone()), ..Template::default() };
    let begins = Template { startup_probe: Some(notify), ..Template::default() };
    let stall = Some(Stall { after: Span::secs(30), action: StallAction::Restart });
    let stalls = Template { stall, ..Template::default() };
    // All three were last heard of after 5 s, and may be silent for 30 s.
    let last = Some(Moment(5000));
    let run = Run { watchdog: last, output: last, cpu_at: last, ..Run::default() };
    let fresh = Run { started: Moment(5000), ..Run::default() };
    for (template, run) in [(&watched, &run), (&begins, &fresh), (&stalls, &run)] {
        let so = |since, now| condemned(template, run, since, now).is_some();
        assert_eq!([so(0, 34_999), so(0, 35_000)], [false, true], "it was silent: {template:?}");
        assert_eq!([so(95_000, 95_000), so(95_000, 124_999)], [false, false], "the daemon slept: {template:?}");
        assert!(so(95_000, 125_000), "it was silent since then: {template:?}");
    }
}

/// A worker that writes nothing is looked at as it is asked for, with this much CPU used by then; when it is restarted.
fn restarted(used: impl Fn(u64) -> u64) -> u64 {
    let mut pool = PoolFacts::orphan("p");
    pool.spec.template.stall = Some(Stall { after: Span::secs(40), action: StallAction::Restart });
    let (mut run, mut known, mut at) = (Run { incarnation: 1, template: pool.template.clone(), ..Run::default() }, 0, 0);
    loop {
        let seen = Seen { state: SlotState::Running(run.clone()), ..Seen::default() };
        let slot = Slot { seen, ..Slot::default() };
        let said = check(&pool, "p-0", (&slot, &run), Now { mono: Moment(at), wall: Wall(0) });
        if said.condemned.is_some() {
            return at / 1000;
        }
        if said.actions.is_empty() {
            at = said.wake.expect("it is looked at again").0;
            continue;
        }
        run.refreshed = Some(Moment(at));
        if used(at) > known + 10 {
            (run.cpu_at, known) = (Some(Moment(at)), used(at));
        }
    }
}

#[test]
fn what_a_start_used_does_not_double_the_time() {
    assert_eq!(restarted(|_| 0), 40);
    assert_eq!(restarted(|_| 300), 50, "it was used in the first quarter");
    assert_eq!(restarted(|at| at.min(25_000)), 70, "until 25 s, which is seen at 30 s");
}
