//! The walk of a tree along its schema: every problem is found in one go, each with its place.
//!
//! What is written becomes a JSON value only under the type that the schema expects: a plain `no` or `017` stays text where
//! text is expected and is refused where it is not. Nothing is coerced, nothing is dropped silently.

use serde_json::{Map, Number, Value};

use super::refusal::{Violation, nearest};
use super::schema::{choices, homes, resolve, word};
use super::tree::{self, Node, Place, Step, path_text};
use crate::model::cron::{check_cron, check_zone, zone_names};
use crate::model::meta::{check_label_key, check_label_value, check_name, quoted};
use crate::model::quantity::{Cpu, Memory, Percent};
use crate::model::time::Span;

/// Most violations listed for one document.
pub const VIOLATIONS_MAX: usize = 20;

/// Problems for which a nearest name is looked up.
const SUGGESTIONS_MAX: usize = 100;
/// Most places that are named of a field that stands where it does not belong.
const HOMES_MAX: usize = 3;
/// A text longer than this is not shown as a list of words, in bytes.
const LIKE_MAX: usize = 60;

/// One walk: where it is, and what it has found.
pub struct Walk<'a> {
    root: &'a Value,
    path: Vec<Step>,
    /// What is wrong, in the order of the text's structure.
    pub found: Vec<Violation>,
}

