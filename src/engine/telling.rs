//! What people are told, and when: in the log, on the board, and by whatever a pool's `notify` names.
//!
//! What a plan says is told when the plan is on disk: one that the store does not take is made again, and would be told again.
//! What has happened by itself, like an end, is told at once, but never before what is on its way to the disk. Each is told once.

use super::controller::{EVENTS_SHOWN, Engine};
use super::event_object::event_object;
use super::host::Host;
use crate::decide;
use crate::model::plan::Happening;
use crate::model::status::{EventObject, EventType, Kind, Object};
use crate::model::text;
use crate::model::time::{Now, Span};

/// Of the refused deliveries to one webhook this much time goes by from one that is told to the next.
const HOOK_AGAIN: Span = Span::secs(600);
/// Characters of the words why one was refused.
const HOOK_WORDS_MAX: usize = 300;

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

    /// Tell that no task could be made of a delivery to a webhook. Whoever causes them could cause many: now and then one is told.
    pub(super) fn hook_refused(&mut self, name: &str, index: usize, why: &str, now: Now) {
        let Some(pool) = self.pools.get_mut(name) else { return };
        if pool.hooks_told.get(&index).is_some_and(|at| now.mono.since(*at) < HOOK_AGAIN) {
            return;
        }
        pool.hooks_told.insert(index, now.mono);
        // Of what the event says there may be words in it.
        let why: String = text::marked(why).chars().take(HOOK_WORDS_MAX).collect();
        let note = format!("webhook {index} refused a delivery of its forge: {why}");
        let happening =
            Happening { severity: EventType::Warning, reason: "WebhookRefused", worker: None, incarnation: None, note };
        self.note(name, &happening, now);
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
