//! `queue`: who has a task and who waits; `pause` and `resume` of a queue.
//!
//! What stands in a queue is shown in its order, with a line that sums it up, so that nobody has to guess what a full pool does.

use std::io::IsTerminal;
use std::time::Duration;

use hyper::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Context;
use super::tasks::listed;
use crate::ctl::args::{Pause, QueueArgs};
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::print::{Format, Table, emit, list_of, redraw};
use crate::ctl::resource::{many, of_queues};
use crate::ctl::text::tame;
use crate::ctl::time::now;
use crate::model::meta::quoted;
use crate::model::reading::counted;
use crate::model::scaling::Allowance;
use crate::model::status::{Kind, MEMORY_PRESSED, QUOTA_AVAILABLE};
use crate::model::time::Wall;
use crate::serve::wire::columns::{condition, text};
use crate::serve::wire::task_columns::{is_now, pause_end, queue_heads, queue_row, rough};
use crate::serve::wire::tasks::{CapacityView, PauseQueue, TaskView};
use crate::serve::wire::{List, ROOT, Status, WatchEvent};

/// Tasks of a queue that are shown.
const SHOWN: usize = 500;

/// What changes together is shown at once, and a view no more often than this.
const REST: Duration = Duration::from_millis(200);

/// `ctl queue`
pub(super) async fn run(context: &Context, args: &QueueArgs) -> Result<(), Failure> {
    let format = Format::parse(args.output.as_deref())?;
    let pools = if args.pools.is_empty() { with_queue(context).await? } else { many(&of_queues(&args.pools), Kind::Pool)? };
    if !matches!(format, Format::Table { .. }) {
        return printed(context, &pools, (&format, args.pools.len() == 1)).await;
    }
    if args.watch {
        return follow(context, args, &pools).await;
    }
    emit(&view(context, args, &pools).await?)
}

async fn view(context: &Context, args: &QueueArgs, pools: &[String]) -> Result<String, Failure> {
    let mut parts = Vec::new();
    for pool in pools {
        parts.push(one(context, pool, !args.no_headers, pools.len() > 1).await?);
    }
    Ok(parts.join("\n"))
}

/// For programs: what there is room for, and the tasks.
async fn printed(context: &Context, pools: &[String], (format, single): (&Format, bool)) -> Result<(), Failure> {
    let mut all = Vec::new();
    for pool in pools {
        let (room, tasks) = look(context, pool).await?;
        all.push(json!({"kind": "Queue", "pool": pool, "capacity": room, "tasks": tasks}));
    }
    let whole = match all.as_slice() {
        [only] if single => only.clone(),
        many => list_of(&many.iter().collect::<Vec<_>>()),
    };
    format.program("a queue", &whole)?.map_or(Ok(()), |text| emit(&text))
}

/// Show it again whenever a task or a pool has changed.
async fn follow(context: &Context, args: &QueueArgs, pools: &[String]) -> Result<(), Failure> {
    let selector = match pools {
        [pool] => format!("&fieldSelector=spec.pool%3D{}", encoded(pool)),
        _ => String::new(),
    };
    let mut last: Option<String> = None;
    loop {
        let tasks: List = context.client.ask(Method::GET, &format!("{ROOT}/tasks?limit=1{selector}"), Sent::nothing()).await?;
        let objects = context.client.list(Kind::Pool, "").await?;
        let begun = context.client.watch_tasks(&tasks.metadata.resource_version, &selector).await;
        let mut tasks = match begun {
            Err(Failure::Server(status)) if status.code == 410 => continue,
            answered => answered?,
        };
        let mut objects = context.client.watch(Kind::Pool, &objects.metadata.resource_version, "").await?;
        loop {
            let shown = view(context, args, pools).await?;
            if last.as_ref() != Some(&shown) {
                let between = if last.is_some() && !std::io::stdout().is_terminal() { "\n" } else { "" };
                redraw(&format!("{between}{shown}"), last.is_none())?;
                last = Some(shown);
            }
            let event = tokio::select! {
                event = tasks.next::<WatchEvent>() => event?,
                event = objects.next::<WatchEvent>() => event?,
            };
            match event {
                None => return Err(Failure::NoDaemon("the daemon has ended".into())),
                Some(event) if event.verb == "ERROR" => break,
                Some(_) => tokio::time::sleep(REST).await,
            }
        }
    }
}

