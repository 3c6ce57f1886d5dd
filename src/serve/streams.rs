//! Logs, sent as they come.
//!
//! A stream holds one of a bounded number of slots and reads on only as fast as its client does. Watches are
//! elsewhere.

use std::collections::BTreeMap;
use std::io;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::app::until_true;
use super::app::{App, Params, flag, number, params};
use super::refusal::{Refusal, bad};
use super::wire::tasks::WAIT_MAX;
use crate::engine::handle::{Change, Handle, LogWanted, Until};
use crate::model::status::{Kind, Meta, SUCCEEDED_BY};
use crate::model::time::Span;

/// The log of a worker.
///
/// # Errors
/// 404, 400 for a query that does not hold or a run that was not, 429 when too many follow.
pub fn log(app: &App, worker: &str, query: &BTreeMap<String, String>) -> Result<Response, Refusal> {
    let (previous, wanted, most) = (flag(query, "previous")?, wanted(&app.handle, query)?, limit(query)?);
    let place = app.handle.log(worker, previous)?;
    // A run that is over does not grow.
    let follow = flag(query, "follow")? && place.end.is_none();
    let slot = app.stream_slot()?;
    let until = follow.then(|| until_gone(&app.handle, worker, app.ending.clone()));
    let stream = held(app.handle.read_log(place, wanted, until), slot);
    Ok(at_most(stream, most))
}

/// `GET /v1/tasks/{id}/log`: the output of all attempts of a task.
///
/// # Errors
/// 404, 400 for a query that does not hold, 429 when too many follow.
pub async fn task_log(State(app): State<App>, Path(id): Path<String>, query: Params) -> Result<Response, Refusal> {
    let query = params(query)?;
    let id: u64 = id.parse().map_err(|_| bad("a task is named by its number"))?;
    let (wanted, follow, most) = (wanted(&app.handle, &query)?, flag(&query, "follow")?, limit(&query)?);
    let place = app.handle.task_log(id).await?;
    let slot = app.stream_slot()?;
    let until = follow.then(|| until_ended(app.handle.clone(), id, app.ending.clone()));
    let stream = held(app.handle.read_log(place, wanted, until), slot);
    Ok(at_most(stream, most))
}

/// Following a task ends with it, or with the daemon.
fn until_ended(handle: Handle, id: u64, ending: watch::Receiver<bool>) -> Until {
    Box::pin(async move {
        let ended =
            async { while handle.wait_for(id, WAIT_MAX.duration()).await.is_ok_and(|task| !task.task.state.is_final()) {} };
        tokio::select! {
            () = ended => {}
            () = until_true(ending) => {}
        }
    })
}

/// Following ends with the worker or the daemon.
fn until_gone(handle: &Handle, worker: &str, ending: watch::Receiver<bool>) -> Until {
    let (changes, name) = (handle.watch(Kind::Worker, 0), worker.to_owned());
    let gone = async move {
        let Ok(mut changes) = changes else { return };
        while let Some(Ok(some)) = changes.next().await {
            let is_end = |change: &Change| {
                // The next run of a worker goes on with its log.
                let gone = |meta: &Meta| meta.name == name && !meta.annotations.contains_key(SUCCEEDED_BY);
                change.verb == "DELETED" && gone(change.object.meta())
            };
            if some.iter().any(is_end) {
                return;
            }
        }
    };
    Box::pin(async move {
        tokio::select! {
            () = gone => {}
            () = until_true(ending) => {}
        }
    })
}

/// Which lines are wanted, and how.
fn wanted(handle: &Handle, query: &BTreeMap<String, String>) -> Result<LogWanted, Refusal> {
    let time = query.get("sinceTime").filter(|text| !text.is_empty());
    let since = match (number(query, "sinceSeconds")?, time) {
        (Some(_), Some(_)) => return Err(bad("give one of sinceSeconds and sinceTime")),
        (Some(0), None) => return Err(bad("sinceSeconds: found 0, expected a number from 1")),
        (Some(seconds), None) => Some(handle.earlier(Span(seconds.saturating_mul(1000)))),
        (None, Some(time)) => {
            Some(time.parse().map_err(|error| bad(format!("sinceTime: {error}; expected a time, as 2026-01-31T08:00:00Z")))?)
        }
        (None, None) => None,
    };
    Ok(LogWanted { tail: number(query, "tailLines")?, since, stamped: flag(query, "timestamps")? })
}

/// How many bytes are wanted; none: all of them.
fn limit(query: &BTreeMap<String, String>) -> Result<Option<u64>, Refusal> {
    match number(query, "limitBytes")? {
        Some(0) => Err(bad("limitBytes: found 0, expected a number from 1")),
        most => Ok(most),
    }
}

/// The first bytes of a stream; it ends with them, and waits for nothing that would come behind.
fn at_most(stream: impl Stream<Item = io::Result<Bytes>> + Send + 'static, most: Option<u64>) -> Response {
    let taken = unfold((Box::pin(stream), most), |(mut stream, left)| async move {
        if left == Some(0) {
            return None;
        }
        let mut item = stream.next().await?;
        let left = left.map(|left| {
            let Ok(bytes) = &mut item else { return left };
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left - bytes.len() as u64
        });
        Some((item, (stream, left)))
    });
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(taken)).into_response()
}

fn held<S: Stream>(stream: S, slot: OwnedSemaphorePermit) -> impl Stream<Item = S::Item> {
    stream.map(move |item| {
        let _held = &slot;
        item
    })
}
