//! Tasks under a hail of kills: daemons, workers and shims are killed and stopped while tasks are submitted and run. No task is lost,
//! none is stuck, none is doubled, and no two runs of one overlap, as seen from a file that the tasks write themselves.
//!
//! `WEIR_TASKS=N` sets how many tasks there are (default 300, with six rounds of kills). From 600 on there is a kill of a daemon and one
//! of a worker for every hundred of them, and a stop for every two hundred: 20000 is the whole campaign.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::harness::{Process, Scratch, alive, signal, wait};
use super::random::Random;
use super::socket;

/// Tasks of one submit.
const BATCH: usize = 25;
/// Tasks that are submitted before those that have ended.
const AHEAD: usize = 500;

/// Notes its beginning and its end, each in one write; every sixteenth task takes a while, so that kills find somebody.
const WORK: &str = r#"
echo "begin $WEIR_TASK_ID $$" >> "$1/notes"
[ $((WEIR_TASK_ID % 16)) = 0 ] && sleep 0.2
echo "end $WEIR_TASK_ID $$" >> "$1/notes"
"#;

fn wanted() -> usize {
    std::env::var("WEIR_TASKS").ok().and_then(|n| n.parse().ok()).unwrap_or(300)
}

/// What the tasks have written, as far as it was read.
#[derive(Default)]
struct Notes {
    read: u64,
    text: String,
    ends: usize,
}

impl Notes {
    /// Read on; how many ends there are.
    fn ends(&mut self, scratch: &Scratch) -> usize {
        if let Ok(mut file) = fs::File::open(scratch.dir.join("notes")) {
            let from = self.text.len();
            file.seek(SeekFrom::Start(self.read)).expect("sought");
            self.read += file.read_to_string(&mut self.text).expect("text") as u64;
            self.ends += self.text[from..].matches("end ").count();
        }
        self.ends
    }
}

/// How often each task began and ended, and those of which a run went on when a later one had begun.
fn judge(notes: &str) -> (BTreeMap<u64, u32>, BTreeMap<u64, u32>, Vec<String>) {
    let (mut begun, mut ended, mut last) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut overlaps = Vec::new();
    for line in notes.lines() {
        let words: Vec<&str> = line.split(' ').collect();
        let [verb, id, pid] = words[..] else { panic!("a torn line: {line:?}") };
        let (id, pid): (u64, u32) = (id.parse().expect("a number"), pid.parse().expect("a number"));
        if verb == "begin" {
            *begun.entry(id).or_default() += 1;
            last.insert(id, pid);
        } else {
            *ended.entry(id).or_default() += 1;
            if last.get(&id) != Some(&pid) {
                overlaps.push(line.to_owned());
            }
        }
    }
    (begun, ended, overlaps)
}

