//! A number inside a JSON document, found by a JSON pointer.
//!
//! Only what JSON itself calls a number is one: a string of digits may be an id, a version or a mistake.

use reqwest::header::AUTHORIZATION;
use serde_json::Value;

use super::client::{self, Reach};
use crate::model::reading::{Failure, Number};
use crate::model::source::HttpSource;

/// Asks one address.
#[derive(Debug)]
pub struct Http {
    source: HttpSource,
}

impl Http {
    /// For this source.
    pub fn new(source: HttpSource) -> Http {
        Http { source }
    }

    /// Ask once.
    ///
    /// # Errors
    /// Why there is no number.
    pub async fn read(&mut self) -> Result<Number, Failure> {
        let url = client::address(&self.source.url)?;
        let reach = if self.source.allow_private { Reach::Anywhere } else { Reach::Public };
        let headers = client::headers(AUTHORIZATION, "Bearer ", self.source.token_from.as_ref())?;
        let document: Value = client::get(reach, &url, headers).await?.json("JSON document").await?;
        let pointer = &self.source.pointer;
        let place = if pointer.is_empty() { "the document" } else { pointer };
        let failed = |words: &str| Failure::because(format!("{}: {place} {words}", client::shown(&url)));
        let number = match document.pointer(pointer).ok_or_else(|| failed("is not in the document"))? {
            Value::Number(number) => number,
            Value::Null => return Err(failed("is null")),
            Value::Bool(_) => return Err(failed("is true or false, not a number")),
            Value::String(_) => return Err(failed("is a string, not a number")),
            Value::Array(_) => return Err(failed("is a list, not a number")),
            Value::Object(_) => return Err(failed("is an object, not a number")),
        };
        let value = number.as_f64().ok_or_else(|| failed("is a number that is too large"))?;
        client::number(&url, value, &number.to_string())
    }
}
