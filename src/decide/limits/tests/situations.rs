//! What happens in this case or that: the founding use case, failures, other writers, other daemons.
//! Values are worked out by hand.

use super::*;
use crate::model::policy::Profile;

const BUSY: Use = (1.9, 30 * GI, 240);
const CALM: Use = (0.2, 4 * GI, 20);
const FIRST: fn() -> Amounts = || amounts(2000, 32 * GI, 250);

fn begun(more: &str) -> Script {
    let mut script = Script::new(founding(more));
    script.look(CALM);
    script.look(CALM);
    assert_eq!(script.limits, FIRST(), "{:?}", script.stored.status.conditions);
    script
}

fn rest(script: &mut Script) {
    script.now.mono = script.now.mono.after(Span::secs(600));
    script.now.wall.0 += 600_000;
    if let Some(last) = &mut script.watching.last {
        // As if it had been looked at just now.
        (last.at, last.cpu_micros) = (script.now.mono, Ok(script.micros));
    }
}

#[test]
fn up_at_the_third_breach_and_down_after_ten_calm_looks() {
    let mut script = begun("");
    rest(&mut script);
    assert_eq!([script.look(BUSY), script.look(BUSY)], [None, None]);
    assert_eq!(script.look(BUSY), Some(amounts(3000, 48 * GI, 375)));
    assert_eq!((script.stored.status.scale_up_count, script.limits), (1, amounts(3000, 48 * GI, 375)));
    let row = script.rows.last().expect("it was done");
    assert_eq!((row.action, row.trigger, row.old, row.new), (ChangeAction::ScaleUp, ChangeTrigger::Cpu, FIRST(), script.limits));
    assert!(row.reason.starts_with("cpu at 95% of its limit, 85% is a breach; memory at 93.8%"), "{}", row.reason);
    rest(&mut script);
    for n in 1..10 {
        assert_eq!(script.look(CALM), None, "{n}");
    }
    assert_eq!(script.look(CALM), Some(amounts(1800, 28 * GI + (4 * GI).div_ceil(5) / 4096 * 4096, 225)));
    assert_eq!(script.stored.status.scale_down_count, 1);
}

#[test]
fn nothing_is_lowered_while_an_agent_runs_or_nobody_knows() {
    for agents in [Some(1.0), None] {
        let mut script = begun("");
        rest(&mut script);
        script.agents = agents;
        // The gauge's last answer counts until it is asked again.
        for _ in 0..30 {
            assert_eq!(script.look(CALM), None, "{agents:?}");
        }
        assert_eq!(script.stored.status.checks.down, 0);
    }
}

#[test]
fn a_calm_look_in_between_begins_anew() {
    let mut script = begun("");
    rest(&mut script);
    for used in [BUSY, BUSY, CALM, BUSY, BUSY] {
        assert_eq!(script.look(used), None);
    }
    assert!(script.look(BUSY).is_some());
}

#[test]
fn what_is_breached_alone_is_raised() {
    let mut script = begun("");
    rest(&mut script);
    script.look((0.2, 30 * GI, 20));
    script.look((0.2, 30 * GI, 20));
    assert_eq!(script.look((0.2, 30 * GI, 20)), Some(Amounts { memory: Some(Memory(48 * GI)), ..Amounts::default() }));
}

#[test]
fn between_two_changes_lies_the_cooldown() {
    let mut script = begun("");
    rest(&mut script);
    let done: Vec<bool> = (0..14).map(|_| script.look((7.0, 8 * GI, 20)).is_some()).collect();
    let at: Vec<usize> = (0..14).filter(|n| done[*n]).collect();
    assert_eq!(at, [2, 12], "5 minutes are 10 looks");
}

#[test]
fn profiles_say_when_and_how_far() {
    for (profile, breaches, cpu) in
        [(Profile::Conservative, 5, 2600), (Profile::Balanced, 3, 3000), (Profile::Aggressive, 2, 4000)]
    {
        let mut script = begun(&format!("  profile: {profile:?}"));
        rest(&mut script);
        for _ in 1..breaches {
            assert_eq!(script.look((1.9, 8 * GI, 20)), None, "{profile:?}");
        }
        assert_eq!(script.look((1.9, 8 * GI, 20)).and_then(|new| new.cpu), Some(Cpu(cpu)), "{profile:?}");
    }
}

