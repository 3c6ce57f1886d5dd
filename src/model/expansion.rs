//! Texts with fields of an event in them: `$(type):$(issue.number)`, and the dotted names of those fields.
//!
//! Reading the text is separate from filling it in, so that a document with a broken one is refused before any event comes.
//! As in Kubernetes, `$$` is a dollar sign; unlike there, a name that cannot be read is refused and not left as it stands.

use std::borrow::Cow;

use crate::model::text;
use serde_json::Value;

/// Steps that a field's name may have.
const STEPS_MAX: usize = 16;
/// Bytes that a text with fields may have.
const TEXT_MAX: usize = 16 * 1024;

/// The dotted name of a field: `issue.labels.name`. In a list, each item is looked into.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Field(Vec<String>);

impl Field {
    /// From its text.
    ///
    /// # Errors
    /// What a name looks like, when this is none.
    pub fn parse(text: &str) -> Result<Field, String> {
        let steps: Vec<String> = text.split('.').map(str::to_owned).collect();
        let fits = |step: &String| {
            let inside = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
            !step.is_empty() && step.len() <= 100 && step.chars().all(inside)
        };
        if steps.len() > STEPS_MAX || !steps.iter().all(fits) {
            return Err(
                "is not the name of a field: use letters, digits, '_' and '-' with dots between, like issue.number".into()
            );
        }
        Ok(Field(steps))
    }

    /// Its steps, the outermost first.
    pub fn steps(&self) -> &[String] {
        &self.0
    }

    /// The texts, numbers and truths that it has in this value, in order. A null or an empty list on the way has none of them.
    /// Nothing at all when the value has no such field, or when it is itself a map.
    pub fn find<'a>(&self, value: &'a Value) -> Option<Vec<Cow<'a, str>>> {
        let mut found = Vec::new();
        look(value, &self.0, &mut found).then_some(found)
    }
}

impl std::fmt::Display for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.join("."))
    }
}

fn look<'a>(value: &'a Value, steps: &[String], found: &mut Vec<Cow<'a, str>>) -> bool {
    match (value, steps.split_first()) {
        (Value::Null, _) => return true,
        // An empty list has no items to say whether they have it.
        (Value::Array(items), _) => {
            return items.iter().fold(items.is_empty(), |there, item| look(item, steps, found) || there);
        }
        (Value::Object(map), Some((step, rest))) => return map.get(step).is_some_and(|value| look(value, rest, found)),
        (Value::String(text), None) => found.push(Cow::Borrowed(text)),
        (Value::Number(number), None) => found.push(Cow::Owned(number.to_string())),
        (Value::Bool(truth), None) => found.push(Cow::Owned(truth.to_string())),
        (Value::Object(_), None) | (Value::Bool(_) | Value::Number(_) | Value::String(_), Some(_)) => return false,
    }
    true
}

/// A text with fields in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expansion(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(Field),
}

impl Expansion {
    /// From its text.
    ///
    /// # Errors
    /// A `$(` without its `)`, or what stands between is no name of a field.
    pub fn parse(text: &str) -> Result<Expansion, String> {
        if text.len() > TEXT_MAX {
            return Err(format!("is longer than {TEXT_MAX} bytes"));
        }
        let (mut parts, mut plain, mut rest) = (Vec::new(), String::new(), text);
        while let Some(at) = rest.find('$') {
            plain.push_str(&rest[..at]);
            let after = &rest[at + 1..];
            if let Some(inside) = after.strip_prefix('(') {
                let (name, more) = inside.split_once(')').ok_or("has a $( without a )")?;
                let field = Field::parse(name).map_err(|words| format!("$({}) {words}", shown(name)))?;
                parts.push(Part::Text(std::mem::take(&mut plain)));
                parts.push(Part::Field(field));
                rest = more;
            } else {
                plain.push('$');
                rest = after.strip_prefix('$').unwrap_or(after);
            }
        }
        plain.push_str(rest);
        parts.push(Part::Text(plain));
        parts.retain(|part| *part != Part::Text(String::new()));
        Ok(Expansion(parts))
    }

    /// Whether there is a field in it.
    pub fn has_fields(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Field(_)))
    }

    /// The text with each field's values in its place, several with commas between them. A value is taken as it is and never
    /// read for fields itself. What goes beyond so many bytes may be left out, and the caller cuts it.
    ///
    /// # Errors
    /// The field that has no value.
    pub fn fill<'a>(&self, limit: usize, values: impl Fn(&Field) -> Option<Vec<Cow<'a, str>>>) -> Result<String, Field> {
        let mut filled = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filled.push_str(text),
                Part::Field(field) => {
                    for (n, value) in values(field).ok_or_else(|| field.clone())?.iter().enumerate() {
                        filled.push_str(if n == 0 { "" } else { "," });
                        filled.push_str(first(value, limit.saturating_sub(filled.len())));
                    }
                }
            }
        }
        Ok(filled)
    }
}

/// The first characters of a text that have no more than so many bytes together.
pub fn first(text: &str, bytes: usize) -> &str {
    let end = (0..=bytes.min(text.len())).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    &text[..end]
}

fn shown(name: &str) -> String {
    text::marked(name).chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn fill(text: &str) -> Result<String, String> {
        let labels = json!([{"name": "a"}, {"name": "b"}]);
        let issue = json!({"number": 7, "title": "$(secret) $$ )", "labels": labels, "milestone": null, "assignees": []});
        let event = json!({"issue": issue, "ok": true});
        Expansion::parse(text)?.fill(usize::MAX, |field| field.find(&event)).map_err(|field| format!("no {field}"))
    }

    #[test]
    fn fields_stand_for_their_values_and_nothing_else_does() {
        for (text, filled) in [
            ("", ""),
            ("plain", "plain"),
            ("#$(issue.number)!", "#7!"),
            ("$(issue.title)", "$(secret) $$ )"),
            ("$(issue.labels.name)", "a,b"),
            ("$(ok)$(ok)", "truetrue"),
            ("<$(issue.milestone)$(issue.milestone.title)$(issue.assignees.login)>", "<>"),
            ("$$(ok) $5 $ 100$", "$(ok) $5 $ 100$"),
        ] {
            assert_eq!(fill(text).as_deref(), Ok(filled), "{text}");
        }
        assert_eq!(fill("$(issue.nothing)"), Err("no issue.nothing".into()));
        assert_eq!(fill("$(issue)"), Err("no issue".into()));
        assert_eq!(fill("$(issue.number.x)"), Err("no issue.number.x".into()));
    }

    #[test]
    fn a_broken_text_is_refused() {
        for text in ["$(", "a $(issue.number", "$()", "$(a..b)", "$(.a)", "$(a b)", "$($(a))", "$(a\nb)", "$(a/b)", "$(a[0])"] {
            assert!(Expansion::parse(text).is_err(), "{text:?}");
        }
        assert!(Expansion::parse(&"x".repeat(TEXT_MAX + 1)).is_err());
        assert!(Field::parse(&["a"; STEPS_MAX + 1].join(".")).is_err());
    }

    proptest! {
        #[test]
        fn a_text_without_dollars_stays(text in "[^$]{0,200}") {
            prop_assert_eq!(fill(&text), Ok(text));
        }

        #[test]
        fn no_text_breaks_the_reader(text in "\\PC{0,60}|[$()a.]{0,20}") {
            if let Ok(expansion) = Expansion::parse(&text) {
                prop_assert!(expansion.has_fields() || expansion.fill(0, |_| None).is_ok());
            }
        }
    }
}
