//! The slots' door: shims spawned, adopted, spoken to; workers hunted down whose shim is gone.
//!
//! Every call returns at once; what comes of it is told by [`SlotEvent`]s, in order per slot. Nothing is decided here: a slot
//! is what its shim says, or what its lock and exit record say when there is no shim.
//!
//! | file | what |
//! |---|---|
//! | `link` | one task per slot: the conversation with its shim; `start` and `lost` are its beginning and its end |
//! | `memory` | what a tree without a cgroup uses |
//! | `spawn` | making a shim, with its listening socket |
//! | `hunt` | ending a tree whose shim was killed |
//! | `exits` | reading exit records |
//! | `users` | names to ids |
//! | `lookups` | who may wait for an answer from another machine, and how many at once |
//! | `cgroup` | the drivers |

pub mod cgroup;
mod exits;
mod hunt;
mod link;
mod lookups;
mod memory;
mod spawn;
mod talk;
mod used;
mod users;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Semaphore, mpsc};

use crate::edge::command;
use crate::model::host::Known;
use crate::model::usage::PoolLook;
use crate::model::worker::{Seen, SlotId, StartOrder};

pub use cgroup::id as state_id;
pub use exits::{environment, log_place};
pub use lookups::Lookups;
pub use users::{account, another, user_env};

/// Shims made at once: process creation gains nothing from more than the cores of a small machine.
const SPAWNS_AT_ONCE: usize = 2;

/// What is told of a slot.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "each is made, sent and taken apart at once; a box would only add an allocation")]
pub enum SlotEvent {
    /// It looks so now.
    Seen(SlotId, Seen),
    /// A start did not get as far as a worker.
    StartFailed {
        /// Which slot.
        slot: SlotId,
        /// Which run.
        incarnation: u64,
        /// As in [`Unready`].
        code: Option<i32>,
        /// Why.
        message: String,
    },
    /// Every slot found on disk at the start has been told of.
    Recovered,
}

/// Puts the order for a start together.
pub type Prepare = Box<dyn FnOnce() -> Result<StartOrder, Unready> + Send>;

/// Why there is no order for a start.
#[derive(Debug, PartialEq, Eq)]
pub struct Unready {
    /// The exit code that says so of its task, where that is what does not fit.
    pub code: Option<i32>,
    /// In words.
    pub message: String,
}

