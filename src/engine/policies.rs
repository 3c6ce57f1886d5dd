//! One policy's turn: observe, decide, commit, order, publish.
//!
//! The rows are committed first, with what is about to be ordered among them, and only then is anything changed: a daemon that
//! dies in between finds its own intent. A policy whose document is gone leaves the limits as they are. Nothing here knows how
//! limits are set.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::commits::newest;
use super::controller::{COMMIT_RETRY, Engine, Key};
use super::event_object::event_object;
use super::handle::Denied;
use super::host::Host;
use super::policy_state::{Policy, PolicyTicket};
use crate::decide::limits::budget;
use crate::decide::{joint, limits};
use crate::model::batch::Batch;
use crate::model::catalogue::ObjectKey;
use crate::model::host::{Budget, Expected, Rung, Squeeze};
use crate::model::limits::LimitOutcome;
use crate::model::plan::{Happening, populated, running};
use crate::model::policy::{Amounts, Mode, Resource, Target};
use crate::model::policy_plan::{PolicyFacts, PolicyObservation, PolicyPlan, PoolSize, StoredPolicy};
use crate::model::policy_status::PolicyObject;
use crate::model::quantity::Memory;
use crate::model::reading::{Failure, Number};
use crate::model::scaling::Asker;
use crate::model::source::Source;
use crate::model::status::{API_VERSION, EventObject, EventType, Kind, Meta, Object};
use crate::model::time::{Now, Span};
use crate::model::usage::Usage;
use crate::model::used::UsedWindow;

/// A policy whose turn panicked is looked at again after this long.
const PANIC_RETRY: Span = Span::secs(10);

/// Whose a question of a policy is, where pools are named too: no pool's name has a slash.
pub(super) fn asker(policy: &str) -> String {
    format!("policy/{policy}")
}

impl<H: Host> Engine<H> {
    /// What the store holds of policies.
    pub(super) fn restore_policies(&mut self, stored: Vec<(String, StoredPolicy)>, used: Vec<(String, UsedWindow)>) {
        for (name, stored) in stored {
            self.policies.entry(name).or_default().stored = stored;
        }
        for (name, used) in used {
            self.policies.entry(name).or_default().used = used;
        }
    }

    /// Hand the catalogue to the policies: facts that changed queue their policy.
    pub(super) fn spread_policies(&mut self, now: Now) {
        let created = |name: &str| self.policies.get(name).map(|policy| policy.stored.created).filter(|at| at.0 > 0);
        let mut all = super::catalogue::policies(&self.admission.catalogue);
        super::catalogue::rivals(&mut all, |name| created(name).unwrap_or(now.wall));
        let (before, mut changed) = (self.target_pools(), false);
        for (name, facts) in all {
            let policy = self.policies.entry(name.clone()).or_default();
            if policy.stored.uid.is_empty() {
                let uid = self.host.uid();
                policy.stored = StoredPolicy { uid, created: now.wall, ..StoredPolicy::default() };
            }
            if policy.facts.as_deref() != Some(&facts) {
                policy.facts = Some(Arc::new(facts));
                policy.forecast_at = None;
                changed = true;
                self.queue.add(Key::Policy(name), now.mono);
            }
        }
        if changed {
            // What its policy may give is part of a pool's size, also for one that was its target until now.
            self.hint_pools(before, now);
        }
    }

    pub(super) fn queue_policies(&mut self, now: Now) {
        let names: Vec<String> = self.policies.keys().cloned().collect();
        names.into_iter().for_each(|name| self.queue.add(Key::Policy(name), now.mono));
    }

    pub(super) fn measured(&mut self, name: String, target: &Target, usage: Result<Usage, String>, now: Now) {
        let Some(policy) = self.policies.get_mut(&name) else { return };
        // By now it may have another target: then this look says nothing of it.
        if policy.facts.as_ref().is_some_and(|facts| facts.spec.target == *target) {
            policy.look = Some(usage);
        }
        policy.watching.looking = None;
        self.queue.add(Key::Policy(name), now.mono);
    }

