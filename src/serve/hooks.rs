//! `POST /hooks/{pool}/{index}`: where a forge's deliveries arrive, from anybody who can reach the address.
//!
//! Before the signature is known to be good, a request costs its bytes and nothing else: a body is capped before it is read,
//! all bodies together have a room of their own, and reading one takes bounded time. What a delivery means is not known here.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use serde_json::json;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::refusal::{Refusal, bad, not_allowed, nowhere};
use super::wire::Status;
use crate::model::hook::{Answer, Delivery, NotTaken, Submitted};

/// Largest body, in bytes.
pub const BODY_MAX: usize = 1024 * 1024;
/// Bytes of all large bodies that are here at once.
const ROOM: usize = 4 * BODY_MAX;
/// A body up to this size is small, as nearly all are: they have a room of their own, which stalled large ones cannot take.
const SMALL_MAX: usize = 64 * 1024;
/// Bytes of all small bodies that are here at once.
const SMALL_ROOM: usize = BODY_MAX;
/// How long a delivery may wait for room.
const ROOM_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a body may take to arrive.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Headers that say something of a delivery.
const HEADERS: [&str; 12] = [
    "content-type",
    "content-encoding",
    "x-forgejo-event",
    "x-forgejo-delivery",
    "x-forgejo-signature",
    "x-gitea-event",
    "x-gitea-delivery",
    "x-gitea-signature",
    "x-github-event",
    "x-github-delivery",
    "x-hub-signature",
    "x-hub-signature-256",
];

/// Whoever judges deliveries.
pub type Receive = Arc<dyn Fn(Delivery<Bytes>) -> BoxFuture<'static, Answer> + Send + Sync>;

/// What the route is given.
#[derive(Clone)]
struct Door {
    receive: Receive,
    /// In KiB.
    room: Arc<Semaphore>,
    /// In KiB.
    small_room: Arc<Semaphore>,
}

/// The route, for whoever judges. It brings its own limits and needs no identity of the caller: the signature is it.
pub fn router<S: Clone + Send + Sync + 'static>(receive: Receive) -> Router<S> {
    let room = |bytes: usize| Arc::new(Semaphore::new(bytes / 1024));
    let door = Door { receive, room: room(ROOM), small_room: room(SMALL_ROOM) };
    let only = || async { not_allowed("webhooks are posted") };
    Router::new().route("/hooks/{pool}/{index}", post(arrive).fallback(only)).with_state(door)
}

async fn arrive(
    State(door): State<Door>,
    Path((pool, index)): Path<(String, String)>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    let index = index.parse().map_err(|_| nowhere(": webhooks are numbered from 0"))?;
    let (body, place) = door.read(&headers, body).await?;
    let answer = (door.receive)(Delivery { pool, index, headers: told(&headers), body }).await;
    drop(place);
    Ok(said(answer))
}

impl Door {
    /// The whole body, and its place in the room for as long as it is used.
    async fn read(&self, headers: &HeaderMap, body: Body) -> Result<(Bytes, OwnedSemaphorePermit), Refusal> {
        let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if length.is_some_and(|length| length > BODY_MAX) {
            return Err(too_large());
        }
        let most = length.unwrap_or(BODY_MAX);
        let kib = u32::try_from(most.div_ceil(1024).max(1)).unwrap_or(u32::MAX);
        let room = if most <= SMALL_MAX { &self.small_room } else { &self.room };
        let place = tokio::time::timeout(ROOM_TIMEOUT, room.clone().acquire_many_owned(kib)).await;
        let Ok(Ok(place)) = place else {
            return Err(Status::failure(503, "ServiceUnavailable", "too many deliveries at once: send it again later").into());
        };
        let late = |_| Refusal::from(Status::failure(408, "Timeout", "the body took too long to arrive"));
        let body = tokio::time::timeout(BODY_TIMEOUT, collect(body, length)).await.map_err(late)??;
        Ok((body, place))
    }
}

/// All of a body. One that did not say its length may have any up to the limit.
async fn collect(body: Body, length: Option<usize>) -> Result<Bytes, Refusal> {
    let mut whole = Vec::with_capacity(length.unwrap_or(0));
    let mut chunks = body.into_data_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| bad("the body could not be read"))?;
        if whole.len() + chunk.len() > BODY_MAX {
            return Err(too_large());
        }
        whole.extend_from_slice(&chunk);
    }
    Ok(whole.into())
}

fn too_large() -> Refusal {
    Status::failure(413, "RequestEntityTooLarge", format!("the body is larger than {BODY_MAX} bytes")).into()
}

/// The headers that matter, in text. One that is no text is as good as wrong.
fn told(headers: &HeaderMap) -> BTreeMap<String, String> {
    let text = |name: &str| {
        let values: Vec<&str> = headers.get_all(name).iter().map(|value| value.to_str().unwrap_or("\u{fffd}")).collect();
        (!values.is_empty()).then(|| (name.to_owned(), values.join(",")))
    };
    HEADERS.into_iter().filter_map(text).collect()
}

/// The answer, as the forge keeps it beside the delivery for people to read.
fn said(answer: Answer) -> Response {
    let ok = |code, body| (code, Json(body)).into_response();
    match answer {
        Answer::Task(Submitted { task, duplicate: false }) => {
            ok(StatusCode::ACCEPTED, json!({"outcome": "queued", "task": task}))
        }
        Answer::Task(Submitted { task, duplicate: true }) => ok(StatusCode::OK, json!({"outcome": "duplicate", "task": task})),
        Answer::Ignored(why) => ok(StatusCode::OK, json!({"outcome": "ignored", "message": why.to_string()})),
        Answer::Refused(refusal) => {
            let reason = match refusal.status() {
                401 => "Unauthorized",
                404 => "NotFound",
                415 => "UnsupportedMediaType",
                422 => "Invalid",
                _other => "BadRequest",
            };
            Refusal::from(Status::failure(refusal.status(), reason, refusal.to_string())).into_response()
        }
        Answer::NotTaken(not) => not_taken(&not),
    }
}

fn not_taken(not: &NotTaken) -> Response {
    let reason = match not.status {
        404 => "NotFound",
        409 => "Conflict",
        422 => "Invalid",
        429 => "TooManyRequests",
        503 => "ServiceUnavailable",
        _other => "InternalError",
    };
    let mut response = Refusal::from(Status::failure(not.status, reason, not.message.clone())).into_response();
    if let Some(after) = not.retry_after {
        // Whole seconds, and none is no wait.
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.0.div_ceil(1000).max(1)));
    }
    response
}
