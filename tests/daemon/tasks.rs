//! Tasks with the real daemon: processes that are started for them, workers that take them, and everything that ends either.
//!
//! What ran, and when, is read from a file that the tasks write themselves.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

use super::harness::{Scratch, alive, signal, wait};

/// What a task's process does: notes that it begins and ends, and between does what its payload says.
const WORK: &str = r#"
echo "begin $WEIR_TASK_ID $$" >> "$1/notes"
echo "output of attempt $WEIR_TASK_ATTEMPT: $3"
if [ "$2" = give ]; then
    cat > "$1/stdin"; cp "$WEIR_TASK_FILE" "$1/file"
    printf '{"key": "%s", "run": %s}' "$WEIR_TASK_KEY" "$WEIR_RUN" > "$WEIR_RESULT_FILE"
fi
[ "$2" = once ] && [ "$WEIR_TASK_ATTEMPT" = 1 ] && { echo "end $WEIR_TASK_ID" >> "$1/notes"; exit "$3"; }
[ "$2" = sleep ] && sleep "$3"
while [ "$2" = hold ] && [ ! -e "$1/enough" ]; do sleep 0.1; done
echo "end $WEIR_TASK_ID" >> "$1/notes"
[ "$2" = exit ] && exit "$3"
exit 0
"#;

/// A daemon whose pool `work` runs [`WORK`] in so many slots under these rules (a YAML flow mapping without braces).
pub fn daemon(slots: u32, rules: &str) -> Scratch {
    let mut scratch = Scratch::new();
    fs::write(scratch.dir.join("work.sh"), WORK).expect("written");
    let command = format!("[sh, {0}/work.sh, {0}, \"$(payload.do)\", \"$(payload.with)\"]", scratch.dir.display());
    let quick = "retry: {maxAttempts: 2, backoff: {initial: 50ms, max: 100ms}}";
    scratch.put("work.yaml", &scratch.pool("work", slots, &command, &format!("  queue: {{{quick}{rules}}}\n")));
    start(&mut scratch);
    scratch
}

pub fn ctl(scratch: &Scratch, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
    command.arg("--state").arg(scratch.dir.join("state")).args(arguments).stdin(Stdio::null());
    command.output().expect("ctl runs")
}

/// Start the daemon, and wait until it answers.
pub fn start(scratch: &mut Scratch) {
    scratch.start();
    wait("the daemon", || ctl(scratch, &["version"]).status.success().then_some(()), || scratch.log());
    // A pool that no daemon has seen before is there when its document was read.
    wait("the pool", || scratch.status("workerpools", "work").map(drop), || scratch.log());
}

/// What `ctl` printed; it must have been content.
pub fn said(scratch: &Scratch, arguments: &[&str]) -> String {
    let output = ctl(scratch, arguments);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {err}");
    String::from_utf8(output.stdout).expect("text")
}

/// Submit a task that does this; its number.
pub fn submit(scratch: &Scratch, what: (&str, Value), flags: &[&str]) -> u64 {
    let payload = json!({"do": what.0, "with": what.1.to_string().trim_matches('"')}).to_string();
    let line = said(scratch, &[&["submit", "work", "-o", "jsonpath={.id}"], flags, &["--", &payload]].concat());
    line.trim().parse().expect("a number")
}

pub fn task(scratch: &Scratch, id: u64) -> Value {
    serde_json::from_str(&said(scratch, &["get", &format!("task/{id}"), "-o", "json"])).expect("JSON")
}

/// Wait until a task is so.
pub fn until(scratch: &Scratch, id: u64, test: impl Fn(&Value) -> bool) -> Value {
    let look = || Some(task(scratch, id)).filter(|task| test(task));
    wait(&format!("task {id}"), look, || format!("{:#}\n{}\n{}", task(scratch, id), notes(scratch), scratch.log()))
}

pub fn until_state(scratch: &Scratch, id: u64, state: &str) -> Value {
    until(scratch, id, |task| task["state"] == state)
}

