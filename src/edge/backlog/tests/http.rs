//! A number in a JSON document, and the addresses that are not asked for one.
//! The latter are a table, and every one is given to the reader itself: what parses an address decides what it is.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

use super::*;
use crate::edge::web::guard::{permitted, public};
use crate::model::source::HttpSource;

fn source(url: &str, pointer: &str) -> Source {
    Source { http: Some(HttpSource { url: url.into(), pointer: pointer.into(), ..HttpSource::default() }), ..Source::default() }
}

#[tokio::test]
async fn a_pointer_finds_a_number() {
    // RFC 6901, 5 and 6: the example document, and `~1` and `~0` for `/` and `~`.
    let text = json!({"queue": {"length": 25}, "a/b": 1, "m~n": 8, "": 0, "list": [3, {"x": 2.5}], "-0": -0.0, "big": 1e300});
    let server = Server::start(move |_| Reply::json(&text)).await;
    let found = [
        ("/queue/length", 25.0),
        ("/a~1b", 1.0),
        ("/m~0n", 8.0),
        ("/", 0.0),
        ("/list/0", 3.0),
        ("/list/1/x", 2.5),
        ("/-0", 0.0),
        ("/big", 1e300),
    ];
    for (pointer, number) in found {
        assert_eq!(ask(source(&server.url, pointer)).await, Ok(number), "{pointer}");
    }
    let server = Server::start(|_| Reply::json(&json!(25))).await;
    assert_eq!(ask(source(&format!("{}/a?b=c%20d", server.url), "")).await, Ok(25.0));
    assert_eq!(server.asked()[0].target, "/a?b=c%20d");
}

#[tokio::test]
async fn what_is_no_number_is_a_failure() {
    let text = json!({"s": "25", "n": null, "t": true, "l": [], "o": {}, "minus": -1, "tok": TOKEN});
    let server = Server::start(move |_| Reply::json(&text)).await;
    let bad = [
        ("/s", "is a string, not a number"),
        ("/tok", "is a string, not a number"),
        ("/n", "is null"),
        ("/t", "true or false"),
        ("/l", "is a list"),
        ("/o", "is an object"),
        ("", "the document is an object"),
        ("/minus", "no number of zero or more"),
        ("/no", "is not in the document"),
        ("/l/0", "is not in the document"),
        ("s", "is not in the document"),
    ];
    for (pointer, why) in bad {
        let words = words(ask(source(&server.url, pointer)).await);
        assert!(words.starts_with(&server.url) && words.contains(why), "{words}");
    }
}

#[tokio::test]
async fn a_token_is_read_for_each_question() {
    let server = Server::start(|_| Reply::json(&json!(1))).await;
    let (dir, from) = token();
    let mut http = HttpSource { url: server.url.clone(), token_from: Some(from), ..HttpSource::default() };
    let mut reader = Reader::new(Source { http: Some(http.clone()), ..Source::default() });
    assert_eq!(value(reader.read().await), Ok(1.0));
    std::fs::write(dir.path().join("token"), "another").expect("writes");
    assert_eq!(value(reader.read().await), Ok(1.0));
    for bad in ["", "\n", "t0ken\r\nX-S3cret: 1", "\u{1}S3cret"] {
        std::fs::write(dir.path().join("token"), bad).expect("writes");
        words(value(reader.read().await));
    }
    http.token_from = Some(SecretSource { file: None, env: Some("WEIR_NO_SUCH_VARIABLE".into()) });
    assert!(words(ask(Source { http: Some(http.clone()), ..Source::default() }).await).contains("WEIR_NO_SUCH_VARIABLE"));
    http.token_from = Some(SecretSource::default());
    words(ask(Source { http: Some(http), ..Source::default() }).await);
    let sent: Vec<_> = server.asked().iter().map(|asked| asked.header("authorization").unwrap_or_default().to_owned()).collect();
    assert_eq!(sent, ["Bearer t0ken-S3cret", "Bearer another"]);
}

