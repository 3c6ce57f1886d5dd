//! Laws over generated policies, hosts and uses: whatever is written lies inside the bounds, leaves the reserve and is not
//! below what is used. `WEIR_LIMIT_CASES=1000000` tries a million; the default is as many as a debug build does in seconds.

use super::*;
use crate::decide::limits::clamp::step;
use crate::model::host::Rung;
use crate::model::policy::{Bounds, Manual, Target};

/// Knuth's numbers: fast, and the same on every machine.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }
    fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
    fn often(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
    fn amounts(&mut self, most: [u64; 3], percent: u64) -> Amounts {
        let mut all = Amounts::default();
        for (of, most) in Resource::EACH.into_iter().zip(most) {
            let amount = self.below(most) + 1;
            all = all.with(of, self.often(percent).then_some(amount));
        }
        all
    }
}

const MOST: [u64; 3] = [16_000, 64 * GI, 4000];

fn spec(chance: &mut Chance, base: &PolicySpec) -> PolicySpec {
    let mut spec = base.clone();
    let (a, b) = (chance.amounts(MOST, 90), chance.amounts(MOST, 90));
    let pick = |lower: bool| {
        Resource::EACH.into_iter().fold(Amounts::default(), |all, of| {
            let both = a.of(of).zip(b.of(of)).map(|(a, b)| if lower { a.min(b) } else { a.max(b) });
            all.with(of, both.or(if lower { a.of(of) } else { b.of(of) }.filter(|_| a.of(of).is_none() != b.of(of).is_none())))
        })
    };
    spec.bounds = Bounds { min: pick(true), max: pick(false) };
    spec.initial = chance.often(70).then(|| chance.amounts(MOST, 80));
    spec.min_step = chance.amounts([2000, 4 * GI, 100], 50);
    spec.mode = [Mode::Enabled, Mode::Enabled, Mode::Manual, Mode::Disabled][chance.below(4) as usize];
    let Amounts { cpu, memory, tasks } = chance.amounts(MOST, 80);
    spec.manual = Some(Manual { cpu, memory, tasks, reason: None });
    (spec.scale_up.consecutive_checks, spec.scale_up.factor) = (Some(1), Some(1.0 + chance.below(300) as f64 / 100.0 + 0.01));
    (spec.scale_down.consecutive_checks, spec.scale_down.factor) = (Some(1), Some((chance.below(98) + 1) as f64 / 100.0));
    spec.scale_down.only_when_idle = chance.often(20);
    spec.cooldown = Some(Span(0));
    spec.target = if chance.often(50) { Target { pool: Some("p".into()), unit: None } } else { base.target.clone() };
    spec
}

#[test]
fn whatever_is_written_may_be() {
    let cases = std::env::var("WEIR_LIMIT_CASES").ok().and_then(|text| text.parse().ok()).unwrap_or(200_000u64);
    let base = founding("").spec;
    let mut chance = Chance(7);
    let mut script = Script::new(founding(""));
    (script.facts.spec.gauges, script.facts.spec.idle_when) = (Vec::new(), Vec::new());
    let base = PolicySpec { gauges: Vec::new(), idle_when: Vec::new(), ..base };
    let (mut written, mut lowered, mut moved) = (0u64, 0u64, [0u64; 2]);
    for case in 0..cases {
        if case % 8 == 0 {
            script.facts.spec = spec(&mut chance, &base);
            (script.stored, script.watching) = (StoredPolicy::default(), Watching::default());
            (script.limits, script.high) = (chance.amounts(MOST, 70), High::Below);
            script.capacity = chance.amounts([32_000, 128 * GI, 8000], 90);
            script.reserve = chance.amounts([2000, 4 * GI, 100], 60);
            script.others = chance.amounts([16_000, 64 * GI, 4000], 60);
            script.size = chance.often(50).then(|| size(&mut chance));
            // CPU is known from the second look on.
            let usage = script.usage((0.1, GI, 5));
            script.watching.last = Some(usage);
        }
        let usage = usage(&mut chance, &mut script);
        let (before, used) = (script.limits, usage.clone());
        let cores = measure::usage(script.watching.last.as_ref(), &usage, script.now);
        let Some(order) = script.turn(Some(Ok(usage)), None, false) else { continue };
        if judge_high(&script, &order, (measure::used(&cores, Resource::Memory), used.high)) {
            moved[usize::from(order.high == High::Below)] += 1;
        }
        for of in Resource::EACH {
            let Some(value) = order.wanted.of(of) else { continue };
            written += 1;
            lowered += u64::from(before.of(of).is_some_and(|before| value < before));
            let least = if of == Resource::Memory { memory_high(Memory(value), order.high).0 } else { value };
            judge(&script, (of, value, before.of(of)), (measure::used(&cores, of), least), &used);
        }
        // Some fail; some of those are carried out all the same, later.
        let fails = chance.often(3);
        if !fails || chance.often(50) {
            script.limits = order.wanted.or(script.limits);
            script.high = if order.wanted.memory.is_some() { order.high } else { script.high };
        }
        let failure = LimitFailure { error: "no answer".into(), restored: Err("no answer".into()) };
        let result = if fails { Err(failure) } else { Ok(script.limits) };
        script.turn(None, Some(&LimitOutcome { id: order.id, result }), false);
    }
    let enough = written > cases / 8 && lowered > cases / 100 && moved.iter().all(|times| *times > cases / 2000);
    assert!(enough, "too little was tried: {written} written, {lowered} lowered, {moved:?} times MemoryHigh was moved");
}

