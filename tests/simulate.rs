//! `weir simulate` and `weir plan` through their own door: the real program, its output compared with committed text.
//!
//! With `BLESS=1` the texts in `golden/` are written anew; look at the difference before committing it.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

use std::path::Path;
use std::process::Command;

use tempfile::TempDir;
use weir::edge::clock;
use weir::edge::store::{Queues, Store};
use weir::model::batch::{Batch, Reading};
use weir::model::queue_work::QueueAnswer;
use weir::model::time::Wall;

const WEB: &str = "\
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: web}
spec:
  scale:
    minReplicas: 1
    maxReplicas: 6
    triggers:
      - exec: {command: [count-tasks]}
        targetPerWorker: 5
        pollingInterval: 10s
    behavior:
      scaleDown: {stabilizationWindow: 2m, idleTimeout: 10s}
  template: {command: [work]}
";

const FIXED: &str = "\
apiVersion: weir.dev/v1
kind: WorkerPool
metadata: {name: fixed}
spec: {replicas: 2, template: {command: [sleep, '300']}}
";

const SQUARE: &str = "time,value\n0,0\n60,40\n300,3\n900,3\n";

#[derive(Debug)]
struct Ran {
    out: String,
    err: String,
    code: i32,
}

fn program(name: &str, dir: &Path, words: &str) -> Ran {
    let ran = Command::new(name).args(words.split_whitespace()).current_dir(dir).env_clear().env("HOME", dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap().replace(&dir.display().to_string(), "<DIR>");
    Ran { out: text(ran.stdout), err: text(ran.stderr), code: ran.status.code().unwrap() }
}

fn weir(dir: &Path, words: &str) -> Ran {
    program(env!("CARGO_BIN_EXE_weir"), dir, words)
}

/// Compare what a command printed with the committed text.
fn golden(name: &str, ran: &Ran) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    let text = format!("{}--- stderr\n{}--- exit code {}\n", ran.out, ran.err, ran.code);
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&file, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&file).unwrap_or_default();
    assert!(text == expected, "{name}:\n{text}\n--- but {} has:\n{expected}", file.display());
}

