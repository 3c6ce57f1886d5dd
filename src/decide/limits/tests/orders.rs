//! What an order holds, which of several wishes becomes one, and what is made of an outcome that comes late or for a target that
//! the policy has no more.

use super::*;
use crate::decide::limits::budget;

const ALL: fn() -> Amounts = || amounts(2000, 32 * GI, 250);
const MORE_CPU: Amounts = Amounts { cpu: Some(Cpu(3000)), memory: None, tasks: None };

/// A policy that has set the limits that hold.
fn begun(more: &str) -> Script {
    let mut script = Script::new(founding(more));
    script.limits = ALL();
    script.look((0.2, 4 * GI, 20));
    assert_eq!(script.rows, []);
    script.stored.applied = ALL();
    script
}

/// Three looks at this use. Says what was ordered.
fn thrice(script: &mut Script, used: Use) -> Vec<Amounts> {
    (0..3).filter_map(|_| script.look(used)).collect()
}

/// The order that the third look at a CPU that is busy brings, with nobody to carry it out yet.
fn under_way(script: &mut Script) -> LimitOrder {
    assert_eq!((script.look((1.9, 9 * GI, 20)), script.look((1.9, 9 * GI, 20))), (None, None));
    let usage = script.usage((1.9, 9 * GI, 20));
    script.turn(Some(Ok(usage)), None, false).expect("the third breach")
}

#[test]
fn an_order_says_what_else_is_to_hold_as_it_does_whoever_set_it() {
    for apply in ["Live", "Restart"] {
        let mut script = begun(&format!("  apply: {apply}"));
        // As after mode Disabled, or of a policy that came anew.
        script.stored.applied = Amounts::default();
        let order = under_way(&mut script);
        assert_eq!((order.wanted, order.kept), (MORE_CPU, Amounts { cpu: None, ..ALL() }), "{apply}");
        assert_eq!(order.high_before, Some(memory_high(Memory(32 * GI), High::Below)));
    }
    let mut script = begun("");
    script.facts.spec.bounds.min.memory = None;
    script.facts.spec.bounds.max.memory = None;
    assert_eq!(under_way(&mut script).kept, Amounts { tasks: Some(250), ..Amounts::default() }, "what it is about");
}

#[test]
fn what_cannot_be_done_keeps_nothing_else_from_being_done() {
    let mut bound = begun("");
    bound.facts.spec.bounds.max.memory = Some(Memory(16 * GI));
    bound.facts.generation = 2;
    assert_eq!(thrice(&mut bound, (1.9, 30 * GI, 20)), [MORE_CPU], "memory is not brought below what is used");
    assert_eq!(bound.condition("ShrinkDeferred"), (Truth::True, "InUse"));
    let mut initial = begun("");
    (initial.limits.memory, initial.stored.applied.memory) = (None, None);
    assert_eq!(thrice(&mut initial, (1.9, 40 * GI, 20)), [MORE_CPU], "more is used than its first limit would be");
    let mut often = begun("  checkInterval: 5s");
    let mut done = Vec::new();
    for _ in 0..6 {
        often.limits.tasks = Some(9);
        done.extend(often.look((1.9, 9 * GI, 5)));
    }
    assert_eq!((done.len(), done.last()), (4, Some(&MORE_CPU)), "three times put back, and then let alone: {done:?}");
    assert_eq!(often.condition("ForeignWriter"), (Truth::True, "TooOften"));
}

#[test]
fn a_change_of_somebody_else_that_cannot_be_put_back_is_followed_from_then_on() {
    let mut inside = begun("");
    inside.limits.memory = Some(Memory(48 * GI));
    assert_eq!(inside.look((1.9, 36 * GI, 20)), None);
    assert_eq!((inside.condition("ForeignWriter"), inside.stored.applied.memory), ((Truth::True, "Taken"), inside.limits.memory));
    assert_eq!(inside.condition("ShrinkDeferred"), (Truth::True, "InUse"));
    assert_eq!(inside.look((1.9, 44 * GI, 20)), None);
    assert_eq!(inside.condition("ForeignWriter").0, Truth::False);
    assert_eq!(inside.look((1.9, 44 * GI, 20)), Some(Amounts { memory: Some(Memory(72 * GI)), ..MORE_CPU }));
    let mut outside = begun("");
    outside.limits.memory = Some(Memory(200 * GI));
    assert_eq!(thrice(&mut outside, (1.9, 40 * GI, 20)), [MORE_CPU]);
    assert_eq!(
        (outside.condition("ForeignWriter"), outside.stored.applied.memory),
        ((Truth::True, "NotCorrected"), ALL().memory)
    );
    let back = Amounts { memory: ALL().memory, ..Amounts::default() };
    assert_eq!(outside.look((1.9, 9 * GI, 20)), Some(back), "as soon as it can be");
    let mut unknown = begun("");
    (unknown.watching.last, unknown.limits.cpu) = (None, Some(Cpu(4000)));
    assert_eq!(unknown.look((0.2, 9 * GI, 20)), None, "nobody knows yet what is used");
    assert_eq!(unknown.look((0.2, 9 * GI, 20)), Some(Amounts { cpu: Some(Cpu(2000)), ..Amounts::default() }));
    let mut part = begun("  apply: Restart");
    (part.limits.memory, part.limits.tasks) = (Some(Memory(48 * GI)), Some(99));
    assert_eq!(part.look((1.0, 36 * GI, 20)), Some(Amounts { tasks: Some(250), ..Amounts::default() }));
    assert_eq!(part.condition("ForeignWriter").1, "Taken");
}

