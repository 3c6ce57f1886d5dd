//! `capacity-test`: sample tasks at rising parallelism, and how many workers follow from what they did.
//!
//! The client keeps exactly so many of its own tasks in the pool at once; whatever else the pool is given mixes into the figures
//! and is told of. What it submitted and has not started is taken back when it is interrupted or fails.

use std::collections::BTreeSet;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use futures_util::stream::{FuturesUnordered, StreamExt};
use hyper::Method;
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};
use tokio::io::AsyncReadExt;
use tokio::net::UnixStream;

use super::Context;
use super::interrupt::interruptible;
use super::submit::{ended, payload};
use super::tasks::fetch;
use crate::ctl::args::CapacityTest;
use crate::ctl::capacity::{Advice, Ended, HEADS, Step, advise, bars, row};
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::machine::{Look, memory};
use crate::ctl::print::{Table, as_json, emit, note};
use crate::ctl::resource::pool;
use crate::ctl::text::tame;
use crate::ctl::time::now;
use crate::model::quantity::Memory;
use crate::model::reading::counted;
use crate::model::status::Kind;
use crate::model::task::{NewTask, Task, TaskState};
use crate::model::time::Wall;
use crate::serve::wire::task_columns::pause_end;
use crate::serve::wire::tasks::{CapacityView, TaskList, TaskView};

/// Rounds of a step, unless it is said how many tasks: the first and the last one are not counted.
const ROUNDS: u32 = 5;

/// How long none of the test's tasks may end before the queue is asked whether it still gives any out.
const QUIET_MAX: Duration = Duration::from_secs(10);

/// A test under way.
struct Test<'a> {
    context: &'a Context,
    pool: &'a str,
    task: Value,
    /// Readable as soon as somebody interrupts.
    interrupt: UnixStream,
    /// Submitted, and not known to have ended.
    open: BTreeSet<u64>,
    /// What the pool was seen to do besides.
    mixed: bool,
    progress: bool,
}

/// Why a step has no figures.
enum Stop {
    Interrupted,
    Failed(Failure),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Stop {
        Stop::Failed(failure)
    }
}

/// `ctl capacity-test`
pub(super) async fn run(context: &Context, args: &CapacityTest) -> Result<(), Failure> {
    if args.from > args.to {
        return Err(Failure::Usage(format!("--from {} is more than --to {}", args.from, args.to)));
    }
    let name = pool(&args.pool)?;
    let payload = payload(args.file.as_deref(), &args.payload)?;
    fits(&context.client.get(Kind::Pool, name).await?, name, args.to)?;
    // One attempt: what fails is counted, not hidden by another try.
    let task = NewTask { payload, max_attempts: Some(1), ..NewTask::default() };
    let task = serde_json::to_value(&task).expect("a task is plain data with string keys");
    let progress = std::io::stderr().is_terminal();
    let (open, interrupt) = (BTreeSet::new(), interruptible(&[SIGINT, SIGTERM])?);
    let mut test = Test { context, pool: name, task, interrupt, open, mixed: false, progress };
    let mut steps = Vec::new();
    let stopped = test.rise(args, &mut steps).await.err();
    if stopped.is_some() {
        test.take_back().await;
    }
    if let Some(Stop::Failed(failure)) = stopped {
        return Err(failure);
    }
    let advice = advise(&steps, f64::from(args.max_failures));
    show(args, name, (&steps, &advice), test.mixed)?;
    let interrupted = stopped.is_some();
    if interrupted { Err(Failure::No("interrupted".into())) } else { no_answer(&advice) }
}

/// The pool can run as many at once.
fn fits(object: &Value, pool: &str, to: u32) -> Result<(), Failure> {
    let no = |words: String| Err(Failure::No(format!("pool {}: {words}", tame(pool))));
    let spec = object.pointer("/spec").cloned().unwrap_or_default();
    if !spec["queue"].is_object() {
        return no("it has no queue (spec.queue), so there are no tasks to test it with".into());
    }
    let (field, most) = if spec["scale"].is_object() {
        ("spec.scale.maxReplicas", spec["scale"]["maxReplicas"].as_u64())
    } else {
        ("spec.replicas", Some(spec["replicas"].as_u64().unwrap_or(1)))
    };
    let most = most.unwrap_or(0);
    if most < u64::from(to) {
        return no(format!(
            "it runs {most} tasks at once at most ({field}): test with --to {most}, or raise it first (ctl edit pool/{})",
            tame(pool)
        ));
    }
    Ok(())
}

