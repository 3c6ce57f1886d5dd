//! `submit --each`: a task for each line of a file or of what comes, over one connection, each told when it is on disk.
//!
//! A line that is refused is told with its number, and the others go on. Where the queue is full, or the daemon takes nothing, no
//! more lines are read, and it is said which were not taken: nothing is taken from whoever writes them that is not told of.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::stream::poll_fn;
use http_body_util::StreamBody;
use hyper::body::{Bytes, Frame};
use serde_json::Value;
use tokio::sync::mpsc;

use super::Context;
use super::submit::{asked, doubt, json_or_text, said};
use super::task_get::show;
use crate::ctl::args::Submit;
use crate::ctl::client::encoded;
use crate::ctl::error::Failure;
use crate::ctl::print::{Format, emit, note};
use crate::ctl::resource::pool;
use crate::ctl::text::tame;
use crate::model::exact::inexact;
use crate::model::reading::counted;
use crate::model::task::NewTask;
use crate::serve::wire::tasks::{LINES, TaskView};
use crate::serve::wire::{BODY_BYTES_MAX, Status};

/// Lines are sent together up to so many bytes.
const CHUNK_BYTES: usize = 64 * 1024;

/// What was sent, as its reader and the reader of the answers share it.
#[derive(Clone, Default)]
struct Sent(Arc<Mutex<Lines>>);

/// Lines that were sent.
#[derive(Default)]
struct Lines {
    /// The numbers of those that are not answered.
    unanswered: VecDeque<u64>,
    /// The last of them all.
    last: u64,
    /// No more is wanted.
    stop: bool,
    /// There are no more, and how their reading ended.
    read: Option<Result<(), String>>,
}

impl Sent {
    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// No more is wanted, and all that was sent is answered.
    fn is_done(&self) -> bool {
        let lines = self.lines();
        lines.stop && lines.unanswered.is_empty()
    }

    /// The last line that was sent, and how the reading of the lines ended, if it has.
    fn over(&self) -> (u64, Option<Result<(), String>>) {
        let mut lines = self.lines();
        (lines.last, lines.read.take())
    }

    /// The first line that nobody has answered.
    fn left(&self) -> Option<u64> {
        self.lines().unanswered.front().copied()
    }
}

/// What reads the lines.
struct Reader {
    task: NewTask,
    key: Option<String>,
    sent: Sent,
}

/// `ctl submit POOL --each`
pub(super) async fn run(context: &Context, args: &Submit) -> Result<(), Failure> {
    let format = args.output.as_deref().map(|output| Format::parse(Some(output))).transpose()?;
    let file = args.file.as_deref().filter(|file| file.as_os_str() != "-");
    let name = file.map_or_else(|| "standard input".to_owned(), |file| file.display().to_string());
    let input: Box<dyn Read + Send> = match file {
        None => Box::new(io::stdin()),
        Some(file) => Box::new(File::open(file).map_err(|error| Failure::Usage(format!("{name}: {error}")))?),
    };
    let task = asked(args);
    let (sent, key) = (Sent::default(), task.idempotency_key.clone());
    let mut counts = Counts { keyed: key.is_some(), ..Counts::default() };
    let (reader, read) = (Reader { task, key, sent: sent.clone() }, sent.clone());
    let (give, mut given) = mpsc::channel(2);
    // A thread of its own and not waited for: whoever writes the lines may never end.
    std::thread::spawn(move || {
        let result = reader.read(BufReader::new(input), &give);
        // Before the end of what is given is seen.
        read.lines().read = Some(result.map_err(|error| format!("{name}: {error}")));
        drop(give);
    });
    let body = poll_fn(move |cx| given.poll_recv(cx).map(|chunk| chunk.map(|chunk| Ok(Frame::data(chunk)))));
    let path = format!("/v1/pools/{}/tasks", encoded(pool(&args.pool)?));
    let mut answers = context.client.exchange(&path, LINES, StreamBody::new(body)).await?;
    let mut heard = true;
    // Where no more is wanted what was sent is waited for, and not whoever writes the lines.
    while !sent.is_done() {
        let answer = answers.next::<Value>().await.map_err(|failure| counts.broke_off(failure, &sent))?;
        let Some(answer) = answer else { break };
        let line = sent.lines().unanswered.pop_front().unwrap_or_default();
        if answer["kind"] == "Status" {
            sent.lines().stop |= counts.refuse(line, &serde_json::from_value(answer).unwrap_or_default());
            continue;
        }
        counts.taken += 1;
        let view = serde_json::from_value(answer).map_err(|error| Failure::Internal(format!("the daemon's answer: {error}")))?;
        match if heard { tell(view, format.as_ref()) } else { Ok(()) } {
            // Who reads no more of what became of them wants them given all the same.
            Err(Failure::ReaderGone) => heard = false,
            told => told?,
        }
    }
    counts.end(&sent)
}

