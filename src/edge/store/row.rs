//! A task as a row: most of it in one JSON body, in columns of its own what is asked for.
//!
//! Reads what was written by this weir or an older one; a row that does not read is an error of its column.

use rusqlite::Row;

use crate::model::task::{End, Task, TaskState};
use crate::model::time::{Moment, Span, Wall};

/// A task that waits for somebody to release it.
pub(super) const HELD: i64 = 0;
/// A task that waits and could be taken.
pub(super) const READY: i64 = 1;
/// A task that waits for its time.
pub(super) const DELAYED: i64 = 2;
/// A task that waits for another of its key.
pub(super) const BLOCKED: i64 = 3;
/// A task that a worker has.
pub(super) const LEASED: i64 = 4;
/// A task that succeeded.
pub(super) const SUCCEEDED: i64 = 5;
/// Tasks that have ended.
pub(super) const ENDED: std::ops::RangeInclusive<i64> = SUCCEEDED..=9;
/// Those of them in which a worker had the task at the end: that succeeded, failed, or are dead.
pub(super) const RAN: std::ops::RangeInclusive<i64> = SUCCEEDED..=7;

/// Phases there are.
pub(super) const PHASES: usize = 10;

/// What [`read`] needs of a row, in its order.
pub(super) const COLUMNS: &str = "id, worker, not_before, expires, finished, nonce, deadline, lease_until, body, payload, result";

/// The number of a state in the rows.
pub(super) fn phase(task: &Task) -> i64 {
    match task.state {
        TaskState::Held => HELD,
        TaskState::Queued if task.not_before.is_some() => DELAYED,
        TaskState::Queued if task.blocked => BLOCKED,
        TaskState::Queued => READY,
        TaskState::Leased => LEASED,
        TaskState::Succeeded => SUCCEEDED,
        TaskState::Failed => 6,
        TaskState::Dead => 7,
        TaskState::Cancelled => 8,
        TaskState::Expired => 9,
    }
}

/// The numbers that a state can have in the rows.
pub(super) fn phases(state: TaskState) -> &'static [i64] {
    match state {
        TaskState::Held => &[HELD],
        TaskState::Queued => &[READY, DELAYED, BLOCKED],
        TaskState::Leased => &[LEASED],
        TaskState::Succeeded => &[SUCCEEDED],
        TaskState::Failed => &[6],
        TaskState::Dead => &[7],
        TaskState::Cancelled => &[8],
        TaskState::Expired => &[9],
    }
}

/// What a row of [`COLUMNS`] carries, in bytes.
pub(super) fn bytes(row: &Row<'_>) -> rusqlite::Result<usize> {
    [8, 9, 10].into_iter().map(|at| Ok(row.get_ref(at)?.as_bytes_or_null()?.map_or(0, <[u8]>::len))).sum()
}

/// The task of a row of [`COLUMNS`].
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<Task> {
    let wall = |at: usize| row.get::<_, Option<i64>>(at).map(|ms| ms.map(Wall));
    let moment = |at: usize| row.get::<_, Option<i64>>(at).map(|ms| ms.map(|ms| Moment(ms.cast_unsigned())));
    let json = |text: &str| serde_json::from_str(text);
    let bad = |at: usize| {
        move |e: serde_json::Error| rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, e.into())
    };
    let body: Task = serde_json::from_str(row.get_ref(8)?.as_str()?).map_err(bad(8))?;
    let worker: String = row.get(1)?;
    Ok(Task {
        id: row.get::<_, i64>(0)?.cast_unsigned(),
        worker: (!worker.is_empty()).then_some(worker),
        not_before: wall(2)?,
        expires: wall(3)?,
        finished: wall(4)?,
        nonce: row.get::<_, i64>(5)?.cast_unsigned(),
        deadline: moment(6)?,
        lease_until: moment(7)?,
        payload: json(row.get_ref(9)?.as_str()?).map_err(bad(9))?,
        result: row.get_ref(10)?.as_str_or_null()?.map(json).transpose().map_err(bad(10))?,
        ..body
    })
}

/// What is left of a task that is gone, in a row that begins with its number and has `finished` and `body` at 2 and 3.
pub(super) fn gone(row: &Row<'_>) -> rusqlite::Result<Option<Task>> {
    let Some(body) = row.get::<_, Option<String>>(3)? else { return Ok(None) };
    // What does not read is not known any more.
    let Ok(task) = serde_json::from_str::<Task>(&body) else { return Ok(None) };
    let finished = row.get::<_, Option<i64>>(2)?.map(Wall);
    Ok(Some(Task { id: row.get::<_, i64>(0)?.cast_unsigned(), finished, ..task }))
}

/// What of a task has no column of its own. Reads back as a [`Task`].
#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Rest<'a> {
    pool: &'a str,
    state: TaskState,
    priority: u8,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: &'a Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    idempotency_key: &'a Option<String>,
    run: u64,
    epoch: u64,
    attempt: u32,
    max_attempts: u32,
    timeout: Span,
    created: Wall,
    ttl: Span,
    #[serde(skip_serializing_if = "Option::is_none")]
    started: Option<Wall>,
    #[serde(skip_serializing_if = "Option::is_none")]
    begun: Option<Moment>,
    #[serde(skip_serializing_if = "<[u64]>::is_empty")]
    after: &'a [u64],
    blocked: bool,
    cancelling: bool,
    progress: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    end: &'a Option<End>,
    source: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    untrusted_fields: &'a [String],
}

/// What of a task has no column of its own, as JSON.
pub(super) fn body(task: &Task) -> String {
    let rest = Rest {
        pool: &task.pool,
        state: task.state,
        priority: task.priority,
        key: &task.key,
        idempotency_key: &task.idempotency_key,
        run: task.run,
        epoch: task.epoch,
        attempt: task.attempt,
        max_attempts: task.max_attempts,
        timeout: task.timeout,
        created: task.created,
        ttl: task.ttl,
        started: task.started,
        begun: task.begun,
        after: &task.after,
        blocked: task.blocked,
        cancelling: task.cancelling,
        progress: &task.progress,
        end: &task.end,
        source: &task.source,
        untrusted_fields: &task.untrusted_fields,
    };
    serde_json::to_string(&rest).expect("a task is plain data with string keys")
}
