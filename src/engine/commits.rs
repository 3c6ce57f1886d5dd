//! What becomes of a turn when the store has answered: it is told and performed, or put back.
//!
//! Of a plan that was not taken nothing is done. What it said of the world and what it meant to do is planned anew; what cannot
//! be planned again (ends, notes, readings, and what was said of a change of the status) goes with the next plan. While the store
//! takes nothing, no more of that is kept than [`PUT_BACK_MAX`].

use std::collections::BTreeMap;

use super::controller::{COMMIT_RETRY, Engine, Key, Pool, Ticket};
use super::host::Host;
use super::reconcile::{called_off, start_of};
use crate::model::batch::Batch;
use crate::model::plan::{Action, Plan, Record};
use crate::model::queue_work::QueueAnswer;
use crate::model::time::Now;
use crate::model::worker::SlotId;

/// Rows of history of one pool, and of its readings, that wait for a store that takes nothing. The newest are kept.
pub(super) const PUT_BACK_MAX: usize = 1000;

impl<H: Host> Engine<H> {
    pub(super) fn committed(&mut self, number: u64, result: Result<Vec<QueueAnswer>, String>, now: Now) {
        if let Some(batch) = self.keeping.remove(&number) {
            return self.was_kept(batch, result.map(drop), now);
        }
        if let Some(ticket) = self.policy_tickets.remove(&number) {
            return self.policy_committed(ticket, result.map(drop), now);
        }
        if self.sweeping == Some(number) {
            return self.leftovers_swept(result, now);
        }
        let Some(mut ticket) = self.tickets.remove(&number) else { return };
        let (name, key) = (ticket.pool.clone(), Key::Pool(ticket.pool.clone()));
        self.queue.done(&key);
        let behind = self.pools.get_mut(&name).map(|pool| {
            pool.in_flight = false;
            std::mem::take(&mut pool.behind)
        });
        if result.is_ok() {
            let mut tell = std::mem::take(&mut ticket.tell);
            if let Some(pool) = self.pools.get(&name) {
                tell.retain(|event| !called_off(&ticket, pool, event));
            }
            tell.into_iter().for_each(|event| self.tell(&name, event));
        }
        behind.into_iter().flatten().for_each(|event| self.tell(&name, event));
        match result {
            Ok(answers) => {
                if let Some(catalogue) = &ticket.batch.catalogue {
                    self.durable.clone_from(catalogue);
                }
                let leased = self.worked(&ticket, answers, now);
                self.perform(ticket, &leased, now);
            }
            Err(error) => {
                tracing::warn!(pool = name, %error, "the store did not take the plan; nothing of it is done, and it is tried again");
                if self.is_draining() {
                    self.stop_unwritten(&ticket, now);
                }
                let unmade: Vec<SlotId> = ticket.plan.actions.iter().filter_map(|action| start_of(&name, action)).collect();
                if let Some(pool) = self.pools.get_mut(&name) {
                    put_back(pool, ticket);
                }
                // What was seen is shown all the same.
                self.show_pool(&name, now);
                let then = now.mono.after(COMMIT_RETRY);
                self.queue.add(key, then);
                self.end_starts(unmade, then);
            }
        }
    }
}

impl<H: Host> Engine<H> {
    /// A daemon that ends takes its workers with it also where that cannot be written down: their shims keep that it was asked for.
    fn stop_unwritten(&mut self, ticket: &Ticket, now: Now) {
        let is_stop = |action: &Action| matches!(action, Action::PreStop { .. } | Action::Signal { .. } | Action::Kill { .. });
        let actions = ticket.plan.actions.iter().filter(|action| is_stop(action)).cloned().collect();
        let plan = Plan { actions, records: BTreeMap::new(), finished: false, ..(*ticket.plan).clone() };
        let (pool, facts) = (ticket.pool.clone(), ticket.facts.clone());
        let stops = Ticket {
            pool,
            facts,
            plan: Box::new(plan),
            decided: ticket.decided,
            batch: Batch::default(),
            tell: Vec::new(),
            again: 0,
        };
        self.perform(stops, &BTreeMap::new(), now);
    }
}

/// Have what cannot be planned again go with the next plan.
fn put_back(pool: &mut Pool, ticket: Ticket) {
    let Ticket { batch: mut old, mut tell, again, .. } = ticket;
    let newer = std::mem::take(&mut pool.pending);
    // The rows of slots are as they are known, not as they were planned; those that were to go are looked at anew.
    let known = |id: &SlotId| pool.slots.get(&id.worker).filter(|slot| slot.record != Record::default());
    let planned = old.slots.into_iter().filter(|(_, record)| record.is_some()).map(|(id, _)| id);
    let slots = planned.filter_map(|id| known(&id).map(|slot| (id, Some(slot.record.clone()))));
    let slots: BTreeMap<SlotId, Option<Record>> = slots.chain(newer.slots).collect();
    old.events.truncate(old.events.len().saturating_sub(again));
    tell.truncate(tell.len().saturating_sub(again));
    old.events.extend(newer.events);
    old.readings.extend(newer.readings);
    let lost = newest(&mut old.events) + newest(&mut old.readings);
    newest(&mut tell);
    if lost > 0 {
        tracing::warn!(lost, "the store takes nothing: the oldest rows of history that wait for it are given up");
    }
    pool.owed = tell;
    let (events, readings, pools) = (old.events, old.readings, old.pools);
    pool.pending = Batch { slots: slots.into_iter().collect(), events, readings, pools, ..Batch::default() };
}

/// Keep the newest; gives how many went.
pub(super) fn newest<T>(rows: &mut Vec<T>) -> usize {
    rows.drain(..rows.len().saturating_sub(PUT_BACK_MAX)).count()
}
