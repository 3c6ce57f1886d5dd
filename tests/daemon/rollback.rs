//! Going back and winding down: `ctl rollout history|undo` writes what the author wrote before, `ctl drain` takes nothing from a
//! worker that it has already, and a weir that is older than what was kept leaves alone what it does not know.

use std::fs;
use std::process::{Command, Output};

use crate::harness::{Scratch, wait};

fn ctl(scratch: &Scratch, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ctl"));
    command.arg("--state").arg(scratch.dir.join("state")).args(words);
    for (name, value) in [("WEIR_POOL", "work"), ("WEIR_WORKER", "work-0"), ("WEIR_RUN", "1")] {
        command.env(name, value);
    }
    command.output().expect("ctl runs")
}

fn said(scratch: &Scratch, words: &[&str]) -> String {
    let out = ctl(scratch, words);
    assert!(out.status.success(), "{words:?}: {out:?}\n{}", scratch.log());
    String::from_utf8_lossy(&out.stdout).into_owned()
}

/// Until so many revisions are kept: they are written behind what is shown.
fn kept(scratch: &Scratch, wanted: usize) {
    kept_of(scratch, "pool/web", wanted);
}

fn kept_of(scratch: &Scratch, whose: &str, wanted: usize) {
    // A daemon that was just started may not listen yet.
    let rows = || String::from_utf8_lossy(&ctl(scratch, &["rollout", "history", whose]).stdout).lines().skip(2).count();
    wait("revisions", || (rows() == wanted).then_some(()), || format!("{} of {wanted}", rows()));
}

/// It is ready as soon as it runs, and ends at once, time and again.
#[test]
fn a_program_that_ends_soon_after_its_start_halts_the_roll_out() {
    let mut scratch = Scratch::new();
    let strategy = "  updateStrategy: {minReady: 60s}\n";
    scratch.put("web.yaml", &scratch.pool("web", 3, "", strategy));
    scratch.start();
    let before = scratch.wait_workers(3);
    scratch.put("web.yaml", &scratch.pool("web", 3, "[sh, -c, \"sleep 0.2; exit 3\"]", strategy));
    let condition = |pool: &serde_json::Value, kind: &str| {
        let conditions = pool["status"]["conditions"].as_array().cloned().unwrap_or_default();
        conditions.into_iter().find(|condition| condition["type"] == kind).unwrap_or_default()
    };
    scratch.wait_status("workerpools", "web", |pool| condition(pool, "CrashLoop")["status"] == "True");
    let after = scratch.workers();
    for worker in ["web-1", "web-2"] {
        assert_eq!(before.get(worker), after.get(worker), "{worker} runs on\n{}", scratch.log());
    }
    // One that runs is waited for, and that is said.
    scratch.put("web.yaml", &scratch.pool("web", 3, "[sleep, \"200000\"]", strategy));
    let waits = scratch.wait_status("workerpools", "web", |pool| condition(pool, "Progressing")["reason"] == "MinReady");
    let message = condition(&waits, "Progressing")["message"].to_string();
    assert!(message.contains("waiting for web-0 to stay ready for 1m (updateStrategy.minReady)"), "{message}");
    let late = ctl(&scratch, &["rollout", "status", "pool/web", "--timeout", "1s"]);
    let said = String::from_utf8_lossy(&late.stdout);
    assert!(said.contains("1 out of 3 new workers have been updated, waiting for web-0 to stay ready"), "{late:?}");
    scratch.put("web.yaml", &scratch.pool("web", 3, "[sleep, \"200000\"]", "  updateStrategy: {minReady: 0s}\n"));
    said_done(&scratch);
}

fn said_done(scratch: &Scratch) {
    assert!(said(scratch, &["rollout", "status", "pool/web"]).ends_with("pool \"web\" successfully rolled out\n"));
}

