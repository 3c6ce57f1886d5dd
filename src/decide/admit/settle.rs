//! Is a file whole? A truncated spec often parses as a different spec, so a file's new content is believed only when it
//! came by rename, or has stood still for long enough: longest when believing it would stop or replace workers. A file that
//! was heard to be modified is not whole before it is heard to be closed.
//!
//! ```text
//!            seen, other content              stood still
//!  believed ────────────────────▶ candidate ─────────────▶ believed
//!      │  ▲        as before ◀────────┘
//!      │  └───────── seen again
//!      └─ missing ─▶ missing, 200 ms and a second listing ─▶ gone
//! ```

use std::sync::Arc;

use crate::model::catalogue::{Catalogue, ObjectKey};
use crate::model::document::{Document, Parsed};
use crate::model::listing::{Arrival, Content, File, Stamp, Whole};
use crate::model::pool::PoolSpec;
use crate::model::time::{Moment, Now, Span};

use super::{Admitted, Change};

/// Two listings that agree on a deletion are at least so far apart: git unlinks and re-creates.
pub const DELETION: Span = Span::millis(200);
/// Quiet after a close of a written file.
pub const AFTER_CLOSE: Span = Span::millis(50);
/// Quiet when no event told how the content came.
pub const UNKNOWN: Span = Span::millis(300);
/// Quiet before an edit in place may stop or replace workers.
pub const HARMFUL: Span = Span::secs(2);
/// Longest wait for quiet of an edit that only adds.
pub const CEILING: Span = Span::secs(1);

/// Quiet before a file counts that was modified and never closed: some programs keep their files open for good.
pub const OPEN: Span = Span::secs(30);

/// What is known of a file from one listing to the next.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct FileState {
    /// The content that is believed.
    pub believed: Option<Arc<Content>>,
    /// Why it could not be read at the last listing.
    pub unreadable: Option<String>,
    /// Other content, not believed yet.
    candidate: Option<Candidate>,
    /// It was not in the listing, since when.
    pub missing: Option<Moment>,
}

#[derive(Clone, Debug, PartialEq)]
struct Candidate {
    stamp: Stamp,
    hash: String,
    arrival: Arrival,
    /// Since when it looks like this.
    since: Moment,
    /// Since when the file has not looked as it is believed.
    first: Moment,
    /// It was told that it is being written.
    told: bool,
}

impl FileState {
    /// Its content was never believed: what it holds is not known yet.
    pub fn is_unsettled(&self) -> bool {
        self.believed.is_none() && self.candidate.is_some()
    }

    /// The directory could not be read: two readable listings have to agree anew.
    pub fn forget_timers(&mut self) {
        self.missing = None;
        self.candidate = None;
    }
}

/// Take in what the listing says of each file.
pub fn settle(next: &mut Admitted, whole: &Whole, now: Now) {
    let mut files = std::mem::take(&mut next.admission.files);
    for path in whole.files.keys() {
        files.entry(path.clone()).or_default();
    }
    files.retain(|path, state| match whole.files.get(path) {
        Some(file) => {
            state.missing = None;
            present(next, (path, file), state, now);
            true
        }
        None => missing(next, state, now.mono),
    });
    next.admission.files = files;
}

/// A file that is not there: true while that is not believed yet.
fn missing(next: &mut Admitted, state: &mut FileState, now: Moment) -> bool {
    let until = state.missing.get_or_insert(now).after(DELETION);
    state.candidate = None;
    if now < until {
        next.wake(until);
    }
    now < until
}

fn present(next: &mut Admitted, (path, file): (&str, &File), state: &mut FileState, now: Now) {
    let content = match &file.content {
        Ok(content) => content,
        Err(reason) => {
            state.unreadable = Some(reason.clone());
            state.candidate = None;
            return;
        }
    };
    state.unreadable = None;
    if state.believed.as_ref().is_some_and(|believed| believed.hash == content.hash) {
        state.candidate = None;
        return;
    }
    let degraded = next.admission.catalogue.degraded.is_some();
    let mut candidate = follow(state.candidate.take(), file, (content, degraded), now.mono);
    tell_open(next, path, &mut candidate, now.mono);
    let harmful = would_harm(&next.admission.catalogue, path, content);
    match believed_at(&candidate, harmful, state.believed.is_none(), now) {
        Some(at) if at > now.mono => {
            next.wake(at);
            state.candidate = Some(candidate);
        }
        Some(_) | None => state.believed = Some(content.clone()),
    }
}

