//! What must hold of sizes: each change of a size is judged by what the sources had told until then.
//!
//! A decision is seen when its row goes to the store, and judged when its spec is shown. What a killed daemon had decided and
//! not committed was never decided.

use std::collections::BTreeMap;

use weir::model::batch::Batch;
use weir::model::plan::{Action, PoolFacts};
use weir::model::pool::PoolSpec;
use weir::model::scale::{FallbackBehavior, Scale, Trigger};
use weir::model::scaling::{Asker, Question};
use weir::model::status::{PoolObject, PoolStatus};
use weir::model::worker::{Seen, SlotId, SlotState};

use crate::scaled::zeros_of;
use crate::slots::{Inside, SimSlot};
use crate::sources::{Answer, Sources, url};

/// From a decision to what comes of it, at most.
const COMMIT_MAX: u64 = 300;

/// What was told of a source since the daemon started.
#[derive(Clone, Debug, Default)]
struct Heard {
    /// The last number that counts: a zero counts when it was read often enough.
    believed: Option<f64>,
    zeros: u32,
    /// The last answer was that number.
    good: bool,
    at: u64,
    /// An allowance is used up, since when.
    closed: Option<u64>,
}

type Ears = BTreeMap<(Asker, String), Heard>;

/// The size of a pool as it was decided.
#[derive(Clone, Debug)]
struct Decided {
    desired: u32,
    /// When a scaled pool last changed its size.
    changed: Option<u64>,
    /// That change was one from nothing: it counts as long as the pool may be empty.
    from_none: bool,
    /// The last change was one that does not count. The store keeps only the last one, so the next daemon does not know of the
    /// change before it either: its cooldown is lost, where an edit of the bounds came in between.
    hidden: bool,
}

/// A change of size that is still to be judged.
#[derive(Debug)]
struct Decision {
    generation: u64,
    from: u32,
    to: u32,
    at: u64,
    before: Decided,
    heard: Ears,
    short: bool,
}

/// What weir was last told of a worker.
struct Told {
    incarnation: u64,
    busy: bool,
    idle_since: u64,
}

/// Sizes, decided and kept.
#[derive(Default)]
pub struct Sizes {
    decided: BTreeMap<String, Decided>,
    kept: BTreeMap<String, Decided>,
    tickets: BTreeMap<u64, BTreeMap<String, Option<Decided>>>,
    waiting: BTreeMap<String, Vec<Decision>>,
    heard: BTreeMap<String, Ears>,
    told: BTreeMap<SlotId, Told>,
}

impl Sizes {
    /// What the living daemon wants of each pool.
    pub fn wanted(&self) -> BTreeMap<String, u32> {
        self.decided.iter().map(|(name, decided)| (name.clone(), decided.desired)).collect()
    }

    /// An answer reaches the daemon.
    pub fn answered(&mut self, answer: &Answer, now: u64) {
        let Question { asker, source, .. } = &answer.question;
        let ears = self.heard.entry(answer.pool.clone()).or_default();
        let heard = ears.entry((asker.clone(), url(source).to_owned())).or_default();
        let value = answer.answer.as_ref().ok().map(|number| number.value());
        heard.zeros = if value == Some(0.0) { heard.zeros + 1 } else { 0 };
        if value.is_some_and(|value| value > 0.0) || heard.zeros >= zeros_of(url(source)) {
            heard.believed = value;
        }
        heard.good = value.is_some() && value == heard.believed;
        heard.at = now;
        match value {
            Some(left) if left < 10.0 => heard.closed = heard.closed.or(Some(now)),
            Some(left) if left > 20.0 => heard.closed = None,
            Some(_) | None => {}
        }
    }

    /// A fact about a slot reaches the daemon.
    pub fn told(&mut self, id: &SlotId, seen: &Seen, now: u64) {
        let SlotState::Running(run) = &seen.state else {
            self.told.remove(id);
            return;
        };
        let known = self.told.get(id).filter(|told| told.incarnation == run.incarnation && !told.busy);
        let idle_since = known.map_or(now, |told| told.idle_since);
        self.told.insert(id.clone(), Told { incarnation: run.incarnation, busy: run.busy, idle_since });
    }

