//! One task per slot: the conversation with its shim, from finding it to forgetting it.
//!
//! ```text
//!   [no shim] --start: spawn, go--> [shim] --connection ends--> another answers at its socket?  yes: [shim]
//!                                                               no: [lost], hunt until nothing of it lives: [no shim]
//! ```
//! A slot that another daemon's shim holds is lost to us too, and left alone: it is looked at ever more slowly, and hunted
//! only when told to. A shim whose other daemon has ended is met again.

use std::os::fd::OwnedFd;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::sync::mpsc;

use super::talk::{self, Shim};
use super::{Shared, SlotEvent, cgroup, exits, hunt, memory, spawn, users};
use crate::edge::clock;
use crate::model::quantity::Memory;
use crate::model::template::Limits;
use crate::model::time::Moment;
use crate::model::worker::{Exit, ExitReason, Run, Seen, SlotId, SlotState, StartOrder, Stopping};
use crate::shim::wire::{self, Command, Go, Phase, State};

/// What is wanted of a slot.
pub(super) enum Wish {
    Start(Box<StartOrder>),
    Signal {
        incarnation: u64,
        signal: i32,
    },
    Kill {
        incarnation: u64,
    },
    /// With the memory of the worker's tree, if that is to be looked at.
    Refresh {
        memory: bool,
    },
    Forget,
}

/// Pauses of a hunt: a tree that does not die is looked at ever more slowly.
const HUNT_PAUSES_MS: [u64; 6] = [2, 10, 50, 250, 1000, 5000];
/// How long a shim may take to say hello before its slot counts as lost. It is heard when it speaks later (it was stopped).
const HELLO_MAX: Duration = Duration::from_secs(10);

struct Link {
    shared: Arc<Shared>,
    slot: SlotId,
    shim: Option<Shim>,
    /// The shim's process, if it is our child: to be reaped.
    child: Option<Child>,
    /// Another daemon's shim, or our shim for another daemon, holds the slot.
    held: Option<Held>,
    /// The cgroup of the last run, as long as nothing was killed in it: the next task is born there too.
    clean: Option<cgroup::Clean>,
    /// The run that was told of as begun; 0 if none was. It outlives the state that a slot had before it was lost.
    begun: u64,
    seen: Seen,
    cpu_ms: u64,
    cpu_at: Option<Moment>,
    refreshed: Option<Moment>,
    asked_at: Option<Moment>,
    memory: Option<Memory>,
    /// When the last look at the memory was over.
    walked: Option<Moment>,
}

/// A slot that another has.
struct Held {
    /// How often we have looked whether it is free.
    looks: usize,
    /// The daemon that took over our shim.
    by: Option<OwnedFd>,
}

/// The slot's task.
pub(super) async fn run(
    shared: Arc<Shared>,
    slot: SlotId,
    mut wishes: mpsc::UnboundedReceiver<Wish>,
    told: Option<mpsc::Sender<()>>,
) {
    let mut link = Link::new(shared, slot);
    if told.is_some() && !link.meet().await {
        link.clear().await;
    }
    drop(told);
    loop {
        let wish = match &mut link.shim {
            None => match &link.held {
                None => wishes.recv().await,
                Some(Held { looks, .. }) => match tokio::time::timeout(pause(*looks), wishes.recv()).await {
                    Ok(wish) => wish,
                    Err(_) => {
                        link.look_again().await;
                        continue;
                    }
                },
            },
            Some(shim) => tokio::select! {
                biased;
                message = shim.receive() => {
                    match message {
                        Some(state) => link.state(&state),
                        None => link.cut_off().await,
                    }
                    continue;
                }
                wish = wishes.recv() => wish,
            },
        };
        let Some(wish) = wish else { return };
        if link.obey(wish).await {
            let mut links = link.shared.links();
            if wishes.is_empty() {
                links.remove(&link.slot);
                return;
            }
            // It was forgotten, and is wanted again by now.
            drop(links);
            link = Link::new(link.shared.clone(), link.slot.clone());
        }
    }
}

fn pause(looks: usize) -> Duration {
    Duration::from_millis(HUNT_PAUSES_MS[looks.min(HUNT_PAUSES_MS.len() - 1)])
}

/// Why nothing can be started in a slot that is not ours.
const HELD: &str = "another process holds this slot's lock";

impl Link {
    fn new(shared: Arc<Shared>, slot: SlotId) -> Link {
        let (seen, cpu_at, refreshed, asked_at, memory) = (Seen::default(), None, None, None, None);
        let (shim, child, held, clean) = (None, None, None, None);
        let (cpu_ms, begun, walked) = (0, 0, None);
        Link { shared, slot, shim, child, held, clean, begun, seen, cpu_ms, cpu_at, refreshed, asked_at, memory, walked }
    }

    fn tell(&mut self, seen: Seen) {
        self.seen = seen;
        self.shared.tell(SlotEvent::Seen(self.slot.clone(), self.seen.clone()));
    }

