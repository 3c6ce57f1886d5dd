//! The composition root: opens the edges, starts the engine and the wire, and ends them in reverse.
//!
//! The only place that knows all of them. Nothing is decided here but the order of beginning and ending: the state lock
//! first, then the store, then the workers that are found, and only then the specs.

mod doors;
mod turns;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::sync::mpsc;

use self::doors::{listen, serve_hooks, serve_network, serve_socket};
use self::turns::{Inbox, finish, serve_until_told};
use crate::decide::admit;
use crate::edge::revisions::Revisions;
use crate::edge::sdnotify::ServiceManager;
use crate::edge::signals;
use crate::edge::slots::{Slots, SlotsConfig, cgroup};
use crate::edge::statedir::{self, StateDir, StateError};
use crate::edge::statusdir::StatusDir;
use crate::edge::store::Store;
use crate::edge::taskfiles::TaskFiles;
use crate::edge::{clock, command, lines};
use crate::engine::board::Board;
use crate::engine::controller::{Engine, Settings};
use crate::engine::handle::Handle;
use crate::engine::hearing::Hearing;
use crate::engine::host::Fact;
use crate::engine::leftovers;
use crate::engine::queue_door::{self, Hub, TaskDoor};
use crate::engine::real::RealHost;
use crate::engine::revisions::Recorder;
use crate::engine::specs_door::SpecsDoor;
use crate::model::batch::Stored;
use crate::model::queue_work::QueueCounts;
use crate::model::status::Kind;
use crate::model::task::Task;
use crate::model::time::Span;

/// What becomes of the workers when the daemon ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnExit {
    /// They are stopped first, each within its grace.
    Stop,
    /// They run on for the next daemon to adopt.
    Leave,
}

/// How to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// The directory of documents.
    pub specs: PathBuf,
    /// The state directory.
    pub state: PathBuf,
    /// What becomes of the workers at the end.
    pub on_exit: OnExit,
    /// `auto`, `systemd`, `cgroupfs` or `none`.
    pub cgroup_driver: String,
    /// How long a vanished document is waited for.
    pub prune_grace: Span,
    /// Starts that may be in flight at once.
    pub starts_in_flight_max: usize,
    /// Where forges deliver webhooks; absent: nowhere but the socket.
    pub hooks_listen: Option<std::net::SocketAddr>,
    /// Where HTTP and the Kubernetes API are served besides the socket; absent: nowhere.
    pub listen: Option<std::net::SocketAddr>,
    /// That address may be one that other machines reach.
    pub listen_beyond_loopback: bool,
    /// No API call may write the specs.
    pub specs_read_only: bool,
}

/// Why the daemon could not run, with the exit code that says so.
#[derive(Debug)]
pub struct Failure {
    /// 5: the state is held by another; 70: something broke that nothing goes on without; 1: anything else that a person can mend.
    pub code: u8,
    /// What was found, where, and what to do.
    pub message: String,
}

fn failure(message: impl Into<String>) -> Failure {
    Failure { code: 1, message: message.into() }
}

/// Run until told to end.
///
/// # Errors
/// [`Failure`], before anything was touched.
pub fn run(options: &Options) -> Result<(), Failure> {
    statedir::apart(&options.specs, &options.state).map_err(failure)?;
    let about = format!("pid {}, specs {}", std::process::id(), options.specs.display());
    let state = StateDir::open(&options.state, &about).map_err(|error| match error {
        StateError::Held { .. } => Failure { code: 5, message: error.to_string() },
        StateError::Unusable(message) => failure(message),
    })?;
    // The controller and its words with the shims have one thread: from an end to the next start only the store's has to wake.
    // Whoever serves or asks others does so aside, and neither holds up the other.
    let own = runtime(&mut Builder::new_current_thread())?;
    let aside = runtime(Builder::new_multi_thread().worker_threads(2))?;
    let ended = own.block_on(main(options, &state, aside.handle()));
    aside.shutdown_timeout(Duration::from_millis(200));
    own.shutdown_timeout(Duration::from_millis(200));
    drop(state);
    ended
}

