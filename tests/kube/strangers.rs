//! Who gets nothing: pages of other sites, names that are not ours, tokens that are none, and roles that do not reach.

use std::io::{Read, Write};

use super::Served;
use weir::serve::auth::{Role, TABLE};

const LIST: &str = "GET /apis/weir.dev/v1/workerpools";

fn foreign_hosts(port: &str) -> Vec<String> {
    vec![
        "evil.example".into(),
        "evil.example:80".into(),
        format!("evil.example:{port}"),
        "localhost.evil.example".into(),
        "127.0.0.1.evil.example".into(),
        "127.0.0.1.nip.io".into(),
        "10.0.0.1".into(),
        "0.0.0.0".into(),
        "[::]".into(),
        "".into(),
        "localhost@evil.example".into(),
        "evil.example#localhost".into(),
        "localhosts".into(),
        "169.254.169.254".into(),
        "[fe80::1]".into(),
        "weir".into(),
        "xn--lcalhost-54a".into(),
        "localhost.".into(),
        "127.1".into(),
        "2130706433".into(),
    ]
}

fn foreign_pages(host: &str, port: &str) -> Vec<String> {
    vec![
        "http://evil.example".into(),
        "https://evil.example".into(),
        "null".into(),
        "http://localhost".into(),
        format!("http://localhost:{port}"),
        "http://127.0.0.1".into(),
        "http://127.0.0.1:1".into(),
        format!("http://evil.example:{port}"),
        format!("ftp://{host}"),
        "file://".into(),
        "".into(),
        "http://[::1]".into(),
        host.to_owned(),
        format!("http://{host}.evil.example"),
        format!("http://{host}/"),
        format!("http://user@{host}"),
    ]
}

fn wrong_words(token: &str) -> Vec<String> {
    vec![
        "".into(),
        "Bearer".into(),
        "Bearer ".into(),
        "Bearer wrong".into(),
        "Basic dXNlcjpwYXNz".into(),
        token.to_owned(),
        format!("Basic {token}"),
        format!("Bearer {token}x"),
        format!("Bearer {}", &token[1..]),
        format!("Bearer {}", token.to_uppercase()),
        format!("Bearer  {token}"),
        "Bearer null".into(),
        "Bearer undefined".into(),
    ]
}

