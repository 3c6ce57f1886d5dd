//! `edit`: a document in the person's editor, until it is good or given up.
//!
//! The text is the author's own, as it stands in the spec file, and what the editor leaves is written back byte for byte.
//! What was typed is never lost: a refusal is put above the text as comments and the editor opens again, and whoever gives up
//! is told where a copy lies.

use std::env;
use std::io::Write;
use std::path::Path;
use std::process::Command;

use hyper::Method;

use super::Context;
use super::apply::problems;
use crate::ctl::client::{Sent, path};
use crate::ctl::error::Failure;
use crate::ctl::print::{emit, note};
use crate::ctl::resource::{one, short, targets};
use crate::ctl::text::{tame, tame_block};
use crate::model::status::Kind;
use crate::serve::wire::DocumentText;

/// Lines that this program puts above the text begin so.
const MARK: &str = "#| ";

/// `ctl edit`
pub(super) async fn run(context: &Context, words: &[String]) -> Result<(), Failure> {
    let kind = match targets(words).ok().as_deref().and_then(<[_]>::first) {
        Some(target) if target.kind == Kind::Policy => Kind::Policy,
        Some(_) | None => Kind::Pool,
    };
    let name = one(words, kind)?;
    let at = format!("{}/document", path(kind, &name));
    let given: DocumentText = context.client.ask(Method::GET, &at, Sent::nothing()).await?;
    let (mut text, mut refusals) = (given.text.clone(), Vec::<String>::new());
    loop {
        let header = header(&given, &refusals);
        let edited = in_editor(&name, &header, &text)?;
        if edited.trim().is_empty() && !refusals.is_empty() {
            return Err(Failure::No(format!("Edit cancelled, no valid changes were saved. {}", keep(&name, &text))));
        }
        if edited.trim().is_empty() || edited.trim_end() == given.text.trim_end() {
            return emit("Edit cancelled, no changes made.\n");
        }
        // An editor that is no person, like `sed`, would be asked for ever.
        if body(&edited) == body(&text) && !refusals.is_empty() {
            return Err(Failure::No(format!("Edit cancelled, no valid changes were saved. {}", keep(&name, &edited))));
        }
        text = edited;
        refusals = problems("your text", text.as_bytes());
        if !refusals.is_empty() {
            continue;
        }
        let new = DocumentText { text: text.clone(), version: given.version.clone(), ..DocumentText::default() };
        let new = serde_json::to_value(new).map_err(|error| Failure::Internal(error.to_string()))?;
        match context.client.ask::<DocumentText>(Method::PUT, &at, Sent::json(&new)).await {
            Ok(_) => return emit(&format!("{}/{} edited\n", short(kind), tame(&name))),
            // What was edited is not what stands there now: only the person can bring both together.
            Err(Failure::Server(status)) if matches!(status.code, 400 | 422) => refusals = vec![Failure::Server(status).text()],
            Err(failure) => {
                keep(&name, &text).lines().for_each(note);
                return Err(failure);
            }
        }
    }
}

/// What people are told above the text: where it stands, and what is wrong with it.
fn header(given: &DocumentText, refusals: &[String]) -> String {
    let mut lines = vec![
        format!("{}:{}. Save and leave to apply.", tame(&given.file), given.line),
        "An empty file, or one without changes, changes nothing. Lines like this one are taken out.".into(),
    ];
    lines.extend(refusals.iter().flat_map(|refusal| refusal.lines()).map(str::to_owned));
    lines.iter().map(|line| format!("{MARK}{line}\n")).collect()
}

/// The marked lines on top are taken out, whatever the editor made of them; those that the text began with itself stay, and so
/// does all the rest, byte for byte.
fn without_header<'a>(edited: &'a str, text: &str) -> &'a str {
    let marked = |text: &str| text.split_inclusive('\n').take_while(|line| line.starts_with(MARK)).map(str::len).sum::<usize>();
    let (top, own) = (marked(edited), marked(text));
    let own = if edited[..top].ends_with(&text[..own]) { own } else { 0 };
    &edited[top - own..]
}

