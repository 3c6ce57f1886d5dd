//! Among which workers a queue is divided where each has a line of its own: those that will come for what is dealt to them.
//!
//! What is dealt to one that is done waits for ever, and what is dealt to one in a crash loop waits as long as that lasts.

use std::collections::BTreeMap;

use super::{restart, roster, workers};
use crate::model::plan::{Plan, PoolFacts, Record, Slot};
use crate::model::queue::Dispatch;
use crate::model::time::Now;
use crate::model::worker::SlotState;

/// The slots that the pool holds, without those that are done, in back-off, in a crash loop or on their way out; all of them where
/// all are so: whoever comes back then finds its line. Absent where the queue is not divided.
pub fn takers(
    pool: &PoolFacts,
    slots: &BTreeMap<String, Slot>,
    names: &workers::Assignment,
    plan: &Plan,
    now: Now,
) -> Option<Vec<String>> {
    pool.spec.queue.as_ref().filter(|queue| queue.dispatch == Dispatch::PerWorker)?;
    let mut all: Vec<String> = names.keep.iter().chain(&names.fill).cloned().collect();
    all.sort_by_key(|worker| roster::ordinal(pool, worker));
    let stays_for_now = workers::too_busy(pool, slots, names);
    let comes = |worker: &&String| {
        if stays_for_now.contains(worker) {
            return false;
        }
        let Some(slot) = slots.get(*worker) else { return true };
        let record = plan.records.get(*worker).unwrap_or(&slot.record);
        !plan.retiring.contains(*worker) && !leaves(slot, record) && !is_out(pool, slot, record, now)
    };
    let takers: Vec<String> = all.iter().filter(comes).cloned().collect();
    Some(if takers.is_empty() { all } else { takers })
}

/// It is told to stop, or is to stop when it is idle. One that runs for each task anew is back for the next.
fn leaves(slot: &Slot, record: &Record) -> bool {
    let SlotState::Running(run) = &slot.seen.state else { return false };
    workers::drained(record, run)
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

    fn lease_pool() -> PoolFacts {
        let mut pool = PoolFacts::orphan("p");
        pool.spec.queue = Some(Queue { delivery: Delivery::Lease, dispatch: Dispatch::PerWorker, ..Queue::default() });
        pool.spec.template.restart_policy = RestartPolicy::OnFailure;
        pool.spec.template.backoff.reset_after = Span::secs(60);
        pool
    }

    fn assignment(keep: &[&str], fill: &[&str]) -> workers::Assignment {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        workers::Assignment { keep: all(keep).into_iter().collect(), fill: all(fill), ..workers::Assignment::default() }
    }

    fn among(slots: Vec<Slot>) -> Vec<usize> {
        let all: Vec<String> = (0..slots.len()).map(|n| format!("p-{n}")).collect();
        let names: Vec<&str> = all.iter().map(String::as_str).collect();
        let slots = all.iter().cloned().zip(slots).collect();
        let takers = takers(&lease_pool(), &slots, &assignment(&names, &[]), &Plan::default(), NOW).unwrap();
        all.iter().enumerate().filter(|(_, worker)| takers.contains(worker)).map(|(n, _)| n).collect()
    }

    #[test]
    fn it_is_dealt_among_the_slots_that_the_pool_holds_and_nobody_on_his_way_out() {
        let stays = || slot(running(5), Record::default());
        let drained = slot(running(5), Record { drain_asked: Some(u64::MAX), ..Record::default() });
        let slots = [("p-0", stays()), ("p-2", stays()), ("p-10", stays()), ("p-3", drained)];
        let slots: BTreeMap<String, Slot> = slots.into_iter().map(|(name, slot)| (name.to_owned(), slot)).collect();
        // p-1 was scaled away, and p-4 is about to be made.
        let names = assignment(&["p-0", "p-10", "p-2", "p-3"], &["p-4"]);
        let mut plan = Plan::default();
        assert_eq!(takers(&lease_pool(), &slots, &names, &plan, NOW).unwrap(), ["p-0", "p-2", "p-4", "p-10"]);
        let mut shrinking = names.clone();
        shrinking.going.busy = 1;
        let at_work = slots.iter().map(|(name, slot)| (name.clone(), Slot { tasks: 1, ..slot.clone() })).collect();
        let all = takers(&lease_pool(), &at_work, &shrinking, &plan, NOW).unwrap();
        assert_eq!(all, ["p-0", "p-2", "p-4"], "the last one at work stays for what it has");
        plan.retiring.insert("p-2".into());
        assert_eq!(takers(&lease_pool(), &slots, &names, &plan, NOW).unwrap(), ["p-0", "p-4", "p-10"]);
        assert_eq!(takers(&PoolFacts::orphan("p"), &slots, &names, &plan, NOW), None);
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
        let slots = BTreeMap::from([("p-0".to_owned(), slot(SlotState::Vacant, Record::default()))]);
        let looping = Record { failures: restart::CRASH_LOOP_FAILURES, ..Record::default() };
        let (names, mut plan) = (assignment(&[], &["p-0", "p-1"]), Plan::default());
        assert_eq!(takers(&lease_pool(), &slots, &names, &plan, NOW).unwrap(), ["p-0", "p-1"]);
        plan.records.insert("p-0".into(), looping);
        assert_eq!(takers(&lease_pool(), &slots, &names, &plan, NOW).unwrap(), ["p-1"]);
    }
}