async fn with_queue(context: &Context) -> Result<Vec<String>, Failure> {
    let pools = context.client.list(Kind::Pool, "").await?.items;
    let has = |pool: &&Value| pool.pointer("/spec/queue").is_some_and(Value::is_object);
    let names: Vec<String> = pools.iter().filter(has).map(|pool| text(pool, "/metadata/name").to_owned()).collect();
    if names.is_empty() { Err(Failure::No("no pool has a queue".into())) } else { Ok(names) }
}

async fn look(context: &Context, pool: &str) -> Result<(CapacityView, Vec<TaskView>), Failure> {
    let path = format!("/v1/pools/{}/capacity", encoded(pool));
    let room: CapacityView = context.client.ask(Method::GET, &path, Sent::nothing()).await?;
    Ok((room, waiting(context, pool).await?))
}

async fn waiting(context: &Context, pool: &str) -> Result<Vec<TaskView>, Failure> {
    listed(context, &format!("pool={}&state=Leased,Queued,Held&limit={SHOWN}", encoded(pool))).await
}

async fn one(context: &Context, pool: &str, heads: bool, title: bool) -> Result<String, Failure> {
    let mut out = if title { format!("pool/{}\n", tame(pool)) } else { String::new() };
    let (sum, tasks) = match look(context, pool).await {
        Ok((room, tasks)) => {
            let object = context.client.get(Kind::Pool, pool).await?;
            (summary(&room, &object, tasks.len(), now()), tasks)
        }
        // What waits in the queue of a pool that is gone, or has no queue any more, waits on.
        Err(Failure::Server(gone)) if matches!(gone.code, 400 | 404) => {
            let tasks = waiting(context, pool).await.unwrap_or_default();
            if tasks.is_empty() {
                return Err(Failure::Server(gone));
            }
            let how = format!("they wait until it has one or expire, or ctl cancel --pool {pool} --all takes them back");
            (format!("{}; no document gives it a queue: {how}", counted(tasks.len() as u64, "task")), tasks)
        }
        Err(failure) => return Err(failure),
    };
    if !tasks.is_empty() {
        let mut table = Table::new(&queue_heads(), heads);
        tasks.iter().for_each(|view| table.add(queue_row(view, now())));
        out += &table.take();
    }
    Ok(out + &tame(&sum) + "\n")
}

