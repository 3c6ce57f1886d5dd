//! A pool that a policy gives memory to: the size grows as far as there is memory for, and is never lowered for want of it.
//!
//! How much the policy may give is worked out elsewhere; here it is given.

use super::situations::{begun, sizes, told};
use super::*;
use crate::model::host::{Budget, Expected, Pressures, Sample};
use crate::model::quantity::Memory;

/// A machine with room for all, and a policy that may give so many MiB to workers of a hundred each.
fn gives(mib: u64) -> Look {
    let none = || Err("?".to_owned());
    let pressure = Pressures { cpu: none(), memory: none(), io: none() };
    let sample = Sample { at: Moment(0), idle: Err("?".into()), memory: Ok(Memory(1 << 50)), pressure };
    let (each, whose) = (Expected { memory: Memory(100 << 20), how: "a guess" }, "its bound".into());
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
                clamp.why.starts_with("policy/p may give the pool ") && clamp.why.ends_with("a worker takes 100Mi (a guess)"),
                "{clamp:?}"
            );
        }
    }
}

/// A size that was decided on where so much may be given, and so much is expected of each.
fn decided(from: u32, asked: u32, (min, max): (u32, u32), (mib, each): (u64, u64)) -> u32 {
    let mut world = begun(sizes(min, max), from);
    let mut look = gives(mib);
    look.budget = look.budget.map(|budget| Budget { each: Expected { memory: Memory(each << 20), ..budget.each }, ..budget });
    world.machine = Some(look);
    told(&mut world, f64::from(asked)).wanted
}

#[test]
fn never_more_than_there_is_memory_for_and_never_fewer_for_want_of_it() {
    let mut seed = 11u64;
    let mut below = |n: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % n
    };
    let mut held = 0;
    for case in 0..10_000 {
        let min = below(4) as u32;
        let (max, from, asked) = (min + below(60) as u32, below(64) as u32, below(80) as u32);
        let (mib, each) = (below(8000), below(300) + 1);
        let size = |asked, mib, each| decided(from, asked, (min, max), (mib, each));
        let wanted = size(asked, mib, each);
        let say = || format!("case {case}: {from} to {wanted}, {asked} asked, {min} to {max}, {mib} Mi at {each}");
        assert!(wanted <= from.max(min) || u64::from(wanted) * each <= mib, "over the budget; {}", say());
        let free = size(asked, u64::MAX >> 21, 1);
        assert!(wanted >= free.min(from).max(min), "lowered for want of memory; {}", say());
        assert!(wanted <= free, "raised by a budget; {}", say());
        held += u32::from(wanted < free);
        assert!(size(asked, mib + below(2000), each) >= wanted, "more memory, fewer workers; {}", say());
        assert!(size(asked, mib, each + below(100)) <= wanted, "larger workers, more of them; {}", say());
        assert!(size(asked + below(20) as u32, mib, each) >= wanted, "more is asked for, fewer are wanted; {}", say());
    }
    assert!(held > 1000, "too seldom is it the budget that holds: {held}");
}
