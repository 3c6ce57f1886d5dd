//! A daemon with two pools and a policy, and rmcp's client on both roads to it.
//!
//! `web` has one worker that sleeps; `jobs` runs a process for each task; `guard` is about a unit that is not there.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::sync::Once;

use rmcp::model::CallToolRequestParams;
use rmcp::service::{RoleClient, RunningService};
use rmcp::transport::streamable_http_client::StreamableHttpClientTransportConfig;
use rmcp::transport::{StreamableHttpClientTransport, TokioChildProcess};
use rmcp::{ServiceError, ServiceExt};
use serde_json::Value;
use tokio::runtime::Runtime;

use super::harness::{PATIENCE, Scratch, wait};

/// Nothing's limits.
const GUARD: &str = "apiVersion: weir.dev/v1\nkind: ResourcePolicy\nmetadata: {name: guard}\nspec:\n  \
    target: {unit: {name: weir-test-no-such.service}}\n  checkInterval: 1s\n  mode: Enabled\n  \
    bounds: {min: {cpu: 1, memory: 1Gi}, max: {cpu: 4, memory: 8Gi}}\n  manual: {cpu: 2, reason: training}\n";

/// What a tool said.
#[derive(Debug)]
pub struct Said {
    pub is_error: bool,
    pub value: Value,
}

/// What came of a call; an error is one of the protocol.
pub type Asked = Result<Said, String>;

/// A client.
pub struct Client(RunningService<RoleClient, ()>);

impl std::ops::Deref for Client {
    type Target = RunningService<RoleClient, ()>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Client {
    pub async fn ask(&self, name: &'static str, arguments: Value) -> Asked {
        let Value::Object(arguments) = arguments else { panic!("arguments are an object") };
        let asked = self.0.call_tool(CallToolRequestParams::new(name).with_arguments(arguments));
        let result = tokio::time::timeout(PATIENCE, asked).await.expect("answered in time");
        let result = match result {
            Err(ServiceError::McpError(error)) => return Err(error.message.into_owned()),
            result => result.unwrap_or_else(|error| panic!("{name}: {error}")),
        };
        Ok(Said { is_error: result.is_error == Some(true), value: result.structured_content.expect("structured content") })
    }

    /// The answer, which must be no refusal.
    pub async fn good(&self, name: &'static str, arguments: Value) -> Value {
        let said = self.ask(name, arguments).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(!said.is_error, "{name}: {}", said.value);
        said.value
    }

    /// A refusal in these words.
    pub async fn refused(&self, name: &'static str, arguments: Value, words: &str) {
        let said = self.ask(name, arguments).await.unwrap_or_else(|error| panic!("{name}: {error}"));
        let message = said.value["error"]["message"].as_str().unwrap_or_default();
        assert!(said.is_error && !message.is_empty() && message.contains(words), "{name}: {}", said.value);
    }

    /// Ask until the answer is so.
    pub async fn until(&self, name: &'static str, arguments: Value, so: impl Fn(&Value) -> bool) {
        for _round in 0..PATIENCE.as_millis() / 200 {
            if so(&self.good(name, arguments.clone()).await) {
                return;
            }
            // Slower than the tools' pace.
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
        panic!("{name}: waited in vain");
    }

    pub async fn end(self) {
        self.0.cancel().await.expect("ended");
    }
}

pub fn runtime() -> Runtime {
    static PROVIDER: Once = Once::new();
    // rmcp's client asks for one, though nothing here speaks TLS.
    PROVIDER.call_once(|| drop(rustls::crypto::ring::default_provider().install_default()));
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// A daemon that listens, its pools settled, with a token for each role.
pub fn daemon() -> Scratch {
    let mut scratch = Scratch::new().with(&["--listen", "127.0.0.1:0"]);
    scratch.put("web.yaml", &scratch.pool("web", 1, "", ""));
    let jobs = scratch.pool("jobs", 1, "[sh, -c, 'echo \"$0\"', \"$(payload.say)\"]", "  queue: {retry: {maxAttempts: 1}}\n");
    scratch.put("jobs.yaml", &jobs.replace("  replicas: 1\n", "  scale: {minReplicas: 0, maxReplicas: 1}\n"));
    scratch.put("guard.yaml", GUARD);
    let state = scratch.dir.join("state");
    fs::create_dir_all(&state).expect("made");
    fs::set_permissions(&state, fs::Permissions::from_mode(0o700)).expect("set");
    let lines: String = ["view", "submit", "operate"].iter().map(|role| format!("{role} {}\n", named(role))).collect();
    fs::write(state.join("tokens"), lines).expect("written");
    fs::set_permissions(state.join("tokens"), fs::Permissions::from_mode(0o600)).expect("set");
    scratch.start();
    wait("the address", || fs::read_to_string(state.join("listen")).ok(), || scratch.log());
    scratch.wait_status("workerpools", "web", |pool| pool["status"]["readyReplicas"] == 1);
    scratch.wait_status("workerpools", "jobs", |pool| pool["status"]["scaling"].is_object());
    scratch.wait_status("resourcepolicies", "guard", |policy| policy["status"]["conditions"].is_array());
    scratch
}

fn named(role: &str) -> String {
    format!("a-token-for-tests-of-the-role-{role}")
}

/// The token of a role.
pub fn token(_: &Scratch, role: &str) -> String {
    named(role)
}

/// Where the daemon listens.
pub fn address(scratch: &Scratch) -> String {
    fs::read_to_string(scratch.dir.join("state/listen")).expect("an address").trim().to_owned()
}

/// `ctl` as a child process, with these arguments.
pub async fn stdio(arguments: &[&str]) -> Client {
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_ctl"));
    command.args(arguments);
    Client(().serve(TokioChildProcess::new(command).expect("ctl starts")).await.expect("a handshake"))
}

/// `ctl` on the daemon's socket.
pub async fn over_stdio(scratch: &Scratch, arguments: &[&str]) -> Client {
    let state = scratch.dir.join("state").display().to_string();
    stdio(&[&["--state", &state], arguments].concat()).await
}

/// Over HTTP with a token.
pub async fn over_http(scratch: &Scratch, token: &str) -> Client {
    let config = StreamableHttpClientTransportConfig::with_uri(format!("http://{}/mcp", address(scratch))).auth_header(token);
    Client(().serve(StreamableHttpClientTransport::from_config(config)).await.expect("a handshake"))
}
