//! Making a shim: its directory, its listening socket, its process.
//!
//! The socket listens before the process exists, so that connecting to it needs no waiting and no trying again.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::Shared;
use crate::model::worker::SlotId;

/// A new shim and the conversation with it.
pub(super) fn shim(shared: &Shared, slot: &SlotId) -> Result<(Child, UnixStream), String> {
    let said = |what: &Path| {
        let what = what.display().to_string();
        move |e: io::Error| format!("{what}: {e}")
    };
    let (dir, log) = (shared.dir(slot), shared.log(slot));
    let private = |path: &Path| std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    private(&dir).map_err(said(&dir))?;
    log.parent().map_or(Ok(()), private).map_err(said(&log))?;
    let listener = listen(&dir).map_err(said(&dir))?;
    let connection = File::open(&dir).and_then(|dir| UnixStream::connect(short(&dir))).map_err(said(&dir))?;
    let child = Command::new(&shared.config.shim_program)
        .arg(&dir)
        .arg(&log)
        .arg(&slot.worker)
        .env_clear()
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(said(&shared.config.shim_program))?;
    Ok((child, connection))
}

/// The socket's path by way of its directory's descriptor: a socket's path may have 107 bytes, a state directory's more.
fn short(dir: &File) -> String {
    format!("/proc/self/fd/{}/sock", dir.as_raw_fd())
}

fn listen(dir: &Path) -> io::Result<UnixListener> {
    let path = dir.join("sock");
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    UnixListener::bind(short(&File::open(dir)?))
}

/// Speak to the shim of a slot. It is not waited for one that is stopped and has too many in its line.
///
/// # Errors
/// The system's: see [`means_none`].
pub(super) async fn connect(dir: &Path) -> io::Result<tokio::net::UnixStream> {
    tokio::net::UnixStream::connect(short(&File::open(dir)?)).await
}

/// Whether this error of [`connect`] says that there is no shim. Any other says nothing of it: no descriptor was left, no memory.
pub(super) fn means_none(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::ConnectionRefused)
}
