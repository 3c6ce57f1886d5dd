//! What tasks will need, from what tasks of their class needed: how long one runs and waits, how much memory a worker takes.
//!
//! A class of which little is known is answered for by the next wider one: label, class, pool. Pure, and absent where
//! nothing is known: a guess from nothing would look like knowledge.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::model::quantity::Memory;
use crate::model::time::Span;
use crate::model::workload::{Class, Figures, Needs, Recent};

/// Fewer finished tasks than this let the wider class answer, if it knows more.
const ENOUGH: usize = 10;
/// Waiting tasks that are dealt one by one; those behind them wait as if each were like the last of these.
const DEALT_MAX: usize = 10_000;

/// A task that has a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Running {
    /// Its class.
    pub class: Class,
    /// How long it has been running.
    pub since: Span,
}

/// Percentiles of sorted numbers by the nearest rank; none of no numbers.
pub fn figures(sorted: &[u64]) -> Option<Figures> {
    let rank = |percent: usize| (sorted.len() * percent).div_ceil(100).max(1) - 1;
    let at = |percent: usize| sorted.get(rank(percent)).copied();
    Some(Figures { count: sorted.len(), p50: at(50)?, p90: at(90)?, p95: at(95)? })
}

/// How long tasks of a class take, in milliseconds.
pub fn duration(needs: &Needs, class: &Class) -> Option<Figures> {
    figures(&known(needs, class, Recent::durations))
}

/// How much memory tasks of a class take at most, in bytes.
pub fn memory(needs: &Needs, class: &Class) -> Option<Figures> {
    figures(&known(needs, class, Recent::memory))
}

/// What a new worker should be expected to use for this class: what 95 of 100 tasks did not exceed, or, of few tasks, the most.
pub fn expected_memory(needs: &Needs, class: &Class) -> Option<Memory> {
    memory(needs, class).map(|figures| Memory(figures.p95))
}

/// How long a task waits that comes behind these. Nothing is known: none. No slot: nobody can say.
///
/// A walk through what would happen if each task took the median of its class: whoever is free first takes the next. A running
/// task is expected to go on as those did that ran as long already.
pub fn wait(needs: &Needs, running: &[Running], ahead: &[Class], slots: usize) -> Option<Span> {
    let slots = slots.max(running.len());
    let mut free: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
    for task in running {
        free.push(Reverse(remaining(needs, task)?));
    }
    free.extend((running.len()..slots.min(running.len() + ahead.len() + 1)).map(|_| Reverse(0)));
    let mut longest = 0;
    for class in ahead.iter().take(DEALT_MAX) {
        let Reverse(at) = free.pop()?;
        longest = duration(needs, class)?.p50;
        free.push(Reverse(at.saturating_add(longest)));
    }
    let Reverse(first) = free.pop()?;
    let rest = ahead.len().saturating_sub(DEALT_MAX) as u64 / slots.max(1) as u64;
    Some(Span::millis(first.saturating_add(rest.saturating_mul(longest))))
}

/// The median of what was left to those that ran as long already, in milliseconds. None did: it may end at any moment, zero.
fn remaining(needs: &Needs, task: &Running) -> Option<u64> {
    let durations = known(needs, &task.class, Recent::durations);
    let longer = &durations[durations.partition_point(|ran| *ran <= task.since.0)..];
    figures(&durations)?;
    Some(figures(longer).map_or(0, |figures| figures.p50 - task.since.0))
}

