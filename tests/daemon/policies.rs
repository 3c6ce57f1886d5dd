//! Policies with the real programs, on a machine where no systemd manager keeps their limits: they are accepted, it is said
//! that nothing is enforced and why, and everything else works.

use std::process::{Command, Output};

use super::harness::{Scratch, wait};

const POLICY: &str = "# limits of the web\napiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: web}\nspec:\n  target: {unit: {name: weir-test-no-such.service}}\n  checkInterval: 1s\n  mode: Enabled # as a rule\n  bounds: {min: {cpu: 1, memory: 1Gi}, max: {cpu: 4, memory: 8Gi}}\n  manual: {cpu: 2, reason: training}\n";

fn ctl(scratch: &Scratch, words: &[&str]) -> Output {
    let mut ctl = Command::new(env!("CARGO_BIN_EXE_ctl"));
    let ctl = ctl.arg("--state").arg(scratch.dir.join("state")).env("EDITOR", "sed -i s/8Gi/9Gi/");
    ctl.args(words).output().expect("ctl runs")
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

fn condition<'a>(status: &'a serde_json::Value, kind: &str) -> &'a serde_json::Value {
    let all = status["status"]["conditions"].as_array().map(Vec::as_slice).unwrap_or_default();
    all.iter().find(|condition| condition["type"] == kind).unwrap_or(&serde_json::Value::Null)
}

#[test]
fn a_policy_is_accepted_and_says_why_nothing_is_enforced() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", POLICY);
    scratch.put("pool.yaml", &scratch.pool("web", 1, "", ""));
    scratch.start();
    let status = scratch.wait_status("resourcepolicies", "web", |status| {
        condition(status, "TargetFound")["status"] != "Unknown" || condition(status, "LimitsEnforced")["status"] == "False"
    });
    assert_eq!(condition(&status, "Accepted")["status"], "True", "{status:#}");
    assert!(condition(&status, "Applied")["status"] != "True", "{status:#}");
    scratch.wait_workers(1);
    let shown = ctl(&scratch, &["get", "policies", "-o", "wide"]);
    assert!(shown.status.success() && said(&shown).contains("unit/weir-test-no-such.service"), "{}", said(&shown));
    let shown = ctl(&scratch, &["describe", "policy/web"]);
    for words in ["Target:", "LimitsEnforced", "Balanced", "0 up | 0 down"] {
        assert!(said(&shown).contains(words), "{}", said(&shown));
    }
    let shown = ctl(&scratch, &["policy", "history", "web"]);
    assert!(shown.status.success(), "{}", said(&shown));
    let expected = ctl(&scratch, &["policy", "forecast", "web"]);
    assert!(expected.status.success() && !said(&expected).is_empty(), "{}", said(&expected));
    let expected = ctl(&scratch, &["policy", "forecast", "web", "-o", "json"]);
    assert!(said(&expected).contains("\"summary\""), "{}", said(&expected));
    let refused = ctl(&scratch, &["policy", "reset", "web"]);
    assert!(!refused.status.success() && said(&refused).contains("has not failed"), "{}", said(&refused));
    let unknown = ctl(&scratch, &["policy", "history", "nobody"]);
    assert!(!unknown.status.success() && said(&unknown).contains("not found"), "{}", said(&unknown));
}

#[test]
fn mode_and_profile_are_set_in_the_file_with_its_comments() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", POLICY);
    scratch.start();
    scratch.wait_status("resourcepolicies", "web", |status| status["status"]["mode"] == "Enabled");
    let set = ctl(&scratch, &["set", "mode", "policy/web", "Manual"]);
    assert!(set.status.success(), "{}", said(&set));
    assert_eq!(std::fs::read_to_string(scratch.spec("web.yaml")).expect("the spec"), POLICY.replace("Enabled", "Manual"));
    scratch.wait_status("resourcepolicies", "web", |status| status["status"]["mode"] == "Manual");
    assert!(ctl(&scratch, &["set", "profile", "policy", "web", "Aggressive"]).status.success());
    scratch.wait_status("resourcepolicies", "web", |status| status["status"]["profile"] == "Aggressive");
    let refused = ctl(&scratch, &["set", "mode", "policy/web", "Sometimes"]);
    assert!(!refused.status.success() && said(&refused).contains("Sometimes"), "{}", said(&refused));
}

#[test]
fn limits_and_thresholds_are_set_and_a_policy_is_edited_where_it_stands() {
    let mut scratch = Scratch::new();
    scratch.put("web.yaml", POLICY);
    scratch.start();
    scratch.wait_status("resourcepolicies", "web", |status| status["status"]["mode"] == "Enabled");
    let file = || std::fs::read_to_string(scratch.spec("web.yaml")).expect("the spec");
    let spec = || {
        let shown = ctl(&scratch, &["get", "policy/web", "-o", "jsonpath={.spec}"]);
        serde_json::from_slice::<serde_json::Value>(&shown.stdout).expect("its spec")
    };
    // What is told is shown by the next look already.
    let set = ctl(&scratch, &["set", "manual", "policy/web", "memory=3Gi", "reason=7 builds"]);
    assert_eq!(said(&set), "policy/web manual is memory=3Gi reason=7 builds\n");
    assert_eq!(
        (&spec()["mode"], &spec()["manual"]),
        (&"Manual".into(), &serde_json::json!({"memory": "3Gi", "reason": "7 builds"}))
    );
    let set = ctl(&scratch, &["set", "thresholds", "policy", "web", "scaleUp.cpu=71", "pressure.io=9"]);
    assert!(set.status.success(), "{}", said(&set));
    assert_eq!((&spec()["scaleUp"]["cpu"], &spec()["pressure"]["io"]), (&71.into(), &9.into()));
    assert!(file().starts_with("# limits of the web\n") && file().contains("# as a rule"), "{}", file());
    let before = file();
    for words in [
        ["set", "manual", "policy/web", "gpu=1"],
        ["set", "manual", "policy/web", "cpu=lots"],
        ["set", "thresholds", "policy/web", "scaleUp.cpu=900"],
    ] {
        let refused = ctl(&scratch, &words);
        assert!(!refused.status.success() && !said(&refused).is_empty(), "{words:?}: {}", said(&refused));
    }
    assert_eq!(file(), before);
    let edited = ctl(&scratch, &["edit", "policy/web"]);
    assert!(edited.status.success(), "{}", said(&edited));
    assert_eq!((file(), &spec()["bounds"]["max"]["memory"]), (before.replace("8Gi", "9Gi"), &"9Gi".into()));
}

#[test]
fn a_deleted_policy_lets_go_and_a_restart_keeps_its_identity() {
    let mut scratch = Scratch::new().with(&["--prune-grace", "0s"]);
    scratch.put("web.yaml", POLICY);
    scratch.start();
    let uid = |status: &serde_json::Value| status["metadata"]["uid"].clone();
    let first = uid(&scratch.wait_status("resourcepolicies", "web", |status| status["status"]["mode"] == "Enabled"));
    scratch.kill();
    // What the killed daemon wrote last says nothing of the next one.
    std::fs::remove_file(scratch.dir.join("state/status/resourcepolicies/web.yaml")).expect("it was there");
    scratch.start();
    assert_eq!(uid(&scratch.wait_status("resourcepolicies", "web", |_| true)), first);
    let gone = ctl(&scratch, &["delete", "policy/web"]);
    assert!(gone.status.success(), "{}", said(&gone));
    wait("its end", || scratch.status("resourcepolicies", "web").is_none().then_some(()), || scratch.log());
    wait("a line", || scratch.log().contains("stay as they are").then_some(()), || scratch.log());
}
