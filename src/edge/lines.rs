//! What the daemon says on its two streams, for people.
//!
//! Whoever reads them may have stopped to: a pager, Ctrl-S in a terminal, a journal that hangs. A write would wait for them, and
//! with it every pool. So each stream has a thread of its own, and what it is too slow for is left out and counted. Nothing is
//! lost with it: the same is in the history.

use std::io::Write;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

use super::clock;
use crate::model::time::Wall;

/// Lines that wait at most for a stream that takes none.
const WAITING_MAX: usize = 16_384;
/// How long what was said is waited for at the end.
const END_MAX: Duration = Duration::from_secs(1);

static OUTPUT: LazyLock<Lines> = LazyLock::new(|| Lines::over(std::io::stdout()));
static LOG: LazyLock<Lines> = LazyLock::new(|| Lines::over(std::io::stderr()));

/// Say what is so, on the standard output. Never waits.
pub fn say(text: &str) {
    OUTPUT.say(format!("{text}\n").into_bytes());
}

/// Where the log goes: each write is one line or more, to the standard error. Never waits.
pub struct Log;

impl Write for Log {
    fn write(&mut self, lines: &[u8]) -> std::io::Result<usize> {
        LOG.say(lines.to_vec());
        Ok(lines.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The time of day, in UTC, at the head of a line.
pub struct Clock;

impl Clock {
    /// As `14:05:09`.
    pub fn of(time: Wall) -> String {
        time.to_string().get(11..19).unwrap_or("--:--:--").to_owned()
    }
}

impl FormatTime for Clock {
    fn format_time(&self, line: &mut Writer<'_>) -> std::fmt::Result {
        line.write_str(&Clock::of(clock::now().wall))
    }
}

/// Wait until what was said is written, a second at most.
pub fn end() {
    OUTPUT.end();
    LOG.end();
}

enum Said {
    Text(Vec<u8>),
    End(SyncSender<()>),
}

struct Lines {
    /// None: there was no thread to be had. Nothing can be said then.
    thread: Option<SyncSender<Said>>,
    left_out: Arc<AtomicUsize>,
}

impl Lines {
    fn over(stream: impl Write + Send + 'static) -> Lines {
        let (thread, said) = sync_channel(WAITING_MAX);
        let left_out = Arc::<AtomicUsize>::default();
        let untold = left_out.clone();
        let spawned = std::thread::Builder::new().name("lines".into()).spawn(move || write(stream, &said, &untold));
        Lines { thread: spawned.is_ok().then_some(thread), left_out }
    }

    fn say(&self, text: Vec<u8>) {
        let Some(thread) = &self.thread else { return };
        if let Err(TrySendError::Full(_)) = thread.try_send(Said::Text(text)) {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&self) {
        let (tell, written) = sync_channel(1);
        if self.thread.as_ref().is_some_and(|thread| thread.try_send(Said::End(tell)).is_ok()) {
            // Over or not: nobody waits longer.
            let _written = written.recv_timeout(END_MAX);
        }
    }
}

fn write(mut stream: impl Write, said: &Receiver<Said>, left_out: &AtomicUsize) {
    while let Ok(next) = said.recv() {
        // A closed terminal must not stop the daemon.
        match next {
            Said::Text(text) => drop(stream.write_all(&text).and_then(|()| stream.flush())),
            Said::End(tell) => drop(tell.try_send(())),
        }
        let lost = left_out.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let line = format!("weir: {lost} lines were left out here: nobody read them in time\n");
            let _shown = stream.write_all(line.as_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{self, Sender};

    use super::*;

    /// A stream that takes a line when it is allowed to.
    struct Slow {
        may: Receiver<()>,
        taken: Sender<String>,
    }

    impl Write for Slow {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            let _over = self.may.recv();
            self.taken.send(String::from_utf8_lossy(text).into_owned()).map_err(std::io::Error::other)?;
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nobody_waits_for_a_stream_that_takes_nothing_and_what_is_left_out_is_counted() {
        let ((allow, may), (taken, read)) = (mpsc::channel(), mpsc::channel());
        let lines = Lines::over(Slow { may, taken });
        // One of them may be with the thread by now.
        let all = WAITING_MAX + 11;
        (0..all).for_each(|n| lines.say(format!("line {n}\n").into_bytes()));
        let lost = lines.left_out.load(Ordering::Relaxed);
        assert!(lost == 10 || lost == 11, "{lost}");
        drop(allow);
        lines.end();
        drop(lines);
        let read: Vec<String> = read.iter().collect();
        let told = read.iter().find(|line| line.starts_with("weir: ")).expect("it is told");
        assert!(told.contains(&format!("{lost} lines were left out")), "{told}");
        assert_eq!((read[0].as_str(), read.len()), ("line 0\n", all - lost + 1));
    }
}
