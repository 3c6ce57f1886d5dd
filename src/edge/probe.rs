//! Looking at a worker from outside: a command, an HTTP question, a TCP connection. One answer each, within the time given.
//!
//! No verdict is made here. HTTP follows no redirect and reads no body.

use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::edge::command::{self, Command};

/// Give `look` at most `timeout`.
///
/// # Errors
/// Its own, or that it took too long.
pub async fn within(timeout: Duration, look: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    match tokio::time::timeout(timeout, look).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {timeout:?}")),
    }
}

/// Run a command: exit code 0 is good.
///
/// # Errors
/// That it could not be run, or how it ended and the first of what it wrote to its error output.
pub async fn exec(command: Command) -> Result<(), String> {
    command::run(&command, 0).await.map(drop)
}

/// Open a TCP connection: being accepted is good.
///
/// # Errors
/// Why it was not accepted.
pub async fn tcp(host: &str, port: u16) -> Result<TcpStream, String> {
    TcpStream::connect((host, port)).await.map_err(|e| format!("{host}:{port}: {e}"))
}

/// Ask over HTTP: a status from 200 to 399 is good.
///
/// # Errors
/// What came instead.
pub async fn http(host: &str, port: u16, path: &str) -> Result<(), String> {
    let stream = tcp(host, port).await?;
    let said = |e: hyper::Error| format!("http://{host}:{port}{path}: {e}");
    let (mut client, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(said)?;
    let driver = tokio::spawn(connection);
    let request = hyper::Request::get(path)
        .header("Host", format!("{host}:{port}"))
        .header("User-Agent", concat!("weir/", env!("CARGO_PKG_VERSION")))
        .header("Connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("http://{host}:{port}{path}: {e}"))?;
    let answer = client.send_request(request).await.map_err(said);
    driver.abort();
    match answer?.status().as_u16() {
        200..=399 => Ok(()),
        status => Err(format!("http://{host}:{port}{path} answered {status}")),
    }
}
