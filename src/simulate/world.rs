//! A pool over virtual time: the decisions are `decide`'s own, only sources, tasks and processes are played.
//!
//! Time goes from one event to the next (a number of the trace, a start, the end of a task, a wake that was asked for), so
//! nothing depends on a step. A worker needs `start_delay` to be ready, stops at once, never fails, and does one task after the
//! other, first come first served. What a simulation cannot know (probes, headroom, quotas) is taken out of the spec first.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::trace::Point;
use super::work::Work;
use crate::decide;
use crate::decide::demand::Size;
use crate::model::line::Line;
use crate::model::plan::{Action, Observation, Plan, PoolFacts, Slot, running};
use crate::model::queue_work::QueueCounts;
use crate::model::reading::{Failure, Number};
use crate::model::scale::Trigger;
use crate::model::scaling::{Asker, Question, Scaling};
use crate::model::status::PoolStatus;
use crate::model::time::{Moment, Now, Wall};
use crate::model::worker::{Exit, ExitReason, Run, SlotState};

/// Moments begin here: nothing is ever "before the boot".
const BOOT: u64 = 1 << 40;
/// Turns at one moment; a pool settles in a handful.
const TURNS_MAX: usize = 100;
/// A closed loop that does not get through its tasks ends this long after the last one came.
const PATIENCE: u64 = 7 * 86_400_000;

/// What comes in.
#[derive(Clone, Debug, PartialEq)]
pub enum Feed {
    /// What each trigger reads, whatever the workers do.
    Reported(BTreeMap<String, Vec<Point>>),
    /// Tasks: each trigger reads how many are queued and running.
    Arrivals(Vec<Point>),
}

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The pool.
    pub facts: PoolFacts,
    /// The wall clock at the begin.
    pub begin: Wall,
    /// What comes in.
    pub feed: Feed,
    /// How long tasks take. None: reported work keeps nobody busy.
    pub work: Option<Work>,
    /// Milliseconds from the start of a worker to its being ready.
    pub start_delay: u64,
    /// When to end, in milliseconds. None: with the trace, or with the last task.
    pub end: Option<u64>,
}

/// How things stand from a moment on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sample {
    /// Milliseconds from the begin.
    pub at: u64,
    /// Workers wanted.
    pub desired: u32,
    /// Workers that run.
    pub actual: u32,
    /// Workers at work.
    pub busy: u32,
    /// The largest number that a trigger reads.
    pub backlog: f64,
    /// What holds the size, by name.
    pub held: Vec<String>,
}

/// A change of the size wanted.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// When.
    pub at: u64,
    /// From.
    pub from: u32,
    /// To.
    pub to: u32,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// How things stood, at every change.
    pub samples: Vec<Sample>,
    /// Changes of size, after the first moment.
    pub changes: Vec<Change>,
    /// Worker-milliseconds: each from its start to its end.
    pub worker_ms: u64,
    /// Milliseconds at which as many as allowed were wanted.
    pub ceiling_ms: u64,
    /// How long each task waited, in milliseconds.
    pub waits: Vec<u64>,
    /// Tasks that were not done at the end.
    pub unfinished: usize,
    /// Tasks whose worker was stopped; they began anew.
    pub interrupted: usize,
    /// When it ended.
    pub end: u64,
}

#[derive(Clone, Copy)]
struct Task {
    arrived: u64,
    takes: u64,
}

struct World<'a> {
    setup: &'a Setup,
    now: u64,
    slots: BTreeMap<String, Slot>,
    /// When workers that are being started are ready.
    starting: BTreeMap<String, u64>,
    doing: BTreeMap<String, (Task, u64)>,
    queue: VecDeque<Task>,
    /// Points taken in, by trigger; of arrivals under the empty name.
    taken: BTreeMap<String, usize>,
    values: BTreeMap<String, f64>,
    tasks: u64,
    status: PoolStatus,
    scaling: Scaling,
    line: Line,
    queues: BTreeMap<String, QueueCounts>,
    wake: Option<u64>,
    /// Something besides work is another than at the last decision.
    moved: bool,
    /// Workers that are busy and were not at the last decision, or the other way round.
    toggled: BTreeSet<String>,
    out: Outcome,
}

/// Play it to its end.
pub fn run(setup: &Setup) -> Outcome {
    let mut world = World {
        setup,
        now: 0,
        slots: BTreeMap::new(),
        starting: BTreeMap::new(),
        doing: BTreeMap::new(),
        queue: VecDeque::new(),
        taken: BTreeMap::new(),
        values: BTreeMap::new(),
        tasks: 0,
        status: PoolStatus::default(),
        scaling: Scaling::default(),
        line: Line::default(),
        queues: BTreeMap::new(),
        wake: None,
        moved: true,
        toggled: BTreeSet::new(),
        out: Outcome::default(),
    };
    loop {
        world.take_in();
        world.settle();
        world.note();
        match world.next() {
            Some(at) => world.pass(at),
            None => return world.ended(),
        }
    }
}

