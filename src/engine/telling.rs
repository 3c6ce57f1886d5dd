//! What people are told, and when: in the log, on the board, and by whatever a pool's `notify` names.
//!
//! What a plan says is told when the plan is on disk: one that the store does not take is made again, and would be told again.
//! What has happened by itself, like an end, is told at once, but never before what is on its way to the disk. Each is told once.

use super::controller::{EVENTS_SHOWN, Engine};
use super::event_object::event_object;
use super::host::Host;
use crate::decide;
use crate::model::plan::Happening;
use crate::model::status::{EventObject, Kind, Object};
use crate::model::time::Now;

impl<H: Host> Engine<H> {
    /// Tell of something that has happened, and keep it with the rows of the pool's next turn.
    pub(super) fn note(&mut self, pool: &str, happening: &Happening, now: Now) {
        let event = self.event(pool, happening, now);
        self.say(pool, event.clone());
        if let Some(pool) = self.pools.get_mut(pool) {
            pool.pending.events.push(event);
        }
    }

    /// Tell of something that has happened, behind what a turn of the pool is about to tell.
    pub(super) fn say(&mut self, pool: &str, event: EventObject) {
        match self.pools.get_mut(pool).filter(|pool| pool.in_flight) {
            Some(pool) => pool.behind.push(event),
            None => self.tell(pool, event),
        }
    }

    /// Tell people of an event of this pool, whoever it is to be told to, and show it to readers.
    pub(super) fn tell(&mut self, pool: &str, event: EventObject) {
        self.host.tell(&event);
        if let Some(facts) = self.pools.get(pool).and_then(|pool| pool.facts.clone()) {
            for entry in decide::notify::wanted(&facts, &event.reason) {
                self.host.notify(&facts, entry, &event);
            }
        }
        self.show(event);
    }

    pub(super) fn show(&mut self, event: EventObject) {
        let name = event.metadata.name.clone();
        self.host.publish(Kind::Event, &name, Some(Object::Event(Box::new(event))));
        self.events_shown.push_back(name);
        if self.events_shown.len() > EVENTS_SHOWN
            && let Some(oldest) = self.events_shown.pop_front()
        {
            self.host.publish(Kind::Event, &oldest, None);
        }
    }

    pub(super) fn event(&mut self, pool: &str, happening: &Happening, now: Now) -> EventObject {
        let regarding = match &happening.worker {
            Some(worker) => format!("worker/{worker}"),
            None => format!("pool/{pool}"),
        };
        self.event_serial += 1;
        let name = match (&happening.worker, happening.incarnation) {
            (Some(worker), Some(incarnation)) => {
                let uid = self.pools.get(pool).map(|pool| pool.stored.uid.clone()).unwrap_or_default();
                format!("{worker}.{uid}.{incarnation}.{}", happening.reason.to_lowercase())
            }
            (_, _) => format!("{pool}.{:x}", self.event_serial),
        };
        event_object(name, regarding, happening, now)
    }
}