fn dir(files: &[(&str, &str)]) -> TempDir {
    let dir = TempDir::new().unwrap();
    for (name, text) in files {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    dir
}

/// A state directory that has this in its store.
fn state(dir: &Path, batch: Batch) {
    let queues = Queues { work: |_, _, _| Ok(QueueAnswer::Done), changed: Box::new(|_, _| {}) };
    let (store, _) = Store::open(&dir.join("weir.db"), "a boot", queues).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    store.commit(batch, move |result| tell.send(result).unwrap());
    told.recv().unwrap().unwrap();
}

#[test]
fn a_reported_backlog() {
    let dir = dir(&[("web.yaml", WEB), ("square.csv", SQUARE)]);
    golden("simulate-open", &weir(dir.path(), "simulate --spec web.yaml --backlog square.csv --start-delay 5s"));
    let json = weir(dir.path(), "simulate --spec web.yaml --backlog square.csv -o json");
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((value["largestBacklog"].as_f64(), value["reversals"].as_u64()), (Some(40.0), Some(0)), "{}", json.out);
}

#[test]
fn tasks_that_come_in() {
    let tasks = "2026-01-05T08:00:00Z,10\n2026-01-05T08:01:00Z,40\n2026-01-05T08:06:00Z,2\n";
    let dir = dir(&[("web.yaml", WEB), ("fixed.yaml", FIXED), ("tasks.csv", tasks), ("square.csv", SQUARE)]);
    let words = "simulate --spec web.yaml --backlog tasks.csv --arrivals --task-duration 20s,p95=1m --chart none --svg out.svg";
    golden("simulate-closed", &weir(dir.path(), words));
    assert!(std::fs::read_to_string(dir.path().join("out.svg")).unwrap().starts_with("<svg"));
    let rate = weir(dir.path(), "simulate --spec web.yaml --backlog tasks.csv --arrivals --service-rate 6/m --chart none");
    let fixed = weir(dir.path(), "simulate --spec fixed.yaml --backlog square.csv --chart none");
    assert!(fixed.out.contains("worker-seconds        1800\nlargest backlog       40\n"), "{}", fixed.out);
    assert!(rate.code == 0 && rate.out.contains("tasks begun, not done 52, 0"), "{}", rate.out);
}

#[test]
fn what_is_wrong_is_said() {
    let two = format!("{WEB}---\n{FIXED}");
    let bad = WEB.replace("minReplicas", "minReplica");
    let files = [("web.yaml", WEB), ("two.yaml", two.as_str()), ("bad.yaml", bad.as_str()), ("bad.csv", "t,v\n0,1\n5,many\n")];
    let dir = dir(&files);
    std::fs::write(dir.path().join("good.csv"), SQUARE).unwrap();
    for (words, code, wanted) in [
        ("--spec web.yaml --backlog bad.csv", 1, "bad.csv: line 3: \"many\" is not a number of zero or more"),
        ("--spec bad.yaml --backlog good.csv", 1, "bad.yaml:6:5: spec.scale.minReplica: "),
        ("--spec two.yaml --backlog good.csv", 2, "which pool? --pool with one of web, fixed"),
        ("--spec web.yaml --backlog good.csv --pool no", 2, "there is no pool no; there are: web"),
        ("--spec web.yaml --backlog none.csv", 2, "none.csv: No such file"),
        ("--spec web.yaml --backlog good.csv --arrivals", 2, "--task-duration or --service-rate"),
        ("--spec web.yaml --state none --from 1h", 2, "none/weir.db: there is no such file"),
        ("--spec web.yaml", 2, "--backlog"),
    ] {
        let ran = weir(dir.path(), &format!("simulate {words}"));
        assert!(ran.code == code && ran.err.contains(wanted), "{words}: {} {}", ran.code, ran.err);
    }
    if !cfg!(feature = "png") {
        let ran = weir(dir.path(), "simulate --spec web.yaml --backlog good.csv --png a.png");
        assert!(ran.code == 2 && ran.err.contains("without the feature png"), "{}", ran.err);
    }
}

#[test]
fn what_the_daemon_kept_is_replayed() {
    let dir = dir(&[("specs/web.yaml", WEB), ("new.yaml", &WEB.replace("targetPerWorker: 5", "targetPerWorker: 20"))]);
    let now = clock::now().wall.0;
    let read = |minutes: i64, value: f64| Reading {
        pool: "web".into(),
        trigger: "exec".into(),
        at: Wall(now - minutes * 60_000),
        value,
    };
    let readings = vec![read(200, 9.0), read(50, 0.0), read(40, 18.0), read(10, 18.0)];
    state(dir.path(), Batch { readings, ..Batch::default() });
    let largest = |ran: &Ran| {
        let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
        value["samples"].as_array().unwrap().iter().filter_map(|sample| sample["desired"].as_u64()).max()
    };
    let old = weir(dir.path(), "simulate --state . --from 1h --spec specs/web.yaml -o json");
    assert_eq!((old.code, largest(&old)), (0, Some(4)), "{}", old.err);
    let ctl = program(env!("CARGO_BIN_EXE_ctl"), dir.path(), "--state . simulate pool/web --from 1h --with new.yaml -o json");
    assert_eq!((ctl.code, largest(&ctl)), (0, Some(1)), "{}", ctl.err);
    let flag = program(env!("CARGO_BIN_EXE_ctl"), dir.path(), "--state . simulate --pool web --from 1h --with new.yaml -o json");
    assert_eq!((flag.code, largest(&flag)), (0, Some(1)), "{}", flag.err);
    assert!(ctl.err.starts_with("note: this is weir simulate --pool web --state . --from 1h"), "{}", ctl.err);
    let unknown = weir(dir.path(), "simulate --state . --from 1h --pool web");
    assert!(unknown.code == 2 && unknown.err.contains("there is no pool web"), "{}", unknown.err);
}

#[test]
fn a_plan_without_and_with_a_state() {
    let broken = FIXED.replace("replicas", "replica").replace("name: fixed", "name: broken");
    let dir = dir(&[("specs/web.yaml", WEB), ("specs/sub/fixed.yaml", FIXED), ("broken.yaml", &broken)]);
    golden("plan-new", &weir(dir.path(), "plan specs"));
    let mut catalogue: serde_json::Value = serde_json::from_str("{\"root\": null, \"objects\": []}").unwrap();
    for text in [WEB, FIXED] {
        let located = weir::model::document::parse(text.as_bytes()).pop().unwrap().unwrap();
        catalogue["objects"].as_array_mut().unwrap().push(serde_json::json!({
            "kind": "WorkerPool", "generation": 1, "source": {"file": "x.yaml", "line": 1}, "terminating": false,
            "document": located.document,
        }));
    }
    state(dir.path(), Batch { catalogue: Some(catalogue.to_string()), ..Batch::default() });
    let same = weir(dir.path(), "plan specs --state .");
    assert_eq!((same.out.as_str(), same.code), ("nothing would change\n", 0), "{}", same.err);
    std::fs::write(dir.path().join("specs/sub/fixed.yaml"), FIXED.replace("2", "3").replace("300", "600")).unwrap();
    std::fs::remove_file(dir.path().join("specs/web.yaml")).unwrap();
    std::fs::copy(dir.path().join("broken.yaml"), dir.path().join("specs/broken.yaml")).unwrap();
    golden("plan-changed", &weir(dir.path(), "plan specs --state ."));
    let json = weir(dir.path(), "plan specs/sub/fixed.yaml --state . -o json");
    let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
    assert_eq!((json.code, value["pools"].as_array().unwrap().len()), (0, 1), "{}", json.out);
    assert_eq!(value["pools"][0]["started"], serde_json::json!(["fixed-2"]));
    assert_eq!(weir(dir.path(), "plan specs --state none").code, 2);
    assert_eq!(weir(dir.path(), "plan nothing").code, 2);
}

/// A catalogue in which these documents were accepted from these files.
fn accepted(documents: &[(&str, &str)]) -> Batch {
    let objects = documents.iter().map(|(file, text)| {
        let located = weir::model::document::parse(text.as_bytes()).pop().unwrap().unwrap();
        serde_json::json!({
            "kind": "WorkerPool", "generation": 1, "source": {"file": file, "line": 1}, "terminating": false,
            "document": located.document,
        })
    });
    let catalogue = serde_json::json!({"root": null, "objects": objects.collect::<Vec<_>>()});
    Batch { catalogue: Some(catalogue.to_string()), ..Batch::default() }
}

#[test]
fn a_plan_of_a_broken_file_holds_what_it_could_be_about() {
    let named = FIXED.replace("replicas", "replica");
    let mixed = format!("{FIXED}---\n[");
    for (text, held) in [
        ("a: [", vec!["pool/fixed", "pool/web"]),
        ("apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: fixed}\n\0", vec!["pool/fixed", "pool/web"]),
        ("kind: WorkerPool\n\u{7}\n", vec!["pool/fixed", "pool/web"]),
        (named.as_str(), vec!["pool/fixed"]),
        (mixed.as_str(), vec!["pool/web"]),
    ] {
        let dir = dir(&[
            ("specs/both.yaml", text),
            ("elsewhere/new.yaml", text),
            ("specs/other.yaml", &FIXED.replace("fixed", "other")),
        ]);
        let other = FIXED.replace("fixed", "other");
        state(dir.path(), accepted(&[("both.yaml", WEB), ("both.yaml", FIXED), ("other.yaml", &other)]));
        for paths in ["specs/both.yaml", "specs/both.yaml specs/other.yaml"] {
            let ran = weir(dir.path(), &format!("plan {paths} --state ."));
            assert!(
                ran.code == 1 && ran.out.contains("0 removed, 0 blocked, 1 refused; workers: 0 started, 0 stopped"),
                "{}",
                ran.out
            );
            let said = format!("    refused; held as they run: {}\n", held.join(", "));
            assert!(ran.out.contains(&said), "{text:?}: wanted {said:?}\n{}", ran.out);
            let json = weir(dir.path(), &format!("plan {paths} --state . -o json"));
            let value: serde_json::Value = serde_json::from_str(&json.out).unwrap();
            assert_eq!((&value["held"], &value["pools"]), (&serde_json::json!(held), &serde_json::json!([])), "{}", json.out);
        }
        // A file that nothing was accepted from: nothing is touched either.
        let ran = weir(dir.path(), "plan elsewhere/new.yaml --state .");
        assert!(
            ran.code == 1 && ran.out.contains("0 removed, 0 blocked, 1 refused; workers: 0 started, 0 stopped"),
            "{}",
            ran.out
        );
    }
    let dir = dir(&[("specs/both.yaml", "a: [")]);
    state(dir.path(), accepted(&[("both.yaml", WEB), ("both.yaml", FIXED)]));
    let ran = weir(dir.path(), "plan specs --state .");
    assert!(ran.code == 1 && ran.out.contains("held as they run: pool/fixed, pool/web\n"), "{}", ran.out);
}

/// A day of readings each second is what people have. Measured in processor time, which other programs do not stretch.
#[test]
fn a_long_trace_is_played_in_time() {
    let rows = (0..100_000).map(|n| format!("{n},{}\n", (n / 7) % 40)).collect::<String>();
    let dir = dir(&[("web.yaml", WEB), ("long.csv", &rows)]);
    let ran = weir(dir.path(), "simulate --spec web.yaml --backlog long.csv -o json");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let value: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(value["simulatedSeconds"].as_f64(), Some(99_999.0));
    let used = nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_CHILDREN).unwrap().user_time();
    assert!(used.tv_sec() < 10, "all simulations of this test took {used}");
}

