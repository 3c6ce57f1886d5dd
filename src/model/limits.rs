//! Limits on their way: what is ordered of a unit, what came of it, and the row that the history keeps of it.
//!
//! [`Units`] is the whole of what is wanted of whoever keeps units and their limits. Its words are as small as they are so
//! that every way in which one of them can fail can be tried. Nothing here decides how much.

use std::future::Future;
use std::pin::Pin;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::policy::{Amounts, Apply, Target};
use super::quantity::{Cpu, Memory};
use super::time::Wall;
use super::usage::Usage;

/// What ordering this much CPU means: that there be no limit.
pub const NO_CPU_LIMIT: Cpu = Cpu(u64::MAX);
/// What ordering this much memory means: that there be no limit.
pub const NO_MEMORY_LIMIT: Memory = Memory(u64::MAX);
/// What ordering this many tasks means: that there be no limit.
pub const NO_TASKS_LIMIT: u32 = u32::MAX;
/// Memory limits are whole pages: the kernel rounds the rest away.
pub const PAGE: u64 = 4096;
/// CPU limits are whole percents of a core, in thousandths of a core: `CPUQuota=` counts in them.
pub const CPU_STEP: u64 = 10;
/// `MemoryHigh=` in percent of `MemoryMax=`: from there on the kernel slows the unit down and takes back what it can, before
/// it has to kill.
pub const MEMORY_HIGH_PERCENT: u64 = 90;

/// Where `MemoryHigh=` stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum High {
    /// At [`MEMORY_HIGH_PERCENT`] of `MemoryMax=`: the unit is slowed down before it is killed in.
    #[default]
    Below,
    /// At `MemoryMax=`: nothing is slowed down, the kernel kills at the limit.
    AtMax,
}

impl High {
    /// The usual place, which is not worth a word.
    pub fn is_usual(&self) -> bool {
        *self == High::Below
    }
}

/// The `MemoryHigh=` that belongs to a `MemoryMax=`.
pub fn memory_high(max: Memory, high: High) -> Memory {
    if max == NO_MEMORY_LIMIT || high == High::AtMax {
        return max;
    }
    Memory(max.0 / 100 * MEMORY_HIGH_PERCENT / PAGE * PAGE)
}

/// What can be set exactly: CPU in percents of a core, memory in pages, both rounded down.
pub fn settable(amounts: Amounts) -> Amounts {
    let cpu = amounts.cpu.map(|cpu| if cpu == NO_CPU_LIMIT { cpu } else { Cpu(cpu.0 / CPU_STEP * CPU_STEP) });
    let memory = amounts.memory.map(|memory| if memory == NO_MEMORY_LIMIT { memory } else { Memory(memory.0 / PAGE * PAGE) });
    Amounts { cpu, memory, tasks: amounts.tasks }
}

/// One change of limits, complete in itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LimitOrder {
    /// Given back with the outcome.
    pub id: u64,
    /// Whose limits.
    pub target: Target,
    /// The target as it is told of. Once the policy has another, what comes of this says nothing of that one.
    pub name: String,
    /// The generation that asks for it: what fails is not the fault of an edit that came meanwhile.
    pub generation: u64,
    /// What is to hold; what is absent stays as it is.
    pub wanted: Amounts,
    /// What is to hold as it does, of that which the policy is about: written with the rest where a drop-in is written or taken
    /// away, which would lose what is left out.
    pub kept: Amounts,
    /// What held when this was decided; absent: no limit. It is put back if anything fails.
    pub previous: Amounts,
    /// Where `MemoryHigh=` is to stand, if memory is wanted.
    pub high: High,
    /// `MemoryHigh=` when this was decided; absent: none. It is put back with the limit, wherever its author had it.
    pub high_before: Option<Memory>,
    /// How.
    pub apply: Apply,
    /// Whether it survives a reboot.
    pub persist: bool,
}

/// What came of an order.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitOutcome {
    /// Which order.
    pub id: u64,
    /// The limits as they were read back, or why they are not what was ordered.
    pub result: Result<Amounts, LimitFailure>,
}

/// Why limits are not what was ordered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LimitFailure {
    /// In words.
    pub error: String,
    /// Whether what held before holds again.
    pub restored: Result<(), String>,
}

/// What a boxed answer is.
pub type Answer<'a, T> = Pin<Box<dyn Future<Output = Result<T, String>> + Send + 'a>>;

/// Whoever keeps units and their limits. Each answer comes within a bounded time, as a failure if need be.
pub trait Units: Send + Sync {
    /// Why no limit of this target can ever be enforced here, if so. That does not change while a daemon lives.
    fn unable(&self, target: &Target) -> Option<String>;

    /// Look at a target once. A target that does not exist is an error that says `not found`.
    fn read<'a>(&'a self, target: &'a Target) -> Answer<'a, Usage>;

