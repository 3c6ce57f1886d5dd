//! Who may change what of a document: what is run, what that is fed, where secrets go and what this machine gives away changes
//! by way of the socket alone.
//!
//! A field is open to the network by being named here, never by being forgotten: everything else is guarded. Nothing that is
//! named may hold a command, an address, a path or a secret; a test walks the schema for that.

use serde_json::Value;

use crate::model::document::Document;
use crate::serve::auth::{Peer, forbidden};
use crate::serve::refusal::Refusal;

/// What of a policy's spec may be changed from afar: how eagerly it moves, within bounds that may not.
const OPEN_POLICY: &[&str] =
    &["mode", "profile", "checkInterval", "scaleUp", "scaleDown", "pressure", "cooldown", "manual", "forecast"];
/// What of a pool's spec may be: how many workers there are, and how they are replaced.
const OPEN_POOL: &[&str] = &["replicas", "workerNames", "updateStrategy"];
/// Of its `scale`.
const OPEN_SCALE: &[&str] = &["minReplicas", "maxReplicas", "minIdle", "paused", "behavior", "fallback", "headroom", "schedules"];
/// Of each of its triggers: when it is asked, and what its number means. The embedded queue is a source that asks nobody else.
const OPEN_TRIGGER: &[&str] =
    &["name", "pollingInterval", "timeout", "step", "targetPerWorker", "exact", "activation", "zeroConfirmations", "queue"];
/// Of its `queue`: in what order tasks go, how long they may take, and what a failure means. Not whether there is one, nor
/// `delivery`: they decide whether what a task carries becomes the standard input of the pool's program, which may be a shell.
const OPEN_QUEUE: &[&str] = &[
    "dispatch",
    "order",
    "ageing",
    "capacity",
    "ttl",
    "timeout",
    "maxTimeout",
    "leaseDuration",
    "retry",
    "failurePolicy",
    "retention",
    "concurrencyKey",
    "schedules",
];

/// `old`: the spec that is there, defaults filled in; none where the object would be new. `new` has its defaults too.
///
/// # Errors
/// 403.
pub fn guard(peer: Peer, old: Option<&Value>, new: &Document) -> Result<(), Refusal> {
    if peer.may_change_commands() {
        return Ok(());
    }
    let Some(old) = old else {
        let why = match new {
            Document::WorkerPool(_) => "a new pool brings a command, spec.template",
            Document::ResourcePolicy(_) => "a new policy brings bounds, spec.bounds",
        };
        return Err(forbidden(&format!(
            "{why}: it can only be created on this machine, by way of the socket (ctl apply), by root or the user that weir runs as"
        )));
    };
    let (guarded, why): (fn(&Value) -> Fields, _) = match new {
        Document::WorkerPool(_) => (of_pool, "says what is run, what that is fed or where secrets go"),
        Document::ResourcePolicy(_) => (of_policy, "says what is measured or what this machine gives away"),
    };
    let (old, new) = (guarded(old), guarded(&new.spec()));
    let differs = |field: &&(String, Value), in_: &[(String, Value)]| !in_.contains(field);
    match old.iter().find(|field| differs(field, &new)).or_else(|| new.iter().find(|field| differs(field, &old))) {
        Some((field, _)) => Err(forbidden(&format!(
            "{field} {why}: it can only be changed on this machine, by way of the socket (ctl apply, ctl edit), by root or the user \
             that weir runs as"
        ))),
        None => Ok(()),
    }
}

/// Paths and what stands there.
type Fields = Vec<(String, Value)>;

fn of_pool(spec: &Value) -> Fields {
    let (scale, queue) = (&spec["scale"], &spec["queue"]);
    // Those that ask nobody else may come and go.
    let triggers = scale["triggers"].as_array().into_iter().flatten().map(|trigger| but(trigger, &[OPEN_TRIGGER]));
    let triggers: Vec<Value> = triggers.filter(|guarded| guarded.as_object().is_some_and(|fields| !fields.is_empty())).collect();
    let mut fields = closed("spec", spec, &[OPEN_POOL, &["scale", "queue"]]);
    fields.extend(closed("spec.scale", scale, &[OPEN_SCALE, &["triggers"]]));
    fields.push(("spec.scale.triggers".into(), triggers.into()));
    fields.push(("spec.queue".into(), queue.is_object().into()));
    fields.extend(closed("spec.queue", queue, &[OPEN_QUEUE]));
    fields
}

fn of_policy(spec: &Value) -> Fields {
    closed("spec", spec, &[OPEN_POLICY])
}

/// The fields of an object that are not open, where they say something.
fn closed(path: &str, object: &Value, open: &[&[&str]]) -> Fields {
    let says_something = |value: &Value| match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(fields) => !fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    };
    let fields = but(object, open);
    let fields = fields.as_object().into_iter().flatten().filter(|(_, value)| says_something(value));
    fields.map(|(name, value)| (format!("{path}.{name}"), value.clone())).collect()
}

