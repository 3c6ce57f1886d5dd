//! Places to wait in: many idle workers take nothing from anybody else, and whoever finds no place comes again.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};

use serde_json::{Value, json};
use weir::engine::handle::Denied;
use weir::model::time::Span;

use super::served::{PATIENCE, Ran, World};
use super::{ask, submit, wish, world};

/// More than there are places for watches.
const MANY: usize = 140;

fn asking(world: &World) -> UnixStream {
    let mut stream = UnixStream::connect(world.state.join("weir.sock")).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let body = wish("1h").to_string();
    let head = "POST /v1/pools/takes/lease HTTP/1.1\r\nhost: x\r\nconnection: close";
    write!(stream, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    stream
}

#[test]
fn many_workers_that_wait_keep_nobody_from_waiting() {
    let world = world();
    let waiting: Vec<UnixStream> = (0..MANY).map(|_| asking(&world)).collect();
    let id = submit(&world, "runs", &json!({}));
    for _ in 0..3 {
        let (code, answer) = ask(&world, &format!("GET /v1/tasks/{id}?wait=100ms"), &Value::Null);
        assert_eq!(code, 202, "{answer}");
    }
    let all: Vec<Value> = (0..MANY).map(|n| json!({"payload": n})).collect();
    assert_eq!(ask(&world, "POST /v1/pools/takes/tasks", &json!(all)).0, 201);
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("\"payload\":"), "each is given one: {answer}");
    }
}

#[test]
fn a_task_that_is_there_is_given_without_a_place() {
    let world = world();
    let full = || Err::<(), _>(Denied::Full { message: "no place".into(), retry_after: Span::secs(5) });
    let lease = |wait| world.block_on(world.handle.lease("takes", "takes-0", 4, (wait, full)));
    let id = submit(&world, "takes", &json!({}));
    assert_eq!(lease(PATIENCE).unwrap().map(|task| task.id), Some(id));
    assert!(matches!(lease(PATIENCE), Err(Denied::Full { .. })), "there is none to wait for");
    assert_eq!(lease(Span(0).duration()), Ok(None), "nor is one asked for");
}

#[test]
fn a_worker_that_finds_no_place_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("weir.sock")).unwrap();
    let full = json!({"kind": "Status", "status": "Failure", "reason": "TooManyRequests", "code": 429, "message": "no place",
        "details": {"retryAfterSeconds": 1}});
    let daemon = std::thread::spawn(move || {
        [("429 Too Many Requests", full), ("200 OK", json!({"task": null}))].map(|(head, body)| {
            let (mut stream, _) = listener.accept().unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            let (mut request, mut buffer) = (String::new(), [0; 4096]);
            while !request.ends_with('}') {
                let n = stream.read(&mut buffer).unwrap();
                assert_ne!(n, 0, "{request}");
                request.push_str(std::str::from_utf8(&buffer[..n]).unwrap());
            }
            let body = body.to_string();
            write!(stream, "HTTP/1.1 {head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
            let wish: Value = serde_json::from_str(request.split_once("\r\n\r\n").unwrap().1).unwrap();
            wish["wait"].as_str().unwrap().parse::<Span>().unwrap()
        })
    });
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ctl"));
    command.arg("--state").arg(dir.path()).args(["task", "next", "--wait", "30s"]).env_clear();
    command.envs([("WEIR_POOL", "takes"), ("WEIR_WORKER", "takes-0"), ("WEIR_RUN", "4")]);
    let ran = Ran::of(command.output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (1, ""), "there was none in time: {ran:?}");
    let [first, second] = daemon.join().unwrap();
    assert!(first > Span::secs(29) && second < first && second > Span::secs(15), "the time goes on: {first} {second}");
}
