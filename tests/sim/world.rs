//! The world: one clock, one source of chance, and a list of what is still to happen.
//!
//! Whatever takes time is a [`Todo`] with its moment. What belongs to a daemon carries its epoch and dies with it; slots, files
//! and committed rows do not.

use std::collections::{BTreeMap, BTreeSet};

use weir::engine::host::Fact;
use weir::model::batch::{Batch, Stored, StoredPool};
use weir::model::plan::Record;
use weir::model::queue_work::QueueAnswer;
use weir::model::status::{EventObject, Kind, Object};
use weir::model::time::{Moment, Now, Wall};
use weir::model::worker::SlotId;

use crate::checks::Checks;
use crate::queue::Line;
use crate::random::Random;
use crate::slots::{Command, End, Inside, SimSlot};
use crate::sources::{Answer, Shortage, Sources};
use crate::specs::Specs;

const EPOCH: i64 = 1_700_000_000_000;

/// Something that happens at its time.
#[derive(Debug)]
pub enum Todo {
    /// A fact reaches the daemon.
    Fact(u64, Fact),
    /// A source's answer reaches the daemon.
    Answer(u64, Box<Answer>),
    /// A command reaches a slot.
    Command(u64, SlotId, Command),
    /// The store gets to a transaction.
    Commit(u64, u64, Box<Batch>),
    /// The specs directory is read.
    List(u64),
    /// A hunt has proved the slot empty.
    Hunted(u64, SlotId),
    /// A shim that the daemon could not speak to can be spoken to again.
    Reached(u64, SlotId),
    Exec(SlotId, u64),
    Die(SlotId, u64, End),
    /// A person writes a file: its whole text, or a part of it. The text that counts is looked up when it is whole.
    Write(&'static str, Step),
    /// The directory is there again.
    Unhide,
    /// The daemon is started.
    Boot,
}

/// One step of an edit.
#[derive(Clone, Debug)]
pub enum Step {
    /// So many percent of the text are there.
    Prefix(u64),
    /// All of it.
    Whole,
    /// The file is put in place at once.
    Rename,
}

/// What is committed.
#[derive(Default)]
pub struct Rows {
    pub slots: BTreeMap<SlotId, Record>,
    pub pools: BTreeMap<String, StoredPool>,
    pub catalogue: Option<String>,
    pub events: BTreeMap<String, EventObject>,
    pub order: Vec<String>,
}

/// Everything but the daemon.
pub struct World {
    pub random: Random,
    pub now: u64,
    todo: BTreeMap<(u64, u64), Todo>,
    serial: u64,
    pub epoch: u64,
    pub daemon_lives: bool,
    pub calm: bool,
    pub slots: BTreeMap<SlotId, SimSlot>,
    pub rows: Rows,
    pub specs: Specs,
    pub sources: Sources,
    pub line: Line,
    pub short: Option<Shortage>,
    pub listing_wanted: bool,
    pub published: BTreeMap<(Kind, String), Object>,
    pub checks: Checks,
    pub faults: BTreeMap<&'static str, u64>,
    pub trace: Option<Vec<String>>,
    recovering: Option<BTreeSet<SlotId>>,
    /// Facts and commands of one slot keep their order; so do transactions.
    fact_at: BTreeMap<SlotId, u64>,
    command_at: BTreeMap<SlotId, u64>,
    commit_at: u64,
}

impl World {
    pub fn new(seed: u64, traced: bool) -> World {
        World {
            random: Random::new(seed),
            now: 1_000_000,
            todo: BTreeMap::new(),
            serial: 0,
            epoch: 0,
            daemon_lives: false,
            calm: false,
            slots: BTreeMap::new(),
            rows: Rows::default(),
            specs: Specs::default(),
            sources: Sources::default(),
            line: Line::new(),
            short: None,
            listing_wanted: false,
            published: BTreeMap::new(),
            checks: Checks::default(),
            faults: BTreeMap::new(),
            trace: traced.then(Vec::new),
            recovering: None,
            fact_at: BTreeMap::new(),
            command_at: BTreeMap::new(),
            commit_at: 0,
        }
    }

    pub fn clock(&self) -> Now {
        Now { mono: Moment(self.now), wall: Wall(EPOCH + i64::try_from(self.now).unwrap_or(i64::MAX)) }
    }

