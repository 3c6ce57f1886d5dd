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
use super::away::outlasting;
use super::interrupt::interruptible;
use super::task_get::show;
use super::task_wait::go_on;
use super::wait::within;
use crate::ctl::args::Submit;
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::print::{Format, emit, note};
use crate::ctl::resource::pool;
use crate::ctl::text::tame;
use crate::ctl::time::now;
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
    let payload = payload(args.file.as_deref(), &args.payload)?;
    let task = NewTask {
        payload,
        priority: args.priority,
        key: args.key.clone(),
        idempotency_key: args.idempotency_key.clone(),
        ttl: args.ttl,
        timeout: args.timeout,
        max_attempts: args.max_attempts,
        delay: args.delay,
        hold: args.hold,
        ..NewTask::default()
    };
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
        return Err(Failure::Usage(format!(
            "the number {} cannot be carried as it is: no 64-bit integer or float has this value. Send it as a string: \"{0}\"",
            number.chars().take(60).collect::<String>()
        )));
    }
    Ok(json_or_text(&text, nothing))
}

/// The first number of a JSON text that would be another one when it is read: a whole number with more digits than fit, or one that is
/// too large or too small.
fn inexact(json: &str) -> Option<&str> {
    let part = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
    // Whatever is between quotes is no number: an escaped quote does not end a text.
    let quoted = |rest: &str| {
        let mut escaped = false;
        let end = |c: char| (c == '"' && !escaped, escaped = c == '\\' && !escaped).0;
        rest.find(end).map_or(rest.len(), |at| at + 1)
    };
    let mut rest = json;
    while let Some(at) = rest.find(|c: char| c == '"' || c == '-' || c.is_ascii_digit()) {
        rest = &rest[at..];
        let length = match rest.strip_prefix('"') {
            Some(text) => 1 + quoted(text),
            None => rest.find(|c: char| !part(c)).unwrap_or(rest.len()),
        };
        let (token, after) = rest.split_at(length);
        if !token.starts_with('"') && changes(token) {
            return Some(token);
        }
        rest = after;
    }
    None
}

fn changes(number: &str) -> bool {
    if number.parse::<i64>().is_ok() || number.parse::<u64>().is_ok() {
        return false;
    }
    let float: f64 = number.parse().unwrap_or(f64::INFINITY);
    let mantissa = number.split(['e', 'E']).next().unwrap_or_default();
    if number == mantissa && !number.contains('.') {
        return format!("{float:.0}") != number;
    }
    // Parts of a number are rounded by everybody.
    float.is_infinite() || (float == 0.0 && mantissa.contains(|c: char| ('1'..='9').contains(&c)))
}

/// Why a text is no JSON.
fn doubt(text: &str) -> Option<String> {
    serde_json::from_str::<serde::de::IgnoredAny>(text).err().map(|error| format!("this is no JSON: {error}"))
}

/// JSON if it reads as such, else a text; nothing where nothing was given.
pub(super) fn json_or_text(text: &str, nothing: bool) -> Value {
    if nothing {
        return Value::Null;
    }
    serde_json::from_str(text).unwrap_or_else(|_| Value::from(text))
}

fn said(tasks: &[TaskView]) -> String {
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
            return Ok(());
        }
    };
    // Its answer comes when the time is over; a daemon that does not come back answers nothing.
    let patience = left().map(|left| Span(left.0.saturating_add(ANSWER.0)));
    within(patience, outlasting(context, look)).await?;
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
    fn a_number_that_would_be_another_one_is_found() {
        for (text, found) in [
            ("12345678901234567890123", Some("12345678901234567890123")),
            (r#"{"a": [1, -12345678901234567890123], "b": 1}"#, Some("-12345678901234567890123")),
            ("[1e400]", Some("1e400")),
            ("-2E-400", Some("-2E-400")),
            (r#"{"a\"12345678901234567890123": "12345678901234567890123", "\\": 2}"#, None),
            ("[18446744073709551615, -9223372036854775808, 0, -0, 0.1, 3.14159265358979323846, 1.5e-3, 0e5, 1E+22]", None),
            ("10000000000000000000000", None),
            ("1180591620717411303424", None),
        ] {
            assert_eq!(inexact(text), found, "{text}");
        }
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
