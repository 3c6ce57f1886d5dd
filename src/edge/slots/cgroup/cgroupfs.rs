//! The cgroupfs driver: plain directories below our own cgroup, for hosts without systemd.
//!
//! ```text
//! <our cgroup>/weir-<8 hex of the state directory>/<pool>/<worker>    one worker's whole tree, with its limits
//! ```
//! Shims stay in the daemon's own: moving a process from one cgroup to another takes milliseconds, being born in one nothing.
//! Limits need controllers below a cgroup that has no process of its own. Ours has one, the daemon: so where we were put into a
//! leaf of a subtree that was delegated to us, the subtree is made beside us and not below us. Where there are no controllers it
//! kills and counts, and limits nothing.

use std::path::{Path, PathBuf};

use super::subtree;
use crate::model::cgroup::Controllers;
use crate::model::template::Limits;
use crate::model::worker::SlotId;

/// Find the cgroup v2 mount, and make the daemon's subtree there. What an earlier daemon left empty is removed.
pub(super) fn open(id: &str) -> Result<PathBuf, String> {
    let mount = subtree::mount().ok_or("no cgroup v2 file system is mounted")?;
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("this process is in no cgroup of version 2")?;
    let root = existing(&mount, id).unwrap_or_else(|| place(&mount.join(path)).join(format!("weir-{id}")));
    subtree::make(&root)?;
    subtree::can_kill(&root)?;
    tidy(&root);
    // What cannot be given on shows as a limit that is not held.
    let _without = subtree::enable(&root, &subtree::controllers(&root));
    Ok(root)
}

/// Below which cgroup the subtree is made, with the controllers given on if that can be.
fn place(own: &Path) -> PathBuf {
    let gives = |dir: &&Path| {
        let controllers = subtree::controllers(dir);
        (controllers.cpu || controllers.memory || controllers.tasks) && subtree::enable(dir, &controllers).is_ok()
    };
    let above = own.parent().filter(|above| delegated(above));
    [Some(own), above].into_iter().flatten().find(gives).unwrap_or(own).to_owned()
}

/// Whether a cgroup is ours to make others in: it has no process, and no systemd that says otherwise.
fn delegated(dir: &Path) -> bool {
    let empty = std::fs::read_to_string(dir.join("cgroup.procs")).is_ok_and(|pids| pids.trim().is_empty());
    let marked = |name: &str| {
        let mut value = [0u8; 8];
        rustix::fs::getxattr(dir, name, &mut value[..]).is_ok_and(|length| value[..length] == *b"1")
    };
    empty && (!Path::new("/run/systemd/system").is_dir() || marked("trusted.delegate") || marked("user.delegate"))
}

/// The controllers that workers have.
pub(super) fn controllers(root: &Path) -> Controllers {
    let enabled = std::fs::read_to_string(root.join("cgroup.subtree_control")).unwrap_or_default();
    Controllers::parse(&enabled, &root.display().to_string())
}

/// Workers that live on are where the daemon before us put them, whatever cgroup we are in now.
fn existing(mount: &Path, id: &str) -> Option<PathBuf> {
    let name = format!("weir-{id}");
    let mut level = vec![mount.to_owned()];
    for _depth in 0..4 {
        let mut below = Vec::new();
        for dir in level {
            if dir.join(&name).is_dir() {
                return Some(dir.join(name));
            }
            let Ok(entries) = std::fs::read_dir(&dir) else { continue };
            below.extend(
                entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path()),
            );
        }
        level = below;
    }
    None
}

/// Remove empty worker cgroups; a populated one cannot be removed and stays.
fn tidy(root: &Path) {
    let dirs = |path: &Path| -> Vec<PathBuf> {
        let entries =
            std::fs::read_dir(path).map(|all| all.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect());
        entries.unwrap_or_default()
    };
    for pool in dirs(root) {
        for worker in dirs(&pool) {
            subtree::remove(&worker);
        }
        let _in_use = std::fs::remove_dir(pool);
    }
}

/// Remove what is empty, and with the last of it the subtree.
pub(super) fn leave(root: &Path) {
    tidy(root);
    let _in_use = std::fs::remove_dir(root);
}

/// The cgroup of a slot.
pub(super) fn dir(root: &Path, slot: &SlotId) -> PathBuf {
    root.join(&slot.pool).join(&slot.worker)
}

/// A fresh cgroup for the slot's next worker.
pub(super) fn make(root: &Path, slot: &SlotId, limits: Option<&Limits>) -> Result<PathBuf, String> {
    let (pool, path) = (root.join(&slot.pool), dir(root, slot));
    subtree::make(&pool)?;
    let controllers = controllers(root);
    subtree::enable(&pool, &controllers)?;
    subtree::fresh(&path, limits, &controllers)?;
    Ok(path)
}

pub(super) fn kill(root: &Path, slot: &SlotId) {
    // No such cgroup: nothing of it lives.
    let _gone = std::fs::write(dir(root, slot).join("cgroup.kill"), "1");
}

pub(super) fn remove(root: &Path, slot: &SlotId) {
    // One that is still populated is removed when it is next dismissed, or tidied at the next start.
    subtree::remove(&dir(root, slot));
    let _in_use = std::fs::remove_dir(root.join(&slot.pool));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_empty_goes_with_the_daemon_and_what_is_not_stays() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("weir-0");
        for worker in ["a/a-0", "a/a-1/made-by-it", "b/b-0"] {
            std::fs::create_dir_all(root.join(worker)).expect("made");
        }
        // In a cgroup it is a process that keeps it.
        let process = root.join("b/b-0/process");
        std::fs::write(&process, "").expect("written");
        leave(&root);
        assert!(!root.join("a").exists() && process.exists());
        std::fs::remove_file(process).expect("removed");
        leave(&root);
        assert!(!root.exists());
    }
}
