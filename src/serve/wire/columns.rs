//! What tables show, `ctl get`'s and those that the server makes for kubectl, from objects as JSON: one function for each kind.
//!
//! Reads leniently: an object of a newer or older daemon gives `<none>` or 0 where a field is not there, never an error.

use serde_json::Value;

use super::age::age_of;
pub use super::fields::{condition, number, text};
use super::policy_columns as policies;
use crate::model::reading::shown;
use crate::model::status::Kind;
use crate::model::time::{Span, Wall};

fn or_none(text: &str) -> String {
    if text.is_empty() { "<none>".into() } else { text.into() }
}

/// The heads of a kind's table.
pub fn heads(kind: Kind, wide: bool) -> Vec<String> {
    let (narrow, more): (&[&str], &[&str]) = match kind {
        Kind::Pool => (
            &["NAME", "READY", "DESIRED", "MIN", "MAX", "BACKLOG", "STATUS", "AGE"],
            &["UPDATED", "TEMPLATE", "SOURCE", "MESSAGE"],
        ),
        Kind::Worker => (
            &["NAME", "POOL", "STATUS", "READY", "PID", "RESTARTS", "AGE"],
            &["TASKS", "DONE", "FAILED", "P50", "LAST-EXIT", "TEMPLATE", "MESSAGE"],
        ),
        Kind::Policy => (
            &["NAME", "TARGET", "MODE", "CPU", "MEMORY", "TASKS", "STATUS", "LAST CHANGE", "AGE"],
            &["PROFILE", "LIMITS", "CHECKS", "UPS", "DOWNS", "MESSAGE"],
        ),
        Kind::Event => (&["LAST SEEN", "TYPE", "REASON", "OBJECT", "MESSAGE"], &["NAME"]),
    };
    let more = if wide { more } else { &[] };
    narrow.iter().chain(more).map(|head| (*head).to_owned()).collect()
}

/// The row of an object.
pub fn row(kind: Kind, wide: bool, object: &Value, now: Wall) -> Vec<String> {
    let mut row = match kind {
        Kind::Pool => pool(object, now),
        Kind::Worker => worker(object, now),
        Kind::Policy => policies::row(object, now),
        Kind::Event => event(object, now),
    };
    if wide {
        row.extend(match kind {
            Kind::Pool => pool_more(object),
            Kind::Worker => worker_more(object, now),
            Kind::Policy => policies::more(object),
            Kind::Event => vec![text(object, "/metadata/name").into()],
        });
    }
    row
}

/// The bounds of a pool's size: the fixed number when it has one.
pub fn bounds(pool: &Value) -> (u64, u64) {
    if let Some(why) = pool.pointer("/status/scaling").filter(|why| why.is_object()) {
        // The bounds of now: a schedule may have moved them.
        return (number(why, "/min"), number(why, "/max"));
    }
    match pool.pointer("/spec/scale").filter(|scale| scale.is_object()) {
        Some(scale) => {
            let or = |name: &str, default| scale.get(name).and_then(Value::as_u64).unwrap_or(default);
            (or("minReplicas", 1), or("maxReplicas", 3))
        }
        None => {
            let fixed = pool.pointer("/spec/replicas").and_then(Value::as_u64).unwrap_or(1);
            (fixed, fixed)
        }
    }
}

fn pool(object: &Value, now: Wall) -> Vec<String> {
    let (min, max) = bounds(object);
    let desired = number(object, "/status/desiredReplicas");
    vec![
        text(object, "/metadata/name").into(),
        format!("{}/{desired}", number(object, "/status/readyReplicas")),
        desired.to_string(),
        min.to_string(),
        max.to_string(),
        backlog(object),
        pool_status(object),
        age_of(object.pointer("/metadata/creationTimestamp").and_then(Value::as_str), now),
    ]
}

/// The largest number of the triggers, with a mark where it is not fresh: `12`, `12?`, `?`; without triggers what stands in the
/// queue, and `-` without either.
fn backlog(object: &Value) -> String {
    let signals: Vec<&Value> = object.pointer("/status/backlog").and_then(Value::as_array).into_iter().flatten().collect();
    let largest = signals.iter().filter_map(|signal| signal.get("value")?.as_f64()).reduce(f64::max);
    let doubt = if signals.iter().all(|signal| text(signal, "/state") == "Fresh") { "" } else { "?" };
    match largest {
        Some(value) => format!("{}{doubt}", shown(value)),
        None if signals.is_empty() => queued(object),
        None => "?".into(),
    }
}

/// For a pool without triggers but with a queue: what waits in it and what runs.
fn queued(object: &Value) -> String {
    match object.pointer("/status/queue").filter(|queue| queue.is_object()) {
        Some(queue) => ["ready", "delayed", "blocked", "running"]
            .map(|name| number(queue, &format!("/{name}")))
            .iter()
            .sum::<u64>()
            .to_string(),
        None => "-".into(),
    }
}

