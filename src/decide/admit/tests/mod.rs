//! Admission, played over time, one promise of the design at a time.

mod open;
mod promises;
mod prune;
mod world;

use self::world::{World, spec};
use super::*;
use crate::model::catalogue::{Object, Source};
use crate::model::document::{Document, Violation, parse};
use crate::model::listing::{Arrival, File};

#[test]
fn a_rename_is_believed_at_once_a_write_when_it_is_quiet() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 2));
    assert_eq!(world.replicas("a"), 2);
    world.put("b.yaml", &spec("b", 1), Arrival::ClosedWrite);
    world.pass(49);
    assert!(!world.has("b"));
    world.pass(1);
    assert!(world.has("b"));
    world.put("c.yaml", &spec("c", 1), Arrival::Unknown);
    world.pass(299);
    assert!(!world.has("c"));
    world.pass(1);
    assert!(world.has("c"));
    world.rename("a.yaml", &spec("a", 1));
    assert_eq!((world.replicas("a"), world.object("a").generation), (1, 2));
    assert_eq!(world.wake_at, None);
}

#[test]
fn a_bad_document_keeps_its_last_good_version_and_spoils_nobody() {
    let mut world = World::new();
    world.rename("a.yaml", &(spec("a", 2) + "---\n" + &spec("b", 1)));
    world.taken();
    world.rename("a.yaml", &(spec("a", 2).replace("replicas", "replica") + "---\n" + &spec("b", 3)));
    assert_eq!((world.replicas("a"), world.replicas("b")), (2, 3));
    let Standing::Held { violations } = &world.object("a").standing else { panic!("{:?}", world.object("a")) };
    assert_eq!((violations[0].line, violations[0].path.as_str()), (6, "spec.replica"));
    assert!(
        world.taken().iter().any(|change| matches!(change, Change::Refused(refused) if refused.name.as_deref() == Some("a")))
    );
    world.look();
    assert_eq!(world.taken(), [], "told once");
    world.rename("a.yaml", "spec: [");
    world.pass(60_000);
    assert_eq!((world.replicas("a"), world.replicas("b")), (2, 3));
    assert!(!world.object("a").is_terminating() && !world.object("b").is_terminating());
    world.rename("a.yaml", &(spec("a", 2) + "---\n" + &spec("b", 3)));
    assert_eq!(world.object("a").standing, Standing::Good);
    assert_eq!((world.object("a").generation, world.object("b").generation), (1, 2));
}

#[test]
fn a_file_that_cannot_be_read_keeps_its_objects() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 2));
    let file = world.files.get_mut("a.yaml").unwrap();
    file.content = Err("is a FIFO, not a file".into());
    world.look();
    world.pass(60_000);
    assert!(matches!(world.object("a").standing, Standing::Held { .. }));
    assert_eq!(world.admission.catalogue.refused[0].violations[0].message, "is a FIFO, not a file");
}

#[test]
fn what_is_overlooked_is_told_once() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 1));
    world.taken();
    world.overlooked.insert("Web.yaml".into());
    world.look();
    assert_eq!(world.taken(), [Change::Overlooked(vec!["Web.yaml".into()])]);
    world.overlooked.insert("b c.yaml".into());
    world.look();
    world.look();
    assert_eq!(world.taken(), [Change::Overlooked(vec!["b c.yaml".into()])]);
    world.overlooked.clear();
    world.look();
    assert_eq!(world.taken(), []);
}

#[test]
fn two_documents_of_one_name_change_nothing_that_runs() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 2));
    world.rename("b.yaml", &spec("a", 5));
    assert_eq!((world.replicas("a"), &world.object("a").standing), (2, &Standing::Conflict));
    world.rename("a.yaml", &spec("a", 7));
    assert_eq!(world.replicas("a"), 2);
    assert_eq!(world.admission.catalogue.conflicts[&ObjectKey::pool("a")].len(), 2);
    world.remove("b.yaml");
    world.pass(1000);
    assert_eq!((world.replicas("a"), &world.object("a").standing), (7, &Standing::Good));
    assert!(world.admission.catalogue.conflicts.is_empty());
    let mut world = World::new();
    world.rename("x.yaml", &(spec("n", 1) + "---\n" + &spec("n", 2)));
    assert!(!world.has("n"));
    assert_eq!(world.admission.catalogue.conflicts.len(), 1);
}

