//! A worker's lines: leases, heartbeats and ends over one connection, each answered as soon as it is done, whatever is asked before it.
//!
//! So a worker can have its next tasks with it before it is done with this one, and need not wait until an end is on disk: what
//! several have said by the time of a commit shares it. Which answer is to which line the `id` says that came with the line.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, unfold};
use futures_util::{FutureExt, StreamExt};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use super::super::app::{App, until_true};
use super::super::leases::{self, token};
use super::super::refusal::{Refusal, bad};
use super::super::wire::tasks::{Ended, LINES, LeaseLine, Leased, LeasedTask, TaskView};
use super::super::write::typed;
use super::{Lines, exact, value};
use crate::engine::handle::Denied;
use crate::model::task::Token;
use crate::model::time::Span;

/// Lines of one connection that are worked on at once; those behind them are read when one is answered.
const AT_ONCE: usize = 64;
/// Of these, so many wait for a task at most: there is always room for what is done and heard at once.
const WAITING: usize = 48;
/// When one that found no place to wait asks again.
const WAIT_AGAIN: Span = Span::secs(1);

/// An answer, and the lease that is given with it.
type Told = (Vec<u8>, Option<Token>);

/// A worker's lines, and what is being done for them.
struct Talk {
    app: App,
    pool: String,
    lines: Lines,
    /// Nothing comes any more.
    over: bool,
    doing: FuturesUnordered<BoxFuture<'static, Told>>,
    waiting: Arc<Semaphore>,
    /// Ends what waits for a task: the daemon ends, or nobody is there to hear of one.
    end: watch::Sender<bool>,
    _place: OwnedSemaphorePermit,
}

/// `POST /v1/pools/{pool}/lease` with a body of lines.
///
/// # Errors
/// 404, 400 and 409 for a pool whose tasks are not for workers to take, 429 when too many workers wait. Nothing was done then.
pub async fn lease(app: App, pool: String, body: Body) -> Result<Response, Refusal> {
    app.handle.is_leased_from(&pool).await?;
    // One place for all that it waits for.
    let _place = app.waiting_place()?;
    let lines = Lines::of(body, app.ending.clone());
    let end = watch::Sender::new(false);
    let app = app.until(end.subscribe());
    let waiting = Arc::new(Semaphore::new(WAITING));
    let talk = Talk { app, pool, lines, over: false, doing: FuturesUnordered::new(), waiting, end, _place };
    let answers = unfold(talk, |mut talk| async move {
        let answers = talk.answers().await?;
        Some((Ok::<_, std::convert::Infallible>(answers), talk))
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(answers)).into_response())
}

impl Talk {
    /// The next answers, as many as there are; none at the end.
    async fn answers(&mut self) -> Option<Bytes> {
        while !(self.over && self.doing.is_empty()) {
            let room = AT_ONCE - self.doing.len();
            let (reads, waits) = (!self.over && room > 0, !self.doing.is_empty());
            let ending = until_true(self.lines.ending.clone());
            tokio::select! {
                Some(told) = self.doing.next(), if waits => match self.and_more(told).await {
                    out if out.is_empty() => {}
                    out => return Some(out.into()),
                },
                lines = self.lines.next(room), if reads => self.begin(lines),
                () = ending, if !*self.end.borrow() => self.begin(None),
            }
        }
        None
    }

    fn begin(&mut self, lines: Option<Vec<Bytes>>) {
        self.over |= lines.is_none();
        if self.lines.broken || *self.lines.ending.borrow() {
            self.end.send_replace(true);
        }
        let answer = |line| answer(self.app.clone(), self.pool.clone(), self.waiting.clone(), line).boxed();
        self.doing.extend(lines.into_iter().flatten().map(answer));
    }

    /// This answer, and those that are there as well. Where nobody hears them, what they give goes to the next who asks.
    async fn and_more(&mut self, first: Told) -> Vec<u8> {
        let (mut out, mut next) = (Vec::new(), Some(first));
        while let Some((answer, lease)) = next {
            match lease.filter(|_| self.lines.broken) {
                Some(lease) => self.app.handle.unheard(lease).await,
                None => out.extend_from_slice(&answer),
            }
            next = self.doing.next().now_or_never().flatten();
        }
        out
    }
}

/// An answer with the `id` of its line.
#[derive(Serialize)]
struct Answer<'a, T> {
    #[serde(skip_serializing_if = "Value::is_null")]
    id: &'a Value,
    #[serde(flatten)]
    what: T,
}

/// A heartbeat was heard.
#[derive(Serialize)]
struct Heard {
    task: TaskView,
}

fn written(id: &Value, what: impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(&Answer { id, what }).expect("an answer is plain data with string keys");
    line.push(b'\n');
    line
}

async fn answer(app: App, pool: String, waiting: Arc<Semaphore>, line: Bytes) -> Told {
    let refused = |id: &Value, refusal: Refusal| (written(id, refusal.status()), None);
    let asked = match value(&line) {
        Ok(asked) => asked,
        Err(refusal) => return refused(&Value::Null, refusal),
    };
    let id = asked.get("id").cloned().unwrap_or_default();
    if let Err(refusal) = exact(&line) {
        return refused(&id, refusal);
    }
    let place = || waiting.clone().try_acquire_owned().map_err(|_| full());
    done(&app, &pool, (&id, asked), place).await.unwrap_or_else(|refusal| refused(&id, refusal))
}

fn full() -> Denied {
    let message = format!("there is no task, and {WAITING} lines of this connection wait for one already");
    Denied::Full { message, retry_after: WAIT_AGAIN }
}

async fn done<P>(
    app: &App,
    pool: &str,
    (id, asked): (&Value, Value),
    place: impl Fn() -> Result<P, Denied>,
) -> Result<Told, Refusal> {
    if !asked.is_object() {
        // A list would be read as the fields in their order.
        return Err(bad("a line is an object, like {\"lease\": {…}}"));
    }
    let LeaseLine { id: _, token: of, lease, heartbeat, complete, fail } = typed(asked).map_err(bad)?;
    let held = || token(of.as_deref().ok_or_else(|| bad("it has no token: of which lease?"))?);
    match (lease, heartbeat, complete, fail) {
        (Some(wish), None, None, None) if of.is_none() => {
            let task = leases::take(app, pool, wish, place).await?;
            let given = given(task.as_ref());
            Ok((written(id, Leased { task }), given))
        }
        (None, Some(heartbeat), None, None) => {
            let task = leases::heartbeat(app, held()?, heartbeat).await?;
            Ok((written(id, Heard { task }), None))
        }
        (None, None, Some(complete), None) => Ok(ended(id, &leases::complete(app, held()?, complete, place).await?)),
        (None, None, None, Some(fail)) => Ok(ended(id, &leases::fail(app, held()?, fail, place).await?)),
        (_, _, _, _) => {
            Err(bad("a line is one of lease, heartbeat, complete and fail, the last three with the token of a lease"))
        }
    }
}

fn ended(id: &Value, what: &Ended) -> Told {
    (written(id, what), given(what.next.as_ref()))
}

fn given(task: Option<&LeasedTask>) -> Option<Token> {
    task.map(|leased| Token::from(&leased.task))
}
