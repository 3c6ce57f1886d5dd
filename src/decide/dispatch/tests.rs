//! The life of a task, enumerated: every order of everything that can be done to it, as far as it leads to new situations.
//! Nothing is simulated but time: the promises are looked for at each step.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::model::line::Line;
use crate::model::plan::{Plan, PoolFacts, Slot};
use crate::model::pool::PoolSpec;
use crate::model::queue::{FailureAction, FailureRule};
use crate::model::queue_work::QueueCounts;
use crate::model::time::Moment;
use crate::model::worker::{Exit, ExitReason, Run, Seen, SlotState};

fn queue(delivery: Delivery) -> Queue {
    let mut queue = Queue { delivery, ..Queue::default() };
    queue.retry.max_attempts = 2;
    queue
}

fn now(at: u64) -> Now {
    Now { mono: Moment(1_000_000 + at), wall: Wall(1_700_000_000_000 + i64::try_from(at).unwrap()) }
}

fn token(task: &Task) -> Token {
    Token { pool: task.pool.clone(), id: task.id, epoch: task.epoch, nonce: task.nonce }
}

fn new(hold: bool) -> Task {
    let new = NewTask { hold, ..NewTask::default() };
    Task { id: 1, ..submit("p", &queue(Delivery::Process), &new, now(0).wall).unwrap() }
}

/// Everything that can come, by name, with the token that is good now or one of before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Move {
    Lease,
    End(u8),
    OldEnd,
    OthersEnd,
    Heartbeat,
    OldHeartbeat,
    Cancel,
    Expire,
    Release,
    Redrive,
}

const REASONS: [EndReason; 9] = [
    EndReason::Done,
    EndReason::Failed,
    EndReason::Again,
    EndReason::Timeout,
    EndReason::WorkerLost,
    EndReason::NotStarted,
    EndReason::Returned,
    EndReason::Unfit,
    EndReason::Cancelled,
];

fn moves() -> Vec<Move> {
    let ends = (0..u8::try_from(REASONS.len()).unwrap()).map(Move::End);
    let rest = [
        Move::Lease,
        Move::OldEnd,
        Move::OthersEnd,
        Move::Heartbeat,
        Move::OldHeartbeat,
        Move::Cancel,
        Move::Expire,
        Move::Release,
        Move::Redrive,
    ];
    ends.chain(rest).collect()
}

/// What comes of a move; none where it is refused.
fn play(task: &Task, step: Move, queue: &Queue) -> Option<Task> {
    let at = now(60_000);
    let how = |reason| (End { reason, ..End::default() }, "");
    let older = Token { epoch: task.epoch.wrapping_sub(1), ..token(task) };
    let others = Token { nonce: task.nonce ^ 1, ..token(task) };
    let far = Wall(at.wall.0 + 10 * 24 * 3_600_000);
    match step {
        Move::Lease if task.state == TaskState::Queued => {
            let taker = Taker { worker: "p-0".into(), run: 1, nonce: 7 };
            Some(lease(task.clone(), queue, &taker, at))
        }
        Move::Lease => None,
        Move::End(n) => end(task.clone(), &token(task), how(REASONS[usize::from(n)]), queue, at).ok().map(|ended| ended.task),
        Move::OldEnd => end(task.clone(), &older, how(EndReason::Done), queue, at).ok().map(|ended| ended.task),
        Move::OthersEnd => end(task.clone(), &others, how(EndReason::Done), queue, at).ok().map(|ended| ended.task),
        Move::Heartbeat => heartbeat(task.clone(), &token(task), (Some(Span(5000)), Some("half")), (queue, Moment(0)), at).ok(),
        Move::OldHeartbeat => heartbeat(task.clone(), &older, (None, None), (queue, Moment(0)), at).ok(),
        Move::Cancel => cancel(task.clone(), at.wall).ok(),
        Move::Expire => Some(expire(task.clone(), far)),
        Move::Release => release(task.clone(), at.wall).ok(),
        Move::Redrive => redrive(task.clone(), at.wall).ok(),
    }
}

/// What tells one situation from another.
fn situation(task: &Task) -> String {
    let soon = task.not_before.is_some();
    format!("{:?} {} of {} {} {} {soon}", task.state, task.attempt, task.max_attempts, task.epoch.min(6), task.cancelling)
}

