//! A directory as a value and a clock as a number: what admission tests are played in.
//! Virtual time only: a look is taken when a file changes and whenever the last answer asked for one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::decide::admit::{Admission, Change, Settings, admit};
use crate::model::catalogue::{Catalogue, Object, ObjectKey};
use crate::model::document::parse;
use crate::model::listing::{Arrival, Content, File, Listing, Root, Stamp, Whole};
use crate::model::time::{Moment, Now, Wall};

/// A directory and a daemon that looks at it whenever it said it would.
pub struct World {
    pub now: u64,
    pub files: BTreeMap<String, File>,
    pub root: Root,
    pub unreadable: Option<String>,
    pub degraded: Option<String>,
    pub overlooked: BTreeSet<String>,
    pub admission: Admission,
    pub changes: Vec<Change>,
    pub wake_at: Option<Moment>,
    pub settings: Settings,
    pub inode: u64,
}

const EPOCH: i64 = 1_700_000_000_000;

impl World {
    pub fn new() -> World {
        World {
            now: 1_000_000,
            files: BTreeMap::new(),
            root: Root { device: 1, inode: 2 },
            degraded: None,
            overlooked: BTreeSet::new(),
            unreadable: None,
            admission: Admission::default(),
            changes: Vec::new(),
            wake_at: None,
            settings: Settings::default(),
            inode: 100,
        }
    }

    pub fn put(&mut self, path: &str, text: &str, arrival: Arrival) {
        self.inode += u64::from(arrival == Arrival::RenamedIn || !self.files.contains_key(path));
        let inode = self.files.get(path).filter(|_| arrival != Arrival::RenamedIn).map_or(self.inode, |file| file.stamp.inode);
        let mtime_ns = (i128::from(EPOCH) + i128::from(self.now)) * 1_000_000;
        let content = Content { hash: text.to_owned(), documents: parse(text.as_bytes()) };
        let stamp = Stamp { size: text.len() as u64, mtime_ns, inode };
        self.files.insert(path.into(), File { stamp, arrival, content: Ok(Arc::new(content)) });
        self.look();
        // A mark is told once.
        for file in self.files.values_mut() {
            file.arrival = Arrival::Unknown;
        }
    }

    /// Something is heard of a file that reads as before.
    pub fn hear(&mut self, path: &str, arrival: Arrival) {
        self.files.get_mut(path).unwrap_or_else(|| panic!("no {path}")).arrival = arrival;
        self.look();
        self.files.values_mut().for_each(|file| file.arrival = Arrival::Unknown);
    }

    pub fn rename(&mut self, path: &str, text: &str) {
        self.put(path, text, Arrival::RenamedIn);
    }

    pub fn remove(&mut self, path: &str) {
        self.files.remove(path);
        self.look();
    }

    pub fn look(&mut self) {
        let (files, degraded, overlooked) = (self.files.clone(), self.degraded.clone(), self.overlooked.clone());
        let whole = Whole { files, revision: None, root: self.root, degraded, overlooked };
        let listing = self.unreadable.clone().map_or(Listing::Files(whole), Listing::Unreadable);
        let now = Now { mono: Moment(self.now), wall: Wall(EPOCH + i64::try_from(self.now).unwrap()) };
        let admitted = admit(&self.admission, &listing, now, &self.settings);
        if let Some(at) = admitted.wake_at {
            assert!(at > now.mono, "a wake in the past would spin");
        }
        self.wake_at = admitted.wake_at;
        self.admission = admitted.admission;
        self.changes.extend(admitted.changes);
    }

    /// The daemon ends, and the next one begins with what was kept.
    pub fn restart(&mut self) {
        let kept = self.admission.catalogue.to_json();
        let catalogue = Catalogue::from_json(kept, Moment(self.now)).expect("it reads");
        self.admission = Admission::restored(catalogue);
        self.wake_at = None;
    }

    /// Let time pass; look at each moment that was asked for.
    pub fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        while let Some(at) = self.wake_at.filter(|at| at.0 <= end) {
            self.now = at.0;
            self.look();
        }
        self.now = end;
    }

    pub fn object(&self, name: &str) -> &Object {
        self.admission.catalogue.objects.get(&ObjectKey::pool(name)).unwrap_or_else(|| panic!("no {name}"))
    }

    pub fn replicas(&self, name: &str) -> u32 {
        self.object(name).pool().unwrap().spec.fixed_replicas().unwrap()
    }

    pub fn has(&self, name: &str) -> bool {
        self.admission.catalogue.objects.contains_key(&ObjectKey::pool(name))
    }

    pub fn taken(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.changes)
    }
}

pub fn spec(name: &str, replicas: u32) -> String {
    format!(
        "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec:\n  template: {{command: [run]}}\n  replicas: {replicas}\n"
    )
}
