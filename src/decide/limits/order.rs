//! From what is wanted to the one order of a look: the wishes in turn, and how much of each may be written.
//!
//! A wish that cannot be done keeps nothing else from being done: whoever comes after it has the resources that it is not about.
//! Every amount goes through [`super::clamp`], the last function before an order.

use super::clamp::{self, Kept, Room};
use super::measure::{self, Breach};
use super::step::Wish;
use super::{CORRECTIONS, CORRECTIONS_WITHIN, Turn};
use crate::model::host::Rung;
use crate::model::limits::{ChangeAction, ChangeTrigger, High, LimitChange, LimitOrder, memory_high, settable};
use crate::model::policy::{Amounts, Apply, Mode, Resource, Target};
use crate::model::policy_status::PolicyUsage;
use crate::model::status::EventType;

impl Turn<'_> {
    /// Order the first of what is wanted that can be done. `MemoryHigh` is moved where no limit is.
    pub(super) fn change(&mut self, limits: Amounts, breaches: &[Breach], (usage, rests): (&PolicyUsage, bool)) {
        let mut open = self.about.clone();
        if let Some(foreign) = self.foreign(limits).filter(|_| self.spec().mode != Mode::Disabled) {
            open.retain(|of| foreign.of(*of).is_none());
            self.correct(foreign, limits, usage);
        }
        for wish in self.wishes(limits, breaches, rests) {
            let left = open.iter().fold(Amounts::default(), |all, of| all.with(*of, wish.limits.of(*of)));
            if self.plan.order.is_none() && left != Amounts::default() {
                open.retain(|of| left.of(*of).is_none());
                self.order(Wish { limits: left, ..wish }, limits, usage);
            }
        }
        if self.plan.order.is_none()
            && let Some(wish) = self.move_high(limits, usage)
        {
            self.order(wish, limits, usage);
        }
    }

    /// Put back what somebody else has changed. What cannot be put back is taken as it is, where it may be so; else it would be
    /// wanted for ever, and never followed.
    fn correct(&mut self, foreign: Amounts, limits: Amounts, usage: &PolicyUsage) {
        if !self.may_correct() {
            return self.told_too_often(foreign);
        }
        let reason = "somebody else changed them".into();
        let wish = Wish { action: ChangeAction::Correct, trigger: ChangeTrigger::Foreign, reason, limits: foreign };
        let (mut taken, mut waits) = (Amounts::default(), Vec::new());
        for (of, why) in self.order(wish, limits, usage) {
            let (min, max) = self.bounds(of);
            let known = why != Kept::Used || measure::used(usage, of).is_some();
            match limits.of(of).filter(|limit| known && (min..=max).contains(limit)) {
                Some(limit) => taken = taken.with(of, Some(limit)),
                None => waits.push(of.name()),
            }
        }
        self.plan.stored.applied = taken.or(self.plan.stored.applied);
        self.told_foreign(foreign, taken, &waits);
    }

    /// Whether what somebody else changed may be put back once more. It does not go on for ever against whoever does it again.
    pub(super) fn may_correct(&mut self) -> bool {
        let now = self.now.mono;
        self.plan.watching.corrections.retain(|at| now.since(*at) < CORRECTIONS_WITHIN);
        self.plan.watching.corrections.len() < CORRECTIONS
    }

    pub(super) fn bounds(&self, of: Resource) -> (u64, u64) {
        let bounds = &self.spec().bounds;
        (bounds.min.of(of).unwrap_or(0).max(1), bounds.max.of(of).unwrap_or(u64::MAX / 2))
    }

    /// What a value of this resource must fit in.
    fn room(&self, of: Resource, usage: &PolicyUsage) -> Room {
        let (min, max) = self.bounds(of);
        // What the machine has is not known: then it has nothing to give.
        let all = self.o.capacity.of(of).unwrap_or(0);
        let left = |reserve: u64| all.saturating_sub(reserve).saturating_sub(self.o.others.of(of).unwrap_or(0));
        let budget = self.o.reserve.of(of).map(left);
        Room { min, max, budget, used: measure::used(usage, of), high: self.high() }
    }

    /// As much of an amount as may be written.
    pub(super) fn allowed(&self, (of, amount): (Resource, u64), limits: Amounts, usage: &PolicyUsage) -> Result<u64, Kept> {
        clamp::clamp(of, amount, limits.of(of), self.room(of, usage))
    }

    /// Order as much of a wish as may be written. Says what may not be, and why.
    pub(super) fn order(&mut self, wish: Wish, limits: Amounts, usage: &PolicyUsage) -> Vec<(Resource, Kept)> {
        let (mut wanted, mut kept) = (Amounts::default(), Vec::new());
        for of in self.about.clone() {
            let Some(amount) = wish.limits.of(of) else { continue };
            let allowed = self.allowed((of, amount), limits, usage);
            if wish.action.moves_high() {
                // It goes with the limit that there is, and with no other.
                wanted = wanted.with(of, Some(amount).filter(|_| allowed == Err(Kept::Same)));
                continue;
            }
            match allowed {
                Ok(value) => wanted = wanted.with(of, Some(value)),
                Err(Kept::Same) => {}
                Err(why) => kept.push((of, why)),
            }
        }
        self.told_kept(&wish, &kept);
        if wish.action == ChangeAction::ScaleUp && kept.iter().any(|(of, _)| *of == Resource::Memory) {
            self.plan.stored.oom_owed = false;
        }
        // One restart for all that is to be lowered, and none for a part of it.
        let part = wish.action == ChangeAction::ScaleDown && kept.iter().any(|(_, why)| *why == Kept::Used);
        if wanted == Amounts::default() || part && self.spec().apply == Apply::Restart {
            return kept;
        }
        if wish.action == ChangeAction::Correct || wish.action.moves_high() {
            self.plan.watching.corrections.push(self.now.mono);
        }
        self.issue(wish, (wanted, limits), self.spec().target.clone());
        kept
    }

    fn issue(&mut self, wish: Wish, (wanted, limits): (Amounts, Amounts), target: Target) {
        self.plan.stored.orders += 1;
        let Wish { action, trigger, reason, .. } = wish;
        let high = if wanted.memory.is_some() { self.high() } else { self.plan.stored.high };
        let row = LimitChange { action, trigger, reason, old: limits, new: wanted.or(limits), high, ..LimitChange::default() };
        self.plan.stored.pending = Some(LimitChange { time: self.now.wall, ..row });
        let others = self.about.iter().filter(|of| wanted.of(**of).is_none());
        let order = LimitOrder {
            id: self.plan.stored.orders,
            name: self.plan.stored.status.target.clone(),
            generation: self.o.policy.generation,
            wanted,
            kept: others.fold(Amounts::default(), |all, of| all.with(*of, settable(limits).of(*of))),
            previous: limits,
            high,
            high_before: self.plan.watching.last.as_ref().and_then(|last| last.high),
            // The slice of a pool is never restarted, whatever is asked of a unit that took its place.
            apply: if target.pool.is_some() { Apply::Live } else { self.spec().apply },
            persist: self.spec().persist,
            target,
        };
        self.plan.watching.ordered = Some(order.clone());
        self.plan.order = Some(order);
    }

    /// End what was done for want of memory where this policy leaves a pool. A `MemoryHigh` that it has lifted is put back, as
    /// nobody may come who would.
    pub(super) fn leave(&mut self) {
        let (lifted, left) = (self.plan.stored.shortage.rung == Rung::Lifted, self.plan.stored.status.target.clone());
        self.let_go();
        let stored = &self.plan.stored;
        let ours = stored.high == High::AtMax && stored.failed.is_none() && self.plan.watching.ordered.is_none();
        let pool = left.strip_prefix("pool/").filter(|_| ours && !self.o.policy.poolless);
        let Some((limit, pool)) = stored.status.limits.memory.zip(pool) else { return };
        let below = memory_high(limit, High::Below);
        let used = self.plan.watching.last.as_ref().and_then(|last| last.working.clone().ok());
        if used.is_none_or(|used| used >= below) {
            if lifted {
                let why = format!("more is used than {below}, where it would be put back, or that is not known");
                self.tell(EventType::Warning, "ShrinkDeferred", format!("MemoryHigh of {left} stays at MemoryMax: {why}"));
            }
            return;
        }
        let target = Target { pool: Some(pool.to_owned()), unit: None };
        let reason = format!("MemoryHigh is put back from MemoryMax to {below}: its policy leaves it");
        let (action, trigger) = (ChangeAction::LowerHigh, ChangeTrigger::Spec);
        let (limits, wanted) = (stored.status.limits, Amounts { memory: Some(limit), ..Amounts::default() });
        self.issue(Wish { action, trigger, reason, limits: wanted }, (wanted, limits), target);
    }
}
