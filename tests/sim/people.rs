//! People: how they edit, and by what accidents.

use weir::model::listing::Arrival;

use crate::specs::{FILES, Hidden, Version};
use crate::world::{Step, Todo, World};

/// Writers pause between parts of a file, but not for as long as a file must stand still to be believed.
const PAUSE_MAX: u64 = 1500;

impl World {
    /// Somebody begins an edit of one file. One person at a time has a file open.
    pub fn edit(&mut self) {
        let (file, pools) = self.random.pick(&FILES);
        if self.specs.edits.contains_key(file) {
            return;
        }
        match self.random.below(100) {
            0..=7 => self.spoil(file),
            8..=17 => self.break_document(file),
            18..=27 => self.recreate(file),
            _ => {
                let pool = self.random.pick(pools);
                let change = self.change(pool);
                self.begin(file, pool, change);
            }
        }
    }

    fn change(&mut self, pool: &'static str) -> Option<Version> {
        let present = self.specs.wishes.get(pool).cloned();
        match present {
            Some(_) if self.random.chance(15) => None,
            Some(version) => Some(version.changed(&mut self.random)),
            None => Some(Version::any(&mut self.random)),
        }
    }

    fn begin(&mut self, file: &'static str, pool: &'static str, change: Option<Version>) {
        self.specs.edits.insert(file, Some((pool, change)));
        if self.random.chance(50) {
            return self.write(file, &Step::Rename);
        }
        *self.faults.entry("half a file stands").or_default() += 1;
        let mut delay = 0;
        for _ in 0..=self.random.below(2) {
            let percent = self.random.below(100);
            self.later(delay, Todo::Write(file, Step::Prefix(percent)));
            delay += self.random.below(PAUSE_MAX);
        }
        self.later(delay, Todo::Write(file, Step::Whole));
    }

    /// The file cannot be read for a while.
    fn spoil(&mut self, file: &'static str) {
        *self.faults.entry("a file cannot be read").or_default() += 1;
        self.specs.spoil(file);
        self.changed();
    }

    /// What is put in place is no pool. It stays until somebody writes the file again.
    fn break_document(&mut self, file: &'static str) {
        let Some(text) = self.specs.wanted_text(file) else { return };
        *self.faults.entry("a bad document").or_default() += 1;
        let broken = if self.random.chance(50) {
            text.replace("eplicas:", "eplicsa:")
        } else {
            text.replace("  updateStrategy", " updateStrategy")
        };
        let wall = self.clock().wall.0;
        self.specs.put(file, broken, Arrival::RenamedIn, wall);
        self.changed();
    }

    /// The file is removed and made again, as some editors and git do.
    fn recreate(&mut self, file: &'static str) {
        *self.faults.entry("a file is made again").or_default() += 1;
        self.specs.edits.insert(file, None);
        self.specs.remove(file);
        self.changed();
        let delay = self.random.below(6000);
        self.later(delay, Todo::Write(file, Step::Whole));
    }

    /// One step of an edit.
    pub fn write(&mut self, file: &'static str, step: &Step) {
        let wall = self.clock().wall.0;
        let Some(edit) = self.specs.edits.get(file).cloned() else { return };
        if let Step::Prefix(percent) = step {
            let text = self.specs.text_after(file, edit.as_ref()).unwrap_or_default();
            let part: String = text.chars().take(text.len() * usize::try_from(*percent).unwrap_or(0) / 100).collect();
            let heard = self.random.pick(&[Arrival::ClosedWrite, Arrival::Unknown]);
            self.specs.put(file, part, heard, wall);
            return self.changed();
        }
        self.specs.edits.remove(file);
        if let Some((pool, change)) = edit {
            self.specs.wish(pool, change);
        }
        let heard = if matches!(step, Step::Rename) {
            Arrival::RenamedIn
        } else {
            self.random.pick(&[Arrival::ClosedWrite, Arrival::Unknown])
        };
        match self.specs.wanted_text(file) {
            Some(text) => self.specs.put(file, text, heard, wall),
            None => self.specs.remove(file),
        }
        self.changed();
    }

    /// The directory is not what it was, for a while.
    pub fn hide(&mut self) {
        if self.specs.hidden.is_none() {
            let how = self.random.pick(&[Hidden::Unreadable, Hidden::Swapped]);
            *self
                .faults
                .entry(if how == Hidden::Swapped { "another directory" } else { "an unreadable directory" })
                .or_default() += 1;
            self.specs.hidden = Some(how);
            let delay = self.random.pick(&[100, 3000, 40_000]);
            self.later(delay, Todo::Unhide);
            self.changed();
        }
    }

    /// A change is heard of, mostly.
    pub fn changed(&mut self) {
        if !self.fault("a change is not heard", 10) {
            self.send(weir::engine::host::Fact::Hint);
        } else {
            self.specs.forget_marks();
        }
    }

    /// All is put right: what people want stands in every file.
    pub fn put_right(&mut self) {
        self.specs.hidden = None;
        for (file, _) in FILES {
            let wall = self.clock().wall.0;
            match self.specs.wanted_text(file) {
                Some(text) => self.specs.put(file, text, Arrival::RenamedIn, wall),
                None => self.specs.remove(file),
            }
        }
        self.changed();
    }
}
