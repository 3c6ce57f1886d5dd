//! A daemon that takes a request and says nothing: one that was stopped, or whose disk hangs. Whoever asked is told soon, and what
//! only reads is given up after a while, so that the files can be looked at instead.

use std::time::Duration;

use super::error::Failure;
use super::print::note;

/// How long silence is borne.
#[derive(Clone, Copy)]
pub(super) struct Patience {
    /// Then it is told of.
    told: Duration,
    /// Then as much again, and a question is given up.
    more: Duration,
}

/// More than any daemon that is well takes, however busy its machine.
pub(super) const PATIENCE: Patience = Patience { told: Duration::from_secs(5), more: Duration::from_secs(15) };

impl Patience {
    /// The answer of the daemon of this pid, where it is known. What changes something is waited for: it may have been done.
    ///
    /// # Errors
    /// [`Failure::NoDaemon`], of a question.
    pub(super) async fn wait<T>(self, answer: impl Future<Output = T>, changes: bool, daemon: Option<i32>) -> Result<T, Failure> {
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => return Ok(answer),
            () = tokio::time::sleep(self.told) => note(&format!("{} for {:?}; still waiting", words(daemon), self.told)),
        }
        if changes {
            return Ok(answer.await);
        }
        let whole = self.told + self.more;
        tokio::time::timeout(self.more, answer).await.map_err(|_| Failure::NoDaemon(format!("{} for {whole:?}", words(daemon))))
    }
}

/// Whether a request is one that waits by itself: for a task, or until one has ended.
pub(super) fn waits(path: &str) -> bool {
    path.contains("wait=") || path.ends_with("/lease") || path.starts_with("/v1/leases/")
}

fn words(daemon: Option<i32>) -> String {
    let Some(pid) = daemon else { return "the daemon has said nothing".into() };
    let stopped = std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| is_stopped(&stat));
    let how = if stopped { "is stopped (kill -CONT has it go on) and" } else { "lives and" };
    format!("the daemon (pid {pid}) {how} has said nothing")
}

/// By the state behind the name, in which anything may stand.
fn is_stopped(stat: &str) -> bool {
    stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with(['T', 't']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_question_is_given_up_and_a_change_is_waited_for() {
        let short = Patience { told: Duration::from_millis(5), more: Duration::from_millis(5) };
        let given_up = short.wait(std::future::pending::<()>(), false, Some(1)).await;
        let Err(Failure::NoDaemon(words)) = given_up else { panic!("it is given up") };
        assert_eq!(words, "the daemon (pid 1) lives and has said nothing for 10ms");
        let late = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            7
        };
        assert_eq!(short.wait(late, true, None).await.ok(), Some(7));
    }

    #[test]
    fn what_waits_by_itself_is_known_by_its_path_and_a_stopped_process_by_its_state() {
        for path in ["/v1/pools/a/lease", "/v1/leases/a.1.1.0/complete", "/v1/tasks/1?wait=60s"] {
            assert!(waits(path), "{path}");
        }
        assert!(!waits("/v1/tasks/1") && !waits("/apis/weir.dev/v1/workerpools?watch=1"));
        assert!(is_stopped("7 (a) R) T 1 7") && !is_stopped("7 (a T ) S 1 7"));
    }
}
