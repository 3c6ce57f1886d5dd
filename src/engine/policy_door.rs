//! The door to what is kept of policies: their history and the usage of their targets, read beside the writer.
//! Nothing is changed here but by asking the controller.

use std::sync::PoisonError;

use super::handle::{Ask, Denied, Handle};
use crate::edge::store::read::Reader;
use crate::model::limits::LimitChange;
use crate::model::policy_status::PolicySample;
use crate::model::status::Kind;
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

    /// Let a failed policy go on.
    ///
    /// # Errors
    /// [`Denied::NotFound`], [`Denied::Conflict`] when it has not failed.
    pub async fn reset_policy(&self, name: &str) -> Result<(), Denied> {
        self.ask(|reply| Ask::ResetPolicy { policy: name.into(), reply }).await
    }

    async fn read_store<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Reader) -> Result<T, String> + Send + 'static,
    ) -> Result<T, Denied> {
        let (reader, path) = (self.tasks_door().reader.clone(), self.tasks_door().path.clone());
        let found = tokio::task::spawn_blocking(move || {
            let mut reader = reader.lock().unwrap_or_else(PoisonError::into_inner);
            let opened = match reader.take() {
                Some(open) => open,
                None => Reader::open(&path)?,
            };
            read(reader.insert(opened))
        });
        found.await.map_err(|error| Denied::Internal(error.to_string()))?.map_err(Denied::Internal)
    }
}
