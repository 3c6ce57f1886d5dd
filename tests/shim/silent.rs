//! Shims that do not answer: stopped, short of descriptors, gone in the middle of a word. The worker is neither killed for that
//! nor kept from its end.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use weir::edge::slots::cgroup::Driver;
use weir::model::worker::{ExitReason, SlotState};
use weir::shim::wire::State;

use super::room::{Room, order, signal, slot, wait, without_python};
use super::skipped;

#[test]
fn a_worker_whose_shim_was_stopped_is_killed_all_the_same() {
    for driver in ["none", "auto"] {
        let mut room = Room::new(driver);
        room.start(order("frozen", 1, "sleep 1000 & exec sleep 1000"));
        room.running("frozen");
        wait("two of them", || room.alive("frozen").len() >= 2);
        signal(room.seen["frozen"].shim.expect("a shim"), Signal::SIGSTOP);
        room.slots().kill(&slot("frozen"), 1);
        let exit = room.ended("frozen", 1);
        assert_eq!((exit.reason, room.alive("frozen")), (ExitReason::Unknown, Vec::new()), "{driver}");
        // The slot is as good as before.
        assert_eq!(room.run(order("frozen", 2, "exit 3")).code, Some(3));
    }
}

/// As on a file system that hangs: its shim waits for it to become the worker. Here the kernel holds it in a frozen cgroup.
#[test]
fn a_worker_that_is_held_up_on_its_way_is_killed_all_the_same() {
    let mut room = Room::new("auto");
    let root = match &room.driver {
        Driver::Cgroupfs(root) => Some(root.clone()),
        Driver::Systemd(_) | Driver::None => None,
    };
    if skipped::without(root.is_some(), "a cgroup v2 subtree that may be written") {
        return;
    }
    let Some(root) = root else { return };
    let pool = root.join("pool");
    fs::create_dir_all(&pool).expect("made");
    let freeze = |frozen: &str| fs::write(pool.join("cgroup.freeze"), frozen).expect("written");
    freeze("1");
    room.start(order("held", 1, "exit 0"));
    let procs = pool.join("held/cgroup.procs");
    wait("a process in the cgroup", || fs::read_to_string(&procs).is_ok_and(|pids| !pids.is_empty()));
    room.slots().kill(&slot("held"), 1);
    let exit = room.ended("held", 1);
    assert_eq!((exit.code, room.alive("held")), (None, Vec::new()));
    freeze("0");
    assert_eq!(room.run(order("held", 2, "exit 3")).code, Some(3));
}

#[test]
fn a_stopped_shim_that_takes_no_more_words_is_lost_until_it_goes_on() {
    let mut room = Room::new("none");
    room.start(order("deaf", 1, "sleep 1000"));
    let run = room.running("deaf");
    let shim = room.seen["deaf"].shim.expect("a shim");
    signal(shim, Signal::SIGSTOP);
    // More than the socket holds.
    (0..1000).for_each(|_| room.slots().refresh(&slot("deaf"), false));
    room.is_lost("deaf");
    signal(shim, Signal::SIGCONT);
    assert_eq!(room.running("deaf").pid, run.pid);
    signal(shim, Signal::SIGSTOP);
    (0..1000).for_each(|_| room.slots().refresh(&slot("deaf"), false));
    room.slots().kill(&slot("deaf"), 1);
    room.ended("deaf", 1);
    assert_eq!(room.alive("deaf"), Vec::<i32>::new());
}

#[test]
fn a_start_that_a_stopped_shim_never_hears_of_is_lost_when_it_is_asked_after() {
    let mut room = Room::new("none");
    room.run(order("late", 1, "exit 0"));
    let shim = room.seen["late"].shim.expect("a shim");
    signal(shim, Signal::SIGSTOP);
    room.start(order("late", 2, "sleep 1000"));
    room.find("late", 2);
    room.is_lost("late");
    signal(shim, Signal::SIGCONT);
    assert_eq!(room.running("late").incarnation, 2);
}

#[test]
fn a_start_that_nobody_knows_of_has_failed() {
    let mut room = Room::new("none");
    room.run(order("known", 4, "exit 0"));
    room.find("known", 4);
    room.find("known", 5);
    assert!(room.failure().contains("lost on the way"), "{:?}", room.failures);
    room.find("unknown", 1);
    room.until(|room| (room.failures.len() == 2).then_some(()));
    assert_eq!(room.seen["unknown"].state, SlotState::Vacant);
}

/// Its hello crosses the word to start.
#[test]
fn a_shim_that_dies_between_its_hello_and_its_first_word_leaves_an_unknown_end() {
    if without_python() {
        return;
    }
    let dir = tempfile::Builder::new().prefix("weir-shim-").tempdir().expect("a directory");
    fs::write(dir.path().join("hello"), State::default().encode()).expect("written");
    let program = dir.path().join("shim");
    let hello = dir.path().join("hello").display().to_string();
    let script = format!(
        "#!/usr/bin/python3\nimport socket, time\ndaemon, _ = socket.socket(fileno=0).accept()\n\
         daemon.sendall(open({hello:?}, 'rb').read())\ndaemon.recv(10)\ntime.sleep(0.2)\n"
    );
    fs::write(&program, script).expect("written");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o700)).expect("its own");
    let mut room = Room::by(dir, Driver::None, program);
    let exit = room.run(order("brief", 3, "sleep 1000"));
    assert_eq!((exit.incarnation, exit.reason), (3, ExitReason::Unknown));
}

#[test]
fn a_lock_that_cannot_be_had_is_told_with_the_systems_words() {
    let mut room = Room::new("none");
    let lock = room.dir.path().join("run/pool/odd/lock");
    fs::create_dir_all(&lock).expect("a directory in its place");
    room.start(order("odd", 1, "exit 3"));
    let why = room.failure();
    assert!(why.contains("/odd/lock: ") && why.contains("Is a directory"), "{why}");
    fs::remove_dir(lock).expect("empty");
    room.until(|room| (room.seen.get("odd")?.state == SlotState::Vacant).then_some(()));
    assert_eq!(room.run(order("odd", 2, "exit 3")).code, Some(3));
}

/// User and system time of a process in clock ticks.
fn ticks(pid: i32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("it lives");
    let fields = stat.rsplit_once(')').expect("a name").1.split_ascii_whitespace();
    fields.skip(11).take(2).map(|n| n.parse::<u64>().expect("a number")).sum()
}

#[test]
fn a_shim_without_descriptors_waits_and_lets_the_next_daemon_in_later() {
    use rustix::process::{Pid, Resource, Rlimit, prlimit};
    let mut room = Room::new("none");
    room.start(order("full", 1, "sleep 1000"));
    let run = room.running("full");
    let shim = room.seen["full"].shim.expect("a shim");
    room.leave();
    let limit = |most| {
        let limit = Rlimit { current: Some(most), maximum: Some(4096) };
        prlimit(Pid::from_raw(shim), Resource::Nofile, limit).expect("ours")
    };
    // All it has below this number stays open, and it waits for no more files at once.
    limit(6);
    let dir = room.dir.path().join("run/pool/full/sock");
    let waiting = std::os::unix::net::UnixStream::connect(dir).expect("it listens");
    let before = ticks(shim);
    std::thread::sleep(Duration::from_millis(2500));
    let used = ticks(shim) - before;
    assert!(used < 50, "{used} ticks of 250 used for nothing");
    drop(waiting);
    limit(1024);
    room.come_back();
    assert_eq!(room.running("full").pid, run.pid);
}
