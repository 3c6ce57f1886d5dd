//! TLS: a server whose certificate is of an authority of the test's own is asked when that is trusted, else refused.
//!
//! What is trusted is a matter of a whole process (`SSL_CERT_FILE`), so the test runs itself once more.

use std::process::Command;

use nix::sys::signal::Signal;
use weir::edge::backlog::Reader;
use weir::model::source::{HttpSource, Source};

use crate::server::{Server, ask, output, wait};

/// In the second process: where the server is.
const TRUSTED: &str = "WEIR_TEST_TLS_URL";

fn reader(url: String) -> Reader {
    Reader::new(Source { http: Some(HttpSource { url, pointer: "/n".into(), ..HttpSource::default() }), ..Source::default() })
}

fn openssl(server: &Server, words: &str) -> Command {
    let mut command = Command::new("openssl");
    command.args(words.split(' ')).current_dir(server.dir.path());
    command
}

fn started() -> Server {
    let mut server = Server::new(Signal::SIGKILL);
    server.file("number.json", "{\"n\": 12}");
    server.file("san", "subjectAltName=DNS:localhost,IP:127.0.0.1\nbasicConstraints=CA:FALSE\n");
    let key = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";
    output(&mut openssl(&server, &format!("req -x509 {key} -subj /CN=authority -days 2 -keyout ca.key -out ca.pem")));
    output(&mut openssl(&server, &format!("req {key} -subj /CN=localhost -keyout key.pem -out request.pem")));
    let sign = "x509 -req -in request.pem -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile san -out cert.pem";
    output(&mut openssl(&server, sign));
    let accept = format!("s_server -quiet -WWW -accept {} -cert cert.pem -key key.pem", server.address());
    server.start(openssl(&server, &accept));
    server
}

#[tokio::test]
async fn a_certificate_counts_only_when_its_authority_is_trusted() {
    if let Ok(url) = std::env::var(TRUSTED) {
        assert_eq!(ask(&mut reader(format!("{url}/number.json"))).await, Ok(12.0));
        return;
    }
    let server = started();
    let url = format!("https://localhost:{}", server.port);
    let said = ask(&mut reader(format!("{url}/number.json"))).await.expect_err("no number");
    assert!(said.contains("certificate"), "{said}");
    // The server answers one after the other: the first that hung up is to be over.
    let test = std::env::current_exe().expect("this program");
    let again = || {
        let mut again = Command::new(&test);
        again.args(["--exact", "tls::a_certificate_counts_only_when_its_authority_is_trusted"]);
        again.env(TRUSTED, &url).env("SSL_CERT_FILE", server.path("ca.pem")).env_remove("SSL_CERT_DIR").output().expect("runs")
    };
    let mut said = String::new();
    let passes = || {
        let ran = again();
        said = String::from_utf8_lossy(&ran.stdout).into_owned();
        ran.status.success() && said.contains("1 passed")
    };
    wait("the number of a server that is trusted", passes, server.dir.path());
}
