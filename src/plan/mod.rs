//! `weir plan`: what would change if these files were the specs.
//!
//! The files go through the daemon's own admission, twice, so that what is gone is gone for good; what comes out is compared
//! with what was accepted ([`compare`]). Nothing is written and nobody is asked: the state is read from its file.

mod compare;
mod print;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use self::compare::Before;
use crate::decide::admit::{self, Admission};
use crate::edge::store::read::Reader;
use crate::model::catalogue::{Catalogue, ObjectKey, RefusedDocument, Source};
use crate::model::document::{self, Parsed};
use crate::model::listing::{Arrival, Content, File, Listing, Stamp, Whole};
use crate::model::time::{Moment, Now, Span};
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
    refused: Vec<RefusedDocument>,
    conflicts: Vec<(ObjectKey, Vec<Source>)>,
    notes: Vec<String>,
}

/// Compare and print. 0: told; 1: a document is refused; 2: something cannot be read.
pub fn run(paths: &[PathBuf], state: &State, json: bool) -> ExitCode {
    match plan(paths, state) {
        Ok(planned) => {
            let text = if json { print::json(&planned) } else { print::text(&planned) };
            print!("{text}");
            let good = planned.refused.is_empty() && planned.conflicts.is_empty();
            if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(why) => {
            eprintln!("weir: {why}");
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
    if !paths.iter().any(|path| path.is_dir()) {
        let named = |key: &ObjectKey| documents(&whole).any(|parsed| names(parsed, key));
        let all = before.catalogue.objects.len();
        before.catalogue.objects.retain(|key, _| named(key));
        if before.catalogue.objects.len() < all {
            notes.push("only files were given: what they do not name is left as it is".into());
        }
    }
    let catalogue = admitted(&before.catalogue, whole);
    let pools = compare::pools(&before, &catalogue);
    let conflicts = catalogue.conflicts.into_iter().collect();
    Ok(Planned { pools, refused: catalogue.refused, conflicts, notes })
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
    Ok(Before { catalogue, pools: reader.pools()?.into_iter().collect(), slots: reader.slots()? })
}

fn read(path: &Path, whole: &mut Whole) -> Result<(), String> {
    let mut files = Vec::new();
    validate::collect(path, 0, &mut files).map_err(|e| format!("{}: {e}", path.display()))?;
    for file in files {
        let bytes = std::fs::read(&file).map_err(|e| format!("{}: {e}", file.display()))?;
        let name = file.strip_prefix(path).ok().filter(|rest| !rest.as_os_str().is_empty()).unwrap_or(&file);
        let content = Content { hash: String::new(), documents: document::parse(&bytes) };
        // Whole by nature: nobody is writing it while it is planned on.
        let file = File { stamp: Stamp::default(), arrival: Arrival::RenamedIn, content: Ok(Arc::new(content)) };
        whole.files.insert(name.display().to_string(), file);
    }
    Ok(())
}

fn documents(whole: &Whole) -> impl Iterator<Item = &Parsed> {
    whole.files.values().filter_map(|file| file.content.as_ref().ok()).flat_map(|content| &content.documents)
}

/// The document is, or may be, about this object.
fn names(parsed: &Parsed, key: &ObjectKey) -> bool {
    match parsed {
        Ok(located) => ObjectKey::of(&located.document) == *key,
        Err(refused) => {
            refused.kind.is_none_or(|kind| kind == key.kind) && refused.name.as_ref().is_none_or(|name| *name == key.name)
        }
    }
}

/// The catalogue when these files have been the specs for a while.
fn admitted(catalogue: &Catalogue, whole: Whole) -> Catalogue {
    let settings = admit::Settings { prune_grace: PRUNE_GRACE, confirm: None };
    let listing = Listing::Files(whole);
    let first = Now { mono: BEGIN, ..Now::default() };
    let later = Now { mono: BEGIN.after(Span(PRUNE_GRACE.0 * 2)), ..Now::default() };
    let seen = admit::admit(&Admission::restored(catalogue.clone()), &listing, first, &settings);
    admit::admit(&seen.admission, &listing, later, &settings).admission.catalogue
}

#[cfg(test)]
mod tests;
