//! The store's file, read by somebody else than its writer: offline helpers look, and change nothing.
//!
//! Opened read-only, so a running daemon is not disturbed. A file of another weir is read as far as it can be; what it does not
//! have is told by name.

use std::collections::BTreeMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

pub use super::list::{LISTED_MAX, Listed, TaskFilter};
use crate::model::batch::{Reading, StoredPool};
use crate::model::plan::Record;
use crate::model::task::Task;
use crate::model::time::Wall;
use crate::model::worker::SlotId;

/// A store that is only read.
pub struct Reader {
    db: Connection,
    path: String,
}

impl Reader {
    /// Open the file at `path`, which must be there.
    ///
    /// # Errors
    /// A text with the path.
    pub fn open(path: &Path) -> Result<Reader, String> {
        let shown = path.display().to_string();
        if !path.is_file() {
            return Err(format!("{shown}: there is no such file; has a daemon run on this state directory?"));
        }
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(path, flags).map_err(|e| format!("{shown}: {e}"))?;
        db.busy_timeout(std::time::Duration::from_secs(5)).map_err(|e| format!("{shown}: {e}"))?;
        super::plan_once(&db).map_err(|e| format!("{shown}: {e}"))?;
        Ok(Reader { db, path: shown })
    }

    /// The last accepted catalogue.
    ///
    /// # Errors
    /// A text with the path.
    pub fn catalogue(&self) -> Result<Option<String>, String> {
        let row = self.db.query_row("SELECT value FROM meta WHERE key = 'catalogue'", [], |row| row.get(0));
        row.optional().map_err(|e| self.said(&e))
    }

    /// Pools, by name.
    ///
    /// # Errors
    /// A text with the path.
    pub fn pools(&self) -> Result<Vec<(String, StoredPool)>, String> {
        let read = |row: &rusqlite::Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?));
        super::rows(&self.db, "SELECT name, body FROM pools", read).map_err(|e| self.said(&e))
    }

    /// Whether there is a row of this task.
    ///
    /// # Errors
    /// A text with the path.
    pub fn has_task(&self, id: u64) -> Result<bool, String> {
        let there = |db: &Connection| db.prepare_cached("SELECT 1 FROM tasks WHERE id = ?1")?.exists([id.cast_signed()]);
        there(&self.db).map_err(|e| self.said(&e))
    }

    /// Whether there is a row of this slot, whatever it says.
    ///
    /// # Errors
    /// A text with the path.
    pub fn has_slot(&self, pool: &str, worker: &str) -> Result<bool, String> {
        let sql = "SELECT 1 FROM slots WHERE pool = ?1 AND worker = ?2";
        let there = |db: &Connection| db.prepare_cached(sql)?.exists([pool, worker]);
        there(&self.db).map_err(|e| self.said(&e))
    }

    /// Slots.
    ///
    /// # Errors
    /// A text with the path.
    pub fn slots(&self) -> Result<Vec<(SlotId, Record)>, String> {
        let read = |row: &rusqlite::Row<'_>| Ok((SlotId { pool: row.get(0)?, worker: row.get(1)? }, row.get::<_, String>(2)?));
        super::rows(&self.db, "SELECT pool, worker, body FROM slots", read).map_err(|e| self.said(&e))
    }

    /// What was read for a pool since `from`, in order; of each trigger also the last number before.
    ///
    /// # Errors
    /// A text with the path.
    pub fn readings(&self, pool: &str, from: Wall) -> Result<Vec<Reading>, String> {
        const SQL: &str = "SELECT \"trigger\", at_ms, value FROM readings AS r WHERE pool = ?1 AND at_ms >= coalesce(
            (SELECT max(at_ms) FROM readings WHERE pool = ?1 AND \"trigger\" = r.\"trigger\" AND at_ms <= ?2), ?2)
            ORDER BY at_ms, serial";
        let read = |row: &rusqlite::Row<'_>| {
            Ok(Reading { pool: pool.into(), trigger: row.get(0)?, at: Wall(row.get(1)?), value: row.get(2)? })
        };
        let all = self.db.prepare(SQL).and_then(|mut query| query.query_map(params![pool, from.0], read)?.collect());
        all.map_err(|e| self.said(&e))
    }

    /// Tasks with their places: those that run, those that wait in their order, those that ended, the last first.
    ///
    /// # Errors
    /// A text with the path.
    pub fn tasks(&self, filter: &TaskFilter) -> Result<Listed, String> {
        self.found(filter).map_err(|e| self.said(&e))
    }

    /// The tasks that a worker has, and the first of those that could be taken, in their order; without what they carry. Of a queue
    /// that is divided among workers none wait here.
    ///
    /// # Errors
    /// A text with the path.
    pub fn line(&self, pool: &str, most: u32) -> Result<(Vec<Task>, Vec<Task>), String> {
        let leased = self.bodies("SELECT body FROM tasks WHERE phase = 4 AND pool = ?1", params![pool])?;
        const READY: &str = "SELECT body FROM tasks WHERE phase = 1 AND worker = '' AND pool = ?1 ORDER BY rank, id LIMIT ?2";
        Ok((leased, self.bodies(READY, params![pool, most])?))
    }

    /// How many tasks that could be taken wait for each worker of a queue that is divided among them.
    ///
    /// # Errors
    /// A text with the path.
    pub fn lines(&self, pool: &str) -> Result<BTreeMap<String, u64>, String> {
        const SQL: &str = "SELECT worker, count(*) FROM tasks WHERE phase = 1 AND worker > '' AND pool = ?1 GROUP BY worker";
        let read = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get::<_, i64>(1)?.cast_unsigned()));
        let all = self.db.prepare_cached(SQL).and_then(|mut query| query.query_map([pool], read)?.collect());
        all.map_err(|e| self.said(&e))
    }

    /// The last tasks of a pool that ended before then and were begun, so many at most, the last first; without what they
    /// carried. As dear as what is given, however many are kept.
    ///
    /// # Errors
    /// A text with the path.
    pub fn ended(&self, pool: &str, before: Wall, most: u32) -> Result<Vec<Task>, String> {
        super::list::ended(&self.db, pool, before, most).map_err(|e| self.said(&e))
    }

    fn found(&self, filter: &TaskFilter) -> rusqlite::Result<Listed> {
        // One snapshot for all questions: the tasks, and how many stand before the first of them.
        let _turn = self.db.unchecked_transaction()?;
        super::list::tasks(&self.db, filter)
    }

    /// What this reads of the file.
    pub(super) fn loaded<T>(&self, load: fn(&Connection) -> rusqlite::Result<T>) -> Result<T, String> {
        load(&self.db).map_err(|e| self.said(&e))
    }

    /// Rows whose body still reads.
    pub(super) fn bodies<T: serde::de::DeserializeOwned>(
        &self,
        sql: &str,
        values: impl rusqlite::Params,
    ) -> Result<Vec<T>, String> {
        let read = |db: &Connection| {
            let mut query = db.prepare_cached(sql)?;
            query.query_map(values, |row| row.get::<_, String>(0))?.collect::<rusqlite::Result<Vec<String>>>()
        };
        let rows = read(&self.db).map_err(|e| self.said(&e))?;
        Ok(rows.iter().filter_map(|body| serde_json::from_str(body).ok()).collect())
    }

    fn said(&self, error: &rusqlite::Error) -> String {
        let text = error.to_string();
        if text.contains("no such table") {
            return format!("{}: {text}: it was last written by an older weir; start the daemon once", self.path);
        }
        format!("{}: {text}", self.path)
    }
}
