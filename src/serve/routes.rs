//! Every route and everything that reads: lists, single objects, and the way from a URL to a kind.
//!
//! Handlers return values; what is wrong is a `Status`. Nothing here waits for the engine.

use axum::extract::{DefaultBodyLimit, Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router, middleware};

use super::app::{App, Params, kind_of, params, value};
use super::refusal::{Refusal, not_allowed, nowhere};
use super::wire::BODY_BYTES_MAX;
use super::{auth, document, events, kube, leases, mcp, metrics, page, policies, streams, tasks, usage, write};
use crate::model::status::Kind;

/// `GET /readyz`: what is asked for can be done.
async fn ready(State(app): State<App>) -> (StatusCode, String) {
    match app.handle.unkept() {
        None => (StatusCode::OK, "ok".into()),
        Some(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("the store takes nothing, so nothing is begun: {why}\n")),
    }
}

/// All routes; the tools of MCP go through the others, as who called them.
pub fn router(app: App) -> Router {
    let rest = api(app.clone());
    mcp::router(rest.clone(), app.handle).merge(rest)
}

fn api(app: App) -> Router {
    let sub = get(subresource).put(document::put).patch(write::scale);
    kube::routes::router()
        .route("/healthz", get(|| async { "ok" }))
        .route("/livez", get(|| async { "ok" }))
        .route("/readyz", get(ready))
        .route("/apis/weir.dev/v1/{plural}/{name}/{sub}", sub)
        .route("/v1/apply", post(write::apply))
        .route("/v1/prune", post(write::prune))
        .route("/v1/pools/{pool}/tasks", post(tasks::submit))
        .route("/v1/pools/{pool}/capacity", get(tasks::capacity))
        .route("/v1/pools/{pool}/queue/{verb}", post(tasks::queue))
        .route("/v1/pools/{pool}/lease", post(leases::lease))
        .route("/v1/pools/{pool}/leases", get(leases::held))
        .route("/v1/leases/{token}/{verb}", post(leases::verb))
        .route("/v1/policies/{name}/{what}", get(policies::show).post(policies::verb).put(policies::put))
        .route("/v1/workers/{worker}/drain", post(write::drain))
        .route("/v1/events", get(events::events))
        .route("/v1/usage", get(usage::usage))
        .route("/v1/tasks", get(tasks::list))
        .route("/v1/tasks/{id}", get(tasks::one).delete(tasks::cancel))
        .route("/v1/tasks/{id}/log", get(streams::task_log))
        .route("/v1/tasks/{id}/{verb}", post(tasks::verb))
        .route("/metrics", get(metrics::metrics))
        .merge(page::router())
        .fallback(|| async { nowhere("") })
        .method_not_allowed_fallback(|| async { not_allowed("the server does not allow this method on the requested resource") })
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .layer(middleware::from_fn(auth::gate))
        .with_state(app)
}

async fn subresource(
    State(app): State<App>,
    Path((plural, name, sub)): Path<(String, String, String)>,
    query: Params,
) -> Result<Response, Refusal> {
    let kind = kind_of(&plural)?;
    match (kind.document(), sub.as_str()) {
        (Some(kind), "document") => return Ok(document::show(&app, kind, &name).await?.into_response()),
        (Some(kind), "revisions") => return Ok(document::revisions(&app, kind, &name).await?.into_response()),
        (_, _) => {}
    }
    match (kind, sub.as_str()) {
        (Kind::Pool, "scale") => Ok(Json(write::scale_of(&app, &name)?).into_response()),
        (Kind::Pool | Kind::Worker | Kind::Policy, "status") => Ok(Json(value(&*app.handle.get(kind, &name)?)).into_response()),
        (Kind::Worker, "log") => streams::log(&app, &name, &params(query)?),
        (_, _) => Err(nowhere("")),
    }
}
