//! When a worker has run long enough, done enough or grown too large, and is to be replaced by a fresh one.
//!
//! Lifetimes and numbers of tasks are shortened by a share of their own for each run, so that workers that were started together
//! do not all go together. Nothing is looked at that the document does not ask for.

use super::{health, restart};
use crate::model::plan::Slot;
use crate::model::template::{Recycle, Template};
use crate::model::time::{Moment, Now, Span};
use crate::model::worker::Run;

/// Why a worker is worn out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Worn {
    /// It ran for its lifetime.
    Lifetime,
    /// It has done its number of tasks.
    Tasks,
    /// Its memory has grown above the bound.
    Memory,
}

impl Worn {
    /// In words.
    pub const fn words(self) -> &'static str {
        match self {
            Worn::Lifetime => "it reached recycle.maxLifetime",
            Worn::Tasks => "it has done recycle.maxTasks tasks",
            Worn::Memory => "its memory is above recycle.maxMemory",
        }
    }
}

/// Why the present run is to be replaced, if so.
pub fn worn(template: &Template, slot: &Slot, run: &Run, now: Now) -> Option<Worn> {
    let recycle = template.recycle.as_ref()?;
    let over = recycle.max_memory.is_some_and(|most| run.memory.is_some_and(|used| used > most));
    // One that is too large from its start would be replaced for ever, and none would ever get ready.
    let grown = health::ready(run, &slot.health, template) && now.mono.since(run.started) >= template.backoff.reset_after;
    let done = if slot.record.incarnation == run.incarnation { slot.record.tasks } else { 0 };
    if over && grown {
        Some(Worn::Memory)
    } else if most_tasks(template, run).is_some_and(|most| u64::from(done) >= most) {
        Some(Worn::Tasks)
    } else if lifetime_ends(template, run).is_some_and(|at| at <= now.mono) {
        Some(Worn::Lifetime)
    } else {
        None
    }
}

/// After how many tasks a run is to be replaced, if there is such a number.
pub fn most_tasks(template: &Template, run: &Run) -> Option<u64> {
    let recycle = template.recycle.as_ref()?;
    let most = recycle.max_tasks?;
    Some(shortened(recycle, u64::from(most), run).max(1))
}

/// When the lifetime of a run ends, if it has one.
pub fn lifetime_ends(template: &Template, run: &Run) -> Option<Moment> {
    let recycle = template.recycle.as_ref()?;
    let lifetime = recycle.max_lifetime?;
    Some(run.started.after(Span(shortened(recycle, lifetime.0, run))))
}

