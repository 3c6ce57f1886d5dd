//! The simulated [`Host`]: the engine's wishes become things that happen later in the [`World`].

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;

use weir::engine::handle::Ask;
use weir::engine::host::Host;
use weir::model::batch::Batch;
use weir::model::host::{Known, Sample};
use weir::model::limits::LimitOrder;
use weir::model::plan::{Action, PoolFacts};
use weir::model::policy::{Amounts, Target};
use weir::model::quantity::Memory;
use weir::model::scaling::Question;
use weir::model::status::{EventObject, Kind, Object};
use weir::model::task::{Leavings, Task};
use weir::model::time::Now;
use weir::model::worker::SlotId;

use crate::slots::Command;
use crate::world::{Todo, World};

/// A door to the world.
pub struct SimHost {
    pub world: Rc<RefCell<World>>,
}

impl Host for SimHost {
    fn now(&self) -> Now {
        self.world.borrow().clock()
    }

    fn leavings(&mut self, _task: &Task, _output: bool) -> Leavings {
        Leavings::default()
    }

    fn forget_tasks(&mut self, _ids: Vec<u64>) {}

    fn perform(&mut self, pool: &Arc<PoolFacts>, action: &Action, task: Option<&Task>) {
        let world = &mut *self.world.borrow_mut();
        world.note(|| format!("perform {action:?}"));
        let live = world.slots.iter().filter(|(id, slot)| id.pool == pool.name && slot.works()).count();
        let id = SlotId { pool: pool.name.clone(), worker: action.worker().to_owned() };
        // What a slot does for a task says when it is stopped, not only the spec.
        let meant = world.slots.get(&id).is_some_and(|slot| world.stop_is_due(pool, slot));
        world.checks.action((&world.specs, live, meant), pool, action, world.now);
        world.judge(pool, action);
        let command = match action {
            Action::Start { incarnation, .. } => {
                if pool.per_task() != task.is_some() {
                    world.checks.fail(format!("{action:?} for {task:?}"));
                }
                Command::Start { incarnation: *incarnation, template: pool.template.clone(), task: task.map(|task| task.id) }
            }
            Action::Signal { incarnation, .. } => Command::Signal { incarnation: *incarnation },
            Action::Kill { incarnation, .. } => Command::Kill { incarnation: *incarnation },
            Action::Look { incarnation, .. } => Command::Look { incarnation: *incarnation },
            Action::Refresh { .. } => Command::Refresh,
            Action::Forget { .. } => Command::Forget,
            Action::PreStop { .. } | Action::Probe { .. } => {
                return world.checks.fail(format!("{action:?}: no template has one"));
            }
        };
        world.command(id, command);
    }

    fn look(&mut self, slot: &SlotId) {
        self.world.borrow_mut().look(slot);
    }

    fn ask(&mut self, pool: &str, question: &Question) {
        self.world.borrow_mut().answer_later(pool, question);
    }

    fn machine(&mut self, _dir: Option<&str>) -> (Sample, Option<Known<Memory>>) {
        self.world.borrow_mut().machine()
    }

    fn host_capacity(&self) -> Amounts {
        Amounts::default()
    }

    fn measure(&mut self, _policy: &str, _target: &Target) {
        self.world.borrow_mut().checks.fail("there are no policies".into());
    }

    fn limit(&mut self, _policy: &str, _order: LimitOrder) {
        self.world.borrow_mut().checks.fail("there are no policies".into());
    }

    fn limits_unable(&self, _target: &Target) -> Option<String> {
        None
    }

    fn commit(&mut self, ticket: u64, batch: Batch) {
        self.world.borrow_mut().commit_later(ticket, batch);
    }

    fn list(&mut self) {
        let world = &mut *self.world.borrow_mut();
        if !std::mem::replace(&mut world.listing_wanted, true) {
            let delay = if world.fault("a listing is late", 5) { world.random.below(2000) } else { world.random.below(10) };
            let epoch = world.epoch;
            world.later(delay, Todo::List(epoch));
        }
    }

    fn publish(&mut self, kind: Kind, name: &str, object: Option<Object>) {
        let world = &mut *self.world.borrow_mut();
        match kind {
            Kind::Event => return,
            Kind::Pool => world.checks.shown(name, object.as_ref()),
            Kind::Worker | Kind::Policy => {}
        }
        match object {
            Some(object) => world.published.insert((kind, name.to_owned()), object),
            None => world.published.remove(&(kind, name.to_owned())),
        };
        if kind == Kind::Pool {
            world.shows_who_is_stuck(name);
        }
    }

    fn tell(&mut self, event: &EventObject) {
        let world = &mut *self.world.borrow_mut();
        world.note(|| format!("event {} {}: {}", event.regarding, event.reason, event.note));
        let on_disk = world.rows.events.contains_key(&event.metadata.name);
        world.checks.tells(event, on_disk);
    }

    fn notify(&mut self, pool: &Arc<PoolFacts>, entry: usize, event: &EventObject) {
        let world = &mut *self.world.borrow_mut();
        let wants = pool.spec.notify.get(entry).is_some_and(|notify| notify.on.iter().any(|on| on.means(&event.reason)));
        if !wants {
            world.checks.fail(format!("entry {entry} of {} is told {}", pool.name, event.reason));
        }
        world.note(|| format!("notify {} {entry}: {}", pool.name, event.reason));
    }

    fn edit(&mut self, _ask: Ask) {
        self.world.borrow_mut().checks.fail("nobody edits by way of weir".into());
    }

    fn uid(&mut self) -> String {
        format!("{:08x}", self.world.borrow_mut().random.next() >> 32)
    }

    fn nonce(&mut self) -> u64 {
        self.world.borrow_mut().random.next()
    }
}