    /// Rows go to the store: what is in them is decided.
    pub fn decide(&mut self, ticket: u64, batch: &Batch, short: bool, now: u64) {
        let mut rows = BTreeMap::new();
        // The rows of a commit that failed come first: the last one counts.
        for (name, row) in batch.pools.iter().map(|(name, row)| (name.clone(), row)).collect::<BTreeMap<_, _>>() {
            let next = row.as_ref().map(|row| self.next(&name, &row.status, short, now));
            match next.clone() {
                Some(next) => self.decided.insert(name.clone(), next),
                None => self.decided.remove(&name),
            };
            rows.insert(name, next);
        }
        self.tickets.insert(ticket, rows);
    }

    fn next(&mut self, name: &str, status: &PoolStatus, short: bool, now: u64) -> Decided {
        let to = status.desired_replicas;
        let Some(before) = self.decided.get(name).cloned() else {
            return Decided { desired: to, changed: None, from_none: false, hidden: false };
        };
        let from = before.desired;
        if from == to {
            return before;
        }
        // The first workers of a pool that is never empty are no change of its size.
        let counts = status.scaling.as_ref().map(|scaling| from > 0 || scaling.min == 0);
        let changed = match counts {
            Some(true) => Some(now),
            Some(false) => before.changed,
            None => None,
        };
        let heard = self.heard.get(name).cloned().unwrap_or_default();
        let generation = status.observed_generation;
        let decision = Decision { generation, from, to, at: now, before, heard, short };
        self.waiting.entry(name.to_owned()).or_default().push(decision);
        Decided { desired: to, changed, from_none: from == 0, hidden: counts == Some(false) }
    }

    /// The store took it, or did not.
    pub fn committed(&mut self, ticket: u64, taken: bool) {
        for (name, row) in self.tickets.remove(&ticket).filter(|_| taken).unwrap_or_default() {
            match row {
                Some(row) => self.kept.insert(name, row),
                None => self.kept.remove(&name),
            };
        }
    }

    /// A daemon starts with what was kept.
    pub fn boot(&mut self) {
        self.kept.values_mut().filter(|decided| decided.hidden).for_each(|decided| decided.changed = None);
        self.decided.clone_from(&self.kept);
        self.tickets.clear();
        self.waiting.clear();
        self.heard.clear();
        self.told.clear();
    }

    /// A status is shown: what was decided for this spec is judged by it.
    pub fn shown(&mut self, pool: &PoolObject) -> Result<(), String> {
        let (name, status) = (&pool.metadata.name, &pool.status);
        if pool.spec.scale.as_ref().is_none_or(|scale| scale.quota.is_empty()) {
            self.heard.entry(name.clone()).or_default().retain(|(asker, _), _| matches!(asker, Asker::Trigger(_)));
        }
        let waiting = self.waiting.remove(name).unwrap_or_default();
        let ending = status.conditions.iter().any(|condition| condition.kind == "Terminating");
        // Of one that is held the spec is a guess, and nothing is decided.
        let held = status.conditions.iter().any(|condition| condition.reason == "Held");
        if ending || held || status.observed_generation != pool.metadata.generation {
            return Ok(());
        }
        bounded(&pool.spec, status.desired_replicas).map_err(|error| format!("pool {name}: {error}"))?;
        let judged = waiting.iter().filter(|decision| decision.generation == status.observed_generation);
        judged.map(|decision| judge(&pool.spec, decision)).find(Result::is_err).unwrap_or(Ok(())).map_err(|error| {
            let decisions: Vec<_> = waiting.iter().map(|decision| (decision.from, decision.to)).collect();
            format!("pool {name}: {error}; decided {decisions:?}")
        })
    }

