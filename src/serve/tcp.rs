//! The listener on the network: TLS for kubectl, plain HTTP on loopback for the rest, told apart by the first byte.
//!
//! The same bounds as on the socket: so many connections, so long for a handshake and for a head; and so long for strangers to
//! take their answers. Beyond loopback nothing is said in the clear. Who may ask what is not known here.

use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use axum::{Extension, Router, middleware};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use super::app::{App, Room};
use super::auth::{self, Grants, Network};
use super::stall::{Impatient, Known, STALL_TIMEOUT};
use super::{ACCEPT_PAUSE, CONNECTIONS_MAX, HEAD_TIMEOUT, STREAMS_MAX, connection, drained, routes};
use crate::engine::handle::Handle;

/// The first byte of every TLS connection.
const HANDSHAKE: u8 = 0x16;

/// Together less than there are connections. Workers are on the machine itself, and have the socket: here few wait for tasks.
const ROOM: Room = Room { streams: STREAMS_MAX, waiting: 64 };

/// What the listener is made of.
pub struct Listen {
    /// The socket.
    pub listener: TcpListener,
    /// How to speak TLS.
    pub tls: Arc<ServerConfig>,
    /// The tokens.
    pub grants: Grants,
}

/// Serve until `shutdown` is done; then end streams, let answers finish for a moment, and return.
pub async fn serve_tcp(listen: Listen, handle: Handle, shutdown: impl Future<Output = ()>) {
    let Listen { listener, tls, grants } = listen;
    let ending = watch::Sender::new(false);
    let app = App::new(handle, ROOM, ending.subscribe());
    let own = listener.local_addr().map_or(IpAddr::from([127, 0, 0, 1]), |at| at.ip());
    let router = guarded(routes::router(app.clone()), Network { grants, own });
    let acceptor = TlsAcceptor::from(tls);
    let greet = |stream, slot| greet(stream, acceptor.clone(), router.clone(), (slot, ending.subscribe()));
    let open = accept(listener, CONNECTIONS_MAX, shutdown, greet).await;
    ending.send_replace(true);
    drained(open, app.streams_ended()).await;
}

/// Take connections until `shutdown` is done, at most so many at once; each is served by what `greet` makes of it. Given back are
/// those that are still open then.
pub async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    most: usize,
    shutdown: impl Future<Output = ()>,
    greet: impl Fn(TcpStream, OwnedSemaphorePermit) -> F,
) -> JoinSet<()> {
    let slots = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let slot = slots.clone().acquire_owned().await.expect("the semaphore is never closed");
        let stream = tokio::select! {
            () = &mut shutdown => return connections,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(_) => {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            },
        };
        connections.spawn(greet(stream, slot));
        while connections.try_join_next().is_some() {}
    }
}

/// Routes behind the network's gate.
fn guarded(routes: Router, network: Network) -> Router {
    routes.layer(middleware::from_fn_with_state(network, auth::network))
}

/// Routes for whoever may use the socket.
pub fn owned(routes: Router) -> Router {
    routes.layer(Extension(auth::Peer::OWNER))
}

async fn greet(
    stream: TcpStream,
    acceptor: TlsAcceptor,
    router: Router,
    (slot, ending): (OwnedSemaphorePermit, watch::Receiver<bool>),
) {
    let mut first = [0];
    let peeked = tokio::time::timeout(HEAD_TIMEOUT, stream.peek(&mut first)).await;
    if !matches!(peeked, Ok(Ok(1))) {
        return;
    }
    let _quick = stream.set_nodelay(true);
    let is_near = stream.local_addr().is_ok_and(|at| at.ip().is_loopback());
    let known = Known::default();
    let stream = Impatient::new(stream, STALL_TIMEOUT, known.clone());
    let router = Router::new().fallback_service(router).layer(Extension(known));
    if first[0] == HANDSHAKE {
        if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
            connection(stream, router, slot, ending).await;
        }
    } else if is_near {
        connection(stream, router, slot, ending).await;
    }
}
