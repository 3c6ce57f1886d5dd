//! Limits that follow the use of a pool or a unit, inside bounds that nobody leaves.
//!
//! One turn takes in what came of the last order and what the last look showed, decides on at most one change, and says all of
//! it. [`rules`] fills in the profile, [`measure`] turns counters into shares, [`step`] says which change is wanted, [`clamp`]
//! how much of it may be written, [`ahead`] what is expected, [`ladder`] what is done where memory is short and no more may be given,
//! [`said`] what is told. Only what is known lowers a limit, and a change that failed ends all
//! others until somebody looks.

mod ahead;
pub mod budget;
pub mod clamp;
mod ladder;
pub mod measure;
pub mod rules;
mod said;
mod step;
#[cfg(test)]
mod tests;

pub use self::ahead::expected;
use self::clamp::{Kept, Room};
pub use self::ladder::squeeze;
use self::measure::Breach;
use self::rules::Rules;
use self::step::Wish;
pub use self::step::about;
use crate::decide::demand::readings::{self, Poll, Reading};
use crate::decide::joint;
use crate::model::limits::{
    ChangeAction, ChangeStatus, ChangeTrigger, LimitChange, LimitFailure, LimitOrder, memory_high, settable,
};
use crate::model::plan::Happening;
use crate::model::policy::{Amounts, Apply, Mode, PolicySpec, Resource};
use crate::model::policy_plan::{Failed, PolicyFacts, PolicyObservation, PolicyPlan, StoredPolicy, Watching};
use crate::model::policy_status::{Checks, HISTORY_SHOWN, PolicySample, PolicyUsage};
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
        let policy = self.o.policy;
        !policy.removed && policy.rival.is_none() && !policy.poolless
    }

    /// What a daemon before this one, an edit or a person has left to be done first.
    fn begin(&mut self) {
        let target = self.spec().target.shown();
        if self.plan.stored.status.target != target {
            // Of another target nothing is known: neither what was set nor what it used.
            let kept = StoredPolicy { uid: self.o.stored.uid.clone(), created: self.o.stored.created, ..StoredPolicy::default() };
            let history = self.plan.stored.status.history.clone();
            self.plan.stored = StoredPolicy { orders: self.o.stored.orders, since: self.now.wall, ..kept };
            (self.plan.stored.status.target, self.plan.stored.status.history) = (target, history);
            let gauges = std::mem::take(&mut self.plan.watching.gauges);
            let ordered = self.plan.watching.ordered.take();
            self.plan.watching = Watching { gauges, ordered, taken_over: true, ..Watching::default() };
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

    /// What came of the last order.
    fn outcome(&mut self) {
        let ordered = self.plan.watching.ordered.clone();
        let Some((outcome, order)) = self.o.outcome.zip(ordered).filter(|(outcome, order)| outcome.id == order.id) else {
            return;
        };
        self.plan.watching.ordered = None;
        let Some(change) = self.plan.stored.pending.take() else { return };
        match &outcome.result {
            Ok(limits) => {
                self.plan.stored.status.limits = *limits;
                self.applied(change, order.wanted);
            }
            Err(failure) => self.failed(change, failure),
        }
    }

    fn applied(&mut self, change: LimitChange, wanted: Amounts) {
        let (now, stored) = (self.now, &mut self.plan.stored);
        stored.applied = wanted.or(stored.applied);
        if wanted.memory.is_some() {
            stored.high = change.high;
        }
        if change.action.moves_high() {
            // No limit has changed: a raise is owed as before, and nothing rests for it.
            let lifted = change.action == ChangeAction::LiftHigh;
            let severity = if lifted { EventType::Warning } else { EventType::Normal };
            self.tell(severity, said::word(change.action), change.reason.clone());
            return self.row(LimitChange { time: now.wall, status: ChangeStatus::Applied, ..change });
        }
        stored.status.checks = Checks::default();
        stored.oom_owed &= wanted.memory.is_none();
        match change.action {
            ChangeAction::ScaleUp => stored.status.scale_up_count += 1,
            ChangeAction::ScaleDown => stored.status.scale_down_count += 1,
            ChangeAction::Initial
            | ChangeAction::Manual
            | ChangeAction::Bound
            | ChangeAction::Correct
            | ChangeAction::Rollback
            | ChangeAction::Reset
            | ChangeAction::LiftHigh
            | ChangeAction::LowerHigh => {}
        }
        if change.action != ChangeAction::Correct {
            stored.status.last_scale_time = Some(now.wall);
            self.plan.watching.rests_until = now.mono.after(self.rules.cooldown);
        }
        let note = format!("limits are {} now, they were {}: {}", change.new, change.old, change.reason);
        self.tell(EventType::Normal, said::word(change.action), note);
        self.row(LimitChange { time: now.wall, status: ChangeStatus::Applied, ..change });
    }

    fn failed(&mut self, change: LimitChange, failure: &LimitFailure) {
        let restored = match &failure.restored {
            Ok(()) => "what held before holds again".to_owned(),
            Err(why) => format!("and what held before could not be put back: {why}"),
        };
        let error = format!("{}; {restored}", failure.error);
        self.tell(EventType::Warning, "LimitsFailed", format!("limits of {} could not be set: {error}", change.new));
        let back = LimitChange {
            action: ChangeAction::Rollback,
            old: change.new,
            new: change.old,
            high: self.plan.stored.high,
            ..change.clone()
        };
        let status = if failure.restored.is_ok() { ChangeStatus::Applied } else { ChangeStatus::Failed };
        let time = self.now.wall;
        if change.action == ChangeAction::LiftHigh {
            self.not_lifted();
        }
        self.row(LimitChange { time, status: ChangeStatus::Failed, error: Some(failure.error.clone()), ..change });
        self.row(LimitChange { time, status, error: failure.restored.clone().err(), ..back });
        self.plan.stored.failed = Some(Failed { generation: self.o.policy.generation, error });
    }

    /// Decide on a look that has come in.
    fn look(&mut self) {
        let Some(look) = self.o.look else { return };
        self.plan.watching.looking = None;
        match look {
            Err(why) => {
                (self.plan.watching.last, self.plan.watching.blind) = (None, Some(why.clone()));
                self.ladder(ladder::unseen(why));
                let status = &mut self.plan.stored.status;
                (status.usage, status.checks) = (None, Checks::default());
            }
            Ok(usage) => self.seen(usage),
        }
    }

    fn seen(&mut self, look: &Usage) {
        let usage = measure::usage(self.plan.watching.last.as_ref(), look, self.now);
        self.left_over(look);
        let killed = self.killed(look);
        let mut breaches = measure::breaches(&self.rules, &self.spec().pressure, &usage, &self.about);
        if let Some(forecast) = self.o.forecast {
            ahead::breaches(&self.rules, forecast, look.limits, &self.about, &mut breaches);
        }
        // What is needed for workers to come says nothing against taking away what nobody uses: memory itself is not lowered then.
        let calm = measure::calm(&self.rules, &usage, &self.about) && breaches.is_empty();
        self.joint(look.limits, &mut breaches);
        self.held(look, &usage);
        let sign = self.sign(look.limits, &usage, killed);
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
        if self.plan.stored.failed.is_none() && self.plan.watching.ordered.is_none() {
            self.calm_conditions();
            self.change(look.limits, &breaches, (&usage, rests));
        }
        let gauges = self.plan.stored.status.gauges.clone();
        self.plan.sample = Some(PolicySample { usage, limits: look.limits, gauges });
    }

    /// Order what is wanted. A raise for workers to come that cannot be given keeps nothing else from being lowered, and nothing
    /// that cannot be done keeps `MemoryHigh` from being moved.
    fn change(&mut self, limits: Amounts, breaches: &[Breach], (usage, rests): (&PolicyUsage, bool)) {
        let wish = self.wish(limits, breaches, rests);
        let raise = wish.as_ref().is_some_and(|wish| wish.action == ChangeAction::ScaleUp);
        wish.into_iter().for_each(|wish| self.order(wish, limits, usage));
        if raise
            && self.plan.order.is_none()
            && let Some(wish) = self.lower(limits)
        {
            self.order(wish, limits, usage);
        }
        if self.plan.order.is_none()
            && let Some(wish) = self.move_high(limits, usage)
        {
            self.order(wish, limits, usage);
        }
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

    /// A change that a daemon before this one had begun: now it is seen whether it was done.
    fn left_over(&mut self, look: &Usage) {
        let limits = look.limits;
        let Some(change) = self.plan.stored.pending.take_if(|_| self.o.watching.ordered.is_none()) else { return };
        let holds = |of: &Resource| change.new.of(*of) == change.old.of(*of) || change.new.of(*of) == limits.of(*of);
        let high = limits.memory.map(|max| memory_high(max, change.high));
        let stands = !change.action.moves_high() || high == look.high;
        if stands && self.about.iter().all(holds) {
            let wanted = self.about.iter().fold(Amounts::default(), |all, of| all.with(*of, change.new.of(*of)));
            return self.applied(change, wanted);
        }
        let error = Some("weir ended before it was done".to_owned());
        self.row(LimitChange { time: self.now.wall, status: ChangeStatus::Failed, error, ..change });
    }

    /// Kills since the last look are owed more memory until it is given. Says whether there were any.
    fn killed(&mut self, look: &Usage) -> bool {
        let before = self.plan.watching.last.as_ref().and_then(|last| last.oom_kills.clone().ok());
        if let (Some(before), Ok(kills)) = (before, &look.oom_kills)
            && *kills > before
        {
            self.plan.stored.oom_owed = self.spec().mode == Mode::Enabled && self.about.contains(&Resource::Memory);
            let note = format!("the kernel killed {} in it for want of memory", crate::model::reading::times(kills - before));
            self.tell(EventType::Warning, "OOMKilled", note);
            return true;
        }
        false
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

    fn bounds(&self, of: Resource) -> (u64, u64) {
        let bounds = &self.spec().bounds;
        (bounds.min.of(of).unwrap_or(0).max(1), bounds.max.of(of).unwrap_or(u64::MAX / 2))
    }

    /// What a value of this resource must fit in.
    fn room(&self, of: Resource, usage: &PolicyUsage) -> Room {
        let (min, max) = self.bounds(of);
        // What the machine has is not known: then it has nothing to give.
        let all = self.o.capacity.of(of).unwrap_or(0);
        let left = |reserve: u64| all.saturating_sub(reserve).saturating_sub(self.o.others.of(of).unwrap_or(0));
        Room { min, max, budget: self.o.reserve.of(of).map(left), used: measure::used(usage, of) }
    }

    /// As much of an amount as may be written.
    fn allowed(&self, (of, amount): (Resource, u64), limits: Amounts, usage: &PolicyUsage) -> Result<u64, Kept> {
        clamp::clamp(of, amount, limits.of(of), self.room(of, usage))
    }

    /// Order as much of a wish as may be written.
    fn order(&mut self, wish: Wish, limits: Amounts, usage: &PolicyUsage) {
        let (mut wanted, mut kept) = (Amounts::default(), Vec::new());
        for of in self.about.clone() {
            let Some(amount) = wish.limits.of(of) else { continue };
            let allowed = self.allowed((of, amount), limits, usage);
            if wish.action.moves_high() {
                // It goes with the limit that there is, and with no other.
                wanted = wanted.with(of, Some(amount).filter(|_| allowed == Err(Kept::Same)));
                continue;
            }
            match allowed {
                Ok(value) => wanted = wanted.with(of, Some(value)),
                Err(Kept::Same) => {}
                Err(why) => kept.push((of, why)),
            }
        }
        self.told_kept(&wish, &kept);
        if wish.action == ChangeAction::ScaleUp && kept.iter().any(|(of, _)| *of == Resource::Memory) {
            self.plan.stored.oom_owed = false;
        }
        let deferred = kept.iter().any(|(_, why)| *why == Kept::Used);
        let restarts = self.spec().apply == Apply::Restart;
        if wanted == Amounts::default() || restarts && deferred {
            return;
        }
        if wish.action == ChangeAction::Correct {
            self.plan.watching.corrections.push(self.now.mono);
        }
        self.plan.stored.orders += 1;
        // A drop-in is written whole: what it leaves out would be lost.
        let whole = if restarts { wanted.or(settable(self.plan.stored.applied)) } else { wanted };
        let Wish { action, trigger, reason, .. } = wish;
        let (high, high_before) = (self.high(), self.plan.stored.high);
        let high = if wanted.memory.is_some() { high } else { high_before };
        let row = LimitChange { action, trigger, reason, old: limits, new: wanted.or(limits), high, ..LimitChange::default() };
        self.plan.stored.pending = Some(LimitChange { time: self.now.wall, ..row });
        let order = LimitOrder {
            id: self.plan.stored.orders,
            target: self.spec().target.clone(),
            wanted: whole,
            previous: limits,
            high,
            high_before,
            apply: self.spec().apply,
            persist: self.spec().persist,
        };
        self.plan.watching.ordered = Some(order.clone());
        self.plan.order = Some(order);
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
