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
fn what_was_dropped_last_is_told_while_the_worker_lives() {
    let mut room = Room::new("none");
    let mut order = order("bursts", 1, "head -c 1000000 /dev/zero | tr '\\0' 'x'; exec sleep 1000");
    order.logs.max_rate = 4000;
    room.start(order);
    let dropped = room.running_when("bursts", |run| run.dropped > 900_000).dropped;
    let told = || room.output("bursts").ends_with(": over 4000 bytes a second\n");
    super::room::wait("the words about it", told);
    assert!(room.output("bursts").contains(&format!("weir: dropped {dropped} bytes")));
}

#[test]
fn a_log_that_cannot_be_written_never_stops_the_worker() {
    let mut room = Room::new("none");
    fs::create_dir_all(room.log("mute")).expect("a directory in the log's place");
    let exit = room.run(order("mute", 1, "seq 1 200000; exit 9"));
    assert_eq!(exit.code, Some(9));
}

#[test]
fn a_stranger_who_writes_for_ever_does_not_keep_a_run_from_its_end() {
    let mut room = Room::new("none");
    // A slow log, and below a large pipe: the shim never finds it empty.
    let log = room.log("shared");
    fs::create_dir_all(log.parent().expect("a directory")).expect("made");
    assert!(std::process::Command::new("mkfifo").arg(&log).status().expect("mkfifo").success());
    let reader = std::thread::spawn(move || {
        let (mut log, mut buffer) = (fs::File::open(log).expect("opened"), [0; 1 << 15]);
        while std::io::Read::read(&mut log, &mut buffer).is_ok_and(|n| n > 0) {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
    });
    let mut start = order("shared", 1, "sleep 1000");
    (start.logs.max_size, start.logs.max_rate) = (u64::MAX, 1 << 40);
    room.start(start);
    let pid = room.running("shared").pid;
    // Whoever the worker gave its output to outside of its tree.
    let writers = [(); 3].map(|()| {
        let mut pipe = fs::File::options().write(true).open(format!("/proc/{pid}/fd/1")).expect("opened");
        nix::fcntl::fcntl(&pipe, nix::fcntl::FcntlArg::F_SETPIPE_SZ(1 << 20)).expect("widened");
        std::thread::spawn(move || while std::io::Write::write_all(&mut pipe, &[b'\n'; 1 << 16]).is_ok() {})
    });
    std::thread::sleep(std::time::Duration::from_millis(200));
    room.slots().kill(&slot("shared"), 1);
    assert_eq!(room.ended("shared", 1).signal, Some(9));
    for writer in writers {
        writer.join().expect("its pipe was closed");
    }
    room.leave();
    reader.join().expect("the shim has ended");
}

#[test]
fn a_place_in_a_file_that_is_gone_is_none_in_the_next() {
    use std::os::unix::fs::MetadataExt;
    for files in [1, 2] {
        let mut room = Room::new("none");
        let gate = room.dir.path().join("gate");
        let script = format!("echo begun; until [ -e {} ]; do sleep 0.01; done; seq 1 20000; exec sleep 1000", gate.display());
        let mut start = order("places", 1, &script);
        (start.logs.max_size, start.logs.max_files) = (10_000, files);
        room.start(start);
        room.running("places");
        super::room::wait("its first line", || room.output("places") == "begun\n");
        let began = fs::metadata(room.log("places")).expect("there").ino();
        fs::write(gate, "").expect("opened");
        super::room::wait("its last line", || room.output("places").ends_with("20000\n"));
        let kept = fs::read_dir(room.log("places").parent().expect("a directory")).expect("logs").flatten();
        let kept: Vec<u64> = kept.map(|entry| entry.metadata().expect("there").ino()).collect();
        assert_eq!(kept.len(), files as usize);
        assert!(!kept.contains(&began), "{began} in {kept:?}");
    }
}
