//! The season of a series, found in the series: the lag at which it is most like itself.
//!
//! A season is taken only when the window holds it twice; it is a suggestion, which the back-test may still refuse.

/// Steps of the shortest season.
const STEPS_MIN: usize = 4;
/// How like itself a series is one season later, at least; 1 is equal.
const LIKENESS_MIN: f64 = 0.3;
/// A longer season is a multiple of a shorter one unless it is so much more alike.
const BETTER: f64 = 0.05;
/// Below this the series has left the neighbourhood of lag 0, where any smooth series is like itself.
const LEFT: f64 = 0.1;

/// Steps of the season, if there is one.
pub(super) fn season(values: &[f64]) -> Option<usize> {
    let rest = detrended(values);
    let power = rest.iter().map(|value| value * value).sum::<f64>() / rest.len().max(1) as f64;
    // Rounding errors of a constant or straight series have seasons too.
    if power < 1e-18 {
        return None;
    }
    let likeness: Vec<f64> = (0..=rest.len() / 2).map(|lag| autocovariance(&rest, lag) / power).collect();
    let start = likeness.iter().position(|value| *value < LEFT)?.max(STEPS_MIN);
    let mut best: Option<usize> = None;
    for lag in start..likeness.len().saturating_sub(1) {
        let here = likeness[lag];
        let peak = here >= likeness[lag - 1] && here >= likeness[lag + 1];
        if peak && here > LIKENESS_MIN && best.is_none_or(|best| here > likeness[best] + BETTER) {
            best = Some(lag);
        }
    }
    best
}

/// What is left of the values around the straight line through them.
fn detrended(values: &[f64]) -> Vec<f64> {
    let count = values.len().max(1) as f64;
    let (middle, mean) = ((count - 1.0) / 2.0, values.iter().sum::<f64>() / count);
    let (mut xy, mut xx) = (0.0, 0.0);
    for (at, value) in values.iter().enumerate() {
        xy += (at as f64 - middle) * value;
        xx += (at as f64 - middle) * (at as f64 - middle);
    }
    let slope = if xx > 0.0 { xy / xx } else { 0.0 };
    values.iter().enumerate().map(|(at, value)| value - mean - slope * (at as f64 - middle)).collect()
}

fn autocovariance(values: &[f64], lag: usize) -> f64 {
    let products = values[lag..].iter().zip(values).map(|(later, earlier)| later * earlier);
    products.sum::<f64>() / (values.len() - lag).max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_season_is_found_where_it_is_held_twice() {
        let wave = |period: f64, count: usize| -> Vec<f64> {
            (0..count).map(|at| 0.01 * at as f64 + (std::f64::consts::TAU * at as f64 / period).sin()).collect()
        };
        assert_eq!(season(&wave(24.0, 400)), Some(24));
        assert!(season(&wave(100.0, 400)).is_some_and(|found| found.abs_diff(100) <= 1));
        assert_eq!(season(&wave(300.0, 400)), None);
        let saw: Vec<f64> = (0..300).map(|at| f64::from(at % 18)).collect();
        assert_eq!(season(&saw), Some(18));
    }

    #[test]
    fn what_has_no_season_gets_none() {
        assert_eq!(season(&[]), None);
        assert_eq!(season(&[1.0]), None);
        assert_eq!(season(&[0.3; 200]), None);
        let line: Vec<f64> = (0..200).map(|at| 0.1 * f64::from(at)).collect();
        assert_eq!(season(&line), None);
    }
}
