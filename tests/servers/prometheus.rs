//! Prometheus: the result of a query, of its own and of a metric that a program exports.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::Signal;
use weir::edge::backlog::Reader;
use weir::model::source::{PrometheusSource, Source};

use crate::server::{Server, ask, becomes, comes_to_fail, fails, gives_up, http, is_back};

/// `open sesame`, hashed with bcrypt.
const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu/LVz6MZlItEy42I2juLihZ66HnQx/cy";

/// A program that exports the length of its queue.
struct Exporter {
    port: u16,
    queued: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Exporter {
    fn started() -> Exporter {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (queued, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (number, end) = (queued.clone(), over.clone());
        let serve = move || {
            for stream in listener.incoming().flatten().take_while(|_| !end.load(Ordering::SeqCst)) {
                // Whoever hangs up asks again.
                let _again = export(stream, number.load(Ordering::SeqCst));
            }
        };
        Exporter { port, queued, over, thread: Some(std::thread::spawn(serve)) }
    }

    fn stop(&mut self) {
        if let Some(thread) = self.thread.take() {
            self.over.store(true, Ordering::SeqCst);
            let _woken = TcpStream::connect(("127.0.0.1", self.port));
            thread.join().expect("ended");
        }
    }
}

impl Drop for Exporter {
    fn drop(&mut self) {
        self.stop();
    }
}

fn export(mut stream: TcpStream, queued: u64) -> std::io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut asked = Vec::new();
    while !asked.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        asked.extend_from_slice(&byte);
    }
    let head = "HTTP/1.0 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nConnection: close\r\n\r\n";
    write!(stream, "{head}jobs_queued{{kind=\"a\"}} {queued}\njobs_queued{{kind=\"b\"}} 1\n")
}

/// A server that scrapes this port very often, with more configuration.
fn started(scraped: u16, more: &str) -> Server {
    let mut server = Server::new(Signal::SIGKILL);
    let job = format!("{{job_name: jobs, static_configs: [{{targets: ['127.0.0.1:{scraped}']}}]}}");
    let global = "{scrape_interval: 200ms, scrape_timeout: 200ms}";
    server.file("prometheus.yml", &format!("global: {global}\nscrape_configs: [{job}]\n{more}\n"));
    server.file("web.yml", "");
    start(&mut server);
    server
}

fn start(server: &mut Server) {
    let mut command = Command::new("prometheus");
    command.arg(format!("--web.listen-address={}", server.address()));
    command.arg(format!("--config.file={}", server.path("prometheus.yml")));
    command.arg(format!("--web.config.file={}", server.path("web.yml")));
    command.arg(format!("--storage.tsdb.path={}", server.path("data")));
    server.start(command);
}

fn source(server: &Server, query: &str) -> PrometheusSource {
    PrometheusSource { url: format!("http://{}", server.address()), query: query.into(), token_from: None }
}

fn reader(source: PrometheusSource) -> Reader {
    Reader::new(Source { prometheus: Some(source), ..Source::default() })
}

#[tokio::test]
async fn one_sample_is_the_number() {
    let exporter = Exporter::started();
    exporter.queued.store(4, Ordering::SeqCst);
    let server = started(exporter.port, "");
    // It listens before it is ready, and is ready before it knows anything: neither is zero.
    let mut jobs = reader(source(&server, "jobs_queued{kind=\"a\"}"));
    is_back(&mut jobs, 4.0).await;
    for (query, value) in [
        ("vector(7)", 7.0),
        ("7", 7.0),
        ("1e21", 1e21),
        ("0.5 * 5", 2.5),
        ("up", 1.0),
        ("sum(jobs_queued)", 5.0),
        ("count(jobs_queued) # both", 2.0),
        ("nothing or vector(0)", 0.0),
    ] {
        assert_eq!(ask(&mut reader(source(&server, query))).await, Ok(value), "{query}");
    }
    for (query, words) in [
        ("nothing", "its vector is empty"),
        ("sum(nothing)", "its vector is empty"),
        ("jobs_queued", "gives 2 samples"),
        ("jobs_queued[1m]", "gives a matrix"),
        ("\"7\"", "gives a string"),
        ("-1", "zero or more"),
        ("vector(0) / 0", "zero or more"),
        ("vector(1) / 0", "zero or more"),
        ("vector(", "400 Bad Request: the query is wrong or fails"),
        ("", "400 Bad Request: the query is wrong or fails"),
        ("label_replace(vector(1), \"x\", \"$1\", \"y\", \"(\")", "422 Unprocessable Entity: the query is wrong or fails"),
    ] {
        fails(&mut reader(source(&server, query)), words).await;
    }
    exporter.queued.store(9, Ordering::SeqCst);
    becomes(&mut jobs, 9.0).await;
}

