//! What the client does with tasks beyond one at a time: watches, waits, selections, and what it says where something is doubtful.

use serde_json::{Value, json};
use weir::model::status::{EventObject, Kind, Object};

use super::served::{Ran, Running, World};
use super::{NewTask, ask, lease, on_lease, submit, task, wish, world};

/// The first two cells and the state.
fn row(of: &mut Running) -> String {
    let line = of.line();
    line.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn said(world: &World, words: &str) -> String {
    let ran = world.ctl(words);
    assert_eq!(ran.code, 0, "{words}: {} {}", ran.out, ran.err);
    ran.out
}

#[test]
fn tasks_are_watched_sorted_and_selected() {
    let world = world();
    let first = submit(&world, "takes", &json!({"priority": 1}));
    submit(&world, "runs", &json!({"priority": 7, "hold": true}));
    let mut all = Running::start(&world, "get tasks -w");
    assert!(all.line().starts_with("ID   POOL"));
    let listed = [row(&mut all), row(&mut all)];
    assert_eq!(listed, ["2 runs Held", "1 takes Queued"]);
    let mut some = Running::start(&world, "get tasks -w --no-headers --pool takes --status Running");
    let leased = lease(&world);
    assert_eq!((row(&mut all), row(&mut some)), ("1 takes Running".into(), "1 takes Running".into()));
    assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({})).0, 200);
    assert_eq!((row(&mut all), row(&mut some)), ("1 takes Succeeded".into(), "1 takes Succeeded".into()), "its end is seen");
    submit(&world, "takes", &json!({"delay": "1h", "priority": 3}));
    assert_eq!(row(&mut all), "3 takes Delayed");
    let mut only = Running::start(&world, "get task 2 -w -o jsonpath={.state}\n");
    assert_eq!(only.line(), "Held");
    said(&world, "cancel 2");
    assert_eq!((row(&mut all), only.line()), ("2 runs Cancelled".into(), "Cancelled".into()), "once, and no second time");
    submit(&world, "takes", &json!({}));
    assert_eq!(row(&mut all), "4 takes Queued");
    for (words, ids) in [
        ("get tasks -o name --sort-by .priority", "task/4\ntask/1\ntask/3\ntask/2\n"),
        ("get tasks -o name --sort-by={.id}", "task/1\ntask/2\ntask/3\ntask/4\n"),
        ("get tasks -o name -l weir.dev/pool=runs", "task/2\n"),
        ("get tasks -o name -l weir.dev/worker=takes-0 --pool pool/takes", "task/1\n"),
        ("get tasks -o name --status delayed,cancelled", "task/3\ntask/2\n"),
        ("get tasks -o name --status Queued --pool queue/takes", "task/4\ntask/3\n"),
        ("get tasks -o name --status Delayed --limit 1", "task/3\n"),
    ] {
        assert_eq!(said(&world, words), ids, "{words}");
    }
    assert_eq!(world.ctl("get tasks --sort-by {").code, 2);
    let refused = world.ctl("get tasks --status Runing");
    assert!(refused.code == 2 && refused.err.contains("found \"Runing\""), "{}", refused.err);
    assert_eq!(task(&world, first)["state"], "Succeeded");
}

#[test]
fn the_columns_of_a_watch_stand_still() {
    let world = world();
    let mut watch = Running::start(&world, "get tasks -w --pool takes");
    submit(&world, "takes", &json!({}));
    let mut lines = vec![watch.line(), watch.line()];
    let leased = lease(&world);
    lines.push(watch.line());
    assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({})).0, 200);
    lines.push(watch.line());
    let begins = |line: &str, word: &str| line.find(word).unwrap_or_else(|| panic!("no {word}: {lines:#?}"));
    for (head, cells) in
        [("STATE", ["Queued", "Running", "Succeeded"]), ("PRI", [" 0 "; 3]), ("WORKER", [" - ", "takes-0", "takes-0"])]
    {
        for (line, cell) in lines[1..].iter().zip(cells) {
            let before = usize::from(cell.starts_with(' '));
            assert_eq!(begins(line, cell) + before, begins(&lines[0], head), "{head}: {lines:#?}");
        }
    }
}

