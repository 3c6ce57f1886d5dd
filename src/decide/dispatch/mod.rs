//! What becomes of a task: each step of its life as a pure function of the task, the queue's rules and the time.
//!
//! Every step is guarded by the state, and what a worker says by the lease as well: an end that is told twice, or by whoever
//! held the task before, changes nothing. A final state is left only by a person's redrive. The database calls these inside
//! its transactions; nothing else changes a task.

pub mod after;
pub mod deal;
pub mod failure;
pub mod line;
pub mod overdue;
pub mod recurring;
#[cfg(test)]
mod tests;

use crate::model::queue::{Delivery, Order, Queue, RetryOn};
use crate::model::queue_work::{QueueRefusal, Taker};
use crate::model::task::{
    End, EndReason, KEY_BYTES_MAX, MESSAGE_BYTES_MAX, NewTask, PAYLOAD_BYTES_MAX, SUBMIT, Task, TaskState, Token,
};
use crate::model::time::{Moment, Now, Span, Wall};

/// What the keys of recurring tasks and of webhooks' begin with: who submits one of these could keep those from coming.
const OWN_KEYS: [&str; 2] = ["schedule/", "hook/"];

/// What comes of a step: the task as it is from now on.
pub type Step = Result<Task, QueueRefusal>;

/// What came of an end.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The task as it is from now on.
    pub task: Task,
    /// The whole queue rests until then, and why.
    pub pause: Option<(Wall, String)>,
    /// It goes behind those that wait by now.
    pub behind: bool,
}

/// A new task, or why it is not taken.
///
/// # Errors
/// [`QueueRefusal::Invalid`] with the field, what was found and what is allowed.
pub fn submit(pool: &str, queue: &Queue, new: &NewTask, wall: Wall) -> Step {
    let invalid = |words: String| Err(QueueRefusal::Invalid(words));
    if new.priority > 9 {
        return invalid(format!("priority: found {}, allowed are 0 to 9", new.priority));
    }
    let timeout = new.timeout.unwrap_or(queue.timeout);
    if timeout > queue.max_timeout || timeout.0 == 0 {
        let most = queue.max_timeout;
        return invalid(format!("timeout: found {timeout}, allowed is more than 0s, up to {most} (spec.queue.maxTimeout)"));
    }
    let attempts = new.max_attempts.unwrap_or(queue.retry.max_attempts);
    if attempts == 0 || attempts > 1000 {
        return invalid(format!("maxAttempts: found {attempts}, allowed are 1 to 1000"));
    }
    for (name, key) in [("key", &new.key), ("idempotencyKey", &new.idempotency_key)] {
        if key.as_ref().is_some_and(|key| key.is_empty() || key.len() > KEY_BYTES_MAX) {
            return invalid(format!("{name}: must have 1 to {KEY_BYTES_MAX} bytes"));
        }
    }
    let ours = |key: &&String| OWN_KEYS.iter().any(|own| key.starts_with(own));
    if let Some(key) = new.idempotency_key.as_ref().filter(ours).filter(|_| new.source == SUBMIT) {
        let found = key.split_once('/').map_or("", |(own, _)| own);
        return invalid(format!("idempotencyKey: found one that begins with {found}/, as those that weir gives: choose another"));
    }
    let size = new.payload.to_string().len();
    if size > PAYLOAD_BYTES_MAX {
        return invalid(format!("payload: found {size} bytes of JSON, allowed are {PAYLOAD_BYTES_MAX}"));
    }
    let ttl = new.ttl.unwrap_or(queue.ttl);
    if ttl.0 == 0 {
        return invalid("ttl: found 0s: it would expire at once".into());
    }
    let waits = after::wanted(new).map_err(QueueRefusal::Invalid)?;
    let delay = new.delay.unwrap_or_default();
    Ok(Task {
        pool: pool.into(),
        state: if new.hold || !waits.is_empty() { TaskState::Held } else { TaskState::Queued },
        priority: new.priority,
        key: new.key.clone().filter(|_| queue.concurrency_key),
        idempotency_key: new.idempotency_key.clone(),
        payload: new.payload.clone(),
        max_attempts: attempts,
        timeout,
        created: wall,
        not_before: (delay.0 > 0).then(|| later(wall, delay)),
        ttl,
        // What is to come later does not get old before.
        expires: waits.is_empty().then(|| later(later(wall, delay), ttl)),
        after: waits,
        source: new.source.clone(),
        untrusted_fields: new.untrusted_fields.clone(),
        ..Task::default()
    })
}

