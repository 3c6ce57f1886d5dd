//! Listing real directories, with everything in them that is no spec.
//! Real directories, links, pipes and sockets; nothing here may block or follow what it must not.

use std::fs::{create_dir, create_dir_all, remove_dir_all, remove_file, rename, write};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::time::{Duration, Instant};

use super::*;
use crate::model::time::{Moment, Wall};

const POOL: &str = "apiVersion: weir.dev/v1\nkind: WorkerPool\nmetadata: {name: a}\nspec: {template: {command: [run]}}\n";

/// Far enough ahead of every stamp that nothing is racy.
fn later() -> Now {
    Now { mono: Moment(1), wall: Wall(i64::MAX / 2) }
}

fn whole(specs: &mut Specs) -> Whole {
    match specs.list(&Marks::default(), later()) {
        Listing::Files(whole) => whole,
        Listing::Unreadable(reason) => panic!("{reason}"),
    }
}

fn names(whole: &Whole) -> Vec<&str> {
    whole.files.keys().map(String::as_str).collect()
}

fn refusal(whole: &Whole, name: &str) -> String {
    match &whole.files[name].content {
        Err(reason) => reason.clone(),
        Ok(content) => content.documents[0].as_ref().unwrap_err().violations[0].to_string(),
    }
}

#[test]
fn only_names_that_count_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    let good = ["a.yaml", "b.yml", "0-x_y.z.yaml", "sub/c.yaml", "sub/deep/d.yaml"];
    let bad = [
        ".a.yaml",
        "A.yaml",
        "a.yaml~",
        "#a.yaml#",
        ".a.yaml.swp",
        "4913",
        "a.yaml.bak",
        "-a.yaml",
        ".yaml",
        "é.yaml",
        ".git/x.yaml",
        "sub/.h/x.yaml",
    ];
    create_dir_all(dir.path().join("sub/deep")).unwrap();
    create_dir_all(dir.path().join(".git")).unwrap();
    create_dir_all(dir.path().join("sub/.h")).unwrap();
    for name in good.iter().chain(&bad) {
        write(dir.path().join(name), POOL).unwrap();
    }
    let mut expected = good.to_vec();
    expected.sort_unstable();
    assert_eq!(names(&whole(&mut Specs::new(dir.path()))), expected);
}

#[test]
fn names_that_look_like_specs_and_do_not_count_are_told() {
    use std::os::unix::ffi::OsStrExt;
    let dir = tempfile::tempdir().unwrap();
    let told = ["-a.yaml", "A.yaml", "a b.yaml", "a.YML", "sub/_a.yml"];
    create_dir_all(dir.path().join("sub/Folder.yaml")).unwrap();
    for name in ["a.yaml", ".A.yaml", ".#a.yaml", "a.yaml~", "#a.yaml#", "README.md"].iter().chain(&told) {
        write(dir.path().join(name), POOL).unwrap();
    }
    write(dir.path().join(std::ffi::OsStr::from_bytes(b"\xff.yaml")), POOL).unwrap();
    let overlooked = whole(&mut Specs::new(dir.path())).overlooked;
    let mut expected: BTreeSet<String> = told.iter().map(|name| (*name).to_owned()).collect();
    expected.insert("\u{fffd}.yaml".into());
    assert_eq!(overlooked, expected);
}

#[test]
fn nothing_but_regular_files_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    rustix::fs::mknodat(CWD, at("fifo.yaml"), FileType::Fifo, Mode::RWXU, 0).unwrap();
    let _socket = UnixListener::bind(at("socket.yaml")).unwrap();
    symlink("/dev/zero", at("zero.yaml")).unwrap();
    symlink("fifo.yaml", at("link.yaml")).unwrap();
    symlink("self.yaml", at("self.yaml")).unwrap();
    symlink("nowhere", at("dangling.yaml")).unwrap();
    symlink("/", at("root.yaml")).unwrap();
    symlink(".", at("loop")).unwrap();
    StdFile::create(at("sparse.yaml")).unwrap().set_len(1 << 30).unwrap();
    write(at("nul.yaml"), b"a: \0").unwrap();
    write(at("good.yaml"), POOL).unwrap();
    #[expect(clippy::disallowed_methods, reason = "a bound on real time is what is tested")]
    let start = Instant::now();
    let whole = whole(&mut Specs::new(dir.path()));
    assert!(start.elapsed() < Duration::from_secs(2));
    assert_eq!(whole.files.len(), 10);
    let told = [
        ("fifo.yaml", "a FIFO"),
        ("socket.yaml", "a socket"),
        ("zero.yaml", "a device"),
        ("link.yaml", "a FIFO"),
        ("self.yaml", "cannot be followed"),
        ("dangling.yaml", "cannot be followed"),
        ("root.yaml", "a folder"),
        ("sparse.yaml", "at most 262144"),
        ("nul.yaml", "NUL"),
    ];
    for (name, words) in told {
        assert!(refusal(&whole, name).contains(words), "{name}: {}", refusal(&whole, name));
    }
    assert!(whole.files["good.yaml"].content.as_ref().unwrap().documents[0].is_ok());
}