#[test]
fn what_waits_for_a_pool_that_is_gone_is_shown_and_what_is_told_of_a_task_is_found_with_it() {
    let world = world();
    let ids = [(); 2].map(|()| submit(&world, "takes", &json!({})));
    for (name, note) in
        [("a", "task 1, attempt 1 of 2 on takes-0: exit code 3"), ("b", "task 11 is dead"), ("c", "all workers are ready")]
    {
        let mut event = EventObject { regarding: "pool/takes".into(), note: note.into(), ..EventObject::default() };
        event.metadata.name = name.into();
        world.board.put(Object::Event(Box::new(event)));
    }
    let described = said(&world, &format!("describe task/{}", ids[0]));
    assert!(
        described.contains("attempt 1 of 2") && !described.contains("is dead") && !described.contains("are ready"),
        "{described}"
    );
    world.board.remove(Kind::Pool, "takes");
    let waits = said(&world, "queue takes");
    assert!(waits.contains("2 tasks; no document gives it a queue") && waits.lines().count() == 4, "{waits}");
    let none = world.ctl("get tasks --pool takes --status Running");
    assert_eq!((none.code, none.out.as_str()), (0, ""), "{}", none.err);
    for unknown in ["queue nosuch", "get tasks --pool nosuch --status Running"] {
        assert_eq!(world.ctl(unknown).code, 1, "{unknown}");
    }
}

#[test]
fn a_task_is_waited_for() {
    let world = world();
    submit(&world, "takes", &json!({}));
    let late = world.ctl("wait task/1 --timeout 1s");
    assert_eq!(late.code, 1);
    assert!(late.err.starts_with("error: timed out waiting for task/1: task/1 queued, position 1; it goes on: "), "{}", late.err);
    let mut runs = Running::start(&world, "wait --for=condition=Running task/1 --timeout 20s");
    let mut ended = Running::start(&world, "wait task 1 --timeout 20s");
    let mut path = Running::start(&world, "wait task/1 --for=jsonpath={.status.state}=Succeeded --timeout 20s");
    let leased = lease(&world);
    assert_eq!(runs.line(), "task/1 condition met");
    assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({})).0, 200);
    assert_eq!((ended.line().as_str(), path.line().as_str()), ("task/1 succeeded", "task/1 condition met"));
    assert_eq!(said(&world, "wait task/1"), "task/1 succeeded\n", "it has ended before");
    submit(&world, "takes", &json!({"hold": true}));
    said(&world, "cancel 2");
    let bad = world.ctl("wait task/1 task/2");
    assert_eq!((bad.code, bad.out.as_str()), (1, "task/1 succeeded\n"));
    assert!(bad.err.starts_with("task/2 cancelled"), "{}", bad.err);
    let never = world.ctl("wait task/2 --for=condition=Succeeded");
    assert!(never.code == 1 && never.err.contains("it will not come to be so: task/2 cancelled"), "{}", never.err);
    assert_eq!(said(&world, "wait --for=delete task/2"), "task/2 condition met\n");
    for (words, code) in [("wait task/9", 1), ("wait task/1 --for=condition=Ready", 2), ("wait pool/takes", 2), ("wait task", 2)]
    {
        assert_eq!(world.ctl(words).code, code, "{words}");
    }
}

#[test]
fn tasks_and_queues_are_named_beside_the_rest() {
    let world = world();
    assert_eq!(said(&world, "submit queue/takes -- 1"), "task/1 queued, position 1\n");
    let both = said(&world, "get pools,tasks");
    assert!(both.starts_with("NAME") && both.contains("\n\nID   POOL") && both.contains("\n1    takes"), "{both}");
    assert_eq!(said(&world, "get tasks,pools -o name"), "pool/runs\npool/takes\ntask/1\n");
    assert_eq!(world.ctl("get pools,tasks -o json").code, 2);
    assert!(said(&world, "queue queue/takes").contains("1 queued"));
    assert!(said(&world, "describe queue/takes").starts_with("Name:"));
    assert_eq!(said(&world, "drain queue/takes --no-wait").lines().count(), 1);
    assert_eq!(said(&world, "delete task/1 --dry-run"), "task/1 cancelled (dry run)\n");
    assert_eq!(task(&world, 1)["state"], "Queued");
    assert_eq!(said(&world, "delete task/1"), "task/1 cancelled\n");
    assert_eq!(world.ctl("delete task/1").code, 1);
    let mixed = world.ctl("get pool/takes task/1");
    assert!(mixed.code == 2 && mixed.err.contains("without names of other types beside it"), "{}", mixed.err);
}

