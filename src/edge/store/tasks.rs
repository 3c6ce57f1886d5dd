//! The rows of tasks, inside a transaction of the store's thread.
//!
//! Only reading and writing: what becomes of a task is decided by whoever calls. Each row carries its phase, its rank and the
//! times that something is due at, so that the next task, the next due time and the counts cost the same for ten tasks and for
//! a million. Counts are kept beside the rows, in the same transaction.

use std::cell::RefCell;
use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, Row, Transaction, params};

use super::counts::{Changes, counts, written};
use super::place::{self, ALL_DEALT, DEALT};
use super::row::{BLOCKED, COLUMNS, ENDED, LEASED, PHASES, READY, SUCCEEDED, body, gone, phase, read};
use crate::model::line::Fired;
use crate::model::queue_work::QueueCounts;
use crate::model::task::Task;
use crate::model::time::Wall;

/// The tables of the queues, for as long as a transaction lasts.
pub struct Tasks<'t> {
    turn: &'t Transaction<'t>,
    touched: RefCell<BTreeMap<String, Changes>>,
    /// The same of the batch that is being done: it may still be undone.
    fresh: RefCell<BTreeMap<String, Changes>>,
    /// The counts of each pool that was asked for as the table has them: what this transaction adds comes at its end.
    written: RefCell<BTreeMap<String, Changes>>,
    /// The last in a pool's line, as long as it is known: the tasks of one call come one behind the other.
    last: RefCell<Option<Last>>,
}

/// The last of the tasks of a pool that could be taken by anybody.
struct Last {
    pool: String,
    id: u64,
    rank: i64,
}

