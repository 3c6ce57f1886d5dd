//! What came of the last order: done, failed, or not known because whoever ordered it has ended.
//!
//! What an order did to a target that the policy has no more is told, and says nothing of the one that it has. A call that nobody
//! answered may be carried out late: that is looked for as long as the policy is failed.

use super::step::Wish;
use super::{Turn, said};
use crate::model::limits::{ChangeAction, ChangeStatus, ChangeTrigger, LimitChange, LimitFailure, LimitOrder, memory_high};
use crate::model::policy::{Amounts, Apply, Resource};
use crate::model::policy_plan::Failed;
use crate::model::policy_status::{Checks, PolicyUsage};
use crate::model::status::EventType;
use crate::model::usage::Usage;

impl Turn<'_> {
    /// What came of the last order.
    pub(super) fn outcome(&mut self) {
        let ordered = self.plan.watching.ordered.clone();
        let Some((outcome, order)) = self.o.outcome.zip(ordered).filter(|(outcome, order)| outcome.id == order.id) else {
            return;
        };
        self.plan.watching.ordered = None;
        let Some(change) = self.plan.stored.pending.take() else { return };
        if order.name != self.plan.stored.status.target {
            return self.of_former((change, &order.name), outcome.result.as_ref().err());
        }
        match &outcome.result {
            Ok(limits) => {
                self.plan.stored.status.limits = *limits;
                self.applied(change, order.wanted);
            }
            Err(failure) => self.failed(change, &order, failure),
        }
    }

    fn applied(&mut self, change: LimitChange, wanted: Amounts) {
        let (now, stored) = (self.now, &mut self.plan.stored);
        stored.applied = wanted.or(stored.applied);
        if wanted.memory.is_some() {
            stored.high = change.high;
        }
        if change.action.moves_high() {
            // No limit has changed: a raise is owed as before, and nothing rests for it.
            return self.done(change);
        }
        stored.status.checks = Checks::default();
        stored.oom_owed &= wanted.memory.is_none();
        match change.action {
            ChangeAction::ScaleUp => stored.status.scale_up_count += 1,
            ChangeAction::ScaleDown => stored.status.scale_down_count += 1,
            ChangeAction::Initial
            | ChangeAction::Manual
            | ChangeAction::Bound
            | ChangeAction::Correct
            | ChangeAction::Rollback
            | ChangeAction::Reset
            | ChangeAction::LiftHigh
            | ChangeAction::LowerHigh => {}
        }
        if change.action != ChangeAction::Correct {
            stored.status.last_scale_time = Some(now.wall);
            self.plan.watching.rests_until = now.mono.after(self.rules.cooldown);
        }
        self.done(change);
    }

    /// Tell that it is done, and write it down.
    fn done(&mut self, change: LimitChange) {
        let lifted = change.action == ChangeAction::LiftHigh;
        let severity = if lifted { EventType::Warning } else { EventType::Normal };
        let note = if change.action.moves_high() {
            change.reason.clone()
        } else {
            format!("limits are {} now, they were {}: {}", change.new, change.old, change.reason)
        };
        self.tell(severity, said::word(change.action), note);
        self.row(LimitChange { time: self.now.wall, status: ChangeStatus::Applied, ..change });
    }

    fn failed(&mut self, change: LimitChange, order: &LimitOrder, failure: &LimitFailure) {
        // What was put back and failed again is not tried for ever.
        let late = change.action != ChangeAction::Rollback && order.apply == Apply::Live;
        let ordered = if late { order.wanted } else { Amounts::default() };
        let (before, lifted) = (change.old, change.action == ChangeAction::LiftHigh);
        let error = self.not_done(change, failure);
        if lifted {
            self.not_lifted();
        }
        // An edit that came meanwhile has not failed.
        if order.generation == self.o.policy.generation {
            self.plan.stored.failed = Some(Failed { generation: order.generation, error, ordered, before });
        }
    }

    /// Tell that it failed, and write it down with what was done then. Says why.
    fn not_done(&mut self, change: LimitChange, failure: &LimitFailure) -> String {
        let restored = match &failure.restored {
            Ok(()) => "what held before holds again".to_owned(),
            Err(why) => format!("and what held before could not be put back: {why}"),
        };
        let error = format!("{}; {restored}", failure.error);
        self.tell(EventType::Warning, "LimitsFailed", format!("limits of {} could not be set: {error}", change.new));
        let back = LimitChange {
            action: ChangeAction::Rollback,
            old: change.new,
            new: change.old,
            high: self.plan.stored.high,
            ..change.clone()
        };
        let status = if failure.restored.is_ok() { ChangeStatus::Applied } else { ChangeStatus::Failed };
        let time = self.now.wall;
        self.row(LimitChange { time, status: ChangeStatus::Failed, error: Some(failure.error.clone()), ..change });
        self.row(LimitChange { time, status, error: failure.restored.clone().err(), ..back });
        error
    }

    /// What came of an order for a target that this policy has no more.
    fn of_former(&mut self, (change, name): (LimitChange, &str), failure: Option<&LimitFailure>) {
        let change = LimitChange { reason: format!("of {name}, its target before: {}", change.reason), ..change };
        match failure {
            None => self.done(change),
            Some(failure) => drop(self.not_done(change, failure)),
        }
    }

    /// A change that was under way when the daemon before this one ended, and whose target is another since.
    pub(super) fn lost(&mut self, change: LimitChange, name: &str) {
        let reason = format!("of {name}, its target before: {}", change.reason);
        let error = Some("its target was edited before it was known whether it was done".to_owned());
        self.row(LimitChange { time: self.now.wall, status: ChangeStatus::Failed, error, reason, ..change });
    }

    /// A change that a daemon before this one had begun: now it is seen whether it was done.
    pub(super) fn left_over(&mut self, look: &Usage) {
        let limits = look.limits;
        let Some(change) = self.plan.stored.pending.take_if(|_| self.o.watching.ordered.is_none()) else { return };
        let holds = |of: &Resource| change.new.of(*of) == change.old.of(*of) || change.new.of(*of) == limits.of(*of);
        let high = limits.memory.map(|max| memory_high(max, change.high));
        let stands = !change.action.moves_high() || high == look.high;
        if stands && self.about.iter().all(holds) {
            let wanted = self.about.iter().fold(Amounts::default(), |all, of| all.with(*of, change.new.of(*of)));
            return self.applied(change, wanted);
        }
        let error = Some("weir ended before it was done".to_owned());
        self.row(LimitChange { time: self.now.wall, status: ChangeStatus::Failed, error, ..change });
    }

    /// Look, while the policy is failed, for what a manager that had not answered has carried out when it went on, and put back
    /// once more what held before. What is done to a service by a restart is told, and no other restart is made for it.
    pub(super) fn late(&mut self, limits: Amounts, usage: &PolicyUsage) {
        let Some(Failed { ordered, before, .. }) = self.plan.stored.failed.clone() else { return };
        let came =
            |of: &Resource| ordered.of(*of).is_some() && ordered.of(*of) == limits.of(*of) && before.of(*of) != limits.of(*of);
        let of: Vec<Resource> = self.about.iter().copied().filter(came).collect();
        let only = |all: Amounts| of.iter().fold(Amounts::default(), |some, of| some.with(*of, all.of(*of)));
        if of.is_empty() {
            let foreign = self.foreign(limits);
            return self.told_left_alone(foreign);
        }
        self.told_late(only(limits));
        let back = only(before);
        if back != Amounts::default() && self.may_correct() {
            let reason = "what failed was carried out late".into();
            let wish = Wish { action: ChangeAction::Rollback, trigger: ChangeTrigger::Foreign, reason, limits: back };
            self.order(wish, limits, usage);
            if self.plan.order.is_some() {
                self.plan.watching.corrections.push(self.now.mono);
            }
        }
    }
}
