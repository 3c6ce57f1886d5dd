//! Which document stands for which object: exactly one may. What changed is told, what is broken or ambiguous is held at its
//! last good version.

use std::collections::{BTreeMap, BTreeSet};

use crate::model::catalogue::{Catalogue, Object, ObjectKey, RefusedDocument, Source, Standing};
use crate::model::document::{self, Document, Located, Refused, Violation};
use crate::model::listing::Whole;
use crate::model::meta::{ObjectMeta, quoted};
use crate::model::pool::WorkerPool;
use crate::model::time::Moment;

use super::names;
use super::settle::{FileState, Stands, stands_for};
use super::{Admission, Admitted, Change};

/// A good document that names an object.
struct Claim {
    source: Source,
    document: Document,
    /// Its file is not in the listing, though that is not believed yet.
    missing: bool,
    /// Why its file cannot be read any more.
    unreadable: Option<String>,
}

/// Bring the catalogue in line with what is believed. Gives the objects that have vanished just now.
pub fn apply(next: &mut Admitted, whole: &Whole, now: Moment) -> Vec<ObjectKey> {
    let mut claims = collect(&next.admission.files);
    for claims in claims.values_mut() {
        // A file that was renamed is missing under its old name and there under the new one: that is no conflict.
        if claims.iter().any(|claim| !claim.missing) {
            claims.retain(|claim| !claim.missing);
        }
    }
    let misnamed = misnamed(&next.admission.catalogue, &claims);
    claims.retain(|key, _| !misnamed.contains_key(key));
    tell_refusals(next, misnamed.into_values());
    for (key, claims) in &claims {
        match claims.as_slice() {
            [only] => accept(next, key, only),
            several => conflict(next, key, several),
        }
    }
    next.admission.catalogue.conflicts.retain(|key, _| claims.get(key).is_some_and(|claims| claims.len() > 1));
    if whole.has_documents() {
        next.admission.catalogue.root = Some(whole.root);
    }
    let unclaimed = next.admission.catalogue.objects.keys().filter(|key| !claims.contains_key(key));
    let unclaimed = unclaimed.cloned().collect::<Vec<_>>();
    unclaimed.into_iter().filter(|key| unclaim(next, key, now)).collect()
}

fn collect(files: &BTreeMap<String, FileState>) -> BTreeMap<ObjectKey, Vec<Claim>> {
    let mut claims: BTreeMap<ObjectKey, Vec<Claim>> = BTreeMap::new();
    for (file, state) in files {
        let documents = state.believed.iter().flat_map(|content| &content.documents).filter_map(|parsed| parsed.as_ref().ok());
        for located in documents {
            let source = Source { file: file.clone(), line: located.line };
            let claim = Claim {
                source,
                document: located.document.clone(),
                missing: state.missing.is_some(),
                unreadable: state.unreadable.clone(),
            };
            claims.entry(ObjectKey::of(&located.document)).or_default().push(claim);
        }
    }
    claims
}

/// The documents of pools that are refused for the names of their workers.
fn misnamed(catalogue: &Catalogue, claims: &BTreeMap<ObjectKey, Vec<Claim>>) -> BTreeMap<ObjectKey, RefusedDocument> {
    let only = claims.iter().filter_map(|(key, claims)| Some((key, only_pool(claims)?)));
    let pools: BTreeMap<&ObjectKey, (&WorkerPool, &Source)> = only.collect();
    let coming = pools.iter().map(|(key, (pool, _))| (key.name.as_str(), pool.spec.worker_names.as_slice())).collect();
    let mut refused = BTreeMap::new();
    for (name, broken) in names::refused(catalogue, coming) {
        let key = ObjectKey::pool(&name);
        let Some((pool, source)) = pools.get(&key) else { continue };
        let located = Located { document: Document::WorkerPool(Box::new((*pool).clone())), line: source.line };
        let violations = broken.into_iter().map(|(path, message)| document::violation(&[], &located, &path, message)).collect();
        let document = RefusedDocument { source: (*source).clone(), kind: Some(key.kind), name: Some(name), violations };
        refused.insert(key, document);
    }
    refused
}

fn only_pool(claims: &[Claim]) -> Option<(&WorkerPool, &Source)> {
    let [claim] = claims else { return None };
    match &claim.document {
        Document::WorkerPool(pool) => Some((pool, &claim.source)),
        Document::ResourcePolicy(_) => None,
    }
}

