//! `describe`: everything about a pool or a worker, for people, in the layout of kubectl describe.
//!
//! Programs should use `get -o json`: what stands here may change. Reads leniently, as the tables do, and works from files
//! too, without events then.

use std::fmt::Write as _;

use serde_json::Value;

use super::Context;
use crate::ctl::error::Failure;
use crate::ctl::jsonpath::bare;
use crate::ctl::print::{Table, emit, shown_yaml};
use crate::ctl::resource::{short, targets};
use crate::ctl::text::tame;
use crate::ctl::time::{age, age_of, now};
use crate::model::reading::{counted, times};
use crate::model::status::Kind;
use crate::model::time::{Span, Wall};
use crate::serve::wire::columns::{bounds, last_exit, number, pool_status, restarts, row, tasks, text, worker_status};
use crate::serve::wire::policy_columns;

/// Width of the field names.
const LABEL_WIDTH: usize = 18;

/// Most events that are shown; `ctl get events` has the rest.
const EVENTS_MAX: usize = 20;

/// `ctl describe`
pub(super) async fn run(context: &Context, words: &[String]) -> Result<(), Failure> {
    let mut parts = Vec::new();
    for target in targets(words)? {
        let mut objects = Vec::new();
        if target.names.is_empty() {
            objects = context.list(target.kind, "").await?.items;
        }
        for name in &target.names {
            objects.push(context.get(target.kind, name).await?);
        }
        for object in objects {
            let part = match target.kind {
                Kind::Pool => pool(&object, now()) + &workers(context, &object).await?,
                Kind::Worker => worker(&object, now()),
                Kind::Policy => policy(&object, now()),
                Kind::Event => shown_yaml(&object),
            };
            let name = format!("{}/{}", short(target.kind), text(&object, "/metadata/name"));
            parts.push(part + &events(context, &name).await?);
        }
    }
    emit(&parts.join("\n\n"))
}

/// Lines of `Name:   value`.
#[derive(Default)]
pub(super) struct Sheet(String);

impl Sheet {
    /// All of it.
    pub(super) fn text(self) -> String {
        self.0
    }

    pub(super) fn line(&mut self, label: &str, value: &str) {
        let value = if value.is_empty() { "<none>".into() } else { tame(value) };
        writeln!(self.0, "{:<LABEL_WIDTH$}{value}", format!("{label}:")).expect("writing to a string cannot fail");
    }

    /// A field only when there is something to say.
    pub(super) fn maybe(&mut self, label: &str, value: &str) {
        if !value.is_empty() {
            self.line(label, value);
        }
    }

    fn map(&mut self, label: &str, value: Option<&Value>) {
        let pairs: Vec<String> = value
            .and_then(Value::as_object)
            .map(|map| map.iter().map(|(key, value)| format!("{key}={}", bare(value))).collect())
            .unwrap_or_default();
        self.line(label, pairs.first().map_or("", String::as_str));
        for pair in pairs.iter().skip(1) {
            writeln!(self.0, "{:<LABEL_WIDTH$}{}", "", tame(pair)).expect("writing to a string cannot fail");
        }
    }

    pub(super) fn block(&mut self, label: &str, body: &str) {
        writeln!(self.0, "{label}:").expect("writing to a string cannot fail");
        for line in body.lines() {
            writeln!(self.0, "  {line}").expect("writing to a string cannot fail");
        }
    }

    fn stamp(&mut self, label: &str, object: &Value, pointer: &str, now: Wall) {
        let stamp = text(object, pointer);
        if !stamp.is_empty() {
            self.line(label, &format!("{stamp} ({} ago)", age_of(Some(stamp), now)));
        }
    }
}

fn meta(object: &Value, now: Wall) -> Sheet {
    let mut sheet = Sheet::default();
    sheet.line("Name", text(object, "/metadata/name"));
    sheet.maybe("Pool", text(object, "/metadata/owner"));
    sheet.map("Labels", object.pointer("/metadata/labels"));
    sheet.map("Annotations", object.pointer("/metadata/annotations"));
    sheet.stamp("Created", object, "/metadata/creationTimestamp", now);
    sheet.stamp("Deleting since", object, "/metadata/deletionTimestamp", now);
    sheet
}

