//! The one place that reads and writes YAML documents.
//!
//! Reading is total: any bytes become documents and refusals, each document for itself, so that a broken one never spoils its
//! neighbours. The text is split at its `---` lines, each part becomes a located [`tree`], which is walked along the
//! [`schema`] of its kind ([`check`]), then typed, then held against the [`rules`] between fields. Nothing here touches a file.

pub mod check;
pub mod refusal;
pub mod rules;
pub mod schema;
pub mod shown;
mod sources;
pub mod split;
pub mod tree;
mod used;
pub mod write;

#[cfg(test)]
mod tests;

use serde::Serialize;
use serde_json::Value;

pub use refusal::Violation;
pub use write::to_yaml;

use self::check::{VIOLATIONS_MAX, Walk};
use self::tree::{Node, Step, path_text};
use super::meta::{API_VERSION, Kind, ObjectMeta, quoted};
use super::policy::ResourcePolicy;
use super::pool::WorkerPool;

/// Largest file of documents, in bytes.
pub const SPEC_BYTES_MAX: usize = 256 * 1024;
/// Largest text of documents that are applied at once, in bytes; each of them is as large as a file at most.
pub const APPLIED_BYTES_MAX: usize = 1 << 20;

/// A document that was read, of either kind.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Document {
    /// A pool.
    WorkerPool(Box<WorkerPool>),
    /// A policy.
    ResourcePolicy(Box<ResourcePolicy>),
}

impl Document {
    /// Its kind.
    pub fn kind(&self) -> Kind {
        match self {
            Document::WorkerPool(_) => Kind::WorkerPool,
            Document::ResourcePolicy(_) => Kind::ResourcePolicy,
        }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.metadata().name
    }

    /// With everything filled in that its author left out.
    #[must_use]
    pub fn defaulted(self) -> Document {
        match self {
            Document::WorkerPool(pool) => Document::WorkerPool(Box::new(pool.defaulted())),
            policy @ Document::ResourcePolicy(_) => policy,
        }
    }

    /// Its spec.
    pub fn spec(&self) -> Value {
        match self {
            Document::WorkerPool(pool) => serde_json::to_value(&pool.spec),
            Document::ResourcePolicy(policy) => serde_json::to_value(&policy.spec),
        }
        .unwrap_or_default()
    }

    /// Its name, labels and annotations.
    pub fn metadata(&self) -> &ObjectMeta {
        match self {
            Document::WorkerPool(pool) => &pool.metadata,
            Document::ResourcePolicy(policy) => &policy.metadata,
        }
    }
}

/// A good document and where it begins.
#[derive(Clone, Debug, PartialEq)]
pub struct Located {
    /// The document.
    pub document: Document,
    /// The line of its first key, from 1.
    pub line: u32,
}

/// A document that was refused, with all that could still be told about it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Refused {
    /// Its kind, if that could be read.
    pub kind: Option<Kind>,
    /// Its name, if that could be read and is a good one.
    pub name: Option<String>,
    /// The line on which it begins, from 1.
    pub line: u32,
    /// What is wrong: at least one.
    pub violations: Vec<Violation>,
}

/// A document of a file: good, or refused.
pub type Parsed = Result<Located, Refused>;

/// Read all documents of a file. Empty documents (nothing, or only comments) are none.
pub fn parse(bytes: &[u8]) -> Vec<Parsed> {
    parse_within(bytes, SPEC_BYTES_MAX)
}

/// The same, of so many bytes at most.
pub fn parse_within(bytes: &[u8], most: usize) -> Vec<Parsed> {
    match split::text_within(bytes, most) {
        Ok(text) => split::documents(text).into_iter().filter_map(|part| document(part.text, part.line)).collect(),
        Err(violation) => vec![Err(Refused { line: violation.line, violations: vec![violation], ..Refused::default() })],
    }
}

/// One document of a text that is to be applied.
#[derive(Clone, Debug, PartialEq)]
pub struct Piece<'a> {
    /// What it says.
    pub document: Document,
    /// It, with the comments between the document before it and its own mark.
    pub text: &'a str,
}

/// The documents of a text that is to be applied: all, or none. Whoever judges them and whoever writes them both go by this, so
/// that nothing is written that was not judged.
///
/// # Errors
/// What is wrong with the first that is none, or with the text as a whole.
pub fn pieces(text: &str) -> Result<Vec<Piece<'_>>, Vec<Violation>> {
    let text = split::text_within(text.as_bytes(), APPLIED_BYTES_MAX).map_err(|violation| vec![violation])?;
    let (mut pieces, mut from) = (Vec::new(), 0);
    for part in split::documents(text) {
        let end = part.byte + part.text.len();
        let whole = &text[from..end];
        from = end;
        let Some(parsed) = document(part.text, part.line) else { continue };
        let document = parsed.map_err(|refused| refused.violations)?.document;
        // Written is the text, and not what was read of it.
        match parse(whole.as_bytes()).as_slice() {
            [Ok(located)] if located.document == document => pieces.push(Piece { document, text: whole }),
            [Err(refused)] if refused.kind.is_none() => return Err(refused.violations.clone()),
            _ => {
                let message = "this document reads as something else with what stands before it: apply it alone".into();
                return Err(vec![Violation { line: part.line, column: 1, message, ..Violation::default() }]);
            }
        }
    }
    Ok(pieces)
}

