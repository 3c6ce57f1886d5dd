//! What a forecast refuses, what it never does, and what it says of series whose end is known.
//!
//! Accuracy is beside it, in `heldout`.

mod heldout;
mod traces;

use proptest::prelude::*;

use super::*;
use crate::model::forecast::ForecastModel;
use crate::model::policy::ForecastMethod;
use traces::{BEGIN, Chance, Shape, trace};

const HALF_MINUTE: i64 = 30_000;
const NOW: Wall = Wall(BEGIN);

/// Samples every 30 s, the last one now.
fn series(count: i64, value: impl Fn(f64) -> f64) -> Vec<(Wall, f64)> {
    (0..count).map(|at| (Wall(NOW.0 - (count - 1 - at) * HALF_MINUTE), value(at as f64))).collect()
}

fn how(method: ForecastMethod) -> Forecast {
    Forecast { method, ..Forecast::default() }
}

fn auto() -> Forecast {
    how(ForecastMethod::Auto)
}

fn refusal(series: &[(Wall, f64)], how: &Forecast) -> String {
    forecast(series, how, NOW).expect_err("too little").why
}

#[test]
fn too_little_is_said_in_words() {
    let level = |count| series(count, |_| 5.0);
    assert_eq!(refusal(&[], &auto()), "no sample is known of the last 24h");
    assert_eq!(refusal(&level(29), &auto()), "29 samples are known, at least 30 are needed");
    assert_eq!(refusal(&level(61), &auto()), "the samples reach back 30m, a horizon of 10m needs 1h of them");
    let long = Forecast { horizon: Span::secs(5 * 3600), ..auto() };
    assert_eq!(refusal(&level(2880), &long), "a horizon of 5h needs 30h of samples, 24h are kept");
    let zero = Forecast { horizon: Span(0), ..auto() };
    assert_eq!(refusal(&level(2880), &zero), "a horizon of 0s is no future");
    let off = Forecast { enabled: false, ..auto() };
    assert_eq!(refusal(&level(2880), &off), "forecasting is switched off");
    let unknown = series(2880, |at| [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][at as usize % 3]);
    assert_eq!(refusal(&unknown, &auto()), "no sample is known of the last 24h");
    let old: Vec<(Wall, f64)> = level(2880).into_iter().map(|(at, value)| (Wall(at.0 - 86_400_001), value)).collect();
    assert_eq!(refusal(&old, &auto()), "no sample is known of the last 24h");
    let future: Vec<(Wall, f64)> = level(2880).into_iter().map(|(at, value)| (Wall(at.0 + 86_400_001), value)).collect();
    assert_eq!(refusal(&future, &auto()), "no sample is known of the last 24h");
    let silent: Vec<(Wall, f64)> = level(1440).into_iter().map(|(at, value)| (Wall(at.0 - 600_000), value)).collect();
    assert_eq!(refusal(&silent, &auto()), "the last sample is 10m old");
    let stacked: Vec<(Wall, f64)> = (0..100).map(|at| (Wall(NOW.0 - 3_600_000 * i64::from(at % 2)), 1.0)).collect();
    assert_eq!(refusal(&stacked, &auto()), "the samples stand at 2 different times, at least 30 are needed");
    assert!(forecast(&level(121), &auto(), NOW).is_ok());
}

#[test]
fn what_never_changed_stays_and_is_sure() {
    for method in [ForecastMethod::Auto, ForecastMethod::Linear, ForecastMethod::HoltWinters] {
        for level in [0.0, 7.5, -3.0, 1e300, 5e-324] {
            let said = forecast(&series(2880, |_| level), &how(method), NOW).unwrap();
            let near = |value: f64| (value - level).abs() <= level.abs() * 1e-9;
            assert!(near(said.value) && near(said.low) && near(said.high) && near(said.ma5) && near(said.ma15), "{said:?}");
            assert!(said.trend.abs() <= level.abs() * 1e-9 && said.season.is_none(), "{said:?}");
        }
    }
}

#[test]
fn a_straight_line_goes_on() {
    // 2 in a minute, for two hours: 240 + 20 in ten minutes.
    for method in [ForecastMethod::Auto, ForecastMethod::Linear] {
        let said = forecast(&series(241, |at| at), &how(method), NOW).unwrap();
        assert!((said.value - 260.0).abs() < 0.5 && said.high - said.low < 1.0, "{said:?}");
        assert!((said.trend - 2.0).abs() < 1e-9 && said.ma5 > said.ma15);
        assert_eq!(said.horizon, Span::secs(600));
        assert_eq!(said.path.last().map(|step| (step.at, step.value)), Some((Wall(NOW.0 + 600_000), said.value)));
    }
    // The means of a day's steps lag behind the line; what is said of its end does not.
    let said = forecast(&series(2880, |at| at), &auto(), NOW).unwrap();
    assert!((said.value - 2899.0).abs() < 1.0, "{said:?}");
}

