//! The specs directory, listed whole.
//!
//! Reads names, stamps and contents and judges nothing: what a listing means is `decide::admit`'s to say. A directory that
//! cannot be read to its end is `Unreadable`, never shorter. Only regular files are opened (or links that lead to one), never a
//! FIFO, device or socket, and nothing here waits for a writer. A file that did not change is not read again.

pub mod documents;
pub mod git;
pub mod watch;
pub mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::CStr;
use std::fs::File as StdFile;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, fstat, openat, statat};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::model::document::{Parsed, Refused, SPEC_BYTES_MAX, Violation, parse};
use crate::model::listing::{Arrival, Content, File, Listing, Revision, Root, Stamp, Whole};
use crate::model::time::Now;

/// Deepest sub-folder that is walked; the directory itself is 0.
pub const DEPTH_MAX: usize = 8;
/// Most files with a name that counts.
pub const FILES_MAX: usize = 10_000;
/// Most entries looked at, whatever their names.
const ENTRIES_MAX: usize = 200_000;
/// Most names told of that do not count.
const OVERLOOKED_MAX: usize = 100;
/// A stamp younger than this may hide a later write: such a file is read again. In milliseconds.
const RACY_MS: i128 = 100;

/// What events told about how files came to be, since the last listing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// By path relative to the directory.
    pub arrivals: BTreeMap<String, Arrival>,
    /// A link or folder was renamed into place: every file whose inode changed came whole with it.
    pub swapped: bool,
    /// Events were lost: what was heard of a file before may have changed since.
    pub overflown: bool,
}

/// The specs directory and what is remembered of its files.
#[derive(Debug)]
pub struct Specs {
    dir: PathBuf,
    cache: BTreeMap<String, Cached>,
    /// Shown in each listing; asked for elsewhere, because that takes a program.
    pub revision: Option<Revision>,
    /// How git's files were when that was asked.
    pub heads: Vec<git::Stamped>,
}

#[derive(Clone, Debug)]
struct Cached {
    stamp: Stamp,
    ctime_ns: i128,
    /// The wall clock when it was read, in milliseconds.
    read_ms: i64,
    content: Result<Arc<Content>, String>,
}

/// One walk over the directory.
struct Walk<'a> {
    specs: &'a Specs,
    marks: &'a Marks,
    now: Now,
    entries: usize,
    overlooked: BTreeSet<String>,
    files: BTreeMap<String, File>,
    cache: BTreeMap<String, Cached>,
}

/// A name that counts: `^[a-z0-9][a-z0-9._-]*\.ya?ml$`.
pub fn is_spec_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let body = name.strip_suffix(".yaml").or_else(|| name.strip_suffix(".yml"));
    let first = name.bytes().next().is_some_and(good);
    first && body.is_some_and(|body| !body.is_empty()) && name.bytes().all(|b| good(b) || matches!(b, b'.' | b'_' | b'-'))
}

/// What a name must look like to count, for people.
pub const NAME_RULE: &str =
    "a document's file name has a to z, 0 to 9, '.', '_' and '-', begins with a letter or digit, and ends in .yaml or .yml";

/// A name that looks like a spec's and does not count: `Web.yaml`, `web.YML`, `a b.yaml`. Hidden files are meant not to.
pub fn is_overlooked(name: &[u8]) -> bool {
    let lower = name.to_ascii_lowercase();
    let yaml = lower.ends_with(b".yaml") || lower.ends_with(b".yml");
    yaml && !name.starts_with(b".") && !std::str::from_utf8(name).is_ok_and(is_spec_name)
}

impl Specs {
    /// The directory at a path; nothing is read yet.
    pub fn new(dir: &Path) -> Specs {
        Specs { dir: dir.to_owned(), cache: BTreeMap::new(), revision: None, heads: Vec::new() }
    }

