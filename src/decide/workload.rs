//! What tasks will need, from what tasks of their class needed: how long one runs and waits, how much memory a worker takes.
//!
//! A class of which little is known is answered for by the next wider one: label, class, pool. Pure, and absent where
//! nothing is known: a guess from nothing would look like knowledge.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use crate::model::quantity::Memory;
use crate::model::time::Span;
use crate::model::workload::{Class, ENOUGH, Figures, Needs, Recent};

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

/// What a new worker should be expected to use of which it is not known what it will do: the same of all tasks of its pool.
pub fn expected_of_any(recent: &Recent) -> Option<Memory> {
    figures(&recent.memory()).map(|figures| Memory(figures.p95))
}

/// How long each of these that wait will wait, in milliseconds, in their order, and then one that comes behind all of them.
/// Nothing is known: none. No slot: nobody can say.
///
/// A walk through what would happen if each task took the median of its class: whoever is free first takes the next. A running
/// task is expected to go on as those did that ran as long already.
pub fn starts(needs: &Needs, running: &[Running], waiting: &[Class], slots: usize) -> Option<Vec<u64>> {
    let slots = slots.max(running.len());
    let mut free: BinaryHeap<Reverse<u64>> = BinaryHeap::new();
    for task in running {
        free.push(Reverse(remaining(needs, task)?));
    }
    free.extend((running.len()..slots.min(running.len() + waiting.len() + 1)).map(|_| Reverse(0)));
    let mut medians: BTreeMap<&Class, u64> = BTreeMap::new();
    let mut all = Vec::with_capacity(waiting.len() + 1);
    for class in waiting {
        let median = match medians.get(class) {
            Some(median) => *median,
            None => duration(needs, class)?.p50,
        };
        medians.insert(class, median);
        let Reverse(at) = free.pop()?;
        all.push(at);
        free.push(Reverse(at.saturating_add(median)));
    }
    let Reverse(behind) = free.pop()?;
    all.push(behind);
    Some(all)
}

/// How those wait that are behind all whose waits were worked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// The line was longer than was looked at: as if it went on like that.
    Alike,
    /// It was looked at to its end, and these came after: as many rounds of so many workers, each of so many milliseconds.
    Rounds(u32, u64),
}

/// How long the task at this place waits, 1 being the next, where it is known how long the first of them do.
pub fn at(starts: &[u64], position: u64, behind: Behind) -> Option<Span> {
    let place = position.saturating_sub(1);
    let last_place = starts.len().checked_sub(1)? as u64;
    if let Some(start) = usize::try_from(place).ok().and_then(|place| starts.get(place)) {
        return Some(Span::millis(*start));
    }
    let (last, more) = (*starts.last()?, u128::from(place - last_place));
    let more = match behind {
        Behind::Alike => u128::from(last) * more / u128::from(last_place.max(1)),
        Behind::Rounds(workers, each) => u128::from(each) * more / u128::from(workers.max(1)),
    };
    Some(Span::millis(last.saturating_add(u64::try_from(more).unwrap_or(u64::MAX))))
}

/// The median of what was left to those that ran as long already, in milliseconds. None did: it may end at any moment, zero.
fn remaining(needs: &Needs, task: &Running) -> Option<u64> {
    let durations = known(needs, &task.class, Recent::durations);
    let longer = &durations[durations.partition_point(|ran| *ran <= task.since.0)..];
    figures(&durations)?;
    Some(figures(longer).map_or(0, |figures| figures.p50 - task.since.0))
}

