//! The daemon's socket, or its address on loopback: one HTTP request on a connection of its own, and answers or refusals as values.
//!
//! Knows how to ask, not what. A socket that is not there or refuses is [`Failure::NoDaemon`], which commands that can read
//! files instead look for.

use std::convert::Infallible;
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Incoming};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::error::Failure;
use super::silence::{PATIENCE, waits};
use crate::model::status::Kind;
use crate::serve::wire::{List, ROOT, Status};

/// Longest path that a socket address holds, in bytes, without its end.
const SOCKET_PATH_MAX: usize = 107;

/// Largest answer that is read into memory, in bytes: thousands of objects, and no more.
const ANSWER_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Longest line of an answer, in bytes.
const LINE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A way to the daemon.
pub struct Client {
    state: PathBuf,
    server: Option<Server>,
}

/// A daemon that is reached over TCP.
struct Server {
    /// Host and port.
    authority: String,
    token: String,
}

/// A connection, of whichever kind.
trait Connection: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Connection for T {}

/// What is sent along.
pub struct Sent {
    kind: &'static str,
    bytes: Vec<u8>,
}

impl Sent {
    /// Nothing.
    pub fn nothing() -> Sent {
        Sent { kind: "application/json", bytes: Vec::new() }
    }

    /// A merge patch.
    pub fn patch(value: &Value) -> Sent {
        Sent { kind: "application/merge-patch+json", bytes: value.to_string().into_bytes() }
    }

    /// JSON.
    pub fn json(value: &Value) -> Sent {
        Sent { kind: "application/json", bytes: value.to_string().into_bytes() }
    }

    /// Bytes of this type.
    pub fn bytes(kind: &'static str, bytes: Vec<u8>) -> Sent {
        Sent { kind, bytes }
    }

    /// Documents.
    pub fn yaml(text: &str) -> Sent {
        Sent { kind: "text/yaml", bytes: text.as_bytes().to_vec() }
    }
}

impl Client {
    /// To the daemon of a state directory.
    pub fn new(state: &Path) -> Client {
        Client { state: state.to_owned(), server: None }
    }

    /// To a daemon that listens on loopback: `http://127.0.0.1:8888`, with a token.
    ///
    /// # Errors
    /// Not such a URL. Another machine would hear the token.
    pub fn to_server(url: &str, token: &str) -> Result<Client, Failure> {
        let authority = url.strip_prefix("http://").map(|rest| rest.trim_end_matches('/')).unwrap_or_default();
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        let near = host == "localhost"
            || host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
        if !near || authority.contains('/') {
            return Err(Failure::Usage(format!(
                "--server {url}: expected http:// and a loopback address, like http://127.0.0.1:8888"
            )));
        }
        let server = Server { authority: authority.into(), token: token.trim().into() };
        Ok(Client { state: PathBuf::from("/dev/null"), server: Some(server) })
    }

    /// It was named by an address, so no files stand in for it.
    pub fn is_elsewhere(&self) -> bool {
        self.server.is_some()
    }

