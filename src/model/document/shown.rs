//! What is printed of objects, as documents again: without what weir itself adds, and lists taken apart.
//!
//! Rows are taken out of the text, and nothing is written anew: every value stays the text that it was, and so do comments. Of
//! what is left is checked that it reads as it did. JSON, where a text is a text, is written as YAML. Anything else comes back as
//! it is, to the last byte, and its reader says what is wrong with it.

use std::borrow::Cow;

use serde_json::Value as Json;

use super::tree::{self, Node, Value};
use super::{Violation, split, to_yaml};

/// Metadata that weir adds.
const ADDED: [&str; 6] = ["uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields"];
/// Where kubectl keeps what it applied last: shown to it, and never written to a file.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The documents that are meant by a text.
#[derive(Debug)]
pub struct Meant<'a> {
    /// They.
    pub text: Cow<'a, str>,
    /// Where each row of it stood; none: it is the text that was given.
    rows: Vec<Row>,
}

/// Where a row stood: in which line, 0 if in none, behind how many characters.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Row {
    line: u32,
    indent: u32,
}

/// A text of rows, and where each of them stood.
#[derive(Clone, Debug, Default, PartialEq)]
struct Rows {
    text: String,
    rows: Vec<Row>,
}

impl Meant<'_> {
    /// Say of a violation in this text where that stood in the text that was given.
    pub fn place(&self, violation: &mut Violation) {
        let row = violation.line.checked_sub(1).and_then(|line| self.rows.get(line as usize));
        if let Some(Row { line, indent }) = row {
            let column = if *line == 0 { 0 } else { violation.column.saturating_add(*indent) };
            (violation.line, violation.column) = (*line, column);
        }
    }
}

/// The documents that are meant by a text.
pub fn documents(text: &str) -> Meant<'_> {
    let parts = split::documents(text);
    let meant: Vec<Option<Vec<Rows>>> = parts.iter().map(|part| printed(&Rows::of(part.text, part.line))).collect();
    if meant.iter().all(Option::is_none) {
        return Meant { text: Cow::Borrowed(text), rows: Vec::new() };
    }
    let mut out = Rows::default();
    for (part, meant) in parts.iter().zip(meant) {
        meant.unwrap_or_else(|| vec![Rows::of(part.text, part.line)]).iter().for_each(|one| out.next(one));
    }
    Meant { text: Cow::Owned(out.text), rows: out.rows }
}

impl Rows {
    fn of(text: &str, first: u32) -> Rows {
        let rows = (first..).zip(text.split_inclusive('\n')).map(|(line, _)| Row { line, indent: 0 });
        Rows { text: text.to_owned(), rows: rows.collect() }
    }

    /// One document more.
    fn next(&mut self, document: &Rows) {
        if !self.text.is_empty() && !document.text.starts_with("---") {
            self.text.push_str("---\n");
            self.rows.push(Row::default());
        }
        self.text.push_str(&document.text);
        self.rows.extend(&document.rows);
        if !self.text.ends_with('\n') {
            self.text.push('\n');
        }
    }

    /// Some of them, from one line to before another one, without so many spaces before each.
    fn some(&self, lines: std::ops::Range<u32>, indent: u32) -> Rows {
        let (from, until) = (lines.start.saturating_sub(1) as usize, lines.end.saturating_sub(1) as usize);
        let mut out = Rows::default();
        for (text, row) in self.text.split_inclusive('\n').zip(&self.rows).take(until).skip(from) {
            let spaces = text.len() - text.trim_start_matches(' ').len();
            let cut = spaces.min(indent as usize);
            out.text.push_str(&text[cut..]);
            out.rows.push(Row { indent: row.indent + u32::try_from(cut).unwrap_or(u32::MAX), ..*row });
        }
        out
    }

    /// Without these lines.
    fn without(&self, lines: &[std::ops::RangeInclusive<u32>]) -> Rows {
        let mut out = Rows::default();
        for ((text, row), line) in self.text.split_inclusive('\n').zip(&self.rows).zip(1..) {
            if !lines.iter().any(|lines| lines.contains(&line)) {
                out.text.push_str(text);
                out.rows.push(*row);
            }
        }
        out
    }
}

/// The documents of one that nobody wrote by hand; none for another one, and for what cannot be taken apart.
fn printed(part: &Rows) -> Option<Vec<Rows>> {
    // Most documents say neither, and need not be read twice.
    let perhaps = ["status", "uid", "List", LAST_APPLIED].iter().chain(&ADDED).any(|word| part.text.contains(word));
    let written = part.text.trim_start_matches("---").trim_start();
    match perhaps.then(|| tree::read(&part.text, 1).ok())?? {
        Some(_) if written.starts_with('{') => json(written),
        Some(node) if is_list(&node) => items(part, &node),
        Some(node) => Some(vec![bare(part, &node)?]),
        None => None,
    }
}

