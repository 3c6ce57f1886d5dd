//! The only door into the engine for whoever serves it.
//!
//! Reading is from the [`Board`], which holds what was last published and never waits for the engine. Writing is asking:
//! a specs change goes to the files and takes the same road as an editor's; the rest goes to the controller's queue.
//! Refusals have names ([`Denied`]); the wire turns them into status codes in one table.

use std::sync::Arc;

use futures_util::Stream;
use hyper::body::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot};

pub use super::board::{Board, Change, Gone, Subscription};
use super::hearing::Hearing;
pub use super::meters::{Labels, Meters};
use super::queue_door::TaskDoor;
pub use super::queue_door::{Accepted, Capacity, LISTED_MAX, TaskFilter};
use crate::decide::admit::Settings;
pub use crate::edge::logs::{Place as LogPlace, Until, Wanted as LogWanted};
use crate::model::catalogue::Stray;
use crate::model::document::Violation;
use crate::model::meta;
use crate::model::revision::Revision;
use crate::model::status::{Kind, Object};
use crate::model::time::{Span, Wall};
use crate::model::usage::Usage;
use crate::model::worker::SlotId;

/// Why something was not done.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum Denied {
    /// No such object.
    #[error("{kind} \"{name}\" not found{hint}")]
    NotFound {
        /// The resource's name, as `workerpools`.
        kind: &'static str,
        /// The name asked for.
        name: String,
        /// What there is instead, or empty.
        hint: String,
    },
    /// The document does not hold.
    #[error("invalid: {}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Invalid(Vec<Violation>),
    /// The request does not hold; the text says what is wrong and what to do.
    #[error("{0}")]
    Refused(String),
    /// There is no room now.
    #[error("{message}; try again in {retry_after}")]
    Full {
        /// What is full.
        message: String,
        /// When there may be room.
        retry_after: Span,
    },
    /// The object exists or has moved on.
    #[error("{0}")]
    Conflict(String),
    /// Writing the specs is switched off.
    #[error("the specs are read-only here: change the file and commit it")]
    ReadOnly,
    /// The store takes nothing now.
    #[error("the store takes nothing, so nothing of this was done: {0}; try again in {UNKEPT_AGAIN}")]
    Unkept(String),
    /// Something outside failed.
    #[error("{0}")]
    Internal(String),
    /// The specs directory says nothing, for so long already.
    #[error("the specs directory has not answered for {0}: see to its file system; an edit may still be made when it answers")]
    Unanswered(Span),
    /// The daemon is ending.
    #[error("the daemon is shutting down: ask the one that comes after it")]
    Ending,
}

/// Whoever is told that the store takes nothing may ask again after this.
pub const UNKEPT_AGAIN: Span = Span::secs(5);

/// What the specs directory can be asked to change.
#[derive(Clone, Debug, PartialEq)]
pub enum Edit {
    /// Put these documents there: the whole text of one or more YAML documents.
    Apply {
        /// The text.
        text: String,
    },
    /// Set `spec.replicas` of a pool.
    Scale {
        /// Which.
        pool: String,
        /// To how many.
        replicas: u32,
    },
    /// Put another text in the place of a document, byte for byte.
    Replace {
        /// Its kind.
        kind: meta::Kind,
        /// Its name.
        name: String,
        /// The whole new text.
        text: String,
        /// The version of the text that it comes from: another one there now is a conflict.
        version: String,
    },
    /// Remove a document: the workers of a pool are stopped after the grace, the limits of a policy stay as they are.
    Delete {
        /// Its kind.
        kind: meta::Kind,
        /// Its name.
        name: String,
        /// It is known to be gone: then it is said that this is no mistake.
        gone: bool,
    },
}

/// What came of an edit, one for each object, as kubectl words it.
#[derive(Clone, Debug, PartialEq)]
pub struct Edited {
    /// The object's kind.
    pub kind: meta::Kind,
    /// The object's name.
    pub name: String,
    /// created, configured, unchanged, scaled, deleted, edited
    pub verb: &'static str,
}

/// A document as its author left it, good or not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DocumentText {
    /// The file, relative to the specs directory.
    pub file: String,
    /// The line on which the text begins, from 1.
    pub line: u32,
    /// The text.
    pub text: String,
    /// Another one when the text is.
    pub version: String,
}

