//! From samples as they came to a regular grid, small enough that a forecast costs a few milliseconds.
//!
//! The grid ends at now, and the horizon is a whole number of its steps. Models read the mean of a step; what comes true is
//! the last raw sample of a step, so that the interval holds samples and not only their means. Values are divided by the
//! largest one: sums of squares stay finite whatever the unit.

use crate::model::forecast::TooLittle;
use crate::model::time::{Span, Wall};

use super::season::season;

/// How far back samples count.
const KEPT: Span = Span::secs(24 * 3600);
/// Fewer samples, or steps with a sample, say nothing.
const SAMPLES_MIN: usize = 30;
/// The samples reach back at least so many horizons: fewer tries are no back-test.
const HORIZONS_MIN: u64 = 6;
/// Steps in the whole of what is kept: 24 hours are steps of three minutes.
const STEPS: f64 = 480.0;
/// Steps at most, when the horizon is shorter than such a step.
const STEPS_MAX: usize = 600;
/// Sample intervals after which the last sample is too old.
const SILENT_MAX: i64 = 5;
const MINUTE_MS: i64 = 60_000;

/// A series at equal steps, the last one ending now.
#[derive(Clone, Debug)]
pub(super) struct Grid {
    /// The length of a step, in milliseconds.
    pub step: f64,
    /// Steps to the horizon: 1 or more.
    pub ahead: usize,
    /// The mean of each step; where none is known, the one before.
    pub mean: Vec<f64>,
    /// The last sample of each step; where none is known, the one before.
    pub last: Vec<f64>,
    /// Whether the step has a sample.
    pub known: Vec<bool>,
    /// The mean of the five minutes before the end of each step.
    pub ma5: Vec<f64>,
    /// The mean of the fifteen minutes before the end of each step.
    pub ma15: Vec<f64>,
    /// The rise in a minute over the last fifteen minutes.
    pub trend: f64,
    /// How far the middle of a step's samples lies before its last one, in steps.
    pub lag: f64,
    /// Steps of a season, if one was found.
    pub season: Option<usize>,
    scale: f64,
    floor: f64,
    ceiling: f64,
}

impl Grid {
    /// In the unit of the series.
    pub fn unscaled(&self, value: f64) -> f64 {
        (value * self.scale).clamp(f64::MIN, f64::MAX)
    }

    /// Not outside of what was ever seen by more than its whole range, and not below zero where nothing was.
    pub fn within(&self, value: f64) -> f64 {
        value.clamp(self.floor, self.ceiling)
    }

    /// Not below what can be; without an upper end.
    pub fn top(&self, value: f64) -> f64 {
        value.max(self.floor)
    }
}

/// Samples by time, in milliseconds before now (negative), scaled.
struct Samples {
    at: Vec<f64>,
    value: Vec<f64>,
    /// `sums[n]`: of the first n values.
    sums: Vec<f64>,
}

impl Samples {
    fn mean(&self, from: usize, to: usize) -> Option<f64> {
        (from < to).then(|| (self.sums[to] - self.sums[from]) / (to - from) as f64)
    }

    /// The mean of the time before the end of the first `to` samples; the last sample where it has none.
    fn average(&self, to: usize, end: f64, minutes: i64) -> f64 {
        let from = self.at[..to].partition_point(|at| *at <= end - (minutes * MINUTE_MS) as f64);
        self.mean(from, to).unwrap_or_else(|| self.value[to.max(1) - 1])
    }

    /// The slope of a straight line through the last minutes, in a minute.
    fn slope(&self, minutes: i64) -> f64 {
        let from = self.at.partition_point(|at| *at <= (-minutes * MINUTE_MS) as f64);
        let count = (self.at.len() - from) as f64;
        let middle = self.at[from..].iter().sum::<f64>() / count.max(1.0);
        let (mut xy, mut xx) = (0.0, 0.0);
        for (at, value) in self.at[from..].iter().zip(&self.value[from..]) {
            xy += (at - middle) * value;
            xx += (at - middle) * (at - middle);
        }
        if xx > 0.0 { xy / xx * MINUTE_MS as f64 } else { 0.0 }
    }
}

/// A series at equal steps, or why it is too little.
pub(super) fn grid(series: &[(Wall, f64)], horizon: Span, now: Wall) -> Result<Grid, TooLittle> {
    let kept = kept(series, now);
    let spacing = judge(&kept, horizon)?;
    let scale = kept.iter().map(|(_, value)| value.abs()).fold(0.0, f64::max);
    let scale = if scale > 0.0 { scale } else { 1.0 };
    let value: Vec<f64> = kept.iter().map(|(_, value)| value / scale).collect();
    let mut sums = vec![0.0];
    value.iter().for_each(|value| sums.push(sums[sums.len() - 1] + value));
    let samples = Samples { at: kept.iter().map(|(at, _)| *at as f64).collect(), value, sums };
    let grid = filled(&samples, horizon.0 as f64, spacing as f64, scale);
    let known = grid.known.iter().filter(|known| **known).count();
    if known < SAMPLES_MIN {
        return Err(little(format!("the samples stand at {known} different times, at least {SAMPLES_MIN} are needed")));
    }
    Ok(grid)
}

