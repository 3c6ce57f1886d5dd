//! Tasks as a stream of lines: each is answered for itself, in order, while more are being written.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use super::served::{PATIENCE, Ran, World};
use super::{ask, queued, submit, task, world};

/// A connection that writes lines.
pub struct Talk {
    socket: UnixStream,
    reader: BufReader<UnixStream>,
    /// What was heard and is no whole line yet.
    heard: String,
    pub code: u16,
}

impl Talk {
    pub fn begin(world: &World, target: &str) -> Talk {
        let mut socket = UnixStream::connect(world.state.join("weir.sock")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let kind = "content-type: application/x-ndjson; charset=utf-8\r\ntransfer-encoding: chunked";
        write!(socket, "POST /v1/pools/{target} HTTP/1.1\r\nhost: x\r\n{kind}\r\n\r\n").unwrap();
        let mut reader = BufReader::new(socket.try_clone().unwrap());
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            assert!(reader.read_line(&mut head).unwrap() > 0, "{head}");
        }
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        Talk { socket, reader, heard: String::new(), code }
    }

    pub fn say(&mut self, text: &str) {
        write!(self.socket, "{:x}\r\n{text}\r\n", text.len()).unwrap();
    }

    pub fn over(&mut self) {
        write!(self.socket, "0\r\n\r\n").unwrap();
    }

    /// The next answer; none when there are no more.
    pub fn hear(&mut self) -> Option<Value> {
        loop {
            if let Some((line, rest)) = self.heard.split_once('\n') {
                let answer = serde_json::from_str(line).unwrap();
                self.heard = rest.to_owned();
                return Some(answer);
            }
            let mut size = String::new();
            self.reader.read_line(&mut size).unwrap();
            let size = usize::from_str_radix(size.trim(), 16).unwrap_or(0);
            let mut chunk = vec![0; size + 2];
            self.reader.read_exact(&mut chunk).unwrap();
            if size == 0 {
                assert_eq!(self.heard, "", "no half a line");
                return None;
            }
            self.heard.push_str(str::from_utf8(&chunk[..size]).unwrap());
        }
    }

    fn rest(&mut self) -> Vec<Value> {
        std::iter::from_fn(|| self.hear()).collect()
    }
}

#[test]
fn each_line_is_on_disk_when_it_is_answered_and_more_can_be_written_then() {
    let world = world();
    let mut talk = Talk::begin(&world, "takes/tasks");
    assert_eq!(talk.code, 200);
    for n in 1..=3 {
        talk.say(&format!("{{\"payload\": {{\"n\": {n}}}, \"priority\": 5}}\n"));
        let answer = talk.hear().unwrap();
        assert_eq!((&answer["id"], &answer["state"], &answer["position"]), (&json!(n), &json!("Queued"), &json!(n)), "{answer}");
        let (code, kept) = ask(&world, &format!("GET /v1/tasks/{n}"), &Value::Null);
        assert_eq!((code, &kept["payload"], &kept["source"]), (200, &json!({"n": n}), &json!("submit")));
    }
    // Half a line waits for its end.
    talk.say("{\"payload\":");
    talk.say(" \"whole\"}\r\n\n  \n{\"payload\": \"last\"}");
    let answer = talk.hear().unwrap();
    assert_eq!((&answer["id"], &answer["payload"]), (&json!(4), &json!("whole")));
    talk.over();
    assert_eq!(talk.rest().iter().map(|answer| answer["payload"].clone()).collect::<Vec<_>>(), [json!("last")]);
}

