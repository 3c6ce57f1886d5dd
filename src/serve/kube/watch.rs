//! Watches: what is there, what changes, and bookmarks that say how far a quiet watcher has come.
//!
//! A watcher holds one of a bounded number of places and is sent to no faster than it reads. One that lags too far behind is
//! told to list again (410); it never makes the engine wait. A watch without bookmarks wakes only when something changes.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use futures_util::{FutureExt, StreamExt};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use super::table::{Shape, metadata_of, row_of, table};
use super::view::Place;
use crate::engine::handle::{Change, Gone, Subscription};
use crate::model::status::Object;
use crate::model::time::Span;
use crate::serve::app::{App, Filter, Query, flag, number, until_true};
use crate::serve::refusal::Refusal;
use crate::serve::wire::{Status, WatchEvent};

/// A quiet watcher that wants bookmarks gets one this often.
pub(super) const BOOKMARK: Duration = Duration::from_secs(60);

/// Longest watch, in seconds: whoever wants more begins anew from where it was.
const WATCH_SECONDS_MAX: u64 = 7 * 86_400;

struct Watcher {
    app: App,
    place: Place,
    filter: Filter,
    shape: Shape,
    ready: VecDeque<Bytes>,
    changes: Subscription,
    /// Changes up to this version were sent, in whatever way.
    seen: u64,
    /// Whether each object was selected at the last change that this watch knows of. Of one that is not here, because it changed
    /// between the version that the watch goes on from and its beginning, nobody knows.
    known: BTreeMap<String, bool>,
    headed: bool,
    bookmarks: bool,
    ends: Option<Instant>,
    over: bool,
    _slot: OwnedSemaphorePermit,
}

