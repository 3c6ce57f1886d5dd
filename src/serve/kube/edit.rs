//! Changes of a pool by PUT, PATCH and apply: each becomes an edit of the pool's document in its file.
//!
//! All of them are the same to us: an object as it is shown, and as it is wanted. What differs in metadata and spec is carried
//! over to the document; status is never read. What is run changes only by way of the socket.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::StatusCode};
use serde_json::{Value, json};

use super::splice::{carried, spliced};
use crate::engine::handle::{DocumentText, Edit};
use crate::model::document::check::Walk;
use crate::model::document::{Document, parse, schema, to_yaml, tree};
use crate::model::meta;
use crate::model::pool::{PoolSpec, WorkerPool};
use crate::model::source;
use crate::model::status::Kind;
use crate::serve::app::{App, value};
use crate::serve::auth::{Peer, forbidden};
use crate::serve::refusal::{Refusal, bad};
use crate::serve::wire::{Details, GROUP, Status};

/// Where kubectl keeps what was last applied. The file is what was last applied: it is shown here and never written.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// A change that is asked for.
pub struct Change<'a> {
    /// The pool.
    pub name: &'a str,
    /// Who asks.
    pub peer: Peer,
    /// Only say what would come of it.
    pub dry: bool,
    /// The answer is for kubectl: with what was last applied.
    pub kubectl: bool,
}

/// How a patch is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PatchKind {
    /// RFC 7396.
    Merge,
    /// RFC 6902.
    Json,
    /// Server-side apply: the fields of a document.
    Apply,
}

impl PatchKind {
    /// From the content type.
    ///
    /// # Errors
    /// 415.
    pub fn of(headers: &HeaderMap) -> Result<PatchKind, Refusal> {
        let kind = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        match kind.split(';').next().map(str::trim) {
            Some("application/merge-patch+json") => Ok(PatchKind::Merge),
            Some("application/json-patch+json") => Ok(PatchKind::Json),
            Some("application/apply-patch+yaml") => Ok(PatchKind::Apply),
            Some(_) | None => {
                let message =
                    "patches must be application/merge-patch+json, json-patch+json or apply-patch+yaml (kubectl: --type=merge)";
                Err(Status::failure(415, "UnsupportedMediaType", message).into())
            }
        }
    }
}

/// The object as it is wanted, after a patch.
///
/// # Errors
/// 400 and 422 for a patch that cannot be used.
pub fn patched(shown: &Value, kind: PatchKind, patch: &Value) -> Result<Value, Refusal> {
    let mut wanted = shown.clone();
    match kind {
        PatchKind::Merge | PatchKind::Apply if !patch.is_object() => return Err(bad("the patch must be an object")),
        PatchKind::Merge => json_patch::merge(&mut wanted, patch),
        PatchKind::Apply => json_patch::merge(&mut wanted, &without_null(patch)),
        PatchKind::Json => {
            let patch: json_patch::Patch =
                serde_json::from_value(patch.clone()).map_err(|error| bad(format!("the JSON patch does not hold: {error}")))?;
            let refused = |error: json_patch::PatchError| {
                Status::failure(422, "Invalid", format!("the JSON patch cannot be applied: {error}"))
            };
            json_patch::patch(&mut wanted, &patch).map_err(refused)?;
        }
    }
    Ok(wanted)
}

