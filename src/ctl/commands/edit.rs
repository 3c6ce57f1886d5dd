//! `edit`: a pool's document in the person's editor, until it is good or given up.
//!
//! What was typed is never lost: a refusal is put above the text as comments and the editor opens again, and whoever gives up
//! is told where a copy lies.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use hyper::Method;

use super::Context;
use super::apply::problems;
use super::diff::document;
use crate::ctl::client::Sent;
use crate::ctl::error::Failure;
use crate::ctl::print::{as_yaml, emit};
use crate::ctl::resource::one;
use crate::ctl::text::tame;
use crate::model::status::Kind;
use crate::serve::wire::Applied;

/// Comment lines that this program puts above the text begin so.
const MARK: &str = "#| ";

/// What people are told above the text.
const HELP: &str = "#| Save and leave to apply. An empty file, or one without changes, changes nothing.\n";

/// `ctl edit`
pub(super) async fn run(context: &Context, words: &[String]) -> Result<(), Failure> {
    let name = one(words, Kind::Pool)?;
    let object = context.client.get(Kind::Pool, &name).await?;
    let original = as_yaml(&document(&object));
    let (mut text, mut refusals) = (original.clone(), Vec::<String>::new());
    loop {
        let edited = in_editor(&name, &format!("{HELP}{}{text}", comments(&refusals)))?;
        let edited = without_marks(&edited);
        let unchanged = edited.trim() == text.trim();
        if edited.trim().is_empty() || (unchanged && refusals.is_empty()) {
            return emit("Edit cancelled, no changes made.\n");
        }
        if unchanged {
            return Err(Failure::No(format!("Edit cancelled, no valid changes were saved. {}", keep(&name, &edited))));
        }
        text = edited;
        refusals = problems("your text", text.as_bytes());
        if !refusals.is_empty() {
            continue;
        }
        match context.client.ask::<Applied>(Method::POST, "/v1/apply", Sent::yaml(&text)).await {
            Ok(_) => return emit(&format!("pool/{} edited\n", tame(&name))),
            Err(failure @ Failure::Server(_)) => refusals = vec![failure.text()],
            Err(failure) => return Err(Failure::No(format!("{} {}", failure.text(), keep(&name, &text)))),
        }
    }
}

fn comments(refusals: &[String]) -> String {
    let lines = refusals.iter().flat_map(|refusal| refusal.lines());
    lines.map(|line| format!("{MARK}{line}\n")).collect()
}

/// Only our own comments are taken out; the person's stay.
fn without_marks(text: &str) -> String {
    text.lines().filter(|line| !line.starts_with(MARK)).map(|line| format!("{line}\n")).collect()
}

/// Put aside what could not be applied, and say where.
fn keep(name: &str, text: &str) -> String {
    let kept = tempfile::Builder::new().prefix(&format!("ctl-edit-{name}-")).suffix(".yaml").disable_cleanup(true).tempfile();
    match kept.and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file.path().display().to_string())) {
        Ok(path) => format!("A copy of your changes is in {path}"),
        Err(error) => format!("A copy could not be written ({error}); this was your text:\n{text}"),
    }
}

/// Let the editor change a text.
fn in_editor(name: &str, text: &str) -> Result<String, Failure> {
    let file = tempfile::Builder::new().prefix(&format!("ctl-edit-{name}-")).suffix(".yaml").tempfile()?;
    file.as_file().write_all(text.as_bytes())?;
    start_editor(file.path())?;
    std::fs::read_to_string(file.path()).map_err(|error| Failure::No(format!("{}: {error}", file.path().display())))
}

/// `$EDITOR` may carry arguments; it is split at spaces and never given to a shell.
fn start_editor(file: &Path) -> Result<(), Failure> {
    let variable = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor =
        variable("KUBE_EDITOR").or_else(|| variable("VISUAL")).or_else(|| variable("EDITOR")).unwrap_or_else(|| "vi".into());
    let mut words = editor.split_whitespace();
    let program = words.next().unwrap_or("vi");
    let ended = Command::new(program).args(words).arg(file).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::No(format!("the editor \"{editor}\" failed ({status}); nothing was changed"))),
        Err(error) => Err(Failure::No(format!("the editor \"{editor}\" cannot be started: {error}; set $EDITOR"))),
    }
}
