//! What goes over the wire besides the objects themselves, in Kubernetes' shape.
//!
//! Plain data, and MCP's tools, that server and client share, and the only part of this room that the client may use: nothing
//! here may import the engine or a web framework.

pub mod age;
pub mod columns;
pub mod fields;
pub mod manual;
pub mod mcp;
pub mod policy_columns;
pub mod revisions;
pub mod task_columns;
pub mod tasks;
pub mod usage;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::status::{API_VERSION, Kind, SUCCEEDED_BY};

/// The API group.
pub const GROUP: &str = "weir.dev";

/// The only namespace. Pools and workers are in none, as Kubernetes has it for what is there once in a cluster.
pub const NAMESPACE: &str = "default";

/// Largest body of a request, in bytes.
pub const BODY_BYTES_MAX: usize = 1024 * 1024;

/// Where all resources live.
pub const ROOT: &str = "/apis/weir.dev/v1";

/// The annotation that holds a pool's size until a time.
pub const PAUSED_UNTIL: &str = "weir.dev/paused-until";

/// The short names of a kind, as people type them.
pub const fn short_names(kind: Kind) -> &'static [&'static str] {
    match kind {
        Kind::Pool => &["pool", "pools", "wp"],
        Kind::Worker => &[],
        Kind::Policy => &["policy", "policies", "rp"],
        Kind::Event => &["ev"],
    }
}

/// One of it, in lower case.
pub const fn singular(kind: Kind) -> &'static str {
    match kind {
        Kind::Pool => "workerpool",
        Kind::Worker => "worker",
        Kind::Policy => "resourcepolicy",
        Kind::Event => "event",
    }
}

/// The answer to what cannot be answered with an object: Kubernetes' `Status`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Status {
    /// `Status`
    pub kind: String,
    /// `v1`
    pub api_version: String,
    /// Always empty.
    pub metadata: Empty,
    /// `Success` or `Failure`.
    pub status: String,
    /// What went wrong and what to do about it.
    pub message: String,
    /// One word for programs, as `NotFound`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// More for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<Details>,
    /// The HTTP status code.
    pub code: u16,
}

/// Metadata with nothing in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Empty {}

/// What a [`Status`] is about.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Details {
    /// The object's name.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// The API group.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The resource's name, as `workerpools`.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub kind: String,
    /// The object's uid.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub uid: String,
    /// Each thing that is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub causes: Vec<Cause>,
    /// When to try again, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_seconds: Option<u64>,
}

/// One thing that is wrong with a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cause {
    /// `FieldValueInvalid`
    pub reason: String,
    /// Line, column and what is wrong.
    pub message: String,
    /// The field's path.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
}

impl Status {
    /// A refusal.
    pub fn failure(code: u16, reason: &str, message: impl Into<String>) -> Status {
        let (reason, message) = (reason.into(), message.into());
        Status { status: "Failure".into(), reason, message, code, ..Status::success("") }
    }

    /// It was done.
    pub fn success(message: impl Into<String>) -> Status {
        let (kind, api_version, status) = ("Status".into(), "v1".into(), "Success".into());
        Status { kind, api_version, status, message: message.into(), code: 200, ..Status::default() }
    }

    /// A list must be made again before watching.
    pub fn expired(message: impl Into<String>) -> Status {
        Status::failure(410, "Expired", message)
    }
}

/// A list of objects, as read by the client.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct List {
    /// As `WorkerPoolList`.
    pub kind: String,
    /// `weir.dev/v1`
    pub api_version: String,
    /// Of the list as a whole.
    pub metadata: ListMeta,
    /// The objects.
    pub items: Vec<Value>,
}

/// Metadata of a list.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ListMeta {
    /// Watch from here.
    pub resource_version: String,
    /// Ask with this for what comes next, when the list was cut at `limit`.
    #[serde(rename = "continue", skip_serializing_if = "String::is_empty")]
    pub go_on: String,
    /// How many come next.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remaining_item_count: Option<u64>,
}

impl List {
    /// A list of one kind.
    pub fn new(kind: Kind, version: u64, items: Vec<Value>) -> List {
        let metadata = ListMeta { resource_version: version.to_string(), ..ListMeta::default() };
        List { kind: format!("{}List", kind.name()), api_version: API_VERSION.into(), metadata, items }
    }
}

/// One line of a watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// ADDED, MODIFIED, DELETED or ERROR.
    #[serde(rename = "type")]
    pub verb: String,
    /// The object, or a [`Status`].
    pub object: Value,
}

impl WatchEvent {
    /// Another one of its name is there already, as after each run of a worker: who goes by names has seen nothing go.
    pub fn is_succeeded(&self) -> bool {
        // Of others anybody may have said so.
        let of_runs = self.object["kind"] == "Worker" || self.object["kind"] == "Pod";
        self.verb == "DELETED" && of_runs && self.object["metadata"]["annotations"].get(SUCCEEDED_BY).is_some()
    }
}

/// What came of an apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// One for each object.
    pub items: Vec<Outcome>,
}

/// What came of one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// As it is written before a slash: pool, policy.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// created, configured, unchanged …
    pub verb: String,
}

/// The `document` subresource: a pool's document as its author left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct DocumentText {
    /// The file, relative to the specs directory; not read in a write.
    pub file: String,
    /// The line on which the text begins, from 1; not read in a write.
    pub line: u32,
    /// The whole text.
    pub text: String,
    /// Which text it is; a write must give the version that it began from.
    pub version: String,
}

/// A worker that is drained.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Drained {
    /// The run that takes no more tasks: with another one it is done.
    pub incarnation: u64,
}

/// Confirms blocked deletions.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prune {
    /// The token that the `PruneBlocked` condition shows.
    pub confirm: String,
}

/// The `scale` subresource: `autoscaling/v1`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Scale {
    /// `Scale`
    pub kind: String,
    /// `autoscaling/v1`
    pub api_version: String,
    /// Of the pool.
    pub metadata: ScaleMeta,
    /// How many are wanted.
    pub spec: ScaleSpec,
    /// How many there are.
    pub status: ScaleStatus,
}

/// Metadata of a scale: which pool, and which version of it was read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ScaleMeta {
    /// The pool's name.
    pub name: String,
    /// The version; when given in a write, the pool must still have it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource_version: String,
}

/// How many are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScaleSpec {
    /// Workers wanted.
    pub replicas: u32,
}

/// How many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScaleStatus {
    /// Workers there are.
    pub replicas: u32,
    /// Label selector of the workers.
    pub selector: String,
}