/// Spellings of addresses in private and reserved networks: whole, decimal, octal, hexadecimal, shortened, in wide digits,
/// percent-encoded, with a dot behind, as IPv6 and inside IPv6.
const BLOCKED: &str = "
    10.0.0.1 10.255.255.255 10.1 10.0.1 012.0.0.1 0x0a.0.0.1 0xa.0x0.0x0.0x1 167772161 0x0a000001 01200000001 0xA.1
    １０.0.0.1 10。0。0。1 10．0．0．1 %31%30.0.0.1 10.0.0.1. ⑩.0.0.1 1%30.0.0.1
    172.16.0.1 172.31.255.255 172.16.1 0254.16.0.1 0xac.0x10.0.1 2886729729 0xac100001 172.20.0.1.
    192.168.0.1 192.168.1 192.168.257 0300.0250.0.1 0xc0.0xa8.0x01.0x01 3232235777 0xc0a80101 030052000401
    169.254.169.254 169.254.0.1 2852039166 0xa9fea9fe 0251.0376.0251.0376 169.16689662 0xa9.0xfe.43518 169.254.43518
    ①⑥⑨.②⑤④.①⑥⑨.②⑤④ 169.254.169.254. %31%36%39.254.169.254
    100.64.0.1 100.127.255.255 1681915905 0x64400001 0144.0100.0.1
    0.0.0.0 0 0x0 00 0.0 0.1.2.3 0.0.0.0.
    224.0.0.1 239.255.255.250 0xe0000001 240.0.0.1 255.255.255.255 4294967295 0xffffffff 037777777777
    198.18.0.1 198.19.255.255 192.0.0.1 192.0.0.170 192.0.2.1 198.51.100.7 203.0.113.9 192.88.99.1
    [::] [0:0:0:0:0:0:0:0] [fe80::1] [fe80:0:0:0:0:0:0:1] [febf::1] [fc00::1] [fd00::1] [fdff:ffff::1] [FD12:3456::1]
    [fec0::1] [ff02::1] [ff05::2] [ff0e::1] [100::1] [5f00::1] [2001:db8::1] [3fff::1] [2001::1] [2001:2::1] [2001:10::1]
    [::ffff:10.0.0.1] [::ffff:a00:1] [0:0:0:0:0:ffff:10.0.0.1] [::ffff:192.168.0.1] [::ffff:169.254.169.254] [::FFFF:A9FE:A9FE]
    [::ffff:0.0.0.0] [::ffff:100.64.0.1] [::ffff:224.0.0.1] [::10.0.0.1] [::a00:1] [::ffff:0:10.0.0.1] [::127.0.0.1]
    [64:ff9b::10.0.0.1] [64:ff9b::a9fe:a9fe] [64:ff9b::127.0.0.1] [64:ff9b:1::1] [2002:a00:1::] [2002:c0a8:101::1]
    [2001:0:a00:1::1]
";

#[tokio::test]
async fn a_private_address_is_not_asked_however_it_is_spelled() {
    let mut count = 0;
    for (n, host) in BLOCKED.split_whitespace().enumerate() {
        let url = match n % 3 {
            0 => format!("http://{host}/"),
            1 => format!("https://{host}:8443/latest?x=y"),
            _ => format!("HTTP:\\\\{host}:1/"),
        };
        let look = tokio::time::timeout(Duration::from_secs(5), ask(source(&url, ""))).await;
        let words = words(look.unwrap_or_else(|_| panic!("{url} was asked")));
        assert!(words.contains("private or reserved network"), "{url}: {words}");
        count += 1;
    }
    assert!(count >= 100, "{count}");
}

#[tokio::test]
async fn loopback_is_asked_and_private_networks_if_that_is_allowed() {
    let server = Server::start(|_| Reply::json(&json!(3))).await;
    let port = server.url.rsplit(':').next().unwrap_or_default().to_owned();
    for host in ["127.0.0.1", "127.1", "0x7f000001", "2130706433", "localhost", "LOCALHOST", "[::ffff:127.0.0.1]"] {
        assert_eq!(ask(source(&format!("http://{host}:{port}"), "")).await, Ok(3.0), "{host}");
    }
    // Nobody says that it may not be asked: whether it can be is another matter.
    let url = format!("http://0.0.0.0:{port}");
    assert!(words(ask(source(&url, "")).await).contains("private"));
    let allowed = HttpSource { url, allow_private: true, ..HttpSource::default() };
    assert_eq!(ask(Source { http: Some(allowed), ..Source::default() }).await, Ok(3.0));
}

#[test]
fn a_name_leads_only_where_all_its_addresses_may_be_asked() {
    let found = |list: &[&str]| -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 0)).collect()
    };
    for fine in [&["93.184.215.14"][..], &["2606:2800:21f::1", "93.184.215.14"], &["127.0.0.1", "::1"], &["64:ff9b::5db8:d70e"]] {
        assert_eq!(permitted("h", found(fine).into_iter()).map(Iterator::count), Ok(fine.len()));
    }
    for bad in [&[][..], &["10.0.0.1"], &["93.184.215.14", "10.0.0.1"], &["fd00::1"], &["::ffff:169.254.169.254"], &["0.0.0.0"]] {
        assert!(permitted("h", found(bad).into_iter()).is_err(), "{bad:?}");
    }
}

#[test]
fn blocks_end_where_they_should() {
    for fine in ["9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "169.253.255.255", "172.15.255.255", "172.32.0.0"]
    {
        assert!(fine.parse::<IpAddr>().is_ok_and(public), "{fine}");
    }
    for fine in
        ["192.167.255.255", "192.169.0.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", "1.0.0.0", "2001:200::", "2c00::"]
    {
        assert!(fine.parse::<IpAddr>().is_ok_and(public), "{fine}");
    }
}

#[tokio::test]
async fn only_http_is_spoken() {
    for url in ["", "x", "file:///etc/passwd", "ftp://127.0.0.1/", "unix:///run/x", "javascript:1", "http://u:S3cret@127.0.0.1/"]
    {
        words(ask(source(url, "")).await);
    }
}
