//! A pool and the policy on its memory, through the real engine: each hears of the other at once.
//! No worker ever runs here: what is looked at is which size is wanted and why.

use super::*;
use crate::model::policy_plan::Shortage;
use crate::model::policy_status::PolicyStatus;
use crate::model::queue_work::QueueCounts;
use crate::model::status::PoolStatus;

const POOL: &str = "
  scale: {minReplicas: 1, maxReplicas: 50, triggers: [{exec: {command: [backlog]}, pollingInterval: 30s, exact: {}}]}
  template: {command: [run]}
";
const POLICY: &str = "
  target: {pool: web}
  cooldown: 1s
  initial: {memory: 256Mi}
  bounds: {min: {memory: 64Mi}, max: {memory: 1Gi}}
";

fn pool(run: &mut Run) -> PoolStatus {
    match run.engine.host().shown.get(&(Kind::Pool, "web".into())) {
        Some(Object::Pool(pool)) => pool.status.clone(),
        other => panic!("it is shown: {other:?}"),
    }
}

fn budget(run: &mut Run) -> Option<String> {
    let clamps = pool(run).scaling.expect("explained").clamps;
    clamps.into_iter().find(|clamp| clamp.name == "poolBudget").map(|clamp| clamp.why)
}

#[test]
fn a_pool_grows_as_far_as_its_policy_may_give_memory_which_is_given() {
    let mut run = run(Stored::default());
    run.engine.host().agents = 40.0;
    run.documents(&[("web", POOL), ("memory", POLICY)]);
    for _look in 0..40 {
        run.look((0.1, 128 << 20, 5));
    }
    let status = pool(&mut run);
    // Nothing is known of a worker: 64Mi are expected of each.
    let clamps = status.scaling.expect("explained").clamps;
    assert_eq!(status.desired_replicas, 16, "{clamps:?}");
    let budget = clamps.iter().find(|clamp| clamp.name == "poolBudget").expect("it is said");
    assert_eq!(
        budget.why,
        "policy/memory may give the pool 1Gi, its bound, and a worker takes 64Mi (nothing is known of its workers)"
    );
    let more = run.engine.host().rows.iter().filter(|row| row.reason.starts_with("more workers: ")).count();
    assert!(more > 0, "{:?}", run.engine.host().rows);
    assert_eq!(run.engine.host().limits.memory, Some(Memory(GI)), "room for all of them");
}

#[test]
fn a_pool_hears_at_once_that_its_policy_is_another() {
    let larger = POLICY.replace("1Gi", "1152Mi");
    let disabled = format!("{POLICY}  mode: Disabled\n");
    let elsewhere = POLICY.replace("pool: web", "pool: other");
    let more = "policy/memory may give the pool 1152Mi, its bound, and a worker takes 64Mi (nothing is known of its workers)";
    for (edited, gives) in [(larger, Some(more)), (disabled, None), (elsewhere, None)] {
        let mut run = run(Stored::default());
        run.engine.host().agents = 40.0;
        run.documents(&[("web", POOL), ("memory", POLICY)]);
        for _look in 0..40 {
            run.look((0.1, 128 << 20, 5));
        }
        assert!(budget(&mut run).is_some_and(|why| why.starts_with("policy/memory may give the pool 1Gi, ")));
        // No time goes by.
        run.documents(&[("web", POOL), ("memory", &edited)]);
        assert_eq!(budget(&mut run).as_deref(), gives, "{edited}");
        assert!(pool(&mut run).desired_replicas > 16, "{edited}");
    }
}

