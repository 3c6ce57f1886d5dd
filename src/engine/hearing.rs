//! Since when workers can be heard without a gap.
//!
//! A daemon that was stopped, or a machine that was suspended, heard nothing of workers that were well, and what they said
//! meanwhile is read only afterwards. Nobody is judged by such a time. It is noticed by whoever comes first, a turn or a heartbeat: the
//! boot clock has gone ahead of the one that rests in a suspend, or the loop comes later than it would have by its own timer. A loop
//! that waits for nothing in particular is never late.

use std::sync::{Mutex, PoisonError};

use crate::edge::clock;
use crate::model::time::{Moment, Span};

/// Timers may be late by so much.
const LATE: Span = Span::secs(1);

/// Since when workers can be heard, as all that judge them share it.
#[derive(Debug)]
pub struct Hearing(Mutex<Heard>);

/// What is known of it.
#[derive(Clone, Copy, Debug)]
struct Heard {
    since: Moment,
    /// When the loop comes around at the latest.
    due: Option<Moment>,
    /// How long the machine was suspended until the last look.
    suspended: Span,
}

impl Hearing {
    /// From now on.
    pub fn begin() -> Hearing {
        Hearing(Mutex::new(Heard { since: clock::now().mono, due: None, suspended: clock::suspended() }))
    }

    /// Since when workers can be heard, as of now.
    pub fn since(&self) -> Moment {
        let (now, suspended) = (clock::now().mono, clock::suspended());
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *heard = heard.looked(now, suspended);
        heard.since
    }

    /// The loop is about to wait, and comes around then at the latest.
    pub fn wait_until(&self, due: Option<Moment>) {
        let now = clock::now().mono;
        let mut heard = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        heard.due = due.map(|due| due.max(now));
    }
}

impl Heard {
    /// As it is known after a look.
    fn looked(self, now: Moment, suspended: Span) -> Heard {
        let slept = suspended.0.saturating_sub(self.suspended.0) > LATE.0;
        let late = self.due.is_some_and(|due| now.since(due) > LATE);
        let since = if slept || late { now.max(self.since) } else { self.since };
        // What was read just before another's look is no news.
        Heard { since, suspended: suspended.max(self.suspended), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn waiting(due: Option<u64>) -> Heard {
        Heard { since: Moment(5), due: due.map(Moment), suspended: Span::secs(100) }
    }

    #[test]
    fn a_loop_that_comes_late_heard_nothing_meanwhile() {
        let since = |due, now| waiting(due).looked(Moment(now), Span::secs(100)).since;
        assert_eq!(since(Some(60_000), 60_900), Moment(5), "timers are never exact");
        assert_eq!(since(Some(60_000), 95_000), Moment(95_000), "it was stopped");
        assert_eq!(since(Some(60_000), 20_000), Moment(5), "something came before");
        assert_eq!(since(None, 9_000_000), Moment(5), "it waited for nothing");
    }

    #[test]
    fn a_machine_that_was_suspended_heard_nothing_meanwhile() {
        let since = |suspended| waiting(Some(60_000)).looked(Moment(50_000), suspended).since;
        assert_eq!(since(Span::secs(190)), Moment(50_000));
        assert_eq!(since(Span(100_900)), Moment(5), "the clocks are not read at the same time");
        let once = waiting(None).looked(Moment(50_000), Span::secs(190));
        assert_eq!(once.looked(Moment(70_000), Span::secs(190)).since, Moment(50_000), "each suspend counts once");
        assert_eq!(once.looked(Moment(49_000), Span::secs(100)).looked(Moment(71_000), Span::secs(190)).since, Moment(50_000));
    }
}
