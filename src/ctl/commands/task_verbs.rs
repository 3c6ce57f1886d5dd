//! Tasks, changed: `cancel`, `release`, `retry`, `delete task/ID`.
//!
//! One that refuses does not keep the others from being asked. Many are named by what they are, and then only shown until it is said
//! that all are meant.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use futures_util::{StreamExt, stream};
use hyper::Method;
use serde_json::json;

use super::Context;
use super::task_get::{self, Which};
use super::tasks::{fetch, ids, listed};
use crate::ctl::args::{Cancel, Many, TaskIds};
use crate::ctl::client::Sent;
use crate::ctl::error::{Failure, Refusals};
use crate::ctl::print::{Format, emit, note};
use crate::ctl::text::tame;
use crate::model::reading::counted;
use crate::model::status::Kind;
use crate::model::task::{Task, TaskState};
use crate::serve::wire::tasks::TaskView;

/// Questions that are under way at once: the daemon puts what comes together on disk together.
const AT_ONCE: usize = 16;

/// What can be done to tasks.
struct Verb {
    /// As the API names it.
    asked: &'static str,
    /// As it is told of many.
    done: &'static str,
    /// In which states a task has to be; those of the first list have their turn first.
    to: &'static [&'static [TaskState]],
    /// It ends tasks. Else they join a line: one after the other, so that who came first is first.
    ends: bool,
    /// As it is told of one.
    told: fn(&Task) -> String,
}

/// What waits is cancelled before what runs: whoever runs makes room when it is stopped, and what waits would begin just to be
/// stopped too.
const CANCEL: Verb = Verb {
    asked: "cancel",
    done: "cancelled",
    to: &[&[TaskState::Held, TaskState::Queued], &[TaskState::Leased]],
    ends: true,
    told: |task| {
        let how = if task.state == TaskState::Cancelled { "cancelled" } else { "is being stopped" };
        format!("task/{} {how}\n", task.id)
    },
};

const RELEASE: Verb = Verb {
    asked: "release",
    done: "released",
    to: &[&[TaskState::Held]],
    ends: false,
    told: |task| format!("task/{} released\n", task.id),
};

const RETRY: Verb = Verb {
    asked: "retry",
    done: "tried again",
    to: &[&[TaskState::Failed, TaskState::Dead, TaskState::Cancelled, TaskState::Expired]],
    ends: false,
    told: |task| format!("task/{} queued again\n", task.id),
};

/// `ctl cancel`
pub(super) async fn cancel(context: &Context, args: &Cancel) -> Result<(), Failure> {
    let ids = match &args.worker {
        None if args.many.is_given() => return many(context, &args.many, &CANCEL).await,
        None => ids(&args.tasks)?,
        Some(worker) => {
            let running = listed(context, "state=Leased&limit=10000").await?;
            let has = |view: &&TaskView| view.task.worker.as_ref() == Some(worker);
            let ids: Vec<u64> = running.iter().filter(has).map(|view| view.task.id).collect();
            if ids.is_empty() {
                context.get(Kind::Worker, worker).await?;
                return Err(Failure::No(format!("worker {} has no task", tame(worker))));
            }
            ids
        }
    };
    each(context, &ids, &CANCEL).await
}

/// `ctl release`
pub(super) async fn release(context: &Context, args: &TaskIds) -> Result<(), Failure> {
    if args.many.is_given() {
        many(context, &args.many, &RELEASE).await
    } else {
        each(context, &ids(&args.tasks)?, &RELEASE).await
    }
}

/// `ctl retry`
pub(super) async fn retry(context: &Context, args: &TaskIds) -> Result<(), Failure> {
    if args.many.is_given() { many(context, &args.many, &RETRY).await } else { each(context, &ids(&args.tasks)?, &RETRY).await }
}

/// `ctl delete task/ID`: take them back.
pub(super) async fn delete(context: &Context, ids: &[u64], dry_run: bool) -> Result<(), Failure> {
    if ids.is_empty() {
        return Err(Failure::Usage("say which task: task/ID; or ctl cancel --pool NAME --all".into()));
    }
    if !dry_run {
        return each(context, ids, &CANCEL).await;
    }
    for id in ids {
        let task = fetch(context, *id).await?.task;
        if task.state.is_final() {
            return Err(Failure::No(format!("task/{id} is {} already", task.state.name())));
        }
        emit(&format!("task/{id} cancelled (dry run)\n"))?;
    }
    Ok(())
}

