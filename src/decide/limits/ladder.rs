//! What is done where a pool's memory is short and its limit cannot be raised: first nothing new is begun, then who is idle goes,
//! and what is left the kernel decides at the limit, to which whoever is held back before it is let.
//!
//! ```text
//! raise, as far as bounds and host allow -> no task and no worker more -> idle workers go -> MemoryHigh is MemoryMax
//! ```
//! Up by one rung for as many looks in a row as a raise takes, at once for a kill; down to the ground when it was calm for as many
//! as a lowering takes. Calm is less than half of what is pressure, so that a pool that has just got rid of it does not swing.
//! The last rung is for a pool that is held back at `MemoryHigh` and does not get on: without swap it would stand there for ever, and
//! never come to the limit at which the kernel decides. No worker at work is ended here, and nothing here changes a limit.

use super::clamp::Kept;
use super::rules::Rules;
use super::step::Wish;
use super::{Turn, measure};
use crate::model::host::{Rung, Squeeze};
use crate::model::limits::{ChangeAction, ChangeTrigger, High, memory_high};
use crate::model::policy::{Amounts, Mode, Resource};
use crate::model::policy_plan::Shortage;
use crate::model::policy_status::PolicyUsage;
use crate::model::reading::shown;
use crate::model::status::{MEMORY_PRESSED, Truth};
use crate::model::usage::Usage;

/// What one look says about the shortage of memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It is short, and no more can be given.
    Pressed {
        /// The kernel has killed for it.
        killed: bool,
        /// It stands at `MemoryHigh`, which could be lifted.
        stuck: bool,
        /// In words.
        why: String,
    },
    /// It is not short.
    Calm,
    /// It is not known, or between the two, or more can be given.
    Neither,
    /// The policy says nothing of this.
    Apart,
}

/// How short memory is after this look.
pub(super) fn after(before: &Shortage, sign: &Sign, rules: &Rules) -> Shortage {
    match sign {
        Sign::Apart => Shortage::default(),
        Sign::Neither => Shortage { pressed: 0, calm: 0, ..before.clone() },
        Sign::Calm if before.rung == Rung::Free || before.calm.saturating_add(1) >= rules.checks_down => Shortage::default(),
        Sign::Calm => Shortage { pressed: 0, calm: before.calm.saturating_add(1), ..before.clone() },
        Sign::Pressed { killed, stuck, why } => {
            // For whoever does not stand at MemoryHigh nothing is gained by lifting it, and a kill came from beyond it.
            let last = before.rung >= Rung::Draining;
            let pressed = if last && !stuck { 0 } else { before.pressed.saturating_add(1) };
            let more = *killed && !last || pressed >= rules.checks_up;
            let rung = if more { next(before.rung) } else { before.rung };
            let pressed = if more { 0 } else { pressed };
            Shortage { rung, pressed, calm: 0, why: why.clone() }
        }
    }
}

fn next(rung: Rung) -> Rung {
    match rung {
        Rung::Free => Rung::Closed,
        Rung::Closed => Rung::Draining,
        Rung::Draining | Rung::Lifted => Rung::Lifted,
    }
}

