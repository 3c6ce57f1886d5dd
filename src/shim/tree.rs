//! Everything below the shim: found, killed, reaped.
//!
//! As the subreaper of the tree the shim becomes the parent of every orphan in it. Killing its own children until there are
//! none left therefore reaches everything, whatever sessions it fled into, and each pid it signals is its own unreaped child.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use super::sys;

/// The cgroup of a run, by its directory: looked up once, not for each file in it. None: there is no cgroup, or it is not there.
pub(super) struct Cgroup(Option<File>);

impl Cgroup {
    /// The cgroup at this path; empty: there is none.
    pub(super) fn open(path: &[u8]) -> Cgroup {
        let path = (!path.is_empty()).then(|| String::from_utf8_lossy(path));
        Cgroup(path.and_then(|path| File::open(&*path).ok()))
    }

    /// What no other cgroup of this boot has had; 0: there is none.
    pub(super) fn id(&self) -> u64 {
        self.dir().and_then(|dir| dir.metadata().ok()).map_or(0, |meta| meta.ino())
    }

    /// Its directory.
    pub(super) fn dir(&self) -> Option<&File> {
        self.0.as_ref()
    }

    /// How often the kernel has killed something in it for want of memory; none where nobody counts that, or it cannot be read.
    pub(super) fn oom_kills(&self) -> Option<u64> {
        let events = self.read("memory.events").ok()?;
        events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
    }

    fn read(&self, name: &str) -> io::Result<String> {
        let dir = self.dir().ok_or(io::ErrorKind::NotFound)?;
        let mut text = String::new();
        File::from(openat(dir, name, OFlag::O_RDONLY | OFlag::O_CLOEXEC, Mode::empty())?).read_to_string(&mut text)?;
        Ok(text)
    }
}

/// SIGKILL whatever is directly below us, and the whole cgroup where there is one.
pub(super) fn kill(cgroup: &[u8]) {
    if !cgroup.is_empty() {
        // A kernel before 5.14 has no such file; the way below needs none.
        let _killed = std::fs::write(format!("{}/cgroup.kill", String::from_utf8_lossy(cgroup)), "1");
    }
    for pid in children() {
        sys::signal_child(pid, libc::SIGKILL);
    }
}

fn children() -> Vec<i32> {
    let me = std::process::id();
    match std::fs::read_to_string(format!("/proc/self/task/{me}/children")) {
        Ok(list) => list.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).collect(),
        Err(_) => search(me),
    }
}

/// Without CONFIG_PROC_CHILDREN: every process whose parent we are.
fn search(me: u32) -> Vec<i32> {
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| parent(*pid) == Some(me)).collect()
}

fn parent(pid: i32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(1)?.parse().ok()
}

/// CPU used by a process and its reaped children, in ms; none if it is gone.
pub(super) fn cpu_ms(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<u64> =
        stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11).take(4).filter_map(|n| n.parse().ok()).collect();
    // Clock ticks are 10 ms on every Linux that Rust runs on.
    Some(fields.iter().sum::<u64>() * 10)
}
