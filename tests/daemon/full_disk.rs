//! The state directory's file system is full for a while: nothing is lost that can be kept, and nothing is made up.
//!
//! A tiny tmpfs of the daemon's own, in a mount namespace that ends with it; seen from here through `/proc/PID/root`. Who is not root
//! makes one in a user namespace; where there is none either this holds nothing.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::harness::{Scratch, signal, wait};
use crate::skipped;

/// Mounts, then becomes the program: the pid stays.
const SCRIPT: &str = "set -e\nmount -t tmpfs -o size=$1,mode=0700 weir-test \"$2\"\nshift 2\nexec \"$@\"\n";

/// Start the daemon with a state directory of so many bytes. None when no namespace is to be had.
fn start(scratch: &mut Scratch, size: &str) -> Option<PathBuf> {
    let state = scratch.dir.join("state");
    fs::create_dir_all(&state).expect("a mount point");
    let script = scratch.dir.join("mount");
    fs::write(&script, SCRIPT).expect("written");
    let how = if nix::unistd::geteuid().is_root() { "-m" } else { "-rm" };
    let private = Command::new("unshare").args([how, "true"]).stderr(Stdio::null()).status();
    if skipped::without(private.is_ok_and(|status| status.success()), "a mount namespace") {
        return None;
    }
    let weir = scratch.weir();
    let log = fs::File::options().create(true).append(true).open(scratch.dir.join("log")).expect("a log");
    let mut command = Command::new("unshare");
    command.args([how, "sh"]).arg(script).arg(size).arg(&state).arg(weir.get_program()).args(weir.get_args());
    command.current_dir(&scratch.dir).stdin(Stdio::null()).stdout(log.try_clone().expect("a copy")).stderr(log);
    let child = command.spawn().expect("unshare runs");
    let seen = PathBuf::from(format!("/proc/{}/root{}", child.id(), state.display()));
    scratch.daemon = Some(child);
    Some(seen)
}

/// Use up all that is left.
fn fill(state: &std::path::Path) {
    let mut file = fs::File::create(state.join("fill")).expect("made");
    let mut size = 1 << 16;
    while size > 0 {
        if file.write_all(&vec![0; size]).is_err() {
            size /= 2;
        }
    }
}

fn status(state: &std::path::Path, kind: &str, name: &str) -> Option<serde_json::Value> {
    let text = fs::read_to_string(state.join(format!("status/{kind}/{name}.yaml"))).ok()?;
    Some(serde_saphyr::from_str(&text).expect("a status file always parses"))
}

#[test]
fn a_full_disk_stops_nobody_and_all_goes_on_when_there_is_room() {
    let mut scratch = Scratch::new();
    let count = scratch.dir.join("count");
    let script = format!(
        "[bash, -c, \"while :; do echo 0123456789012345678901234567890123456789; echo >> {}; sleep 0.002; done\"]",
        count.display()
    );
    let spec = |scratch: &Scratch, replicas| scratch.pool("full", replicas, &script, "");
    scratch.put("full.yaml", &spec(&scratch, 2));
    let Some(state) = start(&mut scratch, "3m") else { return };
    let before = scratch.wait_workers(2);
    let ready = |n: u64| {
        let now = || status(&state, "workerpools", "full");
        let so = || now().filter(|pool| pool["status"]["readyReplicas"] == n && pool["status"]["desiredReplicas"] == n);
        wait("a ready pool", so, || format!("{:#?}\n{}", now(), scratch.log()));
    };
    ready(2);
    fill(&state);
    scratch.put("full.yaml", &spec(&scratch, 3));
    wait("words about it", || scratch.log().contains("the store did not take").then_some(()), || scratch.log());
    // The workers work on, though nobody can keep what they print.
    let lines = || fs::metadata(&count).map_or(0, |file| file.len());
    let (begun, enough) = (lines(), 500);
    wait("work", || (lines() > begun + enough).then_some(()), || scratch.log());
    assert_eq!(scratch.workers(), before, "what is not written down is not done");
    assert_eq!(
        status(&state, "workerpools", "full").map(|pool| pool["status"]["desiredReplicas"] == 2),
        Some(true),
        "whole, and of before"
    );
    // One ends meanwhile; its end is told when it can be kept.
    signal(before["full-1"].unsigned_abs(), "KILL");
    wait("the end", || (!scratch.workers().values().any(|pid| *pid == before["full-1"])).then_some(()), || scratch.log());
    // What is seen is shown, and that nothing can be kept.
    let ctl = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_ctl")).arg("--state").arg(&state).args(words).output().expect("it runs");
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
    };
    let shown = || ctl(&["get", "worker", "full-1", "-o", "json"]);
    let down = || (!shown().contains(&format!("\"pid\": {}", before["full-1"]))).then_some(());
    wait("the worker shown as it is", down, shown);
    let asked = || {
        let mut socket = UnixStream::connect(state.join("weir.sock")).expect("it answers");
        socket.write_all(b"GET /readyz HTTP/1.1\r\nhost: weir\r\nconnection: close\r\n\r\n").expect("asked");
        std::io::read_to_string(socket).expect("answered")
    };
    let unkept = || asked().contains("503").then(|| asked().contains("the store takes nothing").then_some(())).flatten();
    wait("the reason why it is not ready", unkept, asked);
    fs::remove_file(state.join("fill")).expect("removed");
    let after = scratch.wait_workers(3);
    assert_eq!(after["full-0"], before["full-0"]);
    ready(3);
    let worker = |name| status(&state, "workers", name).unwrap_or_default();
    assert_eq!(worker("full-1")["status"]["lastExit"]["signal"], 9, "{:#?}", worker("full-1"));
    assert_eq!(scratch.log().matches("full-1 ended").count(), 1, "{}", scratch.log());
    // Each thing is told once, however often it was planned. What the log warns of may come again.
    let mut told = std::collections::BTreeMap::<String, usize>::new();
    let is_event = |line: &&str| line.get(2..3) == Some(":") && line.get(5..6) == Some(":") && !line.contains("  WARN ");
    for line in scratch.log().lines().filter(is_event) {
        *told.entry(line.get(8..).unwrap_or_default().to_owned()).or_default() += 1;
    }
    assert!(told.len() > 3 && told.values().all(|times| *times == 1), "{told:#?}");
    let row = || worker("full-0")["status"]["droppedLogBytes"].as_u64().filter(|bytes| *bytes > 0);
    let droppings = |dir: &str| {
        let names = fs::read_dir(state.join(dir)).expect("there").flatten().map(|entry| entry.file_name());
        names.filter(|name| !name.to_string_lossy().ends_with(".yaml")).count()
    };
    assert_eq!(droppings("status/workerpools") + droppings("status/workers"), 0, "half a file stays nowhere");
    wait("the count of what was dropped", row, || format!("{:#?}", worker("full-0")));
}

