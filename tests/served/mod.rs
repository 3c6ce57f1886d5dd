//! A board served on a real socket in a scratch directory, with a stub where the engine would be: it writes down what it is asked.
//!
//! Used by the tests of the wire and of the client. The stub answers at once; nothing here starts a worker.

#![allow(dead_code, reason = "each test program uses a part of it")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use weir::edge::store::Store;
use weir::engine::board::Board;
use weir::engine::handle::{Ask, Denied, DocumentText, Edit, Edited, FindLog, Handle, LogPlace};
use weir::engine::queue_door::{self, Hub, TaskDoor};
use weir::model::document::{Document, parse};
use weir::model::host::Pressures;
use weir::model::quantity::Memory;
use weir::model::revision::Revision;
use weir::model::status::{
    Condition, EventObject, EventType, Kind, Meta, Object, Phase, PoolObject, PoolStatus, Scaled, Source, Truth, WorkerObject,
    WorkerStatus,
};
use weir::model::time::{Moment, Wall};
use weir::model::usage::Usage;
use weir::model::worker::{Exit, ExitReason, SlotId};

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A day, in seconds.
pub const DAY: i64 = 86_400;

/// A policy's document.
pub const GUARD: &str = "apiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: guard}\nspec:\n  \
    target: {unit: {name: a.service}}\n  bounds: {min: {cpu: 1}, max: {cpu: 4}}\n";

/// The pool that most tests look at, as its author wrote it.
pub const WEB: &str = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata:\n  name: web\n  labels: {tier: front}\nspec:\n  \
    replicas: 3\n  template:\n    command: [sleep, inf]\n";

#[expect(clippy::disallowed_methods, reason = "objects are given ages that tables then show")]
pub fn now() -> Wall {
    Wall(jiff::Timestamp::now().as_millisecond())
}

/// So many seconds ago; half a second more, so that ages do not turn while a test runs.
pub fn ago(seconds: i64) -> Wall {
    Wall(now().0 - seconds * 1000 - 500)
}

/// A served board.
pub struct World {
    pub board: Arc<Board>,
    pub state: PathBuf,
    pub handle: Handle,
    pub asked: Arc<Mutex<Vec<String>>>,
    runtime: Option<Runtime>,
    shutdown: Option<oneshot::Sender<()>>,
    done: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
    scratch: tempfile::TempDir,
}

impl Default for World {
    fn default() -> World {
        World::new()
    }
}

/// The way to queues in a real store of their own; nobody hears of what is leased.
fn task_door(state: &Path) -> TaskDoor {
    let hub = Arc::new(Hub::default());
    let path = state.join("weir.db");
    let (store, _) = Store::open(&path, "a boot", queue_door::queues(hub.clone(), |_, _| {})).unwrap();
    TaskDoor { store, path, hub, tell: Arc::new(drop), untaken: Arc::new(drop), reader: Arc::default(), walker: Arc::default() }
}

impl World {
    /// Served, and empty.
    pub fn new() -> World {
        World::in_directory("state")
    }