fn little(why: String) -> TooLittle {
    TooLittle { why }
}

/// What counts, by time: milliseconds after now (never positive), and the value.
fn kept(series: &[(Wall, f64)], now: Wall) -> Vec<(i64, f64)> {
    let ages = series.iter().map(|(at, value)| (at.0.saturating_sub(now.0), *value));
    let oldest = -(KEPT.0 as i64);
    let mut kept: Vec<(i64, f64)> = ages.filter(|(at, value)| value.is_finite() && *at <= 0 && *at >= oldest).collect();
    kept.sort_by_key(|(at, _)| *at);
    kept
}

/// The usual time from a sample to the next in milliseconds, if there is enough to say anything.
fn judge(kept: &[(i64, f64)], horizon: Span) -> Result<i64, TooLittle> {
    let (Some(first), Some(last)) = (kept.first(), kept.last()) else {
        return Err(little(format!("no sample is known of the last {KEPT}")));
    };
    if horizon.0 == 0 {
        return Err(little("a horizon of 0s is no future".into()));
    }
    if kept.len() < SAMPLES_MIN {
        return Err(little(format!("{} samples are known, at least {SAMPLES_MIN} are needed", kept.len())));
    }
    let needed = horizon.0.saturating_mul(HORIZONS_MIN);
    if needed > KEPT.0 {
        let needed = seconds(needed);
        return Err(little(format!("a horizon of {horizon} needs {needed} of samples, {KEPT} are kept")));
    }
    if first.0.unsigned_abs() < needed {
        let reach = seconds(first.0.unsigned_abs());
        let needed = seconds(needed);
        return Err(little(format!("the samples reach back {reach}, a horizon of {horizon} needs {needed} of them")));
    }
    let mut gaps: Vec<i64> = kept.windows(2).map(|pair| pair[1].0 - pair[0].0).collect();
    gaps.sort_unstable();
    let spacing = gaps[gaps.len() / 2].max(1);
    let silent = last.0.saturating_neg();
    if silent > (spacing * SILENT_MAX).max(MINUTE_MS) {
        return Err(little(format!("the last sample is {} old", seconds(silent.unsigned_abs()))));
    }
    Ok(spacing)
}

/// Whole seconds are exact enough for people.
fn seconds(ms: u64) -> Span {
    Span::secs(ms / 1000)
}

fn filled(samples: &Samples, horizon: f64, spacing: f64, scale: f64) -> Grid {
    let reach = -samples.at[0];
    let coarse = (reach / STEPS).max(spacing);
    let ahead = (horizon / coarse).floor().max(1.0);
    let step = (horizon / ahead).max(spacing);
    let count = ((reach / step).floor() as usize + 1).min(STEPS_MAX);
    let mut grid = Grid {
        step,
        ahead: ahead as usize,
        mean: Vec::with_capacity(count),
        last: Vec::with_capacity(count),
        known: Vec::with_capacity(count),
        ma5: Vec::with_capacity(count),
        ma15: Vec::with_capacity(count),
        trend: samples.slope(15),
        lag: ((step - spacing) / 2.0 / step).max(0.0),
        season: None,
        scale,
        floor: 0.0,
        ceiling: 0.0,
    };
    let begin = -(count as f64) * step;
    let mut to = samples.at.partition_point(|at| *at <= begin);
    for number in 1..=count {
        let end = begin + number as f64 * step;
        let from = to;
        to += samples.at[from..].partition_point(|at| *at <= end);
        fill(&mut grid, samples, (from, to), end);
    }
    grid.season = season(&grid.mean);
    bound(&mut grid);
    grid
}

/// One more step, with the samples from the first number up to the second.
fn fill(grid: &mut Grid, samples: &Samples, (from, to): (usize, usize), end: f64) {
    let before = grid.mean.last().copied();
    let last = samples.value[to.max(1) - 1];
    grid.mean.push(samples.mean(from, to).or(before).unwrap_or(last));
    grid.last.push(last);
    grid.known.push(from < to);
    grid.ma5.push(samples.average(to, end, 5));
    grid.ma15.push(samples.average(to, end, 15));
}

fn bound(grid: &mut Grid) {
    let least = grid.last.iter().chain(&grid.mean).copied().fold(f64::MAX, f64::min);
    let most = grid.last.iter().chain(&grid.mean).copied().fold(f64::MIN, f64::max);
    let range = most - least;
    // A number that was never negative (a use, a length) does not become so.
    grid.floor = if least >= 0.0 { (least - range).max(0.0) } else { least - range };
    grid.ceiling = most + range;
}
