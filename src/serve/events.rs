//! `GET /v1/events`: what happens, as server-sent events or, when a client asks for one, on a WebSocket; resumed where it left off.
//!
//! Whoever comes back with the `Last-Event-ID` of what it was told last is told first what happened since, as far as events are
//! shown, and that some may be missing (`event: gap`) where they are not. An id names its event, since each daemon counts versions
//! anew. A client holds one of a bounded number of places and is sent to no faster than it reads; one that falls behind is told
//! from the events that are shown, and makes nobody wait. How a WebSocket is kept is elsewhere.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::WebSocketUpgrade;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::http::{HeaderMap, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::{Stream, StreamExt, stream};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::app::{App, Filter, Params, Query, params, until_true, value};
use super::refusal::{Refusal, bad};
use super::sockets;
use crate::engine::handle::{Change, Subscription};
use crate::model::status::{Kind, Object};

/// Fields that can be selected by.
const FIELDS: &[&str] = &["metadata.name", "type", "reason", "regarding"];

/// What is told when some may be missing.
const GAP: &str = "some events are shown no more";

/// `GET /v1/events?fieldSelector=&lastEventId=`; without an id from now on, with 0 all that are kept come first.
pub async fn events(
    State(app): State<App>,
    socket: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
    headers: HeaderMap,
    query: Params,
) -> Result<Response, Refusal> {
    let query = params(query)?;
    let filter = Filter::new(&query, FIELDS)?;
    let asked = last(&headers, &query)?;
    // Whoever asks for another protocol must not be given a stream that it cannot read.
    let socket = headers.contains_key(header::UPGRADE).then_some(socket).transpose().map_err(|why| bad(why.body_text()))?;
    let slot = app.stream_slot()?;
    let after = asked.unwrap_or_else(|| {
        let (version, objects) = app.handle.list(Kind::Event);
        Place { version, event: objects.iter().max_by_key(|object| version_of(object)).and_then(|object| named(object)) }
    });
    let teller = Teller { app, filter, after, gap: false, ready: VecDeque::new(), changes: None, _slot: slot };
    Ok(match socket {
        Some(socket) => sockets::answer(socket, teller.told().map(|told| told.frame().to_string())),
        None => Sse::new(teller.told().map(Told::sent)).keep_alive(KeepAlive::default()).into_response(),
    })
}

/// One message, whatever carries it.
enum Told {
    /// Some may be missing here.
    Gap,
    /// What happened, and the id to come back with.
    Event { id: String, data: Value },
}

impl Told {
    fn sent(self) -> Result<Event, axum::Error> {
        match self {
            Told::Gap => Ok(Event::default().event("gap").data(GAP)),
            Told::Event { id, data } => Event::default().id(id).json_data(data),
        }
    }

    /// The same fields under the same names, as JSON.
    fn frame(self) -> Value {
        match self {
            Told::Gap => json!({"event": "gap", "data": GAP}),
            Told::Event { id, data } => json!({"id": id, "data": data}),
        }
    }
}

/// The last one that the client has: from the header that browsers send by themselves, or from the query.
fn last(headers: &HeaderMap, query: &Query) -> Result<Option<Place>, Refusal> {
    let sent = match headers.get("last-event-id") {
        Some(sent) => sent.to_str().unwrap_or("?"),
        None => query.get("lastEventId").map_or("", String::as_str),
    };
    if sent.is_empty() {
        return Ok(None);
    }
    place(sent.trim()).map(Some).ok_or_else(|| bad("the last event's id must be one of an event, as it was sent, or 0"))
}

/// Up to where a client was told.
#[derive(Debug, PartialEq)]
struct Place {
    version: u64,
    /// When the last one was, in ms, and its name; not known of a number alone.
    event: Option<(i64, String)>,
}

/// `VERSION-MS-NAME`, or a version alone.
fn place(id: &str) -> Option<Place> {
    let mut parts = id.splitn(3, '-');
    let version = parts.next()?.parse().ok()?;
    let event = match (parts.next(), parts.next()) {
        (Some(ms), Some(name)) => Some((ms.parse().ok()?, name.to_owned())),
        (None, _) => None,
        (Some(_), None) => return None,
    };
    Some(Place { version, event })
}

/// The events that come after a place, in their order, and whether some may be missing before them.
fn since(after: &Place, mut objects: Vec<Arc<Object>>) -> (Vec<Arc<Object>>, bool) {
    objects.sort_by_key(|object| version_of(object));
    let Some((ms, name)) = after.event.as_ref().filter(|_| after.version > 0) else {
        objects.retain(|object| version_of(object) > after.version);
        return (objects, false);
    };
    let of_name = objects.iter().find(|object| object.meta().name == *name);
    let gap = of_name.is_none();
    match of_name.filter(|object| time_of(object) == Some(*ms)).map(|object| version_of(object)) {
        Some(version) => objects.retain(|object| version_of(object) > version),
        // It is shown no more, or has happened once more.
        None => objects.retain(|object| version_of(object) > after.version && time_of(object) >= Some(*ms)),
    }
    (objects, gap)
}

