//! From what is accepted to what pools are decided on.
//!
//! Every pool that is accepted has its facts here, and so has one of which nothing is known but that it has workers: its workers
//! are stopped only where surely no document stands for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::controller::{Engine, Key, Pool};
use super::host::Host;
use crate::decide::admit::claims;
use crate::model::batch::StoredPool;
use crate::model::plan::{Ending, PoolFacts};
use crate::model::time::Now;
use crate::model::worker::{SlotId, SlotState};

impl<H: Host> Engine<H> {
    /// Hand the catalogue to the pools: facts that changed queue their pool.
    pub(super) fn spread(&mut self, now: Now) {
        self.spread_policies(now);
        let mut facts = super::catalogue::pools_here(&self.admission.catalogue, &self.settings.controllers);
        if self.may_decide() {
            self.add_unknown(&mut facts);
        }
        self.followers = followers(facts.values());
        for (name, mut facts) in facts {
            if self.is_draining() {
                facts.ending = Some(Ending::Shutdown);
            }
            if facts.spec.queue.is_some() {
                self.counts.entry(name.clone()).or_default();
            }
            let pool = self.pools.entry(name.clone()).or_default();
            if pool.stored.uid.is_empty() {
                let uid = self.host.uid();
                pool.stored = StoredPool { uid, created: now.wall, ..StoredPool::default() };
            }
            if pool.facts.as_deref() != Some(&facts) {
                pool.facts = Some(Arc::new(facts));
                pool.dirty.extend(pool.slots.keys().cloned());
                self.record_exits(&name, now);
                self.queue.add(Key::Pool(name), now.mono);
            }
        }
    }

    /// Pools of which nothing is accepted and that have workers.
    fn add_unknown(&self, facts: &mut BTreeMap<String, PoolFacts>) {
        let alive = |pool: &Pool| pool.slots.values().any(|slot| slot.seen.state != SlotState::Vacant);
        for (name, pool) in self.pools.iter().filter(|(_, pool)| !pool.slots.is_empty()) {
            if !facts.contains_key(name) {
                let doubt = claims::doubt(&self.admission, name).filter(|_| alive(pool));
                let unknown = doubt.map_or_else(|| PoolFacts::orphan(name), |why| PoolFacts::held(name, why));
                facts.insert(name.clone(), unknown);
            }
        }
    }

    /// Record the ends that came while it was not known what they mean.
    fn record_exits(&mut self, name: &str, now: Now) {
        let workers = self.pools.get(name).into_iter().flat_map(|pool| pool.slots.keys());
        let ids: Vec<SlotId> = workers.map(|worker| SlotId { pool: name.into(), worker: worker.clone() }).collect();
        ids.iter().for_each(|id| self.record_exit(id, now));
    }
}

/// The pools that are scaled by a queue, by that queue: its own where none is named.
fn followers<'a>(all: impl Iterator<Item = &'a PoolFacts>) -> BTreeMap<String, BTreeSet<String>> {
    let mut followers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for facts in all {
        let sources =
            facts.spec.scale.iter().flat_map(|scale| &scale.triggers).filter_map(|trigger| trigger.source.queue.as_ref());
        for queue in sources.map(|queue| queue.pool.as_deref().unwrap_or(&facts.name)).filter(|queue| *queue != facts.name) {
            followers.entry(queue.to_owned()).or_default().insert(facts.name.clone());
        }
    }
    followers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::document::{Document, parse};

    #[test]
    fn whoever_is_scaled_by_the_queue_of_another_follows_it() {
        let facts = |name: &str, trigger: &str| {
            let text = format!(
                "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec: {{template: {{command: [x]}}, queue: {{}}, scale: {{maxReplicas: 3, triggers: [{{name: t, {trigger}, targetPerWorker: 1}}]}}}}\n"
            );
            let Document::WorkerPool(pool) = parse(text.as_bytes()).remove(0).expect("good").document else { panic!("a pool") };
            PoolFacts { spec: pool.spec, ..PoolFacts::orphan(name) }
        };
        let all = [facts("a", "queue: {}"), facts("b", "queue: {pool: a}"), facts("c", "queue: {pool: a}")];
        let follow = followers(all.iter());
        assert_eq!(follow, BTreeMap::from([("a".to_owned(), BTreeSet::from(["b".to_owned(), "c".to_owned()]))]));
    }
}
