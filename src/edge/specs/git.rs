//! The commit of a directory, when it is a git checkout.
//!
//! Asks the `git` program, with nothing of a user's configuration, no hooks, no locks and no prompt, and for no longer than
//! [`TIMEOUT`]. Whatever goes wrong, the answer is "not known": a listing never fails because of it.
//!
//! A commit changes no spec. Which of git's own files it does change is read here without the program, so that they can be
//! watched, and that nobody asks git again who sees that they are as they were.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::edge::command;
use crate::model::listing::Revision;

/// Longest wait for one answer.
pub const TIMEOUT: Duration = Duration::from_secs(2);

/// Most bytes read of an answer; one changed file is enough to know that it is dirty.
const ANSWER_BYTES_MAX: u64 = 4096;

/// Longest of git's small files that say where something is.
const POINTER_BYTES_MAX: u64 = 4096;

/// A file and how it was found: its inode, size and time of the last change; none if it is not there.
pub type Stamped = (PathBuf, Option<(u64, u64, i64, i64)>);

/// The files of which at least one is another after a commit, a checkout or a reset: `HEAD` and its log, the branch, loose or
/// packed, and the index. Empty if the directory is no checkout.
pub fn heads(dir: &Path) -> Vec<PathBuf> {
    let Some(git) = git_dir(dir) else { return Vec::new() };
    // A worktree of its own has a HEAD and an index, and its branch is where all are.
    let common = pointer(&git.join("commondir")).and_then(|to| git.join(to).canonicalize().ok());
    let common = common.unwrap_or_else(|| git.clone());
    let mut files = vec![git.join("HEAD"), git.join("logs/HEAD"), git.join("index"), common.join("packed-refs")];
    let head = pointer(&git.join("HEAD")).unwrap_or_default();
    let branch = head.strip_prefix("ref: ").map(str::trim).filter(|name| name.starts_with("refs/") && !name.contains(".."));
    files.extend(branch.map(|name| common.join(name)));
    files
}

/// How these files are now.
pub fn stamps(files: Vec<PathBuf>) -> Vec<Stamped> {
    let stamp = |file: &PathBuf| {
        let meta = std::fs::metadata(file).ok()?;
        Some((meta.ino(), meta.size(), meta.mtime(), meta.mtime_nsec()))
    };
    files.into_iter().map(|file| (file.clone(), stamp(&file))).collect()
}

/// The directory that git keeps for the checkout that a directory is in.
fn git_dir(dir: &Path) -> Option<PathBuf> {
    let dir = dir.canonicalize().ok()?;
    let found = dir.ancestors().map(|above| above.join(".git")).find(|git| git.exists())?;
    if found.is_dir() {
        return Some(found);
    }
    let to = pointer(&found)?;
    found.parent()?.join(to.strip_prefix("gitdir: ")?).canonicalize().ok()
}

/// What one of git's files says that holds a single line.
fn pointer(file: &Path) -> Option<String> {
    let meta = std::fs::metadata(file).ok()?;
    let small = meta.is_file() && meta.len() <= POINTER_BYTES_MAX;
    let text = small.then(|| std::fs::read_to_string(file).ok()).flatten()?;
    Some(text.trim_end().to_owned())
}

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
pub(crate) mod tests {
    use std::process::Command;

    use super::*;

    pub(crate) fn git(dir: &Path, args: &[&str]) {
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

    /// Whether what is done there can be seen by the files alone.
    fn seen(dir: &Path, args: &[&str]) -> bool {
        let before = stamps(heads(dir));
        assert!(!before.is_empty());
        git(dir, args);
        before != stamps(heads(dir))
    }

    #[test]
    fn a_commit_is_seen_by_files_wherever_git_keeps_them() {
        let dir = tempfile::tempdir().unwrap();
        let (main, tree) = (dir.path().join("main/specs"), dir.path().join("tree"));
        std::fs::create_dir_all(&main).unwrap();
        assert_eq!(heads(&main), Vec::<PathBuf>::new());
        git(&main, &["init", "-q", ".."]);
        assert!(seen(&main, &["commit", "-q", "--allow-empty", "-m", "one"]));
        git(&main, &["worktree", "add", "-q", "-b", "deep/er", tree.to_str().unwrap()]);
        for dir in [&main, &tree] {
            assert!(!seen(dir, &["rev-parse", "HEAD"]) && revision(dir).is_some_and(|revision| !revision.dirty));
            for args in [
                ["commit", "-q", "--allow-empty", "-mtwo"].as_slice(),
                &["pack-refs", "--all"],
                &["-c", "core.logAllRefUpdates=false", "commit", "-q", "--allow-empty", "-mthree"],
                &["reset", "-q", "--soft", "HEAD~1"],
                &["checkout", "-q", "--detach"],
                &["commit", "-q", "--allow-empty", "-mfour"],
            ] {
                assert!(seen(dir, args), "{args:?} in {}", dir.display());
            }
        }
    }
}
