//! The specs directory and the people who edit it.
//!
//! Beside the files stands what was meant: a version is meant once somebody wrote it whole, and a removal when somebody wanted
//! it. What stands in a file half-way through a write, in a broken document or in a directory that is not there is never meant.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use weir::model::document::{Document, parse};
use weir::model::listing::{Arrival, Content, File, Listing, Root, Stamp, Whole};
use weir::model::pool::PoolSpec;

use crate::queue::POOL;
use crate::random::Random;
use crate::scaled::Scaled;

/// Every file, and the pools that live in it.
pub const FILES: [(&str, &[&str]); 4] = [("a.yaml", &["a"]), ("b.yaml", &["b"]), ("cd.yaml", &["c", "d"]), ("q.yaml", &[POOL])];

/// What a person wants of one pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Version {
    replicas: u32,
    program: u64,
    grace: u64,
    surge: u32,
    /// Instead of the fixed number.
    scale: Option<Scaled>,
    /// How the pool with a queue works it off.
    queue: Worked,
}

/// The queue of the one pool that has one.
#[derive(Clone, Debug, PartialEq)]
struct Worked {
    attempts: u64,
    divided: bool,
    timeout: u64,
}

impl Version {
    pub fn any(random: &mut Random) -> Version {
        let replicas = if random.chance(5) { 11 } else { u32::try_from(random.below(4)).unwrap_or(0) };
        let scale = random.chance(50).then(|| Scaled::any(random));
        let queue = Worked { attempts: 1 + random.below(4), divided: random.chance(30), timeout: random.pick(&[4, 1800]) };
        Version {
            replicas,
            program: random.below(3),
            grace: 1 + random.below(3),
            surge: u32::from(random.chance(30)),
            scale,
            queue,
        }
    }

    /// Somebody changes one thing.
    pub fn changed(&self, random: &mut Random) -> Version {
        let other = Version::any(random);
        match random.below(5) {
            4 => Version { queue: other.queue, ..self.clone() },
            0 | 1 if self.scale.is_some() && random.chance(80) => {
                Version { scale: self.scale.as_ref().map(|scale| scale.changed(random)), ..self.clone() }
            }
            0 | 1 if random.chance(40) => Version { scale: other.scale, replicas: other.replicas, ..self.clone() },
            0 | 1 => Version { replicas: other.replicas, ..self.clone() },
            2 => Version { program: other.program, ..self.clone() },
            _ => other,
        }
    }

    /// The count stands last: half of it is another count, and none of it is the default.
    fn text(&self, name: &str) -> String {
        let size = match &self.scale {
            _ if name == POOL => format!("{}  replicas: {}\n", self.queue.text(), self.replicas),
            Some(scale) => scale.text(name),
            None => format!("  replicas: {}\n", self.replicas),
        };
        format!(
            "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec:\n  template:\n    command: [p{}]\n    terminationGracePeriod: {}s\n    backoff: {{initial: 1s, max: 30s, resetAfter: 60s}}\n  notify:\n  - {{on: [CrashLoop], exec: {{command: [told]}}}}\n  - {{on: [Scaled, Exited], webhook: {{url: \"http://localhost/\"}}}}\n  updateStrategy: {{maxSurge: {}}}\n{size}",
            self.program, self.grace, self.surge
        )
    }
}

impl Worked {
    fn text(&self) -> String {
        let dispatch = if self.divided { "PerWorker" } else { "Shared" };
        format!(
            "  queue: {{dispatch: {dispatch}, timeout: {}s, retry: {{maxAttempts: {}, backoff: {{initial: 1s, max: 5s}}}}}}\n",
            self.timeout, self.attempts
        )
    }
}

/// What one person meant at one time: a version of a pool, or that it should not be.
#[derive(Clone, Debug)]
pub enum Meant {
    Version(Box<PoolSpec>),
    Removal,
}

#[derive(Clone, Debug, Default)]
struct OnDisk {
    text: String,
    inode: u64,
    mtime_ns: i128,
    arrival: Arrival,
    unreadable: bool,
}

/// The pool that an edit changes, and to what.
pub type Edit = (&'static str, Option<Version>);

/// Why the directory does not show what is in it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Hidden {
    Unreadable,
    /// Another, empty directory stands in its place.
    Swapped,
}

/// The directory.
#[derive(Default)]
pub struct Specs {
    files: BTreeMap<String, OnDisk>,
    pub hidden: Option<Hidden>,
    /// Files that somebody is writing, and what changes with that.
    pub edits: BTreeMap<&'static str, Option<Edit>>,
    inodes: u64,
    /// What people want now.
    pub wishes: BTreeMap<&'static str, Version>,
    /// All that was ever meant, by pool.
    pub meant: BTreeMap<&'static str, Vec<Meant>>,
}

