//! Tasks through the real engine and the real store: processes are only told of, and time is a number.
//! The host that does so is in `world`.

use std::sync::Arc;

use super::*;
use crate::edge::store::{Queues, Store};
use crate::engine::host::Fact;
use crate::engine::queue;
use crate::model::plan::ProbeKind;
use crate::model::task::NewTask;
use crate::model::time::Wall;
use crate::model::worker::Exit;

mod world;

use world::*;

#[test]
fn a_result_outlives_a_transaction_that_failed() {
    let mut world = World::new(1, "");
    let task = world.submit(NewTask::default());
    let run = world.lease(task.id).expect("it is begun").run;
    world.runs("p-0", run);
    world.engine.host().results.insert(("p-0".into(), run), "made".into());
    world.engine.host().fails = true;
    world.ends("p-0", done(run));
    assert_eq!(world.task(task.id).state, TaskState::Leased);
    world.engine.host().fails = false;
    world.pass(5000);
    let ended = world.task(task.id);
    assert_eq!((ended.state, ended.result), (TaskState::Succeeded, Some("made".into())));
    assert!(world.engine.host().results.is_empty(), "what is committed is needed no more");
}

#[test]
fn what_a_plan_without_rows_says_is_shown_though_nothing_more_comes() {
    let mut world = World::new(1, "");
    let task = world.submit(NewTask::default());
    let run = world.lease(task.id).expect("it is begun").run;
    world.runs("p-0", run);
    world.pass(GATHER.0);
    assert_eq!(world.engine.host().running["p"], 1);
    world.ends("p-0", done(run));
    world.pass(GATHER.0);
    assert_eq!(world.engine.host().running["p"], 0);
}

#[test]
fn each_change_of_size_is_counted_the_first_one_too() {
    let mut world = World::new(2, "");
    assert_eq!(world.engine.host().scaled, [true], "from none to two");
    for replicas in [3, 1] {
        world.spec(replicas, "", "");
        // Fewer are believed when they have stood still for a while.
        world.pass(10_000);
    }
    assert_eq!(world.engine.host().scaled, [true, true, false]);
}

#[test]
fn a_worker_that_fails_its_health_checks_costs_its_task_an_attempt() {
    let mut world = World::empty();
    world.spec(1, ", livenessProbe: {exec: {command: [x]}, period: 1s, failureThreshold: 1}", "retry: {maxAttempts: 2}");
    let task = world.submit(NewTask::default());
    for attempt in [1, 2] {
        let run = world.lease(task.id).expect("it is begun").run;
        world.runs("p-0", run);
        world.pass(1000);
        let (slot, kind) = (SlotId { pool: "p".into(), worker: "p-0".into() }, ProbeKind::Liveness);
        world.engine.on(Fact::Probed { slot, incarnation: run, kind, answer: Err("no".into()) });
        world.settle();
        let stopped = |action: &Action| matches!(action, Action::Signal { incarnation, .. } if *incarnation == run);
        assert!(world.engine.host().performed.iter().any(stopped));
        world.ends("p-0", Exit { asked: true, ran_ms: 1000, ..done(run) });
        let ended = world.task(task.id);
        let last = attempt == 2;
        assert_eq!((ended.attempt, ended.end.map(|end| end.reason)), (attempt, Some(EndReason::WorkerLost)));
        assert_eq!(
            (ended.state == TaskState::Dead, ended.not_before.is_some()),
            (last, !last),
            "it waits before it is tried again"
        );
        world.pass(20_000);
    }
}

#[test]
fn a_redriven_task_is_dealt_at_once_where_each_worker_has_its_own_line() {
    let mut world = World::new(2, "dispatch: PerWorker, retry: {maxAttempts: 1}");
    let task = world.submit(NewTask::default());
    let lease = world.lease(task.id).expect("it is begun").clone();
    let worker = lease.worker.unwrap();
    world.runs(&worker, lease.run);
    world.ends(&worker, Exit { reason: crate::model::worker::ExitReason::Error, code: Some(1), ..done(lease.run) });
    assert_eq!(world.task(task.id).state, TaskState::Dead);
    // The slow net is far: nothing but the redrive itself has it dealt.
    world.pass(1000);
    world.work(QueueWork::Redrive { id: task.id });
    world.pass(200);
    assert!(world.lease(task.id).is_some(), "{:?}", world.task(task.id));
}

