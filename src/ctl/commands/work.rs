//! `task next|heartbeat|done|fail`: the worker API for shell scripts that weir runs.
//!
//! Who asks is read from the environment that weir gives its workers. A daemon that is being restarted is waited for: a task
//! that was done must not be done again because nobody was there to hear of it. An end that may have been heard is told from one
//! that was not by the lease in the task's row.

use std::time::Duration;

use hyper::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::Context;
use super::submit::json_or_text;
use crate::ctl::args::{NextArgs, Work};
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::print::{Format, as_json, as_yaml, custom_row, emit, for_programs, note};
use crate::ctl::time::now;
use crate::model::exact::inexact;
use crate::model::task::{EndReason, TaskState, Token};
use crate::model::time::{Span, Wall};
use crate::serve::wire::tasks::{Complete, Ended, Fail, Heartbeat, Leased, LeasedTask, TaskView, Wish};

/// A daemon that is gone is waited for so long.
const PATIENCE: Span = Span::secs(30);

/// Milliseconds that two clocks of one machine may lie apart when one is told by the other.
const ROUNDED: i64 = 100;

/// Between two tries to find it.
const AGAIN: Duration = Duration::from_millis(250);

/// `ctl task …`
pub(super) async fn run(context: &Context, work: Work) -> Result<(), Failure> {
    match work {
        Work::Next { wish } => {
            let format = format(&wish)?;
            let path = format!("/v1/pools/{}/lease", encoded(&variable("WEIR_POOL")?));
            let leased = next(context, &path, wanted(&wish)?).await.map_err(|late| refused(late.failure))?;
            print(leased.task, format)
        }
        Work::Heartbeat { token, extend, progress } => {
            let token = held(token)?;
            let (beat, asked) = (Heartbeat { extend, progress }, now());
            let view: TaskView = patient(context, &path(&token, "heartbeat"), &beat).await.map_err(|late| late.failure)?;
            extend.and_then(|extend| cut(&view, extend, asked)).into_iter().for_each(|words| note(&words));
            if view.task.cancelling {
                let words = format!("task {} was cancelled: stop, and give it back with \"ctl task fail\"", view.task.id);
                return Err(Failure::No(words));
            }
            Ok(())
        }
        Work::Done { token, result, next, wish } => {
            let (token, format) = (held(token)?, format(&wish)?);
            // As from a result file: what has a number in it that would be rounded is a text.
            let kept = |text: String| if inexact(&text).is_some() { text.into() } else { json_or_text(&text, false) };
            let result = result.map(kept);
            let next = next.then(|| wanted(&wish)).transpose()?;
            let asked = next.is_some();
            let complete = Complete { result, message: String::new(), next };
            let ours: &[EndReason] = &[EndReason::Done];
            finish(context, (&token, "complete", ours), &complete, (asked, format)).await
        }
        Work::Fail { token, message, code, again, next, wish } => {
            let (token, format) = (held(token)?, format(&wish)?);
            let next = next.then(|| wanted(&wish)).transpose()?;
            let asked = next.is_some();
            let fail = Fail { message, code, again, result: None, next };
            let ours: &[EndReason] = &[EndReason::Failed, EndReason::Again, EndReason::Cancelled];
            finish(context, (&token, "fail", ours), &fail, (asked, format)).await
        }
    }
}

/// Ask for a task within the time that there is for it. Where too many others wait there is no place to wait in: then it is asked
/// again after a while. Processes come back each at a moment of its own.
async fn next(context: &Context, path: &str, wish: Wish) -> Result<Leased, Late> {
    let (began, longest) = (now(), wish.wait.unwrap_or_default());
    let apart = Span::millis(u64::from(std::process::id()) % 1000);
    loop {
        let left = Span(longest.0.saturating_sub(waited(began).0));
        match patient(context, path, &Wish { wait: Some(left), ..wish.clone() }).await {
            Err(late) if left.0 > 0 => {
                let Some(pause) = pause(&late.failure) else { return Err(late) };
                tokio::time::sleep(Span(pause.0.saturating_add(apart.0)).min(left).duration()).await;
            }
            answer => return answer,
        }
    }
}

/// After which time there may be room, where that is all that there is not.
fn pause(failure: &Failure) -> Option<Span> {
    match failure {
        Failure::Server(status) if status.code == 429 => {
            let seconds = status.details.as_ref().and_then(|details| details.retry_after_seconds);
            Some(Span::secs(seconds.unwrap_or(1).clamp(1, 60)))
        }
        Failure::Server(_)
        | Failure::No(_)
        | Failure::Usage(_)
        | Failure::NoDaemon(_)
        | Failure::Internal(_)
        | Failure::ReaderGone => None,
    }
}

/// That the attempt was given less time than it asked for then.
fn cut(view: &TaskView, extend: Span, asked: Wall) -> Option<String> {
    let wanted = asked.0.saturating_add(i64::try_from(extend.0).unwrap_or(i64::MAX));
    let until = view.deadline.filter(|at| at.0.saturating_add(ROUNDED) < wanted)?;
    let id = view.task.id;
    Some(format!("note: task {id} is not given {extend}: it may take until {until}, as long as spec.queue.maxTimeout allows"))
}

/// That this worker is given nothing is another answer than that there was nothing: exit code 2, not 1.
fn refused(failure: Failure) -> Failure {
    match failure {
        Failure::Server(status) if status.code != 403 => Failure::Usage(status.message),
        Failure::Server(_)
        | Failure::No(_)
        | Failure::Usage(_)
        | Failure::NoDaemon(_)
        | Failure::Internal(_)
        | Failure::ReaderGone => failure,
    }
}

