//! What is said of a policy: its conditions and its status, from what is known and decided.
//!
//! What only a look can show stands as the last look showed it.

use super::clamp::Kept;
use super::step::Wish;
use super::{HELD, Said, Turn};
use crate::model::host::Known;
use crate::model::limits::{ChangeAction, memory_high};
use crate::model::policy::{Amounts, Resource};
use crate::model::policy_status::{ForecastStatus, PolicyUsage};
use crate::model::quantity::Memory;
use crate::model::status::{Condition, EventType, Truth};
use crate::model::usage::Usage;

/// Conditions in the order in which they are shown; those that a look alone can show stay until the next one.
const ORDER: [&str; 13] = [
    "Accepted",
    "TargetFound",
    "LimitsEnforced",
    "Applied",
    "Failed",
    "ShrinkDeferred",
    "ForeignWriter",
    "ScalingLimited",
    "MemoryHeldBack",
    "MemoryPressed",
    "Terminating",
    "SpecsReadable",
    "PruneBlocked",
];
/// Those of [`ORDER`] that a look alone can show.
const SEEN: [&str; 5] = ["ShrinkDeferred", "ForeignWriter", "ScalingLimited", "MemoryHeldBack", "MemoryPressed"];

/// The word of an event.
pub fn word(action: ChangeAction) -> &'static str {
    match action {
        ChangeAction::Initial | ChangeAction::Manual | ChangeAction::Bound => "LimitsSet",
        ChangeAction::ScaleUp => "LimitsRaised",
        ChangeAction::ScaleDown => "LimitsLowered",
        ChangeAction::Correct => "LimitsCorrected",
        ChangeAction::Rollback | ChangeAction::Reset => "LimitsReset",
        ChangeAction::LiftHigh => "MemoryHighLifted",
        ChangeAction::LowerHigh => "MemoryHighLowered",
    }
}

fn changes(set: Amounts) -> String {
    format!("somebody else changes the limits that weir set to {set}")
}