#[tokio::test]
async fn a_program_or_server_that_is_gone_is_no_zero() {
    let mut exporter = Exporter::started();
    exporter.queued.store(4, Ordering::SeqCst);
    let mut server = started(exporter.port, "");
    let mut jobs = reader(source(&server, "sum(jobs_queued)"));
    is_back(&mut jobs, 5.0).await;
    gives_up(&mut jobs, &server).await;
    assert_eq!(ask(&mut jobs).await, Ok(5.0));
    server.stop();
    // The connection that was kept may say so in its own words.
    fails(&mut jobs, "http://127.0.0.1:").await;
    fails(&mut jobs, "refused").await;
    start(&mut server);
    is_back(&mut jobs, 5.0).await;
    // Nobody asks while it is gone: the connection that was kept is of the server before.
    server.stop();
    start(&mut server);
    is_back(&mut jobs, 5.0).await;
    // Only a server that has scraped a series marks it as gone: what it found in its files it keeps for minutes.
    exporter.queued.store(6, Ordering::SeqCst);
    becomes(&mut jobs, 7.0).await;
    exporter.stop();
    becomes(&mut reader(source(&server, "up")), 0.0).await;
    comes_to_fail(&mut jobs, "its vector is empty").await;
}

#[tokio::test]
async fn connections_are_kept() {
    let server = started(1, "");
    let mut seven = reader(source(&server, "vector(7)"));
    is_back(&mut seven, 7.0).await;
    let accepted = || {
        let (_, page) = http(&server, "GET /metrics", "", "");
        let name = "net_conntrack_listener_conn_accepted_total{listener_name=\"http\"} ";
        let line = page.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|number| number.parse::<u64>().ok()).unwrap_or_else(|| panic!("{page}"))
    };
    let before = accepted();
    for _time in 0..30 {
        assert_eq!(ask(&mut seven).await, Ok(7.0));
    }
    let more = accepted() - before;
    assert!(more < 10, "{more} connections for 30 questions");
}

#[tokio::test]
async fn a_part_of_the_data_is_no_number() {
    let exporter = Exporter::started();
    // Nobody is there.
    let server = started(exporter.port, "remote_read: [{url: 'http://127.0.0.1:1/', read_recent: true}]");
    is_back(&mut reader(source(&server, "vector(7)")), 7.0).await;
    fails(&mut reader(source(&server, "sum(jobs_queued)")), "the result comes with warnings").await;
}

#[tokio::test]
async fn a_token_that_is_refused_is_not_shown() {
    let mut server = started(1, "");
    let token = server.secret("token", "t0ken-S3cret");
    let mut seven = reader(PrometheusSource { token_from: Some(token), ..source(&server, "vector(7)") });
    // Nobody asked for one.
    is_back(&mut seven, 7.0).await;
    server.stop();
    server.file("web.yml", &format!("basic_auth_users: {{weir: '{HASH}'}}\n"));
    start(&mut server);
    for reader in [&mut seven, &mut reader(source(&server, "vector(7)"))] {
        // The connection that was kept is of the server before.
        comes_to_fail(reader, "401 Unauthorized").await;
        let said = ask(reader).await.expect_err("no number");
        assert!(said.contains("401 Unauthorized") && !said.contains("S3cret"), "{said}");
    }
    let (status, _) = http(&server, "GET /metrics", "Authorization: Basic d2VpcjpvcGVuIHNlc2FtZQ==\r\n", "");
    assert_eq!(status, 200, "with the password it answers");
    std::fs::remove_file(server.path("token")).expect("removed");
    fails(&mut seven, "No such file").await;
}
