//! Every folder of `examples/` is what it says: its documents are valid, the daemon brings its pools up, and ends them all.
//!
//! The real programs, each on a copy of the folder with a state directory of its own. Files are waited for by way of
//! inotify, with a deadline; nothing sleeps for a fixed time. A folder without a line in `examples!` fails the suite.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};

#[path = "daemon/forge.rs"]
#[expect(dead_code, reason = "shared with the tests of the daemon: its faults are not used here")]
mod forge;

use clap::Parser;
use forge::Forge;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use weir::ctl::args::{Cli, Command as Verb};
use weir::edge::clock;
use weir::model::document::{Document, parse};
use weir::model::payload::arguments;
use weir::model::status::{Phase, PoolObject, Truth, WorkerObject};
use weir::model::time::Span;

/// Longest wait for any one thing.
const DEADLINE: Span = Span::secs(30);
/// An event may be missed while a new folder is not watched yet: look again after this long.
const LOOK_AGAIN: Span = Span::millis(100);

/// One test for each folder, and the list of them.
macro_rules! examples {
    ($($name:ident: $folder:literal,)*) => {
        const TESTED: &[&str] = &[$($folder),*];
        $(
            #[test]
            fn $name() {
                run($folder);
            }
        )*
    };
}

examples! {
    loop_workers: "loop-workers",
    web_probes: "web-probes",
    notify_socket: "notify",
    batch_once: "batch-once",
    git_ops: "git-ops",
    gitea_agents: "gitea-agents",
    queue_ratio: "queue-ratio",
    office_hours: "office-hours",
    agent_queue: "agent-queue",
    task_server: "task-server",
    forge_dispatch: "forge-dispatch",
    agents_with_limits: "agents-with-limits",
}

/// Those that need a server and packages, or systemd: `tests/queues` and `tests/vm` run them, here their documents are looked at.
const ELSEWHERE: &[&str] = &["rq-redis", "celery", "autocoder"];

#[test]
fn those_that_run_elsewhere_are_valid() {
    for folder in ELSEWHERE {
        validate(&examples().join(folder));
    }
}

#[test]
fn every_folder_has_a_test_and_a_readme() {
    let mut found: Vec<String> = fs::read_dir(examples())
        .expect("examples are there")
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    found.sort();
    let mut tested = [TESTED, ELSEWHERE].concat();
    tested.sort_unstable();
    assert_eq!(found, tested, "each folder of examples/ needs a line in examples!");
    for folder in tested {
        assert!(examples().join(folder).join("README.md").is_file(), "{folder} has no README.md");
    }
}

