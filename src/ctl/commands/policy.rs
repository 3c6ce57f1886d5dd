//! Policies: what they did, what they are, and the few things that a person says to one.
//!
//! Mode and profile are words of the document: they are set there, and nowhere else.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use crate::ctl::args::SetField;
use crate::ctl::client::{Sent, encoded, path};
use crate::ctl::error::Failure;
use crate::ctl::print::{Table, emit};
use crate::ctl::resource::{many, one};
use crate::ctl::text::tame;
use crate::model::status::Kind;
use crate::serve::wire::Status;
use crate::serve::wire::policy_columns::{change, change_heads};

/// `ctl set`
pub(super) async fn set(context: &Context, field: SetField, words: &[String]) -> Result<(), Failure> {
    let Some((value, names)) = words.split_last().filter(|(_, names)| !names.is_empty()) else {
        return Err(Failure::Usage("give policy/NAME and a value".into()));
    };
    let name = one(names, Kind::Policy)?;
    let patch = Sent::patch(&json!({"spec": {field.key(): value}}));
    let _: Value = context.client.ask(Method::PATCH, &path(Kind::Policy, &name), patch).await?;
    emit(&format!("policy/{} {} is {}\n", tame(&name), field.key(), tame(value)))
}

/// `ctl policy history`
pub(super) async fn history(context: &Context, words: &[String], limit: u32) -> Result<(), Failure> {
    let name = one(words, Kind::Policy)?;
    let at = format!("/v1/policies/{}/history?limit={limit}", encoded(&name));
    let found: Value = context.client.ask(Method::GET, &at, Sent::nothing()).await?;
    let mut table = Table::new(&change_heads(), true);
    let rows = found.pointer("/items").and_then(Value::as_array).into_iter().flatten();
    rows.for_each(|row| table.add(change(row)));
    emit(&table.take())
}

/// `ctl policy reset`
pub(super) async fn reset(context: &Context, words: &[String]) -> Result<(), Failure> {
    for name in many(words, Kind::Policy)? {
        let at = format!("/v1/policies/{}/reset", encoded(&name));
        let _: Status = context.client.ask(Method::POST, &at, Sent::nothing()).await?;
        emit(&format!("policy/{} reset\n", tame(&name)))?;
    }
    Ok(())
}