fn runtime(builder: &mut Builder) -> Result<Runtime, Failure> {
    let built = builder.max_blocking_threads(16).enable_all().build();
    built.map_err(|e| failure(format!("cannot start threads: {e}")))
}

/// A specs directory that is not there is a mistake, unless there is something to go on with from before.
fn something_to_keep(specs: &Path, stored: &Stored) -> Result<(), Failure> {
    let kept = stored.catalogue.as_deref().and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let kept = kept.as_ref().and_then(|kept| kept.get("objects")?.as_array());
    if kept.is_some_and(|objects| !objects.is_empty()) || !stored.slots.is_empty() {
        return Ok(());
    }
    let what = match std::fs::metadata(specs) {
        Ok(meta) if meta.is_dir() => return Ok(()),
        Ok(_) => "is no directory",
        Err(error) if matches!(error.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) => "is not there",
        // It may come back, like a mount: that is waited for.
        Err(_) => return Ok(()),
    };
    let at = specs.display();
    Err(failure(format!(
        "the specs directory {at} {what}: make it (mkdir -p {at}) and put documents there, or name another with --specs"
    )))
}

fn greet(options: &Options, state: &StateDir, driver: &cgroup::Driver) {
    let (specs, at) = (options.specs.display(), state.path.display());
    lines::say(&format!("weir {}: specs {specs}, state {at}, cgroups: {driver}", env!("CARGO_PKG_VERSION")));
    let then = match options.on_exit {
        OnExit::Stop => "stops the workers and ends",
        OnExit::Leave => "ends and leaves the workers running",
    };
    lines::say(&format!("see `ctl get pools` in another terminal; Ctrl-C {then}"));
}

/// The engine is told what changes in queues.
fn telling(facts: mpsc::UnboundedSender<Fact>) -> impl Fn(&str, QueueCounts) + Send + 'static {
    queue_door::gathered(move |pool, counts| {
        // The engine has ended: nobody is left to act on it.
        let _heard = facts.send(Fact::Queue(pool.to_owned(), counts));
    })
}

/// The engine is told which tasks change.
fn telling_tasks(facts: mpsc::UnboundedSender<Fact>) -> impl Fn(Task) + Send + Sync + 'static {
    move |task| {
        // The engine has ended: nobody is left to act on it.
        let _heard = facts.send(Fact::Task(Box::new(task)));
    }
}

/// Tells the engine that the store did not take what somebody asked for.
fn telling_untaken(facts: mpsc::UnboundedSender<Fact>) -> impl Fn(String) + Send + Sync + 'static {
    move |why| {
        // The engine has ended: nobody is left to tell of it.
        let _heard = facts.send(Fact::Untaken(why));
    }
}

/// The board, as far as it follows from what the store holds; what tasks needed that ended before this daemon it learns beside
/// everything else.
fn board(stored: &Stored, db: &Path, facts: mpsc::UnboundedSender<Fact>) -> Arc<Board> {
    let pools: Vec<String> = stored.pools.iter().map(|(name, _)| name.clone()).collect();
    let board = Arc::new(Board::default());
    board.start_at(stored.version);
    board.expect(Kind::Pool, pools.iter().cloned());
    board.expect(Kind::Policy, stored.policies.iter().map(|(name, _)| name.clone()));
    let (learning, db, before) = (board.clone(), db.to_owned(), clock::now().wall);
    tokio::task::spawn_blocking(move || {
        learning.learnt.recall(&db, &pools, before, |pool, needed| {
            // The engine has ended: nobody is left to use it.
            let _heard = facts.send(Fact::Learnt(pool.to_owned(), needed));
        });
    });
    board
}

/// The files of tasks, without what a daemon before this one left of tasks that have ended.
fn task_files(state: &Path, stored: &Stored) -> Result<TaskFiles, Failure> {
    let files = TaskFiles::open(state, others(state)).map_err(failure)?;
    files.sweep_results(&stored.leased);
    leftovers::remove_files(files.clone(), state.join("weir.db"));
    Ok(files)
}

