//! A slot whose shim is not spoken to: met, left to whoever holds it, or cleared up after.
//!
//! A slot that another daemon's shim holds is lost to us too, and left alone: it is looked at ever more slowly, and hunted
//! only when told to. A shim whose other daemon has ended is met again.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::Link;
use crate::edge::clock;
use crate::edge::slots::talk::{self, Shim};
use crate::edge::slots::{SlotEvent, exits, hunt, spawn};
use crate::model::worker::{Exit, ExitReason, Seen, SlotState};
use crate::shim::wire::{Command, Phase};

/// Pauses of a hunt: a tree that does not die is looked at ever more slowly.
const HUNT_PAUSES_MS: [u64; 6] = [2, 10, 50, 250, 1000, 5000];
/// How long a shim may take to say hello before its slot counts as lost. It is heard when it speaks later (it was stopped).
const HELLO_MAX: Duration = Duration::from_secs(10);

/// Why nothing can be started in a slot that is not ours.
pub(super) const HELD: &str = "another process holds this slot's lock";

/// A slot that another has.
pub(super) struct Held {
    /// How often we have looked whether it is free.
    pub(super) looks: usize,
    /// The daemon that took over our shim.
    by: Option<OwnedFd>,
}

pub(super) fn pause(looks: usize) -> Duration {
    Duration::from_millis(HUNT_PAUSES_MS[looks.min(HUNT_PAUSES_MS.len() - 1)])
}

impl Link {
    /// Speak to the shim that listens for this slot. Says whether there is one; a stopped one is heard when it goes on.
    pub(super) async fn meet(&mut self) -> bool {
        let Ok(stream) = spawn::connect(&self.shared.dir(&self.slot)).and_then(talk::nonblocking) else { return false };
        let pid = stream.peer_cred().ok().and_then(|who| who.pid());
        let mut shim = Shim::new(stream, pid);
        match tokio::time::timeout(HELLO_MAX, shim.receive()).await {
            Ok(Some(state)) if state.phase != Phase::Held => {
                self.shim = Some(shim);
                self.state(&state);
                true
            }
            Ok(_) => false,
            Err(_) => {
                self.shim = Some(shim);
                self.tell_lost();
                true
            }
        }
    }

    /// Another holds the slot: a second shim was refused by the lock, or another daemon has taken over our shim.
    pub(super) fn hold_off(&mut self, by: i32) {
        if let SlotState::Starting { incarnation, .. } = self.seen.state {
            self.begun = 0;
            self.shared.tell(SlotEvent::StartFailed { slot: self.slot.clone(), incarnation, message: HELD.into() });
        }
        let by = Pid::from_raw(by).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        (self.shim, self.held) = (None, Some(Held { looks: 0, by }));
        self.tell_lost();
    }

    /// Look whether the slot that another holds is free by now, or whether that other has ended and left it.
    pub(super) async fn look_again(&mut self) {
        if let Some(mut child) = self.child.take()
            && matches!(child.try_wait(), Ok(None))
        {
            self.child = Some(child);
        }
        let Some(mut held) = self.held.take() else { return };
        let dir = self.shared.dir(&self.slot);
        if hunt::is_free(&dir) {
            let exit = self.last_end(&dir);
            self.tell(Seen { state: SlotState::Vacant, shim: None, exit });
        } else if held.by.as_ref().is_some_and(has_ended) {
            // The worker runs on for whoever comes: that is us again.
            self.cut_off().await;
        } else {
            held.looks += 1;
            self.held = Some(held);
        }
    }

    /// The conversation has ended. A shim lets go of a daemon that does not read (it was stopped for long): it is met again.
    pub(super) async fn cut_off(&mut self) {
        (self.shim, self.clean) = (None, None);
        if !self.meet().await {
            self.clear().await;
        }
    }

    /// There is no shim. Its slot is free when its lock is; until then whatever holds it is hunted.
    pub(super) async fn clear(&mut self) {
        let dir = self.shared.dir(&self.slot);
        if !hunt::is_free(&dir) {
            // The shim may be ending just now.
            tokio::time::sleep(pause(0)).await;
        }
        // What a run without a record left behind may have let go of the lock: it is looked for once in any case.
        let mut found = usize::from(self.unrecorded(&dir).is_some());
        let mut looks = 0;
        while found > 0 || !hunt::is_free(&dir) {
            if looks == 0 {
                self.tell_lost();
            } else {
                tokio::time::sleep(pause(looks - 1)).await;
            }
            looks += 1;
            self.shared.config.driver.kill(&self.slot);
            let (dir, mark) = (dir.clone(), self.shared.mark(&self.slot));
            found = tokio::task::spawn_blocking(move || hunt::kill(&dir, &mark)).await.unwrap_or(1);
        }
        if let Some(mut child) = self.child.take() {
            // It held the lock and does no more: it has ended, or does so at once.
            let _reaped = tokio::task::spawn_blocking(move || child.wait()).await;
        }
        let exit = self.last_end(&dir);
        self.tell(Seen { state: SlotState::Vacant, shim: None, exit });
    }

    /// The run that was started and left no record of its end.
    fn unrecorded(&self, dir: &std::path::Path) -> Option<u64> {
        let started = exits::last_started(dir).unwrap_or(0).max(self.begun);
        let known = exits::read(dir).map_or(0, |exit| exit.incarnation);
        (started > known.max(self.seen.exit.as_ref().map_or(0, |exit| exit.incarnation))).then_some(started)
    }

    /// How the last run ended: its record, or Unknown when it left none.
    fn last_end(&self, dir: &std::path::Path) -> Option<Exit> {
        let incarnation = self.unrecorded(dir);
        incarnation
            .map(|incarnation| Exit { incarnation, reason: ExitReason::Unknown, finished: clock::now().wall, ..Exit::default() })
            .or_else(|| {
                let (recorded, told) = (exits::read(dir), self.seen.exit.clone());
                recorded.into_iter().chain(told).max_by_key(|exit| exit.incarnation)
            })
    }

    /// Let the shim go; it has nothing to do, and ends.
    pub(super) async fn dismiss(&mut self) {
        self.send(&Command::Bye).await;
        if let Some(mut shim) = self.shim.take() {
            while shim.receive().await.is_some() {}
        }
        if let Some(mut child) = self.child.take() {
            let _reaped = tokio::task::spawn_blocking(move || child.wait()).await;
        }
    }

    pub(super) async fn forget(&mut self) -> bool {
        if !matches!(self.seen.state, SlotState::Vacant | SlotState::Unknown) {
            // Something lives there still: it is forgotten when that has ended and we are told again.
            return false;
        }
        self.dismiss().await;
        self.shared.config.driver.remove(&self.slot).await;
        let dir = self.shared.dir(&self.slot);
        if hunt::is_free(&dir) {
            // What cannot be removed is found, and told of as vacant, at the next start.
            let _removed = std::fs::remove_dir_all(&dir);
            let _in_use = dir.parent().map(std::fs::remove_dir);
        }
        true
    }
}

/// The process of a pidfd lives no more.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
