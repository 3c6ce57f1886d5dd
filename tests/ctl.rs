//! The client, through its own door: the real program against a served board, its output compared with committed text.
//!
//! With `BLESS=1` the texts in `golden/` are written anew; look at the difference before committing it.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod served;
#[path = "served/shells.rs"]
mod shells;
mod skipped;
#[path = "served/top.rs"]
mod top;

use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use served::{DAY, GUARD, Ran, Running, WEB, World, condition, event, pool, worker};
use weir::model::catalogue::Stray;
use weir::model::document::to_yaml;
use weir::model::status::{EventType, Kind, Object, Phase, Truth};

/// Stamps differ from run to run; the ages beside them do not.
fn steady(text: &str) -> String {
    let is_stamp = |word: &str| word.len() == 24 && word.as_bytes()[10] == b'T' && word.ends_with('Z');
    let mut out = String::new();
    let mut rest = text;
    while !rest.is_empty() {
        match rest.get(..24).filter(|word| is_stamp(word)) {
            Some(_) => {
                out.push_str("<TIME>");
                rest = &rest[24..];
            }
            None => {
                let c = rest.chars().next().unwrap();
                out.push(c);
                rest = &rest[c.len_utf8()..];
            }
        }
    }
    out
}

/// Compare what a command printed with the committed text.
fn golden(name: &str, ran: &Ran) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    let text = steady(&format!("{}--- stderr\n{}--- exit code {}\n", ran.out, ran.err, ran.code));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(text == expected, "{name}:\n{text}\n--- but {} has:\n{expected}", file.display());
}

#[test]
fn tables() {
    let world = World::furnished();
    for (name, words) in [
        ("get-pools", "get pools"),
        ("get-pools-wide", "get wp -o wide"),
        ("get-workers", "get workers"),
        ("get-workers-wide", "get worker -o wide -l weir.dev/pool=web"),
        ("get-events", "get events"),
        ("get-mixed", "get pools,workers"),
        ("get-by-name", "get pool/web worker/web-1 pool/nosuch"),
        ("get-name", "get pools,workers -o name"),
        ("get-sorted", "get workers --sort-by=.status.phase --no-headers"),
        ("get-columns", "get pools -o custom-columns=NAME:.metadata.name,READY:.status.readyReplicas,X:.spec.nothing"),
        ("get-none", "get workers -l nothing=here"),
        ("get-json", "get pool/web -o json"),
        ("get-yaml", "get worker web-2 -o yaml"),
        ("describe-pool", "describe pool/web"),
        ("describe-worker", "describe worker/web-2"),
        ("get-no-such-pool", "get pool/nosuch"),
        ("get-no-such-type", "get pols"),
        ("get-no-such-format", "get pools -o xml"),
    ] {
        golden(name, &world.ctl(words));
    }
    let lines = r#"jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.phase}{"\n"}{end}"#;
    assert_eq!(world.run(&["get", "workers", "-o", lines]).out, "web-0\tReady\nweb-1\tBusy\nweb-2\tBackOff\n");
}

#[test]
fn what_is_refused_and_has_no_object_is_told_all_the_same() {
    let world = World::furnished();
    let stray = |name: Option<&str>| Stray {
        kind: name.map(|_| weir::model::meta::Kind::WorkerPool),
        name: name.map(str::to_owned),
        why: "new.yaml:5:3: spec.templat: unknown field \"templat\"".into(),
    };
    assert_eq!(world.ctl("get pools").err, "");
    world.board.refuse(vec![stray(Some("new"))]);
    let one = "warning: 1 document (new) is refused and not shown here: see the events\n";
    assert_eq!((world.ctl("get pools").err.as_str(), world.ctl("get policies").err.as_str()), (one, "No resources found.\n"));
    assert_eq!(world.ctl("get workers").err, "");
    let missing = world.ctl("describe pool/new");
    assert!(missing.code == 1 && missing.err.contains("its document is refused: new.yaml:5:3: spec.templat"), "{missing:?}");
    world.board.refuse(vec![stray(Some("new")), stray(None)]);
    assert!(world.ctl("get pools").err.starts_with("warning: 2 documents (new, ...) are refused"));
    assert!(world.ctl("get policies").err.starts_with("warning: 1 document is refused"), "its kind may be any");
}

