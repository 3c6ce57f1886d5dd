//! An interrupt that a command hears of instead of ending by it: it has something to say or to take back first.
//! The second signal ends the program as if nobody had listened.

use tokio::net::UnixStream;

use crate::ctl::error::Failure;

/// A stream that can be read from when the first of these signals comes; the second one ends the program.
pub(super) fn interruptible(signals: &[i32]) -> Result<UnixStream, Failure> {
    let (told, tell) = std::os::unix::net::UnixStream::pair()?;
    let once = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    for signal in signals {
        signal_hook::flag::register_conditional_shutdown(*signal, 1, once.clone())?;
        signal_hook::flag::register(*signal, once.clone())?;
        signal_hook::low_level::pipe::register(*signal, tell.try_clone()?)?;
    }
    told.set_nonblocking(true)?;
    Ok(UnixStream::from_std(told)?)
}
