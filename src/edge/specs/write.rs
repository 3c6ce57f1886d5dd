//! Edits of spec files by `ctl`: a count set, a document put or removed, everything else left as it is.
//!
//! Each edit splices the text at the place that the located tree gives, so comments, order, quoting and line ends of all
//! the rest stay byte for byte; then the result is read again, and an edit that changed anything else is refused. Files
//! are replaced by a rename, which the watch believes at once.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use crate::model::document::split::{Part, documents};
use crate::model::document::tree::{self, Node, Value};
use crate::model::document::{Document, parse};

/// A document in the text of a file.
struct Spot<'a> {
    part: Part<'a>,
    root: Node,
}

/// The text with `spec.replicas` of a pool set to `n`.
///
/// # Errors
/// If the pool is not in the text, cannot be read, or the edit would change anything else.
pub fn set_replicas(text: &str, name: &str, n: u32) -> Result<String, String> {
    let spot = find(text, "WorkerPool", name)?;
    let (range, new) = splice(&spot, n)?;
    let start = spot.part.byte + range.start..spot.part.byte + range.end;
    let edited = format!("{}{new}{}", &text[..start.start], &text[start.end..]);
    only_replicas_changed(text, &edited, name, n)?;
    Ok(edited)
}

/// Where in the document's text the number stands or should stand, and what is to be written there.
fn splice(spot: &Spot<'_>, n: u32) -> Result<(Range<usize>, String), String> {
    let spec = spot.root.get("spec").ok_or("the document has no spec")?;
    if let Some(count) = spec.get("replicas") {
        let Value::Scalar { .. } = count.value else { return Err("spec.replicas is not a number".into()) };
        return Ok((count.at.byte..count.end, n.to_string()));
    }
    let Value::Map(entries) = &spec.value else { return Err("spec is not a map".into()) };
    let Some((first, _)) = entries.first() else { return Err("spec is empty".into()) };
    let text = spot.part.text;
    let row = text[..first.at.byte].rfind('\n').map_or(0, |at| at + 1);
    let before = &text[row..first.at.byte];
    if before.chars().all(|c| c == ' ') {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        return Ok((first.at.byte..first.at.byte, format!("replicas: {n}{end}{before}")));
    }
    Ok((first.at.byte..first.at.byte, format!("replicas: {n}, ")))
}

fn only_replicas_changed(before: &str, after: &str, name: &str, n: u32) -> Result<(), String> {
    let wanted: Vec<Option<Document>> =
        good(before).into_iter().map(|document| document.map(|document| with_replicas(document, name, n))).collect();
    if good(after) == wanted {
        Ok(())
    } else {
        Err("the edit would change more than spec.replicas: edit the file by hand".into())
    }
}

fn good(text: &str) -> Vec<Option<Document>> {
    parse(text.as_bytes()).into_iter().map(|parsed| parsed.ok().map(|located| located.document)).collect()
}

fn with_replicas(document: Document, name: &str, n: u32) -> Document {
    match document {
        Document::WorkerPool(mut pool) if pool.metadata.name == name => {
            pool.spec.replicas = Some(n);
            Document::WorkerPool(pool)
        }
        Document::WorkerPool(_) | Document::ResourcePolicy(_) => document,
    }
}

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
        (Some(_), None) => Err("removing an annotation is not supported yet: edit the file by hand".into()),
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

/// The text with a document replaced by `new` (YAML without a `---` line), or with `new` appended if it is not there.
///
/// # Errors
/// If `new` is not exactly one good document of this kind and name, or the text names it twice.
pub fn put_document(text: &str, kind: &str, name: &str, new: &str) -> Result<String, String> {
    let read = good(new);
    let [Some(document)] = read.as_slice() else { return Err("the new document is not one good document".into()) };
    if document.kind().name() != kind || document.name() != name {
        return Err(format!("the new document is not {kind} {name}"));
    }
    let new = format!("{}\n", new.trim_end());
    let spots = spots(text, kind, name);
    match spots.as_slice() {
        [] if documents(text).is_empty() => Ok(format!("{text}{new}")),
        [] => Ok(format!("{}\n---\n{new}", text.trim_end())),
        [spot] => {
            let (start, end) = body(spot);
            let rest = &text[end..];
            let tail = if rest.is_empty() || rest.starts_with("---") || rest.starts_with("...") { "" } else { "\n" };
            Ok(format!("{}{new}{tail}{rest}", &text[..start]))
        }
        [_, _, ..] => Err(format!("the file names {kind} {name} more than once")),
    }
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

/// From the first key to the end of the document: what stands above it (marks, comments) is not part of it.
fn body(spot: &Spot<'_>) -> (usize, usize) {
    let start = spot.part.text[..spot.root.at.byte].rfind('\n').map_or(0, |at| at + 1);
    (spot.part.byte + start, spot.part.byte + spot.part.text.len())
}

fn spots<'a>(text: &'a str, kind: &str, name: &str) -> Vec<Spot<'a>> {
    let read = |part: Part<'a>| tree::read(part.text, part.line).ok().flatten().map(|root| Spot { part, root });
    let is_it = |spot: &Spot<'_>| {
        let found = spot.root.get("metadata").and_then(|meta| meta.get("name")).and_then(Node::text);
        found == Some(name) && spot.root.get("kind").and_then(Node::text) == Some(kind)
    };
    documents(text).into_iter().filter_map(read).filter(is_it).collect()
}

