//! The commit of a directory, when it is a git checkout.
//!
//! Asks the `git` program, with nothing of a user's configuration, no hooks, no locks and no prompt, and for no longer than
//! [`TIMEOUT`]. Whatever goes wrong, the answer is "not known": a listing never fails because of it.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::edge::command;
use crate::model::listing::Revision;

/// Longest wait for one answer.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes read of an answer; one changed file is enough to know that it is dirty.
const ANSWER_BYTES_MAX: u64 = 4096;

/// The commit and whether files differ from it; none if this is no checkout, or git cannot tell.
pub fn revision(dir: &Path) -> Option<Revision> {
    let dir = dir.canonicalize().ok()?;
    dir.ancestors().find(|above| above.join(".git").exists())?;
    let commit = ask(&dir, &["rev-parse", "--verify", "HEAD"])?.trim().to_owned();
    let is_id = (40..=64).contains(&commit.len()) && commit.bytes().all(|b| b.is_ascii_hexdigit());
    let dirty =
        !ask(&dir, &["status", "--porcelain", "--untracked-files=normal", "--ignore-submodules=all", "--", "."])?.is_empty();
    is_id.then_some(Revision { commit, dirty })
}

fn ask(dir: &Path, question: &[&str]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/local/bin:/usr/bin:/bin".into());
    let mut command = command::program("git", None, None);
    command.env_clear().env("PATH", path).env("LC_ALL", "C");
    command.env("GIT_CONFIG_NOSYSTEM", "1").env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_TERMINAL_PROMPT", "0");
    command
        .args(["--no-optional-locks", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C"])
        .arg(dir)
        .args(question);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().ok()?;
    let answer = answer(&mut child);
    if answer.is_none() {
        command::end(&child);
    }
    let good = child
        .wait()
        .is_ok_and(|status| status.success() || answer.as_ref().is_some_and(|text| text.len() as u64 == ANSWER_BYTES_MAX));
    answer.filter(|_| good)
}

fn answer(child: &mut Child) -> Option<String> {
    let out = child.stdout.take()?;
    let (sender, receiver) = mpsc::channel();
    let read = move || {
        let mut text = String::new();
        if out.take(ANSWER_BYTES_MAX).read_to_string(&mut text).is_ok() {
            sender.send(text).ok();
        }
    };
    std::thread::Builder::new().name("weir-git".into()).spawn(read).ok()?;
    receiver.recv_timeout(TIMEOUT).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn git(dir: &Path, args: &[&str]) {
        let mut command = Command::new("git");
        command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
        command.args(["-c", "user.name=t", "-c", "user.email=t@example.org", "-C"]).arg(dir).args(args);
        assert!(command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success(), "{args:?}");
    }

    #[test]
    fn a_checkout_has_a_commit_and_may_be_dirty() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(revision(dir.path()), None);
        git(dir.path(), &["init", "-q"]);
        assert_eq!(revision(dir.path()), None, "no commit yet");
        std::fs::write(dir.path().join("a.yaml"), "a: 1\n").unwrap();
        git(dir.path(), &["add", "."]);
        git(dir.path(), &["commit", "-qm", "one"]);
        let clean = revision(dir.path()).unwrap();
        assert!(!clean.dirty && clean.commit.len() >= 40);
        std::fs::write(dir.path().join("b.yaml"), "a: 1\n").unwrap();
        assert_eq!(revision(dir.path()), Some(Revision { dirty: true, ..clean }));
        assert_eq!(revision(&dir.path().join("missing")), None);
    }
}
