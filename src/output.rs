//! The standard output of the offline helpers: what a command has to say, written once, with the exit code that follows.
//!
//! A reader that has gone has read enough, and the verdict stands. Any other failure (a full disk) means that the answer never
//! arrived: no verdict may hide that.

use std::io::{ErrorKind, Write};
use std::process::ExitCode;

/// The exit code of what broke.
const INTERNAL: u8 = 70;

/// Print the text; `verdict`, or 70 if it could not be written.
pub(crate) fn print(text: &str, verdict: ExitCode) -> ExitCode {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            complain(&format!("standard output: {error}"));
            ExitCode::from(INTERNAL)
        }
        Ok(()) | Err(_) => verdict,
    }
}

/// Say what went wrong. Nothing can be done about a reader that is gone: the exit code says it too.
pub fn complain(text: &str) {
    note(&format!("weir: {text}"));
}

/// Say something beside the answer.
pub fn note(text: &str) {
    let _gone = writeln!(std::io::stderr(), "{text}");
}
