//! One schedule: some hundred random events, then calm, then what must hold in the end.

use std::cell::{RefCell, RefMut};
use std::collections::BTreeMap;
use std::rc::Rc;

use tokio::sync::oneshot;
use weir::decide::admit;
use weir::engine::controller::{Engine, Settings};
use weir::engine::handle::Ask;
use weir::engine::host::Fact;
use weir::model::status::{Object, Truth};
use weir::model::time::Span;
use weir::model::worker::SlotId;

use crate::checks;
use crate::host::SimHost;
use crate::queue::POOL;
use crate::slots::Inside;
use crate::world::{Todo, World};

/// How long all is left alone before what must hold in the end must hold.
const CALM: u64 = 300_000;
/// How long all that has settled is looked at.
const STILL: u64 = 60_000;

/// What came of a schedule.
pub struct Outcome {
    pub violation: Option<String>,
    pub trace: Vec<String>,
    pub faults: BTreeMap<&'static str, u64>,
}

struct Sim {
    world: Rc<RefCell<World>>,
    engine: Option<Engine<SimHost>>,
    wake: Option<u64>,
}

/// Play the schedule of a seed.
pub fn play(seed: u64, traced: bool) -> Outcome {
    let world = Rc::new(RefCell::new(World::new(seed, traced)));
    let mut sim = Sim { world, engine: None, wake: None };
    sim.boot();
    let events = 100 + sim.world().random.below(200);
    for _ in 0..events {
        sim.disturb();
        let pause = sim.world().random.pick(&[0, 0, 5, 50, 500, 2500]);
        let until = sim.world().now + pause;
        sim.advance(until);
        if sim.world().checks.violation.is_some() {
            break;
        }
    }
    if sim.world().checks.violation.is_none() {
        sim.calm_down();
    }
    let world = &mut *sim.world();
    Outcome {
        violation: world.checks.violation.take(),
        trace: world.trace.take().unwrap_or_default(),
        faults: std::mem::take(&mut world.faults),
    }
}

