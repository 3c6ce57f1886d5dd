//! What both drivers do below a directory that is ours: controllers switched on, a worker's cgroup made fresh, with its limits.
//! No decision here: which limits, and which controllers there are, is data of the model.

use std::ffi::{OsStr, OsString};
use std::fs::{DirEntry, File};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use rustix::fs::{Mode, OFlags, openat};
use rustix::io::read;
use rustix::process::{Resource, getrlimit};

use crate::model::cgroup::{Controllers, as_made, worker_files};
use crate::model::template::Limits;

/// Files of cgroups that are held open at most: 4 MiB of the kernel's memory.
const HELD_MAX: usize = 1024;

/// Where the cgroup v2 file system is mounted.
pub(super) fn mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut found = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (path, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    found.next()
}

/// Whether the kernel can kill a cgroup whole (Linux 5.14), which every driver relies on.
pub(super) fn can_kill(dir: &Path) -> Result<(), String> {
    let there = dir.join("cgroup.kill").exists();
    if there { Ok(()) } else { Err(format!("{}: no cgroup.kill there (Linux 5.14 has it)", dir.display())) }
}

/// The controllers that a cgroup has.
pub(super) fn controllers(dir: &Path) -> Controllers {
    match std::fs::read_to_string(dir.join("cgroup.controllers")) {
        Ok(text) => Controllers::parse(&text, &dir.display().to_string()),
        Err(error) => Controllers::none(format!("{}/cgroup.controllers: {error}", dir.display())),
    }
}

/// Give the controllers that a cgroup has to those below it.
///
/// # Errors
/// With the file: EBUSY when processes are in the cgroup itself.
pub(super) fn enable(dir: &Path, controllers: &Controllers) -> Result<(), String> {
    let file = dir.join("cgroup.subtree_control");
    let words = controllers.to_enable(&std::fs::read_to_string(&file).unwrap_or_default());
    if words.is_empty() { Ok(()) } else { std::fs::write(&file, words).map_err(|e| said(&file, &e)) }
}

/// A fresh cgroup for a worker, with its limits: those that its controllers can hold. It is made anew for each run, as some kernels
/// kill whatever is born into a cgroup whose `cgroup.kill` was ever written, and so that its counters begin at zero.
///
/// # Errors
/// With the path: it cannot be made, or a limit cannot be written. A worker never starts without a limit that can be held.
pub(super) fn fresh(dir: &Path, limits: Option<&Limits>, controllers: &Controllers) -> Result<(), String> {
    // One that is still populated cannot be removed, and is told as what it is by the start.
    remove(dir);
    make(dir)?;
    for (name, text) in worker_files(limits, controllers) {
        let file = dir.join(name);
        std::fs::write(&file, text).map_err(|e| said(&file, &e))?;
    }
    Ok(())
}

/// A cgroup of [`fresh`] without limits, and the files of it that a worker could write something into that holds for the next one.
#[derive(Debug)]
pub(super) struct Made {
    dir: File,
    /// Read before each task, and there are twenty of them with all controllers. To open one costs as much as to read ten: those of
    /// the first slots are held open.
    files: Vec<(OsString, &'static str, Option<File>)>,
    held: usize,
}

/// Files of all slots that are held open, by one process. One that is held keeps a page of the kernel's memory.
static HELD: AtomicUsize = AtomicUsize::new(0);

impl Drop for Made {
    fn drop(&mut self) {
        HELD.fetch_sub(self.held, Ordering::Relaxed);
    }
}

impl Made {
    /// The cgroup in this directory. Which files it has is looked at once: they come with its controllers.
    ///
    /// # Errors
    /// The system's: it is not there.
    pub(super) fn of(dir: &Path) -> io::Result<Made> {
        Made::with(dir, held_max(getrlimit(Resource::Nofile).current))
    }

    fn with(dir: &Path, held_max: usize) -> io::Result<Made> {
        let known = |entry: &DirEntry| Some((entry.file_name(), as_made(entry.file_name().to_str()?)?, None));
        let files = std::fs::read_dir(dir)?.filter_map(|entry| entry.as_ref().ok().and_then(known)).collect();
        let mut made = Made { dir: File::open(dir)?, files, held: 0 };
        let wanted = made.files.len();
        let fits = |held: usize| held.checked_add(wanted).filter(|all| *all <= held_max);
        if HELD.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits).is_ok() {
            made.held = wanted;
            made.files.iter_mut().for_each(|(name, _, file)| *file = File::open(dir.join(name)).ok());
        }
        Ok(made)
    }

    /// It is there as it was made: no cgroup was made below it, and nothing that holds was written into it.
    pub(super) fn is_as_made(&self) -> bool {
        // A directory of the kernel's has two names of its own, and one more for each directory in it.
        let alone = self.dir.metadata().is_ok_and(|meta| meta.nlink() == 2);
        alone && self.files.iter().all(|(name, made, file)| self.says((name, file.as_ref()), made))
    }

