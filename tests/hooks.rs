//! Webhooks over a real socket: the route, the engine's part behind it, and a queue that knows its deliveries again.
//!
//! The tests share one process whose memory one of them measures, so they take turns.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes_of::signed;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use weir::engine::hooks::{Hooks, Taking};
use weir::model::hook::{Delivery, NotTaken, Submission, Submitted, Wake};
use weir::model::pool::PoolSpec;
use weir::model::time::Span;
use weir::serve::hooks::{BODY_MAX, router};

static TURN: Mutex<()> = Mutex::new(());

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NEXT: &str = "another secret, of enough letters";

/// A queue that remembers.
#[derive(Default)]
struct Queue {
    spec: Mutex<Option<Arc<PoolSpec>>>,
    known: Mutex<BTreeMap<String, String>>,
    tasks: Mutex<Vec<Submission>>,
    woken: Mutex<Vec<(String, Wake)>>,
    full: Mutex<Option<NotTaken>>,
    refused: Mutex<Vec<String>>,
}

impl Taking for Queue {
    fn spec(&self, pool: &str) -> Option<Arc<PoolSpec>> {
        self.spec.lock().unwrap().clone().filter(|_| pool == "dev")
    }

    async fn submit(&self, submission: Submission) -> Result<Submitted, NotTaken> {
        if let Some(full) = self.full.lock().unwrap().clone() {
            return Err(full);
        }
        let mut known = self.known.lock().unwrap();
        let mut tasks = self.tasks.lock().unwrap();
        if let Some(task) = submission.idempotency.iter().find_map(|key| known.get(key)) {
            return Ok(Submitted { task: task.clone(), duplicate: true });
        }
        let task = format!("t{}", tasks.len());
        known.extend(submission.idempotency.iter().map(|key| (key.clone(), task.clone())));
        tasks.push(submission);
        Ok(Submitted { task, duplicate: false })
    }

    fn wake(&self, pool: &str, wake: &Wake) {
        self.woken.lock().unwrap().push((pool.to_owned(), wake.clone()));
    }

    fn refused(&self, pool: &str, index: usize, why: String) {
        self.refused.lock().unwrap().push(format!("{pool}/{index}: {why}"));
    }
}

/// A served queue whose one pool has one webhook of Gitea.
struct World {
    queue: Arc<Queue>,
    socket: PathBuf,
    dir: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
    _turn: MutexGuard<'static, ()>,
}

impl World {
    fn new() -> World {
        let turn = TURN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("secret"), format!("{SECRET}\n")).unwrap();
        let hook = serde_json::json!({
            "provider": "gitea", "on": ["issues.assigned"], "key": "$(issue.number)", "payload": {"title": "$(issue.title)"},
            "secretFrom": {"file": dir.path().join("secret")}, "previousSecretFrom": {"file": dir.path().join("before")},
        });
        let spec = serde_json::json!({"template": {"command": ["run"]}, "queue": {"webhooks": [hook]}});
        let queue = Arc::new(Queue::default());
        *queue.spec.lock().unwrap() = Some(Arc::new(serde_json::from_value(spec).unwrap()));
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let socket = dir.path().join("sock");
        let hooks = Hooks::new(queue.clone());
        let receive = move |delivery: Delivery<_>| -> futures_util::future::BoxFuture<'static, _> {
            let hooks = hooks.clone();
            Box::pin(async move { hooks.receive(delivery).await })
        };
        let listener = runtime.block_on(async { UnixListener::bind(&socket).unwrap() });
        runtime.spawn(serve(listener, router(Arc::new(receive))));
        World { queue, socket, dir, runtime, _turn: turn }
    }

    fn tasks(&self) -> usize {
        self.queue.tasks.lock().unwrap().len()
    }

    /// Send a request, and read the whole answer.
    fn send(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String) {
        self.runtime.block_on(send(&self.socket, &head(path, headers, Some(body.len())), body))
    }

    fn deliver(&self, id: &str, secret: &str, body: &[u8]) -> (u16, String) {
        self.send("/hooks/dev/0", &headers(id, &signed(secret, body)), body)
    }
}

