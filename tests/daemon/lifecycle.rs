//! Keeping pools at their number: edits, crashes, updates, stops, the end of the daemon.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use super::harness::{Scratch, alive, cgroup_in, signal, wait};
use super::socket;

#[test]
fn the_bundled_specs_run_at_once_and_each_decision_is_a_line() {
    let mut scratch = Scratch::new();
    for entry in fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/specs")).expect("specs").flatten() {
        fs::copy(entry.path(), scratch.spec(&entry.file_name().to_string_lossy())).expect("copied");
    }
    let began = Instant::now();
    scratch.start();
    scratch.wait_status("workerpools", "hello", |status| status["status"]["readyReplicas"] == 2);
    assert!(began.elapsed() < Duration::from_secs(10));
    for words in ["pool/hello", "starting hello-0, hello-1", "0 → 2 workers", "2 of 2 workers are ready"] {
        wait(words, || scratch.log().contains(words).then_some(()), || scratch.log());
    }
    assert_eq!(scratch.end(), Some(0));
}

#[test]
fn a_daemon_that_is_short_of_descriptors_kills_nobody() {
    let mut scratch = Scratch::new().with(&["--on-exit", "leave"]);
    scratch.put("web.yaml", &scratch.pool("web", 40, "", ""));
    scratch.start();
    let workers = scratch.wait_workers(40);
    scratch.wait_status("workerpools", "web", |status| status["status"]["readyReplicas"] == 40);
    scratch.end();
    let daemon = scratch.weir();
    let mut short = std::process::Command::new("bash");
    short.args(["-c", "ulimit -n 45; exec \"$@\"", "bash"]).arg(daemon.get_program()).args(daemon.get_args());
    let log = fs::OpenOptions::new().append(true).open(scratch.dir.join("log")).expect("a log");
    let short = short.current_dir(&scratch.dir).stdin(Stdio::null()).stdout(log.try_clone().expect("a copy")).stderr(log);
    scratch.daemon = Some(short.spawn().expect("bash runs"));
    let told = || scratch.log().contains("cannot be reached for now").then_some(());
    wait("one that cannot be reached", told, || scratch.log());
    // Whoever was killed for it would be gone by then.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(scratch.workers(), workers, "{}", scratch.log());
    scratch.kill();
    scratch.start();
    wait("all adopted", || scratch.log().contains("40 workers found running").then_some(()), || scratch.log());
    assert_eq!(scratch.workers(), workers, "{}", scratch.log());
}

#[test]
fn edits_by_rename_and_in_place_converge_and_leave_survivors_alone() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", &scratch.pool("web", 3, "", ""));
    scratch.start();
    let first = scratch.wait_workers(3);
    scratch.put("web.yaml", &scratch.pool("web", 6, "", ""));
    let more = scratch.wait_workers(6);
    scratch.write("web.yaml", &scratch.pool("web", 4, "", ""));
    let fewer = scratch.wait_workers(4);
    scratch.write("web.yaml", &scratch.pool("web", 5, "", ""));
    let again = scratch.wait_workers(5);
    for (worker, pid) in &first {
        assert_eq!([more.get(worker), fewer.get(worker), again.get(worker)], [Some(pid); 3], "{worker} stayed");
    }
    assert_eq!(more.get("web-3"), fewer.get("web-3"), "the lowest ordinals stay");
}

#[test]
fn a_killed_worker_is_replaced_at_once_and_then_ever_later_also_across_daemons() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", &scratch.pool("web", 2, "", "    backoff: {initial: 60s, max: 5m, resetAfter: 10m}\n"));
    scratch.start();
    let before = scratch.wait_workers(2);
    signal(before["web-0"].unsigned_abs(), "KILL");
    let after =
        wait("a replacement", || scratch.workers().get("web-0").copied().filter(|pid| *pid != before["web-0"]), || scratch.log());
    assert_eq!(scratch.workers()["web-1"], before["web-1"]);
    signal(after.unsigned_abs(), "KILL");
    let waits = |status: &serde_json::Value| status["status"]["phase"] == "BackOff" && status["status"]["restarts"] == 1;
    let due = scratch.wait_status("workers", "web-0", waits)["status"]["nextStartAt"].clone();
    scratch.kill();
    scratch.start();
    let still = scratch.wait_status("workers", "web-0", waits);
    let (a, b) = (due.as_str().expect("a time"), still["status"]["nextStartAt"].as_str().expect("a time"));
    assert_eq!(a[..19], b[..19], "the wait goes on where it was");
    assert_eq!(scratch.workers().len(), 1);
}

