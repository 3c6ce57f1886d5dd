//! Everything that changes something: apply, create, patch, scale, delete, restart, prune.
//!
//! Each is translated to one of the few things that the engine's handle can be asked; what cannot be translated is refused
//! with words, never ignored.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::app::{App, Params, kind_of, params, value};
use super::refusal::{Refusal, bad, not_allowed, nowhere};
use super::wire::{Applied, BODY_BYTES_MAX, Details, GROUP, Outcome, Prune, Scale, ScaleMeta, ScaleSpec, ScaleStatus, Status};
use crate::engine::handle::{Edit, Edited};
use crate::model::status::{Kind, Object, PoolObject};

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

pub(super) fn is_dry(query: &BTreeMap<String, String>) -> Result<bool, Refusal> {
    match query.get("dryRun").map(String::as_str) {
        None | Some("") => Ok(false),
        Some("All") => Ok(true),
        Some(_) => Err(bad("dryRun must be All")),
    }
}

/// `POST /v1/apply`: documents as YAML text.
pub async fn apply(State(app): State<App>, query: Params, sent: Sent) -> Result<Json<Applied>, Refusal> {
    let (dry, text) = (is_dry(&params(query)?)?, text(sent)?);
    let edited = app.handle.edit(Edit::Apply { text }, dry).await?;
    Ok(Json(Applied { items: edited.into_iter().map(outcome).collect() }))
}

fn outcome(edited: Edited) -> Outcome {
    let kind = edited.kind.short_names().last().copied().unwrap_or_default().to_owned();
    Outcome { kind, name: edited.name, verb: edited.verb.into() }
}

/// `POST /apis/weir.dev/v1/workerpools`: one document as JSON or YAML.
pub async fn create(State(app): State<App>, Path(plural): Path<String>, query: Params, sent: Sent) -> Result<Response, Refusal> {
    let kind = kind_of(&plural)?;
    if !matches!(kind, Kind::Pool | Kind::Policy) {
        return Err(not_allowed("only workerpools and resourcepolicies can be created; workers follow from pools"));
    }
    let (dry, text) = (is_dry(&params(query)?)?, text(sent)?);
    // JSON is YAML.
    let document: Value =
        serde_saphyr::from_str(&text).map_err(|error| bad(format!("the body is neither JSON nor YAML: {error}")))?;
    let name = document.pointer("/metadata/name").and_then(Value::as_str).unwrap_or_default().to_owned();
    if app.handle.get(kind, &name).is_ok() {
        let details = Some(Details { name: name.clone(), group: GROUP.into(), kind: plural, ..Details::default() });
        let status = Status::failure(409, "AlreadyExists", format!("{} \"{name}\" already exists", kind.plural()));
        return Err(Status { details, ..status }.into());
    }
    app.handle.edit(Edit::Apply { text }, dry).await?;
    Ok((StatusCode::CREATED, Json(document)).into_response())
}

/// `DELETE …/{name}`: a pool's document is removed; a worker is ended and started again.
pub async fn delete(
    State(app): State<App>,
    Path((plural, name)): Path<(String, String)>,
    query: Params,
) -> Result<Json<Status>, Refusal> {
    let (kind, dry) = (kind_of(&plural)?, is_dry(&params(query)?)?);
    app.handle.get(kind, &name)?;
    match kind {
        Kind::Pool => drop(app.handle.edit(Edit::Delete { pool: name.clone() }, dry).await?),
        Kind::Policy => drop(app.handle.edit(Edit::DeletePolicy { policy: name.clone() }, dry).await?),
        Kind::Worker if dry => {}
        Kind::Worker => app.handle.restart(&name).await?,
        Kind::Event => return Err(not_allowed("events are history: they cannot be deleted")),
    }
    let details = Details { name, group: GROUP.into(), kind: plural, ..Details::default() };
    Ok(Json(Status { details: Some(details), ..Status::success("") }))
}

/// `POST /v1/prune`
pub async fn prune(State(app): State<App>, sent: Sent) -> Result<Json<Status>, Refusal> {
    let prune: Prune =
        serde_json::from_value(json_body(sent)?).map_err(|error| bad(format!("{{\"confirm\": TOKEN}}: {error}")))?;
    app.handle.prune(&prune.confirm).await?;
    Ok(Json(Status::success("confirmed")))
}