#[test]
fn a_season_is_found_and_told() {
    let wave = series(2880, |at| 50.0 + 20.0 * (std::f64::consts::TAU * at / 240.0).sin());
    for method in [ForecastMethod::Auto, ForecastMethod::HoltWinters] {
        let said = forecast(&wave, &how(method), NOW).unwrap();
        let came = 50.0 + 20.0 * (std::f64::consts::TAU * (2879.0 + 20.0) / 240.0).sin();
        assert_eq!(said.season, Some(Span::secs(7200)));
        assert!((said.value - came).abs() < 2.0, "{came}: {said:?}");
        assert!(matches!(said.model, ForecastModel::HoltWinters | ForecastModel::SeasonalNaive | ForecastModel::Holt));
        assert!(said.backtest.error < said.backtest.naive_error / 2.0, "{said:?}");
    }
}

#[test]
fn the_backtest_counts_what_it_tells() {
    let said = forecast(&trace(Shape::Walk, 1, 24), &auto(), Wall(BEGIN + 86_400_000)).unwrap();
    let told = said.backtest;
    assert!(told.points > 400 && (80.0..=97.0).contains(&told.coverage), "{told:?}");
    assert!(told.error <= told.naive_error.min(told.ma15_error).min(told.drift_error) * 1.05, "{told:?}");
}

#[test]
fn more_confidence_is_a_wider_interval() {
    let series = trace(Shape::Day, 5, 24);
    let width = |confidence| {
        let said = forecast(&series, &Forecast { confidence, ..auto() }, Wall(BEGIN + 86_400_000)).unwrap();
        said.high - said.low
    };
    assert!(width(50) < width(80) && width(80) < width(95) && width(95) <= width(99));
    // A confidence that cannot be asked for is the nearest one that can.
    assert_eq!((width(0), width(255)), (width(1), width(99)));
}

#[test]
fn the_order_of_samples_does_not_matter_and_time_alone_counts() {
    let forwards = trace(Shape::Day, 6, 24);
    let now = Wall(BEGIN + 86_400_000);
    let said = forecast(&forwards, &auto(), now).unwrap();
    let backwards: Vec<(Wall, f64)> = forwards.iter().rev().copied().collect();
    assert_eq!(forecast(&backwards, &auto(), now).unwrap(), said);
    let mut more = forwards.clone();
    more.extend([(Wall(now.0 + 1), 1e9), (Wall(BEGIN - 1), 1e9), (Wall(BEGIN), f64::NAN), (Wall(i64::MIN), 1.0)]);
    assert_eq!(forecast(&more, &auto(), now).unwrap(), said);
}

#[test]
fn samples_further_apart_than_the_horizon_look_one_sample_ahead() {
    let sparse: Vec<(Wall, f64)> = (0..48).map(|at| (Wall(NOW.0 - at * 1_800_000), 100.0 - at as f64)).collect();
    let said = forecast(&sparse, &auto(), NOW).unwrap();
    assert_eq!(said.horizon, Span::secs(1800));
    assert!((said.value - 101.0).abs() < 0.5, "{said:?}");
}

// ---- early ----

#[test]
fn a_breach_that_comes_is_told_before_it_is_there() {
    let said = forecast(&series(241, |at| 60.0 + at / 10.0), &auto(), NOW).unwrap();
    // 84 now, 86 in ten minutes.
    let told = early(&said, 100.0, 85).unwrap();
    assert_eq!((told.threshold, told.confidence), (85, 90));
    assert!((240..=360).contains(&(told.after.0 / 1000)), "{told:?}");
    let words = told.to_string();
    assert!(words.contains(" expects more than 85% of the limit in ") && words.contains("up to 86%"), "{words}");
    assert_eq!(early(&said, 100.0, 95), None, "the line does not come so far");
    assert_eq!(early(&said, 100.0, 80), None, "it is there already: the checks count it");
    for limit in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(early(&said, limit, 85), None);
    }
}