#[test]
fn another_beat_begins_when_it_is_seen() {
    // It is 22:13:20.
    let mut world = World::new(0, "schedules: [{name: n, cron: '0 3 * * *'}]");
    world.pass(105_000);
    world.spec(0, "", "schedules: [{name: n, cron: '15 22 * * *'}]");
    world.pass(1000);
    assert_eq!(world.tasks(), 0, "22:15:00 was before the edit");
    world.spec(0, "", "schedules: [{name: n, cron: '17 22 * * *'}]");
    world.pass(120_000);
    assert_eq!(world.tasks(), 1);
    world.spec(0, "", "schedules: [{name: n, every: 1h, count: 1}]");
    assert_eq!(world.tasks(), 2, "the first of an interval comes at once");
    world.pass(2 * 3_600_000);
    world.spec(0, "", "schedules: [{name: n, every: 2h, count: 1}]");
    assert_eq!(world.tasks(), 3, "one that was full begins anew when it is another");
}

#[test]
fn a_schedule_that_was_away_begins_when_it_is_back() {
    let mut world = World::new(0, "schedules: [{name: n, cron: '15 22 * * *'}]");
    world.spec(0, "", "");
    world.pass(150_000);
    world.spec(0, "", "schedules: [{name: n, cron: '15 22 * * *'}]");
    world.pass(1000);
    assert_eq!(world.tasks(), 0, "while it was away it did not beat");
    world.pass(24 * 3_600_000);
    assert_eq!(world.tasks(), 1);
}

#[test]
fn a_wall_clock_that_was_ahead_stops_no_schedule_and_no_retry() {
    const YEAR: i64 = 365 * 86_400_000;
    let mut world = World::new(1, "schedules: [{name: n, every: 30s}]");
    let first = world.lease(1).expect("it came at once").clone();
    world.runs("p-0", first.run);
    world.ends("p-0", Exit { reason: crate::model::worker::ExitReason::Error, code: Some(1), ..done(first.run) });
    assert!(world.task(1).not_before.is_some());
    world.set_clock(-YEAR);
    (0..4).for_each(|_| world.pass(15_000));
    assert!(world.tasks() > 1, "the beat goes on");
    assert_eq!(world.task(1).not_before, None, "its back-off of 10 s is over");
}

#[test]
fn an_end_that_comes_too_late_forgets_no_newer_lease() {
    let mut world = World::new(2, "delivery: Lease");
    ["p-0", "p-1"].into_iter().for_each(|worker| world.runs(worker, 1));
    let task = world.submit(NewTask::default());
    let (queue, _) = world.rules();
    let lease = |worker: &str, nonce| QueueWork::Lease {
        pool: "p".into(),
        queue: queue.clone(),
        taker: Taker { worker: worker.into(), run: 1, nonce },
    };
    let QueueAnswer::Leased(Some(old)) = world.work(lease("p-0", 1)) else { panic!("there is one") };
    // Its worker is found dead; before that is committed it is given back, and another has it.
    world.engine.host().held = Some(Vec::new());
    world.ends("p-0", Exit { signal: Some(9), code: None, reason: crate::model::worker::ExitReason::Signaled, ..done(1) });
    let token = Token { pool: "p".into(), id: task.id, epoch: old.epoch, nonce: old.nonce };
    let end = crate::model::task::End { reason: EndReason::Returned, ..Default::default() };
    world.work(QueueWork::End { token, end, result: None, output: String::new(), queue: queue.clone(), next: None });
    world.work(lease("p-1", 2));
    assert_eq!(world.lease(task.id).map(|task| task.epoch), Some(2));
    let held = world.engine.host().held.take().unwrap();
    assert!(held.iter().any(|(_, batch)| matches!(&batch.queue[..], [QueueWork::End { .. }, ..])), "{held:?}");
    held.into_iter().for_each(|(ticket, batch)| world.engine.host().commit(ticket, batch));
    world.settle();
    assert_eq!(world.lease(task.id).map(|task| task.epoch), Some(2), "the end of the old one is refused");
    world.engine.on(Fact::Task(old));
    assert_eq!(world.lease(task.id).map(|task| task.epoch), Some(2), "nor does old news undo it");
}

