//! `diff`: how documents differ from what is live.
//!
//! Defaults are filled in on both sides, so that only what would really change is shown. Also home of the reverse of status:
//! an object as the document that a person would write.

use std::path::PathBuf;

use serde_json::{Map, Value};
use similar::TextDiff;

use super::Context;
use super::apply::{documents, texts};
use crate::ctl::error::Failure;
use crate::ctl::print::{emit, shown_yaml};
use crate::ctl::resource::short;
use crate::ctl::text::tame;
use crate::model::status::Kind;

/// Fields of the metadata that a person writes.
const WRITTEN: [&str; 3] = ["name", "labels", "annotations"];

/// An object as a document: without status and what weir adds.
pub(super) fn document(object: &Value) -> Value {
    let part = |name: &str| object.get(name).cloned().unwrap_or(Value::Null);
    let metadata: Map<String, Value> = WRITTEN
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), object.pointer(&format!("/metadata/{name}"))?.clone())))
        .collect();
    let parts = [
        ("apiVersion", part("apiVersion")),
        ("kind", part("kind")),
        ("metadata", Value::Object(metadata)),
        ("spec", part("spec")),
    ];
    Value::Object(parts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

/// `ctl diff`: exit code 1 when anything differs.
pub(super) async fn run(context: &Context, files: &[PathBuf]) -> Result<(), Failure> {
    let mut differs = false;
    for text in texts(files)? {
        for wanted in documents(&text) {
            let (kind, name) = (Kind::from(wanted.kind()), wanted.name().to_owned());
            let live = match context.client.get(kind, &name).await {
                Ok(object) => shown_yaml(&document(&object)),
                Err(Failure::Server(status)) if status.code == 404 => String::new(),
                Err(failure) => return Err(failure),
            };
            let wanted = serde_json::to_value(&wanted).map_err(|error| Failure::Internal(error.to_string()))?;
            let wanted = shown_yaml(&document(&wanted));
            if live != wanted {
                differs = true;
                emit(&unified(&format!("{}/{}", short(kind), tame(&name)), &live, &wanted))?;
            }
        }
    }
    if differs { Err(Failure::No(String::new())) } else { Ok(()) }
}

fn unified(name: &str, live: &str, wanted: &str) -> String {
    let diff = TextDiff::from_lines(live, wanted);
    diff.unified_diff().context_radius(3).header(&format!("live/{name}"), &format!("file/{name}")).to_string()
}
