//! What becomes of objects whose documents are gone: the grace, the guard against many at once, and how a block ends.
//! That nothing is stopped by mistake is looked for where it could be: after each listing.

use super::world::{World, spec};
use super::*;
use crate::model::listing::Arrival;

#[test]
fn a_vanished_object_is_stopped_after_the_grace() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.rename(&format!("{name}.yaml"), &spec(name, 1));
    }
    world.taken();
    world.remove("a.yaml");
    world.pass(199);
    assert_eq!(world.taken(), []);
    world.pass(1);
    assert!(matches!(world.taken().as_slice(), [Change::Vanished { .. }]));
    world.pass(9_999);
    assert!(!world.object("a").is_terminating());
    world.pass(1);
    assert!(world.object("a").is_terminating());
    assert_eq!(world.taken(), [Change::Terminating { key: ObjectKey::pool("a") }]);
    world.rename("a.yaml", &spec("a", 1));
    assert_eq!((world.object("a").generation, &world.object("a").standing), (1, &Standing::Good));
    world.remove("a.yaml");
    world.pass(11_000);
    world.admission.forget(&ObjectKey::pool("a"));
    assert!(!world.has("a"));
    world.admission.forget(&ObjectKey::pool("b"));
    assert!(world.has("b"), "only what is terminating is forgotten");
}

#[test]
fn what_vanished_is_told_once_however_often_it_is_looked() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d"] {
        world.rename(&format!("{name}.yaml"), &spec(name, 1));
    }
    world.taken();
    world.remove("a.yaml");
    world.pass(200);
    // The listing is told again in the same millisecond when git says another revision.
    world.look();
    world.look();
    assert!(matches!(world.taken().as_slice(), [Change::Vanished { .. }]));
    // What is held back is told as one thing.
    world.files.clear();
    world.look();
    world.pass(200);
    world.look();
    let told = world.taken();
    assert!(matches!(told.as_slice(), [Change::PruneBlocked { keys, .. }] if keys.len() == 4), "{told:?}");
}

#[test]
fn what_is_removed_by_name_needs_no_confirmation() {
    let named = |asked: &[&str]| {
        let mut world = World::new();
        for name in ["a", "b", "c", "d", "e", "f"] {
            world.rename(&format!("{name}.yaml"), &spec(name, 1));
        }
        world.taken();
        for name in ["a", "b", "c"] {
            if asked.contains(&name) {
                world.admission.removed(ObjectKey::pool(name), Moment(world.now));
            }
            world.remove(&format!("{name}.yaml"));
        }
        world
    };
    let mut world = named(&["a", "b", "c"]);
    world.pass(30_000);
    for name in ["a", "b", "c"] {
        assert!(world.object(name).is_terminating(), "{name}");
    }
    let told = world.taken();
    assert!(!told.iter().any(|change| matches!(change, Change::PruneBlocked { .. })));
    assert_eq!(told.iter().filter(|change| matches!(change, Change::Vanished { asked: true, .. })).count(), 3);
    // What went beside it is guarded as ever.
    let mut world = named(&["a"]);
    world.pass(30_000);
    let keys = world.admission.catalogue.prune.as_ref().map(|prune| prune.keys.clone());
    assert_eq!(keys, Some(vec![ObjectKey::pool("b"), ObjectKey::pool("c")]));
    assert!(world.object("a").is_terminating());
    // And what was removed by name counts for no crowd, when it is being stopped and when it is forgotten.
    let mut world = named(&["a", "b", "c"]);
    world.admission.removed(ObjectKey::pool("d"), Moment(world.now));
    world.remove("d.yaml");
    world.pass(10_500);
    ["a", "b"].iter().for_each(|name| world.admission.forget(&ObjectKey::pool(name)));
    world.remove("e.yaml");
    world.pass(30_000);
    assert!(world.object("e").is_terminating() && world.object("d").is_terminating());
    // A wish that came to nothing does not hold for ever.
    let mut world = named(&[]);
    world.admission.removed(ObjectKey::pool("d"), Moment(world.now));
    world.pass(61_000);
    world.look();
    world.remove("d.yaml");
    world.pass(30_000);
    assert!(!world.object("d").is_terminating());
}

