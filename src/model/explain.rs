//! The text of `ctl explain`: what a field is, read from the same schema that documents are checked against.
//!
//! Only reads and arranges; every word comes from the doc comments and bounds of the types.

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use super::document::refusal::nearest;
use super::document::schema::{choices, resolve, schema, word};
use super::meta::{API_VERSION, Kind, quoted};

/// Deepest level that is listed; nothing in the documents lies deeper.
const DEPTH_MAX: usize = 12;

/// What a field is, and the fields in it.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explained {
    /// The kind of document.
    pub kind: Kind,
    /// The field itself; its name is empty for the document as a whole.
    pub field: Field,
    /// The fields in it, in the order of the documents; `depth` above 0 only when asked for all levels.
    pub fields: Vec<Field>,
}

/// One field.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its type in words: `string`, `integer`, `[]EnvVar`, `map[string]string`, `Template`.
    pub type_name: String,
    /// What it means, with units.
    pub description: String,
    /// It must be given.
    pub required: bool,
    /// What holds when it is not given.
    pub default: Option<String>,
    /// What is allowed: a range, or the values.
    pub allowed: Option<String>,
    /// How far inside the explained field it lies.
    pub depth: usize,
}

/// Explain a path like `pool`, `pool.spec.template` or `policy.spec.bounds`; with `recursive`, all levels below it.
///
/// # Errors
/// What is not there, and the nearest name that is.
pub fn explain(path: &str, recursive: bool) -> Result<Explained, String> {
    let mut names = path.split('.');
    let kind = kind_of(names.next().unwrap_or_default())?;
    let root = schema(kind);
    let (mut node, mut field) = (root, Field { type_name: kind.name().into(), ..describe(root, root, "", false) });
    let mut walked = kind.short_names().last().copied().unwrap_or_default().to_owned();
    for name in names {
        let name = name.split('[').next().unwrap_or_default();
        let inside = inner(root, node);
        let known = inside.get("properties").and_then(Value::as_object);
        let Some(next) = known.and_then(|known| known.get(name)) else {
            let names: Vec<&str> = known.into_iter().flat_map(|known| known.keys().map(String::as_str)).collect();
            let hint = nearest(name, names.iter().copied()).map(|near| format!(", did you mean \"{near}\"?")).unwrap_or_default();
            let listed = if names.is_empty() { "it has none".to_owned() } else { names.join(", ") };
            return Err(format!("{walked} has no field {}{hint} (fields: {listed})", quoted(name)));
        };
        field = describe(root, next, name, is_required(inside, name));
        node = next;
        walked = format!("{walked}.{name}");
    }
    let mut fields = Vec::new();
    list(root, node, 0, recursive, &mut fields);
    Ok(Explained { kind, field, fields })
}

fn kind_of(name: &str) -> Result<Kind, String> {
    let lower = name.to_lowercase();
    let found = Kind::ALL.into_iter().find(|kind| kind.short_names().contains(&lower.as_str()) || kind.abbreviation() == lower);
    found.ok_or_else(|| {
        let names = Kind::ALL.into_iter().flat_map(|kind| kind.short_names().iter().copied());
        let hint = nearest(&lower, names).map(|near| format!(", did you mean \"{near}\"?")).unwrap_or_default();
        format!("there is no kind {}{hint} (kinds: pool, policy)", quoted(name))
    })
}

/// The map that a field holds: itself, or the items of its list.
fn inner<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    let node = resolve(root, node);
    match node.get("items") {
        Some(items) => resolve(root, items),
        None => node,
    }
}

fn is_required(node: &Value, name: &str) -> bool {
    node.get("required").and_then(Value::as_array).is_some_and(|names| names.iter().any(|n| n == name))
}

fn list(root: &Value, node: &Value, depth: usize, recursive: bool, out: &mut Vec<Field>) {
    let inside = inner(root, node);
    for (name, field) in inside.get("properties").and_then(Value::as_object).into_iter().flatten() {
        out.push(Field { depth, ..describe(root, field, name, is_required(inside, name)) });
        if recursive && depth < DEPTH_MAX {
            list(root, field, depth + 1, recursive, out);
        }
    }
}