#[test]
fn every_order_of_everything_keeps_the_promises() {
    for delivery in [Delivery::Process, Delivery::Lease] {
        let queue = queue(delivery);
        let mut seen = BTreeSet::new();
        let mut open = vec![new(false), new(true)];
        let mut edges = 0;
        while let Some(task) = open.pop() {
            if task.epoch > 5 || !seen.insert(situation(&task)) {
                continue;
            }
            for step in moves() {
                let Some(next) = play(&task, step, &queue) else { continue };
                edges += 1;
                kept(&task, step, &next);
                open.push(next);
            }
        }
        assert!(seen.len() > 40 && edges > 200, "{delivery:?}: {} situations, {edges} steps", seen.len());
        let ends: BTreeSet<&str> = seen.iter().filter_map(|text| text.split(' ').next()).collect();
        assert_eq!(ends.len(), TaskState::ALL.len(), "{ends:?}");
    }
}

/// What holds of every step.
fn kept(before: &Task, step: Move, after: &Task) {
    let said = format!("{step:?}: {before:?} -> {after:?}");
    assert!(
        !matches!(step, Move::OldEnd | Move::OldHeartbeat | Move::OthersEnd),
        "whoever does not hold it did something: {said}"
    );
    let ended = before.state.is_final();
    assert!(!ended || step == Move::Redrive || before == after, "a final state was left: {said}");
    assert!(after.epoch >= before.epoch && (step == Move::Lease) == (after.epoch > before.epoch), "the epoch: {said}");
    assert!(after.attempt <= after.max_attempts, "more attempts than there may be: {said}");
    assert_eq!(after.state == TaskState::Leased, after.deadline.is_some(), "a deadline goes with a lease: {said}");
    assert_eq!(after.state.is_final(), after.finished.is_some(), "a time of the end goes with the end: {said}");
    let stays = after.state == TaskState::Leased || (after.state.is_final() && before.cancelling);
    assert!(!after.cancelling || stays, "cancelling goes with a lease, and with its end: {said}");
    let same =
        (&before.id, &before.payload, &before.created, &before.key) == (&after.id, &after.payload, &after.created, &after.key);
    assert!(same, "what it is changed: {said}");
    assert!(step != Move::Expire || before.state != TaskState::Leased || before == after, "a lease does not expire: {said}");
}

#[test]
fn two_at_once_give_one_of_the_two_orders_and_one_end() {
    let queue = queue(Delivery::Lease);
    let taker = Taker { worker: "p-0".into(), run: 1, nonce: 7 };
    let leased = lease(new(false), &queue, &taker, now(0));
    let held = token(&leased);
    let by_lease = |task: Task, reason| {
        end(task.clone(), &held, (End { reason, ..End::default() }, ""), &queue, now(10)).map_or(task, |ended| ended.task)
    };
    let steps: [(&str, &dyn Fn(Task) -> Task); 6] = [
        ("complete", &|task| by_lease(task, EndReason::Done)),
        ("fail", &|task| by_lease(task, EndReason::Failed)),
        ("lose", &|task| by_lease(task, EndReason::WorkerLost)),
        ("time out", &|task| by_lease(task, EndReason::Timeout)),
        ("cancel", &|task| cancel(task.clone(), now(10).wall).unwrap_or(task)),
        ("expire", &|task| expire(task, Wall(i64::MAX))),
    ];
    for (first, one) in steps {
        for (second, other) in steps {
            let after = other(one(leased.clone()));
            let between = one(leased.clone());
            if between.state.is_final() {
                assert_eq!(after, between, "{first}, then {second}");
            }
            let by_holder = ["complete", "fail", "lose", "time out"];
            if by_holder.contains(&first) && by_holder.contains(&second) {
                assert_eq!(after, between, "{second} after {first} is another's word: nothing changes");
            }
        }
    }
    let cancelled = |reason| by_lease(cancel(leased.clone(), now(5).wall).unwrap(), reason).state;
    assert_eq!(cancelled(EndReason::Done), TaskState::Succeeded, "what was done before it heard of it is done");
    assert_eq!(cancelled(EndReason::Failed), TaskState::Cancelled);
    assert_eq!(cancelled(EndReason::WorkerLost), TaskState::Cancelled);
}

