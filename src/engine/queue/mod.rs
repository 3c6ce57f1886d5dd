//! The work with the queues, inside the store's transactions: rows are read, decided on by `decide::dispatch`, and written.
//!
//! One `match` over the work. Nothing is decided here but which rows a decision needs; what cannot be done is an answer and
//! changes nothing. A key's tasks are put in order after each change: one of them at most can be taken.

mod after;
#[cfg(test)]
mod tests;

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use crate::decide::dispatch;
use crate::decide::dispatch::deal::{self, Load};
use crate::edge::store::tasks::Tasks;
use crate::model::queue::{Dispatch, Queue, Retention};
use crate::model::queue_work::{QueueAnswer, QueueRefusal, QueueWork, Submitted, Taker};
use crate::model::task::{End, NewTask, Task, Token};
use crate::model::time::{Now, Span, Wall};

/// Rows looked at in one go by the clock's work: a transaction stays short.
const TICK_MAX: u32 = 500;
/// An idempotency key is remembered for at least this long: redelivered webhooks come back after days.
const KEYS_KEPT: Span = Span::secs(8 * 24 * 3600);
/// When a full queue may have room again.
const RETRY_AFTER: Span = Span::secs(5);

type Answer = rusqlite::Result<QueueAnswer>;

/// Do one piece of work.
///
/// # Errors
/// Any of SQLite's: then nothing of its batch is done.
pub fn work(tables: &Tasks<'_>, work: &QueueWork, now: Now) -> Answer {
    match work {
        QueueWork::Submit { pool, queue, tasks, workers } => submit(tables, (pool, queue), tasks, workers, now.wall),
        QueueWork::Lease { pool, queue, taker } => {
            Ok(QueueAnswer::Leased(lease(tables, (pool, queue), taker, now)?.map(Box::new)))
        }
        QueueWork::End { token, end: how, result, output, queue, next } => {
            let how = (how.clone(), output.as_str());
            match end(tables, (token, queue), how, result.as_ref(), now)? {
                Err(refusal) => Ok(QueueAnswer::Refused(refusal)),
                Ok((task, holder, paused)) => {
                    let given_up = after::tell(tables, &task, now.wall)?;
                    let next = next.as_ref().map(|taker| lease(tables, (&task.pool, queue), taker, now)).transpose()?.flatten();
                    Ok(QueueAnswer::Ended { task: Box::new(task), holder, paused, next: next.map(Box::new), given_up })
                }
            }
        }
        QueueWork::Heartbeat { token, extend, progress, queue, since } => {
            let wish = (*extend, progress.as_deref());
            change(tables, token.id, now.wall, |task| dispatch::heartbeat(task, token, wish, (queue, *since), now))
        }
        QueueWork::Cancel { id } => change(tables, *id, now.wall, |task| dispatch::cancel(task, now.wall)),
        QueueWork::Release { id } => change(tables, *id, now.wall, |task| dispatch::release(task, now.wall)),
        QueueWork::Redrive { id } => change(tables, *id, now.wall, |task| dispatch::redrive(task, now.wall)),
        QueueWork::Tick { pool, queue, workers } => tick(tables, (pool, queue), workers, now.wall),
        QueueWork::Sweep { pool, retention } => sweep(tables, pool, *retention, now.wall),
        QueueWork::Deal { pool, workers, joined } => redeal(tables, pool, (workers, joined)),
        QueueWork::Pause { pool, until, why } => tables.pause(pool, *until, why).map(|()| QueueAnswer::Done),
        QueueWork::Recur { pool, queue, schedule, fired, task, workers } => {
            tables.fired((pool, schedule), fired.as_ref())?;
            let Some(task) = task else { return Ok(QueueAnswer::Done) };
            submit(tables, (pool, queue), std::slice::from_ref(&**task), workers, now.wall)
        }
    }
}

