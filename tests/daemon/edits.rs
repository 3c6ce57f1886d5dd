//! What people change by way of `ctl`: the files must say exactly that afterwards, comments and all.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};
use std::thread;

use serde_json::json;

use crate::harness::Scratch;
use crate::socket;

/// Run the client against the daemon of a scratch directory.
fn ctl(scratch: &Scratch, editor: &str, words: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
    command.arg("--state").arg(scratch.dir.join("state")).args(words).current_dir(&scratch.dir).stdin(Stdio::null());
    command.env_clear().env("TMPDIR", &scratch.dir).env("EDITOR", editor).env("PATH", "/usr/bin:/bin");
    let Output { status, stdout, stderr } = command.output().expect("ctl runs");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().unwrap_or(-1), text(stdout), text(stderr))
}

/// A script as an editor: it is given the file's name.
fn editor(scratch: &Scratch, script: &str) -> String {
    let path = scratch.dir.join("editor");
    fs::write(&path, script).expect("written");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("made private");
    format!("/bin/sh {}", path.display())
}

/// Two documents in one file, as people write them.
fn shop(scratch: &Scratch) -> String {
    format!(
        "# licence\n\n# the first\n{}  # the end\n---\n# the second\n{}",
        scratch.pool("a", 1, "", "").replace("  replicas: 1", "  # how many\n  replicas:   1   # one"),
        scratch.pool("b", 1, "", "")
    )
}

fn furnished() -> (Scratch, String) {
    let mut scratch = Scratch::new();
    let text = shop(&scratch);
    scratch.put("shop.yaml", &text);
    scratch.start();
    scratch.wait_workers(2);
    scratch.wait_status("workerpools", "a", |pool| pool["status"]["readyReplicas"] == 1);
    (scratch, text)
}

fn file(scratch: &Scratch, name: &str) -> String {
    fs::read_to_string(scratch.spec(name)).unwrap_or_default()
}

/// The text that was put aside, named at the end of a line on stderr.
fn kept(err: &str) -> String {
    let path = err.lines().find_map(|line| line.split_once(" is in ")).map(|(_, path)| path.trim());
    fs::read_to_string(path.expect(err)).expect(err)
}

#[test]
fn what_is_deleted_by_name_is_removed_however_much_it_is() {
    let mut scratch = Scratch::new().with(&["--prune-grace", "1s"]);
    ["a", "b", "c"].iter().for_each(|name| scratch.put(&format!("{name}.yaml"), &scratch.pool(name, 1, "", "")));
    scratch.start();
    scratch.wait_workers(3);
    let (code, out, err) = ctl(&scratch, "", &["delete", "pool/a", "pool/b"]);
    assert_eq!(
        (code, out.as_str()),
        (0, "pool/a deleted; its workers are stopped in 1s\npool/b deleted; its workers are stopped in 1s\n"),
        "{err}"
    );
    let left = scratch.wait_workers(1);
    assert!(left.contains_key("c-0") && !scratch.log().contains("ctl prune --confirm"), "{left:?}\n{}", scratch.log());
    let log = scratch.log();
    assert!(log.contains("its document was removed, as asked") && !log.contains("! pool/a"), "{log}");
}

#[test]
fn an_edit_is_of_the_authors_own_text() {
    let (scratch, text) = furnished();
    let edit = |script: &str| ctl(&scratch, &editor(&scratch, script), &["edit", "pool/a"]);
    let (code, out, err) =
        edit("cp \"$1\" seen; sed -i 's/replicas:   1   # one/replicas:   2   # two/; s/the first/the 1st/' \"$1\"");
    assert_eq!((code, out.as_str()), (0, "pool/a edited\n"), "{err}");
    let seen = file(&scratch, "../seen");
    assert!(seen.starts_with("#| shop.yaml:1. ") && seen.ends_with(text.split("---\n").next().expect("the first")), "{seen}");
    let edited = text.replace("replicas:   1   # one", "replicas:   2   # two").replace("the first", "the 1st");
    assert_eq!(file(&scratch, "shop.yaml"), edited);
    scratch.wait_workers(3);
    assert_eq!(edit("exit 0").1, "Edit cancelled, no changes made.\n");
    assert_eq!(file(&scratch, "shop.yaml"), edited);
    let (_, out, err) = ctl(&scratch, &editor(&scratch, "sed -i 's/replicas: 1/replicas: 0/' \"$1\""), &["edit", "pool/b"]);
    assert_eq!(out, "pool/b edited\n", "{err}");
    assert_eq!(file(&scratch, "shop.yaml"), edited.replace("replicas: 1", "replicas: 0"));
}