#[test]
fn a_start_for_which_no_task_is_left_leaves_a_slot_that_takes_the_next_one() {
    let mut world = World::new(1, "");
    world.engine.host().held = Some(Vec::new());
    let task = world.submit(NewTask::default());
    world.work(QueueWork::Cancel { id: task.id });
    let held = world.engine.host().held.take().unwrap();
    assert!(
        held.iter().any(|(_, batch)| matches!(
            &batch.queue[..],
            [QueueWork::Deal { .. }, QueueWork::Lease { .. }] | [QueueWork::Lease { .. }]
        )),
        "{held:?}"
    );
    held.into_iter().for_each(|(ticket, batch)| world.engine.host().commit(ticket, batch));
    world.settle();
    assert_eq!(world.task(task.id).state, TaskState::Cancelled);
    assert!(world.engine.pools["p"].slots.values().all(|slot| slot.seen.state == SlotState::Vacant), "nobody has to look there");
    let next = world.submit(NewTask::default());
    assert!(world.lease(next.id).is_some(), "{:?}", world.task(next.id));
}

#[test]
fn starts_that_are_not_made_leave_their_room_to_pools_that_wait_for_it() {
    let mut world = World::empty();
    let pool = |name: &str| {
        format!(
            "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec: {{replicas: 4, template: {{command: [x]}}}}\n"
        )
    };
    world.engine.host().held = Some(Vec::new());
    world.texts(&[&pool("a"), &pool("b")]);
    // The plan of the first took all the starts that may be in flight.
    world.engine.turn();
    let held = world.engine.host().held.take().unwrap();
    let starts = |name: &str| held.iter().any(|(_, batch)| batch.slots.iter().any(|(id, _)| id.pool == name));
    assert!(starts("a") && !starts("b"), "{held:?}");
    for (ticket, _) in held {
        world.engine.on(Fact::Committed { ticket, result: Err("disk I/O error".into()) });
    }
    // Meanwhile it is to have none any more.
    world.texts(&[&pool("a").replace("replicas: 4", "replicas: 0"), &pool("b")]);
    world.pass(1_000);
    let performed = std::mem::take(&mut world.engine.host().performed);
    assert_eq!(performed.iter().filter(|action| action.worker().starts_with("b-")).count(), 4, "{performed:?}");
}