    /// Weir is about to start a worker, or to tell one to stop.
    pub fn action(
        &self,
        facts: &PoolFacts,
        (action, slot): (&Action, &SimSlot),
        short: Option<u64>,
        now: u64,
    ) -> Result<(), String> {
        if facts.ending.is_some() {
            return Ok(());
        }
        let scale = facts.spec.scale.as_ref();
        let id = SlotId { pool: facts.name.clone(), worker: action.worker().to_owned() };
        match action {
            Action::Start { .. } if scale.is_some() && short.is_some_and(|since| now - since > COMMIT_MAX) => {
                Err(format!("{} is started, and the machine has no room", id.worker))
            }
            Action::Start { .. } => {
                let ears = self.heard.get(&facts.name).into_iter().flatten();
                let closed = ears.filter(|((asker, _), _)| matches!(asker, Asker::Quota(_))).find_map(|(_, heard)| heard.closed);
                let held = closed.filter(|since| scale.is_some_and(|scale| !scale.quota.is_empty()) && now - since > COMMIT_MAX);
                held.map_or(Ok(()), |_| Err(format!("{} is started, and its quota is used up", id.worker)))
            }
            Action::Signal { incarnation, .. } | Action::PreStop { incarnation, .. } => {
                let Inside::Process(run) = &slot.inside else { return Ok(()) };
                if run.incarnation != *incarnation || run.template != facts.template {
                    return Ok(());
                }
                let idle_timeout = scale.map_or(0, |scale| scale.behavior.scale_down.idle_timeout.0);
                self.spare(&id, *incarnation, idle_timeout, now)
            }
            Action::Kill { .. } | Action::Probe { .. } | Action::Look { .. } | Action::Refresh { .. } | Action::Forget { .. } => {
                Ok(())
            }
        }
    }

    /// It is idle, and has been for long enough.
    fn spare(&self, id: &SlotId, incarnation: u64, idle_timeout: u64, now: u64) -> Result<(), String> {
        let worker = &id.worker;
        match self.told.get(id).filter(|told| told.incarnation == incarnation) {
            None => Err(format!("{worker} is stopped to scale down, and was not told to run")),
            Some(told) if told.busy => Err(format!("{worker} is stopped to scale down, and said that it is busy")),
            Some(told) if now - told.idle_since < idle_timeout => {
                Err(format!("{worker} is stopped to scale down, idle for {} of {idle_timeout} ms", now - told.idle_since))
            }
            Some(_) => Ok(()),
        }
    }
}

/// The size is one that the spec allows.
fn bounded(spec: &PoolSpec, desired: u32) -> Result<(), String> {
    let (least, most) = match (&spec.scale, spec.fixed_replicas()) {
        (Some(scale), _) => (if scale.paused { 0 } else { scale.min_replicas }, scale.max_replicas),
        (None, fixed) => (fixed.unwrap_or(1), fixed.unwrap_or(1)),
    };
    if (least..=most).contains(&desired) { Ok(()) } else { Err(format!("{desired} are wanted, allowed are {least} to {most}")) }
}

fn judge(spec: &PoolSpec, decision: &Decision) -> Result<(), String> {
    let Some(scale) = &spec.scale else { return Ok(()) };
    let (from, to) = (decision.from, decision.to);
    // What a bound asks for needs no other reason.
    if to < from.min(scale.max_replicas) {
        lowered(scale, decision).map_err(|error| format!("lowered from {from} to {to}: {error}"))
    } else if to > from.max(scale.min_replicas) {
        raised(scale, decision).map_err(|error| format!("raised from {from} to {to}: {error}"))
    } else {
        Ok(())
    }
}