impl Turn<'_> {
    /// What is so unless this look shows otherwise.
    pub(super) fn calm_conditions(&mut self) {
        self.put(("ShrinkDeferred", Truth::False, "Fits", String::new()));
        self.put(("ForeignWriter", Truth::False, "Alone", String::new()));
        self.put(("ScalingLimited", Truth::False, "Room", String::new()));
    }

    pub(super) fn put(&mut self, said: Said) {
        self.said.retain(|(kind, ..)| *kind != said.0);
        self.said.push(said);
    }

    fn held_before(&self, kind: &str) -> bool {
        let all = &self.o.stored.status.conditions;
        all.iter().any(|condition| condition.kind == kind && condition.status == Truth::True)
    }

    /// Say something, and tell it when it begins.
    fn put_and_tell(&mut self, kind: &'static str, reason: &'static str, message: String) {
        if !self.held_before(kind) {
            self.tell(EventType::Warning, kind, message.clone());
        }
        self.put((kind, Truth::True, reason, message));
    }

    /// `MemoryHigh` should be put back, and more is used than that.
    pub(super) fn told_high_kept(&mut self, below: Memory) {
        let message = format!("MemoryHigh is not lowered to {below} while more is used, or while that is not known");
        self.put_and_tell("ShrinkDeferred", "InUse", message);
    }

    pub(super) fn told_too_often(&mut self, set: Amounts) {
        let message = format!("{}; it was corrected 3 times within a minute and is left alone for now", changes(set));
        self.put_and_tell("ForeignWriter", "TooOften", message);
    }

    /// Somebody else changed what weir set to this; what is `taken` is followed as it is from now on, what `waits` cannot be put
    /// back yet.
    pub(super) fn told_foreign(&mut self, set: Amounts, taken: Amounts, waits: &[&str]) {
        let mut message = changes(set);
        let mut reason = "Corrected";
        if taken != Amounts::default() {
            reason = "Taken";
            message.push_str(&format!("; what weir set cannot be put back, and {taken} is taken as it is"));
        }
        if !waits.is_empty() {
            reason = "NotCorrected";
            message.push_str(&format!("; {} is put back as soon as it can be", waits.join(", ")));
        }
        if self.plan.order.is_some() {
            message.push_str(if reason == "Corrected" { "; they are put back" } else { "; the rest is put back" });
        }
        self.put_and_tell("ForeignWriter", reason, message);
    }

    /// What somebody else changed while the policy is failed.
    pub(super) fn told_left_alone(&mut self, set: Option<Amounts>) {
        match set {
            Some(set) => {
                let message = format!("{}; they are left alone while the policy is failed", changes(set));
                self.put_and_tell("ForeignWriter", "LeftAlone", message);
            }
            None => self.put(("ForeignWriter", Truth::False, "Alone", String::new())),
        }
    }

    /// What failed holds all the same.
    pub(super) fn told_late(&mut self, limits: Amounts) {
        let message =
            format!("{limits} hold, though setting them had failed: that was carried out late, or somebody else did it");
        self.put_and_tell("ForeignWriter", "Late", message);
    }

    pub(super) fn told_kept(&mut self, wish: &Wish, kept: &[(Resource, Kept)]) {
        for (of, why) in kept {
            let (of, wanted) = (*of, of.shown(wish.limits.of(*of).unwrap_or(0)));
            match why {
                Kept::Same => {}
                Kept::Used => {
                    let message =
                        format!("{} is not lowered to {wanted} while more is used, or while that is not known", of.name());
                    self.put_and_tell("ShrinkDeferred", "InUse", message);
                }
                Kept::Bound if wish.action == ChangeAction::ScaleDown => {}
                Kept::Bound => {
                    let message = format!("{} would be {wanted}, and the bounds end before that", of.name());
                    self.put_and_tell("ScalingLimited", "AtBound", message);
                }
                Kept::Budget => {
                    let message = format!("{} would be {wanted}, and the host has no more to give beside its reserve", of.name());
                    self.put_and_tell("ScalingLimited", "HostBudget", message);
                }
            }
        }
    }

    /// A target that is held back at `memory.high` again and again and does not get on: without swap it may go on so for ever.
    pub(super) fn held(&mut self, look: &Usage, usage: &PolicyUsage) {
        let before = self.plan.watching.last.as_ref().and_then(|last| last.held_back.clone().ok());
        let climbing = before.zip(look.held_back.clone().ok()).is_some_and(|(before, now)| now > before);
        let high = look.limits.memory.map(|max| look.high.unwrap_or_else(|| memory_high(max, self.plan.stored.high)));
        let there = |used: &Known<Memory>| high.is_some_and(|high| used.as_ref().is_ok_and(|used| *used >= high));
        let full = there(&look.memory);
        // File pages come to MemoryHigh too, and are given back without anybody waiting for it.
        let most = f64::from(self.spec().pressure.memory.unwrap_or(10));
        let waits = usage.pressure.memory.map_or_else(|| there(&look.working), |waits| waits >= most);
        let held = if climbing && full && waits { self.plan.watching.held.saturating_add(1) } else { 0 };
        self.plan.watching.held = held;
        if held >= HELD {
            let message = format!(
                "livelock: it was held back at MemoryHigh at each of the last {held} looks and does not get on; \
                 it needs more memory than its bounds or the host allow, or has to be stopped"
            );
            self.put_and_tell("MemoryHeldBack", "Livelock", message);
        } else {
            self.put(("MemoryHeldBack", Truth::False, "Free", String::new()));
        }
    }

    /// The status, with everything that was said.
    pub(super) fn say(&mut self) {
        let spec = self.spec();
        let mut all = vec![self.accepted(), self.found(), self.enforced(), self.set(), self.failure()];
        all.append(&mut self.said);
        all.extend(self.about_the_document());
        let before = self.o.stored.status.conditions.clone();
        let conditions = ORDER.into_iter().filter_map(|kind| {
            let old = before.iter().find(|condition| condition.kind == kind);
            match all.iter().find(|said| said.0 == kind) {
                Some(said) => Some(self.dated(said, old)),
                None => old.filter(|_| SEEN.contains(&kind)).cloned(),
            }
        });
        let conditions = conditions.collect();
        let status = &mut self.plan.stored.status;
        (status.mode, status.profile, status.observed_generation) = (spec.mode, spec.profile, self.o.policy.generation);
        status.source = self.o.policy.source.clone();
        status.forecast = self.o.forecast.map(ForecastStatus::short);
        status.conditions = conditions;
    }

    fn dated(&self, (kind, truth, reason, message): &Said, old: Option<&Condition>) -> Condition {
        let before = old.filter(|condition| condition.status == *truth);
        Condition {
            kind: (*kind).into(),
            status: *truth,
            reason: (*reason).into(),
            message: message.clone(),
            last_transition_time: before.map_or(self.now.wall, |condition| condition.last_transition_time),
            observed_generation: self.o.policy.generation,
        }
    }

    fn accepted(&self) -> Said {
        let policy = self.o.policy;
        if let Some(rival) = &policy.rival {
            let message = format!("policy/{rival} has the same target, {}: only one of them can", policy.target);
            return ("Accepted", Truth::False, "TargetTaken", message);
        }
        match &policy.refused {
            None => ("Accepted", Truth::True, "Valid", String::new()),
            Some(why) => ("Accepted", Truth::False, "Invalid", format!("the last good version stays in force: {why}")),
        }
    }

    fn found(&self) -> Said {
        let (target, watching) = (&self.o.policy.target, &self.plan.watching);
        match (&watching.blind, &watching.last) {
            _ if self.o.policy.poolless => ("TargetFound", Truth::False, "NoSuchPool", format!("there is no {target}")),
            (Some(why), _) if why.contains("not found") => ("TargetFound", Truth::False, "NotFound", why.clone()),
            (Some(why), _) => ("TargetFound", Truth::Unknown, "Unreadable", why.clone()),
            (None, Some(_)) => ("TargetFound", Truth::True, "Found", String::new()),
            (None, None) => ("TargetFound", Truth::Unknown, "NotLookedAt", format!("{target} was not looked at yet")),
        }
    }

    fn enforced(&self) -> Said {
        if let Some(why) = self.o.unable {
            return ("LimitsEnforced", Truth::False, "NotSupported", why.to_owned());
        }
        let asked = super::step::about(self.spec());
        let lacking = |look: &Usage| look.lacking.iter().filter(|of| asked.contains(of)).map(|of| of.name()).collect::<Vec<_>>();
        match self.plan.watching.last.as_ref().map(lacking) {
            Some(lacking) if !lacking.is_empty() => {
                let message = format!("no limit of {} is held: its manager has no controller for that", lacking.join(", "));
                ("LimitsEnforced", Truth::False, "NoController", message)
            }
            Some(_) => ("LimitsEnforced", Truth::True, "Enforced", String::new()),
            None => ("LimitsEnforced", Truth::Unknown, "NotLookedAt", String::new()),
        }
    }

    fn set(&self) -> Said {
        let stored = &self.plan.stored;
        match (&stored.pending, &stored.failed) {
            (Some(change), _) => ("Applied", Truth::False, "Pending", format!("{} are being set", change.new)),
            (None, Some(_)) => ("Applied", Truth::False, "Failed", "the last change failed".into()),
            (None, None) if stored.applied == Amounts::default() => {
                ("Applied", Truth::Unknown, "NothingSet", "nothing had to be set yet".into())
            }
            (None, None) => ("Applied", Truth::True, "Set", format!("{} are set", stored.applied)),
        }
    }

    fn failure(&self) -> Said {
        match &self.plan.stored.failed {
            None => ("Failed", Truth::False, "NoFailure", String::new()),
            Some(failed) => {
                let reset = format!("nothing more is changed until \"ctl policy reset {}\" or an edit", self.o.policy.name);
                ("Failed", Truth::True, "ChangeFailed", format!("{}; {reset}", failed.error))
            }
        }
    }

    fn about_the_document(&self) -> Vec<Said> {
        let policy = self.o.policy;
        let mut all = Vec::new();
        if policy.removed {
            let message = format!("its document is gone; the limits of {} stay as they are", policy.target);
            all.push(("Terminating", Truth::True, "SpecRemoved", message));
        }
        if let Some(why) = &policy.unreadable {
            let message = format!("the last accepted version stays in force: {why}");
            all.push(("SpecsReadable", Truth::False, "SpecSourceUnavailable", message));
        }
        if let Some(token) = &policy.prune_blocked {
            let message = format!(
                "too much vanished at once, so nothing is removed: put the files back, or run `ctl prune --confirm {token}`"
            );
            all.push(("PruneBlocked", Truth::True, "TooManyVanished", message));
        }
        all
    }
}