/// 7.5Gi fit in 8Gi, and would be slowed down from 7.2Gi on.
#[test]
fn memory_is_not_lowered_to_where_what_runs_is_held_back_at_once() {
    let mut script = begun("");
    (script.limits.memory, script.stored.applied.memory) = (Some(Memory(16 * GI)), Some(Memory(16 * GI)));
    let done: Vec<Amounts> = (0..10).filter_map(|_| script.look((0.2, 15 * GI / 2, 20))).collect();
    assert_eq!(done, [Amounts { cpu: Some(Cpu(1200)), memory: None, tasks: Some(150) }]);
    assert_eq!(script.condition("ShrinkDeferred"), (Truth::True, "InUse"));
}

#[test]
fn what_fails_is_not_the_fault_of_an_edit_that_came_meanwhile() {
    for edited in [true, false] {
        let mut script = begun("");
        let order = under_way(&mut script);
        script.facts.generation += u64::from(edited);
        let failure = LimitFailure { error: "refused".into(), restored: Ok(()) };
        script.turn(None, Some(&LimitOutcome { id: order.id, result: Err(failure) }), false);
        assert_eq!((script.stored.failed.is_none(), script.rows.len()), (edited, 2), "it is told in any case");
    }
}

#[test]
fn what_comes_of_an_order_is_told_of_the_target_that_it_was_for() {
    let elsewhere = |script: &mut Script| {
        script.facts.generation += 1;
        script.facts.spec.target.unit.as_mut().expect("it has one").name = "other.service".into();
    };
    for fails in [true, false] {
        let mut script = begun("");
        let order = under_way(&mut script);
        elsewhere(&mut script);
        script.turn(None, None, false);
        assert_eq!((script.rows.len(), script.stored.pending.is_some()), (0, true), "it is not known yet");
        let failure = LimitFailure { error: "refused".into(), restored: Ok(()) };
        let result = if fails { Err(failure) } else { Ok(order.wanted) };
        script.turn(None, Some(&LimitOutcome { id: order.id, result }), false);
        let row = &script.rows[0];
        assert!(row.reason.starts_with("of unit/autocoder-ui.service, its target before: cpu at "), "{}", row.reason);
        let expected = [(ChangeStatus::Failed, "LimitsFailed"), (ChangeStatus::Applied, "LimitsRaised")][usize::from(!fails)];
        assert_eq!((row.status, script.told.last().copied()), (expected.0, Some(expected.1)));
        let stored = &script.stored;
        assert_eq!((&stored.failed, stored.applied, &stored.pending), (&None, Amounts::default(), &None));
        assert_eq!((stored.status.scale_up_count, stored.status.target.as_str()), (0, "unit/other.service"));
    }
    let mut died = begun("");
    under_way(&mut died);
    died.watching = Watching::default();
    elsewhere(&mut died);
    died.turn(None, None, false);
    assert_eq!((died.rows.len(), died.rows[0].status, &died.stored.pending), (1, ChangeStatus::Failed, &None));
    assert!(died.rows[0].reason.starts_with("of unit/autocoder-ui.service"), "{}", died.rows[0].reason);
}

#[test]
fn another_manager_is_another_target_and_the_one_that_is_meant_anyway_is_not() {
    for (manager, same) in [(Manager::System, true), (Manager::User, false)] {
        let mut script = begun("");
        script.facts.spec.target.unit.as_mut().expect("it has one").manager = Some(manager);
        script.turn(None, None, false);
        assert_eq!(script.stored.applied == ALL(), same, "{manager:?}");
    }
}

