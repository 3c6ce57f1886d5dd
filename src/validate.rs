//! `weir validate` and `weir schema`: documents checked and described without a daemon, for editors, pre-commit and CI.
//!
//! Reads the same types with the same reader as the daemon, so what passes here is accepted there.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::edge::specs::is_spec_name;
use crate::model::document::refusal;
use crate::model::document::{self, Violation};
use crate::model::meta::Kind;

/// How problems are printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// For people, with the lines they are in.
    Text,
    /// One JSON array.
    Json,
    /// Annotations of a GitHub workflow.
    Github,
}

/// Sub-folders deeper than this are not walked.
const DEPTH_MAX: usize = 8;

struct Problem {
    file: String,
    text: String,
    violation: Violation,
}

/// Check every document under `paths` and print every problem. 0: none; 1: some; 2: a path that cannot be read.
pub fn run(paths: &[PathBuf], output: Output) -> ExitCode {
    let mut files = Vec::new();
    for path in paths {
        if let Err(error) = collect(path, 0, &mut files) {
            eprintln!("weir: {}: {error}", path.display());
            return ExitCode::from(2);
        }
    }
    let (mut problems, mut good) = (Vec::new(), 0);
    for file in &files {
        match std::fs::read(file) {
            Ok(bytes) => good += check(&file.display().to_string(), &bytes, &mut problems),
            Err(error) => {
                eprintln!("weir: {}: {error}", file.display());
                return ExitCode::from(2);
            }
        }
    }
    print(&problems, output);
    if output == Output::Text {
        eprintln!("{} files, {good} good documents, {} problems", files.len(), problems.len());
    }
    if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The documents' files at or below `path`, in order.
pub(crate) fn collect(path: &Path, depth: usize, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let name = entry.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let folder = entry.is_dir() && !name.starts_with('.') && depth < DEPTH_MAX;
        if folder || (entry.is_file() && is_spec_name(&name)) {
            collect(&entry, depth + 1, files)?;
        }
    }
    Ok(())
}

fn check(file: &str, bytes: &[u8], problems: &mut Vec<Problem>) -> usize {
    let mut good = 0;
    for parsed in document::parse(bytes) {
        match parsed {
            Ok(_) => good += 1,
            Err(refused) => {
                let text = String::from_utf8_lossy(bytes).into_owned();
                problems.extend(refused.violations.into_iter().map(|violation| Problem {
                    file: file.into(),
                    text: text.clone(),
                    violation,
                }));
            }
        }
    }
    good
}

fn print(problems: &[Problem], output: Output) {
    match output {
        Output::Text => problems.iter().for_each(|p| println!("{}", refusal::with_source(&p.file, &p.text, &p.violation))),
        Output::Github => problems.iter().for_each(|p| println!("{}", refusal::for_forge(&p.file, &p.violation))),
        Output::Json => {
            let all: Vec<serde_json::Value> = problems.iter().map(|p| refusal::as_json(&p.file, &p.violation)).collect();
            println!("{}", serde_json::to_string_pretty(&all).expect("problems are plain data"));
        }
    }
}

/// Print the JSON Schema of a kind, or of both.
pub fn schema(kind: Option<&str>) -> ExitCode {
    let found: Vec<Kind> =
        Kind::ALL.into_iter().filter(|known| kind.is_none_or(|asked| asked.eq_ignore_ascii_case(known.name()))).collect();
    let value = match found.as_slice() {
        [] => {
            let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
            eprintln!("weir: no kind \"{}\"; there are: {}", kind.unwrap_or_default(), names.join(", "));
            return ExitCode::from(2);
        }
        [one] => document::schema::schema(*one).clone(),
        many => many.iter().map(|kind| (kind.name().to_owned(), document::schema::schema(*kind).clone())).collect(),
    };
    println!("{}", serde_json::to_string_pretty(&value).expect("a schema is plain data"));
    ExitCode::SUCCESS
}
