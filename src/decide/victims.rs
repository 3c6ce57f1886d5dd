//! Which workers go when a scaled pool gets smaller: idle ones, as `select` orders them, and none that is at work.
//!
//! A worker that is starting is not idle, and one that became idle a moment ago may get work the next: it goes when it has
//! been idle for `idleTimeout`. When the wanted number rises before it was told, it simply stays.

use super::health;
use super::roster;
use crate::model::plan::{PoolFacts, Slot};
use crate::model::scale::{ScaleDown, Victims as Select};
use crate::model::scaling::Victim;
use crate::model::time::{Moment, Now};
use crate::model::worker::{Run, SlotState};

/// What is chosen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Victims {
    /// Those that go, in order.
    pub going: Vec<Victim>,
    /// Too many, but busy: they stay.
    pub busy: usize,
    /// Too many, but not idle for long enough: they stay for now.
    pub fresh: usize,
    /// When the first of those has been idle for long enough.
    pub wake: Option<Moment>,
}

/// Choose `excess` of the live workers.
pub fn choose(pool: &PoolFacts, rules: &ScaleDown, live: &[(&String, &Slot)], excess: usize, now: Now) -> Victims {
    let mut chosen = Victims::default();
    if excess == 0 {
        return chosen;
    }
    let mut idle = Vec::new();
    let mut fresh = Vec::new();
    for (name, slot) in live {
        match idle_for_long(pool, rules, slot, now) {
            Idle::Long(run, since) => idle.push((*name, *slot, run, since)),
            Idle::Until(at) => fresh.push(at),
            Idle::Starting => chosen.fresh += 1,
            Idle::Busy => chosen.busy += 1,
        }
    }
    // One whose preStop command runs already goes first: it was chosen before. Then those that are of no use yet.
    idle.sort_by_key(|(name, slot, run, since)| {
        let order = match rules.select {
            Select::LongestIdle => since.0,
            Select::Oldest => run.started.0,
            Select::Newest => u64::MAX - run.started.0,
        };
        let ready = health::ready(run, &slot.health, health::template(pool, slot));
        (slot.pre_stop.is_none(), ready, order, usize::MAX - roster::ordinal(pool, name))
    });
    let words = |since: Moment| format!("idle since {}, {}", now.wall_of(since), order_words(rules.select));
    let going = idle.iter().take(excess).map(|(name, _, _, since)| Victim { worker: (*name).clone(), why: words(*since) });
    chosen.going = going.collect();
    if rules.evict_busy {
        // Those that wait for their idleTimeout, or are starting, go before a busy one is disturbed.
        evict(live, excess.saturating_sub(fresh.len() + chosen.fresh), &mut chosen);
    }
    let left = excess.saturating_sub(chosen.going.len());
    chosen.wake = fresh.iter().min().copied().filter(|_| left > 0);
    chosen.fresh = (chosen.fresh + fresh.len()).min(left);
    chosen.busy = chosen.busy.min(left - chosen.fresh);
    chosen
}

/// Let busy ones follow, as the spec asks for.
fn evict(live: &[(&String, &Slot)], excess: usize, chosen: &mut Victims) {
    let room = excess.saturating_sub(chosen.going.len());
    let busy = live.iter().rev().filter(|(_, slot)| roster::busy(slot)).take(room);
    chosen.going.extend(busy.map(|(name, _)| Victim { worker: (*name).clone(), why: "busy, and evictBusy is true".into() }));
    chosen.busy = chosen.busy.saturating_sub(room);
}

fn order_words(select: Select) -> &'static str {
    match select {
        Select::LongestIdle => "the longest",
        Select::Oldest => "the oldest of the idle",
        Select::Newest => "the newest of the idle",
    }
}

enum Idle<'a> {
    Busy,
    Starting,
    Until(Moment),
    Long(&'a Run, Moment),
}

fn idle_for_long<'a>(pool: &PoolFacts, rules: &ScaleDown, slot: &'a Slot, now: Now) -> Idle<'a> {
    let SlotState::Running(run) = &slot.seen.state else { return Idle::Starting };
    if roster::busy(slot) {
        return Idle::Busy;
    }
    let Some(since) = slot.idle_since.filter(|_| health::started(run, &slot.health, health::template(pool, slot))) else {
        return Idle::Starting;
    };
    let until = since.after(rules.idle_timeout);
    if until > now.mono { Idle::Until(until) } else { Idle::Long(run, since) }
}
