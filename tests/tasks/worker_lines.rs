//! A worker's side as lines of one connection: answers as things are done, several tasks at a time, and what stays when it breaks off.

use serde_json::{Value, json};

use super::lines::Talk;
use super::served::until;
use super::{ask, queued, submit, task, wish, world};

fn say(talk: &mut Talk, line: &Value) {
    talk.say(&format!("{line}\n"));
}

/// To which line, and the number of the task.
fn heard(answer: &Value) -> (u64, u64) {
    (answer["id"].as_u64().unwrap(), answer["task"]["id"].as_u64().unwrap())
}

#[test]
fn a_worker_has_several_tasks_and_ends_each_with_the_next_in_one_line() {
    let world = world();
    let tasks: Vec<u64> = (0..4).map(|n| submit(&world, "takes", &json!({"payload": n}))).collect();
    let mut talk = Talk::begin(&world, "takes/lease");
    assert_eq!(talk.code, 200);
    for id in 0..3 {
        say(&mut talk, &json!({"id": id, "lease": wish("0s")}));
    }
    let leased: Vec<Value> = (0..3).map(|_| talk.hear().unwrap()).collect();
    let (mut lines, mut given): (Vec<u64>, Vec<u64>) = leased.iter().map(heard).unzip();
    lines.sort_unstable();
    given.sort_unstable();
    assert_eq!((lines, &given[..]), (vec![0, 1, 2], &tasks[..3]), "each line has one of those whose turn it is");
    let token = |n: usize| &leased.iter().find(|answer| answer["task"]["id"] == json!(tasks[n])).unwrap()["task"]["token"];
    say(&mut talk, &json!({"id": "done", "token": token(1), "complete": {"result": 7, "next": wish("0s")}}));
    let answer = talk.hear().unwrap();
    assert_eq!((&answer["id"], &answer["next"]["id"]), (&json!("done"), &json!(tasks[3])), "{answer}");
    assert_eq!((&answer["task"]["state"], &answer["task"]["result"]), (&json!("Succeeded"), &json!(7)));
    assert_eq!(task(&world, tasks[1])["state"], "Succeeded");
    say(&mut talk, &json!({"id": 9, "token": token(0), "heartbeat": {"progress": "half"}}));
    let answer = talk.hear().unwrap();
    assert_eq!((&answer["id"], &answer["task"]["progress"]), (&json!(9), &json!("half")), "{answer}");
    say(&mut talk, &json!({"token": token(2), "fail": {"message": "no", "again": true}}));
    let answer = talk.hear().unwrap();
    assert_eq!((answer.get("id"), &answer["task"]["id"], &answer["next"]), (None, &json!(tasks[2]), &Value::Null), "{answer}");
    // What it still has it keeps when it hangs up: it may come back for it.
    talk.over();
    assert_eq!(talk.hear(), None);
    assert_eq!([0, 3].map(|n| task(&world, tasks[n])["state"].clone()), [json!("Leased"), json!("Leased")]);
    // What it says last counts, also where it does not wait for the answer, and what that gives goes to another.
    let mut talk = Talk::begin(&world, "takes/lease");
    say(&mut talk, &json!({"token": token(0), "complete": {"next": wish("1h")}}));
    drop(talk);
    until("it is done", || task(&world, tasks[0])["state"] == "Succeeded");
    assert_eq!(ask(&world, "POST /v1/pools/takes/lease", &wish("30s")).1["task"]["id"], json!(tasks[2]));
}

#[test]
fn who_waits_for_a_task_holds_up_nothing_behind_it() {
    let world = world();
    let first = submit(&world, "takes", &json!({}));
    let mut talk = Talk::begin(&world, "takes/lease");
    for id in 1..=2 {
        say(&mut talk, &json!({"id": id, "lease": wish("1h")}));
    }
    let leased = talk.hear().unwrap();
    assert_eq!(heard(&leased).1, first);
    say(&mut talk, &json!({"id": 3, "token": leased["task"]["token"], "complete": {}}));
    assert_eq!(talk.hear().unwrap()["id"], 3, "the other one waits on");
    let second = submit(&world, "takes", &json!({}));
    assert_eq!(talk.hear().unwrap()["task"]["id"], json!(second));
}

