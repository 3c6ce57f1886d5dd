//! Per slot: which workers are kept, which go, which are made, and the steps of an ending.
//!
//! ```text
//!            start                exec              told to stop          tree empty
//!   Vacant ---------> Starting ---------> Running ---------------> ending ---------> Vacant
//!                        |  exec failed      |  ended by itself                        ^
//!                        +-------------------+-----------------------------------------+
//! ```
//! A slot is filled only when it is proved vacant. Whatever is alive (starting, running, ending, lost) counts against the
//! ceiling. A busy worker is never surplus; only the removal of the pool ends it.

use std::collections::{BTreeMap, BTreeSet};

use super::available::{self, available, lasted};
use super::health;
use super::recycle::{self, Worn};
use super::restart;
use super::roster::{busy, live, ordinal, settled, slot_name};
pub use super::roster::{for_task, is_outdated, is_ready};
use super::victims::{self, Victims};
use crate::model::plan::{Action, Ending, PoolFacts, PreStopState, Record, Slot};
use crate::model::pool::{UpdateStrategy, UpdateType};
use crate::model::reading::counted;
use crate::model::scaling::Victim;
use crate::model::template::Template;
use crate::model::time::{Moment, Now, Span, Wall};
use crate::model::worker::{Run, SlotState};

/// A tree that outlives SIGKILL by this long is called stuck.
pub const STUCK_AFTER: Span = Span::secs(5);

/// A start that nothing was heard of for so long is asked after.
pub const LOOK_AFTER: Span = Span::secs(30);

/// Which slots the pool holds, and which are too many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Assignment {
    /// Live workers that stay.
    pub keep: BTreeSet<String>,
    /// Slots to have a worker that have none now, in order.
    pub fill: Vec<String>,
    /// Those of them that ended for good, and whose place is filled all the same: triggers ask for as many.
    pub anew: BTreeSet<String>,
    /// Live workers that are too many.
    pub surplus: Vec<String>,
    /// Those that are too many: why these go, and why others stay for now.
    pub going: Victims,
    /// How many are wanted, surge not counted.
    pub wanted: usize,
    /// How many may be alive at once, ending ones included.
    pub ceiling: usize,
}

impl Assignment {
    /// The slot belongs to the pool now.
    pub fn holds(&self, worker: &str) -> bool {
        self.keep.contains(worker) || self.fill.iter().any(|name| name == worker)
    }
}

/// Divide the slots: live ones are kept first; those that are not ready go first, then the idle ones of the highest ordinals.
pub fn assign(pool: &PoolFacts, slots: &BTreeMap<String, Slot>, wanted: u32, now: Now) -> Assignment {
    let wanted = wanted as usize;
    let mut live: Vec<(&String, &Slot)> = slots.iter().filter(|(_, slot)| live(slot)).collect();
    let outdated = live.iter().any(|(_, slot)| is_outdated(pool, slot));
    let surge = if outdated && wanted > 0 && pool.spec.update_strategy.kind == UpdateType::RollingUpdate {
        pool.spec.update_strategy.max_surge as usize
    } else {
        0
    };
    // The first to keep first: busy, then what is ready, then what runs the present template, then low ordinals.
    let serves = |slot: &Slot| is_ready(pool, slot) || unproved(pool, slot);
    live.sort_by_key(|(name, slot)| (!busy(slot), !serves(slot), is_outdated(pool, slot), !settled(slot), ordinal(pool, name)));
    let target = wanted + surge;
    let mut assignment = Assignment { wanted, ceiling: target, ..Assignment::default() };
    let excess = live.len().saturating_sub(target);
    let going = match pool.spec.scale.as_ref().filter(|_| pool.ending.is_none()) {
        Some(scale) => victims::choose(pool, &scale.behavior.scale_down, &live, excess, now),
        None => last(&live, excess, pool.ending.is_some()),
    };
    for (name, _) in live {
        if going.going.iter().any(|victim| victim.worker == *name) {
            assignment.surplus.push(name.clone());
        } else {
            assignment.keep.insert(name.clone());
        }
    }
    assignment.surplus.sort_by_key(|name| going.going.iter().position(|victim| victim.worker == *name));
    let missing = target.saturating_sub(assignment.keep.len());
    let names =
        (0..).map(|n| slot_name(pool, n)).filter(|name| !assignment.keep.contains(name) && !assignment.surplus.contains(name));
    assignment.fill = names.take(missing).collect();
    assignment.going = going;
    assignment
}

