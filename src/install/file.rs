//! A file that is written whole, or left as it is when somebody has changed it.
//!
//! The last line of each is a mark with the hash of all before it. A file whose mark holds is as we wrote it, by whichever
//! version, and may be replaced; any other is a person's. Links are a person's too: they are never written through.

use std::io::{ErrorKind, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// What begins the mark, after the comment's own sign.
const MARK: &str = "written by `weir install`; a changed file is kept: sha256 ";

/// A file to be written.
#[derive(Debug)]
pub(super) struct File {
    /// Where.
    pub(super) path: PathBuf,
    text: String,
}

/// What became of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Done {
    /// It is new, or replaced.
    Written,
    /// It was there as it should be.
    Same,
    /// It was changed by hand and is as it was.
    Kept,
}

impl Done {
    /// For people.
    pub(super) fn word(self, dry_run: bool) -> &'static str {
        match (self, dry_run) {
            (Done::Written, true) => "would write",
            (Done::Written, false) => "wrote",
            (Done::Same, _) => "unchanged",
            (Done::Kept, _) => "kept",
        }
    }
}

impl File {
    /// With a mark behind `comment`, what begins a comment in such a file.
    pub(super) fn new(path: PathBuf, text: String, comment: &str) -> File {
        let body = if text.ends_with('\n') { text } else { text + "\n" };
        let text = format!("{body}{comment} {MARK}{}\n", hash(&body));
        File { path, text }
    }

    /// Write it; `dry_run`: only say what would become of it.
    ///
    /// # Errors
    /// With the path: it cannot be read or written.
    pub(super) fn write(&self, force: bool, dry_run: bool) -> Result<Done, String> {
        let said = |error: std::io::Error| format!("{}: {error}", self.path.display());
        let done = match self.present().map_err(said)? {
            Some(text) if text == self.text => Done::Same,
            Some(text) if !force && !is_ours(&text) => Done::Kept,
            Some(_) | None => Done::Written,
        };
        if done == Done::Written && !dry_run {
            self.replace().map_err(said)?;
        }
        Ok(done)
    }

    /// What is there; what is not a plain text is somebody's, and reads as empty.
    fn present(&self) -> std::io::Result<Option<String>> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(meta) if meta.is_file() => Ok(Some(String::from_utf8(std::fs::read(&self.path)?).unwrap_or_default())),
            Ok(_) => Ok(Some(String::new())),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Aside and renamed, so that nobody ever reads half of it.
    fn replace(&self) -> std::io::Result<()> {
        let dir = self.path.parent().unwrap_or(std::path::Path::new("/"));
        std::fs::create_dir_all(dir)?;
        let mut aside = tempfile::NamedTempFile::new_in(dir)?;
        aside.write_all(self.text.as_bytes())?;
        aside.as_file().set_permissions(std::fs::Permissions::from_mode(0o644))?;
        aside.as_file().sync_all()?;
        aside.persist(&self.path).map_err(|error| error.error).map(|_| ())
    }
}

fn hash(body: &str) -> String {
    Sha256::digest(body.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the mark of its last line holds.
fn is_ours(text: &str) -> bool {
    let Some(line) = text.trim_end_matches('\n').rfind('\n').map(|at| at + 1) else { return false };
    let (body, mark) = text.split_at(line);
    mark.trim_end().split_once(MARK).is_some_and(|(_, said)| said == hash(body))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_as_we_wrote_it_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/er/weir.service");
        let [old, new] = ["[Unit]\nA=1\n", "[Unit]\nA=2"].map(|text| File::new(path.clone(), text.into(), "#"));
        assert_eq!(old.write(false, true), Ok(Done::Written));
        assert!(!path.exists(), "a dry run writes nothing");
        assert_eq!(old.write(false, false), Ok(Done::Written));
        assert_eq!(old.write(false, false), Ok(Done::Same));
        assert_eq!(new.write(false, false), Ok(Done::Written), "an older version's file is ours");
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);

        let text = std::fs::read_to_string(&path).unwrap();
        for changed in [text.replace("A=2", "A=3"), text.clone() + "B=1\n", "A=2\n".into(), String::new()] {
            std::fs::write(&path, &changed).unwrap();
            assert_eq!(new.write(false, false), Ok(Done::Kept));
            assert_eq!(std::fs::read_to_string(&path).unwrap(), changed);
        }
        assert_eq!(new.write(true, false), Ok(Done::Written));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_link_is_never_written_through() {
        let dir = tempfile::tempdir().unwrap();
        let (target, link) = (dir.path().join("target"), dir.path().join("link"));
        std::fs::write(&target, "theirs").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        let file = File::new(link.clone(), "ours".into(), "#");
        assert_eq!(file.write(false, false), Ok(Done::Kept), "a masked unit stays masked");
        assert_eq!(file.write(true, false), Ok(Done::Written));
        assert_eq!(std::fs::read_to_string(&target).unwrap(), "theirs");
        assert!(!std::fs::symlink_metadata(&link).unwrap().is_symlink());
    }
}
