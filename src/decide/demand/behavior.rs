//! How fast the size may change: stabilization windows, policies and cooldown, as HorizontalPodAutoscaler v2 defines them.
//!
//! The controller of HPA looks at fixed intervals; here a wish counts from its moment until the next one, so the same answer
//! comes whenever it is asked. Reference for the arithmetic: the published algorithm, `kubernetes.io/docs/tasks/run-application/horizontal-pod-autoscale`.

use crate::model::scale::{Behavior, PolicyType, ScalePolicy, SelectPolicy};
use crate::model::scaling::{Change, Wish};
use crate::model::time::{Moment, Span};

/// A size that something else than the wish gave, until when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The size.
    pub size: u32,
    /// When the answer can become another by itself.
    pub until: Option<Moment>,
}

/// Remember the wish of now, and forget what no window reaches.
pub fn remember(wishes: &mut Vec<Wish>, size: u32, behavior: &Behavior, now: Moment) {
    if wishes.last().is_some_and(|last| last.since == now && last.size != size) {
        // The same moment looked at again: the later look counts.
        wishes.pop();
    }
    match wishes.last_mut() {
        // It was never another.
        Some(last) if last.size == size => last.until = None,
        Some(last) => {
            last.until = Some(now);
            forget_covered(wishes);
            wishes.push(Wish { since: now, until: None, size });
        }
        None => wishes.push(Wish { since: now, until: None, size }),
    }
    let window = behavior.scale_up.stabilization_window.max(behavior.scale_down.stabilization_window);
    wishes.retain(|wish| wish.until.is_none_or(|end| now.since(end) < window));
}

/// Forget wishes that ended before one at least as large and one at least as small did: no window can come to them. So their
/// number is bound by that of different sizes, however long a window is.
fn forget_covered(ended: &mut Vec<Wish>) {
    let mut range: Option<(u32, u32)> = None;
    let extreme = |wish: &Wish| {
        let (low, high) = range.unwrap_or((u32::MAX, u32::MIN));
        range = Some((low.min(wish.size), high.max(wish.size)));
        wish.size < low || wish.size > high
    };
    let mut kept: Vec<bool> = ended.iter().rev().map(extreme).collect();
    ended.retain(|_| kept.pop().unwrap_or(true));
}

/// The wish after the windows: up by the smallest wish of the window, down by the largest.
pub fn stabilize(wishes: &[Wish], behavior: &Behavior, current: u32, now: Moment) -> Held {
    let (up, up_until) = extreme(wishes, behavior.scale_up.stabilization_window, now, u32::min);
    let (down, down_until) = extreme(wishes, behavior.scale_down.stabilization_window, now, u32::max);
    if current < up {
        Held { size: up, until: up_until }
    } else if current > down {
        Held { size: down, until: down_until }
    } else {
        // Nothing changes now; it may when a wish leaves its window.
        let until = [up_until, down_until].into_iter().flatten().min();
        Held { size: current, until }
    }
}

/// The smallest or largest wish of a window, and when it leaves the window.
fn extreme(wishes: &[Wish], window: Span, now: Moment, pick: fn(u32, u32) -> u32) -> (u32, Option<Moment>) {
    let Some((last, before)) = wishes.split_last() else { return (0, None) };
    let ended = before.iter().filter_map(|wish| Some((wish.size, wish.until?)));
    let inside = ended.filter(|(_, end)| now.since(*end) < window);
    let size = inside.clone().map(|(size, _)| size).fold(last.size, pick);
    let holders = inside.filter(|(held, _)| *held == size && size != last.size);
    (size, holders.map(|(_, end)| end.after(window)).max())
}

/// The most that the policies allow upwards.
pub fn up_limit(behavior: &Behavior, changes: &[Change], current: u32, now: Moment) -> Held {
    let rules = &behavior.scale_up;
    let proposals = rules.policies.iter().map(|policy| {
        let (start, value) = (u64::from(period_start(policy, changes, current, now)), u64::from(policy.value));
        match policy.kind {
            PolicyType::Workers => start.saturating_add(value),
            PolicyType::Percent => start.saturating_mul(100 + value).div_ceil(100),
        }
    });
    // From zero the first worker is always allowed: a percentage of nothing would never start one.
    let least = current.max(u32::from(current == 0));
    let limit = match rules.select_policy {
        SelectPolicy::Disabled => return Held { size: current, until: None },
        SelectPolicy::Max => proposals.max(),
        SelectPolicy::Min => proposals.min(),
    };
    let size = limit.map_or(u32::MAX, |limit| whole(limit).max(least));
    Held { size, until: next_release(&rules.policies, changes, size != current, now) }
}

