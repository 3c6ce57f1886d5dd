//! Tasks that come after others: held until all of those have succeeded, and cancelled as soon as one of them cannot any more.
//!
//! A task can only come after one that was there before it, so that none waits for itself, by whatever way. Each step is taken
//! in the commit that ends the earlier task: there is no time at which one waits for what is over.

use super::{later, over};
use crate::model::queue_work::QueueRefusal;
use crate::model::task::{AFTER_MAX, EndReason, NewTask, Task, TaskState};
use crate::model::time::Wall;

/// The tasks that it is to come after, each once.
///
/// # Errors
/// In words: too many, or held as well.
pub fn wanted(new: &NewTask) -> Result<Vec<u64>, String> {
    if new.hold && !new.after.is_empty() {
        return Err("hold: goes without after: a task that comes after others is held until they have succeeded".into());
    }
    if new.after.len() > AFTER_MAX {
        return Err(format!("after: found {} tasks, allowed are {AFTER_MAX}", new.after.len()));
    }
    let mut all = new.after.clone();
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// Whether a new task has to wait for an earlier one as it is now: not where that has succeeded.
///
/// # Errors
/// [`QueueRefusal::Invalid`] where there is none, [`QueueRefusal::Conflict`] where it has ended otherwise.
pub fn waits(id: u64, earlier: Option<&Task>) -> Result<bool, QueueRefusal> {
    let Some(earlier) = earlier else {
        let words = format!("after: there is no task {id}; one that has ended is gone when its queue's retention is over");
        return Err(QueueRefusal::Invalid(words));
    };
    match earlier.state {
        TaskState::Succeeded => Ok(false),
        TaskState::Held | TaskState::Queued | TaskState::Leased => Ok(true),
        TaskState::Failed | TaskState::Dead | TaskState::Cancelled | TaskState::Expired => {
            let state = earlier.state.name();
            let words = format!("after: task {id} is {state}, and has not succeeded: retry that one first, or leave it out");
            Err(QueueRefusal::Conflict(words))
        }
    }
}

/// What becomes of a task that waits, now that this earlier one has ended, or has succeeded already.
pub fn heard(task: Task, earlier: (u64, TaskState), wall: Wall) -> Task {
    let (id, state) = earlier;
    if task.state != TaskState::Held || !task.after.contains(&id) {
        return task;
    }
    match state {
        TaskState::Held | TaskState::Queued | TaskState::Leased => task,
        TaskState::Succeeded => {
            let after: Vec<u64> = task.after.iter().copied().filter(|other| *other != id).collect();
            if !after.is_empty() {
                return Task { after, ..task };
            }
            // Its waiting begins now, and not before its own time.
            let from = task.not_before.map_or(wall, |at| at.max(wall));
            Task { state: TaskState::Queued, expires: Some(later(from, task.ttl)), after, ..task }
        }
        TaskState::Failed | TaskState::Dead | TaskState::Cancelled | TaskState::Expired => {
            let mut task = over(task, TaskState::Cancelled, EndReason::DependencyFailed, wall);
            if let Some(end) = &mut task.end {
                end.message = format!("it was to come after task {id}, which is {}", state.name());
            }
            task
        }
    }
}

/// It was cancelled because a task that it was to come after did not succeed.
pub fn is_given_up(task: &Task) -> bool {
    task.state == TaskState::Cancelled && task.end.as_ref().is_some_and(|end| end.reason == EndReason::DependencyFailed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::time::Span;

    fn held(after: &[u64]) -> Task {
        Task { id: 9, state: TaskState::Held, after: after.to_vec(), ttl: Span::secs(60), ..Task::default() }
    }

    #[test]
    fn the_last_of_those_that_it_comes_after_lets_it_go_and_any_that_does_not_succeed_ends_it() {
        let wall = Wall(1000);
        for state in TaskState::ALL {
            let last = heard(held(&[3]), (3, state), wall);
            let one = heard(held(&[3, 4]), (3, state), wall);
            let expected = match state {
                TaskState::Succeeded => (TaskState::Queued, TaskState::Held, vec![4]),
                TaskState::Held | TaskState::Queued | TaskState::Leased => (TaskState::Held, TaskState::Held, vec![3, 4]),
                TaskState::Failed | TaskState::Dead | TaskState::Cancelled | TaskState::Expired => {
                    (TaskState::Cancelled, TaskState::Cancelled, vec![])
                }
            };
            assert_eq!((last.state, one.state, one.after), expected, "{state:?}");
            assert_eq!(last.finished.is_some(), last.state.is_final());
        }
        assert_eq!(heard(held(&[3]), (4, TaskState::Succeeded), wall), held(&[3]), "of another one");
        for state in TaskState::ALL.into_iter().filter(|state| *state != TaskState::Held) {
            let task = Task { state, ..held(&[3]) };
            assert_eq!(heard(task.clone(), (3, TaskState::Failed), wall), task, "it does not wait any more");
        }
    }

    #[test]
    fn the_time_that_it_may_wait_begins_when_it_may_go() {
        let gone = |not_before| {
            let task = Task { not_before, ..held(&[3]) };
            heard(task, (3, TaskState::Succeeded), Wall(5000)).expires
        };
        assert_eq!(gone(None), Some(Wall(65_000)));
        assert_eq!(gone(Some(Wall(4000))), Some(Wall(65_000)));
        assert_eq!(gone(Some(Wall(90_000))), Some(Wall(150_000)));
        assert_eq!(heard(held(&[3, 4]), (3, TaskState::Succeeded), Wall(5000)).expires, None, "it does not get old");
    }

    #[test]
    fn what_cannot_be_waited_for_is_refused() {
        let one = |state| waits(3, Some(&Task { id: 3, state, ..Task::default() }));
        assert_eq!((one(TaskState::Succeeded), one(TaskState::Leased)), (Ok(false), Ok(true)));
        for state in [TaskState::Failed, TaskState::Dead, TaskState::Cancelled, TaskState::Expired] {
            let refused = one(state).unwrap_err();
            assert!(matches!(&refused, QueueRefusal::Conflict(words) if words.contains(state.name())), "{refused:?}");
        }
        assert!(matches!(waits(3, None), Err(QueueRefusal::Invalid(words)) if words.contains("no task 3")));
        assert_eq!(wanted(&NewTask { after: vec![5, 3, 5], ..NewTask::default() }), Ok(vec![3, 5]));
        assert!(wanted(&NewTask { after: vec![5], hold: true, ..NewTask::default() }).is_err());
        assert!(wanted(&NewTask { after: (0..101).collect(), ..NewTask::default() }).is_err());
    }
}
