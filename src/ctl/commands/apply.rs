//! `apply` and `delete`: documents in files, a directory or the standard input.
//!
//! Documents are checked here first, by the same reader as the daemon's, so that every problem is shown with its file, line
//! and text; the daemon checks again.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use hyper::Method;

use super::Context;
use crate::ctl::args::Delete;
use crate::ctl::client::{Sent, path};
use crate::ctl::error::{Failure, Refusals};
use crate::ctl::print::emit;
use crate::ctl::resource::{Target, short, targets};
use crate::ctl::text::tame;
use crate::model::catalogue::ObjectKey;
use crate::model::document::refusal::with_source;
use crate::model::document::{APPLIED_BYTES_MAX, Document, SPEC_BYTES_MAX, Violation, parse_within, shown};
use crate::model::status::Kind;
use crate::serve::wire::{Applied, Status};

/// A text and where it comes from.
pub(super) struct Text {
    /// Harmless to print.
    pub(super) file: String,
    /// The whole of it.
    pub(super) text: String,
    /// What it names, and in which lines; 0: in none.
    named: Vec<(ObjectKey, u32)>,
}

/// The texts of files, directories (not below them) and `-`.
pub(super) fn texts(files: &[PathBuf]) -> Result<Vec<Text>, Failure> {
    let mut texts = Vec::new();
    for file in files {
        if file.as_os_str() == "-" {
            texts.push(read("<stdin>", std::io::stdin().lock())?);
        } else if file.is_dir() {
            for file in documents_in(file)? {
                texts.push(open(&file)?);
            }
        } else {
            texts.push(open(file)?);
        }
    }
    Ok(texts)
}

fn documents_in(directory: &Path) -> Result<Vec<PathBuf>, Failure> {
    let wrong = |error: std::io::Error| Failure::No(format!("{}: {error}", directory.display()));
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(wrong)? {
        let path = entry.map_err(wrong)?.path();
        let counts = path.extension().is_some_and(|extension| extension == "yaml" || extension == "yml");
        if counts && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(Failure::No(format!("{}: there is no *.yaml file in it", directory.display())));
    }
    Ok(files)
}

fn open(file: &Path) -> Result<Text, Failure> {
    let opened = std::fs::File::open(file).map_err(|error| Failure::No(format!("{}: {error}", file.display())))?;
    read(&file.display().to_string(), opened)
}

fn read(file: &str, from: impl Read) -> Result<Text, Failure> {
    let mut bytes = Vec::new();
    let wrong = |error: String| Failure::No(format!("{file}: {error}"));
    // One byte more than is allowed, so that it is seen that it is too much.
    from.take(APPLIED_BYTES_MAX as u64 + 1).read_to_end(&mut bytes).map_err(|error| wrong(error.to_string()))?;
    if bytes.len() > APPLIED_BYTES_MAX {
        return Err(wrong(format!("it has more than {APPLIED_BYTES_MAX} bytes: apply it in parts")));
    }
    let (meant, named, problems) = match std::str::from_utf8(&bytes).map(shown::documents) {
        Ok(meant) if matches!(meant.text, Cow::Owned(_)) => {
            let placed = |mut violation| {
                meant.place(&mut violation);
                violation
            };
            let named = located(&meant.text, |line| placed(Violation { line, ..Violation::default() }).line);
            let problems = sourced(file, &bytes, violations(meant.text.as_bytes(), APPLIED_BYTES_MAX).map(placed));
            (Some(meant.text.into_owned()), named, problems)
        }
        Ok(meant) => (None, located(&meant.text, |line| line), problems(file, &bytes)),
        Err(_) => (None, Vec::new(), problems(file, &bytes)),
    };
    if problems.is_empty() {
        let text = meant.map_or_else(|| String::from_utf8(bytes), Ok).map_err(|error| wrong(error.to_string()))?;
        return Ok(Text { file: tame(file), text, named });
    }
    Err(Failure::No(format!("{file}: nothing was done\n{}", problems.concat().trim_end())))
}

fn located(text: &str, placed: impl Fn(u32) -> u32) -> Vec<(ObjectKey, u32)> {
    let found = parse_within(text.as_bytes(), APPLIED_BYTES_MAX).into_iter().flatten();
    found.map(|located| (ObjectKey::of(&located.document), placed(located.line))).collect()
}