#[test]
fn a_daemon_that_has_nothing_to_do_tells_of_a_full_disk_from_the_first_task_that_is_refused() {
    let mut scratch = Scratch::new();
    scratch.put("work.yaml", &scratch.pool("work", 1, "", "  queue: {delivery: Lease}\n"));
    let Some(state) = start(&mut scratch, "3m") else { return };
    wait(
        "a ready pool",
        || status(&state, "workerpools", "work").filter(|pool| pool["status"]["readyReplicas"] == 1),
        || scratch.log(),
    );
    let ask = |what: &str, body: &str| {
        let mut socket = UnixStream::connect(state.join("weir.sock")).expect("it answers");
        let length = body.len();
        write!(socket, "{what} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}")
            .expect("asked");
        std::io::read_to_string(socket).expect("answered").to_lowercase()
    };
    let submit = || ask("POST /v1/pools/work/tasks", r#"{"payload": 1}"#);
    let is = |told: &str, words: &[&str]| words.iter().all(|word| told.contains(word));
    assert!(is(&submit(), &["201 created"]));
    fill(&state);
    // What is written goes into room that the store has already, until that is used up.
    wait(
        "a refusal",
        || is(&submit(), &["503 service unavailable", "retry-after: 5", "the store takes nothing"]).then_some(()),
        submit,
    );
    assert!(is(&ask("GET /readyz", ""), &["503", "the store takes nothing"]));
    assert!(is(&ask("GET /metrics", ""), &["\nweir_store_available 0"]));
    fs::remove_file(state.join("fill")).expect("removed");
    wait("that it is ready", || is(&ask("GET /readyz", ""), &["200 ok"]).then_some(()), || scratch.log());
    assert!(is(&submit(), &["201 created"]));
    assert!(is(&ask("GET /metrics", ""), &["\nweir_store_available 1"]));
    let events = || ask("GET /apis/events.k8s.io/v1/events", "");
    wait("both events", || is(&events(), &["storeunavailable", "storeavailable"]).then_some(()), events);
}

#[test]
fn a_daemon_that_ends_on_a_full_disk_takes_its_workers_with_it() {
    let mut scratch = Scratch::new();
    scratch.put(
        "web.yaml",
        &scratch.pool("web", 2, "", "").replace("sleep, ", "bash, -c, \"trap '' TERM; sleep 1000 & wait; wait\", "),
    );
    let Some(state) = start(&mut scratch, "3m") else { return };
    wait(
        "a ready pool",
        || status(&state, "workerpools", "web").filter(|pool| pool["status"]["readyReplicas"] == 2),
        || scratch.log(),
    );
    fill(&state);
    // The file system is not seen from here any more once the daemon has ended.
    let full = fs::File::options().write(true).open(state.join("fill")).expect("opens");
    let pid = scratch.daemon.as_ref().expect("runs").id();
    signal(pid, "TERM");
    wait("their end", || scratch.workers().is_empty().then_some(()), || scratch.log());
    let ended = scratch.daemon.as_mut().expect("ran").wait().expect("reaped");
    assert_eq!(ended.code(), Some(0), "{}", scratch.log());
    full.set_len(0).expect("there is room again");
    let shims = || shims_of(&scratch.dir);
    wait("the end of the shims, with their records written", || shims().is_empty().then_some(()), || format!("{:?}", shims()));
}

/// Shims that serve a daemon of this directory.
fn shims_of(dir: &std::path::Path) -> Vec<u32> {
    let dir = format!("{}/", dir.display());
    let all = fs::read_dir("/proc").expect("there").flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let is_shim = |pid: &u32| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| {
            let mut words = line.split(|byte| *byte == 0).map(String::from_utf8_lossy);
            words.next().is_some_and(|program| program.ends_with("weir-shim"))
                && words.next().is_some_and(|slot| slot.starts_with(&dir))
        })
    };
    all.filter(is_shim).collect()
}
