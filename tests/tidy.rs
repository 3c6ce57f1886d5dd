//! The house rules, held by reading `src/` as text: who may import whom, how long a file may be, what may not be written where.
//! A rule takes the files and gives back its complaints, so each is tried on the repository and on a snippet that breaks it.

#[path = "tidy/rust.rs"]
mod rust;

use rust::{Class, Path, Token, classify, only, paths, rows, tokens, without_tests};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path as Disk;
use std::sync::OnceLock;

struct File {
    path: String,
    text: String,
    module: Vec<String>,
    /// Strings as they stand in the source, with their lines.
    literals: Vec<(String, usize)>,
    all: Vec<Token>,
    /// `all` without test modules; nothing in a file that is one.
    code: Vec<Token>,
    test: bool,
}

impl File {
    fn room(&self) -> &str {
        self.path.strip_prefix("src/").and_then(|p| p.split_once('/')).map_or("", |(room, _)| room)
    }

    fn is(&self, places: &[&str]) -> bool {
        places.iter().any(|place| self.path == *place || place.ends_with('/') && self.path.starts_with(place))
    }
}

fn module_of(path: &str) -> Vec<String> {
    let stem = path.trim_start_matches("src/").trim_end_matches(".rs");
    let parts = stem.split('/').filter(|part| *part != "mod" && stem != "lib");
    parts.map(str::to_owned).collect()
}

fn literals(src: &str, classes: &[Class]) -> Vec<(String, usize)> {
    let (mut found, mut at, mut line) = (Vec::new(), 0, 1);
    for run in classes.chunk_by(|a, b| a == b) {
        let text = &src[at..at + run.len()];
        if run[0] == Class::Text {
            found.push((text.to_owned(), line));
        }
        line += text.matches('\n').count();
        at += run.len();
    }
    found
}

fn files(sources: Vec<(String, String)>) -> Vec<File> {
    let (mut files, mut tests) = (Vec::new(), BTreeSet::new());
    for (path, text) in sources {
        let classes = classify(&text);
        let all = tokens(&only(&text, &classes, Class::Code));
        let (code, named) = without_tests(&all);
        let module = module_of(&path);
        tests.extend(named.into_iter().map(|name| [module.as_slice(), &[name]].concat()));
        let test = path.starts_with("tests/");
        files.push(File { literals: literals(&text, &classes), path, text, module, all, code, test });
    }
    for file in &mut files {
        file.test |= (1..=file.module.len()).any(|n| tests.contains(&file.module[..n]));
        if file.test {
            file.code.clear();
        }
    }
    files
}

fn walk(root: &Disk, dir: &str, found: &mut Vec<(String, String)>) {
    let Ok(entries) = std::fs::read_dir(root.join(dir)) else { return };
    let mut names: Vec<String> = entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    for name in names {
        let path = format!("{dir}/{name}");
        if root.join(&path).is_dir() {
            walk(root, &path, found);
        } else if name.ends_with(".rs") {
            let text = std::fs::read_to_string(root.join(&path)).expect("a source file is text");
            found.push((path, text));
        }
    }
}

fn repository() -> &'static [File] {
    static FILES: OnceLock<Vec<File>> = OnceLock::new();
    FILES.get_or_init(|| {
        let root = Disk::new(env!("CARGO_MANIFEST_DIR"));
        let mut found = Vec::new();
        walk(root, "src", &mut found);
        walk(root, "tests", &mut found);
        files(found)
    })
}

fn sources(files: &[File]) -> impl Iterator<Item = &File> {
    files.iter().filter(|file| file.path.starts_with("src/"))
}

/// Paths of a file to modules of ours, from the root of the crate.
fn ours(file: &File, modules: &BTreeSet<Vec<String>>) -> Vec<(Vec<String>, usize)> {
    let resolved = paths(&file.code).into_iter().filter_map(|path| {
        let mut here = [file.module.clone(), path.inside].concat();
        let child = [here.as_slice(), &path.segments[..1]].concat();
        let mut rest = path.segments.as_slice();
        match rest[0].as_str() {
            "crate" => here.clear(),
            "self" | "super" => {}
            _ if modules.contains(&child) => {}
            _ => return None,
        }
        while let Some(step) = rest.first().filter(|step| ["crate", "self", "super"].contains(&step.as_str())) {
            if step == "super" {
                here.pop();
            }
            rest = &rest[1..];
        }
        here.extend(rest.iter().filter(|s| *s != "*").cloned());
        Some((here, path.line))
    });
    resolved.collect()
}

