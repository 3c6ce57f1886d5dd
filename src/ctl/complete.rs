//! Completion in a shell: commands and flags from what can be typed, names from the daemon, or from its files without one.
//!
//! The script of a shell runs this program again with `$WEIR_COMPLETE` set. Whoever presses a key waits: an answer takes no longer
//! than [`PATIENCE`], and whatever goes wrong, nothing is offered and nothing is said.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Arg, Command, CommandFactory};
use clap_complete::engine::{ArgValueCompleter, CompletionCandidate};
use clap_complete::env::{CompleteEnv, Shells};
use hyper::Method;
use serde_json::Value;

use super::args::Cli;
use super::client::{Client, Sent};
use super::error::Failure;
use super::{resource, state};
use crate::model::meta::check_name;
use crate::model::status::Kind;
use crate::serve::wire::columns::text;

/// Set by the scripts, to the name of the shell.
const VARIABLE: &str = "WEIR_COMPLETE";
/// The longest wait for names.
const PATIENCE: Duration = Duration::from_millis(400);
/// Most names that are offered.
const OFFERED: usize = 1000;
/// What stands before a task's number.
const TASK: &str = "task";

/// The script that makes a shell ask this program, for `bash`, `zsh` or `fish`.
///
/// # Errors
/// Usage: another shell.
pub fn script(shell: &str) -> Result<String, Failure> {
    let shells = Shells::builtins();
    let shell = shells.completer(shell).ok_or_else(|| Failure::Usage(format!("no completion for {shell}")))?;
    let mut script = Vec::new();
    shell.write_registration(VARIABLE, "ctl", "ctl", "ctl", &mut script)?;
    Ok(String::from_utf8_lossy(&script).into_owned())
}

/// Answer a shell, if it is one that asks.
pub fn answered(arguments: &[OsString]) -> bool {
    if std::env::var_os(VARIABLE).is_none_or(|shell| shell.is_empty()) {
        return false;
    }
    let here = std::env::current_dir().ok();
    // What cannot be answered offers nothing.
    let _answer = CompleteEnv::with_factory(|| with_names(Cli::command())).var(VARIABLE).try_complete(arguments, here.as_deref());
    true
}

/// What an argument takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    /// `pool/NAME`, or `pool NAME`; `lists`: a bare `pools` too.
    Any { lists: bool },
    /// A name of one kind, with or without the kind before it.
    Of(Kind),
    /// A task.
    Task,
}

/// The command with completers for all arguments that are names.
fn with_names(command: Command) -> Command {
    let below: Vec<String> = command.get_subcommands().map(|below| below.get_name().to_owned()).collect();
    let command = below.into_iter().fold(command, |command, name| command.mut_subcommand(name, with_names));
    command.mut_args(|arg| match wanted(&arg) {
        Some(wanted) => arg.add(ArgValueCompleter::new(move |current: &OsStr| candidates(current, wanted))),
        None => arg,
    })
}

fn wanted(arg: &Arg) -> Option<Wanted> {
    match arg.get_value_names()?.first()?.as_str() {
        "TYPE[/NAME]" => Some(Wanted::Any { lists: true }),
        "TYPE/NAME" => Some(Wanted::Any { lists: false }),
        "POOL" | "POOL [FLAGS]" => Some(Wanted::Of(Kind::Pool)),
        "WORKER" => Some(Wanted::Of(Kind::Worker)),
        "POLICY" | "policy/NAME VALUE" => Some(Wanted::Of(Kind::Policy)),
        "TASK" => Some(Wanted::Task),
        _ => None,
    }
}

fn candidates(current: &OsStr, wanted: Wanted) -> Vec<CompletionCandidate> {
    let Some(current) = current.to_str() else { return Vec::new() };
    let typed = typed();
    let offered = offered(current, wanted, &typed, |what| names(&typed, what));
    offered.into_iter().filter(|word| word.starts_with(current)).take(OFFERED).map(CompletionCandidate::new).collect()
}

/// The words on the line, after what the script puts before them.
fn typed() -> Vec<String> {
    let words = std::env::args_os().skip_while(|word| word != "--").skip(1);
    words.map(|word| word.to_string_lossy().into_owned()).collect()
}

/// Whose names are asked for; none: those of tasks.
type Named = Option<Kind>;

fn named(word: &str) -> Option<Named> {
    if [TASK, "tasks"].contains(&word) { Some(None) } else { resource::kind(word).ok().map(Some) }
}