fn parent(pid: i32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// The shim of a worker.
fn shim(worker: &Process) -> Option<u32> {
    let shim = parent(worker.pid)?;
    let name = fs::read_to_string(format!("/proc/{shim}/comm")).ok()?;
    (name.trim() == "weir-shim").then_some(shim)
}

struct Campaign {
    scratch: Scratch,
    random: Random,
    notes: Notes,
    /// Daemons, workers, shims killed; processes stopped.
    done: [u32; 4],
}

impl Campaign {
    fn start(&mut self) {
        let socket = socket::of(&self.scratch.dir);
        self.scratch.start();
        let shown = || socket::ask(&socket, "GET", "/v1/pools/work/capacity", &Value::Null).filter(|(status, _)| *status == 200);
        wait("the pool", shown, || self.scratch.log());
    }

    fn kill_daemon(&mut self) {
        self.scratch.kill();
        // Now and then something happens while nobody looks.
        if self.random.below(3) == 0 {
            self.kill_worker();
        }
        std::thread::sleep(Duration::from_millis(self.random.below(40)));
        self.start();
        self.done[0] += 1;
    }

    /// Some worker that runs for longer than a moment, if there is one soon.
    fn worker(&mut self) -> Option<Process> {
        let leads = |mark: &str| -> Vec<Process> { alive(mark).into_iter().filter(|process| process.leader).collect() };
        let mut before = leads(&self.scratch.mark);
        for _look in 0..40 {
            std::thread::sleep(Duration::from_millis(25));
            let now = leads(&self.scratch.mark);
            let stay: Vec<&Process> = now.iter().filter(|process| before.contains(process)).collect();
            if !stay.is_empty() {
                let at = usize::try_from(self.random.below(stay.len() as u64)).expect("small");
                return Some(stay[at].clone());
            }
            before = now;
        }
        None
    }

    /// One in four by its shim.
    fn kill_worker(&mut self) {
        let Some(worker) = self.worker() else { return };
        match shim(&worker).filter(|_| self.random.below(4) == 0) {
            Some(shim) => {
                signal(shim, "KILL");
                self.done[2] += 1;
            }
            None => signal(worker.pid.unsigned_abs(), "KILL"),
        }
        self.done[1] += 1;
    }

    /// Stop a worker, its shim or the daemon for a moment.
    fn stop(&mut self) {
        let worker = self.worker();
        let daemon = self.scratch.daemon.as_ref().map(std::process::Child::id);
        let whom = match self.random.below(3) {
            0 => daemon,
            1 => worker.as_ref().and_then(shim),
            _ => worker.map(|worker| worker.pid.unsigned_abs()),
        };
        let Some(whom) = whom.or(daemon) else { return };
        signal(whom, "STOP");
        std::thread::sleep(Duration::from_millis(20 + self.random.below(200)));
        signal(whom, "CONT");
        self.done[3] += 1;
    }

    /// When so many tasks have ended.
    fn wait_ends(&mut self, wanted: usize) {
        let (scratch, notes) = (&self.scratch, std::cell::RefCell::new(&mut self.notes));
        let ends = || (notes.borrow_mut().ends(scratch) >= wanted).then_some(());
        wait("more tasks to end", ends, || scratch.log());
    }
}

/// Submit all, never far ahead of what has ended; the number of each key.
fn give(socket: &Path, all: usize, ended: &AtomicUsize) -> BTreeMap<String, u64> {
    let mut known = BTreeMap::new();
    for first in (0..all).step_by(BATCH) {
        wait("some to end", || (ended.load(Ordering::Acquire) + AHEAD >= first).then_some(()), || format!("{first} submitted"));
        let keys: Vec<String> = (first..(first + BATCH).min(all)).map(|n| format!("key-{n}")).collect();
        let ids = socket::submit(socket, "work", &keys);
        known.extend(keys.into_iter().zip(ids));
    }
    known
}

#[test]
fn no_task_is_lost_or_doubled_whoever_is_killed() {
    let all = wanted();
    let scratch = Scratch::new();
    fs::write(scratch.dir.join("work.sh"), WORK).expect("written");
    let command = format!("[sh, {0}/work.sh, {0}]", scratch.dir.display());
    let queue = "  queue: {capacity: 100000, retry: {maxAttempts: 50, backoff: {initial: 20ms, max: 100ms}}}\n";
    scratch.put("work.yaml", &scratch.pool("work", 4, &command, queue));
    let mut campaign = Campaign { scratch, random: Random(20_261_121), notes: Notes::default(), done: [0; 4] };
    campaign.start();
    let (socket, ended) = (socket::of(&campaign.scratch.dir), AtomicUsize::new(0));
    let known = std::thread::scope(|scope| {
        let giver = scope.spawn(|| give(&socket, all, &ended));
        let apart = (all / 6).clamp(1, 100);
        for hit in 0..all / apart {
            // Spread over the work, the last of them near its end.
            let off = usize::try_from(campaign.random.below((apart as u64 / 2).max(1))).expect("small");
            campaign.wait_ends(hit * apart + off);
            ended.store(campaign.notes.ends, Ordering::Release);
            campaign.kill_daemon();
            campaign.kill_worker();
            if hit % 2 == 0 {
                campaign.stop();
            }
        }
        ended.store(all, Ordering::Release);
        giver.join().expect("all were submitted")
    });
    let room = || {
        let (_, room) = socket::ask(&socket, "GET", "/v1/pools/work/capacity", &Value::Null)?;
        (room["queued"] == 0 && room["running"] == 0).then_some(())
    };
    wait("all to be over", room, || format!("{}\n{}", campaign.scratch.log(), campaign.notes.text));
    campaign.notes.ends(&campaign.scratch);
    let (begun, ended, overlaps) = judge(&campaign.notes.text);
    println!(
        "{all} tasks; killed: {} daemons, {} workers, {} of them by their shims; stopped: {}; {} runs, {} overlaps",
        campaign.done[0],
        campaign.done[1],
        campaign.done[2],
        campaign.done[3],
        begun.values().sum::<u32>(),
        overlaps.len()
    );
    assert_eq!(overlaps, Vec::<String>::new());
    assert_eq!(known.len(), all);
    campaign.look_at_rows(&known, (&begun, &ended));
}

impl Campaign {
    /// Every row is one that was submitted, has succeeded, and has counted the runs that there were.
    fn look_at_rows(&self, known: &BTreeMap<String, u64>, (begun, ended): (&BTreeMap<u64, u32>, &BTreeMap<u64, u32>)) {
        let socket = socket::of(&self.scratch.dir);
        let mut again = 0;
        for (key, id) in known {
            let (_, task) = socket::ask(&socket, "GET", &format!("/v1/tasks/{id}"), &Value::Null).expect("an answer");
            let attempt = task["attempt"].as_u64().and_then(|n| u32::try_from(n).ok()).expect("a number");
            let (runs, ends) = (begun.get(id).copied().unwrap_or(0), ended.get(id).copied().unwrap_or(0));
            assert_eq!((&task["state"], &task["idempotencyKey"]), (&json!("Succeeded"), &json!(key)), "{task}");
            assert!(ends >= 1 && ends <= runs && runs <= attempt, "{runs} runs, {ends} ends: {task}");
            again += u32::from(attempt > 1);
        }
        let ids: std::collections::BTreeSet<&u64> = known.values().collect();
        assert_eq!(ids.len(), known.len(), "no two keys have one task");
        assert!(begun.keys().all(|id| ids.contains(id)), "no run of a task that nobody submitted");
        // Among a few there may be none that takes a while.
        assert!(again > 0 || known.len() < 16, "somebody was hit");
        println!("{again} tasks were run more than once");
    }
}
