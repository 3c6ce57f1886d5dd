//! Redis: lengths of lists, streams and sorted sets.

use std::process::Command;

use nix::sys::signal::Signal;
use weir::edge::backlog::Reader;
use weir::model::source::{RedisSource, Source};

use crate::server::{Server, ask, fails, gives_up, output, wait};

fn command(server: &Server) -> Command {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]).arg(server.port.to_string());
    command
}

fn cli(server: &Server, words: &[&str]) -> String {
    output(Command::new("redis-cli").arg("-p").arg(server.port.to_string()).args(words))
}

fn list(server: &Server, key: &str) -> RedisSource {
    RedisSource { address: server.address(), list: Some(key.into()), ..RedisSource::default() }
}

fn reader(redis: RedisSource) -> Reader {
    Reader::new(Source { redis: Some(redis), ..Source::default() })
}

fn started() -> Server {
    let mut server = Server::new(Signal::SIGTERM);
    server.start(command(&server));
    server
}

#[tokio::test]
async fn lengths_are_numbers() {
    let server = started();
    let mut jobs = reader(list(&server, "jobs"));
    let mut stream = reader(RedisSource { list: None, stream: Some("log".into()), ..list(&server, "") });
    let mut set = reader(RedisSource { list: None, sorted_set: Some("due".into()), ..list(&server, "") });
    for reader in [&mut jobs, &mut stream, &mut set] {
        // A key that is not there is empty: Redis says so.
        assert_eq!(ask(reader).await, Ok(0.0));
    }
    cli(&server, &["RPUSH", "jobs", "a", "b", "c"]);
    cli(&server, &["XADD", "log", "*", "k", "v"]);
    cli(&server, &["ZADD", "due", "1", "a", "2", "b"]);
    assert_eq!(ask(&mut jobs).await, Ok(3.0));
    assert_eq!(ask(&mut stream).await, Ok(1.0));
    assert_eq!(ask(&mut set).await, Ok(2.0));
    fails(&mut reader(list(&server, "log")), "WRONGTYPE").await;
    fails(&mut reader(RedisSource { list: None, ..list(&server, "") }), "names no list").await;
    // All those questions took one connection each; those of the readers that are gone are closed.
    let kept = || cli(&server, &["INFO", "clients"]).contains("connected_clients:4");
    wait("one connection for each reader and one for the question", kept, server.dir.path());
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_is_no_zero() {
    let mut server = started();
    let mut jobs = reader(list(&server, "jobs"));
    cli(&server, &["RPUSH", "jobs", "a"]);
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
    gives_up(&mut jobs, &server).await;
    cli(&server, &["RPUSH", "jobs", "b"]);
    assert_eq!(ask(&mut jobs).await, Ok(2.0));
    // The server closes a connection that we keep: nobody notices.
    cli(&server, &["CLIENT", "KILL", "TYPE", "normal"]);
    assert_eq!(ask(&mut jobs).await, Ok(2.0));
    server.stop();
    fails(&mut jobs, "redis 127.0.0.1:").await;
    fails(&mut jobs, "refused").await;
    server.start(command(&server));
    cli(&server, &["RPUSH", "jobs", "a", "b", "c"]);
    assert_eq!(ask(&mut jobs).await, Ok(3.0));
}

#[tokio::test]
async fn a_password_is_sent_and_never_shown() {
    let server = started();
    cli(&server, &["RPUSH", "jobs", "a"]);
    let password = server.secret("password", "open sesame");
    let mut jobs = reader(RedisSource { password_from: Some(password), ..list(&server, "jobs") });
    let shown = ask(&mut jobs).await;
    assert!(shown.is_err_and(|said| !said.contains("sesame")), "no password is set yet");
    cli(&server, &["CONFIG", "SET", "requirepass", "open sesame"]);
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
    fails(&mut reader(list(&server, "jobs")), "NOAUTH").await;
    // Read anew for each question.
    server.secret("password", "other sesame");
    fails(&mut jobs, "the password was refused").await;
    server.secret("password", "open sesame");
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
    std::fs::remove_file(server.path("password")).expect("removed");
    fails(&mut jobs, "No such file").await;
}
