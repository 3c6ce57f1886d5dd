//! The client: kubectl's verbs, flags, columns and exit codes for what weir serves.
//!
//! Three stages: [`args`] is what was typed, [`commands`] is one file for each family of verbs, and everything is printed
//! through [`print`], where no text from outside reaches a terminal unescaped. It talks to the daemon's socket
//! ([`client`]); without a daemon what can be read is read from the files ([`offline`]). It shares the wire's types with the
//! server and nothing else: never the engine, an edge or a decision.

pub mod args;
mod capacity;
mod client;
mod commands;
pub mod complete;
mod error;
mod jsonpath;
mod machine;
mod offline;
mod print;
mod resource;
mod silence;
mod state;
mod text;
mod time;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use self::args::Cli;
use self::error::Failure;

/// Run the client: arguments with the program's name, as from `std::env::args_os`.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if complete::answered(&arguments) {
        return ExitCode::SUCCESS;
    }
    let words: Vec<String> = arguments.iter().map(|word| word.to_string_lossy().into_owned()).collect();
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Failure::USAGE } else { 0 };
            // Nothing can be done about a terminal that is gone.
            let _ = error.print();
            if let Some(tip) = tip(&error, &words) {
                text::complain(&tip);
            }
            return ExitCode::from(code);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return ExitCode::from(Failure::Internal(error.to_string()).report()),
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => ExitCode::from(failure.report()),
    }
}

/// What to write instead, where what a task carries stands without the `--` before it.
fn tip(error: &clap::Error, words: &[String]) -> Option<String> {
    let carries = words.iter().any(|word| ["submit", "capacity-test"].contains(&word.as_str()));
    let found = error.get(clap::error::ContextKind::InvalidArg)?.to_string();
    let meant = carries && error.kind() == clap::error::ErrorKind::UnknownArgument && !found.starts_with('-');
    meant.then(|| "\n  tip: what the task carries stands behind \"--\": ctl submit POOL -- '{\"page\": 3}'".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_leaves_out_the_dashes_is_told_of_them() {
        let tip = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            tip(&Cli::try_parse_from(&words).unwrap_err(), &words)
        };
        assert!(tip("ctl submit jobs {\"a\":1}").is_some_and(|words| words.contains("behind \"--\"")));
        assert!(tip("ctl capacity-test jobs 3").is_some());
        for line in ["ctl submit jobs --colour", "ctl submit", "ctl version 3"] {
            assert_eq!(tip(line), None, "{line}");
        }
    }
}
