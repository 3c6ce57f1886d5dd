//! What documents of pools said before: `<state>/revisions/<pool>/<generation>.yaml`, the author's text byte for byte.
//!
//! Kept for people and for `ctl rollout undo`; nothing is decided by it, and a loss of it stops nothing. The last
//! [`KEPT`] stay.

use std::fs::DirBuilder;
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::model::revision::Revision;
use crate::model::time::Wall;

/// Revisions of a pool that are kept, the present one among them.
pub const KEPT: usize = 11;
/// Larger ones are not read: no document is.
const TEXT_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The revisions of a state directory.
#[derive(Clone, Debug)]
pub struct Revisions {
    root: PathBuf,
}

impl Revisions {
    /// Those of this state directory.
    pub fn of(state: &Path) -> Revisions {
        Revisions { root: state.join("revisions") }
    }

    /// Keep a text, in place of one with this number.
    ///
    /// # Errors
    /// From the file system.
    pub fn put(&self, pool: &str, number: u64, text: &str) -> io::Result<()> {
        let dir = self.root.join(pool);
        DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
        let path = dir.join(format!("{number}.yaml"));
        if std::fs::read_to_string(&path).is_ok_and(|present| present == text) {
            return Ok(());
        }
        let mut aside = tempfile::Builder::new().prefix(".aside-").tempfile_in(&dir)?;
        aside.write_all(text.as_bytes())?;
        aside.persist(&path).map_err(|error| error.error)?;
        let numbers = self.numbers(pool);
        numbers.iter().take(numbers.len().saturating_sub(KEPT)).try_for_each(|old| self.remove(pool, *old))
    }

    /// Numbers above this one are of another life of the pool: forget them.
    ///
    /// # Errors
    /// From the file system.
    pub fn end_at(&self, pool: &str, number: u64) -> io::Result<()> {
        self.numbers(pool).into_iter().filter(|known| *known > number).try_for_each(|later| self.remove(pool, later))
    }

    /// The pool is gone: its revisions too.
    ///
    /// # Errors
    /// From the file system.
    pub fn forget(&self, pool: &str) -> io::Result<()> {
        match std::fs::remove_dir_all(self.root.join(pool)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// All that are kept, the oldest first. What cannot be read is left out.
    pub fn list(&self, pool: &str) -> Vec<Revision> {
        self.numbers(pool).into_iter().filter_map(|number| self.read(pool, number)).collect()
    }

    fn read(&self, pool: &str, number: u64) -> Option<Revision> {
        let path = self.path(pool, number);
        let meta = std::fs::metadata(&path).ok().filter(|meta| meta.is_file() && meta.len() <= TEXT_BYTES_MAX)?;
        let since = meta.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        let time = Wall(i64::try_from(since.as_millis()).ok()?);
        Some(Revision { number, time, text: std::fs::read_to_string(path).ok()? })
    }

    fn path(&self, pool: &str, number: u64) -> PathBuf {
        self.root.join(pool).join(format!("{number}.yaml"))
    }

    fn remove(&self, pool: &str, number: u64) -> io::Result<()> {
        std::fs::remove_file(self.path(pool, number))
    }

    fn numbers(&self, pool: &str) -> Vec<u64> {
        let entries = std::fs::read_dir(self.root.join(pool)).into_iter().flatten().flatten();
        let number = |entry: std::fs::DirEntry| entry.file_name().to_str()?.strip_suffix(".yaml")?.parse().ok();
        let mut numbers: Vec<u64> = entries.filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ones_stay_and_each_says_what_it_said() {
        let dir = tempfile::tempdir().unwrap();
        let revisions = Revisions::of(dir.path());
        assert_eq!(revisions.list("web"), []);
        (1..=15).for_each(|n| revisions.put("web", n, &format!("# {n}\n")).unwrap());
        revisions.put("web", 15, "# fifteen\n").unwrap();
        let kept: Vec<(u64, String)> = revisions.list("web").into_iter().map(|kept| (kept.number, kept.text)).collect();
        assert_eq!(kept.len(), KEPT);
        assert_eq!((&kept[0], &kept[10]), (&(5, "# 5\n".into()), &(15, "# fifteen\n".into())));
        revisions.end_at("web", 7).unwrap();
        assert_eq!(revisions.list("web").last().map(|last| last.number), Some(7));
        revisions.forget("web").unwrap();
        revisions.forget("web").unwrap();
        assert_eq!(revisions.list("web"), []);
    }
}
