//! Exit records: what a shim wrote down, read into the model's words.
//! A record that is missing or does not read is none: the caller says what that means.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::model::time::{Moment, Wall};
use crate::model::worker::{Exit, ExitReason};
use crate::shim::wire;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    incarnation: u64,
    code: Option<i32>,
    signal: Option<i32>,
    failed: String,
    oom: bool,
    started_ms: i64,
    finished_ms: i64,
    ran_ms: u64,
    cpu_ms: u64,
    max_rss_kib: u64,
    asked: bool,
    log_start: (u64, u64),
    log_end: (u64, u64),
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Running {
    /// Empty: not known.
    #[serde(default)]
    boot: String,
    incarnation: u64,
    #[serde(default)]
    pid: i32,
    started_boot_ms: u64,
    log_start: (u64, u64),
}

/// The record in a slot's directory; none if there is none that reads.
pub(super) fn read(dir: &Path) -> Option<Exit> {
    let record: Record = read_json(&dir.join("exit.json"))?;
    Some(model(&wire::Exit {
        incarnation: record.incarnation,
        code: record.code,
        signal: record.signal,
        failed: record.failed,
        oom: record.oom,
        started: record.started_ms,
        finished: record.finished_ms,
        ran: record.ran_ms,
        cpu: record.cpu_ms,
        rss: record.max_rss_kib,
        asked: record.asked,
        log_start: record.log_start,
        log_end: record.log_end,
    }))
}

/// The run that `shim.json` tells of: the last one that was started, though its shim may be gone.
pub(super) struct Started {
    pub(super) incarnation: u64,
    /// On the clock of its boot.
    pub(super) since: Moment,
    /// Empty: not known.
    boot: String,
}

impl Started {
    /// It was started in another boot than this one: it ended with the machine, whoever may have been killed before.
    pub(super) fn is_of_another_boot(&self, boot: &str) -> bool {
        ![self.boot.as_str(), boot].contains(&"") && self.boot != boot
    }
}

/// The last run that was started in a slot; none if there is no record that reads.
pub(super) fn last_started(dir: &Path) -> Option<Started> {
    let running: Running = read_json(&dir.join("shim.json"))?;
    Some(Started { incarnation: running.incarnation, since: Moment(running.started_boot_ms), boot: running.boot })
}

/// The environment that a run of this slot has, as its process shows it; none if that is another one by now, or cannot be read.
/// What is no text is left out.
pub fn environment(dir: &Path, incarnation: u64) -> Option<BTreeMap<String, String>> {
    let running: Running = read_json(&dir.join("shim.json"))?;
    let pid = Some(running).filter(|running| running.incarnation == incarnation && running.pid > 1)?.pid;
    let bytes = std::fs::read(format!("/proc/{pid}/environ")).ok()?;
    let vars = bytes.split(|byte| *byte == 0).filter_map(|var| std::str::from_utf8(var).ok()?.split_once('='));
    Some(vars.map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// Two files change places at this name: whoever is slow enough reads from one that is being written for the next time, and
/// finds a whole one at the second look.
fn read_json<T: DeserializeOwned>(path: &Path) -> Option<T> {
    read_twice(|| std::fs::read(path).ok())
}

fn read_twice<T: DeserializeOwned>(mut read: impl FnMut() -> Option<Vec<u8>>) -> Option<T> {
    let mut look = || serde_json::from_slice(&read()?).ok();
    look().or_else(look)
}

/// In the model's words.
pub(super) fn model(exit: &wire::Exit) -> Exit {
    let reason = match (exit.failed.is_empty(), exit.oom, exit.code, exit.signal) {
        (false, ..) => ExitReason::StartError,
        // A worker may outlive a child that was killed for want of memory.
        (true, _, Some(0), _) => ExitReason::Completed,
        (true, true, ..) => ExitReason::OOMKilled,
        (true, false, Some(_), _) => ExitReason::Error,
        (true, false, None, Some(_)) => ExitReason::Signaled,
        (true, false, None, None) => ExitReason::Unknown,
    };
    Exit {
        incarnation: exit.incarnation,
        reason,
        code: exit.code,
        signal: exit.signal,
        message: (!exit.failed.is_empty()).then(|| exit.failed.clone()),
        started: (exit.started > 0).then_some(Wall(exit.started)),
        finished: Wall(exit.finished),
        ended: None,
        ran_ms: exit.ran,
        cpu_ms: exit.cpu,
        max_rss_kib: exit.rss,
        asked: exit.asked,
    }
}

/// Where a run's output begins and ends, as (inode, offset).
type Extent = (Option<(u64, u64)>, Option<(u64, u64)>);

/// Where the output of a slot's present or previous run is in its log; none if there was no such run.
pub fn log_place(dir: &Path, previous: bool) -> Option<Extent> {
    let running: Option<Running> = read_json(&dir.join("shim.json"));
    let ended: Option<Record> = read_json(&dir.join("exit.json"));
    match (running, ended) {
        (Some(running), Some(ended)) if running.incarnation > ended.incarnation => {
            Some(if previous { (Some(ended.log_start), Some(ended.log_end)) } else { (Some(running.log_start), None) })
        }
        // The last run has ended: it is what there is to show, and the one to show as previous too.
        (_, Some(ended)) => Some((Some(ended.log_start), Some(ended.log_end))),
        (Some(running), None) if !previous => Some((Some(running.log_start), None)),
        (_, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_of_another_boot_is_known_by_its_record() {
        let dir = tempfile::tempdir().unwrap();
        let other = |record: &str, boot| {
            std::fs::write(dir.path().join("shim.json"), record).unwrap();
            last_started(dir.path()).expect("it reads").is_of_another_boot(boot)
        };
        let of = |boot| format!(r#"{{"boot": "{boot}", "incarnation": 7, "startedBootMs": 3, "logStart": [1, 2]}}"#);
        assert_eq!(
            [other(&of("a"), "b"), other(&of("a"), "a"), other(&of(""), "b"), other(&of("a"), "")],
            [true, false, false, false]
        );
        assert!(!other(r#"{"incarnation": 7, "startedBootMs": 3, "logStart": [1, 2]}"#, "b"), "of a shim that did not say it");
    }

    #[test]
    fn a_torn_record_is_read_once_more() {
        let whole = br#"{"incarnation": 7, "startedBootMs": 3, "logStart": [1, 2]}"#;
        let read = |texts: [&[u8]; 2]| {
            let mut texts = texts.into_iter().map(<[u8]>::to_vec);
            read_twice::<Running>(|| texts.next()).map(|running| running.incarnation)
        };
        assert_eq!([read([whole, b""]), read([&whole[..20], whole]), read([b"", b"{}"])], [Some(7), Some(7), None]);
    }
}
