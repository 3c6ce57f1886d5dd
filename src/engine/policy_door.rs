//! The door to what is kept of policies: their history and the usage of their targets, read beside the writer.
//! Nothing is changed here but by asking the controller.

use std::path::Path;

use super::handle::{Ask, Denied, Handle};
use crate::edge::store::read::Reader;
use crate::model::limits::LimitChange;
use crate::model::policy_status::{ForecastStatus, PolicySample};
use crate::model::status::{Kind, Object};
use crate::model::time::Wall;

impl Handle {
    /// The last changes of a policy, the oldest first; of one that is gone too.
    ///
    /// # Errors
    /// [`Denied::NotFound`] for a policy that never was, [`Denied::Internal`] when the store cannot be read.
    pub async fn policy_history(&self, name: &str, most: u32) -> Result<Vec<LimitChange>, Denied> {
        let policy = name.to_owned();
        let rows = self.read_store(move |reader| reader.policy_history(&policy, most)).await?;
        if rows.is_empty() {
            self.get(Kind::Policy, name)?;
        }
        Ok(rows)
    }

    /// What the target of a policy used since then, the oldest first.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Internal`] when the store cannot be read.
    pub async fn policy_metrics(&self, name: &str, from: Wall) -> Result<Vec<PolicySample>, Denied> {
        self.get(Kind::Policy, name)?;
        let policy = name.to_owned();
        self.read_store(move |reader| reader.policy_metrics(&policy, from)).await
    }

    /// What was expected at the last look, with the way to the horizon; absent: nobody has looked yet.
    ///
    /// # Errors
    /// [`Denied::NotFound`].
    pub fn policy_forecast(&self, name: &str) -> Result<Option<ForecastStatus>, Denied> {
        let object = self.get(Kind::Policy, name)?;
        // One that has only begun to look still shows what its predecessor expected.
        let shown = match &*object {
            Object::Policy(policy) => policy.status.forecast.clone(),
            Object::Pool(_) | Object::Worker(_) | Object::Event(_) => None,
        };
        Ok(self.board().foreseen(name).or(shown))
    }

    /// Let a failed policy go on.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] when it has not failed.
    pub async fn reset_policy(&self, name: &str) -> Result<(), Denied> {
        self.ask(|reply| Ask::ResetPolicy { policy: name.into(), reply }).await
    }

    pub(super) async fn read_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Denied> {
        // Waited for before there is a thread: a store that does not answer takes one in all.
        let (mut reader, path) = (self.tasks_door().reader.clone().lock_owned().await, self.tasks_door().path.clone());
        let found = tokio::task::spawn_blocking(move || read(opened(&mut reader, &path)?));
        found.await.map_err(|error| Denied::Internal(error.to_string()))?.map_err(Denied::Internal)
    }
}

/// The connection there is, or a new one.
pub(super) fn opened<'a>(reader: &'a mut Option<Reader>, path: &Path) -> Result<&'a Reader, String> {
    let open = match reader.take() {
        Some(open) => open,
        None => Reader::open(path)?,
    };
    Ok(reader.insert(open))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::mpsc;

    use super::*;
    use crate::edge::store::Store;
    use crate::engine::board::Board;
    use crate::engine::queue_door::{Hub, TaskDoor, queues};

    const LONG: Duration = Duration::from_secs(20);

    /// A door to a store of its own, and a handle on it.
    fn handle(dir: &Path) -> (Arc<TaskDoor>, Handle) {
        let (hub, path) = (Arc::new(Hub::default()), dir.join("weir.db"));
        let (store, _) = Store::open(&path, "a boot", queues(hub.clone(), |_, _| {})).expect("opens");
        let (reader, walker) = (Arc::default(), Arc::default());
        let door = Arc::new(TaskDoor { store, path, hub, tell: Arc::new(drop), untaken: Arc::new(drop), reader, walker });
        let (asks, _) = mpsc::channel(1);
        (door.clone(), Handle::new(Arc::new(Board::default()), asks, Arc::new(|_, _, _| None), door))
    }

    #[test]
    fn whoever_waits_for_the_reader_takes_no_thread() {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        runtime.max_blocking_threads(2).enable_all().build().expect("a runtime").block_on(async {
            let dir = tempfile::tempdir().expect("a directory");
            let (door, handle) = handle(dir.path());
            // What a read has that hangs.
            let held = door.reader.clone().lock_owned().await;
            let ask = |handle: Handle| tokio::spawn(async move { handle.policy_history("none", 1).await });
            let asked: Vec<_> = (0..4).map(|_| ask(handle.clone())).collect();
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let other = tokio::time::timeout(LONG, tokio::task::spawn_blocking(|| ()));
            other.await.expect("there is a thread for it").expect("it ends");
            drop(held);
            for answer in asked {
                let answer = tokio::time::timeout(LONG, answer).await.expect("in time").expect("it ends");
                assert!(matches!(answer, Err(Denied::NotFound { .. })), "{answer:?}");
            }
        });
    }
}