/// With the limits of a connection that the daemon has.
async fn serve(listener: UnixListener, router: axum::Router) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        let mut builder = hyper::server::conn::http1::Builder::new();
        builder.max_buf_size(64 * 1024);
        let service = hyper_util::service::TowerToHyperService::new(router.clone());
        tokio::spawn(builder.serve_connection(hyper_util::rt::TokioIo::new(stream), service));
    }
}

mod bytes_of {
    use hmac::{Hmac, KeyInit, Mac};

    pub fn signed(secret: &str, body: &[u8]) -> String {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(body);
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

fn headers<'a>(id: &'a str, signature: &'a str) -> [(&'static str, &'a str); 4] {
    [
        ("Content-Type", "application/json"),
        ("X-Gitea-Event", "issues"),
        ("X-Gitea-Delivery", id),
        ("X-Gitea-Signature", signature),
    ]
}

fn head(path: &str, headers: &[(&str, &str)], length: Option<usize>) -> String {
    let mut head = format!("POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n");
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    match length {
        Some(length) => head += &format!("Content-Length: {length}\r\n\r\n"),
        None => head += "Transfer-Encoding: chunked\r\n\r\n",
    }
    head
}

async fn send(socket: &Path, head: &str, body: &[u8]) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    // A refused body is not read to its end.
    let _refused = stream.write_all(body).await;
    let mut answer = Vec::new();
    let _reset = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    (code, answer)
}

fn assigned(number: u64, title: &str) -> Vec<u8> {
    let issue = serde_json::json!({"number": number, "title": title, "assignees": [{"login": "dev"}]});
    let repository = serde_json::json!({"full_name": "acme/web", "owner": {"login": "acme"}, "permissions": {"push": true}});
    let event = serde_json::json!({"action": "assigned", "issue": issue, "repository": repository, "sender": {"login": "alice"}});
    serde_json::to_vec(&event).unwrap()
}

#[test]
fn a_delivery_becomes_one_task_however_often_it_comes() {
    let world = World::new();
    let bodies: Vec<Vec<u8>> = (0..40).map(|n| assigned(n, "Fix it")).collect();
    for (n, body) in bodies.iter().enumerate() {
        let (code, answer) = world.deliver(&format!("first-{n}"), SECRET, body);
        assert!(code == 202 && answer.contains("queued"), "{answer}");
    }
    assert_eq!(world.tasks(), 40);
    // Again with the same ids, and three times with ids that nobody has seen, in another order.
    for round in 0..4 {
        for n in 0..40 {
            let n = (n * 17 + round * 5) % 40;
            let id = if round == 0 { format!("first-{n}") } else { format!("again-{round}-{n}") };
            let (code, answer) = world.deliver(&id, SECRET, &bodies[n]);
            assert!(code == 200 && answer.contains("duplicate"), "{answer}");
        }
    }
    assert_eq!(world.tasks(), 40);
    let tasks = world.queue.tasks.lock().unwrap();
    let [id, signature] = &tasks[7].idempotency;
    assert!(id.starts_with("hook/dev/") && id.ends_with("/first-7"), "{id}");
    assert_eq!(signature.replace(&signed(SECRET, &bodies[7]), "first-7"), *id);
    assert!(tasks[7].remember >= Span::secs(7 * 24 * 3600));
    assert_eq!((tasks[7].pool.as_str(), tasks[7].accepted.key.as_deref()), ("dev", Some("7")));
    let woken = world.queue.woken.lock().unwrap();
    assert!(woken.len() == 200 && woken.iter().all(|(pool, wake)| pool == "dev" && wake.repository.is_some()));
}

#[test]
fn a_delivery_is_known_again_where_its_webhook_has_another_place_in_the_list() {
    let world = World::new();
    let body = assigned(1, "Fix it");
    assert_eq!(world.deliver("a", SECRET, &body).0, 202);
    let mut spec = (**world.queue.spec.lock().unwrap().as_ref().unwrap()).clone();
    let webhooks = &mut spec.queue.as_mut().unwrap().webhooks;
    let mut another = webhooks[0].clone();
    another.payload.clear();
    webhooks.insert(0, another);
    *world.queue.spec.lock().unwrap() = Some(Arc::new(spec));
    let to = |place: &str, id: &str| world.send(&format!("/hooks/dev/{place}"), &headers(id, &signed(SECRET, &body)), &body).0;
    assert_eq!([to("1", "a"), to("1", "b")], [200, 200], "it made its task");
    assert_eq!([to("0", "a"), to("0", "b")], [202, 200], "the other one makes its own");
}

