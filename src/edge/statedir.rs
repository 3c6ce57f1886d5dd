//! The state directory: made private, held by one daemon, refused where locks or modes cannot be trusted.
//!
//! The lock is an flock on an open file, never the content of a pid file: it is gone with its holder, whatever ended it. The
//! text in it names the holder: to people, and to tell a daemon from a child that has its copy of the lock for a moment.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::edge::clock;
use crate::model::text;
use crate::model::time::Span;
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// How long a lock is waited for whose holder does not live: a child that it had just forked has a copy until it executes.
const LEFT_FOR: Span = Span(10_000);
/// It is tried again this often.
const TRY_EVERY: Duration = Duration::from_millis(50);

/// A state directory held by this process; freed when dropped.
#[derive(Debug)]
pub struct StateDir {
    /// Where it is.
    pub path: PathBuf,
    lock: File,
}

/// Why the state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Another daemon holds it.
    #[error("{path}: another weir holds this state directory ({holder}); stop it, or use another --state")]
    Held {
        /// The directory.
        path: String,
        /// What the holder wrote about itself.
        holder: String,
    },
    /// It cannot be made, opened or trusted.
    #[error("{0}")]
    Unusable(String),
}

/// Nothing of it belongs into a repository: there are tokens in it, and the log of each worker.
const IGNORED: &str = "# Made by weir: nothing in here is for a repository.\n*\n";

/// File systems on which flock or SQLite's locks are not to be trusted, by their magic number.
const REFUSED: [(u32, &str); 5] =
    [(0x6969, "NFS"), (0xff53_4d42, "CIFS"), (0xfe53_4d42, "SMB2"), (0x0102_1997, "9p"), (0x6573_5546, "FUSE")];

impl StateDir {
    /// Make the directory if need be and take its lock. `about` is what others are told of the holder.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn open(path: &Path, about: &str) -> Result<StateDir, StateError> {
        let unusable = |e: std::io::Error| StateError::Unusable(format!("{}: {e}", path.display()));
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let path = path.canonicalize().map_err(unusable)?;
        trusted(&path)?;
        ignored(&path)?;
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path.join("lock"))
            .map_err(|e| StateError::Unusable(format!("{}/lock: {e}", path.display())))?;
        take(&lock, &path, LEFT_FOR)?;
        let named = lock.set_len(0).and_then(|()| lock.write_all(about.as_bytes()));
        named.map_err(|e| StateError::Unusable(format!("{}/lock: {e}", path.display())))?;
        Ok(StateDir { path, lock })
    }

    /// Whether the directory at the path is still the one that is held (it may have been replaced).
    pub fn still_held(&self) -> bool {
        let here = std::fs::metadata(self.path.join("lock")).map(|meta| (meta.dev(), meta.ino()));
        let held = self.lock.metadata().map(|meta| (meta.dev(), meta.ino()));
        matches!((here, held), (Ok(here), Ok(held)) if here == held)
    }
}

