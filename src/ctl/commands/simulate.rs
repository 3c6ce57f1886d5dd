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
    let named = many(std::slice::from_ref(&args.pool), Kind::Pool)?;
    let [pool] = named.as_slice() else { return Err(Failure::Usage("one pool, as pool/NAME".into())) };
    let program = std::env::current_exe().map_err(|e| Failure::Internal(e.to_string()))?.with_file_name("weir");
    let words = words(pool, context.state.as_os_str().to_owned(), &args.flags);
    let shown: Vec<String> = words.iter().map(|word| tame(&word.to_string_lossy())).collect();
    note(&format!("note: this is weir {}", shown.join(" ")));
    let error = Command::new(&program).args(words).exec();
    Err(Failure::Internal(format!("{}: {error}; it is installed beside ctl", program.display())))
}

/// The state directory means something only with `--from`, and what was typed comes first.
fn words(pool: &str, state: OsString, flags: &[OsString]) -> Vec<OsString> {
    let has = |name: &str| flags.iter().any(|flag| flag.to_string_lossy().split('=').next() == Some(name));
    let mut words: Vec<OsString> = vec!["simulate".into(), "--pool".into(), pool.into()];
    if has("--from") && !has("--state") {
        words.extend(["--state".into(), state]);
    }
    words.extend(flags.iter().cloned());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

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
