//! What deciding about limits takes in and gives back.
//!
//! A plan is complete: it carries the one order to carry out, the rows to keep, and what is remembered. What was decided and
//! not yet proved stands in the store before it is done ([`StoredPolicy::pending`]), so that a daemon that died in between knows
//! its own change from somebody else's.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::host::Rung;
use super::limits::{High, LimitChange, LimitOrder, LimitOutcome};
use super::plan::Happening;
use super::policy::{Amounts, PolicySpec};
use super::policy_status::{ForecastStatus, PolicySample, PolicyStatus};
use super::quantity::Memory;
use super::scaling::{Asked, Question};
use super::status::Source;
use super::time::{Moment, Wall};
use super::usage::Usage;

/// A policy as accepted, and what is known of its document now.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFacts {
    /// Its name.
    pub name: String,
    /// Its spec: the last good one.
    pub spec: PolicySpec,
    /// Its target in one word ([`super::policy::Target::named`]): two policies with one word have one target.
    pub target: String,
    /// Counts up with each change of the spec.
    pub generation: u64,
    /// Where it came from.
    pub source: Source,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// Annotations.
    pub annotations: BTreeMap<String, String>,
    /// What is wrong with its document now; the last good one stays in force.
    pub refused: Option<String>,
    /// The policy that has the same target and comes first: this one does nothing.
    pub rival: Option<String>,
    /// Its target is a pool that nobody knows.
    pub poolless: bool,
    /// The specs directory cannot be read now, and why.
    pub unreadable: Option<String>,
    /// It is gone from the specs: the limits stay as they are.
    pub removed: bool,
    /// Its removal waits for a confirmation with this token.
    pub prune_blocked: Option<String>,
}

/// What is kept of a policy beside its spec.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct StoredPolicy {
    /// Its uid.
    pub uid: String,
    /// When it was first accepted.
    pub created: Wall,
    /// Its last status.
    pub status: PolicyStatus,
    /// A change that was decided and is not known to hold.
    pub pending: Option<LimitChange>,
    /// What was last ordered and proved: other limits are somebody else's.
    pub applied: Amounts,
    /// A change failed: nothing more until a reset or another generation.
    pub failed: Option<Failed>,
    /// The number of the last order.
    pub orders: u64,
    /// Kills for want of memory that were not yet answered with more.
    pub oom_owed: bool,
    /// Since when it has this target: what was used before was another's.
    pub since: Wall,
    /// How short of memory its pool is, where no more can be given.
    pub shortage: Shortage,
    /// Where `MemoryHigh` stands, as it was last ordered and proved.
    pub high: High,
}

/// A pool whose memory is short and whose limit is raised no more, look after look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Shortage {
    /// What is done about it.
    pub rung: Rung,
    /// Looks in a row that are a reason to do more.
    pub pressed: u32,
    /// Looks in a row that are a reason to let the pool go on as ever.
    pub calm: u32,
    /// The last reason, in words.
    pub why: String,
}

/// A change that failed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Failed {
    /// The generation that it was of.
    pub generation: u64,
    /// In words.
    pub error: String,
    /// What was to be set while the target runs: a manager that does not answer may do it late. Empty: nothing is looked for.
    pub ordered: Amounts,
    /// What held before; absent: no limit.
    pub before: Amounts,
}

/// What one daemon remembers of a policy.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Watching {
    /// The last good look.
    pub last: Option<Usage>,
    /// Why the last look found nothing.
    pub blind: Option<String>,
    /// When to look next.
    pub due: Moment,
    /// A look is under way since.
    pub looking: Option<Moment>,
    /// An order is under way.
    pub ordered: Option<LimitOrder>,
    /// No raise or lowering before this moment.
    pub rests_until: Moment,
    /// This daemon has taken over the cooldown of the one before.
    pub taken_over: bool,
    /// Corrections of somebody else's changes in the last minute or longer.
    pub corrections: Vec<Moment>,
    /// Looks in a row at which it was held back at `memory.high` without getting on.
    pub held: u32,
    /// Gauges by name.
    pub gauges: BTreeMap<String, Asked>,
}

/// Everything known of one policy at one moment.
#[derive(Clone, Debug)]
pub struct PolicyObservation<'a> {
    /// The policy as accepted.
    pub policy: &'a PolicyFacts,
    /// What is kept of it.
    pub stored: &'a StoredPolicy,
    /// What is remembered of it.
    pub watching: &'a Watching,
    /// A look that has come in and was not yet decided on.
    pub look: Option<&'a Result<Usage, String>>,
    /// What came of the last order, if that has come in.
    pub outcome: Option<&'a LimitOutcome>,
    /// A person lets it go on after a failure.
    pub reset: bool,
    /// Why no limit of the target can ever be enforced here, if so.
    pub unable: Option<&'a str>,
    /// What the machine has in all.
    pub capacity: Amounts,
    /// What of the machine is kept from all policies: the most that any asks for.
    pub reserve: Amounts,
    /// What all other policies have been given.
    pub others: Amounts,
    /// The target pool has no busy worker and an empty queue; absent: the target is no pool.
    pub pool_idle: Option<bool>,
    /// The size of the target pool, where that follows; absent: the target is no such pool.
    pub size: Option<PoolSize>,
    /// What is expected, with the way to the horizon.
    pub forecast: Option<&'a ForecastStatus>,
}

/// The size of a pool, as its policy is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSize {
    /// Workers wanted.
    pub wanted: u32,
    /// Workers that run.
    pub running: u32,
    /// The memory that one takes.
    pub each: Memory,
}

/// What should happen now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct PolicyPlan {
    /// What to keep.
    pub stored: StoredPolicy,
    /// What to remember.
    pub watching: Watching,
    /// Look at the target now.
    pub look: bool,
    /// Change limits, once the rows are committed.
    pub order: Option<LimitOrder>,
    /// Rows of the history.
    pub history: Vec<LimitChange>,
    /// A row of the kept usage.
    pub sample: Option<PolicySample>,
    /// What is to be asked now.
    pub questions: Vec<Question>,
    /// What to tell.
    pub happenings: Vec<Happening>,
    /// When to look again though nothing happens.
    pub wake: Option<Moment>,
}
