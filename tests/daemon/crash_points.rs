//! A submit that was answered is there, wherever the daemon is killed: at each write, sync and truncation of its store, one after the
//! other, and at each step by which a shim leaves its record.
//!
//! `strace` kills at the nth call of a kind, whichever thread or child makes it. By default some of the points are taken;
//! `WEIR_CRASH_POINTS=all` takes every one up to the first that is never reached.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt;
use std::process::Command;

use serde_json::{Value, json};

use super::harness::{Scratch, wait};
use super::socket;

/// Calls by which the store changes its files; how far apart the points are that are taken by default.
const STORE: [(&str, usize); 3] = [("pwrite64", 41), ("fdatasync", 9), ("ftruncate", 9)];
/// Calls by which a shim leaves a record: its file is written aside, and put in its place. The first are the daemon's own, who
/// writes its status so. No machine has them all.
const SHIM: [&str; 2] = ["?renameat2", "?rename,?renameat"];
/// Tasks that are submitted on the way.
const TASKS: usize = 6;

fn all() -> bool {
    std::env::var("WEIR_CRASH_POINTS").is_ok_and(|which| which == "all")
}

/// The nth of these calls by any one thread or child of the daemon.
type Point<'a> = (&'a str, u32);

/// Killing at a call needs ptrace, which not everybody may use everywhere.
fn probe() {
    let traced = Command::new("strace").args(["-qq", "-o", "/dev/null", "true"]).status().expect("strace is installed");
    assert!(traced.success(), "ptrace is not allowed here: strace ended with {traced}");
}

/// The daemon of a scratch directory, to be killed at this point.
fn start_to_die(scratch: &mut Scratch, (call, nth): Point<'_>) {
    let daemon = scratch.weir();
    let log = std::fs::OpenOptions::new().create(true).append(true).open(scratch.dir.join("log")).expect("a log");
    let mut strace = Command::new("strace");
    // Beside the daemon and not above it: its pid is that of the child.
    strace.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("trace={call}")]);
    strace.args(["-e", &format!("inject={call}:signal=KILL:when={nth}")]).arg(daemon.get_program()).args(daemon.get_args());
    strace.current_dir(&scratch.dir).stdin(std::process::Stdio::null());
    strace.stdout(log.try_clone().expect("a copy")).stderr(log);
    scratch.daemon = Some(strace.spawn().expect("strace is installed"));
}

/// It was killed, and not by us. It ends in no other way; where it never began, it is started once more.
fn died(scratch: &mut Scratch, point: Point<'_>) -> bool {
    let ended = scratch.daemon.as_mut().and_then(|daemon| daemon.try_wait().expect("waited"));
    let Some(status) = ended else { return false };
    // What strace starts waits three seconds to be traced, by alarm.
    if status.signal() == Some(libc::SIGALRM) {
        start_to_die(scratch, point);
        return false;
    }
    assert_eq!(status.signal(), Some(libc::SIGKILL), "the daemon ended with {status} at {point:?}\n{}", scratch.log());
    true
}

/// Submit one after the other until all are answered or the daemon is dead; what was answered.
fn submit_until_it_dies(scratch: &mut Scratch, round: &str, point: Point<'_>) -> BTreeMap<String, u64> {
    let (socket, mut answered) = (socket::of(&scratch.dir), BTreeMap::new());
    for n in 0..TASKS {
        let key = format!("{round}-{n}");
        let cell = std::cell::RefCell::new(&mut *scratch);
        let one = || match socket::submit_once(&socket, "work", std::slice::from_ref(&key)) {
            Some(ids) => Some(Some(ids[0])),
            None => died(&mut cell.borrow_mut(), point).then_some(None),
        };
        match wait("an answer, or the end of the daemon", one, || key.clone()) {
            Some(id) => answered.insert(key, id),
            None => break,
        };
    }
    answered
}

/// Every task that was answered is there, under the same number, and is run. Looks until `over`.
fn look(scratch: &mut Scratch, round: &str, answered: &BTreeMap<String, u64>, over: impl Fn(&mut Scratch) -> bool) {
    let socket = socket::of(&scratch.dir);
    let scratch = std::cell::RefCell::new(scratch);
    for n in 0..TASKS {
        let key = format!("{round}-{n}");
        let succeeded = || {
            if over(&mut scratch.borrow_mut()) {
                return Some(());
            }
            let known = *socket::submit_once(&socket, "work", std::slice::from_ref(&key))?.first()?;
            assert!(answered.get(&key).is_none_or(|id| *id == known), "{key} is {known}, and was answered as {answered:?}");
            let (_, task) = socket::ask(&socket, "GET", &format!("/v1/tasks/{known}"), &Value::Null)?;
            assert_eq!(task["idempotencyKey"], json!(key), "{task}");
            (task["state"] == "Succeeded").then_some(())
        };
        wait("it is run", succeeded, || format!("{key} of {answered:?}\n{}", scratch.borrow().log()));
    }
}

