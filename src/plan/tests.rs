//! Plans over a state that is made by hand, and files in a directory of their own.
//! What a worker's start or end means is tested where it is decided; here it is which are told.

use super::compare::{Before, Kind, PoolChange};
use super::*;
use crate::model::document;
use crate::model::plan::Record;
use crate::model::policy_plan::StoredPolicy;
use crate::model::policy_status::PolicyUsage;
use crate::model::quantity::Memory;
use crate::model::time::Wall;
use crate::model::worker::SlotId;

fn document(name: &str, spec: &str) -> String {
    format!("---\napiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {{name: {name}}}\nspec: {spec}\n")
}

fn whole(files: &[(&str, String)]) -> Whole {
    let mut whole = Whole::default();
    for (name, text) in files {
        let content = Content { hash: text.clone(), documents: document::parse(text.as_bytes()) };
        let content = Ok(Arc::new(content));
        whole.files.insert((*name).into(), File { stamp: Stamp::default(), arrival: Arrival::RenamedIn, content });
    }
    whole
}

/// What is accepted from these files, with every worker that they want alive.
fn before(files: &[(&str, String)], alive: &[(&str, &str)]) -> Before {
    let catalogue = admitted(&Catalogue::default(), whole(files));
    let facts = crate::engine::catalogue::pools(&catalogue);
    let slots = alive.iter().map(|(pool, worker)| {
        let template = facts.get(*pool).map(|facts| facts.template.clone()).unwrap_or_default();
        let id = SlotId { pool: (*pool).into(), worker: (*worker).into() };
        (id, Record { incarnation: 3, recorded: 2, template, ..Record::default() })
    });
    Before { slots: slots.collect(), catalogue, ..Before::default() }
}

fn planned(before: &Before, files: &[(&str, String)]) -> Vec<PoolChange> {
    compare::pools(before, &admitted(&before.catalogue, whole(files)))
}

const TWO: &str = "{replicas: 2, template: {command: [sleep, '1']}}";

#[test]
fn the_same_files_change_nothing() {
    let files = [("a.yaml", document("web", TWO))];
    assert_eq!(planned(&before(&files, &[("web", "web-0"), ("web", "web-1")]), &files), []);
}

#[test]
fn a_pool_grows_shrinks_and_is_replaced() {
    let now = before(&[("a.yaml", document("web", TWO))], &[("web", "web-0"), ("web", "web-1")]);
    for (spec, started, stopped, replaced) in [
        ("{replicas: 3, template: {command: [sleep, '1']}}", &["web-2"] as &[&str], &[] as &[&str], &[] as &[&str]),
        ("{replicas: 1, template: {command: [sleep, '1']}}", &[], &["web-1"], &[]),
        ("{replicas: 2, template: {command: [sleep, '2']}}", &[], &[], &["web-0", "web-1"]),
        ("{replicas: 3, template: {command: [sleep, '2']}}", &["web-2"], &[], &["web-0", "web-1"]),
        ("{scale: {maxReplicas: 1}, template: {command: [sleep, '1']}}", &[], &["web-1"], &[]),
        ("{scale: {maxReplicas: 9}, template: {command: [sleep, '1']}}", &[], &[], &[]),
    ] {
        let changes = planned(&now, &[("a.yaml", document("web", spec))]);
        let [change] = changes.as_slice() else { panic!("{spec}: {changes:?}") };
        let told = (&change.started[..], &change.stopped[..], &change.replaced[..]);
        assert_eq!(told.0, started, "{spec}");
        assert_eq!(told.1, stopped, "{spec}");
        assert_eq!(told.2, replaced, "{spec}");
        assert!(change.kind == Kind::Changed && !change.fields.is_empty(), "{change:?}");
    }
}

#[test]
fn pools_come_and_go_but_not_many_at_once() {
    let files = |names: &[&str]| names.iter().map(|name| document(name, TWO)).collect::<String>();
    let now = before(&[("a.yaml", files(&["a", "b", "c"]))], &[("a", "a-0"), ("a", "a-1")]);
    let changes = planned(&now, &[("a.yaml", files(&["b", "c", "d"]))]);
    let told: Vec<_> = changes.iter().map(|change| (change.name.as_str(), change.kind)).collect();
    assert_eq!(told, [("a", Kind::Removed), ("d", Kind::Added)]);
    assert_eq!((changes[0].stopped.len(), &changes[1].started[..]), (2, &["d-0".to_owned(), "d-1".to_owned()][..]));
    let changes = planned(&now, &[("a.yaml", files(&["c"]))]);
    let told: Vec<_> = changes.iter().map(|change| (change.name.as_str(), change.kind)).collect();
    assert_eq!(told, [("a", Kind::Blocked), ("b", Kind::Blocked)]);
}

