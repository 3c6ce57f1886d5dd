//! How many workers, by what there is to do: triggers, rules, and everything that holds the answer back.
//!
//! The vocabulary is that of Kubernetes' HorizontalPodAutoscaler v2 and of KEDA. Only the wish is here; how numbers become a
//! count is decided in `decide`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::quantity::{Cpu, Memory};
use super::source::{QueueSource, Source};
use super::time::Span;

/// How many workers, by what there is to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Scale {
    /// Never fewer workers than this; 0 is allowed.
    #[schemars(range(min = 0, max = 10_000))]
    pub min_replicas: u32,
    /// Never more workers than this; not below `minReplicas`.
    #[schemars(range(min = 0, max = 10_000))]
    pub max_replicas: u32,
    /// Spare idle workers kept above the demand.
    #[schemars(range(min = 0, max = 10_000))]
    pub min_idle: u32,
    /// Hold the present number, whatever the triggers say.
    pub paused: bool,
    /// What the number follows; of several the largest answer wins. None: the pool's own queue.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub triggers: Vec<Trigger>,
    /// How fast the number may change, and which workers go.
    pub behavior: Behavior,
    /// What to do when a trigger keeps failing.
    pub fallback: Fallback,
    /// No scale-up while the host has less than this left, or more pressure than this.
    pub headroom: Headroom,
    /// External allowances (API calls, tokens, money) that cap or pause the pool.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub quota: Vec<Quota>,
    /// Other bounds by the clock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 100))]
    pub schedules: Vec<ScaleSchedule>,
}

impl Default for Scale {
    fn default() -> Scale {
        Scale {
            min_replicas: 1,
            max_replicas: 3,
            min_idle: 0,
            paused: false,
            triggers: Vec::new(),
            behavior: Behavior::default(),
            fallback: Fallback::default(),
            headroom: Headroom::default(),
            quota: Vec::new(),
            schedules: Vec::new(),
        }
    }
}

/// One number that the count follows: exactly one source, and exactly one of `step`, `targetPerWorker` and `exact`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("additionalProperties" = false, "x-exactly-one" = [super::source::NAMES, ["step", "targetPerWorker", "exact"]]))]
pub struct Trigger {
    /// Its name in status and events. Absent: the source's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "label"))]
    pub name: Option<String>,
    /// The time from one reading to the next, jittered by 10 %; at least 1s.
    #[serde(default = "polling")]
    #[schemars(extend("x-min" = "1s"))]
    pub polling_interval: Span,
    /// A reading that takes longer has failed; at most `pollingInterval`. Absent: 10s, or `pollingInterval` where that is shorter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("x-min" = "1ms"))]
    pub timeout: Option<Span>,
    /// Where the number comes from.
    #[serde(flatten)]
    pub source: Source,
    /// One step at a time: above a bound up, at or below another down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<Step>,
    /// One worker for so many of what is counted, rounded up, with a tolerance of 10 %. With `cpu` and `memory`: the percent that
    /// each is to use, as HPA's `averageUtilization`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("exclusiveMinimum" = 0))]
    pub target_per_worker: Option<f64>,
    /// The source itself answers the wanted number of workers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<Exact>,
    /// From zero, workers are started only when the number is above this; at or below it, `targetPerWorker` asks for none.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0))]
    pub activation: f64,
    /// So many readings in a row before a drop to 0 is believed. Absent: 3, for the embedded queue 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub zero_confirmations: Option<u32>,
}

impl Trigger {
    /// As many workers as there are tasks in the pool's own queue.
    pub fn own_queue() -> Trigger {
        Trigger {
            name: None,
            polling_interval: polling(),
            timeout: None,
            source: Source { queue: Some(QueueSource::default()), ..Source::default() },
            step: None,
            target_per_worker: Some(1.0),
            exact: None,
            activation: 0.0,
            zero_confirmations: None,
        }
    }
}

fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

const fn polling() -> Span {
    Span::secs(30)
}

/// How long a reading may take where nothing is said.
const READING: Span = Span::secs(10);

/// One step at a time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Step {
    /// When to go up.
    pub up: StepUp,
    /// When to go down.
    pub down: StepDown,
}

/// When to go up: exactly one bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schemars(extend("x-exactly-one" = ["above", "abovePerWorker"]))]
pub struct StepUp {
    /// Go up when the value is greater than this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above: Option<f64>,
    /// Go up when the value is greater than this for each worker.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub above_per_worker: Option<f64>,
    /// By how many workers.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub by: u32,
}

/// When to go down.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct StepDown {
    /// Go down when the value is at most this.
    pub at_most: f64,
    /// By how many workers.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 10_000))]
    pub by: u32,
}

const fn one() -> u32 {
    1
}

/// The source itself answers the wanted number of workers; has no fields.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Exact {}

/// How fast the number may change, in the words of HPA v2.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Behavior {
    /// Going up.
    pub scale_up: ScaleUp,
    /// Going down.
    pub scale_down: ScaleDown,
}

/// How fast the number may go up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScaleUp {
    /// The smallest wish of this time counts.
    pub stabilization_window: Span,
    /// The least time from one change to the next.
    pub cooldown: Span,
    /// How much may change in how long. Empty: no bound.
    #[schemars(length(max = 20))]
    pub policies: Vec<ScalePolicy>,
    /// Which of several policies counts.
    pub select_policy: SelectPolicy,
}

