//! Workers as Pods, so that what shows Pods shows workers: kubectl, k9s, dashboards.
//!
//! Read-only, and only what is true: no addresses, no images. The one container is called `worker`; its image is the program.

use serde_json::{Value, json};

use crate::engine::handle::Handle;
use crate::model::status::{API_VERSION, Kind, Object, Phase, PoolObject, WorkerObject};
use crate::model::time::Wall;
use crate::serve::wire::NAMESPACE;
use crate::serve::wire::age::age_of;
use crate::serve::wire::columns::{number, restarts, text, worker_status};

/// The machine's name among the nodes: there is one.
const NODE: &str = "local";

/// A worker as a Pod.
pub fn pod(worker: &WorkerObject, handle: &Handle) -> Value {
    let owner = worker.metadata.owner.as_deref().and_then(|pool| handle.get(Kind::Pool, pool).ok());
    let pool = owner.as_deref().and_then(|object| if let Object::Pool(pool) = object { Some(&**pool) } else { None });
    let (meta, status) = (&worker.metadata, &worker.status);
    let metadata = json!({
        "name": meta.name,
        "namespace": NAMESPACE,
        "uid": meta.uid,
        "resourceVersion": meta.resource_version,
        "creationTimestamp": meta.creation_timestamp,
        "labels": meta.labels,
        "annotations": meta.annotations,
        "ownerReferences": pool.map(owner_of).into_iter().collect::<Vec<_>>(),
    });
    let command = pool.map(|pool| pool.spec.template.command.clone()).unwrap_or_default();
    let image = command.first().cloned().unwrap_or_default();
    let container = json!({"name": "worker", "image": image, "command": command, "resources": {}});
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"containers": [container], "nodeName": NODE, "restartPolicy": "Always"},
        "status": {
            "phase": phase(status.phase),
            "conditions": status.conditions,
            "startTime": status.started_at,
            "message": status.message,
            "containerStatuses": [container_status(worker, &image)],
        },
    })
}

fn owner_of(pool: &PoolObject) -> Value {
    let meta = &pool.metadata;
    json!({"apiVersion": API_VERSION, "kind": "WorkerPool", "name": meta.name, "uid": meta.uid, "controller": true})
}

fn container_status(worker: &WorkerObject, image: &str) -> Value {
    let status = &worker.status;
    let ended = status.last_exit.as_ref().map(|exit| {
        json!({"terminated": {
            "exitCode": exit.code.unwrap_or_else(|| 128 + exit.signal.unwrap_or(0)), "signal": exit.signal,
            "reason": exit.reason, "message": exit.message, "startedAt": exit.started, "finishedAt": exit.finished,
        }})
    });
    let state = match (status.pid, &ended) {
        (Some(_), _) => json!({"running": {"startedAt": status.started_at}}),
        (None, Some(ended)) if phase(status.phase) != "Pending" && status.phase != Phase::BackOff => ended.clone(),
        (None, _) => json!({"waiting": {"reason": status.phase, "message": status.message}}),
    };
    json!({
        "name": "worker", "image": image, "imageID": "", "ready": status.ready, "started": status.pid.is_some(),
        "restartCount": status.restarts, "state": state, "lastState": ended.unwrap_or_else(|| json!({})),
    })
}

/// Kubernetes has five phases.
fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Pending | Phase::Starting => "Pending",
        Phase::Running | Phase::Ready | Phase::Busy | Phase::Terminating | Phase::Stuck | Phase::BackOff => "Running",
        Phase::Stopped | Phase::Completed => "Succeeded",
        Phase::Failed => "Failed",
        Phase::Lost => "Unknown",
    }
}

/// The columns; the last ones are wide.
pub const HEADS: ([&str; 5], [&str; 4]) = (["NAME", "READY", "STATUS", "RESTARTS", "AGE"], ["IP", "NODE", "POOL", "PID"]);

/// The row of a worker as a Pod.
pub fn row(worker: &Value, now: Wall) -> Vec<String> {
    let ready = worker.pointer("/status/ready").and_then(Value::as_bool).unwrap_or_default();
    let status = match worker_status(worker) {
        word if ["Ready", "Busy"].contains(&word.as_str()) => "Running".to_owned(),
        word => word,
    };
    let pid = match number(worker, "/status/pid") {
        0 => "<none>".to_owned(),
        pid => pid.to_string(),
    };
    vec![
        text(worker, "/metadata/name").into(),
        if ready { "1/1".into() } else { "0/1".into() },
        status,
        restarts(worker, now),
        age_of(worker.pointer("/metadata/creationTimestamp").and_then(Value::as_str), now),
        "<none>".into(),
        NODE.into(),
        text(worker, "/metadata/owner").into(),
        pid,
    ]
}
