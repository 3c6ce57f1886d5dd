//! Tasks over the wire and in the client: a real store behind a served board, workers played by hand.
//!
//! What a stale or foreign lease asks must be refused and change nothing; what a client that hangs up was about to be given must
//! go to the next one.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

#[path = "tasks/after.rs"]
mod after;
#[path = "tasks/client.rs"]
mod client;
#[path = "tasks/holders.rs"]
mod holders;
#[path = "tasks/lines.rs"]
mod lines;
#[path = "tasks/places.rs"]
mod places;
#[path = "tasks/pressed.rs"]
mod pressed;
mod served;
#[path = "tasks/told.rs"]
mod told;
#[path = "tasks/waits.rs"]
mod waits;
#[path = "tasks/watches.rs"]
mod watches;
#[path = "tasks/worker_lines.rs"]
mod worker_lines;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use futures_util::FutureExt;
use serde_json::{Value, json};
use served::{PATIENCE, World, pool, until, worker};
use weir::engine::wear::Bound;
use weir::model::document::{Document, parse};
use weir::model::status::{Kind, Object, Phase, QueueStatus, TaskStats};
use weir::model::task::{End, EndReason, NewTask};
use weir::model::time::Wall;

/// A pool with a queue of these rules, as a YAML flow mapping, and its worker 0.
fn queued(world: &World, name: &str, queue: &str) {
    let Object::Pool(mut object) = pool(name, 1, 1) else { panic!("a pool") };
    let text = format!("{}  queue: {queue}\n", served::WEB.replace("name: web", &format!("name: {name}")));
    let Document::WorkerPool(document) = parse(text.as_bytes()).remove(0).unwrap().document else { panic!("a pool") };
    object.spec = document.spec;
    object.status.queue = Some(QueueStatus { free_slots: 1, capacity: 1000, ..QueueStatus::default() });
    world.board.put(Object::Pool(object));
    world.board.put(worker(name, 0, Phase::Ready));
}

/// A world with `runs`, a process a task, and `takes`, whose workers take tasks.
fn world() -> World {
    let world = World::new();
    queued(&world, "runs", "{capacity: 3}");
    queued(&world, "takes", "{delivery: Lease, retry: {maxAttempts: 2, backoff: {initial: 0s, max: 0s}}}");
    world
}

fn ask(world: &World, head: &str, body: &Value) -> (u16, Value) {
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let (code, answer) = world.request(head, text.as_bytes());
    (code, serde_json::from_str(&answer).unwrap_or_else(|error| panic!("{head}: {error}: {answer}")))
}

fn submit(world: &World, pool: &str, task: &Value) -> u64 {
    let (code, answer) = ask(world, &format!("POST /v1/pools/{pool}/tasks"), task);
    assert_eq!(code, 201, "{answer}");
    answer["id"].as_u64().unwrap()
}

fn task(world: &World, id: u64) -> Value {
    ask(world, &format!("GET /v1/tasks/{id}"), &Value::Null).1
}

fn wish(wait: &str) -> Value {
    json!({"worker": "takes-0", "run": 4, "wait": wait})
}

fn lease(world: &World) -> Value {
    let (code, answer) = ask(world, "POST /v1/pools/takes/lease", &wish("0s"));
    assert_eq!(code, 200, "{answer}");
    answer["task"].clone()
}

fn on_lease(world: &World, token: &Value, verb: &str, body: &Value) -> (u16, Value) {
    ask(world, &format!("POST /v1/leases/{}/{verb}", token.as_str().unwrap()), body)
}

