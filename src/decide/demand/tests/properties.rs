//! What holds for every spec, every history and every reading: bounds, cooldowns, policies, and that nothing flaps.
//!
//! A run plays the engine: it looks when it was told to, answers what was asked after a while, now and then changes the spec or
//! forgets what a daemon forgets when it starts anew. The laws are stated again beside it, with a memory of their own and whole
//! numbers. `WEIR_TRIPLES` says how many (spec, history, reading) are tried; a failure names its seed.

use super::*;
use crate::model::scale::{Quota, ScaleSchedule};
use crate::model::worker::{Run as Process, Seen, SlotState};

/// Repeatable chance (SplitMix64).
#[derive(Clone, Debug)]
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
    fn below(&mut self, n: usize) -> usize {
        usize::try_from(self.roll() % n as u64).expect("small")
    }
    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

fn policies(dice: &mut Dice) -> Vec<ScalePolicy> {
    let one = |dice: &mut Dice| {
        let secs = dice.pick(&[1, 15, 60, 300]);
        if dice.one_in(2) {
            workers(dice.pick(&[1, 2, 4, 30]), secs)
        } else {
            percent(dice.pick(&[1, 10, 50, 90, 100, 300]), secs)
        }
    };
    (0..dice.below(3)).map(|_| one(dice)).collect()
}

fn select(dice: &mut Dice) -> SelectPolicy {
    dice.pick(&[
        SelectPolicy::Max,
        SelectPolicy::Max,
        SelectPolicy::Max,
        SelectPolicy::Min,
        SelectPolicy::Min,
        SelectPolicy::Disabled,
    ])
}

fn behavior(dice: &mut Dice) -> Behavior {
    let scale_up = ScaleUp {
        stabilization_window: Span::secs(dice.pick(&[0, 0, 45, 120])),
        cooldown: Span::secs(dice.pick(&[0, 0, 20, 90])),
        policies: policies(dice),
        select_policy: select(dice),
    };
    let scale_down = ScaleDown {
        stabilization_window: Span::secs(dice.pick(&[0, 45, 300])),
        cooldown: Span::secs(dice.pick(&[0, 0, 20, 90])),
        policies: policies(dice),
        select_policy: select(dice),
        ..ScaleDown::default()
    };
    Behavior { scale_up, scale_down }
}

fn rule(dice: &mut Dice, n: usize) -> Trigger {
    let name = format!("t{n}");
    let mut trigger = match dice.below(4) {
        0 => exact(&name),
        1 => stepped(&name, Some(10.0), None, 2.0),
        2 => stepped(&name, None, Some(3.0), 1.0),
        3.. => per_worker(&name, dice.pick(&[0.5, 1.0, 7.0, 10.0])),
    };
    trigger.polling_interval = Span::secs(dice.pick(&[1, 10, 30]));
    trigger.activation = dice.pick(&[0.0, 0.0, 5.0]);
    trigger.zero_confirmations = dice.pick(&[None, Some(1), Some(2)]);
    trigger
}

fn spec(dice: &mut Dice) -> Scale {
    let min = dice.pick(&[0, 0, 1, 1, 2, 5]);
    let mut scale = free(min, min + dice.pick(&[0, 1, 3, 10, 100]));
    scale.behavior = behavior(dice);
    scale.triggers = (0..=dice.below(3)).map(|n| rule(dice, n)).collect();
    scale.min_idle = dice.pick(&[0, 0, 0, 0, 1, 3]);
    scale.fallback.behavior = dice.pick(&[FallbackBehavior::Hold, FallbackBehavior::Static, FallbackBehavior::AtLeast]);
    scale.fallback.replicas = dice.pick(&[0, 1, 4]);
    scale.fallback.failure_threshold = dice.pick(&[1, 3]);
    scale.fallback.after = dice.pick(&[None, None, Some(Span::secs(40))]);
    if dice.one_in(5) {
        let source = trigger("left").source;
        scale.quota.push(Quota { name: "left".into(), source, pause_below: 10.0, resume_above: 50.0 });
    }
    if dice.one_in(40) {
        let (min_replicas, max_replicas) = (dice.pick(&[None, Some(0), Some(4)]), dice.pick(&[None, Some(2), Some(20)]));
        let (cron, duration) = ("*/10 * * * *".into(), Span::secs(180));
        scale.schedules.push(ScaleSchedule { cron, time_zone: None, duration, min_replicas, max_replicas });
    }
    scale.paused = dice.one_in(30);
    scale
}

