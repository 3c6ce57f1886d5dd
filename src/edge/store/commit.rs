//! Who commits, and when: a thread of its own for whatever waits, or whoever asks while nothing does.
//!
//! A thread that is woken for one small commit, and wakes its asker for the answer, costs more than the commit on a good disk.
//! So who may wait commits at once when the writer is free, nothing waits for it, and the disk was quick last time and has not just
//! hung. Then at most one asker at a time is held, for about [`QUICK`]; on a slow disk everything goes by way of the thread.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};

use rusqlite::{Connection, Transaction, params};
use tokio::sync::watch;

use super::tasks::Tasks;
use super::{Queues, json, policies};
use crate::edge::clock;
use crate::model::batch::{Batch, Reading};
use crate::model::queue_work::{QueueAnswer, QueueCounts, QueueWork};

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
/// So many tasks that wait for others are few: an end may change all of them.
const DEPENDANTS_FEW: i64 = 64;
/// A commit that took no longer than this was quick, in microseconds.
const QUICK: i64 = 2_000;
/// A disk that took longer than this hangs now and then, in microseconds.
const HANG: i64 = 20_000;
/// So many times as long as it hung nobody is held by it again.
const HANG_REST: i64 = 10;

/// What is said when the thread has ended before its time.
pub const ENDED: &str = "the thread that writes the store has ended, so nothing can be kept any more and the daemon ends too; the \
    workers run on, and the next daemon goes on with them: start it again, and report the panic above";

type Done = Box<dyn FnOnce(Committed) + Send>;

/// Why something is not on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Untaken {
    /// The store takes nothing now, as on a full disk.
    All(String),
    /// There is something wrong with this; the store takes other work.
    This(String),
}

impl Untaken {
    /// Why.
    pub fn why(self) -> String {
        match self {
            Untaken::All(why) | Untaken::This(why) => why,
        }
    }
}

/// What came of work that was committed, piece by piece.
pub type Committed = Result<Vec<QueueAnswer>, Untaken>;

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
    /// The thread has ended before its time: nothing is committed any more.
    ended: watch::Sender<bool>,
}

struct Writer {
    db: Connection,
    queues: Queues,
    /// The last commit was quick.
    quick: bool,
    /// The disk has hung: until then, in microseconds, nobody but the thread is held by it.
    rests_until: i64,
}

impl Store {
    /// A writer over this connection, and its thread, which ends when nobody has a handle any more.
    pub(super) fn over(db: Connection, queues: Queues) -> std::io::Result<Store> {
        let writer = Mutex::new(Writer { db, queues, quick: false, rests_until: 0 });
        let shared = Arc::new(Shared { writer, waiting: AtomicUsize::new(0), ended: watch::Sender::new(false) });
        let (inbox, waiting) = mpsc::channel();
        let kept = shared.clone();
        std::thread::Builder::new().name("store".into()).spawn(move || {
            // Whoever is told may panic too. What comes then is refused, and does not wait in vain.
            let work = AssertUnwindSafe(|| run(&kept, waiting));
            if catch_unwind(work).is_err() {
                kept.ended.send_replace(true);
            }
        })?;
        Ok(Store { inbox, shared })
    }

