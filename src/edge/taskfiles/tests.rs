//! Task files and results: where they are, who may reach them, and when they go.
//! On real directories.

use super::*;

fn of(pool: &str) -> SlotId {
    SlotId { pool: pool.into(), worker: "p-0".into() }
}

#[test]
fn slots_of_two_pools_have_files_of_their_own_whatever_they_are_called() {
    let dir = tempfile::tempdir().unwrap();
    let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
    for other in [None, Some((1, 1))] {
        let all = ["p", "q"].map(|pool| [files.task(&of(pool), other), files.result(&of(pool), 1, other)]);
        assert!(all[0].iter().all(|path| !all[1].contains(path)), "{all:?}");
    }
    std::fs::write(files.result(&of("p"), 1, None), "1").unwrap();
    assert_eq!((files.read_result(&of("q"), 1).result, files.read_result(&of("p"), 1).result), (None, Some(Value::from(1))));
}

#[test]
fn a_result_is_there_until_it_is_forgotten_and_never_read_through_a_link() {
    let dir = tempfile::tempdir().unwrap();
    let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
    assert_eq!(files.read_result(&of("p"), 1).result, None);
    std::fs::write(files.result(&of("p"), 1, None), "{\"a\": 1}").unwrap();
    for _read_again in 0..2 {
        assert_eq!(files.read_result(&of("p"), 1).result, Some(serde_json::json!({"a": 1})));
    }
    files.forget_result(&of("p"), 1);
    assert_eq!(files.read_result(&of("p"), 1).result, None);
    std::fs::write(files.result(&of("p"), 2, None), "done\n").unwrap();
    assert_eq!(files.read_result(&of("p"), 2).result, Some(Value::from("done\n")));
    std::fs::write(files.result(&of("p"), 2, None), r#"{"id": 123456789012345678901}"#).unwrap();
    assert_eq!(files.read_result(&of("p"), 2).result, Some(Value::from(r#"{"id": 123456789012345678901}"#)), "as it was written");
    std::fs::write(dir.path().join("secret"), "s").unwrap();
    std::os::unix::fs::symlink(dir.path().join("secret"), files.result(&of("p"), 3, None)).unwrap();
    assert_eq!(files.read_result(&of("p"), 3).result, None);
    assert!(files.read_result(&of("p"), 3).lost.is_some_and(|lost| lost.contains("not kept: Too many levels of symbolic links")));
    std::fs::write(files.result(&of("p"), 4, None), vec![b'x'; PAYLOAD_BYTES_MAX + 1]).unwrap();
    let large = files.read_result(&of("p"), 4);
    assert!(large.result.is_none() && large.lost.is_some_and(|lost| lost.contains("more than 262144 bytes")));
    std::fs::write(files.result(&of("p"), 5, None), vec![1; PAYLOAD_BYTES_MAX]).unwrap();
    let whole = files.read_result(&of("p"), 5).result.unwrap();
    assert_eq!(whole.as_str().unwrap().len(), PAYLOAD_BYTES_MAX, "as JSON each is \\u0001, and what counts is the file");
}

#[test]
fn of_the_results_of_daemons_before_those_stay_whose_tasks_have_not_ended() {
    let dir = tempfile::tempdir().unwrap();
    let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
    files.put((&of("p"), 1), "{}", None).unwrap();
    let all = [(&of("p"), 1), (&of("p"), 2), (&of("q"), 2)];
    for (slot, run) in all {
        std::fs::write(files.result(slot, run, None), "1").unwrap();
    }
    files.sweep_results(&[Task { pool: "p".into(), worker: Some("p-0".into()), run: 2, ..Task::default() }]);
    let left = all.map(|(slot, run)| files.read_result(slot, run).result.is_some());
    assert_eq!(left, [false, true, false]);
    assert!(files.task(&of("p"), None).exists(), "nothing else is removed");
}

#[test]
fn files_of_what_is_no_more_go_and_others_stay() {
    let dir = tempfile::tempdir().unwrap();
    let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
    let me = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (pool, other) in [("p", None), ("q", None), ("r", Some(me))] {
        files.put((&of(pool), 1), "{}", other).unwrap();
    }
    let kept = ["7.log", "7.log.1", "notes.txt"];
    for name in ["8.log", "8.log.1", "8.log.2"].iter().chain(&kept) {
        std::fs::write(dir.path().join("logs/tasks").join(name), "").unwrap();
    }
    assert!(files.sweep(|_, _| Err("busy".into()), |_| Ok(false)).is_err());
    assert!(files.sweep(|_, _| Ok(true), |_| Err("busy".into())).is_err());
    assert!(files.log(8).exists() && files.task(&of("q"), None).exists(), "who does not know removes nothing");
    files.sweep(|pool, worker| Ok((pool, worker) == ("p", "p-0")), |id| Ok(id == 7)).unwrap();
    let there = |pool: &str, other| files.task(&of(pool), other).exists();
    assert_eq!((there("p", None), there("q", None), there("r", Some(me))), (true, false, false));
    let logs = std::fs::read_dir(dir.path().join("logs/tasks")).unwrap().flatten();
    let logs: BTreeSet<String> = logs.map(|entry| entry.file_name().into_string().unwrap()).collect();
    assert_eq!(logs, BTreeSet::from(kept.map(str::to_owned)));
    files.forget_slot(&of("p"));
    assert!(!there("p", None));
}

#[test]
fn a_run_is_told_what_of_its_task_others_wrote() {
    let given = |task: Task| serde_json::from_str::<Value>(&TaskFiles::text(&task)).unwrap();
    let own = given(Task { source: "submit".into(), ..Task::default() });
    assert_eq!((&own["source"], own.get("untrustedFields")), (&Value::from("submit"), None));
    let theirs = given(Task { untrusted_fields: vec!["title".into()], ..Task::default() });
    assert_eq!(theirs["untrustedFields"], serde_json::json!(["title"]));
}

#[test]
fn a_task_is_written_over_the_one_before_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
    let path = files.task(&of("p"), None);
    files.put((&of("p"), 1), "{\"a\": \"long\"}", None).unwrap();
    let inode = std::fs::metadata(&path).unwrap().ino();
    files.put((&of("p"), 1), "{}", None).unwrap();
    assert_eq!((std::fs::read_to_string(&path).unwrap().as_str(), std::fs::metadata(&path).unwrap().ino()), ("{}", inode));
    let other = dir.path().join("other");
    for symbolic in [true, false] {
        std::fs::write(&other, "mine").unwrap();
        std::fs::remove_file(&path).unwrap();
        let linked = if symbolic { std::os::unix::fs::symlink(&other, &path) } else { std::fs::hard_link(&other, &path) };
        linked.unwrap();
        files.put((&of("p"), 1), "{}", None).unwrap();
        assert_eq!(std::fs::read_to_string(&other).unwrap(), "mine");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "{}");
    }
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn a_directory_that_somebody_removed_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
    std::fs::remove_dir_all(dir.path().join("tasks")).unwrap();
    files.put((&of("p"), 1), "{}", None).unwrap();
    assert_eq!(std::fs::read_to_string(files.task(&of("p"), None)).unwrap(), "{}");
    assert_eq!(std::fs::metadata(dir.path().join("tasks")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn another_user_has_files_of_its_own_in_a_directory_of_ours() {
    let dir = tempfile::tempdir().unwrap();
    let others = dir.path().join("run/tasks");
    let files = TaskFiles::open(dir.path(), others.clone()).unwrap();
    // Only root may give a file away.
    let me = rustix::process::geteuid();
    let other = Some(if me.is_root() { (65534, 65534) } else { (me.as_raw(), rustix::process::getegid().as_raw()) });
    files.put((&of("p"), 7), "{}", other).unwrap();
    for path in [files.task(&of("p"), other), files.result(&of("p"), 7, other)] {
        let meta = std::fs::metadata(&path).unwrap();
        assert_eq!((path.parent(), Some((meta.uid(), meta.gid())), meta.mode() & 0o777), (Some(&*others), other, 0o600));
    }
    assert_eq!(std::fs::metadata(&others).unwrap().mode() & 0o777, 0o711);
    assert_eq!(files.read_result(&of("p"), 7).result, None, "nothing was written");
    files.put((&of("p"), 7), "{}", other).unwrap();
    std::fs::write(files.result(&of("p"), 7, other), "[7]").unwrap();
    assert_eq!(files.read_result(&of("p"), 7).result, Some(serde_json::json!([7])));
    let next = TaskFiles::open(dir.path(), others.clone()).unwrap();
    assert_eq!(next.read_result(&of("p"), 7).result, Some(serde_json::json!([7])), "of the daemon before");
    files.forget_result(&of("p"), 7);
    assert!(!files.result(&of("p"), 7, other).exists());
}

#[test]
fn starts_at_once_find_the_directory_of_others_made() {
    let me = Some((rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()));
    for _ in 0..50 {
        let dir = tempfile::tempdir().unwrap();
        let files = TaskFiles::open(dir.path(), dir.path().join("run/id/tasks")).unwrap();
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..4)
                .map(|run| {
                    scope.spawn({
                        let files = &files;
                        move || files.put((&SlotId { pool: "p".into(), worker: format!("p-{run}") }, run), "{}", me)
                    })
                })
                .collect();
            all.into_iter().for_each(|put| assert_eq!(put.join().unwrap(), Ok(())));
        });
    }
}

#[test]
fn the_tail_is_the_end_and_logs_go_with_their_rotations() {
    let dir = tempfile::tempdir().unwrap();
    let files = TaskFiles::open(dir.path(), dir.path().join("others")).unwrap();
    assert_eq!(files.tail(7, None), "");
    std::fs::write(files.log(7), format!("{}usage limit\n", "x".repeat(9000))).unwrap();
    assert!(files.tail(7, None).ends_with("usage limit\n") && files.tail(7, None).len() == 4096);
    let inode = std::fs::metadata(files.log(7)).unwrap().ino();
    assert_eq!(files.tail(7, Some((inode, 9006))), "limit\n", "only what was written since");
    assert_eq!(files.tail(7, Some((inode + 1, 9006))).len(), 4096, "it began in a file that was rotated away");
    std::fs::write(dir.path().join("logs/tasks/7.log.1"), "").unwrap();
    files.forget(&[7, 8]);
    assert_eq!(std::fs::read_dir(dir.path().join("logs/tasks")).unwrap().count(), 0);
}