/// `MemoryHigh` is nowhere but at the limit or in its usual place, at the limit only while that is the last thing to be done, and is
/// lowered to nothing that is used. Says whether this order moves it.
fn judge_high(script: &Script, order: &LimitOrder, (used, high): (Option<u64>, Option<Memory>)) -> bool {
    let change = script.stored.pending.as_ref().expect("what is ordered is written down");
    let Some(max) = order.wanted.memory else {
        assert!(!change.action.moves_high() && order.high == script.high, "it moves with no limit: {order:?}");
        return false;
    };
    let lifted = script.stored.shortage.rung == Rung::Lifted;
    assert_eq!((order.high == High::AtMax, change.high), (lifted, order.high), "{order:?}");
    assert!(order.high == High::Below || order.target.pool.is_some(), "only of pools: {order:?}");
    assert_eq!(order.high_before, high, "what stood is put back if anything fails: {order:?}");
    if change.action.moves_high() {
        let same = Amounts { memory: Some(max), ..Amounts::default() };
        assert!(order.wanted == same && Some(max) == script.limits.memory, "it moves no limit: {order:?}");
        let fits = order.high == High::AtMax || used.is_some_and(|used| used < memory_high(max, High::Below).0);
        assert!(fits, "lowered below what is used, {used:?}: {order:?}");
    }
    change.action.moves_high()
}

/// `least` is the use from which on the target would be slowed down or killed in.
fn judge(script: &Script, (of, value, before): (Resource, u64, Option<u64>), (used, least): (Option<u64>, u64), look: &Usage) {
    let bounds = script.facts.spec.bounds;
    let why = || format!("{of:?}: {value} after {before:?}, used {used:?}, {bounds:?}, {:?} {look:?}", script.stored.pending);
    assert!(bounds.min.of(of).is_none_or(|min| value >= min), "below the bounds: {}", why());
    assert!(bounds.max.of(of).is_none_or(|max| value <= max), "above the bounds: {}", why());
    assert!(value > 0 && value % step(of) == 0, "cannot be set exactly: {}", why());
    if before.is_none_or(|before| value < before) {
        assert!(used.is_some_and(|used| least >= used), "below what is used: {}", why());
    }
    let lowers = script.stored.pending.as_ref().is_some_and(|change| change.action == ChangeAction::ScaleDown);
    if let Some(size) = script.size.filter(|_| lowers && of == Resource::Memory) {
        let needed = joint::needed(size).min(before.unwrap_or(0));
        assert!(
            value + step(of) > needed.min(bounds.max.of(of).unwrap_or(u64::MAX)),
            "no room for the workers that are wanted: {}",
            why()
        );
    }
    if let Some(reserve) = script.reserve.of(of).filter(|_| before.is_none_or(|before| value > before)) {
        let sum = value + script.others.of(of).unwrap_or(0) + reserve;
        assert!(script.capacity.of(of).is_some_and(|all| sum <= all), "the reserve is touched: {}", why());
    }
}

/// A pool that follows.
fn size(chance: &mut Chance) -> PoolSize {
    let (wanted, running) = (chance.below(40) as u32, chance.below(40) as u32);
    PoolSize { wanted, running, each: Memory(chance.below(2 * GI) + 1) }
}

fn usage(chance: &mut Chance, script: &mut Script) -> Usage {
    let part = |chance: &mut Chance, limit: Option<u64>, most: u64| limit.unwrap_or(most).min(most) * chance.below(110) / 100;
    let [cpu, memory, tasks] = Resource::EACH.map(|of| script.limits.of(of));
    let cores = part(chance, cpu, MOST[0]) as f64 / 1000.0;
    let used = (cores, part(chance, memory, MOST[1]), part(chance, tasks, MOST[2]));
    let mut usage = script.usage(used);
    let kills = u64::from(chance.often(3));
    if chance.often(50) {
        script.kill(kills)
    } else {
        script.kills += kills
    }
    if chance.often(5) {
        (usage.memory, usage.working) = (Err("unknown".into()), Err("unknown".into()));
    }
    if chance.often(5) {
        usage.tasks = Err("unknown".into());
    }
    if chance.often(5) {
        usage.limits = usage.limits.with(Resource::EACH[chance.below(3) as usize], None);
        script.limits = usage.limits;
    }
    if chance.often(10) {
        usage.pressure.memory = Ok(chance.below(100) as f64);
    }
    // A pool that stands at MemoryHigh, with a limit that is not raised.
    if chance.often(60)
        && let Some(limit) = script.limits.memory.filter(|_| script.facts.spec.target.pool.is_some())
    {
        script.held_back += 1;
        (usage.memory, usage.working) = (Ok(limit), Ok(limit));
        (usage.pressure.memory, usage.held_back) = (Ok(50.0), Ok(script.held_back));
    }
    usage
}

/// The last function before an order is called at one place.
#[test]
fn the_clamp_has_one_call_site() {
    let sources =
        [include_str!("../mod.rs"), include_str!("../order.rs"), include_str!("../step.rs"), include_str!("../outcome.rs")];
    let sources = [&sources[..], &[include_str!("../said.rs"), include_str!("../ladder.rs")]].concat();
    assert_eq!(sources.iter().map(|text| text.matches("clamp::clamp(").count()).sum::<usize>(), 1);
    assert_eq!(sources.iter().map(|text| text.matches("LimitOrder {").count()).sum::<usize>(), 1);
}
