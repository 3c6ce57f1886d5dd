//! Edits of the specs directory: what `ctl apply`, `scale`, `edit` and `delete` ask for.
//!
//! Never a second source of truth: the file is changed, and the change takes the road of any editor's. An object's document
//! stays in the file that it is in; a new one gets a file of its own name. The turn for that is waited for without a thread, and
//! only as long as somebody waits for the answer.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::oneshot;

use super::handle::{Denied, DocumentText, Edit, Edited};
use super::specs_door::{self, Held, SpecsDoor};
use crate::edge::specs::{documents, write};
use crate::model::catalogue::ObjectKey;
use crate::model::document::{self, Document};
use crate::model::listing::Listing;
use crate::model::meta::Kind;

/// Where an answer goes.
type Reply<T> = oneshot::Sender<Result<T, Denied>>;

/// Make the edit and answer, or with `dry_run` only say what would come of it.
///
/// `removed` is told of a document that was taken away, before anybody can list the directory without it.
pub(super) async fn make(
    specs: Arc<SpecsDoor>,
    (edit, dry_run): (Edit, bool),
    reply: Reply<Vec<Edited>>,
    removed: impl Fn(ObjectKey) + Send + 'static,
) {
    answer(specs, reply, move |specs, listing| apply(specs, listing, (&edit, dry_run), removed)).await;
}

/// Answer with a document as it stands in its file.
pub(super) async fn show(specs: Arc<SpecsDoor>, (kind, name): (Kind, String), reply: Reply<DocumentText>) {
    answer(specs, reply, move |specs, listing| text(specs, listing, kind, &name)).await;
}

async fn answer<T: Send + 'static>(
    specs: Arc<SpecsDoor>,
    mut reply: Reply<T>,
    find: impl FnOnce(&SpecsDoor, &Listing) -> Result<T, Denied> + Send + 'static,
) {
    let mut held: Held = tokio::select! {
        held = specs.hold() => held,
        // Whoever asked was told that there is no answer, or has hung up: nothing may be changed behind that.
        () = reply.closed() => return,
    };
    let answered = tokio::task::spawn_blocking(move || {
        let listing = specs_door::listing(&mut held);
        let found = find(&specs, &listing);
        drop(held);
        // Whoever asked may have hung up meanwhile.
        let _heard = reply.send(found);
    });
    let _ended = answered.await;
}

fn apply(
    specs: &SpecsDoor,
    listing: &Listing,
    (edit, dry_run): (&Edit, bool),
    removed: impl Fn(ObjectKey),
) -> Result<Vec<Edited>, Denied> {
    match edit {
        Edit::Apply { text } => apply_all(specs, listing, text, dry_run),
        Edit::Scale { pool, replicas } => {
            let set = |text: &str| write::set_replicas(text, pool, *replicas).map(Some);
            change(specs, listing, (Kind::WorkerPool, pool), ("scaled", dry_run), set)
        }
        Edit::Replace { kind, name, text, version } => replace(specs, listing, (*kind, name), (text, version), dry_run),
        Edit::Delete { kind, name, gone } => {
            let without = |text: &str| documents::remove_document(text, kind.name(), name);
            let edited = match home(specs, listing, *kind, name)? {
                // That may be held for a mistake: now it is said that it is none.
                None if *gone => vec![Edited { kind: *kind, name: name.clone(), verb: "deleted" }],
                // One that cannot be read is there all the same, and is refused.
                Some(_) | None => change(specs, listing, (*kind, name), ("deleted", dry_run), without)?,
            };
            if !dry_run {
                removed(ObjectKey { kind: *kind, name: name.clone() });
            }
            Ok(edited)
        }
    }
}

