//! Shims that do not answer: stopped, short of descriptors, gone in the middle of a word. The worker is neither killed for that
//! nor kept from its end.

use std::fs;
use std::time::Duration;

use weir::model::worker::SlotState;

use super::room::{Room, order};

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