impl From<String> for Unready {
    fn from(message: String) -> Unready {
        Unready { code: None, message }
    }
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct SlotsConfig {
    /// `<state>/run`
    pub run_dir: PathBuf,
    /// `<state>/logs`
    pub log_dir: PathBuf,
    /// The shim's program.
    pub shim_program: PathBuf,
    /// The cgroup driver.
    pub driver: cgroup::Driver,
}

/// What the tasks share.
struct Shared {
    config: SlotsConfig,
    /// Marks the workers of this state directory among all processes.
    marker: String,
    nofile: (u64, u64),
    events: mpsc::UnboundedSender<SlotEvent>,
    spawns: Semaphore,
    lookups: Lookups,
    links: Mutex<BTreeMap<SlotId, mpsc::UnboundedSender<link::Wish>>>,
}

/// The door. Cheap to clone.
#[derive(Clone)]
pub struct Slots {
    shared: Arc<Shared>,
}

impl Slots {
    /// Open the door, and begin to look at the slots on disk: one [`SlotEvent::Seen`] each, then [`SlotEvent::Recovered`].
    ///
    /// # Errors
    /// In words: the directories cannot be made, or not be read. What cannot be looked at is not taken for empty.
    pub fn open(config: SlotsConfig, events: mpsc::UnboundedSender<SlotEvent>) -> Result<Slots, String> {
        let nofile = command::raise_open_files();
        for dir in [&config.run_dir, &config.log_dir] {
            std::fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        let found = slots_on_disk(&config.run_dir)?;
        let marker = config.run_dir.display().to_string();
        let (spawns, lookups, links) = (Semaphore::new(SPAWNS_AT_ONCE), Lookups::default(), Mutex::default());
        let shared = Arc::new(Shared { config, marker, nofile, events, spawns, lookups, links });
        let slots = Slots { shared };
        let (told, mut all_told) = mpsc::channel::<()>(1);
        for slot in found {
            let link = slots.link(&slot, Some(told.clone()));
            slots.shared.links().insert(slot, link);
        }
        drop(told);
        let shared = slots.shared.clone();
        tokio::spawn(async move {
            // Every link drops its sender when it has told what it found.
            while all_told.recv().await.is_some() {}
            shared.tell(SlotEvent::Recovered);
        });
        Ok(slots)
    }

    /// Start a run.
    pub fn start(&self, order: StartOrder) {
        let slot = order.slot.clone();
        self.wish(&slot, link::Wish::Start(Box::new(order)));
    }

    /// Start a run whose order may take its time: it is put together where nothing waits for it but this slot.
    pub fn prepare(&self, slot: &SlotId, incarnation: u64, prepare: Prepare) {
        self.wish(slot, link::Wish::Prepare { incarnation, prepare });
    }

    /// Send a signal, and SIGCONT, to the main process of a run.
    pub fn signal(&self, slot: &SlotId, incarnation: u64, signal: i32) {
        self.wish(slot, link::Wish::Signal { incarnation, signal });
    }

    /// SIGKILL the whole tree of a run.
    pub fn kill(&self, slot: &SlotId, incarnation: u64) {
        self.wish(slot, link::Wish::Kill { incarnation });
    }

    /// Have the slot looked at, and told of by [`SlotEvent::Seen`]. If nothing is known of this run there, it is told that its start
    /// has failed: the order got lost.
    pub fn find(&self, slot: &SlotId, incarnation: u64) {
        self.wish(slot, link::Wish::Look { incarnation });
    }

    /// Ask for fresh counters, and for the memory of its tree if that is wanted.
    pub fn refresh(&self, slot: &SlotId, memory: bool) {
        self.wish(slot, link::Wish::Refresh { memory });
    }

    /// Let an idle shim go, and remove the slot's cgroup and directory. Its logs stay.
    pub fn forget(&self, slot: &SlotId) {
        self.wish(slot, link::Wish::Forget);
    }

    /// The daemon ends: leave nothing behind but what lives.
    pub fn leave(&self) {
        self.shared.config.driver.leave();
    }

    /// Look at all workers of a pool together. The kernel answers at once.
    ///
    /// # Errors
    /// In words: they have no cgroup.
    pub fn look(&self, pool: &str) -> Known<PoolLook> {
        self.shared.config.driver.look(pool)
    }

    fn wish(&self, slot: &SlotId, wish: link::Wish) {
        // Under the lock: a link that is forgotten looks there whether anything is wished for yet, before it ends.
        let mut links = self.shared.links();
        let sender = links.entry(slot.clone()).or_insert_with(|| self.link(slot, None));
        if let Err(mpsc::error::SendError(wish)) = sender.send(wish) {
            // It has panicked, and takes nothing more: a fresh one finds out what is in the slot, and takes every wish.
            *sender = self.link(slot, None);
            let _taken = sender.send(link::Wish::Look { incarnation: 0 }).and_then(|()| sender.send(wish));
        }
    }

    fn link(&self, slot: &SlotId, told: Option<mpsc::Sender<()>>) -> mpsc::UnboundedSender<link::Wish> {
        let (sender, wishes) = mpsc::unbounded_channel();
        tokio::spawn(link::run(self.shared.clone(), slot.clone(), wishes, told));
        sender
    }
}

impl Shared {
    fn links(&self) -> std::sync::MutexGuard<'_, BTreeMap<SlotId, mpsc::UnboundedSender<link::Wish>>> {
        self.links.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn tell(&self, event: SlotEvent) {
        // The daemon is ending: nobody is left to be told.
        let _heard = self.events.send(event);
    }

    fn dir(&self, slot: &SlotId) -> PathBuf {
        self.config.run_dir.join(&slot.pool).join(&slot.worker)
    }

