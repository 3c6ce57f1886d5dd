//! What workers use, as `metrics.k8s.io`: for `kubectl top pod` and whatever else shows it.
//!
//! CPU is a rate over a moment for which the request waits, so nothing is measured while nobody asks. A worker of which
//! something is not known is not listed: a number that is not known is never a zero.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value, json};

use super::read::missing;
use super::view::{Place, View};
use crate::model::status::Kind;
use crate::model::time::Span;
use crate::serve::app::{App, Filter, Params, params};
use crate::serve::refusal::Refusal;
use crate::serve::wire::NAMESPACE;

/// The group's version.
const API: &str = "metrics.k8s.io/v1beta1";
/// Over so long a moment CPU is measured.
const WINDOW: Duration = Duration::from_millis(500);

/// `GET …/pods`
///
/// # Errors
/// 400 for selectors that cannot be read, 500 when nothing can be measured.
pub async fn everywhere(State(app): State<App>, query: Params) -> Result<Json<Value>, Refusal> {
    list(&app, &Place::all(View::Pod), query).await
}

/// `GET …/namespaces/{namespace}/pods`
///
/// # Errors
/// As [`everywhere`].
pub async fn in_namespace(State(app): State<App>, Path(namespace): Path<String>, query: Params) -> Result<Json<Value>, Refusal> {
    list(&app, &Place { view: View::Pod, namespace: Some(namespace) }, query).await
}

/// `GET …/namespaces/{namespace}/pods/{name}`
///
/// # Errors
/// 404 for a worker that is not there, or of which not all is known.
pub async fn one(State(app): State<App>, Path((namespace, name)): Path<(String, String)>) -> Result<Json<Value>, Refusal> {
    let all = if namespace == NAMESPACE { measured(&app).await? } else { Vec::new() };
    let found = all.into_iter().find(|pod| pod.pointer("/metadata/name").is_some_and(|is| *is == name));
    found.map(Json).ok_or_else(|| missing(View::Pod, &name))
}

async fn list(app: &App, place: &Place, query: Params) -> Result<Json<Value>, Refusal> {
    let filter = Filter::new(&params(query)?, &["metadata.name", "metadata.namespace"])?;
    let mut items = if place.is_there() { measured(app).await? } else { Vec::new() };
    items.retain(|pod| filter.wants(pod));
    Ok(Json(json!({"kind": "PodMetricsList", "apiVersion": API, "metadata": {}, "items": items})))
}

async fn measured(app: &App) -> Result<Vec<Value>, Refusal> {
    let before = app.handle.usage().await?;
    let before: BTreeMap<_, _> = before.into_iter().map(|(slot, pid, usage)| ((slot, pid), usage)).collect();
    tokio::time::sleep(WINDOW).await;
    let now = app.handle.later(Span::default());
    let mut pods = Vec::new();
    for (slot, pid, usage) in app.handle.usage().await? {
        let name = slot.worker.clone();
        let Some(old) = before.get(&(slot, pid)) else { continue };
        let (Ok(cpu), Ok(cpu_before), Ok(memory)) = (usage.cpu_micros, &old.cpu_micros, usage.memory) else { continue };
        let window = usage.at.since(old.at).0.max(1);
        // Microseconds in a millisecond are thousandths of a core; wanted are billionths.
        let cores = cpu.saturating_sub(*cpu_before).saturating_mul(1_000_000) / window;
        let labels = app.handle.get(Kind::Worker, &name).map(|worker| worker.meta().labels.clone()).unwrap_or_default();
        pods.push(json!({
            "kind": "PodMetrics", "apiVersion": API, "timestamp": now, "window": format!("{window}ms"),
            "metadata": {"name": name, "namespace": NAMESPACE, "creationTimestamp": now, "labels": labels},
            "containers": [{"name": "worker", "usage": {"cpu": format!("{cores}n"), "memory": format!("{}Ki", memory.0 / 1024)}}],
        }));
    }
    Ok(pods)
}
