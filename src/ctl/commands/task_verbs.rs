//! Tasks, changed: `cancel`, `release`, `retry`, `delete task/ID`.
//!
//! One that refuses does not keep the others from being asked. Many are named by what they are, and then only shown until it is said
//! that all are meant.

use hyper::Method;
use serde_json::json;

use super::Context;
use super::task_get::{self, Which};
use super::tasks::{fetch, ids, listed};
use crate::ctl::args::{Cancel, Many, TaskIds};
use crate::ctl::client::Sent;
use crate::ctl::error::{Failure, Refusals};
use crate::ctl::print::{Format, emit, note};
use crate::ctl::text::tame;
use crate::model::reading::counted;
use crate::model::status::Kind;
use crate::model::task::{Task, TaskState};
use crate::serve::wire::tasks::TaskView;

async fn ask(context: &Context, id: u64, verb: &str) -> Result<TaskView, Failure> {
    context.client.ask(Method::POST, &format!("/v1/tasks/{id}/{verb}"), Sent::json(&json!({}))).await
}

/// `ctl cancel`
pub(super) async fn cancel(context: &Context, args: &Cancel) -> Result<(), Failure> {
    let ids = match &args.worker {
        None if args.many.is_given() => {
            found(context, &args.many, ("cancelled", &[TaskState::Held, TaskState::Queued, TaskState::Leased])).await?
        }
        None => ids(&args.tasks)?,
        Some(worker) => {
            let running = listed(context, "state=Leased&limit=10000").await?;
            let has = |view: &&TaskView| view.task.worker.as_ref() == Some(worker);
            let ids: Vec<u64> = running.iter().filter(has).map(|view| view.task.id).collect();
            if ids.is_empty() {
                context.get(Kind::Worker, worker).await?;
                return Err(Failure::No(format!("worker {} has no task", tame(worker))));
            }
            ids
        }
    };
    each(context, &ids, "cancel", cancelled).await
}

/// The tasks that are meant by what they are, of those to which something can be done; none where that is not to be done yet.
async fn found(context: &Context, many: &Many, (done, to): (&str, &[TaskState])) -> Result<Vec<u64>, Failure> {
    if many.pool.is_none() && many.status.is_none() {
        return Err(Failure::Usage("--all: of which? Say --pool NAME, or --status STATES".into()));
    }
    let can: Vec<&str> = to.iter().map(|state| state.name()).collect();
    let status = many.status.clone().unwrap_or_else(|| can.join(","));
    let which = Which::new(many.pool.as_deref(), Some(&status), "")?;
    let mut tasks = which.list(context, Some(task_get::ALL)).await?;
    tasks.retain(|view| to.contains(&view.task.state));
    if tasks.is_empty() {
        note("No resources found.");
    } else if !many.all {
        task_get::show(&tasks, &Format::Table { wide: false }, true, false)?;
        let words = format!("{} would be {done}: add --all to have it done", counted(tasks.len() as u64, "task"));
        return Err(Failure::No(words));
    }
    Ok(waiting_first(tasks))
}

/// Those that wait before those that run: whoever runs makes room when it is stopped, and what waits would begin just to be stopped too.
/// And what comes after others before those, with which it would end.
fn waiting_first(mut tasks: Vec<TaskView>) -> Vec<u64> {
    let later = |task: &Task| (!task.after.is_empty()).then_some(task.id);
    tasks.sort_by_key(|view| (view.task.state == TaskState::Leased, std::cmp::Reverse(later(&view.task))));
    tasks.iter().map(|view| view.task.id).collect()
}

fn cancelled(task: &Task) -> String {
    let how = if task.state == TaskState::Cancelled { "cancelled" } else { "is being stopped" };
    format!("task/{} {how}\n", task.id)
}

/// `ctl delete task/ID`: take them back.
pub(super) async fn delete(context: &Context, ids: &[u64], dry_run: bool) -> Result<(), Failure> {
    if ids.is_empty() {
        return Err(Failure::Usage("say which task: task/ID; or ctl cancel --pool NAME --all".into()));
    }
    if !dry_run {
        return each(context, ids, "cancel", cancelled).await;
    }
    for id in ids {
        let task = fetch(context, *id).await?.task;
        if task.state.is_final() {
            return Err(Failure::No(format!("task/{id} is {} already", task.state.name())));
        }
        emit(&format!("task/{id} cancelled (dry run)\n"))?;
    }
    Ok(())
}

/// `ctl release`
pub(super) async fn release(context: &Context, args: &TaskIds) -> Result<(), Failure> {
    let ids = if args.many.is_given() {
        found(context, &args.many, ("released", &[TaskState::Held])).await?
    } else {
        ids(&args.tasks)?
    };
    each(context, &ids, "release", |task| format!("task/{} released\n", task.id)).await
}

/// `ctl retry`
pub(super) async fn retry(context: &Context, args: &TaskIds) -> Result<(), Failure> {
    let to = [TaskState::Failed, TaskState::Dead, TaskState::Cancelled, TaskState::Expired];
    let ids = if args.many.is_given() { found(context, &args.many, ("tried again", &to)).await? } else { ids(&args.tasks)? };
    each(context, &ids, "retry", |task| format!("task/{} queued again\n", task.id)).await
}

/// Ask the same of each; one that refuses does not keep the others from being asked.
async fn each(context: &Context, ids: &[u64], verb: &str, words: impl Fn(&Task) -> String) -> Result<(), Failure> {
    let mut refusals = Refusals::default();
    for id in ids {
        if let Some(view) = refusals.heard(ask(context, *id, verb).await)? {
            emit(&words(&view.task))?;
        }
    }
    refusals.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_cancelled_before_what_runs_makes_room_for_it() {
        let view = |(id, state)| TaskView { task: Task { id, state, ..Task::default() }, ..TaskView::default() };
        let states = [(1, TaskState::Leased), (2, TaskState::Leased), (3, TaskState::Queued), (4, TaskState::Held)];
        let mut tasks = states.map(view).to_vec();
        let later = |id, after| Task { id, state: TaskState::Held, after: vec![after], ..Task::default() };
        tasks.extend([later(5, 1), later(6, 5)].map(|task| TaskView { task, ..TaskView::default() }));
        assert_eq!(waiting_first(tasks), [6, 5, 3, 4, 1, 2]);
    }
}