/// An object without these fields.
fn but(object: &Value, open: &[&[&str]]) -> Value {
    let guarded = |name: &&String| !open.iter().any(|open| open.contains(&name.as_str()));
    let fields = object.as_object().into_iter().flatten().filter(|(name, _)| guarded(name));
    Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::document::schema::schema;
    use crate::model::meta::Kind;
    use crate::serve::auth::{Role, Transport};

    /// What a field may hold that nobody from afar may say.
    const DANGEROUS: &[&str] = &["command", "url", "host", "path", "glob", "file", "env", "user", "query", "workingDir", "port"];

    /// The schema that a reference means.
    fn meant<'a>(root: &'a Value, schema: &'a Value) -> &'a Value {
        let name = schema["$ref"].as_str().and_then(|at| at.strip_prefix("#/$defs/"));
        name.map_or(schema, |name| &root["$defs"][name])
    }

    fn field<'a>(root: &'a Value, schema: &'a Value, name: &str) -> &'a Value {
        meant(root, &meant(root, schema)["properties"][name])
    }

    /// Every name of a field at or below this schema.
    fn names(root: &Value, schema: &Value, found: &mut BTreeSet<String>) {
        let schema = meant(root, schema);
        for (name, below) in schema["properties"].as_object().into_iter().flatten() {
            if found.insert(name.clone()) || below.get("$ref").is_none() {
                names(root, below, found);
            }
        }
        if let Some(items) = schema.get("items") {
            names(root, items, found);
        }
        for choices in ["anyOf", "oneOf", "allOf"] {
            schema[choices].as_array().into_iter().flatten().for_each(|choice| names(root, choice, found));
        }
    }

    #[test]
    fn no_open_field_can_hold_a_command_an_address_a_path_or_a_secret() {
        let (pool, policy) = (schema(Kind::WorkerPool), schema(Kind::ResourcePolicy));
        let spec = field(pool, pool, "spec");
        let (scale, queue) = (field(pool, spec, "scale"), field(pool, spec, "queue"));
        let trigger = meant(pool, &field(pool, scale, "triggers")["items"]);
        let all = [
            (pool, spec, OPEN_POOL),
            (pool, scale, OPEN_SCALE),
            (pool, trigger, OPEN_TRIGGER),
            (pool, queue, OPEN_QUEUE),
            (policy, field(policy, policy, "spec"), OPEN_POLICY),
        ];
        let mut seen = BTreeSet::new();
        for (root, of, open) in all {
            for name in open {
                let open = field(root, of, name);
                assert!(open.is_object(), "{name} is no field there");
                let mut below = BTreeSet::new();
                names(root, open, &mut below);
                let holds: Vec<&&str> = DANGEROUS.iter().filter(|name| below.contains(**name)).collect();
                assert!(holds.is_empty(), "{name} can hold {holds:?}");
            }
            names(root, of, &mut seen);
        }
        let unknown: Vec<&&str> = DANGEROUS.iter().filter(|name| !seen.contains(**name)).collect();
        assert!(unknown.is_empty(), "the walk finds no {unknown:?} anywhere: it does not go deep enough");
    }

    #[test]
    fn what_is_guarded_is_told_by_its_path() {
        let exec = serde_json::json!({"exec": {"command": ["id"]}});
        let told = |spec: Value| of_pool(&spec).into_iter().map(|(path, _)| path).collect::<Vec<_>>();
        let spec = serde_json::json!({
            "replicas": 3, "template": {"command": ["a"]}, "queue": {"capacity": 3, "webhooks": [{"provider": "gitea"}]},
            "scale": {"maxReplicas": 3, "quota": [{"name": "q", "source": exec}], "triggers": [{"name": "t", "queue": {}}]},
            "tomorrow": {"what": "nobody knows"},
        });
        let paths =
            ["spec.template", "spec.tomorrow", "spec.scale.quota", "spec.scale.triggers", "spec.queue", "spec.queue.webhooks"];
        assert_eq!(told(spec), paths);
        let triggers = |spec: Value| of_pool(&spec).into_iter().find(|(path, _)| path == "spec.scale.triggers").unwrap().1;
        let asks_nobody = serde_json::json!({"scale": {"triggers": [{"name": "t", "queue": {}, "targetPerWorker": 2}]}});
        assert_eq!(triggers(asks_nobody), serde_json::json!([]));
        let runs = serde_json::json!({"scale": {"triggers": [{"name": "t", "targetPerWorker": 2, "exec": {"command": ["id"]}}]}});
        assert_eq!(triggers(runs), serde_json::json!([{"exec": {"command": ["id"]}}]));
    }
    /// What the guard says of a pool's change from afar: the field, or nothing.
    fn refused(old: &str, new: &str) -> Option<String> {
        let pool = |queue: &str| {
            let text = format!(
                "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: a}}\nspec:\n  template: {{command: [sh, -s]}}\n{queue}"
            );
            crate::model::document::parse(text.as_bytes()).remove(0).unwrap().document.defaulted()
        };
        let afar = Peer { role: Role::Admin, transport: Transport::Network };
        let refusal = guard(afar, Some(&pool(old).spec()), &pool(new)).err()?;
        assert_eq!(refusal.status().code, 403);
        refusal.status().message.split_once(' ').map(|(field, _)| field.to_owned())
    }

    #[test]
    fn what_a_program_is_fed_is_not_decided_from_afar() {
        let (none, process, lease) = ("", "  queue: {}\n", "  queue: {delivery: Lease}\n");
        for (old, new, field) in [
            (none, process, Some("spec.queue")),
            (none, lease, Some("spec.queue")),
            (process, none, Some("spec.queue")),
            (lease, none, Some("spec.queue")),
            (lease, process, Some("spec.queue.delivery")),
            (process, lease, Some("spec.queue.delivery")),
            (process, "  queue: {delivery: Process, capacity: 7}\n", None),
            (lease, "  queue: {delivery: Lease, order: FIFO, ttl: 1h}\n", None),
            (none, none, None),
        ] {
            assert_eq!(refused(old, new).as_deref(), field, "{old:?} to {new:?}");
        }
    }
}
