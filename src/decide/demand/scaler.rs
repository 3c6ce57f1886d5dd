//! One decision of a scaled pool: what its triggers ask for, brought through every step that may hold it, in one order.
//!
//! Each step that changes the size leaves a [`Clamp`] with its name; each that can end by itself says when. Nothing is read
//! here but the observation, and nothing is remembered but what goes back in [`Demand::scaling`].

use std::collections::{BTreeMap, BTreeSet};

use super::readings::{self, Poll, Reading};
use super::rules::{self, Wants};
use super::windows::{bounds, moment};
use super::{Demand, PAUSED_UNTIL, behavior, poll, quotas};
use crate::decide::{allot, joint};
use crate::model::cron::Window;
use crate::model::host::{Budget, Rung, Squeeze};
use crate::model::plan::{Observation, PoolFacts, running};
use crate::model::queue_work::QueueCounts;
use crate::model::scale::{FallbackBehavior, Scale, SelectPolicy, Trigger};
use crate::model::scaling::{Allowance, Asked, Asker, Change, Clamp, Explanation, Question, Signal, SignalState, Wish};
use crate::model::source::Source;
use crate::model::time::{Moment, Now, Span, Wall};

/// One decision under way: the size, and what it went through.
pub(super) struct Scaler<'a> {
    pool: &'a PoolFacts,
    queues: &'a BTreeMap<String, QueueCounts>,
    /// Quotas that an earlier daemon found used up.
    used_up: Vec<String>,
    scale: &'a Scale,
    now: Now,
    /// The size wanted until now.
    current: u32,
    /// The bounds of now.
    min: u32,
    max: u32,
    /// Which window sets them, in words, if one does.
    min_by: String,
    max_by: String,
    /// Workers at work.
    busy: u32,
    /// Workers that run.
    running: u32,
    /// The memory that the pool may be given, if a policy says so.
    budget: Option<&'a Budget>,
    /// Its memory is short, and no more can be given.
    squeeze: Option<&'a Squeeze>,
    /// Workers that live, and are not on their way out.
    live: u32,
    size: u32,
    /// Every number is fresh: the size may get smaller.
    may_lower: bool,
    reason: String,
    clamps: Vec<Clamp>,
    signals: Vec<Signal>,
    allowances: Vec<Allowance>,
    out: Demand,
}

