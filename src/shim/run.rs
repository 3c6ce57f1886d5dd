//! The shim's loop: one `poll` over everything that can happen, and no timeout unless a record still has
//! to be written, or somebody who does not read is to be let go of.
//!
//! At most one message goes to the daemon per round: the whole state, if it changed. A daemon that does not read is let go of;
//! the worker never waits for it.

mod begin;

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};

use nix::fcntl::Flock;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signalfd::SignalFd;
use nix::sys::socket::{Backlog, getsockopt, sockopt};
use nix::sys::stat::{Mode, umask};

use super::birth::Stack;
use super::child::{self, Child};
use super::logs::Log;
use super::notify::Notify;
use super::record::Records;
use super::tree::Cgroup;
use super::wire::{self, Command, Exit, Go, Phase, State};
use super::{beside, sys, tree};

/// What a worker notifies is told at once so often in a row, then once per [`NOTIFY_PAUSE_MS`]: one that never stops talking
/// floods its shim and not the daemon.
const NOTIFY_BURST: u64 = 32;
/// See [`NOTIFY_BURST`], in ms.
const NOTIFY_PAUSE_MS: u16 = 20;
/// How many bytes were dropped is told at once when that begins, then this often while there are more, in ms.
const DROPS_MS: u16 = 1000;
/// How soon a record that could not be written is tried again, in ms.
const RECORD_RETRY_MS: u16 = 1000;
/// The start of a run for a task is told after this, in ms: of one that is over by then, the end alone.
const BRIEF_MS: u16 = 3;
/// How soon a written record is synced, in ms: after the daemon has heard of the end, so that a restart does not wait for a disk.
const RECORD_SYNC_MS: u16 = 20;
/// How long a daemon that there was no descriptor for is not looked for again, in ms: it stays in line, and would wake us for ever.
const DEAF_MS: u16 = 1000;

/// What is still to be done for the record of the last end.
enum Record {
    /// Nothing: it is on disk, or there was no end yet.
    Kept,
    /// It has to be written.
    Unwritten,
    /// It was written and has to be synced.
    Unsynced,
}

struct Shim {
    /// The slot's directory.
    path: String,
    /// What it leaves there.
    records: Records,
    /// Held as long as we or anything that inherits it live.
    lock: Flock<File>,
    listener: UnixListener,
    signals: SignalFd,
    daemon: Option<(UnixStream, Vec<u8>)>,
    notify: Option<Notify>,
    log: Log,
    state: State,
    /// What the present run was started with.
    go: Go,
    cgroup: Cgroup,
    output: Option<File>,
    main_end: Option<sys::Reaped>,
    failed: String,
    started_wall: i64,
    cpu_before: u64,
    /// A cgroup by its id, and how often the kernel had killed something in it before the present run. Nobody lives there between
    /// two runs, so that it is read once for each.
    oom: (u64, u64),
    oom_score: Vec<u8>,
    stack: Stack,
    record: Record,
    /// When the worker's notifications will have used up their burst, boot clock in ms.
    notified: u64,
    /// A notification waits for its turn to be told.
    later: bool,
    /// When the number of dropped bytes was told last, boot clock in ms.
    drops_told: u64,
    /// Until when the start of the run is not worth telling, boot clock in ms.
    brief: u64,
    dirty: bool,
    /// No daemon is let in before this, boot clock in ms: there was no descriptor for it.
    deaf: u64,
}

/// Run the shim: `weir-shim SLOT-DIR LOG-FILE WORKER`, the listening socket as standard input. The exit code.
pub fn main(args: &[String]) -> i32 {
    if let [_, what, rest @ ..] = args
        && what == "--beside"
    {
        return beside::main(rest);
    }
    let [_, dir, log, worker] = args else {
        eprintln!("weir-shim is started by weir and is of no use by itself");
        return 2;
    };
    umask(Mode::from_bits_truncate(0o077));
    // Once here, and not in each child: those that the shim hears of are blocked and never delivered.
    sys::reset_signals();
    // Already a leader (a debugger did it): as good.
    let _led = nix::unistd::setsid();
    sys::prctl(libc::PR_SET_CHILD_SUBREAPER, 1);
    let Ok(listener) = sys::copy_above(0, 3).map(UnixListener::from) else { return 1 };
    // Asked again so that a daemon that connects later finds our pid at this end, not that of the daemon which bound it.
    let _listening = nix::sys::socket::listen(&listener, Backlog::MAXCONN);
    match Shim::new(dir, log, worker, listener) {
        Ok(mut shim) => shim.run(),
        Err((listener, why)) => begin::tell_held(&listener, why),
    }
}

