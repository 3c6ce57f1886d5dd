//! A pool with a queue, the real engine and the real store: what happens to processes and when is told by the tests.
//!
//! The store's transactions are waited for, and fail on request. Whatever is not about tasks does nothing here.

use std::sync::Mutex;

use super::*;
use crate::decide::admit;
use crate::engine::controller::Settings;
use crate::engine::handle::Ask;
use crate::model::batch::Batch;
use crate::model::document;
use crate::model::host::{Known, Pressures, Sample};
use crate::model::limits::LimitOrder;
use crate::model::listing::{Arrival, Content, File, Listing, Stamp, Whole};
use crate::model::policy::{Amounts, Target};
use crate::model::quantity::Memory;
use crate::model::scaling::Question;
use crate::model::status::{EventObject, Kind, Object};
use crate::model::time::Moment;
use crate::model::worker::{Run, Seen};

pub(super) struct TaskHost {
    pub(super) now: Now,
    pub(super) store: Store,
    pub(super) facts: Arc<Mutex<Vec<Fact>>>,
    /// The next transactions fail.
    pub(super) fails: bool,
    /// The next transactions wait here.
    pub(super) held: Option<Vec<(u64, Batch)>>,
    /// What runs have left behind.
    pub(super) results: BTreeMap<(String, u64), serde_json::Value>,
    /// What each run has said last.
    pub(super) output: &'static str,
    pub(super) performed: Vec<Action>,
    /// How often the queue was dealt.
    pub(super) deals: usize,
    /// What was shown last of how worn each worker is.
    pub(super) worn: BTreeMap<String, Option<Bound>>,
    /// Whether each change of size that was counted was one to more.
    pub(super) scaled: Vec<bool>,
    pub(super) told: Vec<String>,
    /// How many tasks each pool is shown to run.
    pub(super) running: BTreeMap<String, u64>,
}

impl TaskHost {
    /// Do this in a transaction, as whoever serves the queues does.
    pub(super) fn work(&self, work: QueueWork) -> QueueAnswer {
        let (tell, told) = std::sync::mpsc::channel();
        let batch = Batch { queue: vec![work], at: self.now, ..Batch::default() };
        self.store.commit(batch, move |answers| tell.send(answers).unwrap());
        let answer = told.recv().unwrap().unwrap().pop().unwrap();
        let mut changed = Vec::new();
        match &answer {
            QueueAnswer::Leased(task) => changed.extend(task.clone()),
            QueueAnswer::Task { task, .. } => changed.push(task.clone()),
            QueueAnswer::Ended { task, next, .. } => changed.extend([Some(task.clone()), next.clone()].into_iter().flatten()),
            QueueAnswer::Submitted(_) | QueueAnswer::Ticked { .. } | QueueAnswer::Done | QueueAnswer::Refused(_) => {}
        }
        self.facts.lock().unwrap().extend(changed.into_iter().map(Fact::Task));
        answer
    }
}