#[test]
fn a_pool_that_is_named_must_be_among_all_the_files() {
    let counted = |pool: &str| {
        let source = format!("{{workers: {{pool: {pool}}}, exact: {{}}}}");
        WEB.replace(
            "      - exec: {command: [count-tasks]}\n        targetPerWorker: 5\n        pollingInterval: 10s\n",
            &format!("      - {source}\n"),
        )
    };
    let dir = dir(&[("specs/fixed.yaml", FIXED), ("specs/web.yaml", &counted("fixxed")), ("good/web.yaml", &counted("web"))]);
    let ran = weir(dir.path(), "validate specs");
    let said = "spec.scale.triggers[0].workers.pool: there is no pool \"fixxed\" in these files, did you mean \"fixed\"?";
    assert!(ran.code == 1 && ran.out.contains(said) && ran.out.contains("specs/web.yaml:9:20\n"), "{}", ran.out);
    // One file alone says nothing of the others.
    for fine in ["validate specs/web.yaml", "validate good", "validate specs/fixed.yaml"] {
        assert_eq!(weir(dir.path(), fine).code, 0, "{fine}");
    }
    // What is broken may be what is looked for.
    std::fs::write(dir.path().join("specs/fixed.yaml"), FIXED.replace("fixed", "fixxed").replace("replicas", "replica")).unwrap();
    let ran = weir(dir.path(), "validate specs");
    assert!(ran.code == 1 && !ran.out.contains("there is no pool"), "{}", ran.out);
}

