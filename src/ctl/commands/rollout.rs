//! `rollout status` waits until every worker runs the current template and is ready; `rollout restart` asks for all anew.
//!
//! A restart is an annotation in the pool's document: it takes the same road as any change and obeys the update strategy.
//! Waiting is watching; nothing is asked again and again.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use super::wait::{Seen, follow};
use crate::ctl::client::{Sent, path};
use crate::ctl::error::Failure;
use crate::ctl::print::emit;
use crate::ctl::resource::many;
use crate::ctl::text::tame;
use crate::ctl::time::now;
use crate::model::status::Kind;
use crate::model::time::Span;
use crate::serve::wire::columns::{condition, number, text};

/// The annotation that asks for all workers to be started again.
const RESTARTED_AT: &str = "weir.dev/restartedAt";

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
    for name in many(words, Kind::Pool)? {
        let timeout = Some(timeout).filter(|timeout| timeout.0 > 0);
        let mut said = String::new();
        let told = follow(context, (Kind::Pool, &name), timeout, |seen| {
            let pool = match seen {
                Seen::Object(pool) => pool,
                Seen::Absent => return Err(Failure::No(format!("pool/{name} is gone"))),
            };
            let waiting = waiting(pool);
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
    if updated < desired {
        return Some(format!("{updated} out of {desired} new workers have been updated"));
    }
    if all > updated || all > desired {
        return Some(format!("{} old workers are pending termination", all - updated.min(desired)));
    }
    (ready < desired).then(|| format!("{ready} of {desired} updated workers are ready"))
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
