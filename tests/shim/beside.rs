//! Commands beside a worker: what they stand in, and what is told when they cannot be run.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use weir::edge::command::{self, User};

const SHIM: &str = env!("CARGO_BIN_EXE_weir-shim");

#[test]
fn a_command_has_its_users_groups_and_the_limits_that_the_daemon_was_started_with() {
    let before = command::raise_open_files();
    command::begin_with(Path::new(SHIM));
    let root = nix::unistd::geteuid().is_root();
    let command = command::Command {
        argv: ["sh", "-c", "ulimit -Sn; ulimit -Hn; pwd; id -u; id -G"].map(String::from).to_vec(),
        env: BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]),
        dir: Some("/tmp".into()),
        user: root.then(|| User { uid: 65_534, gid: 65_533, groups: vec![65_533, 4, 24] }),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let run = |command: &command::Command| runtime.block_on(command::run(command, 999));
    let said = String::from_utf8(run(&command).expect("it ends well")).expect("words");
    let lines: Vec<&str> = said.lines().collect();
    let limit = |n: u64| if n == u64::MAX { "unlimited".to_owned() } else { n.to_string() };
    assert_eq!(lines[..3], [limit(before.0).as_str(), limit(before.1).as_str(), "/tmp"], "{said}");
    if root {
        let mut groups: Vec<u32> = lines[4].split(' ').map(|group| group.parse().expect("a number")).collect();
        groups.sort_unstable();
        assert_eq!((lines[3], groups), ("65534", vec![4, 24, 65_533]), "{said}");
    }
    let missing = command::Command { argv: vec!["/no/such".into()], ..command };
    assert_eq!(run(&missing), Err("/no/such: exec \"/no/such\": No such file or directory (ENOENT)".into()));
}

#[test]
fn what_keeps_a_command_from_its_beginning_is_told() {
    for (args, words) in [
        (&["1024", "4096", "", "/no/such/dir", "true"][..], "weir-shim: workingDir \"/no/such/dir\": No such file or directory"),
        (&["0", "0", "", "", "no-such-program"][..], "weir-shim: exec \"no-such-program\": No such file or directory"),
        (&["0", "0", "1:2", "", "true"][..], "weir-shim: it was not told what to run"),
        (&["0", "0", "", ""][..], "weir-shim: the command is empty"),
    ] {
        let output = Command::new(SHIM).arg("--beside").args(args).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!((output.status.code(), said.starts_with(words)), (Some(127), true), "{said}");
    }
}
