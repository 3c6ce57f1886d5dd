//! Watches of tasks that begin where a list or another watch ended: what the client knows in the end is what is there.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use super::served::{PATIENCE, World};
use super::{ask, lease, on_lease, queued, submit, world};

const TASKS: &str = "/apis/weir.dev/v1/tasks";

/// The events of a watch, as they come.
fn watch(world: &World, query: &str) -> impl Iterator<Item = Value> + use<> {
    let mut stream = UnixStream::connect(world.state.join("weir.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {TASKS}?watch=1&{query} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
    // The head comes when the watch has begun.
    assert!(lines.by_ref().take_while(|line| !line.is_empty()).any(|line| line.contains("200 OK")));
    lines.filter(|line| line.starts_with('{')).map(|line| serde_json::from_str(&line).unwrap())
}

fn list(world: &World, query: &str) -> (Vec<String>, String) {
    let (code, list) = ask(world, &format!("GET {TASKS}?{query}"), &Value::Null);
    assert_eq!(code, 200, "{list}");
    (list["items"].as_array().unwrap().iter().map(|task| text(task, "name")).collect(), text(&list, "resourceVersion"))
}

fn text(object: &Value, field: &str) -> String {
    object["metadata"][field].as_str().unwrap_or_default().to_owned()
}

fn told(event: &Value) -> (String, String) {
    (event["type"].as_str().unwrap().to_owned(), text(&event["object"], "name"))
}

fn is(event: Option<Value>, verb: &str, name: &str) {
    let event = event.unwrap();
    assert_eq!(told(&event), (verb.to_owned(), name.to_owned()), "{event}");
}

#[test]
fn a_bookmark_is_not_ahead_of_what_was_told() {
    let world = World::new();
    queued(&world, "runs", "{capacity: 1000}");
    let mut known = BTreeMap::new();
    let (_, mut version) = list(&world, "");
    for _ in 0..2 {
        let mut events = watch(&world, &format!("resourceVersion={version}&timeoutSeconds=1&allowWatchBookmarks=true"));
        // The last changes come just before its end, while it rests from a look.
        std::thread::sleep(Duration::from_millis(900));
        let mut ids = (0..12).map(|_| submit(&world, "runs", &json!({}))).collect::<Vec<_>>();
        for event in events.by_ref() {
            version = text(&event["object"], "resourceVersion");
            if event["type"] != "BOOKMARK" {
                known.insert(text(&event["object"], "name"), ());
            }
        }
        let mut rest = watch(&world, &format!("resourceVersion={version}"));
        ids.push(submit(&world, "runs", &json!({})));
        let last = ids.last().unwrap().to_string();
        while !known.contains_key(&last) {
            let event = rest.next().unwrap();
            version = text(&event["object"], "resourceVersion");
            known.insert(text(&event["object"], "name"), ());
        }
        assert!(ids.iter().all(|id| known.contains_key(&id.to_string())), "{ids:?}: {:?}", known.keys());
    }
}

#[test]
fn what_left_the_selection_before_the_watch_began_is_deleted() {
    let world = world();
    let held = submit(&world, "takes", &json!({"hold": true})).to_string();
    let other = submit(&world, "takes", &json!({"hold": true})).to_string();
    let selected = "fieldSelector=status.state%3DHeld";
    let (there, version) = list(&world, selected);
    assert_eq!(there, [held.as_str(), &other]);
    assert_eq!(ask(&world, &format!("POST /v1/tasks/{held}/cancel"), &Value::Null).0, 200);
    let mut events = watch(&world, &format!("{selected}&resourceVersion={version}"));
    is(events.next(), "DELETED", &held);
    assert_eq!(ask(&world, &format!("POST /v1/tasks/{other}/release"), &Value::Null).0, 200);
    is(events.next(), "DELETED", &other);
    drop(events);
    // A version that nobody was told under this selection: nobody knows what was there.
    let (code, status) = ask(&world, &format!("GET {TASKS}?watch=1&labelSelector=a%3Db&resourceVersion={version}"), &Value::Null);
    assert_eq!((code, &status["reason"]), (410, &json!("Expired")), "{status}");
}

#[test]
fn a_watch_goes_on_where_another_one_under_the_same_selection_ended() {
    let world = world();
    let selected = "fieldSelector=status.state%3DHeld";
    let (_, version) = list(&world, selected);
    let held = submit(&world, "takes", &json!({"hold": true}));
    let events = watch(&world, &format!("{selected}&resourceVersion={version}&timeoutSeconds=1&allowWatchBookmarks=true"));
    let events: Vec<Value> = events.collect();
    assert_eq!(told(&events[0]), ("ADDED".to_owned(), held.to_string()));
    let last = events.last().unwrap();
    assert_eq!(last["type"], "BOOKMARK");
    assert_eq!(ask(&world, &format!("POST /v1/tasks/{held}/release"), &Value::Null).0, 200);
    let mut rest = watch(&world, &format!("{selected}&resourceVersion={}", text(&last["object"], "resourceVersion")));
    is(rest.next(), "DELETED", &held.to_string());
}

#[test]
fn a_task_that_was_deleted_is_gone_however_it_ends() {
    let world = world();
    let id = submit(&world, "takes", &json!({}));
    let token = lease(&world)["token"].clone();
    let path = format!("{TASKS}/{id}");
    let uid = || text(&ask(&world, &format!("GET {path}"), &Value::Null).1, "uid");
    let before = uid();
    // As kubectl waits for it.
    let only = format!("fieldSelector=metadata.name%3D{id}");
    assert_eq!(ask(&world, &format!("DELETE {path}"), &json!({})).0, 200);
    let (_, version) = list(&world, &only);
    assert_eq!(uid(), before, "its worker still has it");
    let mut events = watch(&world, &format!("{only}&resourceVersion={version}"));
    assert_eq!(on_lease(&world, &token, "complete", &json!({"result": 1})).1["task"]["state"], "Succeeded");
    is(events.next(), "DELETED", &id.to_string());
    assert_ne!(uid(), before);
    // The same, where it ends between the list and the watch.
    let mut late = watch(&world, &format!("{only}&resourceVersion={version}"));
    is(late.next(), "DELETED", &id.to_string());
    // And where it had ended when it was listed: who looked for it just before has only seen the first.
    let (_, version) = list(&world, &only);
    let deleted = watch(&world, &format!("{only}&resourceVersion={version}")).next();
    assert_eq!(deleted.as_ref().map(|event| text(&event["object"], "uid")), Some(before));
    is(deleted, "DELETED", &id.to_string());
}

/// As the column says it, by each road.
#[test]
fn what_is_shown_as_running_is_found_as_running() {
    let world = world();
    let (runs, waits) = (submit(&world, "takes", &json!({})), submit(&world, "takes", &json!({})));
    let running = "fieldSelector=status.state%3DRunning";
    let (none, version) = list(&world, running);
    assert!(none.is_empty(), "{none:?}");
    let mut events = watch(&world, &format!("{running}&resourceVersion={version}"));
    let token = lease(&world)["token"].clone();
    is(events.next(), "ADDED", &runs.to_string());
    assert_eq!(list(&world, running).0, [runs.to_string()]);
    assert_eq!(list(&world, "fieldSelector=status.state!%3DRunning,spec.pool%3Dtakes").0, [waits.to_string()]);
    for word in ["Running", "running", "Leased"] {
        let (_, found) = ask(&world, &format!("GET /v1/tasks?pool=takes&state={word}"), &Value::Null);
        assert_eq!(found.pointer("/items/0/id"), Some(&json!(runs)), "{word}: {found}");
        assert_eq!(found["items"].as_array().unwrap().len(), 1, "{word}: {found}");
    }
    let (code, status) = ask(&world, "GET /v1/tasks?state=Waiting", &Value::Null);
    assert!(code == 400 && status["message"].as_str().unwrap().contains("Running (Leased)"), "{status}");
    assert_eq!(on_lease(&world, &token, "complete", &json!({})).0, 200);
    is(events.next(), "DELETED", &runs.to_string());
}

#[test]
fn a_state_is_selected_from_all_tasks() {
    let world = World::new();
    queued(&world, "takes", "{delivery: Lease, capacity: 1000}");
    world.board.put(super::worker("takes", 0, super::Phase::Ready));
    let done: Vec<String> = (0..2).map(|_| submit(&world, "takes", &json!({})).to_string()).collect();
    for _ in &done {
        let leased = lease(&world);
        assert_eq!(on_lease(&world, &leased["token"], "complete", &json!({})).0, 200);
    }
    assert_eq!(ask(&world, "POST /v1/pools/takes/tasks", &json!(vec![json!({"hold": true}); 520])).0, 201);
    assert_eq!(ask(&world, "POST /v1/pools/takes/tasks", &json!({"delay": "1h"})).0, 201);
    for (selector, many) in [
        ("status.state%3DSucceeded", 2),
        ("status.state%3D%3DSucceeded,spec.pool%3Dtakes", 2),
        ("status.state!%3DHeld", 3),
        ("status.state!%3DHeld,status.state!%3DQueued", 2),
        ("status.state%3DHeld", 500),
        ("status.state%3DRunning", 0),
        ("status.state%3DDelayed", 1),
        ("status.state!%3DRunning,status.state!%3DHeld,status.state!%3DDelayed", 2),
    ] {
        assert_eq!(list(&world, &format!("fieldSelector={selector}")).0.len(), many, "{selector}");
    }
    assert_eq!(ask(&world, &format!("GET {TASKS}?fieldSelector=status.state%3DNonsense"), &Value::Null).0, 400);
}
