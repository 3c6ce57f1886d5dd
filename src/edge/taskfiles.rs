//! The files of tasks: what a run is given, what it gives back, and its log.
//!
//! ```text
//! <state>/tasks/<pool>.<worker>.json            the task, also the run's standard input; written anew for each, and there as long as
//!                                               the slot
//! <state>/tasks/<pool>.<worker>.<run>.result    what the run wrote; there until the end of its task is committed
//! <state>/logs/tasks/<id>.log                   its output, over all attempts
//! ```
//! The first two are in `/run/weir/<id>/tasks` where a worker runs as another user, who cannot enter the state directory: in a
//! directory that only we write, each file that user's own. Names are made of those of pool and worker (labels: no dot in
//! them) and of numbers alone, never of anything in a task.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::Value;

use crate::model::exact::inexact;
use crate::model::task::{Leavings, PAYLOAD_BYTES_MAX, Task};
use crate::model::worker::SlotId;
use crate::shim::times::SUFFIX as TIMES;

/// The end of an output that rules look at, in bytes.
const TAIL: u64 = 4096;

/// How the name of a task's file ends.
const TASK: &str = ".json";

/// How the name of a result ends.
const RESULT: &str = ".result";

/// Where the logs are, below the state directory.
const LOGS: &str = "logs/tasks";

/// The log of a task below a state directory; rotated ones are beside it.
pub fn log_of(state: &Path, id: u64) -> PathBuf {
    state.join(LOGS).join(format!("{id}.log"))
}

/// The directories of the files of tasks.
#[derive(Clone, Debug)]
pub struct TaskFiles {
    state: PathBuf,
    tasks: PathBuf,
    others: PathBuf,
    /// Others may have files: most daemons have no worker of another user, and look for none.
    some_others: Arc<AtomicBool>,
    logs: PathBuf,
}

/// Another user than the daemon's, as a worker runs as one: its number and its group's.
pub type Other = (u32, u32);

impl TaskFiles {
    /// Below this state directory; makes what is missing. `others` is where other users find theirs, made when it is needed.
    ///
    /// # Errors
    /// With the path: it cannot be made.
    pub fn open(state: &Path, others: PathBuf) -> Result<TaskFiles, String> {
        let some_others = Arc::new(AtomicBool::new(others.exists()));
        let files =
            TaskFiles { state: state.to_owned(), tasks: state.join("tasks"), others, some_others, logs: state.join(LOGS) };
        for dir in [&files.tasks, &files.logs] {
            own(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        }
        Ok(files)
    }

    /// The state directory.
    pub fn state(&self) -> &Path {
        &self.state
    }

    /// Where the files of a run may be that is no more, whoever it ran as: no run has them in both.
    fn dirs(&self) -> impl Iterator<Item = &PathBuf> {
        let others = self.some_others.load(Ordering::Acquire).then_some(&self.others);
        [&self.tasks].into_iter().chain(others)
    }

    fn dir(&self, other: Option<Other>) -> &Path {
        if other.is_some() { &self.others } else { &self.tasks }
    }

    /// The task's file for a run.
    pub fn task(&self, slot: &SlotId, other: Option<Other>) -> PathBuf {
        self.dir(other).join(task_name(slot))
    }

    /// Where a run puts its result.
    pub fn result(&self, slot: &SlotId, run: u64, other: Option<Other>) -> PathBuf {
        self.dir(other).join(result_name(slot, run))
    }

    /// The log of a task.
    pub fn log(&self, id: u64) -> PathBuf {
        log_of(&self.state, id)
    }

    /// Write the task for a run: JSON in one line. Over the one of the run before: its whole tree is dead by now, and a file system
    /// that makes and removes a file for every task gets slow by it. Another user may make no file there: its result is made empty.
    ///
    /// # Errors
    /// With the path.
    pub fn put(&self, (slot, run): (&SlotId, u64), text: &str, other: Option<Other>) -> Result<(), String> {
        if other.is_some() {
            self.some_others.store(true, Ordering::Release);
            enterable(&self.others).map_err(|e| format!("{}: {e}", self.others.display()))?;
            written(&self.result(slot, run, other), "", other)?;
        }
        let path = self.task(slot, other);
        written(&path, text, other).or_else(|why| match other {
            // Somebody removed the directory.
            None if !self.tasks.exists() && own(&self.tasks).is_ok() => written(&path, text, other),
            None | Some(_) => Err(why),
        })
    }

    /// Read the result of a run, if it wrote one. What is no JSON is taken as text, and so is what has numbers in it that would be
    /// rounded. It stays: whoever reads it may not get to commit it.
    pub fn read_result(&self, slot: &SlotId, run: u64) -> Leavings {
        let lost = |why: String| Leavings { lost: Some(format!("its result is not kept: {why}")), ..Leavings::default() };
        match self.result_bytes(slot, run) {
            None => Leavings::default(),
            Some(Err(error)) => lost(error.to_string()),
            Some(Ok(bytes)) if bytes.is_empty() => Leavings::default(),
            // What it takes in its file counts: as JSON a text may take six times that.
            Some(Ok(bytes)) if bytes.len() > PAYLOAD_BYTES_MAX => lost(format!("it has more than {PAYLOAD_BYTES_MAX} bytes")),
            Some(Ok(bytes)) => {
                let text = std::str::from_utf8(&bytes).ok().filter(|text| inexact(text).is_none());
                let json = text.and_then(|text| serde_json::from_str(text).ok());
                let result: Value = json.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into());
                Leavings { result: Some(result), ..Leavings::default() }
            }
        }
    }

