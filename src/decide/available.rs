//! Who counts as there while workers are replaced: a program that ends soon after its start is ready at once, and would take the
//! whole pool with it, one worker after the other.
//!
//! One of the present template is *available* when it has been ready for `updateStrategy.minReady`. So many as are wanted less
//! `maxUnavailable` stay available.

use super::health;
use super::roster::{for_task, is_outdated, is_ready};
use crate::model::plan::{PoolFacts, Slot};
use crate::model::time::{Moment, Now, Span};
use crate::model::worker::SlotState;

/// It counts as there while others are replaced. One of an older template is what is protected: it need not have lasted.
pub fn available(pool: &PoolFacts, slot: &Slot, now: Now) -> bool {
    is_ready(pool, slot) && (is_outdated(pool, slot) || lasted(pool, slot, now))
}

/// A worker that is ready has been so for `minReady`.
pub fn lasted(pool: &PoolFacts, slot: &Slot, now: Now) -> bool {
    lasted_at(pool, slot).is_none_or(|at| at <= now.mono)
}

/// When a worker that is ready will have been so for long enough, if it stays so; absent: it need not be for any time.
fn lasted_at(pool: &PoolFacts, slot: &Slot) -> Option<Moment> {
    let SlotState::Running(run) = &slot.seen.state else { return None };
    let min_ready = pool.spec.update_strategy.min_ready;
    if min_ready.0 == 0 || pool.per_task() || for_task(pool, &slot.record) {
        return None;
    }
    let template = health::template(pool, slot);
    let probed = template.startup_probe.is_some() || template.readiness_probe.is_some();
    // Who was started by a daemon before this one became ready before it, too.
    let since = if probed && !health::taken_over(slot) { slot.ready_since? } else { run.started };
    Some(since.after(must_last(pool, slot)))
}

/// A program that ends a little later than `minReady` each time must not pass for one that runs: who failed before has to last
/// longer, up to when it counts as well.
fn must_last(pool: &PoolFacts, slot: &Slot) -> Span {
    let asked = pool.spec.update_strategy.min_ready;
    let doubled = asked.0.saturating_mul(1u64.checked_shl(slot.record.failures).unwrap_or(u64::MAX));
    Span(doubled.min(health::template(pool, slot).backoff.reset_after.0)).max(asked)
}

/// Who is ready and has not been so for long enough, in words, and when the first of them has.
pub fn fresh<'a>(pool: &PoolFacts, staying: impl Iterator<Item = (&'a str, &'a Slot)>, now: Now) -> Option<(String, Moment)> {
    let ready = staying.filter(|(_, slot)| is_ready(pool, slot) && !is_outdated(pool, slot));
    let fresh: Vec<(&str, &Slot, Moment)> =
        ready.filter_map(|(name, slot)| Some((name, slot, lasted_at(pool, slot).filter(|at| *at > now.mono)?))).collect();
    let (first, slot, _) = fresh.first()?;
    let more = fresh.len().checked_sub(1).filter(|more| *more > 0).map_or_else(String::new, |more| format!(" and {more} more"));
    let (asked, lasts) = (pool.spec.update_strategy.min_ready, must_last(pool, slot));
    let failed = if lasts == asked { String::new() } else { format!(" {asked}, doubled with each failure in a row") };
    let words = format!("{first}{more} to stay ready for {lasts} (updateStrategy.minReady{failed})");
    Some((words, fresh.iter().map(|(_, _, at)| *at).min()?))
}
