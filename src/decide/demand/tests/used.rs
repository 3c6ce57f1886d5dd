//! A pool that follows how much its workers use: the arithmetic against HPA's, and when there is a number at all.
//!
//! The number itself is measured elsewhere; here it is given.

use super::situations::told;
use super::*;
use crate::model::source::UsageSource;
use crate::model::worker::{Run, Seen, SlotState};

/// One trigger `t`: the percent of CPU that each worker is to use.
fn follows(target: f64, min: u32, max: u32) -> Scale {
    let source = Source { cpu: Some(UsageSource {}), ..Source::default() };
    Scale { triggers: vec![Trigger { source, ..per_worker("t", target) }], ..free(min, max) }
}

/// So many workers run from now on.
fn run(world: &mut World, count: u32) {
    let slot = || {
        let state = SlotState::Running(Run { incarnation: 1, ..Run::default() });
        Slot { seen: Seen { state, ..Seen::default() }, ..Slot::default() }
    };
    world.slots = (0..count).map(|n| (format!("p-{n}"), slot())).collect();
}

/// Each of the controller's own known results for resource metrics (`replica_calculator_test.go`), as percent of those pods
/// that have metrics; a pod that is not ready or without metrics is a worker that does not run.
#[test]
fn the_size_is_that_of_hpa() {
    let cases = [
        ("ScaleUp", 3, 3, 50.0, 30.0, 5),
        ("ScaleUpUnreadyLessScale", 3, 2, 60.0, 30.0, 4),
        ("ScaleUpUnreadyNoScale", 3, 1, 40.0, 30.0, 3),
        ("ScaleDown", 5, 5, 28.0, 50.0, 3),
        ("Tolerance", 3, 3, 102.0, 100.0, 3),
        ("MissingMetricsNoChangeEq", 2, 1, 100.0, 100.0, 2),
        ("MissingMetricsNoChangeGt", 2, 1, 190.0, 100.0, 2),
        ("MissingMetricsNoChangeLt", 2, 1, 60.0, 100.0, 2),
        ("SuperfluousMetrics", 4, 5, 130.0, 100.0, 7),
        // The tolerance is 10 %, its ends included.
        ("tolerance, above", 10, 10, 66.0, 60.0, 10),
        ("tolerance, beyond", 10, 10, 66.1, 60.0, 12),
        ("tolerance, below", 10, 10, 54.0, 60.0, 10),
        ("tolerance, beyond below", 10, 10, 53.9, 60.0, 9),
        // Where HPA does not go: to none, whose use nobody could measure.
        ("nothing used", 4, 4, 0.0, 60.0, 1),
        ("no worker runs", 4, 0, 90.0, 60.0, 4),
        ("no worker wanted", 0, 1, 90.0, 60.0, 0),
    ];
    for (name, wanted, running, value, target, expected) in cases {
        let scale = follows(target, 1, 100);
        let asked = rules::once(&scale.triggers[0], value, Size { wanted, running, newest: None });
        assert_eq!(asked, Some(expected), "{name}");
    }
}

#[test]
fn a_number_is_acted_on_once_and_explained() {
    let mut world = World::new(follows(60.0, 1, 10)).sized(2);
    run(&mut world, 2);
    world.turn();
    let first = told(&mut world, 90.0);
    assert_eq!(first.wanted, 3);
    let says = &first.why.as_ref().expect("explained").signals[0].says;
    assert_eq!(says, "90 % used at 60 % for each worker: 3 (90)");
    run(&mut world, 3);
    for _look in 0..5 {
        world.pass(Span::secs(1));
        assert_eq!(world.turn().wanted, 3, "the same number says nothing of the new size");
    }
    assert_eq!(told(&mut world, 90.0).wanted, 5);
    assert_eq!(told(&mut world, 20.0).wanted, 5, "three of five run: the others count as fully at work");
    run(&mut world, 5);
    assert_eq!(told(&mut world, 20.0).wanted, 2);
}

