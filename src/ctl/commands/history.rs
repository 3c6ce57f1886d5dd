//! `rollout history` and `rollout undo`: what a document said before, and that said again.
//!
//! Texts are the author's, comments and all. An undo goes the way of `ctl edit`: the document's text in its file is replaced, and
//! the file takes the road of any edit. Numbers are generations: each accepted change of the spec is one, a `ctl scale` too.

use std::fmt::{self, Display, Formatter};

use hyper::Method;
use serde_json::Value;
use similar::TextDiff;

use super::Context;
use crate::ctl::args::{History, Undo};
use crate::ctl::client::{Sent, path};
use crate::ctl::error::Failure;
use crate::ctl::print::{Table, as_json, emit};
use crate::ctl::resource::{one, short, targets};
use crate::ctl::text::{tame, tame_block};
use crate::ctl::time::{age, now};
use crate::model::document;
use crate::model::status::Kind;
use crate::serve::wire::DocumentText;
use crate::serve::wire::columns::number;
use crate::serve::wire::revisions::{RevisionList, RevisionView};

/// Changed fields that are named in a row.
const SHOWN: usize = 3;

/// The object whose document it is.
struct Whose {
    kind: Kind,
    name: String,
}

impl Display for Whose {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", short(self.kind), tame(&self.name))
    }
}

/// `policy/NAME`, or a pool in each way that one can be named.
fn documented(words: &[String]) -> Result<Whose, Failure> {
    let kind = match targets(words) {
        Ok(all) if all.iter().all(|target| target.kind == Kind::Policy && !target.names.is_empty()) => Kind::Policy,
        Ok(_) | Err(_) => Kind::Pool,
    };
    Ok(Whose { kind, name: one(words, kind)? })
}

/// `ctl rollout history`
pub(super) async fn history(context: &Context, args: &History) -> Result<(), Failure> {
    let whose = documented(&args.names)?;
    let (kept, current) = kept(context, &whose).await?;
    if let Some(number) = args.revision {
        return emit(&tame_block(&found(&kept, &whose, number)?.text));
    }
    if args.output.is_some() {
        let list = RevisionList { kind: "RevisionList".into(), items: kept };
        return emit(&as_json(&serde_json::to_value(&list).expect("plain data")));
    }
    let mut table = Table::new(&["REVISION", "AGE", "CHANGE"].map(str::to_owned), true);
    let mut before: Option<Value> = None;
    for RevisionView { revision, time, text } in &kept {
        let spec = spec(text);
        let change = before.as_ref().map_or_else(|| "<none>".into(), |before| changes(before, &spec));
        let mark = if *revision == current { " (current)" } else { "" };
        table.add(vec![format!("{revision}{mark}"), age(*time, now()), change]);
        before = Some(spec);
    }
    emit(&format!("{whose}\n{}", table.take()))
}

/// `ctl rollout undo`
pub(super) async fn undo(context: &Context, args: &Undo) -> Result<(), Failure> {
    let whose = documented(&args.names)?;
    let at = format!("{}/document", path(whose.kind, &whose.name));
    // The text before the list: one that is accepted between the two is in the list then. One that comes later is a conflict.
    let standing: DocumentText = context.client.ask(Method::GET, &at, Sent::nothing()).await?;
    let (kept, current) = kept(context, &whose).await?;
    let to = target(&kept, &whose, (current, &standing.text), args.to_revision)?;
    if to.text == standing.text {
        return emit(&format!("{whose} unchanged: its document says what revision {} said\n", to.revision));
    }
    if args.dry_run {
        let diff = TextDiff::from_lines(standing.text.as_str(), to.text.as_str());
        let heads = (tame(&standing.file), format!("revision {}", to.revision));
        let diff = diff.unified_diff().context_radius(3).header(&heads.0, &heads.1).to_string();
        return emit(&format!("{}{whose} rolled back to revision {} (dry run)\n", tame_block(&diff), to.revision));
    }
    if !args.force {
        held(&kept, &whose, &standing)?;
    }
    let new = DocumentText { text: to.text.clone(), version: standing.version, ..DocumentText::default() };
    let new = serde_json::to_value(new).expect("plain data");
    let _: DocumentText = context.client.ask(Method::PUT, &at, Sent::json(&new)).await?;
    // A change of the count alone is a revision too: whoever meant another one sees it here.
    let what = tame(&changes(&spec(&standing.text), &spec(&to.text)));
    emit(&format!("{whose} rolled back to revision {}: {what}\n", to.revision))
}

/// What is kept, and which of it is in force.
async fn kept(context: &Context, whose: &Whose) -> Result<(Vec<RevisionView>, u64), Failure> {
    let object = context.client.get(whose.kind, &whose.name).await?;
    let at = format!("{}/revisions", path(whose.kind, &whose.name));
    let list: RevisionList = context.client.ask(Method::GET, &at, Sent::nothing()).await?;
    Ok((list.items, number(&object, "/metadata/generation")))
}

fn found<'a>(kept: &'a [RevisionView], whose: &Whose, number: u64) -> Result<&'a RevisionView, Failure> {
    kept.iter().find(|revision| revision.revision == number).ok_or_else(|| {
        let numbers: Vec<String> = kept.iter().map(|revision| revision.revision.to_string()).collect();
        let there = if numbers.is_empty() { "none".into() } else { numbers.join(", ") };
        Failure::No(format!("{whose} has no revision {number}; kept are: {there}"))
    })
}

