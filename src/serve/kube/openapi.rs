//! OpenAPI v2 and v3, made from the same types that are served: what `kubectl explain` and client-side validation read.
//!
//! The types say everything in JSON Schema; what Kubernetes' clients cannot read of it is said more simply here: no null, enums
//! as lists, references in `allOf`. Made once, when first asked for.

use std::sync::OnceLock;

use axum::Json;
use axum::extract::Path;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::proto::written;
use crate::model::policy_status::PolicyObject;
use crate::model::status::{EventObject, PoolObject, WorkerObject};
use crate::serve::refusal::{Refusal, nowhere};
use crate::serve::wire::GROUP;
use crate::serve::wire::NAMESPACE;
use crate::serve::wire::tasks::TaskObject;

/// The names of components begin so.
const PREFIX: &str = "dev.weir.v1.";

/// `/openapi/v3`
pub async fn index() -> Json<Value> {
    let at = |path: &str| json!({"serverRelativeURL": format!("/openapi/v3/{path}?hash={}", env!("CARGO_PKG_VERSION"))});
    Json(json!({"paths": {"api/v1": at("api/v1"), format!("apis/{GROUP}/v1"): at(&format!("apis/{GROUP}/v1"))}}))
}

/// `/openapi/v3/apis/{group}/{version}`
///
/// # Errors
/// 404.
pub async fn group(Path((group, version)): Path<(String, String)>) -> Result<Json<&'static Value>, Refusal> {
    static OURS: OnceLock<Value> = OnceLock::new();
    if (group.as_str(), version.as_str()) != (GROUP, "v1") {
        return Err(nowhere(""));
    }
    Ok(Json(OURS.get_or_init(|| {
        let paths = json!({
            format!("/apis/{GROUP}/v1/workerpools"): documents("WorkerPool"),
            format!("/apis/{GROUP}/v1/workerpools/{{name}}"): document("WorkerPool"),
            format!("/apis/{GROUP}/v1/resourcepolicies"): documents("ResourcePolicy"),
            format!("/apis/{GROUP}/v1/resourcepolicies/{{name}}"): document("ResourcePolicy"),
            format!("/apis/{GROUP}/v1/workers"): {"get": list("Worker")},
            format!("/apis/{GROUP}/v1/workers/{{name}}"): {"get": operation("get", "Worker"), "delete": operation("delete", "Worker")},
            format!("/apis/{GROUP}/v1/events"): {"get": list("Event")},
            format!("/apis/{GROUP}/v1/tasks"): documents("Task"),
            // The patch is refused; kubectl looks there whether the server checks fields, and sends no task otherwise.
            format!("/apis/{GROUP}/v1/tasks/{{id}}"): document("Task"),
        });
        json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas("#/components/schemas/")}})
    })))
}

/// `/openapi/v3/api/v1`: workers as Pods.
pub async fn core() -> Json<Value> {
    let of = |kind: &str| json!({"type": "object", "description": format!("A {kind}, as weir serves it."), "x-kubernetes-group-version-kind": [{"group": "", "version": "v1", "kind": kind}]});
    let get = |kind: &str| json!({"get": {"operationId": format!("get{kind}"), "responses": {"200": {"description": "OK"}}, "x-kubernetes-action": "get", "x-kubernetes-group-version-kind": {"group": "", "version": "v1", "kind": kind}}});
    let paths = json!({
        "/api/v1/namespaces/{namespace}/pods/{name}": get("Pod"), "/api/v1/namespaces/{namespace}/events/{name}": get("Event"),
        "/api/v1/namespaces/{name}": get("Namespace"),
    });
    let schemas = json!({"v1.Pod": of("Pod"), "v1.Event": of("Event"), "v1.Namespace": of("Namespace")});
    Json(json!({"openapi": "3.0.0", "info": info(), "paths": paths, "components": {"schemas": schemas}}))
}

