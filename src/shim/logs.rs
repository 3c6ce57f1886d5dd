//! The log pump: from the worker's pipe into rotated files.
//!
//! It never blocks the worker. What cannot be written (the disk is full, the rate is exceeded) is dropped, counted, and told
//! in one line when writing goes on. Files are cut at line ends; a line longer than the pipe's buffer may be cut.

use std::fs::{DirBuilder, File, Metadata, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use super::sys;
use super::times::{self, Times};

/// Bytes taken from the pipe at once. On the stack, so small: these pages stay with the process.
const CHUNK: usize = 8 * 1024;
/// A line that passes the limit may make a file longer than its limit by this.
const OVERHANG_MAX: u64 = 64 * 1024;

/// One slot's log.
pub(super) struct Log {
    /// The slot's own file.
    home: String,
    path: String,
    file: Option<File>,
    size: u64,
    limits: (u64, u32, u64),
    tokens: u64,
    filled: u64,
    untold: u64,
    /// What was written last does not end a line.
    cut_line: bool,
    why: String,
    /// The inodes in which this run began, and the one before it began and ended.
    places: [u64; 3],
    times: Times,
    /// Bytes dropped in the present run.
    pub(super) dropped: u64,
    /// When output last came, boot clock in ms.
    pub(super) last: u64,
}

impl Log {
    /// The log at `path`; nothing is opened yet.
    pub(super) fn new(path: String) -> Log {
        Log {
            home: path.clone(),
            path,
            file: None,
            size: 0,
            limits: (0, 1, 0),
            tokens: 0,
            filled: 0,
            untold: 0,
            cut_line: false,
            why: String::new(),
            places: [0; 3],
            times: Times::default(),
            dropped: 0,
            last: 0,
        }
    }

    /// A new run begins, with a file of its own or the slot's, and these limits: bytes a file, files, bytes a second. A file of its
    /// own is made by the first byte: a thousand tasks that say nothing are not a thousand files.
    pub(super) fn begin(&mut self, own: &[u8], limits: (u64, u32, u64)) -> (u64, u64) {
        let (began, ended) = (self.places[0], self.position().0);
        let path = if own.is_empty() { self.home.clone() } else { String::from_utf8_lossy(own).into_owned() };
        if path != self.path {
            (self.path, self.file, self.size, self.cut_line) = (path, None, 0, false);
            self.times = Times::default();
        }
        self.limits = limits;
        self.tokens = limits.2;
        (self.filled, self.untold, self.dropped, self.last) = (sys::boot_ms(), 0, 0, 0);
        self.open(own.is_empty());
        self.end_line();
        let begins = self.position();
        self.places = [begins.0, began, ended];
        begins
    }

    /// A run begins with a line of its own, however the one before it ended.
    fn end_line(&mut self) {
        let Some(file) = self.file.as_mut().filter(|_| self.size > 0) else { return };
        let mut last = [b'\n'];
        let read = File::open(&self.path).and_then(|log| log.read_exact_at(&mut last, self.size - 1));
        if read.is_ok() && last != [b'\n'] && file.write(b"\n").is_ok_and(|n| n == 1) {
            (self.size, self.cut_line) = (self.size + 1, false);
        }
    }

    /// Where the next byte goes: inode and offset; zeros if nowhere.
    pub(super) fn position(&self) -> (u64, u64) {
        let inode = self.file.as_ref().and_then(|file| file.metadata().ok()).map_or(0, |meta| meta.ino());
        (inode, self.size)
    }

    /// Move what there is in the pipe into the log. Says whether the pipe has ended.
    pub(super) fn pump(&mut self, pipe: &mut File) -> bool {
        let mut buffer = [0u8; CHUNK];
        // Bounded, so that a worker that never stops writing cannot keep us from everything else.
        for _ in 0..64 {
            match pipe.read(&mut buffer) {
                Ok(0) => return true,
                Ok(n) => self.take(&buffer[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return error.kind() != std::io::ErrorKind::WouldBlock,
            }
        }
        false
    }

    /// Move so many bytes, or fewer where there are no more, from the pipe into the log.
    pub(super) fn drain(&mut self, pipe: &mut File, mut most: usize) {
        let mut buffer = [0u8; CHUNK];
        while most > 0 {
            match pipe.read(&mut buffer[..most.min(CHUNK)]) {
                Ok(0) => return,
                Ok(n) => {
                    self.take(&buffer[..n]);
                    most -= n;
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn take(&mut self, bytes: &[u8]) {
        self.last = sys::boot_ms();
        let rate = self.limits.2;
        let fresh = (self.last - self.filled).saturating_mul(rate) / 1000;
        if fresh > 0 {
            self.tokens = self.tokens.saturating_add(fresh).min(rate);
            self.filled = self.last;
        }
        let fits = match rate {
            0 => bytes.len(),
            // Once dropping it drops on until a good piece fits: not a shred and a remark for every few bytes.
            rate if self.untold > 0 && self.tokens < rate.min(CHUNK as u64) => 0,
            _ => usize::try_from(self.tokens).unwrap_or(usize::MAX).min(bytes.len()),
        };
        let (kept, over) = bytes.split_at(fits);
        if !kept.is_empty() {
            self.tokens = self.tokens.saturating_sub(kept.len() as u64);
            self.tell_dropped();
            self.write(kept);
            self.cut_line = kept.last() != Some(&b'\n');
        }
        if !over.is_empty() {
            self.drop_bytes(over.len(), || format!("over {rate} bytes a second"));
        }
    }

    /// The log does not say yet what was dropped.
    pub(super) fn owes(&self) -> bool {
        self.untold > 0
    }

    /// The run is over or says no more: what was dropped last is told too.
    pub(super) fn end(&mut self) {
        self.tell_dropped();
    }

    fn write(&mut self, bytes: &[u8]) {
        let room = self.limits.0.saturating_sub(self.size);
        if (bytes.len() as u64) <= room || self.limits.0 == 0 {
            return self.append(bytes);
        }
        // Cut behind the first line end past the limit, so that no line is in two files.
        let from = usize::try_from(room).unwrap_or(0).min(bytes.len());
        let cut = if self.size == 0 || bytes.is_empty() {
            None
        } else {
            bytes[from..].iter().position(|b| *b == b'\n').map(|at| from + at + 1)
        };
        match cut {
            Some(cut) => {
                self.append(&bytes[..cut]);
                self.rotate();
                self.append(&bytes[cut..]);
            }
            None => {
                self.append(bytes);
                if self.size > self.limits.0.saturating_add(OVERHANG_MAX) {
                    self.rotate();
                }
            }
        }
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.file.is_none() {
            self.open(true);
        }
        let Some(file) = &mut self.file else {
            return self.drop_bytes(bytes.len(), || "the log cannot be opened".into());
        };
        self.times.mark(self.size, self.last);
        let mut rest = bytes;
        while !rest.is_empty() {
            match file.write(rest) {
                Ok(n) if n > 0 => {
                    self.size += n as u64;
                    rest = &rest[n..];
                }
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Ok(_) => return self.drop_bytes(rest.len(), || "the log takes no more".into()),
                Err(error) => return self.drop_bytes(rest.len(), || error.to_string()),
            }
        }
    }

    fn drop_bytes(&mut self, n: usize, why: impl FnOnce() -> String) {
        if self.untold == 0 {
            self.why = why();
        }
        self.untold += n as u64;
        self.dropped += n as u64;
    }

    fn tell_dropped(&mut self) {
        if self.untold == 0 {
            return;
        }
        let apart = if self.cut_line { "\n" } else { "" };
        let line = format!("{apart}weir: dropped {} bytes: {}\n", self.untold, self.why);
        let before = self.size;
        let Some(file) = &mut self.file else { return };
        self.times.mark(before, sys::boot_ms());
        if let Ok(n) = file.write(line.as_bytes()) {
            self.size = before + n as u64;
            self.untold = 0;
            self.cut_line = false;
        }
    }

    fn open(&mut self, make: bool) {
        self.file = made(&self.path, make).ok();
        let meta = self.file.as_ref().and_then(|file| file.metadata().ok());
        self.size = meta.as_ref().map_or(0, Metadata::len);
        self.times = meta.map_or_else(Times::default, |meta| Times::of(&self.path, &meta));
    }

    /// The next file is made before the oldest one is dropped. Files are known by inode, and a file system gives the number of one
    /// that was removed to the next that is made: a place in the one would be taken for a place in the other.
    fn rotate(&mut self) {
        let keep = self.limits.1.max(1);
        self.drop_from(keep);
        let old = |n: u32| if n == 0 { self.path.clone() } else { format!("{}.{n}", self.path) };
        let (aside, next) = (format!("{}.new", self.path), self.next_file());
        for n in (2..keep).rev() {
            // A missing one is a gap from before; the one at the end is replaced.
            let _moved = std::fs::rename(old(n - 1), old(n));
            times::moved(&old(n - 1), &old(n));
        }
        let moved = keep == 1 || std::fs::rename(&self.path, old(1)).is_ok();
        if keep > 1 {
            times::moved(&self.path, &old(1));
        } else {
            times::gone(&self.path);
        }
        match next {
            Ok(file) if moved && std::fs::rename(&aside, &self.path).is_ok() => {
                self.times = file.metadata().map_or_else(|_| Times::default(), |meta| Times::of(&self.path, &meta));
                (self.file, self.size) = (Some(file), 0);
            }
            Ok(_) | Err(_) => {
                let _unused = std::fs::remove_file(&aside);
                if keep == 1 {
                    // Only the current file is kept: the old one gives way.
                    let _gone = std::fs::remove_file(&self.path);
                }
                self.file = None;
                self.open(true);
            }
        }
    }

    /// Remove what more files were kept for once: what is behind a gap would be taken for a part of the log.
    fn drop_from(&self, keep: u32) {
        let mut n = keep;
        loop {
            let old = format!("{}.{n}", self.path);
            if std::fs::remove_file(&old).is_err() {
                return;
            }
            times::gone(&old);
            n += 1;
        }
    }

    /// A new file beside the others. It has the number of none in which a run began or ended that is still asked for.
    fn next_file(&self) -> std::io::Result<File> {
        let path = format!("{}.new", self.path);
        let mut taken = Vec::new();
        loop {
            // Left by a shim that was killed in the middle.
            let _gone = std::fs::remove_file(&path);
            let file = made(&path, true)?;
            let inode = file.metadata()?.ino();
            if !self.places.contains(&inode) || taken.len() >= self.places.len() {
                return Ok(file);
            }
            // As long as it is open its number is not given out again.
            taken.push(file);
        }
    }
}

/// A log file, to be written to at its end.
fn made(path: &str, make: bool) -> std::io::Result<File> {
    let mut options = OpenOptions::new();
    options.create(make).append(true).mode(0o600).custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC);
    match options.open(path) {
        // Somebody removed the directory.
        Err(error) if make && error.kind() == std::io::ErrorKind::NotFound => {
            let dir = Path::new(path).parent().ok_or(error)?;
            own(dir.parent().unwrap_or(dir))?;
            own(dir)?;
            options.open(path)
        }
        opened => opened,
    }
}

/// Make a directory that nobody else enters, unless it is there. Where the one above it is gone too, nobody wants it.
fn own(dir: &Path) -> std::io::Result<()> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_of_a_file_go_with_it() {
        let scratch = tempfile::tempdir().expect("a directory");
        let path = scratch.path().join("a.log").to_str().expect("plain").to_owned();
        let times = |n: &str| std::fs::exists(format!("{path}{n}{}", times::SUFFIX)).expect("looked");
        for (files, kept) in [(1, [false, false]), (2, [false, true])] {
            let mut log = Log::new(path.clone());
            log.begin(b"", (1000, files, 0));
            for at in [1, 2 * times::APART_MS] {
                log.last = at;
                log.append(b"words\n");
            }
            assert!(times(""), "told a second apart");
            log.rotate();
            assert_eq!([times(""), times(".1")], kept, "{files}");
        }
    }
}
