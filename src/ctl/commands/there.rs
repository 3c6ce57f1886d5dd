//! What there is of a kind at this moment: one list, then its changes as the daemon tells of them. For views that are drawn again.
//!
//! Only what makes a view another one is kept of an object: its name, and the process of one that has one. How often a view is
//! drawn is for the view to say.

use std::collections::BTreeMap;

use serde_json::Value;
use tokio::sync::watch::Sender;

use super::Context;
use crate::ctl::client::encoded;
use crate::ctl::error::Failure;
use crate::model::status::Kind;
use crate::serve::wire::WatchEvent;
use crate::serve::wire::columns::{number, text};

/// Names, each with its process; 0 where there is none. `None` before the first list.
pub(super) type There = Option<BTreeMap<String, u64>>;

/// Keep `there` true, until it cannot be any more: that is what comes back. Whoever watches it is woken by what is another only.
pub(super) async fn kept(context: &Context, kind: Kind, selector: &str, there: &Sender<There>) -> Failure {
    loop {
        match listed_and_followed(context, kind, selector, there).await {
            // It fell behind: list again.
            Ok(()) => {}
            Err(Failure::Server(status)) if status.code == 410 => {}
            Err(failure) => return failure,
        }
    }
}

async fn listed_and_followed(context: &Context, kind: Kind, selector: &str, there: &Sender<There>) -> Result<(), Failure> {
    let list = context.client.list(kind, selector).await?;
    let mut now: BTreeMap<String, u64> = list.items.iter().map(entry).collect();
    tell(there, &now);
    let selectors = format!("&labelSelector={}", encoded(selector));
    let mut lines = context.client.watch(kind, &list.metadata.resource_version, &selectors).await?;
    while let Some(event) = lines.next::<WatchEvent>().await? {
        if event.is_succeeded() {
            continue;
        }
        let (name, process) = entry(&event.object);
        match event.verb.as_str() {
            "ERROR" => return Ok(()),
            "DELETED" => drop(now.remove(&name)),
            _ => drop(now.insert(name, process)),
        }
        tell(there, &now);
    }
    Err(Failure::NoDaemon("the daemon has ended".into()))
}

fn entry(object: &Value) -> (String, u64) {
    (text(object, "/metadata/name").to_owned(), number(object, "/status/pid"))
}

fn tell(there: &Sender<There>, now: &BTreeMap<String, u64>) {
    there.send_if_modified(|before| {
        let another = before.as_ref() != Some(now);
        if another {
            *before = Some(now.clone());
        }
        another
    });
}
