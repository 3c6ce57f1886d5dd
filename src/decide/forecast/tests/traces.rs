//! Made-up series of use, each with the shape of something known, and nothing copied: own numbers from an own generator.
//!
//! A sample every 30 s, never negative.

use std::f64::consts::TAU;

use crate::model::time::Wall;

/// Milliseconds since the Unix epoch of the first sample: some Monday.
pub(super) const BEGIN: i64 = 1_780_272_000_000;

/// A linear congruential generator: the same numbers for ever.
pub(super) struct Chance(u64);

impl Chance {
    pub(super) fn new(seed: u64) -> Chance {
        let mut chance = Chance(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ 0x5DEE_CE66);
        for _ in 0..10 {
            chance.next();
        }
        chance
    }

    /// From 0 up to 1.
    pub(super) fn next(&mut self) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Normally distributed, mean 0 and deviation 1.
    pub(super) fn normal(&mut self) -> f64 {
        (-2.0 * self.next().max(1e-12).ln()).sqrt() * (TAU * self.next()).cos()
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// The generated day: a trend, a season of a day and one of two hours, noise, and bursts of 5 to 20 minutes every 2 hours.
    Day,
    /// The same, as a collector with trouble sees it: a fifth of the samples lost, two gaps of half an hour, times uneven.
    Gaps,
    /// Requests of a public web site: one high and one low in a day with a shoulder in the evening, noise in proportion.
    Web,
    /// Memory of a batch job: it grows for about 55 minutes and falls at once; no two runs are equally long.
    Saw,
    /// A cluster's machine: levels that hold for one to four hours, then another one at once.
    Steps,
    /// Jobs of users: bursts with a Pareto tail (exponent 1.5), each dying away within half an hour.
    Heavy,
    /// A random walk: nobody can say more than "as now".
    Walk,
    /// The half-hourly count of taxi rides in New York (TLC, as in the Numenta benchmark), a sample for each: a low at 5, a rise
    /// until 9, the peak at 19, late nights on Friday and Saturday, late mornings after them. A day of it lasts 24 minutes here.
    Taxi,
    /// A cell of a shared cluster (Google's traces of 2011 and 2019, Azure's of 2017): a flat day, 10 to 20 % from low to high, with
    /// a slow wander of its own, noise between two samples, and now and then a batch that ends within minutes.
    Cluster,
}

impl Shape {
    pub(super) const ALL: [Shape; 7] = [Shape::Day, Shape::Gaps, Shape::Web, Shape::Saw, Shape::Steps, Shape::Heavy, Shape::Walk];
}

/// What a shape remembers from sample to sample.
#[derive(Default)]
struct State {
    left: u32,
    level: f64,
    length: f64,
    slow: f64,
}

fn day(state: &mut State, hours: f64, chance: &mut Chance) -> f64 {
    if state.left == 0 && chance.next() < 1.0 / 240.0 {
        state.left = 10 + (chance.next() * 30.0) as u32;
        state.level = 10.0 + 20.0 * chance.next();
    }
    let burst = if state.left > 0 { state.level } else { 0.0 };
    state.left = state.left.saturating_sub(1);
    let seasons = 15.0 * (TAU * hours / 24.0 - 1.0).sin() + 6.0 * (TAU * hours / 2.0).sin();
    40.0 + 0.5 * hours + seasons + 2.5 * chance.normal() + burst
}

fn web(state: &mut State, hours: f64, chance: &mut Chance) -> f64 {
    let angle = TAU * hours / 24.0;
    state.slow = 0.95 * state.slow + chance.normal();
    (60.0 + 30.0 * (angle - 2.0).sin() + 15.0 * (2.0 * angle + 0.5).sin()) * (1.0 + 0.05 * chance.normal() + 0.02 * state.slow)
}

fn saw(state: &mut State, chance: &mut Chance) -> f64 {
    state.level += 1.0;
    if state.level >= state.length {
        (state.level, state.length) = (0.0, 105.0 + 10.0 * chance.next());
    }
    20.0 + 60.0 * state.level / 110.0 + chance.normal()
}

fn levels(state: &mut State, chance: &mut Chance) -> f64 {
    if state.left == 0 {
        (state.left, state.level) = (120 + (chance.next() * 360.0) as u32, 20.0 + 60.0 * chance.next());
    }
    state.left -= 1;
    state.level + 2.0 * chance.normal()
}

fn heavy(state: &mut State, chance: &mut Chance) -> f64 {
    if chance.next() < 0.01 {
        state.level += 5.0 * chance.next().max(1e-3).powf(-1.0 / 1.5);
    }
    state.level *= 0.96;
    20.0 + state.level + chance.normal()
}

fn walk(state: &mut State, chance: &mut Chance) -> f64 {
    state.level = (state.level + 0.7 * chance.normal()).clamp(-60.0, 140.0);
    60.0 + state.level
}

/// Thousands of rides in half an hour, for each hour of a day between Monday and Friday, and of one of the weekend.
const RIDES: [[f64; 24]; 2] = [
    [
        9.5, 6.5, 4.5, 3.2, 3.0, 3.4, 7.5, 13.5, 17.0, 16.8, 16.0, 16.2, 17.0, 16.8, 17.4, 16.4, 14.6, 17.6, 21.6, 23.0, 22.0,
        21.6, 19.6, 15.0,
    ],
    [
        21.5, 19.6, 16.4, 12.4, 7.4, 4.0, 3.9, 5.2, 7.6, 10.8, 13.8, 15.2, 16.4, 16.2, 15.8, 15.6, 15.4, 16.8, 19.0, 19.8, 18.2,
        18.0, 18.8, 19.6,
    ],
];

fn taxi(state: &mut State, number: i64, chance: &mut Chance) -> f64 {
    let (day, half) = (number / 48 % 7, number % 48);
    let hour = |at: i64| {
        let weekend = (number + at - half) / 48 % 7 >= 5 || day == 4 && half >= 44;
        RIDES[usize::from(weekend)][usize::try_from(at / 2 % 24).expect("an hour")]
    };
    let now = if half % 2 == 0 { hour(half) } else { (hour(half) + hour((half + 1) % 48)) / 2.0 };
    state.slow = 0.9 * state.slow + 0.02 * chance.normal();
    now * (1.0 + state.slow + 0.03 * chance.normal())
}

fn cluster(state: &mut State, hours: f64, chance: &mut Chance) -> f64 {
    if chance.next() < 0.004 {
        state.level += 3.0 + 4.0 * chance.next();
    }
    state.level *= 0.9;
    state.slow = 0.995 * state.slow + 0.15 * chance.normal();
    let angle = TAU * hours / 24.0;
    50.0 + 4.0 * (angle - 2.2).sin() + 1.5 * (2.0 * angle).sin() + state.slow + state.level + 0.8 * chance.normal()
}

/// Samples of so many hours.
pub(super) fn trace(shape: Shape, seed: u64, hours: u32) -> Vec<(Wall, f64)> {
    let mut chance = Chance::new(seed * 64 + shape as u64);
    let mut state = State::default();
    let mut series = Vec::new();
    for number in 0..i64::from(hours) * 120 {
        let at = number as f64 / 120.0;
        let value = match shape {
            Shape::Day | Shape::Gaps => day(&mut state, at, &mut chance),
            Shape::Web => web(&mut state, at, &mut chance),
            Shape::Saw => saw(&mut state, &mut chance),
            Shape::Steps => levels(&mut state, &mut chance),
            Shape::Heavy => heavy(&mut state, &mut chance),
            Shape::Walk => walk(&mut state, &mut chance),
            Shape::Taxi => taxi(&mut state, number, &mut chance),
            Shape::Cluster => cluster(&mut state, at, &mut chance),
        };
        let mut stamp = BEGIN + number * 30_000;
        if shape == Shape::Gaps {
            let gap = (7.0..7.5).contains(&at) || (15.2..15.8).contains(&at);
            if gap || chance.next() < 0.2 {
                continue;
            }
            stamp += (chance.next() * 10_000.0) as i64;
        }
        series.push((Wall(stamp), value.max(0.0)));
    }
    series
}
