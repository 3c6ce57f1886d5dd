//! Changes that are not of one Kubernetes object: apply, scale, prune; and how a body is read.
//!
//! Each is translated to one of the few things that the engine's handle can be asked; what cannot be translated is refused
//! with words, never ignored.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::Deserializer;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::app::{App, Params, kind_of, params, value};
use super::auth::Peer;
use super::kube::guard::guard;
use super::refusal::{Refusal, bad, nowhere};
use super::wire::{Applied, BODY_BYTES_MAX, Drained, Outcome, Prune, Scale, ScaleMeta, ScaleSpec, ScaleStatus, Status};
use crate::engine::handle::{Denied, DocumentText, Edit, Edited};
use crate::model::document::{Piece, Violation, parse, pieces, shown};
use crate::model::status::{Kind, Object, PoolObject};
use crate::model::task::{NewTask, SUBMIT};

/// `POST /v1/workers/{worker}/drain`: it takes no more tasks, and is replaced when it is idle.
pub async fn drain(State(app): State<App>, Path(worker): Path<String>) -> Result<Json<Drained>, Refusal> {
    let incarnation = app.handle.drain(&worker).await?;
    Ok(Json(Drained { incarnation }))
}

/// What came with a request.
pub(super) type Sent = Result<Bytes, BytesRejection>;

/// The body of a request.
pub(super) fn body(sent: Sent) -> Result<Bytes, Refusal> {
    sent.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            Status::failure(413, "RequestEntityTooLarge", format!("the body is larger than {BODY_BYTES_MAX} bytes")).into()
        }
        _ => bad(rejection.body_text()),
    })
}

fn text(sent: Sent) -> Result<String, Refusal> {
    String::from_utf8(body(sent)?.into()).map_err(|_| bad("the body is not UTF-8"))
}

pub(super) fn json_body(sent: Sent) -> Result<Value, Refusal> {
    serde_json::from_slice(&body(sent)?).map_err(|error| bad(format!("the body is not JSON: {error}")))
}

/// A type of ours from JSON.
///
/// # Errors
/// In words, with the field that does not hold.
pub(super) fn typed<'a, T: DeserializeOwned>(json: impl Deserializer<'a, Error = serde_json::Error>) -> Result<T, String> {
    serde_path_to_error::deserialize(json).map_err(|error| match error.path().to_string().as_str() {
        "." => error.inner().to_string(),
        path => format!("{path}: {}", error.inner()),
    })
}

/// A task as it was sent.
///
/// # Errors
/// In words, with the field that does not hold.
pub(super) fn new_task(value: Value) -> Result<NewTask, String> {
    if !value.is_object() {
        // A list would be read as the fields in their order.
        return Err("a task is an object, like {\"payload\": …}".into());
    }
    let task: NewTask = typed(value)?;
    Ok(NewTask { source: SUBMIT.into(), ..task })
}

/// A body of JSON or YAML; none is as `{}`.
pub(super) fn yaml_body(sent: Sent) -> Result<Value, Refusal> {
    let text = text(sent)?;
    if text.trim().is_empty() {
        return Ok(json!({}));
    }
    // JSON is YAML, but not each that is large or deep is read as fast.
    serde_json::from_str(&text)
        .or_else(|_| serde_saphyr::from_str(&text))
        .map_err(|error| bad(format!("the body is neither JSON nor YAML: {error}")))
}

pub(super) fn is_dry(query: &BTreeMap<String, String>) -> Result<bool, Refusal> {
    match query.get("dryRun").map(String::as_str) {
        None | Some("") => Ok(false),
        Some("All") => Ok(true),
        Some(_) => Err(bad("dryRun must be All")),
    }
}

/// `POST /v1/apply`: documents as YAML text, also as they are printed.
pub async fn apply(State(app): State<App>, peer: Peer, (query, sent): (Params, Sent)) -> Result<Json<Applied>, Refusal> {
    let (dry, text) = (is_dry(&params(query)?)?, text(sent)?);
    let meant = shown::documents(&text);
    let placed = |mut violations: Vec<Violation>| {
        violations.iter_mut().for_each(|violation| meant.place(violation));
        Denied::Invalid(violations)
    };
    allowed(&app, peer, &pieces(&meant.text).map_err(placed)?).await?;
    let edited = app.handle.edit(Edit::Apply { text: meant.text.to_string() }, dry).await?;
    Ok(Json(Applied { items: edited.into_iter().map(outcome).collect() }))
}

