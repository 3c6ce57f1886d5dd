//! What a document said at one time.
//! Plain data; numbers are generations of the object.

use super::time::Wall;

/// What a document said while its object had this generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// The generation.
    pub number: u64,
    /// When the text was kept.
    pub time: Wall,
    /// The author's text of the document.
    pub text: String,
}
