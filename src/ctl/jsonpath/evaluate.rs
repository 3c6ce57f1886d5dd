//! From a template and a value to text.
//!
//! Never fails: what is not there yields nothing, as kubectl has it for missing keys. Values are borrowed all the way, so a
//! path over thousands of objects copies none of them.

use std::cmp::Ordering;

use serde_json::Value;

use super::{Comparison, Operand, Part, Path, Step, bare};

/// Write the parts for `current`; `$` means `root`.
pub(super) fn render(parts: &[Part], root: &Value, current: &Value, out: &mut String) {
    for part in parts {
        match part {
            Part::Text(text) => out.push_str(text),
            Part::Path(path) => {
                let found: Vec<String> = find(path, root, current).into_iter().map(bare).collect();
                out.push_str(&found.join(" "));
            }
            Part::Range(path, inner) => {
                for value in find(path, root, current) {
                    render(inner, root, value, out);
                }
            }
        }
    }
}

/// The values that a path finds.
pub(super) fn find<'a>(path: &Path, root: &'a Value, current: &'a Value) -> Vec<&'a Value> {
    let mut found = vec![current];
    for step in &path.0 {
        found = match step {
            // kubectl's order: all values for the first of a union, then all for the second.
            Step::Any(paths) => {
                let each = |path| found.iter().flat_map(move |value| find(path, root, value));
                paths.iter().flat_map(each).collect()
            }
            Step::Root | Step::Key(_) | Step::Every | Step::Deep | Step::Slice { .. } | Step::Index(_) | Step::Filter(..) => {
                found.into_iter().flat_map(|value| walk(step, root, value)).collect()
            }
        };
    }
    found
}

fn walk<'a>(step: &Step, root: &'a Value, value: &'a Value) -> Vec<&'a Value> {
    match step {
        Step::Root => vec![root],
        Step::Key(key) => by_key(key, value).into_iter().collect(),
        Step::Every => children(value),
        Step::Deep => {
            let mut all = Vec::new();
            deep(value, &mut all);
            all
        }
        Step::Index(index) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            place(*index, items.len()).and_then(|at| items.get(at)).into_iter().collect()
        }
        Step::Slice { from, to, by } => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            let bound = |n: i64| place(n, items.len()).unwrap_or(0).min(items.len());
            let (from, to) = (from.map_or(0, bound), to.map_or(items.len(), bound));
            let by = usize::try_from(*by).unwrap_or(usize::MAX);
            items.get(from..to).unwrap_or_default().iter().step_by(by).collect()
        }
        Step::Any(paths) => paths.iter().flat_map(|path| find(path, root, value)).collect(),
        Step::Filter(left, right) => {
            let items = value.as_array().map(Vec::as_slice).unwrap_or_default();
            items.iter().filter(|item| holds(left, right.as_ref(), root, item)).collect()
        }
    }
}

/// A key, or, when there is none called so, a dotted path.
fn by_key<'a>(key: &str, value: &'a Value) -> Option<&'a Value> {
    value.get(key).or_else(|| {
        let (first, rest) = key.split_once('.')?;
        by_key(rest, value.get(first)?)
    })
}

/// An index, from the end when negative.
fn place(index: i64, length: usize) -> Option<usize> {
    let back = usize::try_from(index.unsigned_abs()).ok()?;
    if index < 0 { length.checked_sub(back) } else { Some(back) }
}

fn children(value: &Value) -> Vec<&Value> {
    match value {
        Value::Array(items) => items.iter().collect(),
        Value::Object(map) => map.values().collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Vec::new(),
    }
}

fn deep<'a>(value: &'a Value, all: &mut Vec<&'a Value>) {
    all.push(value);
    for child in children(value) {
        deep(child, all);
    }
}

fn holds(left: &Operand, right: Option<&(Comparison, Operand)>, root: &Value, item: &Value) -> bool {
    let Some(left) = operand(left, root, item) else { return false };
    let Some((comparison, right)) = right else { return true };
    operand(right, root, item).is_some_and(|right| compare(*comparison, &left, &right))
}

fn operand(operand: &Operand, root: &Value, item: &Value) -> Option<Value> {
    match operand {
        Operand::Literal(value) => Some(value.clone()),
        Operand::Path(path) => find(path, root, item).first().map(|value| (*value).clone()),
    }
}

fn compare(comparison: Comparison, left: &Value, right: &Value) -> bool {
    let order = order(left, right);
    match comparison {
        Comparison::Equal => order == Some(Ordering::Equal),
        Comparison::NotEqual => order != Some(Ordering::Equal),
        Comparison::Less => order == Some(Ordering::Less),
        Comparison::AtMost => matches!(order, Some(Ordering::Less | Ordering::Equal)),
        Comparison::Greater => order == Some(Ordering::Greater),
        Comparison::AtLeast => matches!(order, Some(Ordering::Greater | Ordering::Equal)),
    }
}

fn order(left: &Value, right: &Value) -> Option<Ordering> {
    match (left, right) {
        (Value::String(a), Value::String(b)) => Some(a.cmp(b)),
        (Value::Number(a), Value::Number(b)) => a.as_f64()?.partial_cmp(&b.as_f64()?),
        (a, b) if a == b => Some(Ordering::Equal),
        (_, _) => None,
    }
}
