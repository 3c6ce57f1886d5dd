//! How a refusal leaves the house: the one table from the engine's refusals to Kubernetes' `Status`.
//!
//! Every error that a client sees is a `Status` object, whatever went wrong and wherever.

use axum::Json;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::wire::{Cause, Details, GROUP, Status};
use crate::engine::handle::{Denied, Gone, UNKEPT_AGAIN};
use crate::model::document::Violation;
use crate::model::meta;
use crate::model::status::Kind;
use crate::model::time::Span;

/// A `Status` on its way out.
#[derive(Debug)]
pub struct Refusal(Box<Status>);

impl Refusal {
    /// What is sent.
    #[must_use]
    pub fn status(&self) -> &Status {
        &self.0
    }

    /// Something else was changed first: the same may be granted to whoever looks again.
    #[must_use]
    pub fn is_conflict(&self) -> bool {
        self.0.code == 409
    }

    /// With the name of the object that it is about, where it says that it is about one.
    #[must_use]
    pub fn naming(mut self, kind: meta::Kind, name: &str) -> Refusal {
        if let Some(details) = self.0.details.as_mut().filter(|details| details.name.is_empty()) {
            details.name = name.into();
            details.kind = Kind::from(kind).plural().into();
        }
        self
    }
}

impl From<Status> for Refusal {
    fn from(status: Status) -> Refusal {
        Refusal(Box::new(status))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let code = StatusCode::from_u16(self.0.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let again = self.0.details.as_ref().and_then(|details| details.retry_after_seconds);
        let headers: HeaderMap = again.map(|seconds| (header::RETRY_AFTER, HeaderValue::from(seconds))).into_iter().collect();
        (code, headers, Json(*self.0)).into_response()
    }
}

impl From<Denied> for Status {
    fn from(denied: Denied) -> Status {
        let (code, reason) = match &denied {
            Denied::NotFound { .. } => (404, "NotFound"),
            Denied::Invalid(_) => (422, "Invalid"),
            Denied::Refused(_) => (400, "BadRequest"),
            Denied::Full { .. } => (429, "TooManyRequests"),
            Denied::Conflict(_) => (409, "Conflict"),
            Denied::ReadOnly => (403, "Forbidden"),
            Denied::Internal(_) => (500, "InternalError"),
            Denied::Unanswered(_) | Denied::Unkept(_) | Denied::Ending => (503, "ServiceUnavailable"),
        };
        let status = Status::failure(code, reason, denied.to_string());
        let details = match denied {
            Denied::NotFound { kind, name, .. } => Some(about(kind, &name)),
            Denied::Invalid(violations) => {
                Some(Details { causes: violations.iter().map(cause).collect(), ..about("workerpools", "") })
            }
            Denied::Full { retry_after, .. } => Some(again(retry_after)),
            Denied::Unkept(_) => Some(again(UNKEPT_AGAIN)),
            Denied::Refused(_)
            | Denied::Conflict(_)
            | Denied::ReadOnly
            | Denied::Internal(_)
            | Denied::Unanswered(_)
            | Denied::Ending => None,
        };
        Status { details, ..status }
    }
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Refusal {
        Status::from(denied).into()
    }
}

impl From<Gone> for Status {
    fn from(gone: Gone) -> Status {
        Status::expired(gone.to_string())
    }
}

impl From<Gone> for Refusal {
    fn from(gone: Gone) -> Refusal {
        Status::from(gone).into()
    }
}

/// Rounded up: a second too early is another refusal.
fn again(after: Span) -> Details {
    Details { retry_after_seconds: Some(after.0.div_ceil(1000)), ..Details::default() }
}

fn about(kind: &str, name: &str) -> Details {
    Details { name: name.into(), group: GROUP.into(), kind: kind.into(), ..Details::default() }
}

/// With its place in the text, where it is one that the client sent; else the field alone says where it is.
fn cause(violation: &Violation) -> Cause {
    let message = match violation.line {
        0 => Violation { path: String::new(), ..violation.clone() }.to_string(),
        line => format!("{line}:{}: {violation}", violation.column),
    };
    Cause { reason: "FieldValueInvalid".into(), message, field: violation.path.clone() }
}

/// The request does not hold.
pub fn bad(message: impl Into<String>) -> Refusal {
    Status::failure(400, "BadRequest", message).into()
}

/// There is no such place.
pub fn nowhere(what: &str) -> Refusal {
    Status::failure(404, "NotFound", format!("the server could not find the requested resource{what}")).into()
}

/// The place is there, and that cannot be done to it.
pub fn not_allowed(message: &str) -> Refusal {
    Status::failure(405, "MethodNotAllowed", message).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Span;

    #[test]
    fn every_refusal_has_its_code() {
        let named = Denied::NotFound { kind: "workers", name: "x".into(), hint: String::new() };
        for (denied, code, reason) in [
            (named, 404, "NotFound"),
            (Denied::Invalid(vec![Violation::default()]), 422, "Invalid"),
            (Denied::Refused("r".into()), 400, "BadRequest"),
            (Denied::Conflict("c".into()), 409, "Conflict"),
            (Denied::Full { message: "f".into(), retry_after: Span::millis(1) }, 429, "TooManyRequests"),
            (Denied::ReadOnly, 403, "Forbidden"),
            (Denied::Internal("i".into()), 500, "InternalError"),
            (Denied::Unanswered(Span::millis(1)), 503, "ServiceUnavailable"),
            (Denied::Ending, 503, "ServiceUnavailable"),
        ] {
            let status = Status::from(denied);
            assert_eq!((status.code, status.reason.as_str(), status.status.as_str()), (code, reason, "Failure"));
        }
        assert_eq!(Status::from(Gone).code, 410);
    }

    #[test]
    fn a_cause_names_its_field_once_and_a_place_where_there_is_one() {
        let wrong =
            |line| Violation { line, column: 3, path: "spec.x".into(), message: "is wrong".into(), ..Violation::default() };
        assert_eq!((cause(&wrong(5)).message.as_str(), cause(&wrong(5)).field.as_str()), ("5:3: spec.x: is wrong", "spec.x"));
        assert_eq!((cause(&wrong(0)).message.as_str(), cause(&wrong(0)).field.as_str()), ("is wrong", "spec.x"));
    }
}