#[test]
fn a_worker_that_fails_again_and_again_is_a_crash_loop() {
    let mut scratch = Scratch::new();
    scratch.put(
        "bad.yaml",
        &scratch.pool("bad", 1, "[sh, -c, \"exit 9\"]", "    backoff: {initial: 50ms, max: 1h, resetAfter: 10m}\n"),
    );
    scratch.put("gone.yaml", &scratch.pool("gone", 1, "[/no/such/program]", ""));
    scratch.start();
    let looping = |status: &serde_json::Value| {
        let conditions = status["status"]["conditions"].as_array().expect("conditions");
        conditions
            .iter()
            .any(|c| c["type"] == "CrashLoop" && c["status"] == "True" && c["message"].to_string().contains("exit code 9"))
    };
    scratch.wait_status("workerpools", "bad", looping);
    let gone = scratch.wait_status("workers", "gone-0", |status| status["status"]["lastExit"]["reason"] == "StartError");
    let message = gone["status"]["lastExit"]["message"].as_str().expect("a message");
    assert!(message.contains("/no/such/program") && message.contains("ENOENT"), "{message}");
    assert_eq!(gone["status"]["phase"], "BackOff", "what cannot be executed waits the longest");
}

#[test]
fn a_changed_template_replaces_one_at_a_time() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", &scratch.pool("web", 4, "", ""));
    scratch.start();
    let before = scratch.wait_workers(4);
    scratch.put("web.yaml", &scratch.pool("web", 4, "[sleep, \"200000\"]", ""));
    let (mut least, mut last) = (4, before.clone());
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let now = scratch.workers();
        // A look at /proc takes a while, in which one may end whose neighbour had not begun when its turn was: missing is who
        // is in neither of two looks in a row.
        least = least.min(now.keys().chain(last.keys()).collect::<BTreeSet<_>>().len());
        last.clone_from(&now);
        let replaced = now.len() == 4 && now.iter().all(|(worker, pid)| before[worker] != *pid);
        if replaced {
            break;
        }
        assert!(Instant::now() < deadline, "{now:?} {}", scratch.log());
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(least >= 3, "at most one was missing at any time: {least}");
    let counts = scratch.pool("web", 5, "[sleep, \"200000\"]", "").replace("{name: web}", "{name: web, labels: {a: b}}");
    let kept = scratch.workers();
    scratch.put("web.yaml", &counts);
    let now = scratch.wait_workers(5);
    assert!(kept.iter().all(|(worker, pid)| now[worker] == *pid), "counts and labels restart nobody");
}

#[test]
fn term_comes_first_and_kill_only_after_the_grace() {
    let mut scratch = Scratch::new();
    let told = scratch.dir.join("told");
    let script = format!("[bash, -c, \"trap 'date +%s%N >> {}' TERM; while :; do sleep 0.05; done\"]", told.display());
    let spec = scratch.pool("deaf", 1, &script, "").replace("terminationGracePeriod: 5s", "terminationGracePeriod: 700ms");
    scratch.put("deaf.yaml", &spec);
    scratch.start();
    scratch.wait_workers(1);
    wait(
        "bash to be ready",
        || scratch.status("workers", "deaf-0").filter(|s| s["status"]["phase"] == "Ready"),
        || scratch.log(),
    );
    std::thread::sleep(Duration::from_millis(200));
    let began = Instant::now();
    scratch.put("deaf.yaml", &spec.replace("replicas: 1", "replicas: 0"));
    wait("the end", || alive(&scratch.mark).is_empty().then_some(()), || scratch.log());
    assert!(began.elapsed() >= Duration::from_millis(700), "not before the grace: {:?}", began.elapsed());
    assert_eq!(fs::read_to_string(&told).expect("it was told").lines().count(), 1, "TERM exactly once");
}

