//! Telling people and bots of events: each receiver has a line of its own, and nobody who tells ever waits for one.
//!
//! A line is a bounded queue and a task that sends one message after another, tries again for a while, and then gives up with a
//! line in the log. Beyond a rate, and when the line is full, messages are dropped; the next one that arrives says how many. A line
//! without messages costs nothing. What is in the lines when the daemon ends is not told.

mod bucket;
mod send;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;

use serde::Serialize;
use tokio::sync::mpsc::{self, Receiver, Sender};

use self::bucket::Bucket;
use crate::model::pool::Notify;
use crate::model::status::EventObject;
use crate::model::text;
use crate::model::time::{Moment, Span};

/// How much one receiver is told, and how hard it is tried.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Messages that wait at most.
    pub waiting: usize,
    /// Messages at once.
    pub burst: u64,
    /// After them, one each time this has passed.
    pub every: Span,
    /// Attempts for one message.
    pub attempts: u32,
    /// The wait after the first attempt; each one after it is twice as long.
    pub first_wait: Span,
    /// The longest wait.
    pub longest_wait: Span,
}

impl Default for Limits {
    fn default() -> Limits {
        let (first_wait, longest_wait) = (Span::secs(1), Span::secs(60));
        Limits { waiting: 100, burst: 20, every: Span::secs(3), attempts: 6, first_wait, longest_wait }
    }
}

/// All lines.
#[derive(Debug, Default)]
pub struct Notifier {
    limits: Limits,
    lines: BTreeMap<(String, usize), Line>,
}

/// The way to one receiver.
#[derive(Debug)]
struct Line {
    how: Notify,
    bucket: Bucket,
    messages: Sender<Waiting>,
    /// Since the last message that found room.
    dropped: u64,
}

/// A message in a line, and how many before it found no room.
type Waiting = (EventObject, u64);

/// What a receiver is told.
#[derive(Serialize)]
struct Message<'a> {
    pool: &'a str,
    /// The event in one line.
    text: String,
    /// Messages to this receiver before this one that it was not told.
    dropped: u64,
    #[serde(flatten)]
    event: &'a EventObject,
}

impl Notifier {
    /// With other limits.
    pub fn new(limits: Limits) -> Notifier {
        Notifier { limits, lines: BTreeMap::new() }
    }

    /// Tell this receiver, the pool's entry of this number, some time. Returns at once; inside a runtime.
    pub fn tell(&mut self, (pool, entry): (&str, usize), how: &Notify, event: &EventObject, now: Moment) {
        let key = (pool.to_owned(), entry);
        if self.lines.get(&key).is_none_or(|line| line.how != *how) {
            // A line of another receiver sends what it has, and ends.
            self.lines.insert(key.clone(), open(key.clone(), how.clone(), self.limits));
        }
        let Some(line) = self.lines.get_mut(&key) else { return };
        if line.bucket.take(now) && line.messages.try_send((event.clone(), line.dropped)).is_ok() {
            line.dropped = 0;
            return;
        }
        line.dropped += 1;
        if line.dropped == 1 {
            tracing::warn!(pool, entry, "notify: more events than are told; the rest is counted and dropped");
        }
    }

    /// The pool is gone, or has only so many entries now: the lines of the others end when they are empty.
    pub fn keep(&mut self, pool: &str, entries: usize) {
        self.lines.retain(|(of, entry), _| of != pool || *entry < entries);
    }
}

fn open((pool, entry): (String, usize), how: Notify, limits: Limits) -> Line {
    let (messages, waiting) = mpsc::channel(limits.waiting);
    tokio::spawn(Worker { pool, entry, how: how.clone(), limits }.run(waiting));
    Line { how, bucket: Bucket::new(limits.burst, limits.every), messages, dropped: 0 }
}

/// Sends what is in a line.
struct Worker {
    pool: String,
    entry: usize,
    how: Notify,
    limits: Limits,
}

impl Worker {
    async fn run(self, mut messages: Receiver<Waiting>) {
        let mut missed = 0;
        while let Some((event, dropped)) = messages.recv().await {
            missed += dropped;
            match self.deliver(&event, missed).await {
                Ok(()) => missed = 0,
                Err(words) => {
                    missed += 1;
                    let (pool, entry, reason) = (&self.pool, self.entry, &event.reason);
                    tracing::warn!(pool, entry, reason, "notify: given up: {words}");
                }
            }
        }
    }

    async fn deliver(&self, event: &EventObject, dropped: u64) -> Result<(), String> {
        let message = message(&self.pool, event, dropped);
        let mut wait = self.limits.first_wait;
        for attempt in 1.. {
            let failed = match send::once(&self.how, &message).await {
                Ok(()) => return Ok(()),
                Err(failed) => failed,
            };
            if !failed.again || attempt >= self.limits.attempts {
                return Err(shown(&failed.words));
            }
            let asked = failed.after.unwrap_or(Span(0)).max(jittered(wait, &event.metadata.name, attempt));
            tokio::time::sleep(asked.min(self.limits.longest_wait).duration()).await;
            wait = Span(wait.0.saturating_mul(2)).min(self.limits.longest_wait);
        }
        Ok(())
    }
}

fn message(pool: &str, event: &EventObject, dropped: u64) -> Vec<u8> {
    let text = shown(&format!("{} {}: {}", event.regarding, event.reason, event.note));
    let message = Message { pool, text, dropped, event };
    serde_json::to_vec(&message).expect("an event is plain data with string keys")
}

/// Between half of it and all of it: many that failed at once do not come again at once.
fn jittered(wait: Span, name: &str, attempt: u32) -> Span {
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325 ^ u64::from(attempt), |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    Span(wait.0 / 2 + (seed >> 16) % (wait.0 / 2 + 1))
}

fn shown(words: &str) -> String {
    text::marked(words).chars().take(1000).collect()
}
