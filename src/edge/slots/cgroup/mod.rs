//! Cgroup drivers, kubelet's word: where a worker lives, how it is counted and killed whole.
//!
//! `cgroupfs` uses a writable cgroup v2 subtree below our own cgroup; `none` leaves it to sessions, the subreaper and the
//! environment marker. The systemd driver takes its place beside them. The daemon makes and removes directories; the shim
//! only has workers born in them.

mod cgroupfs;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::model::worker::SlotId;

/// The driver in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// A cgroup v2 subtree at this directory.
    Cgroupfs(PathBuf),
    /// No cgroups.
    None,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Driver::Cgroupfs(root) => write!(f, "cgroupfs at {}", root.display()),
            Driver::None => write!(f, "none"),
        }
    }
}

/// The driver for `wanted`: `auto`, `cgroupfs`, `none`. `state` tells apart the daemons of one machine.
///
/// # Errors
/// That what was asked for by name is not to be had, and why.
pub fn detect(wanted: &str, state: &Path) -> Result<Driver, String> {
    match wanted {
        "none" => Ok(Driver::None),
        "cgroupfs" => cgroupfs::open(state).map(Driver::Cgroupfs),
        "systemd" => Err("--cgroup-driver systemd: not supported yet; use auto, cgroupfs or none".into()),
        _ if Path::new("/run/systemd/system").is_dir() => Ok(Driver::None),
        _ => Ok(cgroupfs::open(state).map_or(Driver::None, Driver::Cgroupfs)),
    }
}

impl Driver {
    /// Make the slot's cgroup and give its directory; empty: there is none.
    ///
    /// # Errors
    /// With the path: it cannot be made.
    pub(super) fn make(&self, slot: &SlotId) -> Result<String, String> {
        match self {
            Driver::Cgroupfs(root) => cgroupfs::make(root, slot).map(|path| path.display().to_string()),
            Driver::None => Ok(String::new()),
        }
    }

    /// Kill whatever is in the slot's cgroup.
    pub(super) fn kill(&self, slot: &SlotId) {
        match self {
            Driver::Cgroupfs(root) => cgroupfs::kill(root, slot),
            Driver::None => {}
        }
    }

    /// Remove the slot's cgroup, and the pool's with its last slot.
    pub(super) fn remove(&self, slot: &SlotId) {
        match self {
            Driver::Cgroupfs(root) => cgroupfs::remove(root, slot),
            Driver::None => {}
        }
    }
}