/// The numbers of the nearest class that knows [`ENOUGH`], or else of the widest.
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
    use crate::model::task::{End, EndReason};
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

    /// What was learnt afterwards stands before what is known, and takes nothing from it.
    #[test]
    fn learnt_afterwards_from_the_last_to_the_first_is_as_if_it_had_been_seen() {
        let class_of = |n: u64| class(["a", "b", "c"][n as usize % 3], ["", "x"][n as usize % 2]);
        for (old, new) in [(0, 5), (5, 0), (150, 100), (700, 3), (30, 700)] {
            let (mut seen, mut after) = (Needs::default(), Needs::default());
            (0..old + new).for_each(|n| seen.add(&class_of(n), needed(n)));
            (old..old + new).for_each(|n| after.add(&class_of(n), needed(n)));
            (0..old).rev().for_each(|n| after.add_before(&class_of(n), needed(n)));
            let same = |class: &Class| (duration(&seen, class), seen.count()) == (duration(&after, class), after.count());
            assert!((0..6).all(|n| same(&class_of(n))) && same(&class("new", "")), "{old} before {new}");
        }
        let mut full = Needs::default();
        (0..CLASSES_MAX).for_each(|n| full.add(&class(&format!("c{n}"), ""), needed(2)));
        full.add_before(&class("old", ""), needed(1));
        assert!(full.classes().count() == CLASSES_MAX && full.classes().all(|(known, _)| known.class != "old"));
        let mut few = Needs::default();
        few.add_before(&class("last", ""), needed(1));
        (1..CLASSES_MAX).for_each(|n| few.add_before(&class(&format!("c{n}"), ""), needed(1)));
        few.add(&class("now", ""), needed(1));
        let oldest = format!("c{}", CLASSES_MAX - 1);
        assert!(few.classes().all(|(known, _)| known.class != oldest), "the one not seen for longest goes first");
    }

    #[test]
    fn an_attempt_that_was_not_made_to_an_end_of_its_own_needed_nothing() {
        let of = |reason, memory_bytes| Needed::of(&End { reason, ran_ms: 7, memory_bytes, ..End::default() });
        for reason in [EndReason::Done, EndReason::Failed, EndReason::Again, EndReason::Timeout, EndReason::WorkerLost] {
            assert_eq!(of(reason, Some(3)), Some(Needed { ran_ms: 7, memory: Some(Memory(3)) }), "{reason:?}");
        }
        for reason in [EndReason::NotStarted, EndReason::Unfit, EndReason::Returned, EndReason::Cancelled, EndReason::Expired] {
            assert_eq!(of(reason, Some(3)), None, "{reason:?}");
        }
        assert_eq!(of(EndReason::Done, None).and_then(|needed| needed.memory), None);
    }

    #[test]
    fn who_comes_first_is_dealt_first() {
        let needs = learnt(&[("short", "", 1000, 10), ("long", "", 60_000, 10)]);
        let (short, long) = (class("short", ""), class("long", ""));
        let at = |running: &[Running], ahead: &[Class], slots| starts(&needs, running, ahead, slots)?.pop();
        let run = |class: &Class, since| Running { class: class.clone(), since: Span::millis(since) };
        assert_eq!(at(&[], &[], 1), Some(0));
        assert_eq!(at(&[], &[], 0), None, "no slot, no answer");
        assert_eq!(at(&[run(&long, 20_000)], &[], 1), Some(40_000));
        assert_eq!(at(&[run(&long, 20_000)], &[], 2), Some(0));
        assert_eq!(at(&[run(&long, 90_000)], &[], 1), Some(0), "longer than any other: it may end at once");
        assert_eq!(at(&[run(&long, 0)], &[short.clone(), short.clone()], 2), Some(2000));
        assert_eq!(at(&[], &[long.clone(), short.clone(), short.clone()], 2), Some(2000));
        let all = starts(&needs, &[run(&long, 20_000)], &[short.clone(), long.clone(), short.clone()], 1);
        assert_eq!(all, Some(vec![40_000, 41_000, 101_000, 102_000]), "each of them, and who comes behind");
        assert_eq!(starts(&Needs::default(), &[], std::slice::from_ref(&short), 1), None, "nothing is known of it");
    }

    #[test]
    fn those_that_were_not_looked_at_wait_as_if_it_went_on_like_that() {
        let starts = [0, 0, 1000, 1000, 2000];
        let waits: Vec<_> = [0, 1, 3, 5, 9, 401].map(|position| at(&starts, position, Behind::Alike).map(|span| span.0)).into();
        assert_eq!(waits, [Some(0), Some(0), Some(1000), Some(2000), Some(4000), Some(200_000)]);
        assert_eq!(at(&[], 1, Behind::Alike), None);
        assert_eq!(at(&[u64::MAX], u64::MAX, Behind::Alike), Some(Span::millis(u64::MAX)), "nothing overflows");
        assert_eq!(at(&[7], 1, Behind::Alike), Some(Span::millis(7)));
        // Those that came after a walk to the end wait in rounds of the workers: ten, a minute each.
        let came_after = |starts: &[u64], position| at(starts, position, Behind::Rounds(10, 60_000)).map(|span| span.0);
        assert_eq!([came_after(&[0, 0], 2), came_after(&[0, 0], 92)], [Some(0), Some(540_000)]);
        assert_eq!(came_after(&[40_000], 21), Some(160_000));
        assert_eq!(at(&[u64::MAX, 5], u64::MAX, Behind::Rounds(0, u64::MAX)), Some(Span::millis(u64::MAX)), "nothing overflows");
    }

    #[test]
    fn a_task_is_of_where_it_came_from_and_of_what_its_key_begins_with() {
        let class = |key| Class::of("submit", key);
        assert_eq!(class(Some("fix:org/repo:12")), Class { class: "submit".into(), label: Some("fix:org/repo".into()) });
        assert_eq!((class(Some("plain")).label, class(None).label), (None, None));
    }
}
