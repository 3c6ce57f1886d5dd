//! Keeps what each accepted document said, when a pool or a policy is published with another generation or other metadata.
//!
//! The text is read from the file again and kept only if it says what was accepted: an edit may have come since, and then that
//! one's own publishing keeps it. One thread does it all in the order in which it came, and sleeps when there is nothing: what is
//! kept is never overtaken by what is forgotten. A file of many documents is read once for all that wait. Must not hold up a turn.

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
use crate::model::meta::Kind;
use crate::model::revision::Revision;
use crate::model::status::{self, Meta, Object};

/// Watches what is published.
#[derive(Debug)]
pub struct Recorder {
    jobs: mpsc::Sender<Job>,
    seen: BTreeMap<Key, Seen>,
}

/// Whose document.
type Key = (Kind, String);

/// What makes a text worth being looked at again.
type Seen = (u64, BTreeMap<String, String>, BTreeMap<String, String>);

fn seen(meta: &Meta) -> Seen {
    (meta.generation, meta.labels.clone(), meta.annotations.clone())
}

/// Whoever is told what is kept.
type Reply = oneshot::Sender<Result<Vec<Revision>, Denied>>;

#[derive(Debug)]
enum Job {
    /// An object is published; `first`: since this daemon began.
    Keep {
        key: Key,
        object: Box<Object>,
        first: bool,
    },
    Forget(Key),
    List(Key, Reply),
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

    /// An object is published; of those without a document nothing is kept.
    pub(super) fn published(&mut self, object: &Object) {
        let Some(kind) = object.kind().document() else { return };
        let key = (kind, object.meta().name.clone());
        let (now, before) = (seen(object.meta()), self.seen.get(&key));
        if before == Some(&now) {
            return;
        }
        let first = before.is_none();
        self.seen.insert(key.clone(), now);
        self.send(Job::Keep { key, object: Box::new(object.clone()), first });
    }

    /// An object is gone.
    pub(super) fn gone(&mut self, kind: status::Kind, name: &str) {
        let Some(kind) = kind.document() else { return };
        let key = (kind, name.to_owned());
        self.seen.remove(&key);
        self.send(Job::Forget(key));
    }

    /// What is kept of an object once all is kept that was published until now.
    pub(super) fn list(&self, kind: Kind, name: String, reply: Reply) {
        self.send(Job::List((kind, name), reply));
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
    /// What could not be kept is tried again with the next job.
    failed: BTreeMap<Key, (Box<Object>, bool)>,
}

/// Good documents of files, each with its text; more than one of a name are none.
type Files = BTreeMap<PathBuf, BTreeMap<Key, Option<(String, Document)>>>;

impl Clerk {
    fn run(&mut self, inbox: &mpsc::Receiver<Job>) {
        while let Ok(job) = inbox.recv() {
            // Files are read after all of these jobs were sent: no text is older than what was published.
            let jobs: Vec<Job> = std::iter::once(job).chain(inbox.try_iter()).collect();
            let mut files = Files::new();
            for (key, (object, first)) in std::mem::take(&mut self.failed) {
                self.keep(&mut files, key, object, first);
            }
            for job in jobs {
                match job {
                    Job::Keep { key, object, first } => self.keep(&mut files, key, object, first),
                    Job::Forget(key) => self.forget(&key),
                    Job::List((kind, name), reply) => {
                        // Whoever asked may have hung up.
                        let _heard = reply.send(Ok(self.kept.list((kind, &name))));
                    }
                }
            }
        }
    }

    fn keep(&mut self, files: &mut Files, key: Key, object: Box<Object>, first: bool) {
        // What failed before was of an earlier document; that nothing of another life may stay is still to be done.
        let first = first || self.failed.remove(&key).is_some_and(|(_, first)| first);
        if let Err(error) = self.try_keep(files, &key, &object, first) {
            tracing::warn!(kind = key.0.name(), name = key.1, %error, "what its document said could not be kept");
            self.failed.insert(key, (object, first));
        }
    }

    fn try_keep(&self, files: &mut Files, key: &Key, object: &Object, first: bool) -> io::Result<()> {
        let (whose, number) = ((key.0, key.1.as_str()), object.meta().generation);
        if first {
            self.kept.end_at(whose, number)?;
        }
        let Some(file) = file(object) else { return Ok(()) };
        let there = files.entry(self.specs.join(file)).or_insert_with_key(|path| read(path));
        match there.get(key).and_then(Option::as_ref) {
            Some((text, document)) if says(document, object) => self.kept.put(whose, number, text),
            // No text, or another one: it is on its way to being published itself.
            Some(_) | None => Ok(()),
        }
    }

