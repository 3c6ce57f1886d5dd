//! Tasks through the deaths of the daemon and of workers: none is lost, none runs twice at once, none is done twice.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStderr, ChildStdout, Command, Stdio};

use serde_json::{Value, json};

use super::harness::{Scratch, signal, wait};
use super::socket;
use super::tasks::{ctl, daemon, notes, runs, said, start, submit, task, until, until_state};

#[test]
fn tasks_outlive_the_daemon_and_run_once() {
    let mut scratch = daemon(3, "");
    let mut ids = Vec::new();
    for round in 0..6 {
        for _ in 0..5 {
            ids.push(submit(&scratch, ("sleep", json!("0.1")), &[]));
        }
        // In the middle of the work, at another point each time.
        let done = 1 + round * 3;
        let ended = || notes(&scratch).lines().filter(|line| line.starts_with("end")).count();
        wait("some have ended", || (ended() >= done).then_some(()), || notes(&scratch));
        scratch.kill();
        start(&mut scratch);
    }
    for id in &ids {
        assert_eq!(until_state(&scratch, *id, "Succeeded")["attempt"], 1);
    }
    let (began, most) = runs(&scratch, |_| true);
    assert_eq!(began, ids.iter().map(|id| (*id, 1)).collect::<BTreeMap<_, _>>());
    assert!(most <= 3, "{most} at once");
}

/// What is told of a daemon that has gone.
const GONE: &str = "the daemon is gone; for 60 s the next one is waited for\n";

/// `ctl`, of which the lines are read one by one.
struct Waiting {
    ctl: Child,
    said: BufReader<ChildStdout>,
    complained: BufReader<ChildStderr>,
}

impl Waiting {
    fn begin(scratch: &Scratch, args: &[&str]) -> Waiting {
        let mut ctl = Command::new(env!("CARGO_BIN_EXE_ctl"));
        ctl.arg("--state").arg(scratch.dir.join("state")).args(args);
        let mut ctl = ctl.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ctl runs");
        let said = BufReader::new(ctl.stdout.take().expect("piped"));
        let complained = BufReader::new(ctl.stderr.take().expect("piped"));
        Waiting { ctl, said, complained }
    }

    fn said(&mut self) -> String {
        line(&mut self.said)
    }

    /// The daemon is killed, and that is told; then the next one begins.
    fn outlasts(&mut self, scratch: &mut Scratch) {
        scratch.kill();
        assert_eq!(line(&mut self.complained), GONE);
        start(scratch);
    }

    fn ends_well(mut self) {
        assert!(self.ctl.wait().expect("ended").success(), "{}", line(&mut self.complained));
    }
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("read");
    line
}

