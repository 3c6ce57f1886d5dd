//! The store's file, read by somebody else than its writer: offline helpers look, and change nothing.
//!
//! Opened read-only, so a running daemon is not disturbed. A file of another weir is read as far as it can be; what it does not
//! have is told by name.

use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, params};

use crate::model::batch::{Reading, StoredPool};
use crate::model::plan::Record;
use crate::model::task::{Task, TaskState};
use crate::model::time::Wall;
use crate::model::worker::SlotId;

/// Tasks that are listed at once at most.
const LISTED_MAX: u32 = 10_000;

/// Which tasks are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this pool.
    pub pool: Option<String>,
    /// This one.
    pub id: Option<u64>,
    /// In one of these states; empty: in any.
    pub states: Vec<TaskState>,
    /// So many at most; 0: as many as can be listed at once.
    pub most: u32,
}

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
    pub fn tasks(&self, filter: &TaskFilter) -> Result<Vec<(Task, Option<u64>)>, String> {
        self.found(filter).map_err(|e| self.said(&e))
    }

    fn found(&self, filter: &TaskFilter) -> rusqlite::Result<Vec<(Task, Option<u64>)>> {
        // One snapshot for both questions: the tasks, and how many stand before the first of them.
        let turn = self.db.unchecked_transaction()?;
        let states = filter.states.iter().flat_map(|state| super::tasks::phases(*state)).copied().collect::<Vec<i64>>();
        let most = if filter.most == 0 { LISTED_MAX } else { filter.most.min(LISTED_MAX) };
        // One task is found by its number, however many there are.
        let own = if filter.id.is_some() { "id = ?2" } else { "?2 IS NULL" };
        let sql = format!(
            "SELECT {}, phase, pool FROM tasks WHERE {own} AND (?1 IS NULL OR pool = ?1) \
             AND (json_array_length(?3) = 0 OR phase IN (SELECT value FROM json_each(?3))) \
             ORDER BY CASE WHEN phase = 4 THEN 0 WHEN phase < 4 THEN phase ELSE 5 END, \
             CASE WHEN phase > 4 THEN -finished ELSE rank END, id LIMIT ?4",
            super::tasks::COLUMNS
        );
        let states = serde_json::Value::from(states).to_string();
        let id = filter.id.map(u64::cast_signed);
        let values = params![filter.pool, id, states, most];
        let mut query = self.db.prepare_cached(&sql)?;
        let rows =
            query.query_map(values, |row| Ok((super::tasks::read(row)?, row.get::<_, i64>(11)? == super::tasks::READY)))?;
        let mut found = Vec::new();
        let mut places = std::collections::BTreeMap::<(String, String), u64>::new();
        for row in rows {
            let (task, ready) = row?;
            let line = (task.pool.clone(), task.worker.clone().unwrap_or_default());
            let place = match places.get(&line) {
                _ if !ready => None,
                Some(before) => Some(before + 1),
                None => Some(self.place(&task)?),
            };
            if let Some(place) = place {
                places.insert(line, place);
            }
            found.push((task, place));
        }
        drop(turn);
        Ok(found)
    }

    /// The place of one task among those that wait with it.
    fn place(&self, task: &Task) -> rusqlite::Result<u64> {
        let sql = "SELECT count(*) FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = ?2 \
                   AND (rank, id) <= (SELECT rank, id FROM tasks WHERE id = ?3)";
        let values = params![task.pool, task.worker.as_deref().unwrap_or(""), task.id.cast_signed()];
        self.db.prepare_cached(sql)?.query_row(values, |row| row.get::<_, i64>(0)).map(i64::cast_unsigned)
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
