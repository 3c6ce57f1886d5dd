//! `weir crds`: CustomResourceDefinitions of both kinds, so that a cluster's tools can hold and check the same documents.
//!
//! Made of the same JSON Schema that documents are checked against. A structural schema knows less than that: references are
//! written out, and what has no word in it (one of several fields, quantities' bounds) is left to weir itself.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use crate::model::document::{schema, to_yaml};
use crate::model::meta::Kind;
use crate::model::status;
use crate::output;
use crate::serve::wire::{GROUP, short_names, singular};

/// Print both, as one YAML stream.
pub fn run() -> ExitCode {
    let all: String = Kind::ALL.into_iter().map(|kind| format!("---\n{}\n", to_yaml(&definition(kind)).trim_end())).collect();
    output::print(&all, ExitCode::SUCCESS)
}

/// The definition of a kind.
fn definition(kind: Kind) -> Value {
    let served = match kind {
        Kind::WorkerPool => status::Kind::Pool,
        Kind::ResourcePolicy => status::Kind::Policy,
    };
    let (plural, name) = (served.plural(), kind.name());
    let names = json!({
        "plural": plural, "singular": singular(served), "kind": name, "listKind": format!("{name}List"),
        "shortNames": short_names(served), "categories": ["weir"],
    });
    let mut subresources = json!({"status": {}});
    if kind == Kind::WorkerPool {
        subresources["scale"] = json!({"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"});
    }
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": whole(kind)},
        "subresources": subresources, "additionalPrinterColumns": columns(kind),
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.{GROUP}")},
        "spec": {"group": GROUP, "scope": "Cluster", "names": names, "versions": [version]},
    })
}

fn columns(kind: Kind) -> Value {
    let column = |name: &str, kind: &str, path: &str| json!({"name": name, "type": kind, "jsonPath": path});
    let age = column("Age", "date", ".metadata.creationTimestamp");
    match kind {
        Kind::WorkerPool => json!([
            column("Ready", "integer", ".status.readyReplicas"),
            column("Desired", "integer", ".status.desiredReplicas"),
            age
        ]),
        Kind::ResourcePolicy => json!([column("Mode", "string", ".spec.mode"), age]),
    }
}

/// The schema of the object: metadata is Kubernetes' own, the status is weir's to write.
fn whole(kind: Kind) -> Value {
    let root = schema::schema(kind);
    let spec = structural(root, &root["properties"]["spec"], &mut Vec::new());
    let text = json!({"type": "string"});
    let status = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let properties =
        json!({"apiVersion": text.clone(), "kind": text, "metadata": {"type": "object"}, "spec": spec, "status": status});
    json!({"type": "object", "required": ["spec"], "description": root["description"], "properties": properties})
}

/// Words of a structural schema that are taken over as they are.
const KEPT: [&str; 13] = [
    "description",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "pattern",
    "minItems",
    "maxItems",
    "minProperties",
    "maxProperties",
    "required",
    "default",
    "enum",
];

/// A node, with what it refers to written out. `above` are the references that led here: what refers to itself takes anything.
fn structural(root: &Value, node: &Value, above: &mut Vec<String>) -> Value {
    let target = node.get("$ref").and_then(Value::as_str).map(str::to_owned);
    if let Some(target) = &target {
        if above.contains(target) {
            return anything(node);
        }
        above.push(target.clone());
    }
    let out = written_out(root, node, above);
    if target.is_some() {
        above.pop();
    }
    out
}

fn written_out(root: &Value, node: &Value, above: &mut Vec<String>) -> Value {
    let word = |name: &str| schema::word(root, node, name);
    let mut out = Map::new();
    for name in KEPT {
        if let Some(value) = word(name).filter(|value| !value.is_null() && !looks_around(value)) {
            out.insert(name.into(), value.clone());
        }
    }
    let choices = schema::choices(schema::resolve(root, node));
    if !choices.is_empty() {
        out.insert("type".into(), "string".into());
        out.insert("enum".into(), choices.into());
        return Value::Object(out);
    }
    match word("type").and_then(Value::as_str) {
        Some("object") => object(root, node, &mut out, above),
        Some("array") => {
            let items = word("items").map_or_else(|| anything(&Value::Null), |items| structural(root, items, above));
            out.insert("type".into(), "array".into());
            out.insert("items".into(), items);
        }
        Some(plain) => drop(out.insert("type".into(), plain.into())),
        // Several types, or any.
        None => {
            out.retain(|name, _| name == "description" || name == "default");
            out.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
        }
    }
    Value::Object(out)
}