    fn log(&self, slot: &SlotId) -> PathBuf {
        self.config.log_dir.join(&slot.pool).join(format!("{}.log", slot.worker))
    }

    /// The environment entry that marks this slot's processes.
    fn mark(&self, slot: &SlotId) -> String {
        format!("WEIR_SLOT={}/{}/{}", self.marker, slot.pool, slot.worker)
    }
}

/// The slots that there are directories of.
///
/// # Errors
/// In words, with what to do: a directory cannot be read. Its workers may live, and would be started beside themselves.
fn slots_on_disk(run_dir: &Path) -> Result<Vec<SlotId>, String> {
    let mut found = Vec::new();
    for pool in list(run_dir)? {
        for worker in list(&run_dir.join(&pool))? {
            if let (Some(pool), Some(worker)) = (pool.to_str(), worker.to_str()) {
                found.push(SlotId { pool: pool.into(), worker: worker.into() });
            }
        }
    }
    Ok(found)
}

/// The names in a directory; none where there is no directory.
fn list(dir: &Path) -> Result<Vec<OsString>, String> {
    let names = |entries: std::fs::ReadDir| entries.map(|entry| entry.map(|entry| entry.file_name())).collect();
    match std::fs::read_dir(dir).and_then(names) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(Vec::new()),
        names => names.map_err(|error| {
            let few = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
            let mend = if few { "raise the limit of open files (ulimit -n, LimitNOFILE=)" } else { "make it readable" };
            let at = dir.display();
            format!("{at}: {error}; workers in it may live and would be started a second time: {mend}, and start again")
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::model::worker::SlotState;
    use crate::shim::wire::{Phase, State};

    #[test]
    fn a_pool_that_cannot_be_read_is_not_taken_for_empty() {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::create_dir_all(dir.path().join("a/a-0")).expect("made");
        std::fs::write(dir.path().join("file"), "").expect("made");
        let found = slots_on_disk(dir.path()).expect("read");
        assert_eq!(found, [SlotId { pool: "a".into(), worker: "a-0".into() }], "a file is no pool");
        assert_eq!(slots_on_disk(&dir.path().join("none")), Ok(Vec::new()));
        // A loop of links is an error that says nothing of what is there, as a lack of descriptors.
        std::os::unix::fs::symlink("b", dir.path().join("b")).expect("linked");
        let refused = slots_on_disk(dir.path()).expect_err("not read");
        assert!(refused.contains("/b: ") && refused.contains("make it readable"), "{refused}");
    }

    #[tokio::test]
    async fn a_link_that_takes_the_place_of_one_that_panicked_finds_the_shim() {
        let dir = tempfile::tempdir().expect("a directory");
        let slot = SlotId { pool: "a".into(), worker: "a-0".into() };
        let config = SlotsConfig {
            run_dir: dir.path().join("run"),
            log_dir: dir.path().join("logs"),
            shim_program: "/no/such/program".into(),
            driver: cgroup::Driver::None,
        };
        let (tell, mut events) = mpsc::unbounded_channel();
        let slots = Slots::open(config, tell).expect("open");
        assert!(matches!(events.recv().await, Some(SlotEvent::Recovered)));
        std::fs::create_dir_all(slots.shared.dir(&slot)).expect("made");
        let shim = UnixListener::bind(slots.shared.dir(&slot).join("sock")).expect("bound");
        let talk = std::thread::spawn(move || {
            let (mut daemon, _) = shim.accept().expect("met");
            let state = State { phase: Phase::Running, incarnation: 7, pid: 1, ..State::default() };
            io::Write::write_all(&mut daemon, &state.encode()).expect("said");
            daemon
        });
        slots.shared.links().insert(slot.clone(), mpsc::unbounded_channel().0);
        slots.signal(&slot, 7, 15);
        match events.recv().await {
            Some(SlotEvent::Seen(_, Seen { state: SlotState::Running(run), .. })) => assert_eq!(run.incarnation, 7),
            other => panic!("{other:?}"),
        }
        drop(talk.join());
    }
}
