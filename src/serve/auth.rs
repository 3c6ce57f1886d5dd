//! Who may do what: the one table of endpoints and the role that each needs, and the gate that every request passes.
//!
//! What is not in the table is denied, whoever asks. On the network a request must also name this host, come from no other
//! site, and bring a token. Nothing here knows what the endpoints do.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use sha2::{Digest, Sha256};
use tracing::Instrument;

use super::refusal::{Refusal, not_allowed, nowhere};
use super::stall::Known;
use super::wire::Status;

/// What somebody may do; each may do all that the ones before it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Without a token: the dashboard's files, which say nothing.
    Nobody,
    /// Look.
    View,
    /// Give tasks.
    Submit,
    /// Change sizes, labels, tasks and queues; end workers.
    Operate,
    /// Whatever can be done from there; pools and policies are deleted by nobody else.
    Admin,
}

impl Role {
    /// Those that a token can have.
    pub const ALL: [Role; 4] = [Role::View, Role::Submit, Role::Operate, Role::Admin];

    /// As it is written beside a token.
    pub const fn name(self) -> &'static str {
        match self {
            Role::Nobody => "nobody",
            Role::View => "view",
            Role::Submit => "submit",
            Role::Operate => "operate",
            Role::Admin => "admin",
        }
    }
}

/// The road that a request came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// The Unix socket.
    Socket,
    /// TCP.
    Network,
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Peer {
    /// What they may do.
    pub role: Role,
    /// The road.
    pub transport: Transport,
}

impl Peer {
    /// Root or the daemon's own user, on the socket.
    pub const OWNER: Peer = Peer { role: Role::Admin, transport: Transport::Socket };

    /// What is run may be changed from the socket alone, by an admin.
    pub fn may_change_commands(self) -> bool {
        self.transport == Transport::Socket && self.role == Role::Admin
    }
}

impl<S: Sync> FromRequestParts<S> for Peer {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Peer, Refusal> {
        parts.extensions.get::<Peer>().copied().ok_or_else(|| forbidden("nobody knows who asks"))
    }
}

/// Method, path and the role that it needs. `{}` is any one segment. The first row that fits counts.
#[rustfmt::skip]
pub const TABLE: &[(&str, &str, Role)] = &[
    ("GET", "/", Role::Nobody),
    ("GET", "/web/{}", Role::Nobody),
    ("GET", "/healthz", Role::View),
    ("GET", "/livez", Role::View),
    ("GET", "/readyz", Role::View),
    ("GET", "/metrics", Role::View),
    ("GET", "/version", Role::View),
    ("GET", "/api", Role::View),
    ("GET", "/api/v1", Role::View),
    ("GET", "/apis", Role::View),
    ("GET", "/apis/{}", Role::View),
    ("GET", "/apis/{}/{}", Role::View),
    ("GET", "/openapi/v2", Role::View),
    ("GET", "/openapi/v3", Role::View),
    ("GET", "/openapi/v3/api/v1", Role::View),
    ("GET", "/openapi/v3/apis/{}/{}", Role::View),
    ("GET", "/api/v1/namespaces", Role::View),
    ("GET", "/api/v1/namespaces/{}", Role::View),
    ("GET", "/api/v1/pods", Role::View),
    ("GET", "/api/v1/events", Role::View),
    ("GET", "/api/v1/namespaces/{}/pods", Role::View),
    ("GET", "/api/v1/namespaces/{}/pods/{}", Role::View),
    ("GET", "/api/v1/namespaces/{}/pods/{}/log", Role::View),
    ("GET", "/api/v1/namespaces/{}/events", Role::View),
    ("GET", "/api/v1/namespaces/{}/events/{}", Role::View),
    ("GET", "/apis/events.k8s.io/v1/events", Role::View),
    ("GET", "/apis/events.k8s.io/v1/namespaces/{}/events", Role::View),
    ("GET", "/apis/events.k8s.io/v1/namespaces/{}/events/{}", Role::View),
    ("GET", "/apis/metrics.k8s.io/v1beta1/pods", Role::View),
    ("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods", Role::View),
    ("GET", "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods/{}", Role::View),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", Role::View),
    ("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", Role::View),
    ("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", Role::View),
    ("GET", "/apis/weir.dev/v1/{}", Role::View),
    ("GET", "/apis/weir.dev/v1/{}/{}", Role::View),
    ("GET", "/apis/weir.dev/v1/{}/{}/{}", Role::View),
    ("POST", "/apis/weir.dev/v1/tasks", Role::Submit),
    ("POST", "/apis/weir.dev/v1/{}", Role::Operate),
    ("PUT", "/apis/weir.dev/v1/{}/{}", Role::Operate),
    ("PATCH", "/apis/weir.dev/v1/{}/{}", Role::Operate),
    ("DELETE", "/apis/weir.dev/v1/workers/{}", Role::Operate),
    ("DELETE", "/apis/weir.dev/v1/tasks/{}", Role::Operate),
    // A document that is gone cannot be brought back over the network.
    ("DELETE", "/apis/weir.dev/v1/{}/{}", Role::Admin),
    ("PUT", "/apis/weir.dev/v1/{}/{}/scale", Role::Operate),
    ("PATCH", "/apis/weir.dev/v1/{}/{}/scale", Role::Operate),
    ("PUT", "/apis/weir.dev/v1/{}/{}/document", Role::Operate),
    ("POST", "/mcp", Role::View),
    ("POST", "/v1/apply", Role::Operate),
    ("POST", "/v1/prune", Role::Admin),
    ("POST", "/v1/pools/{}/tasks", Role::Submit),
    ("GET", "/v1/pools/{}/capacity", Role::View),
    ("POST", "/v1/pools/{}/queue/{}", Role::Operate),
    ("POST", "/v1/pools/{}/lease", Role::Operate),
    ("GET", "/v1/pools/{}/leases", Role::Operate),
    ("POST", "/v1/leases/{}/{}", Role::Operate),
    ("GET", "/v1/policies/{}/{}", Role::View),
    ("POST", "/v1/policies/{}/{}", Role::Operate),
    ("PUT", "/v1/policies/{}/{}", Role::Operate),
    ("GET", "/v1/usage", Role::View),
    ("GET", "/v1/events", Role::View),
    ("POST", "/v1/workers/{}/drain", Role::Operate),
    ("GET", "/v1/tasks", Role::View),
    ("GET", "/v1/tasks/{}", Role::View),
    ("DELETE", "/v1/tasks/{}", Role::Operate),
    ("GET", "/v1/tasks/{}/log", Role::View),
    ("POST", "/v1/tasks/{}/{}", Role::Operate),
];