    /// The bytes that a run left as its result, one more than may be at most; none: it left nothing. A link is not followed.
    fn result_bytes(&self, slot: &SlotId, run: u64) -> Option<std::io::Result<Vec<u8>>> {
        let open = |dir: &PathBuf| {
            let path = dir.join(result_name(slot, run));
            std::fs::OpenOptions::new().read(true).custom_flags(libc_nofollow()).open(path)
        };
        let is_there = |opened: &std::io::Result<std::fs::File>| !matches!(opened, Err(error) if error.kind() == std::io::ErrorKind::NotFound);
        let file = self.dirs().map(open).find(is_there)?;
        let mut bytes = Vec::new();
        Some(file.and_then(|file| file.take(PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes)).map(|_| bytes))
    }

    /// Remove the result of a run, if there is one: its task's end is committed.
    pub fn forget_result(&self, slot: &SlotId, run: u64) {
        for dir in self.dirs() {
            // Most runs leave none. What cannot be removed now goes when the next daemon starts.
            let _gone = std::fs::remove_file(dir.join(result_name(slot, run)));
        }
    }

    /// Remove the results of all runs but of those that have these tasks: a daemon before this one committed their ends and died.
    pub fn sweep_results(&self, leased: &[Task]) {
        let slot = |task: &Task| Some(SlotId { pool: task.pool.clone(), worker: task.worker.clone()? });
        let name = |task: &Task| Some(result_name(&slot(task)?, task.run));
        let kept: BTreeSet<String> = leased.iter().filter_map(name).collect();
        for entry in [&self.tasks, &self.others].into_iter().flat_map(std::fs::read_dir).flatten().flatten() {
            if entry.file_name().to_str().is_some_and(|name| name.ends_with(RESULT) && !kept.contains(name)) {
                // What cannot be removed is only a file too many.
                let _gone = std::fs::remove_file(entry.path());
            }
        }
    }

    /// Remove the file of a slot's task: the slot is no more.
    pub fn forget_slot(&self, slot: &SlotId) {
        for dir in self.dirs() {
            // Most slots never had one. What cannot be removed now goes when the next daemon starts.
            let _gone = std::fs::remove_file(dir.join(task_name(slot)));
        }
    }

