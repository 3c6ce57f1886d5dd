//! Whoever waits for a task hears when something else is shown of its worker: one that is being stopped is told at once, and does
//! not wait for a task that it would not be given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Those that wait, by worker.
#[derive(Clone, Default)]
pub(super) struct Nudges(Arc<Mutex<BTreeMap<String, Arc<Notify>>>>);

impl Nudges {
    fn all(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Notify>>> {
        // Each is put there whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something else is shown of this worker.
    pub(super) fn nudge(&self, worker: &str) {
        if let Some(notify) = self.all().get(worker) {
            notify.notify_waiters();
        }
    }

    /// Hear of this worker, as long as this is held.
    pub(super) fn of(&self, worker: &str) -> Nudged {
        let notify = self.all().entry(worker.to_owned()).or_default().clone();
        Nudged { of: self.clone(), worker: worker.to_owned(), notify: Some(notify) }
    }
}

/// Somebody who hears of a worker.
pub(super) struct Nudged {
    of: Nudges,
    worker: String,
    /// There until it is dropped.
    notify: Option<Arc<Notify>>,
}

impl Nudged {
    /// What to wait on. Whoever looks at the worker after this call, and waits then, misses nothing.
    pub(super) fn next(&self) -> impl Future<Output = ()> + use<> {
        let notify = self.notify.clone();
        let heard = notify.map(Notify::notified_owned);
        async move {
            match heard {
                Some(heard) => heard.await,
                None => std::future::pending().await,
            }
        }
    }
}

impl Drop for Nudged {
    fn drop(&mut self) {
        let mut all = self.of.all();
        self.notify = None;
        if all.get(&self.worker).is_some_and(|notify| Arc::strong_count(notify) == 1) {
            all.remove(&self.worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn who_waits_hears_of_its_own_worker_from_when_it_looked() {
        let nudges = Nudges::default();
        let (one, other) = (nudges.of("w-0"), nudges.of("w-1"));
        let (next, others) = (one.next(), other.next());
        nudges.nudge("w-0");
        assert!(next.now_or_never().is_some() && others.now_or_never().is_none());
        assert!(one.next().now_or_never().is_none(), "that was before");
        let again = nudges.of("w-0");
        drop(one);
        let next = again.next();
        nudges.nudge("w-0");
        assert!(next.now_or_never().is_some());
        drop((again, other));
        assert!(nudges.all().is_empty(), "nothing is kept for those who are gone");
    }
}