    /// Speak to the shim that listens for this slot. Says whether there is one; a stopped one is heard when it goes on.
    async fn meet(&mut self) -> bool {
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

    fn tell_lost(&mut self) {
        self.tell(Seen { state: SlotState::Lost { since: clock::now().mono }, shim: None, exit: self.seen.exit.clone() });
    }

    /// Says whether the slot is done with.
    async fn obey(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::Start(order) => self.start(*order).await,
            Wish::Signal { incarnation, signal } => {
                self.clean = None;
                self.send(&Command::Signal { incarnation, signal }).await;
            }
            Wish::Kill { .. } if matches!(self.seen.state, SlotState::Lost { .. }) => {
                (self.shim, self.held) = (None, None);
                self.clear().await;
            }
            Wish::Kill { incarnation } => {
                self.clean = None;
                self.send(&Command::Kill { incarnation }).await;
            }
            Wish::Refresh { memory } => {
                if !memory {
                    self.memory = None;
                } else if memory::due(self.asked_at, self.walked, clock::now().mono) {
                    self.memory = self.look_at_memory().await;
                    self.walked = Some(clock::now().mono);
                }
                self.asked_at = Some(clock::now().mono);
                self.send(&Command::Query).await;
            }
            Wish::Forget => return self.forget().await,
        }
        false
    }

    async fn look_at_memory(&self) -> Option<Memory> {
        let (own, shim) = (self.shared.config.driver.memory(&self.slot), self.shim.as_ref()?.pid?);
        match own {
            Some(memory) => Some(memory),
            None => tokio::task::spawn_blocking(move || memory::below(shim)).await.ok().flatten(),
        }
    }

    async fn start(&mut self, order: StartOrder) {
        let incarnation = order.incarnation;
        if let Err(message) = self.try_start(order).await {
            self.shared.tell(SlotEvent::StartFailed { slot: self.slot.clone(), incarnation, message });
        }
    }

    async fn try_start(&mut self, order: StartOrder) -> Result<(), String> {
        if self.held.is_some() {
            return Err(HELD.into());
        }
        let limits = order.limits;
        let mut go = self.go(order)?;
        let incarnation = go.incarnation;
        if Command::Go(Box::new(go.clone())).encode().len() > wire::MESSAGE_MAX - libc::PATH_MAX.unsigned_abs() as usize {
            return Err("the command and its environment are too long (E2BIG)".into());
        }
        let new = self.shim.is_none();
        if new {
            let permit = self.shared.spawns.acquire().await.map_err(|e| e.to_string())?;
            let (shared, slot) = (self.shared.clone(), self.slot.clone());
            let spawned = tokio::task::spawn_blocking(move || spawn::shim(&shared, &slot)).await;
            drop(permit);
            let (child, stream) = spawned.map_err(|e| e.to_string())??;
            let pid = i32::try_from(child.id()).ok();
            let stream = talk::nonblocking(stream).map_err(|e| e.to_string())?;
            self.shim = Some(Shim::new(stream, pid));
            self.child = Some(child);
        }
        match self.place(limits, (new, !go.stdin.is_empty())).await {
            Ok(cgroup) => go.cgroup = cgroup.into_bytes(),
            Err(why) => {
                if new {
                    self.dismiss().await;
                }
                return Err(why);
            }
        }
        let command = Command::Go(Box::new(go)).encode();
        (self.cpu_ms, self.cpu_at, self.refreshed, self.asked_at, self.memory) = (0, None, None, None, None);
        self.seen.state = SlotState::Starting { incarnation, since: clock::now().mono };
        self.begun = incarnation;
        self.send_bytes(&command).await;
        Ok(())
    }

    /// The cgroup for a run. To make one anew costs more than a short task: the next task goes where the one before ended by
    /// itself and left it as it was, unless its limits are to be counted from zero.
    async fn place(&mut self, limits: Option<Limits>, (new, task): (bool, bool)) -> Result<String, String> {
        let again = task && !new && limits.is_none();
        if let Some(mut clean) = self.clean.take().filter(|_| again)
            && let Some(cgroup) = clean.as_made().map(str::to_owned)
        {
            self.clean = Some(clean);
            return Ok(cgroup);
        }
        let pid = self.shim.as_ref().and_then(|shim| shim.pid);
        let cgroup = self.shared.config.driver.place(&self.slot, pid, limits).await?;
        self.clean = limits.is_none().then(|| cgroup::Clean::of(&cgroup));
        Ok(cgroup)
    }