#[test]
fn where_no_worker_runs_nothing_is_asked_and_nothing_known() {
    let mut world = World::new(follows(60.0, 1, 10)).sized(2);
    let demand = world.turn();
    assert_eq!((demand.questions.len(), demand.wanted), (0, 2));
    let signal = demand.why.expect("explained").signals.remove(0);
    assert_eq!((signal.state, signal.error), (SignalState::Unknown, None));
    assert_eq!(signal.says, "no worker runs, so there is nothing to measure, and the size is held");
    run(&mut world, 1);
    assert_eq!(world.turn().questions.len(), 1, "asked as soon as there is something to measure");
    assert_eq!(told(&mut world, 60.0).wanted, 2);
    run(&mut world, 0);
    let demand = world.turn();
    assert_eq!(
        demand.why.expect("explained").signals[0].state,
        SignalState::Unknown,
        "an old number is of workers that are gone"
    );
    assert_eq!(demand.wanted, 2);
}

#[test]
fn what_cannot_be_measured_lowers_nothing() {
    let mut world = World::new(follows(60.0, 1, 10)).sized(4);
    run(&mut world, 4);
    world.turn();
    assert_eq!(told(&mut world, 60.0).wanted, 4);
    world.failure("t");
    let demand = world.turn();
    assert_eq!((demand.wanted, demand.why.expect("explained").signals[0].state), (4, SignalState::Stale));
}

#[test]
fn what_a_start_takes_raises_nothing() {
    let started = |world: &mut World, worker: &str, at: Moment| {
        let state = SlotState::Running(Run { incarnation: 1, started: at, ..Run::default() });
        world.slots.entry(worker.into()).or_default().seen.state = state;
    };
    let mut world = World::new(follows(60.0, 1, 10)).sized(2);
    run(&mut world, 2);
    world.turn();
    assert_eq!(told(&mut world, 60.0).wanted, 2);
    let now = world.now.mono;
    started(&mut world, "p-1", now.after(Span(1)));
    world.pass(Span::secs(30));
    let says = |demand: Demand| demand.why.expect("explained").signals.remove(0).says;
    let held = told(&mut world, 90.0);
    assert_eq!(held.wanted, 2, "one was started after the look before");
    let why = "90 % used at 60 % for each worker: 2 (90); 3 are not asked for while workers are starting: what a start takes is no load";
    assert_eq!(says(held), why);
    let raised = told(&mut world, 90.0);
    assert_eq!(raised.wanted, 3, "and before this one");
    assert_eq!(says(raised), "90 % used at 60 % for each worker: 3 (90)");
    let starting = SlotState::Starting { incarnation: 1, since: Moment(0) };
    world.slots.entry("p-2".into()).or_default().seen.state = starting;
    assert_eq!(told(&mut world, 190.0).wanted, 3, "one is being started");
    started(&mut world, "p-2", Moment(0));
    assert_eq!(told(&mut world, 90.0).wanted, 5);
    let notify = Some(crate::model::template::NotifyProbe {});
    let probe = crate::model::template::Probe { notify, ..crate::model::template::Probe::default() };
    world.facts.spec.template.readiness_probe = Some(probe);
    assert_eq!(told(&mut world, 190.0).wanted, 5, "none is ready");
}

/// What stands in a queue brings a pool back to nothing, where the use of its workers can ask for no less than one of them.
#[test]
fn a_pool_that_may_have_no_worker_gets_there_beside_what_its_workers_use() {
    for (min, asked, expected) in [(0, 0.0, 0), (1, 0.0, 1), (0, 2.0, 2)] {
        let mut scale = follows(60.0, min, 10);
        scale.triggers.push(exact("queue"));
        let mut world = World::new(scale).sized(1);
        run(&mut world, 1);
        world.turn();
        world.number("queue", asked);
        world.number("t", 1.0);
        assert_eq!(world.turn().wanted, expected, "{min} {asked}");
    }
    let mut scale = follows(60.0, 0, 10);
    scale.triggers.push(exact("queue"));
    let mut world = World::new(scale).sized(1);
    run(&mut world, 1);
    world.turn();
    world.number("t", 1.0);
    assert_eq!(world.turn().wanted, 1, "what waits is not known");
}