#[test]
fn who_is_not_believed_is_told_so_and_costs_nothing() {
    let world = World::new();
    let body = assigned(1, "x");
    let good = signed(SECRET, &body);
    for (path, signature, code) in [
        ("/hooks/dev/0", signed(NEXT, &body), 401),
        ("/hooks/dev/0", String::new(), 401),
        ("/hooks/dev/1", good.clone(), 404),
        ("/hooks/dev/-1", good.clone(), 404),
        ("/hooks/other/0", good.clone(), 404),
        ("/hooks/..%2fdev/0", good.clone(), 404),
    ] {
        let (told, answer) = world.send(path, &headers("a", &signature), &body);
        assert_eq!(told, code, "{path}: {answer}");
        assert!(answer.contains("\"kind\":\"Status\""), "{answer}");
    }
    let gzip = [headers("a", &good).as_slice(), &[("Content-Encoding", "gzip")]].concat();
    assert_eq!(world.send("/hooks/dev/0", &gzip, &body).0, 415);
    let twice = [headers("a", &good).as_slice(), &[("X-Gitea-Signature", &good)]].concat();
    assert_eq!(world.send("/hooks/dev/0", &twice, &body).0, 401);
    assert_eq!((world.tasks(), world.queue.woken.lock().unwrap().len()), (0, 0));
    let other = serde_json::to_vec(&serde_json::json!({"action": "opened", "issue": {}})).unwrap();
    let (code, answer) = world.deliver("b", SECRET, &other);
    assert!(code == 200 && answer.contains("ignored"), "{answer}");
    assert_eq!((world.tasks(), world.queue.woken.lock().unwrap().len()), (0, 1));
}

#[test]
fn without_a_secret_the_webhook_is_off_and_a_new_one_takes_over_from_the_old() {
    let world = World::new();
    let (secret, before) = (world.dir.path().join("secret"), world.dir.path().join("before"));
    let mut serial = 0;
    let mut code = |with: &str| {
        serial += 1;
        world.deliver(&format!("d-{serial}"), with, &assigned(serial, "x")).0
    };
    assert_eq!(code(SECRET), 202);
    std::fs::rename(&secret, &before).unwrap();
    assert_eq!(code(SECRET), 404, "the one of before is not enough");
    assert!(world.queue.refused.lock().unwrap()[0].starts_with("dev/0: it is off, as it has no usable secret: "));
    std::fs::write(&secret, "").unwrap();
    assert_eq!(code(""), 404);
    std::fs::write(&secret, NEXT).unwrap();
    assert_eq!((code(SECRET), code(NEXT)), (202, 202));
    std::fs::remove_file(&before).unwrap();
    assert_eq!((code(SECRET), code(NEXT)), (401, 202));
    std::fs::remove_file(&secret).unwrap();
    let (_, answer) = world.deliver("x", NEXT, &assigned(1, "x"));
    assert!(!answer.contains(&world.dir.path().display().to_string()), "a stranger reads a path: {answer}");
}

#[test]
fn what_cannot_become_a_task_is_told_once_it_is_believed() {
    let world = World::new();
    let body = assigned(1, "x");
    let body = String::from_utf8(body).unwrap().replace("\"title\"", "\"name\"").into_bytes();
    assert_eq!(world.deliver("a", "a secret of some stranger, long enough", &body).0, 401);
    assert!(world.queue.refused.lock().unwrap().is_empty(), "a stranger is not told of");
    assert_eq!(world.deliver("a", SECRET, &body).0, 422);
    *world.queue.full.lock().unwrap() = Some(NotTaken { status: 422, message: "unfit".into(), retry_after: None });
    assert_eq!(world.deliver("b", SECRET, &assigned(2, "x")).0, 422);
    *world.queue.full.lock().unwrap() = Some(NotTaken { status: 429, message: "full".into(), retry_after: None });
    assert_eq!(world.deliver("c", SECRET, &assigned(3, "x")).0, 429);
    let lacking = "dev/0: issues.assigned has no issue.title, which the webhook's key or payload needs";
    assert_eq!(*world.queue.refused.lock().unwrap(), [lacking, "dev/0: unfit"]);
}