fn tell(view: TaskView, format: Option<&Format>) -> Result<(), Failure> {
    match format {
        Some(format) => show(&[view], format, true, true),
        None => emit(&said(&[view])),
    }
}

/// What came of the lines.
#[derive(Default)]
struct Counts {
    taken: u64,
    refused: u64,
    /// The lines that nothing is wrong with, and that were not taken all the same.
    kept_out: Vec<u64>,
    /// Each line has a key of its own.
    keyed: bool,
}

impl Counts {
    /// Says whether those behind it would fare no better.
    fn refuse(&mut self, line: u64, status: &Status) -> bool {
        let for_all = matches!(status.code, 404 | 429 | 500..);
        // One word of a full queue is enough.
        if !for_all || self.kept_out.is_empty() {
            note(&format!("line {line}: {}", tame(&status.message)));
        }
        if for_all {
            self.kept_out.push(line);
        } else {
            self.refused += 1;
        }
        for_all
    }

    /// What to do about lines that were not taken.
    fn again(&self) -> &'static str {
        if self.keyed { "give all the same lines again with the same key: none is taken twice" } else { "give those again later" }
    }

    /// Which lines nobody knows of.
    fn broke_off(&self, failure: Failure, sent: &Sent) -> Failure {
        let how = if self.keyed { self.again() } else { "with --idempotency-key all could be given again" };
        let (last, left) = (sent.over().0, sent.left());
        let from = left.map_or_else(String::new, |line| {
            format!("; whether lines {line} to {last} were is not known, and none behind them was given: {how}")
        });
        note(&format!("{} taken{from}", tasks(self.taken)));
        failure
    }

    fn end(self, sent: &Sent) -> Result<(), Failure> {
        let (taken, again, left) = (tasks(self.taken), self.again(), sent.left());
        let (last, read) = sent.over();
        if left.is_some() || !self.kept_out.is_empty() {
            let out: Vec<u64> = self.kept_out.iter().copied().chain(left.into_iter().flat_map(|line| line..=last)).collect();
            let (lines, were) = (ranges(&out), if out.len() == 1 { "was" } else { "were" });
            let behind = format!("none behind line {last} was given");
            return Err(Failure::No(format!("{taken} taken; {lines} {were} not, and {behind}: {again}")));
        }
        match read {
            Some(Err(error)) => Err(Failure::Usage(format!("{error}; {taken} taken"))),
            None => Err(Failure::No(format!("{taken} taken; the daemon ends, and none behind line {last} was given: {again}"))),
            Some(Ok(())) if self.refused > 0 => Err(Failure::No(format!("{taken} taken, {} refused", self.refused))),
            Some(Ok(())) => Ok(()),
        }
    }
}

fn tasks(taken: u64) -> String {
    counted(taken, "task")
}

/// `line 3`, or `lines 3-7, 9`.
fn ranges(lines: &[u64]) -> String {
    let runs: Vec<String> = lines
        .chunk_by(|one, next| one + 1 == *next)
        .map(|run| match run {
            [only] => only.to_string(),
            run => format!("{}-{}", run[0], run[run.len() - 1]),
        })
        .collect();
    format!("{} {}", if lines.len() == 1 { "line" } else { "lines" }, runs.join(", "))
}

impl Reader {
    /// Give each line on, those that are here already together.
    ///
    /// # Errors
    /// With the number of the line that cannot be given: nothing behind it is.
    fn read(mut self, mut input: BufReader<Box<dyn Read + Send>>, give: &mpsc::Sender<Bytes>) -> io::Result<()> {
        let (mut number, mut chunk) = (0, Vec::new());
        let mut went = Ok(true);
        while matches!(went, Ok(true)) {
            let mut line = Vec::new();
            number += 1;
            let read = input.by_ref().take(BODY_BYTES_MAX as u64).read_until(b'\n', &mut line);
            went = read.and_then(|read| if read == 0 { Ok(false) } else { self.put(number, &line, &mut chunk) });
            let more = input.buffer().contains(&b'\n') && chunk.len() < CHUNK_BYTES && matches!(went, Ok(true));
            if !more && !chunk.is_empty() && give.blocking_send(Bytes::from(std::mem::take(&mut chunk))).is_err() {
                return Ok(());
            }
        }
        went.map(drop)
    }

