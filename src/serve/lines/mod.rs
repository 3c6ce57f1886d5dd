//! Bodies that are streams of lines, each of them JSON and answered for itself while more come.
//!
//! For whoever does not know all of them yet. What has come by the time of a commit shares it, so one connection that does not
//! wait for each answer gives as much as many. A client that does not read its answers is read no further.

pub mod lease;
pub mod submit;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::http::{HeaderMap, header};
use futures_util::{FutureExt, StreamExt};
use serde_json::Value;
use tokio::sync::watch;

use super::app::until_true;
use super::refusal::{Refusal, bad};
use super::wire::tasks::LINES;
use super::wire::{BODY_BYTES_MAX, Status};
use crate::model::exact::inexact;

/// So many lines are taken in together at most: those that come behind do not wait long for their answers.
const TOGETHER: usize = 256;

/// Whether a body of lines comes.
pub fn of_lines(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    kind.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case(LINES))
}

/// What comes, and what of it is no whole line yet.
struct Lines {
    ending: watch::Receiver<bool>,
    body: BodyDataStream,
    rest: Vec<u8>,
    /// Where in `rest` no end of a line was found.
    looked: usize,
    /// Nothing comes any more.
    over: bool,
    /// The client broke off: nobody hears answers.
    broken: bool,
}

impl Lines {
    /// Of this body, until the daemon ends.
    fn of(body: Body, ending: watch::Receiver<bool>) -> Lines {
        Lines { ending, body: body.into_data_stream(), rest: Vec::new(), looked: 0, over: false, broken: false }
    }

    /// The next lines, as many as have come and at most so many; none at the end. What has come is kept where this is dropped.
    async fn next(&mut self, most: usize) -> Option<Vec<Bytes>> {
        loop {
            let lines = self.whole(most);
            if !lines.is_empty() {
                return Some(lines);
            }
            if self.over {
                return None;
            }
            let ending = until_true(self.ending.clone());
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
            Some(Err(_)) => {
                // Half a line of a client that broke off is no line.
                let whole = self.rest.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
                self.rest.truncate(whole);
                (self.over, self.broken, self.looked) = (true, true, 0);
            }
            None => self.over = true,
        }
    }

    /// Whole lines of what has come, without those that are blank. The last one needs no end, and one that is too long is the last.
    fn whole(&mut self, most: usize) -> Vec<Bytes> {
        let (mut lines, mut begun) = (Vec::new(), 0);
        let most = most.min(TOGETHER);
        while lines.len() < most {
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
        self.looked = if lines.len() < most { self.rest.len() } else { 0 };
        lines
    }
}

/// The JSON of a line.
///
/// # Errors
/// 413 and 400: it is too long, or no JSON.
fn value(line: &[u8]) -> Result<Value, Refusal> {
    if line.len() > BODY_BYTES_MAX {
        let message = format!("the line is larger than {BODY_BYTES_MAX} bytes, and what comes behind it is not read");
        return Err(Status::failure(413, "RequestEntityTooLarge", message).into());
    }
    serde_json::from_slice(line).map_err(|error| bad(format!("the line is not JSON: {error}")))
}

/// Each number of a line is kept as it is.
///
/// # Errors
/// 400 with one that would be rounded.
fn exact(line: &[u8]) -> Result<(), Refusal> {
    str::from_utf8(line).ok().and_then(inexact).map_or(Ok(()), |number| Err(bad(number.to_string())))
}