/// Where a task stands in the order: the smallest goes first. A task of one priority less goes first when it has waited longer
/// by `ageing`, so that nothing waits for ever.
pub fn rank(task: &Task, queue: &Queue) -> i64 {
    let lift = match queue.order {
        Order::FIFO => 0,
        Order::Priority => i64::try_from(queue.ageing.0).unwrap_or(i64::MAX).saturating_mul(i64::from(task.priority)),
    };
    task.created.0.saturating_sub(lift)
}

/// The same of one that goes behind those that wait by now.
pub fn rank_behind(task: &Task, queue: &Queue, wall: Wall) -> i64 {
    rank(task, queue).saturating_add(wall.0.saturating_sub(task.created.0).max(0))
}

/// The worker has it.
pub fn lease(task: Task, queue: &Queue, taker: &Taker, now: Now) -> Task {
    let heard = (queue.delivery == Delivery::Lease).then(|| now.mono.after(queue.lease_duration));
    Task {
        state: TaskState::Leased,
        worker: Some(taker.worker.clone()),
        run: taker.run,
        nonce: taker.nonce,
        epoch: task.epoch + 1,
        attempt: task.attempt.saturating_add(1),
        started: Some(now.wall),
        begun: Some(now.mono),
        not_before: None,
        deadline: Some(now.mono.after(task.timeout)),
        lease_until: heard,
        progress: String::new(),
        // What an attempt before has left is none of this one's.
        result: None,
        ..task
    }
}

/// What a worker says that its task gave back is not too large. That of a process is cut where its file is read.
///
/// # Errors
/// [`QueueRefusal::Invalid`] with the size and what is allowed.
pub fn result_fits(result: &serde_json::Value) -> Result<(), QueueRefusal> {
    let size = result.to_string().len();
    if size > PAYLOAD_BYTES_MAX {
        return Err(QueueRefusal::Invalid(format!("result: found {size} bytes of JSON, allowed are {PAYLOAD_BYTES_MAX}")));
    }
    Ok(())
}

/// The lease is this one, or why not.
///
/// # Errors
/// [`QueueRefusal::Conflict`].
pub fn holds(task: &Task, token: &Token) -> Result<(), QueueRefusal> {
    let conflict = |words: String| Err(QueueRefusal::Conflict(words));
    if task.state != TaskState::Leased {
        conflict(format!("task {} is {}: this lease is over", task.id, task.state.name()))
    } else if token.epoch != task.epoch || token.nonce != task.nonce || token.pool != task.pool {
        conflict(format!("task {} was given to somebody else since: this lease is over", task.id))
    } else {
        Ok(())
    }
}

