//! Completions in the shells themselves: their own scripts are loaded as `docs/operations.md` says, and asked as a key press asks.
//! bash is asked elsewhere, by what its script asks with. No daemon runs here: names come from its files at once.

use std::process::{Command, Stdio};

use super::served::{PATIENCE, Ran, World};

/// Lines to be completed, and the words that zsh then has on the line.
const LINES: [(&str, &str); 4] = [
    ("ctl describe pool/fi", "ctl describe pool/filed "),
    ("ctl rollo", "ctl rollout "),
    ("ctl scale f", "ctl scale filed "),
    ("ctl describe worker/x", "ctl describe worker/x"),
];

/// A world whose daemon has ended, with a pool in its files.
fn ended() -> World {
    let mut world = World::new();
    let status = world.state.join("status/workerpools");
    std::fs::create_dir_all(&status).unwrap();
    std::fs::write(status.join("filed.yaml"), "broken: [").unwrap();
    assert!(world.end());
    world
}

/// The shell with `ctl` in its path; ended when it takes too long, so that a prompt that never comes is a failure.
fn run(world: &World, shell: &str, arguments: &[&str]) -> Ran {
    let own = std::path::Path::new(env!("CARGO_BIN_EXE_ctl")).parent().unwrap();
    let mut command = Command::new("timeout");
    command.arg(PATIENCE.as_secs().to_string()).arg(shell).args(arguments).args(LINES.map(|(line, _)| line));
    command.env_clear().env("PATH", format!("{}:/usr/local/bin:/usr/bin:/bin", own.display()));
    command.env("WEIR_STATE", &world.state).env("HOME", world.scratch()).current_dir(world.scratch()).stdin(Stdio::null());
    let ran = Ran::of(command.output().unwrap());
    assert_eq!(ran.code, 0, "{shell} (tests/run installs it): {ran:?}");
    ran
}

#[test]
fn zsh_completes_on_a_tab() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/served/complete.zsh");
    let ran = run(&ended(), "zsh", &["-f", script]);
    assert_eq!(ran.out.lines().collect::<Vec<_>>(), LINES.map(|(_, completed)| completed), "{}", ran.err);
}

#[test]
fn fish_offers_what_there_is() {
    let script = "ctl completion fish | source; for line in $argv; complete -C $line; end";
    let ran = run(&ended(), "fish", &["--no-config", "-c", script]);
    let words: Vec<&str> = ran.out.lines().map(|line| line.split('\t').next().unwrap()).collect();
    assert_eq!(words, ["pool/filed", "rollout", "filed"], "{}", ran.err);
    assert!(ran.out.contains("rollout\tWait for a change"), "what it is for stands beside it: {}", ran.out);
}