async fn main(options: &Options, state: &StateDir, aside: &tokio::runtime::Handle) -> Result<(), Failure> {
    let (tell_signal, signals) = mpsc::unbounded_channel();
    signals::listen(tell_signal).map_err(|e| failure(format!("cannot listen for signals: {e}")))?;
    let (facts, facts_inbox) = mpsc::unbounded_channel();
    let hub = Arc::new(Hub::default());
    let queues = queue_door::queues(hub.clone(), telling(facts.clone()));
    let db = state.path.join("weir.db");
    let (store, stored) = Store::open(&db, &clock::boot_id(), queues).map_err(failure)?;
    something_to_keep(&options.specs, &stored)?;
    hub.start_at(stored.version);
    stored.counts.iter().for_each(|(pool, counts)| hub.put(pool, counts.clone()));
    let status = status_dir(state)?;
    let driver = cgroup::detect(&options.cgroup_driver, &state.path, &usual_state()).await.map_err(failure)?;
    let (controllers, units) = (driver.controllers(), driver.units());
    greet(options, state, &driver);
    let (slot_events, slots_inbox) = mpsc::unbounded_channel();
    let config = slots_config(state, driver)?;
    command::begin_with(&config.shim_program);
    // The doors of the daemon itself before those to the workers: where descriptors are short, some of these are left alone for now.
    let specs = Arc::new(SpecsDoor::open(&options.specs, hints(&facts)).map_err(|e| failure(format!("cannot watch: {e}")))?);
    let socket = listen(&state.path, aside)?;
    let slots = Slots::open(config, slot_events).map_err(failure)?;
    let measured = slots.clone();
    let board = board(&stored, &db, facts.clone());
    let (asks, asks_inbox) = mpsc::channel(64);
    let (tell, untaken) = (Arc::new(telling_tasks(facts.clone())), Arc::new(telling_untaken(facts.clone())));
    let (reader, walker) = Default::default();
    let door = TaskDoor { store: store.clone(), path: db, hub, tell, untaken, reader, walker };
    let host = RealHost {
        slots,
        store,
        board: board.clone(),
        status,
        specs,
        facts: facts.clone(),
        read_only: options.specs_read_only,
        revisions: Recorder::start(Revisions::of(&state.path), options.specs.clone())
            .map_err(|e| failure(format!("cannot start a thread: {e}")))?,
        files: task_files(&state.path, &stored)?,
        readers: Default::default(),
        looks: Default::default(),
        machine: Default::default(),
        units,
        notifier: Default::default(),
        sample: None,
        disks: Default::default(),
        hearing: Arc::new(Hearing::begin()),
        aside: aside.clone(),
    };
    let logs = crate::engine::logs::finder(&state.path);
    let handle = Handle::new(board, asks, logs, Arc::new(door)).sharing(host.hearing.clone()).pruning(options.prune_grace);
    let handle = handle.measuring(Arc::new(move |workers| measured.usage(workers)));
    let stop_hooks = serve_hooks(options.hooks_listen, &handle, aside)?;
    let stop_network = serve_network(options, &state.path, (&handle, aside))?;
    let (stop_serving, served) = serve_socket(socket, handle, aside);
    let admission = admit::Settings { prune_grace: options.prune_grace };
    let settings = Settings { starts_in_flight_max: options.starts_in_flight_max, admission, controllers };
    let mut engine = Engine::new(host, settings, stored);
    let mut inbox =
        Inbox { facts: facts_inbox, slots: slots_inbox, asks: asks_inbox, signals, store: engine.host().store.clone() };
    engine.on(Fact::Hint);
    let mut manager = ServiceManager::of_environment(clock::now().mono);
    manager.ready(&format!("keeping {}", options.specs.display()));
    let ended = serve_until_told(&mut engine, &mut inbox, &mut manager, options.on_exit).await;
    manager.stopping();
    drop((stop_serving, stop_hooks, stop_network));
    finish(&mut engine, &mut inbox, &ended).await;
    let _ended = tokio::time::timeout(Duration::from_millis(200), served).await;
    let _removed = ["weir.sock", "listen"].map(|name| std::fs::remove_file(state.path.join(name)));
    ended
}

