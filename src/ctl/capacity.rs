//! What a capacity test measured, as data: one step for each parallelism, and how many workers follow from them.
//!
//! Pure: what ended, and when, goes in; figures, words and bars come out. No IO and no clock, so that the judgement can be tried on
//! numbers that nobody has to wait for.

use serde::Serialize;

use crate::model::quantity::Memory;
use crate::model::time::Span;

/// As good as the best: more parallelism for less than this share of the throughput is not worth it.
const AS_GOOD: f64 = 0.95;
/// A pool that ran less than this share of what was asked for did not give it.
const GIVEN: f64 = 0.8;
/// Cells of the longest bar.
const BAR: usize = 40;

/// A task that came to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// When, in milliseconds from the first submit of its step.
    pub at: u64,
    /// How long it ran, without its wait, in milliseconds.
    pub ran: u64,
    /// It succeeded.
    pub good: bool,
}

/// What the machine did meanwhile. Absent: not to be known on this host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HostUse {
    /// Busy, of all CPUs, in percent.
    pub cpu_percent: Option<f64>,
    /// The least that was left, in bytes.
    pub memory_available: Option<u64>,
    /// Of the time, somebody waited for CPU, in percent.
    pub cpu_pressure: Option<f64>,
    /// Of the time, somebody waited for memory, in percent.
    pub memory_pressure: Option<f64>,
    /// Of the time, somebody waited for disks, in percent.
    pub io_pressure: Option<f64>,
}

/// What one parallelism gave.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Step {
    /// Tasks that were in the pool at once.
    pub parallelism: u32,
    /// Tasks that ended.
    pub tasks: u32,
    /// Those of them that did not succeed.
    pub failures: u32,
    /// Tasks that succeeded, a minute.
    pub per_minute: f64,
    /// Half ran at most so long, in milliseconds.
    pub p50_ms: Option<u64>,
    /// 95 of 100 ran at most so long, in milliseconds.
    pub p95_ms: Option<u64>,
    /// Tasks that ran at once, on average.
    pub running: f64,
    /// The machine meanwhile.
    pub host: HostUse,
}

/// How many workers follow from the steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Advice {
    /// So many; absent: none can be recommended.
    pub max_replicas: Option<u32>,
    /// Why.
    pub why: String,
}

impl Step {
    /// The figures of a step, from its ends in any order.
    pub fn of(parallelism: u32, ended: &[Ended], host: HostUse) -> Step {
        let mut ended = ended.to_vec();
        ended.sort_by_key(|end| end.at);
        let mut ran: Vec<u64> = ended.iter().map(|end| end.ran).collect();
        ran.sort_unstable();
        let whole = ended.last().map_or(0, |last| last.at);
        let busy: u64 = ran.iter().sum();
        Step {
            parallelism,
            tasks: count(ended.len()),
            failures: count(ended.iter().filter(|end| !end.good).count()),
            per_minute: per_minute(parallelism, &ended),
            p50_ms: percentile(&ran, 50),
            p95_ms: percentile(&ran, 95),
            running: if whole == 0 { 0.0 } else { busy as f64 / whole as f64 },
            host,
        }
    }

    /// In percent of its tasks.
    pub fn failed_percent(&self) -> f64 {
        if self.tasks == 0 { 0.0 } else { 100.0 * f64::from(self.failures) / f64::from(self.tasks) }
    }

    /// What should be known of it before its figures are believed.
    pub fn doubt(&self) -> Option<String> {
        let few = self.running < GIVEN * f64::from(self.parallelism);
        few.then(|| {
            format!(
                "at {} only {:.1} ran at once on average: the pool gave no more, or its tasks are shorter than what is around them",
                self.parallelism, self.running
            )
        })
    }
}

fn count(n: usize) -> u32 {
    u32::try_from(n).unwrap_or(u32::MAX)
}

/// The first round starts workers and the last one runs out: where there are three rounds, what is between them is counted.
fn per_minute(parallelism: u32, ended: &[Ended]) -> f64 {
    let round = parallelism as usize;
    let (from, counted) = match ended.len().checked_sub(2 * round) {
        Some(rest) if round > 0 && rest >= round => (ended[round - 1].at, &ended[round..ended.len() - round]),
        Some(_) | None => (0, ended),
    };
    let rate = |from: u64, counted: &[Ended]| {
        let took = counted.last().map_or(0, |last| last.at.saturating_sub(from));
        let good = counted.iter().filter(|end| end.good).count();
        (took > 0).then(|| good as f64 * 60_000.0 / took as f64)
    };
    rate(from, counted).or_else(|| rate(0, ended)).unwrap_or(0.0)
}

