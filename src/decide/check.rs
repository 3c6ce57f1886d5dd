//! The plan linter: which invariants a plan breaks. Empty for every plan that may be performed.
//!
//! Called on every plan in scenarios, simulations and debug builds. It repeats no decision; it only states what no decision
//! may ever lead to.

use std::collections::BTreeSet;

use super::workers;
use crate::model::plan::{Action, Observation, Plan, Slot};
use crate::model::worker::SlotState;

/// The broken invariants, in words.
pub fn check(observation: &Observation<'_>, plan: &Plan) -> Vec<String> {
    let mut broken = Vec::new();
    let mut seen = BTreeSet::new();
    let mut starting = false;
    for action in &plan.actions {
        let slot = observation.slots.get(action.worker());
        starting |= matches!(action, Action::Start { .. });
        if starting && matches!(action, Action::Signal { .. } | Action::Kill { .. } | Action::PreStop { .. }) {
            broken.push(format!("{action:?} comes after a start"));
        }
        if !matches!(action, Action::Probe { .. } | Action::Look { .. } | Action::Refresh { .. }) && !seen.insert(action.worker())
        {
            broken.push(format!("{} is acted on twice", action.worker()));
        }
        broken.extend(one(observation, plan, action, slot));
    }
    broken.extend(ceiling(observation, plan));
    broken
}

fn one(observation: &Observation<'_>, plan: &Plan, action: &Action, slot: Option<&Slot>) -> Option<String> {
    let run = slot.and_then(|slot| match &slot.seen.state {
        SlotState::Running(run) => Some(run),
        SlotState::Unknown | SlotState::Vacant | SlotState::Starting { .. } | SlotState::Lost { .. } => None,
    });
    let holds = match action {
        Action::Start { worker, incarnation } => {
            let vacant = slot.is_none_or(|slot| slot.seen.state == SlotState::Vacant);
            let above = slot.is_none_or(|slot| slot.record.incarnation < *incarnation);
            vacant && above && plan.records.get(worker).is_some_and(|record| record.incarnation == *incarnation)
        }
        Action::Signal { incarnation, .. } | Action::PreStop { incarnation, .. } => run.is_some_and(|run| {
            run.incarnation == *incarnation
                && run.stop.is_none()
                && (!run.busy || may_end_busy(observation, slot) || plan.overdue.contains_key(action.worker()))
        }),
        Action::Kill { incarnation, .. } => run.is_some_and(|run| run.incarnation == *incarnation && run.stop.is_some()),
        Action::Probe { incarnation, .. } => run.is_some_and(|run| run.incarnation == *incarnation && run.stop.is_none()),
        Action::Look { incarnation, .. } => slot.is_some_and(
            |slot| matches!(slot.seen.state, SlotState::Starting { incarnation: starting, .. } if starting == *incarnation),
        ),
        Action::Refresh { .. } => run.is_some(),
        Action::Forget { .. } => slot.is_some_and(|slot| slot.seen.state == SlotState::Vacant),
    };
    (!holds).then(|| format!("{action:?} does not fit {slot:?}"))
}

/// A busy worker is ended only for a reason that outweighs its work; an unhealthy one may be condemned by this very plan.
fn may_end_busy(observation: &Observation<'_>, slot: Option<&Slot>) -> bool {
    let Some(slot) = slot else { return false };
    workers::may_end_busy(observation.pool, slot)
        || slot.health.probes.values().any(|probe| probe.failures > 0)
        || observation.pool.spec.template.liveness_probe.is_some()
        || observation.pool.spec.template.startup_probe.is_some()
        || observation.pool.spec.template.stall.is_some()
}

fn ceiling(observation: &Observation<'_>, plan: &Plan) -> Option<String> {
    let starts = plan.actions.iter().filter(|action| matches!(action, Action::Start { .. })).count();
    let alive = observation.slots.values().filter(|slot| slot.seen.state != SlotState::Vacant).count();
    let most = plan.status.desired_replicas as usize + observation.pool.spec.update_strategy.max_surge as usize;
    (starts > 0 && alive + starts > most).then(|| format!("{starts} starts beside {alive} alive: more than {most}"))
}
