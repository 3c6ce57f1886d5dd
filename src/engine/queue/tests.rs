//! The queues over a real store: a long chance of everything that can be asked, against a plain book kept beside.
//! What is promised of counts and keys is looked for after each step.

#![allow(clippy::wildcard_enum_match_arm, reason = "any other answer fails the test, and is shown")]

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};

use super::*;
use crate::engine::learnt::{Learnt, Waits};
use crate::model::quantity::Memory;
use crate::model::queue::Delivery;
use crate::model::task::{EndReason, TaskState};
use crate::model::time::Moment;
use crate::model::workload::Needed;

mod after;
mod world;

use world::*;

#[test]
fn places_in_one_call_are_those_of_calls_one_by_one() {
    let queue = Arc::new(Queue::default());
    let tasks: Vec<NewTask> = [5, 5, 0, 9, 5, 1, 0, 0, 9, 3, 5, 5]
        .iter()
        .enumerate()
        .map(|(n, priority)| NewTask {
            priority: *priority,
            key: (n % 5 == 4).then(|| "k".to_owned()),
            idempotency_key: (n % 4 == 3).then(|| "same".to_owned()),
            ..NewTask::default()
        })
        .collect();
    let (one, many) = (World::new(), World::new());
    for world in [&one, &many] {
        // Not the first of their pool, and not the only pool.
        world.submit(&queue, vec![plain(0), plain(2)]).unwrap();
    }
    let one_by_one: Vec<Submitted> = tasks.iter().flat_map(|task| one.submit(&queue, vec![task.clone()]).unwrap()).collect();
    let places = |all: Vec<Submitted>| -> Vec<(u64, Option<u64>)> { all.iter().map(|s| (s.task.id, s.position)).collect() };
    assert_eq!(places(many.submit(&queue, tasks).unwrap()), places(one_by_one));
}

#[test]
fn places_follow_priority_and_age_and_are_told_at_submit() {
    let (mut world, queue) = (World::new(), rules(Delivery::Process));
    let place = |world: &World, priority| world.submit(&queue, vec![plain(priority)]).unwrap()[0].position;
    assert_eq!(place(&world, 0), Some(1));
    world.at += 1000;
    assert_eq!((place(&world, 0), place(&world, 5), place(&world, 0)), (Some(2), Some(1), Some(4)));
    let order: Vec<u64> = std::iter::from_fn(|| world.lease(&queue, "p-0", 1)).map(|task| task.id).collect();
    assert_eq!(order, [3, 1, 2, 4]);
    world.consistent();
}

#[test]
fn an_idempotency_key_gives_the_first_task_also_within_one_call_and_when_the_queue_is_full() {
    let world = World::new();
    let queue = Arc::new(Queue { capacity: 2, ..Queue::default() });
    let same = || NewTask { idempotency_key: Some("a".into()), ..NewTask::default() };
    let both = world.submit(&queue, vec![same(), same(), plain(0)]).unwrap_err();
    assert!(matches!(both, QueueRefusal::Full { .. }), "three are counted before they are looked into: {both:?}");
    let both = world.submit(&queue, vec![same(), plain(0)]).unwrap();
    assert!(!both[0].known && both[0].task.id != both[1].task.id);
    let again = world.submit(&queue, vec![same()]).unwrap();
    assert!(again[0].known && again[0].task.id == both[0].task.id);
    assert!(matches!(world.submit(&queue, vec![plain(0)]), Err(QueueRefusal::Full { .. })));
    let never = world.submit(&queue, vec![plain(0), plain(0), plain(0)]).unwrap_err();
    assert!(matches!(never, QueueRefusal::Invalid(_)), "waiting does not help: {never:?}");
    world.consistent();
}

#[test]
fn of_several_tasks_the_one_that_is_refused_is_named_and_none_is_taken() {
    let world = World::new();
    let queue = Arc::new(Queue::default());
    let words = |tasks| match world.submit(&queue, tasks).unwrap_err() {
        QueueRefusal::Invalid(words) | QueueRefusal::Conflict(words) => words,
        other => panic!("{other:?}"),
    };
    let wrong = || NewTask { priority: 44, ..NewTask::default() };
    let lost = NewTask { after: vec![99], ..NewTask::default() };
    assert_eq!(words(vec![wrong()]), "priority: found 44, allowed are 0 to 9");
    assert_eq!(words(vec![plain(0), wrong(), plain(0)]), "task 2 of 3: priority: found 44, allowed are 0 to 9");
    assert!(words(vec![plain(0), lost]).starts_with("task 2 of 2: after: there is no task 99"));
    assert_eq!(world.submit(&queue, vec![plain(0)]).unwrap()[0].task.id, 1);
}

