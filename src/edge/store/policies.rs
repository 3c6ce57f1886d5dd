//! The rows of policies: what is kept of each, every change that was ever made, and a window of what the targets used.
//!
//! The history is never shortened. The usage is: by age, and by number, so that the file stays bounded whoever looks how often.

use rusqlite::{Connection, Transaction, params};

use super::json;
use super::read::Reader;
use crate::model::batch::Batch;
use crate::model::limits::LimitChange;
use crate::model::policy_plan::StoredPolicy;
use crate::model::policy_status::PolicySample;
use crate::model::time::Wall;

/// The table's step of the file.
pub const SCHEMA: &str = "
    CREATE TABLE policies (name TEXT PRIMARY KEY, body TEXT NOT NULL) STRICT;
    CREATE TABLE policy_history (serial INTEGER PRIMARY KEY AUTOINCREMENT, policy TEXT NOT NULL, at_ms INTEGER NOT NULL,
        body TEXT NOT NULL) STRICT;
    CREATE INDEX policy_history_of ON policy_history (policy, serial);
    CREATE TABLE policy_metrics (serial INTEGER PRIMARY KEY, policy TEXT NOT NULL, at_ms INTEGER NOT NULL, body TEXT NOT NULL)
        STRICT;
    CREATE INDEX policy_metrics_of ON policy_metrics (policy, at_ms);
";

/// Looks older than this are removed as new ones come, in milliseconds.
const METRICS_AGE: i64 = 86_400_000;
/// Looks kept; older ones are removed as new ones come: a day of 11 policies that look every 10 s.
const METRICS_KEPT: i64 = 100_000;
/// Old looks that one new transaction removes at most: more than any adds on average.
const METRICS_SWEPT: i64 = 200;

/// Write what a batch says of policies.
pub fn write(turn: &Transaction<'_>, batch: &Batch) -> rusqlite::Result<()> {
    for (name, policy) in &batch.policies {
        match policy {
            Some(policy) => {
                turn.prepare_cached("INSERT OR REPLACE INTO policies VALUES (?1, ?2)")?.execute(params![name, json(policy)])?
            }
            None => turn.prepare_cached("DELETE FROM policies WHERE name = ?1")?.execute(params![name])?,
        };
    }
    for (name, change) in &batch.changes {
        turn.prepare_cached("INSERT INTO policy_history (policy, at_ms, body) VALUES (?1, ?2, ?3)")?.execute(params![
            name,
            change.time.0,
            json(change)
        ])?;
    }
    for (name, sample) in &batch.samples {
        turn.prepare_cached("INSERT INTO policy_metrics (policy, at_ms, body) VALUES (?1, ?2, ?3)")?.execute(params![
            name,
            sample.usage.time.0,
            json(sample)
        ])?;
    }
    let Some(newest) = batch.samples.iter().map(|(_, sample)| sample.usage.time.0).max() else { return Ok(()) };
    turn.prepare_cached("DELETE FROM policy_metrics WHERE serial <= (SELECT max(serial) FROM policy_metrics) - ?1")?
        .execute(params![METRICS_KEPT])?;
    turn.prepare_cached(
        "DELETE FROM policy_metrics WHERE at_ms < ?1 AND serial < (SELECT min(serial) FROM policy_metrics) + ?2",
    )?
    .execute(params![newest - METRICS_AGE, METRICS_SWEPT])?;
    Ok(())
}

/// What is kept of each policy.
pub fn load(db: &Connection) -> rusqlite::Result<Vec<(String, StoredPolicy)>> {
    super::rows(db, "SELECT name, body FROM policies", |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))
}

impl Reader {
    /// The last changes of a policy, the oldest first; of one that is gone too.
    ///
    /// # Errors
    /// A text with the path.
    pub fn policy_history(&self, policy: &str, most: u32) -> Result<Vec<LimitChange>, String> {
        let sql = "SELECT body FROM (SELECT serial, body FROM policy_history WHERE policy = ?1 ORDER BY serial DESC LIMIT ?2) ORDER BY serial";
        self.bodies(sql, params![policy, most])
    }

    /// What the target of a policy used since then, the oldest first.
    ///
    /// # Errors
    /// A text with the path.
    pub fn policy_metrics(&self, policy: &str, from: Wall) -> Result<Vec<PolicySample>, String> {
        let sql = "SELECT body FROM policy_metrics WHERE policy = ?1 AND at_ms >= ?2 ORDER BY at_ms, serial";
        self.bodies(sql, params![policy, from.0])
    }
}