/// The queue gives tasks out.
fn gives_out(room: &CapacityView, pool: &str, now: Wall) -> Result<(), Failure> {
    let Some(until) = room.paused_until.filter(|until| *until > now) else { return Ok(()) };
    let (pool, end) = (tame(pool), pause_end(until, now));
    Err(Failure::No(format!("pool {pool}: its queue is paused {end}: ctl resume queue/{pool}")))
}

impl Test<'_> {
    async fn rise(&mut self, args: &CapacityTest, steps: &mut Vec<Step>) -> Result<(), Stop> {
        let mut parallelism = args.from;
        while parallelism <= args.to {
            let tasks = args.tasks.unwrap_or(ROUNDS * parallelism).max(parallelism);
            let step = self.step(parallelism, tasks).await?;
            self.tell(
                &format!("{parallelism} at once: {:.1} tasks/min, {} of {tasks} failed", step.per_minute, step.failures),
                true,
            );
            let bad = step.failed_percent() > f64::from(args.max_failures);
            steps.push(step);
            if bad {
                return Ok(());
            }
            parallelism += args.step;
        }
        Ok(())
    }

    /// So many tasks, this many of them in the pool at once.
    async fn step(&mut self, parallelism: u32, tasks: u32) -> Result<Step, Stop> {
        self.look_around(0).await?;
        let (context, first) = (self.context, Look::now(now()));
        let (mut left, mut began, mut least) = (tasks, None, memory());
        let (mut waits, mut all) = (FuturesUnordered::new(), Vec::new());
        loop {
            let fresh = left.min(parallelism - u32::try_from(waits.len()).unwrap_or(parallelism));
            for task in self.submit(fresh).await? {
                began.get_or_insert(task.created);
                waits.push(ended(context, TaskView { task, ..TaskView::default() }, None));
            }
            left -= fresh;
            let view = tokio::select! {
                next = waits.next() => match next {
                    Some(view) => view?,
                    None => break,
                },
                _ = self.interrupt.read_u8() => return Err(Stop::Interrupted),
                () = tokio::time::sleep(QUIET_MAX) => {
                    self.look_around(self.open.len()).await?;
                    continue;
                }
            };
            self.open.remove(&view.task.id);
            least = least.into_iter().chain(memory()).min_by_key(|memory: &Memory| memory.0);
            all.push(end_of(&view.task, began.unwrap_or(view.task.created).0));
            self.tell(&format!("{parallelism} at once: {} of {tasks} done", all.len()), false);
            if all.len() as u32 == tasks / 2 {
                self.look_around(self.open.len()).await?;
            }
        }
        self.look_around(0).await?;
        Ok(Step::of(parallelism, &all, Look::now(now()).since(&first, least)))
    }

    async fn submit(&mut self, count: u32) -> Result<Vec<Task>, Failure> {
        if count == 0 {
            return Ok(Vec::new());
        }
        let path = format!("/v1/pools/{}/tasks", encoded(self.pool));
        let many = Value::Array(vec![self.task.clone(); count as usize]);
        let list: TaskList = self.context.client.ask(Method::POST, &path, Sent::json(&many)).await?;
        self.open.extend(list.items.iter().map(|view| view.task.id));
        Ok(list.items.into_iter().map(|view| view.task).collect())
    }

    /// Whether the pool has more than our own to do; told once. A queue that rests ends the test: nobody knows for how long.
    async fn look_around(&mut self, own: usize) -> Result<(), Failure> {
        let path = format!("/v1/pools/{}/capacity", encoded(self.pool));
        let room: CapacityView = self.context.client.ask(Method::GET, &path, Sent::nothing()).await?;
        gives_out(&room, self.pool, now())?;
        // Those that wait for their time take nobody's.
        if (room.queued + room.running).saturating_sub(room.delayed) > own as u64 && !std::mem::replace(&mut self.mixed, true) {
            self.tell("the pool has other tasks too: the figures are of both", true);
        }
        Ok(())
    }

    /// Cancel what nobody has begun.
    async fn take_back(&mut self) {
        if self.open.is_empty() {
            return;
        }
        let (mut taken, mut on) = (0, 0);
        for id in std::mem::take(&mut self.open) {
            match fetch(self.context, id).await {
                Ok(view) if view.task.state == TaskState::Queued => {
                    let path = format!("/v1/tasks/{id}/cancel");
                    let cancelled = self.context.client.ask::<TaskView>(Method::POST, &path, Sent::json(&json!({}))).await;
                    taken += u32::from(cancelled.is_ok());
                }
                Ok(view) => on += u32::from(!view.task.state.is_final()),
                // Without a daemon nothing can be taken back; the failure that ended the test says so.
                Err(_) => {}
            }
        }
        self.tell(&format!("{} taken back, {on} run on", counted(taken, "task")), true);
    }

    /// A line of progress; one that is not to stay is only for a terminal.
    fn tell(&self, words: &str, stays: bool) {
        match (self.progress, stays) {
            (true, _) => {
                // Nothing can be done about a terminal that is gone.
                let _ = write!(std::io::stderr(), "\r\x1b[K{}{}", tame(words), if stays { "\n" } else { "" });
            }
            (false, true) => note(words),
            (false, false) => {}
        }
    }
}

