//! What a number will be at a horizon, from its recorded past: the value, an interval, and how right that was before.
//!
//! ```text
//! samples -> grid -> every candidate at every origin -> choose (rolling back-test) -> interval (conformal) -> prediction
//! ```
//! Pure and total: uneven, doubled, future, infinite or missing samples are no error; too few of them are a [`TooLittle`] in
//! words. It must not know what the number is: whether a limit is raised for it is [`early`], and that it is never lowered
//! for it is kept by there being no function that would say so.

mod candidates;
mod choose;
mod early;
mod grid;
mod interval;
mod picture;
mod season;

pub use early::early;
pub use picture::picture;

use crate::model::forecast::{Prediction, Step, TooLittle};
use crate::model::policy::Forecast;
use crate::model::time::{Span, Wall};
use candidates::Candidate;
use choose::Choice;
use grid::Grid;
use interval::Interval;

/// Steps of a path: enough for a chart.
const PATH_STEPS_MAX: usize = 24;

/// What is expected of a series of (time, value), in any order, at the horizon of `how`. Only the 24 hours before `now` count.
///
/// # Errors
/// [`TooLittle`] when it is switched off, when fewer than 30 samples or less than six horizons are known, when the last sample
/// is too old, or when too few forecasts could be compared with what came.
pub fn forecast(series: &[(Wall, f64)], how: &Forecast, now: Wall) -> Result<Prediction, TooLittle> {
    if !how.enabled {
        return Err(TooLittle { why: "forecasting is switched off".into() });
    }
    let grid = grid::grid(series, how.horizon, now)?;
    let choice = choose::choose(&grid, how.method);
    let confidence = how.confidence.clamp(1, 99);
    let interval = interval::interval(&choice.errors, grid.ahead, confidence)?;
    Ok(prediction(&grid, &choice, &interval, (confidence, now)))
}

fn prediction(grid: &Grid, choice: &Choice, interval: &Interval, (confidence, now): (u8, Wall)) -> Prediction {
    let path = path(grid, choice.candidate, interval, now);
    let end = path.last().copied().unwrap_or(Step { at: now, value: 0.0, low: 0.0, high: 0.0 });
    let mut backtest = choice.backtest;
    backtest.coverage = interval.coverage;
    for error in [&mut backtest.error, &mut backtest.naive_error, &mut backtest.ma15_error, &mut backtest.drift_error] {
        *error = grid.unscaled(*error);
    }
    Prediction {
        at: now,
        horizon: millis(grid.step * grid.ahead as f64),
        model: choice.candidate.model(),
        ma5: grid.unscaled(grid.ma5.last().copied().unwrap_or_default()),
        ma15: grid.unscaled(grid.ma15.last().copied().unwrap_or_default()),
        trend: grid.unscaled(grid.trend),
        season: grid.season.map(|steps| millis(grid.step * steps as f64)),
        value: end.value,
        low: end.low,
        high: end.high,
        confidence,
        backtest,
        path,
    }
}

/// The way to the horizon. The interval opens with the square root of the time, as that of a random walk does.
fn path(grid: &Grid, candidate: Candidate, interval: &Interval, now: Wall) -> Vec<Step> {
    let stride = grid.ahead.div_ceil(PATH_STEPS_MAX);
    let mut steps: Vec<usize> = (1..grid.ahead).filter(|step| (grid.ahead - step).is_multiple_of(stride)).collect();
    steps.push(grid.ahead);
    let step = |ahead: usize| {
        let value = candidate.predict(grid, ahead).last().copied().unwrap_or_default();
        let open = (ahead as f64 / grid.ahead as f64).sqrt();
        let low = grid.within(value + interval.low * open).min(value);
        let high = grid.top(value + interval.high * open).max(value);
        let at = Wall(now.0.saturating_add((grid.step * ahead as f64) as i64));
        Step { at, value: grid.unscaled(value), low: grid.unscaled(low), high: grid.unscaled(high) }
    };
    steps.into_iter().map(step).collect()
}

fn millis(time: f64) -> Span {
    Span::millis(time.round() as u64)
}

#[cfg(test)]
mod tests;
