//! Receivers on loopback that answer, fail, hang and lead elsewhere; and what each of them was told.
//! Waits are short here; nothing is asked outside of this machine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;

use super::*;
use crate::edge::clock;
use crate::model::pool::Webhook;
use crate::model::reason::Reason;
use crate::model::source::SecretSource;
use crate::model::template::Exec;

const TOKEN: &str = "t0ken-S3cret";

/// A receiver: what it was sent, head and body, and what it answers to the first, the second, and all that follow.
struct Receiver {
    url: String,
    got: Arc<Mutex<Vec<(String, Value)>>>,
    /// A permit for each answer.
    gate: Arc<Semaphore>,
}

impl Receiver {
    async fn start(answers: &'static [&'static str]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/hook?key={TOKEN}", listener.local_addr().unwrap());
        let receiver = Receiver { url, got: Arc::default(), gate: Arc::new(Semaphore::new(0)) };
        let (got, gate) = (receiver.got.clone(), receiver.gate.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, got.clone(), gate.clone(), answers));
            }
        });
        receiver
    }

    async fn open(answers: &'static [&'static str]) -> Receiver {
        let receiver = Receiver::start(answers).await;
        receiver.gate.add_permits(100_000);
        receiver
    }

    fn got(&self) -> Vec<(String, Value)> {
        self.got.lock().unwrap().clone()
    }

    async fn wait(&self, count: usize) -> Vec<(String, Value)> {
        until(|| self.got().len() >= count).await;
        self.got()
    }
}