#[test]
fn what_was_typed_is_never_lost() {
    let (scratch, text) = furnished();
    let edit = |script: &str| ctl(&scratch, &editor(&scratch, script), &["edit", "pool/a"]);
    for (script, why, typed) in [
        ("sed -i 's/name: a}/name: c}/' \"$1\"", "was WorkerPool a and is WorkerPool c now", "name: c}"),
        ("sed -i 's/replicas:   1/replicas:   many/' \"$1\"", "replicas", "replicas:   many"),
        ("sed -i 's/kind: WorkerPool/kind: Pool/' \"$1\"", "unknown kind", "kind: Pool"),
    ] {
        let (code, out, err) = edit(&format!("cp \"$1\" seen; {script}"));
        assert!(code == 1 && out.is_empty() && err.contains("no valid changes were saved"), "{out}{err}");
        let seen = file(&scratch, "../seen");
        assert!(seen.contains(why), "the editor opens again and says why: {seen}");
        assert!(kept(&err).contains(typed) && !kept(&err).contains("#| "), "{}", kept(&err));
        assert_eq!(file(&scratch, "shop.yaml"), text);
    }
    // Mended the second time.
    let (code, out, err) = edit(
        "if test -e once; then sed -i 's/many/2/' \"$1\"; else touch once; sed -i 's/replicas:   1/replicas:   many/' \"$1\"; fi",
    );
    assert_eq!((code, out.as_str()), (0, "pool/a edited\n"), "{err}");
    // No person: it does the same to each text that it is given, and to what is said above it.
    let again = "echo x >> runs; test $(wc -l < runs) -lt 9 || exit 9;";
    for sed in ["s/ a / A /; s/name: a}/name: c}/", "s/a/aa/g; s/aaa*/aa/g", "s/| /- /; s/name: a}/name: c}/"] {
        fs::remove_file(scratch.dir.join("runs")).ok();
        let (code, out, err) = edit(&format!("{again} sed -i '{sed}' \"$1\""));
        assert!(code == 1 && out.is_empty() && err.contains("no valid changes were saved"), "{sed}: {out}{err}");
        assert!(kept(&err).contains("WorkerPool") && file(&scratch, "../runs").lines().count() == 2, "{sed}: {}", kept(&err));
    }
    // The editor fails, or leaves what is no text.
    let (code, _, err) = edit("echo typed >> \"$1\"; exit 3");
    assert!(code == 1 && kept(&err).ends_with("typed\n"), "{err}");
    let (code, _, err) = edit("printf '\\377' >> \"$1\"");
    assert!(code == 1 && err.contains("not UTF-8"), "{err}");
}

#[test]
fn a_file_that_changed_meanwhile_is_a_conflict() {
    let (scratch, text) = furnished();
    let spec = scratch.spec("shop.yaml");
    for (name, change) in [
        ("changed", format!("sed -i 's/# the end/# the very end/' {}", spec.display())),
        ("removed", format!("rm {}", spec.display())),
    ] {
        let script = format!("{change}; sed -i 's/replicas:   1/replicas:   3/' \"$1\"");
        let (code, out, err) = ctl(&scratch, &editor(&scratch, &script), &["edit", "pool/a"]);
        assert!(code == 1 && out.is_empty() && err.contains("(Conflict)") && err.contains(name), "{out}{err}");
        assert!(kept(&err).contains("replicas:   3"), "{err}");
        assert!(!file(&scratch, "shop.yaml").contains("replicas:   3"));
        scratch.put("shop.yaml", &text);
    }
    // Another document of the file is no concern of this one.
    let other = format!("sed -i 's/# the second/# the 2nd/' {}", spec.display());
    let (code, _, err) = ctl(
        &scratch,
        &editor(&scratch, &format!("{other}; sed -i 's/replicas:   1/replicas:   2/' \"$1\"")),
        &["edit", "pool/a"],
    );
    assert_eq!(code, 0, "{err}");
    assert_eq!(file(&scratch, "shop.yaml"), text.replace("# the second", "# the 2nd").replace("replicas:   1", "replicas:   2"));
}

#[test]
fn applying_twice_is_applying_once() {
    let (scratch, text) = furnished();
    let apply = || ctl(&scratch, "", &["apply", "-f", "mine.yaml"]);
    let mine = |text: &str| fs::write(scratch.dir.join("mine.yaml"), text).expect("written");
    mine(&text);
    assert_eq!(apply().1, "pool/a unchanged\npool/b unchanged\n");
    assert_eq!(file(&scratch, "shop.yaml"), text);
    // Both documents of one file change, and with them their comments.
    let changed = text
        .replace("replicas: 1", "replicas: 0")
        .replace("replicas:   1   # one", "replicas: 2 # two")
        .replace("the second", "the 2nd");
    mine(&changed);
    for out in ["pool/a configured\npool/b configured\n", "pool/a unchanged\npool/b unchanged\n"] {
        assert_eq!(apply().1, out);
        assert_eq!(file(&scratch, "shop.yaml"), changed);
    }
    // Saying the same in other words, without comments, costs nobody's.
    mine(&scratch.pool("a", 2, "", ""));
    assert_eq!(apply().1, "pool/a unchanged\n");
    assert_eq!(file(&scratch, "shop.yaml"), changed);
    let fresh = format!("# all about it\n\n# fresh\n{}# end\n", scratch.pool("fresh", 0, "", ""));
    mine(&fresh);
    for out in ["pool/fresh created\n", "pool/fresh unchanged\n"] {
        assert_eq!(apply().1, out);
        assert_eq!(file(&scratch, "fresh.yaml"), fresh);
    }
}

