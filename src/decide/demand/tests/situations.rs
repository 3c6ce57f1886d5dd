//! Scripts of what is decided and what `explain` says of it: the size, the clamps in their order, the state of each signal,
//! and when the size can change next. Times are seconds since the script began.

use super::victims::worker;
use super::*;
use crate::model::scale::{Quota, ScaleSchedule};

use SignalState::{Fresh, Stale, Unknown};

/// One trigger `t` that answers the size.
pub(super) fn sizes(min: u32, max: u32) -> Scale {
    Scale { triggers: vec![exact("t")], ..free(min, max) }
}

/// A pool of this size whose sources were asked a moment ago.
pub(super) fn begun(scale: Scale, size: u32) -> World {
    let mut world = World::new(scale).sized(size);
    world.turn();
    world
}

/// The trigger `t` answers, and the pool is looked at.
pub(super) fn told(world: &mut World, value: f64) -> Demand {
    world.number("t", value);
    world.turn()
}

/// The trigger `t` goes on answering the same until so many seconds are over.
fn steady(world: &mut World, value: f64, secs: u64) {
    let end = world.now.mono.after(Span::secs(secs));
    while world.now.mono < end {
        world.pass(Span::secs(10).min(end.since(world.now.mono)));
        told(world, value);
    }
}

/// What is to be said.
fn is(demand: &Demand, size: u32, clamps: &[&str], states: &[SignalState], next: Option<u64>) {
    let why = demand.why.as_ref().expect("a scaled pool is explained");
    let names: Vec<&str> = why.clamps.iter().map(|clamp| clamp.name.as_str()).collect();
    let seen: Vec<SignalState> = why.signals.iter().map(|signal| signal.state).collect();
    let at = why.next_change.map(|wall| u64::try_from(wall.0 - start().wall.0).expect("to come") / 1000);
    assert_eq!((demand.wanted, names.as_slice(), seen.as_slice(), at), (size, clamps, states, next), "{why:?}");
    assert_eq!((why.wanted, why.clamps.last().map_or(size, |clamp| clamp.to)), (size, size), "{why:?}");
}

/// When it is looked at again, in seconds since the script began.
fn wakes(demand: &Demand) -> Option<u64> {
    demand.wake.map(|at| at.since(start().mono).0 / 1000)
}

#[test]
fn a_cooldown_upwards() {
    let mut scale = sizes(1, 10);
    scale.behavior.scale_up.cooldown = Span::secs(60);
    let mut world = begun(scale, 2);
    is(&told(&mut world, 4.0), 4, &[], &[Fresh], None);
    world.pass(Span::secs(20));
    is(&told(&mut world, 6.0), 4, &["scaleUp.cooldown"], &[Fresh], Some(60));
    is(&told(&mut world, 3.0), 3, &[], &[Fresh], None);
    world.pass(Span::secs(40));
    is(&told(&mut world, 6.0), 3, &["scaleUp.cooldown"], &[Fresh], Some(80));
    world.pass(Span::secs(20));
    is(&world.turn(), 6, &[], &[Fresh], None);
}

#[test]
fn a_cooldown_downwards() {
    let mut scale = sizes(1, 10);
    scale.behavior.scale_down.cooldown = Span::secs(90);
    let mut world = begun(scale, 4);
    is(&told(&mut world, 5.0), 5, &[], &[Fresh], None);
    world.pass(Span::secs(30));
    is(&told(&mut world, 2.0), 5, &["scaleDown.cooldown"], &[Fresh], Some(90));
    world.pass(Span::secs(60));
    is(&world.turn(), 2, &[], &[Fresh], None);
}

#[test]
fn a_stabilization_window() {
    let mut scale = sizes(1, 10);
    scale.behavior.scale_down.stabilization_window = Span::secs(300);
    let mut world = begun(scale, 5);
    world.pass(Span::secs(10));
    let demand = told(&mut world, 2.0);
    is(&demand, 5, &["stabilizationWindow"], &[Fresh], Some(310));
    assert_eq!(demand.why.map(|why| (why.raw, why.clamps[0].from, why.clamps[0].to)), Some((2, 2, 5)));
    steady(&mut world, 2.0, 299);
    is(&world.turn(), 5, &["stabilizationWindow"], &[Fresh], Some(310));
    world.pass(Span::secs(1));
    is(&world.turn(), 2, &[], &[Fresh], None);
}

