//! `submit`: give a pool tasks, and, where it is asked for, wait until they have ended.
//!
//! Waiting is a request that is answered when it is over, asked again as long as it takes. A refusal of a full queue says when
//! to try again.

use std::io::Read;
use std::path::Path;

use hyper::Method;
use serde_json::Value;
use signal_hook::consts::SIGINT;
use tokio::io::AsyncReadExt;

use super::Context;
use super::interrupt::interruptible;
use super::task_get::show;
use super::task_wait::go_on;
use super::wait::waited;
use crate::ctl::args::Submit;
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::print::{Format, emit, note};
use crate::ctl::resource::pool;
use crate::ctl::text::tame;
use crate::ctl::time::now;
use crate::model::exact::inexact;
use crate::model::task::{NewTask, PAYLOAD_BYTES_MAX, TaskState};
use crate::model::time::{Span, Wall};
use crate::serve::wire::task_columns::standing;
use crate::serve::wire::tasks::{TaskList, TaskView};

/// One request of a wait.
const ROUND: Span = Span::secs(600);
/// How much later than the end of a wait its answer may come.
const ANSWER: Span = Span::secs(2);

/// `ctl submit`
pub(super) async fn run(context: &Context, args: &Submit) -> Result<(), Failure> {
    let format = args.output.as_deref().map(|output| Format::parse(Some(output))).transpose()?;
    let task = NewTask { payload: payload(args.file.as_deref(), &args.payload)?, ..asked(args) };
    let task = serde_json::to_value(&task).expect("a task is plain data with string keys");
    let path = format!("/v1/pools/{}/tasks", encoded(pool(&args.pool)?));
    let many = vec![task; usize::try_from(args.count).unwrap_or(1)];
    let mut tasks: TaskList = context.client.ask(Method::POST, &path, Sent::json(&Value::Array(many))).await?;
    // What had ended before is said with how it ended.
    if format.is_none() && !(args.wait.is_some() && late(&tasks.items).is_empty()) {
        emit(&said(&tasks.items))?;
    }
    if let Some(longest) = args.wait {
        let mut interrupt = interruptible(&[SIGINT])?;
        let interrupted = tokio::select! {
            all = all_ended(context, &mut tasks.items, longest) => { all?; false }
            _ = interrupt.read_u8() => true,
        };
        if interrupted {
            return Err(stopped(&tasks.items));
        }
    }
    let late = late(&tasks.items);
    match &format {
        Some(format) => show(&tasks.items, format, true, args.count == 1)?,
        None if args.wait.is_some() => results(&tasks.items)?,
        None => {}
    }
    match (args.wait, late.as_slice()) {
        (None, _) => Ok(()),
        (Some(_), []) => judge(&tasks.items, format.is_none()),
        (Some(longest), late) => {
            ended_badly(&tasks.items, format.is_none());
            Err(Failure::No(format!("timed out after {} waiting for {}", longest.unwrap_or_default(), goes_on(late))))
        }
    }
}

/// A task as the options ask for it.
pub(super) fn asked(args: &Submit) -> NewTask {
    NewTask {
        priority: args.priority,
        key: args.key.clone(),
        idempotency_key: args.idempotency_key.clone(),
        ttl: args.ttl,
        timeout: args.timeout,
        max_attempts: args.max_attempts,
        delay: args.delay,
        hold: args.hold,
        after: args.after.clone(),
        ..NewTask::default()
    }
}

/// The numbers of those that have not ended.
fn late(tasks: &[TaskView]) -> Vec<u64> {
    tasks.iter().filter(|view| !view.task.state.is_final()).map(|view| view.task.id).collect()
}

/// Which have not ended, and what to do about it.
fn goes_on(late: &[u64]) -> String {
    let first = late.first().copied().unwrap_or_default();
    let whom = if late.len() == 1 { format!("task/{first}") } else { format!("{} tasks, task/{first} the first", late.len()) };
    format!("{whom}; {}", go_on(first))
}

/// Say what goes on, and end as whoever does not hear of interrupts.
fn stopped(tasks: &[TaskView]) -> Failure {
    note(&format!("interrupted waiting for {}", goes_on(&late(tasks))));
    // It comes back only where the signal cannot be sent.
    let _failed = signal_hook::low_level::emulate_default_handler(SIGINT);
    Failure::No(String::new())
}

/// Wait for each of them that has not ended, for so long in all.
async fn all_ended(context: &Context, tasks: &mut [TaskView], longest: Option<Span>) -> Result<(), Failure> {
    let until = longest.map(|longest| Wall(now().0.saturating_add(i64::try_from(longest.0).unwrap_or(i64::MAX))));
    // One that had ended may be gone, and is known by its idempotency key alone.
    for view in tasks.iter_mut().filter(|view| !view.task.state.is_final()) {
        *view = ended(context, view.clone(), until).await?;
    }
    Ok(())
}

