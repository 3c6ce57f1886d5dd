//! The scaling decision, driven as the engine drives it: a [`World`] keeps what is remembered and the last status between turns.
//!
//! `hpa` holds it against the published algorithm of HorizontalPodAutoscaler, `properties` against what must hold for every
//! spec, history and reading, `situations` against scripts of what `explain` is to say.

mod doubts;
mod edits;
mod ended;
mod hpa;
mod joint;
mod pressed;
mod properties;
mod quotas;
mod situations;
mod used;
mod victims;

use super::*;
use crate::model::host::Look;
use crate::model::host::Squeeze;
use crate::model::line::Line;
use crate::model::plan::Slot;
use crate::model::pool::PoolSpec;
use crate::model::queue_work::QueueCounts;
use crate::model::scale::{Behavior, Exact, PolicyType, ScaleDown, ScalePolicy, ScaleUp, SelectPolicy, Step, StepDown, StepUp};
use crate::model::scale::{FallbackBehavior, Scale};
use crate::model::scaling::{Asked, Change, SignalState};
use crate::model::source::Source;
use crate::model::status::{PoolStatus, Scaled};
use crate::model::template::{Exec, Template};
use crate::model::time::Span;

/// Monday noon, UTC; the boot clock stands at some other round number.
fn start() -> Now {
    Now { mono: Moment(1_000_000_000), wall: "2026-03-02T12:00:00Z".parse().expect("a time") }
}

/// A pool between two looks at it.
struct World {
    facts: PoolFacts,
    slots: BTreeMap<String, Slot>,
    previous: PoolStatus,
    scaling: Scaling,
    line: Line,
    queues: BTreeMap<String, QueueCounts>,
    machine: Option<Look>,
    squeeze: Option<Squeeze>,
    now: Now,
}

impl World {
    /// A pool that nobody has looked at yet.
    fn new(scale: Scale) -> World {
        let template = Template { command: vec!["run".into()], ..Template::default() };
        let spec = PoolSpec { scale: Some(scale), template, ..PoolSpec::default() };
        let facts = PoolFacts { name: "p".into(), spec, generation: 1, ending: None, ..PoolFacts::orphan("p") };
        World {
            facts,
            slots: BTreeMap::new(),
            previous: PoolStatus::default(),
            scaling: Scaling::default(),
            line: Line::default(),
            queues: BTreeMap::new(),
            machine: None,
            squeeze: None,
            now: start(),
        }
    }

    /// The same, left at this size by an earlier daemon.
    fn sized(mut self, size: u32) -> World {
        self.previous = PoolStatus { observed_generation: 1, desired_replicas: size, ..PoolStatus::default() };
        self
    }

    fn size(&self) -> u32 {
        self.previous.desired_replicas
    }

    fn scale(&mut self) -> &mut Scale {
        self.facts.spec.scale.as_mut().expect("it is scaled")
    }

    fn pass(&mut self, span: Span) {
        self.now.mono = self.now.mono.after(span);
        self.now.wall.0 += i64::try_from(span.0).expect("a short time");
    }

    fn observation(&self) -> Observation<'_> {
        Observation {
            pool: &self.facts,
            slots: &self.slots,
            allowance: 100,
            previous: &self.previous,
            runs: 0,
            line: &self.line,
            queues: &self.queues,
            machine: self.machine.as_ref(),
            squeeze: self.squeeze.as_ref(),
            scaling: &self.scaling,
        }
    }

    /// Decide, and remember what the engine remembers.
    fn turn(&mut self) -> Demand {
        let demand = demand(&self.observation(), self.now);
        self.scaling = demand.scaling.clone();
        if self.previous.desired_replicas != demand.wanted {
            let from = self.previous.desired_replicas;
            self.previous.last_scale_time = Some(self.now.wall);
            self.previous.last_scale = Some(Scaled { from, to: demand.wanted, reason: demand.reason.clone() });
        }
        self.previous.observed_generation = self.facts.generation;
        self.previous.desired_replicas = demand.wanted;
        self.previous.scaling.clone_from(&demand.why);
        demand
    }

    /// Hand over an answer, as the engine does.
    fn answer(&mut self, asker: &Asker, answer: Result<Number, Failure>) {
        let size = Size::of(&self.facts, &self.slots, self.size(), self.now);
        let asked = match asker {
            Asker::Trigger(name) => self.scaling.triggers.get(name),
            Asker::Quota(name) => self.scaling.quotas.get(name),
            Asker::Gauge(_) => None,
        };
        let source = asked.map(|asked| asked.source.clone()).unwrap_or_default();
        answered(&self.facts, &mut self.scaling, ((asker, &source), answer), size, self.now);
    }

    /// A trigger's source answers a number.
    fn number(&mut self, trigger: &str, value: f64) {
        self.answer(&Asker::Trigger(trigger.into()), Number::new(value, &value.to_string()));
    }

    /// A trigger's source fails.
    fn failure(&mut self, trigger: &str) {
        self.answer(&Asker::Trigger(trigger.into()), Err(Failure::because("connection refused")));
    }
}

/// Bounds, and nothing that holds back.
fn free(min: u32, max: u32) -> Scale {
    let scale_up = ScaleUp { policies: Vec::new(), ..ScaleUp::default() };
    let scale_down = ScaleDown { stabilization_window: Span(0), policies: Vec::new(), ..ScaleDown::default() };
    let behavior = Behavior { scale_up, scale_down };
    Scale { min_replicas: min, max_replicas: max, behavior, ..Scale::default() }
}

fn trigger(name: &str) -> Trigger {
    let exec = Some(Exec { command: vec![name.into()] });
    Trigger {
        name: Some(name.into()),
        polling_interval: Span::secs(30),
        timeout: Some(Span::secs(10)),
        source: Source { exec, ..Source::default() },
        step: None,
        target_per_worker: None,
        exact: None,
        activation: 0.0,
        zero_confirmations: Some(1),
    }
}

/// The source answers the size.
fn exact(name: &str) -> Trigger {
    Trigger { exact: Some(Exact {}), ..trigger(name) }
}

/// One worker for so many.
fn per_worker(name: &str, target: f64) -> Trigger {
    Trigger { target_per_worker: Some(target), ..trigger(name) }
}

/// One up above a bound, one down at or below another.
fn stepped(name: &str, above: Option<f64>, above_per_worker: Option<f64>, at_most: f64) -> Trigger {
    let step = Step { up: StepUp { above, above_per_worker, by: 1 }, down: StepDown { at_most, by: 1 } };
    Trigger { step: Some(step), ..trigger(name) }
}

fn workers(value: u32, secs: u64) -> ScalePolicy {
    ScalePolicy { kind: PolicyType::Workers, value, period: Span::secs(secs) }
}

fn percent(value: u32, secs: u64) -> ScalePolicy {
    ScalePolicy { kind: PolicyType::Percent, value, period: Span::secs(secs) }
}