    pub(super) fn limited(&mut self, name: String, outcome: LimitOutcome, now: Now) {
        if let Some(policy) = self.policies.get_mut(&name) {
            policy.outcome = Some(outcome);
            self.queue.add(Key::Policy(name), now.mono);
        }
    }

    pub(super) fn gauged(&mut self, name: &str, (gauge, source): (&str, &Source), answer: Result<Number, Failure>, now: Now) {
        let Some(policy) = self.policies.get_mut(name) else { return };
        let Some(facts) = policy.facts.clone() else { return };
        limits::answered(&facts, &mut policy.watching, (gauge, source), answer, now);
        self.queue.add(Key::Policy(name.to_owned()), now.mono);
    }

    /// A person lets a failed policy go on.
    pub(super) fn reset_policy(&mut self, name: &str, now: Now) -> Result<(), Denied> {
        let Some(policy) = self.policies.get_mut(name).filter(|policy| policy.facts.is_some()) else {
            return Err(Denied::NotFound { kind: Kind::Policy.plural(), name: name.into(), hint: String::new() });
        };
        if policy.stored.failed.is_none() {
            return Err(Denied::Conflict(format!("policy {name} has not failed: there is nothing to reset")));
        }
        policy.reset = true;
        self.queue.add(Key::Policy(name.to_owned()), now.mono);
        Ok(())
    }

    pub(super) fn policy_turn(&mut self, name: &str, now: Now) {
        let key = Key::Policy(name.to_owned());
        let Some((facts, plan)) = self.plan_policy(name, now) else {
            self.queue.done(&key);
            return;
        };
        if let Some(at) = plan.wake {
            self.queue.add(key.clone(), at);
        }
        if plan.look {
            self.host.measure(name, &facts.spec.target);
        }
        self.ask_gauges(name, &facts, &plan);
        let (mut batch, tell) = self.policy_batch(name, &facts, &plan, now);
        if batch.is_empty() {
            self.queue.done(&key);
            self.publish_policy(name);
            return;
        }
        batch.catalogue = self.undurable();
        self.last_ticket += 1;
        let ticket = PolicyTicket { name: name.to_owned(), plan: Box::new(plan), batch: batch.clone(), tell };
        self.policy_tickets.insert(self.last_ticket, ticket);
        self.host.commit(self.last_ticket, batch);
    }

    fn plan_policy(&mut self, name: &str, now: Now) -> Option<(Arc<PolicyFacts>, PolicyPlan)> {
        if !self.may_decide() || self.is_draining() {
            return None;
        }
        if let Some(forecast) = self.policies.get_mut(name).and_then(|policy| policy.look_ahead(name, now)) {
            self.host.foresee(name, forecast);
        }
        let policy = self.policies.get(name)?;
        let facts = policy.facts.clone()?;
        let unable = self.host.limits_unable(&facts.spec.target);
        let observation = PolicyObservation {
            policy: &facts,
            stored: &policy.stored,
            watching: &policy.watching,
            look: policy.look.as_ref(),
            outcome: policy.outcome.as_ref(),
            reset: policy.reset,
            unable: unable.as_deref(),
            capacity: self.host.host_capacity(),
            reserve: self.kept_for_host(),
            others: self.given_to_others(name),
            pool_idle: facts.spec.target.pool.as_deref().and_then(|pool| self.pool_idle(pool)),
            size: facts.spec.target.pool.as_deref().and_then(|pool| self.size(pool, policy)),
            forecast: policy.forecast.as_ref(),
        };
        let planned = catch_unwind(AssertUnwindSafe(|| limits::policy(&observation, now)));
        let policy = self.policies.get_mut(name)?;
        (policy.look, policy.outcome, policy.reset) = (None, None, false);
        if let Ok(plan) = &planned {
            policy.used.since(plan.stored.since);
        }
        if planned.is_err() {
            tracing::error!(policy = name, "deciding panicked; the limits are left as they are, all else goes on");
            self.queue.add(Key::Policy(name.to_owned()), now.mono.after(PANIC_RETRY));
        }
        planned.ok().map(|plan| (facts, plan))
    }

