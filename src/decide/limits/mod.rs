//! Limits that follow the use of a pool or a unit, inside bounds that nobody leaves.
//!
//! One turn takes in what came of the last order and what the last look showed, decides on at most one change, and says all of
//! it. [`rules`] fills in the profile, [`measure`] turns counters into shares, [`step`] says which changes are wanted, [`order`]
//! makes one of them the order, [`clamp`] says how much of it may be written, [`outcome`] takes in what came of it, [`ahead`] says
//! what is expected, [`ladder`] what is done where memory is short and no more may be given, [`said`] what is told. Only what is
//! known lowers a limit, and a change that failed ends all others until somebody looks.

mod ahead;
pub mod budget;
pub mod clamp;
mod ladder;
pub mod measure;
mod order;
mod outcome;
pub mod rules;
mod said;
mod step;
#[cfg(test)]
mod tests;

pub use self::ahead::expected;
pub use self::ladder::squeeze;
use self::measure::Breach;
use self::rules::Rules;
pub use self::step::about;
use crate::decide::demand::readings::{self, Poll, Reading};
use crate::decide::joint;
use crate::model::limits::{ChangeAction, ChangeStatus, ChangeTrigger, LimitChange};
use crate::model::plan::Happening;
use crate::model::policy::{Amounts, Mode, PolicySpec, Resource};
use crate::model::policy_plan::{PolicyFacts, PolicyObservation, PolicyPlan, StoredPolicy, Watching};
use crate::model::policy_status::{Checks, HISTORY_SHOWN, PolicySample};
use crate::model::reading::{Failure, Number};
use crate::model::scaling::{Asker, Question};
use crate::model::source::Source;
use crate::model::status::{EventType, Truth};
use crate::model::time::{Now, Span};
use crate::model::usage::Usage;

/// Corrections of somebody else's changes within [`CORRECTIONS_WITHIN`] at most.
const CORRECTIONS: usize = 3;
/// See [`CORRECTIONS`].
const CORRECTIONS_WITHIN: Span = Span::secs(60);
/// A look that was not answered for so long is made again.
const LOOK_LOST: Span = Span::secs(60);
/// Looks in a row held back without getting on before that is said.
const HELD: u32 = 3;
/// How long a gauge may take to answer.
const GAUGE_TIMEOUT: Span = Span::secs(10);

/// A condition before it is dated.
type Said = (&'static str, Truth, &'static str, String);

/// One turn.
struct Turn<'a> {
    o: &'a PolicyObservation<'a>,
    now: Now,
    rules: Rules,
    about: Vec<Resource>,
    plan: PolicyPlan,
    said: Vec<Said>,
}

/// What should happen now.
pub fn policy(observation: &PolicyObservation<'_>, now: Now) -> PolicyPlan {
    let mut turn = Turn::new(observation, now);
    turn.begin();
    turn.outcome();
    if turn.works() {
        turn.look();
        turn.ask();
    }
    turn.say();
    turn.plan
}

/// Take in the answer of a gauge's source.
pub fn answered(
    policy: &PolicyFacts,
    watching: &mut Watching,
    (name, source): (&str, &Source),
    answer: Result<Number, Failure>,
    now: Now,
) {
    if let Some(asked) = watching.gauges.get_mut(name).filter(|asked| asked.source == *source) {
        *asked = readings::answered(asked, answer, poll(&policy.spec), 0, now);
    }
}

/// Gauges are read as often as the target is looked at.
fn poll(spec: &PolicySpec) -> Poll {
    Poll { interval: spec.check_interval, timeout: GAUGE_TIMEOUT, zeros: 1 }
}

