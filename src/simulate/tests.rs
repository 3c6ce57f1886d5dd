//! Pools over virtual time against sizes and sums that were worked out by hand.
//! Every spec is a real document, so what is tested is what is written.

use std::collections::BTreeMap;

use super::trace::Point;
use super::world::{Feed, Outcome, Setup, run};
use super::*;

fn pool_of(spec: &str) -> PoolFacts {
    let text = format!(
        "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: web}}\nspec:\n{spec}\n  template: {{command: [a]}}"
    );
    let mut found = document::parse(text.as_bytes());
    match found.pop().expect("one document").expect("a good one").document {
        Document::WorkerPool(pool) => {
            let mut facts = facts(*pool);
            world::playable(&mut facts);
            facts
        }
        Document::ResourcePolicy(_) => unreachable!("it is a pool"),
    }
}

const SCALED: &str = "  scale:
    minReplicas: 1
    maxReplicas: 4
    triggers: [{exec: {command: [n]}, targetPerWorker: 5, pollingInterval: 10s, zeroConfirmations: 1}]
    behavior: {scaleUp: {policies: []}, scaleDown: {stabilizationWindow: 60s, idleTimeout: 0s}}";

fn points(all: &[(u64, f64)]) -> Vec<Point> {
    all.iter().map(|(seconds, value)| Point { at: seconds * 1000, value: *value }).collect()
}

fn setup(spec: &str, feed: Feed) -> Setup {
    Setup { facts: pool_of(spec), begin: Wall(0), feed, work: None, start_delay: 0, end: None }
}

fn reported(spec: &str, all: &[(u64, f64)]) -> Setup {
    setup(spec, Feed::Reported(BTreeMap::from([("exec".to_owned(), points(all))])))
}

fn arrivals(spec: &str, takes: u64, all: &[(u64, f64)]) -> Setup {
    Setup { work: Some(Work::constant(Span::secs(takes))), ..setup(spec, Feed::Arrivals(points(all))) }
}

fn sizes(outcome: &Outcome) -> Vec<u32> {
    let mut sizes: Vec<u32> = outcome.samples.iter().map(|sample| sample.desired).collect();
    sizes.dedup();
    sizes
}

#[test]
fn a_square_is_followed_up_at_once_and_down_after_the_window() {
    let outcome = run(&reported(SCALED, &[(0, 0.0), (100, 15.0), (300, 0.0), (600, 0.0)]));
    assert_eq!(sizes(&outcome), [1, 3, 1]);
    let [up, down] = outcome.changes.as_slice() else { panic!("{:?}", outcome.changes) };
    // A question is asked every 10 s, give or take a tenth.
    assert!((100_000..=111_000).contains(&up.at), "{up:?}");
    assert!((360_000..=371_000).contains(&down.at), "{down:?}");
    assert_eq!(outcome.worker_ms, 600_000 + 2 * (down.at - up.at), "one worker all the time, two more in between");
    assert_eq!((outcome.ceiling_ms, outcome.end), (0, 600_000));
}

#[test]
fn more_than_the_ceiling_is_held_there() {
    let outcome = run(&reported(SCALED, &[(0, 100.0), (50, 100.0)]));
    assert_eq!(sizes(&outcome), [4]);
    assert_eq!((outcome.ceiling_ms, outcome.worker_ms), (50_000, 200_000));
    assert!(outcome.samples.iter().any(|sample| sample.held.contains(&"maxReplicas".to_owned())));
}

#[test]
fn one_worker_does_tasks_one_after_the_other() {
    let outcome = run(&arrivals("  replicas: 1", 10, &[(0, 3.0)]));
    assert_eq!(outcome.waits, [0, 10_000, 20_000]);
    assert_eq!((outcome.end, outcome.worker_ms, outcome.unfinished), (30_000, 30_000, 0));
    let slow = Setup { start_delay: 5000, ..arrivals("  replicas: 2", 10, &[(0, 2.0)]) };
    let outcome = run(&slow);
    assert_eq!((outcome.waits.as_slice(), outcome.worker_ms), ([5000, 5000].as_slice(), 30_000), "starting is paid for");
}

#[test]
fn a_busy_worker_is_not_stopped_unless_the_spec_says_so() {
    // One short task among long ones: the window is over while the long ones still run.
    let tasks = &[(0, 20.0), (1000, 0.0)];
    let gentle = run(&arrivals(SCALED, 50, tasks));
    assert_eq!((gentle.interrupted, gentle.unfinished, gentle.waits.len()), (0, 0, 20));
    let shrinking = SCALED.replace("targetPerWorker: 5", "step: {up: {above: 10, by: 3}, down: {atMost: 10}}");
    let shrinking = shrinking.replace("idleTimeout: 0s", "idleTimeout: 0s, evictBusy: true");
    let rough = run(&arrivals(&shrinking, 50, tasks));
    assert!(rough.interrupted > 0 && rough.unfinished == 0, "{rough:?}");
}

#[test]
fn reported_work_keeps_workers_busy() {
    let busy = Setup { work: Some(Work::constant(Span::secs(200))), ..reported(SCALED, &[(0, 20.0), (20, 0.0), (400, 0.0)]) };
    let outcome = run(&busy);
    let last_busy = outcome.samples.iter().rev().find(|sample| sample.busy > 0).map(|sample| sample.actual);
    assert_eq!(last_busy, Some(4), "{:?}", outcome.samples);
    assert_eq!(outcome.samples.last().map(|sample| sample.actual), Some(1));
}

#[test]
fn twice_the_same_is_the_same() {
    let spread = Setup { work: Some("7s,p95=30s".parse().expect("reads")), ..arrivals(SCALED, 1, &[(0, 9.0), (60, 30.0)]) };
    assert_eq!(run(&spread), run(&spread));
    let never = Setup { end: Some(60_000), ..arrivals("  replicas: 0", 1, &[(0, 2.0)]) };
    assert_eq!((run(&never).unfinished, run(&never).end), (2, 60_000));
}
