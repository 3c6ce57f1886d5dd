//! Why a command did not do what was asked, how that is said, and the exit code that goes with it.
//!
//! One table from failures to exit codes: 1 the answer is no, 2 used wrongly, 3 no daemon, 4 denied, 70 internal. A reader that
//! went away (a closed pipe) is a normal end.

use std::io;

use super::text::{complain, tame};
use crate::serve::wire::{Cause, Status};

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The answer is no; the text is printed unless it is empty (then it was said already).
    No(String),
    /// Used wrongly.
    Usage(String),
    /// No daemon answers; the text says where it was looked for.
    NoDaemon(String),
    /// The server refused.
    Server(Box<Status>),
    /// Something broke.
    Internal(String),
    /// Whoever read the output has gone.
    ReaderGone,
}

/// Refusals where many are asked: one that refuses does not keep the others from being asked.
#[derive(Default)]
pub struct Refusals {
    last: Option<Failure>,
    count: u64,
}

/// So many refusals are told one by one: thousands say no more.
const TOLD_MAX: u64 = 10;

impl Refusals {
    /// What one answered; none where it refused, which is said with the next refusal or at the end.
    ///
    /// # Errors
    /// What is no refusal: then nobody else need be asked.
    pub fn heard<T>(&mut self, answer: Result<T, Failure>) -> Result<Option<T>, Failure> {
        match answer {
            Ok(answer) => Ok(Some(answer)),
            Err(failure @ (Failure::Server(_) | Failure::No(_))) => {
                self.count += 1;
                let before = self.last.replace(failure).filter(|_| self.count <= TOLD_MAX);
                if let Some(before) = before {
                    complain(&before.text());
                }
                Ok(None)
            }
            Err(failure) => Err(failure),
        }
    }

    /// How many refused.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// # Errors
    /// The last refusal, if there was one.
    pub fn end(self) -> Result<(), Failure> {
        if let Some(more) = self.count.checked_sub(TOLD_MAX).filter(|more| *more > 0) {
            complain(&format!("and {more} more like these; the last:"));
        }
        self.last.map_or(Ok(()), Err)
    }
}

impl Failure {
    /// The exit code for wrong use.
    pub const USAGE: u8 = 2;

    /// Print it and give the exit code.
    pub fn report(&self) -> u8 {
        let text = self.text();
        if !text.is_empty() {
            complain(text.trim_end());
        }
        match self {
            Failure::No(_) => 1,
            Failure::Usage(_) => Failure::USAGE,
            Failure::NoDaemon(_) => 3,
            Failure::Server(status) if matches!(status.code, 401 | 403) => 4,
            Failure::Server(_) => 1,
            Failure::Internal(_) => 70,
            Failure::ReaderGone => 0,
        }
    }

    /// What is printed, harmless for a terminal.
    pub fn text(&self) -> String {
        match self {
            Failure::No(text) if text.is_empty() => String::new(),
            Failure::No(text) | Failure::Usage(text) | Failure::Internal(text) => format!("error: {}", tame_lines(text)),
            Failure::NoDaemon(text) => {
                format!(
                    "error: no daemon: {}\nStart one with \"weir run\", or name its state directory with --state.",
                    tame(text)
                )
            }
            Failure::Server(status) => server(status),
            Failure::ReaderGone => String::new(),
        }
    }
}

fn tame_lines(text: &str) -> String {
    text.lines().map(tame).collect::<Vec<_>>().join("\n")
}

fn server(status: &Status) -> String {
    let causes = status.details.as_ref().map(|details| details.causes.as_slice()).unwrap_or_default();
    let reason = if status.reason.is_empty() { status.code.to_string() } else { status.reason.clone() };
    let head = format!("Error from server ({}): ", tame(&reason));
    if causes.len() < 2 {
        return head + &tame(&status.message);
    }
    let place = |cause: &Cause| if cause.message.contains(&cause.field) { String::new() } else { format!("{}: ", cause.field) };
    let lines: Vec<String> = causes.iter().map(|cause| format!("  * {}", tame(&(place(cause) + &cause.message)))).collect();
    format!("{head}{} problems\n{}", causes.len(), lines.join("\n"))
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::ReaderGone;
        }
        Failure::Internal(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_not_let_in_is_told_so_by_the_exit_code() {
        for (code, exit) in [(400, 1), (401, 4), (403, 4), (404, 1), (500, 1)] {
            assert_eq!(Failure::Server(Box::new(Status::failure(code, "", ""))).report(), exit, "{code}");
        }
    }
}