    /// Remember what happens, if anybody will read it.
    pub fn note(&mut self, text: impl FnOnce() -> String) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>9.3}  {}", (now - 1_000_000) as f64 / 1000.0, text()));
        }
    }

    /// Whether a fault strikes now: never when all is calm.
    pub fn fault(&mut self, name: &'static str, percent: u64) -> bool {
        let strikes = self.random.chance(percent) && !self.calm;
        if strikes {
            *self.faults.entry(name).or_default() += 1;
        }
        strikes
    }

    pub fn later(&mut self, delay: u64, todo: Todo) {
        self.at(self.now + delay, todo);
    }

    fn at(&mut self, at: u64, todo: Todo) {
        self.serial += 1;
        self.todo.insert((at, self.serial), todo);
    }

    pub fn next_at(&self) -> Option<u64> {
        self.todo.keys().next().map(|(at, _)| *at)
    }

    pub fn take_due(&mut self) -> Option<Todo> {
        let entry = self.todo.first_entry().filter(|entry| entry.key().0 <= self.now)?;
        Some(entry.remove())
    }

    pub fn travel(&mut self) -> u64 {
        if self.fault("a fact is late", 5) { self.random.below(3000) } else { self.random.below(4) }
    }

    /// Tell the daemon, if there is one.
    pub fn send(&mut self, fact: Fact) {
        if self.daemon_lives {
            let delay = self.travel();
            let epoch = self.epoch;
            self.later(delay, Todo::Fact(epoch, fact));
        }
    }

    /// Tell the daemon of a slot, after what it was told of that slot before.
    pub fn send_of(&mut self, id: &SlotId, fact: Fact) {
        if self.daemon_lives {
            let at = (self.now + self.travel()).max(self.fact_at.get(id).copied().unwrap_or(0));
            self.fact_at.insert(id.clone(), at);
            let epoch = self.epoch;
            self.at(at, Todo::Fact(epoch, fact));
        }
    }

    pub fn command(&mut self, id: SlotId, command: Command) {
        let at = (self.now + self.random.delay(200)).max(self.command_at.get(&id).copied().unwrap_or(0));
        self.command_at.insert(id.clone(), at);
        let epoch = self.epoch;
        self.at(at, Todo::Command(epoch, id, command));
    }

    pub fn commit_later(&mut self, ticket: u64, batch: Batch) {
        let short = self.shortage().is_some();
        self.checks.sizes.decide(ticket, &batch, short, self.now);
        self.commit_at = (self.now + self.random.delay(300)).max(self.commit_at);
        let (at, epoch) = (self.commit_at, self.epoch);
        self.at(at, Todo::Commit(epoch, ticket, Box::new(batch)));
    }

    /// The store gets to a transaction and answers.
    pub fn commit(&mut self, ticket: u64, batch: Batch) {
        let fails = self.fault("a commit fails", 5);
        self.checks.sizes.committed(ticket, !fails);
        let result = if fails { Err("disk I/O error".to_owned()) } else { Ok(self.apply(batch)) };
        self.note(|| format!("commit {ticket}: {result:?}"));
        let epoch = self.epoch;
        self.later(0, Todo::Fact(epoch, Fact::Committed { ticket, result }));
    }

    fn apply(&mut self, batch: Batch) -> Vec<QueueAnswer> {
        for (id, record) in batch.slots {
            match record {
                Some(record) => self.rows.slots.insert(id, record),
                None => {
                    self.checks.forgotten(&id);
                    self.rows.slots.remove(&id)
                }
            };
        }
        for (name, pool) in batch.pools {
            match pool {
                Some(pool) => self.rows.pools.insert(name, pool),
                None => self.rows.pools.remove(&name),
            };
        }
        self.rows.catalogue = batch.catalogue.or(self.rows.catalogue.take());
        for event in batch.events {
            let name = event.metadata.name.clone();
            if !self.rows.events.contains_key(&name) {
                self.checks.told(&event);
                self.rows.order.push(name.clone());
                self.rows.events.insert(name, event);
            }
        }
        self.queue_work(batch.queue, batch.at)
    }

    /// The daemon is killed: commands and rows on their way arrive, or do not.
    pub fn kill_daemon(&mut self) {
        self.daemon_lives = false;
        let all = std::mem::take(&mut self.todo);
        let (mut cut, mut lost) = (BTreeSet::new(), false);
        for (at, todo) in all {
            match todo {
                Todo::Command(_, id, command) => {
                    if cut.contains(&id) || self.random.chance(50) {
                        cut.insert(id);
                    } else {
                        self.obey(&id, command);
                    }
                }
                Todo::Commit(_, ticket, batch) => {
                    lost |= self.random.chance(50);
                    self.checks.sizes.committed(ticket, !lost);
                    if !lost {
                        self.apply(*batch);
                    }
                }
                Todo::Fact(..) | Todo::Answer(..) | Todo::List(_) | Todo::Hunted(..) | Todo::Reached(..) => {}
                todo @ (Todo::Exec(..) | Todo::Die(..) | Todo::Write(..) | Todo::Unhide | Todo::Boot) => {
                    self.todo.insert(at, todo);
                }
            }
        }
        self.listing_wanted = false;
        self.recovering = None;
        self.published.clear();
        self.checks.daemon_gone();
        self.specs.forget_marks();
    }

    /// A daemon starts: what the store gives it. It is then told of each slot.
    pub fn boot(&mut self) -> Stored {
        self.epoch += 1;
        self.daemon_lives = true;
        self.checks.sizes.boot();
        self.fact_at.clear();
        self.command_at.clear();
        self.rewrite_catalogue();
        Stored {
            catalogue: self.rows.catalogue.clone(),
            pools: self.rows.pools.iter().map(|(name, pool)| (name.clone(), pool.clone())).collect(),
            slots: self.rows.slots.iter().map(|(id, record)| (id.clone(), record.clone())).collect(),
            events: Vec::new(),
            version: self.epoch * 1_000_000_000,
            ..self.line.reopen()
        }
    }

    /// What was kept of an object has a field that nobody knows, or all that was kept is lost.
    fn rewrite_catalogue(&mut self) {
        let Some(mut kept) = self.rows.catalogue.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok())
        else {
            return;
        };
        // What is damaged may be so still.
        let objects = kept.get("objects").and_then(serde_json::Value::as_array).map_or(0, Vec::len);
        if objects == 0 || !self.fault("another weir kept the specs", 20) {
            return;
        }
        let n = self.random.below(objects as u64 + 1) as usize;
        match kept["objects"].get_mut(n) {
            Some(object) => object["document"]["spec"]["fresh"] = 1.into(),
            None => kept = "damaged".into(),
        }
        self.note(|| format!("of what was kept, {n} of {objects} does not read"));
        self.rows.catalogue = Some(kept.to_string());
    }

    /// Look at every slot on disk. Of one that is not listed nothing is told until it is asked for.
    pub fn recover(&mut self) {
        let mut found: Vec<SlotId> = self.slots.keys().cloned().collect();
        found.retain(|id| !(self.rows.slots.contains_key(id) && self.fault("a slot is not listed", 10)));
        self.slots.values_mut().for_each(|slot| slot.mute = false);
        self.recovering = Some(found.iter().cloned().collect());
        for id in found {
            if self.slot(&id).shim {
                if self.fault("a shim cannot be reached", 10) {
                    self.mute(&id);
                } else {
                    self.tell_slot(&id);
                }
                self.recovered(&id);
            } else {
                self.hunt(&id);
            }
        }
        self.recovered(&SlotId { pool: String::new(), worker: String::new() });
    }

    /// The slot has been told of; when all have, that is told too, last.
    pub fn recovered(&mut self, id: &SlotId) {
        let Some(waiting) = &mut self.recovering else { return };
        waiting.remove(id);
        if waiting.is_empty() {
            self.recovering = None;
            let at = self.fact_at.values().copied().max().unwrap_or(0).max(self.now);
            let epoch = self.epoch;
            self.at(at, Todo::Fact(epoch, Fact::Recovered));
        }
    }
}

impl World {
    /// Something happens that the daemon learns of only by facts.
    pub fn happen(&mut self, todo: Todo) {
        match todo {
            Todo::Command(_, id, command) => self.obey(&id, command),
            Todo::Commit(_, ticket, batch) => self.commit(ticket, *batch),
            Todo::Hunted(epoch, id) if epoch == self.epoch => self.hunted(&id),
            Todo::Reached(epoch, id) if epoch == self.epoch => self.reached(&id),
            Todo::Exec(id, incarnation) => self.exec(&id, incarnation),
            Todo::Die(id, incarnation, end) => self.die(&id, incarnation, end),
            Todo::Write(file, step) => self.write(file, &step),
            Todo::Unhide => {
                self.specs.hidden = None;
                self.changed();
            }
            Todo::Hunted(..) | Todo::Reached(..) | Todo::Fact(..) | Todo::Answer(..) | Todo::List(_) | Todo::Boot => {}
        }
    }

    /// Every worker has done its work.
    pub fn all_idle(&mut self) {
        for id in self.slots.keys().cloned().collect::<Vec<_>>() {
            if let Inside::Process(run) = &mut self.slot(&id).inside {
                run.busy = false;
                self.tell_slot(&id);
            }
        }
    }
}
