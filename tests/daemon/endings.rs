//! How workers end: exactly known, also while nobody watched; and nothing of a tree is left.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::json;

use super::harness::{Scratch, alive, signal, wait};
use super::tasks::{ctl, daemon, submit, until_state};

#[test]
fn ends_while_no_daemon_runs_are_reported_exactly() {
    // Each worker waits for the file to appear, then ends in its own way; four workers each of five ways.
    let ways = [
        ("zero", "exit 0", serde_json::json!(0), serde_json::Value::Null),
        ("one", "exit 1", serde_json::json!(1), serde_json::Value::Null),
        ("seven", "exit 7", serde_json::json!(7), serde_json::Value::Null),
        ("segv", "kill -SEGV $$$$", serde_json::Value::Null, serde_json::json!(11)),
        ("kill", "kill -KILL $$$$", serde_json::Value::Null, serde_json::json!(9)),
    ];
    let mut scratch = Scratch::new();
    let gate = scratch.dir.join("gate");
    let each = 20;
    for (name, how, ..) in &ways {
        let script = format!("[bash, -c, \"until [ -e {} ]; do sleep 0.05; done; ulimit -c 0; {how}\"]", gate.display());
        scratch.put(&format!("{name}.yaml"), &scratch.pool(name, each, &script, "    restartPolicy: Never\n"));
    }
    scratch.start();
    scratch.wait_workers(ways.len() * each as usize);
    scratch.kill();
    fs::write(&gate, "").expect("opened");
    wait("the end of all", || alive(&scratch.mark).is_empty().then_some(()), || format!("{:?}", scratch.workers()));
    scratch.start();
    let mut exact = 0;
    for (name, _, code, signal) in &ways {
        for n in 0..each {
            let status =
                scratch.wait_status("workers", &format!("{name}-{n}"), |status| status["status"]["lastExit"].is_object());
            let exit = &status["status"]["lastExit"];
            assert_eq!((&exit["code"], &exit["signal"]), (code, signal), "{name}-{n}: {exit}");
            exact += 1;
        }
    }
    println!("{exact}/100 exact");
}

#[test]
fn twenty_descendants_in_sessions_of_their_own_all_go_with_their_worker() {
    for driver in ["auto", "none"] {
        let mut scratch = Scratch::new().with(&["--cgroup-driver", driver]);
        let script = "[bash, -c, \"for i in $(seq 20); do (setsid setsid sleep 100000 &) ; done; sleep 100000\"]";
        scratch.put("forks.yaml", &scratch.pool("forks", 25, script, "    stopSignal: KILL\n"));
        scratch.start();
        wait(
            "every descendant",
            || (alive(&scratch.mark).len() >= 25 * 21).then_some(()),
            || alive(&scratch.mark).len().to_string(),
        );
        scratch.put("forks.yaml", &scratch.pool("forks", 0, script, "    stopSignal: KILL\n"));
        wait(
            "the end of all",
            || alive(&scratch.mark).is_empty().then_some(()),
            || format!("{} left", alive(&scratch.mark).len()),
        );
    }
}

#[test]
fn five_hundred_ends_at_once_are_each_told_once() {
    let mut scratch = Scratch::new();
    let gate = scratch.dir.join("gate");
    std::process::Command::new("mkfifo").arg(&gate).status().expect("a fifo");
    let script = format!("[sh, -c, \"read x < {}; exit 3\"]", gate.display());
    scratch.put("many.yaml", &scratch.pool("many", 500, &script, "    restartPolicy: Never\n"));
    scratch.start();
    scratch.wait_workers(500);
    // Every reader sees the end of the file when the one writer closes it.
    drop(fs::OpenOptions::new().write(true).open(&gate).expect("opened"));
    wait("the end of all", || scratch.workers().is_empty().then_some(()), || scratch.workers().len().to_string());
    for n in 0..500 {
        scratch.wait_status("workers", &format!("many-{n}"), |status| status["status"]["lastExit"]["code"] == 3);
    }
    let log = scratch.log();
    let told = |n: usize| log.lines().filter(|line| line.contains(&format!(" many-{n} ended: exit code 3"))).count();
    let once = (0..500).filter(|n| told(*n) == 1).count();
    assert_eq!(once, 500, "each end is told once");
}

