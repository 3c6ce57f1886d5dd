//! Virtual environments of Python for tests: made once below `target/`, and anew when their packages change.
//!
//! Nothing is put outside of them. Each test program has one of its own, so that none waits for another.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The environment of this name with these packages. Not to be called by two tests of one program at once.
pub fn environment(name: &str, packages: &[&str]) -> PathBuf {
    let venv = Path::new(env!("CARGO_MANIFEST_DIR")).join("target").join(format!("{name}-venv"));
    let (mark, wanted) = (venv.join("packages"), packages.join("\n"));
    if fs::read_to_string(&mark).is_ok_and(|has| has == wanted) {
        return venv;
    }
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    run(Command::new(venv.join("bin/pip")).args(["install", "--quiet", "--disable-pip-version-check"]).args(packages));
    fs::write(mark, wanted).expect("written");
    venv
}

/// Run it to its good end.
pub fn run(command: &mut Command) {
    let ran = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e} (tests/run installs it)"));
    let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    println!("{}", said(&ran.stdout));
    assert!(ran.status.success(), "{command:?}: {}\n{}", ran.status, said(&ran.stderr));
}