fn find<'a>(text: &'a str, kind: &str, name: &str) -> Result<Spot<'a>, String> {
    let mut spots = spots(text, kind, name);
    match (spots.pop(), spots.is_empty()) {
        (Some(spot), true) => Ok(spot),
        (Some(_), false) => Err(format!("the file names {kind} {name} more than once")),
        (None, _) => Err(format!("the file has no {kind} {name} that can be read")),
    }
}

/// Replace a file by a rename, so that every reader sees the old text or the new one. Mode is kept; a link is followed.
///
/// # Errors
/// From the file system; the old file is untouched then.
pub fn replace(path: &Path, text: &str) -> std::io::Result<()> {
    let path = match path.canonicalize() {
        Ok(real) => real,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => path.to_owned(),
        Err(error) => return Err(error),
    };
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".weir-").suffix(".tmp").tempfile_in(dir)?;
    file.write_all(text.as_bytes())?;
    let mode =
        std::fs::metadata(&path).map_or_else(|_| std::os::unix::fs::PermissionsExt::from_mode(0o644), |old| old.permissions());
    file.as_file().set_permissions(mode)?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    std::fs::File::open(dir)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TWO: &str = "# the first\napiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: a} # its name\nspec:\n  # how many\n  replicas: 2   # two\n  template: {command: [run]}\n---\n# the second\napiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata:\n  name: b\nspec:\n  template: &t\n    command: [run]\n";

    #[test]
    fn a_count_is_set_and_nothing_else() {
        assert_eq!(set_replicas(TWO, "a", 10).unwrap(), TWO.replace("replicas: 2 ", "replicas: 10 "));
        assert_eq!(
            set_replicas(TWO, "b", 3).unwrap(),
            TWO.replace("spec:\n  template: &t", "spec:\n  replicas: 3\n  template: &t")
        );
        let dos = TWO.replace('\n', "\r\n");
        assert_eq!(
            set_replicas(&dos, "b", 3).unwrap(),
            dos.replace("spec:\r\n  template: &t", "spec:\r\n  replicas: 3\r\n  template: &t")
        );
        assert_eq!(set_replicas(&dos, "a", 3).unwrap(), dos.replace("replicas: 2 ", "replicas: 3 "));
        let flow = "{apiVersion: weir.dev/v1, kind: WorkerPool, metadata: {name: f}, spec: {template: {command: [é]}}}";
        assert_eq!(set_replicas(flow, "f", 4).unwrap(), flow.replace("{template", "{replicas: 4, template"));
        let marked = format!("\u{feff}%YAML 1.2\n---\n{TWO}");
        assert_eq!(set_replicas(&marked, "a", 7).unwrap(), marked.replace("replicas: 2 ", "replicas: 7 "));
    }

    #[test]
    fn an_edit_that_would_change_more_is_refused() {
        let shared = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: a}\nspec:\n  replicas: &n 2\n  updateStrategy: {maxUnavailable: *n}\n  template: {command: [run]}\n";
        assert!(set_replicas(shared, "a", 5).unwrap_err().contains("by hand"));
        let used = shared
            .replace("replicas: &n 2", "replicas: *m")
            .replace("maxUnavailable: *n", "maxUnavailable: 2")
            .replace("name: a}", "name: a, labels: {x: &m '2'}}");
        assert!(set_replicas(&used, "a", 5).is_err());
        assert!(set_replicas(TWO, "c", 5).is_err());
        assert!(set_replicas("spec: [", "a", 5).is_err());
        assert!(set_replicas(&format!("{TWO}---\n{TWO}"), "a", 5).unwrap_err().contains("more than once"));
        assert!(set_replicas(TWO, "a", 10_001).is_err());
    }

    #[test]
    fn documents_are_put_and_removed_among_others() {
        let new = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: a}\nspec: {replicas: 9, template: {command: [x]}}";
        let put = put_document(TWO, "WorkerPool", "a", new).unwrap();
        assert_eq!(put, format!("# the first\n{new}\n{}", &TWO[TWO.find("---").unwrap()..]));
        let other = new.replace("name: a", "name: c");
        assert_eq!(put_document(TWO, "WorkerPool", "c", &other).unwrap(), format!("{TWO}---\n{other}\n"));
        assert_eq!(put_document("", "WorkerPool", "c", &other).unwrap(), format!("{other}\n"));
        assert!(put_document(TWO, "WorkerPool", "a", &other).is_err());
        assert!(put_document(TWO, "WorkerPool", "a", "spec: [").is_err());
        let left = remove_document(TWO, "WorkerPool", "b").unwrap().unwrap();
        assert_eq!(left, TWO[..TWO.find("---").unwrap()]);
        let left = remove_document(TWO, "WorkerPool", "a").unwrap().unwrap();
        assert_eq!(left, TWO[TWO.find("---").unwrap()..]);
        assert_eq!(remove_document(&left, "WorkerPool", "b").unwrap(), None);
        assert!(remove_document(TWO, "WorkerPool", "x").is_err());
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("a.yaml"), dir.path().join("l.yaml"));
        replace(&path, "one").unwrap();
        std::os::unix::fs::symlink("a.yaml", &link).unwrap();
        replace(&link, "two").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two");
        assert!(link.symlink_metadata().unwrap().is_symlink());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 2);
    }
}
