//! What to say of scaling: the backlog, the last decision, and its conditions, in the words of HPA.
//!
//! Nothing is decided here: [`super::demand`] has named every signal and clamp, and these are only put where readers look.

use super::demand::Demand;
use super::workers::Assignment;
use crate::model::host::Squeeze;
use crate::model::plan::PoolFacts;
use crate::model::reading::shown;
use crate::model::scaling::{Allowance, Clamp, Explanation, SignalState};
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
        all.push(quota(why, demand));
    }
    all
}

/// Whether the quotas allow new work. Of one that cannot be read nobody knows; one that is used up all the same is so.
fn quota(why: &Explanation, demand: &Demand) -> Said {
    if why.quotas.iter().any(|quota| quota.used_up) {
        return (QUOTA_AVAILABLE, Truth::False, "QuotaUsedUp", demand.gate.clone().unwrap_or_default());
    }
    let doubted = why.quotas.iter().filter(|quota| quota.state != SignalState::Fresh);
    let Some(quota) = doubted.min_by_key(|quota| quota.allows()) else {
        return (QUOTA_AVAILABLE, Truth::True, "WithinQuota", String::new());
    };
    let reason = if quota.value.is_none() && quota.error.is_none() { "NotRead" } else { "ReadFailed" };
    (QUOTA_AVAILABLE, Truth::Unknown, reason, unread(quota))
}

/// What is wrong with the reading of a quota, and what comes of it.
fn unread(quota: &Allowance) -> String {
    let error = quota.error.as_deref().unwrap_or("it was not read yet");
    match quota.value {
        None => format!("{}: {error}; no worker is started until it is read", quota.quota),
        Some(left) => format!("{}: {error}; it had {} left when it was read last, and that counts", quota.quota, shown(left)),
    }
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
    let doubt = signal.doubt.as_deref().unwrap_or("it was not read yet");
    let reason = match signal.state {
        SignalState::Fresh | SignalState::Stale => "BacklogStale",
        SignalState::Unknown => "BacklogUnknown",
    };
    ("ScalingActive", Truth::False, reason, format!("{}: {doubt}", signal.trigger))
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

/// What to tell of numbers that cannot be read any more, or can again, of quotas, and of memory that is short.
pub fn changes(before: &PoolStatus, after: &PoolStatus) -> Vec<(EventType, &'static str, String)> {
    let mut told = Vec::new();
    for signal in after.scaling.iter().flat_map(|why| &why.signals) {
        let failed = before.backlog.iter().find(|old| old.trigger == signal.trigger).is_some_and(|old| old.error.is_some());
        match (&signal.error, signal.value) {
            (Some(error), _) if !failed => {
                let note = format!("{}: {}", signal.trigger, signal.doubt.as_ref().unwrap_or(error));
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
    told.extend(quotas(before, after));
    told.extend(shortage(before, after));
    told
}

/// What to tell of quotas that cannot be read any more, or can again, that are used up, or are not any more.
fn quotas(before: &PoolStatus, after: &PoolStatus) -> Vec<(EventType, &'static str, String)> {
    fn of(status: &PoolStatus) -> &[Allowance] {
        status.scaling.as_ref().map_or(&[], |why| &why.quotas)
    }
    let (old, new) = (of(before), of(after));
    let mut told = Vec::new();
    for quota in new {
        let failed = old.iter().any(|old| old.quota == quota.quota && old.error.is_some());
        match (&quota.error, quota.value) {
            (Some(_), _) if !failed => told.push((EventType::Warning, "QuotaUnreadable", unread(quota))),
            (None, Some(left)) if failed => {
                told.push((EventType::Normal, "QuotaReadable", format!("{} can be read again: {}", quota.quota, shown(left))));
            }
            (Some(_) | None, _) => {}
        }
    }
    let used_up = |all: &[Allowance]| all.iter().any(|quota| quota.used_up);
    match (used_up(old), used_up(new)) {
        (false, true) => {
            let said = after.conditions.iter().find(|condition| condition.kind == QUOTA_AVAILABLE);
            let words = said.map(|condition| condition.message.clone()).unwrap_or_default();
            told.push((EventType::Warning, "QuotaUsedUp", format!("{words}; no worker is started until there is more")));
        }
        (true, false) if !new.is_empty() && new.iter().all(Allowance::allows) => {
            told.push((EventType::Normal, "QuotaAvailable", "the quotas allow new workers again".into()));
        }
        (true | false, _) => {}
    }
    told
}