/// `/openapi/v2`. As protobuf, which kubectl alone asks for, it describes nothing: kubectl takes what it does not find there for
/// right, as far as its own check goes, and leaves the rest to the server.
pub async fn old(headers: HeaderMap) -> Response {
    // Asked for with a character that cannot stand in a media type, and answered without it.
    const KIND: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let first = accept.split([',', ';']).next().unwrap_or_default().trim();
    if first.replace('@', ".") == KIND {
        let info = [written(1, b"weir"), written(2, env!("CARGO_PKG_VERSION").as_bytes())].concat();
        let document = [written(1, b"2.0"), written(2, &info)].concat();
        return ([(header::CONTENT_TYPE, KIND)], document).into_response();
    }
    Json(old_json()).into_response()
}

fn old_json() -> &'static Value {
    static OLD: OnceLock<Value> = OnceLock::new();
    OLD.get_or_init(|| {
        let post = |kind: &str| {
            let mut post = operation("post", kind);
            post["parameters"] =
                json!([{"name": "body", "in": "body", "schema": {"$ref": format!("#/definitions/{PREFIX}{kind}")}}]);
            json!({"post": post})
        };
        let paths = json!({
            format!("/apis/{GROUP}/v1/workerpools"): post("WorkerPool"),
            format!("/apis/{GROUP}/v1/resourcepolicies"): post("ResourcePolicy"),
            format!("/apis/{GROUP}/v1/tasks"): post("Task"),
        });
        json!({"swagger": "2.0", "info": info(), "paths": paths, "definitions": schemas("#/definitions/")})
    })
}

fn info() -> Value {
    json!({"title": "weir", "version": env!("CARGO_PKG_VERSION"), "description": format!("Namespaced objects are in {NAMESPACE}.")})
}

/// What can be done to all of a kind that has documents.
fn documents(kind: &str) -> Value {
    json!({"get": list(kind), "post": operation("post", kind)})
}

/// What can be done to one of them.
fn document(kind: &str) -> Value {
    let each = ["get", "put", "patch", "delete"].map(|action| (action.to_owned(), operation(action, kind)));
    Value::Object(each.into_iter().collect())
}

fn list(kind: &str) -> Value {
    let mut list = operation("list", kind);
    list["operationId"] = format!("list{kind}").into();
    list
}

fn operation(action: &str, kind: &str) -> Value {
    let gvk = json!({"group": GROUP, "version": "v1", "kind": kind});
    let text = |name: &str| json!({"name": name, "in": "query", "schema": {"type": "string"}});
    let parameters = match action {
        "post" | "put" | "patch" => vec![text("dryRun"), text("fieldManager"), text("fieldValidation")],
        _ => Vec::new(),
    };
    json!({
        "operationId": format!("{action}{kind}"), "parameters": parameters, "responses": {"200": {"description": "OK"}},
        "x-kubernetes-action": action, "x-kubernetes-group-version-kind": gvk,
    })
}

/// The components, referring to each other below `root`.
fn schemas(root: &str) -> Value {
    let mut all = Map::new();
    add::<PoolObject>("WorkerPool", root, &mut all);
    add::<PolicyObject>("ResourcePolicy", root, &mut all);
    add::<WorkerObject>("Worker", root, &mut all);
    add::<EventObject>("Event", root, &mut all);
    add::<TaskObject>("Task", root, &mut all);
    Value::Object(all)
}

fn add<T: JsonSchema>(kind: &str, root: &str, all: &mut Map<String, Value>) {
    let generator = SchemaSettings::draft2020_12().with(|settings| settings.meta_schema = None).into_generator();
    let mut whole = generator.into_root_schema_for::<T>().to_value();
    let defs = whole.as_object_mut().and_then(|whole| whole.remove("$defs"));
    simple(&mut whole, root);
    whole["x-kubernetes-group-version-kind"] = json!([{"group": GROUP, "version": "v1", "kind": kind}]);
    // Of a worker and an event nothing but metadata is ever sent; a pool's status is never read.
    if let Some(whole) = whole.as_object_mut() {
        whole.remove("title");
        whole.remove("required");
    }
    all.insert(format!("{PREFIX}{kind}"), whole);
    if let Some(Value::Object(defs)) = defs {
        for (name, mut schema) in defs {
            simple(&mut schema, root);
            // What weir adds to metadata need not be written.
            if let Some(schema) = schema.as_object_mut().filter(|_| name == "Meta") {
                schema.remove("required");
            }
            all.insert(format!("{PREFIX}{name}"), schema);
        }
    }
}

