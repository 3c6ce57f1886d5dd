//! Hints that the specs directory may have changed, and how files came to be.
//!
//! A hint has no content: whoever gets it lists the directory. What events tell beyond that is kept as [`Marks`] per path: a
//! file that was renamed into place is whole by nature. A watch can be lost without a word (the directory replaced, a link
//! swapped, the queue overflown), so the directory above is watched too, [`Watch::check`] compares identities, and where no
//! watch is to be had the directory is looked at every few seconds, and that is said. While nothing happens nothing wakes.
//!
//! Where the directory is in a git checkout, the files of git that a commit changes are watched as well; so are files outside that
//! links lead to.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs::DirEntry;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, ModifyKind, RemoveKind, RenameMode};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

use super::{DEPTH_MAX, Marks, git, is_overlooked, is_spec_name, root_of};
use crate::edge::clock;
use crate::model::listing::{Arrival, Root};
use crate::model::time::{Moment, Span};

/// A burst after a rename is over when nothing came for so long.
const COALESCE: Duration = Duration::from_millis(5);
/// Longest time that a burst delays a hint.
const COALESCE_MAX: u32 = 10;
/// First wait before a lost directory is looked for again; doubled each time.
const RETRY_MIN: Span = Span::millis(100);
/// Longest time between two looks when there is no watch.
pub const POLL: Span = Span::secs(10);
/// Most sub-folders that are watched; more, and the directory is polled too.
const FOLDERS_MAX: usize = 1000;

/// A watch over a directory; ended when dropped.
#[derive(Debug)]
pub struct Watch {
    shared: Arc<Shared>,
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    marks: Mutex<Marks>,
    degraded: Mutex<Option<String>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A thread that panicked left plain data behind: still good.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the watching thread is told.
enum Order {
    /// Something happened; `folders` when folders may have come or gone.
    Changed { folders: bool },
    /// The directory itself may be another one now.
    Check,
    /// The watch is broken.
    Broken(String),
    /// The end.
    Stop,
}

impl Watch {
    /// Watch a directory, whether or not it exists yet; hints are sent to `hints`, a full channel counts as told.
    ///
    /// # Errors
    /// If the thread cannot be made.
    pub fn start(dir: &Path, hints: tokio::sync::mpsc::Sender<()>) -> std::io::Result<Watch> {
        let dir = std::path::absolute(dir)?;
        let shared = Arc::new(Shared::default());
        let (orders, inbox) = channel();
        let mut post = Post {
            dir,
            shared: shared.clone(),
            orders: orders.clone(),
            hints,
            watcher: None,
            root: None,
            beside: Beside::default(),
            retry: RETRY_MIN,
            due: None,
        };
        let thread = std::thread::Builder::new().name("weir-watch".into()).spawn(move || post.run(&inbox))?;
        Ok(Watch { shared, orders, thread: Some(thread) })
    }

    /// What events told since the last call.
    pub fn take_marks(&self) -> Marks {
        std::mem::take(&mut *locked(&self.shared.marks))
    }

    /// Why changes may be heard late, if they may.
    pub fn degraded(&self) -> Option<String> {
        locked(&self.shared.degraded).clone()
    }

    /// Compare the directory with the one that is watched; for the slow resync.
    pub fn check(&self) {
        self.orders.send(Order::Check).ok();
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.orders.send(Order::Stop).ok();
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// The thread's own state.
struct Post {
    dir: PathBuf,
    shared: Arc<Shared>,
    orders: Sender<Order>,
    hints: tokio::sync::mpsc::Sender<()>,
    watcher: Option<RecommendedWatcher>,
    root: Option<Root>,
    beside: Beside,
    /// How long the next wait between two looks is.
    retry: Span,
    /// When the next look is due, while there is no good watch.
    due: Option<Moment>,
}

/// Files beside the specs that say what they are, and the folders that those are in: git's, which say which commit there is, and
/// those that links lead to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Beside {
    files: Vec<PathBuf>,
    folders: BTreeSet<PathBuf>,
}

impl Beside {
    fn of(dir: &Path) -> Beside {
        let files: Vec<PathBuf> = git::heads(dir).into_iter().chain(linked(dir)).collect();
        let folders = files.iter().filter_map(|file| file.parent()).filter(|folder| folder.is_dir());
        // Watched twice under two names, it would be heard of under the second alone.
        let above = dir.parent().map(|above| (above, above.canonicalize().unwrap_or_default()));
        let folders = folders.filter(|folder| above.as_ref().is_none_or(|(name, real)| folder == name || *folder != real));
        let folders: BTreeSet<PathBuf> = folders.map(Path::to_owned).collect();
        Beside { folders: folders.into_iter().take(FOLDERS_MAX).collect(), files }
    }
}

/// The files outside that links in the directory lead to.
fn linked(dir: &Path) -> BTreeSet<PathBuf> {
    let Ok(real) = dir.canonicalize() else { return BTreeSet::new() };
    let all = std::iter::once(dir.to_owned()).chain(folders(dir).unwrap_or_default());
    let entries = all.filter_map(|folder| std::fs::read_dir(folder).ok()).flatten().flatten();
    let is_spec = |entry: &DirEntry| entry.file_name().to_str().is_some_and(is_spec_name);
    let links = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_symlink()) && is_spec(entry));
    links.filter_map(|link| led_to(&link.path())).filter(|file| !file.starts_with(&real)).collect()
}