#[test]
fn the_end_of_the_daemon_stops_or_leaves_its_workers() {
    let mut scratch = Scratch::new().with(&["--on-exit", "leave"]);
    scratch.put("web.yaml", &scratch.pool("web", 2, "", ""));
    scratch.start();
    let before = scratch.wait_workers(2);
    scratch.wait_status("workerpools", "web", |status| status["status"]["readyReplicas"] == 2);
    assert_eq!(scratch.end(), Some(0));
    assert_eq!(scratch.workers(), before, "left running");
    let mut scratch = scratch.with(&["--on-exit", "stop"]);
    fs::remove_dir_all(scratch.dir.join("state/status")).expect("removed: what is there next is the new daemon's");
    scratch.start();
    scratch.wait_status("workerpools", "web", |status| status["status"]["readyReplicas"] == 2);
    assert_eq!(scratch.workers(), before, "adopted with the same pids");
    assert_eq!(scratch.end(), Some(0));
    assert_eq!(alive(&scratch.mark), vec![], "stopped");
}

#[test]
fn a_daemon_that_stops_its_workers_takes_in_no_task() {
    let mut scratch = Scratch::new();
    let script = "[bash, -c, \"trap '' TERM; while :; do sleep 0.05; done\"]";
    scratch.put("deaf.yaml", &scratch.pool("deaf", 1, script, "  queue: {delivery: Lease}\n"));
    scratch.start();
    scratch.wait_workers(1);
    scratch.wait_status("workers", "deaf-0", |status| status["status"]["phase"] == "Ready");
    std::thread::sleep(Duration::from_millis(200));
    signal(scratch.daemon.as_ref().expect("runs").id(), "TERM");
    let refused = || {
        let said = String::from_utf8(super::tasks::ctl(&scratch, &["submit", "deaf", "--", "1"]).stderr).expect("text");
        said.contains("shutting down").then_some(())
    };
    wait("a refusal while the worker has its grace", refused, || scratch.log());
    scratch.kill();
}

#[test]
fn a_second_daemon_on_the_same_state_exits_5_and_names_the_holder() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", &scratch.pool("web", 2, "", ""));
    scratch.start();
    let before = scratch.wait_workers(2);
    let holder = scratch.daemon.as_ref().expect("runs").id();
    let began = Instant::now();
    let second = scratch.weir().stdout(Stdio::piped()).stderr(Stdio::piped()).output().expect("runs");
    assert!(began.elapsed() < Duration::from_secs(10), "it does not wait for the lock: {:?}", began.elapsed());
    let words = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(5), "{words}");
    assert!(words.contains(&format!("pid {holder}")), "{words}");
    assert_eq!(scratch.workers(), before);
}

#[test]
fn probes_decide_readiness_and_restarts() {
    let mut scratch = Scratch::new();
    let (ready, sick) = (scratch.dir.join("ready"), scratch.dir.join("sick"));
    let probes = format!(
        "    readinessProbe: {{exec: {{command: [test, -e, {}]}}, period: 50ms}}\n    \
         livenessProbe: {{exec: {{command: [test, \"!\", -e, {}]}}, period: 50ms, failureThreshold: 2}}\n",
        ready.display(),
        sick.display()
    );
    scratch.put("web.yaml", &scratch.pool("web", 1, "", &probes));
    scratch.start();
    let before = scratch.wait_workers(1)["web-0"];
    scratch.wait_status("workers", "web-0", |status| status["status"]["phase"] == "Running");
    fs::write(&ready, "").expect("written");
    scratch.wait_status("workers", "web-0", |status| status["status"]["phase"] == "Ready");
    fs::write(&sick, "").expect("written");
    wait("a restart", || scratch.workers().get("web-0").filter(|pid| **pid != before).copied(), || scratch.log());
    fs::remove_file(&sick).expect("removed");
    wait("the reason", || scratch.log().contains("livenessProbe failed 2 times").then_some(()), || scratch.log());
}

