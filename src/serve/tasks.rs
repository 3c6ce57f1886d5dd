//! Tasks and queues for whoever gives work: submit, look, wait, take back, let go, try again, pause, how much room there is.
//!
//! Each is one question to the handle. Waiting for a task holds one of the bounded places for streams, and ends with the
//! daemon: whoever waited is told how the task stands.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{FromRequest, Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::app::until_true;
use super::app::{App, Params, number, params};
use super::lines;
use super::refusal::{Refusal, bad, nowhere};
use super::wire::Status;
use super::wire::task_columns::Word;
use super::wire::tasks::{CapacityView, LIST_DEFAULT, PauseQueue, SUBMIT_MAX, TaskList, TaskView, WAIT_MAX};
use super::write::{Sent, body, new_task, typed};
use crate::engine::handle::{Accepted, LISTED_MAX, TaskFilter};
use crate::model::exact::inexact;
use crate::model::task::{NewTask, Task};
use crate::model::time::{Span, Wall};

impl From<Accepted> for TaskView {
    fn from(accepted: Accepted) -> TaskView {
        let Accepted { task, known, position, estimated_wait } = accepted;
        TaskView { task, position, estimated_wait, known, deadline: None }
    }
}

/// A task of which nothing more is known.
pub fn view(task: Task) -> TaskView {
    TaskView { task, ..TaskView::default() }
}

/// A body of JSON; none is as `{}`.
///
/// # Errors
/// 400, 413.
pub fn read<T: DeserializeOwned>(sent: Sent) -> Result<T, Refusal> {
    let bytes = body(sent)?;
    let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    // As a value first, so that what follows the body is seen too.
    let value: Value = serde_json::from_slice(bytes).map_err(|error| bad(format!("the body is not JSON: {error}")))?;
    typed(value).map_err(|error| bad(format!("the body does not hold: {error}")))
}

/// A wait, bounded.
///
/// # Errors
/// 400 when it is too long.
pub fn wait(span: Span) -> Result<Duration, Refusal> {
    if span > WAIT_MAX {
        return Err(bad(format!("wait: found {span}, allowed is up to {WAIT_MAX}: ask again when it is over")));
    }
    Ok(span.duration())
}

fn wanted_wait(query: &BTreeMap<String, String>) -> Result<Option<Duration>, Refusal> {
    let given = query.get("wait").filter(|text| !text.is_empty());
    let span = given.map(|text| text.parse::<Span>().map_err(|error| bad(format!("wait: {error}")))).transpose()?;
    span.map(wait).transpose()
}

/// The number of a task.
fn number_of(id: &str) -> Result<u64, Refusal> {
    id.parse().map_err(|_| bad("a task is named by its number"))
}

/// `POST /v1/pools/{pool}/tasks`: one or many, all or none; with `wait`, answered when they have ended. A body of lines is a stream
/// of tasks, each for itself.
pub async fn submit(
    State(app): State<App>,
    Path(pool): Path<String>,
    (query, request): (Params, Request),
) -> Result<Response, Refusal> {
    let longest = wanted_wait(&params(query)?)?;
    if lines::of_lines(request.headers()) {
        return match longest {
            None => lines::submit::submit(app, pool, request.into_body()).await,
            Some(_) => Err(bad("wait goes with a task or a list of them, and not with lines")),
        };
    }
    let sent: Sent = Bytes::from_request(request, &()).await;
    // Before anything is taken in: a refusal must mean that nothing was.
    let _slot = longest.map(|_| app.stream_slot()).transpose()?;
    let body = body(sent)?;
    let (many, tasks) = new_tasks(read(Ok(body.clone()))?)?;
    if let Some(number) = str::from_utf8(&body).ok().and_then(inexact) {
        return Err(bad(number.to_string()));
    }
    let mut accepted = app.handle.submit(&pool, tasks).await?;
    let fresh = accepted.iter().any(|accepted| !accepted.known);
    if let Some(longest) = longest {
        accepted = wait_for_all(&app, accepted, longest).await?;
    }
    let all_ended = accepted.iter().all(|accepted| accepted.task.state.is_final());
    let code = match longest {
        Some(_) if all_ended => StatusCode::OK,
        Some(_) => StatusCode::ACCEPTED,
        None if fresh => StatusCode::CREATED,
        None => StatusCode::OK,
    };
    let mut views: Vec<TaskView> = accepted.into_iter().map(TaskView::from).collect();
    let one = if many { None } else { views.pop() };
    Ok(one.map_or_else(|| (code, Json(TaskList::new(views))).into_response(), |only| (code, Json(only)).into_response()))
}

