//! From files to a catalogue: what of the specs directory is believed, and when.
//!
//! Four questions, one file each. [`settle`]: is a file whole, or still being written? [`claims`]: which document stands for
//! which object, and what changed? [`names`]: may two pools have workers of one name? [`prune`]: may an object whose document is
//! gone be stopped? The rules are those of `docs/architecture.md`: unreadable is never empty; a bad document keeps its last good
//! version; nobody stops a worker because half a file happened to parse.
//!
//! Pure: a listing is taken at `now`, and the answer says when to look again.

pub mod claims;
pub mod names;
mod prune;
mod settle;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use crate::model::catalogue::{Catalogue, ObjectKey, RefusedDocument, Source, Standing};
use crate::model::listing::{Listing, Whole};
use crate::model::time::{Moment, Now, Span};

use self::settle::FileState;

/// What an operator sets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long an object runs on after its document is gone; default 10s.
    pub prune_grace: Span,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { prune_grace: Span::secs(10) }
    }
}

/// All that is remembered from one listing to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admission {
    /// What is accepted.
    pub catalogue: Catalogue,
    files: BTreeMap<String, FileState>,
    /// Files that were told to be overlooked.
    overlooked: BTreeSet<String>,
    /// Objects that are forgotten, and when their documents were gone: they still count for the guard.
    pruned: BTreeMap<ObjectKey, Moment>,
    /// A removal was blocked before this daemon began, which has not told of it yet.
    untold: bool,
}

/// What came of a listing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Admitted {
    /// What is remembered, with the new catalogue in it.
    pub admission: Admission,
    /// What is to be told, in order.
    pub changes: Vec<Change>,
    /// When to list again though nothing is heard.
    pub wake_at: Option<Moment>,
}

/// One thing to be told.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A new object.
    Accepted {
        /// Which.
        key: ObjectKey,
        /// From where.
        source: Source,
    },
    /// An object's spec changed.
    Updated {
        /// Which.
        key: ObjectKey,
        /// Its generation now.
        generation: u64,
        /// From where.
        source: Source,
    },
    /// Only labels or annotations of an object changed.
    Relabelled {
        /// Which.
        key: ObjectKey,
        /// Which of them, for people; at least one.
        what: Vec<String>,
        /// From where.
        source: Source,
    },
    /// A document was refused; what ran before runs on.
    Refused(RefusedDocument),
    /// A document that was held is good again, without a change of its spec.
    Restored {
        /// Which.
        key: ObjectKey,
    },
    /// More than one document names an object.
    Conflict {
        /// Which.
        key: ObjectKey,
        /// Where.
        sources: Vec<Source>,
    },
    /// An object's document is gone.
    Vanished {
        /// Which.
        key: ObjectKey,
        /// When it will be stopped.
        until: Moment,
        /// Somebody asked for that.
        asked: bool,
    },
    /// An object is being stopped.
    Terminating {
        /// Which.
        key: ObjectKey,
    },
    /// Too many vanished at once: all run on.
    PruneBlocked {
        /// What to confirm.
        token: String,
        /// Which.
        keys: Vec<ObjectKey>,
    },
    /// Pruning is no longer blocked.
    PruneUnblocked,
    /// The directory cannot be read: everything stays as it is.
    Unreadable(String),
    /// The directory can be read again.
    Readable,
    /// Files look like documents' and are not read, for their names: at least one, those not told of before.
    Overlooked(Vec<String>),
    /// A file is open for writing, and waited for.
    BeingWritten(String),
    /// Changes may be heard late, and why.
    WatchDegraded(String),
    /// Changes are heard at once again.
    WatchRestored,
}

impl Admission {
    /// Begin with what was kept: it holds until a readable listing shows otherwise.
    pub fn restored(catalogue: Catalogue) -> Admission {
        Admission { untold: catalogue.prune.is_some(), catalogue, ..Admission::default() }
    }

    /// The document of this object was removed because somebody asked for it by name, or it was gone before that.
    pub fn removed(&mut self, key: ObjectKey, now: Moment) {
        self.catalogue.asked.insert(key, now);
    }

    /// The blocked removal of this token is confirmed: of the objects that it names now, and for as long as they stay gone. Says
    /// whether there is one.
    pub fn confirm(&mut self, token: &str) -> bool {
        let Some(blocked) = self.catalogue.prune.as_ref().filter(|blocked| blocked.token == token) else { return false };
        let keys = blocked.keys.clone();
        self.catalogue.confirmed.extend(keys);
        true
    }

    /// The last worker of a terminating object is gone: forget it.
    pub fn forget(&mut self, key: &ObjectKey) {
        let Some(object) = self.catalogue.objects.get(key) else { return };
        if let Standing::Terminating { since } = object.standing {
            self.catalogue.objects.remove(key);
            // What went by a wish says nothing of what goes beside it.
            if !self.catalogue.confirmed.remove(key) {
                self.pruned.insert(key.clone(), since);
            }
        }
    }
}

/// Judge a listing that was taken at `now`.
pub fn admit(previous: &Admission, listing: &Listing, now: Now, settings: &Settings) -> Admitted {
    let mut next = Admitted { admission: previous.clone(), ..Admitted::default() };
    match listing {
        Listing::Unreadable(reason) => hold(&mut next, reason),
        Listing::Files(whole) => read(&mut next, whole, now, settings),
    }
    next
}

/// Nothing is known: nothing changes, and whatever was waited for begins anew.
fn hold(next: &mut Admitted, reason: &str) {
    let catalogue = &mut next.admission.catalogue;
    if catalogue.unreadable.as_deref() != Some(reason) {
        catalogue.unreadable = Some(reason.to_owned());
        next.changes.push(Change::Unreadable(reason.to_owned()));
    }
    for file in next.admission.files.values_mut() {
        file.forget_timers();
    }
}

fn read(next: &mut Admitted, whole: &Whole, now: Now, settings: &Settings) {
    if next.admission.catalogue.unreadable.take().is_some() {
        next.changes.push(Change::Readable);
        for object in next.admission.catalogue.objects.values_mut() {
            if let Standing::Vanished { since } = &mut object.standing {
                *since = now.mono;
            }
        }
    }
    next.admission.catalogue.revision.clone_from(&whole.revision);
    let before = std::mem::replace(&mut next.admission.catalogue.degraded, whole.degraded.clone());
    match (&before, &whole.degraded) {
        (None, Some(why)) => next.changes.push(Change::WatchDegraded(why.clone())),
        (Some(_), None) => next.changes.push(Change::WatchRestored),
        (None, None) | (Some(_), Some(_)) => {}
    }
    let before = std::mem::replace(&mut next.admission.overlooked, whole.overlooked.clone());
    let new: Vec<String> = whole.overlooked.difference(&before).cloned().collect();
    if !new.is_empty() {
        next.changes.push(Change::Overlooked(new));
    }
    settle::settle(next, whole, now);
    let vanished = claims::apply(next, whole, now.mono);
    prune::prune(next, (whole, &vanished), now.mono, settings);
}

impl Admitted {
    fn wake(&mut self, at: Moment) {
        self.wake_at = Some(self.wake_at.map_or(at, |before| before.min(at)));
    }
}
