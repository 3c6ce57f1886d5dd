//! The real host: the engine's wishes handed to the edges, each answering later with a fact.
//!
//! One `match` over the action and nothing else to decide. What a worker starts with is put together in [`super::order`].

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::mpsc::UnboundedSender;

use super::board::Board;
use super::disks::Disks;
use super::handle::{Ask, Denied};
use super::hearing::Hearing;
use super::host::{Fact, Host};
use super::order;
use super::revisions::Recorder;
use super::shares::Looks;
use super::small::are_few;
use super::specs_door::{FIRST_WITHIN, SpecsDoor};
use super::wear::Bound;
use crate::edge::backlog::Reader;
use crate::edge::host::{self, Machine};
use crate::edge::notify_out::Notifier;
use crate::edge::slots::{Slots, Unready};
use crate::edge::statusdir::StatusDir;
use crate::edge::store::{Committed, Store, Untaken};
use crate::edge::taskfiles::TaskFiles;
use crate::edge::{clock, lines, probe};
use crate::model::batch::Batch;
use crate::model::catalogue::Stray;
use crate::model::host::{Known, Sample};
use crate::model::limits::{LimitOrder, Units};
use crate::model::metered::Metered;
use crate::model::plan::{Action, PoolFacts};
use crate::model::policy::{Amounts, Target};
use crate::model::policy_status::ForecastStatus;
use crate::model::pool::PoolSpec;
use crate::model::quantity::Memory;
use crate::model::reading::{Failure, Number};
use crate::model::scaling::{Asker, Question};
use crate::model::source::Source;
use crate::model::status::{EventObject, EventType, Kind, Object};
use crate::model::task::{Leavings, Task};
use crate::model::template::Probe;
use crate::model::text;
use crate::model::time::{Moment, Now, Span};
use crate::model::worker::SlotId;

/// A look at the machine serves all pools for so long.
const SAMPLE_FOR: Span = Span(500);

/// The edges, and the way back for what they tell.
pub struct RealHost {
    /// Shims and workers.
    pub slots: Slots,
    /// The database.
    pub store: Store,
    /// What readers see.
    pub board: Arc<Board>,
    /// Status files.
    pub status: StatusDir,
    /// The specs directory.
    pub specs: Arc<SpecsDoor>,
    /// Where facts go.
    pub facts: UnboundedSender<Fact>,
    /// Who asks, by pool and asker, with the source that it is for.
    pub readers: Readers,
    /// What pools used when they were last asked for it.
    pub looks: Looks,
    /// Looks at the machine.
    pub machine: Machine,
    /// What it had left a moment ago.
    pub sample: Option<Sample>,
    /// What file systems had left a moment ago.
    pub disks: Disks,
    /// Keeps units and their limits.
    pub units: Arc<dyn Units>,
    /// Tells receivers of events.
    pub notifier: Notifier,
    /// Specs may not be written.
    pub read_only: bool,
    /// Keeps what documents said.
    pub revisions: Recorder,
    /// The files of tasks.
    pub files: TaskFiles,
    /// Since when workers can be heard.
    pub hearing: Arc<Hearing>,
    /// Where others are asked, and what takes its time: not in the controller's own thread.
    pub aside: tokio::runtime::Handle,
}

/// Who asks, by pool and asker, with the source that it is for.
pub type Readers = BTreeMap<(String, Asker), (Source, Arc<tokio::sync::Mutex<Reader>>)>;

/// Let those go that a pool no longer asks: each may hold a connection.
fn keep(readers: &mut Readers, pool: &str, spec: &PoolSpec) {
    readers.retain(|(who, asker), (source, _)| who != pool || spec.asks(asker, source));
}

impl RealHost {
    fn send(facts: &UnboundedSender<Fact>, fact: Fact) {
        // The engine has ended: there is nobody to tell, and nothing left to do with it.
        let _heard = facts.send(fact);
    }

    fn slot_dir(&self, slot: &SlotId) -> PathBuf {
        self.files.state().join("run").join(&slot.pool).join(&slot.worker)
    }

    fn start(&self, pool: &Arc<PoolFacts>, slot: SlotId, incarnation: u64, task: Option<&Task>) {
        if order::may_wait(&pool.spec.template) {
            let (id, pool, task, files) = (slot.clone(), pool.clone(), task.cloned(), self.files.clone());
            let prepare = move || order::start((&pool, &id), incarnation, (task.as_ref(), &files));
            return self.slots.prepare(&slot, incarnation, Box::new(prepare));
        }
        match order::start((pool, &slot), incarnation, (task, &self.files)) {
            Ok(order) => self.slots.start(order),
            Err(Unready { code, message }) => {
                Self::send(&self.facts, Fact::StartFailed { slot, incarnation, code, message });
            }
        }
    }