    /// The address and the token that it was named by.
    pub fn elsewhere(&self) -> Option<(&str, &str)> {
        self.server.as_ref().map(|server| (server.authority.as_str(), server.token.as_str()))
    }

    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.state.join("weir.sock")
    }

    /// A connection, and who is at its other end, where that can be known.
    async fn connect(&self) -> Result<(Box<dyn Connection>, Option<i32>), Failure> {
        match &self.server {
            Some(server) => {
                let connected = TcpStream::connect(&server.authority).await;
                let connected = connected.map_err(|error| Failure::NoDaemon(format!("{}: {error}", server.authority)))?;
                Ok((Box::new(connected), None))
            }
            None => {
                let socket = self.connect_socket().await?;
                let daemon = socket.peer_cred().ok().and_then(|peer| peer.pid());
                Ok((Box::new(socket), daemon))
            }
        }
    }

    async fn connect_socket(&self) -> Result<UnixStream, Failure> {
        let socket = self.socket();
        let connected = if socket.as_os_str().len() <= SOCKET_PATH_MAX {
            UnixStream::connect(&socket).await
        } else {
            through_directory(&self.state).await
        };
        connected.map_err(|error| {
            let at = format!("{}: {error}", socket.display());
            let absent = [
                io::ErrorKind::NotFound,
                io::ErrorKind::NotADirectory,
                io::ErrorKind::ConnectionRefused,
                // It ended while this connection waited to be accepted.
                io::ErrorKind::ConnectionReset,
            ];
            if absent.contains(&error.kind()) {
                return Failure::NoDaemon(at);
            }
            if error.kind() == io::ErrorKind::PermissionDenied {
                return Failure::Server(Box::new(Status::failure(403, "Forbidden", at)));
            }
            Failure::Internal(at)
        })
    }

    /// Ask, and give the answer as it comes.
    ///
    /// # Errors
    /// No daemon, or a refusal.
    pub async fn send(&self, method: Method, path: &str, sent: Sent) -> Result<Response<Incoming>, Failure> {
        self.give(method, path, (sent.kind, Full::new(Bytes::from(sent.bytes)))).await
    }

    /// Send what comes, and give the answers to it line by line, as they come.
    ///
    /// # Errors
    /// As [`Client::send`].
    pub async fn exchange<B>(&self, path: &str, kind: &str, body: B) -> Result<Lines, Failure>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let response = self.give(Method::POST, path, (kind, body)).await?;
        Ok(Lines { body: response.into_body(), rest: Vec::new() })
    }

    async fn give<B>(&self, method: Method, path: &str, (kind, body): (&str, B)) -> Result<Response<Incoming>, Failure>
    where
        B: Body<Data = Bytes, Error = Infallible> + Send + 'static,
    {
        let (stream, daemon) = self.connect().await?;
        let (changes, waits) = (method != Method::GET, waits(path));
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(broke_off)?;
        tokio::spawn(connection);
        let host = self.server.as_ref().map_or("weir", |server| server.authority.as_str());
        let mut request = Request::builder().method(method).uri(path).header("host", host).header("content-type", kind);
        if let Some(server) = &self.server {
            request = request.header("authorization", format!("Bearer {}", server.token));
        }
        let request = request.body(body).map_err(|error| Failure::Usage(error.to_string()))?;
        let answer = sender.send_request(request);
        let response = if waits { answer.await } else { PATIENCE.wait(answer, changes, daemon).await? }.map_err(broke_off)?;
        if response.status().is_success() {
            return Ok(response);
        }
        let code = response.status().as_u16();
        let body = whole(response.into_body()).await?;
        let plain = || Status::failure(code, "", String::from_utf8_lossy(&body));
        Err(Failure::Server(Box::new(serde_json::from_slice(&body).unwrap_or_else(|_| plain()))))
    }

    /// Ask, and read the answer.
    ///
    /// # Errors
    /// No daemon, a refusal, or an answer that is not what was asked for.
    pub async fn ask<T: DeserializeOwned>(&self, method: Method, path: &str, sent: Sent) -> Result<T, Failure> {
        read(self.send(method, path, sent).await?).await
    }

    /// All of a kind that a label selector wants.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn list(&self, kind: Kind, labels: &str) -> Result<List, Failure> {
        Ok(self.list_warned(kind, labels).await?.0)
    }

    /// The same, with what the daemon warns of beside it.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn list_warned(&self, kind: Kind, labels: &str) -> Result<(List, Vec<String>), Failure> {
        let path = format!("{ROOT}/{}?labelSelector={}", kind.plural(), encoded(labels));
        let response = self.send(Method::GET, &path, Sent::nothing()).await?;
        let warnings = response.headers().get_all("warning").iter().filter_map(|value| warning(value.to_str().ok()?)).collect();
        Ok((read(response).await?, warnings))
    }

    /// One object.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn get(&self, kind: Kind, name: &str) -> Result<Value, Failure> {
        self.ask(Method::GET, &path(kind, name), Sent::nothing()).await
    }

    /// Read an answer as it comes.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn stream(&self, path: &str) -> Result<Incoming, Failure> {
        Ok(self.send(Method::GET, path, Sent::nothing()).await?.into_body())
    }

    /// The changes of a kind from a version on.
    ///
    /// # Errors
    /// As [`Client::ask`]; 410 when the version is too old.
    pub async fn watch(&self, kind: Kind, version: &str, selectors: &str) -> Result<Lines, Failure> {
        self.changes(kind.plural(), version, selectors).await
    }

    /// The changes of tasks from a version on.
    ///
    /// # Errors
    /// As [`Client::watch`].
    pub async fn watch_tasks(&self, version: &str, selectors: &str) -> Result<Lines, Failure> {
        self.changes("tasks", version, selectors).await
    }

    async fn changes(&self, plural: &str, version: &str, selectors: &str) -> Result<Lines, Failure> {
        let path = format!("{ROOT}/{plural}?watch=1&resourceVersion={}{selectors}", encoded(version));
        Ok(Lines { body: self.stream(&path).await?, rest: Vec::new() })
    }
}