#[test]
fn policies_in_both_directions() {
    let mut scale = sizes(1, 20);
    scale.behavior.scale_up.policies = vec![workers(2, 60)];
    scale.behavior.scale_down.policies = vec![percent(50, 30)];
    let mut world = begun(scale, 1);
    let demand = told(&mut world, 10.0);
    is(&demand, 3, &["scaleUp.policies"], &[Fresh], Some(60));
    steady(&mut world, 10.0, 59);
    is(&world.turn(), 3, &["scaleUp.policies"], &[Fresh], Some(60));
    world.pass(Span::secs(1));
    is(&world.turn(), 5, &["scaleUp.policies"], &[Fresh], Some(120));
    steady(&mut world, 10.0, 40);
    is(&told(&mut world, 1.0), 2, &["scaleDown.policies"], &[Fresh], Some(130));
}

#[test]
fn a_direction_that_is_disabled_is_said_to_be() {
    let mut scale = sizes(1, 20);
    let behavior = &mut scale.behavior;
    (behavior.scale_up.select_policy, behavior.scale_down.select_policy) = (SelectPolicy::Disabled, SelectPolicy::Disabled);
    let mut world = begun(scale, 4);
    for (value, words) in [
        (9.0, "scaling up is disabled: scaleUp.selectPolicy is Disabled"),
        (2.0, "scaling down is disabled: scaleDown.selectPolicy is Disabled"),
    ] {
        let demand = told(&mut world, value);
        assert_eq!((demand.wanted, demand.why.map(|why| why.clamps[0].why.clone())), (4, Some(words.to_owned())));
    }
}

#[test]
fn the_clamps_act_in_their_order() {
    let mut scale = sizes(1, 12);
    scale.behavior.scale_down.policies = vec![workers(3, 60)];
    scale.behavior.scale_down.cooldown = Span::secs(120);
    let mut world = begun(scale, 10);
    is(&told(&mut world, 15.0), 12, &["maxReplicas"], &[Fresh], None);
    // The policy's period ends before the cooldown does: the cooldown has the last word.
    world.pass(Span::secs(5));
    is(&told(&mut world, 2.0), 12, &["scaleDown.policies", "scaleDown.cooldown"], &[Fresh], Some(120));
    // And a bound has it over both.
    world.scale().max_replicas = 11;
    is(&world.turn(), 11, &["scaleDown.policies", "scaleDown.cooldown", "maxReplicas"], &[Fresh], None);
}

#[test]
fn the_bounds() {
    let mut world = begun(sizes(2, 10), 5);
    is(&told(&mut world, 50.0), 10, &["maxReplicas"], &[Fresh], None);
    is(&told(&mut world, 0.0), 2, &["minReplicas"], &[Fresh], None);
    is(&told(&mut world, 2.0), 2, &[], &[Fresh], None);
}

#[test]
fn a_quota_closes_and_opens_with_hysteresis() {
    let mut scale = sizes(1, 10);
    scale.quota.push(Quota { name: "left".into(), source: trigger("left").source, pause_below: 10.0, resume_above: 50.0 });
    let mut world = begun(scale, 2);
    let left = |world: &mut World, value: f64| world.answer(&Asker::Quota("left".into()), Number::new(value, "n"));
    left(&mut world, 9.0);
    let demand = told(&mut world, 5.0);
    is(&demand, 2, &["quota"], &[Fresh], None);
    assert_eq!(demand.gate.as_deref(), Some("the quota left has 9 left"));
    for value in [10.0, 30.0, 50.0] {
        left(&mut world, value);
        is(&world.turn(), 2, &["quota"], &[Fresh], None);
    }
    is(&told(&mut world, 1.0), 1, &[], &[Fresh], None);
    assert!(world.turn().gate.is_some(), "nor is one started in the place of another");
    left(&mut world, 51.0);
    let demand = told(&mut world, 5.0);
    is(&demand, 5, &[], &[Fresh], None);
    assert_eq!(demand.gate, None);
    left(&mut world, 10.0);
    is(&told(&mut world, 6.0), 6, &[], &[Fresh], None);
}

#[test]
fn an_unknown_source_at_the_start_holds() {
    let mut world = World::new(sizes(1, 10)).sized(4);
    let demand = world.turn();
    is(&demand, 4, &[], &[Unknown], None);
    assert_eq!((demand.reason.as_str(), demand.questions.len()), ("no trigger has a number", 1));
    world.failure("t");
    is(&world.turn(), 4, &[], &[Unknown], None);
    let mut fresh = World::new(sizes(2, 10));
    is(&fresh.turn(), 2, &["minReplicas"], &[Unknown], None);
}