/// What the controller can be asked.
#[derive(Debug)]
pub enum Ask {
    /// Ask these triggers of a pool again now: what they count has changed.
    Wake {
        /// The pool.
        pool: String,
        /// Their names.
        triggers: Vec<String>,
    },
    /// Tell that no task could be made of a good delivery to a webhook.
    HookRefused {
        /// The pool.
        pool: String,
        /// Which of its webhooks.
        index: usize,
        /// Why.
        why: String,
    },
    /// End this worker and start it again, whatever its state.
    Restart {
        /// The worker's name.
        worker: String,
        /// Answered when it is accepted.
        reply: oneshot::Sender<Result<(), Denied>>,
    },
    /// Give this worker no more tasks, and end and replace it when it is idle.
    Drain {
        /// The worker's name.
        worker: String,
        /// Answered with the run that is drained, when it is accepted.
        reply: oneshot::Sender<Result<u64, Denied>>,
    },
    /// Let a failed policy go on.
    ResetPolicy {
        /// The policy.
        policy: String,
        /// Answered when it is accepted.
        reply: oneshot::Sender<Result<(), Denied>>,
    },
    /// Let the blocked deletions happen.
    Prune {
        /// The token that the condition shows.
        token: String,
        /// Answered when it is accepted.
        reply: oneshot::Sender<Result<(), Denied>>,
    },
    /// Show a document as it stands in its file.
    Text {
        /// Its kind.
        kind: meta::Kind,
        /// Its name.
        name: String,
        /// Answered when the file was read.
        reply: oneshot::Sender<Result<DocumentText, Denied>>,
    },
    /// Show what an object's document said before.
    Revisions {
        /// Its kind.
        kind: meta::Kind,
        /// Its name.
        name: String,
        /// Answered when the files were read; the oldest first.
        reply: oneshot::Sender<Result<Vec<Revision>, Denied>>,
    },
    /// Change the specs.
    Edit {
        /// What.
        edit: Edit,
        /// Only say what would come of it.
        dry_run: bool,
        /// Answered when the file is written.
        reply: oneshot::Sender<Result<Vec<Edited>, Denied>>,
    },
}

/// The way to find a log: (pool, worker, previous run?).
pub type FindLog = Arc<dyn Fn(&str, &str, bool) -> Option<LogPlace> + Send + Sync>;

/// The way to what workers use now, by slot and main process. It reads files, and may take as long as that takes.
pub type Measure = Arc<dyn Fn(&[(SlotId, i32)]) -> Vec<Usage> + Send + Sync>;

/// How long the specs directory is waited for: a file system that is gone does not answer at all.
const SPECS_WITHIN: Span = Span(8_000);

/// A clonable handle on the running engine.
#[derive(Clone)]
pub struct Handle {
    board: Arc<Board>,
    asks: mpsc::Sender<Ask>,
    logs: FindLog,
    tasks: Arc<TaskDoor>,
    measure: Measure,
    measuring: Arc<Semaphore>,
    hearing: Arc<Hearing>,
    /// How long an object runs on after its document is gone.
    pub prune_grace: Span,
}

impl Handle {
    /// A handle over a board, the controller's queue, the way to find a log, and the way to the queues.
    pub fn new(board: Arc<Board>, asks: mpsc::Sender<Ask>, logs: FindLog, tasks: Arc<TaskDoor>) -> Handle {
        let (measure, measuring): (Measure, _) = (Arc::new(|_| Vec::new()), Arc::new(Semaphore::new(1)));
        let (hearing, prune_grace) = (Arc::new(Hearing::begin()), Settings::default().prune_grace);
        Handle { board, asks, logs, tasks, measure, measuring, hearing, prune_grace }
    }

    /// Since when workers can be heard without a gap.
    pub(super) fn hearing(&self) -> &Hearing {
        &self.hearing
    }

    /// Hearing what the loop hears: what one of them notices the other knows.
    pub fn sharing(self, hearing: Arc<Hearing>) -> Handle {
        Handle { hearing, ..self }
    }

    /// Saying of what is removed that it runs on for so long.
    pub fn pruning(self, prune_grace: Span) -> Handle {
        Handle { prune_grace, ..self }
    }

