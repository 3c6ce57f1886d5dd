//! Plans over a state that is made by hand, and files in a directory of their own.
//! What a worker's start or end means is tested where it is decided; here it is which are told.

use super::compare::{Before, Kind, PoolChange};
use super::*;
use crate::model::plan::Record;
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
