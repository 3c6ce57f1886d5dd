//! `rollout status` waits until every worker runs the current template and is ready; `rollout restart` asks for all anew.
//!
//! A restart is an annotation in the pool's document: it takes the same road as any change and obeys the update strategy.
//! Waiting is watching; nothing is asked again and again. What was saved a moment ago may not have been read yet, so the document
//! as it stands in its file is waited for first.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use super::away::{is_there, outlasting};
use super::wait::{Seen, follow};
use crate::ctl::client::{Sent, path};
use crate::ctl::error::Failure;
use crate::ctl::print::emit;
use crate::ctl::resource::many;
use crate::ctl::text::tame;
use crate::ctl::time::now;
use crate::model::document::{Document, parse};
use crate::model::status::Kind;
use crate::model::time::Span;
use crate::serve::wire::DocumentText;
use crate::serve::wire::columns::{condition, number, text};

/// The annotation that asks for all workers to be started again.
const RESTARTED_AT: &str = "weir.dev/restartedAt";

/// Longest time in which a change of a file is taken over: it is heard within 10 s and has stood still for 2 s then.
const TAKEN: Span = Span::secs(15);

/// `ctl rollout restart`
pub(super) async fn restart(context: &Context, words: &[String]) -> Result<(), Failure> {
    for name in many(words, Kind::Pool)? {
        let to = Sent::patch(&json!({"metadata": {"annotations": {RESTARTED_AT: now().to_string()}}}));
        let _: Value = context.client.ask(Method::PATCH, &path(Kind::Pool, &name), to).await?;
        emit(&format!("pool/{} restarted\n", tame(&name)))?;
    }
    Ok(())
}

/// `ctl rollout status`
pub(super) async fn status(context: &Context, words: &[String], timeout: Span) -> Result<(), Failure> {
    let names = many(words, Kind::Pool)?;
    is_there(context).await?;
    for name in names {
        let timeout = Some(timeout).filter(|timeout| timeout.0 > 0);
        in_force(context, &name, timeout).await?;
        // Of one that never was, and of one that was refused from the start, that is said.
        let _there: Value = outlasting(context, async || context.client.get(Kind::Pool, &name).await).await?;
        let mut said = String::new();
        let told = follow(context, (Kind::Pool, &name), timeout, |seen| {
            let pool = match seen {
                Seen::Object(pool) => pool,
                Seen::Absent => return Err(Failure::No(format!("pool/{name} is gone"))),
            };
            if let Some(why) = refused(pool) {
                return Err(Failure::No(format!("pool/{name}: its newest document is refused: {why}")));
            }
            let waiting = waiting(pool).map(|what| with_cause(pool, what));
            if let Some(what) = waiting.as_ref().filter(|_| is_by_hand(pool)) {
                let how = "with updateStrategy OnDelete a worker is replaced when it ends: ctl restart worker/NAME";
                return Err(Failure::No(format!("pool/{name}: {what}; {how}")));
            }
            let line =
                waiting.as_ref().map(|what| format!("Waiting for pool \"{}\" rollout to finish: {what}...\n", tame(&name)));
            if let Some(line) = line.filter(|line| *line != said) {
                emit(&line)?;
                said = line;
            }
            Ok(waiting.is_none())
        });
        if !told.await? {
            return Err(Failure::No(format!("timed out waiting for pool/{name}: {}", said.trim())));
        }
        emit(&format!("pool \"{}\" successfully rolled out\n", tame(&name)))?;
    }
    Ok(())
}

/// Wait until a pool is as its document says now: as long as it may take until a change is heard and believed, and no longer.
async fn in_force(context: &Context, name: &str, timeout: Option<Span>) -> Result<(), Failure> {
    let (at, within) = (format!("{}/document", path(Kind::Pool, name)), timeout.map_or(TAKEN, |timeout| timeout.min(TAKEN)));
    let mut tried = None;
    // Without one there is nothing to wait for; whatever else is wrong is said of the pool.
    while let Ok(given) = context.client.ask::<DocumentText>(Method::GET, &at, Sent::nothing()).await {
        let place = format!("{}:{}", tame(&given.file), given.line);
        if tried.as_ref() == Some(&given.version) {
            let why = format!("{place} says something else than what is in force, and was not taken over in {within}");
            return Err(Failure::No(format!("pool/{name}: {why}")));
        }
        let meant = parse(given.text.as_bytes()).pop().and_then(Result::ok).map(|located| located.document);
        let mut told = false;
        let shown = follow(context, (Kind::Pool, name), Some(within), |seen| {
            let done = match seen {
                Seen::Object(pool) => shows(pool, meant.as_ref()),
                Seen::Absent => meant.is_none(),
            };
            if !done && !told {
                emit(&format!("Waiting for pool \"{}\" rollout to finish: {place} is read...\n", tame(name)))?;
                told = true;
            }
            Ok(done)
        });
        if shown.await? {
            return Ok(());
        }
        tried = Some(given.version);
    }
    Ok(())
}

/// Whether a pool is as its document says; of one that is refused, whether that is known.
fn shows(pool: &Value, meant: Option<&Document>) -> bool {
    let Some(document) = meant else { return refused(pool).is_some() };
    let restarted = document.metadata().annotations.get(RESTARTED_AT).map_or("", String::as_str);
    let same = restarted == text(pool, &format!("/metadata/annotations/{}", RESTARTED_AT.replace('/', "~1")));
    same && refused(pool).is_none() && pool.get("spec") == Some(&document.spec())
}

