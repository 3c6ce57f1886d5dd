//! From what was admitted to what pools are decided on, and to what people are told of it.
//! Pure translation: nothing is decided here and nothing is done.

use std::collections::BTreeMap;

use crate::decide::admit::Change;
use crate::edge::specs::NAME_RULE;
use crate::edge::systemd::own_manager;
use crate::model::catalogue::{Catalogue, Object, ObjectKey, Standing};
use crate::model::cgroup::Controllers;
use crate::model::document::Violation;
use crate::model::meta::{Kind, quoted};
use crate::model::plan::{Ending, PoolFacts};
use crate::model::policy::ResourcePolicy;
use crate::model::policy_plan::PolicyFacts;
use crate::model::pool::WorkerPool;
use crate::model::status::{EventType, Source};
use crate::model::time::Wall;

/// The annotation that makes every worker of a pool be replaced when it changes: `ctl rollout restart` sets it.
pub const RESTARTED_AT: &str = "weir.dev/restartedAt";

/// Every pool that is accepted, as it stands.
pub fn pools(catalogue: &Catalogue) -> BTreeMap<String, PoolFacts> {
    catalogue.pools().map(|(key, object, pool)| (key.name.clone(), facts(catalogue, key, object, pool))).collect()
}

/// The same, with what this machine cannot hold of their workers' limits.
pub(super) fn pools_here(catalogue: &Catalogue, controllers: &Controllers) -> BTreeMap<String, PoolFacts> {
    let mut all = pools(catalogue);
    for pool in all.values_mut() {
        pool.unenforced = pool.spec.template.resources.and_then(|resources| controllers.lack(&resources.limits));
    }
    all
}

fn facts(catalogue: &Catalogue, key: &ObjectKey, object: &Object, pool: &WorkerPool) -> PoolFacts {
    let blocked = catalogue.prune.as_ref().filter(|prune| prune.keys.contains(key));
    let mut template = pool.spec.template_hash();
    if let Some(at) = pool.metadata.annotations.get(RESTARTED_AT) {
        template = format!("{template}-{}", at.replace(|c: char| !c.is_ascii_alphanumeric(), ""));
    }
    PoolFacts {
        name: key.name.clone(),
        spec: pool.spec.clone(),
        template,
        generation: object.generation,
        source: source(catalogue, object),
        labels: pool.metadata.labels.clone(),
        annotations: pool.metadata.annotations.clone(),
        refused: refused(catalogue, key, object),
        unreadable: catalogue.unreadable.clone(),
        degraded: catalogue.degraded.clone(),
        unenforced: None,
        ending: object.is_terminating().then_some(Ending::Removed),
        held: object.unread.as_ref().map(|unread| format!("what was kept of it does not read here: {}", unread.why)),
        vanished: matches!(object.standing, Standing::Vanished { .. }),
        prune_blocked: blocked.map(|prune| prune.token.clone()),
    }
}

fn source(catalogue: &Catalogue, object: &Object) -> Source {
    let revision = catalogue.revision.as_ref().map(|revision| {
        let short = revision.commit.get(..12).unwrap_or(&revision.commit);
        if revision.dirty { format!("{short}-dirty") } else { short.to_owned() }
    });
    let line = usize::try_from(object.source.line).unwrap_or(usize::MAX);
    Source { file: object.source.file.clone(), line, revision }
}

fn refused(catalogue: &Catalogue, key: &ObjectKey, object: &Object) -> Option<String> {
    match &object.standing {
        Standing::Good | Standing::Vanished { .. } | Standing::Terminating { .. } => None,
        Standing::Held { violations } => Some(all(&object.source.file, violations)),
        Standing::Conflict => {
            let places = catalogue.conflicts.get(key).cloned().unwrap_or_default();
            let places: Vec<String> = places.iter().map(|place| format!("{}:{}", place.file, place.line)).collect();
            Some(format!("more than one document names it: {}", places.join(", ")))
        }
    }
}

fn all(file: &str, violations: &[Violation]) -> String {
    violations.iter().map(|violation| violation.at(file)).collect::<Vec<_>>().join("; ")
}

/// Every policy that is accepted, as it stands.
pub fn policies(catalogue: &Catalogue) -> BTreeMap<String, PolicyFacts> {
    let all = catalogue.objects.iter().filter_map(|(key, object)| Some((key, object, object.policy()?)));
    all.map(|(key, object, policy)| (key.name.clone(), policy_facts(catalogue, key, (object, policy)))).collect()
}

