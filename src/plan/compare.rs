//! Two catalogues compared: which pools differ, in which fields, and what becomes of their workers.
//!
//! Which workers stay, go and come is asked of `decide`, with the old spec taken as fulfilled: only what the files change is
//! told, not what is under way anyway.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use crate::decide::workers;
use crate::engine::catalogue;
use crate::model::batch::StoredPool;
use crate::model::catalogue::{Catalogue, ObjectKey};
use crate::model::plan::{Ending, PoolFacts, Record, Slot};
use crate::model::policy::Amounts;
use crate::model::policy_plan::{PolicyFacts, StoredPolicy};
use crate::model::pool::{PoolSpec, UpdateType};
use crate::model::time::{Moment, Now};
use crate::model::worker::{Run, Seen, SlotId, SlotState};

/// What is accepted and runs.
#[derive(Default)]
pub struct Before {
    /// What is accepted.
    pub catalogue: Catalogue,
    /// What is kept of the pools.
    pub pools: BTreeMap<String, StoredPool>,
    /// Their slots.
    pub slots: Vec<(SlotId, Record)>,
    /// What is kept of the policies.
    pub policies: BTreeMap<String, StoredPolicy>,
    /// Pools that there are and that are not looked at.
    pub other_pools: BTreeSet<String>,
    /// Policies that there are and that are not looked at.
    pub other_policies: BTreeMap<String, PolicyFacts>,
    /// What the machine has in all.
    pub capacity: Amounts,
}

/// What becomes of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// It is new.
    Added,
    /// Its document differs.
    Changed,
    /// It is gone, and its workers go.
    Removed,
    /// It is gone with so many others that nobody is stopped until that is confirmed.
    Blocked,
}

/// A field that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its path.
    pub path: String,
    /// What it was; none: not there.
    pub before: Option<Value>,
    /// What it is.
    pub after: Option<Value>,
}

/// A pool that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolChange {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub kind: Kind,
    /// Where its document is; where it was, if it is gone.
    pub file: String,
    /// The line.
    pub line: usize,
    /// What differs in the document.
    pub fields: Vec<Field>,
    /// Workers that are started.
    pub started: Vec<String>,
    /// Workers that are stopped.
    pub stopped: Vec<String>,
    /// Workers that are replaced.
    pub replaced: Vec<String>,
    /// Why there are more or fewer.
    pub size: String,
    /// How they are replaced.
    pub how: String,
}

/// The pools that differ, by name.
pub fn pools(before: &Before, after: &Catalogue) -> Vec<PoolChange> {
    let (old, new) = (catalogue::pools(&before.catalogue), catalogue::pools(after));
    let gone = |facts: &&PoolFacts| facts.ending == Some(Ending::Removed);
    let mut changes = Vec::new();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let key = ObjectKey::pool(name);
        let was = old.get(name).filter(|facts| !gone(facts));
        let is = new.get(name).filter(|facts| !gone(facts));
        changes.extend(match (was, is) {
            (Some(was), Some(is)) if is.prune_blocked.is_some() => Some(blank(was, Kind::Blocked)),
            (Some(was), Some(is)) => changed(before, was, is, fields(&before.catalogue, after, &key)),
            (Some(was), None) => Some(removed(before, was)),
            (None, Some(is)) => Some(added(is)),
            (None, None) => None,
        });
    }
    changes
}

fn blank(facts: &PoolFacts, kind: Kind) -> PoolChange {
    PoolChange {
        name: facts.name.clone(),
        kind,
        file: facts.source.file.clone(),
        line: facts.source.line,
        fields: Vec::new(),
        started: Vec::new(),
        stopped: Vec::new(),
        replaced: Vec::new(),
        size: String::new(),
        how: String::new(),
    }
}

fn added(facts: &PoolFacts) -> PoolChange {
    let (wanted, size) = first_size(&facts.spec);
    let started = workers::assign(facts, &BTreeMap::new(), wanted, NOW).fill;
    PoolChange { started, size, ..blank(facts, Kind::Added) }
}

fn removed(before: &Before, facts: &PoolFacts) -> PoolChange {
    let size = "the pool is not in the files".into();
    PoolChange { stopped: settled(before, facts).into_keys().collect(), size, ..blank(facts, Kind::Removed) }
}