    fn forget(&mut self, key: &Key) {
        self.failed.remove(key);
        if let Err(error) = self.kept.forget((key.0, &key.1)) {
            tracing::warn!(kind = key.0.name(), name = key.1, %error, "its revisions could not be removed");
        }
    }
}

/// The file of its document, from the specs directory on.
fn file(object: &Object) -> Option<&str> {
    match object {
        Object::Pool(pool) => Some(&pool.status.source.file),
        Object::Policy(policy) => Some(&policy.status.source.file),
        Object::Worker(_) | Object::Event(_) => None,
    }
}

fn says(document: &Document, object: &Object) -> bool {
    match (document, object) {
        (Document::WorkerPool(document), Object::Pool(pool)) => document.spec == pool.spec,
        (Document::ResourcePolicy(document), Object::Policy(policy)) => document.spec == policy.spec,
        (Document::WorkerPool(_) | Document::ResourcePolicy(_), _) => false,
    }
}

fn read(path: &Path) -> BTreeMap<Key, Option<(String, Document)>> {
    let is_file = std::fs::metadata(path).ok().filter(Metadata::is_file);
    let whole = is_file.and_then(|_| std::fs::read_to_string(path).ok()).unwrap_or_default();
    let mut found: BTreeMap<Key, Option<(String, Document)>> = BTreeMap::new();
    for standing in documents::each(&whole) {
        for located in document::parse(standing.text.as_bytes()).into_iter().flatten() {
            let key = (located.document.kind(), located.document.name().to_owned());
            let text = standing.text.to_owned();
            found.entry(key).and_modify(|more| *more = None).or_insert_with(|| Some((text, located.document)));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy_status::{PolicyObject, PolicyStatus};
    use crate::model::status::{PoolObject, PoolStatus};

    fn text(name: &str, replicas: u32) -> String {
        format!(
            "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}} # {replicas}\nspec: {{replicas: {replicas}, template: {{command: [run]}}}}\n"
        )
    }

    const POLICY: &str = "apiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: a} # why\nspec:\n  \
        target: {unit: {name: a.service}}\n  bounds: {min: {cpu: 1}, max: {cpu: 4}}\n";

    fn object(text: &str, generation: u64) -> Object {
        let Some(Ok(located)) = document::parse(text.as_bytes()).pop() else { panic!("{text}") };
        let metadata = Meta { name: located.document.name().to_owned(), generation, ..Meta::default() };
        let (api_version, kind) = (String::new(), String::new());
        match located.document {
            Document::WorkerPool(pool) => {
                let mut status = PoolStatus::default();
                status.source.file = "all.yaml".into();
                Object::Pool(Box::new(PoolObject { api_version, kind, metadata, spec: pool.spec, status }))
            }
            Document::ResourcePolicy(policy) => {
                let mut status = PolicyStatus::default();
                status.source.file = "all.yaml".into();
                Object::Policy(Box::new(PolicyObject { api_version, kind, metadata, spec: policy.spec, status }))
            }
        }
    }

    fn kept_of(recorder: &Recorder, kind: Kind, name: &str) -> Vec<(u64, String)> {
        let (reply, answer) = oneshot::channel();
        recorder.list(kind, name.into(), reply);
        answer.blocking_recv().unwrap().unwrap().into_iter().map(|kept| (kept.number, kept.text)).collect()
    }

    fn kept(recorder: &Recorder, pool: &str) -> Vec<(u64, String)> {
        kept_of(recorder, Kind::WorkerPool, pool)
    }

    #[test]
    fn a_policy_and_a_pool_of_one_name_have_their_own() {
        let dir = tempfile::tempdir().unwrap();
        let a = text("a", 1);
        std::fs::write(dir.path().join("all.yaml"), format!("{a}---\n{POLICY}")).unwrap();
        let mut recorder = Recorder::start(Revisions::of(dir.path()), dir.path().into()).unwrap();
        recorder.published(&object(&a, 1));
        recorder.published(&object(POLICY, 4));
        recorder.gone(status::Kind::Pool, "a");
        assert_eq!(kept(&recorder, "a"), []);
        assert_eq!(kept_of(&recorder, Kind::ResourcePolicy, "a"), [(4, POLICY.to_owned())]);
        recorder.gone(status::Kind::Policy, "a");
        assert_eq!(kept_of(&recorder, Kind::ResourcePolicy, "a"), []);
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
            recorder.gone(status::Kind::Pool, "a");
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
        next.gone(status::Kind::Pool, "a");
        assert_eq!(kept(&next, "a"), []);
    }
}
