//! A pool that is short of memory and may be given no more: what is done about it, in which order, and when it ends.
//! What the pool makes of it is tested where its size is decided on.

use super::*;
use crate::decide::limits::ladder::{Sign, after};
use crate::model::host::Rung;
use crate::model::policy_plan::Shortage;

/// A policy on a pool whose limit is at its bound from the beginning.
fn at_its_bound(more: &str) -> Script {
    let mut script = Script::new(facts(&format!(
        "  target: {{pool: web}}\n  cooldown: 0s\n  bounds: {{min: {{memory: 1Gi}}, max: {{memory: 4Gi}}}}\n{more}"
    )));
    script.limits.memory = Some(Memory(4 * GI));
    script
}

/// A look at which it waits so much for memory. Says what is done then.
fn waits(script: &mut Script, percent: f64) -> Rung {
    script.waits = percent;
    if percent > 0.0 {
        script.reach();
    }
    // The first look shows nothing of what has happened since: then it stands at its limit.
    let used = if script.watching.last.is_none() { 4 * GI - 1 } else { 3 * GI };
    script.look((0.1, used, 5));
    script.stored.shortage.rung
}

use Rung::{Closed, Draining, Free, Lifted};

#[test]
fn nothing_new_is_begun_after_three_looks_and_idle_workers_go_after_three_more() {
    let mut script = at_its_bound("");
    let rungs: Vec<Rung> = (0..8).map(|_| waits(&mut script, 10.0)).collect();
    assert_eq!(rungs, [Free, Free, Closed, Closed, Closed, Draining, Draining, Draining]);
    assert_eq!(script.condition("MemoryPressed"), (Truth::True, "Draining"));
    let said = squeeze("web", &script.stored.shortage).expect("it is held back");
    let why = "policy/web: memory is short: it waits for memory 10% of the time, 10% is too much, and it has 4Gi, its bound; \
               no task is begun, and idle workers go, until it has room";
    assert_eq!((said.rung, said.why.as_str()), (Draining, why));
    assert_eq!(script.limits.memory, Some(Memory(4 * GI)), "no limit is touched for it");
}

#[test]
fn it_ends_after_as_many_calm_looks_as_a_lowering_takes_and_not_before() {
    let mut script = at_its_bound("  scaleDown: {onlyWhenIdle: true}");
    (0..3).for_each(|_| {
        waits(&mut script, 50.0);
    });
    // Less than the threshold is not calm yet; one look that is not begins anew.
    for percent in [0.0, 0.0, 5.0, 9.9] {
        assert_eq!(waits(&mut script, percent), Closed, "{percent}");
    }
    (1..10).for_each(|n| assert_eq!(waits(&mut script, 4.9), Closed, "{n}"));
    assert_eq!(waits(&mut script, 4.9), Free);
    assert_eq!(script.condition("MemoryPressed"), (Truth::False, "Free"));
    assert_eq!((waits(&mut script, 50.0), waits(&mut script, 50.0)), (Free, Free), "from the beginning");
}

#[test]
fn as_long_as_more_can_be_given_that_is_what_is_done() {
    let mut script = at_its_bound("  minStep: {memory: 1Gi}");
    script.limits.memory = Some(Memory(GI));
    let mut given = Vec::new();
    let rungs: Vec<Rung> = (0..9)
        .map(|_| {
            let rung = waits(&mut script, 50.0);
            given.push(script.limits.memory.map(|limit| limit.0 / GI));
            rung
        })
        .collect();
    // 1, 2, 3 and 4Gi, each after three breaches; short is what it then still is.
    assert_eq!(given.iter().flatten().copied().collect::<Vec<u64>>(), [1, 1, 2, 2, 2, 3, 3, 3, 4]);
    assert_eq!(rungs, [Free; 9]);
    assert_eq!([(); 3].map(|()| waits(&mut script, 50.0)), [Free, Free, Closed]);
}

#[test]
fn a_host_without_more_memory_is_an_end_too() {
    let mut script = at_its_bound("");
    script.limits.memory = Some(Memory(2 * GI));
    (script.reserve, script.others) = (amounts(0, 8 * GI, 0), amounts(0, 502 * GI, 0));
    assert_eq!([(); 3].map(|()| waits(&mut script, 50.0)), [Free, Free, Closed]);
    assert!(script.stored.shortage.why.ends_with("and it has 2Gi, all that the host has left"), "{:?}", script.stored.shortage);
}