#[test]
fn pools_whose_workers_could_have_one_name_are_told_before_a_daemon_sees_them() {
    let named = FIXED.replace("fixed", "web").replace("{replicas", "{workerNames: [x, b-0, y, z], replicas");
    let dir = dir(&[("specs/web.yaml", &named), ("specs/b.yaml", &FIXED.replace("fixed", "web-b"))]);
    let ran = weir(dir.path(), "validate specs");
    for said in [
        "spec.workerNames[1]: pool \"web-b\" can have a worker \"web-b-0\" too",
        "metadata.name: pool \"web\" can have a worker \"web-b-0\" too",
    ] {
        assert!(ran.code == 1 && ran.out.contains(said), "{}", ran.out);
    }
    assert_eq!(weir(dir.path(), "validate specs/web.yaml").code, 0, "alone it is good");
}

#[test]
fn what_the_daemon_would_not_take_does_not_validate() {
    use std::os::unix::ffi::OsStrExt;
    let dir = dir(&[("twice/a.yaml", FIXED), ("twice/sub/b.yaml", FIXED), ("named/Web.yaml", FIXED), ("named/a b.yml", FIXED)]);
    let ran = weir(dir.path(), "validate twice");
    let said = "metadata.name: pool/fixed is named by more than one document, so none counts: also twice/sub/b.yaml:1";
    assert!(ran.code == 1 && ran.out.contains(said) && ran.err.contains("2 files, 2 good documents, 2 problems"), "{ran:?}");
    // The same file once more is no second document.
    assert_eq!(weir(dir.path(), "validate twice/a.yaml twice/a.yaml").code, 0);
    assert_eq!(weir(dir.path(), "validate twice/a.yaml twice/sub").code, 1);

    let foreign = std::ffi::OsStr::from_bytes(b"\xff.yaml");
    std::fs::write(dir.path().join("named").join(foreign), FIXED).unwrap();
    std::fs::write(dir.path().join("named/.hidden.yaml"), "no document").unwrap();
    let ran = weir(dir.path(), "validate named");
    assert!(ran.code == 1 && ran.out.matches("does not count, so the daemon does not read the file").count() == 3, "{ran:?}");
    let ran = weir(dir.path(), "validate named/Web.yaml -o github");
    assert!(ran.code == 1 && ran.out.starts_with("::error file=named/Web.yaml,line=1,col=1::the name \"Web.yaml\""), "{ran:?}");

    std::fs::create_dir(dir.path().join("links")).unwrap();
    std::os::unix::fs::symlink("../twice", dir.path().join("links/sub")).unwrap();
    std::os::unix::fs::symlink("../twice/a.yaml", dir.path().join("links/a.yaml")).unwrap();
    let ran = weir(dir.path(), "validate links");
    assert!(ran.code == 0 && ran.err.contains("1 file, 1 good document, 0 problems"), "{ran:?}");
}

