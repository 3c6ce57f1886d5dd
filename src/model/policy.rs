//! `ResourcePolicy`: the limits of a pool or a unit, moved by what it uses.
//!
//! Only the wish is here; each field of a profile may be overridden, so the fields that a profile fills are optional.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::meta::{Kind, ObjectMeta};
use super::quantity::{Cpu, Memory};
use super::source::Source;
use super::time::Span;

/// The limits of a pool or a unit, moved by what it uses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ResourcePolicy {
    /// `weir.dev/v1`.
    #[schemars(extend("const" = "weir.dev/v1"))]
    pub api_version: String,
    /// `ResourcePolicy`.
    #[schemars(schema_with = "kind_policy")]
    pub kind: Kind,
    /// Its name and labels.
    pub metadata: ObjectMeta,
    /// What is wanted.
    pub spec: PolicySpec,
}

fn kind_policy(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
    schemars::json_schema!({"type": "string", "const": "ResourcePolicy"})
}

/// What is wanted of a policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PolicySpec {
    /// Whose limits these are.
    pub target: Target,
    /// Whether limits are moved.
    #[serde(default)]
    pub mode: Mode,
    /// Where the bounds of a breach come from, unless given below.
    #[serde(default)]
    pub profile: Profile,
    /// The time from one look to the next.
    #[serde(default = "checking")]
    #[schemars(extend("x-min" = "1s"))]
    pub check_interval: Span,
    /// When limits are raised: any one is enough. Absent fields: the profile's.
    #[serde(default)]
    pub scale_up: PolicyUp,
    /// When limits are lowered: all are needed. Absent fields: the profile's.
    #[serde(default)]
    pub scale_down: PolicyDown,
    /// Pressure that counts as a breach, in percent; OOM kills count at once.
    #[serde(default = "pressing")]
    pub pressure: Pressing,
    /// The least time from one change to the next. Absent: the profile's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cooldown: Option<Span>,
    /// Further numbers recorded beside the usage.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub gauges: Vec<Gauge>,
    /// When a unit is idle: any one is enough. A pool needs none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub idle_when: Vec<IdleRule>,
    /// The limits when the target has none yet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<Amounts>,
    /// What is never left, whoever asks.
    pub bounds: Bounds,
    /// The smallest change.
    #[serde(default)]
    pub min_step: Amounts,
    /// What of the host is never given away, over all policies together.
    #[serde(default)]
    pub reserve: Amounts,
    /// The limits to hold in mode `Manual`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manual: Option<Manual>,
    /// How limits are set.
    #[serde(default)]
    pub apply: Apply,
    /// Whether limits survive a reboot.
    #[serde(default = "yes")]
    pub persist: bool,
    /// Looking ahead: may raise early, never lowers early.
    #[serde(default)]
    pub forecast: Forecast,
    /// Learning what tasks need.
    #[serde(default)]
    pub workload: Workload,
}

const fn checking() -> Span {
    Span::secs(30)
}

const fn pressing() -> Pressing {
    Pressing { cpu: Some(60), memory: Some(10), io: Some(60) }
}

const fn yes() -> bool {
    true
}

/// Pressure stall information that counts as a breach, `some avg10`, in percent. Not 0, which is always reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pressing {
    /// Waiting for CPU, in percent; absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub cpu: Option<u8>,
    /// Waiting for memory, in percent; absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub memory: Option<u8>,
    /// Waiting for disks, in percent; absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub io: Option<u8>,
}

/// Whose limits these are: exactly one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["pool", "unit"]))]
pub struct Target {
    /// The slice of this pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "label"))]
    pub pool: Option<String>,
    /// A systemd unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// A systemd unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Unit {
    /// Its full name, like `web.service`.
    pub name: String,
    /// Whose unit it is. Absent: `System` for root, else `User`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manager: Option<Manager>,
}

/// Whose unit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Manager {
    /// The system's.
    System,
    /// The user's.
    User,
}

/// Whether limits are moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Mode {
    /// They follow the usage.
    #[default]
    Enabled,
    /// They are held at `manual`.
    Manual,
    /// They are observed only.
    Disabled,
}

/// Where the bounds of a breach come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Profile {
    /// Late and little.
    Conservative,
    /// In between.
    #[default]
    Balanced,
    /// Early and much.
    Aggressive,
}

/// When limits are raised, in percent of the limit; any one is enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyUp {
    /// CPU, in percent of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub cpu: Option<u8>,
    /// Memory, in percent of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub memory: Option<u8>,
    /// Processes and threads, in percent of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub tasks: Option<u8>,
    /// So many looks in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_checks: Option<u32>,
    /// The limit is multiplied by this; greater than 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 1, "maximum" = 100))]
    pub factor: Option<f64>,
}

/// When limits are lowered, in percent of the limit; all are needed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct PolicyDown {
    /// CPU, in percent of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cpu: Option<u8>,
    /// Memory, in percent of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub memory: Option<u8>,
    /// Processes and threads, in percent of the limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub tasks: Option<u8>,
    /// So many looks in a row.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub consecutive_checks: Option<u32>,
    /// The limit is multiplied by this; less than 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0, "exclusiveMaximum" = 1))]
    pub factor: Option<f64>,
    /// Only while the target is idle.
    pub only_when_idle: bool,
}

impl Default for PolicyDown {
    fn default() -> PolicyDown {
        PolicyDown { cpu: None, memory: None, tasks: None, consecutive_checks: None, factor: None, only_when_idle: true }
    }
}

/// A further number recorded beside the usage.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Gauge {
    /// Its name: a to z, 0 to 9, '-' and '_'.
    #[schemars(extend("format" = "gauge-name", "pattern" = "^[a-z][a-z0-9_-]{0,62}$"))]
    pub name: String,
    /// Where it is read.
    pub source: Source,
}