#[test]
fn a_kill_counts_at_once() {
    let mut script = at_its_bound("");
    assert_eq!(waits(&mut script, 0.0), Free);
    script.kill(1);
    assert_eq!(waits(&mut script, 0.0), Closed);
    assert_eq!(waits(&mut script, 0.0), Closed, "each once");
    script.kill(2);
    assert_eq!(waits(&mut script, 0.0), Draining);
    assert!(script.stored.shortage.why.starts_with("the kernel killed in it"), "{:?}", script.stored.shortage);
}

/// One worker at its own limit is that worker's affair: the pool has 27Gi that nobody uses.
#[test]
fn what_happens_at_a_workers_own_limit_is_not_the_pools_shortage() {
    let mut script = at_its_bound("");
    script.waits = 50.0;
    for kills in 0..20 {
        script.kills = kills;
        script.look((0.1, GI, 5));
        assert_eq!(script.stored.shortage, Shortage::default(), "{kills}");
    }
    assert_eq!(script.told.iter().filter(|told| **told == "OOMKilled").count(), 19, "it is told all the same");
    // Nor does it keep a pool held back that has room again.
    (0..3).for_each(|_| {
        waits(&mut script, 50.0);
    });
    assert_eq!(script.stored.shortage.rung, Closed);
    script.waits = 50.0;
    (0..10).for_each(|_| {
        script.look((0.1, GI, 5));
    });
    assert_eq!(script.stored.shortage.rung, Free);
}

#[test]
fn who_stands_at_its_limit_is_full_though_the_kernel_does_not_count_for_it_alone() {
    let mut script = at_its_bound("");
    script.own = Err("memory.events.local: not there".into());
    script.waits = 50.0;
    let look = |script: &mut Script, used: Option<u64>| {
        let mut usage = script.usage((0.1, used.unwrap_or(0), 5));
        if used.is_none() {
            usage.memory = Err("unknown".into());
        }
        script.seen(usage);
        script.stored.shortage.rung
    };
    assert_eq!([(); 4].map(|()| look(&mut script, Some(3 * GI))), [Free; 4]);
    assert_eq!([(); 3].map(|()| look(&mut script, Some(4 * GI - 1))), [Free, Free, Closed]);
    assert_eq!([(); 3].map(|()| look(&mut script, None)), [Closed, Closed, Draining], "what is not known is no room");
    script.kills += 1;
    assert_eq!(look(&mut script, Some(GI)), Draining);
    assert!(script.stored.shortage.why.starts_with("the kernel killed in it"), "{:?}", script.stored.shortage);
}

#[test]
fn being_held_back_at_memory_high_counts_where_the_kernel_tells_no_pressure() {
    let mut script = at_its_bound("");
    let mut rungs = Vec::new();
    for held_back in [0, 1, 2, 3] {
        script.held_back = held_back;
        let mut usage = script.usage((0.1, 4 * GI - 1, 5));
        usage.pressure.memory = Err("no PSI".into());
        script.seen(usage);
        rungs.push(script.stored.shortage.rung);
    }
    assert_eq!(rungs, [Free, Free, Free, Closed]);
}

/// Files that were read once fill it to the limit, where they are given back to whoever asks.
#[test]
fn file_pages_at_memory_high_are_no_livelock_where_the_kernel_tells_no_pressure() {
    let mut script = at_its_bound("");
    for held_back in 0..20 {
        script.held_back = held_back;
        let mut usage = script.usage((0.1, 4 * GI - 1, 5));
        (usage.pressure.memory, usage.working) = (Err("no PSI".into()), Ok(Memory(GI)));
        script.seen(usage);
        assert_eq!((script.stored.shortage.rung, script.condition("MemoryHeldBack").0), (Free, Truth::False));
    }
}

