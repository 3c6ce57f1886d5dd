//! A slot whose shim is not spoken to: met, left alone for now, or cleared up after.
//!
//! A slot that another daemon's shim holds is lost to us too, and left alone: it is looked at ever more slowly, and hunted
//! only when told to. A shim whose other daemon has ended is met again. So is one of which it could not be told whether it is
//! there: only who does not listen is not there, and only then is anything killed, but for a shim that was told to kill and does
//! not say that it has.

use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::time::Instant;

use super::Link;
use crate::edge::clock;
use crate::edge::slots::talk::Shim;
use crate::edge::slots::{exits, hunt, spawn};
use crate::model::time::Wall;
use crate::model::worker::{Exit, ExitReason, Seen, SlotState};
use crate::shim::wire::{Command, Phase, State};

/// Pauses of a hunt: a tree that does not die is looked at ever more slowly.
const HUNT_PAUSES_MS: [u64; 6] = [2, 10, 50, 250, 1000, 5000];
/// How long a shim may take to say hello before its slot counts as lost. It is heard when it speaks later (it was stopped).
const HELLO_MAX: Duration = Duration::from_secs(10);
/// How long a shim may take to answer. It does so at once unless it is stopped.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Why nothing can be started in a slot that is not ours.
const HELD: &str = "another process holds this slot's lock";

/// A slot that is left alone for now, and looked at again.
pub(super) struct Aside {
    /// How often it was looked at again.
    pub(super) looks: usize,
    why: Why,
}

/// Why a slot is left alone.
enum Why {
    /// Another shim has its lock.
    Locked,
    /// This daemon has taken over our shim.
    Taken(OwnedFd),
    /// Whether there is a shim cannot be told: there is no descriptor or no memory to ask with.
    Unreachable(String),
}

/// Something that a shim has to say by then.
#[derive(Clone, Copy)]
pub(super) struct Owed {
    what: Debt,
    until: Instant,
}

/// What a shim has to say.
#[derive(Clone, Copy)]
pub(super) enum Debt {
    /// Anything.
    Word,
    /// That the tree was sent SIGKILL.
    Killed,
    /// That nothing of the tree lives any more.
    Dead,
}

/// Comes back when what is owed is overdue.
pub(super) async fn overdue(owed: Option<Owed>) {
    match owed {
        Some(owed) => tokio::time::sleep_until(owed.until).await,
        None => std::future::pending().await,
    }
}

/// What came of speaking to a slot's shim.
enum Met {
    /// There is one, and it was told of: a stopped one as lost, until it goes on and says more.
    Shim,
    /// There is none.
    Nobody,
    /// Nobody can tell, for this reason. No proof of anything.
    Unable(String),
}

pub(super) fn pause(looks: usize) -> Duration {
    Duration::from_millis(HUNT_PAUSES_MS[looks.min(HUNT_PAUSES_MS.len() - 1)])
}

impl Link {
    /// Find out what is in the slot and tell it: what its shim says, or what is left when there is none.
    pub(super) async fn find(&mut self) {
        match self.meet().await {
            Met::Shim => {}
            Met::Nobody => self.clear().await,
            Met::Unable(why) => self.leave_alone(why),
        }
    }

    /// Speak to the shim that listens for this slot. One that is ending just now hangs up: it is asked once more.
    async fn meet(&mut self) -> Met {
        match self.greet().await {
            Met::Unable(_) => {
                tokio::time::sleep(pause(0)).await;
                self.greet().await
            }
            met @ (Met::Shim | Met::Nobody) => met,
        }
    }

    async fn greet(&mut self) -> Met {
        let stream = match spawn::connect(&self.shared.dir(&self.slot)).await {
            Ok(stream) => stream,
            Err(error) if spawn::means_none(&error) => return Met::Nobody,
            Err(error) => return Met::Unable(error.to_string()),
        };
        let pid = stream.peer_cred().ok().and_then(|who| who.pid());
        let mut shim = Shim::new(stream, pid);
        match tokio::time::timeout(HELLO_MAX, shim.receive()).await {
            // The one that has the lock does not listen here.
            Ok(Some(state)) if state.phase == Phase::Held => Met::Nobody,
            Ok(Some(state)) => {
                self.shim = Some(shim);
                self.state(&state);
                self.never_told(&state);
                Met::Shim
            }
            Ok(None) => Met::Unable("it hung up without a word".into()),
            Err(_) => {
                self.shim = Some(shim);
                self.tell_lost();
                Met::Shim
            }
        }
    }