impl Sim {
    fn world(&self) -> RefMut<'_, World> {
        self.world.borrow_mut()
    }

    /// One random event.
    fn disturb(&mut self) {
        let dice = self.world().random.below(130);
        match dice {
            0..=44 => self.world().edit(),
            45..=54 => self.end_one(),
            55..=64 => self.kill_a_shim(),
            65..=74 => (0..3).for_each(|_| self.turn_busy()),
            75..=80 => self.kill_daemon(),
            81..=84 => self.world().hide(),
            85..=89 => self.ask_restart(),
            90 | 91 => self.world().send(Fact::Hint),
            92..=94 => self.world().run_short(),
            100.. => self.world().use_the_queue(),
            _ => {
                let until = self.world().now + 15_000;
                self.advance(until);
            }
        }
    }

    fn any_slot(&self, wanted: impl Fn(&Inside) -> bool) -> Option<SlotId> {
        let mut world = self.world();
        let found: Vec<SlotId> =
            world.slots.iter().filter(|(_, slot)| slot.shim && wanted(&slot.inside)).map(|(id, _)| id.clone()).collect();
        (!found.is_empty()).then(|| world.random.pick(&found))
    }

    fn end_one(&mut self) {
        let Some(id) = self.any_slot(|inside| matches!(inside, Inside::Process(_))) else { return };
        let mut world = self.world();
        let (incarnation, end) = (world.slot(&id).incarnation(), world.any_end());
        world.note(|| format!("{} ends: {end:?}", id.worker));
        world.die(&id, incarnation, end);
    }

    fn kill_a_shim(&mut self) {
        let Some(id) = self.any_slot(|_| true) else { return };
        let mut world = self.world();
        world.note(|| format!("the shim of {} is killed", id.worker));
        *world.faults.entry("a shim is killed").or_default() += 1;
        world.kill_shim(&id);
    }

    fn turn_busy(&mut self) {
        let Some(id) = self.any_slot(|inside| matches!(inside, Inside::Process(_))) else { return };
        let mut world = self.world();
        if id.pool == POOL {
            // Who works on a task says so by living.
            return;
        }
        if let Inside::Process(run) = &mut world.slot(&id).inside {
            run.busy = !run.busy;
        }
        world.tell_slot(&id);
    }

    fn ask_restart(&mut self) {
        let Some(id) = self.any_slot(|_| true) else { return };
        let (reply, _answer) = oneshot::channel();
        self.world().checks.asked(&id);
        if let Some(engine) = &mut self.engine {
            engine.on(Fact::Asked(Ask::Restart { worker: id.worker, reply }));
            self.turn();
        }
    }

    fn kill_daemon(&mut self) {
        if self.engine.take().is_none() {
            return;
        }
        self.wake = None;
        let mut world = self.world();
        world.note(|| "the daemon is killed".into());
        *world.faults.entry("the daemon is killed").or_default() += 1;
        world.kill_daemon();
        let gap = world.random.pick(&[0, 300, 5000, 60_000]);
        world.later(gap, Todo::Boot);
    }

    fn boot(&mut self) {
        let stored = self.world().boot();
        self.world().note(|| "a daemon starts".into());
        let settings = Settings {
            starts_in_flight_max: 4,
            admission: admit::Settings { prune_grace: Span::secs(10) },
            controllers: Default::default(),
        };
        let mut engine = Engine::new(SimHost { world: self.world.clone() }, settings, stored);
        engine.on(Fact::Hint);
        self.engine = Some(engine);
        self.world().recover();
        self.turn();
    }

    fn turn(&mut self) {
        if let Some(engine) = &mut self.engine {
            self.wake = engine.turn().map(|at| at.0);
        }
        let world = &mut *self.world();
        world.checks.always(&world.slots);
        if let Some(message) = crate::panicked() {
            world.checks.fail(format!("a panic: {message}"));
        }
    }

    /// Let time pass, from one thing that happens to the next.
    fn advance(&mut self, until: u64) {
        loop {
            let next = [self.world().next_at(), self.wake].into_iter().flatten().min();
            let Some(next) = next.filter(|at| *at <= until) else { break };
            let mut world = self.world();
            world.now = next.max(world.now);
            let todo = world.take_due();
            // Facts that come together are mostly taken in together.
            let more = world.next_at().is_some_and(|at| at <= world.now) && world.random.chance(60);
            drop(world);
            if let Some(todo) = todo {
                self.happen(todo);
            }
            if !more {
                self.turn();
            }
            if self.world().checks.violation.is_some() {
                return;
            }
        }
        self.world().now = until;
    }

    fn happen(&mut self, todo: Todo) {
        self.world().note(|| format!("{todo:?}"));
        let fact = match todo {
            Todo::Fact(epoch, fact) => (epoch == self.world().epoch).then_some(fact),
            Todo::Answer(epoch, answer) if epoch == self.world().epoch => {
                let mut world = self.world();
                let now = world.now;
                world.checks.sizes.answered(&answer, now);
                Some(answer.fact())
            }
            Todo::List(_) => {
                let mut world = self.world();
                world.listing_wanted = false;
                Some(Fact::Listed(Box::new(world.specs.listing())))
            }
            Todo::Boot => return self.boot(),
            other => {
                self.world().happen(other);
                None
            }
        };
        if let (Some(fact), Some(engine)) = (fact, &mut self.engine) {
            if let Fact::Seen(id, seen) = &fact {
                let world = &mut *self.world.borrow_mut();
                world.checks.sizes.told(id, seen, world.now);
            }
            engine.on(fact);
        }
    }

    /// Nothing fails any more; blocked removals are confirmed; in the end all must be as it is wanted.
    fn calm_down(&mut self) {
        self.world().note(|| "calm".into());
        self.world().calm = true;
        self.rest(7_000);
        self.world().put_right();
        self.world().let_the_queue_go();
        self.world().all_idle();
        let end = self.world().now + CALM;
        let mut found = Err("no time".to_owned());
        while self.world().now < end && self.world().checks.violation.is_none() {
            self.rest(20_000);
            self.confirm_removals();
            found = checks::settled(&self.world());
            if found.is_ok() {
                return self.stand_still();
            }
        }
        if let Err(error) = found {
            self.world().checks.fail(format!("after calm: {error}"));
        }
    }

    /// What has come to rest stays so.
    fn stand_still(&mut self) {
        let before = self.world().checks.sizes.wanted();
        self.rest(STILL);
        let after = self.world().checks.sizes.wanted();
        if before != after {
            self.world().checks.fail(format!("nothing changes any more, and the sizes {before:?} become {after:?}"));
        }
    }

    fn rest(&mut self, span: u64) {
        let until = self.world().now + span;
        self.advance(until);
    }

    fn confirm_removals(&mut self) {
        let token = self.world().published.values().find_map(blocked);
        if let (Some(token), Some(engine)) = (token, &mut self.engine) {
            let (reply, _answer) = oneshot::channel();
            engine.on(Fact::Asked(Ask::Prune { token, reply }));
            self.turn();
        }
    }
}

/// The token that a pool shows.
fn blocked(object: &Object) -> Option<String> {
    let Object::Pool(pool) = object else { return None };
    let condition =
        pool.status.conditions.iter().find(|condition| condition.kind == "PruneBlocked" && condition.status == Truth::True)?;
    Some(condition.message.split("--confirm ").nth(1)?.trim_end_matches('`').to_owned())
}
