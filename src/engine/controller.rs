//! The controller: owns all state of the loop, takes facts in, hands out turns by key.
//!
//! A plain value. [`Engine::on`] takes one fact and at most queues keys; [`Engine::turn`] takes the keys that are due. A key
//! whose rows are being committed is held until the answer, so no pool is ever decided on twice at once, and nothing is done
//! before its intent is on disk. A panic inside one pool's turn is that pool's alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event_object::event_object;
use super::handle::{Ask, Denied};
use super::host::{Fact, Host};
use super::policy_state::{Policy, PolicyTicket};
use super::slots;
use super::trouble::Trouble;
use super::workqueue::Workqueue;
use crate::decide::admit::{self, Admission};
use crate::decide::dispatch;
use crate::model::batch::{Batch, StoredPool};
use crate::model::catalogue::{Catalogue, ObjectKey};
use crate::model::cgroup::Controllers;
use crate::model::line::Line;
use crate::model::listing::Listing;
use crate::model::metered::Metered;
use crate::model::plan::{Happening, PoolFacts, Slot};
use crate::model::queue_work::QueueCounts;
use crate::model::reading::{Failure, Number, counted};
use crate::model::scaling::{Question, Scaling};
use crate::model::status::{EventObject, EventType};
use crate::model::time::{Moment, Now, Span, Wall};
use crate::model::worker::{SlotId, SlotState};

/// The slow safety net: everything is looked at again this often though nothing was heard.
pub const RESYNC: Span = Span::secs(30);
/// How long to wait before trying a failed commit again.
pub(super) const COMMIT_RETRY: Span = Span::secs(1);
/// Events kept for showing.
pub(super) const EVENTS_SHOWN: usize = 1000;

/// What a turn is about.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// The specs directory.
    Specs,
    /// One pool.
    Pool(String),
    /// One policy.
    Policy(String),
    /// Everything, slowly.
    Resync,
}

/// Settings of the loop.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Starts that may be in flight at once.
    pub starts_in_flight_max: usize,
    /// How admission judges.
    pub admission: admit::Settings,
    /// Which limits of workers can be held here.
    pub controllers: Controllers,
}

/// One pool as the engine keeps it.
#[derive(Default)]
pub(super) struct Pool {
    pub(super) facts: Option<Arc<PoolFacts>>,
    pub(super) stored: StoredPool,
    pub(super) slots: BTreeMap<String, Slot>,
    /// Workers whose status may differ from what is published.
    pub(super) dirty: BTreeSet<String>,
    /// What is remembered of its scaling.
    pub(super) scaling: Scaling,
    /// What was last kept of each trigger's readings.
    pub(super) recorded: BTreeMap<String, (Wall, f64)>,
    /// Rows and history that wait for the next turn's transaction.
    pub(super) pending: Batch,
    /// Of the history there what is told when it is on disk; the rest has been told.
    pub(super) owed: Vec<EventObject>,
    /// A turn waits for its transaction. What is to be told meanwhile is told behind what that one tells.
    pub(super) in_flight: bool,
    /// That.
    pub(super) behind: Vec<EventObject>,
    /// What is known of its queue.
    pub(super) line: Line,
    /// The workers among which its queue was last divided; absent: not yet by this daemon.
    pub(super) dealt: Option<Vec<String>>,
    /// When a refused delivery to each of its webhooks was last told of.
    pub(super) hooks_told: BTreeMap<usize, Moment>,
    /// Something may wait there for nobody, or for whoever is gone: it is to be dealt once more among the same.
    pub(super) stranded: bool,
}

/// A turn that waits for its transaction.
pub(super) struct Ticket {
    pub(super) pool: String,
    /// When it was decided.
    pub(super) decided: Moment,
    /// What was decided on. It may have changed by now; what is done is what was decided.
    pub(super) facts: Arc<PoolFacts>,
    pub(super) plan: Box<crate::model::plan::Plan>,
    pub(super) batch: Batch,
    /// What is told when it is on disk.
    pub(super) tell: Vec<EventObject>,
    /// So many of those, the last ones, are told of the next plan if this one is not taken.
    pub(super) again: usize,
}

