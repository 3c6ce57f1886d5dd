//! The slots of a pool as a list: their names, their order, and what is in each.
//!
//! Plain questions with one answer, below everything that chooses among workers.

use super::health;
use crate::model::plan::{PoolFacts, Record, Slot};
use crate::model::pool::PoolSpec;
use crate::model::worker::SlotState;

/// The name of the pool's `n`-th slot.
pub fn slot_name(pool: &PoolFacts, n: usize) -> String {
    name((&pool.name, &pool.spec), n)
}

/// The names of a pool's first workers, in their order.
pub fn names((pool, spec): (&str, &PoolSpec), count: u32) -> Vec<String> {
    (0..count as usize).map(|n| name((pool, spec), n)).collect()
}

fn name((pool, spec): (&str, &PoolSpec), n: usize) -> String {
    match spec.worker_names.get(n) {
        Some(given) => format!("{pool}-{given}"),
        None => format!("{pool}-{n}"),
    }
}

/// The place of a slot in the pool's order; unknown names come last.
pub fn ordinal(pool: &PoolFacts, worker: &str) -> usize {
    let Some(tail) = worker.strip_prefix(pool.name.as_str()).and_then(|rest| rest.strip_prefix('-')) else { return usize::MAX };
    let given = pool.spec.worker_names.iter().position(|name| name == tail);
    given.or_else(|| tail.parse().ok()).unwrap_or(usize::MAX)
}

/// It lives and is not on its way out.
pub fn live(slot: &Slot) -> bool {
    match &slot.seen.state {
        SlotState::Starting { .. } => true,
        SlotState::Running(run) => run.stop.is_none() && !run.clearing,
        SlotState::Unknown | SlotState::Vacant | SlotState::Lost { .. } => false,
    }
}

/// It has a task, or says that it is at work.
pub fn busy(slot: &Slot) -> bool {
    slot.tasks > 0 || matches!(&slot.seen.state, SlotState::Running(run) if run.busy)
}

/// It runs: its start is over.
pub fn settled(slot: &Slot) -> bool {
    matches!(&slot.seen.state, SlotState::Running(_))
}

/// Its last start was of a process for one task, whatever the pool does by now.
pub fn for_task(pool: &PoolFacts, record: &Record) -> bool {
    record.for_task.unwrap_or(pool.per_task())
}

/// It was made from another template than the present one.
pub fn is_outdated(pool: &PoolFacts, slot: &Slot) -> bool {
    match &slot.seen.state {
        SlotState::Running(run) => run.template != pool.template,
        SlotState::Starting { .. } => slot.record.template != pool.template,
        SlotState::Unknown | SlotState::Vacant | SlotState::Lost { .. } => false,
    }
}

/// It runs, is ready, and is not on its way out.
pub fn is_ready(pool: &PoolFacts, slot: &Slot) -> bool {
    match &slot.seen.state {
        SlotState::Running(run) => {
            run.stop.is_none() && !run.clearing && health::ready(run, &slot.health, health::template(pool, slot))
        }
        SlotState::Unknown | SlotState::Vacant | SlotState::Starting { .. } | SlotState::Lost { .. } => false,
    }
}
