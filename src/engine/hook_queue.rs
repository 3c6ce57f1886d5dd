//! Deliveries of forges join the queues here: what was judged good becomes a submit, and what a forge tells wakes its triggers.
//!
//! Both keys of a delivery, the forge's id and the signature, are idempotency keys of the task: a repetition finds it.

use std::sync::Arc;

use super::handle::{Ask, Denied, Handle, UNKEPT_AGAIN};
use super::hooks::Taking;
use crate::decide::hooks::woken;
use crate::model::hook::{Accepted, NotTaken, Submission, Submitted, Wake};
use crate::model::pool::PoolSpec;
use crate::model::status::{Kind, Object};
use crate::model::task::NewTask;

impl Taking for Handle {
    fn spec(&self, pool: &str) -> Option<Arc<PoolSpec>> {
        match self.board().get(Kind::Pool, pool).as_deref() {
            Some(Object::Pool(pool)) => Some(Arc::new(pool.spec.clone())),
            Some(Object::Worker(_) | Object::Policy(_) | Object::Event(_)) | None => None,
        }
    }

    async fn submit(&self, submission: Submission) -> Result<Submitted, NotTaken> {
        let Submission { pool, accepted, idempotency, .. } = submission;
        let mut taken = Handle::submit(self, &pool, vec![task(accepted, idempotency)]).await.map_err(not_taken)?;
        let first = taken.pop().ok_or_else(|| not_taken(Denied::Internal("no task was made".into())))?;
        Ok(Submitted { task: first.task.id.to_string(), duplicate: first.known })
    }

    fn wake(&self, pool: &str, wake: &Wake) {
        let Some(spec) = Taking::spec(self, pool) else { return };
        let triggers = woken(&spec, wake);
        if !triggers.is_empty() {
            self.hint(Ask::Wake { pool: pool.to_owned(), triggers });
        }
    }

    fn refused(&self, pool: &str, index: usize, why: String) {
        self.hint(Ask::HookRefused { pool: pool.to_owned(), index, why });
    }
}

/// The task that an event becomes.
fn task(accepted: Accepted, [id, signature]: [String; 2]) -> NewTask {
    NewTask {
        payload: serde_json::Value::Object(accepted.payload),
        key: accepted.key,
        idempotency_key: Some(id),
        also: vec![signature],
        source: format!("webhook/{}", accepted.event.name()),
        untrusted_fields: accepted.untrusted.into_iter().collect(),
        ..NewTask::default()
    }
}

fn not_taken(denied: Denied) -> NotTaken {
    let message = denied.to_string();
    let (status, retry_after) = match denied {
        Denied::NotFound { .. } => (404, None),
        Denied::Invalid(_) | Denied::Refused(_) => (422, None),
        Denied::Full { retry_after, .. } => (429, Some(retry_after)),
        Denied::Conflict(_) => (409, None),
        Denied::ReadOnly | Denied::Internal(_) => (500, None),
        Denied::Unkept(_) => (503, Some(UNKEPT_AGAIN)),
        Denied::Unanswered(_) | Denied::Ending => (503, None),
    };
    NotTaken { status, message, retry_after }
}
