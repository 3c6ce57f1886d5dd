//! The capacity test with the real daemon: what it measures, what it refuses, and what an interrupted one leaves behind.

use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::harness::{Scratch, signal, wait};
use super::tasks::{ctl, daemon, said, submit, task, until_state};

const SLEEP: &str = r#"{"do": "sleep", "with": "0.3"}"#;

fn test(scratch: &Scratch, flags: &[&str], payload: &str) -> Value {
    let arguments = [&["capacity-test", "work", "-o", "json"], flags, &["--", payload]].concat();
    let output = ctl(scratch, &arguments);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

#[test]
fn more_at_once_gives_more_until_it_does_not() {
    let scratch = daemon(4, "");
    let found = test(&scratch, &["--from", "1", "--to", "4", "--step", "3", "--tasks", "12"], SLEEP);
    let steps = found["steps"].as_array().expect("steps");
    let number = |step: &Value, name: &str| step[name].as_f64().unwrap_or_else(|| panic!("{name}: {step:#}"));
    assert_eq!(steps.iter().map(|step| step["parallelism"].clone()).collect::<Vec<_>>(), [1, 4], "{found:#}");
    for step in steps {
        assert_eq!((&step["tasks"], &step["failures"]), (&12.into(), &0.into()), "{step:#}");
        assert!(number(step, "p50Ms") >= 300.0 && number(step, "p95Ms") >= number(step, "p50Ms"), "{step:#}");
        // No more at once than was asked for, and so no more in a minute than the sleep allows.
        let most = number(step, "parallelism");
        assert!(number(step, "running") <= most + 0.01 && number(step, "perMinute") <= most * 200.0, "{step:#}");
        assert!(step["host"]["memoryAvailable"].as_u64().is_some_and(|bytes| bytes > 0), "{step:#}");
    }
    assert!(number(&steps[1], "perMinute") > number(&steps[0], "perMinute"), "{found:#}");
    assert_eq!((&found["recommended"]["maxReplicas"], &found["otherTasks"]), (&4.into(), &false.into()), "{found:#}");
}

#[test]
fn what_fails_is_counted_and_ends_the_rise() {
    let scratch = daemon(2, "");
    let found = test(&scratch, &["--to", "2", "--tasks", "3"], r#"{"do": "exit", "with": "3"}"#);
    assert_eq!(found["steps"].as_array().map(Vec::len), Some(1), "{found:#}");
    assert_eq!((&found["steps"][0]["failures"], &found["recommended"]["maxReplicas"]), (&3.into(), &Value::Null), "{found:#}");
    let output = ctl(&scratch, &["capacity-test", "work", "--to", "3", "--", SLEEP]);
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains("it runs 2 tasks at once at most (spec.replicas): test with --to 2"), "{words}");
    let table = ctl(&scratch, &["capacity-test", "work", "--to", "1", "--tasks", "2", "--", r#"{"do": "nothing", "with": ""}"#]);
    let words = String::from_utf8_lossy(&table.stdout);
    assert!(table.status.success() && words.contains("TASKS/MIN") && words.contains("recommended: maxReplicas: 1"), "{words}");
}

/// A test that has begun and has one task, which waits.
fn begun(scratch: &Scratch) -> (Child, u64) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
    command.arg("--state").arg(scratch.dir.join("state")).args(["capacity-test", "work", "--to", "1", "--", SLEEP]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ctl starts");
    let queued =
        || said(scratch, &["get", "tasks", "--status", "Queued", "-o", "name"]).trim().strip_prefix("task/")?.parse().ok();
    let waiting: u64 = wait("the test's task", queued, || scratch.log());
    (child, waiting)
}

/// It ended without an answer, said this, and took its task back.
fn gave_up(scratch: &Scratch, (child, waiting): (Child, u64), why: &str) {
    let output = child.wait_with_output().expect("ctl ends");
    let words = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{words}");
    assert!(words.contains(why) && words.contains("1 task taken back, 0 run on"), "{words}");
    assert_eq!(task(scratch, waiting)["state"], "Cancelled");
}

#[test]
fn an_interrupted_test_takes_back_what_has_not_started() {
    let scratch = daemon(1, "");
    let first = submit(&scratch, ("sleep", "100000".into()), &[]);
    until_state(&scratch, first, "Leased");
    let (child, waiting) = begun(&scratch);
    signal(child.id(), "INT");
    gave_up(&scratch, (child, waiting), "the pool has other tasks too");
    assert_eq!(task(&scratch, first)["state"], "Leased", "what others gave is left alone");
}

#[test]
fn a_queue_that_is_paused_in_the_middle_of_a_step_ends_the_test() {
    let scratch = daemon(1, "");
    let first = submit(&scratch, ("sleep", "100000".into()), &[]);
    until_state(&scratch, first, "Leased");
    let test = begun(&scratch);
    said(&scratch, &["pause", "queue/work"]);
    gave_up(&scratch, test, "its queue is paused until it is resumed");
}
