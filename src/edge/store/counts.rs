//! What stands in the queue of a pool, as the table beside the tasks has it.
//!
//! As cheap for a million of them as for ten: nothing here walks through tasks.

use super::place::{self, lines};
use super::row::{BLOCKED, DELAYED, HELD, LEASED, PHASES, READY};
use crate::model::queue_work::QueueCounts;
use crate::model::time::Wall;

/// The counts of a pool, by phase, or what a transaction adds to them: that is written once, at its end.
pub(super) type Changes = [i64; PHASES];

/// The times that something of a pool is due at: of those that wait, of the queue, and of those that ended.
const TIMES: &str = "SELECT (SELECT min(not_before) FROM tasks WHERE phase = 2 AND pool = ?1), \
    (SELECT min(expires) FROM tasks WHERE phase < 4 AND expires IS NOT NULL AND pool = ?1), \
    (SELECT paused_until FROM queues WHERE pool = ?1), (SELECT paused_why FROM queues WHERE pool = ?1), \
    (SELECT min(finished) FROM tasks WHERE phase > 4 AND phase = 5 AND pool = ?1), \
    (SELECT min(finished) FROM tasks WHERE phase > 4 AND phase = 6 AND pool = ?1), \
    (SELECT min(finished) FROM tasks WHERE phase > 4 AND phase = 7 AND pool = ?1), \
    (SELECT min(finished) FROM tasks WHERE phase > 4 AND phase = 8 AND pool = ?1), \
    (SELECT min(finished) FROM tasks WHERE phase > 4 AND phase = 9 AND pool = ?1), \
    (SELECT max(not_before) FROM tasks WHERE phase = 2 AND body ->> '$.epoch' > 0 AND pool = ?1)";

/// The counts of a pool as the table has them.
///
/// # Errors
/// Any of SQLite's.
pub(super) fn written(db: &rusqlite::Connection, pool: &str) -> rusqlite::Result<Changes> {
    let mut written = Changes::default();
    let mut query = db.prepare_cached("SELECT phase, n FROM task_counts WHERE pool = ?1")?;
    let rows = query.query_map([pool], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?)))?;
    for row in rows {
        let (phase, n) = row?;
        if let Some(place) = usize::try_from(phase).ok().and_then(|phase| written.get_mut(phase)) {
            *place = n;
        }
    }
    Ok(written)
}

/// What stands in the queue of a pool.
///
/// # Errors
/// Any of SQLite's.
pub fn counts(db: &rusqlite::Connection, pool: &str) -> rusqlite::Result<QueueCounts> {
    let by_phase = written(db, pool)?;
    let n = |phase: i64| by_phase[phase as usize].max(0).cast_unsigned();
    let mut counts = QueueCounts {
        held: n(HELD),
        ready: n(READY),
        delayed: n(DELAYED),
        blocked: n(BLOCKED),
        leased: n(LEASED),
        ..QueueCounts::default()
    };
    if counts.ready > 0 {
        counts.lines = lines(db, pool)?;
        counts.undealt = counts.lines.is_empty() || place::undealt(db, pool)?;
    }
    let (due, expiry, paused_why) = db.prepare_cached(TIMES)?.query_row([pool], |row| {
        let time = |at: usize| row.get::<_, Option<i64>>(at).map(|ms| ms.map(Wall));
        counts.paused_until = time(2)?;
        counts.succeeded = time(4)?;
        counts.failed = [time(5)?, time(6)?, time(7)?, time(8)?].into_iter().flatten().min();
        counts.again = time(9)?;
        Ok((time(0)?, time(1)?, row.get::<_, Option<String>>(3)?))
    })?;
    counts.paused_why = paused_why.filter(|_| counts.paused_until.is_some()).unwrap_or_default();
    counts.next = [due, expiry, counts.paused_until].into_iter().flatten().min();
    Ok(counts)
}