    /// The shim has let go of the conversation in which it was told to begin a run, and says in this new one that it did not: it
    /// reads no more of the old one, and never will.
    fn never_told(&mut self, state: &State) {
        if state.phase == Phase::Waiting && self.begun > 0 {
            let incarnation = std::mem::take(&mut self.begun);
            self.start_failed(incarnation, "its shim let go of the daemon before it was told to start".to_owned());
        }
    }

    /// Whether there is a shim cannot be told for now. Nothing is killed for that: the slot is lost until it can.
    fn leave_alone(&mut self, why: String) {
        tracing::warn!(worker = self.slot.worker, why, "its shim cannot be reached for now; it is left alone and tried again");
        self.aside = Some(Aside { looks: 0, why: Why::Unreachable(why) });
        self.tell_lost();
    }

    /// Why nothing can be started here now.
    pub(super) fn taken(&self) -> Result<(), String> {
        match (self.aside.as_ref().map(|aside| &aside.why), &self.seen.state) {
            (Some(Why::Locked | Why::Taken(_)), _) => Err(HELD.into()),
            (Some(Why::Unreachable(why)), _) => Err(format!("the shim of this slot cannot be reached: {why}")),
            (None, SlotState::Lost { .. }) => Err("the shim of this slot does not answer".into()),
            (None, SlotState::Starting { .. } | SlotState::Running(_)) => Err("the run before it has not ended".into()),
            (None, SlotState::Vacant | SlotState::Unknown) => Ok(()),
        }
    }

    /// This shim does not serve the slot: the lock is another's or could not be had, or another daemon has taken over.
    pub(super) fn hold_off(&mut self, state: &State) {
        if let SlotState::Starting { incarnation, .. } = self.seen.state {
            self.begun = 0;
            let message = if state.status.is_empty() { HELD.into() } else { state.status.clone() };
            self.start_failed(incarnation, message);
        }
        let why = match Pid::from_raw(state.pid).map(|pid| pidfd_open(pid, PidfdFlags::empty())) {
            Some(Ok(daemon)) => Why::Taken(daemon),
            // It has ended by now: its shim is met again.
            Some(Err(Errno::SRCH)) => Why::Unreachable(HELD.into()),
            Some(Err(_)) | None => Why::Locked,
        };
        (self.shim, self.owed, self.aside) = (None, None, Some(Aside { looks: 0, why }));
        self.tell_lost();
    }

    /// Look at a slot that was left alone: whether it is free, whether whoever took it over has ended, whether it can be reached.
    pub(super) async fn look_again(&mut self) {
        if let Some(mut child) = self.child.take()
            && matches!(child.try_wait(), Ok(None))
        {
            self.child = Some(child);
        }
        let Some(Aside { looks, why }) = self.aside.take() else { return };
        let dir = self.shared.dir(&self.slot);
        let why = match why {
            Why::Unreachable(_) => match self.meet().await {
                Met::Shim => return,
                Met::Nobody => return self.clear().await,
                Met::Unable(why) => Why::Unreachable(why),
            },
            Why::Locked | Why::Taken(_) if hunt::is_free(&dir) => {
                let exit = self.last_end(&dir);
                return self.tell(Seen { state: SlotState::Vacant, shim: None, exit });
            }
            // The worker runs on for whoever comes: that is us again.
            Why::Taken(by) if has_ended(&by) => return self.cut_off().await,
            why @ (Why::Locked | Why::Taken(_)) => why,
        };
        self.aside = Some(Aside { looks: looks + 1, why });
    }

    /// The conversation has ended. A shim lets go of a daemon that does not read (it was stopped for long): it is met again.
    pub(super) async fn cut_off(&mut self) {
        (self.shim, self.clean, self.owed) = (None, None, None);
        self.find().await;
    }

    /// There is no shim. Before anything is killed it is asked again, each time, whether one answers after all.
    async fn clear(&mut self) {
        self.hunt(false).await;
    }

    /// It is to end, whoever has it and whether or not its shim answers.
    pub(super) async fn put_down(&mut self) {
        (self.shim, self.aside, self.clean, self.owed) = (None, None, None, None);
        self.hunt(true).await;
    }

    /// From now on the shim owes this.
    pub(super) fn owe(&mut self, what: Debt) {
        self.owed = self.shim.is_some().then(|| Owed { what, until: Instant::now() + ANSWER_MAX });
    }

    /// The shim has said something. Who was told to kill is looked after until it says that nothing lives any more.
    pub(super) fn answered(&mut self, state: &State) {
        let lives = !matches!(state.phase, Phase::Waiting | Phase::Held);
        match self.owed.map(|owed| owed.what) {
            Some(Debt::Killed) if lives && state.killed == 0 => {}
            Some(Debt::Killed | Debt::Dead) if lives => self.owe(Debt::Dead),
            Some(_) | None => self.owed = None,
        }
    }

