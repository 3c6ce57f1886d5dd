//! Files that somebody writes in place: when what stands in them is believed.
//! One that is open is believed when it is closed, and is not for ever unbelieved when it never is.

use super::world::{World, spec};
use crate::decide::admit::Change;
use crate::model::listing::Arrival;

/// A pool of twelve, and its file cut short by somebody who still writes.
fn cut() -> World {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 12));
    world.taken();
    world.put("a.yaml", &spec("a", 1), Arrival::Writing);
    world
}

#[test]
fn what_is_open_is_believed_when_it_is_closed() {
    let mut world = cut();
    world.pass(14_000);
    assert_eq!(world.replicas("a"), 12);
    assert_eq!(world.taken(), [Change::BeingWritten("a.yaml".into())], "told once");
    world.put("a.yaml", &spec("a", 13), Arrival::Writing);
    world.pass(14_000);
    assert_eq!((world.replicas("a"), world.taken()), (12, vec![]));
    world.hear("a.yaml", Arrival::ClosedWrite);
    world.pass(50);
    assert_eq!((world.replicas("a"), world.wake_at), (13, None));
    // A new one, without anything that it could harm.
    world.put("b.yaml", &spec("b", 1), Arrival::Writing);
    world.pass(5000);
    assert!(!world.has("b"));
    world.hear("b.yaml", Arrival::ClosedWrite);
    world.pass(50);
    assert!(world.has("b"));
}

#[test]
fn of_a_file_that_is_saved_in_place_nothing_is_told() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 1));
    world.taken();
    world.put("a.yaml", "", Arrival::Writing);
    world.pass(20);
    world.put("a.yaml", &spec("a", 2), Arrival::ClosedWrite);
    world.pass(5000);
    assert_eq!(world.replicas("a"), 2);
    assert!(!world.taken().contains(&Change::BeingWritten("a.yaml".into())));
}

#[test]
fn what_is_never_closed_is_believed_when_it_has_rested() {
    let mut world = cut();
    world.pass(20_000);
    // Another change begins the rest anew, also one of which no event tells.
    world.put("a.yaml", &spec("a", 2), Arrival::Unknown);
    world.pass(29_999);
    assert_eq!(world.replicas("a"), 12);
    world.pass(1);
    assert_eq!((world.replicas("a"), world.wake_at), (2, None));
}

#[test]
fn where_no_close_can_be_heard_it_is_as_with_any_edit() {
    let mut world = cut();
    world.degraded = Some("cannot watch".into());
    world.look();
    world.pass(2000);
    assert_eq!(world.replicas("a"), 1, "no watch");
    let mut world = cut();
    world.hear("a.yaml", Arrival::Unheard);
    world.pass(2000);
    assert_eq!(world.replicas("a"), 1, "events were lost");
    let mut world = cut();
    world.hear("a.yaml", Arrival::ClosedWrite);
    world.hear("a.yaml", Arrival::Writing);
    world.pass(20_000);
    assert_eq!(world.replicas("a"), 12, "opened again behind a close");
}

#[test]
fn an_edit_in_place_that_takes_away_waits_two_seconds() {
    let with_label = spec("a", 2).replace("{name: a}", "{name: a, labels: {x: y}}");
    let harmful = [
        spec("a", 1),
        spec("a", 2).replace("[run]", "[run, x]"),
        spec("b", 2),
        String::new(),
        spec("a", 2).replace("replicas", "workerNames: [x, y]\n  replicas"),
    ];
    for text in harmful {
        let mut world = World::new();
        world.rename("a.yaml", &spec("a", 2));
        world.taken();
        world.put("a.yaml", &text, Arrival::ClosedWrite);
        world.pass(1999);
        assert_eq!(world.taken(), [], "{text}");
        world.pass(1);
        assert_ne!(world.taken(), [], "{text}");
    }
    for text in
        [spec("a", 3), with_label, spec("a", 2) + "---\n" + &spec("b", 1), spec("a", 2) + "  updateStrategy: {type: OnIdle}\n"]
    {
        let mut world = World::new();
        world.rename("a.yaml", &spec("a", 2));
        world.taken();
        world.put("a.yaml", &text, Arrival::ClosedWrite);
        world.pass(50);
        assert_ne!(world.taken(), [], "{text}");
    }
}

#[test]
fn a_file_that_is_written_without_end_is_read_after_a_second() {
    let mut world = World::new();
    world.rename("a.yaml", &spec("a", 1));
    for n in 2..30 {
        world.put("a.yaml", &spec("a", n), Arrival::Unknown);
        world.pass(100);
    }
    assert!(world.replicas("a") >= 10, "{}", world.replicas("a"));
}
