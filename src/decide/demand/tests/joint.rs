//! A pool that a policy gives memory to: the size grows as far as there is memory for, and is never lowered for want of it.
//!
//! How much the policy may give is worked out elsewhere; here it is given.

use super::situations::{begun, sizes, told};
use super::*;
use crate::model::host::{Budget, Pressures, Sample};
use crate::model::quantity::Memory;

/// A machine with room for all, and a policy that may give so many MiB to workers of a hundred each.
fn gives(mib: u64) -> Look {
    let none = || Err("?".to_owned());
    let pressure = Pressures { cpu: none(), memory: none(), io: none() };
    let sample = Sample { at: Moment(0), idle: Err("?".into()), memory: Ok(Memory(1 << 50)), pressure };
    let (each, whose) = (Memory(100 << 20), "its bound".into());
    let budget = Some(Budget { policy: "p".into(), memory: Memory(mib << 20), each, whose });
    Look { sample, disk: None, expected: each, reserved: Memory(0), budget }
}

#[test]
fn more_workers_as_far_as_there_is_memory_for_them() {
    // From, asked for, MiB that may be given; the size, and whether the budget is what holds it.
    let cases = [
        (1, 5, 1000, 5, false),
        (1, 5, 500, 5, false),
        (1, 5, 499, 4, true),
        (1, 5, 0, 1, true),
        // Those that run are not stopped for it.
        (4, 5, 200, 4, true),
        (4, 4, 200, 4, false),
        (4, 2, 0, 2, false),
        // Nor are those that there are always.
        (0, 5, 0, 1, true),
    ];
    for (from, asked, mib, expected, held) in cases {
        let mut world = begun(sizes(1, 10), from);
        world.machine = Some(gives(mib));
        let demand = told(&mut world, f64::from(asked));
        let clamps = demand.why.expect("explained").clamps;
        let clamp = clamps.iter().find(|clamp| clamp.name == "poolBudget");
        assert_eq!((demand.wanted, clamp.is_some()), (expected, held), "{from} {asked} {mib}: {clamps:?}");
        if let Some(clamp) = clamp {
            assert!(
                clamp.why.starts_with("policy/p may give the pool ") && clamp.why.ends_with("a worker takes 100Mi"),
                "{clamp:?}"
            );
        }
    }
}