/// The last of those to keep; busy ones only with their pool.
fn last(live: &[(&String, &Slot)], excess: usize, ending: bool) -> Victims {
    let last = live.iter().rev().take(excess).rev();
    let going = last.filter(|(_, slot)| ending || !busy(slot));
    let going: Vec<Victim> = going.map(|(name, _)| Victim { worker: (*name).clone(), why: "it is the last".into() }).collect();
    Victims { busy: excess - going.len(), going, ..Victims::default() }
}

/// This run is to take nothing more, and to end when it is idle.
pub fn drained(record: &Record, run: &Run) -> bool {
    record.drain_asked.is_some_and(|asked| asked >= run.incarnation)
}

/// It does not say that it is ready, and may be: a daemon before this one started it, and its probes were not heard yet.
fn unproved(pool: &PoolFacts, slot: &Slot) -> bool {
    !is_ready(pool, slot) && health::unheard(pool, slot)
}

/// A worker that is at work is ended only for its own sake, for a new template, on request, with its pool, or where the spec
/// says so: never because there are too many.
pub fn may_end_busy(pool: &PoolFacts, slot: &Slot) -> bool {
    let SlotState::Running(run) = &slot.seen.state else { return false };
    let asked = slot.record.restart_asked.is_some_and(|asked| asked >= run.incarnation);
    let evicted = pool.spec.scale.as_ref().is_some_and(|scale| scale.behavior.scale_down.evict_busy);
    asked || evicted || slot.record.condemned.is_some() || pool.ending.is_some() || is_outdated(pool, slot)
}

/// Why a worker is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There are more than wanted.
    Surplus,
    /// Its pool is being removed.
    Removed,
    /// The daemon ends, and its workers with it.
    Shutdown,
    /// The template changed.
    Outdated,
    /// It is worn out.
    Recycled(Worn),
    /// A person asked.
    Asked,
    /// A person asked for it to take nothing more, and it is idle.
    Drained,
    /// It fails its health checks.
    Condemned,
    /// A task of its has to end.
    TaskOver,
    /// Each task has a process of its own by now, and it is none.
    NoTask,
    /// Its name is not one of the pool's any more.
    Renamed,
}

impl Why {
    /// Why a worker that is too many is ended.
    pub fn too_many(ending: Option<Ending>) -> Why {
        match ending {
            None => Why::Surplus,
            Some(Ending::Removed) => Why::Removed,
            Some(Ending::Shutdown) => Why::Shutdown,
        }
    }

    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Why::Surplus => "more workers than wanted",
            Why::Removed => "its pool is removed",
            Why::Shutdown => "weir is shutting down",
            Why::Outdated => "the template changed",
            Why::Recycled(worn) => worn.words(),
            Why::Asked => "a restart was asked for",
            Why::Drained => "it is drained: it was to take nothing more, and is idle",
            Why::Condemned => "it is unhealthy",
            Why::TaskOver => "its task has to end",
            Why::NoTask => "each task has a process of its own now",
            Why::Renamed => "its name is not in workerNames any more",
        }
    }
}

/// Kept workers that are to be replaced now.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Replacements {
    /// Which, and why.
    pub stop: Vec<(String, Why)>,
    /// How many wait because no more may be unavailable.
    pub held: usize,
    /// What holds others back.
    pub waiting_on: Vec<String>,
    /// When a lifetime ends.
    pub wakes: Vec<Moment>,
    /// Worn out ones that are busy, and whose turn it is.
    pub retiring: BTreeSet<String>,
    /// Who has to stay ready for a while before it counts.
    pub fresh: Option<String>,
}

