//! The nouns: plain data with serde and schemars, and nothing that acts.
//!
//! No clock, no files, no logging, and no import from another room. Everything here can be built in a test with a literal.

pub mod batch;
pub mod catalogue;
pub mod cgroup;
pub mod cron;
pub mod document;
pub mod exact;
pub mod expansion;
pub mod explain;
pub mod forecast;
pub mod hook;
pub mod host;
mod kept;
pub mod limits;
pub mod line;
pub mod listing;
pub mod meta;
pub mod metered;
pub mod object;
pub mod payload;
pub mod plan;
pub mod policy;
pub mod policy_plan;
pub mod policy_status;
pub mod pool;
pub mod processes;
pub mod quantity;
pub mod queue;
pub mod queue_work;
pub mod reading;
pub mod reason;
pub mod revision;
pub mod scale;
pub mod scaling;
pub mod selector;
pub mod source;
pub mod status;
pub mod task;
pub mod template;
pub mod text;
pub mod time;
pub mod usage;
pub mod used;
pub mod worker;
pub mod workload;
