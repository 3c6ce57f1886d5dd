//! `weir-shim`: the parent of one worker. Started by weir; what it does is in the library's `shim`.
//!
//! C's `main` and not Rust's: what Rust's runtime sets up first (signal handlers, an alternate stack, thread names) costs
//! memory in each of a thousand shims and serves none of them.

#![no_main]
#![expect(unsafe_code, reason = "an unmangled main is the only way around the runtime's set-up")]

use std::ffi::{CStr, c_char, c_int};

/// The program's entry.
///
/// # Safety
/// Called once, by the C runtime, with its own arguments.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: c_int, argv: *const *const c_char) -> c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    // SAFETY: the C runtime hands us `argc` pointers to strings that live as long as the process.
    let args: Vec<String> = (0..count).map(|n| unsafe { CStr::from_ptr(*argv.add(n)) }.to_string_lossy().into_owned()).collect();
    weir::shim::main(&args)
}