impl Replacements {
    /// Hold back all that can wait, because of this: nobody could be started in their place.
    pub fn hold(&mut self, because: &str) {
        let can_wait = |why: &Why| matches!(why, Why::Outdated | Why::Recycled(_) | Why::Renamed);
        let all = self.stop.len();
        self.stop.retain(|(_, why)| !can_wait(why));
        // Of those that wait for others too, this is what they wait for.
        let held = all - self.stop.len() + std::mem::take(&mut self.held);
        if held > 0 {
            self.waiting_on.push(format!("{} to be replaced: {because}", counted(held as u64, "worker")));
        }
    }

    /// All that holds others back, in words.
    pub fn waits(&self, strategy: &UpdateStrategy) -> Vec<String> {
        let words = || format!("{} workers to be replaced: at most {} may be unavailable", self.held, strategy.max_unavailable);
        let held = (self.held > 0).then(words);
        held.into_iter().chain(self.waiting_on.iter().cloned()).chain(self.fresh.clone()).collect()
    }
}

/// Which kept workers are replaced now. Unhealthy and asked-for ones at once; outdated and old ones as availability allows.
pub fn replacements(pool: &PoolFacts, slots: &BTreeMap<String, Slot>, names: &Assignment, now: Now) -> Replacements {
    let mut out = Replacements::default();
    let mut gentle: Vec<(&String, &Slot, Why)> = Vec::new();
    for name in &names.keep {
        let Some(slot) = slots.get(name) else { continue };
        let SlotState::Running(run) = &slot.seen.state else { continue };
        if slot.record.restart_asked.is_some_and(|asked| asked >= run.incarnation) {
            out.stop.push((name.clone(), Why::Asked));
        } else if slot.record.condemned.is_some() || health::check(pool, name, (slot, run), now).condemned.is_some() {
            out.stop.push((name.clone(), Why::Condemned));
        } else if drained(&slot.record, run) || pool.per_task() && !for_task(pool, &slot.record) {
            // One that was not started for a task is from before each had a process, and would keep its place from them for ever.
            if busy(slot) {
                out.waiting_on.push(format!("{name} to be drained: it is at work"));
            } else {
                out.stop.push((name.clone(), if drained(&slot.record, run) { Why::Drained } else { Why::NoTask }));
            }
        } else if !pool.spec.worker_names.is_empty() && slot_name(pool, ordinal(pool, name)) != *name {
            gentle.push((name, slot, Why::Renamed));
        } else if pool.per_task() {
            // It ends with its task, and the next one is run from the new template.
        } else if is_outdated(pool, slot) {
            gentle.push((name, slot, Why::Outdated));
        } else if let Some(worn) = recycle::worn(&pool.spec.template, slot, run, now) {
            gentle.push((name, slot, Why::Recycled(worn)));
        } else {
            out.wakes.extend(recycle::lifetime_ends(&pool.spec.template, run));
        }
    }
    gently(pool, slots, names, gentle, (&mut out, now));
    let stays = |name: &&String| !out.stop.iter().any(|(leaving, _)| leaving == *name);
    let staying = names.keep.iter().filter(stays).filter_map(|name| Some((name.as_str(), slots.get(name)?)));
    if let Some((who, until)) = available::fresh(pool, staying, now) {
        out.fresh = Some(who);
        out.wakes.push(until);
    }
    out
}

