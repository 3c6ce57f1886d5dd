//! Answers that come after a while: of sources, of probes and of preStop commands.
//!
//! Each is put down where its question was asked, and the pool is looked at again. An answer for a run, a slot or a pool that is
//! not there any more is nobody's: it brings nothing back. Numbers are kept for replaying, when what is believed changed and
//! otherwise once a minute, with the rows of the pool's next turn: a recording costs no transaction of its own.

use super::controller::{Engine, Key, Pool};
use super::host::Host;
use crate::decide::demand::{self, Size};
use crate::decide::health;
use crate::model::batch::Reading;
use crate::model::plan::ProbeKind;
use crate::model::reading::{Failure, Number};
use crate::model::scaling::Asker;
use crate::model::source::Source;
use crate::model::status::EventType;
use crate::model::time::Now;
use crate::model::worker::SlotId;

/// A number that stays the same is kept this often, in milliseconds.
const AGAIN: i64 = 60_000;

impl<H: Host> Engine<H> {
    /// A source has answered. The pool is looked at again whatever it said.
    pub(super) fn answered(&mut self, name: &str, (asker, source): (&Asker, &Source), answer: Result<Number, Failure>, now: Now) {
        if let Some(gauge) = super::policies::gauge(asker) {
            let policy = name.strip_prefix("policy/").unwrap_or(name);
            return self.gauged(policy, (gauge, source), answer, now);
        }
        let Some(pool) = self.pools.get_mut(name) else { return };
        let Some(facts) = pool.facts.clone() else { return };
        let size = Size::of(&facts, &pool.slots, pool.stored.status.desired_replicas, now);
        demand::answered(&facts, &mut pool.scaling, ((asker, source), answer), size, now);
        if let Asker::Trigger(trigger) = asker {
            record(pool, name, trigger, now);
        }
        self.queue.add(Key::Pool(name.to_owned()), now.mono);
    }

    /// Ask these triggers now: somebody knows that their numbers have changed.
    pub(super) fn wake(&mut self, name: &str, triggers: &[String], now: Now) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        for (trigger, asked) in &mut pool.scaling.triggers {
            // A source that fails, or asked to be left alone, is left alone.
            if triggers.contains(trigger) && asked.failures == 0 {
                asked.due = now.mono;
            }
        }
        self.queue.add(Key::Pool(name.to_owned()), now.mono);
    }

    pub(super) fn probed(&mut self, id: &SlotId, (incarnation, kind): (u64, ProbeKind), answer: Result<(), String>, now: Now) {
        let Some(facts) = self.pools.get(&id.pool).and_then(|pool| pool.facts.clone()) else { return };
        if !self.has(id) {
            return;
        }
        let mut told = None;
        self.seen(id, now, |slot| {
            let template = health::template(&facts, slot).clone();
            let Some(probe) = health::probe(&template, kind) else { return false };
            let state = slot.health.probes.get(&kind).cloned().unwrap_or_default();
            if slot.health.incarnation == incarnation {
                let after = health::answered(&state, probe, answer, now);
                told = health::told(kind, &after, probe);
                slot.health.probes.insert(kind, after);
                if !health::unheard(&facts, slot) {
                    slot.known_run = incarnation;
                }
            }
            true
        });
        if let Some(why) = told {
            let note = format!("{}: {why}", id.worker);
            let about = (id.worker.as_str(), incarnation);
            self.note(&id.pool, &crate::decide::status::tell("ProbeFailed", EventType::Warning, about, note), now);
        }
    }

    /// The slot is still there: an answer may come when it is forgotten already, and must not bring it back.
    pub(super) fn has(&self, id: &SlotId) -> bool {
        self.pools.get(&id.pool).is_some_and(|pool| pool.slots.contains_key(&id.worker))
    }

    pub(super) fn pre_stopped(&mut self, id: &SlotId, incarnation: u64, answer: Result<(), String>, now: Now) {
        if !self.has(id) {
            return;
        }
        if let Err(message) = answer {
            let note = format!("preStop of {} failed: {message}; stopping it all the same", id.worker);
            let happening = crate::decide::status::tell("PreStopFailed", EventType::Warning, (&id.worker, incarnation), note);
            let event = self.event(&id.pool, &happening, now);
            self.say(&id.pool, event);
        }
        self.seen(id, now, |slot| {
            slot.pre_stop.iter_mut().filter(|state| state.incarnation == incarnation).for_each(|state| state.done = true);
            true
        });
    }
}

/// Keep the number that is believed now, if it is new.
fn record(pool: &mut Pool, name: &str, trigger: &str, now: Now) {
    let believed = pool.scaling.triggers.get(trigger).and_then(|asked| asked.good.as_ref());
    let Some(good) = believed.filter(|good| good.at == now.mono) else { return };
    let known = pool.recorded.get(trigger).is_some_and(|(at, value)| *value == good.value && now.wall.0 - at.0 < AGAIN);
    if !known {
        pool.recorded.insert(trigger.to_owned(), (now.wall, good.value));
        let reading = Reading { pool: name.to_owned(), trigger: trigger.to_owned(), at: now.wall, value: good.value };
        pool.pending.readings.push(reading);
    }
}
