//! The templates that runs were started from, kept with their pool's row.
//!
//! A worker may outlive the document that it was made from, and the daemon that made it: its probes, its stop signal, its grace and
//! its preStop are those of its own template. A template is kept in the commit that announces the first run of it, and let go with
//! a row that is written anyway once no run has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use crate::model::plan::{Action, Plan, PoolFacts, Slot};
use crate::model::pool::PoolSpec;
use crate::model::template::Template;
use crate::model::worker::SlotState;

/// Templates by their hashes.
type Made = BTreeMap<String, Value>;

fn present(slot: &Slot) -> Option<&str> {
    match &slot.seen.state {
        SlotState::Running(run) => Some(&run.template),
        SlotState::Starting { .. } | SlotState::Unknown | SlotState::Vacant | SlotState::Lost { .. } => None,
    }
}

/// Whoever was found running is what it was made to be by the daemon before.
pub(super) fn restore<'a>(facts: &Arc<PoolFacts>, made: &Made, slots: impl Iterator<Item = &'a mut Slot>) {
    let mut read: BTreeMap<String, Option<Arc<PoolFacts>>> = BTreeMap::new();
    for slot in slots {
        let Some(hash) = present(slot) else { continue };
        if slot.made_from.as_ref().is_some_and(|from| from.template == hash) {
            continue;
        }
        let from = if facts.template == hash {
            Some(facts.clone())
        } else {
            read.entry(hash.to_owned()).or_insert_with(|| older(facts, hash, made.get(hash)?)).clone()
        };
        slot.made_from = from;
    }
}

fn older(facts: &PoolFacts, hash: &str, template: &Value) -> Option<Arc<PoolFacts>> {
    let template: Template = serde_json::from_value(template.clone()).ok()?;
    let spec = PoolSpec { template, ..facts.spec.clone() };
    Some(Arc::new(PoolFacts { spec, template: hash.to_owned(), ..facts.clone() }))
}

/// Keep the present template when a run of it is about to begin, or goes on that a weir started which did not keep it. Says
/// whether it was not kept before.
pub(super) fn keep(made: &mut Made, facts: Option<&PoolFacts>, (slots, plan): (&BTreeMap<String, Slot>, &Plan)) -> bool {
    let Some(facts) = facts.filter(|facts| !made.contains_key(&facts.template)) else { return false };
    let begins = plan.actions.iter().any(|action| matches!(action, Action::Start { .. }));
    if !begins && !slots.values().any(|slot| present(slot) == Some(&facts.template)) {
        return false;
    }
    let template = serde_json::to_value(&facts.spec.template).expect("a template is plain data with string keys");
    made.insert(facts.template.clone(), template);
    true
}

/// Let go what no run has, and none is about to have.
pub(super) fn drop_unused(made: &mut Made, slots: &BTreeMap<String, Slot>, plan: &Plan) {
    let runs = |hash: &str| slots.values().any(|slot| slot.record.template == hash || present(slot) == Some(hash));
    let begins = |hash: &str| plan.records.values().any(|record| record.template == hash);
    made.retain(|hash, _| runs(hash) || begins(hash));
}
