//! Keeping what was accepted: the catalogue and the history of the specs, on their way to the store and on disk.
//!
//! What the store does not take is handed in again; until it did, the catalogue goes with every plan.

use super::commits::newest;
use super::controller::{COMMIT_RETRY, Engine, Key};
use super::event_object::event_object;
use super::host::Host;
use crate::model::batch::Batch;
use crate::model::catalogue::ObjectKey;
use crate::model::plan::Happening;
use crate::model::status::{EventObject, EventType};
use crate::model::time::Now;

impl<H: Host> Engine<H> {
    /// The catalogue, while it is not known to be on disk: it goes with every plan, so that no worker is ever started for a
    /// pool that a later daemon would not know.
    pub(super) fn undurable(&self) -> Option<String> {
        (self.kept != self.durable).then(|| self.kept.clone())
    }

    /// Keep the catalogue, if it changed, and the history of the specs.
    pub(super) fn keep(&mut self) {
        let catalogue = &self.admission.catalogue;
        // Nearly every listing finds what the one before found: comparing is much cheaper than writing.
        if !self.written.as_ref().is_some_and(|before| catalogue.is_kept_as(before)) {
            self.kept = catalogue.to_json().to_string();
            self.written = Some(catalogue.clone());
        }
        let text = &self.kept;
        let under_way = self.keeping.values().any(|batch| batch.catalogue.as_ref() == Some(text));
        let catalogue = (*text != self.durable && !under_way).then(|| text.clone());
        let batch = Batch { catalogue, events: std::mem::take(&mut self.history), ..Batch::default() };
        if !batch.is_empty() {
            self.last_ticket += 1;
            self.keeping.insert(self.last_ticket, batch.clone());
            self.host.commit(self.last_ticket, batch);
        }
    }

    /// The store has answered about the catalogue. What it did not take is handed in again.
    pub(super) fn was_kept(&mut self, batch: Batch, result: Result<(), String>, now: Now) {
        match result {
            Ok(()) => {
                self.durable = batch.catalogue.unwrap_or_else(|| std::mem::take(&mut self.durable));
                if self.trouble.is_now() && self.trouble.ends() {
                    let event =
                        self.of_store((EventType::Normal, "StoreAvailable"), "it takes again what is to be kept".into(), now);
                    self.history.push(event.clone());
                    self.say("", event);
                    self.keep();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the store did not take the accepted specs; it is tried again");
                self.history.splice(0..0, batch.events);
                newest(&mut self.history);
                self.queue.add(Key::Specs, now.mono.after(COMMIT_RETRY));
            }
        }
    }

    /// The store did not take what was to be kept. That is told, and kept as soon as it can be, which is tried until then: so it is
    /// known when all goes on.
    pub(super) fn untaken(&mut self, why: &str, now: Now) {
        if self.trouble.is_now() {
            return;
        }
        let event = match self.trouble.begins(now.mono) {
            // Of a disk that is full now and then only: kept under the same name, so that there is one of it.
            Some(told) => told,
            None => {
                let note = format!("it takes nothing, so tasks are refused and nothing is begun: {why}");
                let event = self.of_store((EventType::Warning, "StoreUnavailable"), note, now);
                self.trouble.told = Some((now.mono, event.clone()));
                self.say("", event.clone());
                event
            }
        };
        self.history.push(event);
        self.keep();
    }

    fn of_store(&mut self, (severity, reason): (EventType, &'static str), note: String, now: Now) -> EventObject {
        let happening = Happening { severity, reason, worker: None, incarnation: None, note };
        self.event_serial += 1;
        event_object(format!("store.{:x}", self.event_serial), "store".into(), &happening, now)
    }

    /// A pool is gone with its last worker: its document's memory goes too.
    pub(super) fn forgotten(&mut self, pool: &str) {
        self.admission.forget(&ObjectKey::pool(pool));
        self.keep();
    }
}
