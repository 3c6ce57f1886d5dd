//! Man pages and completions, made of the same data as the help of the programs.
//!
//! One page for each command and each of its subcommands, as git has them: `ctl-rollout-undo(1)`.

use std::path::Path;

use clap::Command;
use clap_complete::Shell;
use clap_mangen::Man;

use super::file::File;
use crate::ctl::complete;

/// All man pages of a program.
pub(super) fn man(command: &Command, dir: &Path) -> Vec<File> {
    let mut command = command.clone().disable_help_subcommand(true);
    command.build();
    let mut files = Vec::new();
    page(&command, dir, &mut files);
    files
}

fn page(command: &Command, dir: &Path, files: &mut Vec<File>) {
    let man = Man::new(command.clone()).manual("weir").source(concat!("weir ", env!("CARGO_PKG_VERSION")));
    let mut text = Vec::new();
    // Writing into memory does not fail.
    let _written = man.render(&mut text);
    let text = String::from_utf8_lossy(&text).replace(".SH EXTRA", ".SH NOTES");
    files.push(File::new(dir.join(man.get_filename()), text, ".\\\""));
    command.get_subcommands().filter(|below| !below.is_hide_set()).for_each(|below| page(below, dir, files));
}

/// A program's completions for each shell, where each looks for them.
pub(super) fn completions(name: &str, command: &Command, share: &Path) -> Vec<File> {
    let places = [
        (Shell::Bash, format!("bash-completion/completions/{name}")),
        (Shell::Zsh, format!("zsh/site-functions/_{name}")),
        (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
    ];
    let one = |(shell, place): (Shell, String)| {
        // The client's completes names too, by asking it.
        let asking = (name == "ctl").then(|| complete::script(&shell.to_string()).ok()).flatten();
        let script = asking.unwrap_or_else(|| {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command.clone(), name, &mut script);
            String::from_utf8_lossy(&script).into_owned()
        });
        File::new(share.join(place), script, "#")
    };
    places.into_iter().map(one).collect()
}
