//! Events of a forge on their way to becoming tasks: what arrives, and everything that can become of it.
//!
//! Plain data that the deciding, the engine and the wire share. Whether an event is believed and wanted is decided elsewhere.

use std::collections::{BTreeMap, BTreeSet};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::time::Span;
use crate::model::text;

/// For how long a delivery must be known again, so that it makes no second task: longer than any forge delivers it again.
pub const REMEMBERED: Span = Span::secs(8 * 24 * 3600);

/// Kinds of forges that send events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ForgeKind {
    /// Forgejo.
    Forgejo,
    /// Gitea.
    Gitea,
    /// GitHub.
    Github,
}

/// An event of a forge that can become a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ForgeEvent {
    /// Somebody was assigned to an issue.
    #[serde(rename = "issues.assigned")]
    IssuesAssigned,
    /// A label was put on an issue; Forgejo and Gitea send the same when one of several was taken off.
    #[serde(rename = "issues.labeled")]
    IssuesLabeled,
    /// Somebody wrote below an issue or a pull request.
    #[serde(rename = "issue_comment.created")]
    IssueCommentCreated,
    /// Somebody is asked to review a pull request.
    #[serde(rename = "pull_request.review_requested")]
    ReviewRequested,
    /// A pull request was merged.
    #[serde(rename = "pull_request.merged")]
    PullRequestMerged,
    /// A review approves.
    #[serde(rename = "review.approved")]
    ReviewApproved,
    /// A review asks for changes.
    #[serde(rename = "review.changes_requested")]
    ReviewChangesRequested,
    /// A check of a commit has failed.
    #[serde(rename = "status.failure")]
    StatusFailure,
    /// Commits were pushed, or a branch or tag was made or removed.
    #[serde(rename = "push")]
    Push,
}

impl ForgeEvent {
    /// All of them.
    pub const ALL: [ForgeEvent; 9] = [
        ForgeEvent::IssuesAssigned,
        ForgeEvent::IssuesLabeled,
        ForgeEvent::IssueCommentCreated,
        ForgeEvent::ReviewRequested,
        ForgeEvent::PullRequestMerged,
        ForgeEvent::ReviewApproved,
        ForgeEvent::ReviewChangesRequested,
        ForgeEvent::StatusFailure,
        ForgeEvent::Push,
    ];

    /// Its name, as documents write it.
    pub const fn name(self) -> &'static str {
        match self {
            ForgeEvent::IssuesAssigned => "issues.assigned",
            ForgeEvent::IssuesLabeled => "issues.labeled",
            ForgeEvent::IssueCommentCreated => "issue_comment.created",
            ForgeEvent::ReviewRequested => "pull_request.review_requested",
            ForgeEvent::PullRequestMerged => "pull_request.merged",
            ForgeEvent::ReviewApproved => "review.approved",
            ForgeEvent::ReviewChangesRequested => "review.changes_requested",
            ForgeEvent::StatusFailure => "status.failure",
            ForgeEvent::Push => "push",
        }
    }
}

/// A request to `/hooks/{pool}/{index}`, read whole and not believed yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivery<B> {
    /// The pool of the address.
    pub pool: String,
    /// Which of the pool's webhooks, from 0.
    pub index: usize,
    /// Headers: names in lower case; values of a name that comes more than once with commas between.
    pub headers: BTreeMap<String, String>,
    /// The body as it was sent, byte by byte.
    pub body: B,
}

/// What is made of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What becomes of it.
    pub outcome: Outcome,
    /// Set when the signature was good: something has changed at the forge, whether or not a task comes of it.
    pub wake: Option<Wake>,
}

/// Triggers of the pool that ask this forge should ask again now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wake {
    /// Which kind of forge.
    pub provider: ForgeKind,
    /// The repository, `owner/name`, if the event names one.
    pub repository: Option<String>,
}

/// What becomes of a delivery.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is to become a task.
    Accepted(Box<Accepted>),
    /// It is genuine, and nobody wants it.
    Ignored(Ignored),
    /// It is not believed or cannot be read.
    Refused(Refusal),
}

/// An event that is to become a task. All texts in `actor` and in the untrusted parts of `payload` were written by whoever
/// caused the event, and `key` may have parts of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// The event.
    pub event: ForgeEvent,
    /// The forge's id of the delivery. It is not signed.
    pub delivery: String,
    /// The signature that was found good, 64 hex digits.
    pub signature: String,
    /// The task's key, at most [`KEY_MAX`] bytes without control characters; absent: the document names none.
    pub key: Option<String>,
    /// What the task carries.
    pub payload: Map<String, Value>,
    /// The names in `payload` whose values have text of the event in them.
    pub untrusted: BTreeSet<String>,
    /// Who caused the event.
    pub actor: String,
}

/// Bytes that a key may have; a longer one is cut and told apart by a hash.
pub const KEY_MAX: usize = 256;

