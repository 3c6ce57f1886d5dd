//! Watches of tasks: the queue is looked at again when any task has changed, and what is different is told.
//!
//! No change of a task is kept for watchers. What lists and watches told is remembered for a while, and a watch that goes on from
//! there tells what is different; where that is forgotten it tells of every task as it is now, or, under a selection, asks to list
//! again: nobody knows what left it. Of a crowd of changes that come close together a watcher sees what they left. Where there are
//! more tasks than a list holds, one that leaves it is followed to its end and then forgotten.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt;
use futures_util::stream::unfold;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, watch as number};
use tokio::time::Instant;

use super::table::{Shape, metadata_of};
use super::task_view::{Shown, Wanted, table};
use super::told::{Of, Tasks};
use super::watch::{BOOKMARK, at, bookmark, ends, line};
use crate::model::status::API_VERSION;
use crate::model::task::{Task, TaskState};
use crate::model::time::Span;
use crate::serve::app::{App, Query, flag, number as asked, until_true};
use crate::serve::refusal::Refusal;
use crate::serve::wire::Status;
use crate::serve::wire::tasks::TaskView;

/// The queue is looked at no more often than this; and no more than a tenth of the time.
const PACE: Duration = Duration::from_millis(50);

/// For whoever comes back under a selection of which it is not known any more what it was told.
const FORGOTTEN: &str = "what was selected at that version is no longer known: list again";

struct Watcher {
    app: App,
    wanted: Wanted,
    shape: Shape,
    changes: number::Receiver<u64>,
    /// The number at the last look: what came after it was not told.
    seen: u64,
    /// The number that whoever watches was told last.
    told: u64,
    ready: VecDeque<Bytes>,
    known: BTreeMap<u64, Known>,
    /// Not to look again before.
    rests: Instant,
    headed: bool,
    bookmarks: bool,
    ends: Option<Instant>,
    over: bool,
    _slot: OwnedSemaphorePermit,
}

/// What a watcher was told of a task: enough to see a change, and to tell of its end.
struct Known {
    /// As [`Shown::digest`] has it; none: that is not known, and it is told of again.
    told: Option<u64>,
    view: TaskView,
}

impl Known {
    /// One of which only this is remembered.
    fn before(id: u64, of: Of) -> Known {
        let state = if of.over { TaskState::Cancelled } else { TaskState::Queued };
        let task = Task { id, state, ..Task::default() };
        Known { told: of.digest, view: TaskView { task, ..TaskView::default() } }
    }

    fn of(shown: &Shown) -> Known {
        let TaskView { task, .. } = &shown.view;
        // Large things that do not change are not kept.
        let task = Task { payload: Value::Null, result: None, ..task.clone() };
        let view = TaskView { task, ..TaskView::default() };
        Known { told: Some(shown.digest()), view }
    }

    fn remembered(&self) -> Of {
        Of { over: self.view.task.is_taken_back(), digest: self.told }
    }
}

