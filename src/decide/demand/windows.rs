//! The bounds that the clock gives: within the windows of a scaled pool's schedules its least and its most are others.
//!
//! Pure: the time is given, and the answer says when the clock changes it.

use crate::model::cron::Window;
use crate::model::scale::{Scale, ScaleSchedule};
use crate::model::time::{Moment, Now, Span, Wall};

/// A bound of now, and the window that sets it, in words; no words: it is the document's own.
pub(super) struct Bound {
    pub(super) size: u32,
    pub(super) by: String,
}

/// The bounds of now, and when the clock changes them. Where windows overlap, the largest floor and the largest ceiling count;
/// a floor above the ceiling is the ceiling.
pub(super) fn bounds(scale: &Scale, now: Now) -> (Bound, Bound, Option<Moment>) {
    let (mut active, mut until): (Vec<&ScaleSchedule>, Option<Moment>) = (Vec::new(), None);
    for schedule in &scale.schedules {
        let Ok(window) = Window::new(&schedule.cron, schedule.time_zone.as_deref(), schedule.duration) else { continue };
        let inside = window.at(now.wall);
        until = until.into_iter().chain(moment(inside.until, now)).min();
        active.extend(Some(schedule).filter(|_| inside.active));
    }
    let largest = |own: u32, set: fn(&ScaleSchedule) -> Option<u32>| {
        let all = active.iter().map(|schedule| (set(schedule).unwrap_or(own), set(schedule).map(|_| schedule.cron.as_str())));
        let (size, cron) = all.max_by_key(|(size, _)| *size).unwrap_or((own, None));
        Bound { size, by: cron.map_or_else(String::new, |cron| format!(", in the window of schedule \"{cron}\"")) }
    };
    let (min, max) = (largest(scale.min_replicas, |s| s.min_replicas), largest(scale.max_replicas, |s| s.max_replicas));
    (Bound { size: min.size.min(max.size), ..min }, max, until)
}

/// The moment of a time to come.
pub(super) fn moment(wall: Wall, now: Now) -> Option<Moment> {
    u64::try_from(wall.0.checked_sub(now.wall.0)?).ok().map(|ahead| now.mono.after(Span(ahead)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_of_a_window_names_it_and_the_largest_counts() {
        let window = |cron: &str, min, max| ScaleSchedule {
            cron: cron.into(),
            time_zone: None,
            duration: Span::secs(3600),
            min_replicas: min,
            max_replicas: max,
        };
        let now = Now { mono: Moment(1_000_000), wall: Wall(1_700_000_000_000) };
        let at = |schedules: Vec<ScaleSchedule>| {
            let scale = Scale { min_replicas: 1, max_replicas: 5, schedules, ..Scale::default() };
            let (min, max, _) = bounds(&scale, now);
            [(min.size, min.by), (max.size, max.by)]
        };
        let own = |size| (size, String::new());
        let by = |size, cron: &str| (size, format!(", in the window of schedule \"{cron}\""));
        let (always, never) = ("* * * * *", "0 0 1 1 *");
        assert_eq!(at(vec![]), [own(1), own(5)]);
        assert_eq!(at(vec![window(never, Some(3), Some(3))]), [own(1), own(5)]);
        assert_eq!(at(vec![window(always, Some(3), None)]), [by(3, always), own(5)]);
        assert_eq!(at(vec![window(always, None, Some(3))]), [own(1), by(3, always)], "a lower ceiling too");
        let both = vec![window(always, Some(2), Some(4)), window("*/1 * * * *", Some(3), None)];
        assert_eq!(at(both), [by(3, "*/1 * * * *"), own(5)], "the larger ones, and a window that leaves one as it is");
        assert_eq!(at(vec![window(always, Some(9), Some(4))]), [by(4, always), by(4, always)]);
    }
}
