//! The words that events of a pool have, as one list: what happens has one of them, and `notify` asks for them by name.
//!
//! An event with a word that is not here could not be asked for; the engine of a debug build ends over it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Which events are to be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Reason {
    /// Every event there is.
    #[serde(rename = "*")]
    All,
    /// The document was accepted, or is good again.
    Accepted,
    /// The document was changed.
    Updated,
    /// The document is not good; what ran before runs on.
    Refused,
    /// Two documents have the same name.
    Conflict,
    /// The document is gone; the pool runs on for a while.
    Vanished,
    /// The document is gone for good.
    Terminating,
    /// So many pools vanished at once that none is stopped.
    PruneBlocked,
    /// Workers of a daemon before this one were found running.
    Adopted,
    /// Workers are started.
    Starting,
    /// A worker is being stopped.
    Stopping,
    /// A worker is being replaced for what `recycle` says.
    Recycled,
    /// A worker has ended.
    Exited,
    /// A worker is stopped because a probe or its watchdog failed.
    Unhealthy,
    /// The readiness probe of a worker has failed as often as it may: it counts as not ready.
    ProbeFailed,
    /// A preStop command failed.
    PreStopFailed,
    /// A worker ends again and again.
    CrashLoop,
    /// Limits of the pool's workers cannot be held on this machine.
    LimitsNotEnforced,
    /// All workers are ready again.
    Ready,
    /// The wanted number of workers is another one.
    Scaled,
    /// More workers are wanted than `maxReplicas` allows.
    ScalingLimited,
    /// A trigger cannot be read.
    BacklogUnavailable,
    /// A trigger can be read again.
    BacklogAvailable,
    /// A quota is used up.
    QuotaUsedUp,
    /// The quotas allow new workers again.
    QuotaAvailable,
    /// A quota cannot be read.
    QuotaUnreadable,
    /// A quota can be read again.
    QuotaReadable,
    /// The pool's memory is short and no more can be given: it begins no task, adds no worker, or idle workers go.
    MemoryPressed,
    /// The pool is not held back any more for want of memory.
    MemoryRelieved,
    /// A task was queued for too long.
    TaskExpired,
    /// A task has failed for the last time.
    TaskDead,
    /// A task is done. Told of only while they are few.
    TaskDone,
    /// What came of tasks lately, where they are many.
    TasksDone,
    /// An attempt failed; the task is tried again.
    TaskRetried,
    /// A task waits again, for a reason that is not its own.
    TaskReturned,
    /// A task has failed, and is not tried again.
    TaskFailed,
    /// A task was cancelled while it ran.
    TaskCancelled,
    /// A recurring task could not be taken in.
    TaskRefused,
    /// A queue rests for a while.
    QueuePaused,
    /// A forge's delivery was good, and no task could be made of it. Told of only now and then.
    WebhookRefused,
}

impl Reason {
    /// All of them but [`Reason::All`].
    pub const EACH: [Reason; 39] = [
        Reason::Accepted,
        Reason::Updated,
        Reason::Refused,
        Reason::Conflict,
        Reason::Vanished,
        Reason::Terminating,
        Reason::PruneBlocked,
        Reason::Adopted,
        Reason::Starting,
        Reason::Stopping,
        Reason::Recycled,
        Reason::Exited,
        Reason::Unhealthy,
        Reason::ProbeFailed,
        Reason::PreStopFailed,
        Reason::CrashLoop,
        Reason::LimitsNotEnforced,
        Reason::Ready,
        Reason::Scaled,
        Reason::ScalingLimited,
        Reason::BacklogUnavailable,
        Reason::BacklogAvailable,
        Reason::QuotaUsedUp,
        Reason::QuotaAvailable,
        Reason::QuotaUnreadable,
        Reason::QuotaReadable,
        Reason::MemoryPressed,
        Reason::MemoryRelieved,
        Reason::TaskExpired,
        Reason::TaskDead,
        Reason::TaskDone,
        Reason::TasksDone,
        Reason::TaskRetried,
        Reason::TaskReturned,
        Reason::TaskFailed,
        Reason::TaskCancelled,
        Reason::TaskRefused,
        Reason::QueuePaused,
        Reason::WebhookRefused,
    ];

    /// The word of an event.
    pub const fn name(self) -> &'static str {
        match self {
            Reason::All => "*",
            Reason::Accepted => "Accepted",
            Reason::Updated => "Updated",
            Reason::Refused => "Refused",
            Reason::Conflict => "Conflict",
            Reason::Vanished => "Vanished",
            Reason::Terminating => "Terminating",
            Reason::PruneBlocked => "PruneBlocked",
            Reason::Adopted => "Adopted",
            Reason::Starting => "Starting",
            Reason::Stopping => "Stopping",
            Reason::Recycled => "Recycled",
            Reason::Exited => "Exited",
            Reason::Unhealthy => "Unhealthy",
            Reason::ProbeFailed => "ProbeFailed",
            Reason::PreStopFailed => "PreStopFailed",
            Reason::CrashLoop => "CrashLoop",
            Reason::LimitsNotEnforced => "LimitsNotEnforced",
            Reason::Ready => "Ready",
            Reason::Scaled => "Scaled",
            Reason::ScalingLimited => "ScalingLimited",
            Reason::BacklogUnavailable => "BacklogUnavailable",
            Reason::BacklogAvailable => "BacklogAvailable",
            Reason::QuotaUsedUp => "QuotaUsedUp",
            Reason::QuotaAvailable => "QuotaAvailable",
            Reason::QuotaUnreadable => "QuotaUnreadable",
            Reason::QuotaReadable => "QuotaReadable",
            Reason::MemoryPressed => "MemoryPressed",
            Reason::MemoryRelieved => "MemoryRelieved",
            Reason::TaskExpired => "TaskExpired",
            Reason::TaskDead => "TaskDead",
            Reason::TaskDone => "TaskDone",
            Reason::TasksDone => "TasksDone",
            Reason::TaskRetried => "TaskRetried",
            Reason::TaskReturned => "TaskReturned",
            Reason::TaskFailed => "TaskFailed",
            Reason::TaskCancelled => "TaskCancelled",
            Reason::TaskRefused => "TaskRefused",
            Reason::QueuePaused => "QueuePaused",
            Reason::WebhookRefused => "WebhookRefused",
        }
    }

    /// Whether an event of this word is meant.
    pub fn means(self, word: &str) -> bool {
        self == Reason::All || self.name() == word
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_written_as_it_is_told() {
        for reason in Reason::EACH {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.name());
            assert!(Reason::All.means(reason.name()) && reason.means(reason.name()) && !reason.means("Other"));
        }
        assert_eq!(serde_json::to_value(Reason::All).unwrap(), "*");
    }
}
