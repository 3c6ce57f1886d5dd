//! What the specs directory looked like at one moment: whole, or not readable at all.
//!
//! Made by the edge, judged by `decide::admit`. A directory that cannot be read is [`Listing::Unreadable`], never an empty
//! list: an I/O error must not look like a deletion.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::document::Parsed;

/// What the specs directory looked like.
#[derive(Clone, Debug, PartialEq)]
pub enum Listing {
    /// It could not be read, and why. Nothing is known about any file.
    Unreadable(String),
    /// Every file of it that counts, by its path relative to the directory.
    Files(Whole),
}

/// A listing that was read to its end.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Whole {
    /// The files with a name that counts, by relative path.
    pub files: BTreeMap<String, File>,
    /// Files that look like documents' and do not count, for their names: relative paths, not more than a person would read.
    pub overlooked: BTreeSet<String>,
    /// The commit, when the directory is a checkout.
    pub revision: Option<Revision>,
    /// The directory itself: another one under the same path is seen by this.
    pub root: Root,
    /// Why changes may be heard late, if they may.
    pub degraded: Option<String>,
}

impl Whole {
    /// There is a good document in it: it is a directory of specs, whatever else it lacks.
    pub fn has_documents(&self) -> bool {
        let contents = self.files.values().filter_map(|file| file.content.as_ref().ok());
        contents.flat_map(|content| &content.documents).any(Result::is_ok)
    }
}

/// Which directory it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Root {
    /// Its device.
    pub device: u64,
    /// Its inode.
    pub inode: u64,
}

/// The commit of a checkout.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Revision {
    /// The full commit id.
    pub commit: String,
    /// Files differ from the commit.
    pub dirty: bool,
}

/// One file of a listing.
#[derive(Clone, Debug, PartialEq)]
pub struct File {
    /// What tells one state of the file from another.
    pub stamp: Stamp,
    /// How its present content came to be, as far as events told.
    pub arrival: Arrival,
    /// What is in it; why not, if it cannot be read.
    pub content: Result<Arc<Content>, String>,
}

/// What tells one state of a file from another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    /// In bytes.
    pub size: u64,
    /// The time of its last modification, in nanoseconds since the epoch.
    pub mtime_ns: i128,
    /// Its inode.
    pub inode: u64,
}

/// How a file's content came to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Arrival {
    /// Renamed into place: whole by nature.
    RenamedIn,
    /// Closed after writing.
    ClosedWrite,
    /// Modified, and not closed since: somebody is writing it.
    Writing,
    /// Nothing is known: found by looking.
    #[default]
    Unknown,
    /// Nothing is known, and what was heard before does not count either: events were lost.
    Unheard,
}

/// A file's content, read and parsed once.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Content {
    /// The SHA-256 of its bytes, hexadecimal.
    pub hash: String,
    /// Its documents, in order.
    pub documents: Vec<Parsed>,
}
