//! Fields of an event: what a webhook asks of them, and the key and payload that are made with them.
//!
//! What comes from the event stays data: a text in a JSON string, cut at a limit, never read for fields again. A key has no
//! control characters, and two keys that differ stay different however they are cut.

use std::borrow::Cow;
use std::collections::BTreeSet;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::model::expansion::{Expansion, Field, first};
use crate::model::hook::{ForgeEvent, ForgeKind, KEY_MAX};
use crate::model::queue::ForgeHook;
use crate::model::text;

/// Bytes of one text of a payload.
const TEXT_MAX: usize = 64 * 1024;

/// An event whose fields are looked up.
pub struct Fields<'a> {
    /// Which event it is: `$(type)`.
    pub kind: ForgeEvent,
    /// Who sent it.
    pub provider: ForgeKind,
    /// The body.
    pub body: &'a Value,
}

impl<'a> Fields<'a> {
    fn find(&self, field: &Field) -> Option<Vec<Cow<'a, str>>> {
        if field.steps() == ["type"] {
            return Some(vec![Cow::Borrowed(self.kind.name())]);
        }
        let found = field.find(self.body);
        match (self.provider, self.kind, field.steps()) {
            // GitHub says at the top who was assigned. The others only tell who is assigned now, in the issue.
            (ForgeKind::Forgejo | ForgeKind::Gitea, ForgeEvent::IssuesAssigned, [step, rest @ ..])
                if found.is_none() && step == "assignee" =>
            {
                let steps: Vec<&str> = ["issue", "assignees"].into_iter().chain(rest.iter().map(String::as_str)).collect();
                Field::parse(&steps.join(".")).ok()?.find(self.body)
            }
            (ForgeKind::Forgejo | ForgeKind::Gitea | ForgeKind::Github, _, _) => found,
        }
    }

    /// The first field that has not the value that the webhook asks for.
    pub fn mismatch(&self, hook: &ForgeHook) -> Option<String> {
        let differs = |(name, wanted): &(&String, &String)| match Field::parse(name) {
            Ok(field) => !self.find(&field).is_some_and(|found| found.iter().any(|value| **value == **wanted)),
            Err(_) => true,
        };
        hook.matches.iter().find(differs).map(|(name, _)| name.clone())
    }

    /// A text with this event's fields in it.
    fn fill(&self, text: &str, limit: usize) -> Result<String, String> {
        Expansion::parse(text)?.fill(limit, |field| self.find(field)).map_err(|field| field.to_string())
    }

    /// The task's key.
    ///
    /// # Errors
    /// The field that the event has not.
    pub fn key(&self, hook: &ForgeHook) -> Result<Option<String>, String> {
        let key = hook.key.as_deref().map(|text| self.fill(text, usize::MAX).map(|key| tame(&key))).transpose()?;
        Ok(key.filter(|key| !key.is_empty()))
    }

    /// What the task carries, and which of it has text of the event in it.
    ///
    /// # Errors
    /// The field that the event has not.
    pub fn payload(&self, hook: &ForgeHook) -> Result<(Map<String, Value>, BTreeSet<String>), String> {
        let mut untrusted = BTreeSet::new();
        let mut payload = Map::new();
        for (name, value) in &hook.payload {
            if has_fields(value) {
                untrusted.insert(name.clone());
            }
            payload.insert(name.clone(), self.value(value)?);
        }
        Ok((payload, untrusted))
    }

    fn value(&self, value: &Value) -> Result<Value, String> {
        Ok(match value {
            Value::String(text) => Value::String(cut(self.fill(text, TEXT_MAX)?)),
            Value::Array(items) => Value::Array(items.iter().map(|item| self.value(item)).collect::<Result<_, _>>()?),
            Value::Object(map) => {
                let filled = map.iter().map(|(key, value)| Ok((key.clone(), self.value(value)?)));
                Value::Object(filled.collect::<Result<_, String>>()?)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
        })
    }
}

fn has_fields(value: &Value) -> bool {
    match value {
        Value::String(text) => Expansion::parse(text).is_ok_and(|text| text.has_fields()),
        Value::Array(items) => items.iter().any(has_fields),
        Value::Object(map) => map.values().any(has_fields),
        Value::Null | Value::Bool(_) | Value::Number(_) => false,
    }
}

/// At most [`TEXT_MAX`] bytes, and no NUL: no argument, file name or variable can hold one.
fn cut(text: String) -> String {
    let mut text = if text.contains('\0') { text.replace('\0', "\u{fffd}") } else { text };
    text.truncate(first(&text, TEXT_MAX).len());
    text
}

/// A key that can be shown, kept and given to a program. One that had to be changed for it ends in a hash of what it was.
fn tame(key: &str) -> String {
    let shown = text::marked(key);
    if shown == key && key.len() <= KEY_MAX {
        return shown;
    }
    let hash: String = Sha256::digest(key.as_bytes()).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    let room = KEY_MAX - hash.len() - 1;
    format!("{}#{hash}", first(&shown, room))
}
