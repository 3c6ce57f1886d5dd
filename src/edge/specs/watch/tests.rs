//! Watching real directories: every way of losing one included.
//! Real events from the kernel, each awaited with a bound; what must not be heard is waited out briefly.

use std::fs::{create_dir, create_dir_all, read, remove_dir_all, rename, write};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use tokio::sync::mpsc;

use super::*;
use crate::edge::specs::git::tests::git;

struct Scene {
    dir: tempfile::TempDir,
    specs: PathBuf,
    watch: Watch,
    hints: mpsc::Receiver<()>,
    runtime: tokio::runtime::Runtime,
}

fn scene(prepare: impl FnOnce(&Path)) -> Scene {
    let dir = tempfile::tempdir().unwrap();
    let specs = dir.path().join("specs");
    prepare(&specs);
    let (sender, hints) = mpsc::channel(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let watch = Watch::start(&specs, sender).unwrap();
    let mut scene = Scene { dir, specs, watch, hints, runtime };
    scene.hint().expect("the first hint comes by itself");
    scene
}

impl Scene {
    fn within(&mut self, time: Duration) -> Option<()> {
        let hints = &mut self.hints;
        self.runtime.block_on(async { tokio::time::timeout(time, hints.recv()).await.ok().flatten() })
    }

    fn hint(&mut self) -> Option<()> {
        self.within(Duration::from_secs(10))
    }

    /// Hints until a mark is there.
    fn mark(&mut self, name: &str, arrival: Arrival) {
        let mut marks = Marks::default();
        for _ in 0..20 {
            marks.arrivals.append(&mut self.watch.take_marks().arrivals);
            if marks.arrivals.get(name) == Some(&arrival) {
                return;
            }
            self.within(Duration::from_millis(500));
        }
        panic!("{name}: {marks:?}");
    }

    fn at(&self, name: &str) -> PathBuf {
        self.specs.join(name)
    }

    fn quiet(&mut self) {
        while self.within(Duration::from_millis(100)).is_some() {}
        self.watch.take_marks();
    }
}

#[test]
fn writes_and_renames_are_told_apart() {
    let mut scene = scene(|specs| create_dir(specs).unwrap());
    write(scene.at("a.yaml"), "a: 1").unwrap();
    scene.mark("a.yaml", Arrival::ClosedWrite);
    write(scene.at(".a.tmp"), "a: 2").unwrap();
    rename(scene.at(".a.tmp"), scene.at("a.yaml")).unwrap();
    scene.mark("a.yaml", Arrival::RenamedIn);
    write(scene.dir.path().join("x"), "a: 2").unwrap();
    rename(scene.dir.path().join("x"), scene.at("b.yaml")).unwrap();
    scene.mark("b.yaml", Arrival::RenamedIn);
    let mut open = std::fs::File::create(scene.at(".a.tmp")).unwrap();
    open.write_all(b"a: 3").unwrap();
    rename(scene.at(".a.tmp"), scene.at("a.yaml")).unwrap();
    drop(open);
    scene.mark("a.yaml", Arrival::RenamedIn);
    let mut open = std::fs::File::create(scene.at(".a.tmp")).unwrap();
    rename(scene.at(".a.tmp"), scene.at("a.yaml")).unwrap();
    open.write_all(b"a: 4").unwrap();
    drop(open);
    scene.mark("a.yaml", Arrival::ClosedWrite);
    let mut open = std::fs::File::create(scene.at("a.yaml")).unwrap();
    open.write_all(b"a: 5").unwrap();
    scene.mark("a.yaml", Arrival::Writing);
    open.write_all(b"0").unwrap();
    open.set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    scene.mark("a.yaml", Arrival::Writing);
    drop(open);
    scene.mark("a.yaml", Arrival::ClosedWrite);
    std::fs::remove_file(scene.at("a.yaml")).unwrap();
    assert!(scene.hint().is_some());
    assert_eq!(scene.watch.degraded(), None);
}

#[test]
fn reading_and_droppings_are_not_heard() {
    let mut scene = scene(|specs| create_dir(specs).unwrap());
    write(scene.at("a.yaml"), "a: 1").unwrap();
    scene.quiet();
    read(scene.at("a.yaml")).unwrap();
    write(scene.at(".a.yaml.swp"), "x").unwrap();
    write(scene.at("4913"), "x").unwrap();
    write(scene.at("a.yaml~"), "x").unwrap();
    write(scene.dir.path().join("neighbour"), "x").unwrap();
    assert_eq!(scene.within(Duration::from_millis(200)), None);
}

#[test]
fn a_name_that_does_not_count_is_heard_when_it_comes_and_when_it_goes() {
    let mut scene = scene(|specs| create_dir(specs).unwrap());
    for name in [b"Big.yaml".as_slice(), b"agents (copy).yaml", b"\xff.yml"] {
        let path = scene.specs.join(OsStr::from_bytes(name));
        scene.quiet();
        write(&path, "a: 1").unwrap();
        assert!(scene.hint().is_some(), "{}", path.display());
        scene.quiet();
        std::fs::remove_file(&path).unwrap();
        assert!(scene.hint().is_some(), "{}", path.display());
        assert_eq!(scene.watch.take_marks(), Marks::default());
    }
}

#[test]
fn a_commit_is_heard_and_what_git_does_besides_is_not() {
    for specs_are_the_checkout in [true, false] {
        let mut scene = scene(|specs| {
            create_dir(specs).unwrap();
            write(specs.join("a.yaml"), "a: 1").unwrap();
            let top = if specs_are_the_checkout { specs } else { specs.parent().unwrap() };
            git(top, &["init", "-q"]);
            git(top, &["commit", "-q", "--allow-empty", "-mone"]);
        });
        let specs = scene.specs.clone();
        scene.quiet();
        for args in [["rev-parse", "HEAD"].as_slice(), &["--no-optional-locks", "status"], &["cat-file", "-p", "HEAD"]] {
            git(&specs, args);
            assert_eq!(scene.within(Duration::from_millis(100)), None, "{args:?}");
        }
        for args in [
            ["add", "."].as_slice(),
            &["commit", "-qmtwo"],
            &["checkout", "-q", "-b", "deep/er"],
            &["commit", "-q", "--allow-empty", "-mthree"],
            &["reset", "-q", "--soft", "HEAD~1"],
        ] {
            git(&specs, args);
            assert!(scene.hint().is_some(), "{args:?}");
            scene.quiet();
        }
        assert_eq!(scene.watch.degraded(), None);
    }
}

#[test]
fn a_checkout_that_is_made_later_is_found_by_a_check() {
    let mut scene = scene(|specs| create_dir(specs).unwrap());
    let specs = scene.specs.clone();
    git(&specs, &["init", "-q"]);
    scene.quiet();
    scene.watch.check();
    assert!(scene.hint().is_some());
    scene.quiet();
    git(&specs, &["commit", "-q", "--allow-empty", "-mone"]);
    assert!(scene.hint().is_some());
}

#[test]
fn new_folders_are_watched_and_hidden_ones_are_not() {
    let mut scene = scene(|specs| create_dir_all(specs.join("old")).unwrap());
    write(scene.at("old/a.yaml"), "a: 1").unwrap();
    scene.mark("old/a.yaml", Arrival::ClosedWrite);
    create_dir_all(scene.at("new/er")).unwrap();
    assert!(scene.hint().is_some());
    scene.quiet();
    write(scene.at("new/er/b.yaml"), "a: 1").unwrap();
    scene.mark("new/er/b.yaml", Arrival::ClosedWrite);
    create_dir(scene.at(".git")).unwrap();
    scene.quiet();
    write(scene.at(".git/c.yaml"), "a: 1").unwrap();
    assert_eq!(scene.within(Duration::from_millis(200)), None);
}

#[test]
fn a_directory_that_is_replaced_is_found_again() {
    let mut scene = scene(|specs| create_dir(specs).unwrap());
    rename(&scene.specs, scene.dir.path().join("away")).unwrap();
    assert!(scene.hint().is_some());
    create_dir(&scene.specs).unwrap();
    assert!(scene.hint().is_some());
    scene.quiet();
    assert_eq!(scene.watch.degraded(), None);
    write(scene.at("a.yaml"), "a: 1").unwrap();
    scene.mark("a.yaml", Arrival::ClosedWrite);
    remove_dir_all(&scene.specs).unwrap();
    assert!(scene.hint().is_some());
    create_dir(&scene.specs).unwrap();
    scene.quiet();
    write(scene.at("b.yaml"), "a: 1").unwrap();
    scene.mark("b.yaml", Arrival::ClosedWrite);
}

#[test]
fn a_missing_directory_is_said_and_found_when_it_comes() {
    let mut scene = scene(|_| {});
    assert_eq!(scene.watch.degraded().as_deref(), Some("the specs directory is missing"));
    create_dir(&scene.specs).unwrap();
    while scene.watch.degraded().is_some() {
        assert!(scene.hint().is_some());
    }
    write(scene.at("a.yaml"), "a: 1").unwrap();
    scene.mark("a.yaml", Arrival::ClosedWrite);
}

#[test]
fn a_check_behind_each_hint_makes_no_loop_while_there_is_no_watch() {
    let mut scene = scene(|_| {});
    // As the engine does: each hint is a listing, and each listing a check.
    let mut hint = || {
        scene.watch.check();
        scene.within(Duration::from_millis(300)).is_some()
    };
    let hints = (0..12).filter(|_| hint()).count();
    // It is looked for after 0.1, 0.3, 0.7, 1.5 and 3.1 s: in a loop each of the twelve has its hint.
    assert!((2..=8).contains(&hints), "{hints} of 12");
    create_dir(&scene.specs).unwrap();
    while scene.watch.degraded().is_some() {
        assert!(scene.hint().is_some());
    }
}

#[test]
fn a_swapped_link_is_heard() {
    let mut scene = scene(|specs| {
        let above = specs.parent().unwrap();
        create_dir(above.join("v1")).unwrap();
        create_dir(above.join("v2")).unwrap();
        symlink("v1", specs).unwrap();
    });
    symlink("v2", scene.dir.path().join("tmp")).unwrap();
    rename(scene.dir.path().join("tmp"), &scene.specs).unwrap();
    assert!(scene.hint().is_some());
    scene.quiet();
    write(scene.dir.path().join("v2/a.yaml"), "a: 1").unwrap();
    scene.mark("a.yaml", Arrival::ClosedWrite);
    symlink("..v2", scene.at("..data_tmp")).unwrap();
    scene.quiet();
    rename(scene.at("..data_tmp"), scene.at("..data")).unwrap();
    assert!(scene.hint().is_some());
    assert!(scene.watch.take_marks().swapped);
}

#[test]
fn what_a_link_leads_to_is_heard_also_of_one_that_comes_later() {
    let mut scene = scene(|specs| {
        let above = specs.parent().unwrap();
        create_dir(specs).unwrap();
        create_dir_all(above.join("dots/deep")).unwrap();
        write(above.join("dots/a.yaml"), "a: 1").unwrap();
        symlink("../dots/a.yaml", specs.join("a.yaml")).unwrap();
    });
    let dots = scene.dir.path().join("dots");
    scene.quiet();
    write(dots.join("other.yaml"), "a: 1").unwrap();
    assert_eq!(scene.within(Duration::from_millis(100)), None, "nothing leads to it");
    write(dots.join("a.yaml"), "a: 2").unwrap();
    assert!(scene.hint().is_some());
    scene.quiet();
    write(dots.join("new"), "a: 3").unwrap();
    rename(dots.join("new"), dots.join("a.yaml")).unwrap();
    assert!(scene.hint().is_some());
    write(dots.join("deep/b.yaml"), "b: 1").unwrap();
    symlink(dots.join("deep/b.yaml"), scene.at("b.yaml")).unwrap();
    scene.quiet();
    write(dots.join("deep/b.yaml"), "b: 2").unwrap();
    assert!(scene.hint().is_some());
    std::fs::remove_file(dots.join("deep/b.yaml")).unwrap();
    scene.quiet();
    write(dots.join("deep/b.yaml"), "b: 3").unwrap();
    assert!(scene.hint().is_some(), "also of one that was gone for a while");
}

#[test]
fn a_watch_ends_in_the_middle_of_a_burst() {
    let (tell, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..20 {
            let scene = scene(|specs| create_dir(specs).unwrap());
            for n in 0..50 {
                write(scene.at(&format!("f{n}.yaml")), "a: 1").unwrap();
            }
            drop(scene);
            tell.send(()).unwrap();
        }
    });
    for n in 0..20 {
        assert_eq!(ended.recv_timeout(Duration::from_secs(20)), Ok(()), "watch {n} has not ended");
    }
}

#[test]
fn a_check_finds_what_no_event_told() {
    let mut scene = scene(|specs| create_dir_all(specs.join("sub")).unwrap());
    scene.quiet();
    scene.watch.check();
    assert_eq!(scene.within(Duration::from_millis(100)), None, "nothing changed, nothing is told");
    // The directory above is replaced: no watch hears of it.
    let above = scene.dir.path().to_owned();
    let aside = above.with_extension("aside");
    rename(&above, &aside).unwrap();
    create_dir_all(&scene.specs).unwrap();
    scene.watch.check();
    assert!(scene.hint().is_some());
    scene.quiet();
    write(scene.at("a.yaml"), "a: 1").unwrap();
    scene.mark("a.yaml", Arrival::ClosedWrite);
    remove_dir_all(aside).unwrap();
}
