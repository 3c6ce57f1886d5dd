//! Tasks that come after others: as a client gives them, sees them wait, and hears what became of them.
//! The daemon itself is not there: ends come from workers played by hand.

use serde_json::json;

use super::{ask, lease, on_lease, submit, task, world};

#[test]
fn a_task_waits_until_those_that_it_comes_after_have_succeeded() {
    let world = world();
    let (first, second) = (submit(&world, "takes", &json!({})), submit(&world, "takes", &json!({})));
    let held = world.ctl(&format!("submit runs --after task/{first},{second} -- x"));
    assert_eq!(held.out, format!("task/3 held until task/{first} and task/{second} have succeeded\n"), "{}", held.err);
    assert_eq!(task(&world, 3)["after"], json!([first, second]));
    let table = world.ctl("get tasks 3").out;
    assert!(table.contains(" Held ") && table.contains("waits for task/1 and task/2"), "{table}");
    let object = ask(&world, "GET /apis/weir.dev/v1/tasks/3", &json!(null)).1;
    assert_eq!((&object["spec"]["after"], object["spec"].get("hold")), (&json!([1, 2]), None), "{object}");
    for left in ["task/3 held until task/2 has succeeded", "task/3 queued"] {
        let leased = lease(&world);
        assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({})).0, 200);
        let sheet = world.ctl("describe task/3").out;
        assert!(sheet.contains(left), "{sheet}");
    }
    assert_eq!(task(&world, 3).get("after"), None);
    assert!(world.ctl("submit runs --after 1 -- x").out.starts_with("task/4 queued"), "what has succeeded is not waited for");
}

#[test]
fn a_task_that_can_come_no_more_is_cancelled_and_told_of() {
    let world = world();
    submit(&world, "takes", &json!({"maxAttempts": 1}));
    submit(&world, "takes", &json!({"after": [1]}));
    submit(&world, "takes", &json!({"after": [2]}));
    let leased = lease(&world);
    assert_eq!(on_lease(&world, &leased["token"], "fail", &json!({"message": "no such page"})).0, 200);
    let last = world.ctl("wait task/3 --timeout 10s");
    assert_eq!(last.code, 1);
    assert!(
        last.err.starts_with("task/3 cancelled: it was to come after task 2, which is Cancelled"),
        "{}{}",
        last.out,
        last.err
    );
    for (body, code, words) in [
        (json!({"after": [1]}), 409, "after: task 1 is Dead, and has not succeeded: retry that one first, or leave it out"),
        (json!({"after": [99]}), 400, "after: there is no task 99"),
        (json!({"after": [1], "hold": true}), 400, "hold: goes without after"),
    ] {
        let (found, answer) = ask(&world, "POST /v1/pools/takes/tasks", &body);
        assert_eq!(found, code, "{answer}");
        assert!(answer["message"].as_str().is_some_and(|message| message.contains(words)), "{answer}");
    }
    assert_eq!(world.ctl("get tasks -o name").out.lines().count(), 3, "nothing was taken in");
    let both = world.ctl("submit takes --after 1 --hold -- x");
    assert!(both.code == 2 && both.err.contains("cannot be used with"), "{}", both.err);
    assert!(world.ctl("submit takes --after pool/1 -- x").err.contains("expected a task, as task/12 or 12"));
}

#[test]
fn a_chain_is_taken_back_as_a_whole_and_one_of_it_can_be_let_go() {
    let world = world();
    submit(&world, "takes", &json!({}));
    for id in 1..5 {
        submit(&world, "takes", &json!({"after": [id]}));
    }
    assert_eq!(world.ctl("release task/3").out, "task/3 released\n");
    assert_eq!(task(&world, 3)["state"], "Queued");
    let all = world.ctl("cancel --pool takes --all");
    assert_eq!((all.code, all.out.lines().count()), (0, 5), "{}{}", all.out, all.err);
}
