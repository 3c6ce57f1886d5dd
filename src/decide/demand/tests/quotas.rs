//! Quotas: what is done while one was not read yet, cannot be read any more, or is used up, and what is said of each.
//! Each look is at the whole plan: its condition, its events, and whether anybody is started.

use super::situations::sizes;
use super::victims::worker;
use super::*;
use crate::decide;
use crate::model::plan::{Action, Plan};
use crate::model::queue::{Delivery, Queue};
use crate::model::scale::Quota;
use crate::model::status::{QUOTA_AVAILABLE, Truth};

/// One worker runs, the trigger `t` asks for more, and the quota `left` was not read yet.
fn guarded() -> World {
    let mut scale = sizes(1, 10);
    scale.quota.push(Quota { name: "left".into(), source: trigger("left").source, pause_below: 10.0, resume_above: 50.0 });
    let mut world = World::new(scale).sized(1);
    world.slots = [worker(0, 60, Some(10))].into();
    look(&mut world);
    world.number("t", 3.0);
    world
}

/// Plan, and remember what the engine remembers.
fn look(world: &mut World) -> Plan {
    let observation = world.observation();
    let plan = decide::pool(&observation, world.now);
    assert_eq!(decide::check::check(&observation, &plan), Vec::<String>::new());
    (world.scaling, world.previous) = (plan.scaling.clone(), plan.status.clone());
    plan
}

fn left(world: &mut World, value: f64) {
    world.answer(&Asker::Quota("left".into()), Number::new(value, "n"));
}

fn fails(world: &mut World) {
    world.answer(&Asker::Quota("left".into()), Err(Failure::because("connection refused")));
}

/// The condition, and how many are wanted and begun.
fn said(plan: &Plan) -> (Truth, &str, &str, u32, usize) {
    let said = plan.status.conditions.iter().find(|condition| condition.kind == QUOTA_AVAILABLE).expect("said");
    let starts = plan.actions.iter().filter(|action| matches!(action, Action::Start { .. })).count();
    (said.status, &said.reason, &said.message, plan.status.desired_replicas, starts)
}

/// What is told of quotas.
fn told(plan: &Plan) -> Vec<(&'static str, &str)> {
    let of_quotas = plan.happenings.iter().filter(|happening| happening.reason.starts_with("Quota"));
    of_quotas.map(|happening| (happening.reason, happening.note.as_str())).collect()
}

#[test]
fn nobody_is_started_by_a_quota_that_was_never_read() {
    let mut world = guarded();
    let plan = look(&mut world);
    let words = "left: it was not read yet; no worker is started until it is read";
    assert_eq!(said(&plan), (Truth::Unknown, "NotRead", words, 1, 0));
    assert_eq!((told(&plan), plan.status.begins_nothing()), (vec![], true));
    fails(&mut world);
    let plan = look(&mut world);
    let words = "left: connection refused; no worker is started until it is read";
    assert_eq!(said(&plan), (Truth::Unknown, "ReadFailed", words, 1, 0));
    assert_eq!(told(&plan), [("QuotaUnreadable", words)]);
    fails(&mut world);
    assert_eq!(told(&look(&mut world)), [], "it is told once");
    // Nor in the place of one that ended, for the least either.
    world.slots.clear();
    let plan = look(&mut world);
    assert_eq!((said(&plan).3, said(&plan).4), (1, 0));
    assert_eq!(plan.waiting_on, ["room to start p-0: the quota left cannot be read: connection refused"]);
    left(&mut world, 51.0);
    let plan = look(&mut world);
    assert_eq!(said(&plan), (Truth::True, "WithinQuota", "", 3, 3));
    assert_eq!(told(&plan), [("QuotaReadable", "left can be read again: 51")]);
}

#[test]
fn one_that_cannot_be_read_any_more_stays_as_it_was() {
    let mut world = guarded();
    left(&mut world, 30.0);
    assert_eq!(said(&look(&mut world)).1, "WithinQuota", "it was never below");
    fails(&mut world);
    world.number("t", 4.0);
    let plan = look(&mut world);
    let words = "left: connection refused; it had 30 left when it was read last, and that counts";
    assert_eq!(said(&plan), (Truth::Unknown, "ReadFailed", words, 4, 3));
    assert_eq!((told(&plan), plan.status.begins_nothing()), (vec![("QuotaUnreadable", words)], false));
    left(&mut world, 9.0);
    let plan = look(&mut world);
    let readable = ("QuotaReadable", "left can be read again: 9");
    let used_up = ("QuotaUsedUp", "the quota left has 9 left; no worker is started until there is more");
    assert_eq!((said(&plan).1, told(&plan)), ("QuotaUsedUp", vec![readable, used_up]));
    fails(&mut world);
    let plan = look(&mut world);
    let words = "the quota left had 9 left when it was read last (connection refused)";
    assert_eq!((said(&plan).0, said(&plan).2, said(&plan).4), (Truth::False, words, 0));
    assert_eq!((told(&plan)[0].0, told(&plan).len()), ("QuotaUnreadable", 1));
}

#[test]
fn that_it_is_used_up_outlives_the_daemon_and_that_it_is_not_is_read_anew() {
    let mut world = guarded();
    left(&mut world, 9.0);
    look(&mut world);
    for _ in 0..2 {
        world.scaling = Scaling::default();
        let plan = look(&mut world);
        let words = "the quota left was used up when it was read last";
        assert_eq!((said(&plan).1, said(&plan).2, told(&plan)), ("QuotaUsedUp", words, vec![]));
    }
    left(&mut world, 30.0);
    assert_eq!(said(&look(&mut world)).1, "QuotaUsedUp", "not above resumeAbove");
    left(&mut world, 51.0);
    let again = ("QuotaAvailable", "the quotas allow new workers again");
    assert_eq!(told(&look(&mut world)), [again]);
    world.scaling = Scaling::default();
    assert_eq!(said(&look(&mut world)).1, "NotRead");
}

#[test]
fn tasks_that_wait_for_a_quota_say_so() {
    let mut world = guarded();
    let queue = Queue { delivery: Delivery::Lease, ..Queue::default() };
    world.facts.spec.queue = Some(queue);
    left(&mut world, 9.0);
    let waits = |world: &mut World| look(world).waiting_on;
    assert_eq!(waits(&mut world), Vec::<String>::new(), "there is no task");
    world.queues.insert("p".into(), QueueCounts { ready: 1, ..QueueCounts::default() });
    assert_eq!(waits(&mut world), ["a quota, as no task is begun: the quota left has 9 left"]);
}

#[test]
fn each_quota_is_explained() {
    let mut world = guarded();
    let explained = |world: &mut World| {
        let quota = look(world).status.scaling.expect("explained").quotas.remove(0);
        (quota.value, quota.state, quota.time.is_some(), quota.used_up, quota.says)
    };
    use SignalState::{Fresh, Stale, Unknown};
    let words = |text: &str| text.to_owned();
    assert_eq!(explained(&mut world), (None, Unknown, false, false, words("no worker is started until it is read")));
    left(&mut world, 9.0);
    assert_eq!(explained(&mut world), (Some(9.0), Fresh, true, true, words("9 is below 10: no worker is started")));
    left(&mut world, 30.0);
    let waits = words("30 is not above 50 yet: no worker is started");
    assert_eq!(explained(&mut world), (Some(30.0), Fresh, true, true, waits));
    left(&mut world, 60.0);
    assert_eq!(explained(&mut world), (Some(60.0), Fresh, true, false, words("60 is enough: work stops below 10")));
    fails(&mut world);
    assert_eq!(explained(&mut world).1, Stale);
}
