//! Which state directory is meant: by flag, by variable, or by looking where one usually is.
//!
//! The same order as the daemon's, so that both find each other without a word. Nothing is created here.

use std::env;
use std::path::{Path, PathBuf};

use super::error::Failure;

/// The state directory: `--state`, else `$WEIR_STATE`, else `./.weir` if it is there, else the user's, else the system's for root.
pub fn directory(given: Option<&Path>) -> PathBuf {
    let variable = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(path) = given.map(Path::to_path_buf).or_else(|| variable("WEIR_STATE")) {
        return path;
    }
    let here = PathBuf::from(".weir");
    if here.is_dir() {
        return here;
    }
    if nix::unistd::geteuid().is_root() && variable("XDG_STATE_HOME").is_none() {
        return PathBuf::from("/var/lib/weir");
    }
    let home = variable("XDG_STATE_HOME").or_else(|| variable("HOME").map(|home| home.join(".local/state")));
    home.map_or_else(|| PathBuf::from("/var/lib/weir"), |state| state.join("weir"))
}

/// What a daemon that listens on the network has left in a file of its state directory, without the space around it.
///
/// # Errors
/// That the file cannot be read, and how to start such a daemon.
pub fn of_listener(state: &Path, name: &str) -> Result<String, Failure> {
    let path = state.join(name);
    let how = "start the daemon with `weir run --listen 127.0.0.1:8888`";
    let text =
        std::fs::read_to_string(&path).map_err(|error| Failure::NoDaemon(format!("{}: {error}; {how}", path.display())))?;
    Ok(text.trim().to_owned())
}
