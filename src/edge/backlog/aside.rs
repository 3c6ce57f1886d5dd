//! Looking at a source that blocks, on a thread of its own.
//!
//! A thread cannot be ended from outside. So it is told that nobody waits any more, and one that does not hear it (a dead
//! network file system) keeps the next question of the same reader from being asked: threads never pile up behind it.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use crate::model::reading::{Failure, Number};

/// Whether anybody still waits for the answer.
#[derive(Clone, Debug, Default)]
pub(super) struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Nobody waits any more: give up.
    pub(super) fn asked(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Tells the thread when the question is dropped.
struct Asking(Stop);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.0.store(true, Ordering::Relaxed);
    }
}

/// Where one reader looks aside: one look at a time.
#[derive(Debug, Default)]
pub(super) struct Aside {
    /// Alive as long as a look goes on.
    last: Weak<AtomicBool>,
}

impl Aside {
    /// Look, on another thread. Whoever drops the answer stops the look.
    pub(super) async fn look(
        &mut self,
        look: impl FnOnce(&Stop) -> Result<Number, Failure> + Send + 'static,
    ) -> Result<Number, Failure> {
        if self.last.strong_count() > 0 {
            return Err(Failure::because("still busy with the question before, which nobody waits for any more"));
        }
        let asking = Asking(Stop::default());
        self.last = Arc::downgrade(&asking.0.0);
        let stop = asking.0.clone();
        let answer = tokio::task::spawn_blocking(move || look(&stop)).await;
        answer.unwrap_or_else(|e| Err(Failure::because(format!("the look broke off: {e}"))))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn a_look_that_nobody_waits_for_is_told_and_never_doubled() {
        let mut aside = Aside::default();
        let (told, heard) = std::sync::mpsc::channel::<()>();
        let deaf = aside.look(move |stop| {
            while !stop.asked() {
                std::thread::sleep(Duration::from_millis(1));
            }
            // It heard, but does not end before it is let go.
            let _gone = heard.recv();
            Number::new(1.0, "1")
        });
        assert!(tokio::time::timeout(Duration::from_millis(20), deaf).await.is_err());
        let busy = aside.look(|_stop| Number::new(2.0, "2")).await;
        assert!(busy.is_err_and(|failure| failure.message.contains("still busy")));
        drop(told);
        while aside.last.strong_count() > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(aside.look(|_stop| Number::new(2.0, "2")).await, Number::new(2.0, "2"));
    }
}
