//! Lists of tasks, and the place of one among those that wait: as dear as what is shown, however many tasks there are.
//!
//! Each phase has an index in the order that it is shown in, so a list is put together from the heads of a few of them; what the
//! tasks carry is read of those that are shown alone. Only reading, beside the writer or inside its transaction.

use std::collections::BTreeMap;

use rusqlite::{Connection, params};

use super::counts::written;
use super::place::{lines, position};
use super::row::{BLOCKED, COLUMNS, DELAYED, ENDED, HELD, LEASED, RAN, READY, bytes, phases, read};
use crate::model::task::{Task, TaskState, Waiting};
use crate::model::time::Wall;

/// Tasks that are listed at once at most.
pub const LISTED_MAX: u32 = 10_000;

/// Which tasks are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskFilter {
    /// Of this pool.
    pub pool: Option<String>,
    /// This one.
    pub id: Option<u64>,
    /// In one of these states, or one of these parts of the queued ones; none of both: in any.
    pub states: Vec<TaskState>,
    /// See there.
    pub waiting: Vec<Waiting>,
    /// Of those that ended, the first ones first.
    pub oldest: bool,
    /// So many at most; 0: as many as can be listed at once.
    pub most: u32,
}

/// Phases in the order in which they are shown; those of one group are shown together.
const GROUPS: [&[i64]; 6] = [&[LEASED], &[HELD], &[READY], &[DELAYED], &[BLOCKED], &[5, 6, 7, 8, 9]];

/// What a list carries at most, in bytes as they are kept.
const LISTED_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Tasks of a list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// With their places.
    pub tasks: Vec<(Task, Option<u64>)>,
    /// Not all that were asked for: there are more than can be listed, or the next ones would be too much to carry at once.
    pub cut: bool,
}

/// What a task is sorted by, and its number; negative where the last of those that are equal comes first.
type Key = (i64, i64);

/// A task with its rank.
struct Found {
    rank: i64,
    task: Task,
    ready: bool,
}

/// Tasks with their places: those that run, those that wait in their order, those that ended, the last first.
pub(super) fn tasks(db: &Connection, filter: &TaskFilter) -> rusqlite::Result<Listed> {
    let mut keys = match filter.id {
        Some(id) => {
            let sql = "SELECT 0, id FROM tasks WHERE id = ?1 AND (?2 IS NULL OR pool = ?2)";
            keys(db, sql, params![id.cast_signed(), filter.pool])?
        }
        None => first(db, filter)?,
    };
    let more = keys.len() > LISTED_MAX as usize;
    keys.truncate(LISTED_MAX as usize);
    let (found, cut) = found(db, &keys)?;
    Ok(Listed { tasks: placed(db, found)?, cut: cut || more })
}

/// The first ones that are wanted, by what they are sorted by alone: what is not shown is not read. Where more are wanted than can
/// be listed at once, one more than those, if it is there.
fn first(db: &Connection, filter: &TaskFilter) -> rusqlite::Result<Vec<Key>> {
    let most = if filter.most == 0 { LISTED_MAX + 1 } else { filter.most.min(LISTED_MAX + 1) } as usize;
    let parts = filter.waiting.iter().map(|part| match part {
        Waiting::Delayed => DELAYED,
        Waiting::Blocked => BLOCKED,
    });
    let wanted: Vec<i64> = filter.states.iter().flat_map(|state| phases(*state)).copied().chain(parts).collect();
    let is_wanted = |phase: i64| wanted.is_empty() || wanted.contains(&phase);
    let pools = match &filter.pool {
        Some(pool) => vec![pool.clone()],
        None => pools(db)?,
    };
    let mut all = Vec::new();
    for group in GROUPS {
        let (left, mut found) = (most - all.len(), Vec::new());
        for phase in group.iter().filter(|phase| left > 0 && is_wanted(**phase)) {
            for pool in &pools {
                found.extend(of_phase(db, (pool, filter.oldest), *phase, left)?);
                // At once, so that no more of them are held than are shown, however many pools there are.
                found.sort();
                found.truncate(left);
            }
        }
        all.extend(found);
    }
    Ok(all)
}

fn pools(db: &Connection) -> rusqlite::Result<Vec<String>> {
    db.prepare_cached("SELECT DISTINCT pool FROM task_counts")?.query_map([], |row| row.get(0))?.collect()
}