#[test]
fn an_answer_that_cannot_be_written_is_no_success() {
    let dir = dir(&[("fixed.yaml", FIXED)]);
    for words in ["schema", "crds", "validate fixed.yaml -o json", "plan fixed.yaml", "doctor"] {
        let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_weir"));
        let ran = command.args(words.split(' ')).current_dir(dir.path()).stdout(full).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(70) && said.contains("standard output: No space left"), "{words}: {ran:?}");
    }
}

#[test]
fn help_has_examples() {
    let dir = dir(&[]);
    for command in ["simulate", "plan"] {
        let ran = weir(dir.path(), &format!("{command} --help"));
        assert!(ran.code == 0 && ran.out.contains("Examples:\n  weir ") && ran.out.contains("Exit codes:"), "{}", ran.out);
    }
}

#[test]
fn a_reader_of_errors_that_is_gone_changes_no_exit_code() {
    for (program, words, code) in [
        (env!("CARGO_BIN_EXE_weir"), "validate nosuch.yaml", 2),
        (env!("CARGO_BIN_EXE_weir"), "plan nosuch.yaml", 2),
        (env!("CARGO_BIN_EXE_weir"), "run --state /dev/null/nosuch --specs .", 1),
        (env!("CARGO_BIN_EXE_ctl"), "--state /nosuch get pools", 3),
        (env!("CARGO_BIN_EXE_ctl"), "submit jobs {}", 2),
    ] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ran = Command::new(program).args(words.split(' ')).stderr(writer).status().unwrap();
        assert_eq!(ran.code(), Some(code), "{words}");
    }
}