/// The least that the policies allow downwards.
pub fn down_limit(behavior: &Behavior, changes: &[Change], current: u32, now: Moment) -> Held {
    let rules = &behavior.scale_down;
    let proposals = rules.policies.iter().map(|policy| {
        let (start, value) = (u64::from(period_start(policy, changes, current, now)), u64::from(policy.value));
        match policy.kind {
            PolicyType::Workers => start.saturating_sub(value),
            PolicyType::Percent => start * 100u64.saturating_sub(value) / 100,
        }
    });
    let limit = match rules.select_policy {
        SelectPolicy::Disabled => return Held { size: current, until: None },
        // The policy that changes most proposes the smallest size.
        SelectPolicy::Max => proposals.min(),
        SelectPolicy::Min => proposals.max(),
    };
    let size = limit.map_or(0, |limit| whole(limit).min(current));
    Held { size, until: next_release(&rules.policies, changes, size != current, now) }
}

/// As a size; beyond every bound it is the largest. Percentages are counted in whole numbers: 110 % of 100 is 110, not 111.
fn whole(limit: u64) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

/// The size at the begin of a policy's period.
fn period_start(policy: &ScalePolicy, changes: &[Change], current: u32, now: Moment) -> u32 {
    let inside = changes.iter().filter(|change| now.since(change.at) < policy.period);
    let moved: i64 = inside.map(|change| i64::from(change.to) - i64::from(change.from)).sum();
    u32::try_from(i64::from(current) - moved).unwrap_or(0)
}

/// When a policy allows more again; the change that is made now counts too.
fn next_release(policies: &[ScalePolicy], changes: &[Change], changing: bool, now: Moment) -> Option<Moment> {
    let made = changes.iter().map(|change| change.at).chain(changing.then_some(now));
    let ends = made.flat_map(|at| policies.iter().map(move |policy| at.after(policy.period)));
    ends.filter(|end| *end > now).min()
}

/// When a cooldown ends that has not ended yet.
pub fn cooling(cooldown: Span, last: Option<Moment>, now: Moment) -> Option<Moment> {
    last.map(|at| at.after(cooldown)).filter(|end| *end > now)
}

/// Remember a change of size, and forget what no policy and no cooldown reaches.
pub fn changed(changes: &mut Vec<Change>, change: Change, behavior: &Behavior) {
    changes.push(change);
    let periods = behavior.scale_up.policies.iter().chain(&behavior.scale_down.policies).map(|policy| policy.period);
    let cooldowns = [behavior.scale_up.cooldown, behavior.scale_down.cooldown];
    let reach = periods.chain(cooldowns).max().unwrap_or_default();
    let last = changes.len() - 1;
    let old = changes.iter().take(last).take_while(|past| change.at.since(past.at) >= reach).count();
    changes.drain(..old);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::scale::{ScaleDown, ScaleUp};

    /// Windows of hours over readings of seconds: what is remembered stays small, and says the same as all of it would.
    #[test]
    fn what_is_remembered_of_wishes_is_little_and_enough() {
        let (up, down) = (Span::secs(900), Span::secs(3600));
        let behavior = Behavior {
            scale_up: ScaleUp { stabilization_window: up, ..ScaleUp::default() },
            scale_down: ScaleDown { stabilization_window: down, ..ScaleDown::default() },
        };
        let (mut wishes, mut all) = (Vec::new(), Vec::new());
        let mut noise = 7u64;
        for n in 0..20_000u64 {
            noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let size = ((noise >> 33) % 9 + n / 2000) as u32;
            // Now and then a moment is looked at twice.
            let now = Moment((1 << 30) + (n - n % 5 / 4) * 1000);
            remember(&mut wishes, size, &behavior, now);
            if all.last().is_some_and(|(since, _)| *since == now) {
                all.pop();
            }
            all.push((now, size));
            assert!(wishes.len() <= 40, "{} at {n}", wishes.len());
            for (window, pick) in [(up, u32::min as fn(u32, u32) -> u32), (down, u32::max)] {
                let reached = all.iter().zip(all.iter().skip(1)).filter(|(_, (end, _))| now.since(*end) < window);
                let size = reached.map(|((_, size), _)| *size).fold(size, pick);
                assert_eq!(extreme(&wishes, window, now, pick).0, size, "at {n}");
            }
            all.drain(..all.len().saturating_sub(4000));
        }
    }
}
