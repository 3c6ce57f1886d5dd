//! The shim's unsafe code, but for how a child is born: the few system calls that no safe wrapper offers in the form needed here.
//!
//! The shim has one thread, so a child may do anything; everything wrapped here is checked for its result.

#![expect(unsafe_code, reason = "fork, wait4, close_range and prctl have no safe form; the shim has a single thread")]

use std::ffi::{CString, c_char, c_int};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Milliseconds on the boot clock.
pub(super) fn boot_ms() -> u64 {
    clock(libc::CLOCK_BOOTTIME).cast_unsigned()
}

/// Milliseconds since the Unix epoch.
pub(super) fn wall_ms() -> i64 {
    clock(libc::CLOCK_REALTIME)
}

fn clock(id: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is a valid place for the answer; both clocks exist on every kernel we run on.
    unsafe { libc::clock_gettime(id, &raw mut time) };
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// Fork. `None` in the child.
///
/// # Errors
/// EAGAIN or ENOMEM.
pub(super) fn fork() -> io::Result<Option<i32>> {
    // SAFETY: the process has one thread, so no lock can be held by a thread that the child does not have.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(Some(pid)),
    }
}

/// End the child at once, without running anything of the parent's.
pub(super) fn exit_now(code: i32) -> ! {
    // SAFETY: always allowed.
    unsafe { libc::_exit(code) }
}

/// How a reaped child ended.
pub(super) struct Reaped {
    pub(super) pid: i32,
    pub(super) code: Option<i32>,
    pub(super) signal: Option<i32>,
    pub(super) cpu_ms: u64,
    pub(super) rss_kib: u64,
}

/// What there is to reap.
pub(super) enum Wait {
    /// This child has ended.
    Ended(Reaped),
    /// Children live, none has ended.
    Alive,
    /// There is no child at all.
    None,
}

/// Reap one child, whichever, without waiting.
pub(super) fn wait() -> Wait {
    let mut status: c_int = 0;
    // SAFETY: all-zero bytes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: both places are valid for the answer.
    match unsafe { libc::wait4(-1, &raw mut status, libc::WNOHANG, &raw mut usage) } {
        -1 => Wait::None,
        0 => Wait::Alive,
        pid => Wait::Ended(Reaped {
            pid,
            code: libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)),
            signal: libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status)),
            cpu_ms: millis(usage.ru_utime) + millis(usage.ru_stime),
            rss_kib: u64::try_from(usage.ru_maxrss).unwrap_or(0),
        }),
    }
}

fn millis(time: libc::timeval) -> u64 {
    u64::try_from(time.tv_sec * 1000 + time.tv_usec / 1000).unwrap_or(0)
}

/// CPU used by the children reaped so far, in ms.
pub(super) fn reaped_cpu_ms() -> u64 {
    // SAFETY: all-zero bytes are a valid rusage.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    // SAFETY: the place is valid for the answer.
    unsafe { libc::getrusage(libc::RUSAGE_CHILDREN, &raw mut usage) };
    millis(usage.ru_utime) + millis(usage.ru_stime)
}

/// Signal an own child that is not reaped yet: its pid cannot be another's.
pub(super) fn signal_child(pid: i32, signal: i32) {
    // SAFETY: no memory is involved. ESRCH means it is a zombie's pid already gone: nothing to do.
    unsafe { libc::kill(pid, signal) };
}

