//! The specs directory as the engine uses it: watched, listed one at a time, edited one at a time.
//!
//! A listing is told at once with the revision known so far, and again when `git`, which takes longer, says another. Git is asked
//! when files changed, its own among them: after a commit the specs are what they were. The file system may be one that does
//! not answer: whoever waits for its turn here takes no thread meanwhile.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::{Mutex, OwnedMutexGuard, mpsc};

use crate::edge::clock;
use crate::edge::specs::watch::Watch;
use crate::edge::specs::{Marks, Specs, git};
use crate::model::listing::Listing;
use crate::model::time::Span;

/// How long the first listing is waited for, before what was accepted by the daemon before is gone on with.
pub(super) const FIRST_WITHIN: Span = Span(5_000);

/// The directory, its watch, and what was last read of it.
pub struct SpecsDoor {
    /// Where it is.
    pub dir: PathBuf,
    /// A listing is wanted and not begun yet.
    pub wanted: AtomicBool,
    watch: Watch,
    /// A listing was told, or that there is none yet.
    told: AtomicBool,
    specs: Arc<Mutex<(Specs, Option<Listing>)>>,
}

/// The turn to use the directory: nobody else edits or lists meanwhile.
pub(super) type Held = OwnedMutexGuard<(Specs, Option<Listing>)>;

impl SpecsDoor {
    /// Watch a directory, whether or not it exists yet.
    ///
    /// # Errors
    /// When the watching thread cannot be made.
    pub fn open(dir: &Path, hints: mpsc::Sender<()>) -> std::io::Result<SpecsDoor> {
        let (watch, specs) = (Watch::start(dir, hints)?, Arc::new(Mutex::new((Specs::new(dir), None))));
        Ok(SpecsDoor { dir: dir.to_owned(), wanted: AtomicBool::new(false), watch, told: AtomicBool::new(false), specs })
    }

    /// Wait for the turn.
    pub(super) async fn hold(&self) -> Held {
        self.specs.clone().lock_owned().await
    }

    /// List the directory and tell it; tell it again if its revision turns out to be another. Where the very first listing is not
    /// there in time it is told that nothing can be read.
    pub(super) async fn list(self: Arc<SpecsDoor>, first_within: Span, tell: impl Fn(Listing) + Clone + Send + 'static) {
        let (door, late) = (self.clone(), tell.clone());
        let listed = async {
            let held = door.hold().await;
            let door = door.clone();
            tokio::task::spawn_blocking(move || door.read(held, tell)).await
        };
        tokio::pin!(listed);
        tokio::select! {
            _ended = &mut listed => return,
            () = tokio::time::sleep(first_within.duration()), if !self.told.load(Ordering::Acquire) => {}
        }
        if !self.told.swap(true, Ordering::AcqRel) {
            late(Listing::Unreadable(format!("{} has not answered for {first_within}", self.dir.display())));
        }
        let _ended = listed.await;
    }

    fn read(&self, mut specs: Held, tell: impl Fn(Listing)) {
        self.wanted.store(false, Ordering::Release);
        self.watch.check();
        let listing = self.degraded(specs.0.list(&self.watch.take_marks(), clock::now()));
        let changed = specs.1.as_ref() != Some(&listing);
        specs.1 = Some(listing.clone());
        self.told.store(true, Ordering::Release);
        tell(listing);
        // Looked at before git is asked: what it does meanwhile is seen the next time.
        let heads = git::stamps(git::heads(&self.dir));
        if !changed && heads == specs.0.heads {
            return;
        }
        specs.0.heads = heads;
        let revision = git::revision(&self.dir);
        if revision != specs.0.revision {
            specs.0.revision = revision;
            let listing = self.degraded(specs.0.list(&Marks::default(), clock::now()));
            specs.1 = Some(listing.clone());
            tell(listing);
        }
    }

    /// With what the watch says of itself.
    fn degraded(&self, mut listing: Listing) -> Listing {
        if let Listing::Files(whole) = &mut listing {
            whole.degraded = self.watch.degraded();
        }
        listing
    }
}