#[test]
fn starts_that_take_long_keep_no_other_pool_from_starting() {
    let mut world = World::empty();
    let pool = |name: &str, replicas: u32| {
        format!(
            "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec: {{replicas: {replicas}, template: {{command: [x]}}}}\n"
        )
    };
    world.texts(&[&pool("far", 6), &pool("near", 1)]);
    world.settle();
    let started = |world: &mut World| {
        let performed = std::mem::take(&mut world.engine.host().performed);
        performed.iter().map(|action| action.worker().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(started(&mut world), ["far-0", "far-1", "far-2", "far-3"], "as many as may be in flight");
    world.pass(9_999);
    assert!(started(&mut world).is_empty());
    world.pass(1);
    assert_eq!(started(&mut world), ["far-4", "far-5", "near-0"], "none of the first has answered");
}

#[test]
fn of_a_pool_that_is_gone_what_ended_goes_in_time_and_what_waits_stays_until_it_expires() {
    const HOUR: u64 = 3_600_000;
    let mut world = World::new(1, "");
    let (first, second) = (world.submit(NewTask::default()), world.submit(NewTask::default()));
    let run = world.lease(first.id).expect("it is begun").run;
    world.runs("p-0", run);
    world.work(QueueWork::Pause { pool: "p".into(), until: Some(Wall(i64::MAX)), why: "rest".into() });
    world.ends("p-0", done(run));
    for pass in [300, 11_000, 1_000] {
        world.texts(&[]);
        world.pass(pass);
    }
    assert!(!world.engine.pools.contains_key("p"), "it is gone");
    world.pass(23 * HOUR);
    assert_eq!((world.task(first.id).state, world.task(second.id).state), (TaskState::Succeeded, TaskState::Queued));
    world.pass(2 * HOUR);
    world.pass(2 * HOUR);
    assert_eq!((world.task(second.id).state, world.tasks()), (TaskState::Expired, 1));
}

#[test]
fn what_ends_with_its_worker_has_nothing_dealt_anew() {
    let mut world = World::new(2, "dispatch: PerWorker");
    let fails = Exit { reason: crate::model::worker::ExitReason::Error, code: Some(1), ..Exit::default() };
    for exit in [done(0), fails] {
        let task = world.submit(NewTask::default());
        let lease = world.lease(task.id).expect("it is begun").clone();
        let worker = lease.worker.expect("dealt");
        world.runs(&worker, lease.run);
        world.ends(&worker, Exit { incarnation: lease.run, ..exit });
        assert_ne!(world.task(task.id).state, TaskState::Leased);
        world.pass(100);
        assert_eq!(world.engine.host().deals, 1, "that of the beginning");
    }
}

#[test]
fn a_pool_that_comes_back_while_its_last_rows_are_written_goes_on() {
    let text = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: p}\nspec: {replicas: 0, template: {command: [x]}}\n";
    let mut world = World::empty();
    world.texts(&[text]);
    world.settle();
    // Not there, gone, and gone for long enough.
    for _ in 0..2 {
        world.texts(&[]);
        world.pass(60_000);
    }
    world.engine.host().held = Some(Vec::new());
    world.texts(&[]);
    world.settle();
    let held = world.engine.host().held.take().unwrap();
    assert!(held.iter().any(|(_, batch)| batch.pools == [("p".to_owned(), None)]), "{held:?}");
    world.texts(&[text]);
    held.into_iter().for_each(|(ticket, batch)| world.engine.host().commit(ticket, batch));
    world.settle();
    assert!(world.engine.pools.contains_key("p"));
    let World { dir, engine } = world;
    drop(engine);
    let queues = Queues { work: queue::work, changed: Box::new(|_, _| {}) };
    let (_, stored) = Store::open(&dir.path().join("weir.db"), "boot", queues).unwrap();
    assert_eq!(stored.pools.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["p"]);
}

#[test]
fn the_output_of_one_that_asks_for_another_attempt_is_read_for_the_rules() {
    let mut world = World::new(1, "failurePolicy: [{output: 'usage limit', action: PausePool, for: 5s}]");
    let task = world.submit(NewTask::default());
    let run = world.lease(task.id).expect("it is begun").run;
    world.runs("p-0", run);
    world.engine.host().output = "error: usage limit reached";
    world.ends("p-0", Exit { reason: crate::model::worker::ExitReason::Error, code: Some(75), ..done(run) });
    let ended = world.task(task.id);
    assert_eq!((ended.state, ended.attempt), (TaskState::Queued, 0));
    assert!(world.engine.counts["p"].paused_until.is_some(), "{:?}", world.engine.counts["p"]);
}

#[test]
fn a_worker_that_joins_has_what_waits_behind_another() {
    let mut world = World::new(1, "dispatch: PerWorker");
    let (first, second) = (world.submit(NewTask::default()), world.submit(NewTask::default()));
    assert!(world.lease(first.id).is_some() && world.lease(second.id).is_none());
    world.spec(2, "", "dispatch: PerWorker");
    world.pass(200);
    let lease = world.lease(second.id).expect("it is begun beside the first");
    assert_eq!(lease.worker.as_deref(), Some("p-1"));
    assert_eq!(world.engine.host().deals, 2, "once, as it joined");
}

#[test]
fn what_was_taken_in_by_the_rules_before_is_dealt_at_once() {
    let mut world = World::new(2, "");
    let (shared, _) = world.rules();
    let submit = |shared: &Arc<Queue>| QueueWork::Submit {
        pool: "p".into(),
        queue: shared.clone(),
        tasks: vec![NewTask::default()],
        workers: Vec::new(),
    };
    world.spec(2, "", "dispatch: PerWorker");
    let task = world.submit(NewTask::default());
    assert!(world.lease(task.id).is_some());
    world.work(submit(&shared));
    world.pass(100);
    world.pass(100);
    assert!(world.lease(task.id + 1).is_some(), "{:?}", world.task(task.id + 1));
    // With no worker there is nobody to deal it to.
    let mut world = World::new(0, "dispatch: PerWorker");
    let before = world.engine.host().deals;
    world.work(submit(&shared));
    (0..10).for_each(|_| world.pass(100));
    assert_eq!(world.engine.host().deals, before);
}

#[test]
fn what_a_run_has_done_is_written_and_shown_at_once_where_it_is_bounded() {
    for (template, expected) in [(", recycle: {maxTasks: 5, jitter: 0%}", Some(Bound { run: 1, most: 5, looked: 1 })), ("", None)]
    {
        let mut world = World::empty();
        world.spec(1, template, "delivery: Lease");
        world.runs("p-0", 1);
        world.submit(NewTask::default());
        let (queue, _) = world.rules();
        let taker = Taker { worker: "p-0".into(), run: 1, nonce: 1 };
        let lease = QueueWork::Lease { pool: "p".into(), queue: queue.clone(), taker };
        let QueueAnswer::Leased(Some(task)) = world.work(lease) else { panic!("there is one") };
        world.pass(200);
        let token = Token { pool: "p".into(), id: task.id, epoch: task.epoch, nonce: task.nonce };
        let end = crate::model::task::End { reason: EndReason::Done, ..Default::default() };
        world.work(QueueWork::End { token, end, result: None, output: String::new(), queue, next: None });
        assert!(world.engine.pools["p"].pending.slots.is_empty(), "nothing waits to be written");
        assert_eq!(world.engine.host().worn["p-0"], expected);
    }
}

#[test]
fn how_long_a_retry_waits_is_told_from_now_on() {
    let (mut world, mut said) = (World::new(1, ""), Vec::new());
    let task = world.submit(NewTask::default());
    let lease = world.lease(task.id).expect("it is begun").clone();
    let end = crate::model::task::End { reason: EndReason::Failed, ran_ms: 1000, ..Default::default() };
    for late in [1000, 61_000] {
        let wall = Wall(lease.started.unwrap().0 + late);
        let waits =
            Task { state: TaskState::Queued, not_before: Some(Wall(wall.0 + 9950)), end: Some(end.clone()), ..task.clone() };
        said.push(words(&lease, &waits, wall).unwrap().note);
    }
    assert!(said[0].ends_with("it is tried again in 10s") && said[0] == said[1], "{said:?}");
}

#[test]
fn one_task_that_takes_thousands_with_it_does_not_fill_the_history() {
    let mut world = World::new(1, "");
    let now = world.engine.host().now;
    let end = crate::model::task::End { reason: EndReason::DependencyFailed, ..Default::default() };
    let told = |world: &mut World| std::mem::take(&mut world.engine.host().told);
    told(&mut world);
    for _round in 0..2 {
        for id in 1..=50 {
            world.engine.tell_given_up(&Task { id, pool: "p".into(), end: Some(end.clone()), ..Task::default() }, now);
        }
        world.engine.sum_up(now);
        let told = told(&mut world);
        assert_eq!(told.len(), 11, "{told:?}");
        assert!(told[0].starts_with("task 1 is cancelled") && told[10].starts_with("40 more tasks are cancelled"), "{told:?}");
    }
}
