//! Forecasts against what came: over days of every shape, each made from the samples before it and no others.
//!
//! Origins lie every twenty minutes (for the figures: ten) of 24 hours, the first six hours into the trace, so that short
//! histories count as well.

use super::super::*;
use super::traces::{BEGIN, Shape, trace};

/// Half the width of what a coverage may be off, in points.
const OFF_MAX: f64 = 5.0;
/// How much worse than the best of naive, MA15 and drift an error may be: the best is only known afterwards.
const WORSE_MAX: f64 = 1.02;
const CONFIDENCES: [u8; 3] = [80, 90, 95];
const MINUTE: i64 = 60_000;

#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    origins: f64,
    error: f64,
    /// Naive, MA15, drift.
    others: [f64; 3],
    held: [f64; 3],
    width: f64,
}

impl Sums {
    fn best(&self) -> f64 {
        self.others.iter().copied().fold(f64::MAX, f64::min)
    }

    fn coverage(&self) -> [f64; 3] {
        self.held.map(|held| 100.0 * held / self.origins)
    }
}

/// The last sample at or before a time, if it is fresh.
fn at(series: &[(Wall, f64)], time: i64) -> Option<(usize, f64)> {
    let count = series.partition_point(|(at, _)| at.0 <= time);
    let (stamp, value) = *series.get(count.checked_sub(1)?)?;
    (time - stamp.0 < 100_000).then_some((count, value))
}

fn try_at(series: &[(Wall, f64)], now: i64, horizon: Span, sums: &mut Sums) {
    let (Some((count, _)), Some((_, came))) = (at(series, now), at(series, now + horizon.0 as i64)) else { return };
    let how = Forecast { horizon, ..Forecast::default() };
    let grid = grid::grid(&series[..count], how.horizon, Wall(now)).expect("there is enough");
    let choice = choose::choose(&grid, how.method);
    let others = candidates::BASELINES.map(|other| *other.predict(&grid, grid.ahead).last().expect("a grid is not empty"));
    sums.origins += 1.0;
    for (sum, said) in sums.others.iter_mut().zip(others) {
        *sum += (grid.unscaled(said) - came).abs();
    }
    for (held, confidence) in sums.held.iter_mut().zip(CONFIDENCES) {
        let interval = interval::interval(&choice.errors, grid.ahead, confidence).expect("there is enough");
        let said = prediction(&grid, &choice, &interval, (confidence, Wall(now)));
        *held += f64::from(u8::from(said.low <= came && came <= said.high));
        if confidence == 90 {
            sums.error += (said.value - came).abs();
            sums.width += said.high - said.low;
        }
    }
}

fn days(shape: Shape, horizon: Span, seeds: std::ops::Range<u64>, minutes: i64) -> Sums {
    let mut sums = Sums::default();
    for seed in seeds {
        let series = trace(shape, seed, 31);
        // Not a multiple of the season, nor of the samples' interval.
        for number in 0..24 * 60 / minutes {
            try_at(&series, BEGIN + 370 * MINUTE + number * (minutes * MINUTE - 7_001), horizon, &mut sums);
        }
    }
    sums
}

fn holds(shape: Shape) {
    let sums = days(shape, Span::secs(600), 0..3, 20);
    assert!(sums.origins > 190.0);
    assert!(sums.error <= sums.best() * WORSE_MAX, "{shape:?}: {} over {}: {sums:?}", sums.error, sums.best());
    for (coverage, confidence) in sums.coverage().into_iter().zip(CONFIDENCES) {
        assert!((coverage - f64::from(confidence)).abs() <= OFF_MAX, "{shape:?}: {coverage} of {confidence}");
    }
}

#[test]
fn a_generated_day_is_forecast() {
    holds(Shape::Day);
}

#[test]
fn a_day_with_gaps_is_forecast() {
    holds(Shape::Gaps);
}

