//! What the shim leaves on disk: how the last run ended, and for people and recovery what runs now.
//!
//! The exit record is written before the end is told. Written aside and put in place: a reader sees a whole record or the one
//! before; synced when the daemon has been told. Numbers and one escaped text; the daemon's side reads it with a JSON library.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::LazyLock;

use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;

use super::sys;
use super::wire::{Exit, State};

/// The id of this boot, as the daemon has it: after another one, what ran has ended with the machine.
static BOOT: LazyLock<String> = LazyLock::new(|| {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id");
    id.map(|id| id.trim().to_owned()).unwrap_or_default()
});

/// The records in a slot's directory.
pub(super) struct Records {
    dir: File,
    exit: Pair,
    running: Pair,
}

impl Records {
    /// Those of this directory.
    pub(super) fn of(dir: File) -> Records {
        Records { dir, exit: Pair::named("exit.json"), running: Pair::named("shim.json") }
    }

    /// Write how the run ended.
    ///
    /// # Errors
    /// The system's: no space, no permission. The caller keeps the record and tries again.
    pub(super) fn write_exit(&mut self, exit: &Exit) -> io::Result<()> {
        let number = |n: Option<i32>| n.map_or_else(|| "null".to_owned(), |n| n.to_string());
        let text = format!(
            "{{\"incarnation\":{},\"code\":{},\"signal\":{},\"failed\":\"{}\",\"oom\":{},\"startedMs\":{},\"finishedMs\":{},\
             \"ranMs\":{},\"cpuMs\":{},\"maxRssKib\":{},\"asked\":{},\"logStart\":[{},{}],\"logEnd\":[{},{}]}}\n",
            exit.incarnation,
            number(exit.code),
            number(exit.signal),
            escaped(&exit.failed),
            exit.oom,
            exit.started,
            exit.finished,
            exit.ran,
            exit.cpu,
            exit.rss,
            exit.asked,
            exit.log_start.0,
            exit.log_start.1,
            exit.log_end.0,
            exit.log_end.1,
        );
        self.exit.put(&self.dir, &text)
    }

    /// Make what was written of the end, and its name, safe from a loss of power.
    ///
    /// # Errors
    /// The system's. What was written before may be lost then.
    pub(super) fn sync_exit(&self) -> io::Result<()> {
        self.exit.shown.as_ref().map_or(Ok(()), File::sync_data)?;
        self.dir.sync_all()
    }

    /// Write what runs now. Without it a run that leaves no record of its end is not known to have been one.
    pub(super) fn write_running(&mut self, state: &State) {
        let text = format!(
            "{{\"shim\":{},\"boot\":\"{}\",\"pid\":{},\"incarnation\":{},\"startedBootMs\":{},\"template\":\"{}\",\
             \"logStart\":[{},{}]}}\n",
            std::process::id(),
            escaped(&BOOT),
            state.pid,
            state.incarnation,
            state.started,
            escaped(&state.tag),
            state.log_start.0,
            state.log_start.1,
        );
        // The daemon has the same from the socket; this copy is for people, and for the daemon that finds nobody there.
        let _written = self.running.put(&self.dir, &text);
    }
}

/// A record that is two files which change places for ever: one that is made and removed at each end makes a file system slow, and
/// replacing one writes it out at once. Both are held open, as they are written for every task. Whoever still has the other one open
/// may see the next record in it, never a half of this one.
struct Pair {
    name: &'static str,
    /// The one that has the name.
    shown: Option<File>,
    /// The one that is written next.
    aside: Option<File>,
}

impl Pair {
    fn named(name: &'static str) -> Pair {
        Pair { name, shown: None, aside: None }
    }

    fn put(&mut self, dir: &File, text: &str) -> io::Result<()> {
        let aside = format!("{}.tmp", self.name);
        let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let open = || openat(dir, aside.as_str(), flags, Mode::from_bits_truncate(0o600)).map(File::from);
        // Another one may have been put where it was.
        let named = |file: &File| file.metadata().is_ok_and(|meta| meta.nlink() > 0);
        let file = self.aside.take().filter(named).map_or_else(open, Ok)?;
        file.write_all_at(text.as_bytes(), 0)?;
        if file.metadata()?.len() > text.len() as u64 {
            file.set_len(text.len() as u64)?;
        }
        let swapped = sys::exchange(dir, &aside, self.name);
        if swapped.is_err() {
            // There is none yet, or the file system cannot do it: the name is taken over then.
            renameat(dir, aside.as_str(), dir, self.name)?;
        }
        self.aside = self.shown.replace(file).filter(|_| swapped.is_ok());
        Ok(())
    }
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            c if c.is_control() => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_record_is_whole_also_after_somebody_took_a_file_away() {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = File::open(scratch.path()).expect("opens");
        let mut pair = Pair::named("exit.json");
        let mut says = |text: &str| {
            pair.put(&dir, text).expect("written");
            assert_eq!(std::fs::read_to_string(scratch.path().join("exit.json")).expect("there"), text);
        };
        let gone = |name: &str| std::fs::remove_file(scratch.path().join(name)).expect("was there");
        ["1", "two", "3", "a long one", "5"].into_iter().for_each(&mut says);
        gone("exit.json.tmp");
        ["6", "seven", "8"].into_iter().for_each(&mut says);
        gone("exit.json");
        ["9", "ten", "11"].into_iter().for_each(&mut says);
        gone("exit.json");
        gone("exit.json.tmp");
        ["12", "13"].into_iter().for_each(&mut says);
        for name in ["exit.json.tmp", "exit.json"] {
            std::fs::write(scratch.path().join("other"), "another's").expect("written");
            std::fs::rename(scratch.path().join("other"), scratch.path().join(name)).expect("put in its place");
            ["14", "15", "16"].into_iter().for_each(&mut says);
        }
        std::fs::remove_dir_all(scratch.path()).expect("removed");
        let error = pair.put(&dir, "nowhere").expect_err("there is no directory");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
