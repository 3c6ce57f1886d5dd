//! Whether the store takes nothing now, and whether that is told: a disk may be full now and then only.
//! Plain state; what is told and kept of it is elsewhere.

use crate::model::status::EventObject;
use crate::model::time::{Moment, Span};

/// That the store takes nothing is not told again before this time has gone by.
const TROUBLE_AGAIN: Span = Span::secs(60);

/// The store takes nothing, or did not lately.
#[derive(Debug, Default)]
pub(super) struct Trouble {
    on: bool,
    /// This one was told of, and not only the one before.
    fresh: bool,
    pub(super) told: Option<(Moment, EventObject)>,
}

impl Trouble {
    pub(super) fn is_now(&self) -> bool {
        self.on
    }

    /// The event that was told of it, where that was a moment ago.
    pub(super) fn begins(&mut self, now: Moment) -> Option<EventObject> {
        let lately = self.told.as_ref().filter(|(at, _)| now.since(*at) < TROUBLE_AGAIN).map(|(_, event)| event.clone());
        (self.on, self.fresh) = (true, lately.is_none());
        lately
    }

    /// Says whether that is to be told.
    pub(super) fn ends(&mut self) -> bool {
        self.on = false;
        self.fresh
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_that_is_full_now_and_then_is_told_of_now_and_then() {
        let mut trouble = Trouble::default();
        let mut told = Vec::new();
        for second in 0..180 {
            let now = Moment(second * 1000);
            if trouble.begins(now).is_none() {
                trouble.told = Some((now, EventObject::default()));
                told.push(("begins", second));
            }
            assert!(trouble.is_now());
            if trouble.ends() {
                told.push(("ends", second));
            }
        }
        assert_eq!(told, [("begins", 0), ("ends", 0), ("begins", 60), ("ends", 60), ("begins", 120), ("ends", 120)]);
    }
}
