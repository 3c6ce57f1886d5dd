//! Quotas: what is left of each, and whether workers may be started by that.
//!
//! A quota guards money, so one that was never read allows as little as one that is used up, and one that cannot be read any more
//! stays as it was. That one is used up outlives the daemon, in the pool's status; that one is not has to be read anew.

use super::readings::{self, Poll, Reading};
use crate::model::reading::shown;
use crate::model::scale::Quota;
use crate::model::scaling::{Allowance, Asked, Scaling, SignalState};
use crate::model::time::{Moment, Now, Span};

/// How a quota is asked.
pub(super) const POLL: Poll = Poll { interval: Span::secs(30), timeout: Span::secs(10), zeros: 1 };

/// What each quota says, and until when that is so if nothing is heard.
pub(super) fn all(quotas: &[Quota], scaling: &Scaling, now: Now) -> (Vec<Allowance>, Option<Moment>) {
    let told = quotas.iter().map(|quota| {
        let asked = scaling.quotas.get(&quota.name).cloned().unwrap_or_default();
        one(quota, asked, scaling.closed.contains(&quota.name), now)
    });
    let (all, until): (Vec<Allowance>, Vec<Option<Moment>>) = told.unzip();
    (all, until.into_iter().flatten().min())
}

fn one(quota: &Quota, asked: Asked, used_up: bool, now: Now) -> (Allowance, Option<Moment>) {
    let (reading, until) = readings::reading(&asked, POLL, false, now.mono);
    let (value, state) = match reading {
        Reading::Fresh(value) => (Some(value), SignalState::Fresh),
        Reading::Stale(value) => (Some(value), SignalState::Stale),
        Reading::Unknown => (None, SignalState::Unknown),
    };
    let says = words(quota, value, used_up);
    let (time, not_before) = (asked.good.map(|good| good.wall), asked.alone.filter(|at| *at > now.wall));
    let (error, failures) = (asked.error, asked.failures);
    (Allowance { quota: quota.name.clone(), value, state, time, error, failures, not_before, used_up, says }, until)
}

fn words(quota: &Quota, left: Option<f64>, used_up: bool) -> String {
    let (below, above) = (shown(quota.pause_below), shown(quota.resume_above));
    match left {
        None if used_up => "it was used up when it was read last: no worker is started".into(),
        None => "no worker is started until it is read".into(),
        Some(left) if !used_up => format!("{} is enough: work stops below {below}", shown(left)),
        Some(left) if left < quota.pause_below => format!("{} is below {below}: no worker is started", shown(left)),
        Some(left) => format!("{} is not above {above} yet: no worker is started", shown(left)),
    }
}

/// Why no worker may be started, if so: one that is used up is named before one of which nothing is known.
pub(super) fn gate(all: &[Allowance]) -> Option<String> {
    let held = all.iter().find(|one| one.used_up).or_else(|| all.iter().find(|one| !one.allows()))?;
    let name = &held.quota;
    Some(match (held.value, &held.error) {
        (Some(left), None) => format!("the quota {name} has {} left", shown(left)),
        (Some(left), Some(error)) => format!("the quota {name} had {} left when it was read last ({error})", shown(left)),
        (None, _) if held.used_up => format!("the quota {name} was used up when it was read last"),
        (None, None) => format!("the quota {name} was not read yet"),
        (None, Some(error)) => format!("the quota {name} cannot be read: {error}"),
    })
}