/// The tasks of a body, and whether it was a list.
fn new_tasks(body: Value) -> Result<(bool, Vec<NewTask>), Refusal> {
    let many = body.is_array();
    let items = if let Value::Array(items) = body { items } else { vec![body] };
    if items.is_empty() || items.len() > SUBMIT_MAX {
        return Err(bad(format!("found {} tasks, allowed are 1 to {SUBMIT_MAX} in one submit", items.len())));
    }
    let task = |(n, item): (usize, Value)| {
        let place = if many { format!("[{n}]: ") } else { String::new() };
        new_task(item).map_err(|error| bad(format!("{place}{error}")))
    };
    Ok((many, items.into_iter().enumerate().map(task).collect::<Result<_, Refusal>>()?))
}

/// Each task when it has ended, or as it is when the time is over.
async fn wait_for_all(app: &App, tasks: Vec<Accepted>, longest: Duration) -> Result<Vec<Accepted>, Refusal> {
    let ended = async {
        for task in tasks.iter().filter(|task| !task.task.state.is_final()) {
            app.handle.wait_for(task.task.id, longest).await?;
        }
        Ok::<(), Refusal>(())
    };
    tokio::select! {
        waited = tokio::time::timeout(longest, ended) => waited.unwrap_or(Ok(()))?,
        () = until_true(app.ending.clone()) => {}
    }
    let mut now = Vec::new();
    for task in tasks {
        // One that had ended may be gone: it was submitted before, and its key is remembered for longer.
        let ended = task.task.state.is_final();
        now.push(if ended { task } else { Accepted { known: task.known, ..app.handle.task(task.task.id).await? } });
    }
    Ok(now)
}

/// `GET /v1/tasks`
pub async fn list(State(app): State<App>, query: Params) -> Result<Json<TaskList>, Refusal> {
    let query = params(query)?;
    let text = |name: &str| query.get(name).filter(|text| !text.is_empty());
    let limit = number(&query, "limit")?.map_or(LIST_DEFAULT, |limit| u32::try_from(limit).unwrap_or(u32::MAX));
    let word = |word: &str| word.parse::<Word>().map_err(|why| bad(format!("state: {why}")));
    let words: Vec<Word> = text("state").map_or_else(|| Ok(Vec::new()), |words| words.split(',').map(word).collect())?;
    let oldest = match text("order").map(String::as_str) {
        None => false,
        Some("oldest") => true,
        Some(_) => return Err(bad("order: expected oldest")),
    };
    let states = words.iter().filter(|word| word.waiting().is_none()).map(|word| word.of).collect();
    let (pool, waiting) = (text("pool").cloned(), words.iter().filter_map(|word| word.waiting()).collect());
    // Whoever is being cancelled is looked for among those that run: they must not be cut off before.
    let most = if words.iter().all(|word| word.is_whole() || word.waiting().is_some()) { limit } else { LISTED_MAX };
    let filter = TaskFilter { pool: pool.clone(), id: None, states, waiting, oldest, most };
    let (mut found, cut) = app.handle.tasks(filter).await?;
    if !words.is_empty() {
        found.retain(|found| words.iter().any(|word| word.fits(&found.task)));
        found.truncate(if limit == 0 { usize::MAX } else { limit as usize });
    }
    if let Some(pool) = pool.filter(|_| found.is_empty()) {
        // Tasks of a pool that is gone are still listed, or none of the states that are asked for; a pool that never was is an error
        // in the question.
        let any = TaskFilter { pool: Some(pool.clone()), most: 1, ..TaskFilter::default() };
        if app.handle.tasks(any).await?.0.is_empty() {
            app.handle.capacity(&pool).await?;
        }
    }
    Ok(Json(TaskList { cut, ..TaskList::new(found.into_iter().map(TaskView::from).collect()) }))
}

