//! What is little enough to be committed by whoever has it, while the disk is quick, instead of on the store's thread.
//!
//! Two threads that wake each other cost more than a small commit. Whoever makes it hears nothing else meanwhile.

use crate::model::batch::Batch;
use crate::model::queue_work::QueueWork;

/// A submit of this many tasks is small: on a quick disk it is a matter of two milliseconds.
const SMALL: usize = 128;
/// Ends and starts of a pool's tasks that are few.
const FEW: usize = 16;

/// It touches few rows, whatever stands in the queue.
pub(super) fn is_small(work: &QueueWork) -> bool {
    match work {
        // Where each worker has a line of its own, all lines are counted.
        QueueWork::Submit { tasks, workers, .. } => tasks.len() <= SMALL && workers.is_empty(),
        QueueWork::Lease { .. } | QueueWork::End { .. } | QueueWork::Heartbeat { .. } => true,
        QueueWork::Cancel { .. }
        | QueueWork::Release { .. }
        | QueueWork::Redrive { .. }
        | QueueWork::Tick { .. }
        | QueueWork::Sweep { .. }
        | QueueWork::Recur { .. }
        | QueueWork::Deal { .. }
        | QueueWork::Pause { .. } => false,
    }
}

/// Tasks of a pool that end and begin, no more than a few of them, and few rows with them.
pub(super) fn are_few(batch: &Batch) -> bool {
    let rows = batch.slots.len() + batch.pools.len() + batch.events.len() + batch.readings.len();
    let few = (1..=FEW).contains(&batch.queue.len()) && rows <= 2 * FEW && batch.catalogue.is_none();
    few && batch.queue.iter().all(is_small)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::queue_work::Taker;
    use crate::model::worker::SlotId;

    #[test]
    fn a_few_tasks_that_begin_are_few_and_nothing_else_is() {
        let (queue, taker, workers) = (Default::default(), Taker::default(), Vec::new());
        let lease = QueueWork::Lease { pool: "p".into(), queue, taker };
        let tick = QueueWork::Tick { pool: "p".into(), queue: Default::default(), workers };
        let of = |queue: Vec<QueueWork>| Batch { queue, ..Batch::default() };
        let slot = (SlotId { pool: "p".into(), worker: "p-0".into() }, None);
        assert!(are_few(&of(vec![lease.clone()])));
        assert!(are_few(&Batch { slots: vec![slot.clone()], ..of(vec![lease.clone(); FEW]) }));
        assert!(!are_few(&of(vec![lease.clone(); FEW + 1])));
        assert!(!are_few(&of(vec![lease.clone(), tick])));
        assert!(!are_few(&of(Vec::new())), "no task of anybody's");
        assert!(!are_few(&Batch { slots: vec![slot; 2 * FEW + 1], ..of(vec![lease.clone()]) }));
        assert!(!are_few(&Batch { catalogue: Some(String::new()), ..of(vec![lease]) }));
    }
}