fn is_list(node: &Node) -> bool {
    let kind = node.get("kind").and_then(Node::text);
    kind.is_some_and(|kind| kind.ends_with("List")) && node.get("items").is_some_and(|node| matches!(node.value, Value::List(_)))
}

/// The rows of each item of a list.
fn items(part: &Rows, node: &Node) -> Option<Vec<Rows>> {
    let (_, list) = node.entry("items")?;
    let Value::List(items) = &list.value else { return None };
    let lines: Vec<&str> = part.text.split_inclusive('\n').collect();
    let mut out = Vec::new();
    for item in items.iter() {
        let (line, indent) = (item.at.line, item.at.column.checked_sub(1)?);
        let first = lines.get(line as usize - 1)?;
        // Its mark stands on its first row, or on one of its own before it.
        let lead = first.get(..indent as usize)?;
        (lead.trim_start_matches(' ').is_empty() || (lead.trim_start_matches(' ').starts_with('-') && lead.ends_with(' ')))
            .then_some(())?;
        let mut rows = part.some(line..last_line(&part.text, item)? + 1, indent);
        rows.text = format!("{}{}", first.get(indent as usize..)?, rows.text.split_inclusive('\n').skip(1).collect::<String>());
        rows.rows.first_mut()?.indent = indent;
        let read = tree::read(&rows.text, 1).ok()??;
        same(&read, item).then_some(())?;
        out.push(bare(&rows, &read).unwrap_or(rows));
    }
    Some(out)
}

/// Without what weir adds; none if there is nothing of it, or it does not stand in rows of its own.
fn bare(part: &Rows, node: &Node) -> Option<Rows> {
    let mut gone: Vec<Vec<&str>> = vec![vec!["status"]];
    gone.extend(ADDED.iter().map(|name| vec!["metadata", name]));
    let annotations = node.get("metadata").and_then(|meta| meta.get("annotations"));
    let alone = annotations.is_some_and(|all| matches!(&all.value, Value::Map(all) if all.len() == 1));
    let applied = ["metadata", "annotations", LAST_APPLIED];
    if annotations.is_some_and(|all| all.get(LAST_APPLIED).is_some()) {
        gone.push(if alone { applied[..2].to_vec() } else { applied.to_vec() });
    }
    let mut lines = Vec::new();
    for path in &gone {
        let (last, before) = path.split_last()?;
        let Some((key, value)) = before.iter().try_fold(node, |node, key| node.get(key)).and_then(|map| map.entry(last)) else {
            continue;
        };
        let row = part.text.lines().nth(key.at.line as usize - 1)?;
        row.chars().take(key.at.column as usize - 1).all(|c| c == ' ').then_some(())?;
        lines.push(key.at.line..=last_line(&part.text, value)?.max(key.at.line));
    }
    (!lines.is_empty()).then_some(())?;
    let rows = part.without(&lines);
    let read = tree::read(&rows.text, 1).ok()??;
    same(&read, &pruned(node, &gone)).then_some(rows)
}

/// The line in which a value ends.
fn last_line(text: &str, node: &Node) -> Option<u32> {
    let begins = text.as_bytes().get(node.at.byte);
    let flow = matches!(begins, Some(b'{' | b'[' | b'*'));
    let inner = match &node.value {
        Value::List(items) if !flow => items.iter().map(|item| last_line(text, item)).max(),
        Value::Map(entries) if !flow => entries.iter().map(|(_, node)| last_line(text, node)).max(),
        Value::Scalar { .. } | Value::List(_) | Value::Map(_) => None,
    };
    // What ends with a line's end ends in that line.
    let whole = || text.get(..node.end.max(node.at.byte)).map(|before| before.trim_end_matches(['\n', '\r', ' ']));
    inner.unwrap_or_else(|| u32::try_from(whole()?.matches('\n').count() + 1).ok())
}

/// A node without what these paths lead to.
fn pruned(node: &Node, gone: &[Vec<&str>]) -> Node {
    let Value::Map(entries) = &node.value else { return node.clone() };
    let kept = entries.iter().filter_map(|(key, value)| {
        let below: Vec<Vec<&str>> =
            gone.iter().filter(|path| path.first() == Some(&key.text.as_str())).map(|path| path[1..].to_vec()).collect();
        (!below.iter().any(Vec::is_empty)).then(|| (key.clone(), pruned(value, &below)))
    });
    Node { value: Value::Map(std::rc::Rc::new(kept.collect())), ..node.clone() }
}

