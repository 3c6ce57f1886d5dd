//! What is said of a number that is not fresh: why, and what comes of it.
//! A fallback that lowers is told of before it does, and that it counts from then on.

use super::situations::sizes;
use super::*;
use crate::decide;
use crate::model::plan::Plan;

fn look(world: &mut World) -> Plan {
    let observation = world.observation();
    let plan = decide::pool(&observation, world.now);
    (world.scaling, world.previous) = (plan.scaling.clone(), plan.status.clone());
    plan
}

/// The message of `ScalingActive`; empty while every number is fresh.
fn active(world: &mut World) -> String {
    let conditions = look(world).status.conditions;
    conditions.iter().find(|condition| condition.kind == "ScalingActive").expect("said").message.clone()
}

fn world(change: impl FnOnce(&mut Scale)) -> World {
    let mut scale = sizes(0, 10);
    scale.triggers[0].zero_confirmations = Some(3);
    change(&mut scale);
    let mut world = World::new(scale).sized(5);
    look(&mut world);
    world
}

#[test]
fn zeros_that_are_confirmed_and_what_is_old_are_said() {
    let mut world = world(|_| {});
    assert_eq!(active(&mut world), "t: it was not read yet; nothing is lowered meanwhile");
    for (value, words) in [
        (0.0, "t: 0 was read, 1 of 3 confirmations; nothing is lowered meanwhile"),
        (5.0, ""),
        (0.0, "t: 0 was read, 1 of 3 confirmations; nothing is lowered meanwhile"),
        (0.0, "t: 0 was read, 2 of 3 confirmations; nothing is lowered meanwhile"),
        (0.0, ""),
    ] {
        world.number("t", value);
        assert_eq!(active(&mut world), words);
    }
    world.pass(Span::secs(100));
    assert_eq!(active(&mut world), "t: it was read last at 2026-03-02T12:00:00.000Z; nothing is lowered meanwhile");
}

#[test]
fn a_fallback_that_may_lower_is_told_before_it_does() {
    let told = |world: &mut World| {
        let plan = look(world);
        let event = plan.happenings.iter().find(|happening| happening.reason == "BacklogUnavailable");
        (plan.status.desired_replicas, event.map(|event| event.note.clone()))
    };
    let fixed = |threshold| {
        world(|scale| {
            (scale.fallback.behavior, scale.fallback.replicas) = (FallbackBehavior::Static, 2);
            (scale.fallback.failure_threshold, scale.fallback.after) = (threshold, Some(Span::secs(300)));
        })
    };
    let mut at_once = fixed(1);
    at_once.failure("t");
    assert_eq!(told(&mut at_once), (2, Some("t: connection refused; failed: the fallback is 2".into())));
    assert_eq!(active(&mut at_once), "t: connection refused; failed: the fallback is 2");
    let mut later = fixed(2);
    later.failure("t");
    let words =
        "t: connection refused; nothing is lowered until it has failed 2 times in a row, or for 5m: then the fallback is 2";
    assert_eq!(told(&mut later), (5, Some(words.into())));
    later.failure("t");
    assert_eq!(told(&mut later), (2, None));
    assert_eq!(active(&mut later), "t: connection refused; failed 2 times in a row: the fallback is 2");
    let mut held = world(|scale| scale.fallback.behavior = FallbackBehavior::AtLeast);
    held.failure("t");
    assert_eq!(told(&mut held), (5, Some("t: connection refused; nothing is lowered meanwhile".into())));
}
