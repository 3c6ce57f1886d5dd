//! Tasks as a resource: created with `kubectl create`, looked at, watched, and taken back by deleting them.
//!
//! A task is named by its number, which the queue gives. The same tasks are at `/v1/tasks`, where more can be asked.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::table::{Shape, metadata_of, shape};
use super::task_view::{Shown, Wanted, remembered, table};
use super::watch_tasks::watch;
use crate::model::status::API_VERSION;
use crate::model::task::{NewTask, SUBMIT, Task};
use crate::model::time::Span;
use crate::serve::app::{App, Params, flag, params};
use crate::serve::refusal::{Refusal, bad, not_allowed};
use crate::serve::tasks::view;
use crate::serve::wire::mcp::outside::tame;
use crate::serve::wire::tasks::TaskObject;
use crate::serve::wire::{Details, GROUP, Status};
use crate::serve::write::{Sent, is_dry, typed, yaml_body};

type Answer = Result<Response, Refusal>;

/// `GET …/tasks`: those that run, those that wait in their order, those that ended, the last first.
pub async fn list(State(app): State<App>, headers: HeaderMap, query: Params) -> Answer {
    let query = params(query)?;
    let (shape, wanted) = (shape(&headers, &query)?, Wanted::new(&query)?);
    if flag(&query, "watch")? {
        return watch(&app, wanted, (shape, &query)).await;
    }
    let version = *app.handle.task_changes().borrow();
    let (shown, more) = wanted.look(&app, version).await?;
    app.told.keep(wanted.place(version), remembered(&shown));
    let metadata = json!({"resourceVersion": version.to_string()});
    let now = app.handle.later(Span::default());
    let mut answer = Json(match shape {
        Shape::Table(include) => {
            let mut all = table(&version.to_string());
            all["rows"] = shown.iter().map(|shown| shown.row(include, now)).collect();
            all
        }
        Shape::Metadata => {
            let items: Vec<Value> = shown.iter().map(|shown| metadata_of(&shown.object)).collect();
            json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadataList", "metadata": metadata, "items": items})
        }
        Shape::Whole => {
            let items: Vec<Value> = shown.into_iter().map(|shown| shown.object).collect();
            json!({"kind": "TaskList", "apiVersion": API_VERSION, "metadata": metadata, "items": items})
        }
    })
    .into_response();
    if more {
        let warning = "299 - \"there may be more tasks: these are the first ones; ask with --chunk-size, or for one pool with --field-selector spec.pool=NAME\"";
        answer.headers_mut().insert(header::WARNING, HeaderValue::from_static(warning));
    }
    Ok(answer)
}

/// `GET …/tasks/{id}`
pub async fn one(State(app): State<App>, Path(id): Path<String>, headers: HeaderMap, query: Params) -> Answer {
    let shape = shape(&headers, &params(query)?)?;
    let version = *app.handle.task_changes().borrow();
    let shown = Shown::new(app.handle.task(known(&id)?).await?.into(), version);
    // A watch of it alone goes on from here.
    let place = (String::new(), format!("metadata.name={id}"), version);
    app.told.keep(place, remembered([&shown]));
    let now = app.handle.later(Span::default());
    Ok(Json(match shape {
        Shape::Whole => shown.object,
        Shape::Metadata => metadata_of(&shown.object),
        Shape::Table(include) => {
            let mut all = table(&version.to_string());
            all["rows"] = json!([shown.row(include, now)]);
            all
        }
    })
    .into_response())
}

/// `POST …/tasks`: submit. Answered when the task is on disk.
pub async fn create(State(app): State<App>, (query, sent): (Params, Sent)) -> Answer {
    let dry = is_dry(&params(query)?)?;
    let (pool, task) = asked(yaml_body(sent)?)?;
    if dry {
        return Err(bad("a submit cannot be tried: leave --dry-run out, or submit with spec.hold: true and release it later"));
    }
    let accepted = app.handle.submit(&pool, vec![NewTask { source: SUBMIT.into(), ..task }]).await?;
    let Some(accepted) = accepted.into_iter().next() else { return Err(bad("one task at a time")) };
    let code = if accepted.known { StatusCode::OK } else { StatusCode::CREATED };
    let version = *app.handle.task_changes().borrow();
    Ok((code, Json(Shown::new(accepted.into(), version).object)).into_response())
}

/// The pool and the task of an object that is to be created.
fn asked(mut object: Value) -> Result<(String, NewTask), Refusal> {
    for (field, is) in [("kind", "Task"), ("apiVersion", API_VERSION)] {
        if object[field] != is {
            return Err(bad(format!("{field}: found {}, expected {is}", object[field])));
        }
    }
    if let Some(name) = object.pointer("/metadata/name").and_then(Value::as_str).filter(|name| !name.is_empty()) {
        let name = tame(name);
        return Err(bad(format!(
            "metadata.name: found {name:?}, but a task is named by the number that it is given: write generateName (kubectl create), and \
             spec.idempotencyKey where the same submit may come twice"
        )));
    }
    let mut spec = object["spec"].take();
    let pool = spec.as_object_mut().and_then(|spec| spec.remove("pool"));
    let Some(Value::String(pool)) = pool else { return Err(bad("spec.pool: say whose queue the task is for")) };
    // The pool is one of the fields here, and is taken out before the rest is read.
    let told = |error: String| bad(format!("spec: {}", error.replacen("expected one of ", "expected one of `pool`, ", 1)));
    Ok((pool, typed(spec).map_err(told)?))
}

/// `DELETE …/tasks/{id}`: take it back.
pub async fn delete(State(app): State<App>, Path(id): Path<String>, (query, sent): (Params, Sent)) -> Answer {
    let options = yaml_body(sent)?;
    let number = known(&id)?;
    let uid = |task: Task| TaskObject::from(view(task)).metadata.uid;
    let before = uid(app.handle.task(number).await?.task);
    if options.pointer("/preconditions/uid").and_then(Value::as_str).is_some_and(|wanted| wanted != before) {
        return Err(Status::failure(409, "Conflict", format!("tasks \"{id}\" is another one by now: look again")).into());
    }
    let dry = is_dry(&params(query)?)? || options.get("dryRun").is_some_and(|dry| *dry == json!(["All"]));
    if !dry {
        app.handle.cancel(number).await?;
    }
    let details = Details { name: id, group: GROUP.into(), kind: "tasks".into(), uid: before, ..Details::default() };
    Ok(Json(Status { details: Some(details), ..Status::success("") }).into_response())
}

/// `PUT` and `PATCH` of a task.
pub async fn fixed() -> Refusal {
    not_allowed("a task cannot be changed: cancel it (delete) and submit another; held tasks are released with ctl release")
}

/// The number that a task is named by.
fn known(id: &str) -> Result<u64, Refusal> {
    let details = Some(Details { name: id.into(), group: GROUP.into(), kind: "tasks".into(), ..Details::default() });
    let missing = || Status { details, ..Status::failure(404, "NotFound", format!("tasks.{GROUP} \"{id}\" not found")) };
    id.parse().map_err(|_| missing().into())
}
