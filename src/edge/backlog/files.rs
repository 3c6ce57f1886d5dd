//! The number of regular files that a pattern matches.
//!
//! Each directory is visited once, with the parts of the pattern that apply to what is in it. What the pattern names without a
//! wildcard before it must be there, and every directory on the way must be readable: a disk that is not mounted and an inbox
//! of another user are not empty. As in a shell, a wildcard does not match a leading dot; `**` follows no symbolic link.

use std::collections::BTreeSet;
use std::fs::FileType;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use glob::{MatchOptions, Pattern};

use super::aside::{Aside, Stop};
use crate::model::reading::{Failure, Number};
use crate::model::source::FilesSource;

/// Entries of directories that are looked at for one answer.
const ENTRIES_MAX: usize = 1_000_000;

const AS_A_SHELL: MatchOptions =
    MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };

/// Counts files.
#[derive(Debug)]
pub(super) struct Files {
    source: FilesSource,
    aside: Aside,
}

impl Files {
    pub(super) fn new(source: FilesSource) -> Files {
        Files { source, aside: Aside::default() }
    }

    /// Count once.
    pub(super) async fn read(&mut self) -> Result<Number, Failure> {
        let glob = self.source.glob.clone();
        let look = move |stop: &Stop| {
            let count = count(&glob, ENTRIES_MAX, stop).map_err(Failure::because)?;
            Number::new(count as f64, &count.to_string())
        };
        self.aside.look(look).await
    }
}

/// One part of a pattern: what stands between two `/`.
enum Part {
    /// This name.
    Name(String),
    /// Names that match.
    Like(Pattern),
    /// `**`: any number of directories.
    Deep,
}

impl Part {
    fn new(text: &str) -> Result<Part, String> {
        if text == "**" {
            return Ok(Part::Deep);
        }
        if !text.contains(['*', '?', '[']) {
            return Ok(Part::Name(text.to_owned()));
        }
        Pattern::new(text).map(Part::Like).map_err(|e| format!("{text}: {}", e.msg))
    }

    fn takes(&self, name: &str) -> bool {
        match self {
            Part::Name(own) => own == name,
            Part::Like(pattern) => pattern.matches_with(name, AS_A_SHELL),
            Part::Deep => !name.starts_with('.'),
        }
    }
}

/// The directory where looking begins, and the parts of the pattern below it.
fn split(glob: &str) -> Result<(PathBuf, Vec<Part>), String> {
    let mut base = PathBuf::from(if glob.starts_with('/') { "/" } else { "." });
    let mut parts = Vec::new();
    for text in glob.split('/').filter(|text| !text.is_empty()) {
        parts.push(Part::new(text)?);
    }
    if parts.is_empty() || glob.ends_with('/') {
        return Err("names no files".into());
    }
    if matches!(parts.last(), Some(Part::Deep)) {
        // `**` at the end is every file below.
        parts.push(Part::new("*")?);
    }
    while let (Some(Part::Name(name)), true) = (parts.first(), parts.len() > 1) {
        base.push(name);
        parts.remove(0);
    }
    Ok((base, parts))
}

fn count(glob: &str, most: usize, stop: &Stop) -> Result<u64, String> {
    let (base, parts) = split(glob).map_err(|e| format!("{glob}: {e}"))?;
    let meta = std::fs::metadata(&base).map_err(|e| format!("{}: {e}", base.display()))?;
    if !meta.is_dir() {
        return Err(format!("{}: not a directory", base.display()));
    }
    let mut walk = Walk { parts: &parts, most, stop, seen: 0, found: 0, todo: vec![(base.clone(), BTreeSet::from([0]))] };
    while let Some((dir, open)) = walk.todo.pop() {
        match walk.visit(&dir, open) {
            // It went away since it was seen, with all its files; but the first one must be there.
            Err(Trouble::Gone(_)) if dir != base => {}
            Err(Trouble::Gone(words) | Trouble::Told(words)) => return Err(words),
            Ok(()) => {}
        }
    }
    Ok(walk.found)
}

enum Trouble {
    Gone(String),
    Told(String),
}

