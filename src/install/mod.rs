//! `weir install`: the systemd unit, completions and man pages, each where this system looks for it.
//!
//! Says what it wrote and what to type next; starts and enables nothing. A file that somebody has changed since is kept, unless
//! that is forced: see [`file`]. What stands in the files is made by [`unit`] and [`pages`], the places by [`places`].

mod file;
mod pages;
mod places;
mod unit;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Command;

use self::file::{Done, File};
use self::places::Places;
use self::unit::Unit;
use crate::output;

/// What to install.
#[derive(Clone, Debug)]
pub struct Options {
    /// For this user's own manager, below the home directory; else for the whole system.
    pub user: bool,
    /// The specs directory that the unit names; absent: the usual one.
    pub specs: Option<PathBuf>,
    /// The state directory that the unit names; absent: the usual one.
    pub state: Option<PathBuf>,
    /// Write nothing.
    pub dry_run: bool,
    /// Replace files that were changed by hand too.
    pub force: bool,
}

/// Install. 0: done, or nothing was to be done; 1: a file was kept or could not be written, or the programs are not where they
/// may be run from.
pub fn run(weir: &Command, ctl: &Command, options: &Options) -> ExitCode {
    match install(weir, ctl, options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(why) => {
            output::complain(&why);
            ExitCode::FAILURE
        }
    }
}

/// Write the man pages of both programs into a directory.
pub fn man(weir: &Command, ctl: &Command, into: &Path) -> ExitCode {
    for page in pages::man(weir, into).into_iter().chain(pages::man(ctl, into)) {
        if let Err(why) = page.write(true, false) {
            output::complain(&why);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn install(weir: &Command, ctl: &Command, options: &Options) -> Result<bool, String> {
    let places = Places::find(options.user)?;
    let program = places::program(!options.user)?;
    let specs = places::absolute(options.specs.as_deref().unwrap_or(&places.specs))?;
    let state = places::absolute(options.state.as_deref().unwrap_or(&places.state))?;
    let unit = Unit { user: options.user, program: &program, specs: &specs, state: &state };
    let mut files = vec![File::new(places.units.join("weir.service"), unit.text()?, "#")];
    for (name, command) in [("weir", weir), ("ctl", ctl)] {
        files.extend(pages::completions(name, command, &places.share));
        files.extend(pages::man(command, &places.share.join("man/man1")));
    }
    make_specs(&specs, options.dry_run)?;
    let all_ours = write(&files, options)?;
    tell(next(options.user));
    Ok(all_ours)
}

/// Write what has to be written and tell of it; man pages in one line. False when one was kept.
fn write(files: &[File], options: &Options) -> Result<bool, String> {
    let (mut kept, mut pages) = (Vec::new(), Vec::new());
    for file in files {
        let done = file.write(options.force, options.dry_run)?;
        if done == Done::Kept {
            kept.push(file.path.display().to_string());
        } else if file.path.extension().is_some_and(|section| section == "1") {
            pages.push((done, file));
        } else {
            tell(&format!("{:<12}{}\n", done.word(options.dry_run), file.path.display()));
        }
    }
    for done in [Done::Written, Done::Same] {
        let of: Vec<&&File> = pages.iter().filter(|(page, _)| *page == done).map(|(_, file)| file).collect();
        if let Some(first) = of.first() {
            let dir = first.path.parent().unwrap_or(Path::new(".")).display();
            tell(&format!("{:<12}{dir}: {} man pages, weir(1) and ctl(1) first\n", done.word(options.dry_run), of.len()));
        }
    }
    for path in &kept {
        output::complain(&format!("{path}: kept, because it was changed by hand; --force replaces it"));
    }
    Ok(kept.is_empty())
}

fn tell(text: &str) {
    // Whoever closed the pipe has read enough; what is to be written is written all the same.
    let _read = std::io::stdout().write_all(text.as_bytes());
}

/// A daemon without a specs directory would run and say so for ever.
fn make_specs(specs: &Path, dry_run: bool) -> Result<(), String> {
    if specs.is_dir() {
        return Ok(());
    }
    tell(&format!("{:<12}{}/, for your documents\n", Done::Written.word(dry_run), specs.display()));
    if dry_run { Ok(()) } else { std::fs::create_dir_all(specs).map_err(|error| format!("{}: {error}", specs.display())) }
}

fn next(user: bool) -> &'static str {
    if user {
        "\nNext:
  systemctl --user enable --now weir      run it now and at each login
  loginctl enable-linger                  and from boot on, without a login
  systemctl --user status weir            how it is
After an upgrade: systemctl --user daemon-reload && systemctl --user restart weir; workers run on.
"
    } else {
        "\nNext:
  systemctl enable --now weir             run it now and from boot on
  systemctl status weir                   how it is
After an upgrade: systemctl daemon-reload && systemctl restart weir; workers run on.
"
    }
}
