//! What Kubernetes clients ask first: versions, groups and the resources with their short names; in the older way, a question
//! for each group, and aggregated, all in one answer.
//!
//! Constant answers from one table; nothing here depends on what runs.

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Map, Value, json};

use crate::model::status::{API_VERSION, Kind};
use crate::serve::refusal::{Refusal, nowhere};
use crate::serve::wire::{GROUP, short_names, singular};

/// A resource as it is told of.
struct Resource {
    /// The group; empty for the core group.
    group: &'static str,
    /// The name in a URL; behind a slash that of a subresource.
    name: String,
    singular: &'static str,
    kind: &'static str,
    /// Group and version of the kind, where it is of another group.
    of: Option<(&'static str, &'static str)>,
    namespaced: bool,
    short: &'static [&'static str],
    verbs: &'static [&'static str],
}

const READ: &[&str] = &["get", "list", "watch"];
/// Groups besides the core one, the preferred ones first.
const GROUPS: [&str; 5] = [GROUP, "events.k8s.io", "authorization.k8s.io", "authentication.k8s.io", METRICS];
/// What workers use.
const METRICS: &str = "metrics.k8s.io";

/// The one version of a group.
fn version_of(group: &str) -> &'static str {
    if group == METRICS { "v1beta1" } else { "v1" }
}

fn fixed(group: &'static str, name: &str, kind: &'static str, (namespaced, verbs): (bool, &'static [&'static str])) -> Resource {
    Resource { group, name: name.into(), singular: "", kind, of: None, namespaced, short: &[], verbs }
}

fn resources() -> Vec<Resource> {
    let mut all = vec![
        Resource { singular: "event", short: &["ev"], ..fixed("", "events", "Event", (true, READ)) },
        Resource { singular: "namespace", short: &["ns"], ..fixed("", "namespaces", "Namespace", (false, &["get", "list"])) },
        Resource { singular: "pod", short: &["po"], ..fixed("", "pods", "Pod", (true, READ)) },
        fixed("", "pods/log", "Pod", (true, &["get"])),
        Resource { singular: "event", short: &["ev"], ..fixed("events.k8s.io", "events", "Event", (true, READ)) },
        fixed(METRICS, "pods", "PodMetrics", (true, &["get", "list"])),
        review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
        review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
        review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    ];
    all.extend(Kind::ALL.into_iter().map(ours));
    all.push(Resource {
        of: Some(("autoscaling", "v1")),
        ..fixed(GROUP, "workerpools/scale", "Scale", (false, &["get", "patch", "update"]))
    });
    all.push(fixed(GROUP, "workerpools/status", "WorkerPool", (false, &["get"])));
    // A document as text: for `ctl edit`.
    all.push(fixed(GROUP, "workerpools/document", "WorkerPool", (false, &["get", "update"])));
    all.push(fixed(GROUP, "resourcepolicies/document", "ResourcePolicy", (false, &["get", "update"])));
    all.push(fixed(GROUP, "resourcepolicies/status", "ResourcePolicy", (false, &["get"])));
    all.push(fixed(GROUP, "workerpools/revisions", "WorkerPool", (false, &["get"])));
    all.push(Resource {
        singular: "task",
        ..fixed(GROUP, "tasks", "Task", (false, &["create", "delete", "get", "list", "watch"]))
    });
    all.push(fixed(GROUP, "workers/log", "Worker", (false, &["get"])));
    all
}

/// What `kubectl get all` is to show: all of ours but events, as with Kubernetes' own; Pods would be the workers once more.
fn categories(resource: &Resource) -> &'static [&'static str] {
    let of_all = resource.group == GROUP && !resource.name.contains('/') && resource.kind != Kind::Event.name();
    if of_all { &["all"] } else { &[] }
}

fn review(group: &'static str, name: &str, kind: &'static str) -> Resource {
    fixed(group, name, kind, (false, &["create"]))
}

fn ours(kind: Kind) -> Resource {
    let verbs: &[&str] = if kind.document().is_some() {
        &["create", "delete", "get", "list", "patch", "update", "watch"]
    } else if kind == Kind::Worker {
        &["delete", "get", "list", "watch"]
    } else {
        READ
    };
    // The short name of events is that of Kubernetes' own.
    let short = if kind == Kind::Event { &[] } else { short_names(kind) };
    Resource { singular: singular(kind), short, ..fixed(GROUP, kind.plural(), kind.name(), (false, verbs)) }
}

/// The minor version of Kubernetes 1 whose API this is: clients warn when theirs is far from it.
const LEVEL: &str = "32";