/// What a request needs: a role; or it is denied to all, with words.
///
/// # Errors
/// 404 for a path that is not in the table, 405 for a method that is not.
pub fn needed(method: &Method, path: &str) -> Result<Role, Refusal> {
    matched(method, path).map(|(_, role)| role)
}

/// The row of a request: its pattern, which holds nothing that the caller wrote, and the role that it needs.
///
/// # Errors
/// As [`needed`].
fn matched(method: &Method, path: &str) -> Result<(&'static str, Role), Refusal> {
    let method = if *method == Method::HEAD { "GET" } else { method.as_str() };
    // As handlers see them: a letter in disguise must not find a row of its own.
    let segments: Vec<String> = path.split('/').skip(1).map(decoded).collect();
    let fits = |pattern: &str| {
        let mut wanted = pattern.split('/').skip(1);
        let all = segments
            .iter()
            .all(|segment| wanted.next().is_some_and(|want| if want == "{}" { !segment.is_empty() } else { want == segment }));
        all && wanted.next().is_none()
    };
    let mut known = false;
    for (allowed, pattern, role) in TABLE {
        if fits(pattern) {
            known = true;
            if *allowed == method {
                return Ok((pattern, *role));
            }
        }
    }
    Err(if known { not_allowed("the server does not allow this method on the requested resource") } else { nowhere("") })
}

