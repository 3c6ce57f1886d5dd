//! Documents in the text of a spec file: shown as they stand, put, replaced and removed, everything else left as it is.
//!
//! Comments are part of a document: those before its first key, inside it and after it. Each edit splices the text and is read
//! again; one that would change anything but the document that was meant is refused. Nothing here touches a file.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::write::{Spot, find, good, is_it, spots};
use crate::model::document::split::{Part, documents, glance};
use crate::model::document::tree;
use crate::model::document::{Document, parse};
use crate::model::meta::Kind;

/// A document as it stands in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing<'a> {
    /// Its text, comments and all, without a `---` line of its own.
    pub text: &'a str,
    /// The line on which the text begins, from 1.
    pub line: u32,
    at: Range<usize>,
}

impl Standing<'_> {
    /// A word that is another one when the text is.
    pub fn version(&self) -> String {
        Sha256::digest(self.text).iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// All documents of a text, as they stand.
pub fn each(text: &str) -> impl Iterator<Item = Standing<'_>> {
    documents(text).into_iter().map(move |part| own(text, &part))
}

/// A document's own text, good or not, as long as it can be told which one it is.
///
/// # Errors
/// If it is not there, or more than once.
pub fn standing<'a>(text: &'a str, kind: Kind, name: &str) -> Result<Standing<'a>, String> {
    let named = |part: &Part<'_>| match tree::read(part.text, part.line) {
        Ok(Some(root)) => is_it(&root, kind.name(), name),
        Ok(None) => false,
        Err(_) => glance(part.text) == (Some(kind), Some(name.to_owned())),
    };
    let mut found = documents(text).into_iter().filter(named);
    match (found.next(), found.next()) {
        (Some(part), None) => Ok(own(text, &part)),
        (Some(_), Some(_)) => Err(format!("the file names {kind} {name} more than once")),
        (None, _) => Err(format!("the file has no {kind} {name}")),
    }
}

/// Without the byte order mark and the bare `---` line: they are the file's.
fn own<'a>(text: &'a str, part: &Part<'a>) -> Standing<'a> {
    let (mut start, end, mut line) = (part.byte, part.byte + part.text.len(), part.line);
    if text[start..end].starts_with('\u{feff}') {
        start += '\u{feff}'.len_utf8();
    }
    let first = text[start..end].split_inclusive('\n').next().unwrap_or_default();
    if first.trim_end() == "---" {
        start += first.len();
        line += 1;
    }
    Standing { text: &text[start..end], line, at: start..end }
}

/// The text with a document's own text replaced by `new`, byte for byte; a line end is added where something follows.
///
/// # Errors
/// If `new` is not exactly one good document of this kind and name, or the rest of the file would read as something else.
pub fn replace_document(text: &str, kind: Kind, name: &str, new: &str) -> Result<String, String> {
    let document = only_document(new)?;
    if document.kind() != kind || document.name() != name {
        let (now, was) = (format!("{} {}", document.kind(), document.name()), format!("{kind} {name}"));
        return Err(format!(
            "the document was {was} and is {now} now: kind and name cannot be changed by an edit; \
             to rename it, apply it under its new name and delete the old one"
        ));
    }
    let standing = standing(text, kind, name)?;
    let (before, rest) = (&text[..standing.at.start], &text[standing.at.end..]);
    let end = if rest.is_empty() || new.ends_with('\n') { "" } else { line_end(text) };
    let after = format!("{before}{new}{end}{rest}");
    only_it_changed(text, &after, &document)?;
    Ok(after)
}

fn only_document(text: &str) -> Result<Document, String> {
    let mut read = parse(text.as_bytes());
    match (read.pop(), read.len()) {
        (Some(Ok(located)), 0) => Ok(located.document),
        (Some(Err(refused)), 0) => {
            Err(refused.violations.iter().map(|violation| violation.at("line")).collect::<Vec<_>>().join("; "))
        }
        (None, _) => Err("there is no document in it".into()),
        (Some(_), more) => Err(format!("there are {} documents in it: one is edited at a time", more + 1)),
    }
}

