//! PostgreSQL: one number of one query, read-only, with a password over SCRAM.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use weir::edge::backlog::Reader;
use weir::model::source::{DatabaseSource, Source};

use crate::server::{Server, ask, fails, gives_up, output, wait};

/// A program of the newest PostgreSQL here. The server refuses to run as root: then it runs as the user of the package.
fn program(name: &str) -> Command {
    let versions = std::fs::read_dir("/usr/lib/postgresql").expect("postgresql (tests/run installs it)");
    let mut paths: Vec<PathBuf> = versions.flatten().map(|version| version.path().join("bin").join(name)).collect();
    paths.retain(|path| path.exists());
    paths.sort();
    let path = paths.pop().unwrap_or_else(|| panic!("no {name} below /usr/lib/postgresql (tests/run installs it)"));
    if !nix::unistd::Uid::effective().is_root() {
        return Command::new(path);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--init-groups"]).arg(path);
    command
}

fn command(server: &Server) -> Command {
    let mut command = program("postgres");
    command.args(["-F", "-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-D"]).arg(server.path("data"));
    command.arg("-p").arg(server.port.to_string());
    command
}

fn started() -> Server {
    // SIGQUIT: immediately, nothing is kept.
    let mut server = Server::new(Signal::SIGQUIT);
    std::fs::write(server.path("password"), "open sesame\n").expect("written");
    if nix::unistd::Uid::effective().is_root() {
        output(Command::new("chown").arg("-R").arg("postgres:").arg(server.dir.path()));
    }
    let mut init = program("initdb");
    init.args(["-N", "-U", "weir", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--pwfile"]).arg(server.path("password"));
    output(init.current_dir(server.dir.path()).arg("-D").arg(server.path("data")));
    let entries = "hostssl all secured 127.0.0.1/32 scram-sha-256\nhost all weir 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(server.path("data/pg_hba.conf"), entries).expect("written");
    start(&mut server);
    server
}

fn start(server: &mut Server) {
    server.start(command(server));
    let ready = || program("pg_isready").args(["-q", "-h", "127.0.0.1", "-p"]).arg(server.port.to_string()).status();
    wait("postgres to be ready", || ready().is_ok_and(|status| status.success()), server.dir.path());
}

fn psql(server: &Server, sql: &str) -> String {
    let mut psql = Command::new("psql");
    psql.args(["-h", "127.0.0.1", "-U", "weir", "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-XAtqc", sql, "-p"]);
    output(psql.arg(server.port.to_string()).env("PGPASSWORD", "open sesame"))
}

fn url(server: &Server, user: &str, password: &str, more: &str) -> String {
    format!("postgres://{user}:{password}@127.0.0.1:{}/postgres{more}", server.port)
}

fn reader(server: &Server, query: &str) -> Reader {
    let url_from = server.secret("url", &url(server, "weir", "open%20sesame", ""));
    Reader::new(Source { postgres: Some(DatabaseSource { url_from, query: query.into() }), ..Source::default() })
}

#[tokio::test]
async fn one_row_with_one_number_is_taken() {
    let server = started();
    psql(&server, "CREATE TABLE job(state text, cost numeric); INSERT INTO job VALUES ('queued', 1.5), ('queued', 2)");
    for (query, value) in [
        ("SELECT count(*) FROM job WHERE state = 'queued'", 2.0),
        ("SELECT count(*) FROM job WHERE state = 'done'; -- none", 0.0),
        ("SELECT sum(cost)::float8 FROM job", 3.5),
        ("SELECT 7::int2", 7.0),
        ("SELECT 7::int4", 7.0),
        ("SELECT 0.5::float4", 0.5),
    ] {
        assert_eq!(ask(&mut reader(&server, query)).await, Ok(value), "{query}");
    }
    for (query, words) in [
        ("SELECT sum(cost) FROM job", "numeric: cast it"),
        ("SELECT '7'::text", "text: cast it"),
        ("SELECT max(1) FROM job WHERE false", "NULL"),
        ("SELECT 1 FROM job WHERE false", "no row"),
        ("SELECT 1 FROM job", "more than one row"),
        ("SELECT 1 FROM generate_series(1, 1000000)", "more than one row"),
        ("SELECT 1, 2", "2 columns"),
        ("SELECT -1", "zero or more"),
        ("SELECT 'NaN'::float8", "zero or more"),
        ("SELECT count(*) FROM nowhere", "\"nowhere\" does not exist (42P01)"),
        ("SELECT 1; DELETE FROM job", "multiple commands"),
        ("DELETE FROM job RETURNING 1", "read-only transaction (25006)"),
        ("COMMIT", "no row"),
        ("", "no row"),
    ] {
        fails(&mut reader(&server, query), words).await;
    }
    assert_eq!(psql(&server, "SELECT count(*) FROM job"), "2");
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_is_no_zero() {
    let mut server = started();
    psql(&server, "CREATE TABLE job(); INSERT INTO job DEFAULT VALUES");
    let mut jobs = reader(&server, "SELECT count(*) FROM job");
    for _time in 0..3 {
        assert_eq!(ask(&mut jobs).await, Ok(1.0));
    }
    let ours = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'weir'";
    assert_eq!(psql(&server, ours), "1", "the connection is kept");
    psql(&server, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'weir'");
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
    // A question that was given up takes its connection with it.
    let mut slow = reader(&server, "SELECT count(*) FROM pg_sleep(30)");
    assert!(tokio::time::timeout(Duration::from_millis(300), slow.read()).await.is_err());
    let mut fresh = reader(&server, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'weir'");
    assert!(ask(&mut fresh).await.is_ok_and(|open| (2.0..=3.0).contains(&open)));
    server.stop();
    fails(&mut jobs, "postgres: ").await;
    fails(&mut jobs, "refused").await;
    start(&mut server);
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
}

#[tokio::test]
async fn a_server_that_does_not_answer_is_given_up() {
    let server = started();
    // A new connection: the postmaster is what stops.
    let mut jobs = reader(&server, "SELECT 4");
    gives_up(&mut jobs, &server).await;
    assert_eq!(ask(&mut jobs).await, Ok(4.0));
}

#[tokio::test]
async fn nothing_of_the_connection_string_is_shown() {
    let server = started();
    psql(&server, "CREATE ROLE secured LOGIN PASSWORD 'open sesame'");
    let mut jobs = reader(&server, "SELECT 1");
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
    for (user, password, more, words) in [
        ("weir", "wrong-sesame", "", "password authentication failed"),
        ("secured", "open%20sesame", "", "TLS is not spoken here"),
        ("weir", "open%20sesame", "?sslmode=require", "TLS is not spoken here"),
        ("weir", "open%20sesame", "?sslmode=verify-full", "TLS is not spoken here"),
        ("weir", "open%20sesame", "?sesame=1", "not valid"),
    ] {
        // Read anew for each question: the connection of before is not used.
        server.secret("url", &url(&server, user, password, more));
        let said = ask(&mut jobs).await.expect_err("no number");
        assert!(said.contains(words) && !said.contains("sesame") && !said.contains("://"), "{user}{more}: {said}");
    }
    server.secret("url", &url(&server, "weir", "open%20sesame", ""));
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
}