#[test]
fn sixty_combinations_of_headers_get_nothing() {
    let served = Served::start(&[]);
    let (host, bearer) = (served.address.clone(), format!("Bearer {}", served.token()));
    let port = host.rsplit_once(':').unwrap().1.to_owned();
    assert_eq!(served.raw(LIST, &[("host", &host), ("authorization", &bearer)], "").0, 200);
    assert_eq!(served.raw(LIST, &[("host", &format!("localhost:{port}")), ("authorization", &bearer)], "").0, 200);
    let origin = format!("http://{host}");
    let same = [("host", host.as_str()), ("authorization", &bearer), ("origin", &origin), ("sec-fetch-site", "same-origin")];
    assert_eq!(served.raw(LIST, &same, "").0, 200);

    let mut tried = 0;
    let mut refused = |code: u16, head: &str, headers: &[(&str, &str)], body: &str| {
        tried += 1;
        let (answered, said) = served.raw(head, headers, body);
        assert_eq!(answered, code, "{head} {headers:?}: {said}");
        assert!(!said.contains("command") && !said.contains("WorkerPool"), "{said}");
    };
    let good = ("authorization", bearer.as_str());
    for foreign in &foreign_hosts(&port) {
        refused(403, LIST, &[("host", foreign), good], "");
    }
    for page in &foreign_pages(&host, &port) {
        refused(403, LIST, &[("host", &host), ("origin", page), good], "");
        refused(403, "PATCH /apis/weir.dev/v1/workerpools/web", &[("host", &host), ("origin", page), good], "{}");
    }
    for site in ["cross-site", "same-site", "", "other"] {
        refused(403, LIST, &[("host", &host), ("sec-fetch-site", site), good], "");
    }
    refused(403, LIST, &[("host", &host), ("host", "evil.example"), good], "");
    refused(403, LIST, &[("host", &host), ("origin", &origin), ("origin", "http://evil.example"), good], "");
    refused(403, "GET http://evil.example/apis/weir.dev/v1/workerpools", &[("host", &host), good], "");
    let token = served.token();
    for wrong in &wrong_words(&token) {
        refused(401, LIST, &[("host", &host), ("authorization", wrong)], "");
    }
    refused(401, LIST, &[("host", &host)], "");
    refused(401, &format!("{LIST}?token={token}&access_token={token}"), &[("host", &host)], "");
    refused(401, LIST, &[("host", &host), ("cookie", &format!("token={token}"))], "");
    refused(401, LIST, &[("host", &host), good, ("authorization", "Bearer other")], "");
    for form in
        ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain", "TEXT/PLAIN; charset=utf-8"]
    {
        refused(415, "POST /v1/pools/web/tasks", &[("host", &host), ("content-type", form), good], "payload=1");
    }
    assert!(tried >= 60, "{tried}");
    // Preflights are answered with nothing that would let a page go on.
    let (code, said) = served.raw(
        "OPTIONS /v1/apply",
        &[("host", &host), ("origin", "http://evil.example"), ("access-control-request-method", "POST")],
        "",
    );
    assert!(code == 403 && !said.to_lowercase().contains("access-control"), "{code} {said}");
    assert_eq!(served.web(), super::WEB.replace("@@", &served.scratch.mark));
}

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// No page is asked before it opens a WebSocket to anywhere: host, origin and token are all that is between.
#[test]
fn websockets_pass_the_same_gate() {
    let (served, tokens) = with_tokens();
    let (host, bearer) = (served.address.clone(), format!("Bearer {}", served.token()));
    let port = host.rsplit_once(':').unwrap().1.to_owned();
    let answered = |path: &str, headers: &[(&str, &str)]| served.raw(path, &[HANDSHAKE.as_slice(), headers].concat(), "").0;
    let (all, none) = ("GET /v1/events?lastEventId=0", "GET /v1/events?lastEventId=none");
    let good = ("authorization", bearer.as_str());
    for foreign in &foreign_hosts(&port) {
        assert_eq!(answered(all, &[("host", foreign), good]), 403, "{foreign}");
    }
    for page in &foreign_pages(&host, &port) {
        assert_eq!(answered(all, &[("host", &host), ("origin", page), good]), 403, "{page}");
    }
    for wrong in &wrong_words(&served.token()) {
        assert_eq!(answered(all, &[("host", &host), ("authorization", wrong)]), 401, "{wrong}");
    }
    assert_eq!(answered(all, &[("host", &host), ("sec-websocket-protocol", &served.token())]), 401);
    // Every role may look: each comes as far as the query, which is then refused.
    for (role, token) in &tokens {
        let bearer = format!("Bearer {token}");
        assert_eq!(answered(none, &[("host", &host), ("authorization", &bearer)]), 400, "{}", role.name());
    }
    // A route that has no socket opens none.
    assert_eq!(answered("GET /v1/usage", &[("host", &host), good]), 200);
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(opened(&served, &tokens[0].1));
}

