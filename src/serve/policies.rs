//! What is kept of policies, and what a person may say to one: its history, the usage of its target, what is
//! expected of it, a reset, its mode, profile, thresholds and manual limits.
//!
//! What is said is written into the document, by the way of every patch. Bounds and targets have no words here.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::Response;
use serde_json::{Map, Value, json};

use super::app::{App, Params, number, params};
use super::auth::Peer;
use super::kube::edit::{self, Change, PatchKind};
use super::refusal::{Refusal, bad, nowhere};
use super::wire::Status;
use super::write::{Sent, is_dry, json_body};
use crate::model::meta;
use crate::model::policy::Mode;
use crate::model::policy_status::ForecastStatus;
use crate::model::time::Wall;

/// Changes that are shown where nobody says how many.
const HISTORY: u64 = 100;
/// Changes that are shown at once at most.
const HISTORY_MAX: u64 = 10_000;

/// `GET /v1/policies/{name}/history?limit=` and `…/metrics?since=`, in milliseconds since the epoch, and `…/forecast`.
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
        "forecast" => {
            let none = || ForecastStatus { summary: "nobody has looked yet".into(), ..ForecastStatus::default() };
            Ok(Json(json!(app.handle.policy_forecast(&name)?.unwrap_or_else(none))))
        }
        _ => Err(nowhere(": of a policy there are history, metrics and forecast")),
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

/// `PUT /v1/policies/{name}/mode` (`{"mode": …}`), `…/profile` (`{"profile": …}`), `…/thresholds` (`{"scaleUp": …, "scaleDown": …,
/// "pressure": …}`, what is left out stays) and `…/manual` (limits and a reason: held from now on, within the bounds).
///
/// # Errors
/// 400, 403, 404, 422: nothing was written then.
pub async fn put(
    State(app): State<App>,
    Path((name, what)): Path<(String, String)>,
    peer: Peer,
    (query, sent): (Params, Sent),
) -> Result<Response, Refusal> {
    let (dry, given) = (is_dry(&params(query)?)?, json_body(sent)?);
    let change = Change { kind: meta::Kind::ResourcePolicy, name: &name, peer, dry, kubectl: false };
    edit::patch(&app, &change, PatchKind::Merge, json!({"spec": asked(&what, &given)?})).await
}

/// What of the spec is to be as it was given.
fn asked(what: &str, given: &Value) -> Result<Value, Refusal> {
    let known: &[&str] = match what {
        "mode" => &["mode"],
        "profile" => &["profile"],
        "thresholds" => &["scaleUp", "scaleDown", "pressure"],
        "manual" => &["cpu", "memory", "tasks", "reason"],
        _ => return Err(nowhere(": of a policy mode, profile, manual and thresholds can be put")),
    };
    let fields = given.as_object().filter(|fields| !fields.is_empty() && fields.keys().all(|key| known.contains(&key.as_str())));
    let fields = fields.ok_or_else(|| bad(format!("expected an object of {}, found {given}", known.join(", "))))?;
    match what {
        // What is left out is not held: it is not merged into what was held before.
        "manual" => {
            let absent = known.iter().filter(|name| !fields.contains_key(**name)).map(|name| ((*name).to_owned(), Value::Null));
            let manual: Map<String, Value> = fields.clone().into_iter().chain(absent).collect();
            Ok(json!({"mode": Mode::Manual, "manual": manual}))
        }
        _ => Ok(given.clone()),
    }
}
