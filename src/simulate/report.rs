//! What a simulation comes to: totals, a table of at most two dozen rows, JSON, and a chart.
//!
//! Only counts and prints; what is counted happened in the world beside it.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::world::{Outcome, Sample};
use crate::chart::{Chart, Series, Unit};
use crate::model::time::{Span, Wall};

/// Rows of the table.
const ROWS_MAX: u64 = 24;

/// A simulation to be told of.
pub struct Report<'a> {
    /// The pool's name.
    pub pool: &'a str,
    /// When it begins, if the trace says.
    pub begin: Option<Wall>,
    /// A change in the other direction within this time is a reversal.
    pub window: Span,
    /// Samples are at least so far apart in the JSON and in the chart.
    pub step: Span,
    /// Tasks came in, so there are waits.
    pub closed: bool,
    /// What to know when reading it.
    pub notes: Vec<String>,
    /// What came of it.
    pub outcome: &'a Outcome,
}

impl Report<'_> {
    /// The table and the totals, for people.
    pub fn text(&self) -> String {
        let head = ["TIME", "DESIRED", "ACTUAL", "BUSY", "BACKLOG", "HELD BY"].map(str::to_owned);
        let rows = self.rows();
        let shown = rows.iter().map(|(at, sample)| {
            [
                self.time(*at),
                sample.desired.to_string(),
                sample.actual.to_string(),
                sample.busy.to_string(),
                number(sample.backlog),
                if sample.held.is_empty() { "-".into() } else { sample.held.join(", ") },
            ]
        });
        let mut out = columns([head].into_iter().chain(shown).collect());
        out.push('\n');
        for (name, value) in self.totals() {
            writeln!(out, "{name:<22}{value}").expect("writing to a string cannot fail");
        }
        for note in &self.notes {
            writeln!(out, "note: {note}").expect("writing to a string cannot fail");
        }
        out
    }

    fn totals(&self) -> Vec<(&'static str, String)> {
        let out = self.outcome;
        let mut rows = vec![
            ("simulated", rounded(out.end).to_string()),
            ("worker-seconds", number(out.worker_ms as f64 / 1000.0)),
            ("largest backlog", number(self.largest())),
            ("changes of size", out.changes.len().to_string()),
            ("reversals", format!("{} (within {})", self.reversals(), self.window)),
            ("time at the ceiling", format!("{} ({} %)", rounded(out.ceiling_ms), share(out.ceiling_ms, out.end))),
        ];
        if self.closed {
            let wait = |percent| percentile(&out.waits, percent).map_or_else(|| "-".into(), |ms| rounded(ms).to_string());
            rows.push(("waits p50, p95, p99", format!("{}, {}, {}", wait(50), wait(95), wait(99))));
            rows.push(("tasks begun, not done", format!("{}, {}", out.waits.len(), out.unfinished)));
        }
        if out.interrupted > 0 {
            rows.push(("tasks interrupted", out.interrupted.to_string()));
        }
        rows
    }

    /// Everything, for programs.
    pub fn json(&self) -> Value {
        let out = self.outcome;
        let wait = |percent| percentile(&out.waits, percent).map(|ms| ms as f64 / 1000.0);
        let waits = self.closed.then(|| {
            let (begun, unfinished) = (out.waits.len(), out.unfinished);
            json!({"begun": begun, "unfinished": unfinished, "waitSeconds": {"p50": wait(50), "p95": wait(95), "p99": wait(99)}})
        });
        let changes = out.changes.iter().map(|c| json!({"seconds": c.at as f64 / 1000.0, "from": c.from, "to": c.to}));
        let samples = self.thinned().into_iter().map(|s| {
            json!({
                "seconds": s.at as f64 / 1000.0, "desired": s.desired, "actual": s.actual, "busy": s.busy,
                "backlog": s.backlog, "heldBy": s.held,
            })
        });
        json!({
            "pool": self.pool,
            "begin": self.begin,
            "simulatedSeconds": out.end as f64 / 1000.0,
            "workerSeconds": out.worker_ms as f64 / 1000.0,
            "largestBacklog": self.largest(),
            "reversals": self.reversals(),
            "ceilingSeconds": out.ceiling_ms as f64 / 1000.0,
            "tasks": waits,
            "interrupted": out.interrupted,
            "changes": changes.collect::<Vec<_>>(),
            "samples": samples.collect::<Vec<_>>(),
            "notes": self.notes,
        })
    }

    /// Wanted and present workers over the backlog.
    pub fn chart(&self) -> Chart {
        let begin = self.begin.map_or(0.0, |wall| wall.0 as f64 / 1000.0);
        let samples = self.thinned();
        let end = begin + self.outcome.end as f64 / 1000.0;
        let series = |name: &str, step: bool, value: fn(&Sample) -> f64| {
            let mut points: Vec<(f64, f64)> = samples.iter().map(|s| (begin + s.at as f64 / 1000.0, value(s))).collect();
            points.extend(points.last().copied().filter(|(at, _)| *at < end).map(|(_, value)| (end, value)));
            Series { name: name.into(), points: if step { points } else { held(&points) }, step }
        };
        Chart {
            title: format!("{}: simulated", self.pool),
            unit: if self.begin.is_some() { Unit::Wall } else { Unit::Seconds },
            series: vec![
                series("desired", true, |s| f64::from(s.desired)),
                series("actual", true, |s| f64::from(s.actual)),
                series("backlog", false, |s| s.backlog),
            ],
        }
    }

    /// At most one sample, the last, of each step.
    fn thinned(&self) -> Vec<&Sample> {
        let mut kept: Vec<&Sample> = Vec::new();
        for sample in &self.outcome.samples {
            if kept.last().is_some_and(|last| sample.at / self.step.0.max(1) == last.at / self.step.0.max(1) && last.at > 0) {
                kept.pop();
            }
            kept.push(sample);
        }
        kept
    }

    /// How things stood at even times.
    fn rows(&self) -> Vec<(u64, &Sample)> {
        let end = self.outcome.end;
        let gap = round(end.div_ceil(ROWS_MAX - 2).max(1));
        let times = (0..ROWS_MAX).map(|n| n * gap).take_while(|at| *at < end).chain([end]);
        let at = |time: u64| {
            let after = self.outcome.samples.partition_point(|sample| sample.at <= time);
            self.outcome.samples.get(after.saturating_sub(1)).map(|sample| (time, sample))
        };
        times.filter_map(at).collect()
    }

    fn time(&self, at: u64) -> String {
        match self.begin {
            None => Span(at).to_string(),
            Some(begin) => {
                let wall = Wall(begin.0.saturating_add(i64::try_from(at).unwrap_or(i64::MAX))).to_string();
                wall.replace(".000Z", "Z")
            }
        }
    }

    fn largest(&self) -> f64 {
        self.outcome.samples.iter().map(|sample| sample.backlog).fold(0.0, f64::max)
    }

    fn reversals(&self) -> usize {
        let turned = |pair: &&[super::world::Change]| match pair {
            [before, now] => (before.to > before.from) != (now.to > now.from) && now.at - before.at <= self.window.0,
            _ => false,
        };
        self.outcome.changes.windows(2).filter(turned).count()
    }
}