#[test]
fn a_web_site_is_forecast() {
    holds(Shape::Web);
}

#[test]
fn a_batch_job_is_forecast() {
    holds(Shape::Saw);
}

#[test]
fn level_shifts_are_forecast() {
    holds(Shape::Steps);
}

#[test]
fn heavy_tailed_bursts_are_forecast() {
    holds(Shape::Heavy);
}

#[test]
fn a_random_walk_is_forecast() {
    holds(Shape::Walk);
}

#[test]
fn the_taxis_of_a_city_are_forecast() {
    holds(Shape::Taxi);
}

#[test]
fn a_shared_cluster_is_forecast() {
    holds(Shape::Cluster);
}

/// Days that the figures are of: `FORECAST_DAYS=16` in release mode for those of docs/forecast.md, one where nobody asks.
fn figured() -> std::ops::Range<u64> {
    let days = std::env::var("FORECAST_DAYS").ok().and_then(|days| days.parse::<u64>().ok()).unwrap_or(1);
    100..100 + days
}

#[test]
fn figures() {
    let horizons: &[u64] = if figured().end > 101 { &[2, 10, 30, 60] } else { &[10] };
    for minutes in horizons {
        for shape in Shape::ALL {
            let sums = days(shape, Span::secs(minutes * 60), figured(), 10);
            let [naive, ma15, drift] = sums.others.map(|error| error / sums.origins);
            let [c80, c90, c95] = sums.coverage();
            let (error, ratio) = (sums.error / sums.origins, sums.error / sums.best());
            let width = sums.width / sums.origins;
            assert!(error.is_finite() && width > 0.0 && c80 <= c90 && c90 <= c95, "{shape:?}: {error} {width} {c80} {c90} {c95}");
            println!(
                "| {minutes}m | {shape:?} | {error:.2} | {naive:.2} | {ma15:.2} | {drift:.2} | {ratio:.3} | {c80:.1} | {c90:.1} | {c95:.1} | {width:.1} |"
            );
        }
    }
}

/// Of origins without a breach: how often one was told, was told and came, and came. A breach is 85 % of a limit that a tenth
/// of the samples exceeds.
fn warnings(shape: Shape, seeds: std::ops::Range<u64>) -> [f64; 3] {
    let mut counts = [0.0; 3];
    for seed in seeds {
        let series = trace(shape, seed, 31);
        let mut sorted: Vec<f64> = series.iter().map(|(_, value)| *value).collect();
        sorted.sort_by(f64::total_cmp);
        let threshold = sorted[sorted.len() * 9 / 10];
        for number in 0..72 {
            let now = BEGIN + 370 * MINUTE + number * (20 * MINUTE - 7_001);
            let Some((count, _)) = at(&series, now) else { continue };
            let said = forecast(&series[..count], &Forecast::default(), Wall(now)).expect("there is enough");
            if said.ma5 >= threshold {
                continue;
            }
            let told = early(&said, threshold / 0.85, 85).is_some();
            let ahead = series[count..].iter().take_while(|(at, _)| at.0 <= now + 10 * MINUTE);
            let came = ahead.filter(|(_, value)| *value >= threshold).count() >= 3;
            for (count, yes) in counts.iter_mut().zip([told, told && came, came]) {
                *count += f64::from(u8::from(yes));
            }
        }
    }
    counts
}

#[test]
fn a_warning_is_more_often_right_than_wrong() {
    let [told, right, came] = warnings(Shape::Saw, 0..1);
    assert!(told >= 3.0 && right > told / 2.0 && right > came / 2.0, "{told} told, {right} right, {came} came");
}

#[test]
fn figures_of_warnings() {
    for shape in Shape::ALL {
        let [told, right, came] = warnings(shape, figured());
        assert!(right <= told && right <= came, "{shape:?}: {told} told, {right} right, {came} came");
        println!("| {shape:?} | {came} | {told} | {right} |");
    }
}
