//! What every object has: a version, a kind, a name, labels; and the bounds that more than one kind shares.
//!
//! A name becomes part of paths, of environment values and later of unit names, so it is an RFC 1123 label and nothing else.
//! The checks here are called by the one reader of documents; types that were read hold good values.

use std::collections::BTreeMap;
use std::fmt;

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
    /// Words to select objects by (`ctl get -l`). Changing them restarts nobody.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Notes for people and tools; weir does not read them. Changing them restarts nobody.
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

/// Untrusted text for a message: cut at 60 characters, control characters escaped, in double quotes.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for (n, c) in text.chars().enumerate() {
        if n == 60 {
            out.push('…');
            break;
        }
        let harmless = c == ' ' || (!c.is_control() && !c.is_whitespace() && !is_bidi(c));
        if harmless && c != '"' && c != '\\' {
            out.push(c);
        } else {
            out.extend(c.escape_default());
        }
    }
    out.push('"');
    out
}

/// Characters that reorder or hide text on a terminal.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
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
    fn untrusted_text_is_tamed() {
        assert_eq!(quoted("a\x1b[31m\n\u{202e}b\"\\"), r#""a\u{1b}[31m\n\u{202e}b\"\\""#);
        assert_eq!(quoted(&"x".repeat(100)), format!("\"{}…\"", "x".repeat(60)));
    }
}
