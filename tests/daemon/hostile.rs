//! Titles that others wrote, with the real daemon: each reaches its process as exactly one argument, or is refused.
//!
//! Nothing of them is executed, and nothing that drives a terminal comes out of the daemon's lines or the client's tables.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use super::harness::{PATIENCE, Scratch, wait};
use super::tasks::{said, start};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Writes down its arguments, each with a NUL behind it, which no argument can hold.
const WORK: &str = r#"printf '%s\0' "$@" > "$1/got.$WEIR_TASK_ID.part" && mv "$1/got.$WEIR_TASK_ID.part" "$1/got.$WEIR_TASK_ID""#;

/// What is done with each: where a shell, a terminal, a log, a path or a template would stumble.
const SEEDS: [&str; 36] = [
    "$(touch CANARY)",
    "`touch CANARY`",
    "; touch CANARY",
    "| touch CANARY",
    "& touch CANARY &",
    "&& touch CANARY",
    "\n touch CANARY\n",
    "' ; touch CANARY ; '",
    "\" ; touch CANARY ; \"",
    "$((1+1)) ${HOME} $HOME ~ !!",
    "> CANARY",
    "< /etc/passwd",
    "* ? [a-z] {a,b}",
    "-rf",
    "--help",
    "--",
    "-",
    "\\",
    "\\\\n\\x1b[31m",
    "\u{1b}[31mred\u{1b}[0m",
    "\u{1b}]0;title\u{7}",
    "\u{9b}2J\u{9d}x\u{9c}",
    "\r overwritten \u{8}\u{8}",
    "\t tab \u{b} \u{c}",
    "\u{202e}txt.exe\u{202c}",
    "\u{2066}isolated\u{2069} \u{200b}\u{feff}\u{2028}\u{2029}",
    "$(payload.title) $(WEIR_STATE) $$(HOME)",
    "../../../etc/passwd",
    "%s%n%d %1b",
    "{{ title }} <script>alert(1)</script>",
    "\"}, {\"payload\": {\"title\": \"x\"}, \"priority\": 9",
    "e\u{301} 日本 \u{1f469}\u{200d}\u{1f469} \u{fffd}",
    "",
    " ",
    "\u{7f}\u{1}\u{2}\u{1f}",
    "12:00:00   pool/work   everything is fine\n12:00:01   pool/work   really",
];

fn titles(canary: &str) -> Vec<String> {
    let shapes: [fn(&str) -> String; 6] = [
        str::to_owned,
        |seed| format!("Fix the bug {seed}"),
        |seed| format!("{seed} please"),
        |seed| format!("{seed}{seed}"),
        |seed| format!("'{seed}'"),
        |seed| seed.to_uppercase(),
    ];
    let mut all: Vec<String> = SEEDS.iter().flat_map(|seed| shapes.map(|shape| shape(seed).replace("CANARY", canary))).collect();
    all.push("x".repeat(100_000));
    all.push("\u{1b}[2J".repeat(3_000));
    all.push("$(x)".repeat(3_000));
    all
}

fn submit(scratch: &Scratch, path: &str, body: &Value) -> (u16, Value) {
    let stream = UnixStream::connect(scratch.dir.join("state/weir.sock")).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    post(stream, path, &[], body.to_string().as_bytes())
}