    /// The file's text is this one and nothing else. Read in one go: its length is not asked for. In a cgroup that was removed, no
    /// file can be opened or read.
    fn says(&self, (name, held): (&OsStr, Option<&File>), made: &str) -> bool {
        let mut text = [0; 32];
        let read = match held {
            Some(file) => file.read_at(&mut text, 0).ok(),
            None => openat(&self.dir, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .and_then(|file| read(file, &mut text))
                .ok(),
        };
        read.is_some_and(|n| text[..n].trim_ascii_end() == made.as_bytes())
    }
}

/// Files that are held open at most, of so many descriptors that a process may have.
pub fn held_max(descriptors: Option<u64>) -> usize {
    descriptors.map_or(HELD_MAX, |all| usize::try_from(all / 8).unwrap_or(HELD_MAX).min(HELD_MAX))
}

/// Make a directory, whether or not it is there.
pub(super) fn make(dir: &Path) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|e| said(dir, &e))
}

/// Something lives in this cgroup, or below it. In one that is not there nothing does.
pub(super) fn populated(dir: &Path) -> bool {
    let events = std::fs::read_to_string(dir.join("cgroup.events"));
    events.is_ok_and(|events| events.lines().any(|line| line == "populated 1"))
}

/// Remove a cgroup and those that its processes made below it. A populated one stays.
pub(super) fn remove(dir: &Path) {
    if std::fs::remove_dir(dir).is_ok() {
        return;
    }
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path());
        }
    }
    let _populated = std::fs::remove_dir(dir);
}

fn said(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity::Memory;

    #[test]
    fn a_worker_begins_in_a_fresh_cgroup_with_its_limits() {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = scratch.path().join("pool/worker");
        std::fs::create_dir_all(dir.join("made/by/it")).expect("made");
        let limits = Limits { memory: Some(Memory(4096)), ..Limits::default() };
        let controllers = Controllers { memory: true, tasks: true, ..Controllers::default() };
        fresh(&dir, Some(&limits), &controllers).expect("fresh");
        let read = |name: &str| std::fs::read_to_string(dir.join(name)).ok();
        assert!(!dir.join("made").exists());
        assert_eq!(read("memory.max").as_deref(), Some("4096"));
        assert_eq!(read("pids.max").as_deref(), Some("512"));
        assert_eq!(read("cpu.max"), None);
        let error = fresh(&scratch.path().join("file\0"), None, &controllers).expect_err("no such directory");
        assert!(error.contains("file"), "{error}");
    }

    #[test]
    fn a_cgroup_that_a_worker_wrote_into_is_not_as_it_was_made() {
        let scratch = tempfile::tempdir().expect("a directory");
        let put = |name: &str, text: &str| std::fs::write(scratch.path().join(name), text).expect("written");
        assert!(Made::of(&scratch.path().join("no")).is_err(), "it is not there");
        let texts = [
            ("cgroup.max.descendants", "max\n"),
            ("cgroup.subtree_control", "\n"),
            ("cpu.max", "max 100000\n"),
            ("memory.high", "max\n"),
            ("memory.max", "max\n"),
            ("memory.oom.group", "1\n"),
            ("pids.max", "max\n"),
        ];
        texts.iter().for_each(|(name, text)| put(name, text));
        put("memory.current", "4096\n");
        let mades = [HELD_MAX, 0].map(|held_max| Made::with(scratch.path(), held_max).expect("there"));
        assert_eq!(mades.each_ref().map(|made| made.held), [texts.len(), 0]);
        let is_as_made = || {
            let both = mades.each_ref().map(Made::is_as_made);
            assert_eq!(both[0], both[1], "held open or not");
            both[0]
        };
        assert!(is_as_made());
        for (name, text) in texts {
            for other in ["7\n", "", "max 100000 and much that is behind it\n"] {
                put(name, other);
                assert_eq!(is_as_made(), other.trim() == text.trim(), "{name} {other:?}");
            }
            put(name, text);
        }
        assert!(is_as_made());
        std::fs::create_dir(scratch.path().join("below")).expect("made");
        assert!(!is_as_made());
        std::fs::remove_dir_all(scratch.path()).expect("removed");
        assert!(!is_as_made());
    }

    #[test]
    fn where_descriptors_are_few_no_more_than_a_part_of_them_is_held() {
        assert_eq!([None, Some(256), Some(4096), Some(1 << 20)].map(held_max), [1024, 32, 512, 1024]);
    }

    #[test]
    fn controllers_are_switched_on_once() {
        let scratch = tempfile::tempdir().expect("a directory");
        let file = scratch.path().join("cgroup.subtree_control");
        let controllers = Controllers { memory: true, tasks: true, ..Controllers::default() };
        std::fs::write(&file, "memory pids\n").expect("written");
        enable(scratch.path(), &controllers).expect("nothing to do");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "memory pids\n");
        std::fs::write(&file, "pids\n").expect("written");
        enable(scratch.path(), &controllers).expect("enabled");
        assert_eq!(std::fs::read_to_string(&file).expect("there"), "+memory");
        assert!(enable(&scratch.path().join("no"), &controllers).is_err_and(|why| why.contains("/no/cgroup.subtree_control")));
    }
}