    /// Wait until the thread has ended before its time: from then on nothing is committed.
    pub async fn ended(&self) {
        let mut ended = self.shared.ended.subscribe();
        if ended.wait_for(|ended| *ended).await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Commit `batch`, then call `done`, both on the store's thread. Never waits.
    pub fn commit(&self, batch: Batch, done: impl FnOnce(Committed) + Send + 'static) {
        self.hand_over((batch, Box::new(done)));
    }

    /// Commit `batch`, then call `done`: before this returns where that is quick, else as [`Store::commit`] does. For what is
    /// small, by who may be held as long as a quick disk takes.
    pub fn commit_here(&self, batch: Batch, done: impl FnOnce(Committed) + Send + 'static) {
        let work: Work = (batch, Box::new(done));
        // Nothing overtakes: what waits goes first.
        let idle = self.shared.waiting.load(Ordering::Acquire) == 0;
        match self.shared.writer.try_lock() {
            Ok(mut writer) if idle && writer.may_hold() && writer.is_short(&work.0) => {
                // As on the thread: whoever is told may panic.
                let committed = catch_unwind(AssertUnwindSafe(|| writer.commit(vec![work])));
                if committed.is_err() {
                    self.shared.ended.send_replace(true);
                }
            }
            Ok(_) | Err(_) => self.hand_over(work),
        }
    }

    fn hand_over(&self, work: Work) {
        self.shared.waiting.fetch_add(1, Ordering::AcqRel);
        if let Err(mpsc::SendError((_, done))) = self.inbox.send(work) {
            done(Err(Untaken::All("the store has ended".into())));
        }
    }
}

fn run(shared: &Shared, inbox: mpsc::Receiver<Work>) {
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
    /// The disk is quick, and has not just hung.
    fn may_hold(&self) -> bool {
        self.quick && clock::monotonic_micros() >= self.rests_until
    }

    /// No end in it takes more than a few others with it, as no more wait for any.
    fn is_short(&self, batch: &Batch) -> bool {
        let dependants = || {
            let mut few = self.db.prepare_cached("SELECT count(*) FROM (SELECT 1 FROM task_after LIMIT ?1)")?;
            few.query_row([DEPENDANTS_FEW + 1], |row| row.get::<_, i64>(0))
        };
        let ends = batch.queue.iter().any(|work| matches!(work, QueueWork::End { .. }));
        !ends || dependants().is_ok_and(|n| n <= DEPENDANTS_FEW)
    }

    fn took(&mut self, micros: i64, now: i64) {
        self.quick = micros <= QUICK;
        if micros > HANG {
            self.rests_until = now + HANG_REST * micros;
        }
    }

    /// In one transaction; then each is told.
    fn commit(&mut self, group: Vec<Work>) {
        let begun = clock::monotonic_micros();
        let (batches, told): (Vec<Batch>, Vec<Done>) = group.into_iter().unzip();
        let written = write(&mut self.db, &self.queues, &batches);
        let ended = clock::monotonic_micros();
        self.took(ended - begun, ended);
        match written {
            Ok((answers, touched)) => {
                touched.into_iter().for_each(|(pool, counts)| (self.queues.changed)(&pool, counts));
                told.into_iter().zip(answers).for_each(|(done, answer)| done(answer.map_err(Untaken::This)));
            }
            Err(error) => told.into_iter().for_each(|done| done(Err(Untaken::All(error.to_string())))),
        }
    }
}

type Answer = Result<Vec<QueueAnswer>, String>;
type Written = (Vec<Answer>, BTreeMap<String, QueueCounts>);

/// Commit what can be committed of these batches. One that fails is answered with its own error, and spoils no other. To be
/// able to undo one alone costs more than to do it, so that is only made possible where one has failed.
fn write(db: &mut Connection, queues: &Queues, batches: &[Batch]) -> rusqlite::Result<Written> {
    if let Some(written) = attempt(db, queues, batches, false)? {
        return Ok(written);
    }
    attempt(db, queues, batches, true).map(Option::unwrap_or_default)
}

/// In one transaction. Where they are not kept `apart` one that fails undoes all, and the answer is none.
fn attempt(db: &mut Connection, queues: &Queues, batches: &[Batch], apart: bool) -> rusqlite::Result<Option<Written>> {
    let turn = db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
    let tables = Tasks::new(&turn);
    let mut answers = Vec::with_capacity(batches.len());
    for batch in batches {
        if apart {
            turn.prepare_cached("SAVEPOINT batch")?.execute([])?;
        }
        let answer = guarded(|| {
            one(&turn, batch)?;
            batch.queue.iter().map(|work| (queues.work)(&tables, work, batch.at)).collect()
        });
        match (&answer, apart) {
            (Ok(_), false) => {}
            (Err(_), false) => return Ok(None),
            (Ok(_), true) => tables.keep(),
            (Err(error), true) => {
                tracing::error!(error, "the store cannot take a batch; the others with it are taken");
                tables.undo();
                turn.prepare_cached("ROLLBACK TO batch")?.execute([])?;
            }
        }
        if apart {
            turn.prepare_cached("RELEASE batch")?.execute([])?;
        }
        answers.push(answer);
    }
    let touched = tables.finish()?;
    turn.commit()?;
    Ok(Some((answers, touched)))
}

/// What comes of the work, or what is wrong with it; a panic is wrong with it too.
fn guarded(work: impl FnOnce() -> rusqlite::Result<Vec<QueueAnswer>>) -> Answer {
    match catch_unwind(AssertUnwindSafe(work)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
            Err(format!("a panic in the store: {}", words.unwrap_or("no words")))
        }
    }
}