async fn opened(served: &Served, token: &str) {
    use futures_util::StreamExt;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest;
    let stream = tokio::net::TcpStream::connect(&served.address).await.unwrap();
    let mut request = format!("ws://{}/v1/events?lastEventId=0", served.address).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("authorization", format!("Bearer {token}").parse().unwrap());
    headers.insert("origin", format!("http://{}", served.address).parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    let first = async {
        loop {
            let next = socket.next().await.unwrap().unwrap();
            if next.is_text() {
                return next.into_text().unwrap();
            }
        }
    };
    let first = tokio::time::timeout(super::PATIENCE, first).await.unwrap();
    assert!(first.starts_with("{\"id\":") && first.contains("\"kind\":\"Event\""), "{first}");
}

fn with_tokens() -> (Served, Vec<(Role, String)>) {
    let served = Served::start(&[]);
    let tokens: Vec<(Role, String)> =
        Role::ALL.into_iter().map(|role| (role, format!("{0}-{0}-{0}-{0}-{0}", role.name()))).collect();
    let lines: String = tokens.iter().map(|(role, token)| format!("{} {token}\n", role.name())).collect();
    let path = served.dir().join("state/tokens");
    std::fs::write(&path, lines).unwrap();
    // Not believed while others may read it.
    assert_eq!(ask(&served, LIST, &tokens[0].1, "").0, 401);
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    (served, tokens)
}

/// Who made a mistake in the file is to learn of it; strangers are told nothing of the file, and cannot fill the log.
#[test]
fn a_token_that_is_not_known_is_told_from_none_and_a_bad_line_shuts_out_all() {
    let served = Served::start(&[]);
    let answer = |bearer: &str| served.raw(LIST, &[("host", &served.address), ("authorization", bearer)], "");
    let good = format!("Bearer {}", served.token());
    for (bearer, words) in [("Basic eDp5", "a token is needed"), ("Bearer nobodys-token-at-all-0", "this token is not known")] {
        let (code, said) = answer(bearer);
        assert!(code == 401 && said.contains(words), "{code} {said}");
    }
    assert_eq!(answer(&good).0, 200);
    let tokens = served.dir().join("state/tokens");
    let put = |text: &str| {
        std::fs::write(&tokens, text).unwrap();
        std::fs::set_permissions(&tokens, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    };
    put("view aaaaaaaaaaaaaaaaaaaaaaaa\nvew bbbbbbbbbbbbbbbbbbbbbbbb\n");
    for bearer in [good.as_str(), "Bearer nobodys-token-at-all-0", &good, &good] {
        let (code, said) = answer(bearer);
        assert!(code == 401 && said.contains("nobody is let in: the daemon's log says"), "{code} {said}");
        assert!(!said.contains("vew") && !said.contains("tokens:2"), "{said}");
    }
    assert_eq!(served.scratch.log().matches("/tokens:2: expected a role").count(), 1, "{}", served.scratch.log());
    put("view aaaaaaaaaaaaaaaaaaaaaaaa\n");
    assert_eq!((answer(&good).0, answer("Bearer aaaaaaaaaaaaaaaaaaaaaaaa").0), (200, 200));
}

fn ask(served: &Served, head: &str, token: &str, body: &str) -> (u16, String) {
    let kind = if head.starts_with("PATCH") { "application/merge-patch+json" } else { "application/json" };
    let bearer = format!("Bearer {token}");
    served.raw(head, &[("host", &served.address), ("authorization", &bearer), ("content-type", kind)], body)
}

/// An endpoint of the table as it is asked for; a stream with a query that it refuses, because it would not end.
fn asked(pattern: &str) -> String {
    if pattern == "/v1/events" { "/v1/events?lastEventId=none".into() } else { pattern.replace("{}", "nosuch") }
}

/// Every endpoint with every role over the network: denied wherever the table says so, and never because of the role elsewhere.
#[test]
fn roles_reach_as_far_as_the_table_says() {
    let (served, tokens) = with_tokens();
    let mut cells = 0;
    for (method, pattern, needs) in TABLE {
        let head = format!("{method} {}", asked(pattern));
        let stranger = served.raw(&head, &[("host", &served.address)], "").0;
        assert_eq!(stranger != 401, *needs == Role::Nobody, "{head}: {stranger}");
        for (role, token) in &tokens {
            let (code, said) = ask(&served, &head, token, "{}");
            let denied = code == 403 && said.contains("this token has the role");
            assert_eq!(denied, role < needs, "{head} as {}: {code} {said}", role.name());
            cells += 1;
        }
    }
    assert_eq!(cells, TABLE.len() * 4);
    // What is in no row is reached by nobody.
    for head in [
        "GET /nowhere",
        "POST /healthz",
        "DELETE /v1/apply",
        "GET /apis/weir.dev/v1/workerpools/web/a/b",
        "GET //healthz",
        "CONNECT x:1",
    ] {
        for (_, token) in &tokens {
            let code = ask(&served, head, token, "").0;
            assert!([400, 403, 404, 405].contains(&code), "{head}: {code}");
        }
    }
    // On the socket root and the daemon's own user may ask for all of it, and for nothing else.
    for (method, pattern, _) in TABLE {
        let head = format!("{method} {}", asked(pattern));
        let code = on_socket(&served, &head);
        assert!(code != 0 && code != 401 && code != 403, "{head}: {code}");
    }
    assert_eq!((on_socket(&served, "GET /nowhere"), on_socket(&served, "DELETE /v1/apply")), (404, 405));
}

fn on_socket(served: &Served, head: &str) -> u16 {
    let mut stream = std::os::unix::net::UnixStream::connect(served.dir().join("state/weir.sock")).unwrap();
    stream.set_read_timeout(Some(super::PATIENCE)).unwrap();
    let kind = if head.starts_with("PATCH") { "application/merge-patch+json" } else { "application/json" };
    let request =
        format!("{head} HTTP/1.1\r\nhost: weir\r\nconnection: close\r\ncontent-type: {kind}\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).unwrap();
    String::from_utf8_lossy(&answer[9..]).parse().unwrap()
}

/// A queue makes what a task carries the standard input of the program that is there: by no road it comes over the network.
#[test]
fn no_program_is_given_a_queue_over_the_network() {
    let (served, tokens) = with_tokens();
    let bearer = format!("Bearer {}", tokens[3].1);
    let talk = super::TALK.replace("@@", &served.scratch.mark);
    let at = "/apis/weir.dev/v1/workerpools/talk";
    let whole = |mut pool: serde_json::Value| {
        pool["spec"]["queue"] = serde_json::json!({});
        pool.to_string()
    };
    let mut document: serde_json::Value =
        serde_json::from_str(&ask(&served, &format!("GET {at}/document"), &tokens[3].1, "").1).unwrap();
    document["text"] = format!("{talk}  queue: {{}}\n").into();
    let shown = serde_json::from_str(&ask(&served, &format!("GET {at}"), &tokens[3].1, "").1).unwrap();
    let lease = "{\"spec\": {\"queue\": {\"delivery\": \"Lease\"}}}";
    let add = "[{\"op\": \"add\", \"path\": \"/spec/queue\", \"value\": {}}]";
    for (head, kind, body) in [
        (format!("PATCH {at}"), "application/merge-patch+json", "{\"spec\": {\"queue\": {}}}".to_owned()),
        (format!("PATCH {at}?dryRun=All"), "application/merge-patch+json", lease.to_owned()),
        (format!("PATCH {at}"), "application/json-patch+json", add.to_owned()),
        (format!("PATCH {at}"), "application/apply-patch+yaml", format!("{talk}  queue: {{}}\n")),
        (format!("PUT {at}"), "application/json", whole(shown)),
        (format!("PUT {at}/document"), "application/json", document.to_string()),
        ("POST /v1/apply".to_owned(), "application/yaml", format!("{talk}  queue: {{}}\n")),
    ] {
        let headers = [("host", served.address.as_str()), ("authorization", &bearer), ("content-type", kind)];
        let (code, said) = served.raw(&head, &headers, &body);
        assert!(code == 403 && said.contains("spec.queue says what is run, what that is fed"), "{head} {kind}: {code} {said}");
    }
    assert_eq!(std::fs::read_to_string(served.scratch.spec("talk.yaml")).unwrap(), talk);
}

/// Whoever has a token, and be it an admin's: what is run cannot be changed over the network.
#[test]
fn commands_never_arrive_over_the_network() {
    let (served, tokens) = with_tokens();
    let admin = &tokens[3].1;
    let root = "/apis/weir.dev/v1/workerpools";
    let evil = served.web().replace("sleep, \"100000\"", "touch, /tmp/evil");
    let whole = serde_json::json!({
        "apiVersion": "weir.dev/v1", "kind": "WorkerPool", "metadata": {"name": "web"},
        "spec": {"replicas": 2, "template": {"command": ["touch", "/tmp/evil"]}},
    });
    let fresh = whole.to_string().replace("\"web\"", "\"fresh\"");
    let text = served.ctl(&["get", "pool/web", "-o", "json"]);
    assert!(text.contains("100000"));
    let document = ask(&served, &format!("GET {root}/web/document"), admin, "").1;
    let mut document: serde_json::Value = serde_json::from_str(&document).unwrap();
    document["text"] = evil.clone().into();
    let policy = "apiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: evil}\nspec:\n  target: {pool: web}\n  \
        bounds: {min: {tasks: 10}, max: {tasks: 20}}\n  gauges: [{name: g, source: {exec: {command: [touch, /tmp/evil]}}}]\n";
    for (head, body) in [
        (format!("PATCH {root}/web"), "{\"spec\": {\"template\": {\"command\": [\"touch\", \"/tmp/evil\"]}}}".to_owned()),
        (format!("PATCH {root}/web?dryRun=All"), "{\"spec\": {\"template\": {\"env\": []}}}".to_owned()),
        (format!("PATCH {root}/web"), "{\"spec\": {\"notify\": [{\"on\": [\"Ready\"], \"exec\": {\"command\": [\"touch\", \"/tmp/evil\"]}}]}}".to_owned()),
        (
            format!("PATCH {root}/web"),
            "{\"spec\": {\"replicas\": null, \"scale\": {\"triggers\": [{\"targetPerWorker\": 1, \"exec\": {\"command\": [\"touch\", \"/tmp/evil\"]}}]}}}".to_owned(),
        ),
        (
            format!("PATCH {root}/web"),
            "{\"spec\": {\"replicas\": null, \"scale\": {\"quota\": [{\"name\": \"q\", \"pauseBelow\": 1, \"resumeAbove\": 2, \"source\": {\"exec\": {\"command\": [\"touch\", \"/tmp/evil\"]}}}]}}}".to_owned(),
        ),
        (format!("PUT {root}/web"), whole.to_string()),
        (format!("POST {root}"), fresh.clone()),
        (format!("POST {root}?dryRun=All"), fresh.clone()),
        ("POST /v1/apply".to_owned(), evil.clone()),
        ("POST /v1/apply".to_owned(), fresh.clone()),
        ("POST /v1/apply".to_owned(), policy.to_owned()),
        (format!("PUT {root}/web/document"), document.to_string()),
        (format!("PUT {root}/web/docu%6Dent"), document.to_string()),
    ] {
        let (code, said) = ask(&served, &head, admin, &body);
        assert!(code == 403 && said.contains("socket"), "{head}: {code} {said}");
    }
    // Nor in a text that could be read in two ways.
    let padding = format!("# {}\n", "x".repeat(200_000));
    for text in [
        format!("{fresh}\n---\n# \0\n"),
        format!("# \0\n---\n{fresh}"),
        format!("{padding}---\n{padding}{fresh}"),
        format!("{padding}{padding}---\n{fresh}"),
        format!("# x\n---\n\u{feff}{fresh}"),
        format!("\u{feff}---\n{fresh}"),
        format!("{fresh}...\n%YAML 1.2\n"),
        format!("kind: List\nitems: [{}]\n", fresh.trim()),
        format!("kind: List\nitems:\n- status: {{}}\n  {}\n", fresh.trim().replace('\n', "\n  ")),
    ] {
        for head in ["POST /v1/apply", "POST /v1/apply?dryRun=All"] {
            let (code, said) = ask(&served, head, admin, &text);
            assert!([400, 403, 413, 422].contains(&code), "{head}: {code} {said}");
        }
    }
    assert_eq!(served.web(), super::WEB.replace("@@", &served.scratch.mark));
    assert!(!served.scratch.spec("fresh.yaml").exists());
    // The same by way of the socket is done.
    std::fs::write(
        served.dir().join("fresh.yaml"),
        super::TALK.replace("name: talk", "name: fresh").replace("@@", &served.scratch.mark),
    )
    .unwrap();
    served.ctl(&["apply", "-f", served.dir().join("fresh.yaml").to_str().unwrap()]);
    assert!(served.scratch.spec("fresh.yaml").exists());
}

#[test]
fn other_addresses_are_refused_and_clients_that_stall_cost_nothing() {
    let scratch = super::Scratch::new().with(&["--listen", "0.0.0.0:0"]);
    let ran = scratch.weir().output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(!ran.status.success() && said.contains("--listen-beyond-loopback"), "{said}");
    let served = Served::start(&[]);
    let stalled: Vec<_> = (0..300).map(|_| std::net::TcpStream::connect(&served.address).unwrap()).collect();
    let (out, said) = afar(&served, "get pools -o name");
    assert_eq!(out, "pool/talk\npool/web\n", "{said}");
    drop(stalled);
}

/// What `ctl` prints, and what it says beside it, with the address and the token alone.
fn afar(served: &Served, words: &str) -> (String, String) {
    let mut ctl = std::process::Command::new(env!("CARGO_BIN_EXE_ctl"));
    ctl.arg("--server").arg(format!("http://{}", served.address)).arg("--token-file").arg(served.dir().join("state/token"));
    let ran = ctl.args(words.split(' ')).output().unwrap();
    (String::from_utf8_lossy(&ran.stdout).into_owned(), String::from_utf8_lossy(&ran.stderr).into_owned())
}

#[test]
fn an_address_and_a_token_are_enough_for_kubectl_and_the_page() {
    let served = Served::start(&[]);
    assert_eq!(afar(&served, "dashboard").0, format!("http://{}/#token={}\n", served.address, served.token()));
    std::fs::write(served.dir().join("kubeconfig"), afar(&served, "kubeconfig").0).unwrap();
    let ran = served.kubectl().args(["get", "pools", "-o", "name"]).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "workerpool.weir.dev/talk\nworkerpool.weir.dev/web\n", "{said}");
    let (_, said) = afar(&served, "simulate pool/web --from 1h");
    assert!(said.contains("--state") && !said.contains("/dev/null"), "{said}");
    // A daemon that is there and does not listen is not taken for none.
    let mut scratch = super::Scratch::new();
    scratch.start();
    let socket = scratch.dir.join("state/weir.sock");
    super::wait("socket", || std::os::unix::net::UnixStream::connect(&socket).ok(), || scratch.log());
    for words in ["dashboard", "kubeconfig"] {
        let mut ctl = std::process::Command::new(env!("CARGO_BIN_EXE_ctl"));
        let ran = ctl.arg("--state").arg(scratch.dir.join("state")).arg(words).output().unwrap();
        let said = String::from_utf8_lossy(&ran.stderr).into_owned();
        assert!(ran.status.code() == Some(1) && said.contains("does not listen"), "{words}: {said}");
    }
}
