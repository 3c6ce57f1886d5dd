//! What workers use now: from their cgroups, and where those do not tell from `/proc`.
//!
//! Looks when it is asked and never by itself. A number that neither tells stays unknown, with the cgroup's reason.

use std::cell::OnceCell;
use std::path::Path;

use nix::unistd::{SysconfVar, sysconf};

use super::Slots;
use crate::edge::clock;
use crate::model::cgroup;
use crate::model::host::Known;
use crate::model::processes::{Process, Processes, Tree};
use crate::model::quantity::Memory;
use crate::model::usage::Usage;
use crate::model::worker::SlotId;

impl Slots {
    /// What each of these workers uses, by its slot and its main process. Reads files: waiting must be allowed.
    pub fn usage(&self, workers: &[(SlotId, i32)]) -> Vec<Usage> {
        let processes = OnceCell::new();
        let shim = self.shared.config.shim_program.file_name().unwrap_or_default().to_string_lossy();
        // The kernel keeps no more of it.
        let shim: String = shim.chars().take(15).collect();
        let one = |(slot, pid): &(SlotId, i32)| {
            let dir = self.shared.config.driver.worker_dir(slot);
            let read = |name: &str| {
                let dir = dir.as_deref().ok_or("the worker has no cgroup (driver none)")?;
                text(&dir.join(name))
            };
            let mut usage = cgroup::usage(clock::now().mono, read);
            if usage.cpu_micros.is_err() || usage.memory.is_err() || usage.tasks.is_err() {
                let tree = processes.get_or_init(look).worker(*pid, &shim);
                tree.into_iter().for_each(|tree| fill(&mut usage, tree));
            }
            usage
        };
        workers.iter().map(one).collect()
    }
}

/// The numbers that the cgroup does not tell.
fn fill(usage: &mut Usage, tree: Tree) {
    let constant = |name| sysconf(name).ok().flatten().and_then(|n| u64::try_from(n).ok()).filter(|n| *n > 0);
    if let (Err(_), Some(hertz)) = (&usage.cpu_micros, constant(SysconfVar::CLK_TCK)) {
        usage.cpu_micros = Ok(tree.ticks.saturating_mul(1_000_000) / hertz);
    }
    if let (Err(_), Some(page)) = (&usage.memory, constant(SysconfVar::PAGE_SIZE)) {
        usage.memory = Ok(Memory(tree.pages.saturating_mul(page)));
        usage.working = usage.memory.clone();
    }
    if usage.tasks.is_err() {
        usage.tasks = Ok(tree.threads);
    }
}

/// All processes. One that ends meanwhile is not there.
fn look() -> Processes {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let dirs = entries.filter(|entry| entry.file_name().to_str().is_some_and(|name| name.parse::<i32>().is_ok()));
    dirs.filter_map(|dir| Process::parse(&text(&dir.path().join("stat")).ok()?).ok()).collect()
}

fn text(path: &Path) -> Known<String> {
    // A program's name may be no UTF-8.
    let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_living_tree_has_numbers() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        // The name of the process, not of this thread.
        let own = std::fs::read_to_string(format!("/proc/{}/comm", std::process::id())).unwrap();
        // This test stands where a shim would: its other children are in the tree too. A program that was just begun has no memory
        // for a moment.
        let measured = (0..1000).find_map(|_| {
            let mut usage = cgroup::usage(clock::now().mono, |name| Err(format!("no {name}")));
            fill(&mut usage, look().worker(pid, own.trim_end())?);
            std::thread::sleep(std::time::Duration::from_millis(2));
            usage.memory.as_ref().is_ok_and(|memory| *memory > Memory(4096)).then_some(usage)
        });
        child.kill().unwrap();
        child.wait().unwrap();
        let usage = measured.expect("its memory shows");
        assert!(usage.tasks.is_ok_and(|tasks| tasks >= 1) && usage.cpu_micros.is_ok());
        assert_eq!(look().worker(pid, own.trim_end()), None);
    }
}
