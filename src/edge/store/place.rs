//! The place of a task among those that wait, as dear for a million of them as for a thousand.
//!
//! Counted from the nearer end; only reading, beside the writer or inside its transaction.

use std::collections::BTreeSet;

use rusqlite::{Connection, params};

use crate::model::task::Task;

/// A place is counted up to this: beyond it, "at least so many".
const POSITION_MAX: i64 = 1000;

/// The next worker by name that a task is ready for, after this one.
pub(super) const NEXT_WORKER: &str = "SELECT min(worker) FROM tasks WHERE phase = 1 AND pool = ?1 AND worker > ?2";
/// The next worker by name that a task waits for in any way, after this one; and the tasks that wait for it.
pub(super) const NEXT_DEALT: &str = "SELECT min(worker) FROM tasks WHERE phase < 4 AND worker > '' AND pool = ?1 AND worker > ?2";
pub(super) const DEALT: &str = "FROM tasks WHERE phase < 4 AND worker > '' AND pool = ?1 AND worker = ?2 LIMIT ?3";
/// A task that is ready for whoever comes.
pub(super) const UNDEALT: &str = "SELECT 1 FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = '' LIMIT 1";
/// The tasks that are ready for a worker and were never begun, in their order.
pub(super) const FRESH: &str = "SELECT id FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = ?2 AND body ->> '$.epoch' = 0 \
                     ORDER BY rank, id LIMIT ?3 OFFSET ?4";
/// How many tasks wait for some worker, counted in an index alone.
pub(super) const ALL_DEALT: &str = "SELECT count(*) FROM tasks WHERE phase < 4 AND worker > '' AND pool = ?1";
pub(super) const BEHIND: &str = "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = ?2 \
                      AND (rank, id) > (?3, ?4) LIMIT ?5)";
pub(super) const AHEAD: &str = "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = ?2 \
                     AND (rank, id) < (?3, ?4) LIMIT ?5)";

/// Where a task stands.
pub(super) struct Place {
    /// 1 is the next.
    pub(super) position: u64,
    /// Nobody is behind it.
    pub(super) last: bool,
}

/// The place of a task that is ready; `ready` tells how many of its pool are. Places far behind are taken from that number; of
/// those far from both ends it is told that they are at least so far.
pub(super) fn position(
    db: &Connection,
    task: &Task,
    rank: i64,
    ready: impl FnOnce() -> rusqlite::Result<i64>,
) -> rusqlite::Result<Place> {
    let worker = task.worker.as_deref().unwrap_or("");
    let count = |sql: &str| {
        let values = params![task.pool, worker, rank, task.id.cast_signed(), POSITION_MAX];
        db.prepare_cached(sql)?.query_row(values, |row| row.get::<_, i64>(0))
    };
    if worker.is_empty() {
        let behind = count(BEHIND)?;
        if behind < POSITION_MAX {
            return Ok(Place { position: (ready()? - behind).max(1).cast_unsigned(), last: behind == 0 });
        }
    }
    Ok(Place { position: count(AHEAD)?.cast_unsigned() + 1, last: false })
}

/// The workers that a task is ready for which is for them alone: as dear as there are workers.
pub(super) fn lines(db: &Connection, pool: &str) -> rusqlite::Result<BTreeSet<String>> {
    workers(db, NEXT_WORKER, pool)
}

/// Whether a task is ready for whoever comes.
pub(super) fn undealt(db: &Connection, pool: &str) -> rusqlite::Result<bool> {
    db.prepare_cached(UNDEALT)?.exists([pool])
}

/// The workers that a task waits for in any way: as dear as there are workers.
pub(super) fn dealt(db: &Connection, pool: &str) -> rusqlite::Result<BTreeSet<String>> {
    workers(db, NEXT_DEALT, pool)
}

fn workers(db: &Connection, next: &str, pool: &str) -> rusqlite::Result<BTreeSet<String>> {
    let mut next = db.prepare_cached(next)?;
    let (mut all, mut last) = (BTreeSet::new(), String::new());
    while let Some(worker) = next.query_row([pool, &last], |row| row.get::<_, Option<String>>(0))? {
        last.clone_from(&worker);
        all.insert(worker);
    }
    Ok(all)
}