#[test]
fn a_pool_without_processes_is_not_short_and_one_that_cannot_be_read_stays_as_it_is() {
    let mut script = at_its_bound("");
    (0..3).for_each(|_| {
        waits(&mut script, 50.0);
    });
    let blind = |script: &mut Script, why: &str| {
        script.turn(Some(Err(why.to_owned())), None, false);
        script.stored.shortage.rung
    };
    (0..30).for_each(|_| assert_eq!(blind(&mut script, "no answer"), Closed));
    (1..10).for_each(|n| assert_eq!(blind(&mut script, "slice not found"), Closed, "{n}"));
    assert_eq!(blind(&mut script, "slice not found"), Free);
}

/// A pool that is drained, and what is said of it.
fn drained() -> Script {
    let mut script = at_its_bound("");
    (0..6).for_each(|_| {
        waits(&mut script, 50.0);
    });
    assert_eq!((script.stored.shortage.rung, script.condition("MemoryPressed").0), (Draining, Truth::True));
    script
}

#[test]
fn what_was_done_for_one_target_is_not_done_for_another_nor_by_a_policy_that_does_nothing() {
    let edits: [fn(&mut PolicyFacts); 4] = [
        |facts| facts.spec.target.pool = Some("other".into()),
        |facts| facts.poolless = true,
        |facts| facts.rival = Some("first".into()),
        |facts| facts.removed = true,
    ];
    for (n, edit) in edits.into_iter().enumerate() {
        let mut script = drained();
        edit(&mut script.facts);
        script.turn(None, None, false);
        assert_eq!(script.stored.shortage, Shortage::default(), "{n}");
        assert_eq!(script.condition("MemoryPressed"), (Truth::False, "Free"), "{n}");
    }
}

#[test]
fn where_no_limit_can_ever_be_enforced_and_where_the_policy_is_disabled_a_look_that_fails_ends_it() {
    let mut unable = drained();
    unable.unable = Some("pools have no slices");
    let mut disabled = drained();
    disabled.facts.spec.mode = Mode::Disabled;
    for script in [&mut unable, &mut disabled] {
        script.turn(Some(Err("no answer".into())), None, false);
        assert_eq!((script.stored.shortage.rung, script.condition("MemoryPressed")), (Free, (Truth::False, "Free")));
    }
    let mut neither = drained();
    neither.turn(Some(Err("no answer".into())), None, false);
    assert_eq!(neither.stored.shortage.rung, Draining);
}

#[test]
fn only_a_policy_that_rules_over_the_memory_of_a_pool_holds_it_back() {
    let mut unit = Script::new(founding(""));
    unit.limits = amounts(2000, 192 * GI, 250);
    let mut looked_at = at_its_bound("  mode: Disabled");
    let mut other = Script::new(facts("  target: {pool: web}\n  bounds: {min: {tasks: 1}, max: {tasks: 9}}"));
    (other.limits.memory, other.limits.tasks) = (Some(Memory(4 * GI)), Some(9));
    for script in [&mut unit, &mut looked_at, &mut other] {
        (0..9).for_each(|_| assert_eq!(waits(script, 90.0), Free));
        assert!(script.stored.status.conditions.iter().all(|condition| condition.kind != "MemoryPressed"));
    }
    let mut manual = at_its_bound("  mode: Manual\n  manual: {memory: 2Gi}");
    manual.look((0.1, GI, 5));
    assert_eq!([(); 3].map(|()| waits(&mut manual, 50.0)), [Free, Free, Closed], "nobody raises it");
    manual.facts.spec.mode = Mode::Disabled;
    assert_eq!((waits(&mut manual, 50.0), manual.condition("MemoryPressed")), (Free, (Truth::False, "Free")));
}

#[test]
fn a_failed_change_is_the_end_of_raising_and_the_next_daemon_knows_what_this_one_did() {
    let mut script = at_its_bound("");
    script.limits.memory = Some(Memory(2 * GI));
    script.fails = Some(LimitFailure { error: "refused".into(), restored: Ok(()) });
    let rungs: Vec<Rung> = (0..6).map(|_| waits(&mut script, 50.0)).collect();
    assert_eq!(rungs, [Free, Free, Free, Free, Free, Closed], "three until it is tried, three until it is given up");
    script.watching = Watching::default();
    assert_eq!(waits(&mut script, 0.0), Closed);
    let kept: StoredPolicy = serde_json::from_str(&serde_json::to_string(&script.stored).unwrap()).unwrap();
    assert_eq!(kept.shortage, script.stored.shortage);
}