/// `PATCH …/workerpools/{name}`: a merge patch of `spec.replicas` and `metadata.annotations`.
pub async fn patch(
    State(app): State<App>,
    Path((plural, name)): Path<(String, String)>,
    (query, headers, sent): (Params, HeaderMap, Sent),
) -> Result<Json<Value>, Refusal> {
    let kind = kind_of(&plural)?;
    let dry = is_dry(&params(query)?)?;
    is_merge_patch(&headers)?;
    let patch = json_body(sent)?;
    let mut object = value(&*app.handle.get(kind, &name)?);
    let edits = match kind {
        Kind::Pool => edits(&name, &patch)?,
        Kind::Policy => super::policies::edits(&name, &patch)?,
        Kind::Worker | Kind::Event => return Err(not_allowed("only workerpools and resourcepolicies can be patched")),
    };
    for edit in edits {
        app.handle.edit(edit, dry).await?;
    }
    merge(&mut object, &patch);
    Ok(Json(object))
}

fn is_merge_patch(headers: &HeaderMap) -> Result<(), Refusal> {
    let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    match kind.split(';').next().map(str::trim) {
        Some("application/merge-patch+json") => Ok(()),
        Some(_) | None => {
            let message = "patches must be application/merge-patch+json (kubectl: --type=merge)";
            Err(Status::failure(415, "UnsupportedMediaType", message).into())
        }
    }
}

/// What a patch asks for.
fn edits(pool: &str, patch: &Value) -> Result<Vec<Edit>, Refusal> {
    let only =
        "only spec.replicas and metadata.annotations can be patched here: change the document (ctl edit, ctl apply) for the rest";
    let refuse = |path: &str| bad(format!("{path}: {only}"));
    let map = |value: &Value, path: &str| value.as_object().cloned().ok_or_else(|| refuse(path));
    let mut edits = Vec::new();
    for (key, value) in map(patch, "the patch")? {
        match key.as_str() {
            "apiVersion" | "kind" => {}
            "spec" => {
                for (key, value) in map(&value, "spec")? {
                    let replicas = Some(&value).filter(|_| key == "replicas").ok_or_else(|| refuse(&format!("spec.{key}")))?;
                    edits.push(Edit::Scale { pool: pool.into(), replicas: replicas_of(replicas)? });
                }
            }
            "metadata" => {
                for (key, value) in map(&value, "metadata")? {
                    let all = Some(&value).filter(|_| key == "annotations").ok_or_else(|| refuse(&format!("metadata.{key}")))?;
                    for (key, value) in map(all, "metadata.annotations")? {
                        edits.push(annotation(pool, key, &value)?);
                    }
                }
            }
            other => return Err(refuse(other)),
        }
    }
    if edits.is_empty() {
        return Err(bad(format!("the patch changes nothing: {only}")));
    }
    Ok(edits)
}

fn annotation(pool: &str, key: String, value: &Value) -> Result<Edit, Refusal> {
    let value = match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            return Err(bad("metadata.annotations: a value must be a string, or null to remove it"));
        }
    };
    Ok(Edit::Annotate { pool: pool.into(), key, value })
}

fn replicas_of(value: &Value) -> Result<u32, Refusal> {
    let replicas = value.as_u64().and_then(|n| u32::try_from(n).ok());
    replicas.ok_or_else(|| bad("spec.replicas must be a whole number from 0"))
}

/// RFC 7396.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let Some(object) = target.as_object_mut() else { return };
    for (key, value) in patch {
        if value.is_null() {
            object.remove(key);
        } else {
            merge(object.entry(key.clone()).or_insert(Value::Null), value);
        }
    }
}

fn pool(app: &App, name: &str) -> Result<PoolObject, Refusal> {
    match &*app.handle.get(Kind::Pool, name)? {
        Object::Pool(pool) => Ok((**pool).clone()),
        Object::Worker(_) | Object::Policy(_) | Object::Event(_) => {
            Err(Status::failure(500, "InternalError", "the board holds another kind here").into())
        }
    }
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
