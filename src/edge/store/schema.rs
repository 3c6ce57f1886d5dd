//! The tables, and how an older file becomes a newer one. `PRAGMA user_version` counts the steps taken.
//!
//! A file from a newer weir is refused, not guessed at: the workers go on under whoever wrote it.

use rusqlite::Connection;

/// Each step takes the file from its index to the next. Never edit a step that was released; add one.
const STEPS: [&str; 9] = [
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
    // `phase` is the state as the indexes need it: 0 Held, 1 ready, 2 delayed, 3 blocked, 4 Leased, then the final ones.
    "
    CREATE TABLE tasks (id INTEGER PRIMARY KEY AUTOINCREMENT, pool TEXT NOT NULL, phase INTEGER NOT NULL, rank INTEGER NOT NULL,
        worker TEXT NOT NULL, key TEXT, not_before INTEGER, expires INTEGER, finished INTEGER, nonce INTEGER NOT NULL,
        deadline INTEGER, lease_until INTEGER, body TEXT NOT NULL, payload TEXT NOT NULL, result TEXT) STRICT;
    CREATE INDEX tasks_ready ON tasks (pool, worker, rank, id) WHERE phase = 1;
    CREATE INDEX tasks_held ON tasks (pool, rank, id) WHERE phase = 0;
    CREATE INDEX tasks_blocked ON tasks (pool, rank, id) WHERE phase = 3;
    CREATE INDEX tasks_delayed ON tasks (pool, not_before) WHERE phase = 2;
    CREATE INDEX tasks_expiry ON tasks (pool, expires) WHERE phase < 4;
    CREATE INDEX tasks_dealt ON tasks (pool, worker) WHERE phase < 4 AND worker > '';
    CREATE INDEX tasks_leased ON tasks (pool, worker) WHERE phase = 4;
    CREATE INDEX tasks_keyed ON tasks (pool, key, phase, rank, id) WHERE key IS NOT NULL;
    CREATE INDEX tasks_ended ON tasks (pool, phase, finished) WHERE phase > 4;
    CREATE TABLE task_counts (pool TEXT NOT NULL, phase INTEGER NOT NULL, n INTEGER NOT NULL, PRIMARY KEY (pool, phase)) STRICT,
        WITHOUT ROWID;
    CREATE TABLE task_keys (pool TEXT NOT NULL, key TEXT NOT NULL, id INTEGER NOT NULL, until INTEGER NOT NULL,
        PRIMARY KEY (pool, key)) STRICT, WITHOUT ROWID;
    CREATE INDEX task_keys_until ON task_keys (until);
    CREATE TABLE queues (pool TEXT PRIMARY KEY, cursor INTEGER NOT NULL, paused_until INTEGER, paused_why TEXT NOT NULL) STRICT;
    CREATE TABLE task_schedules (pool TEXT NOT NULL, name TEXT NOT NULL, last INTEGER NOT NULL, count INTEGER NOT NULL,
        PRIMARY KEY (pool, name)) STRICT, WITHOUT ROWID;
",
    super::policies::SCHEMA,
    // A key outlives its task: when that is swept, what is still to be told of it goes here.
    "
    ALTER TABLE task_keys ADD COLUMN finished INTEGER;
    ALTER TABLE task_keys ADD COLUMN body TEXT;
    CREATE INDEX task_keys_of ON task_keys (id);
",
    "ALTER TABLE task_schedules ADD COLUMN beat TEXT NOT NULL DEFAULT '';",
    // Of the delayed ones those that wait for another attempt: how long at most is known of these alone.
    "CREATE INDEX tasks_again ON tasks (pool, not_before) WHERE phase = 2 AND body ->> '$.epoch' > 0;",
    // A row in an index is one more page of each commit: what never expires has none.
    "
    DROP INDEX tasks_expiry;
    CREATE INDEX tasks_expiry ON tasks (pool, expires) WHERE phase < 4 AND expires IS NOT NULL;
",
    // Which tasks wait until which one has ended. Empty as long as nobody asks for it, and then read with each end at hardly any cost.
    "CREATE TABLE task_after (earlier INTEGER NOT NULL, later INTEGER NOT NULL, PRIMARY KEY (earlier, later)) STRICT, WITHOUT ROWID;",
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