impl Shim {
    fn run(&mut self) -> i32 {
        let mut met = false;
        loop {
            let ready = self.wait();
            if ready[3] {
                self.pump();
            }
            if ready[4] {
                self.read_notify();
            }
            if ready[0] {
                self.read_signals();
            }
            if ready[1] {
                met |= self.accept();
            }
            let mut bye = false;
            if ready[2] {
                bye = self.read_commands();
            }
            if ready == [false; 5] {
                // The time is over in which a run is not asked for its output.
                self.pump();
                self.keep_record();
            }
            self.dirty |= self.later && self.may_tell();
            self.count_drops();
            self.tell();
            let idle = self.state.phase == Phase::Waiting && matches!(self.record, Record::Kept);
            if idle && (bye || (met && self.daemon.is_none())) {
                // The path is free for the next shim of this slot.
                let _gone = std::fs::remove_file(format!("{}/sock", self.path));
                return 0;
            }
        }
    }

    /// Wait for anything: signals, a daemon, its commands, output, notifications.
    fn wait(&mut self) -> [bool; 5] {
        if self.deaf <= sys::boot_ms() {
            self.deaf = 0;
        }
        let sources = [
            Some(self.signals.as_fd()),
            (self.deaf == 0).then(|| self.listener.as_fd()),
            self.daemon.as_ref().map(|(stream, _)| stream.as_fd()),
            // Of one that may be over at once it is read at its end, or with the start that is told late: one waking for both.
            self.output.as_ref().filter(|_| !self.dirty).map(AsFd::as_fd),
            self.notify.as_ref().map(|notify| notify.socket.as_fd()),
        ];
        let mut fds: Vec<PollFd<'_>> = sources.iter().flatten().map(|fd| PollFd::new(*fd, PollFlags::POLLIN)).collect();
        let timeout = match (self.later, &self.record) {
            // Only a start that is held back is left untold.
            _ if self.dirty => PollTimeout::from(BRIEF_MS),
            (true, _) => PollTimeout::from(NOTIFY_PAUSE_MS),
            (false, Record::Unsynced) => PollTimeout::from(RECORD_SYNC_MS),
            (false, Record::Unwritten) => PollTimeout::from(RECORD_RETRY_MS),
            (false, Record::Kept) if self.drops() || self.log.owes() => PollTimeout::from(DROPS_MS),
            (false, Record::Kept) if self.deaf > 0 => PollTimeout::from(DEAF_MS),
            (false, Record::Kept) => PollTimeout::NONE,
        };
        if poll(&mut fds, timeout).is_err() {
            return [false; 5];
        }
        let mut answers = fds.iter().map(|fd| fd.revents().is_some_and(|events| !events.is_empty()));
        sources.map(|source| source.is_some() && answers.next().unwrap_or(false))
    }

    fn pump(&mut self) {
        let Some(output) = &mut self.output else { return };
        if self.log.pump(output) {
            self.output = None;
        }
    }

    /// More was dropped than was told.
    fn drops(&self) -> bool {
        self.log.dropped != self.state.dropped
    }

    /// Have it told how much was dropped, now and then; in the log itself when there is no more for as long.
    fn count_drops(&mut self) {
        let now = sys::boot_ms();
        if self.drops() && (self.state.dropped == 0 || self.drops_told + u64::from(DROPS_MS) <= now) {
            self.drops_told = now;
            self.dirty = true;
        }
        if self.log.owes() && self.log.last + u64::from(DROPS_MS) <= now {
            self.log.end();
        }
    }

    fn read_notify(&mut self) {
        let uid = self.go.user.map_or_else(|| nix::unistd::getuid().as_raw(), |(uid, _)| uid);
        if let Some(notify) = &self.notify {
            self.later |= notify.take(uid, &mut self.state) && self.state.phase == Phase::Running;
        }
    }

    /// Whether the worker's notifications may be told now, or are over their rate.
    fn may_tell(&mut self) -> bool {
        let (now, pause) = (sys::boot_ms(), u64::from(NOTIFY_PAUSE_MS));
        let used = self.notified.max(now) + pause;
        let may = used <= now + NOTIFY_BURST * pause;
        if may {
            self.notified = used;
        }
        may
    }

    fn read_signals(&mut self) {
        // One signal stands for any number of children. The terminal's and a stray TERM are not for us: the daemon says bye.
        while let Ok(Some(_)) = self.signals.read_signal() {}
        self.reap();
    }