#[test]
fn a_stale_source_holds_and_may_raise() {
    let mut scale = sizes(1, 10);
    scale.behavior.scale_down.stabilization_window = Span::secs(300);
    let mut world = begun(scale, 4);
    is(&told(&mut world, 1.0), 4, &["stabilizationWindow"], &[Fresh], Some(300));
    world.failure("t");
    let demand = world.turn();
    is(&demand, 4, &["backlogUnknown"], &[Stale], None);
    let signal = demand.why.map(|why| why.signals[0].clone()).unwrap_or_default();
    assert_eq!((signal.value, signal.error.as_deref(), signal.failures), (Some(1.0), Some("connection refused"), 1));
    let mut quiet = begun(sizes(1, 10), 4);
    told(&mut quiet, 6.0);
    quiet.pass(Span::millis(99_999));
    is(&quiet.turn(), 6, &[], &[Fresh], None);
    quiet.pass(Span::millis(1));
    is(&quiet.turn(), 6, &[], &[Stale], None);
    quiet.previous.desired_replicas = 3;
    is(&quiet.turn(), 6, &[], &[Stale], None);
}

/// A trigger that has never answered fails so often; a second between the failures.
fn failing(behavior: FallbackBehavior, size: u32, times: u32) -> World {
    let mut scale = sizes(1, 10);
    (scale.fallback.behavior, scale.fallback.replicas) = (behavior, 3);
    let mut world = begun(scale, size);
    for _ in 0..times {
        world.pass(Span::secs(1));
        world.failure("t");
    }
    world
}

#[test]
fn fallbacks_by_count() {
    is(&failing(FallbackBehavior::Hold, 5, 9).turn(), 5, &[], &[Unknown], None);
    is(&failing(FallbackBehavior::Static, 5, 2).turn(), 5, &[], &[Unknown], None);
    is(&failing(FallbackBehavior::Static, 5, 3).turn(), 3, &[], &[Unknown], None);
    is(&failing(FallbackBehavior::Static, 1, 3).turn(), 3, &[], &[Unknown], None);
    is(&failing(FallbackBehavior::AtLeast, 1, 2).turn(), 1, &[], &[Unknown], None);
    is(&failing(FallbackBehavior::AtLeast, 1, 3).turn(), 3, &[], &[Unknown], None);
    is(&failing(FallbackBehavior::AtLeast, 5, 3).turn(), 5, &["backlogUnknown"], &[Unknown], None);
    let mut world = failing(FallbackBehavior::Static, 5, 3);
    is(&told(&mut world, 7.0), 7, &[], &[Fresh], None);
}

#[test]
fn a_source_that_asked_to_be_left_alone_says_until_when() {
    let mut world = begun(sizes(1, 10), 5);
    let alone = |world: &mut World| world.turn().why.and_then(|why| why.signals.first()?.not_before);
    assert_eq!(alone(&mut world), None);
    let asker = crate::model::scaling::Asker::Trigger("t".into());
    for pause in [Span::secs(90), Span(u64::MAX)] {
        let failure =
            crate::model::reading::Failure { retry_after: Some(pause), ..crate::model::reading::Failure::because("busy") };
        world.answer(&asker, Err(failure));
        let until = alone(&mut world).expect("told");
        let told = pause.min(Span::secs(366 * 86_400));
        assert_eq!(until, world.now.wall_of(world.now.mono.after(told)));
        // It is kept with the status, and read again.
        assert_eq!(until.to_string().parse(), Ok(until));
    }
    world.number("t", 3.0);
    assert_eq!(alone(&mut world), None);
}

#[test]
fn a_fallback_by_time() {
    let mut scale = sizes(1, 10);
    scale.triggers[0].polling_interval = Span::secs(600);
    scale.fallback.failure_threshold = 1000;
    (scale.fallback.behavior, scale.fallback.after, scale.fallback.replicas) =
        (FallbackBehavior::Static, Some(Span::secs(60)), 2);
    let mut world = begun(scale, 5);
    world.failure("t");
    let demand = world.turn();
    is(&demand, 5, &[], &[Unknown], None);
    assert_eq!(wakes(&demand), Some(60));
    world.pass(Span::secs(59));
    is(&world.turn(), 5, &[], &[Unknown], None);
    world.pass(Span::secs(1));
    is(&world.turn(), 2, &[], &[Unknown], None);
}

