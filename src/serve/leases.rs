//! The worker API: take a task, say that one lives, end it and take the next one in the same commit.
//!
//! A lease that is over is a 409, and nothing changed. What a worker waits for ends with the daemon: it is told that there was
//! no task, and asks again.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::app::App;
use super::app::until_true;
use super::refusal::{Refusal, bad, nowhere};
use super::tasks::{read, view, wait};
use super::wire::tasks::{Complete, Ended, Fail, Heartbeat, Leased, LeasedTask, TaskView, Wish};
use super::write::{Sent, body};
use crate::engine::handle::Denied;
use crate::model::exact::inexact;
use crate::model::task::{End, EndReason, Token};

/// `POST /v1/pools/{pool}/lease`
pub async fn lease(State(app): State<App>, Path(pool): Path<String>, sent: Sent) -> Result<Json<Leased>, Refusal> {
    let task = take(&app, &pool, read(sent)?).await?;
    Ok(Json(Leased { task }))
}

async fn take(app: &App, pool: &str, wish: Wish) -> Result<Option<LeasedTask>, Refusal> {
    let longest = wait(wish.wait.unwrap_or_default())?;
    let leased = tokio::select! {
        leased = app.handle.lease(pool, &wish.worker, wish.run, (longest, || app.waiting_place())) => leased?,
        () = until_true(app.ending.clone()) => None,
    };
    Ok(leased.map(LeasedTask::from))
}

/// `POST /v1/leases/{token}/heartbeat`, `complete` and `fail`
pub async fn verb(State(app): State<App>, Path((token, verb)): Path<(String, String)>, sent: Sent) -> Result<Response, Refusal> {
    let token: Token = token.parse().map_err(|error: String| bad(error))?;
    match verb.as_str() {
        "heartbeat" => {
            let Heartbeat { extend, progress } = read(sent)?;
            let task = app.handle.heartbeat(token, extend, progress).await.map_err(over)?;
            let deadline = app.handle.ends(&task);
            Ok(Json(TaskView { deadline, ..view(task) }).into_response())
        }
        "complete" => {
            let Complete { result, message, next } = told(sent)?;
            let end = End { reason: EndReason::Done, message, ..End::default() };
            Ok(Json(end_and_next(&app, token, (end, result), next).await?).into_response())
        }
        "fail" => {
            let Fail { message, code, again, result, next } = told(sent)?;
            let reason = if again { EndReason::Again } else { EndReason::Failed };
            let end = End { reason, message, code, ..End::default() };
            Ok(Json(end_and_next(&app, token, (end, result), next).await?).into_response())
        }
        _ => Err(nowhere(": a lease can be asked to heartbeat, complete or fail")),
    }
}

/// What a worker tells of an end. A number in its result that would be rounded is refused, and the task stays with it.
fn told<T: DeserializeOwned>(sent: Sent) -> Result<T, Refusal> {
    let body = body(sent)?;
    let told = read(Ok(body.clone()))?;
    match str::from_utf8(&body).ok().and_then(inexact) {
        Some(number) => Err(bad(number.to_string())),
        None => Ok(told),
    }
}

/// A task that is no longer kept is a lease that is over.
fn over(denied: Denied) -> Denied {
    if let Denied::NotFound { kind: "tasks", name, .. } = &denied {
        return Denied::Conflict(format!("task {name} is no longer kept: this lease is over"));
    }
    denied
}

async fn end_and_next(app: &App, token: Token, end: (End, Option<Value>), next: Option<Wish>) -> Result<Ended, Refusal> {
    // What cannot be asked for is refused before anything is changed.
    next.as_ref().map(|wish| wait(wish.wait.unwrap_or_default())).transpose()?;
    let taker = next.as_ref().map(|wish| (wish.worker.clone(), wish.run));
    let pool = token.pool.clone();
    let (task, leased) = app.handle.end_task(token, end, taker).await.map_err(over)?;
    let next = match (leased, next) {
        (Some(leased), _) => Some(leased.into()),
        // The end is on disk: that there is no next one, for whatever reason, is no refusal of it.
        (None, Some(wish)) if wish.wait.is_some_and(|wait| wait.0 > 0) => take(app, &pool, wish).await.unwrap_or(None),
        (None, Some(_) | None) => None,
    };
    Ok(Ended { task: view(task), next })
}
