//! Pools that follow how much their workers use of what they may: measured in their own cgroup, by the real daemon.

use std::fs;

use crate::harness::Scratch;

/// Busy until a file is there, then at rest.
const WORKER: &str = "#!/bin/sh\nwhile [ ! -e calm ]; do :; done\nexec sleep 100000\n";

fn pool(scratch: &Scratch, source: &str) -> String {
    let worker = scratch.dir.join("worker");
    fs::write(&worker, WORKER).expect("written");
    fs::set_permissions(&worker, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("made a program");
    let behavior = "    behavior: {scaleDown: {stabilizationWindow: 0s, idleTimeout: 0s}}\n";
    let triggers = format!("    triggers:\n    - {{{source}: {{}}, pollingInterval: 1s, timeout: 1s, targetPerWorker: 2}}\n");
    scratch
        .pool("busy", 1, &format!("[{}]", worker.display()), "")
        .replace("  replicas: 1\n", &format!("  scale:\n    minReplicas: 1\n    maxReplicas: 3\n{behavior}{triggers}"))
}

#[test]
fn a_pool_grows_while_its_workers_are_at_work_and_shrinks_when_they_rest() {
    let mut scratch = Scratch::new();
    scratch.put("busy.yaml", &pool(&scratch, "cpu"));
    scratch.start();
    let signal = |status: &serde_json::Value| status["status"]["scaling"]["signals"][0].clone();
    let status = scratch.wait_status("workerpools", "busy", |status| signal(status)["state"] == "Fresh");
    let raw = signal(&status)["raw"].as_str().unwrap_or_default().to_owned();
    assert!(raw.contains(" of ") && raw.ends_with("all that the host has, as it has no limit"), "{raw}");
    let status = scratch.wait_status("workerpools", "busy", |status| status["status"]["desiredReplicas"] == 3);
    let why = status["status"]["lastScale"]["reason"].as_str().unwrap_or_default();
    assert!(why.starts_with("cpu: ") && why.contains(" % used at 2 % for each worker: "), "{status}");
    assert_eq!(scratch.wait_workers(3).len(), 3);
    let ctl = std::process::Command::new(env!("CARGO_BIN_EXE_ctl"))
        .args(["explain", "pool/busy", "--state"])
        .arg(scratch.dir.join("state"))
        .output()
        .expect("runs");
    let said = String::from_utf8_lossy(&ctl.stdout).into_owned();
    assert!(said.contains("% used at 2 % for each worker: ") && said.contains("as it has no limit"), "{said}");

    fs::write(scratch.dir.join("calm"), "").expect("written");
    scratch.wait_status("workerpools", "busy", |status| status["status"]["desiredReplicas"] == 1);
    scratch.wait_workers(1);
}

#[test]
fn without_a_cgroup_nothing_is_known_and_nothing_changes() {
    let mut scratch = Scratch::new().with(&["--cgroup-driver", "none"]);
    scratch.put("busy.yaml", &pool(&scratch, "memory"));
    scratch.start();
    let status = scratch.wait_status("workerpools", "busy", |status| status["status"]["backlog"][0]["error"].is_string());
    let backlog = &status["status"]["backlog"][0];
    assert_eq!(backlog["error"], "its workers have no cgroup (driver none)");
    assert_eq!((&backlog["state"], backlog["value"].is_null()), (&"Unknown".into(), true));
    assert_eq!(status["status"]["desiredReplicas"], 1);
}
