//! Who is replaced after an edit, and how ends are told: a run is judged by what it was started from, not by what its pool
//! says by now.

use std::sync::Arc;

use super::*;
use crate::model::plan::{Health, ProbeKind, ProbeState};
use crate::model::queue::{Delivery, Queue};
use crate::model::template::{Exec, NotifyProbe, Probe, Stall, StallAction};
use crate::model::time::Moment;
use crate::model::worker::{Exit, Seen};

const NOW: Now = Now { mono: Moment(1_000_000), wall: Wall(1_700_000_000_000) };

fn exec() -> Probe {
    Probe { exec: Some(Exec { command: vec!["true".into()] }), ..Probe::default() }
}

fn facts(template: &str, change: impl FnOnce(&mut PoolFacts)) -> PoolFacts {
    let mut facts = PoolFacts { template: template.into(), ..PoolFacts::orphan("p") };
    facts.ending = None;
    facts.spec.update_strategy.max_unavailable = 1;
    change(&mut facts);
    facts
}

/// A run of that template, by whichever daemon.
fn running(template: &str, made_from: Option<&PoolFacts>) -> Slot {
    let run = Run { incarnation: 1, pid: 7, template: template.into(), ..Run::default() };
    Slot {
        seen: Seen { state: SlotState::Running(run), ..Seen::default() },
        record: Record { incarnation: 1, template: template.into(), ..Record::default() },
        health: Health { incarnation: 1, ..Health::default() },
        made_from: made_from.map(|facts| Arc::new(facts.clone())),
        known_run: u64::from(made_from.is_some()),
        ..Slot::default()
    }
}

fn stopped(pool: &PoolFacts, slots: Vec<Slot>) -> Vec<Why> {
    let wanted = slots.len();
    let slots: BTreeMap<String, Slot> = slots.into_iter().enumerate().map(|(n, slot)| (format!("p-{n}"), slot)).collect();
    let names = Assignment { wanted, ceiling: wanted, keep: slots.keys().cloned().collect(), ..Assignment::default() };
    replacements(pool, &slots, &names, NOW).stop.into_iter().map(|(_, why)| why).collect()
}

/// A run that began so long ago, of a slot that failed so often in a row.
fn begun(template: &str, ago: Span, failures: u32) -> Slot {
    let mut slot = running(template, None);
    if let SlotState::Running(run) = &mut slot.seen.state {
        run.started = Moment(NOW.mono.0 - ago.0);
    }
    slot.record.failures = failures;
    slot
}

/// Who is replaced in a pool of three of which one runs the new template.
fn beside(pool: &PoolFacts, new: Slot, old: impl Fn() -> Slot) -> (Replacements, Vec<String>) {
    let slots = [old(), old(), new].into_iter().enumerate().map(|(n, slot)| (format!("p-{n}"), slot));
    let slots: BTreeMap<String, Slot> = slots.collect();
    let keep = slots.iter().filter(|(_, slot)| live(slot)).map(|(name, _)| name.clone()).collect();
    let names = Assignment { wanted: 3, ceiling: 3, keep, ..Assignment::default() };
    let out = replacements(pool, &slots, &names, NOW);
    let stop = out.stop.iter().map(|(name, _)| name.clone()).collect();
    (out, stop)
}