#[test]
fn notify_tells_readiness_and_busy_state() {
    let mut scratch = Scratch::new();
    let script = "[python3, -c, \"import os,socket,time; s=socket.socket(socket.AF_UNIX,socket.SOCK_DGRAM); \
                  s.connect(chr(0)+os.environ['NOTIFY_SOCKET'][1:]); time.sleep(0.2); s.send(b'READY=1\\\\nSTATUS=at work'); \
                  s.send(b'X_WEIR_BUSY=1'); time.sleep(1000)\"]";
    scratch.put("py.yaml", &scratch.pool("py", 1, script, "    readinessProbe: {notify: {}}\n"));
    scratch.start();
    let status = scratch.wait_status("workers", "py-0", |status| status["status"]["phase"] == "Busy");
    assert_eq!(status["status"]["message"], "at work");
    scratch.put("py.yaml", &scratch.pool("py", 0, script, "    readinessProbe: {notify: {}}\n"));
    scratch.wait_status("workerpools", "py", |status| status["status"]["waitingOn"].to_string().contains("busy"));
    assert_eq!(scratch.workers().len(), 1, "a busy worker is not stopped to scale down");
}

#[test]
fn a_worker_that_has_grown_too_large_is_replaced_and_a_small_one_is_not() {
    let mut scratch = Scratch::new();
    let worker = "[python3, -c, \"import sys, time; held = b'x' * (int(sys.argv[1]) << 20); time.sleep(100000)\", '";
    let pool = |name, mib| {
        scratch.pool(name, 1, &format!("{worker}{mib}']"), "    recycle: {maxMemory: 64Mi}\n    backoff: {resetAfter: 1s}\n")
    };
    let (large, small) = (pool("large", 120), pool("small", 1));
    scratch.put("large.yaml", &large);
    scratch.put("small.yaml", &small);
    scratch.start();
    let before = scratch.wait_workers(2);
    let replaced = || {
        let now = scratch.workers();
        (now.len() == 2 && now["large-0"] != before["large-0"]).then_some(now)
    };
    let now = wait("a fresh worker", replaced, || scratch.log());
    assert_eq!(now["small-0"], before["small-0"]);
    assert!(scratch.log().contains("): its memory is above recycle.maxMemory"), "{}", scratch.log());
}

#[test]
fn a_stop_that_is_called_off_leaves_the_next_one_its_pre_stop_and_a_restart_outlives_the_daemon() {
    let mut scratch = Scratch::new();
    let (told, go) = (scratch.dir.join("told"), scratch.dir.join("go"));
    // It waits for the test, so that what happens meanwhile happens meanwhile.
    let script = format!("echo here >> {}; until [ -e {} ]; do sleep 0.02; done", told.display(), go.display());
    let more = format!("    preStop: {{exec: {{command: [bash, -c, \"{script}\"]}}}}\n");
    let spec =
        |replicas| scratch.pool("web", replicas, "", &more).replace("terminationGracePeriod: 5s", "terminationGracePeriod: 60s");
    let (one, two) = (spec(1), spec(2));
    let pre_stops = |wanted: usize| {
        let count = || fs::read_to_string(&told).unwrap_or_default().lines().count();
        wait(&format!("preStop {wanted}"), || (count() == wanted).then_some(()), || format!("{}", count()));
    };
    scratch.put("web.yaml", &two);
    scratch.start();
    let before = scratch.wait_workers(2);
    scratch.put("web.yaml", &one);
    pre_stops(1);
    let draining = |wanted: bool| {
        scratch.wait_status("workers", "web-1", |worker| worker["status"]["draining"].as_bool().unwrap_or(false) == wanted)
    };
    draining(true);
    scratch.put("web.yaml", &two);
    draining(false);
    fs::write(&go, "").expect("written");
    wait("the end of the preStop", || alive(&scratch.mark).iter().all(|process| process.leader).then_some(()), || scratch.log());
    assert_eq!(scratch.wait_workers(2), before, "nobody was stopped");
    fs::remove_file(&go).expect("removed");
    scratch.put("web.yaml", &one);
    pre_stops(2);
    fs::write(&go, "").expect("written");
    scratch.wait_workers(1);

    fs::remove_file(&go).expect("removed");
    let worker = "/apis/weir.dev/v1/workers/web-0";
    let answer = socket::ask(&socket::of(&scratch.dir), "DELETE", worker, &serde_json::json!({}));
    assert_eq!(answer.as_ref().map(|(code, _)| *code), Some(200), "{answer:?}");
    pre_stops(3);
    scratch.kill();
    fs::write(&go, "").expect("written");
    scratch.start();
    wait("another run", || scratch.workers().get("web-0").filter(|pid| **pid != before["web-0"]).map(drop), || scratch.log());
}

