//! Recurring tasks: when the next one is due, and which number it has.
//!
//! What is missed while no daemon ran comes once, not as often as it was missed: a pulse is not made up for by a flood. Each one
//! has an idempotency key with its schedule and time, so that no restart makes it twice.

use crate::model::cron::Cron;
use crate::model::line::Fired;
use crate::model::queue::TaskSchedule;
use crate::model::task::NewTask;
use crate::model::time::{Span, Wall};

/// When it comes next, and never again where its number is full.
pub fn next(schedule: &TaskSchedule, fired: &Fired) -> Option<Wall> {
    if schedule.count.is_some_and(|count| fired.count >= count) {
        return None;
    }
    match (&schedule.cron, schedule.every) {
        (Some(text), _) => Cron::new(text, schedule.time_zone.as_deref()).ok()?.next(fired.last),
        // The first one at once: whoever starts it wants to see it.
        (None, Some(_)) if fired.count == 0 => Some(fired.last),
        (None, Some(every)) => Some(super::later(fired.last, every.max(Span(1)))),
        (None, None) => None,
    }
}

/// What is remembered after it came at `due`, seen at `wall`. An interval goes on from its own beat, where that was not missed.
pub fn fired(schedule: &TaskSchedule, before: &Fired, due: Wall, wall: Wall) -> Fired {
    let missed = schedule.every.is_some_and(|every| wall.0.saturating_sub(due.0) >= i64::try_from(every.0).unwrap_or(i64::MAX));
    let last = if missed || schedule.cron.is_some() { wall } else { due };
    Fired { last, count: before.count.saturating_add(1), beat: beat(schedule) }
}

/// The beat of a schedule in words: what was remembered of another one is not of this.
pub fn beat(schedule: &TaskSchedule) -> String {
    match (&schedule.cron, schedule.every) {
        (Some(cron), _) => format!("{cron} {}", schedule.time_zone.as_deref().unwrap_or("UTC")),
        (None, every) => every.unwrap_or_default().to_string(),
    }
}

/// What is remembered of a schedule that is seen for the first time, or with another beat than before.
pub fn seen(schedule: &TaskSchedule, wall: Wall) -> Fired {
    Fired { last: wall, count: 0, beat: beat(schedule) }
}

/// What was remembered is of this schedule as it is now.
pub fn is_of(schedule: &TaskSchedule, fired: &Fired) -> bool {
    fired.beat.is_empty() || fired.beat == beat(schedule)
}

/// The task that is due.
pub fn task(schedule: &TaskSchedule, due: Wall) -> NewTask {
    NewTask {
        payload: serde_json::Value::Object(schedule.payload.clone()),
        priority: schedule.priority,
        idempotency_key: Some(format!("schedule/{}/{}", schedule.name, due.0)),
        source: format!("schedule/{}", schedule.name),
        ..NewTask::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(seconds: u64, count: Option<u32>) -> TaskSchedule {
        TaskSchedule { name: "p".into(), every: Some(Span::secs(seconds)), count, ..TaskSchedule::default() }
    }

    #[test]
    fn a_pulse_keeps_its_beat_ends_with_its_number_and_makes_up_for_nothing() {
        let schedule = every(30, Some(3));
        let mut fired_at = Vec::new();
        let mut state = seen(&schedule, Wall(1000));
        while let Some(due) = next(&schedule, &state) {
            fired_at.push(due.0);
            state = fired(&schedule, &state, due, Wall(due.0 + 7));
        }
        assert_eq!(fired_at, [1000, 31_000, 61_000]);
        let before = Fired { count: 5, ..seen(&schedule, Wall(0)) };
        let late = fired(&every(30, None), &before, Wall(30_000), Wall(500_000));
        assert_eq!(next(&every(30, None), &late), Some(Wall(530_000)), "one for all that were missed");
    }

    #[test]
    fn a_clock_goes_on_from_when_it_was_seen() {
        let schedule = TaskSchedule { cron: Some("0 3 * * *".into()), ..TaskSchedule::default() };
        let day = 86_400_000;
        let state = seen(&schedule, Wall(0));
        assert_eq!(next(&schedule, &state), Some(Wall(3 * 3_600_000)));
        let state = fired(&schedule, &state, Wall(3 * 3_600_000), Wall(5 * day));
        assert_eq!(next(&schedule, &state), Some(Wall(5 * day + 3 * 3_600_000)));
        assert_eq!(task(&schedule, Wall(7)).idempotency_key.as_deref(), Some("schedule//7"));
    }
}