/// Where a link leads; of one to a file that is not there, where that would be.
fn led_to(link: &Path) -> Option<PathBuf> {
    link.canonicalize().ok().or_else(|| {
        let to = link.parent()?.join(std::fs::read_link(link).ok()?);
        Some(to.parent()?.canonicalize().ok()?.join(to.file_name()?))
    })
}

impl Post {
    fn run(&mut self, inbox: &Receiver<Order>) {
        self.watch();
        self.hint();
        loop {
            let order = match self.next(inbox) {
                Ok(order) => order,
                Err(RecvTimeoutError::Timeout) => {
                    self.watch();
                    self.hint();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => return,
            };
            match order {
                Order::Stop => return,
                // A look is coming. A hint now would bring the next listing, and that the next check.
                Order::Check if self.is_degraded() => continue,
                Order::Check if self.is_lost() => self.watch(),
                Order::Check => continue,
                Order::Broken(reason) => {
                    self.watcher = None;
                    self.degrade(Some(reason));
                }
                Order::Changed { folders } => {
                    let Some(folders) = coalesce(inbox, folders) else { return };
                    if self.is_lost() || folders {
                        self.watch();
                    }
                }
            }
            self.hint();
        }
    }

    /// The next order; a timeout only while there is no good watch, and only when a look is due.
    fn next(&mut self, inbox: &Receiver<Order>) -> Result<Order, RecvTimeoutError> {
        if !self.is_degraded() {
            (self.retry, self.due) = (RETRY_MIN, None);
            return inbox.recv().map_err(|_| RecvTimeoutError::Disconnected);
        }
        let (now, retry) = (clock::now().mono, self.retry);
        let due = *self.due.get_or_insert_with(|| now.after(retry));
        let order = inbox.recv_timeout(due.since(now).duration());
        if matches!(order, Err(RecvTimeoutError::Timeout)) {
            (self.retry, self.due) = (Span(retry.0 * 2).min(POLL), None);
        }
        order
    }

    fn is_degraded(&self) -> bool {
        locked(&self.shared.degraded).is_some()
    }

    fn is_lost(&self) -> bool {
        self.watcher.is_none() || self.root != root_of(&self.dir) || self.beside != Beside::of(&self.dir)
    }

    fn hint(&self) {
        // Full: a look is due anyway. Closed: the watch is about to be dropped.
        self.hints.try_send(()).ok();
    }

    fn degrade(&self, reason: Option<String>) {
        *locked(&self.shared.degraded) = reason;
    }

    /// Make all watches anew: of the directory, its folders, the directory above, and files beside.
    fn watch(&mut self) {
        self.root = root_of(&self.dir);
        self.beside = Beside::of(&self.dir);
        match self.watches() {
            Ok(watcher) => {
                self.watcher = Some(watcher);
                let missing = self.root.is_none().then(|| "the specs directory is missing".to_owned());
                self.degrade(missing);
            }
            Err(reason) => {
                self.watcher = None;
                self.degrade(Some(reason));
            }
        }
    }

    fn watches(&self) -> Result<RecommendedWatcher, String> {
        let (dir, shared, orders) = (self.dir.clone(), self.shared.clone(), self.orders.clone());
        let beside = self.beside.files.clone();
        let handler = move |event: notify::Result<Event>| {
            if let Some(order) = judge((&dir, &beside), &shared, event) {
                orders.send(order).ok();
            }
        };
        let told = |error: notify::Error| format!("cannot watch: {error}");
        let mut watcher = notify::recommended_watcher(handler).map_err(told)?;
        if let Some(above) = self.dir.parent().filter(|above| above.is_dir()) {
            watcher.watch(above, RecursiveMode::NonRecursive).map_err(told)?;
        }
        if self.root.is_some() {
            watcher.watch(&self.dir, RecursiveMode::NonRecursive).map_err(told)?;
            for folder in folders(&self.dir)? {
                match watcher.watch(&folder, RecursiveMode::NonRecursive) {
                    Err(error) if folder.is_dir() => return Err(told(error)),
                    Ok(()) | Err(_) => {}
                }
            }
        }
        for folder in &self.beside.folders {
            // What is not heard here is seen with the resync.
            let _unheard = watcher.watch(folder, RecursiveMode::NonRecursive);
        }
        Ok(watcher)
    }
}

/// Wait for the end of a burst; thousands of events that came at once are one. None: the end of the watch.
fn coalesce(inbox: &Receiver<Order>, mut folders: bool) -> Option<bool> {
    for _ in 0..COALESCE_MAX {
        let first = match inbox.recv_timeout(COALESCE) {
            Ok(order) => order,
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => return None,
        };
        for order in std::iter::once(first).chain(inbox.try_iter()) {
            match order {
                Order::Changed { folders: more } => folders |= more,
                // Watching anew answers both.
                Order::Check | Order::Broken(_) => folders = true,
                Order::Stop => return None,
            }
        }
    }
    Some(folders)
}

/// The folders below, as the listing walks them.
fn folders(dir: &Path) -> Result<Vec<PathBuf>, String> {
    let (mut found, mut open) = (Vec::new(), vec![(dir.to_owned(), 0)]);
    while let Some((folder, depth)) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for entry in entries.flatten() {
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if depth < DEPTH_MAX && !hidden && entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                found.push(entry.path());
                open.push((entry.path(), depth + 1));
            }
        }
        if found.len() > FOLDERS_MAX {
            return Err(format!("more than {FOLDERS_MAX} sub-folders"));
        }
    }
    Ok(found)
}

