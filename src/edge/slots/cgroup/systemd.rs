//! The systemd driver: a transient scope for each slot, in a slice for each pool.
//!
//! ```text
//! weir.slice / weir-<pool>.slice / weir-<worker>.scope / ctl     the shim
//!                                                      / w       the worker's whole tree, with its limits
//! ```
//! systemd makes the scope around the shim, as a scope is never empty; the scope's inside is delegated to us. The worker's limits
//! are ours alone, on `w`: so the shim is outside of them and never their victim, `daemon-reload` has nothing to revert, and a
//! restart of the worker asks systemd nothing. The pool's limits are the slice's, hence systemd's. Order of a first start: the
//! shim is moved twice (by systemd into the scope, by us into `ctl`), one right after the other, as the second costs little then;
//! the worker is born in `w` and never moved.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::RwLock;

use super::subtree;
use crate::edge::systemd::{AllUnits, Manager, Names, Scope, Which, is_in};
use crate::model::cgroup::Controllers;
use crate::model::template::Limits;
use crate::model::worker::SlotId;

/// A manager that answered, and where its cgroups are.
#[derive(Debug)]
pub struct Systemd {
    manager: Arc<Manager>,
    mount: PathBuf,
    root: PathBuf,
    names: Names,
    controllers: Controllers,
    slices: Slices,
}

impl Systemd {
    /// Ask the manager for root, or for the user that we are. `id` tells this state directory from others.
    ///
    /// # Errors
    /// In words: no manager, no cgroup v2.
    pub(super) async fn open(id: Option<String>) -> Result<Systemd, String> {
        let which = if rustix::process::geteuid().is_root() { Which::System } else { Which::User };
        let mount = subtree::mount().ok_or("no cgroup v2 file system is mounted")?;
        let manager = Manager::open(which).await?;
        let root = mount.join(manager.control_group().await?.trim_start_matches('/'));
        // The file is missing in the topmost cgroup; every manager runs in one of its own.
        subtree::can_kill(&root.join(if which == Which::System { "init.scope" } else { "" }))?;
        let controllers = subtree::controllers(&root);
        let names = Names::new(id);
        Ok(Systemd { manager: Arc::new(manager), mount, root, names, controllers, slices: Slices::default() })
    }

    /// The directory below which everything is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// Which limits can be held.
    pub(super) fn controllers(&self) -> &Controllers {
        &self.controllers
    }

    /// The units of this machine, pools' slices among them.
    pub(super) fn units(&self) -> AllUnits {
        AllUnits::new(self.mount.clone(), Some((self.manager.clone(), self.names.clone())))
    }

    /// The pool's slice, and its cgroup.
    fn pool(&self, pool: &str) -> (String, PathBuf) {
        (self.names.slice(pool), self.root.join(self.names.pool_dir(pool)))
    }

    /// The pool's cgroup; it is there while it has a worker.
    pub(super) fn pool_dir(&self, pool: &str) -> PathBuf {
        self.pool(pool).1
    }

    /// The cgroup that a slot's worker is born in.
    pub(super) fn worker_dir(&self, slot: &SlotId) -> PathBuf {
        self.root.join(self.names.slot_dir(slot)).join("w")
    }

    /// Put the shim into the slot's scope, if it is not there, and make a fresh cgroup for its next worker.
    ///
    /// # Errors
    /// In words: systemd does not do it, or a directory or limit cannot be made.
    pub(super) async fn place(&self, slot: &SlotId, shim: u32, limits: Option<Limits>) -> Result<PathBuf, String> {
        let slice = self.slices.of(&slot.pool);
        let _slice_stays = slice.read().await;
        let dir = self.root.join(self.names.slot_dir(slot));
        if !is_in(shim, &dir) {
            self.manager.start_scope(&Scope::of(&self.names, slot, shim), &dir).await?;
        }
        // What the manager has may be more than what it gave to its slices.
        let inside = tokio::task::spawn_blocking(move || prepare(&dir, shim, limits.as_ref())).await;
        inside.map_err(|e| e.to_string())??;
        Ok(self.worker_dir(slot))
    }

