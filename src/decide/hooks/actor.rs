//! Who caused an event, and whether they may cause a task.
//!
//! A task runs a program on what the event says, so by default only those count who may write to the repository anyway, and
//! only when the event itself states it *of them*. The traps: `author_association` is of the author of the thing, not of who
//! acted on it; Gitea's `repository.permissions` is of somebody else in some events. Whoever is not proved is not believed.

use serde_json::Value;

use crate::model::hook::{ForgeEvent, ForgeKind};
use crate::model::queue::ForgeHook;

/// The login of whoever caused it.
pub fn login(event: &Value) -> Option<&str> {
    event.pointer("/sender/login").and_then(Value::as_str).filter(|login| !login.is_empty())
}

/// Whether this actor may cause a task.
pub fn may(hook: &ForgeHook, kind: ForgeEvent, event: &Value, actor: &str) -> bool {
    if actor.is_empty() {
        return false;
    }
    if !hook.allow_actors.is_empty() {
        return hook.allow_actors.iter().any(|name| name.eq_ignore_ascii_case(actor));
    }
    let owns = is(event, "/repository/owner/login", actor);
    owns || by_nature(kind)
        || match hook.provider {
            ForgeKind::Github => associated(event, actor),
            ForgeKind::Forgejo | ForgeKind::Gitea => permitted(kind, event, actor),
        }
}

fn is(event: &Value, place: &str, actor: &str) -> bool {
    event.pointer(place).and_then(Value::as_str).is_some_and(|login| login.eq_ignore_ascii_case(actor))
}

/// What nobody can do without writing: pushing, merging, setting a commit's status.
const fn by_nature(kind: ForgeEvent) -> bool {
    match kind {
        ForgeEvent::Push | ForgeEvent::PullRequestMerged | ForgeEvent::StatusFailure => true,
        // Templates of issues and CODEOWNERS assign, label and ask for reviews in the name of whoever opened the thing.
        ForgeEvent::IssuesAssigned
        | ForgeEvent::IssuesLabeled
        | ForgeEvent::IssueCommentCreated
        | ForgeEvent::ReviewRequested
        | ForgeEvent::ReviewApproved
        | ForgeEvent::ReviewChangesRequested => false,
    }
}

/// GitHub: the association of the things that the actor has written. What it is of: <https://docs.github.com/graphql/reference/enums#commentauthorassociation>.
fn associated(event: &Value, actor: &str) -> bool {
    ["/comment", "/review", "/pull_request", "/issue"].iter().any(|thing| {
        let association = event.pointer(&format!("{thing}/author_association")).and_then(Value::as_str);
        is(event, &format!("{thing}/user/login"), actor)
            && association.is_some_and(|what| ["OWNER", "MEMBER", "COLLABORATOR"].contains(&what))
    })
}

/// Gitea and Forgejo: `repository.permissions`, where it is the actor's own. Their services/webhook/notifier.go asks for the
/// permission of the doer when somebody is assigned, comments or asks for a review; of the poster when labels change or a
/// review is written; and writes that of an owner everywhere else.
fn permitted(kind: ForgeEvent, event: &Value, actor: &str) -> bool {
    let of_actor = match kind {
        ForgeEvent::IssuesAssigned | ForgeEvent::IssueCommentCreated | ForgeEvent::ReviewRequested => true,
        ForgeEvent::IssuesLabeled => is(event, "/issue/user/login", actor),
        ForgeEvent::ReviewApproved | ForgeEvent::ReviewChangesRequested => is(event, "/pull_request/user/login", actor),
        ForgeEvent::PullRequestMerged | ForgeEvent::StatusFailure | ForgeEvent::Push => false,
    };
    let may = |what: &str| event.pointer(&format!("/repository/permissions/{what}")).and_then(Value::as_bool) == Some(true);
    of_actor && (may("push") || may("admin"))
}
