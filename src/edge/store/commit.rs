//! Who commits, and when: a thread of its own for whatever waits, or whoever asks while nothing does.
//!
//! A thread that is woken for one small commit, and wakes its asker for the answer, costs more than the commit on a good disk.
//! So who may wait commits at once when the writer is free, nothing waits for it and the disk was quick last time. Then
//! at most one asker at a time is held, for about [`QUICK`]; on a slow disk everything goes by way of the thread.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::{Connection, Transaction, params};

use super::tasks::Tasks;
use super::{Queues, json, policies};
use crate::edge::clock;
use crate::model::batch::{Batch, Reading};
use crate::model::queue_work::{QueueAnswer, QueueCounts};

/// Events kept; older ones are removed as new ones come.
const EVENTS_KEPT: i64 = 10_000;
/// Readings kept; older ones are removed as new ones come.
const READINGS_KEPT: i64 = 500_000;
/// Readings older than this are removed as new ones come, in milliseconds.
const READINGS_AGE: i64 = 7 * 86_400_000;
/// Old readings looked at for one new transaction: more than any transaction adds on average, so that the file stays bounded.
const READINGS_SWEPT: i64 = 200;
/// Batches joined in one transaction at most.
const GROUP_MAX: usize = 512;
/// A commit that took no longer than this was quick, in microseconds.
const QUICK: i64 = 2_000;

type Done = Box<dyn FnOnce(Result<Vec<QueueAnswer>, String>) + Send>;

/// What is to be committed, and whom to tell.
type Work = (Batch, Done);

/// A handle on the store.
#[derive(Clone)]
pub struct Store {
    inbox: mpsc::Sender<Work>,
    shared: Arc<Shared>,
}

struct Shared {
    writer: Mutex<Writer>,
    /// What was given to the thread and is not committed.
    waiting: AtomicUsize,
}

struct Writer {
    db: Connection,
    queues: Queues,
    /// The last commit was quick.
    quick: bool,
}

impl Store {
    /// A writer over this connection, and its thread, which ends when nobody has a handle any more.
    pub(super) fn over(db: Connection, queues: Queues) -> std::io::Result<Store> {
        let shared = Arc::new(Shared { writer: Mutex::new(Writer { db, queues, quick: false }), waiting: AtomicUsize::new(0) });
        let (inbox, waiting) = mpsc::channel();
        let kept = shared.clone();
        std::thread::Builder::new().name("store".into()).spawn(move || run(&kept, &waiting))?;
        Ok(Store { inbox, shared })
    }

    /// Commit `batch`, then call `done`, both on the store's thread. Never waits.
    pub fn commit(&self, batch: Batch, done: impl FnOnce(Result<Vec<QueueAnswer>, String>) + Send + 'static) {
        self.hand_over((batch, Box::new(done)));
    }

    /// Commit `batch`, then call `done`: before this returns where that is quick, else as [`Store::commit`] does. For what is
    /// small, by who may be held as long as a quick disk takes.
    pub fn commit_here(&self, batch: Batch, done: impl FnOnce(Result<Vec<QueueAnswer>, String>) + Send + 'static) {
        let work: Work = (batch, Box::new(done));
        // Nothing overtakes: what waits goes first.
        let idle = self.shared.waiting.load(Ordering::Acquire) == 0;
        match self.shared.writer.try_lock() {
            Ok(mut writer) if idle && writer.quick => writer.commit(vec![work]),
            Ok(_) | Err(_) => self.hand_over(work),
        }
    }

    fn hand_over(&self, work: Work) {
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        if let Err(mpsc::SendError((_, done))) = self.inbox.send(work) {
            done(Err("the store has ended".into()));
        }
    }
}

fn run(shared: &Shared, inbox: &mpsc::Receiver<Work>) {
    while let Ok(first) = inbox.recv() {
        let mut writer = shared.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut group = vec![first];
        while group.len() < GROUP_MAX
            && let Ok(next) = inbox.try_recv()
        {
            group.push(next);
        }
        let taken = group.len();
        writer.commit(group);
        shared.waiting.fetch_sub(taken, Ordering::AcqRel);
    }
}

impl Writer {
    /// In one transaction; then each is told.
    fn commit(&mut self, group: Vec<Work>) {
        let begun = clock::monotonic_micros();
        let written = write(&mut self.db, &self.queues, group.iter().map(|(batch, _)| batch));
        self.quick = clock::monotonic_micros() - begun <= QUICK;
        match written {
            Ok((answers, touched)) => {
                touched.into_iter().for_each(|(pool, counts)| (self.queues.changed)(&pool, counts));
                group.into_iter().zip(answers).for_each(|((_, done), answers)| done(Ok(answers)));
            }
            Err(error) => group.into_iter().for_each(|(_, done)| done(Err(error.to_string()))),
        }
    }
}

