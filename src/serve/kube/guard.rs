//! Who may change what of a document: what is run, where secrets go and what this machine gives away changes by way of the
//! socket alone.
//!
//! A field is open to the network by being named here, never by being forgotten: of a policy everything else is guarded, of a
//! pool what holds a command, an address or a secret.

use serde_json::{Value, json};

use crate::model::document::Document;
use crate::model::source;
use crate::serve::auth::{Peer, forbidden};
use crate::serve::refusal::Refusal;

/// What of a policy's spec may be changed from afar: how eagerly it moves, within bounds that may not.
const OPEN: &[&str] = &["mode", "profile", "checkInterval", "scaleUp", "scaleDown", "pressure", "cooldown", "manual", "forecast"];

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
        Document::WorkerPool(_) => (of_pool, "says what is run or where secrets go"),
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
    let only_source = |trigger: &Value| {
        let fields = trigger.as_object().into_iter().flatten().filter(|(name, _)| source::NAMES.contains(&name.as_str()));
        Value::Object(fields.map(|(name, value)| (name.clone(), value.clone())).collect())
    };
    let triggers = spec.pointer("/scale/triggers").and_then(Value::as_array).into_iter().flatten().map(only_source);
    let webhooks = spec.pointer("/queue/webhooks").filter(|hooks| **hooks != json!([]));
    vec![
        ("spec.template".into(), spec["template"].clone()),
        ("spec.notify".into(), spec["notify"].clone()),
        ("spec.queue.webhooks".into(), webhooks.cloned().unwrap_or_default()),
        // The embedded queue is the pool's own: following it asks nobody else.
        ("spec.scale.triggers".into(), triggers.filter(|source| source.get("queue").is_none()).collect()),
    ]
}

fn of_policy(spec: &Value) -> Fields {
    let fields = spec.as_object().into_iter().flatten().filter(|(name, _)| !OPEN.contains(&name.as_str()));
    fields.map(|(name, value)| (format!("spec.{name}"), value.clone())).collect()
}