#[test]
fn a_schedule_raises_the_floor_and_the_ceiling() {
    let mut scale = sizes(1, 3);
    let (cron, duration) = ("5 12 * * *".into(), Span::secs(600));
    scale.schedules.push(ScaleSchedule { cron, time_zone: None, duration, min_replicas: Some(4), max_replicas: Some(6) });
    scale.triggers[0].polling_interval = Span::secs(3600);
    let mut world = begun(scale, 1);
    let demand = told(&mut world, 1.0);
    is(&demand, 1, &[], &[Fresh], None);
    assert_eq!(wakes(&demand), Some(300));
    world.pass(Span::secs(300));
    let demand = world.turn();
    is(&demand, 4, &["minReplicas"], &[Fresh], None);
    assert_eq!(demand.why.as_ref().map(|why| (why.min, why.max)), Some((4, 6)));
    assert_eq!(wakes(&world.turn()), Some(900));
    is(&told(&mut world, 9.0), 6, &["maxReplicas"], &[Fresh], None);
    world.pass(Span::secs(600));
    is(&world.turn(), 3, &["maxReplicas"], &[Fresh], None);
}

#[test]
fn a_trigger_by_the_clock() {
    let mut by_clock = exact("clock");
    let (cron, duration) = ("5 12 * * *".into(), Span::secs(600));
    let schedule = crate::model::source::ScheduleSource { cron, time_zone: None, duration, value: 3 };
    by_clock.source = Source { schedule: Some(schedule), ..Source::default() };
    let mut world = World::new(Scale { triggers: vec![by_clock], ..free(0, 10) }).sized(1);
    let demand = world.turn();
    is(&demand, 0, &[], &[Fresh], None);
    let demand = world.turn();
    assert_eq!((wakes(&demand), demand.questions.len()), (Some(300), 0));
    world.pass(Span::secs(300));
    is(&world.turn(), 3, &[], &[Fresh], None);
    world.pass(Span::secs(600));
    is(&world.turn(), 0, &[], &[Fresh], None);
}

#[test]
fn paused_by_the_spec() {
    let mut world = begun(Scale { paused: true, ..sizes(1, 10) }, 4);
    let demand = told(&mut world, 9.0);
    is(&demand, 4, &["paused"], &[Fresh], None);
    assert_eq!(demand.reason, "spec.scale.paused is true");
    is(&told(&mut world, 0.0), 4, &["paused"], &[Fresh], None);
    world.scale().paused = false;
    is(&world.turn(), 1, &["minReplicas"], &[Fresh], None);
}

#[test]
fn paused_until_a_time() {
    let mut world = begun(sizes(1, 10), 4);
    world.facts.annotations.insert(PAUSED_UNTIL.into(), "2026-03-02T12:01:00Z".into());
    let demand = told(&mut world, 9.0);
    is(&demand, 4, &["paused"], &[Fresh], Some(60));
    world.pass(Span::secs(59));
    is(&world.turn(), 4, &["paused"], &[Fresh], Some(60));
    world.pass(Span::secs(1));
    is(&world.turn(), 9, &[], &[Fresh], None);
    world.facts.annotations.insert(PAUSED_UNTIL.into(), "9000-01-01T00:00:00Z".into());
    let demand = told(&mut world, 5.0);
    is(&demand, 9, &["paused"], &[Fresh], None);
    assert_eq!(demand.reason, "paused until it is resumed");
    world.facts.annotations.insert(PAUSED_UNTIL.into(), "tomorrow".into());
    is(&told(&mut world, 5.0), 5, &[], &[Fresh], None);
}

#[test]
fn zeros_are_confirmed() {
    let mut scale = sizes(0, 10);
    scale.triggers[0].zero_confirmations = None;
    let mut world = begun(scale, 5);
    is(&told(&mut world, 5.0), 5, &[], &[Fresh], None);
    is(&told(&mut world, 0.0), 5, &[], &[Stale], None);
    is(&told(&mut world, 0.0), 5, &[], &[Stale], None);
    is(&told(&mut world, 4.0), 4, &[], &[Fresh], None);
    is(&told(&mut world, 0.0), 4, &[], &[Stale], None);
    is(&told(&mut world, 0.0), 4, &[], &[Stale], None);
    world.failure("t");
    is(&told(&mut world, 0.0), 4, &[], &[Stale], None);
    is(&told(&mut world, 0.0), 4, &[], &[Stale], None);
    is(&told(&mut world, 0.0), 0, &[], &[Fresh], None);
}

#[test]
fn from_zero_by_activation() {
    let per = Trigger { activation: 10.0, ..per_worker("t", 5.0) };
    let mut world = begun(Scale { triggers: vec![per], ..free(0, 10) }, 0);
    is(&told(&mut world, 10.0), 0, &[], &[Fresh], None);
    is(&told(&mut world, 11.0), 3, &[], &[Fresh], None);
    is(&told(&mut world, 10.0), 0, &[], &[Fresh], None);
    let step = Trigger { activation: 20.0, ..stepped("t", Some(3.0), None, 1.0) };
    let mut world = begun(Scale { triggers: vec![step], ..free(0, 10) }, 0);
    is(&told(&mut world, 20.0), 0, &[], &[Fresh], None);
    is(&told(&mut world, 21.0), 1, &[], &[Fresh], None);
    is(&told(&mut world, 4.0), 2, &[], &[Fresh], None);
}

