//! Threads that check contexts, apart from the threads of the async runtime.
//!
//! A check can keep a core busy for as long as its budget allows. On threads of their own, checks delay
//! neither health probes, signals nor other requests, and only a few run at once.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

/// A check that has waited for longer does not start, so that its request is answered in time.
const MAX_WAIT: Duration = Duration::from_secs(2);
/// Four times the stack that a check may use. The budget is examined only now and then.
const STACK: usize = 8 * 1024 * 1024;

type Job = Box<dyn FnOnce() + Send>;

/// Too many checks are waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Busy;

/// A fixed number of threads. They end when the pool is dropped.
#[derive(Debug)]
pub(super) struct CheckPool {
    jobs: SyncSender<Job>,
}

impl CheckPool {
    /// Starts this many threads. At most `waiting` checks wait for them.
    pub(super) fn start(name: &str, threads: usize, waiting: usize) -> Self {
        let (jobs, queue) = sync_channel(waiting);
        let queue = Arc::new(Mutex::new(queue));
        for _ in 0..threads {
            let queue = Arc::clone(&queue);
            let started = thread::Builder::new()
                .name(name.to_owned())
                .stack_size(STACK)
                .spawn(move || work(&queue));
            if let Err(error) = started {
                tracing::error!(%error, "a thread that checks contexts cannot start");
            }
        }
        Self { jobs }
    }

    /// Runs `check` on one of the threads. Cancelling the future skips a check that has not started.
    ///
    /// # Errors
    /// [`Busy`] if it could not start in time.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        check: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Busy> {
        let (answer, answered) = oneshot::channel();
        let queued = Instant::now();
        let job = Box::new(move || {
            if !answer.is_closed() && queued.elapsed() < MAX_WAIT {
                // The caller may have gone meanwhile.
                answer.send(check()).ok();
            }
        });
        self.jobs.try_send(job).map_err(|_full| Busy)?;
        answered.await.map_err(|_not_started| Busy)
    }
}

fn work(queue: &Mutex<Receiver<Job>>) {
    loop {
        let job = queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else {
            return;
        };
        // The panic's hook has reported it. Its caller gets an error, and the thread lives on.
        catch_unwind(AssertUnwindSafe(job)).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::{Busy, CheckPool};

    const QUEUE: usize = 16;

    #[tokio::test]
    async fn a_check_runs_on_a_thread_of_the_pool() {
        let name = CheckPool::start("checks", 1, QUEUE)
            .run(|| std::thread::current().name().map(str::to_owned))
            .await;
        assert_eq!(name, Ok(Some(String::from("checks"))));
    }

    #[tokio::test]
    async fn a_panic_ends_neither_the_thread_nor_the_pool() {
        let pool = CheckPool::start("checks", 2, QUEUE);
        for _ in 0..10 {
            let panicked = pool.run(|| std::panic::resume_unwind(Box::new("expected")));
            assert_eq!(panicked.await, Err::<(), _>(Busy));
        }
        assert_eq!(pool.run(|| 7).await, Ok(7));
    }

    #[tokio::test]
    async fn a_full_queue_refuses_at_once_and_the_others_are_checked() {
        let pool = CheckPool::start("checks", 2, QUEUE);
        let (release, released) = mpsc::channel::<()>();
        let released = std::sync::Arc::new(std::sync::Mutex::new(released));
        // More than the queue and all threads take.
        let checks = (0..QUEUE + 10).map(|_| {
            let released = std::sync::Arc::clone(&released);
            pool.run(move || {
                released.lock().unwrap().recv().ok();
            })
        });
        let all = futures::future::join_all(checks);
        let release = async {
            tokio::task::yield_now().await;
            drop(release);
        };
        let (all, ()) = tokio::join!(all, release);
        let refused = all.iter().filter(|check| check.is_err()).count();
        assert!((1..=10).contains(&refused), "{refused}");
    }
}