#[test]
fn the_next_one_is_replaced_when_the_one_before_has_lasted() {
    let pool = facts("new", |_| {});
    let old = || running("old", None);
    let crashed = || Slot { record: Record { failures: 1, template: "new".into(), ..Record::default() }, ..Slot::default() };
    let vacant = Slot { seen: Seen { state: SlotState::Vacant, ..Seen::default() }, ..crashed() };
    assert_eq!(beside(&pool, vacant, old).1, Vec::<String>::new(), "while it waits for its next start");
    for (ms, failures, lasts_ms) in [(0, 0, 1000), (999, 0, 1000), (1000, 1, 2000), (3999, 2, 4000), (500_000, 70, 600_000)] {
        let (out, stop) = beside(&pool, begun("new", Span(ms), failures), old);
        assert_eq!(stop, Vec::<String>::new(), "{ms} {failures}");
        assert_eq!(out.wakes, [NOW.mono.after(Span(lasts_ms - ms))], "{ms} {failures}");
        let fresh = out.fresh.clone().expect("it is waited for");
        assert!(fresh.starts_with(&format!("p-2 to stay ready for {} (updateStrategy.minReady", Span(lasts_ms))), "{fresh}");
        assert_eq!(fresh.contains("1s, doubled with each failure"), failures > 0, "{fresh}");
        let waits = out.waits(&pool.spec.update_strategy);
        assert_eq!(waits, ["2 workers to be replaced: at most 1 may be unavailable", fresh.as_str()]);
        let (out, stop) = beside(&pool, begun("new", Span(lasts_ms), failures), old);
        assert_eq!((stop, out.fresh), (vec!["p-0".to_owned()], None), "{ms} {failures}");
    }
    let at_once = facts("new", |facts| facts.spec.update_strategy.min_ready = Span(0));
    assert_eq!(beside(&at_once, begun("new", Span(0), 9), old).1, ["p-0"]);
}

#[test]
fn with_a_readiness_probe_it_lasts_from_when_that_passed() {
    let pool = facts("new", |facts| facts.spec.template.readiness_probe = Some(exec()));
    for (passed_ms, stops) in [(200, 0), (1000, 1)] {
        let mut new = begun("new", Span::secs(60), 0);
        (new.made_from, new.known_run) = (Some(Arc::new(pool.clone())), 1);
        new.ready_since = Some(Moment(NOW.mono.0 - passed_ms));
        new.health.probes.insert(ProbeKind::Readiness, ProbeState { passing: true, ..ProbeState::default() });
        assert_eq!(beside(&pool, new, || running("old", None)).1.len(), stops, "{passed_ms}");
    }
}

#[test]
fn what_has_not_lasted_yet_is_replaced_before_what_has() {
    let pool = facts("newest", |_| {});
    let (out, stop) = beside(&pool, begun("new", Span(300), 1), || running("old", None));
    assert_eq!((stop, out.fresh), (vec!["p-2".to_owned()], None), "the others run on until the newest has lasted");
    let worn = facts("newest", |facts| {
        facts.spec.template.recycle = Some(crate::model::template::Recycle {
            max_lifetime: Some(Span(100)),
            max_tasks: None,
            max_memory: None,
            jitter: crate::model::quantity::Percent(0),
        });
    });
    let fresh = || begun("newest", Span(300), 0);
    assert_eq!(beside(&worn, fresh(), fresh).1, ["p-0"], "what follows a worn out one has proved itself");
    let (_, stop) = beside(&pool, begun("newest", Span(300), 0), || begun("old", Span(300), 0));
    assert_eq!(stop, Vec::<String>::new(), "also in a pool that was just started");
    let (_, stop) = beside(&pool, begun("old", Span(300), 0), || begun("old", Span(300), 0));
    assert_eq!(stop, ["p-0"], "nor is an edit waited with");
}

#[test]
fn a_probe_that_an_edit_adds_makes_nobody_unready_who_was_started_before_it() {
    let old = facts("old", |_| {});
    let new = facts("new", |facts| facts.spec.template.readiness_probe = Some(exec()));
    for made_from in [Some(&old), None] {
        let slots = (0..4).map(|_| running("old", made_from)).collect();
        assert_eq!(stopped(&new, slots), [Why::Outdated], "one at a time");
    }
    let watched = facts("new", |facts| {
        facts.spec.update_strategy.kind = UpdateType::OnDelete;
        let notify = Some(NotifyProbe::default());
        facts.spec.template.liveness_probe = Some(Probe { notify, failure_threshold: 1, ..Probe::default() });
    });
    assert_eq!(stopped(&watched, vec![running("old", Some(&old))]), [], "nor unhealthy");
    assert_eq!(stopped(&watched, vec![running("new", Some(&watched))]), [Why::Condemned], "whoever should send it is");
}

