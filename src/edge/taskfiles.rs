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
use crate::model::task::{PAYLOAD_BYTES_MAX, Task};
use crate::model::worker::SlotId;

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
    pub fn read_result(&self, slot: &SlotId, run: u64) -> Option<Value> {
        let open = |dir: &PathBuf| {
            let path = dir.join(result_name(slot, run));
            std::fs::OpenOptions::new().read(true).custom_flags(libc_nofollow()).open(path).ok()
        };
        let file = self.dirs().find_map(open)?;
        let mut bytes = Vec::new();
        file.take(PAYLOAD_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).ok()?;
        if bytes.is_empty() {
            return None;
        }
        // What it takes in its file counts: as JSON a text may take six times that.
        if bytes.len() > PAYLOAD_BYTES_MAX {
            return Some(format!("the result was larger than {PAYLOAD_BYTES_MAX} bytes and is not kept").into());
        }
        let text = std::str::from_utf8(&bytes).ok().filter(|text| inexact(text).is_none());
        let json = text.and_then(|text| serde_json::from_str(text).ok());
        let value: Value = json.unwrap_or_else(|| String::from_utf8_lossy(&bytes).into());
        Some(value)
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
            let log = self.log(*id);
            let mut rotated = 1;
            // What cannot be removed now is only a file too many.
            let _gone = std::fs::remove_file(&log);
            while std::fs::remove_file(log.with_extension(format!("log.{rotated}"))).is_ok() {
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
mod tests {
    use super::*;

    fn of(pool: &str) -> SlotId {
        SlotId { pool: pool.into(), worker: "p-0".into() }
    }

    #[test]
    fn slots_of_two_pools_have_files_of_their_own_whatever_they_are_called() {
        let dir = tempfile::tempdir().unwrap();
        let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
        for other in [None, Some((1, 1))] {
            let all = ["p", "q"].map(|pool| [files.task(&of(pool), other), files.result(&of(pool), 1, other)]);
            assert!(all[0].iter().all(|path| !all[1].contains(path)), "{all:?}");
        }
        std::fs::write(files.result(&of("p"), 1, None), "1").unwrap();
        assert_eq!((files.read_result(&of("q"), 1), files.read_result(&of("p"), 1)), (None, Some(Value::from(1))));
    }

    #[test]
    fn a_result_is_there_until_it_is_forgotten_and_never_read_through_a_link() {
        let dir = tempfile::tempdir().unwrap();
        let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
        assert_eq!(files.read_result(&of("p"), 1), None);
        std::fs::write(files.result(&of("p"), 1, None), "{\"a\": 1}").unwrap();
        for _read_again in 0..2 {
            assert_eq!(files.read_result(&of("p"), 1), Some(serde_json::json!({"a": 1})));
        }
        files.forget_result(&of("p"), 1);
        assert_eq!(files.read_result(&of("p"), 1), None);
        std::fs::write(files.result(&of("p"), 2, None), "done\n").unwrap();
        assert_eq!(files.read_result(&of("p"), 2), Some(Value::from("done\n")));
        std::fs::write(files.result(&of("p"), 2, None), r#"{"id": 123456789012345678901}"#).unwrap();
        assert_eq!(files.read_result(&of("p"), 2), Some(Value::from(r#"{"id": 123456789012345678901}"#)), "as it was written");
        std::fs::write(dir.path().join("secret"), "s").unwrap();
        std::os::unix::fs::symlink(dir.path().join("secret"), files.result(&of("p"), 3, None)).unwrap();
        assert_eq!(files.read_result(&of("p"), 3), None);
        std::fs::write(files.result(&of("p"), 4, None), vec![b'x'; PAYLOAD_BYTES_MAX + 1]).unwrap();
        assert!(files.read_result(&of("p"), 4).unwrap().as_str().unwrap().contains("larger"));
        std::fs::write(files.result(&of("p"), 5, None), vec![1; PAYLOAD_BYTES_MAX]).unwrap();
        let whole = files.read_result(&of("p"), 5).unwrap();
        assert_eq!(whole.as_str().unwrap().len(), PAYLOAD_BYTES_MAX, "as JSON each is \\u0001, and what counts is the file");
    }

    #[test]
    fn of_the_results_of_daemons_before_those_stay_whose_tasks_have_not_ended() {
        let dir = tempfile::tempdir().unwrap();
        let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
        files.put((&of("p"), 1), "{}", None).unwrap();
        let all = [(&of("p"), 1), (&of("p"), 2), (&of("q"), 2)];
        for (slot, run) in all {
            std::fs::write(files.result(slot, run, None), "1").unwrap();
        }
        files.sweep_results(&[Task { pool: "p".into(), worker: Some("p-0".into()), run: 2, ..Task::default() }]);
        let left = all.map(|(slot, run)| files.read_result(slot, run).is_some());
        assert_eq!(left, [false, true, false]);
        assert!(files.task(&of("p"), None).exists(), "nothing else is removed");
    }

    #[test]
    fn files_of_what_is_no_more_go_and_others_stay() {
        let dir = tempfile::tempdir().unwrap();
        let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
        let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        for (pool, other) in [("p", None), ("q", None), ("r", Some(me))] {
            files.put((&of(pool), 1), "{}", other).unwrap();
        }
        let kept = ["7.log", "7.log.1", "notes.txt"];
        for name in ["8.log", "8.log.1", "8.log.2"].iter().chain(&kept) {
            std::fs::write(dir.path().join("logs/tasks").join(name), "").unwrap();
        }
        assert!(files.sweep(|_, _| Err("busy".into()), |_| Ok(false)).is_err());
        assert!(files.sweep(|_, _| Ok(true), |_| Err("busy".into())).is_err());
        assert!(files.log(8).exists() && files.task(&of("q"), None).exists(), "who does not know removes nothing");
        files.sweep(|pool, worker| Ok((pool, worker) == ("p", "p-0")), |id| Ok(id == 7)).unwrap();
        let there = |pool: &str, other| files.task(&of(pool), other).exists();
        assert_eq!((there("p", None), there("q", None), there("r", Some(me))), (true, false, false));
        let logs = std::fs::read_dir(dir.path().join("logs/tasks")).unwrap().flatten();
        let logs: BTreeSet<String> = logs.map(|entry| entry.file_name().into_string().unwrap()).collect();
        assert_eq!(logs, BTreeSet::from(kept.map(str::to_owned)));
        files.forget_slot(&of("p"));
        assert!(!there("p", None));
    }

    #[test]
    fn a_run_is_told_what_of_its_task_others_wrote() {
        let given = |task: Task| serde_json::from_str::<Value>(&TaskFiles::text(&task)).unwrap();
        let own = given(Task { source: "submit".into(), ..Task::default() });
        assert_eq!((&own["source"], own.get("untrustedFields")), (&Value::from("submit"), None));
        let theirs = given(Task { untrusted_fields: vec!["title".into()], ..Task::default() });
        assert_eq!(theirs["untrustedFields"], serde_json::json!(["title"]));
    }

    #[test]
    fn a_task_is_written_over_the_one_before_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
        let path = files.task(&of("p"), None);
        files.put((&of("p"), 1), "{\"a\": \"long\"}", None).unwrap();
        let inode = std::fs::metadata(&path).unwrap().ino();
        files.put((&of("p"), 1), "{}", None).unwrap();
        assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), std::fs::metadata(&path).unwrap().ino()), ("{}", inode));
        let other = dir.path().join("other");
        for symbolic in [true, false] {
            std::fs::write(&other, "mine").unwrap();
            std::fs::remove_file(&path).unwrap();
            let linked = if symbolic { std::os::unix::fs::symlink(&other, &path) } else { std::fs::hard_link(&other, &path) };
            linked.unwrap();
            files.put((&of("p"), 1), "{}", None).unwrap();
            assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
            assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
        }
        assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_that_somebody_removed_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
        std::fs::remove_dir_all(dir.path().join("tasks")).unwrap();
        files.put((&of("p"), 1), "{}", None).unwrap();
        assert_eq!(std::fs::read_to_string(files.task(&of("p"), None)).unwrap(), "{}");
        assert_eq!(std::fs::metadata(dir.path().join("tasks")).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn another_user_has_files_of_its_own_in_a_directory_of_ours() {
        let dir = tempfile::tempdir().unwrap();
        let others = dir.path().join("run/tasks");
        let files = TaskFiles::open(dir.path(), others.clone()).unwrap();
        // Only root may give a file away.
        let me = rustix::process::geteuid();
        let other = Some(if me.is_root() { (65534, 65534) } else { (me.as_raw(), rustix::process::getegid().as_raw()) });
        files.put((&of("p"), 7), "{}", other).unwrap();
        for path in [files.task(&of("p"), other), files.result(&of("p"), 7, other)] {
            let meta = std::fs::metadata(&path).unwrap();
            assert_eq!((path.parent(), Some((meta.uid(), meta.gid())), meta.mode() & 0o777), (Some(&*others), other, 0o600));
        }
        assert_eq!(std::fs::metadata(&others).unwrap().mode() & 0o777, 0o711);
        assert_eq!(files.read_result(&of("p"), 7), None, "nothing was written");
        files.put((&of("p"), 7), "{}", other).unwrap();
        std::fs::write(files.result(&of("p"), 7, other), "[7]").unwrap();
        assert_eq!(files.read_result(&of("p"), 7), Some(serde_json::json!([7])));
        let next = TaskFiles::open(dir.path(), others.clone()).unwrap();
        assert_eq!(next.read_result(&of("p"), 7), Some(serde_json::json!([7])), "of the daemon before");
        files.forget_result(&of("p"), 7);
        assert!(!files.result(&of("p"), 7, other).exists());
    }

    #[test]
    fn starts_at_once_find_the_directory_of_others_made() {
        let me = Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
        for _ in 0..50 {
            let dir = tempfile::tempdir().unwrap();
            let files = TaskFiles::open(dir.path(), dir.path().join("run/id/tasks")).unwrap();
            std::thread::scope(|scope| {
                let all: Vec<_> = (0..4)
                    .map(|run| {
                        scope.spawn({
                            let files = &files;
                            move || files.put((&SlotId { pool: "p".into(), worker: format!("p-{run}") }, run), "{}", me)
                        })
                    })
                    .collect();
                all.into_iter().for_each(|put| assert_eq!(put.join().unwrap(), Ok(())));
            });
        }
    }

    #[test]
    fn the_tail_is_the_end_and_logs_go_with_their_rotations() {
        let dir = tempfile::tempdir().unwrap();
        let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
        assert_eq!(files.tail(7, None), "");
        std::fs::write(files.log(7), format!("{}usage limit\n", "x".repeat(9000))).unwrap();
        assert!(files.tail(7, None).ends_with("usage limit\n") && files.tail(7, None).len() == 4096);
        let inode = std::fs::metadata(files.log(7)).unwrap().ino();
        assert_eq!(files.tail(7, Some((inode, 9006))), "limit\n", "only what was written since");
        assert_eq!(files.tail(7, Some((inode + 1, 9006))).len(), 4096, "it began in a file that was rotated away");
        std::fs::write(dir.path().join("logs/tasks/7.log.1"), "").unwrap();
        files.forget(&[7, 8]);
        assert_eq!(std::fs::read_dir(dir.path().join("logs/tasks")).unwrap().count(), 0);
    }
}
