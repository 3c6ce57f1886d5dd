//! Tasks as a stream of lines: each is taken in for itself, and answered in order as soon as it is on disk.
//!
//! For whoever has many and does not know them all yet. What has come by the time of a commit shares it, so one connection that
//! does not wait for each answer gives as much as many. A client that does not read its answers is read no further.

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use futures_util::{FutureExt, StreamExt};
use serde_json::Value;
use tokio::sync::OwnedSemaphorePermit;

use super::app::{App, until_true};
use super::refusal::{Refusal, bad};
use super::wire::tasks::{LINES, TaskView};
use super::wire::{BODY_BYTES_MAX, Status};
use super::write::new_task;
use crate::engine::handle::Accepted;
use crate::model::exact::inexact;
use crate::model::task::NewTask;

/// So many lines are taken in together at most: those that come behind do not wait long for their answers.
const TOGETHER: usize = 256;

/// Whether a body of lines comes.
pub fn of_lines(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(LINES))
}

/// What comes, and what of it is no whole line yet.
struct Coming {
    app: App,
    pool: String,
    body: BodyDataStream,
    rest: Vec<u8>,
    /// Where in `rest` no end of a line was found.
    looked: usize,
    /// Nothing comes any more.
    over: bool,
    _slot: OwnedSemaphorePermit,
}

/// `POST /v1/pools/{pool}/tasks` with a body of lines.
///
/// # Errors
/// 404 and 400 for a pool that takes no tasks, 429 when too many streams are open. Nothing was taken in then.
pub async fn submit(app: App, pool: String, body: Body) -> Result<Response, Refusal> {
    app.handle.capacity(&pool).await?;
    let _slot = app.stream_slot()?;
    let (body, rest, looked, over) = (body.into_data_stream(), Vec::new(), 0, false);
    let coming = Coming { app, pool, body, rest, looked, over, _slot };
    let answers = unfold(coming, |mut coming| async move {
        let lines = coming.lines().await?;
        let answers = answers(&coming.app, &coming.pool, &lines).await;
        Some((Ok::<_, std::convert::Infallible>(answers), coming))
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(answers)).into_response())
}

impl Coming {
    /// The next lines, as many as have come; none at the end.
    async fn lines(&mut self) -> Option<Vec<Bytes>> {
        loop {
            let lines = self.whole();
            if !lines.is_empty() {
                return Some(lines);
            }
            if self.over {
                return None;
            }
            let ending = until_true(self.app.ending.clone());
            let chunk = tokio::select! {
                chunk = self.body.next() => chunk,
                // What was not answered was not taken in.
                () = ending => return None,
            };
            self.take(chunk);
            // What has come as well shares the commit.
            while !self.over
                && self.rest.len() < BODY_BYTES_MAX
                && let Some(chunk) = self.body.next().now_or_never()
            {
                self.take(chunk);
            }
        }
    }

    fn take(&mut self, chunk: Option<Result<Bytes, axum::Error>>) {
        match chunk {
            Some(Ok(chunk)) => self.rest.extend_from_slice(&chunk),
            // Half a line of a client that broke off is no line.
            Some(Err(_)) => (self.over, self.rest, self.looked) = (true, Vec::new(), 0),
            None => self.over = true,
        }
    }

    /// Whole lines of what has come, without those that are blank. The last one needs no end, and one that is too long is the last.
    fn whole(&mut self) -> Vec<Bytes> {
        let (mut lines, mut begun) = (Vec::new(), 0);
        while lines.len() < TOGETHER {
            let from = begun.max(self.looked);
            let end = match self.rest[from..].iter().position(|byte| *byte == b'\n') {
                Some(at) => from + at,
                None if begun < self.rest.len() && (self.over || self.rest.len() - begun > BODY_BYTES_MAX) => self.rest.len(),
                None => break,
            };
            if end - begun > BODY_BYTES_MAX {
                lines.push(self.rest.split_off(begun).into());
                (self.over, self.rest, self.looked) = (true, Vec::new(), 0);
                return lines;
            }
            let line = self.rest[begun..end].trim_ascii();
            if !line.is_empty() {
                lines.push(Bytes::copy_from_slice(line));
            }
            begun = (end + 1).min(self.rest.len());
        }
        self.rest.drain(..begun);
        self.looked = if lines.len() < TOGETHER { self.rest.len() } else { 0 };
        lines
    }
}

/// An answer for each line, in order: the task, or a `Status` that says why it was not taken in.
async fn answers(app: &App, pool: &str, lines: &[Bytes]) -> Bytes {
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for line in lines {
        match task(line) {
            Ok(task) => {
                good.push(task);
                refused.push(None);
            }
            Err(refusal) => refused.push(Some(refusal)),
        }
    }
    // Where they are refused together, each is asked for itself.
    let together = if good.is_empty() { None } else { app.handle.submit(pool, good).await.ok() };
    let mut together = together.map(Vec::into_iter);
    let mut out = Vec::new();
    for (line, refused) in lines.iter().zip(refused) {
        let answer = match (refused, &mut together) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(all)) => all.next().ok_or_else(|| bad("it has no answer")),
            (None, None) => alone(app, pool, line).await,
        };
        let written = match answer {
            Ok(accepted) => serde_json::to_writer(&mut out, &TaskView::from(accepted)),
            Err(refusal) => serde_json::to_writer(&mut out, refusal.status()),
        };
        written.expect("an answer is plain data with string keys");
        out.push(b'\n');
    }
    Bytes::from(out)
}

async fn alone(app: &App, pool: &str, line: &[u8]) -> Result<Accepted, Refusal> {
    let mut accepted = app.handle.submit(pool, vec![task(line)?]).await?;
    accepted.pop().ok_or_else(|| bad("it has no answer"))
}

/// The task of a line.
fn task(line: &[u8]) -> Result<NewTask, Refusal> {
    if line.len() > BODY_BYTES_MAX {
        let message = format!("the line is larger than {BODY_BYTES_MAX} bytes, and what comes behind it is not read");
        return Err(Status::failure(413, "RequestEntityTooLarge", message).into());
    }
    let value: Value = serde_json::from_slice(line).map_err(|error| bad(format!("the line is not JSON: {error}")))?;
    if let Some(number) = str::from_utf8(line).ok().and_then(inexact) {
        return Err(bad(number.to_string()));
    }
    new_task(value).map_err(bad)
}
