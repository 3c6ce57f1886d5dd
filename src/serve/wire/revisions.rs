//! What goes over the wire about what a pool's document said before.
//! Texts are the author's own, byte for byte.

use serde::{Deserialize, Serialize};

use crate::model::time::Wall;

/// The `revisions` subresource of a pool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionList {
    /// `RevisionList`
    pub kind: String,
    /// The oldest first; the last ones are kept.
    pub items: Vec<RevisionView>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RevisionView {
    /// The pool's generation then.
    pub revision: u64,
    /// When it was accepted, or the text last changed without changing the spec.
    pub time: Wall,
    /// The whole text.
    pub text: String,
}