fn variable(name: &str) -> Result<String, Failure> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.ok_or_else(|| Failure::Usage(format!("{name} is not set: this is for workers, which weir gives it to")))
}

fn held(token: Option<String>) -> Result<String, Failure> {
    let token = token.filter(|token| !token.is_empty()).map_or_else(|| variable("WEIR_TASK_TOKEN"), Ok)?;
    token.parse::<Token>().map_err(Failure::Usage)?;
    Ok(token)
}

fn wanted(args: &NextArgs) -> Result<Wish, Failure> {
    let run = variable("WEIR_RUN")?;
    let run = run.parse().map_err(|_| Failure::Usage("WEIR_RUN is no number".into()))?;
    Ok(Wish { worker: variable("WEIR_WORKER")?, run, wait: Some(args.wait) })
}

fn path(token: &str, verb: &str) -> String {
    format!("/v1/leases/{}/{verb}", encoded(token))
}

/// A failure, and whether the daemon was lost in the middle of an answer before it.
struct Late {
    failure: Failure,
    again: bool,
}

/// Ask, and ask again as long as there is no daemon.
async fn patient<T: DeserializeOwned>(context: &Context, path: &str, body: &impl Serialize) -> Result<T, Late> {
    let body = serde_json::to_value(body).expect("plain data with string keys");
    let began = now();
    let mut again = false;
    loop {
        match context.client.ask(Method::POST, path, Sent::json(&body)).await {
            Ok(answer) => return Ok(answer),
            Err(failure) if is_absent(&failure) && waited(began) < PATIENCE => {
                again = true;
                tokio::time::sleep(AGAIN).await;
            }
            Err(failure) => return Err(Late { failure, again }),
        }
    }
}

fn is_absent(failure: &Failure) -> bool {
    match failure {
        Failure::NoDaemon(_) => true,
        Failure::Server(status) => status.code == 503,
        Failure::No(_) | Failure::Usage(_) | Failure::Internal(_) | Failure::ReaderGone => false,
    }
}

fn waited(began: Wall) -> Span {
    Span(u64::try_from(now().0.saturating_sub(began.0)).unwrap_or(0))
}

/// End a task, and print the next one where it was asked for.
async fn finish(
    context: &Context,
    (token, verb, ours): (&str, &str, &[EndReason]),
    body: &impl Serialize,
    (next, format): (bool, Option<Format>),
) -> Result<(), Failure> {
    match patient::<Ended>(context, &path(token, verb), body).await {
        Ok(ended) if next => print(ended.next, format),
        Ok(_) => Ok(()),
        // The first try was heard and its answer lost, when it is this very lease that ended so.
        Err(late) if late.again && ended_so(context, token, ours).await => {
            if next {
                Err(Failure::No(String::new()))
            } else {
                Ok(())
            }
        }
        Err(late) => Err(late.failure),
    }
}

async fn ended_so(context: &Context, token: &str, ours: &[EndReason]) -> bool {
    let Ok(token) = token.parse::<Token>() else { return false };
    let Ok(TaskView { task, .. }) = super::tasks::fetch(context, token.id).await else { return false };
    let how = task.end.is_some_and(|end| ours.contains(&end.reason));
    task.epoch == token.epoch && task.state != TaskState::Leased && how
}

fn format(args: &NextArgs) -> Result<Option<Format>, Failure> {
    args.output.as_deref().map(|output| Format::parse(Some(output))).transpose()
}

/// Print a task; nothing, and exit code 1, where there is none.
fn print(task: Option<LeasedTask>, format: Option<Format>) -> Result<(), Failure> {
    let Some(leased) = task else { return Err(Failure::No(String::new())) };
    // Not by way of a value: the token comes first, where a script without a JSON reader finds it.
    let line = serde_json::to_string(&leased).expect("a task is plain data with string keys");
    let value = || serde_json::from_str::<Value>(&line).unwrap_or_default();
    match format {
        None | Some(Format::Table { .. }) => emit(&format!("{}\n", as_line(&line))),
        Some(Format::Json) => emit(&as_json(&value())),
        Some(Format::Yaml) => emit(&as_yaml(&value())),
        Some(Format::Name) => emit(&format!("task/{}\n", leased.task.id)),
        Some(Format::JsonPath(template)) => {
            emit(&format!("{}\n", for_programs(&template.render(&value())).trim_end_matches('\n')))
        }
        Some(Format::Columns(columns)) => emit(&for_programs(&format!("{}\n", custom_row(&columns, &value()).join(" ")))),
    }
}

/// JSON in one line, with what is harmful escaped as JSON can.
fn as_line(json: &str) -> String {
    crate::ctl::text::tamed(json, |_| false, |c| format!("\\u{:04x}", u32::from(c)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_sooner_than_asked_for_is_told() {
        let view = |deadline: i64| TaskView { deadline: Some(Wall(deadline)), ..TaskView::default() };
        let words = |deadline| cut(&view(deadline), Span::secs(20), Wall(1000));
        assert_eq!((words(21_000), words(21_005), words(20_999)), (None, None, None));
        assert!(words(6000).is_some_and(|words| words.contains("not given 20s") && words.contains("00:00:06")));
        assert_eq!(cut(&TaskView::default(), Span::secs(20), Wall(0)), None, "an older daemon does not say");
    }
}
