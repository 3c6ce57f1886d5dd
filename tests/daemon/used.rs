//! `ctl top` against the real daemon: a worker that works shows more CPU than one that sleeps, and a pool shows its sum.

use std::process::Command;

use serde_json::Value;

use crate::harness::{Scratch, wait};

fn top(scratch: &Scratch, words: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
    let out = command.arg("--state").arg(scratch.dir.join("state")).arg("top").args(words).args(["-o", "json"]).output();
    let out = out.expect("ctl runs");
    assert!(out.status.success(), "{out:?}");
    serde_json::from_slice(&out.stdout).expect("JSON")
}

#[test]
fn who_works_shows() {
    let mut scratch = Scratch::new();
    // The child of the worker works, not the worker: it is the tree that counts.
    scratch.put("busy.yaml", &scratch.pool("busy", 1, "[sh, -c, '(while :; do :; done) & wait']", ""));
    scratch.put("idle.yaml", &scratch.pool("idle", 2, "", ""));
    scratch.start();
    scratch.wait_workers(3);
    let rows = wait(
        "a worker that works",
        || {
            let rows = top(&scratch, &["workers", "--sort-by", "cpu"])["items"].as_array().cloned()?;
            let busy = rows.len() == 3 && rows[0]["name"] == "busy-0" && rows[0]["cpuMillicores"].as_u64() > Some(20);
            busy.then_some(rows)
        },
        || scratch.log(),
    );
    assert!(rows[0]["tasks"].as_u64() >= Some(2), "{rows:?}");
    assert!(rows.iter().all(|row| row["memoryBytes"].as_u64() > Some(4096)), "{rows:?}");
    let pools = top(&scratch, &["pools"]);
    let idle = pools["items"].as_array().and_then(|all| all.iter().find(|pool| pool["name"] == "idle")).expect("idle");
    assert_eq!((idle["workers"].as_u64(), idle["tasks"].as_u64()), (Some(2), Some(2)), "{pools}");
    scratch.kill();
    let gone =
        Command::new(env!("CARGO_BIN_EXE_ctl")).arg("--state").arg(scratch.dir.join("state")).args(["top", "pools"]).output();
    assert_eq!(gone.expect("ctl runs").status.code(), Some(3), "no daemon, no numbers");
}