impl<'a> Scaler<'a> {
    pub(super) fn new(observation: &Observation<'a>, scale: &'a Scale, now: Now) -> Scaler<'a> {
        let room = observation.machine.and_then(|look| allot::room(&scale.headroom, look));
        let mut out = Demand { scaling: observation.scaling.clone(), room, ..Demand::default() };
        let (min, max, until) = bounds(scale, now);
        out.wake(until);
        let ([min_by, max_by], [min, max]) = ([min.by, max.by], [min.size, max.size]);
        let previous = observation.previous;
        let used_up = previous.scaling.iter().flat_map(|why| &why.quotas).filter(|quota| quota.used_up);
        let used_up = used_up.map(|quota| quota.quota.clone()).collect();
        let current = if previous.observed_generation > 0 { previous.desired_replicas } else { observation.live() };
        if let (true, Some(last)) = (out.scaling.changes.is_empty(), changed_before(observation, now)) {
            out.scaling.changes.push(last);
        }
        Scaler {
            pool: observation.pool,
            queues: observation.queues,
            used_up,
            scale,
            now,
            current,
            min,
            max,
            min_by,
            max_by,
            busy: observation.busy(),
            running: running(observation.slots),
            budget: observation.machine.and_then(|look| look.budget.as_ref()),
            squeeze: observation.squeeze,
            live: observation.live(),
            size: current,
            may_lower: true,
            reason: String::new(),
            clamps: Vec::new(),
            signals: Vec::new(),
            allowances: Vec::new(),
            out,
        }
    }

    pub(super) fn decide(mut self) -> Demand {
        self.listen();
        let raw = self.ask_rules();
        if self.out.scaling.wishes.is_empty() {
            // As HPA does: what there is counts as the wish until now, so that a new daemon lowers nothing at once.
            self.out.scaling.wishes.push(Wish { since: Moment(0), until: None, size: self.current });
        }
        if self.may_lower || self.size > self.current {
            // A size that is only held for want of a number is nobody's wish: it must not begin the window anew.
            behavior::remember(&mut self.out.scaling.wishes, self.size, &self.scale.behavior, self.now.mono);
        }
        self.gate();
        if self.paused() {
            // Nobody goes, and nobody comes in the place of one that ended: a pause gives no memory.
            self.memory_pressure(self.live);
            return self.done(raw);
        }
        self.stabilize();
        // Before what holds for a while: where a bound forbids a change there is nothing to wait for.
        self.bound();
        self.limit();
        self.cool();
        self.quotas();
        self.headroom();
        self.pool_budget();
        let drains = self.squeeze.is_some_and(|squeeze| squeeze.rung >= Rung::Draining);
        self.memory_pressure(if drains { self.busy } else { self.live });
        self.bound();
        self.done(raw)
    }

    /// Ask what is due, and forget what is not asked any more.
    fn listen(&mut self) {
        let names: BTreeSet<&str> = self.scale.triggers.iter().map(Trigger::name).collect();
        let scaling = &mut self.out.scaling;
        scaling.triggers.retain(|name, _| names.contains(name.as_str()));
        scaling.quotas.retain(|name, _| self.scale.quota.iter().any(|quota| quota.name == *name));
        scaling.closed.retain(|name| scaling.quotas.contains_key(name));
        let mut wakes = Vec::new();
        let there = |trigger: &&Trigger| self.running > 0 || trigger.source.used().is_none();
        for trigger in self.scale.triggers.iter().filter(|trigger| asked(trigger)).filter(there) {
            let asked = scaling.triggers.entry(trigger.name().to_owned()).or_default();
            let asker = Asker::Trigger(trigger.name().to_owned());
            put(asked, (asker, &trigger.source, poll(trigger)), self.now.mono, (&mut self.out.questions, &mut wakes));
        }
        for quota in &self.scale.quota {
            if !scaling.quotas.contains_key(&quota.name) && self.used_up.contains(&quota.name) {
                scaling.closed.insert(quota.name.clone());
            }
            let asked = scaling.quotas.entry(quota.name.clone()).or_default();
            let asker = Asker::Quota(quota.name.clone());
            put(asked, (asker, &quota.source, quotas::POLL), self.now.mono, (&mut self.out.questions, &mut wakes));
        }
        wakes.into_iter().for_each(|at| self.out.wake(Some(at)));
    }

    /// What the triggers ask for: the largest, and nothing lower than now unless every number is fresh.
    fn ask_rules(&mut self) -> u32 {
        let mut lower = true;
        let mut largest: Option<(u32, String)> = None;
        let all: Vec<(Wants, Signal)> = self.scale.triggers.iter().map(|trigger| self.signal(trigger)).collect();
        let left_out = self.left_out(&all);
        for (trigger, (wants, signal)) in self.scale.triggers.iter().zip(all) {
            let size = match wants {
                _ if left_out && of_workers(trigger) => None,
                Wants::Exactly(size) => Some(size),
                Wants::AtLeast(size) => {
                    lower = false;
                    Some(size)
                }
                Wants::Hold => {
                    lower = false;
                    None
                }
            };
            if let Some(size) = size.filter(|size| largest.as_ref().is_none_or(|(before, _)| size > before)) {
                largest = Some((size, format!("{}: {}", signal.trigger, signal.says)));
            }
            self.signals.push(signal);
        }
        self.may_lower = lower;
        let (raw, reason) = largest.unwrap_or_else(|| (self.current, "no trigger has a number".into()));
        (self.size, self.reason) = (raw, reason);
        if self.scale.triggers.is_empty() {
            (self.size, self.reason) = (self.min, format!("there is no trigger, so the least{}", self.min_by));
        } else if !lower && raw < self.current {
            self.clamp("backlogUnknown", self.current, "a number is missing or old, so nothing is lowered".into(), None);
        }
        self.spare();
        raw
    }

    /// Nothing is to be done, and there may be no worker: then what its workers use, which never asks for none, does not count.
    fn left_out(&self, all: &[(Wants, Signal)]) -> bool {
        let pairs = self.scale.triggers.iter().zip(all);
        let mut others = pairs.filter(|(trigger, _)| !of_workers(trigger)).map(|(_, (wants, _))| wants).peekable();
        self.min == 0 && others.peek().is_some() && others.all(|wants| *wants == Wants::Exactly(0))
    }

    /// `minIdle` workers above those that are busy.
    fn spare(&mut self) {
        let least = self.busy.saturating_add(self.scale.min_idle);
        if self.scale.min_idle > 0 && least > self.size {
            self.clamp("minIdle", least, format!("{} are busy, and {} are kept idle", self.busy, self.scale.min_idle), None);
        }
    }

    fn signal(&mut self, trigger: &Trigger) -> (Wants, Signal) {
        let name = trigger.name().to_owned();
        let asked = self.out.scaling.triggers.get(&name).cloned().unwrap_or_default();
        let (reading, until) = match clocked(trigger, self.now) {
            Some((value, until)) => (Reading::Fresh(value), Some(until)),
            None if !self::asked(trigger) => (self.queued(trigger), None),
            None if self.nothing_to_measure(trigger) => (Reading::Unknown, None),
            None => readings::reading(&asked, poll(trigger), self.current > self.min, self.now.mono),
        };
        self.out.wake(until);
        let (mut wants, mut says) = rules::wants(trigger, reading, asked.stepped, self.current);
        let fresh = matches!(reading, Reading::Fresh(_));
        let mut doubt = (!fresh).then(|| readings::doubt(&asked, poll(trigger), self.scale.fallback));
        if let Some((instead, words)) = self.fall_back(&asked) {
            if let (Wants::Exactly(_), Some(error)) = (&instead, &asked.error) {
                // The one answer to a failure that may lower.
                doubt = Some(format!("{error}; {words}"));
            }
            (wants, says) = (instead, words);
        } else if self.nothing_to_measure(trigger) {
            says = "no worker runs, so there is nothing to measure, and the size is held".into();
            doubt = Some(says.clone());
        } else if let Some(good) = asked.good.as_ref().filter(|_| trigger.source.used().is_some()) {
            // A percent says little without the whole.
            says = format!("{says} ({})", good.raw);
            if let Some(more) = asked.starting {
                says = format!("{says}; {more} are not asked for while workers are starting: what a start takes is no load");
            }
        }
        let (value, state) = match reading {
            Reading::Fresh(value) => (Some(value), SignalState::Fresh),
            Reading::Stale(value) => (Some(value), SignalState::Stale),
            Reading::Unknown => (None, SignalState::Unknown),
        };
        let size = match wants {
            Wants::Exactly(size) | Wants::AtLeast(size) => Some(size),
            Wants::Hold => None,
        };
        let raw = asked.good.as_ref().map(|good| good.raw.clone()).unwrap_or_default();
        let time = asked.good.as_ref().map(|good| good.wall);
        let (error, failures, not_before) = (asked.error, asked.failures, asked.alone.filter(|at| *at > self.now.wall));
        (wants, Signal { trigger: name, value, state, time, error, failures, not_before, raw, doubt, wants: size, says })
    }

    /// It measures workers, and none runs: an old number says nothing of those to come.
    fn nothing_to_measure(&self, trigger: &Trigger) -> bool {
        trigger.source.used().is_some() && self.running == 0
    }

    /// What stands in a queue of weir's own: known at any time, and never old.
    fn queued(&self, trigger: &Trigger) -> Reading {
        let pool = trigger.source.queue.as_ref().and_then(|queue| queue.pool.as_deref()).unwrap_or(&self.pool.name);
        self.queues.get(pool).map_or(Reading::Unknown, |counts| Reading::Fresh(counts.backlog() as f64))
    }

    /// What the spec says of a trigger that has failed for long.
    fn fall_back(&mut self, asked: &Asked) -> Option<(Wants, String)> {
        let fallback = self.scale.fallback;
        let since = asked.failing_since?;
        let by_time = fallback.after.is_some_and(|after| self.now.mono.since(since) >= after);
        self.out.wake(fallback.after.map(|after| since.after(after)).filter(|at| *at > self.now.mono));
        if asked.failures < fallback.failure_threshold && !by_time {
            return None;
        }
        let failed = if asked.failures == 1 { "failed".into() } else { format!("failed {} times in a row", asked.failures) };
        match fallback.behavior {
            FallbackBehavior::Hold => None,
            FallbackBehavior::Static => {
                Some((Wants::Exactly(fallback.replicas), format!("{failed}: the fallback is {}", fallback.replicas)))
            }
            FallbackBehavior::AtLeast => {
                Some((Wants::AtLeast(fallback.replicas), format!("{failed}: the fallback is at least {}", fallback.replicas)))
            }
        }
    }

    fn paused(&mut self) -> bool {
        let until = self.pool.annotations.get(PAUSED_UNTIL).and_then(|text| text.parse::<Wall>().ok());
        let until = until.filter(|until| *until > self.now.wall);
        if !self.scale.paused && until.is_none() {
            return false;
        }
        let words = until.map_or_else(|| "spec.scale.paused is true".into(), |until| format!("paused {}", until.or_resumed()));
        let until = until.filter(|until| *until < Wall::FOR_EVER);
        self.out.wake(until.and_then(|until| moment(until, self.now)));
        // Told also when nothing would change: whoever asks wants to know that it cannot.
        self.clamps.push(Clamp { name: "paused".into(), from: self.size, to: self.current, why: words.clone(), until });
        self.size = self.current;
        self.reason = words;
        true
    }

    fn stabilize(&mut self) {
        let mut held = behavior::stabilize(&self.out.scaling.wishes, &self.scale.behavior, self.current, self.now.mono);
        if !self.may_lower {
            // An older wish raises nothing that is not asked for now, and what is not known lowers nothing.
            held.size = held.size.clamp(self.current, self.size.max(self.current));
        }
        self.out.wake(held.until);
        if held.size != self.size {
            let down = self.size < held.size;
            let window = if down {
                self.scale.behavior.scale_down.stabilization_window
            } else {
                self.scale.behavior.scale_up.stabilization_window
            };
            let words = format!("the {} wish of the last {window} counts", if down { "largest" } else { "smallest" });
            self.clamp("stabilizationWindow", held.size, words, self.wall(held.until));
        }
    }

    fn limit(&mut self) {
        let (behavior, changes) = (&self.scale.behavior, &self.out.scaling.changes);
        let (held, which, select) = if self.size > self.current {
            let held = behavior::up_limit(behavior, changes, self.current, self.now.mono);
            (held, "scaleUp.policies", behavior.scale_up.select_policy)
        } else if self.size < self.current {
            let held = behavior::down_limit(behavior, changes, self.current, self.now.mono);
            (held, "scaleDown.policies", behavior.scale_down.select_policy)
        } else {
            return;
        };
        let up = self.size > self.current;
        let beyond = if up { self.size > held.size } else { self.size < held.size };
        if beyond {
            let why = match select {
                SelectPolicy::Disabled if up => "scaling up is disabled: scaleUp.selectPolicy is Disabled",
                SelectPolicy::Disabled => "scaling down is disabled: scaleDown.selectPolicy is Disabled",
                SelectPolicy::Max | SelectPolicy::Min => "no more may change in one period",
            };
            self.out.wake(held.until);
            self.clamp(which, held.size, why.into(), self.wall(held.until));
        }
    }

    fn cool(&mut self) {
        let behavior = &self.scale.behavior;
        let (cooldown, which) = if self.size > self.current {
            (behavior.scale_up.cooldown, "scaleUp.cooldown")
        } else if self.size < self.current {
            (behavior.scale_down.cooldown, "scaleDown.cooldown")
        } else {
            return;
        };
        // The first workers of a pool that always has some are no change to wait after.
        let counts = |change: &&Change| change.from > 0 || self.min == 0;
        let last = self.out.scaling.changes.iter().rev().find(counts).map(|change| change.at);
        if let Some(end) = behavior::cooling(cooldown, last, self.now.mono) {
            self.out.wake(Some(end));
            self.clamp(which, self.current, format!("less than {cooldown} since the last change"), self.wall(Some(end)));
        }
    }

    /// An allowance that is used up, or was not read yet: no worker is started, not in the place of one that ended either, nor in a
    /// paused pool.
    fn gate(&mut self) {
        let (all, until) = quotas::all(&self.scale.quota, &self.out.scaling, self.now);
        self.out.wake(until);
        self.out.gate = quotas::gate(&all);
        self.allowances = all;
    }

    /// No more workers than there are, while none may be started.
    fn quotas(&mut self) {
        if let Some(words) = self.out.gate.clone().filter(|_| self.size > self.current) {
            self.clamp("quota", self.current, words, None);
        }
    }

    /// No more than the machine has room for.
    fn headroom(&mut self) {
        let Some(room) = self.out.room.clone() else { return };
        let most = self.current.saturating_add(room.starts);
        if self.size > most {
            let again = self.now.mono.after(allot::LOOK_AGAIN);
            self.out.wake(Some(again));
            self.clamp("headroom", most, room.why, None);
        }
    }

    /// No more than the memory that the pool's policy may give it is enough for. It lowers nothing.
    fn pool_budget(&mut self) {
        let Some(budget) = &self.budget else { return };
        let most = joint::most(budget).max(self.current);
        if self.size > most {
            let why = joint::why(budget);
            self.clamp("poolBudget", most, why, None);
        }
    }

    /// No worker more than there are while memory is short, none in the place of one that ended either; and when it stays so only
    /// those at work. Those that are always there stay.
    fn memory_pressure(&mut self, most: u32) {
        let Some(squeeze) = self.squeeze else { return };
        let to = self.size.min(most.max(self.min));
        // Told also when nothing would change: whoever asks wants to know that it cannot.
        self.clamps.push(Clamp { name: "memoryPressure".into(), from: self.size, to, why: squeeze.why.clone(), until: None });
        self.size = to;
    }

    fn bound(&mut self) {
        if self.size < self.min {
            self.clamp("minReplicas", self.min, format!("never fewer than {}{}", self.min, self.min_by), None);
        } else if self.size > self.max {
            self.clamp("maxReplicas", self.max, format!("never more than {}{}", self.max, self.max_by), None);
        }
    }

    /// A moment on the wall clock, to the second: the two clocks are not read at the same instant.
    fn wall(&self, at: Option<Moment>) -> Option<Wall> {
        at.map(|at| Wall((self.now.wall_of(at).0 + 500).div_euclid(1000) * 1000))
    }

    fn clamp(&mut self, name: &str, to: u32, why: String, until: Option<Wall>) {
        if to != self.size {
            self.clamps.push(Clamp { name: name.into(), from: self.size, to, why, until });
            self.size = to;
        }
    }

    fn done(mut self, raw: u32) -> Demand {
        if self.size > self.max {
            self.clamp("maxReplicas", self.max, format!("never more than {}{}", self.max, self.max_by), None);
        }
        if self.size != self.current {
            let change = Change { at: self.now.mono, from: self.current, to: self.size };
            behavior::changed(&mut self.out.scaling.changes, change, &self.scale.behavior);
            // Rules speak of the size there is: a number may be within the tolerance of the new one. That counts from now on.
            self.out.wake(Some(self.now.mono.after(Span(1))));
            if let Some(clamp) = self.clamps.iter().rev().find(|clamp| clamp.from != clamp.to) {
                self.reason = format!("{}; {}: {}", self.reason, clamp.name, clamp.why);
            }
        }
        // The last one has the last word: when an earlier one ends, that one still holds.
        let next_change = self.clamps.last().and_then(|clamp| clamp.until);
        let (current, min, max, wanted) = (self.current, self.min, self.max, self.size);
        let (signals, quotas, clamps) = (self.signals, self.allowances, self.clamps);
        let victims = Vec::new();
        self.out.why = Some(Explanation { current, min, max, signals, quotas, raw, clamps, wanted, victims, next_change });
        Demand { wanted, reason: self.reason, ..self.out }
    }
}

