//! A document's text changed to mean something else, with comments, order and quoting of all the rest as they are.
//!
//! The located tree says where each value stands; what differs is replaced there, and nothing else. Whoever calls reads the result
//! again: a text that this cannot edit well (anchors, say) gives one that means something else, which is noticed then.

use std::collections::BTreeMap;
use std::ops::Range;

use serde_json::Value;

use crate::model::document::to_yaml;
use crate::model::document::tree::{Key, Node, Value as Tree};

/// What a value becomes when the object that is shown changes from `before` to `after`: only what differs there is taken over,
/// so that what its author left out stays out.
pub fn carried(written: &Value, before: &Value, after: &Value) -> Value {
    if before == after {
        return written.clone();
    }
    match (written, before, after) {
        (Value::Object(written), Value::Object(before), Value::Object(after)) => {
            let mut new = written.clone();
            new.retain(|key, _| after.contains_key(key) || !before.contains_key(key));
            for (key, value) in after {
                let was = before.get(key).unwrap_or(&Value::Null);
                if was != value {
                    let now = written.get(key).map_or_else(|| value.clone(), |written| carried(written, was, value));
                    new.insert(key.clone(), now);
                }
            }
            Value::Object(new)
        }
        (Value::Array(written), Value::Array(before), Value::Array(after))
            if written.len() == before.len() && before.len() == after.len() =>
        {
            let items = written.iter().zip(before.iter().zip(after));
            items.map(|(written, (before, after))| carried(written, before, after)).collect()
        }
        _ => after.clone(),
    }
}

/// The text in which `old` stands as `node`, changed to mean `new`.
pub fn spliced(text: &str, node: &Node, old: &Value, new: &Value) -> String {
    let mut editor = Editor { text, edits: BTreeMap::new() };
    editor.value(node, old, new, None);
    let mut out = text.to_owned();
    for (start, (end, new)) in editor.edits.into_iter().rev() {
        out.replace_range(start..end.max(start), &new);
    }
    out
}

struct Editor<'a> {
    text: &'a str,
    /// What is replaced, by its beginning.
    edits: BTreeMap<usize, (usize, String)>,
}

impl Editor<'_> {
    fn put(&mut self, range: Range<usize>, new: String) {
        self.edits.insert(range.start, (range.end, new));
    }

    /// `key`: whose value it is, where it may be written anew with it.
    fn value(&mut self, node: &Node, old: &Value, new: &Value, key: Option<&Key>) {
        if old == new {
            return;
        }
        match (&node.value, old, new) {
            (Tree::Map(entries), Value::Object(was), Value::Object(now)) if !now.is_empty() && !entries.is_empty() => {
                if !self.is_block(node) && !was.keys().all(|key| now.contains_key(key)) {
                    return self.put(node.at.byte..node.end, flow(new));
                }
                self.map(node, entries, (was, now));
            }
            (Tree::List(items), Value::Array(was), Value::Array(now)) if was.len() == now.len() && items.len() == now.len() => {
                for (item, (was, now)) in items.iter().zip(was.iter().zip(now)) {
                    self.value(item, was, now, None);
                }
            }
            (Tree::Scalar { .. }, _, Value::Bool(_) | Value::Number(_)) => self.put(node.at.byte..node.end, new.to_string()),
            (Tree::Scalar { plain, .. }, _, Value::String(text)) if !self.text[node.at.byte..node.end].contains('\n') => {
                self.put(node.at.byte..node.end, if *plain { word(text) } else { new.to_string() });
            }
            _ => match key.filter(|key| self.column(key.at.byte).is_some()) {
                Some(key) => {
                    let column = self.column(key.at.byte).unwrap_or_default();
                    self.put(key.at.byte..self.last(node), entry(&key.text, new, column).trim_end().to_owned());
                }
                None => self.put(node.at.byte..self.last(node), new.to_string()),
            },
        }
    }

    fn map(
        &mut self,
        node: &Node,
        entries: &[(Key, Node)],
        (was, now): (&serde_json::Map<String, Value>, &serde_json::Map<String, Value>),
    ) {
        for (key, child) in entries {
            match now.get(&key.text) {
                Some(value) => self.value(child, was.get(&key.text).unwrap_or(&Value::Null), value, Some(key)),
                None => self.put(self.row(key.at.byte)..self.row_end(self.last(child)), String::new()),
            }
        }
        let added: Vec<_> = now.iter().filter(|(key, _)| entries.iter().all(|(known, _)| known.text != **key)).collect();
        let Some((first, _)) = entries.first().filter(|_| !added.is_empty()) else { return };
        if let Some(brace) = self.text[..node.end].rfind('}').filter(|_| !self.is_block(node)) {
            let new = added.into_iter().map(|(key, value)| format!(", {}: {}", word(key), flow(value))).collect();
            return self.put(brace..brace, new);
        }
        let column = first.at.byte - self.row(first.at.byte);
        let at = self.row_end(self.last(node));
        let mut new: String =
            added.into_iter().map(|(key, value)| format!("{}{}", " ".repeat(column), entry(key, value, column))).collect();
        if !self.text[..at].ends_with('\n') {
            new.insert(0, '\n');
        }
        // Behind whatever is removed or changed on the last row.
        match self.edits.range_mut(..at).next_back().filter(|(_, (end, _))| *end == at) {
            Some((_, (_, text))) => text.push_str(&new),
            None => self.put(at..at, new),
        }
    }

    fn is_block(&self, node: &Node) -> bool {
        !self.text[node.at.byte..].starts_with(['{', '['])
    }

    /// Where the last thing in a value ends: a block ends further down than what stands in it.
    fn last(&self, node: &Node) -> usize {
        match &node.value {
            Tree::Map(entries) if self.is_block(node) => entries.last().map_or(node.end, |(_, child)| self.last(child)),
            Tree::List(items) if self.is_block(node) => items.last().map_or(node.end, |child| self.last(child)),
            Tree::Scalar { .. } | Tree::Map(_) | Tree::List(_) => {
                let text = &self.text[node.at.byte..node.end.max(node.at.byte)];
                node.at.byte + text.trim_end_matches('\n').len()
            }
        }
    }

    /// The beginning of a row.
    fn row(&self, at: usize) -> usize {
        self.text[..at].rfind('\n').map_or(0, |at| at + 1)
    }

    /// The beginning of the next row.
    fn row_end(&self, at: usize) -> usize {
        self.text[at..].find('\n').map_or(self.text.len(), |more| at + more + 1)
    }

    /// How far in a key stands, if nothing but space (or a list's dash) is before it.
    fn column(&self, at: usize) -> Option<usize> {
        let row = self.row(at);
        self.text[row..at].chars().all(|c| c == ' ' || c == '-').then_some(at - row)
    }
}

