//! The one way out: tables in kubectl's style and the other output formats, with nothing in them that could drive a terminal.
//!
//! Whatever comes from outside (names, messages, command lines) may hold control characters, escape sequences or characters
//! that reorder text; they are shown escaped. In the formats for programs only a terminal gets them so: what goes into a file or a
//! pipe is read by somebody who needs it as it is.

use std::io::{IsTerminal, Write};

use serde_json::{Value, json};
use unicode_width::UnicodeWidthStr;

use super::error::Failure;
use super::jsonpath::{Template, bare};
use super::resource::short;
use super::text::{complain, escaped, tame, tame_block, tamed};
use crate::model::document::to_yaml;
use crate::model::meta::quoted;
use crate::model::status::Kind;

/// Spaces between columns.
const GAP: usize = 3;

/// Write text to the standard output now.
///
/// # Errors
/// [`Failure::ReaderGone`] when nobody reads it any more.
pub fn emit(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}

/// A whole view in the place of the one before it; where there is no terminal, after it.
///
/// # Errors
/// As [`emit`].
pub fn redraw(text: &str, first: bool) -> Result<(), Failure> {
    /// To the terminal's upper left corner, and nothing below what is written.
    const HOME: &str = "\x1b[H";
    const REST: &str = "\x1b[J";
    const CLEAR: &str = "\x1b[2J";
    if !std::io::stdout().is_terminal() {
        return emit(text);
    }
    let clear = if first { CLEAR } else { "" };
    emit(&format!("{clear}{HOME}{}{REST}", text.replace('\n', "\x1b[K\n")))
}

/// Text in a format for programs: as it is, but on a terminal.
pub fn for_programs(text: &str) -> String {
    read_by(text, std::io::stdout().is_terminal())
}

fn read_by(text: &str, terminal: bool) -> String {
    if terminal { escaped(text) } else { text.into() }
}

/// A line on stderr that is not an error.
pub fn note(text: &str) {
    complain(&tame(text));
}

/// Rows under heads, each column as wide as its widest cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Table {
    widths: Vec<usize>,
    rows: Vec<Vec<String>>,
    /// Of one's own columns, for a program that reads them.
    raw: bool,
}

impl Table {
    /// With these heads; `print_head` false leaves them out.
    pub fn new(heads: &[String], print_head: bool) -> Table {
        let mut table = Table { widths: vec![0; heads.len()], rows: Vec::new(), raw: false };
        if print_head {
            table.add(heads.to_vec());
        }
        table
    }

    /// The table of `-o custom-columns`.
    pub fn custom(columns: &[(String, Template)], print_head: bool) -> Table {
        let heads: Vec<String> = columns.iter().map(|(head, _)| head.clone()).collect();
        Table { raw: !std::io::stdout().is_terminal(), ..Table::new(&heads, print_head) }
    }

    /// One more row; its text is tamed here.
    pub fn add(&mut self, row: Vec<String>) {
        let row: Vec<String> = row.iter().map(|cell| if self.raw { one_line(cell) } else { tame(cell) }).collect();
        for (width, cell) in self.widths.iter_mut().zip(&row) {
            *width = (*width).max(cell.width());
        }
        self.rows.push(row);
    }

    /// A column is as wide as a text of so many characters, before there is one.
    pub fn reserve(&mut self, column: usize, width: usize) {
        if let Some(kept) = self.widths.get_mut(column) {
            *kept = (*kept).max(width);
        }
    }

    /// The rows as text; they are gone then, and the widths stay for rows that come later.
    pub fn take(&mut self) -> String {
        let rows = std::mem::take(&mut self.rows);
        rows.iter().map(|row| self.line(row)).collect()
    }

    fn line(&self, row: &[String]) -> String {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&self.widths) {
            line.push_str(cell);
            line.push_str(&" ".repeat(width.saturating_sub(cell.width()) + GAP));
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    }
}

/// What `-o` asks for.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// The table; wide has more columns.
    Table {
        /// More columns.
        wide: bool,
    },
    /// YAML.
    Yaml,
    /// JSON.
    Json,
    /// `kind/name`
    Name,
    /// A template.
    JsonPath(Template),
    /// Columns of one's own.
    Columns(Vec<(String, Template)>),
}

impl Format {
    /// Read the value of `-o`.
    ///
    /// # Errors
    /// Usage.
    pub fn parse(given: Option<&str>) -> Result<Format, Failure> {
        let wrong = |error: String| Failure::Usage(format!("-o: {error}"));
        let Some(given) = given else { return Ok(Format::Table { wide: false }) };
        match given.split_once('=').unwrap_or((given, "")) {
            ("wide", "") => Ok(Format::Table { wide: true }),
            ("yaml", "") => Ok(Format::Yaml),
            ("json", "") => Ok(Format::Json),
            ("name", "") => Ok(Format::Name),
            ("jsonpath", template) if !template.is_empty() => Template::parse(template).map(Format::JsonPath).map_err(wrong),
            ("custom-columns", columns) if !columns.is_empty() => custom(columns).map(Format::Columns).map_err(wrong),
            (_, _) => Err(Failure::Usage(format!(
                "there is no output format {}. There are: wide, yaml, json, name, jsonpath=TEMPLATE, custom-columns=HEAD:PATH,…",
                quoted(given)
            ))),
        }
    }