    /// Served from a directory of this name.
    pub fn in_directory(name: &str) -> World {
        let scratch = tempfile::tempdir().unwrap();
        let state = scratch.path().join(name);
        std::fs::create_dir_all(state.join("logs")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let (board, asked) = (Arc::new(Board::default()), Arc::new(Mutex::new(Vec::new())));
        let (asks, asking) = mpsc::channel(16);
        runtime.spawn(stub(asking, board.clone(), asked.clone()));
        let logs = state.join("logs");
        let find: FindLog = Arc::new(move |pool: &str, worker: &str, previous: bool| {
            let file = logs.join(pool).join(format!("{worker}.log"));
            (!previous).then_some(LogPlace { file, start: None, end: None })
        });
        let handle = Handle::new(board.clone(), asks, find, Arc::new(task_door(&state))).measuring(Arc::new(measured));
        let listener = {
            let _inside = runtime.enter();
            // Bound from within the directory's descriptor: the path may be too long for a socket address.
            let directory = std::fs::File::open(&state).unwrap();
            let fd = std::os::fd::AsRawFd::as_raw_fd(&directory);
            UnixListener::bind(format!("/proc/self/fd/{fd}/weir.sock")).unwrap()
        };
        let kept = handle.clone();
        let (shutdown, ended) = oneshot::channel::<()>();
        let (tell, done) = std::sync::mpsc::channel();
        runtime.spawn(async move {
            weir::serve::serve_unix(listener, handle, async move { drop(ended.await) }).await;
            let _ = tell.send(());
        });
        let (runtime, shutdown, done) = (Some(runtime), Some(shutdown), Mutex::new(Some(done)));
        World { board, state, handle: kept, asked, runtime, shutdown, done, scratch }
    }

    /// With a pool, its workers and some events.
    pub fn furnished() -> World {
        let world = World::new();
        world.board.put(pool("web", 3, 2));
        world.board.put(pool("batch", 0, 0));
        for (n, phase) in [Phase::Ready, Phase::Busy, Phase::BackOff].into_iter().enumerate() {
            world.board.put(worker("web", n, phase));
        }
        world.board.put(event("e1", "pool/web", EventType::Normal, ("Scaled", "Scaled from 2 to 3"), 3 * DAY));
        world.board.put(event("e2", "worker/web-2", EventType::Warning, ("BackOff", "Back-off 10s after exit code 7"), 2 * DAY));
        world
    }

    /// What the engine was asked.
    pub fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }

    /// End the server and wait for it. Says whether it ended in time.
    pub fn end(&mut self) -> bool {
        drop(self.shutdown.take());
        let ended = self.done.get_mut().unwrap().take().is_some_and(|done| done.recv_timeout(PATIENCE).is_ok());
        drop(std::fs::remove_file(self.state.join("weir.sock")));
        ended
    }