/// Put `fd` at number `at`, without close-on-exec.
///
/// # Errors
/// The system's.
pub(super) fn put_at(fd: RawFd, at: RawFd) -> io::Result<()> {
    // SAFETY: no memory is involved.
    match unsafe { libc::dup2(fd, at) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// A copy of `fd` numbered at least `least`, closed on exec.
///
/// # Errors
/// The system's.
pub(super) fn copy_above(fd: RawFd, least: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: no memory is involved.
    match unsafe { libc::fcntl(fd, libc::F_DUPFD_CLOEXEC, least) } {
        -1 => Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just given us this descriptor.
        copy => Ok(unsafe { OwnedFd::from_raw_fd(copy) }),
    }
}

/// Have every descriptor from `first` on closed by exec.
pub(super) fn close_on_exec_from(first: u32) {
    // SAFETY: no memory is involved. On a kernel without the call (before 5.11) every descriptor of ours is CLOEXEC already.
    unsafe { libc::syscall(libc::SYS_close_range, first, u32::MAX, 4u32) };
}

/// The default disposition for every signal. What is ignored would be inherited by the worker.
pub(super) fn reset_signals() {
    // The kernel's own structure, all zero: default, no flags, no mask.
    let default = [0u64; 4];
    for signal in 1..=64u64 {
        // SAFETY: the structure is valid and as long as any architecture's. Asked of the kernel, as the C library keeps two
        // signals to itself, and they are inherited too. For KILL and STOP it fails harmlessly.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), std::ptr::null::<u64>(), 8usize) };
    }
}

/// An empty signal mask.
pub(super) fn unblock_signals() {
    // SAFETY: all-zero bytes are a valid set, made empty at once.
    let mut none: libc::sigset_t = unsafe { std::mem::zeroed() };
    // SAFETY: the set is valid.
    unsafe {
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, std::ptr::null_mut());
    }
}

/// Become this user, with these groups. All of it or an error.
///
/// # Errors
/// EPERM without the privilege.
pub(super) fn become_user(uid: u32, gid: u32, groups: &[u32]) -> io::Result<()> {
    // SAFETY: the slice is valid for its length.
    let done = unsafe { libc::setgroups(groups.len(), groups.as_ptr()) == 0 && libc::setgid(gid) == 0 && libc::setuid(uid) == 0 };
    if done { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `prctl` with one number: PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS.
pub(super) fn prctl(option: c_int, value: libc::c_ulong) {
    // SAFETY: both options used take plain numbers only.
    unsafe { libc::prctl(option, value, 0, 0, 0) };
}

/// Have two files of a directory change places. Asked of the kernel: not every C library has the call.
///
/// # Errors
/// The system's: ENOENT where one is missing, EINVAL where the file system cannot do it.
pub(super) fn exchange(dir: &impl AsRawFd, one: &str, other: &str) -> io::Result<()> {
    let (one, other) = (CString::new(one)?, CString::new(other)?);
    let here = dir.as_raw_fd();
    // SAFETY: both strings end in NUL and outlive the call.
    match unsafe { libc::syscall(libc::SYS_renameat2, here, one.as_ptr(), here, other.as_ptr(), libc::RENAME_EXCHANGE) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Strings as exec takes them.
pub(super) struct Strings {
    /// Where they are: they do not move when their owner does.
    pointers: Vec<*const c_char>,
    _held: Vec<CString>,
}

impl Strings {
    pub(super) fn of(strings: Vec<CString>) -> Strings {
        let pointers = strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect();
        Strings { pointers, _held: strings }
    }
}

/// Replace the program. Returns only the error.
pub(super) fn exec(path: &CString, argv: &Strings, env: &Strings) -> io::Error {
    // SAFETY: both arrays end in null, and hold their strings.
    unsafe { libc::execve(path.as_ptr(), argv.pointers.as_ptr(), env.pointers.as_ptr()) };
    io::Error::last_os_error()
}

/// How many bytes are in a pipe now.
pub(super) fn pending(pipe: &impl AsRawFd) -> usize {
    let mut count: c_int = 0;
    // SAFETY: `count` is a valid place for the answer. Where there is none it stays 0.
    unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    usize::try_from(count).unwrap_or(0)
}

/// Switch blocking off.
pub(super) fn nonblocking(fd: &impl AsRawFd) {
    // SAFETY: no memory is involved.
    unsafe {
        let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
        libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK);
    }
}