#[test]
fn a_pause_leaves_nothing_behind() {
    let (scratch, text) = furnished();
    let scaled = scratch.pool("s", 1, "", "").replace(
        "  replicas: 1\n",
        &format!("  scale: # by files\n    minReplicas: 1\n    maxReplicas: 2\n    triggers:\n    - {{name: q, files: {{glob: {}/q/*}}, targetPerWorker: 1}}\n", scratch.dir.display()),
    );
    scratch.put("s.yaml", &scaled);
    scratch.wait_workers(3);
    let ctl = |words: &str| ctl(&scratch, "", &words.split(' ').collect::<Vec<_>>());
    assert_eq!(ctl("resume pool/s").1, "pool/s was not paused\n");
    assert_eq!(ctl("pause pool/s --for 1h").1, "pool/s paused for 1h\n");
    assert!(file(&scratch, "s.yaml").contains("weir.dev/paused-until"));
    assert_eq!(ctl("pause pool/s").1, "pool/s paused\n");
    assert_eq!(ctl("resume pool/s").1, "pool/s resumed\n");
    assert_eq!(file(&scratch, "s.yaml"), scaled);
    let (code, _, err) = ctl("pause pool/s --for 0s");
    assert!(code == 2 && err.contains("ctl resume"), "{err}");
    let (code, _, err) = ctl("pause pool/a");
    assert!(code == 1 && err.contains("spec.replicas: 1") && err.contains("ctl scale"), "{err}");
    let (code, _, err) = ctl("scale pool/s --replicas 2");
    assert!(code == 1 && err.contains("minReplicas (1 now)") && err.contains("maxReplicas (2 now)"), "{err}");
    scratch.put("s.yaml", &scaled.replace("minReplicas: 1", "paused: true\n    minReplicas: 1"));
    scratch.wait_status("workerpools", "s", |pool| pool["spec"]["scale"]["paused"] == true);
    let (code, _, err) = ctl("resume pool/s");
    assert!(code == 1 && err.contains("spec.scale.paused: true"), "{err}");
    assert_eq!(file(&scratch, "shop.yaml"), text);
}

#[test]
fn a_rollout_is_of_what_stands_in_the_file_now() {
    let mut scratch = Scratch::new();
    let text = scratch.pool("web", 2, "", "");
    scratch.put("web.yaml", &text);
    scratch.start();
    scratch.wait_workers(2);
    let status = || ctl(&scratch, "", &["rollout", "status", "pool/web", "--timeout", "60s"]);
    let rolled_out = |command: &str| {
        let (code, out, err) = status();
        assert!(code == 0 && out.ends_with("successfully rolled out\n"), "{out}{err}");
        for pid in scratch.workers().into_values() {
            let runs = fs::read_to_string(format!("/proc/{pid}/cmdline")).expect("a worker");
            assert!(runs.contains(command), "{runs} is not {command}: {out}");
        }
    };
    rolled_out("100000");
    scratch.put("web.yaml", &text.replace("100000", "100001"));
    rolled_out("100001");
    scratch.write("web.yaml", &text.replace("100000", "100002"));
    rolled_out("100002");
    let broken = text.replace("template:", "tmplate:");
    scratch.put("web.yaml", &broken);
    let (code, out, err) = status();
    assert!(code == 1 && !out.contains("success") && err.contains("is refused") && err.contains("web.yaml:6"), "{out}{err}");
    for (words, why) in
        [(["scale", "pool/web", "--replicas=5"], "spec.tmplate"), (["rollout", "restart", "pool/web"], "mend it first")]
    {
        let (code, out, err) = ctl(&scratch, "", &words);
        assert!(code == 1 && out.is_empty() && err.contains(why), "{out}{err}");
    }
    assert_eq!(file(&scratch, "web.yaml"), broken);
    scratch.put("web.yaml", &text);
    rolled_out("100000");
}

#[test]
fn patches_of_many_at_once_all_hold() {
    let (scratch, _) = furnished();
    let door = socket::of(&scratch.dir);
    // Nobody says which version is meant: each change is of whatever stands there, like those of an API server.
    let patch = &|hand: usize, n: usize| {
        let body = json!({"metadata": {"annotations": {format!("hand-{hand}"): n.to_string()}}, "spec": {"replicas": 1 + n % 2}});
        let (code, answer) = socket::answer(&door, "PATCH", "/apis/weir.dev/v1/workerpools/a", &body).expect("an answer");
        assert_eq!(code, 200, "hand {hand}, patch {n}: {answer}");
    };
    thread::scope(|scope| {
        for hand in 0..4 {
            scope.spawn(move || (0..10).for_each(|n| patch(hand, n)));
        }
    });
    let pool = scratch
        .wait_status("workerpools", "a", |pool| pool["metadata"]["annotations"].as_object().is_some_and(|all| all.len() == 4));
    assert!(
        (0..4).all(|hand| file(&scratch, "shop.yaml").contains(&format!("hand-{hand}: \"9\""))),
        "{pool}\n{}",
        file(&scratch, "shop.yaml")
    );
}
