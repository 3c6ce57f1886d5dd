//! The wire, through its own door: raw requests over a real socket against a board made by hand.
//!
//! Clients here may be broken or hostile on purpose; after each the server must still answer. What the engine is asked is
//! read from the stub's notes.

#![allow(clippy::unwrap_used, reason = "a test ends where something fails")]

mod served;
#[path = "served/sockets.rs"]
mod sockets;
#[path = "served/watches.rs"]
mod watches;

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use served::{PATIENCE, WEB, World, pool, until, worker};
use weir::model::status::{Kind, Phase};
use weir::serve::auth::TABLE;

fn get(world: &World, path: &str) -> (u16, Value) {
    let (code, body) = world.request(&format!("GET {path}"), b"");
    (code, serde_json::from_str(&unchunked(&body)).unwrap_or(Value::Null))
}

/// Enough for bodies whose text has no carriage returns.
fn unchunked(body: &str) -> String {
    let is_size = |line: &str| line.ends_with('\r') && line.trim_end().bytes().all(|b| b.is_ascii_hexdigit());
    body.lines().filter(|line| !is_size(&format!("{line}\r")) || line.is_empty()).collect::<Vec<_>>().join("\n")
}

/// An open request whose answer is read line by line.
fn stream(world: &World, path: &str) -> impl Iterator<Item = String> + use<> {
    let mut stream = UnixStream::connect(world.state.join("weir.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let lines = BufReader::new(stream).lines().map_while(Result::ok);
    lines.skip_while(|line| !line.is_empty()).skip(1).filter(|line| line.len() > 8 || line.starts_with("line"))
}

fn parsed(line: Option<String>) -> Value {
    serde_json::from_str(&line.unwrap()).unwrap()
}

#[test]
fn discovery_says_what_there_is() {
    let world = World::new();
    for path in ["/healthz", "/livez", "/readyz"] {
        assert_eq!(world.request(&format!("GET {path}"), b""), (200, "ok".into()));
    }
    let (code, resources) = get(&world, "/apis/weir.dev/v1");
    assert_eq!(code, 200);
    assert_eq!(resources.pointer("/resources/0/shortNames"), Some(&json!(["pool", "pools", "wp"])));
    for path in ["/version", "/api", "/apis", "/apis/weir.dev"] {
        assert_eq!(get(&world, path).0, 200, "{path}");
    }
}

/// The endpoints that are not Kubernetes', with their roles: as they are told to people, and as they are.
#[test]
fn each_endpoint_of_our_own_is_told_of() {
    let plain = |segment: &str| segment.is_empty() || segment.chars().any(|c| !c.is_ascii_uppercase());
    let told = include_str!("../docs/http.md").lines().filter_map(|line| {
        let (endpoint, rest) = line.strip_prefix("| `")?.split_once("` | `")?;
        let (method, path) = endpoint.split_once(' ')?;
        let path: Vec<&str> = path.split('/').map(|segment| if plain(segment) { segment } else { "{}" }).collect();
        Some((method.to_owned(), path.join("/"), rest.split('`').next()?.to_owned()))
    });
    let own = |path: &str| path.starts_with("/v1/") || ["/healthz", "/livez", "/readyz", "/version", "/metrics"].contains(&path);
    let there = TABLE.iter().filter(|(_, path, _)| own(path));
    let there = there.map(|(method, path, role)| ((*method).to_owned(), (*path).to_owned(), role.name().to_owned()));
    assert_eq!(told.collect::<BTreeSet<_>>(), there.collect::<BTreeSet<_>>());
}

#[test]
fn lists_are_filtered() {
    let world = World::furnished();
    for (query, names) in [
        ("workers", vec!["web-0", "web-1", "web-2"]),
        ("workers?labelSelector=weir.dev%2Fpool%3Dweb", vec!["web-0", "web-1", "web-2"]),
        ("workers?labelSelector=weir.dev%2Fpool%3Dweb&limit=1", vec!["web-0"]),
        ("workers?limit=0", vec!["web-0", "web-1", "web-2"]),
        ("workers?labelSelector=weir.dev/pool!%3Dweb", vec![]),
        ("workers?fieldSelector=metadata.name%3Dweb-1", vec!["web-1"]),
        ("workerpools", vec!["batch", "web"]),
        ("events", vec!["e1", "e2"]),
    ] {
        let (code, list) = get(&world, &format!("/apis/weir.dev/v1/{query}"));
        let found: Vec<&str> = list["items"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item.pointer("/metadata/name").unwrap().as_str().unwrap())
            .collect();
        assert_eq!((code, found), (200, names), "{query}");
    }
}

#[test]
fn what_is_wrong_is_a_status() {
    let world = World::furnished();
    let patch = |body: &str| world.request("PATCH /apis/weir.dev/v1/workerpools/web", body.as_bytes());
    for ((code, body), expected, reason) in [
        (world.request("GET /nowhere", b""), 404, "NotFound"),
        (world.request("GET /apis/weir.dev/v1/pods", b""), 404, "NotFound"),
        (world.request("GET /apis/weir.dev/v1/workerpools/nosuch", b""), 404, "NotFound"),
        (world.request("PUT /apis/weir.dev/v1/workerpools", b""), 405, "MethodNotAllowed"),
        (world.request("DELETE /apis/weir.dev/v1/events/e1", b""), 405, "MethodNotAllowed"),
        (world.request("POST /apis/weir.dev/v1/workers", b"{}"), 405, "MethodNotAllowed"),
        (world.request("GET /apis/weir.dev/v1/workers?labelSelector=a%20b", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers?labelSelector=a%20notin%20()", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers?fieldSelector=spec.x%3D1", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers?fieldSelector=metadata.name", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers?fieldSelector=!metadata.name", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers?watch=1&fieldSelector=metadata.name", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/tasks?fieldSelector=metadata.name%20notin%20(1)", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers?watch=maybe", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers?watch=1&resourceVersion=x", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers?watch=1&resourceVersion=999", b""), 410, "Expired"),
        (world.request("GET /apis/weir.dev/v1/workers/web-0/log?tailLines=-1", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers/web-0/log?sinceTime=2026", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers/web-0/log?previous=true", b""), 400, "BadRequest"),
        (world.request("GET /apis/weir.dev/v1/workers/nosuch/log", b""), 404, "NotFound"),
        (world.request("POST /v1/prune", b"{\"confirm\":\"bad\"}"), 400, "BadRequest"),
        (world.request("POST /v1/prune", b"not json"), 400, "BadRequest"),
        (world.request("POST /v1/apply", b"\xff\xfe"), 400, "BadRequest"),
        (world.request("POST /v1/apply", b"kind: WorkerPool\n"), 422, "Invalid"),
        (world.request("POST /v1/apply?dryRun=Some", WEB.as_bytes()), 400, "BadRequest"),
        (world.request("POST /apis/weir.dev/v1/workerpools", WEB.as_bytes()), 409, "AlreadyExists"),
        (world.request("GET /apis/weir.dev/v1/workers/web-0/document", b""), 404, "NotFound"),
        (world.request("PUT /apis/weir.dev/v1/workers/web-0/document", b"{}"), 404, "NotFound"),
        (world.request("PATCH /apis/weir.dev/v1/workerpools/web/document", b"{}"), 405, "MethodNotAllowed"),
        (world.request("PUT /apis/weir.dev/v1/workerpools/web/document", b"text"), 400, "BadRequest"),
        (world.request("PUT /apis/weir.dev/v1/workerpools/web/document", b"{\"txt\":\"\"}"), 400, "BadRequest"),
        (world.request("PUT /apis/weir.dev/v1/workerpools/web/document", b"{\"text\":\"\"}"), 409, "Conflict"),
        (patch("[]"), 400, "BadRequest"),
        (patch("{\"spec\":{\"replicas\":-1}}"), 422, "Invalid"),
        (patch("{\"spec\":{\"replicas\":\"3\"}}"), 422, "Invalid"),
        (patch("{\"spec\":{\"scale\":{}}}"), 422, "Invalid"),
        (patch("{\"spec\":null}"), 422, "Invalid"),
        (patch("{\"metadata\":{\"name\":\"other\"}}"), 400, "BadRequest"),
        (patch("{\"kind\":\"Pod\"}"), 400, "BadRequest"),
        (patch("{\"metadata\":{\"resourceVersion\":\"99\"},\"spec\":{\"replicas\":1}}"), 409, "Conflict"),
        (world.request("DELETE /apis/weir.dev/v1/workerpools/web", b"{\"dryRun\":[\"Some\"]}"), 400, "BadRequest"),
        (world.request("DELETE /apis/weir.dev/v1/workerpools/web", b"{\"preconditions\":{\"uid\":\"x\"}}"), 409, "Conflict"),
        (world.request("GET /apis/weir.dev/v1/workers?limit=1&continue=x", b""), 400, "BadRequest"),
    ] {
        let status: Value = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{reason}: {error}: {body}"));
        assert_eq!(
            (code, status["kind"].as_str(), status["reason"].as_str()),
            (expected, Some("Status"), Some(reason)),
            "{body}"
        );
    }
    assert!(
        world.asked().iter().all(|ask| [
            "text",
            "prune",
            "Apply { text: \"kind",
            "Replace { kind: WorkerPool, name: \"web\", text: \"\""
        ]
        .iter()
        .any(|word| ask.starts_with(word))),
        "{:?}",
        world.asked()
    );
}

#[test]
fn writes_are_asked_of_the_engine() {
    let world = World::furnished();
    let root = "/apis/weir.dev/v1";
    for (head, body, code) in [
        (format!("PATCH {root}/workerpools/web"), "{\"spec\":{\"replicas\":5},\"metadata\":{\"annotations\":{\"a\":null}}}", 200),
        // Nothing is to be done: it is so already.
        (format!("PATCH {root}/workerpools/web"), "{\"status\":{\"replicas\":9}}", 200),
        (format!("PATCH {root}/workerpools/web"), "{\"spec\":{\"replicas\":3}}", 200),
        (format!("PATCH {root}/workerpools/web"), "{\"metadata\":{\"labels\":{\"a\":\"b\"}}}", 200),
        (format!("PATCH {root}/workerpools/web/scale"), "{\"spec\":{\"replicas\":4}}", 200),
        (format!("PUT {root}/workerpools/web/scale?dryRun=All"), "{\"spec\":{\"replicas\":2}}", 200),
        (
            format!("PUT {root}/workerpools/web/scale"),
            "{\"metadata\":{\"resourceVersion\":\"99\"},\"spec\":{\"replicas\":2}}",
            409,
        ),
        (format!("DELETE {root}/workerpools/web"), "{\"dryRun\":[\"All\"],\"preconditions\":{\"uid\":\"uid-web\"}}", 200),
        (format!("DELETE {root}/workerpools/web"), "", 200),
        (format!("DELETE {root}/workers/web-0"), "", 200),
        ("POST /v1/prune".into(), "{\"confirm\":\"good\"}", 200),
    ] {
        let (answered, text) = world.request(&head, body.as_bytes());
        assert_eq!(answered, code, "{head}: {text}");
    }
    let labelled = WEB.replace("{tier: front}", "{tier: front, a: b}");
    let expected = [
        "text web".to_owned(),
        "Scale { pool: \"web\", replicas: 5 }".into(),
        "text web".into(),
        format!("Replace {{ kind: WorkerPool, name: \"web\", text: {labelled:?}, version: \"one\" }}"),
        "Scale { pool: \"web\", replicas: 4 }".into(),
        "dry Scale { pool: \"web\", replicas: 2 }".into(),
        "dry Delete { kind: WorkerPool, name: \"web\", gone: false }".into(),
        "Delete { kind: WorkerPool, name: \"web\", gone: false }".into(),
        "restart web-0".into(),
        "prune good".into(),
    ];
    assert_eq!(world.asked(), expected);
    let created = WEB.replace("name: web", "name: fresh");
    assert_eq!(world.request(&format!("POST {root}/workerpools"), created.as_bytes()).0, 201);
}

#[test]
fn a_document_is_shown_and_replaced_as_text() {
    let world = World::furnished();
    let path = "/apis/weir.dev/v1/workerpools/web/document";
    let (code, document) = get(&world, path);
    assert_eq!((code, &document), (200, &json!({"file": "web.yaml", "line": 1, "text": WEB, "version": "one"})));
    let text = format!("# mine\r\n#\tx\n{WEB}");
    let (code, answer) =
        world.request(&format!("PUT {path}?dryRun=All"), json!({"text": text, "version": "one"}).to_string().as_bytes());
    assert_eq!(code, 200, "{answer}");
    let asked = world.asked().pop().unwrap();
    assert!(asked.starts_with("dry Replace") && asked.contains(&format!("{text:?}")), "{asked}");
    let wrong = json!({"text": WEB.replace("replicas", "replicaz"), "version": "one"}).to_string();
    let (code, answer) = world.request(&format!("PUT {path}"), wrong.as_bytes());
    assert!(code == 422 && answer.contains("\"causes\":[{") && answer.contains("replicaz"), "{answer}");
}

#[test]
fn a_watch_begins_with_what_is_there_and_resumes_where_it_was() {
    let world = World::new();
    world.board.put(pool("web", 1, 1));
    let mut lines = stream(&world, "/apis/weir.dev/v1/workerpools?watch=1");
    assert_eq!(parsed(lines.next())["type"], "ADDED");
    world.board.put(worker("web", 0, Phase::Ready));
    world.board.put(pool("web", 1, 0));
    let modified = parsed(lines.next());
    assert_eq!(modified["type"], "MODIFIED");
    let version = modified.pointer("/object/metadata/resourceVersion").unwrap().as_str().unwrap().to_owned();
    drop(lines);
    world.board.put(pool("other", 1, 0));
    world.board.remove(Kind::Pool, "web");
    let mut lines = stream(&world, &format!("/apis/weir.dev/v1/workerpools?watch=true&resourceVersion={version}"));
    assert_eq!(parsed(lines.next()).pointer("/object/metadata/name").unwrap(), "other");
    assert_eq!(parsed(lines.next())["type"], "DELETED");
    let mut only = stream(&world, "/apis/weir.dev/v1/workerpools?watch=1&fieldSelector=metadata.name%3Dnew");
    world.board.put(pool("unseen", 1, 1));
    world.board.put(pool("new", 1, 1));
    assert_eq!(parsed(only.next()).pointer("/object/metadata/name").unwrap(), "new");
    // From an older version on the others' changes are there too, and were never among what is selected by name.
    world.board.put(pool("unseen", 1, 0));
    let mut older = stream(
        &world,
        &format!("/apis/weir.dev/v1/workerpools?watch=1&fieldSelector=metadata.name%3Dnew&resourceVersion={version}"),
    );
    world.board.put(pool("new", 1, 0));
    let names = [(); 2]
        .map(|()| parsed(older.next()))
        .map(|event| (event["type"].clone(), event.pointer("/object/metadata/name").cloned()));
    assert_eq!(names, ["ADDED", "MODIFIED"].map(|verb| (json!(verb), Some(json!("new")))));
}

#[test]
fn a_version_that_is_no_longer_kept_is_gone() {
    let world = World::new();
    for n in 0..5000 {
        world.board.put(pool("web", 1, n % 2));
    }
    let (code, status) = get(&world, "/apis/weir.dev/v1/workerpools?watch=1&resourceVersion=1");
    assert_eq!((code, status["reason"].as_str()), (410, Some("Expired")));
}

#[test]
fn a_large_body_is_refused_and_the_server_lives() {
    let world = World::furnished();
    let (code, _) = world.request("POST /v1/apply", &vec![b'#'; 1024 * 1024 + 1]);
    assert_eq!(code, 413);
    for garbage in ["\0\0\0", "GET\r\n\r\n", "GET / HTTP/9\r\n\r\n", &"A".repeat(100_000)] {
        let mut stream = UnixStream::connect(world.state.join("weir.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        drop(stream.write_all(garbage.as_bytes()));
        drop(stream.shutdown(std::net::Shutdown::Write));
        drop(stream.read_to_end(&mut Vec::new()));
    }
    assert_eq!(get(&world, "/apis/weir.dev/v1/workerpools").0, 200);
}

#[test]
fn streams_are_bounded_and_leave_room_for_requests() {
    let world = World::furnished();
    let mut open: Vec<UnixStream> = Vec::new();
    for _ in 0..128 {
        let mut stream = UnixStream::connect(world.state.join("weir.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /apis/weir.dev/v1/workers?watch=1 HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
        stream.read_exact(&mut [0; 12]).unwrap();
        open.push(stream);
    }
    let (code, status) = get(&world, "/apis/weir.dev/v1/workers?watch=1");
    assert_eq!((code, status.pointer("/details/retryAfterSeconds")), (429, Some(&json!(5))), "{status}");
    let mut refused = UnixStream::connect(world.state.join("weir.sock")).unwrap();
    write!(refused, "GET /v1/events HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    refused.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 429 ") && answer.to_lowercase().contains("\r\nretry-after: 5\r\n"), "{answer}");
    assert_eq!(get(&world, "/apis/weir.dev/v1/workers").0, 200);
    drop(open);
    let place = || world.request("GET /apis/weir.dev/v1/workers?watch=1&resourceVersion=999", b"").0;
    until("places are free again", || place() == 410);
}

#[test]
fn a_log_is_followed_through_rotation_until_its_worker_is_gone() {
    let world = World::furnished();
    let directory = world.state.join("logs/web");
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("web-0.log");
    let write = |text: &str| {
        std::fs::File::options().create(true).append(true).open(&file).unwrap().write_all(text.as_bytes()).unwrap();
    };
    write("line 1\nline 2\n");
    std::fs::rename(&file, directory.join("web-0.log.1")).unwrap();
    write("line 3\n");
    let whole = world.request("GET /apis/weir.dev/v1/workers/web-0/log", b"").1;
    assert!(whole.contains("line 1\nline 2\n") && whole.contains("line 3\n"), "{whole}");
    let mut lines = stream(&world, "/apis/weir.dev/v1/workers/web-0/log?follow=true&tailLines=2");
    assert_eq!(lines.next().unwrap(), "line 2");
    assert_eq!(lines.next().unwrap(), "line 3");
    write("line 4\n");
    assert_eq!(lines.next().unwrap(), "line 4");
    write("line 5\n");
    std::fs::rename(directory.join("web-0.log.1"), directory.join("web-0.log.2")).unwrap();
    std::fs::rename(&file, directory.join("web-0.log.1")).unwrap();
    write("line 6\n");
    assert_eq!(lines.next().unwrap(), "line 5");
    assert_eq!(lines.next().unwrap(), "line 6");
    world.board.remove(Kind::Worker, "web-0");
    assert_eq!(lines.next(), None);
}

#[test]
fn the_end_ends_streams_too() {
    let mut world = World::furnished();
    let mut lines = stream(&world, "/apis/weir.dev/v1/workers?watch=1");
    for _ in 0..3 {
        lines.next().unwrap();
    }
    assert!(world.end());
    assert_eq!(lines.next(), None);
}

/// The next events of a stream of them: ids and reasons.
fn told(stream: &mut BufReader<UnixStream>, wanted: usize) -> Vec<(String, String)> {
    let (mut found, mut id) = (Vec::new(), String::new());
    while found.len() < wanted {
        let mut line = String::new();
        assert!(stream.read_line(&mut line).unwrap() > 0, "it ended after {found:?}");
        if let Some(text) = line.strip_prefix("id: ") {
            id = text.trim().to_owned();
        } else if let Some(text) = line.strip_prefix("data: ") {
            let event: Value = serde_json::from_str(text.trim()).unwrap();
            found.push((id.clone(), event["reason"].as_str().unwrap().to_owned()));
        }
    }
    found
}

#[test]
fn events_are_told_from_where_a_client_left_off() {
    let world = World::furnished();
    let ask = |query: &str, id: &str| {
        let mut stream = UnixStream::connect(world.state.join("weir.sock")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        write!(stream, "GET /v1/events{query} HTTP/1.1\r\nhost: x\r\n{id}\r\n").unwrap();
        BufReader::new(stream)
    };
    let mut all = ask("?lastEventId=0", "");
    let first = told(&mut all, 2);
    assert_eq!(first.iter().map(|(_, reason)| reason.as_str()).collect::<Vec<_>>(), ["Scaled", "BackOff"]);
    assert!(first[0].0.ends_with("-e1") && first[1].0.ends_with("-e2"), "{first:?}");
    assert_eq!(told(&mut ask("", &format!("last-event-id: {}\r\n", first[0].0)), 1), first[1..]);

    let mut warnings = ask("?lastEventId=0&fieldSelector=type%3DWarning", "");
    assert_eq!(told(&mut warnings, 1), first[1..]);
    world.board.put(served::event("e3", "pool/web", weir::model::status::EventType::Warning, ("Stuck", "it is stuck"), 0));
    let next = told(&mut all, 1);
    assert_eq!((next[0].1.as_str(), &told(&mut warnings, 1)), ("Stuck", &next), "what comes is told at once");
    let note = ("Stuck", "it is stuck still");
    world.board.put(served::event("e3", "pool/web", weir::model::status::EventType::Warning, note, 0));
    assert_ne!(told(&mut all, 1), next, "what happens once more is told once more");
    let lines = ask("?lastEventId=3-4-gone", "").lines().map_while(Result::ok);
    assert_eq!(lines.take_while(|line| !line.starts_with("data: {")).filter(|line| line == "event: gap").count(), 1);
    assert_eq!(world.request("GET /v1/events?lastEventId=x", b"").0, 400);
    assert_eq!(world.request("GET /v1/events?fieldSelector=note%3Dx", b"").0, 400);
}