fn policy_facts(catalogue: &Catalogue, key: &ObjectKey, (object, policy): (&Object, &ResourcePolicy)) -> PolicyFacts {
    let blocked = catalogue.prune.as_ref().filter(|prune| prune.keys.contains(key));
    let known = |pool: &String| catalogue.objects.contains_key(&ObjectKey::pool(pool));
    PolicyFacts {
        name: key.name.clone(),
        spec: policy.spec.clone(),
        target: policy.spec.target.named(own_manager()),
        generation: object.generation,
        source: source(catalogue, object),
        labels: policy.metadata.labels.clone(),
        annotations: policy.metadata.annotations.clone(),
        refused: refused(catalogue, key, object),
        rival: None,
        poolless: policy.spec.target.pool.as_ref().is_some_and(|pool| !known(pool)),
        unreadable: catalogue.unreadable.clone(),
        removed: object.is_terminating(),
        prune_blocked: blocked.map(|prune| prune.token.clone()),
    }
}

/// Of the policies with one target only the first that came does anything; the others name it.
pub fn rivals(all: &mut BTreeMap<String, PolicyFacts>, created: impl Fn(&str) -> Wall) {
    let mut order: Vec<(Wall, String)> = all.keys().map(|name| (created(name), name.clone())).collect();
    order.sort();
    let mut taken: BTreeMap<String, String> = BTreeMap::new();
    for (_, name) in order {
        let Some(facts) = all.get_mut(&name).filter(|facts| !facts.removed) else { continue };
        match taken.get(&facts.target) {
            Some(first) => facts.rival = Some(first.clone()),
            None => drop(taken.insert(facts.target.clone(), name)),
        }
    }
}

/// Most files named that are overlooked.
const OVERLOOKED_NAMED: usize = 5;

/// What is about no object, but about the directory as a whole.
const SPECS: &str = "specs";

