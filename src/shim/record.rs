//! What the shim leaves on disk: how the last run ended, and for people and recovery what runs now.
//!
//! The exit record is written before the end is told. Written aside and put in place: a reader sees a whole record or the one
//! before; synced when the daemon has been told. Numbers and one escaped text; the daemon's side reads it with a JSON library.

use std::fs::File;
use std::io::{self, Write};
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

/// Write `exit.json` in the slot's directory, and give the file for [`sync`].
///
/// # Errors
/// The system's: no space, no permission. The caller keeps the record and tries again.
pub(super) fn exit(dir: &File, exit: &Exit) -> io::Result<File> {
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
    put(dir, "exit.json", &text)
}

/// Make a written record, and its name, safe from a loss of power.
///
/// # Errors
/// The system's. What was written before may be lost then.
pub(super) fn sync(dir: &File, record: &File) -> io::Result<()> {
    record.sync_data()?;
    dir.sync_all()
}

/// Write `shim.json`: what runs now. Without it a run that leaves no record of its end is not known to have been one.
pub(super) fn running(dir: &File, state: &State) {
    let text = format!(
        "{{\"shim\":{},\"boot\":\"{}\",\"pid\":{},\"incarnation\":{},\"startedBootMs\":{},\"template\":\"{}\",\"logStart\":[{},{}]}}\n",
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
    let _written = put(dir, "shim.json", &text);
}

/// Two files change places for ever: one that is made and removed at each end makes a file system slow, and replacing one
/// writes it out at once. Whoever still has the other one open may see the next record in it, never a half of this one.
fn put(dir: &File, name: &str, text: &str) -> io::Result<File> {
    let aside = format!("{name}.tmp");
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mut file = File::from(openat(dir, aside.as_str(), flags, Mode::from_bits_truncate(0o600))?);
    file.write_all(text.as_bytes())?;
    if file.metadata()?.len() > text.len() as u64 {
        file.set_len(text.len() as u64)?;
    }
    // There is none yet, or the file system cannot do it: the name is taken over then.
    sys::exchange(dir, &aside, name).or_else(|_| renameat(dir, aside.as_str(), dir, name))?;
    Ok(file)
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