#[test]
fn the_task_of_a_killed_worker_is_ready_at_once_and_that_of_a_crashed_one_after_the_back_off() {
    let queue = queue(Delivery::Process);
    let taker = Taker { worker: "p-0".into(), run: 1, nonce: 7 };
    let leased = lease(new(false), &queue, &taker, now(0));
    let after = |reason: ExitReason, signal, code| {
        let exit = Exit { incarnation: 1, reason, signal, code, ..Exit::default() };
        let slot = Slot { seen: Seen { state: SlotState::Vacant, exit: Some(exit), ..Seen::default() }, ..Slot::default() };
        let over = ended(&leased, slot, now(10)).expect("it is over");
        end(leased.clone(), &token(&leased), (over, ""), &queue, now(10)).unwrap().task
    };
    for (signal, why) in [(9, "killed"), (15, "told to go by somebody")] {
        let task = after(ExitReason::Signaled, Some(signal), None);
        assert_eq!((task.state, task.attempt, task.not_before), (TaskState::Queued, 1, None), "{why}");
    }
    assert_eq!(after(ExitReason::Unknown, None, None).not_before, None, "nobody knows how");
    assert_eq!(after(ExitReason::Rebooted, None, None).not_before, None, "nobody's fault");
    for (reason, signal, code) in
        [(ExitReason::Signaled, Some(11), None), (ExitReason::Signaled, Some(6), None), (ExitReason::Error, None, Some(1))]
    {
        let task = after(reason, signal, code);
        assert!(task.not_before > Some(now(5_000).wall), "{reason:?} {signal:?}: {:?}", task.not_before);
    }
}

#[test]
fn a_holder_that_nobody_could_hear_has_its_whole_lease_from_the_next_daemon_on() {
    let queue = queue(Delivery::Lease);
    let taker = Taker { worker: "p-0".into(), run: 1, nonce: 7 };
    let leased = lease(new(false), &queue, &taker, now(0));
    let length = queue.lease_duration.0;
    let beat = |since: u64, at: u64| heartbeat(leased.clone(), &token(&leased), (None, None), (&queue, now(since).mono), now(at));
    assert!(beat(0, length + 1).is_err(), "it was late");
    assert!(beat(5 * length, 5 * length + 1).is_ok(), "no daemon ran");
    assert!(beat(5 * length, 6 * length + 1).is_err(), "one ran for long enough");
}

#[test]
fn ranks_order_by_priority_and_age() {
    let queue = queue(Delivery::Process);
    let task = |priority, minutes: i64| Task { priority, created: Wall(minutes * 60_000), ..Task::default() };
    let before = |first: &Task, second: &Task| rank(first, &queue) < rank(second, &queue);
    assert!(before(&task(9, 5), &task(0, 0)) && before(&task(5, 0), &task(5, 1)) && before(&task(1, 5), &task(0, 0)));
    assert!(before(&task(0, 0), &task(1, 11)), "it has waited a level's ageing (10m) longer");
    assert!(before(&task(0, 0), &task(9, 91)) && before(&task(9, 89), &task(0, 0)));
    let fifo = Queue { order: Order::FIFO, ..queue.clone() };
    assert!(rank(&task(0, 0), &fifo) < rank(&task(9, 1), &fifo));
}

#[test]
fn the_failure_policy_says_what_an_end_means() {
    let mut queue = queue(Delivery::Process);
    let rule = |codes: &[u8], output: Option<&str>, action, pause_for| FailureRule {
        exit_codes: codes.to_vec(),
        output: output.map(str::to_owned),
        action,
        pause_for,
        until: None,
    };
    queue.failure_policy = vec![
        rule(&[3], None, FailureAction::Fail, None),
        rule(&[4], None, FailureAction::Ignore, None),
        rule(&[], Some("usage limit"), FailureAction::PausePool, Some(Span::secs(3600))),
    ];
    let leased = || lease(new(false), &queue, &Taker { worker: "p-0".into(), run: 1, nonce: 7 }, now(0));
    let failed = |code, output: &str| {
        let how = End { reason: EndReason::Failed, code: Some(code), ..End::default() };
        end(leased(), &token(&leased()), (how, output), &queue, now(10)).unwrap()
    };
    assert_eq!(failed(3, "").task.state, TaskState::Failed);
    let ignored = failed(4, "").task;
    assert_eq!((ignored.state, ignored.attempt), (TaskState::Queued, 0));
    let plain = failed(1, "").task;
    assert!(plain.state == TaskState::Queued && plain.attempt == 1 && plain.not_before.is_some());
    let paused = failed(1, "Error: usage limit reached\n");
    let until = paused.pause.clone().unwrap();
    assert_eq!((paused.task.attempt, paused.task.not_before, until.0), (0, None, later(now(10).wall, Span::secs(3600))));
    assert!(until.1.contains("usage limit"), "{until:?}");
}