    fn pre_stop(&self, pool: &Arc<PoolFacts>, slot: SlotId, incarnation: u64, timeout: Span) {
        let (facts, pool, dir) = (self.facts.clone(), pool.clone(), self.slot_dir(&slot));
        self.aside.spawn(async move {
            let argv = pool.spec.template.pre_stop.as_ref().map(|hook| hook.exec.command.clone()).unwrap_or_default();
            let hook = async { probe::exec(order::beside(&pool, (&slot, incarnation, dir), &argv).await?).await };
            let answer = probe::within(timeout.duration(), hook).await;
            Self::send(&facts, Fact::PreStopped { slot, incarnation, answer });
        });
    }

    /// Wait for an answer as long as it may take, and tell it.
    fn tell_answer(
        &self,
        (pool, asker): (String, Asker),
        question: &Question,
        answer: impl Future<Output = Result<Number, Failure>> + Send + 'static,
    ) {
        let (facts, timeout, source) = (self.facts.clone(), question.timeout, question.source.clone());
        let board = self.board.clone();
        self.aside.spawn(async move {
            let answer = tokio::time::timeout(timeout.duration(), answer).await;
            let answer = answer.unwrap_or_else(|_| Err(Failure::because(format!("no answer within {timeout}"))));
            if answer.is_err() {
                board.meters.failed(&pool, asker.name());
            }
            Self::send(&facts, Fact::Answered { pool, asker, source, answer });
        });
    }

    fn probe(&self, pool: &Arc<PoolFacts>, (slot, incarnation): (SlotId, u64), kind: crate::model::plan::ProbeKind, how: Probe) {
        let (facts, pool, dir) = (self.facts.clone(), pool.clone(), self.slot_dir(&slot));
        self.aside.spawn(async move {
            let answer = probe::within(how.timeout.duration(), look(&pool, (&slot, incarnation, dir), &how)).await;
            Self::send(&facts, Fact::Probed { slot, incarnation, kind, answer });
        });
    }
}

async fn look(pool: &Arc<PoolFacts>, run: order::RunOf<'_>, how: &Probe) -> Result<(), String> {
    if let Some(exec) = &how.exec {
        probe::exec(order::beside(pool, run, &exec.command).await?).await
    } else if let Some(http) = &how.http_get {
        probe::http(&http.host, http.port, &http.path).await
    } else if let Some(tcp) = &how.tcp_socket {
        probe::tcp(&tcp.host, tcp.port).await.map(drop)
    } else {
        Err("a notify probe is not asked, it tells".into())
    }
}

impl Host for RealHost {
    fn now(&self) -> Now {
        clock::now()
    }

    fn heard_since(&mut self) -> Moment {
        self.hearing.since()
    }

    fn perform(&mut self, pool: &Arc<PoolFacts>, action: &Action, task: Option<&Task>) {
        let slot = SlotId { pool: pool.name.clone(), worker: action.worker().to_owned() };
        match action {
            Action::Start { incarnation, .. } => self.start(pool, slot, *incarnation, task),
            Action::PreStop { incarnation, timeout, .. } => self.pre_stop(pool, slot, *incarnation, *timeout),
            Action::Signal { incarnation, signal, .. } => self.slots.signal(&slot, *incarnation, *signal),
            Action::Kill { incarnation, .. } => self.slots.kill(&slot, *incarnation),
            Action::Probe { incarnation, kind, probe, .. } => self.probe(pool, (slot, *incarnation), *kind, (**probe).clone()),
            Action::Look { incarnation, .. } => self.slots.find(&slot, *incarnation),
            Action::Refresh { .. } => {
                let memory = pool.spec.template.recycle.is_some_and(|recycle| recycle.max_memory.is_some());
                self.slots.refresh(&slot, memory);
            }
            Action::Forget { .. } => {
                self.files.forget_slot(&slot);
                self.slots.forget(&slot);
            }
        }
    }

    fn look(&mut self, slot: &SlotId) {
        self.slots.find(slot, 0);
    }

    fn leavings(&mut self, task: &Task, output: bool) -> Leavings {
        let left = self.files.read_result(&slot_of(task), task.run);
        if !output {
            return left;
        }
        let place = crate::edge::slots::log_place(&self.slot_dir(&slot_of(task)), false);
        let begun = place.and_then(|(begun, _)| begun);
        Leavings { output: self.files.tail(task.id, begun), ..left }
    }

    fn ended(&mut self, task: &Task) {
        self.files.forget_result(&slot_of(task), task.run);
    }

    fn forget_tasks(&mut self, ids: Vec<u64>) {
        let files = self.files.clone();
        self.aside.spawn_blocking(move || files.forget(&ids));
    }

