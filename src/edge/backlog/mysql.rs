//! The number that one query of MySQL or MariaDB answers.
//!
//! Each question is a read-only transaction of its own with a time limit on the server too, so that a query that nobody waits
//! for any more does not run on there. The query is prepared, which takes one statement and no more. The connection is kept
//! from one question to the next, and made anew once when it turns out to be broken. Nothing of the connection string is
//! shown. TLS is not spoken.

use std::fmt;

use mysql_async::consts::ColumnType;
use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Error, Opts, OptsBuilder, Row, TxOpts, Value};

use crate::edge::secrets;
use crate::model::reading::{Failure, Number};
use crate::model::source::DatabaseSource;

/// When the server gives up a query: whoever waits here has done so long before. Each of the two servers reads its own words.
const ON_THE_SERVER: &str = "SET /*M! max_statement_time=60, */ /*!50708 max_execution_time=60000, */ @weir = 1";
/// Characters of what the server says that are told.
const WORDS_MAX: usize = 300;
const NO_TLS: &str = "TLS is not spoken here: use a server or a proxy on this machine, or a tunnel";

/// Asks MySQL or MariaDB.
#[derive(Debug)]
pub(super) struct Mysql {
    source: DatabaseSource,
    link: Option<Link>,
}

/// A connection, and the string that it was opened with.
struct Link {
    url: String,
    conn: Outside<Conn>,
}

/// Something of the client's that is dropped outside of the runtime. Within it, a connection takes leave of the server in a
/// task of its own, which waits for ever for one that is silent; elsewhere the socket is closed at once.
struct Outside<T: Send + 'static>(Option<T>);

impl<T: Send + 'static> Drop for Outside<T> {
    fn drop(&mut self) {
        if let Some(inner) = self.0.take() {
            let _dropped = std::thread::Builder::new().name("mysql-close".into()).spawn(move || drop(inner));
        }
    }
}

impl<T: Send + 'static> Outside<T> {
    fn get(&mut self) -> Result<&mut T, Error> {
        self.0.as_mut().ok_or_else(|| Error::Other("the connection is closed".into()))
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Link")
    }
}

/// Why there is no number.
enum Trouble {
    /// From the connection; the server may have ended it.
    Server(Error),
    /// The answer is no number.
    Answer(String),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Server(error)
    }
}

impl Mysql {
    pub(super) fn new(source: DatabaseSource) -> Mysql {
        Mysql { source, link: None }
    }

    /// Ask once.
    pub(super) async fn read(&mut self) -> Result<Number, Failure> {
        let url = secrets::read(&self.source.url_from).map_err(Failure::because)?;
        let opts = opts(&url).map_err(|words| Failure::because(format!("mysql: {words}")))?;
        let told = |trouble: Trouble| Failure::because(format!("mysql: {}", hidden(words(&trouble), &url, &opts)));
        // Taken out: a question that is dropped half way takes its connection with it.
        if let Some(mut link) = self.link.take().filter(|link| link.url == url) {
            match link.ask(&self.source.query).await {
                Err(Trouble::Server(error)) if error.is_fatal() => {}
                answer => {
                    self.link = answer.is_ok().then_some(link);
                    return answer.map_err(told);
                }
            }
        }
        let mut link = Link::open(&url, &opts).await.map_err(|e| told(e.into()))?;
        let number = link.ask(&self.source.query).await.map_err(told)?;
        self.link = Some(link);
        Ok(number)
    }
}

fn opts(url: &str) -> Result<Opts, &'static str> {
    // This client would leave it out silently, and send the password all the same.
    if url.split_once('?').is_some_and(|(_, parameters)| parameters.contains("ssl") || parameters.contains("tls")) {
        return Err(NO_TLS);
    }
    // What is wrong with it would be told with parts of it.
    let opts = Opts::from_url(url).map_err(|_| "the connection string is not valid")?;
    // Where it says is where it connects to: not to a socket that the server names.
    Ok(OptsBuilder::from_opts(opts).prefer_socket(false).into())
}

