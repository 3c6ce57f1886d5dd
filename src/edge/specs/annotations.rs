//! One annotation of a pool set or removed in the text of a spec file, everything else left as it is.
//!
//! The text is spliced at the place that the located tree gives and read again: an edit that would change anything else is
//! refused. What was added by a set is taken away whole by a removal.

use std::ops::Range;

use super::write::{Spot, find, good};
use crate::model::document::Document;
use crate::model::document::tree::{self, Node, Value};

/// The text with an annotation of a pool set, or with no value removed.
///
/// # Errors
/// If the pool is not in the text, cannot be read, or the edit would change anything else.
pub fn set_annotation(text: &str, name: &str, key: &str, value: Option<&str>) -> Result<String, String> {
    let spot = find(text, "WorkerPool", name)?;
    let (range, new) = annotation(&spot, key, value)?;
    let at = spot.part.byte + range.start..spot.part.byte + range.end;
    let edited = format!("{}{new}{}", &text[..at.start], &text[at.end..]);
    let wanted = good(text).into_iter().map(|document| document.map(|document| annotated(document, name, key, value)));
    if good(&edited) == wanted.collect::<Vec<_>>() {
        Ok(edited)
    } else {
        Err("the edit would change more than one annotation: edit the file by hand".into())
    }
}

fn annotated(document: Document, name: &str, key: &str, value: Option<&str>) -> Document {
    match document {
        Document::WorkerPool(mut pool) if pool.metadata.name == name => {
            match value {
                Some(value) => pool.metadata.annotations.insert(key.into(), value.into()),
                None => pool.metadata.annotations.remove(key),
            };
            Document::WorkerPool(pool)
        }
        Document::WorkerPool(_) | Document::ResourcePolicy(_) => document,
    }
}

/// Where in the document's text the annotation stands or should stand, and what is to be written there.
fn annotation(spot: &Spot<'_>, key: &str, value: Option<&str>) -> Result<(Range<usize>, String), String> {
    let quoted = |text: &str| serde_json::to_string(text).expect("text is JSON");
    let meta = spot.root.get("metadata").ok_or("the document has no metadata")?;
    let present = meta.get("annotations").and_then(|all| all.get(key));
    match (present, value) {
        (Some(old), Some(value)) => Ok((old.at.byte..old.end, quoted(value))),
        (None, None) => Ok((spot.root.at.byte..spot.root.at.byte, String::new())),
        (Some(_), None) => removal(spot, key).map(|range| (range, String::new())),
        (None, Some(value)) => {
            let entry = format!("{}: {}", quoted(key), quoted(value));
            match meta.get("annotations").map(|all| &all.value) {
                Some(Value::Map(entries)) if !entries.is_empty() => Ok(before_first(spot, &entries[0].0, &entry)),
                Some(_) => Err("metadata.annotations is there but empty: edit the file by hand".into()),
                None => {
                    let Value::Map(entries) = &meta.value else { return Err("metadata is not a map".into()) };
                    let (first, _) = entries.first().ok_or("metadata is empty")?;
                    Ok(before_first(spot, first, &format!("annotations: {{{entry}}}")))
                }
            }
        }
    }
}

/// A new entry in front of a map's first: on a line of its own in a block, before a comma in a flow.
fn before_first(spot: &Spot<'_>, first: &tree::Key, entry: &str) -> (Range<usize>, String) {
    let text = spot.part.text;
    let row = text[..first.at.byte].rfind('\n').map_or(0, |at| at + 1);
    let indent = &text[row..first.at.byte];
    let at = first.at.byte..first.at.byte;
    if indent.chars().all(|c| c == ' ') {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        return (at, format!("{entry}{end}{indent}"));
    }
    (at, format!("{entry}, "))
}

/// The bytes to take out: the entry, or all of `annotations` when it is the only one.
fn removal(spot: &Spot<'_>, key: &str) -> Result<Range<usize>, String> {
    let by_hand = || format!("{key} cannot be removed here: edit the file by hand");
    let meta = spot.root.get("metadata").ok_or_else(by_hand)?;
    let (_, all) = meta.entry("annotations").ok_or_else(by_hand)?;
    let Value::Map(entries) = &all.value else { return Err(by_hand()) };
    let (map, name) = if entries.len() == 1 { (meta, "annotations") } else { (all, key) };
    let Value::Map(entries) = &map.value else { return Err(by_hand()) };
    let n = entries.iter().position(|(key, _)| key.text == name).ok_or_else(by_hand)?;
    Ok(extent(spot.part.text, map, entries, n))
}

