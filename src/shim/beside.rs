//! A command that is run beside a worker: with its user and groups, and the limits that we were started with.
//!
//! `weir-shim --beside SOFT HARD WHO DIR PROGRAM [ARG…]`. Nobody else can do that between fork and exec without unsafe code, and
//! the daemon has many threads. WHO is `UID:GID:GROUP,GROUP…` or nothing, DIR a directory or nothing. What fails is told on
//! standard error behind [`FAILED`], with the exit code of a shell that found no program.
//!
//! The command is a child, so that nothing that it starts outlives it, in whatever session: all of it ends with the command, with
//! a SIGTERM to us, or with whoever reads our standard error, which is the daemon. We end as the command did.

use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

use super::wire::Go;
use super::{child, sys, tree};

/// Before the words of what failed here and not in the program.
const FAILED: &str = "weir-shim: ";

/// Run the command to its end: the exit code.
pub(super) fn main(args: &[String]) -> i32 {
    sys::reset_signals();
    let Some(go) = go(args) else { return failed("it was not told what to run") };
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    let mut mask = SigSet::empty();
    [Signal::SIGCHLD, Signal::SIGTERM].into_iter().for_each(|signal| mask.add(signal));
    let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
    let signals = match mask.thread_block().and_then(|()| SignalFd::with_flags(&mask, flags)) {
        Ok(signals) => signals,
        Err(errno) => return failed(&format!("signals: {} ({errno:?})", errno.desc())),
    };
    match sys::fork() {
        Ok(None) => {
            sys::unblock_signals();
            sys::exit_now(failed(&child::become_command(&go)))
        }
        Ok(Some(pid)) => end_as(&keep(pid, &signals)),
        Err(error) => failed(&format!("fork: {error}")),
    }
}

fn failed(why: &str) -> i32 {
    eprintln!("{FAILED}{why}");
    127
}

/// Wait for the end of the command, and of all that it started.
fn keep(pid: i32, signals: &SignalFd) -> sys::Reaped {
    // Whoever reads what the command writes is to see its end.
    let _closed = [0, 1].map(nix::unistd::close);
    let errors = std::io::stderr();
    let (mut over, mut end) = (false, sys::Reaped { pid, code: Some(127), signal: None, cpu_ms: 0, rss_kib: 0 });
    loop {
        // Nothing is asked of standard error: that its reader is gone is told unasked.
        let reader = (!over).then(|| PollFd::new(errors.as_fd(), PollFlags::empty()));
        let mut fds: Vec<PollFd<'_>> = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)].into_iter().chain(reader).collect();
        if poll(&mut fds, PollTimeout::NONE).is_ok() {
            over |= fds.get(1).and_then(PollFd::revents).is_some_and(|events| !events.is_empty());
        }
        while let Ok(Some(signal)) = signals.read_signal() {
            over |= signal.ssi_signo == Signal::SIGTERM as u32;
        }
        loop {
            match sys::wait() {
                sys::Wait::Ended(child) if child.pid == pid => (end, over) = (child, true),
                sys::Wait::Ended(_) => {}
                sys::Wait::Alive if over => {
                    tree::kill(&[]);
                    break;
                }
                sys::Wait::Alive => break,
                sys::Wait::None => return end,
            }
        }
    }
}

/// End in the same way: the exit code, unless it was a signal.
fn end_as(end: &sys::Reaped) -> i32 {
    if let Some(signal) = end.signal {
        // Where it should have left its core it has.
        let _none = setrlimit(Resource::RLIMIT_CORE, 0, 0);
        sys::unblock_signals();
        sys::signal_child(std::process::id().cast_signed(), signal);
    }
    end.code.unwrap_or(127)
}

fn go(args: &[String]) -> Option<Go> {
    let [soft, hard, who, dir, argv @ ..] = args else { return None };
    let mut go = Go { nofile: (soft.parse().ok()?, hard.parse().ok()?), dir: dir.clone().into_bytes(), ..Go::default() };
    if !who.is_empty() {
        let mut ids = who.splitn(3, ':');
        go.user = Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?));
        let groups = ids.next()?.split(',').filter(|group| !group.is_empty());
        go.groups = groups.map(|group| group.parse().ok()).collect::<Option<_>>()?;
    }
    go.argv = argv.iter().map(|argument| argument.clone().into_bytes()).collect();
    go.env =
        std::env::vars_os().map(|(name, value)| [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat()).collect();
    Some(go)
}