#[test]
fn an_undo_brings_back_the_text_with_its_comments() {
    let mut scratch = Scratch::new();
    let first = format!("# as it was first\n{}", scratch.pool("web", 1, "", "")).replace("replicas: 1", "replicas: 1   # one");
    let second = scratch.pool("web", 2, "", "");
    scratch.put("web.yaml", &first);
    scratch.start();
    scratch.wait_workers(1);
    kept(&scratch, 1);
    scratch.put("web.yaml", &second);
    scratch.wait_workers(2);
    kept(&scratch, 2);
    let history = said(&scratch, &["rollout", "history", "pool/web"]);
    assert!(history.contains("2 (current)") && history.contains("spec.replicas 1 → 2"), "{history}");
    assert_eq!(said(&scratch, &["rollout", "history", "pool/web", "--revision", "1"]), first);

    let dry = said(&scratch, &["rollout", "undo", "pool/web", "--dry-run"]);
    assert!(dry.contains("+# as it was first") && dry.ends_with("(dry run)\n"), "{dry}");
    assert_eq!(fs::read_to_string(scratch.spec("web.yaml")).expect("there"), second);
    assert_eq!(said(&scratch, &["rollout", "undo", "pool/web"]), "pool/web rolled back to revision 1: spec.replicas 2 → 1\n");
    assert_eq!(fs::read_to_string(scratch.spec("web.yaml")).expect("there"), first);
    scratch.wait_workers(1);
    kept(&scratch, 3);

    // What was kept outlives the daemon, and a document that is refused goes back to what it said last.
    scratch.kill();
    scratch.start();
    kept(&scratch, 3);
    scratch.put("web.yaml", &first.replace("replicas:", "replica:"));
    let refused = "jsonpath={.status.conditions[?(@.type==\"Accepted\")].status}";
    wait("a refusal", || (said(&scratch, &["get", "pool/web", "-o", refused]) == "False").then_some(()), || scratch.log());
    let lost = ctl(&scratch, &["rollout", "undo", "pool/web"]);
    assert!(lost.status.code() == Some(1) && String::from_utf8_lossy(&lost.stderr).contains("web.yaml:1 "), "{lost:?}");
    let forced = said(&scratch, &["rollout", "undo", "pool/web", "--force"]);
    assert!(forced.starts_with("pool/web rolled back to revision 3: spec.replica"), "{forced}");
    assert_eq!(fs::read_to_string(scratch.spec("web.yaml")).expect("there"), first);
    let none = ctl(&scratch, &["rollout", "undo", "pool/web", "--to-revision", "9"]);
    assert!(none.status.code() == Some(1) && String::from_utf8_lossy(&none.stderr).contains("kept are: 1, 2, 3"), "{none:?}");
}

#[test]
fn a_policy_goes_back_as_a_pool_does() {
    let mut scratch = Scratch::new();
    let first = "apiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: web}   # as it was first\nspec:\n  \
        target: {unit: {name: weir-test-no-such.service}}\n  bounds: {min: {cpu: 1}, max: {cpu: 4}}\n";
    let second = first.replace("max: {cpu: 4}", "max: {cpu: 2}").replace("   # as it was first", "");
    scratch.put("guard.yaml", first);
    scratch.put("web.yaml", &scratch.pool("web", 1, "", ""));
    scratch.start();
    kept_of(&scratch, "policy/web", 1);
    scratch.put("guard.yaml", &second);
    kept_of(&scratch, "policy/web", 2);
    let history = said(&scratch, &["rollout", "history", "policy", "web"]);
    assert!(history.starts_with("policy/web\n") && history.contains("spec.bounds.max.cpu 4 → 2"), "{history}");
    scratch.kill();
    scratch.start();
    kept_of(&scratch, "policy/web", 2);
    assert_eq!(
        said(&scratch, &["rollout", "undo", "policy/web"]),
        "policy/web rolled back to revision 1: spec.bounds.max.cpu 2 → 4\n"
    );
    assert_eq!(fs::read_to_string(scratch.spec("guard.yaml")).expect("there"), first);
    kept_of(&scratch, "policy/web", 3);
    kept(&scratch, 1);
    fs::remove_file(scratch.spec("guard.yaml")).expect("removed");
    let gone = || !scratch.dir.join("state/policy-revisions/web").exists();
    wait("what was kept is gone", || gone().then_some(()), || scratch.log());
    kept(&scratch, 1);
}

