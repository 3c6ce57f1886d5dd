//! A server with a scratch directory and a port of its own, and how readers are asked.
//!
//! Whatever happens to a test, its server is ended by its own pid and its directory removed.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use weir::edge::backlog::Reader;
use weir::model::source::SecretSource;

/// How long anything may take that takes a second or two on a calm machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server that runs, or does not.
pub struct Server {
    pub dir: tempfile::TempDir,
    pub port: u16,
    /// How it is asked to end at once.
    pub end: Signal,
    child: Option<Child>,
}

impl Server {
    /// A scratch directory and a free port.
    pub fn new(end: Signal) -> Server {
        Server { dir: tempfile::tempdir().expect("a directory"), port: free_port(), end, child: None }
    }

    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// A file of its scratch directory, written.
    pub fn file(&self, name: &str, text: &str) -> String {
        std::fs::write(self.path(name), text).expect("written");
        self.path(name)
    }

    /// A file with a secret in it.
    pub fn secret(&self, name: &str, text: &str) -> SecretSource {
        SecretSource { file: Some(self.file(name, &format!("{text}\n"))), env: None }
    }

    /// Start it, and wait until it listens.
    pub fn start(&mut self, mut command: Command) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join("log")).expect("a log");
        command.current_dir(self.dir.path()).stdin(Stdio::null()).stdout(log.try_clone().expect("a copy")).stderr(log);
        let program = command.get_program().to_owned();
        let child = command.spawn();
        self.child = Some(child.unwrap_or_else(|e| panic!("{}: {e} (tests/run installs it)", program.display())));
        let listens = || {
            let ended = self.child.as_mut().is_some_and(|child| child.try_wait().is_ok_and(|status| status.is_some()));
            if ended {
                // Its pid may be another's from now on.
                self.child = None;
            }
            ended || TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        };
        wait(&format!("{} to listen", program.display()), listens, self.dir.path());
        let log = || std::fs::read_to_string(self.path("log")).unwrap_or_default();
        assert!(self.child.is_some(), "{} ended at once\n{}", program.display(), log());
    }

    /// Stop it where it is, until SIGCONT: each of its threads, which takes a moment.
    pub fn freeze(&self) {
        self.signal(Signal::SIGSTOP);
        let pid = self.child.as_ref().expect("it runs").id();
        let stopped = || {
            let threads = std::fs::read_dir(format!("/proc/{pid}/task")).expect("its threads");
            let mut states = threads.flatten().filter_map(|thread| std::fs::read_to_string(thread.path().join("stat")).ok());
            states.all(|stat| stat.contains(") T "))
        };
        wait("the server to stop", stopped, self.dir.path());
    }

    /// Send it a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(child) = &self.child {
            // Not reaped yet: the pid is its own.
            kill(Pid::from_raw(child.id().cast_signed()), signal).expect("its own");
        }
    }

    /// End it.
    pub fn stop(&mut self) {
        self.signal(self.end);
        self.signal(Signal::SIGCONT);
        if let Some(mut child) = self.child.take() {
            child.wait().expect("reaped");
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A port of loopback where nobody listens now.
pub fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).expect("a port").port()
}

/// Wait until it is so.
pub fn wait(what: &str, mut so: impl FnMut() -> bool, dir: &Path) {
    let until = Instant::now() + PATIENCE;
    while !so() {
        let log = || std::fs::read_to_string(dir.join("log")).unwrap_or_default();
        assert!(Instant::now() < until, "waited in vain for {what}\n{}", log());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a command prints; it must succeed.
pub fn output(command: &mut Command) -> String {
    let program = command.get_program().to_owned();
    let output =
        command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{}: {e} (tests/run installs it)", program.display()));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// One question of a test's own over HTTP, `GET /path`, with header lines and a body: the status and the whole answer.
pub fn http(server: &Server, question: &str, headers: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(("127.0.0.1", server.port)).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let length = body.len();
    let asked = format!("{question} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Length: {length}\r\n{headers}\r\n{body}");
    stream.write_all(asked.as_bytes()).expect("asked");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("answered");
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{question}: {answer}")), answer)
}

/// Ask once: the number, or the words of the failure.
pub async fn ask(reader: &mut Reader) -> Result<f64, String> {
    let answer = tokio::time::timeout(PATIENCE, reader.read()).await.expect("answers or fails in time");
    answer.map(|number| number.value()).map_err(|failure| failure.message)
}

/// Ask once: it must be a failure, with these words.
pub async fn fails(reader: &mut Reader, words: &str) {
    let answer = ask(reader).await;
    assert!(answer.as_ref().is_err_and(|said| said.contains(words)), "wanted {words:?}: {answer:?}");
}

/// Ask until it is this number: some servers count a moment later.
pub async fn becomes(reader: &mut Reader, number: f64) {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask(reader).await;
        if answer == Ok(number) {
            return;
        }
        assert!(Instant::now() < until, "waited in vain for {number}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ask until there is a number: while the server comes up it may fail, but the first number must be this one.
pub async fn is_back(reader: &mut Reader, number: f64) {
    is_back_with(reader, &[number]).await;
}

/// As [`is_back`], where the server itself may have lost the last it was told.
pub async fn is_back_with(reader: &mut Reader, numbers: &[f64]) {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask(reader).await;
        if let Ok(number) = answer {
            assert!(numbers.contains(&number), "{number}, of {numbers:?}");
            return;
        }
        assert!(Instant::now() < until, "waited in vain for {numbers:?}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Ask until there is no number any more, for this reason: some servers forget a moment later.
pub async fn comes_to_fail(reader: &mut Reader, words: &str) {
    let until = Instant::now() + PATIENCE;
    loop {
        let answer = ask(reader).await;
        if answer.as_ref().is_err_and(|said| said.contains(words)) {
            return;
        }
        assert!(Instant::now() < until, "waited in vain for {words:?}: {answer:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// A server that is stopped answers nothing, and the question that was given up does not spoil the next.
pub async fn gives_up(reader: &mut Reader, server: &Server) {
    server.freeze();
    let silent = tokio::time::timeout(Duration::from_millis(300), reader.read()).await;
    server.signal(Signal::SIGCONT);
    assert!(silent.is_err(), "{silent:?}");
}
