//! NATS: pending messages of a JetStream consumer, told by the monitoring endpoint.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use weir::edge::backlog::Reader;
use weir::model::source::{NatsSource, Source};

use crate::server::{Server, ask, becomes, comes_to_fail, fails, free_port, gives_up, is_back, wait};

/// A server whose monitoring endpoint listens at its port, and its clients' port.
struct Nats {
    server: Server,
    clients: u16,
}

impl Nats {
    fn started(more: &[&str]) -> Nats {
        let mut nats = Nats { server: Server::new(Signal::SIGTERM), clients: free_port() };
        nats.start(more);
        nats
    }

    fn start(&mut self, more: &[&str]) {
        let mut command = Command::new("/usr/sbin/nats-server");
        command.args(["-a", "127.0.0.1", "-p"]).arg(self.clients.to_string()).arg("-m").arg(self.server.port.to_string());
        command.arg("-sd").arg(self.server.path("store")).args(more);
        self.server.start(command);
    }

    fn reader(&self, stream: &str, consumer: &str) -> Reader {
        let url = format!("http://{}", self.server.address());
        let nats = NatsSource { url, stream: stream.into(), consumer: consumer.into() };
        Reader::new(Source { nats: Some(nats), ..Source::default() })
    }

    /// A client that is this user.
    fn client(&self, user: &str) -> Client {
        let mut stream = None;
        let connected = || {
            stream = TcpStream::connect(("127.0.0.1", self.clients)).ok();
            stream.is_some()
        };
        wait("the port of the clients", connected, self.server.dir.path());
        let stream = stream.expect("connected");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        let mut client = Client(BufReader::new(stream));
        client.send(&format!("CONNECT {{\"verbose\":false,\"user\":\"{user}\",\"pass\":\"open sesame\"}}\r\nSUB answers 1\r\n"));
        client
    }
}

/// A client of the text protocol: <https://docs.nats.io/reference/reference-protocols/nats-protocol>.
struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, text: &str) {
        self.0.get_mut().write_all(text.as_bytes()).expect("sent");
    }

    /// Publish, and wait for what comes back: where it can be acknowledged.
    fn request(&mut self, subject: &str, text: &str) -> String {
        self.send(&format!("PUB {subject} answers {}\r\n{text}\r\n", text.len()));
        loop {
            let mut line = String::new();
            assert!(self.0.read_line(&mut line).expect("a line") > 0, "the server hung up");
            assert!(!line.starts_with("-ERR"), "{line}");
            if line.starts_with("PING") {
                self.send("PONG\r\n");
            }
            // MSG subject subscription [reply] bytes
            if let Some(("MSG", words)) = line.trim_end().split_once(' ') {
                let words: Vec<&str> = words.split(' ').collect();
                let bytes: usize = words.last().and_then(|bytes| bytes.parse().ok()).expect("a length");
                let mut body = vec![0; bytes + 2];
                self.0.read_exact(&mut body).expect("a body");
                let body = String::from_utf8_lossy(&body).into_owned();
                assert!(!body.contains("\"error\""), "{subject}: {body}");
                return words[2].to_owned();
            }
        }
    }

    fn stream(&mut self, name: &str) {
        let config = format!("{{\"name\":\"{name}\",\"subjects\":[\"{name}.>\"],\"storage\":\"file\",\"num_replicas\":1}}");
        self.request(&format!("$JS.API.STREAM.CREATE.{name}"), &config);
    }

    fn consumer(&mut self, stream: &str, name: &str, filter: &str) {
        let config = format!("\"durable_name\":\"{name}\",\"ack_policy\":\"explicit\",\"filter_subject\":\"{filter}\"");
        let config = format!("{{\"stream_name\":\"{stream}\",\"config\":{{{config}}}}}");
        self.request(&format!("$JS.API.CONSUMER.DURABLE.CREATE.{stream}.{name}"), &config);
    }

    /// The next message for this consumer: where it is acknowledged.
    fn next(&mut self, stream: &str, consumer: &str) -> String {
        self.request(&format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"), "1")
    }
}