/// It asks for a number of workers by what each of them uses.
fn of_workers(trigger: &Trigger) -> bool {
    trigger.target_per_worker.is_some() && trigger.source.used().is_some()
}

/// Ask a source if it is due; else say when it is.
fn put(
    asked: &mut Asked,
    (asker, source, poll): (Asker, &Source, Poll),
    now: Moment,
    (questions, wakes): (&mut Vec<Question>, &mut Vec<Moment>),
) {
    readings::follow(asked, source, now);
    match readings::ask(asked, now) {
        Ok(()) => {
            questions.push(Question { asker, source: source.clone(), timeout: poll.timeout, every: poll.interval });
        }
        Err(due) => wakes.extend(due),
    }
}

/// Its source is asked at intervals: not what the clock or a queue of weir's own says, but where a rule makes a step for each number.
fn asked(trigger: &Trigger) -> bool {
    trigger.source.schedule.is_none() && (trigger.source.queue.is_none() || trigger.step.is_some())
}

/// What a trigger by the clock says, and until when.
fn clocked(trigger: &Trigger, now: Now) -> Option<(f64, Moment)> {
    let schedule = trigger.source.schedule.as_ref()?;
    let inside = Window::new(&schedule.cron, schedule.time_zone.as_deref(), schedule.duration).ok()?.at(now.wall);
    let value = if inside.active { schedule.value } else { 0 };
    Some((value as f64, moment(inside.until, now)?))
}

/// The last change of size that an earlier daemon made: its cooldown is kept, and the policies count it.
fn changed_before(observation: &Observation<'_>, now: Now) -> Option<Change> {
    let (at, last) = (observation.previous.last_scale_time?, observation.previous.last_scale.as_ref()?);
    let ago = u64::try_from(now.wall.0.saturating_sub(at.0)).unwrap_or(0);
    Some(Change { at: Moment(now.mono.0.saturating_sub(ago)), from: last.from, to: last.to })
}