/// A look at a pool that stands at `MemoryHigh`, or at which it uses so much and is left alone.
fn stands(script: &mut Script, used: Option<u64>) -> Rung {
    script.waits = if used.is_none() { 50.0 } else { 0.0 };
    script.held_back += u64::from(used.is_none() && script.high == High::Below);
    script.look((0.1, used.unwrap_or(4 * GI - 1), 5));
    script.stored.shortage.rung
}

/// The same so many times.
fn again(times: u32, script: &mut Script, used: Option<u64>) {
    for _ in 0..times {
        stands(script, used);
    }
}

fn last(script: &Script) -> (ChangeAction, ChangeStatus, High) {
    let row = script.rows.last().expect("something was done");
    (row.action, row.status, row.high)
}

#[test]
fn who_stands_at_memory_high_when_all_else_is_done_is_let_to_the_limit_and_held_back_again_when_it_is_calm() {
    let mut script = at_its_bound("");
    // The first look shows nothing of what has happened since.
    let rungs: Vec<Rung> = (0..10).map(|_| stands(&mut script, None)).collect();
    assert_eq!(rungs, [Free, Free, Closed, Closed, Closed, Draining, Draining, Draining, Lifted, Lifted]);
    assert_eq!((script.high, last(&script)), (High::AtMax, (ChangeAction::LiftHigh, ChangeStatus::Applied, High::AtMax)));
    assert_eq!((script.limits.memory, script.rows.len()), (Some(Memory(4 * GI)), 1), "no limit is touched, and once is enough");
    assert_eq!(script.told.iter().filter(|told| **told == "MemoryHighLifted").count(), 1);
    assert_eq!(script.condition("MemoryPressed"), (Truth::True, "MemoryMaxDecides"));
    let said = squeeze("web", &script.stored.shortage).expect("it is held back");
    assert!(said.rung == Lifted && said.why.contains("MemoryHigh is MemoryMax, where the kernel decides"), "{said:?}");
    assert_eq!((script.stored.status.last_scale_time, script.stored.status.scale_up_count), (None, 0), "no limit was scaled");
    // The next daemon, a kill, and a look between the two change nothing of it.
    script.watching = Watching::default();
    script.stored = serde_json::from_str(&serde_json::to_string(&script.stored).unwrap()).unwrap();
    script.kill(1);
    assert_eq!([stands(&mut script, None), stands(&mut script, None)], [Lifted, Lifted]);
    (1..10).for_each(|n| assert_eq!(stands(&mut script, Some(3 * GI)), Lifted, "{n}"));
    assert_eq!((script.rows.len(), script.high), (1, High::AtMax), "nobody else changed it");
    assert_eq!((stands(&mut script, Some(3 * GI)), script.high), (Free, High::Below));
    assert_eq!(last(&script), (ChangeAction::LowerHigh, ChangeStatus::Applied, High::Below));
    assert!((0..20).all(|_| stands(&mut script, Some(3 * GI)) == Free) && script.rows.len() == 2);
}

/// Up to the look at which it is lifted.
fn lifted(more: &str) -> Script {
    let mut script = at_its_bound(more);
    again(9, &mut script, None);
    assert_eq!((script.stored.shortage.rung, script.high), (Lifted, High::AtMax));
    script
}

/// Deleted and added again, or in the place of another: nothing is known but what the kernel says.
#[test]
fn who_comes_to_a_pool_whose_memory_high_is_lifted_puts_it_back() {
    for mode in [Mode::Enabled, Mode::Manual, Mode::Disabled] {
        let mut script = lifted("");
        (script.stored, script.watching, script.facts.spec.mode) = (StoredPolicy::default(), Watching::default(), mode);
        stands(&mut script, Some(3 * GI));
        let high = if mode == Mode::Disabled { High::AtMax } else { High::Below };
        assert_eq!(script.high, high, "{mode:?}: who sets nothing puts back what he did, and nothing else");
    }
    let mut fought = at_its_bound("  checkInterval: 5s");
    for _ in 0..9 {
        fought.high = High::AtMax;
        stands(&mut fought, Some(3 * GI));
    }
    assert_eq!(fought.rows.len(), 3, "and not for ever");
}

