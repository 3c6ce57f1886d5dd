//! Scaling as data: what is remembered of a pool's readings, what it is asked, and why it has the size it has.
//!
//! [`Scaling`] is the memory of one daemon; what must outlive it (the present size and when it changed) stands in the pool's
//! status. [`Explanation`] is what `ctl explain pool/NAME` prints: every signal and every clamp by name, in the order in which
//! they acted.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::source::Source;
use super::time::{Moment, Span, Wall};

/// What is remembered of a pool's scaling.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scaling {
    /// Triggers by name.
    pub triggers: BTreeMap<String, Asked>,
    /// Quotas by name.
    pub quotas: BTreeMap<String, Asked>,
    /// Quotas that are used up, until they are above `resumeAbove`.
    pub closed: BTreeSet<String>,
    /// Sizes that were asked for, as long ago as the windows look back; of those that have ended only those that a window can
    /// still come to.
    pub wishes: Vec<Wish>,
    /// Changes of size, as long ago as the policies look back, and the last one.
    pub changes: Vec<Change>,
}

/// A size that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Since when.
    pub since: Moment,
    /// Until when; none: it is the wish of now.
    pub until: Option<Moment>,
    /// How many workers.
    pub size: u32,
}

/// A change of size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// When.
    pub at: Moment,
    /// Workers wanted before.
    pub from: u32,
    /// Workers wanted since.
    pub to: u32,
}

/// What is known of one source that is asked again and again.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Asked {
    /// The source that the answers are of: another one begins anew.
    pub source: Source,
    /// A question is under way since.
    pub out: Option<Moment>,
    /// When to ask next.
    pub due: Moment,
    /// How often it was asked.
    pub count: u64,
    /// The last number that is believed.
    pub good: Option<Good>,
    /// Zeros in a row that are not believed yet.
    pub zeros: u32,
    /// Failures in a row.
    pub failures: u32,
    /// When the first of them was.
    pub failing_since: Option<Moment>,
    /// The words of the last one.
    pub error: Option<String>,
    /// With it the source asked to be left alone until then.
    pub alone: Option<Wall>,
    /// What a `step` rule made of the last number: it acts once on each number.
    pub stepped: Option<u32>,
    /// The size that a rule would have made of the last number, had no worker just been started.
    pub starting: Option<u32>,
}

/// A number that is believed.
#[derive(Clone, Debug, PartialEq)]
pub struct Good {
    /// The number.
    pub value: f64,
    /// The answer as it came.
    pub raw: String,
    /// When it came.
    pub at: Moment,
    /// The same on the wall clock.
    pub wall: Wall,
}

/// Ask a source now.
#[derive(Clone, Debug, PartialEq)]
pub struct Question {
    /// For whom.
    pub asker: Asker,
    /// What.
    pub source: Source,
    /// How long the answer may take.
    pub timeout: Span,
    /// How often it is asked.
    pub every: Span,
}

/// Who wants a number.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Asker {
    /// The trigger of this name.
    Trigger(String),
    /// The quota of this name.
    Quota(String),
    /// The gauge of this name, of a policy.
    Gauge(String),
}

impl Asker {
    /// The name of the trigger or quota.
    pub fn name(&self) -> &str {
        match self {
            Asker::Trigger(name) | Asker::Quota(name) | Asker::Gauge(name) => name,
        }
    }
}

/// How far a signal can be trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SignalState {
    /// The last question was answered in time.
    Fresh,
    /// There is a number, but the last question failed or was too long ago: it can hold or raise, never lower.
    Stale,
    /// There is no number: it holds what there is.
    #[default]
    Unknown,
}

/// What a trigger says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Signal {
    /// The trigger's name.
    pub trigger: String,
    /// The number; null when there is none.
    pub value: Option<f64>,
    /// How far it can be trusted.
    pub state: SignalState,
    /// When the number was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Wall>,
    /// The words of the last failure, while it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Failures in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// The source asked to be left alone until then (`Retry-After`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Wall>,
    /// The answer as it came.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub raw: String,
    /// Why the number is not fresh, and what comes of that, in words; absent while it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doubt: Option<String>,
    /// The size that it asks for; null when it asks for none.
    pub wants: Option<u32>,
    /// How its rule comes to that, in words.
    pub says: String,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

/// What a quota says.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Allowance {
    /// The quota's name.
    pub quota: String,
    /// What is left, as it was read last; null when it was never read.
    pub value: Option<f64>,
    /// How far it can be trusted.
    pub state: SignalState,
    /// When the number was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Wall>,
    /// The words of the last failure, while it fails.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Failures in a row.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: u32,
    /// The source asked to be left alone until then (`Retry-After`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Wall>,
    /// It was below `pauseBelow`, and not above `resumeAbove` since.
    pub used_up: bool,
    /// What comes of it, in words.
    pub says: String,
}

impl Allowance {
    /// Work may begin by it: it was read, and is not used up.
    pub fn allows(&self) -> bool {
        self.value.is_some() && !self.used_up
    }
}

/// Something that changed or held the answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Clamp {
    /// Its name, as the field of the spec that it stands for: `maxReplicas`, `cooldown`, `stabilizationWindow`.
    pub name: String,
    /// The size before it.
    pub from: u32,
    /// The size after it.
    pub to: u32,
    /// Why, in words.
    pub why: String,
    /// When it ends by itself, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Wall>,
}

/// A worker that goes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Victim {
    /// Its name.
    pub worker: String,
    /// Why this one.
    pub why: String,
}

/// Why a pool has the size it has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The size before this decision.
    pub current: u32,
    /// The smallest size allowed now.
    pub min: u32,
    /// The largest size allowed now.
    pub max: u32,
    /// What each trigger says.
    pub signals: Vec<Signal>,
    /// What each quota says.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotas: Vec<Allowance>,
    /// What the triggers ask for together.
    pub raw: u32,
    /// What changed or held that, in the order in which it acted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub clamps: Vec<Clamp>,
    /// The size decided on.
    #[serde(rename = "final")]
    pub wanted: u32,
    /// Workers that go, and why these.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub victims: Vec<Victim>,
    /// When the size can change next, if something holds it until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_change: Option<Wall>,
}