#[test]
fn a_line_that_cannot_be_done_says_why_and_changes_nothing() {
    let world = world();
    let id = submit(&world, "takes", &json!({}));
    let mut talk = Talk::begin(&world, "takes/lease");
    say(&mut talk, &json!({"lease": wish("0s")}));
    let token = talk.hear().unwrap()["task"]["token"].clone();
    let refusals = [
        (json!({"id": 1}), 400, "a line is one of lease, heartbeat, complete and fail"),
        (json!({"id": 1, "token": token, "complete": {}, "fail": {}}), 400, "a line is one of"),
        (json!({"id": 1, "token": token, "lease": wish("0s")}), 400, "a line is one of"),
        (json!({"id": 1, "complete": {}}), 400, "it has no token"),
        (json!({"id": 1, "token": "x", "complete": {}}), 400, "token"),
        (json!({"id": 1, "token": token, "complete": {"reslut": 1}}), 400, "complete.reslut: unknown field"),
        (json!({"id": 1, "token": token, "complete": {"next": wish("9h")}}), 400, "allowed is up to 1h"),
        (json!({"id": 1, "token": "takes.1.9.0123456789abcdef", "complete": {}}), 409, "lease"),
        (json!({"id": 1, "lease": {"worker": "takes-0", "run": 3}}), 409, "run 3 of worker takes-0 is over"),
    ];
    for (line, code, words) in refusals {
        say(&mut talk, &line);
        let answer = talk.hear().unwrap();
        let said = answer["message"].as_str().unwrap_or_default();
        assert!(answer["id"] == 1 && answer["code"] == code && said.contains(words), "{line}: {answer}");
    }
    for (line, words) in
        [("{", "not JSON"), ("[]", "a line is an object"), ("{\"token\": 12345678901234567890123}", "Send it as a string")]
    {
        talk.say(&format!("{line}\n"));
        let answer = talk.hear().unwrap();
        assert!(answer["code"] == 400 && answer["message"].as_str().unwrap().contains(words), "{line}: {answer}");
    }
    talk.say(&format!("{{\"id\": 7, \"token\": {token}, \"complete\": {{\"result\": 12345678901234567890123}}}}\n"));
    let answer = talk.hear().unwrap();
    assert_eq!((&answer["id"], &answer["code"]), (&json!(7), &json!(400)), "whose it was: {answer}");
    assert_eq!(task(&world, id)["state"], "Leased");
    say(&mut talk, &json!({"token": token, "complete": {}}));
    assert_eq!(talk.hear().unwrap()["task"]["state"], "Succeeded");
    assert_eq!([Talk::begin(&world, "none/lease").code, Talk::begin(&world, "runs/lease").code], [404, 409]);
}

#[test]
fn those_that_wait_leave_room_for_what_is_done_at_once() {
    let world = world();
    let first = submit(&world, "takes", &json!({}));
    let mut talk = Talk::begin(&world, "takes/lease");
    for id in 0..70 {
        say(&mut talk, &json!({"id": id, "lease": wish("1h")}));
    }
    // One is given what there is, 48 wait, and the others are told to ask again.
    let answers: Vec<Value> = (0..22).map(|_| talk.hear().unwrap()).collect();
    let (given, told): (Vec<&Value>, Vec<&Value>) = answers.iter().partition(|answer| answer["task"].is_object());
    assert!(given.len() == 1 && told.iter().all(|answer| answer["code"] == 429 && answer["id"].is_u64()), "{answers:?}");
    assert_eq!(heard(given[0]).1, first);
    say(&mut talk, &json!({"id": "beat", "token": given[0]["task"]["token"], "heartbeat": {}}));
    assert_eq!(talk.hear().unwrap()["id"], "beat");
    let all: Vec<Value> = (0..48).map(|n| json!({"payload": n})).collect();
    assert_eq!(ask(&world, "POST /v1/pools/takes/tasks", &json!(all)).0, 201);
    let mut ids: Vec<u64> = (0..48).map(|_| heard(&talk.hear().unwrap()).1).collect();
    ids.sort_unstable();
    assert_eq!(ids, (first + 1..first + 49).collect::<Vec<u64>>());
}

#[test]
fn who_hangs_up_while_it_waits_is_given_nothing_and_the_end_of_the_daemon_is_an_answer() {
    let mut world = world();
    queued(&world, "other", "{delivery: Lease}");
    let mut talk = Talk::begin(&world, "takes/lease");
    say(&mut talk, &json!({"lease": wish("1h")}));
    let mut stays = Talk::begin(&world, "other/lease");
    say(&mut stays, &json!({"id": 5, "lease": {"worker": "other-0", "run": 4, "wait": "1h"}}));
    drop(talk);
    // A hang-up is heard of in its own time: until then it may be given one, which comes back.
    let id = submit(&world, "takes", &json!({}));
    assert_eq!(ask(&world, "POST /v1/pools/takes/lease", &wish("30s")).1["task"]["id"], json!(id), "another one has it");
    assert!(world.end());
    assert_eq!(stays.hear(), Some(json!({"id": 5, "task": null})));
    assert_eq!(stays.hear(), None);
}