#[test]
fn what_does_not_fit_is_told_with_how_many_there_are() {
    let world = World::new();
    let queue = Arc::new(Queue { capacity: 3, ..Queue::default() });
    let refused = |many: usize| match world.submit(&queue, vec![plain(0); many]).unwrap_err() {
        QueueRefusal::Full { message, .. } => message,
        other => panic!("{other:?}"),
    };
    world.submit(&queue, vec![NewTask { hold: true, ..plain(0) }]).unwrap();
    assert_eq!(refused(3), "the queue of p has no room for 3 more: 1 task waits, spec.queue.capacity is 3");
    world.submit(&queue, vec![plain(0), plain(0)]).unwrap();
    assert_eq!(refused(1), "the queue of p is full: 3 tasks wait, spec.queue.capacity is 3");
}

#[test]
fn an_idempotency_key_outlives_its_task() {
    let mut world = World::new();
    let mut rules = Queue::default();
    rules.retention.succeeded = Span::secs(1);
    let queue = Arc::new(rules);
    let same = || NewTask { idempotency_key: Some("a".into()), also: vec!["b".into()], ..plain(3) };
    let first = world.submit(&queue, vec![same()]).unwrap().remove(0).task;
    let held = world.lease(&queue, "p-0", 1).unwrap();
    world.end(&queue, &held, EndReason::Done);
    world.at += 120_000;
    let swept = world.one(QueueWork::Tick { pool: "p".into(), queue: queue.clone(), workers: vec![] });
    assert!(matches!(&swept, QueueAnswer::Ticked { gone, .. } if *gone == [first.id]), "{swept:?}");
    for key in ["a", "b"] {
        let again = NewTask { idempotency_key: Some(key.into()), ..NewTask::default() };
        let known = world.submit(&queue, vec![again]).unwrap().remove(0);
        assert!(known.known && known.position.is_none(), "{known:?}");
        assert_eq!((known.task.id, known.task.state, known.task.created), (first.id, TaskState::Succeeded, first.created));
    }
    assert_eq!(world.listed(), [], "no second task");
    world.at += 8 * 24 * 3_600_000;
    assert!(!world.submit(&queue, vec![same()]).unwrap()[0].known, "the key is over");
    world.consistent();
}

#[test]
fn a_result_is_of_the_last_attempt_and_of_bounded_size() {
    let (mut world, queue) = (World::new(), rules(Delivery::Lease));
    world.submit(&queue, vec![plain(0)]).unwrap();
    let end = |world: &World, task: &Task, reason, result: Option<serde_json::Value>| {
        let (token, end) = (token(task), End { reason, ..End::default() });
        world.one(QueueWork::End { token, end, result, output: String::new(), queue: queue.clone(), next: None })
    };
    let first = world.lease(&queue, "p-0", 1).unwrap();
    let refused = end(&world, &first, EndReason::Done, Some("x".repeat(256 * 1024).into()));
    assert!(matches!(&refused, QueueAnswer::Refused(QueueRefusal::Invalid(words)) if words.contains("result")));
    assert_eq!(world.listed()[0].0, first, "nothing changed");
    end(&world, &first, EndReason::Again, Some(1.into()));
    world.at += 60_000;
    world.one(QueueWork::Tick { pool: "p".into(), queue: queue.clone(), workers: vec![] });
    let second = world.lease(&queue, "p-0", 2).unwrap();
    end(&world, &second, EndReason::Done, None);
    let (task, _) = world.listed().remove(0);
    assert_eq!((task.state, task.result), (TaskState::Succeeded, None), "that was the first attempt's");
}

