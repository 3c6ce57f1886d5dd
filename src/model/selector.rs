//! Label and field selectors in Kubernetes' notation: `app=web,tier!=cache,env in (a, b),!legacy`; of fields
//! `metadata.name=web,status.state!=Held` and nothing else.
//!
//! Pure data: the server filters lists and watches with them, the client filters files when there is no server. A selector
//! that cannot be read is refused with what was found; it never silently matches everything, for whoever deletes what it selects.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::meta::{check_label_key, check_label_value, quoted};

/// Longest selector that is read, in bytes.
const SELECTOR_BYTES_MAX: usize = 16 * 1024;

/// All of some requirements; the empty selector matches everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selector(Vec<Requirement>);

#[derive(Clone, Debug, PartialEq, Eq)]
enum Requirement {
    Exists(String),
    Missing(String),
    In(String, Vec<String>),
    NotIn(String, Vec<String>),
}

impl Selector {
    /// A field selector: every object has its fields, so each term says what a field is or is not.
    ///
    /// # Errors
    /// In words, with the term that is none.
    pub fn of_fields(text: &str) -> Result<Selector, String> {
        bounded(text)?;
        let terms = text.split(',').map(str::trim).filter(|term| !term.is_empty());
        terms.map(term).collect::<Result<_, _>>().map(Selector)
    }

    /// Whether these labels fulfil every requirement. As in Kubernetes, `!=` and `notin` hold when the label is missing.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.fulfilled(labels))
    }

    /// Whether labels of which this one is so may fulfil every requirement.
    pub fn allows(&self, key: &str, value: &str) -> bool {
        let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        self.0.iter().filter(|requirement| requirement.key() == key).all(|requirement| requirement.fulfilled(&labels))
    }

    /// Taken out of a field selector: what it says of this one. Each of these values is what it must be, or must not be.
    pub fn take(&mut self, field: &str) -> Vec<(bool, String)> {
        let (of, rest) = std::mem::take(&mut self.0).into_iter().partition(|term| term.key() == field);
        self.0 = rest;
        let of: Vec<Requirement> = of;
        let said = |term| match term {
            Requirement::In(_, values) => values.into_iter().map(|value| (true, value)).collect(),
            Requirement::NotIn(_, values) => values.into_iter().map(|value| (false, value)).collect(),
            Requirement::Exists(_) | Requirement::Missing(_) => Vec::new(),
        };
        of.into_iter().flat_map(said).collect()
    }

    /// The first key that is not among the known ones (field selectors know few fields).
    pub fn unknown_key(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().map(Requirement::key).find(|key| !known.contains(key))
    }
}

impl Requirement {
    fn fulfilled(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Requirement::Exists(key) => labels.contains_key(key),
            Requirement::Missing(key) => !labels.contains_key(key),
            Requirement::In(key, values) => labels.get(key).is_some_and(|value| values.contains(value)),
            Requirement::NotIn(key, values) => labels.get(key).is_none_or(|value| !values.contains(value)),
        }
    }

    fn key(&self) -> &str {
        match self {
            Requirement::Exists(key) | Requirement::Missing(key) | Requirement::In(key, _) | Requirement::NotIn(key, _) => key,
        }
    }
}

impl FromStr for Selector {
    type Err = String;

    fn from_str(text: &str) -> Result<Selector, String> {
        bounded(text)?;
        if text.trim().is_empty() {
            return Ok(Selector::default());
        }
        parts(text)?.into_iter().map(requirement).collect::<Result<_, _>>().map(Selector)
    }
}

