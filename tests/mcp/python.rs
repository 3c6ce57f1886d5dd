//! Python's `mcp`, as a coding agent would use it: `drive.py` lists and calls every tool over both roads.
//!
//! What it needs is put into a virtual environment below `target/` once.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::clients::{address, daemon, token};

/// What pip installs; a change here makes the environment anew.
const PACKAGES: &[&str] = &["mcp>=2.3,<3"];

/// The virtual environment.
fn environment() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (venv, mark) = (root.join("target/mcp-venv"), root.join("target/mcp-venv/packages"));
    let wanted = PACKAGES.join("\n");
    if fs::read_to_string(&mark).is_ok_and(|has| has == wanted) {
        return venv;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check"]).args(PACKAGES));
    fs::write(mark, wanted).expect("written");
    venv
}

fn run(command: &mut Command) {
    let ran = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e} (tests/run installs it)"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(ran.status.success(), "{command:?}: {}\n{}{}", ran.status, said(&ran.stdout), said(&ran.stderr));
}

#[test]
fn pythons_client_lists_and_calls_every_tool_over_both_roads() {
    let venv = environment();
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