/// What is run and what is given away is not changed by everybody: neither what is in force, nor what stands in the file and is
/// not in force yet.
pub(super) async fn allowed(app: &App, peer: Peer, pieces: &[Piece<'_>]) -> Result<(), Refusal> {
    if peer.may_change_commands() {
        return Ok(());
    }
    for piece in pieces {
        let document = piece.document.clone().defaulted();
        let old = app.handle.get(document.kind().into(), document.name()).ok();
        let old = old.map(|object| value(&object)["spec"].take());
        guard(peer, old.as_ref(), &document)?;
        match app.handle.text(document.kind(), document.name()).await {
            Ok(standing) => meant(&standing).map_or(Ok(()), |standing| guard(peer, Some(&standing), &document))?,
            Err(Denied::NotFound { .. }) => {}
            Err(denied) => return Err(denied.into()),
        }
    }
    Ok(())
}

/// The spec that a document in a file says, defaults filled in; none where it says nothing that could be put in force.
fn meant(standing: &DocumentText) -> Option<Value> {
    let located = parse(standing.text.as_bytes()).pop()?.ok()?;
    Some(located.document.defaulted().spec())
}

fn outcome(edited: Edited) -> Outcome {
    let kind = edited.kind.short_names().last().copied().unwrap_or_default().to_owned();
    Outcome { kind, name: edited.name, verb: edited.verb.into() }
}

/// `POST /v1/prune`
pub async fn prune(State(app): State<App>, sent: Sent) -> Result<Json<Status>, Refusal> {
    let prune: Prune = typed(json_body(sent)?).map_err(|error| bad(format!("{{\"confirm\": TOKEN}}: {error}")))?;
    app.handle.prune(&prune.confirm).await?;
    Ok(Json(Status::success("confirmed")))
}

fn replicas_of(value: &Value) -> Result<u32, Refusal> {
    let replicas = value.as_u64().and_then(|n| u32::try_from(n).ok());
    replicas.ok_or_else(|| bad("spec.replicas must be a whole number from 0"))
}

fn pool(app: &App, name: &str) -> Result<PoolObject, Refusal> {
    let object = app.handle.get(Kind::Pool, name)?;
    let Object::Pool(pool) = &*object else {
        return Err(Status::failure(500, "InternalError", "the board holds another kind here").into());
    };
    Ok((**pool).clone())
}

/// The `scale` of a pool.
///
/// # Errors
/// 404.
pub fn scale_of(app: &App, name: &str) -> Result<Scale, Refusal> {
    let PoolObject { metadata, status, .. } = pool(app, name)?;
    Ok(Scale {
        kind: "Scale".into(),
        api_version: "autoscaling/v1".into(),
        metadata: ScaleMeta { name: metadata.name, resource_version: metadata.resource_version },
        spec: ScaleSpec { replicas: status.desired_replicas },
        status: ScaleStatus { replicas: status.replicas, selector: status.selector },
    })
}

/// `PUT` and `PATCH` of `…/workerpools/{name}/scale`.
pub async fn scale(
    State(app): State<App>,
    Path((plural, name, sub)): Path<(String, String, String)>,
    (query, sent): (Params, Sent),
) -> Result<Json<Scale>, Refusal> {
    if (kind_of(&plural)?, sub.as_str()) != (Kind::Pool, "scale") {
        return Err(nowhere(""));
    }
    let dry = is_dry(&params(query)?)?;
    let wanted = json_body(sent)?;
    let mut scale = scale_of(&app, &name)?;
    let version = wanted.pointer("/metadata/resourceVersion").and_then(Value::as_str).unwrap_or_default();
    if !version.is_empty() && version != scale.metadata.resource_version {
        let message = format!("workerpools \"{name}\" was changed meanwhile: read it again");
        return Err(Status::failure(409, "Conflict", message).into());
    }
    let replicas = replicas_of(wanted.pointer("/spec/replicas").unwrap_or(&Value::Null))?;
    app.handle.edit(Edit::Scale { pool: name, replicas }, dry).await?;
    scale.spec.replicas = replicas;
    Ok(Json(scale))
}