/// A key, as it is written in a block and between braces.
fn word(key: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./".contains(c);
    let is_word = key.starts_with(|c: char| c.is_ascii_alphabetic()) && key.chars().all(plain);
    let read_as_other =
        ["y", "n", "yes", "no", "on", "off", "true", "false", "null"].contains(&key.to_ascii_lowercase().as_str());
    if is_word && !read_as_other { key.into() } else { Value::from(key).to_string() }
}

/// A value as it is written between braces.
fn flow(value: &Value) -> String {
    match value {
        Value::Object(map) => {
            let entries: Vec<String> = map.iter().map(|(key, value)| format!("{}: {}", word(key), flow(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
        Value::Array(items) => format!("[{}]", items.iter().map(flow).collect::<Vec<_>>().join(", ")),
        Value::String(text) => word(text),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A key with its value, to stand at a column; with a line end.
fn entry(key: &str, value: &Value, column: usize) -> String {
    let text = to_yaml(&serde_json::Map::from_iter([(key.to_owned(), value.clone())]));
    let mut lines = text.lines();
    let mut out = lines.next().unwrap_or_default().to_owned();
    out.push('\n');
    for line in lines {
        if !line.is_empty() {
            out.push_str(&" ".repeat(column));
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where something fails")]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::document::tree;

    const TEXT: &str = "# about it\nmetadata:\n  name: a # its name\n  labels: {x: \"1\", y: \"2\"} # words\nspec:\n  # how many\n  replicas: 2 # two\n\n  template:\n    command: [run, \"it\"]\n    env:\n    - name: A\n      value: one # first\n    # the end of env\n  # the end\n";

    fn value(text: &str) -> Value {
        serde_saphyr::from_str(text).unwrap()
    }

    fn changed(new: &Value) -> String {
        let text = spliced(TEXT, &tree::read(TEXT, 1).unwrap().unwrap(), &value(TEXT), new);
        assert_eq!(&value(&text), new, "{text}");
        text
    }

    /// The rows that are only in one of the two.
    fn rows(new: &str) -> (Vec<&str>, Vec<&str>) {
        let lost = TEXT.lines().filter(|row| !new.lines().any(|other| other == *row)).collect();
        (lost, new.lines().filter(|row| !TEXT.lines().any(|other| other == *row)).collect())
    }

    #[test]
    fn what_is_changed_is_changed_where_it_stands() {
        for (path, new, lost, found) in [
            ("/spec/replicas", json!(12), vec!["  replicas: 2 # two"], vec!["  replicas: 12 # two"]),
            (
                "/metadata/labels/y",
                json!("z"),
                vec!["  labels: {x: \"1\", y: \"2\"} # words"],
                vec!["  labels: {x: \"1\", y: \"z\"} # words"],
            ),
            ("/spec/template/env/0/value", json!("two"), vec!["      value: one # first"], vec!["      value: two # first"]),
            ("/spec/template/command", json!(["run"]), vec!["    command: [run, \"it\"]"], vec!["    command:", "    - run"]),
        ] {
            let mut wanted = value(TEXT);
            *wanted.pointer_mut(path).unwrap() = new;
            let text = changed(&wanted);
            let (was, is) = rows(&text);
            assert_eq!(was, lost, "{text}");
            assert_eq!(is, found, "{text}");
        }
    }

    #[test]
    fn keys_come_and_go() {
        let mut wanted = value(TEXT);
        wanted["metadata"]["annotations"] = json!({"a": "b"});
        wanted["spec"]["queue"] = json!({"capacity": 3});
        wanted["spec"].as_object_mut().unwrap().remove("replicas");
        let text = changed(&wanted);
        assert!(
            text.contains("  # how many\n\n  template:") && text.contains("# the end of env") && text.contains("its name"),
            "{text}"
        );
        wanted["metadata"].as_object_mut().unwrap().remove("labels");
        changed(&wanted);
    }

    #[test]
    fn what_was_left_out_stays_out() {
        let written = json!({"replicas": 2, "template": {"command": ["x"]}});
        let before = json!({"replicas": 2, "template": {"command": ["x"], "umask": 18}, "updateStrategy": {"maxSurge": 1}});
        let mut after = before.clone();
        after["replicas"] = json!(3);
        after["updateStrategy"]["maxSurge"] = json!(2);
        let new = carried(&written, &before, &after);
        assert_eq!(new, json!({"replicas": 3, "template": {"command": ["x"]}, "updateStrategy": {"maxSurge": 2}}));
    }
}
