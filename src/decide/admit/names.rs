//! May two pools have workers of one name? A worker's name stands for one worker, whatever its pool: it is how people ask for
//! it, and the name of its status file and of its unit.
//!
//! A pool's workers are `<pool>-<ordinal>` or `<pool>-<given name>`, so only a given name with a `-` in it can meet another
//! pool: `a` with `b-0`, and `a-b`. All ordinals count as possible. Whoever has a name keeps it: refused is the document that
//! comes to it, and where both come at once, both are.

use std::collections::BTreeMap;

use crate::model::catalogue::Catalogue;

/// A name that workers of two pools can have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meeting {
    /// The pools.
    pub pools: [String; 2],
    /// The worker's name.
    pub worker: String,
}

impl Meeting {
    /// What is wrong with one of the two pools, which gives its workers these names: the path, and a sentence.
    pub fn words(&self, pool: &str, given: &[String]) -> (String, String) {
        let tail = tail(pool, &self.worker);
        let place = given.iter().position(|name| Some(name.as_str()) == tail);
        let path = place.map_or_else(|| "metadata.name".into(), |n| format!("spec.workerNames.{n}"));
        let other = self.pools.iter().find(|other| *other != pool).map_or(pool, String::as_str);
        let worker = &self.worker;
        (path, format!("pool \"{other}\" can have a worker \"{worker}\" too: give them names that differ, or rename a pool"))
    }
}

/// All names that workers of two of these pools can have, at most one for each name given; the value: the names a pool gives.
pub fn meetings(pools: &BTreeMap<&str, &[String]>) -> Vec<Meeting> {
    let mut found = Vec::new();
    for (pool, given) in pools {
        let inner = given.iter().flat_map(|name| name.match_indices('-').map(move |(at, _)| (name, at)));
        for (name, at) in inner {
            let (other, worker) = (format!("{pool}-{}", &name[..at]), format!("{pool}-{name}"));
            if pools.get(other.as_str()).is_some_and(|names| can_have(names, &name[at + 1..])) {
                found.push(Meeting { pools: [(*pool).to_owned(), other], worker });
            }
        }
    }
    found
}

/// Whether a pool that gives these names can have a worker with this end of its name.
fn can_have(given: &[String], tail: &str) -> bool {
    // As ordinals are written: 7, not 07.
    let ordinal = || tail.parse::<u32>().is_ok_and(|n| n.to_string() == tail);
    if given.is_empty() { ordinal() } else { given.iter().any(|name| name == tail) }
}

fn tail<'a>(pool: &str, worker: &'a str) -> Option<&'a str> {
    worker.strip_prefix(pool)?.strip_prefix('-')
}

/// What is wrong with the pools whose documents are refused, of those that come with these names for their workers: by pool, each
/// path with a sentence.
pub fn refused(catalogue: &Catalogue, mut coming: BTreeMap<&str, &[String]>) -> BTreeMap<String, Vec<(String, String)>> {
    let in_force: BTreeMap<&str, &[String]> =
        catalogue.pools().map(|(key, _, pool)| (key.name.as_str(), pool.spec.worker_names.as_slice())).collect();
    let mut refused = BTreeMap::new();
    loop {
        // What is refused stays as it is in force, and may meet others as that.
        let mut then = in_force.clone();
        then.extend(coming.iter());
        let mut found: BTreeMap<String, Vec<(String, String)>> = BTreeMap::new();
        for meeting in meetings(&then) {
            let comes = |pool: &&String| coming.contains_key(pool.as_str());
            let is_new = |pool: &&String| comes(pool) && in_force.get(pool.as_str()) != then.get(pool.as_str());
            let new: Vec<&String> = meeting.pools.iter().filter(is_new).collect();
            let blamed = if new.is_empty() { meeting.pools.iter().filter(comes).collect() } else { new };
            for pool in blamed {
                let given = then.get(pool.as_str()).copied().unwrap_or_default();
                found.entry(pool.clone()).or_default().push(meeting.words(pool, given));
            }
        }
        if found.is_empty() {
            return refused;
        }
        coming.retain(|pool, _| !found.contains_key(*pool));
        refused.append(&mut found);
    }
}