/// The refusals of all files, and these; told when they are new.
fn tell_refusals(next: &mut Admitted, misnamed: impl Iterator<Item = RefusedDocument>) {
    let mut refused = Vec::new();
    for (file, state) in &next.admission.files {
        if let Some(reason) = &state.unreadable {
            refused.push(refusal(file, &Refused { line: 1, violations: vec![unreadable(reason)], ..Refused::default() }));
        }
        let documents = state.believed.iter().flat_map(|content| &content.documents);
        refused.extend(documents.filter_map(|parsed| parsed.as_ref().err()).map(|found| refusal(file, found)));
    }
    refused.extend(misnamed);
    let before = std::mem::replace(&mut next.admission.catalogue.refused, refused);
    let new = next.admission.catalogue.refused.iter().filter(|refusal| !before.contains(refusal));
    next.changes.extend(new.cloned().map(Change::Refused));
}

fn unreadable(reason: &str) -> Violation {
    Violation { line: 1, column: 1, message: reason.to_owned(), ..Violation::default() }
}

fn refusal(file: &str, refused: &Refused) -> RefusedDocument {
    let source = Source { file: file.to_owned(), line: refused.line };
    RefusedDocument { source, kind: refused.kind, name: refused.name.clone(), violations: refused.violations.clone() }
}

/// One document stands for the object.
fn accept(next: &mut Admitted, key: &ObjectKey, claim: &Claim) {
    let Some(object) = next.admission.catalogue.objects.get_mut(key) else {
        let (document, source) = (claim.document.clone(), claim.source.clone());
        let generation = next.admission.catalogue.take_aside(key) + 1;
        let object = Object { document, generation, source, standing: Standing::Good, unread: None };
        next.admission.catalogue.objects.insert(key.clone(), object);
        next.changes.push(Change::Accepted { key: key.clone(), source: claim.source.clone() });
        return;
    };
    let standing = match &claim.unreadable {
        Some(reason) => Standing::Held { violations: vec![unreadable(reason)] },
        None => Standing::Good,
    };
    let recovered = standing == Standing::Good && object.standing != Standing::Good;
    object.standing = standing;
    object.source = claim.source.clone();
    // What it said before is not known: this is another one.
    let unread = object.unread.take().is_some();
    if unread || object.document != claim.document {
        let (key, source) = (key.clone(), claim.source.clone());
        let before = std::mem::replace(&mut object.document, claim.document.clone());
        if !unread && same_spec(&before, &object.document) {
            let what = relabelled(before.metadata(), object.document.metadata());
            next.changes.push(Change::Relabelled { key, what, source });
        } else {
            object.generation += 1;
            next.changes.push(Change::Updated { key, generation: object.generation, source });
        }
    } else if recovered {
        next.changes.push(Change::Restored { key: key.clone() });
    }
}

fn relabelled(old: &ObjectMeta, new: &ObjectMeta) -> Vec<String> {
    let of = |what: &str, old: &BTreeMap<String, String>, new: &BTreeMap<String, String>| {
        let keys: BTreeSet<&String> = old.keys().chain(new.keys()).filter(|key| old.get(*key) != new.get(*key)).collect();
        keys.into_iter().map(|key| format!("{what} {}", quoted(key))).collect::<Vec<_>>()
    };
    let mut what = of("label", &old.labels, &new.labels);
    what.extend(of("annotation", &old.annotations, &new.annotations));
    what
}

fn same_spec(old: &Document, new: &Document) -> bool {
    match (old, new) {
        (Document::WorkerPool(old), Document::WorkerPool(new)) => old.spec == new.spec,
        (Document::ResourcePolicy(old), Document::ResourcePolicy(new)) => old.spec == new.spec,
        (Document::WorkerPool(_), Document::ResourcePolicy(_)) | (Document::ResourcePolicy(_), Document::WorkerPool(_)) => false,
    }
}

/// Several documents name the object: none of them replaces what runs.
fn conflict(next: &mut Admitted, key: &ObjectKey, claims: &[Claim]) {
    let sources: Vec<Source> = claims.iter().map(|claim| claim.source.clone()).collect();
    if let Some(object) = next.admission.catalogue.objects.get_mut(key)
        && !object.is_terminating()
    {
        object.standing = Standing::Conflict;
    }
    if next.admission.catalogue.conflicts.get(key) != Some(&sources) {
        next.admission.catalogue.conflicts.insert(key.clone(), sources.clone());
        next.changes.push(Change::Conflict { key: key.clone(), sources });
    }
}

