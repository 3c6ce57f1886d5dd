//! Policies over a scripted target: every spec is a real document, so what is tested is what is written.
//!
//! The target here is honest: what is ordered holds at once, unless the script says otherwise.

mod orders;
mod properties;
mod shortage;
mod situations;

use super::*;
use crate::model::document::{Document, parse};
use crate::model::host::{Known, Pressures};
use crate::model::limits::{High, LimitFailure, LimitOrder, LimitOutcome, memory_high};
use crate::model::policy::{Apply, Manager};
use crate::model::policy_plan::PoolSize;
use crate::model::quantity::{Cpu, Memory};
use crate::model::time::{Moment, Wall};
use crate::model::usage::Own;

pub(super) const GI: u64 = 1 << 30;

/// The policy of the founding use case, with what a test adds to its spec.
pub(super) fn founding(more: &str) -> PolicyFacts {
    facts(&format!(
        "  target: {{unit: {{name: autocoder-ui.service}}}}
  initial: {{cpu: 200%, memory: 32Gi, tasks: 250}}
  gauges: [{{name: agents, source: {{workers: {{pool: claude, state: Busy}}}}}}]
  idleWhen: [{{gauge: agents, atMost: 0}}]
  bounds: {{min: {{cpu: 100%, memory: 8Gi, tasks: 100}}, max: {{cpu: 800%, memory: 192Gi, tasks: 1500}}}}
  minStep: {{cpu: 50%, memory: 8Gi, tasks: 50}}
{more}"
    ))
}

pub(super) fn facts(spec: &str) -> PolicyFacts {
    let text = format!("apiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {{name: autocoder}}\nspec:\n{spec}");
    let document = parse(text.as_bytes()).pop().expect("one document").expect("a good one").document;
    let Document::ResourcePolicy(policy) = document else { panic!("it is a policy") };
    PolicyFacts {
        name: policy.metadata.name,
        target: policy.spec.target.named(Manager::System),
        spec: policy.spec,
        generation: 1,
        source: Default::default(),
        labels: Default::default(),
        annotations: Default::default(),
        refused: None,
        rival: None,
        poolless: false,
        unreadable: None,
        removed: false,
        prune_blocked: None,
    }
}

/// A target with its policy, looked at again and again.
pub(super) struct Script {
    pub facts: PolicyFacts,
    pub stored: StoredPolicy,
    pub watching: Watching,
    pub limits: Amounts,
    pub now: Now,
    pub micros: u64,
    pub kills: u64,
    pub held_back: u64,
    /// How often it came to its own limits of memory, and how often nothing more could be given back there.
    pub own: Known<Own>,
    /// Resources whose controller is not there.
    pub lacking: Vec<Resource>,
    /// Why no limit of it can be enforced.
    pub unable: Option<&'static str>,
    pub high: High,
    /// How much of the time it waits for memory, in percent.
    pub waits: f64,
    pub agents: Option<f64>,
    pub capacity: Amounts,
    pub reserve: Amounts,
    pub others: Amounts,
    /// The pool's size, where it is one that follows.
    pub size: Option<PoolSize>,
    /// The next order fails so.
    pub fails: Option<LimitFailure>,
    pub rows: Vec<LimitChange>,
    pub told: Vec<&'static str>,
}

/// CPU in cores, memory in bytes, tasks.
pub(super) type Use = (f64, u64, u64);

impl Script {
    pub fn new(facts: PolicyFacts) -> Script {
        let now = Now { mono: Moment(1_000_000), wall: Wall(1_700_000_000_000) };
        Script {
            facts,
            stored: StoredPolicy::default(),
            watching: Watching::default(),
            limits: Amounts::default(),
            now,
            micros: 0,
            kills: 0,
            held_back: 0,
            own: Ok(Own::default()),
            lacking: Vec::new(),
            unable: None,
            high: High::Below,
            waits: 0.0,
            agents: Some(0.0),
            capacity: amounts(64_000, 512 * GI, 100_000),
            reserve: Amounts::default(),
            others: Amounts::default(),
            size: None,
            fails: None,
            rows: Vec::new(),
            told: Vec::new(),
        }
    }

