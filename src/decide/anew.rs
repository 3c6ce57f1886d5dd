//! Workers of a scaled pool that ended for good (`restartPolicy`), and in whose place somebody comes.
//!
//! The policy says whether a worker is started again for its own sake. What triggers ask for after its end is another matter: as
//! long as there is work for so many its place is filled, as KEDA's ScaledJob starts the next job. A number from before the end
//! asks for nobody: it may count what that worker has done.

use std::collections::BTreeSet;

use super::roster::{live, ordinal};
use super::workers;
use crate::model::plan::{Observation, Slot};
use crate::model::scale::Trigger;
use crate::model::scaling::{Explanation, Signal, SignalState};
use crate::model::time::{Moment, Now, Span, Wall};
use crate::model::worker::{Exit, SlotState};

/// In whose place somebody comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Anew {
    /// The workers that ended.
    pub workers: BTreeSet<String>,
    /// When more may be asked for.
    pub wake: Option<Moment>,
}

/// It ended for good.
pub fn ended<'a>(observation: &Observation<'_>, slot: &'a Slot) -> Option<&'a Exit> {
    let over = slot.seen.state == SlotState::Vacant && workers::done(observation.pool, &slot.record);
    slot.record.last_exit.as_ref().filter(|_| over)
}

/// Those that ended and are asked for anew: as many as triggers want beside those that live.
pub fn anew(observation: &Observation<'_>, why: Option<&Explanation>, now: Now) -> Anew {
    let mut out = Anew::default();
    let (Some(scale), Some(why)) = (observation.pool.spec.scale.as_ref(), why) else { return out };
    if why.clamps.iter().any(|clamp| clamp.name == "paused") {
        return out;
    }
    let mut there = observation.slots.values().filter(|slot| live(slot)).count();
    let ends = observation.slots.iter().filter_map(|(worker, slot)| Some((worker, ended(observation, slot)?)));
    let mut ends: Vec<(&String, &Exit)> = ends.collect();
    ends.sort_by_key(|(worker, _)| ordinal(observation.pool, worker));
    for (worker, exit) in ends {
        let triggers = scale.triggers.iter().zip(&why.signals);
        let asked: Vec<(u32, Wall)> =
            triggers.filter_map(|(trigger, signal)| Some((signal.wants?, counts_from(trigger, signal, exit)?))).collect();
        let more = asked.iter().filter(|(size, _)| *size as usize > there);
        match more.map(|(_, from)| *from).min() {
            Some(from) if from <= now.wall => {
                there += 1;
                out.workers.insert(worker.clone());
            }
            Some(from) => {
                let at = now.mono.after(Span(from.0.abs_diff(now.wall.0)));
                out.wake = Some(out.wake.map_or(at, |known| known.min(at)));
            }
            None => {}
        }
    }
    out
}

/// From when on the number asks for somebody in the place of who ended so. What is not asked again and again asks after
/// `pollingInterval`: else a worker that ends at once would be started at once, without an end. The clock, and what workers use,
/// count no work.
fn counts_from(trigger: &Trigger, signal: &Signal, exit: &Exit) -> Option<Wall> {
    let counts = trigger.source.schedule.is_none() && trigger.source.used().is_none();
    if !counts || signal.state != SignalState::Fresh {
        return None;
    }
    let later = i64::try_from(trigger.polling_interval.0).unwrap_or(i64::MAX);
    match signal.time {
        Some(read) => Some(read).filter(|read| *read > exit.finished),
        None => Some(Wall(exit.finished.0.saturating_add(later))),
    }
}
