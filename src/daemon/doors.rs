//! What the daemon listens at: its own socket, the network, and the webhooks of forges.
//!
//! Each door is served until its sender is dropped, and not in the controller's thread; who may do what behind each is for
//! `serve` to say. Whoever comes before the daemon shows what it knows waits at the door until it does.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle as Runtime;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::{Failure, Options, failure};
use crate::edge::access::Access;
use crate::edge::lines;
use crate::engine::handle::Handle;
use crate::engine::hooks::Hooks;
use crate::model::hook::Delivery;
use crate::serve;

/// How long whoever comes waits until a daemon that has just begun shows what it knows.
const CAUGHT_UP: Duration = Duration::from_secs(2);

/// Serve HTTP and the Kubernetes API where it was asked for, until the sender is dropped.
pub(super) fn serve_network(
    options: &Options,
    state: &Path,
    (handle, aside): (&Handle, &Runtime),
) -> Result<oneshot::Sender<()>, Failure> {
    let (stop, stopped) = oneshot::channel();
    let _stale = std::fs::remove_file(state.join("listen"));
    let Some(at) = options.listen else { return Ok(stop) };
    if !at.ip().is_loopback() && !options.listen_beyond_loopback {
        let why = "other machines can reach this address: use 127.0.0.1, or say --listen-beyond-loopback";
        return Err(failure(format!("--listen {at}: {why}")));
    }
    let access = Access::open(state).map_err(failure)?;
    let tls = access.tls().map_err(failure)?;
    let listener = bind(at, aside).map_err(|e| failure(format!("--listen {at}: {e}")))?;
    let at = listener.local_addr().unwrap_or(at);
    access.announce(Some(&at.to_string())).map_err(failure)?;
    lines::say(&format!("kubernetes API at https://{at}: see `ctl kubeconfig`; the token is in {}/token", state.display()));
    let grants = grants(access);
    let handle = handle.clone();
    aside.spawn(async move {
        handle.caught_up(CAUGHT_UP).await;
        serve::serve_tcp(serve::Listen { listener, tls, grants }, handle, told(stopped)).await;
    });
    Ok(stop)
}

/// The tokens as their files have them at each request. What is wrong with the files is logged when it is first seen: requests of
/// strangers must not fill the log.
fn grants(access: Access) -> serve::auth::Grants {
    let told = Mutex::new(None);
    Arc::new(move || {
        let read = access.grants();
        let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(grants) => {
                if told.take().is_some() {
                    tracing::info!("tokens are believed again");
                }
                Some(grants)
            }
            Err(why) => {
                if told.as_ref() != Some(&why) {
                    tracing::warn!("nobody is let in from the network: {why}");
                }
                *told = Some(why);
                None
            }
        }
    })
}

/// Serve webhooks at this address until the sender is dropped.
pub(super) fn serve_hooks(at: Option<SocketAddr>, handle: &Handle, aside: &Runtime) -> Result<oneshot::Sender<()>, Failure> {
    let (stop, stopped) = oneshot::channel();
    let Some(at) = at else { return Ok(stop) };
    let listener = bind(at, aside).map_err(|e| failure(format!("--hooks-listen {at}: {e}")))?;
    lines::say(&format!("webhooks at http://{}/hooks/POOL/INDEX", listener.local_addr().unwrap_or(at)));
    let (hooks, handle) = (Hooks::new(Arc::new(handle.clone())), handle.clone());
    let receive = move |delivery: Delivery<_>| -> futures_util::future::BoxFuture<'static, _> {
        let hooks = hooks.clone();
        Box::pin(async move { hooks.receive(delivery).await })
    };
    aside.spawn(async move {
        handle.caught_up(CAUGHT_UP).await;
        serve::serve_hooks(listener, Arc::new(receive), told(stopped)).await;
    });
    Ok(stop)
}

/// Serve what listens at the daemon's own socket until the sender is dropped. It is over then, but for what does not end.
pub(super) fn serve_socket(socket: UnixListener, handle: Handle, aside: &Runtime) -> (oneshot::Sender<()>, JoinHandle<()>) {
    let (stop, stopped) = oneshot::channel();
    let served = aside.spawn(async move {
        handle.caught_up(CAUGHT_UP).await;
        serve::serve_unix(socket, handle, told(stopped)).await;
    });
    (stop, served)
}

/// Until the sender says so, or is dropped, which is the same wish.
async fn told(stopped: oneshot::Receiver<()>) {
    let _told = stopped.await;
}

/// A listener that belongs to whoever serves.
fn bind(at: SocketAddr, aside: &Runtime) -> std::io::Result<TcpListener> {
    let listener = std::net::TcpListener::bind(at)?;
    listener.set_nonblocking(true)?;
    let _aside = aside.enter();
    TcpListener::from_std(listener)
}

/// The socket in the state directory.
pub(super) fn listen(state: &Path, aside: &Runtime) -> Result<UnixListener, Failure> {
    use std::os::unix::fs::PermissionsExt;
    let path = state.join("weir.sock");
    // The state lock is ours, so whoever listened here before is gone.
    let _stale = std::fs::remove_file(&path);
    let said = |e: std::io::Error| failure(format!("{}: {e}", path.display()));
    let dir = std::fs::File::open(state).map_err(said)?;
    // By way of the directory's descriptor: a socket's path may have 107 bytes, a state directory's more.
    let short = format!("/proc/self/fd/{}/weir.sock", std::os::fd::AsRawFd::as_raw_fd(&dir));
    let _aside = aside.enter();
    let listener = UnixListener::bind(short).map_err(said)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660)).map_err(said)?;
    Ok(listener)
}
