//! The stream between the daemon and a shim: whole messages out of bytes, and bytes out of commands.
//!
//! What a message means is the link's affair. Nothing here waits for an answer, and nothing for ever.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::UnixStream;

use crate::shim::wire::{self, State};

/// How long a shim may take to make room for what it is told. It reads at once unless it is stopped.
const SEND_MAX: Duration = Duration::from_secs(5);

/// A shim that is spoken to.
pub(super) struct Shim {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// Its process, where that is known.
    pub(super) pid: Option<i32>,
}

impl Shim {
    pub(super) fn new(stream: UnixStream, pid: Option<i32>) -> Shim {
        Shim { stream, buffer: Vec::new(), pid }
    }

    /// The next state that it tells; none when it is gone or talks nonsense. May be dropped at any moment: nothing is lost.
    pub(super) async fn receive(&mut self) -> Option<State> {
        loop {
            match wire::split(&self.buffer) {
                Ok(Some((kind, body, taken))) => {
                    let state = State::decode(kind, body).ok()?;
                    self.buffer.drain(..taken);
                    if self.buffer.is_empty() {
                        // A thousand links wait most of the time: none keeps a buffer.
                        self.buffer = Vec::new();
                    }
                    return Some(state);
                }
                Ok(None) => {}
                Err(wire::Malformed) => return None,
            }
            self.stream.readable().await.ok()?;
            let mut chunk = [0u8; 1024];
            match self.stream.try_read(&mut chunk) {
                Ok(0) => return None,
                Ok(n) => self.buffer.extend_from_slice(&chunk[..n]),
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                Err(_) => return None,
            }
        }
    }

    /// Send these bytes. Says whether the shim still takes any; what it took of these may be a part that garbles the rest, so
    /// that nothing more may be said to one that does not. One that is gone shows as the end of the conversation, which is
    /// being read.
    #[must_use]
    pub(super) async fn send(&mut self, bytes: &[u8]) -> bool {
        tokio::time::timeout(SEND_MAX, self.stream.write_all(bytes)).await.is_ok()
    }
}

/// The same stream, not to be waited for.
pub(super) fn nonblocking(stream: std::os::unix::net::UnixStream) -> std::io::Result<UnixStream> {
    stream.set_nonblocking(true)?;
    UnixStream::from_std(stream)
}