/// The same to all that are meant by what they are, however many there are.
async fn many(context: &Context, many: &Many, verb: &Verb) -> Result<(), Failure> {
    if many.pool.is_none() && many.status.is_none() {
        return Err(Failure::Usage("--all: of which? Say --pool NAME, or --status STATES".into()));
    }
    let can: Vec<&str> = verb.to.iter().copied().flatten().map(|state| state.name()).collect();
    let which = Which::new(many.pool.as_deref(), Some(&many.status.clone().unwrap_or_else(|| can.join(","))), "")?;
    if !many.all {
        return shown(context, &which, verb).await;
    }
    let (mut work, mut asked) = (Work::new(context, verb), BTreeSet::new());
    for which in verb.to.iter().filter_map(|states| which.among(states)) {
        loop {
            // Whoever was done is in none of these states any more, unless it refused or is being stopped.
            let (mut page, cut) = which.page(context).await?;
            page.retain(|view| asked.insert(view.task.id));
            let stuck = page.is_empty() && cut;
            work.take(page).await?;
            if stuck {
                work.refusals.heard::<()>(Err(Failure::No(format!(
                    "those that are left are more than can be listed at once, and there may be others behind them: ask for {} again",
                    verb.asked
                ))))?;
            }
            if stuck || !cut {
                break;
            }
        }
    }
    if asked.is_empty() {
        note("No resources found.");
    } else {
        note(&work.words());
    }
    work.refusals.end()
}

/// What would be done.
async fn shown(context: &Context, which: &Which, verb: &Verb) -> Result<(), Failure> {
    let (mut tasks, cut) = which.page(context).await?;
    tasks.retain(|view| verb.to.iter().any(|states| states.contains(&view.task.state)));
    if tasks.is_empty() {
        note("No resources found.");
        return Ok(());
    }
    task_get::show(&tasks, &Format::Table { wide: false }, true, false)?;
    let count = counted(tasks.len() as u64, "task");
    let count = if cut { format!("{count} and all that are not shown here") } else { count };
    Err(Failure::No(format!("{count} would be {}: add --all to have it done", verb.done)))
}

/// Ask the same of each that is named.
async fn each(context: &Context, ids: &[u64], verb: &Verb) -> Result<(), Failure> {
    let mut work = Work::new(context, verb);
    work.ask(ids.iter().copied(), 1).await?;
    work.refusals.end()
}

/// The same is asked of many; one that refuses does not keep the others from being asked.
struct Work<'a> {
    context: &'a Context,
    verb: &'a Verb,
    done: u64,
    refusals: Refusals,
    /// Somebody reads what is told of each.
    heard: bool,
}

impl<'a> Work<'a> {
    fn new(context: &'a Context, verb: &'a Verb) -> Work<'a> {
        Work { context, verb, done: 0, refusals: Refusals::default(), heard: true }
    }

    /// All of a list. What comes after others is ended before those: it would end with them.
    async fn take(&mut self, page: Vec<TaskView>) -> Result<(), Failure> {
        let ends = self.verb.ends;
        let (mut after, mut first): (Vec<_>, Vec<_>) = page.into_iter().partition(|view| ends && !view.task.after.is_empty());
        after.sort_by_key(|view| Reverse(view.task.id));
        first.sort_by_key(|view| view.task.id);
        self.ask(after.iter().map(|view| view.task.id), 1).await?;
        self.ask(first.iter().map(|view| view.task.id), if ends { AT_ONCE } else { 1 }).await
    }

    async fn ask(&mut self, ids: impl Iterator<Item = u64>, at_once: usize) -> Result<(), Failure> {
        let (context, asked) = (self.context, self.verb.asked);
        let ask = |id: u64| async move {
            let path = format!("/v1/tasks/{id}/{asked}");
            context.client.ask::<TaskView>(Method::POST, &path, Sent::json(&json!({}))).await
        };
        let mut answers = std::pin::pin!(stream::iter(ids.map(ask)).buffered(at_once));
        while let Some(answer) = answers.next().await {
            let view = self.refusals.heard(answer).inspect_err(|_| note(&self.words()))?;
            let Some(view) = view else { continue };
            self.done += 1;
            match if self.heard { emit(&(self.verb.told)(&view.task)) } else { Ok(()) } {
                // Who reads no more of what became of them wants it done all the same.
                Err(Failure::ReaderGone) => self.heard = false,
                told => told?,
            }
        }
        Ok(())
    }

    fn words(&self) -> String {
        let refused = self.refusals.count();
        let refused = if refused > 0 { format!(", {refused} refused") } else { String::new() };
        format!("{} {}{refused}", counted(self.done, "task"), self.verb.done)
    }
}
