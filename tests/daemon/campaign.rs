//! The daemon is killed again and again while a pool scales: nobody is doubled, orphaned or restarted.

use std::time::Duration;

use super::harness::Scratch;
use super::observer::Observer;
use super::random::Random;

/// Workers below this ordinal are wanted all the time.
const STAYING: u32 = 3;

fn rounds() -> u32 {
    std::env::var("WEIR_CAMPAIGN").ok().and_then(|n| n.parse().ok()).unwrap_or(15)
}

#[test]
fn killing_the_daemon_doubles_orphans_and_restarts_nobody() {
    let mut scratch = Scratch::new();
    let mut random = Random(20_261_121);
    scratch.put("web.yaml", &scratch.pool("web", STAYING, "", ""));
    let observer = Observer::new(&scratch.mark, "web");
    observer.want(8);
    scratch.start();
    scratch.wait_workers(STAYING as usize);
    observer.stay(STAYING as usize);
    for round in 0..rounds() {
        let wanted = if round % 2 == 0 { 8 } else { STAYING };
        scratch.put("web.yaml", &scratch.pool("web", wanted, "", ""));
        observer.want(if wanted == 8 { 8 } else { STAYING as usize });
        std::thread::sleep(Duration::from_millis(random.below(120)));
        scratch.kill();
        scratch.start();
        std::thread::sleep(Duration::from_millis(random.below(200)));
    }
    scratch.put("web.yaml", &scratch.pool("web", 5, "", ""));
    observer.want(5);
    scratch.wait_workers(5);
    let found = observer.end();
    println!("{} kills, {} looks: {found:?}", rounds(), found.looks);
    assert!(found.duplicates.is_empty() && found.orphans.is_empty() && found.changed.is_empty(), "{found:?}");
    assert!(found.looks > u64::from(rounds()), "the observer looked");
}