/// Why a genuine event makes no task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ignored {
    /// A kind of event that no document can name, like a ping.
    Unknown,
    /// The document does not name it.
    NotNamed(ForgeEvent),
    /// A field does not have the value that the document wants.
    NoMatch(String),
    /// Whoever caused it may not cause tasks.
    Actor(String),
}

impl std::fmt::Display for Ignored {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Ignored::Unknown => f.write_str("no webhook can ask for this kind of event"),
            Ignored::NotNamed(event) => write!(f, "this webhook does not ask for {}", event.name()),
            Ignored::NoMatch(field) => write!(f, "{field} has not the value that this webhook asks for"),
            Ignored::Actor(actor) => {
                let who: String = text::marked(actor).chars().take(100).collect();
                write!(
                    f,
                    "{who:?} may not cause tasks: the event does not say that they may write to the repository, and allowActors does not name them"
                )
            }
        }
    }
}

/// Why a delivery is not believed, or cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such webhook.
    Nowhere,
    /// There is no usable secret. The words are for the daemon's own people and name files.
    Off(String),
    /// It has no signature that counts.
    Unsigned(ForgeKind),
    /// Its signature is wrong.
    BadSignature,
    /// Its body is compressed.
    Encoded,
    /// Its body is not JSON by its own account.
    NotJson,
    /// It has no usable delivery id.
    NoDelivery,
    /// The body cannot be read; the words say why.
    Unreadable(String),
    /// The body is not what the header says that it is.
    Shape,
    /// A text of the document names a field that the event does not have.
    MissingField(ForgeEvent, String),
}

impl Refusal {
    /// The HTTP status that says so.
    pub const fn status(&self) -> u16 {
        match self {
            // Whoever does not know the secret learns nothing of what is behind the address.
            Refusal::Nowhere | Refusal::Off(_) => 404,
            Refusal::Unsigned(_) | Refusal::BadSignature => 401,
            Refusal::Encoded | Refusal::NotJson => 415,
            Refusal::NoDelivery | Refusal::Unreadable(_) | Refusal::Shape => 400,
            Refusal::MissingField(..) => 422,
        }
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Refusal::Nowhere | Refusal::Off(_) => f.write_str("there is no webhook here that is switched on"),
            Refusal::Unsigned(kind) => {
                let header = match kind {
                    ForgeKind::Forgejo => "X-Forgejo-Signature or X-Gitea-Signature",
                    ForgeKind::Gitea => "X-Gitea-Signature",
                    ForgeKind::Github => "X-Hub-Signature-256",
                };
                write!(f, "no signature in {header}: give the webhook its secret at the forge")
            }
            Refusal::BadSignature => f.write_str("the signature is wrong: the secrets here and at the forge differ"),
            Refusal::Encoded => f.write_str("the body must not be compressed"),
            Refusal::NotJson => f.write_str("the body must be application/json: set the webhook's content type at the forge"),
            Refusal::NoDelivery => f.write_str("no delivery id"),
            Refusal::Unreadable(why) => write!(f, "the body cannot be read: {why}"),
            Refusal::Shape => f.write_str("the body is not of the event that the header names"),
            Refusal::MissingField(event, field) => {
                write!(f, "{} has no {field}, which the webhook's key or payload needs", event.name())
            }
        }
    }
}

/// A task to be queued, with what tells its delivery from every other.
#[derive(Clone, Debug, PartialEq)]
pub struct Submission {
    /// In which pool.
    pub pool: String,
    /// The event.
    pub accepted: Accepted,
    /// If either was used before, the task is there already: by the delivery's id and by its signature.
    pub idempotency: [String; 2],
    /// For how long they must be known, at least.
    pub remember: Span,
}

/// A task that is in the queue, durably.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub task: String,
    /// It was there already: this was a repetition.
    pub duplicate: bool,
}

/// Why the queue took nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// The HTTP status that says so: 429 when it is full, 503 when it cannot be asked.
    pub status: u16,
    /// A sentence.
    pub message: String,
    /// When to try again.
    pub retry_after: Option<Span>,
}

/// What the forge is told.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    /// There is a task.
    Task(Submitted),
    /// There is none, and that is as it should be.
    Ignored(Ignored),
    /// It was not believed or not readable.
    Refused(Refusal),
    /// The queue took nothing.
    NotTaken(NotTaken),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_documents_write() {
        for event in ForgeEvent::ALL {
            assert_eq!(serde_json::to_value(event).unwrap(), event.name());
        }
    }

    #[test]
    fn a_refusal_tells_a_stranger_nothing() {
        let off = Refusal::Off("/run/secrets/hook: permission denied".into());
        assert_eq!((off.to_string(), off.status()), (Refusal::Nowhere.to_string(), Refusal::Nowhere.status()));
    }
}
