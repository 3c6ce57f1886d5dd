//! Gitea, Forgejo and GitHub as their documentation says they answer, and what happens when they do not keep to it.
//! Each rule of theirs names where it is written, so that it can be looked up when they change it.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;

use super::*;
use crate::model::source::ForgeCount;

/// Entries of a repository: `issues` issues, and pull requests so that there are `all`. Every third issue is a `bug`.
fn entries(issues: usize, all: usize) -> Vec<Value> {
    let step = all / issues.max(1);
    let entry = |n: usize| {
        let issue = n.is_multiple_of(step) && n / step < issues;
        let bug = issue && (n / step).is_multiple_of(3);
        let labels = if bug { json!([{"id": 1, "name": "Bug"}]) } else { json!([]) };
        // GitHub, "List repository issues": pull requests are in the list and have the key `pull_request`. Gitea writes null.
        let pull = if issue { Value::Null } else { json!({"merged": false}) };
        let users = if bug { json!([{"login": "ana"}]) } else { Value::Null };
        let milestone = if bug { json!({"id": 7, "number": 3, "title": "v2"}) } else { Value::Null };
        json!({"id": 9000 + n, "number": n + 1, "state": "open", "labels": labels, "pull_request": pull,
               "assignees": users, "milestone": milestone, "title": "x".repeat(50)})
    };
    (0..all).map(entry).collect()
}

fn slice(entries: &[Value], page: usize, size: usize) -> Value {
    json!(entries.iter().skip((page - 1) * size).take(size).collect::<Vec<_>>())
}

/// GitHub, "Using pagination in the REST API": `Link` with the next page, none on the last; at most 100 entries each.
/// "Best practices": an `ETag`, and 304 for one that is current.
fn github(entries: &[Value], url: &str, asked: &Asked) -> Reply {
    let size = asked.query("per_page").map_or(30, |size| size.parse::<usize>().expect("a number")).min(100);
    let page = asked.page();
    let mark = format!("W/\"{page}-{}\"", entries.len());
    if asked.header("if-none-match") == Some(&mark) {
        return Reply::status(304, &[]).with("ETag", mark);
    }
    let reply = Reply::json(&slice(entries, page, size)).with("ETag", mark);
    let link = |to: usize, rel: &str| format!("<{url}/repositories/1/issues?per_page={size}&page={to}>; rel=\"{rel}\"");
    match (page > 1, page * size < entries.len()) {
        (true, true) => reply.with("Link", format!("{}, {}", link(page - 1, "prev"), link(page + 1, "next"))),
        (false, true) => reply.with("Link", link(page + 1, "next")),
        (true, false) => reply.with("Link", link(page - 1, "prev")),
        (false, false) => reply,
    }
}

/// Gitea's swagger, issueListIssues: `page` counts from 1, `limit` is at most the instance's own maximum (here 10), `type`
/// separates issues and pull requests; `X-Total-Count` has the total. Links name the instance's own address.
fn gitea(entries: &[Value], asked: &Asked) -> Reply {
    let wants_pulls = asked.query("type").as_deref() == Some("pulls");
    let fine: Vec<Value> = entries.iter().filter(|entry| entry["pull_request"].is_null() != wants_pulls).cloned().collect();
    let page = asked.page();
    let reply = Reply::json(&slice(&fine, page, 10)).with("X-Total-Count", fine.len().to_string());
    match page * 10 < fine.len() {
        true => reply.with("Link", format!("<https://git.example/i?page={}>; rel=\"next\"", page + 1)),
        false => reply.with("Link", "<https://git.example/i?page=1>; rel=\"first\""),
    }
}

async fn on_github(entries: Vec<Value>) -> Server {
    // The address is known only when it listens; the client names it in its question.
    Server::start(move |asked| github(&entries, &format!("http://{}", asked.header("host").unwrap_or_default()), asked)).await
}

fn source(kind: &str, source: ForgeSource) -> Source {
    match kind {
        "gitea" => Source { gitea: Some(source), ..Source::default() },
        "forgejo" => Source { forgejo: Some(source), ..Source::default() },
        _ => Source { github: Some(source), ..Source::default() },
    }
}

#[tokio::test]
async fn all_pages_of_github_are_counted_without_pull_requests() {
    let server = on_github(entries(25, 225)).await;
    let (_dir, token) = token();
    let issues = ForgeSource { token_from: Some(token), ..repository(&server.url) };
    assert_eq!(ask(source("github", issues.clone())).await, Ok(25.0));
    assert_eq!(ask(source("github", ForgeSource { count: ForgeCount::PullRequests, ..issues })).await, Ok(200.0));
    let asked = server.asked();
    assert_eq!(asked.len(), 6);
    assert_eq!(asked[0].target, "/repos/team/tool/issues?state=open&per_page=100&page=1");
    assert_eq!(asked[1].path(), "/repositories/1/issues");
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some("Bearer t0ken-S3cret")));
    assert_eq!(asked[0].header("user-agent"), Some(concat!("weir/", env!("CARGO_PKG_VERSION"))));
    assert!(asked.iter().all(|asked| asked.header("accept-encoding").is_none()));
    assert_eq!(server.connections(), 1, "the connection is used again");
}

