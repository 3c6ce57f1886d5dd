//! Output is never lost: across rotation, daemon kills and restarts.

use std::fs;
use std::time::Duration;

use super::harness::{Scratch, wait};

/// Lines of 100 bytes at 5 MB/s for four seconds.
const LINES: usize = 200_000;

const PROGRAM: &str = "
import sys, time
began = time.time()
for n in range(int(sys.argv[1])):
    sys.stdout.write('%099d\\n' % n)
    if n % 5000 == 4999:
        sys.stdout.flush()
        time.sleep(max(0, began + n / 50000 - time.time()))
";

#[test]
fn numbered_lines_at_5_mb_s_survive_rotation_and_daemon_kills() {
    let mut scratch = Scratch::new();
    let program = scratch.dir.join("loud.py");
    fs::write(&program, PROGRAM).expect("written");
    let script = format!("[python3, {}, \"{LINES}\"]", program.display());
    let more = "    restartPolicy: Never\n    logs: {maxSize: 1Mi, maxFiles: 50, maxRate: 100Mi}\n";
    scratch.put("loud.yaml", &scratch.pool("loud", 1, &script, more));
    scratch.start();
    scratch.wait_workers(1);
    for _round in 0..4 {
        std::thread::sleep(Duration::from_millis(400));
        scratch.kill();
        std::thread::sleep(Duration::from_millis(200));
        scratch.start();
    }
    scratch.wait_status("workers", "loud-0", |status| status["status"]["phase"] == "Completed");
    let log =
        |n: usize| scratch.dir.join("state/logs/loud").join(if n == 0 { "loud-0.log".into() } else { format!("loud-0.log.{n}") });
    let files: Vec<_> = (0..50).map(log).take_while(|path| path.exists()).collect();
    assert!(files.len() > 10, "it was rotated: {}", files.len());
    let text: String = files.iter().rev().map(|path| fs::read_to_string(path).expect("text")).collect();
    let numbers: Vec<usize> = text.lines().map(|line| line.trim_start_matches('0').parse().unwrap_or(0)).collect();
    assert_eq!(numbers, (0..LINES).collect::<Vec<_>>(), "every line, once, in order");
}

#[test]
fn what_exceeds_the_rate_is_dropped_and_counted_and_never_stops_the_worker() {
    let mut scratch = Scratch::new();
    let done = scratch.dir.join("done");
    let script = format!(
        "[sh, -c, \"head -c 20000000 /dev/zero | tr '\\\\\\\\0' x; touch {}; sleep 1; echo; echo after; sleep 100000\"]",
        done.display()
    );
    scratch.put("loud.yaml", &scratch.pool("loud", 1, &script, "    logs: {maxSize: 1Mi, maxFiles: 3, maxRate: 64Ki}\n"));
    scratch.start();
    wait("the worker to have written", || done.exists().then_some(()), || scratch.log());
    wait(
        "the line about it",
        || {
            let text = fs::read_to_string(scratch.dir.join("state/logs/loud/loud-0.log")).unwrap_or_default();
            (text.contains("weir: dropped ") && text.contains("over 65536 bytes a second") && text.contains("after"))
                .then_some(())
        },
        || scratch.log(),
    );
}