fn removed(facts: &mut PolicyFacts) {
    facts.removed = true;
}

fn elsewhere(facts: &mut PolicyFacts) {
    facts.spec.target.pool = Some("other".into());
}

#[test]
fn a_policy_that_leaves_a_pool_leaves_no_memory_high_lifted() {
    for leaves in [removed, elsewhere] {
        let mut script = lifted("");
        stands(&mut script, Some(3 * GI));
        leaves(&mut script.facts);
        let order = script.turn(None, None, false).expect("it is put back");
        assert_eq!((order.name.as_str(), order.target.pool.as_deref()), ("pool/web", Some("web")));
        assert_eq!((order.wanted.memory, order.high), (Some(Memory(4 * GI)), High::Below));
        assert_eq!(script.turn(None, None, false), None, "once");
        let outcome = LimitOutcome { id: order.id, result: Ok(script.limits) };
        assert_eq!(script.turn(None, Some(&outcome), false), None);
        assert_eq!(last(&script), (ChangeAction::LowerHigh, ChangeStatus::Applied, High::Below));
        assert_eq!((script.watching.ordered.is_none(), script.stored.high), (true, High::Below));
        let mut used = lifted("");
        leaves(&mut used.facts);
        assert_eq!((used.turn(None, None, false), used.told.last()), (None, Some(&"ShrinkDeferred")), "what runs is let run");
    }
    let mut failed = lifted("");
    stands(&mut failed, Some(3 * GI));
    failed.facts.removed = true;
    let order = failed.turn(None, None, false).expect("it is put back");
    let refused = LimitFailure { error: "refused".into(), restored: Ok(()) };
    failed.turn(None, Some(&LimitOutcome { id: order.id, result: Err(refused) }), false);
    assert_eq!(failed.turn(None, None, false), None, "it is not tried for ever");
}

#[test]
fn to_wait_for_memory_or_to_be_killed_in_is_no_reason_to_lift_memory_high() {
    let mut script = at_its_bound("");
    (0..30).for_each(|n| {
        script.kill(u64::from(n > 0));
        assert_ne!(waits(&mut script, 50.0), Lifted, "{n}");
    });
    let mut broken = at_its_bound("");
    again(8, &mut broken, None);
    // It gets on for one look: from the beginning of this rung.
    assert_eq!(waits(&mut broken, 50.0), Draining);
    assert_eq!([(); 3].map(|()| stands(&mut broken, None)), [Draining, Draining, Lifted]);
}

#[test]
fn memory_high_is_not_put_back_below_what_is_used() {
    let mut script = lifted("");
    again(12, &mut script, Some(4 * GI - 1));
    assert_eq!((script.stored.shortage.rung, script.high), (Free, High::AtMax));
    assert_eq!(script.condition("ShrinkDeferred"), (Truth::True, "InUse"));
    stands(&mut script, Some(3 * GI));
    assert_eq!((script.high, script.condition("ShrinkDeferred").0), (High::Below, Truth::False));
    let mut disabled = lifted("");
    disabled.facts.spec.mode = Mode::Disabled;
    assert_eq!((stands(&mut disabled, None), disabled.high), (Free, High::AtMax), "it still uses more");
    assert_eq!((stands(&mut disabled, Some(GI)), disabled.high), (Free, High::Below), "once, though nothing else is set");
    assert!((0..5).all(|_| stands(&mut disabled, None) == Free) && disabled.rows.len() == 2);
}

#[test]
fn whatever_sets_memory_meanwhile_leaves_memory_high_where_it_is() {
    let mut script = lifted("");
    script.limits.memory = Some(Memory(3 * GI));
    stands(&mut script, Some(2 * GI));
    assert_eq!(last(&script), (ChangeAction::Correct, ChangeStatus::Applied, High::AtMax), "somebody else's change");
    script.facts.spec.mode = Mode::Manual;
    script.facts.spec.manual = Some(crate::model::policy::Manual { memory: Some(Memory(3 * GI)), ..Default::default() });
    stands(&mut script, Some(2 * GI));
    assert_eq!(last(&script), (ChangeAction::Manual, ChangeStatus::Applied, High::AtMax));
    assert_eq!((script.high, script.limits.memory), (High::AtMax, Some(Memory(3 * GI))));
    // What a person wants and the bounds do not allow keeps nothing from being put back.
    script.facts.spec.manual = Some(crate::model::policy::Manual { memory: Some(Memory(9 * GI)), ..Default::default() });
    again(12, &mut script, Some(2 * GI));
    assert_eq!(last(&script), (ChangeAction::LowerHigh, ChangeStatus::Applied, High::Below));
}

