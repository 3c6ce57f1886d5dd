//! The result of a PromQL query, asked as an instant query of Prometheus or what speaks its API.
//!
//! An empty vector is not zero: it is also what a misspelled metric or a target that is down gives. Who wants zero then
//! writes `or vector(0)`. A warning means that part of the data was not reached, so the number may be too low.

use reqwest::StatusCode;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::client::{self, Reach};
use crate::model::reading::{Failure, Number};
use crate::model::source::PrometheusSource;

/// Asks one query.
#[derive(Debug)]
pub struct Prometheus {
    source: PrometheusSource,
}

#[derive(Deserialize)]
struct Reply {
    status: String,
    data: Option<Data>,
    #[serde(default)]
    warnings: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Data {
    result_type: String,
    result: Value,
}

/// A moment and a number, written as text because JSON has no NaN.
type Sample = (f64, String);

#[derive(Deserialize)]
struct Series {
    value: Sample,
}

impl Prometheus {
    /// For this source.
    pub fn new(source: PrometheusSource) -> Prometheus {
        Prometheus { source }
    }

    /// Ask once.
    ///
    /// # Errors
    /// Why there is no number.
    pub async fn read(&mut self) -> Result<Number, Failure> {
        let base = client::address(&self.source.url)?;
        let url = client::below(&base, &["api", "v1", "query"], &[("query", &self.source.query)]);
        let headers = client::headers(AUTHORIZATION, "Bearer ", self.source.token_from.as_ref())?;
        let answer = client::get(Reach::Anywhere, &url, headers).await?;
        // What they mean is published: the parameters are wrong, the query cannot be executed.
        if [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY].contains(&answer.status()) {
            return Err(answer.failure(&format!("answered {}: the query is wrong or fails", answer.status())));
        }
        let reply: Reply = answer.object("result of a query").await?;
        let failed = |words: &str| Failure::because(format!("{}: {words}", client::shown(&url)));
        if reply.status != "success" {
            return Err(failed("the query did not succeed"));
        }
        if reply.warnings.is_some_and(|warnings| !warnings.is_empty()) {
            return Err(failed("the result comes with warnings, so it may be incomplete"));
        }
        let data = reply.data.ok_or_else(|| failed("answered no data"))?;
        let text = sample(data).map_err(|words| failed(&words))?;
        let value = text.parse().map_err(|_| failed("the sample is no number"))?;
        client::number(&url, value, &text)
    }
}

/// The one sample of a result, as text.
fn sample(data: Data) -> Result<String, String> {
    // The error of the parser would quote what it found.
    let unfit = |_| format!("the {} has no plain number", data.result_type);
    match data.result_type.as_str() {
        "scalar" => serde_json::from_value::<Sample>(data.result).map(|(_, text)| text).map_err(unfit),
        "vector" => {
            let found = data.result.as_array().map_or(0, Vec::len);
            let [series] = serde_json::from_value::<[Series; 1]>(data.result).map_err(|e| match found {
                0 => "the query found nothing: its vector is empty; write `or vector(0)` if that means 0".to_owned(),
                1 => unfit(e),
                more => format!("the query gives {more} samples, write one that gives one, like sum(…)"),
            })?;
            Ok(series.value.1)
        }
        "matrix" | "string" => Err(format!("the query gives a {}, not a number", data.result_type)),
        _ => Err("the query gives a result of an unknown type".to_owned()),
    }
}
