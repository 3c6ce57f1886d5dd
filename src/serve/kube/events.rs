//! Events in Kubernetes' two shapes: `events.k8s.io/v1`, and the older `v1` that `kubectl describe` and `kubectl events` read.
//!
//! Pools and workers are in no namespace, their events are in `default`, as Kubernetes has it.

use serde_json::{Value, json};

use crate::engine::handle::Handle;
use crate::model::status::{API_VERSION, EventObject, Kind};
use crate::model::time::Wall;
use crate::serve::wire::NAMESPACE;

/// Fields that can be selected by, in either shape.
pub const FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "type",
    "reason",
    "source",
    "reportingController",
    "reportingComponent",
    "involvedObject.kind",
    "involvedObject.namespace",
    "involvedObject.name",
    "involvedObject.uid",
    "involvedObject.apiVersion",
    "involvedObject.resourceVersion",
    "involvedObject.fieldPath",
    "regarding.kind",
    "regarding.namespace",
    "regarding.name",
    "regarding.uid",
    "regarding.apiVersion",
];

/// An event of ours as one of theirs.
pub fn event(event: &EventObject, handle: &Handle, (core, of_pods): (bool, bool)) -> Value {
    let meta = &event.metadata;
    let metadata = json!({
        "name": meta.name,
        "namespace": NAMESPACE,
        "uid": if meta.uid.is_empty() { &meta.name } else { &meta.uid },
        "resourceVersion": meta.resource_version,
        "creationTimestamp": event.event_time,
    });
    let about = regarding(&event.regarding, handle, of_pods);
    if core {
        return json!({
            "apiVersion": "v1", "kind": "Event", "metadata": metadata, "involvedObject": about, "reason": event.reason,
            "message": event.note, "type": event.severity, "source": {"component": "weir"}, "count": 1,
            "firstTimestamp": event.event_time, "lastTimestamp": event.event_time, "eventTime": null,
            "reportingComponent": "weir.dev/weir", "reportingInstance": "weir",
        });
    }
    json!({
        "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": metadata, "regarding": about, "reason": event.reason,
        "note": event.note, "type": event.severity, "eventTime": micro(event.event_time), "action": event.reason,
        "reportingController": "weir.dev/weir", "reportingInstance": "weir",
    })
}

/// Their finer times must have six digits.
fn micro(time: Wall) -> String {
    let text = time.to_string();
    text.strip_suffix('Z').map_or(text.clone(), |text| format!("{text}000Z"))
}

fn regarding(about: &str, handle: &Handle, of_pods: bool) -> Value {
    let (word, name) = about.split_once('/').unwrap_or(("", about));
    let uid = |kind| handle.get(kind, name).map(|object| object.meta().uid.clone()).unwrap_or_default();
    let reference = |kind: &str, uid: String| json!({"apiVersion": API_VERSION, "kind": kind, "name": name, "uid": uid});
    match word {
        "worker" if of_pods => {
            json!({"apiVersion": "v1", "kind": "Pod", "namespace": NAMESPACE, "name": name, "uid": uid(Kind::Worker)})
        }
        "worker" => reference("Worker", uid(Kind::Worker)),
        "pool" => reference("WorkerPool", uid(Kind::Pool)),
        "policy" => reference("ResourcePolicy", String::new()),
        "task" => reference("Task", String::new()),
        _ => json!({"kind": word, "name": name}),
    }
}
