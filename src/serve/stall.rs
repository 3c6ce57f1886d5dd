//! A stranger who takes nothing of an answer is given up.
//!
//! A request's head must come in time; without this an answer had for ever to be taken, and its connection kept one of the bounded
//! places as long as the stranger liked. The time runs only while something is to be written and nothing can be: neither who is
//! slow is cut off nor who is told nothing. Whoever has shown a token may stop reading: a log in a pager goes on with its page.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Sleep;

/// Nothing of an answer is taken for so long.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether somebody on a connection has shown a token.
#[derive(Clone, Debug, Default)]
pub struct Known(Arc<AtomicBool>);

impl Known {
    /// Somebody has.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody has.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A socket whose other end must take what is written to it. Only its writes wait: a flush of a socket never does.
pub struct Impatient<S> {
    socket: S,
    timeout: Duration,
    known: Known,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> Impatient<S> {
    /// For whoever may be a stranger.
    pub fn new(socket: S, timeout: Duration, known: Known) -> Impatient<S> {
        Impatient { socket, timeout, known, stalled: None }
    }

    /// What came of a write, or that nothing has come of any for too long.
    fn judged(&mut self, wrote: Poll<io::Result<usize>>, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if wrote.is_ready() || self.known.is_set() {
            self.stalled = None;
            return wrote;
        }
        let timeout = self.timeout;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(tokio::time::sleep(timeout)));
        stalled.as_mut().poll(cx).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Impatient<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Impatient<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.judged(wrote, cx)
    }

    fn poll_write_vectored(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(cx, bytes);
        self.judged(wrote, cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use axum::{Router, routing};
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::sync::{Semaphore, watch};
    use tokio::time::{sleep, timeout};

    use super::*;

    const TIMEOUT: Duration = Duration::from_millis(600);
    /// No test waits longer for anything.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn the_time_runs_only_while_nothing_is_taken() {
        let (ours, mut theirs) = duplex(8);
        let mut socket = Impatient::new(ours, TIMEOUT, Known::default());
        socket.write_all(&[0; 8]).await.unwrap();
        for round in 0..3 {
            assert!(timeout(TIMEOUT / 2, socket.write(&[0; 4])).await.is_err(), "slow, in round {round}");
            theirs.read_exact(&mut [0; 4]).await.unwrap();
            socket.write_all(&[0; 4]).await.unwrap();
        }
        sleep(TIMEOUT * 2).await;
        theirs.read_exact(&mut [0; 4]).await.unwrap();
        socket.write_all(&[0; 4]).await.expect("it was told nothing for long");
        let stalled = timeout(PATIENCE, socket.write(&[0; 4])).await.expect("it is given up");
        assert_eq!(stalled.unwrap_err().kind(), ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn who_has_shown_a_token_may_stop_reading() {
        let (ours, mut theirs) = duplex(8);
        let known = Known::default();
        let mut socket = Impatient::new(ours, TIMEOUT, known.clone());
        known.set();
        socket.write_all(&[0; 8]).await.unwrap();
        assert!(timeout(TIMEOUT * 2, socket.write(&[0; 4])).await.is_err(), "it waits");
        theirs.read_exact(&mut [0; 4]).await.unwrap();
        socket.write_all(&[0; 4]).await.unwrap();
    }

    #[tokio::test]
    async fn who_asks_again_and_again_and_reads_no_answer_loses_its_place() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (places, ending) = (Arc::new(Semaphore::new(1)), watch::Sender::new(false));
        let place = places.clone().acquire_owned().await.unwrap();
        let router = Router::new().route("/", routing::get(|| async { "x".repeat(1024 * 1024) }));
        let socket = Impatient::new(stream, TIMEOUT, Known::default());
        let served =
            tokio::spawn(crate::serve::connection(socket, (router, super::super::HEAD_TIMEOUT), place, ending.subscribe()));
        // More than all buffers on the way hold.
        for _ in 0..64 {
            client.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        }
        drop(timeout(PATIENCE, places.acquire()).await.expect("its place is free again").unwrap());
        served.await.unwrap();
    }
}