#[test]
fn nothing_of_a_foreign_file_is_told() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for (n, secret) in
        ["root:SECRET:1:0", "SECRET: 1\nSECRET: 2", "- SECRET", "apiVersion: SECRET\nkind: SECRET", "{SECRET: [", "kind: SECRET"]
            .iter()
            .enumerate()
    {
        write(outside.path().join("secret"), secret).unwrap();
        let link = dir.path().join(format!("l{n}.yaml"));
        symlink(outside.path().join("secret"), &link).unwrap();
        let told = format!("{:?}", whole(&mut Specs::new(dir.path())));
        assert!(!told.contains("SECRET"), "{secret}: {told}");
        remove_file(link).unwrap();
    }
}

#[test]
fn the_layout_of_a_config_map_is_read_and_its_swap_is_seen() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name);
    create_dir(at("..v1")).unwrap();
    write(at("..v1/a.yaml"), POOL).unwrap();
    symlink("..v1", at("..data")).unwrap();
    symlink("..data/a.yaml", at("a.yaml")).unwrap();
    let mut specs = Specs::new(dir.path());
    let before = whole(&mut specs);
    assert_eq!(names(&before), ["a.yaml"]);
    create_dir(at("..v2")).unwrap();
    write(at("..v2/a.yaml"), POOL.replace("run", "other")).unwrap();
    symlink("..v2", at("..data_tmp")).unwrap();
    rename(at("..data_tmp"), at("..data")).unwrap();
    let Listing::Files(after) = specs.list(&Marks { swapped: true, ..Marks::default() }, later()) else { panic!() };
    assert_eq!(after.files["a.yaml"].arrival, Arrival::RenamedIn);
    assert_ne!(after.files["a.yaml"].content, before.files["a.yaml"].content);
}

#[test]
fn what_cannot_be_read_is_not_empty() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("specs");
    let mut specs = Specs::new(&path);
    let unreadable = |specs: &mut Specs| matches!(specs.list(&Marks::default(), later()), Listing::Unreadable(_));
    assert!(unreadable(&mut specs), "missing");
    write(&path, "").unwrap();
    assert!(unreadable(&mut specs), "a file");
    remove_file(&path).unwrap();
    symlink("nowhere", &path).unwrap();
    assert!(unreadable(&mut specs), "a dangling link");
    remove_file(&path).unwrap();
    symlink("specs", &path).unwrap();
    assert!(unreadable(&mut specs), "a loop");
    remove_file(&path).unwrap();
    rustix::fs::mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
    assert!(unreadable(&mut specs), "a FIFO");
    remove_file(&path).unwrap();
    create_dir(&path).unwrap();
    let first = whole(&mut specs);
    assert_eq!(first.files.len(), 0);
    remove_dir_all(&path).unwrap();
    create_dir(dir.path().join("x")).unwrap();
    create_dir(&path).unwrap();
    assert_eq!(root_of(&path), Some(whole(&mut specs).root));
}

#[test]
fn what_did_not_change_is_not_read_again_but_what_may_have_is() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.yaml");
    write(&path, POOL).unwrap();
    let mut specs = Specs::new(dir.path());
    let content = |whole: &Whole| whole.files["a.yaml"].content.clone().unwrap();
    let first = content(&whole(&mut specs));
    assert!(Arc::ptr_eq(&first, &content(&whole(&mut specs))));
    write(&path, POOL.replace("run", "ran")).unwrap();
    assert_ne!(first.hash, content(&whole(&mut specs)).hash, "same size, another time");
    let (mut specs, now) = (Specs::new(dir.path()), Now { mono: Moment(1), wall: Wall(0) });
    let one = specs.list(&Marks::default(), now);
    let two = specs.list(&Marks::default(), now);
    let (Listing::Files(one), Listing::Files(two)) = (one, two) else { panic!() };
    assert!(!Arc::ptr_eq(&content(&one), &content(&two)), "a stamp of just now may hide a write");
}

#[test]
fn arrivals_are_those_of_the_marks() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path().join("a.yaml"), POOL).unwrap();
    let marks = Marks { arrivals: [("a.yaml".to_owned(), Arrival::ClosedWrite)].into(), ..Marks::default() };
    let Listing::Files(whole) = Specs::new(dir.path()).list(&marks, later()) else { panic!() };
    assert_eq!(whole.files["a.yaml"].arrival, Arrival::ClosedWrite);
    let lost = Marks { overflown: true, ..Marks::default() };
    let Listing::Files(whole) = Specs::new(dir.path()).list(&lost, later()) else { panic!() };
    assert_eq!(whole.files["a.yaml"].arrival, Arrival::Unheard);
}