/// A target is idle while a gauge is low.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdleRule {
    /// The gauge's name.
    #[schemars(extend("format" = "gauge-name"))]
    pub gauge: String,
    /// Idle when it is at most this. An unknown gauge is not idle.
    pub at_most: f64,
}

/// Amounts of CPU, memory and processes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Amounts {
    /// CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
}

/// One of the three things that are limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Resource {
    /// In thousandths of a core.
    Cpu,
    /// In bytes.
    Memory,
    /// Processes and threads.
    Tasks,
}

impl Resource {
    /// All of them.
    pub const EACH: [Resource; 3] = [Resource::Cpu, Resource::Memory, Resource::Tasks];

    /// Its name in the documents.
    pub const fn name(self) -> &'static str {
        match self {
            Resource::Cpu => "cpu",
            Resource::Memory => "memory",
            Resource::Tasks => "tasks",
        }
    }

    /// So much of it, as people write it.
    pub fn shown(self, amount: u64) -> String {
        match self {
            Resource::Cpu => Cpu(amount).to_string(),
            Resource::Memory => Memory(amount).to_string(),
            Resource::Tasks => amount.to_string(),
        }
    }

    /// An amount in its smallest unit as samples count it: cores, bytes, processes and threads.
    pub fn in_series(self, amount: u64) -> f64 {
        match self {
            Resource::Cpu => amount as f64 / 1000.0,
            Resource::Memory | Resource::Tasks => amount as f64,
        }
    }

    /// So much of it as samples count it, in words that leave out what nobody reads: `1.25 cores`, `30.5Gi`, `240`.
    pub fn roughly(self, amount: f64) -> String {
        const MI: f64 = 1_048_576.0;
        match self {
            Resource::Cpu => format!("{amount:.2} cores"),
            Resource::Memory if amount.abs() >= 1024.0 * MI => format!("{:.1}Gi", amount / 1024.0 / MI),
            Resource::Memory => format!("{:.1}Mi", amount / MI),
            Resource::Tasks => format!("{amount:.0}"),
        }
    }
}

impl Amounts {
    /// How much of one resource, in its smallest unit.
    pub fn of(&self, resource: Resource) -> Option<u64> {
        match resource {
            Resource::Cpu => self.cpu.map(|cpu| cpu.0),
            Resource::Memory => self.memory.map(|memory| memory.0),
            Resource::Tasks => self.tasks.map(u64::from),
        }
    }

    /// The same with another amount of one resource.
    #[must_use]
    pub fn with(self, resource: Resource, amount: Option<u64>) -> Amounts {
        match resource {
            Resource::Cpu => Amounts { cpu: amount.map(Cpu), ..self },
            Resource::Memory => Amounts { memory: amount.map(Memory), ..self },
            Resource::Tasks => Amounts { tasks: amount.map(|n| u32::try_from(n).unwrap_or(u32::MAX)), ..self },
        }
    }

    /// What is given here, and the rest as it is there.
    #[must_use]
    pub fn or(self, other: Amounts) -> Amounts {
        Amounts { cpu: self.cpu.or(other.cpu), memory: self.memory.or(other.memory), tasks: self.tasks.or(other.tasks) }
    }
}

impl Manual {
    /// The limits alone.
    pub fn limits(&self) -> Amounts {
        Amounts { cpu: self.cpu, memory: self.memory, tasks: self.tasks }
    }
}

impl Target {
    /// One word for each target: `pool/web`, `unit/web.service`, and `unit/web.service (User)` where `own`, the manager that is
    /// meant when none is named, is another one.
    pub fn named(&self, own: Manager) -> String {
        match (&self.pool, &self.unit) {
            (Some(pool), _) => format!("pool/{pool}"),
            (None, Some(unit)) => match unit.manager.filter(|manager| *manager != own) {
                Some(manager) => format!("unit/{} ({manager:?})", unit.name),
                None => format!("unit/{}", unit.name),
            },
            (None, None) => "nothing".into(),
        }
    }
}

impl std::fmt::Display for Amounts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let each = Resource::EACH.into_iter().filter_map(|of| Some(format!("{} {}", of.name(), of.shown(self.of(of)?))));
        let all = each.collect::<Vec<_>>();
        if all.is_empty() { write!(f, "none") } else { write!(f, "{}", all.join(", ")) }
    }
}

/// What is never left, whoever asks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Bounds {
    /// The least.
    pub min: Amounts,
    /// The most; nowhere below `min`.
    pub max: Amounts,
}

/// Limits to hold in mode `Manual`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Manual {
    /// CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// Processes and threads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tasks: Option<u32>,
    /// Why, for the history.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// How limits are set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Apply {
    /// While it runs.
    #[default]
    Live,
    /// With a restart, for services that read their limits at start.
    Restart,
}

/// Looking ahead: may raise early, never lowers early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Forecast {
    /// Whether to look ahead.
    pub enabled: bool,
    /// How.
    pub method: ForecastMethod,
    /// How far.
    pub horizon: Span,
    /// How sure, in percent.
    #[schemars(range(min = 1, max = 99))]
    pub confidence: u8,
}

impl Default for Forecast {
    fn default() -> Forecast {
        Forecast { enabled: true, method: ForecastMethod::Auto, horizon: Span::secs(600), confidence: 90 }
    }
}

/// How to look ahead.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ForecastMethod {
    /// The one that would have been right before.
    #[default]
    Auto,
    /// A straight line.
    Linear,
    /// Holt-Winters: level, trend and season.
    HoltWinters,
}

/// Learning what tasks need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Workload {
    /// Learn duration and usage per class of tasks.
    pub classes: bool,
}

impl Default for Workload {
    fn default() -> Workload {
        Workload { classes: true }
    }
}