pub fn notes(scratch: &Scratch) -> String {
    fs::read_to_string(scratch.dir.join("notes")).unwrap_or_default()
}

/// How often each task began, and the most that ran at once of those that `counts`.
pub fn runs(scratch: &Scratch, counts: impl Fn(u64) -> bool) -> (BTreeMap<u64, u32>, i32) {
    let (mut began, mut now, mut most) = (BTreeMap::new(), 0, 0);
    for line in notes(scratch).lines() {
        let mut words = line.split(' ');
        let (verb, id) = (words.next(), words.next().and_then(|id| id.parse().ok()).expect("a number"));
        if verb == Some("begin") {
            *began.entry(id).or_default() += 1;
        }
        if counts(id) {
            now += if verb == Some("begin") { 1 } else { -1 };
            most = most.max(now);
        }
    }
    (began, most)
}

/// The order in which tasks began.
fn order(scratch: &Scratch) -> Vec<u64> {
    let notes = notes(scratch);
    let begun = notes.lines().filter_map(|line| line.strip_prefix("begin ")?.split(' ').next()?.parse().ok());
    begun.collect()
}

#[test]
fn a_process_is_given_its_task_and_gives_back_a_result() {
    let scratch = daemon(1, "");
    let payload = json!({"do": "give", "with": "it's $(HOME) `id`"});
    let words = ["submit", "work", "--key", "k", "--wait=30s", "-o", "json", "--", &payload.to_string()];
    let ended: Value = serde_json::from_str(&said(&scratch, &words)).expect("JSON");
    assert_eq!((&ended["state"], &ended["result"]["key"]), (&json!("Succeeded"), &json!("k")), "{ended}");
    let read = |name: &str| fs::read_to_string(scratch.dir.join(name)).expect("written by the task");
    let given: Value = serde_json::from_str(&read("stdin")).expect("JSON");
    assert_eq!((&given["payload"], &given["attempt"], &given["maxAttempts"]), (&payload, &json!(1), &json!(2)), "{given}");
    assert_eq!(read("stdin"), read("file"));
    assert_eq!(said(&scratch, &["logs", "task/1"]), "output of attempt 1: it's $(HOME) `id`\n");
    let pool = scratch.wait_status("workerpools", "work", |pool| pool["status"]["queue"]["stats"]["done"] == 1);
    assert_eq!(pool["status"]["queue"]["stats"]["failed"], 0);
    assert!(said(&scratch, &["describe", "pool/work"]).contains("1 done | 0 failed | 100% succeeded"));
}

#[test]
fn exit_codes_say_what_follows() {
    let scratch = daemon(2, "");
    let again = submit(&scratch, ("once", json!(75)), &[]);
    let other = submit(&scratch, ("once", json!(3)), &[]);
    let dead = submit(&scratch, ("exit", json!(3)), &[]);
    for id in [again, other] {
        let task = until_state(&scratch, id, "Succeeded");
        assert_eq!(task["attempt"], 2, "{task}");
    }
    let task = until_state(&scratch, dead, "Dead");
    assert_eq!((&task["attempt"], &task["end"]["code"], &task["end"]["reason"]), (&json!(2), &json!(3), &json!("Failed")));
    assert_eq!(runs(&scratch, |_| true).0, BTreeMap::from([(again, 2), (other, 2), (dead, 2)]));
    said(&scratch, &["retry", &dead.to_string()]);
    until(&scratch, dead, |task| task["state"] == "Dead" && task["epoch"] == 4);
    assert_eq!(runs(&scratch, |_| true).0[&dead], 4, "all its attempts once more");
    let waited = ctl(&scratch, &["submit", "work", "--wait", "--max-attempts", "1", "--", "{\"do\": \"exit\", \"with\": \"9\"}"]);
    assert_eq!(waited.status.code(), Some(1), "{waited:?}");
    assert!(String::from_utf8_lossy(&waited.stderr).contains("dead: exit code 9"), "{waited:?}");
    let unfit = submit(&scratch, ("x", json!("y")), &[]);
    until_state(&scratch, unfit, "Succeeded");
    let line = said(
        &scratch,
        &["submit", "work", "--wait=30s", "-o", "jsonpath={.id}", "--max-attempts", "5", "--", "{\"do\": \"give\", \"with\": 1}"],
    );
    assert_eq!(line, (unfit + 1).to_string());
    let none = ctl(&scratch, &["submit", "work", "--wait=30s", "--", "{}"]);
    assert!(String::from_utf8_lossy(&none.stderr).contains("payload"), "what does not fit the template is told: {none:?}");
    assert_eq!(task_of_last(&scratch)["attempt"], 1, "and not tried again");
}

