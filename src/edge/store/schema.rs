//! The tables, and how an older file becomes a newer one. `PRAGMA user_version` counts the steps taken.
//!
//! A file from a newer weir is refused, not guessed at: the workers go on under whoever wrote it.

use rusqlite::Connection;

/// Each step takes the file from its index to the next. Never edit a step that was released; add one.
const STEPS: [&str; 2] = [
    "
    CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
    CREATE TABLE pools (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
    CREATE TABLE slots (pool TEXT NOT NULL, worker TEXT NOT NULL, body TEXT NOT NULL, PRIMARY KEY (pool, worker)) STRICT;
    CREATE TABLE events (serial INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, body TEXT NOT NULL) STRICT;
",
    "
    CREATE TABLE readings (serial INTEGER PRIMARY KEY, pool TEXT NOT NULL, \"trigger\" TEXT NOT NULL, at_ms INTEGER NOT NULL,
        value REAL NOT NULL) STRICT;
    CREATE INDEX readings_of ON readings (pool, \"trigger\", at_ms);
",
];

/// Bring the file up to date.
///
/// # Errors
/// Any SQLite error, and a text for a file from a newer weir.
pub fn migrate(db: &mut Connection) -> Result<(), String> {
    let found: usize = db
        .query_row("PRAGMA user_version", [], |row| row.get::<_, i64>(0))
        .map(|n| usize::try_from(n).unwrap_or(usize::MAX))
        .map_err(|e| e.to_string())?;
    if found > STEPS.len() {
        return Err(format!(
            "it was written by a newer weir (schema {found}, this one knows {}): start that one, or set --state elsewhere",
            STEPS.len()
        ));
    }
    for (index, step) in STEPS.iter().enumerate().skip(found) {
        let turn = db.transaction().map_err(|e| e.to_string())?;
        turn.execute_batch(step).map_err(|e| e.to_string())?;
        turn.pragma_update(None, "user_version", i64::try_from(index + 1).unwrap_or(i64::MAX)).map_err(|e| e.to_string())?;
        turn.commit().map_err(|e| e.to_string())?;
    }
    Ok(())
}