    fn go(&self, order: StartOrder) -> Result<Go, String> {
        let account = order.user.as_deref().map(users::account).transpose()?;
        let mut env: Vec<Vec<u8>> = order.env.into_iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect();
        env.push(self.shared.mark(&self.slot).into_bytes());
        Ok(Go {
            incarnation: order.incarnation,
            tag: order.template,
            argv: order.command.into_iter().map(String::into_bytes).collect(),
            env,
            dir: order.working_dir.unwrap_or_default().into_bytes(),
            user: account.as_ref().map(|account| (account.uid, account.gid)),
            groups: account.map(|account| account.groups).unwrap_or_default(),
            umask: order.umask,
            nofile: self.shared.nofile,
            log_size: order.logs.max_size,
            log_files: order.logs.max_files,
            stdin: order.stdin.unwrap_or_default().into_bytes(),
            log: order.log.unwrap_or_default().into_bytes(),
            log_rate: order.logs.max_rate,
            cgroup: Vec::new(),
        })
    }

    async fn send(&mut self, command: &Command) {
        self.send_bytes(&command.encode()).await;
    }

    async fn send_bytes(&mut self, bytes: &[u8]) {
        if let Some(shim) = &mut self.shim {
            shim.send(bytes).await;
        }
    }

    fn state(&mut self, state: &State) {
        let now = clock::now().mono;
        if state.phase == Phase::Held {
            return self.hold_off(state.pid);
        }
        if state.phase == Phase::Clearing || state.stop > 0 || was_cut_short(state) {
            self.clean = None;
        }
        self.begun = match state.phase {
            Phase::Waiting | Phase::Held => 0,
            Phase::Starting | Phase::Running | Phase::Clearing => state.incarnation,
        };
        if let Some(asked) = self.asked_at.take() {
            // Ten milliseconds of CPU is what looking at the clock costs in a quiet program.
            if state.cpu_ms > self.cpu_ms.saturating_add(10) || self.refreshed.is_none() {
                self.cpu_at = Some(now);
                self.cpu_ms = state.cpu_ms;
            }
            self.refreshed = Some(asked);
        }
        let seen = Seen {
            state: self.slot_state(state, now),
            shim: self.shim.as_ref().and_then(|shim| shim.pid),
            exit: state.exit.as_ref().map(exits::model),
        };
        self.tell(seen);
    }

    fn slot_state(&self, state: &State, now: Moment) -> SlotState {
        let at = |ms: u64| (ms > 0).then_some(Moment(ms));
        match state.phase {
            Phase::Waiting | Phase::Held => SlotState::Vacant,
            Phase::Starting => SlotState::Starting { incarnation: state.incarnation, since: now },
            Phase::Running | Phase::Clearing => SlotState::Running(Run {
                incarnation: state.incarnation,
                pid: state.pid,
                started: Moment(state.started),
                template: state.tag.clone(),
                ready: state.ready,
                busy: state.busy,
                watchdog: at(state.watchdog),
                status: (!state.status.is_empty()).then(|| state.status.clone()),
                extended_until: at(state.extended),
                output: at(state.output),
                refreshed: self.refreshed,
                cpu_at: self.cpu_at,
                memory: self.memory,
                dropped: state.dropped,
                stop: at(state.stop).map(|since| Stopping { since, killed: at(state.killed) }),
                clearing: state.phase == Phase::Clearing,
            }),
        }
    }

    /// Another holds the slot: a second shim was refused by the lock, or another daemon has taken over our shim.
    fn hold_off(&mut self, by: i32) {
        if let SlotState::Starting { incarnation, .. } = self.seen.state {
            self.begun = 0;
            self.shared.tell(SlotEvent::StartFailed { slot: self.slot.clone(), incarnation, message: HELD.into() });
        }
        let by = Pid::from_raw(by).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        (self.shim, self.held) = (None, Some(Held { looks: 0, by }));
        self.tell_lost();
    }

    /// Look whether the slot that another holds is free by now, or whether that other has ended and left it.
    async fn look_again(&mut self) {
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
    async fn cut_off(&mut self) {
        (self.shim, self.clean) = (None, None);
        if !self.meet().await {
            self.clear().await;
        }
    }

    /// There is no shim. Its slot is free when its lock is; until then whatever holds it is hunted.
    async fn clear(&mut self) {
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
    async fn dismiss(&mut self) {
        self.send(&Command::Bye).await;
        if let Some(mut shim) = self.shim.take() {
            while shim.receive().await.is_some() {}
        }
        if let Some(mut child) = self.child.take() {
            let _reaped = tokio::task::spawn_blocking(move || child.wait()).await;
        }
    }

    async fn forget(&mut self) -> bool {
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

/// The run has ended in a way that its cgroup may have a part in: in a fresh one the next begins better.
fn was_cut_short(state: &State) -> bool {
    let own = state.exit.as_ref().filter(|exit| exit.incarnation == state.incarnation);
    own.is_some_and(|exit| exit.signal.is_some() || exit.oom || !exit.failed.is_empty())
}

/// The process of a pidfd lives no more.
fn has_ended(pidfd: &OwnedFd) -> bool {
    let mut fds = [PollFd::new(pidfd, PollFlags::IN)];
    poll(&mut fds, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}