/// What is found wrong with a good document only beside others: a violation at a path of it, like `spec.scale.triggers.0`.
pub fn violation(bytes: &[u8], located: &Located, path: &str, message: String) -> Violation {
    let path = tree::at(path);
    let begins = |node: &Node| node.at.line == located.line;
    let text = split::text_of(bytes).unwrap_or_default();
    let node = split::documents(text).into_iter().filter_map(|part| tree::read(part.text, part.line).ok()?).find(begins);
    match node {
        Some(node) => refusal_at(&node, &path, message),
        None => Violation { line: located.line, column: 1, path: path_text(&path), message, ..Violation::default() },
    }
}

/// Read one document whose text begins at a line.
fn document(text: &str, first_line: u32) -> Option<Parsed> {
    let node = match tree::read(text, first_line) {
        Ok(node) => node?,
        Err(flaw) => {
            let (kind, name) = split::glance(text);
            let path = path_text(&flaw.path);
            let violation =
                Violation { line: flaw.at.line, column: flaw.at.column, path, message: flaw.message, ..Violation::default() };
            return Some(Err(Refused { kind, name, line: first_line, violations: vec![violation] }));
        }
    };
    let line = node.at.line;
    Some(match typed(&node) {
        Ok(document) => Ok(Located { document, line }),
        Err(mut violations) => {
            trim(&mut violations);
            let kind =
                node.get("kind").and_then(Node::text).and_then(|text| Kind::ALL.into_iter().find(|kind| kind.name() == text));
            let name = node.get("metadata").and_then(|meta| meta.get("name")).and_then(Node::text);
            let name = name.filter(|name| super::meta::check_name(name).is_ok()).map(str::to_owned);
            Err(Refused { kind, name, line, violations })
        }
    })
}

fn trim(violations: &mut Vec<Violation>) {
    violations.sort_by_key(|violation| (violation.line, violation.column));
    let more = violations.len().saturating_sub(VIOLATIONS_MAX);
    if more > 0 {
        violations.truncate(VIOLATIONS_MAX);
        if let Some(last) = violations.last_mut() {
            last.message.push_str(&format!(" (and {more} more problems in this document)"));
        }
    }
}

/// The typed document of a tree.
fn typed(node: &Node) -> Result<Document, Vec<Violation>> {
    let kind = kind_of(node)?;
    let mut walk = Walk::new(schema::schema(kind));
    let value = walk.value(node, schema::schema(kind));
    let value = match value {
        Some(value) if walk.found.is_empty() => value,
        Some(_) | None => return Err(walk.found),
    };
    let document = deserialize(kind, value).map_err(|(path, message)| vec![refusal_at(node, &path, message)])?;
    let broken = match &document {
        Document::WorkerPool(pool) => rules::pool(pool),
        Document::ResourcePolicy(policy) => rules::policy(&policy.spec),
    };
    let violations: Vec<Violation> = broken.into_iter().map(|(path, message)| refusal_at(node, &path, message)).collect();
    if violations.is_empty() { Ok(document) } else { Err(violations) }
}

fn refusal_at(node: &Node, path: &[Step], message: String) -> Violation {
    let at = node.place(path);
    Violation { line: at.line, column: at.column, path: path_text(path), message, ..Violation::default() }
}

/// Version and kind first: they say what everything else must be.
fn kind_of(node: &Node) -> Result<Kind, Vec<Violation>> {
    if !matches!(node.value, tree::Value::Map(_)) {
        let message = format!("a document is a map that begins with \"apiVersion: {API_VERSION}\" and a kind");
        return Err(vec![refusal_at(node, &[], message)]);
    }
    let mut violations = Vec::new();
    let version = node.get("apiVersion").and_then(Node::text);
    if version != Some(API_VERSION) {
        let message = match version {
            Some(found) => format!("found {}, expected {API_VERSION}", quoted(found)),
            None => format!("missing field \"apiVersion\", expected {API_VERSION}"),
        };
        violations.push(refusal_at(node, &[Step::Key("apiVersion".into())], message));
    }
    let names: Vec<String> = Kind::ALL.iter().map(|kind| kind.name().to_owned()).collect();
    let found = node.get("kind").and_then(Node::text);
    let kind = Kind::ALL.into_iter().find(|kind| Some(kind.name()) == found);
    if kind.is_none() {
        let message = found.map_or_else(|| "missing field \"kind\"".into(), |text| format!("unknown kind {}", quoted(text)));
        let suggestion = found.and_then(|text| refusal::nearest(text, names.iter().map(String::as_str)));
        violations.push(Violation { suggestion, allowed: names, ..refusal_at(node, &[Step::Key("kind".into())], message) });
    }
    match kind {
        Some(kind) if violations.is_empty() => Ok(kind),
        Some(_) | None => Err(violations),
    }
}

/// The schema has already said yes; what serde still refuses is said with its path.
fn deserialize(kind: Kind, value: Value) -> Result<Document, (Vec<Step>, String)> {
    let told = |error: serde_path_to_error::Error<serde_json::Error>| {
        let steps = error.path().iter().filter_map(|segment| match segment {
            serde_path_to_error::Segment::Seq { index } => Some(Step::Item(*index)),
            serde_path_to_error::Segment::Map { key } => Some(Step::Key(key.clone())),
            serde_path_to_error::Segment::Enum { .. } | serde_path_to_error::Segment::Unknown => None,
        });
        (steps.collect(), error.inner().to_string())
    };
    match kind {
        Kind::WorkerPool => serde_path_to_error::deserialize(value)
            .map(WorkerPool::defaulted)
            .map(|pool| Document::WorkerPool(Box::new(pool)))
            .map_err(told),
        Kind::ResourcePolicy => {
            serde_path_to_error::deserialize(value).map(|policy| Document::ResourcePolicy(Box::new(policy))).map_err(told)
        }
    }
}
