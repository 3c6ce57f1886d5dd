//! SQLite with one writer and group commit.
//!
//! Whatever waits when the writer is free is committed in one transaction (WAL, `synchronous=FULL`), and only then is each
//! part told so. Nobody else writes the file. A commit that fails changes nothing and is told as failed; what to do then is
//! not decided here.

mod commit;
mod counts;
mod list;
mod place;
mod policies;
pub mod read;
mod row;
mod schema;
pub mod tasks;

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OptionalExtension, params};

pub use self::commit::{Committed, ENDED, Store, Untaken};
use self::tasks::Tasks;
use crate::model::batch::Stored;
use crate::model::line::Fired;
use crate::model::plan::Record;
use crate::model::queue_work::{QueueAnswer, QueueCounts, QueueWork};
use crate::model::task::Task;
use crate::model::time::{Now, Wall};
use crate::model::worker::SlotId;

/// The oldest SQLite without the WAL-reset corruption.
const SQLITE_MIN: i32 = 3_051_003;
/// Statements kept ready: more than there are, or each would be read and planned again for every task.
const STATEMENTS: usize = 128;
/// Told a pool's name, and what stands in its queue.
pub type Changed = Box<dyn Fn(&str, QueueCounts) + Send>;

/// What is done with the queues: given by whoever decides, done inside the writer's transactions.
pub struct Queues {
    /// Does one piece of work.
    pub work: fn(&Tasks<'_>, &QueueWork, Now) -> rusqlite::Result<QueueAnswer>,
    /// Told what stands in a queue that changed, after the transaction and before its answers.
    pub changed: Changed,
}

impl Store {
    /// Open or create the file at `path`, read what it holds, and start the thread. `boot` is this boot's id: moments of
    /// another boot mean nothing and are removed.
    ///
    /// # Errors
    /// A text that says what is wrong with the file.
    pub fn open(path: &Path, boot: &str, queues: Queues) -> Result<(Store, Stored), String> {
        let said = |e: rusqlite::Error| format!("{}: {e}", path.display());
        if rusqlite::version_number() < SQLITE_MIN {
            return Err(format!(
                "SQLite {} is linked, which can corrupt its WAL: 3.51.3 or newer is needed",
                rusqlite::version()
            ));
        }
        private(path).map_err(|e| format!("{}: {e}", path.display()))?;
        let mut db = Connection::open(path).map_err(said)?;
        db.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=5000; PRAGMA foreign_keys=ON; PRAGMA trusted_schema=OFF; PRAGMA cache_size=-4096; PRAGMA wal_autocheckpoint=4000;").map_err(said)?;
        plan_once(&db).map_err(said)?;
        schema::migrate(&mut db).map_err(|e| format!("{}: {e}", path.display()))?;
        let stored = load(&db, boot).map_err(said)?;
        let store = Store::over(db, queues).map_err(|e| e.to_string())?;
        Ok((store, stored))
    }
}

/// Statements are kept ready, and planned once: else SQLite plans those anew whose values could mean another partial index.
fn plan_once(db: &Connection) -> rusqlite::Result<()> {
    db.set_prepared_statement_cache_capacity(STATEMENTS);
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// The file is its owner's alone; what SQLite puts beside it takes its mode.
fn private(path: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
    let file = std::fs::OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)?;
    file.set_permissions(std::fs::Permissions::from_mode(0o600))
}

fn json(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("rows are plain data with string keys")
}

fn load(db: &Connection, boot: &str) -> rusqlite::Result<Stored> {
    // What cannot be read is not what is not there: without its catalogue a daemon would hold nothing of what it accepted.
    let value = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let meta = |key: &str| db.query_row("SELECT value FROM meta WHERE key = ?1", [key], value).optional();
    let same_boot = meta("boot")?.as_deref() == Some(boot);
    let version = meta("version")?.and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    // Each daemon serves at most this many versions; the next one starts above them all.
    let next = version + 1_000_000_000;
    db.execute("INSERT OR REPLACE INTO meta VALUES ('boot', ?1), ('version', ?2)", params![boot, next.to_string()])?;
    let mut slots: Vec<(SlotId, Record)> = rows(db, "SELECT pool, worker, body FROM slots", |row| {
        Ok((SlotId { pool: row.get(0)?, worker: row.get(1)? }, row.get::<_, String>(2)?))
    })?;
    if !same_boot {
        slots.iter_mut().for_each(|(_, record)| record.next_start = None);
    }
    let events: Vec<((), _)> =
        rows(db, "SELECT body FROM (SELECT serial, body FROM events ORDER BY serial DESC LIMIT 1000) ORDER BY serial", |row| {
            Ok(((), row.get::<_, String>(0)?))
        })?;
    let stored_policies = policies::load(db)?;
    Ok(Stored {
        catalogue: meta("catalogue")?,
        pools: rows(db, "SELECT name, body FROM pools", |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?,
        used: policies::used(db, &stored_policies)?,
        policies: stored_policies,
        slots,
        events: events.into_iter().map(|((), event)| event).collect(),
        leased: leased(db, same_boot)?,
        counts: counts(db)?,
        schedules: schedules(db)?,
        version: next,
    })
}

/// Tasks that a worker had.
fn leased(db: &Connection, same_boot: bool) -> rusqlite::Result<Vec<Task>> {
    let sql = format!("SELECT {} FROM tasks WHERE phase = 4", row::COLUMNS);
    let mut leased = db.prepare(&sql)?.query_map([], row::read)?.collect::<rusqlite::Result<Vec<Task>>>()?;
    if !same_boot {
        leased.iter_mut().for_each(|task| (task.begun, task.deadline, task.lease_until) = (None, None, None));
    }
    Ok(leased)
}

fn counts(db: &Connection) -> rusqlite::Result<Vec<(String, QueueCounts)>> {
    let sql = "SELECT pool FROM task_counts UNION SELECT pool FROM queues";
    let pools = db.prepare(sql)?.query_map([], |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<String>>>()?;
    pools.into_iter().map(|pool| counts::counts(db, &pool).map(|counts| (pool, counts))).collect()
}

type Beats = Vec<((String, String), Fired)>;

fn schedules(db: &Connection) -> rusqlite::Result<Beats> {
    let mut query = db.prepare("SELECT pool, name, last, count, beat FROM task_schedules")?;
    let read = |row: &rusqlite::Row<'_>| {
        let fired = Fired { last: Wall(row.get(2)?), count: row.get(3)?, beat: row.get(4)? };
        Ok(((row.get(0)?, row.get(1)?), fired))
    };
    query.query_map([], read)?.collect()
}

/// Rows whose body still reads; one that does not is left in the file and passed over, so that nothing else is held up.
fn rows<K, V: serde::de::DeserializeOwned>(
    db: &Connection,
    sql: &str,
    read: impl Fn(&rusqlite::Row<'_>) -> rusqlite::Result<(K, String)>,
) -> rusqlite::Result<Vec<(K, V)>> {
    let mut query = db.prepare(sql)?;
    let found = query.query_map([], |row| read(row))?;
    let mut all = Vec::new();
    for row in found {
        let (key, body) = row?;
        match serde_json::from_str(&body) {
            Ok(value) => all.push((key, value)),
            Err(error) => tracing::warn!(%error, "a stored row does not read and is passed over"),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::model::batch::{Batch, Reading};
    use crate::model::time::Moment;

    fn commit(store: &Store, batch: Batch) -> Committed {
        let (tell, told) = mpsc::channel();
        store.commit(batch, move |result| tell.send(result).expect("the test waits"));
        told.recv().expect("the store answers")
    }

    fn open(path: &Path, boot: &str) -> Result<(Store, Stored), String> {
        let queues = Queues { work: |_, _, _| Ok(QueueAnswer::Done), changed: Box::new(|_, _| {}) };
        Store::open(path, boot, queues)
    }

    fn event(name: &str) -> crate::model::status::EventObject {
        let mut event = crate::model::status::EventObject::default();
        event.metadata.name = name.into();
        event
    }

    #[test]
    fn what_was_committed_is_there_after_reopening_and_each_event_once() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("weir.db");
        let slot = SlotId { pool: "p".into(), worker: "p-0".into() };
        let record = Record { incarnation: 7, next_start: Some(Moment(5)), ..Record::default() };
        let (store, _) = open(&path, "boot-1").expect("opens");
        let batch = Batch {
            slots: vec![(slot.clone(), Some(record.clone()))],
            events: vec![event("a"), event("a"), event("b")],
            catalogue: Some("{}".into()),
            ..Batch::default()
        };
        commit(&store, batch).expect("commits");
        drop(store);
        let (_, stored) = open(&path, "boot-1").expect("opens again");
        assert_eq!(stored.slots, vec![(slot.clone(), record.clone())]);
        assert_eq!((stored.events.len(), stored.catalogue.as_deref()), (2, Some("{}")));
        let (_, stored) = open(&path, "boot-2").expect("opens after a reboot");
        assert_eq!(stored.slots, vec![(slot, Record { next_start: None, ..record })]);
    }

    #[test]
    fn readings_are_kept_for_a_week_and_can_be_read_beside_the_writer() {
        const DAY: i64 = 86_400_000;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("weir.db");
        let (store, _) = open(&path, "b").expect("opens");
        let at = |trigger: &str, at: i64, value: f64| Reading {
            pool: "p".into(),
            trigger: trigger.into(),
            at: crate::model::time::Wall(at),
            value,
        };
        let told = |readings: Vec<Reading>| commit(&store, Batch { readings, ..Batch::default() }).expect("commits");
        told(vec![at("a", 0, 1.0), at("b", DAY, 2.0), at("a", 2 * DAY, 3.0)]);
        told(vec![at("a", 8 * DAY, 4.0)]);
        let reader = read::Reader::open(&path).expect("opens beside the daemon");
        let since = |from: i64| reader.readings("p", crate::model::time::Wall(from)).expect("reads");
        assert_eq!(since(0), [at("b", DAY, 2.0), at("a", 2 * DAY, 3.0), at("a", 8 * DAY, 4.0)]);
        assert_eq!(since(3 * DAY), since(0)[..].to_vec(), "the last number before counts");
        assert_eq!(since(8 * DAY).len(), 2);
        assert!(reader.readings("q", crate::model::time::Wall(0)).expect("reads").is_empty());
        assert!(read::Reader::open(&dir.path().join("none")).is_err());
    }

    #[test]
    fn a_file_from_a_newer_weir_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("weir.db");
        Connection::open(&path).and_then(|db| db.pragma_update(None, "user_version", 99)).expect("writes");
        let refusal = open(&path, "b").err().expect("refuses");
        assert!(refusal.contains("newer weir") && refusal.contains("--state"), "{refusal}");
    }
}