#[test]
fn the_rules_come_before_what_exit_code_75_asks_for() {
    let rule = |codes: &[u8], output: Option<&str>, action| FailureRule {
        exit_codes: codes.to_vec(),
        output: output.map(str::to_owned),
        action,
        pause_for: Some(Span::secs(5)),
        until: None,
    };
    let ended = |delivery, rules: &[FailureRule], output: &str| {
        let mut queue = queue(delivery);
        queue.failure_policy = rules.to_vec();
        queue.retry.on = vec![RetryOn::WorkerLost];
        let leased = lease(new(false), &queue, &Taker { worker: "p-0".into(), run: 1, nonce: 7 }, now(0));
        let how = End { reason: EndReason::Again, code: Some(75), ..End::default() };
        let Ended { task, pause, .. } = end(leased.clone(), &token(&leased), (how, output), &queue, now(10)).unwrap();
        (task.state, task.attempt, pause.is_some())
    };
    let said = "usage limit";
    let (fail, rest) = (rule(&[75], None, FailureAction::Fail), rule(&[75], None, FailureAction::PausePool));
    let reads = rule(&[], Some(said), FailureAction::PausePool);
    for (name, delivery, rules, output, expected) in [
        ("no rule", Delivery::Process, vec![], said, (TaskState::Queued, 1, false)),
        (
            "a rule for another",
            Delivery::Process,
            vec![rule(&[3], None, FailureAction::Fail)],
            said,
            (TaskState::Queued, 1, false),
        ),
        ("fail", Delivery::Process, vec![fail.clone()], "", (TaskState::Failed, 1, false)),
        ("pause", Delivery::Process, vec![rest], "", (TaskState::Queued, 0, true)),
        ("pause by the output", Delivery::Process, vec![reads.clone()], said, (TaskState::Queued, 0, true)),
        ("not in the output", Delivery::Process, vec![reads], "", (TaskState::Queued, 1, false)),
        ("a worker asks past the rules", Delivery::Lease, vec![fail], "", (TaskState::Queued, 1, false)),
    ] {
        assert_eq!(ended(delivery, &rules, output), expected, "{name}");
    }
}

#[test]
fn waits_double_and_end_at_the_maximum() {
    let queue = queue(Delivery::Process);
    let waits: Vec<u64> = (1..=40).map(|attempt| failure::backoff(&queue, attempt, 9).0 / 1000).collect();
    assert!((8..=12).contains(&waits[0]) && (16..=24).contains(&waits[1]), "{waits:?}");
    assert!(waits.iter().skip(7).all(|wait| (480..=600).contains(wait)), "no longer than the longest: {waits:?}");
}

#[test]
fn what_does_not_fit_the_queue_is_refused_with_the_bound() {
    let queue = queue(Delivery::Process);
    for (new, word) in [
        (NewTask { priority: 10, ..NewTask::default() }, "0 to 9"),
        (NewTask { timeout: Some(Span::secs(7 * 3600)), ..NewTask::default() }, "maxTimeout"),
        (NewTask { timeout: Some(Span(0)), ..NewTask::default() }, "timeout"),
        (NewTask { ttl: Some(Span(0)), ..NewTask::default() }, "ttl"),
        (NewTask { max_attempts: Some(0), ..NewTask::default() }, "1 to 1000"),
        (NewTask { key: Some(String::new()), ..NewTask::default() }, "key"),
        (NewTask { idempotency_key: Some("x".repeat(513)), ..NewTask::default() }, "idempotencyKey"),
        (NewTask { payload: "x".repeat(256 * 1024).into(), ..NewTask::default() }, "payload"),
    ] {
        match submit("p", &queue, &new, Wall(0)) {
            Err(QueueRefusal::Invalid(words)) => assert!(words.contains(word), "{words}"),
            other => panic!("{new:?}: {other:?}"),
        }
    }
}

#[test]
fn a_heartbeat_gives_time_up_to_the_longest() {
    let queue = queue(Delivery::Lease);
    let leased = lease(new(false), &queue, &Taker { worker: "p-0".into(), run: 1, nonce: 7 }, now(0));
    let beat = |extend, at| heartbeat(leased.clone(), &token(&leased), (extend, None), (&queue, Moment(0)), now(at)).unwrap();
    assert_eq!(beat(None, 30_000).lease_until, Some(now(90_000).mono));
    assert_eq!(beat(None, 30_000).deadline, leased.deadline);
    assert_eq!(beat(Some(Span::secs(3600)), 1000).deadline, Some(now(3_601_000).mono));
    let late = beat(Some(Span::secs(24 * 3600)), 59_000);
    assert_eq!(late.deadline, Some(now(6 * 3_600_000).mono), "maxTimeout counts from the begin of the attempt");
}

