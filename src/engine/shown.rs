//! When what was asked for can be seen: what an edit says, and what a daemon before this one had.
//!
//! Nothing here is asked again and again: the board tells of each change.

use std::time::Duration;

use super::board::Subscription;
use super::handle::{Ask, Denied, Edit, Edited, Handle};
use crate::model::document::{Document, parse};
use crate::model::meta;
use crate::model::status::{Kind, Meta, Object};

/// How long an edit waits at most to be shown: longer than any file takes to be believed.
const FOLLOWS: Duration = Duration::from_secs(2);

/// An object, and what it must show.
type Followed = (Kind, String, Box<dyn Fn(&Object) -> bool + Send + Sync>);

/// What the objects show once an edit is in force.
fn followed(edit: &Edit) -> Vec<Followed> {
    match edit.clone() {
        Edit::Scale { pool, replicas } => {
            let shows = move |object: &Object| matches!(object, Object::Pool(pool) if pool.spec.replicas == Some(replicas));
            vec![(Kind::Pool, pool, Box::new(shows))]
        }
        Edit::Delete { .. } => Vec::new(),
        Edit::Apply { text } | Edit::Replace { text, .. } => {
            let documents = parse(text.as_bytes()).into_iter().flatten().map(|located| located.document);
            documents.map(followed_document).collect()
        }
    }
}

fn followed_document(document: Document) -> Followed {
    let same = |shown: &Meta, wanted: &meta::ObjectMeta| shown.labels == wanted.labels && shown.annotations == wanted.annotations;
    let name = document.name().to_owned();
    match document {
        Document::WorkerPool(wanted) => {
            let shows = move |object: &Object| matches!(object, Object::Pool(pool) if pool.spec == wanted.spec && same(&pool.metadata, &wanted.metadata));
            (Kind::Pool, name, Box::new(shows))
        }
        Document::ResourcePolicy(wanted) => {
            let shows = move |object: &Object| matches!(object, Object::Policy(policy) if policy.spec == wanted.spec && same(&policy.metadata, &wanted.metadata));
            (Kind::Policy, name, Box::new(shows))
        }
    }
}

impl Handle {
    /// Wait until what is known from a daemon before this one is shown, but for so long at most: whoever asks earlier would hear that
    /// it is not there.
    pub async fn caught_up(&self, longest: Duration) {
        // What is not shown by then cannot be read.
        let _shown = tokio::time::timeout(longest, self.board().caught_up()).await;
    }

    /// Change the specs on disk, and wait until what is shown follows (a moment; at most [`FOLLOWS`]).
    ///
    /// # Errors
    /// Any [`Denied`]: nothing was written then, but where there was no answer nobody can know.
    pub async fn edit(&self, edit: Edit, dry_run: bool) -> Result<Vec<Edited>, Denied> {
        let wanted = if dry_run { Vec::new() } else { followed(&edit) };
        let changes = [Kind::Pool, Kind::Policy].map(|kind| self.shared_board().subscribe(kind, 0));
        let edited = self.ask_specs(|reply| Ask::Edit { edit, dry_run, reply }).await?;
        if let [Ok(pools), Ok(policies)] = changes {
            let (of_pools, of_policies) = wanted.into_iter().partition(|(kind, ..)| *kind == Kind::Pool);
            let both = async { tokio::join!(self.shown(of_pools, pools), self.shown(of_policies, policies)) };
            // Whoever asks next sees what was asked for, or, where that takes longer, finds out by looking again.
            let _in_time = tokio::time::timeout(FOLLOWS, both).await;
        }
        Ok(edited)
    }

    async fn shown(&self, wanted: Vec<Followed>, mut changes: Subscription) {
        let shows = |(kind, name, test): &Followed| self.board().get(*kind, name).is_some_and(|object| test(&object));
        while !wanted.iter().all(shows) {
            let Some(Ok(_)) = changes.next().await else { return };
        }
    }
}