struct Teller {
    app: App,
    filter: Filter,
    /// All up to here were told or are in `ready`.
    after: Place,
    /// Some may be missing before what is in `ready`.
    gap: bool,
    ready: VecDeque<Arc<Object>>,
    changes: Option<Subscription>,
    _slot: OwnedSemaphorePermit,
}

impl Teller {
    /// All of it, until the daemon ends. The place is held as long as the stream.
    fn told(self) -> impl Stream<Item = Told> + Send + 'static {
        stream::unfold(self, |mut teller| async move { Some((teller.next().await?, teller)) })
    }

    async fn next(&mut self) -> Option<Told> {
        loop {
            if std::mem::take(&mut self.gap) {
                return Some(Told::Gap);
            }
            while let Some(object) = self.ready.pop_front() {
                if let Some(told) = self.shown(&object) {
                    return Some(told);
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
        let (missed, gap) = since(&self.after, objects);
        self.gap = gap;
        if let Some(last) = missed.last() {
            self.after.event = named(last);
        }
        self.after.version = version;
        self.ready.extend(missed);
        self.changes = self.app.handle.watch(Kind::Event, version).ok();
        self.changes.as_ref().map(|_| ())
    }

    fn take(&mut self, changes: Vec<Change>) {
        for change in changes {
            self.after.version = change.version;
            // One that happens once more is told once more.
            if change.verb != "DELETED" {
                self.after.event = named(&change.object);
                self.ready.push_back(change.object);
            }
        }
    }

    fn shown(&self, object: &Object) -> Option<Told> {
        let data = value(object);
        let (ms, name) = named(object)?;
        let id = format!("{}-{ms}-{name}", version_of(object));
        self.filter.wants(&data).then_some(Told::Event { id, data })
    }
}

fn version_of(object: &Object) -> u64 {
    object.meta().resource_version.parse().unwrap_or(0)
}

fn time_of(object: &Object) -> Option<i64> {
    match object {
        Object::Event(event) => Some(event.event_time.0),
        Object::Pool(_) | Object::Worker(_) | Object::Policy(_) => None,
    }
}

fn named(object: &Object) -> Option<(i64, String)> {
    time_of(object).map(|ms| (ms, object.meta().name.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::{EventObject, EventType, Meta};
    use crate::model::time::Wall;

    fn event(name: &str, version: u64, ms: i64) -> Arc<Object> {
        let metadata = Meta { name: name.into(), resource_version: version.to_string(), ..Meta::default() };
        Arc::new(Object::Event(Box::new(EventObject {
            api_version: String::new(),
            kind: String::new(),
            metadata,
            severity: EventType::Normal,
            reason: String::new(),
            regarding: String::new(),
            note: String::new(),
            event_time: Wall(ms),
        })))
    }

    #[test]
    fn ids_are_those_that_were_sent() {
        assert_eq!(place("7"), Some(Place { version: 7, event: None }));
        assert_eq!(place("7-12-web-0.x"), Some(Place { version: 7, event: Some((12, "web-0.x".into())) }));
        for bad in ["", "x", "7-", "7-12", "7-x-web", "-1"] {
            assert_eq!(place(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_daemon_that_began_anew_tells_nothing_twice_and_says_what_it_cannot_tell() {
        // Three of one moment, and one of a worker that happened twice; as the next daemon has them, with versions of its own.
        let shown = [("a", 1001, 10), ("b", 1002, 10), ("c", 1003, 10), ("d", 1004, 20)].map(|(n, v, ms)| event(n, v, ms));
        let told = |id: &str| {
            let (told, gap) = since(&place(id).unwrap(), shown.to_vec());
            (told.iter().map(|object| object.meta().name.clone()).collect::<String>(), gap)
        };
        assert_eq!(told("5-10-b"), ("cd".into(), false));
        assert_eq!(told("1002-10-b"), ("cd".into(), false), "the same daemon");
        assert_eq!(told("8-20-d"), (String::new(), false));
        assert_eq!(told("2-3-gone"), ("abcd".into(), true));
        assert_eq!(told("2-9-d"), ("abcd".into(), false), "d has happened once more");
        assert_eq!(told("0"), ("abcd".into(), false));
        assert_eq!(told("1003"), ("d".into(), false));
    }
}