fn modules(files: &[File]) -> BTreeSet<Vec<String>> {
    sources(files).filter(|f| f.room() != "bin").map(|f| f.module.clone()).collect()
}

// ---- the rules ----

type Rule = fn(&[File]) -> Vec<String>;

#[rustfmt::skip]
const FREE: &[&str] = &[
    "src/bin/", "src/lib.rs", "src/build.rs", "src/daemon.rs", "src/daemon/", "src/validate.rs", "src/crds.rs", "src/doctor/", "src/install/",
    "src/chart/", "src/plan/", "src/simulate/", "src/output.rs",
];

/// What a room may import of ours.
fn table(room: &str) -> Option<&'static [&'static str]> {
    Some(match room {
        "model" => &["model"],
        "decide" => &["model", "decide"],
        // The last five are doors that other doors go through: the clock, commands, secrets, systemd, and HTTP with its guard
        // against private addresses, which must not be there twice.
        "edge" => {
            &["model", "shim::wire", "shim::times", "edge::clock", "edge::command", "edge::secrets", "edge::systemd", "edge::web"]
        }
        "engine" => &["model", "decide", "edge", "engine"],
        "serve" => &["model", "serve", "engine::handle"],
        "ctl" => &["model", "ctl", "serve::wire"],
        "shim" => &["shim"],
        _ => return None,
    })
}

fn imports(files: &[File]) -> Vec<String> {
    let modules = modules(files);
    let mut bad = Vec::new();
    for file in sources(files).filter(|file| !file.is(FREE)) {
        let Some(allowed) = table(file.room()) else {
            bad.push(format!(
                "{}:1: a file outside every room, the import table has no row for it, move it into a room",
                file.path
            ));
            continue;
        };
        for (path, line) in ours(file, &modules) {
            let path = path.join("::");
            let own = (file.room() == "edge").then(|| file.module.get(1).map(|edge| format!("edge::{edge}"))).flatten();
            let mut rooms = allowed.iter().copied().chain(own.as_deref());
            if !rooms.any(|room| path == room || path.starts_with(&format!("{room}::"))) {
                let (name, room, allowed) = (&file.path, file.room(), allowed.join(", "));
                bad.push(format!(
                    "{name}:{line}: uses crate::{path}, {room} may import only {allowed}, take the value as an argument instead"
                ));
            }
        }
    }
    bad
}

fn headers(files: &[File]) -> Vec<String> {
    let judge = |file: &File| {
        let lines = file.text.lines().take_while(|line| line.starts_with("//!")).count();
        let least = if file.path.ends_with("/mod.rs") || file.room() == "bin" || file.path == "src/lib.rs" { 1 } else { 2 };
        let what = format!(
            "a header of {lines} lines, a reader starts there, say in {least} to 15 `//!` lines what the file is and why"
        );
        (lines < least || lines > 15).then(|| format!("{}:1: {what}", file.path))
    };
    sources(files).filter_map(judge).collect()
}

fn lengths(files: &[File]) -> Vec<String> {
    let judge = |file: &File| {
        let (lines, most) = (file.text.lines().count(), if file.test { 600 } else { 500 });
        let what = format!("{lines} lines, more than {most} do not fit a head, split the file by what it is about");
        (lines > most).then(|| format!("{}:{}: {what}", file.path, most + 1))
    };
    files.iter().filter_map(judge).collect()
}

struct Ban {
    /// Nothing: everywhere.
    within: &'static [&'static str],
    except: &'static [&'static str],
    tests_too: bool,
    words: &'static [&'static str],
    why: &'static str,
}

const fn within(within: &'static [&'static str], words: &'static [&'static str], why: &'static str) -> Ban {
    Ban { within, except: &[], tests_too: false, words, why }
}

const fn except(except: &'static [&'static str], words: &'static [&'static str], why: &'static str) -> Ban {
    Ban { within: &[], except, tests_too: true, words, why }
}