/// All others must read as before.
fn only_it_changed(before: &str, after: &str, document: &Document) -> Result<(), String> {
    let (was, is) = (parse(before.as_bytes()), good(after));
    let names_it = |parsed: &Result<_, crate::model::document::Refused>, named: &Document| match parsed {
        Ok(crate::model::document::Located { document, .. }) => {
            document.kind() == named.kind() && document.name() == named.name()
        }
        Err(refused) => refused.kind == Some(named.kind()) && refused.name.as_deref() == Some(named.name()),
    };
    let wanted = was.into_iter().map(|parsed| {
        if names_it(&parsed, document) { Some(document.clone()) } else { parsed.ok().map(|located| located.document) }
    });
    let wanted: Vec<Option<Document>> = wanted.collect();
    let appended = || wanted.iter().chain([&Some(document.clone())]).eq(is.iter());
    if is == wanted || (!wanted.contains(&Some(document.clone())) && appended()) {
        return Ok(());
    }
    Err("the rest of the file would not read as before: edit the file by hand".into())
}

fn line_end(text: &str) -> &'static str {
    if text.contains("\r\n") { "\r\n" } else { "\n" }
}

/// A document with what belongs to it.
struct Pieces<'a> {
    /// All before its first key: comments, and the file's marks.
    lead: &'a str,
    /// From its first key to its last value.
    body: &'a str,
    /// Comments and marks after it.
    tail: &'a str,
}

impl<'a> Pieces<'a> {
    fn of(text: &'a str, spot: &Spot<'a>) -> Pieces<'a> {
        let (part, key) = (spot.part.text, spot.root.at.byte);
        let row = part[..key].rfind('\n').map_or(0, |at| at + 1);
        // A flow map may stand on the `---` line.
        let start = spot.part.byte + if part[row..key].trim().is_empty() { row } else { key };
        let before = documents(text).into_iter().take_while(|before| before.byte < spot.part.byte).last();
        let from = before.map_or(0, |before| before.byte + before.text.len());
        let end = spot.part.byte + part.len();
        let after = |line: &&str| line.trim().is_empty() || line.starts_with('#') || line.trim_end() == "...";
        let tail: usize = text[start..end].split_inclusive('\n').rev().take_while(after).map(str::len).sum();
        Pieces { lead: &text[from..start], body: &text[start..end - tail], tail: &text[end - tail..end] }
    }
}

fn is_mark(line: &str) -> bool {
    line.starts_with("---") || line.starts_with("...") || line.starts_with('%')
}

/// The comments of a lead or tail, without the file's marks.
fn comments(piece: &str) -> String {
    let lines = piece.trim_start_matches('\u{feff}').split_inclusive('\n').filter(|line| !is_mark(line));
    let text: String = lines.collect();
    if text.trim().is_empty() { String::new() } else { text }
}

/// The text with a document replaced by `new` (one document with its comments), or with `new` appended if it is not there.
///
/// The comments of `new` win; where it has none before or after the document, those of the file stay. Doing it twice changes
/// nothing more.
///
/// # Errors
/// If `new` is not exactly one good document, or the text names it twice.
pub fn put_document(text: &str, new: &str) -> Result<String, String> {
    let document = only_document(new)?;
    let (kind, name) = (document.kind().name(), document.name());
    let wanted = find(new, kind, name)?;
    let wanted = Pieces::of(new, &wanted);
    let (lead, tail) = (comments(wanted.lead), comments(wanted.tail));
    let body = format!("{}{}", wanted.body.trim_end_matches(['\n', '\r']), line_end(new));
    let found = spots(text, kind, name);
    let after = match found.as_slice() {
        [] if documents(text).is_empty() => format!("{text}{lead}{body}{tail}"),
        [] => format!("{}\n---\n{lead}{body}{tail}", text.trim_end()),
        [spot] => {
            let there = Pieces::of(text, spot);
            let alone = documents(text).len() == 1;
            let end = spot.part.byte + spot.part.text.len();
            let before = &text[..end - there.tail.len() - there.body.len() - there.lead.len()];
            let lead = if lead.is_empty() { rowed(there.lead) } else { led(&rowed(there.lead), &lead, alone) };
            let keeps = tail.is_empty() || there.tail.lines().any(is_mark) || comments(there.tail) == tail;
            let tail = if keeps { there.tail } else { &tail };
            format!("{before}{lead}{body}{tail}{}", &text[end..])
        }
        [_, _, ..] => return Err(format!("the file names {kind} {name} more than once")),
    };
    only_it_changed(text, &after, &document)?;
    Ok(after)
}