fn status_dir(state: &StateDir) -> Result<StatusDir, Failure> {
    let path = state.path.join("status");
    StatusDir::open(&path).map_err(|e| failure(format!("{}: {e}", path.display())))
}

/// Where other users find the files of their tasks: they cannot enter the state directory.
fn others(state: &Path) -> PathBuf {
    Path::new("/run/weir").join(crate::edge::slots::state_id(state)).join("tasks")
}

fn slots_config(state: &StateDir, driver: cgroup::Driver) -> Result<SlotsConfig, Failure> {
    let shim =
        std::env::current_exe().map_err(|e| failure(format!("cannot find my own program: {e}")))?.with_file_name("weir-shim");
    if !shim.is_file() {
        return Err(failure(format!(
            "{} is missing: it is installed beside weir by `cargo install --locked --path .`",
            shim.display()
        )));
    }
    Ok(SlotsConfig { run_dir: state.path.join("run"), log_dir: state.path.join("logs"), shim_program: shim, driver })
}

/// Where hints go: each becomes a fact.
fn hints(facts: &mpsc::UnboundedSender<Fact>) -> mpsc::Sender<()> {
    let (hints, mut heard) = mpsc::channel(1);
    let facts = facts.clone();
    tokio::spawn(async move {
        while heard.recv().await.is_some() {
            if facts.send(Fact::Hint).is_err() {
                return;
            }
        }
    });
    hints
}

/// `$WEIR_SPECS`, `./specs`, `$XDG_CONFIG_HOME/weir` or `/etc/weir`: the first there is.
pub fn default_specs() -> PathBuf {
    if let Some(told) = std::env::var_os("WEIR_SPECS") {
        return told.into();
    }
    let config = std::env::var_os("XDG_CONFIG_HOME")
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let places = [Some(PathBuf::from("specs")), config.map(|dir| dir.join("weir")), Some(PathBuf::from("/etc/weir"))];
    places.into_iter().flatten().find(|dir| dir.is_dir()).unwrap_or_else(|| PathBuf::from("specs"))
}

/// `$WEIR_STATE`; `./.weir` beside `./specs`; else `/var/lib/weir` for root and `$XDG_STATE_HOME/weir` for others.
pub fn default_state(specs: &Path) -> PathBuf {
    if let Some(told) = std::env::var_os("WEIR_STATE") {
        return told.into();
    }
    if specs == Path::new("specs") || Path::new(".weir").is_dir() {
        return PathBuf::from(".weir");
    }
    usual_state()
}

/// The state directory of a daemon that was told nothing about it: `/var/lib/weir` for root, `$XDG_STATE_HOME/weir` for others.
fn usual_state() -> PathBuf {
    let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/state"));
    let user = std::env::var_os("XDG_STATE_HOME").map(PathBuf::from).or(home);
    match user {
        Some(dir) if !nix::unistd::geteuid().is_root() => dir.join("weir"),
        Some(_) | None => PathBuf::from("/var/lib/weir"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specs_that_are_not_there_are_refused_where_nothing_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("written");
        let kept = |text: &str| Stored { catalogue: Some(text.into()), ..Stored::default() };
        let some = kept(r#"{"objects": [{}]}"#);
        for missing in [dir.path().join("nosuch"), file.clone(), file.join("below")] {
            let refused = |stored: &Stored| something_to_keep(&missing, stored).err();
            for nothing in [Stored::default(), kept(r#"{"objects": []}"#)] {
                let refusal = refused(&nothing).expect("nothing to go on with");
                assert!(refusal.code == 1 && refusal.message.contains("--specs"), "{refusal:?}");
            }
            assert!(refused(&some).is_none());
        }
        assert!(something_to_keep(dir.path(), &Stored::default()).is_ok());
    }
}