    fn reap(&mut self) {
        loop {
            match sys::wait() {
                sys::Wait::Ended(child)
                    if child.pid == self.state.pid && self.main_end.is_none() && self.state.phase != Phase::Waiting =>
                {
                    self.main_end = Some(child);
                    self.state.phase = Phase::Clearing;
                    self.dirty = true;
                }
                sys::Wait::Ended(_) => {}
                sys::Wait::Alive => {
                    if self.state.phase == Phase::Clearing {
                        tree::kill(&self.go.cgroup);
                    }
                    return;
                }
                sys::Wait::None => return self.tree_is_empty(),
            }
        }
    }

    /// Nothing lives below us: the run is over.
    fn tree_is_empty(&mut self) {
        let Some(end) = self.main_end.take() else { return };
        if let Some(mut output) = self.output.take() {
            // Everybody of the tree is dead, and what they wrote is in the pipe. Whoever else holds it may write for ever.
            let rest = sys::pending(&output);
            self.log.drain(&mut output, rest);
        }
        self.log.end();
        // Its last words must not count for the next run.
        self.read_notify();
        let ran = self.state.started > 0;
        let kills = self.cgroup.oom_kills().unwrap_or(self.oom.1);
        let oom_before = std::mem::replace(&mut self.oom.1, kills);
        let exit = Exit {
            incarnation: self.state.incarnation,
            code: end.code.filter(|_| self.failed.is_empty()),
            signal: end.signal.filter(|_| self.failed.is_empty()),
            failed: std::mem::take(&mut self.failed),
            oom: self.oom.1 > oom_before,
            started: if ran { self.started_wall } else { 0 },
            finished: sys::wall_ms(),
            ran: if ran { sys::boot_ms().saturating_sub(self.state.started) } else { 0 },
            cpu: end.cpu_ms.max(sys::reaped_cpu_ms().saturating_sub(self.cpu_before)),
            rss: end.rss_kib,
            asked: self.state.stop > 0,
            log_start: self.state.log_start,
            log_end: self.log.position(),
        };
        // It may be removed: nothing of it is held.
        self.cgroup = Cgroup::open(b"");
        self.state.exit = Some(exit);
        self.write_record();
        self.state.phase = Phase::Waiting;
        self.state.pid = 0;
        self.dirty = true;
    }

    /// The end is written before it is told, and synced soon after: whoever dies between, its file stays. A loss of power in
    /// between finds a daemon that has not acted on it, or has it in its own store. On a full disk it is told from memory.
    fn write_record(&mut self) {
        let Some(exit) = &self.state.exit else { return };
        self.record = match self.records.write_exit(exit) {
            Ok(()) => Record::Unsynced,
            // With the slot's directory gone nobody will ever read it: no reason to stay.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Record::Kept,
            Err(_) => Record::Unwritten,
        };
    }

    /// Bring the record a step further.
    fn keep_record(&mut self) {
        match &self.record {
            Record::Kept => {}
            Record::Unwritten => self.write_record(),
            Record::Unsynced if self.records.sync_exit().is_ok() => self.record = Record::Kept,
            Record::Unsynced => self.record = Record::Unwritten,
        }
    }

