//! A document as its author left it: shown, and replaced by what an editor made of it.
//!
//! Text goes through unchanged in both directions; what it means is the engine's affair.

use axum::Json;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};

use super::app::{App, Params, kind_of, params};
use super::auth::Peer;
use super::refusal::{Refusal, bad};
use super::wire::DocumentText;
use super::wire::revisions::{RevisionList, RevisionView};
use super::write::{self, Sent};
use crate::engine::handle::{Denied, Edit};
use crate::model::document::pieces;
use crate::model::meta;
use crate::model::revision::Revision;

/// The text, its place and its version.
///
/// # Errors
/// 404; 409 when more than one document has this name.
pub async fn show(app: &App, kind: meta::Kind, name: &str) -> Result<Json<DocumentText>, Refusal> {
    let found = app.handle.text(kind, name).await?;
    let line = found.line;
    Ok(Json(DocumentText { file: found.file, line, text: found.text, version: found.version }))
}

/// What the document said before, and says now.
///
/// # Errors
/// 404.
pub async fn revisions(app: &App, kind: meta::Kind, name: &str) -> Result<Json<RevisionList>, Refusal> {
    let kept = app.handle.revisions(kind, name).await?.into_iter();
    let items = kept.map(|Revision { number, time, text }| RevisionView { revision: number, time, text }).collect();
    Ok(Json(RevisionList { kind: "RevisionList".into(), items }))
}

/// `PUT` of a part of an object: `document` here, the rest elsewhere.
pub async fn put(
    State(app): State<App>,
    Path((plural, name, sub)): Path<(String, String, String)>,
    peer: Peer,
    (query, sent): (Params, Sent),
) -> Result<Response, Refusal> {
    let kind = kind_of(&plural)?;
    let Some(kind) = kind.document().filter(|_| sub == "document") else {
        let answer = write::scale(State(app), Path((plural, name, sub)), (query, sent)).await;
        return answer.map(IntoResponse::into_response);
    };
    let dry = write::is_dry(&params(query)?)?;
    let new: DocumentText = serde_json::from_value(write::json_body(sent)?)
        .map_err(|error| bad(format!("{{\"text\": …, \"version\": …}}: {error}")))?;
    write::allowed(&app, peer, &pieces(&new.text).map_err(Denied::Invalid)?).await?;
    app.handle.edit(Edit::Replace { kind, name: name.clone(), text: new.text.clone(), version: new.version }, dry).await?;
    if dry {
        return Ok(Json(DocumentText { text: new.text, ..DocumentText::default() }).into_response());
    }
    show(&app, kind, &name).await.map(IntoResponse::into_response)
}
