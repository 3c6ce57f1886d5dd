//! How fast tools may be called: a bucket that fills with time.
//!
//! A client that loops is told to wait; it is not queued, because what waits would be answered when nobody asks any more.

use std::sync::Mutex;

use crate::model::time::Wall;

/// Calls that may come at once.
const BURST: u64 = 50;
/// One more call each so many milliseconds.
const REFILL_MS: u64 = 100;

/// A bucket of calls.
#[derive(Debug, Default)]
pub struct Pace {
    /// When the bucket is full again, in milliseconds of the wall clock. A clock that is set back costs one burst at most.
    full_at: Mutex<u64>,
}

impl Pace {
    /// Take one call.
    ///
    /// # Errors
    /// The bucket is empty; the words say when to come again.
    pub fn take(&self, now: Wall) -> Result<(), String> {
        let now = u64::try_from(now.0).unwrap_or(0);
        let mut full_at = self.full_at.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let owed = full_at.saturating_sub(now).min(BURST * REFILL_MS);
        *full_at = now + owed;
        if owed > (BURST - 1) * REFILL_MS {
            return Err(format!(
                "too many calls: {BURST} at once and {} each second are answered; wait a second",
                1000 / REFILL_MS
            ));
        }
        *full_at += REFILL_MS;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_answered_and_then_ten_each_second() {
        let pace = Pace::default();
        let taken = |at: i64| (0..1000).filter(|_| pace.take(Wall(at)).is_ok()).count();
        assert_eq!(taken(1_000_000), 50);
        assert_eq!(taken(1_000_000), 0);
        assert_eq!(taken(1_001_000), 10);
        assert!(pace.take(Wall(1_001_000)).unwrap_err().contains("wait"));
        assert_eq!(taken(2_000_000), 50);
        // Set back by an hour: the next calls wait for a burst's time, not for an hour.
        let back = 2_000_000 - 3_600_000 + 10_000_000;
        let pace = Pace::default();
        assert_eq!(pace.take(Wall(back + 3_600_000)), Ok(()));
        assert!(pace.take(Wall(back)).is_err());
        assert_eq!(pace.take(Wall(back + 100)), Ok(()));
    }
}