#[test]
fn many_at_once_are_not_believed() {
    for (total, gone, blocked) in [(1, 1, false), (2, 1, false), (2, 2, true), (3, 2, true), (10, 3, false), (10, 4, true)] {
        let mut world = World::new();
        for n in 0..total {
            world.rename(&format!("p{n}.yaml"), &spec(&format!("p{n}"), 1));
        }
        world.taken();
        for n in 0..gone {
            world.files.remove(&format!("p{n}.yaml"));
        }
        world.look();
        world.pass(60_000);
        assert_eq!(world.admission.catalogue.prune.is_some(), blocked, "{gone} of {total}");
        assert_eq!(world.object("p0").is_terminating(), !blocked, "{gone} of {total}");
    }
}

fn blocked() -> World {
    let mut world = World::new();
    for name in ["a", "b", "c"] {
        world.rename(&format!("{name}.yaml"), &spec(name, 1));
    }
    world.remove("a.yaml");
    world.pass(3000);
    world.remove("b.yaml");
    world.pass(60_000);
    assert_eq!(world.admission.catalogue.prune.as_ref().unwrap().keys.len(), 2);
    world.taken();
    world
}

#[test]
fn a_blocked_prune_is_ended_by_its_token_or_by_the_files() {
    let mut world = blocked();
    assert!(!world.admission.confirm("00000000"));
    world.look();
    assert_eq!(world.taken(), []);
    let token = world.admission.catalogue.prune.as_ref().unwrap().token.clone();
    assert!(world.admission.confirm(&token));
    world.look();
    assert_eq!(world.taken()[0], Change::PruneUnblocked);
    assert!(world.object("a").is_terminating() && world.object("b").is_terminating());
    world.pass(60_000);
    assert!(world.admission.catalogue.prune.is_none());

    let mut world = blocked();
    world.rename("a.yaml", &spec("a", 1));
    assert_eq!(world.admission.catalogue.prune.as_ref().unwrap().keys, [ObjectKey::pool("b")]);
    world.pass(60_000);
    assert!(!world.object("b").is_terminating());
    world.rename("b.yaml", &spec("b", 1));
    assert!(world.admission.catalogue.prune.is_none());
    assert!(world.taken().contains(&Change::PruneUnblocked));
}

#[test]
fn a_block_outlasts_files_that_are_being_written_and_the_daemon() {
    let mut world = blocked();
    let token = world.admission.catalogue.prune.clone().expect("blocked");
    let kept = |world: &World| world.admission.catalogue.prune == Some(token.clone());
    // With each the share of those that are gone is smaller, and the last are no crowd among so many.
    for name in ["d", "e", "f", "g", "h"] {
        world.put(&format!("{name}.yaml"), &spec(name, 1), Arrival::ClosedWrite);
        assert!(kept(&world), "{name} is being written");
        world.pass(5000);
        assert!(kept(&world) && world.has(name), "{name} was written");
    }
    world.restart();
    assert!(kept(&world), "the next daemon knows it before it has looked");
    world.put("i.yaml", &spec("i", 1), Arrival::ClosedWrite);
    world.pass(60_000);
    assert!(kept(&world) && !world.object("a").is_terminating() && !world.object("b").is_terminating());
    world.taken();
    world.rename("a.yaml", &spec("a", 1));
    world.pass(60_000);
    assert_eq!(world.admission.catalogue.prune.as_ref().map(|prune| prune.keys.clone()), Some(vec![ObjectKey::pool("b")]));
    assert!(world.admission.confirm(&world.admission.catalogue.prune.clone().expect("blocked").token));
    world.restart();
    world.look();
    world.pass(60_000);
    assert!(world.object("b").is_terminating() && world.admission.catalogue.prune.is_none(), "it was confirmed before");
}

#[test]
fn what_was_removed_by_name_needs_no_confirmation_from_the_next_daemon() {
    for (seen_gone, ended) in [(false, false), (true, false), (true, true)] {
        let mut world = World::new();
        for name in ["a", "b", "c", "d", "e"] {
            world.rename(&format!("{name}.yaml"), &spec(name, 1));
        }
        for name in ["a", "b", "c"] {
            world.admission.removed(ObjectKey::pool(name), Moment(world.now));
            world.files.remove(&format!("{name}.yaml"));
        }
        if seen_gone {
            world.look();
            world.pass(if ended { 20_000 } else { 1000 });
        }
        world.restart();
        world.look();
        world.remove("d.yaml");
        world.pass(60_000);
        let ends = ["a", "b", "c", "d", "e"].map(|name| world.object(name).is_terminating());
        assert_eq!(ends, [true, true, true, true, false], "{seen_gone} {ended}");
        assert_eq!(world.admission.catalogue.prune, None);
    }
}