fn change(
    specs: &SpecsDoor,
    listing: &Listing,
    (kind, name): (Kind, &str),
    (verb, dry_run): (&'static str, bool),
    edit: impl FnOnce(&str) -> Result<Option<String>, String>,
) -> Result<Vec<Edited>, Denied> {
    let path = home(specs, listing, kind, name)?.ok_or_else(|| not_found(specs, kind, name))?;
    let before = read(&path)?;
    let after = edit(&before).map_err(|why| refused(&path, why))?;
    let verb = if after.as_deref() == Some(&before) { "unchanged" } else { verb };
    if !dry_run {
        put(&path, &before, after.as_deref())?;
    }
    Ok(vec![Edited { kind, name: name.into(), verb }])
}

fn text(specs: &SpecsDoor, listing: &Listing, kind: Kind, name: &str) -> Result<DocumentText, Denied> {
    let path = home(specs, listing, kind, name)?.ok_or_else(|| not_found(specs, kind, name))?;
    let whole = read(&path)?;
    let found = documents::standing(&whole, kind, name).map_err(|why| refused(&path, why))?;
    let file = path.strip_prefix(&specs.dir).unwrap_or(&path).display().to_string();
    Ok(DocumentText { file, line: found.line, text: found.text.to_owned(), version: found.version() })
}

fn replace(
    specs: &SpecsDoor,
    listing: &Listing,
    (kind, name): (Kind, &str),
    (text, version): (&str, &str),
    dry_run: bool,
) -> Result<Vec<Edited>, Denied> {
    let moved = |what: String| Denied::Conflict(format!("{what} meanwhile: begin anew from what stands there now"));
    let path = home(specs, listing, kind, name)?;
    let path = path.ok_or_else(|| moved(format!("the document of {kind} \"{name}\" was removed")))?;
    let before = read(&path)?;
    let found = documents::standing(&before, kind, name).map_err(|why| refused(&path, why))?;
    if found.version() != version {
        return Err(moved(format!("{}:{} was changed", path.display(), found.line)));
    }
    let after = documents::replace_document(&before, kind, name, text).map_err(Denied::Refused)?;
    if !dry_run {
        put(&path, &before, Some(&after))?;
    }
    let verb = if after == before { "unchanged" } else { "edited" };
    Ok(vec![Edited { kind, name: name.into(), verb }])
}

/// What stands in the files that are to be changed, and what is to stand there.
type Texts = BTreeMap<PathBuf, (String, String)>;

fn apply_all(specs: &SpecsDoor, listing: &Listing, text: &str, dry_run: bool) -> Result<Vec<Edited>, Denied> {
    let wanted = document::pieces(text).map_err(Denied::Invalid)?;
    if wanted.is_empty() {
        return Err(Denied::Refused("there is no document in it".into()));
    }
    // Of two documents of one name the last would win without a word.
    let mut named = BTreeSet::new();
    let key = |piece: &document::Piece<'_>| ObjectKey { kind: piece.document.kind(), name: piece.document.name().to_owned() };
    if let Some(key) = wanted.iter().map(key).find(|key| !named.insert(key.clone())) {
        return Err(Denied::Refused(format!("{key} is named twice, so nothing was done: say it once")));
    }
    // All are read and placed before any is written: a refusal leaves everything as it was.
    let (mut texts, mut edited) = (Texts::new(), Vec::new());
    for document::Piece { document, text } in wanted {
        edited.push(placed(specs, listing, (&document, text), &mut texts)?);
    }
    for (path, (before, after)) in &texts {
        if !dry_run && before != after {
            put(path, before, Some(after))?;
        }
    }
    Ok(edited)
}

fn placed(
    specs: &SpecsDoor,
    listing: &Listing,
    (document, text): (&Document, &str),
    texts: &mut Texts,
) -> Result<Edited, Denied> {
    let name = document.name().to_owned();
    let found = home(specs, listing, document.kind(), &name)?;
    let path = found.clone().unwrap_or_else(|| specs.dir.join(format!("{name}.yaml")));
    if !texts.contains_key(&path) {
        let now = if path.exists() { read(&path)? } else { String::new() };
        texts.insert(path.clone(), (now.clone(), now));
    }
    let Some((_, now)) = texts.get_mut(&path) else { return Err(Denied::Internal("a text was lost".into())) };
    let same = document::parse(now.as_bytes()).iter().flatten().any(|located| located.document == *document);
    let after = documents::put_document(now, text).map_err(|why| refused(&path, why))?;
    // What says the same and brings no comments must not cost those that are there.
    let unchanged = after == *now || (same && !document::tree::has_comments(text));
    if !unchanged {
        *now = after;
    }
    let verb = match (found.is_some(), unchanged) {
        (_, true) => "unchanged",
        (true, false) => "configured",
        (false, false) => "created",
    };
    Ok(Edited { kind: document.kind(), name, verb })
}

fn refused(path: &Path, why: String) -> Denied {
    Denied::Refused(format!("{}: {why}", path.display()))
}

fn not_found(specs: &SpecsDoor, kind: Kind, name: &str) -> Denied {
    let kind = match kind {
        Kind::WorkerPool => "workerpools",
        Kind::ResourcePolicy => "resourcepolicies",
    };
    Denied::NotFound { kind, name: name.into(), hint: format!(" in {}", specs.dir.display()) }
}

/// The file that has the object's document, good or not.
fn home(specs: &SpecsDoor, listing: &Listing, kind: Kind, name: &str) -> Result<Option<PathBuf>, Denied> {
    let Listing::Files(whole) = listing else {
        return Err(Denied::Internal(format!("{} cannot be read", specs.dir.display())));
    };
    let names_it = |parsed: &document::Parsed| match parsed {
        Ok(located) => located.document.kind() == kind && located.document.name() == name,
        Err(refused) => refused.kind == Some(kind) && refused.name.as_deref() == Some(name),
    };
    let mut found =
        whole.files.iter().filter(|(_, file)| file.content.as_ref().is_ok_and(|content| content.documents.iter().any(names_it)));
    match (found.next(), found.next()) {
        (Some((first, _)), Some((second, _))) => {
            Err(Denied::Conflict(format!("both {first} and {second} name it: remove one first")))
        }
        (Some((path, _)), None) => Ok(Some(specs.dir.join(path))),
        (None, _) => Ok(None),
    }
}

fn read(path: &Path) -> Result<String, Denied> {
    let said = |e: std::io::Error| Denied::Internal(format!("{}: {e}", path.display()));
    // A FIFO would be waited for without end.
    if !std::fs::metadata(path).map_err(said)?.is_file() {
        return Err(refused(path, "is no regular file".into()));
    }
    std::fs::read_to_string(path).map_err(said)
}

fn put(path: &Path, before: &str, after: Option<&str>) -> Result<(), Denied> {
    let done = match after {
        Some(after) if after == before => Ok(()),
        Some(after) => write::replace(path, after),
        None => std::fs::remove_file(path),
    };
    done.map_err(|e| Denied::Internal(format!("{}: {e}", path.display())))
}
