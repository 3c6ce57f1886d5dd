//! What every object has: a version, a kind, a name, labels; and the bounds that more than one kind shares.
//!
//! A name becomes part of paths, of environment values and later of unit names, so it is an RFC 1123 label and nothing else.
//! The checks here are called by the one reader of documents; types that were read hold good values.

use std::collections::BTreeMap;
use std::fmt;

use crate::model::text::is_harmful;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The only version of the documents there is.
pub const API_VERSION: &str = "weir.dev/v1";

/// Longest name of an object or a worker, in bytes: an RFC 1123 label.
pub const NAME_BYTES_MAX: usize = 63;

/// The kinds of documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum Kind {
    /// A number of workers that run one program.
    WorkerPool,
    /// Limits of a pool or a unit, moved by what it uses.
    ResourcePolicy,
}

impl Kind {
    /// All of them, in the order in which they are listed to people.
    pub const ALL: [Kind; 2] = [Kind::WorkerPool, Kind::ResourcePolicy];

    /// As it is written in a document.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::WorkerPool => "WorkerPool",
            Kind::ResourcePolicy => "ResourcePolicy",
        }
    }

    /// As `kubectl` abbreviates it.
    pub const fn abbreviation(self) -> &'static str {
        match self {
            Kind::WorkerPool => "wp",
            Kind::ResourcePolicy => "rp",
        }
    }

    /// The names by which `ctl` knows it, the shortest last.
    pub const fn short_names(self) -> &'static [&'static str] {
        match self {
            Kind::WorkerPool => &["workerpools", "workerpool", "pools", "pool"],
            Kind::ResourcePolicy => &["resourcepolicies", "resourcepolicy", "policies", "policy"],
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The name and labels of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectMeta {
    /// The object's name: a to z, 0 to 9 and '-', at most 63 bytes. Of a pool also the type of the tasks that it serves.
    #[schemars(extend("format" = "label", "pattern" = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"))]
    pub name: String,
    /// Words to select objects by (`ctl get -l`), as in Kubernetes: a key of at most 63 letters, digits, '-', '_' and '.', which may
    /// have a domain before it (`example.com/team`); values of the same, or empty. Changing them restarts nobody.
    #[schemars(extend("propertyNames" = {"format": "label-key"}, "additionalProperties" = {"type": "string", "format": "label-value", "pattern": "^([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?$"}))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Notes for people and tools; weir does not read them. Keys are as those of labels. Changing them restarts nobody.
    #[schemars(extend("propertyNames" = {"format": "label-key"}))]
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Refuse what is not an RFC 1123 label of at most [`NAME_BYTES_MAX`] bytes.
///
/// # Errors
/// What is allowed, as a sentence.
pub fn check_name(text: &str) -> Result<(), String> {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let inner = text.bytes().all(|b| plain(b) || b == b'-');
    let ends = text.bytes().next().is_some_and(plain) && text.bytes().next_back().is_some_and(plain);
    if inner && ends && text.len() <= NAME_BYTES_MAX {
        return Ok(());
    }
    Err(format!(
        "{} is not a name: use a to z, 0 to 9 and '-', beginning and ending with a letter or digit, at most {NAME_BYTES_MAX} bytes",
        quoted(text)
    ))
}

/// Longest domain before a label's key, in bytes.
const DOMAIN_BYTES_MAX: usize = 253;

/// Letters, digits, '-', '_' and '.', beginning and ending with a letter or digit: what a label's key and value are made of.
fn is_label_word(text: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric();
    let inner = text.bytes().all(|b| plain(b) || b"-_.".contains(&b));
    inner && text.len() <= NAME_BYTES_MAX && text.bytes().next().is_some_and(plain) && text.bytes().next_back().is_some_and(plain)
}

/// Refuse what Kubernetes would as the key of a label or annotation.
///
/// # Errors
/// What is allowed, as a sentence.
pub fn check_label_key(text: &str) -> Result<(), String> {
    let (domain, name) = text.split_once('/').map_or((None, text), |(domain, name)| (Some(domain), name));
    let domain = domain.is_none_or(|all| all.len() <= DOMAIN_BYTES_MAX && all.split('.').all(|part| check_name(part).is_ok()));
    if domain && is_label_word(name) {
        return Ok(());
    }
    Err(format!(
        "{} is no key of a label or annotation: use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, at \
         most {NAME_BYTES_MAX} bytes; a domain may come before it, as in example.com/team",
        quoted(text)
    ))
}

/// Refuse what Kubernetes would as the value of a label.
///
/// # Errors
/// What is allowed, as a sentence.
pub fn check_label_value(text: &str) -> Result<(), String> {
    if text.is_empty() || is_label_word(text) {
        return Ok(());
    }
    Err(format!(
        "{} is no value of a label: use letters, digits, '-', '_' and '.', beginning and ending with a letter or digit, at most \
         {NAME_BYTES_MAX} bytes; for other text there are annotations",
        quoted(text)
    ))
}

/// Untrusted text for a message: cut at 60 characters, control characters escaped, in double quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for (n, c) in text.chars().enumerate() {
        if n == 60 {
            out.push('…');
            break;
        }
        let harmless = c == ' ' || (!is_harmful(c) && !c.is_whitespace());
        if harmless && c != '"' && c != '\\' {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_labels() {
        for good in ["a", "0", "web", "web-1", &"a".repeat(63)] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in [
            "",
            "-",
            "-rf",
            "a-",
            "A",
            "a.b",
            "a/b",
            "../x",
            "a\0",
            "a_b",
            "é",
            "а",
            "%n",
            " a",
            &"a".repeat(64),
            &"a".repeat(4096),
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn labels_are_as_in_kubernetes() {
        for good in ["a", "A.b_c-d", "example.com/team", "weir.dev/restartedAt", "x/0", &"a".repeat(63)] {
            assert!(check_label_key(good).is_ok(), "{good}");
        }
        let long = format!("{}/a", "a.".repeat(127) + "a");
        for bad in
            ["", "/", "a/", "/a", "a/b/c", "a b", "-a", "a-", "Ex.com/a", "a..b/c", "é", "a\n", "a=b", &"a".repeat(64), &long]
        {
            assert!(check_label_key(bad).is_err(), "{bad}");
        }
        for good in ["", "a", "1.2", "A_b", &"a".repeat(63)] {
            assert!(check_label_value(good).is_ok(), "{good}");
        }
        for bad in ["a b", "-a", "a.", "a/b", "a,b", "é", "\u{1b}[31m", &"a".repeat(64)] {
            assert!(check_label_value(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn untrusted_text_is_tamed() {
        assert_eq!(quoted("a\x1b[31m\n\u{202e}b\"\\"), r#""a\u{1b}[31m\n\u{202e}b\"\\""#);
        assert_eq!(quoted(&"x".repeat(100)), format!("\"{}…\"", "x".repeat(60)));
    }
}