fn submit(tables: &Tasks<'_>, (pool, queue): (&str, &Queue), new: &[NewTask], workers: &[String], wall: Wall) -> Answer {
    let mut made = Vec::new();
    let mut fresh = 0;
    for (n, task) in new.iter().enumerate() {
        let known = known(tables, pool, task, wall)?;
        fresh += u64::from(known.is_none());
        let made_of = match dispatch::submit(pool, queue, task, wall) {
            // One that was taken in before waits for what it was told then.
            Ok(task) if known.is_none() => after::unmet(tables, task, wall)?,
            other => other,
        };
        match made_of {
            Ok(task) => made.push((task, known)),
            Err(refusal) => return Ok(QueueAnswer::Refused(of_several(refusal, (n, new.len())))),
        }
    }
    // Several with one key are one task.
    let mut keys = BTreeSet::new();
    let apart = new.iter().filter(|task| task.idempotency_key.as_ref().is_none_or(|key| keys.insert(key))).count() as u64;
    if apart.min(fresh) > u64::from(queue.capacity) {
        let message =
            format!("{apart} tasks at once: the queue of {pool} holds {} at most (spec.queue.capacity)", queue.capacity);
        return Ok(QueueAnswer::Refused(QueueRefusal::Invalid(message)));
    }
    let waiting = tables.waiting(pool)?;
    if fresh > 0 && waiting + fresh > u64::from(queue.capacity) {
        let message = full(pool, (waiting, fresh), queue.capacity);
        return Ok(QueueAnswer::Refused(QueueRefusal::Full { message, retry_after: RETRY_AFTER }));
    }
    let mut submitted = Vec::new();
    for ((task, known_before), new) in made.into_iter().zip(new) {
        // Another one of the same call may have had the same key.
        let known =
            if known_before.is_none() && new.idempotency_key.is_some() { known(tables, pool, new, wall)? } else { known_before };
        submitted.push(match known {
            Some(task) => Submitted { position: tables.position(&task, dispatch::rank(&task, queue))?, task, known: true },
            None => add(tables, queue, task, (new, workers), wall)?,
        });
    }
    Ok(QueueAnswer::Submitted(submitted))
}

/// With which of them it is, where there are several.
fn of_several(refusal: QueueRefusal, (n, of): (usize, usize)) -> QueueRefusal {
    let which = |words: String| if of == 1 { words } else { format!("task {} of {of}: {words}", n + 1) };
    match refusal {
        QueueRefusal::Invalid(words) => QueueRefusal::Invalid(which(words)),
        QueueRefusal::Conflict(words) => QueueRefusal::Conflict(which(words)),
        QueueRefusal::NoTask(_) | QueueRefusal::Full { .. } => refusal,
    }
}

/// That there is no room for so many more; those that are held count as waiting too.
fn full(pool: &str, (waiting, more): (u64, u64), capacity: u32) -> String {
    let wait = if waiting == 1 { "1 task waits".to_owned() } else { format!("{waiting} tasks wait") };
    let what = if waiting >= u64::from(capacity) {
        format!("the queue of {pool} is full")
    } else {
        format!("the queue of {pool} has no room for {more} more")
    };
    format!("{what}: {wait}, spec.queue.capacity is {capacity}")
}

fn known(tables: &Tasks<'_>, pool: &str, new: &NewTask, wall: Wall) -> rusqlite::Result<Option<Task>> {
    for key in new.idempotency_key.iter().chain(&new.also) {
        if let Some(task) = tables.known(pool, key, wall)? {
            return Ok(Some(task));
        }
    }
    Ok(None)
}

fn add(
    tables: &Tasks<'_>,
    queue: &Queue,
    mut task: Task,
    (new, workers): (&NewTask, &[String]),
    wall: Wall,
) -> rusqlite::Result<Submitted> {
    if queue.dispatch == Dispatch::PerWorker {
        task.worker = choose(tables, &task.pool, workers)?;
    }
    let rank = dispatch::rank(&task, queue);
    tables.insert(&mut task, rank)?;
    after::wait(tables, &task)?;
    let until = dispatch::later(wall, KEYS_KEPT.max(queue.retention.succeeded).max(queue.retention.failed));
    for key in new.idempotency_key.iter().chain(&new.also) {
        tables.remember((&task.pool, key, task.id), until, wall)?;
    }
    if task.key.is_some() {
        order_key(tables, &task)?;
        task = tables.get(task.id)?.unwrap_or(task);
    }
    let position = tables.position(&task, rank)?;
    Ok(Submitted { task, known: false, position })
}

/// The worker whose turn it is.
fn choose(tables: &Tasks<'_>, pool: &str, workers: &[String]) -> rusqlite::Result<Option<String>> {
    let (loads, cursor) = tables.loads(pool, workers)?;
    let Some(at) = deal::deal(&loads, cursor) else { return Ok(None) };
    tables.set_cursor(pool, (at + 1) % workers.len())?;
    Ok(workers.get(at).cloned())
}

/// Of the tasks of one key, one at most can be taken: the first, and none while one has a worker.
fn order_key(tables: &Tasks<'_>, task: &Task) -> rusqlite::Result<()> {
    let Some(key) = &task.key else { return Ok(()) };
    let (first, leased) = tables.first_of_key(&task.pool, key)?;
    let first = first.filter(|_| !leased);
    for ready in tables.ready_of_key(&task.pool, key)? {
        if first.as_ref().is_none_or(|first| first.id != ready.id) {
            tables.put(&ready, &Task { blocked: true, ..ready.clone() })?;
        }
    }
    match first {
        Some(first) if first.blocked => tables.put(&first, &Task { blocked: false, ..first.clone() }),
        Some(_) | None => Ok(()),
    }
}

