//! The worker's `$NOTIFY_SOCKET`, as systemd's: readiness, watchdog, status text and busy state.
//!
//! An abstract socket with an unguessable name, so that a worker of another user reaches it; datagrams count only when the
//! kernel says that they come from the worker's user, ours or root.

use std::io::{IoSliceMut, Read};
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, ControlMessageOwned, MsgFlags, SockFlag, SockType, UnixAddr, bind, recvmsg, setsockopt, socket, sockopt,
};

use super::sys;
use super::wire::State;

/// Characters of a STATUS= text that are kept.
const STATUS_MAX: usize = 256;

/// The socket and its name.
pub(super) struct Notify {
    /// To be polled.
    pub(super) socket: OwnedFd,
    /// As it stands in the environment: `@weir/…`.
    pub(super) name: String,
}

impl Notify {
    /// A socket for `worker`; `None` if there is none to be had: the worker then runs without.
    pub(super) fn open(worker: &str) -> Option<Notify> {
        let mut random = [0u8; 8];
        std::fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut random)).ok()?;
        let name = format!("weir/{:016x}/{worker}", u64::from_le_bytes(random));
        let socket =
            socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None).ok()?;
        setsockopt(&socket, sockopt::PassCred, &true).ok()?;
        bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes()).ok()?).ok()?;
        Some(Notify { socket, name: format!("@{name}") })
    }

    /// Take in every datagram there is. Says whether the state changed.
    pub(super) fn take(&self, uid: u32, state: &mut State) -> bool {
        let mut changed = false;
        let mut buffer = [0u8; 4096];
        // Bounded: a flood of datagrams must not keep us from the rest.
        for _ in 0..64 {
            let mut space = nix::cmsg_space!(libc::ucred);
            let mut parts = [IoSliceMut::new(&mut buffer)];
            let Ok(message) = recvmsg::<()>(self.socket.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_DONTWAIT) else {
                break;
            };
            let sender = message.cmsgs().ok().and_then(|mut all| {
                all.find_map(
                    |control| if let ControlMessageOwned::ScmCredentials(who) = control { Some(who.uid()) } else { None },
                )
            });
            let length = message.bytes;
            let own = nix::unistd::getuid().as_raw();
            if sender.is_some_and(|sender| sender == uid || sender == 0 || sender == own) {
                changed |= read(&buffer[..length], state);
            }
        }
        changed
    }
}

fn read(datagram: &[u8], state: &mut State) -> bool {
    let text = String::from_utf8_lossy(datagram);
    let mut changed = false;
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        changed |= match (key, value) {
            ("READY", "1") => !std::mem::replace(&mut state.ready, true),
            ("RELOADING", "1") => std::mem::replace(&mut state.ready, false),
            ("X_WEIR_BUSY", "1") => !std::mem::replace(&mut state.busy, true),
            ("X_WEIR_BUSY", "0") => std::mem::replace(&mut state.busy, false),
            ("WATCHDOG", "1") => {
                state.watchdog = sys::boot_ms();
                true
            }
            ("EXTEND_TIMEOUT_USEC", value) => extend(value, state),
            ("STATUS", value) => {
                let clean: String = value.chars().filter(|c| !c.is_control()).take(STATUS_MAX).collect();
                std::mem::replace(&mut state.status, clean) != state.status
            }
            (_, _) => false,
        };
    }
    changed
}

fn extend(value: &str, state: &mut State) -> bool {
    let Ok(micros) = value.parse::<u64>() else { return false };
    // An hour at a time at most: a wrong unit must not make a worker immortal.
    state.extended = sys::boot_ms() + (micros / 1000).min(3_600_000);
    true
}
