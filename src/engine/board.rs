//! What was last published: every served object, its version, and the changes since.
//!
//! The engine is the only writer. Readers take a short lock and clone `Arc`s; they never wait for a turn. A bounded log of
//! changes lets a watcher catch up after it was away; one that was away for longer is told to list again ([`Gone`]).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::watch;

use super::learnt::Learnt;
use super::meters::Meters;
use super::nudges::Nudges;
use super::wear::Wear;
use crate::edge::store::{Committed, Untaken};
use crate::model::catalogue::Stray;
use crate::model::meta;
use crate::model::policy_status::ForecastStatus;
use crate::model::status::{Kind, Object, SUCCEEDED_BY};

/// Changes kept for watchers that lag: about 4 MiB at worst.
const CHANGES_KEPT: usize = 4096;

/// One change of one object.
#[derive(Clone, Debug)]
pub struct Change {
    /// The version that it made.
    pub version: u64,
    /// ADDED, MODIFIED or DELETED.
    pub verb: &'static str,
    /// The object after it (before it, when deleted).
    pub object: Arc<Object>,
}

/// The version asked for is older than the changes kept: list again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the resource version is too old: list again")]
pub struct Gone;

#[derive(Default)]
struct State {
    version: u64,
    objects: BTreeMap<(Kind, String), Arc<Object>>,
    /// What a daemon before this one had, and that was not published yet.
    expected: BTreeSet<(Kind, String)>,
    changes: VecDeque<Change>,
}

/// The published objects.
pub struct Board {
    state: Mutex<State>,
    versions: watch::Sender<u64>,
    /// What was counted beside them.
    pub meters: Meters,
    /// What tasks needed, and how long those wait that wait.
    pub learnt: Learnt,
    /// What runs have done of which only so many tasks may be done.
    pub wear: Wear,
    /// Who hears of what is shown of a worker.
    pub(super) nudges: Nudges,
    /// What is expected of each policy's target, with the way there, which is too long for the object.
    forecasts: Mutex<BTreeMap<String, ForecastStatus>>,
    /// Among which workers each divided queue is dealt.
    dealt: Mutex<BTreeMap<String, Arc<[String]>>>,
    /// Documents that are refused and have no object.
    strays: Mutex<Vec<Stray>>,
    /// Why the store did not take the last plan, if it did not.
    unkept: Mutex<Option<String>>,
    /// The daemon is ending: nothing new is taken in.
    ending: AtomicBool,
}

impl Default for Board {
    fn default() -> Board {
        Board {
            state: Mutex::default(),
            versions: watch::Sender::new(0),
            meters: Meters::default(),
            learnt: Learnt::default(),
            wear: Wear::default(),
            nudges: Nudges::default(),
            forecasts: Mutex::default(),
            dealt: Mutex::default(),
            strays: Mutex::default(),
            unkept: Mutex::default(),
            ending: AtomicBool::new(false),
        }
    }
}