/// What an event means; none: nothing.
fn judge((dir, beside): (&Path, &[PathBuf]), shared: &Shared, event: notify::Result<Event>) -> Option<Order> {
    let event = match event {
        Ok(event) => event,
        Err(error) => return Some(Order::Broken(format!("cannot watch: {error}"))),
    };
    if event.need_rescan() {
        let mut marks = locked(&shared.marks);
        marks.arrivals.clear();
        marks.overflown = true;
        return Some(Order::Changed { folders: true });
    }
    if event.paths.iter().any(|path| path == dir) && !matches!(event.kind, EventKind::Access(_)) {
        return Some(Order::Changed { folders: false });
    }
    let arrival = arrival(&event.kind)?;
    let folders = may_be_folder(&event.kind);
    let mut order = event.paths.iter().any(|path| beside.contains(path)).then_some(Order::Changed { folders: false });
    for path in event.paths.iter().filter_map(|path| path.strip_prefix(dir).ok()).filter(|path| !in_hidden(path)) {
        if arrival == Arrival::Unknown && path.file_name().is_some_and(|name| is_overlooked(name.as_encoded_bytes())) {
            order = order.or(Some(Order::Changed { folders: false }));
        }
        let Some((path, name)) = path.to_str().zip(path.file_name().and_then(OsStr::to_str)) else { continue };
        let (spec, dotted) = (is_spec_name(name), name.starts_with('.'));
        if spec {
            let mut marks = locked(&shared.marks);
            let known = marks.arrivals.entry(path.to_owned()).or_insert(arrival);
            *known = after(*known, arrival, &event.kind);
        }
        // A swapped link (`..data`) or folder brings whole files under names that no event tells.
        let swap = !spec && arrival == Arrival::RenamedIn && (!dotted || name.starts_with(".."));
        locked(&shared.marks).swapped |= swap;
        if spec || swap || (!dotted && folders) {
            let folders = folders && !spec && !dotted;
            let before = matches!(order, Some(Order::Changed { folders: true }));
            order = Some(Order::Changed { folders: folders || before });
        }
    }
    order
}

/// Below the directory only git's own folders are watched that are hidden.
fn in_hidden(path: &Path) -> bool {
    let mut above = path.parent().into_iter().flat_map(Path::components);
    above.any(|part| part.as_os_str().as_encoded_bytes().starts_with(b"."))
}

/// How a file came to be by an event; none for events that change nothing, like our own reading.
fn arrival(kind: &EventKind) -> Option<Arrival> {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => Some(Arrival::ClosedWrite),
        EventKind::Access(_) => None,
        EventKind::Modify(ModifyKind::Name(RenameMode::To | RenameMode::Both)) => Some(Arrival::RenamedIn),
        EventKind::Modify(ModifyKind::Data(_)) => Some(Arrival::Writing),
        EventKind::Any | EventKind::Create(_) | EventKind::Modify(_) | EventKind::Remove(_) | EventKind::Other => {
            Some(Arrival::Unknown)
        }
    }
}

/// What is known of a file after one more event.
fn after(known: Arrival, arrival: Arrival, kind: &EventKind) -> Arrival {
    match (known, arrival) {
        // Whoever renamed a file that was still open closes it now: nothing was written since, or it would have been told.
        (Arrival::RenamedIn, Arrival::ClosedWrite) => Arrival::RenamedIn,
        // Another mode or owner closes nothing.
        (Arrival::Writing, Arrival::Unknown) if matches!(kind, EventKind::Modify(ModifyKind::Metadata(_))) => Arrival::Writing,
        (_, arrival) => arrival,
    }
}

fn may_be_folder(kind: &EventKind) -> bool {
    matches!(
        kind,
        EventKind::Create(CreateKind::Folder | CreateKind::Any | CreateKind::Other)
            | EventKind::Remove(RemoveKind::Folder | RemoveKind::Any | RemoveKind::Other)
            | EventKind::Modify(ModifyKind::Name(_) | ModifyKind::Metadata(_))
            | EventKind::Any
            | EventKind::Other
    )
}

#[cfg(test)]
mod tests;
