//! From a forge's request to a task: the secrets are read, the delivery is judged, and what is accepted is handed to the queue.
//!
//! The queue is an argument ([`Taking`]): what it is given names the delivery twice, by the forge's id and by the signature,
//! and a repetition of either must give the task that is there and make no second one. Answered only when that is durable.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::Semaphore;

use crate::decide::hooks::judge;
use crate::decide::hooks::signature::Secrets;
use crate::edge::secrets;
use crate::model::hook::{Answer, Delivery, NotTaken, Outcome, REMEMBERED, Refusal, Submission, Submitted, Verdict, Wake};
use crate::model::pool::PoolSpec;
use crate::model::queue::ForgeHook;
use crate::model::source::SecretSource;

/// The status of what is genuine, and no task of this pool.
const UNFIT: u16 = 422;

/// Bytes of what a webhook is known by.
const MARK_BYTES: usize = 8;

/// What takes tasks, and what is told of events.
pub trait Taking: Send + Sync {
    /// The spec of a pool, as it is in force; none if there is no such pool.
    fn spec(&self, pool: &str) -> Option<Arc<PoolSpec>>;
    /// Put a task into the pool's queue, durably, unless one of its idempotency keys is known there.
    fn submit(&self, submission: Submission) -> impl Future<Output = Result<Submitted, NotTaken>> + Send;
    /// Ask the triggers of the pool now that ask this forge.
    fn wake(&self, pool: &str, wake: &Wake);
    /// Tell whoever looks after the pool that no task could be made of a good delivery to one of its webhooks.
    fn refused(&self, pool: &str, index: usize, why: String);
}

/// The way in for deliveries.
#[derive(Debug)]
pub struct Hooks<T> {
    queue: Arc<T>,
    /// One body is read at a time: read, it takes more memory than it took on the wire.
    reading: Arc<Semaphore>,
}

impl<T> Clone for Hooks<T> {
    fn clone(&self) -> Hooks<T> {
        Hooks { queue: self.queue.clone(), reading: self.reading.clone() }
    }
}

impl<T: Taking> Hooks<T> {
    /// In front of this queue.
    pub fn new(queue: Arc<T>) -> Hooks<T> {
        Hooks { queue, reading: Arc::new(Semaphore::new(1)) }
    }

    /// Judge a delivery and submit what is accepted.
    pub async fn receive<B: AsRef<[u8]> + Send + 'static>(&self, delivery: Delivery<B>) -> Answer {
        let (pool, index) = (delivery.pool.clone(), delivery.index);
        let hook = self.queue.spec(&pool).and_then(|spec| spec.queue.as_ref()?.webhooks.get(index).cloned());
        let Some(hook) = hook else { return Answer::Refused(Refusal::Nowhere) };
        let mark = mark(&hook);
        let place = self.reading.clone().acquire_owned().await.expect("the semaphore is never closed");
        let judged = tokio::task::spawn_blocking(move || {
            let _place = place;
            let Delivery { pool, index, headers, body } = delivery;
            verdict(&hook, &Delivery { pool, index, headers, body: body.as_ref() })
        });
        let Ok(verdict) = judged.await else {
            tracing::error!(pool, index, "judging a webhook panicked; its delivery is refused");
            let message = "the delivery could not be judged".into();
            return Answer::NotTaken(NotTaken { status: 500, message, retry_after: None });
        };
        if let Some(wake) = &verdict.wake {
            self.queue.wake(&pool, wake);
        }
        match verdict.outcome {
            Outcome::Accepted(accepted) => {
                let idempotency = keys(&pool, &mark, [&accepted.delivery, &accepted.signature]);
                let submission = Submission { pool: pool.clone(), accepted: *accepted, idempotency, remember: REMEMBERED };
                self.queue.submit(submission).await.map_or_else(|not| self.not_taken(&pool, index, not), Answer::Task)
            }
            Outcome::Ignored(why) => Answer::Ignored(why),
            Outcome::Refused(refusal) => {
                tracing::debug!(pool, index, %refusal, "a webhook refused a delivery");
                if let Refusal::Off(why) = &refusal {
                    // Strangers may cause that as often as they like: it is told now and then.
                    self.queue.refused(&pool, index, format!("it is off, as it has no usable secret: {why}"));
                } else if refusal.status() == UNFIT {
                    // It was signed, and whoever caused it may: the document asks for what such an event does not have.
                    self.queue.refused(&pool, index, refusal.to_string());
                }
                Answer::Refused(refusal)
            }
        }
    }
}

impl<T: Taking> Hooks<T> {
    /// The answer when the queue took nothing. Of a full one others tell.
    fn not_taken(&self, pool: &str, index: usize, not: NotTaken) -> Answer {
        if not.status == UNFIT {
            self.queue.refused(pool, index, not.message.clone());
        }
        Answer::NotTaken(not)
    }
}

/// `hook/<pool>/<mark>/<delivery id>`, and the same with the signature. One event has the same id for all webhooks of GitHub,
/// and two of them may share a secret: each webhook makes its own task.
fn keys(pool: &str, mark: &str, of: [&str; 2]) -> [String; 2] {
    of.map(|key| format!("hook/{pool}/{mark}/{key}"))
}

/// What a webhook is known by, wherever it stands in the list: all that it says but its secrets.
fn mark(hook: &ForgeHook) -> String {
    let said = (hook.provider, &hook.on, &hook.matches, &hook.allow_actors, &hook.key, &hook.payload);
    let said = serde_json::to_vec(&said).expect("a webhook is plain data with string keys");
    Sha256::digest(said)[..MARK_BYTES].iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Read the secrets of a webhook and judge a delivery to it. It reads files: not for where waiting is forbidden.
pub fn verdict(hook: &ForgeHook, delivery: &Delivery<&[u8]>) -> Verdict {
    match secrets_of(hook) {
        Ok(secrets) => judge(hook, &secrets, delivery),
        Err(why) => Verdict { outcome: Outcome::Refused(Refusal::Off(why)), wake: None },
    }
}

fn secrets_of(hook: &ForgeHook) -> Result<Secrets, String> {
    let current = secrets::read(&hook.secret_from)?;
    // The one of before may be gone already: then it is not good any more, which is what its end is.
    let previous = hook.previous_secret_from.as_ref().and_then(|from| secrets::read(from).ok());
    Secrets::new(current, previous).map_err(|words| format!("{} {words}", place(&hook.secret_from)))
}

fn place(from: &SecretSource) -> &str {
    from.file.as_deref().or(from.env.as_deref()).unwrap_or_default()
}
