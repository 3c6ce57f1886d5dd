//! Policies: what they did, what they are, and the few things that a person says to one.
//!
//! What is set is set in the document, and nowhere else.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use crate::ctl::args::SetField;
use crate::ctl::client::{Sent, encoded};
use crate::ctl::error::Failure;
use crate::ctl::jsonpath::bare;
use crate::ctl::print::{Format, Table, emit, note};
use crate::ctl::resource::{many, one};
use crate::ctl::text::tame;
use crate::model::meta::quoted;
use crate::model::policy::{Mode, PolicySpec, Resource};
use crate::model::status::Kind;
use crate::serve::wire::Status;
use crate::serve::wire::fields;
use crate::serve::wire::manual::beyond;
use crate::serve::wire::policy_columns::{change, change_heads, expected, expected_heads};

/// `ctl set`
pub(super) async fn set(context: &Context, field: SetField, words: &[String]) -> Result<(), Failure> {
    let (names, values) = split(field, words)?;
    let (name, key) = (one(names, Kind::Policy)?, field.key());
    if field == SetField::Manual {
        return manual(context, &name, &pairs(values)?).await;
    }
    let given = if field == SetField::Thresholds { pairs(values)? } else { json!({key: values[0]}) };
    let at = format!("/v1/policies/{}/{key}", encoded(&name));
    let _: Value = context.client.ask(Method::PUT, &at, Sent::json(&given)).await?;
    let said: Vec<String> = values.iter().map(|value| tame(value)).collect();
    emit(&format!("policy/{} {key} is {}\n", tame(&name), said.join(" ")))
}

/// `ctl set manual`: what is not named stays held as it is.
async fn manual(context: &Context, name: &str, given: &Value) -> Result<(), Failure> {
    let object = context.client.get(Kind::Policy, name).await?;
    let spec: PolicySpec = serde_json::from_value(object.pointer("/spec").cloned().unwrap_or_default())
        .map_err(|error| Failure::Internal(format!("the policy cannot be read: {error}")))?;
    let held = held(&spec, given)?;
    let at = format!("/v1/policies/{}/manual", encoded(name));
    let _: Value = context.client.ask(Method::PUT, &at, Sent::json(&held)).await?;
    let said = held.as_object().into_iter().flatten().map(|(key, value)| tame(&format!("{key}={}", bare(value))));
    emit(&format!("policy/{} manual is {}\n", tame(name), said.collect::<Vec<_>>().join(" ")))?;
    beyond(&spec.bounds, &held).iter().for_each(|why| note(&format!("warning: {why}")));
    Ok(())
}

/// What is held when this is given: beside it what was held before. An empty value lets go.
fn held(spec: &PolicySpec, given: &Value) -> Result<Value, Failure> {
    let before = spec.manual.as_ref().filter(|_| spec.mode == Mode::Manual);
    let mut held = before.map_or_else(|| json!({}), |manual| json!(manual));
    for (key, value) in given.as_object().into_iter().flatten() {
        held[key] = value.clone();
    }
    held.as_object_mut().into_iter().for_each(|held| held.retain(|_, value| *value != json!("")));
    if Resource::EACH.iter().all(|of| held.get(of.name()).is_none()) {
        let way = "give cpu=, memory= or tasks=; ctl set mode policy/NAME Enabled lets limits move again";
        return Err(Failure::Usage(format!("no limit would be held: {way}")));
    }
    Ok(held)
}

/// The words that name a policy, and the values behind them: one, or all that have a `=`.
fn split(field: SetField, words: &[String]) -> Result<(&[String], &[String]), Failure> {
    let (at, wanted) = match field {
        SetField::Mode | SetField::Profile => (words.len().saturating_sub(1), "a value"),
        SetField::Manual | SetField::Thresholds => {
            (words.iter().position(|word| word.contains('=')).unwrap_or(words.len()), "KEY=VALUE, like cpu=2")
        }
    };
    let (names, values) = words.split_at(at);
    match names.is_empty() || values.is_empty() {
        true => Err(Failure::Usage(format!("give policy/NAME and {wanted}"))),
        false => Ok((names, values)),
    }
}

/// `a.b=1 c=2Gi` as an object. What is a whole number is sent as one, except CPU and a reason.
fn pairs(words: &[String]) -> Result<Value, Failure> {
    let mut all = json!({});
    for word in words {
        let wrong = || Failure::Usage(format!("{} is not KEY=VALUE, like cpu=2", quoted(word)));
        let (key, value) = word.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(wrong)?;
        let number = value.parse::<u32>().ok().filter(|_| !["cpu", "memory", "reason"].contains(&key));
        let mut place = &mut all;
        for part in key.split('.') {
            place = place.as_object_mut().ok_or_else(wrong)?.entry(part).or_insert_with(|| json!({}));
        }
        *place = number.map_or_else(|| json!(value), |number| json!(number));
    }
    Ok(all)
}

/// `ctl policy history`
pub(super) async fn history(context: &Context, words: &[String], (limit, output): (u32, Option<&str>)) -> Result<(), Failure> {
    let format = Format::parse(output)?;
    let name = one(words, Kind::Policy)?;
    let at = format!("/v1/policies/{}/history?limit={limit}", encoded(&name));
    let found: Value = context.client.ask(Method::GET, &at, Sent::nothing()).await?;
    if let Some(text) = format.program("a history", &found)? {
        return emit(&text);
    }
    let mut table = Table::new(&change_heads(), true);
    let rows: Vec<&Value> = found.pointer("/items").and_then(Value::as_array).into_iter().flatten().collect();
    if rows.is_empty() {
        note(&format!("policy/{name} has made no changes yet"));
        return Ok(());
    }
    rows.into_iter().for_each(|row| table.add(change(row)));
    emit(&table.take())
}

