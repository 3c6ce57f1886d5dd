//! Tasks that come after others, over a real store: who hears of which end, in which commit.
//! The rules themselves are tested beside `decide::dispatch::after`.

use super::*;

fn after(earlier: &[u64]) -> NewTask {
    NewTask { after: earlier.to_vec(), ..plain(0) }
}

fn id(world: &World, queue: &Arc<Queue>, new: NewTask) -> u64 {
    world.submit(queue, vec![new]).unwrap()[0].task.id
}

fn state(world: &World, id: u64) -> TaskState {
    world.listed().into_iter().find(|(task, _)| task.id == id).unwrap().0.state
}

#[test]
fn the_next_of_a_chain_goes_when_the_one_before_has_succeeded_and_the_rest_ends_with_one_that_does_not() {
    let (world, queue) = (World::new(), rules(Delivery::Process));
    let first = id(&world, &queue, plain(0));
    let second = id(&world, &queue, NewTask { ttl: Some(Span::secs(30)), ..after(&[first]) });
    let third = id(&world, &queue, after(&[first, second]));
    let fourth = id(&world, &queue, after(&[third]));
    world.consistent();
    assert_eq!(world.lease(&queue, "p-0", 1).map(|task| task.id), Some(first));
    assert_eq!(world.lease(&queue, "p-1", 1), None, "the others are held");
    let QueueAnswer::Ended { given_up, .. } = world.end(&queue, &leased(&world, first), EndReason::Done) else { panic!("ended") };
    assert_eq!(given_up, []);
    let begun = world.lease(&queue, "p-0", 2).unwrap();
    assert_eq!((begun.id, begun.expires), (second, Some(Wall(world.now().wall.0 + 30_000))));
    assert_eq!(state(&world, third), TaskState::Held, "the second has not ended");
    world.consistent();
    let QueueAnswer::Ended { given_up, .. } = world.end(&queue, &begun, EndReason::Unfit) else { panic!("ended") };
    assert_eq!(given_up.iter().map(|task| task.id).collect::<Vec<u64>>(), [third, fourth]);
    let why = |task: &Task| task.end.as_ref().map(|end| (end.reason, end.message.clone())).unwrap();
    assert_eq!(why(&given_up[0]), (EndReason::DependencyFailed, format!("it was to come after task {second}, which is Failed")));
    assert_eq!(why(&given_up[1]).1, format!("it was to come after task {third}, which is Cancelled"));
    world.consistent();
    // Tried again it waits for nobody; and the others are not asked.
    assert!(matches!(world.one(QueueWork::Redrive { id: fourth }), QueueAnswer::Task { .. }));
    assert_eq!((state(&world, fourth), state(&world, third)), (TaskState::Queued, TaskState::Cancelled));
    world.consistent();
}

fn leased(world: &World, id: u64) -> Task {
    let mut task = world.listed().into_iter().find(|(task, _)| task.id == id).unwrap().0;
    task.nonce = 1;
    task
}

#[test]
fn whatever_ends_the_earlier_one_is_heard() {
    let (mut world, queue) = (World::new(), rules(Delivery::Process));
    let first = id(&world, &queue, plain(0));
    let second = id(&world, &queue, after(&[first]));
    let QueueAnswer::Task { given_up, .. } = world.one(QueueWork::Cancel { id: first }) else { panic!("cancelled") };
    assert_eq!(given_up.iter().map(|task| task.id).collect::<Vec<u64>>(), [second]);
    let first = id(&world, &queue, NewTask { ttl: Some(Span::secs(5)), ..plain(0) });
    let second = id(&world, &queue, NewTask { ttl: Some(Span::secs(1)), ..after(&[first]) });
    world.at += 4000;
    let tick = || QueueWork::Tick { pool: "p".into(), queue: queue.clone(), workers: vec![] };
    assert!(matches!(world.one(tick()), QueueAnswer::Ticked { expired, .. } if expired.is_empty()), "it does not get old");
    world.at += 1000;
    let QueueAnswer::Ticked { expired, given_up, .. } = world.one(tick()) else { panic!("ticked") };
    assert_eq!((expired[0].id, given_up[0].id), (first, second));
    world.consistent();
}

#[test]
fn who_is_released_or_taken_back_waits_no_more_and_hears_no_more() {
    let (world, queue) = (World::new(), rules(Delivery::Process));
    let first = id(&world, &queue, plain(0));
    let (second, third) = (id(&world, &queue, after(&[first])), id(&world, &queue, after(&[first])));
    world.one(QueueWork::Release { id: second });
    world.one(QueueWork::Cancel { id: third });
    world.one(QueueWork::Redrive { id: third });
    let QueueAnswer::Task { given_up, .. } = world.one(QueueWork::Cancel { id: first }) else { panic!("cancelled") };
    assert_eq!(given_up, []);
    assert_eq!((state(&world, second), state(&world, third)), (TaskState::Queued, TaskState::Queued));
    world.consistent();
}

#[test]
fn what_is_over_is_not_waited_for() {
    let (world, queue) = (World::new(), rules(Delivery::Process));
    let first = id(&world, &queue, plain(0));
    let second = id(&world, &queue, NewTask { idempotency_key: Some("k".into()), ..after(&[first]) });
    let task = world.lease(&queue, "p-0", 1).unwrap();
    world.end(&queue, &task, EndReason::Done);
    assert_eq!(state(&world, id(&world, &queue, after(&[first]))), TaskState::Queued);
    world.one(QueueWork::Cancel { id: second });
    let refused = world.submit(&queue, vec![plain(0), after(&[first, second])]).unwrap_err();
    assert!(matches!(&refused, QueueRefusal::Conflict(words) if words.contains("is Cancelled")), "{refused:?}");
    let missing = world.submit(&queue, vec![after(&[77])]).unwrap_err();
    assert!(matches!(missing, QueueRefusal::Invalid(_)), "{missing:?}");
    // Taken in before: what has become of the earlier ones since does not matter.
    let again = NewTask { idempotency_key: Some("k".into()), ..after(&[second]) };
    assert!(world.submit(&queue, vec![again]).unwrap()[0].known);
    assert_eq!(world.listed().len(), 3, "of a call that is refused nothing is taken in");
    world.consistent();
}

#[test]
fn a_chain_of_ten_thousand_ends_in_one_commit_and_over_a_new_daemon() {
    let (world, queue) = (World::new(), Arc::new(Queue { capacity: 20_000, ..Queue::default() }));
    let first = id(&world, &queue, plain(0));
    let submit =
        |n: u64| QueueWork::Submit { pool: "p".into(), queue: queue.clone(), tasks: vec![after(&[first + n])], workers: vec![] };
    for begin in (0..10_000).step_by(1000) {
        world.all((begin..begin + 1000).map(submit).collect());
    }
    let World { _dir, path, store, at, .. } = world;
    drop(store);
    let (store, counts, _) = open(&path);
    let world = World { _dir, path, store, counts, at };
    let QueueAnswer::Task { given_up, .. } = world.one(QueueWork::Cancel { id: first }) else { panic!("cancelled") };
    assert_eq!(given_up.len(), 10_000);
    assert_eq!(world.counts.lock().unwrap()["p"].held, 0);
}