/// Watch from the query's version on; without one, all that is there comes first.
///
/// # Errors
/// 400, 429 when too many watch, 500 when the queue cannot be read.
pub async fn watch(app: &App, wanted: Wanted, (shape, query): (Shape, &Query)) -> Result<Response, Refusal> {
    let slot = app.stream_slot()?;
    let mut changes = app.handle.task_changes();
    let now = *changes.borrow_and_update();
    let (from, initial) = (asked(query, "resourceVersion")?.unwrap_or(0), flag(query, "sendInitialEvents")?);
    let anew = from == 0 || initial;
    let before = if anew { None } else { app.told.of(&wanted.place(from)) };
    if !anew && from != now && before.is_none() && wanted.selects() {
        return Err(Status::expired(FORGOTTEN).into());
    }
    let bookmarks = flag(query, "allowWatchBookmarks")?;
    let mut watcher = Watcher {
        app: app.clone(),
        wanted,
        shape,
        changes,
        seen: now,
        told: if anew { now } else { from },
        ready: VecDeque::new(),
        known: BTreeMap::new(),
        rests: Instant::now(),
        headed: false,
        bookmarks,
        ends: ends(query)?,
        over: false,
        _slot: slot,
    };
    let (shown, more) = watcher.wanted.look(app, now).await?;
    // Without a selection only what is no longer kept at all may be missing of those that are not remembered.
    let again = |one: &Shown| (one.view.task.id, Of { over: one.view.task.is_taken_back(), digest: None });
    let before = before.unwrap_or_else(|| if anew { Tasks::new() } else { shown.iter().map(again).collect() });
    let mut before = before;
    if !anew && watcher.wanted.is_of_one() {
        // Who deleted it and finds the other one when it begins to wait was never told that the first is gone.
        before.values_mut().filter(|of| of.over).for_each(|of| *of = Of { over: false, digest: None });
    }
    watcher.known = before.into_iter().map(|(id, of)| (id, Known::before(id, of))).collect();
    watcher.compare(shown, more, now).await;
    if initial && bookmarks {
        watcher.bookmark(true);
    }
    let stream = unfold(watcher, |mut watcher| async move { watcher.next().await.map(|bytes| (bytes, watcher)) });
    let body = Body::from_stream(stream.map(Ok::<Bytes, std::convert::Infallible>));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
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
            let (rests, bookmarks, over, ending) = (self.rests, self.bookmarks, self.ends, self.app.ending.clone());
            tokio::select! {
                changed = changed(&mut self.changes, rests) => match changed {
                    true => self.look().await,
                    false => return None,
                },
                () = until_true(ending) => return None,
                () = tokio::time::sleep(BOOKMARK), if bookmarks => self.bookmark(false),
                () = at(over) => {
                    if bookmarks {
                        self.bookmark(false);
                    }
                    self.over = true;
                }
            }
        }
    }

    async fn look(&mut self) {
        let begun = Instant::now();
        let number = *self.changes.borrow_and_update();
        match self.wanted.look(&self.app, number).await {
            Ok((shown, more)) => {
                self.compare(shown, more, number).await;
                self.seen = number;
            }
            Err(refusal) => {
                self.over = true;
                self.ready.push_back(line("ERROR", json!(refusal.status())));
            }
        }
        let now = Instant::now();
        self.rests = now + PACE.max((now - begun) * 10);
    }

    /// Tell what is different from what was told.
    async fn compare(&mut self, shown: Vec<Shown>, more: bool, number: u64) {
        let there: BTreeSet<u64> = shown.iter().map(|one| one.view.task.id).collect();
        for one in shown {
            self.now(one);
        }
        let gone: Vec<u64> = self.known.keys().filter(|id| !there.contains(id)).copied().collect();
        for id in gone {
            let Some(known) = self.known.remove(&id) else { continue };
            // Of one that is only remembered it is not known how it was.
            let sought = known.view.task.pool.is_empty() || (more && !known.view.task.state.is_final());
            let found = if sought { self.app.handle.task(id).await.ok() } else { None };
            match found {
                // Only crowded out of the list.
                Some(task) if self.wanted.wants(&task.task, number) => {
                    self.known.insert(id, known);
                    self.now(Shown::new(task.into(), number));
                }
                Some(task) => self.tell("DELETED", Shown::new(task.into(), number)),
                None if more && !sought => {}
                None => self.tell("DELETED", Shown::new(known.view, number)),
            }
        }
    }

    /// A task as it is now.
    fn now(&mut self, one: Shown) {
        let (id, known) = (one.view.task.id, Known::of(&one));
        let before = self.known.insert(id, known);
        let Some(before) = before else { return self.tell("ADDED", one) };
        if self.known.get(&id).is_some_and(|now| now.told == before.told) {
            return;
        }
        let old = Shown::new(before.view, one.number);
        if old.object.pointer("/metadata/uid") == one.object.pointer("/metadata/uid") {
            return self.tell("MODIFIED", one);
        }
        // For whoever deleted it and waits until it is gone.
        self.tell("DELETED", old);
        self.tell("ADDED", one);
    }

    fn tell(&mut self, verb: &'static str, one: Shown) {
        self.told = one.number;
        let object = match self.shape {
            Shape::Whole => one.object,
            Shape::Metadata => metadata_of(&one.object),
            Shape::Table(include) => {
                let mut all = table("");
                if std::mem::replace(&mut self.headed, true) {
                    all["columnDefinitions"] = Value::Null;
                }
                all["rows"] = json!([one.row(include, self.app.handle.later(Span::default()))]);
                all
            }
        };
        self.ready.push_back(line(verb, object));
    }

    fn bookmark(&mut self, initial: bool) {
        self.told = self.seen;
        let version = self.seen.to_string();
        let of = match self.shape {
            Shape::Table(_) => table(&version),
            Shape::Whole | Shape::Metadata => json!({"kind": "Task", "apiVersion": API_VERSION}),
        };
        self.ready.push_back(bookmark(of, &version, initial));
    }
}

impl Drop for Watcher {
    /// Whoever comes back is told what is gone, if all that was said was handed over.
    fn drop(&mut self) {
        if self.ready.is_empty() {
            let tasks = self.known.iter().map(|(id, known)| (*id, known.remembered())).collect();
            self.app.told.keep(self.wanted.place(self.told), tasks);
        }
    }
}

/// When there is something to look for and it is time to: true; false when nobody tells any more.
async fn changed(changes: &mut number::Receiver<u64>, rests: Instant) -> bool {
    let told = changes.changed().await.is_ok();
    // Seen when it is looked for: this may be given up for a bookmark while it rests. What is told meanwhile is looked for together.
    changes.mark_changed();
    tokio::time::sleep_until(rests).await;
    told
}