fn task_of_last(scratch: &Scratch) -> Value {
    let all: Value = serde_json::from_str(&said(scratch, &["get", "tasks", "--pool", "work", "-o", "json"])).expect("JSON");
    let newest = all["items"].as_array().and_then(|all| all.iter().max_by_key(|task| task["id"].as_u64())).expect("a task");
    newest.clone()
}

#[test]
fn a_timeout_and_a_cancel_end_the_process() {
    let scratch = daemon(2, "");
    let slow = submit(&scratch, ("sleep", json!(1000)), &["--timeout", "300ms", "--max-attempts", "1"]);
    let task = until_state(&scratch, slow, "Dead");
    assert_eq!(task["end"]["reason"], "Timeout", "{task}");
    let running = submit(&scratch, ("sleep", json!(1000)), &[]);
    wait("it runs", || runs(&scratch, |_| true).0.contains_key(&running).then_some(()), || notes(&scratch));
    let held = submit(&scratch, ("sleep", json!(1000)), &["--delay", "1h"]);
    assert_eq!(said(&scratch, &["cancel", &held.to_string()]), format!("task/{held} cancelled\n"));
    assert_eq!(said(&scratch, &["cancel", &running.to_string()]), format!("task/{running} is being stopped\n"));
    until_state(&scratch, running, "Cancelled");
    until_state(&scratch, held, "Cancelled");
    wait("nobody is left", || alive(&scratch.mark).is_empty().then_some(()), || format!("{:?}", alive(&scratch.mark)));
    assert_eq!(runs(&scratch, |_| true).0, BTreeMap::from([(slow, 1), (running, 1)]));
}

#[test]
fn one_slot_takes_the_highest_priority_first() {
    let scratch = daemon(1, "");
    let first = submit(&scratch, ("sleep", json!("0.5")), &[]);
    wait("it runs", || (!order(&scratch).is_empty()).then_some(()), || scratch.log());
    let task = |priority: &str| submit(&scratch, ("no", json!(0)), &["--priority", priority]);
    let [low, high, low_too, high_too] = ["0", "9", "0", "9"].map(task);
    for id in [low, high, low_too, high_too] {
        until_state(&scratch, id, "Succeeded");
    }
    assert_eq!(order(&scratch), [first, high, high_too, low, low_too]);
    assert_eq!(runs(&scratch, |_| true).1, 1);
}

#[test]
fn tasks_of_one_key_never_run_at_once() {
    let scratch = daemon(4, "");
    let keyed = [(); 5].map(|()| submit(&scratch, ("sleep", json!("0.1")), &["--key", "issue-7"]));
    let free = [(); 6].map(|()| submit(&scratch, ("sleep", json!("0.1")), &[]));
    for id in keyed.into_iter().chain(free) {
        until_state(&scratch, id, "Succeeded");
    }
    assert_eq!(runs(&scratch, |id| keyed.contains(&id)).1, 1);
    assert!(runs(&scratch, |_| true).1 > 1, "others run beside them");
    let of_key: Vec<u64> = order(&scratch).into_iter().filter(|id| keyed.contains(id)).collect();
    assert_eq!(of_key, keyed, "in their order");
}

