//! What daemon and shim say to each other, over a stream socket: a length, a kind, and fields in a fixed order.
//!
//! Both sides use this file, and a daemon may meet a shim of an older build: a field is only ever added at the end, and what
//! is missing there reads as zero. Reading is total: garbage is an error, never a panic.

pub use super::codec::{MESSAGE_MAX, Malformed, Message, split};
use super::codec::{Reader, Writer};

/// What the daemon tells a shim.
#[derive(Clone, Debug, PartialEq)]
pub enum Command {
    /// Start a worker.
    Go(Box<Go>),
    /// Send this signal, and SIGCONT, to the main process of this run.
    Signal {
        /// Which run.
        incarnation: u64,
        /// The signal's number.
        signal: i32,
    },
    /// SIGKILL the whole tree of this run.
    Kill {
        /// Which run.
        incarnation: u64,
    },
    /// End, if nothing runs.
    Bye,
    /// Say the state, counters fresh.
    Query,
}

/// Everything needed to start a worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Go {
    /// Which run.
    pub incarnation: u64,
    /// The template's hash, given back as it is.
    pub tag: String,
    /// The argument vector.
    pub argv: Vec<Vec<u8>>,
    /// The environment as `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// The working directory; empty: the shim's own.
    pub dir: Vec<u8>,
    /// Become this user and group; absent: stay.
    pub user: Option<(u32, u32)>,
    /// Supplementary groups, with `user`.
    pub groups: Vec<u32>,
    /// The file mode creation mask.
    pub umask: u32,
    /// The soft and hard limit of open files to give back.
    pub nofile: (u64, u64),
    /// Rotate the log above so many bytes.
    pub log_size: u64,
    /// Log files kept.
    pub log_files: u32,
    /// Log bytes per second.
    pub log_rate: u64,
    /// The worker's cgroup directory; empty: none.
    pub cgroup: Vec<u8>,
    /// The file that is its standard input; empty: nothing.
    pub stdin: Vec<u8>,
    /// The log file of this run; empty: the slot's.
    pub log: Vec<u8>,
}

/// What a shim tells: always its whole state.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// What it is doing.
    pub phase: Phase,
    /// The present run, or the last one.
    pub incarnation: u64,
    /// The main process; of a slot that is held, the process that took it over, if that is known.
    pub pid: i32,
    /// When exec succeeded, on the boot clock in ms.
    pub started: u64,
    /// As given in [`Go`].
    pub tag: String,
    /// READY=1 was said.
    pub ready: bool,
    /// X_WEIR_BUSY=1 was said, and not 0 since.
    pub busy: bool,
    /// The last WATCHDOG=1, boot clock in ms; 0: never.
    pub watchdog: u64,
    /// Not to be judged late before, boot clock in ms; 0: nothing said.
    pub extended: u64,
    /// The last STATUS=.
    pub status: String,
    /// The last output, boot clock in ms; 0: never.
    pub output: u64,
    /// Output bytes dropped.
    pub dropped: u64,
    /// When the stop signal was sent, boot clock in ms; 0: not.
    pub stop: u64,
    /// When the tree was sent SIGKILL, boot clock in ms; 0: not.
    pub killed: u64,
    /// User and system time of the main process and its reaped children, in ms.
    pub cpu_ms: u64,
    /// Where the present run's output begins: inode and offset.
    pub log_start: (u64, u64),
    /// How the last run ended; absent before the first end.
    pub exit: Option<Exit>,
}

/// What a shim is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Waiting for go.
    #[default]
    Waiting,
    /// Forked, exec not known yet.
    Starting,
    /// The main process runs.
    Running,
    /// The main process has ended, what it left is being killed.
    Clearing,
    /// Somebody else holds the identity lock: this shim ends.
    Held,
}

/// How a run ended.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exit {
    /// Which run.
    pub incarnation: u64,
    /// The exit code; absent if a signal ended it or it never ran.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
    /// Why exec failed; empty: it did not.
    pub failed: String,
    /// The kernel killed it for want of memory.
    pub oom: bool,
    /// Wall clock, ms since the epoch; 0: it never ran.
    pub started: i64,
    /// Wall clock, ms since the epoch.
    pub finished: i64,
    /// How long it ran, in ms.
    pub ran: u64,
    /// User and system time, in ms.
    pub cpu: u64,
    /// Peak resident memory, in KiB.
    pub rss: u64,
    /// It had been told to stop.
    pub asked: bool,
    /// Where its output begins: inode and offset.
    pub log_start: (u64, u64),
    /// Where its output ends: inode and offset.
    pub log_end: (u64, u64),
}

