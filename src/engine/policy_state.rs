//! What the engine keeps of a policy between its turns, and what of a turn waits for its transaction.
//!
//! Plain data; what is done with it is in `policies`.

use std::sync::Arc;

use crate::model::batch::Batch;
use crate::model::limits::LimitOutcome;
use crate::model::policy_plan::{PolicyFacts, PolicyPlan, StoredPolicy, Watching};
use crate::model::usage::Usage;

/// One policy as the engine keeps it.
#[derive(Default)]
pub(super) struct Policy {
    pub(super) facts: Option<Arc<PolicyFacts>>,
    pub(super) stored: StoredPolicy,
    pub(super) watching: Watching,
    pub(super) look: Option<Result<Usage, String>>,
    pub(super) outcome: Option<LimitOutcome>,
    pub(super) reset: bool,
    /// Rows that the store did not take yet.
    pub(super) pending: Batch,
}

/// A turn that waits for its transaction.
pub(super) struct PolicyTicket {
    pub(super) name: String,
    pub(super) plan: Box<PolicyPlan>,
    pub(super) batch: Batch,
}