impl Default for ScaleUp {
    fn default() -> ScaleUp {
        let policies = vec![ScalePolicy { kind: PolicyType::Workers, value: 4, period: Span::secs(15) }];
        ScaleUp { stabilization_window: Span(0), cooldown: Span(0), policies, select_policy: SelectPolicy::Max }
    }
}

/// How fast the number may go down, and which workers go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ScaleDown {
    /// The largest wish of this time counts.
    pub stabilization_window: Span,
    /// The least time from one change to the next.
    pub cooldown: Span,
    /// A worker must have been idle for so long before it goes.
    pub idle_timeout: Span,
    /// How much may change in how long. Empty: no bound.
    #[schemars(length(max = 20))]
    pub policies: Vec<ScalePolicy>,
    /// Which of several policies counts.
    pub select_policy: SelectPolicy,
    /// Which of the idle workers go first.
    pub select: Victims,
    /// Let busy workers follow when no idle ones are left.
    pub evict_busy: bool,
}

impl Default for ScaleDown {
    fn default() -> ScaleDown {
        ScaleDown {
            stabilization_window: Span::secs(300),
            cooldown: Span(0),
            idle_timeout: Span::secs(30),
            policies: vec![ScalePolicy { kind: PolicyType::Percent, value: 100, period: Span::secs(15) }],
            select_policy: SelectPolicy::Max,
            select: Victims::LongestIdle,
            evict_busy: false,
        }
    }
}

/// How much may change in how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScalePolicy {
    /// What `value` counts.
    #[serde(rename = "type")]
    pub kind: PolicyType,
    /// How much.
    #[schemars(range(min = 1, max = 10_000))]
    pub value: u32,
    /// In how long.
    #[schemars(extend("x-min" = "1s"))]
    pub period: Span,
}

/// What a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PolicyType {
    /// Workers.
    Workers,
    /// Percent of the present number.
    Percent,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum SelectPolicy {
    /// The one that allows most.
    #[default]
    Max,
    /// The one that allows least.
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// Which of the idle workers go first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Victims {
    /// The one that has been idle longest.
    #[default]
    LongestIdle,
    /// The one that was started first.
    Oldest,
    /// The one that was started last.
    Newest,
}

/// What to do when a trigger keeps failing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Fallback {
    /// So many failures in a row are a failure.
    #[schemars(range(min = 1, max = 1000))]
    pub failure_threshold: u32,
    /// Failing for so long is a failure too; absent: only the number counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<Span>,
    /// What is done then.
    pub behavior: FallbackBehavior,
    /// The number for `Static` and `AtLeast`.
    #[schemars(range(min = 0, max = 10_000))]
    pub replicas: u32,
}

impl Default for Fallback {
    fn default() -> Fallback {
        Fallback { failure_threshold: 3, after: None, behavior: FallbackBehavior::Hold, replicas: 1 }
    }
}

/// What is done when a trigger keeps failing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FallbackBehavior {
    /// Keep the present number.
    #[default]
    Hold,
    /// Go to `replicas`.
    Static,
    /// Keep the present number, but not below `replicas`.
    AtLeast,
}

/// What the host must have left before a worker is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Headroom {
    /// Idle CPU; absent: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu: Option<Cpu>,
    /// Available memory.
    pub memory: Memory,
    /// Free space of the file system of `workingDir`; absent: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk: Option<Memory>,
    /// Highest pressure; absent: not looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pressure: Option<Pressure>,
}

impl Default for Headroom {
    fn default() -> Headroom {
        Headroom { cpu: None, memory: Memory(512 << 20), disk: None, pressure: None }
    }
}

/// Pressure stall information, `some avg10`, in percent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pressure {
    /// Waiting for CPU, in percent; absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub cpu: Option<u8>,
    /// Waiting for memory, in percent; absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub memory: Option<u8>,
    /// Waiting for disks, in percent; absent: not looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 100))]
    pub io: Option<u8>,
}

/// An external allowance that caps or pauses the pool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Quota {
    /// Its name in status and events.
    #[schemars(extend("format" = "label"))]
    pub name: String,
    /// Where the remaining allowance is read.
    pub source: Source,
    /// No new work starts while less than this is left.
    pub pause_below: f64,
    /// Work starts again when more than this is left; not below `pauseBelow`.
    pub resume_above: f64,
}

/// Other bounds by the clock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ScaleSchedule {
    /// When the window begins: five cron fields.
    #[schemars(extend("format" = "cron"))]
    pub cron: String,
    /// The IANA time zone. Absent: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "time-zone"))]
    pub time_zone: Option<String>,
    /// How long the window is.
    #[schemars(extend("x-min" = "1s"))]
    pub duration: Span,
    /// `minReplicas` within the window; absent: unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub min_replicas: Option<u32>,
    /// `maxReplicas` within the window; absent: unchanged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub max_replicas: Option<u32>,
}

impl Trigger {
    /// Its name in status and events.
    pub fn name(&self) -> &str {
        self.name.as_deref().unwrap_or_else(|| self.source.kind())
    }

    /// How long a reading may take.
    pub fn reading_timeout(&self) -> Span {
        self.timeout.unwrap_or(READING).min(self.polling_interval)
    }
}