/// What holds until it changes, as corners of an area.
fn held(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let mut corners: Vec<(f64, f64)> = Vec::with_capacity(points.len() * 2);
    for &(x, y) in points {
        if let Some(&(_, before)) = corners.last()
            && before != y
        {
            corners.push((x, before));
        }
        corners.push((x, y));
    }
    corners
}

/// A gap that people like, not below this one.
fn round(gap: u64) -> u64 {
    const NICE: [u64; 18] =
        [1, 5, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10_800, 21_600, 43_200, 86_400, 172_800, 604_800];
    NICE.iter().map(|seconds| seconds * 1000).find(|nice| *nice >= gap).unwrap_or(gap)
}

/// The value below or at which `percent` of all are: the nearest rank.
fn percentile(values: &[u64], percent: usize) -> Option<u64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

fn share(part: u64, whole: u64) -> u64 {
    (part * 100 + whole / 2).checked_div(whole).unwrap_or(0)
}

/// Milliseconds matter only below ten seconds.
fn rounded(ms: u64) -> Span {
    Span(if ms < 10_000 { ms } else { (ms + 500) / 1000 * 1000 })
}

fn number(value: f64) -> String {
    crate::model::reading::shown((value * 10.0).round() / 10.0)
}

/// Rows as aligned columns; the last is not padded.
fn columns(rows: Vec<[String; 6]>) -> String {
    let width = |n: usize| rows.iter().map(|row| row[n].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..6).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
        out.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::world::Change;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let values: Vec<u64> = (1..=100).rev().collect();
        assert_eq!([50, 95, 99].map(|percent| percentile(&values, percent)), [Some(50), Some(95), Some(99)]);
        assert_eq!(percentile(&[7], 99), Some(7));
        assert_eq!(percentile(&[], 50), None);
    }

    #[test]
    fn only_a_quick_change_back_is_a_reversal() {
        let change = |at, from, to| Change { at, from, to };
        let changes = vec![change(0, 1, 3), change(10_000, 3, 2), change(20_000, 2, 1), change(900_000, 1, 2)];
        let outcome = Outcome { changes, ..Outcome::default() };
        let window = Span::secs(300);
        let report =
            Report { pool: "p", begin: None, window, step: Span::secs(1), closed: false, notes: vec![], outcome: &outcome };
        assert_eq!(report.reversals(), 1);
    }
}