#[test]
fn a_pool_hears_at_once_that_its_memory_is_short_and_that_it_is_not_any_more() {
    let mut run = run(Stored::default());
    run.engine.host().agents = 40.0;
    run.engine.host().limits.memory = Some(Memory(GI));
    run.documents(&[("web", POOL), ("memory", POLICY)]);
    run.engine.host().waits = 50.0;
    let short = |run: &mut Run| {
        let status = pool(run);
        assert_eq!(run.condition("memory", "MemoryPressed").0 == Truth::True, status.begins_nothing(), "both say the same");
        status.conditions.into_iter().find(|condition| condition.kind == "MemoryPressed").map(|condition| condition.reason)
    };
    let mut said = Vec::new();
    for _look in 0..6 {
        run.look((0.1, 1023 << 20, 5));
        said.push(short(&mut run));
    }
    let (closed, draining) = (Some("AdmissionStopped".to_owned()), Some("Draining".to_owned()));
    assert_eq!(said, [None, None, closed.clone(), closed.clone(), closed, draining]);
    assert_eq!(pool(&mut run).desired_replicas, 1, "none of them runs: only the one that is always there is wanted");
    let clamps = pool(&mut run).scaling.expect("explained").clamps;
    let clamp = clamps.iter().find(|clamp| clamp.name == "memoryPressure").expect("explain says it");
    assert!(clamp.why.starts_with("policy/memory: memory is short: it waits for memory 50% of the time"), "{clamp:?}");
    let told = |run: &mut Run, word: &str| {
        let shown = run.engine.host().shown.values();
        shown
            .filter(|object| matches!(object, Object::Event(event) if event.reason == word && event.regarding == "pool/web"))
            .count()
    };
    assert_eq!((told(&mut run, "MemoryPressed"), told(&mut run, "MemoryRelieved")), (2, 0));
    run.engine.host().waits = 0.0;
    for _look in 1..10 {
        run.look((0.1, 100 << 20, 5));
        assert!(short(&mut run).is_some());
    }
    run.look((0.1, 100 << 20, 5));
    assert_eq!((short(&mut run), told(&mut run, "MemoryRelieved")), (None, 1));
    assert!(pool(&mut run).desired_replicas > 1);
}

/// What a daemon before this one has kept of a policy that drained this target.
fn drained(target: &str) -> Stored {
    let shortage = Shortage { rung: Rung::Draining, why: "w".into(), ..Shortage::default() };
    let status = PolicyStatus { target: target.into(), ..PolicyStatus::default() };
    let kept = StoredPolicy { uid: "u".into(), created: Wall(1), status, shortage, ..StoredPolicy::default() };
    Stored { policies: vec![("memory".into(), kept)], ..Stored::default() }
}

#[test]
fn a_pool_is_held_back_for_what_was_seen_of_itself_by_a_policy_that_can_look() {
    let unable = Some("no systemd manager is reachable here".to_owned());
    for (target, unable, expected) in
        [("pool/web", None, Some(Rung::Draining)), ("pool/other", None, None), ("pool/web", unable, None)]
    {
        let mut run = run(drained(target));
        run.engine.host().unable = unable.clone();
        run.documents(&[("web", POOL), ("memory", POLICY)]);
        // Whichever turn comes first: the pool's may come before its policy's.
        run.engine.policies.get_mut("memory").expect("there is one").stored = drained(target).policies.remove(0).1;
        assert_eq!(run.engine.squeeze("web").map(|squeeze| squeeze.rung), expected, "{target} {unable:?}");
    }
}

#[test]
fn a_task_that_nobody_may_begin_is_looked_at_with_those_that_follow() {
    let pool = "\n  replicas: 2\n  queue: {delivery: Process}\n  template: {command: [run]}\n";
    let ready = QueueCounts { ready: 5, ..QueueCounts::default() };
    for (target, paused, at_once) in [("pool/other", false, true), ("pool/other", true, false), ("pool/web", false, false)] {
        let mut run = run(drained(target));
        run.engine.host().limits.memory = Some(Memory(GI));
        run.documents(&[("web", pool), ("memory", POLICY)]);
        let now = run.engine.host().now;
        let paused_until = paused.then_some(Wall(now.wall.0 + 60_000));
        run.engine.counted("web".into(), QueueCounts { paused_until, ..ready.clone() }, now);
        assert_eq!(run.engine.queue.next_wake() == Some(now.mono), at_once, "{target} {paused}");
        assert!(run.engine.queue.next_wake().is_some_and(|at| at <= now.mono.after(Span::millis(100))));
    }
}
