//! MariaDB as a MySQL server: one number of one query, read-only, with a password.

use std::process::Command;
use std::time::Duration;

use nix::sys::signal::Signal;
use weir::edge::backlog::Reader;
use weir::model::source::{DatabaseSource, Source};

use crate::server::{Server, ask, fails, gives_up, output, wait};

const BIN: &str = "/usr/sbin/mariadbd";

/// Who it runs as: it refuses to be root without being told, and the scratch directory is ours.
fn user() -> String {
    let uid = nix::unistd::Uid::effective();
    nix::unistd::User::from_uid(uid).ok().flatten().map_or_else(|| "nobody".into(), |user| user.name)
}

fn command(server: &Server) -> Command {
    let mut command = Command::new(BIN);
    command.args(["--no-defaults", "--bind-address=127.0.0.1", "--skip-log-bin", "--innodb-flush-log-at-trx-commit=0"]);
    command.arg(format!("--user={}", user())).arg(format!("--port={}", server.port));
    command.arg(format!("--datadir={}", server.path("data"))).arg(format!("--socket={}", server.path("socket")));
    command.arg(format!("--pid-file={}", server.path("pid"))).arg(format!("--tmpdir={}", server.dir.path().display()));
    command
}

fn started() -> Server {
    let mut server = Server::new(Signal::SIGKILL);
    let mut init = Command::new("mariadb-install-db");
    init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
    init.arg(format!("--tmpdir={}", server.dir.path().display())).env("TMPDIR", server.dir.path());
    output(init.arg(format!("--user={}", user())).arg(format!("--datadir={}", server.path("data"))));
    server.start(command(&server));
    sql(
        &server,
        "CREATE USER weir@'127.0.0.1' IDENTIFIED BY 'open sesame'; CREATE DATABASE jobs; GRANT ALL ON jobs.* TO weir@'127.0.0.1'",
    );
    server
}

fn sql(server: &Server, text: &str) -> String {
    let mut client = Command::new("mariadb");
    client.args(["--no-defaults", "-uroot", "-N", "-B", "-e", text]).arg(format!("--socket={}", server.path("socket")));
    output(&mut client)
}

fn url(server: &Server, user: &str, password: &str) -> String {
    format!("mysql://{user}:{password}@127.0.0.1:{}/jobs", server.port)
}

fn reader(server: &Server, query: &str) -> Reader {
    let url_from = server.secret("url", &url(server, "weir", "open%20sesame"));
    Reader::new(Source { mysql: Some(DatabaseSource { url_from, query: query.into() }), ..Source::default() })
}

/// Connections from here that are open, to this port of loopback.
fn connections(port: u16) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").expect("the table of connections");
    let ours = |line: &&str| line.contains(&format!(" 0100007F:{port:04X} 01 "));
    table.lines().filter(ours).count()
}

#[tokio::test]
async fn one_row_with_one_number_is_taken() {
    let server = started();
    sql(
        &server,
        "CREATE TABLE jobs.job(state text, cost decimal(9,2)); INSERT INTO jobs.job VALUES ('queued', 1.5), ('queued', 2)",
    );
    for (query, value) in [
        ("SELECT count(*) FROM job WHERE state = 'queued'", 2.0),
        ("SELECT count(*) FROM job WHERE state = 'done'", 0.0),
        ("SELECT sum(cost) FROM job", 3.5),
        ("SELECT cast(7 AS unsigned)", 7.0),
        ("SELECT 0.5e0", 0.5),
        ("WITH x AS (SELECT 4 AS n) SELECT n FROM x", 4.0),
    ] {
        assert_eq!(ask(&mut reader(&server, query)).await, Ok(value), "{query}");
    }
    for (query, words) in [
        ("SELECT '7'", "cast it"),
        ("SELECT now()", "cast it"),
        ("SELECT max(cost) FROM job WHERE false", "NULL"),
        ("SELECT 1 FROM job WHERE false", "no row"),
        ("SELECT 1 FROM job", "more than one row"),
        ("SELECT 1, 2", "2 columns"),
        ("SELECT -1", "zero or more"),
        ("SELECT count(*) FROM nowhere", "'jobs.nowhere' doesn't exist (1146)"),
        ("SELECT 1; DELETE FROM job", "error in your SQL syntax"),
        ("SELECT 'a\\''; DELETE FROM job; -- '", "error in your SQL syntax"),
        ("DELETE FROM job", "READ ONLY transaction (1792)"),
    ] {
        fails(&mut reader(&server, query), words).await;
    }
    assert_eq!(sql(&server, "SELECT count(*) FROM jobs.job"), "2");
}

#[tokio::test]
async fn a_server_that_is_gone_or_silent_is_no_zero() {
    let mut server = started();
    sql(&server, "CREATE TABLE jobs.job(n int); INSERT INTO jobs.job VALUES (1)");
    let mut jobs = reader(&server, "SELECT count(*) FROM job");
    for _time in 0..3 {
        assert_eq!(ask(&mut jobs).await, Ok(1.0));
    }
    let ours = "SELECT count(*) FROM information_schema.processlist WHERE user = 'weir'";
    assert_eq!(sql(&server, ours), "1", "the connection is kept");
    let limit = ask(&mut reader(&server, "SELECT @@max_statement_time")).await;
    assert_eq!(limit, Ok(60.0), "a query that nobody waits for ends");
    sql(&server, "KILL USER weir");
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
    // A question that was given up takes its connection with it.
    let mut slow = reader(&server, "SELECT count(*) FROM job WHERE sleep(30) = 0");
    assert!(tokio::time::timeout(Duration::from_millis(300), slow.read()).await.is_err());
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
    // Each question to a server that is silent gives its connection back.
    server.freeze();
    for _time in 0..3 {
        assert!(tokio::time::timeout(Duration::from_millis(200), jobs.read()).await.is_err());
    }
    wait("the connections to be closed", || connections(server.port) == 0, server.dir.path());
    server.signal(Signal::SIGCONT);
    gives_up(&mut jobs, &server).await;
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
    server.stop();
    fails(&mut jobs, "refused").await;
    server.start(command(&server));
    wait("the number", || sql(&server, "SELECT 1") == "1", server.dir.path());
    assert_eq!(ask(&mut jobs).await, Ok(1.0));
}

#[tokio::test]
async fn a_password_that_is_refused_is_not_shown() {
    let server = started();
    for (user, password, words) in [("weir", "wr0ng-sesame", "Access denied"), ("nobody", "wr0ng-sesame", "Access denied")] {
        let url_from = server.secret("url", &url(&server, user, password));
        let mut reader =
            Reader::new(Source { mysql: Some(DatabaseSource { url_from, query: "SELECT 1".into() }), ..Source::default() });
        let said = ask(&mut reader).await.expect_err("no number");
        assert!(said.contains(words) && !said.contains("sesame"), "{said}");
    }
}