fn one(turn: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    for (slot, record) in &batch.slots {
        match record {
            // Written over, not replaced by another row, so that its index stays as it is: this comes with every task.
            Some(record) => turn
                .prepare_cached("INSERT INTO slots VALUES (?1, ?2, ?3) ON CONFLICT DO UPDATE SET body = excluded.body")?
                .execute(params![slot.pool, slot.worker, json(record)])?,
            None => turn
                .prepare_cached("DELETE FROM slots WHERE pool = ?1 AND worker = ?2")?
                .execute(params![slot.pool, slot.worker])?,
        };
    }
    for (name, pool) in &batch.pools {
        match pool {
            Some(pool) => turn
                .prepare_cached("INSERT INTO pools VALUES (?1, ?2) ON CONFLICT DO UPDATE SET body = excluded.body")?
                .execute(params![name, json(pool)])?,
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
    use crate::model::status::EventObject;
    use crate::model::task::{Task, Token};
    use crate::model::time::Now;

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

    #[test]
    fn a_disk_that_has_hung_holds_nobody_for_a_while_however_quick_it_is_now() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(&dir);
        let (mut writer, now) = (store.shared.writer.lock().expect("whole"), clock::monotonic_micros());
        let mut after = |micros: &[i64], since: i64| {
            micros.iter().for_each(|took| writer.took(*took, now - since));
            writer.may_hold()
        };
        assert!(after(&[QUICK], 0));
        assert!(!after(&[QUICK + 1], 0));
        assert!(after(&[HANG, QUICK], 0), "a little slow, and quick again");
        assert!(!after(&[3_000_000, QUICK, QUICK], 0));
        assert!(!after(&[3_000_000, QUICK], 25_000_000));
        assert!(after(&[3_000_000, QUICK], 31_000_000));
    }

    #[test]
    fn an_end_that_may_take_many_others_with_it_holds_nobody_up() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(&dir);
        let mine = thread::current().id();
        let wait = |later: std::ops::RangeInclusive<i64>| {
            let writer = store.shared.writer.lock().expect("whole");
            later.for_each(|n| assert_eq!(writer.db.execute("INSERT INTO task_after VALUES (1, ?1)", [n]), Ok(1)));
        };
        let by = |end: bool| {
            let work = if end { vec![end_of_one()] } else { Vec::new() };
            let (tell, told) = mpsc::channel();
            // However long the one before took: the thread holds the lock until it is through.
            let mut writer = store.shared.writer.lock().expect("whole");
            (writer.quick, writer.rests_until) = (true, 0);
            drop(writer);
            store.commit_here(Batch { queue: work, ..Batch::default() }, move |_| {
                tell.send(thread::current().id()).expect("the test waits");
            });
            told.recv().expect("told")
        };
        wait(2..=DEPENDANTS_FEW + 1);
        assert_eq!(by(true), mine, "few wait");
        wait(100..=100);
        assert_ne!(by(true), mine, "one more");
        assert_eq!(by(false), mine, "nothing ends");
    }

    fn end_of_one() -> QueueWork {
        let token = Token { pool: "p".into(), id: 1, epoch: 1, nonce: 1 };
        let (end, output, queue) = Default::default();
        QueueWork::End { token, end, result: None, output, queue, next: None }
    }

    #[tokio::test]
    async fn a_panic_of_whoever_is_told_ends_the_store_wherever_it_is() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(&dir);
        store.shared.writer.lock().expect("whole").quick = true;
        store.commit_here(Batch::default(), |_| panic!("this one panics"));
        store.ended().await;
    }

    /// Work that fails by the name of its pool, after it has added a task.
    fn fragile() -> Queues {
        let work = |tables: &Tasks<'_>, work: &QueueWork, _: Now| {
            let QueueWork::Pause { pool, .. } = work else { return Ok(QueueAnswer::Done) };
            tables.insert(&mut Task { pool: "p".into(), ..Task::default() }, 0)?;
            assert_ne!(pool, "panic", "this one panics");
            if pool == "bad" { Err(rusqlite::Error::QueryReturnedNoRows) } else { Ok(QueueAnswer::Done) }
        };
        Queues { work, changed: Box::new(|_, _| {}) }
    }

    fn batch(pool: &str) -> Batch {
        let mut event = EventObject::default();
        event.metadata.name = pool.into();
        let queue = vec![QueueWork::Pause { pool: pool.into(), until: None, why: String::new() }];
        Batch { events: vec![event], queue, ..Batch::default() }
    }

    #[test]
    fn a_batch_that_fails_or_panics_is_answered_with_its_own_error_and_spoils_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("weir.db");
        let (store, _) = Store::open(&path, "a boot", fragile()).expect("opens");
        let (tell, told) = mpsc::channel();
        let all = ["one", "bad", "two", "panic", "three"];
        // They wait together.
        let held = store.shared.writer.lock().expect("whole");
        for pool in all {
            let tell = tell.clone();
            store.commit(batch(pool), move |answer| tell.send((pool, answer)).expect("the test waits"));
        }
        drop(held);
        let answers: BTreeMap<&str, Committed> = (0..all.len()).map(|_| told.recv().expect("answered")).collect();
        let good: Vec<&str> = answers.iter().filter(|(_, answer)| answer.is_ok()).map(|(pool, _)| *pool).collect();
        assert_eq!(good, ["one", "three", "two"], "{answers:?}");
        let panicked = matches!(&answers["panic"], Err(Untaken::This(why)) if why.contains("this one panics"));
        assert!(panicked, "{answers:?}");
        for alone in ["bad", "panic", "four"] {
            let tell = tell.clone();
            store.commit(batch(alone), move |answer| tell.send((alone, answer)).expect("the test waits"));
            assert_eq!(told.recv().expect("answered").1.is_ok(), alone == "four");
        }
        drop(store);
        let (_, stored) = Store::open(&path, "a boot", fragile()).expect("opens again");
        let names: Vec<&str> = stored.events.iter().map(|event| event.metadata.name.as_str()).collect();
        assert_eq!(names, ["one", "two", "three", "four"]);
        assert_eq!(stored.counts.iter().map(|(_, counts)| counts.queued()).sum::<u64>(), 4, "{:?}", stored.counts);
    }

    #[tokio::test]
    async fn a_thread_that_ends_before_its_time_is_heard_of() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = store(&dir);
        let early = tokio::time::timeout(std::time::Duration::from_millis(20), store.ended()).await;
        assert!(early.is_err(), "it works");
        store.commit(Batch::default(), |_| panic!("whoever is told panics"));
        store.ended().await;
        let (tell, told) = mpsc::channel();
        store.commit(Batch::default(), move |answer| tell.send(answer).expect("the test waits"));
        assert!(told.recv().expect("answered").is_err());
    }
}
