//! What must hold, said from what truly is: never from what weir says of itself.

use std::collections::{BTreeMap, BTreeSet};

use weir::model::plan::{Action, Ending, PoolFacts};
use weir::model::status::{EventObject, Kind, Object};
use weir::model::worker::{Exit, ExitReason, SlotId};

use crate::queue;
use crate::sizes::{self, Sizes};
use crate::slots::{Inside, SimSlot};
use crate::specs::{Meant, Specs};
use crate::world::World;

/// A spawn that never became a worker leaves no record: it may be told of, or not.
const NO_SHIM: &str = "could not start: no shim";
const UNKNOWN: &str = "an unknown end";

/// Failures in a row, and the earliest next start.
#[derive(Default)]
struct Waits {
    failures: u32,
    not_before: u64,
    template: String,
}

/// The truth that is held against what weir does, and the first thing that did not hold.
#[derive(Default)]
pub struct Checks {
    pub violation: Option<String>,
    pub sizes: Sizes,
    /// Most workers that each pool may have had so far.
    ceilings: BTreeMap<String, usize>,
    waits: BTreeMap<SlotId, Waits>,
    /// How each run ended, in weir's words, and what was told of it.
    ends: BTreeMap<(String, u64), Vec<String>>,
    told: BTreeMap<(String, u64), Vec<String>>,
    /// The grace that each run was started with.
    graces: BTreeMap<(SlotId, u64), u64>,
    /// When each run was told to stop, and the grace it was promised.
    signalled: BTreeMap<(SlotId, u64), (u64, u64)>,
    generations: BTreeMap<String, u64>,
    /// Slots of which somebody asked for a restart: that is a reason of its own.
    asked: BTreeSet<SlotId>,
    /// Events that this daemon has told people of.
    heard: BTreeSet<String>,
}

impl Checks {
    pub fn fail(&mut self, text: String) {
        self.violation.get_or_insert(text);
    }

    /// A run ended, and a record of it is on disk.
    pub fn ended(&mut self, id: &SlotId, exit: &Exit, (template, now): (&str, u64)) {
        self.ends.entry((id.worker.clone(), exit.incarnation)).or_default().push(words(exit));
        let waits = self.waits.entry(id.clone()).or_default();
        if waits.template != template {
            *waits = Waits { template: template.to_owned(), ..Waits::default() };
        }
        if exit.asked {
            *waits = Waits::default();
            return;
        }
        waits.failures = if exit.ran_ms >= 60_000 { 1 } else { waits.failures + 1 };
        let cannot_run = exit.reason == ExitReason::StartError || exit.code == Some(127);
        let doubled = waits.failures.checked_sub(2).map_or(0, |n| (1000u64 << n.min(10)).min(30_000) * 8 / 10);
        waits.not_before = now + if cannot_run { 30_000 } else { doubled };
    }

    /// A run ended and nobody can know how.
    pub fn lost(&mut self, id: &SlotId, incarnation: u64, _now: u64) {
        self.ends.entry((id.worker.clone(), incarnation)).or_default().push(UNKNOWN.into());
        self.waits.entry(id.clone()).or_default().not_before = 0;
    }

    /// The slot's row is gone: what comes next begins anew.
    pub fn forgotten(&mut self, id: &SlotId) {
        self.waits.remove(id);
    }

    /// A person asked for a restart: it waits for nothing.
    pub fn asked(&mut self, id: &SlotId) {
        self.waits.remove(id);
        self.asked.insert(id.clone());
    }

    /// Somebody asked for a restart, and none was made yet.
    pub fn was_asked(&self, id: &SlotId) -> bool {
        self.asked.contains(id)
    }

    /// A history row is committed.
    pub fn told(&mut self, event: &EventObject) {
        if event.reason != "Exited" || event.note.contains(NO_SHIM) {
            return;
        }
        let Some(worker) = event.regarding.strip_prefix("worker/") else { return };
        let incarnation = event.metadata.name.rsplit('.').nth(1).and_then(|text| text.parse().ok()).unwrap_or(0);
        let key = (worker.to_owned(), incarnation);
        let told = self.told.entry(key.clone()).or_default();
        let true_end = self.ends.get(&key).and_then(|ends| ends.get(told.len()));
        told.push(event.note.clone());
        match true_end {
            None => {
                self.fail(format!("{worker} run {incarnation}: an end is told that did not happen, or twice: {}", event.note))
            }
            Some(end) if !event.note.contains(end.as_str()) && !event.note.contains(UNKNOWN) => {
                self.fail(format!("{worker} run {incarnation} ended with {end}, told is: {}", event.note));
            }
            Some(_) => {}
        }
    }

