//! Validations run apart from the runtime, two at a time.

use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

/// The most validations at a time. One may compile a schema for a second, and take 128 MiB for that.
const AT_A_TIME: usize = 2;

/// The turns of validations.
#[derive(Debug, Clone)]
pub(super) struct Jobs(Arc<Semaphore>);

impl Default for Jobs {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_A_TIME)))
    }
}

impl Jobs {
    /// Runs `job` on a thread for blocking work when it has its turn. A job that has started keeps its
    /// turn when the caller is cancelled, because it cannot be interrupted.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        let turn = Arc::clone(&self.0).acquire_owned().await;
        let job = spawn_blocking(move || {
            let _turn = turn.expect("the semaphore is never closed");
            job()
        });
        job.await
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Poll;

    use futures::poll;

    use super::{AT_A_TIME, Jobs};

    #[tokio::test]
    async fn a_job_keeps_its_turn_when_its_request_is_gone() {
        let jobs = Jobs::default();
        let mut held = Vec::new();
        for _ in 0..AT_A_TIME {
            let (release, released) = mpsc::channel::<()>();
            held.push(release);
            let mut job = Box::pin(jobs.run(move || released.recv().ok()));
            assert_eq!(poll!(&mut job), Poll::Pending);
        }
        let mut next = Box::pin(jobs.run(|| 7));
        assert_eq!(poll!(&mut next), Poll::Pending);
        assert_eq!(jobs.0.available_permits(), 0);
        drop(held);
        assert_eq!(next.await, 7);
    }
}
