//! Traces, with the real daemon and a collector that is a listener on loopback: what was done arrives, the last of it too; a collector
//! that does not answer, or is not there, holds up nothing. Only in builds with the feature `otel`.

#![expect(clippy::disallowed_methods, reason = "the real daemon is timed from outside")]
#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

#[path = "daemon/harness.rs"]
#[allow(dead_code, reason = "each test program uses a part of it")]
mod harness;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use harness::{Scratch, wait};

/// Requests as a collector gets them: path and body. They are answered with this.
fn collector(answer: &'static str) -> (String, mpsc::Receiver<(String, Vec<u8>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let tell = tell.clone();
            std::thread::spawn(move || while take(&stream, &tell, answer).is_some() {});
        }
    });
    (address, told)
}

fn take(stream: &TcpStream, tell: &mpsc::Sender<(String, Vec<u8>)>, answer: &str) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|read| *read > 0)?;
    let mut length = 0;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    tell.send((first.split(' ').take(2).collect::<Vec<_>>().join(" "), body)).ok()?;
    (&*stream).write_all(answer.as_bytes()).ok()
}

const TAKEN: &str = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";

fn start(scratch: &mut Scratch, variables: &[(&str, &str)]) {
    scratch.put("web.yaml", &scratch.pool("web", 1, "", ""));
    let log = std::fs::OpenOptions::new().create(true).append(true).open(scratch.dir.join("log")).unwrap();
    let mut weir = scratch.weir();
    weir.envs(variables.iter().copied()).stdout(log.try_clone().unwrap()).stderr(log);
    scratch.daemon = Some(weir.spawn().unwrap());
    scratch.wait_workers(1);
    wait("an answer", || pools(scratch).then_some(()), || scratch.log());
}

/// A request, and whether it was answered.
fn pools(scratch: &Scratch) -> bool {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ctl"));
    ctl.arg("--state").arg(scratch.dir.join("state")).args(["get", "pools"]).output().unwrap().status.success()
}

fn holds(body: &[u8], text: &str) -> bool {
    body.windows(text.len()).any(|part| part == text.as_bytes())
}

#[test]
fn what_was_done_arrives_the_last_of_it_too() {
    let (address, told) = collector(TAKEN);
    let mut scratch = Scratch::new();
    // No batch is due for an hour: what arrives was sent at the end.
    start(&mut scratch, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &address), ("OTEL_BSP_SCHEDULE_DELAY", "3600000")]);
    let token = "web.1.1.0123456789abcdef";
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ctl"));
    let refused = ctl.arg("--state").arg(scratch.dir.join("state")).args(["task", "done", token]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert_eq!(scratch.end(), Some(0), "{}", scratch.log());
    let all: Vec<(String, Vec<u8>)> = told.try_iter().collect();
    assert!(!all.is_empty() && all.iter().all(|(line, _)| line == "POST /v1/traces"), "{all:?}");
    let body: Vec<u8> = all.into_iter().flat_map(|(_, body)| body).collect();
    for text in ["service.name", "weir", "turn", "pool", "web", "request", "/apis/weir.dev/v1/{}", "/v1/leases/{}/{}", "admin"] {
        assert!(holds(&body, text), "{text}");
    }
    assert!(!holds(&body, token), "whoever has the token has the task");
    assert!(!holds(&body, "hyper") && !holds(&body, "reqwest"), "of this program alone");
    let log = scratch.log();
    assert!(!log.contains("turn{") && !log.contains("request{"), "lines for people are as they were: {log}");
}

#[test]
fn they_come_as_they_are_due_under_the_name_that_was_given() {
    let (address, told) = collector(TAKEN);
    let traces = format!("{address}/elsewhere");
    let mut scratch = Scratch::new();
    let named = ("OTEL_SERVICE_NAME", "the-third-of-four");
    start(&mut scratch, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", &traces), ("OTEL_BSP_SCHEDULE_DELAY", "20"), named]);
    let (line, body) = told.recv_timeout(harness::PATIENCE).unwrap();
    assert_eq!(line, "POST /elsewhere");
    assert!(holds(&body, named.1));
}

#[test]
fn a_collector_that_is_silent_or_refuses_or_is_not_there_holds_up_nothing() {
    let (silent, _told) = collector("");
    let (refusing, _heard) = collector("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n");
    for (address, told) in [(silent.as_str(), false), (&refusing, true), ("http://127.0.0.1:1", true)] {
        let mut scratch = Scratch::new();
        start(&mut scratch, &[("OTEL_EXPORTER_OTLP_ENDPOINT", address), ("OTEL_BSP_SCHEDULE_DELAY", "20")]);
        if told {
            let said = || scratch.log().contains("the collector does not take traces");
            wait("that is told", || said().then_some(()), || scratch.log());
        }
        let begun = Instant::now();
        assert_eq!(scratch.end(), Some(0), "{}", scratch.log());
        assert!(begun.elapsed() < Duration::from_secs(15), "{address}: {:?}", begun.elapsed());
        assert!(scratch.log().matches("the collector does not take traces").count() <= 1, "{}", scratch.log());
    }
}

#[test]
fn nothing_is_sent_unless_it_was_asked_for_and_what_is_wrong_is_said() {
    let (address, told) = collector(TAKEN);
    let at = ("OTEL_EXPORTER_OTLP_ENDPOINT", address.as_str());
    for variables in [&[][..], &[at, ("OTEL_SDK_DISABLED", "true")], &[at, ("OTEL_TRACES_EXPORTER", "none")]] {
        let mut scratch = Scratch::new();
        start(&mut scratch, variables);
        assert_eq!(scratch.end(), Some(0));
    }
    assert!(told.try_recv().is_err());
    let scratch = Scratch::new();
    let ran = scratch.weir().env(at.0, "not an address").output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.code() == Some(1) && said.contains("traces to"), "{said}");
}
