//! How a child is born: in our own memory, until it is another program. A fork would copy what exec throws away at once.
//!
//! We wait meanwhile. So the child may use what is ours as if it were a function that we called, on a stack of its own; what it
//! writes stays, and what it allocates and does not give back before exec is ours for ever. One that becomes another user has a
//! copy all the same: whoever that user is could reach into ours with it. So has one on a processor that this is not written for.

#![expect(unsafe_code, reason = "clone3 has no safe form; we wait while the child uses our memory")]

use std::ffi::c_void;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;

use nix::fcntl::OFlag;
use nix::unistd::pipe2;

use super::sys;

/// The kernel's number; the libc crate's has a type too narrow for it.
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// Bytes of a child's stack. Only those that it touches are ever there.
const STACK: usize = 256 * 1024;

/// Where children stand, one after the other, in pieces of a stack's alignment.
pub(super) struct Stack(Box<[u128]>);

impl Stack {
    pub(super) fn new() -> Stack {
        // Given zeroed by the system, page by page as it is touched.
        Stack(vec![0; STACK / size_of::<u128>()].into_boxed_slice())
    }
}

/// Have a child in our memory do `become_it`, which ends in exec or comes back to say why not; the child ends then. Waits for either,
/// and gives its pid and those words. Where a cgroup is given by its directory, it is born there: that costs nothing; moving it
/// there afterwards waits for every processor to pass a quiet moment, ten milliseconds and more.
///
/// # Errors
/// The system's; ENOSYS before Linux 5.7, or on a processor that this is not written for.
pub(super) fn within(stack: &mut Stack, cgroup: Option<&File>, become_it: impl Fn() -> String) -> io::Result<(i32, String)> {
    let mut why = String::new();
    let work = || why = become_it();
    let pid = born(stack, cgroup, work)?;
    Ok((pid, why))
}

/// The same in a copy of our memory.
///
/// # Errors
/// The system's; ENOSYS for a cgroup before Linux 5.7.
pub(super) fn apart(cgroup: Option<&File>, become_it: impl Fn() -> String) -> io::Result<(i32, String)> {
    let (news, low) = pipe2(OFlag::O_CLOEXEC)?;
    // Above those that the worker has its own at.
    let (mut news, news_in) = (File::from(news), File::from(sys::copy_above(low.as_raw_fd(), 10)?));
    drop(low);
    match cgroup.map_or_else(sys::fork, fork_into)? {
        None => {
            let why = become_it();
            // The parent reads what there is; with nothing readable left to tell there is nobody to tell it to.
            let _told = (&news_in).write_all(why.as_bytes());
            sys::exit_now(127)
        }
        Some(pid) => {
            drop(news_in);
            let mut why = Vec::new();
            // Exec closes its other end, or the child's end does.
            let _read = news.read_to_end(&mut why);
            Ok((pid, String::from_utf8_lossy(&why).into_owned()))
        }
    }
}

fn arguments(cgroup: Option<&File>) -> libc::clone_args {
    // SAFETY: all-zero bytes are a valid clone_args.
    let mut args: libc::clone_args = unsafe { std::mem::zeroed() };
    args.exit_signal = libc::SIGCHLD.unsigned_abs().into();
    if let Some(dir) = cgroup {
        args.flags = CLONE_INTO_CGROUP;
        args.cgroup = dir.as_raw_fd().unsigned_abs().into();
    }
    args
}

fn fork_into(cgroup: &File) -> io::Result<Option<i32>> {
    let args = arguments(Some(cgroup));
    // SAFETY: without CLONE_VM this is fork; the process has one thread, and the child goes straight to exec or _exit.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw const args, size_of::<libc::clone_args>()) } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(None),
        pid => Ok(i32::try_from(pid).ok()),
    }
}

fn born<F: FnMut()>(stack: &mut Stack, cgroup: Option<&File>, mut work: F) -> io::Result<i32> {
    let mut args = arguments(cgroup);
    args.flags |= u64::from((libc::CLONE_VM | libc::CLONE_VFORK).unsigned_abs());
    args.stack = stack.0.as_mut_ptr().expose_provenance() as u64;
    args.stack_size = STACK as u64;
    let work: *mut F = &raw mut work;
    // SAFETY: the stack is nobody else's, as we wait for the child (CLONE_VFORK). The process has one thread: no lock is held that
    // the child could wait for. `begin` never comes back.
    let answer = unsafe { clone3(&args, begin::<F>, work.cast()) };
    match i32::try_from(answer) {
        Ok(error) if error < 0 => Err(io::Error::from_raw_os_error(-error)),
        Ok(pid) => Ok(pid),
        Err(_) => Err(io::ErrorKind::InvalidData.into()),
    }
}

/// What a child begins with.
extern "C" fn begin<F: FnMut()>(work: *mut c_void) {
    // SAFETY: it is the closure that `born` was given, whose caller waits.
    let work = unsafe { &mut *work.cast::<F>() };
    work();
    sys::exit_now(127)
}

/// No C library has a call for it: the child has to leave the system call on its own stack, and not come back to us.
///
/// # Safety
/// The stack that `args` names is as long as it says and nobody's, and `begin` never comes back.
#[cfg(target_arch = "x86_64")]
unsafe fn clone3(args: &libc::clone_args, begin: extern "C" fn(*mut c_void), work: *mut c_void) -> i64 {
    let answer;
    // SAFETY: the caller's. The parent's registers are those that the kernel keeps; the child touches none of its stack.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r13",
            "call r12",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone3 => answer,
            in("rdi") args,
            in("rsi") size_of::<libc::clone_args>(),
            in("r12") begin,
            in("r13") work,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    answer
}

/// See above.
///
/// # Safety
/// As above.
#[cfg(target_arch = "aarch64")]
unsafe fn clone3(args: &libc::clone_args, begin: extern "C" fn(*mut c_void), work: *mut c_void) -> i64 {
    let answer;
    // SAFETY: as above.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x0, x21",
            "blr x20",
            "brk 1",
            "2:",
            inlateout("x0") args => answer,
            in("x1") size_of::<libc::clone_args>(),
            in("x8") libc::SYS_clone3,
            in("x20") begin,
            in("x21") work,
        );
    }
    answer
}

/// Elsewhere every child has a copy.
///
/// # Safety
/// Always safe.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
unsafe fn clone3(_: &libc::clone_args, _: extern "C" fn(*mut c_void), _: *mut c_void) -> i64 {
    -i64::from(libc::ENOSYS)
}