impl Command {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(match self {
            Command::Go(_) => 1,
            Command::Signal { .. } => 2,
            Command::Kill { .. } => 3,
            Command::Bye => 4,
            Command::Query => 5,
        });
        match self {
            Command::Go(go) => go.encode(&mut out),
            Command::Signal { incarnation, signal } => {
                out.u64(*incarnation);
                out.i64(i64::from(*signal));
            }
            Command::Kill { incarnation } => out.u64(*incarnation),
            Command::Bye | Command::Query => {}
        }
        out.done()
    }

    /// From the kind and body that [`split`] gave.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(kind: u8, body: &[u8]) -> Result<Command, Malformed> {
        let mut fields = Reader(body);
        match kind {
            1 => Go::decode(&mut fields).map(|go| Command::Go(Box::new(go))),
            2 => Ok(Command::Signal { incarnation: fields.u64()?, signal: fields.i32()? }),
            3 => Ok(Command::Kill { incarnation: fields.u64()? }),
            4 => Ok(Command::Bye),
            5 => Ok(Command::Query),
            6.. | 0 => Err(Malformed),
        }
    }
}

impl Go {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.incarnation);
        out.bytes(self.tag.as_bytes());
        out.list(&self.argv);
        out.list(&self.env);
        out.bytes(&self.dir);
        out.u64(u64::from(self.user.is_some()));
        out.u64(u64::from(self.user.unwrap_or_default().0));
        out.u64(u64::from(self.user.unwrap_or_default().1));
        out.list(&self.groups.iter().map(|group| group.to_le_bytes().to_vec()).collect::<Vec<_>>());
        out.u64(u64::from(self.umask));
        out.u64(self.nofile.0);
        out.u64(self.nofile.1);
        out.u64(self.log_size);
        out.u64(u64::from(self.log_files));
        out.u64(self.log_rate);
        out.bytes(&self.cgroup);
        out.bytes(&self.stdin);
        out.bytes(&self.log);
    }

    fn decode(fields: &mut Reader<'_>) -> Result<Go, Malformed> {
        let mut go =
            Go { incarnation: fields.u64()?, tag: fields.text()?, argv: fields.list()?, env: fields.list()?, ..Go::default() };
        go.dir = fields.bytes()?.to_vec();
        let other = fields.bool()?;
        let ids = (fields.u32()?, fields.u32()?);
        go.user = other.then_some(ids);
        for group in fields.list()? {
            go.groups.push(u32::from_le_bytes(group.try_into().map_err(|_| Malformed)?));
        }
        go.umask = fields.u32()?;
        go.nofile = fields.pair()?;
        go.log_size = fields.u64()?;
        go.log_files = fields.u32()?;
        go.log_rate = fields.u64()?;
        go.cgroup = fields.bytes()?.to_vec();
        go.stdin = fields.bytes()?.to_vec();
        go.log = fields.bytes()?.to_vec();
        Ok(go)
    }
}

const PHASES: [Phase; 5] = [Phase::Waiting, Phase::Starting, Phase::Running, Phase::Clearing, Phase::Held];

impl State {
    /// As bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Writer::new(65);
        out.u64(PHASES.iter().position(|phase| *phase == self.phase).unwrap_or(0) as u64);
        out.u64(self.incarnation);
        out.i64(i64::from(self.pid));
        out.u64(self.started);
        out.bytes(self.tag.as_bytes());
        out.u64(u64::from(self.ready));
        out.u64(u64::from(self.busy));
        out.u64(self.watchdog);
        out.u64(self.extended);
        out.bytes(self.status.as_bytes());
        out.u64(self.output);
        out.u64(self.dropped);
        out.u64(self.stop);
        out.u64(self.killed);
        out.u64(self.cpu_ms);
        out.u64(self.log_start.0);
        out.u64(self.log_start.1);
        out.u64(u64::from(self.exit.is_some()));
        if let Some(exit) = &self.exit {
            exit.encode(&mut out);
        }
        out.done()
    }

    /// From the kind and body that [`split`] gave.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn decode(kind: u8, body: &[u8]) -> Result<State, Malformed> {
        if kind != 65 {
            return Err(Malformed);
        }
        let mut fields = Reader(body);
        let phase = usize::try_from(fields.u64()?).map_err(|_| Malformed)?;
        let mut state = State {
            phase: *PHASES.get(phase).ok_or(Malformed)?,
            incarnation: fields.u64()?,
            pid: fields.i32()?,
            started: fields.u64()?,
            tag: fields.text()?,
            ready: fields.bool()?,
            busy: fields.bool()?,
            watchdog: fields.u64()?,
            extended: fields.u64()?,
            status: fields.text()?,
            output: fields.u64()?,
            dropped: fields.u64()?,
            stop: fields.u64()?,
            killed: fields.u64()?,
            cpu_ms: fields.u64()?,
            log_start: fields.pair()?,
            exit: None,
        };
        if fields.bool()? {
            state.exit = Some(Exit::decode(&mut fields)?);
        }
        Ok(state)
    }
}

impl Exit {
    fn encode(&self, out: &mut Writer) {
        out.u64(self.incarnation);
        out.maybe(self.code);
        out.maybe(self.signal);
        out.bytes(self.failed.as_bytes());
        out.u64(u64::from(self.oom));
        out.i64(self.started);
        out.i64(self.finished);
        out.u64(self.ran);
        out.u64(self.cpu);
        out.u64(self.rss);
        out.u64(u64::from(self.asked));
        for (inode, offset) in [self.log_start, self.log_end] {
            out.u64(inode);
            out.u64(offset);
        }
    }