#[test]
fn a_worker_is_judged_and_ended_by_what_it_was_made_from_whichever_daemon_does_it() {
    let mut scratch = Scratch::new();
    let (told, well) = (scratch.dir.join("told"), scratch.dir.join("well"));
    let traps = ["USR1", "TERM"].map(|signal| format!("trap 'echo {signal} >> {}; exit' {signal}; ", told.display())).concat();
    let script = format!("[bash, -c, \"{traps} while :; do sleep 0.05; done\"]");
    let pool = |replicas: u32, who: &str, more: &str| {
        let env = format!("    - {{name: WHO, value: {who}}}\n{more}  updateStrategy: {{type: OnDelete}}\n");
        scratch.pool("web", replicas, &script, &env)
    };
    let old = format!(
        "    stopSignal: SIGUSR1\n    preStop: {{exec: {{command: [bash, -c, \"echo $WHO >> {}\"]}}}}\n    \
         readinessProbe: {{exec: {{command: [bash, -c, 'test $WHO = old -a -e {}']}}, period: 100ms, failureThreshold: 1}}\n",
        told.display(),
        well.display()
    );
    let (old, new, none) = (pool(1, "old", &old), pool(1, "new", ""), pool(0, "new", ""));
    let is = |scratch: &Scratch, phase: &str| {
        scratch.wait_status("workers", "web-0", |worker| worker["status"]["phase"] == phase);
    };
    fs::write(&well, "").expect("written");
    scratch.put("web.yaml", &old);
    scratch.start();
    is(&scratch, "Ready");
    scratch.put("web.yaml", &new);
    scratch.wait_status("workerpools", "web", |pool| pool["status"]["observedGeneration"] == 2);
    scratch.kill();
    fs::remove_file(&well).expect("removed");
    scratch.start();
    is(&scratch, "Running");
    fs::write(&well, "").expect("written");
    is(&scratch, "Ready");
    scratch.put("web.yaml", &none);
    wait("the end", || alive(&scratch.mark).is_empty().then_some(()), || scratch.log());
    assert_eq!(fs::read_to_string(&told).expect("it was told"), "old\nUSR1\n");
}

#[test]
fn a_probe_has_the_environment_that_its_worker_was_started_with() {
    let mut scratch = Scratch::new();
    let (secret, seen) = (scratch.dir.join("secret"), scratch.dir.join("seen"));
    fs::write(&secret, "one").expect("written");
    let script = format!("echo $SECRET $WEIR_RUN >> {}; test $SECRET = one", seen.display());
    let more = format!(
        "    - {{name: SECRET, valueFrom: {{file: {}}}}}\n    \
         livenessProbe: {{exec: {{command: [bash, -c, \"{script}\"]}}, period: 50ms, failureThreshold: 1}}\n",
        secret.display()
    );
    scratch.put("web.yaml", &scratch.pool("web", 1, "", &more));
    scratch.start();
    let before = scratch.wait_workers(1);
    let looks = || fs::read_to_string(&seen).unwrap_or_default().lines().count();
    let three_more = |scratch: &Scratch| {
        let enough = looks() + 3;
        wait("three more looks", || (looks() >= enough).then_some(()), || scratch.log());
    };
    three_more(&scratch);
    fs::write(&secret, "two").expect("written");
    three_more(&scratch);
    fs::remove_file(&secret).expect("removed");
    three_more(&scratch);
    scratch.kill();
    scratch.start();
    three_more(&scratch);
    assert_eq!(scratch.workers(), before, "{}", scratch.log());
    let seen = fs::read_to_string(&seen).expect("looked");
    assert!(seen.lines().all(|line| line == "one 1"), "{seen}");
}

#[test]
fn a_daemon_that_ended_leaves_no_cgroup() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", &scratch.pool("web", 2, "", ""));
    scratch.start();
    scratch.wait_workers(2);
    let cgroup = cgroup_in(&scratch.log());
    assert!(cgroup.as_ref().is_none_or(|dir| dir.join("web/web-0").is_dir()), "{cgroup:?}");
    assert_eq!(scratch.end(), Some(0));
    assert!(cgroup.as_ref().is_none_or(|dir| !dir.exists()), "{cgroup:?}");
}