/// `ctl policy forecast`
pub(super) async fn forecast(context: &Context, words: &[String], output: Option<&str>) -> Result<(), Failure> {
    let format = Format::parse(output)?;
    let name = one(words, Kind::Policy)?;
    let at = format!("/v1/policies/{}/forecast", encoded(&name));
    let found: Value = context.client.ask(Method::GET, &at, Sent::nothing()).await?;
    emit(&format.program("a forecast", &found)?.unwrap_or_else(|| forecast_table(&found)))
}

fn forecast_table(found: &Value) -> String {
    let known: Vec<Vec<String>> = Resource::EACH.into_iter().filter_map(|of| expected(found, of)).collect();
    let mut table = Table::new(&expected_heads(), !known.is_empty());
    known.into_iter().for_each(|row| table.add(row));
    let unknown = found.pointer("/unknown").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str);
    let unknown: String = unknown.map(|why| format!("not known: {}\n", tame(why))).collect();
    let text = table.take() + &unknown;
    if text.is_empty() { format!("{}\n", tame(fields::text(found, "/summary"))) } else { text }
}

/// `ctl policy reset`
pub(super) async fn reset(context: &Context, words: &[String]) -> Result<(), Failure> {
    for name in many(words, Kind::Policy)? {
        let at = format!("/v1/policies/{}/reset", encoded(&name));
        let _: Status = context.client.ask(Method::POST, &at, Sent::nothing()).await?;
        emit(&format!("policy/{} reset\n", tame(&name)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words_of(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn what_is_set_is_one_word_or_pairs() {
        let words = words_of("policy web cpu=2 memory=8Gi tasks=300 reason=7");
        let (names, values) = split(SetField::Manual, &words).unwrap();
        assert_eq!(
            (names, pairs(values).unwrap()),
            (&words[..2], json!({"cpu": "2", "memory": "8Gi", "tasks": 300, "reason": "7"}))
        );
        let up = json!({"scaleUp": {"cpu": 75, "memory": 70}, "pressure": {"io": 9}});
        assert_eq!(pairs(&words_of("scaleUp.cpu=75 pressure.io=9 scaleUp.memory=70")).unwrap(), up);
        let words = words_of("policy/web Manual");
        assert_eq!(split(SetField::Mode, &words).unwrap(), (&words[..1], &words[1..]));
        for (field, text) in [(SetField::Mode, "Manual"), (SetField::Manual, "policy/web 2"), (SetField::Manual, "cpu=2")] {
            assert!(split(field, &words_of(text)).is_err(), "{text}");
        }
        for text in ["=2", "cpu=1 rest", "cpu=1 cpu.x=2"] {
            assert!(pairs(&words_of(text)).is_err(), "{text}");
        }
    }

    #[test]
    fn limits_are_held_beside_each_other_and_outside_of_the_bounds_told_of() {
        let spec = |manual: Value| -> PolicySpec {
            let spec = json!({"target": {"pool": "a"}, "mode": "Manual", "manual": manual,
                "bounds": {"min": {"memory": "1Gi", "tasks": 10}, "max": {"cpu": "4", "memory": "8Gi"}}});
            serde_json::from_value(spec).unwrap()
        };
        let before = spec(json!({"cpu": "2", "reason": "why"}));
        let both = held(&before, &json!({"memory": "999Gi", "tasks": 5})).unwrap();
        assert_eq!(both, json!({"cpu": "2", "memory": "999Gi", "tasks": 5, "reason": "why"}));
        assert_eq!(held(&before, &json!({"cpu": "", "memory": "2Gi"})).unwrap(), json!({"memory": "2Gi", "reason": "why"}));
        assert!(held(&before, &json!({"cpu": ""})).is_err(), "nothing is left");
        let free = PolicySpec { mode: Mode::Enabled, ..before };
        assert_eq!(held(&free, &json!({"tasks": 20})).unwrap(), json!({"tasks": 20}), "what was held once is not held");
        let warned = [
            "memory=999Gi is more than spec.bounds.max.memory: 8Gi is held",
            "tasks=5 is less than spec.bounds.min.tasks: 10 is held",
        ];
        assert_eq!(beyond(&free.bounds, &both), warned);
        assert!(beyond(&free.bounds, &json!({"cpu": "4", "memory": "1Gi", "tasks": 4000})).is_empty());
    }

    #[test]
    fn a_forecast_is_a_table_of_what_is_known_and_lines_of_what_is_not() {
        let backtest = json!({"points": 90, "error": 104857600.0, "naiveError": 209715200.0, "coverage": 91.4});
        let memory = json!({"horizon": "10m", "model": "Linear", "value": 2147483648.0, "low": 1073741824.0, "high": 3221225472.0,
            "trend": 1048576.0, "confidence": 90, "backtest": backtest});
        let table = forecast_table(&json!({"memory": memory, "unknown": ["cpu: \u{1b}[2J"]}));
        let lines: Vec<Vec<&str>> =
            table.lines().map(|line| line.split("   ").map(str::trim).filter(|cell| !cell.is_empty()).collect()).collect();
        let row = vec!["memory", "10m", "2.0Gi", "1.0Gi", "3.0Gi", "60.0Mi", "Linear", "100.0Mi", "200.0Mi", "91% of 90%"];
        assert_eq!(lines[1], row, "{table}");
        assert!(lines.len() == 3 && lines[2][0].starts_with("not known: cpu: ") && !table.contains('\u{1b}'), "{table}");
        assert_eq!(forecast_table(&json!({"summary": "switched off"})), "switched off\n");
    }
}
