//! The number that one query of PostgreSQL answers.
//!
//! Each question is a read-only transaction of its own with a time limit on the server too, so that a query that nobody waits
//! for any more does not run on there. The connection is kept from one question to the next, and made anew once when it turns
//! out to be broken. Nothing of the connection string is shown. TLS is not spoken.

use std::error::Error as _;
use std::fmt;
use std::pin::pin;

use futures_util::StreamExt;
use tokio_postgres::config::SslMode;
use tokio_postgres::error::Severity;
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Config, Error, NoTls, Row};

use crate::edge::secrets;
use crate::model::reading::{Failure, Number};
use crate::model::source::DatabaseSource;

/// When the server gives up a query: whoever waits here has done so long before.
const ON_THE_SERVER: &str = "SET LOCAL statement_timeout = '60s'";
/// Characters of what the server says that are told.
const WORDS_MAX: usize = 300;
const NO_TLS: &str = "TLS is not spoken here: use a server or a pooler on this machine, or a tunnel";

/// Asks PostgreSQL.
#[derive(Debug)]
pub(super) struct Postgres {
    source: DatabaseSource,
    link: Option<Link>,
}

/// A connection, and the string that it was opened with.
struct Link {
    url: String,
    client: Client,
    pump: tokio::task::JoinHandle<()>,
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        // Else it waits for the answer to a question that was dropped.
        self.pump.abort();
    }
}

/// Why there is no number.
enum Trouble {
    /// From the connection; the server may have ended it.
    Server(Error),
    /// The answer is no number.
    Answer(String),
}

impl Postgres {
    pub(super) fn new(source: DatabaseSource) -> Postgres {
        Postgres { source, link: None }
    }

    /// Ask once.
    pub(super) async fn read(&mut self) -> Result<Number, Failure> {
        let url = secrets::read(&self.source.url_from).map_err(Failure::because)?;
        let config = config(&url).map_err(|words| Failure::because(format!("postgres: {words}")))?;
        let told = |trouble: Trouble| Failure::because(format!("postgres: {}", hidden(words(&trouble), &url, &config)));
        // Taken out: a question that is dropped half way takes its connection with it.
        if let Some(mut link) = self.link.take().filter(|link| link.url == url && !link.client.is_closed()) {
            match link.ask(&self.source.query).await {
                Err(Trouble::Server(error)) if is_broken(&error) => {}
                answer => {
                    self.link = answer.is_ok().then_some(link);
                    return answer.map_err(told);
                }
            }
        }
        let mut link = Link::open(&url, &config).await.map_err(|e| told(Trouble::Server(e)))?;
        let number = link.ask(&self.source.query).await.map_err(told)?;
        self.link = Some(link);
        Ok(number)
    }
}

fn config(url: &str) -> Result<Config, &'static str> {
    // What is wrong with it would be told with parts of it.
    let unfit = |_: Error| if url.contains("sslmode=verify") { NO_TLS } else { "the connection string is not valid" };
    let mut config: Config = url.parse().map_err(unfit)?;
    if !matches!(config.get_ssl_mode(), SslMode::Disable | SslMode::Prefer) {
        return Err(NO_TLS);
    }
    if config.get_application_name().is_none() {
        config.application_name("weir");
    }
    Ok(config)
}

/// The connection is at fault, not the question.
fn is_broken(error: &Error) -> bool {
    error.as_db_error().is_none_or(|said| said.parsed_severity() != Some(Severity::Error))
}

fn words(trouble: &Trouble) -> String {
    let error = match trouble {
        Trouble::Answer(words) => return words.clone(),
        Trouble::Server(error) => error,
    };
    let Some(said) = error.as_db_error() else {
        let why = error.source().map(|cause| format!(": {cause}")).unwrap_or_default();
        return format!("{error}{why}");
    };
    let (message, code) = (said.message(), said.code().code());
    let wants_tls = message.contains("no encryption") || message.contains("SSL off");
    format!("{message} ({code}){}", if wants_tls { format!("; {NO_TLS}") } else { String::new() })
}

/// The first of it, without what is secret, wherever that got in from.
fn hidden(words: String, url: &str, config: &Config) -> String {
    let password = config.get_password().map(String::from_utf8_lossy);
    let secrets = [Some(url), password.as_deref()];
    let secrets = secrets.into_iter().flatten().filter(|secret| !secret.is_empty());
    secrets.fold(words, |words, secret| words.replace(secret, "…")).chars().take(WORDS_MAX).collect()
}

