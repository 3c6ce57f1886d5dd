//! What a policy's profile fills in, and what its fields say instead. Whole numbers throughout: a factor of 0.6 makes 150 of
//! 250, on every machine.

use crate::model::policy::{PolicySpec, Profile, Resource};
use crate::model::time::Span;

/// All that decides when a limit is moved and how far, with nothing left open.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// At this share of the limit or above it is a breach, in percent: CPU, memory, tasks.
    pub up: [u8; 3],
    /// Below this share of the limit it is calm, in percent: CPU, memory, tasks.
    pub down: [u8; 3],
    /// Looks in a row with a breach before a raise.
    pub checks_up: u32,
    /// Calm looks in a row before a lowering.
    pub checks_down: u32,
    /// A raised limit is the old one times this, in millionths.
    pub factor_up: u64,
    /// A lowered limit is the old one times this, in millionths.
    pub factor_down: u64,
    /// The least time from one change to the next.
    pub cooldown: Span,
}

impl Rules {
    /// Those of a policy: each field of the document goes before the profile's.
    pub fn of(spec: &PolicySpec) -> Rules {
        let (profile, up, down) = (profile(spec.profile), &spec.scale_up, &spec.scale_down);
        let or = |given: [Option<u8>; 3], or: [u8; 3]| [0, 1, 2].map(|n| given[n].unwrap_or(or[n]));
        Rules {
            up: or([up.cpu, up.memory, up.tasks], profile.up),
            down: or([down.cpu, down.memory, down.tasks], profile.down),
            checks_up: up.consecutive_checks.unwrap_or(profile.checks_up),
            checks_down: down.consecutive_checks.unwrap_or(profile.checks_down),
            factor_up: up.factor.map_or(profile.factor_up, millionths),
            factor_down: down.factor.map_or(profile.factor_down, millionths),
            cooldown: spec.cooldown.unwrap_or(profile.cooldown),
        }
    }

    /// The share that is a breach, and the share below which it is calm.
    pub fn shares(&self, of: Resource) -> (u8, u8) {
        let n = match of {
            Resource::Cpu => 0,
            Resource::Memory => 1,
            Resource::Tasks => 2,
        };
        (self.up[n], self.down[n])
    }

    /// A limit, raised by one step of at least `step`.
    pub fn raised(&self, limit: u64, step: u64) -> u64 {
        times(limit, self.factor_up).max(limit.saturating_add(step))
    }

    /// A limit, lowered by one step of at least `step`.
    pub fn lowered(&self, limit: u64, step: u64) -> u64 {
        times(limit, self.factor_down).min(limit.saturating_sub(step))
    }
}

/// As whole numbers, 250 times 0.6 is 150 and nothing beside it.
fn millionths(factor: f64) -> u64 {
    (factor * 1e6).round() as u64
}

fn times(limit: u64, millionths: u64) -> u64 {
    u64::try_from(u128::from(limit) * u128::from(millionths) / 1_000_000).unwrap_or(u64::MAX)
}

fn profile(profile: Profile) -> Rules {
    let balanced = Rules {
        up: [85, 80, 85],
        down: [40, 50, 30],
        checks_up: 3,
        checks_down: 10,
        factor_up: 1_500_000,
        factor_down: 600_000,
        cooldown: Span::secs(300),
    };
    match profile {
        Profile::Balanced => balanced,
        Profile::Conservative => {
            Rules { up: [90, 85, 90], checks_up: 5, factor_up: 1_300_000, cooldown: Span::secs(600), ..balanced }
        }
        Profile::Aggressive => {
            Rules { up: [75, 70, 75], checks_up: 2, factor_up: 2_000_000, cooldown: Span::secs(120), ..balanced }
        }
    }
}
