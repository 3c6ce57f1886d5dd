//! Lists and single objects of a view, in the shape that the client wants, filtered and in pages.
//!
//! Pages are cut from what is there when each is asked for; all of them bear the version of the first, so that a watch from
//! there misses nothing.

use axum::Json;
use axum::http::header::WARNING;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::table::{Shape, metadata_of, row_of, shape, table};
use super::view::{Place, View};
use super::watch::watch;
use crate::model::reading::counted;
use crate::model::time::Span;
use crate::serve::app::{App, Filter, Query, flag, number};
use crate::serve::refusal::{Refusal, bad};
use crate::serve::wire::{Details, ListMeta, Status};

/// A list, or a watch where that is asked for.
///
/// # Errors
/// 400, 406, 410, 429.
pub fn list(app: &App, place: Place, query: &Query, headers: &HeaderMap) -> Result<Response, Refusal> {
    let shape = shape(headers, query)?;
    let filter = Filter::new(query, place.view.fields())?;
    if flag(query, "watch")? {
        return watch(app, place, filter, (shape, query));
    }
    let (now_version, mut objects) = app.handle.list(place.view.kind());
    if !place.is_there() {
        objects.clear();
    }
    let (version, after) = page(query, now_version)?;
    objects.retain(|object| object.meta().name > after);
    let rendered = objects.iter().map(|object| (object, place.view.render(&app.handle, object)));
    let mut wanted: Vec<_> = rendered.filter(|(_, rendered)| filter.wants(rendered)).collect();
    let most =
        number(query, "limit")?.filter(|most| *most > 0).map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX));
    let left = wanted.len().saturating_sub(most);
    wanted.truncate(most);
    let mut metadata = ListMeta { resource_version: version.to_string(), ..ListMeta::default() };
    if let Some((last, _)) = wanted.last().filter(|_| left > 0) {
        metadata.go_on = URL_SAFE_NO_PAD.encode(format!("{version}/{}", last.meta().name));
        metadata.remaining_item_count = Some(left as u64);
    }
    let now = app.handle.later(Span::default());
    let (view, metadata) = (place.view, json!(metadata));
    let warning: HeaderMap = warning(app, view).into_iter().map(|text| (WARNING, text)).collect();
    let list = Json(match shape {
        Shape::Table(include) => {
            let rows: Vec<Value> =
                wanted.iter().map(|(object, rendered)| row_of(view, object, rendered, (include, now))).collect();
            let mut all = table(view, "");
            all["metadata"] = metadata;
            all["rows"] = rows.into();
            all
        }
        Shape::Metadata => {
            let items: Vec<Value> = wanted.iter().map(|(_, rendered)| metadata_of(rendered)).collect();
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items})
        }
        Shape::Whole => {
            let items: Vec<Value> = wanted.into_iter().map(|(_, rendered)| rendered).collect();
            json!({"kind": format!("{}List", view.kind_name()), "apiVersion": view.api_version(), "metadata": metadata, "items": items})
        }
    });
    Ok((warning, list).into_response())
}

/// What kubectl and ctl say beside a list: documents that are refused are not in it.
fn warning(app: &App, view: View) -> Option<HeaderValue> {
    let strays = match view {
        View::Plain(kind) => app.handle.strays(kind),
        View::Pod | View::Event { .. } => Vec::new(),
    };
    let first = strays.first()?;
    let named =
        first.name.as_ref().map_or_else(String::new, |name| format!(" ({name}{})", if strays.len() > 1 { ", …" } else { "" }));
    let are = if strays.len() == 1 { "is" } else { "are" };
    let text = format!("{}{named} {are} refused and not shown here: see the events", counted(strays.len() as u64, "document"));
    HeaderValue::from_str(&format!("299 - \"{}\"", text.replace('…', "..."))).ok()
}

/// The version of the first page, and the name after which this one begins.
fn page(query: &Query, now: u64) -> Result<(u64, String), Refusal> {
    let Some(token) = query.get("continue").filter(|token| !token.is_empty()) else { return Ok((now, String::new())) };
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(token).ok()?).ok()?;
        let (version, name) = text.split_once('/')?;
        Some((version.parse().ok()?, name.to_owned()))
    };
    read().ok_or_else(|| bad("continue: this token is not from here: list again from the start"))
}

/// One object.
///
/// # Errors
/// 404, 406.
pub fn one(app: &App, place: &Place, name: &str, (query, headers): (&Query, &HeaderMap)) -> Result<Response, Refusal> {
    let shape = shape(headers, query)?;
    let view = place.view;
    if !place.is_there() {
        return Err(missing(view, name));
    }
    let object = app.handle.get(view.kind(), name).map_err(|denied| match view {
        View::Plain(_) => denied.into(),
        View::Pod | View::Event { .. } => missing(view, name),
    })?;
    let rendered = view.render(&app.handle, &object);
    Ok(Json(match shape {
        Shape::Whole => rendered,
        Shape::Metadata => metadata_of(&rendered),
        Shape::Table(include) => {
            let mut all = table(view, &object.meta().resource_version);
            all["rows"] = json!([row_of(view, &object, &rendered, (include, app.handle.later(Span::default())))]);
            all
        }
    })
    .into_response())
}

/// 404 in Kubernetes' words.
pub fn missing(view: View, name: &str) -> Refusal {
    let details = Some(Details { name: name.into(), kind: view.plural().into(), ..Details::default() });
    let status = Status::failure(404, "NotFound", format!("{} \"{name}\" not found", view.plural()));
    Status { details, ..status }.into()
}