    fn ask(&mut self, pool: &str, question: &Question) {
        let key = (pool.to_owned(), question.asker.clone());
        if let Some(of) = question.source.used() {
            let (looks, slots, asked) = (self.looks.clone(), self.slots.clone(), key.clone());
            let times = (question.timeout, question.every);
            return self.tell_answer(key, question, async move { looks.ask(&slots, asked, of, times).await });
        }
        let known = self.readers.get(&key).filter(|(source, _)| *source == question.source);
        let reader = match known {
            Some((_, reader)) => reader.clone(),
            None => {
                let reader = Arc::new(tokio::sync::Mutex::new(Reader::new(question.source.clone())));
                self.readers.insert(key.clone(), (question.source.clone(), reader.clone()));
                reader
            }
        };
        // One question at a time: the one before may not have let go yet.
        self.tell_answer(key, question, async move { reader.lock().await.read().await });
    }

    fn machine(&mut self, dir: Option<&str>) -> (Sample, Option<Known<Memory>>) {
        let now = clock::now().mono;
        let kept = self.sample.take().filter(|sample| now.since(sample.at) < SAMPLE_FOR);
        let sample = self.sample.insert(kept.unwrap_or_else(|| self.machine.sample(now))).clone();
        let aside = self.aside.clone();
        let free = |dir| self.disks.free(dir, now, |ask| drop(aside.spawn_blocking(ask)));
        (sample, dir.map(free))
    }

    fn host_capacity(&self) -> Amounts {
        host::capacity()
    }

    fn measure(&mut self, policy: &str, target: &Target) {
        let (facts, units) = (self.facts.clone(), self.units.clone());
        let (policy, target) = (policy.to_owned(), target.clone());
        self.aside.spawn(async move {
            let usage = units.read(&target).await;
            Self::send(&facts, Fact::Measured { policy, target, usage });
        });
    }

    fn limit(&mut self, policy: &str, order: LimitOrder) {
        let (facts, units, policy) = (self.facts.clone(), self.units.clone(), policy.to_owned());
        self.aside.spawn(async move {
            let outcome = super::limits::apply(&*units, &order).await;
            Self::send(&facts, Fact::Limited { policy, outcome });
        });
    }

    fn limits_unable(&self, target: &Target) -> Option<String> {
        self.units.unable(target)
    }

    fn commit(&mut self, ticket: u64, batch: Batch) {
        let (facts, board) = (self.facts.clone(), self.board.clone());
        let here = are_few(&batch);
        let done = move |result: Committed| {
            board.kept(&result);
            if let Err(Untaken::All(why)) = &result {
                Self::send(&facts, Fact::Untaken(why.clone()));
            }
            Self::send(&facts, Fact::Committed { ticket, result: result.map_err(Untaken::why) });
        };
        if here {
            // The end of a task and the next one, as when a worker asks for them: two threads that wake each other cost more.
            self.store.commit_here(batch, done);
        } else {
            // Never here: on a disk that hangs this thread still hears, and ends workers in time.
            self.store.commit(batch, done);
        }
    }

    fn list(&mut self) {
        if self.specs.wanted.swap(true, Ordering::AcqRel) {
            return;
        }
        let (facts, specs) = (self.facts.clone(), self.specs.clone());
        self.aside.spawn(specs.list(FIRST_WITHIN, move |listing| Self::send(&facts, Fact::Listed(Box::new(listing)))));
    }

    fn publish(&mut self, kind: Kind, name: &str, object: Option<Object>) {
        let changed = match object {
            Some(object) => {
                if let Object::Pool(pool) = &object {
                    keep(&mut self.readers, name, &pool.spec);
                }
                self.revisions.published(&object);
                self.board.put(object)
            }
            None => {
                if kind == Kind::Pool {
                    self.readers.retain(|(pool, _), _| pool != name);
                    self.looks.forget(name);
                    self.notifier.keep(name, 0);
                    self.board.meters.gone(name);
                }
                self.revisions.gone(kind, name);
                if kind == Kind::Policy {
                    let asker = super::policies::asker(name);
                    self.readers.retain(|(who, _), _| *who != asker);
                }
                self.board.remove(kind, name)
            }
        };
        if changed && kind != Kind::Event {
            self.status.put(kind, name, self.board.get(kind, name));
        }
    }

    fn foresee(&mut self, policy: &str, forecast: &ForecastStatus) {
        self.board.foresee(policy, forecast.clone());
    }

    fn tell(&mut self, event: &EventObject) {
        line(event);
        self.board.meters.told(event);
    }

    fn deal(&mut self, pool: &str, workers: &[String]) {
        self.board.deal(pool, workers);
    }

    fn wear(&mut self, worker: &str, bound: Option<Bound>) {
        self.board.wear.look(worker, bound);
    }

    fn meter(&mut self, what: &Metered) {
        self.board.meters.count(what);
        if let Metered::Attempt { pool, class, needed: Some(needed), .. } = what {
            self.board.learnt.add(pool, class, *needed);
        }
    }