impl<'a> Walk<'a> {
    /// A walk along a schema.
    pub fn new(root: &'a Value) -> Walk<'a> {
        Walk { root, path: Vec::new(), found: Vec::new() }
    }

    /// The value of a tree; none when something in it is wrong.
    pub fn value(&mut self, node: &Node, schema: &'a Value) -> Option<Value> {
        let resolved = resolve(self.root, schema);
        if node.is_null() {
            return self.no(node.at, format!("has no value: give {}, or leave the field out", self.wanted(schema)));
        }
        let values = choices(resolved);
        if !values.is_empty() {
            return self.choice(node, resolved, &values);
        }
        match resolved.get("type").and_then(Value::as_str) {
            Some("object") => self.object(node, resolved),
            Some("array") => self.list(node, schema, resolved),
            Some("string") => self.string(node, schema),
            Some("boolean") => self.boolean(node),
            Some("integer") => self.integer(node, schema),
            Some("number") => self.number(node, schema),
            Some(_) | None => self.free(node),
        }
    }

    fn no(&mut self, at: Place, message: String) -> Option<Value> {
        self.refuse(at, Violation { message, ..Violation::default() });
        None
    }

    fn refuse(&mut self, at: Place, violation: Violation) {
        self.found.push(Violation { line: at.line, column: at.column, path: path_text(&self.path), ..violation });
    }

    /// Found this, expected that.
    fn mismatch(&mut self, node: &Node, schema: &'a Value) -> Option<Value> {
        let like = self.like(node, resolve(self.root, schema)).unwrap_or_default();
        self.no(node.at, format!("found {}, expected {}{like}", shown(node), self.wanted(schema)))
    }

    /// How what was found is written, where people come from formats that have it otherwise.
    fn like(&self, node: &Node, wanted: &Value) -> Option<String> {
        const VARIABLE: &str = "{name: NAME, value: TEXT}";
        let is_variable = |schema: &Value| {
            let known = |name: &str| schema.pointer(&format!("/properties/{name}")).is_some();
            known("name") && known("value")
        };
        let items = wanted.get("items").map(|items| resolve(self.root, items));
        match (&node.value, items) {
            (tree::Value::Scalar { text, .. }, Some(items)) if items.get("type").and_then(Value::as_str) == Some("string") => {
                let words: Vec<String> = text.split_whitespace().map(quoted).collect();
                (text.len() < LIKE_MAX && !words.is_empty()).then(|| format!(", like [{}]", words.join(", ")))
            }
            (tree::Value::Map(_), Some(items)) if is_variable(items) => Some(format!(", like [{VARIABLE}]")),
            (tree::Value::Scalar { .. }, None) if is_variable(wanted) => Some(format!(", like {VARIABLE}")),
            (tree::Value::Scalar { .. } | tree::Value::List(_) | tree::Value::Map(_), _) => None,
        }
    }

    /// What a schema node expects, in words.
    fn wanted(&self, schema: &Value) -> String {
        let resolved = resolve(self.root, schema);
        let values = choices(resolved);
        if !values.is_empty() {
            return format!("one of {}", values.join(", "));
        }
        match resolved.get("type").and_then(Value::as_str) {
            Some("object") => "a map".into(),
            Some("array") => "a list".into(),
            Some("boolean") => "true or false".into(),
            Some("integer") => format!("a whole number{}", bounds(schema)),
            Some("number") => format!("a number{}", bounds(schema)),
            Some("string") => match resolved.get("format").and_then(Value::as_str) {
                Some("duration") => "a duration like 500ms, 30s, 5m, 1h30m".into(),
                Some("memory") => "an amount of memory like 512Mi or 8Gi".into(),
                Some("cpu") => "an amount of CPU like 2, 500m or 200%".into(),
                Some("percent") => "a percentage like 10%".into(),
                Some(_) | None => "a text".into(),
            },
            Some(_) | None => "a value".into(),
        }
    }

    fn choice(&mut self, node: &Node, schema: &'a Value, values: &[&str]) -> Option<Value> {
        let prefix = schema.get("x-optional-prefix").and_then(Value::as_str).unwrap_or("");
        let text = node.text().unwrap_or("");
        let bare = text.strip_prefix(prefix).unwrap_or(text);
        if let Some(value) = values.iter().find(|value| **value == bare) {
            return Some(Value::from(*value));
        }
        let suggestion = nearest(bare, values.iter().copied());
        let allowed = values.iter().map(|value| (*value).to_owned()).collect();
        self.refuse(
            node.at,
            Violation { message: format!("found {}", shown(node)), suggestion, allowed, ..Violation::default() },
        );
        None
    }

    fn object(&mut self, node: &Node, schema: &'a Value) -> Option<Value> {
        let tree::Value::Map(entries) = &node.value else { return self.mismatch(node, schema) };
        let known = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties").filter(|others| **others != Value::Bool(false));
        let names = schema.pointer("/propertyNames/format").and_then(Value::as_str).unwrap_or_default();
        let (mut out, mut whole) = (Map::new(), true);
        for (key, value) in entries.iter() {
            self.path.push(Step::Key(key.text.clone()));
            if let Err(message) = check_text(&key.text, names, None) {
                whole = false;
                self.refuse(key.at, Violation { message, ..Violation::default() });
            }
            let read = match known.and_then(|known| known.get(&key.text)).or(others) {
                Some(schema) => self.value(value, schema),
                None => self.unknown_field(key, known),
            };
            self.path.pop();
            match read {
                Some(value) => drop(out.insert(key.text.clone(), value)),
                None => whole = false,
            }
        }
        whole &= self.required(node, schema);
        whole &= self.one_of(node, schema);
        whole.then_some(Value::Object(out))
    }

    fn unknown_field(&mut self, key: &tree::Key, known: Option<&Map<String, Value>>) -> Option<Value> {
        // Beyond what is ever shown, a hostile document gets no more work than its length.
        let shown = self.found.len() < SUGGESTIONS_MAX;
        let allowed: Vec<String> = known.into_iter().filter(|_| shown).flat_map(Map::keys).cloned().collect();
        let suggestion = nearest(&key.text, allowed.iter().map(String::as_str));
        // Right in its name and wrong in its place, as of who knows it from elsewhere.
        let homes = if self.found.len() < VIOLATIONS_MAX && suggestion.is_none() {
            homes(self.root, &key.text, HOMES_MAX)
        } else {
            Vec::new()
        };
        let homes = if homes.is_empty() { String::new() } else { format!("; there is {}", homes.join(" and ")) };
        let message = format!("unknown field {}{homes}", quoted(&key.text));
        self.refuse(key.at, Violation { message, suggestion, allowed, ..Violation::default() });
        None
    }

    fn required(&mut self, node: &Node, schema: &Value) -> bool {
        let names = schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        let missing: Vec<&str> = names.filter(|name| node.get(name).is_none()).collect();
        let near = |name: &str| self.found.iter().any(|v| self.is_misspelt(v, &[name]));
        // A misspelt field is missing too: one problem, said once.
        let missing: Vec<&str> = missing.into_iter().filter(|name| !near(name)).collect();
        for name in &missing {
            self.no(node.at, format!("missing field \"{name}\""));
        }
        missing.is_empty()
    }

    /// `x-exactly-one` and `x-at-most-one`: one list of names, or several lists.
    fn one_of(&mut self, node: &Node, schema: &Value) -> bool {
        let mut good = true;
        for (word, least) in [("x-exactly-one", 1), ("x-at-most-one", 0)] {
            let Some(rule) = schema.get(word).and_then(Value::as_array) else { continue };
            let lists: Vec<&Vec<Value>> =
                if rule.iter().all(Value::is_array) { rule.iter().filter_map(Value::as_array).collect() } else { vec![rule] };
            for names in lists {
                let names: Vec<&str> = names.iter().filter_map(Value::as_str).collect();
                let given: Vec<&str> = names.iter().copied().filter(|name| node.get(name).is_some()).collect();
                let misspelt = given.is_empty() && self.found.iter().any(|v| self.is_misspelt(v, &names));
                if (given.len() < least || given.len() > 1) && !misspelt {
                    let listed = names.join(", ");
                    let message = match (given.is_empty(), least) {
                        (true, _) => format!("needs exactly one of {listed}"),
                        (false, 1) => format!("needs exactly one of {listed}, found {}", given.join(" and ")),
                        (false, _) => format!("takes only one of {listed}, found {}", given.join(" and ")),
                    };
                    self.no(node.at, message);
                    good = false;
                }
            }
        }
        good
    }

    /// A violation of a field of the present map that probably means one of these names.
    fn is_misspelt(&self, violation: &Violation, names: &[&str]) -> bool {
        let meant = violation.suggestion.as_deref().is_some_and(|name| names.contains(&name));
        meant && is_child(&violation.path, &self.path)
    }

    fn list(&mut self, node: &Node, schema: &'a Value, resolved: &'a Value) -> Option<Value> {
        let tree::Value::List(items) = &node.value else { return self.mismatch(node, schema) };
        let bound = |name: &str| word(self.root, schema, name).and_then(Value::as_u64);
        let (least, most) = (bound("minItems").unwrap_or(0), bound("maxItems").unwrap_or(u64::MAX));
        let count = items.len() as u64;
        if count < least || count > most {
            let upper = if most == u64::MAX { String::new() } else { format!(" and at most {most}") };
            return self.no(node.at, format!("found a list of {count}, expected at least {least}{upper}"));
        }
        let (mut out, mut whole) = (Vec::new(), true);
        for (n, item) in items.iter().enumerate() {
            self.path.push(Step::Item(n));
            match resolved.get("items").map_or_else(|| None, |schema| self.value(item, schema)) {
                Some(value) => out.push(value),
                None => whole = false,
            }
            self.path.pop();
        }
        whole.then_some(Value::Array(out))
    }

    fn string(&mut self, node: &Node, schema: &'a Value) -> Option<Value> {
        let Some(text) = node.text() else { return self.mismatch(node, schema) };
        let format = word(self.root, schema, "format").and_then(Value::as_str).unwrap_or("");
        let least = word(self.root, schema, "x-min").and_then(Value::as_str);
        match check_text(text, format, least) {
            Ok(()) => Some(Value::from(text)),
            Err(message) => {
                let guess = format == "time-zone" && self.found.len() < VIOLATIONS_MAX;
                let suggestion = guess.then(|| nearest(text, zone_names().iter().map(String::as_str))).flatten();
                self.refuse(node.at, Violation { message, suggestion, ..Violation::default() });
                None
            }
        }
    }

    fn boolean(&mut self, node: &Node) -> Option<Value> {
        match &node.value {
            tree::Value::Scalar { text, plain: true } if text == "true" => Some(Value::Bool(true)),
            tree::Value::Scalar { text, plain: true } if text == "false" => Some(Value::Bool(false)),
            tree::Value::Scalar { .. } | tree::Value::List(_) | tree::Value::Map(_) => {
                self.no(node.at, format!("found {}, expected true or false", shown(node)))
            }
        }
    }

    fn integer(&mut self, node: &Node, schema: &'a Value) -> Option<Value> {
        let plain = plain_text(node).filter(|text| is_whole_number(text));
        let (least, most) = limits(schema);
        match plain.and_then(|text| text.parse::<i128>().ok()) {
            Some(n) if n >= least && n <= most => {
                u64::try_from(n).map(Value::from).or_else(|_| i64::try_from(n).map(Value::from)).ok()
            }
            Some(_) | None => self.mismatch(node, schema),
        }
    }

    fn number(&mut self, node: &Node, schema: &'a Value) -> Option<Value> {
        let first = |text: &str| text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.');
        let read = plain_text(node).filter(|text| first(text)).and_then(|text| text.parse::<f64>().ok());
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let inside = |n: f64| {
            bound("minimum").is_none_or(|b| n >= b)
                && bound("maximum").is_none_or(|b| n <= b)
                && bound("exclusiveMinimum").is_none_or(|b| n > b)
                && bound("exclusiveMaximum").is_none_or(|b| n < b)
        };
        match read.filter(|n| n.is_finite() && inside(*n)).and_then(Number::from_f64) {
            Some(number) => Some(Value::Number(number)),
            None => self.mismatch(node, schema),
        }
    }

    /// A value of which the schema says nothing, like a task's payload: YAML's own reading of it.
    fn free(&mut self, node: &Node) -> Option<Value> {
        match &node.value {
            tree::Value::Scalar { text, plain } => Some(if *plain { plain_value(text) } else { Value::from(text.as_str()) }),
            tree::Value::List(items) => items.iter().map(|item| self.free(item)).collect::<Option<Vec<_>>>().map(Value::Array),
            tree::Value::Map(entries) => {
                let read = entries.iter().map(|(key, node)| Some((key.text.clone(), self.free(node)?)));
                read.collect::<Option<Map<_, _>>>().map(Value::Object)
            }
        }
    }
}

fn is_child(path: &str, parent: &[Step]) -> bool {
    let parent = path_text(parent);
    path.strip_prefix(&parent).is_some_and(|rest| rest.matches(['.', '[']).count() <= 1)
}

fn plain_text(node: &Node) -> Option<&str> {
    match &node.value {
        tree::Value::Scalar { text, plain: true } => Some(text),
        tree::Value::Scalar { .. } | tree::Value::List(_) | tree::Value::Map(_) => None,
    }
}

/// Decimal digits without a leading zero: `017` means 15 to some readers and 17 to others.
fn is_whole_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.bytes().all(|b| b.is_ascii_digit())
        && (digits == "0" || !digits.starts_with('0'))
        && !digits.is_empty()
        && digits.len() <= 30
}