#[tokio::test]
async fn a_page_that_did_not_change_is_not_sent_again() {
    let server = on_github(entries(25, 225)).await;
    let mut reader = Reader::new(source("github", repository(&server.url)));
    for _ in 0..3 {
        assert_eq!(value(reader.read().await), Ok(25.0));
    }
    let asked = server.asked();
    assert_eq!(asked.len(), 9);
    assert!(asked[..3].iter().all(|asked| asked.header("if-none-match").is_none()));
    assert!(asked[3..].iter().all(|asked| asked.header("if-none-match").is_some()));
}

#[tokio::test]
async fn a_full_last_page_is_asked_anew() {
    // One more is opened behind a page that does not change; an answer of 304 need not repeat the links.
    let turn = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let all = if turn.fetch_add(1, Ordering::SeqCst) == 0 { 100 } else { 101 };
        if asked.header("if-none-match").is_some() {
            return Reply::status(304, &[]);
        }
        let rel = if asked.page() * 100 < all { "next" } else { "first" };
        let page = Reply::json(&slice(&entries(101, 101)[..all], asked.page(), 100)).with("ETag", "\"same\"");
        page.with("Link", format!("</i?page=2>; rel={rel}"))
    });
    let mut reader = Reader::new(source("github", repository(&server.await.url)));
    assert_eq!(value(reader.read().await), Ok(100.0));
    assert_eq!(value(reader.read().await), Ok(101.0));
}

#[tokio::test]
async fn gitea_is_counted_whatever_its_largest_page_is() {
    let entries = entries(25, 75);
    let server = Server::start(move |asked| gitea(&entries, asked)).await;
    let (_dir, token) = token();
    for kind in ["gitea", "forgejo"] {
        let issues = ForgeSource { token_from: Some(token.clone()), ..repository(&format!("{}/git/", server.url)) };
        assert_eq!(ask(source(kind, issues.clone())).await, Ok(25.0));
        assert_eq!(ask(source(kind, ForgeSource { count: ForgeCount::PullRequests, ..issues })).await, Ok(50.0));
    }
    let asked = server.asked();
    assert_eq!(asked[0].target, "/git/api/v1/repos/team/tool/issues?state=open&type=issues&limit=50&page=1");
    assert_eq!(asked.len(), 16);
    assert!(asked.iter().all(|asked| asked.header("authorization") == Some("token t0ken-S3cret")));
}

#[tokio::test]
async fn pages_without_any_header_are_read_until_one_is_empty() {
    let entries = entries(25, 25);
    let server = Server::start(move |asked| Reply::json(&slice(&entries, asked.page(), 10))).await;
    assert_eq!(ask(source("gitea", repository(&server.url))).await, Ok(25.0));
    assert_eq!(server.asked().len(), 4);
}

#[tokio::test]
async fn a_total_without_links_leads_on() {
    let entries = entries(25, 25);
    let page = move |asked: &Asked| Reply::json(&slice(&entries, asked.page(), 10)).with("X-Total-Count", "25");
    let server = Server::start(page).await;
    assert_eq!(ask(source("gitea", repository(&server.url))).await, Ok(25.0));
    assert_eq!(server.asked().len(), 3);
}

#[tokio::test]
async fn filters_are_sent_and_checked() {
    // Gitea drops a label and a milestone that it does not know from the filter, and lists everything (routers/api/v1/repo,
    // ListIssues): the server here does so with all of them.
    let entries = entries(25, 25);
    let all = Server::start(move |asked| match asked.path().starts_with("/api") {
        true => gitea(&entries, asked),
        false => github(&entries, "", asked),
    })
    .await;
    let wanted = ForgeSource {
        labels: vec!["bug".into()],
        assignee: Some("Ana".into()),
        milestone: Some("v2".into()),
        ..repository(&all.url)
    };
    for kind in ["gitea", "github"] {
        assert_eq!(ask(source(kind, wanted.clone())).await, Ok(9.0), "{kind}");
        let none = |change: fn(&mut ForgeSource)| {
            let mut wanted = wanted.clone();
            change(&mut wanted);
            ask(source(kind, wanted))
        };
        assert_eq!(none(|wanted| wanted.labels.push("no, such & one".into())).await, Ok(0.0));
        assert_eq!(none(|wanted| wanted.milestone = Some("v3".into())).await, Ok(0.0));
        assert_eq!(none(|wanted| wanted.assignee = Some("bob".into())).await, Ok(0.0));
    }
    let asked = all.asked();
    let [gitea, github] = ["/api/v1/repos/team/tool/issues", "/repos/team/tool/issues"]
        .map(|path| asked.iter().find(|asked| asked.path() == path).expect("asked"));
    let sent = |asked: &Asked, names: [&str; 3]| names.map(|name| asked.query(name).unwrap_or_default());
    assert_eq!(sent(gitea, ["labels", "assigned_by", "milestones"]), ["bug", "Ana", "v2"]);
    assert_eq!(sent(github, ["labels", "assignee", "milestone"]), ["bug", "Ana", ""]);
}

