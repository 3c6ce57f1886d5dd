//! The number that one query of a SQLite file answers.
//!
//! The file is opened anew for each question, read-only: somebody else owns it, may put another in its place, and must not
//! find a file made by us where there was none. A query that nobody waits for any more is interrupted.

use std::path::Path;
use std::time::Duration;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};

use super::aside::{Aside, Stop};
use crate::model::reading::{Failure, Number};
use crate::model::source::SqliteSource;

/// Steps of SQLite's machine from one look at whether anybody still waits to the next: well below a millisecond.
const STEPS: i32 = 1000;
/// How long a writer that has locked the whole file is waited for.
const BUSY: Duration = Duration::from_secs(1);

/// Asks a SQLite file.
#[derive(Debug)]
pub(super) struct Sqlite {
    source: SqliteSource,
    aside: Aside,
}

impl Sqlite {
    pub(super) fn new(source: SqliteSource) -> Sqlite {
        Sqlite { source, aside: Aside::default() }
    }

    /// Ask once.
    pub(super) async fn read(&mut self) -> Result<Number, Failure> {
        let source = self.source.clone();
        let look = move |stop: &Stop| query(&source, stop.clone());
        let path = &self.source.path;
        self.aside.look(look).await.map_err(|failure| Failure::because(format!("{path}: {}", failure.message)))
    }
}

fn query(source: &SqliteSource, stop: Stop) -> Result<Number, Failure> {
    let path = Path::new(&source.path);
    // SQLite's own words for this are "unable to open database file", and `:memory:` would be no file at all.
    let meta = std::fs::metadata(path).map_err(|e| Failure::because(e.to_string()))?;
    if !meta.is_file() {
        return Err(Failure::because("not a regular file"));
    }
    let said = |e: rusqlite::Error| Failure::because(e.to_string());
    let db = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX);
    let mut db = db.map_err(said)?;
    db.busy_timeout(BUSY).map_err(said)?;
    db.progress_handler(STEPS, Some(move || stop.asked())).map_err(said)?;
    db.pragma_update(None, "query_only", true).map_err(said)?;
    one(&db, &source.query).map_err(said)?
}

/// The only value of the only row.
fn one(db: &Connection, query: &str) -> rusqlite::Result<Result<Number, Failure>> {
    let mut statement = db.prepare(query)?;
    let columns = statement.column_count();
    if columns != 1 {
        return Ok(Err(Failure::because(format!("the query answers {columns} columns, not one"))));
    }
    let mut rows = statement.query([])?;
    let Some(row) = rows.next()? else {
        return Ok(Err(Failure::because("the query answers no row, not one")));
    };
    let answer = number(row.get_ref(0)?);
    if rows.next()?.is_some() {
        return Ok(Err(Failure::because("the query answers more than one row")));
    }
    Ok(answer)
}

fn number(value: ValueRef<'_>) -> Result<Number, Failure> {
    let no = |what: &str| Err(Failure::because(format!("the query answers {what}, not a number")));
    match value {
        ValueRef::Integer(value) => Number::new(value as f64, &value.to_string()),
        ValueRef::Real(value) => Number::new(value, &value.to_string()),
        ValueRef::Null => no("NULL (see coalesce)"),
        ValueRef::Text(_) => no("a text (see cast)"),
        ValueRef::Blob(_) => no("a blob"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn ask(path: &Path, query: &str) -> Result<f64, String> {
        let mut reader = Sqlite::new(SqliteSource { path: path.display().to_string(), query: query.into() });
        reader.read().await.map(|number| number.value()).map_err(|failure| failure.message)
    }

    fn jobs(path: &Path) -> Connection {
        let db = Connection::open(path).expect("a database");
        db.execute_batch("PRAGMA journal_mode = WAL; CREATE TABLE job(state TEXT, cost REAL)").expect("a table");
        db.execute_batch("INSERT INTO job VALUES ('queued', 1.5), ('queued', 2), ('done', 9)").expect("rows");
        db
    }

    #[tokio::test]
    async fn one_row_with_one_number_is_taken() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("jobs.db");
        let db = jobs(&path);
        assert_eq!(ask(&path, "SELECT count(*) FROM job WHERE state = 'queued'").await, Ok(2.0));
        assert_eq!(ask(&path, "SELECT sum(cost) FROM job WHERE state = 'queued' -- all").await, Ok(3.5));
        db.execute("DELETE FROM job", []).expect("deleted");
        assert_eq!(ask(&path, "SELECT count(*) FROM job;").await, Ok(0.0));
        for (query, words) in [
            ("SELECT sum(cost) FROM job", "NULL"),
            ("SELECT '7'", "a text"),
            ("SELECT x'00'", "a blob"),
            ("SELECT 1, 2", "2 columns"),
            ("SELECT cost FROM job", "no row"),
            ("SELECT 1 UNION SELECT 2", "more than one row"),
            ("SELECT -1", "zero or more"),
            ("SELECT 1; SELECT 2", "statement"),
            ("SELECT count(*) FROM nowhere", "no such table"),
            ("DELETE FROM job RETURNING 1", "readonly"),
            ("INSERT INTO job VALUES ('queued', 1)", "columns"),
            ("", "columns"),
        ] {
            let answer = ask(&path, query).await;
            assert!(answer.as_ref().is_err_and(|said| said.contains(words)), "{query}: {answer:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_there_is_no_zero_and_stays_away() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("jobs.db");
        assert!(ask(&path, "SELECT 1").await.is_err_and(|said| said.contains("No such file")));
        assert!(!path.exists());
        for path in [Path::new(":memory:"), Path::new(""), Path::new("file::memory:"), dir.path()] {
            assert!(ask(path, "SELECT 1").await.is_err(), "{}", path.display());
        }
        std::fs::write(&path, "no database at all, but long enough to have been one").expect("written");
        assert!(ask(&path, "SELECT count(*) FROM sqlite_schema").await.is_err());
    }

    #[tokio::test]
    async fn a_query_that_nobody_waits_for_is_interrupted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("jobs.db");
        let _db = jobs(&path);
        let endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n";
        let mut reader = Sqlite::new(SqliteSource { path: path.display().to_string(), query: endless.into() });
        assert!(tokio::time::timeout(Duration::from_millis(50), reader.read()).await.is_err());
        reader.source.query = "SELECT 3".into();
        let again = async {
            loop {
                match reader.read().await {
                    Ok(number) => break number.value(),
                    Err(_busy) => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        };
        assert_eq!(tokio::time::timeout(Duration::from_secs(20), again).await, Ok(3.0));
    }
}
