//! Looking at a worker from outside: a command, an HTTP question, a TCP connection. One answer each, within the time given.
//!
//! No verdict is made here. A command runs without a shell and is killed when its time is over; what it
//! itself has put into the background is its own affair.
//! HTTP follows no redirect and reads no body.

use std::collections::BTreeMap;
use std::process::Stdio;
use std::time::Duration;

use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// A command to run beside a worker, as the worker itself would.
#[derive(Clone, Debug)]
pub struct Command {
    /// The argument vector.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Where it runs.
    pub dir: Option<String>,
    /// As whom: uid and gid.
    pub user: Option<(u32, u32)>,
}

/// Bytes of a failed command's error output that are told.
const WORDS_MAX: usize = 200;

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
    let Some((program, args)) = command.argv.split_first() else { return Err("the command is empty".into()) };
    let mut child = tokio::process::Command::new(program);
    child.args(args).env_clear().envs(&command.env).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    child.kill_on_drop(true);
    if let Some(dir) = &command.dir {
        child.current_dir(dir);
    }
    if let Some((uid, gid)) = command.user {
        child.gid(gid).uid(uid);
    }
    let child = child.spawn().map_err(|e| format!("{program}: {e}"))?;
    let output = child.wait_with_output().await.map_err(|e| format!("{program}: {e}"))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr[..output.stderr.len().min(WORDS_MAX)]);
    let words: String = words.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    Err(format!("{program}: {} {}", output.status, words.trim()).trim_end().to_owned())
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