/// The question for the keys of the first tasks of a phase of a pool. Those that are ready are asked for worker by worker.
fn sql(phase: i64, oldest: bool) -> String {
    let (own, key, order) = match phase {
        READY => ("phase = 1 AND worker = ?3".to_owned(), "rank, id", "rank, id"),
        DELAYED => ("phase = 2".to_owned(), "not_before, id", "not_before, id"),
        phase if ENDED.contains(&phase) && oldest => (format!("phase > 4 AND phase = {phase}"), "finished, id", "finished, id"),
        phase if ENDED.contains(&phase) => (format!("phase > 4 AND phase = {phase}"), "-finished, -id", "finished DESC, id DESC"),
        phase => (format!("phase = {phase}"), "rank, id", "rank, id"),
    };
    format!("SELECT {key} FROM tasks WHERE {own} AND pool = ?1 ORDER BY {order} LIMIT ?2")
}

/// The question for the tasks of a phase of a pool that ended before a time, the last first.
fn sql_ended(phase: i64) -> String {
    format!(
        "SELECT finished, body FROM tasks WHERE phase > 4 AND phase = {phase} AND pool = ?1 AND finished < ?2 \
         ORDER BY finished DESC, id DESC LIMIT ?3"
    )
}

/// The last tasks of a pool that ended before then and were begun, the last first; without what they carried.
pub(super) fn ended(db: &Connection, pool: &str, before: Wall, most: u32) -> rusqlite::Result<Vec<Task>> {
    let mut all: Vec<(i64, Task)> = Vec::new();
    for phase in RAN {
        let mut query = db.prepare_cached(&sql_ended(phase))?;
        let found = query.query_map(params![pool, before.0, most], |row| Ok((row.get(0)?, row.get::<_, String>(1)?)))?;
        for row in found {
            let (finished, body) = row?;
            all.extend(serde_json::from_str(&body).ok().map(|task| (finished, task)));
        }
    }
    all.sort_by_key(|(finished, _)| std::cmp::Reverse(*finished));
    all.truncate(most as usize);
    Ok(all.into_iter().map(|(_, task)| task).collect())
}

fn of_phase(db: &Connection, (pool, oldest): (&str, bool), phase: i64, most: usize) -> rusqlite::Result<Vec<Key>> {
    let (sql, most) = (sql(phase, oldest), i64::try_from(most).unwrap_or(i64::MAX));
    if phase != READY {
        return keys(db, &sql, params![pool, most]);
    }
    let mut found = keys(db, &sql, params![pool, most, ""])?;
    for worker in lines(db, pool)? {
        found.extend(keys(db, &sql, params![pool, most, worker])?);
    }
    Ok(found)
}