    /// With a way to measure workers; without one nothing is known of what they use.
    pub fn measuring(self, measure: Measure) -> Handle {
        Handle { measure, ..self }
    }

    /// What the workers that run use now. Nothing is measured but by this call, and by one at a time: the others wait in turn.
    ///
    /// # Errors
    /// [`Denied::Internal`] when whoever measures has failed.
    pub async fn usage(&self) -> Result<Vec<(SlotId, i32, Usage)>, Denied> {
        let turn = self.measuring.clone().acquire_owned().await.map_err(|_| Denied::Ending)?;
        let of = |object: &Arc<Object>| match &**object {
            Object::Worker(worker) => {
                let slot = SlotId { pool: worker.metadata.owner.clone()?, worker: worker.metadata.name.clone() };
                Some((slot, worker.status.pid?))
            }
            Object::Pool(_) | Object::Policy(_) | Object::Event(_) => None,
        };
        let workers: Vec<(SlotId, i32)> = self.board.list(Kind::Worker).1.iter().filter_map(of).collect();
        let measure = self.measure.clone();
        let measured = tokio::task::spawn_blocking(move || {
            // Whoever asked may have gone: the turn lasts as long as the measuring itself.
            let _turn = turn;
            let usages = measure(&workers);
            workers.into_iter().zip(usages).map(|((slot, pid), usage)| (slot, pid, usage)).collect()
        });
        measured.await.map_err(|error| Denied::Internal(format!("what workers use could not be measured: {error}")))
    }

    /// Why the store takes nothing, if it does not.
    pub fn unkept(&self) -> Option<String> {
        self.board.unkept()
    }

    pub(super) fn board(&self) -> &Board {
        &self.board
    }

    pub(super) fn shared_board(&self) -> Arc<Board> {
        self.board.clone()
    }

    pub(super) fn tasks_door(&self) -> &TaskDoor {
        &self.tasks
    }

    /// What was counted since the daemon started.
    pub fn meters(&self) -> &Meters {
        &self.board.meters
    }

    /// All objects of a kind, by name, and the version of the whole.
    pub fn list(&self, kind: Kind) -> (u64, Vec<Arc<Object>>) {
        self.board.list(kind)
    }

    /// One object.
    ///
    /// # Errors
    /// [`Denied::NotFound`], with the names there are when they are few.
    pub fn get(&self, kind: Kind, name: &str) -> Result<Arc<Object>, Denied> {
        self.board.get(kind, name).ok_or_else(|| {
            if let Some(why) =
                self.strays(kind).into_iter().find(|stray| stray.name.as_deref() == Some(name)).map(|stray| stray.why)
            {
                return Denied::NotFound {
                    kind: kind.plural(),
                    name: name.into(),
                    hint: format!("; its document is refused: {why}"),
                };
            }
            let names: Vec<String> = self.board.list(kind).1.iter().map(|o| o.meta().name.clone()).take(9).collect();
            let hint =
                if names.is_empty() || names.len() > 8 { String::new() } else { format!("; there are: {}", names.join(", ")) };
            Denied::NotFound { kind: kind.plural(), name: name.into(), hint }
        })
    }

    /// Documents of this kind, or of none that can be read, that are refused and have no object to show that.
    pub fn strays(&self, kind: Kind) -> Vec<Stray> {
        kind.document().map(|kind| self.board.strays(kind)).unwrap_or_default()
    }

    /// Changes of a kind after version `from`; 0: from now.
    ///
    /// # Errors
    /// [`Gone`] when `from` is older than what is kept: list again.
    pub fn watch(&self, kind: Kind, from: u64) -> Result<Subscription, Gone> {
        self.board.subscribe(kind, from)
    }

    /// Where the log of a worker's present or previous run is.
    ///
    /// # Errors
    /// [`Denied::NotFound`] for an unknown worker, [`Denied::Refused`] when there was no such run.
    pub fn log(&self, worker: &str, previous: bool) -> Result<LogPlace, Denied> {
        let object = self.get(Kind::Worker, worker)?;
        let pool = object.meta().owner.clone().unwrap_or_default();
        (self.logs)(&pool, worker, previous).ok_or_else(|| {
            let why = match &*object {
                Object::Worker(found) if !previous && !found.status.message.is_empty() => format!(": {}", found.status.message),
                Object::Pool(_) | Object::Worker(_) | Object::Policy(_) | Object::Event(_) => String::new(),
            };
            let what = if previous { "has no previous run to show" } else { "has not run yet" };
            Denied::Refused(format!("worker \"{worker}\" {what}{why}"))
        })
    }

