//! Shims and processes, as they truly are: one per slot, with the identity lock.
//!
//! The lock is held while a process lives, whether or not its shim does. Nothing here knows what weir believes.

use weir::decide::workers::STUCK_AFTER;
use weir::model::status::{Kind, Object, Phase};
use weir::model::time::Moment;
use weir::model::worker::{Exit, ExitReason, Run, Seen, SlotId, SlotState, Stopping};

use crate::world::{Todo, World};

/// Pids are few, so that they come back.
const PIDS: u64 = 64;

/// A fact, or a commit, that is late comes within this.
const LATE: u64 = 3500;

/// What is in a slot.
#[derive(Clone, Debug, Default)]
pub enum Inside {
    /// The tree is empty: the lock is free, or an idle shim holds it.
    #[default]
    Nothing,
    /// The shim was told go; exec has not answered yet.
    Starting { incarnation: u64, template: String },
    /// A process lives.
    Process(Box<Run>),
}

/// One slot.
#[derive(Clone, Debug, Default)]
pub struct SimSlot {
    pub inside: Inside,
    /// The shim lives.
    pub shim: bool,
    /// The exit record on disk.
    pub exit: Option<Exit>,
    /// The last run that the shim wrote down as started.
    pub started: u64,
    /// The present process does not end on TERM.
    pub stubborn: bool,
    /// The daemon hunts for what a killed shim left.
    pub hunted: bool,
    /// What lives in it does so for this task.
    pub task: Option<u64>,
    /// The daemon cannot reach its shim for now.
    pub mute: bool,
}

/// How a process ends.
#[derive(Clone, Copy, Debug)]
pub enum End {
    Code(i32),
    Signal(i32),
}

/// What weir tells a shim.
#[derive(Clone, Debug)]
pub enum Command {
    Start { incarnation: u64, template: String, task: Option<u64> },
    Signal { incarnation: u64 },
    Kill { incarnation: u64 },
    Forget,
    Look { incarnation: u64 },
    Refresh,
}

impl SimSlot {
    /// Something of the worker lives.
    pub fn alive(&self) -> bool {
        !matches!(self.inside, Inside::Nothing)
    }

    /// It lives, and is not on its way out.
    pub fn works(&self) -> bool {
        match &self.inside {
            Inside::Nothing => false,
            Inside::Starting { .. } => true,
            Inside::Process(run) => run.stop.is_none() && !run.clearing,
        }
    }

    pub fn incarnation(&self) -> u64 {
        match &self.inside {
            Inside::Nothing => 0,
            Inside::Starting { incarnation, .. } => *incarnation,
            Inside::Process(run) => run.incarnation,
        }
    }

    /// The last run that there was.
    fn last(&self) -> u64 {
        self.incarnation().max(self.exit.as_ref().map_or(0, |exit| exit.incarnation))
    }

    /// As the shim, or the daemon that looks for one, tells it.
    fn seen(&self, now: u64) -> Seen {
        let state = match &self.inside {
            _ if self.mute => SlotState::Lost { since: Moment(now) },
            Inside::Nothing => SlotState::Vacant,
            Inside::Starting { .. } | Inside::Process(_) if !self.shim => SlotState::Lost { since: Moment(now) },
            Inside::Starting { incarnation, .. } => SlotState::Starting { incarnation: *incarnation, since: Moment(now) },
            Inside::Process(run) => SlotState::Running((**run).clone()),
        };
        Seen { state, shim: self.shim.then_some(1), exit: self.exit.clone() }
    }
}

impl World {
    pub fn slot(&mut self, id: &SlotId) -> &mut SimSlot {
        self.slots.entry(id.clone()).or_default()
    }

    /// Tell how a slot looks now.
    pub fn tell_slot(&mut self, id: &SlotId) {
        let now = self.now;
        let seen = self.slot(id).seen(now);
        self.send_of(id, weir::engine::host::Fact::Seen(id.clone(), seen));
    }

    /// A command reaches its slot.
    pub fn obey(&mut self, id: &SlotId, command: Command) {
        match command {
            Command::Start { incarnation, template, task } => self.start(id, incarnation, (template, task)),
            Command::Signal { incarnation } => self.signal(id, incarnation),
            Command::Kill { incarnation } => self.kill(id, incarnation),
            Command::Forget => {
                if self.slots.get(id).is_some_and(SimSlot::alive) {
                    self.checks.fail(format!("{} is forgotten though something of it lives", id.worker));
                }
                self.slots.remove(id);
            }
            Command::Look { incarnation } => {
                self.tell_slot(id);
                let slot = self.slot(id);
                if !slot.mute && slot.last() < incarnation {
                    let message = "its start got lost on the way".into();
                    self.send_of(
                        id,
                        weir::engine::host::Fact::StartFailed { slot: id.clone(), incarnation, code: None, message },
                    );
                }
            }
            Command::Refresh => self.tell_slot(id),
        }
    }