impl Turn<'_> {
    /// Whether this policy does anything where the memory of its target is short. One that can never look would do it for ever.
    fn counts(&self) -> bool {
        let pool = self.spec().target.pool.is_some() && self.o.unable.is_none();
        pool && self.spec().mode != Mode::Disabled && self.about.contains(&Resource::Memory)
    }

    /// What a look that failed says: where nothing runs, nothing is short.
    pub(super) fn unseen(&self, why: &str) -> Sign {
        if !self.counts() {
            return Sign::Apart;
        }
        if why.contains("not found") { Sign::Calm } else { Sign::Neither }
    }

    /// What this look says; to be asked when it is known whether the target is held back. `killed` is for want of memory that its
    /// own limit does not allow. Where it is not `full`, who waits for memory waits at a limit of his own, or for the host's.
    pub(super) fn sign(&self, limits: Amounts, usage: &PolicyUsage, (killed, full): (bool, bool)) -> Sign {
        let Some(limit) = limits.memory.filter(|_| self.counts()) else { return Sign::Apart };
        let waits = usage.pressure.memory.zip(self.spec().pressure.memory.map(f64::from)).filter(|_| full);
        let held = self.plan.watching.held > 0;
        let mut signs = Vec::new();
        if killed {
            signs.push("the kernel killed in it for want of memory".to_owned());
        }
        if held {
            signs.push("it is held back at MemoryHigh".to_owned());
        }
        if let Some((waited, most)) = waits.filter(|(waited, most)| waited >= most) {
            signs.push(format!("it waits for memory {}% of the time, {}% is too much", shown(waited), shown(most)));
        }
        if signs.is_empty() {
            return if waits.is_none_or(|(waited, most)| waited * 2.0 < most) { Sign::Calm } else { Sign::Neither };
        }
        match self.end(limit.0, limits, usage) {
            Some(end) => {
                let why = format!("{}, and it has {limit}, {end}", signs.join(", "));
                Sign::Pressed { killed, stuck: held && self.plan.stored.failed.is_none(), why }
            }
            None => Sign::Neither,
        }
    }

    /// Why no more memory can be given, if so.
    fn end(&self, limit: u64, limits: Amounts, usage: &PolicyUsage) -> Option<&'static str> {
        if self.plan.stored.failed.is_some() {
            return Some("which is not changed any more since a change failed");
        }
        if self.spec().mode == Mode::Manual {
            return Some("which a person set");
        }
        let raised = self.rules.raised(limit, self.least(Resource::Memory));
        match self.allowed((Resource::Memory, raised), limits, usage) {
            Err(Kept::Bound) => Some("its bound"),
            Err(Kept::Budget) => Some("all that the host has left"),
            Ok(_) | Err(Kept::Same | Kept::Used) => None,
        }
    }

    /// Where `MemoryHigh` is to stand.
    pub(super) fn high(&self) -> High {
        if self.plan.stored.shortage.rung == Rung::Lifted { High::AtMax } else { High::Below }
    }

    /// Where `MemoryHigh` stands is the kernel's to say: whoever was the pool's policy before may have left it lifted. Whoever sets
    /// nothing puts back nothing but what he has lifted himself.
    pub(super) fn found_high(&mut self, look: &Usage) {
        let pool = self.spec().target.pool.is_some() && self.about.contains(&Resource::Memory);
        let Some(max) = look.limits.memory.filter(|_| pool && self.plan.watching.ordered.is_none()) else { return };
        let counts = self.plan.stored.high == High::AtMax || self.spec().mode != Mode::Disabled;
        self.plan.stored.high = if counts && look.high == Some(max) { High::AtMax } else { High::Below };
    }

    /// `MemoryHigh` moved to where it is to stand, if it does not yet. It is put back as any limit is lowered: not below what is
    /// used, which would be slowed down at once.
    pub(super) fn move_high(&mut self, limits: Amounts, usage: &PolicyUsage) -> Option<Wish> {
        let limit = limits.memory.filter(|_| self.high() != self.plan.stored.high)?;
        // Somebody else may move it again and again.
        if !self.may_correct() {
            return None;
        }
        let wanted = Amounts { memory: Some(limit), ..Amounts::default() };
        let below = memory_high(limit, High::Below);
        if self.high() == High::AtMax {
            let why = &self.plan.stored.shortage.why;
            let reason = format!("MemoryHigh is lifted from {below} to MemoryMax, where the kernel decides: {why}");
            return Some(Wish { action: ChangeAction::LiftHigh, trigger: ChangeTrigger::Memory, reason, limits: wanted });
        }
        if measure::used(usage, Resource::Memory).is_none_or(|used| used >= below.0) {
            self.told_high_kept(below);
            return None;
        }
        let reason = format!("MemoryHigh is put back from MemoryMax to {below}: memory is not short any more");
        Some(Wish { action: ChangeAction::LowerHigh, trigger: ChangeTrigger::Idle, reason, limits: wanted })
    }

    /// It could not be: what is done is what was done before.
    pub(super) fn not_lifted(&mut self) {
        let shortage = Shortage { rung: Rung::Draining, ..self.plan.stored.shortage.clone() };
        self.put((MEMORY_PRESSED, Truth::True, shortage.rung.reason(), words(&shortage)));
        self.plan.stored.shortage = shortage;
    }

    /// Nothing is done any more without a look: what was done was for another target, or by a policy that does nothing now.
    pub(super) fn let_go(&mut self) {
        if std::mem::take(&mut self.plan.stored.shortage).rung != Rung::Free {
            self.put((MEMORY_PRESSED, Truth::False, Rung::Free.reason(), String::new()));
        }
    }

    /// Take in what a look says, and say what is done about it.
    pub(super) fn ladder(&mut self, sign: Sign) {
        let shortage = after(&self.plan.stored.shortage, &sign, &self.rules);
        let reason = shortage.rung.reason();
        // Of a unit, and of one that is only looked at, nothing of the kind is said, unless it was.
        if shortage.rung != Rung::Free {
            self.put((MEMORY_PRESSED, Truth::True, reason, words(&shortage)));
        } else if sign != Sign::Apart || self.o.stored.shortage.rung != Rung::Free {
            self.put((MEMORY_PRESSED, Truth::False, reason, String::new()));
        }
        self.plan.stored.shortage = shortage;
    }
}

/// How a policy holds its pool back, if it does.
pub fn squeeze(policy: &str, shortage: &Shortage) -> Option<Squeeze> {
    let why = || format!("policy/{policy}: {}", words(shortage));
    (shortage.rung != Rung::Free).then(|| Squeeze { rung: shortage.rung, why: why() })
}

/// A shortage in words, with what is done about it.
fn words(shortage: &Shortage) -> String {
    let what = match shortage.rung {
        Rung::Free => return String::new(),
        Rung::Closed => "no task is begun and no worker added until it has room",
        Rung::Draining => "no task is begun, and idle workers go, until it has room",
        Rung::Lifted => {
            "no task is begun, idle workers go, and MemoryHigh is MemoryMax, where the kernel decides, until it has room"
        }
    };
    format!("memory is short: {}; {what}", shortage.why)
}
