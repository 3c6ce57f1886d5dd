//! `ctl simulate`: `weir simulate` with this state directory and this pool.
//!
//! The decisions are the daemon's, which a client does not have: the `weir` beside it does the work, and is named. Its flags
//! are handed on as they are.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use super::Context;
use crate::ctl::args::Simulate;
use crate::ctl::error::Failure;
use crate::ctl::print::note;
use crate::ctl::resource::many;
use crate::ctl::text::tame;
use crate::model::status::Kind;

/// Become `weir simulate`.
pub(super) fn run(context: &Context, args: &Simulate) -> Result<(), Failure> {
    let (pool, flags) = split(&args.words);
    let named = many(&pool, Kind::Pool)?;
    let [pool] = named.as_slice() else { return Err(Failure::Usage("one pool, as pool/NAME".into())) };
    let program = std::env::current_exe().map_err(|e| Failure::Internal(e.to_string()))?.with_file_name("weir");
    if context.client.is_elsewhere() && needs_state(&flags) {
        let why = "--from reads the daemon's state directory, which --server does not reach: name it with --state";
        return Err(Failure::Usage(why.into()));
    }
    let words = words(pool, context.state.as_os_str().to_owned(), &flags);
    let shown: Vec<String> = words.iter().map(|word| tame(&word.to_string_lossy())).collect();
    note(&format!("note: this is weir {}", shown.join(" ")));
    let error = Command::new(&program).args(words).exec();
    Err(Failure::Internal(format!("{}: {error}; it is installed beside ctl", program.display())))
}

/// The words that name the pool, and the flags: `pool/NAME …`, `pool NAME …`, or `--pool NAME` among the flags.
fn split(typed: &[OsString]) -> (Vec<String>, Vec<OsString>) {
    let text = |word: &OsString| word.to_string_lossy().into_owned();
    let flag = typed.iter().position(|word| word == "--pool" || text(word).starts_with("--pool="));
    let leading = typed.iter().take(2).take_while(|word| !text(word).starts_with('-')).count();
    if let (0, Some(at)) = (leading, flag) {
        let mut flags = typed.to_vec();
        let word = text(&flags.remove(at));
        let name = match word.split_once('=') {
            Some((_, name)) => Some(name.to_owned()),
            None => (at < flags.len()).then(|| text(&flags.remove(at))),
        };
        return (name.into_iter().collect(), flags);
    }
    (typed[..leading].iter().map(text).collect(), typed[leading..].to_vec())
}

fn needs_state(flags: &[OsString]) -> bool {
    let has = |name: &str| flags.iter().any(|flag| flag.to_string_lossy().split('=').next() == Some(name));
    has("--from") && !has("--state")
}

/// The state directory means something only with `--from`, and what was typed comes first.
fn words(pool: &str, state: OsString, flags: &[OsString]) -> Vec<OsString> {
    let mut words: Vec<OsString> = vec!["simulate".into(), "--pool".into(), pool.into()];
    if needs_state(flags) {
        words.extend(["--state".into(), state]);
    }
    words.extend(flags.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_is_named_in_three_ways() {
        for (typed, pool, rest) in [
            ("pool/web --from 1h", "pool/web", "--from 1h"),
            ("pool web --from 1h", "pool web", "--from 1h"),
            ("web", "web", ""),
            ("--pool web --from 1h", "web", "--from 1h"),
            ("--from 1h --pool=pool/web --state s", "pool/web", "--from 1h --state s"),
            ("--from 1h --pool", "", "--from 1h"),
            ("--from 1h", "", "--from 1h"),
        ] {
            let words: Vec<OsString> = typed.split(' ').map(OsString::from).collect();
            let (named, flags) = split(&words);
            let flags: Vec<_> = flags.iter().map(|flag| flag.to_string_lossy()).collect();
            assert_eq!((named.join(" ").as_str(), flags.join(" ").as_str()), (pool, rest), "{typed}");
        }
    }

    #[test]
    fn flags_are_handed_on() {
        let typed = |flags: &[&str]| {
            let flags: Vec<OsString> = flags.iter().map(OsString::from).collect();
            words("web", "/s".into(), &flags).iter().map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(typed(&["--from", "24h"]), "simulate --pool web --state /s --from 24h");
        assert_eq!(typed(&["--from=1h", "--state=/t"]), "simulate --pool web --from=1h --state=/t");
        assert_eq!(typed(&["--spec", "a", "--backlog", "b"]), "simulate --pool web --spec a --backlog b");
    }
}
