//! Python's `mcp`, as a coding agent would use it: `drive.py` lists and calls every tool over both roads.
//!
//! What it needs is put into a virtual environment below `target/` once.

use std::path::Path;
use std::process::Command;

use super::clients::{address, daemon, token};
use super::venv::{environment, run};

/// What pip installs; a change here makes the environment anew.
const PACKAGES: &[&str] = &["mcp>=2.3,<3"];

#[test]
fn pythons_client_lists_and_calls_every_tool_over_both_roads() {
    let venv = environment("mcp", PACKAGES);
    let scratch = daemon();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/mcp/drive.py");
    let mut command = Command::new(venv.join("bin/python"));
    command.arg(script).arg("--ctl").arg(env!("CARGO_BIN_EXE_ctl")).arg("--state").arg(scratch.dir.join("state"));
    command.args(["--url", &format!("http://{}/mcp", address(&scratch))]);
    for role in ["view", "operate"] {
        command.args([&format!("--{role}"), &token(&scratch, role)]);
    }
    run(&mut command);
}
