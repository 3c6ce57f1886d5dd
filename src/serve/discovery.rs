//! What Kubernetes clients ask first: versions, groups and the resources with their short names.
//!
//! Constant answers; nothing here depends on what runs.

use axum::Json;
use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use super::wire::{GROUP, short_names, singular};
use crate::model::status::{API_VERSION, Kind};

/// `/version`
pub async fn version() -> Json<Value> {
    let version = env!("CARGO_PKG_VERSION");
    let mut parts = version.split('.');
    let (major, minor) = (parts.next().unwrap_or("0"), parts.next().unwrap_or("0"));
    Json(json!({
        "major": major, "minor": minor, "gitVersion": format!("v{version}"), "gitCommit": "", "gitTreeState": "",
        "buildDate": "", "goVersion": "", "compiler": "rustc", "platform": format!("linux/{}", std::env::consts::ARCH),
    }))
}

/// `/api`: there is no core group yet.
pub async fn core(headers: HeaderMap) -> Json<Value> {
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]);
    Json(json!({"kind": "APIVersions", "versions": [], "serverAddressByClientCIDRs": addresses}))
}

/// `/apis`
pub async fn groups() -> Json<Value> {
    Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": [the_group()]}))
}

/// `/apis/weir.dev`
pub async fn group() -> Json<Value> {
    let mut group = the_group();
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Json(group)
}

fn the_group() -> Value {
    let version = json!({"groupVersion": API_VERSION, "version": "v1"});
    json!({"name": GROUP, "versions": [version], "preferredVersion": version})
}

/// `/apis/weir.dev/v1`
pub async fn resources() -> Json<Value> {
    let mut all: Vec<Value> = Kind::ALL.into_iter().map(resource).collect();
    all.insert(1, document());
    all.insert(1, scale());
    Json(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": API_VERSION, "resources": all}))
}

fn resource(kind: Kind) -> Value {
    let verbs: &[&str] = match kind {
        Kind::Pool => &["create", "delete", "get", "list", "patch", "watch"],
        Kind::Worker => &["delete", "get", "list", "watch"],
        Kind::Policy => &["create", "delete", "get", "list", "patch", "watch"],
        Kind::Event => &["get", "list", "watch"],
    };
    let mut resource = json!({
        "name": kind.plural(), "singularName": singular(kind), "namespaced": false, "kind": kind.name(), "verbs": verbs,
    });
    if !short_names(kind).is_empty() {
        resource["shortNames"] = short_names(kind).into();
    }
    resource
}

fn scale() -> Value {
    json!({
        "name": "workerpools/scale", "singularName": "", "namespaced": false, "group": "autoscaling", "version": "v1",
        "kind": "Scale", "verbs": ["get", "patch", "update"],
    })
}

/// A pool's document as text: for `ctl edit`.
fn document() -> Value {
    json!({
        "name": "workerpools/document", "singularName": "", "namespaced": false, "kind": "WorkerPool", "verbs": ["get", "update"],
    })
}