fn named(pool: &str, names: &[&str]) -> String {
    spec(pool, 1).replace("  replicas", &format!("  workerNames: [{}]\n  replicas", names.join(", ")))
}

#[test]
fn two_pools_whose_workers_could_have_one_name_are_not_both_accepted() {
    let mut world = World::new();
    world.rename("b.yaml", &spec("a-b", 1));
    world.taken();
    for (names, met) in [(["b-0", "c"], true), (["b-77", "c"], true), (["b-07", "c"], false), (["b-x", "bb-0"], false)] {
        let mut world = World { admission: world.admission.clone(), files: world.files.clone(), ..World::new() };
        world.rename("a.yaml", &named("a", &names));
        assert_eq!(world.has("a"), !met, "{names:?}");
        assert_eq!(world.object("a-b").standing, Standing::Good, "it was there before");
    }
    world.rename("a.yaml", &named("a", &["c", "b-0"]));
    let refused = &world.admission.catalogue.refused[0];
    assert_eq!((refused.source.file.as_str(), refused.name.as_deref(), refused.violations.len()), ("a.yaml", Some("a"), 1));
    let Violation { path, message, .. } = &refused.violations[0];
    assert_eq!(path, "spec.workerNames[1]");
    assert!(message.starts_with("pool \"a-b\" can have a worker \"a-b-0\" too"), "{message}");
    assert!(matches!(world.taken().as_slice(), [Change::Refused(_)]));
    world.look();
    assert_eq!(world.taken(), [], "told once");
    // Once the other gives its workers other names there is nothing to refuse.
    world.rename("b.yaml", &named("a-b", &["x", "y"]));
    assert_eq!((world.has("a"), world.admission.catalogue.refused.len()), (true, 0));
    // The last good version stays in force, of whoever comes to the name of another.
    world.rename("b.yaml", &(named("a-b", &["0", "y"])).replace("replicas: 1", "replicas: 2"));
    assert!(
        matches!(&world.object("a-b").standing, Standing::Held { violations } if violations[0].path == "spec.workerNames[0]")
    );
    assert_eq!((world.replicas("a-b"), &world.object("a").standing), (1, &Standing::Good));
    world.remove("a.yaml");
    world.pass(60_000);
    assert!(world.object("a").is_terminating());
    assert_eq!(world.replicas("a-b"), 1, "its workers are there yet");
    world.admission.forget(&ObjectKey::pool("a"));
    world.look();
    assert_eq!((world.replicas("a-b"), &world.object("a-b").standing), (2, &Standing::Good));
}

#[test]
fn of_two_pools_that_come_with_one_name_neither_is_accepted() {
    let mut world = World::new();
    let both = named("a", &["b-c", "x"]) + "---\n" + &named("a-b", &["c", "x"]) + "---\n" + &spec("z", 1);
    world.rename("a.yaml", &both);
    let refused: Vec<&str> = world.admission.catalogue.refused.iter().flat_map(|refused| refused.name.as_deref()).collect();
    assert_eq!((refused, world.has("z")), (vec!["a", "a-b"], true));
    // What was in force before there was this rule runs on; its next versions wait until one of the two gives way.
    let mut before = world.admission.clone();
    for name in ["a", "a-b"] {
        let (source, standing) = (Source::default(), Standing::Good);
        let object = Object { document: good(&both, name), generation: 1, source, standing, unread: None };
        before.catalogue.objects.insert(ObjectKey::pool(name), object);
    }
    let mut world = World { admission: before, files: world.files, ..World::new() };
    world.look();
    assert!(["a", "a-b"].iter().all(|name| matches!(world.object(name).standing, Standing::Held { .. })));
    world.rename("a.yaml", &both.replace("[b-c, x]", "[d, x]"));
    assert!(["a", "a-b"].iter().all(|name| world.object(name).standing == Standing::Good));
}

