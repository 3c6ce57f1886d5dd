//! A command that is run beside a worker: with its user and groups, and the limits that we were started with.
//!
//! `weir-shim --beside SOFT HARD WHO DIR PROGRAM [ARG…]`. Nobody else can do that between fork and exec without unsafe code, and
//! the daemon has many threads. WHO is `UID:GID:GROUP,GROUP…` or nothing, DIR a directory or nothing. What fails is told on
//! standard error behind [`FAILED`], with the exit code of a shell that found no program.

use super::child;
use super::wire::Go;

/// Before the words of what failed here and not in the program.
const FAILED: &str = "weir-shim: ";

/// Become the command. Comes back only when it cannot be: the exit code.
pub(super) fn main(args: &[String]) -> i32 {
    let why = match go(args) {
        Some(go) => child::become_command(&go),
        None => "it was not told what to run".into(),
    };
    eprintln!("{FAILED}{why}");
    127
}

fn go(args: &[String]) -> Option<Go> {
    let [soft, hard, who, dir, argv @ ..] = args else { return None };
    let mut go = Go { nofile: (soft.parse().ok()?, hard.parse().ok()?), dir: dir.clone().into_bytes(), ..Go::default() };
    if !who.is_empty() {
        let mut ids = who.splitn(3, ':');
        go.user = Some((ids.next()?.parse().ok()?, ids.next()?.parse().ok()?));
        let groups = ids.next()?.split(',').filter(|group| !group.is_empty());
        go.groups = groups.map(|group| group.parse().ok()).collect::<Option<_>>()?;
    }
    go.argv = argv.iter().map(|argument| argument.clone().into_bytes()).collect();
    go.env =
        std::env::vars_os().map(|(name, value)| [name.as_encoded_bytes(), b"=", value.as_encoded_bytes()].concat()).collect();
    Some(go)
}
