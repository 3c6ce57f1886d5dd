//! The wire: HTTP in Kubernetes' shape over what the engine's handle offers, served on a Unix socket.
//!
//! This file owns connections: who may connect, how many, how long a request may take to arrive, and the end. It knows
//! nothing of processes or specs. A client that stalls, floods or breaks off costs a bounded number of slots and nothing else.

mod app;
pub mod auth;
mod document;
mod events;
pub mod hooks;
mod kube;
mod leases;
mod lines;
mod mcp;
mod metrics;
mod page;
mod policies;
mod refusal;
mod routes;
mod sockets;
mod stall;
mod steady;
mod streams;
mod tasks;
mod tcp;
mod usage;
pub mod wire;
mod write;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;

use self::app::{App, Room, until_true};
use self::refusal::{Refusal, nowhere};
use self::stall::{Impatient, Known, STALL_TIMEOUT};
use self::steady::steady;
pub use self::tcp::{Listen, serve_tcp};
use self::wire::Status;
use crate::engine::handle::Handle;

/// Connections served at once, besides those of workers that wait for tasks; more wait in the socket's backlog.
const CONNECTIONS_MAX: usize = 256;

/// Connections of forges at once: strangers get no more of the daemon than this.
const HOOK_CONNECTIONS_MAX: usize = 256;

/// Watches and followed logs at once, so that they can never use up all connections.
const STREAMS_MAX: u32 = 128;

/// Workers that wait for tasks at once on the socket. Each holds a connection, and there are as many more of these: those that
/// work are to be heard whoever waits.
const WAITING_MAX: u32 = 4096;

/// On the socket.
const ROOM: Room = Room { streams: STREAMS_MAX, waiting: WAITING_MAX };

/// A request's head must be there after this time.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// One of our own that is connected and asks nothing is hung up on after this time: a worker asks again when its task is done.
const KEPT_TIMEOUT: Duration = Duration::from_secs(300);

/// Largest head of a request, in bytes.
const HEAD_BYTES_MAX: usize = 64 * 1024;

/// What answers are given to finish when the daemon ends.
const ENDING_TIMEOUT: Duration = Duration::from_secs(2);

/// How long to leave the listener alone when no connection can be taken (out of file descriptors).
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// All routes, for a caller who owns the connections and answers for who is on them. Streams end only when their clients leave.
pub fn router(handle: Handle) -> Router {
    tcp::owned(routes::router(App::new(handle, ROOM, watch::Sender::new(false).subscribe())))
}

/// Serve on a Unix socket until `shutdown` is done; then end streams, let answers finish for a moment, and return.
///
/// Only root and the daemon's own user are answered; everyone else is told so. The caller makes the socket (mode 0660) and
/// removes it.
pub async fn serve_unix(listener: UnixListener, handle: Handle, shutdown: impl Future<Output = ()>) {
    let ending = watch::Sender::new(false);
    let app = App::new(handle, ROOM, ending.subscribe());
    let ours = tcp::owned(routes::router(app.clone()));
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX + WAITING_MAX as usize));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = next(&listener, &slots) => accepted,
        };
        let (stream, slot) = accepted;
        let (router, head) =
            if may_use(&stream) { (ours.clone(), KEPT_TIMEOUT) } else { (Router::new().fallback(stranger), HEAD_TIMEOUT) };
        connections.spawn(connection(stream, (router, head), slot, ending.subscribe()));
    }
    drop(listener);
    ending.send_replace(true);
    drained(connections, app.streams_ended()).await;
}

/// What is still going on is given a moment to finish.
async fn drained(mut connections: JoinSet<()>, streams_ended: impl Future<Output = ()>) {
    let drained = async {
        while connections.join_next().await.is_some() {}
        streams_ended.await;
    };
    // What is still open then is a client that does not read: dropping the set ends it.
    let _ = tokio::time::timeout(ENDING_TIMEOUT, drained).await;
}

/// Serve the webhooks alone, to whoever can reach the address: a forge has no other way to say who it is than its signature.
pub async fn serve_hooks(listener: TcpListener, receive: hooks::Receive, shutdown: impl Future<Output = ()>) {
    let ending = watch::Sender::new(false);
    let router = hooks::router(receive).fallback(|| async { nowhere(": only /hooks/{pool}/{index} is served here") });
    let greet = |stream, slot, known: Known| {
        // No forge shows a token, and none is interrupted for another one.
        known.set();
        let stream = Impatient::new(stream, STALL_TIMEOUT, Known::default());
        connection(stream, (router.clone(), HEAD_TIMEOUT), slot, ending.subscribe())
    };
    let open = tcp::accept(listener, HOOK_CONNECTIONS_MAX, shutdown, greet).await;
    ending.send_replace(true);
    drained(open, std::future::ready(())).await;
}

/// The next connection, when there is room for one.
async fn next(listener: &UnixListener, slots: &Arc<Semaphore>) -> (UnixStream, OwnedSemaphorePermit) {
    let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return (stream, slot),
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

fn may_use(stream: &UnixStream) -> bool {
    let own = nix::unistd::geteuid().as_raw();
    stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == own)
}

async fn stranger() -> Refusal {
    let message = "only root and the user that weir runs as may use this socket: run ctl as that user";
    Status::failure(403, "Forbidden", message).into()
}

async fn connection<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    (router, head): (Router, Duration),
    slot: OwnedSemaphorePermit,
    ending: watch::Receiver<bool>,
) {
    let mut builder = http1::Builder::new();
    builder.timer(TokioTimer::new()).header_read_timeout(head).max_buf_size(HEAD_BYTES_MAX);
    let serving = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    // A WebSocket goes on when this one is done. It holds one of the places for streams then, and none of those for connections.
    let serving = serving.with_upgrades();
    tokio::pin!(serving);
    tokio::select! {
        // A client that breaks off is its own affair.
        _ = steady(&mut serving) => {}
        () = until_true(ending) => {
            serving.as_mut().graceful_shutdown();
            let _ = steady(serving).await;
        }
    }
    drop(slot);
}
