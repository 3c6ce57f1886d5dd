//! What is printed of objects, as documents again: without what weir itself adds, and lists taken apart.
//!
//! A text that is none of that comes back as it is, to the last byte: its author's comments and places are kept.

use std::borrow::Cow;

use serde_json::Value;

use super::{split, to_yaml};

/// Metadata that weir adds.
const ADDED: [&str; 6] = ["uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "managedFields"];
/// Where kubectl keeps what it applied last: shown to it, and never written to a file.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// The documents that are meant by a text.
pub fn documents(text: &str) -> Cow<'_, str> {
    let parts = split::documents(text);
    let values: Vec<Option<Value>> = parts.iter().map(|part| printed(part.text)).collect();
    if values.iter().all(Option::is_none) {
        return Cow::Borrowed(text);
    }
    let mut out = String::new();
    for (part, value) in parts.iter().zip(values) {
        match value.map(|value| items(value).into_iter().map(bare).collect::<Vec<_>>()) {
            None => next(&mut out, part.text),
            Some(all) => all.iter().for_each(|one| next(&mut out, &to_yaml(one))),
        }
    }
    Cow::Owned(out)
}

fn next(out: &mut String, document: &str) {
    if !out.is_empty() && !document.starts_with("---") {
        out.push_str("---\n");
    }
    out.push_str(document);
    if !out.ends_with('\n') {
        out.push('\n');
    }
}

/// The value of a document that nobody wrote by hand; none for another one, and for what cannot be read.
fn printed(text: &str) -> Option<Value> {
    // Most documents say neither, and need not be read twice.
    let perhaps = ["status", "uid", "List", LAST_APPLIED].iter().chain(&ADDED).any(|word| text.contains(word));
    let value: Value = perhaps.then(|| serde_saphyr::from_str(text).ok())??;
    let has = |pointer: String| value.pointer(&pointer).is_some();
    let added = ADDED.iter().any(|name| has(format!("/metadata/{name}")));
    let applied = value.pointer("/metadata/annotations").is_some_and(|all| all.get(LAST_APPLIED).is_some());
    (is_list(&value) || has("/status".into()) || added || applied).then_some(value)
}

fn is_list(value: &Value) -> bool {
    value["kind"].as_str().is_some_and(|kind| kind.ends_with("List")) && value["items"].is_array()
}

fn items(mut value: Value) -> Vec<Value> {
    if !is_list(&value) {
        return vec![value];
    }
    match value["items"].take() {
        Value::Array(items) => items,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Object(_) => Vec::new(),
    }
}

fn bare(mut value: Value) -> Value {
    if let Some(object) = value.as_object_mut() {
        object.remove("status");
    }
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.retain(|name, _| !ADDED.contains(&name.as_str()));
        let annotations = metadata.get_mut("annotations").and_then(Value::as_object_mut);
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
            ("kind: A\nmetadata: {name: x, uid: u, generation: 3}\nstatus: {a: 1}\n", Some("kind: A\nmetadata:\n  name: x\n")),
            ("kind: A\nstatus: {}\n---\nkind: B # b\n", Some("kind: A\n---\nkind: B # b\n")),
            ("# b\nkind: B\n---\nkind: A\nstatus: {}\n", Some("# b\nkind: B\n---\nkind: A\n")),
            (
                "{\"kind\": \"List\", \"items\": [{\"kind\": \"A\", \"status\": 1}, {\"kind\": \"B\"}]}",
                Some("kind: A\n---\nkind: B\n"),
            ),
            ("kind: List\nitems: []\n", Some("")),
        ] {
            assert_eq!(documents(text), meant.unwrap_or(text), "{text}");
        }
        let applied = format!("kind: A\nmetadata:\n  name: x\n  annotations: {{{LAST_APPLIED}: '{{}}'}}\n");
        assert_eq!(documents(&applied), "kind: A\nmetadata:\n  name: x\n");
    }
}
