//! Policies compared: which differ, in which fields, and what their first look would do.
//!
//! That is asked of `decide`, with what was seen of the target last: limits and use are taken as they were then, and so is what
//! the other policies give. What none of them knows yet is said.

use std::collections::{BTreeMap, BTreeSet};

use super::compare::{Before, Field, Kind, fields};
use crate::decide::limits::{self, budget};
use crate::engine::catalogue;
use crate::model::catalogue::{Catalogue, ObjectKey};
use crate::model::host::{Known, Pressures};
use crate::model::limits::memory_high;
use crate::model::policy::{Amounts, Mode, Resource};
use crate::model::policy_plan::{PolicyFacts, PolicyObservation, StoredPolicy, Watching};
use crate::model::policy_status::PolicyUsage;
use crate::model::quantity::Memory;
use crate::model::status::Truth;
use crate::model::time::{Moment, Now, Span, Wall};
use crate::model::usage::Usage;

/// When the look is made: any moment does.
const LOOK: Moment = Moment(1 << 40);

/// A policy that differs.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyChange {
    /// Its name.
    pub name: String,
    /// What becomes of it.
    pub kind: Kind,
    /// Where its document is; where it was, if it is gone.
    pub file: String,
    /// The line.
    pub line: usize,
    /// What differs in the document.
    pub fields: Vec<Field>,
    /// What that does, in words.
    pub effects: Vec<String>,
}

/// The policies that differ, by name.
pub fn policies(before: &Before, after: &Catalogue) -> Vec<PolicyChange> {
    let (old, new) = (facts(before, &before.catalogue), facts(before, after));
    let host = OfHost::of(before, &new);
    let mut changes = Vec::new();
    for name in old.keys().chain(new.keys()).collect::<BTreeSet<_>>() {
        let was = old.get(name).filter(|facts| !facts.removed);
        let is = new.get(name).filter(|facts| !facts.removed);
        let stored = before.policies.get(name);
        changes.extend(match (was, is) {
            (Some(was), Some(is)) if is.prune_blocked.is_some() => Some(change(was, Kind::Blocked, Vec::new())),
            (Some(_), Some(is)) => {
                let fields = fields(&before.catalogue, after, &ObjectKey::policy(name));
                let effects = if fields.is_empty() { Vec::new() } else { effects(is, stored, &host) };
                (!fields.is_empty()).then(|| PolicyChange { fields, ..change(is, Kind::Changed, effects) })
            }
            (Some(was), None) => {
                let limits = stored.map(|stored| stored.status.limits).filter(|limits| *limits != Amounts::default());
                let limits = limits.map_or_else(String::new, |limits| format!(": {limits}"));
                let stay = format!("the limits of {} stay as they are{limits}", was.target);
                Some(change(was, Kind::Removed, vec![stay]))
            }
            (None, Some(is)) => Some(change(is, Kind::Added, effects(is, stored, &host))),
            (None, None) => None,
        });
    }
    changes
}

/// What the machine has, and who is given some of it.
struct OfHost<'a> {
    capacity: Amounts,
    all: BTreeMap<&'a str, &'a PolicyFacts>,
    kept: &'a BTreeMap<String, StoredPolicy>,
    nothing: StoredPolicy,
}

impl<'a> OfHost<'a> {
    /// The policies that there will be: these, and those that are left as they are.
    fn of(before: &'a Before, new: &'a BTreeMap<String, PolicyFacts>) -> OfHost<'a> {
        let all = before.other_policies.iter().chain(new).map(|(name, facts)| (name.as_str(), facts)).collect();
        OfHost { capacity: before.capacity, all, kept: &before.policies, nothing: StoredPolicy::default() }
    }

    fn policies(&self) -> impl Iterator<Item = budget::Policy<'_>> {
        self.all.iter().map(|(name, facts)| (*facts, self.kept.get(*name).unwrap_or(&self.nothing)))
    }

    /// What is not known of the others where it counts: there is a reserve, so what they give is taken off.
    fn unknown(&self, facts: &PolicyFacts) -> Option<String> {
        let reserve = budget::kept_for_host(self.policies());
        let concerns = |of: &Resource| reserve.of(*of).is_some();
        if !limits::about(&facts.spec).iter().any(concerns) {
            return None;
        }
        let blind = |(other, stored): &budget::Policy<'_>| {
            budget::counts(other, &facts.name)
                && limits::about(&other.spec).iter().any(concerns)
                && (stored.status.usage.is_none() || stored.status.target != other.target)
        };
        let names: Vec<String> = self.policies().filter(blind).map(|(other, _)| format!("policy/{}", other.name)).collect();
        let all = names.join(", ");
        (!names.is_empty()).then(|| format!("what {all} may give is not known yet: it is not taken off what the host has left"))
    }
}