fn decoded(segment: &str) -> String {
    let (bytes, mut out, mut at) = (segment.as_bytes(), Vec::new(), 0);
    while at < bytes.len() {
        let hex = bytes.get(at + 1..at + 3).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex.filter(|_| bytes[at] == b'%') {
            Some(byte) => {
                out.push(byte);
                at += 3;
            }
            None => {
                out.push(bytes[at]);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The gate: the caller is known by now; whether the table lets them is said here.
///
/// # Errors
/// 403, 404, 405.
pub async fn gate(peer: Peer, request: Request, next: Next) -> Result<Response, Refusal> {
    let (route, needs) = matched(request.method(), request.uri().path())?;
    if peer.role < needs {
        let (has, needs) = (peer.role.name(), needs.name());
        return Err(forbidden(&format!(
            "this token has the role {has}; {} {} needs {needs}",
            request.method(),
            request.uri().path()
        )));
    }
    // Not the path itself: that of a lease has its token in it.
    let span = tracing::debug_span!(
        "request",
        otel.kind = "server",
        http.request.method = request.method().as_str(),
        http.route = route,
        weir.role = peer.role.name(),
        http.response.status_code = tracing::field::Empty
    );
    let answer = next.run(request).instrument(span.clone()).await;
    span.record("http.response.status_code", answer.status().as_u16());
    Ok(answer)
}

/// A refusal of somebody who is known.
pub fn forbidden(message: &str) -> Refusal {
    Status::failure(403, "Forbidden", message).into()
}

/// The tokens there are at this moment, with the names of their roles. None where they cannot be read as they stand.
pub type Grants = Arc<dyn Fn() -> Option<Vec<(String, String)>> + Send + Sync>;

/// What the network's gate knows.
#[derive(Clone)]
pub struct Network {
    /// The tokens.
    pub grants: Grants,
    /// The address that is listened on; a name that leads here by way of somebody's DNS is not it.
    pub own: IpAddr,
}

/// The network's gate: host, origin, content type and token, in this order; then who asks is known.
///
/// # Errors
/// 401, 403, 415.
pub async fn network(State(network): State<Network>, mut request: Request, next: Next) -> Result<Response, Response> {
    network.is_addressed(&request).map_err(|why| forbidden(why).into_response())?;
    let open = matches!(needed(request.method(), request.uri().path()), Ok(Role::Nobody));
    let shown = network.role(request.headers());
    if let Some(known) = request.extensions().get::<Known>().filter(|_| shown.is_ok()) {
        known.set();
    }
    let role = shown.or_else(|why| if open { Ok(Role::Nobody) } else { Err(why) });
    let role = role.map_err(IntoResponse::into_response)?;
    no_form(request.headers()).map_err(IntoResponse::into_response)?;
    request.extensions_mut().insert(Peer { role, transport: Transport::Network });
    Ok(next.run(request).await)
}

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

impl Network {
    /// Whether a request is meant for this server and was not sent by another site's page.
    fn is_addressed(&self, request: &Request) -> Result<(), &'static str> {
        let headers = request.headers();
        let other = "the Host header does not name this server: use its address, or localhost";
        let host = single(headers, &header::HOST).ok_or(other)?;
        let authority = request.uri().authority().map(|authority| authority.as_str());
        if !self.names_us(host) || authority.is_some_and(|authority| !self.names_us(authority)) {
            return Err(other);
        }
        if headers.contains_key(header::ORIGIN) {
            let same = |origin: &str| origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://")) == Some(host);
            if !single(headers, &header::ORIGIN).is_some_and(same) {
                return Err("requests from pages of other origins are not answered");
            }
        }
        match single(headers, &SEC_FETCH_SITE) {
            Some("same-origin" | "none") => Ok(()),
            None if !headers.contains_key(SEC_FETCH_SITE) => Ok(()),
            Some(_) | None => Err("requests from pages of other sites are not answered"),
        }
    }

    fn names_us(&self, host: &str) -> bool {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()) => name,
            Some(_) | None => host,
        };
        if name.eq_ignore_ascii_case("localhost") {
            return true;
        }
        let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
        bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback() || ip == self.own)
    }

    /// The role of the token that came along. All tokens are looked at, whatever the first ones say.
    fn role(&self, headers: &HeaderMap) -> Result<Role, Stranger> {
        let token = bearer(headers).ok_or(Stranger::ShowsNothing)?;
        let given = Sha256::digest(token.as_bytes());
        let mut found = None;
        for (role, token) in (self.grants)().ok_or(Stranger::NobodyIsKnown)? {
            let known = Sha256::digest(token.as_bytes());
            let differs = given.iter().zip(known.iter()).fold(0, |differs, (a, b)| differs | (a ^ b));
            if differs == 0 {
                found = found.max(Role::ALL.into_iter().find(|known| known.name() == role));
            }
        }
        found.ok_or(Stranger::IsNotKnown)
    }
}

/// The token of a request.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = single(headers, &header::AUTHORIZATION)?.split_once(' ')?;
    Some(token).filter(|token| scheme.eq_ignore_ascii_case("bearer") && !token.is_empty())
}

/// The value of a header that must be there once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut all = headers.get_all(name).iter();
    let value = all.next()?.to_str().ok()?;
    all.next().is_none().then_some(value)
}

/// What a page can send anywhere without being asked is not taken.
fn no_form(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).map(|kind| kind.to_str().unwrap_or("?").to_ascii_lowercase());
    let kind = kind.as_deref().unwrap_or("application/json").split(';').next().unwrap_or_default().trim().to_owned();
    match kind.as_str() {
        "application/x-www-form-urlencoded" | "multipart/form-data" | "text/plain" | "?" => {
            Err(Status::failure(415, "UnsupportedMediaType", format!("{kind}: send JSON or YAML")).into())
        }
        _ => Ok(()),
    }
}

/// Why somebody is not let in.
enum Stranger {
    /// No token came along.
    ShowsNothing,
    /// Not this token.
    IsNotKnown,
    /// No token is believed now. What is wrong with their files is nothing for strangers.
    NobodyIsKnown,
}

impl IntoResponse for Stranger {
    fn into_response(self) -> Response {
        let message = match self {
            Stranger::ShowsNothing => {
                "a token is needed: Authorization: Bearer TOKEN, with that of the state directory's file token (see ctl kubeconfig)"
            }
            Stranger::IsNotKnown => {
                "this token is not known: it must stand in the state directory's file token or tokens (see ctl kubeconfig)"
            }
            Stranger::NobodyIsKnown => "nobody is let in: the daemon's log says what is wrong with the tokens file",
        };
        let status = Refusal::from(Status::failure(401, "Unauthorized", message));
        let challenge = (header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"weir\""));
        ([challenge], status).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_of_a_request_is_nothing_that_the_caller_wrote() {
        let path = "/v1/leases/web.1.1.0123456789abcdef/complete";
        assert_eq!(matched(&Method::POST, path).ok(), Some(("/v1/leases/{}/{}", Role::Operate)));
    }
}