/// Deliver an event as a forge does, where the daemon says that it listens.
fn deliver(scratch: &Scratch, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
    let log = scratch.log();
    let address = log.lines().find_map(|line| line.strip_prefix("webhooks at http://")?.split_once("/hooks/"));
    let stream = TcpStream::connect(address.expect("it says where").0).expect("the daemon listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("set");
    post(stream, "/hooks/work/0", headers, body)
}

fn post(mut stream: impl Read + Write, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Value) {
    let mut head = format!("POST {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    headers.iter().for_each(|(name, value)| head += &format!("{name}: {value}\r\n"));
    stream.write_all(format!("{head}\r\n").as_bytes()).expect("sent");
    stream.write_all(body).expect("sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("answered");
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (code, serde_json::from_str(body).unwrap_or_default())
}

fn daemon() -> Scratch {
    let mut scratch = Scratch::new().with(&["--hooks-listen", "127.0.0.1:0"]);
    fs::write(scratch.dir.join("work.sh"), WORK).expect("written");
    fs::write(scratch.dir.join("secret"), SECRET).expect("written");
    let dir = scratch.dir.display();
    let command = format!("[sh, {dir}/work.sh, {dir}, --, \"$(payload.title)\"]");
    let hook = format!(
        "{{provider: gitea, secretFrom: {{file: {dir}/secret}}, on: [issues.assigned], payload: {{title: \"$(issue.title)\"}}}}"
    );
    let queue = format!("  queue: {{capacity: 5000, retry: {{maxAttempts: 1}}, webhooks: [{hook}]}}\n");
    scratch.put("work.yaml", &scratch.pool("work", 4, &command, &queue));
    start(&mut scratch);
    scratch
}

/// The arguments that the task's process had after its directory.
fn arguments(scratch: &Scratch, id: u64) -> Vec<String> {
    let path = scratch.dir.join(format!("got.{id}"));
    let state = || said(scratch, &["get", &format!("task/{id}"), "-o", "jsonpath={.state} {.end}"]);
    let bytes = wait(&format!("task {id}"), || fs::read(&path).ok(), || format!("{}\n{}", state(), scratch.log()));
    let text = String::from_utf8(bytes).expect("as it was given");
    text.split_terminator('\0').skip(1).map(str::to_owned).collect()
}

/// Nothing in it drives a terminal or begins a line of its own.
fn harmless(what: &str, text: &str) {
    let invisible =
        |c: char| matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}');
    let bad: Vec<char> = text.chars().filter(|c| (c.is_control() && *c != '\n') || invisible(*c)).take(5).collect();
    assert!(bad.is_empty(), "{what} has {bad:?}");
}

fn settled(scratch: &Scratch) {
    let count =
        || said(scratch, &["get", "tasks", "--status", "Queued,Leased", "--limit", "10000", "-o", "name"]).lines().count();
    wait("an end of all", || (count() == 0).then_some(()), || scratch.log());
}

#[test]
fn a_submitted_title_is_one_argument_and_nothing_else() {
    let scratch = daemon();
    let canary = scratch.dir.join("canary");
    let titles = titles(&canary.display().to_string());
    assert!(titles.len() >= 200, "{}", titles.len());
    let held: Vec<Value> =
        titles.iter().map(|title| json!({"payload": {"title": title}, "key": title_key(title), "hold": true})).collect();
    let (code, answer) = submit(&scratch, "/v1/pools/work/tasks", &Value::Array(held));
    assert_eq!(code, 201, "{answer}");
    let ids: Vec<u64> = answer["items"].as_array().expect("a list").iter().filter_map(|task| task["id"].as_u64()).collect();
    assert_eq!(ids.len(), titles.len());
    harmless("ctl queue", &said(&scratch, &["queue", "work"]));
    for chunk in ids.chunks(50) {
        let words: Vec<String> = chunk.iter().map(u64::to_string).collect();
        let words: Vec<&str> = std::iter::once("release").chain(words.iter().map(String::as_str)).collect();
        said(&scratch, &words);
    }
    for (id, title) in ids.iter().zip(&titles) {
        assert_eq!(arguments(&scratch, *id), ["--", title], "task {id}");
    }
    settled(&scratch);
    for (id, title) in ids.iter().zip(&titles).step_by(7) {
        let shown = said(&scratch, &["describe", &format!("task/{id}")]);
        harmless(&format!("ctl describe of {title:?}"), &shown.replace('\t', ""));
    }
    looked_at(&scratch, &canary);
}

/// A key may not be empty or long.
fn title_key(title: &str) -> String {
    format!("k{}", title.chars().take(60).collect::<String>())
}

fn looked_at(scratch: &Scratch, canary: &std::path::Path) {
    assert!(!canary.exists() && !scratch.dir.join("CANARY").exists(), "something was executed");
    for words in
        [&["get", "tasks", "--limit", "10000"][..], &["queue", "work"], &["get", "events"], &["get", "workers", "-o", "wide"]]
    {
        harmless(&words.join(" "), &said(scratch, words));
    }
    harmless("ctl describe pool", &said(scratch, &["describe", "pool/work"]).replace('\t', ""));
    harmless("the daemon's lines", &scratch.log());
    assert!(!scratch.log().contains("everything is fine"), "a title is no line of the log");
}

#[test]
fn what_cannot_be_an_argument_is_refused_and_never_run() {
    let scratch = daemon();
    let canary = scratch.dir.join("canary");
    let titles = ["a\0b".to_owned(), "\0".into(), format!("$(touch {})\0 x", canary.display()), "x".repeat(200_000)];
    let payloads = titles.map(|title| json!({"payload": {"title": title}}));
    for payload in &payloads {
        let (code, answer) = submit(&scratch, "/v1/pools/work/tasks", payload);
        let shown = payload.to_string().chars().take(60).collect::<String>();
        assert!(code == 400 && answer["message"].to_string().contains("does not fit the command"), "{shown}: {code} {answer}");
    }
    // Those that wait already when the command begins to ask for it.
    let document = fs::read_to_string(scratch.spec("work.yaml")).expect("there");
    let command = || said(&scratch, &["get", "pool/work", "-o", "jsonpath={.spec.template.command}"]);
    let holds = |word: &str| wait("the command", || command().contains(word).then_some(()), || scratch.log());
    said(&scratch, &["pause", "queue/work"]);
    scratch.put("work.yaml", &document.replace("$(payload.title)", "nothing"));
    holds("nothing");
    let ids = payloads.map(|payload| {
        let (code, task) = submit(&scratch, "/v1/pools/work/tasks", &payload);
        task["id"].as_u64().filter(|_| code == 201).unwrap_or_else(|| panic!("{code} {}", task["message"]))
    });
    scratch.put("work.yaml", &document);
    holds("payload.title");
    said(&scratch, &["resume", "queue/work"]);
    for id in ids {
        let state = || said(&scratch, &["get", &format!("task/{id}"), "-o", "jsonpath={.state} {.end.message}"]);
        let failed = || Some(state()).filter(|state| !state.starts_with("Queued") && !state.starts_with("Leased"));
        let ended = wait("an end", failed, || format!("{}\n{}", state(), scratch.log()));
        assert!(ended.starts_with("Failed ") && ended.contains("argument 4"), "task {id}: {ended}");
    }
    let none = fs::read_dir(&scratch.dir)
        .expect("there")
        .flatten()
        .filter(|file| file.file_name().to_string_lossy().starts_with("got."))
        .count();
    assert_eq!(none, 0, "nothing was run");
    looked_at(&scratch, &canary);
}

#[test]
fn a_title_from_a_forge_is_one_argument_and_nothing_else() {
    let scratch = daemon();
    let canary = scratch.dir.join("canary");
    let titles: Vec<String> = titles(&canary.display().to_string()).into_iter().filter(|title| title.len() < 60_000).collect();
    assert!(titles.len() >= 200, "{}", titles.len());
    for (n, title) in titles.iter().enumerate() {
        let (code, answer) = assigned(&scratch, n, &json!({"number": n, "title": title, "assignees": [{"login": "dev"}]}));
        assert_eq!(code, 202, "{title:?}: {answer}");
    }
    settled(&scratch);
    for (id, title) in (1u64..).zip(&titles) {
        assert_eq!(arguments(&scratch, id), ["--", title], "task {id}");
    }
    marked(&scratch);
    looked_at(&scratch, &canary);
}

/// Whoever is given such a task, or looks at it, is told which of it others wrote.
fn marked(scratch: &Scratch) {
    let files = fs::read_dir(scratch.dir.join("state/tasks")).expect("there").flatten().map(|file| file.path());
    let given: Vec<Value> = files
        .filter(|path| path.extension().is_some_and(|end| end == "json"))
        .map(|path| serde_json::from_slice(&fs::read(path).expect("read")).expect("JSON"))
        .collect();
    assert!(!given.is_empty());
    for task in given {
        let told = (&task["source"], &task["untrustedFields"]);
        assert_eq!(told, (&json!("webhook/issues.assigned"), &json!(["title"])), "{task}");
    }
    let shown = said(scratch, &["get", "task/1", "-o", "jsonpath={.source} {.untrustedFields}"]);
    assert_eq!(shown.trim(), r#"webhook/issues.assigned ["title"]"#);
    let sheet = said(scratch, &["describe", "task/1"]);
    assert!(sheet.contains("Untrusted fields: title"), "{sheet}");
}

/// Deliver that this issue was assigned, by somebody who may.
fn assigned(scratch: &Scratch, n: usize, issue: &Value) -> (u16, Value) {
    let repository = json!({"full_name": "acme/web", "owner": {"login": "acme"}, "permissions": {"push": true}});
    let event = json!({"action": "assigned", "issue": issue, "repository": repository, "sender": {"login": "alice"}});
    let body = event.to_string();
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(SECRET.as_bytes()).expect("any length");
    mac.update(body.as_bytes());
    let signature: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let id = format!("delivery-{n}");
    let headers = [
        ("content-type", "application/json"),
        ("x-gitea-event", "issues"),
        ("x-gitea-delivery", id.as_str()),
        ("x-gitea-signature", &signature),
    ];
    deliver(scratch, &headers, body.as_bytes())
}

#[test]
fn a_delivery_that_cannot_become_a_task_is_told_once_however_many_come() {
    let scratch = daemon();
    for n in 0..20 {
        let (code, answer) = assigned(&scratch, n, &json!({"number": n, "assignees": [{"login": "dev"}]}));
        assert_eq!(code, 422, "{answer}");
    }
    let told = || said(&scratch, &["get", "events", "-o", "jsonpath={range .items[*]}{.reason} {.type} {.note}{\"\\n\"}{end}"]);
    let refused = || Some(told()).filter(|told| told.contains("WebhookRefused"));
    let told = wait("the event", refused, || scratch.log());
    let lines: Vec<&str> = told.lines().filter(|line| line.starts_with("WebhookRefused")).collect();
    let words = "issues.assigned has no issue.title, which the webhook's key or payload needs";
    assert_eq!(lines, [format!("WebhookRefused Warning webhook 0 refused a delivery of its forge: {words}")], "{told}");
}