/// An attempt has ended.
///
/// # Errors
/// [`QueueRefusal::Conflict`] when the lease is over.
pub fn end(task: Task, token: &Token, (end, output): (End, &str), queue: &Queue, now: Now) -> Result<Ended, QueueRefusal> {
    holds(&task, token)?;
    let mut end = end;
    cut(&mut end.message, MESSAGE_BYTES_MAX);
    if task.lease_until.is_some() && end.ran_ms == 0 && end.reason != EndReason::WorkerLost {
        // Its worker goes on: nobody else measures how long the task took. That of another boot is lost, and its moments with it.
        end.ran_ms = task.begun.map_or(0, |at| now.mono.since(at).0);
    }
    if task.cancelling && end.reason != EndReason::Done {
        end.reason = EndReason::Cancelled;
    }
    let uncounted = task.attempt.saturating_sub(1);
    let backoff = |queue| failure::backoff(queue, task.attempt, task.id);
    let after = match end.reason {
        EndReason::Done => After::Final(TaskState::Succeeded),
        EndReason::Cancelled | EndReason::DependencyFailed => After::Final(TaskState::Cancelled),
        EndReason::Expired => After::Final(TaskState::Expired),
        EndReason::Returned => After::Again { attempt: uncounted, delay: Span(0), pause: None },
        EndReason::Unfit => After::Final(TaskState::Failed),
        EndReason::NotStarted => After::Again { attempt: uncounted, delay: queue.retry.backoff.initial, pause: None },
        EndReason::Timeout => again(&task, queue.retry.on.contains(&RetryOn::Timeout), backoff(queue)),
        EndReason::WorkerLost => {
            // Whoever is dead for sure has nothing to recover from; a program that breaks on the task will break on it again.
            let delay = if end.broke { backoff(queue) } else { Span(0) };
            again(&task, queue.retry.on.contains(&RetryOn::WorkerLost), delay)
        }
        // A worker that asks for another attempt asks past the rules; of a process it is an exit code, and rules may name it.
        EndReason::Again if task.lease_until.is_some() => again(&task, true, backoff(queue)),
        EndReason::Failed | EndReason::Again => match failure::rule(queue, &end, output, now.wall) {
            None => again(&task, end.reason == EndReason::Again || queue.retry.on.contains(&RetryOn::Failed), backoff(queue)),
            Some(failure::Verdict::Retry) => again(&task, true, backoff(queue)),
            Some(failure::Verdict::Fail) => After::Final(TaskState::Failed),
            // Not counted, and not at once either: of one that is ignored each time every run waits longer than the one before.
            Some(failure::Verdict::Ignore) => {
                let runs = u32::try_from(task.epoch).unwrap_or(u32::MAX);
                After::Again { attempt: uncounted, delay: failure::backoff(queue, runs, task.id), pause: None }
            }
            Some(failure::Verdict::Pause(until, why)) => {
                After::Again { attempt: uncounted, delay: Span(0), pause: Some((until, why)) }
            }
        },
    };
    Ok(settle(task, end, after, now.wall))
}

/// What follows an end.
enum After {
    /// Nothing.
    Final(TaskState),
    /// It waits again.
    Again { attempt: u32, delay: Span, pause: Option<(Wall, String)> },
}

fn again(task: &Task, wanted: bool, delay: Span) -> After {
    if !wanted {
        After::Final(TaskState::Failed)
    } else if task.attempt >= task.max_attempts {
        After::Final(TaskState::Dead)
    } else {
        After::Again { attempt: task.attempt, delay, pause: None }
    }
}

fn settle(task: Task, end: End, after: After, wall: Wall) -> Ended {
    // That somebody took it back is remembered, however it ended: they wait until it is gone.
    let cancelled = task.cancelling;
    let free = Task {
        run: 0,
        nonce: 0,
        begun: None,
        deadline: None,
        lease_until: None,
        cancelling: false,
        blocked: false,
        end: Some(end),
        ..task
    };
    match after {
        After::Final(state) => {
            Ended { task: Task { state, finished: Some(wall), cancelling: cancelled, ..free }, pause: None, behind: false }
        }
        After::Again { attempt, delay, pause } => {
            let not_before = (delay.0 > 0).then(|| later(wall, delay));
            let expires = Some(later(later(wall, delay), free.ttl));
            let task = Task { state: TaskState::Queued, worker: None, attempt, not_before, expires, ..free };
            // One that holds up the queue again and again lets others try first.
            let behind = pause.is_some() && task.epoch > u64::from(attempt) + 1;
            Ended { task, pause, behind }
        }
    }
}

/// Until when the holder of a lease has to be heard of, where that can be since then: nobody hears of it while no daemon runs, or
/// while that one sleeps.
pub fn heard_until(task: &Task, queue: &Queue, since: Moment) -> Option<Moment> {
    task.lease_until.map(|at| at.max(since.after(queue.lease_duration)))
}

/// The holder lives. It could be heard of `since` then.
///
/// # Errors
/// [`QueueRefusal::Conflict`] when the lease is over, or has to end: its worker is being stopped, or is about to be.
pub fn heartbeat(
    task: Task,
    token: &Token,
    (extend, progress): (Option<Span>, Option<&str>),
    (queue, since): (&Queue, Moment),
    now: Now,
) -> Step {
    holds(&task, token)?;
    let passed = |at: Option<Moment>| at.is_some_and(|at| at <= now.mono);
    if passed(task.deadline) || passed(heard_until(&task, queue, since)) {
        return Err(QueueRefusal::Conflict(format!("task {}: its time is over, and its worker is being stopped", task.id)));
    }
    let spent = task.begun.map_or(Span(0), |begun| now.mono.since(begun));
    let left = Span(queue.max_timeout.0.saturating_sub(spent.0));
    let deadline = extend.map_or(task.deadline, |extend| Some(now.mono.after(extend.min(left))));
    // One that was cancelled has the rest of its lease to give it back.
    let lease_until = task.lease_until.map(|at| if task.cancelling { at } else { now.mono.after(queue.lease_duration) });
    let mut progress = progress.map_or(task.progress.clone(), str::to_owned);
    cut(&mut progress, MESSAGE_BYTES_MAX);
    Ok(Task { deadline, lease_until, progress, ..task })
}

