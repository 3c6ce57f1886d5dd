//! `wait`: look, then watch, until something is so or the time is over.
//!
//! Never asks again and again, and outlasts the daemon. What is gone cannot come to be so, which is told at once instead of at
//! the end of the time. `rollout status` and `drain` wait by the same loop.

use serde_json::Value;

use super::Context;
use super::away::{is_there, outlasting};
use crate::ctl::args::Wait;
use crate::ctl::client::encoded;
use crate::ctl::error::Failure;
use crate::ctl::jsonpath::{Template, bare};
use crate::ctl::print::{emit, note};
use crate::ctl::resource::{short, targets};
use crate::ctl::text::tame;
use crate::model::meta::quoted;
use crate::model::status::Kind;
use crate::model::time::Span;
use crate::serve::wire::WatchEvent;
use crate::serve::wire::columns::text;

/// An object as it was last seen.
pub(super) enum Seen<'a> {
    /// It is there.
    Object(&'a Value),
    /// It is not.
    Absent,
}

/// Look at an object, and again at each change, until `done` says yes: true. False: the time is over first. A daemon that went
/// away is waited for.
pub(super) async fn follow(
    context: &Context,
    object: (Kind, &str),
    timeout: Option<Span>,
    mut done: impl FnMut(Seen) -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    let once = is_once(timeout);
    waited(context, timeout, async || looking(context, object, (once, &mut done)).await).await
}

/// Whoever waits for no time wants one look.
pub(super) fn is_once(timeout: Option<Span>) -> bool {
    timeout == Some(Span(0))
}

/// Look, and look again after the daemon went away and has come back, for so long at most. False: the time was over first, or one
/// look was wanted and it was not so.
pub(super) async fn waited(
    context: &Context,
    timeout: Option<Span>,
    mut look: impl AsyncFnMut() -> Result<bool, Failure>,
) -> Result<bool, Failure> {
    match timeout {
        Some(Span(0)) => look().await,
        Some(timeout) => tokio::time::timeout(timeout.duration(), outlasting(context, look)).await.unwrap_or(Ok(false)),
        None => outlasting(context, look).await,
    }
}

async fn looking(
    context: &Context,
    (kind, name): (Kind, &str),
    (once, done): (bool, &mut impl FnMut(Seen) -> Result<bool, Failure>),
) -> Result<bool, Failure> {
    let selector = format!("&fieldSelector=metadata.name%3D{}", encoded(name));
    loop {
        let list = context.client.list(kind, "").await?;
        let object = list.items.iter().find(|object| text(object, "/metadata/name") == name);
        let is = done(object.map_or(Seen::Absent, Seen::Object))?;
        if is || once {
            return Ok(is);
        }
        let mut lines = match context.client.watch(kind, &list.metadata.resource_version, &selector).await {
            Err(Failure::Server(status)) if status.code == 410 => continue,
            answered => answered?,
        };
        loop {
            let Some(event) = lines.next::<WatchEvent>().await? else {
                return Err(Failure::NoDaemon("the daemon has ended".into()));
            };
            let seen = match event.verb.as_str() {
                // Lagged too far behind: list again.
                "ERROR" => break,
                _ if event.is_succeeded() => continue,
                "DELETED" => Seen::Absent,
                _ => Seen::Object(&event.object),
            };
            if done(seen)? {
                return Ok(true);
            }
        }
    }
}

/// What is waited for.
pub(super) enum Goal {
    /// A condition of this kind has this status.
    Condition { kind: String, status: String },
    /// It is gone.
    Delete,
    /// It is there.
    Create,
    /// There is something at this path, or this.
    Path { path: Template, value: Option<String> },
}

impl Goal {
    /// # Errors
    /// Usage.
    pub(super) fn parse(what: &str) -> Result<Goal, Failure> {
        let wrong = |error: String| Failure::Usage(format!("--for: {error}"));
        match what.split_once('=') {
            None if what == "delete" => Ok(Goal::Delete),
            None if what == "create" => Ok(Goal::Create),
            Some(("condition", wanted)) if !wanted.is_empty() => {
                let (kind, status) = wanted.split_once('=').unwrap_or((wanted, "True"));
                Ok(Goal::Condition { kind: kind.into(), status: status.into() })
            }
            Some(("jsonpath", wanted)) if !wanted.is_empty() => {
                // The value follows the closing brace: an "=" inside the braces belongs to the path.
                let (path, value) = match wanted.rfind('}') {
                    Some(end) => (&wanted[..=end], wanted[end + 1..].strip_prefix('=')),
                    None => wanted.split_once('=').map_or((wanted, None), |(path, value)| (path, Some(value))),
                };
                let unquoted = |value: &str| value.trim_matches(['"', '\'']).to_owned();
                Ok(Goal::Path { path: Template::path(path).map_err(wrong)?, value: value.map(unquoted) })
            }
            Some(_) | None => {
                let there = "condition=NAME[=STATUS], delete, create, jsonpath='{…}'[=VALUE]";
                Err(wrong(format!("{} is nothing that can be waited for. There are: {there}", quoted(what))))
            }
        }
    }