    /// Wait for something of the engine's, on the server's own threads.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(future)
    }

    /// A directory for files of a test.
    pub fn scratch(&self) -> &Path {
        self.scratch.path()
    }

    /// The client, to be given more arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
        command.arg("--state").arg(&self.state).env_clear().current_dir(self.scratch.path());
        command
    }

    /// Run the client with arguments; `\x20`-separated words, for those without spaces in them.
    pub fn ctl(&self, words: &str) -> Ran {
        self.run(&words.split(' ').collect::<Vec<_>>())
    }

    /// Run the client.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        Ran::of(self.command().args(arguments).stdin(Stdio::null()).output().unwrap())
    }

    /// One raw request on a connection of its own: code and body.
    pub fn request(&self, head: &str, body: &[u8]) -> (u16, String) {
        let mut stream = UnixStream::connect(self.state.join("weir.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("{head} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
        let kind = if head.starts_with("PATCH") { "application/merge-patch+json" } else { "application/json" };
        stream.write_all(format!("{head}content-type: {kind}\r\n\r\n").as_bytes()).unwrap();
        // A server that refuses early may close before it has read everything.
        drop(stream.write_all(body));
        let mut answer = Vec::new();
        drop(stream.read_to_end(&mut answer));
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (code, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        drop(self.shutdown.take());
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// How the client ended.
#[derive(Debug)]
pub struct Ran {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ran {
    pub fn of(output: Output) -> Ran {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
    }
}

/// Every worker that runs has used as many milliseconds of CPU time as it has lived.
fn measured(workers: &[(SlotId, i32)]) -> Vec<Usage> {
    let at = Moment(u64::try_from(now().0).unwrap());
    let unknown = "not measured here";
    let pressure = Pressures { cpu: Err(unknown.into()), memory: Err(unknown.into()), io: Err(unknown.into()) };
    let usage = Usage {
        at,
        cpu_micros: Ok(at.0 * 1000),
        memory: Ok(Memory(5 << 20)),
        working: Err(unknown.into()),
        tasks: Ok(3),
        pressure,
        oom_kills: Err(unknown.into()),
        held_back: Err(unknown.into()),
        own: Err(unknown.into()),
        high: None,
        limits: Default::default(),
        lacking: Vec::new(),
    };
    workers.iter().map(|_| usage.clone()).collect()
}

/// Wait, by looking often, until something is so.
pub fn until(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..PATIENCE.as_millis() / 5 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("waited in vain: {what}");
}

async fn stub(mut asking: mpsc::Receiver<Ask>, board: Arc<Board>, asked: Arc<Mutex<Vec<String>>>) {
    while let Some(ask) = asking.recv().await {
        match ask {
            Ask::Wake { .. } | Ask::HookRefused { .. } => {}
            Ask::ResetPolicy { policy, reply } => {
                asked.lock().unwrap().push(format!("reset {policy}"));
                drop(reply.send(Ok(())));
            }
            Ask::Restart { worker, reply } => {
                asked.lock().unwrap().push(format!("restart {worker}"));
                drop(reply.send(Ok(())));
            }
            Ask::Drain { worker, reply } => {
                asked.lock().unwrap().push(format!("drain {worker}"));
                drop(reply.send(Ok(1)));
            }
            Ask::Prune { token, reply } => {
                asked.lock().unwrap().push(format!("prune {token}"));
                let wrong = || Denied::Refused("this token is not the current one: see ctl describe".into());
                drop(reply.send(if token == "good" { Ok(()) } else { Err(wrong()) }));
            }
            Ask::Text { kind, name, reply } => {
                asked.lock().unwrap().push(format!("text {name}"));
                let text = match kind {
                    weir::model::meta::Kind::WorkerPool => WEB,
                    weir::model::meta::Kind::ResourcePolicy => GUARD,
                };
                let text = DocumentText { file: format!("{name}.yaml"), line: 1, text: text.into(), version: "one".into() };
                drop(reply.send(Ok(text)));
            }
            Ask::Revisions { name, reply, .. } => {
                asked.lock().unwrap().push(format!("revisions {name}"));
                drop(reply.send(Ok(revisions())));
            }
            Ask::Edit { edit, dry_run, reply } => {
                asked.lock().unwrap().push(format!("{}{edit:?}", if dry_run { "dry " } else { "" }));
                drop(reply.send(answer(&board, edit)));
            }
        }
    }
}

/// Three that are kept, an hour apart; the last is what stands there.
fn revisions() -> Vec<Revision> {
    let texts =
        [WEB.replace("replicas: 3", "replicas: 1 # few"), WEB.replace("inf]", "1]").replace("3\n", "2\n"), WEB.to_owned()];
    let kept = |(n, text): (u64, String)| Revision { number: n + 1, time: ago(3600 * (3 - n.cast_signed())), text };
    (0..).zip(texts).map(kept).collect()
}

fn answer(board: &Board, edit: Edit) -> Result<Vec<Edited>, Denied> {
    let kind = weir::model::meta::Kind::WorkerPool;
    let one = |kind, name: String, verb| Ok(vec![Edited { kind, name, verb }]);
    match edit {
        Edit::Scale { pool, .. } => one(kind, pool, "scaled"),
        Edit::Delete { kind, name, .. } => one(kind, name, "deleted"),
        Edit::Replace { version, .. } if version != "one" => Err(Denied::Conflict("web.yaml:1 was changed meanwhile".into())),
        Edit::Replace { name, text, .. } if text.contains("name: other") => {
            Err(Denied::Refused(format!("the document was WorkerPool {name} and is WorkerPool other now")))
        }
        Edit::Replace { kind, name, .. } => one(kind, name, "edited"),
        Edit::Apply { text } => {
            let mut edited = Vec::new();
            for parsed in parse(text.as_bytes()) {
                let located = parsed.map_err(|refused| Denied::Invalid(refused.violations))?;
                let Document::WorkerPool(pool) = located.document else { continue };
                if pool.metadata.annotations.contains_key("refuse") {
                    return Err(Denied::Conflict("another file has a pool of this name".into()));
                }
                let name = pool.metadata.name;
                let verb = if board.get(Kind::Pool, &name).is_some() { "configured" } else { "created" };
                edited.push(Edited { kind, name, verb });
            }
            Ok(edited)
        }
    }
}

/// A condition.
pub fn condition(kind: &str, status: Truth, reason: &str, message: &str) -> Condition {
    let (kind, reason, message) = (kind.into(), reason.into(), message.into());
    Condition { kind, status, reason, message, last_transition_time: ago(4 * DAY), observed_generation: 2 }
}

/// A pool of a size, so many of it ready.
pub fn pool(name: &str, desired: u32, ready: u32) -> Object {
    let text = WEB.replace("name: web", &format!("name: {name}")).replace("replicas: 3", &format!("replicas: {desired}"));
    let Document::WorkerPool(document) = parse(text.as_bytes()).remove(0).unwrap().document else { panic!("a pool") };
    let ready_now = if ready == desired { Truth::True } else { Truth::False };
    let conditions = vec![condition("Ready", ready_now, "WorkersNotReady", &format!("{ready} of {desired} workers are ready"))];
    let template_hash = document.spec.template_hash();
    Object::Pool(Box::new(PoolObject {
        api_version: "weir.dev/v1".into(),
        kind: "WorkerPool".into(),
        metadata: Meta {
            name: name.into(),
            uid: format!("uid-{name}"),
            generation: 2,
            creation_timestamp: ago(5 * DAY + 43_200),
            labels: document.metadata.labels.clone(),
            ..Meta::default()
        },
        spec: document.spec,
        status: PoolStatus {
            observed_generation: 2,
            replicas: desired,
            ready_replicas: ready,
            busy_replicas: u32::from(ready > 1),
            desired_replicas: desired,
            updated_replicas: desired,
            selector: format!("weir.dev/pool={name}"),
            template_hash,
            waiting_on: if ready < desired { vec!["worker web-2: back-off".into()] } else { Vec::new() },
            last_scale_time: Some(ago(3 * DAY)),
            last_scale: Some(Scaled { from: 2, to: desired, reason: "spec.replicas".into() }),
            source: Source { file: format!("{name}.yaml"), line: 1, revision: None },
            conditions,
            ..PoolStatus::default()
        },
    }))
}

/// A worker of a pool.
pub fn worker(pool: &str, n: usize, phase: Phase) -> Object {
    let ready = matches!(phase, Phase::Ready | Phase::Busy);
    let failed = Exit {
        incarnation: 3,
        reason: ExitReason::Error,
        code: Some(7),
        started: Some(ago(3 * DAY)),
        finished: ago(2 * DAY + 3600),
        ran_ms: 82_800_000,
        cpu_ms: 1500,
        max_rss_kib: 2048,
        ..Exit::default()
    };
    Object::Worker(Box::new(WorkerObject {
        api_version: "weir.dev/v1".into(),
        kind: "Worker".into(),
        metadata: Meta {
            name: format!("{pool}-{n}"),
            uid: format!("uid-{pool}-{n}"),
            creation_timestamp: ago(5 * DAY),
            labels: BTreeMap::from([("weir.dev/pool".to_owned(), pool.to_owned())]),
            owner: Some(pool.into()),
            ..Meta::default()
        },
        status: WorkerStatus {
            phase,
            pid: ready.then(|| 4000 + i32::try_from(n).unwrap()),
            incarnation: 4,
            ready,
            busy: phase == Phase::Busy,
            restarts: if ready { 0 } else { 3 },
            started_at: ready.then(|| ago(5 * DAY)),
            template_hash: "abc1234567".into(),
            message: if ready { "serving".into() } else { String::new() },
            last_exit: (!ready).then_some(failed),
            ..WorkerStatus::default()
        },
    }))
}

/// An event.
pub fn event(name: &str, regarding: &str, severity: EventType, (reason, note): (&str, &str), seconds: i64) -> Object {
    Object::Event(Box::new(EventObject {
        api_version: "weir.dev/v1".into(),
        kind: "Event".into(),
        metadata: Meta { name: name.into(), ..Meta::default() },
        severity,
        reason: reason.into(),
        regarding: regarding.into(),
        note: note.into(),
        event_time: ago(seconds),
    }))
}

/// A client that goes on, with what it prints; ended with the test.
pub struct Running(pub Child, pub BufReader<std::process::ChildStdout>);

impl Running {
    /// Started with these words.
    pub fn start(world: &World, words: &str) -> Running {
        let mut child = world.command().args(words.split(' ')).stdout(Stdio::piped()).spawn().unwrap();
        let out = BufReader::new(child.stdout.take().unwrap());
        Running(child, out)
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
