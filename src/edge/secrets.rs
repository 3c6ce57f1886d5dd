//! Values that are taken from elsewhere: a file, or a variable of the daemon. Read each time they are needed, never kept in a
//! document. An error names the path or the variable, never what is in it. Nothing here waits for a writer.

use std::fs::{FileType, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

use crate::model::source::SecretSource;

/// Bytes that a value may have.
const VALUE_MAX: u64 = 64 * 1024;

/// The text of a file without its last line end.
///
/// # Errors
/// With the path: that it cannot be read, is too large, or is no text. Never with its content.
pub fn file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let said = |e: std::io::Error| format!("{path}: {e}");
    // A FIFO without a writer would be waited for, and a terminal become ours.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags).open(path).map_err(said)?;
    let kind = file.metadata().map_err(said)?.file_type();
    if !kind.is_file() {
        return Err(format!("{path}: is {}, not a regular file", named(kind)));
    }
    file.take(VALUE_MAX + 1).read_to_string(&mut text).map_err(|_| format!("{path}: not readable as UTF-8 text"))?;
    if text.len() as u64 > VALUE_MAX || text.contains('\0') {
        return Err(format!("{path}: more than {VALUE_MAX} bytes, or a NUL byte in it"));
    }
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).to_owned())
}

/// What something is that is no file.
fn named(kind: FileType) -> &'static str {
    if kind.is_fifo() {
        "a FIFO"
    } else if kind.is_dir() {
        "a folder"
    } else if kind.is_char_device() || kind.is_block_device() {
        "a device"
    } else {
        "something else"
    }
}

/// A variable of the daemon's environment.
///
/// # Errors
/// That it is not set.
pub fn daemon_env(name: &str) -> Result<String, String> {
    std::env::var(name).map_err(|_| format!("the daemon's environment has no {name}"))
}

/// The secret that a document names.
///
/// # Errors
/// As [`file`] and [`daemon_env`], and that none is named.
pub fn read(source: &SecretSource) -> Result<String, String> {
    match (&source.file, &source.env) {
        (Some(path), _) => file(path),
        (None, Some(name)) => daemon_env(name),
        (None, None) => Err("names neither a file nor a variable for the secret".into()),
    }
}

/// The variables of the daemon's environment that a worker, and a command that is asked for a number, get without asking.
pub fn inherited() -> Vec<(String, String)> {
    let wanted = |name: &str| {
        matches!(name, "PATH" | "HOME" | "USER" | "LOGNAME" | "SHELL" | "LANG" | "TZ" | "TMPDIR") || name.starts_with("LC_")
    };
    // One that is no text is nobody's: `vars` would panic at it.
    let text = std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    text.filter(|(name, _)| wanted(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_no_file_is_refused_by_its_name_and_not_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("made");
        for (path, what) in
            [(fifo.as_path(), "a FIFO"), (dir.path(), "a folder"), (std::path::Path::new("/dev/null"), "a device")]
        {
            let path = path.to_str().expect("text").to_owned();
            let (tell, told) = std::sync::mpsc::channel();
            let asked = path.clone();
            std::thread::spawn(move || tell.send(file(&asked)));
            let answer = told.recv_timeout(Duration::from_secs(20)).expect("an answer: nobody writes into it");
            assert_eq!(answer, Err(format!("{path}: is {what}, not a regular file")));
        }
    }

    #[test]
    fn a_secret_is_the_text_of_its_file_without_the_last_line_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("secret");
        for (text, secret) in [("a\nb\r\n", "a\nb"), ("x", "x"), ("", "")] {
            std::fs::write(&path, text).expect("written");
            assert_eq!(read(&SecretSource { file: path.to_str().map(str::to_owned), env: None }).as_deref(), Ok(secret));
        }
    }
}
