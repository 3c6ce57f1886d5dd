//! The free space of file systems, without waiting for one that does not answer.
//!
//! A directory may be on another machine. It is asked about aside: a disk of this machine answers at once, and whoever asks about
//! one that is out of reach is told so after a moment, and at once from then on, until it answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use crate::edge::host;
use crate::model::host::Known;
use crate::model::quantity::Memory;
use crate::model::time::{Moment, Span};

/// An answer serves for so long.
const FOR: Span = Span(500);
/// What is not asked about any more is forgotten after this.
const KEPT: Span = Span::secs(60);
/// A file system that is asked anew has so long to answer.
const PATIENCE: Duration = Duration::from_millis(50);

/// What was asked, by directory.
#[derive(Default)]
pub struct Disks {
    answers: BTreeMap<String, (Moment, Known<Memory>)>,
    asked: BTreeMap<String, Receiver<Known<Memory>>>,
}

impl Disks {
    /// Free space of the file system that this directory is on. `aside` runs what may take its time.
    ///
    /// # Errors
    /// With the directory: it cannot be asked, or does not answer.
    pub(super) fn free(&mut self, dir: &str, now: Moment, aside: impl FnOnce(Box<dyn FnOnce() + Send>)) -> Known<Memory> {
        if let Some((_, answer)) = self.answers.get(dir).filter(|(at, _)| now.since(*at) < FOR) {
            return answer.clone();
        }
        self.answers.retain(|_, (at, _)| now.since(*at) < KEPT);
        let (told, patience) = match self.asked.remove(dir) {
            Some(told) => (told, Duration::ZERO),
            None => (ask(dir.to_owned(), aside), PATIENCE),
        };
        let answer = match told.recv_timeout(patience) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => {
                self.asked.insert(dir.to_owned(), told);
                return Err(format!("{dir}: its file system does not answer"));
            }
            Err(RecvTimeoutError::Disconnected) => Err(format!("{dir}: its file system could not be asked")),
        };
        self.answers.insert(dir.to_owned(), (now, answer.clone()));
        answer
    }
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

    #[test]
    fn an_answer_serves_for_a_while_and_nobody_waits_twice_for_one_that_does_not_come() {
        let mut disks = Disks::default();
        let at_once = |ask: Box<dyn FnOnce() + Send>| ask();
        assert!(disks.free("/", Moment(0), at_once).is_ok_and(|free| free.0 > 0));
        assert!(disks.free("/", Moment(FOR.0 - 1), |_| panic!("it was asked a moment ago")).is_ok());
        assert!(disks.free("/no/such", Moment(0), at_once).is_err_and(|why| why.starts_with("/no/such: ")));
        let mut late = None;
        let hung = disks.free("/", Moment(FOR.0), |ask| late = Some(ask));
        assert_eq!(hung, Err("/: its file system does not answer".into()));
        assert!(disks.free("/", Moment(FOR.0 + 1), |_| panic!("it is asked already")).is_err());
        late.expect("asked")();
        assert!(disks.free("/", Moment(FOR.0 + 2), |_| panic!("it has answered")).is_ok());
        let lost = disks.free("/", Moment(9_000), drop);
        assert_eq!(lost, Err("/: its file system could not be asked".into()));
        assert!(disks.free("/", Moment(90_000), at_once).is_ok());
        assert_eq!(disks.answers.len(), 1, "the other is forgotten");
    }
}
