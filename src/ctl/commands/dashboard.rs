//! `ctl dashboard`: the address of the page, with the token in the part of it that no server sees.
//!
//! Printed, not opened: who sits at another machine forwards the port and uses the same address.

use std::path::Path;

use crate::ctl::error::Failure;
use crate::ctl::print::emit;
use crate::ctl::state::of_listener;

/// Print it.
///
/// # Errors
/// No daemon that listens, or files that cannot be read.
pub fn run(state: &Path) -> Result<(), Failure> {
    let read = |name: &str| of_listener(state, name);
    let (address, token) = (read("listen")?, read("token")?);
    emit(&format!("http://{}/#token={}\n", address, token))
}