#[test]
fn flags_that_mean_nothing_are_refused() {
    let world = World::furnished();
    let out = |words: &str| world.ctl(words).out;
    assert_eq!(out("get workers --pool web -o name"), out("get workers -o name"));
    assert_eq!(out("get workers --pool batch -o name"), "");
    for words in ["get pools --pool web", "get workers --status Queued", "get pools --limit 3", "get workers web-0 --pool web"] {
        let ran = world.ctl(words);
        assert!(ran.code == 2 && ran.out.is_empty(), "{words}: {ran:?}");
    }
    assert_eq!(world.ctl("get tasks -w --pool nosuch").code, 1);
    assert!(world.ctl("explain wp.spec.replicas").out.contains("FIELD") && world.ctl("explain rp").code == 0);
}

#[test]
fn help_has_examples_for_every_command() {
    let world = World::new();
    let commands =
        "get describe explain logs top drain restart scale rollout apply delete diff edit wait prune completion version";
    for command in commands.split(' ') {
        let ran = world.run(&[command, "--help"]);
        assert!(ran.code == 0 && ran.out.contains("Examples:"), "{command}: {ran:?}");
    }
    assert_eq!(world.ctl("frobnicate").code, 2);
    for shell in ["bash", "zsh", "fish"] {
        assert!(world.run(&["completion", shell]).out.contains("ctl"));
    }
    assert!(world.ctl("explain pool.spec.replicas").out.contains("FIELD"));
    assert_eq!(world.ctl("explain pool.spec.replica").code, 1);
    assert!(world.ctl("version").out.contains("Server Version: v"));
}

