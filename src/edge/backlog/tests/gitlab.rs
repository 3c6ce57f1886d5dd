//! GitLab as its documentation says it answers.
//! Its rules name the pages where they are written.

use serde_json::json;

use super::*;
use crate::model::source::ForgeCount;

/// GitLab, "REST API, Pagination": `x-next-page` is empty on the last page; `x-total` is left out above 10 000 entries.
fn listed(asked: &Asked, total: bool) -> Reply {
    let kind = asked.path().rsplit('/').next().unwrap_or_default().to_owned();
    let all = if kind == "issues" { 25 } else { 7 };
    let entry = |n: usize| {
        let labels = if n.is_multiple_of(2) { json!(["bug", "p1"]) } else { json!(["bug"]) };
        json!({"id": 500 + n, "iid": n, "state": "opened", "labels": labels, "milestone": {"id": 9, "iid": 2, "title": "v2"},
               "assignees": [{"username": "ana"}], "assignee": {"username": "ana"}})
    };
    let page = asked.page();
    let here: Vec<Value> = (1..=all).skip((page - 1) * 10).take(10).map(entry).collect();
    let next = if page * 10 < all { (page + 1).to_string() } else { String::new() };
    let reply = Reply::json(&json!(here)).with("x-next-page", next);
    if total { reply.with("x-total", all.to_string()) } else { reply }
}

fn source(gitlab: ForgeSource) -> Source {
    Source { gitlab: Some(gitlab), ..Source::default() }
}

#[tokio::test]
async fn all_pages_are_counted() {
    for total in [true, false] {
        let server = Server::start(move |asked| listed(asked, total)).await;
        let (_dir, token) = token();
        let issues = ForgeSource { token_from: Some(token), repository: "group/sub/tool".into(), ..repository(&server.url) };
        assert_eq!(ask(source(issues.clone())).await, Ok(25.0));
        assert_eq!(ask(source(ForgeSource { count: ForgeCount::PullRequests, ..issues })).await, Ok(7.0));
        let asked = server.asked();
        // GitLab, "Namespaced paths": a path stands for the id when its slashes are encoded.
        let first = "/api/v4/projects/group%2Fsub%2Ftool/issues?state=opened&scope=all&per_page=100&page=1";
        assert_eq!((asked.len(), asked[0].target.as_str()), (4, first));
        assert_eq!(asked[3].path(), "/api/v4/projects/group%2Fsub%2Ftool/merge_requests");
        assert!(asked.iter().all(|asked| asked.header("private-token") == Some(TOKEN)));
        assert!(asked.iter().all(|asked| asked.header("authorization").is_none()));
    }
}

#[tokio::test]
async fn filters_are_sent_and_checked() {
    let server = Server::start(|asked| listed(asked, true)).await;
    let labels = vec!["bug".into(), "p1".into()];
    let wanted = ForgeSource { labels, assignee: Some("ana".into()), milestone: Some("v2".into()), ..repository(&server.url) };
    assert_eq!(ask(source(wanted.clone())).await, Ok(12.0));
    let asked = server.asked();
    let sent = ["labels", "assignee_username", "milestone"].map(|name| asked[0].query(name).unwrap_or_default());
    assert_eq!(sent, ["bug,p1", "ana", "v2"]);
    assert_eq!(ask(source(ForgeSource { assignee: Some("bob".into()), ..wanted })).await, Ok(0.0));
}

#[tokio::test]
async fn a_project_is_a_path() {
    for bad in ["", "tool", "/tool", "team/", "team//tool", "../tool", "team/.."] {
        let gitlab = ForgeSource { repository: bad.into(), ..repository("http://127.0.0.1:1") };
        assert!(words(ask(source(gitlab)).await).contains("is not group/name"), "{bad}");
    }
}
