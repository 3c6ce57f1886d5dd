//! The simulator: the engine as it is, in a world made of chance.
//!
//! One seed is one schedule: shims, processes, store, files and people are simulated, time is a number, and everything that can
//! fail does. What must never happen is looked for after every event, from what truly is; what must come true in the end is
//! looked for when nothing fails any more. `SIM_SEEDS` says how many schedules, `SIM_BASE` from which seed on.

#![allow(
    dead_code,
    clippy::wildcard_enum_match_arm,
    clippy::large_enum_variant,
    reason = "the world's own queue, matched in part and shown only in traces"
)]

mod checks;
mod host;
mod people;
mod queue;
mod random;
mod scaled;
mod schedule;
mod sizes;
mod slots;
mod sources;
mod specs;
mod world;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, Once};

use schedule::{Outcome, play};

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// The panic since the last look: the engine catches those of a turn, a schedule must not.
fn panicked() -> Option<String> {
    PANIC.take()
}

fn catch_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.set(Some(info.to_string()));
            if std::thread::current().name() != Some(PLAYER) {
                before(info);
            }
        }));
    });
}

/// The name of the threads that play: what panics there is told by its seed.
const PLAYER: &str = "player";

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

fn played(seed: u64, traced: bool) -> Outcome {
    let trace = Vec::new();
    std::panic::catch_unwind(|| play(seed, traced)).unwrap_or_else(|_| Outcome {
        violation: Some(panicked().unwrap_or_default()),
        trace,
        faults: BTreeMap::new(),
    })
}

/// Play every seed, on all cores; the failed ones and the faults that fired.
fn play_all(base: u64, count: u64) -> (Vec<(u64, String)>, BTreeMap<&'static str, u64>) {
    catch_panics();
    let next = AtomicU64::new(base);
    let found = Mutex::new((Vec::new(), BTreeMap::<&'static str, u64>::new()));
    let player = || {
        let mut faults = BTreeMap::<&'static str, u64>::new();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= base + count {
                break;
            }
            let outcome = played(seed, false);
            outcome.faults.into_iter().for_each(|(fault, times)| *faults.entry(fault).or_default() += times);
            if let Some(violation) = outcome.violation {
                found.lock().expect("no player panics").0.push((seed, violation));
            }
        }
        let all = &mut found.lock().expect("no player panics").1;
        faults.into_iter().for_each(|(fault, times)| *all.entry(fault).or_default() += times);
    };
    std::thread::scope(|scope| {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        for _ in 0..cores {
            std::thread::Builder::new().name(PLAYER.into()).spawn_scoped(scope, player).expect("threads can be made");
        }
    });
    let (mut failed, faults) = found.into_inner().expect("no player panics");
    failed.sort();
    (failed, faults)
}

#[test]
fn seeds_hold() {
    let (failed, _) = play_all(setting("SIM_BASE", 1), setting("SIM_SEEDS", 2000));
    let Some((seed, violation)) = failed.first() else { return };
    for line in &played(*seed, true).trace {
        println!("{line}");
    }
    for (seed, violation) in failed.iter().take(20) {
        println!("SIM_BASE={seed} SIM_SEEDS=1: {}", violation.lines().next().unwrap_or_default());
    }
    panic!("{} schedules do not hold; the first, seed {seed}: {violation}", failed.len());
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    catch_panics();
    for seed in 1..=50 {
        assert!(played(seed, true).trace == played(seed, true).trace, "seed {seed} plays differently the second time");
    }
}

#[test]
fn every_fault_fires() {
    let (_, faults) = play_all(1, 50);
    for fault in FAULTS {
        assert!(faults.get(fault).is_some_and(|times| *times > 0), "never: {fault}; fired: {faults:?}");
    }
    assert_eq!(faults.len(), FAULTS.len(), "a fault is not listed: {faults:?}");
}

const FAULTS: [&str; 30] = [
    "TERM is ignored",
    "a bad document",
    "a change is not heard",
    "a commit fails",
    "a fact is late",
    "a file cannot be read",
    "a file is made again",
    "a huge number",
    "a listing is late",
    "a number below zero",
    "a shim cannot be reached",
    "a shim is killed",
    "a slot is not listed",
    "a source fails",
    "a source hangs",
    "a sudden zero",
    "an answer is late",
    "an answer is old",
    "an unreadable directory",
    "another directory",
    "another weir kept the specs",
    "death is slow",
    "descendants linger",
    "exec fails",
    "half a file stands",
    "it ends by itself",
    "spawn fails",
    "the daemon is killed",
    "the machine has no room",
    "the machine is not known",
];
