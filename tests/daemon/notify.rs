//! Events that are told to people and bots: a receiver on loopback, a command, and a daemon that waits for neither.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use crate::harness::{Scratch, wait};

/// A receiver: what it was sent, with the token that came with it. It ends with the test's process.
struct Receiver {
    port: u16,
    got: Arc<Mutex<Vec<(String, Value)>>>,
}

impl Receiver {
    /// One that answers, or one that never does.
    fn start(answers: bool) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let (port, got) = (listener.local_addr().expect("bound").port(), Arc::default());
        let receiver = Receiver { port, got };
        let got = receiver.got.clone();
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().flatten() {
                if answers {
                    let got = got.clone();
                    std::thread::spawn(move || serve(stream, &got));
                } else {
                    got.lock().expect("no answer panics").push((String::new(), Value::Null));
                    held.push(stream);
                }
            }
        });
        receiver
    }

    fn got(&self) -> Vec<(String, Value)> {
        self.got.lock().expect("no answer panics").clone()
    }
}

fn serve(stream: TcpStream, got: &Mutex<Vec<(String, Value)>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut length, mut token, mut line) = (0, String::new(), String::new());
        while reader.read_line(&mut line).is_ok_and(|n| n > 2) {
            let (name, value) = line.split_once(':').unwrap_or_default();
            match name.to_lowercase().as_str() {
                "content-length" => length = value.trim().parse().unwrap_or(0),
                "authorization" => token = value.trim().to_owned(),
                _ => {}
            }
            line.clear();
        }
        let mut body = vec![0; length];
        if length == 0 || reader.read_exact(&mut body).is_err() {
            return;
        }
        got.lock().expect("no answer panics").push((token, serde_json::from_slice(&body).expect("JSON")));
        if reader.get_mut().write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").is_err() {
            return;
        }
    }
}

fn failing(scratch: &Scratch, notify: &str) -> String {
    let more = format!("    backoff: {{initial: 10ms, max: 20ms}}\n  notify:\n{notify}");
    scratch.pool("bad", 1, "[\"false\"]", &more)
}

#[test]
fn a_crash_loop_is_told_to_a_receiver_and_to_a_command() {
    let (mut scratch, receiver) = (Scratch::new(), Receiver::start(true));
    fs::write(scratch.dir.join("token"), "secret-of-the-test\n").expect("written");
    let out = scratch.dir.join("told.json");
    let token = scratch.dir.join("token");
    let notify = format!(
        "  - {{on: [CrashLoop, Accepted], webhook: {{url: \"http://127.0.0.1:{}/hook\", tokenFrom: {{file: {}}}}}}}\n  \
         - {{on: [CrashLoop], exec: {{command: [dd, \"of={}\"]}}}}\n",
        receiver.port,
        token.display(),
        out.display()
    );
    scratch.put("bad.yaml", &failing(&scratch, &notify));
    scratch.start();
    let got = wait(
        "two messages",
        || Some(receiver.got()).filter(|got| got.len() >= 2),
        || format!("{:?}\n{}", receiver.got(), scratch.log()),
    );
    let reasons: Vec<&str> = got.iter().filter_map(|(_, body)| body["reason"].as_str()).collect();
    assert_eq!(reasons, ["Accepted", "CrashLoop"], "a new document's own receiver hears that it was accepted");
    assert!(got.iter().all(|(token, body)| token == "Bearer secret-of-the-test" && body["pool"] == "bad"), "{got:?}");
    assert!(got[1].1["text"].as_str().is_some_and(|text| text.starts_with("pool/bad CrashLoop: ")), "{got:?}");
    let read = || serde_json::from_slice::<Value>(&fs::read(&out).ok()?).ok();
    let told = wait("the command's event", read, || scratch.log());
    assert_eq!((&told["reason"], &told["type"], &told["kind"]), (&"CrashLoop".into(), &"Warning".into(), &"Event".into()));
    assert_eq!(told["metadata"]["name"], got[1].1["metadata"]["name"], "both are told of the same event");
    assert!(!scratch.log().contains("secret-of-the-test"));
}

#[test]
fn a_pool_at_its_ceiling_says_so_once() {
    let (mut scratch, receiver) = (Scratch::new(), Receiver::start(true));
    let document = format!(
        "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: full}}\nspec:\n  scale:\n    minReplicas: 0\n    \
         maxReplicas: 1\n    triggers:\n    - {{exec: {{command: [echo, \"9\"]}}, pollingInterval: 1s, targetPerWorker: 1}}\n  template:\n    \
         command: [sleep, \"100000\"]\n    env:\n    - {{name: OBSERVER_MARK, value: {}}}\n  notify:\n  \
         - {{on: [ScalingLimited, Updated], webhook: {{url: \"http://127.0.0.1:{}/\"}}}}\n",
        scratch.mark, receiver.port
    );
    scratch.put("full.yaml", &document);
    scratch.start();
    scratch.wait_workers(1);
    let told = || Some(receiver.got()).filter(|got| !got.is_empty());
    wait("the ceiling", told, || scratch.log());
    let polled = || scratch.status("workerpools", "full").filter(|full| full["status"]["backlog"][0]["value"] == 9.0);
    wait("a reading", polled, || scratch.log());
    scratch.put("full.yaml", &document.replace("maxReplicas: 1", "maxReplicas: 2"));
    scratch.wait_workers(2);
    let got = wait("the change", || Some(receiver.got()).filter(|got| got.len() >= 2), || scratch.log());
    let reasons: Vec<&str> = got.iter().filter_map(|(_, body)| body["reason"].as_str()).collect();
    assert_eq!(reasons, ["ScalingLimited", "Updated"], "{got:?}");
}

#[test]
fn a_receiver_that_never_answers_holds_up_nothing() {
    let (mut scratch, receiver) = (Scratch::new(), Receiver::start(false));
    let notify = format!("  - {{on: ['*'], webhook: {{url: \"http://127.0.0.1:{}/\"}}}}\n", receiver.port);
    scratch.put("bad.yaml", &failing(&scratch, &notify));
    scratch.put("good.yaml", &scratch.pool("good", 2, "", &format!("  notify:\n{notify}")));
    scratch.start();
    wait("a caller that waits", || (receiver.got().len() >= 2).then_some(()), || scratch.log());
    scratch.wait_workers(2);
    scratch.put("good.yaml", &scratch.pool("good", 3, "", &format!("  notify:\n{notify}")));
    scratch.wait_workers(3);
    let status =
        || scratch.status("workerpools", "bad").filter(|bad| bad["status"]["conditions"].to_string().contains("BackOff"));
    wait("the crash loop in the status", status, || scratch.log());
    let log = || scratch.log().contains("notify: more events than are told").then_some(());
    wait("a word about what is dropped", log, || scratch.log());
    assert_eq!(scratch.end(), Some(0));
}
