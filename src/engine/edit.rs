//! Edits of the specs directory: what `ctl apply`, `scale`, `edit` and `delete` ask for.
//!
//! Never a second source of truth: the file is changed, and the change takes the road of any editor's. An object's document
//! stays in the file that it is in; a new one gets a file of its own name.

use std::path::{Path, PathBuf};

use super::handle::{Denied, Edit, Edited};
use super::specs_door::SpecsDoor;
use crate::edge::specs::write;
use crate::model::document::{self, Document};
use crate::model::listing::Listing;
use crate::model::meta::Kind;

/// Make the edit, or with `dry_run` only say what would come of it.
pub(super) fn apply(specs: &SpecsDoor, edit: &Edit, dry_run: bool, read_only: bool) -> Result<Vec<Edited>, Denied> {
    if read_only && !dry_run {
        return Err(Denied::ReadOnly);
    }
    specs.locked(|listing| match edit {
        Edit::Apply { text } => apply_all(specs, listing, text, dry_run),
        Edit::Scale { pool, replicas } => {
            change(specs, listing, pool, ("scaled", dry_run), |text| write::set_replicas(text, pool, *replicas).map(Some))
        }
        Edit::Annotate { pool, key, value } => change(specs, listing, pool, ("annotated", dry_run), |text| {
            write::set_annotation(text, pool, key, value.as_deref()).map(Some)
        }),
        Edit::Delete { pool } => {
            change(specs, listing, pool, ("deleted", dry_run), |text| write::remove_document(text, Kind::WorkerPool.name(), pool))
        }
    })
}

fn change(
    specs: &SpecsDoor,
    listing: &Listing,
    pool: &str,
    (verb, dry_run): (&'static str, bool),
    edit: impl FnOnce(&str) -> Result<Option<String>, String>,
) -> Result<Vec<Edited>, Denied> {
    let path = home(specs, listing, Kind::WorkerPool, pool)?.ok_or_else(|| Denied::NotFound {
        kind: "workerpools",
        name: pool.into(),
        hint: format!(" in {}", specs.dir.display()),
    })?;
    let before = read(&path)?;
    let after = edit(&before).map_err(|why| Denied::Refused(format!("{}: {why}", path.display())))?;
    let verb = if after.as_deref() == Some(&before) { "unchanged" } else { verb };
    if !dry_run {
        put(&path, &before, after.as_deref())?;
    }
    Ok(vec![Edited { name: pool.into(), verb }])
}

fn apply_all(specs: &SpecsDoor, listing: &Listing, text: &str, dry_run: bool) -> Result<Vec<Edited>, Denied> {
    let parts = document::split::documents(text);
    let mut wanted = Vec::new();
    for part in parts {
        match document::parse(part.text.as_bytes()).pop() {
            Some(Ok(located)) => wanted.push((located.document, part.text)),
            Some(Err(refused)) => return Err(Denied::Invalid(shifted(refused.violations, part.line))),
            None => {}
        }
    }
    if wanted.is_empty() {
        return Err(Denied::Refused("there is no document in it".into()));
    }
    // All are read and placed before any is written: a refusal leaves everything as it was.
    let mut edits = Vec::new();
    for (document, text) in wanted {
        edits.push(placed(specs, listing, &document, text)?);
    }
    for (path, before, after, _) in &edits {
        if !dry_run && before != after {
            put(path, before, Some(after))?;
        }
    }
    Ok(edits.into_iter().map(|(.., edited)| edited).collect())
}

fn placed(
    specs: &SpecsDoor,
    listing: &Listing,
    document: &Document,
    text: &str,
) -> Result<(PathBuf, String, String, Edited), Denied> {
    let (kind, name) = (document.kind(), document.name().to_owned());
    let found = home(specs, listing, kind, &name)?;
    let path = found.clone().unwrap_or_else(|| specs.dir.join(format!("{name}.yaml")));
    let before = if path.exists() { read(&path)? } else { String::new() };
    let same = document::parse(before.as_bytes()).iter().flatten().any(|located| located.document == *document);
    let body = text.trim_start_matches(|c| c != '\n' && text.starts_with("---")).trim_start_matches('\n');
    let after = if same {
        before.clone()
    } else {
        let body = if text.starts_with("---") { body } else { text };
        write::put_document(&before, kind.name(), &name, body)
            .map_err(|why| Denied::Refused(format!("{}: {why}", path.display())))?
    };
    let verb = match (found.is_some(), same) {
        (_, true) => "unchanged",
        (true, false) => "configured",
        (false, false) => "created",
    };
    Ok((path, before, after, Edited { name, verb }))
}

fn shifted(mut violations: Vec<document::Violation>, line: u32) -> Vec<document::Violation> {
    violations.iter_mut().for_each(|violation| violation.line += line.saturating_sub(1));
    violations
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
    std::fs::read_to_string(path).map_err(|e| Denied::Internal(format!("{}: {e}", path.display())))
}

fn put(path: &Path, before: &str, after: Option<&str>) -> Result<(), Denied> {
    let done = match after {
        Some(after) if after == before => Ok(()),
        Some(after) => write::replace(path, after),
        None => std::fs::remove_file(path),
    };
    done.map_err(|e| Denied::Internal(format!("{}: {e}", path.display())))
}
