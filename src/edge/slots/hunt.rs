//! Ending a tree whose shim was killed: found by its lock, its cgroup and its marker, ended through pidfds.
//!
//! No stored pid is ever signalled. A process is signalled through a descriptor of itself, and only after that descriptor was
//! opened and the process was then seen, again, to hold the slot's lock or to carry its marker: to have the lock's file open is
//! not enough. The slot is free when its
//! lock is: that is the proof, whatever was found.

use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// Nobody holds the slot's identity lock: nothing of it lives.
pub(super) fn is_free(dir: &Path) -> bool {
    match File::options().read(true).write(true).open(dir.join("lock")) {
        Ok(lock) => flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok(),
        // No shim ever got as far as taking it. Any other error proves nothing.
        Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
    }
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

/// It has the lock, and not only its file open: a backup, a search or `lsof` may have that.
fn holds(pid: i32, lock: (u64, u64)) -> bool {
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    let open = |fd: &std::fs::DirEntry| std::fs::metadata(fd.path()).is_ok_and(|meta| (meta.dev(), meta.ino()) == lock);
    // The kernel names there the locks of this very opening, which children share.
    let locked = |fd: std::fs::DirEntry| {
        let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{}", fd.file_name().display())).unwrap_or_default();
        info.lines().any(|line| line.starts_with("lock:") && line.contains("FLOCK"))
    };
    fds.flatten().filter(open).any(locked)
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command, Stdio};

    use super::*;

    fn sleeper(lock: File) -> Child {
        Command::new("sleep")
            .arg("1000")
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .stdin(Stdio::from(lock))
            .spawn()
            .expect("starts")
    }

    #[test]
    fn who_holds_the_lock_is_killed_and_who_only_reads_its_file_is_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("lock");
        let lock = File::create(&path).expect("made");
        let mut reader = sleeper(File::open(&path).expect("opened"));
        assert_eq!((kill(dir.path(), "WEIR_SLOT=none"), is_free(dir.path())), (0, true));
        flock(&lock, FlockOperation::NonBlockingLockExclusive).expect("free");
        let mut holder = sleeper(lock);
        assert!(!is_free(dir.path()));
        assert_eq!(kill(dir.path(), "WEIR_SLOT=none"), 1);
        holder.wait().expect("reaped");
        assert!(is_free(dir.path()));
        assert!(reader.try_wait().expect("asked").is_none(), "it only reads");
        reader.kill().expect("killed");
        reader.wait().expect("reaped");
    }

    #[test]
    fn a_lock_that_cannot_be_looked_at_is_not_free() {
        let dir = tempfile::tempdir().expect("a directory");
        assert!(is_free(&dir.path().join("none")) && is_free(dir.path()), "no shim ever took it");
        std::os::unix::fs::symlink("lock", dir.path().join("lock")).expect("linked");
        assert!(!is_free(dir.path()), "nothing is known of it");
    }
}