fn lease(tables: &Tasks<'_>, (pool, queue): (&str, &Queue), taker: &Taker, now: Now) -> rusqlite::Result<Option<Task>> {
    if tables.paused_until(pool)?.is_some_and(|until| until > now.wall) {
        return Ok(None);
    }
    let own = if queue.dispatch == Dispatch::PerWorker { taker.worker.as_str() } else { "" };
    let Some(before) = tables.next(pool, own)? else { return Ok(None) };
    let task = dispatch::lease(before.clone(), queue, taker, now);
    tables.put(&before, &task)?;
    order_key(tables, &task)?;
    Ok(Some(task))
}

type Ending = Result<(Task, (String, u64), Option<Wall>), QueueRefusal>;

fn end(
    tables: &Tasks<'_>,
    (token, queue): (&Token, &Queue),
    how: (End, &str),
    result: Option<&serde_json::Value>,
    now: Now,
) -> rusqlite::Result<Ending> {
    let Some(before) = tables.get(token.id)? else { return Ok(Err(QueueRefusal::NoTask(token.id))) };
    let mut ended = match dispatch::end(before.clone(), token, how, queue, now) {
        Ok(ended) => ended,
        Err(refusal) => return Ok(Err(refusal)),
    };
    if let Some(result) = result {
        // Of a process nobody is there to give a smaller one.
        let fits = if before.lease_until.is_some() { dispatch::result_fits(result) } else { Ok(()) };
        if let Err(refusal) = fits {
            return Ok(Err(refusal));
        }
        ended.task.result = Some(result.clone());
    }
    if queue.dispatch == Dispatch::PerWorker && !ended.task.state.is_final() {
        // It stays with its worker, whose own it may go on with; when that one is gone it is dealt anew.
        ended.task.worker.clone_from(&before.worker);
    }
    tables.put(&before, &ended.task)?;
    if ended.behind {
        tables.place(ended.task.id, dispatch::rank_behind(&ended.task, queue, now.wall))?;
    }
    order_key(tables, &ended.task)?;
    // A pause that somebody else made and that lasts longer stays as it is.
    let held = tables.paused_until(&before.pool)?;
    let pause = ended.pause.filter(|(until, _)| held.is_none_or(|held| held < *until));
    if let Some((until, why)) = &pause {
        tables.pause(&before.pool, Some(*until), why)?;
    }
    let holder = (before.worker.unwrap_or_default(), before.run);
    Ok(Ok((ended.task, holder, pause.map(|(until, _)| until))))
}

fn change(tables: &Tasks<'_>, id: u64, wall: Wall, step: impl FnOnce(Task) -> dispatch::Step) -> Answer {
    let Some(before) = tables.get(id)? else { return Ok(QueueAnswer::Refused(QueueRefusal::NoTask(id))) };
    match step(before.clone()) {
        Err(refusal) => Ok(QueueAnswer::Refused(refusal)),
        Ok(task) => {
            tables.put(&before, &task)?;
            if before.state != task.state {
                order_key(tables, &task)?;
            }
            after::forget(tables, &before, &task)?;
            let given_up = after::tell(tables, &task, wall)?;
            Ok(QueueAnswer::Task { task: Box::new(tables.get(id)?.unwrap_or(task)), given_up })
        }
    }
}

fn tick(tables: &Tasks<'_>, (pool, queue): (&str, &Queue), workers: &[String], wall: Wall) -> Answer {
    let due = tables.due(pool, wall, TICK_MAX)?;
    let mut more = due.len() >= TICK_MAX as usize;
    for before in due {
        let mut task = Task { not_before: None, ..before.clone() };
        if queue.dispatch == Dispatch::PerWorker && task.worker.is_none() {
            task.worker = choose(tables, pool, workers)?;
        }
        tables.put(&before, &task)?;
        order_key(tables, &task)?;
    }
    let far = tables.far(pool, dispatch::later(wall, dispatch::line::longest(queue)), TICK_MAX)?;
    more |= far.len() >= TICK_MAX as usize;
    for before in far {
        let wait = dispatch::failure::backoff(queue, before.attempt.max(1), before.id);
        tables.put(&before, &Task { not_before: Some(dispatch::later(wall, wait)), ..before.clone() })?;
    }
    let (expired, given_up) = expire(tables, pool, wall)?;
    more |= expired.len() >= TICK_MAX as usize;
    let gone = tables.sweep(pool, kept_since(queue.retention, wall), TICK_MAX)?;
    more |= gone.len() >= TICK_MAX as usize;
    if tables.paused_until(pool)?.is_some_and(|until| until <= wall) {
        tables.pause(pool, None, "")?;
    }
    Ok(QueueAnswer::Ticked { expired, given_up, gone, more })
}