fn pool(object: &Value, now: Wall) -> String {
    let mut sheet = meta(object, now);
    let count = |name: &str| number(object, &format!("/status/{name}"));
    sheet.line("Status", &pool_status(object));
    let revision = text(object, "/status/source/revision");
    let revision = if revision.is_empty() { String::new() } else { format!(" at {revision}") };
    sheet.line("Source", &format!("{}:{}{revision}", text(object, "/status/source/file"), number(object, "/status/source/line")));
    let (min, max) = bounds(object);
    sheet.line(
        "Replicas",
        &format!(
            "{} desired ({min} to {max}) | {} total | {} ready | {} updated | {} busy | {} terminating | {} stuck",
            count("desiredReplicas"),
            count("replicas"),
            count("readyReplicas"),
            count("updatedReplicas"),
            count("busyReplicas"),
            count("terminatingReplicas"),
            count("stuckReplicas")
        ),
    );
    if let Some(scaled) = object.pointer("/status/lastScale") {
        let (from, to) = (number(scaled, "/from"), number(scaled, "/to"));
        let at = age_of(object.pointer("/status/lastScaleTime").and_then(Value::as_str), now);
        sheet.line("Last scale", &format!("{from} to {to}, {at} ago: {}", text(scaled, "/reason")));
    }
    sheet.maybe("Update strategy", text(object, "/spec/updateStrategy/type"));
    sheet.line("Template hash", text(object, "/status/templateHash"));
    if let Some(template) = object.pointer("/spec/template") {
        sheet.block("Template", &shown_yaml(template));
    }
    sheet.0 + &queue(object, now) + &schedules(object, now) + &conditions(object, now) + &waiting(object)
}

fn worker(object: &Value, now: Wall) -> String {
    let mut sheet = meta(object, now);
    sheet.line("Status", &worker_status(object));
    sheet.line("Ready", &object.pointer("/status/ready").map(bare).unwrap_or_default());
    sheet.line("Busy", &object.pointer("/status/busy").map(bare).unwrap_or_default());
    sheet.line("PID", &object.pointer("/status/pid").map(bare).unwrap_or_default());
    sheet.line("Run", &number(object, "/status/incarnation").to_string());
    sheet.line("Restarts", &restarts(object, now));
    sheet.stamp("Started", object, "/status/startedAt", now);
    sheet.maybe("Next start", text(object, "/status/nextStartAt"));
    sheet.line("Template hash", text(object, "/status/templateHash"));
    sheet.maybe("Message", text(object, "/status/message"));
    if number(object, "/status/droppedLogBytes") > 0 {
        sheet.line("Log dropped", &format!("{} bytes", number(object, "/status/droppedLogBytes")));
    }
    let has = tasks(object);
    if has != "-" {
        sheet.line("Tasks", &has);
    }
    statistics(&mut sheet, object.pointer("/status/stats"));
    if let Some(exit) = object.pointer("/status/lastExit") {
        sheet.line("Last exit", &last_exit(object));
        let mut inner = Sheet::default();
        inner.maybe("Message", text(exit, "/message"));
        inner.stamp("Started", exit, "/started", now);
        inner.stamp("Finished", exit, "/finished", now);
        inner.line("Ran", &crate::model::time::Span::millis(number(exit, "/ranMs")).to_string());
        inner.line("CPU time", &crate::model::time::Span::millis(number(exit, "/cpuMs")).to_string());
        inner.line("Peak memory", &format!("{} KiB", number(exit, "/maxRssKib")));
        inner.line("Told to stop", &exit.get("asked").map(bare).unwrap_or_default());
        sheet.0.extend(inner.0.lines().map(|line| format!("  {line}\n")));
    }
    sheet.0
}

