//! What the client says of tasks, and for how long it waits: bounds that hold, lists that say where they end, refusals with words.

use std::io::Read;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use weir::model::status::{Kind, Object, ScheduleStatus};
use weir::model::task::NewTask;
use weir::model::time::Wall;

use super::served::{PATIENCE, World, until};
use super::{lease, on_lease, queued, submit, task, world};

#[test]
#[expect(clippy::disallowed_methods, reason = "the real client is timed from outside")]
fn a_wait_for_many_has_one_bound_and_none_of_zero_looks_once() {
    let world = world();
    let began = Instant::now();
    let late = world.ctl("submit takes --count 12 --wait=1s -- x");
    assert!(late.err.starts_with("error: timed out after 1s waiting for 12 tasks, task/1 the first; it goes on"), "{}", late.err);
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    let mut once = world
        .command()
        .args(["submit", "takes", "--wait=0s", "--", "x"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut code = None;
    until("an end", || {
        code = once.try_wait().unwrap();
        code.is_some() || (began.elapsed() > PATIENCE && once.kill().is_ok())
    });
    assert_eq!(code.and_then(|code| code.code()), Some(1));
}

#[test]
fn an_interrupted_wait_says_what_goes_on() {
    let world = world();
    let words = ["submit", "takes", "--wait", "-o", "name", "--", "x"];
    let mut waits = world.command().args(words).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    until("the task", || task(&world, 1)["id"] == 1);
    let mut told = String::new();
    // Before it waits it ends as everything does.
    let status = format!("/proc/{}/status", waits.id());
    let caught = |line: &str| u64::from_str_radix(line.strip_prefix("SigCgt:")?.trim(), 16).ok();
    let hears = |text: String| text.lines().find_map(caught).is_some_and(|signals| signals & 2 > 0);
    until("it hears of interrupts", || std::fs::read_to_string(&status).is_ok_and(hears));
    let pid = rustix::process::Pid::from_child(&waits);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    waits.stderr.take().unwrap().read_to_string(&mut told).unwrap();
    assert!(told.starts_with("interrupted waiting for task/1; it goes on: ctl wait task/1"), "{told}");
    assert_eq!(std::os::unix::process::ExitStatusExt::signal(&waits.wait().unwrap()), Some(2));
}

#[test]
fn what_had_ended_before_is_said_once() {
    let world = world();
    submit(&world, "takes", &json!({"idempotencyKey": "a"}));
    let leased = lease(&world);
    assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({"result": 7})).0, 200);
    let known = world.ctl("submit takes --wait --idempotency-key a -- x");
    assert_eq!((known.code, known.out.as_str()), (0, "task/1 succeeded (known before)\n7\n"), "{}", known.err);
    assert_eq!(world.ctl("submit takes --idempotency-key a -- x").out, "task/1 succeeded (known before)\n");
}

#[test]
fn a_list_of_tasks_says_where_it_ends() {
    let world = world();
    world.block_on(world.handle.submit("takes", vec![NewTask::default(); 501])).unwrap();
    let names = world.ctl("get tasks -o name");
    assert_eq!((names.out.lines().count(), names.err.as_str()), (501, ""));
    let table = world.ctl("get tasks --no-headers");
    assert_eq!(table.out.lines().count(), 500);
    assert!(table.err.starts_with("only the first 500 tasks are shown; --limit N shows up to 10000"), "{}", table.err);
    for words in ["get tasks --limit 501", "get tasks --limit 500"] {
        assert_eq!(world.ctl(words).err, "", "{words}");
    }
    let both = world.ctl("get tasks 1 2 --pool runs");
    assert!(both.code == 2 && both.err.contains("--pool"), "{both:?}");
    assert_eq!(world.ctl("get tasks 1 --status Dead").code, 2);
}

#[test]
fn a_number_that_cannot_be_carried_is_refused() {
    let world = world();
    for text in ["12345678901234567890123", "{\"a\":[1e400]}"] {
        let ran = world.run(&["submit", "takes", "--", text]);
        assert!(ran.code == 2 && ran.err.contains("Send it as a string"), "{ran:?}");
    }
    assert_eq!(world.run(&["submit", "takes", "-o", "jsonpath={.payload}", "--", "[0.1,1e3]"]).out.trim(), "[0.1,1000.0]");
    // A result with one is refused too, and its task stays with the worker; what was typed is kept as it was.
    let leased = lease(&world);
    let token = leased["token"].as_str().unwrap();
    for verb in ["complete", "fail"] {
        let (code, told) = world.request(&format!("POST /v1/leases/{token}/{verb}"), br#"{"result": [12345678901234567890123]}"#);
        assert!(code == 400 && told.contains("Send it as a string"), "{code} {told}");
        assert_eq!(task(&world, 1)["state"], "Leased");
    }
    assert_eq!(world.run(&["task", "done", token, "--result", "12345678901234567890123"]).code, 0);
    assert_eq!(task(&world, 1)["result"], "12345678901234567890123");
}

#[test]
fn a_queue_that_rests_is_not_tested() {
    let world = world();
    assert_eq!(world.ctl("pause queue/runs").code, 0);
    // What is published of the pool is a little behind, or as here does not say so.
    let ran = world.run(&["capacity-test", "runs", "--to", "1", "--", "x"]);
    assert!(ran.code == 1 && ran.err.contains("its queue is paused until it is resumed: ctl resume queue/runs"), "{ran:?}");
    assert_eq!(world.ctl("get tasks -o name").out, "");
}

#[test]
fn a_cancelled_task_is_said_to_be_no_more_than_that() {
    let world = world();
    submit(&world, "takes", &json!({}));
    assert_eq!(world.ctl("cancel 1").code, 0);
    let waited = world.ctl("wait task/1");
    assert_eq!((waited.code, waited.err.as_str()), (1, "task/1 cancelled\n"));
    let sheet = world.ctl("describe task/1").out;
    assert!(!sheet.contains("Message:"), "{sheet}");
}

#[test]
fn recurring_tasks_are_shown_with_their_next_time() {
    let world = World::new();
    let nightly = "{name: nightly, cron: \"0 3 * * *\", timeZone: Europe/Amsterdam}";
    queued(
        &world,
        "takes",
        &format!("{{schedules: [{nightly}, {{name: pulse, every: 30s, count: 6}}, {{name: new, every: 1h}}]}}"),
    );
    let Object::Pool(mut object) = (*world.board.get(Kind::Pool, "takes").unwrap()).clone() else { panic!("a pool") };
    let of = |name: &str, next, count| ScheduleStatus { name: name.into(), next, count };
    object.status.queue.as_mut().unwrap().schedules = vec![of("nightly", Some(Wall(4_000_000_000_000)), 2), of("pulse", None, 6)];
    world.board.put(Object::Pool(object));
    let sheet = world.ctl("describe pool/takes").out;
    let (_, shown) = sheet.split_once("Schedules:\n").expect("they are shown");
    let lines: Vec<&str> = shown.lines().take(3).collect();
    assert!(lines[0].starts_with("  nightly: 0 3 * * * (Europe/Amsterdam) | next 2096-10-02T07:06:40.000Z (in "), "{sheet}");
    assert!(lines[0].ends_with(" | came 2 times"), "{sheet}");
    assert_eq!(lines[1..], ["  pulse: every 30s | comes no more: came 6 times", "  new: every 1h"], "{sheet}");
    let status: Value = serde_json::from_str(&world.ctl("get pool/takes -o json").out).unwrap();
    assert_eq!(status["status"]["queue"]["schedules"][1], json!({"name": "pulse", "count": 6}));
}
