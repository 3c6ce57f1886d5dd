//! One word of a policy set in the text of a spec file, everything else left as it is: its mode, or its profile.
//!
//! The text is spliced at the place that the located tree gives and read again: an edit that would change anything else is
//! refused.

use std::ops::Range;

use super::write::{Spot, find, good};
use crate::model::document::tree::Value;
use crate::model::document::{Document, parse};

/// A word of a policy's spec.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PolicyWord {
    /// `spec.mode`
    Mode,
    /// `spec.profile`
    Profile,
}

impl PolicyWord {
    /// Its key below `spec`.
    pub const fn key(self) -> &'static str {
        match self {
            PolicyWord::Mode => "mode",
            PolicyWord::Profile => "profile",
        }
    }
}

/// The text with a word of a policy set.
///
/// # Errors
/// If the policy is not in the text, cannot be read, the word is none of those there are, or the edit would change anything else.
pub fn set(text: &str, name: &str, word: PolicyWord, value: &str) -> Result<String, String> {
    if value.is_empty() || !value.chars().all(|c| c.is_ascii_alphabetic()) {
        return Err(format!("spec.{}: \"{}\" is no word", word.key(), value.escape_default()));
    }
    let spot = find(text, "ResourcePolicy", name)?;
    let (range, new) = splice(&spot, word.key(), value)?;
    let at = spot.part.byte + range.start..spot.part.byte + range.end;
    let edited = format!("{}{new}{}", &text[..at.start], &text[at.end..]);
    if let Some(Err(refused)) =
        parse(edited.as_bytes()).into_iter().find(|parsed| parsed.as_ref().is_err_and(|no| no.name.as_deref() == Some(name)))
    {
        return Err(refused.violations.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "));
    }
    let wanted: Option<Vec<_>> = good(text).into_iter().map(|document| with(document, name, word, value)).collect();
    if Some(good(&edited)) == wanted {
        Ok(edited)
    } else {
        Err(format!("the edit would change more than spec.{}: edit the file by hand", word.key()))
    }
}

/// Where in the document's text the word stands or should stand, and what is to be written there.
fn splice(spot: &Spot<'_>, key: &str, value: &str) -> Result<(Range<usize>, String), String> {
    let spec = spot.root.get("spec").ok_or("the document has no spec")?;
    if let Some(old) = spec.get(key) {
        let Value::Scalar { .. } = old.value else { return Err(format!("spec.{key} is not a word")) };
        return Ok((old.at.byte..old.end, value.to_owned()));
    }
    let Value::Map(entries) = &spec.value else { return Err("spec is not a map".into()) };
    let Some((first, _)) = entries.first() else { return Err("spec is empty".into()) };
    let text = spot.part.text;
    let row = text[..first.at.byte].rfind('\n').map_or(0, |at| at + 1);
    let before = &text[row..first.at.byte];
    let at = first.at.byte..first.at.byte;
    if before.chars().all(|c| c == ' ') {
        let end = if text.contains("\r\n") { "\r\n" } else { "\n" };
        return Ok((at, format!("{key}: {value}{end}{before}")));
    }
    Ok((at, format!("{key}: {value}, ")))
}

/// The document as it is to read; none if there is no such word.
fn with(document: Option<Document>, name: &str, word: PolicyWord, value: &str) -> Option<Option<Document>> {
    match document {
        Some(Document::ResourcePolicy(mut policy)) if policy.metadata.name == name => {
            let value = serde_json::Value::String(value.to_owned());
            match word {
                PolicyWord::Mode => policy.spec.mode = serde_json::from_value(value).ok()?,
                PolicyWord::Profile => policy.spec.profile = serde_json::from_value(value).ok()?,
            }
            Some(Some(Document::ResourcePolicy(policy)))
        }
        document => Some(document),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# limits\napiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: a}\nspec:\n  # whose\n  target: {unit: {name: a.service}}\n  mode: Disabled # for now\n  bounds: {min: {cpu: 1}, max: {cpu: 2}}\n  manual: {cpu: 1}\n";

    #[test]
    fn a_word_is_set_and_nothing_else() {
        assert_eq!(set(TEXT, "a", PolicyWord::Mode, "Manual").unwrap(), TEXT.replace("Disabled", "Manual"));
        let with = TEXT.replace("  target", "  profile: Aggressive\n  target");
        assert_eq!(set(TEXT, "a", PolicyWord::Profile, "Aggressive").unwrap(), with);
        let flow = "{apiVersion: weir.dev/v1, kind: ResourcePolicy, metadata: {name: f}, spec: {target: {pool: p}, bounds: {min: {cpu: 1}, max: {cpu: 2}}}}";
        assert_eq!(set(flow, "f", PolicyWord::Mode, "Disabled").unwrap(), flow.replace("{target", "{mode: Disabled, target"));
    }

    #[test]
    fn what_is_no_word_of_it_is_refused() {
        for value in ["", "Sometimes", "Manual\nx: y", "manual", "{}"] {
            assert!(set(TEXT, "a", PolicyWord::Mode, value).is_err(), "{value}");
        }
        assert!(set(TEXT, "b", PolicyWord::Mode, "Manual").is_err());
        let without = TEXT.replace("  manual: {cpu: 1}\n", "");
        assert!(set(&without, "a", PolicyWord::Mode, "Manual").unwrap_err().contains("needs the field manual"));
    }
}