/// Keep git from a directory that becomes a state directory now. Whoever takes the file away later, or has one already, is left
/// alone.
fn ignored(path: &Path) -> Result<(), StateError> {
    if path.join("lock").symlink_metadata().is_ok() {
        return Ok(());
    }
    let mut file = OpenOptions::new();
    file.write(true).create_new(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    match file.open(path.join(".gitignore")).and_then(|mut file| file.write_all(IGNORED.as_bytes())) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(StateError::Unusable(format!("{}/.gitignore: {error}", path.display())))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Take the lock; one that was only left behind is waited for so long.
fn take(lock: &File, path: &Path, left_for: Span) -> Result<(), StateError> {
    let until = clock::now().mono.after(left_for);
    loop {
        match flock(lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => return Ok(()),
            Err(Errno::WOULDBLOCK | Errno::INTR) => {}
            Err(error) => {
                let what = "cannot be locked";
                return Err(StateError::Unusable(format!("{}/lock: {what}: {}", path.display(), std::io::Error::from(error))));
            }
        }
        // Read each time: who has just taken it has not written its name yet.
        let holder = holder(lock);
        if lives(&holder, &path.join("lock")) || clock::now().mono >= until {
            return Err(StateError::Held { path: path.display().to_string(), holder: text::one_line(holder.trim()) });
        }
        std::thread::sleep(TRY_EVERY);
    }
}

/// What the holder wrote about itself, as far as it can be read.
fn holder(lock: &File) -> String {
    let mut bytes = [0; 300];
    let read = lock.read_at(&mut bytes, 0).unwrap_or(0);
    String::from_utf8_lossy(&bytes[..read]).into_owned()
}

/// Whether the process that named itself there has the lock open: its number alone may be another's by now.
fn lives(holder: &str, lock: &Path) -> bool {
    let pid = holder.strip_prefix("pid ").and_then(|rest| rest.split(',').next()?.parse::<u32>().ok());
    let Some(pid) = pid else { return false };
    let open = std::fs::read_dir(format!("/proc/{pid}/fd"));
    // Links are read and not followed: what else it has open may lie where nobody answers.
    open.is_ok_and(|open| open.flatten().any(|fd| std::fs::read_link(fd.path()).is_ok_and(|file| file == lock)))
}

/// Whether a directory that is there could be the state directory. Takes no lock and makes nothing.
///
/// # Errors
/// In words: why not.
pub fn check(path: &Path) -> Result<(), String> {
    trusted(path).map_err(|error| error.to_string())
}

/// Refuse a state directory among the specs: a daemon that read its own files as documents would act on what it writes.
///
/// # Errors
/// In words: where both are, and what to do.
pub fn apart(specs: &Path, state: &Path) -> Result<(), String> {
    let (Some(below), Some(above)) = (real(state), real(specs)) else { return Ok(()) };
    let hidden = |rest: &Path| rest.components().any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."));
    match below.strip_prefix(&above) {
        Ok(rest) if !hidden(rest) => Err(format!(
            "the state directory {} lies in the specs directory {}, where weir would read its own files as documents: name another \
             with --state, or one that begins with a dot, like {}",
            state.display(),
            specs.display(),
            specs.join(".weir").display()
        )),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// A path without links, though its last parts may not exist yet.
fn real(path: &Path) -> Option<PathBuf> {
    let path = std::path::absolute(path).ok()?;
    let there = |above: &Path| Some(above.canonicalize().ok()?.join(path.strip_prefix(above).ok()?));
    path.ancestors().find_map(there)
}

fn trusted(path: &Path) -> Result<(), StateError> {
    let refuse = |why: String| Err(StateError::Unusable(format!("{}: {why}", path.display())));
    let meta = match std::fs::metadata(path) {
        Ok(meta) => meta,
        Err(error) => return refuse(error.to_string()),
    };
    let me = rustix::process::geteuid().as_raw();
    if meta.uid() != me {
        return refuse(format!("it belongs to uid {}, not to {me}: use a directory of your own with --state", meta.uid()));
    }
    if meta.mode() & 0o022 != 0 {
        return refuse(format!("others may write there (mode {:o}): chmod go-w it, or use another --state", meta.mode() & 0o777));
    }
    let kind = rustix::fs::statfs(path).map(|stat| stat.f_type as u32).unwrap_or_default();
    match REFUSED.iter().find(|(magic, _)| *magic == kind) {
        Some((_, name)) => {
            refuse(format!("it is on {name}, where locks cannot be trusted: use a local file system with --state"))
        }
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn the_second_opener_is_refused_and_told_who_holds_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("state");
        let about = format!("pid {}, specs /x", std::process::id());
        let held = StateDir::open(&path, &about).expect("opens");
        let begun = clock::now().mono;
        match StateDir::open(&path, "me too") {
            Err(StateError::Held { holder, .. }) => assert_eq!(holder, about),
            other => panic!("{other:?}"),
        }
        assert!(clock::now().mono.since(begun) < LEFT_FOR, "who lives is not waited for");
        assert!(held.still_held());
        std::fs::rename(&path, dir.path().join("moved")).expect("moves");
        assert!(!held.still_held());
        drop(held);
        assert_eq!(std::fs::metadata(dir.path().join("moved")).expect("is there").mode() & 0o777, 0o700);
    }

    /// A process that has ended, and one that lives and has no lock.
    fn strangers() -> [u32; 2] {
        let mut ended = std::process::Command::new("true").spawn().expect("runs");
        ended.wait().expect("reaped");
        [ended.id(), std::os::unix::process::parent_id()]
    }

    #[test]
    fn a_lock_that_an_ended_daemon_left_to_a_child_is_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        for about in strangers().map(|pid| format!("pid {pid}, specs /x")).into_iter().chain([String::new()]) {
            let held = StateDir::open(&dir.path().join("state"), &about).expect("opens");
            // As a child has it between fork and exec.
            let copy = held.lock.try_clone().expect("a copy");
            let path = held.path.clone();
            drop(held);
            let again = File::options().read(true).write(true).open(path.join("lock")).expect("opened");
            match take(&again, &path, Span(100)) {
                Err(StateError::Held { holder, .. }) => assert_eq!(holder, about, "not for ever"),
                other => panic!("{other:?}"),
            }
            let child = std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(300));
                drop(copy);
            });
            take(&again, &path, LEFT_FOR).expect("it is free in a moment");
            child.join().expect("ended");
        }
    }

    #[test]
    fn a_lock_that_cannot_be_is_not_held() {
        let dir = tempfile::tempdir().expect("a directory");
        let lock = File::options().read(true).custom_flags(libc::O_PATH).open(dir.path()).expect("opened");
        let refusal = take(&lock, dir.path(), LEFT_FOR).expect_err("no lock");
        assert!(matches!(&refusal, StateError::Unusable(why) if why.contains("/lock: cannot be locked: Bad file")), "{refusal}");
    }

    #[test]
    fn a_state_directory_among_the_specs_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |path: &str| dir.path().join(path);
        std::fs::create_dir(at("specs")).expect("made");
        std::os::unix::fs::symlink("specs", at("link")).expect("linked");
        for (specs, state, good) in [
            ("specs", "specs", false),
            ("specs", "specs/state/deep", false),
            ("link", "specs/state", false),
            ("specs", "link/state", false),
            ("nosuch", "nosuch/state", false),
            ("", "state", false),
            ("", ".weir", true),
            ("specs", "specs/.weir/state", true),
            ("specs", "state", true),
            ("specs", "specs-state", true),
            ("state/specs", "state", true),
        ] {
            assert_eq!(apart(&at(specs), &at(state)).is_ok(), good, "--specs {specs} --state {state}");
        }
    }

    #[test]
    fn git_is_kept_from_it_when_it_is_made_and_who_takes_that_back_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let (made, found) = (dir.path().join("made"), dir.path().join("found"));
        std::fs::create_dir(&found).expect("made");
        std::fs::set_permissions(&found, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        let read = |of: &Path| std::fs::read_to_string(of.join(".gitignore")).ok();
        for path in [&made, &found] {
            drop(StateDir::open(path, "").expect("opens"));
            assert!(read(path).is_some_and(|text| text.lines().any(|line| line == "*")));
            let mode = std::fs::metadata(path.join(".gitignore")).expect("is there").mode();
            assert_eq!(mode & 0o777, 0o600);
            std::fs::remove_file(path.join(".gitignore")).expect("removed");
            drop(StateDir::open(path, "").expect("opens"));
            assert_eq!(read(path), None, "taken away by a person");
        }
        let own = dir.path().join("own");
        std::fs::create_dir(&own).expect("made");
        std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o700)).expect("chmod");
        std::fs::write(own.join(".gitignore"), "tasks/\n").expect("written");
        drop(StateDir::open(&own, "").expect("opens"));
        assert_eq!(read(&own).as_deref(), Some("tasks/\n"), "a person's own");
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
        let refusal = StateDir::open(dir.path(), "").expect_err("refuses").to_string();
        assert!(refusal.contains("chmod go-w"), "{refusal}");
    }
}
