//! The listener on the network: TLS for kubectl, plain HTTP on loopback for the rest, told apart by the first byte.
//!
//! The same bounds as on the socket: so many connections, so long for a handshake and for a head; and so long for strangers to
//! take their answers. Where there is no more room they give way to whoever comes. Beyond loopback nothing is said in the clear. Who may ask what is not known here.

use std::collections::VecDeque;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use axum::{Extension, Router, middleware};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::{AbortHandle, JoinSet};
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
    let greet = |stream, slot, known| greet((stream, known), acceptor.clone(), router.clone(), (slot, ending.subscribe()));
    let open = accept(listener, CONNECTIONS_MAX, shutdown, greet).await;
    ending.send_replace(true);
    drained(open, app.streams_ended()).await;
}

/// Take connections until `shutdown` is done, at most so many at once; each is served by what `greet` makes of it. Given back are
/// those that are still open then.
///
/// Where all places are taken, the oldest of those that nobody has shown a token on gives way: who connects and says nothing, or
/// nothing good, keeps nobody out.
pub async fn accept<F: Future<Output = ()> + Send + 'static>(
    listener: TcpListener,
    most: usize,
    shutdown: impl Future<Output = ()>,
    greet: impl Fn(TcpStream, OwnedSemaphorePermit, Known) -> F,
) -> JoinSet<()> {
    let (slots, mut unknown) = (Arc::new(Semaphore::new(most)), Unknown::default());
    let mut connections = JoinSet::new();
    tokio::pin!(shutdown);
    loop {
        let coming = async {
            let stream = next(&listener).await;
            if slots.available_permits() == 0 {
                unknown.give_way();
            }
            (stream, slots.clone().acquire_owned().await.expect("the semaphore is never closed"))
        };
        let (stream, slot) = tokio::select! {
            () = &mut shutdown => return connections,
            coming = coming => coming,
        };
        let known = Known::default();
        let served = connections.spawn(greet(stream, slot, known.clone()));
        unknown.add(known, served);
        while connections.try_join_next().is_some() {}
    }
}

/// The next connection.
async fn next(listener: &TcpListener) -> TcpStream {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Connections on which nobody had shown a token when they were last looked at, the oldest first.
#[derive(Default)]
struct Unknown(VecDeque<(Known, AbortHandle)>);

impl Unknown {
    /// One more. Those that are known or over by now are forgotten, so that there are never more of these than places.
    fn add(&mut self, known: Known, served: AbortHandle) {
        self.look();
        self.0.push_back((known, served));
    }

    fn look(&mut self) {
        self.0.retain(|(known, served)| !known.is_set() && !served.is_finished());
    }

    /// The oldest of them is dropped, and its place free a moment later. Where there is none, whoever comes waits for a place.
    fn give_way(&mut self) {
        self.look();
        if let Some((_, served)) = self.0.pop_front() {
            served.abort();
        }
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
    (stream, known): (TcpStream, Known),
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
    let stream = Impatient::new(stream, STALL_TIMEOUT, known.clone());
    let router = Router::new().fallback_service(router).layer(Extension(known));
    if first[0] == HANDSHAKE {
        if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, acceptor.accept(stream)).await {
            connection(stream, (router, HEAD_TIMEOUT), slot, ending).await;
        }
    } else if is_near {
        connection(stream, (router, HEAD_TIMEOUT), slot, ending).await;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// No test waits longer for anything.
    const PATIENCE: Duration = Duration::from_secs(20);

    /// A client that shows its token, and is heard.
    async fn shown(client: &mut TcpStream) -> bool {
        let heard = async {
            client.write_all(b"t").await.ok()?;
            client.read_exact(&mut [0]).await.ok()
        };
        tokio::time::timeout(PATIENCE, heard).await.is_ok_and(|heard| heard.is_some())
    }

    #[tokio::test]
    async fn who_says_nothing_gives_way_the_oldest_first_and_who_is_known_does_not() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        // Whatever comes is a token, and the connection stays until it is dropped.
        let greet = |mut stream: TcpStream, slot: OwnedSemaphorePermit, known: Known| async move {
            let mut byte = [0];
            while stream.read_exact(&mut byte).await.is_ok() {
                known.set();
                let _gone = stream.write_all(&byte).await;
            }
            drop(slot);
        };
        let served = tokio::spawn(accept(listener, 3, std::future::pending::<()>(), greet));
        let connect = || async { TcpStream::connect(at).await.unwrap() };
        let mut first = connect().await;
        assert!(shown(&mut first).await);
        let (mut second, mut third) = (connect().await, connect().await);
        // All places are taken; two more come, and the silent ones lose theirs in their order.
        let mut stay = Vec::new();
        for silent in [&mut second, &mut third] {
            let mut more = connect().await;
            assert!(shown(&mut more).await, "it is let in");
            let ended = tokio::time::timeout(PATIENCE, silent.read(&mut [0])).await.expect("it is dropped");
            assert!(matches!(ended, Ok(0) | Err(_)));
            stay.push(more);
        }
        assert!(shown(&mut first).await, "who is known stays");
        // Nobody is left who could give way: whoever comes waits until somebody leaves.
        let mut last = connect().await;
        last.write_all(b"t").await.unwrap();
        drop(first);
        assert!(shown(&mut last).await);
        served.abort();
    }
}
