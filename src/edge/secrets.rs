//! Values that are taken from elsewhere: a file, or a variable of the daemon. Read each time they are needed, never kept in a
//! document. An error names the path or the variable, never what is in it.

use std::io::Read;

use crate::model::source::SecretSource;

/// Bytes that a value may have.
const VALUE_MAX: u64 = 64 * 1024;

/// The text of a file without its last line end.
///
/// # Errors
/// With the path: that it cannot be read, is too large, or is no text. Never with its content.
pub fn file(path: &str) -> Result<String, String> {
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(|e| format!("{path}: {e}"))?;
    if !file.metadata().map_err(|e| format!("{path}: {e}"))?.is_file() {
        return Err(format!("{path}: not a regular file"));
    }
    file.take(VALUE_MAX + 1).read_to_string(&mut text).map_err(|_| format!("{path}: not readable as UTF-8 text"))?;
    if text.len() as u64 > VALUE_MAX || text.contains('\0') {
        return Err(format!("{path}: more than {VALUE_MAX} bytes, or a NUL byte in it"));
    }
    Ok(text.strip_suffix('\n').map_or(text.as_str(), |line| line.strip_suffix('\r').unwrap_or(line)).to_owned())
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
