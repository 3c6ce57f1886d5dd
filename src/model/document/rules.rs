//! What no single field can say: rules between fields, checked on documents whose fields are good.
//!
//! Each rule gives the path that the author has to change. The engine relies on all of them; nothing checks them again.

use std::collections::BTreeSet;

use serde_json::Value;

use super::sources;
use super::tree::{Broken, Step, at};
use super::used;
use crate::model::expansion::{Expansion, Field};
use crate::model::meta::NAME_BYTES_MAX;
use crate::model::payload;
use crate::model::policy::{Amounts, Apply, Bounds, Mode, PolicyDown, PolicySpec, PolicyUp};
use crate::model::pool::{PoolSpec, Webhook, WorkerPool};
use crate::model::queue::{Delivery, FailureAction, ForgeHook, Queue};
use crate::model::reading::counted;
use crate::model::scale::{FallbackBehavior, Scale};
use crate::model::template::Template;

/// The broken rules of a pool.
pub fn pool(pool: &WorkerPool) -> Vec<Broken> {
    let mut broken = Vec::new();
    template(&pool.spec.template, &mut broken);
    used::recycle(&pool.spec, &mut broken);
    names(pool, &mut broken);
    if pool.spec.update_strategy.max_unavailable == 0 && pool.spec.update_strategy.max_surge == 0 {
        let message = "found 0 with maxSurge 0: nothing could ever be replaced; give one of them at least 1";
        broken.push((at("spec.updateStrategy.maxUnavailable"), message.into()));
    }
    if let Some(scale) = &pool.spec.scale {
        scaling(scale, &mut broken);
    }
    for (n, notify) in pool.spec.notify.iter().enumerate() {
        if let Some(Err(words)) = notify.webhook.as_ref().map(receiver) {
            broken.push((at(&format!("spec.notify.{n}.webhook.url")), words));
        }
        if notify.exec.as_ref().and_then(|exec| exec.command.first()).is_some_and(String::is_empty) {
            broken.push((at(&format!("spec.notify.{n}.exec.command.0")), "the program's name is empty".into()));
        }
    }
    if let Some(queue) = &pool.spec.queue {
        if queue.timeout > queue.max_timeout {
            broken.push((at("spec.queue.timeout"), format!("found {}, above maxTimeout {}", queue.timeout, queue.max_timeout)));
        }
        if queue.retry.backoff.initial > queue.retry.backoff.max {
            broken.push((at("spec.queue.retry.backoff.initial"), "is above max".into()));
        }
        self::queue(queue, &mut broken);
    }
    match &pool.spec.queue {
        Some(queue) if queue.delivery == Delivery::Process => carried(queue, &pool.spec.template.command, &mut broken),
        queue => taken(queue.is_some(), &pool.spec.template.command, &mut broken),
    }
    broken
}

/// A command that is not run for a task takes nothing from one.
fn taken(leased: bool, command: &[String], broken: &mut Vec<Broken>) {
    let why = if leased { "its workers take their tasks themselves (delivery: Lease)" } else { "the pool has no queue" };
    for n in (0..command.len()).filter(|n| payload::takes(&command[*n])) {
        let words = format!(
            "takes something from a task's payload, and no task is given to this command: {why}; for the text itself write $$(payload…)"
        );
        broken.push((at(&format!("spec.template.command.{n}")), words));
    }
}

/// What the tasks of schedules and webhooks carry fits the command that is run for each of them.
fn carried(queue: &Queue, command: &[String], broken: &mut Vec<Broken>) {
    let schedules = queue.schedules.iter().enumerate().map(|(n, schedule)| (format!("schedules.{n}"), &schedule.payload));
    let webhooks = queue.webhooks.iter().enumerate().map(|(n, hook)| (format!("webhooks.{n}"), &hook.payload));
    for (of, carries) in schedules.chain(webhooks) {
        if let Err(why) = payload::arguments(command, &Value::Object(carries.clone())) {
            broken.push((at(&format!("spec.queue.{of}.payload")), format!("its tasks could never begin: {why}")));
        }
    }
}