#[test]
fn many_tasks_are_changed_only_where_all_of_them_are_meant() {
    let world = world();
    submit(&world, "takes", &json!({"hold": true}));
    submit(&world, "takes", &json!({"hold": true}));
    submit(&world, "runs", &json!({"hold": true}));
    let asked = world.ctl("release --pool takes");
    assert_eq!((asked.code, asked.out.lines().count()), (1, 3), "{}", asked.out);
    assert!(asked.err.contains("2 tasks would be released: add --all"), "{}", asked.err);
    assert_eq!(said(&world, "release --pool takes --all"), "task/1 released\ntask/2 released\n");
    assert_eq!(said(&world, "cancel --pool takes --status Queued --all"), "task/1 cancelled\ntask/2 cancelled\n");
    assert_eq!(said(&world, "retry --status Cancelled --all"), "task/1 queued again\ntask/2 queued again\n");
    assert_eq!(said(&world, "retry --pool takes --all"), "", "none are left");
    for words in ["cancel --all", "cancel 1 --pool takes", "release --pool takes --status Nonsense --all", "retry"] {
        assert_eq!(world.ctl(words).code, 2, "{words}");
    }
    assert_eq!(task(&world, 3)["state"], "Held");
}

#[test]
fn what_is_cancelled_with_others_goes_before_those_that_would_take_it_along_or_make_room_for_it() {
    let world = world();
    submit(&world, "takes", &json!({}));
    lease(&world);
    submit(&world, "takes", &json!({}));
    submit(&world, "takes", &json!({"after": [2]}));
    submit(&world, "takes", &json!({"after": [3]}));
    let done = world.ctl("cancel --pool takes --all");
    let told = "task/4 cancelled\ntask/3 cancelled\ntask/2 cancelled\ntask/1 is being stopped\n";
    assert_eq!((done.code, done.out.as_str(), done.err.as_str()), (0, told, "4 tasks cancelled\n"));
}

#[test]
fn all_that_are_meant_are_reached_however_many_can_be_listed_at_once() {
    let world = world();
    let large = "x".repeat(200 << 10);
    for _ in 0..100 {
        submit(&world, "takes", &json!({"payload": large}));
    }
    let shown = world.ctl("cancel --pool takes");
    assert!(shown.err.contains(" tasks and all that are not shown here would be cancelled"), "{}", shown.err);
    assert!(shown.out.lines().count() < 100, "more than can be carried at once");
    let done = world.ctl("cancel --pool takes --all");
    assert_eq!((done.code, done.out.lines().count(), done.err.as_str()), (0, 100, "100 tasks cancelled\n"));
    assert_eq!(said(&world, "get tasks --pool takes --status Queued -o name"), "");
}

#[test]
fn a_payload_reaches_a_worker_as_it_was_given() {
    let world = world();
    let payload = json!({"a": "\u{1f468}\u{200d}\u{1f469}\u{202e}\u{feff} \u{1b}[0m"});
    submit(&world, "takes", &json!({"payload": payload}));
    let mut command = world.command();
    command.args(["task", "next", "-o", "jsonpath={.token} {.payload}"]);
    command.envs([("WEIR_POOL", "takes"), ("WEIR_WORKER", "takes-0"), ("WEIR_RUN", "4")]);
    let line = Ran::of(command.output().unwrap()).out;
    let (_, given) = line.split_once(' ').unwrap();
    assert_eq!(serde_json::from_str::<Value>(given).unwrap(), payload, "{line}");
    assert_eq!(said(&world, "get task/1 -o jsonpath={.payload.a}"), payload["a"].as_str().unwrap());
    let yaml = said(&world, "get task/1 -o yaml");
    assert!(yaml.contains('\u{202e}') || yaml.contains("\\u202e"), "{yaml}");
}

