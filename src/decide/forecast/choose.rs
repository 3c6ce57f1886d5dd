//! Which candidate is believed, by a rolling-origin back-test: at each origin the one that was best until then.
//!
//! A candidate has to beat the best of naive, MA15 and drift by a margin and by more than chance, or that baseline is taken.
//! The errors that are told, and that make the interval, are those of what was chosen *at the time*, so they hold the price
//! of choosing wrong too.

use crate::model::forecast::Backtest;
use crate::model::policy::ForecastMethod;

use super::candidates::{BASELINES, Candidate, candidates};
use super::grid::Grid;

/// How much smaller than a baseline's an error has to be.
const MARGIN: f64 = 0.02;
/// The first origins have seen nothing.
const WARM_UP: usize = 8;
/// Origins that have to be known before a choice counts as one.
const LEARNT_MIN: usize = 3;

/// What is believed, and how wrong that was.
#[derive(Clone, Debug)]
pub(super) struct Choice {
    /// What is believed now.
    pub candidate: Candidate,
    /// For each origin what came less what was said, where both are known and the choice was not blind.
    pub errors: Vec<Option<f64>>,
    /// How right it was, without the coverage.
    pub backtest: Backtest,
}

/// What a candidate did so far.
struct Record {
    said: Vec<f64>,
    /// The sum of its absolute errors.
    sum: f64,
    /// The same, over the origins that are told of.
    told: f64,
    /// The squares of the differences to each baseline's absolute errors.
    squares: [f64; 3],
}

/// Choose by what each would have said.
pub(super) fn choose(grid: &Grid, method: ForecastMethod) -> Choice {
    let count = grid.mean.len();
    let warm = WARM_UP.min(count / 4);
    let record =
        |candidate: &Candidate| Record { said: candidate.predict(grid, grid.ahead), sum: 0.0, told: 0.0, squares: [0.0; 3] };
    let candidates = candidates(grid, method);
    let mut records: Vec<Record> = candidates.iter().map(record).collect();
    let mut baselines: Vec<Record> = BASELINES.iter().map(record).collect();
    let mut errors = vec![None; count];
    let mut chosen = vec![0; count];
    let mut learnt = vec![0; count];
    for now in 0..count {
        learnt[now] = now.checked_sub(1).map_or(0, |before| learnt[before]);
        let known = |origin: &usize| *origin >= warm && grid.known[now] && grid.known[*origin];
        if let Some(origin) = now.checked_sub(grid.ahead).filter(known) {
            let counts = learnt[origin] >= LEARNT_MIN;
            learn(&mut records, &mut baselines, (origin, counts), grid.last[now]);
            errors[origin] = counts.then(|| grid.last[now] - records[chosen[origin]].said[origin]);
            learnt[now] += 1;
        }
        chosen[now] = best(&records, &baselines, method, grid.ahead);
    }
    let backtest = backtest(&errors, &baselines);
    Choice { candidate: candidates[chosen.last().copied().unwrap_or_default()], errors, backtest }
}

/// What came is known: how wrong was each at that origin?
fn learn(records: &mut [Record], baselines: &mut [Record], (origin, counts): (usize, bool), came: f64) {
    let miss = |record: &Record| (came - record.said[origin]).abs();
    let theirs: Vec<f64> = baselines.iter().map(miss).collect();
    for record in records {
        let mine = miss(record);
        record.sum += mine;
        for (square, other) in record.squares.iter_mut().zip(&theirs) {
            *square += (mine - other) * (mine - other);
        }
    }
    for (record, miss) in baselines.iter_mut().zip(theirs) {
        record.sum += miss;
        record.told += if counts { miss } else { 0.0 };
    }
}

/// The number of the best record.
fn best(records: &[Record], baselines: &[Record], method: ForecastMethod, ahead: usize) -> usize {
    let least = |of: &[Record]| (0..of.len()).min_by(|a, b| of[*a].sum.total_cmp(&of[*b].sum)).unwrap_or_default();
    match method {
        ForecastMethod::Linear | ForecastMethod::HoltWinters => return least(records),
        ForecastMethod::Auto => {}
    }
    let base = least(baselines);
    let goal = baselines[base].sum;
    // Errors of origins closer than the horizon share most of their chance: only every `ahead`th counts as one of its own.
    let good = |record: &Record| {
        let gain = goal - record.sum;
        gain > goal * MARGIN && gain > (record.squares[base] * ahead as f64).sqrt()
    };
    let better = (BASELINES.len()..records.len()).filter(|at| good(&records[*at]));
    better.min_by(|a, b| records[*a].sum.total_cmp(&records[*b].sum)).unwrap_or(base)
}

fn backtest(errors: &[Option<f64>], baselines: &[Record]) -> Backtest {
    let known = errors.iter().flatten().count();
    let sum: f64 = errors.iter().flatten().map(|error| error.abs()).sum();
    let mean = |sum: f64| sum / known.max(1) as f64;
    Backtest {
        points: u32::try_from(known).unwrap_or(u32::MAX),
        error: mean(sum),
        naive_error: mean(baselines[0].told),
        ma15_error: mean(baselines[1].told),
        drift_error: mean(baselines[2].told),
        coverage: 0.0,
    }
}
