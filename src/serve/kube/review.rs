//! `kubectl auth can-i` and `whoami`: what the table of roles says, asked beforehand.
//!
//! The answers come from the same table as the gate's; nothing is decided here.

use axum::Json;
use axum::http::{Method, StatusCode};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::proto;
use crate::model::status::Kind;
use crate::serve::auth::{Peer, TABLE, needed};
use crate::serve::refusal::Refusal;
use crate::serve::wire::ROOT;
use crate::serve::write::{Sent, body, yaml_body};

/// `POST …/selfsubjectaccessreviews`
///
/// # Errors
/// 400.
pub async fn access(peer: Peer, sent: Sent) -> Result<Response, Refusal> {
    let mut review = read(sent)?;
    let asked = request(&review);
    let role = asked.as_ref().and_then(|(method, path)| needed(method, path).ok());
    let near = peer.may_change_commands() || !asked.is_some_and(|(method, path)| brings_a_document(&method, &path));
    let allowed = near && role.is_some_and(|role| peer.role >= role);
    let reason = match role {
        Some(_) if !near => "what is new brings a command or bounds, and comes by way of the socket alone (ctl apply)".into(),
        Some(role) => format!("you have the role {}, it needs {}", peer.role.name(), role.name()),
        None => "there is no such thing here".into(),
    };
    review["status"] = json!({"allowed": allowed, "denied": !allowed, "reason": reason});
    review["kind"] = "SelfSubjectAccessReview".into();
    review["apiVersion"] = "authorization.k8s.io/v1".into();
    Ok((StatusCode::CREATED, Json(review)).into_response())
}

/// A new pool or policy, which the guard takes from nobody on the network.
fn brings_a_document(method: &Method, path: &str) -> bool {
    let kinds = [Kind::Pool, Kind::Policy];
    *method == Method::POST && kinds.iter().any(|kind| path == format!("{ROOT}/{}", kind.plural()))
}

/// The review, in JSON, or in protobuf as kubectl sends it whatever it was told.
fn read(sent: Sent) -> Result<Value, Refusal> {
    let bytes = body(sent)?;
    match proto::unwrapped(&bytes) {
        None => yaml_body(Ok(bytes)),
        Some(review) => {
            let text = |of: &[u8], n| String::from_utf8_lossy(proto::field(of, n).unwrap_or_default()).into_owned();
            let spec = proto::field(review, 2).unwrap_or_default();
            let resource = proto::field(spec, 1).map(|of| {
                json!({
                    "namespace": text(of, 1), "verb": text(of, 2), "group": text(of, 3), "version": text(of, 4),
                    "resource": text(of, 5), "subresource": text(of, 6), "name": text(of, 7),
                })
            });
            let plain = proto::field(spec, 2).map(|of| json!({"path": text(of, 1), "verb": text(of, 2)}));
            let mut spec = serde_json::Map::new();
            resource.map(|value| spec.insert("resourceAttributes".into(), value));
            plain.map(|value| spec.insert("nonResourceAttributes".into(), value));
            Ok(json!({"metadata": {}, "spec": spec}))
        }
    }
}

/// The request that somebody wonders about.
fn request(review: &Value) -> Option<(Method, String)> {
    if let Some(plain) = review.pointer("/spec/nonResourceAttributes") {
        let verb = plain.get("verb")?.as_str()?.to_uppercase();
        return Some((verb.parse().ok()?, plain.get("path")?.as_str()?.to_owned()));
    }
    let wanted = review.pointer("/spec/resourceAttributes")?;
    let text = |name: &str| wanted.get(name).and_then(Value::as_str).unwrap_or_default();
    let (method, one) = match text("verb") {
        "get" => (Method::GET, true),
        "list" | "watch" => (Method::GET, false),
        "create" => (Method::POST, false),
        "update" => (Method::PUT, true),
        "patch" => (Method::PATCH, true),
        "delete" => (Method::DELETE, true),
        _ => return None,
    };
    let (group, resource) = (text("group"), text("resource"));
    let mut path = if group.is_empty() { "/api/v1".to_owned() } else { format!("/apis/{group}/v1") };
    if ["pods", "events"].contains(&resource) && group != "weir.dev" {
        path.push_str("/namespaces/default");
    }
    path.push_str(&format!("/{resource}"));
    if one {
        path.push_str(if text("name").is_empty() { "/any" } else { "/" });
        path.push_str(text("name"));
    }
    if !text("subresource").is_empty() {
        path.push_str(&format!("/{}", text("subresource")));
    }
    Some((method, path))
}

/// `POST …/selfsubjectrulesreviews`: the rows of the table that the caller may use.
pub async fn rules(peer: Peer) -> Response {
    let mine = TABLE.iter().filter(|(_, _, role)| peer.role >= *role);
    let plain: Vec<Value> = mine
        .map(|(method, path, _)| json!({"verbs": [method.to_lowercase()], "nonResourceURLs": [path.replace("{}", "*")]}))
        .collect();
    let status = json!({"resourceRules": [], "nonResourceRules": plain, "incomplete": false});
    let review = json!({"kind": "SelfSubjectRulesReview", "apiVersion": "authorization.k8s.io/v1", "metadata": {}, "spec": {}, "status": status});
    (StatusCode::CREATED, Json(review)).into_response()
}

/// `POST …/selfsubjectreviews`
pub async fn whoami(peer: Peer) -> Response {
    let user = json!({"username": format!("weir:{}", peer.role.name()), "groups": ["system:authenticated"]});
    let review = json!({"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1", "metadata": {}, "status": {"userInfo": user}});
    (StatusCode::CREATED, Json(review)).into_response()
}
