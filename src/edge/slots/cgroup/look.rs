//! One look at all workers of a pool together: what its cgroup uses, and what the workers in it may use.
//!
//! Reads only. The kernel answers for a cgroup at once, and counts what its ended workers have used. What the numbers mean is
//! decided elsewhere.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::{Driver, subtree};
use crate::edge::clock;
use crate::model::cgroup;
use crate::model::host::Known;
use crate::model::policy::Amounts;
use crate::model::quantity::Memory;
use crate::model::usage::{PoolLook, Usage};
use crate::model::worker::SlotId;

impl Driver {
    /// Look at a pool.
    ///
    /// # Errors
    /// Workers have no cgroups here, or none of the pool's is there now.
    pub fn look(&self, pool: &str) -> Known<PoolLook> {
        match self {
            Driver::Systemd(systemd) => look(&systemd.pool_dir(pool), "w"),
            Driver::Cgroupfs(root) => look(&root.join(pool), ""),
            Driver::None => Err("its workers have no cgroup (driver none)".into()),
        }
    }

    /// The memory that a slot's worker uses; absent: nobody counts it.
    pub(in crate::edge::slots) fn memory(&self, slot: &SlotId) -> Option<Memory> {
        let dir = self.worker_dir(slot)?;
        cgroup::working(|name| read(&dir, name)).ok()
    }
}

/// `inside`: where below the slot's cgroup the worker is.
fn look(dir: &Path, inside: &str) -> Known<PoolLook> {
    let found = std::fs::metadata(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let workers = below(dir)?.into_iter().map(|slot| slot.join(inside)).filter(|dir| subtree::populated(dir));
    let limits = |dir: &Path| cgroup::known_limits(|name| there(dir, name));
    let workers = workers.map(|dir| limits(&dir)).collect::<Known<Vec<Amounts>>>()?;
    let usage = Usage { limits: limits(dir)?, ..cgroup::usage(clock::now().mono, |name| read(dir, name)) };
    Ok(PoolLook { id: found.ino(), usage, workers })
}

fn below(dir: &Path) -> Known<Vec<PathBuf>> {
    let entries = std::fs::read_dir(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let dirs = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(dirs.map(|entry| entry.path()).collect())
}

/// The text of a file, if it is there.
fn there(dir: &Path, name: &str) -> Known<Option<String>> {
    let file = dir.join(name);
    match std::fs::read_to_string(&file) {
        Ok(text) => Ok(Some(text)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(format!("{}: {e}", file.display())),
    }
}

fn read(dir: &Path, name: &str) -> Known<String> {
    let file = dir.join(name);
    std::fs::read_to_string(&file).map_err(|e| format!("{}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::quantity::Cpu;

    /// A directory that looks as the kernel's does.
    fn put(dir: &Path, files: &[(&str, &str)]) {
        std::fs::create_dir_all(dir).expect("made");
        files.iter().for_each(|(name, text)| std::fs::write(dir.join(name), text).expect("written"));
    }

    #[test]
    fn workers_that_live_are_looked_at_and_the_pool_is_as_a_whole() {
        for inside in ["", "w"] {
            let scratch = tempfile::tempdir().expect("a directory");
            let pool = scratch.path().join("web");
            put(&pool, &[("cpu.stat", "usage_usec 77\n"), ("memory.max", "max\n"), ("cpu.max", "300000 100000\n")]);
            let live = [("cgroup.events", "populated 1\nfrozen 0\n"), ("cpu.max", "50000 100000\n"), ("memory.max", "4096\n")];
            put(&pool.join("web-0").join(inside), &live);
            put(&pool.join("web-1").join(inside), &[("cgroup.events", "populated 0\n"), ("cpu.max", "90000 100000\n")]);
            let seen = look(&pool, inside).expect("there");
            assert_eq!(seen.usage.cpu_micros, Ok(77));
            assert!(seen.usage.memory.as_ref().is_err_and(|why| why.contains("memory.current")), "{:?}", seen.usage.memory);
            assert_eq!(seen.usage.limits, Amounts { cpu: Some(Cpu(3000)), ..Amounts::default() });
            assert_eq!(seen.workers, [Amounts { cpu: Some(Cpu(500)), memory: Some(Memory(4096)), tasks: None }]);
            put(&pool, &[("memory.max", "?")]);
            assert!(look(&pool, inside).is_err_and(|why| why.contains("memory.max: is no number")));
            put(&pool, &[("memory.max", "max\n")]);
            let again = look(&pool, inside).expect("there");
            assert_eq!(again.id, seen.id);
            std::fs::rename(&pool, scratch.path().join("old")).expect("renamed");
            assert!(look(&pool, inside).is_err_and(|why| why.contains("web: No such file")));
            put(&pool, &[]);
            assert_ne!(look(&pool, inside).expect("there").id, seen.id, "another one of the same name");
        }
        assert_eq!(Driver::None.look("web"), Err("its workers have no cgroup (driver none)".into()));
    }
}
