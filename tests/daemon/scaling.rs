//! Pools that follow a backlog: the founding scenario against a forge, and everything that can go wrong with it.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use crate::forge::{FAULTS, Forge};
use crate::harness::{Scratch, wait};

/// A worker that says it is busy while a file with its name is there.
const WORKER: &str = "\
import os, socket, time
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.connect(chr(0) + os.environ['NOTIFY_SOCKET'][1:])
s.send(b'READY=1')
said = None
while True:
    busy = os.path.exists('busy-' + os.environ['WEIR_WORKER'])
    if busy != said:
        s.send(b'X_WEIR_BUSY=%d' % busy)
        said = busy
    time.sleep(0.02)
";

fn spec(scratch: &Scratch, forge: &Forge) -> String {
    format!(
        "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: claude}}\nspec:\n  scale:\n    minReplicas: 1\n    \
         maxReplicas: 3\n    triggers:\n    - name: issues\n      pollingInterval: 1s\n      timeout: 1s\n      gitea:\n        \
         url: http://127.0.0.1:{}\n        repository: rockachopa/dashboard\n        labels: [claude]\n        \
         tokenFrom: {{file: {}}}\n      step: {{up: {{above: 10}}, down: {{atMost: 2}}}}\n    behavior:\n      \
         scaleUp: {{cooldown: 2s}}\n      scaleDown: {{cooldown: 2s, stabilizationWindow: 0s, idleTimeout: 1s}}\n  template:\n    \
         command: [python3, {}]\n    workingDir: {}\n    terminationGracePeriod: 5s\n    readinessProbe: {{notify: {{}}}}\n    \
         env:\n    - {{name: OBSERVER_MARK, value: {}}}\n",
        forge.port,
        scratch.dir.join("token").display(),
        scratch.dir.join("worker.py").display(),
        scratch.dir.display(),
        scratch.mark,
    )
}

fn begin() -> (Scratch, Forge) {
    let (scratch, forge) = (Scratch::new(), Forge::start());
    fs::write(scratch.dir.join("worker.py"), WORKER).expect("written");
    fs::write(scratch.dir.join("token"), "secret-of-the-test\n").expect("written");
    scratch.put("claude.yaml", &spec(&scratch, &forge));
    (scratch, forge)
}

fn desired(status: &serde_json::Value) -> Option<u64> {
    status["status"]["desiredReplicas"].as_u64()
}

#[test]
fn issues_of_a_forge_scale_a_pool_one_by_one_and_a_busy_worker_stays() {
    let (mut scratch, forge) = begin();
    forge.state().issues = 25;
    scratch.start();
    scratch.wait_workers(3);
    let status = scratch.wait_status("workerpools", "claude", |status| status["status"]["backlog"][0]["value"] == 25.0);
    assert_eq!(desired(&status), Some(3));
    let log = scratch.log();
    let steps: Vec<&str> = log.lines().filter_map(|line| line.split("workers:").next()?.split("  ").last()).collect();
    let steps: Vec<&str> = steps.into_iter().filter(|step| step.contains(" → ")).map(str::trim).collect();
    assert_eq!(steps, ["0 → 1", "1 → 2", "2 → 3"], "{log}");
    // Three further polls above the bound: the ceiling holds.
    let asked = forge.state().questions;
    wait("three more readings", || (forge.state().questions >= asked + 9).then_some(()), || scratch.log());
    assert_eq!(scratch.workers().len(), 3);
    assert_eq!(forge.state().strangers, 0, "every question carries the token");

    fs::write(scratch.dir.join("busy-claude-2"), "").expect("written");
    scratch.wait_status("workers", "claude-2", |status| status["status"]["phase"] == "Busy");
    let busy = scratch.workers()["claude-2"];
    forge.state().issues = 1;
    let left = scratch.wait_workers(1);
    assert_eq!(left.get("claude-2"), Some(&busy), "the busy one is the one that stays: {left:?}");
    let log = scratch.log();
    assert!(
        log.find("3 → 2").is_some_and(|size| size < log.find("stopping claude-").unwrap_or(0)),
        "the size comes first: {log}"
    );
    let gone: BTreeSet<&str> = ["claude-0", "claude-1"].into();
    for worker in gone {
        let told = || scratch.log().lines().find(|line| line.contains(&format!("{worker} ended"))).map(str::to_owned);
        let end = wait("its end told", told, || scratch.log());
        assert!(end.contains("signal 15"), "TERM comes first: {end}");
    }
}

