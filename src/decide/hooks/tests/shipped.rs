//! The webhooks that are shown to people: each makes a task of every event that it names.
//! The documents are read from where people find them: the examples and the manual.

use super::*;
use crate::model::document::{Document, parse};

/// The webhooks of a document.
fn webhooks(text: &str) -> Vec<ForgeHook> {
    match parse(text.as_bytes()).remove(0).unwrap().document {
        Document::WorkerPool(pool) => pool.spec.queue.unwrap().webhooks,
        Document::ResourcePolicy(_) => panic!("a pool"),
    }
}

/// The part of a pool that a page shows first, in a pool.
fn shown(page: &str) -> String {
    let (_, part) = page.split_once("```yaml\n").unwrap();
    let (part, _) = part.split_once("```").unwrap();
    let spec: String = part.lines().map(|line| format!("  {line}\n")).collect();
    format!("apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: dev}}\nspec:\n  template: {{command: [run]}}\n{spec}")
}

#[test]
fn what_is_shown_makes_tasks() {
    let page = shown(include_str!("../../../../docs/webhooks.md"));
    let example = include_str!("../../../../examples/forge-dispatch/specs/dev.yaml");
    let mut seen = Vec::new();
    for hook in webhooks(&page).into_iter().chain(webhooks(example)) {
        for (of, event, header, mut body) in table() {
            if of.provider != hook.provider || !hook.on.contains(&event) {
                continue;
            }
            body["sender"]["login"] = json!("alice");
            for thing in ["issue", "pull_request"] {
                if let Some(thing) = body.get_mut(thing).filter(|thing| thing.is_object()) {
                    thing["html_url"] = json!("http://forge/1");
                }
            }
            let task = accepted(told(&hook, header, &body));
            assert!(task.key.is_some() && task.untrusted.iter().eq(["title", "url"]), "{task:?}");
            seen.push(event);
        }
    }
    let both = [ForgeEvent::IssuesAssigned, ForgeEvent::ReviewRequested];
    assert_eq!(seen, [both, both].concat());
}
