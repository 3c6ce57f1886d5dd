//! `ctl dashboard`: the address of the page, with the token in the part of it that no server sees.
//!
//! Printed, not opened: who sits at another machine forwards the port and uses the same address.

use super::Context;
use crate::ctl::error::Failure;
use crate::ctl::print::emit;

/// Print it.
///
/// # Errors
/// No daemon that listens, or files that cannot be read.
pub(super) async fn run(context: &Context) -> Result<(), Failure> {
    let (address, token) = context.listener().await?;
    emit(&format!("http://{address}/#token={token}\n"))
}
