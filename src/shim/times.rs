//! When the bytes of a log came: beside each of its files one named `<file>.times`, for `logs --since` and `--timestamps`.
//!
//! The log itself is what the worker wrote and nothing else. Of what comes within a second of the last entry there is no other, and
//! of a file with no entries the time that it was written to last says as much: whoever prints for less than a second costs nothing.
//!
//! ```text
//! entry: place in the file (6 bytes), milliseconds since 1970 (6 bytes), least byte first. The first one: the file's inode, twice
//! ```

use std::fs::{File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

use super::sys;

/// How the name of a file with times ends.
pub const SUFFIX: &str = ".times";
/// Bytes of an entry.
pub const ENTRY: usize = 12;
/// What came within so many ms of an entry has none of its own.
pub const APART_MS: u64 = 1000;

/// The times of one file of a log.
#[derive(Default)]
pub(super) struct Times {
    path: String,
    inode: u64,
    file: Option<File>,
    /// What is written when there is more to tell: where the file's first bytes are, and when they came.
    first: Option<(u64, i64)>,
    /// When the last entry was made, boot clock in ms; 0: none by us.
    last: u64,
}

/// Two numbers as they are kept.
pub fn entry(a: u64, b: u64) -> [u8; ENTRY] {
    let mut bytes = [0; ENTRY];
    bytes[..6].copy_from_slice(&a.to_le_bytes()[..6]);
    bytes[6..].copy_from_slice(&b.to_le_bytes()[..6]);
    bytes
}

/// The first entry of the times of a file.
pub fn head(inode: u64) -> [u8; ENTRY] {
    entry(inode, inode)
}

impl Times {
    /// Those of a log's file that was opened, with what is known of its bytes so far.
    pub(super) fn of(log: &str, meta: &Metadata) -> Times {
        let mut times = Times { path: format!("{log}{SUFFIX}"), inode: meta.ino(), ..Times::default() };
        if meta.len() > 0 {
            times.file = times.kept();
            if times.file.is_none() {
                times.first = Some((0, meta.mtime() * 1000 + meta.mtime_nsec() / 1_000_000));
            }
        }
        times
    }

    /// The file of before, if it tells of this log.
    fn kept(&self) -> Option<File> {
        let mut options = OpenOptions::new();
        options.read(true).append(true).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        let mut file = options.open(&self.path).ok()?;
        let mut first = [0; ENTRY];
        file.read_exact(&mut first).ok()?;
        whole(&file);
        (first == head(self.inode)).then_some(file)
    }

    /// Bytes are about to be written at this place; now is `boot`, in ms. What cannot be kept is not known, and nothing else.
    pub(super) fn mark(&mut self, place: u64, boot: u64) {
        if self.last > 0 && boot.saturating_sub(self.last) < APART_MS {
            return;
        }
        self.last = boot;
        let now = (place, sys::wall_ms());
        let Some(file) = &mut self.file else {
            match self.first.take() {
                None if place == 0 => self.first = Some(now),
                first => self.begin(first, now),
            }
            return;
        };
        put(file, &kept(now));
    }

    fn begin(&mut self, first: Option<(u64, i64)>, now: (u64, i64)) {
        // One of another file may lie there.
        let _gone = std::fs::remove_file(&self.path);
        let mut options = OpenOptions::new();
        options.create(true).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
        self.file = options.open(&self.path).ok();
        let entries = [Some(head(self.inode)), first.map(kept), Some(kept(now))];
        let bytes: Vec<u8> = entries.into_iter().flatten().flatten().collect();
        // Without a head it tells of nothing.
        if !self.file.as_mut().is_some_and(|file| put(file, &bytes)) {
            self.file = None;
        }
    }
}

/// Write it whole or not at all: what is left of an entry on a full disk would put all behind it out of place.
fn put(file: &mut File, bytes: &[u8]) -> bool {
    let written = file.write_all(bytes).is_ok();
    if !written {
        whole(file);
    }
    written
}

fn whole(file: &File) {
    if let Ok(length) = file.metadata().map(|meta| meta.len())
        && length % ENTRY as u64 != 0
    {
        // What cannot be cut is cut the next time.
        let _cut = file.set_len(length - length % ENTRY as u64);
    }
}

fn kept((place, wall): (u64, i64)) -> [u8; ENTRY] {
    entry(place, u64::try_from(wall).unwrap_or(0))
}

/// The file of this name is another one from now on.
pub(super) fn gone(log: &str) {
    let _gone = std::fs::remove_file(format!("{log}{SUFFIX}"));
}

/// The times follow their file to another name.
pub(super) fn moved(log: &str, to: &str) {
    let (from, to) = (format!("{log}{SUFFIX}"), format!("{to}{SUFFIX}"));
    if std::fs::rename(from, &to).is_err() {
        // Those of what had this name before tell of nothing any more.
        let _gone = std::fs::remove_file(to);
    }
}
