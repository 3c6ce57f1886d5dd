//! The specs directory as the engine uses it: watched, listed one at a time, edited one at a time.
//!
//! A listing is told at once with the revision known so far, and again when `git`, which takes longer, says another.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use crate::edge::clock;
use crate::edge::specs::watch::Watch;
use crate::edge::specs::{Marks, Specs, git};
use crate::model::listing::Listing;

/// The directory, its watch, and what was last read of it.
pub struct SpecsDoor {
    /// Where it is.
    pub dir: PathBuf,
    /// A listing is wanted and not begun yet.
    pub wanted: AtomicBool,
    watch: Watch,
    specs: Mutex<(Specs, Option<Listing>)>,
}

impl SpecsDoor {
    /// Watch a directory, whether or not it exists yet.
    ///
    /// # Errors
    /// When the watching thread cannot be made.
    pub fn open(dir: &Path, hints: mpsc::Sender<()>) -> std::io::Result<SpecsDoor> {
        let watch = Watch::start(dir, hints)?;
        Ok(SpecsDoor { dir: dir.to_owned(), wanted: AtomicBool::new(false), watch, specs: Mutex::new((Specs::new(dir), None)) })
    }

    fn specs(&self) -> MutexGuard<'_, (Specs, Option<Listing>)> {
        // What is behind the lock is a cache: whatever a panic left of it is checked against the files.
        self.specs.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// List the directory and tell it; tell it again if its revision turns out to be another.
    pub fn list(&self, tell: impl Fn(Listing)) {
        let mut specs = self.specs();
        self.wanted.store(false, Ordering::Release);
        self.watch.check();
        let listing = self.degraded(specs.0.list(&self.watch.take_marks(), clock::now()));
        let changed = specs.1.as_ref() != Some(&listing);
        specs.1 = Some(listing.clone());
        tell(listing);
        if !changed {
            return;
        }
        let revision = git::revision(&self.dir);
        if revision != specs.0.revision {
            specs.0.revision = revision;
            let listing = self.degraded(specs.0.list(&Marks::default(), clock::now()));
            specs.1 = Some(listing.clone());
            tell(listing);
        }
    }

    /// With what the watch says of itself.
    fn degraded(&self, mut listing: Listing) -> Listing {
        if let Listing::Files(whole) = &mut listing {
            whole.degraded = self.watch.degraded();
        }
        listing
    }

    /// The directory as it is now, for an edit: nobody else edits or lists meanwhile.
    pub(super) fn locked<T>(&self, edit: impl FnOnce(&Listing) -> T) -> T {
        let mut specs = self.specs();
        let listing = specs.0.list(&Marks::default(), clock::now());
        edit(&listing)
    }
}