/// The one that was asked for; else the one before the present one; where the document is not good, the last one that was.
fn target<'a>(
    kept: &'a [RevisionView],
    whose: &Whose,
    (current, standing): (u64, &str),
    asked: Option<u64>,
) -> Result<&'a RevisionView, Failure> {
    if let Some(number) = asked.filter(|number| *number > 0) {
        return found(kept, whose, number);
    }
    let broken = document::parse(standing.as_bytes()).iter().any(Result::is_err);
    let before = kept.iter().rev().find(|revision| revision.revision < current || (broken && revision.revision == current));
    let none = || Failure::No(format!("{whose} has no revision before {current} that is kept: nothing to go back to"));
    before.ok_or_else(none)
}

/// What stands now must be kept, or nobody could go back to it.
fn held(kept: &[RevisionView], whose: &Whose, standing: &DocumentText) -> Result<(), Failure> {
    if kept.iter().any(|revision| revision.text == standing.text) {
        return Ok(());
    }
    Err(Failure::No(format!(
        "{whose}: no revision holds what stands in {}:{} now (an edit that is not accepted, or of comments alone), and it would be \
         lost; --dry-run shows it, --force writes over it",
        standing.file, standing.line
    )))
}

/// The spec and the labels of a text; nothing where it does not read.
fn spec(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or(Value::Null)
}

/// Which fields differ, and how where they are plain: `spec.replicas 2 → 3`.
fn changes(before: &Value, after: &Value) -> String {
    let mut found = Vec::new();
    differing("", before, after, &mut found);
    let more = found.len().saturating_sub(SHOWN);
    found.truncate(SHOWN);
    let shown = if found.is_empty() { "comments".into() } else { found.join(", ") };
    if more > 0 { format!("{shown}, {more} more") } else { shown }
}

fn differing(path: &str, before: &Value, after: &Value, found: &mut Vec<String>) {
    if before == after {
        return;
    }
    if let (Value::Object(one), Value::Object(other)) = (before, after) {
        let keys = one.keys().chain(other.keys().filter(|key| !one.contains_key(*key)));
        for key in keys {
            let below = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            differing(&below, one.get(key).unwrap_or(&Value::Null), other.get(key).unwrap_or(&Value::Null), found);
        }
        return;
    }
    let plain = |value: &Value| match value {
        Value::Null => Some("<none>".to_owned()),
        Value::Bool(_) | Value::Number(_) => Some(value.to_string()),
        Value::String(text) => (text.len() <= 24).then(|| text.clone()),
        Value::Array(_) | Value::Object(_) => None,
    };
    match (plain(before), plain(after)) {
        (Some(before), Some(after)) => found.push(format!("{path} {before} → {after}")),
        _ => found.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str =
        "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: web}\nspec: {replicas: 2, template: {command: [run]}}\n";

    fn web() -> Whose {
        Whose { kind: Kind::Pool, name: "web".into() }
    }

    #[test]
    fn pools_and_policies_have_documents() {
        let shown =
            |line: &str| documented(&line.split(' ').map(str::to_owned).collect::<Vec<_>>()).map(|whose| whose.to_string());
        for (line, whose) in [
            ("web", "pool/web"),
            ("pool/web", "pool/web"),
            ("policy/guard", "policy/guard"),
            ("policy guard", "policy/guard"),
            ("policy", "pool/policy"),
        ] {
            assert_eq!(shown(line).unwrap(), whose, "{line}");
        }
        for wrong in ["worker/web-0", "policy/a pool/b", "policy/a policy/b"] {
            assert!(shown(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_changed_is_named() {
        let after = GOOD.replace("replicas: 2", "replicas: 3").replace("[run]", "[walk]");
        assert_eq!(changes(&spec(GOOD), &spec(&after)), "spec.replicas 2 → 3, spec.template.command");
        assert_eq!(changes(&spec(GOOD), &spec(&format!("# x\n{GOOD}"))), "comments");
        let many = GOOD.replace("replicas: 2", "a: 1, b: 2, c: 3, d: 4");
        assert!(changes(&spec(GOOD), &spec(&many)).ends_with(", 2 more"));
    }

    #[test]
    fn what_no_revision_holds_is_not_written_over() {
        let kept = [RevisionView { revision: 1, text: GOOD.into(), ..RevisionView::default() }];
        let held = |text: &str| {
            held(&kept, &web(), &DocumentText { file: "web.yaml".into(), line: 3, text: text.into(), ..DocumentText::default() })
        };
        held(GOOD).unwrap();
        for lost in [format!("# why\n{GOOD}"), GOOD.replace("replicas", "replica"), GOOD.replace('2', "3")] {
            let why = held(&lost).unwrap_err().text();
            assert!(why.contains("web.yaml:3 ") && why.contains("--force"), "{why}");
        }
    }

    #[test]
    fn back_is_to_the_one_before_or_to_the_last_good_one() {
        let kept = [1, 3, 4].map(|revision| RevisionView { revision, text: GOOD.into(), ..RevisionView::default() });
        let to = |current, text: &str, asked| target(&kept, &web(), (current, text), asked).map(|to| to.revision);
        assert_eq!(to(4, GOOD, None).unwrap(), 3);
        assert_eq!(to(4, GOOD, Some(0)).unwrap(), 3, "as kubectl has it");
        assert_eq!(to(4, GOOD, Some(1)).unwrap(), 1);
        assert_eq!(to(4, &GOOD.replace("replicas", "replica"), None).unwrap(), 4, "a document that is refused");
        assert!(to(1, GOOD, None).unwrap_err().text().contains("nothing to go back to"));
        assert!(to(4, GOOD, Some(2)).unwrap_err().text().contains("kept are: 1, 3, 4"));
    }
}
