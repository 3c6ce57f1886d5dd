//! Among which workers a queue is divided where each has a line of its own: those that will come for what is dealt to them.
//!
//! What is dealt to one that is done waits for ever, and what is dealt to one in a crash loop waits as long as that lasts.

use std::collections::BTreeMap;

use super::{restart, roster, workers};
use crate::model::plan::{PoolFacts, Record, Slot};
use crate::model::time::Now;
use crate::model::worker::SlotState;

/// The first `count` workers, without those that are done, in back-off or in a crash loop; all of them where all are so: whoever
/// comes back then finds its line. Of a slot in `records`, that is its record.
pub fn takers(
    pool: &PoolFacts,
    slots: &BTreeMap<String, Slot>,
    records: &BTreeMap<String, Record>,
    count: u32,
    now: Now,
) -> Vec<String> {
    let all = roster::names((&pool.name, &pool.spec), count);
    let comes = |worker: &&String| {
        let Some(slot) = slots.get(*worker) else { return true };
        !is_out(pool, slot, records.get(*worker).unwrap_or(&slot.record), now)
    };
    let takers: Vec<String> = all.iter().filter(comes).cloned().collect();
    if takers.is_empty() { all } else { takers }
}

fn is_out(pool: &PoolFacts, slot: &Slot, record: &Record, now: Now) -> bool {
    let healthy = match &slot.seen.state {
        // A loop is over when a run of it has lasted: until then each may be the next to fail.
        SlotState::Running(run) => now.mono.since(run.started) >= pool.spec.template.backoff.reset_after,
        SlotState::Unknown | SlotState::Vacant | SlotState::Starting { .. } | SlotState::Lost { .. } => false,
    };
    let vacant = slot.seen.state == SlotState::Vacant;
    let waits = workers::done(pool, record) || record.next_start.is_some_and(|at| at > now.mono);
    (vacant && waits) || (restart::crash_looping(record) && !healthy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::queue::{Delivery, Queue};
    use crate::model::template::RestartPolicy;
    use crate::model::time::{Moment, Span, Wall};
    use crate::model::worker::{Exit, ExitReason, Run, Seen};

    const NOW: Now = Now { mono: Moment(1_000_000), wall: Wall(0) };

    fn slot(state: SlotState, record: Record) -> Slot {
        Slot { seen: Seen { state, ..Seen::default() }, record, ..Slot::default() }
    }

    fn running(ms: u64) -> SlotState {
        SlotState::Running(Run { started: Moment(NOW.mono.0 - ms), ..Run::default() })
    }

    fn among(slots: Vec<Slot>) -> Vec<usize> {
        let mut pool = PoolFacts::orphan("p");
        pool.spec.queue = Some(Queue { delivery: Delivery::Lease, ..Queue::default() });
        pool.spec.template.restart_policy = RestartPolicy::OnFailure;
        pool.spec.template.backoff.reset_after = Span::secs(60);
        let count = u32::try_from(slots.len()).unwrap();
        let slots = slots.into_iter().enumerate().map(|(n, slot)| (format!("p-{n}"), slot)).collect();
        let all = roster::names((&pool.name, &pool.spec), count);
        let takers = takers(&pool, &slots, &BTreeMap::new(), count, NOW);
        all.iter().enumerate().filter(|(_, worker)| takers.contains(worker)).map(|(n, _)| n).collect()
    }

    #[test]
    fn whoever_does_not_come_is_dealt_nothing_unless_nobody_comes() {
        let done = Record { last_exit: Some(Exit { reason: ExitReason::Completed, ..Exit::default() }), ..Record::default() };
        let waits = Record { next_start: Some(Moment(NOW.mono.0 + 1)), failures: 2, ..Record::default() };
        let over = Record { next_start: Some(NOW.mono), failures: 2, ..Record::default() };
        let looping = Record { failures: restart::CRASH_LOOP_FAILURES, ..Record::default() };
        let vacant = |record: &Record| slot(SlotState::Vacant, record.clone());
        assert_eq!(among(vec![vacant(&done), slot(running(5), Record::default()), vacant(&Record::default())]), [1, 2]);
        assert_eq!(among(vec![vacant(&waits), vacant(&over)]), [1]);
        assert_eq!(among(vec![slot(running(5), done.clone()), slot(running(5), waits.clone())]), [0, 1], "they run again");
        let lasting = slot(running(60_000), looping.clone());
        assert_eq!(among(vec![vacant(&looping), slot(running(59_999), looping.clone()), lasting]), [2]);
        assert_eq!(among(vec![vacant(&done), vacant(&waits), vacant(&looping)]), [0, 1, 2], "all are so");
    }

    #[test]
    fn what_is_about_to_be_recorded_counts_and_a_slot_that_was_never_used_is_one_to_come() {
        let pool = PoolFacts::orphan("p");
        let slots = BTreeMap::from([("p-0".to_owned(), slot(SlotState::Vacant, Record::default()))]);
        let looping = Record { failures: restart::CRASH_LOOP_FAILURES, ..Record::default() };
        let records = BTreeMap::from([("p-0".to_owned(), looping)]);
        assert_eq!(takers(&pool, &slots, &records, 2, NOW), ["p-1"]);
        assert_eq!(takers(&pool, &slots, &BTreeMap::new(), 2, NOW), ["p-0", "p-1"]);
    }
}
