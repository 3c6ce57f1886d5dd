//! One plan for a pool whose size follows and whose memory a policy moves: more workers, or bigger ones.
//!
//! "More" comes first while it fits: the size may grow as far as the policy may give memory for what each worker is expected to
//! use, and the policy then raises the limit for it. "Bigger" is what is left when workers need more than was expected of them:
//! then fewer fit. Neither stops a worker that runs.

use crate::model::host::{Budget, Expected};
use crate::model::policy_plan::PoolSize;
use crate::model::quantity::Memory;

/// What a worker takes: what is expected of one, or, where those that have processes, the stopping ones too, use more, their
/// average.
pub fn each(expected: Expected, used: Option<Memory>, populated: u32) -> Expected {
    let average = used.map_or(0, |used| used.0.checked_div(u64::from(populated)).unwrap_or(0));
    if average > expected.memory.0 {
        return Expected { memory: Memory(average), how: "what those that run use on average" };
    }
    Expected { memory: expected.memory.max(Memory(1)), ..expected }
}

/// How many workers fit in what the pool may be given.
pub fn most(budget: &Budget) -> u32 {
    u32::try_from(budget.memory.0 / budget.each.memory.0.max(1)).unwrap_or(u32::MAX)
}

/// Why no more fit, in words.
pub fn why(budget: &Budget) -> String {
    let Budget { policy, memory, each, whose } = budget;
    format!(
        "policy/{policy} may give the pool {}, {whose}, and a worker takes {} ({})",
        rough(memory.0),
        rough(each.memory.0),
        each.how
    )
}

/// What the workers that are wanted take together, in bytes.
pub fn needed(size: PoolSize) -> u64 {
    size.each.0.saturating_mul(u64::from(size.wanted))
}

/// Why the limit has to be raised for the workers that are wanted: there is no room for all of them.
pub fn more(size: PoolSize, limit: u64) -> Option<String> {
    let needed = needed(size);
    let (each, all, limit_shown) = (rough(size.each.0), rough(needed), rough(limit));
    (needed > limit)
        .then(|| format!("more workers: {} are wanted at {each} each, {all} in all, and the limit is {limit_shown}", size.wanted))
}

/// What is added to a breach of memory when all who are wanted have room: it is their own growth.
pub fn bigger(size: PoolSize) -> String {
    format!("bigger workers: no more than the {} that are wanted, at {} each", size.running.max(size.wanted), rough(size.each.0))
}

/// In whole MiB where it is at least one.
fn rough(bytes: u64) -> String {
    Memory(if bytes >= 1 << 20 { bytes >> 20 << 20 } else { bytes }).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(memory: u64, each: u64) -> Budget {
        let each = expected(Memory(each << 20));
        Budget { policy: "web".into(), memory: Memory(memory << 20), each, whose: "its bound".into() }
    }

    fn expected(memory: Memory) -> Expected {
        Expected { memory, how: "its limit" }
    }

    #[test]
    fn as_many_fit_as_there_is_memory_for() {
        for (memory, each, expected) in [(4096, 1024, 4), (4095, 1024, 3), (1, 1024, 0), (0, 1, 0)] {
            assert_eq!(most(&budget(memory, each)), expected, "{memory} {each}");
        }
        assert_eq!(most(&budget(1 << 40, 0)), u32::MAX, "nothing panics");
        assert_eq!(why(&budget(4096, 1024)), "policy/web may give the pool 4Gi, its bound, and a worker takes 1Gi (its limit)");
    }

    #[test]
    fn a_worker_takes_what_is_expected_or_what_others_use() {
        let mib = |n: u64| Memory(n << 20);
        let takes = |expects, used, populated| each(expected(expects), used, populated);
        assert_eq!(takes(mib(64), None, 3), expected(mib(64)));
        let average = Expected { memory: mib(300), how: "what those that run use on average" };
        assert_eq!(takes(mib(64), Some(mib(900)), 3), average);
        assert_eq!(takes(mib(64), Some(mib(90)), 3), expected(mib(64)));
        assert_eq!(takes(mib(64), Some(mib(90)), 0).memory, mib(64), "none runs: what is used is nobody's");
        assert_eq!(takes(Memory(0), None, 0).memory, Memory(1));
    }

    #[test]
    fn who_is_wanted_needs_room() {
        let size = PoolSize { wanted: 5, running: 3, each: Memory(1 << 30) };
        assert_eq!(more(size, 5 << 30), None);
        let words = "more workers: 5 are wanted at 1Gi each, 5Gi in all, and the limit is 4Gi";
        assert_eq!(more(size, 4 << 30).as_deref(), Some(words));
        assert_eq!(needed(PoolSize { wanted: u32::MAX, each: Memory(u64::MAX), running: 0 }), u64::MAX);
        assert_eq!(bigger(size), "bigger workers: no more than the 5 that are wanted, at 1Gi each");
    }
}
