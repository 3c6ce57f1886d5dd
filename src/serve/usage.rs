//! `GET /v1/usage`: what the running workers use, measured for this request.
//!
//! CPU is time used so far, not a rate: whoever wants one asks twice. So nothing is kept, and nothing is measured while nobody
//! looks.

use axum::Json;
use axum::extract::State;

use super::app::App;
use super::refusal::Refusal;
use super::wire::usage::{UsageList, WorkerUsage};
use crate::model::usage::Usage;
use crate::model::worker::SlotId;

/// `GET /v1/usage`
pub async fn usage(State(app): State<App>) -> Result<Json<UsageList>, Refusal> {
    let items = app.handle.usage().await?.into_iter().map(view).collect();
    Ok(Json(UsageList { kind: "UsageList".into(), items }))
}

fn view((slot, pid, usage): (SlotId, i32, Usage)) -> WorkerUsage {
    let reasons = [usage.cpu_micros.as_ref().err(), usage.memory.as_ref().err(), usage.tasks.as_ref().err()];
    let unknown = reasons.into_iter().flatten().next().cloned();
    WorkerUsage {
        worker: slot.worker,
        pool: slot.pool,
        pid,
        at_millis: usage.at.0,
        unknown,
        cpu_micros: usage.cpu_micros.ok(),
        memory_bytes: usage.memory.ok().map(|memory| memory.0),
        tasks: usage.tasks.ok(),
    }
}
