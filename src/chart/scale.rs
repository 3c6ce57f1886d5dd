//! Axes: round numbers at even distances around what is shown, and how they are written.
//!
//! An axis always has a length and at least two marks, whatever it is given.

use super::Unit;
use crate::model::time::Span;

/// Steps of time that people count in, in seconds. Longer ones are round numbers of days.
const TIMES: [f64; 15] = [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1800.0, 3600.0, 10_800.0, 21_600.0];
const DAY: f64 = 86_400.0;
/// At most so many steps from one end to the other, and one or two for rounding.
const STEPS: f64 = 5.0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Time(Unit),
}

/// An axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Axis {
    pub low: f64,
    pub high: f64,
    step: f64,
    kind: Kind,
}

impl Axis {
    /// An axis of numbers, with zero on it.
    pub fn numbers(values: impl Iterator<Item = f64> + Clone) -> Axis {
        let whole = values.clone().all(|value| value.fract() == 0.0);
        let (low, high) = values.fold((0f64, 0f64), |(low, high), value| (low.min(value), high.max(value)));
        let step = round((high - low) / STEPS);
        Axis::around(low, high, if whole { step.max(1.0) } else { step }, Kind::Number)
    }

    /// An axis of time.
    pub fn time(values: impl Iterator<Item = f64>, unit: Unit) -> Axis {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (0.0, 1.0) } else { (low, high) };
        let wanted = (high - low) / STEPS;
        let days = || round(wanted / DAY).max(0.5) * DAY;
        let step = TIMES.into_iter().find(|step| *step >= wanted).unwrap_or_else(days);
        Axis::around(low, high, step, Kind::Time(unit))
    }

    fn around(low: f64, high: f64, step: f64, kind: Kind) -> Axis {
        let (low, high) = ((low / step).floor() * step, (high / step).ceil() * step);
        Axis { low, high: if high > low { high } else { low + step }, step, kind }
    }

    /// The marks, from one end to the other.
    pub fn marks(&self) -> Vec<f64> {
        let count = ((self.high - self.low) / self.step).round() as u32;
        (0..=count).map(|n| self.low + f64::from(n) * self.step).collect()
    }

    /// A mark in words.
    pub fn label(&self, value: f64) -> String {
        match self.kind {
            Kind::Number => number(value, self.step),
            Kind::Time(Unit::Seconds) => {
                let sign = if value < 0.0 { "-" } else { "" };
                format!("{sign}{}", Span::secs(value.abs().round() as u64))
            }
            Kind::Time(Unit::Wall) => self.stamp(value),
        }
    }

    fn stamp(&self, value: f64) -> String {
        let several_days = self.high - self.low > DAY;
        let format = match (self.step >= DAY, several_days, self.step >= 60.0) {
            (true, _, _) => "%Y-%m-%d",
            (false, true, _) => "%m-%d %H:%M",
            (false, false, true) => "%H:%M",
            (false, false, false) => "%H:%M:%S",
        };
        let stamp = jiff::Timestamp::from_second(value.round() as i64);
        stamp.map_or_else(|_| "?".into(), |stamp| stamp.strftime(format).to_string())
    }

    /// The marks in words.
    pub fn labels(&self) -> Vec<String> {
        self.marks().into_iter().map(|mark| self.label(mark)).collect()
    }
}

/// The next of 1, 2, 5, 10, 20, 50, …
fn round(wanted: f64) -> f64 {
    if wanted <= f64::EPSILON {
        return 1.0;
    }
    let power = 10f64.powf(wanted.log10().floor());
    let rounds = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power);
    rounds.into_iter().find(|round| *round >= wanted * (1.0 - 1e-9)).unwrap_or(power * 10.0)
}

fn number(value: f64, step: f64) -> String {
    let units = [(1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")];
    let (size, unit) = units.into_iter().find(|(size, _)| value.abs() >= *size && value.abs() >= 1e4).unwrap_or((1.0, ""));
    let places = (-(step / size).log10()).ceil().clamp(0.0, 9.0) as usize;
    // -0 is 0.
    format!("{:.places$}{unit}", value / size + 0.0)
}
