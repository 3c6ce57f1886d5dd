//! Label and field selectors in Kubernetes' notation: `app=web,tier!=cache,env in (a, b),!legacy`.
//!
//! Pure data: the server filters lists and watches with them, the client filters files when there is no server. A selector
//! that cannot be read is refused with what was found; it never silently matches everything.

use std::collections::BTreeMap;
use std::str::FromStr;

use super::meta::quoted;

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
    /// Whether these labels fulfil every requirement. As in Kubernetes, `!=` and `notin` hold when the label is missing.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.0.iter().all(|requirement| requirement.fulfilled(labels))
    }

    /// Whether labels of which this one is so may fulfil every requirement.
    pub fn allows(&self, key: &str, value: &str) -> bool {
        let labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        self.0.iter().filter(|requirement| requirement.key() == key).all(|requirement| requirement.fulfilled(&labels))
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
        if text.len() > SELECTOR_BYTES_MAX {
            return Err(format!("the selector is longer than {SELECTOR_BYTES_MAX} bytes"));
        }
        if text.trim().is_empty() {
            return Ok(Selector::default());
        }
        parts(text)?.into_iter().map(requirement).collect::<Result<_, _>>().map(Selector)
    }
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
        let values = values.split(',').map(|value| value.trim().to_owned()).collect();
        return match key.trim().rsplit_once(char::is_whitespace) {
            Some((key, "in")) => Ok(Requirement::In(checked(key)?, values)),
            Some((key, "notin")) => Ok(Requirement::NotIn(checked(key)?, values)),
            Some(_) | None => Err(format!("{} is not \"key in (…)\" or \"key notin (…)\"", quoted(part))),
        };
    }
    if let Some((key, value)) = part.split_once("!=") {
        return Ok(Requirement::NotIn(checked(key)?, vec![value.trim().into()]));
    }
    if let Some((key, value)) = part.split_once("==").or_else(|| part.split_once('=')) {
        return Ok(Requirement::In(checked(key)?, vec![value.trim().into()]));
    }
    match part.strip_prefix('!') {
        Some(key) => Ok(Requirement::Missing(checked(key)?)),
        None => Ok(Requirement::Exists(checked(part)?)),
    }
}

fn checked(key: &str) -> Result<String, String> {
    let key = key.trim();
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_./".contains(&b);
    if key.is_empty() || !key.bytes().all(good) {
        return Err(format!(
            "{} is not a key of a selector: write key=value, key!=value, key in (a, b), key or !key",
            quoted(key)
        ));
    }
    Ok(key.to_owned())
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
        for text in ["=x", ",", "a in b", "a within (b)", "a in (b", "a in ((b))", "a)", "a b", "\u{1b}[31m=1", "!"] {
            let parsed = text.parse::<Selector>();
            assert!(parsed.is_err() || text == "a in b", "{text}: {parsed:?}");
        }
        assert!("a in b".parse::<Selector>().is_err());
    }

    #[test]
    fn a_field_selector_names_the_field_that_is_not_known() {
        let selector: Selector = "metadata.name=a,spec.x=1".parse().unwrap();
        assert_eq!(selector.unknown_key(&["metadata.name"]), Some("spec.x"));
    }
}
