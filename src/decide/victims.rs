//! Which workers go when a scaled pool gets smaller: idle ones, as `select` orders them, and none that is at work.
//!
//! One whose startup probe has not passed was never of use and goes first. One that became idle a moment ago may get work the next:
//! it goes when it has been idle for `idleTimeout`. When the wanted number rises before it was told, it simply stays.

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
    /// Too many, but nobody can tell them yet, or knows yet whether they are of use.
    pub starting: usize,
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
    let mut unready = Vec::new();
    for (name, slot) in live {
        match idle_for_long(pool, rules, slot, now) {
            Idle::Long(run, since) => idle.push((*name, *slot, run, since)),
            Idle::Until(at) => fresh.push(at),
            Idle::Unready(run) => unready.push((*name, *slot, run)),
            Idle::Starting => chosen.starting += 1,
            Idle::Busy => chosen.busy += 1,
        }
    }
    unready.sort_by_key(|(name, slot, run)| {
        (slot.pre_stop.is_none(), u64::MAX - run.started.0, usize::MAX - roster::ordinal(pool, name))
    });
    // One whose preStop command runs already goes first: it was chosen before. Then those that are of no use now.
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
    let first =
        unready.iter().map(|(name, ..)| Victim { worker: (*name).clone(), why: "its startupProbe has not passed".into() });
    let then = idle.iter().map(|(name, _, _, since)| Victim { worker: (*name).clone(), why: words(*since) });
    chosen.going = first.chain(then).take(excess).collect();
    if rules.evict_busy {
        // Those that wait for their idleTimeout, or are starting, go before a busy one is disturbed.
        evict(rules.select, live, excess.saturating_sub(fresh.len() + chosen.starting), &mut chosen);
    }
    let left = excess.saturating_sub(chosen.going.len());
    chosen.wake = fresh.iter().min().copied().filter(|_| left > 0);
    chosen.starting = chosen.starting.min(left);
    chosen.fresh = fresh.len().min(left - chosen.starting);
    chosen.busy = chosen.busy.min(left - chosen.starting - chosen.fresh);
    chosen
}

/// Let busy ones follow, as the spec asks for. None of them is idle: without an age to go by, the last to be kept goes first.
fn evict(select: Select, live: &[(&String, &Slot)], excess: usize, chosen: &mut Victims) {
    let room = excess.saturating_sub(chosen.going.len());
    let mut busy: Vec<&(&String, &Slot)> = live.iter().rev().filter(|(_, slot)| roster::busy(slot)).collect();
    let started = |slot: &Slot| match &slot.seen.state {
        SlotState::Running(run) => run.started.0,
        SlotState::Unknown | SlotState::Vacant | SlotState::Starting { .. } | SlotState::Lost { .. } => u64::MAX,
    };
    busy.sort_by_key(|(_, slot)| match select {
        Select::LongestIdle => 0,
        Select::Oldest => started(slot),
        Select::Newest => u64::MAX - started(slot),
    });
    let busy = busy.into_iter().take(room);
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
    /// It cannot be told yet, or its probes were not asked since the daemon started.
    Starting,
    Unready(&'a Run),
    Until(Moment),
    Long(&'a Run, Moment),
}

fn idle_for_long<'a>(pool: &PoolFacts, rules: &ScaleDown, slot: &'a Slot, now: Now) -> Idle<'a> {
    let SlotState::Running(run) = &slot.seen.state else { return Idle::Starting };
    if roster::busy(slot) {
        return Idle::Busy;
    }
    if !health::started(run, &slot.health, health::template(pool, slot)) {
        return if health::unheard(pool, slot) { Idle::Starting } else { Idle::Unready(run) };
    }
    let Some(since) = slot.idle_since else { return Idle::Starting };
    let until = since.after(rules.idle_timeout);
    if until > now.mono { Idle::Until(until) } else { Idle::Long(run, since) }
}
