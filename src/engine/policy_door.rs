//! The door to what is kept of policies: their history and the usage of their targets, read beside the writer.
//! Nothing is changed here but by asking the controller.

use std::path::Path;
use std::sync::PoisonError;

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
        let (reader, path) = (self.tasks_door().reader.clone(), self.tasks_door().path.clone());
        let found =
            tokio::task::spawn_blocking(move || read(opened(&mut reader.lock().unwrap_or_else(PoisonError::into_inner), &path)?));
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