/// The candidate as it was if nothing moved since, else a new one.
fn follow(before: Option<Candidate>, file: &File, (content, degraded): (&Content, bool), now: Moment) -> Candidate {
    let (first, told) = before.as_ref().map_or((now, false), |candidate| (candidate.first, candidate.told));
    // Where nothing is heard no close is either.
    let heard = if degraded && file.arrival >= Arrival::Writing { Arrival::Unheard } else { file.arrival };
    let is_open = |candidate: &Candidate| candidate.arrival == Arrival::Writing && candidate.stamp.inode == file.stamp.inode;
    let open = before.as_ref().is_some_and(is_open);
    let same = before.filter(|candidate| candidate.stamp == file.stamp && candidate.hash == content.hash);
    let arrival = match (&same, heard) {
        (_, Arrival::Writing) => Arrival::Writing,
        (_, Arrival::Unknown) if open => Arrival::Writing,
        (Some(_), Arrival::Unheard) if open => Arrival::Unknown,
        // Arrival is ordered from the most to the least that is known.
        (Some(candidate), heard) => candidate.arrival.min(heard),
        (None, heard) => heard.min(Arrival::Unknown),
    };
    match same {
        Some(candidate) => Candidate { arrival, ..candidate },
        None => Candidate { stamp: file.stamp, hash: content.hash.clone(), arrival, since: now, first, told },
    }
}

/// Say once that a file is waited for: not of each that is saved in place, but of one that stays open.
fn tell_open(next: &mut Admitted, path: &str, candidate: &mut Candidate, now: Moment) {
    let at = candidate.first.after(HARMFUL);
    if candidate.arrival != Arrival::Writing || candidate.told {
        return;
    }
    if now < at {
        next.wake(at);
        return;
    }
    candidate.told = true;
    next.changes.push(Change::BeingWritten(path.to_owned()));
}

/// When the candidate is whole; none if it is by nature.
fn believed_at(candidate: &Candidate, harmful: bool, new: bool, now: Now) -> Option<Moment> {
    let quiet = match candidate.arrival {
        Arrival::RenamedIn => return None,
        Arrival::ClosedWrite => AFTER_CLOSE,
        Arrival::Writing => return Some(candidate.since.after(OPEN)),
        Arrival::Unknown | Arrival::Unheard => UNKNOWN,
    };
    // At a start nothing has been heard yet: a file last written long ago is not being written now. What it says counts at
    // once, also where it replaces or stops: nobody wants a command that was put right meanwhile to be run once more.
    let age_ms = i128::from(now.wall.0) - candidate.stamp.mtime_ns / 1_000_000;
    if new && candidate.arrival == Arrival::Unknown && age_ms >= i128::from(HARMFUL.0) {
        return None;
    }
    if harmful {
        return Some(candidate.since.after(HARMFUL));
    }
    Some(candidate.since.after(quiet).min(candidate.first.after(CEILING)))
}

/// Would believing this content stop or replace a worker of an object that was accepted from this file?
fn would_harm(catalogue: &Catalogue, path: &str, content: &Content) -> bool {
    let mut own = catalogue.objects.iter().filter(|(_, object)| object.source.file == path && !object.is_terminating());
    own.any(|(key, object)| match stands_for(&content.documents, key) {
        Stands::Good(new) => object.unread.is_some() || harms(&object.document, new),
        Stands::Broken => false,
        Stands::Gone => true,
    })
}

/// What a file's documents say of an object.
pub enum Stands<'a> {
    /// It is there and good.
    Good(&'a Document),
    /// A broken document is, or may be, about it.
    Broken,
    /// Nothing is about it.
    Gone,
}

/// What documents say of an object.
pub fn stands_for<'a>(documents: &'a [Parsed], key: &ObjectKey) -> Stands<'a> {
    let good =
        documents.iter().filter_map(|parsed| parsed.as_ref().ok()).find(|located| ObjectKey::of(&located.document) == *key);
    let may_be = |kind: Option<_>, name: Option<&str>| {
        kind.is_none_or(|kind| kind == key.kind) && name.is_none_or(|name| name == key.name)
    };
    let broken = || {
        documents.iter().filter_map(|parsed| parsed.as_ref().err()).any(|refused| may_be(refused.kind, refused.name.as_deref()))
    };
    match good {
        Some(located) => Stands::Good(&located.document),
        None if broken() => Stands::Broken,
        None => Stands::Gone,
    }
}

/// Would this change stop or replace a worker? Only what surely does not is let through.
fn harms(old: &Document, new: &Document) -> bool {
    match (old, new) {
        (Document::WorkerPool(old), Document::WorkerPool(new)) => pool_harms(&old.spec, &new.spec),
        (Document::ResourcePolicy(old), Document::ResourcePolicy(new)) => old.spec != new.spec,
        (Document::WorkerPool(_), Document::ResourcePolicy(_)) | (Document::ResourcePolicy(_), Document::WorkerPool(_)) => true,
    }
}

fn pool_harms(old: &PoolSpec, new: &PoolSpec) -> bool {
    let fewer = new.fixed_replicas() < old.fixed_replicas() || new.scale != old.scale;
    let renamed =
        !new.worker_names.starts_with(&old.worker_names) || (old.worker_names.is_empty() && !new.worker_names.is_empty());
    fewer || renamed || new.template != old.template || new.queue != old.queue
}
