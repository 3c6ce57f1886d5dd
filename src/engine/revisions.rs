//! Keeps what each accepted document said, when a pool is published with another generation or other metadata.
//!
//! The text is read from the file again and kept only if it says what was accepted: an edit may have come since, and then that
//! one's own publishing keeps it. One thread does it all in the order in which it came, and sleeps when there is nothing: what is
//! kept is never overtaken by what is forgotten. A file of many pools is read once for all that wait. Must not hold up a turn.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use tokio::sync::oneshot;

use super::handle::Denied;
use crate::edge::revisions::Revisions;
use crate::edge::specs::documents;
use crate::model::document::{self, Document};
use crate::model::pool::WorkerPool;
use crate::model::revision::Revision;
use crate::model::status::{Meta, PoolObject};

/// Watches what is published.
#[derive(Debug)]
pub struct Recorder {
    jobs: mpsc::Sender<Job>,
    seen: BTreeMap<String, Seen>,
}

/// What makes a text worth being looked at again.
type Seen = (u64, BTreeMap<String, String>, BTreeMap<String, String>);

fn seen(meta: &Meta) -> Seen {
    (meta.generation, meta.labels.clone(), meta.annotations.clone())
}

/// Whoever is told what is kept.
type Reply = oneshot::Sender<Result<Vec<Revision>, Denied>>;

#[derive(Debug)]
enum Job {
    /// A pool is published; `first`: since this daemon began.
    Keep {
        pool: Box<PoolObject>,
        first: bool,
    },
    Forget(String),
    List(String, Reply),
}

impl Recorder {
    /// Nothing was published yet. Documents are below `specs`.
    ///
    /// # Errors
    /// When the thread cannot be made.
    pub fn start(kept: Revisions, specs: PathBuf) -> io::Result<Recorder> {
        let (jobs, inbox) = mpsc::channel();
        let mut clerk = Clerk { kept, specs, failed: BTreeMap::new() };
        std::thread::Builder::new().name("revisions".into()).spawn(move || clerk.run(&inbox))?;
        Ok(Recorder { jobs, seen: BTreeMap::new() })
    }

    /// A pool is published.
    pub(super) fn published(&mut self, pool: &PoolObject) {
        let name = &pool.metadata.name;
        let (now, before) = (seen(&pool.metadata), self.seen.get(name));
        if before == Some(&now) {
            return;
        }
        let first = before.is_none();
        self.seen.insert(name.clone(), now);
        self.send(Job::Keep { pool: Box::new(pool.clone()), first });
    }

    /// A pool is gone.
    pub(super) fn gone(&mut self, pool: &str) {
        self.seen.remove(pool);
        self.send(Job::Forget(pool.to_owned()));
    }

    /// What is kept of a pool once all is kept that was published until now.
    pub(super) fn list(&self, pool: String, reply: Reply) {
        self.send(Job::List(pool, reply));
    }

    fn send(&self, job: Job) {
        if self.jobs.send(job).is_err() {
            tracing::warn!("the thread that keeps revisions has ended");
        }
    }
}

/// What the thread has.
struct Clerk {
    kept: Revisions,
    specs: PathBuf,
    /// What could not be kept is tried again with the next job, by pool.
    failed: BTreeMap<String, (Box<PoolObject>, bool)>,
}

/// Good documents of files by the pools' names, each with its text; more than one of a name are none.
type Files = BTreeMap<PathBuf, BTreeMap<String, Option<(String, WorkerPool)>>>;

impl Clerk {
    fn run(&mut self, inbox: &mpsc::Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            // Files are read after all of these jobs were sent: no text is older than what was published.
            let jobs: Vec<Job> = std::iter::once(job).chain(inbox.try_iter()).collect();
            let mut files = Files::new();
            for (_, (pool, first)) in std::mem::take(&mut self.failed) {
                self.keep(&mut files, pool, first);
            }
            for job in jobs {
                match job {
                    Job::Keep { pool, first } => self.keep(&mut files, pool, first),
                    Job::Forget(pool) => self.forget(&pool),
                    Job::List(pool, reply) => {
                        // Whoever asked may have hung up.
                        let _heard = reply.send(Ok(self.kept.list(&pool)));
                    }
                }
            }
        }
    }

    fn keep(&mut self, files: &mut Files, pool: Box<PoolObject>, first: bool) {
        let name = &pool.metadata.name;
        // What failed before was of an earlier document; that nothing of another life may stay is still to be done.
        let first = first || self.failed.remove(name).is_some_and(|(_, first)| first);
        if let Err(error) = self.try_keep(files, &pool, first) {
            tracing::warn!(pool = name, %error, "what its document said could not be kept");
            self.failed.insert(name.clone(), (pool, first));
        }
    }

    fn try_keep(&self, files: &mut Files, pool: &PoolObject, first: bool) -> io::Result<()> {
        let (name, number) = (&pool.metadata.name, pool.metadata.generation);
        if first {
            self.kept.end_at(name, number)?;
        }
        let path = self.specs.join(&pool.status.source.file);
        let there = files.entry(path).or_insert_with_key(|path| read(path));
        match there.get(name).and_then(Option::as_ref) {
            Some((text, said)) if said.spec == pool.spec => self.kept.put(name, number, text),
            // No text, or another one: it is on its way to being published itself.
            Some(_) | None => Ok(()),
        }
    }

    fn forget(&mut self, pool: &str) {
        self.failed.remove(pool);
        if let Err(error) = self.kept.forget(pool) {
            tracing::warn!(pool, %error, "its revisions could not be removed");
        }
    }
}