fn words(trouble: &Trouble) -> String {
    match trouble {
        Trouble::Answer(words) => words.clone(),
        Trouble::Server(Error::Server(said)) => format!("{} ({})", said.message, said.code),
        Trouble::Server(error) => error.to_string(),
    }
}

/// The first of it, without what is secret, wherever that got in from.
fn hidden(words: String, url: &str, opts: &Opts) -> String {
    let secrets = [Some(url), opts.pass()];
    let secrets = secrets.into_iter().flatten().filter(|secret| !secret.is_empty());
    secrets.fold(words, |words, secret| words.replace(secret, "…")).chars().take(WORDS_MAX).collect()
}

impl Link {
    async fn open(url: &str, opts: &Opts) -> Result<Link, Error> {
        let mut opening = Outside(Some(Box::pin(Conn::new(opts.clone()))));
        let mut conn = Outside(Some(opening.get()?.await?));
        conn.get()?.query_drop(ON_THE_SERVER).await?;
        Ok(Link { url: url.to_owned(), conn })
    }

    async fn ask(&mut self, query: &str) -> Result<Number, Trouble> {
        let mut read_only = TxOpts::default();
        read_only.with_readonly(true);
        let mut turn = self.conn.get()?.start_transaction(read_only).await?;
        let mut rows = turn.exec_iter(query, ()).await?;
        let first = rows.next().await?.ok_or_else(|| Trouble::Answer("the query answers no row, not one".into()))?;
        let number = number(first)?;
        if rows.next().await?.is_some() {
            return Err(Trouble::Answer("the query answers more than one row".into()));
        }
        rows.drop_result().await?;
        turn.rollback().await?;
        Ok(number)
    }
}

fn number(row: Row) -> Result<Number, Trouble> {
    let (columns, values) = (row.columns(), row.unwrap());
    let ([column], [value]) = (columns.as_ref(), values.as_slice()) else {
        return Err(Trouble::Answer(format!("the query answers {} columns, not one", values.len())));
    };
    let decimal = matches!(column.column_type(), ColumnType::MYSQL_TYPE_DECIMAL | ColumnType::MYSQL_TYPE_NEWDECIMAL);
    let value = match value {
        Value::Int(value) => *value as f64,
        Value::UInt(value) => *value as f64,
        Value::Float(value) => f64::from(*value),
        Value::Double(value) => *value,
        Value::NULL => return Err(Trouble::Answer("the query answers NULL, not a number (see coalesce)".into())),
        Value::Bytes(text) if decimal => {
            let text = String::from_utf8_lossy(text).into_owned();
            text.parse().map_err(|_| Trouble::Answer(format!("the query answers {text}, not a number")))?
        }
        Value::Bytes(_) | Value::Date(..) | Value::Time(..) => {
            return Err(Trouble::Answer("the query answers a text or a time: cast it, like cast(… as decimal(20, 3))".into()));
        }
    };
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
        let mut mysql = Mysql::new(DatabaseSource { url_from: source, query: "SELECT 1".into() });
        for (url, words) in [
            ("mysql://u:sesame@127.0.0.1:1/jobs", "refused"),
            ("mysql://u:sesame@127.0.0.1:1/jobs?require_ssl=true", "TLS"),
            ("mysql://u:sesame@127.0.0.1:1/jobs?sesame=1", "not valid"),
            ("mysql://u:sesame@[::1/jobs", "not valid"),
            ("pass word sesame", "not valid"),
            ("postgres://u:sesame@h/jobs", "not valid"),
        ] {
            std::fs::write(&path, url).expect("written");
            let said = mysql.read().await.expect_err("no number").message;
            assert!(said.starts_with("mysql: ") && said.contains(words) && !said.contains("sesame"), "{url}: {said}");
        }
    }
}
