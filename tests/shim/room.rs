//! A scratch state directory, and the daemon's side of its slots on a runtime of its own, so that it can be dropped whole.

#![expect(clippy::disallowed_methods, reason = "a test bounds its waits by the real clock")]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use weir::edge::slots::{Prepare, SlotEvent, Slots, SlotsConfig, cgroup};
use weir::model::worker::{Exit, LogLimits, Run, Seen, SlotId, SlotState, StartOrder};

/// Long for a loaded machine; nothing here takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(30);

pub struct Room {
    pub dir: TempDir,
    pub driver: cgroup::Driver,
    /// What is run as a shim.
    program: PathBuf,
    side: Option<Side>,
    /// The last that was told of each worker.
    pub seen: BTreeMap<String, Seen>,
    /// Every end told, in order, each run once.
    pub ends: Vec<(String, Exit)>,
    pub failures: Vec<String>,
    pub lost: usize,
}

struct Side {
    runtime: Runtime,
    slots: Slots,
    events: UnboundedReceiver<SlotEvent>,
}

pub fn slot(worker: &str) -> SlotId {
    SlotId { pool: "pool".into(), worker: worker.into() }
}

/// A start of a shell script with a small environment.
pub fn order(worker: &str, incarnation: u64, script: &str) -> StartOrder {
    StartOrder {
        slot: slot(worker),
        incarnation,
        template: "t1".into(),
        command: ["bash", "-c", script].map(String::from).to_vec(),
        env: vec![("PATH".into(), "/usr/bin:/bin".into()), ("WEIR_WORKER".into(), worker.into())],
        working_dir: Some("/".into()),
        user: None,
        limits: None,
        umask: 0o027,
        logs: LogLimits { max_size: 10 << 20, max_files: 3, max_rate: 100 << 20 },
        stdin: None,
        log: None,
    }
}

fn open(dir: &Path, driver: &cgroup::Driver, program: &Path) -> Side {
    let runtime = Builder::new_multi_thread().worker_threads(1).max_blocking_threads(16).enable_all().build().expect("a runtime");
    let (tell, events) = unbounded_channel();
    let config = SlotsConfig {
        run_dir: dir.join("run"),
        log_dir: dir.join("logs"),
        shim_program: program.to_owned(),
        driver: driver.clone(),
    };
    let slots = runtime.block_on(async { Slots::open(config, tell) }).expect("a room");
    Side { runtime, slots, events }
}

impl Room {
    pub fn new(driver: &str) -> Room {
        let dir = tempfile::Builder::new().prefix("weir-shim-").tempdir().expect("a scratch directory");
        Room::at(dir, driver)
    }

    pub fn at(dir: TempDir, driver: &str) -> Room {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let driver = runtime.block_on(cgroup::detect(driver, dir.path(), Path::new(""))).expect("a driver");
        Room::with(dir, driver)
    }

    pub fn with(dir: TempDir, driver: cgroup::Driver) -> Room {
        Room::by(dir, driver, env!("CARGO_BIN_EXE_weir-shim").into())
    }

    /// With another program in the shim's place.
    pub fn by(dir: TempDir, driver: cgroup::Driver, program: PathBuf) -> Room {
        let side = Some(open(dir.path(), &driver, &program));
        let mut room =
            Room { dir, driver, program, side, seen: BTreeMap::new(), ends: Vec::new(), failures: Vec::new(), lost: 0 };
        room.recovered();
        room
    }

    pub fn slots(&self) -> &Slots {
        &self.side.as_ref().expect("open").slots
    }

    /// The daemon's side goes, as in a crash: its connections close, nothing is said.
    pub fn leave(&mut self) {
        if let Some(side) = self.side.take() {
            side.runtime.shutdown_background();
        }
    }

    /// A new daemon's side on the same directory.
    pub fn come_back(&mut self) {
        self.leave();
        self.seen.clear();
        self.side = Some(open(self.dir.path(), &self.driver, &self.program));
        self.recovered();
    }

    /// Keep the daemon's only thread busy until the other end of `release` is dropped.
    pub fn occupy(&self, release: std::sync::mpsc::Receiver<()>) {
        self.side.as_ref().expect("open").runtime.spawn(async move { release.recv().ok() });
    }

    fn recovered(&mut self) {
        while !matches!(self.next(), SlotEvent::Recovered) {}
    }

    /// The next event, taken in.
    fn next(&mut self) -> SlotEvent {
        let Side { runtime, events, .. } = self.side.as_mut().expect("open");
        let next = runtime.block_on(async { tokio::time::timeout(PATIENCE, events.recv()).await });
        let event = next.unwrap_or_else(|_| panic!("nothing told in {PATIENCE:?}; last: {:#?}", self.seen)).expect("open");
        match &event {
            SlotEvent::Seen(slot, seen) => self.take(slot, seen),
            SlotEvent::StartFailed { message, code, .. } => {
                self.failures.push(code.map_or_else(|| message.clone(), |code| format!("{code}: {message}")));
            }
            SlotEvent::Recovered => {}
        }
        event
    }

    fn take(&mut self, slot: &SlotId, seen: &Seen) {
        self.lost += usize::from(matches!(seen.state, SlotState::Lost { .. }));
        if let Some(exit) = &seen.exit
            && !self.ends.iter().any(|(worker, known)| (worker, known.incarnation) == (&slot.worker, exit.incarnation))
        {
            self.ends.push((slot.worker.clone(), exit.clone()));
        }
        self.seen.insert(slot.worker.clone(), seen.clone());
    }