#[test]
fn a_line_that_is_refused_says_so_in_its_place_and_the_others_are_taken() {
    let world = world();
    let mut talk = Talk::begin(&world, "takes/tasks");
    let lines = [
        ("{\"payload\": 1}", 0, ""),
        ("{\"payload\": ", 400, "not JSON"),
        ("{\"payloat\": 1}", 400, "payloat"),
        ("[{\"payload\": 1}]", 400, "a task is an object"),
        ("7", 400, "a task is an object"),
        ("{\"payload\": 12345678901234567890123}", 400, "12345678901234567890123"),
        ("{\"payload\": 2, \"idempotencyKey\": \"k\"}", 0, ""),
        ("{\"payload\": 3, \"idempotencyKey\": \"k\"}", 0, ""),
        ("{\"payload\": 4, \"timeout\": \"0s\"}", 400, "timeout"),
        ("{\"payload\": 5, \"after\": [1]}", 0, ""),
        ("{\"payload\": 6, \"after\": [99]}", 400, "there is no task 99"),
    ];
    talk.say(&lines.map(|(line, _, _)| format!("{line}\n")).concat());
    talk.over();
    let answers = talk.rest();
    assert_eq!(answers.len(), lines.len(), "{answers:?}");
    for ((line, code, words), answer) in lines.iter().zip(&answers) {
        assert_eq!(answer["code"].as_u64().unwrap_or(0), *code, "{line}: {answer}");
        let said = answer["message"].as_str().unwrap_or_default();
        assert!(said.contains(words) && (*code == 0 || answer["kind"] == "Status"), "{line}: {answer}");
    }
    assert_eq!((&answers[6]["id"], &answers[7]["known"]), (&answers[7]["id"], &json!(true)));
    let (_, all) = ask(&world, "GET /v1/tasks?pool=takes", &Value::Null);
    assert_eq!(all["items"].as_array().unwrap().len(), 3, "{all}");
    assert_eq!(task(&world, 3)["after"], json!([1]));
    let (code, refused) = ask(&world, "POST /v1/pools/takes/tasks", &json!([{"payload": 1}, [1, 5]]));
    assert_eq!((code, refused["message"].as_str()), (400, Some("[1]: a task is an object, like {\"payload\": …}")));
}

#[test]
fn of_a_full_queue_each_line_hears_and_what_there_is_room_for_is_taken() {
    let world = world();
    let mut talk = Talk::begin(&world, "runs/tasks");
    talk.say(&"{\"payload\": 1}\n".repeat(5));
    talk.over();
    let codes: Vec<u64> = talk.rest().iter().map(|answer| answer["code"].as_u64().unwrap_or(0)).collect();
    assert_eq!(codes, [0, 0, 0, 429, 429]);
}

#[test]
fn a_line_that_is_too_long_is_the_last_and_a_pool_that_takes_none_is_told_first() {
    let world = world();
    let mut talk = Talk::begin(&world, "takes/tasks");
    talk.say("{\"payload\": 1}\n");
    talk.say(&" ".repeat(1024 * 1024 + 1));
    let answers = talk.rest();
    let codes: Vec<u64> = answers.iter().map(|answer| answer["code"].as_u64().unwrap_or(0)).collect();
    assert_eq!(codes, [0, 413], "{answers:?}");
    assert_eq!(Talk::begin(&world, "none/tasks").code, 404);
    assert_eq!(Talk::begin(&world, "takes/tasks?wait=1s").code, 400);
}

#[test]
fn a_stream_ends_with_the_daemon_and_without_half_an_answer() {
    let mut world = world();
    let mut talk = Talk::begin(&world, "takes/tasks");
    talk.say("{\"payload\": 1}\n{\"payl");
    assert_eq!(talk.hear().unwrap()["id"], 1);
    assert!(world.end());
    assert_eq!(talk.hear(), None);
}

#[test]
fn a_client_that_reads_no_answers_is_read_no_further() {
    let world = world();
    queued(&world, "deep", "{delivery: Lease, capacity: 1000000}");
    let mut talk = Talk::begin(&world, "deep/tasks");
    talk.socket.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
    let line = format!("{{\"payload\": \"{}\"}}\n", "x".repeat(4000));
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    let mut written = 0;
    // Far more than there is room for in sockets and buffers.
    while let Ok(n) = talk.socket.write(&chunk.as_bytes()[written % chunk.len()..]) {
        written += n;
        assert!(written < 64 << 20, "all that is written is taken");
    }
    // It goes on when they are read.
    for _ in 0..written / chunk.len() {
        assert_eq!(talk.hear().unwrap()["state"], "Queued");
    }
}

