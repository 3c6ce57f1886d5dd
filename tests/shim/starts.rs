//! What a worker starts with, and what is told when it cannot start.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::{Arc, Mutex};

use weir::edge::slots::Unready;
use weir::model::worker::{ExitReason, SlotState};

use super::room::{Room, order, slot, wait, without_python};
use super::skipped;

#[test]
fn a_worker_starts_from_a_clean_slate() {
    let mut room = Room::new("none");
    // No pipe where the descriptors are listed: the shell would have its end of it open yet.
    let script = "grep -E '^(SigBlk|SigIgn|SigCgt|NoNewPrivs)' /proc/self/status; umask; pwd; readlink /proc/$$/fd/0; \
                  echo fds; ls /proc/$$/fd; echo end; ps -o sid= -p $$ | tr -d ' '; echo $$; tr '\\0' '\\n' < /proc/$$/environ";
    assert_eq!(room.run(order("clean", 1, script)).reason, ExitReason::Completed);
    let text = room.output("clean");
    let lines: Vec<&str> = text.lines().collect();
    for wanted in ["SigBlk:\t0000000000000000", "SigIgn:\t0000000000000000", "NoNewPrivs:\t1", "0027", "/", "/dev/null"] {
        assert!(lines.contains(&wanted), "{wanted:?} in {text}");
    }
    // 255 is bash's own. 3 is the identity lock.
    let place = |word: &str| lines.iter().position(|line| *line == word).expect("descriptors");
    let (begin, at) = (place("fds"), place("end"));
    let fds: Vec<&str> = lines[begin + 1..at].iter().copied().filter(|fd| *fd != "255").collect();
    assert_eq!(fds, ["0", "1", "2", "3"], "{text}");
    assert_eq!(lines[at + 1], lines[at + 2], "it leads its session: {text}");
    let mut names: Vec<&str> = lines[at + 3..].iter().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    names.sort_unstable();
    assert_eq!(names, ["NOTIFY_SOCKET", "PATH", "WEIR_SLOT", "WEIR_WORKER"], "{text}");
}

#[test]
fn a_start_that_fails_says_where_and_why_and_leaves_nothing() {
    let mut room = Room::new("none");
    let script = |name: &str, text: &str, mode: u32| {
        let path = room.dir.path().join(name);
        fs::write(&path, text).expect("a program");
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        path.display().to_string()
    };
    let plain = script("plain", "#!/bin/sh\n", 0o600);
    let lost = script("lost", "#!/no/such/interpreter\n", 0o700);
    let odd = script("odd", "\u{1}\u{2}", 0o700);
    let long = "x".repeat(200_000);
    let cases: [(&str, &[&str], &str, &str); 8] = [
        ("enoent", &["/no/such"], "/", "exec \"/no/such\": No such file or directory (ENOENT)"),
        ("path", &["no-such-program"], "/", "exec \"no-such-program\": No such file or directory (ENOENT)"),
        ("eacces", &[&plain], "/", "Permission denied (EACCES)"),
        ("dir", &["/tmp"], "/", "Permission denied (EACCES)"),
        ("interp", &[&lost], "/", "No such file or directory (ENOENT)"),
        ("format", &[&odd], "/", "(ENOEXEC)"),
        ("cwd", &["true"], "/no/such/dir", "workingDir \"/no/such/dir\": No such file or directory (ENOENT)"),
        ("long", &["true", &long], "/", "(E2BIG)"),
    ];
    for (worker, command, dir, words) in cases {
        let mut order = order(worker, 1, "");
        order.command = command.iter().map(|word| (*word).to_owned()).collect();
        order.working_dir = Some(dir.into());
        let exit = room.run(order);
        let message = exit.message.clone().unwrap_or_default();
        assert!(message.contains(words), "{worker}: {message}");
        assert_eq!((exit.reason, exit.code, exit.signal, exit.started), (ExitReason::StartError, None, None, None), "{worker}");
    }
    assert!(room.alive("").is_empty());
    // The slot is as good as before.
    assert_eq!(room.run(order("cwd", 2, "exit 3")).code, Some(3));
}

