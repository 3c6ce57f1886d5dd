//! Ending a tree whose shim was killed: found by its lock, its cgroup and its marker, ended through pidfds.
//!
//! No stored pid is ever signalled. A process is signalled through a descriptor of itself, and only after that descriptor was
//! opened and the process was then seen, again, to hold the slot's lock or to carry its marker. The slot is free when its
//! lock is: that is the proof, whatever was found.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Nobody holds the slot's identity lock: nothing of it lives.
pub(super) fn is_free(dir: &Path) -> bool {
    let Ok(lock) = File::options().read(true).write(true).open(dir.join("lock")) else {
        // No lock file: no shim ever got as far as taking it.
        return !dir.join("lock").exists();
    };
    flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok()
}

/// SIGKILL every process that holds the slot's lock or carries its marker. How many.
pub(super) fn kill(dir: &Path, mark: &str) -> usize {
    let Ok(lock) = std::fs::metadata(dir.join("lock")).map(|meta| (meta.dev(), meta.ino())) else { return 0 };
    let Ok(all) = std::fs::read_dir("/proc") else { return 0 };
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| *pid != std::process::id().cast_signed() && kill_one(*pid, lock, mark)).count()
}

fn kill_one(pid: i32, lock: (u64, u64), mark: &str) -> bool {
    if !belongs(pid, lock, mark) {
        return false;
    }
    let Some(handle) = Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok()) else { return false };
    // The number may have passed to another between the look and the opening: look again now that it cannot.
    belongs(pid, lock, mark) && pidfd_send_signal(&handle, Signal::KILL).is_ok()
}

fn belongs(pid: i32, lock: (u64, u64), mark: &str) -> bool {
    let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    environ.split(|byte| *byte == 0).any(|var| var == mark.as_bytes()) || holds(pid, lock)
}

fn holds(pid: i32, lock: (u64, u64)) -> bool {
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.flatten().any(|fd| std::fs::metadata(fd.path()).is_ok_and(|meta| (meta.dev(), meta.ino()) == lock))
}