fn trouble(path: &Path, error: &std::io::Error) -> Trouble {
    let words = format!("{}: {error}", path.display());
    match error.kind() == ErrorKind::NotFound || error.kind() == ErrorKind::NotADirectory {
        true => Trouble::Gone(words),
        false => Trouble::Told(words),
    }
}

struct Walk<'a> {
    parts: &'a [Part],
    most: usize,
    stop: &'a Stop,
    seen: usize,
    found: u64,
    /// Directories to visit, with the parts that what is in them is held against.
    todo: Vec<(PathBuf, BTreeSet<usize>)>,
}

impl Walk<'_> {
    fn visit(&mut self, dir: &Path, mut open: BTreeSet<usize>) -> Result<(), Trouble> {
        for at in 0..self.parts.len() {
            // `**` is also no directory at all.
            if open.contains(&at) && matches!(self.parts[at], Part::Deep) {
                open.insert(at + 1);
            }
        }
        if let Some(names) = self.names(&open) {
            // A directory that may be entered but not read is enough for these.
            return names.into_iter().try_for_each(|name| self.named(dir, &name, &open));
        }
        for entry in std::fs::read_dir(dir).map_err(|e| trouble(dir, &e))? {
            let entry = entry.map_err(|e| trouble(dir, &e))?;
            let path = entry.path();
            match entry.file_type() {
                Ok(kind) => self.entry(path, &entry.file_name().to_string_lossy(), kind, &open)?,
                Err(e) => gone_is_fine(trouble(&path, &e))?,
            }
        }
        Ok(())
    }

    /// The names that are looked for, if it is names only.
    fn names(&self, open: &BTreeSet<usize>) -> Option<BTreeSet<String>> {
        let name = |at: &usize| match &self.parts[*at] {
            Part::Name(name) => Some(name.clone()),
            Part::Like(_) | Part::Deep => None,
        };
        open.iter().map(name).collect()
    }

    fn named(&mut self, dir: &Path, name: &str, open: &BTreeSet<usize>) -> Result<(), Trouble> {
        let path = dir.join(name);
        match std::fs::symlink_metadata(&path) {
            Ok(meta) => self.entry(path, name, meta.file_type(), open),
            Err(e) => gone_is_fine(trouble(&path, &e)),
        }
    }

    fn entry(&mut self, path: PathBuf, name: &str, kind: FileType, open: &BTreeSet<usize>) -> Result<(), Trouble> {
        self.seen += 1;
        if self.seen > self.most {
            return Err(Trouble::Told(format!("{}: more than {} entries are looked at", path.display(), self.most)));
        }
        if self.stop.asked() {
            return Err(Trouble::Told("nobody waits any more".into()));
        }
        let (mut below, mut hit) = (BTreeSet::new(), false);
        for &at in open.iter().filter(|at| self.parts[**at].takes(name)) {
            match &self.parts[at] {
                // Links are not followed: they may lead back up.
                Part::Deep => below.extend(kind.is_dir().then_some(at)),
                Part::Name(_) | Part::Like(_) if at + 1 == self.parts.len() => hit = true,
                Part::Name(_) | Part::Like(_) => below.extend([at + 1]),
            }
        }
        if !hit && below.is_empty() {
            return Ok(());
        }
        let (file, dir) = what(&path, kind)?;
        self.found += u64::from(hit && file);
        if dir && !below.is_empty() {
            self.todo.push((path, below));
        }
        Ok(())
    }
}

fn gone_is_fine(trouble: Trouble) -> Result<(), Trouble> {
    match trouble {
        Trouble::Gone(_) => Ok(()),
        Trouble::Told(_) => Err(trouble),
    }
}