#[test]
fn a_drained_worker_finishes_its_task_and_takes_no_other() {
    let mut scratch = Scratch::new();
    let pool = scratch.pool("work", 1, "", "  queue: {delivery: Lease}\n");
    scratch.put("work.yaml", &pool);
    scratch.start();
    let before = scratch.wait_workers(1)["work-0"];
    for payload in ["1", "2"] {
        said(&scratch, &["submit", "work", "--", payload]);
    }
    let token = said(&scratch, &["task", "next", "--wait", "20s", "-o", "jsonpath={.token}"]);
    said(&scratch, &["drain", "worker/work-0", "--no-wait"]);
    let draining = || said(&scratch, &["get", "worker/work-0", "-o", "jsonpath={.status.draining}"]) == "true";
    wait("it shows", || draining().then_some(()), || scratch.log());
    let refused = ctl(&scratch, &["task", "next", "--wait", "1s"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("is being drained"), "{refused:?}");
    assert_eq!(scratch.workers()["work-0"], before, "it is at work");
    let late = ctl(&scratch, &["drain", "worker/work-0", "--timeout", "100ms"]);
    assert!(late.status.code() == Some(1) && String::from_utf8_lossy(&late.stderr).contains("timed out"), "{late:?}");

    // The wish outlives the daemon.
    scratch.kill();
    scratch.start();
    said(&scratch, &["task", "done", token.trim()]);
    let next = wait("another run", || scratch.workers().get("work-0").copied().filter(|pid| *pid != before), || scratch.log());
    assert_ne!(next, before);
    said(&scratch, &["drain", "worker/work-0"]);
    let counts = said(&scratch, &["get", "tasks", "--pool", "work", "-o", "jsonpath={.items[*].state}"]);
    assert!(counts.contains("Succeeded") && counts.contains("Queued"), "{counts}");

    assert!(said(&scratch, &["drain", "pool/work"]).ends_with("pool/work drained\n"));
    wait("it rests", || said(&scratch, &["queue", "work"]).contains("resumed: drained").then_some(()), || scratch.log());
}

/// Change what is kept of the accepted specs, as another weir may have written it.
fn rewrite(scratch: &Scratch, change: impl Fn(&mut serde_json::Value)) {
    let db = rusqlite::Connection::open(scratch.dir.join("state/weir.db")).expect("the store opens");
    let select = "SELECT value FROM meta WHERE key = 'catalogue'";
    let text: String = db.query_row(select, [], |row| row.get(0)).expect("kept");
    let mut kept = serde_json::from_str(&text).expect("JSON");
    change(&mut kept);
    db.execute("UPDATE meta SET value = ?1 WHERE key = 'catalogue'", [kept.to_string()]).expect("written");
}

fn accepted(pool: &serde_json::Value) -> String {
    let conditions = pool["status"]["conditions"].as_array().expect("conditions");
    let found = conditions.iter().find(|condition| condition["type"] == "Accepted").expect("Accepted");
    format!("{} {}", found["reason"].as_str().unwrap_or_default(), found["message"].as_str().unwrap_or_default())
}

#[test]
fn a_weir_that_is_older_than_the_specs_leaves_the_workers_alone() {
    let mut scratch = Scratch::new();
    let fresh = |text: &str| text.replace("    terminationGracePeriod", "    fresh: 1\n    terminationGracePeriod");
    let (a, b) = (scratch.pool("a", 2, "", ""), scratch.pool("b", 1, "", ""));
    scratch.put("a.yaml", &a);
    scratch.put("b.yaml", &b.replace("replicas: 1", "replicas: 2"));
    scratch.start();
    scratch.wait_workers(4);
    scratch.put("b.yaml", &b);
    let before = scratch.wait_workers(3);
    scratch.wait_status("workerpools", "b", |pool| pool["status"]["observedGeneration"] == 2);
    scratch.kill();
    // As a newer weir would have left it: it knows a field that this one does not.
    scratch.put("a.yaml", &fresh(&a));
    rewrite(&scratch, |kept| {
        kept["objects"]
            .as_array_mut()
            .expect("objects")
            .iter_mut()
            .filter(|object| object["document"]["metadata"]["name"] == "a")
            .for_each(|object| object["document"]["spec"]["template"]["fresh"] = 1.into());
    });
    scratch.start();
    let held = scratch.wait_status("workerpools", "a", |pool| accepted(pool).starts_with("Held "));
    assert!(accepted(&held).contains("fresh") && held["status"]["replicas"] == 2, "{held:#?}");
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(scratch.workers(), before, "{}", scratch.log());
    let b = scratch.status("workerpools", "b").expect("there");
    assert_eq!((&b["status"]["observedGeneration"], &b["metadata"]["generation"]), (&2.into(), &2.into()));

    // What ends meanwhile is judged when it is known what was wanted.
    crate::harness::signal(before["a-1"].unsigned_abs(), "KILL");
    scratch.wait_status("workerpools", "a", |pool| pool["status"]["replicas"] == 1);
    std::thread::sleep(std::time::Duration::from_millis(500));
    assert_eq!(scratch.workers().len(), 2, "none is started: {}", scratch.log());
    let refused = ctl(&scratch, &["rollout", "restart", "worker/a-0"]);
    assert!(!refused.status.success(), "{refused:?}");
    scratch.put("a.yaml", &a);
    let after = scratch.wait_workers(3);
    assert_eq!((after["a-0"], after["b-0"]), (before["a-0"], before["b-0"]));
    scratch.wait_status("workerpools", "a", |pool| pool["status"]["observedGeneration"] == 2 && accepted(pool) == "Valid ");
    assert_eq!(scratch.log().matches("a-1 ended: signal 9").count(), 1, "{}", scratch.log());
}

#[test]
fn specs_that_were_accepted_and_are_lost_stop_nobody() {
    let mut scratch = Scratch::new();
    let (a, b) = (scratch.pool("a", 1, "", ""), scratch.pool("b", 1, "", ""));
    scratch.put("a.yaml", &a);
    scratch.put("b.yaml", &b);
    scratch.start();
    let before = scratch.wait_workers(2);
    scratch.kill();
    rewrite(&scratch, |kept| *kept = "damaged".into());
    scratch.put("a.yaml", &a.replace("replicas", "replica"));
    scratch.start();
    scratch.wait_status("workerpools", "a", |pool| accepted(pool).starts_with("Held "));
    scratch.wait_status("workerpools", "b", |pool| accepted(pool) == "Valid " && pool["status"]["observedGeneration"] == 2);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(scratch.workers(), before, "{}", scratch.log());
    // Without its document it goes as any other does.
    fs::remove_file(scratch.spec("a.yaml")).expect("removed");
    scratch.wait_workers(1);
}