    /// Kill whatever is in the worker's cgroup.
    pub(super) fn kill(&self, slot: &SlotId) {
        // No such cgroup: nothing of it lives.
        let _gone = std::fs::write(self.worker_dir(slot).join("cgroup.kill"), "1");
    }

    /// The shim has ended, and its scope with it. The slice goes with its last scope.
    pub(super) async fn remove(&self, slot: &SlotId) {
        let slice = self.slices.of(&slot.pool);
        let _nobody_is_placed = slice.write().await;
        let (slice, dir) = self.pool(&slot.pool);
        if !others_live(&dir, &self.names.scope(slot)) {
            self.manager.stop_slice(&slice).await;
        }
    }
}

/// A lock for each pool's slice: held for reading while a slot is placed, for writing while the empty slice is stopped. Who waits
/// to write holds up all that come after it: with one lock for all a scope that systemd is slow with would hold up every pool.
#[derive(Debug, Default)]
struct Slices(Mutex<BTreeMap<String, Arc<RwLock<()>>>>);

impl Slices {
    fn of(&self, pool: &str) -> Arc<RwLock<()>> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Whoever has one of a pool that is gone by now has it to itself.
        all.retain(|name, slice| name == pool || Arc::strong_count(slice) > 1);
        all.entry(pool.to_owned()).or_default().clone()
    }
}

/// Something lives in another scope of a pool's slice than in this one. A scope that is empty is about to be removed: where several
/// end together, none of them may wait for the others to be gone.
fn others_live(slice: &Path, own: &str) -> bool {
    let others = std::fs::read_dir(slice).into_iter().flatten().flatten().filter(|entry| *entry.file_name() != *own);
    others.map(|entry| entry.path()).any(|scope| subtree::populated(&scope))
}

/// The inside of a scope. Moving a process waits for every processor to pass a quiet moment, so only what has to be moved is.
fn prepare(scope: &Path, shim: u32, limits: Option<&Limits>) -> Result<(), String> {
    let ctl = scope.join("ctl");
    if !is_in(shim, &ctl) {
        subtree::make(&ctl)?;
        let file = ctl.join("cgroup.procs");
        std::fs::write(&file, shim.to_string()).map_err(|e| format!("{}: {e}", file.display()))?;
    }
    let controllers = subtree::controllers(scope);
    subtree::enable(scope, &controllers)?;
    subtree::fresh(&scope.join("w"), limits, &controllers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_of_a_pool_does_not_wait_for_scopes_that_are_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        for (scope, populated) in [("own", 1), ("ended", 0), ("other", 1)] {
            std::fs::create_dir(dir.path().join(scope)).expect("made");
            let text = format!("populated {populated}\nfrozen 0\n");
            std::fs::write(dir.path().join(scope).join("cgroup.events"), text).expect("written");
        }
        assert!(others_live(dir.path(), "own"));
        std::fs::remove_dir_all(dir.path().join("other")).expect("removed");
        assert!(!others_live(dir.path(), "own"), "a scope that is about to go is nobody");
    }

    #[test]
    fn a_slot_that_is_placed_slowly_holds_up_its_own_pool_alone() {
        let slices = Slices::default();
        let slow = slices.of("a");
        let placed = slow.try_read().expect("nobody waits");
        assert!(slices.of("a").try_write().is_err(), "its slice is in use");
        assert!(slices.of("b").try_write().is_ok());
        drop(placed);
        assert!(slices.of("a").try_write().is_ok());
        drop(slow);
        slices.of("b");
        assert_eq!(slices.0.lock().unwrap().keys().collect::<Vec<_>>(), ["b"], "none is kept for a pool that is gone");
    }
}
