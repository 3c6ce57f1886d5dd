//! `DELETE`: a pool's document is removed, a worker is ended and started again.
//!
//! What the client asks for beside it (a dry run, a uid that must hold) comes in the query or in the body; neither is ignored.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::Value;

use crate::engine::handle::{Edit, Handle, Subscription};
use crate::model::meta;
use crate::model::status::{Kind, Object, Phase, Truth};
use crate::model::time::Span;
use crate::serve::app::{App, Params, kind_of, params};
use crate::serve::refusal::{Refusal, bad, not_allowed};
use crate::serve::wire::{Details, GROUP, Status};
use crate::serve::write::{Sent, is_dry, yaml_body};

/// How long an answer waits for the next run of a worker: most end within it.
const REPLACED: Duration = Duration::from_secs(3);

/// `DELETE …/{name}`
///
/// # Errors
/// 400, 403, 404, 405, 409.
pub async fn delete(
    State(app): State<App>,
    Path((plural, name)): Path<(String, String)>,
    (query, sent): (Params, Sent),
) -> Result<Json<Status>, Refusal> {
    let (kind, options) = (kind_of(&plural)?, yaml_body(sent)?);
    let dry = is_dry(&params(query)?)? | is_dry_in(&options)?;
    let object = app.handle.get(kind, &name)?;
    let meta = object.meta();
    for (pointer, is) in [("/preconditions/uid", &meta.uid), ("/preconditions/resourceVersion", &meta.resource_version)] {
        if options.pointer(pointer).and_then(Value::as_str).is_some_and(|wanted| wanted != is) {
            let message = format!("{plural} \"{name}\" is another one by now: look again");
            return Err(Status::failure(409, "Conflict", message).into());
        }
    }
    if let Some(kind) = kind.document() {
        app.handle.edit(Edit::Delete { kind, name: name.clone(), gone: is_gone(&object) }, dry).await?;
    } else if kind != Kind::Worker {
        return Err(not_allowed("this cannot be deleted: only workerpools, resourcepolicies and workers can"));
    } else if waits_for_a_task(&object) {
        let message = format!("worker \"{name}\" waits for a task: there is no process to end");
        return Err(Status::failure(409, "Conflict", message).into());
    } else if !dry {
        app.handle.restart(&name).await?;
        let gone = replaced(&app.handle, &name, &meta.uid);
        let _late = tokio::time::timeout(REPLACED, gone).await;
    }
    // Of what was gone before nobody knows here how much of its grace is left.
    let document = kind.document().filter(|_| !dry && !is_gone(&object));
    let then = document.map_or_else(String::new, |kind| follows(kind, app.handle.prune_grace));
    let details = Details { name, group: GROUP.into(), kind: plural, uid: meta.uid.clone(), ..Details::default() };
    Ok(Json(Status { details: Some(details), ..Status::success(then) }))
}

/// It is known that its document is gone.
fn is_gone(object: &Object) -> bool {
    let conditions = match object {
        Object::Pool(pool) => &pool.status.conditions,
        Object::Policy(policy) => &policy.status.conditions,
        Object::Worker(_) | Object::Event(_) => return false,
    };
    let says_so = ["PendingDelete", "PruneBlocked", "Terminating"];
    conditions.iter().any(|condition| says_so.contains(&condition.kind.as_str()) && condition.status == Truth::True)
}

/// What follows a removal: nothing has been stopped yet when it is answered.
fn follows(kind: meta::Kind, prune_grace: Span) -> String {
    match kind {
        meta::Kind::WorkerPool if prune_grace.0 == 0 => "its workers are stopped now".into(),
        meta::Kind::WorkerPool => format!("its workers are stopped in {prune_grace}"),
        meta::Kind::ResourcePolicy => "the limits stay as they are".into(),
    }
}

/// Wait until another one has its name. kubectl looks whether it has, and only then begins to listen: whoever is replaced between
/// the two would be waited for until the end of its time.
async fn replaced(handle: &Handle, name: &str, uid: &str) {
    let Ok(changes) = handle.watch(Kind::Worker, 0) else { return };
    while_there(|| handle.get(Kind::Worker, name).is_ok_and(|object| object.meta().uid == uid), changes).await;
}

/// Wait from change to change. Who has fallen too far behind is told so at once, every time: there is nothing left to wait with.
async fn while_there(is_there: impl Fn() -> bool, mut changes: Subscription) {
    while is_there() && matches!(changes.next().await, Some(Ok(_))) {}
}

/// Nothing runs there, and nothing would be another one afterwards: whoever deleted it would wait for ever.
fn waits_for_a_task(object: &Object) -> bool {
    matches!(object, Object::Worker(worker) if worker.status.pid.is_none() && worker.status.phase == Phase::Ready)
}

fn is_dry_in(options: &Value) -> Result<bool, Refusal> {
    match options.get("dryRun") {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Array(all)) if all.is_empty() => Ok(false),
        Some(Value::Array(all)) if all.iter().all(|one| one == "All") => Ok(true),
        Some(_) => Err(bad("dryRun must be [\"All\"]")),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, mpsc};

    use super::*;
    use crate::engine::handle::Board;
    use crate::model::status::EventObject;

    #[test]
    fn who_waits_and_falls_behind_all_that_is_kept_gives_up() {
        let board = Arc::new(Board::default());
        let changes = board.subscribe(Kind::Event, 0).unwrap();
        for n in 0..5000 {
            let mut event = EventObject::default();
            event.metadata.name = n.to_string();
            board.put(Object::Event(Box::new(event)));
        }
        let (tell, told) = mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(while_there(|| true, changes));
            tell.send(()).unwrap();
        });
        told.recv_timeout(Duration::from_secs(10)).expect("it does not ask for ever");
    }
}
