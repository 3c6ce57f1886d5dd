//! Keeps what each accepted document said, when a pool is published with another generation or other metadata.
//!
//! The text is read from the file again and kept only if it says what was accepted: an edit may have come since, and then that
//! one's own publishing keeps it.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::sync::Arc;

use super::specs_door::SpecsDoor;
use crate::edge::revisions::Revisions;
use crate::edge::specs::documents;
use crate::model::document::{self, Document};
use crate::model::meta::Kind;
use crate::model::pool::WorkerPool;
use crate::model::status::{Meta, PoolObject};

/// Watches what is published.
#[derive(Debug)]
pub struct Recorder {
    /// Where they are kept.
    pub kept: Revisions,
    seen: BTreeMap<String, Seen>,
}

/// What makes a text worth being looked at again.
type Seen = (u64, BTreeMap<String, String>, BTreeMap<String, String>);

fn seen(meta: &Meta) -> Seen {
    (meta.generation, meta.labels.clone(), meta.annotations.clone())
}

impl Recorder {
    /// Nothing was published yet.
    pub fn new(kept: Revisions) -> Recorder {
        Recorder { kept, seen: BTreeMap::new() }
    }

    /// A pool is published.
    pub(super) fn published(&mut self, pool: &PoolObject, specs: &Arc<SpecsDoor>) {
        let name = &pool.metadata.name;
        let (now, before) = (seen(&pool.metadata), self.seen.get(name));
        if before == Some(&now) {
            return;
        }
        let first = before.is_none();
        self.seen.insert(name.clone(), now);
        let (kept, specs, pool) = (self.kept.clone(), specs.clone(), pool.clone());
        tokio::task::spawn_blocking(move || {
            if let Err(error) = keep(&kept, &specs, &pool, first) {
                tracing::warn!(pool = pool.metadata.name, %error, "what its document said could not be kept");
            }
        });
    }

    /// A pool is gone.
    pub(super) fn gone(&mut self, pool: &str) {
        if self.seen.remove(pool).is_some()
            && let Err(error) = self.kept.forget(pool)
        {
            tracing::warn!(pool, %error, "its revisions could not be removed");
        }
    }
}

fn keep(kept: &Revisions, specs: &SpecsDoor, pool: &PoolObject, first: bool) -> std::io::Result<()> {
    let (name, number) = (&pool.metadata.name, pool.metadata.generation);
    if first {
        kept.end_at(name, number)?;
    }
    // No text, or another one: it is on its way to being published itself.
    match text(specs, pool) {
        Some(text) if says(&text, pool) => kept.put(name, number, &text),
        Some(_) | None => Ok(()),
    }
}

/// Its document, from the file that it was accepted from alone: listing the directory for each of many pools would take long.
fn text(specs: &SpecsDoor, pool: &PoolObject) -> Option<String> {
    let path = specs.dir.join(&pool.status.source.file);
    let whole = std::fs::metadata(&path).ok().filter(Metadata::is_file).and_then(|_| std::fs::read_to_string(&path).ok())?;
    documents::standing(&whole, Kind::WorkerPool, &pool.metadata.name).ok().map(|found| found.text.to_owned())
}

fn says(text: &str, pool: &PoolObject) -> bool {
    let is_it = |said: &WorkerPool| said.metadata.name == pool.metadata.name && said.spec == pool.spec;
    document::parse(text.as_bytes()).iter().flatten().any(|located| match &located.document {
        Document::WorkerPool(said) => is_it(said),
        Document::ResourcePolicy(_) => false,
    })
}