/// The words of a line of shell, as far as lines of READMEs go: quotes, and a comment at the end.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.trim().chars() {
        match (quote, c) {
            (None, '#') if word.is_none() => break,
            (None, ' ') => words.extend(word.take()),
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if c == open => quote = None,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn the_commands_of_readmes_can_be_typed_and_what_they_submit_fits() {
    let mut submitted = 0;
    for folder in [TESTED, ELSEWHERE].concat() {
        let readme = fs::read_to_string(examples().join(folder).join("README.md")).expect("it is there");
        for line in readme.lines().filter(|line| line.starts_with("    ctl ")) {
            let words = words(line);
            let cli = Cli::try_parse_from(&words).unwrap_or_else(|error| panic!("{folder}: {line}: {error}"));
            let Verb::Submit(args) = cli.command else { continue };
            let payload: serde_json::Value = serde_json::from_str(&args.payload.join(" ")).expect(line);
            let specs = fs::read_dir(examples().join(folder).join("specs")).expect("there are specs").flatten();
            let documents = specs.flat_map(|file| parse(&fs::read(file.path()).expect("a file")));
            let pool = documents.flatten().find_map(|located| match located.document {
                Document::WorkerPool(pool) if pool.metadata.name == args.pool => Some(pool),
                Document::WorkerPool(_) | Document::ResourcePolicy(_) => None,
            });
            let command = pool.unwrap_or_else(|| panic!("{folder}: {line}: no such pool")).spec.template.command;
            arguments(&command, &payload).unwrap_or_else(|why| panic!("{folder}: {line}: {why}"));
            submitted += 1;
        }
    }
    assert!(submitted > 5, "{submitted}");
}

fn run(folder: &str) {
    validate(&examples().join(folder));
    let forge = Forge::start();
    forge.state().issues = 25;
    let mut world = World::start(folder, &forge);
    world.wait_for("every pool to be ready or completed", World::is_up);
    match folder {
        "git-ops" => {
            let pools = world.pools();
            assert!(pools.values().all(|pool| pool.status.source.revision.is_some()), "the commit is in each status");
        }
        "queue-ratio" => works_off_a_spool(&mut world),
        "gitea-agents" => follows_its_issues(&mut world, &forge),
        "agent-queue" => works_off_tasks(&mut world, "agent"),
        "agents-with-limits" => works_off_tasks(&mut world, "agents"),
        "task-server" => serves_tasks(&mut world),
        "forge-dispatch" => takes_what_a_forge_sends(&mut world),
        _ => {}
    }
    world.end();
}

/// Files arrive: the pool grows by one after the other, each file is worked on once, none is left.
fn works_off_a_spool(world: &mut World) {
    let spool = world.home().join("spool");
    for number in 0..12 {
        fs::write(spool.join("aside"), number.to_string()).expect("written");
        fs::rename(spool.join("aside"), spool.join(format!("{number:02}.job"))).expect("renamed");
    }
    world.wait_for("a second and a third worker", |world| world.pools().values().any(|pool| pool.status.desired_replicas >= 3));
    let ended = |world: &World| fs::read_dir(world.home().join("done")).map_or(0, Iterator::count);
    world.wait_for("all files to be done", |world| ended(world) == 12);
    for folder in ["spool", "taken"] {
        let left = fs::read_dir(world.home().join(folder)).expect("it is there").flatten();
        assert_eq!(left.filter(|entry| entry.path().extension().is_some()).count(), 0, "files are left in {folder}");
    }
}

/// Five tasks for three agents: all are done, each with its result, and the answer of one comes with its submit.
fn works_off_tasks(world: &mut World, pool: &str) {
    for number in 0..4 {
        world.ctl(&["submit", pool, "--", &format!("{{\"prompt\": \"task number {number}\"}}")]);
    }
    let answer = world.ctl(&["submit", pool, "--wait=30s", "-o", "json", "--", "{\"prompt\": \"one two three\"}"]);
    let task: serde_json::Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!((&task["state"], &task["result"]["words"]), (&"Succeeded".into(), &3.into()), "{answer}");
    world.wait_for("all tasks to be done", |world| world.tasks("Succeeded") == 5);
}

/// Workers in shell take tasks over `ctl task`; one that fails is tried as often as it may be.
fn serves_tasks(world: &mut World) {
    let answer = world.ctl(&["submit", "jobs", "--wait=30s", "-o", "json", "--", "{\"job\": \"a\"}"]);
    assert!(answer.contains("\"by\": \"jobs-") || answer.contains("\"by\":\"jobs-"), "{answer}");
    world.ctl(&["submit", "jobs", "--max-attempts", "2", "--", "{\"job\": \"broken\"}"]);
    world.wait_for("the broken one to be dead", |world| world.tasks("Dead") == 1);
}

/// A signed delivery becomes a task, a second one of the same does not, and one that is signed wrongly is refused.
fn takes_what_a_forge_sends(world: &mut World) {
    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    fs::write(world.home().join("secret"), format!("{SECRET}\n")).expect("written");
    world.wait_for("the address of the webhooks", |world| world.said().contains("/hooks/POOL"));
    let said = world.said();
    let address =
        said.split("webhooks at http://").nth(1).and_then(|rest| rest.split('/').next()).expect("an address").to_owned();
    let event = serde_json::json!({
        "action": "assigned", "number": 7, "commit_id": "",
        "issue": {"number": 7, "title": "$(touch x); --help", "html_url": "https://git.example.org/7", "user": {"login": "eve"}},
        "repository": {"full_name": "team/web", "owner": {"login": "team"}}, "sender": {"login": "alice"},
    });
    let body = event.to_string();
    assert_eq!(deliver(&address, "d-1", &signature("another secret that is long enough", &body), &body), 401);
    assert!((200..300).contains(&deliver(&address, "d-1", &signature(SECRET, &body), &body)), "{}", world.said());
    assert!((200..300).contains(&deliver(&address, "d-2", &signature(SECRET, &body), &body)), "a repetition under another id");
    world.wait_for("the task to be done", |world| world.tasks("Succeeded") == 1);
    let shown = world.ctl(&["get", "tasks", "-o", "json"]);
    let tasks: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(tasks["items"].as_array().map(Vec::len), Some(1), "{shown}");
    let log = world.ctl(&["logs", "task/1"]);
    assert!(log.contains("working on about: $(touch x); --help"), "{log}");
    assert!(!world.home().join("x").exists(), "nothing of a title is run");
}

fn signature(secret: &str, body: &str) -> String {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).expect("any length will do");
    mac.update(body.as_bytes());
    mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn deliver(address: &str, id: &str, signature: &str, body: &str) -> u16 {
    use std::io::{Read, Write};
    let mut stream = std::net::TcpStream::connect(address).expect("it listens");
    let head = format!(
        "POST /hooks/dev/0 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\nX-Gitea-Event: issues\r\n\
         X-Gitea-Delivery: {id}\r\nX-Gitea-Signature: {signature}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("no answer: {answer}"))
}

/// 25 issues for `claude`, none for `kimi`: one step up, and the next waits for the cooldown.
fn follows_its_issues(world: &mut World, forge: &Forge) {
    fs::write(world.home().join("token"), "secret-of-the-test\n").expect("written");
    let size = |world: &World, name: &str, size: u32, clamp: &str| {
        let pools = world.pools();
        let why = pools.get(&format!("{name}.yaml")).and_then(|pool| pool.status.scaling.clone()).unwrap_or_default();
        why.wanted == size && why.clamps.iter().any(|found| found.name == clamp)
    };
    world.wait_for("a second agent and a wait for the third", |world| size(world, "claude", 2, "scaleUp.cooldown"));
    world.wait_for("the least of the others", |world| size(world, "kimi", 1, "minReplicas"));
    assert_eq!(forge.state().strangers, 0, "every question carries the token");
}

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples")
}

/// In memory where that is to be had: a disk that others keep busy may take longer to sync than any deadline.
fn directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a directory")
}