    /// Set what is present in `limits` while the target runs; `NO_…_LIMIT` takes a limit away. With `persist` it survives a
    /// reboot. `high` is the `MemoryHigh=` that is set with memory. weir's drop-in is taken away: `limits` has what it held.
    fn set<'a>(&'a self, target: &'a Target, limits: Amounts, high: Memory, persist: bool) -> Answer<'a, ()>;

    /// The text of weir's own drop-in of the target; absent: there is none.
    fn drop_in<'a>(&'a self, target: &'a Target) -> Answer<'a, Option<String>>;

    /// Put this text in the place of weir's drop-in, or take the drop-in away, and have the manager read its files again. The
    /// text is [`drop_in_text`]'s, or one that [`Units::drop_in`] gave.
    fn put_drop_in<'a>(&'a self, target: &'a Target, text: Option<String>, persist: bool) -> Answer<'a, ()>;

    /// Restart the target, and wait until it is up.
    fn restart<'a>(&'a self, target: &'a Target) -> Answer<'a, ()>;
}

/// No systemd: everything else works, and whoever asks is told why limits do not.
#[derive(Clone, Debug)]
pub struct NoUnits(pub String);

impl NoUnits {
    fn refuse<T: Send + 'static>(&self) -> Answer<'_, T> {
        let why = self.0.clone();
        Box::pin(std::future::ready(Err(why)))
    }
}

impl Default for NoUnits {
    fn default() -> NoUnits {
        NoUnits("no systemd manager is reachable here".into())
    }
}

impl Units for NoUnits {
    fn unable(&self, _: &Target) -> Option<String> {
        Some(self.0.clone())
    }
    fn read<'a>(&'a self, _: &'a Target) -> Answer<'a, Usage> {
        self.refuse()
    }
    fn set<'a>(&'a self, _: &'a Target, _: Amounts, _: Memory, _: bool) -> Answer<'a, ()> {
        self.refuse()
    }
    fn drop_in<'a>(&'a self, _: &'a Target) -> Answer<'a, Option<String>> {
        self.refuse()
    }
    fn put_drop_in<'a>(&'a self, _: &'a Target, _: Option<String>, _: bool) -> Answer<'a, ()> {
        self.refuse()
    }
    fn restart<'a>(&'a self, _: &'a Target) -> Answer<'a, ()> {
        self.refuse()
    }
}

/// The drop-in that sets these limits on a target, and with memory this `MemoryHigh=`. A pool's is that of its slice.
pub fn drop_in_text(target: &Target, limits: Amounts, high: Memory) -> String {
    let service = target.unit.as_ref().is_some_and(|unit| !unit.name.ends_with(".slice"));
    let section = if service { "Service" } else { "Slice" };
    let mut text = format!("# Written by weir; it is replaced when limits change.\n[{section}]\n");
    let mut line = |key: &str, value: String| text.push_str(&format!("{key}={value}\n"));
    if let Some(cpu) = limits.cpu {
        // An empty assignment takes the limit away.
        line("CPUQuota", if cpu == NO_CPU_LIMIT { String::new() } else { format!("{}%", cpu.0 / CPU_STEP) });
    }
    if let Some(memory) = limits.memory {
        let bytes = |memory: Memory| if memory == NO_MEMORY_LIMIT { "infinity".into() } else { memory.0.to_string() };
        line("MemoryHigh", bytes(high));
        line("MemoryMax", bytes(memory));
    }
    if let Some(tasks) = limits.tasks {
        line("TasksMax", if tasks == NO_TASKS_LIMIT { "infinity".into() } else { tasks.to_string() });
    }
    text
}

/// What of these limits a drop-in of weir's has a say in; absent there: no limit, which is one thing that it can say.
pub fn said_by(drop_in: &str, limits: Amounts) -> Amounts {
    let says = |key: &str| drop_in.lines().any(|line| line.split_once('=').is_some_and(|(name, _)| name.trim() == key));
    Amounts {
        cpu: says("CPUQuota").then(|| limits.cpu.unwrap_or(NO_CPU_LIMIT)),
        memory: says("MemoryMax").then(|| limits.memory.unwrap_or(NO_MEMORY_LIMIT)),
        tasks: says("TasksMax").then(|| limits.tasks.unwrap_or(NO_TASKS_LIMIT)),
    }
}

/// What was done to limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChangeAction {
    /// The first limits of a target that had none.
    Initial,
    /// Raised.
    #[default]
    ScaleUp,
    /// Lowered.
    ScaleDown,
    /// Set to what a person wants.
    Manual,
    /// Brought back inside bounds or the host's budget.
    Bound,
    /// Put back after somebody else changed them.
    Correct,
    /// Put back after a change that failed.
    Rollback,
    /// A person let a failed policy go on.
    Reset,
    /// `MemoryHigh` was lifted to `MemoryMax`.
    LiftHigh,
    /// `MemoryHigh` was put back below `MemoryMax`.
    LowerHigh,
}