#[test]
fn a_usage_limit_lets_the_queue_rest_and_does_not_count() {
    let rules =
        ", failurePolicy: [{exitCodes: [42], action: PausePool, for: 1h}, {output: usage limit, action: PausePool, for: 1h}]";
    let scratch = daemon(1, rules);
    let by_code = submit(&scratch, ("once", json!(42)), &[]);
    let paused = |pool: &Value| pool["status"]["queue"]["pausedUntil"].is_string();
    scratch.wait_status("workerpools", "work", paused);
    let task = until_state(&scratch, by_code, "Queued");
    assert_eq!(task["attempt"], 0, "it does not count: {task}");
    assert!(said(&scratch, &["queue", "work"]).contains("a task ended with exit code 42"));
    said(&scratch, &["cancel", &by_code.to_string()]);
    said(&scratch, &["resume", "queue/work"]);
    let by_output = submit(&scratch, ("exit", json!(1)), &[]);
    until_state(&scratch, by_output, "Dead");
    let flag = scratch.dir.join("limited");
    fs::write(&flag, "").expect("written");
    let script = format!("if [ -e {0} ]; then rm {0}; echo reached your usage limit; exit 1; fi; exit 7", flag.display());
    fs::write(scratch.dir.join("work.sh"), script).expect("written");
    let limited = submit(&scratch, ("no", json!(0)), &["--max-attempts", "1"]);
    scratch.wait_status("workerpools", "work", paused);
    assert_eq!(until_state(&scratch, limited, "Queued")["attempt"], 0);
    said(&scratch, &["resume", "queue/work"]);
    let task = until(&scratch, limited, |task| task["epoch"] == 2 && task["state"] != "Leased");
    assert_eq!((&task["state"], &task["end"]["code"]), (&json!("Dead"), &json!(7)), "an earlier attempt's output is not its own");
}