#[test]
fn a_run_is_asked_its_own_probes_as_long_as_it_lives() {
    let old = facts("old", |facts| facts.spec.template.liveness_probe = Some(exec()));
    let new = facts("new", |facts| facts.spec.update_strategy.kind = UpdateType::OnDelete);
    let mut sick = running("old", Some(&old));
    sick.health.probes.insert(ProbeKind::Liveness, ProbeState { failures: 100, ..ProbeState::default() });
    assert_eq!(stopped(&new, vec![sick]), [Why::Condemned]);
}

#[test]
fn who_was_found_running_is_not_taken_for_unready_before_its_probes_were_asked() {
    let pool = facts("same", |facts| {
        facts.spec.template.readiness_probe = Some(exec());
        facts.spec.template.recycle = Some(crate::model::template::Recycle {
            max_lifetime: Some(Span::secs(1)),
            max_tasks: None,
            max_memory: None,
            jitter: crate::model::quantity::Percent(0),
        });
    });
    let slots = |answered: Option<Moment>| {
        let mut slot = running("same", None);
        let failures = if answered.is_some() { 100 } else { 0 };
        slot.health.probes.insert(ProbeKind::Readiness, ProbeState { answered, failures, ..ProbeState::default() });
        vec![slot.clone(), slot]
    };
    assert_eq!(stopped(&pool, slots(None)), []);
    assert_eq!(stopped(&pool, slots(Some(NOW.mono))).len(), 2, "those that said that they are not ready cost nothing");
}

#[test]
fn who_was_found_running_is_replaced_one_at_a_time_also_before_all_of_its_probes_have_told() {
    let old = facts("old", |facts| {
        facts.spec.template.startup_probe = Some(exec());
        facts.spec.template.readiness_probe = Some(Probe { failure_threshold: 2, ..exec() });
    });
    let new = facts("new", |_| {});
    let stops = |startup: ProbeState, readiness: ProbeState| {
        let mut slot = running("old", Some(&old));
        slot.known_run = 0;
        slot.health.probes.extend([(ProbeKind::Startup, startup), (ProbeKind::Readiness, readiness)]);
        stopped(&new, vec![slot.clone(), slot.clone(), slot]).len()
    };
    let passed = || ProbeState { passing: true, answered: Some(NOW.mono), ..ProbeState::default() };
    let failed = |failures| ProbeState { failures, answered: Some(NOW.mono), ..ProbeState::default() };
    assert_eq!(stops(ProbeState::default(), ProbeState::default()), 0);
    assert_eq!(stops(passed(), ProbeState::default()), 0, "the startup probe alone says nothing of readiness");
    assert_eq!(stops(passed(), failed(1)), 0, "nor does one answer of two");
    assert_eq!(stops(passed(), passed()), 1);
    assert_eq!(stops(passed(), failed(2)), 3, "those that are not ready cost nothing");
}

#[test]
fn a_new_template_does_not_wait_for_the_failures_of_the_old_one() {
    let pool = facts("new", |_| {});
    let later = NOW.mono.after(Span::secs(300));
    let waits = |template: &str| {
        let record = Record { template: template.into(), next_start: Some(later), failures: 9, ..Record::default() };
        Slot { seen: Seen { state: SlotState::Vacant, ..Seen::default() }, record, ..Slot::default() }
    };
    assert_eq!(may_start(&pool, Some(&waits("new")), NOW), MayStart::At(later));
    assert_eq!(may_start(&pool, Some(&waits("old")), NOW), MayStart::Now);
    assert_eq!(started(Some(&waits("old").record), 0, "new", NOW).failures, 0);
    assert_eq!(started(Some(&waits("new").record), 0, "new", NOW).failures, 9);
}

#[test]
fn a_fresh_slot_takes_no_word_of_the_one_before_for_its_own() {
    // The slot was forgotten after its second run, whose end may be told once more.
    let fresh = started(None, 2, "new", NOW);
    assert_eq!((fresh.incarnation, fresh.recorded), (3, 2));
    let again = started(Some(&fresh), 7, "new", NOW);
    assert_eq!((again.incarnation, again.recorded), (4, 2), "the end of its own run is still to be told");
}

#[test]
fn who_is_drained_is_told_to_be() {
    let pool = facts("same", |_| {});
    let mut slot = running("same", None);
    slot.record.drain_asked = Some(1);
    assert_eq!(stopped(&pool, vec![slot]), [Why::Drained]);
}

