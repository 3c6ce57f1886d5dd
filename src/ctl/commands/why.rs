//! `explain pool/NAME`: why a pool has the size it has; `pause` and `resume`, which hold it.
//!
//! What is printed is the last decision as it stands in the status: each signal with its age, each clamp by name, who goes and
//! why, and when the size can change next. The same is there as JSON or YAML.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use crate::ctl::client::{Sent, path};
use crate::ctl::error::Failure;
use crate::ctl::print::{Table, as_json, as_yaml, emit};
use crate::ctl::resource::many;
use crate::ctl::text::{tame, tame_block};
use crate::ctl::time::{age, age_of, now};
use crate::model::reading::{counted, times};
use crate::model::status::Kind;
use crate::model::time::{Span, Wall};
use crate::serve::wire::PAUSED_UNTIL;
use crate::serve::wire::columns::{bounds, number, text};

/// `ctl explain pool/NAME` or `ctl explain pool NAME`
pub(super) async fn explain(context: &Context, words: &[String], output: Option<&str>) -> Result<(), Failure> {
    for name in many(words, Kind::Pool)? {
        let pool = context.get(Kind::Pool, &name).await?;
        let why = pool.pointer("/status/scaling").cloned().unwrap_or_else(|| fixed(&pool));
        match output {
            None => emit(&tame_block(&told(&pool, now())))?,
            Some("json") => emit(&as_json(&why))?,
            Some("yaml") => emit(&as_yaml(&why))?,
            Some(other) => return Err(Failure::Usage(format!("-o {other}: explain pool/NAME prints json or yaml"))),
        }
    }
    Ok(())
}

/// Where no trigger decides, the same fields say so: nothing was asked, and the number is the one that is wanted.
fn fixed(pool: &Value) -> Value {
    let wanted = number(pool, "/status/desiredReplicas");
    let (min, max) = bounds(pool);
    json!({
        "current": number(pool, "/status/replicas"), "min": min, "max": max, "raw": wanted, "final": wanted, "signals": [], "clamps": [],
    })
}

/// `ctl pause`
pub(super) async fn pause(context: &Context, words: &[String], span: Option<Span>) -> Result<(), Failure> {
    if span.is_some_and(|span| span.0 == 0) {
        return Err(Failure::Usage(
            "--for 0s is no pause: give a time, as --for 1h, or leave --for out to pause until \"ctl resume\"".into(),
        ));
    }
    let until = span.map_or(Wall::FOR_EVER, |span| Wall(now().0.saturating_add(i64::try_from(span.0).unwrap_or(i64::MAX))));
    for name in many(words, Kind::Pool)? {
        let pool = context.client.get(Kind::Pool, &name).await?;
        if !pool.pointer("/spec/scale").is_some_and(Value::is_object) {
            return Err(Failure::No(format!(
                "pool/{name} has a fixed number of workers (spec.replicas: {}), which nothing moves: there is nothing to pause. \
                 Set another with \"ctl scale pool/{name} --replicas N\"",
                bounds(&pool).0
            )));
        }
        annotate(context, &name, Some(until)).await?;
        let how_long = span.map_or_else(String::new, |span| format!(" for {span}"));
        emit(&format!("pool/{} paused{how_long}\n", tame(&name)))?;
    }
    Ok(())
}

/// `ctl resume`
pub(super) async fn resume(context: &Context, words: &[String]) -> Result<(), Failure> {
    for name in many(words, Kind::Pool)? {
        let pool = context.client.get(Kind::Pool, &name).await?;
        let annotations = pool.pointer("/metadata/annotations");
        let paused = annotations.and_then(|all| all.get(PAUSED_UNTIL)).is_some();
        if paused {
            annotate(context, &name, None).await?;
        }
        if pool.pointer("/spec/scale/paused") == Some(&Value::Bool(true)) {
            return Err(Failure::No(format!(
                "pool/{name} stays paused: its document says spec.scale.paused: true; take that out with \"ctl edit pool/{name}\""
            )));
        }
        emit(&format!("pool/{} {}\n", tame(&name), if paused { "resumed" } else { "was not paused" }))?;
    }
    Ok(())
}

