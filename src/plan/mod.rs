//! `weir plan`: what would change if these files were the specs.
//!
//! The files go through the daemon's own admission, twice, so that what is gone is gone for good; what comes out is compared
//! with what was accepted ([`compare`]). Nothing is written and nobody is asked: the state is read from its file.

mod compare;
mod policies;
mod print;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use self::compare::Before;
use crate::decide::admit::{self, Admission};
use crate::edge::host;
use crate::edge::specs::read_one;
use crate::edge::store::read::Reader;
use crate::engine::catalogue;
use crate::model::catalogue::{Catalogue, Object, ObjectKey, RefusedDocument, Source, Standing};
use crate::model::document::Parsed;
use crate::model::listing::{Arrival, Content, File, Listing, Stamp, Whole};
use crate::model::time::{Moment, Now, Span};
use crate::output;
use crate::validate;

/// The daemon's default; how long something is gone before it is stopped.
const PRUNE_GRACE: Span = Span::secs(10);
/// When the files are looked at first. Any moment does.
const BEGIN: Moment = Moment(1 << 40);

/// With what to compare.
#[derive(Clone, Debug)]
pub enum State {
    /// This state directory, which must be one.
    Told(PathBuf),
    /// This one, if there is one: else everything is new.
    Likely(PathBuf),
}

/// What would change.
struct Planned {
    pools: Vec<compare::PoolChange>,
    policies: Vec<policies::PolicyChange>,
    refused: Vec<RefusedDocument>,
    conflicts: Vec<(ObjectKey, Vec<Source>)>,
    /// What a refused document is, or may be, about: it keeps its last good version.
    held: BTreeSet<ObjectKey>,
    notes: Vec<String>,
}

