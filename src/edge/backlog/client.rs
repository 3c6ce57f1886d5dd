//! The HTTP client of all sources that speak it: what every one of them needs is done here once, so that none forgets it.
//!
//! The client itself, and which addresses it may reach, is [`crate::edge::web`]. A body is read up to a limit. Words about a
//! failure name the address without its query, and the status; never what was sent, and never the body, which may repeat it.

use reqwest::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Response, StatusCode, Url};
use serde::de::DeserializeOwned;

pub use crate::edge::web::{Reach, address, sensitive, shown};
use crate::edge::web::{cause, client, guard, retry_after};
use crate::edge::{clock, secrets};
use crate::model::reading::{Failure, Number};
use crate::model::source::SecretSource;

/// Bytes that a body may have.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// An address with these steps below its own path, each encoded, and this query.
pub fn below(base: &Url, steps: &[&str], query: &[(&str, &str)]) -> Url {
    let mut url = base.clone();
    url.set_fragment(None);
    url.set_query(None);
    // An address of http or https always has a path.
    if let Ok(mut path) = url.path_segments_mut() {
        path.pop_if_empty().extend(steps);
    }
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    url
}

/// Read a secret, now.
///
/// # Errors
/// That it cannot be read or is empty, naming where it should be.
pub fn secret(from: &SecretSource) -> Result<String, Failure> {
    let (read, place) = match (&from.file, &from.env) {
        (Some(path), _) => (secrets::file(path), path),
        (None, Some(name)) => (secrets::daemon_env(name), name),
        (None, None) => return Err(Failure::because("the secret names neither a file nor a variable")),
    };
    match read.map_err(Failure::because)? {
        secret if secret.is_empty() => Err(Failure::because(format!("{place}: empty, where a secret should be"))),
        secret => Ok(secret),
    }
}

/// The headers of a question, with a secret if there is one: `name: prefix secret`.
///
/// # Errors
/// That the secret cannot be read or sent.
pub fn headers(name: HeaderName, prefix: &str, from: Option<&SecretSource>) -> Result<HeaderMap, Failure> {
    let mut headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("application/json"))]);
    if let Some(from) = from {
        headers.insert(name, sensitive(&format!("{prefix}{}", secret(from)?))?);
    }
    Ok(headers)
}

/// Ask one address. The answer may have any status.
///
/// # Errors
/// That nobody answered, or that the address may not be asked.
pub async fn get(reach: Reach, url: &Url, headers: HeaderMap) -> Result<Answer, Failure> {
    let failed = |words: String| Failure::because(format!("{}: {words}", shown(url)));
    if reach == Reach::Public {
        guard::literal(url).map_err(failed)?;
    }
    let client = client(reach, url.scheme() == "https").map_err(failed)?;
    let response = client.get(url.clone()).headers(headers).send().await.map_err(|e| failed(cause(&e)))?;
    Ok(Answer { shown: shown(url), response })
}

/// An answer whose body is not read yet.
#[derive(Debug)]
pub struct Answer {
    shown: String,
    response: Response,
}

impl Answer {
    /// Its status.
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// Its headers.
    pub fn headers(&self) -> &HeaderMap {
        self.response.headers()
    }

    /// A failure of whoever answered this.
    pub fn failure(&self, words: &str) -> Failure {
        Failure::because(format!("{}: {words}", self.shown))
    }

    /// This answer as the refusal it is.
    fn refusal(&self) -> Failure {
        let status = self.status();
        let words = if status.is_redirection() { ", and redirects are not followed" } else { "" };
        let refusal = self.failure(&format!("answered {status}{words}"));
        Failure { retry_after: retry_after(status, self.headers(), clock::now().wall), ..refusal }
    }

    /// What the body says.
    ///
    /// # Errors
    /// That the status is not 200, that the body is too large or incomplete, or that it is not JSON of this kind.
    pub async fn json<T: DeserializeOwned>(self, what: &str) -> Result<T, Failure> {
        let shown = self.shown.clone();
        parsed(&self.body().await?, &shown, what)
    }

    /// What the body says, which must be an object: a list would be taken for its fields in their order.
    ///
    /// # Errors
    /// As [`Answer::json`].
    pub async fn object<T: DeserializeOwned>(self, what: &str) -> Result<T, Failure> {
        let shown = self.shown.clone();
        let body = self.body().await?;
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(Failure::because(format!("{shown}: answered no {what}")));
        }
        parsed(&body, &shown, what)
    }

    /// The whole body.
    async fn body(mut self) -> Result<Vec<u8>, Failure> {
        if self.status() != StatusCode::OK {
            return Err(self.refusal());
        }
        let mut body = Vec::new();
        while let Some(chunk) = self.response.chunk().await.map_err(|e| self.failure(&cause(&e)))? {
            if body.len() + chunk.len() > BODY_MAX {
                return Err(self.failure(&format!("answered more than {BODY_MAX} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}

fn parsed<T: DeserializeOwned>(body: &[u8], shown: &str, what: &str) -> Result<T, Failure> {
    // The error itself would quote what it found.
    let place = |e: serde_json::Error| format!("{shown}: answered no {what}: line {}, column {}", e.line(), e.column());
    serde_json::from_slice(body).map_err(|e| Failure::because(place(e)))
}

/// A number that this address answered.
///
/// # Errors
/// That it is none of zero or more.
pub fn number(url: &Url, value: f64, raw: &str) -> Result<Number, Failure> {
    Number::new(value, raw).map_err(|e| Failure::because(format!("{}: {}", shown(url), e.message)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_stands_in_an_address_is_encoded() {
        let base = address("http://h:1/sub/?x=1#y").expect("an address");
        let url = below(&base, &["a/b", "c?d#e%2F ü"], &[("q", "a b&c=d,+ü")]);
        assert_eq!(url.as_str(), "http://h:1/sub/a%2Fb/c%3Fd%23e%252F%20%C3%BC?q=a+b%26c%3Dd%2C%2B%C3%BC");
        assert_eq!(shown(&url), "http://h:1/sub/a%2Fb/c%3Fd%23e%252F%20%C3%BC");
    }
}
