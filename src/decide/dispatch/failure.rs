//! What a failed attempt means: the rules of `failurePolicy`, and the wait before the next attempt.
//!
//! The first rule that fits counts. A limit of somebody else's service is no fault of the task: `PausePool` lets the whole queue
//! rest, and the attempt does not count.

use crate::decide::restart;
use crate::model::cron::Cron;
use crate::model::queue::{FailureAction, FailureRule, Queue};
use crate::model::task::End;
use crate::model::time::{Span, Wall};

/// How long a queue rests when the rule does not say.
const PAUSE: Span = Span::secs(300);

/// What a rule says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Again, without counting it.
    Ignore,
    /// Again, as long as there are attempts left.
    Retry,
    /// Not again.
    Fail,
    /// The queue rests until then, and why; then again, without counting it.
    Pause(Wall, String),
}

/// The rule that fits this end.
pub fn rule(queue: &Queue, end: &End, output: &str, wall: Wall) -> Option<Verdict> {
    let rule = queue.failure_policy.iter().find(|rule| fits(rule, end, output))?;
    Some(match rule.action {
        FailureAction::Ignore => Verdict::Ignore,
        FailureAction::Retry => Verdict::Retry,
        FailureAction::Fail => Verdict::Fail,
        FailureAction::PausePool => Verdict::Pause(until(rule, wall), why(rule, end)),
    })
}

fn fits(rule: &FailureRule, end: &End, output: &str) -> bool {
    match &rule.output {
        Some(text) => output.contains(text) || end.message.contains(text),
        None => end.code.is_some_and(|code| rule.exit_codes.iter().any(|wanted| i32::from(*wanted) == code)),
    }
}

fn until(rule: &FailureRule, wall: Wall) -> Wall {
    let clock = rule.until.as_deref().and_then(|text| Cron::new(text, None).ok()).and_then(|cron| cron.next(wall));
    clock.unwrap_or_else(|| super::later(wall, rule.pause_for.unwrap_or(PAUSE)))
}

fn why(rule: &FailureRule, end: &End) -> String {
    match (&rule.output, end.code) {
        (Some(text), _) => format!("a task's output says {text:?}"),
        (None, Some(code)) => format!("a task ended with exit code {code}"),
        (None, None) => "a task failed".into(),
    }
}

/// The wait after the `attempt`-th attempt: doubled each time, spread by ±20 % in a way that repeats, and the maximum at most.
pub fn backoff(queue: &Queue, attempt: u32, id: u64) -> Span {
    let backoff = &queue.retry.backoff;
    let doubled = backoff.initial.0.saturating_mul(1u64.checked_shl(attempt.saturating_sub(1)).unwrap_or(u64::MAX));
    restart::jittered(Span(doubled.min(backoff.max.0)), id ^ (u64::from(attempt) << 48)).min(backoff.max)
}
