//! What of the machine is kept from all policies, and what the others have been given: one sum for whoever asks.
//!
//! The daemon asks before each change, `weir plan` for a change that is not made yet. Nothing here decides how much anybody gets.

use super::step::about;
use crate::model::policy::{Amounts, Mode, Resource};
use crate::model::policy_plan::{PolicyFacts, StoredPolicy};

/// A policy with what is kept of it.
pub type Policy<'a> = (&'a PolicyFacts, &'a StoredPolicy);

/// Whether a policy sets limits, as far as its document goes.
pub fn at_work(facts: &PolicyFacts) -> bool {
    !facts.removed && facts.rival.is_none() && !facts.poolless
}

/// The most that any of these policies keeps for the host.
pub fn kept_for_host<'a>(all: impl Iterator<Item = Policy<'a>>) -> Amounts {
    let most = |all: Amounts, facts: &PolicyFacts| {
        Resource::EACH.into_iter().fold(all, |all, of| all.with(of, all.of(of).max(facts.spec.reserve.of(of))))
    };
    all.filter(|(facts, _)| at_work(facts)).fold(Amounts::default(), |all, (facts, _)| most(all, facts))
}

/// What all of these policies but this one have been given, or are about to be.
pub fn given_to_others<'a>(all: impl Iterator<Item = Policy<'a>>, name: &str) -> Amounts {
    let mut sum = Amounts::default();
    for (facts, stored) in all.filter(|(facts, _)| counts(facts, name)) {
        for of in about(&facts.spec) {
            let coming = stored.pending.as_ref().and_then(|change| change.new.of(of));
            let given = coming.max(stored.status.limits.of(of)).unwrap_or(0);
            sum = sum.with(of, Some(sum.of(of).unwrap_or(0).saturating_add(given)));
        }
    }
    sum
}

/// Whether what a policy gives is not there for the one of this name.
pub fn counts(facts: &PolicyFacts, name: &str) -> bool {
    at_work(facts) && facts.name != name && facts.spec.mode != Mode::Disabled
}