#[test]
fn a_number_that_would_be_rounded_is_refused_and_nothing_is_taken_in() {
    let world = world();
    let exact =
        world.request("POST /v1/pools/takes/tasks", br#"{"payload": [18446744073709551615, 0.1, "123456789012345678901"]}"#);
    assert_eq!(exact.0, 201, "{exact:?}");
    let (code, body) = world.request("POST /v1/pools/takes/tasks", br#"[{}, {"payload": {"id": 123456789012345678901}}]"#);
    assert!(code == 400 && body.contains(r#"Send it as a string: \"123456789012345678901\""#), "{code} {body}");
    let (_, list) = ask(&world, "GET /v1/tasks?pool=takes", &Value::Null);
    assert_eq!(list["items"].as_array().unwrap().len(), 1, "{list}");
}

#[test]
fn a_submit_says_where_the_task_stands() {
    let world = world();
    let (code, first) = ask(&world, "POST /v1/pools/runs/tasks", &json!({"payload": {"n": 1}, "idempotencyKey": "a"}));
    assert_eq!((code, &first["state"], &first["position"]), (201, &json!("Queued"), &json!(1)), "{first}");
    assert!(first.get("token").is_none() && first.get("nonce").is_none(), "{first}");
    let (code, again) = ask(&world, "POST /v1/pools/runs/tasks", &json!({"payload": {"n": 2}, "idempotencyKey": "a"}));
    assert_eq!((code, &again["id"], &again["known"]), (200, &first["id"], &json!(true)));
    let (code, two) = ask(&world, "POST /v1/pools/runs/tasks", &json!([{"priority": 9}, {"hold": true}]));
    assert_eq!((code, &two["items"][0]["position"], &two["items"][1]["state"]), (201, &json!(1), &json!("Held")), "{two}");
    let (_, list) = ask(&world, "GET /v1/tasks?pool=runs&state=queued", &Value::Null);
    let ids: Vec<&Value> = list["items"].as_array().unwrap().iter().map(|task| &task["id"]).collect();
    assert_eq!(ids, [&two["items"][0]["id"], &first["id"]], "the higher priority first");
    assert_eq!(ask(&world, "GET /v1/tasks?limit=1", &Value::Null).1["items"].as_array().unwrap().len(), 1);
}

#[test]
fn what_is_not_taken_in_is_refused_whole() {
    let world = world();
    let (code, status) = ask(&world, "POST /v1/pools/rums/tasks", &json!({}));
    assert_eq!((code, &status["kind"]), (404, &json!("Status")));
    assert!(status["message"].as_str().unwrap().contains("the types there are: runs, takes"), "{status}");
    let large = json!({"payload": "x".repeat(300 * 1024)});
    for body in [
        json!({"prio": 1}),
        json!({"priority": 10}),
        json!([]),
        json!([{}, {"priority": 10}]),
        json!([{}, 3]),
        json!({"timeout": "soon"}),
        json!({"key": ""}),
        large,
    ] {
        let (code, status) = ask(&world, "POST /v1/pools/runs/tasks", &body);
        assert_eq!((code, &status["reason"]), (400, &json!("BadRequest")), "{status}");
    }
    assert_eq!(ask(&world, "POST /v1/pools/runs/tasks", &json!({"payload": "x".repeat(1024 * 1024)})).0, 413);
    assert_eq!(ask(&world, "POST /v1/pools/runs/tasks?wait=9h", &json!({})).0, 400);
    assert_eq!(ask(&world, "GET /v1/tasks", &Value::Null).1["items"], json!([]), "nothing was taken in");
    for (head, expected) in [
        ("GET /v1/tasks?state=Dead,Alive", 400),
        ("GET /v1/tasks?pool=rums", 404),
        ("GET /v1/tasks/7", 404),
        ("GET /v1/tasks/x", 400),
        ("POST /v1/tasks/7/cancel", 404),
        ("POST /v1/tasks/7/burn", 404),
        ("GET /v1/tasks/7/log", 404),
        ("POST /v1/pools/runs/queue/burn", 404),
        ("POST /v1/leases/nonsense/complete", 400),
        ("PUT /v1/tasks/7", 405),
    ] {
        let (code, status) = ask(&world, head, &json!({}));
        assert_eq!((code, &status["kind"]), (expected, &json!("Status")), "{head}: {status}");
    }
}

#[test]
fn a_full_queue_says_when_to_try_again() {
    let world = world();
    assert_eq!(ask(&world, "POST /v1/pools/runs/tasks", &json!([{}, {}, {}])).0, 201);
    let mut stream = UnixStream::connect(world.state.join("weir.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = "POST /v1/pools/runs/tasks HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}";
    stream.write_all(head.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 429") && answer.to_lowercase().contains("\r\nretry-after: 5\r\n"), "{answer}");
    assert!(answer.contains("\"retryAfterSeconds\":5") && answer.contains("spec.queue.capacity is 3"), "{answer}");
    let room = |pool: &str| ask(&world, &format!("GET /v1/pools/{pool}/capacity"), &Value::Null).1;
    let runs = room("runs");
    assert_eq!((&runs["queued"], &runs["capacity"], &runs["freeSlots"]), (&json!(3), &json!(3), &json!(0)), "{runs}");
    assert_eq!(ask(&world, "POST /v1/pools/takes/tasks", &json!([{"hold": true}, {"hold": true}])).0, 201);
    let takes = room("takes");
    assert_eq!((&takes["held"], &takes["queued"], &takes["freeSlots"]), (&json!(2), &json!(0), &json!(1)), "{takes}");
}

#[test]
fn a_lease_ends_once_and_the_next_one_comes_with_it() {
    let world = world();
    let ids = [1, 2].map(|n| submit(&world, "takes", &json!({"payload": n})));
    let first = lease(&world);
    assert_eq!((&first["id"], &first["payload"], &first["attempt"]), (&json!(ids[0]), &json!(1), &json!(1)));
    let (code, beat) = on_lease(&world, &first["token"], "heartbeat", &json!({"progress": "half", "extend": "1h"}));
    assert_eq!((code, &beat["progress"]), (200, &json!("half")));
    let (code, ended) = on_lease(&world, &first["token"], "complete", &json!({"result": {"ok": true}, "next": wish("0s")}));
    assert_eq!((code, &ended["task"]["state"], &ended["next"]["id"]), (200, &json!("Succeeded"), &json!(ids[1])), "{ended}");
    assert_eq!(task(&world, ids[0])["result"], json!({"ok": true}));
    let again = &ended["next"]["token"];
    let (_, failed) = on_lease(&world, again, "fail", &json!({"message": "once", "next": wish("0s")}));
    assert_eq!((&failed["next"]["id"], &failed["next"]["attempt"]), (&json!(ids[1]), &json!(2)), "{failed}");
    let (_, dead) =
        on_lease(&world, &failed["next"]["token"], "fail", &json!({"message": "twice", "code": 3, "next": wish("0s")}));
    assert_eq!((&dead["task"]["state"], &dead["next"], &dead["task"]["end"]["code"]), (&json!("Dead"), &Value::Null, &json!(3)));
}

#[test]
fn a_lease_that_is_over_changes_nothing() {
    let world = world();
    let id = submit(&world, "takes", &json!({}));
    let first = lease(&world)["token"].clone();
    assert_eq!(on_lease(&world, &first, "fail", &json!({"again": true})).0, 200);
    let second = lease(&world)["token"].clone();
    let (stem, _) = second.as_str().unwrap().rsplit_once('.').unwrap();
    let forged = json!(format!("{stem}.{:016x}", 1));
    let before = task(&world, id);
    for token in [&first, &forged] {
        for verb in ["heartbeat", "complete", "fail"] {
            let (code, status) = on_lease(&world, token, verb, &json!({}));
            assert_eq!((code, &status["reason"]), (409, &json!("Conflict")), "{verb}: {status}");
        }
    }
    assert_eq!(task(&world, id), before);
    assert_eq!(on_lease(&world, &second, "complete", &json!({})).0, 200);
    let after = task(&world, id);
    for verb in ["heartbeat", "complete", "fail"] {
        assert_eq!(on_lease(&world, &second, verb, &json!({})).0, 409, "{verb}");
    }
    assert_eq!(task(&world, id), after);
    assert_eq!(on_lease(&world, &json!("takes.99.1.0000000000000001"), "complete", &json!({})).0, 409, "no longer kept");
}

#[test]
fn only_workers_that_may_take_a_task_get_one() {
    let world = world();
    let id = submit(&world, "takes", &json!({}));
    let running = submit(&world, "runs", &json!({}));
    let refused = |pool: &str, worker: &str, run: u64| {
        let (code, status) = ask(&world, &format!("POST /v1/pools/{pool}/lease"), &json!({"worker": worker, "run": run}));
        (code, status["message"].as_str().unwrap_or_default().to_owned())
    };
    assert_eq!(refused("takes", "takes-0", 3).0, 409, "a run that is over");
    assert_eq!(refused("takes", "runs-0", 4).0, 409, "another pool's worker");
    let (code, words) = refused("runs", "runs-0", 4);
    assert!(code == 409 && words.contains("spec.queue.delivery: Lease"), "{words}");
    let held = lease(&world);
    world.board.put(worker("takes", 0, Phase::Terminating));
    submit(&world, "takes", &json!({}));
    assert_eq!(refused("takes", "takes-0", 4).0, 409, "it is being stopped");
    let (code, ended) = on_lease(&world, &held["token"], "complete", &json!({"next": wish("0s")}));
    assert_eq!((code, &ended["next"]), (200, &Value::Null), "what it did counts: {ended}");
    assert_eq!((&task(&world, id)["state"], &task(&world, running)["state"]), (&json!("Succeeded"), &json!("Queued")));
}

#[test]
fn a_worker_that_asks_before_it_is_shown_is_waited_for() {
    let world = world();
    submit(&world, "takes", &json!({}));
    std::thread::scope(|scope| {
        let early = scope.spawn(|| ask(&world, "POST /v1/pools/takes/lease", &json!({"worker": "takes-1", "run": 4})));
        world.board.put(worker("takes", 1, Phase::Ready));
        let (code, answer) = early.join().unwrap();
        assert_eq!((code, &answer["task"]["worker"]), (200, &json!("takes-1")), "{answer}");
    });
}

#[test]
fn waiting_ends_with_what_is_waited_for() {
    let world = world();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| ask(&world, "POST /v1/pools/takes/lease", &wish("30s")).1["task"].clone());
        let whole = scope.spawn(|| ask(&world, "POST /v1/pools/takes/tasks?wait=30s", &json!({"payload": 6})));
        let leased = worker.join().unwrap();
        assert_eq!(leased["payload"], 6);
        assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({"result": 42})).0, 200);
        let (code, answer) = whole.join().unwrap();
        assert_eq!((code, &answer["state"], &answer["result"]), (200, &json!("Succeeded"), &json!(42)));
    });
    let id = submit(&world, "takes", &json!({}));
    let (code, answer) = ask(&world, &format!("GET /v1/tasks/{id}?wait=10ms"), &Value::Null);
    assert_eq!((code, &answer["state"]), (202, &json!("Queued")));
}

#[test]
fn a_pool_that_starts_a_process_for_each_task_meanwhile_gives_nothing_to_whoever_waits() {
    let world = world();
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&world, "POST /v1/pools/takes/lease", &wish("30s")));
        // It waits when it has been told the counts; there is no other sign of it.
        std::thread::sleep(Duration::from_millis(200));
        queued(&world, "takes", "{delivery: Process}");
        let id = submit(&world, "takes", &json!({}));
        let (code, status) = waiting.join().unwrap();
        assert!(code == 409 && status["message"].as_str().unwrap().contains("a process for each task"), "{status}");
        assert_eq!(task(&world, id)["state"], "Queued");
    });
}