    /// List it whole.
    pub fn list(&mut self, marks: &Marks, now: Now) -> Listing {
        let (overlooked, files, cache) = (BTreeSet::new(), BTreeMap::new(), BTreeMap::new());
        let mut walk = Walk { specs: self, marks, now, entries: 0, overlooked, files, cache };
        match walk.root() {
            Ok(root) => {
                let (files, overlooked, cache) = (walk.files, walk.overlooked, walk.cache);
                self.cache = cache;
                Listing::Files(Whole { files, revision: self.revision.clone(), root, degraded: None, overlooked })
            }
            Err(reason) => Listing::Unreadable(reason),
        }
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC).union(OFlags::NONBLOCK);

/// How a file is opened: nothing here waits for a writer.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

fn told(what: &str, error: Errno) -> String {
    format!("{what}: {}", std::io::Error::from(error))
}

impl Walk<'_> {
    fn root(&mut self) -> Result<Root, String> {
        let name = self.specs.dir.display().to_string();
        let dir = openat(CWD, &self.specs.dir, DIRECTORY, Mode::empty()).map_err(|e| told(&name, e))?;
        let stat = fstat(&dir).map_err(|e| told(&name, e))?;
        self.folder(dir, "", 0)?;
        Ok(Root { device: stat.st_dev, inode: stat.st_ino })
    }

