//! What documents said before, the author's text byte for byte: `<state>/revisions/<pool>/<generation>.yaml`, and those of
//! policies in `<state>/policy-revisions/<policy>/`.
//!
//! Kept for people and for `ctl rollout undo`; nothing is decided by it, and a loss of it stops nothing. The last
//! [`KEPT`] stay.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::model::meta::Kind;
use crate::model::revision::Revision;
use crate::model::time::Wall;

/// Revisions of an object that are kept, the present one among them.
pub const KEPT: usize = 11;
/// Larger ones are not read: no document is.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The revisions of a state directory.
#[derive(Clone, Debug)]
pub struct Revisions {
    state: PathBuf,
}

/// Whose revisions.
pub type Whose<'a> = (Kind, &'a str);

impl Revisions {
    /// Those of this state directory.
    pub fn of(state: &Path) -> Revisions {
        Revisions { state: state.into() }
    }

    /// Keep a text, in place of one with this number.
    ///
    /// # Errors
    /// From the file system.
    pub fn put(&self, whose: Whose, number: u64, text: &str) -> io::Result<()> {
        let dir = self.dir(whose);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let path = dir.join(format!("{number}.yaml"));
        if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        let mut aside = tempfile::Builder::new().prefix(".aside-").tempfile_in(&dir)?;
        aside.write_all(text.as_bytes())?;
        aside.persist(&path).map_err(|error| error.error)?;
        let numbers = self.numbers(whose);
        numbers.iter().take(numbers.len().saturating_sub(KEPT)).try_for_each(|old| self.remove(whose, *old))
    }

    /// Numbers above this one are of another life of the object: forget them.
    ///
    /// # Errors
    /// From the file system.
    pub fn end_at(&self, whose: Whose, number: u64) -> io::Result<()> {
        self.numbers(whose).into_iter().filter(|known| *known > number).try_for_each(|later| self.remove(whose, later))
    }

    /// The object is gone: its revisions too.
    ///
    /// # Errors
    /// From the file system.
    pub fn forget(&self, whose: Whose) -> io::Result<()> {
        match std::fs::remove_dir_all(self.dir(whose)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// All that are kept, the oldest first. What cannot be read is left out.
    pub fn list(&self, whose: Whose) -> Vec<Revision> {
        self.numbers(whose).into_iter().filter_map(|number| self.read(whose, number)).collect()
    }

    fn read(&self, whose: Whose, number: u64) -> Option<Revision> {
        let path = self.path(whose, number);
        let meta = std::fs::metadata(&path).ok().filter(|meta| meta.is_file() && meta.len() <= TEXT_BYTES_MAX)?;
        let since = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let time = Wall(i64::try_from(since.as_millis()).ok()?);
        Some(Revision { number, time, text: std::fs::read_to_string(path).ok()? })
    }

    /// A name may be one of a pool and of a policy.
    fn dir(&self, (kind, name): Whose) -> PathBuf {
        let root = match kind {
            Kind::WorkerPool => "revisions",
            Kind::ResourcePolicy => "policy-revisions",
        };
        self.state.join(root).join(name)
    }

    fn path(&self, whose: Whose, number: u64) -> PathBuf {
        self.dir(whose).join(format!("{number}.yaml"))
    }

    fn remove(&self, whose: Whose, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.path(whose, number))
    }

    fn numbers(&self, whose: Whose) -> Vec<u64> {
        let entries = std::fs::read_dir(self.dir(whose)).into_iter().flatten().flatten();
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".yaml")?.parse().ok();
        let mut numbers: Vec<u64> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEB: Whose = (Kind::WorkerPool, "web");

    #[test]
    fn the_last_ones_stay_and_each_says_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let revisions = Revisions::of(dir.path());
        assert_eq!(revisions.list(WEB), []);
        (1..=15).for_each(|n| revisions.put(WEB, n, &format!("# {n}\n")).unwrap());
        revisions.put(WEB, 15, "# fifteen\n").unwrap();
        let kept: Vec<(u64, String)> = revisions.list(WEB).into_iter().map(|kept| (kept.number, kept.text)).collect();
        assert_eq!(kept.len(), KEPT);
        assert_eq!((&kept[0], &kept[10]), (&(5, "# 5\n".into()), &(15, "# fifteen\n".into())));
        let policy = (Kind::ResourcePolicy, "web");
        revisions.put(policy, 1, "# of the policy\n").unwrap();
        revisions.end_at(WEB, 7).unwrap();
        assert_eq!(revisions.list(WEB).last().map(|last| last.number), Some(7));
        revisions.forget(WEB).unwrap();
        revisions.forget(WEB).unwrap();
        assert_eq!(revisions.list(WEB), []);
        assert_eq!(revisions.list(policy).len(), 1, "a policy of the same name has its own");
    }
}
