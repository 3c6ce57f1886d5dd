//! `/mcp`: MCP over HTTP, stateless, with what the caller's role grants.
//!
//! Each tool goes through the other routes in this process as the caller, so their gate has the last word. Who the caller is
//! was found out before this is reached; pages of browsers are not answered at all.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{self, header};
use axum::{Router, middleware};
use futures_util::future::BoxFuture;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use rmcp::model::Extensions;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};

use super::auth::{self, Peer, Role};
use super::wire::BODY_BYTES_MAX;
use super::wire::mcp::{Answer, Door, Grant, Mcp, Request, collect};
use crate::engine::handle::Handle;
use crate::model::time::{Span, Wall};

/// The one route, in front of these.
pub fn router(rest: Router, handle: Handle) -> Router {
    let mcp = Mcp::new(Inside { rest, handle });
    // No sessions: nothing is kept of a client between two requests. Hosts were looked at by the network's gate, which knows
    // on which address it listens; the socket has none.
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(BODY_BYTES_MAX)
        .disable_allowed_hosts()
        .enforce_origin_validation();
    let service = StreamableHttpService::new(move || Ok(mcp.clone()), Arc::new(NeverSessionManager::default()), config);
    Router::new().route_service("/mcp", service).layer(middleware::from_fn(auth::gate))
}

/// The routes of this process.
struct Inside {
    rest: Router,
    handle: Handle,
}

/// Who sent the request; none is known only where the gate was left out, and then nothing is granted.
fn peer(caller: &Extensions) -> Option<Peer> {
    caller.get::<http::request::Parts>()?.extensions.get::<Peer>().copied()
}

impl Door for Inside {
    fn grant(&self, caller: &Extensions) -> Grant {
        match peer(caller).map(|peer| peer.role) {
            Some(Role::Operate | Role::Admin) => Grant::Operate,
            Some(Role::Submit) => Grant::Submit,
            Some(Role::View | Role::Nobody) | None => Grant::View,
        }
    }

    fn ask(&self, caller: &Extensions, request: Request) -> BoxFuture<'static, Result<Answer, String>> {
        let (rest, peer) = (TowerToHyperService::new(self.rest.clone()), peer(caller));
        Box::pin(async move {
            let mut builder = http::Request::builder().method(request.method).uri(&request.path);
            builder = builder.header(header::CONTENT_TYPE, request.content_type());
            if let Some(peer) = peer {
                builder = builder.extension(peer);
            }
            let sent = builder.body(Body::from(request.bytes())).map_err(|error| error.to_string())?;
            let Ok(answer) = rest.call(sent).await;
            let code = answer.status().as_u16();
            Ok(Answer { code, body: collect(answer.into_body(), request.is_log).await? })
        })
    }

    fn now(&self) -> Wall {
        self.handle.later(Span::default())
    }
}
