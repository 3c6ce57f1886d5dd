//! How runs end: exactly, once, whoever was there to see it.

use std::fs;

use nix::sys::signal::Signal;
use weir::model::worker::{ExitReason, SlotState};

use super::room::{Room, order, signal, slot, wait, without_python};

/// What a script ends with.
const WAYS: [(&str, Option<i32>, Option<i32>, ExitReason); 5] = [
    ("exit 0", Some(0), None, ExitReason::Completed),
    ("exit 1", Some(1), None, ExitReason::Error),
    ("exit 7", Some(7), None, ExitReason::Error),
    ("ulimit -c 0; kill -SEGV $$", None, Some(11), ExitReason::Signaled),
    ("kill -KILL $$", None, Some(9), ExitReason::Signaled),
];

#[test]
fn ends_are_exact_and_a_slot_is_used_again_by_the_same_shim() {
    let mut room = Room::new("none");
    let mut shim = None;
    for (n, (script, code, signal, reason)) in (1..).zip(WAYS) {
        let exit = room.run(order("ways", n, script));
        assert_eq!((exit.incarnation, exit.code, exit.signal, exit.reason), (n, code, signal, reason), "{script}");
        let now = room.seen["ways"].shim;
        assert!(now.is_some() && shim.is_none_or(|shim| shim == now), "{shim:?} {now:?}");
        shim = Some(now);
    }
    assert_eq!(room.ends.len(), WAYS.len());
}

#[test]
fn ends_while_nobody_watches_are_told_exactly_afterwards() {
    let mut room = Room::new("none");
    let gate = room.dir.path().join("gate");
    for (n, (script, ..)) in WAYS.iter().enumerate() {
        let script = format!("until [ -e {} ]; do sleep 0.01; done; {script}", gate.display());
        room.start(order(&format!("w{n}"), 4, &script));
        room.running(&format!("w{n}"));
    }
    room.leave();
    fs::write(&gate, "").expect("opened");
    wait("end", || room.alive("").is_empty());
    room.come_back();
    for (n, (script, code, signal, reason)) in WAYS.iter().enumerate() {
        let exit = room.ended(&format!("w{n}"), 4);
        assert_eq!((exit.code, exit.signal, exit.reason), (*code, *signal, *reason), "{script}");
    }
}

#[test]
fn a_daemon_that_comes_back_adopts_the_same_processes() {
    let mut room = Room::new("none");
    room.start(order("stays", 1, "sleep 1000"));
    let run = room.running("stays");
    let shim = room.seen["stays"].shim;
    for _round in 0..5 {
        room.come_back();
        let again = room.running("stays");
        assert_eq!((again.pid, again.started, room.seen["stays"].shim), (run.pid, run.started, shim));
    }
    room.slots().kill(&slot("stays"), 1);
    let exit = room.ended("stays", 1);
    assert_eq!((exit.signal, exit.asked), (Some(9), true));
    assert_eq!(room.lost, 0);
}

#[test]
fn descendants_in_sessions_of_their_own_all_go() {
    for driver in ["none", "auto"] {
        let mut room = Room::new(driver);
        let script = "for i in $(seq 20); do (setsid setsid sleep 1000 &) ; done; sleep 1000";
        for n in 1..=25 {
            room.start(order("forks", n, script));
            room.running_when("forks", |run| run.incarnation == n);
            wait("twenty descendants", || room.alive("forks").len() > 20);
            room.slots().kill(&slot("forks"), n);
            room.ended("forks", n);
            assert_eq!(room.alive("forks"), Vec::<i32>::new(), "run {n}, {driver}");
        }
    }
}

/// The kernel's side is played by the script: what is read of it is one line of a file in the worker's cgroup.
#[test]
fn a_worker_that_was_killed_for_want_of_memory_is_told_as_that() {
    let dir = tempfile::Builder::new().prefix("weir-shim-").tempdir().expect("a directory");
    let cgroups = dir.path().join("cgroups");
    let events = cgroups.join("pool/hungry/memory.events");
    let mut room = Room::with(dir, weir::edge::slots::cgroup::Driver::Cgroupfs(cgroups.clone()));
    let script = |kills: u32, end: &str| format!("echo 'oom_kill {kills}' > {}; {end}", events.display());
    for (n, kills, end, reason) in [
        (1, 1, "kill -KILL $$", ExitReason::OOMKilled),
        (2, 1, "kill -KILL $$", ExitReason::Signaled),
        (3, 2, "exit 3", ExitReason::OOMKilled),
        (4, 3, "exit 0", ExitReason::Completed),
    ] {
        assert_eq!(room.run(order("hungry", n, &script(kills, end))).reason, reason, "run {n}");
    }
    fs::remove_dir_all(cgroups).expect("removed");
}

#[test]
fn what_a_worker_leaves_behind_goes_with_it() {
    for driver in ["none", "auto"] {
        let mut room = Room::new(driver);
        let exit = room.run(order("leaves", 1, "(setsid sleep 1000 & setsid sleep 1000 &) ; exit 5"));
        assert_eq!((exit.code, room.alive("leaves").len()), (Some(5), 0));
    }
}