    /// Let daemons in, and say whether there was one.
    fn accept(&mut self) -> bool {
        let mut met = false;
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return met,
                // It has hung up meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ECONNABORTED) => continue,
                Err(_) => {
                    self.deaf = sys::boot_ms() + u64::from(DEAF_MS);
                    return met;
                }
            };
            met = true;
            let Ok(peer) = getsockopt(&stream, sockopt::PeerCredentials) else { continue };
            let own = nix::unistd::geteuid().as_raw();
            if (peer.uid() == own || peer.uid() == 0) && stream.set_nonblocking(true).is_ok() {
                // The newest daemon counts. One before it that lives is told by whom it was replaced, and does not take the
                // worker for an orphan.
                if let Some((mut before, _)) = self.daemon.replace((stream, Vec::new())) {
                    let _told = before.write(&State { phase: Phase::Held, pid: peer.pid(), ..State::default() }.encode());
                }
                self.dirty = true;
            }
        }
    }

    /// Take in commands. Says whether bye was said.
    fn read_commands(&mut self) -> bool {
        let Some((stream, buffer)) = &mut self.daemon else { return false };
        let mut chunk = [0u8; 4096];
        let mut ended = false;
        loop {
            match stream.read(&mut chunk) {
                Ok(0) => ended = true,
                Ok(n) => {
                    buffer.extend_from_slice(&chunk[..n]);
                    continue;
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(_) => ended = true,
            }
            break;
        }
        let buffer = std::mem::take(buffer);
        let mut rest = buffer.as_slice();
        let mut bye = false;
        loop {
            match wire::split(rest) {
                Ok(Some((kind, body, taken))) => {
                    match Command::decode(kind, body) {
                        Ok(command) => bye |= self.obey(command),
                        Err(wire::Malformed) => ended = true,
                    }
                    rest = &rest[taken..];
                }
                Ok(None) => break,
                Err(wire::Malformed) => {
                    ended = true;
                    break;
                }
            }
        }
        match &mut self.daemon {
            _ if ended => self.daemon = None,
            Some((_, buffer)) => *buffer = rest.to_vec(),
            None => {}
        }
        bye
    }

    fn obey(&mut self, command: Command) -> bool {
        let runs = matches!(self.state.phase, Phase::Starting | Phase::Running | Phase::Clearing);
        match command {
            Command::Go(go) if !runs && go.incarnation > self.state.incarnation => self.start(*go),
            Command::Signal { incarnation, signal }
                if runs && incarnation == self.state.incarnation && self.main_end.is_none() =>
            {
                self.state.stop = sys::boot_ms();
                sys::signal_child(self.state.pid, signal);
                // A stopped process takes no signal but KILL until it is continued.
                sys::signal_child(self.state.pid, libc::SIGCONT);
            }
            Command::Kill { incarnation } if runs && incarnation == self.state.incarnation => {
                self.state.killed = sys::boot_ms();
                self.state.stop = if self.state.stop == 0 { self.state.killed } else { self.state.stop };
                tree::kill(&self.go.cgroup);
            }
            Command::Query => self.refresh(),
            Command::Bye => {
                // As with go; and the slot is about to be forgotten.
                self.record = Record::Kept;
                return true;
            }
            Command::Go(_) | Command::Signal { .. } | Command::Kill { .. } => {}
        }
        self.dirty = true;
        false
    }

    fn start(&mut self, go: Go) {
        self.cpu_before = sys::reaped_cpu_ms();
        self.cgroup = Cgroup::open(&go.cgroup);
        let cgroup = self.cgroup.id();
        if self.oom.0 != cgroup {
            self.oom = (cgroup, self.cgroup.oom_kills().unwrap_or(0));
        }
        let log_start = self.log.begin(&go.log, (go.log_size, go.log_files, go.log_rate));
        let exit = self.state.exit.take();
        self.state = State {
            phase: Phase::Starting,
            incarnation: go.incarnation,
            tag: go.tag.clone(),
            log_start,
            exit,
            ..State::default()
        };
        self.go = go;
        if let Some(notify) = &self.notify {
            self.go.env.push([b"NOTIFY_SOCKET=", notify.name.as_bytes()].concat());
        }
        self.started_wall = sys::wall_ms();
        self.brief = if self.go.stdin.is_empty() { 0 } else { sys::boot_ms() + u64::from(BRIEF_MS) };
        self.failed.clear();
        // Whoever says go has the last end in its own store.
        self.record = Record::Kept;
        match child::spawn(&self.go, (&self.cgroup, &mut self.stack), &self.lock, &self.oom_score) {
            Ok(Child { pid, output, failed }) => {
                self.state.pid = pid;
                if failed.is_empty() {
                    self.state.phase = Phase::Running;
                    self.state.started = sys::boot_ms();
                    self.records.write_running(&self.state);
                }
                // Of one that could not the end follows at once.
                self.failed = failed;
                // The worker has its own copy.
                (self.go.argv, self.go.env) = (Vec::new(), Vec::new());
                sys::nonblocking(&output);
                self.output = Some(output.into());
            }
            Err(why) => {
                self.failed = why;
                self.main_end = Some(sys::Reaped { pid: 0, code: None, signal: None, cpu_ms: 0, rss_kib: 0 });
                self.tree_is_empty();
            }
        }
    }

    fn refresh(&mut self) {
        let running = tree::cpu_ms(self.state.pid).filter(|_| self.state.phase == Phase::Running);
        self.state.cpu_ms = running.unwrap_or(0) + sys::reaped_cpu_ms().saturating_sub(self.cpu_before);
    }

    fn tell(&mut self) {
        let begins = matches!(self.state.phase, Phase::Starting | Phase::Running);
        if begins && sys::boot_ms() < self.brief || !std::mem::take(&mut self.dirty) {
            return;
        }
        (self.state.output, self.state.dropped) = (self.log.last, self.log.dropped);
        self.later = false;
        let Some((stream, _)) = &mut self.daemon else { return };
        let message = self.state.encode();
        // A part of a message would garble the next: a daemon that does not read is let go of and says hello again.
        if !matches!(stream.write(&message), Ok(n) if n == message.len()) {
            self.daemon = None;
        }
    }
}
