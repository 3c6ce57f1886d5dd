//! Whether a limit should be raised before it is reached. There is no counterpart that lowers one: a forecast never does.
//!
//! The *middle* of the interval has to cross, that is: a breach is more likely than not. The lower end would be right more
//! often and useless, as it crosses when the breach is already there; the upper end would raise for noise. What raising
//! early costs is bounded by the bounds and the cooldown of the policy.

use crate::model::forecast::{Early, Prediction};
use crate::model::time::Span;

/// A breach of `percent` of `limit` (in the unit of the series) that is expected within the horizon and is not there yet.
///
/// Never by a model that only says "as now", since one high sample would then raise at once what the consecutive checks are
/// there to wait for; and never by one that would have been worse than "as the last sample".
pub fn early(prediction: &Prediction, limit: f64, percent: u8) -> Option<Early> {
    let threshold = limit * f64::from(percent) / 100.0;
    let blind = prediction.model.holds_the_level() || prediction.backtest.error > prediction.backtest.naive_error;
    if !threshold.is_finite() || threshold <= 0.0 || blind || prediction.ma5 >= threshold {
        return None;
    }
    let first = prediction.path.iter().find(|step| step.value >= threshold)?;
    let peak = prediction.path.iter().map(|step| step.value).fold(f64::MIN, f64::max);
    let after = u64::try_from(first.at.0.saturating_sub(prediction.at.0)).unwrap_or_default();
    let share = |value: f64| value / limit * 100.0;
    Some(Early {
        model: prediction.model,
        after: Span::secs(after / 1000),
        peak: share(peak),
        low: share(prediction.low),
        high: share(prediction.high),
        confidence: prediction.confidence,
        threshold: percent,
    })
}
