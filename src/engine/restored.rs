//! What a daemon begins with: the specs that were accepted before it, as far as they were kept and read here.
//!
//! A newer weir may have kept fields that this one does not know. What does not read is held, and never taken for deleted.

use crate::decide::admit::Admission;
use crate::model::batch::Stored;
use crate::model::catalogue::{Catalogue, ObjectKey, Source};
use crate::model::time::Moment;

/// The admission to begin with. A pool of which a row was kept and no spec is held: it was accepted once, and what became of
/// that is not known.
pub(super) fn restored(stored: &Stored, now: Moment) -> Admission {
    let kept =
        stored.catalogue.as_deref().map(|text| serde_json::from_str(text).and_then(|kept| Catalogue::from_json(kept, now)));
    let mut catalogue = kept.unwrap_or_else(|| Ok(Catalogue::default())).unwrap_or_else(|error| {
        tracing::error!(%error, "the accepted specs that were kept do not read; every pool is held until its document is read");
        Catalogue::default()
    });
    for (name, pool) in &stored.pools {
        if !catalogue.objects.contains_key(&ObjectKey::pool(name)) {
            let from = &pool.status.source;
            let source = Source { file: from.file.clone(), line: u32::try_from(from.line).unwrap_or(0) };
            catalogue.hold(name, (pool.status.observed_generation, source), now);
        }
    }
    Admission::restored(catalogue)
}