#[test]
fn a_wish_outlasts_files_that_are_being_written() {
    for by_token in [false, true] {
        let mut world = World::new();
        for name in ["a", "b", "c", "d", "e"] {
            world.rename(&format!("{name}.yaml"), &spec(name, 1));
        }
        for name in ["a", "b", "c"] {
            if !by_token {
                world.admission.removed(ObjectKey::pool(name), Moment(world.now));
            }
            world.files.remove(&format!("{name}.yaml"));
        }
        world.look();
        world.pass(1000);
        if by_token {
            let token = world.admission.catalogue.prune.clone().expect("blocked").token;
            assert!(world.admission.confirm(&token));
        }
        world.put("n.yaml", &spec("n", 1), Arrival::ClosedWrite);
        world.pass(500);
        assert_eq!(world.admission.catalogue.prune, None, "{by_token}");
        // The grace does not begin anew, and is not over while a file stays open that may be about them.
        world.put("o.yaml", "", Arrival::Writing);
        world.pass(15_000);
        let ends = |world: &World| ["a", "b", "c", "d"].map(|name| world.object(name).is_terminating());
        assert_eq!(ends(&world), [false; 4], "{by_token}");
        world.put("o.yaml", &(spec("o", 1) + "---\n" + &spec("b", 1)), Arrival::ClosedWrite);
        world.pass(50);
        assert_eq!(ends(&world), [true, false, true, false], "{by_token}: what the file brought back stays");
        assert!(world.admission.catalogue.confirmed.iter().all(|key| key.name != "b"));
    }
}

#[test]
fn a_wish_outlasts_a_broken_document_and_a_directory_that_cannot_be_read() {
    let mut world = World::new();
    for name in ["a", "b", "c", "d", "e"] {
        world.rename(&format!("{name}.yaml"), &spec(name, 1));
    }
    for name in ["a", "b", "c"] {
        world.admission.removed(ObjectKey::pool(name), Moment(world.now));
        world.files.remove(&format!("{name}.yaml"));
    }
    world.unreadable = Some("unmounted".into());
    world.look();
    world.pass(300_000);
    world.unreadable = None;
    world.look();
    world.pass(1000);
    world.rename("a.yaml", &spec("a", 1).replace("replicas", "replica"));
    world.pass(60_000);
    let ends = |world: &World| ["a", "b", "c"].map(|name| world.object(name).is_terminating());
    assert_eq!((ends(&world), world.admission.catalogue.prune.clone()), ([false, true, true], None));
    world.remove("a.yaml");
    world.pass(11_000);
    assert_eq!((ends(&world), world.admission.catalogue.prune.clone()), ([true; 3], None));
}

#[test]
fn a_confirmation_counts_once() {
    for returns_first in [false, true] {
        let mut world = blocked();
        let token = world.admission.catalogue.prune.as_ref().unwrap().token.clone();
        assert!(world.admission.confirm(&token));
        if !returns_first {
            world.look();
            assert!(world.object("a").is_terminating());
        }
        for name in ["a", "b"] {
            world.rename(&format!("{name}.yaml"), &spec(name, 1));
        }
        world.pass(60_000);
        assert!(world.admission.catalogue.prune.is_none() && !world.object("a").is_terminating());
        for name in ["a", "b"] {
            world.files.remove(&format!("{name}.yaml"));
        }
        world.look();
        world.pass(60_000);
        let again = world.admission.catalogue.prune.as_ref().map(|prune| prune.token.clone());
        assert_eq!(again, Some(token), "it is asked for again");
        assert!(!world.object("a").is_terminating() && !world.object("b").is_terminating());
    }
}

#[test]
fn another_empty_directory_in_its_place_stops_nobody() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 2));
    world.root.inode = 77;
    world.files.clear();
    world.look();
    world.pass(60_000);
    assert!(world.admission.catalogue.prune.is_some() && !world.object("a").is_terminating());

    let kept = world.admission.catalogue.to_json();
    let mut world = World::new();
    world.root.inode = 78;
    world.admission = Admission::restored(Catalogue::from_json(kept, Moment(5)).unwrap());
    world.look();
    world.pass(60_000);
    assert!(!world.object("a").is_terminating(), "swapped while no daemon ran");
}