/// A daemon that ends or is killed in the middle of an answer is as absent as one that was never there.
fn broke_off(error: hyper::Error) -> Failure {
    Failure::NoDaemon(format!("it broke off in the middle of an answer ({error})"))
}

/// The text of a `Warning` header: `299 - "text"`.
fn warning(value: &str) -> Option<String> {
    Some(value.strip_prefix("299 ")?.split_once('"')?.1.strip_suffix('"')?.to_owned())
}

async fn read<T: DeserializeOwned>(response: Response<Incoming>) -> Result<T, Failure> {
    let body = whole(response.into_body()).await?;
    serde_json::from_slice(&body).map_err(|error| Failure::Internal(format!("the daemon's answer cannot be read: {error}")))
}

/// The path of one object.
pub fn path(kind: Kind, name: &str) -> String {
    format!("{ROOT}/{}/{}", kind.plural(), encoded(name))
}

/// A text as a part of a URL.
pub fn encoded(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// A path that is too long for a socket address is reached through its open directory.
async fn through_directory(state: &Path) -> io::Result<UnixStream> {
    let directory = std::fs::File::open(state)?;
    UnixStream::connect(format!("/proc/self/fd/{}/weir.sock", directory.as_raw_fd())).await
}

async fn whole(mut body: Incoming) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    while let Some(chunk) = next_chunk(&mut body).await? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            return Err(Failure::Internal(format!("the answer is larger than {ANSWER_BYTES_MAX} bytes")));
        }
    }
    Ok(bytes)
}

/// The next bytes of an answer.
///
/// # Errors
/// No daemon: it broke off.
pub async fn next_chunk(body: &mut Incoming) -> Result<Option<Bytes>, Failure> {
    loop {
        match body.frame().await {
            None => return Ok(None),
            Some(Err(error)) => return Err(broke_off(error)),
            Some(Ok(frame)) => {
                if let Ok(bytes) = frame.into_data() {
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// An answer line by line, each a JSON value.
pub struct Lines {
    body: Incoming,
    rest: Vec<u8>,
}

impl Lines {
    /// The next line; none at the end.
    ///
    /// # Errors
    /// The daemon broke off, or what it sent is not JSON.
    pub async fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, Failure> {
        let mut looked = 0;
        loop {
            if let Some(end) = self.rest[looked..].iter().position(|b| *b == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=looked + end).collect();
                let parsed = serde_json::from_slice(&line);
                return parsed
                    .map(Some)
                    .map_err(|error| Failure::Internal(format!("a line of the answer cannot be read: {error}")));
            }
            looked = self.rest.len();
            if looked > LINE_BYTES_MAX {
                return Err(Failure::Internal("a line of the answer is too long".into()));
            }
            match next_chunk(&mut self.body).await? {
                Some(bytes) => self.rest.extend_from_slice(&bytes),
                None => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn names_cannot_leave_their_place_in_a_url() {
        assert_eq!(super::encoded("../a b?é"), "..%2Fa%20b%3F%C3%A9");
    }
}