/// The nearest rank of sorted numbers.
fn percentile(sorted: &[u64], percent: usize) -> Option<u64> {
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.max(1) - 1).copied()
}

/// The smallest parallelism that is as good as the best, of those where no more than so many percent failed.
pub fn advise(steps: &[Step], failed_max: f64) -> Advice {
    let good: Vec<&Step> = steps.iter().filter(|step| step.failed_percent() <= failed_max && step.per_minute > 0.0).collect();
    let Some(best) = good.iter().max_by(|a, b| a.per_minute.total_cmp(&b.per_minute)) else {
        let least = steps.iter().min_by(|a, b| a.failed_percent().total_cmp(&b.failed_percent()));
        let why = least.map_or_else(
            || "nothing was measured".into(),
            |least| {
                let (share, at) = (least.failed_percent(), least.parallelism);
                format!("at no parallelism {failed_max} % of the tasks or fewer failed; the fewest were {share:.0} %, at {at}")
            },
        );
        return Advice { max_replicas: None, why };
    };
    let knee = good.iter().find(|step| step.per_minute >= AS_GOOD * best.per_minute).unwrap_or(best);
    let mut why = if knee.parallelism == best.parallelism {
        format!("{} gives the most, {:.1} tasks/min", best.parallelism, best.per_minute)
    } else {
        format!(
            "{} gives {:.1} tasks/min, within 5 % of the most ({:.1}, at {})",
            knee.parallelism, knee.per_minute, best.per_minute, best.parallelism
        )
    };
    if steps.len() > 1 && steps.last().is_some_and(|last| last.parallelism == knee.parallelism) {
        why += "; it still rises at the highest that was tried: try more with --to";
    }
    if let Some(bad) = steps.iter().find(|step| step.failed_percent() > failed_max) {
        why += &format!("; {:.0} % failed at {}, more than {failed_max} %", bad.failed_percent(), bad.parallelism);
    }
    Advice { max_replicas: Some(knee.parallelism), why }
}

/// The heads of the table.
pub const HEADS: [&str; 11] =
    ["PARALLEL", "TASKS/MIN", "P50", "P95", "FAILED", "RUNNING", "CPU", "MEM-LEFT", "PSI-CPU", "PSI-MEM", "PSI-IO"];

/// A step as a row of the table.
pub fn row(step: &Step) -> Vec<String> {
    let unknown = || "-".to_owned();
    let percent = |number: Option<f64>| number.map_or_else(unknown, |number| format!("{number:.0}%"));
    let span = |ms: Option<u64>| ms.map_or_else(unknown, |ms| Span(ms).to_string());
    let host = &step.host;
    vec![
        step.parallelism.to_string(),
        format!("{:.1}", step.per_minute),
        span(step.p50_ms),
        span(step.p95_ms),
        format!("{}/{}", step.failures, step.tasks),
        format!("{:.1}", step.running),
        percent(host.cpu_percent),
        host.memory_available.map_or_else(unknown, |bytes| Memory(bytes >> 20 << 20).to_string()),
        percent(host.cpu_pressure),
        percent(host.memory_pressure),
        percent(host.io_pressure),
    ]
}