#[test]
fn a_worker_whose_shim_is_killed_is_hunted_and_its_end_is_unknown() {
    for driver in ["auto", "none"] {
        let mut scratch = Scratch::new().with(&["--cgroup-driver", driver]);
        let script = "[bash, -c, \"(setsid sleep 100000 &); sleep 100000\"]";
        scratch.put("web.yaml", &scratch.pool("web", 1, script, ""));
        scratch.start();
        let both = || (alive(&scratch.mark).len() == 2).then(|| alive(&scratch.mark));
        let before = wait("the worker and its daemon", both, || scratch.log());
        signal(shim_of(&scratch), "KILL");
        let status = scratch.wait_status("workers", "web-0", |status| {
            status["status"]["lastExit"]["reason"] == "Unknown" && status["status"]["phase"] == "Ready"
        });
        assert!(status["status"]["lastExit"]["code"].is_null() && status["status"]["lastExit"]["signal"].is_null());
        for process in before {
            assert!(!alive(&scratch.mark).contains(&process), "{process:?} is gone");
        }
    }
}

fn shim_of(scratch: &Scratch) -> u32 {
    let shim = fs::read_to_string(scratch.dir.join("state/run/web/web-0/shim.json")).expect("is there");
    let shim: serde_json::Value = serde_json::from_str(&shim).expect("is JSON");
    u32::try_from(shim["shim"].as_u64().expect("a pid")).expect("a pid")
}

#[test]
fn a_worker_that_lost_its_shim_while_no_daemon_was_there_is_not_one_that_ended_at_once() {
    let mut scratch = Scratch::new();
    let backoff = "    backoff: {initial: 100s, resetAfter: 300ms}\n";
    scratch.put("web.yaml", &scratch.pool("web", 1, "", backoff));
    scratch.start();
    scratch.wait_status("workers", "web-0", |worker| worker["status"]["phase"] == "Ready");
    signal(u32::try_from(scratch.workers()["web-0"]).expect("a pid"), "KILL");
    scratch.wait_status("workers", "web-0", |worker| worker["status"]["lastExit"]["signal"] == 9);
    let first = scratch.wait_workers(1);
    let began = std::time::Instant::now();
    scratch.kill();
    let lasts = std::time::Duration::from_millis(300);
    wait("it has run for resetAfter", || (began.elapsed() > lasts).then_some(()), String::new);
    signal(shim_of(&scratch), "KILL");
    scratch.start();
    let again = || scratch.workers().get("web-0").filter(|pid| **pid != first["web-0"]).map(drop);
    wait("the next run, at once", again, || scratch.log());
    let worker = scratch.wait_status("workers", "web-0", |worker| worker["status"]["lastExit"]["reason"] == "Unknown");
    assert!(worker["status"]["lastExit"]["ranMs"].as_u64() >= Some(300), "{worker}");
}

/// Finds its own cgroup, does to it what its payload says, and fails where one before it has left something there.
const SPOIL: &str = r#"
own=$(sed -n 's/^0:://p' /proc/self/cgroup)
for mount in /sys/fs/cgroup/unified /sys/fs/cgroup; do
    [ -e "$mount$own/cgroup.kill" ] || continue
    [ ! -e "$mount$own/left" ] || exit 9
    [ "$(cat "$mount$own/cgroup.max.descendants")" = max ] || exit 9
    case "$2" in
    child) mkdir "$mount$own/left" ;;
    bound) echo 7 > "$mount$own/cgroup.max.descendants" ;;
    remove) echo $$ > "$mount/cgroup.procs" && rmdir "$mount$own" ;;
    kill) [ "$WEIR_TASK_ATTEMPT" != 1 ] || echo 1 > "$mount$own/cgroup.kill" ;;
    esac
done
exit 0
"#;

#[test]
fn what_a_task_does_to_its_cgroup_is_not_handed_on_to_the_next() {
    let scratch = daemon(1, "");
    fs::write(scratch.dir.join("work.sh"), SPOIL).expect("written");
    for what in ["no", "child", "no", "bound", "no", "remove", "no", "kill", "no"] {
        let id = submit(&scratch, (what, json!(0)), &[]);
        let task = until_state(&scratch, id, "Succeeded");
        let attempts = task["attempt"].as_u64();
        assert!(attempts == Some(1) || what == "kill" && attempts == Some(2), "{what}: {task}");
    }
}

