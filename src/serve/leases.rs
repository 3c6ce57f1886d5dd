//! The worker API: take a task, say that one lives, end it and take the next one in the same commit.
//!
//! A lease that is over is a 409, and nothing changed. What a worker waits for ends with the daemon: it is told that there was
//! no task, and asks again.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::app::{App, Params, number, params, until_true};
use super::lines;
use super::refusal::{Refusal, bad, nowhere};
use super::tasks::{read, view, wait};
use super::wire::tasks::{Complete, Ended, Fail, Heartbeat, Held, Leased, LeasedTask, TaskView, Wish};
use super::write::{Sent, body};
use crate::engine::handle::Denied;
use crate::model::exact::inexact;
use crate::model::task::{End, EndReason, Token};

/// `POST /v1/pools/{pool}/lease`; with a body of lines, all that a worker says.
pub async fn lease(State(app): State<App>, Path(pool): Path<String>, request: Request) -> Result<Response, Refusal> {
    if lines::of_lines(request.headers()) {
        return lines::lease::lease(app, pool, request.into_body()).await;
    }
    let sent: Sent = Bytes::from_request(request, &()).await;
    let task = take(&app, &pool, read(sent)?, || app.waiting_place()).await?;
    Ok(Json(Leased { task }).into_response())
}

/// `GET /v1/pools/{pool}/leases?worker=&run=`: what a run of a worker has, for one that may not have heard of each.
pub async fn held(State(app): State<App>, Path(pool): Path<String>, query: Params) -> Result<Json<Held>, Refusal> {
    let query = params(query)?;
    let worker = query.get("worker").filter(|name| !name.is_empty()).ok_or_else(|| bad("worker: say whose leases"))?;
    let run = number(&query, "run")?.ok_or_else(|| bad("run: say which run of the worker"))?;
    let tasks = app.handle.leases(&pool, worker, run).await?;
    Ok(Json(Held { tasks: tasks.into_iter().map(LeasedTask::from).collect() }))
}

/// Give a worker its next task.
///
/// # Errors
/// As those of [`crate::engine::handle::Handle::lease`]; 400 for a wait that is too long.
pub async fn take<P>(
    app: &App,
    pool: &str,
    wish: Wish,
    place: impl Fn() -> Result<P, Denied>,
) -> Result<Option<LeasedTask>, Refusal> {
    let longest = wait(wish.wait.unwrap_or_default())?;
    let leased = tokio::select! {
        leased = app.handle.lease(pool, &wish.worker, wish.run, (longest, place)) => leased?,
        () = until_true(app.ending.clone()) => None,
    };
    Ok(leased.map(LeasedTask::from))
}

/// `POST /v1/leases/{token}/heartbeat`, `complete` and `fail`
pub async fn verb(State(app): State<App>, Path((of, verb)): Path<(String, String)>, sent: Sent) -> Result<Response, Refusal> {
    let of = token(&of)?;
    let place = || app.waiting_place();
    match verb.as_str() {
        "heartbeat" => Ok(Json(heartbeat(&app, of, read(sent)?).await?).into_response()),
        "complete" => Ok(Json(complete(&app, of, told(sent)?, place).await?).into_response()),
        "fail" => Ok(Json(fail(&app, of, told(sent)?, place).await?).into_response()),
        _ => Err(nowhere(": a lease can be asked to heartbeat, complete or fail")),
    }
}

/// The token of a lease.
///
/// # Errors
/// 400.
pub fn token(text: &str) -> Result<Token, Refusal> {
    text.parse().map_err(|error: String| bad(error))
}

/// The holder of a task lives.
///
/// # Errors
/// 409 when the lease is over.
pub async fn heartbeat(app: &App, token: Token, Heartbeat { extend, progress }: Heartbeat) -> Result<TaskView, Refusal> {
    let task = app.handle.heartbeat(token, extend, progress).await.map_err(over)?;
    let deadline = app.handle.ends(&task);
    Ok(TaskView { deadline, ..view(task) })
}

/// The task is done.
///
/// # Errors
/// 409 when the lease is over; 400 for a wait that is too long, or a result that is too large.
pub async fn complete<P>(
    app: &App,
    token: Token,
    Complete { result, message, next }: Complete,
    place: impl Fn() -> Result<P, Denied>,
) -> Result<Ended, Refusal> {
    let end = End { reason: EndReason::Done, message, ..End::default() };
    end_and_next(app, token, (end, result), (next, place)).await
}

/// The attempt failed.
///
/// # Errors
/// As those of [`complete`].
pub async fn fail<P>(
    app: &App,
    token: Token,
    Fail { message, code, again, result, next }: Fail,
    place: impl Fn() -> Result<P, Denied>,
) -> Result<Ended, Refusal> {
    let reason = if again { EndReason::Again } else { EndReason::Failed };
    let end = End { reason, message, code, ..End::default() };
    end_and_next(app, token, (end, result), (next, place)).await
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

async fn end_and_next<P>(
    app: &App,
    token: Token,
    end: (End, Option<Value>),
    (next, place): (Option<Wish>, impl Fn() -> Result<P, Denied>),
) -> Result<Ended, Refusal> {
    // What cannot be asked for is refused before anything is changed.
    next.as_ref().map(|wish| wait(wish.wait.unwrap_or_default())).transpose()?;
    let taker = next.as_ref().map(|wish| (wish.worker.clone(), wish.run));
    let pool = token.pool.clone();
    let (task, leased) = app.handle.end_task(token, end, taker).await.map_err(over)?;
    let next = match (leased, next) {
        (Some(leased), _) => Some(leased.into()),
        // The end is on disk: that there is no next one, for whatever reason, is no refusal of it.
        (None, Some(wish)) if wish.wait.is_some_and(|wait| wait.0 > 0) => take(app, &pool, wish, place).await.unwrap_or(None),
        (None, Some(_) | None) => None,
    };
    Ok(Ended { task: view(task), next })
}