/// The loop's state.
pub struct Engine<H> {
    pub(super) host: H,
    pub(super) settings: Settings,
    pub(super) queue: Workqueue<Key>,
    pub(super) pools: BTreeMap<String, Pool>,
    pub(super) tickets: BTreeMap<u64, Ticket>,
    pub(super) policies: BTreeMap<String, Policy>,
    pub(super) policy_tickets: BTreeMap<u64, PolicyTicket>,
    pub(super) last_ticket: u64,
    /// The number of the last event. It begins above those of every daemon before, so that no name comes twice.
    pub(super) event_serial: u64,
    pub(super) events_shown: std::collections::VecDeque<String>,
    pub(super) starting: BTreeSet<SlotId>,
    pub(super) hungry: BTreeSet<String>,
    /// Questions that were answered while a turn was taken.
    pub(super) questions_answered: Vec<(String, Question, Result<Number, Failure>)>,
    pub(super) history: Vec<EventObject>,
    pub(super) admission: Admission,
    /// The catalogue as it is to be kept, and as it is known to be on disk.
    pub(super) kept: String,
    /// What `kept` was written from.
    pub(super) written: Option<Catalogue>,
    pub(super) durable: String,
    /// Catalogues and events of the specs on their way to the store.
    pub(super) keeping: BTreeMap<u64, Batch>,
    pub(super) trouble: Trouble,
    /// What pools that are no more left behind is being removed, and is looked for again then.
    pub(super) sweeping: Option<u64>,
    pub(super) sweep_at: Moment,
    /// Pools that are scaled by a queue, by that queue.
    pub(super) followers: BTreeMap<String, BTreeSet<String>>,
    /// What stands in each queue.
    pub(super) counts: BTreeMap<String, QueueCounts>,
    pub(super) recovered: bool,
    pub(super) listed: bool,
    /// Since when workers can be heard, as far as the slots and the leases know.
    pub(super) heard_since: Moment,
    draining: bool,
    /// Pools that have changed and are not shown so yet.
    pub(super) unshown: BTreeSet<String>,
}

impl<H: Host> Engine<H> {
    /// An engine over a host, with what the store holds.
    pub fn new(host: H, settings: Settings, stored: crate::model::batch::Stored) -> Engine<H> {
        let begun = host.now();
        let admission = super::restored::restored(&stored, begun.mono);
        let mut engine = Engine {
            host,
            settings,
            queue: Workqueue::default(),
            pools: BTreeMap::new(),
            tickets: BTreeMap::new(),
            policies: BTreeMap::new(),
            policy_tickets: BTreeMap::new(),
            last_ticket: 0,
            event_serial: stored.version,
            events_shown: std::collections::VecDeque::new(),
            starting: BTreeSet::new(),
            hungry: BTreeSet::new(),
            questions_answered: Vec::new(),
            history: Vec::new(),
            admission,
            written: None,
            kept: stored.catalogue.clone().unwrap_or_default(),
            durable: stored.catalogue.unwrap_or_default(),
            keeping: BTreeMap::new(),
            trouble: Trouble::default(),
            followers: BTreeMap::new(),
            sweeping: None,
            sweep_at: Moment::default(),
            counts: stored.counts.into_iter().collect(),
            recovered: false,
            listed: false,
            heard_since: Moment::default(),
            draining: false,
            unshown: BTreeSet::new(),
        };
        engine.restore_policies(stored.policies, stored.used);
        for (name, pool) in stored.pools {
            engine.pools.entry(name).or_default().stored = pool;
        }
        for (id, record) in stored.slots {
            let slot = Slot { record, ..Slot::default() };
            engine.pools.entry(id.pool).or_default().slots.insert(id.worker, slot);
        }
        for mut task in stored.leased {
            let pool = engine.admission.catalogue.objects.get(&ObjectKey::pool(&task.pool)).and_then(|object| object.pool());
            let queue = pool.and_then(|pool| pool.spec.queue.clone()).unwrap_or_default();
            task.lease_until = dispatch::heard_until(&task, &queue, begun.mono);
            engine.pools.entry(task.pool.clone()).or_default().line.leases.insert(task.id, task);
        }
        for ((pool, name), fired) in stored.schedules {
            engine.pools.entry(pool).or_default().line.fired.insert(name, fired);
        }
        for event in stored.events {
            engine.show(event);
        }
        let now = engine.host.now();
        engine.spread(now);
        engine.queue.add(Key::Resync, now.mono.after(RESYNC));
        engine
    }

    /// The host, for whoever owns the engine.
    pub fn host(&mut self) -> &mut H {
        &mut self.host
    }

    /// Take in one fact.
    pub fn on(&mut self, fact: Fact) {
        let now = self.host.now();
        match fact {
            Fact::Hint => self.host.list(),
            Fact::Listed(listing) => self.listed(&listing, now),
            Fact::Seen(id, seen) => self.seen(&id, now, |slot| slots::absorb(slot, seen)),
            Fact::StartFailed { slot: id, .. } if !self.has(&id) => {}
            Fact::StartFailed { slot: id, incarnation, code, message } => self.seen(&id, now, |slot| {
                slots::failed(slot, slots::failed_start(incarnation, (code, message), now));
                true
            }),
            Fact::Recovered => self.all_seen(now),
            Fact::Probed { slot: id, incarnation, kind, answer } => self.probed(&id, (incarnation, kind), answer, now),
            Fact::PreStopped { slot: id, incarnation, answer } => self.pre_stopped(&id, incarnation, answer, now),
            Fact::Answered { pool, asker, source, answer } => self.answered(&pool, (&asker, &source), answer, now),
            Fact::Measured { policy, target, usage } => self.measured(policy, &target, usage, now),
            Fact::Limited { policy, outcome } => self.limited(policy, outcome, now),
            Fact::Committed { ticket, result } => self.committed(ticket, result, now),
            Fact::Untaken(why) => self.untaken(&why, now),
            Fact::Queue(pool, counts) => self.counted(pool, counts, now),
            Fact::Task(task) => self.task_changed(*task, now),
            Fact::Learnt(pool, ended) => self.learnt(&pool, &ended),
            Fact::Removed(key) => {
                self.admission.removed(key, now.mono);
                self.keep();
            }
            Fact::Asked(ask) => self.asked(ask, now),
        }
    }

