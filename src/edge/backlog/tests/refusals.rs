//! What every source over HTTP does when it is refused, lied to, cut off or led away: it fails, in words, without its secret.
//! The answers give back the secret that was sent, as an echo would, so that quoting one shows.

use serde_json::json;

use super::*;
use crate::model::source::{HttpSource, NatsSource, PrometheusSource, RabbitSource};
use crate::model::time::Span;

/// One of each, with a secret where it has one.
fn all(url: &str, from: &SecretSource) -> Vec<Source> {
    let (url, token_from) = (url.to_owned(), Some(from.clone()));
    let forge = || Some(ForgeSource { token_from: token_from.clone(), ..repository(&url) });
    let http = HttpSource { url: url.clone(), token_from: token_from.clone(), ..HttpSource::default() };
    let prometheus = PrometheusSource { url: url.clone(), query: "up".into(), token_from: token_from.clone() };
    let rabbit = RabbitSource { url: url.clone(), vhost: None, queue: "q".into(), credentials_from: token_from.clone() };
    let nats = NatsSource { url: url.clone(), stream: "s".into(), consumer: "c".into() };
    let none = Source::default;
    vec![
        Source { gitea: forge(), ..none() },
        Source { forgejo: forge(), ..none() },
        Source { github: forge(), ..none() },
        Source { gitlab: forge(), ..none() },
        Source { http: Some(http), ..none() },
        Source { prometheus: Some(prometheus), ..none() },
        Source { rabbitmq: Some(rabbit), ..none() },
        Source { nats: Some(nats), ..none() },
    ]
}

/// Also fit as credentials.
fn credentials() -> (tempfile::TempDir, SecretSource) {
    secret(&format!("user:{TOKEN}"))
}

/// Ask them all, and give the failures.
async fn failures(answers: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Vec<Failure> {
    let server = Server::start(answers).await;
    let (_dir, from) = credentials();
    let mut found = Vec::new();
    for source in all(&server.url, &from) {
        let answer = ask(source).await;
        let text = words(answer.clone());
        assert!(text.starts_with(&server.url) && !text.contains('?') && !text.contains("dXNlc"), "{text}");
        found.extend(answer.err());
    }
    found
}

/// What came in the question, to give it back.
fn echo(asked: &Asked) -> String {
    let secrets = ["authorization", "private-token"].iter().filter_map(|name| asked.header(name));
    format!("{TOKEN} {}", secrets.collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn a_refusal_is_a_failure() {
    for status in [201, 202, 204, 206, 304, 400, 401, 403, 404, 410, 422, 429, 451, 500, 502, 503, 504, 599] {
        let found = failures(move |asked| {
            Reply::Whole(status, Vec::new(), if [204, 304].contains(&status) { String::new() } else { echo(asked) })
        });
        for failure in found.await {
            assert!(failure.message.contains(&format!("answered {status}")), "{}", failure.message);
            assert_eq!(failure.retry_after, None);
        }
    }
}

#[tokio::test]
async fn a_refusal_says_when_to_come_back() {
    let found = failures(|_| Reply::status(429, &[("Retry-After", "17")])).await;
    assert!(found.iter().all(|failure| failure.retry_after == Some(Span::secs(17))));
    // GitHub, "Rate limits for the REST API": 403 or 429, `x-ratelimit-remaining: 0`, and the reset in epoch seconds.
    let limited = [("X-RateLimit-Remaining", "0"), ("X-RateLimit-Reset", "99999999999")];
    let found = failures(move |_| Reply::status(403, &limited)).await;
    assert!(found.iter().all(|failure| failure.retry_after == Some(Span::secs(3600))));
    let found = failures(|_| Reply::status(503, &[("Retry-After", "Fri, 31 Dec 2123 23:59:59 GMT")])).await;
    assert!(found.iter().all(|failure| failure.retry_after == Some(Span::secs(3600))));
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start(|_| Reply::json(&json!(0))).await;
    for status in [301, 302, 303, 307, 308] {
        let to = format!("{}/?token={TOKEN}", other.url);
        let found = failures(move |_| Reply::status(status, &[("Location", &to)])).await;
        assert!(found.iter().all(|failure| failure.message.contains("redirects are not followed")));
    }
    assert!(other.asked().is_empty());
}

#[tokio::test]
async fn what_is_not_the_document_is_a_failure() {
    let bodies: [fn(&Asked) -> String; 7] = [
        |_| String::new(),
        |asked| format!("<html><body>Sign in {}</body></html>", echo(asked)),
        |asked| format!("[{{\"number\": 1, \"title\": \"{}", echo(asked)),
        |asked| format!("{{\"error\": \"{}\"}} and more", echo(asked)),
        |asked| format!("\"{}\"", echo(asked)),
        |_| "[".repeat(100_000),
        |_| "NaN".into(),
    ];
    for body in bodies {
        failures(move |asked| Reply::Whole(200, Vec::new(), body(asked))).await;
    }
    failures(|_| Reply::Bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\xff\xfe".to_vec())).await;
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_a_failure() {
    let cuts: [&[u8]; 8] = [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-",
        b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n[]",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n[]\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[]\r\n0\r\n\r\n",
        b"t0ken-S3cret is no HTTP\r\n\r\n",
    ];
    for cut in cuts {
        failures(move |_| Reply::Bytes(cut.to_vec())).await;
    }
    failures(|_| Reply::Reset).await;
}

#[tokio::test]
async fn an_answer_without_end_is_a_failure() {
    let found = failures(|_| Reply::Whole(200, Vec::new(), format!("[{}1]", " ".repeat(4 << 20)))).await;
    assert!(found.iter().all(|failure| failure.message.contains("more than 4194304 bytes")));
    let header = |_: &Asked| Reply::status(200, &[("X-Long", "x".repeat(1 << 20).as_str())]);
    failures(header).await;
}

#[tokio::test]
async fn a_slow_answer_is_waited_for_and_no_number() {
    let slow = |_: &Asked| Reply::Slowly(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]".to_vec());
    let server = Server::start(slow).await;
    let (_dir, from) = credentials();
    for source in all(&server.url, &from) {
        assert!(tokio::time::timeout(Duration::from_millis(100), ask(source)).await.is_err());
    }
}

#[tokio::test]
async fn a_secret_that_cannot_be_read_is_never_left_out() {
    let server = Server::start(|_| Reply::json(&json!(0))).await;
    let missing = SecretSource { file: Some("/nonexistent/token".into()), env: None };
    let with_secrets = all(&server.url, &missing).into_iter().filter(|source| source.nats.is_none());
    for source in with_secrets {
        assert!(words(ask(source).await).contains("/nonexistent/token"));
    }
    assert!(server.asked().is_empty());
}

#[tokio::test]
async fn where_nobody_listens_there_is_no_number() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("bound"));
    drop(listener);
    let (_dir, from) = credentials();
    for source in all(&url, &from) {
        assert!(words(ask(source).await).contains("refused"));
    }
    // A server that does not speak TLS, and says so at once.
    let plain = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://{}", plain.local_addr().expect("bound"));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _gone = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        }
    });
    for source in all(&url, &from) {
        words(ask(source).await);
    }
}
