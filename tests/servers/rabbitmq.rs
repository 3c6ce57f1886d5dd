//! RabbitMQ: the depth of a queue, told by the management API. It is slow to start, so it is started once for all.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use weir::edge::backlog::Reader;
use weir::model::source::{RabbitSource, Source};

use crate::server::{Server, ask, becomes, fails, free_port, gives_up, http, is_back, is_back_with, wait};

/// Counts are refreshed each second, not each five.
const OFTEN: &str = "[{rabbit, [{collect_statistics_interval, 100}]}, {rabbitmq_management_agent, [{sample_retention_policies, \
                     [{global, [{60, 1}]}, {basic, [{60, 1}]}, {detailed, [{60, 1}]}]}]}].\n";
/// Its administrator.
const HEADERS: &str = "Authorization: Basic d2VpcjpvcGVuOnNlc2FtZQ==\r\nContent-Type: application/json\r\n";

/// A server whose management API listens at its port, and the register of names that it cannot do without. It ends first.
struct Rabbit {
    server: Server,
    names: Server,
    /// Where STOMP is spoken, which is text.
    stomp: u16,
}

impl Rabbit {
    fn started() -> Rabbit {
        let mut names = Server::new(Signal::SIGTERM);
        let mut command = Command::new("epmd");
        command.args(["-address", "127.0.0.1", "-port"]).arg(names.port.to_string());
        names.start(command);
        let (server, stomp) = (Server::new(Signal::SIGKILL), free_port());
        let port = server.port;
        let config = format!(
            "listeners.tcp = none\nmanagement.tcp.ip = 127.0.0.1\nmanagement.tcp.port = {port}\n\
             stomp.listeners.tcp.1 = 127.0.0.1:{stomp}\nlog.console = true\nlog.file = false\n\
             default_user = weir\ndefault_pass = open:sesame\n"
        );
        server.file("rabbitmq.conf", &config);
        server.file("advanced.config", OFTEN);
        server.file("plugins", "[rabbitmq_management, rabbitmq_stomp].\n");
        // Without it, helpers of its own look up names, and outlive it for a moment.
        server.file("inetrc", "{lookup, [file]}. {host, {127,0,0,1}, [\"localhost\"]}.\n");
        let mut rabbit = Rabbit { server, names, stomp };
        rabbit.start();
        rabbit
    }

    fn start(&mut self) {
        let server = &self.server;
        // What /usr/sbin has is a wrapper that becomes the user of the package.
        let mut command = Command::new("/usr/lib/rabbitmq/bin/rabbitmq-server");
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", server.dir.path());
        // Its shell becomes the server instead of waiting for it.
        command.arg("-noinput").env("RABBITMQ_ALLOW_INPUT", "1");
        command.env("RABBITMQ_NODENAME", format!("weir-{}@localhost", server.port));
        command.env("RABBITMQ_DIST_PORT", free_port().to_string());
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", "-kernel inet_dist_use_interface {127,0,0,1}");
        command.env("ERL_EPMD_PORT", self.names.port.to_string()).env("ERL_EPMD_ADDRESS", "127.0.0.1");
        for (name, file) in [
            ("ERL_INETRC", "inetrc"),
            ("RABBITMQ_CONF_ENV_FILE", "none"),
            ("RABBITMQ_CONFIG_FILE", "rabbitmq.conf"),
            ("RABBITMQ_ADVANCED_CONFIG_FILE", "advanced.config"),
            ("RABBITMQ_ENABLED_PLUGINS_FILE", "plugins"),
            ("RABBITMQ_MNESIA_BASE", "data"),
            ("RABBITMQ_LOG_BASE", "logs"),
        ] {
            command.env(name, server.path(file));
        }
        self.server.start(command);
    }

    /// Ask the management API for something as its administrator.
    fn manage(&self, question: &str, body: &str) -> String {
        let (status, answer) = http(&self.server, question, HEADERS, body);
        assert!((200..300).contains(&status), "{question}: {answer}");
        answer
    }

    fn publish(&self, vhost: &str, queue: &str) {
        let message = format!("\"routing_key\":\"{queue}\",\"payload\":\"x\",\"payload_encoding\":\"string\"");
        let message = format!("{{{message},\"properties\":{{\"delivery_mode\":2}}}}");
        let answer = self.manage(&format!("POST /api/exchanges/{vhost}/amq.default/publish"), &message);
        assert!(answer.ends_with("{\"routed\":true}"), "{answer}");
    }

    fn source(&self, queue: &str) -> RabbitSource {
        let credentials = self.server.secret("credentials", "weir:open:sesame");
        let url = format!("http://{}", self.server.address());
        RabbitSource { url, vhost: None, queue: queue.into(), credentials_from: Some(credentials) }
    }
}

fn reader(source: RabbitSource) -> Reader {
    Reader::new(Source { rabbitmq: Some(source), ..Source::default() })
}

/// A consumer that has one message at a time.
struct Consumer(TcpStream);

impl Consumer {
    fn of(rabbit: &Rabbit) -> Consumer {
        let stream = TcpStream::connect(("127.0.0.1", rabbit.stomp)).expect("it listens");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a limit");
        let mut consumer = Consumer(stream);
        // Nothing is escaped in this frame.
        consumer.send("CONNECT\naccept-version:1.2\nhost:/\nlogin:weir\npasscode:open:sesame\n\n");
        assert!(consumer.frame().starts_with("CONNECTED"));
        consumer.send("SUBSCRIBE\nid:0\ndestination:/amq/queue/jobs\nack:client-individual\nprefetch-count:1\n\n");
        consumer
    }