    /// Take every turn that is due. Says when to come again.
    pub fn turn(&mut self) -> Option<Moment> {
        let now = self.host.now();
        self.show_changed();
        self.forgive_gap();
        while let Some(key) = self.queue.take(now.mono) {
            match &key {
                Key::Specs => {
                    self.queue.done(&key);
                    self.host.list();
                }
                Key::Resync => {
                    self.queue.done(&key);
                    self.queue.add(Key::Resync, now.mono.after(RESYNC));
                    self.host.list();
                    self.queue_all(now);
                    self.sum_up(now);
                    self.sweep_leftovers(now);
                }
                Key::Pool(name) => tracing::debug_span!("turn", pool = name).in_scope(|| self.pool_turn(name, now)),
                Key::Policy(name) => tracing::debug_span!("turn", policy = name).in_scope(|| self.policy_turn(name, now)),
            }
            for (pool, question, answer) in std::mem::take(&mut self.questions_answered) {
                self.answered(&pool, (&question.asker, &question.source), answer, now);
            }
        }
        // What had nothing to wait for has been carried out by now, and nothing else may come for long.
        self.show_changed();
        self.queue.next_wake()
    }

    /// Show what has changed.
    pub fn show_changed(&mut self) {
        let now = self.host.now();
        std::mem::take(&mut self.unshown).iter().for_each(|name| self.show_pool(name, now));
    }

    /// Where workers could not be heard for a while, none of them is judged by that time.
    fn forgive_gap(&mut self) {
        let since = self.host.heard_since();
        if since <= self.heard_since {
            return;
        }
        self.heard_since = since;
        for pool in self.pools.values_mut() {
            pool.line.heard_since = since;
            pool.slots.values_mut().for_each(|slot| slot.heard_since = since);
        }
    }

    /// Stop wanting workers: every pool is drained, and nothing is removed from what is remembered.
    pub fn drain(&mut self) {
        self.draining = true;
        let now = self.host.now();
        self.spread(now);
    }

    /// Nothing is alive and nothing is on its way to the store.
    pub fn is_drained(&self) -> bool {
        let vacant = |pool: &Pool| pool.slots.values().all(|slot| slot.seen.state == SlotState::Vacant);
        self.tickets.is_empty() && self.pools.values().all(vacant)
    }

    /// Rows are on their way to the store.
    pub fn commits_pending(&self) -> bool {
        !self.tickets.is_empty() || !self.policy_tickets.is_empty() || !self.keeping.is_empty()
    }

    pub(super) fn is_draining(&self) -> bool {
        self.draining
    }

    /// Whether turns may be taken at all: everything on disk has been looked at, and the specs once.
    pub(super) fn may_decide(&self) -> bool {
        self.recovered && self.listed
    }

    fn listed(&mut self, listing: &Listing, now: Now) {
        let outcome = admit::admit(&self.admission, listing, now, &self.settings.admission);
        if !std::mem::replace(&mut self.listed, true) {
            // Turns that came due before were passed over: now they may be taken.
            self.queue_all(now);
        }
        if let Some(at) = outcome.wake_at {
            self.queue.add(Key::Specs, at);
        }
        self.admission = outcome.admission;
        let mut told = Vec::new();
        for change in &outcome.changes {
            let (about, severity, reason, note) = super::catalogue::words(change, &self.admission.catalogue);
            let happening = Happening { severity, reason, worker: None, incarnation: None, note };
            // The name of an event is a word: a file's path is not.
            self.event_serial += 1;
            let stem = about.split_once('/').filter(|(kind, _)| ["pool", "policy"].contains(kind)).map(|(_, name)| name);
            let stem = stem.unwrap_or(about.split('/').next().unwrap_or_default());
            let event = event_object(format!("{stem}.{:x}", self.event_serial), about.clone(), &happening, now);
            self.history.push(event.clone());
            // Only pools say whom to tell: a policy of the same name is another object.
            let pool = if about.starts_with("policy/") { "" } else { stem };
            told.push((pool.to_owned(), event));
        }
        self.host.refused(self.admission.catalogue.strays());
        self.keep();
        self.spread(now);
        // Only now: whom a new document wants told is told that it was accepted.
        told.into_iter().for_each(|(object, event)| self.say(&object, event));
    }