fn good(text: &str, name: &str) -> Document {
    let all = parse(text.as_bytes()).into_iter().flatten().map(|located| located.document);
    all.into_iter().find(|document| document.name() == name).expect("there")
}

#[test]
fn git_unlinks_and_creates_without_a_change() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 2));
    world.taken();
    world.remove("a.yaml");
    world.pass(150);
    world.put("a.yaml", &spec("a", 2), Arrival::ClosedWrite);
    world.pass(60_000);
    assert_eq!(world.taken(), []);
}

#[test]
fn a_renamed_file_changes_nothing() {
    for gap in [0, 100, 5000] {
        let mut world = World::new();
        world.rename("a.yaml", &spec("a", 2));
        world.rename("b.yaml", &spec("b", 1));
        world.taken();
        let file = world.files.remove("a.yaml").unwrap();
        if gap > 0 {
            world.look();
        }
        world.pass(gap);
        world.files.insert("z.yaml".into(), File { arrival: Arrival::RenamedIn, ..file });
        world.look();
        world.pass(60_000);
        assert_eq!((world.object("a").generation, &world.object("a").standing), (1, &Standing::Good), "{gap}");
        assert_eq!(world.object("a").source.file, "z.yaml");
        assert!(!world.taken().iter().any(|change| matches!(change, Change::Conflict { .. } | Change::Updated { .. })), "{gap}");
    }
}

#[test]
fn what_changes_beside_the_spec_is_told_as_what_it_is() {
    let mut world = World::new();
    let with = |labels: &str| spec("a", 1).replace("{name: a}", &format!("{{name: a{labels}}}"));
    world.rename("a.yaml", &with(", labels: {x: y, z: z}"));
    world.taken();
    world.rename("a.yaml", &with(", labels: {x: n}, annotations: {note: new}"));
    let told = world.taken();
    let [Change::Relabelled { what, .. }] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!(what, &["label \"x\"", "label \"z\"", "annotation \"note\""]);
    assert_eq!(world.object("a").generation, 1);
    world.rename("a.yaml", &spec("a", 2));
    assert!(matches!(world.taken().as_slice(), [Change::Updated { generation: 2, .. }]));
}

#[test]
fn a_watch_that_is_late_says_so_once() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 2));
    world.taken();
    world.degraded = Some("no watches left".into());
    world.look();
    world.look();
    assert_eq!(world.taken(), [Change::WatchDegraded("no watches left".into())]);
    world.degraded = None;
    world.look();
    assert_eq!(world.taken(), [Change::WatchRestored]);
}

#[test]
fn unreadable_is_never_empty() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 2));
    world.rename("b.yaml", &spec("b", 2));
    world.remove("a.yaml");
    world.pass(5000);
    world.taken();
    let objects = world.admission.catalogue.objects.clone();
    world.unreadable = Some("permission denied".into());
    for _ in 0..5 {
        world.look();
        world.pass(20_000);
    }
    assert_eq!(world.taken(), [Change::Unreadable("permission denied".into())]);
    assert_eq!(world.admission.catalogue.objects.len(), objects.len());
    assert!(!world.object("a").is_terminating());
    world.unreadable = None;
    world.look();
    world.pass(9_000);
    assert!(!world.object("a").is_terminating(), "the grace begins anew");
    world.pass(60_000);
    assert!(world.object("a").is_terminating());
}