fn plain_value(text: &str) -> Value {
    let number = || text.parse::<f64>().ok().filter(|n| n.is_finite()).and_then(Number::from_f64);
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" => Value::Bool(true),
        "false" => Value::Bool(false),
        _ if is_whole_number(text) => text.parse::<i64>().map_or_else(|_| Value::from(text), Value::from),
        _ if text.starts_with(|c: char| c.is_ascii_digit() || c == '-') && text.contains('.') => {
            number().map_or_else(|| Value::from(text), Value::Number)
        }
        _ => Value::from(text),
    }
}

fn limits(schema: &Value) -> (i128, i128) {
    let most = match schema.get("format").and_then(Value::as_str) {
        Some("uint8") => i128::from(u8::MAX),
        Some("uint16") => i128::from(u16::MAX),
        Some("uint32") => i128::from(u32::MAX),
        Some(_) | None => i128::from(u64::MAX),
    };
    let bound = |name: &str| schema.get(name).and_then(Value::as_i64).map(i128::from);
    (bound("minimum").unwrap_or(0), bound("maximum").unwrap_or(most))
}

fn bounds(schema: &Value) -> String {
    let number = |name: &str| schema.get(name).and_then(Value::as_f64);
    let whole = schema.get("type").and_then(Value::as_str) == Some("integer");
    let most = number("maximum").or_else(|| (whole && schema.get("format").is_some()).then(|| limits(schema).1 as f64));
    match (number("minimum"), most, number("exclusiveMinimum"), number("exclusiveMaximum")) {
        (Some(least), Some(most), None, None) => format!(" from {least} to {most}"),
        (Some(least), None, None, None) => format!(", at least {least}"),
        (None, None, Some(least), None) => format!(" greater than {least}"),
        (None, Some(most), Some(least), None) => format!(" greater than {least}, at most {most}"),
        (None, None, Some(least), Some(most)) => format!(" between {least} and {most}"),
        (_, Some(most), _, _) => format!(", at most {most}"),
        (_, None, _, _) => String::new(),
    }
}

