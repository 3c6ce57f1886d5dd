//! Who goes when a pool shrinks: the idle in the order that is asked for, the busy only where the spec says so, and first of all
//! those that were never of use. Each look is at the whole plan: those that `explain` names are those that are told to stop.

use super::situations::{begun, sizes};
use super::*;
use crate::decide;
use crate::model::plan::{Action, Plan, ProbeKind, ProbeState, Record};
use crate::model::scale::Victims;
use crate::model::template::Probe;
use crate::model::worker::{Run, Seen, SlotState};

/// A worker that runs since so long, and is idle since so long, or busy.
pub(super) fn worker(n: usize, runs: u64, idle: Option<u64>) -> (String, Slot) {
    let ago = |secs: u64| Moment(start().mono.0 - secs * 1000);
    let run = Run { incarnation: 1, pid: 1, started: ago(runs), busy: idle.is_none(), ..Run::default() };
    let seen = Seen { state: SlotState::Running(run), ..Seen::default() };
    let record = Record { incarnation: 1, ..Record::default() };
    (format!("p-{n}"), Slot { seen, record, idle_since: idle.map(ago), ..Slot::default() })
}

/// Workers 0 to 3: 0 is the oldest, 1 is idle longest, 2 is the newest, 3 is busy.
fn four(select: Victims, evict_busy: bool) -> World {
    let mut scale = sizes(0, 10);
    (scale.behavior.scale_down.select, scale.behavior.scale_down.evict_busy) = (select, evict_busy);
    let mut world = begun(scale, 4);
    world.slots = [worker(0, 900, Some(100)), worker(1, 600, Some(300)), worker(2, 300, Some(200)), worker(3, 500, None)].into();
    world
}

/// Plan for this number; gives back who goes, as `explain` names them.
fn go(world: &mut World, wanted: f64) -> (Plan, Vec<String>) {
    world.number("t", wanted);
    let observation = world.observation();
    let plan = decide::pool(&observation, world.now);
    assert_eq!(decide::check::check(&observation, &plan), Vec::<String>::new());
    let why = plan.status.scaling.clone().expect("a scaled pool is explained");
    let named: Vec<String> = why.victims.iter().map(|victim| victim.worker.clone()).collect();
    let stops = plan.actions.iter().filter(|action| !matches!(action, Action::Probe { .. }));
    let told: Vec<String> = stops.map(|action| action.worker().to_owned()).collect();
    assert_eq!(told, named, "those that are named are told to stop");
    (plan, named)
}

#[test]
fn victims_are_idle_ones_in_the_order_that_is_asked_for() {
    assert_eq!(go(&mut four(Victims::LongestIdle, false), 1.0).1, ["p-1", "p-2", "p-0"]);
    assert_eq!(go(&mut four(Victims::LongestIdle, false), 3.0).1, ["p-1"]);
    assert_eq!(go(&mut four(Victims::Oldest, false), 2.0).1, ["p-0", "p-1"]);
    assert_eq!(go(&mut four(Victims::Newest, false), 2.0).1, ["p-2", "p-1"]);
}

#[test]
fn a_busy_worker_stays_unless_the_spec_says_otherwise() {
    let (plan, gone) = go(&mut four(Victims::LongestIdle, false), 0.0);
    assert_eq!(gone, ["p-1", "p-2", "p-0"]);
    assert_eq!(plan.waiting_on, ["1 busy worker to become idle: a busy worker is not stopped to scale down"]);
    let (plan, gone) = go(&mut four(Victims::LongestIdle, true), 0.0);
    assert_eq!(gone, ["p-1", "p-2", "p-0", "p-3"]);
    let why = plan.status.scaling.map(|why| why.victims[3].why.clone());
    assert_eq!(why.as_deref(), Some("busy, and evictBusy is true"));
}

#[test]
fn the_busy_are_evicted_in_the_order_that_is_asked_for() {
    for (select, gone) in
        [(Victims::LongestIdle, ["p-2", "p-1"]), (Victims::Oldest, ["p-1", "p-2"]), (Victims::Newest, ["p-0", "p-2"])]
    {
        let mut world = four(select, true);
        world.slots = [worker(0, 300, None), worker(1, 900, None), worker(2, 600, None)].into();
        assert_eq!(go(&mut world, 1.0).1, gone, "{select:?}");
    }
}

#[test]
fn one_that_is_idle_for_a_moment_waits_and_shields_the_busy() {
    for evict_busy in [false, true] {
        let mut world = four(Victims::LongestIdle, evict_busy);
        world.slots = [worker(0, 900, Some(10)), worker(1, 600, None)].into();
        world.previous.desired_replicas = 1;
        let (plan, gone) = go(&mut world, 1.0);
        assert!(gone.is_empty(), "{gone:?}");
        assert_eq!(plan.waiting_on, ["1 worker to be idle for scaleDown.idleTimeout"]);
        assert_eq!(plan.wake_at, Some(start().mono.after(Span::secs(20))));
        world.pass(Span::secs(20));
        assert_eq!(go(&mut world, 1.0).1, ["p-0"]);
    }
}

/// Worker 0 is idle, 1 and 2 were started since and their startup probe has not passed; the probe of 3 passed a moment ago.
fn beginning(made: bool) -> World {
    let mut world = begun(sizes(0, 10), 4);
    let exec = Some(Exec { command: vec!["true".into()] });
    world.facts.spec.template.startup_probe = Some(Probe { exec, ..Probe::default() });
    let facts = std::sync::Arc::new(world.facts.clone());
    world.slots = [worker(0, 900, Some(100)), worker(1, 60, Some(60)), worker(2, 20, Some(20)), worker(3, 30, Some(5))].into();
    for (name, slot) in &mut world.slots {
        (slot.made_from, slot.known_run) = (Some(facts.clone()), u64::from(made));
        slot.health.incarnation = 1;
        let passed = ProbeState { passing: true, answered: Some(start().mono), ..ProbeState::default() };
        let has = matches!(name.as_str(), "p-0" | "p-3").then_some((ProbeKind::Startup, passed));
        slot.health.probes.extend(has);
        if let SlotState::Running(run) = &mut slot.seen.state {
            run.template.clone_from(&world.facts.template);
        }
    }
    world
}

#[test]
fn who_was_never_of_use_goes_first() {
    let (plan, gone) = go(&mut beginning(true), 1.0);
    assert_eq!(gone, ["p-2", "p-1", "p-0"]);
    let victims = plan.status.scaling.expect("explained").victims;
    assert_eq!(victims[0].why, "its startupProbe has not passed");
    let (plan, gone) = go(&mut beginning(true), 0.0);
    assert_eq!((gone.len(), plan.waiting_on), (3, vec!["1 worker to be idle for scaleDown.idleTimeout".to_owned()]));
    // Of those that an earlier daemon started nobody knows yet.
    let (plan, gone) = go(&mut beginning(false), 1.0);
    assert_eq!(gone, ["p-0"]);
    assert_eq!(plan.waiting_on, ["2 workers to have started: then it is seen whether one goes"]);
}