/// Such a child has a copy of the shim's memory.
#[test]
fn another_user_s_worker_begins_and_fails_as_any_other() {
    if skipped::without(nix::unistd::geteuid().is_root(), "root") {
        return;
    }
    for driver in ["none", "auto"] {
        let mut room = Room::new(driver);
        let other = |mut order: weir::model::worker::StartOrder| {
            order.user = Some("nobody".into());
            order
        };
        assert_eq!(room.run(other(order("who", 1, "id -un; exit 4"))).code, Some(4));
        assert_eq!(room.output("who"), "nobody\n");
        let mut unknown = other(order("who", 2, ""));
        unknown.command = vec!["no-such-program".into()];
        let mut nowhere = other(order("who", 3, ""));
        nowhere.working_dir = Some("/no/such/dir".into());
        let cases = [(unknown, "exec \"no-such-program\": No such file"), (nowhere, "workingDir \"/no/such/dir\": No such file")];
        for (order, words) in cases {
            let exit = room.run(order);
            assert_eq!((exit.reason, exit.code), (ExitReason::StartError, None), "{driver}");
            assert!(exit.message.as_deref().is_some_and(|message| message.contains(words)), "{exit:?}");
        }
    }
}

#[test]
fn a_user_that_does_not_exist_and_a_command_beyond_all_bounds_are_refused_before_any_process() {
    let mut room = Room::new("none");
    let mut stranger = order("stranger", 1, "true");
    stranger.user = Some("no-such-user".into());
    room.start(stranger);
    room.until(|room| (room.failures.len() == 1).then_some(()));
    let mut huge = order("huge", 1, "true");
    huge.command.push("x".repeat(5 << 20));
    room.start(huge);
    room.until(|room| (room.failures.len() == 2).then_some(()));
    assert!(room.failures[0].contains("no-such-user") && room.failures[1].contains("E2BIG"), "{:?}", room.failures);
}

#[test]
fn an_order_that_takes_its_time_holds_up_its_own_slot_alone() {
    let mut room = Room::new("none");
    let (release, held) = std::sync::mpsc::channel::<()>();
    room.prepare(
        "slow",
        Box::new(move || {
            let _released = held.recv();
            Ok(order("slow", 1, "exit 5"))
        }),
    );
    room.find("slow", 1);
    let unfit = || Err(Unready { code: Some(65), message: "no such key".into() });
    room.prepare("unfit", Box::new(unfit));
    room.find("unfit", 1);
    room.prepare("broken", Box::new(|| panic!("a bug")));
    room.until(|room| (room.failures.len() == 2).then_some(()));
    room.failures.sort();
    assert!(room.failures[0] == "65: no such key" && room.failures[1].contains("panic"), "{:?}", room.failures);
    // More of them than there are threads in a daemon.
    let (release_all, all_held) = std::sync::mpsc::channel::<()>();
    let all_held = Arc::new(Mutex::new(all_held));
    for n in 0..40 {
        let held = all_held.clone();
        let late = move || {
            let _released = held.lock().map(|held| held.recv());
            Err(format!("late {n}").into())
        };
        room.prepare(&format!("late-{n}"), Box::new(late));
    }
    assert_eq!(room.run(order("quick", 1, "exit 4")).code, Some(4), "a fork needs one too");
    drop(release_all);
    room.until(|room| (room.failures.len() == 42).then_some(()));
    assert!(!room.seen.contains_key("slow"), "whoever looks for it is answered when it has begun: {:?}", room.seen);
    drop(release);
    assert_eq!(room.ended("slow", 1).code, Some(5));
    assert_eq!(room.failures.len(), 42, "it was never taken for lost: {:?}", room.failures);
}

#[test]
fn notify_tells_readiness_busy_state_watchdog_and_a_tame_status() {
    if without_python() {
        return;
    }
    let mut room = Room::new("none");
    let gate = room.dir.path().join("gate");
    let script = format!(
        "python3 - <<'PY'\nimport socket, os, time\ns = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\n\
         a = '\\0' + os.environ['NOTIFY_SOCKET'][1:]\n\
         s.sendto(b'READY=1\\nSTATUS=a\\x1b[31mb' + b'c' * 400, a)\n\
         s.sendto(b'X_WEIR_BUSY=1\\nWATCHDOG=1\\nNONSENSE\\n\\xff=\\xfe', a)\n\
         while not os.path.exists('{}'): time.sleep(0.005)\ns.sendto(b'X_WEIR_BUSY=0', a)\ntime.sleep(1000)\nPY",
        gate.display()
    );
    room.start(order("told", 1, &script));
    let run = room.running_when("told", |run| run.ready && run.busy && run.watchdog.is_some());
    let status = run.status.expect("a status");
    assert!(status.starts_with("a[31mbcc") && status.len() <= 256 && !status.contains('\u{1b}'), "{status:?}");
    // All of it outlives the daemon's side.
    room.come_back();
    let again = room.running("told");
    assert!(again.ready && again.busy && again.pid == run.pid, "{again:?}");
    fs::write(&gate, "").expect("opened");
    room.running_when("told", |run| !run.busy);
}

