//! One task per slot: the conversation with its shim, from finding it to forgetting it.
//!
//! ```text
//!   [no shim] --start: spawn, go--> [shim] --connection ends--> another answers at its socket?  yes: [shim]
//!                                                               no: [lost], hunt until nothing of it lives: [no shim]
//! ```
//! How a run is started is in `start`; what becomes of a slot whose shim is not spoken to is in `lost`.

mod lost;
mod start;

use std::process::Child;
use std::sync::Arc;

use tokio::sync::mpsc;

use lost::{Aside, Debt, Owed};

use super::talk::Shim;
use super::{Prepare, Shared, SlotEvent, Unready, cgroup, exits, memory};
use crate::edge::clock;
use crate::model::quantity::Memory;
use crate::model::time::Moment;
use crate::model::worker::{Run, Seen, SlotId, SlotState, StartOrder, Stopping};
use crate::shim::wire::{Command, Phase, State};

/// What is wanted of a slot.
pub(super) enum Wish {
    Start(Box<StartOrder>),
    Prepare {
        incarnation: u64,
        prepare: Prepare,
    },
    Signal {
        incarnation: u64,
        signal: i32,
    },
    Kill {
        incarnation: u64,
    },
    /// Tell what is in the slot. If nothing is known of this run, its start has failed.
    Look {
        incarnation: u64,
    },
    /// With the memory of the worker's tree, if that is to be looked at.
    Refresh {
        memory: bool,
    },
    Forget,
}

struct Link {
    shared: Arc<Shared>,
    slot: SlotId,
    /// Dropped with the first word of what was found on disk: also when it is that nobody can be spoken to and the hunt, for
    /// one that does not die, goes on. Nothing is decided anywhere before.
    told: Option<mpsc::Sender<()>>,
    shim: Option<Shim>,
    /// The shim's process, if it is our child: to be reaped.
    child: Option<Child>,
    /// The slot is left alone for now: another has it, or whether it has a shim cannot be told.
    aside: Option<Aside>,
    /// The cgroup of the last run, if that was a task and nothing was killed in it: the next task is born there too.
    clean: Option<cgroup::Clean>,
    /// The run that was told of as begun, or that the shim was told to begin; 0 when it has ended. It outlives the state that a
    /// slot had before it was lost, and a hello that the shim said before it was told.
    begun: u64,
    /// The last run that could not be started, as it was told.
    failed: u64,
    /// The shim owes an answer.
    owed: Option<Owed>,
    seen: Seen,
    cpu_ms: u64,
    cpu_at: Option<Moment>,
    refreshed: Option<Moment>,
    asked_at: Option<Moment>,
    memory: Option<Memory>,
    /// When the last look at the memory was over.
    walked: Option<Moment>,
}

