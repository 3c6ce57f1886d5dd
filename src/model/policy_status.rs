//! What weir says about a policy: its object in Kubernetes' shape.
//!
//! Derived from what was observed; a number that could not be read is absent and never a zero. The last changes stand here,
//! all of them in the store.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::forecast::Prediction;
use super::limits::LimitChange;
use super::object::{Condition, Meta, Source};
use super::policy::{Amounts, Mode, PolicySpec, Profile, Resource};
use super::time::Wall;

/// Changes that a status shows.
pub const HISTORY_SHOWN: usize = 10;

/// A policy with its status, as served and written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PolicyObject {
    /// `weir.dev/v1`.
    pub api_version: String,
    /// `ResourcePolicy`.
    pub kind: String,
    /// Metadata.
    pub metadata: Meta,
    /// The spec, defaults filled in.
    pub spec: PolicySpec,
    /// The status.
    pub status: PolicyStatus,
}

/// A policy's status.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyStatus {
    /// The generation of the spec that this status is about.
    pub observed_generation: u64,
    /// Whether limits are moved.
    pub mode: Mode,
    /// Where the bounds of a breach come from.
    pub profile: Profile,
    /// Whose limits these are: `pool/NAME` or `unit/NAME`.
    pub target: String,
    /// The limits that hold; absent ones: none.
    pub limits: Amounts,
    /// What the target used at the last look.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usage: Option<PolicyUsage>,
    /// The last number of each gauge; absent: unknown.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<String, Option<f64>>,
    /// The target does nothing, as far as that can be told.
    pub idle: bool,
    /// Looks in a row.
    pub checks: Checks,
    /// When limits were last changed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Wall>,
    /// Times they were raised.
    pub scale_up_count: u64,
    /// Times they were lowered.
    pub scale_down_count: u64,
    /// What is expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forecast: Option<ForecastStatus>,
    /// The last changes, the newest last.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<LimitChange>,
    /// Where the spec comes from.
    pub source: Source,
    /// Conditions, in a fixed order.
    pub conditions: Vec<Condition>,
}

/// Looks in a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Checks {
    /// With a breach.
    pub up: u32,
    /// Calm, and idle where that is asked for.
    pub down: u32,
}

/// What a target used at one look.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicyUsage {
    /// When.
    pub time: Wall,
    /// CPU, in percent of its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_percent: Option<f64>,
    /// CPU since the look before, in cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_cores: Option<f64>,
    /// Memory that is not given back just so: without the file pages that nobody has used lately.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<u64>,
    /// Memory, in percent of its limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_percent: Option<f64>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u64>,
    /// Processes and threads, in percent of their limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks_percent: Option<f64>,
    /// Waiting, in percent of the time.
    pub pressure: PressureStatus,
    /// Kills for want of memory since the target began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oom_kills: Option<u64>,
    /// Times it was held back at `memory.high` since the target began.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub held_back: Option<u64>,
    /// What could not be read, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

/// `some avg10` of the three pressures, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PressureStatus {
    /// Waiting for CPU.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<f64>,
    /// Waiting for memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<f64>,
    /// Waiting for disks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io: Option<f64>,
}

/// What is expected of a target, for each resource that its policy is about. Where a status is shown or kept, the way to the
/// horizon is left out.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ForecastStatus {
    /// All of it in words.
    pub summary: String,
    /// CPU, in cores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Prediction>,
    /// Memory, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<Prediction>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tasks: Option<Prediction>,
    /// Of what nothing can be said, and why.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<String>,
}

impl ForecastStatus {
    /// What is expected of one resource.
    pub fn of(&self, resource: Resource) -> Option<&Prediction> {
        match resource {
            Resource::Cpu => self.cpu.as_ref(),
            Resource::Memory => self.memory.as_ref(),
            Resource::Tasks => self.tasks.as_ref(),
        }
    }

    /// The same without the way to the horizon, which is too long to be written at each look.
    #[must_use]
    pub fn short(&self) -> ForecastStatus {
        let short = |of| self.of(of).map(|all| Prediction { path: Vec::new(), ..all.clone() });
        let (cpu, memory, tasks) = (short(Resource::Cpu), short(Resource::Memory), short(Resource::Tasks));
        ForecastStatus { cpu, memory, tasks, ..self.clone() }
    }
}

/// A row of the kept usage of a policy's target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PolicySample {
    /// What it used.
    pub usage: PolicyUsage,
    /// What it might use.
    pub limits: Amounts,
    /// The gauges.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub gauges: BTreeMap<String, Option<f64>>,
}