    /// People are told of an event: once, and of what is planned only when the plan is on disk.
    pub fn tells(&mut self, event: &EventObject, on_disk: bool) {
        let planned = ["Scaled", "Starting", "Stopping"].contains(&event.reason.as_str());
        if planned && !on_disk {
            self.fail(format!("told is what is not on disk: {}", event.note));
        }
        if !self.heard.insert(event.metadata.name.clone()) {
            self.fail(format!("{} is told twice: {}", event.metadata.name, event.note));
        }
    }

    pub fn daemon_gone(&mut self) {
        self.generations.clear();
        self.heard.clear();
    }

    /// A spec is acted on.
    pub fn in_force(&mut self, facts: &PoolFacts) {
        let most = facts.spec.scale.as_ref().map(|scale| scale.max_replicas).or(facts.spec.fixed_replicas()).unwrap_or(1);
        let wanted = if facts.ending.is_some() { 0 } else { most };
        let most = (wanted + facts.spec.update_strategy.max_surge) as usize;
        let ceiling = self.ceilings.entry(facts.name.clone()).or_default();
        *ceiling = most.max(*ceiling);
    }

    /// Weir is about to do something.
    ///
    /// `meant`: there is a reason to stop it that no spec has.
    pub fn action(&mut self, (specs, live, meant): (&Specs, usize, bool), facts: &PoolFacts, action: &Action, now: u64) {
        self.in_force(facts);
        let id = SlotId { pool: facts.name.clone(), worker: action.worker().to_owned() };
        let grace = facts.spec.template.termination_grace_period.0;
        match action {
            Action::Start { incarnation, .. } => {
                self.graces.insert((id.clone(), *incarnation), grace);
                self.asked.remove(&id);
                // What failed was another template: that is forgotten with this start.
                if self.waits.get(&id).is_some_and(|waits| waits.template != facts.template) {
                    self.waits.remove(&id);
                }
                let not_before = self.waits.get(&id).map_or(0, |waits| waits.not_before);
                if now < not_before {
                    self.fail(format!("{} is started {} ms before its back-off is over", id.worker, not_before - now));
                }
            }
            Action::Signal { incarnation, .. } | Action::PreStop { incarnation, .. } => {
                if !meant && !self.asked.contains(&id) {
                    self.meant(specs, facts, action, live);
                }
                // That of the template that it was started with, whichever daemon ends it.
                let Some(promised) = self.graces.get(&(id.clone(), *incarnation)).copied() else {
                    return self.fail(format!("{action:?} for a run that nobody started"));
                };
                self.signalled.insert((id, *incarnation), (now, promised));
            }
            Action::Kill { incarnation, .. } => match self.signalled.get(&(id, *incarnation)).copied() {
                None => self.fail(format!("{action:?} without a stop signal before")),
                Some((at, promised)) if now - at < promised => {
                    self.fail(format!("{action:?} {} ms after the signal, the grace is {promised} ms", now - at));
                }
                Some(_) => {}
            },
            Action::Probe { .. } | Action::Look { .. } | Action::Refresh { .. } | Action::Forget { .. } => {}
        }
    }

    /// No worker is stopped for a spec that nobody meant.
    fn meant(&mut self, specs: &Specs, facts: &PoolFacts, action: &Action, live: usize) {
        let wanted = facts.spec.fixed_replicas();
        // With no more workers than wanted it is replaced, not taken away: then only its template counts.
        let replaced = live <= wanted.map_or(0, |wanted| wanted as usize);
        let all = specs.meant.get(facts.name.as_str()).map_or(&[][..], Vec::as_slice);
        let holds = all.iter().any(|meant| match meant {
            Meant::Version(spec) => {
                let size = spec.fixed_replicas() == wanted && spec.scale == facts.spec.scale;
                let same = spec.template == facts.spec.template && (replaced || size);
                facts.ending.is_none() && same
            }
            Meant::Removal => facts.ending == Some(Ending::Removed),
        });
        if !holds {
            let (ending, replicas) = (facts.ending, facts.spec.replicas);
            self.fail(format!(
                "{action:?} for a spec that nobody meant: replicas {replicas:?}, ending {ending:?}, from {:?}",
                facts.source
            ));
        }
    }

    /// A status is shown.
    pub fn shown(&mut self, name: &str, object: Option<&Object>) {
        let Some(Object::Pool(pool)) = object else {
            self.generations.remove(name);
            return;
        };
        if let Err(error) = self.sizes.shown(pool) {
            self.fail(error);
        }
        let generation = pool.status.observed_generation;
        let before = self.generations.insert(name.to_owned(), generation).unwrap_or(0);
        if generation < before {
            self.fail(format!("pool {name}: observedGeneration went from {before} to {generation}"));
        }
    }

