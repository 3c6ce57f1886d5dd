//! `logs`: a worker's output as it was written.
//!
//! To a file or pipe it goes byte for byte; on a terminal control characters are shown escaped, because what a worker prints
//! is nobody's promise.

use std::io::{self, IsTerminal, Write};

use serde_json::Value;

use super::Context;
use super::away::is_there;
use super::tasks::fetch;
use crate::ctl::args::Logs;
use crate::ctl::client::{encoded, next_chunk, path};
use crate::ctl::error::Failure;
use crate::ctl::print::note;
use crate::ctl::text::tame_block;
use crate::ctl::{offline, resource};
use crate::model::status::Kind;

/// `ctl logs`
pub(super) async fn run(context: &Context, args: Logs) -> Result<(), Failure> {
    let worker = resource::one(&args.worker, Kind::Worker)?;
    let (tail, lines) = (tail(args.tail)?, lines(&args)?);
    let query = format!("{}/log?follow={}&previous={}{lines}", path(Kind::Worker, &worker), args.follow, args.previous);
    let mut out = Out { terminal: io::stdout().is_terminal(), rest: Vec::new() };
    match context.client.stream(&query).await {
        Ok(mut body) => {
            while let Some(bytes) = next_chunk(&mut body).await? {
                out.write_all(&bytes)?;
            }
            ended_by_itself(context, args.follow).await?;
        }
        Err(Failure::NoDaemon(at)) if args.follow || args.previous || timed(&args) => return Err(Failure::NoDaemon(at)),
        Err(Failure::NoDaemon(at)) => {
            if !context.state.join("status").is_dir() {
                return Err(Failure::NoDaemon(at));
            }
            context.say_offline();
            offline::log(&context.state, &worker, tail, &mut out)?;
        }
        Err(failure) => return Err(failure),
    }
    Ok(out.flush()?)
}

/// A daemon that ends in good order ends what is followed in good order too, though the worker may run on.
async fn ended_by_itself(context: &Context, follow: bool) -> Result<(), Failure> {
    if follow && matches!(is_there(context).await, Err(Failure::NoDaemon(_))) {
        return Err(Failure::NoDaemon("the daemon has ended".into()));
    }
    Ok(())
}

/// How many lines are wanted.
fn tail(lines: i64) -> Result<Option<u64>, Failure> {
    match lines {
        -1 => Ok(None),
        lines => {
            u64::try_from(lines).map(Some).map_err(|_| Failure::Usage("--tail: give a number of lines, or -1 for all".into()))
        }
    }
}

/// It takes the times of lines, which are not read without a daemon.
fn timed(args: &Logs) -> bool {
    args.since.is_some() || args.since_time.is_some() || args.timestamps
}

/// Which lines are wanted, and how, as a part of a query.
fn lines(args: &Logs) -> Result<String, Failure> {
    let part = |name: &str, value: Option<String>| value.map(|value| format!("&{name}={}", encoded(&value))).unwrap_or_default();
    // Whatever is asked for to the millisecond is known to the second.
    let seconds = args.since.map(|since| since.0.div_ceil(1000).max(1).to_string());
    let all = [
        part("tailLines", tail(args.tail)?.map(|lines| lines.to_string())),
        part("sinceSeconds", seconds),
        part("sinceTime", args.since_time.clone()),
        part("timestamps", args.timestamps.then(|| "true".into())),
    ];
    Ok(all.concat())
}

/// `ctl logs task/ID`: the output of all its attempts.
pub(super) async fn task(context: &Context, args: Logs, ids: &[u64]) -> Result<(), Failure> {
    let [id] = ids else { return Err(Failure::Usage("give one task as task/ID".into())) };
    if args.previous {
        return Err(Failure::Usage("--previous: the log of a task holds all its attempts".into()));
    }
    let (tail, lines) = (tail(args.tail)?, lines(&args)?);
    if let Some(words) = elsewhere(context, *id).await {
        note(&words);
    }
    let mut out = Out { terminal: io::stdout().is_terminal(), rest: Vec::new() };
    match context.client.stream(&format!("/v1/tasks/{id}/log?follow={}{lines}", args.follow)).await {
        Ok(mut body) => {
            while let Some(bytes) = next_chunk(&mut body).await? {
                out.write_all(&bytes)?;
            }
            ended_by_itself(context, args.follow).await?;
        }
        Err(Failure::NoDaemon(at)) => {
            let file = context.state.join("logs/tasks").join(format!("{id}.log"));
            if args.follow || timed(&args) || !file.is_file() {
                return Err(Failure::NoDaemon(at));
            }
            context.say_offline();
            offline::copy(&file, tail, &mut out)?;
        }
        Err(failure) => return Err(failure),
    }
    Ok(out.flush()?)
}

/// Where the output about a task is when its worker does more than this one.
async fn elsewhere(context: &Context, id: u64) -> Option<String> {
    let task = fetch(context, id).await.ok()?.task;
    let pool = context.client.get(Kind::Pool, &task.pool).await.ok()?;
    if pool.pointer("/spec/queue/delivery").and_then(Value::as_str) != Some("Lease") {
        return None;
    }
    let worker = task.worker.as_deref().unwrap_or("NAME");
    Some(format!(
        "note: the workers of pool {} take tasks themselves, and print to their own logs: ctl logs worker/{worker}",
        task.pool
    ))
}

/// The standard output, tamed when it is a terminal.
struct Out {
    terminal: bool,
    rest: Vec<u8>,
}

impl Write for Out {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let mut out = io::stdout().lock();
        if !self.terminal {
            out.write_all(bytes)?;
            out.flush()?;
            return Ok(bytes.len());
        }
        self.rest.extend_from_slice(bytes);
        // A character may be cut in two by the end of a chunk: keep its beginning for the next one.
        let whole = match std::str::from_utf8(&self.rest) {
            Err(error) if error.error_len().is_none() => error.valid_up_to(),
            Ok(_) | Err(_) => self.rest.len(),
        };
        let text: Vec<u8> = self.rest.drain(..whole).collect();
        out.write_all(tame_block(&String::from_utf8_lossy(&text)).as_bytes())?;
        out.flush()?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let rest = std::mem::take(&mut self.rest);
        let mut out = io::stdout().lock();
        out.write_all(tame_block(&String::from_utf8_lossy(&rest)).as_bytes())?;
        out.flush()
    }
}