/// Only root can become somebody else; for everyone else this holds nothing.
#[test]
fn what_a_stranger_notifies_counts_for_nothing() {
    if without_python() || skipped::without(nix::unistd::geteuid().is_root(), "root") {
        return;
    }
    let mut room = Room::new("none");
    room.start(order("told", 1, "echo $NOTIFY_SOCKET; exec sleep 1000"));
    room.running("told");
    wait("the socket's name", || room.output("told").ends_with('\n'));
    let name = room.output("told").trim().replace('@', "\\0");
    let say = |uid: u32, what: &str| {
        let script = format!(
            "import os, socket\nos.setgroups([]); os.setgid({uid}); os.setuid({uid})\n\
             s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)\ns.sendto(b'{what}', '{name}')"
        );
        let said = std::process::Command::new("python3").args(["-c", &script]).status().expect("python3 runs");
        assert!(said.success(), "the name is no secret to whoever may look, and the socket takes it");
    };
    say(65_534, "READY=1\\nX_WEIR_BUSY=1\\nWATCHDOG=1\\nSTATUS=forged\\nEXTEND_TIMEOUT_USEC=1000000000");
    // Datagrams are read in order: when this one was, the other was too.
    say(0, "STATUS=honest");
    let run = room.running_when("told", |run| run.status.is_some());
    assert_eq!(run.status.as_deref(), Some("honest"));
    assert!(!run.ready && !run.busy && run.watchdog.is_none() && run.extended_until.is_none(), "{run:?}");
}

#[test]
fn a_stop_reaches_a_stopped_worker_and_is_remembered() {
    let mut room = Room::new("none");
    room.start(order("stopped", 1, "kill -STOP $$"));
    let pid = room.running("stopped").pid;
    wait("stop", || fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") T ")));
    room.slots().signal(&slot("stopped"), 7, 15);
    room.slots().signal(&slot("stopped"), 1, 15);
    let exit = room.ended("stopped", 1);
    assert_eq!((exit.signal, exit.asked, exit.reason), (Some(15), true, ExitReason::Signaled));
    assert_eq!(room.seen["stopped"].state, SlotState::Vacant);
}

/// A child has the shim's memory until it is another program: what it leaves there stays.
#[test]
fn a_shim_that_has_begun_many_is_no_larger() {
    let mut room = Room::new("none");
    let begin = |room: &mut Room, n: u64| {
        let (mut order, is_known) = (order("many", n, ""), n.is_multiple_of(2));
        order.command = vec![if is_known { "true" } else { "no-such-program" }.into()];
        order.env.push(("LARGE".into(), "x".repeat(60_000)));
        let reason = room.run(order).reason;
        assert_eq!(reason == ExitReason::Completed, is_known, "{reason:?}");
    };
    let size = |room: &mut Room, incarnation: u64| -> u64 {
        let before = room.output("many").len();
        room.start(order("many", incarnation, "echo $PPID; exec sleep 1000"));
        room.running_when("many", |run| run.incarnation == incarnation);
        wait("its parent's pid", || room.output("many").len() > before);
        let shim = room.output("many").lines().last().expect("said").to_owned();
        let status = fs::read_to_string(format!("/proc/{shim}/status")).expect("the shim lives");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("of every process");
        room.slots().kill(&slot("many"), incarnation);
        room.ended("many", incarnation);
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    };
    (1..=20).for_each(|n| begin(&mut room, n));
    let before = size(&mut room, 21);
    (22..=321).for_each(|n| begin(&mut room, n));
    let after = size(&mut room, 322);
    assert!(after < before + 1024, "{before} KiB, then {after} KiB: the environments together are 17,000");
}