#[test]
fn a_full_queue_says_when_to_come_again() {
    let world = World::new();
    let full = NotTaken { status: 429, message: "the queue is full".into(), retry_after: Some(Span::millis(1500)) };
    *world.queue.full.lock().unwrap() = Some(full);
    let (code, answer) = world.deliver("a", SECRET, &assigned(1, "x"));
    assert!(code == 429 && answer.to_lowercase().contains("retry-after: 2"), "{answer}");
    *world.queue.full.lock().unwrap() = None;
    assert_eq!(world.deliver("a", SECRET, &assigned(1, "x")).0, 202, "what was not taken may come again");
}

#[test]
fn bodies_have_a_limit_by_their_word_and_by_their_length() {
    let world = World::new();
    let largest = assigned(1, &"x".repeat(BODY_MAX - assigned(1, "").len()));
    assert_eq!(largest.len(), BODY_MAX);
    assert_eq!(world.deliver("a", SECRET, &largest).0, 202);
    let larger = [largest.clone(), b" ".to_vec()].concat();
    assert_eq!(world.deliver("b", SECRET, &larger).0, 413);
    // Nothing but the head is sent: it is enough to know.
    let lying = head("/hooks/dev/0", &headers("c", "x"), Some(10 << 30));
    assert_eq!(world.runtime.block_on(send(&world.socket, &lying, b"")).0, 413);
    let signature = signed(SECRET, &largest);
    let chunked = head("/hooks/dev/0", &headers("d", &signature), None);
    let mut body = format!("{BODY_MAX:x}\r\n").into_bytes();
    body.extend(&largest);
    assert_eq!(world.runtime.block_on(send(&world.socket, &chunked, &[body.clone(), b"\r\n0\r\n\r\n".to_vec()].concat())).0, 200);
    assert_eq!(
        world.runtime.block_on(send(&world.socket, &chunked, &[body, b"\r\n1\r\nx\r\n0\r\n\r\n".to_vec()].concat())).0,
        413
    );
}

#[test]
fn two_hundred_largest_bodies_at_once_cost_little() {
    let world = World::new();
    let body = Arc::new(assigned(1, &"x".repeat(BODY_MAX - assigned(1, "").len())));
    // Warm: what one costs is there.
    assert_eq!(world.deliver("warm", SECRET, &body).0, 202);
    let wrong = Arc::new(head("/hooks/dev/0", &headers("w", &signed(NEXT, &body)), Some(body.len())));
    let right = Arc::new(head("/hooks/dev/0", &headers("r", &signed(SECRET, &body)), Some(body.len())));
    let before = memory("VmRSS");
    // The high-water mark begins anew.
    std::fs::write("/proc/self/clear_refs", "5").unwrap();
    let answers = world.runtime.block_on(async {
        let sent = (0..200).map(|n| {
            let (socket, head, body) =
                (world.socket.clone(), if n % 2 == 0 { wrong.clone() } else { right.clone() }, body.clone());
            tokio::spawn(async move { send(&socket, &head, &body).await.0 })
        });
        futures_util::future::join_all(sent.collect::<Vec<_>>()).await
    });
    let grown = memory("VmHWM").saturating_sub(before);
    let mut counts = BTreeMap::new();
    answers.into_iter().for_each(|answer| *counts.entry(answer.unwrap()).or_insert(0) += 1);
    // Room is waited for, for a while.
    let known: u32 = [200, 401, 503].iter().filter_map(|code| counts.get(code)).sum();
    assert!(known == 200 && counts.contains_key(&200) && counts.contains_key(&401), "{counts:?}");
    assert!(grown <= 16 * 1024, "{grown} KiB more, answers {counts:?}");
    assert_eq!(world.tasks(), 1);
}

/// A line of this process's memory, in KiB.
fn memory(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}