/// A found value in words.
fn shown(node: &Node) -> String {
    match &node.value {
        tree::Value::List(_) => "a list".into(),
        tree::Value::Map(_) => "a map".into(),
        tree::Value::Scalar { text, plain: true } if is_whole_number(text) && text.len() < 30 => text.clone(),
        tree::Value::Scalar { text, .. } => quoted(text),
    }
}

/// A text against the format that the schema names.
fn check_text(text: &str, format: &str, least: Option<&str>) -> Result<(), String> {
    if text.contains('\0') {
        return Err("contains a NUL character".into());
    }
    match format {
        "label" => check_name(text),
        "label-key" => check_label_key(text),
        "label-value" => check_label_value(text),
        "duration" => at_least(text, text.parse::<Span>(), least),
        "memory" => at_least(text, text.parse::<Memory>(), least),
        "cpu" => at_least(text, text.parse::<Cpu>(), least),
        "percent" => text.parse::<Percent>().map(drop),
        "umask" => check_umask(text),
        "env-name" => check_env_name(text),
        "gauge-name" => check_gauge_name(text),
        "cron" => check_cron(text).map(drop),
        "time-zone" => check_zone(text).map(drop),
        "http-path" if !text.starts_with('/') || has_space(text) => {
            Err(format!("found {}, expected a path that begins with '/'", quoted(text)))
        }
        "host" if text.is_empty() || has_space(text) => Err(format!("found {}, expected a host name or address", quoted(text))),
        _ => Ok(()),
    }
}

