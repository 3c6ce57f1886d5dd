//! What to say of scaling: the backlog, the last decision, and its conditions, in the words of HPA.
//!
//! Nothing is decided here: [`super::demand`] has named every signal and clamp, and these are only put where readers look.

use super::demand::Demand;
use super::workers::Assignment;
use crate::model::host::Squeeze;
use crate::model::plan::PoolFacts;
use crate::model::reading::shown;
use crate::model::scaling::{Clamp, Explanation, SignalState};
use crate::model::status::{Backlog, EventType, MEMORY_PRESSED, PoolStatus, QUOTA_AVAILABLE, Truth};

/// A condition before it is dated: its kind, whether it holds, a word and a sentence.
pub type Said = (&'static str, Truth, &'static str, String);

/// What the triggers say.
pub fn backlog(demand: &Demand) -> Vec<Backlog> {
    let signals = demand.why.iter().flat_map(|why| &why.signals);
    signals
        .map(|signal| Backlog {
            trigger: signal.trigger.clone(),
            value: signal.value,
            state: signal.state,
            time: signal.time,
            error: signal.error.clone(),
        })
        .collect()
}

/// The last decision, with those that go. The size before it is told until the next change: looking again is no decision.
pub fn explanation(demand: &Demand, names: &Assignment, previous: &PoolStatus) -> Option<Explanation> {
    let mut why = demand.why.clone()?;
    why.victims.clone_from(&names.going.going);
    if why.current == why.wanted
        && let Some(last) = previous.last_scale.as_ref().filter(|last| last.to == why.wanted)
    {
        why.current = last.from;
    }
    Some(why)
}

/// The conditions of a scaled pool.
pub fn conditions(pool: &PoolFacts, demand: &Demand) -> Vec<Said> {
    let Some(why) = &demand.why else { return Vec::new() };
    let mut all = vec![active(why), able(why, demand), limited(why)];
    if let Some(clamp) = why.clamps.iter().find(|clamp| clamp.name == "paused") {
        all.push(("Paused", Truth::True, "Asked", clamp.why.clone()));
    }
    if pool.spec.scale.as_ref().is_some_and(|scale| !scale.quota.is_empty()) {
        all.push(match &demand.gate {
            None => (QUOTA_AVAILABLE, Truth::True, "WithinQuota", String::new()),
            Some(words) => (QUOTA_AVAILABLE, Truth::False, "QuotaUsedUp", words.clone()),
        });
    }
    all
}

/// Memory is short, and no more can be given. Said of a pool of a fixed size too.
pub fn pressed(squeeze: Option<&Squeeze>) -> Option<Said> {
    let Squeeze { rung, why } = squeeze?;
    Some((MEMORY_PRESSED, Truth::True, rung.reason(), why.clone()))
}

/// What to tell of a shortage of memory that begins, gets worse or ends.
fn shortage(before: &PoolStatus, after: &PoolStatus) -> Option<(EventType, &'static str, String)> {
    let of = |status: &'_ PoolStatus| status.conditions.iter().find(|condition| condition.kind == MEMORY_PRESSED).cloned();
    match (of(before), of(after)) {
        (Some(before), Some(after)) if before.reason == after.reason => None,
        (_, Some(after)) => Some((EventType::Warning, "MemoryPressed", after.message)),
        (Some(_), None) => Some((
            EventType::Normal,
            "MemoryRelieved",
            // Its memory may be as short as before: the policy may have been disabled or taken away.
            "its policy does not hold it back any more: it takes tasks and workers again".into(),
        )),
        (None, None) => None,
    }
}

/// Whether there are numbers to scale on.
fn active(why: &Explanation) -> Said {
    let bad = why.signals.iter().find(|signal| signal.state != SignalState::Fresh);
    let Some(signal) = bad else { return ("ScalingActive", Truth::True, "BacklogKnown", String::new()) };
    let error = signal.error.as_deref().unwrap_or("it was not read yet");
    let reason = match signal.state {
        SignalState::Fresh | SignalState::Stale => "BacklogStale",
        SignalState::Unknown => "BacklogUnknown",
    };
    ("ScalingActive", Truth::False, reason, format!("{}: {error}; nothing is lowered meanwhile", signal.trigger))
}

/// Whether the size may change now.
fn able(why: &Explanation, demand: &Demand) -> Said {
    let holds = |clamp: &&Clamp| {
        matches!(
            clamp.name.as_str(),
            "paused"
                | "scaleUp.cooldown"
                | "scaleDown.cooldown"
                | "stabilizationWindow"
                | "quota"
                | "headroom"
                | "poolBudget"
                | "memoryPressure"
        )
    };
    match (why.clamps.iter().find(holds), &demand.gate) {
        (Some(clamp), _) => ("AbleToScale", Truth::False, "Held", format!("{}: {}", clamp.name, clamp.why)),
        (None, Some(gate)) => ("AbleToScale", Truth::False, "Held", gate.clone()),
        (None, None) => ("AbleToScale", Truth::True, "ReadyForNewScale", String::new()),
    }
}

/// Whether a bound cut the answer.
fn limited(why: &Explanation) -> Said {
    let bound = why.clamps.iter().find(|clamp| matches!(clamp.name.as_str(), "minReplicas" | "maxReplicas"));
    match bound {
        Some(clamp) if clamp.name == "maxReplicas" => ("ScalingLimited", Truth::True, "TooManyReplicas", clamp.why.clone()),
        Some(clamp) => ("ScalingLimited", Truth::True, "TooFewReplicas", clamp.why.clone()),
        None => ("ScalingLimited", Truth::False, "DesiredWithinRange", String::new()),
    }
}

/// What to tell of numbers that cannot be read any more, or can again, and of allowances that are used up.
pub fn changes(before: &PoolStatus, after: &PoolStatus) -> Vec<(EventType, &'static str, String)> {
    let mut told = Vec::new();
    for signal in &after.backlog {
        let failed = before.backlog.iter().find(|old| old.trigger == signal.trigger).is_some_and(|old| old.error.is_some());
        match (&signal.error, signal.value) {
            (Some(error), _) if !failed => {
                let note = format!("{}: {error}; nothing is lowered while it cannot be read", signal.trigger);
                told.push((EventType::Warning, "BacklogUnavailable", note));
            }
            (None, Some(value)) if failed => {
                told.push((
                    EventType::Normal,
                    "BacklogAvailable",
                    format!("{} can be read again: {}", signal.trigger, shown(value)),
                ));
            }
            (Some(_) | None, _) => {}
        }
    }
    let quota = |status: &PoolStatus| status.conditions.iter().find(|condition| condition.kind == QUOTA_AVAILABLE).cloned();
    let truth = |condition: &Option<crate::model::status::Condition>| condition.as_ref().map(|condition| condition.status);
    let (old, new) = (quota(before), quota(after));
    match (truth(&old), truth(&new)) {
        (Some(Truth::True) | None, Some(Truth::False)) => {
            let words = new.map(|condition| condition.message).unwrap_or_default();
            told.push((EventType::Warning, "QuotaUsedUp", format!("{words}; no worker is started until there is more")));
        }
        (Some(Truth::False), Some(Truth::True)) => {
            told.push((EventType::Normal, "QuotaAvailable", "the quotas allow new workers again".into()));
        }
        (Some(_) | None, Some(_) | None) => {}
    }
    told.extend(shortage(before, after));
    told
}
