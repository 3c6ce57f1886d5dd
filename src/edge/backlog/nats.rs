//! Pending messages of a JetStream consumer, from the monitoring endpoint of a NATS server: those that wait, and those that
//! were delivered and not acknowledged yet. The latter are work in progress, and counting them keeps its worker.

use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

use super::client::{self, Reach};
use crate::model::reading::{Failure, Number};
use crate::model::source::NatsSource;

/// Asks for one consumer.
#[derive(Debug)]
pub struct Nats {
    source: NatsSource,
}

#[derive(Deserialize)]
struct JetStream {
    #[serde(default)]
    disabled: bool,
    #[serde(default)]
    account_details: Vec<Account>,
}

#[derive(Deserialize)]
struct Account {
    #[serde(default)]
    stream_detail: Vec<Stream>,
}

#[derive(Deserialize)]
struct Stream {
    name: String,
    #[serde(default)]
    consumer_detail: Vec<Consumer>,
}

#[derive(Deserialize)]
struct Consumer {
    name: String,
    num_pending: u64,
    num_ack_pending: u64,
}

impl Nats {
    /// For this source.
    pub fn new(source: NatsSource) -> Nats {
        Nats { source }
    }

    /// Ask once.
    ///
    /// # Errors
    /// Why there is no number.
    pub async fn read(&mut self) -> Result<Number, Failure> {
        let base = client::address(&self.source.url)?;
        let url = client::below(&base, &["jsz"], &[("consumers", "true"), ("streams", "true")]);
        let headers = client::headers(AUTHORIZATION, "", None)?;
        let told: JetStream = client::get(Reach::Anywhere, &url, headers).await?.object("JSON state of JetStream").await?;
        let pending = self.pending(told).map_err(|words| Failure::because(format!("{}: {words}", client::shown(&url))))?;
        client::number(&url, pending as f64, &pending.to_string())
    }

    fn pending(&self, told: JetStream) -> Result<u64, String> {
        let NatsSource { stream, consumer, .. } = &self.source;
        if told.disabled {
            return Err("JetStream is disabled there".to_owned());
        }
        let streams = told.account_details.into_iter().flat_map(|account| account.stream_detail);
        let mut streams: Vec<Stream> = streams.filter(|found| found.name == *stream).collect();
        let found = match (streams.pop(), streams.is_empty()) {
            (Some(found), true) => found,
            (Some(_), false) => return Err(format!("several accounts have a stream {stream}")),
            (None, _) => return Err(format!("no stream {stream}")),
        };
        let consumers = found.consumer_detail.into_iter().find(|found| found.name == *consumer);
        let found = consumers.ok_or_else(|| format!("stream {stream} has no consumer {consumer}"))?;
        Ok(found.num_pending.saturating_add(found.num_ack_pending))
    }
}
