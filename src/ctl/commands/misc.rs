//! The short verbs: restart, scale, prune, explain, completion, version.
//!
//! Each is one question to the daemon and one line of answer; whatever grows beyond that moves to a file of its own.
//! Several names are done one after the other, and the first failure ends it.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use crate::ctl::client::{Sent, path};
use crate::ctl::complete;
use crate::ctl::error::Failure;
use crate::ctl::print::emit;
use crate::ctl::resource::many;
use crate::ctl::text::{tame, tame_block};
use crate::model::status::Kind;
use crate::serve::wire::columns::text;
use crate::serve::wire::{Prune, Scale, Status};

/// `ctl restart`
pub(super) async fn restart(context: &Context, words: &[String]) -> Result<(), Failure> {
    for name in many(words, Kind::Worker)? {
        let _: Status = context.client.ask(Method::DELETE, &path(Kind::Worker, &name), Sent::nothing()).await?;
        emit(&format!("worker/{} restarted\n", tame(&name)))?;
    }
    Ok(())
}

/// `ctl scale`
pub(super) async fn scale(context: &Context, words: &[String], replicas: u32) -> Result<(), Failure> {
    for name in many(words, Kind::Pool)? {
        let to = Sent::patch(&json!({"spec": {"replicas": replicas}}));
        let _: Scale = context.client.ask(Method::PATCH, &format!("{}/scale", path(Kind::Pool, &name)), to).await?;
        emit(&format!("pool/{} scaled\n", tame(&name)))?;
    }
    Ok(())
}

/// `ctl prune`
pub(super) async fn prune(context: &Context, token: &str) -> Result<(), Failure> {
    let prune = serde_json::to_value(Prune { confirm: token.into() }).expect("plain data");
    let _: Status = context.client.ask(Method::POST, "/v1/prune", Sent::json(&prune)).await?;
    emit("deletions confirmed\n")
}

/// `ctl explain`
pub(super) fn explain(field: &str, recursive: bool) -> Result<(), Failure> {
    let explained = crate::model::explain::explain(field, recursive).map_err(Failure::No)?;
    emit(&tame_block(&explained.to_string()))
}

/// `ctl completion`
pub(super) fn completion(shell: &str) -> Result<(), Failure> {
    emit(&complete::script(shell)?)
}

/// `ctl version`
pub(super) async fn version(context: &Context) -> Result<(), Failure> {
    emit(&format!("Client Version: v{}\n", env!("CARGO_PKG_VERSION")))?;
    let server: Value = context.client.ask(Method::GET, "/version", Sent::nothing()).await?;
    emit(&format!("Server Version: {}\n", tame(text(&server, "/gitVersion"))))
}
