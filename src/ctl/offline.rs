//! What was last written: objects and logs from the state directory's files, when no daemon answers.
//!
//! Only reads, and only for commands that read. The files are untrusted like any other input: bounded, and their text is
//! printed as everything else is.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::error::Failure;
use super::print::note;
use crate::model::meta::{check_name, quoted};
use crate::model::selector::Selector;
use crate::model::status::Kind;

/// Largest status file that is read, in bytes.
const STATUS_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Bytes read from the end of a log to find its last lines.
const TAIL_BYTES_MAX: u64 = 16 * 1024 * 1024;

fn directory(state: &Path, kind: Kind) -> Result<PathBuf, Failure> {
    match kind {
        Kind::Pool | Kind::Worker | Kind::Policy => Ok(state.join("status").join(kind.plural())),
        Kind::Event => Err(Failure::NoDaemon("events can only be asked of a running daemon".into())),
    }
}

/// All of a kind, by name. Files that cannot be read are said on stderr and left out.
///
/// # Errors
/// No daemon, when there is nothing written there either.
pub fn list(state: &Path, kind: Kind, selector: &Selector) -> Result<Vec<Value>, Failure> {
    let directory = directory(state, kind)?;
    let entries = std::fs::read_dir(&directory);
    let entries = entries.map_err(|error| Failure::NoDaemon(format!("and {}: {error}", directory.display())))?;
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| is_status(path)).collect();
    files.sort();
    let mut objects = Vec::new();
    for file in files {
        match read(&file) {
            Ok(object) if selector.matches(&labels(&object)) => objects.push(object),
            Ok(_) => {}
            Err(error) => note(&format!("warning: {}: {error}", file.display())),
        }
    }
    Ok(objects)
}

fn is_status(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    !hidden && path.extension().is_some_and(|extension| extension == "yaml")
}

fn labels(object: &Value) -> std::collections::BTreeMap<String, String> {
    object.pointer("/metadata/labels").cloned().and_then(|labels| serde_json::from_value(labels).ok()).unwrap_or_default()
}

fn read(file: &Path) -> Result<Value, String> {
    let mut text = String::new();
    let open = File::open(file).and_then(|file| file.take(STATUS_BYTES_MAX).read_to_string(&mut text));
    open.map_err(|error| error.to_string())?;
    serde_saphyr::from_str(&text).map_err(|error| error.to_string())
}

/// One object.
///
/// # Errors
/// No such file; a file that cannot be read.
pub fn get(state: &Path, kind: Kind, name: &str) -> Result<Value, Failure> {
    check_name(name).map_err(Failure::No)?;
    let file = directory(state, kind)?.join(format!("{name}.yaml"));
    if !file.exists() {
        return Err(Failure::No(format!("nothing is written about {} {}", super::resource::short(kind), quoted(name))));
    }
    read(&file).map_err(|error| Failure::Internal(format!("{}: {error}", file.display())))
}

/// Copy a worker's log: its current file, or the last lines of it.
///
/// # Errors
/// No such worker or log; output that cannot be written.
pub fn log(state: &Path, worker: &str, tail: Option<u64>, out: &mut impl Write) -> Result<(), Failure> {
    let pool = match get(state, Kind::Worker, worker) {
        Ok(object) => object.pointer("/metadata/owner").and_then(Value::as_str).unwrap_or_default().to_owned(),
        // Its log outlasts what is written about it.
        Err(failure) => pool_of_log(state, worker).ok_or(failure)?,
    };
    check_name(&pool).map_err(Failure::No)?;
    copy(&state.join("logs").join(pool).join(format!("{worker}.log")), tail, out)
}

/// The pool below which there is a log of this worker.
fn pool_of_log(state: &Path, worker: &str) -> Option<String> {
    check_name(worker).ok()?;
    let pools = std::fs::read_dir(state.join("logs")).ok()?.flatten();
    let mut found = pools.filter(|pool| pool.path().join(format!("{worker}.log")).is_file());
    found.find_map(|pool| pool.file_name().into_string().ok().filter(|name| name != "tasks"))
}

/// Copy a log, or the last lines of it.
///
/// # Errors
/// No such log; output that cannot be written.
pub fn copy(path: &Path, tail: Option<u64>, out: &mut impl Write) -> Result<(), Failure> {
    let mut file = File::open(path).map_err(|error| Failure::No(format!("{}: {error}", path.display())))?;
    if let Some(lines) = tail {
        let from = last_lines(&mut file, lines)?;
        file.seek(SeekFrom::Start(from))?;
    }
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(());
        }
        out.write_all(&buffer[..n])?;
    }
}

/// Where the last lines begin.
fn last_lines(file: &mut File, lines: u64) -> io::Result<u64> {
    let size = file.metadata()?.len();
    let begin = size.saturating_sub(TAIL_BYTES_MAX);
    file.seek(SeekFrom::Start(begin))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES_MAX).read_to_end(&mut bytes)?;
    let Ok(lines) = usize::try_from(lines) else { return Ok(begin) };
    if lines == 0 {
        return Ok(size);
    }
    let ends = bytes.iter().enumerate().rev().skip(1).filter(|(_, b)| **b == b'\n').map(|(at, _)| at as u64 + 1);
    Ok(begin + ends.take(lines).nth(lines - 1).unwrap_or(0))
}
