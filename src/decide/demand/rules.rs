//! Rules: the size that a number asks for.
//!
//! The vocabulary is that of HPA v2 (a target for each worker, with a tolerance) and of the autoscalers that people write by
//! hand (one step at a time). A rule is total: any number that can be counted gives a size.

use super::Size;
use super::readings::Reading;
use crate::model::reading::{counted, shown};
use crate::model::scale::{Step, Trigger};

/// What a division of decimal fractions may be off by: 1.1 at 0.1 each is 11, not 12.
const ROUNDING: f64 = 1e-9;
/// A ratio this close to 1 changes nothing, as in HPA.
const TOLERANCE: f64 = 0.1;

/// What a trigger asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// This size, larger or smaller than now.
    Exactly(u32),
    /// At least this size: an old number may raise and hold, never lower.
    AtLeast(u32),
    /// Nothing: what there is stays.
    Hold,
}

/// What a trigger asks for, given its reading, with its words.
pub fn wants(trigger: &Trigger, reading: Reading, stepped: Option<u32>, current: u32) -> (Wants, String) {
    match reading {
        Reading::Unknown => (Wants::Hold, "there is no number, so the size is held".into()),
        Reading::Fresh(value) => {
            let (size, words) = size(trigger, value, stepped, current);
            (Wants::Exactly(size), words)
        }
        Reading::Stale(value) => {
            let (size, words) = size(trigger, value, stepped, current);
            (Wants::AtLeast(size), format!("{words}; the number is old, so it may not lower"))
        }
    }
}

fn size(trigger: &Trigger, value: f64, stepped: Option<u32>, current: u32) -> (u32, String) {
    if let (Some(target), Some(_)) = (trigger.target_per_worker, trigger.source.used()) {
        let size = stepped.unwrap_or(current);
        (size, format!("{} % used at {} % for each worker: {size}", shown(value), shown(target)))
    } else if let Some(step) = &trigger.step {
        // The step was made when the number came; until the next one it stays where it led.
        (stepped.unwrap_or(current), step_words(step, value, current))
    } else if let Some(target) = trigger.target_per_worker {
        // Of its own tasks each one that waits is a worker that is wanted; other numbers swing.
        let tolerance = if trigger.source.queue.is_some() { 0.0 } else { TOLERANCE };
        per_worker(value, target, (trigger.activation, tolerance), current)
    } else {
        (whole(value.ceil()), format!("the source asks for {}", shown(value)))
    }
}

/// What a rule that acts once on each number makes of it; none: it does not, and may be asked again and again.
///
/// What a pool uses changes with its size: the same number must not be acted on twice.
pub fn once(trigger: &Trigger, value: f64, size: Size) -> Option<u32> {
    let used = trigger.target_per_worker.filter(|_| trigger.source.used().is_some());
    let step = |rule: &Step| step(rule, value, trigger.activation, size.wanted);
    used.map(|target| utilization(value, target, size)).or_else(|| trigger.step.as_ref().map(step))
}

/// As HPA's `averageUtilization`: the size in proportion to what is used of the limit, both in percent. Workers that do not run
/// (yet) count as idle where more are asked for, and as fully at work where fewer are, as pods without metrics do. It never asks
/// for none: nobody could measure that there is work again.
fn utilization(value: f64, target: f64, size: Size) -> u32 {
    let Size { wanted, running, .. } = size;
    let within = |ratio: f64| (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio);
    let measured = value / target;
    if wanted == 0 || running == 0 || within(measured) {
        return wanted;
    }
    let missing = f64::from(wanted.saturating_sub(running));
    let all = wanted.max(running);
    let guessed = if measured > 1.0 { 0.0 } else { missing * target.max(100.0) };
    let ratio = (value * f64::from(running) + guessed) / f64::from(all) / target;
    let turned = (ratio > 1.0) != (measured > 1.0);
    let asked = whole((ratio * f64::from(all) - ROUNDING).ceil()).max(1);
    let turns_back = if measured > 1.0 { asked < wanted } else { asked > wanted };
    if turned || within(ratio) || turns_back { wanted } else { asked }
}

/// One step from `current` for this number.
pub fn step(step: &Step, value: f64, activation: f64, current: u32) -> u32 {
    if value > up_bound(step, current) && (current > 0 || value > activation) {
        current.saturating_add(step.up.by)
    } else if value <= step.down.at_most {
        current.saturating_sub(step.down.by)
    } else {
        current
    }
}

fn up_bound(step: &Step, current: u32) -> f64 {
    match (step.up.above, step.up.above_per_worker) {
        (Some(bound), _) => bound,
        (None, Some(each)) => each * f64::from(current),
        (None, None) => f64::INFINITY,
    }
}

fn step_words(step: &Step, value: f64, current: u32) -> String {
    let bound = up_bound(step, current);
    let (number, high, low) = (shown(value), shown(bound), shown(step.down.at_most));
    if value > bound {
        format!("{number} is above {high}: {} more", step.up.by)
    } else if value <= step.down.at_most {
        format!("{number} is at most {low}: {} fewer", step.down.by)
    } else {
        format!("{number} is above {low} and not above {high}: no change")
    }
}

fn per_worker(value: f64, target: f64, (activation, tolerance): (f64, f64), current: u32) -> (u32, String) {
    let (number, each) = (shown(value), shown(target));
    if value <= activation {
        return (0, format!("{number} is not above the activation {}: none", shown(activation)));
    }
    let ratio = value / (target * f64::from(current));
    if current > 0 && tolerance > 0.0 && (1.0 - tolerance..=1.0 + tolerance).contains(&ratio) {
        return (current, format!("{number} for {} is within 10 % of {each} each: no change", counted(current, "worker")));
    }
    let size = whole((value / target - ROUNDING).ceil()).max(1);
    (size, format!("{number} at {each} for each worker: {size}"))
}

/// As a count; beyond every bound it is the largest count.
fn whole(value: f64) -> u32 {
    // A float becomes an integer by saturation: no value wraps.
    value.max(0.0) as u32
}
