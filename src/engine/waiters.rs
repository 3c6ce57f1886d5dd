//! Who waits for a task of a queue that all its workers share: no more of them are woken than there are tasks.
//!
//! Each that is woken tries to take one, which is a transaction: a hundred for one task would be in each other's way. Who is
//! woken has a [`Turn`], and counts as if it had its task until that is over. A turn that ends without a try goes to the next.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// Those that wait for a task of one queue.
#[derive(Clone, Default)]
pub(super) struct Waiters(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// In the order in which they came.
    waiting: BTreeMap<u64, oneshot::Sender<Turn>>,
    serial: u64,
    /// Tasks that could be taken when that was told last, and how often it was told.
    ready: u64,
    told: u64,
    /// Those that were woken and have not tried yet.
    out: u64,
}

impl Waiters {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So many tasks could be taken now, by anybody.
    pub(super) fn ready(&self, ready: u64) {
        let mut state = self.state();
        (state.ready, state.told) = (ready, state.told + 1);
        drop(state);
        self.wake();
    }

    fn wake(&self) {
        while let Some((waiter, turn)) = self.next() {
            // A turn that nobody hears of is dropped here, and goes to the next.
            let _heard = waiter.send(turn);
        }
    }

    fn next(&self) -> Option<(oneshot::Sender<Turn>, Turn)> {
        let mut state = self.state();
        if state.out >= state.ready {
            return None;
        }
        let (_, waiter) = state.waiting.pop_first()?;
        state.out += 1;
        Some((waiter, Turn { of: Some(self.clone()), told: state.told }))
    }

    /// The queue is not shared any more: everybody looks at it anew.
    pub(super) fn everybody(&self) {
        let all = std::mem::take(&mut self.state().waiting);
        for waiter in all.into_values() {
            let _heard = waiter.send(Turn { of: None, told: 0 });
        }
    }

    /// Wait for a task, from now on: a try that comes after this call misses none.
    pub(super) fn wait(&self) -> Waiter {
        let (tell, told) = oneshot::channel();
        let mut state = self.state();
        state.serial += 1;
        let place = state.serial;
        state.waiting.insert(place, tell);
        Waiter { of: self.clone(), place, told }
    }
}

/// Somebody who waits.
pub(super) struct Waiter {
    of: Waiters,
    place: u64,
    told: oneshot::Receiver<Turn>,
}

impl Waiter {
    /// Until it is its turn.
    pub(super) async fn woken(&mut self) -> Option<Turn> {
        (&mut self.told).await.ok()
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.of.state().waiting.remove(&self.place);
    }
}

/// The turn to try to take a task.
pub(super) struct Turn {
    of: Option<Waiters>,
    /// How often it was told what is ready when it began.
    told: u64,
}

impl Turn {
    /// It has tried. What came since, when it may have been too early for it, is for the next.
    pub(super) fn tried(mut self) {
        let Some(of) = self.of.take() else { return };
        let mut state = of.state();
        state.out = state.out.saturating_sub(1);
        let more = state.told > self.told;
        drop(state);
        if more {
            of.wake();
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(of) = self.of.take() {
            let mut state = of.state();
            state.out = state.out.saturating_sub(1);
            drop(state);
            of.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(waiter: &mut Waiter) -> Option<Turn> {
        waiter.told.try_recv().ok()
    }

    #[test]
    fn no_more_are_woken_than_there_are_tasks_and_the_first_comes_first() {
        let line = Waiters::default();
        let mut all: Vec<Waiter> = (0..10).map(|_| line.wait()).collect();
        line.ready(0);
        line.ready(3);
        line.ready(3);
        let turns: Vec<Turn> = all.iter_mut().filter_map(turn).collect();
        assert_eq!(turns.len(), 3, "told twice, woken once");
        assert!(all[..3].iter_mut().all(|waiter| turn(waiter).is_none()) && line.state().waiting.len() == 7);
        // Each takes one: what is left is told before its try is over.
        for (left, turn) in [2, 1, 0].into_iter().zip(turns) {
            line.ready(left);
            turn.tried();
        }
        assert_eq!(all.iter_mut().filter_map(turn).count(), 0, "nobody else was woken");
        line.ready(1);
        assert!(turn(&mut all[3]).is_some());
    }

    #[test]
    fn a_turn_that_is_not_used_goes_to_the_next() {
        let line = Waiters::default();
        let mut all: Vec<Waiter> = (0..4).map(|_| line.wait()).collect();
        line.ready(1);
        drop(turn(&mut all[0]));
        // Who hangs up before it has heard that it is its turn.
        drop(all.remove(1));
        assert!(turn(&mut all[1]).is_some(), "the third");
        assert!(turn(&mut all[2]).is_some(), "and the fourth, as the third did not use it");
    }

    #[test]
    fn a_task_that_comes_while_somebody_tries_in_vain_is_for_the_next() {
        let line = Waiters::default();
        let (mut first, mut second) = (line.wait(), line.wait());
        line.ready(1);
        let early = turn(&mut first).expect("its turn");
        // Somebody else took that one; then another came, perhaps behind the try.
        line.ready(0);
        line.ready(1);
        assert!(turn(&mut second).is_none(), "the first may get it");
        early.tried();
        let next = turn(&mut second).expect("it may not have");
        next.tried();
        let mut third = line.wait();
        assert!(turn(&mut third).is_none(), "nothing came since: nobody goes round and round");
    }

    #[test]
    fn everybody_looks_anew_where_a_queue_is_divided() {
        let line = Waiters::default();
        let mut all: Vec<Waiter> = (0..3).map(|_| line.wait()).collect();
        line.everybody();
        assert!(all.iter_mut().all(|waiter| turn(waiter).is_some()));
        assert_eq!(line.state().out, 0);
    }
}