    /// One turn with this news.
    pub fn turn(
        &mut self,
        look: Option<Result<Usage, String>>,
        outcome: Option<&LimitOutcome>,
        reset: bool,
    ) -> Option<LimitOrder> {
        self.facts.target = self.facts.spec.target.named(Manager::System);
        let observation = PolicyObservation {
            policy: &self.facts,
            stored: &self.stored,
            watching: &self.watching,
            look: look.as_ref(),
            outcome,
            reset,
            unable: self.unable,
            capacity: self.capacity,
            reserve: self.reserve,
            others: self.others,
            pool_idle: None,
            size: self.size,
            forecast: None,
        };
        let plan = policy(&observation, self.now);
        (self.stored, self.watching) = (plan.stored, plan.watching);
        self.rows.extend(plan.history);
        self.told.extend(plan.happenings.iter().map(|told| told.reason));
        for question in plan.questions {
            let Asker::Gauge(name) = question.asker else { panic!("a policy asks for gauges") };
            let answer = self.agents.ok_or_else(|| Failure::because("down")).and_then(|n| Number::new(n, "n"));
            answered(&self.facts, &mut self.watching, (&name, &question.source), answer, self.now);
        }
        plan.order
    }

    /// The target as it is, after an interval in which it used this.
    pub fn usage(&mut self, (cores, memory, tasks): Use) -> Usage {
        let interval = self.facts.spec.check_interval;
        self.now = Now { mono: self.now.mono.after(interval), wall: Wall(self.now.wall.0 + interval.0.cast_signed()) };
        self.micros += (cores * interval.0 as f64 * 1000.0) as u64;
        let none = || Ok(0.0);
        Usage {
            at: self.now.mono,
            cpu_micros: Ok(self.micros),
            memory: Ok(Memory(memory)),
            working: Ok(Memory(memory)),
            tasks: Ok(tasks),
            pressure: Pressures { cpu: none(), memory: Ok(self.waits), io: none() },
            oom_kills: Ok(self.kills),
            held_back: Ok(self.held_back),
            own: self.own.clone(),
            high: self.limits.memory.map(|max| memory_high(max, self.high)),
            limits: self.limits,
            lacking: self.lacking.clone(),
        }
    }

    /// The kernel kills in it so often, for want of memory that its own limit does not allow.
    pub fn kill(&mut self, times: u64) {
        self.kills += times;
        self.own = self.own.clone().map(|own| Own { exhausted: own.exhausted + times, ..own });
    }

    /// It comes to its own limits once more.
    pub fn reach(&mut self) {
        self.own = self.own.clone().map(|own| Own { reached: own.reached + 1, ..own });
    }

    /// Look, and carry out what is ordered. Says what was.
    pub fn look(&mut self, used: Use) -> Option<Amounts> {
        let usage = self.usage(used);
        self.seen(usage)
    }

    pub fn seen(&mut self, usage: Usage) -> Option<Amounts> {
        // The gauges are due as well; their answers are there when the look is.
        self.turn(None, None, false);
        let order = self.turn(Some(Ok(usage)), None, false)?;
        let result = match self.fails.take() {
            Some(failure) => Err(failure),
            None => {
                self.limits = order.wanted.or(self.limits);
                self.high = if order.wanted.memory.is_some() { order.high } else { self.high };
                Ok(self.limits)
            }
        };
        let outcome = LimitOutcome { id: order.id, result };
        assert_eq!(self.turn(None, Some(&outcome), false), None, "one order at a time");
        Some(order.wanted)
    }

    pub fn condition(&self, kind: &str) -> (Truth, &str) {
        let found = self.stored.status.conditions.iter().find(|condition| condition.kind == kind);
        found.map(|found| (found.status, found.reason.as_str())).expect("every policy has it")
    }
}

pub(super) fn amounts(cpu: u64, memory: u64, tasks: u32) -> Amounts {
    Amounts { cpu: Some(Cpu(cpu)), memory: Some(Memory(memory)), tasks: Some(tasks) }
}
