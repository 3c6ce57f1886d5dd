//! Changes of a pool or a policy by PUT, PATCH and apply: each becomes an edit of the object's document in its file.
//!
//! All of them are the same to us: an object as it is shown, and as it is wanted. What differs in metadata and spec is carried
//! over to the document; status is never read. Who may change what is the guard's affair.

use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, http::StatusCode};
use serde_json::{Value, json};

use super::guard::guard;
use super::operations;
use super::splice::{carried, spliced};
use crate::engine::handle::{DocumentText, Edit};
use crate::model::document::check::Walk;
use crate::model::document::shown::LAST_APPLIED;
use crate::model::document::{Document, parse, schema, to_yaml, tree};
use crate::model::meta;
use crate::model::status::Kind;
use crate::serve::app::{App, value};
use crate::serve::auth::Peer;
use crate::serve::refusal::{Refusal, bad};
use crate::serve::wire::{Details, GROUP, Status};

/// How often a patch is made anew because its file was changed by somebody else meanwhile, as an API server does.
const TRIES: usize = 5;

/// A change that is asked for.
pub struct Change<'a> {
    /// What kind of object.
    pub kind: meta::Kind,
    /// Its name.
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
/// 400, 413 and 422 for a patch that cannot be used.
fn patched(shown: &Value, kind: PatchKind, patch: &Value) -> Result<Value, Refusal> {
    let mut wanted = shown.clone();
    match kind {
        PatchKind::Merge | PatchKind::Apply if !patch.is_object() => return Err(bad("the patch must be an object")),
        PatchKind::Merge => json_patch::merge(&mut wanted, patch),
        PatchKind::Apply => json_patch::merge(&mut wanted, &without_null(patch)),
        PatchKind::Json => operations::apply(&mut wanted, patch)?,
    }
    Ok(wanted)
}