fn describe(root: &Value, node: &Value, name: &str, required: bool) -> Field {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    Field {
        name: name.into(),
        type_name: type_name(root, node),
        description: word(root, node, "description").map(text).unwrap_or_default().replace('\n', " "),
        required,
        default: node.get("default").map(text),
        allowed: allowed(root, node),
        depth: 0,
    }
}

fn type_name(root: &Value, node: &Value) -> String {
    let named = node.get("$ref").and_then(Value::as_str).and_then(|path| path.rsplit('/').next());
    let resolved = resolve(root, node);
    if let Some(items) = resolved.get("items") {
        return format!("[]{}", type_name(root, items));
    }
    if let Some(others) = resolved.get("additionalProperties").filter(|others| others.is_object()) {
        return format!("map[string]{}", type_name(root, others));
    }
    if !choices(resolved).is_empty() {
        return "string".into();
    }
    match resolved.get("format").and_then(Value::as_str) {
        Some(format @ ("duration" | "memory" | "cpu" | "percent")) => format.into(),
        Some(_) | None => named.or_else(|| resolved.get("type").and_then(Value::as_str)).unwrap_or("value").into(),
    }
}

fn allowed(root: &Value, node: &Value) -> Option<String> {
    let values = choices(resolve(root, node));
    if !values.is_empty() {
        return Some(values.join(" | "));
    }
    let bound = |name: &str| word(root, node, name).map(|value| value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    match (bound("minimum").or_else(|| bound("x-min")), bound("maximum")) {
        (Some(least), Some(most)) => Some(format!("{least} to {most}")),
        (Some(least), None) => (least != "0").then(|| format!("at least {least}")),
        (None, Some(most)) => Some(format!("at most {most}")),
        (None, None) => None,
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let indent = "  ".repeat(self.depth + 1);
        write!(f, "{indent}{}\t<{}>", self.name, self.type_name)?;
        if self.required {
            write!(f, " -required-")?;
        }
        if let Some(allowed) = &self.allowed {
            write!(f, " {allowed}")?;
        }
        if let Some(default) = &self.default {
            write!(f, " (default {default})")?;
        }
        writeln!(f)
    }
}

impl fmt::Display for Explained {
    /// As `kubectl explain` writes it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "KIND:     {}\nVERSION:  {API_VERSION}\n", self.kind)?;
        if !self.field.name.is_empty() {
            writeln!(f, "FIELD:{}", Field { depth: 0, ..self.field.clone() }.to_string().trim_end().replacen("  ", " ", 1))?;
            writeln!(f)?;
        }
        writeln!(f, "DESCRIPTION:\n    {}", self.field.description)?;
        if self.fields.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nFIELDS:")?;
        let deep = self.fields.iter().any(|field| field.depth > 0);
        for field in &self.fields {
            write!(f, "{field}")?;
            if !deep {
                writeln!(f, "    {}\n", field.description)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_explained_with_its_fields() {
        let told = explain("pool.spec.template.backoff", false).unwrap();
        assert_eq!(told.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["initial", "max", "resetAfter"]);
        assert_eq!(told.fields[0].default.as_deref(), Some("1s"));
        let text = told.to_string();
        assert!(text.starts_with("KIND:     WorkerPool\nVERSION:  weir.dev/v1\n\nFIELD: backoff\t<Backoff>"), "{text}");
        let env = explain("WorkerPool.spec.template.env", false).unwrap();
        assert_eq!((env.field.type_name.as_str(), env.fields.len()), ("[]EnvVar", 3));
        let replicas = explain("pool.spec.replicas", false).unwrap().field;
        assert_eq!((replicas.type_name.as_str(), replicas.allowed.as_deref()), ("integer", Some("0 to 10000")));
    }

    #[test]
    fn what_is_not_there_is_named_with_the_nearest() {
        assert!(explain("pol", false).unwrap_err().contains("did you mean \"pool\"?"));
        assert!(
            explain("pool.spec.templat", false)
                .unwrap_err()
                .starts_with("pool.spec has no field \"templat\", did you mean \"template\"?")
        );
        assert!(explain("pool.spec.replicas.x", false).unwrap_err().contains("it has none"));
    }

    #[test]
    fn every_field_of_every_kind_has_a_description() {
        for kind in ["pool", "policy"] {
            let all = explain(kind, true).unwrap();
            assert!(all.fields.len() > 50);
            for field in all.fields {
                assert!(field.description.len() > 1, "{kind}: {}", field.name);
            }
        }
    }
}