    fn notify(&mut self, pool: &Arc<PoolFacts>, entry: usize, event: &EventObject) {
        let _aside = self.aside.enter();
        let notify = &pool.spec.notify;
        self.notifier.keep(&pool.name, notify.len());
        if let Some(how) = notify.get(entry) {
            self.notifier.tell((&pool.name, entry), how, event, clock::now().mono);
        }
    }

    fn edit(&mut self, ask: Ask) {
        let specs = self.specs.clone();
        match ask {
            Ask::Edit { dry_run: false, reply, .. } if self.read_only => {
                // Whoever asked may have hung up.
                let _heard = reply.send(Err(Denied::ReadOnly));
            }
            Ask::Edit { edit, dry_run, reply } => {
                let (facts, told) = (self.facts.clone(), self.facts.clone());
                let removed = move |key| Self::send(&told, Fact::Removed(key));
                self.aside.spawn(async move {
                    super::edit::make(specs, (edit, dry_run), reply, removed).await;
                    Self::send(&facts, Fact::Hint);
                });
            }
            Ask::Text { kind, name, reply } => drop(self.aside.spawn(super::edit::show(specs, (kind, name), reply))),
            Ask::Revisions { kind, name, reply } => self.revisions.list(kind, name, reply),
            Ask::Restart { .. }
            | Ask::Drain { .. }
            | Ask::Prune { .. }
            | Ask::Wake { .. }
            | Ask::HookRefused { .. }
            | Ask::ResetPolicy { .. } => {}
        }
    }

    fn refused(&mut self, strays: Vec<Stray>) {
        self.board.refuse(strays);
    }

    fn uid(&mut self) -> String {
        order::random_id()
    }

    fn nonce(&mut self) -> u64 {
        order::random_number()
    }
}

/// The slot that a task was run in.
fn slot_of(task: &Task) -> SlotId {
    SlotId { pool: task.pool.clone(), worker: task.worker.clone().unwrap_or_default() }
}

/// One readable line per decision: `07:31:02  pool/hello  starting hello-0`.
fn line(event: &EventObject) {
    let clock = lines::Clock::of(event.event_time);
    let mark = match event.severity {
        EventType::Normal => ' ',
        EventType::Warning => '!',
    };
    // What it is about may be a file, and a folder can have any name.
    let (about, note) = (text::marked(&event.regarding), text::marked(&event.note));
    lines::say(&format!("{clock} {mark} {about:<18} {note}"));
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// A pool with these triggers, by name and list, and one quota.
    fn pool(triggers: &[(&str, &str)]) -> PoolSpec {
        let redis = |list: &str| json!({"address": "127.0.0.1:6379", "list": list});
        let trigger = |(name, list): &(&str, &str)| json!({"name": name, "redis": redis(list), "targetPerWorker": 1});
        let triggers: Vec<Value> = triggers.iter().map(trigger).collect();
        let quota = json!({"name": "a", "source": {"redis": redis("left")}, "pauseBelow": 1, "resumeAbove": 2});
        let scale = json!({"triggers": triggers, "quota": [quota]});
        serde_json::from_value(json!({"template": {"command": ["run"]}, "scale": scale})).unwrap()
    }

    fn asked(readers: &mut Readers, pool: &str, spec: &PoolSpec) {
        let scale = spec.scale.as_ref().unwrap();
        let triggers = scale.triggers.iter().map(|one| (Asker::Trigger(one.name().to_owned()), &one.source));
        let quotas = scale.quota.iter().map(|one| (Asker::Quota(one.name.clone()), &one.source));
        for (asker, source) in triggers.chain(quotas) {
            let reader = Arc::new(tokio::sync::Mutex::new(Reader::new(source.clone())));
            readers.insert((pool.to_owned(), asker), (source.clone(), reader));
        }
    }

    #[test]
    fn who_asks_for_a_pool_is_let_go_when_its_spec_does_not_name_it_any_more() {
        let (mut readers, before) = (Readers::new(), pool(&[("a", "one"), ("b", "two"), ("c", "three")]));
        asked(&mut readers, "p", &before);
        asked(&mut readers, "q", &before);
        let mut left = |spec: &PoolSpec| -> Vec<String> {
            keep(&mut readers, "p", spec);
            readers.keys().map(|(pool, asker)| format!("{pool}/{}", asker.name())).collect()
        };
        let others = ["q/a", "q/b", "q/c", "q/a"];
        assert_eq!(left(&before), [&["p/a", "p/b", "p/c", "p/a"], &others[..]].concat());
        // One is renamed, one has another source.
        let after = pool(&[("a", "one"), ("d", "two"), ("c", "four")]);
        assert_eq!(left(&after), [&["p/a", "p/a"], &others[..]].concat());
        assert_eq!(left(&PoolSpec { scale: None, ..after }), others);
    }
}
