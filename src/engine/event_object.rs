//! How something that happened becomes an object that is shown and kept.
//!
//! The caller names it: names must not come twice, and what makes them differ is the engine's to know.

use std::collections::BTreeMap;

use crate::model::plan::Happening;
use crate::model::status::{API_VERSION, EventObject, Kind, Meta};
use crate::model::time::Now;

pub(super) fn event_object(name: String, regarding: String, happening: &Happening, now: Now) -> EventObject {
    let metadata =
        Meta { uid: name.clone(), name, creation_timestamp: now.wall, annotations: BTreeMap::new(), ..Meta::default() };
    EventObject {
        api_version: API_VERSION.into(),
        kind: Kind::Event.name().into(),
        metadata,
        severity: happening.severity,
        reason: happening.reason.into(),
        regarding,
        note: happening.note.clone(),
        event_time: now.wall,
    }
}
