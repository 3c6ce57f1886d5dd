//! Rules: the size that a number asks for.
//!
//! The vocabulary is that of HPA v2 (a target for each worker, with a tolerance) and of the autoscalers that people write by
//! hand (one step at a time). A rule is total: any number that can be counted gives a size.

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
    if let Some(step) = &trigger.step {
        // The step was made when the number came; until the next one it stays where it led.
        (stepped.unwrap_or(current), step_words(step, value, current))
    } else if let Some(target) = trigger.target_per_worker {
        per_worker(value, target, trigger.activation, current)
    } else {
        (whole(value.ceil()), format!("the source asks for {}", shown(value)))
    }
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

fn per_worker(value: f64, target: f64, activation: f64, current: u32) -> (u32, String) {
    let (number, each) = (shown(value), shown(target));
    if value <= activation {
        return (0, format!("{number} is not above the activation {}: none", shown(activation)));
    }
    let ratio = value / (target * f64::from(current));
    if current > 0 && (1.0 - TOLERANCE..=1.0 + TOLERANCE).contains(&ratio) {
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