    /// After every event.
    pub fn always(&mut self, slots: &BTreeMap<SlotId, SimSlot>) {
        let mut alive: BTreeMap<&str, usize> = BTreeMap::new();
        for (id, _) in slots.iter().filter(|(_, slot)| slot.alive()) {
            *alive.entry(&id.pool).or_default() += 1;
        }
        for (pool, count) in alive {
            let most = self.ceilings.get(pool).copied().unwrap_or(0);
            if count > most {
                self.fail(format!("pool {pool}: {count} workers live, at most {most} were ever wanted at once"));
            }
        }
    }

    /// Every end is in the history.
    fn all_told(&self) -> Result<(), String> {
        for ((worker, incarnation), ends) in &self.ends {
            let told = self.told.get(&(worker.clone(), *incarnation)).map_or(0, Vec::len);
            if told != ends.len() {
                return Err(format!(
                    "{worker} run {incarnation} ended {} times ({}), told {told} times",
                    ends.len(),
                    ends.join(", ")
                ));
            }
        }
        Ok(())
    }
}

fn words(exit: &Exit) -> String {
    match (exit.code, exit.signal) {
        (Some(code), _) => format!("exit code {code} "),
        (None, Some(signal)) => format!("signal {signal} "),
        (None, None) => "could not start".into(),
    }
}

/// What must hold in the end, when nothing fails any more.
pub fn settled(world: &World) -> Result<(), String> {
    for (file, pools) in crate::specs::FILES {
        for pool in pools {
            let holds = if *pool == queue::POOL {
                queue::settled(world)
            } else {
                wanted(world, pool).and_then(|wanted| counted(world, pool, wanted))
            };
            holds.map_err(|error| format!("pool {pool} of {file}: {error}"))?;
        }
    }
    world.checks.all_told()
}

/// How many workers the pool should have by now. One that is scaled has as many as the truth asks for.
fn wanted(world: &World, pool: &str) -> Result<usize, String> {
    let Some(version) = world.specs.wishes.get(pool) else { return Ok(0) };
    let spec = crate::specs::spec_of(pool, version);
    let Some(scale) = &spec.scale else { return Ok(spec.fixed_replicas().unwrap_or(1) as usize) };
    let size = world.checks.sizes.wanted().get(pool).copied().unwrap_or(0);
    sizes::fits(scale, &world.sources, size)?;
    Ok(size as usize)
}

fn counted(world: &World, pool: &str, wanted: usize) -> Result<(), String> {
    let live: Vec<(&SlotId, i32)> =
        world.slots.iter().filter(|(id, _)| id.pool == pool).filter_map(|(id, slot)| Some((id, pid(slot)?))).collect();
    let alive = world.slots.iter().filter(|(id, slot)| id.pool == pool && slot.alive()).count();
    if live.len() != wanted || alive != wanted {
        return Err(format!("{wanted} workers are wanted, {} run, {alive} live", live.len()));
    }
    let Some(Object::Pool(shown)) = world.published.get(&(Kind::Pool, pool.to_owned())) else {
        return if world.specs.wishes.contains_key(pool) { Err("no status is shown".into()) } else { Ok(()) };
    };
    if !world.specs.wishes.contains_key(pool) {
        return Err("it is gone and still shown".into());
    }
    let ready = shown.status.ready_replicas as usize;
    if ready != wanted || shown.status.replicas as usize != wanted {
        return Err(format!("{wanted} workers run, {ready} of {} are shown as ready", shown.status.replicas));
    }
    shown_pids(world, pool, &live)
}

fn shown_pids(world: &World, pool: &str, live: &[(&SlotId, i32)]) -> Result<(), String> {
    let shown: BTreeMap<&str, Option<i32>> = world
        .published
        .iter()
        .filter_map(|((_, name), object)| match object {
            Object::Worker(worker) if worker.metadata.owner.as_deref() == Some(pool) => Some((name.as_str(), worker.status.pid)),
            Object::Worker(_) | Object::Pool(_) | Object::Policy(_) | Object::Event(_) => None,
        })
        .collect();
    let truth: BTreeMap<&str, Option<i32>> = live.iter().map(|(id, pid)| (id.worker.as_str(), Some(*pid))).collect();
    if shown == truth { Ok(()) } else { Err(format!("shown are {shown:?}, truly there are {truth:?}")) }
}

fn pid(slot: &SimSlot) -> Option<i32> {
    match &slot.inside {
        Inside::Process(run) if run.stop.is_none() && !run.clearing => Some(run.pid),
        Inside::Process(_) | Inside::Nothing | Inside::Starting { .. } => None,
    }
}