impl<'a> Turn<'a> {
    fn new(o: &'a PolicyObservation<'a>, now: Now) -> Turn<'a> {
        let plan = PolicyPlan { stored: o.stored.clone(), watching: o.watching.clone(), ..PolicyPlan::default() };
        Turn { o, now, rules: Rules::of(&o.policy.spec), about: step::about(&o.policy.spec), plan, said: Vec::new() }
    }

    fn spec(&self) -> &'a PolicySpec {
        &self.o.policy.spec
    }

    /// Whether this policy does anything at all.
    fn works(&self) -> bool {
        budget::at_work(self.o.policy)
    }

    /// What a daemon before this one, an edit or a person has left to be done first.
    fn begin(&mut self) {
        let target = self.o.policy.target.clone();
        if self.plan.stored.status.target != target || !self.works() {
            self.leave();
        }
        if self.plan.stored.status.target != target {
            self.another_target(target);
        }
        // A wall clock that was set back hides nothing that is used from now on.
        self.plan.stored.since = self.plan.stored.since.min(self.now.wall);
        if !std::mem::replace(&mut self.plan.watching.taken_over, true)
            && let Some(last) = self.plan.stored.status.last_scale_time
        {
            // A wall clock that was set in between lengthens nothing.
            let gone = u64::try_from(self.now.wall.0.saturating_sub(last.0)).unwrap_or(0);
            self.plan.watching.rests_until = self.now.mono.after(Span(self.rules.cooldown.0.saturating_sub(gone)));
        }
        let failed = self.plan.stored.failed.as_ref();
        if failed.is_some_and(|failed| failed.generation != self.o.policy.generation) {
            self.plan.stored.failed = None;
        }
        if self.o.reset && self.plan.stored.failed.take().is_some() {
            let limits = self.plan.stored.status.limits;
            let reset = (ChangeAction::Reset, ChangeTrigger::Manual);
            let row = LimitChange { action: reset.0, trigger: reset.1, reason: "asked for".into(), ..LimitChange::default() };
            self.row(LimitChange { time: self.now.wall, old: limits, new: limits, status: ChangeStatus::Applied, ..row });
            self.plan.stored.status.checks = Checks::default();
        }
    }

    /// Of another target nothing is known: neither what was set nor what it used.
    fn another_target(&mut self, target: String) {
        let before = std::mem::take(&mut self.plan.stored);
        let kept = StoredPolicy { uid: before.uid, created: before.created, orders: before.orders, ..StoredPolicy::default() };
        self.plan.stored = StoredPolicy { since: self.now.wall, ..kept };
        (self.plan.stored.status.target, self.plan.stored.status.history) = (target, before.status.history);
        let gauges = std::mem::take(&mut self.plan.watching.gauges);
        let ordered = self.plan.watching.ordered.take();
        match (before.pending, &ordered) {
            // What comes of it is still to be told.
            (Some(change), Some(_)) => self.plan.stored.pending = Some(change),
            (Some(change), None) => self.lost(change, &before.status.target),
            (None, _) => {}
        }
        self.plan.watching = Watching { gauges, ordered, taken_over: true, ..Watching::default() };
    }

    /// Decide on a look that has come in.
    fn look(&mut self) {
        let Some(look) = self.o.look else { return };
        self.plan.watching.looking = None;
        match look {
            Err(why) => {
                (self.plan.watching.last, self.plan.watching.blind) = (None, Some(why.clone()));
                self.ladder(self.unseen(why));
                let status = &mut self.plan.stored.status;
                (status.usage, status.checks) = (None, Checks::default());
            }
            Ok(usage) => self.seen(usage),
        }
    }

    fn seen(&mut self, look: &Usage) {
        // A limit that cannot be held keeps nothing else from being held.
        self.about.retain(|of| !look.lacking.contains(of));
        let usage = measure::usage(self.plan.watching.last.as_ref(), look, self.now);
        self.left_over(look);
        self.found_high(look);
        let killed = self.killed(look);
        let mut breaches = measure::breaches(&self.rules, &self.spec().pressure, &usage, &self.about);
        if let Some(forecast) = self.o.forecast {
            ahead::breaches(&self.rules, forecast, look.limits, &self.about, &mut breaches);
        }
        // What is needed for workers to come says nothing against taking away what nobody uses: memory itself is not lowered then.
        let calm = measure::calm(&self.rules, &usage, &self.about) && breaches.is_empty();
        self.joint(look.limits, &mut breaches);
        self.held(look, &usage);
        let full = measure::full(self.plan.watching.last.as_ref(), look);
        let sign = self.sign(look.limits, &usage, (killed, full));
        self.ladder(sign);
        let idle = self.idle();
        let enabled = self.spec().mode == Mode::Enabled;
        let rests = self.now.mono < self.plan.watching.rests_until;
        let status = &mut self.plan.stored.status;
        status.idle = idle;
        let may_lower = calm && (idle || !self.o.policy.spec.scale_down.only_when_idle);
        let next = |is: bool, before: u32| if is && enabled { before.saturating_add(1) } else { 0 };
        status.checks = Checks { up: next(!breaches.is_empty(), status.checks.up), down: next(may_lower, status.checks.down) };
        (status.limits, status.usage) = (look.limits, Some(usage.clone()));
        if self.spec().mode == Mode::Disabled {
            // Whatever is found then is nobody's change of ours.
            self.plan.stored.applied = Amounts::default();
        }
        (self.plan.watching.last, self.plan.watching.blind) = (Some(look.clone()), None);
        if self.plan.watching.ordered.is_none() {
            if self.plan.stored.failed.is_some() {
                self.late(look.limits, &usage);
            } else {
                self.calm_conditions();
                self.change(look.limits, &breaches, (&usage, rests));
            }
        }
        let gauges = self.plan.stored.status.gauges.clone();
        self.plan.sample = Some(PolicySample { usage, limits: look.limits, gauges });
    }

    /// A pool whose size follows needs room for all who are wanted; where they have it, a breach of memory is their own growth.
    fn joint(&self, limits: Amounts, breaches: &mut Vec<Breach>) {
        let Some((size, limit)) = self.o.size.zip(limits.memory).filter(|_| self.about.contains(&Resource::Memory)) else {
            return;
        };
        let memory = |breach: &&mut Breach| breach.of == Resource::Memory && breach.trigger == ChangeTrigger::Memory;
        if let Some(why) = joint::more(size, limit.0) {
            breaches.push(Breach { of: Resource::Memory, trigger: ChangeTrigger::Memory, why });
        } else if let Some(breach) = breaches.iter_mut().find(memory) {
            breach.why = format!("{}; {}", breach.why, joint::bigger(size));
        }
    }

    /// Kills since the last look that the target's own limit called for are owed more memory until it is given. Says whether
    /// there were any. More for the target helps nobody who comes to a limit of his own inside it, nor a host that has no more.
    fn killed(&mut self, look: &Usage) -> bool {
        let last = self.plan.watching.last.as_ref();
        let before = last.and_then(|last| last.oom_kills.clone().ok());
        let (Some(before), Ok(kills)) = (before, &look.oom_kills) else { return false };
        if *kills <= before {
            return false;
        }
        let own = measure::exhausted(last, look).unwrap_or(true);
        let times = crate::model::reading::times(kills - before);
        let whose = if own { "" } else { ", and not at its own limit" };
        self.tell(EventType::Warning, "OOMKilled", format!("the kernel killed {times} in it for want of memory{whose}"));
        if own {
            self.plan.stored.oom_owed = self.spec().mode == Mode::Enabled && self.about.contains(&Resource::Memory);
        }
        own
    }

    /// Whether the target does nothing. An unknown gauge is not idle.
    fn idle(&mut self) -> bool {
        let mut gauges = std::collections::BTreeMap::new();
        for gauge in &self.spec().gauges {
            let asked = self.plan.watching.gauges.get(&gauge.name);
            let reading =
                asked.map_or(Reading::Unknown, |asked| readings::reading(asked, poll(self.spec()), false, self.now.mono).0);
            let number = match reading {
                Reading::Fresh(number) => Some(number),
                Reading::Stale(_) | Reading::Unknown => None,
            };
            gauges.insert(gauge.name.clone(), number);
        }
        let low = |gauge: &str, most: f64| gauges.get(gauge).copied().flatten().is_some_and(|number| number <= most);
        let by_gauge = self.spec().idle_when.iter().any(|rule| low(&rule.gauge, rule.at_most));
        self.plan.stored.status.gauges = gauges;
        by_gauge || self.o.pool_idle == Some(true)
    }

    /// Ask for the next look and the gauges, each in its time.
    fn ask(&mut self) {
        let now = self.now.mono;
        let lost = self.plan.watching.looking.is_some_and(|since| now.since(since) >= LOOK_LOST);
        if now >= self.plan.watching.due && (self.plan.watching.looking.is_none() || lost) {
            self.plan.look = true;
            self.plan.watching.looking = Some(now);
            self.plan.watching.due = now.after(self.spec().check_interval);
        }
        let mut wake = self.plan.watching.due;
        if let Some(since) = self.plan.watching.looking {
            // The answer is heard of; only one that never comes has to be waited for.
            wake = since.after(LOOK_LOST);
        }
        let gauges = &self.spec().gauges;
        self.plan.watching.gauges.retain(|name, _| gauges.iter().any(|gauge| gauge.name == *name));
        for gauge in gauges {
            let asked = self.plan.watching.gauges.entry(gauge.name.clone()).or_default();
            readings::follow(asked, &gauge.source, now);
            match readings::ask(asked, now) {
                Ok(()) => self.plan.questions.push(Question {
                    asker: Asker::Gauge(gauge.name.clone()),
                    source: gauge.source.clone(),
                    timeout: GAUGE_TIMEOUT,
                    every: self.spec().check_interval,
                }),
                Err(at) => wake = at.map_or(wake, |at| wake.min(at)),
            }
        }
        self.plan.wake = Some(wake);
    }

    fn row(&mut self, row: LimitChange) {
        let shown = &mut self.plan.stored.status.history;
        shown.push(row.clone());
        let more = shown.len().saturating_sub(HISTORY_SHOWN);
        shown.drain(..more);
        self.plan.history.push(row);
    }

    fn tell(&mut self, severity: EventType, reason: &'static str, note: String) {
        self.plan.happenings.push(Happening { severity, reason, worker: None, incarnation: None, note });
    }
}
