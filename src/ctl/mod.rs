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

/// What to write instead, where what a task carries stands without the `--` before it, or the word is another tool's.
fn tip(error: &clap::Error, words: &[String]) -> Option<String> {
    if let Some(word) = error.get(clap::error::ContextKind::InvalidSubcommand) {
        return elsewhere(&word.to_string()).map(|ours| format!("\n  tip: here that is {ours}"));
    }
    let carries = words.iter().any(|word| ["submit", "capacity-test"].contains(&word.as_str()));
    let found = error.get(clap::error::ContextKind::InvalidArg)?.to_string();
    let meant = carries && error.kind() == clap::error::ErrorKind::UnknownArgument && !found.starts_with('-');
    meant.then(|| "\n  tip: what the task carries stands behind \"--\": ctl submit POOL -- '{\"page\": 3}'".into())
}

/// What people call it who come from systemctl, supervisorctl, pm2 or pueue.
fn elsewhere(word: &str) -> Option<&'static str> {
    Some(match word {
        "status" | "ls" | "list" | "ps" => "ctl get pools (or workers, tasks); ctl describe pool/NAME for one",
        "stop" => "ctl scale pool/NAME --replicas 0, or ctl pause pool/NAME; of one task, ctl cancel task/ID",
        "start" | "enable" => "a document in the specs directory; after ctl pause, ctl resume pool/NAME",
        "disable" | "remove" | "rm" => "ctl delete pool/NAME",
        "reload" | "reread" | "update" => {
            "nothing to do: documents are read when they are saved; ctl rollout restart pool/NAME begins anew"
        }
        "kill" => "ctl restart worker/NAME for a new run of it, or ctl cancel task/ID",
        "tail" | "follow" | "log" => "ctl logs -f worker/NAME (or task/ID)",
        "add" | "enqueue" => "ctl submit POOL -- PAYLOAD",
        "monit" => "ctl top",
        _other => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_other_tools_are_told_what_they_are_here() {
        let tip = |word: &str| tip(&Cli::try_parse_from(["ctl", word]).unwrap_err(), &[]);
        assert!(tip("stop").is_some_and(|words| words.contains("ctl scale pool/NAME --replicas 0")));
        assert_eq!(tip("nonsense"), None);
    }

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