#[test]
fn the_smallest_step_is_made_and_the_bounds_are_kept() {
    let mut script = begun("  scaleUp: {factor: 1.01, consecutiveChecks: 1}\n  cooldown: 0s");
    rest(&mut script);
    assert_eq!(script.look((1.9, 8 * GI, 20)).and_then(|new| new.cpu), Some(Cpu(2500)));
    for _ in 0..20 {
        script.look((8.0, 8 * GI, 20));
    }
    assert_eq!(script.limits.cpu, Some(Cpu(8000)));
    assert_eq!(script.condition("ScalingLimited"), (Truth::True, "AtBound"));
    assert_eq!(script.told.iter().filter(|told| **told == "ScalingLimited").count(), 1, "told once");
}

#[test]
fn the_hosts_reserve_is_never_given_away() {
    let mut script = begun("");
    rest(&mut script);
    (script.reserve, script.others) = (amounts(1000, 8 * GI, 50), amounts(60_500, 460 * GI, 99_500));
    assert_eq!((script.look(BUSY), script.look(BUSY)), (None, None));
    assert_eq!(script.look(BUSY), Some(amounts(2500, 44 * GI, 375)));
    rest(&mut script);
    (0..3).for_each(|_| assert_eq!(script.look((2.4, 43 * GI, 20)), None));
    assert_eq!(script.condition("ScalingLimited"), (Truth::True, "HostBudget"));
}

#[test]
fn nothing_is_lowered_below_what_is_used() {
    let mut script = begun("  scaleDown: {memory: 90, factor: 0.3}");
    rest(&mut script);
    (0..9).for_each(|_| assert_eq!(script.look((0.2, 24 * GI, 20)), None));
    // 24Gi of 32Gi are in use: 0.3 × 32Gi is refused, the others are lowered.
    assert_eq!(script.look((0.2, 24 * GI, 20)), Some(Amounts { cpu: Some(Cpu(1000)), memory: None, tasks: Some(100) }));
    assert_eq!(script.condition("ShrinkDeferred"), (Truth::True, "InUse"));
}

#[test]
fn a_kill_counts_at_once_and_is_owed_until_it_is_answered() {
    let mut script = begun("");
    script.kill(1);
    assert_eq!(script.look((0.2, 4 * GI, 20)), None, "cooldown");
    rest(&mut script);
    assert_eq!(script.look((0.2, 4 * GI, 20)), Some(Amounts { memory: Some(Memory(48 * GI)), ..Amounts::default() }));
    assert_eq!(script.rows.last().map(|row| row.trigger), Some(ChangeTrigger::Oom));
    rest(&mut script);
    assert_eq!(script.look((0.2, 4 * GI, 20)), None, "once for each");
}

#[test]
fn a_kill_at_the_limit_of_somebody_inside_it_is_told_and_raises_nothing() {
    let mut script = begun("");
    rest(&mut script);
    script.kills = 1;
    assert_eq!(script.look((0.2, 4 * GI, 20)), None);
    assert!(script.told.contains(&"OOMKilled"), "{:?}", script.told);
    assert_eq!(script.look((0.2, 4 * GI, 20)), None, "nor is it owed");
    // Where the kernel does not tell whose limit it was, it counts.
    script.own = Err("memory.events.local: not there".into());
    script.kills = 2;
    assert_eq!(script.look((0.2, 4 * GI, 20)), Some(Amounts { memory: Some(Memory(48 * GI)), ..Amounts::default() }));
}

#[test]
fn a_person_sets_limits_with_a_reason_and_lets_go_again() {
    let mut script = begun("  manual: {cpu: 6, memory: 96Gi, tasks: 750, reason: model training}");
    script.facts.spec.mode = Mode::Manual;
    script.facts.generation = 2;
    assert_eq!(script.look(CALM), Some(amounts(6000, 96 * GI, 750)), "no cooldown for people");
    let row = script.rows.last().expect("it was done");
    assert_eq!((row.action, row.reason.as_str()), (ChangeAction::Manual, "model training"));
    (0..20).for_each(|_| assert_eq!(script.look(CALM), None));
    script.facts.spec.mode = Mode::Enabled;
    script.facts.generation = 3;
    (0..9).for_each(|_| assert_eq!(script.look(CALM), None));
    assert_eq!(script.look(CALM).and_then(|new| new.cpu), Some(Cpu(3600)));
}

#[test]
fn disabled_is_looked_at_and_left_alone() {
    let mut script = Script::new(founding("  mode: Disabled"));
    for _ in 0..30 {
        assert_eq!(script.look(BUSY), None);
    }
    assert!(script.stored.status.usage.is_some());
    script.limits = amounts(1000, 40 * GI, 250);
    assert_eq!(script.look(BUSY), None);
}

