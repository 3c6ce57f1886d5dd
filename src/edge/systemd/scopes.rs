//! Scopes: units for processes that somebody else started, here shims.
//!
//! Whether a process is in its scope is read from the kernel. That systemd says a job is done is only a hint to look, so a hint
//! that is lost with a connection costs a moment and never the truth.

use std::path::Path;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::time::Instant;
use zbus::{MatchRule, MessageStream, OwnedObjectPath, Variant};

use super::bus::{MANAGER, Manager, Refused, body};
use super::names::Names;
use crate::model::worker::SlotId;

/// How long systemd may take to put a process into its scope.
const PLACED_MAX: Duration = Duration::from_secs(10);
/// How soon is looked again although nothing was heard.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
const EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
const READ_ONLY: &str = "org.freedesktop.DBus.Error.PropertyReadOnly";

/// A scope to be made.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Its name.
    pub name: String,
    /// The slice that it is in.
    pub slice: String,
    /// What people read about it.
    pub description: String,
    /// Its only process.
    pub pid: u32,
}

impl Scope {
    /// The scope of a slot, for its shim.
    pub fn of(names: &Names, slot: &SlotId, pid: u32) -> Scope {
        let description = format!("weir worker {} of pool {}", slot.worker, slot.pool);
        Scope { name: names.scope(slot), slice: names.slice(&slot.pool), description, pid }
    }

    fn properties(&self, oom_policy: bool) -> Vec<(&'static str, Variant<'_>)> {
        let mut all = vec![
            ("Description", Variant::from(self.description.as_str())),
            ("Slice", Variant::from(self.slice.as_str())),
            // The subtree is ours: the shim in one part of it, the worker in another with its limits.
            ("Delegate", Variant::from(true)),
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("PIDs", Variant::from(vec![self.pid])),
        ];
        if oom_policy {
            // The kernel ends the worker that had too much. Stopping all of the scope would end its shim as well, and with it
            // the only one who knows how the worker ended.
            all.push(("OOMPolicy", Variant::from("continue")));
        }
        all
    }
}

impl Manager {
    /// Make a scope and wait until its process is in the scope's cgroup, which is at `dir`.
    ///
    /// # Errors
    /// In words. Whether it was made is then for the next look.
    pub async fn start_scope(&self, scope: &Scope, dir: &Path) -> Result<(), String> {
        let mut ends = self.ends_of_jobs().await?;
        let job = match self.start(scope, true).await {
            // Before systemd 253 a scope has no such property, and its default is as wanted.
            Err(refused) if refused.name == READ_ONLY => self.start(scope, false).await,
            other => other,
        };
        let job = match job {
            Err(refused) if refused.name == EXISTS => {
                self.clear(&scope.name, dir).await;
                return Err(format!("{}: an older scope of this name is being removed", scope.name));
            }
            other => other?,
        };
        let until = Instant::now() + PLACED_MAX;
        while !is_in(scope.pid, dir) {
            if Instant::now() > until {
                return Err(format!("{}: systemd did not put the process into it within 10 s", scope.name));
            }
            // Silence is a reason to look too: the signal may have gone with a connection.
            if let Ok(Some(Ok(message))) = tokio::time::timeout(LOOK_AGAIN, ends.next()).await
                && let Ok((_, path, _, result)) = body::<(u32, OwnedObjectPath, String, String)>(&message)
                && path == job
                && result != "done"
            {
                return Err(format!("{}: systemd's job ended with {result}", scope.name));
            }
        }
        Ok(())
    }

    async fn start(&self, scope: &Scope, oom_policy: bool) -> Result<OwnedObjectPath, Refused> {
        let none: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
        let arguments = (scope.name.as_str(), "fail", scope.properties(oom_policy), none);
        body(&self.call("StartTransientUnit", &arguments).await?)
    }

    /// Hear of the ends of jobs for as long as the stream is kept.
    pub(super) async fn ends_of_jobs(&self) -> Result<MessageStream, Refused> {
        let connection = self.connection().await?;
        let said = |e: zbus::Error| Refused { name: String::new(), words: format!("cannot listen to systemd: {e}") };
        let rule = MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface(MANAGER)
            .member("JobRemoved")
            .build()
            .map_err(said)?;
        MessageStream::for_match_rule(rule, &connection, None).await.map_err(said)
    }

    /// What an earlier life of a slot left behind: nothing in it is wanted, its lock is free.
    async fn clear(&self, scope: &str, dir: &Path) {
        // Each may find that there is nothing to do.
        let _killed = std::fs::write(dir.join("cgroup.kill"), "1");
        let _stopped = self.call("StopUnit", &(scope, "replace")).await;
        let _forgotten = self.call("ResetFailedUnit", &(scope,)).await;
    }

    /// Stop a slice that nothing is in any more.
    pub async fn stop_slice(&self, slice: &str) {
        // One that is not there, or that cannot be asked about now, is no harm: an empty slice holds nothing.
        let _stopped = self.call("StopUnit", &(slice, "fail")).await;
    }
}

/// Whether a process is in this cgroup or below it.
pub fn is_in(pid: u32, dir: &Path) -> bool {
    let text = std::fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    let own = text.lines().find_map(|line| line.strip_prefix("0::/")).unwrap_or("");
    // `dir` begins with the mount point.
    !own.is_empty() && Path::new(own).ancestors().any(|own| !own.as_os_str().is_empty() && dir.ends_with(own))
}