    fn folder(&mut self, dir: OwnedFd, prefix: &str, depth: usize) -> Result<(), String> {
        let shown = if prefix.is_empty() { "the specs directory".to_owned() } else { prefix.to_owned() };
        let entries = Dir::read_from(&dir).map_err(|e| told(&shown, e))?;
        for entry in entries {
            let entry = entry.map_err(|e| told(&shown, e))?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX || self.files.len() > FILES_MAX {
                return Err(format!("more than {FILES_MAX} files or {ENTRIES_MAX} entries"));
            }
            // Names that are not UTF-8 can be no spec; a folder of such a name is not walked.
            let Ok(name) = entry.file_name().to_str() else {
                if entry.file_type() != FileType::Directory {
                    self.overlook(prefix, entry.file_name().to_bytes());
                }
                continue;
            };
            if !name.starts_with('.') {
                self.entry(&dir, (prefix, name, entry.file_name()), depth)?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, dir: &OwnedFd, (prefix, name, raw): (&str, &str, &CStr), depth: usize) -> Result<(), String> {
        let path = format!("{prefix}{name}");
        let stat = match statat(dir, raw, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(told(&path, error)),
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory && depth < DEPTH_MAX {
            return match openat(dir, raw, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                Ok(inner) => self.folder(inner, &format!("{path}/"), depth + 1),
                // Gone, or no folder any more: the next listing sees what it is.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
                Err(error) => Err(told(&path, error)),
            };
        }
        if kind != FileType::Directory && is_spec_name(name) {
            self.file(dir, raw, path, (kind, stat));
        } else if kind != FileType::Directory {
            self.overlook(prefix, name.as_bytes());
        }
        Ok(())
    }

    fn overlook(&mut self, prefix: &str, name: &[u8]) {
        if is_overlooked(name) && self.overlooked.len() < OVERLOOKED_MAX {
            self.overlooked.insert(format!("{prefix}{}", String::from_utf8_lossy(name)));
        }
    }

    fn file(&mut self, dir: &OwnedFd, raw: &CStr, path: String, (kind, stat): (FileType, Stat)) {
        let is_link = kind == FileType::Symlink;
        let found = if is_link { statat(dir, raw, AtFlags::empty()) } else { Ok(stat) };
        let (stat, content) = match found {
            Ok(stat) => (stat, self.content(dir, raw, &path, (is_link, stat))),
            Err(Errno::NOENT) if !is_link => return,
            Err(error) => (stat, Err(told("cannot be followed", error))),
        };
        let stamp = stamp(&stat);
        let swapped = self.marks.swapped && self.specs.cache.get(&path).is_some_and(|before| before.stamp.inode != stamp.inode);
        let arrival = if swapped { Some(Arrival::RenamedIn) } else { self.marks.arrivals.get(&path).copied() };
        let unmarked = if self.marks.overflown { Arrival::Unheard } else { Arrival::Unknown };
        let cached = Cached { stamp, ctime_ns: ctime(&stat), read_ms: self.now.wall.0, content: content.clone() };
        let cached = self.unchanged(&path, &stat).cloned().unwrap_or(cached);
        self.cache.insert(path.clone(), cached);
        self.files.insert(path, File { stamp, arrival: arrival.unwrap_or(unmarked), content });
    }

    /// What was read before, if it surely is what is there now.
    fn unchanged(&self, path: &str, stat: &Stat) -> Option<&Cached> {
        let cached = self.specs.cache.get(path)?;
        let newest = (mtime(stat).max(ctime(stat))) / 1_000_000;
        let settled = i128::from(cached.read_ms) - newest > RACY_MS;
        (settled && cached.stamp == stamp(stat) && cached.ctime_ns == ctime(stat)).then_some(cached)
    }

    fn content(&self, dir: &OwnedFd, raw: &CStr, path: &str, (is_link, stat): (bool, Stat)) -> Result<Arc<Content>, String> {
        if let Some(cached) = self.unchanged(path, &stat) {
            return cached.content.clone();
        }
        check_regular(&stat)?;
        let follow = if is_link { OFlags::empty() } else { OFlags::NOFOLLOW };
        let file = openat(dir, raw, FILE | follow, Mode::empty()).map_err(|e| told("cannot be opened", e))?;
        // What was opened may not be what was looked at.
        let bytes = read(file)?;
        let hash = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
        let mut documents = parse(&bytes);
        if is_link && leads_outside(&self.specs.dir, &self.specs.dir.join(path)) {
            documents.iter_mut().for_each(keep_secret);
        }
        Ok(Arc::new(Content { hash, documents }))
    }
}

/// A file beyond any listing: its text and its documents, read as a listing reads them. Of one below `dir` that leads outside
/// of it the text is kept secret, and what is no document too.
///
/// # Errors
/// Why it cannot be read, in words that follow its name.
pub fn read_one(path: &Path, dir: Option<&Path>) -> Result<(Vec<u8>, Vec<Parsed>), String> {
    // A device is not even opened.
    check_regular(&statat(CWD, path, AtFlags::empty()).map_err(|e| told("cannot be followed", e))?)?;
    let bytes = read(openat(CWD, path, FILE, Mode::empty()).map_err(|e| told("cannot be opened", e))?)?;
    let mut documents = parse(&bytes);
    if dir.is_none_or(|dir| !leads_outside(dir, path)) {
        return Ok((bytes, documents));
    }
    documents.iter_mut().for_each(keep_secret);
    Ok((Vec::new(), documents))
}

fn leads_outside(dir: &Path, path: &Path) -> bool {
    let inside = dir.canonicalize().and_then(|dir| Ok(path.canonicalize()?.starts_with(dir)));
    !inside.unwrap_or(false)
}

/// A link may lead to a file that is no document at all, like a key: nothing of it may reach a message.
fn keep_secret(parsed: &mut Parsed) {
    if let Err(refused) = parsed
        && refused.kind.is_none()
    {
        let message = "leads to a file that is no document of weir".to_owned();
        let violation = Violation { line: 1, column: 1, message, ..Violation::default() };
        *refused = Refused { line: 1, violations: vec![violation], ..Refused::default() };
    }
}

fn check_regular(stat: &Stat) -> Result<(), String> {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let name = match kind {
        FileType::RegularFile if stat.st_size > SPEC_BYTES_MAX as i64 => {
            return Err(format!("the file has {} bytes, at most {SPEC_BYTES_MAX} are read", stat.st_size));
        }
        FileType::RegularFile => return Ok(()),
        FileType::Fifo => "a FIFO",
        FileType::Socket => "a socket",
        FileType::CharacterDevice | FileType::BlockDevice => "a device",
        FileType::Directory => "a folder",
        FileType::Symlink | FileType::Unknown => "something else",
    };
    Err(format!("is {name}, not a regular file"))
}

fn read(file: OwnedFd) -> Result<Vec<u8>, String> {
    check_regular(&fstat(&file).map_err(|e| told("cannot be read", e))?)?;
    let mut bytes = Vec::new();
    // One byte more than allowed: a file that grew is refused by the reader of documents.
    let read = StdFile::from(file).take(SPEC_BYTES_MAX as u64 + 1).read_to_end(&mut bytes);
    read.map(|_| bytes).map_err(|e| format!("cannot be read: {e}"))
}

fn mtime(stat: &Stat) -> i128 {
    i128::from(stat.st_mtime) * 1_000_000_000 + i128::from(stat.st_mtime_nsec)
}

fn ctime(stat: &Stat) -> i128 {
    i128::from(stat.st_ctime) * 1_000_000_000 + i128::from(stat.st_ctime_nsec)
}

fn stamp(stat: &Stat) -> Stamp {
    Stamp { size: u64::try_from(stat.st_size).unwrap_or(0), mtime_ns: mtime(stat), inode: stat.st_ino }
}

/// Which directory a path leads to now, if any.
pub fn root_of(dir: &Path) -> Option<Root> {
    let fd = openat(CWD, dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).ok()?;
    let stat = fstat(fd.as_fd()).ok()?;
    Some(Root { device: stat.st_dev, inode: stat.st_ino })
}

#[cfg(test)]
mod tests;