    /// Says whether more is wanted.
    fn put(&mut self, number: u64, line: &[u8], chunk: &mut Vec<u8>) -> io::Result<bool> {
        let wrong = |what: &str| io::Error::other(format!("line {number} {what}: it and those behind it were not given"));
        if line.len() == BODY_BYTES_MAX {
            return Err(wrong("is too long"));
        }
        let text = str::from_utf8(line).map_err(|_| wrong("is not UTF-8"))?.trim();
        if text.is_empty() {
            return Ok(true);
        }
        self.task.payload = json_or_text(text, false);
        if self.task.payload.is_string() {
            match doubt(text) {
                _ if !text.starts_with(['{', '[']) => {}
                Some(words) => note(&format!("line {number}: warning: {words}: it is sent as a text")),
                // It is JSON, and does not read as such.
                None => return Err(wrong("has a number that cannot be carried")),
            }
        } else if let Some(found) = inexact(text) {
            return Err(wrong(&format!("has a number that cannot be carried ({found})")));
        }
        self.task.idempotency_key = self.key.as_ref().map(|key| format!("{key}-{number}"));
        let mut lines = self.sent.lines();
        if lines.stop {
            return Ok(false);
        }
        let begun = chunk.len();
        serde_json::to_writer(&mut *chunk, &self.task)?;
        if chunk.len() - begun > BODY_BYTES_MAX {
            // As JSON it can be longer than it is as text.
            chunk.truncate(begun);
            return Err(wrong("is too long"));
        }
        chunk.push(b'\n');
        lines.unanswered.push_back(number);
        lines.last = number;
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is sent of these lines, and how their reading ended.
    fn given(text: &'static [u8], key: Option<&str>) -> (Vec<Value>, Vec<u64>, Result<(), String>) {
        let (sent, (give, mut chunks)) = (Sent::default(), mpsc::channel(64));
        let reader = Reader { task: NewTask::default(), key: key.map(str::to_owned), sent: sent.clone() };
        let read = reader.read(BufReader::new(Box::new(text)), &give).map_err(|error| error.to_string());
        drop(give);
        let mut bytes = Vec::new();
        while let Ok(chunk) = chunks.try_recv() {
            bytes.extend_from_slice(&chunk);
        }
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let tasks = lines.map(|line| serde_json::from_slice(line).expect("JSON")).collect();
        let numbers = sent.lines().unanswered.iter().copied().collect();
        (tasks, numbers, read)
    }

    #[test]
    fn each_line_is_a_task_with_its_own_number_and_blank_ones_are_none() {
        let (tasks, numbers, read) = given(b"{\"page\": 1}\n\n  fix it \r\n3", Some("k"));
        let found: Vec<_> = tasks.iter().map(|task| (task["payload"].clone(), task["idempotencyKey"].clone())).collect();
        let meant = [(serde_json::json!({"page": 1}), "k-1"), ("fix it".into(), "k-3"), (3.into(), "k-4")];
        assert_eq!(found, meant.map(|(payload, key)| (payload, Value::from(key))));
        assert_eq!((numbers, read), (vec![1, 3, 4], Ok(())));
    }

    #[test]
    fn what_cannot_be_given_ends_it_and_says_where() {
        for (text, what) in [
            (&b"1\n\xff\n2\n"[..], "line 2 is not UTF-8"),
            (b"1\n12345678901234567890123\n2\n", "line 2 has a number"),
            (b"1\n{\"a\": 1e999}\n2\n", "line 2 has a number"),
        ] {
            let (tasks, numbers, read) = given(text, None);
            assert_eq!((tasks.len(), numbers), (1, vec![1]));
            assert!(read.as_ref().is_err_and(|error| error.starts_with(what)), "{read:?}");
        }
    }

    #[test]
    fn lines_are_named_by_their_runs() {
        assert_eq!(ranges(&[3]), "line 3");
        assert_eq!(ranges(&[3, 4, 5, 9, 11, 12]), "lines 3-5, 9, 11-12");
    }
}