#[test]
fn one_of_a_key_at_a_time_the_most_urgent_first() {
    let (world, queue) = (World::new(), rules(Delivery::Process));
    let ids: Vec<u64> = [1, 5, 3].map(|priority| world.submit(&queue, vec![keyed("k", priority)]).unwrap()[0].task.id).to_vec();
    world.consistent();
    let first = world.lease(&queue, "p-0", 1).unwrap();
    assert_eq!((first.id, world.lease(&queue, "p-1", 2)), (ids[1], None));
    world.end(&queue, &first, EndReason::Done);
    let second = world.lease(&queue, "p-1", 3).unwrap();
    assert_eq!(second.id, ids[2]);
    world.end(&queue, &second, EndReason::Failed);
    world.consistent();
    assert_eq!(world.lease(&queue, "p-1", 4).unwrap().id, ids[0], "the one that failed waits for its time");
}

#[test]
fn each_worker_has_its_own_line_and_those_of_a_lost_one_are_dealt_anew() {
    let world = World::new();
    let queue = Arc::new(Queue { dispatch: Dispatch::PerWorker, ..Queue::default() });
    let dealt: Vec<String> =
        (0..6).map(|_| world.submit(&queue, vec![plain(0)]).unwrap()[0].task.worker.clone().unwrap()).collect();
    assert_eq!(dealt, ["p-0", "p-1", "p-2", "p-0", "p-1", "p-2"]);
    let lines = |world: &World| world.counts.lock().unwrap()["p"].lines.clone().into_iter().collect::<Vec<_>>().join(" ");
    assert_eq!(lines(&world), "p-0 p-1 p-2");
    let own = world.lease(&queue, "p-1", 1).unwrap();
    assert_eq!(own.id, 2);
    world.lease(&queue, "p-1", 2).unwrap();
    assert_eq!(lines(&world), "p-0 p-2", "whose line is empty");
    world.one(QueueWork::Deal { pool: "p".into(), workers: vec!["p-0".into(), "p-1".into()], joined: vec![] });
    let waiting: Vec<String> = world
        .listed()
        .into_iter()
        .filter(|(task, _)| task.state == TaskState::Queued)
        .filter_map(|(task, _)| task.worker)
        .collect();
    assert!(waiting.len() == 4 && !waiting.contains(&"p-2".to_owned()), "{waiting:?}");
    world.consistent();
}

#[test]
fn whoever_joins_gets_its_share_of_what_has_not_begun_in_the_order_it_came() {
    let mut world = World::new();
    let queue = Arc::new(Queue { dispatch: Dispatch::PerWorker, ..Queue::default() });
    let deal = |world: &World, workers: &[&str], joined: &[&str]| {
        let named = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        world.one(QueueWork::Deal { pool: "p".into(), workers: named(workers), joined: named(joined) })
    };
    let line = |world: &World, worker: &str| -> Vec<u64> {
        let waits = |task: &Task| task.state == TaskState::Queued && task.worker.as_deref() == Some(worker);
        world.listed().into_iter().filter(|(task, _)| waits(task)).map(|(task, _)| task.id).collect()
    };
    for _ in 0..3 {
        world.submit(&queue, vec![plain(0)]).unwrap();
        world.at += 1;
    }
    deal(&world, &["p-0"], &[]);
    let tried = world.lease(&queue, "p-0", 1).unwrap();
    world.end(&queue, &tried, EndReason::Returned);
    deal(&world, &["p-0", "p-1"], &["p-1"]);
    assert_eq!((line(&world, "p-0"), line(&world, "p-1")), (vec![1, 3], vec![2]), "the first was with its worker before");
    world.submit(&queue, vec![plain(0); 900]).unwrap();
    let steps = |workers: &[&str], joined: &[&str]| {
        let more = |_: &usize| matches!(deal(&world, workers, joined), QueueAnswer::Ticked { more: true, .. });
        (1..9).find(|step| !more(step)).unwrap()
    };
    assert_eq!(steps(&["p-0"], &[]), 2);
    world.lease(&queue, "p-0", 2).unwrap();
    assert_eq!(steps(&["p-0", "p-1", "p-2"], &["p-1", "p-2"]), 2, "so many that they do not go at once");
    let lines = ["p-0", "p-1", "p-2"].map(|worker| line(&world, worker));
    let first = lines.each_ref().map(|line| line[..3].to_vec());
    assert_eq!(first[1..], [vec![2, 5, 8], vec![3, 6, 9]], "as if they had been dealt at once");
    assert_eq!(lines.each_ref().map(Vec::len), [300, 301, 301]);
    world.consistent();
}