const PURE: &[&str] = &["tokio", "tracing", "std::fs", "std::process", "std::thread", "Instant", "SystemTime", "HashMap", "rand"];
const UNSAFE: &[&str] = &["src/shim/sys.rs", "src/shim/birth.rs", "src/bin/weir-shim.rs"];
const UNREAL: &[&str] = &["cfg(not(test))", "PR_SET_PDEATHSIG", "todo!", "unimplemented!"];

const BANS: &[Ban] = &[
    within(
        &["src/decide/", "src/model/"],
        PURE,
        "data and decisions repeat exactly, let an edge do it and pass in what it saw (maps: BTreeMap)",
    ),
    within(&["src/decide/"], &["_ =>"], "a new variant would be decided by accident, name every variant"),
    within(&["src/shim/"], &["tokio", "serde", "serde_json"], "the shim stays tiny beside its worker, use std, nix and libc"),
    except(&[], UNREAL, "what runs is tested, finished, and outlives its parent, write the real thing"),
    except(&["src/bin/"], &["process::exit"], "destructors would not run, return an exit code to main"),
    except(UNSAFE, &["unsafe"], "unsafe code stands where it is reviewed, use a safe wrapper or add one to shim/sys.rs"),
];

/// Lines where a banned thing stands, spelled out or as one branch of a `use`.
fn uses(tokens: &[Token], paths: &[Path], word: &str) -> BTreeSet<usize> {
    let segments: Vec<&str> = word.split("::").collect();
    let in_path = |path: &Path| path.segments.windows(segments.len()).any(|w| w == segments.as_slice());
    let branches = paths.iter().filter(|path| in_path(path)).map(|path| path.line);
    branches.chain(rows(tokens, word)).collect()
}

fn banned(files: &[File]) -> Vec<String> {
    let mut bad = Vec::new();
    for file in sources(files) {
        let (all, code) = (paths(&file.all), paths(&file.code));
        for ban in BANS.iter().filter(|ban| (ban.within.is_empty() || file.is(ban.within)) && !file.is(ban.except)) {
            let (tokens, paths) = if ban.tests_too { (&file.all, &all) } else { (&file.code, &code) };
            for word in ban.words {
                bad.extend(
                    uses(tokens, paths, word).into_iter().map(|line| format!("{}:{line}: `{word}`, {}", file.path, ban.why)),
                );
            }
        }
    }
    bad
}

fn leftovers(files: &[File]) -> Vec<String> {
    let mut bad = Vec::new();
    for file in sources(files) {
        for (number, line) in file.text.lines().enumerate() {
            let mut words = line.split(|c: char| !c.is_alphanumeric() && c != '_');
            if let Some(word) = words.find(|word| ["TODO", "FIXME", "XXX"].contains(word)) {
                bad.push(format!("{}:{}: {word}, nobody reads it again, do it now or refuse it by name", file.path, number + 1));
            }
        }
    }
    bad
}

fn shells(files: &[File]) -> Vec<String> {
    let mut bad = Vec::new();
    for file in sources(files) {
        for (at, (text, line)) in file.literals.iter().enumerate() {
            let tight: String = text.chars().filter(|c| !c.is_whitespace() && *c != '\\').collect();
            let shell = ["sh", "bash"].contains(&text.rsplit('/').next().unwrap_or(""));
            let flag = file.literals.get(at + 1).is_some_and(|(next, _)| next == "-c");
            if text.contains("sh -c") || tight.contains("\"sh\",\"-c\"") || shell && flag {
                bad.push(format!(
                    "{}:{line}: a shell, quoting goes wrong and signals reach the wrong process, run an argument list",
                    file.path
                ));
            }
        }
    }
    bad
}

fn kills(files: &[File]) -> Vec<String> {
    const CALLS: &[&str] = &["kill", "killpg", "tkill", "tgkill", "kill_process", "kill_process_group", "SYS_kill", "SYS_tgkill"];
    let modules = modules(files);
    let mine = |name: &String| {
        ["crate", "super", "self", "Self"].contains(&name.as_str()) || modules.iter().any(|m| m.last() == Some(name))
    };
    let mut bad = Vec::new();
    for file in sources(files).filter(|file| !["src/shim/sys.rs", "src/edge/command.rs"].contains(&file.path.as_str())) {
        for Path { segments, line, .. } in paths(&file.code) {
            let [.., of, call] = segments.as_slice() else { continue };
            if CALLS.contains(&call.as_str()) && !mine(of) {
                let (name, what) = (&file.path, segments.join("::"));
                bad.push(format!("{name}:{line}: `{what}`, a stored pid may be another's by now, signal through a pidfd"));
            }
        }
    }
    bad
}

