//! May an object whose document is gone be stopped? After a grace, and never many at once: a directory that was emptied by
//! mistake is more likely than a wish to stop most of what runs.

use sha2::{Digest, Sha256};

use crate::model::catalogue::{Object, ObjectKey, PruneBlocked, Standing};
use crate::model::listing::Whole;
use crate::model::meta::Kind;
use crate::model::time::{Moment, Span};

use super::settle::FileState;
use super::{Admitted, Change, Settings, claims};

/// More than this share of the pools gone at once is not believed, in percent.
const SHARE_MAX: usize = 30;

/// A document that was removed by name has vanished after so long, or is there again: a wish does not wait for its next end.
const ASKED: Span = Span::secs(60);

/// Characters of a token.
const TOKEN_CHARS: usize = 8;

/// Stop what has been gone for long enough, unless too much is gone. `fresh` is what is seen to be gone only now.
pub fn prune(next: &mut Admitted, (whole, fresh): (&Whole, &[ObjectKey]), now: Moment, settings: &Settings) {
    let grace = settings.prune_grace.max(super::settle::DELETION);
    next.admission.pruned.retain(|_, since| now.since(*since) <= Span(grace.0.saturating_mul(2)));
    let vanished = vanished(next);
    asked(next, &vanished, now);
    returned(next);
    guard(next, whole, &vanished, grace);
    let unsettled = next.admission.files.values().any(FileState::is_unsettled);
    for (key, since) in vanished {
        let blocked = next.admission.catalogue.prune.as_ref().is_some_and(|prune| prune.keys.contains(&key));
        let until = since.after(grace);
        if blocked {
            continue;
        }
        if fresh.contains(&key) {
            let asked = next.admission.catalogue.confirmed.contains(&key);
            next.changes.push(Change::Vanished { key: key.clone(), until, asked });
        }
        if now < until {
            next.wake(until);
            continue;
        }
        // A file whose content is not known yet may be about it: when it is known there is another look.
        if !unsettled && let Some(object) = next.admission.catalogue.objects.get_mut(&key) {
            object.standing = Standing::Terminating { since };
            next.changes.push(Change::Terminating { key });
        }
    }
}

/// What was asked for by name is confirmed, as soon as it is seen to be gone.
fn asked(next: &mut Admitted, vanished: &[(ObjectKey, Moment)], now: Moment) {
    let catalogue = &mut next.admission.catalogue;
    let ends = |key: &ObjectKey| catalogue.objects.get(key).is_some_and(Object::is_terminating);
    let gone = |key: &ObjectKey| vanished.iter().any(|(gone, _)| gone == key) || ends(key);
    catalogue.confirmed.extend(catalogue.asked.keys().filter(|key| gone(key)).cloned());
    // While no document stands for it, it is about to be gone, however long that takes to be seen.
    let files = &next.admission.files;
    let leaving = |key: &ObjectKey| catalogue.objects.contains_key(key) && !claims::names(files, key);
    catalogue.asked.retain(|key, at| !gone(key) && (now.since(*at) <= ASKED || leaving(key)));
}

/// A wish ends when its object is back in a document that stands for it. One that is broken does not.
fn returned(next: &mut Admitted) {
    let catalogue = &mut next.admission.catalogue;
    let leaves = |key: &ObjectKey| match catalogue.objects.get(key).map(|object| &object.standing) {
        Some(Standing::Vanished { .. } | Standing::Terminating { .. } | Standing::Held { .. }) => true,
        Some(Standing::Good | Standing::Conflict) | None => false,
    };
    catalogue.confirmed.retain(leaves);
}

fn vanished(next: &Admitted) -> Vec<(ObjectKey, Moment)> {
    let objects = next.admission.catalogue.objects.iter();
    let gone = objects.filter_map(|(key, object)| match object.standing {
        Standing::Vanished { since } => Some((key.clone(), since)),
        Standing::Good | Standing::Held { .. } | Standing::Conflict | Standing::Terminating { .. } => None,
    });
    gone.collect()
}

/// Block when too many vanished within one grace of each other, or all in a directory that is another one now. Once blocked,
/// the rest stays blocked until each has returned or is confirmed.
fn guard(next: &mut Admitted, whole: &Whole, vanished: &[(ObjectKey, Moment)], grace: Span) {
    let blocked_before = next.admission.catalogue.prune.take();
    let untold = std::mem::take(&mut next.admission.untold);
    let waiting: Vec<&(ObjectKey, Moment)> =
        vanished.iter().filter(|(key, _)| !next.admission.catalogue.confirmed.contains(key)).collect();
    let was_blocked = |key: &ObjectKey| blocked_before.as_ref().is_some_and(|before| before.keys.contains(key));
    let sticky = waiting.iter().any(|(key, _)| was_blocked(key));
    let swapped = next.admission.catalogue.root.is_some_and(|root| root != whole.root) && !whole.has_documents();
    let pools: Vec<&(ObjectKey, Moment)> = waiting.iter().copied().filter(|(key, _)| key.kind == Kind::WorkerPool).collect();
    let crowd = pools.iter().any(|(_, since)| together(next, *since, grace) > allowance(next));
    if !waiting.is_empty() && (sticky || crowd || swapped) {
        let keys: Vec<ObjectKey> = waiting.iter().map(|(key, _)| key.clone()).collect();
        let token = token(&keys);
        if untold || blocked_before.as_ref().is_none_or(|before| before.token != token) {
            next.changes.push(Change::PruneBlocked { token: token.clone(), keys: keys.clone() });
        }
        next.admission.catalogue.prune = Some(PruneBlocked { token, keys });
    } else if blocked_before.is_some() {
        next.changes.push(Change::PruneUnblocked);
    }
}

/// How many pools vanished from one grace before `since` until now, those that are being stopped or forgotten counted.
fn together(next: &Admitted, since: Moment, grace: Span) -> usize {
    let from = Moment(since.0.saturating_sub(grace.0));
    let gone = next.admission.catalogue.objects.iter().filter(|(key, object)| match object.standing {
        Standing::Vanished { since } | Standing::Terminating { since } => {
            key.kind == Kind::WorkerPool && since >= from && !next.admission.catalogue.confirmed.contains(key)
        }
        Standing::Good | Standing::Held { .. } | Standing::Conflict => false,
    });
    let pruned = next.admission.pruned.iter().filter(|(key, since)| key.kind == Kind::WorkerPool && **since >= from);
    gone.count() + pruned.count()
}

fn allowance(next: &Admitted) -> usize {
    let kept = next.admission.catalogue.objects.keys().filter(|key| key.kind == Kind::WorkerPool).count();
    let pruned = next.admission.pruned.keys().filter(|key| !next.admission.catalogue.objects.contains_key(key)).count();
    ((kept + pruned) * SHARE_MAX / 100).max(1)
}

/// Names exactly the set that is shown: a set that has grown since needs another.
fn token(keys: &[ObjectKey]) -> String {
    let text: Vec<String> = keys.iter().map(ToString::to_string).collect();
    let mut hex: String = Sha256::digest(text.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect();
    hex.truncate(TOKEN_CHARS);
    hex
}