fn bounded(text: &str) -> Result<(), String> {
    if text.len() > SELECTOR_BYTES_MAX {
        return Err(format!("the selector is longer than {SELECTOR_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// One term of a field selector, at its first operator.
fn term(term: &str) -> Result<Requirement, String> {
    // At one place the longer one comes first.
    let found = ["!=", "==", "="].into_iter().filter_map(|operator| Some((term.find(operator)?, operator)));
    let Some((at, operator)) = found.min_by_key(|(at, _)| *at) else {
        let term = quoted(term);
        return Err(format!("invalid field selector: can't understand {term}: write field=value, field==value or field!=value"));
    };
    let (field, value) = (term[..at].trim().to_owned(), term[at + operator.len()..].trim());
    if value.contains('=') {
        return Err(format!("invalid field selector: found \"=\" in the value {} of {}", quoted(value), quoted(&field)));
    }
    let values = vec![value.to_owned()];
    Ok(if operator == "!=" { Requirement::NotIn(field, values) } else { Requirement::In(field, values) })
}

/// Split at the commas that are not inside parentheses.
fn parts(text: &str) -> Result<Vec<&str>, String> {
    let (mut parts, mut begin, mut open) = (Vec::new(), 0, false);
    for (at, c) in text.char_indices() {
        match c {
            '(' if !open => open = true,
            ')' if open => open = false,
            '(' | ')' => return Err(format!("unbalanced parentheses in selector {}", quoted(text))),
            ',' if !open => {
                parts.push(&text[begin..at]);
                begin = at + 1;
            }
            _ => {}
        }
    }
    if open {
        return Err(format!("unbalanced parentheses in selector {}", quoted(text)));
    }
    parts.push(&text[begin..]);
    Ok(parts)
}

fn requirement(part: &str) -> Result<Requirement, String> {
    let part = part.trim();
    if let Some((key, values)) = part.strip_suffix(')').and_then(|rest| rest.split_once('(')) {
        return match key.trim().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => Ok(Requirement::In(checked(key)?, set(part, values)?)),
            Some((key, "notin")) => Ok(Requirement::NotIn(checked(key)?, set(part, values)?)),
            Some(_) | None => Err(format!("{} is not \"key in (…)\" or \"key notin (…)\"", quoted(part))),
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(checked(key)?, vec![checked_value(value)?]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(checked(key)?, vec![checked_value(value)?]));
    }
    match part.strip_prefix('!') {
        Some(key) => Ok(Requirement::Missing(checked(key)?)),
        None => Ok(Requirement::Exists(checked(part)?)),
    }
}

/// What is between the parentheses. With nothing there `notin` would match everything that has any value.
fn set(part: &str, values: &str) -> Result<Vec<String>, String> {
    if values.trim().is_empty() {
        return Err(format!("{} names no value: write one or more between the parentheses", quoted(part)));
    }
    values.split(',').map(checked_value).collect()
}

fn checked(key: &str) -> Result<String, String> {
    let key = key.trim();
    check_label_key(key)
        .map_err(|why| format!("{why}; a selector is written key=value, key!=value, key in (a, b), key or !key"))?;
    Ok(key.to_owned())
}

fn checked_value(value: &str) -> Result<String, String> {
    let value = value.trim();
    check_label_value(value)?;
    Ok(value.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_match_as_in_kubernetes() {
        let labels: BTreeMap<String, String> = [("app", "web"), ("tier", "front")].map(|(k, v)| (k.into(), v.into())).into();
        for (text, holds) in [
            ("", true),
            ("app=web", true),
            ("app==web", true),
            ("app = web , tier=front", true),
            ("app=api", false),
            ("app!=api", true),
            ("missing!=x", true),
            ("missing=x", false),
            ("app", true),
            ("!app", false),
            ("!missing", true),
            ("app in (api, web)", true),
            ("app in (api,db),tier", false),
            ("app notin (api,db),tier", true),
            ("missing notin (x)", true),
        ] {
            assert_eq!(text.parse::<Selector>().unwrap().matches(&labels), holds, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        let long = "x".repeat(64);
        for text in [
            "=x",
            ",",
            "a in b",
            "a within (b)",
            "a in (b",
            "a in ((b))",
            "a)",
            "a b",
            "\u{1b}[31m=1",
            "!",
            "a===b",
            "a=b=c",
            "a!=b=c",
            "a in ()",
            "a notin ()",
            "a notin (  )",
            "-a",
            "a/b/c",
            "/a",
            "a=-b",
            "a=b c",
            "a in (b c)",
            "A.b/c",
            &format!("a={long}"),
            &long,
            "a in (b",
            "a=b,,c",
        ] {
            let parsed = text.parse::<Selector>();
            assert!(parsed.is_err(), "{text}: {parsed:?}");
        }
    }

    #[test]
    fn a_field_selector_says_what_a_field_is_or_is_not() {
        let fields: BTreeMap<String, String> =
            [("metadata.name", "web"), ("regarding", "pool/web")].map(|(k, v)| (k.into(), v.into())).into();
        for (text, holds) in [
            ("", true),
            (",", true),
            ("metadata.name=web", true),
            ("metadata.name == web,", true),
            ("metadata.name!=web", false),
            ("metadata.name!=api,regarding=pool/web", true),
            ("metadata.name=", false),
        ] {
            assert_eq!(Selector::of_fields(text).unwrap().matches(&fields), holds, "{text}");
        }
        for text in [
            "metadata.name",
            "!metadata.name",
            "metadata.name in (web)",
            "metadata.name notin (a,b)",
            "metadata.name===web",
            "a!b",
        ] {
            let refused = Selector::of_fields(text).unwrap_err();
            assert!(refused.starts_with("invalid field selector: "), "{text}: {refused}");
        }
    }

    #[test]
    fn what_is_said_of_a_field_can_be_taken_out() {
        let mut selector = Selector::of_fields("state=a,metadata.name=x,state!=b").unwrap();
        assert_eq!(selector.take("state"), [(true, "a".to_owned()), (false, "b".to_owned())]);
        assert_eq!(selector, Selector::of_fields("metadata.name=x").unwrap());
    }

    #[test]
    fn a_field_selector_names_the_field_that_is_not_known() {
        let selector = Selector::of_fields("metadata.name=a,spec.x=1").unwrap();
        assert_eq!(selector.unknown_key(&["metadata.name"]), Some("spec.x"));
        assert_eq!(Selector::of_fields("=x").unwrap().unknown_key(&["metadata.name"]), Some(""));
    }
}
