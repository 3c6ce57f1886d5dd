//! `weir validate` and `weir schema`: documents checked and described without a daemon, for editors, pre-commit and CI.
//!
//! Reads the same types with the same reader as the daemon, so what passes here is accepted there.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::decide::admit::names;
use crate::edge::specs::{NAME_RULE, is_overlooked, is_spec_name, read_one};
use crate::model::catalogue::ObjectKey;
use crate::model::document::refusal;
use crate::model::document::{self, Document, Located, Parsed, Refused, Violation};
use crate::model::meta::{Kind, quoted};
use crate::model::pool::WorkerPool;
use crate::model::reading::counted;
use crate::output;

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
///
/// Where a directory is given, its documents are all there are: what they name of each other must be there.
pub fn run(paths: &[PathBuf], output: Output) -> ExitCode {
    match read(paths) {
        Ok(files) => {
            let problems = problems(&files, paths.iter().any(|path| path.is_dir()));
            if output == Output::Text {
                let good = files.iter().flat_map(|file| &file.documents).filter(|parsed| parsed.is_ok()).count();
                let counts = [(files.len(), "file"), (good, "good document"), (problems.len(), "problem")];
                output::note(&counts.map(|(count, noun)| counted(count as u64, noun)).join(", "));
            }
            let verdict = if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
            output::print(&shown(&problems, output), verdict)
        }
        Err(why) => {
            output::complain(&why);
            ExitCode::from(2)
        }
    }
}

fn problems(files: &[Read], all: bool) -> Vec<Problem> {
    let mut problems: Vec<Problem> = files.iter().filter_map(overlooked).collect();
    problems.extend(files.iter().flat_map(broken));
    // What the daemon does not read is in nobody's way, and nobody's pool.
    let read: Vec<&Read> = files.iter().filter(|file| file.counts()).collect();
    problems.extend(twice(&read));
    problems.extend(namesakes(&read));
    if all {
        problems.extend(strangers(&read));
    }
    problems
}

/// A file, and what is in it.
struct Read {
    path: PathBuf,
    name: String,
    bytes: Vec<u8>,
    documents: Vec<Parsed>,
}

fn read(paths: &[PathBuf]) -> Result<Vec<Read>, String> {
    let mut found: Vec<(PathBuf, Option<&Path>)> = Vec::new();
    for path in paths {
        let mut files = Vec::new();
        walk(path, 0, &mut files, &looks_like_a_spec).map_err(|error| format!("{}: {error}", path.display()))?;
        let dir = Some(path.as_path()).filter(|path| path.is_dir());
        found.extend(files.into_iter().map(|file| (file, dir)));
    }
    // A path that was given twice, or a file below a folder that was given too, is no second document.
    let mut known = BTreeSet::new();
    found.retain(|(file, _)| known.insert(file.canonicalize().unwrap_or_else(|_| file.clone())));
    found.into_iter().map(|(file, dir)| one(file, dir)).collect()
}

/// A file that was given, or one below a directory that was.
fn one(path: PathBuf, dir: Option<&Path>) -> Result<Read, String> {
    let name = path.display().to_string();
    match read_one(&path, dir) {
        Ok((bytes, documents)) => Ok(Read { path, name, bytes, documents }),
        Err(why) if dir.is_none() => Err(format!("{name}: {why}")),
        Err(why) => Ok(Read { documents: unread(&path, why), path, name, bytes: Vec::new() }),
    }
}

/// Of a file that cannot be read the daemon says why; of one whose name does not count it says only that.
fn unread(path: &Path, why: String) -> Vec<Parsed> {
    if path.file_name().is_some_and(|name| is_overlooked(name.as_bytes())) {
        return Vec::new();
    }
    let violation = Violation { line: 1, column: 1, message: why, ..Violation::default() };
    vec![Err(Refused { line: 1, violations: vec![violation], ..Refused::default() })]
}

/// The documents' files at or below `path`, in order, as the daemon finds them.
pub(crate) fn collect(path: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    walk(path, 0, files, &|name| name.to_str().is_some_and(is_spec_name))
}

fn looks_like_a_spec(name: &OsStr) -> bool {
    name.to_str().is_some_and(is_spec_name) || is_overlooked(name.as_bytes())
}

fn walk(path: &Path, depth: usize, files: &mut Vec<PathBuf>, counts: &dyn Fn(&OsStr) -> bool) -> std::io::Result<()> {
    if !std::fs::metadata(path)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let mut entries: Vec<PathBuf> = std::fs::read_dir(path)?.flatten().map(|entry| entry.path()).collect();
    entries.sort();
    for entry in entries {
        let name = entry.file_name().unwrap_or_default();
        // A link to a folder is none: the daemon does not follow it either.
        if !entry.symlink_metadata()?.is_dir() {
            files.extend(Some(entry.clone()).filter(|_| counts(name)));
        } else if !name.as_bytes().starts_with(b".") && depth < DEPTH_MAX {
            walk(&entry, depth + 1, files, counts)?;
        }
    }
    Ok(())
}

