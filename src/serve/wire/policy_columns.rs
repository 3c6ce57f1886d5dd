//! What the table of `get policies` shows, and what `describe` says of one.
//!
//! Reads leniently: an object of a newer or older daemon gives `-` where a number is not there, never an error.

use serde_json::Value;

use super::age::age_of;
use super::fields::{condition, number, text};
use crate::model::reading::shown;
use crate::model::time::Wall;

/// The row of a policy.
pub fn row(object: &Value, now: Wall) -> Vec<String> {
    let changed = object.pointer("/status/lastScaleTime").and_then(Value::as_str);
    vec![
        text(object, "/metadata/name").into(),
        text(object, "/status/target").into(),
        text(object, "/status/mode").into(),
        share(object, "cpu"),
        share(object, "memory"),
        share(object, "tasks"),
        status(object),
        changed.map_or_else(|| "<none>".into(), |at| format!("{} ago", age_of(Some(at), now))),
        age_of(object.pointer("/metadata/creationTimestamp").and_then(Value::as_str), now),
    ]
}

/// Use in percent of the limit, and the limit: `43%/4Gi`.
fn share(object: &Value, of: &str) -> String {
    let percent = object.pointer(&format!("/status/usage/{of}Percent")).and_then(Value::as_f64);
    let percent = percent.map_or_else(|| "-".into(), |percent| format!("{}%", shown(percent)));
    let limit = match object.pointer(&format!("/status/limits/{of}")) {
        Some(Value::String(limit)) => limit.clone(),
        Some(Value::Number(limit)) => limit.to_string(),
        Some(Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_)) | None => "-".into(),
    };
    format!("{percent}/{limit}")
}

/// What is worst of a policy: a condition, whether it is bad news when it holds, and the word that is shown.
const BAD: [(&str, &str, &str); 9] = [
    ("Terminating", "True", "Terminating"),
    ("Accepted", "False", "Invalid"),
    ("Failed", "True", "Failed"),
    ("TargetFound", "False", "NoTarget"),
    ("LimitsEnforced", "False", "NotEnforced"),
    ("MemoryHeldBack", "True", "HeldBack"),
    ("ForeignWriter", "True", "ForeignWriter"),
    ("ScalingLimited", "True", "Limited"),
    ("ShrinkDeferred", "True", "ShrinkDeferred"),
];

fn worst(object: &Value) -> Option<(&Value, &'static str)> {
    BAD.iter().find_map(|(kind, status, word)| {
        condition(object, kind).filter(|found| text(found, "/status") == *status).map(|found| (found, *word))
    })
}

/// One word for how a policy does.
pub fn status(object: &Value) -> String {
    if let Some((_, word)) = worst(object) {
        return word.into();
    }
    let found = condition(object, "TargetFound").map(|found| text(found, "/status"));
    if found == Some("True") { "Watching".into() } else { "Waiting".into() }
}

/// What `-o wide` adds.
pub fn more(object: &Value) -> Vec<String> {
    let message = worst(object).map(|(found, _)| text(found, "/message")).unwrap_or_default();
    let limits =
        ["cpu", "memory", "tasks"].map(|of| share(object, of).split_once('/').map_or_else(String::new, |(_, l)| l.into()));
    vec![
        text(object, "/status/profile").into(),
        limits.join(","),
        format!("{} up, {} down", number(object, "/status/checks/up"), number(object, "/status/checks/down")),
        number(object, "/status/scaleUpCount").to_string(),
        number(object, "/status/scaleDownCount").to_string(),
        if message.is_empty() { "<none>".into() } else { message.into() },
    ]
}

/// The heads of a history.
pub fn change_heads() -> [String; 7] {
    ["TIME", "ACTION", "TRIGGER", "STATUS", "OLD", "NEW", "REASON"].map(str::to_owned)
}

/// A row of a history: time, action, trigger, status, change, reason.
pub fn change(change: &Value) -> Vec<String> {
    let amounts = |pointer: &str| {
        let each = change.pointer(pointer).and_then(Value::as_object).into_iter().flatten();
        let each: Vec<String> = each.map(|(of, amount)| format!("{of} {}", amount.to_string().trim_matches('"'))).collect();
        if each.is_empty() { "none".into() } else { each.join(", ") }
    };
    let error = text(change, "/error");
    let reason = text(change, "/reason");
    vec![
        text(change, "/time").into(),
        text(change, "/action").into(),
        text(change, "/trigger").into(),
        text(change, "/status").into(),
        amounts("/old"),
        amounts("/new"),
        if error.is_empty() { reason.into() } else { format!("{reason}; {error}") },
    ]
}