/// The slot's task.
pub(super) async fn run(
    shared: Arc<Shared>,
    slot: SlotId,
    mut wishes: mpsc::UnboundedReceiver<Wish>,
    told: Option<mpsc::Sender<()>>,
) {
    let mut link = Link::new(shared, slot);
    if told.is_some() {
        link.told = told;
        link.find().await;
        link.told = None;
    }
    loop {
        let owed = link.owed;
        let wish = match &mut link.shim {
            None => match &link.aside {
                None => wishes.recv().await,
                Some(Aside { looks, .. }) => match tokio::time::timeout(lost::pause(*looks), wishes.recv()).await {
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
                () = lost::overdue(owed) => {
                    link.unanswered().await;
                    continue;
                }
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

impl Link {
    fn new(shared: Arc<Shared>, slot: SlotId) -> Link {
        let (seen, cpu_at, refreshed, asked_at, memory) = (Seen::default(), None, None, None, None);
        let (told, shim, child, aside, clean) = (None, None, None, None, None);
        let (cpu_ms, begun, failed, owed, walked) = (0, 0, 0, None, None);
        Link {
            shared,
            slot,
            told,
            shim,
            child,
            aside,
            clean,
            begun,
            failed,
            owed,
            seen,
            cpu_ms,
            cpu_at,
            refreshed,
            asked_at,
            memory,
            walked,
        }
    }

    fn tell(&mut self, seen: Seen) {
        self.seen = seen;
        self.shared.tell(SlotEvent::Seen(self.slot.clone(), self.seen.clone()));
        self.told = None;
    }

    fn tell_lost(&mut self) {
        if matches!(self.seen.state, SlotState::Lost { .. }) {
            // It was told, and since when.
            return;
        }
        self.tell(Seen { state: SlotState::Lost { since: clock::now().mono }, shim: None, exit: self.seen.exit.clone() });
    }

    /// Says whether the slot is done with.
    async fn obey(&mut self, wish: Wish) -> bool {
        match wish {
            Wish::Start(order) => self.start(*order).await,
            Wish::Prepare { incarnation, prepare } => self.prepare(incarnation, prepare).await,
            Wish::Signal { incarnation, signal } => {
                self.clean = None;
                self.send(&Command::Signal { incarnation, signal }).await;
            }
            Wish::Kill { .. } if matches!(self.seen.state, SlotState::Lost { .. }) => self.put_down().await,
            Wish::Kill { incarnation } => {
                self.clean = None;
                match self.send_bytes(&Command::Kill { incarnation }.encode()).await {
                    true => self.owe(Debt::Killed),
                    false => self.put_down().await,
                }
            }
            Wish::Look { incarnation } => self.look(incarnation).await,
            Wish::Refresh { memory } => self.refresh(memory).await,
            Wish::Forget => return self.forget().await,
        }
        false
    }

    async fn refresh(&mut self, memory: bool) {
        if !memory {
            self.memory = None;
        } else if memory::due(self.asked_at, self.walked, clock::now().mono) {
            self.memory = self.look_at_memory().await;
            self.walked = Some(clock::now().mono);
        }
        self.asked_at = Some(clock::now().mono);
        if !matches!(self.seen.state, SlotState::Lost { .. }) {
            // One that has long been silent has enough to read.
            self.send(&Command::Query).await;
        }
    }

    /// Tell how the slot looks to whoever has waited for long, or knows nothing of it.
    async fn look(&mut self, incarnation: u64) {
        if self.seen.state == SlotState::Unknown {
            self.find().await;
        } else {
            self.tell(self.seen.clone());
        }
        let lost = matches!(self.seen.state, SlotState::Lost { .. });
        if !lost && self.begun.max(self.failed).max(self.last_told()) < incarnation {
            // The wish got lost with a link that panicked.
            self.start_failed(incarnation, "its start got lost on the way".to_owned());
        } else if !lost && self.shim.is_some() {
            self.send(&Command::Query).await;
            self.owe(Debt::Word);
        }
    }

    /// The last run that something was told of.
    fn last_told(&self) -> u64 {
        let present = match &self.seen.state {
            SlotState::Starting { incarnation, .. } => *incarnation,
            SlotState::Running(run) => run.incarnation,
            SlotState::Unknown | SlotState::Vacant | SlotState::Lost { .. } => 0,
        };
        present.max(self.seen.exit.as_ref().map_or(0, |exit| exit.incarnation))
    }

    fn start_failed(&mut self, incarnation: u64, why: impl Into<Unready>) {
        let Unready { code, message } = why.into();
        self.failed = incarnation;
        self.shared.tell(SlotEvent::StartFailed { slot: self.slot.clone(), incarnation, code, message });
    }

    async fn look_at_memory(&self) -> Option<Memory> {
        let (own, shim) = (self.shared.config.driver.memory(&self.slot), self.shim.as_ref()?.pid?);
        match own {
            Some(memory) => Some(memory),
            None => tokio::task::spawn_blocking(move || memory::below(shim)).await.ok().flatten(),
        }
    }

    /// Say this to the shim. One that does not take it is spoken to anew.
    async fn send(&mut self, command: &Command) {
        if !self.send_bytes(&command.encode()).await {
            self.cut_off().await;
        }
    }

    /// Says whether the shim, if there is one, takes what it is told.
    async fn send_bytes(&mut self, bytes: &[u8]) -> bool {
        match &mut self.shim {
            Some(shim) => shim.send(bytes).await,
            None => true,
        }
    }

    fn state(&mut self, state: &State) {
        let now = clock::now().mono;
        if state.phase == Phase::Held {
            return self.hold_off(state);
        }
        if state.phase == Phase::Clearing || state.stop > 0 || was_cut_short(state) {
            self.clean = None;
        }
        self.begun = match state.phase {
            Phase::Waiting | Phase::Held if state.incarnation < self.begun => self.begun,
            Phase::Waiting | Phase::Held => 0,
            Phase::Starting | Phase::Running | Phase::Clearing => state.incarnation.max(self.begun),
        };
        self.answered(state);
        if let Some(asked) = self.asked_at.take() {
            // Ten milliseconds of CPU is what looking at the clock costs in a quiet program.
            // When it was used nobody knows but that it was since the look before, or since the start.
            if state.cpu_ms > self.cpu_ms.saturating_add(10) {
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
}

/// The run has ended in a way that its cgroup may have a part in: in a fresh one the next begins better.
fn was_cut_short(state: &State) -> bool {
    let own = state.exit.as_ref().filter(|exit| exit.incarnation == state.incarnation);
    own.is_some_and(|exit| exit.signal.is_some() || exit.oom || !exit.failed.is_empty())
}