/// Somebody takes it back. A worker that has it is told to stop: it is over when that one has ended.
///
/// # Errors
/// [`QueueRefusal::Conflict`] when it has ended.
pub fn cancel(task: Task, wall: Wall) -> Step {
    match task.state {
        TaskState::Leased => Ok(Task { cancelling: true, ..task }),
        TaskState::Held | TaskState::Queued => Ok(over(task, TaskState::Cancelled, EndReason::Cancelled, wall)),
        TaskState::Succeeded | TaskState::Failed | TaskState::Dead | TaskState::Cancelled | TaskState::Expired => {
            Err(QueueRefusal::Conflict(format!("task {} is {} already", task.id, task.state.name())))
        }
    }
}

/// Nobody took it in time. Any other task stays as it is.
pub fn expire(task: Task, wall: Wall) -> Task {
    let due = task.expires.is_some_and(|at| at <= wall);
    match task.state {
        TaskState::Held | TaskState::Queued if due => over(task, TaskState::Expired, EndReason::Expired, wall),
        TaskState::Held
        | TaskState::Queued
        | TaskState::Leased
        | TaskState::Succeeded
        | TaskState::Failed
        | TaskState::Dead
        | TaskState::Cancelled
        | TaskState::Expired => task,
    }
}

fn over(task: Task, state: TaskState, reason: EndReason, wall: Wall) -> Task {
    // How an attempt before it ended is told, and is not how this ended.
    let message = task.end.as_ref().filter(|_| task.attempt > 0).map_or_else(String::new, |end| tried(task.attempt, end));
    let end = End { reason, message, ..End::default() };
    Task { state, finished: Some(wall), end: Some(end), not_before: None, blocked: false, after: Vec::new(), ..task }
}

fn tried(attempt: u32, end: &End) -> String {
    let mut message = format!("after attempt {attempt}: {}", if end.message.is_empty() { "it ended" } else { &end.message });
    cut(&mut message, MESSAGE_BYTES_MAX);
    message
}

/// A held task goes, whatever it waits for.
///
/// # Errors
/// [`QueueRefusal::Conflict`] when it is not held.
pub fn release(task: Task, wall: Wall) -> Step {
    if task.state != TaskState::Held {
        return Err(QueueRefusal::Conflict(format!("task {} is {}, not Held", task.id, task.state.name())));
    }
    Ok(Task { state: TaskState::Queued, expires: Some(later(wall, task.ttl)), after: Vec::new(), ..task })
}

/// A person has it tried once more, with all its attempts.
///
/// # Errors
/// [`QueueRefusal::Conflict`] when it has not ended, or has succeeded.
pub fn redrive(task: Task, wall: Wall) -> Step {
    match task.state {
        TaskState::Failed | TaskState::Dead | TaskState::Cancelled | TaskState::Expired => Ok(Task {
            state: TaskState::Queued,
            attempt: 0,
            worker: None,
            finished: None,
            cancelling: false,
            result: None,
            not_before: None,
            expires: Some(later(wall, task.ttl)),
            ..task
        }),
        TaskState::Succeeded => {
            Err(QueueRefusal::Conflict(format!("task {} has succeeded: submit it again to have it done once more", task.id)))
        }
        TaskState::Held | TaskState::Queued | TaskState::Leased => {
            Err(QueueRefusal::Conflict(format!("task {} is {}: it has not ended", task.id, task.state.name())))
        }
    }
}

/// A time later by a span.
pub fn later(wall: Wall, span: Span) -> Wall {
    Wall(wall.0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX)))
}

/// Cut a text at a character, so that it has at most so many bytes.
fn cut(text: &mut String, max: usize) {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
}