/// A pool under way, with the laws' own memory.
struct Run {
    seed: u64,
    dice: Dice,
    world: World,
    /// Questions that are out, and when they are answered.
    out: Vec<(Moment, Asker)>,
    /// Changes as they were seen.
    changes: Vec<Change>,
    answers: u64,
}

impl Run {
    fn new(seed: u64) -> Run {
        let mut dice = Dice(seed);
        let world = World::new(spec(&mut dice));
        let world = if dice.one_in(2) { world.sized(dice.pick(&[0, 1, 5, 40])) } else { world };
        Run { seed, dice, world, out: Vec::new(), changes: Vec::new(), answers: 0 }
    }

    /// A run of a spec that is given.
    fn of(scale: Scale, size: u32, seed: u64) -> Run {
        let world = World::new(scale).sized(size);
        Run { seed, dice: Dice(seed), world, out: Vec::new(), changes: Vec::new(), answers: 0 }
    }

    /// One look: decide, hold it against the laws, send the questions out. Gives back when to look again.
    fn look(&mut self) -> Moment {
        let (before, now) = (self.world.size(), self.world.now);
        let demand = self.world.turn();
        self.judge(before, &demand);
        let again = super::demand(&self.world.observation(), now);
        assert_eq!(again.wanted, demand.wanted, "seed {}: looked at again, it is another: {:?}", self.seed, again.why);
        assert_eq!(again.questions, [], "seed {}: asked twice", self.seed);
        assert!(demand.wake.is_none_or(|at| at > now.mono), "seed {}: a wake that is now or over", self.seed);
        if before != demand.wanted {
            self.changes.push(Change { at: now.mono, from: before, to: demand.wanted });
        }
        for question in demand.questions {
            let late = Span(self.dice.roll() % question.timeout.0.max(1));
            self.out.push((now.mono.after(late), question.asker));
        }
        let answers = self.out.iter().map(|(at, _)| *at);
        answers.chain(demand.wake).min().unwrap_or(now.mono.after(Span::secs(60)))
    }

    /// Go to that moment, and take what is answered then.
    fn go(&mut self, at: Moment, value: &mut dyn FnMut(&mut Dice, Moment) -> Option<f64>) {
        self.world.pass(at.since(self.world.now.mono));
        let (due, out) = std::mem::take(&mut self.out).into_iter().partition(|(when, _)| *when <= at);
        self.out = out;
        let due: Vec<(Moment, Asker)> = due;
        for (_, asker) in due {
            let answer = match value(&mut self.dice, at) {
                Some(value) => Number::new(value, "n"),
                None => Err(Failure::because("refused")),
            };
            self.world.answer(&asker, answer);
            self.answers += 1;
        }
    }

    /// What may happen to a pool between two looks.
    fn disturb(&mut self) {
        if self.dice.one_in(200) {
            // Another daemon: it knows the last change from the status, and asks everything anew.
            self.world.scaling = Scaling::default();
            self.out.clear();
            self.changes.drain(..self.changes.len().saturating_sub(1));
        }
        if self.dice.one_in(60) {
            let min = self.dice.pick(&[0, 1, 3]);
            let max = min + self.dice.pick(&[0, 2, 30]);
            let paused = self.dice.one_in(6);
            let scale = self.world.scale();
            (scale.min_replicas, scale.max_replicas, scale.paused) = (min, max, paused);
        }
        if self.dice.one_in(20) {
            self.world.slots = (0..self.dice.below(4)).map(busy).collect();
        }
    }

