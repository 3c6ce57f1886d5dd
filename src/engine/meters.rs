//! Counters and distributions that live as long as the daemon: what the metrics tell beside the objects of the board.
//!
//! Names and units are those of OpenMetrics. Labels are names of pools and triggers, which the specs bound, and closed lists
//! of reasons; nothing that a task brings along ever becomes one.

use std::fmt::Debug;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::model::metered::Metered;
use crate::model::status::EventObject;
use crate::model::time::Span;

/// Names and values of labels, in a fixed order.
pub type Labels = Vec<(&'static str, String)>;

/// Tasks wait and run for anything from milliseconds to hours, in seconds.
const LONG: [f64; 16] = [0.01, 0.05, 0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 14_400.0, 86_400.0];
/// Turns are short, in seconds.
const SHORT: [f64; 10] = [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.25, 1.0];

type Distribution = Family<Labels, Histogram, fn() -> Histogram>;

/// All counters.
pub struct Meters {
    registry: Registry,
    attempts: Family<Labels, Counter>,
    waited: Distribution,
    ran: Distribution,
    exits: Family<Labels, Counter>,
    events: Family<Labels, Counter>,
    scaled: Family<Labels, Counter>,
    unanswered: Family<Labels, Counter>,
    turns: Histogram,
}

impl Default for Meters {
    fn default() -> Meters {
        let long: fn() -> Histogram = || Histogram::new(LONG);
        let mut meters = Meters {
            registry: Registry::with_prefix("weir"),
            attempts: Family::default(),
            waited: Family::new_with_constructor(long),
            ran: Family::new_with_constructor(long),
            exits: Family::default(),
            events: Family::default(),
            scaled: Family::default(),
            unanswered: Family::default(),
            turns: Histogram::new(SHORT),
        };
        let registry = &mut meters.registry;
        // The encoder ends each help with a full stop, and the names of counters with `_total`.
        registry.register("task_attempts", "Attempts at tasks that have ended, by pool and end", meters.attempts.clone());
        registry.register("task_wait_seconds", "Time from the moment a task was wanted to its start", meters.waited.clone());
        registry.register("task_duration_seconds", "Time that an attempt ran", meters.ran.clone());
        registry.register("worker_exits", "Ends of workers, by pool and reason", meters.exits.clone());
        registry.register("events", "Events told, by reason and type", meters.events.clone());
        registry.register("scale_actions", "Changes of size, by pool and direction", meters.scaled.clone());
        registry.register("trigger_errors", "Questions to sources that failed, by pool and trigger", meters.unanswered.clone());
        registry.register(
            "reconcile_duration_seconds",
            "Time that the loop spent on the turns that were due",
            meters.turns.clone(),
        );
        meters
    }
}

impl Debug for Meters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Meters").finish_non_exhaustive()
    }
}

fn labels<const N: usize>(pairs: [(&'static str, &str); N]) -> Labels {
    pairs.map(|(name, value)| (name, value.to_owned())).to_vec()
}

fn seconds(span: Span) -> f64 {
    span.duration().as_secs_f64()
}

impl Meters {
    /// What is counted, to be written out.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// Count something that has happened.
    pub(super) fn count(&self, what: &Metered) {
        match what {
            Metered::Attempt { pool, end, waited, ran, .. } => {
                self.attempts.get_or_create(&labels([("pool", pool), ("end", &format!("{end:?}"))])).inc();
                self.waited.get_or_create(&labels([("pool", pool)])).observe(seconds(*waited));
                self.ran.get_or_create(&labels([("pool", pool)])).observe(seconds(*ran));
            }
            Metered::Scaled { pool, up } => {
                let direction = if *up { "up" } else { "down" };
                self.scaled.get_or_create(&labels([("pool", pool), ("direction", direction)])).inc();
            }
            Metered::Exit { pool, reason } => {
                self.exits.get_or_create(&labels([("pool", pool), ("reason", &format!("{reason:?}"))])).inc();
            }
        }
    }

    /// Count an event.
    pub(super) fn told(&self, event: &EventObject) {
        self.events
            .get_or_create(&labels([("reason", &event.reason.to_string()), ("type", &format!("{:?}", event.severity))]))
            .inc();
    }

    /// Count a question that failed.
    pub(super) fn failed(&self, pool: &str, trigger: &str) {
        self.unanswered.get_or_create(&labels([("pool", pool), ("trigger", trigger)])).inc();
    }

    /// Time that was spent on turns.
    pub fn turned(&self, seconds: f64) {
        self.turns.observe(seconds);
    }

    /// A pool is gone: so are its numbers, so that a name that is never used again costs nothing.
    pub(super) fn gone(&self, pool: &str) {
        let one = labels([("pool", pool)]);
        self.waited.remove(&one);
        self.ran.remove(&one);
    }
}
