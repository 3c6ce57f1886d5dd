//! Spans to an OpenTelemetry collector, by OTLP over HTTP, where the standard variables name one. In builds with the feature `otel`.
//!
//! A thread of its own sends what has come together; nobody waits for it, and what it cannot keep up with is dropped. It has a
//! runtime of its own too, so that the last spans of a daemon go out after the daemon's has ended. Must not be on by itself.

use std::env;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use reqwest::Client;
use tokio::runtime::Runtime;
use tracing::Subscriber;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::registry::LookupSpan;

use super::web;

/// The first that is set says where to.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
/// The first that is set says how long a request may take, in ms.
const TIMEOUTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
/// Without one, as the specification has it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// The longest that the end of the daemon is held up by a collector that does not answer.
const LAST: Duration = Duration::from_secs(2);

/// Spans on their way.
#[derive(Debug)]
pub struct Traces {
    provider: SdkTracerProvider,
}

impl Traces {
    /// To where the environment says; `None` where it names no collector, or switches it off.
    ///
    /// # Errors
    /// What is wrong with the variables.
    pub fn of_environment() -> Result<Option<Traces>, String> {
        let Some(endpoint) = first(ENDPOINTS) else { return Ok(None) };
        if value("OTEL_SDK_DISABLED").is_some_and(|off| off.eq_ignore_ascii_case("true"))
            || value("OTEL_TRACES_EXPORTER").is_some_and(|which| which == "none")
        {
            return Ok(None);
        }
        let wrong = |why: &dyn std::fmt::Display| format!("traces to {}: {why}", ENDPOINTS[1]);
        let timeout = first(TIMEOUTS).map(|ms| ms.parse().map(Duration::from_millis)).transpose();
        let sender = Sender {
            client: web::fresh(endpoint.starts_with("https")).map_err(|error| wrong(&error))?,
            runtime: tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| wrong(&error))?,
            timeout: timeout.map_err(|error| wrong(&error))?.unwrap_or(TIMEOUT),
            failing: AtomicBool::new(false),
        };
        let exporter = SpanExporter::builder().with_http().with_http_client(sender).build().map_err(|error| wrong(&error))?;
        let provider = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource()).build();
        Ok(Some(Traces { provider }))
    }

    /// Takes the spans of this program and leaves those of libraries.
    pub fn layer<S: Subscriber + for<'a> LookupSpan<'a>>(&self) -> impl Layer<S> + use<S> {
        let own = Targets::new().with_target("weir", LevelFilter::DEBUG);
        tracing_opentelemetry::layer().with_tracer(self.provider.tracer("weir")).with_filter(own)
    }

    /// Send what is left, for a moment at most. Not to be called from a task.
    pub fn end(self) {
        if let Err(error) = self.provider.shutdown_with_timeout(LAST) {
            tracing::warn!(%error, "the last traces were not sent");
        }
    }
}

fn value(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn first(names: [&str; 2]) -> Option<String> {
    names.into_iter().find_map(value)
}

/// Who sends: as the environment names it, or weir.
fn resource() -> Resource {
    let named = value("OTEL_SERVICE_NAME").is_some()
        || value("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
    let version = KeyValue::new("service.version", env!("CARGO_PKG_VERSION"));
    let resource = Resource::builder().with_attribute(version);
    if named { resource.build() } else { resource.with_service_name("weir").build() }
}

/// The way to the collector.
#[derive(Debug)]
struct Sender {
    client: Client,
    runtime: Runtime,
    timeout: Duration,
    /// The last request failed: that is told once.
    failing: AtomicBool,
}

impl Sender {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let mut request = reqwest::Request::try_from(request)?;
        *request.timeout_mut() = Some(self.timeout);
        let answer = self.client.execute(request).await?;
        // Whether it was taken is all that counts, not what is said about it.
        let mut taken = Response::new(Bytes::new());
        *taken.status_mut() = answer.status();
        taken.headers_mut().clone_from(answer.headers());
        Ok(taken)
    }

    fn told(&self, sent: &Result<Response<Bytes>, HttpError>) {
        let why = match sent {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(answer.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        let before = self.failing.swap(why.is_some(), Ordering::Relaxed);
        match why {
            Some(why) if !before => tracing::warn!(%why, "the collector does not take traces; they are dropped until it does"),
            None if before => tracing::info!("the collector takes traces again"),
            Some(_) | None => {}
        }
    }
}

impl HttpClient for Sender {
    // The thread that asks is there for nothing else.
    fn send_bytes<'a, 'b>(
        &'a self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        let sent = self.runtime.block_on(self.send(request));
        self.told(&sent);
        Box::pin(ready(sent))
    }
}
