//! Tables made by the server, as kubectl asks for them: the columns of `ctl get`, and what else a client wants of each row.
//!
//! Also how a client says in which shape it wants an answer.

use axum::http::{HeaderMap, header};
use serde_json::{Value, json};

use super::pods;
use super::view::View;
use crate::model::status::Object;
use crate::model::time::Wall;
use crate::serve::app::{self, value};
use crate::serve::refusal::Refusal;
use crate::serve::wire::Status;
use crate::serve::wire::columns::{heads, row};

/// The shape of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Objects.
    Whole,
    /// Of each object its metadata.
    Metadata,
    /// A table; with each row so much of its object.
    Table(Include),
}

/// How much of an object comes with its row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Include {
    /// Nothing.
    None,
    /// Its metadata.
    Metadata,
    /// All.
    Object,
}

/// The first of the wanted shapes that can be had.
///
/// # Errors
/// 406 when there is none.
pub fn shape(headers: &HeaderMap, query: &app::Query) -> Result<Shape, Refusal> {
    let wanted = headers.get(header::ACCEPT).map_or("*/*", |accept| accept.to_str().unwrap_or("*/*"));
    let shape = |one: &str| {
        let mut parts = one.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default();
        let parameter = |name: &str| one.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('='));
        if !["application/json", "application/*", "*/*", ""].contains(&media) {
            return None;
        }
        match (parameter("as"), parameter("v")) {
            (None, _) => Some(Shape::Whole),
            (Some("Table"), Some("v1")) => Some(Shape::Table(included(query))),
            (Some("PartialObjectMetadata" | "PartialObjectMetadataList"), Some("v1")) => Some(Shape::Metadata),
            (Some(_), _) => None,
        }
    };
    let found = wanted.split(',').find_map(|one| shape(one.trim()));
    found.ok_or_else(|| {
        Status::failure(406, "NotAcceptable", "only application/json can be had, also as=Table;v=v1;g=meta.k8s.io").into()
    })
}

fn included(query: &app::Query) -> Include {
    match query.get("includeObject").map(String::as_str) {
        Some("None") => Include::None,
        Some("Object") => Include::Object,
        Some(_) | None => Include::Metadata,
    }
}

/// An object's metadata, as an object.
pub fn metadata_of(rendered: &Value) -> Value {
    json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata", "metadata": rendered.get("metadata")})
}

/// A table without rows.
pub fn table(view: View, version: &str) -> Value {
    let (all, narrow): (Vec<String>, usize) = match view {
        View::Pod => (pods::HEADS.0.iter().chain(&pods::HEADS.1).map(|head| (*head).to_owned()).collect(), pods::HEADS.0.len()),
        View::Plain(_) | View::Event { .. } => (heads(view.kind(), true), heads(view.kind(), false).len()),
    };
    headed((all, narrow), version)
}

/// A table of these columns without rows; those after so many are for who wants it wide.
pub fn headed((all, narrow): (Vec<String>, usize), version: &str) -> Value {
    json!({
        "apiVersion": "meta.k8s.io/v1", "kind": "Table", "metadata": {"resourceVersion": version},
        "columnDefinitions": columns(all, narrow), "rows": [],
    })
}

fn columns(all: Vec<String>, narrow: usize) -> Vec<Value> {
    let column = |(n, name): (usize, String)| {
        let format = if name == "NAME" { "name" } else { "" };
        json!({"name": name, "type": "string", "format": format, "description": "", "priority": usize::from(n >= narrow)})
    };
    all.into_iter().enumerate().map(column).collect()
}

/// The row of an object that was rendered already.
pub fn row_of(view: View, object: &Object, rendered: &Value, (include, now): (Include, Wall)) -> Value {
    let ours = value(object);
    let cells = match view {
        View::Pod => pods::row(&ours, now),
        View::Plain(_) | View::Event { .. } => row(view.kind(), true, &ours, now),
    };
    with_cells(&cells, rendered, include)
}

/// A row, with as much of its object as is wanted.
pub fn with_cells(cells: &[String], rendered: &Value, include: Include) -> Value {
    match include {
        Include::None => json!({"cells": cells}),
        Include::Metadata => json!({"cells": cells, "object": metadata_of(rendered)}),
        Include::Object => json!({"cells": cells, "object": rendered}),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test ends where something fails")]
mod tests {
    use super::*;

    #[test]
    fn the_first_shape_that_can_be_had() {
        let kubectl =
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        for (accept, shape) in [
            (kubectl, Some(Shape::Table(Include::Metadata))),
            ("application/json", Some(Shape::Whole)),
            ("*/*", Some(Shape::Whole)),
            ("application/vnd.kubernetes.protobuf, application/json", Some(Shape::Whole)),
            ("application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", Some(Shape::Metadata)),
            ("application/vnd.kubernetes.protobuf", None),
            ("application/json;as=Chair;v=v1", None),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT, accept.parse().unwrap())]);
            assert_eq!(super::shape(&headers, &app::Query::new()).ok(), shape, "{accept}");
        }
    }
}
