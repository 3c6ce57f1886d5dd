//! kubectl's dialect of JSONPath: templates of text and `{…}` expressions.
//!
//! Parsing is one file, evaluating another; both are total and bounded by their input. Where the dialect is odd, it is
//! kubectl's oddity: `['a.b']` is a path unless a key is called so, results are joined by spaces, and what is missing is empty.

mod evaluate;
mod parse;
#[cfg(test)]
mod tests;

use serde_json::Value;

/// A parsed template.
#[derive(Clone, Debug, PartialEq)]
pub struct Template(Vec<Part>);

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Text(String),
    Path(Path),
    Range(Path, Vec<Part>),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Path(Vec<Step>);

#[derive(Clone, Debug, PartialEq)]
enum Step {
    /// `$`: from the very beginning, even within a range.
    Root,
    Key(String),
    Every,
    Deep,
    Slice {
        from: Option<i64>,
        to: Option<i64>,
        by: i64,
    },
    Index(i64),
    Any(Vec<Path>),
    Filter(Operand, Option<(Comparison, Operand)>),
}

#[derive(Clone, Debug, PartialEq)]
enum Operand {
    Path(Path),
    Literal(Value),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Comparison {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

impl Template {
    /// Parse a template, as given to `-o jsonpath=`. Without any brace, the whole is one path.
    ///
    /// # Errors
    /// What cannot be read, and where.
    pub fn parse(text: &str) -> Result<Template, String> {
        if text.contains('{') { parse::template(text).map(Template) } else { Template::path(text) }
    }

    /// Parse one path, as given to `--sort-by` or in a column: with or without braces and leading dot.
    ///
    /// # Errors
    /// What cannot be read, and where.
    pub fn path(text: &str) -> Result<Template, String> {
        let text = text.trim();
        let inner = text.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')).unwrap_or(text);
        let dotted = inner.starts_with(['.', '[', '$', '@']);
        let inner = if dotted { inner.to_owned() } else { format!(".{inner}") };
        Ok(Template(vec![Part::Path(parse::path(&inner)?)]))
    }

    /// The text of the template for a value.
    pub fn render(&self, root: &Value) -> String {
        let mut out = String::new();
        evaluate::render(&self.0, root, root, &mut out);
        out
    }

    /// All values that the paths of the template find.
    pub fn find<'a>(&self, root: &'a Value) -> Vec<&'a Value> {
        let paths = self.0.iter().filter_map(|part| match part {
            Part::Path(path) => Some(path),
            Part::Text(_) | Part::Range(..) => None,
        });
        paths.flat_map(|path| evaluate::find(path, root, root)).collect()
    }
}

/// A value as kubectl prints it: text bare, everything else as JSON.
pub fn bare(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}