#[test]
fn spare_idle_workers() {
    let mut world = begun(Scale { min_idle: 2, ..sizes(1, 10) }, 3);
    world.slots = [worker(0, 60, None), worker(1, 60, None), worker(2, 60, Some(60))].into();
    is(&told(&mut world, 1.0), 4, &["minIdle"], &[Fresh], None);
    is(&told(&mut world, 6.0), 6, &[], &[Fresh], None);
    world.scale().max_replicas = 3;
    is(&told(&mut world, 1.0), 3, &["minIdle", "maxReplicas"], &[Fresh], None);
}

#[test]
fn of_several_triggers_the_largest_counts() {
    let mut world = begun(Scale { triggers: vec![exact("t"), exact("u")], ..free(1, 10) }, 5);
    is(&told(&mut world, 3.0), 5, &["backlogUnknown"], &[Fresh, Unknown], None);
    is(&told(&mut world, 6.0), 6, &[], &[Fresh, Unknown], None);
    world.number("u", 8.0);
    let demand = world.turn();
    is(&demand, 8, &[], &[Fresh, Fresh], None);
    assert_eq!(demand.reason, "u: the source asks for 8");
    world.number("u", 2.0);
    is(&told(&mut world, 4.0), 4, &[], &[Fresh, Fresh], None);
    world.failure("u");
    is(&told(&mut world, 1.0), 4, &["backlogUnknown"], &[Fresh, Stale], None);
    is(&told(&mut world, 5.0), 5, &[], &[Fresh, Stale], None);
}

#[test]
fn one_step_for_each_number() {
    let mut world = begun(Scale { triggers: vec![stepped("t", Some(10.0), None, 2.0)], ..free(1, 10) }, 3);
    is(&told(&mut world, 11.0), 4, &[], &[Fresh], None);
    world.pass(Span::secs(1));
    is(&world.turn(), 4, &[], &[Fresh], None);
    is(&told(&mut world, 10.0), 4, &[], &[Fresh], None);
    is(&told(&mut world, 2.5), 4, &[], &[Fresh], None);
    is(&told(&mut world, 2.0), 3, &[], &[Fresh], None);
    world.failure("t");
    is(&world.turn(), 3, &[], &[Stale], None);
    let mut held = begun(Scale { paused: true, ..world.scale().clone() }, 3);
    is(&told(&mut held, 99.0), 3, &["paused"], &[Fresh], None);
}

#[test]
fn a_step_above_so_many_for_each_worker() {
    let mut world = begun(Scale { triggers: vec![stepped("t", None, Some(2.0), 1.0)], ..free(0, 10) }, 3);
    is(&told(&mut world, 6.0), 3, &[], &[Fresh], None);
    is(&told(&mut world, 7.0), 4, &[], &[Fresh], None);
    is(&told(&mut world, 8.0), 4, &[], &[Fresh], None);
    is(&told(&mut world, 9.0), 5, &[], &[Fresh], None);
    is(&told(&mut world, 1.0), 4, &[], &[Fresh], None);
}

#[test]
fn the_tolerance_is_explained() {
    let mut world = begun(Scale { triggers: vec![per_worker("t", 10.0)], ..free(1, 20) }, 10);
    let demand = told(&mut world, 105.0);
    is(&demand, 10, &[], &[Fresh], None);
    assert_eq!(demand.reason, "t: 105 for 10 workers is within 10 % of 10 each: no change");
    let (own, words) = crate::decide::demand::rules::wants(
        &Trigger::own_queue(),
        crate::decide::demand::readings::Reading::Fresh(22.0),
        None,
        20,
    );
    assert_eq!(own, crate::decide::demand::rules::Wants::Exactly(22), "a task that waits is a worker that is wanted: {words}");
    is(&told(&mut world, 121.0), 13, &[], &[Fresh], None);
}

#[test]
fn zeros_that_are_not_believed_do_not_begin_the_window_anew() {
    let mut scale = sizes(0, 10);
    scale.triggers[0].zero_confirmations = Some(3);
    scale.behavior.scale_down.stabilization_window = Span::secs(15);
    let mut world = begun(scale, 6);
    for second in 0..20 {
        told(&mut world, f64::from(second % 2));
        world.pass(Span::secs(1));
    }
    assert_eq!(told(&mut world, 1.0).wanted, 1, "nothing above 1 was read for longer than the window");
}
