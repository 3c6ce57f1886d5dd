//! Who holds leases, and who is given no more: a worker that is being stopped, a pool that gives none, and what a worker has that it
//! did not hear of.

use serde_json::{Value, json};
use weir::engine::wear::Bound;
use weir::model::status::{Kind, Object, Phase};

use super::lines::Talk;
use super::served::{World, until, worker};
use super::{ask, lease, on_lease, queued, submit, task, wish, world};

/// A world in which worker 0 has one of two tasks.
fn begun() -> (World, Value, u64) {
    let world = world();
    submit(&world, "takes", &json!({}));
    let second = submit(&world, "takes", &json!({}));
    let leased = lease(&world);
    (world, leased, second)
}

#[test]
fn a_pool_that_gives_no_tasks_any_more_gives_none_with_an_end() {
    let changes: [fn(&World); 2] = [
        |world| queued(world, "takes", "{delivery: Process}"),
        |world| {
            let Object::Pool(mut pool) = (*world.board.get(Kind::Pool, "takes").unwrap()).clone() else { panic!("a pool") };
            pool.spec.queue = None;
            world.board.put(Object::Pool(pool));
        },
    ];
    for change in changes {
        let (world, leased, second) = begun();
        change(&world);
        let (code, ended) = on_lease(&world, &leased["token"], "complete", &json!({"next": wish("0s")}));
        assert_eq!((code, &ended["task"]["state"], &ended["next"]), (200, &json!("Succeeded"), &Value::Null), "{ended}");
        assert_eq!(task(&world, second)["state"], "Queued");
    }
}

#[test]
fn who_waits_is_told_at_once_that_its_worker_is_being_stopped() {
    let world = world();
    let mut talk = Talk::begin(&world, "takes/lease");
    talk.say(&format!("{}\n", json!({"id": 1, "lease": wish("1h")})));
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| ask(&world, "POST /v1/pools/takes/lease", &wish("1h")));
        world.board.put(worker("takes", 0, Phase::Terminating));
        let (code, status) = waits.join().unwrap();
        assert!(code == 409 && status["message"].as_str().unwrap().contains("is being stopped"), "{status}");
    });
    assert_eq!(talk.hear().unwrap()["code"], 409);
}

#[test]
fn a_run_asks_what_it_has() {
    let (world, leased, second) = begun();
    let held = |query: &str| ask(&world, &format!("GET /v1/pools/takes/leases?{query}"), &Value::Null);
    let (code, all) = held("worker=takes-0&run=4");
    assert_eq!((code, &all["tasks"].as_array().unwrap()[..]), (200, &[leased][..]), "with its token");
    assert_eq!(held("worker=takes-0&run=3").1["tasks"], json!([]), "another run");
    assert_eq!(held("worker=takes-1&run=4").1["tasks"], json!([]));
    assert_eq!(on_lease(&world, &all["tasks"][0]["token"], "complete", &json!({"next": wish("0s")})).1["next"]["id"], second);
    for query in ["run=4", "worker=takes-0", "worker=takes-0&run=x"] {
        assert_eq!(held(query).0, 400, "{query}");
    }
    assert_eq!(ask(&world, "GET /v1/pools/runs/leases?worker=runs-0&run=4", &Value::Null).0, 409);
}

#[test]
fn what_a_worker_has_with_it_counts_for_its_number_of_tasks() {
    let world = world();
    let all: Vec<Value> = (0..9).map(|n| json!({"payload": n})).collect();
    assert_eq!(ask(&world, "POST /v1/pools/takes/tasks", &json!(all)).0, 201);
    world.board.wear.look("takes-0", Some(Bound { run: 4, most: 3, looked: 0 }));
    let mut talk = Talk::begin(&world, "takes/lease");
    for id in 0..5 {
        talk.say(&format!("{}\n", json!({"id": id, "lease": wish("0s")})));
    }
    let answers: Vec<Value> = (0..5).map(|_| talk.hear().unwrap()).collect();
    let (given, refused): (Vec<&Value>, Vec<&Value>) = answers.iter().partition(|answer| answer["task"].is_object());
    assert_eq!((given.len(), refused.len()), (3, 2), "{answers:?}");
    assert!(refused[0]["message"].as_str().unwrap().contains("recycle.maxTasks"), "{refused:?}");
    for answer in given {
        talk.say(&format!("{}\n", json!({"token": answer["task"]["token"], "complete": {"next": wish("0s")}})));
        assert_eq!(talk.hear().unwrap()["next"], Value::Null);
    }
    until("three are done", || ask(&world, "GET /v1/pools/takes/capacity", &Value::Null).1["queued"] == 6);
}

#[test]
fn nobody_submits_with_a_key_that_a_recurring_task_or_a_webhook_would_have() {
    let world = world();
    for key in ["schedule/nightly/1796002920000", "hook/takes/0/x"] {
        let (code, status) = ask(&world, "POST /v1/pools/takes/tasks", &json!({"idempotencyKey": key}));
        assert!(code == 400 && status["message"].as_str().unwrap().starts_with("idempotencyKey: "), "{status}");
    }
    submit(&world, "takes", &json!({"idempotencyKey": "scheduled"}));
}
