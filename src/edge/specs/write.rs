//! Edits of spec files by `ctl`: a count set, everything else left as it is; and how a file is replaced.
//!
//! Each edit splices the text at the place that the located tree gives, so comments, order, quoting and line ends of all
//! the rest stay byte for byte; then the result is read again, and an edit that changed anything else is refused. Files
//! are replaced by a rename, which the watch believes at once.

use std::io::Write;
use std::ops::Range;
use std::path::Path;

use crate::model::document::split::{Part, documents};
use crate::model::document::tree::{self, Node, Value};
use crate::model::document::{Document, Refused, parse};
use crate::model::meta::Kind;

/// A document in the text of a file.
pub(super) struct Spot<'a> {
    /// Its text and where that begins.
    pub(super) part: Part<'a>,
    /// Its tree; places are counted from the part's beginning.
    pub(super) root: Node,
}

/// The text with `spec.replicas` of a pool set to `n`.
///
/// # Errors
/// If the pool is not in the text, cannot be read, or the edit would change anything else.
pub fn set_replicas(text: &str, name: &str, n: u32) -> Result<String, String> {
    let spot = find(text, "WorkerPool", name)?;
    is_good(text, name)?;
    let (range, new) = splice(&spot, n)?;
    let start = spot.part.byte + range.start..spot.part.byte + range.end;
    let edited = format!("{}{new}{}", &text[..start.start], &text[start.end..]);
    only_replicas_changed(text, &edited, name, n)?;
    Ok(edited)
}

/// Where in the document's text the number stands or should stand, and what is to be written there.
fn splice(spot: &Spot<'_>, n: u32) -> Result<(Range<usize>, String), String> {
    let spec = spot.root.get("spec").ok_or("the document has no spec")?;
    if let Some(scale) = spec.get("scale") {
        return Err(scaled(scale));
    }
    if let Some(count) = spec.get("replicas") {
        let Value::Scalar { .. } = count.value else { return Err("spec.replicas is not a number".into()) };
        return Ok((count.at.byte..count.end, n.to_string()));
    }
    let Value::Map(entries) = &spec.value else { return Err("spec is not a map".into()) };
    let Some((first, _)) = entries.first() else { return Err("spec is empty".into()) };
    let text = spot.part.text;
    // JSON stays JSON.
    let key = if text[first.at.byte..].starts_with('"') { "\"replicas\"" } else { "replicas" };
    let comma = if text[spec.at.byte..].starts_with('{') { "," } else { "" };
    let row = text[..first.at.byte].rfind('\n').map_or(0, |at| at + 1);
    let before = &text[row..first.at.byte];
    if before.chars().all(|c| c == ' ') {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        return Ok((first.at.byte..first.at.byte, format!("{key}: {n}{comma}{end}{before}")));
    }
    Ok((first.at.byte..first.at.byte, format!("{key}: {n}, ")))
}

/// Why a number cannot be set where triggers decide, and what can be done instead.
fn scaled(scale: &Node) -> String {
    let bound = |name| scale.get(name).and_then(Node::text).map_or_else(String::new, |text| format!(" ({text} now)"));
    format!(
        "its triggers decide how many workers there are (spec.scale): edit spec.scale.minReplicas{} and maxReplicas{}, with \
         \"ctl edit\", or hold its present size with \"ctl pause\"",
        bound("minReplicas"),
        bound("maxReplicas")
    )
}

/// Of a pool whose document is refused no number counts, whatever stands there.
fn is_good(text: &str, name: &str) -> Result<(), String> {
    let its = |refused: &Refused| refused.kind == Some(Kind::WorkerPool) && refused.name.as_deref() == Some(name);
    let Some(refused) = parse(text.as_bytes()).into_iter().filter_map(Result::err).find(its) else { return Ok(()) };
    let broken: Vec<String> = refused.violations.iter().map(|violation| violation.at("line")).collect();
    Err(format!("the document is refused as it stands: mend it first: {}", broken.join("; ")))
}

