//! `WorkerPool`: a number of workers that run one program.
//!
//! Doc comments are the text that `ctl explain` and the JSON Schema show, so they speak to the author of a document. What one
//! worker is stands in `template`, how many there are in `scale`, what they work on in `queue`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::meta::{Kind, ObjectMeta};
use super::queue::Queue;
use super::reason::Reason;
use super::scale::{Scale, Trigger};
use super::scaling::Asker;
use super::source::{SecretSource, Source};
use super::template::{Exec, Template};
use super::time::Span;

/// Most workers that one pool may have.
pub const WORKERS_PER_POOL_MAX: u32 = 10_000;

/// Characters of a template's hash.
const TEMPLATE_HASH_CHARS: usize = 10;

/// A number of workers that run one program, kept at that number whatever happens to them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct WorkerPool {
    /// `weir.dev/v1`.
    #[schemars(extend("const" = "weir.dev/v1"))]
    pub api_version: String,
    /// `WorkerPool`.
    #[schemars(schema_with = "kind_pool")]
    pub kind: Kind,
    /// Its name and labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: PoolSpec,
}

impl WorkerPool {
    /// With what follows from other fields: a scaled pool with a queue and no trigger follows its own queue, a worker a task.
    pub fn defaulted(mut self) -> WorkerPool {
        if let (Some(_), Some(scale)) = (&self.spec.queue, &mut self.spec.scale)
            && scale.triggers.is_empty()
        {
            scale.triggers.push(Trigger::own_queue());
        }
        self
    }
}

fn kind_pool(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "const": "WorkerPool"})
}

/// What is wanted of a pool.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-at-most-one" = ["replicas", "scale"]))]
pub struct PoolSpec {
    /// How many workers, fixed. Not together with `scale`; with neither it is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: Option<u32>,
    /// How many workers, by what there is to do. Not together with `replicas`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scale: Option<Scale>,
    /// What one worker is. Changing it replaces workers, as `updateStrategy` says.
    pub template: Template,
    /// How workers are replaced when the template has changed.
    #[serde(default)]
    pub update_strategy: UpdateStrategy,
    /// Names for the workers instead of ordinals: `alpha` makes the worker `<pool>-alpha`. At least as many as there can be workers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 10_000), extend("x-items-format" = "label"))]
    pub worker_names: Vec<String>,
    /// The durable queue of tasks that the workers work on. Absent: no tasks.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// Events to be told to people and bots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub notify: Vec<Notify>,
}

impl PoolSpec {
    /// The wanted number of workers when it is fixed; none if it is scaled.
    pub fn fixed_replicas(&self) -> Option<u32> {
        match (&self.scale, self.replicas) {
            (Some(_), _) => None,
            (None, replicas) => Some(replicas.unwrap_or(1)),
        }
    }

    /// Whether this is asked of this source for the pool: a trigger or a quota of this name has it.
    pub fn asks(&self, asker: &Asker, source: &Source) -> bool {
        let Some(scale) = &self.scale else { return false };
        match asker {
            Asker::Trigger(name) => scale.triggers.iter().any(|trigger| trigger.name() == name && trigger.source == *source),
            Asker::Quota(name) => scale.quota.iter().any(|quota| quota.name == *name && quota.source == *source),
            Asker::Gauge(_) => false,
        }
    }

    /// A hash of the template alone: what differs in it must be replaced; counts, triggers and labels are not in it.
    pub fn template_hash(&self) -> String {
        // serde_json writes fields in the order of their declaration and maps in key order: the same value, the same text.
        let text = serde_json::to_vec(&self.template).expect("a template is plain data with string keys");
        let digest = Sha256::digest(&text);
        let mut hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        hex.truncate(TEMPLATE_HASH_CHARS);
        hex
    }
}

/// How workers are replaced when the template has changed: idle ones first, busy ones drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct UpdateStrategy {
    /// When they are replaced.
    #[serde(rename = "type")]
    pub kind: UpdateType,
    /// How many may be missing at once during the replacement; with `maxSurge: 0` at least 1.
    #[schemars(range(min = 0, max = 10_000))]
    pub max_unavailable: u32,
    /// How many there may be above the wanted number during the replacement.
    #[schemars(range(min = 0, max = 10_000))]
    pub max_surge: u32,
    /// How long a worker has to have been ready before the next one is replaced: one that ends soon after its start halts the
    /// replacement. Doubled with each time that it failed in a row. Without meaning where each task has a process of its own.
    pub min_ready: Span,
}

impl Default for UpdateStrategy {
    fn default() -> UpdateStrategy {
        UpdateStrategy { kind: UpdateType::RollingUpdate, max_unavailable: 1, max_surge: 0, min_ready: Span::secs(1) }
    }
}

/// When workers with an old template are replaced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UpdateType {
    /// At once, a few at a time.
    #[default]
    RollingUpdate,
    /// Each when it is idle.
    OnIdle,
    /// Only when something else ends them.
    OnDelete,
}

/// Events to be told to people and bots: exactly one way of telling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["webhook", "exec"]))]
pub struct Notify {
    /// The events' reasons.
    #[schemars(length(min = 1, max = 100))]
    pub on: Vec<Reason>,
    /// The event as JSON by POST.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<Webhook>,
    /// The event as JSON on the standard input of a command.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exec: Option<Exec>,
}

/// Where an event is posted to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Webhook {
    /// The address: `https://…` or `http://…`.
    pub url: String,
    /// Where the bearer token is read from, for each delivery; never inline. It is sent over https, or to this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_from: Option<SecretSource>,
    /// The address may lead into a private network.
    #[serde(default)]
    pub allow_private: bool,
}
