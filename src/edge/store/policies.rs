//! The rows of policies: what is kept of each, every change that was ever made, and a window of what the targets used.
//!
//! The history is never shortened. The usage is: by age, and by number, so that the file stays bounded whoever looks how often.

use rusqlite::{Connection, Transaction, params};
use serde::Deserialize;

use super::json;
use super::read::Reader;
use crate::model::batch::Batch;
use crate::model::limits::LimitChange;
use crate::model::policy_plan::StoredPolicy;
use crate::model::policy_status::{PolicySample, PolicyUsage};
use crate::model::time::Wall;
use crate::model::used::{USED_MAX, Used, UsedWindow};

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

/// What is read of a sample; the rest of a row is passed over.
#[derive(Deserialize)]
struct Sample {
    usage: PolicyUsage,
}

/// What the targets of these policies used. A row that does not read is a sample that is missing.
pub fn used(db: &Connection, policies: &[(String, StoredPolicy)]) -> rusqlite::Result<Vec<(String, UsedWindow)>> {
    let mut newest = db
        .prepare("SELECT body FROM policy_metrics WHERE policy = ?1 AND at_ms >= ?2 ORDER BY at_ms DESC, serial DESC LIMIT ?3")?;
    let window = |(name, policy): &(String, StoredPolicy)| {
        let bodies = newest.query_map(params![name, policy.since.0, USED_MAX], |row| row.get::<_, String>(0))?;
        let bodies = bodies.collect::<rusqlite::Result<Vec<String>>>()?;
        let samples = bodies.iter().rev().filter_map(|body| serde_json::from_str::<Sample>(body).ok());
        Ok((name.clone(), samples.map(|sample| Used::of(&sample.usage)).collect()))
    };
    policies.iter().map(window).collect()
}

impl Reader {
    /// What is kept of each policy, by name; one whose row does not read is left out.
    ///
    /// # Errors
    /// A text with the path.
    pub fn policies(&self) -> Result<Vec<(String, StoredPolicy)>, String> {
        self.loaded(load)
    }

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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::policy::Resource;

    #[test]
    fn what_a_target_used_is_read_in_order_and_not_what_another_used_before() {
        let mut db = Connection::open_in_memory().expect("in memory");
        db.execute_batch(SCHEMA).expect("the tables");
        let sample = |at: i64, policy: &str| {
            let usage = PolicyUsage { time: Wall(at), memory_bytes: Some(at as u64), ..PolicyUsage::default() };
            (policy.to_owned(), PolicySample { usage, ..PolicySample::default() })
        };
        let samples = vec![sample(10, "a"), sample(30, "a"), sample(20, "a"), sample(25, "b")];
        let turn = db.transaction().expect("a transaction");
        write(&turn, &Batch { samples, ..Batch::default() }).expect("written");
        turn.execute("INSERT INTO policy_metrics (policy, at_ms, body) VALUES ('a', 40, 'nonsense')", []).expect("written");
        turn.commit().expect("committed");
        let policies = [("a".to_owned(), StoredPolicy { since: Wall(20), ..StoredPolicy::default() })];
        let read = used(&db, &policies).expect("it reads");
        let [(name, window)] = read.as_slice() else { panic!("one policy: {read:?}") };
        assert_eq!((name.as_str(), window.series(Resource::Memory)), ("a", vec![(Wall(20), 20.0), (Wall(30), 30.0)]));
        assert!(window.series(Resource::Cpu).iter().all(|(_, cores)| cores.is_nan()), "not known is not zero");
    }
}