fn pool_more(object: &Value) -> Vec<String> {
    let source = match number(object, "/status/source/line") {
        0 => text(object, "/status/source/file").to_owned(),
        line => format!("{}:{line}", text(object, "/status/source/file")),
    };
    vec![
        number(object, "/status/updatedReplicas").to_string(),
        or_none(text(object, "/status/templateHash")),
        or_none(&source),
        or_none(&pool_message(object)),
    ]
}

/// Conditions that are bad news when they hold, the worst first; the word is what is shown.
const BAD: [(&str, &str); 8] = [
    ("PruneBlocked", "PruneBlocked"),
    ("PendingDelete", "PendingDelete"),
    ("Invalid", "Invalid"),
    ("Stuck", "Stuck"),
    ("CrashLoop", "CrashLoop"),
    ("Stalled", "Stalled"),
    ("Degraded", "Degraded"),
    ("Paused", "Paused"),
];

fn holds(object: &Value, kind: &str, status: &str) -> bool {
    condition(object, kind).is_some_and(|condition| text(condition, "/status") == status)
}

/// Its queue gives no tasks.
fn rests(object: &Value) -> bool {
    !text(object, "/status/queue/pausedUntil").is_empty()
}

/// The condition that says most about a pool, and its word.
fn foremost(object: &Value) -> (Option<&Value>, String) {
    if let Some((kind, word)) = BAD.iter().find(|(kind, _)| holds(object, kind, "True")) {
        return (condition(object, kind), (*word).into());
    }
    if let Some(kind) = ["Accepted", "Valid"].into_iter().find(|kind| holds(object, kind, "False")) {
        return (condition(object, kind), "Invalid".into());
    }
    // Where each run is for a task it has no worker that is ready, and none is to become so.
    if rests(object) {
        return (None, "Paused".into());
    }
    if let Some(word) = ["Progressing", "Ready"].into_iter().find(|word| holds(object, word, "True")) {
        return (condition(object, word), word.into());
    }
    let ready = condition(object, "Ready");
    let reason = ready.map(|ready| text(ready, "/reason")).unwrap_or_default();
    (ready, if reason.is_empty() { "Unknown".into() } else { reason.into() })
}

/// One word for how a pool does.
pub fn pool_status(object: &Value) -> String {
    let blocked = holds(object, "PruneBlocked", "True");
    if !text(object, "/metadata/deletionTimestamp").is_empty() && !blocked {
        return "Terminating".into();
    }
    if number(object, "/status/stuckReplicas") > 0 && !blocked {
        return "Stuck".into();
    }
    foremost(object).1
}

fn pool_message(object: &Value) -> String {
    let message = foremost(object).0.map(|condition| text(condition, "/message")).unwrap_or_default();
    // A pool may be ready and blind: whoever looks at all pools sees it here.
    let blind = condition(object, "ScalingActive").filter(|active| text(active, "/status") == "False");
    let blind = blind.map(|active| text(active, "/message")).filter(|unread| !unread.is_empty() && *unread != message);
    if let Some(unread) = blind {
        return if message.is_empty() { unread.into() } else { format!("{message}; {unread}") };
    }
    match object.pointer("/status/waitingOn/0").and_then(Value::as_str) {
        Some(waiting) if message.is_empty() => waiting.into(),
        Some(_) | None => message.into(),
    }
}

/// One word for how a worker does.
pub fn worker_status(object: &Value) -> String {
    or_none(text(object, "/status/phase"))
}

fn worker(object: &Value, now: Wall) -> Vec<String> {
    let yes = |pointer| object.pointer(pointer).and_then(Value::as_bool).unwrap_or_default();
    let pid = object.pointer("/status/pid").and_then(Value::as_i64).map_or_else(|| "-".into(), |pid| pid.to_string());
    vec![
        text(object, "/metadata/name").into(),
        or_none(text(object, "/metadata/owner")),
        worker_status(object),
        if yes("/status/ready") { "true".into() } else { "false".into() },
        pid,
        restarts(object, now),
        age_of(object.pointer("/metadata/creationTimestamp").and_then(Value::as_str), now),
    ]
}

/// `3 (5m ago)`, as kubectl has it.
pub fn restarts(object: &Value, now: Wall) -> String {
    let restarts = number(object, "/status/restarts");
    match object.pointer("/status/lastExit/finished").and_then(Value::as_str) {
        Some(finished) if restarts > 0 => format!("{restarts} ({} ago)", age_of(Some(finished), now)),
        Some(_) | None => restarts.to_string(),
    }
}

