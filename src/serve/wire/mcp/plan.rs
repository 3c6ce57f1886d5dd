//! What a tool asks of the HTTP API, as data: requests, what is shown of their answers, and how an answer is read in bounds.
//!
//! No request is sent from here.

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes};
use serde_json::{Value, json};

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;
/// So much of the end of a log is shown, in bytes.
const LOG_BYTES_MAX: usize = 16 * 1024;

/// A request to the HTTP API.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// GET, POST, PATCH or DELETE.
    pub method: &'static str,
    /// Path and query.
    pub path: String,
    /// What is sent along: a merge patch for PATCH, else JSON.
    pub body: Option<Value>,
    /// The answer is text, of which the end matters.
    pub is_log: bool,
}

impl Request {
    /// A question.
    pub fn get(path: String) -> Request {
        Request { method: "GET", path, body: None, is_log: false }
    }

    /// A log.
    pub fn log(path: &str, lines: u32) -> Request {
        Request { is_log: true, ..Request::get(format!("{path}/log?tailLines={lines}")) }
    }

    /// A change.
    pub fn send(method: &'static str, path: String, body: Option<Value>) -> Request {
        Request { method, path, body, is_log: false }
    }

    /// The type of the body.
    pub fn content_type(&self) -> &'static str {
        if self.method == "PATCH" { "application/merge-patch+json" } else { "application/json" }
    }

    /// The body's bytes.
    pub fn bytes(&self) -> Vec<u8> {
        self.body.as_ref().map(|body| body.to_string().into_bytes()).unwrap_or_default()
    }
}

/// What the daemon answered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// The HTTP status.
    pub code: u16,
    /// The body.
    pub body: Vec<u8>,
}

/// What is shown of an answer.
pub type Show = Box<dyn FnOnce(Value) -> Value + Send>;

/// One request and its place in the result.
pub struct Part {
    /// Under which its answer is shown.
    pub name: &'static str,
    /// The request.
    pub request: Request,
    /// A refusal is shown as null and nothing more.
    pub optional: bool,
    /// What is shown.
    pub show: Show,
}

impl Part {
    /// Shown whole.
    pub fn new(name: &'static str, request: Request) -> Part {
        Part { name, request, optional: false, show: Box::new(|value| value) }
    }

    /// Shown in part.
    pub fn shown(self, show: impl FnOnce(Value) -> Value + Send + 'static) -> Part {
        Part { show: Box::new(show), ..self }
    }

    /// The end of a log, where there is one.
    pub fn log(path: &str, lines: u32) -> Part {
        let text = |value: Value| json!({"log": value.get("log").cloned()});
        Part { optional: true, show: Box::new(text), ..Part::new("output", Request::log(path, lines)) }
    }
}

/// What must be so before anything is changed.
pub struct Check {
    /// Where that is looked up.
    pub request: Request,
    /// The JSON pointer to what must be there.
    pub needs: &'static str,
    /// What is said where it is not.
    pub otherwise: String,
}

/// All that a tool asks, in this order.
pub struct Plan {
    /// First of all.
    pub check: Option<Check>,
    /// One after the other; a refusal ends it.
    pub parts: Vec<Part>,
}

impl From<Part> for Plan {
    fn from(part: Part) -> Plan {
        Plan { check: None, parts: vec![part] }
    }
}

/// Read an answer; of a log only its end is kept.
///
/// # Errors
/// Broken off, or too large, in words.
pub async fn collect<B: Body<Data = Bytes> + Unpin>(mut body: B, is_log: bool) -> Result<Vec<u8>, String>
where
    B::Error: std::fmt::Display,
{
    let mut kept = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| format!("the daemon broke off: {error}"))?;
        let Ok(bytes) = frame.into_data() else { continue };
        kept.extend_from_slice(&bytes);
        if is_log && kept.len() > LOG_BYTES_MAX {
            kept.drain(..kept.len() - LOG_BYTES_MAX);
        }
        if kept.len() > ANSWER_BYTES_MAX {
            return Err(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes: ask for less, by name or with limit"));
        }
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::Full;

    #[tokio::test(flavor = "current_thread")]
    async fn of_a_log_the_end_is_kept_and_no_answer_is_endless() {
        let text = format!("{}the end", "x".repeat(100_000));
        let kept = collect(Full::new(Bytes::from(text.clone())), true).await.unwrap();
        assert_eq!(kept, text.as_bytes()[text.len() - LOG_BYTES_MAX..]);
        assert_eq!(collect(Full::new(Bytes::from(text.clone())), false).await.unwrap(), text.as_bytes());
        let endless = Full::new(Bytes::from(vec![b' '; ANSWER_BYTES_MAX + 1]));
        assert!(collect(endless, false).await.unwrap_err().contains("ask for less"));
    }
}