impl ChangeAction {
    /// It moves `MemoryHigh` and no limit.
    pub fn moves_high(self) -> bool {
        match self {
            ChangeAction::LiftHigh | ChangeAction::LowerHigh => true,
            ChangeAction::Initial
            | ChangeAction::ScaleUp
            | ChangeAction::ScaleDown
            | ChangeAction::Manual
            | ChangeAction::Bound
            | ChangeAction::Correct
            | ChangeAction::Rollback
            | ChangeAction::Reset => false,
        }
    }
}

/// What made it happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChangeTrigger {
    /// CPU use.
    #[default]
    Cpu,
    /// Memory use.
    Memory,
    /// Processes and threads.
    Tasks,
    /// Waiting for CPU, memory or disks.
    Pressure,
    /// The kernel killed for want of memory.
    Oom,
    /// What is expected soon.
    Forecast,
    /// All of them are low.
    Idle,
    /// A person.
    Manual,
    /// The document.
    Spec,
    /// Somebody else's change.
    Foreign,
}

/// Whether it holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum ChangeStatus {
    /// On its way.
    #[default]
    Pending,
    /// Set and read back.
    Applied,
    /// Not set; what was before holds again, or the error says that it does not.
    Failed,
}

/// A row of a policy's history.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitChange {
    /// When it was decided, or when its outcome was known.
    pub time: Wall,
    /// What was done.
    pub action: ChangeAction,
    /// What made it happen.
    pub trigger: ChangeTrigger,
    /// In words.
    pub reason: String,
    /// The limits before; absent: none.
    pub old: Amounts,
    /// The limits since.
    pub new: Amounts,
    /// Where `MemoryHigh` stands since, if that is not its usual place.
    #[serde(default, skip_serializing_if = "High::is_usual")]
    pub high: High,
    /// Whether they hold.
    pub status: ChangeStatus,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Unit;

    fn unit(name: &str) -> Target {
        Target { unit: Some(Unit { name: name.into(), manager: None }), pool: None }
    }

    #[test]
    fn a_drop_in_says_what_systemd_reads() {
        let limits = Amounts { cpu: Some(Cpu(2500)), memory: Some(Memory(1 << 30)), tasks: Some(300) };
        assert_eq!(
            drop_in_text(&unit("web.service"), limits, memory_high(Memory(1 << 30), High::Below)),
            "# Written by weir; it is replaced when limits change.\n[Service]\nCPUQuota=250%\nMemoryHigh=966365184\nMemoryMax=1073741824\nTasksMax=300\n"
        );
        let none = Amounts { cpu: Some(NO_CPU_LIMIT), memory: Some(NO_MEMORY_LIMIT), tasks: Some(NO_TASKS_LIMIT) };
        assert_eq!(
            drop_in_text(&unit("a.slice"), none, NO_MEMORY_LIMIT),
            "# Written by weir; it is replaced when limits change.\n[Slice]\nCPUQuota=\nMemoryHigh=infinity\nMemoryMax=infinity\nTasksMax=infinity\n"
        );
    }

    #[test]
    fn a_drop_in_has_a_say_in_what_it_names() {
        let all = Amounts { cpu: Some(Cpu(2500)), memory: Some(Memory(1 << 30)), tasks: Some(300) };
        let text = |limits| drop_in_text(&unit("web.service"), limits, NO_MEMORY_LIMIT);
        assert_eq!(said_by(&text(all), all), all);
        let one = Amounts { memory: all.memory, ..Amounts::default() };
        assert_eq!(said_by(&text(one), all), one);
        let lifted = Amounts { memory: Some(NO_MEMORY_LIMIT), ..Amounts::default() };
        assert_eq!(said_by(&text(one), Amounts::default()), lifted, "somebody has taken it away since: then none holds");
        assert_eq!(said_by("# not MemoryMax\n[Service]\n", all), Amounts::default());
    }

    #[test]
    fn what_can_be_set_is_whole_percents_and_pages() {
        let odd = Amounts { cpu: Some(Cpu(1999)), memory: Some(Memory(8191)), tasks: Some(7) };
        assert_eq!(settable(odd), Amounts { cpu: Some(Cpu(1990)), memory: Some(Memory(4096)), tasks: Some(7) });
        let none = Amounts { cpu: Some(NO_CPU_LIMIT), memory: Some(NO_MEMORY_LIMIT), tasks: None };
        assert_eq!(settable(none), none);
        assert!(memory_high(Memory(1 << 30), High::Below) < Memory(1 << 30));
        assert_eq!(memory_high(Memory(1 << 30), High::AtMax), Memory(1 << 30));
        assert_eq!(memory_high(NO_MEMORY_LIMIT, High::Below), NO_MEMORY_LIMIT);
    }
}