#[test]
fn memory_high_that_could_not_be_lifted_fails_the_policy_and_is_tried_after_a_reset() {
    let mut script = at_its_bound("");
    again(8, &mut script, None);
    script.fails = Some(LimitFailure { error: "refused".into(), restored: Ok(()) });
    assert_eq!((stands(&mut script, None), script.high), (Draining, High::Below));
    let rows: Vec<_> = script.rows.iter().map(|row| (row.action, row.status, row.high)).collect();
    assert_eq!(
        rows,
        [
            (ChangeAction::LiftHigh, ChangeStatus::Failed, High::AtMax),
            (ChangeAction::Rollback, ChangeStatus::Applied, High::Below)
        ]
    );
    assert_eq!((script.condition("Failed").0, script.condition("MemoryPressed").1), (Truth::True, "Draining"));
    (0..9).for_each(|n| assert_eq!(stands(&mut script, None), Draining, "{n}"));
    script.turn(None, None, true);
    assert_eq!([(); 3].map(|()| stands(&mut script, None)), [Draining, Draining, Lifted]);
    assert_eq!(script.high, High::AtMax);
}

/// The daemon dies between the row and its outcome: what is read then says whether it was done.
#[test]
fn a_daemon_that_died_while_memory_high_was_moved_is_followed_by_one_that_looks() {
    for done in [true, false] {
        let mut script = at_its_bound("");
        again(8, &mut script, None);
        script.held_back += 1;
        let usage = script.usage((0.1, 4 * GI - 1, 5));
        let order = script.turn(Some(Ok(usage)), None, false).expect("it is lifted");
        assert_eq!((order.high, order.wanted.memory), (High::AtMax, Some(Memory(4 * GI))));
        script.watching = Watching::default();
        script.high = if done { High::AtMax } else { High::Below };
        stands(&mut script, Some(4 * GI - 1));
        let rows: Vec<_> = script.rows.iter().map(|row| row.status).collect();
        let lost = [ChangeStatus::Failed, ChangeStatus::Applied];
        assert_eq!(rows, lost[usize::from(done)..], "done: {done}");
        assert_eq!((script.high, script.stored.high), (High::AtMax, High::AtMax), "done or done again: {done}");
    }
}

/// Over any looks: it is never let go at a look that is not calm, and never held back more without one that is pressed.
#[test]
fn it_goes_up_by_one_and_down_to_the_ground() {
    let rules = Rules::of(&founding("").spec);
    let pressed = |killed, stuck| Sign::Pressed { killed, stuck, why: "w".into() };
    let all = [Sign::Calm, Sign::Neither, pressed(true, true), pressed(true, false), pressed(false, false), pressed(false, true)];
    let (mut shortage, mut seed, mut seen) = (Shortage::default(), 1u64, [0u32; 4]);
    for _ in 0..200_000 {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Mostly calm or pressed: else no row would be long enough for anything.
        let sign = if seed >> 60 == 0 { &all[(seed >> 40) as usize % 6] } else { &all[usize::from(seed >> 62 == 3) * 5] };
        let next = after(&shortage, sign, &rules);
        seen[next.rung as usize] += 1;
        match sign {
            Sign::Pressed { stuck, .. } => {
                assert!(next.rung != Lifted || shortage.rung == Lifted || *stuck && shortage.pressed + 1 == rules.checks_up);
                assert!(next.rung >= shortage.rung && next.rung as u8 <= shortage.rung as u8 + 1 && next.calm == 0);
            }
            Sign::Calm => assert!(next.rung == shortage.rung || next.rung == Free && shortage.calm + 1 == rules.checks_down),
            Sign::Neither | Sign::Apart => assert_eq!((next.rung, next.calm, next.pressed), (shortage.rung, 0, 0)),
        }
        shortage = next;
    }
    assert!(seen.iter().all(|times| *times > 1000), "each was come to: {seen:?}");
}