impl Link {
    async fn open(url: &str, config: &Config) -> Result<Link, Error> {
        let (client, connection) = config.connect(NoTls).await?;
        let pump = tokio::spawn(async move {
            // How it ended is told by the next question.
            let _end = connection.await;
        });
        Ok(Link { url: url.to_owned(), client, pump })
    }

    async fn ask(&mut self, query: &str) -> Result<Number, Trouble> {
        let turn = self.client.build_transaction().read_only(true).start().await.map_err(Trouble::Server)?;
        turn.batch_execute(ON_THE_SERVER).await.map_err(Trouble::Server)?;
        let none: [(String, Type); 0] = [];
        let number = {
            // One statement only: this way of asking knows no more. Never more than two rows are read.
            let mut rows = pin!(turn.query_typed_raw(query, none).await.map_err(Trouble::Server)?);
            let first = rows.next().await.transpose().map_err(Trouble::Server)?;
            let first = first.ok_or_else(|| Trouble::Answer("the query answers no row, not one".into()))?;
            let number = number(&first)?;
            if rows.next().await.transpose().map_err(Trouble::Server)?.is_some() {
                return Err(Trouble::Answer("the query answers more than one row".into()));
            }
            number
        };
        turn.rollback().await.map_err(Trouble::Server)?;
        Ok(number)
    }
}

fn number(row: &Row) -> Result<Number, Trouble> {
    let [column] = row.columns() else {
        return Err(Trouble::Answer(format!("the query answers {} columns, not one", row.len())));
    };
    let of = column.type_();
    let value = if *of == Type::INT2 {
        row.try_get::<_, Option<i16>>(0).map(|value| value.map(f64::from))
    } else if *of == Type::INT4 {
        row.try_get::<_, Option<i32>>(0).map(|value| value.map(f64::from))
    } else if *of == Type::INT8 {
        row.try_get::<_, Option<i64>>(0).map(|value| value.map(|value| value as f64))
    } else if *of == Type::FLOAT4 {
        row.try_get::<_, Option<f32>>(0).map(|value| value.map(f64::from))
    } else if *of == Type::FLOAT8 {
        row.try_get::<_, Option<f64>>(0)
    } else {
        return Err(Trouble::Answer(format!("the query answers {of}: cast it, like (…)::float8")));
    };
    let value = value.map_err(Trouble::Server)?;
    let value = value.ok_or_else(|| Trouble::Answer("the query answers NULL, not a number (see coalesce)".into()))?;
    Number::new(value, &value.to_string()).map_err(|failure| Trouble::Answer(failure.message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::source::SecretSource;

    #[tokio::test]
    async fn nothing_of_the_connection_string_is_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("url");
        let source = SecretSource { file: Some(path.display().to_string()), env: None };
        let mut postgres = Postgres::new(DatabaseSource { url_from: source, query: "SELECT 1".into() });
        for (url, words) in [
            ("host=127.0.0.1 port=1 user=u password=sesame", "refused"),
            ("postgres://u:sesame@127.0.0.1:1/jobs", "refused"),
            ("postgres://u:sesame@127.0.0.1:1/jobs?sslmode=require", "TLS"),
            ("postgres://u:sesame@127.0.0.1:1/jobs?sslmode=verify-full", "TLS"),
            ("pass word sesame", "not valid"),
            ("postgres://u:sesame@[::1/jobs?sesame=1", "not valid"),
            ("", ""),
        ] {
            std::fs::write(&path, url).expect("written");
            let failure = postgres.read().await.expect_err("nobody is there");
            assert!(failure.message.contains(words) && failure.message.starts_with("postgres: "), "{url}: {failure:?}");
            assert!(!failure.message.contains("sesame"), "{failure:?}");
        }
        std::fs::remove_file(&path).expect("removed");
        assert!(postgres.read().await.is_err_and(|failure| failure.message.contains("No such file")));
        let config: Config = "host=h password=sesame".parse().expect("valid");
        assert_eq!(hidden("no sesame at host=h".into(), "host=h", &config), "no … at …");
    }
}
