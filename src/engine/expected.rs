//! What a worker is expected to use, by what others used: so much has to be free before another one is started.
//!
//! What has just been started does not show all of it yet, and is counted as if it did.

use super::controller::Pool;
use crate::decide::allot::{EXPECTED, RESIDENT_AFTER};
use crate::decide::workload;
use crate::model::host::Expected;
use crate::model::quantity::Memory;
use crate::model::time::Now;
use crate::model::worker::{ExitReason, SlotState};

/// What a worker of this pool is expected to use: the most that one used of those that ended, those that ended for using too
/// much not counted; where none is known any more what its tasks needed; and no more than it may use.
pub(super) fn expected(pool: &Pool) -> Expected {
    let template = pool.facts.as_ref().map(|facts| &facts.spec.template);
    let limit = template.and_then(|template| template.resources?.limits.memory);
    let worn = template.and_then(|template| template.recycle?.max_memory);
    let exits = pool.slots.values().filter_map(|slot| slot.record.last_exit.as_ref());
    let exits = exits.filter(|exit| exit.reason != ExitReason::OOMKilled);
    let used = exits.map(|exit| Memory(exit.max_rss_kib.saturating_mul(1024)));
    let most = used.filter(|used| worn.is_none_or(|worn| *used <= worn)).max().filter(|most| most.0 > 0);
    let most = most.map(|memory| Expected { memory, how: "the most that one that ended used" });
    let tasks = || {
        let memory = workload::expected_of_any(&pool.line.needs)?;
        Some(Expected { memory, how: "95 of 100 tasks took no more" })
    };
    let known = most.or_else(tasks).unwrap_or(EXPECTED);
    match limit.filter(|limit| *limit < known.memory) {
        Some(memory) => Expected { memory, how: "its limit" },
        None => known,
    }
}

/// Workers that are starting or have just been started.
pub(super) fn growing(pool: &Pool, now: Now) -> u64 {
    let growing = pool.slots.values().filter(|slot| match &slot.seen.state {
        SlotState::Starting { .. } => true,
        SlotState::Running(run) => now.mono.since(run.started) < RESIDENT_AFTER,
        SlotState::Unknown | SlotState::Vacant | SlotState::Lost { .. } => false,
    });
    growing.count() as u64
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::plan::{PoolFacts, Record, Slot};
    use crate::model::template::{Limits, Recycle, Resources};
    use crate::model::worker::Exit;
    use crate::model::workload::Needed;

    #[test]
    fn who_used_too_much_is_no_measure_of_the_others() {
        let mib = |n: u64| Memory(n << 20);
        let mut facts = PoolFacts::orphan("p");
        let mut of = |exits: &[(u64, ExitReason)], limit: Option<u64>, worn: Option<u64>| {
            let limits = Limits { memory: limit.map(mib), ..Limits::default() };
            facts.spec.template.resources = Some(Resources { limits });
            let jitter = crate::model::quantity::Percent(0);
            facts.spec.template.recycle =
                worn.map(|worn| Recycle { max_lifetime: None, max_tasks: None, max_memory: Some(mib(worn)), jitter });
            let slot = |(n, (used, reason)): (usize, &(u64, ExitReason))| {
                let last_exit = Some(Exit { max_rss_kib: used << 10, reason: *reason, ..Exit::default() });
                (n.to_string(), Slot { record: Record { last_exit, ..Record::default() }, ..Slot::default() })
            };
            let slots = exits.iter().enumerate().map(slot).collect();
            expected(&Pool { facts: Some(Arc::new(facts.clone())), slots, ..Pool::default() }).memory
        };
        let (error, oom) = (ExitReason::Error, ExitReason::OOMKilled);
        assert_eq!(of(&[], None, None), EXPECTED.memory);
        assert_eq!(of(&[(100, error), (300, error), (900, oom)], None, None), mib(300));
        assert_eq!(of(&[(300, error)], Some(200), None), mib(200), "it cannot use more");
        assert_eq!(of(&[(100, error), (300, error)], None, Some(250)), mib(100), "that one was recycled");
        assert_eq!(of(&[(900, oom)], None, None), EXPECTED.memory);
        assert_eq!(of(&[], Some(1), None), mib(1));
    }

    #[test]
    fn what_tasks_needed_counts_where_no_worker_that_ended_is_known() {
        let mib = |n: u64| Memory(n << 20);
        let mut pool = Pool::default();
        (1..=20).for_each(|n| pool.line.needs.add(Needed { ran_ms: 1, memory: Some(mib(n * 10)) }));
        assert_eq!(expected(&pool), Expected { memory: mib(190), how: "95 of 100 tasks took no more" });
        let last_exit = Some(Exit { max_rss_kib: 30 << 10, reason: ExitReason::Completed, ..Exit::default() });
        let slot = Slot { record: Record { last_exit, ..Record::default() }, ..Slot::default() };
        pool.slots.insert("p-0".into(), slot);
        assert_eq!(expected(&pool), Expected { memory: mib(30), how: "the most that one that ended used" });
    }
}
