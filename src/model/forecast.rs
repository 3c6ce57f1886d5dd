//! What a forecast says: a number to come, how sure it is, and how often the same way was right before.
//!
//! Plain data, made by `decide::forecast`. No unit is known here: the numbers are in the unit of the series that was given.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::time::{Span, Wall};

/// The way a forecast was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum ForecastModel {
    /// It stays as the last sample.
    Naive,
    /// It stays as the mean of the last five minutes.
    Ma5,
    /// It stays as the mean of the last fifteen minutes.
    Ma15,
    /// It goes on from the last sample as it went from the first to the last one.
    Drift,
    /// A straight line through a recent window, by least squares.
    Linear,
    /// Level and damped trend, both smoothed exponentially.
    Holt,
    /// Level, damped trend and additive season, all smoothed exponentially.
    HoltWinters,
    /// As it was one season ago.
    SeasonalNaive,
    /// It returns from the last sample towards the median.
    Reversion,
}

impl ForecastModel {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            ForecastModel::Naive => "Naive",
            ForecastModel::Ma5 => "MA5",
            ForecastModel::Ma15 => "MA15",
            ForecastModel::Drift => "Drift",
            ForecastModel::Linear => "Linear",
            ForecastModel::Holt => "Holt",
            ForecastModel::HoltWinters => "Holt-Winters",
            ForecastModel::SeasonalNaive => "Seasonal naive",
            ForecastModel::Reversion => "Reversion",
        }
    }

    /// It says that all stays as it is: it knows nothing of what is ahead.
    pub const fn holds_the_level(self) -> bool {
        match self {
            ForecastModel::Naive | ForecastModel::Ma5 | ForecastModel::Ma15 => true,
            ForecastModel::Drift
            | ForecastModel::Linear
            | ForecastModel::Holt
            | ForecastModel::HoltWinters
            | ForecastModel::SeasonalNaive
            | ForecastModel::Reversion => false,
        }
    }
}

/// A number to come, and how sure it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Prediction {
    /// When it was made.
    pub at: Wall,
    /// How far ahead it looks. Longer than asked where samples are further apart than the horizon.
    pub horizon: Span,
    /// How it was made.
    pub model: ForecastModel,
    /// The mean of the last five minutes.
    pub ma5: f64,
    /// The mean of the last fifteen minutes.
    pub ma15: f64,
    /// How much it rises in a minute: a straight line through the last fifteen minutes.
    pub trend: f64,
    /// The season that was found in the series.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub season: Option<Span>,
    /// What is expected at the horizon.
    pub value: f64,
    /// At `confidence` percent not below this; never above `value`.
    pub low: f64,
    /// At `confidence` percent not above this; never below `value`.
    pub high: f64,
    /// How sure the interval is, in percent: 1 to 99.
    pub confidence: u8,
    /// How right it was before.
    pub backtest: Backtest,
    /// The way to the horizon, at most 24 steps; the last one is the horizon.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub path: Vec<Step>,
}

/// One moment on the way to the horizon. Between now and the horizon the interval is drawn, not measured: it opens with the
/// square root of the time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// When.
    pub at: Wall,
    /// What is expected.
    pub value: f64,
    /// The lower end of the interval.
    pub low: f64,
    /// The upper end of the interval.
    pub high: f64,
}

/// How right forecasts would have been over the series, each made from what was known at its time only, the choice of the
/// model included. Errors are mean absolute errors at the horizon, in the unit of the series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Backtest {
    /// Forecasts that could be compared with what came.
    pub points: u32,
    /// The error of these forecasts.
    pub error: f64,
    /// The error of "as the last sample".
    pub naive_error: f64,
    /// The error of "as the mean of the last fifteen minutes".
    pub ma15_error: f64,
    /// The error of "on from the last sample as from the first to the last one".
    pub drift_error: f64,
    /// How many of the intervals held what came, in percent.
    pub coverage: f64,
}

/// Why nothing is forecast, in words for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TooLittle {
    /// A sentence without a full stop.
    pub why: String,
}

impl fmt::Display for TooLittle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// A breach that is expected, as a reason to raise a limit before it comes. Numbers are in percent of the limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Early {
    /// How it was found.
    pub model: ForecastModel,
    /// How far ahead the breach begins.
    pub after: Span,
    /// The most that is expected within the horizon.
    pub peak: f64,
    /// The interval at the horizon.
    pub low: f64,
    /// The interval at the horizon.
    pub high: f64,
    /// How sure that interval is, in percent.
    pub confidence: u8,
    /// Where a breach begins.
    pub threshold: u8,
}

impl fmt::Display for Early {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Early { model, after, peak, low, high, confidence, threshold } = self;
        let name = model.name();
        write!(f, "{name} expects more than {threshold}% of the limit in {after}, up to {peak:.0}%")?;
        write!(f, " ({low:.0}% to {high:.0}% at {confidence}% confidence)")
    }
}

/// A forecast as lines over time, ready for a chart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Picture {
    /// What was, thinned to at most 480 points.
    pub past: Vec<(Wall, f64)>,
    /// What is expected, from the last sample on.
    pub middle: Vec<(Wall, f64)>,
    /// The lower edge of the interval.
    pub low: Vec<(Wall, f64)>,
    /// The upper edge of the interval.
    pub high: Vec<(Wall, f64)>,
}
