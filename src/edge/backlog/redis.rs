//! The length of a list, stream or sorted set of Redis.
//!
//! One command and one line back need no client: a request is an array of strings (RESP 2), and a length or an error is a
//! line. The connection is kept from one question to the next, and made anew once when it turns out to be broken. A key that
//! is not there has the length 0 (Redis says so itself); a key of another type is an error.

use std::fmt;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;

use crate::edge::secrets;
use crate::model::reading::{Failure, Number, RAW_MAX};
use crate::model::source::RedisSource;

/// Bytes that a line of an answer may have.
const LINE_MAX: u64 = 1024;

/// Asks Redis.
#[derive(Debug)]
pub(super) struct Redis {
    source: RedisSource,
    link: Option<Link>,
}

/// A connection, and the password that it was opened with.
struct Link {
    password: Option<String>,
    stream: BufReader<TcpStream>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// Why there is no answer.
enum Trouble {
    /// The connection is of no use any more.
    Broken(String),
    /// The server said no.
    Refused(String),
}

impl Trouble {
    fn words(self) -> String {
        match self {
            Trouble::Broken(words) | Trouble::Refused(words) => words,
        }
    }
}

impl Redis {
    pub(super) fn new(source: RedisSource) -> Redis {
        Redis { source, link: None }
    }

