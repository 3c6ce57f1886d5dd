//! What every handler is given, and how a request's path and query are read.
//!
//! Reading is strict: what cannot be read is a 400 that says what was found.

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::extract::Query as FromQuery;
use axum::extract::rejection::QueryRejection;
use serde_json::Value;
use tokio::sync::{Mutex, OwnedMutexGuard, OwnedSemaphorePermit, Semaphore, watch};

use super::kube::told::Told;
use super::refusal::{Refusal, bad, nowhere};
use crate::engine::handle::{Denied, Handle};
use crate::model::selector::Selector;
use crate::model::status::{Kind, Object};
use crate::model::time::Span;

/// Who found no place to wait for a task asks again after this: each such asking is a transaction.
const WAIT_AGAIN: Span = Span::secs(5);

/// Who found no place for a watch tries again after this: clients end theirs and begin anew all the time.
const STREAM_AGAIN: Span = Span::secs(5);

/// How many of what stays open there may be at once.
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Watches, followed logs, and clients that wait for the end of a task.
    pub streams: u32,
    /// Workers that wait for a task.
    pub waiting: u32,
}

/// What every handler is given.
#[derive(Clone)]
pub struct App {
    /// The engine.
    pub handle: Handle,
    /// True when the daemon ends: streams end too.
    pub ending: watch::Receiver<bool>,
    /// Which tasks were told of lately.
    pub told: Arc<Told>,
    streams: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    most: Room,
    edits: Arc<Mutex<()>>,
}

impl App {
    /// With so much room.
    pub fn new(handle: Handle, most: Room, ending: watch::Receiver<bool>) -> App {
        let [streams, waiting] = [most.streams, most.waiting].map(|most| Arc::new(Semaphore::new(most as usize)));
        App { handle, ending, told: Arc::default(), streams, waiting, most, edits: Arc::default() }
    }

    /// The same, whose streams and waits end with something else.
    pub fn until(self, ending: watch::Receiver<bool>) -> App {
        App { ending, ..self }
    }

    /// The turn of one edit that is made from what is shown: the next begins when what is shown follows from this one.
    pub async fn turn(&self) -> OwnedMutexGuard<()> {
        self.edits.clone().lock_owned().await
    }

    /// A place for one more stream, as long as it is held.
    ///
    /// # Errors
    /// 429 with the time after which to try again, when all are taken.
    pub fn stream_slot(&self) -> Result<OwnedSemaphorePermit, Refusal> {
        let taken = "too many watches and followed logs are open: close some, or try again later";
        let full = || Denied::Full { message: taken.into(), retry_after: STREAM_AGAIN };
        self.streams.clone().try_acquire_owned().map_err(|_| full().into())
    }

    /// A place for one more worker that waits for a task, as long as it is held.
    ///
    /// # Errors
    /// 429 with the time after which to ask again, when all are taken.
    pub fn waiting_place(&self) -> Result<OwnedSemaphorePermit, Denied> {
        let full = || Denied::Full {
            message: format!("there is no task, and {} workers wait for one here already", self.most.waiting),
            retry_after: WAIT_AGAIN,
        };
        self.waiting.clone().try_acquire_owned().map_err(|_| full())
    }

    /// Done when no place for a stream is held any more.
    pub async fn streams_ended(&self) {
        let _all = self.streams.acquire_many(self.most.streams).await;
    }
}

/// The query of a request; of repeated names the last counts.
pub type Params = Result<FromQuery<Query>, QueryRejection>;

/// A query that was read.
pub type Query = BTreeMap<String, String>;

/// The kind of a URL.
///
/// # Errors
/// 404 for what is not served.
pub fn kind_of(plural: &str) -> Result<Kind, Refusal> {
    Kind::ALL
        .into_iter()
        .find(|kind| kind.plural() == plural)
        .ok_or_else(|| nowhere(": there are workerpools, workers, resourcepolicies and events"))
}

/// The query, or why it cannot be read.
///
/// # Errors
/// 400.
pub fn params(params: Params) -> Result<Query, Refusal> {
    params.map(|FromQuery(params)| params).map_err(|rejection| bad(rejection.body_text()))
}

/// A yes or no of the query; absent is no.
///
/// # Errors
/// 400 for anything else.
pub fn flag(params: &Query, name: &str) -> Result<bool, Refusal> {
    match params.get(name).map(String::as_str) {
        None | Some("false" | "0") => Ok(false),
        Some("true" | "1" | "") => Ok(true),
        Some(_) => Err(bad(format!("{name} must be true or false"))),
    }
}

/// A number of the query.
///
/// # Errors
/// 400 when it is not one.
pub fn number(params: &Query, name: &str) -> Result<Option<u64>, Refusal> {
    let given = params.get(name).filter(|text| !text.is_empty());
    given.map(|text| text.parse().map_err(|_| bad(format!("{name} must be a number from 0")))).transpose()
}

/// Which objects are wanted.
#[derive(Clone, Default)]
pub struct Filter {
    labels: Selector,
    fields: Selector,
    known: &'static [&'static str],
}

impl Filter {
    /// From the query, for objects that can be selected by these fields.
    ///
    /// # Errors
    /// 400 for a selector that cannot be read or a field that cannot be selected by.
    pub fn new(params: &Query, known: &'static [&'static str]) -> Result<Filter, Refusal> {
        let text = |name| params.get(name).map_or("", String::as_str);
        let labels = text("labelSelector").parse().map_err(|why| bad(format!("label selector: {why}")))?;
        let fields = Selector::of_fields(text("fieldSelector")).map_err(bad)?;
        match fields.unknown_key(known) {
            Some(key) => Err(bad(format!("field selector: \"{key}\" is none of {}", known.join(", ")))),
            None => Ok(Filter { labels, fields, known }),
        }
    }

    /// What is said of a field that is judged elsewhere: each value, and whether it must be it.
    pub fn take(&mut self, field: &str) -> Vec<(bool, String)> {
        self.fields.take(field)
    }

    /// Whether not all objects are wanted.
    pub fn selects(&self) -> bool {
        [&self.labels, &self.fields].into_iter().any(|selector| *selector != Selector::default())
    }

    /// Whether an object may be wanted in which this field is so.
    pub fn allows(&self, field: &str, value: &str) -> bool {
        self.fields.allows(field, value)
    }

    /// Whether this object is wanted, as it would be sent.
    pub fn wants(&self, object: &Value) -> bool {
        let text = |value: Option<&Value>| value.and_then(Value::as_str).unwrap_or_default().to_owned();
        let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
        let labels = labels.into_iter().flatten().map(|(key, value)| (key.clone(), text(Some(value)))).collect();
        let field = |name: &&str| ((*name).to_owned(), text(object.pointer(&format!("/{}", name.replace('.', "/")))));
        self.labels.matches(&labels) && self.fields.matches(&self.known.iter().map(field).collect())
    }
}

/// An object as it is sent.
pub fn value(object: &Object) -> Value {
    serde_json::to_value(object).unwrap_or(Value::Null)
}

/// Done when the flag is raised; never, when whoever could raise it is gone.
pub async fn until_true(mut flag: watch::Receiver<bool>) {
    if flag.wait_for(|flag| *flag).await.is_err() {
        std::future::pending::<()>().await;
    }
}