#[test]
fn nothing_that_a_forge_can_answer_scales_down_and_other_pools_are_served_meanwhile() {
    let (mut scratch, forge) = begin();
    forge.state().issues = 25;
    scratch.put("other.yaml", &scratch.pool("other", 1, "", ""));
    scratch.start();
    let before = scratch.wait_workers(4);
    let failures = std::env::var("WEIR_FAULTS").ok().and_then(|n| n.parse().ok()).unwrap_or(4u64);
    for (round, fault) in FAULTS.into_iter().enumerate() {
        // What is believed now would lower at once if it were read as nothing.
        forge.state().fault = Some(fault);
        let began = Instant::now();
        let status = scratch.wait_status("workerpools", "claude", |status| {
            status["status"]["backlog"][0]["error"].is_string()
                && conditions(status).contains(&("ScalingActive".into(), "False".into()))
        });
        assert!(began.elapsed() < Duration::from_secs(6), "{fault:?} is told within two polls");
        assert!(!status.to_string().contains("secret-of-the-test"));
        let count = if round % 2 == 0 { 2 } else { 1 };
        scratch.put("other.yaml", &scratch.pool("other", count, "", ""));
        scratch.wait_workers(3 + count as usize);
        // One failed question after the other; each is a fresh chance to take it for nothing.
        for failure in 1..=failures {
            let failed = |status: &serde_json::Value| {
                status["status"]["scaling"]["signals"][0]["failures"].as_u64().unwrap_or(0) >= failure
            };
            let status = scratch.wait_status("workerpools", "claude", failed);
            assert_eq!(desired(&status), Some(3), "{fault:?}");
        }
        let now = scratch.workers();
        assert!(
            before.iter().filter(|(name, _)| name.starts_with("claude")).all(|(name, pid)| now.get(name) == Some(pid)),
            "{fault:?}"
        );
        forge.state().fault = None;
        scratch.wait_status("workerpools", "claude", |status| status["status"]["backlog"][0]["state"] == "Fresh");
    }
    assert!(!scratch.log().contains("secret-of-the-test"), "a token is never told");
}

fn conditions(status: &serde_json::Value) -> Vec<(String, String)> {
    let all = status["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    all.iter().map(|condition| (text(&condition["type"]), text(&condition["status"]))).collect()
}

#[test]
fn what_was_decided_last_can_be_read_when_the_daemon_has_ended() {
    let mut scratch = Scratch::new();
    let command = "[sleep, '100000']";
    let scale = "  scale:\n    maxReplicas: 3\n    triggers:\n    - {exec: {command: [echo, '7']}, targetPerWorker: 2}\n";
    let spec = scratch.pool("web", 1, command, "").replace("  replicas: 1\n", scale);
    assert!(spec.contains(scale), "{spec}");
    scratch.put("web.yaml", &spec);
    scratch.start();
    scratch.wait_workers(3);
    scratch.wait_status("workerpools", "web", |status| status["status"]["readyReplicas"] == 3);
    let state = scratch.dir.join("state");
    let ctl = |words: &str| {
        let mut ctl = std::process::Command::new(env!("CARGO_BIN_EXE_ctl"));
        let ran = ctl.arg("--state").arg(&state).args(words.split(' ')).output().expect("runs");
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    let lines = |text: &str| -> Vec<String> {
        let said = ["exec ", "Asked for:", "maxReplicas ", "Decided:", "pool/web:"];
        let words = |line: &str| {
            line.split_whitespace().filter(|word| !word.ends_with('s') && *word != "ago").collect::<Vec<_>>().join(" ")
        };
        text.lines().filter(|line| said.iter().any(|said| line.trim().starts_with(said))).map(words).collect()
    };
    let alive = ctl("explain pool web");
    assert_eq!(lines(&alive).len(), 5, "{alive}");
    scratch.end();
    let ended = ctl("explain pool/web");
    let workers = ctl("get workers");
    assert_eq!(lines(&ended), lines(&alive), "{ended}");
    assert_eq!((workers.matches(" Stopped ").count(), workers.matches("Pending").count()), (3, 0), "{workers}");
}
