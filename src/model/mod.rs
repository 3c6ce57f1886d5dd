//! The nouns: plain data with serde and schemars, and nothing that acts.
//!
//! No clock, no files, no logging, and no import from another room. Everything here can be built in a test with a literal.

pub mod document;
pub mod meta;
pub mod plan;
pub mod policy;
pub mod pool;
pub mod quantity;
pub mod status;
pub mod time;
pub mod worker;