/// A manager that hangs answers nobody, and may do what it was asked when it goes on.
#[test]
fn what_failed_and_holds_all_the_same_is_told_and_put_back() {
    for apply in [Apply::Live, Apply::Restart] {
        let mut script = begun(&format!("  apply: {apply:?}"));
        script.fails = Some(LimitFailure { error: "no answer".into(), restored: Err("no answer".into()) });
        assert_eq!(thrice(&mut script, (1.9, 9 * GI, 20)), [MORE_CPU]);
        assert_eq!(script.look((1.9, 9 * GI, 20)), None);
        assert_eq!((script.condition("Failed").0, script.condition("ForeignWriter").0), (Truth::True, Truth::False));
        script.limits = MORE_CPU.or(script.limits);
        let usage = script.usage((1.9, 9 * GI, 20));
        let order = script.turn(Some(Ok(usage)), None, false);
        if apply == Apply::Restart {
            assert_eq!((order, script.condition("ForeignWriter")), (None, (Truth::True, "LeftAlone")), "no other restart");
            continue;
        }
        assert_eq!(script.condition("ForeignWriter"), (Truth::True, "Late"));
        let order = order.expect("it is put back");
        assert_eq!((order.wanted, order.apply), (Amounts { cpu: Some(Cpu(2000)), ..Amounts::default() }, Apply::Live));
        script.limits = ALL();
        script.turn(None, Some(&LimitOutcome { id: order.id, result: Ok(ALL()) }), false);
        assert_eq!(script.rows.last().map(|row| (row.action, row.status)), Some((ChangeAction::Rollback, ChangeStatus::Applied)));
        assert_eq!(script.look((1.9, 9 * GI, 20)), None);
        assert_eq!((script.condition("Failed").0, script.condition("ForeignWriter").0), (Truth::True, Truth::False));
    }
}

/// More than 2 cores are in use by then, or it fails again: it stays, and is said.
#[test]
fn what_came_late_is_put_back_as_any_limit_is_lowered_and_not_for_ever() {
    let mut script = begun("");
    let failure = || Some(LimitFailure { error: "no answer".into(), restored: Err("no answer".into()) });
    script.fails = failure();
    thrice(&mut script, (1.9, 9 * GI, 20));
    script.limits = MORE_CPU.or(script.limits);
    assert_eq!(script.look((2.5, 9 * GI, 20)), None);
    assert_eq!(script.condition("ForeignWriter"), (Truth::True, "Late"));
    assert_eq!(script.condition("ShrinkDeferred"), (Truth::True, "InUse"));
    script.fails = failure();
    assert!(script.look((1.9, 9 * GI, 20)).is_some());
    assert_eq!(thrice(&mut script, (1.9, 9 * GI, 20)), [], "once, and then it is for a person");
    assert_eq!(script.condition("ForeignWriter"), (Truth::True, "LeftAlone"));
}

#[test]
fn a_limit_whose_controller_is_not_there_keeps_no_other_from_being_held() {
    let mut script = begun("");
    (script.limits.cpu, script.stored.applied.cpu, script.lacking) = (None, None, vec![Resource::Cpu]);
    assert_eq!(thrice(&mut script, (1.9, 30 * GI, 20)), [Amounts { memory: Some(Memory(48 * GI)), ..Amounts::default() }]);
    assert_eq!(script.condition("LimitsEnforced"), (Truth::False, "NoController"));
    let said = script.stored.status.conditions.iter().find(|condition| condition.kind == "LimitsEnforced");
    assert!(said.is_some_and(|said| said.message.starts_with("no limit of cpu is held")), "{said:?}");
    script.facts.spec.bounds.min.cpu = None;
    script.facts.spec.bounds.max.cpu = None;
    script.look((1.9, 9 * GI, 20));
    assert_eq!(script.condition("LimitsEnforced").0, Truth::True, "it asks for none of CPU");
}

#[test]
fn who_has_no_pool_to_give_to_is_given_nothing_and_keeps_nothing() {
    let mut other = facts("  target: {pool: web}\n  reserve: {memory: 8Gi}\n  bounds: {min: {memory: 1Gi}, max: {memory: 4Gi}}");
    other.name = "other".into();
    let mut stored = StoredPolicy::default();
    stored.status.limits.memory = Some(Memory(4 * GI));
    for (poolless, given, kept) in [(false, 4, 8), (true, 0, 0)] {
        other.poolless = poolless;
        let all = || std::iter::once((&other, &stored));
        assert_eq!(budget::given_to_others(all(), "me").memory.map_or(0, |memory| memory.0 / GI), given);
        assert_eq!(budget::kept_for_host(all()).memory.map_or(0, |memory| memory.0 / GI), kept);
    }
}
