//! What has been accepted from the specs directory, and how each object stands.
//!
//! Written by `decide::admit` alone and swapped whole; everyone else reads it. How it is kept from one daemon to the next is in
//! `kept`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::document::{Document, Violation};
use super::listing::{Revision, Root};
use super::meta::{Kind, ObjectMeta};
use super::policy::ResourcePolicy;
use super::pool::WorkerPool;
use super::time::Moment;

/// Which object: names are unique within a kind.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectKey {
    /// Its kind.
    pub kind: Kind,
    /// Its name.
    pub name: String,
}

impl ObjectKey {
    /// The key of a policy.
    pub fn policy(name: &str) -> ObjectKey {
        ObjectKey { kind: Kind::ResourcePolicy, name: name.into() }
    }

    /// The key of a pool.
    pub fn pool(name: &str) -> ObjectKey {
        ObjectKey { kind: Kind::WorkerPool, name: name.into() }
    }

    /// The key of a document.
    pub fn of(document: &Document) -> ObjectKey {
        ObjectKey { kind: document.kind(), name: document.name().into() }
    }
}

impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = self.kind.short_names().last().copied().unwrap_or_default();
        write!(f, "{short}/{}", self.name)
    }
}

/// Where a document stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Source {
    /// The file, relative to the specs directory.
    pub file: String,
    /// The line, from 1.
    pub line: u32,
}

/// What has been accepted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// The objects, last good version of each.
    pub objects: BTreeMap<ObjectKey, Object>,
    /// Documents and files that were refused, in the order of the files.
    pub refused: Vec<RefusedDocument>,
    /// Objects that more than one document names, and where.
    pub conflicts: BTreeMap<ObjectKey, Vec<Source>>,
    /// Why the directory cannot be read; absent when it can.
    pub unreadable: Option<String>,
    /// More objects vanished at once than is believed.
    pub prune: Option<PruneBlocked>,
    /// Objects whose documents people removed by name, and when, that are not seen to be gone yet.
    pub asked: BTreeMap<ObjectKey, Moment>,
    /// Objects that are gone, which nobody needs to confirm any more: they were removed by name, or somebody did.
    pub confirmed: BTreeSet<ObjectKey>,
    /// The commit, when the directory is a checkout.
    pub revision: Option<Revision>,
    /// The directory in which documents were last seen: an empty one in its place stops nobody, after a restart neither.
    pub root: Option<Root>,
    /// Why changes of the directory may be heard late, if they may.
    pub degraded: Option<String>,
    /// What was kept, does not read here and is no pool's: it is kept as it is for whoever can read it.
    pub(super) aside: Vec<Value>,
}

/// An object that was accepted.
#[derive(Clone, Debug, PartialEq)]
pub struct Object {
    /// Its last good version.
    pub document: Document,
    /// Counts up when the spec changes, from 1.
    pub generation: u64,
    /// Where it was accepted from.
    pub source: Source,
    /// How it stands.
    pub standing: Standing,
    /// Its last good version was kept in a way that does not read here: `document` says only as much of it as does.
    pub unread: Option<Unread>,
}

/// What was kept of an object by a program that knew more than this one, or in a file that is damaged.
#[derive(Clone, Debug, PartialEq)]
pub struct Unread {
    /// As it was kept.
    pub(super) kept: Value,
    /// Why it does not read.
    pub why: String,
}

impl Object {
    /// The pool, if it is one.
    pub fn pool(&self) -> Option<&WorkerPool> {
        match &self.document {
            Document::WorkerPool(pool) => Some(pool),
            Document::ResourcePolicy(_) => None,
        }
    }

    /// The policy, if it is one.
    pub fn policy(&self) -> Option<&ResourcePolicy> {
        match &self.document {
            Document::WorkerPool(_) => None,
            Document::ResourcePolicy(policy) => Some(policy),
        }
    }

    /// Its name and labels.
    pub fn metadata(&self) -> &ObjectMeta {
        match &self.document {
            Document::WorkerPool(pool) => &pool.metadata,
            Document::ResourcePolicy(policy) => &policy.metadata,
        }
    }

    /// Its workers are to be stopped, and it is to be forgotten then.
    pub fn is_terminating(&self) -> bool {
        matches!(self.standing, Standing::Terminating { .. })
    }
}

/// How an accepted object stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Standing {
    /// As its document says.
    #[default]
    Good,
    /// Its document is broken now (`Accepted=False`): the last good version holds.
    Held {
        /// What is wrong.
        violations: Vec<Violation>,
    },
    /// More than one document names it (`Accepted=False`): the last good version holds.
    Conflict,
    /// Its document is gone; it runs on until the grace has passed, or longer when pruning is blocked.
    Vanished {
        /// Since when.
        since: Moment,
    },
    /// Its document is gone for good: its workers are stopped.
    Terminating {
        /// When its document was gone.
        since: Moment,
    },
}

/// A document or a file that was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RefusedDocument {
    /// Where it begins.
    pub source: Source,
    /// Its kind, if that could be read.
    pub kind: Option<Kind>,
    /// Its name, if that could be read.
    pub name: Option<String>,
    /// What is wrong: at least one.
    pub violations: Vec<Violation>,
}

/// A document that does not count and has no object on which that could be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stray {
    /// Its kind, if that could be read.
    pub kind: Option<Kind>,
    /// Its name, if that could be read.
    pub name: Option<String>,
    /// Why it does not count, with its place.
    pub why: String,
}

/// More objects vanished at once than is believed: all keep running.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneBlocked {
    /// What `ctl prune --confirm` must be given: it names exactly these objects.
    pub token: String,
    /// The objects that vanished.
    pub keys: Vec<ObjectKey>,
}

impl Catalogue {
    /// The pools, by name.
    pub fn pools(&self) -> impl Iterator<Item = (&ObjectKey, &Object, &WorkerPool)> {
        self.objects.iter().filter_map(|(key, object)| object.pool().map(|pool| (key, object, pool)))
    }

    /// The refused document has no good version from before that stays in force.
    pub fn replaces_nothing(&self, refused: &RefusedDocument) -> bool {
        let about = |key: &ObjectKey, object: &Object| match &refused.name {
            Some(name) => refused.kind.is_none_or(|kind| kind == key.kind) && *name == key.name,
            None => object.source.file == refused.source.file,
        };
        !self.objects.iter().any(|(key, object)| about(key, object))
    }

    /// Documents that do not count and that no object shows.
    pub fn strays(&self) -> Vec<Stray> {
        let refused = self.refused.iter().filter(|refused| self.replaces_nothing(refused)).map(|refused| {
            let why: Vec<String> = refused.violations.iter().map(|violation| violation.at(&refused.source.file)).collect();
            Stray { kind: refused.kind, name: refused.name.clone(), why: why.join("; ") }
        });
        let conflicts = self.conflicts.iter().filter(|(key, _)| !self.objects.contains_key(key)).map(|(key, places)| {
            let places: Vec<String> = places.iter().map(|place| format!("{}:{}", place.file, place.line)).collect();
            let why = format!("more than one document names it: {}", places.join(", "));
            Stray { kind: Some(key.kind), name: Some(key.name.clone()), why }
        });
        refused.chain(conflicts).collect()
    }
}