/// What a task carries: of a file, else the words.
pub(super) fn payload(file: Option<&Path>, words: &[String]) -> Result<Value, Failure> {
    let text = match file {
        None => words.join(" "),
        Some(file) => {
            let mut text = String::new();
            let most = 4 * PAYLOAD_BYTES_MAX as u64;
            let read = if file.as_os_str() == "-" {
                std::io::stdin().take(most).read_to_string(&mut text)
            } else {
                std::fs::File::open(file).and_then(|file| file.take(most).read_to_string(&mut text))
            };
            read.map_err(|error| Failure::Usage(format!("{}: {error}", file.display())))?;
            text
        }
    };
    let nothing = file.is_none() && words.is_empty();
    if nothing {
        note("note: nothing was given that the task carries (-- PAYLOAD, or -f FILE): its payload is null");
    }
    if let Some(words) = doubt(&text) {
        match file.filter(|file| file.extension().is_some_and(|end| end.eq_ignore_ascii_case("json"))) {
            Some(file) => return Err(Failure::Usage(format!("{}: {words}", file.display()))),
            None if text.trim_start().starts_with(['{', '[']) => note(&format!("warning: {words}: it is sent as a text")),
            None => {}
        }
    } else if let Some(number) = inexact(&text) {
        return Err(Failure::Usage(number.to_string()));
    }
    Ok(json_or_text(&text, nothing))
}

/// Why a text is no JSON.
pub(super) fn doubt(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).err().map(|error| format!("this is no JSON: {error}"))
}

/// JSON if it reads as such, else a text; nothing where nothing was given.
pub(super) fn json_or_text(text: &str, nothing: bool) -> Value {
    if nothing {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

pub(super) fn said(tasks: &[TaskView]) -> String {
    match tasks {
        [first, .., last] => {
            let places =
                first.position.zip(last.position).map_or_else(String::new, |(from, to)| format!(", positions {from} to {to}"));
            let held = tasks.iter().all(|view| view.task.state == TaskState::Held);
            let (many, how) = (tasks.len(), if held { "held" } else { "queued" });
            format!("{many} tasks {how}: task/{} to task/{}{places}\n", first.task.id, last.task.id)
        }
        few => few.iter().map(|view| format!("{}\n", tame(&standing(view, now())))).collect(),
    }
}

/// The task when it has ended, or as it is then; never: however long it takes. It is looked at once even if that is over.
pub(super) async fn ended(context: &Context, known: TaskView, until: Option<Wall>) -> Result<TaskView, Failure> {
    let id = known.task.id;
    let left = || until.map(|until| Span(u64::try_from(until.0.saturating_sub(now().0)).unwrap_or(0)));
    let mut last = known;
    let look = async || loop {
        let left = left().map_or(ROUND, |left| left.min(ROUND));
        let path = format!("/v1/tasks/{id}?wait={left}");
        last = context.client.ask(Method::GET, &path, Sent::nothing()).await?;
        if last.task.state.is_final() || left.0 == 0 {
            return Ok(true);
        }
    };
    // Its answer comes when the time is over; a daemon that does not come back answers nothing.
    let patience = left().map(|left| Span(left.0.saturating_add(ANSWER.0)));
    waited(context, patience, look).await?;
    Ok(last)
}

fn results(tasks: &[TaskView]) -> Result<(), Failure> {
    for view in tasks.iter().filter(|view| view.task.state == TaskState::Succeeded) {
        emit(&format!("{}\n", tame(&standing(view, now()))))?;
        if let Some(result) = &view.task.result {
            emit(&crate::ctl::print::as_json(result))?;
        }
    }
    Ok(())
}

/// Whether all of them succeeded.
fn judge(tasks: &[TaskView], say: bool) -> Result<(), Failure> {
    ended_badly(tasks, say);
    let good = tasks.iter().all(|view| view.task.state == TaskState::Succeeded);
    if good { Ok(()) } else { Err(Failure::No(String::new())) }
}

/// Say which have ended otherwise than well.
fn ended_badly(tasks: &[TaskView], say: bool) {
    let bad = |view: &&TaskView| view.task.state.is_final() && view.task.state != TaskState::Succeeded;
    tasks.iter().filter(bad).filter(|_| say).for_each(|view| note(&standing(view, now())));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_payload_is_json_when_it_reads_as_such() {
        for (text, value) in
            [("{\"a\": 1}", serde_json::json!({"a": 1})), ("3", 3.into()), ("fix it", "fix it".into()), ("", "".into())]
        {
            assert_eq!(json_or_text(text, false), value);
        }
        assert_eq!(json_or_text("", true), Value::Null);
    }

    #[test]
    fn of_several_tasks_it_is_said_where_they_stand() {
        let all = |state, places: [Option<u64>; 2]| {
            let view = |(n, position): (usize, &Option<u64>)| {
                let task = crate::model::task::Task { id: n as u64 + 7, state, ..Default::default() };
                TaskView { task, position: *position, ..TaskView::default() }
            };
            said(&places.iter().enumerate().map(view).collect::<Vec<_>>())
        };
        assert_eq!(all(TaskState::Queued, [Some(1), Some(2)]), "2 tasks queued: task/7 to task/8, positions 1 to 2\n");
        assert_eq!(all(TaskState::Queued, [None, None]), "2 tasks queued: task/7 to task/8\n", "they wait for their time");
        assert_eq!(all(TaskState::Held, [None, None]), "2 tasks held: task/7 to task/8\n");
    }
}
