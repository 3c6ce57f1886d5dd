//! What people ask of single workers: to end now, or to end when they are idle.
//!
//! Nothing is done here but to note the wish in the slot's record; the pool's turn acts on it.

use super::controller::Engine;
use super::handle::Denied;
use super::host::Host;
use crate::model::status::Kind;
use crate::model::time::Now;
use crate::model::worker::{SlotId, SlotState};

impl<H: Host> Engine<H> {
    fn slot_of(&self, worker: &str) -> Result<SlotId, Denied> {
        let found = self.pools.iter().find(|(_, pool)| pool.slots.contains_key(worker)).map(|(name, _)| name.clone());
        let none = || Denied::NotFound { kind: Kind::Worker.plural(), name: worker.into(), hint: String::new() };
        let id = SlotId { pool: found.ok_or_else(none)?, worker: worker.into() };
        let facts = self.pools.get(&id.pool).and_then(|pool| pool.facts.as_ref()).filter(|facts| facts.is_held());
        match facts.and_then(|facts| facts.held.as_ref()) {
            Some(why) => Err(Denied::Conflict(format!("pool {} is held as it is: {why}", id.pool))),
            None => Ok(id),
        }
    }

    /// End a worker and start it again.
    pub(super) fn restart(&mut self, worker: &str, now: Now) -> Result<(), Denied> {
        let id = self.slot_of(worker)?;
        self.seen(&id, now, |slot| {
            slot.record.restart_asked = Some(slot.record.incarnation);
            // A worker that waits in back-off, or that is done, is started now.
            slot.record.next_start = None;
            if slot.seen.state == SlotState::Vacant {
                slot.record.last_exit = None;
                slot.record.failures = 0;
            }
            true
        });
        // The row is kept: a daemon that starts meanwhile goes on with it.
        if let Some(pool) = self.pools.get_mut(&id.pool)
            && let Some(slot) = pool.slots.get(worker)
        {
            pool.pending.slots.push((id.clone(), Some(slot.record.clone())));
        }
        Ok(())
    }

    /// Let a worker finish what it has, give it nothing more, and replace it then. The row is kept: a daemon that starts meanwhile
    /// goes on with it.
    pub(super) fn drain_worker(&mut self, worker: &str, now: Now) -> Result<u64, Denied> {
        let id = self.slot_of(worker)?;
        let conflict = |why: &str| Err(Denied::Conflict(format!("worker \"{worker}\" {why}")));
        let Some(pool) = self.pools.get(&id.pool) else { return conflict("is gone") };
        if pool.facts.as_ref().is_some_and(|facts| facts.per_task()) {
            return conflict("is a process for one task and ends with it: drain its pool to have no more started");
        }
        let run = match pool.slots.get(worker).map(|slot| &slot.seen.state) {
            Some(SlotState::Running(run)) if run.stop.is_none() => run.incarnation,
            _other => return conflict("does not run: it has nothing to finish"),
        };
        self.seen(&id, now, |slot| {
            slot.record.drain_asked = Some(run);
            true
        });
        if let Some(pool) = self.pools.get_mut(&id.pool)
            && let Some(slot) = pool.slots.get(worker)
        {
            pool.pending.slots.push((id.clone(), Some(slot.record.clone())));
        }
        Ok(run)
    }
}