/// Whether it is a regular file, and whether a directory; a link is what it leads to.
fn what(path: &Path, kind: FileType) -> Result<(bool, bool), Trouble> {
    if !kind.is_symlink() {
        return Ok((kind.is_file(), kind.is_dir()));
    }
    match std::fs::metadata(path) {
        Ok(meta) => Ok((meta.is_file(), meta.is_dir())),
        // A link to itself leads nowhere, too.
        Err(e) if e.raw_os_error() == Some(libc::ELOOP) => Ok((false, false)),
        Err(e) => gone_is_fine(trouble(path, &e)).map(|()| (false, false)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn tree(files: &[&str]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = dir.path().join(file);
            std::fs::create_dir_all(path.parent().expect("below")).expect("a directory");
            std::fs::write(path, "").expect("written");
        }
        dir
    }

    fn ask(dir: &Path, glob: &str) -> Result<u64, String> {
        count(&format!("{}/{glob}", dir.display()), 100, &Stop::default())
    }

    #[test]
    fn files_are_counted_as_a_shell_would_list_them() {
        let dir = tree(&["in/a.json", "in/b.json", "in/.hidden.json", "in/c.txt", "in/x/d.json", "in/x/y/e.json", "out/f.json"]);
        std::fs::create_dir(dir.path().join("in/dir.json")).expect("a directory");
        symlink("a.json", dir.path().join("in/link.json")).expect("a link");
        symlink("nowhere", dir.path().join("in/dangling.json")).expect("a link");
        symlink("self.json", dir.path().join("in/self.json")).expect("a link");
        symlink("..", dir.path().join("in/x/up")).expect("a link");
        for (glob, files) in [
            ("in/*.json", 3),
            ("in/?.json", 2),
            ("in/[ab].json", 2),
            ("in/[!a].json", 1),
            ("in/.*.json", 1),
            ("in/a.json", 1),
            ("in/z.json", 0),
            ("in/*.none", 0),
            ("*/*.json", 4),
            ("*/a.json", 1),
            ("in/*/y/*", 1),
            ("in/**/*.json", 5),
            ("in/**/**/*.json", 5),
            ("**/x/**/*.json", 2),
            ("**", 7),
            ("in//x///d.json", 1),
            ("in/*/up/*.txt", 1),
        ] {
            assert_eq!(ask(dir.path(), glob), Ok(files), "{glob}");
        }
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_empty() {
        let dir = tree(&["in/a.json", "in/deep/b.json"]);
        for glob in ["no/*.json", "no/such/*/x", "in/a.json/*", "in/", "in/***", "in/a**", "in/[z"] {
            assert!(ask(dir.path(), glob).is_err(), "{glob}");
        }
        assert!(count("", 100, &Stop::default()).is_err());
        assert!(count("/", 100, &Stop::default()).is_err());
        assert!(count(&format!("{}/**", dir.path().display()), 3, &Stop::default()).is_err_and(|e| e.contains("more than 3")));
    }

    #[test]
    fn a_directory_that_may_not_be_read_is_not_empty() {
        let dir = tree(&["in/a.json", "in/deep/b.json"]);
        let mode = |path: &str, mode| {
            std::fs::set_permissions(dir.path().join(path), std::fs::Permissions::from_mode(mode)).expect("its own");
        };
        mode("", 0o755);
        mode("in/deep", 0o700);
        let nobody = nix::unistd::Uid::from_raw(65534);
        // Root reads everything: this thread is nobody towards files for a while.
        let root = nix::unistd::Uid::effective().is_root().then(|| nix::unistd::setfsuid(nobody));
        if root.is_none() {
            mode("in/deep", 0o000);
        }
        let closed = ["in/deep/*.json", "in/*/*.json", "in/**/*.json", "in/deep/b.json"].map(|glob| ask(dir.path(), glob));
        let beside = ask(dir.path(), "in/*.json");
        if let Some(root) = root {
            nix::unistd::setfsuid(root);
        }
        mode("in/deep", 0o700);
        assert!(closed.iter().all(|count| count.as_ref().is_err_and(|e| e.contains("ermission denied"))), "{closed:?}");
        assert_eq!(beside, Ok(1));
    }

    #[tokio::test]
    async fn a_reader_counts_each_time_anew() {
        let dir = tree(&["in/a.json"]);
        let mut files = Files::new(FilesSource { glob: format!("{}/in/*.json", dir.path().display()) });
        assert_eq!(files.read().await.map(|number| number.value()), Ok(1.0));
        std::fs::remove_file(dir.path().join("in/a.json")).expect("removed");
        assert_eq!(files.read().await.map(|number| number.value()), Ok(0.0));
        std::fs::remove_dir(dir.path().join("in")).expect("removed");
        assert!(files.read().await.is_err());
    }
}