fn only_replicas_changed(before: &str, after: &str, name: &str, n: u32) -> Result<(), String> {
    let wanted: Vec<Option<Document>> =
        good(before).into_iter().map(|document| document.map(|document| with_replicas(document, name, n))).collect();
    // What the new number breaks is told; what was broken before is none of its business.
    let new = parse(after.as_bytes()).into_iter().zip(&wanted).filter(|(_, wanted)| wanted.is_some());
    let broken: Vec<String> =
        new.filter_map(|(parsed, _)| parsed.err()).flat_map(|refused| refused.violations).map(|v| v.to_string()).collect();
    if good(after) == wanted {
        Ok(())
    } else if !broken.is_empty() {
        Err(format!("with spec.replicas: {n} the document would be refused: {}", broken.join("; ")))
    } else {
        Err("the edit would change more than spec.replicas: edit the file by hand".into())
    }
}

pub(super) fn good(text: &str) -> Vec<Option<Document>> {
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

pub(super) fn is_it(root: &Node, kind: &str, name: &str) -> bool {
    let found = root.get("metadata").and_then(|meta| meta.get("name")).and_then(Node::text);
    found == Some(name) && root.get("kind").and_then(Node::text) == Some(kind)
}

pub(super) fn spots<'a>(text: &'a str, kind: &str, name: &str) -> Vec<Spot<'a>> {
    let read = |part: Part<'a>| tree::read(part.text, part.line).ok().flatten().map(|root| Spot { part, root });
    documents(text).into_iter().filter_map(read).filter(|spot| is_it(&spot.root, kind, name)).collect()
}

pub(super) fn find<'a>(text: &'a str, kind: &str, name: &str) -> Result<Spot<'a>, String> {
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
    // Closed first: what is closed after its rename looks like one that was written in place.
    file.into_temp_path().persist(&path).map_err(|error| error.error)?;
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
        let json = r#"{"apiVersion": "weir.dev/v1", "kind": "WorkerPool", "metadata": {"name": "j"}, "spec": {"template": {"command": ["x"]}}}"#;
        assert_eq!(set_replicas(json, "j", 4).unwrap(), json.replace("{\"template", "{\"replicas\": 4, \"template"));
        let lines = json.replace("{\"template", "{\n  \"template");
        let four = "{\n  \"replicas\": 4,\n  \"template";
        assert_eq!(set_replicas(&lines, "j", 4).unwrap(), lines.replace("{\n  \"template", four));
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
        assert!(set_replicas(TWO, "a", 10_001).unwrap_err().contains("would be refused: spec.replicas: found 10001"));
    }

    #[test]
    fn of_a_document_that_is_refused_no_number_is_set() {
        for (good, broken, why) in [
            ("replicas: 2 ", "replcas: 2 ", "spec.replcas"),
            ("template: {", "tmplate: {", "spec.tmplate"),
            ("replicas: 2 ", "replicas: two ", "spec.replicas"),
        ] {
            let refused = set_replicas(&TWO.replacen(good, broken, 1), "a", 3).unwrap_err();
            assert!(refused.contains("mend it first") && refused.contains(why), "{refused}");
        }
        // What is wrong with another is none of its business.
        let other = TWO.replace("template: &t", "tmplate: &t");
        assert_eq!(set_replicas(&other, "a", 3).unwrap(), other.replace("replicas: 2 ", "replicas: 3 "));
    }

    #[test]
    fn a_number_that_triggers_decide_is_not_set() {
        let text = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: s}\nspec:\n  scale: {minReplicas: 1, maxReplicas: 8, triggers: [{name: q, files: {glob: /q/*}, targetPerWorker: 1}]}\n  template: {command: [run]}\n";
        let refused = set_replicas(text, "s", 3).unwrap_err();
        for part in ["minReplicas (1 now)", "maxReplicas (8 now)", "ctl edit", "ctl pause"] {
            assert!(refused.contains(part), "{refused}");
        }
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