#[test]
fn whoever_waits_for_a_task_outlasts_the_daemon() {
    let mut scratch = daemon(1, "");
    let mut waits = Waiting::begin(&scratch, &["submit", "work", "--wait=60s", "--", r#"{"do": "hold", "with": ""}"#]);
    assert!(waits.said().starts_with("task/1 "));
    waits.outlasts(&mut scratch);
    fs::write(scratch.dir.join("enough"), "").expect("written");
    assert!(waits.said().starts_with("task/1 succeeded"));
    waits.ends_well();
}

#[test]
fn whoever_waits_for_a_pool_or_drains_one_outlasts_the_daemon() {
    let mut scratch = daemon(1, "");
    until_state(&scratch, submit(&scratch, ("hold", json!("")), &[]), "Leased");
    let mut drain = Waiting::begin(&scratch, &["drain", "pool/work"]);
    assert_eq!(drain.said(), "pool/work gets no more tasks; `ctl resume queue/work` ends that\n");
    let both = ["wait", "pool/work", "pool/other", "--for=create", "--timeout=60s"];
    let mut other = Waiting::begin(&scratch, &both);
    assert_eq!(other.said(), "pool/work condition met\n");
    drain.outlasts(&mut scratch);
    assert_eq!(line(&mut other.complained), GONE);
    scratch.put("other.yaml", &scratch.pool("other", 0, "[\"true\"]", ""));
    assert_eq!(other.said(), "pool/other condition met\n");
    other.ends_well();
    assert!(drain.ctl.try_wait().expect("asked").is_none(), "its task runs on");
    fs::write(scratch.dir.join("enough"), "").expect("written");
    assert_eq!(drain.said(), "pool/work drained\n");
    drain.ends_well();
}

#[test]
fn the_first_answer_of_the_next_daemon_shows_all_that_there_was() {
    let mut scratch = Scratch::new();
    for n in 0..20 {
        let name = format!("p{n}");
        scratch.put(&format!("{name}.yaml"), &scratch.pool(&name, 1, "[sleep, \"1000\"]", ""));
    }
    scratch.start();
    let answered = |scratch: &Scratch| {
        let (status, list) = socket::ask(&socket::of(&scratch.dir), "GET", "/apis/weir.dev/v1/workerpools", &Value::Null)?;
        assert_eq!(status, 200, "{list}");
        list["items"].as_array().map(Vec::len)
    };
    wait("all are there", || answered(&scratch).filter(|n| *n == 20), || scratch.log());
    for round in 0..5 {
        scratch.kill();
        scratch.start();
        assert_eq!(wait("an answer", || answered(&scratch), || scratch.log()), 20, "in round {round}");
    }
}

/// How long a task waits is told by the classes of those that ended before the daemon was killed.
#[test]
fn what_tasks_took_is_known_to_the_next_daemon() {
    let mut scratch = daemon(1, ", concurrencyKey: true");
    let ids: Vec<u64> = (0..12).map(|_| submit(&scratch, ("exit", json!(0)), &["--key", "quick:1"])).collect();
    for id in &ids {
        let task = until_state(&scratch, *id, "Succeeded");
        assert!(task["end"]["memoryBytes"].as_u64() > Some(64 << 10), "what its process used is kept: {task}");
    }
    let _busy = [(); 2].map(|()| submit(&scratch, ("sleep", json!(1000)), &[]));
    scratch.kill();
    start(&mut scratch);
    let look = || {
        let line = said(&scratch, &["queue", "work"]);
        line.contains("(by what tasks of each class took)").then_some(())
    };
    wait("what was learnt", look, || said(&scratch, &["queue", "work"]));
}

/// The process of the nth attempt that began.
fn pid_of(scratch: &Scratch, nth: usize) -> u32 {
    let begun = || notes(scratch).lines().filter(|line| line.starts_with("begin")).nth(nth)?.split(' ').nth(2)?.parse().ok();
    wait("it runs", begun, || format!("{}\n{}", notes(scratch), scratch.log()))
}

#[test]
fn the_task_of_a_killed_worker_runs_again() {
    let mut scratch = daemon(1, "");
    let id = submit(&scratch, ("sleep", json!(1000)), &[]);
    let first = pid_of(&scratch, 0);
    signal(first, "KILL");
    let second = pid_of(&scratch, 1);
    assert_eq!(task(&scratch, id)["attempt"], 2);
    // Killed while nobody looks.
    scratch.kill();
    signal(second, "KILL");
    start(&mut scratch);
    let dead = until_state(&scratch, id, "Dead");
    assert_eq!((&dead["end"]["reason"], &dead["end"]["signal"]), (&json!("WorkerLost"), &json!(9)), "{dead}");
    assert_eq!(runs(&scratch, |_| true).0, BTreeMap::from([(id, 2)]));
}

/// A worker as a person would write it: a loop of `ctl task`.
const LOOP: &str = r#"
echo "worker $WEIR_RUN $$" >> "$1/workers"
while :; do
    line=$("$2" task next --wait 20s -o jsonpath='{.token} {.payload.do}')
    case $? in
        0) ;;
        1) continue ;;
        *) sleep 0.1; continue ;;
    esac
    token=${line%% *}
    what=${line#* }
    echo "$token" >> "$1/tokens"
    id=${token#*.}
    id=${id%%.*}
    echo "begin $id $$" >> "$1/notes"
    case $what in
        fail) "$2" task fail "$token" --message "as it was told" ;;
        hang) sleep 1000 ;;
        slow)
            while "$2" task heartbeat "$token" --progress slowly 2>> "$1/said"; do sleep 0.05; done
            "$2" task fail "$token" --message stopped ;;
        *) sleep "$what"; "$2" task done "$token" --result "{\"did\": \"$what\"}" ;;
    esac
    echo "end $id" >> "$1/notes"
done
"#;

fn looping(workers: u32, rules: &str) -> Scratch {
    let mut scratch = Scratch::new();
    fs::write(scratch.dir.join("loop.sh"), LOOP).expect("written");
    let command = format!("[sh, {0}/loop.sh, {0}, {1}]", scratch.dir.display(), env!("CARGO_BIN_EXE_ctl"));
    let quick = "delivery: Lease, retry: {maxAttempts: 2, backoff: {initial: 50ms, max: 100ms}}";
    let more = format!("    backoff: {{initial: 50ms, max: 100ms}}\n  queue: {{{quick}{rules}}}\n");
    scratch.put("work.yaml", &scratch.pool("work", workers, &command, &more));
    scratch.start();
    scratch.wait_workers(usize::try_from(workers).expect("small"));
    scratch
}