#[test]
fn a_model_that_only_says_as_now_raises_nothing() {
    // A level, and one last sample far above it.
    let mut spike = series(2880, |at| 50.0 + 0.01 * Chance::new(at as u64).normal());
    spike.last_mut().unwrap().1 = 99.0;
    let mut said = forecast(&spike, &auto(), NOW).unwrap();
    assert_eq!(early(&said, 100.0, 85), None, "{said:?}");
    said = forecast(&series(241, |at| 60.0 + at / 10.0), &auto(), NOW).unwrap();
    assert!(early(&said, 100.0, 85).is_some());
    let worse = Prediction {
        backtest: crate::model::forecast::Backtest { error: 9.0, naive_error: 8.0, ..said.backtest },
        ..said.clone()
    };
    assert_eq!(early(&worse, 100.0, 85), None);
    for model in [ForecastModel::Naive, ForecastModel::Ma5, ForecastModel::Ma15] {
        assert_eq!(early(&Prediction { model, ..said.clone() }, 100.0, 85), None);
    }
}

// ---- pictures ----

#[test]
fn a_picture_joins_the_past_and_the_band() {
    let series = trace(Shape::Day, 7, 24);
    let now = Wall(BEGIN + 86_400_000);
    let said = forecast(&series, &auto(), now).unwrap();
    let drawn = picture(&series, &said);
    assert!((240..=480).contains(&drawn.past.len()));
    assert_eq!(drawn.past.last(), series.last());
    assert_eq!(drawn.middle.first(), Some(&(now, series[series.len() - 1].1)));
    assert_eq!(drawn.middle.last().map(|point| point.1), Some(said.value));
    assert_eq!((drawn.low.last().unwrap().1, drawn.high.last().unwrap().1), (said.low, said.high));
    assert_eq!(picture(&[], &said).past, []);
}

// ---- total ----

fn finite(said: &Prediction) -> bool {
    let told = said.backtest;
    let numbers = [said.ma5, said.ma15, said.trend, said.value, said.low, said.high, told.coverage];
    let errors = [told.error, told.naive_error, told.ma15_error, told.drift_error];
    numbers.iter().chain(&errors).all(|number| number.is_finite())
}

fn stamps() -> impl Strategy<Value = i64> {
    prop_oneof![
        8 => -86_400_000i64..=0,
        4 => (-2880i64..=0).prop_map(|at| at * HALF_MINUTE),
        2 => -60_000i64..=1000,
        1 => any::<i64>(),
    ]
}

fn values() -> impl Strategy<Value = f64> {
    prop_oneof![6 => -1e3..1e3f64, 2 => Just(0.0), 1 => any::<f64>(), 1 => prop_oneof![Just(f64::MAX), Just(f64::MIN), Just(5e-324)]]
}

fn wishes() -> impl Strategy<Value = Forecast> {
    let method = prop_oneof![Just(ForecastMethod::Auto), Just(ForecastMethod::Linear), Just(ForecastMethod::HoltWinters)];
    let horizon = prop_oneof![4 => 1u64..20_000_000, 1 => any::<u64>()];
    (method, horizon, any::<u8>(), 0u8..10).prop_map(|(method, horizon, confidence, off)| Forecast {
        enabled: off > 0,
        method,
        horizon: Span(horizon),
        confidence,
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_series_is_answered(
        samples in prop::collection::vec((stamps(), values()), 0..400),
        how in wishes(),
        now in prop_oneof![9 => Just(NOW.0), 1 => any::<i64>()],
        limit in values(),
    ) {
        let series: Vec<(Wall, f64)> = samples.into_iter().map(|(at, value)| (Wall(now.saturating_add(at)), value)).collect();
        match forecast(&series, &how, Wall(now)) {
            Err(little) => prop_assert!(!little.why.is_empty()),
            Ok(said) => {
                prop_assert!(said.low <= said.value && said.value <= said.high && finite(&said), "{:?}", said);
                prop_assert!(said.path.len() <= 24 && said.path.windows(2).all(|pair| pair[0].at <= pair[1].at));
                prop_assert!(said.path.iter().all(|step| step.low <= step.value && step.value <= step.high));
                let never_negative = series.iter().all(|(_, value)| *value >= 0.0);
                prop_assert!(!never_negative || said.low >= 0.0);
                let _ = early(&said, limit, 85);
                let _ = picture(&series, &said);
                prop_assert_eq!(&forecast(&series, &how, Wall(now)), &Ok(said.clone()));
            }
        }
    }
}