/// Replace within `maxUnavailable`: those that are not ready cost nothing, then those that have not been ready for long, then
/// idle ones, busy ones last.
fn gently(
    pool: &PoolFacts,
    slots: &BTreeMap<String, Slot>,
    names: &Assignment,
    mut gentle: Vec<(&String, &Slot, Why)>,
    (out, now): (&mut Replacements, Now),
) {
    if gentle.is_empty() {
        return;
    }
    let strategy = &pool.spec.update_strategy;
    let floor = names.wanted.saturating_sub(strategy.max_unavailable as usize);
    let left = |counts: &dyn Fn(&Slot) -> bool| {
        let there = names.keep.iter().filter(|name| slots.get(*name).is_some_and(counts)).count();
        let leaving = out.stop.iter().filter(|(name, _)| slots.get(name).is_some_and(counts)).count();
        there.saturating_sub(leaving).saturating_sub(floor)
    };
    let (mut spare, mut lasting) = (left(&|slot| is_ready(pool, slot)), left(&|slot| available(pool, slot, now)));
    gentle.sort_by_key(|(name, slot, _)| (is_ready(pool, slot), lasted(pool, slot, now), busy(slot), ordinal(pool, name)));
    let mut busy_held = 0;
    for (name, slot, why) in gentle {
        let worn = matches!(why, Why::Recycled(_));
        let waits_for_idle = worn || strategy.kind == UpdateType::OnIdle;
        // A new template has to prove itself; a worn out worker is followed by one of the same.
        let may = spare > 0 && (why != Why::Outdated || lasting > 0);
        let never = why == Why::Outdated && strategy.kind == UpdateType::OnDelete;
        if never {
            continue;
        }
        // A worker that takes its tasks itself is given no more of them, and goes when it has none.
        let drains = slot.tasks > 0 && pool.takes_tasks();
        if (waits_for_idle || drains) && busy(slot) {
            busy_held += 1;
            if (worn || drains) && may {
                // Else it would go on for as long as there are tasks.
                (spare, lasting) = (spare - 1, lasting.saturating_sub(1));
                out.retiring.insert(name.clone());
            }
        } else if unproved(pool, slot) {
            out.held += 1;
        } else if !is_ready(pool, slot) {
            out.stop.push((name.clone(), why));
        } else if may {
            (spare, lasting) = (spare - 1, lasting.saturating_sub(1));
            out.stop.push((name.clone(), why));
        } else {
            out.held += 1;
        }
    }
    if busy_held > 0 {
        out.waiting_on.push(format!("{busy_held} workers to be replaced when they are idle"));
    }
}

/// Those of the busy ones that are too many, and stay for what they have: the last of them.
pub fn too_busy(pool: &PoolFacts, slots: &BTreeMap<String, Slot>, names: &Assignment) -> Vec<String> {
    let mut at_work: Vec<&String> = names.keep.iter().filter(|name| slots.get(*name).is_some_and(busy)).collect();
    at_work.sort_by_key(|name| std::cmp::Reverse(ordinal(pool, name)));
    at_work.into_iter().take(names.going.busy).cloned().collect()
}

/// Whether a slot may be filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayStart {
    /// Now.
    Now,
    /// Not before this moment.
    At(Moment),
    /// Not at all as things are: it is taken, or it is done.
    No,
}

/// Whether a worker may be started in this slot now.
pub fn may_start(pool: &PoolFacts, slot: Option<&Slot>, now: Now) -> MayStart {
    let Some(slot) = slot else { return MayStart::Now };
    if slot.seen.state != SlotState::Vacant || done(pool, &slot.record) {
        return MayStart::No;
    }
    after_back_off(pool, slot, now)
}

/// Whether what holds up the next start of a slot is over.
pub fn after_back_off(pool: &PoolFacts, slot: &Slot, now: Now) -> MayStart {
    match slot.record.next_start {
        // What failed was another template: this one is tried at once.
        Some(_) if slot.record.template != pool.template => MayStart::Now,
        Some(at) if at > now.mono => MayStart::At(at),
        Some(_) | None => MayStart::Now,
    }
}

/// It ended by itself and the restart policy leaves it at that, until there is another template.
pub fn done(pool: &PoolFacts, record: &Record) -> bool {
    let policy = pool.spec.template.restart_policy;
    !pool.per_task()
        && record.template == pool.template
        && record.last_exit.as_ref().is_some_and(|exit| !exit.asked && !restart::again(policy, exit))
}

