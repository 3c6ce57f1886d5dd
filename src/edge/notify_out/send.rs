//! One attempt to tell one receiver: a POST, or a command with the message on its standard input.
//!
//! Says whether trying again makes sense. The token is read for each attempt, sent to the one address, and stands in no
//! message; a redirect is not followed.

use std::net::IpAddr;
use std::time::Duration;

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, HeaderValue};
use reqwest::{StatusCode, Url};

use crate::edge::command::{self, Command};
use crate::edge::web::{self, Reach};
use crate::edge::{clock, secrets};
use crate::model::pool::{Notify, Webhook};
use crate::model::time::Span;

/// How long a receiver may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a command may run.
const COMMAND_TIMEOUT: Duration = Duration::from_secs(30);

/// Why an attempt failed.
#[derive(Debug, PartialEq)]
pub struct Failed {
    /// In words, without what was sent.
    pub words: String,
    /// It may go better next time.
    pub again: bool,
    /// Not before this has passed.
    pub after: Option<Span>,
}

fn for_good(words: String) -> Failed {
    Failed { words, again: false, after: None }
}

fn for_now(words: String) -> Failed {
    Failed { words, again: true, after: None }
}

/// Tell this receiver, once.
///
/// # Errors
/// [`Failed`].
pub async fn once(how: &Notify, message: &[u8]) -> Result<(), Failed> {
    match (&how.webhook, &how.exec) {
        (Some(webhook), _) => {
            let late = |_| for_now(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()));
            tokio::time::timeout(ANSWER_TIMEOUT, post(webhook, message)).await.map_err(late)?
        }
        (None, Some(exec)) => {
            let env = secrets::inherited().into_iter().collect();
            let command = Command { argv: exec.command.clone(), env, dir: None, user: None };
            let late = |_| for_now(format!("did not end within {} s and was killed", COMMAND_TIMEOUT.as_secs()));
            let ended = tokio::time::timeout(COMMAND_TIMEOUT, command::feed(&command, Some(message), 0)).await.map_err(late)?;
            ended.map(drop).map_err(for_now)
        }
        (None, None) => Err(for_good("names nobody to tell".into())),
    }
}

async fn post(webhook: &Webhook, message: &[u8]) -> Result<(), Failed> {
    let url = web::address(&webhook.url).map_err(|failure| for_good(failure.message))?;
    let failed = |words: String| format!("{}: {words}", web::shown(&url));
    let reach = if webhook.allow_private { Reach::Anywhere } else { Reach::Public };
    if reach == Reach::Public {
        web::guard::literal(&url).map_err(|words| for_good(failed(words)))?;
    }
    let headers = headers(webhook, &url)?;
    let client = web::client(reach, url.scheme() == "https").map_err(|words| for_now(failed(words)))?;
    let request = client.post(url.clone()).headers(headers).body(message.to_vec());
    let answer = request.send().await.map_err(|e| for_now(failed(web::cause(&e))))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let redirected = if status.is_redirection() { ", and redirects are not followed" } else { "" };
    let passing = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    Err(Failed {
        words: failed(format!("answered {status}{redirected}")),
        again: passing || status.is_server_error(),
        after: web::retry_after(status, answer.headers(), clock::now().wall),
    })
}

fn headers(webhook: &Webhook, url: &Url) -> Result<HeaderMap, Failed> {
    let mut headers = HeaderMap::from_iter([(CONTENT_TYPE, HeaderValue::from_static("application/json"))]);
    if let Some(from) = &webhook.token_from {
        if url.scheme() != "https" && !is_here(url) {
            return Err(for_good(format!("{}: a token is only sent over https", web::shown(url))));
        }
        let token = secrets::read(from).map_err(for_now)?;
        if token.is_empty() {
            return Err(for_now("the token is empty".into()));
        }
        let value = web::sensitive(&format!("Bearer {token}")).map_err(|failure| for_good(failure.message))?;
        headers.insert(AUTHORIZATION, value);
    }
    Ok(headers)
}

/// Whether an address is on this machine: by itself, not by what a name may lead to.
fn is_here(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}
