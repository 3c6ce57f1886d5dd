//! The ways a number may go on, each computed for every origin of a grid in one pass.
//!
//! An origin sees its own step and earlier ones, nothing later. Smoothing factors are a small fixed set instead of a
//! fit: the back-test chooses among them, and a forecast costs the same whatever the data.

use crate::model::forecast::ForecastModel;
use crate::model::policy::ForecastMethod;

use super::grid::Grid;

/// How fast the trend of Holt-Winters fades, for each step.
const SEASONAL_DAMPING: f64 = 0.98;
/// Milliseconds of the windows of straight lines.
const LINES: [f64; 3] = [1_800_000.0, 3_600_000.0, 10_800_000.0];
/// Milliseconds of the windows of medians.
const MEDIANS: [f64; 2] = [10_800_000.0, 43_200_000.0];

/// One way a number may go on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Candidate {
    Naive,
    Ma5,
    Ma15,
    Drift,
    Linear { window: usize },
    Holt { level: f64, trend: f64, damping: f64 },
    Seasonal { season: usize },
    HoltWinters { season: usize, level: f64, trend: f64, seasonal: f64 },
    Reversion { window: usize, left: f64 },
}

/// What every choice has to beat: naive, MA15, drift.
pub(super) const BASELINES: [Candidate; 3] = [Candidate::Naive, Candidate::Ma15, Candidate::Drift];

/// What a method may choose from. For `Auto` the [`BASELINES`] come first.
pub(super) fn candidates(grid: &Grid, method: ForecastMethod) -> Vec<Candidate> {
    match method {
        ForecastMethod::Linear => lines(grid),
        ForecastMethod::HoltWinters => grid.season.map_or_else(holts, winters),
        ForecastMethod::Auto => {
            let seasonal = grid.season.map(|season| [vec![Candidate::Seasonal { season }], winters(season)].concat());
            let parts = [BASELINES.to_vec(), vec![Candidate::Ma5], lines(grid), holts(), reversions(grid)];
            parts.into_iter().chain(seasonal).flatten().collect()
        }
    }
}

fn steps(grid: &Grid, time: f64) -> usize {
    ((time / grid.step).round() as usize).max(STEPS_MIN)
}

/// Steps of the shortest window.
const STEPS_MIN: usize = 4;

fn lines(grid: &Grid) -> Vec<Candidate> {
    let mut windows: Vec<usize> = LINES.iter().map(|time| steps(grid, *time)).collect();
    windows.dedup();
    windows.into_iter().map(|window| Candidate::Linear { window }).collect()
}

fn holts() -> Vec<Candidate> {
    let mut found = Vec::new();
    for level in [0.1, 0.3, 0.6, 0.9] {
        for (trend, damping) in [(0.0, 0.0), (0.05, 0.85), (0.05, 0.97), (0.2, 0.85), (0.2, 0.97)] {
            found.push(Candidate::Holt { level, trend, damping });
        }
    }
    found
}

fn winters(season: usize) -> Vec<Candidate> {
    let mut found = Vec::new();
    for level in [0.1, 0.3, 0.7] {
        for (trend, seasonal) in [(0.0, 0.15), (0.0, 0.4), (0.02, 0.15), (0.02, 0.4)] {
            found.push(Candidate::HoltWinters { season, level, trend, seasonal });
        }
    }
    found
}

fn reversions(grid: &Grid) -> Vec<Candidate> {
    let windows = MEDIANS.map(|time| steps(grid, time));
    let each = |window| [0.0, 0.3, 0.6, 0.85].map(|left| Candidate::Reversion { window, left });
    windows.into_iter().flat_map(each).collect()
}

impl Candidate {
    /// As it is told.
    pub fn model(self) -> ForecastModel {
        match self {
            Candidate::Naive => ForecastModel::Naive,
            Candidate::Ma5 => ForecastModel::Ma5,
            Candidate::Ma15 => ForecastModel::Ma15,
            Candidate::Drift => ForecastModel::Drift,
            Candidate::Linear { .. } => ForecastModel::Linear,
            Candidate::Holt { .. } => ForecastModel::Holt,
            Candidate::Seasonal { .. } => ForecastModel::SeasonalNaive,
            Candidate::HoltWinters { .. } => ForecastModel::HoltWinters,
            Candidate::Reversion { .. } => ForecastModel::Reversion,
        }
    }

    /// For each step of the grid: what it says there of `ahead` steps later.
    pub fn predict(self, grid: &Grid, ahead: usize) -> Vec<f64> {
        let mut said = match self {
            Candidate::Naive => grid.last.clone(),
            Candidate::Ma5 => grid.ma5.clone(),
            Candidate::Ma15 => grid.ma15.clone(),
            Candidate::Drift => drift(&grid.last, ahead),
            Candidate::Linear { window } => linear(grid, window, ahead),
            Candidate::Holt { level, trend, damping } => holt(grid, (level, trend, damping), ahead),
            Candidate::Seasonal { season } => seasonal(grid, season, ahead),
            Candidate::HoltWinters { season, level, trend, seasonal } => {
                holt_winters(grid, season, (level, trend, seasonal), ahead)
            }
            Candidate::Reversion { window, left } => reversion(grid, window, left),
        };
        said.iter_mut().for_each(|value| *value = grid.within(*value));
        said
    }
}