    fn reached(&self, seen: &Seen) -> bool {
        match (self, seen) {
            (Goal::Delete, Seen::Absent) | (Goal::Create, Seen::Object(_)) => true,
            (Goal::Delete, Seen::Object(_)) | (Goal::Create | Goal::Condition { .. } | Goal::Path { .. }, Seen::Absent) => false,
            (Goal::Condition { kind, status }, Seen::Object(object)) => {
                let is_it = |condition: &Value| text(condition, "/status").eq_ignore_ascii_case(status);
                // kubectl does not look at the case either.
                let named = |condition: &&Value| text(condition, "/type").eq_ignore_ascii_case(kind);
                conditions(object).iter().find(named).is_some_and(is_it)
            }
            (Goal::Path { .. }, Seen::Object(object)) => self.is_in(object),
        }
    }

    /// What to say of a condition that the object does not have: perhaps it never will.
    fn strange(&self, label: &str, object: &Value) -> Option<String> {
        let Goal::Condition { kind, .. } = self else { return None };
        let there: Vec<&str> = conditions(object).iter().map(|condition| text(condition, "/type")).collect();
        let known = there.iter().any(|there| there.eq_ignore_ascii_case(kind));
        (!known).then(|| format!("note: {label} has no condition {} now; it has: {}", quoted(kind), there.join(", ")))
    }

    /// Whether a path that is waited for leads to what is waited for.
    pub(super) fn is_in(&self, object: &Value) -> bool {
        let Goal::Path { path, value } = self else { return false };
        let found = path.find(object);
        value.as_ref().map_or(!found.is_empty(), |value| found.iter().any(|found| bare(found) == *value))
    }
}

fn conditions(object: &Value) -> &[Value] {
    object.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `ctl wait`
pub(super) async fn run(context: &Context, args: Wait) -> Result<(), Failure> {
    let what = args.what.as_deref();
    let goal = Goal::parse(what.ok_or_else(|| Failure::Usage("--for: say what to wait for, as --for=condition=Ready".into()))?)?;
    let patient = matches!(goal, Goal::Delete | Goal::Create);
    let targets = targets(&args.names)?;
    if let Some(target) = targets.iter().find(|target| target.names.is_empty()) {
        return Err(Failure::Usage(format!("say which {}: {}/NAME", short(target.kind), short(target.kind))));
    }
    is_there(context).await?;
    for target in targets {
        for name in &target.names {
            let label = format!("{}/{}", short(target.kind), tame(name));
            if !patient {
                let object = outlasting(context, async || context.client.get(target.kind, name).await).await?;
                goal.strange(&label, &object).iter().for_each(|strange| note(strange));
            }
            let reached = follow(context, (target.kind, name), Some(args.timeout), |seen| {
                // What is gone will not come to be so.
                if !patient && matches!(seen, Seen::Absent) {
                    return Err(Failure::No(format!("{}/{name} is gone", short(target.kind))));
                }
                Ok(goal.reached(&seen))
            });
            if !reached.await? {
                return Err(Failure::No(format!("timed out waiting for the condition on {label}")));
            }
            let word = if matches!(goal, Goal::Delete) { "deleted" } else { "condition met" };
            emit(&format!("{label} {word}\n"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn goals() {
        let object = json!({"status": {"phase": "Ready", "n": 3, "conditions": [{"type": "Ready", "status": "True"}]}});
        for (what, reached) in [
            ("condition=Ready", true),
            ("condition=Ready=true", true),
            ("condition=ready", true),
            ("condition=Ready=False", false),
            ("condition=CrashLoop", false),
            ("jsonpath={.status.phase}=Ready", true),
            ("jsonpath={.status.phase}=\"Ready\"", true),
            ("jsonpath=.status.phase=Pending", false),
            ("jsonpath={.status.n}=3", true),
            ("jsonpath={.status.phase}", true),
            ("jsonpath={.status.conditions[?(@.type==\"Ready\")].status}=True", true),
            ("jsonpath={.status.missing}", false),
            ("delete", false),
            ("create", true),
        ] {
            assert_eq!(Goal::parse(what).map(|goal| goal.reached(&Seen::Object(&object))).unwrap(), reached, "{what}");
        }
        let strange = |what: &str, object: &Value| Goal::parse(what).unwrap().strange("pool/a", object);
        assert_eq!(strange("condition=ready", &object), None);
        assert_eq!(strange("condition=Raedy", &object).unwrap(), "note: pool/a has no condition \"Raedy\" now; it has: Ready");
        for what in ["", "ready", "condition=", "jsonpath=", "jsonpath={"] {
            assert!(Goal::parse(what).is_err(), "{what}");
        }
    }
}
