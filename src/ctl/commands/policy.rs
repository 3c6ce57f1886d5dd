//! Policies: what they did, what they are, and the few things that a person says to one.
//!
//! Mode and profile are words of the document: they are set there, and nowhere else.

use hyper::Method;
use serde_json::{Value, json};

use super::Context;
use crate::ctl::args::SetField;
use crate::ctl::client::{Sent, encoded, path};
use crate::ctl::error::Failure;
use crate::ctl::print::{Format, Table, as_json, as_yaml, emit};
use crate::ctl::resource::{many, one};
use crate::ctl::text::{tame, tame_block};
use crate::model::policy::Resource;
use crate::model::status::Kind;
use crate::serve::wire::Status;
use crate::serve::wire::fields;
use crate::serve::wire::policy_columns::{change, change_heads, expected, expected_heads};

/// `ctl set`
pub(super) async fn set(context: &Context, field: SetField, words: &[String]) -> Result<(), Failure> {
    let Some((value, names)) = words.split_last().filter(|(_, names)| !names.is_empty()) else {
        return Err(Failure::Usage("give policy/NAME and a value".into()));
    };
    let name = one(names, Kind::Policy)?;
    let patch = Sent::patch(&json!({"spec": {field.key(): value}}));
    let _: Value = context.client.ask(Method::PATCH, &path(Kind::Policy, &name), patch).await?;
    emit(&format!("policy/{} {} is {}\n", tame(&name), field.key(), tame(value)))
}

/// `ctl policy history`
pub(super) async fn history(context: &Context, words: &[String], limit: u32) -> Result<(), Failure> {
    let name = one(words, Kind::Policy)?;
    let at = format!("/v1/policies/{}/history?limit={limit}", encoded(&name));
    let found: Value = context.client.ask(Method::GET, &at, Sent::nothing()).await?;
    let mut table = Table::new(&change_heads(), true);
    let rows = found.pointer("/items").and_then(Value::as_array).into_iter().flatten();
    rows.for_each(|row| table.add(change(row)));
    emit(&table.take())
}

/// `ctl policy forecast`
pub(super) async fn forecast(context: &Context, words: &[String], output: Option<&str>) -> Result<(), Failure> {
    let format = Format::parse(output)?;
    let name = one(words, Kind::Policy)?;
    let at = format!("/v1/policies/{}/forecast", encoded(&name));
    let found: Value = context.client.ask(Method::GET, &at, Sent::nothing()).await?;
    match format {
        Format::Json => emit(&as_json(&found)),
        Format::Yaml => emit(&as_yaml(&found)),
        Format::JsonPath(template) => emit(&tame_block(&template.render(&found))),
        Format::Table { .. } => emit(&forecast_table(&found)),
        Format::Name | Format::Columns(_) => Err(Failure::Usage("a forecast is a table, json, yaml or jsonpath=TEMPLATE".into())),
    }
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
