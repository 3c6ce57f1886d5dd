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

/// A command of a shell's, below its keeper, in a directory that it writes the pid of what it started into a session of its own to.
fn flees(dir: &Path, then: &str) -> command::Command {
    command::begin_with(Path::new(SHIM));
    let text = format!("setsid sleep 1000 & echo $! > pid.tmp; mv pid.tmp pid; {then}");
    let argv = ["sh", "-c", &text].map(String::from).to_vec();
    let env = BTreeMap::from([("PATH".into(), "/usr/bin:/bin".into())]);
    command::Command { argv, env, dir: Some(dir.display().to_string()), user: None }
}

fn started(dir: &Path) -> String {
    super::room::wait("the pid", || std::fs::read_to_string(dir.join("pid")).is_ok());
    std::fs::read_to_string(dir.join("pid")).expect("written").trim().to_owned()
}

fn is_over(pid: &str) {
    let over = |stat: std::io::Result<String>| stat.map_or(true, |stat| stat.contains(") Z "));
    super::room::wait("its end", || over(std::fs::read_to_string(format!("/proc/{pid}/stat"))));
}

#[test]
fn nothing_that_a_command_started_outlives_it_in_whatever_session() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    for (then, answer) in [
        ("echo 7", Ok(b"7\n".to_vec())),
        ("exit 3", Err("sh: exit status: 3".to_owned())),
        ("kill -9 $$", Err("sh: signal: 9 (SIGKILL)".to_owned())),
        ("kill $$", Err("sh: signal: 15 (SIGTERM)".to_owned())),
    ] {
        let dir = tempfile::tempdir().expect("a directory");
        assert_eq!(runtime.block_on(command::run(&flees(dir.path(), then), 9)), answer, "{then}");
        is_over(&started(dir.path()));
    }
}

#[test]
fn a_command_that_nobody_waits_for_any_more_ends_with_all_it_started() {
    let dir = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
    let command = flees(dir.path(), "exec sleep 1000");
    let asks = runtime.spawn(async move { command::run(&command, 9).await });
    let pid = started(dir.path());
    asks.abort();
    is_over(&pid);
}

#[test]
fn a_command_ends_with_the_daemon_however_that_ended() {
    let dir = tempfile::tempdir().expect("a directory");
    let flees = flees(dir.path(), "exec sleep 1000");
    let mut keeper = Command::new(SHIM);
    keeper.args(["--beside", "0", "0", "", &dir.path().display().to_string()]).args(&flees.argv);
    let mut keeper = keeper.stderr(std::process::Stdio::piped()).spawn().expect("it runs");
    let pid = started(dir.path());
    // The kernel closes the reading end of a process that was killed.
    drop(keeper.stderr.take());
    is_over(&pid);
    assert!(!keeper.wait().expect("reaped").success());
}
