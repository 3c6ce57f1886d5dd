//! Waits that outlast the daemon: whoever upgrades it starts another one, and the tasks go on meanwhile.
//!
//! One that was there is waited for, and asked again. Who has not spoken to one yet asks whether it [`is_there`] first.

use std::time::Duration;

use hyper::Method;

use super::Context;
use crate::ctl::client::Sent;
use crate::ctl::error::Failure;
use crate::ctl::print::note;

/// How long the next daemon is waited for.
const AWAY: Duration = Duration::from_secs(60);
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(200);

/// Look, and look again after the daemon went away in the middle of it and the next one has come.
///
/// # Errors
/// That of the last look.
pub(super) async fn outlasting<T>(context: &Context, mut look: impl AsyncFnMut() -> Result<T, Failure>) -> Result<T, Failure> {
    loop {
        match look().await {
            Err(gone @ Failure::NoDaemon(_)) => comes_back(context, gone).await?,
            seen => return seen,
        }
    }
}

/// # Errors
/// There is no daemon.
pub(super) async fn is_there(context: &Context) -> Result<(), Failure> {
    context.client.send(Method::GET, "/livez", Sent::nothing()).await.map(drop)
}

async fn comes_back(context: &Context, gone: Failure) -> Result<(), Failure> {
    note(&format!("the daemon is gone; for {} s the next one is waited for", AWAY.as_secs()));
    let looking = async {
        loop {
            match is_there(context).await {
                Err(Failure::NoDaemon(_)) => tokio::time::sleep(LOOK).await,
                is_there => return is_there,
            }
        }
    };
    tokio::time::timeout(AWAY, looking).await.unwrap_or(Err(gone))
}