impl Host for TaskHost {
    fn now(&self) -> Now {
        self.now
    }
    fn perform(&mut self, _: &Arc<PoolFacts>, action: &Action, _: Option<&Task>) {
        self.performed.push(action.clone());
    }
    fn leavings(&mut self, task: &Task, output: bool) -> Leavings {
        let result = self.results.get(&(task.worker.clone().unwrap(), task.run)).cloned();
        Leavings { result, lost: None, output: if output { self.output.to_owned() } else { String::new() } }
    }
    fn ended(&mut self, task: &Task) {
        self.results.remove(&(task.worker.clone().unwrap(), task.run));
    }
    fn forget_tasks(&mut self, _: Vec<u64>) {}
    fn look(&mut self, _: &SlotId) {}
    fn ask(&mut self, _: &str, _: &Question) {}
    fn machine(&mut self, _: Option<&str>) -> (Sample, Option<Known<Memory>>) {
        let none = || Err("not looked at".to_owned());
        let pressure = Pressures { cpu: none(), memory: none(), io: none() };
        (Sample { at: self.now.mono, idle: Err("no".into()), memory: Ok(Memory(1 << 40)), pressure }, None)
    }
    fn host_capacity(&self) -> Amounts {
        Amounts::default()
    }
    fn measure(&mut self, _: &str, _: &Target) {}
    fn limit(&mut self, _: &str, _: LimitOrder) {}
    fn limits_unable(&self, _: &Target) -> Option<String> {
        None
    }
    fn commit(&mut self, ticket: u64, batch: Batch) {
        self.deals += batch.queue.iter().filter(|work| matches!(work, QueueWork::Deal { .. })).count();
        if let Some(held) = &mut self.held {
            return held.push((ticket, batch));
        }
        let (tell, told) = std::sync::mpsc::channel();
        let result = if self.fails {
            Err("disk I/O error".to_owned())
        } else {
            self.store.commit(batch, move |answers| tell.send(answers).unwrap());
            told.recv().unwrap().map_err(crate::edge::store::Untaken::why)
        };
        self.facts.lock().unwrap().push(Fact::Committed { ticket, result });
    }
    fn list(&mut self) {}
    fn publish(&mut self, _: Kind, name: &str, object: Option<Object>) {
        if let Some(Object::Pool(pool)) = object {
            self.running.insert(name.to_owned(), pool.status.queue.map_or(0, |queue| queue.running));
        }
    }
    fn tell(&mut self, event: &EventObject) {
        self.told.push(event.note.clone());
    }
    fn notify(&mut self, _: &Arc<PoolFacts>, _: usize, _: &EventObject) {}
    fn edit(&mut self, _: Ask) {}
    fn nonce(&mut self) -> u64 {
        1
    }
    fn wear(&mut self, worker: &str, bound: Option<Bound>) {
        self.worn.insert(worker.to_owned(), bound);
    }

    fn meter(&mut self, what: &Metered) {
        if let Metered::Scaled { up, .. } = what {
            self.scaled.push(*up);
        }
    }

    fn uid(&mut self) -> String {
        "u".into()
    }
}

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) engine: Engine<TaskHost>,
}

impl World {
    /// A pool `p` of so many workers, with these rules of its queue (a YAML flow mapping without braces).
    pub(super) fn new(replicas: u32, rules: &str) -> World {
        let mut world = World::empty();
        world.spec(replicas, "", rules);
        world
    }

    pub(super) fn empty() -> World {
        let dir = tempfile::tempdir().unwrap();
        let facts: Arc<Mutex<Vec<Fact>>> = Arc::default();
        let told = facts.clone();
        let changed = move |pool: &str, counts| told.lock().unwrap().push(Fact::Queue(pool.to_owned(), counts));
        let queues = Queues { work: queue::work, changed: Box::new(changed) };
        let (store, stored) = Store::open(&dir.path().join("weir.db"), "boot", queues).unwrap();
        let now = Now { mono: Moment(1_000_000), wall: Wall(1_700_000_000_000) };
        let (results, performed, worn) = (BTreeMap::new(), Vec::new(), BTreeMap::new());
        let host = TaskHost {
            now,
            store,
            facts,
            fails: false,
            held: None,
            results,
            output: "",
            performed,
            deals: 0,
            worn,
            scaled: Vec::new(),
            told: Vec::new(),
            running: BTreeMap::new(),
        };
        let settings =
            Settings { starts_in_flight_max: 4, admission: admit::Settings::default(), controllers: Default::default() };
        let mut world = World { dir, engine: Engine::new(host, settings, stored) };
        world.engine.on(Fact::Recovered);
        world
    }

    pub(super) fn spec(&mut self, replicas: u32, template: &str, rules: &str) {
        let text = format!(
            "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: p}}\nspec:\n  replicas: {replicas}\n  template: {{command: [x]{template}}}\n  \
             queue: {{{rules}}}\n"
        );
        self.texts(&[&text]);
        self.settle();
    }

