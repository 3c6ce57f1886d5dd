//! Sources and the machine: what is true of them, and what they answer.

use std::collections::BTreeMap;

use weir::engine::host::Fact;
use weir::model::host::{Known, Pressures, Sample};
use weir::model::plan::{Action, PoolFacts};
use weir::model::quantity::{Cpu, Memory};
use weir::model::reading::{Failure, Number};
use weir::model::scaling::Question;
use weir::model::source::Source;
use weir::model::time::{Moment, Span};
use weir::model::worker::SlotId;

use crate::world::{Todo, World};

/// A quota that has enough.
const ENOUGH: f64 = 100.0;

/// What is true of the sources, by address: now, and a while ago.
#[derive(Default)]
pub struct Sources {
    truths: BTreeMap<String, (f64, f64)>,
}

/// The machine has no room, or nobody can know.
#[derive(Clone, Copy, Debug)]
pub struct Shortage {
    pub since: u64,
    until: u64,
    known: bool,
}

/// An answer on its way.
#[derive(Clone, Debug)]
pub struct Answer {
    pub pool: String,
    pub question: Question,
    pub answer: Result<Number, Failure>,
}

impl Answer {
    pub fn fact(self) -> Fact {
        let Question { asker, source, .. } = self.question;
        Fact::Answered { pool: self.pool, asker, source, answer: self.answer }
    }
}

/// The address of a source.
pub fn url(source: &Source) -> &str {
    source.http.as_ref().map_or("", |http| http.url.as_str())
}

impl Sources {
    /// The number that the source would truthfully answer.
    pub fn truth(&self, url: &str) -> f64 {
        self.truths.get(url).map_or(0.0, |(now, _)| *now)
    }
}

impl World {
    /// Time passes at the source: as long as anything happens at all, its number may be another one each time.
    fn walk(&mut self, url: &str) -> (f64, f64) {
        let quota = url.ends_with("quota");
        if self.calm && quota {
            return (ENOUGH, ENOUGH);
        }
        let (most, first) = if quota { (40, ENOUGH) } else { (30, 0.0) };
        let (now, before) = self.sources.truths.get(url).copied().unwrap_or((first, first));
        let next = match self.random.below(10) {
            _ if self.calm => (now, before),
            0 => (0.0, now),
            1 | 2 => (self.random.below(most) as f64, now),
            3 | 4 => ((now - self.random.below(4) as f64).max(0.0), now),
            5 | 6 => (now + self.random.below(4) as f64, now),
            _ => (now, before),
        };
        self.sources.truths.insert(url.to_owned(), next);
        next
    }

    /// A source answers after a while, truthfully or not at all.
    pub fn answer_later(&mut self, pool: &str, question: &Question) {
        let (truth, before) = self.walk(url(&question.source));
        let timeout = question.timeout.0;
        let (mut delay, answer) = if self.fault("a source fails", 8) {
            let retry_after = self.random.chance(20).then(|| Span(self.random.below(20_000)));
            (self.random.below(200), Err(Failure { retry_after, ..Failure::because("connection refused") }))
        } else if self.fault("a source hangs", 5) {
            (timeout, Err(Failure::because("no answer within its time")))
        } else {
            let value = self.lie(truth, before);
            (self.random.below(50), Number::new(value, &value.to_string()))
        };
        if self.fault("an answer is late", 10) {
            delay = delay.max(self.random.below(timeout));
        }
        let travel = self.travel();
        let answer = Answer { pool: pool.to_owned(), question: question.clone(), answer };
        let epoch = self.epoch;
        self.later(delay + travel, Todo::Answer(epoch, Box::new(answer)));
    }

    fn lie(&mut self, truth: f64, before: f64) -> f64 {
        if self.fault("a sudden zero", 8) {
            0.0
        } else if self.fault("a huge number", 4) {
            self.random.pick(&[1e300, 4_294_967_296.0, 1e9])
        } else if self.fault("a number below zero", 3) {
            -1.0
        } else if self.fault("an answer is old", 10) {
            before
        } else {
            truth
        }
    }

    /// The machine is used by somebody else for a while.
    pub fn run_short(&mut self) {
        if self.shortage().is_some() {
            return;
        }
        let known = self.random.chance(70);
        let fault = if known { "the machine has no room" } else { "the machine is not known" };
        *self.faults.entry(fault).or_default() += 1;
        let until = self.now + self.random.pick(&[500, 5000, 40_000]);
        self.short = Some(Shortage { since: self.now, until, known });
    }

    /// Why nothing may be started now, if so.
    pub fn shortage(&self) -> Option<Shortage> {
        self.short.filter(|short| self.now < short.until && !self.calm)
    }

    /// What the machine has left: mostly plenty.
    pub fn machine(&mut self) -> (Sample, Option<Known<Memory>>) {
        let memory = match self.shortage() {
            None => Ok(Memory(8 << 30)),
            Some(short) if short.known => Ok(Memory(100 << 20)),
            Some(_) => Err("/proc/meminfo cannot be read".into()),
        };
        let pressure = Pressures { cpu: Ok(0.0), memory: Ok(0.0), io: Ok(0.0) };
        (Sample { at: Moment(self.now), idle: Ok(Cpu(2000)), memory, pressure }, None)
    }

    /// Weir is about to do something: does the size that it wants ask for it?
    pub fn judge(&mut self, facts: &PoolFacts, action: &Action) {
        let id = SlotId { pool: facts.name.clone(), worker: action.worker().to_owned() };
        if self.checks.was_asked(&id) {
            return;
        }
        let short = self.shortage().map(|short| short.since);
        let slot = self.slots.get(&id).cloned().unwrap_or_default();
        if let Err(error) = self.checks.sizes.action(facts, (action, &slot), short, self.now) {
            self.checks.fail(error);
        }
    }
}