    /// Ask once.
    pub(super) async fn read(&mut self) -> Result<Number, Failure> {
        let password = self.source.password_from.as_ref().map(secrets::read).transpose().map_err(Failure::because)?;
        let (command, key) = command(&self.source).map_err(Failure::because)?;
        let told = |words: String| Failure::because(format!("redis {}: {command} {key}: {words}", self.source.address));
        // Taken out: a question that is dropped half way leaves no connection with an answer on its way.
        if let Some(mut link) = self.link.take().filter(|link| link.password == password) {
            match link.ask(&[command, key]).await {
                Err(Trouble::Broken(_)) => {}
                answer => {
                    self.link = Some(link);
                    return answer.map_err(|trouble| told(trouble.words())).and_then(|length| number(&length));
                }
            }
        }
        let mut link = Link::open(&self.source.address, password).await.map_err(told)?;
        let length = link.ask(&[command, key]).await.map_err(|trouble| told(trouble.words()))?;
        self.link = Some(link);
        number(&length)
    }
}

fn command(source: &RedisSource) -> Result<(&'static str, &str), &'static str> {
    match (&source.list, &source.stream, &source.sorted_set) {
        (Some(key), _, _) => Ok(("LLEN", key)),
        (None, Some(key), _) => Ok(("XLEN", key)),
        (None, None, Some(key)) => Ok(("ZCARD", key)),
        (None, None, None) => Err("redis: names no list, stream or sorted set"),
    }
}

fn number(length: &str) -> Result<Number, Failure> {
    let value: u64 = length.parse().map_err(|_| Failure::because(format!("redis: answered {length}, which is no length")))?;
    Number::new(value as f64, length)
}

impl Link {
    async fn open(address: &str, password: Option<String>) -> Result<Link, String> {
        let stream = BufReader::new(TcpStream::connect(address).await.map_err(|e| e.to_string())?);
        let mut link = Link { password: password.clone(), stream };
        if let Some(password) = password {
            match link.ask(&["AUTH", &password]).await {
                Ok(_) => {}
                // A server that does not know the command quotes its arguments.
                Err(Trouble::Refused(_)) => return Err("the password was refused".into()),
                Err(Trouble::Broken(words)) => return Err(words),
            }
        }
        Ok(link)
    }

    /// Send a command, and give what a good answer says.
    async fn ask(&mut self, words: &[&str]) -> Result<String, Trouble> {
        let broken = |e: std::io::Error| Trouble::Broken(e.to_string());
        self.stream.write_all(&request(words)).await.map_err(broken)?;
        let mut line = Vec::new();
        let mut answer = (&mut self.stream).take(LINE_MAX);
        answer.read_until(b'\n', &mut line).await.map_err(broken)?;
        let Some(line) = line.strip_suffix(b"\r\n") else {
            return Err(Trouble::Broken(if line.is_empty() { "the connection was closed" } else { "is that Redis?" }.into()));
        };
        let text = String::from_utf8_lossy(line.get(1..).unwrap_or_default()).chars().take(RAW_MAX).collect();
        match line.first() {
            Some(b':' | b'+') => Ok(text),
            Some(b'-') => Err(Trouble::Refused(text)),
            Some(_) | None => Err(Trouble::Broken("is that Redis?".into())),
        }
    }
}

fn request(words: &[&str]) -> Vec<u8> {
    let mut text = format!("*{}\r\n", words.len());
    for word in words {
        text.push_str(&format!("${}\r\n{word}\r\n", word.len()));
    }
    text.into_bytes()
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    /// A server that gives these answers, one for each connection, and then hangs up.
    async fn server(answers: &'static [&'static [&'static str]]) -> (String, tokio::task::JoinHandle<Vec<String>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let served = tokio::spawn(async move {
            let mut heard = Vec::new();
            for connection in answers {
                let (mut stream, _) = listener.accept().await.expect("a connection");
                for answer in *connection {
                    let mut buffer = [0; 512];
                    let n = stream.read(&mut buffer).await.expect("a request");
                    heard.push(String::from_utf8_lossy(&buffer[..n]).into_owned());
                    stream.write_all(answer.as_bytes()).await.expect("sent");
                }
            }
            heard
        });
        (address, served)
    }

    fn list(address: &str) -> Redis {
        Redis::new(RedisSource { address: address.into(), list: Some("jobs".into()), ..RedisSource::default() })
    }

    async fn ask(redis: &mut Redis) -> Result<f64, String> {
        redis.read().await.map(|number| number.value()).map_err(|failure| failure.message)
    }

    #[tokio::test]
    async fn a_broken_connection_is_made_anew_once() {
        let (address, served) = server(&[&[":3\r\n", ":2\r\n"], &[":0\r\n"], &[]]).await;
        let mut redis = list(&address);
        for wanted in [3.0, 2.0, 0.0] {
            assert_eq!(ask(&mut redis).await, Ok(wanted));
        }
        let answer = ask(&mut redis).await;
        assert!(answer.is_err_and(|words| words.starts_with(&format!("redis {address}: LLEN jobs: "))));
        assert_eq!(served.await.expect("served")[0], "*2\r\n$4\r\nLLEN\r\n$4\r\njobs\r\n");
        assert!(ask(&mut redis).await.is_err_and(|words| words.contains("refused")));
    }

    #[tokio::test]
    async fn what_is_no_length_is_no_number() {
        const ANSWERS: &[&[&str]] = &[
            &["-WRONGTYPE of a key\r\n", "-LOADING\r\n"],
            &["+OK\r\n"],
            &["$-1\r\n"],
            &[":-1\r\n"],
            &[":1"],
            &["HTTP/1.1 400\r\n"],
        ];
        let (address, _served) = server(ANSWERS).await;
        let mut redis = list(&address);
        for _answer in ANSWERS {
            let answer = ask(&mut redis).await;
            assert!(answer.is_err(), "{answer:?}");
            redis.link = None;
        }
        assert!(ask(&mut Redis::new(RedisSource::default())).await.is_err_and(|words| words.contains("names no list")));
    }

    #[tokio::test]
    async fn a_password_is_never_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("password");
        std::fs::write(&path, "open sesame\n").expect("written");
        let (address, served) =
            server(&[&["-ERR unknown command 'AUTH' with args 'open sesame'\r\n"], &["+OK\r\n", ":5\r\n"]]).await;
        let mut redis = list(&address);
        redis.source.password_from =
            Some(crate::model::source::SecretSource { file: Some(path.display().to_string()), env: None });
        assert!(ask(&mut redis).await.is_err_and(|words| words.ends_with("the password was refused")));
        assert_eq!(ask(&mut redis).await, Ok(5.0));
        assert!(!format!("{redis:?}").contains("sesame"));
        assert_eq!(served.await.expect("served")[0], "*2\r\n$4\r\nAUTH\r\n$11\r\nopen sesame\r\n");
        std::fs::remove_file(&path).expect("removed");
        assert!(ask(&mut redis).await.is_err_and(|words| words.contains("No such file")));
    }
}
