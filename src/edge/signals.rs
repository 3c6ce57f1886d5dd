//! SIGTERM, SIGINT and SIGHUP as a stream of facts; who sent them is known where the kernel says.
//! Nothing is done about them here: a handler's thread only passes them on.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::SignalsInfo;
use signal_hook::iterator::exfiltrator::origin::WithOrigin;
use tokio::sync::mpsc;

/// A signal that the daemon got.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Signal {
    /// SIGTERM or SIGINT: end. With the sender's pid where it is known.
    End(Option<i32>),
    /// SIGHUP: look at the specs again.
    Reload,
}

/// Tell each signal to `facts`, from a thread that ends with the process.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn listen(facts: mpsc::UnboundedSender<Signal>) -> std::io::Result<()> {
    let mut signals = SignalsInfo::<WithOrigin>::new([SIGTERM, SIGINT, SIGHUP])?;
    std::thread::Builder::new().name("signals".into()).stack_size(64 * 1024).spawn(move || {
        for origin in signals.forever() {
            let signal =
                if origin.signal == SIGHUP { Signal::Reload } else { Signal::End(origin.process.map(|process| process.pid)) };
            if facts.send(signal).is_err() {
                return;
            }
        }
    })?;
    Ok(())
}
