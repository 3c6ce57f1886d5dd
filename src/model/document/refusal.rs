//! What is wrong with a document, and how that is shown.
//!
//! One violation is one thing to repair: where it stands, what was found, what is allowed, and the nearest valid name when
//! something looks misspelt. All text from the document is already tamed: nothing here can drive a terminal.

use std::fmt;
use std::fmt::Write as _;

use crate::model::text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that is wrong with a document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Violation {
    /// The line in the file, from 1.
    pub line: u32,
    /// The column in characters, from 1.
    pub column: u32,
    /// The path of the field, like `spec.template.env[2].name`; empty for the document as a whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub path: String,
    /// What was found and what was expected.
    pub message: String,
    /// The nearest valid name, when something looks misspelt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suggestion: Option<String>,
    /// The names that are allowed here.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allowed: Vec<String>,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if let Some(name) = &self.suggestion {
            write!(f, ", did you mean \"{name}\"?")?;
        }
        if !self.allowed.is_empty() {
            write!(f, " (allowed: {})", self.allowed.join(", "))?;
        }
        Ok(())
    }
}

impl Violation {
    /// In one line with its place: `web.yaml:5:3: spec.replica: …`; without a line where the whole file is meant.
    pub fn at(&self, file: &str) -> String {
        if self.line == 0 { format!("{file}: {self}") } else { format!("{file}:{}:{}: {self}", self.line, self.column) }
    }
}

/// The nearest of some names: within a third of its length, and never for one or two letters.
pub fn nearest<'a>(found: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    let lower = found.to_lowercase();
    let distance = |name: &str| strsim::damerau_levenshtein(&lower, &name.to_lowercase());
    let (least, name) = names.map(|name| (distance(name), name)).min()?;
    (found.len() <= 63 && least <= name.len().max(found.len()) / 3).then(|| name.to_owned())
}

/// One line: `specs/web.yaml:7:3: spec.replica: unknown field "replica", did you mean "replicas"? (allowed: …)`.
pub fn one_line(file: &str, violation: &Violation) -> String {
    format!("{file}:{}:{}: {violation}", violation.line, violation.column)
}

/// Several lines: the message, the place, and the line of the text with a mark under the column.
pub fn with_source(file: &str, text: &str, violation: &Violation) -> String {
    let (line, column) = (violation.line, violation.column);
    let mut out = format!("error: {violation}\n");
    if line == 0 {
        // It stands in no line of it.
        writeln!(out, " --> {file}").expect("writing to a string cannot fail");
        return out;
    }
    let width = line.to_string().len();
    let pad = " ".repeat(width);
    let mut row = |text: String| writeln!(out, "{text}").expect("writing to a string cannot fail");
    row(format!("{pad}--> {file}:{line}:{column}"));
    let index = line.saturating_sub(1) as usize;
    if let Some(source) = text.lines().nth(index) {
        let source: String = text::one_line(source).chars().take(200).collect();
        let mark = " ".repeat((column.saturating_sub(1) as usize).min(200));
        row(format!("{pad} |"));
        row(format!("{line} | {source}"));
        row(format!("{pad} | {mark}^"));
    }
    out
}

/// A workflow command that a forge shows beside the line.
pub fn for_forge(file: &str, violation: &Violation) -> String {
    let data = |text: &str| text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A");
    let property = |text: &str| data(text).replace(':', "%3A").replace(',', "%2C");
    let (line, column) = (violation.line, violation.column);
    format!("::error file={},line={line},col={column}::{}", property(file), data(&violation.to_string()))
}

/// As JSON, with the file's name.
pub fn as_json(file: &str, violation: &Violation) -> serde_json::Value {
    let mut value = serde_json::to_value(violation).expect("a violation is plain data");
    if let Some(object) = value.as_object_mut() {
        object.insert("file".into(), file.into());
    }
    value
}
