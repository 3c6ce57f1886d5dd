//! One transaction of the store: rows that change together with the history that describes them.
//!
//! Plain data, so that the simulator's store and the real one take the same value.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::limits::LimitChange;
use super::line::Fired;
use super::plan::Record;
use super::policy_plan::StoredPolicy;
use super::policy_status::PolicySample;
use super::queue_work::{QueueCounts, QueueWork};
use super::status::{EventObject, PoolStatus};
use super::task::Task;
use super::time::{Now, Wall};
use super::used::UsedWindow;
use super::worker::SlotId;

/// Rows to change and history to add, all or nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Slot records; `None` removes the row.
    pub slots: Vec<(SlotId, Option<Record>)>,
    /// Pools; `None` removes the row.
    pub pools: Vec<(String, Option<StoredPool>)>,
    /// The whole accepted catalogue, as JSON.
    pub catalogue: Option<String>,
    /// New history rows.
    pub events: Vec<EventObject>,
    /// Numbers that were read and believed.
    pub readings: Vec<Reading>,
    /// Policies; `None` removes the row.
    pub policies: Vec<(String, Option<StoredPolicy>)>,
    /// Changes of limits, by policy; never removed.
    pub changes: Vec<(String, LimitChange)>,
    /// What the targets of policies used.
    pub samples: Vec<(String, PolicySample)>,
    /// What is done with the queues, in this order.
    pub queue: Vec<QueueWork>,
    /// When the work with the queues was asked for.
    pub at: Now,
}

impl Batch {
    /// Nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
            && self.pools.is_empty()
            && self.catalogue.is_none()
            && self.events.is_empty()
            && self.readings.is_empty()
            && self.policies.is_empty()
            && self.changes.is_empty()
            && self.samples.is_empty()
            && self.queue.is_empty()
    }
}

/// A number that a trigger's source answered, kept so that it can be replayed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Of which pool.
    pub pool: String,
    /// By which trigger.
    pub trigger: String,
    /// When.
    pub at: Wall,
    /// The number.
    pub value: f64,
}

/// What is kept of a pool beside its spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StoredPool {
    /// Its uid.
    pub uid: String,
    /// When it was first accepted.
    pub created: Wall,
    /// Its last status.
    pub status: PoolStatus,
    /// The highest run number of a slot that was forgotten: fresh slots count on from it, so that no number comes twice.
    #[serde(default)]
    pub runs: u64,
    /// The templates that its runs were started from, by their hashes: whoever runs on while the document changes is judged and
    /// ended by its own, also by a later daemon. As JSON: one that does not read is not known, and spoils nothing else.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub made: BTreeMap<String, Value>,
}

/// What a store holds when it is opened.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Stored {
    /// The last accepted catalogue.
    pub catalogue: Option<String>,
    /// Pools.
    pub pools: Vec<(String, StoredPool)>,
    /// Policies.
    pub policies: Vec<(String, StoredPolicy)>,
    /// What the targets of policies used, the oldest first.
    pub used: Vec<(String, UsedWindow)>,
    /// Slot records. Moments of another boot have been removed from them.
    pub slots: Vec<(SlotId, Record)>,
    /// The newest events, oldest first.
    pub events: Vec<EventObject>,
    /// Tasks that a worker has. Moments of another boot have been removed from them.
    pub leased: Vec<Task>,
    /// What stands in each queue.
    pub counts: Vec<(String, QueueCounts)>,
    /// When recurring tasks last came, by pool and name.
    pub schedules: Vec<((String, String), Fired)>,
    /// Above every resource version ever served.
    pub version: u64,
}