fn drift(values: &[f64], ahead: usize) -> Vec<f64> {
    let first = values.first().copied().unwrap_or_default();
    let slope = |at: usize, value: f64| (value - first) / at.max(1) as f64;
    values.iter().enumerate().map(|(at, value)| value + slope(at, *value) * ahead as f64).collect()
}

/// Least squares over the last `window` means, by running sums: the same cost for any window.
fn linear(grid: &Grid, window: usize, ahead: usize) -> Vec<f64> {
    let (mut plain, mut weighted) = (vec![0.0], vec![0.0]);
    for (at, value) in grid.mean.iter().enumerate() {
        plain.push(plain[at] + value);
        weighted.push(weighted[at] + at as f64 * value);
    }
    let at_origin = |origin: usize| {
        let from = (origin + 1).saturating_sub(window);
        let count = (origin + 1 - from) as f64;
        if count < 3.0 {
            return grid.last[origin];
        }
        let sum = plain[origin + 1] - plain[from];
        let middle = (count - 1.0) / 2.0;
        let xy = weighted[origin + 1] - weighted[from] - (from as f64 + middle) * sum;
        let slope = xy / (count * (count * count - 1.0) / 12.0);
        sum / count + slope * (middle + ahead as f64 + grid.lag)
    };
    (0..grid.mean.len()).map(at_origin).collect()
}

/// How much of a step's trend is added in `ahead` steps.
fn faded(damping: f64, ahead: usize) -> f64 {
    let mut power = 1.0;
    (0..ahead).fold(0.0, |sum, _| {
        power *= damping;
        sum + power
    })
}

fn holt(grid: &Grid, (alpha, beta, damping): (f64, f64, f64), ahead: usize) -> Vec<f64> {
    let far = faded(damping, ahead) + grid.lag * damping;
    let (mut level, mut trend) = (grid.mean.first().copied().unwrap_or_default(), 0.0);
    let mut learn = |value: &f64| {
        let expected = level + damping * trend;
        let now = alpha * value + (1.0 - alpha) * expected;
        trend = beta * (now - level) + (1.0 - beta) * damping * trend;
        level = now;
        level + far * trend
    };
    grid.mean.iter().map(&mut learn).collect()
}

fn seasonal(grid: &Grid, season: usize, ahead: usize) -> Vec<f64> {
    let back = season * ahead.div_ceil(season);
    let at_origin = |origin: usize| if origin + ahead < back { grid.last[origin] } else { grid.mean[origin + ahead - back] };
    (0..grid.mean.len()).map(at_origin).collect()
}

/// Before a whole season was seen it says what naive says.
fn holt_winters(grid: &Grid, season: usize, (alpha, beta, gamma): (f64, f64, f64), ahead: usize) -> Vec<f64> {
    let first = &grid.mean[..season.min(grid.mean.len())];
    let mut level = first.iter().sum::<f64>() / first.len().max(1) as f64;
    let mut shape: Vec<f64> = first.iter().map(|value| value - level).collect();
    let (mut trend, far) = (0.0, faded(SEASONAL_DAMPING, ahead));
    let mut learn = |origin: usize| {
        if origin < season {
            return grid.last[origin];
        }
        let (value, place) = (grid.mean[origin], origin % season);
        let expected = level + SEASONAL_DAMPING * trend;
        let now = alpha * (value - shape[place]) + (1.0 - alpha) * expected;
        trend = beta * (now - level) + (1.0 - beta) * SEASONAL_DAMPING * trend;
        level = now;
        shape[place] = gamma * (value - level) + (1.0 - gamma) * shape[place];
        level + far * trend + shape[(origin + ahead) % season]
    };
    (0..grid.mean.len()).map(&mut learn).collect()
}

/// From the last sample towards the median of the last `window` means: `left` of the way is left. It is what bursts do.
fn reversion(grid: &Grid, window: usize, left: f64) -> Vec<f64> {
    let mut sorted: Vec<f64> = Vec::with_capacity(window.min(grid.mean.len()) + 1);
    let mut learn = |origin: usize| {
        let value = grid.mean[origin];
        sorted.insert(sorted.partition_point(|other| *other < value), value);
        if origin >= window {
            let gone = grid.mean[origin - window];
            sorted.remove(sorted.partition_point(|other| *other < gone));
        }
        let median = sorted[sorted.len() / 2];
        median + left * (grid.last[origin] - median)
    };
    (0..grid.mean.len()).map(&mut learn).collect()
}
