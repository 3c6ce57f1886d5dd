//! `ctl`: the client's program. Flags in, exit code out.
//!
//! Everything else is in the library, where it can be tested.

use std::process::ExitCode;

fn main() -> ExitCode {
    weir::ctl::main(std::env::args_os())
}