#[test]
fn a_refused_document_keeps_what_runs() {
    let now = before(&[("a.yaml", document("web", TWO))], &[]);
    let bad = whole(&[("a.yaml", document("web", "{replica: 3, template: {command: [a]}}"))]);
    let after = admitted(&now.catalogue, bad);
    assert_eq!(compare::pools(&now, &after), []);
    assert_eq!(after.refused.len(), 1);
}

fn policy(name: &str, spec: &str) -> String {
    format!("---\napiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n")
}

const LIMITED: &str = "target: {unit: {name: a.service}}, bounds: {min: {memory: 1Gi}, max: {memory: 8Gi}}";

/// A policy that has looked at its target, which may use 4Gi and uses 2.
fn looked_at(files: &[(&str, String)]) -> Before {
    let mut before = before(files, &[]);
    let mut stored = StoredPolicy { created: Wall(1), since: Wall(1), ..StoredPolicy::default() };
    stored.status.target = "unit/a.service".into();
    stored.status.limits.memory = Some(Memory(4 << 30));
    let time = Wall(1_700_000_000_000);
    stored.status.usage = Some(PolicyUsage { time, memory_bytes: Some(2 << 30), ..PolicyUsage::default() });
    before.policies.insert("p".into(), stored);
    before
}

#[test]
fn what_an_edit_of_a_policy_does_is_what_its_first_look_would_do() {
    let now = looked_at(&[("a.yaml", policy("p", LIMITED))]);
    let unit = |bounds: &str, more: &str| format!("target: {{unit: {{name: a.service}}}}, bounds: {{{bounds}}}{more}");
    let memory = |min: &str, max: &str| format!("min: {{memory: {min}}}, max: {{memory: {max}}}");
    let cases = [
        (unit(&memory("1Gi", "16Gi"), ""), vec!["no limit is changed at its first look: memory 4Gi hold"]),
        (unit(&memory("6Gi", "8Gi"), ""), vec!["limits: memory 4Gi -> memory 6Gi (it was outside the bounds)"]),
        (
            unit(&memory("1Gi", "3Gi"), ", apply: Restart"),
            vec!["limits: memory 4Gi -> memory 3Gi (it was outside the bounds), and it is restarted for that"],
        ),
        (
            unit(&memory("1Gi", "1536Mi"), ""),
            vec![
                "no limit is changed at its first look: memory 4Gi hold",
                "memory is not lowered to 1536Mi while more is used, or while that is not known",
            ],
        ),
        (
            unit(&memory("1Gi", "8Gi"), ", mode: Manual, manual: {memory: 5Gi, reason: a test}"),
            vec!["limits: memory 4Gi -> memory 5Gi (a test)"],
        ),
        (
            unit(&memory("1Gi", "8Gi"), ", mode: Disabled"),
            vec!["unit/a.service is looked at, and its limits are left as they are"],
        ),
        (
            LIMITED.replace("a.service", "b.service"),
            vec!["what unit/b.service uses and may use is not known yet: its first look decides"],
        ),
        (LIMITED.replace("unit: {name: a.service}", "pool: none"), vec!["it does nothing: there is no pool/none"]),
    ];
    for (spec, effects) in cases {
        let after = admitted(&now.catalogue, whole(&[("a.yaml", policy("p", &spec))]));
        let changes = policies::policies(&now, &after);
        let [change] = changes.as_slice() else { panic!("{spec}: {changes:?}") };
        assert_eq!(
            (change.kind, change.fields.is_empty(), &change.effects),
            (Kind::Changed, false, &effects.iter().map(|e| (*e).to_owned()).collect()),
            "{spec}"
        );
    }
}

