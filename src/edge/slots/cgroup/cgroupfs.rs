//! The cgroupfs driver: plain directories below our own cgroup.
//!
//! ```text
//! <our cgroup>/weir-<8 hex of the state directory>/<pool>/<worker>    one worker's whole tree
//! ```
//! Shims stay in the daemon's own: moving a process from one cgroup to another takes milliseconds, being born in one nothing.
//! Controllers are not asked for: where there are none it kills and counts, and limits nothing.

use std::io;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::model::worker::SlotId;

/// Find the cgroup v2 mount, and make the daemon's subtree there. What an earlier daemon left empty is removed.
pub(super) fn open(state: &Path) -> Result<PathBuf, String> {
    let mount = mount().ok_or("no cgroup v2 file system is mounted")?;
    let own = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let path = own.lines().find_map(|line| line.strip_prefix("0::/")).ok_or("this process is in no cgroup of version 2")?;
    let id: String =
        Sha256::digest(state.as_os_str().as_encoded_bytes()).iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let root = existing(&mount, &id).unwrap_or_else(|| mount.join(path).join(format!("weir-{id}")));
    make_dir(&root).map_err(|e| format!("{}: {e}", root.display()))?;
    if !root.join("cgroup.kill").exists() {
        return Err(format!("{}: no cgroup.kill there (Linux 5.14 has it)", root.display()));
    }
    tidy(&root);
    Ok(root)
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

fn mount() -> Option<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    let mut found = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        let (path, kind) = (fields.nth(1)?, fields.next()?);
        (kind == "cgroup2").then(|| PathBuf::from(path))
    });
    found.next()
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
            let _populated = std::fs::remove_dir(worker);
        }
        let _in_use = std::fs::remove_dir(pool);
    }
}

fn make_dir(path: &Path) -> io::Result<()> {
    std::fs::create_dir_all(path)
}

fn dir(root: &Path, slot: &SlotId) -> PathBuf {
    root.join(&slot.pool).join(&slot.worker)
}

pub(super) fn make(root: &Path, slot: &SlotId) -> Result<PathBuf, String> {
    let path = dir(root, slot);
    // A fresh one for each run: some kernels kill whatever is born into a cgroup whose `cgroup.kill` was ever written. One that
    // is still populated cannot be removed, and is told as what it is by the start.
    let _fresh = std::fs::remove_dir(&path);
    make_dir(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    Ok(path)
}

pub(super) fn kill(root: &Path, slot: &SlotId) {
    // No such cgroup: nothing of it lives.
    let _gone = std::fs::write(dir(root, slot).join("cgroup.kill"), "1");
}

pub(super) fn remove(root: &Path, slot: &SlotId) {
    // One that is still populated is removed when it is next dismissed, or tidied at the next start.
    if std::fs::remove_dir(dir(root, slot)).is_ok() {
        let _in_use = std::fs::remove_dir(root.join(&slot.pool));
    }
}