    fn send(&mut self, frame: &str) {
        self.0.write_all(format!("{frame}\0").as_bytes()).expect("sent");
    }

    fn frame(&mut self) -> String {
        let mut frame = Vec::new();
        loop {
            let mut byte = [0];
            self.0.read_exact(&mut byte).expect("a frame");
            match byte[0] {
                0 => return String::from_utf8_lossy(&frame).trim_start().to_owned(),
                other => frame.push(other),
            }
        }
    }

    /// The next message: its name for the acknowledgement.
    fn next(&mut self) -> String {
        let frame = self.frame();
        let name = frame.lines().find_map(|line| line.strip_prefix("ack:"));
        name.unwrap_or_else(|| panic!("{frame}")).to_owned()
    }
}

#[tokio::test]
async fn the_depth_of_a_queue_is_the_number() {
    let mut rabbit = Rabbit::started();
    messages(&rabbit).await;
    names(&rabbit).await;
    credentials(&rabbit).await;
    gone(&mut rabbit).await;
}

/// Two are left.
async fn messages(rabbit: &Rabbit) {
    let mut jobs = reader(rabbit.source("jobs"));
    // It listens before everything is there.
    wait("the management API", || http(&rabbit.server, "GET /api/overview", HEADERS, "").0 == 200, rabbit.server.dir.path());
    fails(&mut jobs, "404 Not Found").await;
    rabbit.manage("PUT /api/queues/%2F/jobs", "{\"durable\":true}");
    // Not counted yet, which is no number.
    is_back(&mut jobs, 0.0).await;
    for _time in 0..3 {
        rabbit.publish("%2F", "jobs");
    }
    becomes(&mut jobs, 3.0).await;
    let mut consumer = Consumer::of(rabbit);
    let taken = consumer.next();
    let told = |words: &str| rabbit.manage("GET /api/queues/%2F/jobs", "").contains(words);
    wait("the message that is taken", || told("\"messages_unacknowledged\":1,"), rabbit.server.dir.path());
    assert_eq!(ask(&mut jobs).await, Ok(3.0), "it is taken and not done");
    consumer.send(&format!("ACK\nid:{taken}\n\n"));
    consumer.next();
    becomes(&mut jobs, 2.0).await;
    drop(consumer);
    wait("the message that is given back", || told("\"messages_unacknowledged\":0,"), rabbit.server.dir.path());
    assert_eq!(ask(&mut jobs).await, Ok(2.0));
}

/// Names of any characters.
async fn names(rabbit: &Rabbit) {
    rabbit.manage("PUT /api/vhosts/a%2Fb", "");
    rabbit.manage("PUT /api/permissions/a%2Fb/weir", "{\"configure\":\".*\",\"write\":\".*\",\"read\":\".*\"}");
    rabbit.manage("PUT /api/queues/a%2Fb/j%20%C3%BC%2F%25", "{\"durable\":true}");
    rabbit.publish("a%2Fb", "j ü/%");
    let there = RabbitSource { vhost: Some("a/b".into()), ..rabbit.source("j ü/%") };
    becomes(&mut reader(there.clone()), 1.0).await;
    fails(&mut reader(RabbitSource { vhost: None, ..there.clone() }), "404 Not Found").await;
    fails(&mut reader(RabbitSource { vhost: Some("b".into()), ..there.clone() }), "404 Not Found").await;
    // An empty name would ask for all queues.
    fails(&mut reader(RabbitSource { queue: String::new(), ..there }), "cannot be asked for").await;
}

async fn credentials(rabbit: &Rabbit) {
    let right = rabbit.source("jobs");
    let mut jobs = reader(right.clone());
    assert_eq!(ask(&mut jobs).await, Ok(2.0));
    rabbit.manage("PUT /api/users/nobody", "{\"password\":\"open:sesame\",\"tags\":\"\"}");
    rabbit.manage("PUT /api/users/stranger", "{\"password\":\"open:sesame\",\"tags\":\"monitoring\"}");
    for (pair, words) in [
        ("weir:wrong-sesame", "401 Unauthorized"),
        ("nobody:open:sesame", "401 Unauthorized"),
        ("stranger:open:sesame", "401 Unauthorized"),
        ("no-sesame", "not user:password"),
    ] {
        // Read anew for each question.
        rabbit.server.secret("credentials", pair);
        let said = ask(&mut jobs).await.expect_err("no number");
        assert!(said.contains(words) && !said.contains("sesame"), "{pair}: {said}");
    }
    fails(&mut reader(RabbitSource { credentials_from: None, ..right }), "401 Unauthorized").await;
    rabbit.server.secret("credentials", "weir:open:sesame");
    assert_eq!(ask(&mut jobs).await, Ok(2.0));
}

async fn gone(rabbit: &mut Rabbit) {
    let mut jobs = reader(rabbit.source("jobs"));
    gives_up(&mut jobs, &rabbit.server).await;
    assert_eq!(ask(&mut jobs).await, Ok(2.0));
    rabbit.server.stop();
    // The connection that was kept may say so in its own words.
    fails(&mut jobs, "http://127.0.0.1:").await;
    fails(&mut jobs, "refused").await;
    rabbit.start();
    // What it was told of the message that is done may not have been on its disk yet.
    is_back_with(&mut jobs, &[2.0, 3.0]).await;
}
