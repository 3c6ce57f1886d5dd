//! Status files: full objects as YAML, replaced whole, one writer.
//!
//! A reader never sees half a file: each is written aside and renamed. They are derived and written anew at every start, so
//! they are not fsynced; what must survive a power loss is in the store. Writing is off the turn, on a thread that keeps only
//! the newest version of each object: a slow disk delays files, not workers; what changes with every task is written now and then.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use crate::edge::clock;
use crate::model::document::to_yaml;
use crate::model::status::{Kind, Object};
use crate::model::time::{Moment, Span};

/// An object that changes again and again is written this often at most.
const PAUSE: Span = Span::millis(100);

type Pending = BTreeMap<(Kind, String), Option<Arc<Object>>>;

#[derive(Default)]
struct Shared {
    pending: Mutex<(Pending, bool)>,
    changed: Condvar,
}

/// The writer of the status directory.
pub struct StatusDir {
    shared: Arc<Shared>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl StatusDir {
    /// Make the directories under `root` and start the writer. Files of objects that are no more are removed.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn open(root: &Path) -> io::Result<StatusDir> {
        for kind in [Kind::Pool, Kind::Worker, Kind::Policy] {
            let dir = root.join(kind.plural());
            std::fs::create_dir_all(&dir)?;
            for entry in std::fs::read_dir(&dir)?.flatten() {
                // What is still true is written again at once by the first turns.
                let _gone = std::fs::remove_file(entry.path());
            }
        }
        let shared = Arc::new(Shared::default());
        let (theirs, root) = (shared.clone(), root.to_owned());
        let thread = std::thread::Builder::new().name("status".into()).spawn(move || run(&theirs, &root))?;
        Ok(StatusDir { shared, thread: Some(thread) })
    }

    /// Write this object's file; `None` removes it.
    pub fn put(&self, kind: Kind, name: &str, object: Option<Arc<Object>>) {
        let mut pending = self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
        let removed = object.is_none();
        // What waits already is written when its pause is over: the writer need not be told of every newer version.
        if pending.0.insert((kind, name.to_owned()), object).is_none() || removed {
            self.shared.changed.notify_one();
        }
    }
}

impl Drop for StatusDir {
    /// Everything handed in is written before this returns.
    fn drop(&mut self) {
        self.shared.pending.lock().unwrap_or_else(PoisonError::into_inner).1 = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic in the writer was told already; there is nobody left to tell.
            let _ended = thread.join();
        }
    }
}

fn run(shared: &Shared, root: &Path) {
    let mut written: BTreeMap<(Kind, String), Moment> = BTreeMap::new();
    while let Some((work, ending)) = next(shared, &written) {
        let now = clock::now().mono;
        written.retain(|_, at| now.since(*at) < PAUSE);
        for ((kind, name), object) in work {
            let path = root.join(kind.plural()).join(format!("{name}.yaml"));
            if let Err(error) = write(&path, object.as_deref()) {
                tracing::warn!(file = %path.display(), %error, "a status file could not be written");
            }
            if !ending {
                written.insert((kind, name), now);
            }
        }
    }
}

/// What is to be written now, and whether it is the last; none when all is written and nothing more will come. An object that
/// was written a moment ago waits: it may change again before its pause is over.
fn next(shared: &Shared, written: &BTreeMap<(Kind, String), Moment>) -> Option<(Pending, bool)> {
    let mut pending = shared.pending.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        if pending.1 {
            let work = std::mem::take(&mut pending.0);
            return (!work.is_empty()).then_some((work, true));
        }
        let now = clock::now().mono;
        let due = |key: &(Kind, String)| written.get(key).map_or(now, |at| at.after(PAUSE));
        let (ready, later): (Pending, Pending) =
            std::mem::take(&mut pending.0).into_iter().partition(|(key, object)| object.is_none() || due(key) <= now);
        let first = later.keys().map(due).min();
        pending.0 = later;
        if !ready.is_empty() {
            return Some((ready, false));
        }
        pending = match first {
            None => shared.changed.wait(pending).unwrap_or_else(PoisonError::into_inner),
            Some(at) => {
                let waited = shared.changed.wait_timeout(pending, at.since(now).duration());
                waited.unwrap_or_else(PoisonError::into_inner).0
            }
        };
    }
}

fn write(path: &PathBuf, object: Option<&Object>) -> io::Result<()> {
    let Some(object) = object else {
        return match std::fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            Ok(()) | Err(_) => Ok(()),
        };
    };
    let aside = path.with_extension("tmp");
    let mut file = std::fs::File::create(&aside)?;
    file.write_all(to_yaml(object).as_bytes())?;
    std::fs::rename(&aside, path)
}