async fn until(is: impl Fn() -> bool) {
    let patience = tokio::time::Instant::now() + Duration::from_secs(20);
    while !is() {
        assert!(tokio::time::Instant::now() < patience, "it did not come");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn serve(mut stream: TcpStream, got: Arc<Mutex<Vec<(String, Value)>>>, gate: Arc<Semaphore>, answers: &[&str]) {
    let mut read = Vec::new();
    loop {
        let mut some = [0; 4096];
        match stream.read(&mut some).await {
            Ok(n) if n > 0 => read.extend_from_slice(&some[..n]),
            Ok(_) | Err(_) => return,
        }
        let text = String::from_utf8_lossy(&read).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let Ok(body) = serde_json::from_str(body) else { continue };
        let nth = {
            let mut got = got.lock().unwrap();
            got.push((head.to_lowercase(), body));
            got.len() - 1
        };
        gate.acquire().await.unwrap().forget();
        let answer = answers.get(nth).or(answers.last()).unwrap();
        let _gone = stream.write_all(format!("HTTP/1.1 {answer}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await;
        read.clear();
    }
}

fn webhook(url: &str) -> Notify {
    let webhook = Webhook { url: url.into(), token_from: None, allow_private: false };
    Notify { on: vec![Reason::CrashLoop], webhook: Some(webhook), exec: None }
}

fn exec(command: &[&str]) -> Notify {
    let exec = Exec { command: command.iter().map(|part| (*part).to_owned()).collect() };
    Notify { on: vec![Reason::CrashLoop], webhook: None, exec: Some(exec) }
}

fn event(n: usize) -> EventObject {
    let mut event = EventObject { reason: "CrashLoop".into(), regarding: "pool/web".into(), ..EventObject::default() };
    event.note = format!("the {n}th\u{1b}[31m");
    event.metadata.name = format!("web.{n}");
    event
}

fn quick() -> Limits {
    Limits { first_wait: Span::millis(10), longest_wait: Span::millis(50), attempts: 4, ..Limits::default() }
}

fn tell(notifier: &mut Notifier, how: &Notify, n: usize) {
    notifier.tell(("web", 0), how, &event(n), clock::now().mono);
}

#[tokio::test]
async fn an_event_arrives_as_json_with_the_token() {
    let receiver = Receiver::open(&["204 No Content"]).await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{TOKEN}\n")).unwrap();
    let mut how = webhook(&receiver.url);
    let from = SecretSource { file: Some(file.path().display().to_string()), env: None };
    how.webhook.as_mut().unwrap().token_from = Some(from);
    let mut notifier = Notifier::new(quick());
    tell(&mut notifier, &how, 1);
    let (head, body) = receiver.wait(1).await.remove(0);
    assert!(head.starts_with("post /hook?key=") && head.contains("content-type: application/json"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {}", TOKEN.to_lowercase())), "{head}");
    assert_eq!(
        (&body["pool"], &body["reason"], &body["dropped"], &body["kind"]),
        (&json!("web"), &json!("CrashLoop"), &json!(0), &json!(""))
    );
    assert_eq!(body["text"], "pool/web CrashLoop: the 1th\u{fffd}[31m");
    assert_eq!(body["metadata"]["name"], "web.1");
    // A new token is taken for the next one.
    std::fs::write(file.path(), "another").unwrap();
    tell(&mut notifier, &how, 2);
    assert!(receiver.wait(2).await[1].0.contains("authorization: bearer another"));
}

#[tokio::test]
async fn what_fails_for_now_is_tried_again_and_what_fails_for_good_is_not() {
    let receiver = Receiver::open(&["500 No", "429 Later\r\nRetry-After: 1", "200 OK"]).await;
    let mut notifier = Notifier::new(quick());
    tell(&mut notifier, &webhook(&receiver.url), 1);
    tell(&mut notifier, &webhook(&receiver.url), 2);
    let got = receiver.wait(4).await;
    let names: Vec<&str> = got.iter().map(|(_, body)| body["metadata"]["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["web.1", "web.1", "web.1", "web.2"], "in order, each until it is told");
    for answer in [["400 No", "200 OK"], ["302 Found\r\nLocation: /elsewhere", "200 OK"]] {
        let receiver = Receiver::open(Box::leak(Box::new(answer))).await;
        let mut notifier = Notifier::new(quick());
        tell(&mut notifier, &webhook(&receiver.url), 1);
        tell(&mut notifier, &webhook(&receiver.url), 2);
        let got = receiver.wait(2).await;
        assert_eq!((&got[1].1["metadata"]["name"], &got[1].1["dropped"]), (&json!("web.2"), &json!(1)), "{answer:?}");
        assert!(got.iter().all(|(head, _)| head.starts_with("post /hook")));
    }
    let receiver = Receiver::open(&["503 No"]).await;
    let mut notifier = Notifier::new(quick());
    tell(&mut notifier, &webhook(&receiver.url), 1);
    tell(&mut notifier, &webhook(&receiver.url), 2);
    let got = receiver.wait(8).await;
    assert_eq!(got[3].1["metadata"]["name"], "web.1");
    assert_eq!(
        (&got[4].1["metadata"]["name"], &got[4].1["dropped"]),
        (&json!("web.2"), &json!(1)),
        "four attempts, then the next"
    );
}

#[tokio::test]
async fn whoever_tells_never_waits_and_the_receiver_hears_what_it_missed() {
    let receiver = Receiver::start(&["200 OK"]).await;
    let mut notifier = Notifier::new(Limits { waiting: 5, burst: 10_000, ..quick() });
    tell(&mut notifier, &webhook(&receiver.url), 0);
    receiver.wait(1).await;
    for n in 1..=500 {
        tell(&mut notifier, &webhook(&receiver.url), n);
    }
    receiver.gate.add_permits(100);
    receiver.wait(6).await;
    tell(&mut notifier, &webhook(&receiver.url), 501);
    let got = receiver.wait(7).await;
    let dropped: Vec<u64> = got.iter().map(|(_, body)| body["dropped"].as_u64().unwrap()).collect();
    assert_eq!(dropped, [0, 0, 0, 0, 0, 0, 495]);
    assert_eq!(got[5].1["metadata"]["name"], "web.5");
    // The rate holds whatever the line has room for.
    let receiver = Receiver::open(&["200 OK"]).await;
    let mut notifier = Notifier::new(Limits { burst: 3, every: Span::secs(100), ..quick() });
    (0..50).for_each(|n| notifier.tell(("web", 0), &webhook(&receiver.url), &event(n), Moment(1_000_000)));
    assert_eq!(receiver.wait(3).await.len(), 3);
    notifier.tell(("web", 0), &webhook(&receiver.url), &event(50), Moment(1_100_000));
    assert_eq!(receiver.wait(4).await[3].1["dropped"], 47);
}

#[tokio::test]
async fn a_receiver_that_hangs_holds_up_no_other() {
    let (stuck, fine) = (Receiver::start(&["200 OK"]).await, Receiver::open(&["200 OK"]).await);
    let mut notifier = Notifier::new(quick());
    notifier.tell(("web", 0), &webhook(&stuck.url), &event(1), clock::now().mono);
    stuck.wait(1).await;
    notifier.tell(("web", 1), &webhook(&fine.url), &event(1), clock::now().mono);
    fine.wait(1).await;
    // The entry names another one now: it does not wait for what the old one was not told.
    notifier.tell(("web", 0), &webhook(&fine.url), &event(2), clock::now().mono);
    assert_eq!(fine.wait(2).await[1].1["metadata"]["name"], "web.2");
    notifier.keep("web", 1);
    notifier.keep("other", 0);
    assert_eq!(notifier.lines.keys().collect::<Vec<_>>(), [&("web".to_owned(), 0)]);
}

#[tokio::test]
async fn private_networks_and_plain_text_are_not_told() {
    for url in [
        "http://10.0.0.1/",
        "http://169.254.169.254/latest/meta-data",
        "http://0xa9fea9fe/",
        "http://[fd00::1]/",
        "http://[::ffff:192.168.0.1]/",
        "http://0.0.0.0/",
    ] {
        let failed = send::once(&webhook(url), b"{}").await.unwrap_err();
        assert!(!failed.again && failed.words.contains("allowPrivate"), "{failed:?}");
    }
    for url in ["ftp://a/", "file:///etc/passwd", "http://u:p@a/", "", "http://"] {
        assert!(!send::once(&webhook(url), b"{}").await.unwrap_err().again, "{url}");
    }
    let mut how = webhook("http://example.invalid/");
    how.webhook.as_mut().unwrap().token_from = Some(SecretSource { file: Some("/no/such/file".into()), env: None });
    let failed = send::once(&how, b"{}").await.unwrap_err();
    assert!(!failed.again && failed.words.contains("only sent over https"), "{failed:?}");
}

#[tokio::test]
async fn no_failure_shows_a_secret() {
    let receiver = Receiver::open(&["500 No"]).await;
    let failed = send::once(&webhook(&receiver.url), b"{}").await.unwrap_err();
    assert!(failed.words.contains("answered 500") && !failed.words.contains(TOKEN), "{failed:?}");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("{TOKEN}\n{TOKEN}\n")).unwrap();
    let mut how = webhook(&receiver.url);
    how.webhook.as_mut().unwrap().token_from = Some(SecretSource { file: Some(file.path().display().to_string()), env: None });
    let failed = send::once(&how, b"{}").await.unwrap_err();
    assert!(!failed.words.contains(TOKEN), "{failed:?}");
    std::fs::write(file.path(), "").unwrap();
    assert!(send::once(&how, b"{}").await.is_err(), "an empty token is not left out");
}

#[tokio::test]
async fn a_command_gets_the_event_on_its_input() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let copy = format!("of={}", out.display());
    let mut notifier = Notifier::new(quick());
    tell(&mut notifier, &exec(&["dd", "conv=fsync", &copy]), 7);
    let read = || std::fs::read(&out).ok().and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    until(|| read().is_some()).await;
    assert_eq!(read().unwrap()["metadata"]["name"], "web.7");
    let failed = send::once(&exec(&["cp", "/no/such", "/no/such/either"]), b"{}").await.unwrap_err();
    assert!(failed.again && failed.words.starts_with("cp: exit status: 1"), "{failed:?}");
    assert!(send::once(&exec(&["/no/such/program"]), b"{}").await.is_err());
}

#[test]
fn waits_grow_and_differ() {
    for attempt in 1..9 {
        let waits: Vec<u64> = (0..50).map(|n| jittered(Span::secs(10), &format!("web.{n}"), attempt).0).collect();
        assert!(waits.iter().all(|wait| (5_000..=10_000).contains(wait)));
        assert!(waits.iter().collect::<std::collections::BTreeSet<_>>().len() > 40, "{waits:?}");
    }
    assert_eq!(jittered(Span(0), "x", 1), Span(0));
}
