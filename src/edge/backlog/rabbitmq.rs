//! The depth of a RabbitMQ queue, from the management API: messages that wait, and messages at a consumer that has not
//! acknowledged them yet. The latter are work in progress, and counting them keeps its worker.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::AUTHORIZATION;
use serde::Deserialize;

use super::client::{self, Reach};
use crate::model::reading::{Failure, Number};
use crate::model::source::RabbitSource;

/// Asks for one queue.
#[derive(Debug)]
pub struct Rabbit {
    source: RabbitSource,
}

/// A queue as it is told; just after its declaration the counts are missing.
#[derive(Deserialize)]
struct Queue {
    messages: Option<u64>,
    messages_ready: Option<u64>,
    messages_unacknowledged: Option<u64>,
}

impl Queue {
    fn depth(&self) -> Option<u64> {
        let parts = self.messages_ready.zip(self.messages_unacknowledged);
        parts.map(|(ready, at_work)| ready.saturating_add(at_work)).or(self.messages)
    }
}

impl Rabbit {
    /// For this source.
    pub fn new(source: RabbitSource) -> Rabbit {
        Rabbit { source }
    }

    /// Ask once.
    ///
    /// # Errors
    /// Why there is no number.
    pub async fn read(&mut self) -> Result<Number, Failure> {
        let base = client::address(&self.source.url)?;
        let vhost = self.source.vhost.as_deref().unwrap_or("/");
        if [vhost, &self.source.queue].iter().any(|name| ["", ".", ".."].contains(name)) {
            return Err(Failure::because("a queue or virtual host of this name cannot be asked for"));
        }
        let url = client::below(&base, &["api", "queues", vhost, &self.source.queue], &[]);
        let mut headers = client::headers(AUTHORIZATION, "", None)?;
        if let Some(from) = &self.source.credentials_from {
            let pair = client::secret(from)?;
            if !pair.contains(':') {
                return Err(Failure::because("the credentials are not user:password"));
            }
            headers.insert(AUTHORIZATION, client::sensitive(&format!("Basic {}", STANDARD.encode(pair)))?);
        }
        let queue: Queue = client::get(Reach::Anywhere, &url, headers).await?.object("JSON description of a queue").await?;
        let depth = queue.depth().ok_or_else(|| {
            Failure::because(format!("{}: the queue is there, but its messages are not counted", client::shown(&url)))
        })?;
        client::number(&url, depth as f64, &depth.to_string())
    }
}
