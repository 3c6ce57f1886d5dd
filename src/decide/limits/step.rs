//! Which changes a look asks for, in a fixed order.
//!
//! ```text
//! somebody else's change -> manual | the first limits -> outside the bounds -> kills, breaches -> calm
//! ```
//! What comes out are wishes: which of them is ordered is [`super::order`]'s to say, and how much of it [`super::clamp`]'s.

use super::measure::Breach;
use super::rules::Rules;
use super::{Turn, clamp};
use crate::decide::joint;
use crate::model::limits::{ChangeAction, ChangeTrigger, settable};
use crate::model::policy::{Amounts, Mode, PolicySpec, Resource};
use crate::model::reading::times;

/// A change that is wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    /// What is done.
    pub action: ChangeAction,
    /// What makes it happen.
    pub trigger: ChangeTrigger,
    /// In words.
    pub reason: String,
    /// The limits that it asks for; what is absent stays.
    pub limits: Amounts,
}

/// The resources that a policy is about: those that have bounds.
pub fn about(spec: &PolicySpec) -> Vec<Resource> {
    let bounded = |of: &Resource| spec.bounds.min.of(*of).is_some() || spec.bounds.max.of(*of).is_some();
    Resource::EACH.into_iter().filter(bounded).collect()
}

impl Turn<'_> {
    /// The changes that this look asks for beside putting back what somebody else has changed.
    pub(super) fn wishes(&self, limits: Amounts, breaches: &[Breach], rests: bool) -> Vec<Wish> {
        match self.spec().mode {
            Mode::Disabled => return Vec::new(),
            Mode::Manual => return self.manual(limits).into_iter().collect(),
            Mode::Enabled => {}
        }
        let first = [self.initial(limits), self.outside(limits)];
        let then = if rests { [None, None] } else { [self.raise(limits, breaches), self.lower(limits)] };
        first.into_iter().chain(then).flatten().collect()
    }

    /// What was set, where something else holds now.
    pub(super) fn foreign(&self, limits: Amounts) -> Option<Amounts> {
        let (applied, limits) = (settable(self.plan.stored.applied), settable(limits));
        let differs = |of: &Resource| applied.of(*of).is_some() && applied.of(*of) != limits.of(*of);
        let other: Vec<Resource> = self.about.iter().copied().filter(differs).collect();
        let was = |all: Amounts, of: &Resource| all.with(*of, applied.of(*of));
        (!other.is_empty()).then(|| other.iter().fold(Amounts::default(), was))
    }

    fn manual(&self, limits: Amounts) -> Option<Wish> {
        let manual = self.spec().manual.as_ref()?;
        let differs = |of: &Resource| manual.limits().of(*of).is_some() && manual.limits().of(*of) != limits.of(*of);
        let wanted = self.pick(|of| manual.limits().of(of).filter(|_| differs(&of)))?;
        let reason = manual.reason.clone().unwrap_or_else(|| "mode Manual".into());
        Some(Wish { action: ChangeAction::Manual, trigger: ChangeTrigger::Manual, reason, limits: wanted })
    }

    fn initial(&self, limits: Amounts) -> Option<Wish> {
        let spec = self.spec();
        // Without a word about it, the most that is allowed: a target that ran without limits is not throttled at once.
        let given = |of: Resource| spec.initial.as_ref().and_then(|all| all.of(of)).or(spec.bounds.max.of(of));
        let wanted = self.pick(|of| given(of).filter(|_| limits.of(of).is_none()))?;
        let reason = "it had no limit".into();
        Some(Wish { action: ChangeAction::Initial, trigger: ChangeTrigger::Spec, reason, limits: wanted })
    }

    fn outside(&self, limits: Amounts) -> Option<Wish> {
        let wanted = self.pick(|of| {
            let (limit, (min, max)) = (limits.of(of)?, self.bounds(of));
            Some(limit.clamp(min.min(max), max)).filter(|inside| *inside != limit)
        })?;
        let reason = "it was outside the bounds".into();
        Some(Wish { action: ChangeAction::Bound, trigger: ChangeTrigger::Spec, reason, limits: wanted })
    }

    /// The memory that the workers who are wanted take together, and why the limit is too low for them, where it is.
    fn short(&self, limits: Amounts) -> Option<(u64, String)> {
        let (size, limit) = self.o.size.zip(limits.memory)?;
        Some((joint::needed(size), joint::more(size, limit.0)?))
    }

    /// Kills count at once, and so do workers that have no room: they come whether there is or not. Breaches count when they came
    /// often enough in a row.
    fn raise(&self, limits: Amounts, breaches: &[Breach]) -> Option<Wish> {
        let rules = self.rules;
        let killed = self.plan.stored.oom_owed;
        let often = self.plan.stored.status.checks.up >= rules.checks_up;
        let short = self.short(limits);
        let up = |of: Resource| {
            let breached = often && breaches.iter().any(|breach| breach.of == of);
            let needed = short.as_ref().filter(|_| of == Resource::Memory).map(|(needed, _)| *needed);
            let limit = limits.of(of).filter(|_| breached || needed.is_some() || killed && of == Resource::Memory)?;
            Some(rules.raised(limit, self.least(of)).max(needed.unwrap_or(0)))
        };
        let wanted = self.pick(up)?;
        let (trigger, reason) = match breaches.first() {
            Some(_) if !killed && !often => (ChangeTrigger::Memory, short?.1),
            _ if killed => (ChangeTrigger::Oom, "the kernel killed in it for want of memory".into()),
            Some(first) => {
                let all: Vec<&str> = breaches.iter().map(|breach| breach.why.as_str()).collect();
                (first.trigger, format!("{}, {} in a row", all.join("; "), times(self.plan.stored.status.checks.up)))
            }
            None => return None,
        };
        Some(Wish { action: ChangeAction::ScaleUp, trigger, reason, limits: wanted })
    }

    pub(super) fn lower(&self, limits: Amounts) -> Option<Wish> {
        let (rules, calm): (Rules, u32) = (self.rules, self.plan.stored.status.checks.down);
        if calm < rules.checks_down {
            return None;
        }
        // Workers that are wanted and do not run yet will need what is expected of them.
        let wanted_memory = self.o.size.map_or(0, joint::needed);
        let needed = |of: Resource| if of == Resource::Memory { wanted_memory } else { 0 };
        let lowered = |of: Resource, limit| rules.lowered(limit, self.least(of)).max(needed(of));
        let wanted = self.pick(|of| limits.of(of).map(|limit| lowered(of, limit).min(limit)))?;
        let reason = format!("every use is low, {} in a row", times(calm));
        Some(Wish { action: ChangeAction::ScaleDown, trigger: ChangeTrigger::Idle, reason, limits: wanted })
    }

    /// The smallest step.
    pub(super) fn least(&self, of: Resource) -> u64 {
        self.spec().min_step.of(of).unwrap_or(0).max(clamp::step(of))
    }

    /// The amounts that a rule gives for the resources that this is about; none where it gives none.
    fn pick(&self, rule: impl Fn(Resource) -> Option<u64>) -> Option<Amounts> {
        let all = self.about.iter().fold(Amounts::default(), |all, of| all.with(*of, rule(*of)));
        (all != Amounts::default()).then_some(all)
    }
}