fn reexports(files: &[File]) -> Vec<String> {
    let root = files.iter().filter(|file| file.path == "src/lib.rs");
    let lines = root.flat_map(|file| rows(&file.all, "pub use"));
    lines.map(|line| format!("src/lib.rs:{line}: `pub use`, a thing has one path, import it from its module")).collect()
}

// ---- cycles ----

type Graph = BTreeMap<Vec<String>, BTreeMap<Vec<String>, usize>>;

/// Who uses whom inside one room. A child may use its direct parent: that edge is left out.
fn graph(files: &[File]) -> Graph {
    let modules = modules(files);
    let mut graph = Graph::new();
    for file in sources(files).filter(|file| !file.is(FREE)) {
        let edges = graph.entry(file.module.clone()).or_default();
        for (path, line) in ours(file, &modules) {
            let Some(target) = (1..=path.len()).rev().map(|n| &path[..n]).find(|known| modules.contains(*known)) else {
                continue;
            };
            let parent = file.module.split_last().map(|(_, parent)| parent);
            if target[0] == file.module[0] && target != file.module && Some(target) != parent {
                edges.entry(target.to_vec()).or_insert(line);
            }
        }
    }
    graph
}

/// Tarjan's strongly connected components.
#[derive(Default)]
struct Tarjan {
    index: BTreeMap<Vec<String>, usize>,
    low: BTreeMap<Vec<String>, usize>,
    stack: Vec<Vec<String>>,
    found: Vec<Vec<Vec<String>>>,
}

impl Tarjan {
    fn visit(&mut self, graph: &Graph, node: &Vec<String>) {
        let number = self.index.len();
        self.index.insert(node.clone(), number);
        self.stack.push(node.clone());
        let mut low = number;
        for next in graph.get(node).into_iter().flat_map(BTreeMap::keys) {
            if !self.index.contains_key(next) {
                self.visit(graph, next);
                low = low.min(self.low[next]);
            } else if self.stack.contains(next) {
                low = low.min(self.index[next]);
            }
        }
        self.low.insert(node.clone(), low);
        if low == number {
            let at = self.stack.iter().position(|n| n == node).unwrap_or(0);
            self.found.push(self.stack.split_off(at));
        }
    }
}

fn cycles(files: &[File]) -> Vec<String> {
    let (graph, mut tarjan) = (graph(files), Tarjan::default());
    for node in graph.keys() {
        if !tarjan.index.contains_key(node) {
            tarjan.visit(&graph, node);
        }
    }
    let mut bad = Vec::new();
    for ring in tarjan.found.iter().filter(|ring| ring.len() > 1) {
        let names: Vec<String> = ring.iter().map(|module| module.join("::")).collect();
        let file = files.iter().find(|file| file.module == ring[0]).map_or("src", |file| &file.path);
        let line = graph[&ring[0]].iter().find(|(to, _)| ring.contains(to)).map_or(1, |(_, line)| *line);
        let names = names.join(" and ");
        bad.push(format!("{file}:{line}: {names} use each other, neither can be read alone, move what they share below both"));
    }
    bad
}

// ---- the top level ----

fn strangers(listed: &str) -> Vec<String> {
    const KNOWN: &[&str] = &["Cargo.toml", "Cargo.lock", "LICENSE", "README.md", "src", "specs", "examples", "tests", "docs"];
    let tops: BTreeSet<&str> = listed.lines().filter_map(|line| line.split('/').next()).collect();
    let strange = tops.into_iter().filter(|top| !top.starts_with('.') && !KNOWN.contains(top));
    strange
        .map(|top| format!("{top}:1: at the top level, which is the first thing seen, put it below src, tests or docs"))
        .collect()
}

fn listed() -> String {
    let git = std::process::Command::new("git").arg("ls-files").current_dir(env!("CARGO_MANIFEST_DIR")).output();
    git.map_or_else(|_| String::new(), |out| String::from_utf8_lossy(&out.stdout).into_owned())
}

