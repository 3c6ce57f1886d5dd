//! Shims that do not answer: stopped, short of descriptors, gone in the middle of a word. The worker is neither killed for that
//! nor kept from its end.

use std::fs;
use std::time::Duration;

use nix::sys::signal::Signal;
use weir::model::worker::{ExitReason, SlotState};

use super::room::{Room, order, signal, slot, wait};

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
