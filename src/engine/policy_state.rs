//! What the engine keeps of a policy between its turns, and what of a turn waits for its transaction.
//!
//! What is done with it is in `policies`; only what the target used, and what is expected of it, is followed here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::decide::limits;
use crate::model::batch::Batch;
use crate::model::limits::LimitOutcome;
use crate::model::policy_plan::{PolicyFacts, PolicyPlan, StoredPolicy, Watching};
use crate::model::policy_status::ForecastStatus;
use crate::model::status::EventObject;
use crate::model::time::{Moment, Now, Span};
use crate::model::usage::Usage;
use crate::model::used::{Used, UsedWindow};

/// The least time from one forecast to the next. A little less than looks are usually apart, so that one that comes early has
/// its own.
const FORECAST_EVERY: Span = Span::secs(29);

/// One policy as the engine keeps it.
#[derive(Default)]
pub(super) struct Policy {
    pub(super) facts: Option<Arc<PolicyFacts>>,
    pub(super) stored: StoredPolicy,
    pub(super) watching: Watching,
    pub(super) look: Option<Result<Usage, String>>,
    pub(super) outcome: Option<LimitOutcome>,
    pub(super) reset: bool,
    /// What the target used in the last day.
    pub(super) used: UsedWindow,
    /// The last forecast; absent: nobody has looked yet.
    pub(super) forecast: Option<ForecastStatus>,
    /// When that was made; absent: it is of an older spec.
    pub(super) forecast_at: Option<Moment>,
    /// Rows that the store did not take yet.
    pub(super) pending: Batch,
    /// What is told when they are on disk.
    pub(super) owed: Vec<EventObject>,
}

impl Policy {
    /// Take in a look that was not yet decided on, and make a forecast if one is due: that one. Without a look nothing has changed.
    pub(super) fn look_ahead(&mut self, name: &str, now: Now) -> Option<&ForecastStatus> {
        let (facts, look) = self.facts.clone().zip(self.look.as_ref())?;
        if let Ok(look) = look {
            self.used.push(Used::of(&limits::measure::usage(self.watching.last.as_ref(), look, now)));
        }
        if self.forecast_at.is_some_and(|at| now.mono.since(at) < FORECAST_EVERY) {
            return None;
        }
        let expected = catch_unwind(AssertUnwindSafe(|| limits::expected(&facts.spec, &self.used, now.wall)));
        if expected.is_err() {
            tracing::error!(policy = name, "forecasting panicked; nothing is expected, all else goes on");
        }
        (self.forecast, self.forecast_at) = (expected.ok(), Some(now.mono));
        self.forecast.as_ref()
    }
}

/// A turn that waits for its transaction.
pub(super) struct PolicyTicket {
    pub(super) name: String,
    pub(super) plan: Box<PolicyPlan>,
    pub(super) batch: Batch,
    /// What is told when it is on disk.
    pub(super) tell: Vec<EventObject>,
}