fn violations(bytes: &[u8], most: usize) -> impl Iterator<Item = Violation> {
    parse_within(bytes, most).into_iter().filter_map(Result::err).flat_map(|refused| refused.violations)
}

fn sourced(file: &str, bytes: &[u8], violations: impl Iterator<Item = Violation>) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    violations.map(|violation| with_source(&tame(file), &text, &violation)).collect()
}

/// What is wrong with a file's documents, each with its place in the text.
pub(super) fn problems(file: &str, bytes: &[u8]) -> Vec<String> {
    sourced(file, bytes, violations(bytes, SPEC_BYTES_MAX))
}

/// The documents of a text that was checked.
pub(super) fn documents(text: &Text) -> Vec<Document> {
    parse_within(text.text.as_bytes(), APPLIED_BYTES_MAX).into_iter().flatten().map(|located| located.document).collect()
}

fn dry(dry_run: bool) -> (&'static str, &'static str) {
    if dry_run { ("?dryRun=All", " (dry run)") } else { ("", "") }
}

/// Of two documents of one name the last would win without a word.
fn only_once(texts: &[Text]) -> Result<(), Failure> {
    let mut known: BTreeMap<ObjectKey, String> = BTreeMap::new();
    for text in texts {
        for (key, line) in &text.named {
            let place = if *line == 0 { text.file.clone() } else { format!("{}:{line}", text.file) };
            if let Some(first) = known.insert(key.clone(), place.clone()) {
                return Err(Failure::No(format!("{key} is named twice, so nothing was done: {first} and {place}")));
            }
        }
    }
    Ok(())
}

/// `ctl apply`: all files are checked before anything is sent.
pub(super) async fn apply(context: &Context, files: &[PathBuf], dry_run: bool) -> Result<(), Failure> {
    let texts = texts(files)?;
    let (query, mark) = dry(dry_run);
    for text in &texts {
        if documents(text).is_empty() {
            return Err(Failure::No(format!("{}: there is no document in it", text.file)));
        }
    }
    only_once(&texts)?;
    for text in texts {
        let applied: Applied = context.client.ask(Method::POST, &format!("/v1/apply{query}"), Sent::yaml(&text.text)).await?;
        for outcome in applied.items {
            let kind = if outcome.kind.is_empty() { short(Kind::Pool) } else { &outcome.kind };
            emit(&format!("{}/{} {}{mark}\n", tame(kind), tame(&outcome.name), tame(&outcome.verb)))?;
        }
    }
    Ok(())
}

/// `ctl delete`
pub(super) async fn delete(context: &Context, args: Delete) -> Result<(), Failure> {
    let targets = if args.files.is_empty() { named(&args.names)? } else { of_files(&args.files)? };
    let (query, mark) = dry(args.dry_run);
    let mut refusals = Refusals::default();
    for Target { kind, names } in targets {
        for name in names {
            let at = format!("{}{query}", path(kind, &name));
            let asked = context.client.ask::<Status>(Method::DELETE, &at, Sent::nothing()).await;
            if let Some(done) = refusals.heard(asked)? {
                let then = if done.message.is_empty() { String::new() } else { format!("; {}", tame(&done.message)) };
                emit(&format!("{}/{} deleted{mark}{then}\n", short(kind), tame(&name)))?;
            }
        }
    }
    refusals.end()
}

fn named(words: &[String]) -> Result<Vec<Target>, Failure> {
    let targets = targets(words)?;
    match targets.iter().find(|target| target.names.is_empty()) {
        // Never all at once by leaving something out.
        Some(target) => Err(Failure::Usage(format!("say which {}: {}/NAME", short(target.kind), short(target.kind)))),
        None => Ok(targets),
    }
}

fn of_files(files: &[PathBuf]) -> Result<Vec<Target>, Failure> {
    let texts = texts(files)?;
    let documents = texts.iter().flat_map(documents);
    let target = |document: Document| {
        let kind = match &document {
            Document::WorkerPool(_) => Kind::Pool,
            Document::ResourcePolicy(_) => Kind::Policy,
        };
        Target { kind, names: vec![document.name().to_owned()] }
    };
    Ok(documents.map(target).collect())
}
