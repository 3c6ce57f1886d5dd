//! Submits over the daemon's socket by somebody who does not give up: what was not answered is sent again with the same
//! idempotency key, to whichever daemon is there by then.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::wait;

/// The daemon's socket in a scratch directory.
pub fn of(scratch: &Path) -> PathBuf {
    scratch.join("state/weir.sock")
}

/// One request on a connection of its own: status and body; none when no daemon answered it whole.
pub fn ask(socket: &Path, verb: &str, path: &str, body: &Value) -> Option<(u16, Value)> {
    answer(socket, verb, path, body).ok()
}

/// As [`ask`], with why there is no answer.
pub fn answer(socket: &Path, verb: &str, path: &str, body: &Value) -> Result<(u16, Value), String> {
    let cut = |text: &str| format!("cut short: {text:?}");
    let text = exchange(socket, verb, path, body).map_err(|error| error.to_string())?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(|| cut(&text))?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(|| cut(&text))?;
    // Cut short, it is no answer.
    Ok((status, serde_json::from_str(body).map_err(|_| cut(&text))?))
}

fn exchange(socket: &Path, verb: &str, path: &str, body: &Value) -> std::io::Result<String> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    let body = body.to_string();
    let length = body.len();
    let kind = if verb == "PATCH" { "application/merge-patch+json" } else { "application/json" };
    let head = format!("{verb} {path} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-type: {kind}\r\n");
    stream.write_all(format!("{head}content-length: {length}\r\n\r\n{body}").as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

/// One submit of tasks with these idempotency keys; their numbers, once they are on disk.
pub fn submit_once(socket: &Path, pool: &str, keys: &[String]) -> Option<Vec<u64>> {
    let tasks: Vec<Value> = keys.iter().map(|key| json!({"idempotencyKey": key, "payload": {"k": key}})).collect();
    let (status, answer) = ask(socket, "POST", &format!("/v1/pools/{pool}/tasks"), &json!(tasks))?;
    if !(200..300).contains(&status) {
        return None;
    }
    let ids: Vec<u64> = answer["items"].as_array()?.iter().filter_map(|task| task["id"].as_u64()).collect();
    (ids.len() == keys.len()).then_some(ids)
}

/// Submit until it is answered.
pub fn submit(socket: &Path, pool: &str, keys: &[String]) -> Vec<u64> {
    wait("an answer to a submit", || submit_once(socket, pool, keys), || format!("{keys:?}"))
}