#[test]
fn a_failed_change_ends_all_others_until_a_reset_or_an_edit() {
    for edit in [false, true] {
        let mut script = begun("");
        rest(&mut script);
        script.fails = Some(LimitFailure { error: "refused".into(), restored: Ok(()) });
        assert_eq!((0..3).filter_map(|_| script.look(BUSY)).count(), 1);
        assert_eq!((script.condition("Failed").0, script.condition("Applied")), (Truth::True, (Truth::False, "Failed")));
        let last: Vec<_> = script.rows.iter().rev().take(2).map(|row| (row.action, row.status)).collect();
        assert_eq!(last, [(ChangeAction::Rollback, ChangeStatus::Applied), (ChangeAction::ScaleUp, ChangeStatus::Failed)]);
        (0..20).for_each(|_| assert_eq!(script.look(BUSY), None));
        if edit {
            script.facts.generation = 2;
        } else {
            script.turn(None, None, true);
            assert_eq!(script.rows.last().map(|row| row.action), Some(ChangeAction::Reset));
        }
        let raised = (0..3).filter_map(|_| script.look(BUSY)).count();
        assert_eq!((raised, script.condition("Failed").0), (1, Truth::False));
    }
}

#[test]
fn somebody_elses_change_is_put_back_three_times_a_minute() {
    let mut script = begun("  checkInterval: 5s");
    let mut corrected = 0;
    for _ in 0..8 {
        script.limits.tasks = Some(9);
        corrected += u32::from(script.look((0.2, 9 * GI, 5)).is_some());
    }
    assert_eq!((corrected, script.condition("ForeignWriter")), (3, (Truth::True, "TooOften")));
    rest(&mut script);
    assert_eq!(script.look((0.2, 9 * GI, 5)), Some(Amounts { tasks: Some(250), ..Amounts::default() }));
    script.look((0.2, 9 * GI, 5));
    assert_eq!(script.condition("ForeignWriter"), (Truth::False, "Alone"));
}

#[test]
fn bounds_that_are_edited_hold_at_once() {
    let mut script = begun("");
    script.facts.spec.bounds.max = amounts(1500, 16 * GI, 1500);
    script.facts.generation = 2;
    assert_eq!(script.look(CALM), Some(Amounts { cpu: Some(Cpu(1500)), memory: Some(Memory(16 * GI)), tasks: None }));
}

#[test]
fn another_daemon_goes_on_where_the_last_one_was() {
    let mut script = begun("");
    rest(&mut script);
    assert_eq!((0..3).filter_map(|_| script.look(BUSY)).count(), 1);
    let raised = script.limits;
    // A new daemon: what one daemon remembers is gone.
    script.watching = Watching::default();
    (0..9).for_each(|n| assert_eq!(script.look((2.9, 8 * GI, 20)), None, "cooldown, {n}"));
    assert_eq!((script.stored.status.scale_up_count, script.limits), (1, raised));
    assert!((0..3).any(|_| script.look((2.9, 8 * GI, 20)).is_some()), "and no longer than that");
}

#[test]
fn a_change_in_which_the_daemon_died_is_its_own() {
    for done in [true, false] {
        let mut script = begun("");
        rest(&mut script);
        assert_eq!((script.look(BUSY), script.look(BUSY)), (None, None));
        let usage = script.usage(BUSY);
        let order = script.turn(Some(Ok(usage)), None, false).expect("the third breach");
        script.watching = Watching::default();
        if done {
            script.limits = order.wanted;
        }
        assert_eq!(script.look(CALM), None);
        let status = if done { ChangeStatus::Applied } else { ChangeStatus::Failed };
        assert_eq!(script.rows.last().map(|row| (row.action, row.status)), Some((ChangeAction::ScaleUp, status)));
        assert_eq!(script.condition("ForeignWriter").0, Truth::False);
    }
}

#[test]
fn a_target_that_is_not_there_is_said_and_looked_for() {
    let mut script = begun("");
    let why = "Unit autocoder-ui.service not found".to_owned();
    script.turn(None, None, false);
    script.now.mono = script.now.mono.after(Span::secs(30));
    script.turn(Some(Err(why)), None, false);
    assert_eq!(script.condition("TargetFound"), (Truth::False, "NotFound"));
    assert_eq!(script.stored.status.usage, None);
    script.look(CALM);
    assert_eq!(script.condition("TargetFound").0, Truth::True);
}