impl Read {
    fn problem(&self, violation: Violation) -> Problem {
        Problem { file: self.name.clone(), text: String::from_utf8_lossy(&self.bytes).into_owned(), violation }
    }

    /// The daemon reads a file of such a name.
    fn counts(&self) -> bool {
        !self.path.file_name().is_some_and(|name| is_overlooked(name.as_bytes()))
    }

    fn pools(&self) -> impl Iterator<Item = (&Located, &WorkerPool)> {
        self.documents.iter().filter_map(|parsed| match parsed {
            Ok(located) => match &located.document {
                Document::WorkerPool(pool) => Some((located, pool.as_ref())),
                Document::ResourcePolicy(_) => None,
            },
            Err(_) => None,
        })
    }
}

/// The daemon never reads a file of such a name.
fn overlooked(file: &Read) -> Option<Problem> {
    let name = file.path.file_name().filter(|_| !file.counts())?;
    let message =
        format!("the name {} does not count, so the daemon does not read the file: {NAME_RULE}", quoted(&name.to_string_lossy()));
    Some(file.problem(Violation { line: 1, column: 1, message, ..Violation::default() }))
}

/// Documents that name what another names too: with the daemon none of them counts.
fn twice(files: &[&Read]) -> Vec<Problem> {
    let mut known: BTreeMap<ObjectKey, Vec<(&Read, &Located)>> = BTreeMap::new();
    for file in files {
        for located in file.documents.iter().flatten() {
            known.entry(ObjectKey::of(&located.document)).or_default().push((file, located));
        }
    }
    let mut problems = Vec::new();
    for (key, places) in known.iter().filter(|(_, places)| places.len() > 1) {
        for (file, located) in places {
            let others = places.iter().filter(|(_, other)| !std::ptr::eq(*other, *located));
            let others: Vec<String> = others.map(|(file, other)| format!("{}:{}", file.name, other.line)).collect();
            let message = format!("{key} is named by more than one document, so none counts: also {}", others.join(", "));
            problems.push(file.problem(document::violation(&file.bytes, located, "metadata.name", message)));
        }
    }
    problems
}

fn broken(file: &Read) -> Vec<Problem> {
    let refused = file.documents.iter().filter_map(|parsed| parsed.as_ref().err());
    refused.flat_map(|refused| &refused.violations).map(|violation| file.problem(violation.clone())).collect()
}

/// Pools that can have workers of one name.
fn namesakes(files: &[&Read]) -> Vec<Problem> {
    let pools = || files.iter().flat_map(|file| file.pools().map(move |(located, pool)| (file, located, pool)));
    let given = pools().map(|(_, _, pool)| (pool.metadata.name.as_str(), pool.spec.worker_names.as_slice())).collect();
    let mut problems = Vec::new();
    for meeting in names::meetings(&given) {
        for (file, located, pool) in pools().filter(|(_, _, pool)| meeting.pools.contains(&pool.metadata.name)) {
            let (path, message) = meeting.words(&pool.metadata.name, &pool.spec.worker_names);
            problems.push(file.problem(document::violation(&file.bytes, located, &path, message)));
        }
    }
    problems
}

/// Pools whose workers or tasks are counted by another and that none of the documents is about: that number stays unknown for ever.
fn strangers(files: &[&Read]) -> Vec<Problem> {
    let refused = files.iter().flat_map(|file| &file.documents).filter_map(|parsed| parsed.as_ref().err());
    // A broken document is told of already, and may be about the pool that is looked for.
    let known: Option<Vec<&str>> = refused.map(|refused| refused.name.as_deref()).collect();
    let Some(mut known) = known else { return Vec::new() };
    known.extend(files.iter().flat_map(|file| file.pools()).map(|(_, pool)| pool.metadata.name.as_str()));
    let mut problems = Vec::new();
    for (file, (located, pool)) in files.iter().flat_map(|file| file.pools().map(move |pool| (file, pool))) {
        let scale = pool.spec.scale.iter();
        let triggers = scale.clone().flat_map(|scale| scale.triggers.iter().enumerate());
        let quotas = scale.flat_map(|scale| scale.quota.iter().enumerate());
        let sources = triggers
            .map(|(n, trigger)| (format!("spec.scale.triggers.{n}"), &trigger.source))
            .chain(quotas.map(|(n, quota)| (format!("spec.scale.quota.{n}.source"), &quota.source)));
        for (path, source) in sources {
            let workers = source.workers.as_ref().and_then(|workers| Some(("workers", workers.pool.as_deref()?)));
            let queue = source.queue.as_ref().and_then(|queue| Some(("queue", queue.pool.as_deref()?)));
            let Some((kind, name)) = workers.or(queue).filter(|(_, name)| !known.contains(name)) else { continue };
            let message = format!("there is no pool \"{name}\" in these files");
            let suggestion = refusal::nearest(name, known.iter().copied());
            let place = document::violation(&file.bytes, located, &format!("{path}.{kind}.pool"), message);
            problems.push(file.problem(Violation { suggestion, ..place }));
        }
    }
    problems
}