fn changed(before: &Before, was: &PoolFacts, is: &PoolFacts, fields: Vec<Field>) -> Option<PoolChange> {
    if fields.is_empty() && was.template == is.template {
        return None;
    }
    let slots = settled(before, was);
    let (wanted, size) = new_size(&is.spec, slots.len());
    let names = workers::assign(is, &slots, wanted, NOW);
    let replaced: Vec<String> =
        names.keep.iter().filter(|name| slots.get(*name).is_some_and(|slot| workers::is_outdated(is, slot))).cloned().collect();
    // A surge is there only while workers are replaced.
    let room = (wanted as usize).saturating_sub(names.keep.len());
    let started: Vec<String> = names.fill.into_iter().take(room).collect();
    Some(PoolChange {
        fields,
        how: if replaced.is_empty() { String::new() } else { strategy(&is.spec) },
        size: if started.is_empty() && names.surplus.is_empty() { String::new() } else { size },
        started,
        stopped: names.surplus,
        replaced,
        ..blank(is, Kind::Changed)
    })
}

/// Any moment long after all of them became idle.
const NOW: Now = Now { mono: Moment(u64::MAX / 2), wall: crate::model::time::Wall(0) };

/// The pool's slots with its old spec fulfilled: those that live, filled up to what it wanted.
fn settled(before: &Before, facts: &PoolFacts) -> BTreeMap<String, Slot> {
    let alive = before.slots.iter().filter(|(id, record)| id.pool == facts.name && record.incarnation > record.recorded);
    let mut slots: BTreeMap<String, Slot> = alive.map(|(id, record)| (id.worker.clone(), running(record.clone()))).collect();
    let known = before.pools.get(&facts.name).map(|pool| &pool.status).filter(|status| status.observed_generation > 0);
    let wanted = known.map_or(first_size(&facts.spec).0, |status| status.desired_replicas);
    // A daemon that ended with its workers wanted none at its end.
    let wanted = wanted.max(facts.spec.fixed_replicas().unwrap_or_else(|| first_size(&facts.spec).0));
    let names = workers::assign(facts, &slots, wanted, NOW);
    for name in names.fill {
        slots.insert(name, running(Record { incarnation: 1, template: facts.template.clone(), ..Record::default() }));
    }
    for name in names.surplus {
        slots.remove(&name);
    }
    slots
}

fn running(record: Record) -> Slot {
    let run = Run { incarnation: record.incarnation, template: record.template.clone(), ready: true, ..Run::default() };
    let seen = Seen { state: SlotState::Running(run), ..Seen::default() };
    Slot { seen, record, idle_since: Some(Moment(0)), ..Slot::default() }
}

/// The size at first, and why.
fn first_size(spec: &PoolSpec) -> (u32, String) {
    match (&spec.scale, spec.replicas) {
        (Some(scale), _) => {
            let (min, max) = (scale.min_replicas, scale.max_replicas);
            (min, format!("scale.minReplicas is {min}; up to {max} as the triggers ask"))
        }
        (None, Some(replicas)) => (replicas, format!("replicas is {replicas}")),
        (None, None) => (1, "neither replicas nor scale: one".into()),
    }
}

/// The size after so many, and why.
fn new_size(spec: &PoolSpec, current: usize) -> (u32, String) {
    let current = u32::try_from(current).unwrap_or(u32::MAX);
    match &spec.scale {
        Some(scale) if current < scale.min_replicas => {
            (scale.min_replicas, format!("scale.minReplicas is {}", scale.min_replicas))
        }
        Some(scale) if current > scale.max_replicas => {
            let words = format!("scale.maxReplicas is {}; each goes when it is idle", scale.max_replicas);
            (scale.max_replicas, words)
        }
        Some(_) => (current, "the triggers decide".into()),
        None => first_size(spec),
    }
}

fn strategy(spec: &PoolSpec) -> String {
    let update = spec.update_strategy;
    match update.kind {
        UpdateType::RollingUpdate => {
            format!("RollingUpdate: at most {} missing and {} more at once", update.max_unavailable, update.max_surge)
        }
        UpdateType::OnIdle => "OnIdle: each when it is idle".into(),
        UpdateType::OnDelete => "OnDelete: only when something else ends it".into(),
    }
}

/// The fields in which two versions of a document differ.
pub fn fields(before: &Catalogue, after: &Catalogue, key: &ObjectKey) -> Vec<Field> {
    let value = |catalogue: &Catalogue| {
        catalogue.objects.get(key).map(|object| serde_json::to_value(&object.document).expect("documents are plain data"))
    };
    let mut found = Vec::new();
    differences("", value(before).as_ref(), value(after).as_ref(), &mut found);
    found
}

fn differences(path: &str, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Field>) {
    if before == after {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) => {
            for key in old.keys().chain(new.keys().filter(|key| !old.contains_key(*key))) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                differences(&path, old.get(key), new.get(key), found);
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) => {
            for index in 0..old.len().max(new.len()) {
                differences(&format!("{path}[{index}]"), old.get(index), new.get(index), found);
            }
        }
        (before, after) => {
            found.push(Field { path: path.to_owned(), before: before.cloned(), after: after.cloned() });
        }
    }
}