#[test]
fn what_was_kept_holds_until_a_listing_shows_otherwise() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 2));
    world.rename("a.yaml", &spec("a", 3));
    world.rename("b.yaml", &spec("b", 1));
    let kept = world.admission.catalogue.to_json();
    let files = world.files.clone();

    let mut world = World::new();
    world.admission = Admission::restored(Catalogue::from_json(kept.clone(), Moment(5)).unwrap());
    world.unreadable = Some("gone".into());
    world.look();
    world.pass(60_000);
    assert_eq!((world.replicas("a"), world.object("a").generation), (3, 2));
    world.unreadable = None;
    world.files = files;
    world.taken();
    world.look();
    world.pass(60_000);
    assert_eq!(world.taken(), [Change::Readable]);

    // Changed in place while no daemon ran, and long ago: what is there counts at once, also where it takes away.
    let mut before = World::new();
    before.put("a.yaml", &spec("a", 1), Arrival::Unknown);
    let mut world = World::new();
    world.admission = Admission::restored(Catalogue::from_json(kept.clone(), Moment(5)).unwrap());
    (world.files, world.now) = (before.files, before.now + 10_000);
    world.look();
    assert_eq!(world.replicas("a"), 1);

    let mut world = World::new();
    world.admission = Admission::restored(Catalogue::from_json(kept, Moment(5)).unwrap());
    world.files.clear();
    world.rename("moved.yaml", &spec("a", 3));
    world.pass(60_000);
    assert_eq!((world.object("a").generation, world.object("b").is_terminating()), (2, true));
}

/// A daemon that finds this kept of `a` and `b`, where a field of `a` is none that it knows.
fn rolled_back() -> World {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 3));
    world.rename("a.yaml", &spec("a", 2));
    world.rename("b.yaml", &spec("b", 1));
    let mut kept = world.admission.catalogue.to_json();
    kept["objects"][0]["document"]["spec"]["fresh"] = 1.into();
    let files = world.files.clone();
    let mut world = World::new();
    world.admission = Admission::restored(Catalogue::from_json(kept, Moment(5)).unwrap());
    world.files = files;
    world
}

const FRESH: &str = "  fresh: 1\n";

#[test]
fn what_does_not_read_is_held_until_a_document_takes_its_place() {
    let mut world = rolled_back();
    world.rename("a.yaml", &(spec("a", 2) + FRESH));
    world.pass(60_000);
    assert!(matches!(world.object("a").standing, Standing::Held { .. }) && world.object("a").unread.is_some());
    assert_eq!((world.object("b").generation, &world.object("b").standing), (1, &Standing::Good));
    world.taken();
    world.rename("a.yaml", &spec("a", 2));
    assert_eq!((world.object("a").generation, world.object("a").unread.is_none()), (3, true));
    assert!(matches!(world.taken()[..], [Change::Updated { generation: 3, .. }]), "what it was is not known");
}

#[test]
fn a_document_in_place_of_what_does_not_read_may_stop_workers() {
    let mut world = rolled_back();
    world.rename("a.yaml", &(spec("a", 2) + FRESH));
    world.put("a.yaml", &spec("a", 9), Arrival::ClosedWrite);
    world.pass(1999);
    assert!(world.object("a").unread.is_some());
    world.pass(1);
    assert!(world.object("a").unread.is_none());
}

#[test]
fn what_does_not_read_and_has_no_document_goes_as_others_do() {
    let mut world = rolled_back();
    world.files.remove("a.yaml");
    world.look();
    world.pass(9_000);
    assert!(!world.object("a").is_terminating());
    world.pass(2_000);
    assert!(world.object("a").is_terminating());
}

#[test]
fn a_pool_of_which_nothing_was_kept_surely_has_no_document_only_where_all_documents_read() {
    let doubt = |world: &World| claims::doubt(&world.admission, "a");
    let mut world = World::new();
    world.look();
    assert!(doubt(&world).is_some(), "an empty directory says nothing");
    world.rename("b.yaml", &spec("b", 1));
    assert_eq!(doubt(&world), None);
    for bad in [spec("a", 1) + FRESH, "spec: [".into(), spec("a", 1) + "---\n" + &spec("a", 1)] {
        world.rename("c.yaml", &bad);
        assert!(doubt(&world).is_some(), "{bad}");
    }
    for other in [spec("c", 1) + FRESH, spec("c", 1) + "---\n" + &spec("c", 1)] {
        world.rename("c.yaml", &other);
        assert_eq!(doubt(&world), None, "{other}");
    }
    world.put("d.yaml", &spec("d", 1), Arrival::ClosedWrite);
    assert!(doubt(&world).is_some(), "it is not known what is in it");
    world.pass(60_000);
    assert_eq!(doubt(&world), None);
    world.unreadable = Some("gone".into());
    world.look();
    assert!(doubt(&world).is_some());
}