    /// The bytes of a log: all, or the last `tail` lines; then, with `follow`, what is written until that future is done.
    pub fn read_log(
        &self,
        place: LogPlace,
        wanted: LogWanted,
        follow: Option<Until>,
    ) -> impl Stream<Item = std::io::Result<Bytes>> + Send + 'static {
        crate::edge::logs::read(place, wanted, follow)
    }

    /// The time of the clock so long ago.
    pub fn earlier(&self, span: Span) -> Wall {
        Wall(crate::edge::clock::now().wall.0.saturating_sub_unsigned(span.0))
    }

    /// End a worker and start it again.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Ending`].
    pub async fn restart(&self, worker: &str) -> Result<(), Denied> {
        self.ask(|reply| Ask::Restart { worker: worker.into(), reply }).await
    }

    /// Give a worker no more tasks, and end and replace it when it is idle; gives the number of the run that this is about.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] when it does not run or is one of a process for each task, [`Denied::Ending`].
    pub async fn drain(&self, worker: &str) -> Result<u64, Denied> {
        self.ask(|reply| Ask::Drain { worker: worker.into(), reply }).await
    }

    /// Confirm blocked deletions.
    ///
    /// # Errors
    /// [`Denied::Refused`] when the token is not the current one.
    pub async fn prune(&self, token: &str) -> Result<(), Denied> {
        self.ask(|reply| Ask::Prune { token: token.into(), reply }).await
    }

    /// A pool's document as it stands in its file.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] when more than one names it, [`Denied::Unanswered`].
    pub async fn text(&self, kind: meta::Kind, name: &str) -> Result<DocumentText, Denied> {
        self.ask_specs(|reply| Ask::Text { kind, name: name.into(), reply }).await
    }

    /// What an object's document said before and says now, the oldest first; not all of it is kept.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Unanswered`].
    pub async fn revisions(&self, kind: meta::Kind, name: &str) -> Result<Vec<Revision>, Denied> {
        self.get(kind.into(), name)?;
        self.ask_specs(|reply| Ask::Revisions { kind, name: name.into(), reply }).await
    }

    /// Say something that needs no answer. Where too much is waiting already it is not said: hints repeat what polling finds.
    pub(super) fn hint(&self, ask: Ask) {
        let _said = self.asks.try_send(ask);
    }

    pub(super) async fn ask<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T, Denied>>) -> Ask) -> Result<T, Denied> {
        self.asked(make).await?.await.map_err(|_| Denied::Ending)?
    }

    async fn asked<T>(&self, make: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<oneshot::Receiver<T>, Denied> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(make(reply)).await.map_err(|_| Denied::Ending)?;
        Ok(answer)
    }

    /// Ask what is answered out of the specs directory.
    pub(super) async fn ask_specs<T>(&self, make: impl FnOnce(oneshot::Sender<Result<T, Denied>>) -> Ask) -> Result<T, Denied> {
        within(SPECS_WITHIN, self.asked(make).await?).await
    }
}

async fn within<T>(span: Span, answer: oneshot::Receiver<Result<T, Denied>>) -> Result<T, Denied> {
    let answered = tokio::time::timeout(span.duration(), answer).await.map_err(|_| Denied::Unanswered(span))?;
    answered.map_err(|_| Denied::Ending)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_directory_that_does_not_answer_is_not_waited_for_for_ever() {
        let (mut reply, answer) = oneshot::channel::<Result<(), Denied>>();
        let denied = within(Span(20), answer).await.expect_err("no answer");
        assert!(denied.to_string().contains("the specs directory has not answered for 20ms"), "{denied}");
        // Whoever was to answer sees it, and does nothing more.
        reply.closed().await;
        let (reply, answer) = oneshot::channel::<Result<(), Denied>>();
        drop(reply);
        assert_eq!(within(Span(20_000), answer).await, Err(Denied::Ending));
    }
}
