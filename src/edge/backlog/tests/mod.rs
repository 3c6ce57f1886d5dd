//! Sources asked over loopback: a small server that answers as published interfaces do, and as nothing should.

mod forge;
mod gitlab;
mod http;
mod others;
mod refusals;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::Reader;
use crate::model::reading::{Failure, Number};
use crate::model::source::{ForgeSource, SecretSource, Source};

/// What no failure may show.
const TOKEN: &str = "t0ken-S3cret";

/// A question as it arrived.
#[derive(Clone, Debug)]
struct Asked {
    target: String,
    headers: BTreeMap<String, String>,
}

impl Asked {
    fn query(&self, name: &str) -> Option<String> {
        let url = reqwest::Url::parse(&format!("http://h{}", self.target)).expect("a target");
        url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    }

    fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    fn page(&self) -> usize {
        self.query("page").map_or(1, |page| page.parse().expect("a number"))
    }
}

/// What the server does about a question.
#[derive(Clone)]
enum Reply {
    /// Answer properly, and keep the connection.
    Whole(u16, Vec<(&'static str, String)>, String),
    /// Write just this, and close.
    Bytes(Vec<u8>),
    /// Write this byte by byte, one a second.
    Slowly(Vec<u8>),
    /// Close with a reset.
    Reset,
}

impl Reply {
    fn json(value: &Value) -> Reply {
        Reply::Whole(200, vec![("Content-Type", "application/json".into())], value.to_string())
    }

    fn status(status: u16, headers: &[(&'static str, &str)]) -> Reply {
        Reply::Whole(status, headers.iter().map(|(name, value)| (*name, (*value).to_owned())).collect(), String::new())
    }

    fn with(self, name: &'static str, value: impl Into<String>) -> Reply {
        match self {
            Reply::Whole(status, mut headers, body) => {
                headers.push((name, value.into()));
                Reply::Whole(status, headers, body)
            }
            other @ (Reply::Bytes(_) | Reply::Slowly(_) | Reply::Reset) => other,
        }
    }
}

type Answers = dyn Fn(&Asked) -> Reply + Send + Sync;

/// A server on loopback; it goes with the test's runtime.
struct Server {
    url: String,
    asked: Arc<Mutex<Vec<Asked>>>,
    connections: Arc<AtomicUsize>,
}

impl Server {
    async fn start(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let server = Server { url, asked: Arc::default(), connections: Arc::default() };
        let (asked, connections, answers) = (server.asked.clone(), server.connections.clone(), Arc::new(answers));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                connections.fetch_add(1, Ordering::SeqCst);
                tokio::spawn(serve(stream, asked.clone(), answers.clone()));
            }
        });
        server
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().expect("no test panics holding it").clone()
    }

    fn connections(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

async fn head(stream: &mut TcpStream) -> Option<Asked> {
    let mut text = Vec::new();
    while !text.ends_with(b"\r\n\r\n") {
        text.push(stream.read_u8().await.ok()?);
    }
    let text = String::from_utf8(text).expect("a head is text");
    let mut lines = text.lines();
    let target = lines.next().and_then(|line| line.split(' ').nth(1)).expect("a request line").to_owned();
    let pairs = lines.filter_map(|line| line.split_once(": "));
    Some(Asked { target, headers: pairs.map(|(name, value)| (name.to_lowercase(), value.to_owned())).collect() })
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<Asked>>>, answers: Arc<Answers>) {
    while let Some(asked) = head(&mut stream).await {
        log.lock().expect("no test panics holding it").push(asked.clone());
        match answers(&asked) {
            Reply::Whole(status, headers, body) => {
                let mut text = format!("HTTP/1.1 {status} Said\r\n");
                for (name, value) in headers {
                    text += &format!("{name}: {value}\r\n");
                }
                if status != 304 {
                    text += &format!("Content-Length: {}\r\n", body.len());
                }
                let _gone = stream.write_all(format!("{text}\r\n{body}").as_bytes()).await;
            }
            Reply::Bytes(bytes) => {
                let _gone = stream.write_all(&bytes).await;
                return;
            }
            Reply::Slowly(bytes) => {
                for byte in bytes {
                    let _gone = stream.write_all(&[byte]).await;
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
            Reply::Reset => {
                let _reset = stream.set_zero_linger();
                return;
            }
        }
    }
}

/// A file with the token in it, kept as long as its directory.
fn token() -> (tempfile::TempDir, SecretSource) {
    secret(TOKEN)
}

fn secret(text: &str) -> (tempfile::TempDir, SecretSource) {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("token");
    std::fs::write(&path, format!("{text}\n")).expect("writes");
    (dir, SecretSource { file: Some(path.display().to_string()), env: None })
}

fn repository(url: &str) -> ForgeSource {
    ForgeSource { url: Some(url.to_owned()), repository: "team/tool".into(), ..ForgeSource::default() }
}

async fn ask(source: Source) -> Result<f64, Failure> {
    value(Reader::new(source).read().await)
}

fn value(answer: Result<Number, Failure>) -> Result<f64, Failure> {
    answer.map(|number| number.value())
}

/// The words of a failure, which do not show the token.
fn words(answer: Result<f64, Failure>) -> String {
    let words = answer.expect_err("a failure").message;
    assert!(!words.contains(TOKEN) && !words.contains("S3cret"), "{words}");
    words
}