fn policy(object: &Value, now: Wall) -> String {
    let mut sheet = meta(object, now);
    let cells = policy_columns::row(object, now);
    let [_, target, mode, cpu, memory, tasks, ..] = cells.as_slice() else { return sheet.text() };
    sheet.line("Status", &policy_columns::status(object));
    sheet.line("Source", &format!("{}:{}", text(object, "/status/source/file"), number(object, "/status/source/line")));
    sheet.line("Target", target);
    sheet.line("Mode", mode);
    sheet.line("Profile", text(object, "/status/profile"));
    sheet.line("CPU", cpu);
    sheet.line("Memory", memory);
    sheet.line("Tasks", tasks);
    let idle = object.pointer("/status/idle").and_then(Value::as_bool).unwrap_or_default();
    sheet.line("Idle", if idle { "yes" } else { "no, or not known" });
    let checks = [number(object, "/status/checks/up"), number(object, "/status/checks/down")];
    sheet.line("Checks", &format!("{} with a breach | {} calm, in a row", checks[0], checks[1]));
    let counts = [number(object, "/status/scaleUpCount"), number(object, "/status/scaleDownCount")];
    sheet.line("Changes", &format!("{} up | {} down", counts[0], counts[1]));
    sheet.maybe("Expected", text(object, "/status/forecast/summary"));
    let history = object.pointer("/status/history").and_then(Value::as_array).into_iter().flatten();
    sheet.text()
        + &conditions(object, now)
        + &indented("History", &policy_columns::change_heads(), history.map(policy_columns::change))
}

/// What stands in a pool's queue, and what came of its tasks; nothing for a pool without one.
fn queue(object: &Value, now: Wall) -> String {
    let Some(queue) = object.pointer("/status/queue").filter(|queue| queue.is_object()) else { return String::new() };
    let count = |name: &str| number(queue, &format!("/{name}"));
    let mut sheet = Sheet::default();
    let [ready, delayed, blocked, held, running] = ["ready", "delayed", "blocked", "held", "running"].map(count);
    let words = format!("{running} running | {ready} ready | {delayed} delayed | {blocked} blocked | {held} held");
    sheet.line("Queue", &format!("{words} | {} free | capacity {}", counted(count("freeSlots"), "slot"), count("capacity")));
    let until = text(queue, "/pausedUntil");
    if let Some(until) = until.parse().ok().filter(|until: &Wall| *until > now) {
        sheet.line("Queue paused", &format!("{}: {}", until.or_resumed(), text(queue, "/pausedWhy")));
    }
    statistics(&mut sheet, queue.get("stats"));
    sheet.0
}

/// What comes to a pool's queue by itself, and when.
fn schedules(object: &Value, now: Wall) -> String {
    let of = |pointer: &str| object.pointer(pointer).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let (spec, status) = (of("/spec/queue/schedules"), of("/status/queue/schedules"));
    let line = |schedule: &Value| {
        let name = text(schedule, "/name");
        let (cron, zone, every) = (text(schedule, "/cron"), text(schedule, "/timeZone"), text(schedule, "/every"));
        let zone = if zone.is_empty() { "UTC" } else { zone };
        let beat = if cron.is_empty() { format!("every {every}") } else { format!("{cron} ({zone})") };
        let Some(seen) = status.iter().find(|seen| text(seen, "/name") == name) else { return format!("{name}: {beat}") };
        let count = number(seen, "/count");
        match text(seen, "/next").parse::<Wall>() {
            Ok(next) => format!("{name}: {beat} | next {next} (in {}) | came {}", age(now, next), times(count)),
            Err(_) => format!("{name}: {beat} | comes no more: came {}", times(count)),
        }
    };
    let lines: Vec<String> = spec.iter().map(|schedule| tame(&line(schedule))).collect();
    let mut sheet = Sheet::default();
    if !lines.is_empty() {
        sheet.block("Schedules", &lines.join("\n"));
    }
    sheet.0
}

