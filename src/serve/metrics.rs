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
use crate::model::policy::Resource;
use crate::model::policy_status::PolicyObject;
use crate::model::scaling::SignalState;
use crate::model::status::{Kind, Meta, Object, PoolObject, Truth, WorkerObject};
use crate::model::used::Used;

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
    limit: Gauges,
    usage: Gauges,
    restarts: Family<Labels, Counter>,
    store: Gauge<f64, AtomicU64>,
}

fn set<const N: usize>(gauges: &Gauges, labels: [(&'static str, &str); N], value: f64) {
    let labels: Labels = labels.map(|(name, value)| (name, value.to_owned())).to_vec();
    gauges.get_or_create(&labels).set(value);
}

/// `GET /metrics`
pub async fn metrics(State(app): State<App>, headers: HeaderMap) -> Result<Response, Refusal> {
    let shown = Shown::default();
    shown.store.set(f64::from(u8::from(app.handle.unkept().is_none())));
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
    for object in app.handle.list(Kind::Policy).1 {
        if let Object::Policy(policy) = &*object {
            shown.policy(policy);
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
        registry.register("policy_limit", "The limit that holds, in cores, bytes or tasks", self.limit.clone());
        registry.register("policy_usage", "What a target used at the last look, in cores, bytes or tasks", self.usage.clone());
        registry.register("worker_restarts", "Starts after an end that was not asked for, by worker", self.restarts.clone());
        registry.register("store_available", "1 while what is to be kept is kept, else 0", self.store.clone());
        registry
    }

    fn worker(&self, worker: &WorkerObject) {
        let Meta { name, owner, .. } = &worker.metadata;
        let labels = vec![("pool", owner.clone().unwrap_or_default()), ("worker", name.clone())];
        self.restarts.get_or_create(&labels).inc_by(u64::from(worker.status.restarts));
    }

    fn policy(&self, policy: &PolicyObject) {
        let (name, status) = (policy.metadata.name.as_str(), &policy.status);
        let used = status.usage.as_ref().map(Used::of);
        for of in Resource::EACH {
            let labels = [("policy", name), ("resource", of.name())];
            if let Some(limit) = status.limits.of(of) {
                set(&self.limit, labels, of.in_series(limit));
            }
            if let Some(used) = used.map(|used| used.by(of)).filter(|used| used.is_finite()) {
                set(&self.usage, labels, used);
            }
        }
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
    fn a_policy_has_series_for_what_is_known_of_it_and_no_others() {
        use crate::model::policy_status::PolicyUsage;
        use crate::model::quantity::{Cpu, Memory};
        let bounds = serde_json::json!({"min": {"cpu": "1"}, "max": {"cpu": "2"}});
        let spec = serde_json::json!({"target": {"pool": "web"}, "bounds": bounds});
        let mut policy = PolicyObject {
            api_version: String::new(),
            kind: String::new(),
            metadata: Meta { name: "web".into(), ..Meta::default() },
            spec: serde_json::from_value(spec).expect("a spec"),
            status: Default::default(),
        };
        policy.status.limits.cpu = Some(Cpu(1500));
        policy.status.limits.memory = Some(Memory(4096));
        policy.status.usage = Some(PolicyUsage { cpu_cores: Some(0.25), tasks: Some(7), ..PolicyUsage::default() });
        let shown = Shown::default();
        shown.policy(&policy);
        let mut text = String::new();
        encode_registry(&mut text, &shown.registry()).expect("it is text");
        let mut series: Vec<&str> = text.lines().filter(|line| line.starts_with("weir_policy_")).collect();
        series.sort_unstable();
        let expected = [
            "weir_policy_limit{policy=\"web\",resource=\"cpu\"} 1.5",
            "weir_policy_limit{policy=\"web\",resource=\"memory\"} 4096.0",
            "weir_policy_usage{policy=\"web\",resource=\"cpu\"} 0.25",
            "weir_policy_usage{policy=\"web\",resource=\"tasks\"} 7.0",
        ];
        assert_eq!(series, expected);
    }

    #[test]
    fn the_older_text_names_counters_as_their_samples() {
        let text = "# HELP a_b Things.\n# TYPE a_b counter\na_b_total{x=\"# HELP a_b \"} 1\n# HELP c Now.\n# TYPE c gauge\nc 2.0\n# EOF\n";
        let expected = "# HELP a_b_total Things.\n# TYPE a_b_total counter\na_b_total{x=\"# HELP a_b \"} 1\n# HELP c Now.\n# TYPE c gauge\nc 2.0\n";
        assert_eq!(classic(text), expected);
    }
}