    fn queue_all(&mut self, now: Now) {
        let names: Vec<String> = self.pools.keys().cloned().collect();
        names.into_iter().for_each(|name| self.queue.add(Key::Pool(name), now.mono));
        self.queue_policies(now);
    }

    /// Every slot that was found has been told of. One that has a row and was not found is no proof of anything: it is looked at,
    /// and nothing is decided about its pool before that.
    fn all_seen(&mut self, now: Now) {
        self.recovered = true;
        for (pool, held) in &self.pools {
            let untold = held.slots.iter().filter(|(_, slot)| slot.seen.state == SlotState::Unknown);
            untold.for_each(|(worker, _)| self.host.look(&SlotId { pool: pool.clone(), worker: worker.clone() }));
        }
        self.tell_adopted(now);
        self.spread(now);
        self.queue_all(now);
    }

    /// Say which workers were found running: nothing else tells of them.
    fn tell_adopted(&mut self, now: Now) {
        let runs = |slot: &Slot| matches!(slot.seen.state, SlotState::Running(_));
        let found = self.pools.iter().map(|(name, pool)| (name.clone(), pool.slots.values().filter(|slot| runs(slot)).count()));
        let found: Vec<(String, usize)> = found.filter(|(_, count)| *count > 0).collect();
        for (pool, count) in found {
            let note = format!("{} found running", counted(count as u64, "worker"));
            let happening = Happening { severity: EventType::Normal, reason: "Adopted", worker: None, incarnation: None, note };
            self.note(&pool, &happening, now);
        }
    }

    /// Change a slot by `change`, record an end it shows, and have its pool looked at.
    pub(super) fn seen(&mut self, id: &SlotId, now: Now, change: impl FnOnce(&mut Slot) -> bool) {
        let pool = self.pools.entry(id.pool.clone()).or_default();
        let slot = pool.slots.entry(id.worker.clone()).or_default();
        if !change(slot) {
            return;
        }
        (slot.tasks, slot.given) = pool.line.count(&id.worker, slot.record.incarnation);
        slots::mark_idle(slot, now.mono);
        pool.dirty.insert(id.worker.clone());
        if !slots::starting(slot) {
            self.end_starts([id.clone()], now.mono);
        }
        self.record_exit(id, now);
        self.queue.add(Key::Pool(id.pool.clone()), now.mono);
    }

    pub(super) fn record_exit(&mut self, id: &SlotId, now: Now) {
        let Some(pool) = self.pools.get_mut(&id.pool) else { return };
        // Of what an end means nobody can tell before it is known what was wanted. It is kept in the slot until then.
        let Some(facts) = pool.facts.clone().filter(|facts| !facts.is_held()) else { return };
        let Some(slot) = pool.slots.get_mut(&id.worker) else { return };
        let Some((record, happening)) = crate::decide::exit(&facts, &id.worker, slot, now) else { return };
        if let Some(exit) = &slot.seen.exit {
            self.host.meter(&Metered::Exit { pool: id.pool.clone(), reason: exit.reason });
        }
        slot.record = record.clone();
        slot.pre_stop = None;
        pool.pending.slots.push((id.clone(), Some(record)));
        if let Some(happening) = happening {
            self.note(&id.pool, &happening, now);
        }
    }

    fn asked(&mut self, ask: Ask, now: Now) {
        match ask {
            Ask::Edit { .. } | Ask::Text { .. } | Ask::Revisions { .. } => self.host.edit(ask),
            Ask::Prune { token, reply } => {
                let answer = if self.admission.confirm(&token) {
                    self.host.list();
                    Ok(())
                } else {
                    let current = self.admission.catalogue.prune.as_ref().map(|prune| &prune.token);
                    let hint = current.map_or("no removal is blocked now".to_owned(), |token| format!("the token is {token}"));
                    Err(Denied::Refused(format!("\"{token}\" confirms nothing: {hint}")))
                };
                // Whoever asked may have hung up.
                let _heard = reply.send(answer);
            }
            Ask::Wake { pool, triggers } => self.wake(&pool, &triggers, now),
            Ask::HookRefused { pool, index, why } => self.hook_refused(&pool, index, &why, now),
            Ask::ResetPolicy { policy, reply } => {
                let _heard = reply.send(self.reset_policy(&policy, now));
            }
            Ask::Restart { worker, reply } => {
                let answer = self.restart(&worker, now);
                let _heard = reply.send(answer);
            }
            Ask::Drain { worker, reply } => {
                let answer = self.drain_worker(&worker, now);
                let _heard = reply.send(answer);
            }
        }
    }
}