impl<'t> Tasks<'t> {
    /// The tables, inside this transaction.
    pub fn new(turn: &'t Transaction<'t>) -> Tasks<'t> {
        let (touched, fresh) = (RefCell::default(), RefCell::default());
        Tasks { turn, touched, fresh, written: RefCell::default(), last: RefCell::default() }
    }

    /// What was done since the last time is to stay.
    pub(super) fn keep(&self) {
        let mut touched = self.touched.borrow_mut();
        for (pool, changes) in std::mem::take(&mut *self.fresh.borrow_mut()) {
            let sum = touched.entry(pool).or_default();
            sum.iter_mut().zip(changes).for_each(|(sum, by)| *sum += by);
        }
    }

    /// What was done since the last time is undone in the file.
    pub(super) fn undo(&self) {
        self.fresh.borrow_mut().clear();
        *self.last.borrow_mut() = None;
    }

    /// Write the counts, and give what stands in the queues that changed.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn finish(self) -> rusqlite::Result<BTreeMap<String, QueueCounts>> {
        self.keep();
        let sql = "INSERT INTO task_counts VALUES (?1, ?2, ?3) ON CONFLICT (pool, phase) DO UPDATE SET n = n + ?3";
        let touched = self.touched.into_inner();
        for (pool, changes) in &touched {
            for (phase, by) in changes.iter().enumerate().filter(|(_, by)| **by != 0) {
                self.turn.prepare_cached(sql)?.execute(params![pool, phase as i64, by])?;
            }
        }
        touched.into_keys().map(|pool| counts(self.turn, &pool).map(|counts| (pool, counts))).collect()
    }

    fn touch(&self, pool: &str) {
        self.count(pool, 0, 0);
    }

    fn count(&self, pool: &str, phase: i64, by: i64) {
        let mut fresh = self.fresh.borrow_mut();
        if !fresh.contains_key(pool) {
            fresh.insert(pool.to_owned(), Changes::default());
        }
        let place = usize::try_from(phase).ok().and_then(|phase| fresh.get_mut(pool)?.get_mut(phase));
        if let Some(n) = place {
            *n += by;
        }
    }

    /// How many of a pool's tasks are in these phases, those of this transaction among them. The table is read once.
    fn in_phases(&self, pool: &str, phases: std::ops::Range<usize>) -> rusqlite::Result<i64> {
        if !self.written.borrow().contains_key(pool) {
            self.written.borrow_mut().insert(pool.to_owned(), written(self.turn, pool)?);
        }
        let sum = |of: &RefCell<BTreeMap<String, Changes>>| -> i64 {
            of.borrow().get(pool).map_or(0, |changes| changes[phases.clone()].iter().sum())
        };
        Ok((sum(&self.written) + sum(&self.touched) + sum(&self.fresh)).max(0))
    }

    /// Add a task; gives it its number. Its rank says where it stands among those that wait.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn insert(&self, task: &mut Task, rank: i64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO tasks (pool, phase, rank, worker, key, not_before, expires, finished, nonce, deadline, lease_until, \
                   body, payload, result) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)";
        self.turn.prepare_cached(sql)?.execute(params![
            task.pool,
            phase(task),
            rank,
            task.worker.as_deref().unwrap_or(""),
            task.key,
            task.not_before.map(|at| at.0),
            task.expires.map(|at| at.0),
            task.finished.map(|at| at.0),
            task.nonce.cast_signed(),
            task.deadline.map(|at| at.0.cast_signed()),
            task.lease_until.map(|at| at.0.cast_signed()),
            body(task),
            task.payload.to_string(),
            task.result.as_ref().map(ToString::to_string),
        ])?;
        task.id = self.turn.last_insert_rowid().cast_unsigned();
        self.count(&task.pool, phase(task), 1);
        if phase(task) == READY
            && task.worker.is_none()
            && let Some(last) = &mut *self.last.borrow_mut()
            && last.pool == task.pool
            && last.rank <= rank
        {
            (last.id, last.rank) = (task.id, rank);
        }
        Ok(())
    }

    /// Write a task that was read before in this transaction.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn put(&self, before: &Task, task: &Task) -> rusqlite::Result<()> {
        let sql = "UPDATE tasks SET phase = ?2, worker = ?3, not_before = ?4, expires = ?5, finished = ?6, nonce = ?7, \
                   deadline = ?8, lease_until = ?9, body = ?10, result = ?11 WHERE id = ?1";
        self.turn.prepare_cached(sql)?.execute(params![
            task.id.cast_signed(),
            phase(task),
            task.worker.as_deref().unwrap_or(""),
            task.not_before.map(|at| at.0),
            task.expires.map(|at| at.0),
            task.finished.map(|at| at.0),
            task.nonce.cast_signed(),
            task.deadline.map(|at| at.0.cast_signed()),
            task.lease_until.map(|at| at.0.cast_signed()),
            body(task),
            task.result.as_ref().map(ToString::to_string),
        ])?;
        *self.last.borrow_mut() = None;
        if phase(before) != phase(task) {
            self.count(&task.pool, phase(before), -1);
            self.count(&task.pool, phase(task), 1);
        }
        self.touch(&task.pool);
        Ok(())
    }

    /// Put a task to another place in its line.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn place(&self, id: u64, rank: i64) -> rusqlite::Result<()> {
        *self.last.borrow_mut() = None;
        self.turn.prepare_cached("UPDATE tasks SET rank = ?2 WHERE id = ?1")?.execute(params![id.cast_signed(), rank]).map(drop)
    }

    /// Have a task wait until an earlier one has ended; or no longer.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn depend(&self, earlier: u64, later: u64, waits: bool) -> rusqlite::Result<()> {
        let sql = if waits {
            "INSERT OR IGNORE INTO task_after VALUES (?1, ?2)"
        } else {
            "DELETE FROM task_after WHERE earlier = ?1 AND later = ?2"
        };
        self.turn.prepare_cached(sql)?.execute([earlier.cast_signed(), later.cast_signed()]).map(drop)
    }

    /// The tasks that wait until this one has ended.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn dependants(&self, earlier: u64) -> rusqlite::Result<Vec<u64>> {
        let mut query = self.turn.prepare_cached("SELECT later FROM task_after WHERE earlier = ?1")?;
        query.query_map([earlier.cast_signed()], |row| row.get(0).map(i64::cast_unsigned))?.collect()
    }

    /// The task of this number.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn get(&self, id: u64) -> rusqlite::Result<Option<Task>> {
        let sql = format!("SELECT {COLUMNS} FROM tasks WHERE id = ?1");
        self.turn.prepare_cached(&sql)?.query_row([id.cast_signed()], read).optional()
    }

    /// The next task that waits for this worker; for nobody in particular where it is empty.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn next(&self, pool: &str, worker: &str) -> rusqlite::Result<Option<Task>> {
        let sql = format!("SELECT {COLUMNS} FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = ?2 ORDER BY rank, id LIMIT 1");
        self.turn.prepare_cached(&sql)?.query_row(params![pool, worker], read).optional()
    }

    /// The task of a key that should be next, of those that wait with it, and whether one of the key has a worker.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn first_of_key(&self, pool: &str, key: &str) -> rusqlite::Result<(Option<Task>, bool)> {
        let leased = "SELECT 1 FROM tasks WHERE pool = ?1 AND key = ?2 AND phase = 4 LIMIT 1";
        let leased = self.turn.prepare_cached(leased)?.exists(params![pool, key])?;
        let first = |phase: i64| {
            let sql = format!(
                "SELECT {COLUMNS}, rank FROM tasks WHERE pool = ?1 AND key = ?2 AND key IS NOT NULL AND phase = {phase} ORDER BY rank, id LIMIT 1"
            );
            let row = |row: &Row<'_>| Ok((row.get::<_, i64>(11)?, row.get::<_, i64>(0)?, read(row)?));
            self.turn.prepare_cached(&sql)?.query_row(params![pool, key], row).optional()
        };
        let both = [first(READY)?, first(BLOCKED)?];
        let best = both.into_iter().flatten().min_by_key(|(rank, id, _)| (*rank, *id));
        Ok((best.map(|(_, _, task)| task), leased))
    }

    /// The task of a key that could be taken now.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn ready_of_key(&self, pool: &str, key: &str) -> rusqlite::Result<Vec<Task>> {
        let sql = format!("SELECT {COLUMNS} FROM tasks WHERE pool = ?1 AND key = ?2 AND key IS NOT NULL AND phase = 1");
        self.all(&sql, params![pool, key])
    }

    fn all(&self, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<Vec<Task>> {
        self.turn.prepare_cached(sql)?.query_map(values, read)?.collect()
    }

    /// Tasks whose time has come, some of them.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn due(&self, pool: &str, wall: Wall, most: u32) -> rusqlite::Result<Vec<Task>> {
        let sql = format!(
            "SELECT {COLUMNS} FROM tasks WHERE phase = 2 AND pool = ?1 AND not_before <= ?2 ORDER BY not_before LIMIT ?3"
        );
        self.all(&sql, params![pool, wall.0, most])
    }

    /// Tasks that wait for another attempt beyond this time, some of them.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn far(&self, pool: &str, wall: Wall, most: u32) -> rusqlite::Result<Vec<Task>> {
        let sql =
            format!("SELECT {COLUMNS} FROM tasks WHERE {AGAIN} AND pool = ?1 AND not_before > ?2 ORDER BY not_before LIMIT ?3");
        self.all(&sql, params![pool, wall.0, most])
    }

    /// Tasks that have waited too long, some of them.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn overdue(&self, pool: &str, wall: Wall, most: u32) -> rusqlite::Result<Vec<Task>> {
        let sql =
            format!("SELECT {COLUMNS} FROM tasks WHERE phase < 4 AND pool = ?1 AND expires <= ?2 ORDER BY expires LIMIT ?3");
        self.all(&sql, params![pool, wall.0, most])
    }

    /// Remove tasks that ended by then: those that succeeded by the first time, the others by the second. Some of them, the oldest
    /// first; gives their numbers. Their idempotency keys keep what is to be told of them.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn sweep(&self, pool: &str, (succeeded, failed): (Wall, Wall), most: u32) -> rusqlite::Result<Vec<u64>> {
        let mut gone = Vec::new();
        for phase in ENDED {
            let by = if phase == SUCCEEDED { succeeded } else { failed };
            let sql = format!(
                "SELECT id FROM tasks WHERE phase > 4 AND phase = {phase} AND pool = ?1 AND finished <= ?2 ORDER BY finished LIMIT ?3"
            );
            let mut query = self.turn.prepare_cached(&sql)?;
            let found = query.query_map(params![pool, by.0, most], |row| row.get(0))?.collect::<rusqlite::Result<Vec<i64>>>()?;
            for id in found {
                self.turn.prepare_cached(KEEP_KNOWN)?.execute([id])?;
                self.turn.prepare_cached("DELETE FROM tasks WHERE id = ?1")?.execute([id])?;
                self.count(pool, phase, -1);
                gone.push(id.cast_unsigned());
            }
        }
        Ok(gone)
    }

    /// Forget the counts and the turn of a pool without a task. That it rests is not forgotten.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn forget_empty(&self, pool: &str) -> rusqlite::Result<()> {
        // What this transaction changes comes on top of the rows: they are needed yet.
        let changes =
            |of: &RefCell<BTreeMap<String, Changes>>| of.borrow().get(pool).is_some_and(|by| by.iter().any(|by| *by != 0));
        if changes(&self.touched) || changes(&self.fresh) || self.in_phases(pool, 0..PHASES)? > 0 {
            return Ok(());
        }
        self.turn.prepare_cached("DELETE FROM task_counts WHERE pool = ?1")?.execute([pool])?;
        self.turn.prepare_cached("DELETE FROM queues WHERE pool = ?1 AND paused_until IS NULL")?.execute([pool]).map(drop)
    }

    /// The task that was submitted with this idempotency key. Of one that is gone what is still known: its number, its state, and
    /// its times, for as long as the key is remembered.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn known(&self, pool: &str, key: &str, wall: Wall) -> rusqlite::Result<Option<Task>> {
        let sql = "SELECT id, until, finished, body FROM task_keys WHERE pool = ?1 AND key = ?2";
        let row = |row: &Row<'_>| Ok((row.get::<_, i64>(0)?.cast_unsigned(), row.get::<_, i64>(1)?, gone(row)?));
        let found = self.turn.prepare_cached(sql)?.query_row([pool, key], row).optional()?;
        let Some((id, until, gone)) = found else { return Ok(None) };
        Ok(self.get(id)?.or(gone.filter(|_| until > wall.0)))
    }

    /// Remember an idempotency key until then, and forget some that are old.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn remember(&self, (pool, key, id): (&str, &str, u64), until: Wall, wall: Wall) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO task_keys (pool, key, id, until) VALUES (?1, ?2, ?3, ?4)";
        self.turn.prepare_cached(sql)?.execute(params![pool, key, id.cast_signed(), until.0])?;
        let sql = "DELETE FROM task_keys WHERE (pool, key) IN (SELECT pool, key FROM task_keys WHERE until < ?1 LIMIT 4)";
        self.turn.prepare_cached(sql)?.execute([wall.0])?;
        Ok(())
    }

    /// How many of the pool's tasks are in this state, those that wait being counted together.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn waiting(&self, pool: &str) -> rusqlite::Result<u64> {
        self.in_phases(pool, 0..LEASED as usize).map(i64::cast_unsigned)
    }

    /// The place of a task that could be taken, 1 being the next. Places far behind are taken from the counts.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn position(&self, task: &Task, rank: i64) -> rusqlite::Result<Option<u64>> {
        if phase(task) != READY {
            return Ok(None);
        }
        let ready = || self.in_phases(&task.pool, READY as usize..READY as usize + 1);
        if self.last.borrow().as_ref().is_some_and(|last| last.id == task.id) {
            return Ok(Some(ready()?.max(1).cast_unsigned()));
        }
        let place = place::position(self.turn, task, rank, ready)?;
        if place.last {
            *self.last.borrow_mut() = Some(Last { pool: task.pool.clone(), id: task.id, rank });
        }
        Ok(Some(place.position))
    }

    /// How many tasks wait for, or are with, each of these workers; and where the turn is.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn loads(&self, pool: &str, workers: &[String]) -> rusqlite::Result<(Vec<u64>, usize)> {
        let sql = "SELECT (SELECT count(*) FROM tasks WHERE phase = 1 AND pool = ?1 AND worker = ?2) + \
                   (SELECT count(*) FROM tasks WHERE phase = 4 AND pool = ?1 AND worker = ?2)";
        let mut query = self.turn.prepare_cached(sql)?;
        let load = |worker: &String| query.query_row(params![pool, worker], |row| row.get::<_, i64>(0)).map(i64::cast_unsigned);
        let loads = workers.iter().map(load).collect::<rusqlite::Result<Vec<u64>>>()?;
        let cursor = "SELECT cursor FROM queues WHERE pool = ?1";
        let cursor = self.turn.prepare_cached(cursor)?.query_row([pool], |row| row.get::<_, i64>(0)).optional()?;
        Ok((loads, usize::try_from(cursor.unwrap_or(0)).unwrap_or(0)))
    }

    /// Where the turn is from now on.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn set_cursor(&self, pool: &str, cursor: usize) -> rusqlite::Result<()> {
        let sql = "INSERT INTO queues VALUES (?1, ?2, NULL, '') ON CONFLICT (pool) DO UPDATE SET cursor = ?2";
        self.turn.prepare_cached(sql)?.execute(params![pool, i64::try_from(cursor).unwrap_or(0)])?;
        Ok(())
    }

    /// Tasks that wait for a worker that is not among these, or for none; where there are none, those that wait for any. Some of them.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn stranded(&self, pool: &str, workers: &[String], most: u32) -> rusqlite::Result<Vec<Task>> {
        if workers.is_empty() {
            let sql = format!("SELECT {COLUMNS} FROM tasks WHERE phase < 4 AND worker > '' AND pool = ?1 LIMIT ?2");
            return self.all(&sql, params![pool, most]);
        }
        let mut found = Vec::new();
        let left = |found: &Vec<Task>| most.saturating_sub(u32::try_from(found.len()).unwrap_or(u32::MAX));
        let sql = format!("SELECT {COLUMNS} {DEALT}");
        for worker in place::dealt(self.turn, pool)?.iter().filter(|worker| !workers.contains(worker)) {
            found.extend(self.all(&sql, params![pool, worker, left(&found)])?);
        }
        // Nearly always there are none: to look at all that wait for them would take long.
        let dealt = self.turn.prepare_cached(ALL_DEALT)?.query_row([pool], |row| row.get::<_, i64>(0))?;
        if left(&found) > 0 && self.in_phases(pool, 0..LEASED as usize)? > dealt {
            // Each phase has an index of its own.
            for phase in 0..LEASED {
                let sql = format!("SELECT {COLUMNS} FROM tasks WHERE phase = {phase} AND pool = ?1 AND worker = '' LIMIT ?2");
                found.extend(self.all(&sql, params![pool, left(&found)])?);
            }
        }
        Ok(found)
    }

    /// Tasks that wait for this worker and were never begun, in their order: some of those behind the first so many.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn fresh(&self, (pool, worker): (&str, &str), behind: u64, most: u32) -> rusqlite::Result<Vec<u64>> {
        let mut query = self.turn.prepare_cached(place::FRESH)?;
        let ids = query.query_map(params![pool, worker, most, behind.cast_signed()], |row| row.get::<_, i64>(0))?;
        ids.map(|id| id.map(i64::cast_unsigned)).collect()
    }

    /// Until when the queue is held.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn paused_until(&self, pool: &str) -> rusqlite::Result<Option<Wall>> {
        let sql = "SELECT paused_until FROM queues WHERE pool = ?1";
        Ok(self.turn.prepare_cached(sql)?.query_row([pool], |row| row.get::<_, Option<i64>>(0)).optional()?.flatten().map(Wall))
    }

    /// Hold the queue until then, or let it go on.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn pause(&self, pool: &str, until: Option<Wall>, why: &str) -> rusqlite::Result<()> {
        self.touch(pool);
        let sql = "INSERT INTO queues VALUES (?1, 0, ?2, ?3) ON CONFLICT (pool) DO UPDATE SET paused_until = ?2, paused_why = ?3";
        self.turn.prepare_cached(sql)?.execute(params![pool, until.map(|until| until.0), why])?;
        Ok(())
    }

    /// Remember when a recurring task came; or forget it.
    ///
    /// # Errors
    /// Any of SQLite's.
    pub fn fired(&self, (pool, schedule): (&str, &str), fired: Option<&Fired>) -> rusqlite::Result<()> {
        let Some(Fired { last, count, beat }) = fired else {
            let sql = "DELETE FROM task_schedules WHERE pool = ?1 AND name = ?2";
            return self.turn.prepare_cached(sql)?.execute([pool, schedule]).map(drop);
        };
        let sql = "INSERT OR REPLACE INTO task_schedules (pool, name, last, count, beat) VALUES (?1, ?2, ?3, ?4, ?5)";
        self.turn.prepare_cached(sql)?.execute(params![pool, schedule, last.0, count, beat]).map(drop)
    }
}

/// What is told of a task that is gone to whoever submits it again: nothing that may be long.
const KEEP_KNOWN: &str = "UPDATE task_keys SET (finished, body) = (SELECT finished, json_remove(body, '$.progress', '$.end.message') \
    FROM tasks WHERE id = ?1) WHERE id = ?1";

/// Those that wait for another attempt, as their index has it.
const AGAIN: &str = "phase = 2 AND body ->> '$.epoch' > 0";