fn queue(queue: &Queue, broken: &mut Vec<Broken>) {
    let mut seen = BTreeSet::new();
    for (n, schedule) in queue.schedules.iter().enumerate() {
        if schedule.every.is_some() && schedule.time_zone.is_some() {
            let words = "goes with cron: an interval is as long in every time zone".into();
            broken.push((at(&format!("spec.queue.schedules.{n}.timeZone")), words));
        }
        if !seen.insert(&schedule.name) {
            broken.push((
                at(&format!("spec.queue.schedules.{n}.name")),
                format!("\"{}\" is already a schedule above", schedule.name),
            ));
        }
    }
    for (n, rule) in queue.failure_policy.iter().enumerate() {
        let path = |field: &str| at(&format!("spec.queue.failurePolicy.{n}.{field}"));
        let pauses = rule.action == FailureAction::PausePool;
        if rule.pause_for.is_some() && (!pauses || rule.until.is_some()) {
            broken.push((path("for"), "goes with action PausePool alone, and not together with until".into()));
        }
        if rule.until.is_some() && !pauses {
            broken.push((path("until"), "goes with action PausePool alone".into()));
        }
        if rule.exit_codes.contains(&0) {
            broken.push((path("exitCodes"), "found 0, which is success and never gets here".into()));
        }
    }
    for (n, hook) in queue.webhooks.iter().enumerate() {
        webhook(hook, at(&format!("spec.queue.webhooks.{n}")), broken);
    }
}

/// An address that events are posted to. What it leads to is judged when it is asked.
fn receiver(webhook: &Webhook) -> Result<(), String> {
    let (url, local) = (&webhook.url, ["localhost", "127.0.0.1", "[::1]"]);
    let (scheme, rest) = url.split_once("://").unwrap_or_default();
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit_once(':').filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()));
    let host = host.map_or(authority, |(host, _)| host);
    if !["http", "https"].contains(&scheme) || host.is_empty() || url.contains(char::is_whitespace) {
        return Err("is not an address: write https://… or http://…".into());
    }
    if authority.contains('@') {
        return Err("has a user or password in it: name the secret in tokenFrom".into());
    }
    if scheme == "http" && webhook.token_from.is_some() && !local.contains(&host) {
        return Err("would send the token for everybody on the way to read: use https".into());
    }
    Ok(())
}

fn webhook(hook: &ForgeHook, path: Vec<Step>, broken: &mut Vec<Broken>) {
    let below = |field: &str, rest: Vec<Step>| [path.clone(), vec![Step::Key(field.into())], rest].concat();
    for name in hook.matches.keys() {
        if let Err(words) = Field::parse(name) {
            broken.push((below("match", vec![Step::Key(name.clone())]), words));
        }
    }
    if let Some(Err(words)) = hook.key.as_deref().map(Expansion::parse) {
        broken.push((below("key", Vec::new()), words));
    }
    for (name, value) in &hook.payload {
        texts(value, &mut below("payload", vec![Step::Key(name.clone())]), broken);
    }
    if hook.key.as_deref() == Some("") {
        broken.push((below("key", Vec::new()), "is empty: leave it out for tasks that wait for no other".into()));
    }
    if let Some(n) = hook.allow_actors.iter().position(String::is_empty) {
        broken.push((below("allowActors", vec![Step::Item(n)]), "the name is empty: nobody has it".into()));
    }
    if let Some(n) = hook.allow_actors.iter().position(|actor| actor == "*") {
        let words = "name each of them: a webhook that everybody may use would run whatever a stranger writes".into();
        broken.push((below("allowActors", vec![Step::Item(n)]), words));
    }
}