impl Board {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic while the lock was held can only have been in a clone: the state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn forecasts(&self) -> MutexGuard<'_, BTreeMap<String, ForecastStatus>> {
        // Each is put there whole.
        self.forecasts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> MutexGuard<'_, BTreeMap<String, Arc<[String]>>> {
        // Each is put there whole.
        self.dealt.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What came of what was given to the store last.
    pub(super) fn kept(&self, result: &Committed) {
        let why = match result {
            Ok(_) => None,
            Err(Untaken::All(why)) => Some(why.clone()),
            Err(Untaken::This(_)) => return,
        };
        *self.unkept.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// Why the store takes nothing, if it does not: then nothing is decided until it does.
    pub fn unkept(&self) -> Option<String> {
        self.unkept.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Nothing new is taken in from now on: the daemon is ending.
    pub fn end(&self) {
        self.ending.store(true, Ordering::Release);
    }

    /// Whether the daemon is ending.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// The queue of this pool is dealt among these workers.
    pub fn deal(&self, pool: &str, workers: &[String]) {
        let mut lines = self.lines();
        if lines.get(pool).is_none_or(|before| **before != *workers) {
            lines.insert(pool.to_owned(), workers.into());
        }
    }

    /// Among which workers the queue of a pool is dealt; absent: nobody has looked yet.
    pub fn dealt(&self, pool: &str) -> Option<Arc<[String]>> {
        self.lines().get(pool).cloned()
    }

    /// This is expected of the target of a policy.
    pub fn foresee(&self, policy: &str, forecast: ForecastStatus) {
        self.forecasts().insert(policy.to_owned(), forecast);
    }

    /// What is expected of the target of a policy; absent: nobody has looked yet.
    pub fn foreseen(&self, policy: &str) -> Option<ForecastStatus> {
        self.forecasts().get(policy).cloned()
    }

    /// These documents are refused, and no object shows that.
    pub fn refuse(&self, strays: Vec<Stray>) {
        *self.strays.lock().unwrap_or_else(PoisonError::into_inner) = strays;
    }

    /// Documents of a kind, or of none that can be read, that are refused and have no object.
    pub fn strays(&self, kind: meta::Kind) -> Vec<Stray> {
        let strays = self.strays.lock().unwrap_or_else(PoisonError::into_inner);
        strays.iter().filter(|stray| stray.kind.is_none_or(|of| of == kind)).cloned().collect()
    }

    /// Start counting versions from here (a restarted daemon goes on above its predecessor's).
    pub fn start_at(&self, version: u64) {
        self.state().version = version;
        self.versions.send_replace(version);
    }

    /// These are known from a daemon before this one: until they are published, nobody can say that they are not there.
    pub fn expect(&self, kind: Kind, names: impl IntoIterator<Item = String>) {
        self.state().expected.extend(names.into_iter().map(|name| (kind, name)));
    }

    /// The object is known from before, and was not published yet.
    pub fn expects(&self, kind: Kind, name: &str) -> bool {
        self.state().expected.contains(&(kind, name.to_owned()))
    }

    /// Wait until all that is known from before is published, or gone.
    pub async fn caught_up(&self) {
        let mut versions = self.versions.subscribe();
        // The sender is the board's own: it outlives this.
        let _shown = versions.wait_for(|_| self.state().expected.is_empty()).await;
    }

    /// Publish an object if it differs from the one published. Says whether it did. One with another uid takes the place of the
    /// one before it, which is told of as deleted, for whoever waits until that one is gone.
    pub fn put(&self, object: Object) -> bool {
        let mut state = self.state();
        let key = (object.kind(), object.meta().name.clone());
        let verb = match state.objects.get(&key).cloned() {
            Some(old) if same(&old, &object) => return false,
            Some(old) if old.meta().uid != object.meta().uid => {
                let old = succeeded((*old).clone(), &object.meta().uid);
                let old = stamped(old, state.version + 1);
                state.record("DELETED", Arc::new(old));
                "ADDED"
            }
            Some(_) => "MODIFIED",
            None => "ADDED",
        };
        let object = Arc::new(stamped(object, state.version + 1));
        state.expected.remove(&key);
        state.objects.insert(key, object.clone());
        state.record(verb, object.clone());
        let version = state.version;
        drop(state);
        self.shown(&object, version);
        true
    }

    /// Take an object away.
    pub fn remove(&self, kind: Kind, name: &str) -> bool {
        match kind {
            Kind::Policy => drop(self.forecasts().remove(name)),
            Kind::Pool => {
                self.learnt.forget(name);
                self.lines().remove(name);
            }
            Kind::Worker => self.wear.look(name, None),
            Kind::Event => {}
        }
        let (mut state, key) = (self.state(), (kind, name.to_owned()));
        let was_expected = state.expected.remove(&key);
        let Some(object) = state.objects.remove(&key) else {
            drop(state);
            if was_expected {
                self.versions.send_modify(|_| {});
            }
            return false;
        };
        let object = Arc::new(stamped((*object).clone(), state.version + 1));
        state.record("DELETED", object.clone());
        let version = state.version;
        drop(state);
        self.shown(&object, version);
        true
    }

    /// Have those who wait look.
    fn shown(&self, object: &Object, version: u64) {
        self.versions.send_replace(version);
        if let Object::Worker(worker) = object {
            self.nudges.nudge(&worker.metadata.name);
        }
    }

    /// All objects of a kind by name, and the version.
    pub fn list(&self, kind: Kind) -> (u64, Vec<Arc<Object>>) {
        let state = self.state();
        let of_kind = state.objects.range((kind, String::new())..).take_while(|((k, _), _)| *k == kind);
        (state.version, of_kind.map(|(_, object)| object.clone()).collect())
    }

    /// One object.
    pub fn get(&self, kind: Kind, name: &str) -> Option<Arc<Object>> {
        self.state().objects.get(&(kind, name.to_owned())).cloned()
    }

    /// Changes of a kind after `from` (0: from now on).
    ///
    /// # Errors
    /// [`Gone`] when they are no longer kept.
    pub fn subscribe(self: &Arc<Board>, kind: Kind, from: u64) -> Result<Subscription, Gone> {
        let state = self.state();
        let oldest = state.changes.front().map_or(state.version + 1, |change| change.version);
        let after = if from == 0 { state.version } else { from };
        if after + 1 < oldest || after > state.version {
            return Err(Gone);
        }
        drop(state);
        Ok(Subscription { board: self.clone(), kind, after, versions: self.versions.subscribe() })
    }

    fn changes_after(&self, kind: Kind, after: u64) -> Result<(u64, Vec<Change>), Gone> {
        let state = self.state();
        let oldest = state.changes.front().map_or(state.version + 1, |change| change.version);
        if after + 1 < oldest {
            return Err(Gone);
        }
        let skip = usize::try_from(after + 1 - oldest).unwrap_or(usize::MAX);
        let fresh = state.changes.iter().skip(skip).filter(|change| change.object.kind() == kind).cloned().collect();
        Ok((state.version, fresh))
    }
}

impl State {
    fn record(&mut self, verb: &'static str, object: Arc<Object>) {
        self.version += 1;
        self.changes.push_back(Change { version: self.version, verb, object });
        if self.changes.len() > CHANGES_KEPT {
            self.changes.pop_front();
        }
    }
}

/// A watcher's place in the changes.
pub struct Subscription {
    board: Arc<Board>,
    kind: Kind,
    after: u64,
    versions: watch::Receiver<u64>,
}

impl Subscription {
    /// The next changes, waiting for them; never empty. `None` when the engine is gone.
    ///
    /// # Errors
    /// [`Gone`] when this watcher lagged too far behind.
    pub async fn next(&mut self) -> Option<Result<Vec<Change>, Gone>> {
        loop {
            match self.board.changes_after(self.kind, self.after) {
                Err(gone) => return Some(Err(gone)),
                Ok((version, changes)) => {
                    self.after = version;
                    if !changes.is_empty() {
                        return Some(Ok(changes));
                    }
                }
            }
            let after = self.after;
            self.versions.wait_for(|version| *version > after).await.ok()?;
        }
    }
}

/// Equal but for the version stamp.
fn same(old: &Object, new: &Object) -> bool {
    match (old, new) {
        (Object::Pool(a), Object::Pool(b)) => a.spec == b.spec && a.status == b.status && unstamped(&a.metadata, &b.metadata),
        (Object::Worker(a), Object::Worker(b)) => a.status == b.status && unstamped(&a.metadata, &b.metadata),
        (Object::Policy(a), Object::Policy(b)) => a.spec == b.spec && a.status == b.status && unstamped(&a.metadata, &b.metadata),
        (Object::Event(a), Object::Event(b)) => a.metadata.name == b.metadata.name && a.note == b.note,
        (Object::Pool(_) | Object::Worker(_) | Object::Policy(_) | Object::Event(_), _) => false,
    }
}

fn unstamped(old: &crate::model::status::Meta, new: &crate::model::status::Meta) -> bool {
    let mut old = old.clone();
    old.resource_version.clone_from(&new.resource_version);
    old == *new
}

fn stamped(mut object: Object, version: u64) -> Object {
    object.meta_mut().resource_version = version.to_string();
    object
}

/// An object whose place is taken, so that nobody who follows the name takes it for gone.
fn succeeded(mut object: Object, uid: &str) -> Object {
    object.meta_mut().annotations.insert(SUCCEEDED_BY.into(), uid.into());
    object
}