    /// These documents are the specs.
    pub(super) fn texts(&mut self, all: &[&str]) {
        let mut whole = Whole::default();
        for (n, text) in all.iter().enumerate() {
            let content = Content { hash: (*text).into(), documents: document::parse(text.as_bytes()) };
            assert!(content.documents.iter().all(Result::is_ok), "{:?}", content.documents);
            let file = File { stamp: Stamp::default(), arrival: Arrival::RenamedIn, content: Ok(Arc::new(content)) };
            whole.files.insert(format!("p{n}.yaml"), file);
        }
        self.engine.on(Fact::Listed(Box::new(Listing::Files(whole))));
    }

    /// Everything that is due now, and what comes of it.
    pub(super) fn settle(&mut self) {
        loop {
            self.engine.turn();
            let facts = std::mem::take(&mut *self.engine.host().facts.lock().unwrap());
            if facts.is_empty() {
                return;
            }
            facts.into_iter().for_each(|fact| self.engine.on(fact));
        }
    }

    pub(super) fn pass(&mut self, ms: u64) {
        let host = self.engine.host();
        (host.now.mono, host.now.wall.0) = (host.now.mono.after(Span(ms)), host.now.wall.0 + i64::try_from(ms).unwrap());
        self.settle();
    }

    pub(super) fn rules(&self) -> (Arc<Queue>, Vec<String>) {
        let facts = self.engine.pools["p"].facts.clone().unwrap();
        let queue = facts.spec.queue.clone().unwrap();
        let divided = queue.dispatch == Dispatch::PerWorker;
        let workers =
            if divided { crate::decide::roster::names(("p", &facts.spec), facts.spec.replicas.unwrap()) } else { Vec::new() };
        (Arc::new(queue), workers)
    }

    /// Somebody sets the wall clock by so much.
    pub(super) fn set_clock(&mut self, by: i64) {
        self.engine.host().now.wall.0 += by;
        self.settle();
    }

    pub(super) fn tasks(&mut self) -> usize {
        let reader = crate::edge::store::read::Reader::open(&self.dir.path().join("weir.db")).unwrap();
        reader.tasks(&Default::default()).unwrap().tasks.len()
    }

    pub(super) fn work(&mut self, work: QueueWork) -> QueueAnswer {
        let answer = self.engine.host().work(work);
        self.settle();
        answer
    }

    pub(super) fn submit(&mut self, task: NewTask) -> Task {
        let (queue, workers) = self.rules();
        let answer = self.work(QueueWork::Submit { pool: "p".into(), queue, tasks: vec![task], workers });
        let QueueAnswer::Submitted(mut all) = answer else { panic!("{answer:?}") };
        all.pop().unwrap().task
    }

    pub(super) fn task(&mut self, id: u64) -> Task {
        let reader = crate::edge::store::read::Reader::open(&self.dir.path().join("weir.db")).unwrap();
        let all = reader.tasks(&Default::default()).unwrap().tasks;
        all.into_iter().map(|(task, _)| task).find(|task| task.id == id).expect("it is there")
    }

    /// The lease that the engine keeps of a task.
    pub(super) fn lease(&self, id: u64) -> Option<&Task> {
        self.engine.pools["p"].line.leases.get(&id)
    }

    /// A worker looks so now.
    pub(super) fn seen(&mut self, worker: &str, state: SlotState, exit: Option<Exit>) {
        let slot = SlotId { pool: "p".into(), worker: worker.into() };
        self.engine.on(Fact::Seen(slot, Seen { state, shim: Some(1), exit }));
        self.settle();
    }

    pub(super) fn runs(&mut self, worker: &str, incarnation: u64) {
        let started = self.engine.host().now.mono;
        let template = self.engine.pools["p"].facts.clone().unwrap().template.clone();
        let run = Run { incarnation, pid: 7, started, template, ready: true, ..Run::default() };
        self.seen(worker, SlotState::Running(run), None);
    }

    pub(super) fn ends(&mut self, worker: &str, exit: Exit) {
        let finished = self.engine.host().now.wall;
        self.seen(worker, SlotState::Vacant, Some(Exit { finished, ..exit }));
    }
}

pub(super) fn done(incarnation: u64) -> Exit {
    Exit { incarnation, reason: crate::model::worker::ExitReason::Completed, code: Some(0), ..Exit::default() }
}