    fn decode(fields: &mut Reader<'_>) -> Result<Exit, Malformed> {
        Ok(Exit {
            incarnation: fields.u64()?,
            code: fields.maybe()?,
            signal: fields.maybe()?,
            failed: fields.text()?,
            oom: fields.bool()?,
            started: fields.i64()?,
            finished: fields.i64()?,
            ran: fields.u64()?,
            cpu: fields.u64()?,
            rss: fields.u64()?,
            asked: fields.bool()?,
            log_start: fields.pair()?,
            log_end: fields.pair()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(command: Command) {
        let bytes = command.encode();
        let (kind, body, taken) = split(&bytes).expect("a length").expect("whole");
        assert_eq!((taken, Command::decode(kind, body)), (bytes.len(), Ok(command)));
        for cut in 0..bytes.len() {
            assert_eq!(split(&bytes[..cut]), Ok(None));
        }
    }

    fn go() -> Go {
        Go {
            incarnation: 3,
            tag: "abc".into(),
            argv: vec![b"sh".to_vec(), vec![], b"\xff".to_vec()],
            env: vec![b"A=1".to_vec()],
            dir: b"/tmp".to_vec(),
            user: Some((1, 2)),
            groups: vec![4, 5],
            umask: 0o77,
            nofile: (1024, 4096),
            log_size: 1,
            log_files: 2,
            log_rate: 3,
            cgroup: b"/c".to_vec(),
            stdin: b"/i".to_vec(),
            log: b"/l".to_vec(),
        }
    }

    fn state() -> State {
        let exit = Exit {
            incarnation: 2,
            code: Some(-1),
            signal: None,
            failed: "x".into(),
            oom: true,
            started: -5,
            finished: 7,
            ..Exit::default()
        };
        State { phase: Phase::Clearing, pid: 42, status: "busy".into(), exit: Some(exit), log_start: (8, 9), ..State::default() }
    }

    #[test]
    fn commands_and_states_round_trip() {
        round_trip(Command::Go(Box::new(go())));
        round_trip(Command::Signal { incarnation: 1, signal: 15 });
        round_trip(Command::Kill { incarnation: 9 });
        round_trip(Command::Bye);
        round_trip(Command::Query);
        let bytes = state().encode();
        let (kind, body, _) = split(&bytes).expect("a length").expect("whole");
        assert_eq!(State::decode(kind, body), Ok(state()));
    }

    /// The body of a real message with its kind.
    fn real(which: usize) -> (u8, Vec<u8>) {
        let bytes = match which {
            0 => Command::Go(Box::new(go())).encode(),
            1 => Command::Signal { incarnation: 1, signal: 15 }.encode(),
            2 => State { exit: None, ..state() }.encode(),
            _ => state().encode(),
        };
        (bytes[4], bytes[5..].to_vec())
    }

    /// What is read is a value that reads as itself when it is written again, or nothing.
    fn whole_or_nothing(kind: u8, body: &[u8]) {
        if let Ok(command) = Command::decode(kind, body) {
            round_trip(command);
        }
        if let Ok(state) = State::decode(kind, body) {
            let bytes = state.encode();
            let (kind, body, _) = split(&bytes).expect("a length").expect("whole");
            assert_eq!(State::decode(kind, body), Ok(state));
        }
    }

    /// Where the count of a list or the length of a text begins in [`go`]: tag, argv, its first item, env.
    const COUNTS: [usize; 4] = [8, 19, 27, 54];

    #[test]
    fn the_counts_are_where_they_are_looked_for() {
        let (_, body) = real(0);
        let count = |at: usize| u64::from_le_bytes(body[at..at + 8].try_into().expect("eight bytes"));
        assert_eq!(COUNTS.map(count), [3, 3, 2, 1]);
    }

    proptest! {
        #[test]
        fn a_message_that_was_changed_is_whole_or_refused(
            which in 0usize..4,
            changed in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
            kept in any::<prop::sample::Index>(),
            cut in any::<bool>(),
            more in proptest::collection::vec(any::<u8>(), 0..40),
        ) {
            let (kind, mut body) = real(which);
            for (at, byte) in changed {
                let at = at.index(body.len());
                body[at] = byte;
            }
            if cut {
                body.truncate(kept.index(body.len()));
            }
            body.extend(more);
            whole_or_nothing(kind, &body);
        }

        #[test]
        fn garbage_is_whole_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..400), kind in 0u8..80) {
            whole_or_nothing(kind, &bytes);
            if let Ok(Some((kind, body, taken))) = split(&bytes) {
                prop_assert_eq!(taken, 5 + body.len());
                whole_or_nothing(kind, body);
            }
        }

        #[test]
        fn a_count_beyond_the_body_is_refused(which in 0usize..4, beyond in any::<u64>()) {
            let (kind, mut body) = real(0);
            let (at, rest) = (COUNTS[which], body.len() - COUNTS[which] - 8);
            let count = beyond.max(rest as u64 + 1);
            body[at..at + 8].copy_from_slice(&count.to_le_bytes());
            prop_assert_eq!(Command::decode(kind, &body), Err(Malformed));
        }
    }
}