/// A good document of a file that is there names the object.
pub fn names(files: &BTreeMap<String, FileState>, key: &ObjectKey) -> bool {
    let there = files.values().filter(|state| state.missing.is_none());
    let mut documents = there.flat_map(|state| &state.believed).flat_map(|content| &content.documents);
    documents.any(|parsed| parsed.as_ref().is_ok_and(|located| ObjectKey::of(&located.document) == *key))
}

/// No good document names the object: it is held if something may still be about it, else it has vanished. Says whether it
/// does so now.
fn unclaim(next: &mut Admitted, key: &ObjectKey, now: Moment) -> bool {
    let held = held_by(next, key);
    let Some(object) = next.admission.catalogue.objects.get_mut(key) else { return false };
    match (held, &object.standing) {
        (_, Standing::Terminating { .. }) | (Held::No, Standing::Vanished { .. }) => {}
        (Held::Broken(violations), Standing::Good | Standing::Held { .. } | Standing::Conflict | Standing::Vanished { .. }) => {
            object.standing = Standing::Held { violations };
        }
        // A file that may be about it has not brought it back: what has vanished stays so, and is not stopped meanwhile.
        (Held::Unknown, Standing::Good | Standing::Held { .. } | Standing::Conflict | Standing::Vanished { .. }) => {}
        (Held::No, Standing::Good | Standing::Held { .. } | Standing::Conflict) => {
            object.standing = Standing::Vanished { since: now };
            return true;
        }
    }
    false
}

/// What keeps an object that no good document names.
enum Held {
    /// A broken document, or an unreadable file.
    Broken(Vec<Violation>),
    /// A file whose content is not known yet.
    Unknown,
    /// Nothing.
    No,
}

fn held_by(next: &Admitted, key: &ObjectKey) -> Held {
    let Some(object) = next.admission.catalogue.objects.get(key) else { return Held::No };
    let home = next.admission.files.get(&object.source.file);
    if let Some(reason) = home.and_then(|state| state.unreadable.as_ref()) {
        return Held::Broken(vec![unreadable(reason)]);
    }
    let at_home = home.and_then(|state| state.believed.as_ref());
    let broken_here = at_home.is_some_and(|content| matches!(stands_for(&content.documents, key), Stands::Broken));
    let about = |refused: &&RefusedDocument| {
        let named = refused.kind == Some(key.kind) && refused.name.as_deref() == Some(key.name.as_str());
        let nameless = refused.name.is_none() && refused.kind.is_none_or(|kind| kind == key.kind);
        let here = broken_here && refused.source.file == object.source.file;
        // Of an object that was not kept nobody knows which file was its own.
        let homeless = object.unread.is_some() && object.source.file.is_empty();
        named || (nameless && (here || homeless))
    };
    if let Some(refused) = next.admission.catalogue.refused.iter().find(about) {
        return Held::Broken(refused.violations.clone());
    }
    let unsettled = next.admission.files.values().any(FileState::is_unsettled);
    if unsettled { Held::Unknown } else { Held::No }
}

/// Why a pool of which nothing was kept may have a document all the same; absent: it surely has none.
pub fn doubt(admission: &Admission, pool: &str) -> Option<String> {
    let (catalogue, key) = (&admission.catalogue, ObjectKey::pool(pool));
    if let Some(why) = &catalogue.unreadable {
        return Some(format!("the specs cannot be read: {why}"));
    }
    if catalogue.root.is_none() {
        return Some("no good document was ever seen in the specs directory".into());
    }
    if let Some(places) = catalogue.conflicts.get(&key) {
        let places: Vec<String> = places.iter().map(|place| format!("{}:{}", place.file, place.line)).collect();
        return Some(format!("more than one document names it: {}", places.join(", ")));
    }
    let about = |refused: &&RefusedDocument| {
        refused.kind.is_none_or(|kind| kind == key.kind) && refused.name.as_ref().is_none_or(|name| *name == key.name)
    };
    if let Some(refused) = catalogue.refused.iter().find(about) {
        let why: Vec<String> = refused.violations.iter().map(|violation| violation.at(&refused.source.file)).collect();
        return Some(format!("a document that is refused may be about it: {}", why.join("; ")));
    }
    let unsettled = admission.files.iter().find(|(_, state)| state.is_unsettled());
    unsettled.map(|(file, _)| format!("{file} is being written and may be about it"))
}