#[tokio::test]
async fn a_list_that_stays_shorter_than_its_total_is_a_failure() {
    let server = Server::start(|_| Reply::json(&json!([])).with("X-Total-Count", "25")).await;
    assert!(words(ask(source("gitea", repository(&server.url))).await).ends_with("lists 0 entries, and tells of 25"));
    // One was closed between two pages: the second time it fits.
    let turn = AtomicUsize::new(0);
    let server = Server::start(move |asked| {
        let now = entries(20, 20);
        let total = if turn.fetch_add(1, Ordering::SeqCst) < 2 { "21" } else { "20" };
        let reply = Reply::json(&slice(&now, asked.page(), 50)).with("X-Total-Count", total);
        reply.with("Link", "<x>; rel=\"first\"")
    });
    assert_eq!(ask(source("gitea", repository(&server.await.url))).await, Ok(20.0));
}

#[tokio::test]
async fn pages_that_never_end_are_a_failure() {
    let one = |asked: &Asked| Reply::json(&json!([{"number": asked.page()}])).with("Link", "<x>; rel=next");
    let server = Server::start(one).await;
    assert!(words(ask(source("gitea", repository(&server.url))).await).contains("more than 1000 pages"));
    assert_eq!(server.asked().len(), 1000);
    let itself = |asked: &Asked| Reply::json(&json!([])).with("Link", format!("<{}>; rel=next", asked.target));
    let server = Server::start(itself).await;
    assert!(words(ask(source("github", repository(&server.url))).await).ends_with("lead in a circle"));
}

#[tokio::test]
async fn a_token_does_not_follow_a_link_elsewhere() {
    let other = Server::start(|_| Reply::json(&json!([]))).await;
    let (_dir, token) = token();
    let port = other.url.rsplit(':').next().unwrap_or_default().to_owned();
    let ways =
        ["http://127.0.0.1:PORT/x", "http://localhost:PORT/", "//127.0.0.1:PORT/x", "https://api.github.com/x", "http://["];
    for link in ways {
        let link = format!("<{}>; rel=\"next\"", link.replace("PORT", &port));
        let server = Server::start(move |_| Reply::json(&json!([{"number": 1}])).with("Link", link.clone())).await;
        let forge = ForgeSource { token_from: Some(token.clone()), ..repository(&server.url) };
        assert!(words(ask(source("github", forge)).await).contains("names a next page"));
    }
    // The same host with a password in front is not the same place to name.
    let server = Server::start(|asked| {
        let host = asked.header("host").unwrap_or_default();
        Reply::json(&json!([{"number": 1}])).with("Link", format!("<http://a:b@{host}/x>; rel=\"next\""))
    })
    .await;
    assert!(words(ask(source("github", repository(&server.url))).await).contains("names a next page elsewhere"));
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn only_a_list_of_issues_is_one() {
    let fine = json!({"number": 1, "state": "open"});
    let bad = [
        json!({"message": "Not Found"}),
        json!({"items": [fine]}),
        json!(25),
        json!("25"),
        Value::Null,
        json!([fine, 3]),
        json!([{"state": "open"}]),
        json!([{"number": "1"}]),
        json!([{"number": 1, "labels": "bug"}]),
    ];
    for body in bad {
        let answer = Reply::json(&body);
        let server = Server::start(move |_| answer.clone()).await;
        for kind in ["gitea", "forgejo", "github"] {
            assert!(
                words(ask(source(kind, repository(&server.url))).await).contains("answered no JSON list of issues"),
                "{body}"
            );
        }
    }
    let server = Server::start(|_| Reply::status(304, &[])).await;
    assert!(words(ask(source("github", repository(&server.url))).await).contains("answered 304"));
}

#[tokio::test]
async fn a_repository_is_an_owner_and_a_name() {
    for bad in ["", "tool", "team/", "/tool", "team/tool/x", "../tool", "team/..", "./x"] {
        for kind in ["gitea", "forgejo", "github"] {
            let forge = ForgeSource { repository: bad.into(), ..repository("http://127.0.0.1:1") };
            assert!(words(ask(source(kind, forge)).await).contains("is not owner/name"), "{bad}");
        }
    }
    let server = Server::start(|_| Reply::json(&json!([]))).await;
    let odd = ForgeSource { repository: "te?am/to#ol %2F".into(), ..repository(&server.url) };
    assert_eq!(ask(source("github", odd)).await, Ok(0.0));
    assert_eq!(server.asked()[0].path(), "/repos/te%3Fam/to%23ol%20%252F/issues");
}