/// The throughput as bars, the recommended one with a mark. Readable without colours, at most 72 columns wide.
pub fn bars(steps: &[Step], advice: &Advice) -> String {
    let most = steps.iter().map(|step| step.per_minute).fold(0.0, f64::max);
    let bar = |step: &Step| {
        let share = if most > 0.0 { step.per_minute / most } else { 0.0 };
        let cells = "█".repeat((share * BAR as f64).round() as usize);
        let mark = if advice.max_replicas == Some(step.parallelism) { "  <- maxReplicas" } else { "" };
        format!("{:>4} {cells} {:.1}{mark}\n", step.parallelism, step.per_minute)
    };
    "tasks a minute, by how many at once\n".to_owned() + &steps.iter().map(bar).collect::<String>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `rounds` times so many tasks at once, each as long as that.
    fn even(parallelism: u32, rounds: u64, ran: u64) -> Vec<Ended> {
        (1..=rounds).flat_map(|round| (0..parallelism).map(move |_| Ended { at: round * ran, ran, good: true })).collect()
    }

    fn steps(rates: &[(f64, u32)]) -> Vec<Step> {
        let step = |(n, (per_minute, failures)): (usize, &(f64, u32))| Step {
            parallelism: count(n + 1),
            tasks: 20,
            failures: *failures,
            per_minute: *per_minute,
            ..Step::default()
        };
        rates.iter().enumerate().map(step).collect()
    }

    #[test]
    fn even_rounds_give_the_exact_rate() {
        for (parallelism, rounds) in [(1, 5), (4, 5), (4, 3), (4, 2), (4, 1)] {
            let step = Step::of(parallelism, &even(parallelism, rounds, 2000), HostUse::default());
            assert!((step.per_minute - 30.0 * f64::from(parallelism)).abs() < 1e-9, "{parallelism} {rounds}: {step:?}");
            assert!((step.running - f64::from(parallelism)).abs() < 1e-9 && step.doubt().is_none(), "{step:?}");
        }
    }

    #[test]
    fn a_slow_first_round_and_a_last_straggler_are_left_out() {
        let mut ended = even(2, 5, 1000);
        ended.iter_mut().for_each(|end| end.at += 60_000);
        ended.last_mut().expect("there is one").at += 60_000;
        let step = Step::of(2, &ended, HostUse::default());
        assert!((step.per_minute - 120.0).abs() < 1e-9, "{step:?}");
        assert!(step.doubt().is_some_and(|words| words.contains("at 2 only 0.1 ran at once")), "{step:?}");
    }

    #[test]
    fn percentiles_are_numbers_that_were_seen() {
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 95)), (Some(50), Some(95)));
        assert_eq!((percentile(&[7], 50), percentile(&[7], 95), percentile(&[], 50)), (Some(7), Some(7), None));
        assert_eq!((percentile(&[1, 9], 50), percentile(&[1, 9], 95)), (Some(1), Some(9)));
    }

    #[test]
    fn what_failed_is_no_throughput() {
        let mut ended = even(1, 4, 1000);
        ended[1].good = false;
        let step = Step::of(1, &ended, HostUse::default());
        assert_eq!((step.tasks, step.failures, step.failed_percent() as u32), (4, 1, 25));
        assert!((step.per_minute - 30.0).abs() < 1e-9, "{step:?}");
        assert_eq!(Step::of(3, &[], HostUse::default()).per_minute, 0.0);
        assert_eq!(Step::of(1, &[Ended { at: 0, ran: 0, good: true }], HostUse::default()).per_minute, 0.0);
    }

    #[test]
    fn the_knee_is_the_smallest_that_is_as_good_as_the_best() {
        for (rates, wanted, words) in [
            (vec![(10.0, 0), (19.5, 0), (20.0, 0), (18.0, 0)], Some(2), "within 5 % of the most (20.0, at 3)"),
            (vec![(10.0, 0), (20.0, 0), (15.0, 0)], Some(2), "2 gives the most"),
            (vec![(10.0, 0), (20.0, 0), (30.0, 0)], Some(3), "still rises at the highest that was tried"),
            (vec![(10.0, 0), (20.0, 0), (30.0, 2)], Some(2), "10 % failed at 3, more than 5 %"),
            (vec![(10.0, 1), (20.0, 0)], Some(2), "2 gives the most"),
            (vec![(10.0, 9), (10.0, 8)], None, "the fewest were 40 %, at 2"),
            (vec![(0.0, 0)], None, "at no parallelism"),
            (vec![(10.0, 0)], Some(1), "1 gives the most, 10.0 tasks/min"),
            (vec![], None, "nothing was measured"),
        ] {
            let advice = advise(&steps(&rates), 5.0);
            assert_eq!(advice.max_replicas, wanted, "{rates:?}: {advice:?}");
            assert!(advice.why.contains(words), "{rates:?}: {advice:?}");
        }
    }

    #[test]
    fn a_row_has_as_many_cells_as_heads_and_bars_fit_a_terminal() {
        let steps = steps(&[(123_456.7, 0), (60_000.0, 3)]);
        assert!(steps.iter().all(|step| row(step).len() == HEADS.len()));
        let host = HostUse { cpu_percent: Some(49.6), memory_available: Some((3 << 30) + 5), ..HostUse::default() };
        let cells = row(&Step { p50_ms: Some(1500), host, ..Step::default() });
        assert_eq!(cells[2..8], ["1s500ms", "-", "0/0", "0.0", "50%", "3Gi"]);
        let text = bars(&steps, &Advice { max_replicas: Some(2), why: String::new() });
        assert!(text.lines().all(|line| line.chars().count() <= 72), "{text}");
        assert!(text.contains(&format!("   2 {} 60000.0  <- maxReplicas\n", "█".repeat(19))), "{text}");
        assert!(bars(&[Step::default()], &Advice::default()).ends_with("   0  0.0\n"));
    }
}
