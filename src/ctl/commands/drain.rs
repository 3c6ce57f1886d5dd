//! `drain`: no more tasks, and what is under way may finish.
//!
//! A pool rests then, with its workers, until `ctl resume queue/NAME`. A worker is ended when it is idle, and another run takes
//! its place. Waiting is watching.

use hyper::Method;
use serde_json::Value;

use super::Context;
use super::wait::{Seen, follow};
use crate::ctl::args::Drain;
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::print::emit;
use crate::ctl::resource::{Target, of_queues, targets};
use crate::ctl::text::tame;
use crate::ctl::time::now;
use crate::model::status::Kind;
use crate::model::time::Wall;
use crate::serve::wire::columns::{number, text};
use crate::serve::wire::tasks::PauseQueue;
use crate::serve::wire::{Drained, Status};

/// What stands beside a queue that rests.
const WHY: &str = "drained";

/// `ctl drain`
pub(super) async fn run(context: &Context, args: &Drain) -> Result<(), Failure> {
    let targets = targets(&of_queues(&args.names))?;
    if targets.iter().any(|target| !matches!(target.kind, Kind::Pool | Kind::Worker) || target.names.is_empty()) {
        return Err(Failure::Usage("say which: worker/NAME or pool/NAME".into()));
    }
    for Target { kind, names } in targets {
        for name in names {
            match kind {
                Kind::Pool => pool(context, &name, args).await?,
                Kind::Worker | Kind::Policy | Kind::Event => worker(context, &name, args).await?,
            }
        }
    }
    Ok(())
}

async fn pool(context: &Context, name: &str, args: &Drain) -> Result<(), Failure> {
    let object = context.client.get(Kind::Pool, name).await?;
    if !object.pointer("/spec/queue").is_some_and(Value::is_object) {
        return Err(Failure::No(format!("pool/{name} has no queue that could give it tasks: {}", instead(&object, name))));
    }
    let pause = PauseQueue { span: None, until: None, reason: WHY.into() };
    let pause = serde_json::to_value(&pause).expect("plain data");
    let at = format!("/v1/pools/{}/queue/pause", encoded(name));
    let _: Status = context.client.ask(Method::POST, &at, Sent::json(&pause)).await?;
    emit(&format!("pool/{} gets no more tasks; `ctl resume queue/{}` ends that\n", tame(name), tame(name)))?;
    until(context, (Kind::Pool, name), args, in_use).await
}

/// What to do with a pool that has no queue.
fn instead(pool: &Value, name: &str) -> String {
    let all = if pool.pointer("/spec/scale").is_some_and(Value::is_object) {
        format!(
            "ctl pause pool/{name} holds its size, spec.scale.maxReplicas: 0 (ctl edit pool/{name}; minReplicas: 0 too) ends its \
             workers when they are idle"
        )
    } else {
        format!("ctl scale pool/{name} --replicas 0 ends its workers")
    };
    format!("{all}, ctl drain worker/NAME one when it is idle")
}

/// Why a pool is not drained yet. Only a status that shows the rest says how many tasks there are: one from before it may show
/// none while one is being given.
fn in_use(pool: &Value) -> Option<String> {
    if !text(pool, "/status/queue/pausedUntil").parse().is_ok_and(|until: Wall| until > now()) {
        return Some("its queue does not show yet that it rests".into());
    }
    match number(pool, "/status/queue/running") {
        0 => None,
        n => Some(format!("{n} tasks run")),
    }
}

async fn worker(context: &Context, name: &str, args: &Drain) -> Result<(), Failure> {
    let at = format!("/v1/workers/{}/drain", encoded(name));
    let Drained { incarnation } = context.client.ask(Method::POST, &at, Sent::nothing()).await?;
    emit(&format!("worker/{} gets no more tasks and ends when it is idle\n", tame(name)))?;
    until(context, (Kind::Worker, name), args, |worker| {
        let same = number(worker, "/status/incarnation") == incarnation;
        let over = matches!(text(worker, "/status/phase"), "Pending" | "BackOff" | "Completed" | "Failed" | "Stopped");
        (same && !over).then(|| format!("it is {}", text(worker, "/status/phase")))
    })
    .await
}

/// Wait until nothing is left to be waited for; an object that is gone is drained.
async fn until(
    context: &Context,
    (kind, name): (Kind, &str),
    args: &Drain,
    waiting: impl Fn(&Value) -> Option<String>,
) -> Result<(), Failure> {
    if args.no_wait {
        return Ok(());
    }
    let mut left = None;
    let timeout = Some(args.timeout).filter(|timeout| timeout.0 > 0);
    let done = follow(context, (kind, name), timeout, |seen| {
        left = match seen {
            Seen::Object(object) => waiting(object),
            Seen::Absent => None,
        };
        Ok(left.is_none())
    });
    let of = format!("{}/{}", crate::ctl::resource::short(kind), tame(name));
    if !done.await? {
        let what = left.unwrap_or_default();
        return Err(Failure::No(format!("timed out waiting for {of} to be drained: {what}; it goes on draining")));
    }
    emit(&format!("{of} drained\n"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_advised_for_a_pool_without_a_queue_is_not_refused_there() {
        let fixed = instead(&json!({"spec": {"replicas": 2}}), "a");
        assert_eq!(fixed, "ctl scale pool/a --replicas 0 ends its workers, ctl drain worker/NAME one when it is idle");
        let scaled = instead(&json!({"spec": {"scale": {}}}), "a");
        assert!(scaled.contains("ctl pause pool/a") && !scaled.contains("ctl scale") && !scaled.contains("  "), "{scaled}");
    }

    #[test]
    fn a_pool_is_drained_when_its_queue_rests_and_no_task_runs() {
        let pool = |queue: Value| in_use(&json!({"status": {"queue": queue}}));
        let until = "2286-11-20T17:46:39Z";
        assert!(pool(json!({"running": 0})).is_some_and(|why| why.contains("rests")), "from before the rest");
        let over = pool(json!({"running": 0, "pausedUntil": "2001-01-01T00:00:00Z"}));
        assert!(over.is_some_and(|why| why.contains("rests")), "an earlier rest");
        assert_eq!(pool(json!({"running": 2, "pausedUntil": until})).as_deref(), Some("2 tasks run"));
        assert_eq!(pool(json!({"running": 0, "pausedUntil": until})), None);
    }
}
