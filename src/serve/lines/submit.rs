//! Tasks as a stream of lines: each is taken in for itself, and answered in order as soon as it is on disk.
//!
//! Those that came by the time of a commit are given to the queue together; where that refuses them, each is asked for itself.

use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use tokio::sync::OwnedSemaphorePermit;

use super::super::app::App;
use super::super::refusal::{Refusal, bad};
use super::super::wire::tasks::{LINES, TaskView};
use super::super::write::new_task;
use super::{Lines, TOGETHER, exact, value};
use crate::engine::handle::Accepted;
use crate::model::task::NewTask;

/// Tasks that come.
struct Coming {
    app: App,
    pool: String,
    lines: Lines,
    _slot: OwnedSemaphorePermit,
}

/// `POST /v1/pools/{pool}/tasks` with a body of lines.
///
/// # Errors
/// 404 and 400 for a pool that takes no tasks, 429 when too many streams are open. Nothing was taken in then.
pub async fn submit(app: App, pool: String, body: Body) -> Result<Response, Refusal> {
    app.handle.capacity(&pool).await?;
    let _slot = app.stream_slot()?;
    let lines = Lines::of(body, app.ending.clone());
    let coming = Coming { app, pool, lines, _slot };
    let answers = unfold(coming, |mut coming| async move {
        let lines = coming.lines.next(TOGETHER).await?;
        let answers = answers(&coming.app, &coming.pool, &lines).await;
        Some((Ok::<_, std::convert::Infallible>(answers), coming))
    });
    Ok(([(header::CONTENT_TYPE, LINES)], Body::from_stream(answers)).into_response())
}

/// An answer for each line, in order: the task, or a `Status` that says why it was not taken in.
async fn answers(app: &App, pool: &str, lines: &[Bytes]) -> Bytes {
    let (mut good, mut refused) = (Vec::new(), Vec::new());
    for line in lines {
        match task(line) {
            Ok(task) => {
                good.push(task);
                refused.push(None);
            }
            Err(refusal) => refused.push(Some(refusal)),
        }
    }
    // Where they are refused together, each is asked for itself.
    let together = if good.is_empty() { None } else { app.handle.submit(pool, good).await.ok() };
    let mut together = together.map(Vec::into_iter);
    let mut out = Vec::new();
    for (line, refused) in lines.iter().zip(refused) {
        let answer = match (refused, &mut together) {
            (Some(refusal), _) => Err(refusal),
            (None, Some(all)) => all.next().ok_or_else(|| bad("it has no answer")),
            (None, None) => alone(app, pool, line).await,
        };
        let written = match answer {
            Ok(accepted) => serde_json::to_writer(&mut out, &TaskView::from(accepted)),
            Err(refusal) => serde_json::to_writer(&mut out, refusal.status()),
        };
        written.expect("an answer is plain data with string keys");
        out.push(b'\n');
    }
    Bytes::from(out)
}

async fn alone(app: &App, pool: &str, line: &[u8]) -> Result<Accepted, Refusal> {
    let mut accepted = app.handle.submit(pool, vec![task(line)?]).await?;
    accepted.pop().ok_or_else(|| bad("it has no answer"))
}

/// The task of a line.
fn task(line: &[u8]) -> Result<NewTask, Refusal> {
    let value = value(line)?;
    exact(line)?;
    new_task(value).map_err(bad)
}
