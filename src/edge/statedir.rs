//! The state directory: made private, held by one daemon, refused where locks or modes cannot be trusted.
//!
//! The lock is an flock on an open file, never the content of a pid file: it is gone with its holder, whatever ended it. The
//! text in it only names the holder to people.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::model::text;
use rustix::fs::{FlockOperation, flock};

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
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path.join("lock"))
            .map_err(|e| StateError::Unusable(format!("{}/lock: {e}", path.display())))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            // Whatever can be read is better than nothing: the refusal stands in any case.
            let _read = (&lock).take(300).read_to_string(&mut holder);
            let holder = text::one_line(holder.trim());
            return Err(StateError::Held { path: path.display().to_string(), holder });
        }
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
        let held = StateDir::open(&path, "pid 4711, specs /x").expect("opens");
        match StateDir::open(&path, "me too") {
            Err(StateError::Held { holder, .. }) => assert_eq!(holder, "pid 4711, specs /x"),
            other => panic!("{other:?}"),
        }
        assert!(held.still_held());
        std::fs::rename(&path, dir.path().join("moved")).expect("moves");
        assert!(!held.still_held());
        drop(held);
        assert_eq!(std::fs::metadata(dir.path().join("moved")).expect("is there").mode() & 0o777, 0o700);
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
    fn a_directory_that_others_may_write_is_refused() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
        let refusal = StateDir::open(dir.path(), "").expect_err("refuses").to_string();
        assert!(refusal.contains("chmod go-w"), "{refusal}");
    }
}