fn validate(folder: &Path) {
    let output = Command::new(env!("CARGO_BIN_EXE_weir")).arg("validate").arg(folder).output().expect("weir runs");
    assert!(output.status.success(), "{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
}

/// A daemon on a copy of an example.
struct World {
    daemon: Child,
    state: PathBuf,
    specs: PathBuf,
    events: Receiver<notify::Result<notify::Event>>,
    _watcher: RecommendedWatcher,
    dir: TempDir,
}

impl World {
    fn start(folder: &str, forge: &Forge) -> World {
        let dir = directory();
        let copy = dir.path().join(folder);
        let mut swaps = ports();
        swaps.push(("https://git.example.org".into(), format!("http://127.0.0.1:{}", forge.port)));
        // Read more often than any deadline here.
        swaps.push(("pollingInterval: 60s".into(), "pollingInterval: 1s".into()));
        copy_tree(&examples().join(folder), &copy, &swaps);
        if folder == "git-ops" {
            commit(&copy);
        }
        let (specs, state) = (copy.join("specs"), dir.path().join("state"));
        fs::create_dir(&state).expect("a state directory");
        let (told, events) = channel();
        let mut watcher = notify::recommended_watcher(told).expect("a watch");
        watcher.watch(&state, RecursiveMode::Recursive).expect("a watch");
        let log = fs::File::create(dir.path().join("log")).expect("a log");
        let daemon = Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["run", "--specs"])
            .arg(&specs)
            .arg("--state")
            .arg(&state)
            .args(if folder == "forge-dispatch" { &["--hooks-listen", "127.0.0.1:0"][..] } else { &[] })
            .env("PATH", path())
            .current_dir(&copy)
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("weir runs");
        let state = state.canonicalize().expect("it is there");
        World { daemon, state, specs, events, _watcher: watcher, dir }
    }

    /// Wait until `holds`, looking after each event; fail at the deadline with what the daemon said.
    fn wait_for(&mut self, what: &str, holds: impl Fn(&World) -> bool) {
        let deadline = clock::now().mono.after(DEADLINE);
        while !holds(self) {
            assert!(clock::now().mono < deadline, "waited in vain for {what}:\n{}", self.said());
            assert!(self.daemon.try_wait().expect("a child").is_none(), "the daemon ended before {what}:\n{}", self.said());
            self.look_later();
        }
    }

    /// What ctl says.
    fn ctl(&self, words: &[&str]) -> String {
        let ran = Command::new(env!("CARGO_BIN_EXE_ctl")).args(words).env("WEIR_STATE", &self.state).output().expect("ctl runs");
        assert!(
            ran.status.success(),
            "ctl {words:?}: {}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
        String::from_utf8_lossy(&ran.stdout).into_owned()
    }

    /// How many tasks are in this state.
    fn tasks(&self, state: &str) -> usize {
        self.ctl(&["get", "tasks", "-o", "json"]).matches(&format!("\"state\": \"{state}\"")).count()
    }

    /// The copy of the example.
    fn home(&self) -> &Path {
        self.specs.parent().expect("it is below")
    }

    fn look_later(&self) {
        // A timeout only means to look again; the watch lives as long as we do.
        let _heard = self.events.recv_timeout(LOOK_AGAIN.duration());
        while self.events.try_recv().is_ok() {}
    }

    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// As many pools as there are spec files, each ready for its present generation, its workers at work or through.
    fn is_up(&self) -> bool {
        let (pools, workers) = (self.pools(), self.workers());
        let wanted = fs::read_dir(&self.specs).expect("specs are there").count();
        pools.len() == wanted && pools.values().all(|pool| is_ready(pool) && are_well(pool, &workers))
    }

    fn pools(&self) -> BTreeMap<String, PoolObject> {
        read_all(&self.state.join("status/workerpools"))
    }

    fn workers(&self) -> BTreeMap<String, WorkerObject> {
        read_all(&self.state.join("status/workers"))
    }

    /// Tell it to end, and see that it ends well and leaves nobody.
    fn end(mut self) {
        // A job may end between two looks: what is counted is true once both looks agree.
        self.wait_for("as many processes with the environment of workers as workers", |world| {
            let alive = world.workers().values().filter(|worker| worker.status.pid.is_some()).count();
            processes_of(&world.state, "environ").len() >= alive
        });
        tell_to_end(&self.daemon);
        let ended = self.ended().unwrap_or_else(|| panic!("it does not end:\n{}", self.said()));
        assert!(ended.success(), "{ended}:\n{}", self.said());
        let left = processes_of(&self.state, "environ");
        assert_eq!(left, Vec::<i32>::new(), "workers are left:\n{}", self.said());
        // Shims end by themselves when their daemon has gone.
        let deadline = clock::now().mono.after(DEADLINE);
        while !processes_of(&self.state, "cmdline").is_empty() {
            assert!(clock::now().mono < deadline, "shims are left");
            self.look_later();
        }
    }

    fn ended(&mut self) -> Option<ExitStatus> {
        let deadline = clock::now().mono.after(DEADLINE);
        while clock::now().mono < deadline {
            if let Some(status) = self.daemon.try_wait().expect("a child") {
                return Some(status);
            }
            self.look_later();
        }
        None
    }
}

impl Drop for World {
    /// After a failure too nothing of ours lives on: the daemon ends its workers, or is ended itself.
    fn drop(&mut self) {
        if matches!(self.daemon.try_wait(), Ok(None)) {
            tell_to_end(&self.daemon);
            if self.ended().is_none() {
                let _killed = self.daemon.kill();
                let _reaped = self.daemon.wait();
            }
        }
    }
}

/// Where the programs of this build are found first: a worker calls ctl.
fn path() -> String {
    let own = Path::new(env!("CARGO_BIN_EXE_ctl")).parent().expect("it is in a directory");
    format!("{}:{}", own.display(), std::env::var("PATH").unwrap_or_default())
}

fn tell_to_end(daemon: &Child) {
    let pid = Pid::from_child(daemon);
    kill_process(pid, Signal::TERM).expect("it is our child and not reaped yet");
}

fn is_ready(pool: &PoolObject) -> bool {
    let ready = |condition: &weir::model::status::Condition| condition.kind == "Ready" && condition.status == Truth::True;
    pool.status.observed_generation == pool.metadata.generation && pool.status.conditions.iter().any(ready)
}

fn are_well(pool: &PoolObject, workers: &BTreeMap<String, WorkerObject>) -> bool {
    let own: Vec<Phase> = workers
        .values()
        .filter(|worker| worker.metadata.owner.as_ref() == Some(&pool.metadata.name))
        .map(|worker| worker.status.phase)
        .collect();
    let well = |phase: &Phase| matches!(phase, Phase::Ready | Phase::Busy | Phase::Completed);
    // A slot that has not had a task yet is nobody.
    let tasks = pool.spec.queue.is_some();
    (tasks || own.len() == pool.status.desired_replicas as usize) && own.iter().all(well)
}

/// Every object of a status directory by file name; one that is being replaced just now is left out.
fn read_all<T: serde::de::DeserializeOwned>(dir: &Path) -> BTreeMap<String, T> {
    let Ok(entries) = fs::read_dir(dir) else { return BTreeMap::new() };
    let files = entries.flatten().filter(|entry| entry.path().extension().is_some_and(|ending| ending == "yaml"));
    let read = |entry: fs::DirEntry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        let object = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}\n{text}", entry.path().display()));
        Some((entry.file_name().to_string_lossy().into_owned(), object))
    };
    files.filter_map(read).collect()
}