    /// The shim has not said what it owes: it was stopped, or cannot go on. Its worker must not live on for that.
    pub(super) async fn unanswered(&mut self) {
        match self.owed.take().map(|owed| owed.what) {
            Some(Debt::Killed) => self.put_down().await,
            Some(Debt::Dead) => match self.send_bytes(&Command::Query.encode()).await {
                true => self.owe(Debt::Killed),
                false => self.put_down().await,
            },
            // It is heard when it goes on.
            Some(Debt::Word) => self.tell_lost(),
            None => {}
        }
    }

    /// The slot is free when its lock is; until then whatever holds it is killed, `ordered` or because it has no shim.
    async fn hunt(&mut self, ordered: bool) {
        let dir = self.shared.dir(&self.slot);
        if !hunt::is_free(&dir) {
            // The shim may be ending just now.
            tokio::time::sleep(pause(0)).await;
        }
        // What a run without a record left behind may have let go of the lock: it is looked for once in any case.
        let mut found = usize::from(self.unrecorded(&dir).is_some());
        let mut looks = 0;
        while found > 0 || !hunt::is_free(&dir) || self.shared.config.driver.is_populated(&self.slot) {
            if looks == 0 {
                self.tell_lost();
            } else {
                tokio::time::sleep(pause(looks - 1)).await;
            }
            looks += 1;
            let met = if ordered { Met::Nobody } else { self.meet().await };
            match met {
                Met::Shim => return,
                Met::Nobody => {}
                Met::Unable(why) => return self.leave_alone(why),
            }
            self.shared.config.driver.kill(&self.slot);
            let (dir, mark) = (dir.clone(), self.shared.mark(&self.slot));
            found = tokio::task::spawn_blocking(move || hunt::kill(&dir, &mark)).await.unwrap_or(1);
        }
        if let Some(mut child) = self.child.take() {
            // It held the lock and does no more: it has ended, or does so at once.
            let _reaped = tokio::task::spawn_blocking(move || child.wait()).await;
        }
        let exit = self.last_end(&dir);
        self.begun = 0;
        self.tell(Seen { state: SlotState::Vacant, shim: None, exit });
    }

    /// The run that was started and left no record of its end.
    fn unrecorded(&self, dir: &std::path::Path) -> Option<u64> {
        let started = exits::last_started(dir).map_or(0, |started| started.incarnation).max(self.begun);
        let known = exits::read(dir).map_or(0, |exit| exit.incarnation);
        (started > known.max(self.seen.exit.as_ref().map_or(0, |exit| exit.incarnation))).then_some(started)
    }

    /// How the last run ended: its record, or that it ended with the machine, or Unknown.
    fn last_end(&self, dir: &std::path::Path) -> Option<Exit> {
        let incarnation = self.unrecorded(dir);
        incarnation.map(|incarnation| self.unknown_end(dir, incarnation)).or_else(|| {
            let (recorded, told) = (exits::read(dir), self.seen.exit.clone());
            recorded.into_iter().chain(told).max_by_key(|exit| exit.incarnation)
        })
    }

    /// It ran at most until now: of one that ended while no daemon was there nobody knows when it did. Taken for longer than it was it
    /// is not counted among runs that failed at once.
    fn unknown_end(&self, dir: &std::path::Path, incarnation: u64) -> Exit {
        let now = clock::now();
        let run = exits::last_started(dir).filter(|run| run.incarnation == incarnation);
        let with_machine = run.as_ref().is_some_and(|run| run.is_of_another_boot(&clock::boot_id()));
        let ran_ms = run.filter(|_| !with_machine).map_or(0, |run| now.mono.since(run.since).0);
        let started = (ran_ms > 0).then(|| Wall(now.wall.0.saturating_sub_unsigned(ran_ms)));
        let reason = if with_machine { ExitReason::Rebooted } else { ExitReason::Unknown };
        Exit { incarnation, reason, started, finished: now.wall, ran_ms, ..Exit::default() }
    }

    /// Let the shim go; it has nothing to do, and ends. One that does not is stopped, and is put down.
    pub(super) async fn dismiss(&mut self) {
        let said = self.send_bytes(&Command::Bye.encode()).await;
        if let Some(mut shim) = self.shim.take() {
            let end = async { while shim.receive().await.is_some() {} };
            if !said || tokio::time::timeout(ANSWER_MAX, end).await.is_err() {
                return self.put_down().await;
            }
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