    fn start(&mut self, id: &SlotId, incarnation: u64, (template, task): (String, Option<u64>)) {
        if self.slot(id).alive() {
            let living = self.slot(id).incarnation();
            self.checks.fail(format!("{} is started as run {incarnation} while run {living} of it lives", id.worker));
        }
        if let Some(task) = task {
            self.begin_task(id, incarnation, task);
        }
        if self.fault("spawn fails", 3) {
            let message = "no shim: Resource temporarily unavailable".into();
            self.send_of(id, weir::engine::host::Fact::StartFailed { slot: id.clone(), incarnation, code: None, message });
            return;
        }
        let slot = self.slot(id);
        (slot.shim, slot.started, slot.task) = (true, incarnation, task);
        slot.inside = Inside::Starting { incarnation, template };
        self.tell_slot(id);
        let delay = self.random.delay(400);
        self.later(delay, Todo::Exec(id.clone(), incarnation));
    }

    /// Exec answers.
    pub fn exec(&mut self, id: &SlotId, incarnation: u64) {
        let now = self.now;
        let Inside::Starting { incarnation: present, template } = self.slot(id).inside.clone() else { return };
        if present != incarnation || !self.slot(id).shim {
            return;
        }
        let pid = self.free_pid();
        if self.fault("exec fails", 4) || pid.is_none() {
            let (message, finished) = (Some("exec p: No such file or directory".into()), self.clock().wall);
            self.record_end(id, Exit { incarnation, reason: ExitReason::StartError, message, finished, ..Exit::default() });
            return;
        }
        let run = Run { incarnation, pid: pid.unwrap_or(1), started: Moment(now), template, ..Run::default() };
        let stubborn = self.fault("TERM is ignored", 8);
        let slot = self.slot(id);
        (slot.inside, slot.stubborn) = (Inside::Process(Box::new(run)), stubborn);
        self.tell_slot(id);
        if self.slot(id).task.is_some() {
            self.live_for_a_task(id, incarnation);
        } else if self.fault("it ends by itself", 30) {
            let within = self.random.pick(&[50, 2_000, 20_000, 90_000]);
            let (life, end) = (self.random.below(within), self.any_end());
            self.later(life, Todo::Die(id.clone(), incarnation, end));
        }
    }

    pub fn any_end(&mut self) -> End {
        self.random.pick(&[End::Code(0), End::Code(1), End::Code(7), End::Code(127), End::Signal(9), End::Signal(11)])
    }

    fn free_pid(&mut self) -> Option<i32> {
        let used: Vec<i32> = self
            .slots
            .values()
            .filter_map(|slot| match &slot.inside {
                Inside::Process(run) => Some(run.pid),
                Inside::Nothing | Inside::Starting { .. } => None,
            })
            .collect();
        let first = self.random.below(PIDS);
        let all = (0..PIDS).map(|n| i32::try_from(2 + (first + n) % PIDS).unwrap_or(2));
        all.into_iter().find(|pid| !used.contains(pid))
    }

    /// The run of that number, if its shim can be spoken to about it.
    fn run(&mut self, id: &SlotId, incarnation: u64) -> Option<&mut Run> {
        let slot = self.slots.get_mut(id).filter(|slot| slot.shim && !slot.mute)?;
        match &mut slot.inside {
            Inside::Process(run) if run.incarnation == incarnation => Some(run),
            Inside::Process(_) | Inside::Nothing | Inside::Starting { .. } => None,
        }
    }

    fn signal(&mut self, id: &SlotId, incarnation: u64) {
        let since = Moment(self.now);
        let Some(run) = self.run(id, incarnation) else { return };
        run.stop = run.stop.or(Some(Stopping { since, killed: None }));
        self.tell_slot(id);
        if !self.slot(id).stubborn {
            let delay = self.random.delay(4000);
            let end = self.random.pick(&[End::Code(0), End::Signal(15), End::Code(143)]);
            self.later(delay, Todo::Die(id.clone(), incarnation, end));
        }
    }

    fn kill(&mut self, id: &SlotId, incarnation: u64) {
        let killed = Some(Moment(self.now));
        let Some(run) = self.run(id, incarnation) else { return };
        run.stop = run.stop.map(|stop| Stopping { killed, ..stop });
        self.tell_slot(id);
        let delay = if self.fault("death is slow", 15) { self.random.below(14_000) } else { self.random.below(20) };
        self.later(delay, Todo::Die(id.clone(), incarnation, End::Signal(9)));
    }