async fn annotate(context: &Context, pool: &str, until: Option<Wall>) -> Result<(), Failure> {
    let until = until.map(|until| until.to_string());
    let to = Sent::patch(&json!({"metadata": {"annotations": {PAUSED_UNTIL: until}}}));
    let _: Value = context.client.ask(Method::PATCH, &path(Kind::Pool, pool), to).await?;
    Ok(())
}

fn told(pool: &Value, now: Wall) -> String {
    let name = text(pool, "/metadata/name");
    let desired = number(pool, "/status/desiredReplicas");
    let why = pool.pointer("/status/scaling").filter(|why| why.is_object());
    let (least, most) = match why {
        Some(why) => (number(why, "/min"), number(why, "/max")),
        None => bounds(pool),
    };
    let mut out = format!("pool/{name}: {} wanted, {least} to {most} allowed now\n", counted(desired, "worker"));
    if let Some(last) = pool.pointer("/status/lastScale") {
        let when = age_of(pool.pointer("/status/lastScaleTime").and_then(Value::as_str), now);
        let (from, to) = (number(last, "/from"), number(last, "/to"));
        out += &format!("Last change:  {from} → {to}, {when} ago: {}\n", text(last, "/reason"));
    }
    match why {
        Some(why) => out += &decision(why, now),
        None => out += "The number is fixed: there is no spec.scale.\n",
    }
    for wait in pool.pointer("/status/waitingOn").and_then(Value::as_array).into_iter().flatten() {
        out += &format!("Waits for:    {}\n", wait.as_str().unwrap_or_default());
    }
    out
}

fn decision(why: &Value, now: Wall) -> String {
    let mut out = String::new();
    out += &table("Signals", &["TRIGGER", "VALUE", "STATE", "READ", "WANTS", "WHY"], list(why, "signals"), |signal| {
        let [value, state, read, why] = reading(signal, now);
        vec![text(signal, "/trigger").into(), value, state, read, shown(signal.get("wants")), why]
    });
    out += &table("Quotas", &["QUOTA", "LEFT", "STATE", "READ", "WHY"], list(why, "quotas"), |quota| {
        let [left, state, read, why] = reading(quota, now);
        vec![text(quota, "/quota").into(), left, state, read, why]
    });
    out += &format!("Asked for:    {}\n", number(why, "/raw"));
    out += &table("Changed by", &["CLAMP", "FROM", "TO", "FOR", "WHY"], list(why, "clamps"), |clamp| {
        vec![
            text(clamp, "/name").into(),
            number(clamp, "/from").to_string(),
            number(clamp, "/to").to_string(),
            ahead(clamp.get("until"), now),
            text(clamp, "/why").into(),
        ]
    });
    out += &table("Going", &["WORKER", "WHY"], list(why, "victims"), |victim| {
        vec![text(victim, "/worker").into(), text(victim, "/why").into()]
    });
    out += &format!("Decided:      {}\n", number(why, "/final"));
    if why.get("nextChange").is_some() {
        out += &format!("Next change:  possible in {}\n", ahead(why.get("nextChange"), now));
    }
    out
}

/// What was read of a trigger or a quota: the number, how far it can be trusted, how long ago, and what comes of it.
fn reading(of: &Value, now: Wall) -> [String; 4] {
    let error = of.get("error").and_then(Value::as_str);
    let failed = match (error, of.get("doubt").and_then(Value::as_str)) {
        (Some(error), _) => format!("; failed {}: {error}", times(number(of, "/failures"))),
        (None, Some(doubt)) => format!("; {doubt}"),
        (None, None) => String::new(),
    };
    let alone = of.get("notBefore").and_then(Value::as_str).map_or_else(String::new, |_| {
        format!("; asked to be left alone until {} (for {})", text(of, "/notBefore"), ahead(of.get("notBefore"), now))
    });
    let time = of.get("time").and_then(Value::as_str);
    let read = time.map_or_else(|| "-".into(), |time| format!("{} ago", age_of(Some(time), now)));
    [shown(of.get("value")), text(of, "/state").into(), read, format!("{}{failed}{alone}", text(of, "/says"))]
}

