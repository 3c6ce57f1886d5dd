//! A forge that answers as Gitea's published API does, and a set of ways in which it fails.
//!
//! Sources of the rules: Gitea's swagger (`/repos/{owner}/{repo}/issues`: `state`, `type`, `labels`, `page`, `limit`; header
//! `X-Total-Count`), and `[api] MAX_RESPONSE_ITEMS` of its configuration: a page never has more items than that, whatever
//! `limit` asks for.

use std::io::{BufRead, BufReader, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// Items on one page at most.
const PAGE: usize = 10;

/// How an answer goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    Status(u16),
    Html,
    Truncated,
    SlowLoris,
    Hang,
    Reset,
}

pub const FAULTS: [Fault; 9] = [
    Fault::Status(401),
    Fault::Status(403),
    Fault::Status(429),
    Fault::Status(500),
    Fault::Html,
    Fault::Truncated,
    Fault::SlowLoris,
    Fault::Hang,
    Fault::Reset,
];

#[derive(Debug, Default)]
pub struct State {
    /// Open issues with the label `claude`.
    pub issues: usize,
    pub fault: Option<Fault>,
    pub questions: usize,
    /// Questions without the right token.
    pub strangers: usize,
}

/// A forge on loopback. It ends with the test's process.
pub struct Forge {
    pub port: u16,
    state: Arc<Mutex<State>>,
}

impl Forge {
    pub fn start() -> Forge {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("bound").port();
        let state = Arc::new(Mutex::new(State::default()));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || serve(stream, &shared));
            }
        });
        Forge { port, state }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no answer panics")
    }
}

fn serve(stream: TcpStream, shared: &Mutex<State>) {
    let mut reader = BufReader::new(stream);
    while let Some((path, token)) = request(&mut reader) {
        let (issues, fault) = {
            let mut state = shared.lock().expect("no answer panics");
            state.questions += 1;
            state.strangers += usize::from(token.as_deref() != Some("token secret-of-the-test"));
            (state.issues, state.fault)
        };
        if answer(reader.get_mut(), &path, issues, fault).is_err() {
            return;
        }
    }
}

/// The next request's path, and its token.
fn request(reader: &mut BufReader<TcpStream>) -> Option<(String, Option<String>)> {
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
    let mut token = None;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        if line.trim().is_empty() {
            return Some((first.split(' ').nth(1)?.to_owned(), token));
        }
        if let Some((name, value)) = line.split_once(':').filter(|(name, _)| name.eq_ignore_ascii_case("authorization")) {
            let _ = name;
            token = Some(value.trim().to_owned());
        }
    }
}

fn answer(stream: &mut TcpStream, path: &str, issues: usize, fault: Option<Fault>) -> std::io::Result<()> {
    let asked = |name: &str| {
        let query = path.split_once('?').map_or("", |(_, query)| query);
        query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default().to_owned()
    };
    // Every fourth issue has a pull request beside it; `type=issues` leaves them out, and labels choose.
    let label = asked("labels") == "claude";
    let mut all: Vec<String> = Vec::new();
    for n in 0..if label { issues } else { issues + 10 } {
        let name = if n < issues { "claude" } else { "other" };
        let label = format!("\"state\":\"open\",\"labels\":[{{\"name\":\"{name}\"}}]");
        all.push(format!("{{\"number\":{n},{label},\"pull_request\":null}}"));
        if n % 4 == 0 && asked("type") != "issues" {
            all.push(format!("{{\"number\":{},{label},\"pull_request\":{{\"merged\":false}}}}", 1000 + n));
        }
    }
    let page: usize = asked("page").parse().unwrap_or(1);
    let limit = asked("limit").parse().unwrap_or(PAGE).min(PAGE);
    let items: Vec<String> = all.iter().skip((page - 1) * limit).take(limit).cloned().collect();
    let body = format!("[{}]", items.join(","));
    let total = format!("X-Total-Count: {}\r\n", all.len());
    match fault {
        None => respond(stream, "200 OK", &total, &body),
        Some(Fault::Status(429)) => respond(stream, "429 Too Many Requests", "Retry-After: 1\r\n", "{}"),
        Some(Fault::Status(code)) => respond(stream, &format!("{code} No"), "", "{\"message\":\"no\"}"),
        Some(Fault::Html) => respond(stream, "200 OK", "", "<html>Sign in</html>"),
        Some(Fault::Truncated) => respond(stream, "200 OK", "", "[{\"number\":1},{\"numb"),
        Some(Fault::SlowLoris) => {
            for byte in "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".bytes() {
                stream.write_all(&[byte])?;
                std::thread::sleep(Duration::from_millis(500));
            }
            Ok(())
        }
        Some(Fault::Hang) => {
            std::thread::sleep(Duration::from_secs(60));
            Ok(())
        }
        Some(Fault::Reset) => stream.shutdown(Shutdown::Both),
    }
}

fn respond(stream: &mut TcpStream, status: &str, headers: &str, body: &str) -> std::io::Result<()> {
    write!(stream, "HTTP/1.1 {status}\r\nContent-Type: application/json\r\n{headers}Content-Length: {}\r\n\r\n{body}", body.len())
}