#[test]
fn changes_are_asked_for() {
    let world = World::furnished();
    let file = world.scratch().join("pools.yaml");
    std::fs::write(&file, format!("{WEB}---\n{}", WEB.replace("name: web", "name: fresh"))).unwrap();
    for (words, out) in [
        ("apply -f pools.yaml", "pool/web configured\npool/fresh created\n"),
        ("apply -f . --dry-run", "pool/web configured (dry run)\npool/fresh created (dry run)\n"),
        ("scale pool/web --replicas 5", "pool/web scaled\n"),
        ("scale --replicas=0 wp web", "pool/web scaled\n"),
        ("restart worker/web-0", "worker/web-0 restarted\n"),
        ("rollout restart pool/web", "pool/web restarted\n"),
        ("delete pool web --dry-run", "pool/web deleted (dry run)\n"),
        ("prune --confirm good", "deletions confirmed\n"),
    ] {
        let ran = world.ctl(words);
        assert_eq!((ran.code, ran.out.as_str()), (0, out), "{words}: {}", ran.err);
    }
    let asked = world.asked().join("\n");
    for part in ["Scale { pool: \"web\", replicas: 5 }", "restart web-0", "weir.dev/restartedAt", "dry Delete", "prune good"] {
        assert!(asked.contains(part), "{part} in {asked}");
    }
    let mut child = world.command().args(["apply", "-f", "-"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(WEB.as_bytes()).unwrap();
    assert_eq!(Ran::of(child.wait_with_output().unwrap()).out, "pool/web configured\n");
}

#[test]
fn a_bad_document_is_shown_where_it_is_bad() {
    let world = World::new();
    std::fs::write(world.scratch().join("bad.yaml"), WEB.replace("replicas: 3", "replica: 3").replace("sleep, inf", "")).unwrap();
    golden("apply-bad", &world.ctl("apply -f bad.yaml"));
    std::fs::write(world.scratch().join("refused.yaml"), WEB.replace("labels: {tier", "annotations: {refuse")).unwrap();
    golden("apply-refused", &world.ctl("apply -f refused.yaml"));
    let other = WEB.replace("replicas: 3", "replicas: 4");
    for (file, text) in [("twice.yaml", format!("{WEB}---\n{other}")), ("good.yaml", WEB.to_owned()), ("other.yaml", other)] {
        std::fs::write(world.scratch().join(file), text).unwrap();
    }
    let again = WEB.lines().count() + 2;
    let list = "kind: List\nitems:\n- apiVersion: weir.dev/v1\n  kind: WorkerPool\n  metadata: {name: b}\n  spec: {template: {command: [x]}}\n";
    let (head, item) = list.split_at(list.find("- ").unwrap());
    std::fs::write(world.scratch().join("list.yaml"), format!("apiVersion: v1\n{head}{item}{item}")).unwrap();
    for (files, places) in [
        ("-f twice.yaml", format!("twice.yaml:1 and twice.yaml:{again}")),
        ("-f good.yaml -f other.yaml", "good.yaml:1 and other.yaml:1".into()),
        ("-f list.yaml", "list.yaml:4 and list.yaml:8".into()),
    ] {
        let ran = world.ctl(&format!("apply {files}"));
        assert!(ran.code == 1 && ran.out.is_empty() && ran.err.contains(&places), "{files}: {}{}", ran.out, ran.err);
    }
    assert!(!world.asked().iter().any(|ask| ask.contains("replicas: 4")));
    golden("apply-missing", &world.ctl("apply -f missing.yaml"));
    golden("prune-refused", &world.ctl("prune --confirm bad"));
    assert!(!world.asked().iter().any(|ask| ask.contains("replica:")));
}

#[test]
fn diff_says_what_would_change() {
    let world = World::furnished();
    std::fs::write(world.scratch().join("same.yaml"), WEB).unwrap();
    std::fs::write(world.scratch().join("more.yaml"), WEB.replace("replicas: 3", "replicas: 4")).unwrap();
    let same = world.ctl("diff -f same.yaml");
    assert_eq!((same.code, same.out.as_str()), (0, ""), "{}", same.err);
    golden("diff", &world.ctl("diff -f more.yaml"));
    std::fs::write(world.scratch().join("guard.yaml"), GUARD).unwrap();
    let policy = world.ctl("diff -f guard.yaml");
    assert!(policy.code == 1 && policy.out.starts_with("--- live/policy/guard\n+++ file/policy/guard\n"), "{policy:?}");
    assert!(policy.out.contains("+    max:\n"), "{policy:?}");
}

#[test]
fn what_was_said_before_is_shown_and_said_again() {
    let world = World::furnished();
    let shown = world.ctl("rollout history pool/web");
    let rows: Vec<Vec<&str>> =
        shown.out.lines().map(|line| line.split("   ").filter(|cell| !cell.is_empty()).collect()).collect();
    assert_eq!(rows[0], ["pool/web"]);
    assert_eq!(rows[1].iter().map(|cell| cell.trim()).collect::<Vec<_>>(), ["REVISION", "AGE", "CHANGE"]);
    assert!(shown.out.contains("spec.replicas 1 → 2, spec.template.command"), "{shown:?}");
    assert!(world.ctl("rollout history pool/web --revision 1").out.contains("replicas: 1 # few"));
    let ran = world.ctl("rollout undo pool/web --to-revision 1");
    let (told, what) = ran.out.split_once(": ").expect("what it changes");
    assert_eq!((ran.code, told), (0, "pool/web rolled back to revision 1"), "{}", ran.err);
    assert!(what.contains("spec.replicas") && what.contains(" → 1"), "{what}");
    assert!(world.asked().iter().any(|ask| ask.contains("Replace") && ask.contains("# few")));
    let same = world.ctl("rollout undo pool/web --to-revision 3");
    assert_eq!((same.code, same.out.contains("unchanged")), (0, true), "{same:?}");
    assert_eq!(world.ctl("rollout undo pool/web --to-revision 7").code, 1);
    assert_eq!(world.ctl("rollout history worker/web-0").code, 2);
}

#[test]
fn drains_are_asked_for() {
    let world = World::furnished();
    let ran = world.ctl("drain worker/web-0 --no-wait");
    assert_eq!((ran.code, ran.out.as_str()), (0, "worker/web-0 gets no more tasks and ends when it is idle\n"), "{}", ran.err);
    assert!(world.asked().iter().any(|ask| ask == "drain web-0"));
    let queueless = world.ctl("drain pool/web");
    assert!(queueless.code == 1 && queueless.err.contains("has no queue"), "{queueless:?}");
    assert_eq!(world.ctl("drain policy/x").code, 2);
    assert_eq!(world.ctl("top policies").code, 2);
    assert_eq!(world.ctl("top pools").out.lines().next(), Some("NAME    CPU(cores)   MEMORY(bytes)   TASKS   WORKERS"));
}

/// What a shell that asks is offered for the last word of a line.
fn offered(world: &World, line: &[&str]) -> Vec<String> {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ctl"));
    command.env_clear().env("WEIR_STATE", &world.state).env("WEIR_COMPLETE", "bash").env("_CLAP_IFS", "\n");
    command.env("_CLAP_COMPLETE_INDEX", (line.len() - 1).to_string()).arg("--").args(line).current_dir(world.scratch());
    let ran = Ran::of(command.output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""), "{line:?}");
    ran.out.lines().map(|word| word.trim().to_owned()).collect()
}

#[test]
fn a_shell_is_offered_names_with_and_without_a_daemon() {
    let mut world = World::furnished();
    assert_eq!(offered(&world, &["ctl", "describe", "pool/"]), ["pool/batch", "pool/web"]);
    assert_eq!(offered(&world, &["ctl", "describe", "worker", "web-"]), ["web-0", "web-1", "web-2"]);
    assert_eq!(offered(&world, &["ctl", "scale", "w"]), ["web"]);
    assert!(offered(&world, &["ctl", "rollo"]).contains(&"rollout".to_owned()));
    let status = world.state.join("status/workerpools");
    std::fs::create_dir_all(&status).unwrap();
    std::fs::write(status.join("filed.yaml"), "broken: [").unwrap();
    assert!(world.end());
    assert_eq!(offered(&world, &["ctl", "describe", "pool/"]), ["pool/filed"], "from the files");
    std::fs::remove_dir_all(&status).unwrap();
    assert_eq!(offered(&world, &["ctl", "describe", "pool/"]), [""; 0], "nothing, and no words");
}

/// An editor that notes what it was shown and then runs a script. Given to `sh`, not executed: a file that was just written
/// may still be open for writing in a child that another test is starting.
fn editor(world: &World, script: &str) -> String {
    let file = world.scratch().join("editor");
    std::fs::write(&file, format!("/bin/cat \"$1\" >> {}/seen\n{script}\n", world.scratch().display())).unwrap();
    format!("/bin/sh {}", file.display())
}

#[test]
fn an_edit_is_applied_and_a_bad_one_is_never_lost() {
    let world = World::furnished();
    let edit = |script: &str| {
        let mut command = world.command();
        command.env("EDITOR", editor(&world, script)).env("TMPDIR", world.scratch()).args(["edit", "pool/web"]);
        Ran::of(command.output().unwrap())
    };
    assert_eq!(edit("exit 0").out, "Edit cancelled, no changes made.\n");
    let ran = edit("/bin/sed -i 's/replicas: 3/replicas: 4/' \"$1\"");
    assert_eq!((ran.code, ran.out.as_str()), (0, "pool/web edited\n"), "{}", ran.err);
    assert!(world.asked().iter().any(|ask| ask.contains("Replace") && ask.contains("replicas: 4")));
    let ran = edit("/bin/sed -i 's/name: web/name: other/' \"$1\"");
    assert!(ran.code == 1 && ran.err.contains("no valid changes were saved"), "{}", ran.err);
    let ran = edit("/bin/sed -i 's/replicas: 3/replicas: many/' \"$1\"");
    assert_eq!(ran.code, 1);
    let kept = ran.err.trim().rsplit(' ').next().unwrap();
    assert!(std::fs::read_to_string(kept).unwrap().contains("replicas: many"), "{}", ran.err);
    assert!(std::fs::read_to_string(world.scratch().join("seen")).unwrap().contains("#| error: spec.replicas"));
    assert_eq!(edit("exit 3").code, 1);
}

#[test]
fn an_editor_may_have_arguments_in_quotes() {
    let world = World::furnished();
    let mut command = world.command();
    command.env("EDITOR", "/bin/sed -i -e 's/replicas: 3/replicas: 4/'").env("PATH", "/usr/bin:/bin");
    let ran = Ran::of(command.args(["edit", "pool/web"]).output().unwrap());
    assert_eq!((ran.code, ran.out.as_str()), (0, "pool/web edited\n"), "{}", ran.err);
    assert!(world.asked().iter().any(|ask| ask.contains("Replace") && ask.contains("replicas: 4")));
}

#[test]
fn a_watch_goes_on() {
    let mut world = World::furnished();
    let mut watch = Running::start(&world, "get pools -w");
    assert!(watch.line().starts_with("NAME    READY   DESIRED"));
    assert!(watch.line().starts_with("batch   0/0"));
    assert!(watch.line().starts_with("web     2/3"));
    world.board.put(pool("web", 3, 3));
    assert!(watch.line().starts_with("web     3/3     3"));
    // What no column shows makes no row; neither does the same again.
    let Object::Pool(mut same) = pool("web", 3, 3) else { panic!() };
    same.metadata.annotations.insert("note".into(), "nobody sees it here".into());
    world.board.put(Object::Pool(same));
    world.board.put(pool("web", 3, 3));
    world.board.put(pool("batch", 0, 0));
    world.board.put(pool("batch", 1, 0));
    assert!(watch.line().starts_with("batch   0/1"));
    world.board.remove(Kind::Pool, "batch");
    let gone = watch.line();
    assert!(gone.starts_with("batch   0/1") && gone.contains("Deleted"), "{gone}");
    world.board.put(pool("batch", 1, 0));
    assert!(watch.line().starts_with("batch   0/1"), "it is there again");
    // More changes than are kept, faster than anyone reads: the last one is seen all the same.
    for n in 0..6000 {
        world.board.put(pool("web", 9, n % 8));
    }
    world.board.put(pool("web", 9, 9));
    while !watch.line().starts_with("web     9/9") {}
    assert!(world.end());
    assert_eq!(watch.0.wait().unwrap().code(), Some(3));
}

#[test]
fn a_watch_of_one_shows_that_one_alone_however_old_it_is() {
    let mut world = World::furnished();
    // More changes than are kept, since this one changed last.
    for n in 0..6000 {
        world.board.put(pool("batch", 1, n % 2));
    }
    let mut watch = Running::start(&world, "get pool web -w");
    assert!(watch.line().starts_with("NAME   READY   DESIRED"));
    assert!(watch.line().starts_with("web    2/3"));
    world.board.put(pool("batch", 9, 1));
    world.board.put(pool("web", 3, 3));
    assert!(watch.line().starts_with("web    3/3"));
    assert!(world.end());
    assert_eq!(watch.0.wait().unwrap().code(), Some(3));
    assert_eq!(World::furnished().ctl("get pool nosuch -w").code, 1);
}

#[test]
fn a_rollout_is_waited_for() {
    let world = World::furnished();
    let mut rollout = Running::start(&world, "rollout status pool/web --timeout 20s");
    assert_eq!(rollout.line(), "Waiting for pool \"web\" rollout to finish: 2 of 3 updated workers are ready...");
    world.board.put(pool("web", 3, 3));
    assert_eq!(rollout.line(), "pool \"web\" successfully rolled out");
    world.board.put(pool("web", 3, 1));
    assert_eq!(world.ctl("rollout status pool/web --timeout 50ms").code, 1);
}

#[test]
fn waiting_ends_with_what_was_waited_for() {
    let world = World::furnished();
    assert_eq!(world.ctl("wait --for=condition=Ready pool/batch").out, "pool/batch condition met\n");
    assert_eq!(world.ctl("wait --for=jsonpath={.status.phase}=BackOff worker/web-2").code, 0);
    let late = world.ctl("wait --for=condition=Ready pool/web --timeout 50ms");
    assert_eq!((late.code, late.err.as_str()), (1, "error: timed out waiting for the condition on pool/web\n"));
    let now = world.ctl("wait --for=condition=Ready pool/web --timeout 0s");
    assert_eq!((now.code, now.err.as_str()), (1, "error: timed out waiting for the condition on pool/web\n"));
    assert_eq!(world.ctl("wait --for=condition=Ready pool/batch --timeout 0s").out, "pool/batch condition met\n", "one look");
    assert_eq!(world.ctl("wait --for=delete pool/nosuch").code, 0);
    assert_eq!(world.ctl("wait --for=nonsense pool/web").code, 2);
    assert_eq!(world.ctl("wait --for=condition=Ready pool/nosuch").code, 1);
    let mut gone = Running::start(&world, "wait --for=delete pool/web --timeout 20s");
    world.board.remove(Kind::Pool, "web");
    assert_eq!(gone.line(), "pool/web deleted");
}

#[test]
fn logs_are_shown_byte_for_byte() {
    let world = World::furnished();
    std::fs::create_dir_all(world.state.join("logs/web")).unwrap();
    let file = world.state.join("logs/web/web-0.log");
    let bytes = b"one\ntwo \x1b[31m\xff\nthree".as_slice();
    std::fs::write(&file, bytes).unwrap();
    let ran = world.command().args(["logs", "web-0"]).output().unwrap();
    assert_eq!(ran.stdout, bytes);
    assert_eq!(world.ctl("logs worker/web-0 --tail 1").out, "three");
    assert_eq!(world.ctl("logs worker web-0 --tail=0").out, "");
    assert_eq!(world.ctl("logs --previous web-0").code, 1);
    assert_eq!(world.ctl("logs nosuch").code, 1);
    let mut follow = Running::start(&world, "logs -f --tail 1 web-0");
    let mut start = [0; 5];
    std::io::Read::read_exact(&mut follow.1, &mut start).unwrap();
    std::fs::File::options().append(true).open(&file).unwrap().write_all(b"\nfour\n").unwrap();
    assert_eq!((follow.line().as_str(), follow.line().as_str()), ("", "four"));
    world.board.remove(Kind::Worker, "web-0");
    assert_eq!(follow.0.wait().unwrap().code(), Some(0));
}

#[test]
fn nothing_hostile_reaches_the_terminal() {
    let world = World::new();
    let evil = "\u{1b}]0;owned\u{7}\u{9b}31m\r\u{202e}\n\0";
    let Object::Pool(mut hostile) = pool("web", 1, 1) else { panic!() };
    hostile.metadata.name = format!("x{evil}");
    hostile.metadata.labels.insert(evil.into(), evil.into());
    hostile.status.source.file = evil.into();
    hostile.status.waiting_on = vec![evil.into()];
    hostile.status.conditions = vec![condition(evil, Truth::True, evil, evil), condition("Ready", Truth::False, evil, evil)];
    hostile.spec.template.command.push(evil.into());
    world.board.put(Object::Pool(hostile));
    world.board.put(event("e", &format!("pool/x{evil}"), EventType::Warning, (evil, evil), DAY));
    let Object::Worker(mut hostile) = worker("web", 0, Phase::BackOff) else { panic!() };
    hostile.status.message = evil.into();
    hostile.metadata.owner = Some(evil.into());
    if let Some(exit) = &mut hostile.status.last_exit {
        exit.message = Some(evil.into());
    }
    world.board.put(Object::Worker(hostile));
    for words in [
        "get pools,workers,events -o wide",
        "describe pools",
        "describe workers",
        "get pools -o name",
        "get pools -o json",
        "get pool/\u{1b}[31mx",
        "logs \u{1b}[31mx",
        "get \u{1b}[31mx",
        "get pools -l \u{1b}[31m",
        "scale pool/\u{1b}x --replicas 1",
        "delete pool/\u{1b}x",
        "wait --for=\u{1b} pool/x",
        "describe pool/\u{202e}x",
        "apply -f \u{1b}x",
    ] {
        let ran = world.ctl(words);
        for text in [&ran.out, &ran.err] {
            let bad = |c: &char| (c.is_control() && *c != '\n' && *c != '\t') || matches!(c, '\u{202a}'..='\u{202e}');
            assert!(!text.chars().any(|c| bad(&c)), "{words:?}: {text:?}");
        }
    }
    // A program in a pipe needs what is there.
    for words in ["get worker/web-0 -o jsonpath={.status.message}", "get workers -o jsonpath={.items[0].status.message}"] {
        assert_eq!(world.ctl(words).out, evil, "{words}");
    }
    let columns = world.ctl("get workers --no-headers -o custom-columns=A:.status.message").out;
    assert!(columns.contains('\u{202e}') && columns.lines().count() == 1, "{columns:?}");
}

#[test]
fn without_a_daemon_what_was_written_is_shown() {
    let mut world = World::furnished();
    for (kind, name) in [(Kind::Pool, "workerpools"), (Kind::Worker, "workers")] {
        let directory = world.state.join("status").join(name);
        std::fs::create_dir_all(&directory).unwrap();
        for object in world.board.list(kind).1 {
            std::fs::write(directory.join(format!("{}.yaml", object.meta().name)), to_yaml(&*object)).unwrap();
        }
    }
    std::fs::write(world.state.join("status/workers/.half.yaml"), "half").unwrap();
    std::fs::write(world.state.join("status/workers/broken.yaml"), "{").unwrap();
    std::fs::create_dir_all(world.state.join("logs/web")).unwrap();
    std::fs::write(world.state.join("logs/web/web-0.log"), "one\ntwo\n").unwrap();
    let online = ["get pools -o wide", "describe worker/web-2"].map(|words| world.ctl(words).out);
    assert!(world.end());
    let relative = |text: &str| text.replace(&world.state.display().to_string(), "STATE");
    let offline = world.ctl("get pools -o wide");
    assert_eq!((offline.code, &offline.out), (0, &online[0]));
    assert_eq!(relative(&offline.err), "note: no daemon at STATE/weir.sock; showing what was last written\n");
    let described = world.ctl("describe worker/web-2").out;
    assert!(online[1].starts_with(&described), "{described}");
    let workers = world.ctl("get workers -l weir.dev/pool=web -o name");
    assert_eq!(workers.out, "worker/web-0\nworker/web-1\nworker/web-2\n");
    assert!(workers.err.contains("broken.yaml"));
    assert_eq!(world.ctl("logs web-0 --tail 1").out, "two\n");
    assert_eq!(world.ctl("get pool/nosuch").code, 1);
    assert_eq!(world.ctl("get pool/../../x").code, 2);
    for words in [
        "scale pool/web --replicas 1",
        "get pools -w",
        "get events",
        "restart web-0",
        "logs -f web-0",
        "wait --for=delete pool/web",
    ] {
        let ran = world.ctl(words);
        assert!(ran.code == 3 && ran.err.contains("weir run"), "{words}: {ran:?}");
    }
    std::fs::remove_dir_all(&world.state).unwrap();
    assert_eq!(world.ctl("get pools").code, 3);
    assert_eq!(world.ctl("get pool/web").code, 3);
}

#[test]
fn a_long_state_path_is_no_obstacle() {
    let world = World::in_directory(&format!("{}/{}", "d".repeat(100), "e".repeat(100)));
    world.board.put(pool("web", 1, 1));
    assert_eq!(world.ctl("get pools -o name").out, "pool/web\n");
}

#[test]
fn a_closed_pipe_is_a_normal_end() {
    let world = World::new();
    for n in 0..2000 {
        world.board.put(worker("web", n, Phase::Ready));
    }
    let mut child =
        world.command().args(["get", "workers", "-o", "yaml"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

/// Only root can become somebody else; for everyone else this holds nothing.
#[test]
fn a_stranger_is_denied_even_where_the_socket_lets_him_in() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    if skipped::without(nix::unistd::geteuid().is_root(), "root") {
        return;
    }
    let world = World::furnished();
    let open = |path: &Path| std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o777)).unwrap();
    let program = world.scratch().join("ctl");
    // Copied by another process, for the reason given at `editor`.
    assert!(std::process::Command::new("cp").arg(env!("CARGO_BIN_EXE_ctl")).arg(&program).status().unwrap().success());
    for path in [world.scratch(), &program, &world.state, &world.state.join("weir.sock")] {
        open(path);
    }
    let mut command = std::process::Command::new(&program);
    command.arg("--state").arg(&world.state).args(["get", "pools"]).current_dir("/").uid(65_534).gid(65_534);
    let ran = Ran::of(command.output().unwrap());
    assert!(ran.code == 4 && ran.out.is_empty() && ran.err.contains("(Forbidden)"), "{ran:?}");
}