/// `/version`: Kubernetes' as far as the API goes, with ours behind it.
pub async fn version() -> Json<Value> {
    Json(json!({
        "major": "1", "minor": LEVEL, "gitVersion": format!("v1.{LEVEL}.0+weir.{}", env!("CARGO_PKG_VERSION")), "gitCommit": "",
        "gitTreeState": "", "buildDate": "1970-01-01T00:00:00Z", "goVersion": "", "compiler": "rustc",
        "platform": format!("linux/{}", std::env::consts::ARCH),
    }))
}

/// The media type of aggregated discovery, where a client asks for it.
fn aggregated(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    accept.split(',').any(|one| one.contains("as=APIGroupDiscoveryList") && one.split(';').any(|part| part.trim() == "v=v2"))
}

fn group_list(groups: &[&'static str]) -> Response {
    let items: Vec<Value> = groups.iter().map(|group| aggregate(group)).collect();
    let list = json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": items});
    ([(header::CONTENT_TYPE, "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")], list.to_string())
        .into_response()
}

fn aggregate(group: &'static str) -> Value {
    let all = resources();
    let kind_of = |resource: &Resource| {
        let (of, version) = resource.of.unwrap_or((group, version_of(group)));
        json!({"group": of, "version": version, "kind": resource.kind})
    };
    let part = |parent: &str, resource: &Resource| {
        let name = resource.name.strip_prefix(parent)?.strip_prefix('/')?;
        Some(json!({"subresource": name, "responseKind": kind_of(resource), "verbs": resource.verbs}))
    };
    let mut listed = Vec::new();
    for resource in all.iter().filter(|resource| resource.group == group && !resource.name.contains('/')) {
        let parts: Vec<Value> =
            all.iter().filter(|other| other.group == group).filter_map(|other| part(&resource.name, other)).collect();
        listed.push(json!({
            "resource": resource.name, "responseKind": kind_of(resource), "singularResource": resource.singular,
            "scope": if resource.namespaced { "Namespaced" } else { "Cluster" }, "verbs": resource.verbs,
            "shortNames": resource.short, "categories": categories(resource), "subresources": parts,
        }));
    }
    json!({"metadata": {"name": group}, "versions": [{"version": version_of(group), "resources": listed, "freshness": "Current"}]})
}

/// `/api`
pub async fn core(headers: HeaderMap) -> Response {
    if aggregated(&headers) {
        return group_list(&[""]);
    }
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or("localhost");
    let addresses = json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": host}]);
    Json(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": addresses})).into_response()
}

/// `/apis`
pub async fn groups(headers: HeaderMap) -> Response {
    if aggregated(&headers) {
        return group_list(&GROUPS);
    }
    let all: Vec<Value> = GROUPS.into_iter().map(the_group).collect();
    Json(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": all})).into_response()
}

/// `/apis/{group}`
///
/// # Errors
/// 404.
pub async fn group(Path(name): Path<String>) -> Result<Json<Value>, Refusal> {
    let name = GROUPS.into_iter().find(|group| *group == name).ok_or_else(|| nowhere(""))?;
    let mut group = the_group(name);
    group["kind"] = "APIGroup".into();
    group["apiVersion"] = "v1".into();
    Ok(Json(group))
}

fn the_group(name: &str) -> Value {
    let version = version_of(name);
    let version = json!({"groupVersion": format!("{name}/{version}"), "version": version});
    json!({"name": name, "versions": [version], "preferredVersion": version})
}

/// `/api/v1`
pub async fn core_resources() -> Json<Value> {
    list("", "v1")
}

/// `/apis/{group}/{version}`
///
/// # Errors
/// 404.
pub async fn resources_of(Path((name, version)): Path<(String, String)>) -> Result<Json<Value>, Refusal> {
    let group = GROUPS.into_iter().find(|group| *group == name && version == version_of(group)).ok_or_else(|| nowhere(""))?;
    Ok(list(group, &format!("{group}/{version}")))
}

/// Ours.
pub async fn our_resources() -> Json<Value> {
    list(GROUP, API_VERSION)
}

fn list(group: &str, version: &str) -> Json<Value> {
    let all: Vec<Value> = resources().iter().filter(|resource| resource.group == group).map(told).collect();
    Json(json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": all}))
}

fn told(resource: &Resource) -> Value {
    let mut told = Map::from_iter([
        ("name".to_owned(), json!(resource.name)),
        ("singularName".to_owned(), json!(resource.singular)),
        ("namespaced".to_owned(), json!(resource.namespaced)),
        ("kind".to_owned(), json!(resource.kind)),
        ("verbs".to_owned(), json!(resource.verbs)),
    ]);
    if let Some((group, version)) = resource.of {
        told.insert("group".into(), json!(group));
        told.insert("version".into(), json!(version));
    }
    if !resource.short.is_empty() {
        told.insert("shortNames".into(), json!(resource.short));
    }
    if !categories(resource).is_empty() {
        told.insert("categories".into(), json!(categories(resource)));
    }
    Value::Object(told)
}
