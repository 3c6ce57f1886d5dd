//! The place of a task among those that wait, as dear for a million of them as for a thousand.
//!
//! Counted from the nearer end; only reading, beside the writer or inside its transaction.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::task::Task;

/// A place is counted up to this: beyond it, "at least so many".
const POSITION_MAX: i64 = 1000;

pub(super) const BEHIND: &str = "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = ?2 \
                      AND (rank, id) > (?3, ?4) LIMIT ?5)";
pub(super) const AHEAD: &str = "SELECT count(*) FROM (SELECT 1 FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = ?2 \
                     AND (rank, id) < (?3, ?4) LIMIT ?5)";

/// How many tasks of a pool are ready, as the counts have it.
pub(super) fn ready(db: &Connection, pool: &str) -> rusqlite::Result<i64> {
    let sql = "SELECT n FROM task_counts WHERE pool = ?1 AND phase = 1";
    Ok(db.prepare_cached(sql)?.query_row([pool], |row| row.get(0)).optional()?.unwrap_or(0))
}

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