#[test]
fn held_known_and_refused_submits() {
    let scratch = daemon(0, ", capacity: 2");
    let held = submit(&scratch, ("no", json!(0)), &["--hold", "--idempotency-key", "delivery-1"]);
    assert_eq!(submit(&scratch, ("no", json!(1)), &["--idempotency-key", "delivery-1"]), held);
    let delayed = submit(&scratch, ("no", json!(0)), &["--delay", "1h"]);
    let unfit = ctl(&scratch, &["submit", "work", "--", "{\"do\": \"no\"}"]);
    let words = String::from_utf8_lossy(&unfit.stderr).into_owned();
    assert!(words.contains("does not fit the command of pool work") && words.contains("no field \"with\""), "{words}");
    let full = ctl(&scratch, &["submit", "work", "--", "{\"do\": \"no\", \"with\": 0}"]);
    let words = String::from_utf8_lossy(&full.stderr).into_owned();
    assert!(full.status.code() == Some(1) && words.contains("TooManyRequests") && words.contains("try again in 5s"), "{words}");
    let other = ctl(&scratch, &["submit", "wrok", "--", "{}"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("the types there are: work"), "{other:?}");
    scratch
        .put("work.yaml", &fs::read_to_string(scratch.spec("work.yaml")).expect("there").replace("replicas: 0", "replicas: 1"));
    said(&scratch, &["release", &held.to_string()]);
    until_state(&scratch, held, "Succeeded");
    assert_eq!(task(&scratch, delayed)["state"], "Queued");
    assert_eq!(submit(&scratch, ("no", json!(1)), &["--idempotency-key", "delivery-1"]), held, "also when it has ended");
    assert_eq!(runs(&scratch, |_| true).0, BTreeMap::from([(held, 1)]));
}

#[test]
fn a_task_in_the_line_of_one_worker_is_begun_though_all_are_idle() {
    let scratch = daemon(2, ", dispatch: PerWorker");
    let workers = [(); 4].map(|()| {
        let id = submit(&scratch, ("no", json!(0)), &[]);
        until_state(&scratch, id, "Succeeded")["worker"].as_str().expect("a name").to_owned()
    });
    assert_eq!(workers, ["work-0", "work-1", "work-0", "work-1"].map(str::to_owned), "each in its turn");
}

/// Takes tasks for as long as there are any; the first worker of all is done at once.
const TAKE: &str = r#"
[ "$WEIR_ORDINAL" != 0 ] || exit 0
while :; do
    token=$("$1" --state "$WEIR_STATE" task next --wait 60s -o 'jsonpath={.token}') || { sleep 1; continue; }
    "$1" --state "$WEIR_STATE" task done "$token"
done
"#;

#[test]
fn a_worker_that_is_done_is_dealt_nothing() {
    let mut scratch = Scratch::new();
    fs::write(scratch.dir.join("take.sh"), TAKE).expect("written");
    let command = format!("[sh, {}/take.sh, {}]", scratch.dir.display(), env!("CARGO_BIN_EXE_ctl"));
    let queue = "    restartPolicy: OnFailure\n  queue: {delivery: Lease, dispatch: PerWorker}\n";
    scratch.put("work.yaml", &scratch.pool("work", 2, &command, queue));
    start(&mut scratch);
    // Some may be dealt to the first before it is seen to be done: they are dealt anew then.
    let all = [(); 4].map(|()| submit(&scratch, ("no", json!(0)), &[]));
    for id in all {
        assert_eq!(until_state(&scratch, id, "Succeeded")["worker"], "work-1");
    }
}

/// Takes a task and says that it lives, over and over, until there is a file `enough`.
const BEAT: &str = r#"
token=$("$1" --state "$WEIR_STATE" task next --wait 60s -o 'jsonpath={.token}') || exit 1
until [ -e "$2/enough" ]; do
    "$1" --state "$WEIR_STATE" task heartbeat "$token" || exit 1
    sleep 0.2
done
"$1" --state "$WEIR_STATE" task done "$token"
sleep 100000
"#;

#[test]
fn a_daemon_that_was_stopped_ends_no_worker_that_it_could_not_hear() {
    let mut scratch = Scratch::new();
    fs::write(scratch.dir.join("beat.sh"), BEAT).expect("written");
    let at = scratch.dir.display();
    let command = format!("[sh, {at}/beat.sh, {}, {at}]", env!("CARGO_BIN_EXE_ctl"));
    scratch.put("work.yaml", &scratch.pool("work", 1, &command, "  queue: {delivery: Lease, leaseDuration: 4s}\n"));
    start(&mut scratch);
    let id = submit(&scratch, ("no", json!(0)), &[]);
    until_state(&scratch, id, "Leased");
    let (daemon, workers) = (scratch.daemon.as_ref().expect("it runs").id(), scratch.workers());
    signal(daemon, "STOP");
    // Longer than the lease: only real time passes while a process is stopped.
    std::thread::sleep(std::time::Duration::from_secs(8));
    signal(daemon, "CONT");
    said(&scratch, &["version"]);
    fs::write(scratch.dir.join("enough"), "").expect("written");
    let task = until(&scratch, id, |task| task["state"] != "Leased");
    assert_eq!((&task["state"], &task["attempt"], &task["epoch"]), (&json!("Succeeded"), &json!(1), &json!(1)), "{task}");
    assert_eq!(scratch.workers(), workers, "the same worker goes on");
}

#[test]
fn what_waits_for_a_worker_that_is_gone_goes_to_another() {
    let scratch = daemon(2, ", dispatch: PerWorker");
    let long = [(); 2].map(|()| submit(&scratch, ("sleep", json!("100000")), &[]));
    let holders = long.map(|id| until_state(&scratch, id, "Leased")["worker"].as_str().expect("a name").to_owned());
    assert_eq!(BTreeSet::from(holders.clone()), BTreeSet::from(["work-0".into(), "work-1".into()]), "idle workers first");
    let short = [(); 4].map(|()| submit(&scratch, ("no", json!(0)), &[]));
    let dealt = short.map(|id| task(&scratch, id)["worker"].as_str().expect("dealt").to_owned());
    assert_eq!(dealt.iter().filter(|worker| *worker == "work-1").count(), 2, "as many for each: {dealt:?}");
    let document = fs::read_to_string(scratch.spec("work.yaml")).expect("there");
    scratch.put("work.yaml", &document.replace("replicas: 2", "replicas: 1"));
    for (id, _) in short.iter().zip(&dealt).filter(|(_, worker)| *worker == "work-1") {
        until(&scratch, *id, |task| task["worker"] == "work-0");
    }
    // Its own task goes on until its worker is dead, and then to the one that is left.
    let (lost, stays) = if holders[0] == "work-1" { (long[0], long[1]) } else { (long[1], long[0]) };
    signal(scratch.workers()["work-1"].unsigned_abs(), "KILL");
    until(&scratch, lost, |task| task["worker"] == "work-0" && task["state"] == "Queued");
    said(&scratch, &["cancel", &stays.to_string()]);
    until(&scratch, lost, |task| task["worker"] == "work-0" && task["state"] == "Leased");
    said(&scratch, &["cancel", &lost.to_string()]);
    for id in short {
        assert_eq!(until_state(&scratch, id, "Succeeded")["worker"], "work-0");
    }
    let (began, _) = runs(&scratch, |_| true);
    assert_eq!((began[&lost], short.map(|id| began[&id])), (2, [1; 4]));
}

#[test]
fn directories_of_tasks_that_somebody_removed_are_made_again() {
    let scratch = daemon(1, "");
    until_state(&scratch, submit(&scratch, ("give", json!(1)), &[]), "Succeeded");
    for dir in ["state/tasks", "state/logs/tasks"] {
        fs::remove_dir_all(scratch.dir.join(dir)).expect("removed");
    }
    let id = submit(&scratch, ("give", json!(2)), &[]);
    assert_eq!(until_state(&scratch, id, "Succeeded")["result"]["key"], "", "its result was found");
    assert!(said(&scratch, &["logs", &format!("task/{id}")]).contains("output of attempt 1: 2"));
    for dir in ["state/tasks", "state/logs/tasks"] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(scratch.dir.join(dir)).expect("there").permissions());
        assert_eq!(mode & 0o777, 0o700, "{dir}");
    }
}

