//! What every object in Kubernetes' shape has: metadata, conditions, and where its document stands.
//!
//! A condition's `lastTransitionTime` moves only when its `status` does, so that two equal situations give two equal statuses.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::Wall;

/// The one API version there is.
pub const API_VERSION: &str = "weir.dev/v1";

/// Metadata as served: what the user wrote and what weir adds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Meta {
    /// The object's name.
    pub name: String,
    /// Made from the name and the time of first sight; a re-created object has another.
    pub uid: String,
    /// Counts up with each change of the spec.
    pub generation: u64,
    /// Set when it is served: counts up with each change of anything.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
    /// When it was first accepted.
    pub creation_timestamp: Wall,
    /// When it was found to be gone from the specs; its workers are being stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deletion_timestamp: Option<Wall>,
    /// Labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// The owning pool, for workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
}

/// True, False or Unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Truth {
    /// It is so.
    True,
    /// It is not so.
    False,
    /// Nobody can tell.
    #[default]
    Unknown,
}

/// One aspect of an object's state, as in Kubernetes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// Which aspect, as `Ready`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Whether it holds.
    pub status: Truth,
    /// One CamelCase word: why.
    pub reason: String,
    /// A sentence for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// When `status` last changed.
    pub last_transition_time: Wall,
    /// The generation that it speaks of.
    pub observed_generation: u64,
}

/// Where a document came from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// The file, relative to the specs directory.
    pub file: String,
    /// The line of the document's first key, from 1.
    pub line: usize,
    /// The git commit, with `-dirty` when files differ from it; absent outside a checkout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revision: Option<String>,
}