/// A pattern that Go's regular expressions cannot say.
fn looks_around(value: &Value) -> bool {
    value.as_str().is_some_and(|text| ["(?=", "(?!", "(?<"].iter().any(|part| text.contains(part)))
}

fn object(root: &Value, node: &Value, out: &mut Map<String, Value>, above: &mut Vec<String>) {
    out.insert("type".into(), "object".into());
    let word = |name: &str| schema::word(root, node, name);
    if let Some(Value::Object(fields)) = word("properties") {
        let fields = fields.iter().map(|(name, field)| (name.clone(), structural(root, field, above))).collect();
        out.insert("properties".into(), Value::Object(fields));
    } else if let Some(others) = word("additionalProperties").filter(|others| others.is_object()) {
        out.insert("additionalProperties".into(), structural(root, others, above));
    } else {
        out.insert("x-kubernetes-preserve-unknown-fields".into(), true.into());
    }
}

fn anything(node: &Value) -> Value {
    let mut out = json!({"x-kubernetes-preserve-unknown-fields": true});
    if let Some(text) = node.get("description") {
        out["description"] = text.clone();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the API server of Kubernetes says of a schema that is not structural.
    fn complaints(path: &str, node: &Value, found: &mut Vec<String>) {
        let Some(object) = node.as_object() else { return found.push(format!("{path}: {node} is no schema")) };
        let free = object.get("x-kubernetes-preserve-unknown-fields") == Some(&json!(true));
        if object.get("type").and_then(Value::as_str).is_none() && !free {
            found.push(format!("{path}: no type"));
        }
        for (word, value) in object {
            let known = ["type", "properties", "additionalProperties", "items", "x-kubernetes-preserve-unknown-fields"];
            if !known.contains(&word.as_str()) && !KEPT.contains(&word.as_str()) {
                found.push(format!("{path}: {word}"));
            }
            if word == "pattern" && value.as_str().is_some_and(|text| text.contains("(?=") || text.contains("(?!")) {
                found.push(format!("{path}: {value} is no RE2"));
            }
        }
        if object.contains_key("properties") && object.contains_key("additionalProperties") {
            found.push(format!("{path}: fields and others"));
        }
        for name in object.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
            if object.get("properties").is_some_and(|fields| fields.get(name).is_none()) {
                found.push(format!("{path}: {name} is required and not there"));
            }
        }
        for (name, field) in object.get("properties").and_then(Value::as_object).into_iter().flatten() {
            complaints(&format!("{path}.{name}"), field, found);
        }
        for below in ["items", "additionalProperties"] {
            object.get(below).into_iter().for_each(|node| complaints(&format!("{path}[]"), node, found));
        }
    }

    #[test]
    fn the_schemas_are_structural() {
        for kind in Kind::ALL {
            let mut found = Vec::new();
            let schema = &definition(kind)["spec"]["versions"][0]["schema"]["openAPIV3Schema"];
            complaints("", schema, &mut found);
            assert!(found.is_empty(), "{kind}: {}", found.join("\n"));
        }
    }

    #[test]
    fn fields_words_and_enums_come_through() {
        let pool = definition(Kind::WorkerPool);
        assert_eq!(pool["metadata"]["name"], "workerpools.weir.dev");
        let spec = &pool["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
        let template = &spec["properties"]["template"]["properties"];
        assert_eq!(template["command"]["items"]["type"], "string", "{template}");
        assert!(template["restartPolicy"]["enum"].as_array().unwrap().contains(&json!("OnFailure")));
        assert!(spec["properties"]["replicas"]["description"].is_string());
        let policy = definition(Kind::ResourcePolicy);
        assert_eq!((&policy["spec"]["names"]["kind"], &policy["spec"]["scope"]), (&json!("ResourcePolicy"), &json!("Cluster")));
    }
}
