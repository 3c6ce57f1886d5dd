//! Where things belong: for the whole system, or below one user's home.
//!
//! Also where our own programs are, and whether a unit of root's may run them from there.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Directories.
#[derive(Debug)]
pub(super) struct Places {
    /// Of units.
    pub(super) units: PathBuf,
    /// Above `man`, `bash-completion` and the like.
    pub(super) share: PathBuf,
    /// The usual specs directory.
    pub(super) specs: PathBuf,
    /// The usual state directory.
    pub(super) state: PathBuf,
}

impl Places {
    /// For the user, or for the system.
    ///
    /// # Errors
    /// No home directory, or somebody else's; not root for the system.
    pub(super) fn find(user: bool) -> Result<Places, String> {
        if user {
            let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
            own_home(nix::unistd::geteuid().as_raw(), variable("HOME").as_deref())?;
            return Places::of_user(variable);
        }
        if !nix::unistd::geteuid().is_root() {
            return Err("only root may install for the whole system: say `weir install --user`, or use sudo".into());
        }
        Ok(Places {
            units: "/etc/systemd/system".into(),
            share: "/usr/local/share".into(),
            specs: "/etc/weir".into(),
            state: "/var/lib/weir".into(),
        })
    }

    fn of_user(variable: impl Fn(&str) -> Option<PathBuf>) -> Result<Places, String> {
        let home = variable("HOME");
        let below = |name: &str, usual: &str| {
            let path = variable(name).or_else(|| Some(home.as_ref()?.join(usual))).ok_or("$HOME is not set")?;
            // It would depend on where we are, and the manager is elsewhere.
            let relative = || format!("{}: $HOME and ${name} must be absolute paths", path.display());
            if path.is_absolute() { Ok(path) } else { Err(relative()) }
        };
        let config = below("XDG_CONFIG_HOME", ".config")?;
        Ok(Places {
            units: config.join("systemd/user"),
            share: below("XDG_DATA_HOME", ".local/share")?,
            specs: config.join("weir"),
            state: below("XDG_STATE_HOME", ".local/state")?.join("weir"),
        })
    }
}

/// As root nothing is put into somebody else's home, as after `sudo` with `HOME` kept: it would be root's there.
fn own_home(euid: u32, home: Option<&Path>) -> Result<(), String> {
    let owner = home.and_then(|home| std::fs::metadata(home).ok()).map(|meta| meta.uid());
    match (euid, owner, home) {
        (0, Some(owner), Some(home)) if owner != 0 => Err(format!(
            "{}: $HOME is of user {owner}, and this is root: run `weir install --user` as that user, or `weir install` for the system",
            home.display()
        )),
        _ => Ok(()),
    }
}

/// Our own program, by an absolute path without links. `for_root`: nobody else may be able to change it.
///
/// # Errors
/// The shim is not beside it, or another user could put a program of theirs in its place.
pub(super) fn program(for_root: bool) -> Result<PathBuf, String> {
    let own = std::env::current_exe().and_then(|path| path.canonicalize());
    let own = own.map_err(|error| format!("cannot find my own program: {error}"))?;
    let shim = own.with_file_name("weir-shim");
    if !shim.is_file() {
        return Err(format!("{} is missing: put weir, ctl and weir-shim into one directory", shim.display()));
    }
    if let Some(open) = own.ancestors().chain([shim.as_path()]).find(|path| for_root && others_may_change(path)) {
        return Err(format!(
            "{}: root would run {} from there at each boot, and others may change it; \
             put the programs elsewhere first:\n  install -m 755 -t /usr/local/bin {} {} {} && /usr/local/bin/weir install",
            open.display(),
            own.display(),
            own.display(),
            own.with_file_name("ctl").display(),
            shim.display()
        ));
    }
    Ok(own)
}

/// Not root's, or writable by others; a directory where only owners may remove (`/tmp`) is no better.
fn others_may_change(path: &Path) -> bool {
    std::fs::metadata(path)
        .is_ok_and(|meta| meta.uid() != 0 || meta.mode() & 0o002 != 0 || (meta.mode() & 0o020 != 0 && meta.gid() != 0))
}

/// An absolute path, as a unit needs it.
///
/// # Errors
/// The current directory cannot be told.
pub(super) fn absolute(path: &Path) -> Result<PathBuf, String> {
    std::path::absolute(path).map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_users_places_follow_the_variables() {
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/ann"));
        let usual = Places::of_user(home).unwrap();
        assert_eq!(usual.units, Path::new("/home/ann/.config/systemd/user"));
        assert_eq!(usual.share, Path::new("/home/ann/.local/share"));
        assert_eq!((usual.specs, usual.state), ("/home/ann/.config/weir".into(), "/home/ann/.local/state/weir".into()));
        let told = Places::of_user(|name| Some(Path::new("/x").join(name))).unwrap();
        assert_eq!(told.units, Path::new("/x/XDG_CONFIG_HOME/systemd/user"));
        assert_eq!(Places::of_user(|_| None).unwrap_err(), "$HOME is not set");
        for odd in ["HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME"] {
            let odd = |name: &str| {
                Some(PathBuf::from(if name == odd { "x/y" } else { "/x" })).filter(|_| name == odd || name == "HOME")
            };
            assert!(Places::of_user(odd).unwrap_err().contains("absolute"));
        }
    }

    #[test]
    fn root_puts_nothing_into_the_home_of_another() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(own_home(0, Some(Path::new("/"))), Ok(()));
        assert_eq!(own_home(1000, Some(home.path())), Ok(()));
        assert_eq!(own_home(0, None), Ok(()));
        if nix::unistd::geteuid().is_root() {
            std::os::unix::fs::chown(home.path(), Some(12345), None).unwrap();
        }
        assert!(own_home(0, Some(home.path())).unwrap_err().contains("as that user"));
    }

    #[test]
    fn only_root_installs_for_the_system() {
        assert_eq!(Places::find(false).is_ok(), nix::unistd::geteuid().is_root());
    }

    #[test]
    fn root_runs_nothing_that_others_may_change() {
        let dir = tempfile::tempdir().unwrap();
        assert!(others_may_change(Path::new("/tmp")));
        assert!(!others_may_change(Path::new("/")));
        let file = dir.path().join("weir");
        std::fs::write(&file, "").unwrap();
        let mode = |mode| std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(mode)).unwrap();
        mode(0o757);
        assert!(others_may_change(&file));
        mode(0o755);
        assert_eq!(others_may_change(&file), !nix::unistd::geteuid().is_root());
    }
}