/// Watch from the query's version on; without one, all that is there comes first.
///
/// # Errors
/// 410 when the version is too old, 429 when too many watch, 400.
pub fn watch(app: &App, place: Place, filter: Filter, (shape, query): (Shape, &Query)) -> Result<Response, Refusal> {
    let slot = app.stream_slot()?;
    let kind = place.view.kind();
    let from = number(query, "resourceVersion")?.unwrap_or(0);
    let changes = app.handle.watch(kind, from)?;
    let (now, mut objects) = app.handle.list(kind);
    let initial = flag(query, "sendInitialEvents")?;
    let anew = from == 0 || initial;
    let seen = if anew { now } else { from };
    if !place.is_there() {
        objects.clear();
    }
    let ends = ends(query)?;
    let bookmarks = flag(query, "allowWatchBookmarks")?;
    let (ready, known) = (VecDeque::new(), BTreeMap::new());
    let mut watcher = Watcher {
        app: app.clone(),
        place,
        filter,
        shape,
        ready,
        changes,
        seen,
        known,
        headed: false,
        bookmarks,
        ends,
        over: false,
        _slot: slot,
    };
    if anew {
        objects.iter().for_each(|object| watcher.take("ADDED", object));
    } else if watcher.filter.selects() {
        objects.iter().for_each(|object| watcher.remember(object));
    }
    if initial && bookmarks {
        watcher.bookmark(true);
    }
    let stream = unfold(watcher, |mut watcher| async move { watcher.next().await.map(|bytes| (bytes, watcher)) });
    let body = Body::from_stream(stream.map(Ok::<Bytes, std::convert::Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// How far a watcher has come: an object that says nothing else, or a table without a row.
pub(super) fn bookmark(mut of: Value, version: &str, initial: bool) -> Bytes {
    let mut metadata = json!({"resourceVersion": version});
    if initial {
        metadata["annotations"] = json!({"k8s.io/initial-events-end": "true"});
    }
    if of["kind"] == "Table" {
        of["rows"] = json!([{"cells": [], "object": {"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}}]);
    } else {
        of["metadata"] = metadata;
    }
    line("BOOKMARK", of)
}

/// When a watch is to end.
pub(super) fn ends(query: &Query) -> Result<Option<Instant>, Refusal> {
    let seconds = number(query, "timeoutSeconds")?.filter(|seconds| *seconds > 0);
    Ok(seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds.min(WATCH_SECONDS_MAX))))
}

/// What woke a watcher.
enum Woke {
    Changes(Option<Result<Vec<Change>, Gone>>),
    Ending,
    Quiet,
    Over,
}

impl Watcher {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(line) = self.ready.pop_front() {
                return Some(line);
            }
            if self.over {
                return None;
            }
            let (bookmarks, ends, ending) = (self.bookmarks, self.ends, self.app.ending.clone());
            let woke = tokio::select! {
                changes = self.changes.next() => Woke::Changes(changes),
                () = until_true(ending) => Woke::Ending,
                () = tokio::time::sleep(BOOKMARK), if bookmarks => Woke::Quiet,
                () = at(ends) => Woke::Over,
            };
            match woke {
                Woke::Changes(None) | Woke::Ending => return None,
                Woke::Changes(Some(Ok(changes))) => self.pass_on(&changes),
                Woke::Changes(Some(Err(gone))) => self.lost(gone),
                Woke::Quiet => self.settle(),
                Woke::Over => {
                    if bookmarks {
                        self.settle();
                    }
                    self.over = true;
                }
            }
        }
    }

    fn lost(&mut self, gone: Gone) {
        self.over = true;
        self.ready.push_back(line("ERROR", json!(Status::from(gone))));
    }

    /// Say how far this watcher has come: up to a version up to which nothing is waiting to be passed on.
    fn settle(&mut self) {
        let (version, _) = self.app.handle.list(self.place.view.kind());
        match self.changes.next().now_or_never() {
            Some(Some(Ok(changes))) => self.pass_on(&changes),
            Some(Some(Err(gone))) => return self.lost(gone),
            Some(None) | None => {}
        }
        self.seen = self.seen.max(version);
        self.bookmark(false);
    }

    fn pass_on(&mut self, changes: &[Change]) {
        let seen = self.seen;
        for change in changes.iter().filter(|change| change.version > seen) {
            if self.place.is_there() {
                self.take(change.verb, &change.object);
            }
        }
        self.seen = changes.last().map_or(self.seen, |change| change.version.max(self.seen));
    }

    /// Whether an object is selected that whoever watches has in a list, and that has not changed since.
    fn remember(&mut self, object: &Object) {
        let meta = object.meta();
        let unchanged = meta.resource_version.parse().is_ok_and(|version: u64| version <= self.seen);
        if unchanged && self.filter.allows("metadata.name", &meta.name) {
            let wants = self.filter.wants(&self.place.view.render(&self.app.handle, object));
            self.known.insert(meta.name.clone(), wants);
        }
    }

    /// One change, as this watcher sees it: what leaves its selection is deleted for it, what enters is added.
    fn take(&mut self, verb: &'static str, object: &Object) {
        let name = &object.meta().name;
        // No object changes its name: one of another name was never selected.
        if !self.filter.allows("metadata.name", name) {
            return;
        }
        let rendered = self.place.view.render(&self.app.handle, object);
        let wants = self.filter.wants(&rendered);
        let wanted = if verb == "DELETED" { self.known.remove(name) } else { self.known.insert(name.clone(), wants) };
        let verb = match (verb, wants, wanted) {
            ("MODIFIED", true, Some(false)) => "ADDED",
            (verb, true, _) => verb,
            ("MODIFIED" | "DELETED", false, Some(true) | None) => "DELETED",
            (_, false, _) => return,
        };
        let object = self.shaped(object, rendered);
        self.ready.push_back(line(verb, object));
    }

    fn shaped(&mut self, object: &Object, rendered: Value) -> Value {
        match self.shape {
            Shape::Whole => rendered,
            Shape::Metadata => metadata_of(&rendered),
            Shape::Table(include) => {
                let view = self.place.view;
                let mut all = table(view, &object.meta().resource_version);
                if std::mem::replace(&mut self.headed, true) {
                    all["columnDefinitions"] = Value::Null;
                }
                all["rows"] = json!([row_of(view, object, &rendered, (include, self.app.handle.later(Span::default())))]);
                all
            }
        }
    }

    fn bookmark(&mut self, initial: bool) {
        let (view, version) = (self.place.view, self.seen.to_string());
        let of = match self.shape {
            Shape::Table(_) => table(view, &version),
            Shape::Whole | Shape::Metadata => json!({"kind": view.kind_name(), "apiVersion": view.api_version()}),
        };
        self.ready.push_back(bookmark(of, &version, initial));
    }
}

/// Done at that moment; never when there is none.
pub(super) async fn at(moment: Option<Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

pub(super) fn line(verb: &str, object: Value) -> Bytes {
    let mut line = serde_json::to_vec(&WatchEvent { verb: verb.into(), object }).unwrap_or_default();
    line.push(b'\n');
    line.into()
}
