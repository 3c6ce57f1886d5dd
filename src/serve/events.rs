//! `GET /v1/events`: what happens, as server-sent events; resumed where a client left off.
//!
//! The id of each is its version: whoever comes back with `Last-Event-ID` is told first what happened since, as far as events are
//! kept. A client holds one of a bounded number of places and is sent to no faster than it reads; one that falls behind is told
//! from the events that are kept, and makes nobody wait.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;

use super::app::{App, Filter, Params, Query, number, params, until_true, value};
use super::refusal::{Refusal, bad};
use crate::engine::handle::{Change, Subscription};
use crate::model::status::{Kind, Object};

/// Fields that can be selected by.
const FIELDS: &[&str] = &["metadata.name", "type", "reason", "regarding"];

/// `GET /v1/events?fieldSelector=&lastEventId=`; without an id from now on, with 0 all that are kept come first.
pub async fn events(State(app): State<App>, headers: HeaderMap, query: Params) -> Result<Response, Refusal> {
    let query = params(query)?;
    let filter = Filter::new(&query, FIELDS)?;
    let slot = app.stream_slot()?;
    let after = match last(&headers, &query)? {
        Some(id) => id,
        None => app.handle.list(Kind::Event).0,
    };
    let teller = Teller { app, filter, after, ready: VecDeque::new(), changes: None, _slot: slot };
    let stream = unfold(teller, |mut teller| async move { Some((Ok::<_, Infallible>(teller.next().await?), teller)) });
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()).into_response())
}

/// The last one that the client has: from the header that browsers send by themselves, or from the query.
fn last(headers: &HeaderMap, query: &Query) -> Result<Option<u64>, Refusal> {
    let Some(sent) = headers.get("last-event-id") else { return number(query, "lastEventId") };
    let id = sent.to_str().ok().and_then(|text| text.trim().parse().ok());
    id.map(Some).ok_or_else(|| bad("Last-Event-ID must be the id of an event, a number"))
}

struct Teller {
    app: App,
    filter: Filter,
    /// All up to this version were told or are in `ready`.
    after: u64,
    ready: VecDeque<Arc<Object>>,
    changes: Option<Subscription>,
    _slot: OwnedSemaphorePermit,
}

impl Teller {
    async fn next(&mut self) -> Option<Event> {
        loop {
            while let Some(object) = self.ready.pop_front() {
                if let Some(event) = self.shown(&object) {
                    return Some(event);
                }
            }
            if self.changes.is_none() {
                self.catch_up()?;
                continue;
            }
            let ending = self.app.ending.clone();
            let changes = self.changes.as_mut()?;
            tokio::select! {
                next = changes.next() => match next? {
                    Ok(changes) => self.take(changes),
                    // It has fallen behind: what is kept tells the rest.
                    Err(_gone) => self.changes = None,
                },
                () = until_true(ending) => return None,
            }
        }
    }

    /// What happened since, as far as it is kept, in its order.
    fn catch_up(&mut self) -> Option<()> {
        let (version, objects) = self.app.handle.list(Kind::Event);
        let mut missed: Vec<Arc<Object>> = objects.into_iter().filter(|object| version_of(object) > self.after).collect();
        missed.sort_by_key(|object| version_of(object));
        self.ready.extend(missed);
        self.after = version;
        self.changes = self.app.handle.watch(Kind::Event, version).ok();
        self.changes.as_ref().map(|_| ())
    }

    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.after = change.version;
            if change.verb == "ADDED" {
                self.ready.push_back(change.object);
            }
        }
    }

    fn shown(&self, object: &Object) -> Option<Event> {
        let shown = value(object);
        let event = Event::default().id(version_of(object).to_string());
        self.filter.wants(&shown).then(|| event.json_data(shown).ok()).flatten()
    }
}

fn version_of(object: &Object) -> u64 {
    object.meta().resource_version.parse().unwrap_or(0)
}