#[test]
fn a_payload_that_looks_wrong_is_told_of() {
    let world = world();
    let broken = world.scratch().join("payload.json");
    std::fs::write(&broken, "{\"a\": 1").unwrap();
    let refused = world.run(&["submit", "takes", "-f", broken.to_str().unwrap()]);
    assert!(refused.code == 2 && refused.err.contains("payload.json: this is no JSON: "), "{refused:?}");
    let warned = world.run(&["submit", "takes", "--", "{\"a\": 1"]);
    assert!(warned.code == 0 && warned.err.contains("warning: this is no JSON: "), "{warned:?}");
    assert_eq!(task(&world, 1)["payload"], "{\"a\": 1");
    let nothing = world.run(&["submit", "takes"]);
    assert!(nothing.code == 0 && nothing.err.contains("its payload is null"), "{nothing:?}");
    let plain = world.run(&["submit", "takes", "--", "fix", "it"]);
    assert_eq!((plain.code, plain.err.as_str()), (0, ""));
    let hinted = world.run(&["submit", "takes", "{\"a\":1}"]);
    assert!(hinted.code == 2 && hinted.err.contains("stands behind \"--\""), "{hinted:?}");
    assert_eq!(said(&world, "submit takes --delay 1h -- x"), "task/4 queued, not before 60m from now\n");
    assert_eq!(said(&world, "submit takes --delay 400d --ttl 1d -- x"), "task/5 queued, not before 400d from now\n");
}

#[test]
fn a_queue_is_watched_and_read_by_programs() {
    let world = world();
    let mut watch = Running::start(&world, "queue -w takes");
    assert!(watch.line().starts_with("0 queued, 0 running"));
    submit(&world, "takes", &json!({"payload": "x"}));
    assert_eq!(watch.line(), "");
    assert!(watch.line().starts_with("POSITION") && watch.line().contains("Queued"));
    assert!(watch.line().starts_with("1 queued, 0 running"));
    assert_eq!(said(&world, "queue takes -o jsonpath={.capacity.queued}-{.tasks[0].payload}"), "1-x");
    let all: Value = serde_json::from_str(&said(&world, "queue -o json")).unwrap();
    assert_eq!(all.pointer("/items/1/pool"), Some(&json!("takes")), "{all}");
    assert_eq!(world.ctl("queue -w -o json").code, 2);
    submit(&world, "takes", &json!({"delay": "1h"}));
    assert_eq!(said(&world, "queue takes -o jsonpath={.capacity.delayed}"), "1");
}

#[test]
fn the_log_of_a_worker_that_takes_tasks_is_pointed_to() {
    let world = world();
    submit(&world, "takes", &json!({}));
    let leased = super::ask(&world, "POST /v1/pools/takes/lease", &wish("0s")).1["task"].clone();
    assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({})).0, 200);
    let ran = world.ctl("logs task/1");
    assert!(ran.code == 0 && ran.err.contains("ctl logs worker/takes-0"), "{ran:?}");
    submit(&world, "runs", &json!({}));
    assert_eq!(world.ctl("logs task/2").err, "", "one with a log of its own");
}

#[test]
fn a_list_that_would_be_too_much_to_carry_ends_before_and_says_so() {
    let world = world();
    let task = NewTask { payload: "x".repeat(250 * 1024).into(), ..NewTask::default() };
    world.block_on(world.handle.submit("takes", vec![task; 70])).unwrap();
    let (code, list) = ask(&world, "GET /v1/tasks", &Value::Null);
    let listed = list["items"].as_array().unwrap().len();
    assert!(code == 200 && list["cut"] == true && (60..70).contains(&listed), "{code}: {listed}");
    let ran = world.ctl("get tasks -o name");
    assert!(ran.out.lines().count() == listed && ran.err.contains("more tasks than can be carried at once"), "{}", ran.err);
    assert_eq!(ask(&world, "GET /v1/tasks?limit=60", &Value::Null).1["cut"], Value::Null, "so many can be");
}