/// Compare and print. 0: told; 1: a document is refused; 2: something cannot be read.
pub fn run(paths: &[PathBuf], state: &State, json: bool) -> ExitCode {
    match plan(paths, state) {
        Ok(planned) => {
            let text = if json { print::json(&planned) } else { print::text(&planned) };
            let good = planned.refused.is_empty() && planned.conflicts.is_empty();
            output::print(&text, if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Err(why) => {
            output::complain(&why);
            ExitCode::from(2)
        }
    }
}

fn plan(paths: &[PathBuf], state: &State) -> Result<Planned, String> {
    let mut notes = Vec::new();
    let mut before = before(state, &mut notes)?;
    let mut whole = Whole { root: before.catalogue.root.unwrap_or_default(), ..Whole::default() };
    for path in paths {
        read(path, &mut whole)?;
    }
    let mut held = BTreeSet::new();
    if !paths.iter().any(|path| path.is_dir()) {
        let all = before.catalogue.objects.len();
        before.other_pools = catalogue::pools(&before.catalogue).into_keys().collect();
        before.other_policies = catalogue::policies(&before.catalogue);
        held = kept_by_files(&mut before.catalogue, &whole);
        let named = &before.catalogue.objects;
        before.other_policies.retain(|name, _| !named.contains_key(&ObjectKey::policy(name)));
        if before.catalogue.objects.len() + held.len() < all {
            notes.push("only files were given: what they do not name is left as it is".into());
        }
    }
    let catalogue = admitted(&before.catalogue, whole);
    let (pools, policies) = (compare::pools(&before, &catalogue), policies::policies(&before, &catalogue));
    let broken = |object: &Object| matches!(object.standing, Standing::Held { .. });
    held.extend(catalogue.objects.iter().filter(|(_, object)| broken(object)).map(|(key, _)| key.clone()));
    let conflicts = catalogue.conflicts.into_iter().collect();
    Ok(Planned { pools, policies, refused: catalogue.refused, conflicts, held, notes })
}

/// Leave in the catalogue only what a good document of these files names. Whatever else was accepted from a file of this
/// name, or is named by a broken document, is held as admission would hold it: its keys.
fn kept_by_files(catalogue: &mut Catalogue, whole: &Whole) -> BTreeSet<ObjectKey> {
    let named: BTreeSet<ObjectKey> =
        documents(whole).filter_map(|(_, parsed)| parsed.as_ref().ok()).map(|located| ObjectKey::of(&located.document)).collect();
    let could_be = |key: &ObjectKey, object: &Object| {
        let mut refused = documents(whole).filter_map(|(path, parsed)| Some((path, parsed.as_ref().err()?)));
        refused.any(|(path, refused)| {
            let path = std::path::absolute(path).unwrap_or_else(|_| path.into());
            let home = refused.name.is_none() && path.ends_with(&object.source.file);
            let name = refused.name.as_deref() == Some(key.name.as_str());
            refused.kind.is_none_or(|kind| kind == key.kind) && (name || home)
        })
    };
    let others = catalogue.objects.iter().filter(|(key, _)| !named.contains(key));
    let held = others.filter(|(key, object)| could_be(key, object)).map(|(key, _)| key.clone()).collect();
    catalogue.objects.retain(|key, _| named.contains(key));
    held
}

/// What is accepted and runs now.
fn before(state: &State, notes: &mut Vec<String>) -> Result<Before, String> {
    let path = match state {
        State::Told(dir) => dir.join("weir.db"),
        State::Likely(dir) if dir.join("weir.db").is_file() => dir.join("weir.db"),
        State::Likely(_) => {
            notes.push("there is no state to compare with, so everything is new; --state names one".into());
            return Ok(Before::default());
        }
    };
    let reader = Reader::open(&path)?;
    let catalogue = match reader.catalogue()? {
        Some(text) => {
            let read = serde_json::from_str(&text).and_then(|value| Catalogue::from_json(value, BEGIN));
            read.map_err(|e| format!("{}: the accepted specs do not read: {e}", path.display()))?
        }
        None => Catalogue::default(),
    };
    for (key, object) in &catalogue.objects {
        if let Some(unread) = &object.unread {
            notes.push(format!("what is accepted of {key} does not read here, so it is compared in part: {}", unread.why));
        }
    }
    let (pools, policies) = (reader.pools()?.into_iter().collect(), reader.policies()?.into_iter().collect());
    let capacity = host::capacity();
    Ok(Before { catalogue, pools, slots: reader.slots()?, policies, capacity, ..Before::default() })
}

fn read(path: &Path, whole: &mut Whole) -> Result<(), String> {
    let mut files = Vec::new();
    validate::collect(path, &mut files).map_err(|e| format!("{}: {e}", path.display()))?;
    for file in files {
        let below = file.strip_prefix(path).ok().filter(|rest| !rest.as_os_str().is_empty());
        let content = match read_one(&file, below.map(|_| path)) {
            Ok((_, documents)) => Ok(Arc::new(Content { hash: String::new(), documents })),
            Err(why) if below.is_none() => return Err(format!("{}: {why}", file.display())),
            Err(why) => Err(why),
        };
        let name = below.unwrap_or(&file);
        // Whole by nature: nobody is writing it while it is planned on.
        let file = File { stamp: Stamp::default(), arrival: Arrival::RenamedIn, content };
        whole.files.insert(name.display().to_string(), file);
    }
    Ok(())
}

/// Every document, and the path of its file.
fn documents(whole: &Whole) -> impl Iterator<Item = (&str, &Parsed)> {
    let contents = whole.files.iter().filter_map(|(path, file)| Some((path.as_str(), file.content.as_ref().ok()?)));
    contents.flat_map(|(path, content)| content.documents.iter().map(move |parsed| (path, parsed)))
}

/// The catalogue when these files have been the specs for a while.
fn admitted(catalogue: &Catalogue, whole: Whole) -> Catalogue {
    let settings = admit::Settings { prune_grace: PRUNE_GRACE };
    let listing = Listing::Files(whole);
    let first = Now { mono: BEGIN, ..Now::default() };
    let later = Now { mono: BEGIN.after(Span(PRUNE_GRACE.0 * 2)), ..Now::default() };
    let seen = admit::admit(&Admission::restored(catalogue.clone()), &listing, first, &settings);
    admit::admit(&seen.admission, &listing, later, &settings).admission.catalogue
}

#[cfg(test)]
mod tests;