/// An applied document says what is to be there; kubectl writes times that are not known as null.
fn without_null(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            map.iter().filter(|(_, value)| !value.is_null()).map(|(key, value)| (key.clone(), without_null(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => value.clone(),
    }
}

/// Make the pool what is wanted, in its file, and show it.
///
/// # Errors
/// 403, 404, 409, 422: nothing was written then.
pub async fn replace(app: &App, change: &Change<'_>, wanted: Value) -> Result<Response, Refusal> {
    let shown = value(&*app.handle.get(Kind::Pool, change.name)?);
    agrees(change.name, &shown, &wanted)?;
    let (before, after) = (essence(&shown), essence(&wanted));
    if before == after {
        let mut shown = shown;
        if change.kubectl {
            with_last_applied(app, change.name, &mut shown).await;
        }
        return Ok(Json(shown).into_response());
    }
    let document = app.handle.text(change.name).await?;
    let Rewritten { text, pool, value, kept } =
        rewritten(&document, &before, &after).map_err(|refusal| refusal.naming(change.name))?;
    guard(change.peer, &spec_of(&shown)?, &pool.spec)?;
    if let Some(edit) = lesser(change.name, &before, &after) {
        app.handle.edit(edit, change.dry).await?;
    } else {
        app.handle.edit(Edit::Replace { pool: change.name.into(), text, version: document.version }, change.dry).await?;
    }
    let mut object = result(app, change, &shown, &pool);
    if change.kubectl {
        annotate(&mut object, &value);
    }
    let mut answer = Json(object).into_response();
    if !kept {
        let warning = "299 - \"the document could not be changed in place: it was written anew, without its comments\"";
        answer.headers_mut().insert(header::WARNING, HeaderValue::from_static(warning));
    }
    Ok(answer)
}

/// What of an object can be written: labels, annotations and spec.
fn essence(object: &Value) -> Value {
    let map = |name: &str| {
        object.pointer(&format!("/metadata/{name}")).filter(|map| !map.is_null()).cloned().unwrap_or_else(|| json!({}))
    };
    let mut annotations = map("annotations");
    annotations.as_object_mut().map(|annotations| annotations.remove(LAST_APPLIED));
    json!({"metadata": {"labels": map("labels"), "annotations": annotations}, "spec": object.get("spec")})
}

fn agrees(name: &str, shown: &Value, wanted: &Value) -> Result<(), Refusal> {
    let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    for (pointer, expected) in [("/metadata/name", name), ("/kind", "WorkerPool"), ("/apiVersion", "weir.dev/v1")] {
        let found = text(wanted, pointer);
        if found != expected {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            return Err(bad(format!(
                "{field} is {found:?} and cannot differ from {expected:?}: to rename a pool, create it anew"
            )));
        }
    }
    for pointer in ["/metadata/resourceVersion", "/metadata/uid"] {
        let (is, given) = (text(shown, pointer), text(wanted, pointer));
        if !given.is_empty() && is != given {
            let message = format!(
                "Operation cannot be fulfilled on workerpools.weir.dev \"{name}\": the object has been modified; please apply your \
                 changes to the latest version and try again"
            );
            let details =
                Some(Details { name: name.into(), group: GROUP.into(), kind: "workerpools".into(), ..Details::default() });
            return Err(Status { details, ..Status::failure(409, "Conflict", message) }.into());
        }
    }
    Ok(())
}

/// A document that was changed.
struct Rewritten {
    /// Its new text.
    text: String,
    /// What it means.
    pool: WorkerPool,
    /// What stands in it, without defaults.
    value: Value,
    /// Its comments were kept.
    kept: bool,
}

fn rewritten(document: &DocumentText, before: &Value, after: &Value) -> Result<Rewritten, Refusal> {
    let unread = || {
        Refusal::from(Status::failure(
            409,
            "Conflict",
            format!("{}: the document cannot be read as it stands: mend it first", document.file),
        ))
    };
    let node = tree::read(&document.text, 1).ok().flatten().ok_or_else(unread)?;
    let root = schema::schema(meta::Kind::WorkerPool);
    let written = Walk::new(root).value(&node, root).ok_or_else(unread)?;
    let wanted = without_empty(carried(&padded(&written), before, after), &written);
    let whole = to_yaml(&wanted);
    let meant = only_pool(&whole)?;
    let text = spliced(&document.text, &node, &written, &wanted);
    let kept = only_pool(&text).is_ok_and(|pool| pool == meant);
    Ok(Rewritten { text: if kept { text } else { whole }, pool: meant, value: wanted, kept })
}

/// With the maps that an essence always has.
fn padded(written: &Value) -> Value {
    let mut padded = written.clone();
    for name in ["labels", "annotations"] {
        if let Some(meta) = padded.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.entry(name).or_insert_with(|| json!({}));
        }
    }
    padded
}

/// Without those that nothing was put into.
fn without_empty(mut wanted: Value, written: &Value) -> Value {
    for name in ["labels", "annotations"] {
        let was = written.pointer(&format!("/metadata/{name}")) == Some(&json!({}));
        if let Some(meta) = wanted.get_mut("metadata").and_then(Value::as_object_mut)
            && meta.get(name) == Some(&json!({}))
            && !was
        {
            meta.remove(name);
        }
    }
    wanted
}

/// The one pool that a text is.
///
/// # Errors
/// 422 with all that is wrong, 400 for another number of documents.
pub fn only_pool(text: &str) -> Result<WorkerPool, Refusal> {
    let mut all = parse(text.as_bytes());
    match (all.pop(), all.is_empty()) {
        (Some(Ok(located)), true) => match located.document {
            Document::WorkerPool(pool) => Ok(pool.defaulted()),
            Document::ResourcePolicy(_) => Err(bad("expected a WorkerPool, found a ResourcePolicy")),
        },
        (Some(Err(refused)), true) => Err(crate::engine::handle::Denied::Invalid(refused.violations).into()),
        (_, _) => Err(bad("expected one document")),
    }
}

fn spec_of(shown: &Value) -> Result<PoolSpec, Refusal> {
    let spec = shown.get("spec").cloned().unwrap_or_default();
    serde_json::from_value(spec)
        .map_err(|error| Status::failure(500, "InternalError", format!("the shown spec cannot be read: {error}")).into())
}

/// A change of one thing that has an edit of its own, which leaves even more of the text alone.
fn lesser(pool: &str, before: &Value, after: &Value) -> Option<Edit> {
    if before["metadata"] == after["metadata"] {
        let mut but_replicas = before.clone();
        but_replicas["spec"]["replicas"] = after["spec"].get("replicas")?.clone();
        let replicas = u32::try_from(after["spec"]["replicas"].as_u64()?).ok()?;
        return (but_replicas == *after).then(|| Edit::Scale { pool: pool.into(), replicas });
    }
    None
}

/// What would be shown, or is.
fn result(app: &App, change: &Change<'_>, shown: &Value, pool: &WorkerPool) -> Value {
    let now = app.handle.get(Kind::Pool, change.name).ok().filter(|_| !change.dry);
    let mut object = now.map_or_else(|| shown.clone(), |object| value(&object));
    object["spec"] = json!(pool.spec);
    for (name, map) in [("labels", &pool.metadata.labels), ("annotations", &pool.metadata.annotations)] {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove(name);
            if !map.is_empty() {
                meta.insert(name.into(), json!(map));
            }
        }
    }
    object
}

