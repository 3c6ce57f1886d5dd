//! What is kept of policies, and what a person may say to one: its history, the usage of its target, a reset, its mode and profile.
//!
//! Bounds, targets and the rest are the document's: they are changed there.

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::app::{App, Params, number, params};
use super::refusal::{Refusal, bad, nowhere};
use super::wire::Status;
use crate::engine::handle::{Edit, PolicyWord};
use crate::model::time::Wall;

/// Changes that are shown where nobody says how many.
const HISTORY: u64 = 100;
/// Changes that are shown at once at most.
const HISTORY_MAX: u64 = 10_000;

/// `GET /v1/policies/{name}/history?limit=` and `…/metrics?since=`, in milliseconds since the epoch.
pub async fn show(
    State(app): State<App>,
    Path((name, what)): Path<(String, String)>,
    query: Params,
) -> Result<Json<Value>, Refusal> {
    let query = params(query)?;
    match what.as_str() {
        "history" => {
            let most = number(&query, "limit")?.unwrap_or(HISTORY).min(HISTORY_MAX);
            let rows = app.handle.policy_history(&name, u32::try_from(most).unwrap_or(u32::MAX)).await?;
            Ok(Json(json!({ "items": rows })))
        }
        "metrics" => {
            let since = number(&query, "since")?.and_then(|ms| i64::try_from(ms).ok()).unwrap_or(0);
            let rows = app.handle.policy_metrics(&name, Wall(since)).await?;
            Ok(Json(json!({ "items": rows })))
        }
        _ => Err(nowhere(": of a policy there are history and metrics")),
    }
}

/// `POST /v1/policies/{name}/reset`
pub async fn verb(State(app): State<App>, Path((name, verb)): Path<(String, String)>) -> Result<Json<Status>, Refusal> {
    if verb != "reset" {
        return Err(nowhere(": a policy can be told reset"));
    }
    app.handle.reset_policy(&name).await?;
    Ok(Json(Status::success("reset")))
}

/// What a merge patch asks for: `spec.mode` and `spec.profile`.
pub fn edits(policy: &str, patch: &Value) -> Result<Vec<Edit>, Refusal> {
    let only = "only spec.mode and spec.profile can be patched here: change the document (ctl apply) for the rest";
    let known = |key: &str| ["apiVersion", "kind", "spec"].contains(&key);
    let all = patch.as_object().ok_or_else(|| bad(only))?;
    if let Some(other) = all.keys().find(|key| !known(key)) {
        return Err(bad(format!("{other}: {only}")));
    }
    let mut edits = Vec::new();
    for (key, value) in all.get("spec").and_then(Value::as_object).into_iter().flatten() {
        let words = [PolicyWord::Mode, PolicyWord::Profile];
        let field = words.into_iter().find(|word| word.key() == key).ok_or_else(|| bad(format!("spec.{key}: {only}")))?;
        let value = value.as_str().ok_or_else(|| bad(format!("spec.{key} must be a word")))?.to_owned();
        edits.push(Edit::Set { policy: policy.into(), field, value });
    }
    if edits.is_empty() { Err(bad(format!("the patch changes nothing: {only}"))) } else { Ok(edits) }
}