#[test]
fn nobody_but_the_holder_changes_a_lease() {
    let (world, queue) = (World::new(), rules(Delivery::Lease));
    world.submit(&queue, vec![plain(0)]).unwrap();
    let old = world.lease(&queue, "p-0", 1).unwrap();
    world.end(&queue, &old, EndReason::Returned);
    let held = world.lease(&queue, "p-1", 2).unwrap();
    let wrong = [
        token(&old),
        Token { epoch: held.epoch + 1, ..token(&held) },
        Token { nonce: held.nonce ^ 1, ..token(&held) },
        Token { pool: "q".into(), ..token(&held) },
    ];
    let before = world.listed();
    for token in wrong {
        let end = End { reason: EndReason::Done, ..End::default() };
        let calls = [
            QueueWork::End {
                token: token.clone(),
                end,
                result: Some(1.into()),
                output: String::new(),
                queue: queue.clone(),
                next: None,
            },
            QueueWork::Heartbeat {
                token: token.clone(),
                extend: Some(Span(9)),
                progress: Some("x".into()),
                queue: queue.clone(),
                since: Moment(0),
            },
        ];
        for call in calls {
            assert!(matches!(world.one(call), QueueAnswer::Refused(QueueRefusal::Conflict(_))), "{token:?}");
        }
    }
    assert_eq!(world.listed(), before, "nothing changed");
    world.end(&queue, &held, EndReason::Done);
    let after = world.listed();
    assert!(matches!(world.end(&queue, &held, EndReason::Failed), QueueAnswer::Refused(_)), "it is over");
    assert_eq!(world.listed(), after);
}

#[test]
fn the_clock_brings_delays_ends_and_forgets() {
    let mut world = World::new();
    let mut rules = Queue { ttl: Span::secs(60), ..Queue::default() };
    rules.retention.succeeded = Span::secs(100);
    let queue = Arc::new(rules);
    let tick = |world: &World| {
        let answer = world.one(QueueWork::Tick { pool: "p".into(), queue: queue.clone(), workers: vec![] });
        let QueueAnswer::Ticked { expired, gone, .. } = answer else { panic!("{answer:?}") };
        (expired.len(), gone.len())
    };
    let later = NewTask { delay: Some(Span::secs(10)), ..NewTask::default() };
    world.submit(&queue, vec![later]).unwrap();
    assert_eq!(world.lease(&queue, "p-0", 1), None);
    let next = world.counts.lock().unwrap()["p"].next;
    assert_eq!(next, Some(Wall(world.now().wall.0 + 10_000)));
    world.at += 10_000;
    assert_eq!(tick(&world), (0, 0));
    let done = world.lease(&queue, "p-0", 1).unwrap();
    world.end(&queue, &done, EndReason::Done);
    world.submit(&queue, vec![plain(0)]).unwrap();
    world.at += 60_000;
    assert_eq!(tick(&world), (1, 0));
    world.at += 40_000;
    let counts = world.counts.lock().unwrap()["p"].clone();
    assert!(counts.succeeded.is_some() && counts.failed > counts.succeeded, "it is told since when ends are kept: {counts:?}");
    assert_eq!(tick(&world), (0, 1), "what succeeded is kept for a shorter time");
    assert_eq!(world.counts.lock().unwrap()["p"].succeeded, None);
    world.consistent();
}

#[test]
fn what_waits_again_for_a_worker_that_is_gone_is_dealt_to_another() {
    let world = World::new();
    let queue = Arc::new(Queue { dispatch: Dispatch::PerWorker, ..Queue::default() });
    let later = NewTask { delay: Some(Span::secs(10)), ..NewTask::default() };
    world.submit(&queue, vec![later.clone(), later.clone(), later, keyed("k", 1), keyed("k", 1), keyed("k", 1)]).unwrap();
    world.one(QueueWork::Deal { pool: "p".into(), workers: vec!["p-0".into()], joined: vec![] });
    let lines: BTreeSet<String> = world.listed().into_iter().filter_map(|(task, _)| task.worker).collect();
    assert_eq!(lines, BTreeSet::from(["p-0".to_owned()]), "also those that wait for their time, or for their key");
    world.one(QueueWork::Deal { pool: "p".into(), workers: Vec::new(), joined: vec![] });
    assert!(world.listed().iter().all(|(task, _)| task.worker.is_none()), "with no worker they wait for whoever comes");
}