/// The client, with a pipe to write lines into.
fn each(world: &World, words: &str) -> Child {
    let mut command = world.command();
    command.args(words.split(' ')).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

fn given(world: &World, words: &str, lines: &str) -> Ran {
    let mut client = each(world, words);
    client.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    Ran::of(client.wait_with_output().unwrap())
}

#[test]
fn the_client_gives_lines_as_they_come() {
    let world = world();
    let mut client = each(&world, "submit takes --each -o name");
    let (mut lines, mut told) = (client.stdin.take().unwrap(), BufReader::new(client.stdout.take().unwrap()));
    for n in 1..=3 {
        writeln!(lines, "line {n}").unwrap();
        let mut answer = String::new();
        told.read_line(&mut answer).unwrap();
        assert_eq!(answer, format!("task/{n}\n"));
    }
    drop(lines);
    assert!(client.wait().unwrap().success());
    let ran = given(&world, "submit takes --each --priority 9", "{\"page\": 1}\n\n2\n");
    assert_eq!((ran.code, ran.out.as_str(), ran.err.as_str()), (0, "task/4 queued, position 1\ntask/5 queued, position 2\n", ""));
    let (_, task) = ask(&world, "GET /v1/tasks/4", &Value::Null);
    assert_eq!((&task["payload"], &task["priority"]), (&json!({"page": 1}), &json!(9)));
}

#[test]
fn the_client_says_which_lines_were_not_taken() {
    let world = world();
    let ran = given(&world, "submit takes --each -o name", &format!("1\n\"{}\"\n{{no\n", "x".repeat(300_000)));
    assert_eq!((ran.code, ran.out.as_str()), (1, "task/1\ntask/2\n"), "{}", ran.err);
    let said: Vec<&str> = ran.err.lines().collect();
    assert!(said[0].starts_with("line 3: warning: this is no JSON") && said[1].starts_with("line 2: payload"), "{said:?}");
    assert_eq!(said[2], "error: 2 tasks taken, 1 refused");
    submit(&world, "runs", &json!({}));
    let ran = given(&world, "submit runs --each -o name", "1\n2\n3\n4\n");
    assert_eq!((ran.code, ran.out.lines().count()), (1, 2), "{}", ran.err);
    assert!(ran.err.ends_with("2 tasks taken; lines 3-4 were not, and none behind line 4 was given: give those again later\n"));
    // Whoever writes the lines is not waited for.
    let mut client = each(&world, "submit runs --each");
    writeln!(client.stdin.as_mut().unwrap(), "5").unwrap();
    let lines = client.stdin.take();
    assert_eq!(client.wait().unwrap().code(), Some(1));
    drop(lines);
    let ran = given(&world, "submit none --each", "1\n");
    assert!(ran.code == 1 && ran.err.contains("\"none\" not found"), "{ran:?}");
    let ran = world.ctl("submit takes --each -f /no/such/file");
    assert!(ran.code == 2 && ran.err.contains("/no/such/file"), "{ran:?}");
    let ran = world.ctl("submit takes --each -f /");
    assert!(ran.code == 2 && ran.err.starts_with("error: /: Is a directory") && ran.err.contains("0 tasks taken"), "{ran:?}");
    let ran = given(&world, "submit takes --each -o name", "7\n12345678901234567890123\n8\n");
    assert_eq!((ran.code, ran.out.lines().count()), (2, 1));
    assert!(ran.err.starts_with("error: standard input: line 2 has a number") && ran.err.ends_with("1 task taken\n"), "{ran:?}");
}

#[test]
fn a_client_whose_lines_never_end_is_told_that_the_daemon_ends() {
    let mut world = world();
    let mut client = each(&world, "submit takes --each -o name");
    writeln!(client.stdin.as_mut().unwrap(), "1").unwrap();
    let (lines, mut told, mut answer) = (client.stdin.take(), BufReader::new(client.stdout.take().unwrap()), String::new());
    told.read_line(&mut answer).unwrap();
    assert_eq!(answer, "task/1\n");
    assert!(world.end());
    let ran = Ran::of(client.wait_with_output().unwrap());
    let said = "error: 1 task taken; the daemon ends, and none behind line 1 was given: give those again later\n";
    assert_eq!((ran.code, ran.err.as_str()), (1, said));
    drop(lines);
}

#[test]
fn lines_are_given_also_when_nobody_reads_what_became_of_them() {
    let world = world();
    let mut client = each(&world, "submit takes --each -o name");
    drop(client.stdout.take());
    let lines: String = (0..500).map(|n| format!("{n}\n")).collect();
    client.stdin.take().unwrap().write_all(lines.as_bytes()).unwrap();
    assert!(client.wait().unwrap().success());
    let (_, room) = ask(&world, "GET /v1/pools/takes/capacity", &Value::Null);
    assert_eq!(room["queued"], 500, "{room}");
}

#[test]
fn with_a_key_the_same_lines_can_be_given_again() {
    let world = world();
    let words = "submit takes --each -o name --idempotency-key today";
    assert_eq!(given(&world, words, "a\nb\n").out, "task/1\ntask/2\n");
    assert_eq!(given(&world, words, "a\nb\nc\n").out, "task/1\ntask/2\ntask/3\n");
}