    /// Remove what a daemon before this one left behind when it died: files of slots and logs of tasks that are no more. Looked
    /// for are the files first and the rows then: no file comes before its row.
    ///
    /// # Errors
    /// Those of the two that know the rows: then what is left stays.
    pub fn sweep(
        &self,
        is_slot: impl Fn(&str, &str) -> Result<bool, String>,
        is_task: impl Fn(u64) -> Result<bool, String>,
    ) -> Result<(), String> {
        let files = |dirs: &[&PathBuf]| {
            let all = dirs.iter().flat_map(std::fs::read_dir).flatten().flatten().map(|entry| entry.path());
            all.collect::<Vec<PathBuf>>()
        };
        let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).map(str::to_owned).unwrap_or_default();
        for path in files(&[&self.tasks, &self.others]) {
            let name = name(&path);
            let Some((pool, worker)) = name.strip_suffix(TASK).and_then(|slot| slot.split_once('.')) else { continue };
            if !is_slot(pool, worker)? {
                // What cannot be removed is only a file too many.
                let _gone = std::fs::remove_file(path);
            }
        }
        for path in files(&[&self.logs]) {
            let Some(id) = name(&path).split_once(".log").and_then(|(id, _)| id.parse().ok()) else { continue };
            if !is_task(id)? {
                let _gone = std::fs::remove_file(path);
            }
        }
        Ok(())
    }

    /// The end of what an attempt wrote, which begins at this (inode, offset): what earlier ones wrote is not its own.
    pub fn tail(&self, id: u64, begun: Option<(u64, u64)>) -> String {
        let tail = || -> std::io::Result<Vec<u8>> {
            let mut file = std::fs::File::open(self.log(id))?;
            let meta = file.metadata()?;
            // In another file than this one the attempt began before the last rotation, and all of this one is its own.
            let own = begun.filter(|(inode, _)| *inode == meta.ino()).map_or(0, |(_, offset)| offset);
            file.seek(SeekFrom::Start(meta.len().saturating_sub(TAIL).max(own)))?;
            let mut bytes = Vec::new();
            file.take(TAIL).read_to_end(&mut bytes)?;
            Ok(bytes)
        };
        tail().map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// Remove the logs of tasks that are gone, rotated ones too.
    pub fn forget(&self, ids: &[u64]) {
        for id in ids {
            let (log, mut rotated) = (self.log(*id), 1);
            // What cannot be removed now is only a file too many.
            let remove = |file: PathBuf| {
                let mut times = file.clone().into_os_string();
                times.push(TIMES);
                let _gone = std::fs::remove_file(times);
                std::fs::remove_file(file)
            };
            let _gone = remove(log.clone());
            while remove(log.with_extension(format!("log.{rotated}"))).is_ok() {
                rotated += 1;
            }
        }
    }

    /// What a run is given of a task.
    pub fn text(task: &Task) -> String {
        let mut text = serde_json::json!({
            "id": task.id,
            "pool": task.pool,
            "attempt": task.attempt,
            "maxAttempts": task.max_attempts,
            "key": task.key,
            "priority": task.priority,
            "created": task.created,
            "source": task.source,
            "payload": task.payload,
        });
        if !task.untrusted_fields.is_empty() {
            text["untrustedFields"] = task.untrusted_fields.as_slice().into();
        }
        text.to_string()
    }
}

fn task_name(slot: &SlotId) -> String {
    format!("{}.{}{TASK}", slot.pool, slot.worker)
}

fn result_name(slot: &SlotId, run: u64) -> String {
    format!("{}.{}.{run}{RESULT}", slot.pool, slot.worker)
}

/// Make a directory that nobody else enters.
fn own(dir: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)
}

/// Make a directory that everybody enters who knows a name in it, and nobody lists, whatever the mask for new files is. Several
/// starts may want it at once: it is there when this is over, with its mode.
fn enterable(dir: &Path) -> std::io::Result<()> {
    static MAKING: Mutex<()> = Mutex::new(());
    fn make(dir: &Path) -> std::io::Result<()> {
        if dir.is_dir() {
            return Ok(());
        }
        dir.parent().map_or(Ok(()), make)?;
        std::fs::create_dir(dir)?;
        std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o711))
    }
    let _one_at_a_time = MAKING.lock().unwrap_or_else(PoisonError::into_inner);
    make(dir)
}

/// Write over the file of our own at this path; what else is there goes.
fn written(path: &Path, text: &str, other: Option<Other>) -> Result<(), String> {
    let written = over(path, text, other).or_else(|_| {
        // Somebody put another thing there: away with it.
        std::fs::remove_file(path)?;
        over(path, text, other)
    });
    written.map_err(|e| format!("{}: {e}", path.display()))
}

fn over(path: &Path, text: &str, other: Option<Other>) -> std::io::Result<()> {
    let mut open = std::fs::OpenOptions::new();
    let mut file = open.write(true).create(true).truncate(false).mode(0o600).custom_flags(libc_nofollow()).open(path)?;
    let meta = file.metadata()?;
    if !meta.is_file() || meta.nlink() != 1 {
        return Err(std::io::Error::other("it is not a file of our own"));
    }
    if let Some((user, group)) = other {
        fchown(&file, Some(user), Some(group))?;
    }
    file.write_all(text.as_bytes())?;
    // Not emptied before: an empty file that is written makes some file systems write it out at once.
    if meta.len() > text.len() as u64 { file.set_len(text.len() as u64) } else { Ok(()) }
}

/// A result that is a symbolic link is not followed: it could name a file that the worker may not read.
fn libc_nofollow() -> i32 {
    rustix::fs::OFlags::NOFOLLOW.bits().cast_signed() | rustix::fs::OFlags::NONBLOCK.bits().cast_signed()
}

#[cfg(test)]
mod tests;