/// What to tell people of a change: what it is about, how serious, a word and a sentence.
pub(super) fn words(change: &Change, catalogue: &Catalogue) -> (String, EventType, &'static str, String) {
    let normal = |key: &ObjectKey, reason, note| (key.to_string(), EventType::Normal, reason, note);
    let warning = |about: &str, reason, note| (about.to_owned(), EventType::Warning, reason, note);
    let calm = |reason, note: &str| (SPECS.to_owned(), EventType::Normal, reason, note.to_owned());
    match change {
        Change::Accepted { key, source } => normal(key, "Accepted", format!("accepted from {}:{}", source.file, source.line)),
        Change::Updated { key, generation, source } => {
            normal(key, "Updated", format!("changed in {}:{}, now generation {generation}", source.file, source.line))
        }
        Change::Relabelled { key, what, source } => {
            normal(key, "Updated", format!("{} changed in {}:{}", what.join(", "), source.file, source.line))
        }
        Change::Refused(refused) => {
            let violations = all(&refused.source.file, &refused.violations);
            let about = match (refused.kind, &refused.name) {
                (Some(kind), Some(name)) => ObjectKey { kind, name: name.clone() }.to_string(),
                (_, _) => format!("{SPECS}/{}", refused.source.file),
            };
            let then = if catalogue.replaces_nothing(refused) { "" } else { ", what ran before runs on" };
            warning(&about, "Refused", format!("refused{then}: {violations}"))
        }
        Change::Restored { key } => normal(key, "Accepted", "its document is good again".into()),
        Change::Conflict { key, sources } => {
            let places: Vec<String> = sources.iter().map(|place| format!("{}:{}", place.file, place.line)).collect();
            let then = if catalogue.objects.contains_key(key) { "replaces what runs" } else { "counts" };
            let note = format!("named by more than one document, so none {then}: {}", places.join(", "));
            warning(&key.to_string(), "Conflict", note)
        }
        Change::Vanished { key, asked: false, .. } => {
            warning(&key.to_string(), "Vanished", "its document is gone; it runs on for the prune grace".into())
        }
        Change::Vanished { key, asked: true, .. } => {
            let then = match key.kind {
                Kind::WorkerPool => "its workers run on for the prune grace",
                Kind::ResourcePolicy => "the limits stay as they are",
            };
            normal(key, "Vanished", format!("its document was removed, as asked; {then}"))
        }
        Change::Terminating { key } => {
            let then = match key.kind {
                Kind::WorkerPool => "stopping its workers",
                Kind::ResourcePolicy => "the limits stay as they are",
            };
            normal(key, "Terminating", format!("its document is gone for good: {then}"))
        }
        Change::PruneBlocked { token, keys } => {
            let names: Vec<String> = keys.iter().map(ToString::to_string).collect();
            let then = if keys.len() == 1 { ", so it runs on; put it back" } else { " at once, so all run on; put them back" };
            let note = format!("{} vanished{then} or run `ctl prune --confirm {token}`", names.join(", "));
            warning(SPECS, "PruneBlocked", note)
        }
        Change::PruneUnblocked => calm("PruneUnblocked", "removals are no longer blocked"),
        Change::Unreadable(why) => {
            warning(SPECS, "SpecSourceUnavailable", format!("the specs cannot be read, everything runs on: {why}"))
        }
        Change::Overlooked(files) => {
            let names: Vec<String> = files.iter().take(OVERLOOKED_NAMED).map(|file| quoted(file)).collect();
            let more = files.len().checked_sub(OVERLOOKED_NAMED).filter(|more| *more > 0);
            let more = more.map_or_else(String::new, |more| format!(" and {more} more"));
            warning(SPECS, "Overlooked", format!("not read: {}{more}: {NAME_RULE}", names.join(", ")))
        }
        Change::BeingWritten(file) => {
            let note = format!("{}: open for writing, so it is not read before it is closed, or rests for 30 s", quoted(file));
            warning(&format!("{SPECS}/{file}"), "BeingWritten", note)
        }
        Change::WatchDegraded(why) => {
            warning(SPECS, "WatchDegraded", format!("changes of the specs may be seen up to 10 s late: {why}"))
        }
        Change::WatchRestored => calm("WatchRestored", "changes of the specs are seen at once again"),
        Change::Readable => calm("Readable", "the specs can be read again"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::catalogue::{RefusedDocument, Source};
    use crate::model::time::Moment;

    #[test]
    fn everything_told_names_what_it_is_about() {
        let source = Source { file: "a/b.yaml".into(), line: 3 };
        let refused = |kind, name: Option<&str>| {
            Change::Refused(RefusedDocument {
                source: source.clone(),
                kind,
                name: name.map(str::to_owned),
                violations: Vec::new(),
            })
        };
        for (change, about) in [
            (Change::Readable, "specs"),
            (Change::Unreadable("gone".into()), "specs"),
            (Change::PruneBlocked { token: "t".into(), keys: vec![ObjectKey::pool("a")] }, "specs"),
            (Change::PruneUnblocked, "specs"),
            (Change::WatchDegraded("full".into()), "specs"),
            (Change::BeingWritten("a/b.yaml".into()), "specs/a/b.yaml"),
            (Change::Terminating { key: ObjectKey::pool("a") }, "pool/a"),
            (
                Change::Accepted { key: ObjectKey { kind: Kind::ResourcePolicy, name: "a".into() }, source: source.clone() },
                "policy/a",
            ),
            (refused(Some(Kind::WorkerPool), Some("a")), "pool/a"),
            (refused(Some(Kind::ResourcePolicy), Some("a")), "policy/a"),
            (refused(None, Some("a")), "specs/a/b.yaml"),
            (refused(None, None), "specs/a/b.yaml"),
        ] {
            assert_eq!(words(&change, &Catalogue::default()).0, about, "{change:?}");
        }
    }

    #[test]
    fn what_was_asked_for_is_no_warning() {
        let vanished = |asked| Change::Vanished { key: ObjectKey::pool("a"), until: Moment(1), asked };
        let told = [true, false].map(|asked| words(&vanished(asked), &Catalogue::default()));
        assert_eq!(told[0].1, EventType::Normal);
        assert_eq!(told[0].3, "its document was removed, as asked; its workers run on for the prune grace");
        assert_eq!(told[1].1, EventType::Warning);
    }

    #[test]
    fn what_never_ran_does_not_run_on() {
        let (key, source) = (ObjectKey::pool("a"), Source { file: "a.yaml".into(), line: 1 });
        let mut catalogue = Catalogue::default();
        let refused = |name: Option<&str>| {
            let (source, name) = (source.clone(), name.map(str::to_owned));
            Change::Refused(RefusedDocument {
                source,
                kind: name.as_ref().map(|_| Kind::WorkerPool),
                name,
                violations: Vec::new(),
            })
        };
        let conflict = Change::Conflict { key: key.clone(), sources: vec![source.clone()] };
        let all = [refused(Some("a")), refused(None), conflict];
        let told = |catalogue: &Catalogue| all.iter().map(|change| words(change, catalogue).3).collect::<String>();
        assert!(!told(&catalogue).contains("run"), "{}", told(&catalogue));
        let text = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: a}\nspec: {template: {command: [x]}}\n";
        let document = crate::model::document::parse(text.as_bytes()).remove(0).expect("a good document").document;
        catalogue
            .objects
            .insert(key, Object { document, generation: 1, source: source.clone(), standing: Standing::Good, unread: None });
        assert_eq!(told(&catalogue).matches("runs").count(), 3, "{}", told(&catalogue));
    }

    #[test]
    fn what_leaves_the_spec_as_it_was_counts_no_generation() {
        let (key, source) = (ObjectKey::pool("a"), Source { file: "a.yaml".into(), line: 1 });
        let change = Change::Relabelled { key, what: vec!["annotation \"x\"".into()], source };
        let told = words(&change, &Catalogue::default()).3;
        assert_eq!(told, "annotation \"x\" changed in a.yaml:1");
    }
}