/// A text without the comments above it: they never make a refused text a good one.
fn body(text: &str) -> &str {
    let above = |line: &&str| line.starts_with('#') || line.trim().is_empty();
    &text[text.split_inclusive('\n').take_while(above).map(str::len).sum()..]
}

/// Put aside what could not be applied, and say where.
fn keep(name: &str, text: &str) -> String {
    let kept = tempfile::Builder::new().prefix(&format!("ctl-edit-{name}-")).suffix(".yaml").disable_cleanup(true).tempfile();
    match kept.and_then(|mut file| file.write_all(text.as_bytes()).map(|()| file.path().display().to_string())) {
        Ok(path) => format!("A copy of your changes is in {path}"),
        Err(error) => format!("A copy could not be written ({error}); this was your text:\n{}", tame_block(text)),
    }
}

/// Let the editor change a text. When something goes wrong, what it left stays where it is.
fn in_editor(name: &str, header: &str, text: &str) -> Result<String, Failure> {
    let mut file = tempfile::Builder::new().prefix(&format!("ctl-edit-{name}-")).suffix(".yaml").tempfile()?;
    let shown = format!("{header}{text}");
    file.as_file().write_all(shown.as_bytes())?;
    let ended = start_editor(file.path());
    let left = std::fs::read(file.path());
    let failed = match (ended, left) {
        (Ok(()), Ok(left)) => match String::from_utf8(left) {
            Ok(left) => return Ok(without_header(&left, text).to_owned()),
            Err(_) => Failure::No("what the editor left is not UTF-8; nothing was changed".into()),
        },
        (Ok(()), Err(error)) => Failure::No(format!("{}: {error}", file.path().display())),
        (Err(failure), Ok(left)) if left == shown.as_bytes() => return Err(failure),
        (Err(failure), _) => failure,
    };
    file.disable_cleanup(true);
    note(&format!("What the editor left is in {}", file.path().display()));
    Err(failed)
}

/// `$EDITOR` may carry arguments, in quotes where they have spaces. It is never given to a shell.
fn start_editor(file: &Path) -> Result<(), Failure> {
    let variable = |name| env::var(name).ok().filter(|value| !value.trim().is_empty());
    let editor =
        variable("KUBE_EDITOR").or_else(|| variable("VISUAL")).or_else(|| variable("EDITOR")).unwrap_or_else(|| "vi".into());
    let words = shlex::split(&editor).filter(|words| !words.is_empty());
    let Some((program, arguments)) = words.as_ref().and_then(|words| words.split_first()) else {
        return Err(Failure::No(format!("the editor {editor:?} cannot be started: a quote in it has no end; set $EDITOR")));
    };
    match Command::new(program).args(arguments).arg(file).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::No(format!("the editor \"{editor}\" failed ({status}); nothing was changed"))),
        Err(error) => Err(Failure::No(format!("the editor \"{editor}\" cannot be started: {error}; set $EDITOR"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_put_above_is_taken_out() {
        let given = DocumentText { file: "a.yaml".into(), line: 3, ..DocumentText::default() };
        let header = header(&given, &["one\ntwo".into()]);
        assert_eq!(header.lines().count(), 4);
        for text in ["#| mine\n# x\r\na: 1", "\n\na: 1\n\n", "a: |\n  #| one\n", "#| mine\n#| too\na: 1\n"] {
            assert_eq!(without_header(&format!("{header}{text}"), text), text);
            assert_eq!(without_header(text, text), text, "the person took it out");
        }
        let (text, header) = ("# x\na: 2\n", header.replace("one", "eno"));
        assert_eq!(without_header(&format!("{header}{text}"), "# x\na: 1\n"), text, "an editor changed it too");
    }
}
