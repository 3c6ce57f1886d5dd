//! What there is on this machine, as data: files of `/proc` and `/sys`, and one question to each manager of systemd.
//!
//! Nothing is written, made or judged. What cannot be read is an error in words.

use std::path::{Path, PathBuf};

use crate::edge::slots::cgroup::mounted;
use crate::edge::statedir;
use crate::edge::systemd::{Manager, Which};

/// What was seen.
#[derive(Clone, Debug)]
pub(super) struct Sight {
    /// We are root.
    pub(super) root: bool,
    /// `uname -r`.
    pub(super) kernel: String,
    /// Where weir-shim should be, and whether it is there.
    pub(super) shim: (PathBuf, bool),
    /// The state directory, and why it cannot be used, if so.
    pub(super) state: (PathBuf, Result<(), String>),
    /// systemd is the first process.
    pub(super) booted: bool,
    /// The cgroup of the manager that we would use, or why it does not answer.
    pub(super) manager: Result<String, String>,
    /// Where cgroup v2 is mounted.
    pub(super) cgroup2: Option<PathBuf>,
    /// The controllers below the manager's cgroup, or below our own without one.
    pub(super) controllers: Result<String, String>,
    /// We may write into our own cgroup.
    pub(super) delegated: bool,
    /// Our user's manager goes on without a login.
    pub(super) linger: bool,
    /// `max_user_watches`, `max_user_instances`.
    pub(super) inotify: Result<(u64, u64), String>,
    /// `/proc/pressure/memory` can be read.
    pub(super) pressure: Result<(), String>,
    /// Most descriptors that we may have.
    pub(super) files: u64,
    /// Swap in all and memory in all, in KiB.
    pub(super) memory: Result<(u64, u64), String>,
}

/// Look at everything once.
pub(super) fn look(state: PathBuf) -> Sight {
    let root = nix::unistd::geteuid().is_root();
    let manager = manager(root);
    let cgroup2 = mounted();
    let group = manager.as_ref().ok().cloned().or_else(|| own_cgroup().ok());
    let dir = cgroup2.as_ref().zip(group).map(|(mount, group)| mount.join(group.trim_start_matches('/')));
    let none = || Err("no cgroup v2 file system is mounted".to_owned());
    let own = cgroup2.as_ref().zip(own_cgroup().ok()).map(|(mount, group)| mount.join(group.trim_start_matches('/')));
    Sight {
        root,
        kernel: read("/proc/sys/kernel/osrelease").unwrap_or_default(),
        shim: shim(),
        state: (state.clone(), usable(&state)),
        booted: Path::new("/run/systemd/system").is_dir(),
        manager,
        cgroup2,
        controllers: dir.map_or_else(none, |dir| read(&dir.join("cgroup.controllers").display().to_string())),
        delegated: own.is_some_and(|dir| writable(&dir)),
        linger: user().is_some_and(|user| Path::new("/var/lib/systemd/linger").join(user).exists()),
        inotify: number("/proc/sys/fs/inotify/max_user_watches")
            .and_then(|watches| Ok((watches, number("/proc/sys/fs/inotify/max_user_instances")?))),
        pressure: read("/proc/pressure/memory").map(drop),
        files: nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).map_or(0, |(_, hard)| hard),
        memory: memory(),
    }
}

fn shim() -> (PathBuf, bool) {
    let beside = std::env::current_exe().unwrap_or_default().with_file_name("weir-shim");
    let there = beside.is_file();
    (beside, there)
}

/// The directory, or where it would be made.
fn usable(state: &Path) -> Result<(), String> {
    let state = std::path::absolute(state).map_err(|error| error.to_string())?;
    if state.exists() {
        return statedir::check(&state);
    }
    let above = state.ancestors().find(|above| above.is_dir()).unwrap_or(Path::new("/"));
    if writable(above) { Ok(()) } else { Err(format!("it is not there, and {} cannot be written", above.display())) }
}

fn writable(dir: &Path) -> bool {
    nix::unistd::access(dir, nix::unistd::AccessFlags::W_OK).is_ok()
}

fn manager(root: bool) -> Result<String, String> {
    let which = if root { Which::System } else { Which::User };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| error.to_string())?;
    runtime.block_on(async { Manager::open(which).await?.control_group().await })
}

/// The path of our cgroup v2, below its mount.
fn own_cgroup() -> Result<String, String> {
    let text = read("/proc/self/cgroup")?;
    let line = text.lines().find_map(|line| line.strip_prefix("0::")).map(str::to_owned);
    line.ok_or_else(|| "we are in no cgroup v2".into())
}

fn user() -> Option<String> {
    nix::unistd::User::from_uid(nix::unistd::geteuid()).ok().flatten().map(|user| user.name)
}

fn memory() -> Result<(u64, u64), String> {
    let text = read("/proc/meminfo")?;
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).ok_or_else(|| format!("/proc/meminfo has no {key}"))
    };
    Ok((value("SwapTotal")?, value("MemTotal")?))
}

fn number(path: &str) -> Result<u64, String> {
    read(path)?.parse().map_err(|_| format!("{path} is no number"))
}

fn read(path: &str) -> Result<String, String> {
    std::fs::read_to_string(path).map(|text| text.trim().to_owned()).map_err(|error| format!("{path}: {error}"))
}
