//! Output is never lost: across rotation, daemon kills and restarts.

use std::fs;
use std::time::Duration;

use super::harness::{Scratch, wait};
use super::tasks::ctl;

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

/// Prints, waits for a file, prints again, waits for another one, prints again: enough for a rotation between.
const PHASES: &str = "fill() { head -c 3000 /dev/zero | tr '\\\\0' x; echo; }; echo old; fill; until [ -e go ]; do sleep 0.05; done; echo new; \
    fill; until [ -e more ]; do sleep 0.05; done; echo newest; sleep 100000";

#[test]
fn lines_are_shown_from_a_time_on_and_with_their_times() {
    let mut scratch = Scratch::new();
    let dir = scratch.dir.display().to_string();
    let more = format!("    workingDir: {dir}\n    logs: {{maxSize: 4Ki, maxFiles: 3}}\n");
    scratch.put("slow.yaml", &scratch.pool("slow", 1, &format!("[bash, -c, \"{PHASES}\"]"), &more));
    scratch.start();
    let said = |words: &[&str]| {
        let output = ctl(&scratch, &[&["logs", "slow-0"], words].concat());
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).expect("text");
        text.lines().map(|line| line.trim_end_matches('x').to_owned()).filter(|line| !line.is_empty()).collect::<Vec<_>>()
    };
    let path = scratch.dir.join("state/logs/slow/slow-0.log");
    let shows = |word: &str| {
        let files = || [path.with_extension("log.1"), path.clone()].map(|file| fs::read_to_string(file).unwrap_or_default());
        let there = || files().concat().lines().any(|line| line == word);
        wait(word, || there().then_some(()), || scratch.log());
    };
    // What is known is known to the second.
    let passes = || {
        let began = std::time::Instant::now();
        wait("time", || (began.elapsed() > Duration::from_millis(2200)).then_some(()), String::new);
        jiff::Timestamp::now()
    };
    shows("old");
    let first = passes();
    fs::write(scratch.dir.join("go"), "").expect("written");
    shows("new");
    let second = passes();
    fs::write(scratch.dir.join("more"), "").expect("written");
    shows("newest");
    assert!(path.with_extension("log.1").exists(), "it was rotated");
    let bare = |lines: Vec<String>| lines.into_iter().filter(|line| !line.ends_with(' ')).collect::<Vec<_>>();
    assert_eq!(bare(said(&[])), ["old", "new", "newest"]);
    assert_eq!(bare(said(&["--since", "1h"])), ["old", "new", "newest"]);
    assert_eq!(bare(said(&["--since-time", &first.to_string()])), ["new", "newest"]);
    assert_eq!(bare(said(&["--since-time", &second.to_string()])), ["newest"]);
    assert_eq!(bare(said(&["--since-time", "2999-01-01T00:00:00Z"])), [""; 0]);
    assert_eq!(bare(said(&["--since-time", &first.to_string(), "--tail", "1"])), ["newest"]);
    let times: Vec<(jiff::Timestamp, String)> = bare(said(&["--timestamps"]))
        .iter()
        .map(|line| line.split_once(' ').expect("a time and a line"))
        .map(|(time, line)| (time.parse().expect("a time"), line.to_owned()))
        .collect();
    assert_eq!(times.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), ["old", "new", "newest"]);
    let second_before = |at: jiff::Timestamp| at - Duration::from_secs(1);
    assert!(times[0].0 < second_before(first), "{times:?} {first}");
    assert!(times[1].0 >= second_before(first) && times[1].0 < second_before(second), "{times:?} {first} {second}");
    assert!(times[2].0 >= second_before(second), "{times:?} {second}");
}

#[test]
fn fewer_files_remove_what_more_were_kept_for() {
    let mut scratch = Scratch::new();
    let script = "[bash, -c, \"while :; do printf '%0500d\\\\n' 0; sleep 0.01; done\"]";
    let pool = |scratch: &Scratch, files: u32| {
        scratch.pool("loud", 1, script, &format!("    logs: {{maxSize: 4Ki, maxFiles: {files}}}\n"))
    };
    scratch.put("loud.yaml", &pool(&scratch, 5));
    scratch.start();
    let dir = scratch.dir.join("state/logs/loud");
    wait("five files", || dir.join("loud-0.log.4").exists().then_some(()), || scratch.log());
    scratch.put("loud.yaml", &pool(&scratch, 2));
    let names = || {
        let mut names: Vec<_> = fs::read_dir(&dir).expect("there").flatten().map(|entry| entry.file_name()).collect();
        names.sort();
        names.into_iter().map(|name| name.into_string().expect("text")).collect::<Vec<_>>()
    };
    let logs = || names().into_iter().filter(|name| name.contains(".log") && !name.ends_with(".new")).collect::<Vec<_>>();
    let few = || logs().iter().all(|name| ["loud-0.log", "loud-0.log.1"].contains(&name.trim_end_matches(".times")));
    wait("two files", || few().then_some(()), || format!("{:?}\n{}", names(), scratch.log()));
}

#[test]
fn each_attempt_at_a_task_begins_with_a_line_of_its_own() {
    let mut scratch = Scratch::new();
    let queue = "  queue: {retry: {maxAttempts: 2, backoff: {initial: 10ms}}}\n";
    scratch.put("work.yaml", &scratch.pool("work", 1, "[bash, -c, \"printf attempt; exit 1\"]", queue));
    scratch.start();
    wait("a task", || ctl(&scratch, &["submit", "work"]).status.success().then_some(()), || scratch.log());
    let ended = || ctl(&scratch, &["wait", "task/1", "--for=condition=Dead", "--timeout=0s"]).status.success();
    wait("its end", || ended().then_some(()), || scratch.log());
    let log = fs::read_to_string(scratch.dir.join("state/logs/tasks/1.log")).expect("there");
    assert_eq!(log, "attempt\nattempt");
}