// ---- the repository keeps them ----

fn keeps(rule: Rule) {
    let files = repository();
    assert!(sources(files).count() > 10, "src/ was not found");
    let bad = rule(files);
    assert!(bad.is_empty(), "{} broken:\n{}", bad.len(), bad.join("\n"));
}

#[test]
fn rooms_import_only_what_the_table_allows() {
    keeps(imports);
}

#[test]
fn every_file_says_what_it_is() {
    keeps(headers);
}

#[test]
fn no_file_is_too_long() {
    keeps(lengths);
}

#[test]
fn nothing_banned_is_written() {
    keeps(banned);
}

#[test]
fn nothing_is_left_for_later() {
    keeps(leftovers);
}

#[test]
fn no_shell_is_started() {
    keeps(shells);
}

#[test]
fn signals_leave_from_one_file() {
    keeps(kills);
}

#[test]
fn the_root_exports_no_second_names() {
    keeps(reexports);
}

#[test]
fn modules_of_a_room_have_an_order() {
    keeps(cycles);
}

#[test]
fn the_top_level_is_short() {
    let listed = listed();
    assert!(!listed.is_empty() || !Disk::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists(), "git does not list the files");
    let bad = strangers(&listed);
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

// ---- and would notice ----

/// Where a rule complains about these files, as `path:line`.
fn complaints(rule: Rule, written: &[(&str, &str)]) -> Vec<String> {
    let owned = written.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
    rule(&files(owned)).iter().map(|bad| bad.splitn(3, ':').take(2).collect::<Vec<_>>().join(":")).collect()
}

fn notices(rule: Rule, path: &str, text: &str, lines: &[usize]) {
    let wanted: Vec<String> = lines.iter().map(|line| format!("{path}:{line}")).collect();
    assert_eq!(complaints(rule, &[(path, text)]), wanted, "in {text:?}");
}

#[test]
fn a_wrong_import_is_noticed() {
    notices(imports, "src/model/a.rs", "use super::b;\nuse crate::model::c;\nfn f() { crate::decide::d() }", &[3]);
    notices(imports, "src/model/a.rs", "// crate::edge::x\nconst A: &str = \"crate::edge::x\";", &[]);
    notices(
        imports,
        "src/decide/a/mod.rs",
        "use super::super::edge::x;\nmod i { use super::super::super::engine; }\nuse crate::*;",
        &[1, 2, 3],
    );
    notices(
        imports,
        "src/edge/probe.rs",
        "use crate::edge::clock;\nuse crate::shim::{wire::Go,\nsys};\nuse super::specs;",
        &[3, 4],
    );
    notices(
        imports,
        "src/edge/store/schema.rs",
        "use super::Store;\nuse crate::edge::store::x;\nuse crate::edge::storefront;",
        &[3],
    );
    notices(imports, "src/engine/a.rs", "use crate::{model, decide, edge};\nuse crate::serve;", &[2]);
    notices(imports, "src/serve/a.rs", "use crate::engine::handle::Handle;\nuse crate::engine::host;", &[2]);
    notices(imports, "src/ctl/a.rs", "use crate::serve::wire;\nuse crate::serve::http;", &[2]);
    notices(imports, "src/shim/a.rs", "use crate::shim::b;\nuse super::c;\nuse crate::model::d;", &[3]);
    notices(imports, "src/daemon.rs", "use crate::engine::host;", &[]);
    notices(imports, "src/helpers.rs", "", &[1]);
    let tests = [
        ("src/model/mod.rs", "#[cfg(test)]\nmod t;\n#[cfg(test)]\nmod u { use crate::edge; }"),
        ("src/model/t.rs", "use crate::edge::x;"),
    ];
    assert!(complaints(imports, &tests).is_empty());
}

#[test]
fn a_missing_header_is_noticed() {
    notices(headers, "src/model/a.rs", "//! One.\nuse b;", &[1]);
    notices(headers, "src/model/a.rs", "//! One.\n//! Two.\nuse b;", &[]);
    notices(headers, "src/model/mod.rs", "//! One.", &[]);
    notices(headers, "src/model/mod.rs", "\n//! One.", &[1]);
    notices(headers, "src/bin/a.rs", &"//! Long.\n".repeat(16), &[1]);
}

#[test]
fn a_long_file_is_noticed() {
    notices(lengths, "src/model/a.rs", &"\n".repeat(501), &[501]);
    notices(lengths, "tests/a.rs", &"\n".repeat(600), &[]);
    notices(lengths, "tests/a.rs", &"\n".repeat(601), &[601]);
}

#[test]
fn banned_words_are_noticed() {
    for word in PURE {
        notices(banned, "src/model/a.rs", &format!("use {word};\n// {word}\n\"{word}\""), &[1]);
    }
    notices(banned, "src/decide/a.rs", "use std::{\nio, fs};\nlet operand = brand;", &[2]);
    notices(banned, "src/decide/a.rs", "match a {\n(_, X) => b,\n_ => c }\n#[cfg(test)] mod t { use rand; }", &[3]);
    notices(banned, "src/model/a.rs", "match a { _ => c }", &[]);
    notices(banned, "src/shim/a.rs", "use serde::Serialize;", &[1]);
    for word in ["#[cfg(not(test))]", "PR_SET_PDEATHSIG", "todo!()", "unimplemented!()", "std::process::exit(1)", "unsafe {}"] {
        notices(banned, "src/engine/a.rs", &format!("#[cfg(test)] mod t {{\n{word} }}"), &[2]);
    }
    notices(banned, "src/bin/a.rs", "std::process::exit(1)", &[]);
    notices(banned, "src/shim/sys.rs", "unsafe {}", &[]);
    notices(banned, "src/lib.rs", "#![deny(unsafe_code)]", &[]);
}

#[test]
fn leftovers_and_shells_are_noticed() {
    notices(leftovers, "src/model/a.rs", "// TODO: a\n/// FIXME b\nlet x = \"XXX\";\nmkstemp(\"XXXXXX\")", &[1, 2, 3]);
    notices(shells, "src/edge/a.rs", "Command::new(\"/bin/sh\")\n.arg(\"-c\")", &[1]);
    notices(
        shells,
        "src/edge/a.rs",
        "let a = [\"sh\", \"-c\"];\nlet b = \"sh -c x\";\nlet c = r#\"[\"sh\", \"-c\"]\"#;",
        &[1, 2, 3],
    );
    notices(shells, "src/edge/a.rs", "// sh -c\nlet a = [\"git\", \"-c\"];", &[]);
}

#[test]
fn a_kill_is_noticed() {
    notices(
        kills,
        "src/edge/a.rs",
        "libc::kill(1, 9);\nuse nix::sys::signal::{Signal, kill};\nchild.kill();\nsuper::kill();",
        &[1, 2],
    );
    notices(kills, "src/edge/a.rs", "fn kill() {}\nrustix::process::kill_process_group(a)", &[2]);
    notices(kills, "src/shim/sys.rs", "libc::kill(1, 9)", &[]);
    assert!(complaints(kills, &[("src/edge/a.rs", "hunt::kill(1)"), ("src/edge/hunt.rs", "fn kill() {}")]).is_empty());
}

#[test]
fn a_second_name_is_noticed() {
    notices(reexports, "src/lib.rs", "pub mod a;\npub use a::B;", &[2]);
}

#[test]
fn a_cycle_is_noticed() {
    let root = ("src/edge/mod.rs", "pub mod a; pub mod b; a::x();");
    let (a, b) = (("src/edge/a.rs", "\nuse super::b::X;"), ("src/edge/b.rs", "use crate::edge::a;"));
    assert_eq!(complaints(cycles, &[root, a, b]), ["src/edge/a.rs:2"]);
    assert!(complaints(cycles, &[root, a, ("src/edge/b.rs", "use super::Shared;")]).is_empty());
    let (a, c) = (("src/edge/a.rs", "use super::b;"), ("src/edge/b/c.rs", "use crate::edge::a;"));
    assert!(complaints(cycles, &[root, a, ("src/edge/b.rs", ""), c]).is_empty());
    let through = [root, a, ("src/edge/b.rs", "mod c; use c::D;"), c];
    assert_eq!(complaints(cycles, &through), ["src/edge/a.rs:1"]);
}

#[test]
fn a_stranger_at_the_top_is_noticed() {
    assert_eq!(strangers("src/lib.rs\n.gitignore\nCargo.toml\nnotes.md\nscripts/x").len(), 2);
}
