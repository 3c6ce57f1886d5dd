//! Events as the forges publish them, each with its header, and the webhooks that want them.
//!
//! Cut to what the judge looks at; where they are from stands at the head of the tests.

use super::*;

pub(super) fn repository() -> Value {
    json!({"full_name": "acme/web", "owner": {"login": "acme"}})
}

pub(super) fn permitting(push: bool) -> Value {
    json!({"full_name": "acme/web", "owner": {"login": "acme"}, "permissions": {"admin": false, "push": push, "pull": true}})
}

/// Header and body of each event as GitHub sends it; the sender is `octo`, who owns nothing.
pub(super) fn github() -> Vec<(ForgeEvent, &'static str, Value)> {
    let sender = json!({"login": "octo", "type": "User"});
    let issue = json!({"number": 1, "title": "Spelling error", "user": {"login": "octo"}, "author_association": "COLLABORATOR",
        "labels": [{"name": "bug"}], "assignees": [{"login": "dev"}], "body": null});
    let pull = json!({"number": 2, "title": "Update", "user": {"login": "octo"}, "author_association": "MEMBER", "merged": true});
    let review = |state: &str| json!({"id": 237895671, "state": state, "user": {"login": "octo"}, "author_association": "OWNER"});
    let with = |event, header, mut body: Value| {
        body["repository"] = repository();
        body["sender"] = sender.clone();
        (event, header, body)
    };
    vec![
        with(ForgeEvent::IssuesAssigned, "issues", json!({"action": "assigned", "issue": issue, "assignee": {"login": "dev"}})),
        with(ForgeEvent::IssuesLabeled, "issues", json!({"action": "labeled", "issue": issue, "label": {"name": "bug"}})),
        with(
            ForgeEvent::IssueCommentCreated,
            "issue_comment",
            json!({"action": "created", "issue": issue, "comment": {"user": {"login": "octo"}, "author_association": "OWNER", "body": "right!"}}),
        ),
        with(
            ForgeEvent::ReviewRequested,
            "pull_request",
            json!({"action": "review_requested", "number": 2, "pull_request": pull, "requested_reviewer": {"login": "dev"}}),
        ),
        with(ForgeEvent::PullRequestMerged, "pull_request", json!({"action": "closed", "number": 2, "pull_request": pull})),
        with(
            ForgeEvent::ReviewApproved,
            "pull_request_review",
            json!({"action": "submitted", "review": review("approved"), "pull_request": pull}),
        ),
        with(
            ForgeEvent::ReviewChangesRequested,
            "pull_request_review",
            json!({"action": "submitted", "review": review("changes_requested"), "pull_request": pull}),
        ),
        with(
            ForgeEvent::StatusFailure,
            "status",
            json!({"id": 6805126730u64, "sha": "6113728f", "context": "ci", "state": "failure", "description": null, "branches": []}),
        ),
        with(
            ForgeEvent::Push,
            "push",
            json!({"ref": "refs/heads/main", "before": "6113728f", "after": "0000", "commits": [], "pusher": {"name": "octo"}}),
        ),
    ]
}

/// The same as Gitea and Forgejo send it: other actions, other headers for reviews, nulls for what is not there.
pub(super) fn gitea() -> Vec<(ForgeEvent, &'static str, Value)> {
    let issue = json!({"number": 1, "title": "Spelling error", "user": {"login": "octo"}, "labels": [{"name": "bug"}],
        "assignee": {"login": "dev"}, "assignees": [{"login": "dev"}, {"login": "kim"}], "body": ""});
    let pull = json!({"number": 2, "title": "Update", "user": {"login": "octo"}, "merged": true});
    let with = |event, header, mut body: Value| {
        body["repository"] = permitting(true);
        body["sender"] = json!({"login": "octo", "username": "octo"});
        (event, header, body)
    };
    let reviewed = |kind: &str| {
        json!({"action": "reviewed", "number": 2, "pull_request": pull, "requested_reviewer": null, "commit_id": "",
            "review": {"type": kind, "content": "well"}})
    };
    vec![
        with(ForgeEvent::IssuesAssigned, "issues", json!({"action": "assigned", "number": 1, "issue": issue, "commit_id": ""})),
        with(
            ForgeEvent::IssuesLabeled,
            "issues",
            json!({"action": "label_updated", "number": 1, "issue": issue, "commit_id": ""}),
        ),
        with(
            ForgeEvent::IssueCommentCreated,
            "issue_comment",
            json!({"action": "created", "issue": issue, "comment": {"user": {"login": "octo"}, "body": "right!"}, "is_pull": false}),
        ),
        with(
            ForgeEvent::ReviewRequested,
            "pull_request",
            json!({"action": "review_requested", "number": 2, "pull_request": pull, "requested_reviewer": {"login": "dev"}, "review": null}),
        ),
        with(
            ForgeEvent::PullRequestMerged,
            "pull_request",
            json!({"action": "closed", "number": 2, "pull_request": pull, "requested_reviewer": null, "review": null}),
        ),
        with(ForgeEvent::ReviewApproved, "pull_request_approved", reviewed("pull_request_review_approved")),
        with(ForgeEvent::ReviewChangesRequested, "pull_request_rejected", reviewed("pull_request_review_rejected")),
        with(
            ForgeEvent::StatusFailure,
            "status",
            json!({"id": 7, "sha": "6113728f", "context": "ci", "state": "failure", "target_url": ""}),
        ),
        with(
            ForgeEvent::Push,
            "push",
            json!({"ref": "refs/heads/main", "before": "6113728f", "after": "0000", "commits": null, "pusher": {"login": "octo"}}),
        ),
    ]
}

pub(super) fn table() -> Vec<(ForgeHook, ForgeEvent, &'static str, Value)> {
    let of = |provider: &str, rows: Vec<(ForgeEvent, &'static str, Value)>| {
        let hook = hook(provider, &json!({}));
        rows.into_iter().map(|(event, header, body)| (hook.clone(), event, header, body)).collect::<Vec<_>>()
    };
    [of("github", github()), of("gitea", gitea()), of("forgejo", gitea())].concat()
}
