//! What is expected of a target, and which of it is a reason to raise a limit before it is reached.
//!
//! An expected breach counts as one that is there: so many looks in a row, the cooldown and the bounds hold for it as for any
//! other. Nothing here lowers a limit, and where too little is known there is no reason at all.

use super::measure::Breach;
use super::rules::Rules;
use super::step;
use crate::decide::forecast::{early, forecast};
use crate::model::forecast::{Prediction, TooLittle};
use crate::model::limits::ChangeTrigger;
use crate::model::policy::{Amounts, PolicySpec, Resource};
use crate::model::policy_status::ForecastStatus;
use crate::model::time::Wall;
use crate::model::used::UsedWindow;

/// What is expected of every resource that the policy is about, from what was used; costs some milliseconds of CPU.
pub fn expected(spec: &PolicySpec, window: &UsedWindow, now: Wall) -> ForecastStatus {
    if !spec.forecast.enabled {
        return ForecastStatus { summary: "switched off".into(), ..ForecastStatus::default() };
    }
    let (mut status, mut words) = (ForecastStatus::default(), Vec::new());
    for of in step::about(spec) {
        match forecast(&window.series(of), &spec.forecast, now).and_then(sound) {
            Ok(prediction) => {
                words.push(sentence(of, &prediction));
                *slot(&mut status, of) = Some(prediction);
            }
            Err(why) => status.unknown.push(format!("{}: {why}", of.name())),
        }
    }
    words.extend(status.unknown.iter().map(|why| format!("not known: {why}")));
    status.summary = words.join("; ");
    status
}

/// What is not a number cannot be written, and would be no reason for anything.
fn sound(prediction: Prediction) -> Result<Prediction, TooLittle> {
    let Prediction { ma5, ma15, trend, value, low, high, backtest, .. } = &prediction;
    let errors = [backtest.error, backtest.naive_error, backtest.ma15_error, backtest.drift_error, backtest.coverage];
    let all = [*ma5, *ma15, *trend, *value, *low, *high].into_iter().chain(errors);
    if all.into_iter().all(f64::is_finite) {
        return Ok(prediction);
    }
    Err(TooLittle { why: "the samples are too far apart in size to reckon with".into() })
}

fn slot(status: &mut ForecastStatus, of: Resource) -> &mut Option<Prediction> {
    match of {
        Resource::Cpu => &mut status.cpu,
        Resource::Memory => &mut status.memory,
        Resource::Tasks => &mut status.tasks,
    }
}

fn sentence(of: Resource, prediction: &Prediction) -> String {
    let Prediction { horizon, value, low, high, confidence, .. } = prediction;
    let [value, low, high] = [*value, *low, *high].map(|amount| of.roughly(amount));
    format!("{} {value} in {horizon} ({low} to {high} at {confidence}%)", of.name())
}

/// The breaches that are expected, of resources that have none yet.
pub fn breaches(rules: &Rules, forecast: &ForecastStatus, limits: Amounts, about: &[Resource], found: &mut Vec<Breach>) {
    for of in about.iter().copied() {
        let (Some(prediction), Some(limit)) = (forecast.of(of), limits.of(of)) else { continue };
        if found.iter().any(|breach| breach.of == of) {
            continue;
        }
        if let Some(early) = early(prediction, of.in_series(limit), rules.shares(of).0) {
            found.push(Breach { of, trigger: ChangeTrigger::Forecast, why: format!("{}: {early}", of.name()) });
        }
    }
}