#[test]
fn who_was_not_started_for_a_task_leaves_its_place_to_tasks() {
    let pool = facts("same", |facts| facts.spec.queue = Some(Queue::default()));
    let slot = |for_task: Option<bool>, busy: bool| {
        let mut slot = running("same", None);
        slot.record.for_task = for_task;
        if let SlotState::Running(run) = &mut slot.seen.state {
            run.busy = busy;
        }
        vec![slot]
    };
    assert_eq!(stopped(&pool, slot(Some(false), false)), [Why::NoTask]);
    assert_eq!(stopped(&pool, slot(Some(false), true)), [], "it is at work");
    assert_eq!(stopped(&pool, slot(Some(true), false)), []);
    assert_eq!(stopped(&pool, slot(None, false)), [], "an older weir started it, and did not say");
}

#[test]
fn what_a_worker_failed_of_holds_up_no_task() {
    let failed = |for_task| Slot {
        seen: Seen { state: SlotState::Vacant, ..Seen::default() },
        record: Record {
            failures: 3,
            next_start: Some(NOW.mono.after(Span::secs(300))),
            template: "same".into(),
            for_task,
            ..Record::default()
        },
        ..Slot::default()
    };
    let of_tasks = facts("same", |facts| facts.spec.queue = Some(Queue::default()));
    let of_workers = facts("same", |_| {});
    for (pool, for_task, free) in [
        (&of_tasks, Some(false), true),
        (&of_tasks, Some(true), false),
        (&of_tasks, None, false),
        (&of_workers, Some(false), false),
    ] {
        let slots = BTreeMap::from([("p-0".to_owned(), failed(for_task))]);
        let (line, queues) = Default::default();
        let plan = crate::decide::seen((pool, &slots), (&line, &queues), |observation| crate::decide::pool(observation, NOW));
        let kept = plan.records.get("p-0").map(|record| (record.failures, record.next_start));
        assert_eq!(kept, free.then_some((0, None)), "{for_task:?}");
        let looping = plan.status.conditions.iter().find(|said| said.kind == "CrashLoop").map(|said| said.status);
        assert_eq!(looping == Some(crate::model::status::Truth::True), !free, "{for_task:?}: what is shown is so too");
    }
}

#[test]
fn an_end_is_one_of_a_task_where_the_run_was_for_one() {
    let with = facts("same", |facts| facts.spec.queue = Some(Queue::default()));
    let without = facts("same", |_| {});
    let all = [(&with, true, false), (&with, false, true), (&without, true, false), (&without, false, true)];
    for ((pool, for_task, told), code) in all.into_iter().flat_map(|case| [1, 126, 127].map(|code| (case, code))) {
        let exit = Exit { incarnation: 1, code: Some(code), reason: crate::model::worker::ExitReason::Error, ..Exit::default() };
        let mut slot = running("same", None);
        (slot.record.for_task, slot.seen.exit) = (Some(for_task), Some(exit));
        let (record, happening) = crate::decide::exit(pool, "p-0", &slot, NOW).expect("it is new");
        assert_eq!((record.failures, happening.is_some()), (u32::from(told), told), "{for_task} {code}");
        assert_eq!(record.next_start.is_some(), told && code > 1, "{for_task} {code}: a task's own code holds up no other task");
    }
}

#[test]
fn the_end_of_the_grace_is_looked_at_without_anything_else_happening() {
    let mut template = Template { termination_grace_period: Span::secs(7), ..Template::default() };
    let run = Run { incarnation: 1, ..Run::default() };
    let over = Some(NOW.mono.after(Span::secs(7)));
    assert_eq!(begin_stop("p-0", &run, None, &template, NOW).wake, over);
    template.pre_stop = Some(crate::model::template::PreStop { exec: Exec { command: vec!["x".into()] } });
    let done = PreStopState { incarnation: 1, since: NOW.mono, done: true };
    let step = begin_stop("p-0", &run, Some(done), &template, NOW);
    assert!(matches!(step.action, Some(Action::Signal { .. })));
    assert_eq!(step.wake, over);
}