/// An entry with what holds it in its map: its lines in a block, its comma in a flow.
fn extent(text: &str, map: &Node, entries: &[(tree::Key, Node)], n: usize) -> Range<usize> {
    let (key, value) = &entries[n];
    let start = key.at.byte;
    let row = text[..start].rfind('\n').map_or(0, |at| at + 1);
    let in_flow = text[map.at.byte..].starts_with('{');
    let end = end(value);
    match (entries.get(n + 1), n.checked_sub(1).map(|before| &entries[before])) {
        (Some((next, _)), _) if in_flow => start..next.at.byte,
        (None, Some((_, before))) if in_flow => before.end..value.end,
        (_, _) if in_flow => start..value.end,
        // A block scalar ends where the next row begins, all else before the end of its own.
        (_, _) if text[..end].trim_end_matches(' ').ends_with('\n') => row..text[..end].trim_end_matches(' ').len(),
        (_, _) => row..text[end..].find('\n').map_or(text.len(), |at| end + at + 1),
    }
}

/// Where a value ends. A map without braces ends, to its reader, where the next thing begins: its last value is asked.
fn end(node: &Node) -> usize {
    let Value::Map(entries) = &node.value else { return node.end };
    let last = entries.last().map_or(node.end, |(_, last)| end(last));
    // What an alias stands for is elsewhere.
    if (node.at.byte..node.end).contains(&last) { last } else { node.end }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "weir.dev/paused-until";

    fn pool(metadata: &str) -> String {
        format!(
            "# a pool\napiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata:{metadata}spec: # wanted\n  template: {{command: [run]}}\n"
        )
    }

    fn removed(metadata: &str) -> String {
        set_annotation(&pool(metadata), "a", KEY, None).unwrap_or_else(|why| panic!("{metadata}: {why}"))
    }

    #[test]
    fn what_was_set_is_taken_away_again() {
        for metadata in [
            " {name: a}\n",
            " {annotations: {x: y}, name: a}\n",
            "\n  name: a # its name\n",
            "\n  # words\n  annotations:\n    x: y # why\n  name: a\n",
            "\n  name: a\n  annotations: {x: y}\n",
        ] {
            for text in [pool(metadata), pool(metadata).replace('\n', "\r\n")] {
                let set = set_annotation(&text, "a", KEY, Some("2030-01-01T00:00:00Z")).unwrap();
                assert_ne!(set, text);
                assert_eq!(set_annotation(&set, "a", KEY, None).unwrap(), text);
                assert_eq!(set_annotation(&text, "a", KEY, None).unwrap(), text, "nothing to remove");
            }
        }
    }

    #[test]
    fn an_annotation_is_removed_wherever_it_stands() {
        for (metadata, left) in [
            (" {name: a, annotations: {weir.dev/paused-until: now}}\n", " {name: a}\n"),
            (
                " {name: a, annotations: {x: y, 'weir.dev/paused-until': \"now\"}, labels: {b: c}}\n",
                " {name: a, annotations: {x: y}, labels: {b: c}}\n",
            ),
            (
                "\n  name: a\n  annotations:\n    weir.dev/paused-until: now # for a while\n  # above\n  labels: {b: c}\n",
                "\n  name: a\n  # above\n  labels: {b: c}\n",
            ),
            (
                "\n  annotations:\n    # x\n    x: y\n    weir.dev/paused-until: |\n      now\n    z: z\n  name: a\n",
                "\n  annotations:\n    # x\n    x: y\n    z: z\n  name: a\n",
            ),
            (
                "\n  name: a\n  annotations:\n    x: y\n    weir.dev/paused-until: >-\n      n\n      o\n",
                "\n  name: a\n  annotations:\n    x: y\n",
            ),
        ] {
            assert_eq!(removed(metadata), pool(left), "{metadata}");
        }
    }

    #[test]
    fn what_would_change_more_is_left_alone() {
        let shared = pool("\n  labels: &all {weir.dev/paused-until: now}\n  annotations: *all\n  name: a\n");
        let text = shared.replace("weir.dev/paused-until", "paused");
        assert!(set_annotation(&text, "a", "paused", None).is_ok_and(|left| left == text.replace("  annotations: *all\n", "")));
        let two = shared.replace("&all {weir.dev/paused-until: now}", "&all {paused: now, b: c}");
        assert!(set_annotation(&two, "a", "paused", None).unwrap_err().contains("by hand"));
    }
}