#[test]
fn a_worker_whose_shim_is_killed_is_hunted_and_its_end_is_unknown() {
    for driver in ["none", "auto"] {
        let mut room = Room::new(driver);
        for n in 1..=10 {
            // One descendant keeps neither the lock nor, all of them, their parent.
            room.start(order("orphan", n, "(setsid sleep 1000 3>&- &); setsid sleep 1000 & exec sleep 1000"));
            room.running_when("orphan", |run| run.incarnation == n);
            wait("three of them", || room.alive("orphan").len() >= 3);
            signal(room.seen["orphan"].shim.expect("a shim"), Signal::SIGKILL);
            let exit = room.ended("orphan", n);
            assert_eq!((exit.code, exit.signal, exit.reason), (None, None, ExitReason::Unknown));
            assert!(exit.ran_ms > 0 && exit.started.is_some_and(|at| at < exit.finished), "it was with us: {exit:?}");
            assert_eq!(room.alive("orphan"), Vec::<i32>::new(), "run {n}, {driver}");
        }
        assert!(room.lost >= 10, "{}", room.lost);
    }
}

#[test]
fn a_shim_and_its_worker_killed_while_nobody_watches_are_unknown_and_never_a_success() {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("this boot");
    for (rebooted, reason) in [(false, ExitReason::Unknown), (true, ExitReason::Rebooted)] {
        let mut room = Room::new("none");
        room.run(order("gone", 1, "exit 0"));
        room.start(order("gone", 2, "sleep 1000"));
        let pid = room.running("gone").pid;
        let shim = room.seen["gone"].shim.expect("a shim");
        room.leave();
        signal(shim, Signal::SIGKILL);
        signal(pid, Signal::SIGKILL);
        wait("end", || room.alive("").is_empty());
        if rebooted {
            // As it is found after the power went: it tells of a run of another boot.
            let file = room.dir.path().join("run/pool/gone/shim.json");
            let record = fs::read_to_string(&file).expect("a record");
            assert!(record.contains(boot.trim()), "{record}");
            fs::write(file, record.replace(boot.trim(), "another")).expect("written");
        }
        room.come_back();
        let exit = room.ended("gone", 2);
        assert_eq!((exit.incarnation, exit.code, exit.reason), (2, None, reason));
    }
}

#[test]
fn a_shim_whose_directory_is_gone_ends_with_its_worker() {
    let mut room = Room::new("none");
    room.start(order("bare", 1, "sleep 1000"));
    let pid = room.running("bare").pid;
    let shim = room.seen["bare"].shim.expect("a shim");
    room.leave();
    fs::remove_dir_all(room.dir.path().join("run/pool")).expect("removed");
    signal(pid, Signal::SIGKILL);
    // Its parent of then reaps it: ended is as good as gone.
    let ended = |stat: String| stat.contains(") Z ");
    wait("end of the shim", || fs::read_to_string(format!("/proc/{shim}/stat")).map_or(true, ended));
}

#[test]
fn a_second_daemon_takes_over_and_the_first_leaves_the_worker_alone() {
    let mut room = Room::new("none");
    room.start(order("shared", 1, "sleep 1000"));
    let run = room.running("shared");
    let twin = tempfile::Builder::new().prefix("weir-shim-").tempdir().expect("a directory");
    fs::remove_dir(twin.path()).expect("empty");
    std::os::unix::fs::symlink(room.dir.path(), twin.path()).expect("a second way in");
    let mut second = Room::at(twin, "none");
    assert_eq!(second.running("shared").pid, run.pid);
    room.is_lost("shared");
    room.start(order("shared", 2, "sleep 1000"));
    assert!(room.failure().contains("lock"), "{:?}", room.failures);
    assert_eq!(room.alive("shared"), [run.pid]);
    second.slots().kill(&slot("shared"), 1);
    assert_eq!(second.ended("shared", 1).signal, Some(9));
    second.leave();
    // Free again: the first sees it by itself.
    assert_eq!(room.ended("shared", 1).signal, Some(9));
    fs::remove_file(second.dir.path()).expect("the link");
}

#[test]
fn a_slot_whose_holder_does_not_die_holds_up_nobody_when_a_daemon_starts() {
    let dir = tempfile::Builder::new().prefix("weir-shim-").tempdir().expect("a directory");
    fs::create_dir_all(dir.path().join("run/pool/undead")).expect("made");
    let lock = fs::File::create(dir.path().join("run/pool/undead/lock")).expect("made");
    // Nobody listens, and whoever has the lock cannot be killed: a process in an uninterruptible sleep, here the test itself.
    let lock = nix::fcntl::Flock::lock(lock, nix::fcntl::FlockArg::LockExclusive).expect("locked");
    let mut room = Room::at(dir, "none");
    room.is_lost("undead");
    room.start(order("other", 1, "exit 3"));
    assert_eq!(room.ended("other", 1).code, Some(3));
    drop(lock);
    room.until(|room| (room.seen["undead"].state == SlotState::Vacant).then_some(()));
}

