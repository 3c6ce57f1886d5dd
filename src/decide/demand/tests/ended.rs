//! Workers that ended for good in a scaled pool: as long as triggers ask for as many, somebody comes in their place.
//! A number from before the end asks for nobody, and who failed comes no faster than its back-off.

use super::situations::sizes;
use super::*;
use crate::decide;
use crate::model::plan::{Action, Plan, Record};
use crate::model::status::Truth;
use crate::model::template::RestartPolicy;
use crate::model::worker::{Exit, ExitReason, Seen, SlotState};

/// Two workers ended so a moment ago, and the trigger `t` asked for two before that.
fn ended(policy: RestartPolicy, reason: ExitReason) -> World {
    let mut world = World::new(sizes(0, 10)).sized(2);
    world.facts.spec.template.restart_policy = policy;
    world.turn();
    world.number("t", 2.0);
    world.pass(Span::secs(5));
    for worker in ["p-0", "p-1"] {
        let exit = Exit { incarnation: 1, reason, finished: world.now.wall, ended: Some(world.now.mono), ..Exit::default() };
        let record = Record { incarnation: 1, template: world.facts.template.clone(), ..Record::default() };
        let seen = Seen { state: SlotState::Vacant, exit: Some(exit), ..Seen::default() };
        let mut slot = Slot { seen, record, ..Slot::default() };
        let (record, _) = decide::exit(&world.facts, worker, &slot, world.now).expect("an end");
        slot.record = record;
        world.slots.insert(worker.into(), slot);
    }
    world
}

fn look(world: &mut World) -> (Plan, Vec<String>) {
    let observation = world.observation();
    let plan = decide::pool(&observation, world.now);
    assert_eq!(decide::check::check(&observation, &plan), Vec::<String>::new());
    (world.scaling, world.previous) = (plan.scaling.clone(), plan.status.clone());
    let starts = plan.actions.iter().filter(|action| matches!(action, Action::Start { .. }));
    let starts = starts.map(|action| action.worker().to_owned()).collect();
    (plan, starts)
}

fn ready(plan: &Plan) -> (Truth, &str) {
    let ready = plan.status.conditions.iter().find(|condition| condition.kind == "Ready").expect("said");
    (ready.status, &ready.message)
}

#[test]
fn what_is_read_after_its_end_asks_for_another() {
    for (policy, reason) in [(RestartPolicy::OnFailure, ExitReason::Completed), (RestartPolicy::Never, ExitReason::Error)] {
        let mut world = ended(policy, reason);
        assert_eq!(look(&mut world).1, Vec::<String>::new(), "the number was read before");
        world.pass(Span::secs(25));
        world.number("t", 2.0);
        assert_eq!(look(&mut world).1, ["p-0", "p-1"]);
    }
    let mut world = ended(RestartPolicy::OnFailure, ExitReason::Completed);
    world.scale().behavior.scale_down.stabilization_window = Span::secs(300);
    world.pass(Span::secs(25));
    world.number("t", 1.0);
    let (plan, starts) = look(&mut world);
    assert_eq!((plan.status.desired_replicas, starts), (2, vec!["p-0".to_owned()]), "there is work for one");
    world.scale().paused = true;
    world.number("t", 2.0);
    assert_eq!(look(&mut world).1, Vec::<String>::new());
}

#[test]
fn a_queue_of_its_own_asks_for_another_after_the_interval() {
    let mut world = ended(RestartPolicy::OnFailure, ExitReason::Completed);
    world.scale().triggers = vec![Trigger::own_queue()];
    world.queues.insert("p".into(), QueueCounts { ready: 2, ..QueueCounts::default() });
    let (plan, starts) = look(&mut world);
    assert_eq!((plan.wake_at, starts), (Some(world.now.mono.after(Span::secs(30))), vec![]));
    world.pass(Span::secs(30));
    assert_eq!(look(&mut world).1, ["p-0", "p-1"]);
}

#[test]
fn who_failed_comes_no_faster_than_its_back_off_and_is_not_ready() {
    let mut world = ended(RestartPolicy::Never, ExitReason::Error);
    assert_eq!(ready(&look(&mut world).0), (Truth::False, "0 of 2 workers are ready, 2 failed"));
    for slot in world.slots.values_mut() {
        slot.record.next_start = Some(world.now.mono.after(Span::secs(60)));
    }
    world.pass(Span::secs(25));
    world.number("t", 2.0);
    let (plan, starts) = look(&mut world);
    assert_eq!((ready(&plan).0, starts), (Truth::False, vec![]));
    world.pass(Span::secs(35));
    world.number("t", 2.0);
    assert_eq!(look(&mut world).1, ["p-0", "p-1"]);
}

#[test]
fn who_is_through_is_no_failure_and_counts_as_long_as_nobody_else_is_asked_for() {
    let mut world = ended(RestartPolicy::OnFailure, ExitReason::Completed);
    assert!(world.slots.values().all(|slot| slot.record.failures == 0), "however often it has nothing more to do");
    let (plan, _) = look(&mut world);
    assert_eq!(ready(&plan), (Truth::True, "0 of 2 workers are ready, 2 ended for good"));
}
