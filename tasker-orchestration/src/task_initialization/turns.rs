//! Limits the requests that work on tasks at once.
//!
//! Requests beyond the limit wait in order of arrival. Otherwise thousands of them would queue for the
//! pool's connections, and the poll that keeps templates current would wait behind them.

use sqlx::PgPool;
use tokio::sync::{Semaphore, SemaphorePermit};

/// Requests that work, for each connection of the pool.
const TURNS_PER_CONNECTION: usize = 4;
/// The most requests that wait. More could not be served in time.
const MAX_WAITING: usize = 8_192;

/// The turns of one service.
#[derive(Debug)]
pub(super) struct Turns {
    working: Semaphore,
    waiting: Semaphore,
}

impl Turns {
    pub(super) fn for_pool(pool: &PgPool) -> Self {
        let connections = usize::try_from(pool.options().get_max_connections()).unwrap_or(1);
        Self::new(connections * TURNS_PER_CONNECTION, MAX_WAITING)
    }

    fn new(working: usize, waiting: usize) -> Self {
        Self {
            working: Semaphore::new(working.clamp(1, Semaphore::MAX_PERMITS)),
            waiting: Semaphore::new(waiting),
        }
    }

    /// Waits for a turn, which ends when it is dropped. Returns `None` at once if too many wait.
    pub(super) async fn take(&self) -> Option<SemaphorePermit<'_>> {
        let _waiting = self.waiting.try_acquire().ok()?;
        // Nobody closes the semaphore.
        self.working.acquire().await.ok()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::Turns;

    #[tokio::test]
    async fn turns_are_given_in_order_and_too_many_are_refused() {
        let turns = Turns::new(1, 2);
        let first = turns.take().await.expect("nobody else works");
        let mut second = Box::pin(turns.take());
        assert!(second.as_mut().now_or_never().is_none());
        let mut third = Box::pin(turns.take());
        assert!(third.as_mut().now_or_never().is_none());
        assert!(turns.take().await.is_none());
        drop(first);
        let second = second.await.expect("the first is done");
        assert!(third.as_mut().now_or_never().is_none());
        drop(second);
        assert!(third.await.is_some());
    }
}