    /// The main process ends; now and then something of it is left for a while.
    pub fn die(&mut self, id: &SlotId, incarnation: u64, end: End) {
        let lingers = self.fault("descendants linger", 10);
        let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.shim) else { return };
        let Inside::Process(run) = &mut slot.inside else { return };
        if run.incarnation != incarnation {
            return;
        }
        if lingers && !run.clearing {
            run.clearing = true;
            self.tell_slot(id);
            let delay = self.random.below(3000);
            self.later(delay, Todo::Die(id.clone(), incarnation, end));
            return;
        }
        let run = (**run).clone();
        let exit = self.exit_of(&run, end);
        self.record_end(id, exit);
    }

    /// A pool was shown just now, and its workers before it: who was killed long ago and lives is no longer only on its way out.
    pub fn shows_who_is_stuck(&mut self, pool: &str) {
        let now = self.now;
        let killed = |slot: &SimSlot| match &slot.inside {
            Inside::Process(run) => run.stop.and_then(|stop| stop.killed),
            Inside::Nothing | Inside::Starting { .. } => None,
        };
        let long = |slot: &SimSlot| slot.shim && killed(slot).is_some_and(|at| now - at.0 > STUCK_AFTER.0 + LATE);
        let shown = |id: &SlotId| match self.published.get(&(Kind::Worker, id.worker.clone())) {
            Some(Object::Worker(worker)) => Some(worker.status.phase),
            Some(_) | None => None,
        };
        let mut ours = self.slots.iter().filter(|(id, slot)| id.pool == pool && long(slot));
        if let Some((id, _)) = ours.find(|(id, _)| shown(id) == Some(Phase::Terminating)) {
            self.checks.fail(format!("{} outlives SIGKILL and is not shown as stuck", id.worker));
        }
    }

    fn exit_of(&self, run: &Run, end: End) -> Exit {
        let now = self.clock();
        let (reason, code, signal) = match end {
            End::Code(0) => (ExitReason::Completed, Some(0), None),
            End::Code(code) => (ExitReason::Error, Some(code), None),
            End::Signal(signal) => (ExitReason::Signaled, None, Some(signal)),
        };
        let (started, ran_ms) = (Some(now.wall_of(run.started)), now.mono.since(run.started).0);
        Exit {
            incarnation: run.incarnation,
            reason,
            code,
            signal,
            started,
            ran_ms,
            finished: now.wall,
            asked: run.stop.is_some(),
            ..Exit::default()
        }
    }

    /// The tree is empty, and the shim writes down how it came to that.
    fn record_end(&mut self, id: &SlotId, exit: Exit) {
        let task = self.slot(id).task.take();
        // How a task's run ended is told of the task; that its worker cannot run at all is told of the worker.
        if task.is_none() || exit.reason == ExitReason::StartError {
            let template = match &self.slot(id).inside {
                Inside::Nothing => String::new(),
                Inside::Starting { template, .. } => template.clone(),
                Inside::Process(run) => run.template.clone(),
            };
            self.checks.ended(id, &exit, (&template, self.now));
        }
        if let Some(task) = task {
            self.line.ended(task, &exit);
        }
        let slot = self.slot(id);
        (slot.inside, slot.exit) = (Inside::Nothing, Some(exit));
        self.tell_slot(id);
    }

    /// The daemon cannot reach a shim for now: no descriptor is left, or no memory. What it keeps goes on.
    pub fn mute(&mut self, id: &SlotId) {
        self.slot(id).mute = true;
        self.tell_slot(id);
        let (delay, epoch) = (self.random.below(9000), self.epoch);
        self.later(delay, Todo::Reached(epoch, id.clone()));
    }

    /// It can be reached again.
    pub fn reached(&mut self, id: &SlotId) {
        if let Some(slot) = self.slots.get_mut(id).filter(|slot| slot.mute) {
            slot.mute = false;
            if slot.shim { self.tell_slot(id) } else { self.hunt(id) }
        }
    }

    /// The daemon looks at a slot that nothing was told of.
    pub fn look(&mut self, id: &SlotId) {
        if self.slot(id).shim {
            self.tell_slot(id);
        } else {
            self.hunt(id);
        }
    }

    /// A shim is killed. What it held lives on, and holds the lock.
    pub fn kill_shim(&mut self, id: &SlotId) {
        self.slot(id).shim = false;
        if self.daemon_lives && !self.slot(id).mute {
            self.hunt(id);
        }
    }

    /// The daemon finds a slot without a shim: it is vacant, or hunted until it is.
    pub fn hunt(&mut self, id: &SlotId) {
        if !self.slot(id).alive() {
            return self.hunted(id);
        }
        self.slot(id).hunted = true;
        self.tell_slot(id);
        let delay = if self.random.chance(20) { self.random.below(8000) } else { self.random.below(60) };
        let epoch = self.epoch;
        self.later(delay, Todo::Hunted(epoch, id.clone()));
    }

    /// Nothing of the slot lives any more, and nobody can know how its last run ended.
    pub fn hunted(&mut self, id: &SlotId) {
        let (incarnation, alive) = (self.slot(id).incarnation(), self.slot(id).alive());
        if alive && self.slot(id).task.take().is_none() {
            self.checks.lost(id, incarnation, self.now);
        }
        let finished = self.clock().wall;
        let slot = self.slot(id);
        (slot.inside, slot.hunted) = (Inside::Nothing, false);
        let known = slot.exit.as_ref().map_or(0, |exit| exit.incarnation);
        let mut seen = slot.seen(0);
        if slot.started > known {
            seen.exit = Some(Exit { incarnation: slot.started, finished, ..Exit::default() });
        }
        self.send_of(id, weir::engine::host::Fact::Seen(id.clone(), seen));
        self.recovered(id);
    }
}