#[test]
fn a_worker_that_was_taken_over_comes_back_when_the_other_daemon_has_ended() {
    if without_python() {
        return;
    }
    let mut room = Room::new("none");
    room.start(order("lent", 1, "sleep 1000"));
    let run = room.running("lent");
    // Whoever connects is the newest daemon, until it ends.
    let other =
        "import os, socket, sys\nos.chdir(sys.argv[1])\ns = socket.socket(socket.AF_UNIX)\ns.connect('sock')\nsys.stdin.read()";
    let mut other = std::process::Command::new("python3")
        .args(["-c", other])
        .arg(room.dir.path().join("run/pool/lent"))
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("python3 runs");
    room.is_lost("lent");
    drop(other.stdin.take());
    other.wait().expect("reaped");
    assert_eq!(room.running("lent").pid, run.pid);
    room.slots().kill(&slot("lent"), 1);
    assert_eq!(room.ended("lent", 1).signal, Some(9));
}

#[test]
fn a_worker_whose_shim_cannot_be_reached_for_now_is_left_alone() {
    let mut room = Room::new("none");
    room.start(order("hidden", 1, "sleep 1000"));
    let run = room.running("hidden");
    room.leave();
    let dir = room.dir.path().join("run/pool/hidden");
    fs::rename(dir.join("sock"), dir.join("aside")).expect("moved");
    // A loop of links is an error that says nothing of the shim, as a lack of descriptors or of memory.
    std::os::unix::fs::symlink("sock", dir.join("sock")).expect("linked");
    room.come_back();
    room.is_lost("hidden");
    room.start(order("hidden", 2, "sleep 1000"));
    assert!(room.failure().contains("reached"), "{:?}", room.failures);
    assert_eq!(room.alive("hidden"), [run.pid]);
    fs::rename(dir.join("aside"), dir.join("sock")).expect("moved back");
    let again = room.running("hidden");
    assert_eq!((again.pid, again.incarnation), (run.pid, 1));
}

#[test]
fn a_daemon_that_was_too_slow_is_let_go_of_and_meets_its_worker_again() {
    if without_python() {
        return;
    }
    let mut room = Room::new("none");
    let script = "python3 - <<'PY'\nimport socket, os, time\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
                  a = '\\0' + os.environ['NOTIFY_SOCKET'][1:]\nn = 0\nwhile True:\n n += 1\n s.sendto(b'STATUS=%0250d' % n, a)\n time.sleep(0.01)\nPY";
    room.start(order("talks", 1, script));
    let run = room.running_when("talks", |run| run.status.is_some());
    let shim = room.seen["talks"].shim.expect("a shim");
    let open = || fs::read_dir(format!("/proc/{shim}/fd")).expect("it lives").count();
    let before = open();
    // The daemon's side stands still: its only thread is busy with us.
    let (hold, release) = std::sync::mpsc::channel::<()>();
    room.occupy(release);
    wait("closed connection", || open() < before);
    drop(hold);
    wait("new connection", || open() == before);
    let heard = room.running("talks").status;
    let now = room.running_when("talks", |run| run.status != heard);
    assert_eq!((now.pid, room.lost), (run.pid, 0));
}

#[test]
fn hundreds_of_ends_at_once_are_each_told_once() {
    let mut room = Room::new("none");
    let gate = room.dir.path().join("gate");
    let fifo = std::process::Command::new("mkfifo").arg(&gate).status().expect("mkfifo");
    assert!(fifo.success());
    let workers: Vec<String> = (0..500).map(|n| format!("w{n}")).collect();
    for worker in &workers {
        // Opening waits for the writer; all are let through at once.
        room.start(order(worker, 1, &format!("read x < {}; exit 3", gate.display())));
    }
    for worker in &workers {
        room.running(worker);
    }
    wait("all at the gate", || room.alive("").len() == workers.len());
    drop(fs::File::options().write(true).open(&gate).expect("opened"));
    let writer = std::thread::spawn(move || {
        for _late in 0..200 {
            // Those that had not reached the gate yet.
            drop(fs::File::options().write(true).custom_nonblock().open(&gate));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    for worker in &workers {
        assert_eq!(room.ended(worker, 1).code, Some(3));
    }
    writer.join().expect("done");
    assert_eq!(room.ends.len(), workers.len());
}

trait Nonblock {
    fn custom_nonblock(&mut self) -> &mut Self;
}

impl Nonblock for fs::OpenOptions {
    fn custom_nonblock(&mut self) -> &mut Self {
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, libc::O_NONBLOCK)
    }
}

#[test]
fn a_slot_that_is_wanted_again_while_it_is_forgotten_is_started() {
    let mut room = Room::new("none");
    for n in 0..20 {
        room.run(order("again", 2 * n + 1, "exit 3"));
        room.slots().forget(&slot("again"));
        assert_eq!(room.run(order("again", 2 * n + 2, "exit 4")).code, Some(4), "round {n}: {:?}", room.failures);
    }
}
