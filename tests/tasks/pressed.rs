//! Workers that ask for tasks of a queue that rests, or of a pool whose memory is short: none is given, and who waits has one when
//! that is over.

use serde_json::{Value, json};
use weir::model::status::{Kind, MEMORY_PRESSED, Object, Truth};

use super::served::{World, condition};
use super::{ask, lease, on_lease, submit, task, wish, world};

#[test]
fn a_queue_rests_and_goes_on() {
    let world = world();
    submit(&world, "takes", &json!({}));
    let queue = |verb: &str, body: &Value| ask(&world, &format!("POST /v1/pools/takes/queue/{verb}"), body).0;
    assert_eq!(queue("pause", &json!({"for": "1h", "until": "2030-01-01T00:00:00Z"})), 400);
    assert_eq!(queue("pause", &json!({"for": "0s"})), 400, "that would end one");
    assert_eq!(queue("pause", &json!({"for": "1h", "reason": "limit"})), 200);
    assert!(ask(&world, "GET /v1/pools/takes/capacity", &Value::Null).1["pausedUntil"].is_string());
    assert_eq!(lease(&world), Value::Null);
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| ask(&world, "POST /v1/pools/takes/lease", &wish("30s")).1["task"].clone());
        assert_eq!(queue("resume", &Value::Null), 200);
        assert!(waiting.join().unwrap()["token"].is_string(), "a resume wakes who waits");
    });
}

/// The memory of `takes` is short, or not.
fn pressed(world: &World, is: bool) {
    let object = world.board.get(Kind::Pool, "takes").unwrap();
    let Object::Pool(mut pool) = (*object).clone() else { panic!("a pool") };
    pool.status.conditions.retain(|condition| condition.kind != MEMORY_PRESSED);
    if is {
        pool.status.conditions.push(condition(MEMORY_PRESSED, Truth::True, "AdmissionStopped", "no room"));
    }
    world.board.put(Object::Pool(pool));
}

#[test]
fn no_task_is_given_away_while_memory_is_short_and_who_waits_has_one_when_it_is_not_any_more() {
    let world = world();
    let (first, second) = (submit(&world, "takes", &json!({})), submit(&world, "takes", &json!({})));
    let lease = lease(&world);
    assert_eq!(lease["id"], json!(first));
    pressed(&world, true);
    let (code, nothing) = ask(&world, "POST /v1/pools/takes/lease", &wish("0s"));
    assert_eq!((code, &nothing["task"]), (200, &Value::Null));
    // What is begun goes on, and its end is taken; only nothing comes after it.
    let (code, ended) = on_lease(&world, &lease["token"], "complete", &json!({"next": wish("0s")}));
    assert_eq!((code, &ended["next"]), (200, &Value::Null), "{ended}");
    assert_eq!(task(&world, second)["state"], "Queued");
    let (_, waiting) = ask(&world, "POST /v1/pools/takes/tasks", &json!({}));
    assert_eq!(waiting.get("estimatedWait"), None, "nobody knows when it ends: {waiting}");
    let said = world.ctl("queue takes").out;
    assert!(said.contains("; nothing is begun: no room"), "{said}");
    std::thread::scope(|threads| {
        let waits = threads.spawn(|| ask(&world, "POST /v1/pools/takes/lease", &wish("30s")));
        pressed(&world, false);
        assert_eq!(waits.join().unwrap().1["task"]["id"], json!(second));
    });
}
