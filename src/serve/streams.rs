//! What goes on: watches and logs, sent as they come.
//!
//! A stream holds one of a bounded number of slots and reads on only as fast as its client does. A watcher that lags too far
//! behind is told to list again; it never makes the engine wait.

use std::collections::BTreeMap;
use std::collections::VecDeque;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use futures_util::{Stream, StreamExt};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, watch};

use super::app::{App, Filter, Params, flag, number, params, value};
use super::refusal::{Refusal, bad};
use super::until_true;
use super::wire::tasks::WAIT_MAX;
use super::wire::{Status, WatchEvent};
use crate::engine::handle::{Change, Handle, Subscription, Until};
use crate::model::status::{Kind, Object};

/// One watcher.
struct Watcher {
    first: VecDeque<Bytes>,
    changes: Subscription,
    /// Changes up to this version are among the first ones already.
    seen: u64,
    filter: Filter,
    ending: watch::Receiver<bool>,
    over: bool,
    _slot: OwnedSemaphorePermit,
}

/// Watch a kind: from `version` on; from 0 all objects that there are come first, as in Kubernetes.
///
/// # Errors
/// 410 when `version` is too old, 429 when too many watch.
pub fn watch(app: &App, kind: Kind, filter: Filter, version: u64) -> Result<Response, Refusal> {
    let slot = app.stream_slot()?;
    let changes = app.handle.watch(kind, version)?;
    let (seen, objects) = if version == 0 { app.handle.list(kind) } else { (version, Vec::new()) };
    let first = objects.iter().filter(|object| filter.wants(object)).map(|object| line("ADDED", value(object))).collect();
    let watcher = Watcher { first, changes, seen, filter, ending: app.ending.clone(), over: false, _slot: slot };
    let stream = unfold(watcher, |mut watcher| async move { watcher.next().await.map(|bytes| (bytes, watcher)) });
    let body = Body::from_stream(stream.map(Ok::<Bytes, std::convert::Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(first) = self.first.pop_front() {
                return Some(first);
            }
            if self.over {
                return None;
            }
            let changes = tokio::select! {
                changes = self.changes.next() => changes?,
                () = until_true(self.ending.clone()) => return None,
            };
            match changes {
                Ok(changes) => {
                    let fresh = changes.iter().filter(|change| change.version > self.seen && self.filter.wants(&change.object));
                    self.first = fresh.map(|change: &Change| line(change.verb, value(&change.object))).collect();
                }
                Err(gone) => {
                    self.over = true;
                    return Some(line("ERROR", serde_json::to_value(Status::from(gone)).unwrap_or(Value::Null)));
                }
            }
        }
    }
}

fn line(verb: &str, object: Value) -> Bytes {
    let mut line = serde_json::to_vec(&WatchEvent { verb: verb.into(), object }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

/// The log of a worker.
///
/// # Errors
/// 404, 400 for a query that does not hold or a run that was not, 429 when too many follow.
pub fn log(app: &App, worker: &str, query: &BTreeMap<String, String>) -> Result<Response, Refusal> {
    for (name, what) in [("sinceTime", "since a time"), ("sinceSeconds", "since a time"), ("timestamps", "with timestamps")] {
        if query.get(name).is_some_and(|value| !value.is_empty() && value != "false") {
            return Err(bad(format!("{name}: logs cannot be shown {what}, because lines are kept as they were written")));
        }
    }
    let (previous, tail) = (flag(query, "previous")?, number(query, "tailLines")?);
    let place = app.handle.log(worker, previous)?;
    // A run that is over does not grow.
    let follow = flag(query, "follow")? && place.end.is_none();
    let slot = app.stream_slot()?;
    let until = follow.then(|| until_gone(&app.handle, worker, app.ending.clone()));
    let stream = held(app.handle.read_log(place, tail, until), slot);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(stream)).into_response())
}

/// `GET /v1/tasks/{id}/log`: the output of all attempts of a task.
///
/// # Errors
/// 404, 400 for a query that does not hold, 429 when too many follow.
pub async fn task_log(State(app): State<App>, Path(id): Path<String>, query: Params) -> Result<Response, Refusal> {
    let query = params(query)?;
    let id: u64 = id.parse().map_err(|_| bad("a task is named by its number"))?;
    let (tail, follow) = (number(&query, "tailLines")?, flag(&query, "follow")?);
    let place = app.handle.task_log(id).await?;
    let slot = app.stream_slot()?;
    let until = follow.then(|| until_ended(app.handle.clone(), id, app.ending.clone()));
    let stream = held(app.handle.read_log(place, tail, until), slot);
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], Body::from_stream(stream)).into_response())
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
                change.verb == "DELETED" && matches!(&*change.object, Object::Worker(w) if w.metadata.name == name)
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

fn held<S: Stream>(stream: S, slot: OwnedSemaphorePermit) -> impl Stream<Item = S::Item> {
    stream.map(move |item| {
        let _held = &slot;
        item
    })
}