fn end_of(task: &Task, began: i64) -> Ended {
    let at = task.finished.map_or(0, |finished| u64::try_from(finished.0.saturating_sub(began)).unwrap_or(0));
    let ran = task.end.as_ref().map_or(0, |end| end.ran_ms);
    Ended { at, ran, good: task.state == TaskState::Succeeded }
}

fn show(args: &CapacityTest, pool: &str, (steps, advice): (&[Step], &Advice), mixed: bool) -> Result<(), Failure> {
    if args.output.is_some() {
        let whole = json!({"kind": "CapacityTest", "pool": pool, "steps": steps, "recommended": advice, "otherTasks": mixed});
        return emit(&as_json(&whole));
    }
    let mut table = Table::new(&HEADS.map(str::to_owned), true);
    steps.iter().for_each(|step| table.add(row(step)));
    let doubts: String = steps.iter().filter_map(Step::doubt).map(|words| format!("note: {words}\n")).collect();
    let words = match advice.max_replicas {
        Some(most) => format!("recommended: maxReplicas: {most}. {}\n", advice.why),
        None => format!("no number is recommended: {}\n", advice.why),
    };
    let mixed = if mixed { "note: the pool had other tasks too: the figures are of both\n" } else { "" };
    emit(&format!("{}\n{}\n{doubts}{mixed}{words}", table.take(), bars(steps, advice)))
}

/// The answer is no when no number follows; it was said already.
fn no_answer(advice: &Advice) -> Result<(), Failure> {
    if advice.max_replicas.is_some() { Ok(()) } else { Err(Failure::No(String::new())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_that_is_too_small_is_refused_with_what_to_do() {
        let pool = |spec: Value| json!({"spec": spec, "status": {}});
        let words = |object: &Value, to| fits(object, "web", to).err().map(|failure| failure.text()).unwrap_or_default();
        let fixed = pool(json!({"replicas": 3, "queue": {}}));
        assert_eq!(words(&fixed, 3), "");
        assert!(words(&fixed, 4).contains("3 tasks at once at most (spec.replicas): test with --to 3, or raise it"));
        let scaled = pool(json!({"scale": {"maxReplicas": 5}, "queue": {}}));
        assert_eq!(words(&scaled, 5), "");
        assert!(words(&scaled, 6).contains("(spec.scale.maxReplicas): test with --to 5"));
        assert!(words(&pool(json!({"queue": {}})), 2).contains("runs 1 tasks at once"));
        assert!(words(&pool(json!({"replicas": 9})), 2).contains("it has no queue"));
        let paused = |at| CapacityView { paused_until: Some(Wall(at)), ..CapacityView::default() };
        assert!(gives_out(&paused(1), "web", Wall(1)).is_ok() && gives_out(&CapacityView::default(), "web", Wall(1)).is_ok());
        let refused = gives_out(&paused(221_845_392_000_000), "web", Wall(1)).unwrap_err().text();
        assert!(refused.contains("is paused until it is resumed: ctl resume queue/web"), "{refused}");
    }
}
