//! A connection that wakes itself while it is served goes on at once, in the thread that serves it.
//!
//! A request's body reaches its handler through a channel inside the connection, so each request with a body wakes its own
//! connection. To the runtime that is work for another thread: one is woken for nothing, and has the connection then.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;

/// So often it goes on by itself; then others have their turn.
const ROUNDS: u32 = 16;

/// Nobody polls it: who wakes it wakes its task.
const IDLE: u8 = 0;
/// It is polled.
const POLLED: u8 = 1;
/// It was woken since.
const AGAIN: u8 = 2;

/// The waker that a connection is given.
#[derive(Default)]
struct Own {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Wake for Own {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        // Everybody writes: who polls it sees whatever was done before, by each of those who woke it.
        if self.state.swap(AGAIN, Ordering::AcqRel) == IDLE {
            self.task.wake();
        }
    }
}

/// Wait for `serving`, polling it again at once when it woke itself.
pub async fn steady<F: Future>(serving: F) -> F::Output {
    let own = Arc::new(Own::default());
    let waker = Waker::from(own.clone());
    let mut serving = pin!(serving);
    std::future::poll_fn(|cx| own.poll(serving.as_mut(), &waker, cx)).await
}

impl Own {
    fn poll<F: Future>(&self, mut serving: Pin<&mut F>, waker: &Waker, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.task.register(cx.waker());
        for _ in 0..ROUNDS {
            self.state.swap(POLLED, Ordering::AcqRel);
            if let Poll::Ready(done) = serving.as_mut().poll(&mut Context::from_waker(waker)) {
                return Poll::Ready(done);
            }
            if self.state.compare_exchange(POLLED, IDLE, Ordering::AcqRel, Ordering::Acquire).is_ok() {
                return Poll::Pending;
            }
        }
        self.state.swap(IDLE, Ordering::AcqRel);
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::thread;

    use super::*;

    /// Counts how often a task was woken.
    #[derive(Default)]
    struct Task(AtomicUsize);

    impl Wake for Task {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::AcqRel);
        }
    }

    impl Task {
        fn poll<F: Future>(self: &Arc<Self>, serving: Pin<&mut F>) -> Poll<F::Output> {
            serving.poll(&mut Context::from_waker(&Waker::from(self.clone())))
        }

        fn woken(&self) -> usize {
            self.0.load(Ordering::Acquire)
        }
    }

    /// Wakes itself so often while it is polled, then waits.
    async fn wakes_itself(times: &mut u32) {
        std::future::poll_fn(|cx| {
            if *times > 0 {
                *times -= 1;
                cx.waker().wake_by_ref();
            }
            Poll::<()>::Pending
        })
        .await;
    }

    #[test]
    fn what_wakes_itself_goes_on_at_once_and_nobody_else_is_woken() {
        let (task, mut times) = (Arc::new(Task::default()), ROUNDS - 1);
        assert!(task.poll(pin!(steady(wakes_itself(&mut times)))).is_pending());
        assert_eq!((times, task.woken()), (0, 0));
    }

    #[test]
    fn what_never_stops_waking_itself_lets_others_have_their_turn() {
        let (task, mut times) = (Arc::new(Task::default()), 3 * ROUNDS);
        {
            let mut serving = pin!(steady(wakes_itself(&mut times)));
            for round in 1..=3 {
                assert!(task.poll(serving.as_mut()).is_pending());
                assert_eq!(task.woken(), round);
            }
            // It waits now, and whoever waits is not asked again.
            assert!(task.poll(serving).is_pending());
        }
        assert_eq!((times, task.woken()), (0, 3));
    }

    #[test]
    fn whoever_waits_is_woken_from_anywhere_and_each_time() {
        let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
        let task = Arc::new(Task::default());
        let mut serving = pin!(steady(async { (told.recv().await, told.recv().await) }));
        assert!(task.poll(serving.as_mut()).is_pending());
        for word in 1..=2 {
            assert_eq!(task.woken(), word - 1);
            let tell = tell.clone();
            thread::spawn(move || tell.send(word).expect("heard")).join().expect("said");
            assert_eq!(task.woken(), word);
            match task.poll(serving.as_mut()) {
                Poll::Ready(said) => assert_eq!((word, said), (2, (Some(1), Some(2)))),
                Poll::Pending => assert_eq!(word, 1),
            }
        }
    }

    /// A future that is woken by another thread while it is polled, in any order of the two.
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn no_word_is_lost_between_two_threads() {
        const WORDS: u32 = 20_000;
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let said = thread::spawn(move || (0..WORDS).for_each(|word| tell.blocking_send(word).expect("heard")));
        let heard = tokio::spawn(steady(async move {
            for word in 0..WORDS {
                assert_eq!(told.recv().await, Some(word));
            }
        }));
        heard.await.expect("heard all");
        said.join().expect("said all");
    }
}