#[test]
fn a_run_is_ended_by_what_it_was_started_from() {
    let old = facts("old", |facts| facts.spec.template.termination_grace_period = Span::secs(20));
    let new = facts("new", |facts| facts.spec.template.termination_grace_period = Span::secs(1));
    let grace = |slot: &Slot| health::ended_by(&new, slot).spec.template.termination_grace_period;
    assert_eq!(grace(&running("old", Some(&old))), Span::secs(20));
    assert_eq!(grace(&running("old", None)), Span::secs(1), "nobody knows what it was");
    assert_eq!(grace(&running("new", Some(&new))), Span::secs(1));
}

#[test]
fn whoever_has_a_name_that_is_not_given_any_more_is_replaced() {
    let pool = facts("same", |facts| facts.spec.worker_names = vec!["alpha".into(), "charlie".into()]);
    let slots: BTreeMap<String, Slot> =
        ["p-alpha", "p-bravo", "p-0"].map(|name| (name.to_owned(), running("same", Some(&pool)))).into_iter().collect();
    let mut names = Assignment { wanted: 3, ceiling: 3, keep: slots.keys().cloned().collect(), ..Assignment::default() };
    let stop = |names: &Assignment| replacements(&pool, &slots, names, NOW).stop;
    assert_eq!(stop(&names).len(), 1, "one at a time");
    names.wanted = 1;
    let going: Vec<(String, Why)> = ["p-0", "p-bravo"].map(|name| (name.to_owned(), Why::Renamed)).into_iter().collect();
    assert_eq!(stop(&names), going);
}

#[test]
fn a_worker_that_takes_its_tasks_is_drained_before_it_is_replaced_and_when_there_are_too_many() {
    let lease = |facts: &mut PoolFacts| facts.spec.queue = Some(Queue { delivery: Delivery::Lease, ..Queue::default() });
    let (old, new) = (facts("old", lease), facts("new", lease));
    let with_task = |template: &str| Slot { tasks: 1, ..running(template, Some(&old)) };
    let slots = BTreeMap::from([("p-0".to_owned(), with_task("old")), ("p-1".to_owned(), with_task("old"))]);
    let mut names = Assignment { wanted: 2, ceiling: 2, keep: slots.keys().cloned().collect(), ..Assignment::default() };
    let replaced = replacements(&new, &slots, &names, NOW);
    assert_eq!((replaced.stop.len(), replaced.retiring.len()), (0, 1), "within maxUnavailable: {replaced:?}");
    assert_eq!(too_busy(&new, &slots, &names), Vec::<String>::new());
    names.going.busy = 1;
    assert_eq!(too_busy(&new, &slots, &names), ["p-1"], "the last one takes no more");
}

#[test]
fn nobody_is_replaced_while_nobody_could_be_started() {
    let stop = vec![("p-0".into(), Why::Outdated), ("p-1".into(), Why::Condemned)];
    let mut replaced = Replacements { stop, ..Replacements::default() };
    replaced.hold("the quota tokens has 5 left");
    assert_eq!(replaced.stop, [("p-1".to_owned(), Why::Condemned)]);
    assert_eq!(replaced.waiting_on, ["1 worker to be replaced: the quota tokens has 5 left"]);
    // What blocks all of them is told, and not that they would have to wait for each other.
    let stop = vec![("p-0".into(), Why::Outdated)];
    let mut replaced = Replacements { stop, held: 2, ..Replacements::default() };
    let strategy = facts("new", |_| {}).spec.update_strategy;
    assert_eq!(replaced.waits(&strategy), ["2 workers to be replaced: at most 1 may be unavailable"]);
    replaced.hold("the quota tokens has 5 left");
    assert_eq!(replaced.waits(&strategy), ["3 workers to be replaced: the quota tokens has 5 left"]);
}

#[test]
fn a_job_that_has_ended_is_run_again_with_another_template() {
    let pool = facts("new", |facts| facts.spec.template.restart_policy = crate::model::template::RestartPolicy::Never);
    let ended = |template: &str| Record { template: template.into(), last_exit: Some(Exit::default()), ..Record::default() };
    assert!(done(&pool, &ended("new")) && !done(&pool, &ended("old")));
}