/// The numbers of the nearest class that knows enough, or else of the widest.
fn known(needs: &Needs, class: &Class, of: fn(&Recent) -> Vec<u64>) -> Vec<u64> {
    let mut widest = Vec::new();
    for recent in needs.nearest(class) {
        let numbers = of(recent);
        if numbers.len() >= ENOUGH {
            return numbers;
        }
        // A wider class holds what the narrower one holds, unless that was forgotten.
        if numbers.len() > widest.len() {
            widest = numbers;
        }
    }
    widest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::workload::{CLASSES_MAX, Needed, RECENT};

    fn class(class: &str, label: &str) -> Class {
        Class { class: class.into(), label: (!label.is_empty()).then(|| label.into()) }
    }

    fn needed(ran_ms: u64) -> Needed {
        Needed { ran_ms, memory: Some(Memory(ran_ms << 20)) }
    }

    fn learnt(tasks: &[(&str, &str, u64, usize)]) -> Needs {
        let mut needs = Needs::default();
        for (name, label, ran, times) in tasks {
            (0..*times).for_each(|_| needs.add(&class(name, label), needed(*ran)));
        }
        needs
    }

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        assert_eq!(figures(&[]), None);
        assert_eq!(figures(&[7]), Some(Figures { count: 1, p50: 7, p90: 7, p95: 7 }));
        let hundred: Vec<u64> = (1..=100).collect();
        assert_eq!(figures(&hundred), Some(Figures { count: 100, p50: 50, p90: 90, p95: 95 }));
    }

    #[test]
    fn a_class_answers_when_it_knows_enough_and_else_a_wider_one() {
        let needs = learnt(&[("build", "a", 100, 10), ("build", "b", 500, 9), ("chat", "", 9000, 30)]);
        let p50 = |name, label| duration(&needs, &class(name, label)).map(|figures| (figures.count, figures.p50));
        assert_eq!(p50("build", "a"), Some((10, 100)));
        assert_eq!(p50("build", "b"), Some((19, 100)), "nine are too few: the class answers");
        assert_eq!(p50("build", ""), Some((19, 100)));
        assert_eq!(p50("new", "x"), Some((49, 9000)), "the pool answers");
        assert_eq!(duration(&Needs::default(), &class("build", "a")), None);
        assert_eq!(expected_memory(&needs, &class("chat", "")), Some(Memory(9000 << 20)));
    }

    #[test]
    fn what_was_not_measured_is_not_zero() {
        let mut needs = Needs::default();
        (0..50).for_each(|_| needs.add(&class("a", ""), Needed { ran_ms: 5, memory: None }));
        assert_eq!(expected_memory(&needs, &class("a", "")), None);
        needs.add(&class("a", ""), Needed { ran_ms: 5, memory: Some(Memory(3)) });
        assert_eq!(memory(&needs, &class("a", "")), Some(Figures { count: 1, p50: 3, p90: 3, p95: 3 }));
    }

    #[test]
    fn memory_of_the_past_is_bounded() {
        let mut needs = learnt(&[("old", "", 1, 1)]);
        for number in 0..CLASSES_MAX {
            needs.add(&class(&format!("c{number}"), ""), needed(2));
        }
        assert_eq!(needs.classes().count(), CLASSES_MAX);
        assert!(needs.classes().all(|(known, _)| known.class != "old"), "the one not seen for longest is forgotten");
        (0..3 * RECENT).for_each(|_| needs.add(&class("c7", "x"), needed(9)));
        assert_eq!(needs.classes().count(), CLASSES_MAX);
        let figures = duration(&needs, &class("c7", "x")).unwrap();
        assert_eq!((figures.count, figures.p50), (RECENT, 9));
    }

    #[test]
    fn who_comes_first_is_dealt_first() {
        let needs = learnt(&[("short", "", 1000, 10), ("long", "", 60_000, 10)]);
        let (short, long) = (class("short", ""), class("long", ""));
        let at = |running: &[Running], ahead: &[Class], slots| wait(&needs, running, ahead, slots).map(|span| span.0);
        let run = |class: &Class, since| Running { class: class.clone(), since: Span::millis(since) };
        assert_eq!(at(&[], &[], 1), Some(0));
        assert_eq!(at(&[], &[], 0), None, "no slot, no answer");
        assert_eq!(at(&[run(&long, 20_000)], &[], 1), Some(40_000));
        assert_eq!(at(&[run(&long, 20_000)], &[], 2), Some(0));
        assert_eq!(at(&[run(&long, 90_000)], &[], 1), Some(0), "longer than any other: it may end at once");
        assert_eq!(at(&[run(&long, 0)], &[short.clone(), short.clone()], 2), Some(2000));
        assert_eq!(at(&[], &[long.clone(), short.clone(), short.clone()], 2), Some(2000));
        assert_eq!(at(&[], &vec![short.clone(); 2 * DEALT_MAX], 10), Some(2_000_000));
        assert_eq!(wait(&Needs::default(), &[], std::slice::from_ref(&short), 1), None, "nothing is known of it");
    }
}