fn read(path: &Path) -> BTreeMap<String, Option<(String, WorkerPool)>> {
    let is_file = std::fs::metadata(path).ok().filter(Metadata::is_file);
    let whole = is_file.and_then(|_| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let mut found: BTreeMap<String, Option<(String, WorkerPool)>> = BTreeMap::new();
    for standing in documents::each(&whole) {
        for located in document::parse(standing.text.as_bytes()).into_iter().flatten() {
            if let Document::WorkerPool(pool) = located.document {
                let text = standing.text.to_owned();
                let name = pool.metadata.name.clone();
                found.entry(name).and_modify(|more| *more = None).or_insert_with(|| Some((text, *pool)));
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::status::PoolStatus;

    fn text(name: &str, replicas: u32) -> String {
        format!(
            "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}} # {replicas}\nspec: {{replicas: {replicas}, template: {{command: [run]}}}}\n"
        )
    }

    fn object(text: &str, generation: u64) -> PoolObject {
        let Some(Ok(located)) = document::parse(text.as_bytes()).pop() else { panic!("{text}") };
        let Document::WorkerPool(pool) = located.document else { panic!("{text}") };
        let metadata = Meta { name: pool.metadata.name.clone(), generation, ..Meta::default() };
        let mut status = PoolStatus::default();
        status.source.file = "all.yaml".into();
        PoolObject { api_version: String::new(), kind: String::new(), metadata, spec: pool.spec, status }
    }

    fn kept(recorder: &Recorder, pool: &str) -> Vec<(u64, String)> {
        let (reply, answer) = oneshot::channel();
        recorder.list(pool.into(), reply);
        answer.blocking_recv().unwrap().unwrap().into_iter().map(|kept| (kept.number, kept.text)).collect()
    }

    #[test]
    fn all_happens_in_its_order() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (text("a", 1), text("b", 1));
        std::fs::write(dir.path().join("all.yaml"), format!("{a}---\n{b}---\n{}---\n{}", text("c", 1), text("c", 1))).unwrap();
        let mut recorder = Recorder::start(Revisions::of(dir.path()), dir.path().into()).unwrap();
        recorder.published(&object(&a, 1));
        recorder.published(&object(&text("b", 2), 2));
        recorder.published(&object(&text("c", 1), 1));
        assert_eq!(kept(&recorder, "a"), [(1, a.clone())]);
        assert_eq!((kept(&recorder, "b"), kept(&recorder, "c")), (vec![], vec![]), "another text, and two of a name");
        for generation in 2..50 {
            recorder.published(&object(&a, generation));
            recorder.gone("a");
        }
        assert_eq!(kept(&recorder, "a"), [], "what is forgotten last is forgotten");
        recorder.published(&object(&a, 3));
        assert_eq!(kept(&recorder, "a"), [(3, a)]);
    }

    #[test]
    fn what_could_not_be_kept_is_tried_again_and_what_was_never_seen_can_be_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let a = text("a", 1);
        std::fs::write(dir.path().join("all.yaml"), &a).unwrap();
        let mut recorder = Recorder::start(Revisions::of(dir.path()), dir.path().into()).unwrap();
        std::fs::write(dir.path().join("revisions"), "in the way").unwrap();
        recorder.published(&object(&a, 1));
        assert_eq!(kept(&recorder, "a"), []);
        std::fs::remove_file(dir.path().join("revisions")).unwrap();
        assert_eq!(kept(&recorder, "a"), [(1, a)]);
        let mut next = Recorder::start(Revisions::of(dir.path()), dir.path().into()).unwrap();
        next.gone("a");
        assert_eq!(kept(&next, "a"), []);
    }
}