#[test]
fn a_timeout_tells_the_limit_that_there_was() {
    let mut queue = queue(Delivery::Lease);
    queue.max_timeout = Span::secs(6);
    let task = Task { timeout: Span::secs(2), ..new(false) };
    let leased = lease(task, &queue, &Taker { worker: "p-0".into(), run: 1, nonce: 7 }, now(0));
    let why = |task: &Task| overdue::overdue(task, task.lease_until, now(59_000).mono).map(|over| over.why);
    assert!(why(&leased).unwrap().ends_with("took longer than 2s"), "{:?}", why(&leased));
    let beat = (Some(Span::secs(20)), None);
    let longer = heartbeat(leased.clone(), &token(&leased), beat, (&queue, Moment(0)), now(1000)).unwrap();
    assert!(why(&longer).unwrap().ends_with("took longer than 6s"), "{:?}", why(&longer));
}

#[test]
fn ends_that_were_kept_long_enough_are_due_though_nothing_else_is() {
    let queue = queue(Delivery::Process);
    let counts = QueueCounts { succeeded: Some(Wall(0)), failed: Some(Wall(0)), ..QueueCounts::default() };
    assert_eq!(line::due(&queue, &counts), Some(Wall((24 * 60 + 1) * 60_000)), "24h, and a minute to gather");
    assert_eq!(line::due(&queue, &QueueCounts { next: Some(Wall(5)), ..counts.clone() }), Some(Wall(5)));
    assert_eq!(line::due(&queue, &QueueCounts { succeeded: None, ..counts }), Some(Wall((7 * 24 * 60 + 1) * 60_000)));
    assert_eq!(line::due(&queue, &QueueCounts::default()), None);
}

/// What is planned for a pool of processes with these slots, counts and leases.
fn planned(slots: &BTreeMap<String, Slot>, counts: QueueCounts, line: &Line, at: Now) -> Plan {
    let spec = PoolSpec { queue: Some(queue(Delivery::Process)), ..PoolSpec::default() };
    let facts = PoolFacts { spec, generation: 1, ending: None, ..PoolFacts::orphan("p") };
    let queues = BTreeMap::from([("p".to_owned(), counts)]);
    let mut plan = Plan::default();
    crate::decide::seen((&facts, slots), (line, &queues), |observation| line::look(observation, &mut plan, at));
    plan
}

/// How the look at this lease ends it, its worker being so.
fn ended(task: &Task, slot: Slot, at: Now) -> Option<End> {
    let slots = BTreeMap::from([("p-0".to_owned(), slot)]);
    let line = Line { leases: BTreeMap::from([(task.id, task.clone())]), ..Line::default() };
    planned(&slots, QueueCounts::default(), &line, at).ends.pop().map(|(_, end)| end)
}

/// A slot whose run of a task ended so long after its lease, by our wish. It was told to stop with its end, and ran from 50 ms on.
fn stopped(after: u64, known: bool) -> Slot {
    let (from, to) = (now(50), now(after));
    let exit = Exit {
        incarnation: 1,
        reason: ExitReason::Completed,
        code: Some(0),
        started: Some(from.wall),
        finished: to.wall,
        ended: known.then_some(to.mono),
        ran_ms: after - 50,
        asked: true,
        ..Exit::default()
    };
    Slot { seen: Seen { state: SlotState::Vacant, shim: None, exit: Some(exit) }, ..Slot::default() }
}

#[test]
fn what_a_stop_means_is_decided_by_when_it_ended_and_not_by_when_that_is_read() {
    let taker = Taker { worker: "p-0".into(), run: 1, nonce: 7 };
    let short = |delivery| Task {
        timeout: Span::secs(8),
        ..lease(Task { timeout: Span::secs(8), ..new(false) }, &queue(delivery), &taker, now(0))
    };
    let reason = |task: &Task, after, known| ended(task, stopped(after, known), now(100_000)).map(|end| end.reason);
    for known in [true, false] {
        let process = short(Delivery::Process);
        assert_eq!(reason(&process, 3000, known), Some(EndReason::Returned), "it had time left");
        assert_eq!(reason(&process, 8003, known), Some(EndReason::Timeout));
        let cancelled = cancel(process, now(2000).wall).unwrap();
        assert_eq!(reason(&cancelled, 3000, known), Some(EndReason::Cancelled));
        let held = Task { timeout: Span::secs(600), deadline: Some(now(600_000).mono), ..short(Delivery::Lease) };
        assert_eq!(reason(&held, 50_000, known), Some(EndReason::Returned), "it was not to be heard of before");
        assert_eq!(reason(&held, 60_003, known), Some(EndReason::WorkerLost));
    }
}