/// As Kubernetes' clients can read it.
fn simple(schema: &mut Value, root: &str) {
    match schema {
        Value::Array(items) => items.iter_mut().for_each(|item| simple(item, root)),
        Value::Object(object) => {
            object.retain(|key, _| !key.starts_with("x-") || key.starts_with("x-kubernetes"));
            without_null(object);
            listed(object);
            bounded(object);
            if let Some(target) = object.get("$ref").and_then(Value::as_str).and_then(|target| target.strip_prefix("#/$defs/")) {
                let target = json!([{"$ref": format!("{root}{PREFIX}{target}")}]);
                object.remove("$ref");
                object.insert("allOf".into(), target);
            }
            for (key, value) in object.iter_mut() {
                if key != "allOf" || value.pointer("/0/$ref").is_none() {
                    simple(value, root);
                }
                // A schema that takes anything.
                if value == &json!(true) && ["items", "additionalProperties"].contains(&key.as_str()) {
                    *value = json!({"x-kubernetes-preserve-unknown-fields": true});
                }
                if let Some(fields) = value.as_object_mut().filter(|_| key == "properties") {
                    let free = json!({"x-kubernetes-preserve-unknown-fields": true});
                    fields.values_mut().filter(|field| field.is_boolean()).for_each(|field| *field = free.clone());
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn without_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        let first = types.first().cloned().unwrap_or(json!("object"));
        object.insert("type".into(), first);
    }
    if let Some(Value::Array(choices)) = object.get_mut("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&json!("null")));
        if let [Value::Object(only)] = choices.as_slice() {
            let only = only.clone();
            object.remove("anyOf");
            for (key, value) in only {
                object.entry(key).or_insert(value);
            }
        }
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
}

/// A bound that does not belong to the range is a flag beside it, before OpenAPI 3.1.
fn bounded(object: &mut Map<String, Value>) {
    for (flag, bound) in [("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")] {
        if let Some(number) = object.get(flag).filter(|number| number.is_number()).cloned() {
            object.insert(bound.into(), number);
            object.insert(flag.into(), json!(true));
        }
    }
    if let Some(only) = object.remove("const") {
        object.insert("enum".into(), json!([only]));
    }
}

/// Described values as an enum: the words are lost, as there is no place for them.
fn listed(object: &mut Map<String, Value>) {
    let Some(Value::Array(choices)) = object.get("oneOf") else { return };
    let values: Option<Vec<Value>> = choices.iter().map(|choice| choice.get("const").cloned()).collect();
    if let Some(values) = values {
        object.remove("oneOf");
        object.insert("type".into(), json!("string"));
        object.insert("enum".into(), Value::Array(values));
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where something fails")]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere() {
        for root in ["#/components/schemas/", "#/definitions/"] {
            let all = schemas(root);
            let text = all.to_string();
            let targets: Vec<&str> = text.split("\"$ref\":\"").skip(1).map(|rest| rest.split('"').next().unwrap()).collect();
            assert!(targets.len() > 20);
            for target in targets {
                assert!(all.get(target.strip_prefix(root).unwrap()).is_some(), "{target}");
            }
            assert!(!text.contains("\"null\"") && !text.contains("$defs"));
            // Go's types for OpenAPI 3.0 have room for a flag here and for no number.
            assert!(!text.contains("\"exclusiveMinimum\":0") && text.contains("\"exclusiveMinimum\":true"));
        }
    }
}