fn has_space(text: &str) -> bool {
    text.contains(|c: char| c.is_whitespace() || c.is_control())
}

fn at_least<T: PartialOrd + std::str::FromStr<Err = String>>(
    text: &str,
    read: Result<T, String>,
    least: Option<&str>,
) -> Result<(), String> {
    // The quantity types quote what they refuse as it is; a document's text must be tamed first.
    let value = read.map_err(|message| message.replacen(&format!("\"{text}\""), &quoted(text), 1))?;
    match least.and_then(|least| least.parse::<T>().ok().map(|bound| (least, bound))) {
        Some((least, bound)) if value < bound => Err(format!("found {}, expected at least {least}", quoted(text))),
        Some(_) | None => Ok(()),
    }
}

fn check_umask(text: &str) -> Result<(), String> {
    let octal = text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let fits = u32::from_str_radix(text, 8).is_ok_and(|bits| bits <= 0o777);
    if octal && fits && (3..=4).contains(&text.len()) {
        return Ok(());
    }
    Err(format!("found {}, expected three or four octal digits from 000 to 0777, like 022", quoted(text)))
}

fn check_env_name(text: &str) -> Result<(), String> {
    let first = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !first || !rest || text.len() > 255 {
        return Err(format!("found {}, expected letters, digits and '_', not beginning with a digit", quoted(text)));
    }
    if text.starts_with("WEIR_") {
        return Err(format!("{} is set by weir: names that begin with WEIR_ cannot be given", quoted(text)));
    }
    Ok(())
}

fn check_gauge_name(text: &str) -> Result<(), String> {
    let first = text.starts_with(|c: char| c.is_ascii_lowercase());
    let rest = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_' || b == b'-');
    if first && rest && text.len() <= 63 {
        return Ok(());
    }
    Err(format!("{} is not a gauge's name: use a to z, 0 to 9, '-' and '_', beginning with a letter", quoted(text)))
}
