//! How far off a forecast may be: quantiles of its own errors, adapted so that they hold as many as they promise.
//!
//! Conformal: nothing is assumed of the distribution. Adaptive: each miss below or above makes the tail on that side
//! smaller for the next origins, each hit larger, as Gibbs and Candès propose; so bursts and level shifts widen the interval
//! within the window they are in. Errors of neighbouring origins overlap, hence they count as fewer than they are.

use crate::model::forecast::TooLittle;

/// Fewer errors than these have no quantiles.
const ERRORS_MIN: usize = 10;
/// How much one miss moves its tail, for a horizon of one step.
const PACE: f64 = 0.03;
/// The tails' least and largest share of all errors. Below zero: beyond the worst error ever seen.
const TAIL: (f64, f64) = (-0.02, 0.5);
/// Beyond the worst error seen: so much further for each error that would have had to be seen.
const STRETCH: f64 = 0.2;
/// So many of these at most.
const STRETCHES_MAX: f64 = 2.0;

/// How far off a forecast may be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Interval {
    /// Added to the value: zero or less.
    pub low: f64,
    /// Added to the value: zero or more.
    pub high: f64,
    /// How many of the earlier intervals held what came, in percent.
    pub coverage: f64,
}

#[derive(Clone, Copy)]
enum Side {
    Below,
    Above,
}

/// From the errors of each origin; that of an origin is known `ahead` steps later.
pub(super) fn interval(errors: &[Option<f64>], ahead: usize, confidence: u8) -> Result<Interval, TooLittle> {
    let goal = (1.0 - f64::from(confidence) / 100.0) / 2.0;
    let pace = PACE / (ahead as f64).sqrt();
    let (mut below, mut above) = (goal, goal);
    let mut sorted: Vec<f64> = Vec::with_capacity(errors.len());
    let mut given: Vec<Option<(f64, f64)>> = Vec::with_capacity(errors.len());
    let (mut held, mut told) = (0, 0);
    for now in 0..errors.len() {
        if let Some((origin, error)) = now.checked_sub(ahead).and_then(|origin| Some((origin, errors[origin]?))) {
            if let Some((low, high)) = given[origin] {
                told += 1;
                held += usize::from(low <= error && error <= high);
                below = moved(below, goal, pace, error < low);
                above = moved(above, goal, pace, error > high);
            }
            sorted.insert(sorted.partition_point(|other| *other < error), error);
        }
        let quantile = |tail, side| quantile(&sorted, tail, side, ahead);
        let enough = sorted.len() >= ERRORS_MIN;
        given.push(enough.then(|| (quantile(below, Side::Below).min(0.0), quantile(above, Side::Above).max(0.0))));
    }
    let Some((low, high)) = given.last().copied().flatten().filter(|_| told > 0) else {
        let why = format!("{} forecasts could be compared with what came, at least {} are needed", sorted.len(), ERRORS_MIN + 1);
        return Err(TooLittle { why });
    };
    Ok(Interval { low, high, coverage: 100.0 * held as f64 / told as f64 })
}

fn moved(tail: f64, goal: f64, pace: f64, missed: bool) -> f64 {
    (tail + pace * (goal - f64::from(u8::from(missed)))).clamp(TAIL.0, TAIL.1)
}

/// The error that a share of `tail` is beyond, on one side.
fn quantile(sorted: &[f64], tail: f64, side: Side, ahead: usize) -> f64 {
    let count = sorted.len();
    let at = |place: usize| match side {
        Side::Below => sorted[place.min(count - 1)],
        Side::Above => sorted[count - 1 - place.min(count - 1)],
    };
    let independent = (count as f64 / ahead as f64).max(1.0);
    let share = (tail * (independent + 1.0) - 1.0) / independent;
    if share < 0.0 {
        return at(0) * (1.0 + STRETCH * (-share * independent).min(STRETCHES_MAX));
    }
    let place = share * count as f64;
    let (whole, part) = (place.floor() as usize, place.fract());
    at(whole) + (at(whole + 1) - at(whole)) * part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_between_the_errors() {
        let sorted: Vec<f64> = (-50..=49).map(f64::from).collect();
        // (0.1 × 101 - 1) / 100 of 100 errors are left outside.
        assert!((quantile(&sorted, 0.1, Side::Above, 1) - (49.0 - 9.1)).abs() < 1e-9);
        assert!((quantile(&sorted, 0.1, Side::Below, 1) - (-50.0 + 9.1)).abs() < 1e-9);
        // Errors that overlap are fewer: the interval is wider.
        assert!(quantile(&sorted, 0.1, Side::Above, 5) > quantile(&sorted, 0.1, Side::Above, 1));
        // Beyond the worst that was seen.
        assert!(quantile(&sorted, 0.001, Side::Above, 1) > 49.0);
        assert!(quantile(&sorted, -0.02, Side::Below, 1) < -50.0);
    }

    #[test]
    fn misses_widen_and_hits_narrow() {
        assert!(moved(0.05, 0.05, PACE, true) < 0.05);
        assert!(moved(0.05, 0.05, PACE, false) > 0.05);
    }

    #[test]
    fn too_few_errors_are_said_in_words() {
        let few = [Some(1.0); 10];
        assert_eq!(
            interval(&few, 1, 90).unwrap_err().why,
            "9 forecasts could be compared with what came, at least 11 are needed"
        );
        assert!(interval(&[Some(1.0); 13], 1, 90).is_ok());
        assert!(interval(&[None; 500], 1, 90).is_err());
    }
}