#[test]
fn a_holder_that_nobody_could_hear_is_not_ended_for_it() {
    let taker = Taker { worker: "p-0".into(), run: 1, nonce: 7 };
    let held = lease(new(false), &queue(Delivery::Lease), &taker, now(0));
    let state = SlotState::Running(Run { incarnation: 1, ..Run::default() });
    let slot = Slot { seen: Seen { state, ..Seen::default() }, ..Slot::default() };
    let slots = BTreeMap::from([("p-0".to_owned(), slot)]);
    let look = |since: u64, at: u64| {
        let leases = BTreeMap::from([(held.id, held.clone())]);
        planned(&slots, QueueCounts::default(), &Line { leases, heard_since: now(since).mono, ..Line::default() }, now(at))
    };
    assert!(look(0, 60_000).overdue.contains_key("p-0"), "it was silent");
    let woken = look(95_000, 95_000);
    assert_eq!((woken.overdue.len(), woken.wake_at), (0, Some(now(155_000).mono)), "the daemon slept");
    assert!(look(95_000, 155_000).overdue.contains_key("p-0"), "it was silent since then");
}

#[test]
fn a_heartbeat_moves_nothing_that_has_passed() {
    for (delivery, passed) in [(Delivery::Process, 1_800_000), (Delivery::Lease, 60_000)] {
        let queue = queue(delivery);
        let leased = lease(new(false), &queue, &Taker { worker: "p-0".into(), run: 1, nonce: 7 }, now(0));
        let beat = |at| heartbeat(leased.clone(), &token(&leased), (Some(Span::secs(60)), None), (&queue, Moment(0)), now(at));
        assert!(beat(passed - 1).is_ok());
        assert!(matches!(beat(passed), Err(QueueRefusal::Conflict(_))), "{:?}", beat(passed));
    }
}

#[test]
fn a_wall_clock_that_is_set_takes_no_time_from_an_attempt() {
    let queue = queue(Delivery::Lease);
    let leased = lease(new(false), &queue, &Taker { worker: "p-0".into(), run: 1, nonce: 7 }, now(0));
    let day = 24 * 3_600_000;
    for step in [day, -day] {
        let at = Now { wall: Wall(now(1000).wall.0 + step), ..now(1000) };
        let beat =
            heartbeat(leased.clone(), &token(&leased), (Some(Span::secs(24 * 3600)), None), (&queue, Moment(0)), at).unwrap();
        assert_eq!(beat.deadline, Some(now(6 * 3_600_000).mono), "maxTimeout from its beginning");
        let ended = end(leased.clone(), &token(&leased), (End { reason: EndReason::Done, ..End::default() }, ""), &queue, at);
        assert_eq!(ended.unwrap().task.end.unwrap().ran_ms, 1000);
    }
}

#[test]
fn what_is_left_of_the_clocks_work_comes_at_once_whatever_the_counts_say() {
    let counts = QueueCounts { next: Some(now(60_000).wall), ..QueueCounts::default() };
    let ticks = |more| planned(&BTreeMap::new(), counts.clone(), &Line { more, ..Line::default() }, now(0)).tick;
    assert_eq!([ticks(true), ticks(false)], [true, false]);
}

#[test]
fn what_is_taken_back_between_attempts_is_told_of_as_that_and_not_as_the_attempt() {
    let tried = Task {
        attempt: 2,
        end: Some(End { reason: EndReason::Failed, code: Some(9), message: "exit code 9".into(), ran_ms: 5, ..End::default() }),
        ..new(false)
    };
    let end = |task: Task| task.end.expect("it has ended");
    let message = "after attempt 2: exit code 9".to_owned();
    let told = end(cancel(tried.clone(), Wall(1)).expect("it waits"));
    assert_eq!(told, End { reason: EndReason::Cancelled, message: message.clone(), ..End::default() });
    let due = Task { expires: Some(Wall(1)), ..tried };
    assert_eq!(end(expire(due, Wall(1))), End { reason: EndReason::Expired, message, ..End::default() });
    assert_eq!(end(cancel(new(false), Wall(1)).expect("it waits")).message, "");
}