    /// Take in events until `test` holds.
    pub fn until<T>(&mut self, test: impl Fn(&Room) -> Option<T>) -> T {
        loop {
            if let Some(found) = test(self) {
                return found;
            }
            self.next();
        }
    }

    pub fn start(&mut self, order: StartOrder) {
        let side = self.side.as_ref().expect("open");
        let _inside = side.runtime.enter();
        side.slots.start(order);
    }

    /// Start with an order that is put together aside.
    pub fn prepare(&mut self, worker: &str, prepare: Prepare) {
        let side = self.side.as_ref().expect("open");
        let _inside = side.runtime.enter();
        side.slots.prepare(&slot(worker), 1, prepare);
    }

    /// Have a slot looked at.
    pub fn find(&mut self, worker: &str, incarnation: u64) {
        let side = self.side.as_ref().expect("open");
        let _inside = side.runtime.enter();
        side.slots.find(&slot(worker), incarnation);
    }

    /// Wait for a slot to be lost.
    pub fn is_lost(&mut self, worker: &str) {
        self.until(|room| matches!(room.seen.get(worker)?.state, SlotState::Lost { .. }).then_some(()));
    }

    /// Wait for a start to fail. Why it did.
    pub fn failure(&mut self) -> String {
        self.until(|room| room.failures.first().cloned())
    }

    /// Wait for a worker to run.
    pub fn running(&mut self, worker: &str) -> Run {
        self.running_when(worker, |_| true)
    }

    pub fn running_when(&mut self, worker: &str, test: impl Fn(&Run) -> bool) -> Run {
        self.until(|room| match room.seen.get(worker).map(|seen| &seen.state) {
            Some(SlotState::Running(run)) if test(run) => Some(run.clone()),
            Some(_) | None => None,
        })
    }

    /// Wait for the end of this run or a later one, and for its slot to be vacant.
    pub fn ended(&mut self, worker: &str, incarnation: u64) -> Exit {
        self.until(|room| {
            let seen = room.seen.get(worker)?;
            let exit = seen.exit.as_ref().filter(|exit| exit.incarnation >= incarnation)?;
            (seen.state == SlotState::Vacant).then(|| exit.clone())
        })
    }

    /// Run to the end.
    pub fn run(&mut self, order: StartOrder) -> Exit {
        let (worker, incarnation) = (order.slot.worker.clone(), order.incarnation);
        self.start(order);
        self.ended(&worker, incarnation)
    }

    pub fn log(&self, worker: &str) -> PathBuf {
        self.dir.path().join(format!("logs/pool/{worker}.log"))
    }

    pub fn output(&self, worker: &str) -> String {
        fs::read_to_string(self.log(worker)).unwrap_or_default()
    }

    /// Living processes that carry this room's mark; of one worker, or of all.
    pub fn alive(&self, worker: &str) -> Vec<i32> {
        let mark = format!("WEIR_SLOT={}/pool/{worker}", self.dir.path().join("run").display());
        let Ok(all) = fs::read_dir("/proc") else { return Vec::new() };
        let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| marked(*pid, &mark)).collect()
    }
}

fn marked(pid: i32, mark: &str) -> bool {
    let environ = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|byte| *byte == 0).any(|var| var.starts_with(mark.as_bytes()))
}

/// Wait until `test` holds, with a bound.
pub fn wait(what: &str, test: impl Fn() -> bool) {
    let begun = Instant::now();
    while !test() {
        assert!(begun.elapsed() < PATIENCE, "no {what} in {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Whether the test that asks is to end now: parts of it are written in Python.
pub fn without_python() -> bool {
    super::skipped::without(Path::new("/usr/bin/python3").exists(), "python3")
}

/// Send a signal to a process that this test started.
pub fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).expect("it lives");
}

impl Drop for Room {
    fn drop(&mut self) {
        if self.side.is_none() {
            self.side = Some(open(self.dir.path(), &self.driver, &self.program));
        }
        let workers = fs::read_dir(self.dir.path().join("run/pool")).into_iter().flatten().flatten();
        for name in workers.filter_map(|entry| entry.file_name().into_string().ok()) {
            // A run's number is in what it was last seen as; a kill of any other run is ignored.
            if let Some(SlotState::Running(run)) = self.seen.get(&name).map(|seen| &seen.state) {
                self.slots().kill(&slot(&name), run.incarnation);
            }
        }
        let begun = Instant::now();
        while !self.alive("").is_empty() && begun.elapsed() < PATIENCE {
            std::thread::sleep(Duration::from_millis(2));
        }
        let left = self.alive("");
        self.leave();
        if let cgroup::Driver::Cgroupfs(root) = &self.driver {
            wait_removed(root);
        }
        assert!(left.is_empty() || std::thread::panicking(), "left behind: {left:?}");
    }
}

/// Remove the room's cgroups; shims that were let go of end within moments.
fn wait_removed(root: &Path) {
    let begun = Instant::now();
    while root.exists() && begun.elapsed() < Duration::from_secs(2) {
        remove_tree(root);
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn remove_tree(dir: &Path) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    fs::remove_dir(dir).ok();
}
