//! Tasks by their names, and one of them in whole: `describe task`.
//!
//! Tasks are named by their number, `12` or `task/12`. They are in the daemon's store only: without a daemon there is nothing
//! to show.

use hyper::Method;
use serde_json::Value;

use super::Context;
use super::describe::{Sheet, events_of};
use crate::ctl::client::Sent;
use crate::ctl::error::Failure;
use crate::ctl::print::{emit, note, shown_yaml};
use crate::ctl::resource::TASKS;
use crate::ctl::time::{age, now};
use crate::model::meta::quoted;
use crate::model::task::{Task, TaskState};
use crate::model::time::Wall;
use crate::serve::wire::columns::text;
use crate::serve::wire::task_columns::{ended, message, standing, state};
use crate::serve::wire::tasks::{TaskList, TaskView};

/// The numbers of tasks, when it is tasks that are meant: `tasks`, `task 12 13`, `task/12 task/13`.
///
/// # Errors
/// Usage: something else beside them, or no number.
pub(super) fn meant(words: &[String]) -> Result<Option<Vec<u64>>, Failure> {
    let is_task = |word: &str| TASKS.contains(&word.to_lowercase().as_str());
    let Some(first) = words.first() else { return Ok(None) };
    if is_task(first) {
        return ids(&words[1..]).map(Some);
    }
    if first.split_once('/').is_some_and(|(kind, _)| is_task(kind)) { ids(words).map(Some) } else { Ok(None) }
}

/// The other types of a list of types that has tasks in it, as `pools,tasks`.
pub(super) fn apart(words: &[String]) -> Option<String> {
    let [list] = words else { return None };
    let is_task = |word: &&str| TASKS.contains(&word.to_lowercase().as_str());
    let (tasks, others): (Vec<&str>, Vec<&str>) = list.split(',').partition(is_task);
    (!tasks.is_empty() && !others.is_empty()).then(|| others.join(","))
}

/// The numbers of tasks, each as `12` or `task/12`.
///
/// # Errors
/// Usage.
pub(super) fn ids(words: &[String]) -> Result<Vec<u64>, Failure> {
    let id = |word: &String| {
        let bare = match word.split_once('/') {
            Some((kind, bare)) if TASKS.contains(&kind.to_lowercase().as_str()) => bare,
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
    if list.cut {
        note("there are more tasks than can be carried at once: these are the first ones; ask for one pool, or for some states");
    }
    Ok(list.items)
}

/// As it is printed in the formats for programs.
pub(super) fn value(view: &TaskView) -> Value {
    serde_json::to_value(view).expect("a task is plain data with string keys")
}

/// `ctl describe task`
pub(super) async fn describe(context: &Context, ids: &[u64]) -> Result<(), Failure> {
    if ids.is_empty() {
        return Err(Failure::Usage("say which task: task/ID".into()));
    }
    let mut parts = Vec::new();
    for id in ids {
        let view = fetch(context, *id).await?;
        let pool = format!("pool/{}", view.task.pool);
        let mine = |event: &Value| text(event, "/regarding") == pool && is_about(text(event, "/note"), *id);
        parts.push(sheet(&view, now()) + &events_of(context, mine).await?);
    }
    emit(&parts.join("\n\n"))
}

/// What is told of a task is told of its pool, and begins with its number.
fn is_about(note: &str, id: u64) -> bool {
    let named = note.strip_prefix("task ").and_then(|rest| rest.split([' ', ',']).next());
    named.and_then(|number| number.parse().ok()) == Some(id)
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
    sheet.maybe("Message", &message(task));
    sheet.maybe("Untrusted fields", &task.untrusted_fields.join(", "));
    sheet.block("Payload", &shown_yaml(&task.payload));
    if let Some(result) = &task.result {
        sheet.block("Result", &shown_yaml(result));
    }
    sheet.text()
}

fn expiry(task: &Task, now: Wall) -> String {
    let waits = matches!(task.state, TaskState::Held | TaskState::Queued);
    let when = |at: Wall| if at > now { format!("{at} (in {})", age(now, at)) } else { format!("{at} (at any moment)") };
    task.expires.filter(|_| waits).map_or_else(String::new, when)
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
