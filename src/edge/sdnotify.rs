//! What the service manager that started us is told: `sd_notify(3)` over `$NOTIFY_SOCKET`, and the watchdog's beat.
//!
//! Without that variable nothing is sent and nothing wakes. A manager that does not read never holds us up: what does not fit
//! into its socket at once is not sent, and a beat that is lost is sent again half a period later.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::clock;
use crate::model::time::{Moment, Span};

/// The service manager, if there is one.
#[derive(Debug, Default)]
pub struct ServiceManager {
    socket: Option<UnixDatagram>,
    /// Half of the watchdog's period.
    period: Option<Span>,
    due: Option<Moment>,
    reloading: bool,
}

impl ServiceManager {
    /// As the environment says: `$NOTIFY_SOCKET`, `$WATCHDOG_USEC`, `$WATCHDOG_PID`.
    pub fn of_environment(now: Moment) -> ServiceManager {
        let Some(address) = std::env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty()) else {
            return ServiceManager::default();
        };
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
        let mine = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
        match connect(&address) {
            Ok(socket) => ServiceManager::new(socket, number("WATCHDOG_USEC").filter(|_| mine), now),
            Err(error) => {
                tracing::warn!("NOTIFY_SOCKET={address:?}: {error}; the service manager is told nothing");
                ServiceManager::default()
            }
        }
    }

    fn new(socket: UnixDatagram, watchdog_micros: Option<u64>, now: Moment) -> ServiceManager {
        let period = watchdog_micros.filter(|micros| *micros > 0).map(|micros| Span((micros / 2000).max(1)));
        ServiceManager { socket: Some(socket), period, due: period.map(|_| now), reloading: false }
    }

    /// We serve; with a line for `systemctl status`.
    pub fn ready(&self, status: &str) {
        self.send(&format!("READY=1\nSTATUS={}", status.replace(char::is_control, " ")));
    }

    /// The specs are being read again, because somebody asked for it.
    pub fn reloading(&mut self) {
        self.reloading = true;
        self.send(&format!("RELOADING=1\nMONOTONIC_USEC={}", clock::monotonic_micros()));
    }

    /// The specs were read. Says nothing when nobody asked.
    pub fn reloaded(&mut self) {
        if std::mem::take(&mut self.reloading) {
            self.send("READY=1");
        }
    }

    /// We are ending.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Whoever runs the loop calls this each time around: the watchdog hears of it when it is time. Gives when it is next.
    pub fn beat(&mut self, now: Moment) -> Option<Moment> {
        if let (Some(due), Some(period)) = (self.due, self.period)
            && due <= now
        {
            self.send("WATCHDOG=1");
            self.due = Some(now.after(period));
        }
        self.due
    }

    fn send(&self, words: &str) {
        if let Some(Err(error)) = self.socket.as_ref().map(|socket| socket.send(words.as_bytes())) {
            tracing::warn!("the service manager was not told {}: {error}", words.lines().next().unwrap_or_default());
        }
    }
}

/// A path, or `@` and a name in the abstract space.
fn connect(address: &OsString) -> io::Result<UnixDatagram> {
    let address = match address.as_bytes().strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name)?,
        None => SocketAddr::from_pathname(address)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address)?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(manager: &UnixDatagram) -> Vec<String> {
        manager.set_nonblocking(true).unwrap();
        let mut buffer = [0; 512];
        std::iter::from_fn(|| manager.recv(&mut buffer).ok().map(|n| String::from_utf8_lossy(&buffer[..n]).into_owned()))
            .collect()
    }

    #[test]
    fn the_watchdog_hears_of_every_half_period_and_of_no_more() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut manager = ServiceManager::new(ours, Some(2_000_000), Moment(0));
        let dues: Vec<_> = [0, 10, 999, 1000, 1500, 5000].map(|at| manager.beat(Moment(at)).unwrap().0).into();
        assert_eq!(dues, [1000, 1000, 1000, 2000, 2000, 6000]);
        assert_eq!(told(&theirs), ["WATCHDOG=1"; 3]);
    }

    #[test]
    fn a_reload_ends_once_and_only_when_one_was_asked_for() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        let mut manager = ServiceManager::new(ours.try_clone().unwrap(), Some(0), Moment(0));
        assert_eq!(manager.beat(Moment(9)), None, "0 is none");
        manager = ServiceManager::new(ours, None, Moment(0));
        assert_eq!(manager.beat(Moment(9)), None, "no watchdog, no wake");
        manager.ready("specs /etc/weir\nX=1");
        manager.reloaded();
        manager.reloading();
        manager.reloaded();
        manager.reloaded();
        manager.stopping();
        let said = told(&theirs);
        assert!(said[1].starts_with("RELOADING=1\nMONOTONIC_USEC="), "{said:?}");
        assert_eq!([&said[0], &said[2], &said[3]], ["READY=1\nSTATUS=specs /etc/weir X=1", "READY=1", "STOPPING=1"]);
        assert_eq!(said.len(), 4);
    }

    #[test]
    fn a_manager_that_does_not_read_holds_nobody_up() {
        let (ours, theirs) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let manager = ServiceManager::new(ours, None, Moment(0));
        (0..10_000).for_each(|_| manager.stopping());
        assert!(told(&theirs).len() < 10_000, "the socket was full");
    }

    #[test]
    fn names_in_the_abstract_space_are_understood() {
        let name = format!("weir-sdnotify-{}", std::process::id());
        let theirs = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        connect(&format!("@{name}").into()).unwrap().send(b"READY=1").unwrap();
        assert_eq!(told(&theirs), ["READY=1"]);
    }
}