/// Those expire that nobody took in time; and those that were to come after them are given up.
fn expire(tables: &Tasks<'_>, pool: &str, wall: Wall) -> rusqlite::Result<(Vec<Task>, Vec<Task>)> {
    let (mut expired, mut given_up) = (Vec::new(), Vec::new());
    for before in tables.overdue(pool, wall, TICK_MAX)? {
        let task = dispatch::expire(before.clone(), wall);
        tables.put(&before, &task)?;
        order_key(tables, &task)?;
        after::forget(tables, &before, &task)?;
        given_up.extend(after::tell(tables, &task, wall)?);
        expired.push(task);
    }
    Ok((expired, given_up))
}

/// What succeeded, and what ended otherwise, is kept since then.
fn kept_since(retention: Retention, wall: Wall) -> (Wall, Wall) {
    let ago = |span: Span| Wall(wall.0.saturating_sub(i64::try_from(span.0).unwrap_or(i64::MAX)));
    (ago(retention.succeeded), ago(retention.failed))
}

/// The queue of a pool that is no more: what waits expires when its time is over, what has ended goes after the usual retention, and
/// with the last of its tasks its counts.
fn sweep(tables: &Tasks<'_>, pool: &str, retention: Retention, wall: Wall) -> Answer {
    let (expired, given_up) = expire(tables, pool, wall)?;
    let gone = tables.sweep(pool, kept_since(retention, wall), TICK_MAX)?;
    let more = gone.len().max(expired.len()) >= TICK_MAX as usize;
    if gone.is_empty() {
        tables.forget_empty(pool)?;
    }
    Ok(QueueAnswer::Ticked { expired, given_up, gone, more })
}

/// What waits for a worker that is gone waits for another one; with no workers, for whoever comes. Then who joined gets its share.
fn redeal(tables: &Tasks<'_>, pool: &str, (workers, joined): (&[String], &[String])) -> Answer {
    let stranded = tables.stranded(pool, workers, TICK_MAX)?;
    let mut more = stranded.len() >= TICK_MAX as usize;
    for before in stranded {
        let worker = choose(tables, pool, workers)?;
        tables.put(&before, &Task { worker, ..before.clone() })?;
    }
    more |= !joined.is_empty() && even_out(tables, pool, (workers, joined))? >= TICK_MAX;
    Ok(QueueAnswer::Ticked { expired: Vec::new(), given_up: Vec::new(), gone: Vec::new(), more })
}

/// Tasks of longer lines go to workers that have joined: those that never began, for one that was tried may be known where it was.
/// Gives how many went.
fn even_out(tables: &Tasks<'_>, pool: &str, (workers, joined): (&[String], &[String])) -> rusqlite::Result<u32> {
    let (tasks, _) = tables.loads(pool, workers)?;
    let load = |(worker, tasks): (&String, u64)| Load { tasks, joined: joined.contains(worker), fixed: false };
    let mut loads: Vec<Load> = workers.iter().zip(tasks).map(load).collect();
    let ahead = loads.iter().filter(|load| load.joined).map(|load| load.tasks).min().unwrap_or(0);
    // Of each line that has given one: what could go yet, and how many went.
    let mut lines: BTreeMap<usize, (VecDeque<u64>, usize)> = BTreeMap::new();
    let mut moved = 0;
    while moved < TICK_MAX
        && let Some((from, to)) = deal::even(&loads)
    {
        let (fresh, gone) = match lines.entry(from) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => new.insert((to_give(tables, (pool, &workers[from]), ahead)?, 0)),
        };
        let Some(before) = fresh.pop_front().map(|id| tables.get(id)).transpose()?.flatten() else {
            loads[from].fixed = true;
            continue;
        };
        fresh.rotate_left(deal::stay(&loads, *gone).min(fresh.len()));
        *gone += 1;
        tables.put(&before, &Task { worker: Some(workers[to].clone()), ..before.clone() })?;
        loads[from].tasks = loads[from].tasks.saturating_sub(1);
        loads[to].tasks += 1;
        moved += 1;
    }
    Ok(moved)
}

/// What could go from this line: first what stands behind as many as whoever joined has already, for what is before was left there.
fn to_give(tables: &Tasks<'_>, line: (&str, &str), ahead: u64) -> rusqlite::Result<VecDeque<u64>> {
    const MOST: u32 = 2 * TICK_MAX;
    let mut give = tables.fresh(line, ahead, MOST)?;
    if give.len() < MOST as usize {
        give.extend(tables.fresh(line, 0, u32::try_from(ahead).unwrap_or(MOST).min(MOST))?);
    }
    Ok(give.into())
}