#[test]
fn waiting_ends_with_the_daemon() {
    let mut world = world();
    let mut streams: Vec<UnixStream> = Vec::new();
    let body = wish("1h").to_string();
    for (path, body) in [("/v1/pools/takes/lease", body.as_str()), ("/v1/pools/runs/tasks?wait=1h", "{}")] {
        let mut stream = UnixStream::connect(world.state.join("weir.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let head = format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        stream.write_all(head.as_bytes()).unwrap();
        streams.push(stream);
    }
    until("the task is there", || !ask(&world, "GET /v1/tasks?pool=runs", &Value::Null).1["items"][0].is_null());
    assert!(world.end());
    let answers = streams.iter_mut().map(|stream| {
        let mut answer = String::new();
        drop(stream.read_to_string(&mut answer));
        answer
    });
    let answers: Vec<String> = answers.collect();
    assert!(answers[0].ends_with("{\"task\":null}"), "{answers:?}");
    assert!(answers[1].starts_with("HTTP/1.1 202"), "{answers:?}");
}

/// Ask, and be gone before the answer: what the server does when a connection closes. The store has much to do before, so that
/// the answer cannot be there at once.
fn hang_up<T>(world: &World, asked: impl Future<Output = T>) {
    let many = vec![NewTask { payload: "x".repeat(50_000).into(), ..NewTask::default() }; 500];
    world.block_on(async {
        let mut before = Box::pin(world.handle.submit("runs", many));
        assert!(before.as_mut().now_or_never().is_none());
        assert!(Box::pin(asked).now_or_never().is_none());
        // Too many for that queue, which it finds out only after having looked at each.
        assert!(before.await.is_err());
    });
}

#[test]
fn whoever_hangs_up_leaves_the_task_to_the_next() {
    let world = world();
    let id = submit(&world, "takes", &json!({}));
    hang_up(&world, world.handle.lease("takes", "takes-0", 4, (PATIENCE, || Ok(()))));
    until("it was given and came back", || task(&world, id)["end"]["reason"] == "Returned");
    let leased = lease(&world);
    assert_eq!((&leased["id"], &leased["attempt"], &leased["epoch"]), (&json!(id), &json!(1), &json!(2)), "it did not count");
}

#[test]
fn whoever_hangs_up_with_an_end_leaves_the_next_task_to_the_next() {
    let world = world();
    let ids = [1, 2].map(|n| submit(&world, "takes", &json!({"payload": n})));
    let token = lease(&world)["token"].as_str().unwrap().parse().unwrap();
    let end = End { reason: EndReason::Done, ..End::default() };
    hang_up(&world, world.handle.end_task(token, (end, None), Some(("takes-0".into(), 4))));
    until("the next one was given and came back", || task(&world, ids[1])["end"]["reason"] == "Returned");
    assert_eq!(task(&world, ids[0])["state"], "Succeeded", "its end was said");
    assert_eq!((&lease(&world)["id"], &task(&world, ids[1])["attempt"]), (&json!(ids[1]), &json!(1)), "it did not count");
}

#[test]
fn a_task_is_taken_back_let_go_and_tried_again() {
    let world = world();
    let id = submit(&world, "takes", &json!({"hold": true}));
    let verb = |verb: &str| ask(&world, &format!("POST /v1/tasks/{id}/{verb}"), &Value::Null);
    assert_eq!(verb("retry").0, 409);
    assert_eq!(verb("release").1["state"], "Queued");
    assert_eq!(verb("release").0, 409);
    assert_eq!(verb("cancel").1["state"], "Cancelled");
    assert_eq!(verb("cancel").0, 409);
    assert_eq!(verb("retry").1["state"], "Queued");
    let leased = lease(&world);
    let (_, cancelled) = ask(&world, &format!("DELETE /v1/tasks/{id}"), &Value::Null);
    assert_eq!((&cancelled["state"], &cancelled["cancelling"]), (&json!("Leased"), &json!(true)));
    assert_eq!(on_lease(&world, &leased["token"], "heartbeat", &json!({})).1["cancelling"], true);
    assert_eq!(on_lease(&world, &leased["token"], "fail", &json!({})).1["task"]["state"], "Cancelled");
}

#[test]
fn the_client_shows_and_changes_tasks() {
    let world = world();
    let said = |words: &str| {
        let ran = world.ctl(words);
        assert_eq!(ran.code, 0, "{words}: {} {}", ran.out, ran.err);
        ran.out
    };
    assert_eq!(said("submit runs --hold -- fix it"), "task/1 held until \"ctl release\"\n");
    assert_eq!(task(&world, 1)["payload"], "fix it");
    assert_eq!(said("submit takes --priority 9 --key k -- {\"n\":[1]}"), "task/2 queued, position 1\n");
    assert_eq!(said("submit takes --count 3 -- 7"), "3 tasks queued: task/3 to task/5, positions 2 to 4\n");
    assert_eq!((&task(&world, 2)["payload"], &task(&world, 5)["payload"]), (&json!({"n": [1]}), &json!(7)));
    assert_eq!(said("submit takes --delay 1h -o name -- x"), "task/6\n");
    assert_eq!(said("get tasks --pool takes -o name"), "task/2\ntask/3\ntask/4\ntask/5\ntask/6\n");
    assert_eq!(said("get task/2 -o jsonpath={.payload.n}"), "[1]");
    let table = said("get tasks --status Held -o wide");
    let heads = "ID   POOL   STATE   PRI   ATTEMPT   WORKER   AGE   WAIT/RAN   MESSAGE               POSITION   KEY   TIMEOUT   SOURCE   PAYLOAD";
    assert_eq!(table.lines().next().unwrap(), heads);
    assert!(table.contains("waits for a release") && table.lines().count() == 2, "{table}");
    assert_eq!(said("release task/1"), "task/1 released\n");
    assert_eq!(said("cancel 3 task/4"), "task/3 cancelled\ntask/4 cancelled\n");
    assert_eq!(said("retry task/3"), "task/3 queued again\n");
    assert_eq!(said("pause queue/takes --for 1h --reason limit"), "queue/takes paused for 1h\n");
    let line = said("queue takes");
    assert!(line.contains("4 queued (1 delayed), 0 running, 0 of 1 slots free, room for 996 more; paused until"), "{line}");
    assert_eq!(line.lines().filter(|line| line.contains("Queued")).count(), 3, "{line}");
    assert_eq!(said("resume queue/takes"), "queue/takes resumed\n");
    assert!(said("queue").contains("pool/runs\n"));
    let described = said("describe task/2");
    assert!(described.contains("Key:              k\n") && described.contains("Payload:\n  \"n\":\n"), "{described}");
    for (words, code) in [
        ("submit nosuch -- x", 1),
        ("get tasks --pool nosuch", 1),
        ("get task/99", 1),
        ("get task/x", 2),
        ("get tasks --status Runing", 2),
        ("describe task", 2),
        ("cancel task/4", 1),
        ("cancel", 2),
        ("cancel --worker takes-0", 1),
        ("submit takes --count 2 --idempotency-key a -- x", 2),
        ("submit takes --priority 10 -- x", 2),
        ("logs task/99", 1),
        ("task next", 2),
    ] {
        let ran = world.ctl(words);
        assert_eq!((ran.code, ran.out.as_str()), (code, ""), "{words}: {}", ran.err);
        assert!(!ran.err.is_empty(), "{words}");
    }
    for command in
        ["submit", "queue", "cancel", "release", "retry", "task", "task next", "task done", "task fail", "task heartbeat"]
    {
        assert!(said(&format!("{command} --help")).contains("Examples:"), "{command}");
    }
}

#[test]
fn a_worker_in_a_script_takes_and_ends_tasks() {
    let world = world();
    let worker = |words: &[&str]| {
        let mut command = world.command();
        command.arg("task").args(words).envs([("WEIR_POOL", "takes"), ("WEIR_WORKER", "takes-0"), ("WEIR_RUN", "4")]);
        served::Ran::of(command.output().unwrap())
    };
    let none = worker(&["next", "--wait", "10ms"]);
    assert_eq!((none.code, none.out.as_str(), none.err.as_str()), (1, "", ""), "nothing, when there is none");
    for n in 1..=3 {
        submit(&world, "takes", &json!({"payload": {"n": n, "token": "no"}}));
    }
    let first = worker(&["next", "--wait", "1s"]).out;
    let token = first.strip_prefix("{\"token\":\"").and_then(|rest| rest.split_once('"')).unwrap().0.to_owned();
    assert_eq!(worker(&["heartbeat", &token, "--progress", "half"]).code, 0);
    assert_eq!(task(&world, 1)["progress"], "half");
    let next = worker(&["done", &token, "--result", "{\"a\": 1}", "--next", "-o", "jsonpath={.token} {.payload.n}"]);
    let (token, n) = next.out.trim_end().split_once(' ').unwrap();
    assert_eq!((n, &task(&world, 1)["result"]), ("2", &json!({"a": 1})));
    assert_eq!(worker(&["fail", token, "--message", "no", "--again"]).code, 0);
    let over = worker(&["done", token]);
    assert!(over.code == 1 && over.err.contains("this lease is over"), "{over:?}");
    let again = worker(&["next", "-o", "jsonpath={.token}"]).out;
    world.ctl("cancel --worker takes-0");
    let told = worker(&["heartbeat", again.trim()]);
    assert!(told.code == 1 && told.err.contains("was cancelled"), "{told:?}");
    world.board.put(served::worker("takes", 0, Phase::Terminating));
    let refused = worker(&["next", "--wait", "10ms"]);
    assert!(refused.code == 2 && refused.err.contains("is being stopped"), "not as when there is none: {refused:?}");
}

#[test]
fn a_submit_that_waits_says_how_it_ended() {
    let world = world();
    let whole = |words: &'static [&'static str], verb: &str, body: &Value| {
        std::thread::scope(|scope| {
            let client = scope.spawn(|| world.run(words));
            let leased = ask(&world, "POST /v1/pools/takes/lease", &wish("20s")).1["task"].clone();
            assert_eq!(on_lease(&world, &leased["token"], verb, body).0, 200);
            client.join().unwrap()
        })
    };
    let good = whole(&["submit", "takes", "--wait", "--", "x"], "complete", &json!({"result": {"a": 1}}));
    assert_eq!(good.out, "task/1 queued, position 1\ntask/1 succeeded\n{\n    \"a\": 1\n}\n", "{}", good.err);
    let bad =
        whole(&["submit", "takes", "--wait=30s", "--max-attempts", "1", "--", "x"], "fail", &json!({"message": "b\u{1b}[2Jad"}));
    assert_eq!((bad.code, bad.err.as_str()), (1, "task/2 dead: b\\u{1b}[2Jad\n"));
    let late = world.run(&["submit", "takes", "--wait=20ms", "-o", "jsonpath={.state}", "--", "x"]);
    assert_eq!((late.code, late.out.as_str()), (1, "Queued"));
    assert!(late.err.starts_with("error: timed out after 20ms waiting for task/3; it goes on: ctl wait task/3"), "{}", late.err);
}

#[test]
fn hostile_text_of_tasks_drives_no_terminal() {
    let world = world();
    let evil = "\u{1b}]0;x\u{7}\u{9b}31m\r\u{202e}";
    submit(&world, "takes", &json!({"payload": {evil: evil}, "key": evil}));
    let leased = lease(&world);
    on_lease(&world, &leased["token"], "heartbeat", &json!({"progress": evil}));
    let again = [["get", "tasks", "-o", "wide"].as_slice(), &["get", "tasks"], &["get", "task/1", "-o", "json"]];
    let more = [["describe", "task/1"].as_slice(), &["queue", "takes"], &["get", "tasks,pools"]];
    for words in again.into_iter().chain(more) {
        let ran = world.run(words);
        let harmful = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
        assert!(ran.code == 0 && !ran.out.chars().any(harmful), "{words:?}: {:?}", ran.out);
    }
}

#[test]
fn the_log_of_a_task_is_followed_to_its_end() {
    let world = world();
    let id = submit(&world, "takes", &json!({}));
    let leased = lease(&world);
    let logs = world.state.join("logs/tasks");
    std::fs::create_dir_all(&logs).unwrap();
    std::fs::write(logs.join("1.log"), "one\ntwo\n").unwrap();
    assert_eq!(world.ctl("logs task/1").out, "one\ntwo\n");
    assert_eq!(world.ctl("logs --tail 1 task/1").out, "two\n");
    std::thread::scope(|scope| {
        let client = scope.spawn(|| world.ctl("logs -f task/1"));
        std::fs::OpenOptions::new().append(true).open(logs.join("1.log")).unwrap().write_all(b"three\n").unwrap();
        on_lease(&world, &leased["token"], "complete", &json!({}));
        assert_eq!(client.join().unwrap().out, "one\ntwo\nthree\n");
    });
    assert_eq!(task(&world, id)["state"], "Succeeded");
}

#[test]
fn a_pool_of_the_daemon_before_is_waited_for() {
    let world = world();
    world.board.expect(Kind::Pool, ["late".to_owned()]);
    std::thread::scope(|scope| {
        let early = scope.spawn(|| ask(&world, "POST /v1/pools/late/tasks", &json!({})));
        std::thread::sleep(Duration::from_millis(50));
        queued(&world, "late", "{}");
        let (code, answer) = early.join().unwrap();
        assert_eq!((code, &answer["pool"]), (201, &json!("late")), "{answer}");
    });
}

#[test]
fn workers_and_pools_show_what_they_did() {
    let world = world();
    let stats = TaskStats { done: 3, failed: 1, busy_ms: 8000, p50_ms: Some(1500), p95_ms: Some(4000) };
    let Object::Worker(mut taker) = worker("takes", 0, Phase::Busy) else { panic!("a worker") };
    (taker.status.tasks, taker.status.stats) = (vec![7, 9], Some(stats.clone()));
    world.board.put(Object::Worker(taker));
    let Object::Pool(mut object) = (*world.board.get(Kind::Pool, "takes").unwrap()).clone() else { panic!("a pool") };
    let counts = QueueStatus { ready: 4, delayed: 1, blocked: 2, held: 5, running: 2, capacity: 1000, ..QueueStatus::default() };
    object.status.queue = Some(QueueStatus { stats, ..counts });
    world.board.put(Object::Pool(object));
    let cell = |words: &str, line: &str, head: &str| {
        let out = world.ctl(words).out;
        let row = out.lines().find(|row| row.starts_with(line)).unwrap().to_owned();
        // Columns begin under their heads.
        row[out.lines().next().unwrap().find(head).unwrap()..].split("   ").next().unwrap().trim().to_owned()
    };
    let shown = ["TASKS", "DONE", "FAILED", "P50"].map(|head| cell("get workers -o wide", "takes-0", head));
    assert_eq!(shown, ["7,9", "3", "1", "1s500ms"]);
    assert_eq!(cell("get workers -o wide", "runs-0", "TASKS"), "-");
    assert_eq!(cell("get pools", "takes", "BACKLOG"), "9", "queued and running");
    let did =
        "Attempts:         3 done | 1 failed | 75% succeeded\nTask time:        8s busy | half take 1s500ms | 95% take 4s\n";
    let queue = "Queue:            2 running | 4 ready | 1 delayed | 2 blocked | 5 held | 0 slots free | capacity 1000\n";
    let (pool, worker) = (world.ctl("describe pool/takes").out, world.ctl("describe worker/takes-0").out);
    assert!(pool.contains(&format!("{queue}{did}")), "{pool}");
    assert!(worker.contains(&format!("Tasks:            7,9\n{did}")), "{worker}");
}

#[test]
fn whoever_has_done_its_number_of_tasks_is_given_no_next_one() {
    let world = world();
    for _ in 0..4 {
        submit(&world, "takes", &json!({}));
    }
    let looked = |looked| world.board.wear.look("takes-0", Some(Bound { run: 4, most: 2, looked }));
    looked(0);
    let complete = |task: &Value| on_lease(&world, &task["token"], "complete", &json!({"next": wish("0s")})).1["next"].clone();
    let second = complete(&lease(&world));
    assert!(second.is_object());
    assert_eq!(complete(&second), Value::Null, "it has done two");
    let (code, status) = ask(&world, "POST /v1/pools/takes/lease", &wish("0s"));
    assert!(code == 409 && status["message"].as_str().unwrap().contains("recycle.maxTasks"), "{status}");
    // The controller knows, and has not told it to go: too many others are being replaced.
    looked(2);
    assert!(lease(&world).is_object());
}

#[test]
fn a_daemon_that_ends_takes_in_nothing_and_hears_the_ends_of_what_runs() {
    let world = world();
    submit(&world, "takes", &json!({}));
    let leased = lease(&world);
    world.board.end();
    let (code, status) = ask(&world, "POST /v1/pools/takes/tasks", &json!({}));
    assert!(code == 503 && status["message"].as_str().unwrap().contains("shutting down"), "{status}");
    assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({})).0, 200);
}

#[test]
fn a_heartbeat_is_told_until_when_the_attempt_may_go_on() {
    let world = world();
    queued(&world, "short", "{delivery: Lease, timeout: 2s, maxTimeout: 6s}");
    submit(&world, "short", &json!({}));
    let leased = ask(&world, "POST /v1/pools/short/lease", &json!({"worker": "short-0", "run": 4})).1["task"].clone();
    let (code, beat) = on_lease(&world, &leased["token"], "heartbeat", &json!({"extend": "20s"}));
    assert_eq!(code, 200, "{beat}");
    let at = |value: &Value| value.as_str().unwrap().parse::<Wall>().unwrap().0;
    let given = at(&beat["deadline"]) - at(&leased["started"]);
    assert!((5500..=6500).contains(&given), "not more than maxTimeout: {beat}");
    assert!(task(&world, leased["id"].as_u64().unwrap()).get("deadline").is_none());
}
