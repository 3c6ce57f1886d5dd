//! Cgroup drivers, kubelet's word: where a worker lives, how it is counted, limited and killed whole.
//!
//! `systemd` asks systemd for a scope; `cgroupfs` uses a writable cgroup v2 subtree; `none` leaves it to sessions, the subreaper
//! and the environment marker. The daemon makes and removes directories; the shim only has workers born in them.

mod cgroupfs;
mod look;
mod subtree;
mod systemd;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use crate::edge::systemd::AllUnits;
use crate::model::cgroup::Controllers;
use crate::model::limits::{NoUnits, Units};
use crate::model::template::Limits;
use crate::model::worker::SlotId;

pub use subtree::held_max;
pub use systemd::Systemd;

/// The driver in use.
#[derive(Clone, Debug)]
pub enum Driver {
    /// Scopes of a manager of systemd.
    Systemd(Arc<Systemd>),
    /// A cgroup v2 subtree at this directory.
    Cgroupfs(PathBuf),
    /// No cgroups.
    None,
}

impl fmt::Display for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Driver::Systemd(systemd) => write!(f, "systemd at {}", systemd.root().display()),
            Driver::Cgroupfs(root) => write!(f, "cgroupfs at {}", root.display()),
            Driver::None => write!(f, "none"),
        }
    }
}

/// Where cgroup v2 is mounted, if it is.
pub fn mounted() -> Option<PathBuf> {
    subtree::mount()
}

/// A cgroup that was made for a worker without limits, to be told from one that was written into since.
#[derive(Debug)]
pub(super) struct Clean {
    dir: String,
    /// Looked at when the first task is over; none where there are no cgroups.
    made: Option<subtree::Made>,
}

impl Clean {
    /// The cgroup in this directory; empty: there are none.
    pub(super) fn of(dir: &str) -> Clean {
        Clean { dir: dir.to_owned(), made: None }
    }

    /// Its directory, if it is as it was made.
    pub(super) fn as_made(&mut self) -> Option<&str> {
        if self.made.is_none() && !self.dir.is_empty() {
            self.made = Some(subtree::Made::of(Path::new(&self.dir)).ok()?);
        }
        self.made.as_ref().is_none_or(subtree::Made::is_as_made).then_some(&self.dir)
    }
}

/// Tells state directories apart, in the names of cgroups and elsewhere: 8 hex of the path.
pub fn id(state: &Path) -> String {
    Sha256::digest(state.as_os_str().as_encoded_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect()
}

/// The driver for `wanted`: `auto`, `systemd`, `cgroupfs`, `none`. `state` tells apart the daemons of one machine; the one with the
/// `usual` state directory has the plain names.
///
/// # Errors
/// That what was asked for by name is not to be had, and why.
pub async fn detect(wanted: &str, state: &Path, usual: &Path) -> Result<Driver, String> {
    let short = || (usual.canonicalize().ok().as_deref() != Some(state)).then(|| id(state));
    match wanted {
        "none" => Ok(Driver::None),
        "cgroupfs" => cgroupfs::open(&id(state)).map(Driver::Cgroupfs),
        "systemd" => Systemd::open(short()).await.map(|systemd| Driver::Systemd(Arc::new(systemd))),
        // Where systemd rules, no cgroups are made behind its back.
        _ if Path::new("/run/systemd/system").is_dir() => {
            Ok(Systemd::open(short()).await.map_or(Driver::None, |systemd| Driver::Systemd(Arc::new(systemd))))
        }
        _ => Ok(cgroupfs::open(&id(state)).map_or(Driver::None, Driver::Cgroupfs)),
    }
}

impl Driver {
    /// Who keeps units and their limits on this machine.
    pub fn units(&self) -> Arc<dyn Units> {
        match self {
            Driver::Systemd(systemd) => Arc::new(systemd.units()),
            Driver::Cgroupfs(_) | Driver::None if Path::new("/run/systemd/system").is_dir() => {
                let mount = subtree::mount();
                mount.map_or_else(|| Arc::new(NoUnits::default()) as Arc<dyn Units>, |mount| Arc::new(AllUnits::new(mount, None)))
            }
            Driver::Cgroupfs(_) | Driver::None => Arc::new(NoUnits::default()),
        }
    }

    /// Which limits of a worker can be held.
    pub fn controllers(&self) -> Controllers {
        match self {
            Driver::Systemd(systemd) => systemd.controllers().clone(),
            Driver::Cgroupfs(root) => cgroupfs::controllers(root),
            Driver::None => Controllers::none("workers have no cgroup (driver none)"),
        }
    }

    /// Make the slot's cgroup for a worker of this shim and give its directory; empty: there is none.
    ///
    /// # Errors
    /// In words: it cannot be made.
    pub(super) async fn place(&self, slot: &SlotId, shim: Option<i32>, limits: Option<Limits>) -> Result<String, String> {
        let path = match self {
            Driver::Systemd(systemd) => {
                let shim = shim.and_then(|pid| u32::try_from(pid).ok()).ok_or("the shim's pid is not known")?;
                systemd.place(slot, shim, limits).await?
            }
            // What the worker before it made there is removed, however much that is.
            Driver::Cgroupfs(root) => {
                let (root, slot) = (root.clone(), slot.clone());
                let made = tokio::task::spawn_blocking(move || cgroupfs::make(&root, &slot, limits.as_ref())).await;
                made.map_err(|error| error.to_string())??
            }
            Driver::None => PathBuf::new(),
        };
        Ok(path.display().to_string())
    }

    /// The cgroup of the slot's worker, if there are cgroups; whether there is one now is not looked at.
    pub(super) fn worker_dir(&self, slot: &SlotId) -> Option<PathBuf> {
        match self {
            Driver::Systemd(systemd) => Some(systemd.worker_dir(slot)),
            Driver::Cgroupfs(root) => Some(cgroupfs::dir(root, slot)),
            Driver::None => None,
        }
    }

    /// Kill whatever is in the slot's cgroup.
    pub(super) fn kill(&self, slot: &SlotId) {
        match self {
            Driver::Systemd(systemd) => systemd.kill(slot),
            Driver::Cgroupfs(root) => cgroupfs::kill(root, slot),
            Driver::None => {}
        }
    }

    /// Something lives in the slot's cgroup. Without one nobody can tell: the lock says it.
    pub(super) fn is_populated(&self, slot: &SlotId) -> bool {
        self.worker_dir(slot).is_some_and(|dir| subtree::populated(&dir))
    }

    /// The daemon ends: what is empty goes with it. A service manager looks after its own units.
    pub(super) fn leave(&self) {
        match self {
            Driver::Cgroupfs(root) => cgroupfs::leave(root),
            Driver::Systemd(_) | Driver::None => {}
        }
    }

    /// Remove the slot's cgroup, and the pool's with its last slot.
    pub(super) async fn remove(&self, slot: &SlotId) {
        match self {
            Driver::Systemd(systemd) => systemd.remove(slot).await,
            Driver::Cgroupfs(root) => {
                let (root, slot) = (root.clone(), slot.clone());
                let _removed = tokio::task::spawn_blocking(move || cgroupfs::remove(&root, &slot)).await;
            }
            Driver::None => {}
        }
    }
}
