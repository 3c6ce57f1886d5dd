//! Our own metrics: promtool finds nothing wrong, a real Prometheus scrapes them with a token, and every query of the shipped
//! dashboard and alerts is about series that there are.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::server::{Server, http};

const POOL: &str = "apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: jobs}
spec:
  scale: {minReplicas: 0, maxReplicas: 2, triggers: [{queue: {}, targetPerWorker: 1}, {exec: {command: ['false']}, pollingInterval: 1s, targetPerWorker: 1}]}
  template: {command: [sh, -c, 'exit $0', $(payload.code)]}
  queue: {delivery: Process, retry: {maxAttempts: 1}}
---
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: loop}
spec:
  replicas: 1
  template: {command: [sh, -c, 'exit 1']}
";

/// A daemon of ours with a pool that has worked.
struct Daemon {
    child: Child,
    dir: tempfile::TempDir,
}

impl Daemon {
    fn started() -> Daemon {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(dir.path().join("specs")).expect("made");
        std::fs::write(dir.path().join("specs/jobs.yaml"), POOL).expect("written");
        let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
        command.args(["run", "--listen", "127.0.0.1:0", "--specs"]).arg(dir.path().join("specs"));
        command.arg("--state").arg(dir.path().join("state")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let daemon = Daemon { child: command.spawn().expect("weir runs"), dir };
        daemon.ctl(&["wait", "pool/jobs", "--for=condition=Ready", "--timeout=60s"]);
        for code in ["0", "0", "3"] {
            daemon.try_ctl(&["submit", "jobs", "--wait", "--", &format!("{{\"code\": \"{code}\"}}")]);
        }
        daemon
    }

    fn try_ctl(&self, words: &[&str]) -> std::process::Output {
        Command::new(env!("CARGO_BIN_EXE_ctl")).arg("--state").arg(self.path("state")).args(words).output().expect("ctl runs")
    }

    /// Until the daemon is there to answer.
    fn ctl(&self, words: &[&str]) {
        let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
        loop {
            let ran = self.try_ctl(words);
            if ran.status.success() {
                return;
            }
            assert!(std::time::Instant::now() < until, "ctl {words:?}: {}", String::from_utf8_lossy(&ran.stderr));
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).expect("it is there").trim().to_owned()
    }

    fn scrape(&self, accept: &str) -> String {
        let mut command = Command::new("curl");
        command.args(["-sS", "--fail", "-H", &format!("Accept: {accept}"), "--unix-socket"]).arg(self.path("state/weir.sock"));
        let got = command.arg("http://localhost/metrics").output().expect("curl runs");
        assert!(got.status.success(), "{}", String::from_utf8_lossy(&got.stderr));
        String::from_utf8(got.stdout).expect("text")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It ends its workers itself.
        let _asked = kill(Pid::from_raw(i32::try_from(self.child.id()).expect("a pid")), Signal::SIGTERM);
        let _ended = self.child.wait();
    }
}

/// All queries of the shipped files.
fn shipped() -> Vec<String> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics");
    let board: Value = serde_json::from_str(&std::fs::read_to_string(root.join("grafana.json")).expect("there")).expect("JSON");
    let targets =
        board["panels"].as_array().expect("panels").iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let mut all: Vec<String> = targets.map(|target| target["expr"].as_str().expect("a query").replace("$pool", ".*")).collect();
    let rules = std::fs::read_to_string(root.join("alerts.yaml")).expect("there");
    all.extend(rules.lines().filter_map(|line| line.trim().strip_prefix("expr: ")).map(str::to_owned));
    assert!(all.len() > 15, "{all:?}");
    all
}

fn names(query: &str) -> Vec<String> {
    let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').filter(|word| word.starts_with("weir_"));
    words.map(str::to_owned).collect()
}

fn encoded(query: &str) -> String {
    query.bytes().map(|b| if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

#[test]
fn promtool_finds_nothing_wrong() {
    use std::io::Write as _;
    let daemon = Daemon::started();
    let text = daemon.scrape("*/*");
    let mut promtool = Command::new("promtool");
    promtool.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = promtool.spawn().expect("promtool runs");
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let said = child.wait_with_output().expect("ended");
    let words = format!("{}{}", String::from_utf8_lossy(&said.stdout), String::from_utf8_lossy(&said.stderr));
    assert!(said.status.success() && words.is_empty(), "{words}\n{text}");
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/metrics/alerts.yaml");
    let checked = Command::new("promtool").args(["check", "rules"]).arg(rules).output().expect("promtool runs");
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let open = daemon.scrape("application/openmetrics-text; version=1.0.0");
    assert!(open.ends_with("# EOF\n"), "{open}");
}

#[test]
fn a_real_prometheus_scrapes_and_every_shipped_query_is_about_something() {
    let daemon = Daemon::started();
    let mut server = Server::new(Signal::SIGKILL);
    server.file(
        "prometheus.yml",
        &format!(
            "global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\nscrape_configs: [{{job_name: weir, authorization: \
             {{credentials_file: '{}'}}, static_configs: [{{targets: ['{}']}}]}}]\n",
            daemon.path("state/token").display(),
            daemon.text("state/listen")
        ),
    );
    let mut command = Command::new("prometheus");
    command.arg(format!("--web.listen-address={}", server.address()));
    command.arg(format!("--config.file={}", server.path("prometheus.yml")));
    command.arg(format!("--storage.tsdb.path={}", server.path("data")));
    server.start(command);
    let ask = |query: &str| -> Value {
        let (status, answer) = http(&server, &format!("GET /api/v1/query?query={}", encoded(query)), "", "");
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).unwrap_or_else(|_| Value::from(format!("{status} {answer}")))
    };
    let first = |answer: &Value| answer.pointer("/data/result/0/value/1").and_then(Value::as_str).map(str::to_owned);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while first(&ask("weir_task_attempts_total{end=\"Done\"}")).as_deref() != Some("2") {
        assert!(std::time::Instant::now() < until, "it does not scrape: {} {}", ask("up"), ask("weir_task_attempts_total"));
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(first(&ask("up")).as_deref(), Some("1"));
    for query in shipped() {
        let answer = ask(&query);
        assert_eq!(answer["status"], "success", "{query}: {answer}");
        for name in names(&query) {
            let there = ask(&format!("count({{__name__=\"{name}\"}})"));
            assert!(first(&there).is_some(), "{query}: there is no series {name}");
        }
    }
}
