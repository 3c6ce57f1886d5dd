//! Readings: what is believed of a source's answers, and when it is asked again.
//!
//! A failure leaves the last number where it is and makes it stale; it never becomes a zero. A drop to zero is believed only
//! when it was read often enough in a row. Questions are spread by a jitter, and a source that asked to be left alone is.

use super::super::restart;
use crate::model::reading::{Failure, Number, times};
use crate::model::scale::{Fallback, FallbackBehavior};
use crate::model::scaling::{Asked, Good};
use crate::model::source::Source;
use crate::model::time::{Moment, Now, Span};

/// A longer pause is kept, and told as this one: no calendar reaches further.
const TOLD_MAX: Span = Span::secs(366 * 86_400);

/// What a source says now. Only a fresh number may lower anything: the others have no way to say so.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Reading {
    /// A number, read in time.
    Fresh(f64),
    /// A number that was read once.
    Stale(f64),
    /// No number.
    Unknown,
}

/// What is to be done about a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Poll {
    /// The time from one question to the next.
    pub interval: Span,
    /// How long an answer may take.
    pub timeout: Span,
    /// Zeros in a row before a drop to zero is believed.
    pub zeros: u32,
}

/// The answer to a question. A zero after a number counts when it was read often enough in a row; before that the number stays.
pub fn answered(before: &Asked, answer: Result<Number, Failure>, poll: Poll, seed: u64, now: Now) -> Asked {
    let mut next = before.clone();
    next.out = None;
    let asked = before.out.unwrap_or(now.mono);
    next.due = asked.after(jittered(poll.interval, seed ^ before.count)).max(now.mono);
    match answer {
        Ok(number) => {
            (next.failures, next.failing_since, next.error, next.alone) = (0, None, None, None);
            next.zeros = if number.value() == 0.0 { before.zeros.saturating_add(1) } else { 0 };
            if before.good.as_ref().is_none_or(|good| good.value == 0.0) || next.zeros == 0 || next.zeros >= poll.zeros {
                next.good = Some(Good { value: number.value(), raw: number.raw().into(), at: now.mono, wall: now.wall });
            }
        }
        Err(failure) => {
            next.zeros = if confirmed(before, poll) { before.zeros } else { 0 };
            next.failures = before.failures.saturating_add(1);
            next.failing_since = before.failing_since.or(Some(now.mono));
            next.error = Some(failure.message);
            next.alone = failure.retry_after.map(|pause| now.wall_of(now.mono.after(pause.min(TOLD_MAX))));
            if let Some(pause) = failure.retry_after {
                next.due = next.due.max(now.mono.after(pause));
            }
        }
    }
    next
}

/// Whether zero is what the source says, and said often enough.
fn confirmed(asked: &Asked, poll: Poll) -> bool {
    asked.zeros >= poll.zeros && asked.good.as_ref().is_some_and(|good| good.value == 0.0)
}

/// What the source says now, and until when that is so if nothing is heard. `above`: there are more workers than the least, so
/// a zero that was not read often enough, the first one of this daemon too, would lower what another number raised.
pub fn reading(asked: &Asked, poll: Poll, above: bool, now: Moment) -> (Reading, Option<Moment>) {
    let Some(good) = &asked.good else { return (Reading::Unknown, None) };
    // Three questions without a good answer: whatever the reason, the number is old.
    let stale_at = good.at.after(Span(poll.interval.0.saturating_mul(3).saturating_add(poll.timeout.0)));
    let doubted = asked.zeros > 0 && asked.zeros < poll.zeros && (above || good.value > 0.0);
    if asked.failures > 0 || doubted || now >= stale_at {
        (Reading::Stale(good.value), None)
    } else {
        (Reading::Fresh(good.value), Some(stale_at))
    }
}

/// Why a number is not fresh and what comes of that, in words, as long as no fallback does.
pub fn doubt(asked: &Asked, poll: Poll, fallback: Fallback) -> String {
    let why = match (&asked.error, &asked.good) {
        (Some(error), _) => error.clone(),
        (None, Some(_)) if asked.zeros > 0 && asked.zeros < poll.zeros => {
            format!("0 was read, {} of {} confirmations", asked.zeros, poll.zeros)
        }
        (None, Some(good)) => format!("it was read last at {}", good.wall),
        (None, None) => "it was not read yet".into(),
    };
    if fallback.behavior != FallbackBehavior::Static || asked.error.is_none() {
        return format!("{why}; nothing is lowered meanwhile");
    }
    let or = fallback.after.map_or_else(String::new, |after| format!(", or for {after}"));
    let (threshold, size) = (times(fallback.failure_threshold), fallback.replicas);
    format!("{why}; nothing is lowered until it has failed {threshold} in a row{or}: then the fallback is {size}")
}

/// Ask now, or say when. A question under way is answered in any case.
pub fn ask(asked: &mut Asked, now: Moment) -> Result<(), Option<Moment>> {
    if asked.out.is_some() {
        return Err(None);
    }
    if asked.due > now {
        return Err(Some(asked.due));
    }
    asked.out = Some(now);
    asked.count += 1;
    Ok(())
}

/// A source that is new, or another one than before, begins anew; what it is asked next is asked at once.
pub fn follow(asked: &mut Asked, source: &Source, now: Moment) {
    if asked.source != *source {
        *asked = Asked { source: source.clone(), due: now, ..Asked::default() };
    }
}

/// The interval changed by up to ±10 %: pools that were started together do not ask together for ever.
fn jittered(interval: Span, seed: u64) -> Span {
    let spread = restart::jittered(Span(1000), seed).0;
    // 800..=1200 becomes 900..=1100.
    Span(interval.0.saturating_mul(500 + spread / 2) / 1000)
}
