//! The dashboard: one set of files that is part of the program, so that the page is always the daemon's own.
//!
//! Nothing here is secret and nothing is computed: the page asks the same API as every other client, with its token. The
//! headers keep it from loading or running anything that is not in this set, and from being framed.

use axum::Router;
use axum::extract::Path;
use axum::http::{HeaderName, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::refusal::nowhere;

const JS: &str = "text/javascript; charset=utf-8";

/// The files: name, type, content.
const FILES: &[(&str, &str, &str)] = &[
    ("actions.js", JS, include_str!("web/actions.js")),
    ("api.js", JS, include_str!("web/api.js")),
    ("charts.js", JS, include_str!("web/charts.js")),
    ("dom.js", JS, include_str!("web/dom.js")),
    ("main.js", JS, include_str!("web/main.js")),
    ("parts.js", JS, include_str!("web/parts.js")),
    ("policy.js", JS, include_str!("web/policy.js")),
    ("store.js", JS, include_str!("web/store.js")),
    ("views.js", JS, include_str!("web/views.js")),
    ("style.css", "text/css; charset=utf-8", include_str!("web/style.css")),
];

const INDEX: &str = include_str!("web/index.html");

/// Sent with every file.
const HEADERS: [(HeaderName, &str); 6] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::REFERRER_POLICY, "no-referrer"),
    // A new daemon brings a new page.
    (header::CACHE_CONTROL, "no-cache"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
];

/// `/` and `/web/{file}`.
pub fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/", get(|| async { file("text/html; charset=utf-8", INDEX) })).route("/web/{file}", get(one))
}

async fn one(Path(name): Path<String>) -> Response {
    match FILES.iter().find(|(file, _, _)| *file == name) {
        Some((_, kind, content)) => file(kind, content),
        None => nowhere("").into_response(),
    }
}

fn file(kind: &'static str, content: &'static str) -> Response {
    (StatusCode::OK, HEADERS, [(header::CONTENT_TYPE, kind)], content).into_response()
}