fn facts(before: &Before, catalogue: &Catalogue) -> BTreeMap<String, PolicyFacts> {
    let mut all = catalogue::policies(catalogue);
    // Who is new comes last.
    catalogue::rivals(&mut all, |name| before.policies.get(name).map_or(Wall(i64::MAX), |stored| stored.created));
    for facts in all.values_mut() {
        facts.poolless &= facts.spec.target.pool.as_ref().is_none_or(|pool| !before.other_pools.contains(pool));
    }
    all
}

fn change(facts: &PolicyFacts, kind: Kind, effects: Vec<String>) -> PolicyChange {
    let (file, line) = (facts.source.file.clone(), facts.source.line);
    PolicyChange { name: facts.name.clone(), kind, file, line, fields: Vec::new(), effects }
}

/// What becomes of the target's limits.
fn effects(facts: &PolicyFacts, stored: Option<&StoredPolicy>, host: &OfHost<'_>) -> Vec<String> {
    let target = &facts.target;
    if let Some(rival) = &facts.rival {
        return vec![format!("it does nothing: policy/{rival} has the same target, {target}")];
    }
    if facts.poolless {
        return vec![format!("it does nothing: there is no {target}")];
    }
    if facts.spec.mode == Mode::Disabled {
        return vec![format!("{target} is looked at, and its limits are left as they are")];
    }
    let seen = stored.filter(|stored| stored.status.target == *target);
    match seen.and_then(|stored| Some((stored, stored.status.usage.as_ref()?))) {
        Some((stored, usage)) => first_look(facts, (stored, usage), host),
        None => vec![format!("what {target} uses and may use is not known yet: its first look decides")],
    }
}

/// What the first look would do if it saw what the last one saw.
fn first_look(facts: &PolicyFacts, (stored, usage): (&StoredPolicy, &PolicyUsage), host: &OfHost<'_>) -> Vec<String> {
    let interval = facts.spec.check_interval;
    let now = Now { mono: LOOK.after(interval), wall: Wall(usage.time.0.saturating_add(interval.0.cast_signed())) };
    let last = look(stored, usage, (LOOK, Span(0)));
    let look = Ok(look(stored, usage, (now.mono, interval)));
    let watching = Watching { last: Some(last), ..Watching::default() };
    let observation = PolicyObservation {
        policy: facts,
        stored,
        watching: &watching,
        look: Some(&look),
        outcome: None,
        reset: false,
        unable: None,
        capacity: host.capacity,
        reserve: budget::kept_for_host(host.policies()),
        others: budget::given_to_others(host.policies(), &facts.name),
        pool_idle: facts.spec.target.pool.as_ref().map(|_| stored.status.idle),
        size: None,
        forecast: None,
    };
    let plan = limits::policy(&observation, now);
    let mut words = Vec::new();
    if stored.failed.is_some() && plan.stored.failed.is_none() {
        words.push("it goes on after the change that failed".into());
    }
    match plan.stored.pending.filter(|_| plan.order.is_some()) {
        Some(change) => {
            let how = if plan.order.is_some_and(|order| order.apply == crate::model::policy::Apply::Restart) {
                ", and it is restarted for that"
            } else {
                ""
            };
            words.push(format!("limits: {} -> {} ({}){how}", change.old, change.new, change.reason));
        }
        None => words.push(format!("no limit is changed at its first look: {} hold", stored.status.limits)),
    }
    let kept = ["ShrinkDeferred", "ScalingLimited"];
    let said = plan.stored.status.conditions.into_iter();
    words.extend(said.filter(|said| kept.contains(&said.kind.as_str()) && said.status == Truth::True).map(|said| said.message));
    words.extend(host.unknown(facts));
    words
}

/// A look at which the target is as it was seen last; of CPU as much was used since the look before.
fn look(stored: &StoredPolicy, usage: &PolicyUsage, (at, since): (Moment, Span)) -> Usage {
    fn known<T>(number: Option<T>) -> Known<T> {
        number.ok_or_else(|| "it was not known at the last look".into())
    }
    let micros = usage.cpu_cores.map(|cores| (cores * 1000.0 * since.0 as f64) as u64);
    let memory = known(usage.memory_bytes.map(Memory));
    let (waits, limits) = (&usage.pressure, stored.status.limits);
    Usage {
        at,
        cpu_micros: known(micros),
        memory: memory.clone(),
        working: memory,
        tasks: known(usage.tasks),
        pressure: Pressures { cpu: known(waits.cpu), memory: known(waits.memory), io: known(waits.io) },
        oom_kills: known(usage.oom_kills),
        held_back: known(usage.held_back),
        own: Err("it is not kept".into()),
        high: limits.memory.map(|max| memory_high(max, stored.high)),
        limits,
        lacking: Vec::new(),
    }
}
