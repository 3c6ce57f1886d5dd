//! What pools that are no more leave behind: tasks that have ended, and files of tasks and slots.
//!
//! A pool that has its queue does this with its turns. For the others somebody has to come by, rarely: nobody waits for it.

use std::path::PathBuf;

use super::controller::Engine;
use super::host::Host;
use crate::edge::store::read::Reader;
use crate::edge::taskfiles::TaskFiles;
use crate::model::batch::Batch;
use crate::model::queue::Retention;
use crate::model::queue_work::{QueueAnswer, QueueCounts, QueueWork};
use crate::model::time::{Now, Span};

/// From one look at all pools that are no more to the next. Those where the time of a task is over are looked at with each resync.
const EVERY: Span = Span::secs(3600);

impl<H: Host> Engine<H> {
    /// Remove what has ended long ago of pools that no document stands for. What waits there stays for when they come back, until it
    /// expires.
    pub(super) fn sweep_leftovers(&mut self, now: Now) {
        if !self.may_decide() || self.sweeping.is_some() {
            return;
        }
        let all = now.mono >= self.sweep_at;
        let is_due = |counts: &QueueCounts| all || counts.next.is_some_and(|at| at <= now.wall);
        let facts = |name: &String| self.pools.get(name).and_then(|pool| pool.facts.as_ref());
        let is_left = |name: &&String| facts(name).is_none_or(|facts| facts.spec.queue.is_none() && !facts.is_held());
        let left = self.counts.iter().filter(|(name, counts)| is_left(name) && is_due(counts));
        let queue = left.map(|(pool, _)| QueueWork::Sweep { pool: pool.clone(), retention: Retention::default() }).collect();
        let batch = Batch { queue, at: now, ..Batch::default() };
        if all {
            self.sweep_at = now.mono.after(EVERY);
        }
        if !batch.is_empty() {
            self.last_ticket += 1;
            self.sweeping = Some(self.last_ticket);
            self.host.commit(self.last_ticket, batch);
        }
    }

    /// What is gone from the store goes from the disk. Where there was too much for one go there is another with the next resync.
    pub(super) fn leftovers_swept(&mut self, result: Result<Vec<QueueAnswer>, String>, now: Now) {
        self.sweeping = None;
        let answers = result.unwrap_or_else(|error| {
            tracing::warn!(%error, "what pools that are no more left in the store could not be removed; it is tried again");
            Vec::new()
        });
        for answer in answers {
            if let QueueAnswer::Ticked { expired, given_up, gone, more } = answer {
                expired.iter().for_each(|task| self.tell_expired(&task.pool, task, now));
                given_up.iter().for_each(|task| self.tell_given_up(task, now));
                if more {
                    self.sweep_at = now.mono;
                }
                if !gone.is_empty() {
                    self.host.forget_tasks(gone);
                }
            }
        }
    }
}

/// Remove the files that a daemon before this one left behind, beside everything else.
pub fn remove_files(files: TaskFiles, db: PathBuf) {
    tokio::task::spawn_blocking(move || {
        let swept = Reader::open(&db)
            .and_then(|reader| files.sweep(|pool, worker| reader.has_slot(pool, worker), |id| reader.has_task(id)));
        if let Err(error) = swept {
            tracing::warn!(error, "files of tasks and slots that are no more stay until the next start");
        }
    });
}
