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
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Failure::USAGE } else { 0 };
            // Nothing can be done about a terminal that is gone.
            let _ = error.print();
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