/// Processes in whose environment or command line a slot directory of this state stands.
fn processes_of(state: &Path, file: &str) -> Vec<i32> {
    let mark = format!("{}/run", state.display());
    let pids = fs::read_dir("/proc")
        .expect("/proc is there")
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let of_state = |pid: &i32| {
        let text = fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default();
        text.windows(mark.len()).any(|window| window == mark.as_bytes())
    };
    pids.filter(of_state).collect()
}

fn copy_tree(from: &Path, to: &Path, swaps: &[(String, String)]) {
    fs::create_dir_all(to).expect("a directory");
    for entry in fs::read_dir(from).expect("it is there").flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target, swaps);
        } else {
            let text = fs::read_to_string(entry.path()).expect("examples are text");
            let text = swaps.iter().fold(text, |text, (old, new)| text.replace(old, new));
            fs::write(target, text).expect("a copy");
        }
    }
}

/// The examples' ports, and free ones in their place: three in a row, as `web-pair` counts up from its first.
fn ports() -> Vec<(String, String)> {
    let three = || -> io::Result<(u16, Vec<TcpListener>)> {
        let first = TcpListener::bind(("127.0.0.1", 0))?;
        let port = first.local_addr()?.port();
        let next = |n: u16| TcpListener::bind(("127.0.0.1", port.saturating_add(n)));
        Ok((port, vec![first, next(1)?, next(2)?]))
    };
    let (port, _held) = (0..100).find_map(|_| three().ok()).expect("three free ports in a row");
    // First to names that are no ports, so that a new port is not taken for an old one.
    let swap = |old: &str, new: &str| (old.to_owned(), new.to_owned());
    vec![swap("18080", "@one@"), swap("18081", "@two@"), swap("@one@", &port.to_string()), swap("@two@", &(port + 1).to_string())]
}

fn commit(dir: &Path) {
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=example", "-c", "user.email=example@localhost", "-c", "commit.gpgsign=false"])
            .args(args)
            .current_dir(dir)
            .output()
            .expect("git is installed");
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    git(&["init", "--quiet"]);
    git(&["add", "."]);
    git(&["commit", "--quiet", "--message", "One pool"]);
}