#[test]
fn a_livelock_is_named() {
    let mut script = begun("  pressure: {memory: 10}");
    rest(&mut script);
    for n in 0..5 {
        script.held_back += 100;
        let mut usage = script.usage((0.2, 29 * GI, 20));
        usage.pressure.memory = Ok(80.0);
        script.limits.memory = Some(Memory(32 * GI));
        usage.limits = script.limits;
        script.turn(Some(Ok(usage)), None, false);
        script.watching.ordered = None;
        script.stored.pending = None;
        assert_eq!(script.condition("MemoryHeldBack").0 == Truth::True, n >= 2, "{n}");
    }
    assert!(script.told.contains(&"MemoryHeldBack"));
}

#[test]
fn one_target_has_one_policy_and_a_pool_must_be_there() {
    let mut script = Script::new(founding(""));
    script.facts.rival = Some("other".into());
    assert_eq!(script.look(BUSY), None);
    assert_eq!(script.condition("Accepted"), (Truth::False, "TargetTaken"));
    let mut script = Script::new(founding(""));
    script.facts.poolless = true;
    assert_eq!(script.look(BUSY), None);
    assert_eq!((script.condition("Accepted").0, script.condition("TargetFound")), (Truth::True, (Truth::False, "NoSuchPool")));
}

/// The memory of workers that are wanted is room that is needed before they use it, and room that is not taken away.
#[test]
fn a_pool_that_grows_is_given_room_for_more_and_keeps_it() {
    let mut script = begun("");
    rest(&mut script);
    let held = script.limits.memory.expect("it has a limit").0;
    script.size = Some(PoolSize { wanted: 5, running: 2, each: Memory(held / 4) });
    let raised = script.look(CALM).expect("raised at once: the workers come in any case").memory.expect("of memory").0;
    assert_eq!(raised, held * 3 / 2);
    let row = script.rows.last().expect("told");
    assert_eq!((row.action, row.trigger), (ChangeAction::ScaleUp, ChangeTrigger::Memory));
    assert!(row.reason.starts_with("more workers: 5 are wanted at "), "{}", row.reason);
    rest(&mut script);
    for _look in 0..40 {
        let lowered = script.look(CALM).and_then(|all| all.memory);
        assert!(lowered.is_none_or(|memory| memory.0 >= held / 4 * 5), "{lowered:?}");
    }
    let mut script = begun("");
    rest(&mut script);
    script.size = Some(PoolSize { wanted: 12, running: 2, each: Memory(held / 4) });
    assert_eq!(script.look(CALM).and_then(|all| all.memory), Some(Memory(held * 3)), "what is needed, and not one step of it");
    let mut script = begun("");
    script.size = Some(PoolSize { wanted: 12, running: 2, each: Memory(held / 4) });
    script.facts.spec.bounds.max.memory = Some(Memory(held));
    let cpu = script.limits.cpu.expect("it has a limit");
    rest(&mut script);
    for _look in 0..40 {
        script.look(CALM);
    }
    assert!(script.limits.cpu.is_some_and(|now| now < cpu), "what is wanted of memory keeps no CPU");
    assert_eq!(script.limits.memory, Some(Memory(held)));
    let mut script = begun("");
    rest(&mut script);
    script.size = Some(PoolSize { wanted: 2, running: 2, each: Memory(held / 4) });
    let raised = (0..3).filter_map(|_| script.look(BUSY)).count();
    let row = script.rows.last().expect("told");
    assert_eq!(raised, 1);
    assert!(row.reason.contains("; bigger workers: no more than the 2 that are wanted, at "), "{}", row.reason);
}

/// A file that was read once stays in memory until somebody needs the room: it is no reason for more of it.
#[test]
fn what_the_kernel_gives_back_at_once_is_not_used() {
    let mut script = begun("  scaleDown: {consecutiveChecks: 3}");
    rest(&mut script);
    let mut orders = Vec::new();
    for _ in 0..4 {
        let mut usage = script.usage(CALM);
        usage.memory = Ok(Memory(32 * GI - 1));
        orders.extend(script.seen(usage));
    }
    assert_eq!(orders.iter().map(|order| order.memory).collect::<Vec<_>>(), [Some(Memory(20_615_839_744))], "0.6 × 32Gi");
    assert_eq!(script.stored.status.usage.as_ref().and_then(|usage| usage.memory_bytes), Some(4 * GI));
}