/// What came of tasks since the daemon started; nothing where there were none.
fn statistics(sheet: &mut Sheet, stats: Option<&Value>) {
    let Some(stats) = stats.filter(|stats| stats.is_object()) else { return };
    let count = |name: &str| number(stats, &format!("/{name}"));
    let (done, failed) = (count("done"), count("failed"));
    let Some(percent) = done.saturating_mul(100).checked_div(done + failed) else { return };
    sheet.line("Attempts", &format!("{done} done | {failed} failed | {percent}% succeeded"));
    let span = |name: &str| Span::millis(count(name)).to_string();
    sheet.line("Task time", &format!("{} busy | half take {} | 95% take {}", span("busyMs"), span("p50Ms"), span("p95Ms")));
}

fn conditions(object: &Value, now: Wall) -> String {
    let conditions = object.pointer("/status/conditions").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    let heads = ["Type", "Status", "Reason", "Since", "Message"].map(str::to_owned);
    let rows = conditions.iter().map(|condition| {
        let since = age_of(condition.pointer("/lastTransitionTime").and_then(Value::as_str), now);
        let of = |name: &str| text(condition, name).to_owned();
        vec![of("/type"), of("/status"), of("/reason"), since, of("/message")]
    });
    indented("Conditions", &heads, rows)
}

fn waiting(object: &Value) -> String {
    let waiting = object.pointer("/status/waitingOn").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if waiting.is_empty() {
        return String::new();
    }
    let mut sheet = Sheet::default();
    let lines: Vec<String> = waiting.iter().map(|what| tame(&bare(what))).collect();
    sheet.block("Waiting on", &lines.join("\n"));
    sheet.0
}

async fn workers(context: &Context, pool: &Value) -> Result<String, Failure> {
    let name = text(pool, "/metadata/name");
    let all = context.list(Kind::Worker, "").await?.items;
    let heads = ["Name", "Status", "Ready", "PID", "Restarts", "Age"].map(str::to_owned);
    let rows = all.iter().filter(|worker| text(worker, "/metadata/owner") == name).map(|worker| {
        let mut row = row(Kind::Worker, false, worker, now());
        row.remove(1);
        row
    });
    Ok(indented("Workers", &heads, rows))
}

/// The last events about an object; without a daemon there are none to show.
async fn events(context: &Context, about: &str) -> Result<String, Failure> {
    events_of(context, |event| text(event, "/regarding") == about).await
}

/// The last of those that are wanted.
pub(super) async fn events_of(context: &Context, wanted: impl Fn(&Value) -> bool) -> Result<String, Failure> {
    let mut events = match context.client.list(Kind::Event, "").await {
        Ok(list) => list.items,
        Err(Failure::NoDaemon(_)) => return Ok(String::new()),
        Err(failure) => return Err(failure),
    };
    events.retain(wanted);
    events.sort_by(|a, b| text(a, "/eventTime").cmp(text(b, "/eventTime")));
    let heads = ["Type", "Reason", "Age", "Message"].map(str::to_owned);
    let rows = events.iter().skip(events.len().saturating_sub(EVENTS_MAX)).map(|event| {
        let of = |name: &str| text(event, name).to_owned();
        vec![of("/type"), of("/reason"), age_of(Some(text(event, "/eventTime")), now()), of("/note")]
    });
    Ok(indented("Events", &heads, rows))
}

/// A titled table, as kubectl describe has them.
fn indented(title: &str, heads: &[String], rows: impl Iterator<Item = Vec<String>>) -> String {
    let mut table = Table::new(heads, true);
    table.add(heads.iter().map(|head| "-".repeat(head.len())).collect());
    let mut any = false;
    for row in rows {
        table.add(row);
        any = true;
    }
    if !any {
        return format!("{:<LABEL_WIDTH$}<none>\n", format!("{title}:"));
    }
    let lines: String = table.take().lines().map(|line| format!("  {line}\n")).collect();
    format!("{title}:\n{lines}")
}
