//! `ctl mcp`: MCP on standard input and output, over the client that all commands use.
//!
//! Nothing but the protocol is written to the output. Ends when its input does.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hyper::Method;
use rmcp::ServiceExt;
use rmcp::model::Extensions;
use rmcp::transport::io::stdio_pipes;

use crate::ctl::client::{Client, Sent};
use crate::ctl::error::Failure;
use crate::ctl::time::now;
use crate::model::time::Wall;
use crate::serve::wire::mcp::{Answer, Door, Grant, Mcp, Request, collect};

/// Serve until the input ends.
///
/// # Errors
/// The transport broke, or whoever is there does not speak MCP.
pub(super) async fn run(client: Client, writes: bool) -> Result<(), Failure> {
    let grant = if writes { Grant::Operate } else { Grant::View };
    let serving = Mcp::new(Remote { client: Arc::new(client), grant }).serve(stdio_pipes()).await;
    let running = serving.map_err(|error| Failure::Usage(format!("ctl mcp speaks MCP on its input and output: {error}")))?;
    running.waiting().await.map(drop).map_err(|error| Failure::Internal(error.to_string()))
}

/// The daemon, by way of its socket or address.
struct Remote {
    client: Arc<Client>,
    grant: Grant,
}

impl Door for Remote {
    fn grant(&self, _: &Extensions) -> Grant {
        self.grant
    }

    fn ask(&self, _: &Extensions, request: Request) -> BoxFuture<'static, Result<Answer, String>> {
        let client = self.client.clone();
        Box::pin(async move {
            let sent = Sent::bytes(request.content_type(), request.bytes());
            let method: Method = request.method.parse().map_err(|_| format!("{} is no method", request.method))?;
            match client.send(method, &request.path, sent).await {
                Ok(answer) => {
                    let code = answer.status().as_u16();
                    Ok(Answer { code, body: collect(answer.into_body(), request.is_log).await? })
                }
                Err(Failure::Server(status)) => {
                    Ok(Answer { code: status.code, body: serde_json::to_vec(&status).unwrap_or_default() })
                }
                Err(failure) => Err(failure.text()),
            }
        })
    }

    fn now(&self) -> Wall {
        now()
    }
}
