//! How many workers are wanted, and why.
//!
//! A fixed number today. Whatever raises or lowers the answer names itself, so that `status.lastScale` can say why.

use crate::model::plan::{Ending, PoolFacts};

/// The number wanted, with its reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Workers wanted.
    pub wanted: u32,
    /// Why this many.
    pub reason: String,
}

/// What the pool asks for.
pub fn demand(pool: &PoolFacts) -> Demand {
    match pool.ending {
        Some(Ending::Removed) => return Demand { wanted: 0, reason: format!("the pool is gone from {}", pool.source.file) },
        Some(Ending::Shutdown) => return Demand { wanted: 0, reason: "weir is shutting down".into() },
        None => {}
    }
    let wanted = pool.spec.fixed_replicas().unwrap_or(1);
    Demand { wanted, reason: format!("spec.replicas is {wanted}") }
}
