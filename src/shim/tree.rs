//! Everything below the shim: found, killed, reaped.
//!
//! As the subreaper of the tree the shim becomes the parent of every orphan in it. Killing its own children until there are
//! none left therefore reaches everything, whatever sessions it fled into, and each pid it signals is its own unreaped child.

use super::sys;

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

/// How often the kernel has killed something in this cgroup for want of memory.
pub(super) fn oom_kills(cgroup: &[u8]) -> u64 {
    if cgroup.is_empty() {
        return 0;
    }
    let events = std::fs::read_to_string(format!("{}/memory.events", String::from_utf8_lossy(cgroup))).unwrap_or_default();
    events.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()).unwrap_or(0)
}
