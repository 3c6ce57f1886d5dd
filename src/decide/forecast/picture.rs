//! A forecast as lines over time: what was, what is expected, and the interval around it.
//!
//! Only data: a chart for a terminal, SVG or JSON is drawn by others.

use crate::model::forecast::{Picture, Prediction, Step};
use crate::model::time::Wall;

/// Points of the past: more than a chart has columns.
const POINTS_MAX: usize = 480;

/// The series that a prediction was made of, and the prediction. What is not finite or lies after it is left out.
pub fn picture(series: &[(Wall, f64)], prediction: &Prediction) -> Picture {
    let good = series.iter().filter(|(at, value)| value.is_finite() && *at <= prediction.at);
    let mut past: Vec<(Wall, f64)> = good.copied().collect();
    past.sort_by_key(|(at, _)| *at);
    let from = past.last().map(|(_, value)| Step { at: prediction.at, value: *value, low: *value, high: *value });
    let stride = past.len().div_ceil(POINTS_MAX).max(1);
    let last = past.len().saturating_sub(1);
    // Counted from the end, so that the last sample is always there.
    let mut number = 0..past.len();
    past.retain(|_| number.next().is_some_and(|at| (last - at).is_multiple_of(stride)));
    let steps: Vec<Step> = from.into_iter().chain(prediction.path.iter().copied()).collect();
    let line = |of: fn(&Step) -> f64| steps.iter().map(|step| (step.at, of(step))).collect();
    Picture { past, middle: line(|step| step.value), low: line(|step| step.low), high: line(|step| step.high) }
}