/// Patch an object; one that is applied and not there yet is created.
///
/// # Errors
/// Those of [`patched`], [`replace`] and [`create`].
pub async fn patch(app: &App, change: &Change<'_>, kind: PatchKind, patch: Value) -> Result<Response, Refusal> {
    let _turn = app.turn().await;
    let mut tries = 1..=TRIES;
    loop {
        let shown = match app.handle.get(change.kind.into(), change.name) {
            Ok(shown) => value(&shown),
            Err(_) if kind == PatchKind::Apply => return create(app, change, patch).await,
            Err(denied) => return Err(denied.into()),
        };
        let wanted = patched(&shown, kind, &patch)?;
        match make(app, change, shown, wanted).await {
            // What the patch itself says of a version has not become truer: then this is refused again, and told at the end.
            Err(refusal) if refusal.is_conflict() && tries.next().is_some() => {}
            done => return done,
        }
    }
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

/// Make the object what is wanted, in its file, and show it.
///
/// # Errors
/// 403, 404, 409, 422: nothing was written then.
pub async fn replace(app: &App, change: &Change<'_>, wanted: Value) -> Result<Response, Refusal> {
    let _turn = app.turn().await;
    let shown = value(&*app.handle.get(change.kind.into(), change.name)?);
    make(app, change, shown, wanted).await
}

/// Make what is shown what is wanted.
async fn make(app: &App, change: &Change<'_>, shown: Value, wanted: Value) -> Result<Response, Refusal> {
    agrees(change, &shown, &wanted)?;
    let (before, after) = (essence(&shown), essence(&wanted));
    if before == after {
        let mut shown = shown;
        if change.kubectl {
            with_last_applied(app, change.kind, change.name, &mut shown).await;
        }
        return Ok(Json(shown).into_response());
    }
    let text = app.handle.text(change.kind, change.name).await?;
    let Rewritten { text, version, document, value, kept } =
        rewritten(change.kind, text, &before, &after).map_err(|refusal| refusal.naming(change.kind, change.name))?;
    guard(change.peer, Some(&shown["spec"]), &document)?;
    let (kind, name) = (change.kind, change.name.to_owned());
    let edit = lesser(change, &before, &after).unwrap_or(Edit::Replace { kind, name, text, version });
    app.handle.edit(edit, change.dry).await?;
    let mut object = result(app, change, &shown, &document);
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

fn agrees(change: &Change<'_>, shown: &Value, wanted: &Value) -> Result<(), Refusal> {
    let text = |object: &Value, pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
    for (pointer, expected) in
        [("/metadata/name", change.name), ("/kind", change.kind.name()), ("/apiVersion", meta::API_VERSION)]
    {
        let found = text(wanted, pointer);
        if found != expected {
            let field = pointer.trim_start_matches('/').replace('/', ".");
            return Err(bad(format!(
                "{field} is {found:?} and cannot differ from {expected:?}: to rename an object, create it anew"
            )));
        }
    }
    for pointer in ["/metadata/resourceVersion", "/metadata/uid"] {
        let (is, given) = (text(shown, pointer), text(wanted, pointer));
        if !given.is_empty() && is != given {
            let (plural, name) = (Kind::from(change.kind).plural(), change.name);
            let message = format!(
                "Operation cannot be fulfilled on {plural}.{GROUP} \"{name}\": the object has been modified; please apply your \
                 changes to the latest version and try again"
            );
            let details = Some(Details { name: name.into(), group: GROUP.into(), kind: plural.into(), ..Details::default() });
            return Err(Status { details, ..Status::failure(409, "Conflict", message) }.into());
        }
    }
    Ok(())
}

/// A document that was changed.
struct Rewritten {
    /// Its new text.
    text: String,
    /// The version of the text that it comes from.
    version: String,
    /// What it means.
    document: Document,
    /// What stands in it, without defaults.
    value: Value,
    /// Its comments were kept.
    kept: bool,
}

fn rewritten(kind: meta::Kind, old: DocumentText, before: &Value, after: &Value) -> Result<Rewritten, Refusal> {
    let unread = || {
        let message = format!("{}: the document cannot be read as it stands: mend it first", old.file);
        Refusal::from(Status::failure(409, "Conflict", message))
    };
    let node = tree::read(&old.text, 1).ok().flatten().ok_or_else(unread)?;
    let root = schema::schema(kind);
    let written = Walk::new(root).value(&node, root).ok_or_else(unread)?;
    let wanted = without_empty(carried(&padded(&written), before, after), &written);
    let whole = to_yaml(&wanted);
    let meant = only_document(kind, &whole)?;
    let text = spliced(&old.text, &node, &written, &wanted);
    let kept = only_document(kind, &text).is_ok_and(|document| document == meant);
    Ok(Rewritten { text: if kept { text } else { whole }, version: old.version, document: meant, value: wanted, kept })
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

/// The one document that a text is, defaults filled in.
///
/// # Errors
/// 422 with all that is wrong, 400 for another number of documents or another kind.
fn only_document(kind: meta::Kind, text: &str) -> Result<Document, Refusal> {
    let mut all = parse(text.as_bytes());
    match (all.pop(), all.is_empty()) {
        (Some(Ok(located)), true) if located.document.kind() == kind => Ok(located.document.defaulted()),
        (Some(Ok(located)), true) => Err(bad(format!("expected a {kind}, found a {}", located.document.kind()))),
        (Some(Err(mut refused)), true) => {
            // Places in a text that was made here, and that nobody has, help nobody.
            refused.violations.iter_mut().for_each(|violation| (violation.line, violation.column) = (0, 0));
            Err(crate::engine::handle::Denied::Invalid(refused.violations).into())
        }
        (_, _) => Err(bad("expected one document")),
    }
}

/// A change of one thing that has an edit of its own, which leaves even more of the text alone.
fn lesser(change: &Change<'_>, before: &Value, after: &Value) -> Option<Edit> {
    if change.kind == meta::Kind::WorkerPool && before["metadata"] == after["metadata"] {
        let mut but_replicas = before.clone();
        but_replicas["spec"]["replicas"] = after["spec"].get("replicas")?.clone();
        let replicas = u32::try_from(after["spec"]["replicas"].as_u64()?).ok()?;
        return (but_replicas == *after).then(|| Edit::Scale { pool: change.name.into(), replicas });
    }
    None
}

/// What would be shown, or is.
fn result(app: &App, change: &Change<'_>, shown: &Value, document: &Document) -> Value {
    let now = app.handle.get(change.kind.into(), change.name).ok().filter(|_| !change.dry);
    let mut object = now.map_or_else(|| shown.clone(), |object| value(&object));
    object["spec"] = document.spec();
    let metadata = document.metadata();
    for (name, map) in [("labels", &metadata.labels), ("annotations", &metadata.annotations)] {
        if let Some(meta) = object.get_mut("metadata").and_then(Value::as_object_mut) {
            meta.remove(name);
            if !map.is_empty() {
                meta.insert(name.into(), json!(map));
            }
        }
    }
    object
}

/// An object that is not there yet. A pool has a command and a policy has bounds, so only the socket brings one.
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
    let document = only_document(change.kind, &text)?;
    guard(change.peer, None, &document)?;
    app.handle.edit(Edit::Apply { text }, change.dry).await?;
    let shown = app.handle.get(change.kind.into(), document.name()).ok().filter(|_| !change.dry);
    let shown = shown.map_or_else(|| json!(document), |object| value(&object));
    Ok((StatusCode::CREATED, Json(shown)).into_response())
}

/// An object as kubectl expects it: with what was last applied, which is what stands in the file.
pub async fn with_last_applied(app: &App, kind: meta::Kind, name: &str, object: &mut Value) {
    let Ok(document) = app.handle.text(kind, name).await else { return };
    let root = schema::schema(kind);
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