fn lowered(scale: &Scale, decision: &Decision) -> Result<(), String> {
    let behavior = &scale.behavior.scale_down;
    allowed(scale, behavior.cooldown.0, decision)?;
    for trigger in &scale.triggers {
        let name = trigger.name();
        let Some(heard) = ear(trigger, decision) else { return Err(format!("{name} has not answered yet")) };
        let old = trigger.polling_interval.0 * 3 + trigger.reading_timeout().0;
        if !heard.good {
            return Err(format!("{name} gave no good answer: {heard:?}"));
        }
        if decision.at - heard.at >= old {
            return Err(format!("{name} answered {} ms ago", decision.at - heard.at));
        }
        let wants = heard.believed.map_or(0, |value| asks_for(trigger, value, decision.from));
        if wants > decision.to && trigger.step.is_none() {
            return Err(format!("{name} asks for {wants}: {heard:?}"));
        }
    }
    Ok(())
}

fn raised(scale: &Scale, decision: &Decision) -> Result<(), String> {
    allowed(scale, scale.behavior.scale_up.cooldown.0, decision)?;
    if decision.short {
        return Err("the machine has no room".into());
    }
    let mut quotas = decision.heard.iter().filter(|((asker, _), _)| matches!(asker, Asker::Quota(_)));
    if !scale.quota.is_empty() && quotas.any(|(_, heard)| heard.closed.is_some()) {
        return Err("its quota is used up".into());
    }
    let asks = |trigger: &Trigger| Some(asks_for(trigger, ear(trigger, decision)?.believed?, decision.from));
    let most = scale.triggers.iter().filter_map(asks).max().unwrap_or(0);
    let fallback = if scale.fallback.behavior == FallbackBehavior::AtLeast { scale.fallback.replicas } else { 0 };
    let other = scale.min_idle > 0 || scale.triggers.iter().any(|trigger| trigger.step.is_some());
    if most.max(fallback) < decision.to && !other {
        return Err(format!("the sources ask for {most}"));
    }
    Ok(())
}

/// Nothing holds the size as it is.
fn allowed(scale: &Scale, cooldown: u64, decision: &Decision) -> Result<(), String> {
    if scale.paused {
        return Err("it is paused".into());
    }
    let counts = !decision.before.from_none || scale.min_replicas == 0;
    match decision.before.changed {
        Some(changed) if counts && decision.at - changed < cooldown => {
            Err(format!("{} ms after the last change, the cooldown is {cooldown} ms", decision.at - changed))
        }
        Some(_) | None => Ok(()),
    }
}

fn ear<'a>(trigger: &Trigger, decision: &'a Decision) -> Option<&'a Heard> {
    decision.heard.get(&(Asker::Trigger(trigger.name().to_owned()), url(&trigger.source).to_owned()))
}

/// The size that a number asks for.
fn asks_for(trigger: &Trigger, value: f64, size: u32) -> u32 {
    if let Some(step) = &trigger.step {
        return match step.up.above {
            Some(above) if value > above => size + step.up.by,
            _ if value <= step.down.at_most => size.saturating_sub(step.down.by),
            _ => size,
        };
    }
    let Some(target) = trigger.target_per_worker else { return value.ceil() as u32 };
    let off = (value / (target * f64::from(size)) - 1.0).abs();
    if value <= trigger.activation {
        0
    } else if off <= 0.1 + 1e-9 {
        size
    } else {
        (value / target).ceil() as u32
    }
}

/// In the end, with every worker idle, the size is what the truth asks for.
pub fn fits(scale: &Scale, sources: &Sources, size: u32) -> Result<(), String> {
    let truths: Vec<f64> = scale.triggers.iter().map(|trigger| sources.truth(url(&trigger.source))).collect();
    let asks = scale.triggers.iter().zip(&truths).map(|(trigger, truth)| asks_for(trigger, *truth, size));
    let asked = asks.max().unwrap_or(0).max(scale.min_idle).clamp(scale.min_replicas, scale.max_replicas);
    let holds = if scale.paused { size <= scale.max_replicas } else { size == asked };
    if holds { Ok(()) } else { Err(format!("there are {size}, the truth {truths:?} asks for {asked}")) }
}
