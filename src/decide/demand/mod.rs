//! How many workers are wanted, and why.
//!
//! A fixed number, or what the triggers ask for, brought through everything that may hold it back. Each of those is one step
//! with a name, in one order, and leaves a [`crate::model::scaling::Clamp`]: the plan can say why this many, and the history keeps it.
//!
//! ```text
//! readings -> rules -> largest -> fallback -> minIdle -> pause -> stabilizationWindow -> bounds -> policies -> cooldown -> quota -> headroom -> poolBudget -> memoryPressure -> bounds
//! ```
//! Only a fresh number lowers: an old one or none holds or raises (unless a `Static` fallback was asked for by name).

mod behavior;
mod quotas;
pub mod readings;
mod rules;
mod scaler;
#[cfg(test)]
mod tests;
mod windows;

use std::collections::BTreeMap;

use crate::decide::{roster, workers};
use crate::model::host::Room;
use crate::model::plan::{Ending, Observation, PoolFacts, Slot};
use crate::model::reading::{Failure, Number};
use crate::model::scale::Trigger;
use crate::model::scaling::{Asker, Explanation, Question, Scaling};
use crate::model::source::{Source, UsageOf};
use crate::model::time::{Moment, Now};
use crate::model::worker::SlotState;

use self::readings::Poll;
use self::scaler::Scaler;

/// The annotation that holds the size until a time: `ctl pause` sets it.
pub const PAUSED_UNTIL: &str = "weir.dev/paused-until";
/// Readings of zero before a drop to zero is believed, where the document says nothing.
const ZEROS: u32 = 3;

/// The number wanted, with its reason.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Demand {
    /// Workers wanted.
    pub wanted: u32,
    /// Why this many.
    pub reason: String,
    /// How it came about; absent for a fixed number.
    pub why: Option<Explanation>,
    /// What is remembered from now on.
    pub scaling: Scaling,
    /// What is to be asked now.
    pub questions: Vec<Question>,
    /// When the answer may become another by itself.
    pub wake: Option<Moment>,
    /// Starts are held back, and why.
    pub gate: Option<String>,
    /// How many workers the machine has room for; absent: as many as wanted.
    pub room: Option<Room>,
}

impl Demand {
    fn fixed(wanted: u32, reason: String) -> Demand {
        Demand { wanted, reason, ..Demand::default() }
    }

    fn wake(&mut self, at: Option<Moment>) {
        self.wake = self.wake.into_iter().chain(at).min();
    }
}

/// What the pool asks for.
pub fn demand(observation: &Observation<'_>, now: Now) -> Demand {
    let pool = observation.pool;
    match (pool.ending, &pool.spec.scale) {
        (Some(Ending::Removed), _) => Demand::fixed(0, format!("the pool is gone from {}", pool.source.file)),
        (Some(Ending::Shutdown), _) => Demand::fixed(0, "weir is shutting down".into()),
        (None, Some(scale)) => Scaler::new(observation, scale, now).decide(),
        (None, None) => {
            let wanted = pool.spec.replicas.unwrap_or(1);
            Demand::fixed(wanted, format!("spec.replicas is {wanted}"))
        }
    }
}

/// The size of a pool when a number comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    /// Workers wanted.
    pub wanted: u32,
    /// Workers that are ready.
    pub running: u32,
    /// When the last of those that live was started; one that is not ready counts as started now.
    pub newest: Option<Moment>,
}

impl Size {
    /// The size of a pool with these slots, of which so many workers are wanted.
    pub fn of(pool: &PoolFacts, slots: &BTreeMap<String, Slot>, wanted: u32, now: Now) -> Size {
        let mut size = Size { wanted, ..Size::default() };
        for slot in slots.values().filter(|slot| roster::live(slot)) {
            let ready = workers::is_ready(pool, slot);
            let started = match &slot.seen.state {
                SlotState::Running(run) if ready => run.started,
                SlotState::Running(_)
                | SlotState::Starting { .. }
                | SlotState::Unknown
                | SlotState::Vacant
                | SlotState::Lost { .. } => now.mono,
            };
            size.running += u32::from(ready);
            size.newest = size.newest.max(Some(started));
        }
        size
    }
}

/// Take in the answer to a question. A step is made from the present size. The answer of a source that is not asked any more
/// says nothing of the one that took its place.
pub fn answered(
    pool: &PoolFacts,
    scaling: &mut Scaling,
    ((asker, source), answer): ((&Asker, &Source), Result<Number, Failure>),
    size: Size,
    now: Now,
) {
    let Some(scale) = &pool.spec.scale else { return };
    match asker {
        Asker::Trigger(name) => {
            let Some(trigger) = scale.triggers.iter().find(|trigger| trigger.name() == name) else { return };
            let Some(asked) = scaling.triggers.get_mut(name).filter(|asked| asked.source == *source) else { return };
            let good = answer.is_ok();
            let since = Moment(now.mono.0.saturating_sub(trigger.polling_interval.0));
            let earlier = asked.good.as_ref().map_or(since, |good| good.at);
            *asked = readings::answered(asked, answer, poll(trigger), seed(&pool.name, name), now);
            let believed = asked.good.as_ref().filter(|number| good && number.at == now.mono);
            if let Some(number) = believed {
                // What a start takes is no load: more workers would only take more of it.
                let starts = trigger.source.used() == Some(UsageOf::Cpu) && size.newest.is_some_and(|newest| newest >= earlier);
                let asks = rules::once(trigger, number.value, size);
                asked.stepped = asks.map(|asks| if starts { asks.min(size.wanted) } else { asks });
                asked.starting = asks.filter(|asks| starts && *asks > size.wanted);
            }
        }
        // A policy's, not a pool's.
        Asker::Gauge(_) => {}
        Asker::Quota(name) => {
            let Some(quota) = scale.quota.iter().find(|quota| quota.name == *name) else { return };
            let Some(asked) = scaling.quotas.get_mut(name).filter(|asked| asked.source == *source) else { return };
            *asked = readings::answered(asked, answer, quotas::POLL, seed(&pool.name, name), now);
            // One that was never read is in neither state: it allows nothing, and one that cannot be read any more stays as it is.
            match asked.good.as_ref().map(|good| good.value) {
                Some(left) if left < quota.pause_below => scaling.closed.insert(name.clone()),
                Some(left) if left > quota.resume_above => scaling.closed.remove(name),
                Some(_) | None => false,
            };
        }
    }
}

fn poll(trigger: &Trigger) -> Poll {
    let zeros = trigger.zero_confirmations.unwrap_or(if trigger.source.queue.is_some() { 1 } else { ZEROS });
    Poll { interval: trigger.polling_interval, timeout: trigger.reading_timeout(), zeros }
}

/// The same for the same pool and name, and spread over all of them (FNV-1a).
fn seed(pool: &str, name: &str) -> u64 {
    let bytes = pool.bytes().chain([0]).chain(name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
