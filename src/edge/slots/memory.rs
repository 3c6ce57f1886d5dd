//! The memory of a worker's tree that has no cgroup of its own: summed up over the processes below its shim.
//!
//! Pages that several of them share are counted once, by their share (`Pss`); of a process that we may not look into so closely
//! what is resident counts. Whatever was left behind in another session is a child of the shim, its subreaper, by then.

use crate::model::quantity::Memory;
use crate::model::time::{Moment, Span};

/// A tree with more processes than this is not counted: each takes a walk over its pages.
const PROCESSES_MAX: usize = 10_000;
/// The memory of a tree is not looked at again within this time: half of the time in which it is asked for.
const AGAIN: Span = Span::secs(15);

/// Whether to look: no answer is out, and the last look was over long enough ago. A walk over many processes takes long, and
/// questions that came meanwhile must not be walked for one by one.
pub(super) fn due(asked: Option<Moment>, walked: Option<Moment>, now: Moment) -> bool {
    asked.is_none() && walked.is_none_or(|walked| now.since(walked) >= AGAIN)
}

/// The memory of all processes below this one, itself not counted. Absent: nothing could be read.
pub(super) fn below(top: i32) -> Option<Memory> {
    let mut waiting = children(top);
    let mut all = Vec::new();
    while let Some(pid) = waiting.pop() {
        if all.len() >= PROCESSES_MAX {
            return None;
        }
        waiting.extend(children(pid));
        all.push(pid);
    }
    let used: Vec<u64> = all.into_iter().filter_map(|pid| share(pid).or_else(|| resident(pid))).collect();
    (!used.is_empty()).then(|| Memory(used.into_iter().fold(0, u64::saturating_add).saturating_mul(1024)))
}

fn children(pid: i32) -> Vec<i32> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    lists.flat_map(|list| list.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<i32>>()).collect()
}

/// In KiB.
fn share(pid: i32) -> Option<u64> {
    row(&std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Pss:")
}

/// In KiB.
fn resident(pid: i32) -> Option<u64> {
    row(&std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?, "VmRSS:")
}

fn row(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix("kB")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn walks_over_a_tree_do_not_queue_up() {
        let at = |secs: u64| Some(Moment(secs * 1000));
        let cases =
            [(None, None, true), (at(99), None, false), (None, at(99), false), (None, at(86), false), (None, at(85), true)];
        for (asked, walked, expected) in cases {
            assert_eq!(due(asked, walked, Moment(100_000)), expected, "{asked:?} {walked:?}");
        }
    }

    #[test]
    fn rows_are_read_or_absent() {
        let text = "Rss:   900 kB\nPss_Dirty: 7 kB\nPss:    123 kB\n";
        assert_eq!((row(text, "Pss:"), row(text, "Swap:"), row("Pss: many kB", "Pss:")), (Some(123), None, None));
    }

    #[test]
    fn children_count_and_the_top_does_not() {
        let own = std::process::id().cast_signed();
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().expect("starts");
        let found = children(own).contains(&child.id().cast_signed());
        let used = below(own);
        child.kill().expect("killed");
        child.wait().expect("reaped");
        assert!(found, "the child is found");
        assert!(used.is_some_and(|used| used > Memory(0) && used < Memory(1 << 30)), "{used:?}");
        assert_eq!(below(child.id().cast_signed()), None, "of nothing nothing is known");
    }
}
