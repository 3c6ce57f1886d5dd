//! Between birth and exec: a clean slate for the worker.
//!
//! Everything inherited is reset: session, signals, descriptors (0, 1, 2 and the identity lock remain), mask, limits, cgroup,
//! directory, user. A step that fails is told with the step, the errno and what was touched: the child has our memory until exec.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::stat::{Mode, umask};
use nix::unistd::{chdir, pipe2, setsid};

use super::birth::{self, Stack};
use super::sys::{self, Strings};
use super::tree::Cgroup;
use super::wire::Go;

/// The number that the worker finds its identity lock at.
const LOCK_FD: RawFd = 3;

/// Characters of a program's name or a path that are shown.
const SHOWN_MAX: usize = 512;

/// A child that has become the worker, or could not.
pub(super) struct Child {
    /// Its pid.
    pub(super) pid: i32,
    /// Its standard output and error.
    pub(super) output: OwnedFd,
    /// Why it is no worker and ends; nothing: it is one.
    pub(super) failed: String,
}

/// Have a child become the worker.
///
/// # Errors
/// In words: no pipe, no process, no command.
pub(super) fn spawn(go: &Go, place: (&Cgroup, &mut Stack), lock: &File, oom_score: &[u8]) -> Result<Child, String> {
    let (cgroup, stack) = place;
    let (output, output_in) = pipe2(OFlag::O_CLOEXEC).map_err(|e| words("pipe", "", e))?;
    let input = if go.stdin.is_empty() { "/dev/null".into() } else { String::from_utf8_lossy(&go.stdin) };
    let input_file = File::open(&*input).map_err(|e| format!("standard input {input}: {e}"))?.into();
    let image = Image::of(go)?;
    let become_it = |inside| {
        let ready = prepare(go, (&image, inside), (lock, [&input_file, &output_in]), oom_score);
        ready.err().unwrap_or_else(|| image.exec())
    };
    let mut born = |cgroup: Option<&File>| {
        let (inside, own) = (cgroup.is_some(), go.user.is_none());
        let within = own.then(|| birth::within(stack, cgroup, || become_it(inside)).ok()).flatten();
        within.map_or_else(|| birth::apart(cgroup, || become_it(inside)), Ok)
    };
    let inside = cgroup.dir().and_then(|dir| born(Some(dir)).ok());
    let (pid, failed) = inside.map_or_else(|| born(None), Ok).map_err(|e| format!("fork: {e}"))?;
    Ok(Child { pid, output, failed })
}

/// The clean slate. Nothing that is allocated on the way is kept, unless it fails: the memory is the shim's.
fn prepare(
    go: &Go,
    (image, inside): (&Image<'_>, bool),
    (lock, [input, output]): (&File, [&OwnedFd; 2]),
    oom_score: &[u8],
) -> Result<(), String> {
    setsid().map_err(|e| words("setsid", "", e))?;
    let plain = |what: &'static str| move |e: std::io::Error| format!("{what}: {e}");
    // Above 3, so that no copy below is overwritten before it is used.
    let numbers = [input.as_raw_fd(), output.as_raw_fd(), lock.as_raw_fd()];
    let [input, output, lock] = numbers.map(|fd| sys::copy_above(fd, 10));
    for (fd, at) in [(input, 0), (output, 1), (lock, LOCK_FD)] {
        let fd = fd.map_err(plain("descriptors"))?;
        sys::put_at(fd.as_raw_fd(), at).map_err(plain("descriptors"))?;
    }
    sys::put_at(1, 2).map_err(plain("descriptors"))?;
    sys::close_on_exec_from(4);
    if !inside && !image.procs.is_empty() {
        enter(&image.procs)?;
    }
    if !oom_score.is_empty() {
        // The shim's own protection is not the worker's; where it was not raised this cannot fail either.
        let _reset = std::fs::write("/proc/self/oom_score_adj", oom_score);
    }
    umask(Mode::from_bits_truncate(go.umask));
    stand(go, image)?;
    sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1);
    // Their dispositions are the shim's: all default.
    sys::unblock_signals();
    Ok(())
}

/// The limits, the user and the directory of the worker.
fn stand(go: &Go, image: &Image<'_>) -> Result<(), String> {
    let (soft, hard) = go.nofile;
    if hard > 0 {
        setrlimit(Resource::RLIMIT_NOFILE, soft, hard).map_err(|e| words("limit of open files", "", e))?;
    }
    if let Some((uid, gid)) = go.user {
        sys::become_user(uid, gid, &go.groups).map_err(|e| format!("become uid {uid}: {e}"))?;
    }
    if !image.dir.is_empty() {
        chdir(image.dir.as_c_str()).map_err(|e| words("workingDir", &image.dir.to_string_lossy(), e))?;
    }
    Ok(())
}

/// Become a command that runs beside a worker. Comes back only to say why not.
pub(super) fn become_command(go: &Go) -> String {
    let ready = Image::of(go).and_then(|image| stand(go, &image).map(|()| image));
    ready.map_or_else(|why| why, |image| image.exec())
}

fn enter(procs: &CStr) -> Result<(), String> {
    let path = Path::new(OsStr::from_bytes(procs.to_bytes()));
    std::fs::write(path, "0").map_err(|e| format!("{}: {e}", path.display()))
}

/// A program to become, ready for the kernel.
struct Image<'a> {
    program: &'a [u8],
    /// Where it may be.
    paths: Vec<CString>,
    argv: Strings,
    env: Strings,
    /// Where it starts; empty: where we are.
    dir: CString,
    /// What it enters its cgroup by where it is not born there; empty: it has none.
    procs: CString,
}

impl Image<'_> {
    fn of(go: &Go) -> Result<Image<'_>, String> {
        let strings =
            |all: &[Vec<u8>]| -> Vec<CString> { all.iter().filter_map(|text| CString::new(text.clone()).ok()).collect() };
        let (argv, env) = (strings(&go.argv), strings(&go.env));
        let Some(program) = go.argv.first().filter(|_| argv.len() == go.argv.len()) else {
            return Err("the command is empty or has a NUL byte".into());
        };
        let paths = strings(&candidates(program, &go.env));
        let path = |bytes: Vec<u8>| CString::new(bytes).map_err(|_| "a path has a NUL byte".to_owned());
        let procs = if go.cgroup.is_empty() { Vec::new() } else { [&go.cgroup[..], b"/cgroup.procs"].concat() };
        let (dir, procs) = (path(go.dir.clone())?, path(procs)?);
        Ok(Image { program, paths, argv: Strings::of(argv), env: Strings::of(env), dir, procs })
    }

    /// Become it. Comes back only to say why not.
    fn exec(&self) -> String {
        let shown = || String::from_utf8_lossy(self.program).into_owned();
        let mut denied = None;
        for path in &self.paths {
            let error = sys::exec(path, &self.argv, &self.env);
            match error.raw_os_error().map(Errno::from_raw) {
                Some(Errno::ENOENT | Errno::ENOTDIR) => {}
                Some(Errno::EACCES) => denied = Some(Errno::EACCES),
                Some(errno) => return words("exec", &shown(), errno),
                None => return format!("exec {:?}: {error}", shown()),
            }
        }
        words("exec", &shown(), denied.unwrap_or(Errno::ENOENT))
    }
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