/// Wait until the daemon is dead, or a task has been begun again. Says whether that was before all were done.
fn until_hit(scratch: &mut Scratch, answered: &BTreeMap<String, u64>, point: Point<'_>) -> bool {
    let socket = socket::of(&scratch.dir);
    let scratch = std::cell::RefCell::new(scratch);
    let hit = || {
        let task = |id: &u64| socket::ask(&socket, "GET", &format!("/v1/tasks/{id}"), &Value::Null).map(|(_, task)| task);
        let tasks: Vec<Value> = answered.values().map(task).collect::<Option<_>>().unwrap_or_default();
        if tasks.iter().any(|task| task["attempt"].as_u64() > Some(1)) || died(&mut scratch.borrow_mut(), point) {
            return Some(true);
        }
        (!tasks.is_empty() && tasks.iter().all(|task| task["state"] == "Succeeded")).then_some(false)
    };
    wait("a task to be begun again", hit, || scratch.borrow().log())
}

/// A scratch directory with a pool, and the rounds of submits it went through.
struct Points {
    scratch: Scratch,
    rounds: usize,
    killed: u32,
}

impl Points {
    fn new() -> Points {
        probe();
        let scratch = Scratch::new();
        let queue = "  queue: {retry: {maxAttempts: 90, backoff: {initial: 20ms, max: 50ms}}}\n";
        scratch.put("work.yaml", &scratch.pool("work", 2, "[\"true\"]", queue));
        Points { scratch, rounds: 0, killed: 0 }
    }

    /// Kill at this point while tasks are submitted and run, start again, and look. Says whether anybody was killed there.
    fn round(&mut self, point: Point<'_>) -> bool {
        let (scratch, round) = (&mut self.scratch, format!("{}-{}", point.0.replace(['?', ','], ""), point.1));
        start_to_die(scratch, point);
        let answered = submit_until_it_dies(scratch, &round, point);
        let mut shim = false;
        if answered.len() == TASKS && SHIM.contains(&point.0) {
            // Each of its shims is killed at its nth: none may ever bring a task to its end.
            shim = until_hit(scratch, &answered, point);
        } else if answered.len() == TASKS {
            // What its shims do goes on behind the last answer.
            look(scratch, &round, &answered, |scratch| died(scratch, point));
        }
        let hit = died(scratch, point);
        scratch.kill();
        scratch.start();
        look(scratch, &round, &answered, |_| false);
        scratch.kill();
        self.rounds += 1;
        self.killed += u32::from(hit);
        hit || shim
    }

    /// Each key has one row. How often the daemon was killed, and how many tasks were begun more than once.
    fn end(mut self) -> (u32, usize) {
        self.scratch.start();
        let socket = socket::of(&self.scratch.dir);
        let list = || socket::ask(&socket, "GET", "/v1/tasks?pool=work&limit=10000", &Value::Null);
        let (_, list) = wait("the list", || list().filter(|(status, _)| *status == 200), || self.scratch.log());
        let tasks = list["items"].as_array().expect("a list");
        let keys: Vec<&Value> = tasks.iter().map(|task| &task["idempotencyKey"]).collect();
        let distinct: std::collections::BTreeSet<&str> = keys.iter().filter_map(|key| key.as_str()).collect();
        assert_eq!((keys.len(), distinct.len()), (self.rounds * TASKS, self.rounds * TASKS));
        (self.killed, tasks.iter().filter(|task| task["attempt"].as_u64() > Some(1)).count())
    }
}

#[test]
fn an_answered_submit_is_there_wherever_the_daemon_is_killed() {
    for (call, apart) in STORE {
        let mut points = Points::new();
        let step = if all() { 1 } else { apart };
        let reached = (1..1000).step_by(step).find(|nth| !points.round((call, *nth)));
        let (killed, _) = points.end();
        println!("{call}: killed at {killed} points, up to the {reached:?}th");
        assert!(killed > 0, "nobody was killed at {call}");
    }
}

#[test]
fn a_task_is_run_wherever_its_shim_is_killed() {
    let mut again = 0;
    for call in SHIM {
        let mut points = Points::new();
        for nth in if all() { 1..=12 } else { 1..=2 } {
            let hit = points.round((call, nth));
            assert!(hit || nth > 2, "nobody was killed at the {nth}th {call}");
        }
        again += points.end().1;
    }
    assert!(again > 0, "no shim was killed while it had a task");
}
