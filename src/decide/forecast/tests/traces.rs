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