#[tokio::test]
async fn what_waits_and_what_is_at_work_is_pending() {
    let nats = Nats::started(&["-js"]);
    let mut client = nats.client("");
    let mut jobs = nats.reader("jobs", "workers");
    fails(&mut jobs, "no stream jobs").await;
    client.stream("jobs");
    client.stream("others");
    fails(&mut jobs, "stream jobs has no consumer workers").await;
    client.consumer("others", "workers", "others.>");
    fails(&mut jobs, "stream jobs has no consumer workers").await;
    client.consumer("jobs", "workers", "jobs.>");
    client.consumer("jobs", "urgent", "jobs.urgent");
    assert_eq!(ask(&mut jobs).await, Ok(0.0));
    for subject in ["jobs.a", "jobs.b", "jobs.urgent", "others.a"] {
        client.request(subject, "x");
    }
    becomes(&mut jobs, 3.0).await;
    let mut urgent = nats.reader("jobs", "urgent");
    becomes(&mut urgent, 1.0).await;
    let taken = client.next("jobs", "workers");
    assert_eq!(ask(&mut jobs).await, Ok(3.0), "it is taken and not done");
    client.request(&taken, "+ACK");
    becomes(&mut jobs, 2.0).await;
    assert_eq!(ask(&mut urgent).await, Ok(1.0));
    client.request("$JS.API.CONSUMER.DELETE.jobs.workers", "");
    fails(&mut jobs, "stream jobs has no consumer workers").await;
    fails(&mut nats.reader("Jobs", "workers"), "no stream Jobs").await;
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_is_no_zero() {
    let mut nats = Nats::started(&["-js"]);
    let mut client = nats.client("");
    client.stream("jobs");
    client.consumer("jobs", "workers", "jobs.>");
    for _time in 0..300 {
        client.request("jobs.a", "x");
    }
    client.next("jobs", "workers");
    let mut jobs = nats.reader("jobs", "workers");
    becomes(&mut jobs, 300.0).await;
    gives_up(&mut jobs, &nats.server).await;
    assert_eq!(ask(&mut jobs).await, Ok(300.0));
    nats.server.stop();
    // The connection that was kept may say so in its own words.
    fails(&mut jobs, "http://127.0.0.1:").await;
    fails(&mut jobs, "refused").await;
    // Its endpoint answers before its streams and consumers are found again.
    nats.start(&["-js"]);
    is_back(&mut jobs, 300.0).await;
    nats.server.stop();
    nats.start(&[]);
    let mut disabled = nats.reader("jobs", "workers");
    // The connection that was kept is of the server before.
    comes_to_fail(&mut disabled, "JetStream is disabled there").await;
    nats.server.stop();
    nats.start(&["-js"]);
    is_back(&mut jobs, 300.0).await;
}

#[tokio::test]
async fn a_stream_of_several_accounts_is_no_number() {
    let server = Server::new(Signal::SIGTERM);
    let account = |name: &str| format!("{name}: {{jetstream: enabled, users: [{{user: {name}, password: \"open sesame\"}}]}}");
    let config = server.file("accounts.conf", &format!("accounts: {{{}, {}}}\n", account("one"), account("two")));
    let mut nats = Nats { server, clients: free_port() };
    nats.start(&["-js", "-c", &config]);
    let mut one = nats.client("one");
    one.stream("jobs");
    one.consumer("jobs", "workers", "jobs.>");
    one.request("jobs.a", "x");
    let mut jobs = nats.reader("jobs", "workers");
    becomes(&mut jobs, 1.0).await;
    let mut two = nats.client("two");
    two.stream("jobs");
    fails(&mut jobs, "several accounts have a stream jobs").await;
    two.request("$JS.API.STREAM.DELETE.jobs", "");
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
}
