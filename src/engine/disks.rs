//! The free space of file systems, without waiting for one that does not answer.
//!
//! A directory may be on another machine. It is asked about aside: who asks for the first time waits a moment, in which every disk of
//! this machine answers; from then on the last answer serves while the next one is on its way.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::edge::host;
use crate::model::host::Known;
use crate::model::quantity::Memory;
use crate::model::time::{Moment, Span};

/// It is asked again after this.
const FRESH: Span = Span(500);
/// The last answer serves for so long while the next one does not come.
const RECENT: Span = Span::secs(10);
/// What is not asked about any more is forgotten after this.
const KEPT: Span = Span::secs(60);
/// A file system of which nothing recent is known has so long to answer.
const PATIENCE: Duration = Duration::from_millis(50);

/// What was asked, and what was answered, by directory; each with the moment of the question.
#[derive(Default)]
pub struct Disks {
    answers: BTreeMap<String, (Moment, Known<Memory>)>,
    asked: BTreeMap<String, (Moment, Receiver<Known<Memory>>)>,
}

impl Disks {
    /// Free space of the file system that this directory is on. `aside` runs what may take its time.
    ///
    /// # Errors
    /// With the directory: it cannot be asked, or does not answer.
    pub(super) fn free(&mut self, dir: &str, now: Moment, aside: impl FnOnce(Box<dyn FnOnce() + Send>)) -> Known<Memory> {
        self.hear(dir, Duration::ZERO);
        if !self.asked.contains_key(dir) && self.known(dir, now, FRESH).is_none() {
            self.answers.retain(|_, (at, _)| now.since(*at) < KEPT);
            self.asked.insert(dir.to_owned(), (now, ask(dir.to_owned(), aside)));
            let patience = if self.known(dir, now, RECENT).is_some() { Duration::ZERO } else { PATIENCE };
            self.hear(dir, patience);
        }
        self.known(dir, now, RECENT).unwrap_or_else(|| silent(dir))
    }

    fn known(&self, dir: &str, now: Moment, within: Span) -> Option<Known<Memory>> {
        self.answers.get(dir).filter(|(at, _)| now.since(*at) < within).map(|(_, answer)| answer.clone())
    }

    /// Take in the answer, if it comes within this time.
    fn hear(&mut self, dir: &str, patience: Duration) {
        let Some((at, told)) = self.asked.get(dir) else { return };
        let answer = match told.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => return,
            Err(RecvTimeoutError::Disconnected) => Err(format!("{dir}: its file system could not be asked")),
        };
        self.answers.insert(dir.to_owned(), (*at, answer));
        self.asked.remove(dir);
    }
}

fn silent(dir: &str) -> Known<Memory> {
    Err(format!("{dir}: its file system does not answer"))
}

fn ask(dir: String, aside: impl FnOnce(Box<dyn FnOnce() + Send>)) -> Receiver<Known<Memory>> {
    let (tell, told) = channel();
    aside(Box::new(move || {
        // Who asked has ended.
        let _heard = tell.send(host::free(Path::new(&dir)));
    }));
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_once(ask: Box<dyn FnOnce() + Send>) {
        ask();
    }

    #[test]
    fn an_answer_serves_until_the_next_one_is_there() {
        let mut disks = Disks::default();
        let mut late = None;
        assert!(disks.free("/", Moment(0), at_once).is_ok_and(|free| free.0 > 0));
        assert!(disks.free("/", Moment(FRESH.0 - 1), |_| panic!("it was asked a moment ago")).is_ok());
        assert!(disks.free("/", Moment(FRESH.0), |ask| late = Some(ask)).is_ok(), "the one before");
        assert!(disks.free("/", Moment(RECENT.0 - 1), |_| panic!("it is asked already")).is_ok());
        assert_eq!(disks.free("/", Moment(RECENT.0), |_| panic!("it is asked already")), silent("/"), "too old");
        late.expect("asked")();
        assert!(disks.free("/", Moment(RECENT.0 + 1), at_once).is_ok());
    }

    #[test]
    fn nobody_waits_twice_for_an_answer_that_does_not_come() {
        let mut disks = Disks::default();
        let mut late = None;
        assert_eq!(disks.free("/", Moment(0), |ask| late = Some(ask)), silent("/"));
        assert_eq!(disks.free("/", Moment(60_000), |_| panic!("it is asked already")), silent("/"));
        // What comes then is as old as its question.
        late.expect("asked")();
        assert!(disks.free("/", Moment(60_001), at_once).is_ok());
        assert_eq!(disks.answers["/"].0, Moment(60_001));
    }

    #[test]
    fn what_is_wrong_is_said_with_the_directory() {
        let mut disks = Disks::default();
        assert!(disks.free("/no/such", Moment(0), at_once).is_err_and(|why| why.starts_with("/no/such: No such file")));
        assert!(disks.free("/", Moment(0), drop).is_err_and(|why| why.starts_with("/: its file system could not")));
        assert!(disks.free("/", Moment(KEPT.0), at_once).is_ok());
        assert_eq!(disks.answers.len(), 1, "the other is forgotten");
    }
}
