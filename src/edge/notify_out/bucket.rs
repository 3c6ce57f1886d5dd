//! How many messages one receiver is sent: a token bucket, with the time as an argument.
//!
//! A crash loop of a hundred workers is one thing to tell, not thousands.

use crate::model::time::{Moment, Span};

/// Tokens that come back with time, up to a number.
#[derive(Debug)]
pub struct Bucket {
    most: u64,
    every: Span,
    /// When the bucket will be, or was, full again.
    full: Moment,
}

impl Bucket {
    /// Full: so many at once, then one each time this has passed.
    pub fn new(most: u64, every: Span) -> Bucket {
        Bucket { most, every, full: Moment(0) }
    }

    /// Take one, if there is one.
    pub fn take(&mut self, now: Moment) -> bool {
        let missing = self.full.since(now).0.div_ceil(self.every.0.max(1));
        if missing >= self.most {
            return false;
        }
        self.full = Moment(self.full.0.max(now.0)).after(self.every);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_at_once_and_then_one_at_a_time() {
        let mut bucket = Bucket::new(3, Span::secs(2));
        let mut taken = |at| bucket.take(Moment(at));
        assert_eq!([taken(1000), taken(1000), taken(1000), taken(1000)], [true, true, true, false]);
        assert_eq!([taken(2999), taken(3000), taken(3000)], [false, true, false]);
        assert_eq!([taken(9000), taken(9000), taken(9001), taken(9002)], [true, true, true, false]);
        // The clock does not go back, but if it did, nothing would be given away.
        assert!(!taken(0));
    }

    #[test]
    fn never_more_than_the_rate_over_any_time() {
        let mut bucket = Bucket::new(20, Span::secs(2));
        let taken = (0..600_000u64).filter(|at| bucket.take(Moment(1 + at))).count();
        assert_eq!(taken, 20 + 299);
    }
}
