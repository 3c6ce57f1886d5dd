//! The routes of the Kubernetes API, and how a path becomes a question.
//!
//! What may be asked by whom stands in the table of `auth`; a route without a row there is never reached.

use axum::extract::{Path, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use super::edit::{self, Change, PatchKind};
use super::read::{list, missing, one};
use super::view::{Place, View};
use super::{delete, discovery, openapi, review, tasks, top};
use crate::model::meta;
use crate::model::status::Kind;
use crate::serve::app::{App, Params, Query, kind_of, params, value};
use crate::serve::auth::Peer;
use crate::serve::refusal::{Refusal, not_allowed, nowhere};
use crate::serve::streams;
use crate::serve::wire::{Details, GROUP, NAMESPACE, Status};
use crate::serve::write::{Sent, is_dry, yaml_body};

/// All of them.
pub fn router() -> Router<App> {
    let object = get(our_one).put(put).patch(patch).delete(delete::delete);
    Router::new()
        .route("/version", get(discovery::version))
        .route("/api", get(discovery::core))
        .route("/api/v1", get(discovery::core_resources))
        .route("/apis", get(discovery::groups))
        .route("/apis/{group}", get(discovery::group))
        .route("/apis/{group}/{version}", get(discovery::resources_of))
        .route("/apis/weir.dev/v1", get(discovery::our_resources))
        .route("/openapi/v2", get(openapi::old))
        .route("/openapi/v3", get(openapi::index))
        .route("/openapi/v3/api/v1", get(openapi::core))
        .route("/openapi/v3/apis/{group}/{version}", get(openapi::group))
        .route("/api/v1/namespaces", get(namespaces))
        .route("/api/v1/namespaces/{namespace}", get(namespace))
        .route("/api/v1/{plural}", get(core_everywhere))
        .route("/api/v1/namespaces/{namespace}/{plural}", get(core_list))
        .route("/api/v1/namespaces/{namespace}/{plural}/{name}", get(core_one))
        .route("/api/v1/namespaces/{namespace}/pods/{name}/log", get(log))
        .route("/apis/events.k8s.io/v1/events", get(new_events_everywhere))
        .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events", get(new_events))
        .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events/{name}", get(new_event))
        .route("/apis/metrics.k8s.io/v1beta1/pods", get(top::everywhere))
        .route("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods", get(top::in_namespace))
        .route("/apis/metrics.k8s.io/v1beta1/namespaces/{namespace}/pods/{name}", get(top::one))
        .route("/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", post(review::access))
        .route("/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", post(review::rules))
        .route("/apis/authentication.k8s.io/v1/selfsubjectreviews", post(review::whoami))
        .route("/apis/weir.dev/v1/tasks", get(tasks::list).post(tasks::create))
        .route("/apis/weir.dev/v1/tasks/{id}", get(tasks::one).put(tasks::fixed).patch(tasks::fixed).delete(tasks::delete))
        .route("/apis/weir.dev/v1/{plural}", get(our_list).post(create))
        .route("/apis/weir.dev/v1/{plural}/{name}", object)
}

type Answer = Result<Response, Refusal>;

/// The resource of the core group; events about Pods where the selector says so.
fn core_view(plural: &str, query: &Query) -> Result<View, Refusal> {
    match plural {
        "pods" => Ok(View::Pod),
        "events" => Ok(event_view(true, query)),
        _ => Err(nowhere("")),
    }
}

fn event_view(core: bool, query: &Query) -> View {
    let selector = query.get("fieldSelector").map(String::as_str).unwrap_or_default();
    View::Event { core, of_pods: about_pods(selector) }
}

/// Whether it is Pods whose events are selected: by kind, or, as `kubectl describe pod` does it, by a namespace without a kind,
/// which of all that events are about only Pods are in.
fn about_pods(selector: &str) -> bool {
    let of = |field: &str| {
        let terms = selector.split(',').filter_map(|term| term.split_once('='));
        let mut found = terms
            .filter(|(name, _)| [format!("involvedObject.{field}"), format!("regarding.{field}")].contains(&(*name).to_owned()));
        found.next().map(|(_, value)| value.trim_start_matches('=').to_owned())
    };
    match of("kind") {
        Some(kind) => kind == "Pod",
        None => of("namespace").is_some_and(|namespace| !namespace.is_empty()),
    }
}

async fn our_list(State(app): State<App>, Path(plural): Path<String>, headers: HeaderMap, query: Params) -> Answer {
    list(&app, Place::all(View::Plain(kind_of(&plural)?)), &params(query)?, &headers)
}

async fn our_one(
    State(app): State<App>,
    Path((plural, name)): Path<(String, String)>,
    headers: HeaderMap,
    query: Params,
) -> Answer {
    let (kind, query) = (kind_of(&plural)?, params(query)?);
    let whole = is_kubectl(&headers) && super::table::shape(&headers, &query)? == super::table::Shape::Whole;
    if let Some(document) = kind.document().filter(|_| whole) {
        let mut object = value(&*app.handle.get(kind, &name)?);
        edit::with_last_applied(&app, document, &name, &mut object).await;
        return Ok(Json(object).into_response());
    }
    one(&app, &Place::all(View::Plain(kind)), &name, (&query, &headers))
}

/// A note for kubectl is for kubectl.
fn is_kubectl(headers: &HeaderMap) -> bool {
    headers.get(header::USER_AGENT).is_some_and(|agent| agent.as_bytes().starts_with(b"kubectl"))
}

async fn core_everywhere(State(app): State<App>, Path(plural): Path<String>, headers: HeaderMap, query: Params) -> Answer {
    let query = params(query)?;
    list(&app, Place::all(core_view(&plural, &query)?), &query, &headers)
}

async fn core_list(
    State(app): State<App>,
    Path((namespace, plural)): Path<(String, String)>,
    headers: HeaderMap,
    query: Params,
) -> Answer {
    let query = params(query)?;
    list(&app, Place { view: core_view(&plural, &query)?, namespace: Some(namespace) }, &query, &headers)
}

async fn core_one(
    State(app): State<App>,
    Path((namespace, plural, name)): Path<(String, String, String)>,
    headers: HeaderMap,
    query: Params,
) -> Answer {
    let query = params(query)?;
    let place = Place { view: core_view(&plural, &query)?, namespace: Some(namespace) };
    one(&app, &place, &name, (&query, &headers))
}

async fn new_events_everywhere(State(app): State<App>, headers: HeaderMap, query: Params) -> Answer {
    let query = params(query)?;
    list(&app, Place::all(event_view(false, &query)), &query, &headers)
}

async fn new_events(State(app): State<App>, Path(namespace): Path<String>, headers: HeaderMap, query: Params) -> Answer {
    let query = params(query)?;
    list(&app, Place { view: event_view(false, &query), namespace: Some(namespace) }, &query, &headers)
}

async fn new_event(
    State(app): State<App>,
    Path((namespace, name)): Path<(String, String)>,
    headers: HeaderMap,
    query: Params,
) -> Answer {
    let query = params(query)?;
    let place = Place { view: event_view(false, &query), namespace: Some(namespace) };
    one(&app, &place, &name, (&query, &headers))
}

async fn log(State(app): State<App>, Path((namespace, name)): Path<(String, String)>, query: Params) -> Answer {
    let place = Place { view: View::Pod, namespace: Some(namespace) };
    if !place.is_there() || app.handle.get(Kind::Worker, &name).is_err() {
        return Err(missing(View::Pod, &name));
    }
    streams::log(&app, &name, &params(query)?)
}

fn the_namespace() -> Value {
    let metadata = json!({"name": NAMESPACE, "uid": NAMESPACE, "resourceVersion": "1", "creationTimestamp": null, "labels": {"kubernetes.io/metadata.name": NAMESPACE}});
    json!({"kind": "Namespace", "apiVersion": "v1", "metadata": metadata, "spec": {}, "status": {"phase": "Active"}})
}

async fn namespaces() -> Json<Value> {
    Json(json!({"kind": "NamespaceList", "apiVersion": "v1", "metadata": {"resourceVersion": "1"}, "items": [the_namespace()]}))
}

async fn namespace(Path(name): Path<String>) -> Answer {
    if name == NAMESPACE {
        return Ok(Json(the_namespace()).into_response());
    }
    let details = Some(Details { name: name.clone(), kind: "namespaces".into(), ..Details::default() });
    Err(Status { details, ..Status::failure(404, "NotFound", format!("namespaces \"{name}\" not found")) }.into())
}

/// The kind of a document that is to be changed.
fn document_kind(plural: &str, what: &str) -> Result<meta::Kind, Refusal> {
    kind_of(plural)?.document().ok_or_else(|| {
        not_allowed(&format!("only workerpools and resourcepolicies can be {what} here; the rest follows from them"))
    })
}

async fn create(State(app): State<App>, Path(plural): Path<String>, peer: Peer, (query, sent): (Params, Sent)) -> Answer {
    let kind = document_kind(&plural, "created")?;
    let (dry, document) = (is_dry(&params(query)?)?, yaml_body(sent)?);
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if app.handle.get(kind.into(), &name).is_ok() {
        let status = Status::failure(409, "AlreadyExists", format!("{plural} \"{name}\" already exists"));
        let details = Some(Details { name, group: GROUP.into(), kind: plural, ..Details::default() });
        return Err(Status { details, ..status }.into());
    }
    edit::create(&app, &Change { kind, name: &name, peer, dry, kubectl: false }, document).await
}

async fn put(
    State(app): State<App>,
    Path((plural, name)): Path<(String, String)>,
    peer: Peer,
    (query, headers, sent): (Params, HeaderMap, Sent),
) -> Answer {
    let (kind, dry) = (document_kind(&plural, "replaced")?, is_dry(&params(query)?)?);
    edit::replace(&app, &Change { kind, name: &name, peer, dry, kubectl: is_kubectl(&headers) }, yaml_body(sent)?).await
}

async fn patch(
    State(app): State<App>,
    Path((plural, name)): Path<(String, String)>,
    peer: Peer,
    (query, headers, sent): (Params, HeaderMap, Sent),
) -> Answer {
    let kind = document_kind(&plural, "patched")?;
    let (dry, patch_kind, patch) = (is_dry(&params(query)?)?, PatchKind::of(&headers)?, yaml_body(sent)?);
    let change = Change { kind, name: &name, peer, dry, kubectl: is_kubectl(&headers) };
    edit::patch(&app, &change, patch_kind, patch).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_of_pods_where_a_selector_can_mean_nothing_else() {
        for (selector, of_pods) in [
            ("involvedObject.kind=Pod,involvedObject.name=web-0", true),
            ("regarding.kind==Pod", true),
            ("involvedObject.name=web-0,involvedObject.namespace=default,involvedObject.uid=x", true),
            ("involvedObject.kind=Worker,involvedObject.namespace=default", false),
            ("involvedObject.name=web-0,involvedObject.uid=x", false),
            ("involvedObject.namespace=", false),
            ("involvedObject.kind!=Pod", false),
            ("", false),
        ] {
            assert_eq!(about_pods(selector), of_pods, "{selector}");
        }
    }
}
