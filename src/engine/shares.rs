//! Asking the sources `cpu` and `memory`: the pool's cgroup is looked at when its trigger is due, and at no other time.
//!
//! CPU time is a counter: the number is the average since the question before. The first question has none before it, and looks
//! twice within itself, so that nobody waits a whole interval for a number.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::decide::share;
use crate::edge::host;
use crate::edge::slots::Slots;
use crate::model::reading::{Failure, Number};
use crate::model::scaling::Asker;
use crate::model::source::UsageOf;
use crate::model::time::Span;
use crate::model::usage::PoolLook;

/// The time between the two looks of a first question, at most; it takes no more than half of what the answer may take.
const FIRST: Span = Span::secs(1);

/// The last look of each who asks, by pool. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Looks(Arc<Mutex<BTreeMap<(String, Asker), PoolLook>>>);

impl Looks {
    /// Forget a pool that is gone.
    pub(super) fn forget(&self, pool: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).retain(|(name, _), _| name != pool);
    }

    fn replace(&self, key: &(String, Asker), look: &PoolLook) -> Option<PoolLook> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.clone(), look.clone())
    }

    /// How much of what it may use the pool uses; answered well within the first of these times, and asked again after the other.
    ///
    /// # Errors
    /// In words: it has no cgroup now, or no such controller.
    pub(super) async fn ask(
        &self,
        slots: &Slots,
        key: (String, Asker),
        of: UsageOf,
        (within, every): (Span, Span),
    ) -> Result<Number, Failure> {
        let mut now = look(slots, &key.0).await?;
        let mut before = self.replace(&key, &now);
        if of == UsageOf::Cpu && now.usage.cpu_micros.is_ok() && !before.as_ref().is_some_and(|b| usable(b, &now, every)) {
            tokio::time::sleep(FIRST.min(Span(within.0 / 2)).duration()).await;
            before = Some(now);
            now = look(slots, &key.0).await?;
            self.replace(&key, &now);
        }
        share::percent(of, before.as_ref(), &now, host::capacity())
    }
}

/// An average over much more than the time between two questions says nothing of now.
fn usable(before: &PoolLook, now: &PoolLook, every: Span) -> bool {
    share::comparable(before, now) && now.usage.at.since(before.usage.at).0 <= every.0.saturating_mul(3)
}

async fn look(slots: &Slots, pool: &str) -> Result<PoolLook, Failure> {
    let (slots, pool) = (slots.clone(), pool.to_owned());
    let looked = tokio::task::spawn_blocking(move || slots.look(&pool)).await;
    looked.map_err(|e| Failure::because(e.to_string()))?.map_err(Failure::because)
}