    /// Policies with what is kept of them.
    fn with_facts(&self) -> impl Iterator<Item = budget::Policy<'_>> {
        self.policies.values().filter_map(|policy| Some((policy.facts.as_deref()?, &policy.stored)))
    }

    /// Policies that set limits, with what is kept of them.
    fn at_work(&self) -> impl Iterator<Item = (&String, &PolicyFacts, &StoredPolicy)> {
        self.with_facts().filter(|(facts, _)| budget::at_work(facts)).map(|(facts, stored)| (&facts.name, facts, stored))
    }

    /// The most that any policy keeps for the host.
    fn kept_for_host(&self) -> Amounts {
        budget::kept_for_host(self.with_facts())
    }

    /// What all other policies have been given, or are about to be.
    fn given_to_others(&self, name: &str) -> Amounts {
        budget::given_to_others(self.with_facts(), name)
    }

    /// The size of a pool that follows something.
    fn size(&self, name: &str, policy: &Policy) -> Option<PoolSize> {
        let pool = self.pools.get(name)?;
        pool.facts.as_ref()?.spec.scale.as_ref()?;
        let (wanted, running) = (pool.stored.status.desired_replicas, running(&pool.slots));
        Some(PoolSize { wanted, running, each: self.each(name, policy)?.memory })
    }

    /// What a worker of a pool takes.
    fn each(&self, name: &str, policy: &Policy) -> Option<Expected> {
        let looked = policy.look.as_ref().and_then(|look| look.as_ref().ok()).or(policy.watching.last.as_ref());
        let used = looked.and_then(|look| look.working.clone().ok());
        Some(joint::each(self.expected(name), used, populated(&self.pools.get(name)?.slots)))
    }

    /// The memory that the policy on this pool may give it. One that does not move limits gives what it gave.
    pub(super) fn budget(&self, pool: &str) -> Option<Budget> {
        let on = |facts: &PolicyFacts| facts.spec.target.pool.as_deref() == Some(pool) && facts.spec.mode != Mode::Disabled;
        let (name, facts, stored) = self.at_work().find(|(_, facts, _)| on(facts))?;
        let about_memory = limits::about(&facts.spec).contains(&Resource::Memory);
        if !about_memory || self.host.limits_unable(&facts.spec.target).is_some() {
            return None;
        }
        let held = stored.status.limits.memory;
        let moves = facts.spec.mode == Mode::Enabled && stored.failed.is_none();
        let bound = facts.spec.bounds.max.memory.filter(|_| moves).map(|most| (most, "its bound"));
        let left =
            self.left_by_host(name).filter(|_| moves).map(|left| (left.max(held.unwrap_or_default()), "what the host has left"));
        let still = held.filter(|_| !moves).map(|held| (held, "its limit now"));
        let (memory, whose) = bound.into_iter().chain(left).chain(still).min_by_key(|(memory, _)| *memory)?;
        let each = self.each(pool, self.policies.get(name)?)?;
        Some(Budget { policy: name.clone(), memory, each, whose: whose.into() })
    }

    /// How the policy on this pool holds it back, because memory is short and no more can be given.
    pub(super) fn squeeze(&self, pool: &str) -> Option<Squeeze> {
        let on = |facts: &PolicyFacts| facts.spec.target.pool.as_deref() == Some(pool) && facts.spec.mode != Mode::Disabled;
        let (name, facts, stored) = self.at_work().find(|(_, facts, _)| on(facts))?;
        // Until its policy had a turn with a target that was edited, what is kept was seen of another one.
        let seen = stored.status.target == facts.target;
        // Who can never look would hold it back for ever.
        let looks = self.host.limits_unable(&facts.spec.target).is_none();
        limits::squeeze(name, &stored.shortage).filter(|_| seen && looks)
    }

    /// Every pool that a policy has as its target.
    fn target_pools(&self) -> BTreeSet<String> {
        let targets = self.policies.values().filter_map(|policy| policy.facts.as_ref()?.spec.target.pool.as_ref());
        targets.filter(|pool| self.pools.contains_key(*pool)).cloned().collect()
    }

    /// Look at these pools and at every one that a policy has as its target: what one policy is given is not there for the others.
    fn hint_pools(&mut self, mut pools: BTreeSet<String>, now: Now) {
        pools.extend(self.target_pools());
        pools.into_iter().for_each(|pool| self.queue.add(Key::Pool(pool), now.mono));
    }

    /// The memory that this policy may give, where a reserve is to be kept.
    fn left_by_host(&self, name: &str) -> Option<Memory> {
        let reserve = self.kept_for_host().memory?;
        let (all, others) = (self.host.host_capacity().memory.unwrap_or_default(), self.given_to_others(name).memory);
        Some(Memory(all.0.saturating_sub(reserve.0).saturating_sub(others.unwrap_or_default().0)))
    }

    /// No worker is busy and nothing waits; absent: nobody knows the pool.
    fn pool_idle(&self, name: &str) -> Option<bool> {
        let pool = self.pools.get(name).filter(|pool| pool.facts.is_some())?;
        let waits = self.counts.get(name).is_some_and(|counts| counts.backlog() > 0);
        Some(pool.stored.status.busy_replicas == 0 && !waits)
    }

    fn ask_gauges(&mut self, name: &str, facts: &PolicyFacts, plan: &PolicyPlan) {
        let own = facts.spec.target.pool.as_deref().unwrap_or_default();
        for question in &plan.questions {
            match self.known(own, question) {
                Some(answer) => self.questions_answered.push((asker(name), question.clone(), answer)),
                None => self.host.ask(&asker(name), question),
            }
        }
    }

    /// The rows of a plan, and what is told when they are on disk.
    fn policy_batch(&mut self, name: &str, facts: &PolicyFacts, plan: &PolicyPlan, now: Now) -> (Batch, Vec<EventObject>) {
        let mut events: Vec<EventObject> = Vec::new();
        for happening in &plan.happenings {
            events.push(self.policy_event(name, happening, now));
        }
        let gone = over(facts, plan);
        let released = self.policies.get(name).is_some_and(|policy| policy.pending.policies.iter().any(|(_, row)| row.is_none()));
        if gone && !released {
            let note = format!("the limits of {} stay as they are: {}", facts.target, plan.stored.status.limits);
            let happening = Happening { severity: EventType::Normal, reason: "Released", worker: None, incarnation: None, note };
            events.push(self.policy_event(name, &happening, now));
        }
        let Some(policy) = self.policies.get_mut(name) else { return Default::default() };
        let (mut batch, mut tell) = (std::mem::take(&mut policy.pending), std::mem::take(&mut policy.owed));
        tell.extend(events.iter().cloned());
        batch.events.extend(events);
        batch.changes.extend(plan.history.iter().map(|row| (name.to_owned(), row.clone())));
        batch.samples.extend(plan.sample.iter().map(|sample| (name.to_owned(), sample.clone())));
        if policy.stored != plan.stored || gone || !batch.policies.is_empty() {
            batch.policies = vec![(name.to_owned(), (!gone).then(|| plan.stored.clone()))];
        }
        let concerns = concerns(&policy.stored) != concerns(&plan.stored);
        (policy.stored, policy.watching) = (plan.stored.clone(), plan.watching.clone());
        if concerns {
            self.hint_pools(BTreeSet::new(), now);
        }
        (batch, tell)
    }

    fn policy_event(&mut self, name: &str, happening: &Happening, now: Now) -> EventObject {
        self.event_serial += 1;
        event_object(format!("{name}.{:x}", self.event_serial), asker(name), happening, now)
    }

    /// The store has answered. What it did not take is not done.
    pub(super) fn policy_committed(&mut self, ticket: PolicyTicket, result: Result<(), String>, now: Now) {
        let PolicyTicket { name, plan, mut batch, mut tell } = ticket;
        let key = Key::Policy(name.clone());
        self.queue.done(&key);
        match result {
            Ok(()) => {
                if let Some(catalogue) = &batch.catalogue {
                    self.durable.clone_from(catalogue);
                }
                for event in tell {
                    self.host.tell(&event);
                    self.show(event);
                }
                if let Some(order) = plan.order {
                    self.host.limit(&name, order);
                }
                self.publish_policy(&name);
                let finished = batch.policies.iter().any(|(_, row)| row.is_none());
                if finished {
                    self.forget_policy(&name);
                }
            }
            Err(error) => {
                tracing::warn!(policy = name, %error, "the store did not take the plan; nothing of it is done, and it is tried again");
                if let Some(policy) = self.policies.get_mut(&name) {
                    if plan.order.is_some() {
                        (policy.watching.ordered, policy.stored.pending) = (None, None);
                    }
                    // Nothing of it is planned again but the order, of which no row tells yet. What was ever changed is not given up.
                    let _lost = (newest(&mut batch.events), newest(&mut batch.samples), newest(&mut tell));
                    policy.pending = Batch { catalogue: None, ..batch };
                    policy.owed = tell;
                }
                self.queue.add(key, now.mono.after(COMMIT_RETRY));
            }
        }
    }

    fn publish_policy(&mut self, name: &str) {
        let Some(policy) = self.policies.get(name) else { return };
        let Some(facts) = policy.facts.clone() else { return };
        let object = policy_object(&facts, policy);
        self.host.publish(Kind::Policy, name, Some(object));
    }

    fn forget_policy(&mut self, name: &str) {
        self.policies.remove(name);
        self.queue.forget(&Key::Policy(name.to_owned()));
        self.host.publish(Kind::Policy, name, None);
        self.admission.forget(&ObjectKey::policy(name));
        self.keep();
    }
}

