//! The rows of tasks that come after others: found, decided on by `decide::dispatch::after`, and written with the end of the
//! earlier one.

use std::collections::VecDeque;

use super::order_key;
use crate::decide::dispatch::after;
use crate::edge::store::tasks::Tasks;
use crate::model::queue_work::QueueRefusal;
use crate::model::task::{Task, TaskState};
use crate::model::time::Wall;

/// Leave of what a new task is to come after those that have not succeeded yet.
pub(super) fn unmet(tables: &Tasks<'_>, mut task: Task, wall: Wall) -> rusqlite::Result<Result<Task, QueueRefusal>> {
    for id in task.after.clone() {
        match after::waits(id, tables.get(id)?.as_ref()) {
            Ok(true) => {}
            Ok(false) => task = after::heard(task, (id, TaskState::Succeeded), wall),
            Err(refusal) => return Ok(Err(refusal)),
        }
    }
    Ok(Ok(task))
}

/// Have a new task heard of when those that it comes after end.
pub(super) fn wait(tables: &Tasks<'_>, task: &Task) -> rusqlite::Result<()> {
    task.after.iter().try_for_each(|earlier| tables.depend(*earlier, task.id, true))
}

/// A task that waited for others does so no more.
pub(super) fn forget(tables: &Tasks<'_>, before: &Task, task: &Task) -> rusqlite::Result<()> {
    let gone = before.after.iter().filter(|earlier| !task.after.contains(earlier));
    gone.into_iter().try_for_each(|earlier| tables.depend(*earlier, task.id, false))
}

/// Those that wait for a task that has ended hear of it, and of those that end by that the next ones. Gives those that ended.
pub(super) fn tell(tables: &Tasks<'_>, ended: &Task, wall: Wall) -> rusqlite::Result<Vec<Task>> {
    let mut given_up = Vec::new();
    let mut ends = VecDeque::new();
    if ended.state.is_final() {
        ends.push_back((ended.id, ended.state));
    }
    while let Some(end) = ends.pop_front() {
        for id in tables.dependants(end.0)? {
            let Some(before) = tables.get(id)? else {
                tables.depend(end.0, id, false)?;
                continue;
            };
            let task = after::heard(before.clone(), end, wall);
            forget(tables, &before, &task)?;
            tables.put(&before, &task)?;
            if before.state != task.state {
                order_key(tables, &task)?;
            }
            if task.state.is_final() {
                ends.push_back((id, task.state));
                given_up.push(task);
            }
        }
    }
    Ok(given_up)
}