#[test]
fn a_start_that_nothing_is_heard_of_is_asked_after_again_and_again() {
    let ago = |secs: u64| Moment(NOW.mono.0 - secs * 1000);
    let look = Some(Action::Look { worker: "p-0".into(), incarnation: 3 });
    for (since, looked, action, wake) in
        [(29, None, None, 1), (30, None, look.clone(), 30), (45, Some(15), None, 15), (99, Some(30), look, 30)]
    {
        let state = SlotState::Starting { incarnation: 3, since: ago(since) };
        let slot = Slot { seen: Seen { state, ..Seen::default() }, looked: looked.map(ago), ..Slot::default() };
        let wake = Some(Moment(NOW.mono.0 + wake * 1000));
        assert_eq!(beginning("p-0", &slot, NOW), Step { action, wake, begins: false }, "{since} {looked:?}");
    }
    assert_eq!(beginning("p-0", &running("new", None), NOW), Step::default());
}

#[test]
fn whoever_waits_to_be_given_a_task_is_not_stalled() {
    let stall = |facts: &mut PoolFacts| {
        facts.spec.template.stall = Some(Stall { after: Span::secs(60), action: StallAction::Restart });
    };
    let lease = facts("same", |facts| {
        stall(facts);
        facts.spec.queue = Some(Queue { delivery: Delivery::Lease, ..Queue::default() });
    });
    // Nothing was heard of it since it was started, and just now it was looked at.
    let silent = |tasks, pool: &PoolFacts| {
        let mut slot = Slot { tasks, ..running("same", Some(pool)) };
        let SlotState::Running(run) = &mut slot.seen.state else { panic!() };
        run.refreshed = Some(NOW.mono);
        slot
    };
    let ends = |tasks, pool: &PoolFacts| stopped(pool, vec![silent(tasks, pool)]);
    assert_eq!(ends(0, &lease), [], "it waits");
    assert_eq!(ends(1, &lease), [Why::Condemned], "it has a task, and does nothing");
    assert_eq!(ends(0, &facts("same", stall)), [Why::Condemned], "nobody gives it tasks");
    let given = Some(Moment(NOW.mono.0 - 59_000));
    assert_eq!(stopped(&lease, vec![Slot { given, ..silent(1, &lease) }]), [], "it has it for too short a time");
}

#[test]
fn who_is_ready_stays_when_there_are_too_many() {
    let probed = |facts: &mut PoolFacts| facts.spec.template.readiness_probe = Some(exec());
    let (old, new) = (facts("old", probed), facts("new", probed));
    let slot = |template: &str, from: &PoolFacts, ready: bool| {
        let mut slot = running(template, Some(from));
        slot.idle_since = Some(Moment(0));
        let state = ProbeState { answered: Some(NOW.mono), passing: ready, ..ProbeState::default() };
        slot.health.probes.insert(ProbeKind::Readiness, state);
        assert_eq!(is_ready(from, &slot), ready);
        slot
    };
    let going = |pool: &PoolFacts, slots: Vec<Slot>, wanted: u32| {
        let slots: BTreeMap<String, Slot> = slots.into_iter().enumerate().map(|(n, slot)| (format!("p-{n}"), slot)).collect();
        assign(pool, &slots, wanted, NOW).surplus
    };
    let half = |ready: [bool; 4]| ready.map(|ready| slot("new", &new, ready)).to_vec();
    assert_eq!(going(&new, half([false, false, true, true]), 2), ["p-0", "p-1"], "of a fixed pool");
    let scaled = facts("new", |facts| {
        probed(facts);
        facts.spec.scale = Some(Default::default());
    });
    assert_eq!(going(&scaled, half([true, true, false, false]), 2), ["p-3", "p-2"], "of one that scales");
    let rolling = [slot("old", &old, true), slot("old", &old, true), slot("new", &new, false), slot("new", &new, false)];
    assert_eq!(going(&new, rolling.to_vec(), 2), ["p-2", "p-3"], "in a roll whose new ones do not become ready");
}