/// The record of a slot that is being started: the intent, to be committed first. A fresh slot counts on from `runs`: a fact
/// or an exit record of a slot that was forgotten must never pass for one of the new run.
pub fn started(record: Option<&Record>, runs: u64, template: &str, now: Now) -> Record {
    let record = record.cloned().unwrap_or_default();
    let again = record.last_exit.as_ref().is_some_and(|exit| !exit.asked || record.failures > 0);
    let fresh = record.created == Wall::default();
    let last = if fresh { record.incarnation.max(runs) } else { record.incarnation };
    Record {
        incarnation: last + 1,
        recorded: if fresh { last } else { record.recorded },
        created: if fresh { now.wall } else { record.created },
        template: template.into(),
        restarts: record.restarts + u32::from(again),
        next_start: None,
        condemned: None,
        tasks: 0,
        failures: if record.template == template { record.failures } else { 0 },
        ..record
    }
}

/// One step of an ending.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Step {
    /// What to do.
    pub action: Option<Action>,
    /// When to look again.
    pub wake: Option<Moment>,
    /// It is the first step.
    pub begins: bool,
}

/// Tell a worker to stop: preStop first, where there is one.
pub fn begin_stop(worker: &str, run: &Run, pre_stop: Option<PreStopState>, template: &Template, now: Now) -> Step {
    let grace = template.termination_grace_period;
    let signal = Action::Signal { worker: worker.into(), incarnation: run.incarnation, signal: template.stop_signal.number() };
    let mine = pre_stop.filter(|state| state.incarnation == run.incarnation);
    // Nobody else may have a reason to look at the pool when its grace is over.
    let signalled = |begins| Step { action: Some(signal), wake: Some(now.mono.after(grace)), begins };
    match (&template.pre_stop, mine) {
        (None, _) => signalled(true),
        (Some(_), None) => {
            let action = Action::PreStop { worker: worker.into(), incarnation: run.incarnation, timeout: grace };
            Step { action: Some(action), wake: Some(now.mono.after(grace)), begins: true }
        }
        (Some(_), Some(state)) if state.done || now.mono >= state.since.after(grace) => signalled(false),
        (Some(_), Some(state)) => Step { wake: Some(state.since.after(grace)), ..Step::default() },
    }
}

/// Ask after a start that nothing was heard of for long. How it is told is the slot's affair, and that may have been lost; what
/// only takes its time goes on.
pub fn beginning(worker: &str, slot: &Slot, now: Now) -> Step {
    let SlotState::Starting { incarnation, since } = slot.seen.state else { return Step::default() };
    let due = since.max(slot.looked.unwrap_or_default()).after(LOOK_AFTER);
    if due > now.mono {
        return Step { wake: Some(due), ..Step::default() };
    }
    let action = Action::Look { worker: worker.into(), incarnation };
    Step { action: Some(action), wake: Some(now.mono.after(LOOK_AFTER)), begins: false }
}

/// Go on with a stop whose signal was sent, or with the clearing up after an end.
pub fn ending(worker: &str, run: &Run, template: &Template, now: Now) -> Step {
    let Some(stop) = run.stop else { return Step::default() };
    if let Some(killed) = stop.killed {
        let stuck_at = killed.after(STUCK_AFTER);
        return Step { wake: (stuck_at > now.mono).then_some(stuck_at), ..Step::default() };
    }
    let deadline = stop.since.after(template.termination_grace_period).max(run.extended_until.unwrap_or_default());
    if now.mono < deadline {
        return Step { wake: Some(deadline), ..Step::default() };
    }
    let action = Action::Kill { worker: worker.into(), incarnation: run.incarnation };
    Step { action: Some(action), wake: Some(now.mono.after(STUCK_AFTER)), begins: false }
}

/// It was sent SIGKILL a while ago and is still there.
pub fn stuck(run: &Run, now: Now) -> bool {
    run.stop.and_then(|stop| stop.killed).is_some_and(|killed| now.mono.since(killed) >= STUCK_AFTER)
}

#[cfg(test)]
mod tests;