/// The spec without what a simulation cannot know, and the names of what was left out.
pub fn playable(facts: &mut PoolFacts) -> Vec<&'static str> {
    // Workers that take one task after the other stand for runs that are for one each.
    facts.spec.queue = None;
    let template = &mut facts.spec.template;
    let mut left_out = Vec::new();
    if template.startup_probe.is_some() || template.readiness_probe.is_some() || template.liveness_probe.is_some() {
        left_out.push("probes");
    }
    (template.startup_probe, template.readiness_probe, template.liveness_probe) = (None, None, None);
    for (name, there) in [
        ("preStop", template.pre_stop.take().is_some()),
        ("stall", template.stall.take().is_some()),
        ("recycle", template.recycle.take().is_some()),
    ] {
        left_out.extend(there.then_some(name));
    }
    if let Some(scale) = &mut facts.spec.scale {
        left_out.extend((!scale.quota.is_empty()).then_some("quota"));
        scale.quota.clear();
        left_out.push("headroom");
    }
    left_out
}

impl World<'_> {
    fn clock(&self) -> Now {
        let wall = Wall(self.setup.begin.0.saturating_add(i64::try_from(self.now).unwrap_or(i64::MAX)));
        Now { mono: Moment(BOOT + self.now), wall }
    }

    /// What has come by now: numbers, tasks, workers that are ready, tasks that are done.
    fn take_in(&mut self) {
        let none = BTreeMap::new();
        let (reported, arrivals) = match &self.setup.feed {
            Feed::Reported(reported) => (reported, &[] as &[Point]),
            Feed::Arrivals(points) => (&none, points.as_slice()),
        };
        for (name, points) in reported {
            let taken = self.taken.entry(name.clone()).or_default();
            while let Some(point) = points.get(*taken).filter(|point| point.at <= self.now) {
                self.values.insert(name.clone(), point.value);
                *taken += 1;
            }
        }
        let mut taken = self.taken.get("").copied().unwrap_or(0);
        while let Some(point) = arrivals.get(taken).filter(|point| point.at <= self.now) {
            (0..point.value as u64).for_each(|_| self.arrive(point.at));
            taken += 1;
        }
        self.taken.insert(String::new(), taken);
        let ready: Vec<String> = due(self.starting.iter().map(|(name, at)| (name, *at)), self.now);
        ready.iter().for_each(|name| self.ready(name));
        let done: Vec<String> = due(self.doing.iter().map(|(name, (_, at))| (name, *at)), self.now);
        for name in done {
            self.doing.remove(&name);
            self.busy(&name, false);
        }
    }

    fn arrive(&mut self, at: u64) {
        let takes = self.setup.work.map_or(1, |work| work.nth(self.tasks));
        self.tasks += 1;
        self.queue.push_back(Task { arrived: at, takes });
    }

    fn ready(&mut self, name: &str) {
        self.starting.remove(name);
        let now = self.clock().mono;
        let Some(slot) = self.slots.get_mut(name) else { return };
        let run = Run {
            incarnation: slot.record.incarnation,
            pid: 1,
            started: now,
            template: slot.record.template.clone(),
            ready: true,
            ..Run::default()
        };
        slot.health.incarnation = run.incarnation;
        slot.seen.state = SlotState::Running(run);
        slot.idle_since = Some(now);
        self.moved = true;
    }

    fn busy(&mut self, name: &str, busy: bool) {
        let now = self.clock().mono;
        let Some(slot) = self.slots.get_mut(name) else { return };
        if let SlotState::Running(run) = &mut slot.seen.state {
            run.busy = busy;
            slot.idle_since = (!busy).then_some(now);
            // Who goes from one task to the next at once is never seen idle.
            if !self.toggled.remove(name) {
                self.toggled.insert(name.to_owned());
            }
        }
    }

    /// Give work to idle workers, those with low numbers first.
    fn assign(&mut self) {
        let Some(work) = self.setup.work else { return };
        let facts = &self.setup.facts;
        let idle = self.slots.iter().filter(|(_, slot)| matches!(&slot.seen.state, SlotState::Running(run) if !run.busy));
        let mut idle: Vec<String> = idle.map(|(name, _)| name.clone()).collect();
        idle.sort_by_key(|name| decide::roster::ordinal(facts, name));
        for name in idle {
            let task = match self.setup.feed {
                Feed::Arrivals(_) => self.queue.pop_front(),
                // Reported numbers count what runs: there is work for as many as are counted.
                Feed::Reported(_) if (self.doing.len() as f64) < self.backlog() => {
                    self.tasks += 1;
                    Some(Task { arrived: self.now, takes: work.nth(self.tasks - 1) })
                }
                Feed::Reported(_) => None,
            };
            let Some(task) = task else { return };
            if matches!(self.setup.feed, Feed::Arrivals(_)) {
                self.out.waits.push(self.now - task.arrived);
            }
            self.doing.insert(name.clone(), (task, self.now + task.takes));
            self.busy(&name, true);
        }
    }

    /// What the embedded queue would show; a pool that scales by it hears of every change.
    fn count(&mut self) {
        let counts = QueueCounts { ready: self.backlog() as u64, ..QueueCounts::default() };
        let name = &self.setup.facts.name;
        let scale = self.setup.facts.spec.scale.as_ref();
        let heard = scale.is_some_and(|scale| {
            scale.triggers.is_empty() || scale.triggers.iter().any(|trigger| trigger.source.queue.is_some())
        });
        self.moved |= heard && self.queues.get(name) != Some(&counts);
        self.queues.insert(name.clone(), counts);
    }

    /// Decide and do, until nothing is left to do now. As in the daemon, a number that nobody has asked for moves nothing:
    /// only a worker that moved or a moment that was waited for is looked at.
    fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.assign();
            self.count();
            let due = self.wake.is_some_and(|at| at <= self.now);
            let toggled = !std::mem::take(&mut self.toggled).is_empty();
            if !std::mem::take(&mut self.moved) && !toggled && !due {
                return;
            }
            let now = self.clock();
            let observation = Observation {
                pool: &self.setup.facts,
                slots: &self.slots,
                allowance: u32::MAX,
                previous: &self.status,
                runs: 0,
                scaling: &self.scaling,
                line: &self.line,
                queues: &self.queues,
                machine: None,
                squeeze: None,
            };
            let plan = decide::pool(&observation, now);
            debug_assert_eq!(decide::check::check(&observation, &plan), Vec::<String>::new(), "the plan breaks an invariant");
            self.wake = plan.wake_at.map(|at| at.0.saturating_sub(BOOT));
            if !self.perform(plan, now) {
                return;
            }
            self.moved = true;
        }
    }

    /// Do what was planned. Says whether there was anything.
    fn perform(&mut self, plan: Plan, now: Now) -> bool {
        let (from, to) = (self.status.desired_replicas, plan.status.desired_replicas);
        if from != to && self.now > 0 {
            self.out.changes.push(Change { at: self.now, from, to });
        }
        (self.status, self.scaling) = (plan.status, plan.scaling);
        for (worker, record) in plan.records {
            self.slots.entry(worker).or_default().record = record;
        }
        for action in &plan.actions {
            self.act(action, now);
        }
        for question in &plan.questions {
            let answer = self.answer(question);
            let size = Size { wanted: self.status.desired_replicas, running: running(&self.slots), newest: None };
            decide::demand::answered(
                &self.setup.facts,
                &mut self.scaling,
                ((&question.asker, &question.source), answer),
                size,
                now,
            );
        }
        !plan.actions.is_empty() || !plan.questions.is_empty()
    }

    fn act(&mut self, action: &Action, now: Now) {
        match action {
            Action::Start { worker, incarnation } => {
                let slot = self.slots.entry(worker.clone()).or_default();
                slot.seen.state = SlotState::Starting { incarnation: *incarnation, since: now.mono };
                self.starting.insert(worker.clone(), self.now + self.setup.start_delay);
                if self.setup.start_delay == 0 {
                    self.ready(worker);
                }
            }
            Action::Signal { worker, incarnation, .. } | Action::Kill { worker, incarnation } => {
                self.stop(worker, *incarnation, now);
            }
            Action::Forget { worker } => {
                self.slots.remove(worker);
            }
            // Left out of the spec, or of no effect.
            Action::PreStop { .. } | Action::Probe { .. } | Action::Look { .. } | Action::Refresh { .. } => {}
        }
    }

    fn stop(&mut self, worker: &str, incarnation: u64, now: Now) {
        if let Some((task, _)) = self.doing.remove(worker) {
            self.out.interrupted += 1;
            if matches!(self.setup.feed, Feed::Arrivals(_)) {
                self.queue.push_front(Task { arrived: self.now, ..task });
            }
        }
        let Some(slot) = self.slots.get_mut(worker) else { return };
        let reason = ExitReason::Signaled;
        slot.seen.exit = Some(Exit { incarnation, reason, asked: true, finished: now.wall, ..Exit::default() });
        slot.seen.state = SlotState::Vacant;
        slot.idle_since = None;
        if let Some((record, _)) = decide::exit(&self.setup.facts, worker, slot, now) {
            slot.record = record;
        }
    }

    fn answer(&self, question: &Question) -> Result<Number, Failure> {
        let facts = &self.setup.facts;
        let value = match (&question.asker, &question.source.workers, &self.setup.feed) {
            (Asker::Trigger(_), Some(workers), _) => {
                if workers.pool.as_ref().is_some_and(|pool| *pool != facts.name) {
                    return Err(Failure::because("only one pool is simulated"));
                }
                self.slots.values().filter(|slot| decide::counts(facts, slot, workers.state)).count() as f64
            }
            (Asker::Trigger(_), None, Feed::Arrivals(_)) => self.backlog(),
            (Asker::Trigger(name), None, Feed::Reported(_)) => match self.values.get(name) {
                Some(value) => *value,
                None => return Err(Failure::because("the trace has no number yet")),
            },
            (Asker::Quota(_) | Asker::Gauge(_), _, _) => return Err(Failure::because("quotas are not simulated")),
        };
        Number::new(value, &value.to_string())
    }

    fn backlog(&self) -> f64 {
        match self.setup.feed {
            Feed::Arrivals(_) => (self.queue.len() + self.doing.len()) as f64,
            Feed::Reported(_) => self.values.values().copied().fold(0.0, f64::max),
        }
    }

    fn alive(&self) -> usize {
        self.slots.values().filter(|slot| slot.seen.state != SlotState::Vacant).count()
    }

    fn note(&mut self) {
        let running = self.slots.values().filter(|slot| matches!(slot.seen.state, SlotState::Running(_))).count();
        let clamps = self.status.scaling.iter().flat_map(|why| &why.clamps);
        let sample = Sample {
            at: self.now,
            desired: self.status.desired_replicas,
            actual: u32::try_from(running).unwrap_or(u32::MAX),
            busy: u32::try_from(self.doing.len()).unwrap_or(u32::MAX),
            backlog: self.backlog(),
            held: clamps.map(|clamp| clamp.name.clone()).collect(),
        };
        let same = |last: &Sample| Sample { at: self.now, ..last.clone() } == sample;
        if !self.out.samples.last().is_some_and(same) {
            self.out.samples.push(sample);
        }
    }

    /// When something happens next; none when it is over.
    fn next(&self) -> Option<u64> {
        let (points, last): (Vec<u64>, u64) = match &self.setup.feed {
            Feed::Reported(all) => {
                let next = |(name, points): (&String, &Vec<Point>)| points.get(*self.taken.get(name)?).map(|point| point.at);
                let last = all.values().filter_map(|points| points.last()).map(|point| point.at).max();
                (all.iter().filter_map(next).collect(), last.unwrap_or(0))
            }
            Feed::Arrivals(points) => {
                let next = points.get(self.taken.get("").copied().unwrap_or(0)).map(|point| point.at);
                let idle = next.is_none() && self.queue.is_empty() && self.doing.is_empty();
                let last = points.last().map_or(0, |point| point.at);
                (next.into_iter().collect(), if idle { self.now } else { last + PATIENCE })
            }
        };
        let end = self.setup.end.unwrap_or(last);
        if self.now >= end {
            return None;
        }
        let ends = self.doing.values().map(|(_, at)| *at).chain(self.starting.values().copied());
        // A wake that is due was heard already: the next look is a moment later.
        let wake = self.wake.map(|at| at.max(self.now + 1));
        points.into_iter().chain(ends).chain(wake).chain([end]).filter(|at| *at > self.now).min().map(|at| at.min(end))
    }

    fn pass(&mut self, to: u64) {
        let span = to - self.now;
        self.out.worker_ms += self.alive() as u64 * span;
        let full = self.status.scaling.as_ref().is_some_and(|why| why.max > 0 && why.wanted >= why.max);
        self.out.ceiling_ms += if full { span } else { 0 };
        self.now = to;
    }

    fn ended(mut self) -> Outcome {
        self.out.end = self.now;
        self.out.unfinished = match self.setup.feed {
            Feed::Arrivals(_) => self.queue.len() + self.doing.len(),
            Feed::Reported(_) => 0,
        };
        self.out
    }
}

fn due<'a>(all: impl Iterator<Item = (&'a String, u64)>, now: u64) -> Vec<String> {
    all.filter(|(_, at)| *at <= now).map(|(name, _)| name.clone()).collect()
}

/// The triggers that a source answers: not those by the clock.
pub fn asked(facts: &PoolFacts) -> impl Iterator<Item = &Trigger> {
    let triggers = facts.spec.scale.iter().flat_map(|scale| &scale.triggers);
    triggers.filter(|trigger| trigger.source.schedule.is_none() && trigger.source.workers.is_none())
}