/// `3 queued (1 delayed), 2 running, 0 of 2 slots free, room for 997 more`
fn summary(room: &CapacityView, pool: &Value, shown: usize, now: Wall) -> String {
    let kinds = [(room.delayed, "delayed"), (room.blocked, "blocked")];
    let kinds: Vec<String> = kinds.iter().filter(|(n, _)| *n > 0).map(|(n, kind)| format!("{n} {kind}")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    let held = room.held;
    let held_words = if held > 0 { format!(", {held} held") } else { String::new() };
    let left = u64::from(room.capacity).saturating_sub(room.queued + held);
    let mut out = format!(
        "{} queued{kinds}{held_words}, {} running, {} of {} slots free, room for {left} more",
        room.queued, room.running, room.free_slots, room.slots
    );
    if let Some(wait) = room.estimated_wait {
        let when = if is_now(wait) { "now".into() } else { format!("in about {}", rough(wait)) };
        out += &format!("; a new task starts {when}");
        if !room.estimated_from.is_empty() {
            out += &format!(" (by {})", room.estimated_from);
        }
    }
    if let Some(until) = room.paused_until.filter(|until| *until > now) {
        out += &format!("; paused {}: {}", pause_end(until, now), room.paused_why);
    }
    let pressed = condition(pool, MEMORY_PRESSED).filter(|said| text(said, "/status") == "True");
    for said in pressed.into_iter().chain(short_of(pool)) {
        out += &format!("; nothing is begun: {}", text(said, "/message"));
    }
    if shown >= SHOWN {
        out += &format!("; the first {SHOWN} are shown");
    }
    out
}

/// What is said of the quotas of a pool while one allows no work.
fn short_of(pool: &Value) -> Option<&Value> {
    let quotas = pool.pointer("/status/scaling/quotas").and_then(Value::as_array)?;
    let allows = |quota: &Value| Allowance::deserialize(quota).is_ok_and(|quota| quota.allows());
    condition(pool, QUOTA_AVAILABLE).filter(|_| !quotas.iter().all(allows))
}

/// The pools of `queue/NAME …` or `queue NAME …`, when it is queues that are meant.
///
/// # Errors
/// Usage: queues and something else.
pub(super) fn meant(words: &[String]) -> Result<Option<Vec<String>>, Failure> {
    let is_queue = |word: &str| matches!(word, "queue" | "queues");
    if let Some((first, rest)) = words.split_first().filter(|(first, rest)| is_queue(first) && !rest.is_empty()) {
        return match rest.iter().find(|word| word.contains('/')) {
            Some(word) => Err(Failure::Usage(format!("{} after \"{first}\": give names alone", quoted(word)))),
            None => Ok(Some(rest.to_vec())),
        };
    }
    let named = |word: &String| word.split_once('/').filter(|(kind, _)| is_queue(kind)).map(|(_, name)| name.to_owned());
    let names: Vec<String> = words.iter().filter_map(named).collect();
    match words.iter().find(|word| named(word).is_none()) {
        Some(other) if !names.is_empty() => {
            Err(Failure::Usage(format!("{} is no queue: queues and pools need a command each", quoted(other))))
        }
        _ => Ok((!names.is_empty()).then_some(names)),
    }
}

/// `ctl pause queue/NAME`
pub(super) async fn pause(context: &Context, pools: &[String], args: &Pause) -> Result<(), Failure> {
    let pause = PauseQueue { span: args.span, until: None, reason: args.reason.clone() };
    let pause = serde_json::to_value(&pause).expect("plain data");
    for pool in pools {
        let _: Status = context.client.ask(Method::POST, &path(pool, "pause"), Sent::json(&pause)).await?;
        let how = args.span.map_or_else(|| "paused".to_owned(), |span| format!("paused for {span}"));
        emit(&format!("queue/{} {how}\n", tame(pool)))?;
    }
    Ok(())
}

/// `ctl resume queue/NAME`
pub(super) async fn resume(context: &Context, pools: &[String]) -> Result<(), Failure> {
    for pool in pools {
        let _: Status = context.client.ask(Method::POST, &path(pool, "resume"), Sent::nothing()).await?;
        emit(&format!("queue/{} resumed\n", tame(pool)))?;
    }
    Ok(())
}

fn path(pool: &str, verb: &str) -> String {
    format!("/v1/pools/{}/queue/{verb}", encoded(pool))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_sum_of_a_queue() {
        let room =
            CapacityView { queued: 5, delayed: 1, held: 3, running: 2, capacity: 100, slots: 2, ..CapacityView::default() };
        let pool = json!({"status": {"queue": {"delayed": 4}}});
        let plain = "5 queued (1 delayed), 3 held, 2 running, 0 of 2 slots free, room for 92 more";
        assert_eq!(summary(&room, &pool, 10, Wall(0)), plain);
        let paused = CapacityView { paused_until: Some(Wall(60_000)), paused_why: "limit".into(), ..room.clone() };
        let quota = |left: Value, used_up: bool| {
            let quota = json!({"quota": "q", "value": left, "state": "Stale", "usedUp": used_up, "says": ""});
            let said = json!({"type": "QuotaAvailable", "status": "Unknown", "message": "why"});
            summary(&room, &json!({"status": {"scaling": {"quotas": [quota]}, "conditions": [said]}}), 10, Wall(0))
        };
        let begins_nothing =
            "5 queued (1 delayed), 3 held, 2 running, 0 of 2 slots free, room for 92 more; nothing is begun: why";
        assert_eq!([quota(json!(3.0), true), quota(json!(null), false)], [begins_nothing; 2]);
        assert!(!quota(json!(3.0), false).contains("begun"), "its last number counts");
        let words = summary(&paused, &pool, 10, Wall(0));
        assert_eq!(words, format!("{plain}; paused until 1970-01-01T00:01:00.000Z (for 60s): limit"));
    }

    #[test]
    fn queues_by_name() {
        let words = |text: &str| meant(&text.split_whitespace().map(str::to_owned).collect::<Vec<_>>());
        assert_eq!(words("queue/a queue/b").unwrap(), Some(vec!["a".into(), "b".into()]));
        assert_eq!(words("queue a").unwrap(), Some(vec!["a".into()]));
        for text in ["pool/a", "", "queue"] {
            assert_eq!(words(text).unwrap(), None, "{text}");
        }
        for (text, why) in
            [("queue/a pool/b", "\"pool/b\" is no queue"), ("b queue/a", "\"b\" is no queue"), ("queue queue/a", "names alone")]
        {
            assert!(words(text).unwrap_err().text().contains(why), "{text}");
        }
    }
}
