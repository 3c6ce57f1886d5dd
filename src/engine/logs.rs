//! Where a worker's log is: the files are the shim's, the places of its runs in them are in the slot's directory.
//! A place is looked up when it is asked for; nothing is remembered.

use std::path::Path;
use std::sync::Arc;

use super::handle::LogPlace;
use crate::edge::slots::log_place;

/// How a log is found: by pool and worker, the previous run or the present one.
pub type Finder = Arc<dyn Fn(&str, &str, bool) -> Option<LogPlace> + Send + Sync>;

/// The finder for a state directory.
pub fn finder(state: &Path) -> Finder {
    let state = state.to_owned();
    Arc::new(move |pool, worker, previous| {
        let file = state.join("logs").join(pool).join(format!("{worker}.log"));
        let (start, end) = log_place(&state.join("run").join(pool).join(worker), previous)?;
        Some(LogPlace { file, start, end })
    })
}
