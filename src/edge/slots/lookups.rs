//! Who a user is, and what is in a file, may be asked of another machine, which may never answer. A thread waits then.
//!
//! Only so many wait at once, and of one pool fewer: what one pool waits for keeps no other from asking, and a thread is left for
//! whatever else takes its time, such as a fork.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Semaphore;

/// Lookups that may be on their way at once.
const ALL: usize = 8;
/// Of one pool.
const OF_A_POOL: usize = 2;

/// The lookups of one runtime.
pub struct Lookups {
    all: Arc<Semaphore>,
    pools: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Default for Lookups {
    fn default() -> Lookups {
        Lookups { all: Arc::new(Semaphore::new(ALL)), pools: Mutex::default() }
    }
}

impl Lookups {
    /// Do this for a pool where it may block, when it is its turn.
    ///
    /// # Errors
    /// Its own, or that it panicked.
    pub async fn run<T, E>(&self, pool: &str, work: impl FnOnce() -> Result<T, E> + Send + 'static) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<String> + Send + 'static,
    {
        // Its pool's turn first: who waits for that takes no place of the others.
        let own = self.of(pool).acquire_owned().await.map_err(|e| e.to_string())?;
        let one = self.all.clone().acquire_owned().await.map_err(|e| e.to_string())?;
        let done = tokio::task::spawn_blocking(move || {
            // Kept until it comes back, however early its asker gave up.
            let _places = (own, one);
            work()
        });
        done.await.unwrap_or_else(|panic| Err(panic.to_string().into()))
    }

    fn of(&self, pool: &str) -> Arc<Semaphore> {
        let mut pools = self.pools.lock().unwrap_or_else(PoisonError::into_inner);
        // Of those that nobody asks for, nothing has to be remembered.
        pools.retain(|_, places| Arc::strong_count(places) > 1);
        pools.entry(pool.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(OF_A_POOL))).clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;
    use std::time::Duration;

    use super::*;

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn what_one_pool_waits_for_keeps_no_other_from_asking() {
        let lookups = Arc::new(Lookups::default());
        let ask = |pool: &'static str, work: Box<dyn FnOnce() -> Result<u8, String> + Send>| {
            let lookups = lookups.clone();
            tokio::spawn(async move { lookups.run(pool, work).await })
        };
        let (releases, held): (Vec<_>, Vec<_>) = (0..20).map(|_| channel::<()>()).unzip();
        let slow: Vec<_> = held
            .into_iter()
            .map(|held| {
                let hung = move || held.recv().map(|()| 1).or(Ok(2));
                ask("far", Box::new(hung))
            })
            .collect();
        let within = Duration::from_secs(30);
        for _ in 0..20 {
            let answered = tokio::time::timeout(within, ask("near", Box::new(|| Ok(7)))).await;
            assert_eq!(answered.expect("at once").expect("asked"), Ok(7));
        }
        let broken = ask("near", Box::new(|| panic!("a bug"))).await.expect("asked");
        assert!(broken.is_err_and(|why| why.contains("panic")));
        assert!(slow.iter().all(|one| !one.is_finished()));
        drop(releases);
        for one in slow {
            assert_eq!(one.await.expect("asked"), Ok(2));
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 1)]
    async fn whoever_gives_up_does_not_free_the_place_that_is_still_taken() {
        let lookups = Lookups::default();
        let (release, held) = channel::<()>();
        let hung = move || held.recv().map_err(|e| e.to_string());
        assert!(tokio::time::timeout(Duration::from_millis(1), lookups.run("p", hung)).await.is_err());
        assert_eq!(lookups.of("p").available_permits(), OF_A_POOL - 1);
        drop(release);
        let _both = lookups.of("p").acquire_many_owned(2).await.expect("it came back");
    }
}
