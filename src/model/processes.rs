//! What a tree of processes uses, from `/proc/PID/stat`: for workers that have no cgroup, or one without controllers.
//!
//! Weaker than a cgroup's numbers: memory that processes share is counted for each of them, and a tree is what hangs together by
//! parents at one look.

use std::collections::{BTreeMap, BTreeSet};

use super::host::Known;

/// One process, as `/proc/PID/stat` has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Process {
    /// Its pid.
    pub pid: i32,
    /// Its program's name, cut off after 15 bytes. Anybody may choose it.
    pub name: String,
    /// Its parent's pid.
    pub parent: i32,
    /// CPU time that it used itself, in ticks.
    pub own_ticks: u64,
    /// CPU time of its children that have ended and were waited for, in ticks.
    pub ended_ticks: u64,
    /// Threads.
    pub threads: u64,
    /// Memory in use, in pages.
    pub pages: u64,
}

impl Process {
    /// Read the one line of the file.
    ///
    /// # Errors
    /// That it does not read so.
    pub fn parse(text: &str) -> Known<Process> {
        // The second field is the program's name, which may hold anything, parentheses too.
        let (head, tail) = text.rsplit_once(')').ok_or("a process's line has no name")?;
        let (pid, name) = head.split_once(" (").ok_or("a process's line has no pid")?;
        let pid = pid.parse().map_err(|_| "a process's line has no pid")?;
        let fields: Vec<&str> = tail.split_ascii_whitespace().collect();
        // Numbered from 1 in proc(5), with the state, the first after the name, as 3.
        let field = |number: usize| {
            let text = fields.get(number - 3);
            text.and_then(|text| text.parse::<i64>().ok()).ok_or_else(|| format!("a process's line has no field {number}"))
        };
        let positive = |number: usize| field(number).map(|n| u64::try_from(n).unwrap_or(0));
        Ok(Process {
            pid,
            name: name.into(),
            parent: i32::try_from(field(4)?).unwrap_or(0),
            own_ticks: positive(14)? + positive(15)?,
            ended_ticks: positive(16)? + positive(17)?,
            threads: positive(20)?,
            pages: positive(24)?,
        })
    }
}

/// What a tree uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// CPU time of all that are and were in it, in ticks.
    pub ticks: u64,
    /// Threads.
    pub threads: u64,
    /// Memory, in pages.
    pub pages: u64,
}

/// All processes at one look.
#[derive(Clone, Debug, Default)]
pub struct Processes {
    by_pid: BTreeMap<i32, Process>,
    children: BTreeMap<i32, Vec<i32>>,
}

impl FromIterator<Process> for Processes {
    fn from_iter<I: IntoIterator<Item = Process>>(all: I) -> Processes {
        let mut processes = Processes::default();
        for process in all {
            processes.children.entry(process.parent).or_default().push(process.pid);
            processes.by_pid.insert(process.pid, process);
        }
        processes
    }
}

impl Processes {
    /// The tree of a worker by its main process: everything below the parent of that, which is its shim and no part of it.
    /// What ended below the shim is counted: its CPU time must not vanish between two looks.
    ///
    /// None where the parent is not called `shim`: a main process whose shim has died was taken in by another, below which there
    /// may be anything, the whole machine too.
    pub fn worker(&self, main: i32, shim: &str) -> Option<Tree> {
        let parent = self.by_pid.get(&main)?.parent;
        let parent = self.by_pid.get(&parent).filter(|parent| parent.pid > 1 && parent.name == shim)?;
        let mut tree = Tree { ticks: parent.ended_ticks, ..Tree::default() };
        // Lines are read one after another: with a pid that was given anew meanwhile, parents may go round in a circle.
        let mut seen = BTreeSet::from([parent.pid]);
        let mut left: Vec<i32> = self.children.get(&parent.pid).cloned().unwrap_or_default();
        while let Some(process) = left.pop().and_then(|pid| self.by_pid.get(&pid)) {
            if !seen.insert(process.pid) {
                continue;
            }
            tree.ticks += process.own_ticks + process.ended_ticks;
            tree.threads += process.threads;
            tree.pages += process.pages;
            left.extend(self.children.get(&process.pid).into_iter().flatten());
        }
        Some(tree)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(pid: i32, parent: i32, own: u64, ended: u64) -> Process {
        let text = format!(
            "{pid} (a ) (b) S {parent} 1 1 0 -1 4194304 1 2 3 4 {own} 1 {ended} 2 20 0 3 0 99 1000 50 18446744073709551615"
        );
        Process::parse(&text).unwrap()
    }

    #[test]
    fn a_line_is_read_whatever_the_name_is() {
        let expected =
            Process { pid: 7, name: "a ) (b".into(), parent: 5, own_ticks: 11, ended_ticks: 22, threads: 3, pages: 50 };
        assert_eq!(line(7, 5, 10, 20), expected);
        for bad in ["", "7", "7 (x", "7 (x) S", "x (y) S 1 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 3 0 9 10 50"] {
            assert!(Process::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_tree_is_all_below_the_shim_and_not_the_shim() {
        // 1 → shim 5 → main 7 → 8 → 9; and 10, an orphan that the shim took in. 11 is somebody else's.
        let world = [line(1, 0, 0, 0), line(5, 1, 1000, 40), line(7, 5, 10, 0), line(8, 7, 20, 5), line(9, 8, 30, 0)];
        let others = [line(10, 5, 0, 0), line(11, 1, 500, 500)];
        let all: Processes = world.into_iter().chain(others).collect();
        let ticks = 42 + (11 + 2) + (21 + 7) + (31 + 2) + (1 + 2);
        assert_eq!(all.worker(7, "a ) (b"), Some(Tree { ticks, threads: 12, pages: 200 }));
        assert_eq!(all.worker(99, "a ) (b"), None);
    }

    #[test]
    fn a_tree_without_its_shim_is_not_the_whole_machine() {
        let all: Processes =
            [line(1, 0, 0, 0), line(7, 1, 10, 0), line(11, 1, 500, 500), line(20, 11, 1, 1)].into_iter().collect();
        assert_eq!(all.worker(7, "a ) (b"), None, "taken in by the first process");
        assert_eq!(all.worker(20, "weir-shim"), None, "taken in by another");
        let circle: Processes = [line(5, 8, 0, 0), line(7, 5, 0, 0), line(8, 7, 0, 0)].into_iter().collect();
        assert_eq!(circle.worker(7, "a ) (b").map(|tree| tree.threads), Some(6));
    }
}