/// The directory as it is now, for an edit.
pub(super) fn listing(specs: &mut Held) -> Listing {
    specs.0.list(&Marks::default(), clock::now())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::edit;
    use crate::engine::handle::{Denied, Edit};
    use crate::model::meta::Kind;
    use std::time::Duration;
    use tokio::sync::oneshot;

    const LONG: Duration = Duration::from_secs(20);

    fn door() -> (tempfile::TempDir, Arc<SpecsDoor>) {
        let dir = tempfile::tempdir().expect("a directory");
        let (hints, _) = mpsc::channel(1);
        let door = SpecsDoor::open(dir.path(), hints).expect("watched");
        (dir, Arc::new(door))
    }

    /// With two threads for what blocks.
    fn block_on(test: impl Future<Output = ()>) {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = runtime.max_blocking_threads(2).enable_all().build().expect("a runtime");
        // Never dropped: that would wait for a thread that hangs, and the test has to fail.
        let runtime = std::mem::ManuallyDrop::new(runtime);
        runtime.block_on(async { tokio::time::timeout(2 * LONG, test).await.expect("it ends") });
    }

    fn pool(name: &str) -> Edit {
        let head = "apiVersion: weir.dev/v1\nkind: WorkerPool\n";
        Edit::Apply { text: format!("{head}metadata: {{name: {name}}}\nspec: {{template: {{command: [\"true\"]}}}}\n") }
    }

    #[test]
    fn whoever_waits_for_a_directory_that_does_not_answer_takes_no_thread() {
        block_on(async {
            let (dir, door) = door();
            // What a listing has that hangs.
            let held = door.hold().await;
            let (mut answers, mut lists) = (Vec::new(), Vec::new());
            for n in 0..4 {
                let ((shown, text), (made, edited)) = (oneshot::channel(), oneshot::channel());
                tokio::spawn(edit::show(door.clone(), (Kind::WorkerPool, "none".into()), shown));
                tokio::spawn(edit::make(door.clone(), (pool(&format!("p{n}")), false), made, |_| {}));
                answers.push((text, edited));
                lists.push(tokio::spawn(door.clone().list(FIRST_WITHIN, |_| {})));
            }
            // Nobody waits for this one any more.
            answers.truncate(3);
            for _ in 0..100 {
                tokio::task::yield_now().await;
            }
            let other = tokio::time::timeout(LONG, tokio::task::spawn_blocking(|| ()));
            other.await.expect("there is a thread for it").expect("it ends");
            drop(held);
            for (text, edited) in answers {
                let text = tokio::time::timeout(LONG, text).await.expect("in time").expect("an answer");
                assert!(matches!(text, Err(Denied::NotFound { .. })), "{text:?}");
                assert_eq!(edited.await.expect("an answer").expect("made")[0].verb, "created");
            }
            for list in lists {
                tokio::time::timeout(LONG, list).await.expect("in time").expect("it ends");
            }
            assert_eq!(["p2.yaml", "p3.yaml"].map(|name| dir.path().join(name).exists()), [true, false]);
        });
    }

    #[test]
    fn no_document_is_put_into_what_is_no_file() {
        block_on(async {
            let (dir, door) = door();
            let fifo = dir.path().join("p.yaml");
            rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("made");
            let (reply, answer) = oneshot::channel();
            tokio::spawn(edit::make(door, (pool("p"), false), reply, |_| {}));
            let answer = tokio::time::timeout(LONG, answer).await.expect("nobody writes into it").expect("an answer");
            assert!(matches!(&answer, Err(Denied::Refused(why)) if why.ends_with("p.yaml: is no regular file")), "{answer:?}");
        });
    }

    #[test]
    fn a_commit_is_another_revision_of_the_same_files() {
        block_on(async {
            let (dir, door) = door();
            let git = |args: &[&str]| git::tests::git(dir.path(), args);
            git(&["init", "-q"]);
            git(&["commit", "-q", "--allow-empty", "-mone"]);
            std::fs::write(dir.path().join("p.yaml"), "a: 1\n").expect("written");
            let (tell, mut told) = mpsc::unbounded_channel();
            let tell = move |listing| {
                let Listing::Files(whole) = listing else { panic!("{listing:?}") };
                let _heard = tell.send(whole.revision);
            };
            door.clone().list(FIRST_WITHIN, tell.clone()).await;
            let dirty = [told.recv().await, told.recv().await].map(Option::flatten);
            let [None, Some(dirty)] = dirty else { panic!("{dirty:?}") };
            assert!(dirty.dirty);
            door.clone().list(FIRST_WITHIN, tell.clone()).await;
            assert_eq!(told.recv().await.flatten().as_ref(), Some(&dirty), "known before git is asked");
            git(&["add", "."]);
            git(&["commit", "-qmtwo"]);
            door.clone().list(FIRST_WITHIN, tell).await;
            assert_eq!(told.recv().await.flatten().as_ref(), Some(&dirty));
            let clean = told.recv().await.flatten().expect("a revision");
            assert!(!clean.dirty && clean.commit != dirty.commit, "{clean:?} behind {dirty:?}");
            assert_eq!(told.recv().await, None);
        });
    }

    #[test]
    fn two_documents_of_one_name_are_refused_and_nothing_is_written() {
        block_on(async {
            let (dir, door) = door();
            let [Edit::Apply { text: a }, Edit::Apply { text: b }] = ["a", "b"].map(pool) else { panic!("texts") };
            let twice = Edit::Apply { text: format!("{b}---\n{a}---\n{b}") };
            let (reply, answer) = oneshot::channel();
            tokio::spawn(edit::make(door, (twice, false), reply, |_| {}));
            let answer = tokio::time::timeout(LONG, answer).await.expect("in time").expect("an answer");
            assert!(matches!(&answer, Err(Denied::Refused(why)) if why.contains("pool/b is named twice")), "{answer:?}");
            assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        });
    }

    #[test]
    fn a_first_listing_that_takes_long_is_told_as_unreadable_until_it_comes() {
        block_on(async {
            let (_dir, door) = door();
            let held = door.hold().await;
            let (tell, mut told) = mpsc::unbounded_channel();
            let tell = move |listing| {
                let _heard = tell.send(matches!(listing, Listing::Files(_)));
            };
            let first = tokio::spawn(door.clone().list(Span(20), tell.clone()));
            assert_eq!(told.recv().await, Some(false));
            drop(held);
            first.await.expect("it ends");
            assert_eq!(told.recv().await, Some(true));
            let held = door.hold().await;
            let second = tokio::spawn(door.clone().list(Span(20), tell));
            tokio::time::sleep(Duration::from_millis(100)).await;
            drop(held);
            second.await.expect("it ends");
            assert_eq!(told.recv().await, Some(true), "only the first one is not waited for");
            assert_eq!(told.recv().await, None);
        });
    }
}
