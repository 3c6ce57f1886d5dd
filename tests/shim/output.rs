//! Output: whole across rotation, bounded, counted when dropped.

use std::fs;

use super::room::{Room, order, slot};

fn lines(room: &Room, worker: &str, files: u32) -> String {
    let log = room.log(worker);
    let old = (1..files).rev().map(|n| fs::read_to_string(format!("{}.{n}", log.display())).unwrap_or_default());
    old.chain([room.output(worker)]).collect()
}

#[test]
fn numbered_lines_survive_rotation() {
    let mut room = Room::new("none");
    let mut order = order("numbers", 1, "seq 1 300000");
    order.logs.max_size = 100_000;
    order.logs.max_files = 40;
    assert_eq!(room.run(order).code, Some(0));
    let text = lines(&room, "numbers", 40);
    let numbers: Vec<u32> = text.lines().map(|line| line.parse().expect("a whole line")).collect();
    assert_eq!(numbers, (1..=300_000).collect::<Vec<u32>>());
    let sizes = fs::read_dir(room.log("numbers").parent().expect("a directory")).expect("logs");
    for file in sizes.flatten() {
        assert!(file.metadata().expect("there").len() < 110_000, "{file:?}");
    }
}

#[test]
fn only_so_many_files_are_kept() {
    let mut room = Room::new("none");
    for files in [1, 2, 3] {
        let worker = format!("keeps{files}");
        let mut order = order(&worker, 1, "seq 1 100000");
        (order.logs.max_size, order.logs.max_files) = (50_000, files);
        room.run(order);
        let kept = fs::read_dir(room.log(&worker).parent().expect("a directory")).expect("logs").flatten();
        assert_eq!(kept.filter(|entry| entry.file_name().to_string_lossy().starts_with(&worker)).count(), files as usize);
        assert!(lines(&room, &worker, files).ends_with("100000\n"));
    }
}

#[test]
fn what_exceeds_the_rate_is_counted_and_told_and_the_rest_is_kept() {
    let mut room = Room::new("none");
    let mut order = order("loud", 1, "head -c 1000000 /dev/zero | tr '\\0' 'x'; sleep 1000");
    order.logs.max_rate = 4000;
    room.start(order);
    room.running_when("loud", |run| run.dropped > 0);
    super::room::wait("the last byte", || room.alive("loud").len() == 1);
    let mut dropped = 0;
    while dropped < 900_000 {
        let asked = room.running("loud").refreshed;
        room.slots().refresh(&slot("loud"), false);
        dropped = room.running_when("loud", |run| run.refreshed > asked).dropped;
    }
    room.slots().kill(&slot("loud"), 1);
    room.ended("loud", 1);
    let text = room.output("loud");
    assert!(text.ends_with(": over 4000 bytes a second\n"), "{text:?}");
    let kept = text.bytes().filter(|byte| *byte == b'x').count() as u64;
    assert!(kept >= 4000 && kept + dropped == 1_000_000, "{kept} kept, {dropped} dropped");
}

#[test]
fn a_log_that_cannot_be_written_never_stops_the_worker() {
    let mut room = Room::new("none");
    fs::create_dir_all(room.log("mute")).expect("a directory in the log's place");
    let exit = room.run(order("mute", 1, "seq 1 200000; exit 9"));
    assert_eq!(exit.code, Some(9));
}