fn keys(db: &Connection, sql: &str, values: impl rusqlite::Params) -> rusqlite::Result<Vec<Key>> {
    db.prepare_cached(sql)?.query_map(values, |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// These tasks, as far as they are not too much; and whether they were.
fn found(db: &Connection, keys: &[Key]) -> rusqlite::Result<(Vec<Found>, bool)> {
    let mut query = db.prepare_cached(&format!("SELECT {COLUMNS}, rank, phase = 1 FROM tasks WHERE id = ?1"))?;
    let (mut all, mut left) = (Vec::with_capacity(keys.len()), LISTED_BYTES_MAX);
    for (_, id) in keys {
        let next = query.query_row([id.abs()], |row| {
            let Some(rest) = left.checked_sub(bytes(row)?) else { return Ok(None) };
            left = rest;
            Ok(Some(Found { rank: row.get(11)?, task: read(row)?, ready: row.get(12)? }))
        })?;
        let Some(next) = next else { return Ok((all, true)) };
        all.push(next);
    }
    Ok((all, false))
}

/// With their places. Those that are next to each other in a list are next to each other in their line.
fn placed(db: &Connection, all: Vec<Found>) -> rusqlite::Result<Vec<(Task, Option<u64>)>> {
    let mut places = BTreeMap::<(String, String), u64>::new();
    let mut out = Vec::with_capacity(all.len());
    for Found { task, rank, ready, .. } in all {
        let place = if ready {
            let line = (task.pool.clone(), task.worker.clone().unwrap_or_default());
            let place = match places.get(&line) {
                Some(before) => before + 1,
                None => position(db, &task, rank, || Ok(written(db, &task.pool)?[READY as usize]))?.position,
            };
            places.insert(line, place);
            Some(place)
        } else {
            None
        };
        out.push((task, place));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::super::place::{AHEAD, ALL_DEALT, BEHIND, DEALT, FRESH, NEXT_DEALT, NEXT_WORKER, UNDEALT};
    use super::super::tasks::Tasks;
    use super::*;

    #[test]
    fn no_list_looks_at_every_row() {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Connection::open(dir.path().join("db")).unwrap();
        super::super::schema::migrate(&mut db).unwrap();
        let plan = |sql: &str| {
            let mut query = db.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let values = rusqlite::params_from_iter(vec![rusqlite::types::Value::Null; query.parameter_count()]);
            let lines: Vec<String> = query.query_map(values, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            lines.join("; ")
        };
        for (phase, index) in GROUPS.iter().copied().flatten().zip([
            "tasks_leased",
            "tasks_held",
            "tasks_ready",
            "tasks_delayed",
            "tasks_blocked",
            "tasks_ended",
            "tasks_ended",
            "tasks_ended",
            "tasks_ended",
            "tasks_ended",
        ]) {
            let plan = [false, true].map(|oldest| plan(&sql(*phase, oldest))).concat();
            assert!(plan.contains(index), "{phase}: {plan}");
            // Those that run are as few as workers: they may be sorted.
            assert!(*phase == LEASED || !plan.contains("TEMP B-TREE"), "{phase}: {plan}");
            // What is not shown is not read: the indexes tell which tasks are first.
            assert!(*phase == LEASED || plan.contains("COVERING INDEX"), "{phase}: {plan}");
        }
        for phase in RAN {
            let plan = plan(&sql_ended(phase));
            assert!(plan.contains("tasks_ended (pool=? AND phase=? AND finished<?)") && !plan.contains("TEMP B-TREE"), "{plan}");
        }
        for (sql, index) in [NEXT_WORKER, BEHIND, AHEAD, FRESH, UNDEALT].map(|sql| (sql, "tasks_ready")) {
            let plan = plan(sql);
            assert!(plan.contains(index) && !plan.contains("SCAN tasks"), "{sql}: {plan}");
        }
        for sql in [NEXT_DEALT, &format!("SELECT {COLUMNS} {DEALT}"), ALL_DEALT] {
            let plan = plan(sql);
            assert!(plan.contains("tasks_dealt (pool=?") && !plan.contains("SCAN tasks"), "{sql}: {plan}");
        }
        let plan = plan("SELECT DISTINCT pool FROM task_counts");
        assert!(!plan.contains("TEMP B-TREE"), "{plan}");
    }

    /// A list of tasks that were put in with these ranks.
    fn listed(tasks: impl IntoIterator<Item = (Task, i64)>, most: &[u32]) -> Vec<Listed> {
        let dir = tempfile::tempdir().unwrap();
        let mut db = Connection::open(dir.path().join("db")).unwrap();
        super::super::schema::migrate(&mut db).unwrap();
        let turn = db.transaction().unwrap();
        let queues = Tasks::new(&turn);
        tasks.into_iter().for_each(|(mut task, rank)| queues.insert(&mut task, rank).unwrap());
        queues.finish().unwrap();
        turn.commit().unwrap();
        most.iter().map(|most| super::tasks(&db, &TaskFilter { most: *most, ..TaskFilter::default() }).unwrap()).collect()
    }

    fn ids(listed: &Listed) -> Vec<u64> {
        listed.tasks.iter().map(|(task, _)| task.id).collect()
    }

    #[test]
    fn a_list_ends_before_it_is_too_much_to_carry_and_says_so() {
        let payload = serde_json::Value::from("x".repeat(256 * 1024));
        let ended = |n: i64| {
            let (pool, result) = (format!("p{}", n % 2), Some(payload.clone()));
            let (state, finished, payload) = (TaskState::Succeeded, Some(Wall(n)), payload.clone());
            (Task { pool, state, finished, payload, result, ..Task::default() }, 0)
        };
        let lists = listed((1..=80).map(ended), &[7, 0]);
        assert_eq!((ids(&lists[0]), lists[0].cut), ((74..=80).rev().collect(), false));
        assert_eq!((ids(&lists[1]), lists[1].cut), ((50..=80).rev().collect(), true), "each is a little more than half a MiB");
    }

    #[test]
    fn who_asks_for_more_than_can_be_listed_is_told_that_there_are_more() {
        let task = |n: u32| (Task { pool: "p".into(), ..Task::default() }, i64::from(n));
        let seen = |there: u32| {
            let lists = listed((0..there).map(task), &[0, u32::MAX, LISTED_MAX]);
            lists.iter().map(|list| (list.tasks.len(), list.cut)).collect::<Vec<_>>()
        };
        assert_eq!(seen(LISTED_MAX), [(10_000, false); 3]);
        assert_eq!(seen(LISTED_MAX + 1), [(10_000, true), (10_000, true), (10_000, false)]);
    }

    #[test]
    fn tasks_of_one_rank_stand_in_their_order_also_where_priority_lifts_them_above_all_time() {
        let task = |n: usize| (Task { pool: format!("p{}", n % 2), ..Task::default() }, -7);
        let lists = listed((0..4).map(task), &[0, 3]);
        assert_eq!((ids(&lists[0]), ids(&lists[1])), (vec![1, 2, 3, 4], vec![1, 2, 3]));
        let places: Vec<_> = lists[0].tasks.iter().map(|(_, place)| *place).collect();
        assert_eq!(places, [Some(1), Some(1), Some(2), Some(2)]);
    }
}
