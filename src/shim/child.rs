//! Between fork and exec: a clean slate for the worker.
//!
//! Everything inherited is reset: session, signals, descriptors (0, 1, 2 and the identity lock remain), mask, limits, cgroup,
//! directory, user. A step that fails is told through a pipe that exec closes, with the step, the errno and what was touched.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use nix::errno::Errno;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, pipe2, setsid};

use super::sys;
use super::tree::Cgroup;
use super::wire::Go;

/// The number that the worker finds its identity lock at.
const LOCK_FD: RawFd = 3;

/// Characters of a program's name or a path that are shown.
const SHOWN_MAX: usize = 512;

/// A child on its way to exec.
pub(super) struct Child {
    /// Its pid.
    pub(super) pid: i32,
    /// Its standard output and error.
    pub(super) output: OwnedFd,
    /// Closed by exec, or tells why it failed.
    pub(super) news: OwnedFd,
}

/// Fork a child that becomes the worker.
///
/// # Errors
/// In words: no pipe, no process.
pub(super) fn spawn(go: &Go, cgroup: &Cgroup, lock: &File, oom_score: &[u8]) -> Result<Child, String> {
    let pipe = |flags| pipe2(flags).map_err(|e| words("pipe", "", e));
    let (output, output_in) = pipe(nix::fcntl::OFlag::O_CLOEXEC)?;
    let (news, news_in) = pipe(nix::fcntl::OFlag::O_CLOEXEC)?;
    let input = if go.stdin.is_empty() { "/dev/null".into() } else { String::from_utf8_lossy(&go.stdin) };
    let null = File::open(&*input).map_err(|e| format!("standard input {input}: {e}"))?;
    let born = cgroup.dir().and_then(|dir| sys::fork_into(dir).ok());
    let inside = born.is_some();
    match born.map_or_else(sys::fork, Ok).map_err(|e| format!("fork: {e}"))? {
        Some(pid) => Ok(Child { pid, output, news }),
        None => {
            let why = set_up(go, lock, [&null.into(), &output_in, &news_in], (oom_score, inside));
            // The parent reads what there is; with nothing readable left to tell there is nobody to tell it to.
            let _told = File::from(news_in).write_all(why.as_bytes());
            sys::exit_now(127)
        }
    }
}

/// Set up and exec; comes back only to say why not.
fn set_up(go: &Go, lock: &File, [null, output, news]: [&OwnedFd; 3], (oom_score, inside): (&[u8], bool)) -> String {
    match prepare(go, lock, [null, output, news], (oom_score, inside)) {
        Ok(()) => exec(go),
        Err(why) => why,
    }
}

fn prepare(go: &Go, lock: &File, [null, output, news]: [&OwnedFd; 3], (oom_score, inside): (&[u8], bool)) -> Result<(), String> {
    setsid().map_err(|e| words("setsid", "", e))?;
    let plain = |what: &'static str| move |e: std::io::Error| format!("{what}: {e}");
    // Above 3, so that no copy below is overwritten before it is used.
    let numbers = [null.as_raw_fd(), output.as_raw_fd(), lock.as_raw_fd(), news.as_raw_fd()];
    let [null, output, lock, news_copy] = numbers.map(|fd| sys::copy_above(fd, 10));
    for (fd, at) in [(null, 0), (output, 1), (lock, LOCK_FD)] {
        let fd = fd.map_err(plain("descriptors"))?;
        sys::put_at(fd.as_raw_fd(), at).map_err(plain("descriptors"))?;
    }
    sys::put_at(1, 2).map_err(plain("descriptors"))?;
    drop(news_copy);
    sys::close_on_exec_from(4);
    if !inside && !go.cgroup.is_empty() {
        enter(&go.cgroup)?;
    }
    if !oom_score.is_empty() {
        // The shim's own protection is not the worker's; where it was not raised this cannot fail either.
        let _reset = std::fs::write("/proc/self/oom_score_adj", oom_score);
    }
    umask(Mode::from_bits_truncate(go.umask));
    stand(go)?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
    // Their dispositions are the shim's: all default.
    sys::unblock_signals();
    Ok(())
}

/// The limits, the user and the directory of the worker.
fn stand(go: &Go) -> Result<(), String> {
    let (soft, hard) = go.nofile;
    if hard > 0 {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(|e| words("limit of open files", "", e))?;
    }
    if let Some((uid, gid)) = go.user {
        sys::become_user(uid, gid, &go.groups).map_err(|e| format!("become uid {uid}: {e}"))?;
    }
    if !go.dir.is_empty() {
        let dir = String::from_utf8_lossy(&go.dir).into_owned();
        chdir(dir.as_str()).map_err(|e| words("workingDir", &dir, e))?;
    }
    Ok(())
}

/// Become a command that runs beside a worker. Comes back only to say why not.
pub(super) fn become_command(go: &Go) -> String {
    stand(go).err().unwrap_or_else(|| exec(go))
}

fn enter(cgroup: &[u8]) -> Result<(), String> {
    let path = format!("{}/cgroup.procs", String::from_utf8_lossy(cgroup));
    std::fs::write(&path, "0").map_err(|e| format!("{path}: {e}"))
}

fn exec(go: &Go) -> String {
    let strings = |all: &[Vec<u8>]| -> Vec<CString> { all.iter().filter_map(|text| CString::new(text.clone()).ok()).collect() };
    let (argv, env) = (strings(&go.argv), strings(&go.env));
    let Some(program) = go.argv.first().filter(|_| argv.len() == go.argv.len()) else {
        return "the command is empty or has a NUL byte".into();
    };
    let shown = String::from_utf8_lossy(program).into_owned();
    let mut denied = None;
    for path in candidates(program, &go.env) {
        let Ok(path) = CString::new(path) else { continue };
        let error = sys::exec(&path, &argv, &env);
        match error.raw_os_error().map(Errno::from_raw) {
            Some(Errno::ENOENT | Errno::ENOTDIR) => {}
            Some(Errno::EACCES) => denied = Some(Errno::EACCES),
            Some(errno) => return words("exec", &shown, errno),
            None => return format!("exec {shown:?}: {error}"),
        }
    }
    words("exec", &shown, denied.unwrap_or(Errno::ENOENT))
}

/// Where the program may be: as given when it has a slash, else in each directory of the worker's own PATH.
fn candidates(program: &[u8], env: &[Vec<u8>]) -> Vec<Vec<u8>> {
    if program.contains(&b'/') {
        return vec![program.to_vec()];
    }
    let path = env.iter().find_map(|var| var.strip_prefix(b"PATH=")).unwrap_or(b"/usr/local/bin:/usr/bin:/bin");
    path.split(|byte| *byte == b':').filter(|dir| !dir.is_empty()).map(|dir| [dir, b"/", program].concat()).collect()
}

fn words(step: &str, what: &str, errno: Errno) -> String {
    // Bounded: the state that carries these words must fit into the socket.
    let short: String = what.chars().take(SHOWN_MAX).collect();
    let what = if what.is_empty() { String::new() } else { format!(" {short:?}") };
    format!("{step}{what}: {} ({errno:?})", errno.desc())
}