/// What the host has left beside its reserve and the other policies bounds a plan as it bounds the change.
#[test]
fn a_plan_heeds_what_the_host_has_left_beside_all_other_policies() {
    let other = policy("q", &LIMITED.replace("a.service", "b.service").replace("max: {memory: 8Gi}", "max: {memory: 64Gi}"));
    let manual =
        |much: &str| policy("p", &format!("{}, reserve: {{memory: 2Gi}}, mode: Manual, manual: {{memory: {much}}}", LIMITED));
    let mut now = looked_at(&[("a.yaml", policy("p", LIMITED)), ("b.yaml", other.clone())]);
    now.capacity.memory = Some(Memory(16 << 30));
    let told = |now: &Before, much: &str, other: &str| {
        let after = admitted(&now.catalogue, whole(&[("a.yaml", manual(much)), ("b.yaml", other.to_owned())]));
        let changes = policies::policies(now, &after);
        changes.into_iter().find(|change| change.name == "p").expect("it differs").effects
    };
    let unknown = "what policy/q may give is not known yet: it is not taken off what the host has left";
    let set = |much: &str| format!("limits: memory 4Gi -> memory {much} (mode Manual)");
    assert_eq!(told(&now, "8Gi", &other), [set("8Gi"), unknown.to_owned()]);
    let mut stored = now.policies["p"].clone();
    (stored.status.target, stored.status.limits.memory) = ("unit/b.service".into(), Some(Memory(9 << 30)));
    now.policies.insert("q".into(), stored.clone());
    assert_eq!(told(&now, "5Gi", &other), [set("5Gi")]);
    assert_eq!(told(&now, "8Gi", &other), [set("5Gi")], "16Gi less 9Gi and 2Gi: as much of it as there is");
    assert_eq!(
        told(&now, "8Gi", &other.replace("spec: {", "spec: {mode: Disabled, ")),
        [set("8Gi")],
        "that one counts for nothing"
    );
    stored.pending = Some(crate::model::limits::LimitChange {
        new: crate::model::policy::Amounts { memory: Some(Memory(10 << 30)), ..Default::default() },
        ..Default::default()
    });
    now.policies.insert("q".into(), stored);
    let host = "memory would be 8Gi, and the host has no more to give beside its reserve";
    let nothing = "no limit is changed at its first look: memory 4Gi hold";
    assert_eq!(told(&now, "8Gi", &other), [nothing, host], "what is about to be given is gone too");
    // Where only files are given, what they do not name counts as it is.
    now.other_policies = crate::engine::catalogue::policies(&now.catalogue);
    now.other_policies.retain(|name, _| name == "q");
    now.catalogue.objects.retain(|key, _| key.name == "p");
    let after = admitted(&now.catalogue, whole(&[("a.yaml", manual("8Gi"))]));
    assert_eq!(policies::policies(&now, &after)[0].effects, [nothing, host]);
}

#[test]
fn policies_come_and_go_and_two_are_not_for_one_target() {
    let now = looked_at(&[("a.yaml", policy("p", LIMITED))]);
    let told = |documents: String| {
        let changes = policies::policies(&now, &admitted(&now.catalogue, whole(&[("a.yaml", documents)])));
        changes.into_iter().map(|change| (change.name, change.kind, change.effects.concat())).collect::<Vec<_>>()
    };
    assert_eq!(told(policy("p", LIMITED)), []);
    let gone = "the limits of unit/a.service stay as they are: memory 4Gi".to_owned();
    let new = "what unit/b.service uses and may use is not known yet: its first look decides".to_owned();
    let other = policy("q", &LIMITED.replace("a.service", "b.service"));
    assert_eq!(told(other), [("p".into(), Kind::Removed, gone), ("q".into(), Kind::Added, new)]);
    let rival = "it does nothing: policy/p has the same target, unit/a.service".to_owned();
    assert_eq!(told(policy("p", LIMITED) + &policy("a", LIMITED)), [("a".into(), Kind::Added, rival)]);
}

#[test]
fn a_plan_of_a_policy_reads_so() {
    let now = looked_at(&[("a.yaml", policy("p", LIMITED))]);
    let after =
        admitted(&now.catalogue, whole(&[("a.yaml", policy("p", &LIMITED.replace("min: {memory: 1Gi}", "min: {memory: 6Gi}")))]));
    let policies = policies::policies(&now, &after);
    let planned = Planned {
        pools: Vec::new(),
        policies,
        refused: Vec::new(),
        conflicts: Vec::new(),
        held: BTreeSet::new(),
        notes: Vec::new(),
    };
    let expected = "\
~ policy/p  a.yaml:2
    spec.bounds.min.memory: \"1Gi\" -> \"6Gi\"
    limits: memory 4Gi -> memory 6Gi (it was outside the bounds)
pools: 0 added, 0 changed, 0 removed, 0 blocked, 0 refused; workers: 0 started, 0 stopped, 0 replaced; policies: 1 differ
";
    assert_eq!(print::text(&planned), expected);
    let json: serde_json::Value = serde_json::from_str(&print::json(&planned)).unwrap();
    assert_eq!(json["policies"][0]["change"], "changed");
}