/// What of a policy its pool, and those of other policies, have to hear of at once.
fn concerns(stored: &StoredPolicy) -> (Rung, Amounts, Option<Amounts>, bool) {
    (stored.shortage.rung, stored.status.limits, stored.pending.as_ref().map(|change| change.new), stored.failed.is_some())
}

/// Its document is gone, and nothing of it is under way.
fn over(facts: &PolicyFacts, plan: &PolicyPlan) -> bool {
    facts.removed && plan.watching.ordered.is_none()
}

fn policy_object(facts: &PolicyFacts, policy: &Policy) -> Object {
    let deleted = policy.stored.status.conditions.iter().find(|condition| condition.kind == "Terminating");
    let metadata = Meta {
        name: facts.name.clone(),
        uid: policy.stored.uid.clone(),
        generation: facts.generation,
        creation_timestamp: policy.stored.created,
        deletion_timestamp: deleted.map(|condition| condition.last_transition_time),
        labels: facts.labels.clone(),
        annotations: facts.annotations.clone(),
        ..Meta::default()
    };
    Object::Policy(Box::new(PolicyObject {
        api_version: API_VERSION.into(),
        kind: Kind::Policy.name().into(),
        metadata,
        spec: facts.spec.clone(),
        status: policy.stored.status.clone(),
    }))
}

/// The gauge that asks, if it is one.
pub(super) fn gauge(asker: &Asker) -> Option<&str> {
    match asker {
        Asker::Gauge(name) => Some(name),
        Asker::Trigger(_) | Asker::Quota(_) => None,
    }
}

#[cfg(test)]
mod tests;
