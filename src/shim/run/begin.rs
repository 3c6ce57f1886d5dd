//! A shim's beginning: the identity lock first, then what it listens with.
//!
//! Who does not get as far says why to the daemon that asked for it, and ends: that the slot is taken, or what the system said.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::net::UnixListener;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::super::birth::Stack;
use super::super::logs::Log;
use super::super::notify::Notify;
use super::super::record::Records;
use super::super::sys;
use super::super::tree::Cgroup;
use super::super::wire::{Go, Phase, State};
use super::{Record, Shim};

/// How long a shim that cannot serve its slot waits to tell so, in ms.
const TELL_HELD_MS: u16 = 5000;

/// Say why the slot is not served to whoever asked for it, and end. Nothing to say: another has its lock.
pub(super) fn tell_held(listener: &UnixListener, why: String) -> i32 {
    let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
    if poll(&mut fds, TELL_HELD_MS).is_ok_and(|ready| ready > 0)
        && let Ok((mut daemon, _)) = listener.accept()
    {
        // It finds out by our end too.
        let _told = daemon.write_all(&State { phase: Phase::Held, status: why, ..State::default() }.encode());
    }
    1
}

/// Protect the shim from the OOM killer where that is allowed; gives back what the worker is to have.
fn protect() -> Vec<u8> {
    let before = std::fs::read("/proc/self/oom_score_adj").unwrap_or_default();
    match std::fs::write("/proc/self/oom_score_adj", "-900") {
        Ok(()) => before,
        Err(_) => Vec::new(),
    }
}

/// The slot's identity lock.
///
/// # Errors
/// The system's words. No words: another has it.
fn lock(dir: &str) -> Result<Flock<File>, String> {
    let path = format!("{dir}/lock");
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| format!("{path}: {error}"))?;
    let held = |errno| errno == Errno::EWOULDBLOCK;
    let said = |errno: Errno| if held(errno) { String::new() } else { format!("{path}: {} ({errno:?})", errno.desc()) };
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| said(errno))
}

impl Shim {
    /// A shim for this slot. Takes the lock.
    ///
    /// # Errors
    /// The listener, and why it has nobody to serve it.
    pub(super) fn new(dir: &str, log: &str, worker: &str, listener: UnixListener) -> Result<Shim, (UnixListener, String)> {
        let lock = match lock(dir) {
            Ok(lock) => lock,
            Err(why) => return Err((listener, why)),
        };
        let slot = match File::open(dir) {
            Ok(slot) => slot,
            Err(error) => return Err((listener, format!("{dir}: {error}"))),
        };
        let mut mask = SigSet::empty();
        [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP, Signal::SIGPIPE]
            .into_iter()
            .for_each(|signal| mask.add(signal));
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        let signals = match mask.thread_block().and_then(|()| SignalFd::with_flags(&mask, flags)) {
            Ok(signals) => signals,
            Err(errno) => return Err((listener, format!("signals: {} ({errno:?})", errno.desc()))),
        };
        sys::nonblocking(&listener);
        Ok(Shim {
            path: dir.into(),
            records: Records::of(slot),
            lock,
            listener,
            signals,
            daemon: None,
            notify: Notify::open(worker),
            log: Log::new(log.into()),
            state: State::default(),
            go: Go::default(),
            cgroup: Cgroup::open(b""),
            output: None,
            main_end: None,
            failed: String::new(),
            started_wall: 0,
            cpu_before: 0,
            oom: (0, 0),
            oom_score: protect(),
            stack: Stack::new(),
            record: Record::Kept,
            notified: 0,
            later: false,
            drops_told: 0,
            brief: 0,
            dirty: false,
            deaf: 0,
        })
    }
}