    fn judge(&self, before: u32, demand: &Demand) {
        let (scale, now, size) = (self.world.facts.spec.scale.as_ref().expect("scaled"), self.world.now.mono, demand.wanted);
        let why = demand.why.as_ref().expect("a scaled pool is explained");
        let say = || format!("seed {}: {before} to {size}: {why:?}", self.seed);
        if scale.paused {
            return assert_eq!(size, before.min(why.max), "{}", say());
        }
        assert!(why.min <= size && size <= why.max, "{}", say());
        let blind = why.signals.iter().any(|signal| signal.state != SignalState::Fresh);
        if blind && scale.fallback.behavior != FallbackBehavior::Static {
            assert!(size >= before.min(why.max), "an old number or none lowers; {}", say());
        }
        let forced = (before < why.min && size == why.min) || (before > why.max && size == why.max);
        if size == before || forced {
            return;
        }
        let up = size > before;
        assert!(demand.gate.is_none() || !up, "the quota is closed; {}", say());
        let cooldown = if up { scale.behavior.scale_up.cooldown } else { scale.behavior.scale_down.cooldown };
        // The first workers of a pool that always has some are no change of its size.
        let last = self.changes.iter().rev().find(|change| change.from > 0 || why.min == 0);
        assert!(last.is_none_or(|last| now.since(last.at) >= cooldown), "within the cooldown; {}", say());
        let (least, most) = allowed(&scale.behavior, &self.changes, before, now);
        assert!(least <= u64::from(size) && u64::from(size) <= most, "beyond the policies ({least}..={most}); {}", say());
    }
}

/// The least and the most that policies allow, in whole numbers.
fn allowed(behavior: &Behavior, changes: &[Change], before: u32, now: Moment) -> (u64, u64) {
    let start = |policy: &ScalePolicy| {
        let inside = changes.iter().filter(|change| now.since(change.at) < policy.period);
        let moved: i64 = inside.map(|change| i64::from(change.to) - i64::from(change.from)).sum();
        u64::try_from(i64::from(before) - moved).unwrap_or(0)
    };
    let (here, rules) = (u64::from(before), &behavior.scale_up);
    let ups = rules.policies.iter().map(|policy| match policy.kind {
        PolicyType::Workers => start(policy) + u64::from(policy.value),
        PolicyType::Percent => (start(policy) * (100 + u64::from(policy.value))).div_ceil(100),
    });
    let most = match rules.select_policy {
        SelectPolicy::Disabled => here,
        SelectPolicy::Max => ups.max().unwrap_or(u64::MAX).max(here.max(1)),
        SelectPolicy::Min => ups.min().unwrap_or(u64::MAX).max(here.max(1)),
    };
    let rules = &behavior.scale_down;
    let downs = rules.policies.iter().map(|policy| match policy.kind {
        PolicyType::Workers => start(policy).saturating_sub(u64::from(policy.value)),
        PolicyType::Percent => start(policy) * 100u64.saturating_sub(u64::from(policy.value)) / 100,
    });
    let least = match rules.select_policy {
        SelectPolicy::Disabled => here,
        SelectPolicy::Max => downs.min().unwrap_or(0).min(here),
        SelectPolicy::Min => downs.max().unwrap_or(0).min(here),
    };
    (least, most)
}

fn busy(n: usize) -> (String, Slot) {
    let state = SlotState::Running(Process { busy: true, ..Process::default() });
    (format!("p-{n}"), Slot { seen: Seen { state, ..Seen::default() }, ..Slot::default() })
}

fn wild(dice: &mut Dice, _: Moment) -> Option<f64> {
    let value = dice.pick(&[0.0, 0.0, 1.0, 3.0, 9.0, 20.0, 95.0, 105.0, 1e4, 1e300]);
    (!dice.one_in(8)).then(|| if dice.one_in(3) { value * 1.05 } else { value })
}