#[test]
fn nothing_that_is_asked_often_looks_at_every_row() {
    let world = World::new();
    let db = rusqlite::Connection::open(&world.path).unwrap();
    for (sql, index) in [
        ("phase = 1 AND pool = 'p' AND worker = '' ORDER BY rank, id LIMIT 1", "tasks_ready"),
        ("pool = 'p' AND key = 'k' AND key IS NOT NULL AND phase = 3 ORDER BY rank, id LIMIT 1", "tasks_keyed"),
        ("pool = 'p' AND key = 'k' AND phase = 4 LIMIT 1", "tasks_keyed"),
        ("phase = 2 AND pool = 'p' AND not_before <= 5 ORDER BY not_before LIMIT 9", "tasks_delayed"),
        ("phase = 2 AND body ->> '$.epoch' > 0 AND pool = 'p' AND not_before > 5 ORDER BY not_before LIMIT 9", "tasks_again"),
        ("phase < 4 AND pool = 'p' AND expires <= 5 ORDER BY expires LIMIT 9", "tasks_expiry"),
        ("phase < 4 AND expires IS NOT NULL AND pool = 'p' ORDER BY expires LIMIT 1", "tasks_expiry"),
        ("phase > 4 AND phase = 5 AND pool = 'p' AND finished <= 5 ORDER BY finished LIMIT 9", "tasks_ended"),
        ("phase < 4 AND worker > '' AND pool = 'p' LIMIT 9", "tasks_dealt"),
        ("phase = 0 AND pool = 'p' AND worker = '' LIMIT 9", "tasks_held"),
        ("phase = 1 AND pool = 'p' AND worker = '' LIMIT 9", "tasks_ready"),
        ("phase = 2 AND pool = 'p' AND worker = '' LIMIT 9", "tasks_delayed"),
        ("phase = 3 AND pool = 'p' AND worker = '' LIMIT 9", "tasks_blocked"),
        ("phase = 1 AND pool = 'p' AND worker > 'w' ORDER BY worker LIMIT 1", "tasks_ready"),
        ("phase = 4 AND pool = 'p' AND worker = 'w'", "tasks_leased"),
    ] {
        let mut query = db.prepare(&format!("EXPLAIN QUERY PLAN SELECT * FROM tasks WHERE {sql}")).unwrap();
        let plan: Vec<String> = query.query_map([], |row| row.get(3)).unwrap().map(Result::unwrap).collect();
        let plan = plan.join("; ");
        assert!(plan.contains(index) && !plan.contains("TEMP B-TREE"), "{sql}: {plan}");
    }
    let mut query = db.prepare("EXPLAIN QUERY PLAN UPDATE task_keys SET body = NULL WHERE id = 5").unwrap();
    let plan: String = query.query_row([], |row| row.get(3)).unwrap();
    assert!(plan.contains("task_keys_of"), "{plan}");
}

