//! A scratch directory with a daemon in it, and ways to look at it from outside.
//!
//! Nothing is left behind: the daemon is ended by its own pid, and then whatever carries this test's mark, each through a
//! check that the pid still carries it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// How long anything may take that takes milliseconds on a calm machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

static SERIAL: AtomicU32 = AtomicU32::new(0);

/// A scratch directory, and the daemon in it when there is one.
pub struct Scratch {
    pub dir: PathBuf,
    pub mark: String,
    pub daemon: Option<Child>,
    flags: Vec<String>,
}

impl Scratch {
    /// An empty scratch directory.
    pub fn new() -> Scratch {
        let name = format!("weir-t{}-{}", std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
        let dir = std::env::temp_dir().join(&name);
        fs::create_dir_all(dir.join("specs")).expect("a scratch directory");
        Scratch { dir, mark: name, daemon: None, flags: Vec::new() }
    }

    /// With more flags for `weir run`.
    pub fn with(mut self, flags: &[&str]) -> Scratch {
        self.flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
        self
    }

    /// A pool's document: `sleep` unless `command` says otherwise (as a YAML flow sequence).
    pub fn pool(&self, name: &str, replicas: u32, command: &str, more: &str) -> String {
        let command = if command.is_empty() { "[sleep, \"100000\"]" } else { command };
        format!(
            "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec:\n  replicas: {replicas}\n  template:\n    \
             command: {command}\n    terminationGracePeriod: 5s\n    env:\n    - {{name: OBSERVER_MARK, value: {}}}\n{more}",
            self.mark
        )
    }

    pub fn spec(&self, file: &str) -> PathBuf {
        self.dir.join("specs").join(file)
    }

    /// Put a file into place by a rename.
    pub fn put(&self, file: &str, text: &str) {
        let aside = self.dir.join(format!("{file}.aside"));
        fs::write(&aside, text).expect("written");
        fs::rename(aside, self.spec(file)).expect("renamed");
    }

    /// Write a file in place.
    pub fn write(&self, file: &str, text: &str) {
        fs::write(self.spec(file), text).expect("written");
    }

    pub fn weir(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.arg("run").arg("--specs").arg(self.dir.join("specs")).arg("--state").arg(self.dir.join("state"));
        command.args(&self.flags).current_dir(&self.dir).stdin(Stdio::null());
        command
    }

    /// Start the daemon; its lines go to `log`.
    pub fn start(&mut self) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.join("log")).expect("a log");
        let child = self.weir().stdout(log.try_clone().expect("a copy")).stderr(log).spawn().expect("weir starts");
        self.daemon = Some(child);
    }

    /// SIGKILL the daemon.
    pub fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().expect("killed");
            daemon.wait().expect("reaped");
        }
    }

    /// SIGTERM the daemon and wait for its exit code.
    pub fn end(&mut self) -> Option<i32> {
        let mut daemon = self.daemon.take()?;
        signal(daemon.id(), "TERM");
        daemon.wait().expect("reaped").code()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// The pids of this scratch's workers by identity: the processes that carry the mark and lead their session.
    pub fn workers(&self) -> BTreeMap<String, i32> {
        alive(&self.mark).into_iter().filter(|process| process.leader).map(|process| (process.worker, process.pid)).collect()
    }

    pub fn wait_workers(&self, wanted: usize) -> BTreeMap<String, i32> {
        wait(
            &format!("{wanted} workers"),
            || {
                let workers = self.workers();
                (workers.len() == wanted).then_some(workers)
            },
            || format!("{:?}\n{}", self.workers(), self.log()),
        )
    }

    /// A status file as JSON, if it is there.
    pub fn status(&self, kind: &str, name: &str) -> Option<serde_json::Value> {
        let text = fs::read_to_string(self.dir.join("state/status").join(kind).join(format!("{name}.yaml"))).ok()?;
        Some(serde_saphyr::from_str(&text).expect("a status file always parses"))
    }

    /// Wait until a worker's status satisfies `test`.
    pub fn wait_status(&self, kind: &str, name: &str, test: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
        wait(
            &format!("{kind}/{name}"),
            || self.status(kind, name).filter(&test),
            || format!("{:#?}\n{}", self.status(kind, name), self.log()),
        )
    }
}

impl Default for Scratch {
    fn default() -> Scratch {
        Scratch::new()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        self.kill();
        for _round in 0..50 {
            let left = alive(&self.mark);
            if left.is_empty() {
                break;
            }
            for process in left {
                // The mark is looked at again right before: a pid that passed to another is left alone.
                if carries(process.pid, &self.mark) {
                    signal(process.pid.unsigned_abs(), "KILL");
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if std::thread::panicking() {
            eprintln!("--- daemon's lines ---\n{}", self.log());
        }
        // A daemon that was killed leaves its cgroups to the next one: here there is none. What is still populated cannot be removed.
        let log = self.log();
        cgroup_in(&log).iter().for_each(|cgroup| remove_empty(cgroup));
        fs::remove_dir_all(&self.dir).ok();
    }
}

fn remove_empty(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_empty(&entry.path());
        }
    }
    fs::remove_dir(dir).ok();
}

/// A process that carries a mark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    pub pid: i32,
    pub worker: String,
    pub session: i32,
    pub leader: bool,
}

fn environ(pid: i32) -> Vec<u8> {
    fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()
}

fn carries(pid: i32, mark: &str) -> bool {
    let wanted = format!("OBSERVER_MARK={mark}");
    environ(pid).split(|b| *b == 0).any(|var| var == wanted.as_bytes())
}

/// Where a daemon with cgroups of its own makes them, by its first line.
pub fn cgroup_in(log: &str) -> Option<PathBuf> {
    log.lines().find_map(|line| line.split_once("cgroups: cgroupfs at ")).map(|(_, path)| PathBuf::from(path))
}

/// Every living process that carries a mark.
pub fn alive(mark: &str) -> Vec<Process> {
    let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
    all.flatten().filter_map(|entry| process(entry.file_name().to_str()?.parse().ok()?, mark)).collect()
}

fn process(pid: i32, mark: &str) -> Option<Process> {
    if !carries(pid, mark) {
        return None;
    }
    let environ = environ(pid);
    let worker = environ.split(|b| *b == 0).find_map(|var| var.strip_prefix(b"WEIR_WORKER="))?;
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let session: i32 = fields.get(3)?.parse().ok()?;
    let zombie = fields.first() == Some(&"Z");
    let worker = String::from_utf8_lossy(worker).into_owned();
    (!zombie).then_some(Process { pid, worker, session, leader: session == pid })
}

/// Wait until `look` finds something; with a bound, and with words for when it does not.
pub fn wait<T>(what: &str, look: impl Fn() -> Option<T>, words: impl Fn() -> String) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let began = Instant::now();
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}: {}", words());
        // A look over a thousand processes costs as much as they do: whoever waits must leave them most of the machine.
        std::thread::sleep((began.elapsed() * 4).max(Duration::from_millis(5)));
    }
}

/// Send a signal to a process that this test started or has just found by its mark.
pub fn signal(pid: u32, name: &str) {
    Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).stderr(Stdio::null()).status().expect("kill runs");
}