fn triples() -> u64 {
    std::env::var("WEIR_TRIPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(50_000)
}

#[test]
fn the_laws_hold_for_every_spec_history_and_reading() {
    let (mut tried, mut seed) = (0, 0);
    while tried < triples() {
        seed += 1;
        let mut run = Run::new(seed);
        for _ in 0..300 {
            let at = run.look();
            run.go(at, &mut wild);
            run.disturb();
        }
        tried += run.answers;
    }
}

/// Tries by default of a test that is given here for 50,000 triples.
fn seeds(usual: u64) -> u64 {
    usual * (triples() / 50_000).max(1)
}

/// A spec in which only behaviour holds back.
fn calm(dice: &mut Dice) -> Scale {
    let mut scale = free(dice.pick(&[0, 1]), 100);
    scale.behavior = behavior(dice);
    for select in [&mut scale.behavior.scale_up.select_policy, &mut scale.behavior.scale_down.select_policy] {
        *select = SelectPolicy::Max;
    }
    let mut trigger = rule(dice, 0);
    if trigger.step.is_some() {
        trigger = per_worker("t0", 10.0);
    }
    scale.triggers.push(trigger);
    scale
}

/// Play for so long; gives back the changes.
fn play(run: &mut Run, span: Span, value: &mut dyn FnMut(&mut Dice, Moment) -> Option<f64>) -> Vec<Change> {
    let (end, known) = (run.world.now.mono.after(span), run.changes.len());
    while run.world.now.mono < end {
        let at = run.look().min(end);
        run.go(at, value);
    }
    run.changes[known..].to_vec()
}

#[test]
fn a_constant_backlog_changes_the_size_once() {
    for seed in 0..seeds(30) {
        let mut dice = Dice(seed);
        let mut scale = calm(&mut dice);
        scale.behavior.scale_up.policies.clear();
        scale.behavior.scale_down.policies.clear();
        let (first, then) = (dice.pick(&[0.0, 4.0, 33.0, 95.0]), dice.pick(&[0.0, 1.0, 33.0, 36.0, 105.0, 4000.0]));
        let mut run = Run::of(scale, 3, seed);
        play(&mut run, Span::secs(1800), &mut |_, _| Some(first));
        let changes = play(&mut run, Span::secs(3600), &mut |_, _| Some(then));
        assert!(changes.len() <= 1, "seed {seed}: {first} to {then}: {changes:?}");
        play(&mut run, Span::secs(1200), &mut wild);
        play(&mut run, Span::secs(400), &mut |_, _| Some(first));
        let changes = play(&mut run, Span::secs(3600), &mut |_, _| Some(first));
        assert!(changes.len() <= 1, "seed {seed}: settled at {first}: {changes:?}");
    }
}

#[test]
fn a_constant_backlog_never_changes_the_direction() {
    for seed in 0..seeds(30) {
        let mut dice = Dice(seed);
        let scale = calm(&mut dice);
        let (size, value) = (dice.pick(&[0, 1, 7, 90]), dice.pick(&[0.0, 6.0, 95.0, 105.0, 700.0]));
        let mut run = Run::of(scale, size, seed);
        let changes = play(&mut run, Span::secs(7200), &mut |_, _| Some(value));
        let ups = changes.iter().filter(|change| change.to > change.from).count();
        // The first workers, up to the least, are there before the first number.
        assert!(ups == 0 || ups == changes.len() || size == 0 && ups == 1, "seed {seed}: {value} from {size}: {changes:?}");
    }
}

/// A load that will not rest.
fn load(dice: &mut Dice) -> impl FnMut(&mut Dice, Moment) -> Option<f64> + Clone + use<> {
    let (kind, period, high) = (dice.below(3), dice.pick(&[20, 61, 240, 400, 900]) * 1000, dice.pick(&[8.0, 40.0, 500.0]));
    move |dice: &mut Dice, at: Moment| {
        let phase = (at.0 % period) as f64 / period as f64;
        Some(match kind {
            0 => f64::from(u8::from(phase < 0.5)) * high,
            1 => phase * high,
            2.. => dice.below(100) as f64 / 100.0 * high,
        })
    }
}

/// Reversals are counted where a rise is followed by a fall: the rise after it is never delayed by that window.
#[test]
fn restless_loads_reverse_at_most_once_in_a_window() {
    for seed in 0..seeds(25) {
        let mut dice = Dice(seed);
        let mut scale = calm(&mut dice);
        scale.triggers = vec![rule(&mut dice, 0)];
        let window = Span::secs(dice.pick(&[60, 300, 600]));
        scale.behavior.scale_down.stabilization_window = window;
        let mut run = Run::of(scale, 1, seed);
        let mut value = load(&mut dice);
        let changes = play(&mut run, Span::secs(7200), &mut value);
        let mut rise = None;
        for change in changes {
            if change.to > change.from {
                rise = Some(change.at);
            } else if let Some(rise) = rise.take() {
                assert!(change.at.since(rise) >= window, "seed {seed}: a fall {} after a rise", change.at.since(rise));
            }
        }
    }
}

/// Who looks only when it was told to sees every change when it is due.
#[test]
fn looking_more_often_changes_nothing() {
    for seed in 0..seeds(20) {
        let mut dice = Dice(seed);
        let mut scale = calm(&mut dice);
        scale.triggers.push(rule(&mut dice, 1));
        let value = load(&mut dice);
        let mut changes = [None, Some(Span::secs(1))].map(|often| {
            let (mut run, mut value) = (Run::of(scale.clone(), 1, seed), value.clone());
            let end = run.world.now.mono.after(Span::secs(1200));
            while run.world.now.mono < end {
                let at = run.look();
                let sooner = often.map(|often| run.world.now.mono.after(often));
                run.go(sooner.map_or(at, |sooner| sooner.min(at)), &mut value);
            }
            run.changes
        });
        let until = start().mono.after(Span::secs(1200));
        changes.iter_mut().for_each(|list| list.retain(|change| change.at < until));
        assert_eq!(changes[0], changes[1], "seed {seed}");
    }
}

const COUNTS: [u32; 6] = [0, 1, 3, 10_000, u32::MAX - 1, u32::MAX];
const NUMBERS: [f64; 9] = [0.0, f64::MIN_POSITIVE, 5e-324, 1e-9, 1.0, 1e9, 4_294_967_296.0, 1e300, f64::MAX];
/// A span is at most ten years.
const SPANS: [u64; 5] = [0, 1, 1000, 86_400_000, 315_360_000_000];

fn extreme(dice: &mut Dice) -> Scale {
    let mut scale = spec(dice);
    (scale.min_replicas, scale.max_replicas) = (dice.pick(&COUNTS), dice.pick(&COUNTS));
    (scale.min_idle, scale.fallback.replicas) = (dice.pick(&COUNTS), dice.pick(&COUNTS));
    for trigger in &mut scale.triggers {
        (trigger.polling_interval, trigger.timeout) = (Span(dice.pick(&SPANS)), Some(Span(dice.pick(&SPANS))));
        trigger.activation = dice.pick(&NUMBERS);
        trigger.target_per_worker = trigger.target_per_worker.map(|_| dice.pick(&NUMBERS).max(5e-324));
        if let Some(step) = &mut trigger.step {
            (step.up.by, step.down.by, step.down.at_most) = (dice.pick(&COUNTS), dice.pick(&COUNTS), dice.pick(&NUMBERS));
            step.up.above_per_worker = step.up.above_per_worker.map(|_| dice.pick(&NUMBERS));
        }
    }
    let Behavior { scale_up, scale_down } = &mut scale.behavior;
    for span in [&mut scale_up.stabilization_window, &mut scale_up.cooldown] {
        *span = Span(dice.pick(&SPANS));
    }
    for span in [&mut scale_down.stabilization_window, &mut scale_down.cooldown] {
        *span = Span(dice.pick(&SPANS));
    }
    for policy in scale_up.policies.iter_mut().chain(&mut scale_down.policies) {
        (policy.value, policy.period) = (dice.pick(&COUNTS), Span(dice.pick(&SPANS)));
    }
    scale
}

#[test]
fn extreme_numbers_are_decided_too() {
    for seed in 0..seeds(1500) {
        let mut dice = Dice(seed);
        let mut world = World::new(extreme(&mut dice)).sized(dice.pick(&COUNTS));
        world.now.mono = Moment(dice.pick(&[0, 1, 1_000_000_000, 315_360_000_000]));
        for _ in 0..8 {
            let demand = world.turn();
            let scale = world.scale();
            assert!(scale.paused || demand.wanted <= scale.max_replicas || !scale.schedules.is_empty(), "seed {seed}");
            for question in demand.questions {
                let answer = Number::new(dice.pick(&NUMBERS), "n");
                let paused = Failure { message: "busy".into(), retry_after: Some(Span(dice.pick(&[0, 1000, u64::MAX]))) };
                world.answer(&question.asker, if dice.one_in(5) { Err(paused) } else { answer });
            }
            world.pass(Span(dice.pick(&SPANS) / 100));
        }
    }
}
