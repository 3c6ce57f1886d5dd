//! Tasks, looked at and changed: `get tasks`, `describe task`, `cancel`, `release`, `retry`.
//!
//! Tasks are named by their number, `12` or `task/12`. They are in the daemon's store only: without a daemon there is nothing
//! to show.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use super::describe::Sheet;
use crate::ctl::args::{Cancel, Get};
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::print::{Format, Table, as_json, as_yaml, custom_row, emit, list_of, note};
use crate::ctl::text::{tame, tame_block};
use crate::ctl::time::{age, now};
use crate::model::meta::quoted;
use crate::model::task::{Task, TaskState};
use crate::model::time::Wall;
use crate::serve::wire::task_columns::{ended, heads, message, row, standing, state};
use crate::serve::wire::tasks::{TaskList, TaskView};

/// What tasks are called.
const WORDS: [&str; 3] = ["task", "tasks", "tasks.weir.dev"];

/// The numbers of tasks, when it is tasks that are meant: `tasks`, `task 12 13`, `task/12 task/13`.
///
/// # Errors
/// Usage: something else beside them, or no number.
pub(super) fn meant(words: &[String]) -> Result<Option<Vec<u64>>, Failure> {
    let is_task = |word: &str| WORDS.contains(&word.to_lowercase().as_str());
    let Some(first) = words.first() else { return Ok(None) };
    if is_task(first) {
        return ids(&words[1..]).map(Some);
    }
    if first.split_once('/').is_some_and(|(kind, _)| is_task(kind)) { ids(words).map(Some) } else { Ok(None) }
}

/// The numbers of tasks, each as `12` or `task/12`.
///
/// # Errors
/// Usage.
pub(super) fn ids(words: &[String]) -> Result<Vec<u64>, Failure> {
    let id = |word: &String| {
        let bare = match word.split_once('/') {
            Some((kind, bare)) if WORDS.contains(&kind.to_lowercase().as_str()) => bare,
            Some(_) | None => word.as_str(),
        };
        bare.parse().map_err(|_| Failure::Usage(format!("{} is no task: name it by its number, as task/12", quoted(word))))
    };
    words.iter().map(id).collect()
}

/// One task.
pub(super) async fn fetch(context: &Context, id: u64) -> Result<TaskView, Failure> {
    context.client.ask(Method::GET, &format!("/v1/tasks/{id}"), Sent::nothing()).await
}

/// Tasks of a query.
pub(super) async fn listed(context: &Context, query: &str) -> Result<Vec<TaskView>, Failure> {
    let list: TaskList = context.client.ask(Method::GET, &format!("/v1/tasks?{query}"), Sent::nothing()).await?;
    Ok(list.items)
}

/// `ctl get tasks`
pub(super) async fn get(context: &Context, args: &Get, ids: &[u64]) -> Result<(), Failure> {
    if args.watch || args.sort_by.is_some() || !args.selector.is_empty() {
        let instead = "tasks cannot be watched, sorted or selected by labels: use --pool, --status and --limit";
        return Err(Failure::Usage(instead.into()));
    }
    let format = Format::parse(args.output.as_deref())?;
    if ids.is_empty() {
        let part = |name: &str, value: &Option<String>| value.as_ref().map(|value| format!("{name}={}&", encoded(value)));
        let limit = args.limit.map(|limit| limit.to_string());
        let query = [part("pool", &args.pool), part("state", &args.status), part("limit", &limit)];
        let tasks = listed(context, &query.into_iter().flatten().collect::<String>()).await?;
        return show(&tasks, &format, !args.no_headers, false);
    }
    let (mut tasks, mut failed) = (Vec::new(), Vec::new());
    for id in ids {
        match fetch(context, *id).await {
            Ok(task) => tasks.push(task),
            Err(failure @ Failure::Server(_)) => failed.push(failure),
            Err(failure) => return Err(failure),
        }
    }
    if !tasks.is_empty() {
        show(&tasks, &format, !args.no_headers, ids.len() == 1)?;
    }
    let last = failed.pop();
    failed.iter().for_each(|failure| eprintln!("{}", failure.text()));
    last.map_or(Ok(()), Err)
}

fn value(view: &TaskView) -> Value {
    serde_json::to_value(view).expect("a task is plain data with string keys")
}

/// Print tasks; `single`: one that was asked for by its number is printed as itself, not as a list.
pub(super) fn show(tasks: &[TaskView], format: &Format, print_head: bool, single: bool) -> Result<(), Failure> {
    let values: Vec<Value> = tasks.iter().map(value).collect();
    let whole = || match values.as_slice() {
        [only] if single => only.clone(),
        many => list_of(&many.iter().collect::<Vec<_>>()),
    };
    match format {
        Format::Yaml => emit(&as_yaml(&whole())),
        Format::Json => emit(&as_json(&whole())),
        Format::JsonPath(template) => emit(&tame_block(&template.render(&whole()))),
        Format::Name | Format::Table { .. } | Format::Columns(_) if tasks.is_empty() => {
            note("No tasks found.");
            Ok(())
        }
        Format::Name => emit(&tasks.iter().map(|view| format!("task/{}\n", view.task.id)).collect::<String>()),
        Format::Table { wide } => {
            let mut table = Table::new(&heads(*wide), print_head);
            tasks.iter().for_each(|view| table.add(row(view, *wide, now())));
            emit(&table.take())
        }
        Format::Columns(columns) => {
            let heads: Vec<String> = columns.iter().map(|(head, _)| head.clone()).collect();
            let mut table = Table::new(&heads, print_head);
            values.iter().for_each(|value| table.add(custom_row(columns, value)));
            emit(&table.take())
        }
    }
}