/// They say the same, wherever they stand.
fn same(a: &Node, b: &Node) -> bool {
    match (&a.value, &b.value) {
        (Value::Scalar { text: a, plain: was }, Value::Scalar { text: b, plain: is }) => a == b && was == is,
        (Value::List(a), Value::List(b)) => a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|((key, a), (other, b))| key.text == other.text && same(a, b))
        }
        (Value::Scalar { .. } | Value::List(_) | Value::Map(_), _) => false,
    }
}

/// JSON has no rows: what is left of it is written anew.
fn json(text: &str) -> Option<Vec<Rows>> {
    let value: Json = serde_json::from_str(text).ok()?;
    let list = value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array();
    let has = |pointer: String| value.pointer(&pointer).is_some();
    let added = has("/status".into()) || ADDED.iter().any(|name| has(format!("/metadata/{name}")));
    let applied = value.pointer("/metadata/annotations").is_some_and(|all| all.get(LAST_APPLIED).is_some());
    let all = if list {
        value["items"].as_array().cloned().unwrap_or_default()
    } else if added || applied {
        vec![value]
    } else {
        return None;
    };
    let yaml = |value| {
        let text = to_yaml(&without_added(value));
        let rows = vec![Row::default(); text.lines().count()];
        Rows { text, rows }
    };
    Some(all.into_iter().map(yaml).collect())
}

fn without_added(mut value: Json) -> Json {
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Json::as_object_mut) {
        metadata.retain(|name, _| !ADDED.contains(&name.as_str()));
        let annotations = metadata.get_mut("annotations").and_then(Json::as_object_mut);
        if annotations.is_some_and(|all| all.remove(LAST_APPLIED).is_some() && all.is_empty()) {
            metadata.remove("annotations");
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weir_adds_is_taken_off_and_the_rest_is_as_it_was() {
        for (text, meant) in [
            ("# mine\nkind: A # a\nmetadata: {name: x}\n", None),
            ("kind: A\nspec: {status: [uid]} # List\n", None),
            ("kind: [", None),
            ("", None),
            ("kind: A\nmetadata: {name: x, uid: u}\n", None),
            (
                "kind: A\nmetadata:\n  name: n\n  uid: u\n  # mine\n  generation: 3\nstatus: {a: 1}\n",
                Some("kind: A\nmetadata:\n  name: n\n  # mine\n"),
            ),
            ("kind: A\nstatus: {}\n---\nkind: B # b\n", Some("kind: A\n---\nkind: B # b\n")),
            ("# b\nkind: B\n---\nkind: A\nstatus: {}\n", Some("# b\nkind: B\n---\nkind: A\n")),
            (
                "kind: A\nstatus:\n  a: |\n    x\n\n    y\n  b:\n  - {c: 1,\n     d: 2}\nspec: {e: 0777, f: 1.10} # g\n",
                Some("kind: A\nspec: {e: 0777, f: 1.10} # g\n"),
            ),
            ("kind: A\nstatus:\nspec: yes\n", Some("kind: A\nspec: yes\n")),
            (
                "{\"kind\": \"List\", \"items\": [{\"kind\": \"A\", \"status\": 1}, {\"kind\": \"B\"}]}",
                Some("kind: A\n---\nkind: B\n"),
            ),
            (
                "apiVersion: v1\nitems:\n- kind: A\n  spec:\n    a: |\n      x\n    b: on # b\n  status: {}\n-\n    kind: B\n    spec: 1_0\nkind: List\nmetadata: {}\n",
                Some("kind: A\nspec:\n  a: |\n    x\n  b: on # b\n---\nkind: B\nspec: 1_0\n"),
            ),
            ("kind: List\nitems: [{kind: A, status: 1}]\n", None),
            ("kind: List\nitems: []\n", Some("")),
        ] {
            assert_eq!(documents(text).text, meant.unwrap_or(text), "{text}");
        }
        let applied = format!("kind: A\nmetadata:\n  name: x\n  annotations:\n    {LAST_APPLIED}: '{{}}'\n");
        assert_eq!(documents(&applied).text, "kind: A\nmetadata:\n  name: x\n");
        assert_eq!(documents(&format!("{applied}    a: b\n")).text, "kind: A\nmetadata:\n  name: x\n  annotations:\n    a: b\n");
    }

    #[test]
    fn places_are_those_of_the_text_that_was_given() {
        let meant = documents("kind: A\nstatus: 1\nspec: 2\n---\nkind: List\nitems:\n- kind: B\n  status: 1\n  spec: 3\n");
        assert_eq!(meant.text, "kind: A\nspec: 2\n---\nkind: B\nspec: 3\n");
        let place = |line, column| {
            let mut violation = Violation { line, column, ..Violation::default() };
            meant.place(&mut violation);
            (violation.line, violation.column)
        };
        assert_eq!([place(2, 7), place(4, 1), place(5, 7)], [(3, 7), (7, 3), (9, 9)]);
    }
}