#[test]
fn what_is_wrong_is_told_where_it_is_looked_for() {
    let mut scratch = Scratch::new().with(&["--on-exit", "leave"]);
    scratch.put("never.yaml", &scratch.pool("never", 1, "", "    user: no-such-user-here\n"));
    let probe = "    livenessProbe: {exec: {command: [\"false\"]}, period: 100ms, failureThreshold: 1}\n";
    scratch.put("unwell.yaml", &scratch.pool("unwell", 1, "", probe));
    scratch.put("web.yaml", &scratch.pool("web", 1, "[sh, -c, \"echo hello; exec sleep 100000\"]", ""));
    scratch.start();
    let of = |status: &serde_json::Value, kind: &str| {
        let conditions = status["status"]["conditions"].as_array().cloned().unwrap_or_default();
        let one = conditions.iter().find(|condition| condition["type"] == kind);
        one.and_then(|condition| condition["message"].as_str()).unwrap_or_default().to_owned()
    };
    scratch.wait_status("workerpools", "unwell", |status| of(status, "Ready").contains("(livenessProbe failed"));
    scratch.wait_status("workers", "never-0", |status| status["status"]["phase"] == "BackOff");
    let wrong = |arguments: &[&str]| {
        let told = ctl(&scratch, arguments);
        assert_eq!(told.status.code(), Some(1), "{arguments:?}: {}", scratch.log());
        String::from_utf8(told.stderr).expect("text")
    };
    let logs = wrong(&["logs", "never-0"]);
    assert!(logs.contains("has not run yet: ") && logs.contains("no-such-user-here"), "{logs}");
    assert!(wrong(&["logs", "web-0", "--previous"]).contains("has no previous run to show"));
    let rollout = wrong(&["rollout", "status", "pool/nosuch"]);
    assert!(rollout.contains("\"nosuch\" not found"), "{rollout}");
    // What is followed ends with the daemon, and that is no end of the log.
    let mut follow = Command::new(env!("CARGO_BIN_EXE_ctl"));
    follow.arg("--state").arg(scratch.dir.join("state")).args(["logs", "-f", "web-0"]);
    let mut follow = follow.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("ctl runs");
    let mut line = String::new();
    BufReader::new(follow.stdout.as_mut().expect("piped")).read_line(&mut line).expect("read");
    assert_eq!(line, "hello\n");
    assert_eq!(scratch.end(), Some(0));
    let ended = follow.wait_with_output().expect("ended");
    let words = String::from_utf8(ended.stderr).expect("text");
    assert!(ended.status.code() == Some(3) && words.contains("the daemon has ended"), "{words}");
}

#[test]
fn a_pool_whose_document_is_gone_shows_that_for_the_grace() {
    let mut scratch = Scratch::new().with(&["--prune-grace", "30s"]);
    for name in ["web", "other", "third"] {
        scratch.put(&format!("{name}.yaml"), &scratch.pool(name, 1, "", ""));
    }
    scratch.start();
    let workers = scratch.wait_workers(3);
    let shown = |status: &serde_json::Value| {
        let conditions = status["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.iter().any(|condition| condition["type"] == "PendingDelete" && condition["status"] == "True")
    };
    let text = fs::read_to_string(scratch.spec("web.yaml")).expect("its document");
    let deleted = ctl(&scratch, &["delete", "pool/nosuch", "pool/web"]);
    assert_eq!(
        (deleted.status.code(), deleted.stdout.as_slice()),
        (Some(1), b"pool/web deleted; its workers are stopped in 30s\n".as_slice()),
        "the other one all the same"
    );
    scratch.wait_status("workerpools", "web", shown);
    let told = String::from_utf8(ctl(&scratch, &["get", "pools", "-o", "wide"]).stdout).expect("text");
    let line = told.lines().find(|line| line.starts_with("web ")).unwrap_or_default();
    assert!(line.contains("PendingDelete") && line.contains("its workers are stopped after the prune grace"), "{told}");
    scratch.put("web.yaml", &text);
    scratch.wait_status("workerpools", "web", |status| !shown(status));
    assert_eq!(scratch.workers(), workers, "all run on");
}
