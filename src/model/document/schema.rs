//! The JSON Schema of each kind: what `weir schema` prints, what `explain` reads, and what documents are checked against.
//!
//! One text for all three, made from the types, so that they cannot drift apart. Some rules have no word in JSON Schema that is
//! good to read; they are extensions: `x-exactly-one` and `x-at-most-one` (of these fields), `x-min` (of a quantity or
//! duration), `x-optional-prefix` (of an enum's values), and `format` names that `check` knows.

use std::sync::OnceLock;

use schemars::generate::SchemaSettings;
use serde_json::{Map, Value};

use crate::model::meta::Kind;
use crate::model::policy::ResourcePolicy;
use crate::model::pool::WorkerPool;

/// Fields this deep are not looked for.
const DEEP: usize = 6;

/// The JSON Schema (2020-12) of a kind.
pub fn schema(kind: Kind) -> &'static Value {
    static POOL: OnceLock<Value> = OnceLock::new();
    static POLICY: OnceLock<Value> = OnceLock::new();
    match kind {
        Kind::WorkerPool => POOL.get_or_init(|| generate(kind)),
        Kind::ResourcePolicy => POLICY.get_or_init(|| generate(kind)),
    }
}

fn generate(kind: Kind) -> Value {
    let generator = SchemaSettings::draft2020_12().into_generator();
    let root = match kind {
        Kind::WorkerPool => generator.into_root_schema_for::<WorkerPool>(),
        Kind::ResourcePolicy => generator.into_root_schema_for::<ResourcePolicy>(),
    };
    let mut value = root.to_value();
    tidy(&mut value);
    value
}

/// No field may be null: a value that was cut off must not read as "not given". And formats of items move to the items.
fn tidy(value: &mut Value) {
    match value {
        Value::Object(object) => {
            drop_null(object);
            if let Some(format) = object.remove("x-items-format")
                && let Some(items) = object.get_mut("items").and_then(Value::as_object_mut)
            {
                items.insert("format".into(), format);
            }
            object.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn drop_null(object: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    if let Some(Value::Array(mut choices)) = object.remove("anyOf") {
        choices.retain(|choice| choice.get("type") != Some(&Value::from("null")));
        match choices.pop() {
            Some(Value::Object(only)) if choices.is_empty() => {
                object.extend(only.into_iter().filter(|(k, _)| k != "description"))
            }
            Some(last) => {
                choices.push(last);
                object.insert("anyOf".into(), Value::Array(choices));
            }
            None => {}
        }
    }
    if object.get("default") == Some(&Value::Null) {
        object.remove("default");
    }
}

/// Follow a `$ref` into the definitions of the same schema.
pub fn resolve<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let target = node.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
    target.and_then(|pointer| root.pointer(pointer)).unwrap_or(node)
}

/// Where fields of this name may stand, by maps alone: `spec.template.backoff`. More than `most`: none, it means too little.
pub fn homes(root: &Value, name: &str, most: usize) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![(String::new(), root)]);
    while let Some((path, node)) = open.pop() {
        let fields = resolve(root, node).get("properties").and_then(Value::as_object);
        for (field, node) in fields.into_iter().flatten() {
            let here = if path.is_empty() { field.clone() } else { format!("{path}.{field}") };
            if field == name {
                found.push(here);
            // A schema may hold itself; no document is so deep.
            } else if here.matches('.').count() < DEEP {
                open.push((here, node));
            }
        }
    }
    found.sort();
    if found.len() > most { Vec::new() } else { found }
}

/// A word of a schema node, looked up beside its `$ref` first and then behind it.
pub fn word<'a>(root: &'a Value, node: &'a Value, name: &str) -> Option<&'a Value> {
    node.get(name).or_else(|| resolve(root, node).get(name))
}

/// The values of an enum, if this is one, as they are written.
pub fn choices(node: &Value) -> Vec<&str> {
    let listed = node.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let single = node.get("const").and_then(Value::as_str);
    let described = node.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let described = described.flat_map(|choice| {
        let one = choice.get("const").and_then(Value::as_str);
        let many = choice.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
        one.into_iter().chain(many)
    });
    single.into_iter().chain(listed).chain(described).collect()
}