/// Classes, durations and memory of tasks that ended before a daemon began, as it learns them from the store; those that end
/// from then on it is told of.
#[test]
fn what_tasks_needed_is_learnt_again_from_those_that_are_kept() {
    let (mut world, queue) = (World::new(), rules(Delivery::Process));
    let ends = [EndReason::Done, EndReason::Failed, EndReason::Cancelled, EndReason::Timeout, EndReason::Returned];
    for n in 0..50u64 {
        world.at += 1000;
        let slow = n % 2 == 0;
        let key = if slow { "slow:1" } else { "fast:1" };
        world.submit(&queue, vec![NewTask { max_attempts: Some(1), ..keyed(key, 0) }]).unwrap();
        let task = world.lease(&queue, "p-0", 1).unwrap();
        let memory_bytes = slow.then_some(n << 20);
        let end = End { reason: ends[n as usize / 10], ran_ms: if slow { 60_000 } else { 10 }, memory_bytes, ..End::default() };
        let (token, queue) = (token(&task), queue.clone());
        world.one(QueueWork::End { token, end, result: None, output: String::new(), queue, next: None });
        // What is tried again would be leased in the place of the next one.
        world.one(QueueWork::Cancel { id: task.id });
    }
    let told = Mutex::new(Vec::new());
    let (learnt, pools) = (Learnt::default(), ["p".to_owned(), "none".into()]);
    let began = Wall(world.now().wall.0 - 15_000);
    learnt.recall(&world.path, &pools, began, |pool, needed| told.lock().unwrap().push((pool.to_owned(), needed)));
    let told = told.into_inner().unwrap();
    let [(pool, needed), (_, none)] = &told[..] else { panic!("{told:?}") };
    // Thirty-four were before then; ten had been cancelled.
    assert_eq!((pool.as_str(), needed.len(), none.len()), ("p", 24, 0), "{needed:?}");
    let last = [Needed { ran_ms: 10, memory: None }, Needed { ran_ms: 60_000, memory: Some(Memory(32 << 20)) }];
    assert_eq!(needed[..2], last, "the last ones first");
    let waiting = ["slow:2", "fast:2", "fast:3"].map(|key| Task { key: Some(key.into()), ..Task::default() });
    let now = world.now();
    let starts = learnt.work_out("p", (&[], &waiting), 1, now).expect("enough is known");
    assert_eq!(*starts, [0, 60_000, 60_010, 60_020]);
    assert_eq!(learnt.waits("none", now), Waits::Unknown);
    learnt.recall(&world.path.with_extension("gone"), &pools, began, |_, _| panic!("there is nothing"));
}

#[test]
fn a_queue_that_rests_gives_nothing_until_its_time() {
    let (mut world, queue) = (World::new(), rules(Delivery::Process));
    world.submit(&queue, vec![plain(0)]).unwrap();
    let until = Wall(world.now().wall.0 + 5000);
    world.one(QueueWork::Pause { pool: "p".into(), until: Some(until), why: "a limit".into() });
    assert!(world.lease(&queue, "p-0", 1).is_none() && world.counts.lock().unwrap()["p"].paused(world.now().wall));
    world.at += 5000;
    assert!(world.lease(&queue, "p-0", 1).is_some());
}

#[test]
fn a_task_that_lets_the_queue_rest_again_and_again_lets_others_try_first() {
    let (mut world, mut queue) = (World::new(), Queue { delivery: Delivery::Process, ..Queue::default() });
    let rule: serde_json::Value = serde_json::json!([{"action": "PausePool", "exitCodes": [1], "for": "5s"}]);
    queue.failure_policy = serde_json::from_value(rule).expect("a rule");
    let queue = Arc::new(queue);
    world.submit(&queue, vec![plain(0), plain(0), plain(0)]).unwrap();
    let mut order = Vec::new();
    for run in 1..=5 {
        let task = world.lease(&queue, "p-0", run).unwrap();
        order.push(task.id);
        let end = End { reason: EndReason::Failed, code: Some(1), ..End::default() };
        let token = token(&task);
        world.one(QueueWork::End { token, end, result: None, output: String::new(), queue: queue.clone(), next: None });
        world.at += 5000;
    }
    assert_eq!(order, [1, 1, 2, 2, 3], "once it may be the limit, which is over");
}

#[test]
fn a_pause_by_a_task_ends_none_that_somebody_made() {
    let (world, mut queue) = (World::new(), Queue { delivery: Delivery::Process, ..Queue::default() });
    let rule: serde_json::Value = serde_json::json!([{"action": "PausePool", "exitCodes": [1], "for": "5s"}]);
    queue.failure_policy = serde_json::from_value(rule).expect("a rule");
    let queue = Arc::new(queue);
    world.submit(&queue, vec![plain(0), plain(0)]).unwrap();
    let held = |world: &World| world.counts.lock().unwrap()["p"].clone();
    let fail = |task: &Task| {
        let end = End { reason: EndReason::Failed, code: Some(1), ..End::default() };
        let work =
            QueueWork::End { token: token(task), end, result: None, output: String::new(), queue: queue.clone(), next: None };
        let QueueAnswer::Ended { paused, .. } = world.one(work) else { panic!("it is ended") };
        paused
    };
    let (first, second) = (world.lease(&queue, "p-0", 1).unwrap(), world.lease(&queue, "p-1", 2).unwrap());
    let until = Wall(world.now().wall.0 + 60_000);
    world.one(QueueWork::Pause { pool: "p".into(), until: Some(until), why: "maintenance".into() });
    assert_eq!(fail(&first), None, "nothing is told of it");
    assert_eq!((held(&world).paused_until, held(&world).paused_why), (Some(until), "maintenance".to_owned()));
    world.one(QueueWork::Pause { pool: "p".into(), until: None, why: String::new() });
    assert_eq!(fail(&second), Some(Wall(world.now().wall.0 + 5000)));
    assert_eq!(held(&world).paused_until, Some(Wall(world.now().wall.0 + 5000)));
}