/// Every text in a payload, however deep.
fn texts(value: &Value, path: &mut Vec<Step>, broken: &mut Vec<Broken>) {
    let mut inside = |step: Step, value: &Value| {
        path.push(step);
        texts(value, path, broken);
        path.pop();
    };
    match value {
        Value::String(text) => {
            if let Err(words) = Expansion::parse(text) {
                broken.push((path.clone(), words));
            }
        }
        Value::Array(items) => items.iter().enumerate().for_each(|(n, value)| inside(Step::Item(n), value)),
        Value::Object(map) => map.iter().for_each(|(key, value)| inside(Step::Key(key.clone()), value)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn template(template: &Template, broken: &mut Vec<Broken>) {
    if template.command.first().is_some_and(String::is_empty) {
        broken.push((at("spec.template.command.0"), "the program's name is empty".into()));
    }
    let home = |path: &str| path == "~" || path.starts_with("~/");
    let paths = [("workingDir", template.working_dir.as_deref()), ("command.0", template.command.first().map(String::as_str))];
    for (field, _) in paths.into_iter().filter(|(_, path)| path.is_some_and(home)) {
        let words = "no shell reads it, so ~ is no directory: write the whole path";
        broken.push((at(&format!("spec.template.{field}")), words.into()));
    }
    if template.backoff.initial > template.backoff.max {
        let message = format!("found {}, above max {}", template.backoff.initial, template.backoff.max);
        broken.push((at("spec.template.backoff.initial"), message));
    }
    let mut seen = BTreeSet::new();
    for (n, var) in template.env.iter().enumerate() {
        if !seen.insert(&var.name) {
            broken.push((at(&format!("spec.template.env.{n}.name")), format!("\"{}\" is already set above", var.name)));
        }
    }
    let commands = [
        ("startupProbe", &template.startup_probe),
        ("readinessProbe", &template.readiness_probe),
        ("livenessProbe", &template.liveness_probe),
    ];
    for (name, probe) in commands {
        if probe.as_ref().and_then(|p| p.exec.as_ref()).and_then(|e| e.command.first()).is_some_and(String::is_empty) {
            broken.push((at(&format!("spec.template.{name}.exec.command.0")), "the program's name is empty".into()));
        }
    }
}

/// The most workers that there can be at once, surge counted.
fn most(spec: &PoolSpec) -> u32 {
    let wanted = spec.scale.as_ref().map_or_else(|| spec.replicas.unwrap_or(1), |scale| scale.max_replicas);
    wanted.saturating_add(spec.update_strategy.max_surge)
}

/// The highest bound that there is at any time.
fn highest(scale: &Scale) -> u32 {
    scale.schedules.iter().filter_map(|window| window.max_replicas).fold(scale.max_replicas, u32::max)
}

fn names(pool: &WorkerPool, broken: &mut Vec<Broken>) {
    let names = &pool.spec.worker_names;
    if names.is_empty() {
        return;
    }
    let mut seen = BTreeSet::new();
    for (n, name) in names.iter().enumerate() {
        let path = at(&format!("spec.workerNames.{n}"));
        if !seen.insert(name) {
            broken.push((path, format!("\"{name}\" is already named above")));
        } else if pool.metadata.name.len() + 1 + name.len() > NAME_BYTES_MAX * 2 {
            broken.push((path, "is too long together with the pool's name".into()));
        }
    }
    let (given, most) = (names.len(), most(&pool.spec));
    if (given as u64) < u64::from(most) {
        let (found, wanted) = (counted(given as u64, "name"), counted(most, "worker"));
        broken.push((at("spec.workerNames"), format!("found {found} for up to {wanted}: give at least {most}")));
    }
}

fn scaling(scale: &Scale, broken: &mut Vec<Broken>) {
    if scale.min_replicas > scale.max_replicas {
        broken.push((
            at("spec.scale.minReplicas"),
            format!("found {}, above maxReplicas {}", scale.min_replicas, scale.max_replicas),
        ));
    }
    if scale.min_idle > scale.max_replicas {
        let message = format!("found {}, above maxReplicas {}", scale.min_idle, scale.max_replicas);
        broken.push((at("spec.scale.minIdle"), message));
    }
    triggers(scale, broken);
    used::scale(scale, broken);
    let mut seen = BTreeSet::new();
    for (n, quota) in scale.quota.iter().enumerate() {
        if !seen.insert(&quota.name) {
            let message = format!("\"{}\" is already named above", quota.name);
            broken.push((at(&format!("spec.scale.quota.{n}.name")), message));
        }
        if quota.resume_above < quota.pause_below {
            broken.push((at(&format!("spec.scale.quota.{n}.resumeAbove")), "is below pauseBelow".into()));
        }
        sources::source(&quota.source, &format!("spec.scale.quota.{n}.source"), broken);
    }
    let (fallback, most) = (scale.fallback, highest(scale));
    if fallback.behavior != FallbackBehavior::Hold && fallback.replicas > most {
        let message = format!("found {}, above maxReplicas {most}: it could never come to that", fallback.replicas);
        broken.push((at("spec.scale.fallback.replicas"), message));
    }
    windows(scale, broken);
}

/// Other bounds by the clock are bounds.
fn windows(scale: &Scale, broken: &mut Vec<Broken>) {
    for (n, window) in scale.schedules.iter().enumerate() {
        if window.min_replicas.is_none() && window.max_replicas.is_none() {
            broken.push((
                at(&format!("spec.scale.schedules.{n}")),
                "changes nothing: give minReplicas, maxReplicas or both".into(),
            ));
        }
        let (min, max) = (window.min_replicas.unwrap_or(scale.min_replicas), window.max_replicas.unwrap_or(scale.max_replicas));
        if min > max {
            // The author wrote one of them here at least, or the pool's own bounds are the wrong ones.
            let (field, message) = match (window.min_replicas, window.max_replicas) {
                (Some(_), Some(_)) => ("minReplicas", format!("found {min}, above maxReplicas {max}")),
                (Some(_), None) => {
                    ("minReplicas", format!("found {min}, above the pool's own maxReplicas {max}: give both here"))
                }
                (None, Some(_)) => {
                    ("maxReplicas", format!("found {max}, below the pool's own minReplicas {min}: give both here"))
                }
                (None, None) => continue,
            };
            broken.push((at(&format!("spec.scale.schedules.{n}.{field}")), message));
        }
    }
}

fn triggers(scale: &Scale, broken: &mut Vec<Broken>) {
    let mut seen = BTreeSet::new();
    for (n, trigger) in scale.triggers.iter().enumerate() {
        let path = format!("spec.scale.triggers.{n}");
        let name = trigger.name();
        if !seen.insert(name) {
            let message = format!("\"{name}\" is already a trigger above: give each a name of its own");
            broken.push((at(&path), message));
        }
        if let Some(timeout) = trigger.timeout.filter(|timeout| *timeout > trigger.polling_interval) {
            let message = format!("found {timeout}, above pollingInterval {}", trigger.polling_interval);
            broken.push((at(&format!("{path}.timeout")), message));
        }
        let bound = trigger.step.as_ref().and_then(|step| step.up.above.map(|above| (step.down.at_most, above)));
        if let Some((low, high)) = bound.filter(|(low, high)| low > high) {
            let message = format!("found {low}, above up.above {high}: the size would go up and down for ever");
            broken.push((at(&format!("{path}.step.down.atMost")), message));
        }
        sources::source(&trigger.source, &path, broken);
    }
}

/// The broken rules of a policy.
pub fn policy(spec: &PolicySpec) -> Vec<Broken> {
    let mut broken = Vec::new();
    let Amounts { cpu, memory, tasks } = spec.bounds.min;
    let above = |low: Option<u64>, high: Option<u64>| low.is_some_and(|low| high.is_some_and(|high| low > high));
    let max = spec.bounds.max;
    let checks = [
        ("cpu", above(cpu.map(|c| c.0), max.cpu.map(|c| c.0))),
        ("memory", above(memory.map(|m| m.0), max.memory.map(|m| m.0))),
        ("tasks", above(tasks.map(u64::from), max.tasks.map(u64::from))),
    ];
    for (name, _) in checks.iter().filter(|(_, wrong)| *wrong) {
        broken.push((at(&format!("spec.bounds.min.{name}")), "is above max".into()));
    }
    thresholds(&spec.scale_up, &spec.scale_down, &mut broken);
    if spec.mode == Mode::Manual && spec.manual.is_none() {
        broken.push((at("spec.mode"), "Manual needs the field manual".into()));
    }
    if spec.bounds == Bounds::default() {
        broken
            .push((at("spec.bounds"), "says nothing: give min and max of cpu, memory or tasks, whatever is to be moved".into()));
    }
    if spec.apply == Apply::Restart && spec.target.unit.as_ref().is_none_or(|unit| !unit.name.ends_with(".service")) {
        broken.push((at("spec.apply"), "Restart is for services: the target is none".into()));
    }
    used::gauges(spec, &mut broken);
    for (n, gauge) in spec.gauges.iter().enumerate() {
        if spec.gauges[..n].iter().any(|before| before.name == gauge.name) {
            broken.push((at(&format!("spec.gauges.{n}.name")), "is already a gauge above: give each a name of its own".into()));
        }
        sources::source(&gauge.source, &format!("spec.gauges.{n}.source"), &mut broken);
    }
    for (n, rule) in spec.idle_when.iter().enumerate() {
        if !spec.gauges.iter().any(|gauge| gauge.name == rule.gauge) {
            broken.push((at(&format!("spec.idleWhen.{n}.gauge")), format!("\"{}\" is none of the gauges", rule.gauge)));
        }
    }
    broken
}

/// Without a use between the two by which a limit stays, it would be raised and lowered for ever.
fn thresholds(up: &PolicyUp, down: &PolicyDown, broken: &mut Vec<Broken>) {
    for (name, down, up) in [("cpu", down.cpu, up.cpu), ("memory", down.memory, up.memory), ("tasks", down.tasks, up.tasks)] {
        if let (Some(down), Some(up)) = (down, up)
            && down >= up
        {
            let message = format!(
                "found {down}, not below scaleUp.{name} {up}: between the two a limit is left alone, and there is nothing between them"
            );
            broken.push((at(&format!("spec.scaleDown.{name}")), message));
        }
    }
}