fn token(scratch: &Scratch, nth: usize) -> String {
    let look = || fs::read_to_string(scratch.dir.join("tokens")).ok()?.lines().nth(nth).map(str::to_owned);
    wait("a lease", look, || format!("{}\n{}", notes(scratch), scratch.log()))
}

#[test]
fn a_shell_loop_works_off_a_queue() {
    let mut scratch = looping(2, "");
    let good = [(); 6].map(|()| submit(&scratch, ("0.05", Value::Null), &[]));
    let bad = submit(&scratch, ("fail", Value::Null), &[]);
    for id in good {
        let task = until_state(&scratch, id, "Succeeded");
        assert_eq!((&task["result"], &task["attempt"]), (&json!({"did": "0.05"}), &json!(1)), "{task}");
        assert!(task["end"]["ranMs"].as_u64() >= Some(50), "how long it took is measured: {task}");
    }
    let dead = until_state(&scratch, bad, "Dead");
    assert_eq!((&dead["attempt"], &dead["end"]["message"]), (&json!(2), &json!("as it was told")));
    let stale = ctl(&scratch, &["task", "done", &token(&scratch, 0)]);
    assert!(stale.status.code() == Some(1) && String::from_utf8_lossy(&stale.stderr).contains("Conflict"), "{stale:?}");
    assert_eq!(scratch.workers().len(), 2, "the same workers took them all");
    let running = submit(&scratch, ("slow", Value::Null), &[]);
    until(&scratch, running, |task| task["progress"] == "slowly");
    said(&scratch, &["cancel", &running.to_string()]);
    until_state(&scratch, running, "Cancelled");
    assert_eq!(
        fs::read_to_string(scratch.dir.join("workers")).expect("there").lines().count(),
        2,
        "no worker was stopped for it"
    );
    // A daemon that is away for a moment costs nothing.
    let over = submit(&scratch, ("0.5", Value::Null), &[]);
    wait("it runs", || runs(&scratch, |_| true).0.contains_key(&over).then_some(()), || notes(&scratch));
    scratch.kill();
    std::thread::sleep(std::time::Duration::from_millis(800));
    start(&mut scratch);
    assert_eq!(until_state(&scratch, over, "Succeeded")["attempt"], 1);
    assert_eq!(runs(&scratch, |_| true).0[&over], 1);
}

#[test]
fn a_worker_that_is_killed_or_silent_gives_its_task_back() {
    let scratch = looping(1, ", leaseDuration: 1s");
    let killed = submit(&scratch, ("hang", Value::Null), &["--max-attempts", "3"]);
    let first = token(&scratch, 0);
    signal(scratch.workers()["work-0"].unsigned_abs(), "KILL");
    let second = token(&scratch, 1);
    assert_ne!(first, second);
    let stale = ctl(&scratch, &["task", "done", &first]);
    assert_eq!(stale.status.code(), Some(1), "{stale:?}");
    assert_eq!(task(&scratch, killed)["attempt"], 2, "and nothing changed");
    // The second says nothing either: its worker is ended when the lease is, and the task runs a third time.
    token(&scratch, 2);
    let dead = until_state(&scratch, killed, "Dead");
    assert_eq!(dead["attempt"], 3, "{dead}");
}

#[test]
fn a_worker_that_has_done_its_tasks_is_replaced_between_two_of_them() {
    let scratch = looping(1, "");
    let spec = fs::read_to_string(scratch.spec("work.yaml")).expect("there");
    scratch.put("work.yaml", &spec.replacen("    backoff:", "    recycle: {maxTasks: 3, jitter: 0%}\n    backoff:", 1));
    let workers = || fs::read_to_string(scratch.dir.join("workers")).unwrap_or_default().lines().count();
    wait("the new template", || (workers() == 2).then_some(()), || scratch.log());
    // Always one more that waits: an idle moment comes only because it is given no more.
    let ids = [(); 15].map(|()| submit(&scratch, ("0.05", Value::Null), &[]));
    for id in ids {
        let task = until_state(&scratch, id, "Succeeded");
        assert_eq!(task["attempt"], 1, "no task is taken from a worker: {task}");
    }
    assert_eq!(runs(&scratch, |_| true).0, ids.map(|id| (id, 1)).into());
    let log = scratch.log();
    let replaced = log.matches("it has done recycle.maxTasks tasks").count();
    assert!((2..=5).contains(&replaced), "{replaced} times: {log}");
    assert!(said(&scratch, &["get", "events"]).contains("Recycled"));
}
