//! `wait task/ID`: until a task has ended, or is as it was asked for.
//!
//! What has ended does not change any more but by a person's retry: a wait for something else ends there.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use super::away::is_there;
use super::task_get::read;
use super::wait::{Goal, is_once, waited};
use crate::ctl::args::Wait;
use crate::ctl::client::Sent;
use crate::ctl::error::Failure;
use crate::ctl::print::{emit, note};
use crate::ctl::text::tame;
use crate::ctl::time::now;
use crate::model::meta::quoted;
use crate::model::task::TaskState;
use crate::serve::wire::columns::text;
use crate::serve::wire::task_columns::{standing, state};
use crate::serve::wire::tasks::TaskView;
use crate::serve::wire::{ROOT, WatchEvent};

/// The condition that a task has ended, however.
const ENDED: &str = "Ended";

/// `ctl wait task/ID`: without `--for` until it has ended; exit code 1 then unless it succeeded.
pub(super) async fn run(context: &Context, args: &Wait, ids: &[u64]) -> Result<(), Failure> {
    if ids.is_empty() {
        return Err(Failure::Usage("say which task: task/ID".into()));
    }
    let goal = args.what.as_deref().map(goal).transpose()?;
    is_there(context).await?;
    let mut bad = false;
    for id in ids {
        let mut last = None;
        let looked = {
            let timeout = Some(args.timeout);
            let goal = (goal.as_ref(), is_once(timeout));
            waited(context, timeout, async || looking(context, *id, goal, &mut last).await).await?
        };
        let Some(last) = last else {
            return Err(Failure::No(format!("timed out before anything was heard of task/{id}; {}", go_on(*id))));
        };
        let standing = tame(&standing(&last, now()));
        match &goal {
            _ if !looked => {
                return Err(Failure::No(format!("timed out waiting for task/{id}: {standing}; {}", go_on(*id))));
            }
            Some(_) => emit(&format!("task/{id} condition met\n"))?,
            None if last.task.state == TaskState::Succeeded => emit(&format!("{standing}\n"))?,
            None => {
                note(&standing);
                bad = true;
            }
        }
    }
    if bad { Err(Failure::No(String::new())) } else { Ok(()) }
}

/// What to do when a wait is over and its task is not.
pub(super) fn go_on(id: u64) -> String {
    format!("it goes on: ctl wait task/{id} --timeout 1h, or ctl describe task/{id}")
}

/// What is waited for, as far as tasks can be so.
fn goal(what: &str) -> Result<Goal, Failure> {
    let goal = Goal::parse(what)?;
    if let Goal::Condition { kind, status } = &goal {
        let known = TaskState::ALL.map(TaskState::name).into_iter().chain(["Running", ENDED]);
        if !known.clone().any(|name| name.eq_ignore_ascii_case(kind)) || !status.eq_ignore_ascii_case("true") {
            let known: Vec<&str> = known.collect();
            let (found, known) = (quoted(what), known.join(", "));
            return Err(Failure::Usage(format!("--for: found {found}; of tasks the conditions are {known}")));
        }
    }
    Ok(goal)
}

/// Look at a task, and again at each change, until it is as it was asked for.
async fn looking(
    context: &Context,
    id: u64,
    (goal, once): (Option<&Goal>, bool),
    last: &mut Option<TaskView>,
) -> Result<bool, Failure> {
    let selector = format!("&fieldSelector=metadata.name%3D{id}");
    loop {
        let mut object: Value = context.client.ask(Method::GET, &format!("{ROOT}/tasks/{id}"), Sent::nothing()).await?;
        let version = text(&object, "/metadata/resourceVersion").to_owned();
        let mut lines = None;
        loop {
            let view = read(object.clone())?;
            let (is, words) = (reached(goal, &view, &object), standing(&view, now()));
            let over = view.task.state.is_final();
            *last = Some(view);
            if is {
                return Ok(true);
            }
            if over {
                return Err(Failure::No(format!("it will not come to be so: {words}")));
            }
            if once {
                return Ok(false);
            }
            if lines.is_none() {
                lines = match context.client.watch_tasks(&version, &selector).await {
                    Err(Failure::Server(status)) if status.code == 410 => break,
                    answered => Some(answered?),
                };
            }
            let next = match &mut lines {
                Some(lines) => lines.next::<WatchEvent>().await?,
                None => None,
            };
            match next {
                None => return Err(Failure::NoDaemon("the daemon has ended".into())),
                // Another one of its name comes after it, or the watch is to begin anew: look again.
                Some(event) if ["DELETED", "ERROR"].contains(&event.verb.as_str()) => break,
                Some(event) => object = event.object,
            }
        }
    }
}

fn reached(goal: Option<&Goal>, view: &TaskView, object: &Value) -> bool {
    let task = &view.task;
    match goal {
        None | Some(Goal::Delete) => task.state.is_final(),
        Some(Goal::Create) => true,
        Some(Goal::Condition { kind, .. }) => {
            let names = [task.state.name(), state(task)];
            names.iter().any(|name| name.eq_ignore_ascii_case(kind))
                || (kind.eq_ignore_ascii_case(ENDED) && task.state.is_final())
        }
        // As kubectl shows it, and as ctl does.
        Some(path @ Goal::Path { .. }) => path.is_in(object) || path.is_in(&json!(view)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::task::Task;
    use crate::serve::wire::tasks::TaskObject;

    #[test]
    fn a_task_is_waited_for_in_every_way() {
        let task = |state| TaskView { task: Task { id: 7, state, ..Task::default() }, ..TaskView::default() };
        for (what, state, is) in [
            ("", TaskState::Dead, true),
            ("", TaskState::Leased, false),
            ("delete", TaskState::Cancelled, true),
            ("condition=Succeeded", TaskState::Succeeded, true),
            ("condition=succeeded", TaskState::Failed, false),
            ("condition=Running", TaskState::Leased, true),
            ("condition=Ended", TaskState::Failed, true),
            ("jsonpath={.status.state}=Succeeded", TaskState::Succeeded, true),
            ("jsonpath={.state}=Succeeded", TaskState::Succeeded, true),
            ("jsonpath={.state}=Succeeded", TaskState::Failed, false),
        ] {
            let view = task(state);
            let object = json!(TaskObject::from(view.clone()));
            let goal = (!what.is_empty()).then(|| goal(what).unwrap_or_else(|_| panic!("{what}")));
            assert_eq!(reached(goal.as_ref(), &view, &object), is, "{what} {state:?}");
        }
        for wrong in ["condition=Ready", "condition=Succeeded=False", "nonsense"] {
            assert!(goal(wrong).is_err(), "{wrong}");
        }
    }
}