fn list<'a>(why: &'a Value, name: &str) -> &'a [Value] {
    why.get(name).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn table(title: &str, heads: &[&str], rows: &[Value], row: impl Fn(&Value) -> Vec<String>) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let heads: Vec<String> = heads.iter().map(|head| (*head).to_owned()).collect();
    let mut table = Table::new(&heads, true);
    rows.iter().for_each(|value| table.add(row(value)));
    let lines: String = table.take().lines().map(|line| format!("  {line}\n")).collect();
    format!("{title}:\n{lines}")
}

/// A number as people write it; nothing known is `-`.
fn shown(number: Option<&Value>) -> String {
    number.and_then(Value::as_f64).map_or_else(|| "-".into(), crate::model::reading::shown)
}

/// How far ahead a time lies.
fn ahead(stamp: Option<&Value>, now: Wall) -> String {
    let at = stamp.and_then(Value::as_str).and_then(|text| text.parse::<Wall>().ok());
    at.map_or_else(|| "-".into(), |at| if at <= now { "0s".into() } else { age(now, at) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fixed_number_is_an_answer_too() {
        let pool = json!({"spec": {"replicas": 3}, "status": {"replicas": 2, "desiredReplicas": 3}});
        let why = fixed(&pool);
        assert_eq!((&why["final"], &why["min"], &why["current"], &why["signals"]), (&json!(3), &json!(3), &json!(2), &json!([])));
    }

    #[test]
    fn a_decision_reads_from_signal_to_size() {
        let pool = json!({
            "metadata": {"name": "claude"},
            "status": {
                "desiredReplicas": 2, "lastScaleTime": "2026-01-01T00:00:00Z",
                "lastScale": {"from": 1, "to": 2, "reason": "issues: 15 is above 10: 1 more"},
                "waitingOn": ["1 busy worker to become idle"],
                "scaling": {
                    "current": 2, "min": 1, "max": 3, "raw": 3, "final": 2,
                    "signals": [
                        {"trigger": "issues", "value": 15.0, "state": "Fresh", "time": "2026-01-01T00:00:48Z", "wants": 3, "says": "15 is above 10: 1 more"},
                        {"trigger": "load", "value": null, "state": "Unknown", "wants": null, "says": "held", "error": "refused", "failures": 1, "notBefore": "2026-01-01T00:03:00Z"}
                    ],
                    "quotas": [{"quota": "money", "value": 9.5, "state": "Stale", "time": "2026-01-01T00:00:20Z", "usedUp": true,
                        "says": "9.5 is below 10: no worker is started", "error": "refused", "failures": 2}],
                    "clamps": [{"name": "scaleUp.cooldown", "from": 3, "to": 2, "why": "less than 5m since the last change", "until": "2026-01-01T00:05:00Z"}],
                    "nextChange": "2026-01-01T00:05:00Z"
                }
            }
        });
        let now = "2026-01-01T00:01:00Z".parse().expect("a time");
        let expected = "\
pool/claude: 2 workers wanted, 1 to 3 allowed now
Last change:  1 → 2, 60s ago: issues: 15 is above 10: 1 more
Signals:
  TRIGGER   VALUE   STATE     READ      WANTS   WHY
  issues    15      Fresh     12s ago   3       15 is above 10: 1 more
  load      -       Unknown   -         -       held; failed once: refused; asked to be left alone until 2026-01-01T00:03:00Z (for 2m)
Quotas:
  QUOTA   LEFT   STATE   READ      WHY
  money   9.5    Stale   40s ago   9.5 is below 10: no worker is started; failed 2 times: refused
Asked for:    3
Changed by:
  CLAMP              FROM   TO   FOR   WHY
  scaleUp.cooldown   3      2    4m    less than 5m since the last change
Decided:      2
Next change:  possible in 4m
Waits for:    1 busy worker to become idle
";
        assert_eq!(told(&pool, now), expected);
    }
}