/// Why the newest document is not in force.
fn refused(pool: &Value) -> Option<String> {
    let accepted = condition(pool, "Accepted").filter(|accepted| text(accepted, "/status") == "False")?;
    Some(tame(text(accepted, "/message")))
}

/// Workers run an older template, and nothing replaces them by itself.
fn is_by_hand(pool: &Value) -> bool {
    let count = |name: &str| number(pool, &format!("/status/{name}"));
    text(pool, "/spec/updateStrategy/type") == "OnDelete" && count("updatedReplicas") < count("replicas")
}

/// What is still missing, in kubectl's words; nothing when the pool is as wanted.
fn waiting(pool: &Value) -> Option<String> {
    let count = |name: &str| number(pool, &format!("/status/{name}"));
    let (desired, updated, ready, all) =
        (count("desiredReplicas"), count("updatedReplicas"), count("readyReplicas"), count("replicas"));
    if !text(pool, "/metadata/deletionTimestamp").is_empty() {
        return Some("the pool is being deleted".into());
    }
    if count("observedGeneration") < number(pool, "/metadata/generation") {
        return Some("waiting for the change to be observed".into());
    }
    // Workers that have ended for good are among none of the counts.
    let settled = |kind: &str, status: &str| condition(pool, kind).is_some_and(|condition| text(condition, "/status") == status);
    if settled("Ready", "True") && settled("Progressing", "False") {
        return None;
    }
    let lasting = condition(pool, "Progressing").filter(|condition| text(condition, "/reason") == "MinReady");
    let lasting = lasting.map(|condition| tame(text(condition, "/message")));
    if updated < desired {
        let why = lasting.map_or_else(String::new, |why| format!(", {why}"));
        return Some(format!("{updated} out of {desired} new workers have been updated{why}"));
    }
    if all > updated || all > desired {
        return Some(format!("{} old workers are pending termination", all - updated.min(desired)));
    }
    let unready = (ready < desired).then(|| format!("{ready} of {desired} updated workers are ready"));
    unready.or(lasting)
}

/// What is waited for, and what of the pool keeps it from coming.
fn with_cause(pool: &Value, what: String) -> String {
    let holds = |kind: &str| condition(pool, kind).filter(|said| text(said, "/status") == "True");
    match holds("CrashLoop") {
        Some(said) => format!("{what}; CrashLoop: {}", tame(text(said, "/message"))),
        None => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_rollout_waits_for() {
        let pool = |observed: u64, all: u64, updated: u64, ready: u64| {
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "desiredReplicas": 3,
                "replicas": all, "updatedReplicas": updated, "readyReplicas": ready}})
        };
        for (pool, part) in [
            (pool(1, 3, 3, 3), Some("to be observed")),
            (pool(2, 3, 1, 3), Some("1 out of 3 new workers")),
            (pool(2, 4, 3, 3), Some("1 old workers")),
            (pool(2, 3, 3, 2), Some("2 of 3 updated workers are ready")),
            (pool(2, 3, 3, 3), None),
        ] {
            let waiting = waiting(&pool);
            assert_eq!(waiting.is_some(), part.is_some());
            assert!(waiting.unwrap_or_default().contains(part.unwrap_or_default()));
        }
    }

    #[test]
    fn a_rollout_that_crashes_says_so() {
        let pool = |status: &str| json!({"status": {"conditions": [{"type": "CrashLoop", "status": status, "message": "a-0 failed 4 times in a row"}]}});
        let what = |status: &str| with_cause(&pool(status), "1 of 2 updated workers are ready".into());
        assert_eq!(what("True"), "1 of 2 updated workers are ready; CrashLoop: a-0 failed 4 times in a row");
        assert_eq!(what("False"), "1 of 2 updated workers are ready");
    }

    #[test]
    fn a_worker_that_is_ready_is_waited_for_until_it_has_lasted() {
        let pool = |updated: u64| {
            json!({"status": {"desiredReplicas": 2, "replicas": 2, "updatedReplicas": updated, "readyReplicas": 2, "conditions": [
                {"type": "Progressing", "status": "True", "reason": "MinReady", "message": "waiting for a-1 to stay ready"}]}})
        };
        let one = "1 out of 2 new workers have been updated, waiting for a-1 to stay ready";
        assert_eq!(
            [1, 2].map(|updated| waiting(&pool(updated))),
            [one, "waiting for a-1 to stay ready"].map(|what| Some(what.into()))
        );
    }

    #[test]
    fn what_nobody_but_a_person_replaces_is_not_waited_for() {
        let pool = |kind: &str, updated: u64| json!({"spec": {"updateStrategy": {"type": kind}}, "status": {"replicas": 2, "updatedReplicas": updated}});
        let by_hand =
            [("OnDelete", 1), ("OnDelete", 2), ("RollingUpdate", 1)].map(|(kind, updated)| is_by_hand(&pool(kind, updated)));
        assert_eq!(by_hand, [true, false, false]);
    }

    #[test]
    fn workers_that_have_ended_for_good_are_not_waited_for() {
        let pool = |observed: u64, progressing: &str| {
            json!({"metadata": {"generation": 2}, "status": {"observedGeneration": observed, "desiredReplicas": 1, "replicas": 0,
                "updatedReplicas": 0, "readyReplicas": 0, "conditions": [
                    {"type": "Ready", "status": "True"}, {"type": "Progressing", "status": progressing}]}})
        };
        assert_eq!(waiting(&pool(2, "False")), None);
        assert!(waiting(&pool(2, "True")).is_some() && waiting(&pool(1, "False")).is_some());
    }
}
