//! Under a service manager: what it is told by `sd_notify`, and what `weir install` writes for it.
//!
//! A real systemd runs the same in `tests/vm/cases/install.sh`; here the manager is a socket, and the home directory a scratch.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use crate::harness::{PATIENCE, Scratch, signal};

/// The next message of the manager's socket.
fn next(socket: &UnixDatagram) -> String {
    let mut buffer = [0; 1024];
    let n = socket.recv(&mut buffer).expect("a message in time");
    String::from_utf8_lossy(&buffer[..n]).into_owned()
}

/// Messages up to one that begins so; none of them is anything but a beat.
fn until(socket: &UnixDatagram, begin: &str) -> String {
    loop {
        let message = next(socket);
        if message.starts_with(begin) {
            return message;
        }
        assert_eq!(message, "WATCHDOG=1", "before {begin}");
    }
}

#[test]
fn a_service_manager_hears_of_readiness_beats_reloads_and_the_end() {
    let mut scratch = Scratch::new().with(&["--on-exit", "leave"]);
    let path = scratch.dir.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a bound");
    let mut command = scratch.weir();
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "400000").env_remove("WATCHDOG_PID");
    let log = std::fs::File::create(scratch.dir.join("log")).expect("a log");
    let child = command.stdout(log.try_clone().expect("a copy")).stderr(log).spawn().expect("weir starts");
    let pid = child.id();
    scratch.daemon = Some(child);

    assert!(next(&socket).starts_with("READY=1\nSTATUS=keeping /"), "readiness comes first");
    std::os::unix::net::UnixStream::connect(scratch.dir.join("state/weir.sock")).expect("it is ready when it says so");
    (0..3).for_each(|_| assert_eq!(next(&socket), "WATCHDOG=1"));
    signal(pid, "HUP");
    assert!(until(&socket, "RELOADING=1").contains("\nMONOTONIC_USEC="));
    assert_eq!(until(&socket, "READY=1"), "READY=1");
    signal(pid, "TERM");
    assert_eq!(until(&socket, "STOPPING=1"), "STOPPING=1");
    assert_eq!(scratch.daemon.take().expect("started").wait().expect("reaped").code(), Some(0));
}

#[test]
fn without_a_watchdog_nothing_beats() {
    let mut scratch = Scratch::new();
    let path = scratch.dir.join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a bound");
    let mut command = scratch.weir();
    // A period that is another process's is none of ours.
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000").env("WATCHDOG_PID", "1");
    scratch.daemon = Some(command.spawn().expect("weir starts"));
    assert!(next(&socket).starts_with("READY=1\n"));
    socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a bound");
    assert!(socket.recv(&mut [0; 64]).is_err(), "it said more");
}

fn install(home: &Path, flags: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["install", "--user"]).args(flags).env_clear().env("HOME", home);
    command.output().expect("weir runs")
}

/// All files below a directory, with what is in them.
fn files(dir: &Path) -> BTreeMap<PathBuf, String> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.path().is_dir() {
            found.extend(files(&entry.path()));
        } else {
            found.insert(entry.path(), std::fs::read_to_string(entry.path()).expect("text"));
        }
    }
    found
}

#[test]
fn install_writes_for_a_user_and_changes_nothing_twice() {
    let scratch = Scratch::new();
    let home = scratch.dir.join("home");
    let dry = install(&home, &["--dry-run"]);
    assert!(dry.status.success() && !home.exists(), "{dry:?}");
    let done = install(&home, &[]);
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    assert!(done.status.success() && said.contains("systemctl --user enable --now weir"), "{done:?}");
    let written = files(&home);
    let unit = home.join(".config/systemd/user/weir.service");
    let start = format!(
        "ExecStart={} run --specs {home}/.config/weir --state {home}/.local/state/weir --on-exit leave\n",
        std::fs::canonicalize(env!("CARGO_BIN_EXE_weir")).expect("there").display(),
        home = home.display()
    );
    assert!(written[&unit].contains(&start), "{}", written[&unit]);
    assert!(home.join(".config/weir").is_dir(), "a directory for documents");
    let share = home.join(".local/share");
    for (place, part) in [
        ("bash-completion/completions/ctl", "complete"),
        ("bash-completion/completions/weir", "complete"),
        ("zsh/site-functions/_ctl", "#compdef"),
        ("fish/vendor_completions.d/weir.fish", "complete"),
        ("man/man1/weir.1", "weir\\-run(1)"),
        ("man/man1/ctl-rollout-status.1", "timeout"),
    ] {
        assert!(written[&share.join(place)].contains(part), "{place}");
    }

    let twice = install(&home, &[]);
    assert!(twice.status.success() && !String::from_utf8_lossy(&twice.stdout).contains("wrote"), "{twice:?}");
    std::fs::write(&unit, written[&unit].replace("RestartSec=1", "RestartSec=9")).expect("written");
    let kept = install(&home, &[]);
    let why = String::from_utf8_lossy(&kept.stderr).into_owned();
    assert!(kept.status.code() == Some(1) && why.contains("weir.service: kept, because it was changed by hand"), "{kept:?}");
    assert!(std::fs::read_to_string(&unit).expect("text").contains("RestartSec=9"));
    assert!(install(&home, &["--force"]).status.success());
    assert_eq!(files(&home), written);
}

#[test]
fn who_closes_the_pipe_has_read_enough() {
    let scratch = Scratch::new();
    scratch.put("web.yaml", "kind: WorkerPool\n");
    let specs = scratch.dir.join("specs");
    let specs = specs.to_str().expect("UTF-8");
    for words in [
        &["schema"][..],
        &["crds"],
        &["validate", specs],
        &["validate", "-o", "json", specs],
        &["plan", specs],
        &["install", "--user", "--dry-run"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut weir = Command::new(env!("CARGO_BIN_EXE_weir"));
        weir.args(words).env_clear().env("HOME", &scratch.dir).current_dir(&scratch.dir).stdout(writer);
        let ran = weir.output().expect("weir runs");
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(matches!(ran.status.code(), Some(0 | 1)) && !said.contains("panicked"), "{words:?}: {} {said}", ran.status);
    }
}
