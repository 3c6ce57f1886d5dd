//! Which event a delivery is, by the provider's header and by the body's own shape.
//!
//! The header is not signed: whoever has one genuine body could send it under another header. So a body has to be what the
//! header says. Each table has its sources; what is not in it cannot become a task.

use serde_json::Value;

use crate::model::hook::{Delivery, ForgeEvent, ForgeKind};

/// What a delivery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Named {
    /// This event.
    Event(ForgeEvent),
    /// Another one.
    Other,
    /// The body is not of the event that the header names.
    Wrong,
}

/// One line of a table: the header, the body's `action`, a field that decides with its values, and the event.
type Row = (&'static str, &'static str, &'static [(&'static str, &'static [&'static str])], ForgeEvent);

const MERGED: &[(&str, &[&str])] = &[("/pull_request/merged", &["true"])];
/// The body of a review says which it is as well.
const APPROVED: &[(&str, &[&str])] = &[("/review/type", &["pull_request_review_approved"])];
const REJECTED: &[(&str, &[&str])] = &[("/review/type", &["pull_request_review_rejected"])];

/// GitHub. Header and `action`: <https://docs.github.com/webhooks/webhook-events-and-payloads>; bodies: octokit/webhooks,
/// payload-examples/api.github.com.
const GITHUB: &[Row] = &[
    ("issues", "assigned", &[], ForgeEvent::IssuesAssigned),
    ("issues", "labeled", &[], ForgeEvent::IssuesLabeled),
    ("issue_comment", "created", &[], ForgeEvent::IssueCommentCreated),
    ("pull_request", "review_requested", &[], ForgeEvent::ReviewRequested),
    ("pull_request", "closed", MERGED, ForgeEvent::PullRequestMerged),
    ("pull_request_review", "submitted", &[("/review/state", &["approved"])], ForgeEvent::ReviewApproved),
    ("pull_request_review", "submitted", &[("/review/state", &["changes_requested"])], ForgeEvent::ReviewChangesRequested),
    ("status", "", &[("/state", &["failure", "error"])], ForgeEvent::StatusFailure),
    ("push", "", &[], ForgeEvent::Push),
];

/// Gitea, and Forgejo, which grew out of it and kept both. Header: modules/webhook/type.go, `Event()` (several kinds of hook
/// have one header: `issue_assign` and `issue_label` are both `issues`). Actions: modules/structs/hook.go. Who sends what:
/// services/webhook/notifier.go.
const GITEA: &[Row] = &[
    ("issues", "assigned", &[], ForgeEvent::IssuesAssigned),
    ("issues", "label_updated", &[], ForgeEvent::IssuesLabeled),
    ("issue_comment", "created", &[], ForgeEvent::IssueCommentCreated),
    ("pull_request", "review_requested", &[], ForgeEvent::ReviewRequested),
    ("pull_request", "closed", MERGED, ForgeEvent::PullRequestMerged),
    ("pull_request_approved", "reviewed", APPROVED, ForgeEvent::ReviewApproved),
    ("pull_request_rejected", "reviewed", REJECTED, ForgeEvent::ReviewChangesRequested),
    ("status", "", &[("/state", &["failure", "error"])], ForgeEvent::StatusFailure),
    ("push", "", &[], ForgeEvent::Push),
];

/// What a body of this header has and has not, at its top.
const fn shape(header: &str) -> (&'static [&'static str], &'static [&'static str]) {
    match header.as_bytes() {
        b"issues" => (&["issue", "action"], &["comment", "pull_request", "review"]),
        b"issue_comment" => (&["issue", "comment", "action"], &["review"]),
        b"pull_request" => (&["pull_request", "action"], &["review", "comment"]),
        b"pull_request_review" | b"pull_request_approved" | b"pull_request_rejected" => {
            (&["pull_request", "review", "action"], &["comment"])
        }
        b"status" => (&["state", "sha", "context"], &["action"]),
        // No `commits`: Gitea writes null where there are none.
        b"push" => (&["ref", "before", "after"], &["action"]),
        _other => (&[], &[]),
    }
}

/// The headers with a delivery's event, and with its id: the first that is there counts.
const fn headers(kind: ForgeKind) -> [&'static [&'static str]; 2] {
    match kind {
        ForgeKind::Forgejo => [&["x-forgejo-event", "x-gitea-event"], &["x-forgejo-delivery", "x-gitea-delivery"]],
        ForgeKind::Gitea => [&["x-gitea-event"], &["x-gitea-delivery"]],
        ForgeKind::Github => [&["x-github-event"], &["x-github-delivery"]],
    }
}

fn header<'a>(delivery: &'a Delivery<&[u8]>, names: &[&str]) -> Option<&'a str> {
    names.iter().find_map(|name| delivery.headers.get(*name)).map(String::as_str)
}

/// The delivery's id. Every forge sends a UUID; anything longer or with other characters in it is none.
pub fn id(kind: ForgeKind, delivery: &Delivery<&[u8]>) -> Option<String> {
    let id = header(delivery, headers(kind)[1])?;
    let fits = (1..=64).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
    fits.then(|| id.to_owned())
}

/// Which event it is.
pub fn name(kind: ForgeKind, delivery: &Delivery<&[u8]>, body: &Value) -> Named {
    let table = match kind {
        ForgeKind::Forgejo | ForgeKind::Gitea => GITEA,
        ForgeKind::Github => GITHUB,
    };
    let Some(header) = header(delivery, headers(kind)[0]) else { return Named::Other };
    let mut rows = table.iter().filter(|row| row.0 == header).peekable();
    if rows.peek().is_none() {
        return Named::Other;
    }
    // Gitea writes what an event has not as null.
    let has = |name: &&str| body.get(*name).is_some_and(|value| !value.is_null());
    let (must, not) = shape(header);
    if !must.iter().all(has) || not.iter().any(has) {
        return Named::Wrong;
    }
    let action = body.get("action").and_then(Value::as_str).unwrap_or_default();
    let row = rows.find(|row| row.1 == action && row.2.iter().all(|(place, values)| is_one_of(body.pointer(place), values)));
    row.map_or(Named::Other, |row| Named::Event(row.3))
}

fn is_one_of(value: Option<&Value>, values: &[&str]) -> bool {
    let text = match value {
        Some(Value::String(text)) => text.to_lowercase(),
        Some(Value::Bool(truth)) => truth.to_string(),
        Some(Value::Null | Value::Number(_) | Value::Array(_) | Value::Object(_)) | None => return false,
    };
    values.contains(&text.as_str())
}