    /// What is printed for programs of something that has no names and no columns of its own, as `a queue`; none: its table.
    ///
    /// # Errors
    /// Usage: names, or columns.
    pub fn program(&self, what: &str, value: &Value) -> Result<Option<String>, Failure> {
        match self {
            Format::Json => Ok(Some(as_json(value))),
            Format::Yaml => Ok(Some(as_yaml(value))),
            Format::JsonPath(template) => Ok(Some(for_programs(&template.render(value)))),
            Format::Table { .. } => Ok(None),
            Format::Name | Format::Columns(_) => {
                Err(Failure::Usage(format!("{what} is a table, json, yaml or jsonpath=TEMPLATE")))
            }
        }
    }
}

fn custom(columns: &str) -> Result<Vec<(String, Template)>, String> {
    let column = |part: &str| {
        let (head, path) = part.split_once(':').ok_or_else(|| format!("{} is not HEAD:PATH", quoted(part)))?;
        Ok((head.to_owned(), Template::path(path)?))
    };
    columns.split(',').map(column).collect()
}

/// As it is, but that a row stays a row.
fn one_line(cell: &str) -> String {
    cell.replace('\n', "\\n").replace('\r', "\\r")
}

/// A table of one's own columns; `<none>` where nothing is found.
pub fn custom_row(columns: &[(String, Template)], object: &Value) -> Vec<String> {
    let cell = |template: &Template| {
        let found: Vec<String> = template.find(object).into_iter().filter(|value| !value.is_null()).map(bare).collect();
        if found.is_empty() { "<none>".into() } else { found.join(",") }
    };
    columns.iter().map(|(_, template)| cell(template)).collect()
}

/// A value as JSON, as kubectl indents it; what is harmful is escaped as JSON can.
pub fn as_json(value: &Value) -> String {
    let mut text = Vec::new();
    let formatter = serde_json::ser::PrettyFormatter::with_indent(b"    ");
    let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
    serde::Serialize::serialize(value, &mut serializer).expect("a JSON value can be written as JSON");
    let text = String::from_utf8(text).expect("JSON is UTF-8");
    tamed(&text, |c| c == '\n', |c| format!("\\u{:04x}", u32::from(c))) + "\n"
}

/// A value as YAML, for a program or a file.
pub fn as_yaml(value: &Value) -> String {
    for_programs(&to_yaml(value))
}

/// A value as YAML, for people.
pub fn shown_yaml(value: &Value) -> String {
    tame_block(&to_yaml(value))
}

/// Many objects as one value.
pub fn list_of(items: &[&Value]) -> Value {
    json!({"apiVersion": "v1", "items": items, "kind": "List", "metadata": {"resourceVersion": ""}})
}

/// `pool/web`
pub fn reference(kind: Kind, object: &Value) -> String {
    format!("{}/{}", short(kind), object.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::text::is_harmful;

    #[test]
    fn columns_line_up_by_what_is_seen() {
        let heads = ["NAME".to_owned(), "READY".to_owned()];
        let mut table = Table::new(&heads, true);
        table.add(vec!["日本".into(), "1/1".into()]);
        table.add(vec!["a\u{1b}[31m".into(), String::new()]);
        assert_eq!(table.take(), "NAME          READY\n日本          1/1\na\\u{1b}[31m\n");
        table.add(vec!["b".into(), "x".into()]);
        assert_eq!(table.take(), "b             x\n");
    }

    #[test]
    fn nothing_harmful_gets_out() {
        let hostile = "a\u{1b}]0;x\u{7}\u{9b}31m\r\u{202e}\u{200b}\n\tb";
        for text in [tame(hostile), tame_block(hostile), as_json(&hostile.into()), shown_yaml(&hostile.into()), escaped(hostile)]
        {
            assert!(!text.chars().any(|c| is_harmful(c) && c != '\n' && c != '\t'), "{text:?}");
        }
        let back: Value = serde_json::from_str(&as_json(&hostile.into())).unwrap();
        assert_eq!(back, hostile);
    }

    #[test]
    fn a_program_reads_what_was_written_and_a_terminal_the_same_value() {
        let family = json!({"a": "\u{1f468}\u{200d}\u{1f469}\u{202e}"});
        let line = family.to_string();
        assert_eq!(read_by(&line, false), line);
        let shown = read_by(&line, true);
        assert!(!shown.chars().any(is_harmful), "{shown:?}");
        assert_eq!(serde_json::from_str::<Value>(&shown).unwrap(), family);
        assert_eq!(read_by("a: \"\u{202e}\"\n", true), "a: \"\\u202e\"\n", "as YAML escapes it");
        assert_eq!(one_line("a\u{200d}\nb\r"), "a\u{200d}\\nb\\r");
    }

    #[test]
    fn formats() {
        assert_eq!(Format::parse(None).unwrap(), Format::Table { wide: false });
        for bad in ["", "xml", "jsonpath=", "jsonpath={", "custom-columns=", "custom-columns=A", "yaml=x"] {
            assert!(Format::parse(Some(bad)).is_err(), "{bad}");
        }
        let Format::Columns(columns) = Format::parse(Some("custom-columns=NAME:.metadata.name,X:.x[*].y")).unwrap() else {
            panic!()
        };
        assert_eq!(custom_row(&columns, &json!({"x": [{"y": 1}, {"y": "b"}]})), ["<none>", "1,b"]);
    }
}
