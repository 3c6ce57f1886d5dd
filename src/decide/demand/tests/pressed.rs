//! A pool whose memory is short and to which no more can be given: it grows no more, and then gets smaller without disturbing
//! anybody at work; and of its queue nothing is begun.

use std::collections::BTreeSet;

use super::situations::{begun, sizes, told};
use super::victims::worker;
use super::*;
use crate::decide;
use crate::model::host::Rung;
use crate::model::plan::{Action, Plan};
use crate::model::queue::{Delivery, Queue};
use crate::model::status::EventType;

fn squeeze(draining: bool) -> Option<Squeeze> {
    let rung = if draining { Rung::Draining } else { Rung::Closed };
    Some(Squeeze { rung, why: "policy/p: memory is short".into() })
}

/// A pool of workers that are busy or idle for long, of which the trigger wants so many.
fn pool(scale: Scale, busy: &[bool]) -> World {
    let mut world = begun(scale, u32::try_from(busy.len()).expect("few"));
    world.slots = busy.iter().enumerate().map(|(n, busy)| worker(n, 900, (!busy).then_some(800))).collect();
    world
}

#[test]
fn none_is_added_and_then_only_those_go_that_are_idle_and_not_always_there() {
    // At work, asked for, least; the size while nothing is added, and while idle ones go.
    let cases: [(&[bool], u32, u32, u32, u32); 7] = [
        (&[true, true, false, false], 9, 0, 4, 2),
        (&[true, true, false, false], 4, 0, 4, 2),
        (&[true, true, false, false], 2, 0, 2, 2),
        (&[false; 4], 9, 1, 4, 1),
        (&[false; 4], 9, 0, 4, 0),
        (&[true; 4], 9, 0, 4, 4),
        (&[false], 9, 3, 3, 3),
    ];
    for (busy, asked, min, closed, draining) in cases {
        for (drains, expected) in [(false, closed), (true, draining)] {
            let mut world = pool(sizes(min, 10), busy);
            world.squeeze = squeeze(drains);
            let demand = told(&mut world, f64::from(asked));
            let clamps = demand.why.expect("explained").clamps;
            let clamp = clamps.iter().find(|clamp| clamp.name == "memoryPressure").expect("it is said");
            assert_eq!(
                (demand.wanted, clamp.why.as_str()),
                (expected, "policy/p: memory is short"),
                "{busy:?} {asked}: {clamps:?}"
            );
        }
    }
}

#[test]
fn who_ended_is_not_replaced_while_memory_is_short_unless_it_is_always_there() {
    for (min, expected) in [(0, 2), (2, 2), (3, 3)] {
        let mut world = pool(sizes(min, 10), &[true, false]);
        world.previous.desired_replicas = 5;
        world.squeeze = squeeze(false);
        assert_eq!(told(&mut world, 5.0).wanted, expected, "three of five have ended");
    }
}

#[test]
fn in_a_paused_pool_too_nobody_is_replaced_and_nobody_goes() {
    // At work or idle; least; the size while nothing is added, which is the same while idle ones would go.
    for (min, expected) in [(0, 2), (2, 2), (3, 3)] {
        for drains in [false, true] {
            let mut world = pool(Scale { paused: true, ..sizes(min, 10) }, &[true, false]);
            world.previous.desired_replicas = 5;
            world.squeeze = squeeze(drains);
            let demand = told(&mut world, 9.0);
            let clamps = demand.why.expect("explained").clamps;
            let named: Vec<&str> = clamps.iter().map(|clamp| clamp.name.as_str()).collect();
            assert_eq!((demand.wanted, named), (expected, vec!["paused", "memoryPressure"]), "{min} {drains}");
        }
    }
}

fn planned(world: &World) -> Plan {
    decide::pool(&world.observation(), world.now)
}

fn stopped(plan: &Plan) -> Vec<&str> {
    plan.actions.iter().filter(|action| matches!(action, Action::Signal { .. })).map(Action::worker).collect()
}

#[test]
fn nobody_at_work_is_stopped_for_it_whatever_the_rules_of_scaling_down_say() {
    for evict_busy in [false, true] {
        let mut scale = sizes(0, 10);
        scale.behavior.scale_down.evict_busy = evict_busy;
        // Waiting for the end of a window would keep the memory.
        scale.behavior.scale_down.stabilization_window = Span::secs(600);
        let mut world = pool(scale, &[true, false, true, false]);
        world.squeeze = squeeze(true);
        told(&mut world, 4.0);
        let plan = planned(&world);
        assert_eq!(BTreeSet::from_iter(stopped(&plan)), BTreeSet::from(["p-1", "p-3"]), "evictBusy: {evict_busy}");
    }
}

#[test]
fn it_is_said_when_it_begins_gets_worse_and_ends() {
    let mut world = pool(sizes(0, 10), &[true, true]);
    told(&mut world, 2.0);
    let mut said = Vec::new();
    let lifted = squeeze(true).map(|squeeze| Squeeze { rung: Rung::Lifted, ..squeeze });
    for squeeze in [None, squeeze(false), squeeze(false), squeeze(true), squeeze(true), lifted, None] {
        world.squeeze = squeeze;
        let plan = planned(&world);
        // A policy that was taken away or disabled has measured nothing.
        assert!(plan.happenings.iter().all(|told| !told.note.contains("not short")), "{:?}", plan.happenings);
        let told: Vec<_> = plan.happenings.iter().map(|told| (told.reason, told.severity)).collect();
        let condition = plan.status.conditions.iter().find(|condition| condition.kind == "MemoryPressed");
        said.push((condition.map(|condition| condition.reason.clone()), told.first().copied()));
        assert_eq!(plan.status.begins_nothing(), world.squeeze.is_some());
        let held = plan.status.conditions.iter().find(|condition| condition.kind == "AbleToScale").expect("it is scaled");
        assert_eq!(held.message.starts_with("memoryPressure: policy/p"), world.squeeze.is_some(), "{held:?}");
        world.previous = plan.status;
    }
    let (closed, draining) = (Some("AdmissionStopped".to_owned()), Some("Draining".to_owned()));
    let warning = |reason| Some((reason, EventType::Warning));
    let expected = [
        (None, None),
        (closed.clone(), warning("MemoryPressed")),
        (closed, None),
        (draining.clone(), warning("MemoryPressed")),
        (draining, None),
        (Some("MemoryMaxDecides".to_owned()), warning("MemoryPressed")),
        (None, Some(("MemoryRelieved", EventType::Normal))),
    ];
    assert_eq!(said, expected);
}

#[test]
fn no_process_is_started_for_a_task_while_memory_is_short() {
    let mut world = World::new(sizes(2, 10)).sized(2);
    // Of a fixed size as well: there is nothing to scale, and nothing is begun either.
    for scaled in [true, false] {
        if !scaled {
            (world.facts.spec.scale, world.facts.spec.replicas) = (None, Some(2));
        }
        world.facts.spec.queue = Some(Queue { delivery: Delivery::Process, ..Queue::default() });
        world.queues.insert("p".into(), QueueCounts { ready: 5, ..QueueCounts::default() });
        for (pressed, starts) in [(None, 2), (squeeze(false), 0), (squeeze(true), 0)] {
            world.squeeze = pressed;
            let plan = planned(&world);
            let begun = plan.actions.iter().filter(|action| matches!(action, Action::Start { .. })).count();
            assert_eq!(begun, starts, "{:?}", plan.actions);
            let waits = plan.waiting_on.iter().any(|what| what.starts_with("memory, as no task is begun: policy/p"));
            assert_eq!(waits, world.squeeze.is_some(), "{:?}", plan.waiting_on);
        }
    }
}
