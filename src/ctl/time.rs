//! The one place in the client that looks at the clock.
//!
//! What is made of a time is elsewhere.

pub use crate::serve::wire::age::{age, age_of};

use crate::model::time::Wall;

/// The wall clock now.
#[expect(clippy::disallowed_methods, reason = "the client's one door to the clock")]
pub fn now() -> Wall {
    Wall(jiff::Timestamp::now().as_millisecond())
}