thread_local! {
    static PARSED: RefCell<BTreeMap<String, Arc<Content>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Parsing is pure: each text is parsed once.
fn content(text: &str) -> Arc<Content> {
    PARSED.with_borrow_mut(|parsed| {
        if let Some(content) = parsed.get(text) {
            return content.clone();
        }
        let documents = parse(text.as_bytes());
        let content = Arc::new(Content { hash: text.to_owned(), documents });
        parsed.insert(text.to_owned(), content.clone());
        content
    })
}

/// What a version says.
pub fn spec_of(name: &str, version: &Version) -> Box<PoolSpec> {
    let content = content(&version.text(name));
    match content.documents.first() {
        Some(Ok(located)) => match &located.document {
            Document::WorkerPool(pool) => Box::new(pool.spec.clone()),
            Document::ResourcePolicy(_) => unreachable!("pools are written"),
        },
        other => panic!("a meant version does not read: {other:?}"),
    }
}

/// What somebody wants of a pool now, if they want it.
pub fn spec_of_wish(specs: &Specs, name: &str) -> Option<Box<PoolSpec>> {
    specs.wishes.get(name).map(|version| spec_of(name, version))
}

/// The pools that live in a file.
pub fn pools_of(file: &str) -> &'static [&'static str] {
    FILES.iter().find(|(name, _)| *name == file).map_or(&[], |(_, pools)| pools)
}

impl Specs {
    /// A person changes their mind about a pool.
    pub fn wish(&mut self, pool: &'static str, version: Option<Version>) {
        let meant = match &version {
            Some(version) => Meant::Version(spec_of(pool, version)),
            None => Meant::Removal,
        };
        self.meant.entry(pool).or_default().push(meant);
        match version {
            Some(version) => self.wishes.insert(pool, version),
            None => self.wishes.remove(pool),
        };
    }

    /// What the file should hold; none if it should not be.
    pub fn wanted_text(&self, file: &str) -> Option<String> {
        self.text_after(file, None)
    }

    /// What the file will hold after this edit.
    pub fn text_after(&self, file: &str, edit: Option<&Edit>) -> Option<String> {
        let mut text = String::new();
        for pool in pools_of(file) {
            let edited = edit.filter(|(name, _)| name == pool).map(|(_, version)| version.as_ref());
            if let Some(version) = edited.unwrap_or(self.wishes.get(pool)) {
                let separator = if text.is_empty() { "" } else { "---\n" };
                let _never_fails = write!(text, "{separator}{}", version.text(pool));
            }
        }
        (!text.is_empty()).then_some(text)
    }

    pub fn put(&mut self, file: &str, text: String, arrival: Arrival, wall: i64) {
        self.inodes += 1;
        let fresh = OnDisk { inode: self.inodes, ..OnDisk::default() };
        let kept = self.files.get(file).cloned().filter(|_| arrival != Arrival::RenamedIn).unwrap_or(fresh);
        let mtime_ns = i128::from(wall) * 1_000_000;
        self.files.insert(file.into(), OnDisk { text, mtime_ns, arrival, unreadable: false, ..kept });
    }

    pub fn remove(&mut self, file: &str) {
        self.files.remove(file);
    }

    /// The file's bytes cannot be read until it is written again.
    pub fn spoil(&mut self, file: &str) {
        if let Some(file) = self.files.get_mut(file) {
            file.unreadable = true;
        }
    }

    /// What was heard of the files is forgotten with the daemon that heard it.
    pub fn forget_marks(&mut self) {
        self.files.values_mut().for_each(|file| file.arrival = Arrival::Unknown);
    }

    /// As the directory looks now. Marks are told once.
    pub fn listing(&mut self) -> Listing {
        let files = match self.hidden {
            Some(Hidden::Unreadable) => return Listing::Unreadable("Input/output error".into()),
            Some(Hidden::Swapped) => return Listing::Files(Whole { root: Root { device: 1, inode: 99 }, ..Whole::default() }),
            None => self.files.iter().map(|(path, file)| (path.clone(), shown(file))).collect(),
        };
        self.forget_marks();
        Listing::Files(Whole { files, revision: None, root: Root { device: 1, inode: 1 }, ..Whole::default() })
    }
}

fn shown(file: &OnDisk) -> File {
    let stamp = Stamp { size: file.text.len() as u64, mtime_ns: file.mtime_ns, inode: file.inode };
    let content = if file.unreadable { Err("Permission denied".into()) } else { Ok(content(&file.text)) };
    File { stamp, arrival: file.arrival, content }
}