/// What is left of a bound when this run has lost its part of the jitter.
fn shortened(recycle: &Recycle, whole: u64, run: &Run) -> u64 {
    // 0..=400: how much of the share this run loses; as even as pid and run number are mixed.
    let lost = restart::jittered(Span(1000), (u64::from(run.pid.unsigned_abs()) << 20) ^ run.incarnation).0 - 800;
    let share = u128::from(whole) * u128::from(recycle.jitter.0) * u128::from(lost) / 40_000;
    whole - u64::try_from(share).unwrap_or(whole).min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::plan::Record;
    use crate::model::quantity::{Memory, Percent};
    use crate::model::template::{NotifyProbe, Probe};

    fn template(recycle: Recycle) -> Template {
        Template { recycle: Some(recycle), ..Template::default() }
    }

    const NOTHING: Recycle = Recycle { max_lifetime: None, max_tasks: None, max_memory: None, jitter: Percent(0) };

    fn slot(run: u64, tasks: u32) -> Slot {
        Slot { record: Record { incarnation: run, tasks, ..Record::default() }, ..Slot::default() }
    }

    fn run(incarnation: u64, memory: Option<u64>) -> Run {
        let memory = memory.map(Memory);
        Run { incarnation, pid: 7, started: Moment(1000), memory, ..Run::default() }
    }

    fn at(ms: u64) -> Now {
        Now { mono: Moment(ms), ..Now::default() }
    }

    #[test]
    fn each_bound_wears_out_and_only_beyond_itself() {
        let lifetime = template(Recycle { max_lifetime: Some(Span(500)), ..NOTHING });
        let tasks = template(Recycle { max_tasks: Some(3), ..NOTHING });
        let memory = template(Recycle { max_memory: Some(Memory(100)), ..NOTHING });
        let unready =
            Template { readiness_probe: Some(Probe { notify: Some(NotifyProbe {}), ..Probe::default() }), ..memory.clone() };
        let cases = [
            ("young", &lifetime, slot(1, 99), run(1, Some(999)), 1499, None),
            ("old", &lifetime, slot(1, 0), run(1, None), 1500, Some(Worn::Lifetime)),
            ("two tasks", &tasks, slot(1, 2), run(1, Some(999)), 9999, None),
            ("three tasks", &tasks, slot(1, 3), run(1, None), 1000, Some(Worn::Tasks)),
            ("three tasks of the run before", &tasks, slot(1, 3), run(2, None), 1000, None),
            ("as large as it may be", &memory, slot(1, 99), run(1, Some(100)), 700_000, None),
            ("too large", &memory, slot(1, 0), run(1, Some(101)), 601_000, Some(Worn::Memory)),
            ("too large from its start", &memory, slot(1, 0), run(1, Some(101)), 600_999, None),
            ("too large and not ready", &unready, slot(1, 0), run(1, Some(101)), 601_000, None),
            ("of a size that nobody knows", &memory, slot(1, 0), run(1, None), 601_000, None),
            ("no bound", &Template::default(), slot(1, 99), run(1, Some(999)), 99_999, None),
        ];
        for (name, template, slot, run, now, expected) in cases {
            assert_eq!(worn(template, &slot, &run, at(now)), expected, "{name}");
        }
    }

    #[test]
    fn memory_is_looked_at_only_where_it_is_bounded() {
        let memory = template(Recycle { max_memory: Some(Memory(100)), ..NOTHING });
        assert_eq!(health::look_due(&template(Recycle { max_tasks: Some(1), ..NOTHING }), &run(1, None)), None);
        assert_eq!(health::look_due(&Template::default(), &run(1, None)), None);
        assert_eq!(health::look_due(&memory, &run(1, None)), Some(Moment(31_000)));
        assert_eq!(health::look_due(&memory, &Run { refreshed: Some(Moment(40_000)), ..run(1, None) }), Some(Moment(70_000)));
    }

    #[test]
    fn runs_that_begin_together_do_not_go_together() {
        let recycle = Recycle { max_tasks: Some(1000), max_lifetime: Some(Span(1_000_000)), jitter: Percent(10), ..NOTHING };
        let of = |pid| Run { pid, ..run(1, None) };
        let tasks: Vec<u64> = (1..=50).map(|pid| shortened(&recycle, 1000, &of(pid))).collect();
        assert!(tasks.iter().all(|most| (900..=1000).contains(most)), "{tasks:?}");
        let mut apart = tasks.clone();
        apart.sort_unstable();
        apart.dedup();
        assert!(apart.len() > 20, "{tasks:?}");
        let ends = lifetime_ends(&template(recycle), &of(3)).expect("it ends");
        assert!((Moment(901_000)..=Moment(1_001_000)).contains(&ends), "{ends:?}");
        assert_eq!(shortened(&Recycle { jitter: Percent(10), ..NOTHING }, 5, &of(3)), 5, "of five tasks a tenth is none");
        let one = template(Recycle { max_tasks: Some(1), jitter: Percent(100), ..NOTHING });
        let idle = (1..=500).filter_map(|pid| worn(&one, &slot(1, 0), &of(pid), at(1000))).count();
        assert_eq!(idle, 0, "one that has done nothing is not worn by it");
    }
}
