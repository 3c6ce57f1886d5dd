//! The real kubectl, the client library of Python, and strangers, against the real daemon on a scratch directory and a port of its own.
//!
//! Nothing here knows how the daemon does it: commands go in, what they print is looked at, and so is the spec file.

#![expect(clippy::disallowed_methods, reason = "the real daemon is timed from outside")]
#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

#[allow(dead_code, reason = "a part of it is used")]
#[path = "../daemon/harness.rs"]
mod harness;
mod rust;
mod script;
mod strangers;
#[path = "../queues/venv.rs"]
mod venv;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};

use harness::{PATIENCE, Scratch, wait};
use venv::{environment, run};

/// The pool that most commands are about, as its author wrote it.
const WEB: &str = "# The web workers.\napiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata:\n  name: web\n  labels: {tier: front} # to select by\nspec:\n  \
    # how many\n  replicas: 2 # two\n  template:\n    command: [sleep, \"100000\"] # the program\n    terminationGracePeriod: 1s\n    env:\n    \
    - {name: OBSERVER_MARK, value: @@}\n";

/// One that says something.
const TALK: &str = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: talk}\nspec:\n  replicas: 1\n  template:\n    \
    command: [bash, -c, \"echo hello from $WEIR_WORKER; exec sleep 100000\"]\n    terminationGracePeriod: 1s\n    env:\n    \
    - {name: OBSERVER_MARK, value: @@}\n";

/// All that is wanted of the pool has come, and has been ready for `minReady`.
fn settled(pool: &serde_json::Value) -> bool {
    let holds = |kind, truth| {
        let conditions = pool["status"]["conditions"].as_array();
        conditions.is_some_and(|all| all.iter().any(|one| one["type"] == kind && one["status"] == truth))
    };
    pool["status"]["readyReplicas"] == pool["spec"]["replicas"] && holds("Ready", "True") && holds("Progressing", "False")
}

/// A daemon with two pools, and the way to it.
struct Served {
    scratch: Scratch,
    address: String,
}

impl Served {
    fn start(flags: &[&str]) -> Served {
        let flags: Vec<&str> = ["--listen", "127.0.0.1:0", "--prune-grace", "1s"].iter().chain(flags).copied().collect();
        let mut scratch = Scratch::new().with(&flags);
        for (file, text) in [("web.yaml", WEB), ("talk.yaml", TALK)] {
            scratch.put(file, &text.replace("@@", &scratch.mark));
        }
        scratch.start();
        let at = scratch.dir.join("state/listen");
        let address = wait("address", || fs::read_to_string(&at).ok().filter(|text| text.ends_with('\n')), || scratch.log());
        scratch.wait_workers(3);
        for pool in ["web", "talk"] {
            scratch.wait_status("workerpools", pool, settled);
        }
        let served = Served { scratch, address: address.trim().into() };
        fs::write(served.dir().join("kubeconfig"), served.ctl(&["kubeconfig"])).unwrap();
        served
    }

    fn dir(&self) -> &Path {
        &self.scratch.dir
    }

    /// The spec of the pool `web` as it stands in its file.
    fn web(&self) -> String {
        fs::read_to_string(self.scratch.spec("web.yaml")).unwrap()
    }

    fn token(&self) -> String {
        fs::read_to_string(self.dir().join("state/token")).unwrap().trim().to_owned()
    }

    /// What `ctl` prints, through the socket.
    fn ctl(&self, words: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
        let ran = command.arg("--state").arg(self.dir().join("state")).args(words).stdin(Stdio::null()).output().unwrap();
        assert!(ran.status.success(), "ctl {words:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8(ran.stdout).unwrap()
    }

    /// `kubectl`, to be given arguments.
    fn kubectl(&self) -> Command {
        let mut command = Command::new("kubectl");
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).env("HOME", self.dir()).env("KUBECONFIG", self.dir().join("kubeconfig"));
        command.current_dir(self.dir());
        command
    }

    /// One raw request over TCP, in the clear: the status code and the body.
    fn raw(&self, head: &str, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let request = format!("{head} HTTP/1.1\r\n{headers}connection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = Vec::new();
        // A server that refuses early may reset the connection behind its answer.
        let _all = stream.read_to_end(&mut answer);
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
        (code, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or_default())
    }
}

#[test]
fn what_is_printed_is_applied_as_it_is() {
    let served = Served::start(&[]);
    let before = served.web();
    let file = served.dir().join("printed");
    let apply = ["apply", "-f", file.to_str().unwrap()];
    for printed in [
        served.ctl(&["get", "pool/web", "-o", "yaml"]),
        served.ctl(&["get", "pools", "-o", "json"]),
        String::from_utf8(served.kubectl().args(["get", "pools", "-o", "yaml"]).output().unwrap().stdout).unwrap(),
    ] {
        assert!(printed.contains("uid") && printed.contains("status"), "{printed}");
        fs::write(&file, printed).unwrap();
        let said = served.ctl(&apply);
        assert!(said.contains("pool/web unchanged") && !said.contains("configured"), "{said}");
        served.ctl(&["diff", "-f", file.to_str().unwrap()]);
    }
    assert_eq!(served.web(), before);
    let more = served.ctl(&["get", "pool/web", "-o", "yaml"]).replace("replicas: 2", "replicas: 3");
    fs::write(&file, more).unwrap();
    assert_eq!(served.ctl(&apply), "pool/web configured\n");
    assert!(served.web().contains("replicas: 3") && !served.web().contains("uid"), "{}", served.web());
}

#[test]
fn nothing_of_what_is_printed_is_lost_or_read_anew() {
    let served = Served::start(&[]);
    let file = served.dir().join("printed");
    let apply = |text: &str, more: &[&str]| {
        fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
        command.arg("--state").arg(served.dir().join("state")).args(["apply", "-f"]).arg(&file).args(more);
        let ran = command.stdin(Stdio::null()).output().unwrap();
        let text = |bytes| String::from_utf8(bytes).unwrap();
        (ran.status.code().unwrap(), text(ran.stdout), text(ran.stderr))
    };
    // A value with a "#" is no comment.
    let hash = served
        .web()
        .replace("name: web", "name: hash")
        .replace("100000\"]", "100000\", \"# x\"] # mine")
        .replace("replicas: 2", "replicas: 0");
    assert_eq!(apply(&hash, &[]), (0, "pool/hash created\n".into(), String::new()));
    served.ctl(&["wait", "pool/hash", "--for=condition=Ready", "--timeout=20s"]);
    let printed = served.ctl(&["get", "pool/hash", "-o", "yaml"]);
    assert_eq!(apply(&printed, &[]).1, "pool/hash unchanged\n");
    assert!(served.scratch.spec("hash.yaml").exists());
    assert!(fs::read_to_string(served.scratch.spec("hash.yaml")).unwrap().contains("# mine"));
    // A text stays the text that it is.
    let with_value = printed.replace(
        "    env:\n",
        "    env:\n    - {name: A, value: 0777}\n    - {name: B, value: on}\n    - {name: C, value: 1.10}\n",
    );
    let (code, said, why) = apply(&with_value, &[]);
    assert_eq!((code, said.as_str()), (0, "pool/hash configured\n"), "{why}");
    let stands = fs::read_to_string(served.scratch.spec("hash.yaml")).unwrap();
    assert!(["value: 0777", "value: on", "value: 1.10"].iter().all(|value| stands.contains(value)), "{stands}");
    // More than a file may hold, and more than can be applied at once.
    let item = |n: usize| {
        format!("- {}", printed.replace("name: hash", &format!("name: hash-{n}")).replace('\n', "\n  ").trim_end()) + "\n"
    };
    let list = |count: usize| format!("apiVersion: v1\nitems:\n{}kind: List\n", (0..count).map(item).collect::<String>());
    let many = (1..).find(|n| list(*n).len() > 300_000).unwrap();
    let (code, said, why) = apply(&list(many), &["--dry-run"]);
    assert_eq!((code, said.lines().count()), (0, many), "{why}");
    let (code, said, why) = apply(&list(4 * many), &["--dry-run"]);
    assert!(code == 1 && said.is_empty() && why.contains("apply it in parts"), "{code} {said} {why}");
    // A mistake is where it stands.
    let wrong = format!("{printed}---\n{}", served.web().replace("replicas: 2", "replicaz: 2"));
    let line = wrong.lines().position(|line| line.contains("replicaz")).unwrap() + 1;
    let (code, said, why) = apply(&wrong, &[]);
    assert!(code == 1 && said.is_empty() && why.contains(&format!("printed:{line}:3")), "{why}");
}

/// What pip installs; a change here makes the environment anew.
const PACKAGES: &[&str] = &["kubernetes>=31,<40"];

#[test]
fn the_python_client_lists_and_watches() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let venv = environment("kube", PACKAGES);
    let served = Served::start(&[]);
    let mut command = Command::new(venv.join("bin/python"));
    run(command.arg(root.join("tests/kube/client.py")).arg(served.dir().join("kubeconfig")));
}