/// With a line end: a `---` that the document stood behind becomes a line of its own.
fn rowed(lead: &str) -> String {
    if lead.is_empty() || lead.ends_with('\n') { lead.to_owned() } else { format!("{}\n", lead.trim_end()) }
}

/// What stands before the document once the comments `new` are there: the file's marks, and, among other documents, the
/// paragraphs that are not the document's alone.
fn led(old: &str, new: &str, alone: bool) -> String {
    if comments(old).ends_with(new) {
        return old.to_owned();
    }
    let marks = |text: &str| text.split_inclusive('\n').filter(|line| is_mark(line)).collect::<String>();
    if alone {
        return format!("{}{new}", marks(old));
    }
    let own: usize = old.split_inclusive('\n').rev().take_while(|line| line.starts_with('#')).map(str::len).sum();
    let kept = &old[..old.len() - own];
    let mut fresh = new;
    while let Some((paragraph, rest)) = fresh.split_once("\n\n").filter(|(paragraph, _)| kept.contains(paragraph)) {
        debug_assert!(rest.len() + paragraph.len() < fresh.len(), "each paragraph is looked at once");
        fresh = rest;
    }
    format!("{kept}{fresh}")
}

/// The text without a document; none if nothing is left.
///
/// # Errors
/// If the document is not there.
pub fn remove_document(text: &str, kind: &str, name: &str) -> Result<Option<String>, String> {
    let spot = find(text, kind, name)?;
    let end = spot.part.byte + spot.part.text.len();
    let left = format!("{}{}", &text[..spot.part.byte], &text[end..]);
    Ok((!documents(&left).is_empty()).then_some(left))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "# the first\napiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: a} # its name\nspec:\n  # how many\n  replicas: 2   # two\n  template: {command: [run]}\n---\n# the second\napiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata:\n  name: b\nspec:\n  template: &t\n    command: [run]\n";

    fn pool(name: &str, replicas: u32) -> String {
        format!(
            "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec:\n  # inside\n  replicas: {replicas} # count\n  template: {{command: [x]}}\n"
        )
    }

    fn put(text: &str, new: &str) -> String {
        let once = put_document(text, new).unwrap();
        assert_eq!(put_document(&once, new).unwrap(), once, "twice is once: {new:?} into {text:?}");
        once
    }

    #[test]
    fn documents_are_put_and_removed_among_others() {
        let new = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: a}\nspec: {replicas: 9, template: {command: [x]}}";
        let put = put_document(TWO, new).unwrap();
        assert_eq!(put, format!("# the first\n{new}\n{}", &TWO[TWO.find("---").unwrap()..]));
        let other = new.replace("name: a", "name: c");
        assert_eq!(put_document(TWO, &other).unwrap(), format!("{TWO}---\n{other}\n"));
        assert_eq!(put_document("", &other).unwrap(), format!("{other}\n"));
        assert!(put_document(TWO, "spec: [").is_err());
        assert!(put_document(TWO, TWO).unwrap_err().contains("2 documents"));
        let left = remove_document(TWO, "WorkerPool", "b").unwrap().unwrap();
        assert_eq!(left, TWO[..TWO.find("---").unwrap()]);
        let left = remove_document(TWO, "WorkerPool", "a").unwrap().unwrap();
        assert_eq!(left, TWO[TWO.find("---").unwrap()..]);
        assert_eq!(remove_document(&left, "WorkerPool", "b").unwrap(), None);
        assert!(remove_document(TWO, "WorkerPool", "x").is_err());
    }

    #[test]
    fn comments_of_what_is_put_come_along_once() {
        let (old, new) = (pool("a", 2), pool("a", 3));
        for (before, comes, after) in [
            (format!("# words\n{old}"), format!("# words\n{new}"), format!("# words\n{new}")),
            (format!("# words\n{old}"), format!("# other\n\n# words\n{new}# end\n"), format!("# other\n\n# words\n{new}# end\n")),
            (format!("# words\n{old}\n# end\n"), new.clone(), format!("# words\n{new}\n# end\n")),
            (format!("---\n# words\n{old}"), format!("# new\n---\n{new}"), format!("---\n# new\n{new}")),
            (format!("%YAML 1.2\n---\n{old}...\n"), format!("# new\n{new}# end\n"), format!("%YAML 1.2\n---\n# new\n{new}...\n")),
            (
                format!("# licence\n\n# of a\n{old}# of b\n---\n{}", pool("b", 1)),
                format!("# licence\n\n# about a\n{new}"),
                format!("# licence\n\n# about a\n{new}# of b\n---\n{}", pool("b", 1)),
            ),
            (format!("{}---\n# of a\n{old}", pool("b", 1)), format!("# a\n{new}"), format!("{}---\n# a\n{new}", pool("b", 1))),
            (String::new(), format!("# all\n---\n# a\n{new}\n# end\n"), format!("# all\n# a\n{new}\n# end\n")),
            (pool("b", 1), format!("# a\n{new}"), format!("{}---\n# a\n{new}", pool("b", 1))),
        ] {
            assert_eq!(put(&before, &comes), after, "{comes:?} into {before:?}");
        }
        let flow = "--- {apiVersion: weir.dev/v1, kind: WorkerPool, metadata: {name: a}, spec: {template: {command: [x]}}}\n";
        assert_eq!(put(flow, &new), format!("---\n{new}"));
        assert_eq!(put(&format!("# words\n{old}"), flow), format!("# words\n{}", &flow[4..]));
        let dos = format!("# words\n{old}").replace('\n', "\r\n");
        assert_eq!(put(&dos, &dos.replace(": 2", ": 3")), dos.replace(": 2", ": 3"));
    }

    #[test]
    fn the_own_text_of_a_document_is_all_between_its_marks() {
        let text = |file: &str, name: &str| {
            let found = standing(file, Kind::WorkerPool, name).unwrap();
            (found.line, found.text.to_owned())
        };
        let mark = TWO.find("---\n").unwrap();
        assert_eq!(text(TWO, "a"), (1, TWO[..mark].to_owned()));
        assert_eq!(text(TWO, "b"), (10, TWO[mark + 4..].to_owned()));
        assert_eq!(text(&format!("\u{feff}{TWO}"), "a"), (1, TWO[..mark].to_owned()));
        let broken = TWO.replace("template: &t", "template: [");
        assert!(text(&broken, "b").1.contains("template: ["), "what cannot be read can be mended");
        let (a, b) = (standing(TWO, Kind::WorkerPool, "a").unwrap(), standing(TWO, Kind::WorkerPool, "b").unwrap());
        assert_ne!(a.version(), b.version());
        assert!(standing(TWO, Kind::WorkerPool, "c").is_err());
        assert!(standing(&format!("{TWO}---\n{TWO}"), Kind::WorkerPool, "a").is_err());
    }

    #[test]
    fn an_edited_text_is_written_as_it_is() {
        let replace = |new: &str| replace_document(TWO, Kind::WorkerPool, "a", new);
        let mark = TWO.find("---\n").unwrap();
        let own =
            TWO[..mark].replace("replicas: 2   # two", "replicas:   3 # three").replace("# the first", "# first\n\n#second");
        assert_eq!(replace(&own).unwrap(), format!("{own}{}", &TWO[mark..]));
        assert_eq!(replace(own.trim_end()).unwrap(), format!("{own}{}", &TWO[mark..]), "a line end that is needed");
        let last = TWO[mark + 4..].trim_end();
        assert_eq!(replace_document(TWO, Kind::WorkerPool, "b", last).unwrap(), TWO.trim_end(), "none that is not");
        let broken = TWO.replace("template: &t", "template: [");
        assert_eq!(replace_document(&broken, Kind::WorkerPool, "b", &TWO[mark + 4..]).unwrap(), TWO, "mended");
    }

    #[test]
    fn an_edit_is_of_this_document_and_no_other() {
        for (new, why) in [
            (pool("c", 1), "was WorkerPool a and is WorkerPool c now"),
            (format!("{}---\n{}", pool("a", 1), pool("c", 1)), "2 documents"),
            ("# nothing\n".into(), "no document"),
            ("spec: [".into(), "line:1:"),
            (pool("a", 1).replace("replicas: 1", "replicas: many"), "replicas"),
        ] {
            let refused = replace_document(TWO, Kind::WorkerPool, "a", &new).unwrap_err();
            assert!(refused.contains(why), "{refused}");
        }
    }
}