/// What is run, and what secrets are sent where, changes by way of the socket alone.
///
/// # Errors
/// 403.
pub fn guard(peer: Peer, old: &PoolSpec, new: &PoolSpec) -> Result<(), Refusal> {
    if peer.may_change_commands() {
        return Ok(());
    }
    let (old, new) = (guarded(old), guarded(new));
    match old.iter().zip(&new).find(|((_, old), (_, new))| old != new) {
        Some(((field, _), _)) => Err(forbidden(&format!(
            "{field} says what is run or where secrets go: it can only be changed on this machine, by way of the socket (ctl apply, \
             ctl edit), by root or the user that weir runs as"
        ))),
        None => Ok(()),
    }
}

/// The guarded fields and what stands in them.
fn guarded(spec: &PoolSpec) -> [(&'static str, Value); 4] {
    let only_source = |mut trigger: Value| {
        if let Some(fields) = trigger.as_object_mut() {
            fields.retain(|name, _| source::NAMES.contains(&name.as_str()));
        }
        trigger
    };
    let triggers = spec.scale.iter().flat_map(|scale| &scale.triggers).map(|trigger| only_source(json!(trigger)));
    let webhooks = spec.queue.as_ref().map(|queue| json!(queue.webhooks));
    // The embedded queue is the pool's own: following it asks nobody else.
    [
        ("spec.template", json!(spec.template)),
        ("spec.notify", json!(spec.notify)),
        ("spec.queue.webhooks", webhooks.filter(|hooks| hooks != &json!([])).unwrap_or_default()),
        ("spec.scale.triggers", triggers.filter(|source| source.get("queue").is_none()).collect()),
    ]
}

/// A pool that is not there yet. It has a command, so only the socket brings one.
///
/// # Errors
/// 400, 403, 409, 422.
pub async fn create(app: &App, change: &Change<'_>, document: Value) -> Result<Response, Refusal> {
    let mut document = without_null(&document);
    if let Some(meta) = document.get_mut("metadata").and_then(Value::as_object_mut) {
        meta.retain(|key, _| ["name", "labels", "annotations"].contains(&key.as_str()));
        meta.get_mut("annotations").and_then(Value::as_object_mut).map(|annotations| annotations.remove(LAST_APPLIED));
    }
    if let Some(document) = document.as_object_mut() {
        document.remove("status");
    }
    let text = to_yaml(&document);
    let pool = only_pool(&text)?;
    if !change.peer.may_change_commands() {
        let why = "a new pool brings a command, spec.template: it can only be created on this machine, by way of the socket (ctl apply), \
                   by root or the user that weir runs as";
        return Err(forbidden(why));
    }
    let name = pool.metadata.name.clone();
    app.handle.edit(Edit::Apply { text }, change.dry).await?;
    let shown = app.handle.get(Kind::Pool, &name).ok().filter(|_| !change.dry);
    let shown = shown.map_or_else(|| json!(pool), |object| value(&object));
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// A pool as kubectl expects it: with what was last applied, which is what stands in the file.
pub async fn with_last_applied(app: &App, name: &str, object: &mut Value) {
    let Ok(document) = app.handle.text(name).await else { return };
    let root = schema::schema(meta::Kind::WorkerPool);
    let node = tree::read(&document.text, 1).ok().flatten();
    let written = node.and_then(|node| Walk::new(root).value(&node, root));
    if let Some(written) = written {
        annotate(object, &written);
    }
}

/// As kubectl would have written it, so that it finds what it has sent: sorted, with annotations, three characters in disguise.
fn annotate(object: &mut Value, written: &Value) {
    let mut written = padded(written);
    if let Some(meta) = written.get_mut("metadata").and_then(Value::as_object_mut)
        && meta.get("labels") == Some(&json!({}))
    {
        meta.remove("labels");
    }
    written.sort_all_objects();
    let text = written.to_string().replace('<', "\\u003c").replace('>', "\\u003e").replace('&', "\\u0026");
    if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let annotations = meta.entry("annotations").or_insert_with(|| json!({}));
        annotations[LAST_APPLIED] = format!("{text}\n").into();
    }
}
