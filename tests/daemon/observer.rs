//! An observer that is not weir: reads /proc every 10 ms and keeps what it saw.
//!
//! A worker's main process leads its session (weir starts each in one of its own) and carries the test's mark. Two at once
//! with one identity are a duplicate; one that lives on for 5 s though it is not wanted is an orphan; one whose pid changes
//! though it was meant to stay was restarted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::harness::alive;

const ORPHAN_AFTER: Duration = Duration::from_secs(5);

/// What was seen.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    pub looks: u64,
    pub duplicates: Vec<String>,
    pub orphans: BTreeSet<String>,
    pub changed: Vec<String>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// How many workers are wanted: ordinals below it.
    wanted: Mutex<usize>,
    /// Ordinals below this must never change their pid.
    staying: Mutex<usize>,
    findings: Mutex<Findings>,
}

pub struct Observer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Observer {
    /// Begin to look at the workers of `pool` that carry `mark`.
    pub fn new(mark: &str, pool: &str) -> Observer {
        let shared = Arc::new(Shared::default());
        let (theirs, mark, pool) = (shared.clone(), mark.to_owned(), pool.to_owned());
        let thread = std::thread::spawn(move || watch(&theirs, &mark, &pool));
        Observer { shared, thread: Some(thread) }
    }

    pub fn want(&self, wanted: usize) {
        *self.shared.wanted.lock().expect("whole") = wanted;
    }

    /// From now on the workers below this ordinal are meant to stay.
    pub fn stay(&self, staying: usize) {
        *self.shared.staying.lock().expect("whole") = staying;
    }

    pub fn end(mut self) -> Findings {
        self.shared.stop.store(true, Ordering::Release);
        self.thread.take().expect("once").join().expect("the observer lives");
        self.shared.findings.lock().expect("whole").clone()
    }
}

fn watch(shared: &Shared, mark: &str, pool: &str) {
    let mut pids: BTreeMap<String, i32> = BTreeMap::new();
    let mut unwanted: BTreeMap<i32, Instant> = BTreeMap::new();
    while !shared.stop.load(Ordering::Acquire) {
        let (wanted, staying) = (*shared.wanted.lock().expect("whole"), *shared.staying.lock().expect("whole"));
        let mut leaders: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for process in alive(mark).into_iter().filter(|process| process.leader) {
            leaders.entry(process.worker).or_default().push(process.pid);
        }
        let mut found = shared.findings.lock().expect("whole");
        found.looks += 1;
        let living: BTreeSet<i32> = leaders.values().flatten().copied().collect();
        unwanted.retain(|pid, _| living.contains(pid));
        for (worker, now) in leaders {
            if now.len() > 1 {
                found.duplicates.push(format!("{worker}: {now:?}"));
            }
            let ordinal: usize = worker.strip_prefix(&format!("{pool}-")).and_then(|n| n.parse().ok()).unwrap_or(usize::MAX);
            if ordinal >= wanted && unwanted.entry(now[0]).or_insert_with(Instant::now).elapsed() > ORPHAN_AFTER {
                found.orphans.insert(format!("{worker}: {}", now[0]));
            }
            if ordinal < wanted {
                unwanted.remove(&now[0]);
            }
            let before = pids.insert(worker.clone(), now[0]);
            if ordinal < staying && before.is_some_and(|before| before != now[0]) {
                found.changed.push(format!("{worker}: {before:?} -> {}", now[0]));
            }
        }
        drop(found);
        std::thread::sleep(Duration::from_millis(10));
    }
}
