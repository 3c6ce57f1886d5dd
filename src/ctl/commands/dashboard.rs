//! `ctl dashboard`: the address of the page, with the token in the part of it that no server sees.
//!
//! Printed, not opened: who sits at another machine forwards the port and uses the same address.

use std::path::Path;

use crate::ctl::error::Failure;
use crate::ctl::print::emit;

/// Print it.
///
/// # Errors
/// No daemon that listens, or files that cannot be read.
pub fn run(state: &Path) -> Result<(), Failure> {
    let read = |name: &str| {
        let path = state.join(name);
        let how = "start the daemon with `weir run --listen 127.0.0.1:8888`";
        std::fs::read_to_string(&path).map_err(|error| Failure::NoDaemon(format!("{}: {error}; {how}", path.display())))
    };
    let (address, token) = (read("listen")?, read("token")?);
    emit(&format!("http://{}/#token={}\n", address.trim(), token.trim()))
}