/// `GET /v1/tasks/{id}`; with `wait`, when it has ended.
pub async fn one(State(app): State<App>, Path(id): Path<String>, query: Params) -> Result<Response, Refusal> {
    let (id, longest) = (number_of(&id)?, wanted_wait(&params(query)?)?);
    let task = app.handle.task(id).await?;
    let Some(longest) = longest else { return Ok(Json(TaskView::from(task)).into_response()) };
    let _slot = app.stream_slot()?;
    let mut waited = wait_for_all(&app, vec![task], longest).await?;
    let Some(task) = waited.pop() else { return Err(nowhere("")) };
    let code = if task.task.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((code, Json(TaskView::from(task))).into_response())
}

/// `DELETE /v1/tasks/{id}`
pub async fn cancel(State(app): State<App>, Path(id): Path<String>) -> Result<Json<TaskView>, Refusal> {
    Ok(Json(view(app.handle.cancel(number_of(&id)?).await?)))
}

/// `POST /v1/tasks/{id}/cancel`, `release` and `retry`
pub async fn verb(State(app): State<App>, Path((id, verb)): Path<(String, String)>) -> Result<Json<TaskView>, Refusal> {
    let id = number_of(&id)?;
    let task = match verb.as_str() {
        "cancel" => app.handle.cancel(id).await?,
        "release" => app.handle.release(id).await?,
        "retry" => app.handle.redrive(id).await?,
        _ => return Err(nowhere(": a task can be asked to cancel, release or retry")),
    };
    Ok(Json(view(task)))
}

/// `GET /v1/pools/{pool}/capacity`
pub async fn capacity(State(app): State<App>, Path(pool): Path<String>) -> Result<Json<CapacityView>, Refusal> {
    let room = app.handle.capacity(&pool).await?;
    Ok(Json(CapacityView {
        pool,
        free_slots: room.free_slots,
        slots: room.slots,
        queued: room.queued,
        delayed: room.delayed,
        blocked: room.blocked,
        held: room.held,
        running: room.running,
        capacity: room.capacity,
        estimated_wait: room.estimated_wait,
        estimated_from: if room.estimated_wait.is_some() { room.estimated_from.into() } else { String::new() },
        paused_until: room.paused_until,
        paused_why: room.paused_why,
    }))
}

/// `POST /v1/pools/{pool}/queue/pause` and `resume`
pub async fn queue(
    State(app): State<App>,
    Path((pool, verb)): Path<(String, String)>,
    sent: Sent,
) -> Result<Json<Status>, Refusal> {
    match verb.as_str() {
        "pause" => {
            let pause: PauseQueue = read(sent)?;
            let until = match (pause.span, pause.until) {
                (Some(_), Some(_)) => return Err(bad("give one of for and until")),
                (Some(Span(0)), None) => return Err(bad("for: found 0s; to end a pause, resume the queue")),
                (Some(span), None) => app.handle.later(span),
                (None, Some(until)) if until <= app.handle.later(Span(0)) => {
                    return Err(bad(format!("until: {until} is over; to end a pause, resume the queue")));
                }
                (None, Some(until)) => until,
                (None, None) => Wall::FOR_EVER,
            };
            let why = if pause.reason.is_empty() { "somebody paused it" } else { &pause.reason };
            app.handle.pause_queue(&pool, Some(until), why).await?;
            Ok(Json(Status::success("paused")))
        }
        "resume" => {
            app.handle.pause_queue(&pool, None, "").await?;
            Ok(Json(Status::success("resumed")))
        }
        _ => Err(nowhere(": a queue can be asked to pause or resume")),
    }
}