/// How the last run ended, in a few characters: `Error(7)`, `Signaled(9)`.
pub fn last_exit(object: &Value) -> String {
    let Some(exit) = object.pointer("/status/lastExit") else { return "<none>".into() };
    let reason = or_none(text(exit, "/reason"));
    let number = |name: &str| exit.get(name).and_then(Value::as_i64);
    match (number("code").filter(|code| *code != 0), number("signal")) {
        (Some(n), _) | (None, Some(n)) => format!("{reason}({n})"),
        (None, None) => reason,
    }
}

fn worker_more(object: &Value, now: Wall) -> Vec<String> {
    let mut message = text(object, "/status/message").to_owned();
    if message.is_empty()
        && let Some(next) =
            object.pointer("/status/nextStartAt").and_then(Value::as_str).and_then(|text| text.parse::<Wall>().ok())
        && next > now
    {
        message = format!("next start in {}", super::age::age(now, next));
    }
    let stat = |name: &str| object.pointer(&format!("/status/stats/{name}")).and_then(Value::as_u64);
    let count = |name: &str| stat(name).map_or_else(|| "-".into(), |n| n.to_string());
    vec![
        tasks(object),
        count("done"),
        count("failed"),
        stat("p50Ms").map_or_else(|| "-".into(), |ms| Span::millis(ms).to_string()),
        last_exit(object),
        or_none(text(object, "/status/templateHash")),
        or_none(&message),
    ]
}

/// The numbers of the tasks that a worker has; `-` for none.
pub fn tasks(worker: &Value) -> String {
    let ids = worker.pointer("/status/tasks").and_then(Value::as_array).into_iter().flatten();
    let ids: Vec<String> = ids.map(ToString::to_string).collect();
    if ids.is_empty() { "-".into() } else { ids.join(",") }
}

fn event(object: &Value, now: Wall) -> Vec<String> {
    vec![
        age_of(object.pointer("/eventTime").and_then(Value::as_str), now),
        text(object, "/type").into(),
        text(object, "/reason").into(),
        text(object, "/regarding").into(),
        text(object, "/note").into(),
    ]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn one_word_for_a_pool() {
        let with = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Why", "message": "because"});
        for (conditions, word) in [
            (vec![with("Ready", "True")], "Ready"),
            (vec![with("Ready", "True"), with("Progressing", "True")], "Progressing"),
            (vec![with("Ready", "False")], "Why"),
            (vec![with("Ready", "False"), with("CrashLoop", "True")], "CrashLoop"),
            (vec![with("CrashLoop", "False"), with("Ready", "True")], "Ready"),
            (vec![with("Ready", "True"), with("PruneBlocked", "True"), with("CrashLoop", "True")], "PruneBlocked"),
            (vec![with("Accepted", "False"), with("Ready", "True")], "Invalid"),
            (vec![], "Unknown"),
        ] {
            assert_eq!(pool_status(&json!({"status": {"conditions": conditions}})), word);
        }
        let rests = |conditions| json!({"status": {"conditions": conditions, "queue": {"pausedUntil": "9000-01-01T00:00:00Z"}}});
        assert_eq!(pool_status(&rests(vec![with("Ready", "True"), with("Progressing", "True")])), "Paused");
        assert_eq!(pool_status(&rests(vec![with("Accepted", "False")])), "Invalid");
        assert_eq!(pool_status(&json!({"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})), "Terminating");
        assert_eq!(pool_status(&json!({"status": {"stuckReplicas": 1}})), "Stuck");
    }

    #[test]
    fn a_backlog_that_cannot_be_read_is_told_beside_what_is_worse() {
        let ready = |message: &str| json!({"type": "Ready", "status": "True", "reason": "AllReady", "message": message});
        let blind = json!({"type": "ScalingActive", "status": "False", "reason": "BacklogUnknown", "message": "issues: refused"});
        let seeing = json!({"type": "ScalingActive", "status": "True", "reason": "BacklogKnown", "message": ""});
        for (conditions, told) in [
            (vec![ready("3 ready"), blind.clone()], "3 ready; issues: refused"),
            (vec![ready(""), blind], "issues: refused"),
            (vec![ready("3 ready"), seeing], "3 ready"),
        ] {
            assert_eq!(pool_message(&json!({"status": {"conditions": conditions}})), told);
        }
    }

    #[test]
    fn what_is_missing_is_no_error() {
        for kind in Kind::ALL {
            for object in [json!({}), json!(null), json!({"status": 3, "metadata": [], "spec": "x"})] {
                assert_eq!(row(kind, true, &object, Wall(0)).len(), heads(kind, true).len());
            }
        }
    }

    #[test]
    fn exits_in_short() {
        for (exit, short) in [
            (json!({"reason": "Error", "code": 7}), "Error(7)"),
            (json!({"reason": "Completed", "code": 0}), "Completed"),
            (json!({"reason": "Signaled", "signal": 9}), "Signaled(9)"),
            (json!({"reason": "Unknown"}), "Unknown"),
        ] {
            assert_eq!(last_exit(&json!({"status": {"lastExit": exit}})), short);
        }
    }
}
