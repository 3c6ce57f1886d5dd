//! How long a task is told to wait, by what tasks of its class and of those before it took.

use serde_json::{Value, json};
use weir::model::status::{Kind, Object, Phase};
use weir::model::time::Span;
use weir::model::workload::{Class, Needed};

use super::served::{World, worker};
use super::{ask, queued};

fn wait(answer: &Value) -> Option<Span> {
    answer["estimatedWait"].as_str().map(|text| text.parse().unwrap())
}

/// A pool of so many workers, half of whose tasks took so long, and so many of which are idle.
fn shown(world: &World, name: &str, (replicas, p50_ms, free_slots): (u32, u64, u32)) {
    let object = world.board.get(Kind::Pool, name).unwrap();
    let Object::Pool(mut pool) = (*object).clone() else { panic!("a pool") };
    (pool.status.desired_replicas, pool.spec.replicas) = (replicas, Some(replicas));
    let queue = pool.status.queue.as_mut().unwrap();
    (queue.stats.p50_ms, queue.free_slots) = (Some(p50_ms), free_slots);
    pool.status.busy_replicas = replicas - free_slots;
    world.board.put(Object::Pool(pool));
}

#[test]
fn a_wait_is_as_long_as_tasks_of_the_classes_before_it_took() {
    let world = World::new();
    queued(&world, "mixed", "{delivery: Lease, concurrencyKey: true}");
    shown(&world, "mixed", (1, 5000, 0));
    let submit = |task: &Value| ask(&world, "POST /v1/pools/mixed/tasks", task).1;
    let capacity = || ask(&world, "GET /v1/pools/mixed/capacity", &Value::Null).1;
    let first = submit(&json!({"key": "slow:repo:1"}));
    assert_eq!(wait(&first), Some(Span::secs(5)), "too little is known of any class: a round of half of the last: {first}");
    assert_eq!(capacity()["estimatedFrom"], "what the last tasks took");
    for _ in 0..10 {
        world.board.learnt.add("mixed", &Class::of("submit", Some("slow:repo:0")), Needed { ran_ms: 60_000, memory: None });
        world.board.learnt.add("mixed", &Class::of("submit", Some("fast:repo:0")), Needed { ran_ms: 1000, memory: None });
    }
    let second = submit(&json!({"key": "fast:repo:1"}));
    assert_eq!((&second["position"], wait(&second)), (&json!(2), Some(Span::secs(60))), "a slow one goes before it: {second}");
    assert_eq!(capacity()["estimatedFrom"], "what tasks of each class took");
    let (_, all) = ask(&world, "GET /v1/tasks?pool=mixed", &Value::Null);
    let waits: Vec<Option<Span>> = all["items"].as_array().unwrap().iter().map(wait).collect();
    assert_eq!(waits, [Some(Span(0)), Some(Span::secs(60))], "{all}");
}

#[test]
fn what_is_free_is_counted_from_what_runs_by_now_and_no_wait_is_told_where_nothing_can_begin() {
    let world = World::new();
    queued(&world, "few", "{delivery: Lease}");
    shown(&world, "few", (2, 5000, 2));
    for n in 0..2 {
        world.board.put(worker("few", n, Phase::Ready));
    }
    let free = || ask(&world, "GET /v1/pools/few/capacity", &Value::Null).1["freeSlots"].clone();
    let submit = || ask(&world, "POST /v1/pools/few/tasks", &json!({})).1;
    assert_eq!(free(), 2);
    submit();
    assert_eq!(free(), 1, "one of the free ones begins it");
    let (status, leased) = ask(&world, "POST /v1/pools/few/lease", &json!({"worker": "few-0", "run": 4, "wait": "0s"}));
    assert_eq!((status, leased["task"].is_object()), (200, true), "{leased}");
    assert_eq!(free(), 1, "it runs, though what is shown of the pool does not say so yet");
    let (_, ended) = ask(&world, &format!("POST /v1/leases/{}/complete", leased["task"]["token"].as_str().unwrap()), &json!({}));
    assert_eq!(free(), 2, "{ended}");
    let pool = world.board.get(Kind::Pool, "few").unwrap();
    let Object::Pool(mut pool) = (*pool).clone() else { panic!("a pool") };
    pool.status.queue.as_mut().unwrap().free_slots = 0;
    world.board.put(Object::Pool(pool));
    let waits = submit();
    assert_eq!((&waits["position"], wait(&waits)), (&json!(1), None), "all wait to be started again: {waits}");
}

#[test]
fn in_the_line_of_one_worker_a_task_waits_for_that_worker_alone() {
    let world = World::new();
    queued(&world, "own", "{delivery: Lease, dispatch: PerWorker}");
    shown(&world, "own", (3, 1000, 1));
    for (n, phase) in [Phase::Ready, Phase::Busy, Phase::Busy].into_iter().enumerate() {
        world.board.put(worker("own", n, phase));
    }
    let submit = || ask(&world, "POST /v1/pools/own/tasks", &json!({})).1;
    let all: Vec<Value> = (0..9).map(|_| submit()).collect();
    let seen: Vec<(Value, Option<Span>)> = all.iter().map(|task| (task["position"].clone(), wait(task))).collect();
    // The first worker is idle: its first task is begun at once.
    let expected = (1..=3).flat_map(|n| [n - 1, n, n].map(|rounds| (json!(n), Some(Span::secs(rounds)))));
    assert_eq!(seen, expected.collect::<Vec<_>>());
    let (_, listed) = ask(&world, "GET /v1/tasks?pool=own", &Value::Null);
    let waits: Vec<Option<Span>> = listed["items"].as_array().unwrap().iter().map(wait).collect();
    assert_eq!(waits, seen.into_iter().map(|(_, wait)| wait).collect::<Vec<_>>());
    let capacity = || wait(&ask(&world, "GET /v1/pools/own/capacity", &Value::Null).1);
    assert_eq!(capacity(), Some(Span::secs(3)), "the shortest line");
    // Who is left out of the lines is dealt nothing, and waited for by nobody.
    world.board.deal("own", &["own-1".into(), "own-2".into()]);
    assert_eq!(capacity(), Some(Span::secs(4)));
    let workers = [(); 2].map(|()| submit()["worker"].clone());
    assert!(!workers.contains(&json!("own-0")), "{workers:?}");
}

#[test]
fn beside_a_line_that_waits_for_a_busy_worker_another_one_is_free() {
    let world = World::new();
    queued(&world, "own", "{delivery: Lease, dispatch: PerWorker}");
    shown(&world, "own", (2, 1000, 1));
    world.board.put(worker("own", 0, Phase::Busy));
    world.board.put(worker("own", 1, Phase::Ready));
    let submit = |to: &str| {
        world.board.deal("own", &[to.into()]);
        ask(&world, "POST /v1/pools/own/tasks", &json!({}));
    };
    let free = || ask(&world, "GET /v1/pools/own/capacity", &Value::Null).1["freeSlots"].clone();
    (0..3).for_each(|_| submit("own-0"));
    assert_eq!(free(), 1, "all of them wait for the one that is busy");
    (0..2).for_each(|_| submit("own-1"));
    assert_eq!(free(), 0, "the next of these takes it");
}
