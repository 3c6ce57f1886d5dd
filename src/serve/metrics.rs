//! `/metrics`: what the board shows now and what was counted since the start, as OpenMetrics or as Prometheus' older text.
//!
//! Gauges are made anew from the published objects at each scrape, so a pool that is gone leaves no series behind and an idle
//! daemon does nothing for metrics. A number that is not known has no series; it is never a zero.

use std::collections::BTreeSet;
use std::sync::atomic::AtomicU64;

use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::{encode_eof, encode_registry};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use super::app::App;
use super::refusal::Refusal;
use super::wire::Status;
use crate::engine::handle::Labels;
use crate::model::scaling::SignalState;
use crate::model::status::{Kind, Meta, Object, PoolObject, Truth, WorkerObject};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

type Gauges = Family<Labels, Gauge<f64, AtomicU64>>;

/// The families that are made from objects.
#[derive(Default)]
struct Shown {
    replicas: Gauges,
    desired: Gauges,
    bounds: Gauges,
    value: Gauges,
    fresh: Gauges,
    depth: Gauges,
    capacity: Gauges,
    condition: Gauges,
    busy: Gauges,
    restarts: Family<Labels, Counter>,
}

fn set<const N: usize>(gauges: &Gauges, labels: [(&'static str, &str); N], value: f64) {
    let labels: Labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
    gauges.get_or_create(&labels).set(value);
}

/// `GET /metrics`
pub async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    let shown = Shown::default();
    for object in app.handle.list(Kind::Pool).1 {
        if let Object::Pool(pool) = &*object {
            shown.pool(pool);
        }
    }
    for object in app.handle.list(Kind::Worker).1 {
        if let Object::Worker(worker) = &*object {
            shown.worker(worker);
        }
    }
    let mut text = String::new();
    let written = encode_registry(&mut text, &shown.registry())
        .and_then(|()| encode_registry(&mut text, app.handle.meters().registry()))
        .and_then(|()| encode_eof(&mut text));
    written.map_err(|error| Status::failure(500, "InternalError", error.to_string()))?;
    let accepts = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    if accepts.contains("application/openmetrics-text") {
        return Ok(([(header::CONTENT_TYPE, OPENMETRICS)], text).into_response());
    }
    Ok(([(header::CONTENT_TYPE, CLASSIC)], classic(&text)).into_response())
}

/// The same in the text of before OpenMetrics: there a counter's description has the name of its samples, and there is no end
/// mark.
fn classic(text: &str) -> String {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"));
    let counters: BTreeSet<&str> = types.collect();
    let renamed = |line: &str| {
        let (mark, rest) = line.split_at(line.len().min("# HELP ".len()));
        match rest.split_once(' ').filter(|(name, _)| matches!(mark, "# HELP " | "# TYPE ") && counters.contains(name)) {
            Some((name, rest)) => format!("{mark}{name}_total {rest}\n"),
            None => format!("{line}\n"),
        }
    };
    text.lines().filter(|line| *line != "# EOF").map(renamed).collect()
}

impl Shown {
    fn registry(&self) -> Registry {
        let mut registry = Registry::with_prefix("weir");
        registry.register("pool_replicas", "Workers of a pool, by state; they may be in several", self.replicas.clone());
        registry.register("pool_desired_replicas", "Workers wanted", self.desired.clone());
        registry.register("pool_replicas_bound", "The smallest and largest number allowed now", self.bounds.clone());
        registry.register("pool_condition", "1 while a condition is True, else 0", self.condition.clone());
        registry.register("trigger_value", "What a trigger last read", self.value.clone());
        registry.register("trigger_fresh", "1 while a trigger's last question was answered in time, else 0", self.fresh.clone());
        registry.register("queue_depth", "Tasks of a pool that have not ended, by state", self.depth.clone());
        registry.register("queue_capacity", "Most tasks queued", self.capacity.clone());
        registry.register("queue_busy_seconds", "Time spent on tasks since the daemon started", self.busy.clone());
        registry.register("worker_restarts", "Starts after an end that was not asked for, by worker", self.restarts.clone());
        registry
    }

    fn worker(&self, worker: &WorkerObject) {
        let Meta { name, owner, .. } = &worker.metadata;
        let labels = vec![("pool", owner.clone().unwrap_or_default()), ("worker", name.clone())];
        self.restarts.get_or_create(&labels).inc_by(u64::from(worker.status.restarts));
    }

    fn pool(&self, pool: &PoolObject) {
        let (name, status) = (pool.metadata.name.as_str(), &pool.status);
        let states = [
            ("all", status.replicas),
            ("ready", status.ready_replicas),
            ("busy", status.busy_replicas),
            ("updated", status.updated_replicas),
            ("terminating", status.terminating_replicas),
            ("stuck", status.stuck_replicas),
        ];
        states.into_iter().for_each(|(state, n)| set(&self.replicas, [("pool", name), ("state", state)], f64::from(n)));
        set(&self.desired, [("pool", name)], f64::from(status.desired_replicas));
        if let Some(scaling) = &status.scaling {
            set(&self.bounds, [("pool", name), ("bound", "min")], f64::from(scaling.min));
            set(&self.bounds, [("pool", name), ("bound", "max")], f64::from(scaling.max));
        }
        for condition in &status.conditions {
            let holds = f64::from(u8::from(condition.status == Truth::True));
            set(&self.condition, [("pool", name), ("condition", &condition.kind)], holds);
        }
        for signal in &status.backlog {
            let labels = [("pool", name), ("trigger", signal.trigger.as_str())];
            if let Some(value) = signal.value {
                set(&self.value, labels, value);
            }
            set(&self.fresh, labels, f64::from(u8::from(signal.state == SignalState::Fresh)));
        }
        if let Some(queue) = &status.queue {
            let depth = [
                ("ready", queue.ready),
                ("delayed", queue.delayed),
                ("blocked", queue.blocked),
                ("held", queue.held),
                ("running", queue.running),
            ];
            depth.into_iter().for_each(|(state, n)| set(&self.depth, [("pool", name), ("state", state)], n as f64));
            set(&self.capacity, [("pool", name)], f64::from(queue.capacity));
            set(&self.busy, [("pool", name)], queue.stats.busy_ms as f64 / 1000.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_text_names_counters_as_their_samples() {
        let text = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"# HELP a_b \"} 1\n# HELP c Now.\n# TYPE c gauge\nc 2.0\n# EOF\n";
        let expected = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"# HELP a_b \"} 1\n# HELP c Now.\n# TYPE c gauge\nc 2.0\n";
        assert_eq!(classic(text), expected);
    }
}