/// The words that could stand here.
fn offered(current: &str, wanted: Wanted, typed: &[String], names: impl Fn(Named) -> Vec<String>) -> Vec<String> {
    if let Some((word, _)) = current.split_once('/') {
        let of = named(word).filter(|of| match wanted {
            Wanted::Any { .. } => true,
            Wanted::Of(kind) => *of == Some(kind),
            Wanted::Task => of.is_none(),
        });
        return of.map(|of| names(of).into_iter().map(|name| format!("{word}/{name}")).collect()).unwrap_or_default();
    }
    match wanted {
        Wanted::Of(kind) => names(Some(kind)),
        Wanted::Task => names(None),
        Wanted::Any { lists } => {
            // `pool NAME`: the kind is a word of its own, behind the program and the verb.
            if let Some(of) = typed.iter().skip(2).filter(|word| *word != current).find_map(|word| named(word)) {
                return names(of);
            }
            let kinds = ["pool", "worker", "policy", TASK].map(|kind| format!("{kind}/"));
            let plural = ["pools", "workers", "policies", "tasks", "events"].map(str::to_owned);
            kinds.into_iter().chain(plural.into_iter().filter(|_| lists)).collect()
        }
    }
}

/// The state directory that the line names, or the usual one.
fn directory(typed: &[String]) -> PathBuf {
    let inline = typed.iter().find_map(|word| word.strip_prefix("--state="));
    let apart = typed.iter().position(|word| word == "--state").and_then(|at| typed.get(at + 1).map(String::as_str));
    state::directory(inline.or(apart).map(Path::new))
}

/// The names there are, from whoever answers first.
fn names(typed: &[String], of: Named) -> Vec<String> {
    let state = directory(typed);
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_all().build() else { return Vec::new() };
    let asked = runtime.block_on(async { tokio::time::timeout(PATIENCE, ask(&state, of)).await });
    match (asked, of) {
        (Ok(Ok(names)), _) => names,
        (_, Some(kind)) => written(&state, kind),
        (_, None) => Vec::new(),
    }
}

async fn ask(state: &Path, of: Named) -> Result<Vec<String>, Failure> {
    let client = Client::new(state);
    let Some(kind) = of else {
        let tasks: Value = client.ask(Method::GET, &format!("/v1/tasks?limit={OFFERED}"), Sent::nothing()).await?;
        let ids = tasks.pointer("/items").and_then(Value::as_array).into_iter().flatten();
        return Ok(ids.filter_map(|task| task.get("id")?.as_u64()).map(|id| id.to_string()).collect());
    };
    let items = client.list(kind, "").await?.items;
    Ok(items.iter().map(|object| text(object, "/metadata/name").to_owned()).filter(|name| check_name(name).is_ok()).collect())
}

/// The names of what was last written.
fn written(state: &Path, kind: Kind) -> Vec<String> {
    let entries = std::fs::read_dir(state.join("status").join(kind.plural())).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| Some(entry.file_name().to_str()?.strip_suffix(".yaml")?.to_owned()));
    let mut names: Vec<String> = names.filter(|name| check_name(name).is_ok()).collect();
    names.sort();
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(current: &str, wanted: Wanted, line: &str) -> String {
        let typed: Vec<String> = line.split(' ').map(str::to_owned).collect();
        let names = |of: Named| match of {
            Some(kind) => vec![format!("{}-a", kind.plural()), format!("{}-b", kind.plural())],
            None => vec!["12".into()],
        };
        offered(current, wanted, &typed, names).join(" ")
    }

    #[test]
    fn names_come_in_every_way_that_they_can_be_typed() {
        let any = Wanted::Any { lists: false };
        assert_eq!(shown("", any, "ctl describe "), "pool/ worker/ policy/ task/");
        assert!(shown("", Wanted::Any { lists: true }, "ctl get ").ends_with("pools workers policies tasks events"));
        assert_eq!(shown("wp/", any, "ctl describe wp/"), "wp/workerpools-a wp/workerpools-b");
        assert_eq!(shown("", any, "ctl describe worker "), "workers-a workers-b");
        assert_eq!(shown("task/", any, "ctl describe task/"), "task/12");
        assert_eq!(shown("", Wanted::Of(Kind::Pool), "ctl scale "), "workerpools-a workerpools-b");
        assert_eq!(shown("worker/", Wanted::Of(Kind::Pool), "ctl scale worker/"), "");
        assert_eq!(shown("nothing/", any, "ctl describe nothing/"), "");
    }

    #[test]
    fn each_argument_that_is_a_name_has_names() {
        let command = with_names(Cli::command());
        let has = |verb: &str| {
            let verb = command.find_subcommand(verb).unwrap();
            verb.get_arguments().any(|arg| arg.get::<ArgValueCompleter>().is_some())
        };
        for verb in ["get", "describe", "logs", "restart", "scale", "drain", "top", "submit", "queue", "cancel", "pause"] {
            assert!(has(verb), "{verb}");
        }
        assert!(!has("version"));
    }
}
