//! From bytes to the texts of single documents.
//!
//! The file as a whole can be refused here (too large, not UTF-8, NUL); after that each document stands for itself. Lines that
//! begin with `---` or `...` cannot stand inside a YAML document, so splitting at them is exact.

use super::{SPEC_BYTES_MAX, Violation};
use crate::model::meta::{Kind, check_name};

/// The text of one document and the line on which it begins.
#[derive(Debug, PartialEq, Eq)]
pub struct Part<'a> {
    /// Its text, with the `---` line that begins it.
    pub text: &'a str,
    /// The line, from 1.
    pub line: u32,
    /// The byte offset of the text in the file (after a byte order mark).
    pub byte: usize,
}

/// The bytes as text, without a byte order mark.
pub fn text_of(bytes: &[u8]) -> Result<&str, Violation> {
    text_within(bytes, SPEC_BYTES_MAX)
}

/// The same, of so many bytes at most.
pub fn text_within(bytes: &[u8], most: usize) -> Result<&str, Violation> {
    let refuse = |line: u32, column: u32, message: String| Err(Violation { line, column, message, ..Violation::default() });
    if bytes.len() > most {
        return refuse(1, 1, format!("the file has {} bytes, at most {most} are read", bytes.len()));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    if let Some(nul) = bytes.iter().position(|b| *b == 0) {
        let (line, column) = place(&bytes[..nul]);
        return refuse(line, column, "the file contains a NUL byte: it is not text".into());
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) => {
            let (line, column) = place(&bytes[..error.valid_up_to()]);
            refuse(line, column, "the file is not UTF-8 from here on".into())
        }
    }
}

fn place(before: &[u8]) -> (u32, u32) {
    let line = before.iter().filter(|b| **b == b'\n').count();
    let start = before.iter().rposition(|b| *b == b'\n').map_or(0, |n| n + 1);
    let column = String::from_utf8_lossy(&before[start..]).chars().count();
    (u32::try_from(line + 1).unwrap_or(u32::MAX), u32::try_from(column + 1).unwrap_or(u32::MAX))
}

fn is_mark(line: &str, mark: &str) -> bool {
    line.strip_prefix(mark).is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

/// The documents of a text. Directives (`%YAML 1.2`) are left out: they say nothing that matters here.
pub fn documents(text: &str) -> Vec<Part<'_>> {
    let mut cuts: Vec<(usize, u32)> = vec![(0, 1)];
    let (mut byte, mut line) = (0, 1);
    for row in text.split_inclusive('\n') {
        if is_mark(row, "---") && byte > 0 {
            cuts.push((byte, line));
        }
        byte += row.len();
        line += 1;
        if is_mark(row, "...") {
            cuts.push((byte, line));
        }
    }
    let ends = cuts.iter().skip(1).map(|(byte, _)| *byte).chain([text.len()]);
    let parts = cuts.iter().zip(ends).map(|((byte, line), end)| Part { text: &text[*byte..end], line: *line, byte: *byte });
    parts.filter(|part| !is_blank(part.text)).collect()
}

/// Nothing but comments, directives and marks.
fn is_blank(text: &str) -> bool {
    text.lines().all(|line| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line.starts_with('%') || line == "---" || line == "..."
    })
}

/// Kind and name of a document that cannot be read: so that a refusal reaches the object that it is about.
pub fn glance(text: &str) -> (Option<Kind>, Option<String>) {
    let value = |line: &str, key: &str| line.strip_prefix(key).map(|rest| rest.trim().trim_matches(['"', '\'']).to_owned());
    let kind = text.lines().find_map(|line| value(line, "kind:"));
    let kind = kind.and_then(|text| Kind::ALL.into_iter().find(|kind| kind.name() == text));
    let mut inside = false;
    let mut name = None;
    for line in text.lines() {
        if line.starts_with(|c: char| !c.is_whitespace() && c != '#') {
            inside = line.starts_with("metadata:");
        }
        if inside && name.is_none() {
            name = value(line.trim_start(), "name:").filter(|name| check_name(name).is_ok());
        }
    }
    (kind, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_cut_at_their_marks() {
        let lines = |text: &str| documents(text).iter().map(|part| part.line).collect::<Vec<_>>();
        assert_eq!(lines("a: 1\n---\nb: 2\n"), [1, 2]);
        assert_eq!(lines("---\na: 1\n---\n# only words\n--- \r\nb: 2\n...\nc: 3"), [1, 5, 8]);
        assert_eq!(lines("%YAML 1.2\n---\na: 1\n"), [2]);
        assert_eq!(lines("a: |\n  ---\n  x\n----\n"), [1]);
        assert_eq!(lines(""), [0; 0]);
    }

    #[test]
    fn a_glance_finds_kind_and_name() {
        let text = "kind: WorkerPool\nmetadata:\n  labels: {}\n  name: \"web\"\nspec: [\n  name: other\n";
        assert_eq!(glance(text), (Some(Kind::WorkerPool), Some("web".into())));
        assert_eq!(glance("metadata:\nspec:\n  name: web\n"), (None, None));
    }
}