/// `ctl describe task`
pub(super) async fn describe(context: &Context, ids: &[u64]) -> Result<(), Failure> {
    if ids.is_empty() {
        return Err(Failure::Usage("say which task: task/ID".into()));
    }
    let mut parts = Vec::new();
    for id in ids {
        parts.push(sheet(&fetch(context, *id).await?, now()));
    }
    emit(&parts.join("\n\n"))
}

fn sheet(view: &TaskView, now: Wall) -> String {
    let task = &view.task;
    let mut sheet = Sheet::default();
    let stamp = |at: Option<Wall>| at.map_or_else(String::new, |at| format!("{at} ({} ago)", age(at, now)));
    sheet.line("Task", &task.id.to_string());
    sheet.line("Pool", &task.pool);
    sheet.line("State", state(task));
    sheet.line("Standing", &standing(view, now));
    sheet.line("Priority", &task.priority.to_string());
    sheet.maybe("Key", task.key.as_deref().unwrap_or_default());
    sheet.maybe("Idempotency key", task.idempotency_key.as_deref().unwrap_or_default());
    sheet.line("Attempt", &format!("{} of {}", task.attempt, task.max_attempts));
    sheet.maybe("Worker", task.worker.as_deref().unwrap_or_default());
    sheet.line("Timeout", &task.timeout.to_string());
    sheet.line("Source", &task.source);
    sheet.line("Created", &stamp(Some(task.created)));
    sheet.maybe("Not before", &task.not_before.map_or_else(String::new, |at| format!("{at} (in {})", age(now, at))));
    sheet.maybe("Expires", &expiry(task, now));
    sheet.maybe("Started", &stamp(task.started));
    sheet.maybe("Finished", &stamp(task.finished));
    sheet.maybe("Progress", &task.progress);
    sheet.maybe("Last end", &ended(task));
    sheet.maybe("Message", &message(task, now));
    sheet.block("Payload", &as_yaml(&task.payload));
    if let Some(result) = &task.result {
        sheet.block("Result", &as_yaml(result));
    }
    sheet.text()
}

fn expiry(task: &Task, now: Wall) -> String {
    let waits = matches!(task.state, TaskState::Held | TaskState::Queued);
    task.expires.filter(|_| waits).map_or_else(String::new, |at| format!("{at} (in {})", age(now, at)))
}

async fn ask(context: &Context, id: u64, verb: &str) -> Result<TaskView, Failure> {
    context.client.ask(Method::POST, &format!("/v1/tasks/{id}/{verb}"), Sent::json(&json!({}))).await
}

/// `ctl cancel`
pub(super) async fn cancel(context: &Context, args: &Cancel) -> Result<(), Failure> {
    let ids = match &args.worker {
        None => ids(&args.tasks)?,
        Some(worker) => {
            let running = listed(context, "state=Leased&limit=10000").await?;
            let has = |view: &&TaskView| view.task.worker.as_ref() == Some(worker);
            let ids: Vec<u64> = running.iter().filter(has).map(|view| view.task.id).collect();
            if ids.is_empty() {
                return Err(Failure::No(format!("worker {} has no task", tame(worker))));
            }
            ids
        }
    };
    each(context, &ids, "cancel", |task| {
        let how = if task.state == TaskState::Cancelled { "cancelled" } else { "is being stopped" };
        format!("task/{} {how}\n", task.id)
    })
    .await
}

/// `ctl release`
pub(super) async fn release(context: &Context, words: &[String]) -> Result<(), Failure> {
    each(context, &ids(words)?, "release", |task| format!("task/{} released\n", task.id)).await
}

/// `ctl retry`
pub(super) async fn retry(context: &Context, words: &[String]) -> Result<(), Failure> {
    each(context, &ids(words)?, "retry", |task| format!("task/{} queued again\n", task.id)).await
}

/// Ask the same of each; one that refuses does not keep the others from being asked.
async fn each(context: &Context, ids: &[u64], verb: &str, words: impl Fn(&Task) -> String) -> Result<(), Failure> {
    let mut failed = None;
    for id in ids {
        match ask(context, *id, verb).await {
            Ok(view) => emit(&words(&view.task))?,
            Err(failure @ Failure::Server(_)) => {
                if let Some(before) = failed.replace(failure) {
                    eprintln!("{}", before.text());
                }
            }
            Err(failure) => return Err(failure),
        }
    }
    failed.map_or(Ok(()), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tasks_are_named_by_their_numbers() {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        for (text, expected) in
            [("tasks", Some(vec![])), ("task 1 2", Some(vec![1, 2])), ("task/7 Tasks/8 9", Some(vec![7, 8, 9])), ("pools", None)]
        {
            assert_eq!(meant(&words(text)).unwrap(), expected, "{text}");
        }
        for text in ["task x", "task/", "task/1 pool/a", "task -1", "task 1/2"] {
            assert!(meant(&words(text)).is_err(), "{text}");
        }
        assert!(meant(&[]).unwrap().is_none());
    }
}