#[test]
fn what_comes_after_others_hears_of_ends_that_no_daemon_saw() {
    let mut scratch = daemon(2, "");
    let first = submit(&scratch, ("hold", json!(0)), &[]);
    let second = submit(&scratch, ("exit", json!(3)), &["--after", &format!("task/{first}"), "--max-attempts", "1"]);
    let third = submit(&scratch, ("exit", json!(0)), &["--after", &format!("{first},{second}")]);
    wait("the first", || notes(&scratch).contains(&format!("begin {first} ")).then_some(()), || scratch.log());
    assert_eq!((task(&scratch, second)["state"].as_str(), notes(&scratch).lines().count()), (Some("Held"), 1));
    scratch.kill();
    fs::write(scratch.dir.join("enough"), "").expect("written");
    wait("its end", || notes(&scratch).contains(&format!("end {first}")).then_some(()), || notes(&scratch));
    start(&mut scratch);
    until_state(&scratch, first, "Succeeded");
    until_state(&scratch, second, "Dead");
    let given_up = until_state(&scratch, third, "Cancelled");
    assert_eq!(given_up["end"]["reason"], "DependencyFailed");
    let told = format!("task {third} is cancelled: it was to come after task {second}, which is Dead");
    wait("the line", || scratch.log().contains(&told).then_some(()), || scratch.log());
    assert!(!notes(&scratch).contains(&format!("begin {third} ")));
}