fn shown(problems: &[Problem], output: Output) -> String {
    let lines = |one: &dyn Fn(&Problem) -> String| problems.iter().map(|problem| one(problem) + "\n").collect::<String>();
    match output {
        Output::Text => lines(&|p| refusal::with_source(&p.file, &p.text, &p.violation)),
        Output::Github => lines(&|p| refusal::for_forge(&p.file, &p.violation)),
        Output::Json => {
            let all: Vec<serde_json::Value> = problems.iter().map(|p| refusal::as_json(&p.file, &p.violation)).collect();
            serde_json::to_string_pretty(&all).expect("problems are plain data") + "\n"
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
            output::complain(&format!("no kind \"{}\"; there are: {}", kind.unwrap_or_default(), names.join(", ")));
            return ExitCode::from(2);
        }
        [one] => document::schema::schema(*one).clone(),
        many => many.iter().map(|kind| (kind.name().to_owned(), document::schema::schema(*kind).clone())).collect(),
    };
    let text = serde_json::to_string_pretty(&value).expect("a schema is plain data");
    output::print(&(text + "\n"), ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use std::fs::write;
    use std::os::unix::fs::symlink;

    use rustix::fs::{CWD, FileType, Mode, mknodat};

    use super::*;

    const POOL: &str = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: a}\nspec: {template: {command: [run]}}\n";

    fn told(path: &Path) -> String {
        shown(&problems(&read(&[path.to_owned()]).unwrap(), true), Output::Text)
    }

    #[test]
    fn what_the_daemon_cannot_read_is_a_problem_and_nobody_waits_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        write(at("a.yaml"), POOL).unwrap();
        assert_eq!(told(dir.path()), "");
        for name in ["fifo.yaml", "Fifo.yaml", "fifo"] {
            mknodat(CWD, at(name), FileType::Fifo, Mode::RWXU, 0).unwrap();
        }
        for (to, name) in [("/dev/zero", "zero.yaml"), ("nowhere", "dangling.yaml"), ("/", "root.yaml")] {
            symlink(to, at(name)).unwrap();
        }
        std::fs::File::create(at("sparse.yaml")).unwrap().set_len(1 << 30).unwrap();
        let told = told(dir.path());
        for part in
            ["is a FIFO", "is a device", "cannot be followed", "is a folder", "at most 262144", "\"Fifo.yaml\" does not count"]
        {
            assert_eq!(told.matches(part).count(), 1, "{part}: {told}");
        }
        let why = |name: &str| read(&[at(name)]).err().unwrap();
        assert!(why("fifo.yaml").ends_with("fifo.yaml: is a FIFO, not a regular file"), "{}", why("fifo.yaml"));
        assert!(why("sparse.yaml").contains("at most 262144"));
    }

    #[test]
    fn a_file_that_is_not_read_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let named = |name: &str, more: &str| {
            let text = POOL.replace("{name: a}", &format!("{{name: {name}}}"));
            text.replace("spec: {", &format!("spec: {{{more}"))
        };
        write(at("a.yaml"), POOL).unwrap();
        for (name, text) in [
            ("a (copy).yaml", POOL.to_owned()),
            ("A.yaml", named("b", "workerNames: [\"0\"], ") + "---\n" + &named("b-0", "")),
            ("Broken.yaml", named("c", "replica: 1, ")),
        ] {
            write(at(name), text).unwrap();
            let told = told(dir.path());
            assert!(told.contains(&format!("\"{name}\" does not count")), "{told}");
            assert!(!told.contains("more than one document") && !told.contains("worker b-0"), "{told}");
        }
        assert!(told(dir.path()).contains("replica"), "what is wrong in it is said all the same");
        write(at("d.yaml"), named("d", "scale: {triggers: [{workers: {pool: b}, targetPerWorker: 1}]}, ")).unwrap();
        assert!(told(dir.path()).contains("there is no pool \"b\""), "{}", told(dir.path()));
        write(at("a2.yaml"), POOL).unwrap();
        assert_eq!(told(dir.path()).matches("more than one document").count(), 2);
    }

    #[test]
    fn nothing_of_a_file_outside_is_told_unless_it_was_asked_for() {
        let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let secret = outside.path().join("secret");
        symlink(&secret, dir.path().join("l.yaml")).unwrap();
        for text in ["root:SECRET:1:0", "SECRET: 1\nSECRET: 2", "apiVersion: SECRET\nkind: SECRET", "{SECRET: ["] {
            write(&secret, text).unwrap();
            let told = told(dir.path());
            assert!(told.contains("l.yaml") && !told.contains("SECRET"), "{told}");
        }
        assert!(told(&secret).contains("SECRET"));
    }
}