type Written = (Vec<Vec<QueueAnswer>>, BTreeMap<String, QueueCounts>);

fn write<'a>(db: &mut Connection, queues: &Queues, batches: impl Iterator<Item = &'a Batch>) -> rusqlite::Result<Written> {
    let turn = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let tables = Tasks::new(&turn);
    let mut answers = Vec::new();
    for batch in batches {
        one(&turn, batch)?;
        answers.push(batch.queue.iter().map(|work| (queues.work)(&tables, work, batch.at)).collect::<rusqlite::Result<_>>()?);
    }
    let touched = tables.finish()?;
    turn.commit()?;
    Ok((answers, touched))
}

fn one(turn: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    for (slot, record) in &batch.slots {
        match record {
            Some(record) => turn.prepare_cached("INSERT OR REPLACE INTO slots VALUES (?1, ?2, ?3)")?.execute(params![
                slot.pool,
                slot.worker,
                json(record)
            ])?,
            None => turn
                .prepare_cached("DELETE FROM slots WHERE pool = ?1 AND worker = ?2")?
                .execute(params![slot.pool, slot.worker])?,
        };
    }
    for (name, pool) in &batch.pools {
        match pool {
            Some(pool) => {
                turn.prepare_cached("INSERT OR REPLACE INTO pools VALUES (?1, ?2)")?.execute(params![name, json(pool)])?
            }
            None => turn.prepare_cached("DELETE FROM pools WHERE name = ?1")?.execute(params![name])?,
        };
    }
    if let Some(catalogue) = &batch.catalogue {
        turn.prepare_cached("INSERT OR REPLACE INTO meta VALUES ('catalogue', ?1)")?.execute(params![catalogue])?;
    }
    for event in &batch.events {
        // The name says which end, start or change it tells of: told once, however often it is handed in.
        turn.prepare_cached("INSERT OR IGNORE INTO events (name, body) VALUES (?1, ?2)")?
            .execute(params![event.metadata.name, json(event)])?;
    }
    if !batch.events.is_empty() {
        turn.prepare_cached("DELETE FROM events WHERE serial <= (SELECT max(serial) FROM events) - ?1")?
            .execute(params![EVENTS_KEPT])?;
    }
    policies::write(turn, batch)?;
    keep(turn, &batch.readings)
}

/// Add readings, and remove some of those that are too many or too old.
fn keep(turn: &Transaction<'_>, readings: &[Reading]) -> rusqlite::Result<()> {
    let Some(newest) = readings.iter().map(|reading| reading.at.0).max() else { return Ok(()) };
    for reading in readings {
        turn.prepare_cached("INSERT INTO readings (pool, \"trigger\", at_ms, value) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![reading.pool, reading.trigger, reading.at.0, reading.value])?;
    }
    turn.prepare_cached("DELETE FROM readings WHERE serial <= (SELECT max(serial) FROM readings) - ?1")?
        .execute(params![READINGS_KEPT])?;
    turn.prepare_cached("DELETE FROM readings WHERE at_ms < ?1 AND serial < (SELECT min(serial) FROM readings) + ?2")?
        .execute(params![newest - READINGS_AGE, READINGS_SWEPT])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::thread::{self, ThreadId};

    use super::super::Queues;
    use super::*;

    fn store(dir: &tempfile::TempDir) -> Store {
        let queues = Queues { work: |_, _, _| Ok(QueueAnswer::Done), changed: Box::new(|_, _| {}) };
        Store::open(&dir.path().join("weir.db"), "a boot", queues).expect("opens").0
    }

    /// Commit something, and tell which thread did.
    fn here(store: &Store) -> mpsc::Receiver<ThreadId> {
        let (tell, told) = mpsc::channel();
        store.commit_here(Batch::default(), move |result| {
            result.expect("committed");
            tell.send(thread::current().id()).expect("the test waits");
        });
        told
    }

    #[test]
    fn whoever_asks_commits_only_while_nothing_else_waits_and_the_disk_is_quick() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(&dir);
        let (mine, quick) = (thread::current().id(), |is: bool| store.shared.writer.lock().expect("whole").quick = is);
        quick(true);
        assert_eq!(here(&store).try_recv(), Ok(mine), "before the call returns");
        quick(false);
        assert_ne!(here(&store).recv(), Ok(mine), "the last commit was slow");
        quick(true);
        store.shared.waiting.fetch_add(1, Ordering::AcqRel);
        assert_ne!(here(&store).recv(), Ok(mine), "something waits and is not overtaken");
        store.shared.waiting.fetch_sub(1, Ordering::AcqRel);
        let held = store.shared.writer.lock().expect("whole");
        let told = here(&store);
        assert!(told.try_recv().is_err(), "the writer is at work: nobody is held up");
        drop(held);
        assert_ne!(told.recv(), Ok(mine));
    }
}