#[test]
fn what_was_leased_is_known_to_the_next_daemon() {
    let (world, queue) = (World::new(), rules(Delivery::Process));
    world.submit(&queue, vec![plain(0), plain(1)]).unwrap();
    let held = world.lease(&queue, "p-0", 77).unwrap();
    let World { _dir, path, store, .. } = world;
    drop(store);
    let (_store, _, leased) = open(&path);
    assert_eq!(leased, [held]);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig { cases: 10, ..Default::default() })]
    #[test]
    fn whatever_is_asked_the_rows_agree(steps in proptest::collection::vec((0u8..14, 0u8..5, 0u64..30_000), 1..120)) {
        let (mut world, queue) = (World::new(), rules(Delivery::Lease));
        let mut held: Vec<Task> = Vec::new();
        let mut submitted = 0;
        for (step, pick, pass) in steps {
            world.at += pass;
            let known = world.listed().len() as u64;
            let id = u64::from(pick) % known.max(1) + 1;
            match step {
                0 | 1 => submitted += world.submit(&queue, vec![plain(pick), keyed("a", pick)]).unwrap().len(),
                2 => submitted += world.submit(&queue, vec![NewTask { hold: true, ..keyed("b", pick) }]).unwrap().len(),
                3 => submitted += world.submit(&queue, vec![NewTask { delay: Some(Span(5000)), ..keyed("a", pick) }]).unwrap().len(),
                4..=6 => held.extend(world.lease(&queue, &format!("p-{pick}"), pass)),
                7 | 8 => {
                    let reasons = [EndReason::Done, EndReason::Failed, EndReason::WorkerLost, EndReason::Returned, EndReason::Again];
                    if let Some(task) = held.pop() {
                        let answer = world.end(&queue, &task, reasons[usize::from(pick)]);
                        assert!(matches!(answer, QueueAnswer::Ended { .. }), "the holder is heard: {answer:?}");
                    }
                }
                12 | 13 => {
                    let after = vec![id, known.max(1)];
                    submitted += world.submit(&queue, vec![NewTask { after, ..keyed("a", pick) }]).map_or(0, |all| all.len());
                }
                9 => drop(world.one(QueueWork::Cancel { id })),
                10 => drop(world.one(if pick % 2 == 0 { QueueWork::Release { id } } else { QueueWork::Redrive { id } })),
                _ => drop(world.one(QueueWork::Tick { pool: "p".into(), queue: queue.clone(), workers: vec![] })),
            }
            world.consistent();
        }
        assert_eq!(world.listed().len(), submitted, "no task is lost and none made up");
    }
}

#[test]
fn what_waits_for_a_pool_that_is_no_more_expires_and_what_has_ended_there_goes() {
    let (mut world, queue) = (World::new(), Arc::new(Queue { ttl: Span::secs(20), ..Queue::default() }));
    let sweep = |world: &World| world.one(QueueWork::Sweep { pool: "p".into(), retention: Retention::default() });
    let ids: Vec<u64> =
        world.submit(&queue, vec![plain(0), NewTask { hold: true, ..plain(0) }]).unwrap().iter().map(|s| s.task.id).collect();
    world.at += 19_000;
    assert!(matches!(&sweep(&world), QueueAnswer::Ticked { expired, .. } if expired.is_empty()));
    world.at += 1000;
    let swept = sweep(&world);
    assert!(
        matches!(&swept, QueueAnswer::Ticked { expired, .. } if expired.iter().map(|task| task.id).eq(ids.iter().copied())),
        "{swept:?}"
    );
    world.consistent();
}
