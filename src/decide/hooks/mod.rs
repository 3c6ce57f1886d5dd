//! What becomes of a forge's delivery: believed, named, wanted, permitted, and made into a task; or which of these it is not.
//!
//! In that order, and nothing of the body is read before its signature is good. What a good delivery says is a hint all the
//! same: it was true once, and whoever acts on it looks again. Reads no secret and submits nothing.

mod actor;
mod fields;
mod naming;
pub mod signature;
#[cfg(test)]
mod tests;

use serde_json::Value;

use self::fields::Fields;
use self::naming::Named;
use self::signature::Secrets;
use crate::model::hook::{Accepted, Delivery, ForgeKind, Ignored, Outcome, Refusal, Verdict, Wake};
use crate::model::pool::PoolSpec;
use crate::model::queue::ForgeHook;
use crate::model::scale::Trigger;
use crate::model::source::ForgeSource;

/// Brackets inside one another that a body may have.
const DEPTH_MAX: usize = 64;
/// Values that a body may have, roughly: each costs memory once it is read, a few hundred bytes at most.
const VALUES_MAX: usize = 50_000;

/// What becomes of this delivery.
pub fn judge(hook: &ForgeHook, secrets: &Secrets, delivery: &Delivery<&[u8]>) -> Verdict {
    let refused = |refusal| Verdict { outcome: Outcome::Refused(refusal), wake: None };
    let (signature, body) = match believed(hook, secrets, delivery) {
        Ok(good) => good,
        Err(refusal) => return refused(refusal),
    };
    let repository = body.pointer("/repository/full_name").and_then(Value::as_str).map(str::to_owned);
    let wake = Some(Wake { provider: hook.provider, repository });
    Verdict { outcome: wanted(hook, delivery, signature, &body).unwrap_or_else(Outcome::Refused), wake }
}

/// The triggers of a pool that should ask again, by name: those that ask this kind of forge about this repository.
pub fn woken(spec: &PoolSpec, wake: &Wake) -> Vec<String> {
    let asks = |trigger: &&Trigger| {
        let source = match wake.provider {
            ForgeKind::Forgejo => &trigger.source.forgejo,
            ForgeKind::Gitea => &trigger.source.gitea,
            ForgeKind::Github => &trigger.source.github,
        };
        let same = |of: &ForgeSource| wake.repository.as_ref().is_none_or(|name| name.eq_ignore_ascii_case(&of.repository));
        source.as_ref().is_some_and(same)
    };
    let triggers = spec.scale.iter().flat_map(|scale| &scale.triggers);
    triggers.filter(asks).map(|trigger| trigger.name().to_owned()).collect()
}

/// The signature that was good, and what was signed.
fn believed(hook: &ForgeHook, secrets: &Secrets, delivery: &Delivery<&[u8]>) -> Result<(String, Value), Refusal> {
    let header = |name: &str| delivery.headers.get(name).map_or("", String::as_str);
    if !["", "identity"].contains(&header("content-encoding")) {
        return Err(Refusal::Encoded);
    }
    let signature = signature::verify(hook.provider, secrets, delivery)?;
    let kind = header("content-type").split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    if kind != "application/json" {
        return Err(Refusal::NotJson);
    }
    bearable(delivery.body).map_err(|why| Refusal::Unreadable(why.into()))?;
    // The error itself would quote what it found.
    let place = |e: serde_json::Error| Refusal::Unreadable(format!("not JSON at line {}, column {}", e.line(), e.column()));
    let body: Value = serde_json::from_slice(delivery.body).map_err(place)?;
    if body.is_object() { Ok((signature, body)) } else { Err(Refusal::Shape) }
}

/// Whether reading it costs no more than it may: known from its brackets and commas alone.
fn bearable(body: &[u8]) -> Result<(), &'static str> {
    let (mut depth, mut values, mut text, mut escaped) = (0usize, 0usize, false, false);
    for byte in body {
        if text {
            (text, escaped) = (escaped || *byte != b'"', !escaped && *byte == b'\\');
            continue;
        }
        match byte {
            b'"' => text = true,
            b'[' | b'{' => (depth, values) = (depth + 1, values + 1),
            b']' | b'}' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _other => {}
        }
        if depth > DEPTH_MAX {
            return Err("more brackets inside one another than 64");
        }
    }
    if values > VALUES_MAX { Err("more values than 50000") } else { Ok(()) }
}

/// What a believed delivery comes to.
fn wanted(hook: &ForgeHook, delivery: &Delivery<&[u8]>, signature: String, body: &Value) -> Result<Outcome, Refusal> {
    let ignored = |why| Ok(Outcome::Ignored(why));
    let event = match naming::name(hook.provider, delivery, body) {
        Named::Event(event) => event,
        Named::Other => return ignored(Ignored::Unknown),
        Named::Wrong => return Err(Refusal::Shape),
    };
    if !hook.on.contains(&event) {
        return ignored(Ignored::NotNamed(event));
    }
    let fields = Fields { kind: event, provider: hook.provider, body };
    if let Some(field) = fields.mismatch(hook) {
        return ignored(Ignored::NoMatch(field));
    }
    let actor = actor::login(body).unwrap_or_default();
    if !actor::may(hook, event, body, actor) {
        return ignored(Ignored::Actor(actor.to_owned()));
    }
    let id = naming::id(hook.provider, delivery).ok_or(Refusal::NoDelivery)?;
    let lacks = |field| Refusal::MissingField(event, field);
    let key = fields.key(hook).map_err(lacks)?;
    let (payload, untrusted) = fields.payload(hook).map_err(lacks)?;
    let accepted = Accepted { event, delivery: id, signature, key, payload, untrusted, actor: actor.to_owned() };
    Ok(Outcome::Accepted(Box::new(accepted)))
}
